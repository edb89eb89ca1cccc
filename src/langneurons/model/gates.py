"""Gates: which linear layer a feed-forward's activation function gets, found by trying.

Many feed-forwards apply their activation as a bare function, where no hook can be. So the linear
layers of one are made to give chosen values, and what then comes to the down projection tells which
of them the function got: with that one's values it is positive where they are, and not in
proportion to them; with its partner's it is in proportion.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

_VALUES = (-8.0, -1.0, -0.01, 0.0, 0.01, 1.0, 8.0)


class Gate(NamedTuple):
    """Where the argument of a feed-forward's activation function comes from.

    Attributes:
        gate: name of the linear layer in the feed-forward.
        columns: which of its outputs.
        down: name of the down projection.
        width: neurons.
    """

    gate: str
    columns: slice
    down: str
    width: int


def find_gate(
    module: nn.Module, linears: Mapping[str, tuple[int, int]], hidden: int, dtype: torch.dtype
) -> Gate | None:
    """The gate of a module that may be a feed-forward; None when it is none that can be read.

    Args:
        module: what is tried, on one hidden state.
        linears: its own linear layers, name -> widths of input and output.
        hidden: width of the residual stream.
        dtype: type of a hidden state.
    """
    found = []
    for down, (width, after) in linears.items():
        if after != hidden or width < len(_VALUES):
            continue
        for gate, (_, given) in linears.items():
            for columns in _columns(given, width) if gate != down else ():
                tried = _tried(module, linears, Gate(gate, columns, down, width), hidden, dtype)
                if tried is not None and _decides(*tried):
                    found.append(Gate(gate, columns, down, width))
    return found[0] if len(found) == 1 else None


def _columns(given: int, width: int) -> list[slice]:
    """Which outputs of a linear layer may be the gate: all, a half, or every second one."""
    if given == width:
        return [slice(None)]
    if given == 2 * width:
        halves = [slice(None, width), slice(width, None)]
        return [*halves, slice(None, None, 2), slice(1, None, 2)]
    return []


@torch.no_grad()
def _tried(
    module: nn.Module,
    linears: Mapping[str, tuple[int, int]],
    tried: Gate,
    hidden: int,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor] | None:
    """Values of a gate, and what comes to the down projection where all else is one, [width]."""
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    values = torch.tensor(_VALUES, dtype=dtype, device=device)
    values = values.repeat(tried.width // len(values) + 1)[: tried.width]
    seen: list[Tensor] = []

    def gives(name: str) -> Callable[..., Tensor]:
        def hook(_: Any, __: Any, output: Tensor) -> Tensor:
            ones = torch.ones_like(output)
            if name == tried.gate:
                ones[..., tried.columns] = values
            return ones

        return hook

    with ExitStack() as stack:
        for name in linears:
            linear = module.get_submodule(name)
            stack.enter_context(linear.register_forward_hook(gives(name)))
        down = module.get_submodule(tried.down)
        stack.enter_context(down.register_forward_pre_hook(lambda _, args: seen.append(args[0])))
        try:
            module(torch.ones(1, 2, hidden, dtype=dtype, device=device))
        except Exception:  # noqa: BLE001 - no feed-forward: it needs more than hidden states
            return None
    if len(seen) != 1 or seen[0].shape[-1] != tried.width:
        return None
    return values, seen[0].reshape(-1, tried.width)[-1]


def _decides(values: Tensor, hidden: Tensor) -> bool:
    """Whether hidden values are positive where the gate's are, and not in proportion to them."""
    first = slice(0, len(_VALUES))
    v, h = values[first].double(), hidden[first].double()
    zero = len(_VALUES) // 2
    steps = (h - h[zero]) / torch.where(v == 0, 1, v)
    slopes = steps[v != 0]
    straight = torch.allclose(slopes, slopes[-1].expand_as(slopes), rtol=1e-2, atol=1e-6)
    return torch.equal(hidden > 0, values > 0) and not straight
