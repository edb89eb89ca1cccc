"""Intervals: resampling of blocks, the ends of an interval, and the tests that stand beside one.

A number's interval is the percentile interval of its replicates, widened to hold the number itself.
Blocks (or questions) are drawn with replacement, the same draw for everything that is compared.
"""

import math
from collections.abc import Sequence
from math import comb, sqrt
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Verdict = Literal["holds", "does not hold", "cannot tell"]
"""What is said of a claim."""

LEVEL = 0.95
"""Share of the resamplings inside an interval."""

SURE = 0.05
"""Greatest p at which something is not taken for chance."""

FEWEST = 5
"""Blocks with texts below which resampling them says little: of four there are 35 ways to draw."""


def few_blocks(tokens: NDArray[np.integer]) -> list[str]:
    """What to note where the texts lie in so few blocks that intervals over them say little.

    Args:
        tokens: tokens of each language and block, [K, G].
    """
    blocks, filled = tokens.shape[1], int(tokens.any(axis=0).sum())
    if blocks == 1 or filled >= FEWEST:
        return []
    return [
        f"the texts lie in {filled} of the {blocks} blocks that are resampled: intervals say "
        "little; give more texts"
    ]


def block_draws(blocks: int, resamplings: int, seed: int) -> NDArray[np.int64]:
    """How often each block is taken in each resampling, [R, G]: G of G, with replacement."""
    share = np.full(blocks, 1 / blocks)
    return np.random.default_rng(seed).multinomial(blocks, share, resamplings)


def interval(
    replicates: NDArray[np.number] | Sequence[float], observed: NDArray[np.number] | float
) -> tuple[Floats, Floats]:
    """Ends of the percentile interval of replicates [R, ...], widened to hold the observed [...].

    A replicate that is not known (NaN: a ratio to an empty set) is left out. Where none is known
    the interval is what was observed alone; where that is not known, there is none.
    """
    value = np.asarray(observed, dtype=np.float64)
    drawn = np.asarray(replicates, dtype=np.float64)
    known = np.where(np.isnan(drawn).all(axis=0), np.nan_to_num(value), drawn)
    low, high = np.nanquantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return np.minimum(low, value), np.maximum(high, value)


class Estimate(NamedTuple):
    """A number, or an array of them, with its interval.

    Attributes:
        value: as observed.
        low: lower end, NaN without resampling.
        high: upper end.
        replicates: in each resampling, [R, ...]; R is 0 without resampling.
    """

    value: Floats
    low: Floats
    high: Floats
    replicates: Floats


def estimate(
    value: NDArray[np.number] | float, replicates: NDArray[np.number] | None = None
) -> Estimate:
    """A value [...] with the interval of its replicates [R, ...]; see `interval`."""
    value = np.asarray(value, dtype=np.float64)
    if replicates is None or not len(replicates):
        nothing = np.full(value.shape, np.nan)
        return Estimate(value, nothing, nothing, np.zeros((0, *value.shape)))
    drawn = np.asarray(replicates, dtype=np.float64)
    low, high = interval(drawn, value)
    return Estimate(value, low, high, drawn)


def rises(number: Estimate, bar: float = 0.0) -> Verdict:
    """Whether a number lies above a bar: its whole interval, none of it, or one cannot tell."""
    if np.isnan(number.low):
        return "cannot tell"
    if number.low > bar:
        return "holds"
    return "does not hold" if number.high <= bar else "cannot tell"


def both(verdicts: Sequence[Verdict]) -> Verdict:
    """Of a claim that says several things: it holds when all hold, and not when one does not.

    That all must hold keeps the chance of a false `holds` at that of one (an intersection-union
    test).
    """
    if "does not hold" in verdicts:
        return "does not hold"
    return "cannot tell" if "cannot tell" in verdicts or not verdicts else "holds"


def pearson(x: Floats, y: Floats) -> float:
    """Correlation of two rows of numbers; NaN where one of them never changes."""
    x, y = x - x.mean(), y - y.mean()
    below = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / below if below else math.nan


def spearman(x: Floats, y: Floats) -> float:
    """Rank correlation of two rows of numbers; equal ones share their mean rank."""
    return pearson(_ranks(x), _ranks(y))


def _ranks(values: Floats) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((2 * ends - counts - 1) / 2)[place]


def lower_than_others(one: float, others: NDArray[np.floating]) -> float:
    """How likely a further draw from what the others are draws of is this low: one-sided p.

    The test of a single case against a small sample (Crawford and Howell 1998): t = (one - mean) /
    (s sqrt(1 + 1/n)), with n - 1 degrees of freedom, of n others with standard deviation s. NaN
    with fewer than two others or s = 0.
    """
    n = len(others)
    spread = float(np.std(others, ddof=1)) if n > 1 else 0.0
    if not spread:
        return math.nan
    return student((one - float(np.mean(others))) / (spread * math.sqrt(1 + 1 / n)), n - 1)


def student(t: float, freedom: int) -> float:
    """P(T <= t) of Student's t with these degrees of freedom, by integration to 1e-8."""
    constant = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(
        math.pi
    )
    angle = np.linspace(0.0, math.atan(abs(t) / math.sqrt(freedom)), 20_001)
    area = constant * float(np.trapezoid(np.cos(angle) ** (freedom - 1), angle))
    return 0.5 + math.copysign(area, t)


_Z = 1.959964  # of the normal distribution, 95% two-sided


def wilson(correct: int, n: int) -> tuple[float, float]:
    """The 95% Wilson score interval of a share, correct of n."""
    share = correct / n
    middle, width = share + _Z**2 / (2 * n), _Z * sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return max(0.0, (middle - width) / (1 + _Z**2 / n)), min(
        1.0, (middle + width) / (1 + _Z**2 / n)
    )


def mcnemar(lost: int, gained: int) -> float:
    """The exact two-sided McNemar test.

    How likely so uneven a split of the changed answers is by chance.
    """
    n, k = lost + gained, min(lost, gained)
    return min(1.0, 2 * sum(comb(n, i) for i in range(k + 1)) / 2**n)


def holm(p: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979).

    The chance that any of them is false is bounded as that of one is without.
    """
    out, highest = [0.0] * len(p), 0.0
    for rank, i in enumerate(np.argsort(p, kind="stable")):
        highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
        out[i] = highest
    return out
