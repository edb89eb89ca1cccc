"""Perplexity: what every language's texts cost while the neurons of one language are silenced.

The work is cut into units: a batch of texts, run under as many sets of neurons at once as fit the
token budget, each set its own rows of the batch. Units always have the same shapes, so a killed run
ends with the same bytes.

Letters: S set of neurons, R row (text) of a batch, K language, G block.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langneurons import layout
from langneurons.config import PerplexityConfig
from langneurons.config import of as settings_of
from langneurons.errors import InputError, MismatchError, RecordError
from langneurons.intervals import Floats, few_blocks
from langneurons.model.batches import Batch, Batches
from langneurons.model.forward import cache_name, model_inputs, new_cache, spread_prompts
from langneurons.model.hooks import hold, mean_activations, silence
from langneurons.model.scored import (
    Scored,
    prepared,
    scored_texts,
    shares,
    tiled,
)
from langneurons.model.sites import Site
from langneurons.model.tokens import Tokens
from langneurons.neurons.sets import require_fit, to_masks
from langneurons.neurons.table import Neurons
from langneurons.resume import Progress, State, or_halves, units_left
from langneurons.silencing.controls import Sets, conditions
from langneurons.silencing.losses import Losses
from langneurons.silencing.sinks import sinks, told
from langneurons.texts.responses import Response

if TYPE_CHECKING:
    from langneurons.model.loading import Loaded


class Measured(NamedTuple):
    """What silencing gives.

    Attributes:
        losses: the costs.
        facts: what to know of them: neurons silenced, how controls were matched, sinks and which
            sets hold them, texts left out and why.
    """

    losses: Losses
    facts: dict[str, Any]


class Off(NamedTuple):
    """What is silenced together.

    Attributes:
        chosen: positions of neurons.
        at_text: whether the first token of each text is left alone.
    """

    chosen: NDArray[np.int64]
    at_text: bool = False


@dataclass(frozen=True, kw_only=True)
class Work(Scored):
    """What is run, whichever neurons are silenced.

    Attributes:
        values: what silenced activations become, [D] for each site; None for zero.
        best: whether the likeliest token's cost is averaged in where it is another.
    """

    values: list[Tensor] | None
    best: bool


def perplexity(
    model: "Loaded",
    neurons: Neurons,
    responses: Sequence[Response],
    config: PerplexityConfig | None = None,
    *,
    languages: Sequence[str] | None = None,
    rates: Mapping[str, NDArray[np.floating]] | None = None,
    state: State | None = None,
    on_step: Progress | None = None,
    **settings: Any,
) -> Losses:
    """What every language's texts cost with nothing, each language's neurons, or controls silenced.

    Args:
        model: the model.
        neurons: what is silenced.
        responses: the texts.
        config: settings.
        languages: languages to silence and to evaluate; default all that neurons and responses have
            in common.
        rates: activation probability of every neuron, language -> [M], to match controls by; None:
            match per layer.
        state: where to keep what is done, every `config.save_every` seconds.
        on_step: told of the progress, in tokens computed.
        settings: settings by name instead of `config`, as in `perplexity(..., controls=2)`.

    Raises:
        InputError: for languages that neurons or responses lack, or sets that leave no room for
            controls.
        MismatchError: for neurons of a model of another shape.
        RecordError: for costs that are not numbers, or a text that exceeds memory.
    """
    return measured(
        model,
        neurons,
        responses,
        settings_of(PerplexityConfig, config, settings),
        languages=languages,
        rates=rates,
        state=state,
        on_step=on_step,
    ).losses


def measured(
    model: "Loaded",
    neurons: Neurons,
    responses: Sequence[Response],
    config: PerplexityConfig,
    *,
    languages: Sequence[str] | None = None,
    rates: Mapping[str, NDArray[np.floating]] | None = None,
    state: State | None = None,
    on_step: Progress | None = None,
) -> Measured:
    """The same as `perplexity`, with what to know of how it came about."""
    codes = shared_languages(neurons, responses, languages)
    sets = _sets(model, neurons, codes, config, rates)
    texts, work, facts = _work(model, scored_texts(responses, codes, config.text), codes, config)
    not_empty = [
        number
        for number, (condition, chosen) in enumerate(sets)
        if condition.silenced is None or len(chosen)
    ]
    sums = _run(
        work,
        [Off(chosen, condition.at_text) for condition, chosen in map(sets.__getitem__, not_empty)],
        model.budget(config.budget),
        state=state,
        save_every=config.save_every,
        on_step=on_step,
    )
    losses = Losses.from_sums(
        codes,
        [condition for condition, _ in sets],
        run=not_empty,
        nll=sums.nll,
        tokens=sums.tokens,
        means=sums.means,
        texts=_per_key(work.batches, [1] * len(texts)),
        lengths=_per_key(work.batches, [len(text.response.encode()) for text in texts]),
        average=config.average,
    )
    facts["texts"] = dict(zip(codes, losses.texts.sum(axis=1).tolist(), strict=True))
    facts["tokens"] = dict(zip(codes, losses.tokens[0].sum(axis=1).tolist(), strict=True))
    matched = "per layer only" if rates is None else "per layer and by activation rate"
    facts["controls matched"] = matched
    facts["silenced"] = losses.silenced()
    facts["sinks"] = told(sinks(model, _one_of_each(work.batches)), sets, model.widths)
    facts["notes"] = [] if languages else _left_out(neurons, responses, codes)
    facts["notes"] += few_blocks(losses.tokens[0])
    return Measured(losses, facts)


def _one_of_each(batches: Batches) -> list[Tokens]:
    """The first text of every language."""
    first = {row.key // batches.blocks: row.tokens for row in reversed(batches.rows)}
    return [first[language] for language in sorted(first)]


def shared_languages(
    neurons: Neurons, responses: Sequence[Response], languages: Sequence[str] | None
) -> tuple[str, ...]:
    """Languages to silence and to evaluate.

    Raises:
        InputError: when neurons and responses share none, or lack one that is asked for.
    """
    of_responses = tuple(dict.fromkeys(response.lang for response in responses))
    for name, known in (("neurons", neurons.languages), ("responses", of_responses)):
        lacking = [code for code in languages or () if code not in known]
        if lacking:
            raise InputError(
                f"the {name} have no {', '.join(lacking)}; they have {', '.join(known)}"
            )
    codes = tuple(languages or (code for code in neurons.languages if code in of_responses))
    if not codes:
        raise InputError(
            f"neurons ({', '.join(neurons.languages)}) and responses "
            f"({', '.join(of_responses)}) share no language"
        )
    return codes


def _left_out(neurons: Neurons, responses: Sequence[Response], codes: tuple[str, ...]) -> list[str]:
    """A note on languages that only the neurons have, one on those that only the responses have."""
    of_responses = dict.fromkeys(response.lang for response in responses)
    notes = []
    for known, lacking in ((neurons.languages, "responses"), (of_responses, "neurons")):
        if alone := [code for code in known if code not in codes]:
            notes.append(f"not measured, as the {lacking} have none: {', '.join(alone)}")
    return notes


@torch.inference_mode()
def run_unit(work: Work, batch: Batch, sets: Sequence[Off]) -> tuple[Floats, NDArray[np.int64]]:
    """Run one batch under several sets at once.

    Returns:
        The summed cost of each text under each set, and the number of log-likelihoods in it, both
        [S, R].
    """
    hidden = _hidden(work, batch, sets)
    row, column, following = work.positions(batch)
    place = torch.from_numpy(row * hidden.shape[1] + column).to(hidden.device)
    scored = hidden.reshape(len(sets), -1, hidden.shape[-1])[:, place].flatten(0, 1)
    targets = torch.from_numpy(following).to(hidden.device).repeat(len(sets))
    costs = work.head.costs(scored, targets, best=work.best)
    nll, best = (cost.double().cpu().numpy().reshape(len(sets), -1) for cost in costs)
    entries = np.ones(nll.shape, np.int64)
    if work.best:
        entries += best < nll
        nll = nll + np.where(best < nll, best, 0)

    def per_row(values: NDArray) -> NDArray:
        texts = len(batch.rows)
        return np.stack([np.bincount(row, weights=of_set, minlength=texts) for of_set in values])

    return per_row(nll), per_row(entries).astype(np.int64)


def _hidden(work: Work, batch: Batch, sets: Sequence[Off]) -> Tensor:
    """Final hidden states of a batch after its prefix, [S * R, T, H], each set off in its own rows.

    Where a set leaves first tokens alone, these are read before the others, into a cache.
    """
    prompts, inputs = model_inputs(work.model, work.batches, batch)
    whole, times = [one.chosen for one in sets], len(sets)
    if not any(one.at_text for one in sets):
        with _silenced(work, whole):
            if prompts:
                work.keep_prompts(batch, prompts, times)
            return work.head.hidden(**tiled(inputs, times))
    beginnings = prompts or inputs | new_cache(work.model)
    first, rest = _parted(tiled(beginnings, times))
    with _silenced(work, [one.chosen[: 0 if one.at_text else None] for one in sets]):
        hidden = work.head.hidden(**first)
    with _silenced(work, whole):
        if rest:
            hidden = torch.cat((hidden, work.head.hidden(**rest)), dim=1)
        if not prompts:
            return hidden
        spread_prompts(work.batches, batch, prompts[cache_name(work.model)], times)
        return work.head.hidden(**tiled(inputs, times))


def _parted(inputs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs with a cache as those of first tokens and of the others, which may be none."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    cached = inputs | {"use_cache": True}
    first = cached | {"input_ids": ids[:, :1], "attention_mask": mask[:, :1]}
    return first, cached | {"input_ids": ids[:, 1:]} if ids.shape[1] > 1 else {}


def _silenced(work: Work, sets: Sequence[NDArray[np.int64]]) -> AbstractContextManager[None]:
    """Inside this block each set is silenced in its own rows of the batch."""
    masks = to_masks(sets, [site.shape for site in work.sites])
    if work.values is None:
        return silence(work.sites, masks)
    return hold(work.sites, masks, work.values)


def _sets(
    model: "Loaded",
    neurons: Neurons,
    codes: tuple[str, ...],
    config: PerplexityConfig,
    rates: Mapping[str, NDArray[np.floating]] | None,
) -> Sets:
    """Every condition with what it silences, of neurons and rates that are of this model.

    Raises:
        MismatchError: when they are not.
    """
    require_fit(neurons, model.widths)
    size = int(layout.sizes(model.widths).sum())
    if rates is not None and any(len(rates.get(code, ())) != size for code in codes):
        raise MismatchError(
            "the counts lack a language or are of another model; "
            f"{size:,} neurons are needed for each"
        )
    return conditions(neurons, model.widths, codes, config, rates)


def _work(
    model: "Loaded", texts: Sequence[Response], codes: tuple[str, ...], config: PerplexityConfig
) -> tuple[list[Response], Work, dict[str, Any]]:
    """The texts that fit into the model, how they are run, and what to know of the others."""
    fit, scored, facts = prepared(
        model,
        texts,
        codes,
        blocks=config.blocks,
        budget=model.budget(config.budget),
        share_prompts=config.share_prompts,
    )
    work = Work(
        **vars(scored),
        values=_values(scored.model, scored.sites, scored.batches, config.value),
        best=config.mix_argmax,
    )
    return fit, work, facts


def _values(
    model: Any, sites: Sequence[Site], batches: Batches, value: float | str
) -> list[Tensor] | None:
    """What silenced activations become, [D] for each site; None for zero."""
    if value == "mean":
        return mean_activations(model, sites, batches)
    if isinstance(value, float) and value:
        return [torch.full((site.shape[-1],), value) for site in sites]
    return None


def _per_key(batches: Batches, weights: Sequence[int]) -> NDArray[np.int64]:
    """Sum of the texts' weights, one for each row of the batches, by language and block, [K, G]."""
    keys = [row.key for row in batches.rows]
    shape = (len(batches.languages), batches.blocks)
    sums = np.bincount(keys, weights, shape[0] * shape[1])
    return sums.astype(np.int64).reshape(shape)


@dataclass
class _Sums:
    """What is summed up for each set and key (language and block), [S, K * G].

    Attributes:
        nll: costs.
        means: texts' mean costs.
        tokens: log-likelihoods.
    """

    nll: Floats
    means: Floats
    tokens: NDArray[np.int64]

    @classmethod
    def of_nothing(cls, sets: int, keys: int) -> "_Sums":
        """Sums before anything was run."""
        shape = (sets, keys)
        return cls(nll=np.zeros(shape), means=np.zeros(shape), tokens=np.zeros(shape, np.int64))

    def add(self, number: int, keys: list[int], nll: Floats, tokens: NDArray[np.int64]) -> None:
        """Add texts [R] of these keys under one set."""
        np.add.at(self.nll[number], keys, nll)
        np.add.at(self.means[number], keys, nll / tokens)
        np.add.at(self.tokens[number], keys, tokens)

    def load(self, tensors: Mapping[str, NDArray]) -> None:
        """Go on from what was saved."""
        self.nll, self.means, self.tokens = (
            tensors[name].copy() for name in ("nll", "means", "tokens")
        )

    def tensors(self) -> dict[str, NDArray]:
        """What is to be saved."""
        return {"nll": self.nll, "means": self.means, "tokens": self.tokens}


class _Unit(NamedTuple):
    """A batch under some of the sets, those from `start` to `end`."""

    batch: Batch
    start: int
    end: int


def _run(
    work: Work,
    sets: Sequence[Off],
    budget: int,
    *,
    state: State | None,
    save_every: float,
    on_step: Progress | None,
) -> _Sums:
    """Run every batch under every set and sum up what its texts cost."""
    batches = work.batches
    sums = _Sums.of_nothing(len(sets), len(batches.languages) * batches.blocks)
    units = [
        _Unit(batch, start, end)
        for batch in batches.batches
        for start, end in shares(len(sets), budget // batches.computed(batch))
    ]
    costs = [batches.computed(unit.batch) * (unit.end - unit.start) for unit in units]

    def run(unit: _Unit) -> tuple[_Unit, Floats, NDArray[np.int64]]:
        return unit, *run_unit(work, unit.batch, sets[unit.start : unit.end])

    for number in units_left(
        costs,
        load=sums.load,
        tensors=sums.tensors,
        state=state,
        save_every=save_every,
        on_step=on_step,
    ):
        for part, nll, tokens in or_halves(run, units[number], _halves):
            if np.isnan(nll).any():
                raise RecordError(
                    "some costs are not numbers; try another --dtype (float32, bfloat16)"
                )
            keys = [batches.rows[i].key for i in part.batch.rows]
            for i, place in enumerate(range(part.start, part.end)):
                sums.add(place, keys, nll[i], tokens[i])
    return sums


def _halves(unit: _Unit) -> list[_Unit]:
    """Fewer sets at once, where memory does not suffice; then fewer texts.

    Raises:
        RecordError: when it does not suffice for a single text.
    """
    batch, start, end = unit
    if end - start > 1:
        middle = (start + end) // 2
        return [_Unit(batch, start, middle), _Unit(batch, middle, end)]
    if len(batch.rows) == 1:
        raise RecordError(
            "a single text does not fit into memory; use a smaller --dtype or a larger device"
        )
    middle = len(batch.rows) // 2
    return [
        _Unit(Batch(rows, batch.prefix), start, end)
        for rows in (batch.rows[:middle], batch.rows[middle:])
    ]
