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
from langneurons.neurons.numbers import (
    KINDS,
    LANGUAGE_KINDS,
    Numbers,
    count,
    kind_codes,
    least_general,
)
from langneurons.neurons.selection import Found, find, lowest, score
from langneurons.neurons.table import Neurons

CLASSES = (*KINDS, "not listed")
"""What a neuron can be; `not listed`: neither selected nor general."""


class Classified(NamedTuple):
    """What every neuron is.

    Attributes:
        kind: position in `CLASSES`, [M].
        numbers: how many of each sort.
        rows: positions of the specific and related ones, ascending, [n].
        member: in which languages each of these is highly active, [n, K].
    """

    kind: NDArray[np.int8]
    numbers: Numbers
    rows: NDArray[np.int64]
    member: NDArray[np.bool_]


class Thresholds(NamedTuple):
    """Thresholds that were found on one model, to classify another by.

    Attributes:
        config: method, rate, filter and share of a general neuron.
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
    kind[positions] = kind_codes(neurons.n_languages, len(neurons.languages), neurons.least_general)
    order = np.argsort(positions)
    return _with_members(kind, known.numbers, positions[order], neurons.member[order])


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
    own = _own(probability, counts.widths, found)
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
    by_base = _classified(
        counts.widths,
        probability,
        n,
        selected,
        tau=base.tau,
        lam=base.lam,
        least=least_general(len(probability), base.config.general),
    )
    return own, by_base


def classified(probability: Floats, widths: Widths, config: IdentifyConfig) -> Classified:
    """The classes by own thresholds, from activation probabilities [K, M].

    Raises:
        InputError: see `selection.find`.
    """
    return _own(probability, widths, find(probability, widths, config))


def moved(before: Classified, after: Classified) -> NDArray[np.int64]:
    """Neurons of each class before (rows) and after (columns), [5, 5]."""
    return moves(before.kind, after.kind)


def moves(before: NDArray[np.int8], after: NDArray[np.int8]) -> NDArray[np.int64]:
    """The same from what each neuron is: its place in `CLASSES`, [M]."""
    size = len(CLASSES)
    pairs = before.astype(np.int64) * size + after
    return np.bincount(pairs, minlength=size * size).reshape(size, size)


SETS = (("specific",), ("related",), ("specific", "related"))
"""Kinds of language neurons that `shared` counts, alone and together."""


def shared(before: Classified, after: Classified) -> NDArray[np.int64]:
    """Neurons of each of `SETS` and each language that are of it before and after, [3, K]."""
    both, i, j = np.intersect1d(before.rows, after.rows, assume_unique=True, return_indices=True)
    member = before.member[i] & after.member[j]
    first, second = before.kind[both], after.kind[both]
    counts = []
    for kinds in SETS:
        codes = [CLASSES.index(kind) for kind in kinds]
        alike = np.isin(first, codes) & np.isin(second, codes)
        counts.append(member[alike].sum(axis=0))
    return np.stack(counts).astype(np.int64)


def _with_members(
    kind: NDArray[np.int8],
    numbers: Numbers,
    rows: NDArray[np.int64],
    member: NDArray[np.bool_],
) -> Classified:
    """The classes, of whose listed neurons [n] the members of the language neurons are kept."""
    of_languages = np.isin(kind[rows], [CLASSES.index(name) for name in LANGUAGE_KINDS])
    return Classified(kind, numbers, rows[of_languages], member[of_languages])


def _own(probability: Floats, widths: Widths, found: Found) -> Classified:
    """The classes that a selection with thresholds of its own gives."""
    return _classified(
        widths,
        probability,
        found.scores.n_languages,
        found.selected,
        tau=found.scores.tau,
        lam=found.lam.value if found.lam else None,
        least=found.scores.least_general,
    )


def _classified(
    widths: Widths,
    probability: Floats,
    n: NDArray[np.intp],
    selected: NDArray[np.intp],
    *,
    tau: float,
    lam: float | None,
    least: int,
) -> Classified:
    """The classes of all neurons, from N of each [M] and the positions of the selected.

    `least` is the lowest N of a general one.
    """
    languages = len(probability)
    chosen = np.zeros(len(n), dtype=bool)
    chosen[selected] = True
    rows = np.flatnonzero(chosen | (n >= least))
    kind = np.full(len(n), CLASSES.index("not listed"), dtype=np.int8)
    kind[rows] = kind_codes(n[rows], languages, least)
    member = (probability[:, rows] > tau).T
    numbers = count(
        layout.layer_of(widths, rows),
        member,
        chosen[rows],
        layers=len(widths),
        tau=tau,
        lam=lam,
        everywhere=np.bincount(n, minlength=languages + 1),
        least_general=least,
    )
    return _with_members(kind, numbers, rows, member)
