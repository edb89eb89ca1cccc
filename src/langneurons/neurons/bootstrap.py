"""Bootstrap: how far tau, lambda, class counts and each neuron's class would move with other questions.

Counts are kept per block of questions, so a resampling is a weighted sum: G blocks drawn G times
with replacement, the same draw for every language (questions are parallel), and everything from tau
on is worked out anew. Intervals are percentiles of the replicates, widened to the observed value
where all of them lie to one side of it (resampling adds noise, and a neuron barely above tau in ten
languages is below it in one). One block cannot be resampled: then there are no intervals. How often
these intervals hold the truth is measured by bench/coverage.py.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from langneurons import layout
from langneurons.config import IdentifyConfig
from langneurons.errors import InputError
from langneurons.intervals import LEVEL, block_draws, interval
from langneurons.neurons.counts import Counts
from langneurons.neurons.identify import Found, find
from langneurons.neurons.table import KINDS, Neurons, Uncertainty, kind_of


def bootstrap(
    counts: Counts,
    neurons: Neurons,
    config: IdentifyConfig,
    on_step: Callable[[int, int], None] | None = None,
) -> Neurons:
    """The same neurons with `uncertainty` and `keeps` filled in; unchanged when there is one block or no resampling.

    Args:
        counts: what the neurons were identified from, with G blocks.
        neurons: what `identify` gave for them.
        config: the same settings; `bootstrap` says how many resamplings, `seed` which.
        on_step: called with (done, all) after each resampling.

    Raises:
        InputError: when no resampling allows a lambda.
    """
    if counts.blocks < 2 or not config.bootstrap:
        return neurons
    draws = block_draws(counts.blocks, config.bootstrap, config.seed)
    listed = layout.positions(counts.widths, neurons.keys)

    def one(weights: NDArray[np.int64]) -> tuple[dict[str, float], NDArray[np.bool_]] | None:
        try:
            probability = counts.probability(weights, per=config.per)
            found = find(probability, counts.widths, config)
        except InputError:
            return None
        return _statistics(probability, found, counts), _kept(probability, found, neurons, listed)

    results = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, result in enumerate(pool.map(one, draws), start=1):
            results.append(result)
            if on_step:
                on_step(done, len(draws))
    good = [result for result in results if result is not None]
    if not good:
        raise InputError(
            f"none of {len(draws)} resamplings of the {counts.blocks} blocks allows a lambda or has tokens in every "
            "language; use a lower --rate, more responses, or --bootstrap 0"
        )
    observed = one(np.ones(counts.blocks, dtype=np.int64))
    assert observed is not None  # noqa: S101 - `neurons` were identified from these very counts
    intervals = {}
    for name, value in observed[0].items():
        low, high = interval([statistics[name] for statistics, _ in good], value)
        intervals[name] = (float(low), float(high))
    keeps = np.mean([kept for _, kept in good], axis=0)
    return replace(
        neurons,
        keeps=np.where(neurons.selected, keeps, np.nan),
        uncertainty=Uncertainty(
            counts.blocks, len(draws), LEVEL, len(draws) - len(good), intervals
        ),
    )


def _statistics(probability: NDArray[np.float64], found: Found, counts: Counts) -> dict[str, float]:
    """Every number that gets an interval, for one resampling."""
    languages, widths = counts.languages, counts.widths
    n, tau, chosen = found.scores.n_languages, found.scores.tau, found.selected
    kinds = kind_of(n[chosen], len(languages))
    values = {"tau": tau}
    if found.lam is not None:
        values["lambda"] = found.lam.value
    ends = np.cumsum([np.prod(width) for width in widths])
    for kind in KINDS:
        where = np.flatnonzero(n == len(languages)) if kind == "general" else chosen[kinds == kind]
        values[kind] = float(len(where))
        layer = np.searchsorted(ends, where, side="right")
        for i, count in enumerate(np.bincount(layer, minlength=len(widths))):
            values[f"{kind}@{i}"] = float(count)
        if kind in ("specific", "related"):
            for code, row in zip(languages, probability, strict=True):
                values[f"{kind}/{code}"] = float((row[where] > tau).sum())
    return values


def _kept(
    probability: NDArray[np.float64], found: Found, neurons: Neurons, listed: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether each listed neuron is selected and of its kind again; a specific one also of its language."""
    n = found.scores.n_languages[listed]
    kinds = kind_of(n, len(neurons.languages))
    selected = np.zeros(len(found.score), dtype=bool)
    selected[found.selected] = True
    same = (kinds == neurons.kind) & (selected[listed] | (kinds == "general"))
    member = (probability[:, listed] > found.scores.tau).T
    return same & ((neurons.kind != "specific") | (member == neurons.member).all(axis=1))
