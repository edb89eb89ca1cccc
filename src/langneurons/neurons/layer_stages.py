"""Stages: the layers cut into runs that look alike (the paper's four stages, found instead of drawn by eye).

The paper divides the layers by looking at how many neurons of each kind they hold: understanding,
reasoning, output transformation, vocabulary output. Here the same division is the
piecewise-constant fit of the layer curves with the least squared error, over every possible
division (exact dynamic programme).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons.errors import InputError
from langneurons.intervals import Floats

NAMES = ("understanding", "reasoning", "output transformation", "vocabulary output")
"""The paper's names for four stages, first to last."""


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


def segment(curves: NDArray[np.floating], stages: int) -> Segmentation:
    """Cut L layers into `stages` runs with the least squared distance from each run's mean, over all curves.

    Args:
        curves: S curves over L layers, [S, L]. Each is standardised first, so that all weigh the
            same.
        stages: number of runs, from 1 to L. Among equally good divisions, the one whose cuts lie
            earliest.

    Raises:
        InputError: when there are fewer layers than stages.
    """
    curves = np.atleast_2d(np.asarray(curves, dtype=np.float64))
    layers = curves.shape[1]
    if not 1 <= stages <= layers:
        raise InputError(f"{layers} layers cannot be cut into {stages} stages")
    centred = curves - curves.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    z = np.divide(
        centred,
        spread,
        out=np.zeros_like(centred),
        where=spread > 1e-12 * np.abs(curves).max(initial=1),
    )
    sums = np.concatenate([np.zeros((len(z), 1)), np.cumsum(z, axis=1)], axis=1)
    squares = np.concatenate([[0.0], np.cumsum((z**2).sum(axis=0))])

    def cost(start: int, end: int) -> float:
        inside = sums[:, end] - sums[:, start]
        return float(squares[end] - squares[start] - (inside**2).sum() / (end - start))

    best = np.full((stages + 1, layers + 1), np.inf)
    last = np.zeros((stages + 1, layers + 1), dtype=int)
    best[0, 0] = 0
    for s in range(1, stages + 1):
        for end in range(s, layers + 1):
            options = [best[s - 1, start] + cost(start, end) for start in range(s - 1, end)]
            last[s, end] = s - 1 + int(np.argmin(options))
            best[s, end] = min(options)
    starts, end = [], layers
    for s in range(stages, 0, -1):
        end = int(last[s, end])
        starts.append(end)
    starts.reverse()
    whole = squares[-1]
    fit = 1.0 if whole == 0 else max(0.0, 1 - float(best[stages, layers]) / float(whole))
    return Segmentation(tuple(starts), (*starts[1:], layers), fit)


def layer_stages(
    language: NDArray[np.number], general: NDArray[np.number], stages: int = 4
) -> Segmentation:
    """Stages of a model from its neurons per layer.

    Args:
        language: specific and related neurons per layer together, [L].
        general: general neurons per layer, [L].
        stages: how many to cut; the paper sees four.

    Both are taken as log(1 + count): the paper's figure spans three decades, and its stages are
    visible in each.
    """
    return segment(np.log1p(np.stack([language, general])), stages)


ORDERS = 1000
"""Random orders of the layers behind a p-value."""


_AT_ONCE = 50  # orders worked on at once; bounds the memory


def order_of_layers(curves: Floats, stages: int, seed: int = 0) -> float:
    """How likely layers in a random order are cut into stages as well as they are: p of a permutation test.

    Args:
        curves: S curves over L layers, [S, L], standardised here as in `stages.segment`.
        stages: number of runs to cut.
        seed: of the orders.
    """
    centred = curves - curves.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    z = np.divide(
        centred,
        spread,
        out=np.zeros_like(centred),
        where=spread > 1e-12 * np.abs(curves).max(initial=1),
    )
    rng, layers = np.random.default_rng(seed), z.shape[1]
    observed = _left_over(z[None], stages)[0]
    as_good = 0
    for start in range(0, ORDERS, _AT_ONCE):
        orders = rng.permuted(
            np.tile(np.arange(layers), (min(_AT_ONCE, ORDERS - start), 1)), axis=1
        )
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
