"""Sharing: whether a model goes on from a prompt's cache as if it had read the whole text.

Most do. Some start anew from their own states, keep fewer than they need, or have no cache whose
rows can be repeated. So it is tried, on the longest of the texts that are to share a prompt: read
once with the prompt's cache and once whole, by the very code that will measure.

Letters: R row (text) of a batch, T token of a row, M neuron of the model, E expert.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from langneurons.errors import InputError, RecordError, first_line
from langneurons.model.batches import Batch, Batches
from langneurons.model.hooks import Reading, after_prompts, run_to_last_site, watch
from langneurons.model.sites import Site
from langneurons.resume import free_memory, out_of_memory, processes

Run = Callable[[Batch], NDArray]
"""Measures a batch, from the cache of its prompts where it has a prefix: numbers [R, ...]."""

Difference = Callable[[NDArray, NDArray], float]
"""How far numbers of the same rows are apart."""

ROUNDING = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 5e-3}
"""By which share of their size a token's activations may differ by rounding alone, whatever another
batch changes. Measured on a Llama of 111M random weights: 6e-7, 7e-3 and 9e-4; on tiny models that
do not go on from a cache: 9e-3 and more."""

SUMS = 16
"""Random sums of its activations at a site that a token is known by."""

TIMES = 4
"""How far beyond what another batch changes a prompt's cache may change the numbers."""


class Trial(NamedTuple):
    """What reading prompts from their cache changed.

    Attributes:
        off: mean difference from rows read whole, in the unit of what was measured.
        allowed: what rounding explains.
        failed: what the model said where it does not go on from a cache at all.
    """

    off: float
    allowed: float
    failed: str | None = None

    @property
    def holds(self) -> bool:
        """Whether rows read from their prompt's cache are the rows read whole."""
        return self.failed is None and self.off <= self.allowed


def cut_as_it_holds(
    cut: Callable[..., Batches],
    asked: bool | None,
    why_not: Callable[[Batches], str | None],
    facts: dict[str, Any],
) -> Batches:
    """The work, with prompts shared where the model goes on from their cache.

    Args:
        cut: cuts the work, `share_prompts` or not.
        asked: whether they are to be shared; None: where it holds.
        why_not: why they cannot be shared in this work; None where they can.
        facts: where it is noted that they are not.

    Raises:
        InputError: when they are to be shared and cannot be.
    """
    work = cut(share_prompts=asked is not False)
    why = None
    if any(batch.prefix for batch in work.batches):
        why = why_not(work)
    if why is None:
        return work
    if asked:
        raise InputError(
            f"--share-prompts: {why}; leave the option out, and each text is read whole"
        )
    facts["prompts not shared"] = why
    tell(why)
    return cut(share_prompts=False)


def tell(why: str) -> None:
    """Say on standard error, once for all processes, why every text is read whole."""
    if processes()[0] == 0:
        print(f"every text is read whole, prompts too: {why}", file=sys.stderr, flush=True)


def why_not(trial: Trial, unit: str) -> str | None:
    """Why prompts cannot be shared, by a trial whose numbers are in this unit; None if they can."""
    if trial.failed is not None:
        return f"the model does not go on from a prompt's cache ({trial.failed})"
    if trial.off > trial.allowed:
        return (
            f"the model does not go on from a prompt's cache as if it had read the whole text "
            f"({trial.off:.2g} {unit}, {trial.allowed:.2g} by rounding)"
        )
    return None


def tried(work: Batches, run: Run, difference: Difference, rounding: float) -> Trial:
    """Try sharing on a few rows of the work, which shares prompts.

    Args:
        work: what is to be run.
        run: measures a batch.
        difference: of what it measures.
        rounding: what rounding explains at least.

    Raises:
        RecordError: when a single row exceeds memory.
    """
    batch = _few(work)
    while True:
        try:
            return _tried(work, run, difference, rounding, batch)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if len(batch.rows) == 1:
                raise RecordError(
                    f"a single text of {_length(work, batch.rows[0])} tokens does not fit into "
                    "memory; use a smaller --dtype, a larger device or --device-map auto"
                ) from None
        batch = batch._replace(rows=batch.rows[: len(batch.rows) // 2])
        free_memory()


def _tried(work: Batches, run: Run, difference: Difference, rounding: float, batch: Batch) -> Trial:
    whole = run(Batch(batch.rows, 0))
    longest = max(range(len(batch.rows)), key=lambda place: _length(work, batch.rows[place]))
    alone = run(Batch((batch.rows[longest],), 0))
    allowed = max(rounding, TIMES * difference(alone, whole[longest : longest + 1]))
    return trial_of(lambda: difference(run(batch), whole), allowed)


def trial_of(off: Callable[[], float], allowed: float) -> Trial:
    """What comes of going on from a cache, errors of the model included."""
    try:
        return Trial(off(), allowed)
    except Exception as error:  # a cache of its own, or one that cannot be spread: whatever it says
        if out_of_memory(error):
            raise
        return Trial(0.0, allowed, failed=first_line(error))


def _few(work: Batches) -> Batch:
    """The longest row that shares a prompt and others beside it: of its prompt, and of another.

    No more than have room where the largest batch has.
    """
    shared = [batch for batch in work.batches if batch.prefix]
    batch = max(shared, key=lambda batch: max(_length(work, i) for i in batch.rows))
    rows = sorted(batch.rows, key=lambda i: -_length(work, i))
    own = [i for i in rows if work.rows[i].prompt == work.rows[rows[0]].prompt]
    others = [i for i in rows if work.rows[i].prompt != work.rows[rows[0]].prompt]
    chosen = [*own[:1], *others[:1], *own[1:2]]
    room = max(work.computed(batch) for batch in shared) // _length(work, rows[0])
    return Batch(tuple(chosen[: max(1, room)]), batch.prefix)


def _length(work: Batches, row: int) -> int:
    return len(work.rows[row].tokens.ids)


def activations_tried(model: Any, sites: Sequence[Site], work: Batches) -> Trial:
    """Try whether the activations of counted tokens are the same, as a share of their size."""
    read = [i for i, site in enumerate(sites) if site.parts]

    def run(batch: Batch) -> NDArray:
        return _sketches(model, sites, work, batch)

    def difference(ours: NDArray, theirs: NDArray) -> float:
        size, apart = np.linalg.norm([theirs, ours - theirs], axis=-1)[..., read]
        counted = size.any(axis=-1)
        return most((apart / np.maximum(size, np.finfo(np.float32).tiny))[counted].mean(axis=-1))

    return tried(work, run, difference, ROUNDING.get(model.dtype, ROUNDING[torch.float32]))


def most(differences: NDArray) -> float:
    """Below which 95 in 100 of the tokens' differences are.

    A token that rounding sends to another expert is not among them; a cache that does not hold
    touches more.
    """
    if not differences.size:
        return 0.0
    return float(np.quantile(np.nan_to_num(differences, nan=np.inf), 0.95, method="lower"))


@torch.inference_mode()
def _sketches(model: Any, sites: Sequence[Site], work: Batches, batch: Batch) -> NDArray:
    """Random sums of what is read of each counted token at each site, [R, T, S, SUMS], float32.

    They are as far apart as the activations themselves, to a fourth or so. Zero for tokens that are
    not counted.
    """
    inputs = after_prompts(model, sites, work, batch)
    rows, width = inputs["input_ids"].shape
    sums = torch.zeros(rows * width, len(sites), SUMS)

    def read(reading: Reading) -> None:
        shape = sites[reading.site].shape
        generator = torch.Generator().manual_seed(reading.site)
        signs = torch.randint(0, 2, (*shape, SUMS), generator=generator, dtype=torch.int8) * 2 - 1
        signs = signs.to(reading.values.device)
        values = reading.values.float()
        if reading.experts is None or reading.tokens is None:
            sums[:, reading.site] += (values @ signs.flatten(0, -2).float()).cpu()
            return
        for expert in reading.experts.unique().tolist():
            here = reading.experts == expert
            part = values[here] @ signs[expert].float()
            sums[:, reading.site].index_add_(0, reading.tokens[here].cpu(), part.cpu())

    with watch(sites, read):
        run_to_last_site(model, sites, **inputs)
    whole = np.zeros((rows, batch.prefix + width, *sums.shape[1:]), np.float32)
    whole[:, batch.prefix :] = sums.view(rows, width, *sums.shape[1:]).numpy()
    for place, i in enumerate(batch.rows):
        counted = work.rows[i].tokens.counted
        whole[place, : len(counted)][~counted] = 0
        whole[place, len(counted) :] = 0
    return whole
