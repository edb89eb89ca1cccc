"""Record: how often each feed-forward neuron is active on response tokens, per language and block. One pass.

Counts are sums of integers, so they do not depend on how the work is cut: into batches, shards, processes or sessions.
Under `torchrun` or `accelerate launch` each process takes a share of the batches, of nearly equal cost, and the sums
are added at the end; independent shards (`--shard 1/4`) are added by `counts.merge`.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from langneurons import batches, tokens
from langneurons.config import RecordConfig
from langneurons.counts import Counts
from langneurons.errors import InputError, RecordError
from langneurons.responses import Response
from langneurons.sites import find_sites, probe
from langneurons.tally import Tally, run_or_halve

Progress = Callable[[int, int], None]
"""Called with (tokens computed, tokens to compute)."""


class State(Protocol):
    """Where a recording keeps what it has so far, so that it can be killed at any moment."""

    def load(self) -> tuple[dict[str, np.ndarray], int] | None:
        """What was saved last, and after how many batches; None to start from zero."""

    def save(self, tensors: dict[str, np.ndarray], done: int) -> None:
        """Keep this instead."""


class Recorded(NamedTuple):
    """What a recording gives.

    Attributes:
        counts: the counts; with several processes, of all of them.
        facts: what to know of them: tokens per language, responses left out and why, batches halved.
    """

    counts: Counts
    facts: dict[str, Any]


def processes() -> tuple[int, int]:
    """(number of this process, number of processes) under torchrun or accelerate launch; (0, 1) otherwise."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def context(model: Any) -> int | None:
    """How many tokens the model can read at once, as its config says; None where it says nothing (BLOOM: any)."""
    config = model.config.get_text_config()
    found = [getattr(config, name, None) for name in ("max_position_embeddings", "max_seq_len")]
    return next((limit for limit in found if limit), None)


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
        InputError: for a language without a response that fits, or a model whose sites cannot be found.
        RecordError: for activations that are not numbers, counts that do not add up, a response that exceeds memory.
    """
    codes = tuple(languages or dict.fromkeys(response.lang for response in responses))
    sites = find_sites(model)
    rows = tokens.tokenise(tokenizer, responses)
    if config.positions == "predicting":
        rows = [tokens.predicting(row) for row in rows]
    kept, facts = fitting(model, responses, rows, codes)
    work = batches.plan(
        [responses[i] for i in kept],
        [rows[i] for i in kept],
        codes,
        blocks=config.blocks,
        budget=config.budget or (1024 if _device(model).type == "cpu" else 16384),
        share_prompts=config.share_prompts,
    )
    probe(model, sites, torch.from_numpy(rows[kept[0]].ids[:8][None]).long().to(_device(model)))
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
    expected = sum(int(mine.rows[i].tokens.counted.sum()) for batch in mine.batches for i in batch.rows)
    if tally.tokens.sum() != expected:
        raise RecordError(f"{tally.tokens.sum():,} tokens were counted of {expected:,} in the responses; report this")
    if world > 1:
        _reduce(tally)
    counts = tally.counts()
    facts["tokens"] = dict(zip(codes, counts.tokens.sum(axis=1).tolist(), strict=True))
    facts["computed tokens"] = whole
    facts["batches halved for want of memory"] = halved
    return Recorded(counts, facts)


def fitting(
    model: Any, responses: Sequence[Response], rows: Sequence[tokens.Tokens], codes: tuple[str, ...]
) -> tuple[list[int], dict[str, Any]]:
    """Responses that fit into the model's context and have a token to count; how many do not, per language."""
    limit = context(model)
    long = set(tokens.too_long(rows, limit)) if limit else set()
    empty = {i for i, row in enumerate(rows) if not row.counted.any()}
    kept = [i for i in range(len(rows)) if i not in long and i not in empty]
    without = [code for code in codes if not any(responses[i].lang == code for i in kept)]
    if without:
        raise InputError(
            f"no response is left for {', '.join(without)}: {len(long)} of all are longer than the model's context of "
            f"{limit} tokens, {len(empty)} have no token to count"
        )
    facts: dict[str, Any] = {}
    if long:
        facts["longer than the context"] = {
            "context": limit,
            "responses": dict(Counter(responses[i].lang for i in sorted(long))),
            "first": [f"{responses[i].lang} {responses[i].question_id}" for i in sorted(long)[:5]],
        }
    if empty:
        facts["without a token to count"] = dict(Counter(responses[i].lang for i in sorted(empty)))
    return kept, facts


def _device(model: Any) -> torch.device:
    return model.get_input_embeddings().weight.device


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
