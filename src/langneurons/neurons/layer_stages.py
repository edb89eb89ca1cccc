"""Layer stages: the layers cut into runs that look alike.

The paper divides the layers by looking at how many neurons of each kind they hold: understanding,
reasoning, output transformation, vocabulary output. Here the same division is found instead of
drawn by eye: the piecewise-constant fit of the layer curves with the least squared error, over
every possible division (exact dynamic programme). That such a fit is good says little: it is for
any smooth curve (`null`); what stages differ in is asked by `contrasts`. Letters: S curve, L layer,
P set of curves.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons.errors import InputError
from langneurons.intervals import Floats

NAMES = ("understanding", "reasoning", "output transformation", "vocabulary output")
"""The paper's names for four stages, first to last."""

ORDERS = 1000
"""Random orders of the layers, and random walks, that a fit is held against."""

_AT_ONCE = 50  # orders worked on at once; bounds the memory


class Segmentation(NamedTuple):
    """Layers cut into stages.

    Attributes:
        starts: first layer of each stage, ascending; the first is 0.
        ends: one past the last layer of each stage.
        fit: share of the curves' variance that the stages explain, in [0, 1] (1 for curves that
            never change).
    """

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    fit: float


def layer_stages(
    language: NDArray[np.number],
    general: NDArray[np.number],
    stages: int = 4,
    *,
    of: NDArray[np.bool_] | None = None,
) -> Segmentation:
    """Stages of a model from its neurons per layer.

    Args:
        language: specific and related neurons per layer together, [L].
        general: general neurons per layer, [L].
        stages: how many to cut; the paper sees four.
        of: which layers have neurons, [L]; the others belong to the stage around them. None: all.

    Both are taken as log(1 + count): the paper's figure spans three decades, and its stages are
    visible in each.
    """
    curves = np.log1p(np.stack([language, general]))
    if of is None or of.all():
        return segment(curves, stages)
    cut = segment(curves[:, of], stages)
    first = np.flatnonzero(of)
    starts = (0, *(int(first[start]) for start in cut.starts[1:]))
    return Segmentation(starts, (*starts[1:], len(of)), cut.fit)


def segment(curves: NDArray[np.floating], stages: int) -> Segmentation:
    """Cut L layers into `stages` runs with the least squared distance from each run's mean.

    Args:
        curves: S curves over L layers, [S, L]. Each is standardised first, so that all weigh the
            same.
        stages: number of runs, from 1 to L. Among equally good divisions, the one whose cuts lie
            earliest.

    Raises:
        InputError: when there are fewer layers than stages.
    """
    z = _standardised(np.atleast_2d(np.asarray(curves, dtype=np.float64)))
    layers = z.shape[1]
    if not 1 <= stages <= layers:
        raise InputError(f"{layers} layers cannot be cut into {stages} stages")
    [cost] = _costs(z[None])
    least = np.full(layers + 1, np.inf)  # of the layers before each, cut into so many runs so far
    least[0] = 0
    start_of_last = []
    for _ in range(stages):
        totals = least[:, None] + cost
        start_of_last.append(totals.argmin(axis=0))
        least = totals.min(axis=0)
    starts: list[int] = []
    end = layers
    for start in reversed(start_of_last):
        end = int(start[end])
        starts.insert(0, end)
    whole = float(np.cumsum((z**2).sum(axis=0))[-1])
    fit = 1.0 if whole == 0 else max(0.0, 1 - float(least[layers]) / whole)
    return Segmentation(tuple(starts), (*starts[1:], layers), fit)


class Null(NamedTuple):
    """How often curves without stages are cut into stages as well as those observed.

    Attributes:
        orders: p of the same layers in random orders. A weak null: any smooth curve passes it, a
            straight line too.
        walks: p of random walks of the curves' own steps, in random order and with random signs,
            the same for all curves.
    """

    orders: float
    walks: float


def null(curves: Floats, stages: int, seed: int = 0) -> Null:
    """How often curves without stages are cut as well; the observed ones are among those counted.

    Args:
        curves: S curves over L layers, [S, L], standardised here as in `segment`.
        stages: number of runs to cut.
        seed: of the orders and walks.
    """
    z = _standardised(np.asarray(curves, dtype=np.float64))
    bar = _left_over(z[None], stages)[0] + 1e-9
    orders, signs = _orders(z.shape[1], seed), _signs(z.shape[1] - 1, seed)
    steps, order_of_steps = np.diff(z, axis=1), _orders(z.shape[1] - 1, seed)
    as_good = np.zeros(2, dtype=int)
    for first in range(0, ORDERS, _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        ordered = z[:, orders[some]].swapaxes(0, 1)
        walked = (steps[:, order_of_steps[some]] * signs[some]).cumsum(axis=2).swapaxes(0, 1)
        started = np.concatenate([np.zeros((*walked.shape[:2], 1)), walked], axis=2)
        for place, tried in enumerate((ordered, _standardised(started))):
            as_good[place] += int((_left_over(tried, stages) <= bar).sum())
    return Null(*((1 + as_good) / (1 + ORDERS)).tolist())


def fits(curves: Floats, stages: int) -> Floats:
    """How well the best division of each of P sets of curves fits, [P, S, L] -> [P]; see `segment`.

    The share of the variance that it explains, without the division itself.
    """
    z = _standardised(curves)
    whole = (z**2).sum(axis=(1, 2))
    left_over = np.concatenate(
        [_left_over(z[i : i + _AT_ONCE], stages) for i in range(0, len(z), _AT_ONCE)]
    )
    share = np.divide(left_over, whole, out=np.zeros_like(whole), where=whole > 0)
    return np.clip(1 - share, 0, 1)


@cache
def _orders(layers: int, seed: int) -> NDArray[np.intp]:
    """Random orders of so many layers, [ORDERS, L]; the same for every set of curves."""
    copies = np.tile(np.arange(layers), (ORDERS, 1))
    return np.random.default_rng(seed).permuted(copies, axis=1)


@cache
def _signs(steps: int, seed: int) -> NDArray[np.float64]:
    """Random signs of so many steps, [ORDERS, L - 1]."""
    return np.random.default_rng([seed, 1]).choice([-1.0, 1.0], (ORDERS, steps))


def _standardised(curves: Floats) -> Floats:
    """Each curve with mean 0 and standard deviation 1, [..., S, L]; 0 where it never changes."""
    centred = curves - curves.mean(axis=-1, keepdims=True)
    spread = centred.std(axis=-1, keepdims=True)
    changes = spread > 1e-12 * np.abs(curves).max(axis=(-2, -1), keepdims=True, initial=1)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=changes)


def _costs(z: Floats) -> Floats:
    """Squared distance of every run of layers from its own mean, [P, S, L] -> [P, L + 1, L + 1].

    Rows are the first layer of a run, columns one past its last; infinite where that is no run.
    """
    sets, curves, layers = z.shape
    sums = np.concatenate([np.zeros((sets, curves, 1)), z.cumsum(axis=2)], axis=2)
    squares = np.concatenate([np.zeros((sets, 1)), (z**2).sum(axis=1).cumsum(axis=1)], axis=1)
    length = np.arange(layers + 1)[None, :] - np.arange(layers + 1)[:, None]
    inside = np.zeros((sets, layers + 1, layers + 1))
    for curve in range(curves):
        run = sums[:, curve, None, :] - sums[:, curve, :, None]
        inside += np.square(run, out=run)
    inside /= np.maximum(length, 1)
    cost = squares[:, None, :] - squares[:, :, None]
    cost -= inside
    cost[:, length <= 0] = np.inf
    return cost


def _left_over(z: Floats, stages: int) -> Floats:
    """Squared distance that the best division leaves, of each of P sets of curves, [P, S, L]."""
    cost = _costs(z)
    least = cost[:, 0]
    for _ in range(stages - 2):
        least = (least[:, :, None] + cost).min(axis=1)
    return least[:, -1] if stages == 1 else (least + cost[:, :, -1]).min(axis=1)
