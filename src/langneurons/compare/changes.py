"""Changes: what an alignment (or another domain) did to the neurons of a model, with intervals.

Two classifications of the same neurons are held against each other: how many of each kind, per
layer, per language and per N, and what became of each neuron. The paper's changes (Fig. 4, 5, 11 to
14, Table 2) are all differences of these.

Thresholds are a choice. With its `own`, each model is classified by its own tau and lambda, as the
paper does. General neurons fill a third of the highest probabilities, so tau moves with alignment
and carries every other class along. With the `base's`, what comes after is classified by the
method, rate, tau and lambda of what came before: then a change is one of the activations alone.
Both are given.

Letters: K language, L layer, G block, R resampling.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons import layout
from langneurons.config import IdentifyConfig
from langneurons.errors import InputError, MismatchError
from langneurons.intervals import Estimate, Floats, block_draws, estimate
from langneurons.layout import Widths
from langneurons.neurons.classes import (
    CLASSES,
    Classified,
    Thresholds,
    classify,
    listed,
    moved,
    shared,
)
from langneurons.neurons.counts import Counts
from langneurons.neurons.numbers import KINDS, Numbers, stacked
from langneurons.neurons.table import Neurons
from langneurons.resume import Progress

Choice = Literal["own", "base's"]
"""Whose thresholds classify what comes after."""


class Source(NamedTuple):
    """What neurons were identified from, and with which settings."""

    counts: Counts
    config: IdentifyConfig


class Side(NamedTuple):
    """One classification, before or after.

    Attributes:
        name: what it is called in tables.
        neurons: the classified neurons.
        source: what they were identified from; without it there are no intervals and no base's
            thresholds.
    """

    name: str
    neurons: Neurons
    source: Source | None = None


class Resampled(NamedTuple):
    """Changes in R resamplings of the blocks.

    Attributes:
        before: numbers before, every array [R, ...].
        after: numbers after.
        transitions: neurons of each class before (rows) and after (columns), [R, 5, 5].
        by_chance: the same from before to before resampled: what resampling alone moves, [R, 5, 5].
        shared: neurons of each of `classes.SETS` and language before and after, [R, 3, K].
        shared_by_chance: the same of before and before resampled, [R, 3, K].
        failed: resamplings left out, because one of the two allows no lambda or a language has no
            token.
        paired: whether both sides took the same blocks in each resampling.
    """

    before: Numbers
    after: Numbers
    transitions: NDArray[np.int64]
    by_chance: NDArray[np.int64]
    shared: NDArray[np.int64]
    shared_by_chance: NDArray[np.int64]
    failed: int
    paired: bool


class Changes(NamedTuple):
    """Before against after, at one choice of thresholds.

    Attributes:
        name: what is after.
        thresholds: `own` or `base's`.
        languages: the K codes.
        before: numbers before.
        after: numbers after.
        transitions: neurons of each class before (rows) and after (columns), [5, 5]; classes as in
            `CLASSES`.
        shared: neurons of each of `classes.SETS` and language that are of it before and after, [3,
            K].
        resampled: the same in resamplings; None with one block, or without counts.
        least_general: lowest N of a general neuron before; K by default.
    """

    name: str
    thresholds: Choice
    languages: tuple[str, ...]
    before: Numbers
    after: Numbers
    transitions: NDArray[np.int64]
    shared: NDArray[np.int64]
    resampled: Resampled | None = None
    least_general: int | None = None

    def of(self, what: Callable[[Numbers], Floats]) -> Estimate:
        """The change of what is taken from the numbers, after minus before, with its interval.

        Args:
            what: takes numbers, those of resamplings too: index from the end, as in
                `numbers.layers[..., 0, :]`.
        """
        change = what(self.after) - what(self.before)
        if self.resampled is None:
            return estimate(change)
        return estimate(change, what(self.resampled.after) - what(self.resampled.before))

    def ratio(self, kind: str) -> Estimate:
        """Neurons that are of this kind before and after / those before, with its interval.

        Table 4 of the paper; NaN when none was.
        """
        ratio = _stay(self.transitions, kind)
        if self.resampled is None:
            return estimate(ratio)
        return estimate(ratio, _stay(self.resampled.transitions, kind))

    def ratio_by_chance(self, kind: str) -> float:
        """Mean of the same ratio between before and its own resamplings: what sampling leaves."""
        if self.resampled is None or np.isnan(_stay(self.transitions, kind)):
            return math.nan
        return float(np.mean(_stay(self.resampled.by_chance, kind)))

    def survival(self) -> Estimate:
        """Share of each of `classes.SETS` and language before that is of it after, [3, K].

        With intervals; NaN where there was none.
        """
        share = _share(self.shared, set_sizes(self.before))
        if self.resampled is None:
            return estimate(share)
        return estimate(share, _share(self.resampled.shared, set_sizes(self.resampled.before)))

    def survival_by_chance(self) -> Floats:
        """Mean of the same share between before and its own resamplings, [3, K]."""
        sizes = set_sizes(self.before)
        if self.resampled is None:
            return np.full(sizes.shape, math.nan)
        return _share(self.resampled.shared_by_chance, sizes).mean(axis=0)


def set_sizes(numbers: Numbers) -> Floats:
    """Neurons of each of `classes.SETS` and language, [..., 3, K]."""
    of_kind = numbers.languages
    return np.concatenate([of_kind, of_kind.sum(axis=-2, keepdims=True)], axis=-2)


def total(kind: str) -> Callable[[Numbers], Floats]:
    """Takes the neurons of a kind, over all layers."""
    return lambda numbers: numbers.of_kind(kind).value


def mean_of(
    kind: str, languages: Sequence[str], chosen: Sequence[str]
) -> Callable[[Numbers], Floats]:
    """Takes the mean over the chosen of the languages of their specific or related neurons.

    Table 2 of the paper.
    """
    columns = [languages.index(code) for code in chosen]
    return lambda numbers: numbers.languages[..., KINDS.index(kind), columns].mean(axis=-1)


def contrast(
    before: Side,
    after: Sequence[Side],
    *,
    resamplings: int = 200,
    seed: int = 0,
    paired: bool = True,
    on_step: Progress | None = None,
) -> list[tuple[Changes, ...]]:
    """What changed from `before` to each of `after`, by own thresholds and by the base's.

    The base's thresholds need what both sides were identified from.

    A resampling draws G of the G blocks of questions with replacement, the same for every language
    and every side, and classifies each side anew, from tau on. So what questions have in common
    cancels out of a change. Sides whose blocks are others (another number of blocks, another rule)
    draw their own.

    Args:
        before: the base.
        after: one or several others: checkpoints, domains.
        resamplings: how many; 0 for none.
        seed: which.
        paired: False where the questions are others, so that equal block numbers mean nothing.
        on_step: called with (done, all) after each resampling of each side.

    Raises:
        MismatchError: when widths or languages differ.
        InputError: when neither side knows the model's layer widths, or no resampling allows a
            lambda.
    """
    sides = [_in_order(before, side) for side in after]
    widths = [_widths(before, side) for side in sides]
    steps = (1 + len(sides)) * resamplings

    def progress(side: int) -> Progress:
        return lambda done, _: on_step(side * resamplings + done, steps) if on_step else None

    base = None
    if resamplings and (source := _with_blocks(before)):
        draws = block_draws(source.counts.blocks, resamplings, seed)
        outcomes = _resample(source, draws, [None] * resamplings, progress(0))
        base = _Base(source, draws, [outcome[0] if outcome else None for outcome in outcomes])
    found = []
    for number, (side, width) in enumerate(zip(sides, widths, strict=True), start=1):
        was = listed(before.neurons, width)
        resampled: Mapping[Choice, Resampled] = {}
        if base and (source := _with_blocks(side)):
            same = paired and _blocks(source) == _blocks(base.source)
            own = block_draws(source.counts.blocks, resamplings, seed + number)
            draws = base.draws if same else own
            outcomes = _resample(source, draws, base.thresholds, progress(number))
            names = f"{before.name} and {side.name}"
            resampled = _together(was, base.classes, outcomes, names, paired=same)
        found.append(_changes(before, side, was, width, resampled))
    return found


class _Base(NamedTuple):
    """What came of resampling the side before.

    Attributes:
        source: what it was identified from.
        draws: how often each block is taken in each resampling, [R, G].
        classes: of every neuron in each resampling; None where there is no lambda.
    """

    source: Source
    draws: NDArray[np.int64]
    classes: list[Classified | None]

    @property
    def thresholds(self) -> list[Thresholds | None]:
        """The thresholds of each resampling."""
        thresholds = []
        for classified in self.classes:
            if classified is None:
                thresholds.append(None)
                continue
            lam = float(classified.numbers.lam)
            tau = float(classified.numbers.tau)
            thresholds.append(Thresholds(self.source.config, tau, None if math.isnan(lam) else lam))
        return thresholds


def _changes(
    before: Side,
    side: Side,
    was: Classified,
    widths: Widths,
    resampled: Mapping[Choice, Resampled],
) -> tuple[Changes, ...]:
    """What changed to one side, by each choice of thresholds that can be made."""
    now: dict[Choice, Classified] = {"own": listed(side.neurons, widths)}
    rule = before.neurons.rule
    if side.source and before.source and rule.tau is not None:
        lam = rule.lam.value if rule.lam else None
        thresholds = Thresholds(before.source.config, rule.tau, lam)
        _, now["base's"] = classify(*side.source, None, thresholds)
    return tuple(
        Changes(
            name=side.name,
            thresholds=choice,
            languages=before.neurons.languages,
            before=was.numbers,
            after=classified.numbers,
            transitions=moved(was, classified),
            shared=shared(was, classified),
            resampled=resampled.get(choice),
            least_general=before.neurons.least_general,
        )
        for choice, classified in now.items()
    )


def _in_order(before: Side, side: Side) -> Side:
    """The side with its languages in the order of those before."""
    neurons, languages = side.neurons, before.neurons.languages
    if set(neurons.languages) != set(languages):
        raise MismatchError(
            f"changes need the same languages: {','.join(languages)} in {before.name}, "
            f"{','.join(neurons.languages)} in {side.name}"
        )
    columns = [neurons.languages.index(code) for code in languages]
    turned = replace(
        neurons,
        languages=languages,
        member=neurons.member[:, columns],
        probability=neurons.probability[:, columns],
    )
    source = side.source
    if source:
        source = source._replace(counts=source.counts.spread(languages))
    return Side(side.name, turned, source)


def _widths(before: Side, after: Side) -> Widths:
    """The model's layer widths, which one side may not know."""
    one, other = before.neurons.widths, after.neurons.widths
    if one and other and one != other:
        raise MismatchError(
            f"these neurons are of two different models: layers {layout.describe(one)} in "
            f"{before.name}, {layout.describe(other)} in {after.name}"
        )
    widths = one or other
    if not widths:
        raise InputError(
            "neither table knows how wide the model's layers are; import one of them with --width"
        )
    return widths


def _with_blocks(side: Side) -> Source | None:
    """What a side can be resampled from: counts of more than one block; None without."""
    return side.source if side.source and side.source.counts.blocks > 1 else None


def _blocks(source: Source) -> tuple[int, str]:
    return source.counts.blocks, source.counts.block_rule


def _resample(
    source: Source,
    draws: NDArray[np.int64],
    thresholds: Sequence[Thresholds | None],
    on_step: Progress,
) -> list[tuple[Classified, ...] | None]:
    """The classes in each resampling, by own thresholds and by those given for it.

    None where there is no lambda.
    """

    def resample(
        weights: NDArray[np.int64], base: Thresholds | None
    ) -> tuple[Classified, ...] | None:
        try:
            return classify(*source, weights, base)
        except InputError:
            return None

    outcomes = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, outcome in enumerate(pool.map(resample, draws, thresholds), start=1):
            outcomes.append(outcome)
            on_step(done, len(draws))
    return outcomes


def _together(
    was: Classified,
    before: Sequence[Classified | None],
    after: Sequence[tuple[Classified, ...] | None],
    names: str,
    *,
    paired: bool,
) -> dict[Choice, Resampled]:
    """The resamplings that both sides allow, by own thresholds and by the base's.

    Args:
        was: the classes before, as observed.
        before: those in each resampling.
        after: those after in each resampling, by own thresholds and by the base's.
        names: what the two sides are called.
        paired: whether both took the same blocks.
    """
    allowed = [
        (first, second)
        for first, second in zip(before, after, strict=True)
        if first is not None and second is not None
    ]
    if not allowed:
        raise InputError(
            f"none of {len(before)} resamplings of the blocks allows a lambda or has tokens in "
            f"every language, in {names}; use --bootstrap 0"
        )
    numbers_before = stacked([first.numbers for first, _ in allowed])
    by_chance = np.stack([moved(was, first) for first, _ in allowed])
    shared_by_chance = np.stack([shared(was, first) for first, _ in allowed])

    def of(place: int) -> Resampled:
        return Resampled(
            before=numbers_before,
            after=stacked([second[place].numbers for _, second in allowed]),
            transitions=np.stack([moved(first, second[place]) for first, second in allowed]),
            by_chance=by_chance,
            shared=np.stack([shared(first, second[place]) for first, second in allowed]),
            shared_by_chance=shared_by_chance,
            failed=len(before) - len(allowed),
            paired=paired,
        )

    return {"own": of(0), "base's": of(1)}


def _share(part: NDArray[np.number], whole: NDArray[np.number]) -> Floats:
    """Shares; NaN of nothing."""
    unknown = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    return np.divide(part, whole, out=unknown, where=np.broadcast_to(whole > 0, unknown.shape))


def _stay(transitions: NDArray[np.int64], kind: str) -> Floats:
    """Share of a kind's neurons that stay of it, [...]; NaN where there are none."""
    place = CLASSES.index(kind)
    return _share(transitions[..., place, place], transitions[..., place, :].sum(axis=-1))
