"""Sets: which neurons to switch off, as positions among all M neurons of a model.

`to_masks` turns sets into what `hooks.silence` takes.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from langneurons import layout
from langneurons.errors import InputError, MismatchError
from langneurons.layout import Shapes
from langneurons.neurons.layer_stages import NAMES, layer_stages
from langneurons.neurons.table import Neurons

if TYPE_CHECKING:
    from torch import Tensor


def require_fit(neurons: Neurons, shapes: Shapes) -> None:
    """Stop when the neurons cannot be of a model with these layers.

    Raises:
        MismatchError: saying what both look like.
    """
    ours = tuple(map(tuple, shapes))
    if neurons.widths is not None and neurons.widths != ours:
        raise MismatchError(
            f"the neurons are of another model: its layers are {layout.describe(neurons.widths)}, those of this one "
            f"{layout.describe(ours)}"
        )
    for layer, expert, neuron in neurons.keys:
        shape = ours[layer] if layer < len(ours) else ()
        index = (neuron,) if expert < 0 else (expert, neuron)
        if len(index) != len(shape) or any(i >= size for i, size in zip(index, shape, strict=True)):
            where = ":".join(map(str, (layer, *index)))
            raise MismatchError(
                f"neuron {where} is not in this model, whose layers are {layout.describe(ours)}"
            )


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
        kinds: of `neurons.KINDS`; specific and related are counted among the selected, general over
            all neurons.
        languages: their codes; None for all, neurons highly active in no language (kind `none`)
            included.
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
    return np.sort(layout.positions(shapes, held.keys))


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


def to_masks(sets: Sequence[NDArray[np.int64]], shapes: Shapes) -> "list[Tensor | None]":
    """What `sites.silence` takes: per layer a bool tensor [n, *shape], or None where no set has a neuron.

    Row i is set i, whose positions ascend. One set silences every row of a batch alike:
    `silence(sites, to_masks([chosen], shapes))`.
    """
    import torch

    starts, out = layout.starts(shapes), []
    for (start, end), shape in zip(pairwise(starts), shapes, strict=True):
        mask = np.zeros((len(sets), end - start), dtype=bool)
        for row, chosen in zip(mask, sets, strict=True):
            first, last = np.searchsorted(chosen, (start, end))
            row[chosen[first:last] - start] = True
        out.append(torch.from_numpy(mask.reshape(len(sets), *shape)) if mask.any() else None)
    return out
