"""Layout: the address of a neuron, and its place among all M of a model.

An address is (layer, neuron) or (layer, expert, neuron). Neurons are numbered layer by layer, in a
mixture of experts expert by expert. Letters: L layer, D neuron of a dense layer, E expert, I neuron
of an expert, M neuron of the whole model, n neurons in question.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Widths = tuple[tuple[int, ...], ...]
"""Shape of each layer: (D,) when dense, (E, I) in a mixture of experts."""

Shapes = Sequence[tuple[int, ...]]
"""The same, of whatever lists them, such as the sites of a model."""


def describe(widths: Shapes) -> str:
    """Widths in words: `32 x 14336`, or `1 x 64 + 3 x 8*16` (experts times width).

    Layers without neurons are told at the end: `26 x 12288, 26 layers without`.
    """
    names = ["*".join(map(str, width)) for width in widths if math.prod(width)]
    runs: list[tuple[str, int]] = []
    for name in names:
        if runs and runs[-1][0] == name:
            runs[-1] = (name, runs[-1][1] + 1)
        else:
            runs.append((name, 1))
    without = len(widths) - len(names)
    tail = f", {without} layer{'s' * (without > 1)} without" if without else ""
    return " + ".join(f"{times} x {name}" for name, times in runs) + tail


def sizes(widths: Shapes) -> NDArray[np.int64]:
    """Neurons of each layer, [L]."""
    return np.array([math.prod(width) for width in widths], dtype=np.int64)


def with_neurons(widths: Shapes) -> NDArray[np.bool_]:
    """Which layers have neurons at all, [L]; in hybrids some have no feed-forward."""
    return sizes(widths) > 0


def starts(widths: Shapes) -> NDArray[np.int64]:
    """Position of each layer's first neuron, and M, [L + 1]."""
    return np.concatenate([[0], np.cumsum(sizes(widths))]).astype(np.int64)


def layer_of(widths: Shapes, positions: NDArray[np.integer]) -> NDArray[np.int64]:
    """Layer of each of these positions among all M, [n] -> [n]."""
    return np.searchsorted(starts(widths), positions, side="right").astype(np.int64) - 1


def per_layer(widths: Shapes, positions: NDArray[np.integer]) -> NDArray[np.int64]:
    """How many of these positions lie in each layer, [n] -> [L]."""
    return np.bincount(layer_of(widths, positions), minlength=len(widths))


def positions(widths: Shapes, addresses: NDArray[np.integer]) -> NDArray[np.int64]:
    """Position among all M of each (layer, expert, neuron), [n, 3] -> [n].

    The expert is -1 in a dense layer.
    """
    layer, expert, neuron = np.asarray(addresses, dtype=np.int64).reshape(-1, 3).T
    within_expert = np.array([width[-1] for width in widths], dtype=np.int64)[layer]
    return starts(widths)[layer] + np.maximum(expert, 0) * within_expert + neuron


def addresses(widths: Shapes, positions: NDArray[np.integer]) -> NDArray[np.int64]:
    """(layer, expert, neuron) of each position among all M, [n] -> [n, 3]; undoes `positions`."""
    layer = layer_of(widths, positions)
    within_layer = positions - starts(widths)[layer]
    within_expert = np.array([width[-1] for width in widths])[layer]
    dense = np.array([len(width) == 1 for width in widths])[layer]
    expert = np.where(dense, -1, within_layer // within_expert)
    return np.stack([layer, expert, within_layer % within_expert], axis=1)


def address(widths: Shapes, position: int | np.integer) -> tuple[int, ...]:
    """(layer, neuron) or (layer, expert, neuron) of one position among all M."""
    layer, expert, neuron = addresses(widths, np.array([position]))[0].tolist()
    return (layer, neuron) if expert < 0 else (layer, expert, neuron)
