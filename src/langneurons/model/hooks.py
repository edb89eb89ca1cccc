"""Means: silencing to a value instead of to zero, such as what a neuron does on average.

Unlike `sites.silence`, which zeroes the input of the down projection, the activation itself is
replaced, so that in a gated layer the value still meets its gate partner. Experts share no one
place where that could be done for all.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from langneurons.errors import SiteError
from langneurons.model.batches import Plan
from langneurons.model.experts import share
from langneurons.model.forward import model_inputs, spread_prompts
from langneurons.model.loading import cache_name
from langneurons.model.sites import Reading, Site, run_to_last_site, watch


@contextmanager
def hold(
    sites: Sequence[Site], masks: Sequence[Tensor | None], values: Sequence[Tensor]
) -> Generator[None]:
    """Inside this block the activations of the masked neurons have these values, in every forward.

    Args:
        sites: sites of the model.
        masks: as in `sites.silence`, with rows: [B, D] or None.
        values: one per site, [D].

    Raises:
        SiteError: for a mask on a mixture of experts.
    """
    with ExitStack() as stack:
        for site, mask, value in zip(sites, masks, values, strict=True):
            if mask is None:
                continue
            if site.activation is None or site.experts is not None:
                raise SiteError(
                    f"layer {site.layer} is a mixture of experts, whose neurons can be silenced to zero only; "
                    "leave --to at zero"
                )
            stack.enter_context(site.activation.register_forward_hook(_replace(mask, value)))
        yield


@torch.inference_mode()
def mean_activations(model: Any, sites: Sequence[Site], plan: Plan) -> list[Tensor]:
    """Mean over languages of each neuron's mean activation on a plan's counted positions, one [D] per site, float32.

    Raises:
        SiteError: for a model with a mixture of experts.
    """
    if any(site.experts is not None for site in sites):
        raise SiteError(
            "the mean activation of experts is not defined where they are not routed to; use --to zero"
        )
    k = len(plan.languages)
    sums: list[Tensor | None] = [None] * len(sites)
    tokens = torch.zeros(k, dtype=torch.float64)

    def adder(weight: Tensor) -> Callable[[Reading], None]:
        def add(reading: Reading) -> None:
            part = weight.to(reading.values.device) @ reading.values.float()
            so_far = sums[reading.site]
            sums[reading.site] = part if so_far is None else so_far + part

        return add

    for batch in plan.batches:
        prompts, inputs = model_inputs(model, plan, batch)
        if prompts:
            run_to_last_site(model, sites, **prompts)
            spread_prompts(plan, batch, inputs[cache_name(model)])
        weight = torch.zeros(k, *inputs["input_ids"].shape)
        for row, i in enumerate(batch.rows):
            counted = torch.from_numpy(plan.rows[i].tokens.counted[batch.prefix :])
            weight[plan.rows[i].key // plan.blocks, row, : len(counted)] = counted.float()
        tokens += weight.sum(dim=(1, 2))
        with watch(sites, adder(weight.flatten(1))):
            run_to_last_site(model, sites, **inputs)
    return [
        (total.double().cpu() / tokens[:, None]).mean(dim=0).float()
        for total in sums
        if total is not None
    ]


def _replace(mask: Tensor, value: Tensor) -> Callable[..., Tensor]:
    """A forward hook that gives the masked [B, D] activations this value [D]."""

    def hook(_: Any, __: tuple[Any, ...], output: Tensor) -> Tensor:
        nonlocal mask, value
        mask = mask.to(output.device, non_blocking=True)
        value = value.to(output.device, output.dtype, non_blocking=True)
        share(len(output), mask)
        rows = output.reshape(len(mask), -1, output.shape[-1])  # [B, T, D], or [N, D] in opt
        return torch.where(mask[:, None], value, rows).view(output.shape)

    return hook
