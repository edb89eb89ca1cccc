"""Check: do the measurements hold on this very model? Each claim is tried on it, not looked up.

A model that passes is read at every site, exactly once per token; reading changes no bit of its
logits; batches, padding and shared prompts change no count beyond rounding; silencing does what
zeroed weights do.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from langneurons.errors import LangneuronsError
from langneurons.model.forward import cache_name, forward_arguments
from langneurons.model.hooks import Reading, probe, run_to_last_site, silence, watch
from langneurons.model.loading import Loaded
from langneurons.model.sites import Site, find_sites

TEXTS = (
    "Three boats carry nine people each, so 27 people cross the river.",
    "河边有三条船，每条船坐九个人，一共二十七个人。",
    "Drei Boote tragen je neun Menschen.",
    "เรือสามลำ ลำละเก้าคน",
    "Mashua tatu zinabeba watu tisa kila moja, kwa hiyo watu 27 wanavuka mto huu leo asubuhi.",
)
"""What the model reads, short and in several scripts."""

TOLERANCE = {torch.float32: 1e-6, torch.bfloat16: 5e-3, torch.float16: 5e-3}
"""Share of activations whose sign may differ when the same tokens run in another batch, by type of
the model: rounding. Measured on a Llama of 111M random weights: up to 2.3e-7 in float32, 9.8e-4 in
bfloat16 (docs/performance.md)."""


class Check(NamedTuple):
    """One claim, tried.

    Attributes:
        claim: what should hold.
        holds: whether it does; None when it cannot be tried on this model.
        seen: what was seen.
    """

    claim: str
    holds: bool | None
    seen: str


class Checks(tuple[Check, ...]):
    """Every claim that was tried on a model, in order."""

    __slots__ = ()

    @property
    def holds(self) -> bool:
        """Whether none failed; a claim that cannot be tried on this model does not count."""
        return all(check.holds is not False for check in self)


@torch.inference_mode()
def check(loaded: Loaded) -> Checks:
    """Try every claim on a model; the first that fails at finding or passing the sites ends it."""
    model = loaded.model
    rows = [
        torch.tensor(loaded.tokenizer(text)["input_ids"], device=loaded.device) for text in TEXTS
    ]
    text = rows[0][None]
    checks: list[Check] = []
    try:
        sites = find_sites(model)
        shapes = sorted({"*".join(map(str, site.shape)) for site in sites})
        seen = f"{len(sites)} layers of {', '.join(shapes)} neurons"
        checks.append(Check("every layer has one site", True, seen))
        probe(model, sites, text)
        seen = f"{len(sites)} of {len(sites)}"
        checks.append(Check("every site is passed once in a forward", True, seen))
    except LangneuronsError as error:
        return Checks([*checks, Check("every site can be read", False, str(error))])
    checks.append(_reading(model, sites, text))
    alone = [_signs(model, sites, row[None]) for row in rows]
    padded_right = _batched(model, sites, rows, left=False)
    checks.append(_same("a batch reads as its rows alone", alone, padded_right, model.dtype))
    padded_left = _batched(model, sites, rows, left=True)
    checks.append(_same("the side of the padding does not matter", alone, padded_left, model.dtype))
    cached = _cached(model, sites, rows)
    checks.append(_same("a prompt's cache reads as the whole text", alone, cached, model.dtype))
    checks.append(_nothing(model, sites, text))
    checks.append(_zeroed(model, sites, text))
    checks.append(_restored(model, sites, text))
    return Checks(checks)


def _logits(model: Any, ids: Tensor) -> Tensor:
    return model(input_ids=ids, use_cache=False).logits


def _reading(model: Any, sites: Sequence[Site], ids: Tensor) -> Check:
    with watch(sites[:0], _ignore):
        plain = _logits(model, ids)
    with watch(sites, _ignore):
        watched = _logits(model, ids)
    worst = float((plain - watched).abs().max())
    return Check(
        "reading changes no bit of the logits",
        torch.equal(plain, watched),
        f"largest difference {worst:.2g}",
    )


def _ignore(_: Reading) -> None:
    """Read and forget."""


def _signs(model: Any, sites: Sequence[Site], ids: Tensor, **inputs: Any) -> list[Tensor]:
    """Whether each neuron of each site is active at each token, [B, T, neurons].

    Where a token does not go to an expert, its neurons are not.
    """
    shape = ids.shape
    out = [
        torch.zeros(ids.numel(), int(torch.tensor(site.shape).prod()), dtype=torch.bool)
        for site in sites
    ]

    def read(reading: Reading) -> None:
        active = (reading.values > 0).cpu()
        if reading.experts is None or reading.tokens is None:
            out[reading.site][:] = active
            return
        cells = out[reading.site].view(ids.numel(), *sites[reading.site].shape)
        cells[reading.tokens.cpu(), reading.experts.cpu()] = active

    with watch(sites, read):
        run_to_last_site(model, sites, input_ids=ids, **{"use_cache": False, **inputs})
    return [signs.view(*shape, -1) for signs in out]


def _batched(
    model: Any, sites: Sequence[Site], rows: Sequence[Tensor], *, left: bool
) -> list[list[Tensor]]:
    """Signs of each row, read from one padded batch."""
    width = max(map(len, rows))
    ids = rows[0].new_zeros(len(rows), width)
    mask = torch.zeros_like(ids)
    starts = [width - len(row) if left else 0 for row in rows]
    for i, (row, start) in enumerate(zip(rows, starts, strict=True)):
        ids[i, start : start + len(row)] = row
        mask[i, start : start + len(row)] = 1
    inputs: dict[str, Any] = {"attention_mask": mask}
    if left and "position_ids" in forward_arguments(model):
        inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    signs = _signs(model, sites, ids, **inputs)
    return [
        [site[i, start : start + len(row)][None] for site in signs]
        for i, (row, start) in enumerate(zip(rows, starts, strict=True))
    ]


def _cached(model: Any, sites: Sequence[Site], rows: Sequence[Tensor]) -> list[list[Tensor]]:
    """Signs of each row, its first half read first and kept as keys and values."""
    from transformers import DynamicCache

    out = []
    for row in rows:
        half = len(row) // 2
        kept = {
            "use_cache": True,
            cache_name(model): DynamicCache(config=model.config.get_text_config()),
        }
        first = _signs(model, sites, row[None, :half], **kept)
        mask = torch.ones_like(row[None])
        rest = _signs(model, sites, row[None, half:], **kept, attention_mask=mask)
        out.append([torch.cat(pair, dim=1) for pair in zip(first, rest, strict=True)])
    return out


def _same(
    claim: str, ours: list[list[Tensor]], theirs: list[list[Tensor]], dtype: torch.dtype
) -> Check:
    pairs = [
        (a, b)
        for one, other in zip(ours, theirs, strict=True)
        for a, b in zip(one, other, strict=True)
    ]
    differ = sum(int((a != b).sum()) for a, b in pairs)
    share = differ / sum(a.numel() for a, _ in pairs)
    name = str(dtype).removeprefix("torch.")
    return Check(
        claim, share <= TOLERANCE.get(dtype, 0), f"{share:.2g} of the activations differ ({name})"
    )


def _nothing(model: Any, sites: Sequence[Site], ids: Tensor) -> Check:
    plain = _logits(model, ids)
    with silence(sites, [torch.zeros(site.shape, dtype=torch.bool) for site in sites]):
        same = torch.equal(plain, _logits(model, ids))
    return Check(
        "silencing nothing changes nothing",
        same,
        "equal to the last bit" if same else "logits differ",
    )


def _zeroed(model: Any, sites: Sequence[Site], ids: Tensor) -> Check:
    """Silencing some of the first, middle and last layer, against zeroed weights.

    It is a sixteenth of their neurons.
    """
    claim = "silencing equals zeroed weights of the down projection"
    chosen = sorted({0, len(sites) // 2, len(sites) - 1})
    masks: list[Tensor | None] = [None] * len(sites)
    for i in chosen:
        every = torch.arange(int(torch.tensor(sites[i].shape).prod())) % 16 == 3
        masks[i] = every.view(sites[i].shape)
    if not all(_editable(sites[i]) for i in chosen):
        return Check(claim, None, "the weights are quantised and cannot be edited")
    with silence(sites, masks):
        silenced = _logits(model, ids)
    plain = _logits(model, ids)
    weights = [pair for i in chosen for pair in _down_weights(sites[i], masks[i])]
    with _edited(weights):
        edited = _logits(model, ids)
    worst, effect = float((silenced - edited).abs().max()), float((silenced - plain).abs().max())
    holds = (
        worst <= 1e-5 * max(1.0, float(plain.abs().max()))
        if plain.dtype == torch.float32
        else worst <= effect
    )
    return Check(
        claim, holds and effect > 0, f"largest difference {worst:.2g}, effect {effect:.2g}"
    )


def _editable(site: Site) -> bool:
    """Whether a site's down projections are plain numbers, not packed by a quantising library."""
    held = ((site.experts, "down_proj"), (site.down, "weight"))
    return all(
        getattr(getattr(module, name, None), "dtype", None) in TOLERANCE
        for module, name in held
        if module
    )


def _down_weights(site: Site, mask: Tensor | None) -> Generator[tuple[Tensor, Tensor]]:
    """Every down projection of a site: its weight, and which cells the masked neurons have."""
    assert mask is not None  # noqa: S101 - chosen sites have one
    if site.experts is not None:
        weight: Any = site.experts.down_proj  # [E, I, hidden] when transposed, else [E, hidden, I]
        routed = mask[: site.routed].to(weight.device)
        cells = routed[:, :, None] if site.experts.is_transposed else routed[:, None]
        yield weight.data, cells.expand_as(weight)
    if site.down is not None:
        down: Any = site.down
        dense = mask[site.routed :].flatten().to(down.weight.device)
        transposed = hasattr(down, "nf")  # GPT-2's Conv1D keeps [in, out]
        yield (
            down.weight.data,
            (dense[:, None] if transposed else dense[None]).expand_as(down.weight),
        )


@contextmanager
def _edited(weights: list[tuple[Tensor, Tensor]]) -> Generator[None]:
    """Zero these cells, and put them back."""
    kept = [weight.clone() for weight, _ in weights]
    try:
        for weight, cells in weights:
            weight.masked_fill_(cells, 0)
        yield
    finally:
        for (weight, _), before in zip(weights, kept, strict=True):
            weight.copy_(before)


def _restored(model: Any, sites: Sequence[Site], ids: Tensor) -> Check:
    plain, hooks = _logits(model, ids), _hooks(model)

    def stumble(_: Reading) -> None:
        raise ZeroDivisionError

    masks = [torch.ones(site.shape, dtype=torch.bool) for site in sites]
    blocks: list[Callable[[], Any]] = [lambda: watch(sites, stumble), lambda: silence(sites, masks)]
    for block in blocks:
        try:
            with block():
                _logits(model, ids)
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
    same = torch.equal(plain, _logits(model, ids)) and _hooks(model) == hooks
    return Check(
        "an error leaves the model as it was",
        same,
        "logits and hooks as before" if same else "they differ",
    )


def _hooks(model: Any) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
