"""Verdicts: what a claim is judged by: a number with its interval, and two tests that need no blocks of questions."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Verdict = Literal["holds", "does not hold", "cannot tell"]

LEVEL = 0.95
"""Share of the resamplings inside an interval."""

SURE = 0.05
"""Greatest p at which something is not taken for chance."""

ORDERS = 1000
"""Random orders of the layers behind a p-value."""

_AT_ONCE = 50  # orders worked on at once; bounds the memory


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


class Claim(NamedTuple):
    """One claim of the paper, and what the evidence says.

    Attributes:
        name: short name, for anchors and files.
        statement: what is claimed.
        where: figure, table or section of the paper.
        verdict: `holds`, `does not hold`, `cannot tell`.
        numbers: what the verdict rests on: numbers, intervals as [low, high], p-values; empty without evidence.
        words: the verdict's reason in one line; without evidence, what is missing.
    """

    name: str
    statement: str
    where: str
    verdict: Verdict
    numbers: dict[str, Any]
    words: str


def estimate(value: NDArray[np.number] | float, replicates: NDArray[np.number] | None = None) -> Estimate:
    """A value [...] with the percentile interval of its replicates [R, ...], widened to hold it.

    A replicate that is not known (a ratio to an empty set) is left out.
    """
    value = np.asarray(value, dtype=np.float64)
    if replicates is None or not len(replicates):
        nothing = np.full(value.shape, np.nan)
        return Estimate(value, nothing, nothing, np.zeros((0, *value.shape)))
    drawn = np.asarray(replicates, dtype=np.float64)
    known = np.where(np.isnan(drawn).all(axis=0), np.nan_to_num(value), drawn)
    low, high = np.nanquantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return Estimate(value, np.minimum(low, value), np.maximum(high, value), drawn)


def rises(one: Estimate, bar: float = 0.0) -> Verdict:
    """Whether a number lies above a bar: its whole interval does, none of it does, or one cannot tell."""
    if np.isnan(one.low):
        return "cannot tell"
    return "holds" if one.low > bar else "does not hold" if one.high <= bar else "cannot tell"


def falls(one: Estimate) -> Verdict:
    """Whether a number lies below 0, as `rises`."""
    return rises(Estimate(-one.value, -one.high, -one.low, -one.replicates))


def both(verdicts: Sequence[Verdict]) -> Verdict:
    """Of a claim that says several things: it holds when all hold, and does not when one does not.

    That all must hold keeps the chance of a false `holds` at that of one (an intersection-union test).
    """
    if "does not hold" in verdicts:
        return "does not hold"
    return "cannot tell" if "cannot tell" in verdicts or not verdicts else "holds"


def order_of_layers(curves: Floats, stages: int, seed: int = 0) -> float:
    """How likely layers in a random order are cut into stages as well as they are: p of a permutation test.

    Args:
        curves: S curves over L layers, [S, L], standardised here as in `stages.segment`.
        stages: number of runs to cut.
        seed: of the orders.
    """
    centred = curves - curves.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    z = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-12 * np.abs(curves).max(initial=1))
    rng, layers = np.random.default_rng(seed), z.shape[1]
    observed = _left_over(z[None], stages)[0]
    as_good = 0
    for start in range(0, ORDERS, _AT_ONCE):
        orders = rng.permuted(np.tile(np.arange(layers), (min(_AT_ONCE, ORDERS - start), 1)), axis=1)
        as_good += int((_left_over(z[:, orders].swapaxes(0, 1), stages) <= observed + 1e-9).sum())
    return (1 + as_good) / (1 + ORDERS)


def _left_over(z: Floats, stages: int) -> Floats:
    """Squared distance that the best division leaves, of each of P sets of curves [P, S, L]."""
    p, s, layers = z.shape
    sums = np.concatenate([np.zeros((p, s, 1)), z.cumsum(axis=2)], axis=2)
    squares = np.concatenate([np.zeros((p, 1)), (z**2).sum(axis=1).cumsum(axis=1)], axis=1)
    length = np.arange(layers + 1)[None, :] - np.arange(layers + 1)[:, None]
    inside = ((sums[:, :, None, :] - sums[:, :, :, None]) ** 2).sum(axis=1)
    cost = squares[:, None, :] - squares[:, :, None] - inside / np.maximum(length, 1)
    cost = np.where(length > 0, cost, np.inf)
    best = cost[:, 0]
    for _ in range(stages - 1):
        best = (best[:, :, None] + cost).min(axis=1)
    return best[:, -1]


def lower_than_others(one: float, others: NDArray[np.floating]) -> float:
    """How likely a further draw from what the others are draws of is this low: one-sided p.

    The test of a single case against a small sample (Crawford and Howell 1998): t = (one - mean) / (s sqrt(1 + 1/n)),
    with n - 1 degrees of freedom, of n others with standard deviation s. NaN with fewer than two others or s = 0.
    """
    n = len(others)
    spread = float(np.std(others, ddof=1)) if n > 1 else 0.0
    if not spread:
        return math.nan
    return student((one - float(np.mean(others))) / (spread * math.sqrt(1 + 1 / n)), n - 1)


def student(t: float, freedom: int) -> float:
    """P(T <= t) of Student's t distribution with these degrees of freedom, by integration to 1e-8."""
    constant = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    angle = np.linspace(0.0, math.atan(abs(t) / math.sqrt(freedom)), 20_001)
    area = constant * float(np.trapezoid(np.cos(angle) ** (freedom - 1), angle))
    return 0.5 + math.copysign(area, t)


def missing(name: str, statement: str, where: str, what: str) -> Claim:
    """A claim that cannot be told, for want of evidence."""
    return Claim(name, statement, where, "cannot tell", {}, f"needs {what}")


def told(one: Estimate) -> dict[str, Any]:
    """An estimate for `Claim.numbers`."""
    return {"value": float(one.value), "interval": None if np.isnan(one.low) else [float(one.low), float(one.high)]}


def said(one: Estimate, form: str) -> str:
    """An estimate in words, in this format."""
    if np.isnan(one.low):
        return f"{float(one.value):{form}} (no interval)"
    return f"{float(one.value):{form}} [{float(one.low):{form}}, {float(one.high):{form}}]"


def plain(value: Any) -> Any:
    """The same in plain numbers, lists and dictionaries, as JSON takes them; None for what is not a number."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
