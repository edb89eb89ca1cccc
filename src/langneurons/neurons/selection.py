"""Selection: tau, the score of every neuron, lambda, and which neurons are selected.

Eq. 5 and 6 of the paper, and LAPE. A neuron is scored by how specific it is (entropy of its
activation probabilities over languages) and how much it takes part (its highest probability). The
lowest `rate` of all neurons are selected. In how many languages a neuron is highly active
(probability above tau) tells its kind. Letters: K language, M neuron of the whole model.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons import layout
from langneurons.config import IdentifyConfig
from langneurons.errors import InputError
from langneurons.layout import Widths
from langneurons.neurons.lambda_star import Span, spans
from langneurons.neurons.numbers import general_words, least_general
from langneurons.neurons.table import Lambda

_CHUNK = 1 << 13  # neurons worked on at once; keeps the temporaries in cache
_CURVE_POINTS = 41  # of the sensitivity curve
_PIECES = 8  # of [0, limit], on each of which the selection boundary is bounded by a line
_ROUNDING = 1e-12  # far above what rounding makes of a score, far below what tells two apart


class Scores(NamedTuple):
    """What the selection works on; everything about lambda that does not depend on lambda.

    Attributes:
        entropy: H(p') / ln K of each neuron, [M], in [0, 1]; 1 where it is never active.
        peak: highest probability over languages divided by h, the mean of 1, 1/2, ..., 1/K, [M].
        tau: the bar of Eq. 6.
        n_languages: languages with p > tau, N of Eq. 6, [M].
        least_general: lowest N of a general neuron.
        eligible: neurons that may be selected, [M], or None for all.
        size: how many are selected.
    """

    entropy: NDArray[np.float64]
    peak: NDArray[np.float64]
    tau: float
    n_languages: NDArray[np.intp]
    least_general: int
    eligible: NDArray[np.bool_] | None
    size: int

    def only(self, places: NDArray[np.intp]) -> "Scores":
        """Those of the neurons at these places, which may all be selected."""
        return self._replace(
            entropy=self.entropy[places],
            peak=self.peak[places],
            n_languages=self.n_languages[places],
            eligible=None,
        )

    @property
    def general(self) -> NDArray[np.bool_]:
        """Which neurons are general, [M]."""
        return self.n_languages >= self.least_general

    def at(self, lam: float) -> NDArray[np.float64]:
        """The score at this lambda, [M]: entropy - lambda * peak; a language neuron's is low."""
        return self.entropy - lam * self.peak


class Found(NamedTuple):
    """The outcome on all M neurons, before it is written up as a table.

    Attributes:
        scores: what it was worked out from.
        lam: lambda and how it was found; None for LAPE.
        score: final score, [M].
        selected: positions of the selected, ascending.
    """

    scores: Scores
    lam: Lambda | None
    score: NDArray[np.float64]
    selected: NDArray[np.intp]


def harmonic(languages: int) -> float:
    """The h of the released score: mean of 1, 1/2, ..., 1/K.

    It is what max p averages to if languages share p like 1/rank.
    """
    return sum(1 / k for k in range(1, languages + 1)) / languages


def unit_factor(languages: int) -> float:
    """Lambda of Eq. 5 as printed = this factor times lambda in released units: ln K / h."""
    return math.log(languages) / harmonic(languages)


def entropy_and_peak(
    probability: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Entropy over languages divided by ln K, and max p / h, of each neuron; [K, M] -> [M], [M].

    A neuron that is never active counts as uniform: entropy 1, peak 0.
    """
    languages, size = probability.shape
    entropy, peak = np.empty(size), np.empty(size)
    highest_entropy, h = math.log(languages), harmonic(languages)

    def work(start: int) -> None:
        stop = min(start + _CHUNK, size)
        p = probability[:, start:stop]
        total = p.sum(axis=0)
        share = p / np.where(total > 0, total, 1)
        logs = np.log(np.where(share > 0, share, 1))
        of_active = -np.multiply(share, logs, out=logs).sum(axis=0) / highest_entropy
        entropy[start:stop] = np.where(total > 0, of_active, 1)
        np.divide(p.max(axis=0), h, out=peak[start:stop])

    with ThreadPoolExecutor() as pool:
        list(pool.map(work, range(0, size, _CHUNK)))
    return entropy, peak


def threshold(probability: NDArray[np.float64], quantile: float) -> float:
    """tau: the round(quantile * K * M)-th smallest of all K * M activation probabilities."""
    [tau] = thresholds(probability, [quantile])
    return tau


def thresholds(probability: NDArray[np.float64], quantiles: Sequence[float]) -> list[float]:
    """The tau of each of these quantiles, in one pass over the probabilities [K, M]."""
    size = probability.size
    places = [min(max(round(quantile * size), 1), size) - 1 for quantile in quantiles]
    return np.partition(probability, sorted(set(places)), axis=None)[places].tolist()


def highly_active(probability: NDArray[np.float64], tau: float) -> NDArray[np.intp]:
    """In how many languages each neuron is highly active, N of Eq. 6; [K, M] -> [M]."""
    n_languages = np.zeros(probability.shape[1], dtype=np.intp)
    for row in probability:
        n_languages += row > tau
    return n_languages


def lowest(
    score: NDArray[np.float64], size: int, eligible: NDArray[np.bool_] | None = None
) -> NDArray[np.intp]:
    """Positions of the `size` lowest scores, ascending; among equal scores the first come first."""
    score = score if eligible is None else np.where(eligible, score, np.inf)
    bar = np.partition(score, size - 1)[size - 1]
    below = np.flatnonzero(score < bar)
    level = np.flatnonzero(score == bar)[: size - len(below)]
    return np.sort(np.concatenate([below, level]))


def score(probability: NDArray[np.float64], config: IdentifyConfig) -> Scores:
    """Everything the selection needs, from activation probabilities [K, M].

    Raises:
        InputError: with fewer than 2 languages, or when `rate` selects no neuron.
    """
    languages, neurons = probability.shape
    if languages < 2:
        raise InputError(
            "these counts hold one language; "
            "what is specific to a language shows against at least 2"
        )
    require_some(config.rate, neurons)
    tau = threshold(probability, config.tau_quantile)
    n_languages = highly_active(probability, tau)
    entropy, peak = entropy_and_peak(probability)
    return assembled(entropy, peak, tau, n_languages, languages=languages, config=config)


def require_some(rate: float, neurons: int) -> None:
    """Stop when a rate selects none of so many neurons."""
    if round(rate * neurons) < 1:
        raise InputError(
            f"rate {rate} of {neurons} neurons selects none; use {1 / neurons:.2g} or more"
        )


def assembled(
    entropy: NDArray[np.float64],
    peak: NDArray[np.float64],
    tau: float,
    n_languages: NDArray[np.intp],
    *,
    languages: int,
    config: IdentifyConfig,
) -> Scores:
    """The scores of one rate, filter and method, from what depends on none of them.

    Raises:
        InputError: when no neuron passes the filter.
    """
    size = round(config.rate * len(entropy))
    eligible = n_languages > 0 if config.prefilter or config.method == "lape" else None
    if eligible is not None:
        size = min(size, int(eligible.sum()))
    if size < 1:
        raise InputError(
            f"no neuron has a probability above tau {tau:.6g}, so none passes the filter"
        )
    return Scores(
        entropy=entropy,
        peak=peak,
        tau=tau,
        n_languages=n_languages,
        least_general=least_general(languages, config.general),
        eligible=eligible,
        size=size,
    )


def find(
    probability: NDArray[np.float64], widths: Widths, config: IdentifyConfig, *, curve: bool = False
) -> Found:
    """Score, choose lambda and select, from activation probabilities [K, M].

    Args:
        probability: of every neuron in every language.
        widths: shapes of the layers.
        config: settings.
        curve: whether lambda gets its sensitivity curve.

    Raises:
        InputError: see `score` and `choose_lambda`.
    """
    scores = score(probability, config)
    if config.method == "lape":
        lam, final = None, scores.entropy
    else:
        lam = choose_lambda(scores, len(probability), widths, config, curve=curve)
        final = scores.at(lam.value)
    selected = lowest(final, scores.size, scores.eligible)
    return Found(scores=scores, lam=lam, score=final, selected=selected)


def general_selected(scores: Scores, lam: float) -> int:
    """How many general neurons are among the selected at this lambda."""
    chosen = lowest(scores.at(lam), scores.size, scores.eligible)
    return int((scores.n_languages[chosen] >= scores.least_general).sum())


def choose_lambda(
    scores: Scores,
    languages: int,
    widths: Widths,
    config: IdentifyConfig,
    *,
    curve: bool = False,
    reach: NDArray[np.intp] | None = None,
) -> Lambda:
    """The lambda to use: the given one, or the largest at which no general neuron is selected.

    The paper says "automatically"; the released code bisects [0, 0.2] to 1e-3 and so stops short.
    Here it is the exact supremum of the first feasible interval (see `lambda_star`), and the value
    used is the largest double below it.

    Args:
        scores: of all neurons.
        languages: K.
        widths: shapes of the layers.
        config: settings.
        curve: whether lambda gets its sensitivity curve.
        reach: what `within_reach` gives for these scores up to the limit at least; known where
            several choices are made on the same.

    Raises:
        InputError: when a general neuron is selected at lambda 0 already, naming it and a rate at
            which it is not.
    """
    factor = unit_factor(languages)
    limit = config.lam_limit
    some_general = bool(scores.general.any())
    reach = within_reach(scores, limit) if reach is None else reach
    scores = scores.only(reach)
    general = scores.general
    if general.any():
        parts = spans(scores.entropy, scores.peak, general, scores.size, limit)
    else:
        parts = [Span(0.0, limit, feasible=True, general=-1)]
    found = Lambda(
        value=limit,
        status="not binding" if some_general else "no general",
        factor=factor,
        feasible=tuple((part.start, part.end) for part in parts if part.feasible),
        curve=_cliff(scores, limit) if curve else (),
    )
    if config.lam != "auto":
        return replace(found, value=config.lam, status="given")
    if not parts[0].feasible:
        raise InputError(_already_selected(scores, languages, reach, widths, config.rate))
    if len(parts) == 1:
        return found
    supremum = parts[0].end
    return replace(
        found,
        value=_just_below(supremum, scores),
        status="bound",
        supremum=supremum,
        binding=layout.address(widths, reach[parts[1].general]),
    )


def _cliff(scores: Scores, limit: float) -> tuple[tuple[float, int], ...]:
    """(lambda, general neurons among the selected) at equal distances over [0, limit]."""
    points = (limit * np.arange(_CURVE_POINTS) / (_CURVE_POINTS - 1)).tolist()
    return tuple((lam, general_selected(scores, lam)) for lam in points)


def _just_below(supremum: float, scores: Scores) -> float:
    """The largest double below the supremum, or a little less.

    Less where rounded scores still select a general neuron.
    """
    value = float(np.nextafter(supremum, 0))
    step = supremum - value
    while value > 0 and general_selected(scores, value):
        step *= 2
        value = max(supremum - step, 0.0)
    return value


def within_reach(scores: Scores, limit: float) -> NDArray[np.intp]:
    """Places of the neurons that are selected at some lambda in [0, limit], and of a few more.

    On a piece of it: whatever lambda, the boundary lies no higher than the highest of the neurons
    selected at its start, hence nowhere above the line from the boundary there to the highest of
    them at its end. Whose score is above that line at both ends is above it throughout.
    """
    within = np.zeros(len(scores.entropy), dtype=bool)
    first = scores.at(0)
    for piece in range(1, _PIECES + 1):
        last = scores.at(limit * piece / _PIECES)
        chosen = lowest(first, scores.size, scores.eligible)
        within |= first <= first[chosen].max() + _ROUNDING
        within |= last <= last[chosen].max() + _ROUNDING
        first = last
    if scores.eligible is not None:
        within &= scores.eligible
    return np.flatnonzero(within)


def _already_selected(
    scores: Scores, languages: int, reach: NDArray[np.intp], widths: Widths, rate: float
) -> str:
    """What to say of a general neuron that is selected at lambda 0, and a rate that avoids it."""
    general = scores.general
    best = int(np.flatnonzero(general)[np.argmin(scores.entropy[general])])
    before = int((scores.entropy < scores.entropy[best]).sum())
    highest_rate = math.floor(before / int(layout.sizes(widths).sum()) * 1e6) / 1e6
    advice = "no rate avoids it; look at the counts"
    if highest_rate > 0:
        advice = f"use a rate of at most {highest_rate:g}"
    return (
        f"neuron {layout.address(widths, reach[best])} is highly active in "
        f"{general_words(languages, scores.least_general)} and yet among the selected at lambda 0 "
        f"with rate {rate}; {advice}"
    )
