"""Check: do the measurements hold on this very model? Each claim is tried on it, not looked up.

A model that passes is read at every site, exactly once per token; reading changes no bit of its
logits; batches, padding and shared prompts change no count beyond rounding; silencing does what
zeroed weights do, and leaves nothing of a feed-forward that still acts.
"""

import copy
import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from langneurons.errors import LangneuronsError, first_line
from langneurons.model.batches import Batch, Batches, Row
from langneurons.model.experts import Common
from langneurons.model.forward import forward_arguments, new_cache
from langneurons.model.hooks import Reading, probe, run_to_last_site, silence, watch
from langneurons.model.loading import Loaded
from langneurons.model.parts import Dense, Normed, Part
from langneurons.model.sharing import activations_tried, why_not
from langneurons.model.sites import Site, feed_forwards, find_sites
from langneurons.model.tokens import Tokens

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


NEXT_TO_ZERO = 1e-4
"""Share of a layer's typical activation (root mean square) up to which one is next to zero, so that
rounding may turn its sign: a hundred times what float32 rounds by."""


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
        checks.append(Check("every layer's feed-forward is found", True, _found(sites)))
        probe(model, sites, text)
    except LangneuronsError as error:
        return Checks([*checks, Check("every site can be read", False, str(error))])
    passed = sum(bool(site.parts) for site in sites)
    checks.append(
        Check("every site is passed once in a forward", True, f"{passed} of {passed}"),
    )
    alone = [_values(model, sites, row[None]) for row in rows]

    def same(theirs: list[list[Tensor]]) -> tuple[bool | None, str]:
        return _same(alone, theirs, model.dtype)

    claims: dict[str, Callable[[], tuple[bool | None, str]]] = {
        "reading changes no bit of the logits": lambda: _reading(model, sites, text),
        "a batch reads as its rows alone": lambda: same(_batched(model, sites, rows, left=False)),
        "the side of the padding does not matter": lambda: _padded_left(model, sites, rows, same),
        "a prompt's cache reads as the whole text": lambda: _continued(model, sites, rows, same),
        "silencing nothing changes nothing": lambda: _nothing(model, sites, text),
        "silencing equals zeroed weights of the down projection": lambda: _zeroed(
            model, sites, text
        ),
        "silencing all leaves nothing of a feed-forward": lambda: _left_over(model, sites, text),
        "an error leaves the model as it was": lambda: _restored(model, sites, text),
    }
    return Checks([*checks, *(_tried(claim, tried) for claim, tried in claims.items())])


def _tried(claim: str, tried: Callable[[], tuple[bool | None, str]]) -> Check:
    """A claim with whether it holds and what was seen; an error of the model's own is a no."""
    try:
        return Check(claim, *tried())
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the model's own code raises
        return Check(claim, False, f"the model fails: {first_line(error)}")


def _found(sites: Sequence[Site]) -> str:
    """How many layers have how many neurons."""
    read = [site for site in sites if site.parts]
    shapes = sorted({"*".join(map(str, site.shape)) for site in read})
    of = f" of {len(sites)}" if len(read) < len(sites) else ""
    return f"{len(read)}{of} layers of {', '.join(shapes)} neurons"


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


def _reading(model: Any, sites: Sequence[Site], ids: Tensor) -> tuple[bool | None, str]:
    plain = _logits(model, ids)
    with watch(sites, _ignore):
        watched = _logits(model, ids)
    worst = float((plain - watched).abs().max())
    seen = f"largest difference {worst:.2g}"
    others = {_implementation(part) for site in sites for part in site.parts} - {"", "grouped_mm"}
    if others and 0 < worst <= _close(plain):
        return None, f"{seen}: experts are set to {', '.join(others)} and are read in grouped_mm"
    return torch.equal(plain, watched), seen


def _implementation(part: Part) -> str:
    """What the experts of a part are set to run in; empty where there is no choice."""
    return part.module.config._experts_implementation if isinstance(part, Common) else ""


def _close(logits: Tensor) -> float:
    """How far apart logits may be by rounding, in float32."""
    return 1e-5 * max(1.0, float(logits.abs().max()))


def _ignore(_: Reading) -> None:
    """Read and forget."""


def _values(model: Any, sites: Sequence[Site], ids: Tensor, **inputs: Any) -> list[Tensor]:
    """What each neuron of each site gives at each token, [B, T, neurons], in bfloat16.

    Where a token does not go to an expert, its neurons give zero.
    """
    tokens, size = ids.numel(), [math.prod(site.shape) for site in sites]
    out = [torch.zeros(tokens, neurons, dtype=torch.bfloat16) for neurons in size]

    def read(reading: Reading) -> None:
        values = reading.values.cpu().bfloat16()
        if reading.experts is None or reading.tokens is None:
            out[reading.site][:] = values
            return
        cells = out[reading.site].view(tokens, *sites[reading.site].shape)
        cells[reading.tokens.cpu(), reading.experts.cpu()] = values

    with watch(sites, read):
        run_to_last_site(model, sites, input_ids=ids, **{"use_cache": False, **inputs})
    return [values.view(*ids.shape, values.shape[-1]) for values in out]


def _batched(
    model: Any, sites: Sequence[Site], rows: Sequence[Tensor], *, left: bool
) -> list[list[Tensor]]:
    """Values of each row, read from one padded batch."""
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
    values = _values(model, sites, ids, **inputs)
    return [
        [site[i, start : start + len(row)][None] for site in values]
        for i, (row, start) in enumerate(zip(rows, starts, strict=True))
    ]


def _padded_left(
    model: Any,
    sites: Sequence[Site],
    rows: Sequence[Tensor],
    same: Callable[[list[list[Tensor]]], tuple[bool | None, str]],
) -> tuple[bool | None, str]:
    """Rows padded on the left against rows alone; no claim where positions cannot be given."""
    holds, seen = same(_batched(model, sites, rows, left=True))
    if holds or "position_ids" in forward_arguments(model):
        return holds, seen
    return None, f"{seen}; it cannot be told positions, and nothing but sample pads on the left"


def _continued(
    model: Any,
    sites: Sequence[Site],
    rows: Sequence[Tensor],
    same: Callable[[list[list[Tensor]]], tuple[bool | None, str]],
) -> tuple[bool | None, str]:
    """Rows read from the cache of their first half against whole rows.

    No claim where `record` would find that they differ: it shares no prompt then, and nothing that
    is measured rests on it.
    """
    for row in rows:
        ids, half = row.cpu().numpy(), len(row) // 2
        texts = [  # beside each row one that ends earlier
            Row(Tokens(part, np.arange(len(part)) >= half), key=0, prompt=0)
            for part in (ids, ids[: half + 1])
        ]
        work = Batches(("",), 1, tuple(texts), (Batch((0, 1), half),))
        why = why_not(activations_tried(model, sites, work), "of activations")
        if why is not None:
            return None, f"not shared: {why}"
    return same(_cached(model, sites, rows))


def _cached(model: Any, sites: Sequence[Site], rows: Sequence[Tensor]) -> list[list[Tensor]]:
    """Values of each row, its first half read first and kept as keys and values."""
    out = []
    for row in rows:
        half = len(row) // 2
        kept = {"use_cache": True, **new_cache(model)}
        first = _values(model, sites, row[None, :half], **kept)
        mask = torch.ones_like(row[None])
        rest = _values(model, sites, row[None, half:], **kept, attention_mask=mask)
        out.append([torch.cat(pair, dim=1) for pair in zip(first, rest, strict=True)])
    return out


def _same(
    ours: list[list[Tensor]], theirs: list[list[Tensor]], dtype: torch.dtype
) -> tuple[bool, str]:
    """Whether signs are the same, but for as many as rounding explains, or values next to zero."""
    differ = beyond = cells = 0
    for one, other in zip(ours, theirs, strict=True):
        for a, b in zip(one, other, strict=True):
            odd = (a > 0) != (b > 0)
            cells += odd.numel()
            differ += int(odd.sum())
            if odd.any():
                size = torch.maximum(a.abs(), b.abs()).float()
                beyond += int((odd & (size > NEXT_TO_ZERO * size.square().mean().sqrt())).sum())
    share = differ / cells
    name = str(dtype).removeprefix("torch.")
    near = ", all of them next to zero" if differ and not beyond else ""
    holds = share <= TOLERANCE.get(dtype, 0) or not beyond
    return holds, f"{share:.2g} of the activations differ ({name}){near}"


def _nothing(model: Any, sites: Sequence[Site], ids: Tensor) -> tuple[bool, str]:
    plain = _logits(model, ids)
    with silence(sites, [torch.zeros(site.shape, dtype=torch.bool) for site in sites]):
        same = torch.equal(plain, _logits(model, ids))
    return same, "equal to the last bit" if same else "logits differ"


def _zeroed(model: Any, sites: Sequence[Site], ids: Tensor) -> tuple[bool | None, str]:
    """Silencing some of the first, middle and last layer, against zeroed weights.

    It is a sixteenth of their neurons.
    """
    read = [site.layer for site in sites if site.parts]
    chosen = sorted({read[0], read[len(read) // 2], read[-1]})
    masks: list[Tensor | None] = [None] * len(sites)
    for i in chosen:
        masks[i] = (torch.arange(math.prod(sites[i].shape)) % 16 == 3).view(sites[i].shape)
    with silence(sites, masks):
        silenced = _logits(model, ids)
    plain = _logits(model, ids)
    try:
        with _zeroed_weights(model, [(sites[i], masks[i]) for i in chosen]):
            edited = _logits(model, ids)
    except _NotEditableError as error:
        return None, str(error)
    worst, effect = float((silenced - edited).abs().max()), float((silenced - plain).abs().max())
    holds = worst <= (_close(plain) if plain.dtype == torch.float32 else effect)
    return holds and effect > 0, f"largest difference {worst:.2g}, effect {effect:.2g}"


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
            for part, start in zip(site.parts, site.starts, strict=True):
                own = mask.flatten()[start : start + math.prod(part.shape)].view(part.shape)
                adapted = _outermost(model, part.modules[-1])
                copied = _merged(adapted)
                _zero(part, copied, own)
                path, _, child = places[adapted].rpartition(".")
                parent = model.get_submodule(path)
                kept.append((parent, child, adapted))
                setattr(parent, child, copied)
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


def _zero(part: Part, module: Any, mask: Tensor) -> None:
    """Zero what a part's down projection takes from the masked neurons."""
    if isinstance(part, Normed):
        raise _NotEditableError("a norm lies before the down projection, so it is another thing")
    if isinstance(part, Dense):
        if not hasattr(module, "weight"):  # packed under other names: GPTQ, AWQ
            raise _NotEditableError("the weights are quantised and cannot be edited")
        weight = _plain(module.weight)
        transposed = hasattr(module, "nf")  # GPT-2's Conv1D keeps [in, out]
    else:
        weight = _plain(getattr(module, "down_proj", None))
        transposed = weight.shape[1] == part.shape[1]  # [E, I, hidden], or [E, hidden, I]
        transposed = getattr(module, "is_transposed", transposed)
    mask = mask.to(weight.device)
    weight.masked_fill_(mask.unsqueeze(-1 if transposed else -2), 0)


def _plain(weight: Any) -> Tensor:
    """The numbers of a weight; _NotEditableError where they are packed by a quantising library."""
    if weight is None:
        raise _NotEditableError("the weights of these experts have names of their own")
    if weight.dtype not in TOLERANCE:
        raise _NotEditableError("the weights are quantised and cannot be edited")
    return weight.data


def _left_over(model: Any, sites: Sequence[Site], ids: Tensor) -> tuple[bool | None, str]:
    """Whether anything of a feed-forward acts on when all that was found of it is silenced.

    Its matrices are all changed then, by a factor that can be taken back exactly; its biases are
    zero meanwhile. Where a logit changes, there are neurons that are not read.
    """
    weights, biases = _inner_weights(sites)
    if not weights:
        return None, "the weights are quantised and cannot be edited"
    kept = [bias.clone() for bias in biases]
    every = [torch.ones(site.shape, dtype=torch.bool) for site in sites]
    changed: list[Tensor] = []
    try:
        for bias in biases:
            bias.zero_()
        with silence(sites, every):
            before = _logits(model, ids)
            for weight in weights:
                changed.append(weight.mul_(-2))
            after = _logits(model, ids)
    finally:
        for weight in changed:
            weight.mul_(-0.5)
        for bias, was in zip(biases, kept, strict=True):
            bias.copy_(was)
    worst = float((before - after).abs().max())
    return torch.equal(before, after), f"other weights change logits by {worst:.2g}"


def _inner_weights(sites: Sequence[Site]) -> tuple[list[Tensor], list[Tensor]]:
    """Matrices and biases of the feed-forwards: of all that holds a part, and no mixer."""
    weights: dict[int, Tensor] = {}
    biases: dict[int, Tensor] = {}
    for site in sites:
        skipped = {
            id(weight)
            for part in site.parts
            if isinstance(part, Normed)  # what its norm adds goes through the down projection
            for weight in part.down.parameters()
        }
        for module in feed_forwards(site):
            for name, weight in module.named_parameters(recurse=False):
                if weight.dtype not in TOLERANCE or weight.is_meta or id(weight) in skipped:
                    continue
                if name.endswith("bias"):
                    biases[id(weight)] = weight.data
                elif weight.ndim > 1:
                    weights[id(weight)] = weight.data
    return [*weights.values()], [*biases.values()]


def _restored(model: Any, sites: Sequence[Site], ids: Tensor) -> tuple[bool, str]:
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
    return same, "logits and hooks as before" if same else "they differ"


def _hooks(model: Any) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
