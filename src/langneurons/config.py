"""What each stage can be told: one frozen dataclass per stage, checked when built."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from langneurons.errors import InputError

Extractor = Literal["marked", "native", "last-number"]
"""How an answer is found in a response: see `answers.is_correct`."""

_CUT: Mapping[str, str] = {"says": "how the work is cut"}
_PACE: Mapping[str, str] = {"says": "how it is carried out"}


_Config = TypeVar("_Config")


def of(kind: type[_Config], config: _Config | None, settings: Mapping[str, Any]) -> _Config:
    """The settings of a stage: those given as a whole, or those given by name.

    Raises:
        InputError: for a name that is no setting, a value out of range, or both at once.
    """
    if config is not None:
        if settings:
            raise InputError(f"{', '.join(settings)}: give a config or settings by name, not both")
        return config
    known = [setting.name for setting in fields(kind)]  # ty: ignore[invalid-argument-type]
    if unknown := [name for name in settings if name not in known]:
        raise InputError(f"{unknown[0]} is no setting here; the settings are {', '.join(known)}")
    return kind(**settings)


def identity(config: Any) -> dict[str, Any]:
    """The settings that determine a result, by name: those that a manifest keeps."""
    return {f.name: getattr(config, f.name) for f in fields(config) if not f.metadata}


def cut(config: Any) -> dict[str, Any]:
    """The settings that say how the work is cut, on which a result does not depend.

    A killed run goes on only where they are the same.
    """
    return {f.name: getattr(config, f.name) for f in fields(config) if f.metadata == _CUT}


def changed(config: Any) -> dict[str, Any]:
    """The settings that are not as they are by default, by name."""
    usual = type(config)()
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    return {name: value for name, value in values.items() if value != getattr(usual, name)}


def listed(words: str) -> tuple[str, ...]:
    """The words of a list with commas."""
    return tuple(word.strip() for word in words.split(","))


def _kinds(settings: str) -> dict[str, tuple[str, ...]]:
    """Setting -> its kinds, of settings parted by commas, each of kinds joined by `+`."""
    return {setting: tuple(setting.split("+")) for setting in listed(settings)}


def _require_resamplings(bootstrap: int) -> None:
    if bootstrap < 0 or bootstrap == 1:
        raise InputError(
            f"bootstrap {bootstrap}: an interval needs 2 resamplings or more, 0 means none"
        )


@dataclass(frozen=True)
class IdentifyConfig:
    """Settings of `identify`. Defaults are the paper's; see docs/identify.md for what each changes.

    Raises:
        InputError: for a value out of range, naming it.
    """

    method: Literal["ternary", "lape"] = "ternary"
    """`ternary`: the paper's score and classes. `lape`: lowest entropy, of neurons highly active
    somewhere."""
    rate: float = 0.01
    """Share of all neurons to select, in (0, 1)."""
    tau_quantile: float = 0.95
    """tau is this quantile of all activation probabilities, in (0, 1)."""
    lam: float | Literal["auto"] = "auto"
    """lambda in released units; auto: the largest at which no general neuron is selected."""
    lam_limit: float = 0.2
    """Largest lambda to consider (the released code's bracket); used as it is when nothing binds
    below it."""
    prefilter: bool = False
    """Drop neurons highly active in no language before selecting (LAPE always does)."""
    general: float = 1.0
    """Share of the languages in which a general neuron is highly active at least, in (0, 1]; the
    paper's is 1, all of them."""
    per: Literal["tokens", "routed"] = "tokens"
    """What an expert's probabilities are of: all tokens, or the tokens routed to it. Dense layers
    are not affected."""
    bootstrap: int = 200
    """Resamplings of the blocks behind every interval; 0 for none."""
    chance: int = 20
    """Draws behind what chance alone gives, where counts hold blocks; 0 for none."""
    seed: int = 0
    """Seed of the resampling, and of the draws of chance."""

    def __post_init__(self) -> None:
        for name, value in (("rate", self.rate), ("tau-quantile", self.tau_quantile)):
            if not 0 < value < 1:
                raise InputError(f"{name} {value} is outside (0, 1); the paper uses {_PAPER[name]}")
        if self.lam != "auto" and not 0 <= self.lam < float("inf"):
            raise InputError(
                f"lam {self.lam} is not a number from 0 up; leave it at auto for the largest that "
                "holds"
            )
        if not 0 < self.lam_limit < float("inf"):
            raise InputError(
                f"lam-limit {self.lam_limit} is not above 0; the released code uses 0.2"
            )
        _require_resamplings(self.bootstrap)
        if not 0 < self.general <= 1:
            raise InputError(
                f"general {self.general} is outside (0, 1]; in the paper a general neuron is "
                "highly active in all languages, a share of 1"
            )
        if self.chance < 0:
            raise InputError(f"chance {self.chance}: a number of draws is needed, 0 for none")
        if self.per not in ("tokens", "routed"):
            raise InputError(f"per {self.per!r}: probabilities are per tokens or per routed tokens")
        if self.method not in ("ternary", "lape"):
            raise InputError(f"{self.method!r} is no method; choose ternary or lape")


@dataclass(frozen=True)
class SweepConfig:
    """Settings of `sweep`: the axes of its grid, as lists with commas, and what all cells share.

    Raises:
        InputError: for an axis without a value, or a value out of range, naming it.
    """

    rates: str = "0.005,0.01,0.02,0.05"
    """Shares of all neurons to select."""
    tau_quantiles: str = "0.9,0.93,0.95,0.97,0.98"
    """Quantiles of all activation probabilities that tau is set at."""
    lams: str = "auto,0.1,0"
    """Rules for lambda: auto, or values in released units; 0 is entropy alone."""
    prefilters: str = "off,on"
    """Whether neurons highly active in no language are dropped first: off, on."""
    methods: str = "ternary,lape"
    """Methods: ternary, lape. LAPE knows no lambda and always drops first."""
    thresholds: str = "own,base"
    """By whose thresholds neurons after are classified: own, base."""
    leave_out: Literal["paper", "every", "none"] = "paper"
    """Leave each language out in turn: `paper`, at every rate and quantile, all else as in the
    paper; `every`, in every cell; `none`."""
    lam_limit: float = 0.2
    """Largest lambda to consider where it is auto."""
    general: float = 1.0
    """Share of the languages in which a general neuron is highly active at least, in (0, 1]."""
    per: Literal["tokens", "routed"] = "tokens"
    """What an expert's probabilities are of: all tokens, or the tokens routed to it."""
    bootstrap: int = 100
    """Resamplings of the blocks behind every interval; 0 for none."""
    chance: int = 20
    """Draws behind what chance alone gives, where counts hold blocks; 0 for none."""
    seed: int = 0
    """Seed of the resampling, and of the draws of chance."""
    save_every: float = field(default=60.0, metadata=_PACE)
    """Seconds between savings of what is done, from which a killed sweep goes on."""

    def __post_init__(self) -> None:
        for name, values, allowed in (
            ("prefilters", self.axis("prefilters"), ("off", "on")),
            ("methods", self.axis("methods"), ("ternary", "lape")),
            ("thresholds", self.axis("thresholds"), ("own", "base")),
            ("leave-out", (self.leave_out,), ("paper", "every", "none")),
        ):
            if strange := [value for value in values if value not in allowed]:
                raise InputError(f"{name} {strange[0]!r}: choose among {', '.join(allowed)}")
        for rate in self.numbers("rates"):
            self.shared(rate=rate)
        for quantile in self.numbers("tau_quantiles"):
            self.shared(tau_quantile=quantile)
        for lam in self.lambdas:
            self.shared(lam=lam)

    def axis(self, name: str) -> tuple[str, ...]:
        """The values of an axis, as they are written."""
        values = listed(getattr(self, name))
        shown = name.replace("_", "-")
        if not all(values):
            raise InputError(f"{shown} {getattr(self, name)!r}: give a value or more, with commas")
        if len(set(values)) < len(values):
            raise InputError(f"{shown} {getattr(self, name)!r}: give each value once")
        return values

    def numbers(self, name: str) -> tuple[float, ...]:
        """The values of an axis of numbers, ascending."""
        given = self.axis(name)
        try:
            return tuple(sorted(float(value) for value in given))
        except ValueError:
            shown = name.replace("_", "-")
            raise InputError(
                f"{shown} {getattr(self, name)!r}: numbers with commas are needed"
            ) from None

    @property
    def lambdas(self) -> tuple[float | Literal["auto"], ...]:
        """The rules for lambda, auto first."""
        given = self.axis("lams")
        try:
            values = sorted(float(value) for value in given if value != "auto")
        except ValueError:
            raise InputError(
                f"lams {self.lams!r}: auto, or numbers, with commas are needed"
            ) from None
        return (*(("auto",) if "auto" in given else ()), *values)

    def shared(self, **settings: Any) -> IdentifyConfig:
        """What `identify` is told for these settings, besides what all cells share."""
        return IdentifyConfig(
            lam_limit=self.lam_limit,
            general=self.general,
            per=self.per,
            bootstrap=self.bootstrap,
            chance=self.chance,
            seed=self.seed,
            **settings,
        )


@dataclass(frozen=True)
class ModelConfig:
    """How a model is loaded."""

    dtype: str = "auto"
    """float32, bfloat16 or float16; auto: float32 on a CPU, bfloat16 elsewhere."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto: the best there is."""
    device_map: str | None = None
    """How accelerate spreads a model over devices, such as auto."""
    revision: str | None = None
    """Branch, tag or commit on the Hub."""


@dataclass(frozen=True)
class TextConfig:
    """How running text is read, and whether texts are perturbed first; see docs/texts.md.

    Raises:
        InputError: for a value out of range, naming it.
    """

    tokens: int | Literal["all", "even"] = "all"
    """Tokens of running text to read in each language, the first; even: as many in each as the
    language with the fewest has."""
    chunk: int = 512
    """Tokens of running text that the model reads at once, at most; never more than its context."""
    documents: Literal["auto", "lines", "paragraphs", "files"] = "auto"
    """What is a document of a .txt: each line, what stands between blank lines, or the file. auto:
    in <language>.txt paragraphs where there are blank lines, else lines; in <language>/*.txt the
    file."""
    take: int = 0
    """The first so many documents of running text, in every language; 0: all."""
    perturb: Literal["none", "romanise", "shuffle"] = "none"
    """Perturb all texts first: romanise: write them in Latin letters; shuffle: shuffle the words of
    each sentence."""
    shuffle_seed: int = 0
    """Seed of the shuffling."""

    def __post_init__(self) -> None:
        if self.tokens not in ("all", "even") and (type(self.tokens) is not int or self.tokens < 1):
            raise InputError(
                f"tokens {self.tokens!r}: give how many in each language, even, or all"
            )
        if self.chunk < 2:
            raise InputError(f"chunk {self.chunk}: 2 tokens or more are needed")
        if self.take < 0:
            raise InputError(f"take {self.take}: a number of documents, or 0 for all")
        for name, words in (
            ("documents", ("auto", "lines", "paragraphs", "files")),
            ("perturb", ("none", "romanise", "shuffle")),
        ):
            if getattr(self, name) not in words:
                raise InputError(f"{name} {getattr(self, name)!r}: choose {', '.join(words)}")


@dataclass(frozen=True)
class RecordConfig:
    """Settings of `record`.

    Raises:
        InputError: for a value out of range, naming it.
    """

    blocks: int = 10
    """Blocks of questions that counts are kept for; 1 for none, then nothing made from them has
    error bars."""
    positions: Literal["reading", "predicting"] = "reading"
    """`reading`: positions that read a response token (the paper). `predicting`: those that predict
    one."""
    means: bool = False
    """Keep also, per language, the mean of every neuron's value and of every residual state, from
    which models are steered."""
    budget: int = field(default=0, metadata=_CUT)
    """Tokens of a batch, padding included; 0: 1,024 on a CPU, 16,384 elsewhere. Counts do not
    depend on it."""
    share_prompts: bool | None = field(default=None, metadata=_CUT)
    """Compute a prompt once for all its responses [default: where that is tried and gives the same
    counts]."""
    shard: str = "1/1"
    """Which part of the work to do, as 2/4; merge adds the parts up."""
    save_every: float = field(default=60.0, metadata=_PACE)
    """Seconds between savings of what is done, from which a killed recording goes on."""

    def __post_init__(self) -> None:
        if self.blocks < 1:
            raise InputError(f"blocks {self.blocks}: 1 or more are needed")
        if self.budget < 0:
            raise InputError(
                f"budget {self.budget}: tokens of a batch, or 0 to leave it to langneurons"
            )
        if self.positions not in ("reading", "predicting"):
            raise InputError(f"{self.positions!r}: positions are reading or predicting")
        number, of = self.part
        if not 0 <= number < of:
            raise InputError(
                f"shard {self.shard!r}: give a part and how many there are, as 1/4 to 4/4"
            )

    @property
    def part(self) -> tuple[int, int]:
        """(number of this shard from 0, how many there are)."""
        number, _, of = self.shard.partition("/")
        return (int(number) - 1, int(of)) if number.isdigit() and of.isdigit() else (-1, 0)


@dataclass(frozen=True)
class MeaningConfig:
    """Settings of `meaning`.

    Raises:
        InputError: for a value out of range, naming it.
    """

    take: int = 200
    """The first so many sentences of each language; 0: all. Scores of retrieval fall with their
    number."""
    pivot: str | None = None
    """Language that the others are held against, as a code [default: English, else the first]."""
    cka: bool = False
    """Also debiased linear CKA of standardised states, which forgives any rotation."""
    bootstrap: int = 200
    """Resamplings of the sentences behind every interval; 0 for none."""
    seed: int = 0
    """Seed of the resamplings and of the shufflings."""

    def __post_init__(self) -> None:
        _require_resamplings(self.bootstrap)
        if self.take < 0:
            raise InputError(f"take {self.take}: a number of sentences, or 0 for all")


@dataclass(frozen=True)
class LensConfig:
    """Settings of `lens`.

    Raises:
        InputError: for a value out of range, naming it.
    """

    take: int = 50
    """The first so many sentences of each language are measured; from the others follows which
    language a token is of, unless --known gives other texts."""
    positions: int = 4
    """Positions that are read in the second half of each sentence, at most."""

    def __post_init__(self) -> None:
        if self.take < 1 or self.positions < 1:
            raise InputError("take and positions are numbers from 1 up")


@dataclass(frozen=True)
class SampleConfig:
    """Settings of `sample`. Defaults are the paper's where it has any.

    Raises:
        InputError: for a value out of range, naming it.
    """

    n: int = 10
    """Responses to each question in each language; the paper records 10, MAPO's scripts sample 20
    for alignment."""
    temperature: float = 0.8
    """Divides the logits before drawing (MAPO's scripts: 0.8); 0: always the likeliest token."""
    top_k: int = 0
    """Draw from this many likeliest tokens only; 0: from all."""
    top_p: float = 1.0
    """Draw from the likeliest tokens that together have this probability; 1: from all."""
    max_new_tokens: int = 512
    """Where a response is cut (MAPO's scripts: 512)."""
    stop: tuple[str, ...] = ()
    """Texts at which a response ends, besides the model's end token. What comes from there on is
    left out."""
    seed: int = 0
    """Seed; each response has its own, from this, the question's id, the language and the
    response's number."""
    extractor: Extractor = "marked"
    """How an answer is found: `marked`, the number that is marked as the answer (a box, `####`,
    `the answer is` in any language), else the last; `native`, always the last; both read as the
    language writes it; `last-number`, the released rule."""
    tolerance: float = 1e-2
    """How far a right answer may be off (released evaluation: 1e-2, pairs: 1e-3)."""
    rows: int = field(default=256, metadata=_CUT)
    """Responses written at once by transformers in process; halved where memory does not
    suffice."""
    concurrency: int = field(default=32, metadata=_PACE)
    """Requests under way at once with a server."""
    save_every: float = field(default=60.0, metadata=_PACE)
    """Seconds between savings of what is done, from which a killed sampling goes on."""

    def __post_init__(self) -> None:
        for name in ("n", "max_new_tokens", "rows", "concurrency"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"{name.replace('_', '-')} {getattr(self, name)}: 1 or more are needed"
                )
        if not 0 <= self.temperature < float("inf"):
            raise InputError(
                f"temperature {self.temperature}: a number from 0 up is needed; the paper's is 0.8"
            )
        if not self.temperature and self.n > 1:
            raise InputError(
                f"temperature 0 gives the same response {self.n} times; ask for one, or set it "
                "above 0"
            )
        if not 0 < self.top_p <= 1:
            raise InputError(f"top-p {self.top_p} is outside (0, 1]; 1 draws from all tokens")
        if self.top_k < 0:
            raise InputError(f"top-k {self.top_k}: a number of tokens is needed, 0 for all")
        if "" in self.stop:
            raise InputError("stop: an empty text would end every response at once; leave it out")
        if not 0 <= self.tolerance < float("inf"):
            raise InputError(
                f"tolerance {self.tolerance}: a number from 0 up is needed; the released one is "
                "1e-2"
            )
        if self.extractor not in get_args(Extractor):
            raise InputError(
                f"{self.extractor!r} is no extractor; choose {', '.join(get_args(Extractor))}"
            )


@dataclass(frozen=True)
class EvaluateConfig:
    """Settings of `evaluate`; see `SampleConfig` for their ranges."""

    max_new_tokens: int = 1024
    """Where a response is cut (released evaluation: 1024)."""
    stop: tuple[str, ...] = ()
    """Texts at which a response ends, besides the model's end token."""
    extractor: Extractor = "marked"
    """How an answer is found: `marked`, the number that is marked as the answer (a box, `####`,
    `the answer is` in any language), else the last; `native`, always the last; both read as the
    language writes it; `last-number`, the released rule."""
    tolerance: float = 1e-2
    """How far a right answer may be off (released evaluation: 1e-2)."""
    rows: int = field(default=256, metadata=_CUT)
    """Responses written at once by transformers in process; halved where memory does not
    suffice."""
    concurrency: int = field(default=32, metadata=_PACE)
    """Requests under way at once with a server."""
    save_every: float = field(default=60.0, metadata=_PACE)
    """Seconds between savings of what is done, from which a killed evaluation goes on."""

    def greedy(self) -> SampleConfig:
        """How its responses are written: one to each question, always the likeliest token (the
        paper's evaluation).
        """
        return SampleConfig(n=1, temperature=0.0, **asdict(self))


@dataclass(frozen=True)
class TaskConfig:
    """What `evaluate` asks for, besides the numbers that questions have as answers.

    Raises:
        InputError: for a value out of range, naming it.
    """

    task: Literal["numbers", "choices", "translation"] = "numbers"
    """What is asked: `numbers`, problems whose answer is a number; `choices`, which of the answers
    that come with a question is the most probable; `translation` of parallel texts, by chrF."""
    direction: Literal["into-english", "from-english"] = "into-english"
    """With translation: from each language into English, or from English into each."""
    shots: int = 4
    """Worked examples in the prompt, the first of --examples in the language."""
    calibrate: bool = True
    """With choices: take the score that an answer has without the question off."""
    take: int = 0
    """The first so many questions or texts, the same in every language; 0: all."""

    def __post_init__(self) -> None:
        for name, words in (
            ("task", ("numbers", "choices", "translation")),
            ("direction", ("into-english", "from-english")),
        ):
            if getattr(self, name) not in words:
                raise InputError(f"{name} {getattr(self, name)!r}: choose {', '.join(words)}")
        if self.shots < 1:
            raise InputError(f"shots {self.shots}: 1 or more; for none leave --examples out")
        if self.take < 0:
            raise InputError(f"take {self.take}: a number of questions, or 0 for all")


AT_TEXT = " at text"
"""How a setting of `perplexity` ends whose neurons are silenced at all tokens but the first."""


@dataclass(frozen=True)
class PerplexityConfig:
    """Settings of `perplexity`. Defaults measure responses; the released code's setting is in
    docs/perplexity.md.

    Raises:
        InputError: for a value out of range, naming it.
    """

    settings: str = "specific,specific+related"
    """Which neurons of a language are silenced together: kinds joined by +, settings parted by
    commas."""
    controls: int = 5
    """Random sets drawn for each set, matched per layer and by activation rate; 0 for none."""
    where: str = "all"
    """At which tokens neurons are silenced: all of them (the paper); text, all but the first, at
    which sinks act; all,text for both."""
    layers: str | None = None
    """Silence in these layers only: 5, 0-4, or one of the paper's stages, such as reasoning."""
    to: str = "zero"
    """What a silenced activation becomes: zero, mean (over the languages, of the scored texts) or a
    number."""
    text: Literal["response", "prompt"] = "response"
    """What is scored: responses given their prompts, or the prompts themselves, each once."""
    average: Literal["tokens", "sequences"] = "tokens"
    """What a perplexity is the exponential of: the mean cost of all tokens, or the mean of the
    texts' own means."""
    mix_argmax: bool = False
    """As the released code does: where a token is not the most likely one, average the likeliest
    one's cost in too."""
    blocks: int = 10
    """Blocks of questions that costs are kept for, from which intervals come."""
    seed: int = 0
    """Seed of the random sets."""
    budget: int = 0
    """Tokens of a batch, padding included; 0: 1,024 on a CPU, 16,384 elsewhere."""
    share_prompts: bool | None = None
    """Compute a prompt once for all its responses [default: where that is tried and gives the same
    costs]."""
    save_every: float = field(default=60.0, metadata=_PACE)
    """Seconds between savings of what is done, from which a killed run goes on."""

    def __post_init__(self) -> None:
        if self.controls < 0:
            raise InputError(f"controls {self.controls}: random sets for each set, 0 for none")
        if self.blocks < 1:
            raise InputError(f"blocks {self.blocks}: 1 or more are needed")
        if self.budget < 0:
            raise InputError(
                f"budget {self.budget}: tokens of a batch, or 0 to leave it to langneurons"
            )
        for name, value, words in (
            ("text", self.text, ("response", "prompt")),
            ("average", self.average, ("tokens", "sequences")),
        ):
            if value not in words:
                raise InputError(f"{name} {value!r}: choose {' or '.join(words)}")
        if self.value not in ("zero", "mean") and not isinstance(self.value, float):
            raise InputError(
                f"to {self.to!r}: a silenced activation becomes zero, mean or a number"
            )
        if set(places := self.where.split(",")) - {"all", "text"} or len({*places}) < len(places):
            raise InputError(f"where {self.where!r}: choose all, text or all,text")
        if len(self.kinds) < (self.settings.count(",") + 1) * len(places):
            raise InputError(
                f"settings {self.settings!r}: give each once, as in specific,specific+related"
            )

    @property
    def kinds(self) -> dict[str, tuple[str, ...]]:
        """Setting -> the kinds silenced in it; what is silenced at text only says so."""
        return {
            f"{setting}{AT_TEXT if place == 'text' else ''}": kinds
            for place in self.where.split(",")
            for setting, kinds in _kinds(self.settings).items()
        }

    @property
    def value(self) -> float | str:
        """What a silenced activation becomes: a number, or `zero` or `mean`."""
        try:
            number = float(self.to)
        except ValueError:
            return self.to
        return number if isfinite(number) else self.to


@dataclass(frozen=True)
class AttributeConfig:
    """Settings of `attribute`.

    Raises:
        InputError: for a value out of range, naming it.
    """

    where: Literal["text", "all"] = "text"
    """At which tokens neurons are silenced: text, all but the first of each text, where a few
    neurons hold what all later tokens attend to; all, as in perplexity."""
    exact: int = 20
    """Neurons of the largest effects that are silenced one by one, and as many drawn at random (of
    each kind, where neurons are given), to say how well first order does; 0 for none."""
    exact_tokens: int = 2000
    """Scored tokens, over all languages, on which they are silenced, at least."""
    settings: str = "specific,specific+related"
    """Sets whose cost is split, where neurons are given: kinds joined by +, settings parted by
    commas."""
    tolerance: float = 0.01
    """Share of a set's cost by which its neurons' parts may miss it."""
    points: int = 65
    """Points on the way from 1 to 0, at most, for a batch of texts."""
    text: Literal["response", "prompt"] = "response"
    """What is scored: responses given their prompts, or the prompts themselves, each once."""
    blocks: int = 10
    """Blocks of questions that effects are kept for, from which intervals come."""
    seed: int = 0
    """Seed of the neurons drawn at random."""
    budget: int = 0
    """Tokens of a batch, padding included; 0: 1,024 on a CPU, 16,384 elsewhere."""
    share_prompts: bool | None = None
    """Compute a prompt once for all its responses [default: where that is tried and gives the same
    costs]."""
    save_every: float = field(default=60.0, metadata=_PACE)
    """Seconds between savings of what is done, from which a killed run goes on."""

    def __post_init__(self) -> None:
        for name, least in (("exact", 0), ("exact_tokens", 1), ("points", 5), ("blocks", 1)):
            if getattr(self, name) < least:
                raise InputError(
                    f"{name.replace('_', '-')} {getattr(self, name)}: {least} or more are needed"
                )
        if self.budget < 0:
            raise InputError(
                f"budget {self.budget}: tokens of a batch, or 0 to leave it to langneurons"
            )
        if not 0 < self.tolerance < 1:
            raise InputError(f"tolerance {self.tolerance} is outside (0, 1)")
        for name, value, words in (
            ("where", self.where, ("text", "all")),
            ("text", self.text, ("response", "prompt")),
        ):
            if value not in words:
                raise InputError(f"{name} {value!r}: choose {' or '.join(words)}")
        if len(self.kinds) <= self.settings.count(","):
            raise InputError(
                f"settings {self.settings!r}: give each once, as in specific,specific+related"
            )

    @property
    def kinds(self) -> dict[str, tuple[str, ...]]:
        """Setting -> the kinds in it."""
        return _kinds(self.settings)


@dataclass(frozen=True)
class MediateConfig:
    """Settings of `mediate`.

    Raises:
        InputError: for a value out of range, naming it.
    """

    settings: str = "specific,related,general"
    """Sets of neurons that are taken over, of a text's own language and of any: kinds joined by +,
    settings parted by commas."""
    layers: str | None = None
    """Only neurons of these layers in those sets: 5, 0-4, or one of the paper's stages, such as
    reasoning."""
    controls: int = 3
    """Random sets drawn for each set and each way of matching: by layer, by activation rate where
    counts are known, by the size of alignment's change; 0 for none."""
    seed: int = 0
    """Seed of the random sets."""
    budget: int = 0
    """Tokens of a batch, padding included; 0: 1,024 on a CPU, 16,384 elsewhere."""
    save_every: float = field(default=60.0, metadata=_PACE)
    """Seconds between savings of what is done, from which a killed run goes on."""

    def __post_init__(self) -> None:
        if self.controls < 0:
            raise InputError(f"controls {self.controls}: random sets for each set, 0 for none")
        if self.budget < 0:
            raise InputError(
                f"budget {self.budget}: tokens of a batch, or 0 to leave it to langneurons"
            )
        if len(self.kinds) <= self.settings.count(","):
            raise InputError(f"settings {self.settings!r}: give each once, as in specific,related")

    @property
    def kinds(self) -> dict[str, tuple[str, ...]]:
        """Setting -> the kinds in it."""
        return _kinds(self.settings)


@dataclass(frozen=True)
class RewardConfig:
    """Settings of `reward`.

    Raises:
        InputError: for a value out of range, naming it.
    """

    direction: Literal["to-english", "from-english"] = "to-english"
    """`to-english`: P(English | response), as MAPO's code has it. `from-english`: P(response |
    English), as the paper's text writes it."""
    arithmetic: Literal["log-probability", "mapo"] = "log-probability"
    """`log-probability`: mean over the reference's tokens. `mapo`: its code's 1 / mean of the
    negative, in which the language token and padding take part."""
    references: int = 0
    """English responses to a question that each response is held against, the first of them; 0:
    all, as MAPO does."""
    max_tokens: int = 512
    """Tokens of a text, its language and end tokens included, beyond which it is cut (MAPO's code:
    512)."""
    budget: int = 0
    """Tokens of a batch, padding included; 0: 4,096 on a CPU, 8,192 elsewhere."""
    save_every: float = field(default=60.0, metadata=_PACE)
    """Seconds between savings of what is done, from which a killed scoring goes on."""

    def __post_init__(self) -> None:
        if self.direction not in ("to-english", "from-english"):
            raise InputError(f"direction {self.direction!r}: it is to-english or from-english")
        if self.arithmetic not in ("log-probability", "mapo"):
            raise InputError(f"arithmetic {self.arithmetic!r}: it is log-probability or mapo")
        if self.references < 0:
            raise InputError(f"references {self.references}: how many to a question, or 0 for all")
        if self.max_tokens < 3:
            raise InputError(
                f"max-tokens {self.max_tokens}: language, text and end are 3 tokens at least"
            )
        if self.budget < 0:
            raise InputError(
                f"budget {self.budget}: tokens of a batch, or 0 to leave it to langneurons"
            )


@dataclass(frozen=True)
class PromptedConfig:
    """How a causal model is asked to translate; translation models are not asked.

    Raises:
        InputError: for a value out of range, naming it.
    """

    translator_prompt: Literal["plain", "chat"] = "plain"
    """How a causal translator is asked: `plain`, the names of languages before texts; `chat`, by
    its own chat template."""
    shots: int = 3
    """Worked examples in a causal translator's prompt, the first of --examples."""

    def __post_init__(self) -> None:
        if self.translator_prompt not in ("plain", "chat"):
            raise InputError(f"translator-prompt {self.translator_prompt!r}: it is plain or chat")
        if self.shots < 1:
            raise InputError(f"shots {self.shots}: 1 or more; for none leave --examples out")


@dataclass(frozen=True)
class PairConfig:
    """Settings of `pair`.

    Raises:
        InputError: for a value out of range, naming it.
    """

    per_language: int = 10_000
    """Pairs per language, train and dev together (the paper: 10,000)."""
    margin: float = 0.0
    """How much higher the better score must be; 0: different, as MAPO's code has it."""
    max_tokens: int = 1024
    """Tokens of prompt, response and end token (MAPO's code: 1,024 characters); needs
    --tokenizer."""
    dev_every: int = 10
    """One question in so many is held out for dev (MAPO's code: 10); 0 for none."""
    seed: int = 0
    """Seed of the drawing."""

    def __post_init__(self) -> None:
        if self.per_language < 1:
            raise InputError(
                f"per-language {self.per_language}: 1 pair or more is needed; the paper uses 10,000"
            )
        if not 0 <= self.margin < float("inf"):
            raise InputError(f"margin {self.margin} is not a number from 0 up")
        if self.max_tokens < 2:
            raise InputError(
                f"max-tokens {self.max_tokens}: a response and its end are 2 tokens at least"
            )
        if self.dev_every < 0 or self.dev_every == 1:
            raise InputError(f"dev-every {self.dev_every}: 2 or more, or 0 to hold out nothing")


_PAPER = {"rate": 0.01, "tau-quantile": 0.95}


@dataclass(frozen=True)
class AlignConfig:
    """Settings of `align`. Defaults are the paper's, and where it says nothing those of MAPO's
    code.

    Raises:
        InputError: for a value out of range, naming it.
    """

    steps: int = 1000
    """Training steps (the paper, appendix). The last one is kept, not the one of the least loss."""
    batch: int = 16
    """Pairs of one step, over all processes (the paper, appendix)."""
    learning_rate: float = 1e-6
    """Highest learning rate (the paper, appendix)."""
    beta: float = 0.1
    """Beta of Eq. 1 and 2 (MAPO's example config; the paper does not give it); with GRPO the weight
    of the divergence from the base."""
    sft: float = 0.0
    """Weight of the chosen response's own loss, -log P per token, beside Eq. 3 (ours: the paper has
    none). It keeps a model from drifting at rates that it needs; with GRPO of no effect."""
    schedule: str = "cosine"
    """How the learning rate falls (MAPO's code)."""
    warmup: int = 100
    """Steps over which it rises (MAPO's code); at most a tenth of the steps."""
    rank: int = 64
    """Rank of the adapter (the paper, appendix)."""
    alpha: int = 128
    """Alpha of the adapter (the paper, appendix)."""
    dropout: float = 0.05
    """Dropout of the adapter (the paper, appendix). The base's own is off: its loss would not begin
    at ln 2."""
    targets: str = "q_proj,v_proj,o_proj"
    """Layers that get an adapter (MAPO's code), with commas; all-linear for every one."""
    device_batch: int = 2
    """Pairs in memory at once on a device (MAPO's code); the rest of a batch comes by
    accumulation."""
    max_tokens: int = 1024
    """Tokens of prompt, response and end token; longer pairs are left out (MAPO's code: 1,024
    characters)."""
    dev: int = 200
    """Pairs of the dev part that are watched, at most; 0 for none."""
    save_every: int = 100
    """Steps between checkpoints, all of which are kept (MAPO's code)."""
    seed: int = 0
    """Seed of the adapter, the order of the pairs, and dropout."""
    report_to: str = field(default="none", metadata=_PACE)
    """Where to report as well: tensorboard, wandb, or whatever transformers knows, with commas."""
    set: tuple[str, ...] = ()
    """Any field of TRL's DPOConfig or GRPOConfig, as max_grad_norm=0.5, or of PEFT's LoraConfig, as
    lora.bias=all."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "rank", "alpha", "device_batch", "save_every"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"{name.replace('_', '-')} {getattr(self, name)}: 1 or more are needed"
                )
        for name in ("learning_rate", "beta"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(
                    f"{name.replace('_', '-')} {getattr(self, name)} is not a number above 0"
                )
        if not 0 <= self.sft < float("inf"):
            raise InputError(f"sft {self.sft} is not a number from 0 up")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout {self.dropout} is outside [0, 1)")
        if self.max_tokens < 2 or self.dev < 0 or self.warmup < 0:
            raise InputError(
                f"max-tokens {self.max_tokens}, dev {self.dev}, warmup {self.warmup}: too small"
            )


RANDOM_LIKE = "random-like:"
"""What stands before kinds of neurons of which as many others are meant, drawn at random."""


@dataclass(frozen=True)
class AloneConfig:
    """Which neurons `align` trains and nothing else; without, an adapter of the usual form.

    Raises:
        InputError: for neurons without a use, or a use without neurons.
    """

    neurons: Path | None = None
    """Folder of neurons, of the model that is trained, for --only and --freeze."""
    only: str | None = None
    """Train the weights of these neurons and nothing else, those of --languages [default: of all]:
    kinds joined by +, as related or specific+related; random-like:related for as many others, drawn
    at random in the same layers and of like activation rate."""
    freeze: str | None = None
    """Train the weights of all neurons but these, said as with --only."""

    def __post_init__(self) -> None:
        if self.only and self.freeze:
            raise InputError("--only and --freeze say the same twice; give one of them")
        if bool(self.only or self.freeze) != bool(self.neurons):
            raise InputError(
                "--only and --freeze say which neurons of --neurons are meant; give one of them "
                "with it"
            )

    @property
    def words(self) -> str:
        """Which neurons are meant, as they were said; empty for none."""
        return self.only or self.freeze or ""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Their kinds."""
        return tuple(self.words.removeprefix(RANDOM_LIKE).split("+"))


@dataclass(frozen=True)
class GrpoConfig:
    """What `align --objective grpo` is told besides. Defaults are those of MAPO's code for PPO, and
    of TRL.

    Raises:
        InputError: for a value out of range, naming it.
    """

    group: int = 8
    """Responses to one prompt that are held against each other (TRL). A batch holds whole
    groups."""
    temperature: float = 1.0
    """Of the sampling (MAPO's code)."""
    max_new_tokens: int = 512
    """Tokens of a response, at most (MAPO's code)."""

    def __post_init__(self) -> None:
        if self.group < 2:
            raise InputError(
                f"group {self.group}: 2 responses or more are needed, to hold one against another"
            )
        if not 0 < self.temperature < float("inf"):
            raise InputError(f"temperature {self.temperature} is not a number above 0")
        if self.max_new_tokens < 1:
            raise InputError(f"max-new-tokens {self.max_new_tokens}: 1 or more are needed")


@dataclass(frozen=True)
class SteerConfig:
    """Settings of `steer`.

    Raises:
        InputError: for a value out of range, naming it.
    """

    settings: str = "specific,specific+related"
    """Which neurons of a target are steered together: kinds joined by +, settings parted by
    commas."""
    states: str | None = None
    """Residual states that are steered instead, by number, with commas; of several the best is
    taken [default: that after three tenths of the layers]."""
    strengths: str = "0.5,1,1.5,2,3"
    """Strengths that are tried of everything, with commas; that is taken which does best on other
    prompts."""
    by: Literal["diffmean", "mean"] = "diffmean"
    """`diffmean`: the mean of the target less that of the source is added; `mean`: neurons are
    moved to the target's mean."""
    controls: int = 1
    """Random sets of neurons for each set, matched per layer and by activation rate; 0 for none."""
    take: int = 30
    """The first so many prompts of each source."""
    beginning: int = 12
    """Tokens of a running text that are its prompt, at most."""
    max_new_tokens: int = 24
    """Where a continuation is cut."""
    bootstrap: int = 200
    """Resamplings of the prompts behind every interval; 0 for none."""
    seed: int = 0
    """Seed of the random sets and the resamplings."""
    rows: int = field(default=256, metadata=_CUT)
    """Continuations written at once; halved where memory does not suffice."""
    save_every: float = field(default=60.0, metadata=_PACE)
    """Seconds between savings of what is done, from which a killed run goes on."""

    def __post_init__(self) -> None:
        _require_resamplings(self.bootstrap)
        for name, least in (
            ("take", 4),
            ("beginning", 1),
            ("max_new_tokens", 1),
            ("rows", 1),
            ("controls", 0),
        ):
            if getattr(self, name) < least:
                raise InputError(
                    f"{name.replace('_', '-')} {getattr(self, name)}: {least} or more are needed"
                )
        if self.by not in ("diffmean", "mean"):
            raise InputError(f"by {self.by!r}: choose diffmean or mean")
        if len(self.kinds) <= self.settings.count(","):
            raise InputError(
                f"settings {self.settings!r}: give each once, as in specific,specific+related"
            )
        if not all(isfinite(strength) and strength > 0 for strength in self.tried):
            raise InputError(
                f"strengths {self.strengths!r}: numbers above 0 are needed; nothing steered is "
                "always told beside them"
            )
        self.numbered(0)

    @property
    def kinds(self) -> dict[str, tuple[str, ...]]:
        """Setting -> the kinds in it."""
        return _kinds(self.settings)

    @property
    def tried(self) -> tuple[float, ...]:
        """The strengths, rising."""
        try:
            return tuple(sorted({float(word) for word in self.strengths.split(",")}))
        except ValueError:
            raise InputError(
                f"strengths {self.strengths!r}: numbers with commas are needed, as 0.5,1,2"
            ) from None

    def numbered(self, layers: int) -> tuple[int, ...]:
        """Numbers of the states, in a model of so many layers."""
        if self.states is None:
            return (round(0.3 * layers),)
        words = listed(self.states)
        if not all(word.isdigit() for word in words):
            raise InputError(f"states {self.states!r}: give them by number, with commas, as 3,5")
        return tuple(sorted({int(word) for word in words}))


@dataclass(frozen=True)
class VectorConfig:
    """What `export vector` is told besides."""

    to: str | None = None
    """With vector: language that is steered to, as a code."""
    source: str | None = None
    """With vector: language that is steered from [default: all others of the means, each alike]."""
    strength: float = 1.0
    """With vector: how often the difference of means is added."""
    means: Path | None = None
    """With vector: folder of counts of this model, recorded with --means [default: those that the
    neurons come from, found beside them]."""


@dataclass(frozen=True)
class Asking:
    """How a model is asked."""

    engine: str = "transformers"
    """transformers, or the URL of an OpenAI-compatible server; its key is taken from
    LANGNEURONS_API_KEY if set. Or a command that starts one, in which {model}, {name} and {port}
    stand for MODEL, its name there and a free port; it is stopped in the end."""
    template: str | None = None
    """mathoctopus, plain, chat, or a text file; by default the model's chat template if it has one,
    or mathoctopus."""
    tokenizer: str | None = None
    """With a server: whose chat template it is, as a folder or an id on the Hub; by default that of
    the model that the server says it has, else of the model's name."""
    server_seeds: bool = True
    """Whether a server is sent a seed with each request; some cannot take one."""
    asked: str | None = None
    """Languages to ask in, as codes with commas; by default all there are."""
    silence: Path | None = None
    """Folder of neurons to silence meanwhile, of this model; those of another are refused unless
    --force."""
    languages: str | None = None
    """Languages whose neurons are silenced, as codes with commas."""
    kinds: str = "specific,related"
    """Kinds of neurons that are silenced or steered: specific, related, general, with commas."""
    steer: str | None = None
    """What is steered meanwhile: a folder of neurons of this model, of which those of --to are; or
    a residual state, as state:5."""
    to: str | None = None
    """Language that is steered to, as a code."""
    source: str | None = None
    """Language that is steered from [default: all others of the means, each alike]."""
    by: Literal["diffmean", "mean"] = "diffmean"
    """`diffmean`: the mean of --to less that of --source is added; `mean`: neurons are moved to the
    mean of --to."""
    strength: float = 1.0
    """How often the difference is added, or what share of the way neurons are moved; 0 leaves the
    model as it is."""
    means: Path | None = None
    """Folder of counts of this model, recorded with --means [default: those that the neurons come
    from, found beside them]."""
