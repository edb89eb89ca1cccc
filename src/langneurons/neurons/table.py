"""Neurons: the classified table, one row per selected or general neuron, and how it came about."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons import artifacts, layout
from langneurons.errors import InputError, MissingExtraError
from langneurons.layout import Widths
from langneurons.neurons.agreement import Agreement
from langneurons.neurons.contrasts import Contrast
from langneurons.neurons.numbers import (
    KINDS,
    Intervals,
    Numbers,
    count,
    kind_of,
    least_general,
)
from langneurons.tables import Table

if TYPE_CHECKING:
    import pandas
    import pyarrow

FORMAT = 1
"""Version of the table and metadata that `Neurons.to_table` writes."""


@dataclass(frozen=True)
class Lambda:
    """The weight of effectiveness against specificity (lambda of Eq. 5), and how it was found.

    Attributes:
        value: the lambda used. Released units: score = H / ln K - lambda * max p / h, h = mean of
            1, 1/2, ..., 1/K.
        status: `bound`: the largest lambda at which no general neuron is selected; `not binding`:
            none is selected up to the limit, which is used; `no general`: there is no general
            neuron, so the limit is used; `given`.
        factor: lambda in the plain units of Eq. 5 is `value * factor`; ln K / h.
        supremum: end of the first interval of feasible lambdas, from 0 up; None when given.
        binding: the general neuron that would be selected next, as (layer, neuron) or (layer,
            expert, neuron).
        feasible: every interval of [0, limit] in which no general neuron is selected.
        curve: (lambda, general neurons among the selected), the cliff behind the choice.
    """

    value: float
    status: Literal["bound", "not binding", "no general", "given"]
    factor: float
    supremum: float | None = None
    binding: tuple[int, ...] | None = None
    feasible: tuple[tuple[float, float], ...] = ()
    curve: tuple[tuple[float, int], ...] = ()

    @property
    def plain(self) -> float:
        """Lambda in the plain units of Eq. 5."""
        return self.value * self.factor

    @property
    def later(self) -> tuple[tuple[float, float], ...]:
        """The feasible intervals after the first."""
        return self.feasible[1:]


@dataclass(frozen=True)
class Rule:
    """How the neurons were chosen.

    Attributes:
        method: `ternary` (the paper), `lape` (Tang et al. 2024), or `imported`.
        rate: share of all neurons that is selected.
        tau_quantile: share of all activation probabilities that is not above tau.
        tau: the bar; a neuron is highly active in a language where its probability is greater. None
            when imported.
        prefilter: whether neurons that are highly active in no language were dropped before the
            selection.
        lam: lambda; None for LAPE and imports.
        histogram: how many of all neurons are highly active in N = 0..K languages; empty when
            imported.
        by: what stands in `probability` and is held against tau: `rate`, activation probabilities;
            `effect`, effects as shares of the largest, see `Effects.probability`.
        general: share of the languages in which a general neuron is highly active at least.
    """

    method: Literal["ternary", "lape", "imported"]
    rate: float | None = None
    tau_quantile: float | None = None
    tau: float | None = None
    prefilter: bool = False
    lam: Lambda | None = None
    histogram: tuple[int, ...] = ()
    by: Literal["rate", "effect"] = "rate"
    general: float = 1.0

    @property
    def levels(self) -> str:
        """What is held against tau, in words."""
        return "effects as shares of the largest" if self.by == "effect" else "probabilities"


@dataclass(frozen=True)
class Uncertainty:
    """What resampling the blocks says.

    Attributes:
        blocks: number of blocks resampled, G.
        replicates: number of resamplings.
        level: share of the replicates inside an interval.
        failed: replicates left out: a general neuron was selected at lambda 0, or a language had no
            token.
        intervals: of the numbers of neurons.
    """

    blocks: int
    replicates: int
    level: float
    failed: int
    intervals: Intervals


class Spread(NamedTuple):
    """A number over several draws: its mean, and the interval that holds 95% of them."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Chance:
    """What the thresholds give where there is nothing to find; see `chance`.

    Attributes:
        draws: permutations of the languages' labels.
        failed: those that allow no lambda, and are left out.
        permuted: kind -> neurons of it with labels permuted; empty where every draw failed.
        halves: language -> neurons specific to one half of its blocks, mean over halves and splits.
    """

    draws: int
    failed: int
    permuted: dict[str, Spread]
    halves: dict[str, float]


@dataclass(frozen=True)
class Again:
    """How many neurons are found again from part of the blocks: whether the texts are enough.

    Blocks are drawn without replacement, several times. A neuron is found again where it is of the
    same kind, a specific one of the same language.

    Attributes:
        blocks: how many are drawn, of all there are.
        tokens: tokens in them, in the language with the fewest, mean over the draws.
        of: whose neurons are looked for: `all`, those of all blocks, of which the drawn are a part;
            `rest`, those of as many other blocks, which share nothing with the drawn.
        shares: kind -> share that is found again: median, lowest and highest over the draws; a kind
            of which there are none is left out.
    """

    blocks: int
    tokens: int
    of: Literal["all", "rest"]
    shares: Mapping[str, tuple[float, float, float]]


@dataclass(frozen=True)
class Neurons:
    """The classified neurons, ordered by layer, expert, neuron. n rows, K languages.

    Attributes:
        languages: the K codes.
        widths: shape of every layer, (D,) or (E, I); None when not known (imports).
        rule: how they were chosen.
        layer: layer of each, [n].
        expert: expert of each, [n], -1 in dense layers.
        neuron: index within the layer or expert, [n].
        member: in which languages each is highly active, [n, K].
        selected: whether it is among the selected, [n]; general neurons are listed either way.
        score: Eq. 5, in released units, [n]; NaN when imported.
        margin: how far the score is from the selection boundary, [n]: positive inside. For a
            selected neuron the best rejected score minus its own, for the others the worst selected
            score minus its own.
        probability: activation probabilities, [n, K]; NaN when imported.
        keeps: share of bootstrap replicates in which the neuron is of the same kind (a specific
            one: of the same language), [n]; NaN where there was no bootstrap, and for neurons that
            are not selected.
        uncertainty: intervals from resampling blocks; None when there was one block.
        again: how many are found again from fewer blocks; empty when there was one, or no
            resampling.
        agreement: how far the model's neurons do the same in all languages, of all neurons, listed
            or not; None where the counts do not tell.
        chance: what the thresholds give by chance; None when there was one block.
        contrasts: how neurons per layer differ between the four stages, as `contrasts.BY_NEURONS`
            claims it; empty where there are no four, and for imports.
    """

    KIND: ClassVar[str] = "neurons"
    FILE: ClassVar[str] = "neurons.parquet"

    languages: tuple[str, ...]
    widths: Widths | None
    rule: Rule
    layer: NDArray[np.integer]
    expert: NDArray[np.integer]
    neuron: NDArray[np.integer]
    member: NDArray[np.bool_]
    selected: NDArray[np.bool_]
    score: NDArray[np.float64]
    margin: NDArray[np.float64]
    probability: NDArray[np.float64]
    keeps: NDArray[np.float64]
    uncertainty: Uncertainty | None = None
    again: tuple[Again, ...] = ()
    agreement: Agreement | None = None
    chance: Chance | None = None
    contrasts: tuple[Contrast, ...] = ()

    def __len__(self) -> int:
        return len(self.layer)

    def __repr__(self) -> str:
        kinds = zip(KINDS, self.numbers.kinds, strict=True)
        numbers = ", ".join(f"{int(n):,} {kind}" for kind, n in kinds)
        where = f" of {layout.describe(self.widths)}" if self.widths else ""
        return f"Neurons({numbers}{where}; {', '.join(self.languages)})"

    def _repr_html_(self) -> str:
        """How a notebook shows it."""
        numbers = self.numbers
        specific, related = numbers.languages.astype(int).tolist()
        rows = tuple(zip(self.languages, specific, related, strict=True))
        general = int(numbers.of_kind("general").value)
        caption = (
            f"Language-specific and language-related neurons of each language; {general:,} general."
        )
        columns = ("language", "specific", "related")
        return Table("neurons", caption, columns, rows).to_html()

    @property
    def n_languages(self) -> NDArray[np.intp]:
        """Languages in which each is highly active, N of Eq. 6, [n]."""
        return self.member.sum(axis=1)

    @property
    def kind(self) -> NDArray[np.str_]:
        """What each is, one of `KINDS`, [n].

        N = 0 none, N = 1 specific, N from `least_general` up general, related in between.
        """
        return kind_of(self.n_languages, len(self.languages), self.least_general)

    @property
    def least_general(self) -> int:
        """Lowest N of a general neuron: K, unless the rule says a smaller share of them."""
        return least_general(len(self.languages), self.rule.general)

    @property
    def layers(self) -> int:
        """Number of layers; where widths are not known, up to the last that holds a neuron."""
        if self.widths is not None:
            return len(self.widths)
        return int(self.layer.max()) + 1 if len(self) else 0

    @property
    def with_neurons(self) -> NDArray[np.bool_]:
        """Which layers have neurons at all, [L]; in hybrids some have no feed-forward."""
        if self.widths is None:
            return np.ones(self.layers, dtype=bool)
        return layout.with_neurons(self.widths)

    @property
    def keys(self) -> NDArray[np.int64]:
        """(layer, expert, neuron) of each, [n, 3], to match tables by position."""
        return np.stack([self.layer, self.expert, self.neuron], axis=1).astype(np.int64)

    @property
    def numbers(self) -> Numbers:
        """How many there are of each sort, with intervals where there are any.

        Of part of a table the rows are counted; the bar, lambda and `everywhere` stay those of the
        whole, and there are no intervals.
        """
        rule = self.rule
        counted = count(
            self.layer,
            self.member,
            self.selected,
            layers=self.layers,
            tau=rule.tau,
            lam=rule.lam.value if rule.lam else None,
            everywhere=rule.histogram or None,
            least_general=self.least_general,
        )
        if self.uncertainty is None:
            return counted
        return counted._replace(intervals=self.uncertainty.intervals)

    def where(self, mask: NDArray[np.bool_]) -> "Neurons":
        """The rows for which `mask` [n] is true.

        Without `uncertainty`, `again`, `chance` and `contrasts`, which are of all of them.
        """
        rows = {name: getattr(self, name)[mask] for name in _COLUMNS}
        return replace(self, **rows, uncertainty=None, again=(), chance=None, contrasts=())

    def of(self, *languages: str, kinds: Sequence[str] = ("specific", "related")) -> "Neurons":
        """The rows of these kinds that are highly active in one of these languages, at least.

        Args:
            *languages: their codes; none for any, neurons highly active in no language (kind
                `none`) included.
            kinds: of `numbers.KINDS`.

        Raises:
            InputError: for a language or a kind that is not known.
        """
        unknown = [code for code in languages if code not in self.languages]
        if unknown:
            raise InputError(
                f"the neurons know nothing of {', '.join(unknown)}; "
                f"their languages are {', '.join(self.languages)}"
            )
        chosen = self.of_kinds(tuple(kinds))
        if not languages:
            return chosen
        among = [self.languages.index(code) for code in languages]
        return chosen.where(np.any(chosen.member[:, among], axis=1))

    def of_kinds(self, kinds: tuple[str, ...]) -> "Neurons":
        """The rows of these kinds.

        Raises:
            InputError: for a word that is no kind.
        """
        wrong = [kind for kind in kinds if kind not in KINDS]
        if wrong:
            raise InputError(f"{wrong[0]!r} is no kind of neuron; the kinds are {', '.join(KINDS)}")
        return self.where(np.isin(self.kind, kinds))

    def to_table(self) -> "pyarrow.Table":
        """The table as it stands in `neurons.parquet`.

        Its metadata hold `rule`, languages, widths and intervals.
        """
        import pyarrow as pa

        codes = np.array(self.languages)
        columns: dict[str, Any] = {"layer": pa.array(self.layer.astype(np.int32))}
        if (self.expert >= 0).any():
            columns["expert"] = pa.array(self.expert.astype(np.int32), mask=self.expert < 0)
        columns |= {
            "neuron": pa.array(self.neuron.astype(np.int32)),
            "kind": pa.array(self.kind.tolist(), pa.string()),
            "n_languages": pa.array(self.n_languages.astype(np.int32)),
            "languages": pa.array(
                [codes[row].tolist() for row in self.member], pa.list_(pa.string())
            ),
            "selected": pa.array(self.selected),
        }
        floats = {"score": self.score, "margin": self.margin, "keeps": self.keeps}
        floats |= {f"p_{code}": self.probability[:, k] for k, code in enumerate(self.languages)}
        columns |= {name: pa.array(values, from_pandas=True) for name, values in floats.items()}
        meta = {
            "format": FORMAT,
            "languages": self.languages,
            "widths": self.widths,
            "rule": asdict(self.rule),
            "uncertainty": self.uncertainty and _to_meta(self.uncertainty, self.languages),
            "again": [asdict(row) for row in self.again],
            "agreement": self.agreement and self.agreement.to_meta(),
            "chance": self.chance and asdict(self.chance),
            "contrasts": [contrast.to_meta() for contrast in self.contrasts],
        }
        return artifacts.with_meta(pa.table(columns), meta)

    @classmethod
    def from_table(cls, table: "pyarrow.Table") -> "Neurons":
        """Neurons from what `to_table` gave.

        Raises:
            FormatError: when the table is not of this format.
        """
        meta = artifacts.meta_of(table, version=FORMAT, what="a table of neurons")

        def column(name: str) -> NDArray:
            return table[name].to_numpy()

        languages, widths = tuple(meta["languages"]), meta["widths"]
        active_in = table["languages"].to_pylist()
        member = [[code in codes for code in languages] for codes in active_in]
        expert = np.full(len(table), -1, dtype=np.int32)
        if "expert" in table.column_names:
            expert = np.nan_to_num(column("expert"), nan=-1).astype(np.int32)
        return cls(
            languages=languages,
            widths=None if widths is None else tuple(map(tuple, widths)),
            rule=_rule(meta["rule"]),
            layer=column("layer"),
            expert=expert,
            neuron=column("neuron"),
            member=np.array(member, dtype=bool).reshape(-1, len(languages)),
            selected=column("selected"),
            score=column("score"),
            margin=column("margin"),
            probability=np.stack([column(f"p_{code}") for code in languages], axis=1),
            keeps=column("keeps"),
            uncertainty=_from_meta(meta["uncertainty"], languages),
            again=tuple(_again(row) for row in meta.get("again", ())),
            agreement=meta.get("agreement") and Agreement.from_meta(meta["agreement"]),
            chance=_chance(meta.get("chance")),
            contrasts=tuple(map(Contrast.from_meta, meta.get("contrasts", ()))),
        )

    def to_pandas(self) -> "pandas.DataFrame":
        """The table as a data frame, one row per neuron.

        Raises:
            MissingExtraError: when pandas is not installed.
        """
        try:
            import pandas as pd  # noqa: F401 - pyarrow says less of what to do
        except ImportError as error:
            raise MissingExtraError(
                "a data frame needs pandas; install it: pip install pandas"
            ) from error
        return self.to_table().to_pandas()

    def write(self, draft: artifacts.Draft) -> None:
        """Add them to a folder that is being written."""
        draft.table(self.FILE, self.to_table())

    def save(self, folder: Path | str) -> None:
        """Write them into a folder of their own; see `artifacts.save`."""
        artifacts.save(self, folder)

    @classmethod
    def load(cls, source: Path | str | artifacts.Artifact) -> "Neurons":
        """Those in a finished folder.

        Raises:
            InputError: when there is none, or it holds something else.
            FormatError: when its file is damaged.
        """
        return cls.from_table(artifacts.opened(source, cls.KIND).table(cls.FILE))


_COLUMNS = (
    "layer",
    "expert",
    "neuron",
    "member",
    "selected",
    "score",
    "margin",
    "probability",
    "keeps",
)


def _to_meta(uncertainty: Uncertainty, languages: tuple[str, ...]) -> dict[str, Any]:
    """What resampling said, as the metadata of a file keep it."""
    content = {f.name: getattr(uncertainty, f.name) for f in fields(uncertainty)}
    return content | {"intervals": uncertainty.intervals.named(languages)}


def _from_meta(content: Mapping[str, Any] | None, languages: tuple[str, ...]) -> Uncertainty | None:
    """What `_to_meta` gave."""
    if content is None:
        return None
    return Uncertainty(
        blocks=content["blocks"],
        replicates=content["replicates"],
        level=content["level"],
        failed=content["failed"],
        intervals=Intervals.from_named(content["intervals"], languages),
    )


def _again(row: Mapping[str, Any]) -> Again:
    """A row of `again`, as the metadata of a file keep it."""
    shares = {kind: (middle, low, high) for kind, (middle, low, high) in row["shares"].items()}
    return Again(blocks=row["blocks"], tokens=row["tokens"], of=row["of"], shares=shares)


def _chance(content: Mapping[str, Any] | None) -> Chance | None:
    """What chance gives, from the metadata of a file."""
    if content is None:
        return None
    permuted = {kind: Spread(*ends) for kind, ends in content["permuted"].items()}
    whole: dict[str, Any] = {**content, "permuted": permuted}
    return Chance(**whole)


def _rule(meta: dict[str, Any]) -> Rule:
    lam = meta["lam"]
    if lam is not None:
        binding = lam["binding"]
        tuples: dict[str, Any] = {
            "binding": None if binding is None else tuple(binding),
            "feasible": tuple(map(tuple, lam["feasible"])),
            "curve": tuple(map(tuple, lam["curve"])),
        }
        lam = Lambda(**{**lam, **tuples})
    content: dict[str, Any] = {**meta, "lam": lam, "histogram": tuple(meta["histogram"])}
    return Rule(**content)
