"""States: a model's residual stream, read: what enters its first layer, and what each layer leaves.

State 0 is what the embedding gives (scaled, where the model scales it), state l the residual stream
after layer l, counted from 1. So neuron layer l, counted from 0 as everywhere here, reads state l
and writes state l + 1. The last state is that before the final norm, which is not the last of
transformers' `hidden_states`. Letters: B row of a batch, T token, H hidden size.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from langneurons.errors import SiteError
from langneurons.model.sites import Site


@contextmanager
def watch_states(
    sites: Sequence[Site], on_state: Callable[[int, Tensor], object]
) -> Generator[None]:
    """Inside this block, every forward calls `on_state` with each state's number and value.

    The value, [B, T, H], is what the model computes with, not a copy: do not change it, and do not
    keep it. An exception in `on_state` ends the forward.

    Args:
        sites: of the model, one for each of its layers.
        on_state: takes the state's number and its value.

    Raises:
        SiteError: in the forward, when what enters or leaves a layer is no single stream [B, T, H].
    """
    layers = [site.module for site in sites]

    def enters(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        on_state(0, _stream(args[0] if args else kwargs.get("hidden_states"), "enters layer 0"))

    def leaves(number: int) -> Callable[..., None]:
        def hook(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
            whole = output[0] if isinstance(output, tuple) else output
            on_state(number, _stream(whole, f"leaves layer {number - 1}"))

        return hook

    with ExitStack() as stack:
        stack.enter_context(layers[0].register_forward_pre_hook(enters, with_kwargs=True))
        for number, layer in enumerate(layers, start=1):
            stack.enter_context(layer.register_forward_hook(leaves(number)))
        yield


def run_to_last_state(
    model: nn.Module,
    sites: Sequence[Site],
    on_state: Callable[[int, Tensor], object],
    **inputs: Any,
) -> None:
    """Run the model until its last state, and read every state on the way; no final norm, no head.

    Raises:
        SiteError: see `watch_states`; or when the forward ended without passing the last layer.
    """
    last = len(sites)

    def read(number: int, state: Tensor) -> None:
        on_state(number, state)
        if number == last:
            raise _LastStateRead

    with watch_states(sites, read):
        try:
            model(**inputs)
        except _LastStateRead:
            return
    raise SiteError(
        f"the last of the {last} decoder layers of {type(model).__name__} did not run in a forward"
    )


class _LastStateRead(Exception):  # noqa: N818
    """Ends a forward early; never leaves `run_to_last_state`."""


def _stream(value: Any, where: str) -> Tensor:
    """The residual stream, where it is one."""
    if not isinstance(value, Tensor) or value.ndim != 3:
        shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise SiteError(
            f"what {where} is {shape}, not one residual stream [batch, tokens, width]; the states "
            "of this model cannot be read"
        )
    return value
