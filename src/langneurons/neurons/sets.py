"""Sets: which neurons to switch off, as positions among all M neurons of a model, and doing so.

`to_masks` turns sets into what `hooks.silence` takes.
"""

import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from langneurons import artifacts, layout
from langneurons.errors import InputError, MismatchError
from langneurons.layout import Shapes
from langneurons.neurons.counts import Counts
from langneurons.neurons.layer_stages import NAMES, layer_stages
from langneurons.neurons.table import Neurons

if TYPE_CHECKING:
    from torch import Tensor

    from langneurons.model.loading import Loaded


@contextmanager
def silence(model: "Loaded", chosen: Neurons | NDArray[np.integer]) -> Generator[None]:
    """Inside this block these neurons are at zero in every forward, generation included.

    Args:
        model: a loaded model.
        chosen: neurons, such as `neurons.of("sw")`, or positions among all M.

    Raises:
        MismatchError: when the neurons cannot be of this model.
    """
    from langneurons.model import hooks

    sites = model.sites
    shapes = [site.shape for site in sites]
    if isinstance(chosen, Neurons):
        require_fit(chosen, shapes)
        positions = layout.positions(shapes, chosen.keys)
    else:
        positions = np.asarray(chosen, dtype=np.int64)
        _require_positions(positions, shapes)
    masks = to_masks([np.unique(positions)], shapes)
    with hooks.silence(sites, masks):
        yield


def require_fit(neurons: Neurons, shapes: Shapes) -> None:
    """Stop when the neurons cannot be of a model with these layers.

    Raises:
        MismatchError: saying what both look like.
    """
    ours = tuple(map(tuple, shapes))
    if neurons.widths is not None and neurons.widths != ours:
        raise MismatchError(
            "the neurons are of another model: its layers are "
            f"{layout.describe(neurons.widths)}, those of this one {layout.describe(ours)}"
        )
    for layer, expert, neuron in neurons.keys:
        shape = ours[layer] if layer < len(ours) else ()
        index = (neuron,) if expert < 0 else (expert, neuron)
        if len(index) != len(shape) or any(i >= size for i, size in zip(index, shape, strict=True)):
            where = ":".join(map(str, (layer, *index)))
            raise MismatchError(
                f"neuron {where} is not in this model, whose layers are {layout.describe(ours)}"
            )


def counts_behind(neurons: artifacts.Artifact, counts: Path | None) -> artifacts.Artifact | None:
    """The counts that neurons come from: those given, or those beside them; None without.

    Raises:
        MismatchError: when the neurons come from other counts than those given.
    """
    if counts is None:
        return artifacts.source_beside(neurons, Counts.KIND)
    given = artifacts.read(counts, Counts.KIND)
    if neurons.manifest["inputs"].get(Counts.KIND) not in (None, given.digest):
        raise MismatchError(
            f"{neurons.folder} comes from other counts than {counts}; give those, or no --counts"
        )
    return given


def notes_on_weights(
    found_on: str | None, fingerprint: str, *, force: bool, what: str = "neurons"
) -> list[str]:
    """What to note about the weights that neurons were found on.

    Args:
        found_on: fingerprint of these weights; None where it is not known.
        fingerprint: that of the model they are used in.
        force: whether neurons of other weights are taken all the same.
        what: what else it is that was found on these weights, such as means.

    Raises:
        MismatchError: when they are others, unless `force`.
    """
    if found_on is None:
        return [
            f"the {what} do not say which weights they were found on; only the shape of the layers "
            "was compared"
        ]
    if found_on == fingerprint:
        return []
    differ = f"the {what} were found on weights {found_on[:12]}, this model has {fingerprint[:12]}"
    if not force:
        raise MismatchError(
            f"{differ}; another --dtype changes them too; --force takes them all the same and "
            "notes it"
        )
    return [f"{differ}; taken all the same (--force)"]


def _require_positions(positions: NDArray[np.int64], shapes: Shapes) -> None:
    size = int(layout.sizes(shapes).sum())
    outside = positions[(positions < 0) | (positions >= size)]
    if len(outside):
        raise MismatchError(
            f"position {outside[0]} is not in this model, which has {size:,} neurons, "
            f"{layout.describe(shapes)}"
        )


def select(
    neurons: Neurons,
    shapes: Shapes,
    kinds: Sequence[str],
    languages: Sequence[str] | None = None,
    layers: range | None = None,
) -> NDArray[np.int64]:
    """Positions of the neurons of these kinds and languages, ascending.

    Args:
        neurons: the classified neurons.
        shapes: layers of the model.
        kinds: of `numbers.KINDS`; specific and related are counted among the selected, general over
            all neurons.
        languages: in one of which each is highly active; None for all, neurons highly active in no
            language (kind `none`) included.
        layers: first and one past the last layer; None for all.

    Raises:
        InputError: for a kind or a language that the neurons do not know.
    """
    chosen = neurons.of(*(languages or ()), kinds=kinds)
    if layers is not None:
        chosen = chosen.where((chosen.layer >= layers.start) & (chosen.layer < layers.stop))
    return np.sort(layout.positions(shapes, chosen.keys))


def layer_range(text: str, neurons: Neurons) -> range:
    """Layers from words: `5`, `0-4` (both included), or one of the paper's stages.

    A stage is that of these very neurons, see `layer_stages`.

    Raises:
        InputError: for anything else, or layers that are not there.
    """
    if text in NAMES:
        numbers = neurons.numbers
        general = numbers.by_layer("general").value
        cut = layer_stages(numbers.language_neurons, general, of=neurons.with_neurons)
        place = NAMES.index(text)
        return range(cut.starts[place], cut.ends[place])
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if not first <= last < neurons.layers:
        raise InputError(
            f"layers {text!r}: give one from 0 to {neurons.layers - 1}, a range as 0-4, "
            f"or a stage: {', '.join(NAMES)}"
        )
    return range(first, last + 1)


def to_masks(sets: Sequence[NDArray[np.int64]], shapes: Shapes) -> "list[Tensor | None]":
    """What `hooks.silence` takes: per layer a mask [n, *shape], or None where no set has a neuron.

    Row i of a mask is set i, whose positions ascend. One set silences every row of a batch alike:
    `silence(sites, to_masks([chosen], shapes))`.
    """
    import torch

    masks: list[Tensor | None] = []
    for (start, end), shape in zip(pairwise(layout.starts(shapes)), shapes, strict=True):
        mask = np.zeros((len(sets), end - start), dtype=bool)
        for row, chosen in zip(mask, sets, strict=True):
            first, last = np.searchsorted(chosen, (start, end))
            row[chosen[first:last] - start] = True
        masks.append(torch.from_numpy(mask.reshape(len(sets), *shape)) if mask.any() else None)
    return masks
