"""Entering: what goes into the down projections, changed on its way or followed by gradients.

There a neuron is whole: activation times gate partner. `hooks.silence` puts zeros there, for good
and fast; this is for whatever else is to be done with the values, also while gradients are kept.

Letters: D neuron of a dense layer, I neuron of an expert, N token of the flattened batch, S = N *
experts a token goes to.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn

from langneurons.errors import SiteError
from langneurons.model.experts import Common, Tap, tapped
from langneurons.model.parts import Dense, Normed, rows_of_shared
from langneurons.model.sites import Site


class Entering(NamedTuple):
    """What enters the down projection of one site, or the down projections of its experts.

    Attributes:
        site: position of the site among those asked for.
        values: [N, D], row n for token n of the flattened batch, or [S, I].
        size: how many tokens the flattened batch has, N.
        experts: expert of each row, [S]; None in a dense layer.
        tokens: token of each row among the N, [S]; None in a dense layer.
    """

    site: int
    values: Tensor
    size: int
    experts: Tensor | None = None
    tokens: Tensor | None = None


Change = Callable[[Entering], Tensor]
"""Gives what is to enter instead, of the same shape; the very values for no change."""


@contextmanager
def entering(sites: Sequence[Site], change: Change) -> Generator[None]:
    """Inside this block `change` is called with all that enters a down projection.

    Once for each site and forward, in the model's order; in a mixture of experts once for the
    routed and once for the shared experts.

    Raises:
        SiteError: for a layer where that is no place to change one neuron alone: with a norm
            before the down projection, or experts that are not of transformers' common form.
    """
    with ExitStack() as stack:
        for i, site in enumerate(sites):
            for part, start in zip(site.parts, site.starts, strict=True):
                if isinstance(part, Common):
                    stack.enter_context(tapped(part.module, _of_experts(i, change)))
                elif isinstance(part, Dense) and not isinstance(part, Normed):
                    stack.enter_context(part.enter(_of_dense(i, site, start, change)))
                else:
                    raise SiteError(
                        f"layer {site.layer}: what enters the down projection of {part.path} "
                        f"({type(part).__name__}) is no place to change one neuron alone; this "
                        "model can be recorded and silenced only"
                    )
        yield


def _of_dense(i: int, site: Site, start: int, change: Change) -> Callable[..., tuple[Any, ...]]:
    """A forward-pre-hook of a down projection, of a dense layer or of the shared experts.

    `start` is the number of its first neuron in the layer.
    """
    first = start // site.shape[-1]

    def hook(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x = args[0]  # [B, T, D], or [N, D] in opt
        values = x.flatten(0, -2)
        if len(site.shape) == 1:
            mine = Entering(i, values, len(values))
        else:
            rows = rows_of_shared(values, site.shape[-1], first)
            mine = Entering(i, rows.values, len(values), experts=rows.experts, tokens=rows.tokens)
        return (change(mine).reshape(x.shape), *args[1:])

    return hook


def _of_experts(i: int, change: Change) -> Tap:
    def tap(_: Tensor, hidden: Tensor, experts: Tensor, tokens: Tensor, size: int) -> Tensor:
        return change(Entering(i, hidden, size, experts=experts, tokens=tokens))

    return tap
