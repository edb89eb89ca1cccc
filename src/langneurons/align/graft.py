"""Graft: an adapter with its change kept in some places only.

The second factor of LoRA is zero wherever the change is not wanted, so the folder is an adapter of
the same form, which every command reads, and what it leaves out is left out exactly. Taking a
change back after training is another thing than not training there (arXiv 2302.06600, 2505.18356).
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from langneurons import artifacts
from langneurons.align.adapter import CONFIG, WEIGHTS
from langneurons.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


class Place(NamedTuple):
    """Where an adapter changes something.

    Attributes:
        layer: number of the decoder layer; None outside of them.
        projection: name of the linear layer.
    """

    layer: int | None
    projection: str


class Part(NamedTuple):
    """What of a place is looked at.

    Attributes:
        layers: numbers of layers; None for all, and what lies outside of them.
        projections: names of linear layers; None for all.
    """

    layers: Collection[int] | None = None
    projections: Collection[str] | None = None

    def holds(self, place: Place) -> bool:
        """Whether a place is in it."""
        return (self.layers is None or place.layer in self.layers) and (
            self.projections is None or place.projection in self.projections
        )


@dataclass(frozen=True)
class Graft:
    """A PEFT adapter's files.

    Attributes:
        weights: content of its safetensors file.
        config: content of its config.
    """

    KIND: ClassVar[str] = "graft"

    weights: bytes
    config: bytes

    def write(self, draft: artifacts.Draft) -> None:
        """Add it to a folder that is being written."""
        draft.bytes(WEIGHTS, self.weights)
        draft.bytes(CONFIG, self.config)

    @classmethod
    def load(cls, source: Path | str | artifacts.Artifact) -> "Graft":
        """The one in a finished folder.

        Raises:
            InputError: when there is none, or it holds something else.
        """
        there = artifacts.opened(source, cls.KIND)
        return cls(there.file(WEIGHTS).read_bytes(), there.file(CONFIG).read_bytes())


def grafted(folder: Path, part: Part, *, remove: bool) -> tuple[Graft, dict[str, int]]:
    """An adapter with its change in one part only, or everywhere else.

    Args:
        folder: the adapter's.
        part: the part.
        remove: whether it is kept everywhere else.

    Returns:
        The graft, and how many linear layers it changes, of how many.

    Raises:
        InputError: for an adapter that is no plain LoRA, or of which nothing or all would be left.
    """
    from safetensors.torch import load, save

    settings = _plain_lora(folder)
    tensors = load((folder / WEIGHTS).read_bytes())
    places = {name: _place(name) for name in tensors}
    _require_known(part, list(places.values()))
    kept = {name for name, place in places.items() if part.holds(place) is not remove}
    factors = [name for name in tensors if _is_second(name)]
    left = sum(name in kept for name in factors)
    if left in (0, len(factors)):
        what = "nothing" if not left else "everything"
        raise InputError(
            f"{what} would be left of {folder}: it changes {_seen(list(places.values()))}"
        )

    def value(name: str) -> "Tensor":
        return tensors[name] if name in kept or not _is_second(name) else tensors[name] * 0

    weights = save({name: value(name) for name in tensors}, metadata={"format": "pt"})
    config = json.dumps(settings, indent=2, sort_keys=True).encode()
    return Graft(weights, config), {"kept": left, "changed by the adapter": len(factors)}


def _plain_lora(folder: Path) -> dict[str, object]:
    """The config of a LoRA adapter whose whole change is a product of two factors.

    Its base is named so that it is found from anywhere.

    Raises:
        InputError: for another adapter.
    """
    from langneurons.model.loading import base_of, in_full

    base = base_of(folder)
    if base is None or not (folder / WEIGHTS).is_file():
        raise InputError(f"{folder} is no adapter folder: it needs {CONFIG} and {WEIGHTS}")
    settings = json.loads((folder / CONFIG).read_text("utf-8"))
    kind = settings.get("peft_type")
    if kind != "LORA" or settings.get("use_dora") or settings.get("modules_to_save"):
        what = "DoRA" if settings.get("use_dora") else str(kind)
        if settings.get("modules_to_save"):
            what = f"{what} with whole modules ({', '.join(settings['modules_to_save'])})"
        raise InputError(f"{folder} is {what}; only the change of plain LoRA is cut into parts")
    settings["base_model_name_or_path"] = in_full(base)
    return settings


def _place(name: str) -> Place:
    """Where a tensor of an adapter belongs."""
    module = re.split(r"\.lora_", name, maxsplit=1)[0]
    layer = re.search(r"\.(\d+)\.", module)
    return Place(int(layer[1]) if layer else None, module.rpartition(".")[2])


def _is_second(name: str) -> bool:
    """Whether it is the second factor of a change, or its bias."""
    return ".lora_B" in name or ".lora_embedding_B" in name


def _require_known(part: Part, places: list[Place]) -> None:
    """Stop at a projection that the adapter does not change, or layers of which it changes none."""
    names = {place.projection for place in places}
    odd = [name for name in part.projections or () if name not in names]
    layers = {place.layer for place in places}
    if part.layers is not None and not layers & set(part.layers):
        odd.append(f"layers {', '.join(map(str, sorted(part.layers)))}")
    if odd:
        raise InputError(
            f"the adapter changes nothing in {', '.join(odd)}: it changes {_seen(places)}"
        )


def _seen(places: list[Place]) -> str:
    """What an adapter changes, in words."""
    layers = sorted({place.layer for place in places if place.layer is not None})
    names = ", ".join(sorted({place.projection for place in places}))
    return f"{names} of layers {layers[0]} to {layers[-1]}" if layers else names
