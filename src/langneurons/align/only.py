"""Only: training the weights of some neurons and nothing else.

A neuron's weights are its rows of the gate and the up projection and its column of the down
projection. A LoRA adapter holds a change of just these exactly: one factor puts each neuron in its
place and stays as it is, ones and zeros, the other is the change and is trained. So the result is
an adapter like any other, and outside of the set its change is zero to the bit.

What trains a language's own neurons: arXiv 2510.13580, by masks; there gradients of all weights are
kept, here only those of the set.

Letters: D neuron of a layer, S neuron of the set in a layer.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from langneurons import layout
from langneurons.errors import InputError, SiteError
from langneurons.model.parts import Dense
from langneurons.model.sites import Site, feed_forwards

if TYPE_CHECKING:
    from langneurons.model.loading import Loaded


@dataclass(frozen=True)
class Only:
    """What alone is trained.

    Attributes:
        into: linear layers that lead into neurons, and which of their rows, by name.
        out: down projections, and which of their columns, by name.
        number: how many neurons there are.
    """

    into: dict[str, NDArray[np.int64]]
    out: dict[str, NDArray[np.int64]]
    number: int

    @cached_property
    def lora_fields(self) -> dict[str, Any]:
        """Fields of LoraConfig: in each linear layer as many dimensions as it has neurons."""
        ranks = {name: len(chosen) for name, chosen in (self.into | self.out).items()}
        exact = {re.escape(name): rank for name, rank in ranks.items()}
        widest = max(ranks.values())
        return {
            "r": widest,
            "lora_alpha": widest,
            "rank_pattern": exact,
            "alpha_pattern": exact,
            "target_modules": list(ranks),
        }

    def restrict(self, model: Any) -> None:
        """Put the neurons into their places in a model's new adapter, and train the rest of it.

        Args:
            model: what PEFT has made of the model with `lora_fields`.
        """
        inner = model.get_base_model()
        for name, chosen in (self.into | self.out).items():
            layer = inner.get_submodule(name)
            first, second = (factors["default"].weight for factors in (layer.lora_A, layer.lora_B))
            place, change = (second, first) if name in self.into else (first.T, second)
            with torch.no_grad():
                place.zero_()
                change.zero_()
                place[torch.from_numpy(chosen), torch.arange(len(chosen))] = 1
            fixed = second if name in self.into else first
            fixed.requires_grad_(False)


def only(model: "Loaded", positions: NDArray[np.int64]) -> Only:
    """What is trained where these neurons alone are.

    Args:
        model: a loaded model without an adapter.
        positions: the neurons, among all M.

    Raises:
        InputError: when there are none.
        SiteError: for experts, or a layer in which a neuron has no rows of its own.
    """
    if not len(positions):
        raise InputError("there is no such neuron to train")
    names = {id(module): name for name, module in model.model.named_modules()}
    into, out = {}, {}
    starts = layout.starts(model.widths)
    for site, (start, end) in zip(model.sites, pairwise(starts), strict=True):
        chosen = np.sort(positions[(positions >= start) & (positions < end)] - start)
        if not len(chosen):
            continue
        part = _dense(site)
        into |= {names[id(layer)]: chosen for layer in _leading_in(site, part)}
        out[names[id(part.down)]] = chosen
    return Only(into, out, len(positions))


def _dense(site: Site) -> Dense:
    """The feed-forward of a layer, whose weights are its own.

    Raises:
        SiteError: for another.
    """
    [part] = site.parts if len(site.parts) == 1 else [None]
    if not isinstance(part, Dense):
        raise SiteError(
            f"layer {site.layer} is a mixture of experts; weights of single neurons are trained in "
            "dense layers only"
        )
    if part.within is not None:
        raise SiteError(
            f"{part.path} is shared by several layers, so its neurons have no weights of their own"
        )
    return part


def _leading_in(site: Site, part: Dense) -> Sequence[nn.Module]:
    """The linear layers whose rows are a feed-forward's neurons: up projection, gate.

    Raises:
        SiteError: when there are none, or one that gives more than neurons.
    """
    width = part.shape[0]
    linear = [
        module
        for module in feed_forwards(site)
        if module is not part.down and type(module).__name__ in ("Linear", "Conv1D")
    ]
    odd = [layer for layer in linear if _rows(layer) != width]
    if odd or not linear:
        seen = f"a linear layer of {_rows(odd[0])} rows for" if odd else "no linear layer into"
        raise SiteError(
            f"{part.path} has {seen} {width} neurons: which rows are a neuron's cannot be told, so "
            "its weights cannot be trained alone"
        )
    return linear


def _rows(layer: Any) -> int:
    """How many values a linear layer gives; GPT-2's Conv1D calls it otherwise."""
    return int(layer.out_features if hasattr(layer, "out_features") else layer.nf)
