"""Passes: a batch run with a hand on all that enters its down projections, and what its texts cost.

With `times` above 1 the batch runs so often side by side, each time as rows of its own. What is
summed up over batches is a `Part` of the work, cut into units.

Letters: B row (text) of a batch, H hidden size.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langneurons.errors import RecordError
from langneurons.model.batches import Batch, Batches
from langneurons.model.entering import Change, entering
from langneurons.model.forward import model_inputs
from langneurons.model.scored import Scored, tiled

BACKWARD = 3
"""About how many forward passes a forward and a backward pass cost, for the progress."""


class Unit(NamedTuple):
    """A batch to be run.

    Attributes:
        batch: the batch.
        cost: about what it costs, in tokens of a forward.
        start: the first of the neurons that are silenced one by one; else 0.
        end: one past the last.
    """

    batch: Batch
    cost: int
    start: int = 0
    end: int = 0


class Part(Protocol):
    """A part of the work: sums over texts, in the making."""

    def units(self, rank: int, world: int) -> list[Unit]:
        """What there is to run in this of so many processes, in order."""

    def run(self, unit: Unit) -> None:
        """Run it and add what it gives."""

    def tensors(self) -> dict[str, NDArray]:
        """Everything summed up so far, by name."""

    def load(self, sums: Mapping[str, NDArray]) -> None:
        """Go on from what `tensors` gave."""


def halves(unit: Unit) -> list[Unit]:
    """Fewer neurons at once, where memory does not suffice; then fewer texts.

    Raises:
        RecordError: when it does not suffice for a single text.
    """
    if unit.end - unit.start > 1:
        middle = (unit.start + unit.end) // 2
        return [unit._replace(end=middle), unit._replace(start=middle)]
    rows = unit.batch.rows
    if len(rows) == 1:
        raise RecordError(
            "a single text does not fit into memory with its gradients; use a smaller --dtype or "
            "a larger device"
        )
    parts = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    return [unit._replace(batch=Batch(part, unit.batch.prefix)) for part in parts]


def unmixed(work: Batches, batch: Batch) -> Batch:
    """The same batch; without a shared prefix where its prompts serve rows of several keys.

    What is done at the positions of a prompt then belongs to one language and block.
    """
    keys: dict[int, set[int]] = {}
    for i in batch.rows:
        keys.setdefault(work.rows[i].prompt, set()).add(work.rows[i].key)
    mixed = any(len(of_prompt) > 1 for of_prompt in keys.values())
    return Batch(batch.rows, 0) if mixed else batch


class Keyed(NamedTuple):
    """A batch and which of its rows belong to which key.

    Attributes:
        batch: the batch.
        keys: the keys that it holds, ascending, [U].
        slots: place of each row's key among them, [B].
    """

    batch: Batch
    keys: NDArray[np.int64]
    slots: NDArray[np.int64]


def keyed(work: Scored, batch: Batch) -> Keyed:
    """A batch whose prompts serve rows of one key each, and these keys."""
    batch = unmixed(work.batches, batch)
    rows = [work.batches.rows[i].key for i in batch.rows]
    return Keyed(batch, *np.unique(rows, return_inverse=True))


def final_states(
    work: Scored, batch: Batch, in_prompts: Change, in_rows: Change, times: int = 1
) -> Tensor:
    """What the head is given for a batch, [times * B, T, H], while changes are made.

    Args:
        work: the texts.
        batch: the batch.
        in_prompts: made where prompts are computed once for several rows; a row is a prompt.
        in_rows: made in all the rest.
        times: how often the batch runs side by side.
    """
    prompts, inputs = model_inputs(work.model, work.batches, batch)
    if prompts:
        with entering(work.sites, in_prompts):
            work.keep_prompts(batch, prompts, times)
    with entering(work.sites, in_rows):
        return work.head.hidden(**tiled(inputs, times))


def costs_of_rows(
    work: Scored, batch: Batch, hidden: Tensor, *, times: int = 1, backward: bool = False
) -> NDArray[np.float64]:
    """What each text costs in nats, [times, B].

    Args:
        work: the texts.
        batch: the batch.
        hidden: what `final_states` gave.
        times: how often the batch ran side by side.
        backward: whether gradients of the sum of all costs go back to whatever asked for them.
    """
    row, column, following = work.positions(batch)
    place = torch.from_numpy(row * hidden.shape[1] + column).to(hidden.device)
    states = hidden.reshape(times, -1, hidden.shape[-1])[:, place].flatten(0, 1)
    targets = torch.from_numpy(following).to(hidden.device).repeat(times)
    if backward:
        nll, derivative = work.head.gradient(states.detach(), targets)
        if states.requires_grad:
            states.backward(derivative)
    else:
        nll = work.head.costs(states, targets).nll
    each = nll.double().cpu().numpy().reshape(times, -1)
    texts = len(batch.rows)
    costs = np.zeros((times, texts))
    for of_one, sums in zip(each, costs, strict=True):
        np.add.at(sums, row, of_one)
    return costs
