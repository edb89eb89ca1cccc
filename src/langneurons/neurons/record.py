"""Record: how often each feed-forward neuron is active on response tokens, per language and block. One pass.

Counts are sums of integers, so they do not depend on how the work is cut: into batches, shards,
processes or sessions. Under `torchrun` or `accelerate launch` each process takes a share of the
batches, of nearly equal cost, and the sums are added at the end; independent shards (`--shard 1/4`)
are added by `counts.merge`.
"""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from langneurons.config import RecordConfig
from langneurons.errors import RecordError
from langneurons.model import batches, tokens
from langneurons.model.forward import device_of, fitting
from langneurons.model.hooks import probe
from langneurons.model.sites import find_sites
from langneurons.neurons.counts import Counts
from langneurons.neurons.tally import Tally, run_or_halve
from langneurons.resume import Progress, State, processes
from langneurons.texts.responses import Response


class Recorded(NamedTuple):
    """What a recording gives.

    Attributes:
        counts: the counts; with several processes, of all of them.
        facts: what to know of them: tokens per language, responses left out and why, batches
            halved.
    """

    counts: Counts
    facts: dict[str, Any]


def record(
    model: Any,
    tokenizer: Any,
    responses: Sequence[Response],
    config: RecordConfig,
    *,
    languages: Sequence[str] | None = None,
    state: State | None = None,
    on_step: Progress | None = None,
) -> Recorded:
    """Counts of every neuron's active response tokens.

    Args:
        model: a causal language model in eval mode.
        tokenizer: its fast tokenizer.
        responses: what to read.
        config: settings.
        languages: order of the languages; default the order in which they first appear.
        state: where to keep what is done, every `config.save_every` seconds.
        on_step: told of the progress.

    Raises:
        InputError: for a language without a response that fits, or a model whose sites cannot be
            found.
        RecordError: for activations that are not numbers, counts that do not add up, a response
            that exceeds memory.
    """
    codes = tuple(languages or dict.fromkeys(response.lang for response in responses))
    sites = find_sites(model)
    rows = tokens.tokenise(tokenizer, responses)
    if config.positions == "predicting":
        rows = [tokens.predicting(row) for row in rows]
    kept, facts = fitting(model, responses, rows, codes)
    work = batches.batched(
        [responses[i] for i in kept],
        [rows[i] for i in kept],
        codes,
        blocks=config.blocks,
        budget=config.budget or (1024 if device_of(model).type == "cpu" else 16384),
        share_prompts=config.share_prompts,
    )
    probe(model, sites, torch.from_numpy(rows[kept[0]].ids[:8][None]).long().to(device_of(model)))
    number, of = config.part
    rank, world = processes()
    mine = work.share(number, of).share(rank, world)
    tally = Tally(mine, sites)
    saved = state.load() if state else None
    if saved:
        tally.load(*saved)
    costs = [mine.computed(batch) for batch in mine.batches]
    finished, whole, last = sum(costs[: tally.done]), sum(costs), time.monotonic()
    halved = 0
    for batch, cost in list(zip(mine.batches, costs, strict=True))[tally.done :]:
        halved += run_or_halve(model, sites, mine, batch, tally)
        tally.done += 1
        finished += cost
        if on_step:
            on_step(finished, whole)
        if state and time.monotonic() - last >= config.save_every:
            state.save(tally.tensors(), tally.done)
            last = time.monotonic()
    expected = sum(
        int(mine.rows[i].tokens.counted.sum()) for batch in mine.batches for i in batch.rows
    )
    if tally.tokens.sum() != expected:
        raise RecordError(
            f"{tally.tokens.sum():,} tokens were counted of {expected:,} in the responses; report this"
        )
    if world > 1:
        _reduce(tally)
    counts = tally.counts()
    facts["tokens"] = dict(zip(codes, counts.tokens.sum(axis=1).tolist(), strict=True))
    facts["computed tokens"] = whole
    facts["batches halved for want of memory"] = halved
    return Recorded(counts, facts)


def _reduce(tally: Tally) -> None:
    """Add up the sums of all processes, in every process."""
    import torch.distributed as dist

    started = not dist.is_initialized()
    if started:
        dist.init_process_group("gloo")
    held = tally.tensors()
    for array in held.values():
        dist.all_reduce(torch.from_numpy(array))
    tally.load(held, tally.done)
    if started:
        dist.destroy_process_group()
