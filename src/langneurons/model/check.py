"""Check: do the measurements hold on this very model? Each claim is tried on it, not looked up.

A model that passes is read at every site, exactly once per token; reading changes no bit of its
logits; batches, padding and shared prompts change no count beyond rounding; silencing does what
zeroed weights do.
"""

import copy
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

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

    @property
    def verdict(self) -> str:
        """Whether all of them hold, in words."""
        if self.holds:
            return "every measurement holds"
        return "some measurements do not hold; do not trust its counts"

    def __repr__(self) -> str:
        words = {True: "yes", False: "NO", None: "-"}
        tried = [f"{words[check.holds]:<5}{check.claim}: {check.seen}" for check in self]
        return "\n".join([*tried, self.verdict])


@torch.inference_mode()
def check(loaded: Loaded) -> Checks:
    """Try every claim on a model; the first that fails at finding or passing the sites ends it."""
    model = loaded.model
    rows = [
        torch.tensor(loaded.tokenizer(text)["input_ids"], device=loaded.device) for text in TEXTS
    ]
    text = rows[0][None]
    checks = [_rows(loaded)]
    if max(int(row.max()) for row in rows) >= loaded.rows:
        return Checks(checks)
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


def _rows(loaded: Loaded) -> Check:
    """Whether the model can read whatever the tokenizer may give it.

    Padding it need not: nothing but training fills up with the tokenizer's own.
    """
    ids = loaded.tokenizer.get_vocab().values()
    beyond = {token for token in ids if token >= loaded.rows}
    padding_alone = beyond == {loaded.tokenizer.pad_token_id}
    seen = f"ids up to {loaded.last_id}, {loaded.rows} rows"
    return Check(
        "every id of the tokenizer has a row in the embedding",
        None if padding_alone else not beyond,
        f"{seen}; the one beyond is padding, which align alone reads" if padding_alone else seen,
    )


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
    with silence(sites, masks):
        silenced = _logits(model, ids)
    plain = _logits(model, ids)
    try:
        with _zeroed_weights(model, [(sites[i], masks[i]) for i in chosen]):
            edited = _logits(model, ids)
    except _NotEditableError as error:
        return Check(claim, None, str(error))
    worst, effect = float((silenced - edited).abs().max()), float((silenced - plain).abs().max())
    holds = (
        worst <= 1e-5 * max(1.0, float(plain.abs().max()))
        if plain.dtype == torch.float32
        else worst <= effect
    )
    return Check(
        claim, holds and effect > 0, f"largest difference {worst:.2g}, effect {effect:.2g}"
    )


class _NotEditableError(Exception):
    """Why the weights of a down projection cannot be zeroed; never leaves `_zeroed`."""


@contextmanager
def _zeroed_weights(model: Any, masked: Sequence[tuple[Site, Tensor | None]]) -> Generator[None]:
    """Inside this block, copies of down projections run, with zeros where the masks say.

    An adapter is merged into the copy first, by its own library, so that what is zeroed is the
    weight that the model computes with.

    Raises:
        _NotEditableError: for weights packed by a quantising library, or an adapter that cannot be
            merged.
    """
    places = {module: name for name, module in model.named_modules()}
    kept: list[tuple[nn.Module, str, nn.Module]] = []
    try:
        for site, mask in masked:
            assert mask is not None  # noqa: S101 - chosen sites have one
            for module, zero in ((site.experts, _zero_experts), (site.down, _zero_dense)):
                if module is None:
                    continue
                adapted = _outermost(model, module)
                copied = _merged(adapted)
                zero(copied, site, mask)
                path, _, child = places[adapted].rpartition(".")
                kept.append((model.get_submodule(path), child, adapted))
                setattr(kept[-1][0], child, copied)
        yield
    finally:
        for parent, child, module in kept:
            setattr(parent, child, module)


def _outermost(model: nn.Module, module: nn.Module) -> nn.Module:
    """The adapter around a module, and the one around that; the module itself without any."""
    for outer in model.modules():
        if outer is not module and getattr(outer, "base_layer", None) is module:
            return _outermost(model, outer)
    return module


def _merged(module: Any) -> Any:
    """A copy of a module with its adapter, if any, merged into its weights."""
    saved = getattr(module, "modules_to_save", None)
    if saved is not None:
        [active] = module.active_adapters
        return copy.deepcopy(saved[active])
    copied = copy.deepcopy(module)
    layers = [copied]
    while hasattr(layers[-1], "base_layer"):  # one for each parameter of a bank of experts
        layers.append(layers[-1].base_layer)
    try:
        for adapter in layers[:-1]:
            adapter.merge()
    except Exception as error:  # whatever the tuners of PEFT raise
        kind = type(module).__module__.rpartition("tuners.")[2].partition(".")[0]
        raise _NotEditableError(
            f"the adapter ({kind}) cannot be merged into the weights"
        ) from error
    return layers[-1]


def _zero_experts(experts: Any, site: Site, mask: Tensor) -> None:
    """Zero the masked neurons' part of the routed experts' down projections."""
    weight = _plain(experts.down_proj)  # [E, I, hidden] when transposed, else [E, hidden, I]
    routed = mask[: site.routed].to(weight.device)
    weight.masked_fill_(routed[:, :, None] if experts.is_transposed else routed[:, None], 0)


def _zero_dense(down: Any, site: Site, mask: Tensor) -> None:
    """Zero the masked neurons' columns of a down projection."""
    weight = _plain(down.weight)
    dense = mask[site.routed :].flatten().to(weight.device)
    transposed = hasattr(down, "nf")  # GPT-2's Conv1D keeps [in, out]
    weight.masked_fill_(dense[:, None] if transposed else dense[None], 0)


def _plain(weight: Any) -> Tensor:
    """The numbers of a weight; _NotEditableError where they are packed by a quantising library."""
    if weight.dtype not in TOLERANCE:
        raise _NotEditableError("the weights are quantised and cannot be edited")
    return weight.data


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
