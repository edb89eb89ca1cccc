"""Steering: values added to neurons, or neurons moved towards values, or a vector added to a state.

A neuron is steered at the input of the down projection, where it is whole: activation times gate
partner. All of it holds at every token that the model reads or writes, beginning tokens and prompts
too, so that what is added is one constant, as in a bias or a control vector. No weight is touched,
and every `with` block restores the model on any exit. Letters: D neuron of a layer, H width of a
state, n steered neurons of a layer.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from langneurons.errors import SiteError
from langneurons.model.entering import Entering, entering
from langneurons.model.sites import Site


class Steered(NamedTuple):
    """The steered neurons of one layer.

    Attributes:
        layer: the layer.
        neurons: which, [n], int64.
        values: what is added to each, or moved towards, [n].
    """

    layer: int
    neurons: Tensor
    values: Tensor


@contextmanager
def add_to_neurons(sites: Sequence[Site], steered: Sequence[Steered]) -> Generator[None]:
    """Inside this block the values are added to the neurons, in every forward.

    Raises:
        SiteError: for a layer that `entering` cannot change, or a mixture of experts.
    """
    with _changed(sites, steered, lambda now, values: now + values):
        yield


@contextmanager
def move_neurons(
    sites: Sequence[Site], steered: Sequence[Steered], share: float
) -> Generator[None]:
    """Inside this block neurons are moved by a share of the way to the values; 1: held there.

    Raises:
        SiteError: see `add_to_neurons`.
    """
    with _changed(sites, steered, lambda now, values: torch.lerp(now, values, share)):
        yield


@contextmanager
def add_to_state(sites: Sequence[Site], number: int, vector: Tensor) -> Generator[None]:
    """Inside this block a vector [H] is added to a state, numbered as in `states`.

    Raises:
        SiteError: for a state that is not there, or, in the forward, where what enters or leaves
            the layer is no stream of that width.
    """
    if not 0 <= number <= len(sites):
        raise SiteError(
            f"state {number} is not in this model, which has states 0 (the embedding) to "
            f"{len(sites)} (what its last layer leaves)"
        )

    def added(stream: Any) -> Tensor:
        if not isinstance(stream, Tensor) or stream.shape[-1] != len(vector):
            shape = list(stream.shape) if isinstance(stream, Tensor) else type(stream).__name__
            raise SiteError(f"state {number} is {shape}, not a stream of width {len(vector)}")
        return stream + vector.to(stream.device, stream.dtype)

    def enters(
        _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (added(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": added(kwargs.get("hidden_states"))}

    def leaves(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, tuple):
            return (added(output[0]), *output[1:])
        return added(output)

    if number:
        handle = sites[number - 1].module.register_forward_hook(leaves)
    else:
        handle = sites[0].module.register_forward_pre_hook(enters, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _changed(sites: Sequence[Site], steered: Sequence[Steered], new: Any) -> Generator[None]:
    """Inside this block `new` says of the steered values [N, n] what they become."""
    for part in steered:
        if len(sites[part.layer].shape) == 2:
            raise SiteError(
                f"layer {part.layer} is a mixture of experts, whose neurons cannot be steered, as "
                "they have no value where no token goes to them"
            )

    def change(entered: Entering) -> Tensor:
        part = steered[entered.site]
        values = entered.values.clone()
        neurons = part.neurons.to(values.device)
        towards = part.values.to(values.device, values.dtype)
        values[:, neurons] = new(values[:, neurons], towards)
        return values

    with entering([sites[part.layer] for part in steered], change):
        yield
