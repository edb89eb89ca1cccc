"""Matrix: what silencing each language's neurons does to every language; is the diagonal hurt most?

Rows are the languages whose neurons are silenced, columns those evaluated. Intervals resample
blocks of questions, the same draw for every condition and language (questions are parallel), so
what texts have in common cancels out.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons.intervals import SURE, Verdict, block_draws, interval
from langneurons.silencing.losses import Condition, Losses, places
from langneurons.tables import p_value, written

MEASURES = ("difference", "log ratio", "bits per byte")
"""What a change is: of the perplexity (the paper), of its logarithm, of the bits per byte of
text."""

RESAMPLINGS, PERMUTATIONS = 1000, 10_000
"""Resamplings behind an interval, and permutations behind a p-value that is not exact."""


class Matrix(NamedTuple):
    """Changes of one setting in one measure. K language.

    Attributes:
        languages: the K codes.
        setting: which neurons were silenced.
        measure: one of `MEASURES`.
        neurons: how many were silenced, [K]; rows of 0 hold NaN.
        before: with nothing silenced, [K] (perplexity, its logarithm, bits per byte).
        change: after minus before, [K silenced, K evaluated].
        low: lower ends of the intervals, [K, K]; NaN with one block.
        high: upper ends.
        controls: changes by each random set, [draws, K, K].
        replicates: changes in every resampling, [R, K, K].
    """

    languages: tuple[str, ...]
    setting: str
    measure: str
    neurons: NDArray[np.int64]
    before: NDArray[np.float64]
    change: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    controls: NDArray[np.float64]
    replicates: NDArray[np.float64]

    @property
    def measured(self) -> NDArray[np.intp]:
        """Rows in which something was silenced."""
        return np.flatnonzero(self.neurons > 0)

    @property
    def percentile(self) -> NDArray[np.float64]:
        """Share of the random sets with a smaller change, [K, K]; NaN without any.

        Those with the same change are counted half.
        """
        if not len(self.controls):
            return np.full(self.change.shape, np.nan)
        share = ((self.controls < self.change) + 0.5 * (self.controls == self.change)).mean(axis=0)
        return np.where(np.isnan(self.change), np.nan, share)

    def drawn(self, how: Literal["mean", "median", "min", "max"]) -> NDArray[np.float64]:
        """What the random sets change in the mean, the median, at least or at most, [K, K].

        A set that catches a sink hurts every language, and the mean with it; the median tells of
        the others. NaN without any.
        """
        if not len(self.controls):
            return np.full(self.change.shape, np.nan)
        return getattr(np, how)(self.controls, axis=0)


class Dominance(NamedTuple):
    """Whether the changes of a setting lie on the diagonal.

    Attributes:
        setting: which neurons were silenced.
        measure: what a change is.
        rows: languages that have such neurons.
        on_diagonal: those of them whose greatest change is their own.
        surely: those of these whose own change exceeds the greatest other one with its whole
            interval; empty with one block.
        elsewhere: the others, each with the other language that changes most, or as much.
        empty: languages that have no such neurons.
        diagonal: mean change on the diagonal.
        others: mean change off it, in the same rows.
        interval: of diagonal minus others; None with one block.
        controls: diagonal minus others of each random draw.
        random: mean change on the diagonal by each random draw; off it, that less `controls`.
        beyond: languages whose own change is greater than by every random set; empty without any.
        p: share of the assignments of columns to rows whose diagonal is at least as great; no
            effect of a row or a column as a whole (a language that any silencing hurts) can make it
            small.
        holds: `holds`, `does not hold`, `cannot tell`.
    """

    setting: str
    measure: str
    rows: tuple[str, ...]
    on_diagonal: tuple[str, ...]
    surely: tuple[str, ...]
    elsewhere: dict[str, str]
    empty: tuple[str, ...]
    diagonal: float
    others: float
    interval: tuple[float, float] | None
    controls: tuple[float, ...]
    random: tuple[float, ...]
    beyond: tuple[str, ...]
    p: float
    holds: Verdict


@dataclass(frozen=True)
class Matrices(Mapping[tuple[str, str], Matrix]):
    """Every matrix of some losses, each made once: `matrices[setting, measure]`.

    Attributes:
        losses: what they are made from.
        made: (setting, measure) -> matrix, in order of the losses' settings and of `MEASURES`.
    """

    losses: Losses
    made: Mapping[tuple[str, str], Matrix]

    @property
    def languages(self) -> tuple[str, ...]:
        """The K codes, silenced and evaluated."""
        return self.losses.languages

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings, in order."""
        return self.losses.settings

    def dominance(self, setting: str, measure: str) -> Dominance:
        """Whether the changes of a setting lie on the diagonal; see `dominance`."""
        return dominance(self[setting, measure])

    def __getitem__(self, key: tuple[str, str]) -> Matrix:
        return self.made[key]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.made)

    def __len__(self) -> int:
        return len(self.made)


def matrices(losses: Losses, seed: int = 0) -> Matrices:
    """The matrix of every setting in every measure; see `matrix`."""
    made = {
        (setting, measure): matrix(losses, setting, measure, seed)
        for setting in losses.settings
        for measure in MEASURES
    }
    return Matrices(losses, made)


def matrix(losses: Losses, setting: str, measure: str = "difference", seed: int = 0) -> Matrix:
    """Changes by silencing each language's neurons of a setting.

    Args:
        losses: the costs.
        setting: one of `losses.settings`.
        measure: one of `MEASURES`.
        seed: of the resampling.
    """
    value = {
        "difference": lambda weights: np.exp(losses.log_perplexity(weights)),
        "log ratio": losses.log_perplexity,
        "bits per byte": losses.bits_per_byte,
    }[measure]
    return changed(
        value,
        losses.conditions,
        losses.languages,
        setting=setting,
        measure=measure,
        units=losses.blocks,
        seed=seed,
    )


def changed(
    value: Callable[[NDArray[np.int64] | None], NDArray[np.float64]],
    conditions: Sequence[Condition],
    languages: tuple[str, ...],
    *,
    setting: str,
    measure: str,
    units: int,
    seed: int,
) -> Matrix:
    """Changes of any number that grows where a language is hurt.

    Args:
        value: gives it under every condition and in every language, [..., C, K], where units are
            taken so often, [..., G]; each once for None.
        conditions: the C conditions; the first silences nothing.
        languages: the K codes, silenced and evaluated.
        setting: which conditions.
        measure: what the number is called.
        units: how many there are to draw from, G: blocks of questions, or questions.
        seed: of the drawing.
    """
    observed = value(None)
    before = observed[0]
    rows = places(conditions, languages, setting)
    change = observed[rows] - before
    draws = max(condition.draw for condition in conditions)
    controls = [
        observed[places(conditions, languages, setting, draw)] - before
        for draw in range(1, draws + 1)
    ]
    if units > 1:
        resampled = value(block_draws(units, RESAMPLINGS, seed))
        replicates = resampled[:, rows] - resampled[:, :1]
        low, high = interval(replicates, change)
    else:
        replicates = np.full((0, *change.shape), np.nan)
        low = high = np.full(change.shape, np.nan)
    return Matrix(
        languages=languages,
        setting=setting,
        measure=measure,
        neurons=np.array([conditions[row].neurons for row in rows]),
        before=before,
        change=change,
        low=low,
        high=high,
        controls=np.array(controls).reshape(-1, *change.shape),
        replicates=replicates,
    )


def dominance(matrix: Matrix, seed: int = 0) -> Dominance:
    """Whether the greatest change of each row lies on the diagonal, with a permutation test.

    It holds when the diagonal exceeds the rest by more than chance (p at most 0.05) and the
    interval of how far lies above 0; it does not hold when neither is so; else, and with too few
    languages for a small p, one cannot tell.
    """
    names, rows = matrix.languages, matrix.measured
    on_diagonal, elsewhere = [], {}
    for row in rows:
        own, others = matrix.change[row, row], np.delete(matrix.change[row], row)
        if (others < own).all():
            on_diagonal.append(names[row])
        else:  # of as great changes, another language's
            elsewhere[names[row]] = names[np.delete(np.arange(len(names)), row)[others.argmax()]]
    gap = _gap(matrix.change, rows)
    ends = None
    if len(matrix.replicates) and np.isfinite(gap):
        low, high = interval([_gap(change, rows) for change in matrix.replicates], gap)
        ends = (float(low), float(high))
    p, least = _permuted(matrix.change[rows], rows, seed)
    diagonal = float(matrix.change[rows, rows].mean()) if len(rows) else math.nan
    return Dominance(
        setting=matrix.setting,
        measure=matrix.measure,
        rows=tuple(names[row] for row in rows),
        on_diagonal=tuple(on_diagonal),
        surely=tuple(names[row] for row in rows if _surely(matrix, row)),
        elsewhere=elsewhere,
        empty=tuple(names[row] for row in np.flatnonzero(matrix.neurons == 0)),
        diagonal=diagonal,
        others=diagonal - gap,
        interval=ends,
        controls=tuple(_gap(change, rows) for change in matrix.controls),
        random=tuple(matrix.controls[:, rows, rows].mean(axis=1).tolist()) if len(rows) else (),
        beyond=tuple(names[row] for row in rows if matrix.percentile[row, row] == 1),
        p=p,
        holds=_decide(gap, ends, p, least),
    )


def words(dominance: Dominance) -> str:
    """Whether changes lie on the diagonal in one line, with the numbers."""
    d, signed = dominance, partial(written, sign=True)
    if not d.rows:
        return f"{d.holds}: no language has such neurons"
    if math.isnan(d.others):
        return f"{d.holds}: there is one language only, which changes by {signed(d.diagonal)}"
    own = f"{len(d.on_diagonal)} of {len(d.rows)} languages lose most themselves"
    if d.interval is not None:
        own += f", {len(d.surely)} surely"
    if d.elsewhere:
        others = ", ".join(f"{code}: {other} does" for code, other in d.elsewhere.items())
        own += f" (not {others})"
    apart = f"apart {signed(d.diagonal - d.others)}"
    if d.interval is not None:
        apart += f" [{', '.join(map(signed, d.interval))}]"
    parts = [own, f"diagonal {signed(d.diagonal)}, others {signed(d.others)}", apart]
    if d.controls:
        middle, mean = float(np.median(d.controls)), float(np.mean(d.controls))
        ends = f"{signed(min(d.controls))} to {signed(max(d.controls))}, mean {signed(mean)}"
        parts.append(f"random sets apart {signed(middle)} (median; {ends})")
        parts.append(
            f"they cost the language itself {signed(float(np.median(d.random)))} (median), and all "
            f"of them less than its own neurons in {len(d.beyond)} of {len(d.rows)} languages"
        )
    parts.append(p_value(d.p))
    if d.empty:
        parts.append(f"no such neurons: {', '.join(d.empty)}")
    return f"{d.holds}: {'; '.join(parts)}"


def _decide(gap: float, ends: tuple[float, float] | None, p: float, least: float) -> Verdict:
    """Whether the changes lie on the diagonal.

    Args:
        gap: diagonal minus others; NaN where there is neither.
        ends: its interval; None with one block.
        p: how often chance does as well.
        least: the least that p can be with so many languages.
    """
    if least > SURE or not np.isfinite(gap):
        return "cannot tell"
    unlikely = p <= SURE
    if ends is None:
        return "holds" if unlikely else "does not hold"
    above = ends[0] > 0
    if unlikely and above:
        return "holds"
    if not unlikely and not above:
        return "does not hold"
    return "cannot tell"


def _surely(matrix: Matrix, row: np.intp) -> bool:
    """Whether the own change of a row exceeds the greatest other one, interval and all."""
    if not len(matrix.replicates) or matrix.change.shape[1] < 2:
        return False
    own = np.arange(matrix.change.shape[1]) == row

    def ahead(changes: NDArray[np.float64]) -> NDArray[np.float64]:
        return changes[..., row, row] - changes[..., row, ~own].max(axis=-1)

    low, _ = interval(ahead(matrix.replicates), ahead(matrix.change))
    return bool(low > 0)


def _gap(change: NDArray[np.float64], rows: NDArray[np.intp]) -> float:
    """Mean on the diagonal minus mean off it, in these rows; NaN where there is neither."""
    k = change.shape[1]
    if not len(rows) or k < 2:
        return math.nan
    own = change[rows, rows]
    return float(own.mean() - (change[rows].sum() - own.sum()) / (len(rows) * (k - 1)))


def _permuted(change: NDArray[np.float64], own: NDArray[np.intp], seed: int) -> tuple[float, float]:
    """How often chance does as well as the diagonal: the permutation test.

    Each row is given a column of its own, in all ways when there are at most `PERMUTATIONS`, else
    in so many drawn at random, the diagonal itself among them.

    Args:
        change: rows in which something was silenced, [R, K].
        own: each row's own column, [R].
        seed: of the ways that are drawn.

    Returns:
        the share of the ways whose sum is at least the diagonal's, and the least that share can be.
    """
    rows, languages = change.shape
    if not rows:
        return math.nan, 1.0
    ways = math.perm(languages, rows)
    if ways <= PERMUTATIONS:
        columns = np.array(list(permutations(range(languages), rows)))
    else:
        rng = np.random.default_rng(seed)
        orders = np.tile(np.arange(languages), (PERMUTATIONS, 1))
        columns = np.vstack([own, rng.permuted(orders, axis=1)[:, :rows]])
    sums = change[np.arange(rows), columns].sum(axis=1)
    diagonal = change[np.arange(rows), own].sum()
    reached = sums >= diagonal - 1e-12 * max(1.0, abs(diagonal))
    return float(reached.mean()), 1 / len(columns)
