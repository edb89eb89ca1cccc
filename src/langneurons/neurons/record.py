"""Record: how often each feed-forward neuron is active on response tokens, in one pass.

Counts are sums of integers, so they do not depend on how the work is cut: into batches, shards,
processes or sessions. Under `torchrun` or `accelerate launch` each process takes a share of the
batches, of nearly equal cost, and the sums are added at the end; independent shards (`--shard 1/4`)
are added by `counts.merge`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from langneurons import config as configs
from langneurons.config import RecordConfig
from langneurons.errors import RecordError
from langneurons.model.batches import Batches, batched
from langneurons.model.forward import fitting
from langneurons.model.hooks import probe
from langneurons.model.loading import Loaded
from langneurons.model.sharing import activations_tried, cut_as_it_holds, why_not
from langneurons.model.tokens import predicting, tokenise
from langneurons.neurons.counts import Counts, question_key
from langneurons.neurons.tally import Tally, run_or_halve
from langneurons.neurons.value_sums import ValueSums
from langneurons.resume import Progress, Saved, added_up, processes, units_left
from langneurons.texts import question_ids
from langneurons.texts.responses import Response


class Recorded(NamedTuple):
    """What a recording gives.

    Attributes:
        counts: the counts; with several processes, of all of them.
        facts: what to know of them: tokens per language, responses left out and why, batches
            halved; notes.
    """

    counts: Counts
    facts: dict[str, Any]


def record(
    model: Loaded,
    responses: Sequence[Response],
    config: RecordConfig | None = None,
    *,
    languages: Sequence[str] | None = None,
    state: Saved | None = None,
    on_step: Progress | None = None,
    **settings: Any,
) -> Counts:
    """Counts of every neuron's active response tokens.

    Args:
        model: a loaded causal language model.
        responses: what to read.
        config: settings; or give them by name, as in `blocks=5`.
        languages: order of the languages; default the order in which they first appear.
        state: where to keep what is done, every `save_every` seconds.
        on_step: told of the tokens done and of all.
        **settings: fields of `RecordConfig`.

    Raises:
        InputError: for a language without a response that fits, or a model whose sites cannot be
            found.
        RecordError: for activations that are not numbers, counts that do not add up, a response
            that exceeds memory.
    """
    config = configs.of(RecordConfig, config, settings)
    return recorded(
        model, responses, config, languages=languages, state=state, on_step=on_step
    ).counts


def recorded(
    model: Loaded,
    responses: Sequence[Response],
    config: RecordConfig,
    *,
    languages: Sequence[str] | None = None,
    gone: Mapping[str, Mapping[str, int]] | None = None,
    state: Saved | None = None,
    on_step: Progress | None = None,
) -> Recorded:
    """What `record` gives, with what there is to say of it.

    Args:
        model: see `record`.
        responses: see `record`.
        config: settings.
        languages: see `record`; default besides those of the responses those of `gone`.
        gone: why other responses are not to be counted, language -> reason -> how many, see
            `flaws.left_out`.
        state: see `record`.
        on_step: see `record`.
    """
    present = dict.fromkeys([*(gone or ()), *(response.lang for response in responses)])
    codes = tuple(languages or present)
    sites = model.sites
    rows = tokenise(model.tokenizer, responses)
    model.require_rows(row.ids for row in rows)
    if config.positions == "predicting":
        rows = [predicting(row) for row in rows]
    kept, facts = fitting(model.model, responses, rows, codes, gone)
    beginning = torch.from_numpy(rows[kept[0]].ids[:8][None]).long().to(model.device)
    probe(model.model, sites, beginning)
    whole = cut_as_it_holds(
        partial(
            batched,
            [responses[i] for i in kept],
            [rows[i] for i in kept],
            codes,
            blocks=config.blocks,
            budget=model.budget(config.budget),
        ),
        config.share_prompts,
        lambda work: why_not(activations_tried(model.model, sites, work), "of activations"),
        facts,
    )
    rank, world = processes()
    shard = whole.share(*config.part)
    work = shard.share(rank, world)
    values = ValueSums(model.model, sites, work, beginning) if config.means else None
    tally = Tally(work, sites, values)
    costs = [work.computed(batch) for batch in work.batches]
    halved = 0
    for number in units_left(
        costs,
        load=tally.load,
        tensors=tally.tensors,
        state=state,
        save_every=config.save_every,
        on_step=on_step,
    ):
        halved += run_or_halve(model.model, sites, work, work.batches[number], tally)
    _require_all_counted(tally, work)
    if world > 1:
        tally.load(added_up(tally.tensors()))
    counted = [responses[kept[i]] for batch in shard.batches for i in batch.rows]
    counts = replace(tally.counts(), questions=_questions(counted, codes))
    facts["tokens"] = dict(zip(codes, counts.tokens.sum(axis=1).tolist(), strict=True))
    facts["computed tokens"] = sum(costs)
    facts["batches halved for want of memory"] = halved
    facts["notes"] = question_ids.notes(
        question_ids.ids_of(responses[i] for i in kept),
        "their blocks are not paired and intervals of differences between languages are too wide",
    )
    return Recorded(counts, facts)


def _questions(
    counted: Sequence[Response], languages: Sequence[str]
) -> tuple[NDArray[np.int64], ...]:
    """The questions that each language has a counted response to, as counts keep them."""
    ids = question_ids.ids_of(counted)
    keys = [[question_key(question) for question in ids.get(code, ())] for code in languages]
    return tuple(np.array(sorted(of_language), dtype=np.int64) for of_language in keys)


def _require_all_counted(tally: Tally, work: Batches) -> None:
    """Stop when other tokens were counted than the responses have."""
    rows = [i for batch in work.batches for i in batch.rows]
    expected = sum(int(work.rows[i].tokens.counted.sum()) for i in rows)
    if tally.tokens.sum() != expected:
        raise RecordError(
            f"{tally.tokens.sum():,} tokens were counted of {expected:,} in the responses; "
            "report this"
        )
