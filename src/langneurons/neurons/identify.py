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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons import config as configs
from langneurons import layout
from langneurons.config import IdentifyConfig
from langneurons.errors import InputError
from langneurons.intervals import LEVEL, Floats, block_draws
from langneurons.neurons.counts import Counts
from langneurons.neurons.numbers import Numbers, kind_of, stacked
from langneurons.neurons.selection import Found, find
from langneurons.neurons.table import Neurons, Rule, Uncertainty
from langneurons.resume import Progress


def identify(
    counts: Counts,
    config: IdentifyConfig | None = None,
    *,
    on_step: Progress | None = None,
    **settings: Any,
) -> Neurons:
    """Classified neurons from counts: every selected and every general one.

    With scores, margins and probabilities; where there are several blocks, with intervals and with
    how often resampling keeps each neuron.

    Args:
        counts: of at least 2 languages.
        config: settings; or give them by name, as in `rate=0.2`.
        on_step: told of the resamplings done and of all.
        **settings: fields of `IdentifyConfig`.

    Raises:
        InputError: with one language, a language without tokens, a rate that selects nothing, a
            general neuron selected at lambda 0, or when no resampling allows a lambda.
    """
    config = configs.of(IdentifyConfig, config, settings)
    probability = counts.probability(per=config.per)
    found = find(probability, counts.widths, config, curve=True)
    neurons = _tabulated(counts, config, probability, found)
    if counts.blocks < 2 or not config.bootstrap:
        return neurons
    return _resampled(counts, config, neurons, on_step)


def _tabulated(
    counts: Counts, config: IdentifyConfig, probability: Floats, found: Found
) -> Neurons:
    """What `find` found, written up as the table of neurons, without intervals."""
    languages = len(counts.languages)
    scores = found.scores
    chosen = np.zeros(len(found.score), dtype=bool)
    chosen[found.selected] = True
    rows = np.flatnonzero(chosen | (scores.n_languages == languages))
    layer, expert, neuron = layout.addresses(counts.widths, rows).T
    rule = Rule(
        method=config.method,
        rate=config.rate,
        tau_quantile=config.tau_quantile,
        tau=scores.tau,
        prefilter=scores.eligible is not None,
        lam=found.lam,
        histogram=tuple(np.bincount(scores.n_languages, minlength=languages + 1).tolist()),
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
    counts: Counts, config: IdentifyConfig, neurons: Neurons, on_step: Progress | None
) -> Neurons:
    """The same neurons with `uncertainty` and `keeps` filled in."""
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
    numbers = neurons.numbers.with_intervals(stacked([one.numbers for one in replicates]))
    assert numbers.intervals is not None  # noqa: S101 - `with_intervals` gives them
    keeps = np.mean([one.kept for one in replicates], axis=0)
    return replace(
        neurons,
        keeps=np.where(neurons.selected, keeps, np.nan),
        uncertainty=Uncertainty(
            blocks=counts.blocks,
            replicates=len(draws),
            level=LEVEL,
            failed=len(draws) - len(replicates),
            intervals=numbers.intervals,
        ),
    )


def _kept(
    probability: Floats, found: Found, neurons: Neurons, listed: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether each listed neuron is selected and of its kind again, [n].

    A specific one must also be of its language again.
    """
    n = found.scores.n_languages[listed]
    kinds = kind_of(n, len(neurons.languages))
    selected = np.zeros(len(found.score), dtype=bool)
    selected[found.selected] = True
    same = (kinds == neurons.kind) & (selected[listed] | (kinds == "general"))
    member = (probability[:, listed] > found.scores.tau).T
    return same & ((neurons.kind != "specific") | (member == neurons.member).all(axis=1))
