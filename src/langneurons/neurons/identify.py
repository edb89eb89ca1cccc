"""Identify: from counts to classified neurons, with intervals.

Counts are kept per block of questions, so a resampling is a weighted sum: G blocks drawn G times
with replacement, the same draw for every language (questions are parallel), and everything from tau
on is worked out anew. Intervals are percentiles of the replicates, widened to the observed value
where all of them lie to one side of it (resampling adds noise, and a neuron barely above tau in ten
languages is below it in one). One block cannot be resampled: then there are no intervals. How often
these intervals hold the truth is measured by bench/coverage.py. Letters: K language, G block, M
neuron of the whole model, n listed neuron.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from langneurons import config as configs
from langneurons import layout
from langneurons.config import IdentifyConfig
from langneurons.errors import InputError
from langneurons.intervals import LEVEL, Floats, block_draws
from langneurons.layout import Widths
from langneurons.neurons.agreement import agreement, unavailable
from langneurons.neurons.chance import by_chance
from langneurons.neurons.classes import classified
from langneurons.neurons.contrasts import of_neurons
from langneurons.neurons.counts import Counts
from langneurons.neurons.effects import Effects
from langneurons.neurons.numbers import KINDS, Numbers, kind_of, stacked
from langneurons.neurons.selection import Found, find
from langneurons.neurons.summary import stages
from langneurons.neurons.table import Again, Neurons, Rule, Uncertainty
from langneurons.resume import Progress


class Levels(Protocol):
    """What neurons are classified by: counts, or effects."""

    @property
    def languages(self) -> tuple[str, ...]:
        """The K codes."""

    @property
    def tokens(self) -> NDArray[np.integer]:
        """Tokens that it is of, [K, G]."""

    @property
    def widths(self) -> Widths:
        """Shape of each layer."""

    @property
    def blocks(self) -> int:
        """Number of blocks, G."""

    def probability(
        self,
        weights: NDArray[np.number] | None = None,
        *,
        per: Literal["tokens", "routed"] = "tokens",
    ) -> Floats:
        """How high each neuron is in each language, from 0 to 1, [K, M]."""
        ...


def identify(
    counts: Counts | Effects,
    config: IdentifyConfig | None = None,
    *,
    on_step: Progress | None = None,
    **settings: Any,
) -> Neurons:
    """Classified neurons from counts: every selected and every general one.

    With scores, margins and probabilities; where there are several blocks, with intervals and with
    how often resampling keeps each neuron; where blocks are parallel, with agreement.

    Args:
        counts: of at least 2 languages; or effects, of which those neurons can be selected whose
            effect on a language is above tau.
        config: settings; or give them by name, as in `rate=0.2`.
        on_step: told of the resamplings done and of all.
        **settings: fields of `IdentifyConfig`.

    Raises:
        InputError: with one language, a language without tokens, a rate that selects nothing, a
            general neuron selected at lambda 0, or when no resampling allows a lambda.
    """
    config = configs.of(IdentifyConfig, config, settings)
    if isinstance(counts, Effects):
        config = replace(config, prefilter=True)
    probability = counts.probability(per=config.per)
    found = find(probability, counts.widths, config, curve=True)
    neurons = _tabulated(counts, config, probability, found)
    cut = stages(neurons)
    if isinstance(counts, Counts) and not unavailable(counts):
        known = agreement(
            counts, cut.starts if cut else (), resamplings=config.bootstrap, seed=config.seed
        )
        neurons = replace(neurons, agreement=known)
    if isinstance(counts, Counts):
        neurons = replace(neurons, chance=by_chance(counts, config))
    resampled, without = None, {}
    if counts.blocks > 1 and config.bootstrap:
        neurons, resampled = _resampled(counts, config, neurons, on_step)
        neurons = replace(neurons, again=_found_again(counts, config, neurons))
        without = _without(counts, config, probability)
    if cut is None:
        return neurons
    found_more = of_neurons(
        neurons.numbers, cut.starts, neurons.with_neurons, resampled=resampled, without=without
    )
    return replace(neurons, contrasts=found_more)


def _without(
    counts: Levels, config: IdentifyConfig, probability: Floats
) -> dict[str, Numbers | None]:
    """Numbers with each of the languages left out; None for one without which there is no lambda.

    Nothing is specific to one of fewer than two, so of two none can be left out.
    """

    def rest(k: int) -> Numbers | None:
        try:
            others = np.delete(probability, k, axis=0)
            return classified(others, counts.widths, config).numbers
        except InputError:
            return None

    codes = counts.languages if len(counts.languages) > 2 else ()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(codes, pool.map(rest, range(len(codes))), strict=True))


def _tabulated(
    counts: Levels, config: IdentifyConfig, probability: Floats, found: Found
) -> Neurons:
    """What `find` found, written up as the table of neurons, without intervals."""
    languages = len(counts.languages)
    scores = found.scores
    chosen = np.zeros(len(found.score), dtype=bool)
    chosen[found.selected] = True
    rows = np.flatnonzero(chosen | scores.general)
    layer, expert, neuron = layout.addresses(counts.widths, rows).T
    rule = Rule(
        method=config.method,
        rate=config.rate,
        tau_quantile=config.tau_quantile,
        tau=scores.tau,
        prefilter=scores.eligible is not None,
        lam=found.lam,
        histogram=tuple(np.bincount(scores.n_languages, minlength=languages + 1).tolist()),
        by="effect" if isinstance(counts, Effects) else "rate",
        general=config.general,
    )
    return Neurons(
        languages=counts.languages,
        widths=counts.widths,
        rule=rule,
        layer=layer,
        expert=expert,
        neuron=neuron,
        member=(probability[:, rows] > scores.tau).T,
        selected=chosen[rows],
        score=found.score[rows],
        margin=_margins(found, chosen)[rows],
        probability=probability[:, rows].T.copy(),
        keeps=np.full(len(rows), np.nan),
    )


def _margins(found: Found, chosen: NDArray[np.bool_]) -> Floats:
    """Distance to the selection boundary, [M].

    Inside the best rejected score minus its own, outside the worst selected one minus its own.
    """
    eligible = found.scores.eligible
    rejected = ~chosen if eligible is None else eligible & ~chosen
    worst_in = found.score[chosen].max()
    best_out = found.score[rejected].min() if rejected.any() else np.inf
    return np.where(chosen, best_out, worst_in) - found.score


class _Replicate(NamedTuple):
    """One resampling: its numbers, and which of the listed neurons are of their kind again, [n]."""

    numbers: Numbers
    kept: NDArray[np.bool_]


def _resampled(
    counts: Levels, config: IdentifyConfig, neurons: Neurons, on_step: Progress | None
) -> tuple[Neurons, Numbers]:
    """The same neurons with `uncertainty` and `keeps` filled in, and the numbers resampled."""
    draws = block_draws(counts.blocks, config.bootstrap, config.seed)
    listed = layout.positions(counts.widths, neurons.keys)

    def replicate(weights: NDArray[np.int64]) -> _Replicate | None:
        try:
            probability = counts.probability(weights, per=config.per)
            found = find(probability, counts.widths, config)
        except InputError:
            return None
        again = _tabulated(counts, config, probability, found)
        return _Replicate(again.numbers, _kept(probability, found, neurons, listed))

    replicates = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, outcome in enumerate(pool.map(replicate, draws), start=1):
            if outcome is not None:
                replicates.append(outcome)
            if on_step:
                on_step(done, len(draws))
    if not replicates:
        raise InputError(
            f"none of {len(draws)} resamplings of the {counts.blocks} blocks allows a lambda or "
            "has tokens in every language; use a lower --rate, more responses, or --bootstrap 0"
        )
    resampled = stacked([one.numbers for one in replicates])
    numbers = neurons.numbers.with_intervals(resampled)
    assert numbers.intervals is not None  # noqa: S101 - `with_intervals` gives them
    keeps = np.mean([one.kept for one in replicates], axis=0)
    uncertainty = Uncertainty(
        blocks=counts.blocks,
        replicates=len(draws),
        level=LEVEL,
        failed=len(draws) - len(replicates),
        intervals=numbers.intervals,
    )
    kept = np.where(neurons.selected, keeps, np.nan)
    return replace(neurons, keeps=kept, uncertainty=uncertainty), resampled


def _kept(
    probability: Floats, found: Found, neurons: Neurons, listed: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether each listed neuron is selected and of its kind again, [n].

    A specific one must also be of its language again.
    """
    n = found.scores.n_languages[listed]
    kinds = kind_of(n, len(neurons.languages), neurons.least_general)
    selected = np.zeros(len(found.score), dtype=bool)
    selected[found.selected] = True
    same = (kinds == neurons.kind) & (selected[listed] | (kinds == "general"))
    member = (probability[:, listed] > found.scores.tau).T
    return same & ((neurons.kind != "specific") | (member == neurons.member).all(axis=1))


PARTS = (1 / 8, 1 / 4, 1 / 2)
"""Shares of the blocks from which neurons are looked for again."""

DRAWS = 8
"""How often blocks are drawn for each of them."""


def _found_again(counts: Levels, config: IdentifyConfig, whole: Neurons) -> tuple[Again, ...]:
    """How many of the neurons are found again from some of the blocks, and half against half.

    A draw that allows no lambda or lacks a language is left out, a row of which none is left too.
    """
    rng = np.random.default_rng(config.seed)
    orders = [rng.permutation(counts.blocks) for _ in range(DRAWS)]
    sizes = dict.fromkeys(max(1, int(counts.blocks * part)) for part in PARTS)
    half = counts.blocks // 2

    def drawn(blocks: NDArray[np.int64]) -> tuple[Floats, Found] | None:
        weights = np.bincount(blocks, minlength=counts.blocks)
        try:
            probability = counts.probability(weights, per=config.per)
            return probability, find(probability, counts.widths, config)
        except InputError:
            return None

    rows = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for size in sizes:  # one after the other: each draw holds a number for every neuron
            outcomes = list(pool.map(drawn, [order[:size] for order in orders]))
            tokens = [counts.tokens[:, order[:size]].sum(axis=1).min() for order in orders]
            mean = round(float(np.mean(tokens)))
            parts = [(whole, outcome) for outcome in outcomes if outcome]
            rows.append(Again(size, mean, "all", _shares(counts, parts)))
            if size == half:
                rest = pool.map(drawn, [order[half : 2 * half] for order in orders])
                both = [
                    (_tabulated(counts, config, *other), one)
                    for one, other in zip(outcomes, rest, strict=True)
                    if one and other
                ]
                rows.append(Again(size, mean, "rest", _shares(counts, both)))
    return tuple(row for row in rows if row.shares)


def _shares(
    counts: Levels, pairs: Sequence[tuple[Neurons, tuple[Floats, Found]]]
) -> dict[str, tuple[float, float, float]]:
    """Kind -> median, least and greatest share of neurons that a draw finds again."""
    shares: dict[str, list[float]] = {}
    for neurons, outcome in pairs:
        kept = _kept(*outcome, neurons, layout.positions(counts.widths, neurons.keys))
        for kind in KINDS[:3]:
            of_kind = neurons.kind == kind
            if of_kind.any():
                shares.setdefault(kind, []).append(float(kept[of_kind].mean()))
    return {
        kind: (float(np.median(drawn)), min(drawn), max(drawn)) for kind, drawn in shares.items()
    }
