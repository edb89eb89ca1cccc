"""Study: what is to be studied: models, questions, languages, alignments, settings of stages."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from langneurons.config import (
    AlignConfig,
    AttributeConfig,
    EvaluateConfig,
    IdentifyConfig,
    LensConfig,
    MeaningConfig,
    ModelConfig,
    PairConfig,
    PerplexityConfig,
    RecordConfig,
    RewardConfig,
    SampleConfig,
    SweepConfig,
    TextConfig,
)
from langneurons.errors import InputError
from langneurons.texts.languages import ENGLISH, is_english

SEED_RESPONSES = 20
"""Responses to each question to align on, unless told otherwise (MAPO's scripts)."""

Measure = Literal["evaluate", "perplexity", "attribute", "sweep", "meaning", "lens"]
"""What can be measured of a model besides its neurons."""


@dataclass(frozen=True)
class Domain:
    """Questions to ask, or running text to read.

    Raises:
        InputError: when it is neither or both.
    """

    questions: str = ""
    """QUESTIONS, as on the command line: a name, a file, a folder, a data set."""
    texts: str = ""
    """Running text, as `record` takes it: a folder, a file, a data set, a name. Nothing is asked
    then."""
    take: int = 0
    """The first so many questions, or documents, in every language; 0: all."""
    scored: str = ""
    """With texts: others to measure perplexity on [default: the same]."""
    scored_take: int = 0
    """The first so many documents of these; 0: all."""
    analyses: tuple[Measure, ...] = get_args(Measure)
    """Of what the study measures, what is measured on these; running text is not evaluated, and
    meaning and lens need it: the same sentences in every language."""

    def __post_init__(self) -> None:
        if self.take < 0 or self.scored_take < 0:
            raise InputError(
                f"take {min(self.take, self.scored_take)}: a number of questions or documents, or "
                "0 for all"
            )
        if bool(self.questions) == bool(self.texts):
            raise InputError("give questions to ask or texts to read, and not both")
        if not self.texts and (self.scored or self.scored_take):
            raise InputError("scored: only texts are scored on others; leave it out")

    def read(self, *, scored: bool = False) -> tuple[str, int]:
        """Running text and how many documents of it; to be scored, others where it has any."""
        if scored and (self.scored or self.scored_take):
            return self.scored or self.texts, self.scored_take
        return self.texts, self.take


@dataclass(frozen=True)
class Translator:
    """The translation model that scores responses."""

    model: str
    """MODEL, as `--translator` takes it."""
    codes: str | None = None
    """Language tokens that are not found by themselves, as `zh=zho_Hant,sr=srp_Cyrl`."""
    loading: ModelConfig = field(default_factory=ModelConfig)
    """How it is loaded."""


@dataclass(frozen=True)
class Serve:
    """What writes the responses in place of this process: a server.

    Raises:
        InputError: when it is neither a command nor a URL, or both.
    """

    command: str = ""
    """Starts a server for the steps that sample or evaluate: `vllm serve {model}
    --served-model-name {name} --port {port} ...`; see `--engine`."""
    url: str = ""
    """Of a server that runs, and knows each model by its MODEL; not where there are alignments."""
    seeds: bool = True
    """Whether it is sent a seed with each request."""

    def __post_init__(self) -> None:
        if bool(self.command) == bool(self.url):
            raise InputError("give a command that starts a server or the url of one that runs")
        if self.command and "{port}" not in self.command:
            raise InputError(f"command {self.command!r}: it needs {{port}}, where it is to listen")


@dataclass(frozen=True)
class Analyses:
    """What is measured besides neurons."""

    base: tuple[Measure, ...] = ("evaluate", "perplexity")
    """Of each model before any alignment."""
    aligned: tuple[Measure, ...] = ("evaluate",)
    """Of each model after the last step of an alignment; `sweep` is of before and after."""
    checkpoints: tuple[Measure, ...] = ()
    """At each checkpoint before the last step."""

    def __post_init__(self) -> None:
        if "sweep" in self.checkpoints:
            raise InputError(
                "analyses.checkpoints: a sweep is of before and the last step; put it into aligned"
            )


@dataclass(frozen=True)
class Study:
    """A study. Every table of settings is that of a stage, with its defaults.

    Raises:
        InputError: for what does not go together, naming it.
    """

    languages: tuple[str, ...]
    """Languages to study, as codes, in the order of every table."""
    models: dict[str, str]
    """Name -> MODEL. The name is that of its folder in the run."""
    domains: dict[str, Domain]
    """Name -> questions that models are studied on."""
    seeds: Domain | None = None
    """Questions that responses are sampled from to align on."""
    translator: Translator | None = None
    """What scores them."""
    alignments: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Name -> languages that are aligned to English. Each model goes through each."""
    checkpoints: tuple[int, ...] | Literal["all", "last"] = "last"
    """Which checkpoints are studied besides the last step, as numbers of steps; all: every one that
    is kept."""
    texts: Literal["own", "base"] = "own"
    """What aligned models are recorded on: their own responses, or those of the model before, so
    that only weights differ."""
    template: str | None = None
    """Prompt: mathoctopus, plain, chat, or a text file [default: see `sample`]."""
    serve: Serve | None = None
    """A server that writes the responses; None: the model in this process does."""
    analyses: Analyses = field(default_factory=Analyses)
    """What is measured besides neurons."""
    loading: ModelConfig = field(default_factory=ModelConfig)
    """How the models are loaded."""
    sample: SampleConfig = field(default_factory=SampleConfig)
    """Responses that neurons are recorded on."""
    sample_seeds: SampleConfig = field(default_factory=lambda: SampleConfig(n=SEED_RESPONSES))
    """Responses to align on."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    """Accuracy."""
    reading: TextConfig = field(default_factory=TextConfig)
    """How running text is read; `take` is that of the domain."""
    record: RecordConfig = field(default_factory=RecordConfig)
    """Counts."""
    identify: IdentifyConfig = field(default_factory=IdentifyConfig)
    """Neurons; its resampling is that of comparisons too."""
    perplexity: PerplexityConfig = field(default_factory=PerplexityConfig)
    attribute: AttributeConfig = field(default_factory=AttributeConfig)
    """What silencing costs."""
    meaning: MeaningConfig = field(default_factory=MeaningConfig)
    """Where states are of what sentences mean."""
    lens: LensConfig = field(default_factory=LensConfig)
    """What models would say at each layer."""
    sweep: SweepConfig = field(default_factory=SweepConfig)
    """Claims over a grid of settings."""
    reward: RewardConfig = field(default_factory=RewardConfig)
    """Alignment scores."""
    pair: PairConfig = field(default_factory=PairConfig)
    """Preference pairs."""
    align: AlignConfig = field(default_factory=AlignConfig)
    """Training."""

    def __post_init__(self) -> None:
        for what in ("languages", "models", "domains"):
            if not getattr(self, what):
                raise InputError(f"{what}: at least one is needed")
        if len(set(self.languages)) < len(self.languages):
            raise InputError(f"languages {', '.join(self.languages)}: each may stand once")
        _check_folders("models", self.models, ("questions", "report"))
        _check_folders("domains", self.domains, ("seeds",))
        _check_folders("alignments", self.alignments, ("base", "seeds"))
        for name, codes in self.alignments.items():
            strange = [c for c in codes if c not in self.languages or is_english(c)]
            if strange or not codes:
                raise InputError(
                    f"alignments: {name} aligns {', '.join(strange) or 'nothing'}; "
                    f"give some of the languages, and not {ENGLISH}"
                )
        if self.seeds and self.seeds.texts:
            raise InputError("seeds: questions are needed, to sample responses to align on")
        if self.reading.take:
            raise InputError("reading: give take in the domain, as [domains.NAME] take")
        if self.alignments and self.serve and self.serve.url:
            raise InputError(
                "serve: a server that runs already cannot know adapters that are still to be "
                "trained; give a command that starts one"
            )
        complete = self.seeds and self.translator and any(map(is_english, self.languages))
        if self.alignments and not complete:
            raise InputError(
                f"alignments need [seeds], [translator], and {ENGLISH} among the languages"
            )
        self.steps()

    def steps(self) -> tuple[int, ...]:
        """The steps of an alignment that are studied; the last one always.

        Raises:
            InputError: for one that is not kept.
        """
        last, every = self.align.steps, self.align.save_every
        if self.checkpoints == "last":
            return (last,)
        kept = range(every, last, every)
        if self.checkpoints == "all":
            return (*kept, last)
        asked = sorted(set(self.checkpoints) - {last})
        if wrong := [step for step in asked if step not in kept]:
            raise InputError(
                f"checkpoints: {wrong[0]} is none that is kept; one is kept every {every} steps "
                f"(align.save-every) up to {last}"
            )
        return (*asked, last)

    def seed_languages(self) -> tuple[str, ...]:
        """Languages in which the questions to align on are asked: those aligned, and English."""
        aligned = {code for codes in self.alignments.values() for code in codes}
        return tuple(code for code in self.languages if code in aligned or is_english(code))


def _check_folders(what: str, names: Iterable[str], taken: Sequence[str]) -> None:
    """See that names can be those of folders in a run, beside those that are taken.

    Raises:
        InputError: for the first that cannot.
    """
    for name in names:
        if not re.fullmatch(r"\w[\w.-]*", name) or name in taken:
            raise InputError(
                f"{what}: {name!r} cannot name a folder here; use letters, digits, - and _, "
                f"and not {', '.join(taken)}"
            )
