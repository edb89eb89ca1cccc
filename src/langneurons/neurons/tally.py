"""Tally: counts in the making. Runs a batch, reads every site, adds up integers.

The model stops after its last layer's activation: no LM head, nothing after it. Inside a batch the
device is never waited for; once at its end. Letters: B rows of a batch, T tokens of a row, N = B *
T, U keys (language and block) that a batch holds, K language, G block, D neuron, E expert.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from langneurons.errors import RecordError
from langneurons.model.batches import Batch, Batches
from langneurons.model.forward import cache_name, model_inputs, spread_prompts
from langneurons.model.hooks import Reading, run_to_last_site, watch
from langneurons.model.sites import Site
from langneurons.neurons.counts import Counts
from langneurons.resume import out_of_memory
from langneurons.texts.responses import block_rule


class Tally:
    """Counts in the making, on the devices where the activations are; all integers, added to batch by batch.

    Attributes:
        done: batches added so far.
    """

    def __init__(self, plan: Batches, sites: Sequence[Site]) -> None:
        """Start from zero."""
        self.plan, self.sites = plan, sites
        size = len(plan.languages) * plan.blocks
        self.active: list[Tensor | None] = [None] * len(sites)
        self.routed: list[Tensor | None] = [None] * len(sites)
        self.tokens = np.zeros(size, dtype=np.int64)
        self.size, self.done = size, 0

    def tensors(self) -> dict[str, np.ndarray]:
        """Everything counted so far, by name."""
        out = {"tokens": self.tokens}
        for i, site in enumerate(self.sites):
            active, routed = self.active[i], self.routed[i]
            out[f"active.{i:03d}"] = (
                np.zeros((self.size, *site.shape), np.int64)
                if active is None
                else active.cpu().numpy()
            )
            if site.experts is not None:
                out[f"routed.{i:03d}"] = (
                    np.zeros((self.size, site.shape[0]), np.int64)
                    if routed is None
                    else routed.cpu().numpy()
                )
        return out

    def load(self, tensors: dict[str, np.ndarray], done: int) -> None:
        """Go on from what `tensors` gave after so many batches."""
        self.tokens = tensors["tokens"].copy()
        for i in range(len(self.sites)):
            self.active[i] = torch.from_numpy(tensors[f"active.{i:03d}"].copy())
            if f"routed.{i:03d}" in tensors:
                self.routed[i] = torch.from_numpy(tensors[f"routed.{i:03d}"].copy())
        self.done = done

    def add(self, pending: "Pending") -> None:
        """Add one batch.

        Raises:
            RecordError: naming the layer that was not read.
        """
        pending.check()
        keys: dict[torch.device, Tensor] = {}
        for i, (active, routed) in enumerate(zip(pending.active, pending.routed, strict=True)):
            assert active is not None
            if active.device not in keys:
                keys[active.device] = torch.from_numpy(pending.keys).to(active.device)
            self.active[i] = _added(self.active[i], active, keys[active.device], self.size)
            if routed is not None:
                self.routed[i] = _added(self.routed[i], routed, keys[active.device], self.size)
        np.add.at(self.tokens, pending.keys, pending.tokens)

    def counts(self) -> Counts:
        """What was counted, as counts."""
        k, g = len(self.plan.languages), self.plan.blocks
        held = self.tensors()
        return Counts(
            self.plan.languages,
            tuple(
                held[f"active.{i:03d}"].reshape(k, g, *s.shape) for i, s in enumerate(self.sites)
            ),
            held["tokens"].reshape(k, g),
            tuple(
                held[f"routed.{i:03d}"].reshape(k, g, s.shape[0]) if s.experts is not None else None
                for i, s in enumerate(self.sites)
            ),
            block_rule(g),
        )


def _added(total: Tensor | None, part: Tensor, keys: Tensor, size: int) -> Tensor:
    """`total` [size, ...] with the rows of `part` [U, ...] added at `keys` [U]; made where the part is."""
    if total is None:
        total = torch.zeros((size, *part.shape[1:]), dtype=torch.int64, device=part.device)
    return total.to(part.device).index_add_(0, keys, part.to(torch.int64))


class Pending:
    """Sums of one batch: what `watch` reads is added up here, and only enters the tally when the batch is whole."""

    def __init__(self, plan: Batches, batch: Batch, sites: Sequence[Site]) -> None:
        """Sums for the languages and blocks that the batch holds; nothing read yet."""
        rows = [plan.rows[i] for i in batch.rows]
        width = max(len(row.tokens.ids) for row in rows) - batch.prefix
        self.keys, which = np.unique([row.key for row in rows], return_inverse=True)
        owner = np.full((len(rows), width), -1, dtype=np.int64)
        for i, row in enumerate(rows):
            counted = row.tokens.counted[batch.prefix :]
            owner[i, : len(counted)][counted] = which[i]
        self.owner = owner.reshape(-1)
        """Which of the keys each token of the flattened batch counts for, [N]; -1 for none."""
        self.tokens = np.bincount(self.owner[self.owner >= 0], minlength=len(self.keys))
        self.active: list[Tensor | None] = [None] * len(sites)
        self.routed: list[Tensor | None] = [None] * len(sites)
        self.not_numbers: list[Tensor] = []
        self.sites = sites
        self._weights: dict[tuple[torch.device, torch.dtype], Tensor] = {}
        self._owners: dict[torch.device, Tensor] = {}
        self._spaces: dict[tuple[torch.Size, torch.device, torch.dtype], Tensor] = {}

    def read(self, reading: Reading) -> None:
        """Add up what was read at one site. The device is not waited for."""
        ones = torch.gt(
            reading.values, 0, out=self._space(reading.values)
        )  # 1 where active, else 0, in one pass
        if reading.site == len(self.sites) - 1:
            self._watch_numbers(reading)
        if reading.experts is None:
            self.active[reading.site] = _product(self._weight(ones), ones)
            return
        assert reading.tokens is not None
        experts = self.sites[reading.site].shape[0]
        owner = self._owner(ones.device)[reading.tokens]
        spot = torch.where(owner >= 0, owner * experts + reading.experts, len(self.keys) * experts)
        size = (len(self.keys) * experts + 1, ones.shape[1])
        active = torch.zeros(size, device=ones.device).index_add_(0, spot, ones.float())[:-1]
        routed = torch.zeros(size[0], device=ones.device).index_add_(
            0, spot, torch.ones_like(spot, dtype=torch.float)
        )
        shape = (len(self.keys), experts)
        self.active[reading.site] = _sum(self.active[reading.site], active.view(*shape, -1))
        self.routed[reading.site] = _sum(self.routed[reading.site], routed[:-1].view(shape))

    def _space(self, values: Tensor) -> Tensor:
        """Room for ones and zeros of this shape, used again for every site; float32, on a GPU the type of the model."""
        dtype = values.dtype if values.is_cuda else torch.float32
        key = values.shape, values.device, dtype
        if key not in self._spaces:
            self._spaces = {key: torch.empty(values.shape, device=values.device, dtype=dtype)}
        return self._spaces[key]

    def _watch_numbers(self, reading: Reading) -> None:
        """Remember whether a counted token has an activation that is no number.

        Looked for in the last layer only: one that arises before it spreads to all of its token's
        later activations.
        """
        owner = self._owner(reading.values.device)
        counted = (owner if reading.tokens is None else owner[reading.tokens]) >= 0
        self.not_numbers.append((torch.isnan(reading.values).any(-1) & counted).any())

    def check(self) -> None:
        """Stop when a site was not read.

        Raises:
            RecordError: naming the first of them.
        """
        for site, active in zip(self.sites, self.active, strict=True):
            if active is None:
                raise RecordError(
                    f"layer {site.layer} ({site.path}) was not read; `langneurons check` says why"
                )

    def _owner(self, device: torch.device) -> Tensor:
        if device not in self._owners:
            self._owners[device] = torch.from_numpy(self.owner).to(device, non_blocking=True)
        return self._owners[device]

    def _weight(self, like: Tensor) -> Tensor:
        """[U, N]: 1 where a token counts for a key."""
        place = like.device, like.dtype
        if place not in self._weights:
            keys = torch.arange(len(self.keys), device=like.device)
            self._weights[place] = (self._owner(like.device)[None] == keys[:, None]).to(like.dtype)
        return self._weights[place]


def _product(weights: Tensor, ones: Tensor) -> Tensor:
    """The product weights [U, N] @ ones [N, D], both 0 or 1, summed in float32: exact, as no batch has 2**24 tokens."""
    if ones.dtype == torch.float32:
        return weights @ ones
    return torch.mm(weights, ones, out_dtype=torch.float32)


def _sum(total: Tensor | None, part: Tensor) -> Tensor:
    return part if total is None else total + part


@torch.inference_mode()
def run_batch(model: Any, sites: Sequence[Site], plan: Batches, batch: Batch) -> Pending:
    """Run one batch and add up what its response tokens activate.

    Raises:
        RecordError: for activations that are not numbers.
    """
    pending = Pending(plan, batch, sites)
    prompts, inputs = model_inputs(model, plan, batch)
    if prompts:
        run_to_last_site(model, sites, **prompts)
        spread_prompts(plan, batch, inputs[cache_name(model)])
    with watch(sites, pending.read):
        run_to_last_site(model, sites, **inputs)
    if any(
        flag.item() for flag in pending.not_numbers
    ):  # here the device is waited for, once a batch
        raise RecordError(_first_without_numbers(model, sites, plan, batch))
    return pending


def _first_without_numbers(model: Any, sites: Sequence[Site], plan: Batches, batch: Batch) -> str:
    """Which layer first gives activations that are no numbers, looked for row by row."""
    device = model.get_input_embeddings().weight.device
    found: list[Site] = []

    def look(reading: Reading) -> None:
        if bool(torch.isnan(reading.values).any()):
            found.append(sites[reading.site])

    for i in batch.rows:
        with watch(sites, look):
            run_to_last_site(
                model,
                sites,
                input_ids=torch.from_numpy(plan.rows[i].tokens.ids[None]).long().to(device),
            )
        if found:
            break
    where = (
        f"layer {found[0].layer} ({found[0].path})"
        if found
        else "the model, in a batch but not row by row,"
    )
    return f"{where} gave activations that are not numbers; try another --dtype (float32, bfloat16)"


def run_or_halve(
    model: Any, sites: Sequence[Site], plan: Batches, batch: Batch, tally: Tally
) -> int:
    """Run one batch; where memory does not suffice, its halves. How often it was halved."""
    try:
        tally.add(run_batch(model, sites, plan, batch))
        return 0
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if isinstance(error, RecordError) or not out_of_memory(error):
            raise
        if len(batch.rows) == 1:
            raise RecordError(
                f"a single response of {len(plan.rows[batch.rows[0]].tokens.ids)} tokens does not fit into memory; use "
                "a smaller --dtype, a larger device or --device-map auto"
            ) from None
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = len(batch.rows) // 2
    halves = (batch.rows[:middle], batch.rows[middle:])
    return 1 + sum(
        run_or_halve(model, sites, plan, Batch(rows, batch.prefix), tally) for rows in halves
    )
