"""Diagonal: does silencing a language's neurons hurt that language most? The matrix, its intervals, and a test.

Rows are the languages whose neurons are silenced, columns those evaluated. Intervals resample
blocks of questions, the same draw for every condition and language (questions are parallel), so
what texts have in common cancels out.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, permutations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons.intervals import block_draws, interval
from langneurons.silencing.losses import Losses

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
    def z(self) -> NDArray[np.float64]:
        """How many standard deviations of the random sets' changes each change lies above their mean, [K, K].

        NaN with fewer than two of them, or where they differ by no more than the rounding of
        float32.
        """
        if len(self.controls) < 2:
            return np.full(self.change.shape, np.nan)
        spread = self.controls.std(axis=0, ddof=1)
        above = self.change - self.controls.mean(axis=0)
        real = spread > 1e-6 * np.maximum(1, np.abs(self.before))
        return np.divide(above, spread, out=np.full(above.shape, np.nan), where=real)

    @property
    def percentile(self) -> NDArray[np.float64]:
        """Share of the random sets with a smaller change, those with the same counted half, [K, K]; NaN without any."""
        if not len(self.controls):
            return np.full(self.change.shape, np.nan)
        share = ((self.controls < self.change) + 0.5 * (self.controls == self.change)).mean(axis=0)
        return np.where(np.isnan(self.change), np.nan, share)


class Dominance(NamedTuple):
    """Whether the changes of a setting lie on the diagonal.

    Attributes:
        setting: which neurons were silenced.
        measure: what a change is.
        rows: languages that have such neurons.
        on_diagonal: those of them whose greatest change is their own.
        elsewhere: the others, each with the language that changes most.
        empty: languages that have no such neurons.
        diagonal: mean change on the diagonal.
        others: mean change off it, in the same rows.
        interval: of diagonal minus others; None with one block.
        controls: diagonal minus others of each random draw.
        p: share of the assignments of columns to rows whose diagonal is at least as great; no
            effect of a row or a column as a whole (a language that any silencing hurts) can make it
            small.
        holds: `holds`, `does not hold`, `cannot tell`.
    """

    setting: str
    measure: str
    rows: tuple[str, ...]
    on_diagonal: tuple[str, ...]
    elsewhere: dict[str, str]
    empty: tuple[str, ...]
    diagonal: float
    others: float
    interval: tuple[float, float] | None
    controls: tuple[float, ...]
    p: float
    holds: Literal["holds", "does not hold", "cannot tell"]


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
        "difference": lambda w: np.exp(losses.log_perplexity(w)),
        "log ratio": losses.log_perplexity,
        "bits per byte": losses.bits_per_byte,
    }[measure]
    rows = losses.find(setting)
    seen = value(None)
    change = seen[rows] - seen[0]
    g = losses.blocks
    replicates = np.full((0, *change.shape), np.nan)
    low = high = np.full(change.shape, np.nan)
    if g > 1:
        drawn = value(block_draws(g, RESAMPLINGS, seed))
        replicates = drawn[:, rows] - drawn[:, :1]
        low, high = interval(replicates, change)
    controls = [
        seen[losses.find(setting, draw)] - seen[0] for draw in range(1, losses.controls + 1)
    ]
    return Matrix(
        losses.languages,
        setting,
        measure,
        np.array([losses.conditions[i].neurons for i in rows]),
        seen[0],
        change,
        low,
        high,
        np.array(controls).reshape(-1, *change.shape),
        replicates,
    )


def dominance(found: Matrix, seed: int = 0) -> Dominance:
    """Whether the greatest change of each row lies on the diagonal, with a permutation test.

    It holds when the diagonal exceeds the rest by more than chance (p at most 0.05) and the
    interval of how far lies above 0; it does not hold when neither is so; else, and with too few
    languages for a small p, one cannot tell.
    """
    rows = found.measured
    k, names = len(found.languages), found.languages
    change = found.change[rows]
    highest = change.argmax(axis=1) if len(rows) else np.zeros(0, int)
    strict = np.array(
        [(np.delete(change[i], r) < change[i, r]).all() for i, r in enumerate(rows)], dtype=bool
    )
    gap = _gap(found.change, rows)
    ends = None
    if len(found.replicates) and np.isfinite(gap):
        low, high = interval([_gap(one, rows) for one in found.replicates], gap)
        ends = (float(low), float(high))
    p, least = _permuted(change, rows, seed)
    own = found.change[rows, rows]
    far = ends is None or ends[0] > 0
    if not len(rows) or k < 2 or least > 0.05 or not np.isfinite(gap):
        holds = "cannot tell"
    elif p <= 0.05:
        holds = "holds" if far else "cannot tell"
    else:
        holds = "cannot tell" if ends is not None and far else "does not hold"
    return Dominance(
        found.setting,
        found.measure,
        tuple(names[r] for r in rows),
        tuple(names[r] for r, best in zip(rows, strict, strict=True) if best),
        {names[r]: names[h] for r, h, best in zip(rows, highest, strict, strict=True) if not best},
        tuple(name for name, n in zip(names, found.neurons, strict=True) if not n),
        float(own.mean()) if len(own) else math.nan,
        float(own.mean()) - gap if len(own) else math.nan,
        ends,
        tuple(_gap(one, rows) for one in found.controls),
        p,
        holds,
    )


def words(verdict: Dominance) -> str:
    """A verdict in one line, with its numbers."""
    if not verdict.rows:
        return f"{verdict.holds}: no language has such neurons"
    if math.isnan(verdict.others):
        return (
            f"{verdict.holds}: there is one language only, which changes by {verdict.diagonal:+.4g}"
        )
    parts = [f"{len(verdict.on_diagonal)} of {len(verdict.rows)} languages lose most themselves"]
    if verdict.elsewhere:
        parts[0] += f" (not {', '.join(f'{a}: {b} does' for a, b in verdict.elsewhere.items())})"
    interval = "" if verdict.interval is None else " [{:+.4g}, {:+.4g}]".format(*verdict.interval)
    parts.append(f"diagonal {verdict.diagonal:+.4g}, others {verdict.others:+.4g}")
    parts.append(f"apart {verdict.diagonal - verdict.others:+.4g}{interval}")
    if verdict.controls:
        parts.append(
            f"random sets apart {min(verdict.controls):+.4g} to {max(verdict.controls):+.4g}"
        )
    parts.append(f"p = {verdict.p:.4f}")
    if verdict.empty:
        parts.append(f"no such neurons: {', '.join(verdict.empty)}")
    return f"{verdict.holds}: {'; '.join(parts)}"


def _gap(change: NDArray[np.float64], rows: NDArray[np.intp]) -> float:
    """Mean on the diagonal minus mean off it, in these rows; NaN where there is neither."""
    k = change.shape[1]
    if not len(rows) or k < 2:
        return math.nan
    own = change[rows, rows]
    return float(own.mean() - (change[rows].sum() - own.sum()) / (len(rows) * (k - 1)))


def _permuted(
    change: NDArray[np.float64], rows: NDArray[np.intp], seed: int
) -> tuple[float, float]:
    """Share of the ways to give each row a column of its own whose sum is at least the diagonal's, and the least share.

    All ways when there are at most `PERMUTATIONS`, else so many drawn at random, the diagonal
    itself among them.
    """
    r, k = change.shape
    if not r:
        return math.nan, 1.0
    ways = math.perm(k, r)
    if ways <= PERMUTATIONS:
        columns = np.array(list(islice(permutations(range(k), r), ways)))
    else:
        rng = np.random.default_rng(seed)
        columns = np.vstack(
            [rows, rng.permuted(np.tile(np.arange(k), (PERMUTATIONS, 1)), axis=1)[:, :r]]
        )
    sums = change[np.arange(r), columns].sum(axis=1)
    own = change[np.arange(r), rows].sum()
    reached = sums >= own - 1e-12 * max(1.0, abs(own))
    return float(reached.mean()), 1 / len(columns)
