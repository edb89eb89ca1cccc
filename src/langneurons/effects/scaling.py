"""Scaling: neurons of each text multiplied by a factor, what the texts then cost, and what
gradients say of it.

Letters: R row of a forward, B row (text) of a batch, U keys (language and block) that a batch
holds, D neuron of a dense layer, E expert, I neuron of an expert, S row of experts, C neuron that
is scaled in any row.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langneurons import layout
from langneurons.effects.first_order import slots_of_prompts
from langneurons.effects.passes import Keyed, costs_of_rows, final_states, unmixed
from langneurons.model.batches import Batch
from langneurons.model.entering import Entering
from langneurons.model.forward import prompts_of
from langneurons.model.scored import Scored
from langneurons.neurons.sets import to_masks

Positions = NDArray[np.int64]
"""Neurons as positions among all M of a model, ascending."""


class Point(NamedTuple):
    """A batch with its sets scaled.

    Attributes:
        costs: what its texts cost by key, [U].
        split: how much more they would cost by one unit less of the factor, by key and neuron,
            [U, C].
    """

    costs: NDArray[np.float64]
    split: NDArray[np.float64]


def costs_without(
    work: Scored, batch: Batch, sets: Sequence[Positions], *, everywhere: bool
) -> NDArray[np.float64]:
    """What each text costs with each set at zero, [sets, B]; the batch runs once for all of them.

    Args:
        work: the texts.
        batch: the batch.
        sets: what is silenced.
        everywhere: at all positions; else at all but the first of each text.
    """
    batch = unmixed(work.batches, batch)
    shapes = [site.shape for site in work.sites]
    columns = _columns(np.unique(np.concatenate(sets)), shapes)
    masks = to_masks(sets, shapes)

    def scaled(rows: int, *, begins: bool) -> _Scaled:
        of_rows = [None if mask is None else mask.repeat_interleave(rows, 0) for mask in masks]
        spared = int(begins and not everywhere)
        return _Scaled(of_rows, columns, factor=0.0, spared=spared)

    with torch.no_grad():
        hidden = final_states(
            work,
            batch,
            scaled(len(prompts_of(work.batches, batch)), begins=True),
            scaled(len(batch.rows), begins=not batch.prefix),
            times=len(sets),
        )
        return costs_of_rows(work, batch, hidden, times=len(sets))


@torch.enable_grad()
def point(
    work: Scored, place: Keyed, sets: Sequence[Positions], factor: float, *, everywhere: bool
) -> Point:
    """A batch whose rows have each their language's set scaled by a factor, and its gradients.

    Args:
        work: the texts.
        place: the batch.
        sets: of each language of the work.
        factor: 1 leaves everything as it is, 0 silences.
        everywhere: at all positions; else at all but the first of each text.
    """
    batch, slots = place.batch, place.slots
    shapes = [site.shape for site in work.sites]
    columns = _columns(np.unique(np.concatenate(sets)), shapes)
    by_slot = to_masks([sets[key // work.batches.blocks] for key in place.keys], shapes)
    sums = [torch.zeros(len(place.keys), len(mine), dtype=torch.float64) for mine in columns]

    def scaled(slots: NDArray[np.int64], *, begins: bool) -> _Scaled:
        of_rows = [None if mask is None else mask[torch.from_numpy(slots)] for mask in by_slot]
        spared = int(begins and not everywhere)
        return _Scaled(of_rows, columns, factor=factor, spared=spared, slots=slots, sums=sums)

    hidden = final_states(
        work,
        batch,
        scaled(slots_of_prompts(work, batch, slots), begins=True),
        scaled(slots, begins=not batch.prefix),
    )
    [costs] = costs_of_rows(work, batch, hidden, backward=True)
    of_keys = np.zeros(len(place.keys))
    np.add.at(of_keys, slots, costs)
    return Point(costs=of_keys, split=torch.cat(sums, dim=1).numpy())


def _columns(chosen: Positions, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Of these neurons, those of each layer, by their place in it."""
    bounds = pairwise(layout.starts(shapes))
    return [
        torch.from_numpy(chosen[(chosen >= start) & (chosen < end)] - start)
        for start, end in bounds
    ]


class _Scaled:
    """What is done to all that enters a down projection in one forward."""

    def __init__(
        self,
        masks: Sequence[Tensor | None],
        columns: Sequence[Tensor],
        *,
        factor: float,
        spared: int,
        slots: NDArray[np.int64] | None = None,
        sums: Sequence[Tensor] | None = None,
    ) -> None:
        """Scale.

        Args:
            masks: neurons of each row, per site [R, *shape] or None.
            columns: neurons of each site that are in any mask, by their place in the layer.
            factor: what they are multiplied by.
            spared: how many first positions of each row are left alone.
            slots: slot of each row, [R], where gradients are asked for.
            sums: where these are added up: per site [U, C of the site].
        """
        self.masks, self.columns = masks, columns
        self.factor, self.spared = factor, spared
        self.slots, self.sums = slots, sums

    def __call__(self, mine: Entering) -> Tensor:
        mask = self.masks[mine.site]
        if mask is None:
            return mine.values
        if mine.experts is None:
            return self._dense(mine, mask)
        return self._of_experts(mine, mask)

    def _dense(self, mine: Entering, mask: Tensor) -> Tensor:
        device = mine.values.device
        columns = self.columns[mine.site].to(device)
        rows = mine.values.view(len(mask), -1, mine.values.shape[-1])
        chosen = mask.to(device)[:, None, columns]
        values = rows[:, self.spared :, columns]
        scaled = self._followed(values * _factors(chosen, self.factor, values.dtype))
        if self.sums is not None:
            own = values.detach().float()

            def add(grad: Tensor) -> None:
                of_rows = ((own * grad.float()).sum(dim=1) * chosen[:, 0]).double().cpu()
                self._add(mine.site, of_rows)

            scaled.register_hook(add)
        changed = rows.clone()
        changed[:, self.spared :, columns] = scaled
        return changed.view(mine.values.shape)

    def _of_experts(self, mine: Entering, mask: Tensor) -> Tensor:
        assert mine.experts is not None  # noqa: S101
        assert mine.tokens is not None  # noqa: S101
        length = mine.size // len(mask)
        row = mine.tokens // length
        chosen = mask.to(row.device)[row, mine.experts]
        chosen = chosen & (mine.tokens % length >= self.spared)[:, None]
        scaled = self._followed(mine.values * _factors(chosen, self.factor, mine.values.dtype))
        if self.sums is not None:
            own, experts, shape = mine.values.detach().float(), mine.experts, mask.shape

            def add(grad: Tensor) -> None:
                flat = torch.zeros(shape[0] * shape[1], shape[2], device=row.device)
                flat.index_add_(0, row * shape[1] + experts, own * grad.float() * chosen)
                columns = self.columns[mine.site].to(row.device)
                self._add(mine.site, flat.view(shape[0], -1)[:, columns].double().cpu())

            scaled.register_hook(add)
        return scaled

    def _followed(self, scaled: Tensor) -> Tensor:
        """The same; able to ask for a gradient where one is wanted and nothing before it does."""
        wanted = self.sums is not None and not scaled.requires_grad
        return scaled.detach().requires_grad_() if wanted else scaled

    def _add(self, site: int, of_rows: Tensor) -> None:
        """Take value times gradient of each row [R, C] off the sums of the row's slot."""
        assert self.sums is not None  # noqa: S101 - asked for, else nothing is followed
        assert self.slots is not None  # noqa: S101
        self.sums[site].index_add_(0, torch.from_numpy(self.slots), of_rows, alpha=-1)


def _factors(chosen: Tensor, factor: float, dtype: torch.dtype) -> Tensor:
    """The factor where something is chosen, else 1."""
    return 1 - (1 - factor) * chosen.to(dtype)
