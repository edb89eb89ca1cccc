"""Hooks: a model's activations read (`watch`), switched off (`silence`), held (`hold`).

Reading is the activation function's output. Silencing is a zero at the input of the down
projection, which is what a zero activation comes to, in plain and in gated layers. Within one
forward a silenced neuron still reads as it was before the zero; later layers read what follows from
it. Holding replaces the activation itself, so that in a gated layer the value still meets its gate
partner; experts share no one place where that could be done for all. No weight is touched, and all
`with` blocks restore the model on any exit.

Inside them, routed experts run in `experts`: the arithmetic of transformers' default, `grouped_mm`,
operation for operation, so that logits stay equal to the last bit. A model that was set to another
implementation (`eager`, `batched_mm`) runs as `grouped_mm` there, which differs by rounding: 1e-6
in float32.

Letters: D neuron of a dense layer, E expert, I neuron of an expert, B row of a batch, T token of a
row, N = B * T tokens of the flattened batch, S = N * experts a token goes to.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from langneurons.errors import SiteError
from langneurons.model.batches import Batches
from langneurons.model.experts import Tap, share, tapped, zero_experts
from langneurons.model.forward import cache_name, model_inputs, spread_prompts
from langneurons.model.sites import Site


class Reading(NamedTuple):
    """What was read at one site; a neuron is active where `values > 0`.

    A dense layer gives one reading per forward. A mixture of experts gives one with a row for each
    token and expert it was routed to and, where it has shared experts, one more with a row for each
    token and shared expert.

    Attributes:
        site: position of the site among those watched.
        values: [N, D], row n for token n of the flattened batch, or [S, I]: the activations, or for
            routed experts the gate before its activation function, which has the same sign. What
            the model computes with, not a copy: do not change it, and do not keep it.
        experts: expert of each row, [S]; None in a dense layer.
        tokens: token of each row among the N, [S]; None in a dense layer.
    """

    site: int
    values: Tensor
    experts: Tensor | None = None
    tokens: Tensor | None = None


@contextmanager
def watch(sites: Sequence[Site], on_active: Callable[[Reading], object]) -> Generator[None]:
    """Inside this block, every forward calls `on_active` for each site, in the model's order.

    Not a bit of the logits changes, and the device is never waited for. An exception in `on_active`
    ends the forward.
    """
    with ExitStack() as stack:
        for i, site in enumerate(sites):
            if site.activation is not None:
                stack.enter_context(
                    site.activation.register_forward_hook(_read_dense(i, site, on_active))
                )
            if site.experts is not None:
                stack.enter_context(tapped(site.experts, _read_experts(i, on_active)))
        yield


@contextmanager
def silence(sites: Sequence[Site], masks: Sequence[Tensor | None]) -> Generator[None]:
    """Inside this block the masked neurons are zero, in every forward.

    So they are at every step of `generate`.

    Args:
        sites: sites of the model.
        masks: one per site: a bool tensor of the site's shape, true for silenced neurons; or one
            such mask per row of the batch, [B, D] or [B, E, I] (in a batch of n * B rows, each
            holds for n consecutive ones); or None. A site of which nothing is silenced is left
            alone.

    Raises:
        SiteError: when a mask does not fit its site or, in the forward, the batch.
    """
    if len(masks) != len(sites):
        raise SiteError(
            f"{len(masks)} masks were given for {len(sites)} sites; give one per site, "
            "None for nothing"
        )
    with ExitStack() as stack:
        for site, mask in zip(sites, masks, strict=True):
            if mask is None:
                continue
            rows = _per_row(site, mask)
            routed, dense = rows[:, : site.routed], rows[:, site.routed :].flatten(1)
            if site.experts is not None and routed.any():
                stack.enter_context(tapped(site.experts, zero_experts(routed)))
            if site.down is not None and dense.any():
                stack.enter_context(site.down.register_forward_pre_hook(_zero_dense(dense)))
        yield


@contextmanager
def hold(
    sites: Sequence[Site], masks: Sequence[Tensor | None], values: Sequence[Tensor]
) -> Generator[None]:
    """Inside this block the activations of the masked neurons have these values, in every forward.

    Args:
        sites: sites of the model.
        masks: as in `silence`, with rows: [B, D] or None.
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
                    f"layer {site.layer} is a mixture of experts, whose neurons can be silenced to "
                    "zero only; leave --to at zero"
                )
            stack.enter_context(site.activation.register_forward_hook(_replace(mask, value)))
        yield


def run_to_last_site(model: nn.Module, sites: Sequence[Site], **inputs: Any) -> None:
    """Run the model only until its last site was read.

    No down projection runs after it, no final norm, no LM head.

    Called inside `watch`, which does the reading. A key-value cache among the inputs ends up
    complete: the attention of the last layer comes before its feed-forward.

    Raises:
        SiteError: when the forward ended without passing the last site.
    """
    last = sites[-1]
    left = (last.activation is not None) + (last.experts is not None)

    def stop(_: Reading) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise _LastSiteRead

    with watch([last], stop):
        try:
            model(**inputs)
        except _LastSiteRead:
            return
    raise SiteError(
        f"{last.path} did not run in this forward, so nothing can be read of it; `probe` says more"
    )


def probe(model: nn.Module, sites: Sequence[Site], input_ids: Tensor) -> None:
    """Run `input_ids` [B, T] once: each site is passed once, with as many neurons as it has.

    Fused kernels (Liger, MegaBlocks) compute a layer without the modules that are still there; they
    would read as never active, with no error. Tensor parallelism shows a part of the neurons.

    Raises:
        SiteError: naming the parts that did not run exactly once, or gave another number of
            neurons.
    """
    tokens = input_ids.numel()
    passes: dict[tuple[int, str], list[float]] = defaultdict(list)
    """Neurons for each token, of every time that a part of a site ran."""

    def read(reading: Reading) -> None:
        experts = reading.experts
        routed = experts is not None and bool((experts < sites[reading.site].routed).all())
        part = "experts" if routed else "activation"
        passes[reading.site, part].append(reading.values.numel() / tokens)

    def enter(i: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda _, args: passes[i, "down projection"].append(args[0].numel() / tokens)

    with ExitStack() as stack, torch.no_grad():
        for i, site in enumerate(sites):
            if site.down is not None:
                stack.enter_context(site.down.register_forward_pre_hook(enter(i)))
        stack.enter_context(watch(sites, read))
        model(input_ids=input_ids, use_cache=False)

    wrong = []
    for i, site in enumerate(sites):
        for part in _parts(site):
            if fault := _fault(site, part, passes[i, part]):
                wrong.append(f"layer {site.layer}: the {part} of {site.path} {fault}")
    if wrong:
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        raise SiteError(
            f"{'; '.join(wrong[:3])}{more}: something (Liger, a fused kernel, tensor parallelism) "
            "computes these layers in another way; load the model without it"
        )


@torch.inference_mode()
def mean_activations(model: Any, sites: Sequence[Site], work: Batches) -> list[Tensor]:
    """Each neuron's mean activation on the counted positions, [D] of each site, float32.

    It is the mean over languages of the mean in each.

    Raises:
        SiteError: for a model with a mixture of experts.
    """
    if any(site.experts is not None for site in sites):
        raise SiteError(
            "the mean activation of experts is not defined where they are not routed to; "
            "use --to zero"
        )
    languages = len(work.languages)
    sums: dict[int, Tensor] = {}
    """Summed activations of each site, [languages, D], on the device where they are."""
    tokens = torch.zeros(languages, dtype=torch.float64)

    def adder(weight: Tensor) -> Callable[[Reading], None]:
        def add(reading: Reading) -> None:
            values = reading.values.float()
            part = weight.to(values.device) @ values
            i = reading.site
            sums[i] = sums[i] + part if i in sums else part

        return add

    for batch in work.batches:
        prompts, inputs = model_inputs(model, work, batch)
        if prompts:
            run_to_last_site(model, sites, **prompts)
            spread_prompts(work, batch, inputs[cache_name(model)])
        weight = torch.zeros(languages, *inputs["input_ids"].shape)
        for row, i in enumerate(batch.rows):
            language = work.rows[i].key // work.blocks
            counted = torch.from_numpy(work.rows[i].tokens.counted[batch.prefix :])
            weight[language, row, : len(counted)] = counted.float()
        tokens += weight.sum(dim=(1, 2))
        with watch(sites, adder(weight.flatten(1))):
            run_to_last_site(model, sites, **inputs)
    means = [sums[i].double().cpu() / tokens[:, None] for i in range(len(sites))]
    return [mean.mean(dim=0).float() for mean in means]


class _LastSiteRead(Exception):  # noqa: N818
    """Ends a forward early; never leaves `run_to_last_site`."""


def _parts(site: Site) -> list[str]:
    """What of a site runs in a forward."""
    modules = {
        "activation": site.activation,
        "down projection": site.down,
        "experts": site.experts,
    }
    return [part for part, module in modules.items() if module is not None]


def _fault(site: Site, part: str, passes: list[float]) -> str | None:
    """What is wrong with how a part of a site ran; None if nothing.

    `passes`: its neurons for each token, of each time that it ran.
    """
    if not passes:
        return "never ran"
    if len(passes) > 1:
        return f"ran {len(passes)} times in one forward"
    neurons = math.prod((site.shape[0] - site.routed, *site.shape[1:]))
    if part != "experts" and passes[0] != neurons:
        return f"has {passes[0]:g} neurons for each token, not {neurons}"
    return None


def _read_dense(i: int, site: Site, on_active: Callable[[Reading], object]) -> Callable[..., None]:
    shared = site.shape[0] - site.routed

    def hook(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
        values = output.flatten(0, -2)
        if site.experts is None:
            reading = Reading(i, values)
        else:
            rows = torch.arange(len(values) * shared, device=values.device)
            reading = Reading(
                site=i,
                values=values.reshape(len(rows), -1),
                experts=site.routed + rows % shared,
                tokens=rows // shared,
            )
        on_active(reading)  # whatever it returns must not be returned: it would replace the output

    return hook


def _read_experts(i: int, on_active: Callable[[Reading], object]) -> Tap:
    def tap(gate: Tensor, hidden: Tensor, experts: Tensor, tokens: Tensor, _: int) -> Tensor:
        on_active(Reading(site=i, values=gate, experts=experts, tokens=tokens))
        return hidden

    return tap


def _zero_dense(mask: Tensor) -> Callable[..., tuple[Any, ...]]:
    """A forward-pre-hook that zeroes the input of a down projection where the mask [B, D] says.

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


def _per_row(site: Site, mask: Tensor) -> Tensor:
    """A mask with an axis for rows of the batch, [B, *site.shape]; B = 1: it holds for all."""
    if mask.dtype != torch.bool or site.shape not in (mask.shape, mask.shape[1:]):
        raise SiteError(
            f"layer {site.layer}: a mask of {mask.dtype} {list(mask.shape)} was given; "
            f"torch.bool {list(site.shape)} is needed, or one such mask for each row of the batch"
        )
    return mask.reshape(-1, *site.shape)


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
