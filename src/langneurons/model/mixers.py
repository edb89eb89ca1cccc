"""Mixers: what a layer's attention adds to the residual stream, changed on its way.

Attention, or whatever else mixes tokens in its place (a state space, a short convolution). It is
found by structure: the outermost modules of a decoder layer that are told of other tokens. Letters:
B row of a batch, T token, H hidden size.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn

from langneurons.errors import SiteError
from langneurons.model.sites import Site, mixes


class Mixer(NamedTuple):
    """What mixes tokens in a layer; some layers have several side by side, some have none.

    Attributes:
        layer: number of the decoder layer.
        module: the module.
    """

    layer: int
    module: nn.Module


def find_mixers(sites: Sequence[Site]) -> tuple[Mixer, ...]:
    """The mixers of a model, in the order of its layers.

    Raises:
        SiteError: where layers share one, so that its calls cannot be told apart.
    """
    found = [Mixer(site.layer, module) for site in sites for module in _outermost(site)]
    if len({id(mixer.module) for mixer in found}) < len(found):
        raise SiteError("layers share their attention, whose outputs cannot be told apart")
    return tuple(found)


def _outermost(site: Site) -> Generator[nn.Module]:
    """The outermost modules of a layer that mix tokens and hold no part of its feed-forward."""
    own = {id(module) for part in site.parts for module in part.modules}

    def below(module: nn.Module) -> Generator[nn.Module]:
        for child in module.children():
            if not own.isdisjoint(map(id, child.modules())) or not mixes(child):
                yield from below(child)
            else:
                yield child

    yield from below(site.module)


OnMixed = Callable[[int, Tensor], Tensor]
"""Takes the place of a mixer among those asked for, and what it gives, [B, T, H]; gives what is to
come instead, or the very same."""


@contextmanager
def mixing(mixers: Sequence[Mixer], change: OnMixed) -> Generator[None]:
    """Inside this block `change` is called with all that mixers give."""

    def hook_of(place: int) -> Callable[..., Any]:
        def hook(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
            if isinstance(output, tuple):
                return (change(place, output[0]), *output[1:])
            return change(place, output)

        return hook

    with ExitStack() as stack:
        for place, mixer in enumerate(mixers):
            stack.enter_context(mixer.module.register_forward_hook(hook_of(place)))
        yield
