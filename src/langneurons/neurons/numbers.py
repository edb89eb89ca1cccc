"""Classes: what every neuron of a model is, and how many there are of each sort, by own thresholds or given ones.

Letters: K language, L layer, M neuron of the whole model, R resampling.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons.config import IdentifyConfig
from langneurons.intervals import Floats
from langneurons.layout import Widths
from langneurons.neurons.counts import Counts
from langneurons.neurons.identify import find, lowest, score
from langneurons.neurons.table import KINDS, Neurons

CLASSES = (*KINDS, "not listed")
"""What a neuron can be; `not listed`: neither selected nor general."""


class Numbers(NamedTuple):
    """How many neurons of each sort; of R resamplings, every array has a first axis R.

    Attributes:
        tau: the bar; NaN when not known.
        lam: lambda; NaN when there is none.
        layers: neurons of each of `KINDS` per layer, [4, L]; general over all neurons, the others
            among the selected.
        languages: specific and related neurons highly active in each language, [2, K].
        among: neurons of the selected with N = 0..K, [K + 1].
        everywhere: neurons of the whole model with N = 0..K, [K + 1]; NaN when not known.
    """

    tau: Floats
    lam: Floats
    layers: Floats
    languages: Floats
    among: Floats
    everywhere: Floats


class Classified(NamedTuple):
    """What every neuron is.

    Attributes:
        kind: position in `CLASSES`, [M].
        numbers: how many of each sort.
    """

    kind: NDArray[np.int8]
    numbers: Numbers


class Thresholds(NamedTuple):
    """Thresholds that were found on one model, to classify another by.

    Attributes:
        config: method, rate and filter.
        tau: the bar.
        lam: lambda; None for LAPE.
    """

    config: IdentifyConfig
    tau: float
    lam: float | None


def listed(neurons: Neurons, widths: Widths) -> Classified:
    """The classes that a table of neurons lists, of a model with these layer widths."""
    sizes = [math.prod(width) for width in widths]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    inner = np.array([width[-1] for width in widths])[neurons.layer]
    flat = starts[neurons.layer] + np.maximum(neurons.expert, 0) * inner + neurons.neuron
    rule, k = neurons.rule, len(neurons.languages)
    kind = np.full(starts[-1], len(KINDS), dtype=np.int8)
    kind[flat] = _by_n(k)[neurons.n_languages]
    lam = rule.lam.value if rule.lam else None
    member = [neurons.member[neurons.kind == name].sum(axis=0) for name in ("specific", "related")]
    among = np.bincount(neurons.n_languages[neurons.selected], minlength=k + 1)
    everywhere = np.array(rule.histogram) if rule.histogram else np.full(k + 1, np.nan)
    return Classified(kind, _numbers(kind, sizes, rule.tau, lam, member, among, everywhere))


def classify(
    counts: Counts,
    config: IdentifyConfig,
    weights: NDArray[np.integer] | None = None,
    base: Thresholds | None = None,
) -> tuple[Classified, ...]:
    """The classes by own thresholds and, where others are given, by those too: one or two outcomes.

    By given thresholds: the rate of all neurons with the lowest scores at the given lambda is
    selected, and the given tau tells their class. The number selected is then the same, and neither
    bar moves.

    Args:
        counts: of K languages.
        config: own settings.
        weights: how often each block is taken, [G]; once by default.
        base: thresholds of another model.

    Raises:
        InputError: see `identify.find`.
    """
    probability = counts.probability(weights, per=config.per)
    found = find(probability, counts.widths, config)
    scores, lam = found.scores, found.lam.value if found.lam else None
    own = _classified(counts, probability, scores.n_languages, found.selected, scores.tau, lam)
    if base is None:
        return (own,)
    if base.config.per != config.per:
        probability = counts.probability(weights, per=base.config.per)
        scores = score(probability, base.config)
    n = (probability > base.tau).sum(axis=0)
    eligible = n > 0 if base.config.prefilter or base.config.method == "lape" else None
    size = min(
        round(base.config.rate * len(n)), len(n) if eligible is None else int(eligible.sum())
    )
    selected = lowest(scores.at(base.lam or 0.0), size, eligible) if size else np.zeros(0, np.intp)
    return own, _classified(counts, probability, n, selected, base.tau, base.lam)


def moved(before: Classified, after: Classified) -> NDArray[np.int64]:
    """Neurons of each class before (rows) and after (columns), [5, 5]."""
    size = len(CLASSES)
    pairs = before.kind.astype(np.int64) * size + after.kind
    return np.bincount(pairs, minlength=size * size).reshape(size, size)


def _classified(
    counts: Counts,
    probability: Floats,
    n: NDArray[np.intp],
    selected: NDArray[np.intp],
    tau: float,
    lam: float | None,
) -> Classified:
    k = len(counts.languages)
    kind = np.full(len(n), len(KINDS), dtype=np.int8)
    kind[selected] = _by_n(k)[n[selected]]
    kind[n == k] = KINDS.index("general")
    member = [(probability[:, kind == code] > tau).sum(axis=1) for code in (0, 1)]
    sizes = [math.prod(width) for width in counts.widths]
    among, everywhere = (np.bincount(x, minlength=k + 1) for x in (n[selected], n))
    return Classified(kind, _numbers(kind, sizes, tau, lam, member, among, everywhere))


def _numbers(
    kind: NDArray[np.int8],
    sizes: Sequence[int],
    tau: float | None,
    lam: float | None,
    member: list[NDArray[np.integer]],
    among: NDArray[np.integer],
    everywhere: NDArray[np.number],
) -> Numbers:
    ends = np.cumsum(sizes)
    layers = [
        np.bincount(
            np.searchsorted(ends, np.flatnonzero(kind == code), side="right"), minlength=len(sizes)
        )
        for code in range(len(KINDS))
    ]
    thresholds = (math.nan if x is None else x for x in (tau, lam))
    arrays = (*thresholds, np.stack(layers), np.stack(member), among, everywhere)
    return Numbers(*(np.asarray(array, dtype=np.float64) for array in arrays))


def _by_n(languages: int) -> NDArray[np.int8]:
    """Class of a selected neuron by its N."""
    names = ("none", "specific", *["related"] * (languages - 2), "general")
    return np.array([KINDS.index(name) for name in names], dtype=np.int8)
