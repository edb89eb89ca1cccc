"""Matched: a random set of neurons that has much in common with another, to hold it against.

A set is the positions of its neurons among all M of the model, layer by layer, experts in order.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from langneurons import layout
from langneurons.errors import InputError
from langneurons.layout import Shapes

NEAREST = 16
"""A control neuron is one of this many whose activation rates are nearest, drawn at random."""


def control(
    chosen: NDArray[np.int64],
    avoid: NDArray[np.int64],
    shapes: Shapes,
    rates: NDArray[np.floating] | None,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """A random set matched to another.

    It has as many neurons in every layer, none of the other set, of similar activation rate.

    For each neuron of the set, in random order, one of the `NEAREST` free neurons of its layer
    whose rates are nearest to its own is drawn. So a control differs from the set in everything but
    place and activity.

    Args:
        chosen: the set.
        avoid: positions that may not be drawn either, such as the other neurons of the same
            language.
        shapes: layers of the model.
        rates: activation probability of every neuron in the language in question, [M]; None: any
            neuron of the layer.
        rng: where chance comes from.

    Raises:
        InputError: when a layer has too few other neurons.
    """
    starts = layout.starts(shapes)
    taken = np.zeros(starts[-1], dtype=bool)
    taken[chosen] = taken[avoid] = True
    drawn = []
    for layer, (start, end) in enumerate(pairwise(starts)):
        mine = chosen[(chosen >= start) & (chosen < end)]
        free = start + np.flatnonzero(~taken[start:end])
        if len(free) < len(mine):
            raise InputError(
                f"layer {layer} has {len(mine)} neurons to silence and {len(free)} to draw a "
                "control from; silence fewer, or ask for no controls (--controls 0)"
            )
        if rates is None:
            drawn.append(rng.choice(free, len(mine), replace=False))
            continue
        free = rng.permutation(free)  # so that equal rates do not favour low positions
        free = free[np.argsort(rates[free], kind="stable")]
        near = rates[free]
        for rate in rates[rng.permutation(mine)]:
            place = int(np.searchsorted(near, rate))
            low = max(0, place - NEAREST)
            distance = np.abs(near[low : place + NEAREST] - rate)
            order = np.argsort(distance, kind="stable")[:NEAREST]
            pick = low + int(rng.choice(order))
            drawn.append(free[pick : pick + 1])
            free, near = np.delete(free, pick), np.delete(near, pick)
    return np.sort(np.concatenate([np.zeros(0, np.int64), *drawn]))
