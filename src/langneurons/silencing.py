"""Silencing: which neurons to switch off, as sets of positions, and matched random sets to hold them against.

A set is the positions of its neurons among all M of the model, layer by layer, experts in order. `to_masks` turns sets
into what `sites.silence` takes.
"""

import re
import zlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from langneurons.config import PerplexityConfig
from langneurons.counts import describe_widths
from langneurons.errors import InputError, MismatchError
from langneurons.losses import Condition
from langneurons.neurons import Neurons
from langneurons.stages import NAMES, layer_stages

if TYPE_CHECKING:
    from torch import Tensor

Shapes = Sequence[tuple[int, ...]]
"""Shape of each layer of a model: (D,) or (E, I), as in `Counts.widths` and `Site.shape`."""

Sets = list[tuple[Condition, NDArray[np.int64]]]
"""Each condition and the positions of the neurons it silences."""

NEAREST = 16
"""A control neuron is one of this many whose activation rates are nearest, drawn at random."""


def require_fit(neurons: Neurons, shapes: Shapes) -> None:
    """Stop when the neurons cannot be of a model with these layers.

    Raises:
        MismatchError: saying what both look like.
    """
    ours = tuple(map(tuple, shapes))
    if neurons.widths is not None and neurons.widths != ours:
        raise MismatchError(
            f"the neurons are of another model: its layers are {describe_widths(neurons.widths)}, those of this one "
            f"{describe_widths(ours)}"
        )
    for layer, expert, neuron in neurons.keys:
        shape = ours[layer] if layer < len(ours) else ()
        index = (neuron,) if expert < 0 else (expert, neuron)
        if len(index) != len(shape) or any(i >= size for i, size in zip(index, shape, strict=True)):
            where = ":".join(map(str, (layer, *index)))
            raise MismatchError(f"neuron {where} is not in this model, whose layers are {describe_widths(ours)}")


def select(
    neurons: Neurons,
    shapes: Shapes,
    kinds: Sequence[str],
    languages: Sequence[str] | None = None,
    layers: range | None = None,
) -> NDArray[np.int64]:
    """Positions of the neurons of these kinds that are highly active in one of these languages, ascending.

    Args:
        neurons: the classified neurons.
        shapes: layers of the model.
        kinds: of `neurons.KINDS`; specific and related are counted among the selected, general over all neurons.
        languages: their codes; None for all, neurons highly active in no language (kind `none`) included.
        layers: first and one past the last layer; None for all.

    Raises:
        InputError: for a kind or a language that the neurons do not know.
    """
    unknown = [code for code in languages or () if code not in neurons.languages]
    if unknown:
        raise InputError(
            f"the neurons know nothing of {', '.join(unknown)}; their languages are {', '.join(neurons.languages)}"
        )
    held = neurons.of_kinds(tuple(kinds))
    if languages is not None:
        among = [held.languages.index(code) for code in languages]
        held = held.where(np.logical_or.reduce(held.member[:, among], axis=1))
    if layers is not None:
        held = held.where((held.layer >= layers.start) & (held.layer < layers.stop))
    inner = np.array([shape[-1] for shape in shapes])[held.layer]
    found = _starts(shapes)[held.layer] + np.maximum(held.expert, 0) * inner + held.neuron
    return np.sort(found.astype(np.int64))


def layer_range(text: str, neurons: Neurons) -> range:
    """Layers from words: `5`, `0-4` (both included), or one of the paper's four stages as found in these neurons.

    Raises:
        InputError: for anything else, or layers that are not there.
    """
    if text in NAMES:
        kinds = neurons.kind
        language, general = (
            np.bincount(neurons.layer[np.isin(kinds, which)], minlength=neurons.layers)
            for which in (("specific", "related"), ("general",))
        )
        cut, i = layer_stages(language, general), NAMES.index(text)
        return range(cut.starts[i], cut.ends[i])
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if not first <= last < neurons.layers:
        raise InputError(
            f"layers {text!r}: give one from 0 to {neurons.layers - 1}, a range as 0-4, or a stage: {', '.join(NAMES)}"
        )
    return range(first, last + 1)


def control(
    chosen: NDArray[np.int64],
    avoid: NDArray[np.int64],
    shapes: Shapes,
    rates: NDArray[np.floating] | None,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """A random set matched to another: as many neurons in every layer, none of them in it, of similar activation rate.

    For each neuron of the set, in random order, one of the `NEAREST` free neurons of its layer whose rates are nearest
    to its own is drawn. So a control differs from the set in everything but place and activity.

    Args:
        chosen: the set.
        avoid: positions that may not be drawn either, such as the other neurons of the same language.
        shapes: layers of the model.
        rates: activation probability of every neuron in the language in question, [M]; None: any neuron of the layer.
        rng: where chance comes from.

    Raises:
        InputError: when a layer has too few other neurons.
    """
    starts = _starts(shapes)
    taken = np.zeros(starts[-1], dtype=bool)
    taken[chosen] = taken[avoid] = True
    out = []
    for layer, (start, end) in enumerate(pairwise(starts)):
        mine = chosen[(chosen >= start) & (chosen < end)]
        free = start + np.flatnonzero(~taken[start:end])
        if len(free) < len(mine):
            raise InputError(
                f"layer {layer} has {len(mine)} neurons to silence and {len(free)} to draw a control from; silence "
                "fewer, or ask for no controls (--controls 0)"
            )
        if rates is None:
            out.append(rng.choice(free, len(mine), replace=False))
            continue
        free = rng.permutation(free)  # so that equal rates do not favour low positions
        free = free[np.argsort(rates[free], kind="stable")]
        near = rates[free]
        for rate in rates[rng.permutation(mine)]:
            at = int(np.searchsorted(near, rate))
            low = max(0, at - NEAREST)
            order = np.argsort(np.abs(near[low : at + NEAREST] - rate), kind="stable")[:NEAREST]
            pick = low + int(rng.choice(order))
            out.append(free[pick : pick + 1])
            free, near = np.delete(free, pick), np.delete(near, pick)
    return np.sort(np.concatenate([np.zeros(0, np.int64), *out]))


def conditions(
    neurons: Neurons,
    shapes: Shapes,
    languages: Sequence[str],
    config: PerplexityConfig,
    rates: Mapping[str, NDArray[np.floating]] | None = None,
) -> Sets:
    """Every condition: nothing silenced, then for each setting and language its neurons and their controls.

    The controls of a language avoid all its specific and related neurons. Which they are depends on the seed, the
    setting and the language, not on what else is measured.

    Raises:
        InputError: for a setting with a word that is no kind, or sets that leave no room for controls.
    """
    layers = None if config.layers is None else layer_range(config.layers, neurons)
    out: Sets = [(Condition(None, None, 0, 0), np.zeros(0, np.int64))]
    for setting, kinds in config.kinds.items():
        for code in languages:
            chosen = select(neurons, shapes, kinds, (code,), layers)
            avoid = select(neurons, shapes, ("specific", "related"), (code,))
            for draw in range(config.controls + 1):
                rng = np.random.default_rng([config.seed, draw, zlib.crc32(f"{setting}/{code}".encode())])
                rate = None if rates is None else rates[code]
                drawn = control(chosen, avoid, shapes, rate, rng) if draw else chosen
                out.append((Condition(code, setting, draw, len(drawn)), drawn))
    return out


def to_masks(sets: Sequence[NDArray[np.int64]], shapes: Shapes) -> "list[Tensor | None]":
    """What `sites.silence` takes: per layer a bool tensor [n, *shape], or None where no set has a neuron.

    Row i is set i, whose positions ascend. One set silences every row of a batch alike:
    `silence(sites, to_masks([chosen], shapes))`.
    """
    import torch

    starts, out = _starts(shapes), []
    for (start, end), shape in zip(pairwise(starts), shapes, strict=True):
        mask = np.zeros((len(sets), end - start), dtype=bool)
        for row, chosen in zip(mask, sets, strict=True):
            first, last = np.searchsorted(chosen, (start, end))
            row[chosen[first:last] - start] = True
        out.append(torch.from_numpy(mask.reshape(len(sets), *shape)) if mask.any() else None)
    return out


def _starts(shapes: Shapes) -> NDArray[np.int64]:
    """Position of each layer's first neuron, and M, [L + 1]."""
    return np.concatenate([[0], np.cumsum([int(np.prod(shape)) for shape in shapes])]).astype(np.int64)
