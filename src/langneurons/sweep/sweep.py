"""Sweep: every claim in every cell as one long table, and how it is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from langneurons import artifacts
from langneurons.config import SweepConfig
from langneurons.intervals import Floats
from langneurons.layout import Widths
from langneurons.neurons.chance import ONE_BLOCK, spread
from langneurons.neurons.counts import Counts
from langneurons.neurons.numbers import KINDS, LANGUAGE_KINDS
from langneurons.resume import Progress, Saved
from langneurons.sweep import tables
from langneurons.sweep.grid import PAPER
from langneurons.sweep.judged import Row, curves, rows, shuffled_curves
from langneurons.sweep.units import Counted
from langneurons.tables import Table

if TYPE_CHECKING:
    import pyarrow

FORMAT = 1
"""Version of the table and metadata that `Sweep.to_table` writes."""

_TEXTS = "method lam_rule left_out thresholds claim verdict words lam_status problem"
_WHOLE = "cell selected"
_YES = "prefilter paper"
_FLOATS = "rate tau_quantile effect low high lam tau after_lam after_tau fit fit_by_chance"


@dataclass(frozen=True)
class Sweep:
    """Every claim in every cell.

    Attributes:
        languages: the K codes.
        widths: shape of every layer.
        rows: one for each claim in each cell: settings of the cell, verdict, effect and interval,
            lambda, tau, numbers by kind and language, cuts and fit, and what chance gives; see
            docs/sweep.md. What is not known is None or absent.
        layers: neurons of each layer in the paper's cell, [2, L]: language neurons, then general
            ones; empty where the grid does not hold it.
        notes: what to know of how it came about.
        resamplings: how many an interval rests on; None where that is not known.
    """

    KIND: ClassVar[str] = "sweep"
    FILE: ClassVar[str] = "sweep.parquet"

    languages: tuple[str, ...]
    widths: Widths
    rows: Sequence[Row]
    layers: Sequence[Sequence[Mapping[str, float]]]
    notes: Sequence[str] = ()
    resamplings: int | None = None

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return len({row["cell"] for row in self.rows})

    @property
    def tables(self) -> tuple[Table, ...]:
        """What is told of all cells together."""
        return tables.tables(self.rows)

    def to_table(self) -> "pyarrow.Table":
        """The long table as it stands in `sweep.parquet`."""
        import pyarrow as pa

        numbers = [*KINDS, *(f"after_{kind}" for kind in KINDS)]
        numbers += [f"{kind}_{code}" for kind in LANGUAGE_KINDS for code in self.languages]
        chance = [f"{kind}_by_chance{end}" for kind in KINDS for end in ("", "_high")]
        chance += ["specific_to_half", "specific_to_half_high", "fit_by_chance_high"]
        kinds = {
            **dict.fromkeys(_WHOLE.split(), pa.int32()),
            **dict.fromkeys(_YES.split(), pa.bool_()),
            **dict.fromkeys(_TEXTS.split(), pa.string()),
            **dict.fromkeys([*_FLOATS.split(), *chance], pa.float64()),
            **dict.fromkeys(numbers, pa.int32()),
            "binding": pa.list_(pa.int32()),
            "starts": pa.list_(pa.int32()),
        }
        meta = {
            "format": FORMAT,
            "languages": self.languages,
            "widths": self.widths,
            "layers": self.layers,
            "notes": list(self.notes),
            "resamplings": self.resamplings,
        }
        rows = [dict(row) for row in self.rows]
        return artifacts.with_meta(pa.Table.from_pylist(rows, schema=pa.schema(kinds)), meta)

    @classmethod
    def from_table(cls, table: "pyarrow.Table") -> "Sweep":
        """What `to_table` gave.

        Raises:
            FormatError: when the table is not of this format.
        """
        meta = artifacts.meta_of(table, version=FORMAT, what="a sweep")
        return cls(
            languages=tuple(meta["languages"]),
            widths=tuple(map(tuple, meta["widths"])),
            rows=table.to_pylist(),
            layers=meta["layers"],
            notes=meta["notes"],
            resamplings=meta.get("resamplings"),
        )

    def write(self, draft: artifacts.Draft) -> None:
        """Add the long table, and each of `tables` as CSV and LaTeX, to a folder being written."""
        draft.table(self.FILE, self.to_table())
        for table in self.tables:
            draft.bytes(f"{table.name}.csv", table.to_csv().encode())
            draft.bytes(f"{table.name}.tex", table.to_latex().encode())

    def save(self, folder: Path | str) -> None:
        """Write it into a folder of its own; see `artifacts.save`."""
        artifacts.save(self, folder)

    @classmethod
    def load(cls, source: Path | str | artifacts.Artifact) -> "Sweep":
        """That in a finished folder.

        Raises:
            InputError: when there is none, or it holds something else.
            FormatError: when its file is damaged.
        """
        return cls.from_table(artifacts.opened(source, cls.KIND).table(cls.FILE))


def sweep(
    counts: Counts,
    config: SweepConfig | None = None,
    *,
    after: Counts | None = None,
    trained: Sequence[str] = (),
    state: Saved | None = None,
    on_step: Progress | None = None,
) -> Sweep:
    """Every claim that counts can answer, in every cell of a grid of settings.

    Args:
        counts: of a model.
        config: the grid, and what all cells share.
        after: counts of the model after an alignment, for the claims of what changed.
        trained: languages that were aligned.
        state: where to keep what is done.
        on_step: told of the cells done and of all, those of resamplings and draws included.

    Raises:
        InputError: for an axis that selects nothing.
        MismatchError: when counts before and after are of other widths or languages.
    """
    counted = Counted(counts, after, config or SweepConfig())
    counted.count(state, on_step)
    return Sweep(
        languages=counted.languages,
        widths=counts.widths,
        rows=rows(counted, trained),
        layers=_layers(counted),
        notes=_notes(counted),
        resamplings=counted.config.bootstrap,
    )


def _layers(counted: Counted) -> list[list[dict[str, float]]]:
    """Neurons of each layer in the paper's cell, beside neurons shuffled over layers."""
    if PAPER not in counted.cells or counted.found[counted.cells.index(PAPER)].problem:
        return []
    numbers = counted.numbers("observed", counted.cells.index(PAPER), "before")
    observed = curves(numbers)
    shuffled = shuffled_curves(numbers, counted.before.widths)
    return [_beside(curve, shuffled[:, k]) for k, curve in enumerate(observed)]


def _beside(curve: Floats, shuffled: Floats) -> list[dict[str, float]]:
    """Each layer's neurons, and the mean and ends of what shuffled neurons give, [L] and [R, L]."""
    found = []
    for layer, neurons in enumerate(curve.tolist()):
        by_chance = spread(shuffled[:, layer])
        found.append(
            {
                "neurons": int(neurons),
                "chance": by_chance.mean,
                "low": by_chance.low,
                "high": by_chance.high,
            }
        )
    return found


def _notes(counted: Counted) -> list[str]:
    """What to know of how a sweep came about."""
    notes = []
    if PAPER not in counted.cells:
        notes.append(
            f"the grid does not hold the paper's cell ({PAPER.words()}), so none is marked"
        )
    if counted.before.blocks < 2:
        notes.append(f"no intervals, and no chance beside numbers: {ONE_BLOCK}")
    elif counted.before.blocks % len(counted.languages) and counted.config.chance:
        notes.append(
            f"{counted.before.blocks} blocks are no multiple of {len(counted.languages)} "
            "languages: their mixes are uneven, and chance looks larger than it is"
        )
    problems = [found.problem for found in counted.found if found.problem]
    if problems:
        notes.append(f"{len(problems)} cells give nothing; the first: {problems[0]}")
    return notes
