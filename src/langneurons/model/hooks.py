"""Hooks: a model's activations read (`watch`), switched off (`silence`), held (`hold`).

Reading is the activation function's output, or its argument where that has the same sign. Silencing
is a zero at the input of the down projection, which is what a zero activation comes to, in plain
and in gated layers, or at the activation itself; `parts` and `experts` say which is where. Within
one forward a silenced neuron still reads as it was before the zero; later layers read what follows
from it. Holding replaces the activation itself, so that
in a gated layer the value still meets its gate partner; experts share no one place where that could
be done for all. No weight is touched, and all `with` blocks restore the model on any exit.

Inside them, routed experts run in `experts`: the arithmetic of transformers' default, `grouped_mm`,
operation for operation, so that logits stay equal to the last bit. A model that was set to another
implementation (`eager`, `batched_mm`) runs as `grouped_mm` there, which differs by rounding: 1e-6
in float32.

Letters: D neuron of a dense layer, E expert, I neuron of an expert, B row of a batch, T token of a
row, N = B * T tokens of the flattened batch, S = N * experts a token goes to.
"""

import math
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from langneurons.errors import SiteError, first_line
from langneurons.model.batches import Batch, Batches
from langneurons.model.forward import cache_name, model_inputs, spread_prompts
from langneurons.model.parts import Activated, Functional, Normed, Part, Rows, rows_of_shared
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
    with _reading(sites, on_active, last=False):
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
            for part, start in zip(site.parts, site.starts, strict=True):
                own = rows[:, start : start + math.prod(part.shape)]
                if own.any():
                    stack.enter_context(part.silence(own.reshape(-1, *part.shape)))
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
        SiteError: for a mask on a mixture of experts, or on a layer whose activation is a bare
            function.
    """
    with ExitStack() as stack:
        for site, mask, value in zip(sites, masks, values, strict=True):
            if mask is None:
                continue
            _require_activations([site])
            for part in site.parts:
                assert isinstance(part, (Activated, Normed))  # noqa: S101 - required above
                stack.enter_context(part.hold(mask, value))
        yield


def run_to_last_site(model: nn.Module, sites: Sequence[Site], **inputs: Any) -> None:
    """Run the model only until its last site was read.

    No down projection runs after it, no final norm, no LM head.

    Called inside `watch`, which does the reading. A key-value cache among the inputs ends up
    complete: the attention of the last layer comes before its feed-forward.

    Raises:
        SiteError: when the forward ended without passing the last site.
    """
    last = [site for site in sites if site.parts][-1]
    left = len(last.parts)

    def stop(_: Reading) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise _LastSiteRead

    with _reading([last], stop, last=True):
        try:
            model(**inputs)
        except _LastSiteRead:
            return
    raise SiteError(
        f"{last.path} did not run in this forward, so nothing can be read of it; `probe` says more"
    )


def after_prompts(model: Any, sites: Sequence[Site], work: Batches, batch: Batch) -> dict[str, Any]:
    """What the model is given for a batch, whose shared prompts are run into its cache first."""
    prompts, inputs = model_inputs(model, work, batch)
    if prompts:
        run_to_last_site(model, sites, **prompts)
        spread_prompts(work, batch, inputs[cache_name(model)])
    return inputs


def probe(model: nn.Module, sites: Sequence[Site], input_ids: Tensor) -> None:
    """Run `input_ids` [B, T] once: each site is passed once, with as many neurons as it has.

    Fused kernels (Liger, MegaBlocks) compute a layer without the modules that are still there; they
    would read as never active, with no error. Tensor parallelism shows a part of the neurons.

    Raises:
        SiteError: naming the parts that did not run exactly once, or gave another number of
            neurons.
    """
    passes: dict[tuple[Site, Part, str], list[torch.Size]] = {}
    """Shape of what each step of each part had, of every time that it ran."""
    entered: Counter[Site] = Counter()

    def enter(site: Site) -> Callable[..., None]:
        return lambda *_: entered.update([site])

    with ExitStack() as stack, torch.no_grad():
        for site in sites:
            stack.enter_context(site.module.register_forward_pre_hook(enter(site)))
            for part in site.parts:
                seen = {step: passes.setdefault((site, part, step), []) for step in part.steps}
                note = lambda step, values, seen=seen: seen[step].append(values.shape)  # noqa: E731
                stack.enter_context(part.run(note))
        _read_alone(model, input_ids)
    faults: dict[str, list[str]] = {}
    """Why -> where and what."""
    for (site, part, step), shapes in passes.items():
        if fault := _fault(part, shapes, entered[site], input_ids.numel()):
            what, why = fault
            where = f"layer {site.layer}: the {step} of {part.path}"
            faults.setdefault(why, []).append(f"{where} {what}")
    for why, wrong in faults.items():
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        compiled = why == _ANOTHER_WAY and _is_compiled(model)
        raise SiteError(f"{'; '.join(wrong[:3])}{more}: {_COMPILED if compiled else why}")


def _read_alone(model: nn.Module, input_ids: Tensor) -> None:
    """Run a text and nothing else.

    Raises:
        SiteError: with what the model says to that.
    """
    try:
        mask = torch.ones_like(input_ids)  # which every command gives
        model(input_ids=input_ids, attention_mask=mask, use_cache=False)
    except (SiteError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever its own code raises
        raise SiteError(f"it cannot read a text alone: {first_line(error)}") from error


_ANOTHER_WAY = (
    "something (Liger, a fused kernel, tensor parallelism) computes these layers in another way; "
    "load the model without it"
)
_COMPILED = "torch.compile computes these layers in another way; load the model without it"
_LOOPED = (
    "a looped model, whose layers run several times for each token, so that a neuron has no one "
    "activation"
)
_SOME_TOKENS = "perhaps experts, of a form that langneurons cannot read"
_MORE_TOKENS = (
    "something else than the text runs beside it, such as learned tokens of an adapter or streams "
    "of the model's own"
)
_NOT_FOR_TEXT = "these layers do not run on text alone"


def _fault(
    part: Part, shapes: Sequence[torch.Size], entered: int, tokens: int
) -> tuple[str, str] | None:
    """What is wrong with how a step of a part ran, and why that may be; None if nothing.

    Args:
        part: the part.
        shapes: of what the step had, of each time that it ran.
        entered: how often the layer ran.
        tokens: how many there were.
    """
    if not shapes:
        return "never ran", _ANOTHER_WAY if entered else _NOT_FOR_TEXT
    if len(shapes) > 1:
        why = _LOOPED if entered > 1 else _ANOTHER_WAY
        return f"ran {len(shapes)} times in one forward", why
    *rows, width = shapes[0]
    if len(part.shape) == 1 and width != part.shape[0]:
        return f"has {width} neurons for each token, not {part.shape[0]}", _ANOTHER_WAY
    if len(part.shape) == 1 and math.prod(rows) != tokens:
        why = _SOME_TOKENS if math.prod(rows) < tokens else _MORE_TOKENS
        return f"ran on {math.prod(rows)} tokens of {tokens}", why
    return None


def _is_compiled(model: nn.Module) -> bool:
    compiled = (getattr(module, "_compiled_call_impl", None) for module in model.modules())
    return any(compiled) or any(hasattr(module, "_orig_mod") for module in model.modules())


@torch.inference_mode()
def mean_activations(model: Any, sites: Sequence[Site], work: Batches) -> list[Tensor]:
    """Each neuron's mean activation on the counted positions, [D] of each site, float32.

    It is the mean over languages of the mean in each.

    Raises:
        SiteError: for a model with a mixture of experts, or whose activation is a bare function.
    """
    _require_activations(sites)
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
        inputs = after_prompts(model, sites, work, batch)
        weight = torch.zeros(languages, *inputs["input_ids"].shape)
        for row, i in enumerate(batch.rows):
            language = work.rows[i].key // work.blocks
            counted = torch.from_numpy(work.rows[i].tokens.counted[batch.prefix :])
            weight[language, row, : len(counted)] = counted.float()
        tokens += weight.sum(dim=(1, 2))
        with watch(sites, adder(weight.flatten(1))):
            run_to_last_site(model, sites, **inputs)
    nothing = torch.zeros(languages, 0)
    means = [sums.get(i, nothing).double().cpu() / tokens[:, None] for i in range(len(sites))]
    return [mean.mean(dim=0).float() for mean in means]


def _require_activations(sites: Sequence[Site]) -> None:
    """Stop where activations are not there to be averaged or held."""
    for site in sites:
        if len(site.shape) == 2:
            raise SiteError(
                f"layer {site.layer} is a mixture of experts, whose neurons can be silenced to "
                "zero only, as they have no activation where no token goes to them; use --to zero"
            )
        if any(isinstance(part, Functional) for part in site.parts):
            raise SiteError(
                f"layer {site.layer} applies its activation as a bare function, so that its "
                "neurons can be silenced to zero only; use --to zero"
            )


@contextmanager
def _reading(
    sites: Sequence[Site], on_active: Callable[[Reading], object], *, last: bool
) -> Generator[None]:
    """`watch`; `last` is after all others that read there."""
    with ExitStack() as stack:
        for i, site in enumerate(sites):
            for part, start in zip(site.parts, site.starts, strict=True):
                on_rows = _as_reading(i, site, start, on_active)
                stack.enter_context(part.read(on_rows, last=last))
        yield


class _LastSiteRead(Exception):  # noqa: N818
    """Ends a forward early; never leaves `run_to_last_site`."""


def _as_reading(
    i: int, site: Site, start: int, on_active: Callable[[Reading], object]
) -> Callable[[Rows], None]:
    """What makes a reading of site `i` of rows of the part whose first neuron is `start`."""
    first = start // site.shape[-1]

    def read(rows: Rows) -> None:
        values, experts, tokens = rows
        if len(site.shape) == 1:
            reading = Reading(i, values)
        elif experts is not None:
            reading = Reading(i, values, first + experts if first else experts, tokens)
        else:
            reading = Reading(i, *rows_of_shared(values, site.shape[-1], first))
        on_active(reading)

    return read


def _per_row(site: Site, mask: Tensor) -> Tensor:
    """A mask with an axis for rows of the batch, [B, neurons]; B = 1: it holds for all."""
    if mask.dtype != torch.bool or site.shape not in (mask.shape, mask.shape[1:]):
        raise SiteError(
            f"layer {site.layer}: a mask of {mask.dtype} {list(mask.shape)} was given; "
            f"torch.bool {list(site.shape)} is needed, or one such mask for each row of the batch"
        )
    rows = 1 if mask.shape == site.shape else len(mask)
    return mask.reshape(rows, math.prod(site.shape))
