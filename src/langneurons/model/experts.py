"""Experts: mixtures of experts in transformers, read and zeroed at their activations.

Three forms: the common one, which runs here in `_experts_forward` with taps; a loop over those
experts that some token goes to; and all experts at once in one product of stacks.

Letters: B row of the batch, E expert, I neuron of an expert, N token of the flattened batch, S = N
* experts a token goes to.
"""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from langneurons.errors import SiteError
from langneurons.model.parts import OnRows, OnStep, Rows, share

Tap = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
"""(gate [S, I], hidden [S, I], experts [S], tokens [S], N) -> hidden, the input of the down
projection."""

_TAPS: dict[nn.Module, list[Tap]] = {}
_IMPLEMENTATION = "langneurons"


@dataclass(frozen=True, eq=False)
class Experts:
    """What the forms of experts have in common.

    Attributes:
        path: see `parts.Part`.
        shape: see `parts.Part`.
        module: the experts.
    """

    path: str
    shape: tuple[int, int]
    module: Any

    @property
    def steps(self) -> tuple[str, ...]:
        """See `parts.Part`."""
        return ("experts",)

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """See `parts.Part`."""
        return (self.module,)

    def read(self, on_rows: OnRows, /, *, last: bool = False) -> AbstractContextManager[object]:
        """See `parts.Part`."""
        raise NotImplementedError

    def run(self, on_step: OnStep, /) -> AbstractContextManager[object]:
        """See `parts.Part`."""
        return self.read(lambda rows: on_step("experts", rows.values))


@dataclass(frozen=True, eq=False)
class Common(Experts):
    """Routed experts of the form that transformers gives most of them.

    The gate before its activation function is read, which has the same sign, or the activation
    where there is no gate; a zero goes into the down projection.
    """

    def read(self, on_rows: OnRows, /, *, last: bool = False) -> AbstractContextManager[object]:  # noqa: ARG002
        """See `parts.Part`; silencing replaces nothing that is read here."""

        def tap(gate: Tensor, hidden: Tensor, experts: Tensor, tokens: Tensor, _: int) -> Tensor:
            on_rows(Rows(gate, experts, tokens))
            return hidden

        return tapped(self.module, tap)

    def silence(self, mask: Tensor, /) -> AbstractContextManager[object]:
        """See `parts.Part`."""
        return tapped(self.module, _zeroes(mask))


@dataclass(frozen=True, eq=False)
class Looped(Experts):
    """Routed experts that run one after the other, each on the tokens that go to it.

    Their one activation module is read and zeroed, call by call. The calls follow the numbers of
    the experts, and their rows those of `torch.where`, as in every such loop of transformers; which
    tokens go where is an argument of the experts.

    Attributes:
        activation: module that gives the activations.
    """

    activation: nn.Module

    @contextmanager
    def read(self, on_rows: OnRows, /, *, last: bool = False) -> Generator[None]:
        """See `parts.Part`."""
        seen: list[Rows] = []

        def call(output: Tensor, expert: int, tokens: Tensor, _: int) -> None:
            seen.append(Rows(output, torch.full_like(tokens, expert), tokens))

        def end(_: Any, __: Any, output: Tensor) -> None:
            none = torch.zeros(0, dtype=torch.long, device=output.device)
            seen.append(Rows(output.new_zeros(0, self.shape[1]), none, none))
            values, experts, tokens = (torch.cat(cells) for cells in zip(*seen, strict=True))
            on_rows(Rows(values, experts, tokens))

        with self._calls(call, seen.clear, first=not last), self.module.register_forward_hook(end):
            yield

    def silence(self, mask: Tensor, /) -> AbstractContextManager[object]:
        """See `parts.Part`."""

        def call(output: Tensor, expert: int, tokens: Tensor, size: int) -> Tensor:
            nonlocal mask
            mask = mask.to(output.device, non_blocking=True)
            return torch.where(mask[tokens // share(size, mask), expert], 0, output)

        return self._calls(call, lambda: None, first=False)

    @contextmanager
    def _calls(
        self,
        on_call: Callable[[Tensor, int, Tensor, int], Tensor | None],
        on_begin: Callable[[], None],
        *,
        first: bool,
    ) -> Generator[None]:
        """Inside the block, `on_call` has each expert's activations: value, expert, tokens, N.

        `first`: before others replace them.
        """
        to_come: list[tuple[int, Tensor, int]] = []

        def begin(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            chosen = kwargs["top_k_index"] if "top_k_index" in kwargs else args[1]
            hit = [e for e in chosen.unique().tolist() if e < self.shape[0]]
            rows = chosen.T
            to_come[:] = [(e, torch.where(rows == e)[1], len(chosen)) for e in reversed(hit)]
            on_begin()

        def hook(_: Any, __: Any, output: Tensor) -> Tensor | None:
            if not to_come or len(to_come[-1][1]) != len(output):
                raise SiteError(f"{self.path} does not run its experts one after the other")
            return on_call(output, *to_come.pop())

        with ExitStack() as stack:
            stack.enter_context(self.module.register_forward_pre_hook(begin, with_kwargs=True))
            stack.enter_context(self.activation.register_forward_hook(hook, prepend=first))
            yield


@dataclass(frozen=True, eq=False)
class Stacked(Experts):
    """Experts that all run at once: their activation module gives [E, N, I].

    It is read and zeroed there. Tokens that do not go to an expert come to it as zeros (Llama 4).

    Attributes:
        activation: module that gives the activations.
    """

    activation: nn.Module

    def read(self, on_rows: OnRows, /, *, last: bool = False) -> AbstractContextManager[object]:
        """See `parts.Part`."""

        def hook(_: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
            self._require_stacks(output)
            experts, tokens = args[0].any(-1).nonzero(as_tuple=True)
            on_rows(Rows(output[experts, tokens], experts, tokens))

        return self.activation.register_forward_hook(hook, prepend=not last)

    def silence(self, mask: Tensor, /) -> AbstractContextManager[object]:
        """See `parts.Part`."""

        def hook(_: Any, __: Any, output: Tensor) -> Tensor:
            nonlocal mask
            self._require_stacks(output)
            mask = mask.to(output.device, non_blocking=True)
            each = share(output.shape[1], mask)
            return torch.where(mask.transpose(0, 1).repeat_interleave(each, dim=1), 0, output)

        return self.activation.register_forward_hook(hook)

    def _require_stacks(self, output: Tensor) -> None:
        if (len(output), output.shape[-1]) != self.shape:
            raise SiteError(f"{self.path} does not run all of its experts at once")


def common_experts(path: str, module: Any) -> Common:
    """Experts of transformers' common form.

    Raises:
        SiteError: when they cannot be read.
    """
    what = f"{path} ({type(module).__name__})"
    weight: Tensor = module.down_proj
    refused = {
        "is spread over processes (expert parallel)": module._is_expert_parallel,
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
    return Common(path, (int(module.num_experts), int(width)), module)


FORM = ("num_experts", "config", "is_transposed", "is_concatenated", "has_bias", "has_gate")
"""What experts of the common form have."""


def has_common_form(module: nn.Module) -> bool:
    """Whether experts are of the form that transformers gives most of them."""
    return all(hasattr(module, name) for name in (*FORM, "_apply_gate"))


@torch.no_grad()
def looped_experts(path: str, module: Any, activation: nn.Module, hidden: int) -> Looped:
    """Experts that run one after the other, tried on a token that goes to the first twice.

    Raises:
        SiteError: when that does not run their activation once.
    """
    weight = next(module.parameters())
    state = torch.zeros(1, hidden, dtype=weight.dtype, device=weight.device)
    first = torch.zeros(1, 2, dtype=torch.long, device=weight.device)  # LongCat fails at one
    widths: list[int] = []
    with activation.register_forward_hook(lambda _, __, output: widths.append(output.shape[-1])):
        module(state, top_k_index=first, top_k_weights=torch.ones_like(first, dtype=weight.dtype))
    count = getattr(module, "num_routed_experts", getattr(module, "num_experts", None))
    if len(widths) != 1 or count is None:
        raise SiteError(
            f"{path} ({type(module).__name__}) holds experts of a form that langneurons cannot read"
        )
    return Looped(path, (int(count), widths[0]), module, activation)


def _gate(experts: Any, gate_up: Tensor) -> Tensor:
    """The gate's half of the fused projection to gate and up, [S, 2 * I] -> [S, I], a view."""
    return gate_up.chunk(2, dim=-1)[0] if experts.is_concatenated else gate_up[..., ::2]


@torch.no_grad()
def _gate_decides(experts: Any) -> bool:
    """Whether an expert's activation is positive exactly where its gate is.

    Tried on a few values, with up = 1.
    """
    if not experts.has_gate:
        return True
    device = "cpu" if experts.down_proj.is_meta else experts.down_proj.device
    values = torch.tensor([[-8, -1, -0.01, 0, 0.01, 1, 8]], device=device)
    gate_up = torch.ones(1, 2 * values.shape[1], device=device)
    _gate(experts, gate_up).copy_(values)
    return torch.equal(experts._apply_gate(gate_up) > 0, values > 0)


def _zeroes(mask: Tensor) -> Tap:
    """A tap that zeroes what goes into the down projections where the mask [B, E, I] says."""

    def tap(_: Tensor, hidden: Tensor, experts: Tensor, tokens: Tensor, size: int) -> Tensor:
        nonlocal mask
        mask = mask.to(hidden.device, non_blocking=True)
        return torch.where(mask[tokens // share(size, mask), experts], 0, hidden)

    return tap


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

    if self.has_gate:
        gate_up = project(x[tokens], "gate_up_proj")
        hidden, read = self._apply_gate(gate_up), _gate(self, gate_up)
    else:
        hidden = read = self.act_fn(project(x[tokens], "up_proj"))
    for tap in _TAPS.get(self, ()):
        hidden = tap(read, hidden, experts, tokens, len(x))
    out = project(hidden, "down_proj")
    if getattr(self, "has_post_expert_norm", False):
        out = self.post_expert_norm(out)
    out = out * top_k_weights.reshape(-1)[order, None]
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    return out[back].view(len(x), k, -1).sum(dim=1).to(x.dtype)
