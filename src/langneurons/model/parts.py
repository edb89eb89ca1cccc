"""Parts: the ways a feed-forward is written, each with one way to be read and one to be silenced.

A site has one part, or experts with what every token goes to beside them. Here are those that every
token goes through; `experts` has the others. All of them have a `path`, a `shape`, `read` and
`silence`, which hold inside a `with` block. Letters: B row of a batch, T token of a row, N = B * T,
D neuron, E expert, I neuron of an expert, S = tokens and experts they go to.
"""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from langneurons.errors import SiteError


class Rows(NamedTuple):
    """What was read at one part in one forward; a neuron is active where `values > 0`.

    Attributes:
        values: [N, D], row n for token n of the flattened batch, or [S, I]. What the model computes
            with, not a copy: do not change it, and do not keep it.
        experts: expert of each row among those of the part, [S]; None where every token goes.
        tokens: token of each row among the N, [S]; None where every token goes.
    """

    values: Tensor
    experts: Tensor | None = None
    tokens: Tensor | None = None


def rows_of_shared(values: Tensor, width: int, first: int) -> Rows:
    """Values [N, E * I] of shared experts, a row for each token and expert.

    `first` is the number of the first of these experts, `width` is I.
    """
    shared = values.shape[-1] // width
    rows = torch.arange(len(values) * shared, device=values.device)
    return Rows(values.reshape(len(rows), -1), first + rows % shared, rows // shared)


OnRows = Callable[[Rows], object]
"""What is called with what was read."""


OnStep = Callable[[str, Tensor], object]
"""What is called with a step's name and what it had."""


class Part(Protocol):
    """What all parts have.

    Attributes:
        path: name of the module that computes it, as in `model.named_modules()`.
        shape: (D,), or (E, I) of experts.
        steps: names of what runs in it.
        modules: modules that it consists of.
    """

    @property
    def path(self) -> str:
        """See above."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """See above."""
        ...

    @property
    def steps(self) -> tuple[str, ...]:
        """See above."""
        ...

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """See above."""
        ...

    def read(self, on_rows: OnRows, /, *, last: bool = False) -> AbstractContextManager[object]:
        """Inside the block, each forward calls `on_rows` once.

        It comes before what replaces activations; `last` is after all others.
        """
        ...

    def run(self, on_step: OnStep, /) -> AbstractContextManager[object]:
        """Inside the block, each forward calls `on_step` for each step."""
        ...

    def silence(self, mask: Tensor, /) -> AbstractContextManager[object]:
        """Inside the block the neurons of a mask [B, *shape] are zero.

        In a batch of n * B rows each row of the mask holds for n consecutive ones.
        """
        ...


@dataclass(frozen=True, eq=False)
class Dense:
    """What every token goes through.

    Attributes:
        path: see `Part`.
        shape: see `Part`.
        down: the down projection.
        within: the decoder layer whose calls it belongs to, where several layers share the modules.
    """

    path: str
    shape: tuple[int, ...]
    down: nn.Module
    within: nn.Module | None

    @property
    def steps(self) -> tuple[str, ...]:
        """See `Part`."""
        return "activation", "down projection"

    def read(self, on_rows: OnRows, /, *, last: bool = False) -> AbstractContextManager[object]:
        """See `Part`."""
        raise NotImplementedError

    @contextmanager
    def run(self, on_step: OnStep, /) -> Generator[None]:
        """See `Part`."""

        def enter(_: nn.Module, args: tuple[Any, ...]) -> None:
            on_step("down projection", args[0])

        with self.read(lambda rows: on_step("activation", rows.values)), self.enter(enter):
            yield

    def enter(self, hook: Callable[..., Any]) -> AbstractContextManager[object]:
        """Inside the block, a forward-pre-hook of the down projection."""
        return _before(self.down, hook, self.within)

    def silence(self, mask: Tensor, /) -> AbstractContextManager[object]:
        """See `Part`: a zero goes into the down projection.

        That is what a zero activation comes to, in plain and in gated layers.
        """
        return self.enter(_zeroes_input(mask))


@dataclass(frozen=True, eq=False)
class Activated(Dense):
    """A feed-forward with an activation module, whose output is read.

    Attributes:
        activation: module that gives the activations.
    """

    activation: nn.Module

    def read(self, on_rows: OnRows, /, *, last: bool = False) -> AbstractContextManager[object]:
        """See `Part`."""
        return _after(self.activation, _reads(on_rows), self.within, first=not last)

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """See `Part`."""
        return self.activation, self.down

    def hold(self, mask: Tensor, value: Tensor) -> AbstractContextManager[object]:
        """Inside the block the neurons of a mask [B, D] have these values [D]."""
        return _after(self.activation, _replaces(mask, value), self.within)


@dataclass(frozen=True, eq=False)
class Normed(Activated):
    """A feed-forward with an activation module and a norm between it and the down projection.

    It is zeroed at the activation: behind the norm, all other neurons would stay as they were with
    it (BitNet).
    """

    def silence(self, mask: Tensor, /) -> AbstractContextManager[object]:
        """See `Part`."""
        return self.hold(mask, torch.zeros(self.shape))


@dataclass(frozen=True, eq=False)
class Functional(Dense):
    """A feed-forward whose activation is written as a bare function: its argument is read.

    That is what the linear layer before it gives, which is positive exactly where the activation is
    (`gates` tries it).

    Attributes:
        gate: the linear layer before the function.
        columns: which of its outputs go into the function; it may give the gate's partner too.
    """

    gate: nn.Module
    columns: slice

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """See `Part`."""
        return self.gate, self.down

    def read(self, on_rows: OnRows, /, *, last: bool = False) -> AbstractContextManager[object]:
        """See `Part`."""
        return _after(self.gate, _reads(on_rows, self.columns), self.within, first=not last)


def share(size: int, mask: Tensor) -> int:
    """How many consecutive of so many rows or tokens each row of a mask holds for.

    Raises:
        SiteError: when it is no whole number.
    """
    if size % len(mask):
        raise SiteError(
            f"a mask for {len(mask)} rows was given and the batch is no multiple of that"
        )
    return size // len(mask)


_Hook = Callable[..., Any]


def _after(
    module: nn.Module, hook: _Hook, within: nn.Module | None, *, first: bool = False
) -> AbstractContextManager[object]:
    """Inside the block the hook runs after the module; in calls of this layer, if one is given.

    `first`: before other hooks, which may replace the output.
    """

    def register(hook: _Hook) -> AbstractContextManager[object]:
        return module.register_forward_hook(hook, prepend=first)

    return register(hook) if within is None else _in_calls_of(within, register, hook)


def _before(
    module: nn.Module, hook: _Hook, within: nn.Module | None
) -> AbstractContextManager[object]:
    """Inside the block the hook runs before the module; in calls of this layer, if given."""
    if within is None:
        return module.register_forward_pre_hook(hook)
    return _in_calls_of(within, module.register_forward_pre_hook, hook)


@contextmanager
def _in_calls_of(
    layer: nn.Module, register: Callable[[_Hook], AbstractContextManager[object]], hook: _Hook
) -> Generator[None]:
    """A hook on a module that several layers share, that does nothing in the others' calls."""
    inside = False

    def enter(*_: Any) -> None:
        nonlocal inside
        inside = True

    def leave(*_: Any) -> None:
        nonlocal inside
        inside = False

    with ExitStack() as stack:
        stack.enter_context(layer.register_forward_pre_hook(enter))
        stack.enter_context(layer.register_forward_hook(leave, always_call=True))
        stack.enter_context(register(lambda *call: hook(*call) if inside else None))
        yield


def _reads(on_rows: OnRows, columns: slice = slice(None)) -> _Hook:
    def hook(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
        on_rows(Rows(output[..., columns].flatten(0, -2)))  # a value returned would replace it

    return hook


def _zeroes_input(mask: Tensor) -> _Hook:
    """A forward-pre-hook that zeroes the module's input where the mask [B, D] says.

    Only the silenced columns of a copy are written, which takes a fifth of the time of a fill by
    the whole mask.
    """
    places = mask.nonzero(as_tuple=True)

    def hook(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        nonlocal places
        x = args[0]  # [B, T, D], or [N, D] in opt
        share(len(x), mask)
        row, neuron = places = tuple(place.to(x.device, non_blocking=True) for place in places)
        rows = x.clone().reshape(len(mask), -1, x.shape[-1])
        rows[row, :, neuron] = 0
        return (rows.view(x.shape), *args[1:])

    return hook


def _replaces(mask: Tensor, value: Tensor) -> _Hook:
    """A forward hook that gives the masked [B, D] activations this value [D]."""

    def hook(_: Any, __: tuple[Any, ...], output: Tensor) -> Tensor:
        nonlocal mask, value
        mask = mask.to(output.device, non_blocking=True)
        value = value.to(output.device, output.dtype, non_blocking=True)
        share(len(output), mask)
        rows = output.reshape(len(mask), -1, output.shape[-1])  # [B, T, D], or [N, D] in opt
        return torch.where(mask[:, None], value, rows).view(output.shape)

    return hook
