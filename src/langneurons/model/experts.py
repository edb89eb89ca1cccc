"""Experts: mixtures of experts in transformers, with taps at their activations.

There they are read and zeroed.

Letters: B row of the batch, E expert, I neuron of an expert, N token of the flattened batch, S = N
* experts a token goes to.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from langneurons.errors import SiteError

Tap = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
"""(gate [S, I], hidden [S, I], experts [S], tokens [S], N) -> hidden, the input of the down
projection."""

_TAPS: dict[nn.Module, list[Tap]] = {}
_IMPLEMENTATION = "langneurons"


def expert_shape(path: str, module: Any, shared: int) -> tuple[int, int]:
    """(E, I) of an experts module beside so many (`shared`) neurons of shared experts.

    SiteError when it cannot be read.
    """
    what = f"{path} ({type(module).__name__})"
    form = (
        "num_experts",
        "config",
        "is_transposed",
        "is_concatenated",
        "has_bias",
        "has_gate",
        "_apply_gate",
    )
    if missing := [name for name in form if not hasattr(module, name)]:
        raise SiteError(
            f"{what} is not of transformers' common form of experts: it has no {', '.join(missing)}"
        )
    weight: Tensor = module.down_proj
    refused = {
        "is spread over processes (expert parallel)": getattr(module, "_is_expert_parallel", False),
        "has no gate": not module.has_gate,
        "has a norm after each expert": getattr(module, "has_post_expert_norm", False),
        f"keeps its weights as {weight.dtype}": weight.dtype
        not in (torch.float32, torch.bfloat16, torch.float16),
        "has an activation that is not positive exactly where its gate is": not _gate_decides(
            module
        ),
    }
    for why, is_so in refused.items():
        if is_so:
            raise SiteError(f"{what} {why}, which langneurons cannot read")
    width = weight.shape[1 if module.is_transposed else 2]
    if shared % width:
        raise SiteError(
            f"{what} has experts of {width} neurons beside shared ones of {shared}, "
            "no multiple of that"
        )
    return module.num_experts + shared // width, width


def _gate(experts: Any, gate_up: Tensor) -> Tensor:
    """The gate's half of the fused projection to gate and up, [S, 2 * I] -> [S, I], a view."""
    return gate_up.chunk(2, dim=-1)[0] if experts.is_concatenated else gate_up[..., ::2]


@torch.no_grad()
def _gate_decides(experts: Any) -> bool:
    """Whether an expert's activation is positive exactly where its gate is.

    Tried on a few values, with up = 1.
    """
    device = "cpu" if experts.down_proj.is_meta else experts.down_proj.device
    values = torch.tensor([[-8, -1, -0.01, 0, 0.01, 1, 8]], device=device)
    gate_up = torch.ones(1, 2 * values.shape[1], device=device)
    _gate(experts, gate_up).copy_(values)
    return torch.equal(experts._apply_gate(gate_up) > 0, values > 0)


def zero_experts(mask: Tensor) -> Tap:
    """A tap that zeroes what goes into the down projections where the mask [B, E, I] says."""

    def tap(_: Tensor, hidden: Tensor, experts: Tensor, tokens: Tensor, size: int) -> Tensor:
        nonlocal mask
        mask = mask.to(hidden.device, non_blocking=True)
        return torch.where(mask[tokens // share(size, mask), experts], 0, hidden)

    return tap


def share(size: int, mask: Tensor) -> int:
    """How many consecutive of so many rows or tokens each row of a mask holds for."""
    if size % len(mask):
        raise SiteError(
            f"a mask for {len(mask)} rows was given and the batch is no multiple of that"
        )
    return size // len(mask)


@contextmanager
def tapped(experts: Any, tap: Tap) -> Generator[None]:
    """Inside this block the experts run in `_experts_forward`, which calls `tap`.

    So do all that share their config.
    """
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    ALL_EXPERTS_FUNCTIONS.register(_IMPLEMENTATION, _experts_forward)
    before = experts.config._experts_implementation
    taps = _TAPS.setdefault(experts, [])
    taps.append(tap)
    experts.config._experts_implementation = _IMPLEMENTATION
    try:
        yield
    finally:
        experts.config._experts_implementation = before
        taps.remove(tap)
        if not taps:
            del _TAPS[experts]


def _experts_forward(self: Any, x: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
    """What the experts add for each token, [N, hidden]: `grouped_mm` with taps behind the gate.

    Rows are sorted by expert, so that those of one expert are one block of a grouped matrix
    product.

    Args:
        self: the experts module.
        x: input of the layer for the flattened batch, [N, hidden].
        top_k_index: experts of each token, [N, k].
        top_k_weights: their weights, [N, k].
    """
    from transformers.integrations.moe import _grouped_linear

    k = top_k_index.shape[-1]
    experts, order = torch.sort(top_k_index.reshape(-1))
    tokens = order // k
    ends = torch.searchsorted(
        experts, torch.arange(self.num_experts, device=x.device), right=True, out_int32=True
    )

    def project(rows: Tensor, name: str) -> Tensor:
        bias = getattr(self, f"{name}_bias")[experts] if self.has_bias else None
        return _grouped_linear(
            rows, getattr(self, name), ends, bias=bias, is_transposed=self.is_transposed
        )

    gate_up = project(x[tokens], "gate_up_proj")
    hidden = self._apply_gate(gate_up)
    for tap in _TAPS.get(self, ()):
        hidden = tap(_gate(self, gate_up), hidden, experts, tokens, len(x))
    out = project(hidden, "down_proj") * top_k_weights.reshape(-1)[order, None]
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    return out[back].view(len(x), k, -1).sum(dim=1).to(x.dtype)
