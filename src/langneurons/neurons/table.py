"""Neurons: the classified table, one row per selected or general neuron, and how it came about."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from langneurons import artifacts
from langneurons.errors import FormatError, InputError

if TYPE_CHECKING:
    import pyarrow

FORMAT = 1
"""Version of the table and metadata that `Neurons.to_table` writes."""

KINDS = ("specific", "related", "general", "none")
"""What a neuron is: highly active in one language, in several, in all, or (selected all the same)
in none."""


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
    """

    method: Literal["ternary", "lape", "imported"]
    rate: float | None = None
    tau_quantile: float | None = None
    tau: float | None = None
    prefilter: bool = False
    lam: Lambda | None = None
    histogram: tuple[int, ...] = ()


@dataclass(frozen=True)
class Uncertainty:
    """What resampling the blocks says.

    Attributes:
        blocks: number of blocks resampled, G.
        replicates: number of resamplings.
        level: share of the replicates inside an interval.
        failed: replicates left out: a general neuron was selected at lambda 0, or a language had no
            token.
        intervals: name -> (low, high). Names: `tau`, `lambda`, `specific`, `related`, `general`,
            `none`, `specific/zh`, `related/zh`, `specific@7` (layer 7), and so on.
    """

    blocks: int
    replicates: int
    level: float
    failed: int
    intervals: Mapping[str, tuple[float, float]]


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
    """

    KIND: ClassVar[str] = "neurons"
    FILE: ClassVar[str] = "neurons.parquet"

    languages: tuple[str, ...]
    widths: tuple[tuple[int, ...], ...] | None
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

    def __len__(self) -> int:
        return len(self.layer)

    @property
    def n_languages(self) -> NDArray[np.intp]:
        """Languages in which each is highly active, N of Eq. 6, [n]."""
        return self.member.sum(axis=1)

    @property
    def kind(self) -> NDArray[np.str_]:
        """What each is, one of `KINDS`, [n]: N = 1 specific, 1 < N < K related, N = K general, N = 0 none."""
        return kind_of(self.n_languages, len(self.languages))

    @property
    def layers(self) -> int:
        """Number of layers; for an import of unknown widths, up to the last layer that holds a neuron."""
        if self.widths is not None:
            return len(self.widths)
        return int(self.layer.max()) + 1 if len(self) else 0

    @property
    def keys(self) -> NDArray[np.int64]:
        """(layer, expert, neuron) of each, [n, 3], to match tables by position."""
        return np.stack([self.layer, self.expert, self.neuron], axis=1).astype(np.int64)

    def where(self, mask: NDArray[np.bool_]) -> "Neurons":
        """The rows for which `mask` [n] is true."""
        rows = {f.name: getattr(self, f.name)[mask] for f in fields(self) if f.name in _COLUMNS}
        return replace(self, **rows)

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
        """The table as it stands in `neurons.parquet`; `rule`, languages, widths and intervals in its metadata."""
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
            "uncertainty": None if self.uncertainty is None else asdict(self.uncertainty),
        }
        return pa.table(columns).replace_schema_metadata({"langneurons": json.dumps(meta)})

    @classmethod
    def from_table(cls, table: "pyarrow.Table") -> "Neurons":
        """Neurons from what `to_table` gave.

        Raises:
            FormatError: when the table is not of this format.
        """
        meta = json.loads((table.schema.metadata or {}).get(b"langneurons", b"{}"))
        if meta.get("format") != FORMAT:
            raise FormatError(
                f"not a table of neurons of format {FORMAT}; its columns are {table.column_names[:6]}"
            )

        def column(name: str) -> NDArray:
            return table[name].to_numpy()

        languages = tuple(meta["languages"])
        listed = table["languages"].to_pylist()
        uncertainty = meta["uncertainty"]
        return cls(
            languages,
            None if meta["widths"] is None else tuple(map(tuple, meta["widths"])),
            _rule(meta["rule"]),
            column("layer"),
            np.nan_to_num(column("expert"), nan=-1).astype(np.int32)
            if "expert" in table.column_names
            else np.full(len(table), -1, np.int32),
            column("neuron"),
            np.array([[code in row for code in languages] for row in listed], bool).reshape(
                -1, len(languages)
            ),
            column("selected"),
            column("score"),
            column("margin"),
            np.stack([column(f"p_{code}") for code in languages], axis=1),
            column("keeps"),
            None if uncertainty is None else _uncertainty(uncertainty),
        )

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


def kind_of(n_languages: NDArray[np.integer], languages: int) -> NDArray[np.str_]:
    """Kind of neurons that are highly active in `n_languages` of `languages`, for the selected."""
    names = np.array(["none", "specific", *["related"] * (languages - 2), "general"])
    return names[n_languages]


def _uncertainty(meta: dict[str, Any]) -> Uncertainty:
    intervals: Any = {name: tuple(pair) for name, pair in meta["intervals"].items()}
    return Uncertainty(**{**meta, "intervals": intervals})


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
