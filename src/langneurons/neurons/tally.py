"""Tally: counts in the making. Runs a batch, reads every site, adds up integers.

The model stops after its last layer's activation, or after that layer where means are asked for: no
LM head, nothing after it. Inside a batch the device is never waited for; once at its end. Letters:
B rows of a batch, T tokens of a row, N = B * T, U keys (language and block) that a batch holds, K
language, G block, D neuron, E expert.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langneurons.errors import RecordError
from langneurons.model.batches import Batch, Batches
from langneurons.model.forward import device_of
from langneurons.model.hooks import Reading, after_prompts, run_to_last_site, watch
from langneurons.model.sites import Site
from langneurons.neurons.counts import Counts
from langneurons.neurons.means import Means
from langneurons.neurons.value_sums import Sums, ValueSums
from langneurons.resume import or_halves
from langneurons.texts.responses import block_rule


class Tally:
    """Counts in the making, all integers, on the devices where the activations are.

    Beside them sums of values, where means are asked for.
    """

    def __init__(
        self, work: Batches, sites: Sequence[Site], values: ValueSums | None = None
    ) -> None:
        """Start from zero."""
        self.work, self.sites, self.values = work, sites, values
        self.keys = len(work.languages) * work.blocks
        self.active: list[Tensor | None] = [None] * len(sites)
        self.routed: list[Tensor | None] = [None] * len(sites)
        self.tokens = np.zeros(self.keys, dtype=np.int64)

    def tensors(self) -> dict[str, NDArray]:
        """Everything counted so far, by name."""

        def summed(total: Tensor | None, shape: tuple[int, ...]) -> NDArray:
            return np.zeros((self.keys, *shape), np.int64) if total is None else total.cpu().numpy()

        sums: dict[str, NDArray] = {"tokens": self.tokens}
        for i, site in enumerate(self.sites):
            sums[f"active.{i:03d}"] = summed(self.active[i], site.shape)
            if len(site.shape) == 2:
                sums[f"routed.{i:03d}"] = summed(self.routed[i], site.shape[:1])
        if self.values:
            sums |= self.values.tensors()
        return sums

    def load(self, sums: Mapping[str, NDArray]) -> None:
        """Go on from what `tensors` gave."""
        if self.values:
            self.values.load(sums)
        self.tokens = sums["tokens"].copy()
        for i in range(len(self.sites)):
            self.active[i] = torch.from_numpy(sums[f"active.{i:03d}"].copy())
            if f"routed.{i:03d}" in sums:
                self.routed[i] = torch.from_numpy(sums[f"routed.{i:03d}"].copy())

    def add(self, pending: "Pending") -> None:
        """Add one batch.

        Raises:
            RecordError: naming the layer that was not read.
        """
        pending.check()
        keys: dict[torch.device, Tensor] = {}
        for i, (active, routed) in enumerate(zip(pending.active, pending.routed, strict=True)):
            if active is None:  # a layer without a feed-forward; others are checked above
                continue
            if active.device not in keys:
                keys[active.device] = torch.from_numpy(pending.keys).to(active.device)
            self.active[i] = _added(self.active[i], active, keys[active.device], self.keys)
            if routed is not None:
                self.routed[i] = _added(self.routed[i], routed, keys[active.device], self.keys)
        np.add.at(self.tokens, pending.keys, pending.tokens)
        if self.values:
            self.values.add(pending.values)

    def counts(self) -> Counts:
        """What was counted, as counts."""
        languages, blocks = self.work.languages, self.work.blocks
        tensors = self.tensors()
        tokens = self.tokens.reshape(len(languages), blocks)
        sums = {
            name: array.reshape(len(languages), blocks, *array.shape[1:])
            for name, array in tensors.items()
            if name.startswith(("active.", "routed."))
        }
        layers = range(len(self.sites))
        return Counts(
            languages=languages,
            active=tuple(sums[f"active.{i:03d}"] for i in layers),
            tokens=tokens,
            routed=tuple(sums.get(f"routed.{i:03d}") for i in layers),
            block_rule=block_rule(blocks),
            means=Means.from_sums(languages, tokens.sum(axis=1), self.values.tensors())
            if self.values
            else None,
        )


def _added(total: Tensor | None, part: Tensor, keys: Tensor, size: int) -> Tensor:
    """`total` [size, ...] with rows of `part` [U, ...] added at `keys` [U], where the part is."""
    if total is None:
        total = torch.zeros((size, *part.shape[1:]), dtype=torch.int64, device=part.device)
    return total.to(part.device).index_add_(0, keys, part.to(torch.int64))


class Pending:
    """Sums of one batch: what `watch` reads; they enter the tally only when the batch is whole."""

    def __init__(self, work: Batches, batch: Batch, sites: Sequence[Site]) -> None:
        """Sums for the languages and blocks that the batch holds; nothing read yet."""
        rows = [work.rows[i] for i in batch.rows]
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
        self.values: Sums = {}
        """What the batch adds to the sums of values, where there are any."""
        self.sites = sites
        self.last = max(i for i, site in enumerate(sites) if site.parts)
        self._weights: dict[tuple[torch.device, torch.dtype], Tensor] = {}
        self._owners: dict[torch.device, Tensor] = {}
        self._spaces: dict[tuple[torch.Size, torch.device, torch.dtype], Tensor] = {}

    def read(self, reading: Reading) -> None:
        """Add up what was read at one site. The device is not waited for."""
        # 1 where active, else 0, in one pass
        ones = torch.gt(reading.values, 0, out=self._space(reading.values))
        if reading.site == self.last:
            self._watch_numbers(reading)
        if reading.experts is None:
            self.active[reading.site] = _product(self._weight(ones), ones)
        else:
            self._read_experts(reading, ones)

    def _read_experts(self, reading: Reading, ones: Tensor) -> None:
        """Add rows of a mixture of experts [S, I], each to its key and expert."""
        assert reading.tokens is not None  # noqa: S101 - a reading of experts names the tokens
        assert reading.experts is not None  # noqa: S101
        keys, experts = len(self.keys), self.sites[reading.site].shape[0]
        owner = self._owner(ones.device)[reading.tokens]
        nobody = keys * experts  # a last row, for tokens that do not count
        row = torch.where(owner >= 0, owner * experts + reading.experts, nobody)
        active = torch.zeros(nobody + 1, ones.shape[1], device=ones.device)
        routed = torch.zeros(nobody + 1, device=ones.device)
        active.index_add_(0, row, ones.float())
        routed.index_add_(0, row, torch.ones_like(row, dtype=torch.float))
        # shared experts come in a reading of their own
        site = reading.site
        self.active[site] = _sum(self.active[site], active[:-1].view(keys, experts, -1))
        self.routed[site] = _sum(self.routed[site], routed[:-1].view(keys, experts))

    def _space(self, values: Tensor) -> Tensor:
        """Room for ones and zeros of this shape, used again for every site.

        float32, on a GPU the type of the model.
        """
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
            if active is None and site.parts:
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


def _sum(total: Tensor | None, part: Tensor) -> Tensor:
    return part if total is None else total + part


def _product(weights: Tensor, ones: Tensor) -> Tensor:
    """The product weights [U, N] @ ones [N, D], both 0 or 1, summed in float32.

    Exact, as no batch has 2**24 tokens.
    """
    if ones.dtype == torch.float32:
        return weights @ ones
    return torch.mm(weights, ones, out_dtype=torch.float32)


@torch.inference_mode()
def run_batch(
    model: Any,
    sites: Sequence[Site],
    work: Batches,
    batch: Batch,
    values: ValueSums | None = None,
) -> Pending:
    """Run one batch and add up what its response tokens activate, and values where asked for.

    Raises:
        RecordError: for activations that are not numbers.
    """
    pending = Pending(work, batch, sites)
    inputs = after_prompts(model, sites, work, batch)
    with watch(sites, pending.read):
        if values is None:
            run_to_last_site(model, sites, **inputs)
        else:
            pending.values = values.run(model, batch, inputs)
    # here the device is waited for, once a batch
    if any(flag.item() for flag in pending.not_numbers):
        raise RecordError(_first_without_numbers(model, sites, work, batch))
    return pending


def _first_without_numbers(model: Any, sites: Sequence[Site], work: Batches, batch: Batch) -> str:
    """Which layer first gives activations that are no numbers, looked for row by row."""
    strays: list[Site] = []

    def look(reading: Reading) -> None:
        if bool(torch.isnan(reading.values).any()):
            strays.append(sites[reading.site])

    for i in batch.rows:
        ids = torch.from_numpy(work.rows[i].tokens.ids[None]).long().to(device_of(model))
        with watch(sites, look):
            run_to_last_site(model, sites, input_ids=ids)
        if strays:
            break
    where = "the model, in a batch but not row by row,"
    if strays:
        where = f"layer {strays[0].layer} ({strays[0].path})"
    return f"{where} gave activations that are not numbers; try another --dtype (float32, bfloat16)"


def run_or_halve(
    model: Any, sites: Sequence[Site], work: Batches, batch: Batch, tally: Tally
) -> int:
    """Run one batch into the tally; where memory does not suffice, its halves.

    Returns:
        How often it was halved.

    Raises:
        RecordError: for activations that are not numbers, or a response that does not fit alone.
    """

    def run(part: Batch) -> None:
        tally.add(run_batch(model, sites, work, part, tally.values))

    def halve(part: Batch) -> list[Batch]:
        if len(part.rows) == 1:
            tokens = len(work.rows[part.rows[0]].tokens.ids)
            raise RecordError(
                f"a single response of {tokens} tokens does not fit into memory; use "
                "a smaller --dtype, a larger device or --device-map auto"
            ) from None
        middle = len(part.rows) // 2
        halves = part.rows[:middle], part.rows[middle:]
        return [Batch(rows, part.prefix) for rows in halves]

    return len(or_halves(run, batch, halve)) - 1
