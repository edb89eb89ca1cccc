"""Stages: the layers cut into runs that look alike (the paper's four stages, found instead of drawn by eye).

The paper divides the layers by looking at how many neurons of each kind they hold: understanding, reasoning, output
transformation, vocabulary output. Here the same division is the piecewise-constant fit of the layer curves with the
least squared error, over every possible division (exact dynamic programme).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons.errors import InputError

NAMES = ("understanding", "reasoning", "output transformation", "vocabulary output")
"""The paper's names for four stages, first to last."""


class Segmentation(NamedTuple):
    """Layers cut into stages.

    Attributes:
        starts: first layer of each stage, ascending; the first is 0.
        ends: one past the last layer of each stage.
        fit: share of the curves' variance that the stages explain, in [0, 1] (1 for curves that never change).
    """

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    fit: float


def segment(curves: NDArray[np.floating], stages: int) -> Segmentation:
    """Cut L layers into `stages` runs with the least squared distance from each run's mean, over all curves.

    Args:
        curves: S curves over L layers, [S, L]. Each is standardised first, so that all weigh the same.
        stages: number of runs, from 1 to L. Among equally good divisions, the one whose cuts lie earliest.

    Raises:
        InputError: when there are fewer layers than stages.
    """
    curves = np.atleast_2d(np.asarray(curves, dtype=np.float64))
    layers = curves.shape[1]
    if not 1 <= stages <= layers:
        raise InputError(f"{layers} layers cannot be cut into {stages} stages")
    centred = curves - curves.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    z = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-12 * np.abs(curves).max(initial=1))
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


def layer_stages(language: NDArray[np.integer], general: NDArray[np.integer], stages: int = 4) -> Segmentation:
    """Stages of a model from its neurons per layer.

    Args:
        language: specific and related neurons per layer together, [L].
        general: general neurons per layer, [L].
        stages: how many to cut; the paper sees four.

    Both are taken as log(1 + count): the paper's figure spans three decades, and its stages are visible in each.
    """
    return segment(np.log1p(np.stack([language, general])), stages)
