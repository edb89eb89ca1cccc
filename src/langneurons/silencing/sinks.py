"""Sinks: neurons that act at the first token of a text most of all.

Attention rests on the first token, whose states a few neurons make, mostly one to a layer.
Silencing such a neuron there takes the rest away from every language, so that any set that holds
one hurts them all; silenced at all other tokens it does next to nothing. `--where text` leaves the
first token alone.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from langneurons import layout
from langneurons.model.head import Head
from langneurons.model.parts import Dense
from langneurons.model.tokens import Tokens
from langneurons.silencing.controls import Sets

if TYPE_CHECKING:
    from langneurons.model.loading import Loaded

MOST = 0.5
"""A sink makes up more than this share of its layer's squared activations at the first token."""

_TOKENS = 64


class Sink(NamedTuple):
    """One sink, in a dense layer.

    Attributes:
        layer: its layer.
        neuron: its index there.
        share: of the layer's squared activations at the first token, as they enter the down
            projection, mean over texts.
        times: its activation at the first token, as a multiple of its mean at the others, both
            without sign; more than 1, None where it does not act at the others at all.
    """

    layer: int
    neuron: int
    share: float
    times: float | None

    def __str__(self) -> str:
        return f"{self.layer}:{self.neuron}"


@torch.inference_mode()
def sinks(model: "Loaded", texts: Sequence[Tokens]) -> list[Sink]:
    """The sinks of a model: at most one in each dense layer, in order.

    Args:
        model: the model.
        texts: what is read, the first 64 tokens of each; a few are enough, as where a beginning
            token stands before every text the first token is always the same.
    """
    dense = {
        site.layer: part
        for site in model.sites
        for part in site.parts
        if isinstance(part, Dense) and len(site.shape) == 1
    }
    shares = {place: [] for place in dense}
    firsts = {place: [] for place in dense}
    others = {place: [] for place in dense}

    def keep(place: int) -> Any:
        def hook(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            values = args[0].reshape(-1, args[0].shape[-1]).float().abs()
            squares = values[0].square()
            shares[place].append(squares / squares.sum())
            firsts[place].append(values[0])
            others[place].append(values[1:])

        return hook

    head = Head(model.model)
    with ExitStack() as stack:
        for place, part in dense.items():
            stack.enter_context(part.enter(keep(place)))
        for text in texts:
            if len(text.ids) > 1:
                ids = torch.from_numpy(text.ids[None, :_TOKENS]).long().to(model.device)
                head.hidden(input_ids=ids, use_cache=False)
    known = []
    for place in dense:
        if not shares[place]:
            continue
        share = torch.stack(shares[place]).mean(dim=0)
        neuron = int(share.argmax())
        first = float(torch.stack(firsts[place]).mean(dim=0)[neuron])
        usual = float(torch.cat(others[place]).mean(dim=0)[neuron])
        if share[neuron] > MOST and first > usual:
            known.append(
                Sink(
                    layer=place,
                    neuron=neuron,
                    share=round(float(share[neuron]), 3),
                    times=float(f"{first / usual:.3g}") if usual else None,
                )
            )
    return known


def told(known: Sequence[Sink], sets: Sets, shapes: layout.Shapes) -> list[dict[str, Any]]:
    """What the facts say of each sink: what is known of it, and which sets silence it."""
    starts = layout.starts(shapes)
    said = []
    for sink in known:
        position = starts[sink.layer] + sink.neuron
        silencing = [
            {"silenced": of.silenced, "setting": of.setting, "draw": of.draw}
            for of, chosen in sets
            if np.isin(position, chosen)
        ]
        said.append({**sink._asdict(), "sets": silencing})
    return said
