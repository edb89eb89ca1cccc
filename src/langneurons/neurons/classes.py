"""Classes: what every neuron of a model is, by the model's own thresholds or by given ones.

Letters: K language, M neuron of the whole model.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons import layout
from langneurons.config import IdentifyConfig
from langneurons.intervals import Floats
from langneurons.layout import Widths
from langneurons.neurons.counts import Counts
from langneurons.neurons.numbers import KINDS, Numbers, count, kind_codes
from langneurons.neurons.selection import find, lowest, score
from langneurons.neurons.table import Neurons

CLASSES = (*KINDS, "not listed")
"""What a neuron can be; `not listed`: neither selected nor general."""


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
    known = replace(neurons, widths=widths)
    kind = np.full(layout.sizes(widths).sum(), CLASSES.index("not listed"), dtype=np.int8)
    positions = layout.positions(widths, neurons.keys)
    kind[positions] = kind_codes(neurons.n_languages, len(neurons.languages))
    return Classified(kind, known.numbers)


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
        InputError: see `selection.find`.
    """
    probability = counts.probability(weights, per=config.per)
    found = find(probability, counts.widths, config)
    scores = found.scores
    lam = found.lam.value if found.lam else None
    own = _classified(
        counts.widths, probability, scores.n_languages, found.selected, tau=scores.tau, lam=lam
    )
    if base is None:
        return (own,)
    if base.config.per != config.per:
        probability = counts.probability(weights, per=base.config.per)
        scores = score(probability, base.config)
    n = (probability > base.tau).sum(axis=0)
    filtered = base.config.prefilter or base.config.method == "lape"
    eligible = n > 0 if filtered else None
    allowed = len(n) if eligible is None else int(eligible.sum())
    size = min(round(base.config.rate * len(n)), allowed)
    selected = lowest(scores.at(base.lam or 0.0), size, eligible) if size else np.zeros(0, np.intp)
    by_base = _classified(counts.widths, probability, n, selected, tau=base.tau, lam=base.lam)
    return own, by_base


def moved(before: Classified, after: Classified) -> NDArray[np.int64]:
    """Neurons of each class before (rows) and after (columns), [5, 5]."""
    size = len(CLASSES)
    pairs = before.kind.astype(np.int64) * size + after.kind
    return np.bincount(pairs, minlength=size * size).reshape(size, size)


def _classified(
    widths: Widths,
    probability: Floats,
    n: NDArray[np.intp],
    selected: NDArray[np.intp],
    *,
    tau: float,
    lam: float | None,
) -> Classified:
    """The classes of all neurons, from N of each [M] and the positions of the selected."""
    languages = len(probability)
    chosen = np.zeros(len(n), dtype=bool)
    chosen[selected] = True
    rows = np.flatnonzero(chosen | (n == languages))
    kind = np.full(len(n), CLASSES.index("not listed"), dtype=np.int8)
    kind[rows] = kind_codes(n[rows], languages)
    numbers = count(
        layout.layer_of(widths, rows),
        (probability[:, rows] > tau).T,
        chosen[rows],
        layers=len(widths),
        tau=tau,
        lam=lam,
        everywhere=np.bincount(n, minlength=languages + 1),
    )
    return Classified(kind, numbers)
