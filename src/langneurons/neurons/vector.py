"""Vector: steering as one constant for each residual state, for any engine that adds such.

A constant added to neurons at the down projection's input adds W_down times it to what the layer
leaves, where nothing but that sum follows the projection. Norms that follow it (Gemma 2 and 3, OLMo
2, GLM 4) or factors (Granite) make something else of it; so it is tried on the model itself, layer
by layer, and refused where it does not hold. Letters: H width of a state, T token.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from langneurons import artifacts, layout
from langneurons.errors import InputError, MissingExtraError, SiteError
from langneurons.neurons.steering import Steering, steered

if TYPE_CHECKING:
    from torch import Tensor

    from langneurons.model.loading import Loaded

TRIED = 8
"""Tokens that the identity is tried on."""

APART = 1e-3
"""Share of the vector's largest number by which what it adds may differ from it, besides what the
model's type rounds of the states."""


@dataclass(frozen=True)
class Vector:
    """What is to be added to residual states at every token.

    Attributes:
        states: number of each state, see `model.states`, and what is added to it, [H] float32.
        model_type: the architecture, as the model's config calls it.
    """

    KIND: ClassVar[str] = "vector"
    FILE: ClassVar[str] = "vector.safetensors"
    GGUF: ClassVar[str] = "vector.gguf"

    states: Mapping[int, NDArray[np.float32]]
    model_type: str

    @property
    def why_no_gguf(self) -> str | None:
        """Why llama.cpp cannot add it; None where it can."""
        if first := [number for number in self.states if number < 2]:
            where = "the embedding" if first[0] == 0 else "what the first layer leaves"
            return f"no {self.GGUF}: llama.cpp adds nothing to {where} (state {first[0]})"
        return None

    def write(self, draft: artifacts.Draft) -> None:
        """Add it to a folder that is being written.

        Raises:
            MissingExtraError: when a control vector is to be written and gguf is not installed.
        """
        tensors = {f"state.{number:03d}": vector for number, vector in self.states.items()}
        draft.tensors(self.FILE, tensors, {"format": 1, "model_type": self.model_type})
        if self.why_no_gguf:
            return
        try:
            import gguf
        except ImportError as error:
            raise MissingExtraError(
                "gguf, which writes control vectors, is not installed; pip install "
                "'langneurons[gguf]'"
            ) from error
        kind = "controlvector"
        writer = gguf.GGUFWriter(draft.folder / self.GGUF, kind)
        writer.add_string(f"{kind}.model_hint", self.model_type)
        writer.add_uint32(f"{kind}.layer_count", len(self.states))
        for number, vector in self.states.items():  # direction.N is added to what layer N leaves
            writer.add_tensor(f"direction.{number - 1}", vector)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    @classmethod
    def load(cls, source: Path | str | artifacts.Artifact) -> "Vector":
        """The one in a finished folder.

        Raises:
            InputError: when there is none, or it holds something else.
        """
        tensors, meta = artifacts.opened(source, cls.KIND).tensors(cls.FILE)
        states = {int(name.removeprefix("state.")): tensors[name] for name in sorted(tensors)}
        return cls(states, str(meta["model_type"]))


def vector_of(model: "Loaded", steering: Steering) -> Vector:
    """What adds the same to a model as steering it does.

    Raises:
        InputError: for neurons that are moved to a mean, which adds something else at each token.
        SiteError: for a layer where something follows the down projection.
    """
    if steering.by == "mean":
        raise InputError(
            "what moves neurons to a mean depends on their value, so it is no vector; use diffmean"
        )
    model_type = str(model.model.config.get_text_config().model_type)
    if steering.state is not None:
        added = (steering.strength * steering.values).astype(np.float32)
        return Vector({steering.state: added}, model_type)
    return Vector(_of_neurons(model, steering), model_type)


def _of_neurons(model: "Loaded", steering: Steering) -> dict[int, NDArray[np.float32]]:
    """What is added to the state after each layer that has steered neurons, tried.

    Raises:
        SiteError: see `vector_of`.
    """
    import torch

    assert steering.neurons is not None  # noqa: S101 - of neurons
    ids = torch.arange(TRIED, device=model.device)[None] + 3
    layers = layout.layer_of(model.widths, steering.neurons)
    whole, states = _states(model, ids), {}
    for layer in np.unique(layers).tolist():
        here = layers == layer
        own = replace(steering, values=steering.values[here], neurons=steering.neurons[here])
        vector = _through_down(model, layer, own)
        with steered(model, own):
            added = _states(model, ids)[layer + 1] - whole[layer + 1]
        rounded = 8 * torch.finfo(model.model.dtype).eps * float(whole[layer + 1].abs().max())
        if float((added - vector).abs().max()) > APART * float(vector.abs().max()) + rounded:
            raise SiteError(
                f"layer {layer}: a norm or a factor follows the down projection, so neurons "
                "steered there add no constant vector; sample --steer steers them, and a state, as "
                "state:5, can be exported"
            )
        states[layer + 1] = vector.float().cpu().numpy()
    return states


def _through_down(model: "Loaded", layer: int, steering: Steering) -> "Tensor":
    """What a layer's down projection makes of the values added to its neurons, [H]."""
    import torch

    assert steering.neurons is not None  # noqa: S101 - of neurons
    [part] = model.sites[layer].parts
    down: Any = getattr(part, "down")  # noqa: B009 - dense: `steered` refuses others
    weight = down.weight
    added = torch.zeros(2, part.shape[0], dtype=model.model.dtype, device=weight.device)
    places = steering.neurons - layout.starts(model.widths)[layer]
    added[1, torch.from_numpy(places)] = torch.from_numpy(steering.strength * steering.values).to(
        added
    )
    with torch.inference_mode():
        nothing, all_of_it = down(added)
    return all_of_it - nothing


def _states(model: "Loaded", ids: "Tensor") -> "dict[int, Tensor]":
    """Every state of one text, [T, H]."""
    import torch

    from langneurons.model.states import run_to_last_state

    kept: dict[int, Tensor] = {}

    def keep(number: int, state: "Tensor") -> None:
        kept[number] = state[0].clone()

    with torch.inference_mode():
        mask = torch.ones_like(ids)
        run_to_last_state(
            model.model, model.sites, keep, input_ids=ids, attention_mask=mask, use_cache=False
        )
    return kept
