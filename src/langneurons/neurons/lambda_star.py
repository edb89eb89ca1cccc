"""Lambda star: where the first general neuron's score line crosses the selection boundary, exactly.

It is the largest lambda at which no general neuron is selected. The score of a
neuron (Eq. 5 of the paper) is a straight line in lambda, `height - lambda * slope`, and the
selected are the `n` lowest. No general neuron (active in every language) may be among them. So we
look along the lower envelope of the general neurons' lines, which has a handful of pieces: on each
piece one general neuron is the lowest, and it is selected exactly where fewer than `n` of the other
neurons lie below its line. How many do changes only where their lines cross its line, and all those
crossings can be written down. Nothing is searched for or bisected, and the answer is right also
where the feasible lambdas form more than one interval.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Span(NamedTuple):
    """An interval of lambda in which a general neuron is always, or never, among the selected.

    Attributes:
        start, end: the interval, in units of lambda.
        feasible: whether no general neuron is selected in it.
        general: position of the general neuron that is lowest at `start`, among all M.
    """

    start: float
    end: float
    feasible: bool
    general: int


def spans(
    height: NDArray[np.float64],
    slope: NDArray[np.float64],
    general: NDArray[np.bool_],
    n_selected: int,
    limit: float,
) -> list[Span]:
    """The whole of [0, limit], cut where a general neuron enters or leaves the `n_selected` lowest.

    Args:
        height: score at lambda 0, [M].
        slope: fall of the score per unit of lambda, [M], not negative.
        general: which neurons are general, [M]; at least one is.
        n_selected: how many are selected.
        limit: end of the interval looked at.

    Equal scores are taken in the order of the neurons, as in `identify.lowest`.
    """
    others, mine = np.flatnonzero(~general), np.flatnonzero(general)
    other_height, other_slope = height[others], slope[others]
    found: list[Span] = []
    for start, end, g in _envelope(height, slope, mine, limit):
        edges, below = _below(height[g], slope[g], g, other_height, other_slope, others, start, end)
        feasible = below >= n_selected
        changes = np.flatnonzero(feasible[1:] != feasible[:-1]) + 1
        cuts = [0, *changes, len(feasible)] if len(feasible) else []
        for i, j in pairwise(cuts):
            span = Span(float(edges[i]), float(edges[j]), bool(feasible[i]), g)
            if found and found[-1].feasible == span.feasible:
                found[-1] = found[-1]._replace(end=span.end)
            else:
                found.append(span)
    return found


def _envelope(
    height: NDArray[np.float64], slope: NDArray[np.float64], among: NDArray[np.intp], limit: float
) -> list[tuple[float, float, int]]:
    """The lowest line over [0, limit], piece by piece: (start, end, which).

    Of equal lines the first.
    """
    h, s = height[among], slope[among]
    now = np.lexsort((among, -s, h))[0]
    at, pieces = 0.0, []
    while True:
        steeper = np.flatnonzero(s > s[now])
        crossing = (h[steeper] - h[now]) / (s[steeper] - s[now])
        if not steeper.size or crossing.min() >= limit:
            pieces.append((at, limit, int(among[now])))
            return pieces
        end = max(at, crossing.min())
        pieces.append((at, float(end), int(among[now])))
        meet = steeper[crossing == crossing.min()]
        at, now = float(end), meet[np.lexsort((among[meet], -s[meet]))[0]]


def _below(
    height: np.float64,
    slope: np.float64,
    which: int,
    other_height: NDArray[np.float64],
    other_slope: NDArray[np.float64],
    others: NDArray[np.intp],
    start: float,
    end: float,
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """How many other lines lie below one line: `below[i]` between `edges[i]` and `edges[i + 1]`."""
    if end <= start:
        return np.empty(0), np.empty(0, dtype=np.intp)
    rise, turn = other_height - height, other_slope - slope
    first, last = rise - start * turn, rise - end * turn
    tied = (first == 0) & (last == 0)
    starts_below = (first < 0) | ((first == 0) & (last < 0)) | (tied & (others < which))
    leaves, enters = starts_below & (last > 0), (first > 0) & (last < 0)
    crossers = np.flatnonzero(leaves | enters)
    points = np.clip(rise[crossers] / turn[crossers], start, end)
    order = np.argsort(points, kind="stable")
    steps = np.where(enters[crossers[order]], 1, -1)
    below = np.count_nonzero(starts_below) + np.concatenate([[0], np.cumsum(steps)])
    edges = np.concatenate([[start], points[order], [end]])
    real = np.flatnonzero(edges[1:] > edges[:-1])
    return np.append(edges[real], end), below[real]
