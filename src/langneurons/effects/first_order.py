"""First order: for every neuron at once, about what silencing it alone would cost each language.

Minus activation times gradient of the cost, at the input of the down projection, summed over
positions: the first term of the cost in the neuron's scale, from 1 to 0 (attribution patching,
Kramar et al. 2024, with zero as what is patched in). One forward and one backward for all neurons;
no gradient of a weight is made. Good for a single neuron, and of no use for the sum over a set,
whose members stand in for each other: see `paths`.

The first position of a text is kept apart: there models put what all later positions attend to (a
sink), activations are far larger than elsewhere, and the first term says little.

Letters: K language, G block, U keys (language and block) that a batch holds, B row of a batch, T
position of a row, D neuron of a dense layer, E expert, I neuron of an expert, S row of experts.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langneurons.effects.passes import BACKWARD, Keyed, Unit, costs_of_rows, final_states, keyed
from langneurons.model.batches import Batch
from langneurons.model.entering import Change, Entering
from langneurons.model.forward import prompts_of
from langneurons.model.scored import Scored

TEXT, BEGINNING = 0, 1
"""Which positions a sum is over: all but the first of each text, or the first."""


class FirstOrder:
    """Effects of all neurons in the making, on the devices where the activations are.

    Attributes:
        effects: for each site the sums over text and beginning, [2, K * G, *shape], float64 in
            nats; None before the first batch.
        nll: costs, [K * G].
        tokens: scored tokens, [K * G].
    """

    def __init__(self, work: Scored) -> None:
        """Start from zero."""
        self.work = work
        self.keys = len(work.batches.languages) * work.batches.blocks
        self.effects: list[Tensor | None] = [None] * len(work.sites)
        self.nll = np.zeros(self.keys)
        self.tokens = np.zeros(self.keys, np.int64)

    def units(self, rank: int, world: int) -> list[Unit]:
        """What there is to run in this of so many processes, in order."""
        mine = self.work.batches.share(rank, world)
        return [Unit(batch, BACKWARD * mine.computed(batch)) for batch in mine.batches]

    def run(self, unit: Unit) -> None:
        """Run a batch and add its effects."""
        part = first_order(self.work, unit.batch)
        for i, sums in enumerate(part.sums):
            if sums is None:
                continue  # a site that no cost depends on
            dtype = torch.float32 if sums.device.type == "mps" else torch.float64
            total = self.effects[i]
            if total is None:
                shape = (2, self.keys, *sums.shape[2:])
                total = torch.zeros(shape, dtype=dtype, device=sums.device)
            total = total.to(sums.device)
            keys = torch.from_numpy(part.keys).to(sums.device)
            self.effects[i] = total.index_add_(1, keys, sums.to(dtype))
        np.add.at(self.nll, part.keys[part.slots], part.nll)
        np.add.at(self.tokens, part.keys[part.slots], part.tokens)

    def layers(self) -> list[NDArray[np.float64]]:
        """Sums of each site, [2, K * G, *shape]; zeros where no cost depends on it."""
        return [
            np.zeros((2, self.keys, *site.shape)) if total is None else total.double().cpu().numpy()
            for site, total in zip(self.work.sites, self.effects, strict=True)
        ]

    def tensors(self) -> dict[str, NDArray]:
        """Everything summed up so far, by name."""
        layers = {f"effects.{i:03d}": sums for i, sums in enumerate(self.layers())}
        return {"nll": self.nll, "tokens": self.tokens, **layers}

    def load(self, sums: Mapping[str, NDArray]) -> None:
        """Go on from what `tensors` gave."""
        self.nll, self.tokens = sums["nll"].copy(), sums["tokens"].copy()
        for i in range(len(self.effects)):
            self.effects[i] = torch.from_numpy(sums[f"effects.{i:03d}"].copy())


class OfBatch:
    """Effects of one batch: what its gradients say of all that entered a down projection.

    Attributes:
        keys: the keys that it holds, ascending, [U].
        slots: place of each row's key among them, [B].
        sums: for each site effects over text and beginning, [2, U, *shape], float32.
        nll: what each row costs, [B].
        tokens: its scored tokens, [B].
    """

    def __init__(self, work: Scored, place: Keyed) -> None:
        """Nothing read yet."""
        rows = [work.batches.rows[i] for i in place.batch.rows]
        self.work, self.keys, self.slots = work, place.keys, place.slots
        self.sums: list[Tensor | None] = [None] * len(work.sites)
        self.nll = np.zeros(len(rows))
        self.tokens = np.array([int(row.tokens.counted.sum()) for row in rows])

    def follow(self, slots: NDArray[np.int64], *, begins: bool) -> Change:
        """Follow the gradients of a forward whose rows belong to these slots.

        Args:
            slots: of each row of the forward.
            begins: whether its first position is that of the texts.
        """

        def change(mine: Entering) -> Tensor:
            values = mine.values
            if not values.requires_grad:  # nothing before it asks for a gradient
                values = values.detach().requires_grad_()
            own = values.detach()
            values.register_hook(lambda grad: self._add(mine, own, grad, slots, begins))
            return values

        return change

    def _add(
        self, mine: Entering, values: Tensor, grad: Tensor, slots: NDArray[np.int64], begins: bool
    ) -> None:
        """Add minus values times gradient, row by row, to the slot of its text."""
        shape = self.work.sites[mine.site].shape
        sums = self.sums[mine.site]
        if sums is None:
            sums = torch.zeros((2, len(self.keys), *shape), device=values.device)
            self.sums[mine.site] = sums
        slot = torch.from_numpy(slots).to(values.device)
        if mine.experts is None:
            product = (values.float() * grad.float()).view(len(slots), -1, values.shape[-1])
            start = int(begins)
            sums[TEXT].index_add_(0, slot, product[:, start:].sum(dim=1), alpha=-1)
            if begins:
                sums[BEGINNING].index_add_(0, slot, product[:, 0], alpha=-1)
            return
        assert mine.tokens is not None  # noqa: S101 - experts come with their tokens
        length = mine.size // len(slots)
        first = (mine.tokens % length == 0) & begins
        place = first * len(self.keys) + slot[mine.tokens // length]
        flat = sums.view(-1, shape[-1])
        flat.index_add_(0, place * shape[0] + mine.experts, values.float() * grad.float(), alpha=-1)


@torch.enable_grad()
def first_order(work: Scored, batch: Batch) -> OfBatch:
    """Run one batch forward and back, and add up what its gradients say."""
    place = keyed(work, batch)
    batch, part = place.batch, OfBatch(work, place)
    hidden = final_states(
        work,
        batch,
        part.follow(slots_of_prompts(work, batch, part.slots), begins=True),
        part.follow(part.slots, begins=not batch.prefix),
    )
    [part.nll] = costs_of_rows(work, batch, hidden, backward=True)
    return part


def slots_of_prompts(work: Scored, batch: Batch, slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each prompt that a batch computes once, the slot of its rows, all of which share it."""
    of_prompt = {
        work.batches.rows[i].prompt: slot for i, slot in zip(batch.rows, slots, strict=True)
    }
    return np.array([of_prompt[prompt] for prompt in prompts_of(work.batches, batch)])
