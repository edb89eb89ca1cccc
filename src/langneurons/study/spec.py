"""Study: what a TOML file says is to be studied: models, questions, languages, alignments, settings of stages."""

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from importlib.resources import files
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from langneurons import nano
from langneurons.config import (
    AlignConfig,
    EvaluateConfig,
    IdentifyConfig,
    ModelConfig,
    PairConfig,
    PerplexityConfig,
    RecordConfig,
    RewardConfig,
    SampleConfig,
)
from langneurons.errors import InputError
from langneurons.texts import world
from langneurons.texts.languages import ENGLISH

BUILT_IN = ("nano", "paper")
"""Studies that come with langneurons. `./nano` is a file of that name."""


Measure = Literal["evaluate", "perplexity"]
"""What can be measured of a model besides its neurons."""


@dataclass(frozen=True)
class Domain:
    """Questions to ask."""

    questions: str
    """QUESTIONS, as on the command line: a name, a file, a folder, a data set."""
    take: int = 0
    """The first so many questions, in every language; 0: all."""
    analyses: tuple[Measure, ...] = ("evaluate", "perplexity")
    """Of what the study measures, what is measured on these."""

    def __post_init__(self) -> None:
        if self.take < 0:
            raise InputError(f"take {self.take}: a number of questions, or 0 for all")


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
class Analyses:
    """What is measured besides neurons: of the models as they are, once aligned, and at checkpoints before the end."""

    base: tuple[Measure, ...] = ("evaluate", "perplexity")
    """Of each model before any alignment."""
    aligned: tuple[Measure, ...] = ("evaluate",)
    """Of each model after the last step of an alignment."""
    checkpoints: tuple[Measure, ...] = ()
    """At each checkpoint before the last step."""


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
    analyses: Analyses = field(default_factory=Analyses)
    """What is measured besides neurons."""
    loading: ModelConfig = field(default_factory=ModelConfig)
    """How the models are loaded."""
    sample: SampleConfig = field(default_factory=SampleConfig)
    """Responses that neurons are recorded on."""
    sample_seeds: SampleConfig = field(default_factory=lambda: SampleConfig(n=20))
    """Responses to align on (MAPO's scripts: 20)."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    """Accuracy."""
    record: RecordConfig = field(default_factory=RecordConfig)
    """Counts."""
    identify: IdentifyConfig = field(default_factory=IdentifyConfig)
    """Neurons; its resampling is that of comparisons too."""
    perplexity: PerplexityConfig = field(default_factory=PerplexityConfig)
    """What silencing costs."""
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
        for what, taken in (
            ("models", ("questions", "report")),
            ("domains", ("seeds",)),
            ("alignments", _TAKEN),
        ):
            for name in getattr(self, what):
                if not re.fullmatch(r"\w[\w.-]*", name) or name in taken:
                    raise InputError(
                        f"{what}: {name!r} cannot name a folder here; use letters, digits, - and _, "
                        f"and not {', '.join(taken)}"
                    )
        for name, codes in self.alignments.items():
            if (
                strange := [c for c in codes if c not in self.languages or c == ENGLISH]
                or not codes
            ):
                said = ", ".join(strange) if isinstance(strange, list) else "nothing"
                raise InputError(
                    f"alignments: {name} aligns {said}; give some of the languages, and not {ENGLISH}"
                )
        if self.alignments and (
            self.seeds is None or self.translator is None or ENGLISH not in self.languages
        ):
            raise InputError(
                f"alignments need [seeds], [translator], and {ENGLISH} among the languages"
            )
        self.steps()

    def steps(self) -> tuple[int, ...]:
        """The steps of an alignment that are studied; the last one always."""
        kept = range(self.align.save_every, self.align.steps, self.align.save_every)
        if self.checkpoints == "last":
            return (self.align.steps,)
        asked = (
            kept
            if self.checkpoints == "all"
            else sorted(set(self.checkpoints) - {self.align.steps})
        )
        if wrong := [step for step in asked if step not in kept]:
            raise InputError(
                f"checkpoints: {wrong[0]} is none that is kept; one is kept every {self.align.save_every} steps "
                f"(align.save-every) up to {self.align.steps}"
            )
        return (*asked, self.align.steps)


_TAKEN = ("base", "seeds")


class Named(NamedTuple):
    """A study and what it is called.

    Attributes:
        name: of the file, without .toml.
        study: what it says; files it names are absolute paths.
    """

    name: str
    study: Study


def load(source: str) -> Named:
    """A study from a TOML file, or a built-in one.

    A file it names (models, questions, template, translator) is looked for beside it, and for a
    built-in one in the present folder; what is not there stays as it is: a name, or an id on the
    Hub.

    Raises:
        InputError: in one line, for a file that cannot be read, is no TOML, has an unknown key (the
            nearest one is named) or a value of the wrong type, or describes no study.
    """
    if source in BUILT_IN:
        text = (
            files("langneurons").joinpath("study", "studies", f"{source}.toml").read_text("utf-8")
        )
        return Named(source, _placed(parse(text, source), Path()))
    path = Path(source).expanduser()
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        near = difflib.get_close_matches(source, BUILT_IN, 1)
        raise InputError(
            f"{source}: {why}; give a TOML file or a study that comes with langneurons: {', '.join(BUILT_IN)}"
            f"{f' ({near[0]} is meant?)' if near else ''}"
        ) from None
    return Named(path.name.removesuffix(".toml"), _placed(parse(text, str(path)), path.parent))


def parse(text: str, place: str) -> Study:
    """The study in a text; `place` is what to call it in errors.

    Raises:
        InputError: see `load`.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{place} is no TOML: {error}") from None
    return _table(Study, content, place, "")


def _placed(study: Study, folder: Path) -> Study:
    """The same with paths that exist made absolute."""

    def found(name: str) -> str:
        path = folder / Path(name).expanduser()
        return str(path.resolve()) if path.exists() else name

    def model(name: str) -> str:
        return name if name == nano.NAME else found(name)

    def domain(one: Domain) -> Domain:
        return (
            one
            if one.questions in world.QUESTIONS
            else replace(one, questions=found(one.questions))
        )

    translator = study.translator and replace(study.translator, model=model(study.translator.model))
    return replace(
        study,
        models={name: model(one) for name, one in study.models.items()},
        domains={name: domain(one) for name, one in study.domains.items()},
        seeds=study.seeds and domain(study.seeds),
        translator=translator,
        template=study.template and found(study.template),
    )


def _table(kind: Any, content: Mapping[str, Any], place: str, at: str) -> Any:
    """A dataclass from a table of TOML; keys may have - for _. What a table leaves out of a table is as it was."""
    known, hints = {one.name: one for one in fields(kind)}, get_type_hints(kind)
    values = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.5)
            hint = (
                f"is {near[0].replace('_', '-')} meant?"
                if near
                else f"there are {', '.join(known)}"
            )
            raise InputError(f"{place}: {at}{key} is unknown; {hint.replace('_', '-')}")
        values[name] = _value(hints[name], value, place, f"{at}{key}")
        factory = known[name].default_factory
        if is_dataclass(hints[name]) and factory is not MISSING:
            given = {key.replace("-", "_") for key in value}
            values[name] = replace(factory(), **{key: getattr(values[name], key) for key in given})
    needed = [
        n for n, one in known.items() if one.default is MISSING and one.default_factory is MISSING
    ]
    if missing := [name for name in needed if name not in values]:
        raise InputError(f"{place}: {at}{missing[0]} is missing")
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{place}: {f'[{at[:-1]}] ' if at else ''}{error}") from None


def _value(kind: Any, value: Any, place: str, at: str) -> Any:
    """A value of TOML as what a field holds.

    Raises:
        InputError: when it is of another type.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind) and isinstance(kind, type) and isinstance(value, dict):
        return _table(kind, value, place, f"{at}.")
    if origin in (UnionType, Union):
        for one in inner:
            if one is not type(None):
                try:
                    return _value(one, value, place, at)
                except InputError:
                    if isinstance(value, dict):
                        raise
    elif origin is Literal and value in inner and type(value) in {type(one) for one in inner}:
        return value
    elif origin is tuple and isinstance(value, list):
        return tuple(_value(inner[0], one, place, at) for one in value)
    elif origin is dict and isinstance(value, dict):
        return {key: _value(inner[1], one, place, f"{at}.{key}") for key, one in value.items()}
    elif kind is float and type(value) in (int, float):
        return float(value)
    elif kind in (int, str, bool) and type(value) is kind:
        return value
    raise InputError(f"{place}: {at} is {value!r}; {_words(kind)} is needed")


def _words(kind: Any) -> str:
    """What a type is called."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (UnionType, Union):
        return " or ".join(_words(one) for one in inner if one is not type(None))
    if origin is Literal:
        return " or ".join(repr(one) for one in inner)
    if origin is tuple:
        return f"a list of {_words(inner[0])}"
    simple = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return simple.get(kind, "a table")
