"""Perplexity: what every language's texts cost the model while the neurons of one language are silenced.

The work is cut into units: a batch of texts, run under as many conditions at once as fit the token
budget, each condition its own rows of the batch. Units always have the same shapes, so a killed run
ends with the same bytes.
"""

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil, prod
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langneurons.config import PerplexityConfig
from langneurons.errors import InputError, MismatchError, RecordError
from langneurons.model import batches, tokens
from langneurons.model.batches import Batch, Batches
from langneurons.model.forward import cache_name, fitting, model_inputs
from langneurons.model.head import Head
from langneurons.model.hooks import hold, mean_activations, probe, run_to_last_site, silence
from langneurons.model.sites import Site, find_sites
from langneurons.neurons.sets import require_fit, to_masks
from langneurons.neurons.table import Neurons
from langneurons.resume import Progress, State
from langneurons.silencing.controls import conditions
from langneurons.silencing.losses import Losses
from langneurons.texts.responses import Response


class Measured(NamedTuple):
    """What silencing gives.

    Attributes:
        losses: the costs.
        facts: what to know of them: neurons silenced, how controls were matched, texts left out and
            why.
    """

    losses: Losses
    facts: dict[str, Any]


class Work(NamedTuple):
    """What a unit needs beside its batch and its sets.

    Attributes:
        model: the model.
        sites: its sites.
        head: its head.
        plan: the texts and how they are batched; counted are the positions that predict a scored
            token.
        targets: the token that follows each position, one array for each of the plan's rows.
        values: what silenced activations become, [D] for each site; None for zero.
        best: whether the likeliest token's cost is averaged in where it is another.
    """

    model: Any
    sites: Sequence[Site]
    head: Head
    plan: Batches
    targets: Sequence[NDArray[np.int32]]
    values: list[Tensor] | None
    best: bool


def perplexity(
    model: Any,
    tokenizer: Any,
    responses: Sequence[Response],
    neurons: Neurons,
    config: PerplexityConfig,
    *,
    languages: Sequence[str] | None = None,
    rates: Mapping[str, NDArray[np.floating]] | None = None,
    state: State | None = None,
    on_step: Progress | None = None,
) -> Measured:
    """Costs of every language's texts with nothing silenced, with each language's neurons silenced, and with controls.

    Args:
        model: a causal language model in eval mode.
        tokenizer: its fast tokenizer.
        responses: the texts.
        neurons: what is silenced.
        config: settings.
        languages: languages to silence and to evaluate; default all that neurons and responses have
            in common.
        rates: activation probability of every neuron, language -> [M], to match controls by; None:
            match per layer.
        state: where to keep what is done, every `config.save_every` seconds.
        on_step: told of the progress, in tokens computed.

    Raises:
        InputError: for languages that neurons or responses lack, or sets that leave no room for
            controls.
        MismatchError: for neurons of a model of another shape.
        RecordError: for costs that are not numbers, or a text that exceeds memory.
    """
    codes = shared_languages(neurons, responses, languages)
    sites = find_sites(model)
    shapes = [site.shape for site in sites]
    require_fit(neurons, shapes)
    size = sum(map(prod, shapes))
    if rates is not None and any(len(rates.get(code, ())) != size for code in codes):
        raise MismatchError(
            f"the counts lack a language or are of another model; {size:,} neurons are needed for each"
        )
    sets = conditions(neurons, shapes, codes, config, rates)
    texts = [r for r in responses if r.lang in codes]
    if config.text == "prompt":
        texts = list(
            {
                (r.question_id, r.lang, r.prompt): Response(r.question_id, r.lang, "", r.prompt)
                for r in texts
            }.values()
        )
    whole = tokens.tokenise(tokenizer, texts)
    rows = [tokens.Tokens(row.ids[:-1], tokens.predicting(row).counted[:-1]) for row in whole]
    kept, facts = fitting(model, texts, rows, codes)
    device = model.get_input_embeddings().weight.device
    budget = config.budget or (1024 if device.type == "cpu" else 16384)
    plan = batches.batched(
        [texts[i] for i in kept],
        [rows[i] for i in kept],
        codes,
        blocks=config.blocks,
        budget=budget,
        share_prompts=config.share_prompts,
    )
    probe(model, sites, torch.from_numpy(whole[kept[0]].ids[:8][None]).long().to(device))
    values = _values(model, sites, plan, config.value)
    work = Work(
        model, sites, Head(model), plan, [whole[i].ids[1:] for i in kept], values, config.mix_argmax
    )
    run = [
        i for i, (condition, chosen) in enumerate(sets) if len(chosen) or condition.silenced is None
    ]
    sums = _measure(work, [sets[i][1] for i in run], budget, state, config.save_every, on_step)
    shape = (len(sets), len(codes), config.blocks)
    nll, means = (np.full(shape, np.nan) for _ in range(2))
    entries = np.broadcast_to(sums["tokens"][0].reshape(shape[1:]), shape).copy()
    nll[run], means[run], entries[run] = (
        sums[name].reshape(len(run), *shape[1:]) for name in ("nll", "means", "tokens")
    )
    keys = [row.key for row in plan.rows]
    lengths = [len(texts[i].response.encode()) for i in kept]
    counted, size = (
        np.bincount(keys, w, shape[1] * shape[2]).astype(np.int64).reshape(shape[1:])
        for w in (None, lengths)
    )
    losses = Losses(
        codes, tuple(c for c, _ in sets), nll, entries, means, counted, size, config.average
    )
    facts["texts"] = dict(zip(codes, counted.sum(axis=1).tolist(), strict=True))
    facts["tokens"] = dict(zip(codes, entries[0].sum(axis=1).tolist(), strict=True))
    facts["controls matched"] = (
        "per layer and by activation rate" if rates is not None else "per layer only"
    )
    facts["silenced"] = {
        setting: {c.silenced: c.neurons for c, _ in sets if c.setting == setting and c.draw == 0}
        for setting in config.kinds
    }
    return Measured(losses, facts)


def shared_languages(
    neurons: Neurons, responses: Sequence[Response], languages: Sequence[str] | None
) -> tuple[str, ...]:
    """Languages to silence and to evaluate.

    Raises:
        InputError: when neurons and responses share none, or lack one that is asked for.
    """
    there = dict.fromkeys(r.lang for r in responses)
    for name, known in (("neurons", neurons.languages), ("responses", there)):
        lacking = [code for code in languages or () if code not in known]
        if lacking:
            raise InputError(
                f"the {name} have no {', '.join(lacking)}; they have {', '.join(known)}"
            )
    codes = tuple(languages or (code for code in neurons.languages if code in there))
    if not codes:
        raise InputError(
            f"neurons ({', '.join(neurons.languages)}) and responses ({', '.join(there)}) share no language"
        )
    return codes


def _values(
    model: Any, sites: Sequence[Site], plan: Batches, to: float | str
) -> list[Tensor] | None:
    """What silenced activations become, [D] for each site; None for zero."""
    if to == "mean":
        return mean_activations(model, sites, plan)
    if isinstance(to, float) and to:
        return [torch.full((site.shape[-1],), to) for site in sites]
    return None


def _measure(
    work: Work,
    sets: Sequence[NDArray[np.int64]],
    budget: int,
    state: State | None,
    save_every: float,
    on_step: Progress | None,
) -> dict[str, NDArray]:
    """Sums for each set and key (language and block): nll, means of texts, tokens, [C, K * G]."""
    plan = work.plan
    shape = (len(sets), len(plan.languages) * plan.blocks)
    sums: dict[str, NDArray] = {
        "nll": np.zeros(shape),
        "means": np.zeros(shape),
        "tokens": np.zeros(shape, np.int64),
    }
    units = [
        (b, start, end)
        for b in plan.batches
        for start, end in _shares(len(sets), budget // plan.computed(b))
    ]
    costs = [plan.computed(batch) * (end - start) for batch, start, end in units]
    saved = state.load() if state else None
    done = 0
    if saved:
        sums, done = {name: array.copy() for name, array in saved[0].items()}, saved[1]
    finished, total, last = sum(costs[:done]), sum(costs), time.monotonic()
    for number in range(done, len(units)):
        batch, start, end = units[number]
        nll, entries = _run_or_halve(work, batch, sets[start:end])
        if np.isnan(nll).any():
            raise RecordError("some costs are not numbers; try another --dtype (float32, bfloat16)")
        keys = [plan.rows[i].key for i in batch.rows]
        for c in range(start, end):
            np.add.at(sums["nll"][c], keys, nll[c - start])
            np.add.at(sums["means"][c], keys, nll[c - start] / entries[c - start])
            np.add.at(sums["tokens"][c], keys, entries[c - start])
        finished += costs[number]
        if on_step:
            on_step(finished, total)
        if state and time.monotonic() - last >= save_every:
            state.save(sums, number + 1)
            last = time.monotonic()
    return sums


def _shares(conditions: int, at_once: int) -> list[tuple[int, int]]:
    """All conditions cut into runs of nearly equal size, of at most so many (at least one)."""
    runs = ceil(conditions / max(1, at_once))
    ends = [conditions * i // runs for i in range(runs + 1)]
    return list(pairwise(ends))


@torch.inference_mode()
def run_unit(
    work: Work, batch: Batch, sets: Sequence[NDArray[np.int64]]
) -> tuple[NDArray, NDArray]:
    """Run one batch under several sets at once.

    Returns:
        The summed cost of each text under each set, and the number of log-likelihoods in it, both
        [sets, rows].
    """
    plan, n = work.plan, len(sets)
    prompts, inputs = model_inputs(work.model, plan, batch)
    masks = to_masks(sets, [site.shape for site in work.sites])
    with (
        silence(work.sites, masks) if work.values is None else hold(work.sites, masks, work.values)
    ):
        if prompts:
            run_to_last_site(work.model, work.sites, **_tiled(prompts, n))
            inputs[cache_name(work.model)].batch_select_indices(_prompt_of_row(plan, batch, n))
        hidden = work.head.hidden(**_tiled(inputs, n))
    rows = [plan.rows[i].tokens.counted[batch.prefix :] for i in batch.rows]
    row = np.repeat(np.arange(len(rows)), [int(counted.sum()) for counted in rows])
    column = np.concatenate([np.flatnonzero(counted) for counted in rows])
    wanted = np.concatenate([work.targets[i][plan.rows[i].tokens.counted] for i in batch.rows])
    spots = torch.from_numpy(row * hidden.shape[1] + column).to(hidden.device)
    scored = hidden.reshape(n, -1, hidden.shape[-1])[:, spots].flatten(0, 1)
    targets = torch.from_numpy(wanted).long().to(hidden.device).repeat(n)
    costs = work.head.costs(scored, targets, best=work.best)
    nll, best = (cost.double().cpu().numpy().reshape(n, -1) for cost in costs)
    entries = np.ones(nll.shape, np.int64)
    if work.best:
        entries += best < nll
        nll = nll + np.where(best < nll, best, 0)

    def per_row(values: NDArray) -> NDArray:
        return np.stack([np.bincount(row, one, len(rows)) for one in values])

    return per_row(nll), per_row(entries).astype(np.int64)


def _tiled(inputs: dict[str, Any], n: int) -> dict[str, Any]:
    """Inputs of a batch n times over, all of it for the first set, then all of it for the second, and so on."""
    tile = {name: inputs[name].repeat(n, 1) for name in ("input_ids", "attention_mask")}
    return inputs | tile


def _prompt_of_row(plan: Batches, batch: Batch, n: int) -> Tensor:
    """For each row of a tiled batch, the row of its prompt in the tiled prompts."""
    first = {
        prompt: i for i, prompt in enumerate(dict.fromkeys(plan.rows[i].prompt for i in batch.rows))
    }
    rows = torch.tensor([first[plan.rows[i].prompt] for i in batch.rows])
    return (torch.arange(n)[:, None] * len(first) + rows).flatten()


def _run_or_halve(
    work: Work, batch: Batch, sets: Sequence[NDArray[np.int64]]
) -> tuple[NDArray, NDArray]:
    """Run a unit; where memory does not suffice, fewer sets at once, then fewer texts."""
    try:
        return run_unit(work, batch, sets)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(
            error
        ):
            raise
        if len(sets) == len(batch.rows) == 1:
            raise RecordError(
                "a single text does not fit into memory; use a smaller --dtype or a larger device"
            ) from None
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(sets) > 1:
        parts = [
            _run_or_halve(work, batch, half)
            for half in (sets[: len(sets) // 2], sets[len(sets) // 2 :])
        ]
        axis = 0
    else:
        middle = len(batch.rows) // 2
        halves = [Batch(rows, batch.prefix) for rows in (batch.rows[:middle], batch.rows[middle:])]
        parts, axis = [_run_or_halve(work, half, sets) for half in halves], 1
    return np.concatenate([part[0] for part in parts], axis), np.concatenate(
        [part[1] for part in parts], axis
    )
