"""Changes: what an alignment (or another domain) did to the neurons of a model, with intervals paired over blocks.

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
from collections.abc import Callable, Sequence
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
)
from langneurons.neurons.counts import Counts
from langneurons.neurons.numbers import KINDS, Numbers, stacked
from langneurons.neurons.table import Neurons

Step = Callable[[int, int], None]


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
        again: the same from before to before resampled: what resampling alone moves, [R, 5, 5].
        failed: resamplings left out, because one of the two allows no lambda or a language has no
            token.
        paired: whether both sides took the same blocks in each resampling.
    """

    before: Numbers
    after: Numbers
    transitions: NDArray[np.int64]
    again: NDArray[np.int64]
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
        resampled: the same in resamplings; None with one block, or without counts.
    """

    name: str
    thresholds: Literal["own", "base's"]
    languages: tuple[str, ...]
    before: Numbers
    after: Numbers
    transitions: NDArray[np.int64]
    resampled: Resampled | None = None

    def of(self, what: Callable[[Numbers], Floats]) -> Estimate:
        """The change of what is taken from the numbers, after minus before, with its interval.

        Args:
            what: takes numbers, those of resamplings too: index from the end, as in
                `numbers.layers[..., 0, :]`.
        """
        r = self.resampled
        return estimate(
            what(self.after) - what(self.before),
            None if r is None else what(r.after) - what(r.before),
        )

    def first(self, what: Callable[[Numbers], Floats]) -> Estimate:
        """What is taken from the numbers before, with its interval."""
        return estimate(
            what(self.before), None if self.resampled is None else what(self.resampled.before)
        )

    def ratio(self, kind: str) -> Estimate:
        """Neurons that are of this kind before and after / those before (Table 4 of the paper); NaN when none was."""
        r = self.resampled
        return estimate(
            _stay(self.transitions, kind), None if r is None else _stay(r.transitions, kind)
        )

    def again(self, kind: str) -> float:
        """Mean of the same ratio between before and its own resamplings: what sampling alone leaves of it."""
        if self.resampled is None or np.isnan(_stay(self.transitions, kind)):
            return math.nan
        return float(np.mean(_stay(self.resampled.again, kind)))


def total(kind: str) -> Callable[[Numbers], Floats]:
    """Takes the neurons of a kind, over all layers."""
    return lambda numbers: numbers.of_kind(kind).value


def mean_of(
    kind: str, languages: Sequence[str], chosen: Sequence[str]
) -> Callable[[Numbers], Floats]:
    """Takes the mean over the chosen of the languages of their specific or related neurons (Table 2)."""
    at = [languages.index(code) for code in chosen]
    return lambda numbers: numbers.languages[..., KINDS.index(kind), at].mean(axis=-1)


def contrast(
    before: Side,
    after: Sequence[Side],
    *,
    resamplings: int = 200,
    seed: int = 0,
    paired: bool = True,
    on_step: Step | None = None,
) -> list[tuple[Changes, ...]]:
    """What changed from `before` to each of `after`, with own thresholds, and with the base's where there are counts.

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
    draws, firsts = None, []
    steps = (1 + len(sides)) * resamplings

    def told(start: int) -> Step:
        return lambda done, _: on_step(start + done, steps) if on_step else None

    if resamplings and before.source and before.source.counts.blocks > 1:
        draws = block_draws(before.source.counts.blocks, resamplings, seed)
        firsts = _resample(before.source, draws, [None] * resamplings, told(0))
    out = []
    for i, (side, width) in enumerate(zip(sides, widths, strict=True)):
        was = listed(before.neurons, width)
        rule = before.neurons.rule
        nows = [listed(side.neurons, width)]
        if side.source and before.source and rule.tau is not None:
            base = Thresholds(before.source.config, rule.tau, rule.lam.value if rule.lam else None)
            nows.append(classify(*side.source, None, base)[1])
        resampled: list[Resampled | None] = [None] * len(nows)
        if draws is not None and before.source and side.source and side.source.counts.blocks > 1:
            same = paired and _blocks(side.source) == _blocks(before.source)
            blocks = side.source.counts.blocks
            own = draws if same else block_draws(blocks, resamplings, seed + 1 + i)
            bases = [
                _thresholds(before.source.config, first[0].numbers) if first else None
                for first in firsts
            ]
            found = _resample(side.source, own, bases, told((i + 1) * resamplings))
            resampled = _together(was, firsts, found, f"{before.name} and {side.name}", same=same)
        names: tuple[Literal["own", "base's"], ...] = ("own", "base's")
        out.append(
            tuple(
                Changes(
                    side.name,
                    name,
                    before.neurons.languages,
                    was.numbers,
                    now.numbers,
                    moved(was, now),
                    again,
                )
                for name, now, again in zip(names, nows, resampled, strict=False)
            )
        )
    return out


def _in_order(before: Side, side: Side) -> Side:
    """The side with its languages in the order of those before."""
    languages, mine = before.neurons.languages, side.neurons.languages
    if set(mine) != set(languages):
        raise MismatchError(
            f"changes need the same languages: {','.join(languages)} in {before.name}, {','.join(mine)} in {side.name}"
        )
    at, n, source = [mine.index(code) for code in languages], side.neurons, side.source
    turned = replace(
        n, languages=languages, member=n.member[:, at], probability=n.probability[:, at]
    )
    return Side(
        side.name, turned, source and source._replace(counts=source.counts.spread(languages))
    )


def _widths(before: Side, after: Side) -> Widths:
    a, b = before.neurons.widths, after.neurons.widths
    if a and b and a != b:
        raise MismatchError(
            f"these neurons are of two different models: layers {layout.describe(a)} in {before.name}, "
            f"{layout.describe(b)} in {after.name}"
        )
    if not (a or b):
        raise InputError(
            "neither table knows how wide the model's layers are; import one of them with --width"
        )
    return a or b or ()


def _blocks(source: Source) -> tuple[int, str]:
    return source.counts.blocks, source.counts.block_rule


def _thresholds(config: IdentifyConfig, numbers: Numbers) -> Thresholds:
    lam = float(numbers.lam)
    return Thresholds(config, float(numbers.tau), None if math.isnan(lam) else lam)


def _resample(
    source: Source, draws: NDArray[np.int64], bases: Sequence[Thresholds | None], on_step: Step
) -> list[tuple[Classified, ...] | None]:
    """The classes in each resampling, by own thresholds and by those given for it; None where there is no lambda."""

    def one(weights: NDArray[np.int64], base: Thresholds | None) -> tuple[Classified, ...] | None:
        try:
            return classify(*source, weights, base)
        except InputError:
            return None

    out = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, result in enumerate(pool.map(one, draws, bases), start=1):
            out.append(result)
            on_step(done, len(draws))
    return out


def _together(
    was: Classified,
    firsts: Sequence[tuple[Classified, ...] | None],
    seconds: Sequence[tuple[Classified, ...] | None],
    names: str,
    *,
    same: bool,
) -> list[Resampled | None]:
    """The resamplings that both sides allow, by own thresholds and by the base's."""
    good = [(a[0], b) for a, b in zip(firsts, seconds, strict=True) if a and b]
    if not good:
        raise InputError(
            f"none of {len(firsts)} resamplings of the blocks allows a lambda or has tokens in every language, in "
            f"{names}; use --bootstrap 0"
        )
    before = stacked([a.numbers for a, _ in good])
    again = np.stack([moved(was, a) for a, _ in good])
    return [
        Resampled(
            before,
            stacked([b[j].numbers for _, b in good]),
            np.stack([moved(a, b[j]) for a, b in good]),
            again,
            len(firsts) - len(good),
            same,
        )
        for j in range(len(good[0][1]))
    ]


def _stay(transitions: NDArray[np.int64], kind: str) -> Floats:
    """Share of a kind's neurons that stay of it, [...]."""
    at = CLASSES.index(kind)
    whole = transitions[..., at, :].sum(axis=-1)
    share = np.divide(
        transitions[..., at, at], whole, out=np.full(whole.shape, np.nan), where=whole > 0
    )
    return np.asarray(share, dtype=np.float64)
