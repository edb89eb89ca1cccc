"""Plain reading: what a model's feed-forwards activate, by hooks of its own.

What langneurons reads is held to it.

One text in one forward: no batch, no padding, no cache. Every module whose class is an activation
function, and every activation function of torch that is called elsewhere, is seen while a decoder
layer runs, outside of attention, state space, norms and routers; experts run in transformers' own
loop. Silencing multiplies the activation itself by zero. From langneurons come the token ids, the
decoder layers and the addresses of neurons, no reading.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import module as every_module
from torch.overrides import TorchFunctionMode
from transformers.activations import ACT2CLS

_CLASSES = tuple(kind[0] if isinstance(kind, tuple) else kind for kind in ACT2CLS.values())
_FUNCTIONS: dict[Callable[..., Any], bool] = {
    **dict.fromkeys(
        (functional.silu, functional.gelu, functional.mish, functional.hardswish), False
    ),
    **dict.fromkeys((functional.relu, functional.relu6, functional.leaky_relu, torch.relu), False),
    **dict.fromkeys((functional.softplus, functional.elu, Tensor.relu, functional.tanh), False),
    **dict.fromkeys((torch.sigmoid, Tensor.sigmoid, functional.sigmoid), True),
}
"""Activation functions, and whether it is their argument's sign that tells: x * sigmoid(x)."""

_NOT_FEED_FORWARD = re.compile(
    r"Attention(?!DecoderLayer)|Attn|Mamba|Mixer|Conv|Delta|RecurrentBlock|Rglru|Router|TopK|(?<!PreLayer)Norm"
    r"|Indexer|Compress|mLSTM|LSTMLayer|KDA|Linear$|HyperConn|Altup|AltUp|Laurel|Engram"
)
_SMALL = 8
"""Widths below this are gates of a layer or an expert as a whole."""


def _is_activation(module: nn.Module) -> bool:
    """Whether a module is an activation function, by its class or what that is called."""
    named = re.search(r"(?i)gelu|relu|silu|swish|activation", type(module).__name__)
    return isinstance(module, _CLASSES) or bool(named and not any(module.children()))


class Seen:
    """One activation of a feed-forward in one forward.

    Attributes:
        where: path of the module it ran in.
        values: what tells by its sign, [N, D], [n, I] of one expert, or [E, N, I] of all.
        expert: number of the expert; None where all tokens go.
        tokens: which tokens they are of; None where all are.
    """

    def __init__(self, where: str, values: Tensor, expert: int | None, tokens: Any) -> None:
        self.where, self.values, self.expert, self.tokens = where, values, expert, tokens


class _Functions(TorchFunctionMode):
    def __init__(self, reading: "PlainReading") -> None:
        super().__init__()
        self.reading = reading

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in _FUNCTIONS and not self.reading.in_activation:
            tells = args[0] if _FUNCTIONS[func] else out
            return self.reading.activation(out, tells, getattr(func, "__name__", "function"))
        return out


class PlainReading:
    """A model read and silenced in plain forwards.

    Args:
        model: the model; its experts are set to transformers' own loop.
        layers: its decoder layers.
        shapes: shape of each layer's neurons.
    """

    def __init__(
        self, model: Any, layers: Sequence[nn.Module], shapes: Sequence[tuple[int, ...]]
    ) -> None:
        self.model, self.shapes = model, shapes
        self.numbers = {id(layer): i for i, layer in enumerate(layers)}
        self.paths = {id(module): path for path, module in model.named_modules()}
        self.stack: list[nn.Module] = []
        self.routes: dict[int, list[tuple[int, Tensor]]] = {}
        self.seen: list[list[Seen]] = []
        self.zero: list[np.ndarray] | None = None
        self.starts: list[dict[str, int]] = [{} for _ in shapes]
        """First neuron (or expert) of each place of a layer, by path."""
        self.missed: set[str] = set()
        if hasattr(model, "set_experts_implementation"):
            model.set_experts_implementation("eager")

    @property
    def in_activation(self) -> bool:
        """Whether an activation module runs now."""
        return bool(self.stack) and _is_activation(self.stack[-1])

    def forward(self, ids: np.ndarray, zero: list[np.ndarray] | None = None) -> Tensor:
        """Logits of a text, [T, vocabulary], with these neurons zero; fills `seen`."""
        self.seen, self.zero, self.stack = [[] for _ in self.shapes], zero, []
        handles = [
            every_module.register_module_forward_pre_hook(self._enter),
            every_module.register_module_forward_hook(self._leave, always_call=True),
        ]
        given = torch.tensor([list(map(int, ids))])
        routed = [
            module.register_forward_pre_hook(self._route, with_kwargs=True)
            for path, module in self.model.named_modules()
            if path.rpartition(".")[2] == "experts"
        ]
        try:
            with torch.no_grad(), _Functions(self):
                return self.model(input_ids=given, use_cache=False).logits[0].float()
        finally:
            for handle in (*handles, *routed):
                handle.remove()

    def _enter(self, module: nn.Module, _: Any) -> None:
        self.stack.append(module)

    def _leave(self, module: nn.Module, _: Any, output: Any) -> Any:
        self.stack.pop()
        return (
            self.activation(output, output, type(module).__name__)
            if _is_activation(module)
            else None
        )

    def _route(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        given = [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)]
        chosen = [v for v in given if v.dtype == torch.int64 and v.ndim == 2]
        if chosen:
            hit = sorted(set(chosen[0].flatten().tolist()))
            self.routes[id(module)] = [(e, (e == chosen[0].T).nonzero()[:, 1]) for e in hit]

    def activation(self, out: Tensor, tells: Tensor, name: str) -> Tensor:
        """Note an activation; gives it with silenced neurons zero."""
        inner = [i for i, above in enumerate(self.stack) if id(above) in self.numbers]
        if not inner or out.shape[-1] < _SMALL:
            return out
        layer = self.numbers[id(self.stack[inner[-1]])]
        below = self.stack[inner[-1] + 1 :]
        if any(_NOT_FEED_FORWARD.search(type(above).__name__) for above in below):
            return out
        holder = self.stack[-1]
        where = f"{self.paths.get(id(holder), '?')}:{name}"
        route = next((self.routes[id(m)] for m in reversed(below) if id(m) in self.routes), None)
        if route is not None:
            expert, tokens = route.pop(0)
            item = Seen(where, tells, expert, tokens)
        else:
            item = Seen(where, tells.flatten(0, -2) if tells.shape[0] == 1 else tells, None, None)
        self.seen[layer].append(item)
        return out if self.zero is None else self._zeroed(layer, item, out)

    def _zeroed(self, layer: int, item: Seen, out: Tensor) -> Tensor:
        mask, start = self.zero[layer], self.starts[layer].get(item.where)  # ty: ignore[not-subscriptable]
        if start is None:
            return out
        width = out.shape[-1]
        if mask.ndim == 1:
            own = mask[start : start + width]
        elif item.expert is not None:
            own = mask[start + item.expert]
        elif item.values.ndim == 3:
            own = mask[start : start + len(out)][:, None]
        else:
            own = mask[start : start + width // mask.shape[1]].reshape(-1)
        return out * torch.from_numpy(~own).to(out.dtype)

    def learn(self, ids: np.ndarray) -> None:
        """Find which places of each layer its neurons are in; what else acts there is `missed`."""
        self.forward(ids)
        for layer, shape in enumerate(self.shapes):
            inner = shape[-1]
            places: dict[str, list[Seen]] = {}
            for item in self.seen[layer]:
                places.setdefault(item.where, []).append(item)
            routed = {w for w, items in places.items() if items[0].expert is not None}
            stacks = {w: i[0] for w, i in places.items() if i[0].values.ndim == 3}
            dense = {w: i[0] for w, i in places.items() if w not in routed and w not in stacks}
            if len(shape) == 1:
                fits = [w for w, item in dense.items() if inner and item.values.shape[-1] == inner]
                fits = fits[:1] if len(fits) == 1 else fits[-1:]
                self.starts[layer] = dict.fromkeys(fits, 0)
            else:
                fits = [w for w, i in dense.items() if not i.values.shape[-1] % inner]
                beside = sum(dense[w].values.shape[-1] // inner for w in fits)
                start = 0
                for w in routed:
                    self.starts[layer][w] = start
                    start += shape[0] - beside - sum(len(s.values) for s in stacks.values())
                for w, item in stacks.items():
                    self.starts[layer][w] = start
                    start += len(item.values)
                for w in fits:
                    self.starts[layer][w] = start
                    start += dense[w].values.shape[-1] // inner
            for w, items in places.items():
                if w not in self.starts[layer]:
                    self.missed.add(f"{w} [{items[0].values.shape[-1]}]")
            if inner and not self.starts[layer]:
                self.missed.add(f"layer {layer}: nothing seen")

    def active(self, ids: np.ndarray, counted: np.ndarray) -> list[np.ndarray]:
        """How many counted tokens of a text activate each neuron, by layer."""
        self.forward(ids)
        totals = [np.zeros(shape, np.int64) for shape in self.shapes]
        keep = torch.from_numpy(counted)
        for layer, total in enumerate(totals):
            for item in self.seen[layer]:
                start = self.starts[layer].get(item.where)
                if start is None:
                    continue
                positive = item.values > 0
                if item.expert is not None:
                    total[start + item.expert] += positive[keep[item.tokens]].sum(0).numpy()
                elif item.values.ndim == 3:
                    total[start : start + len(positive)] += positive[:, keep].sum(1).numpy()
                else:
                    sums = positive[keep].sum(0).numpy().reshape(-1, total.shape[-1])
                    view = total if total.ndim == 2 else total[None]
                    view[start : start + len(sums)] += sums
        return totals

    def cost(self, ids: np.ndarray, scored: np.ndarray, zero: list[np.ndarray] | None) -> float:
        """Summed negative log-likelihood of the tokens after the scored positions, in nats."""
        logits = self.forward(ids, zero)
        at = np.flatnonzero(scored)
        likely = torch.log_softmax(logits[torch.from_numpy(at)].double(), -1)
        wanted = torch.tensor([int(ids[i + 1]) for i in at])
        return float(-likely[torch.arange(len(at)), wanted].sum())
