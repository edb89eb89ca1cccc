"""Tries: neurons silenced one by one, on part of the texts: which, and what texts then cost."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons import layout
from langneurons.config import AttributeConfig
from langneurons.effects.first_order import BEGINNING, TEXT, FirstOrder
from langneurons.effects.passes import Unit, halves
from langneurons.effects.scaling import costs_without
from langneurons.intervals import Floats
from langneurons.layout import Shapes
from langneurons.model.batches import batched
from langneurons.model.scored import Scored, shares
from langneurons.neurons.effects import Tried, Where
from langneurons.neurons.numbers import KINDS
from langneurons.neurons.sets import select
from langneurons.neurons.table import Neurons
from langneurons.resume import or_halves
from langneurons.texts.responses import Response

SINKS = 5
"""Neurons of the largest effects at the beginning that are tried, at most."""


class Try(NamedTuple):
    """A neuron to silence.

    Attributes:
        position: among all M.
        group: why it is tried.
        where: at which positions it is silenced.
        estimate: what first order says, in nats over the tokens of each language, [K].
    """

    position: int
    group: str
    where: Where
    estimate: Floats


def sample(work: Scored, texts: Sequence[Response], tokens: int, budget: int) -> Scored:
    """Part of the texts: in each language the first of them, by a hash of their questions' ids.

    Until they have their share of so many scored tokens.
    """
    batches = work.batches
    share = tokens / len(batches.languages)
    order = sorted(range(len(texts)), key=lambda i: (zlib.crc32(texts[i].question_id.encode()), i))
    taken = dict.fromkeys(batches.languages, 0)
    chosen = []
    for i in order:
        if taken[texts[i].lang] < share:
            taken[texts[i].lang] += int(batches.rows[i].tokens.counted.sum())
            chosen.append(i)
    return replace(
        work,
        batches=batched(
            [texts[i] for i in chosen],
            [batches.rows[i].tokens for i in chosen],
            batches.languages,
            blocks=batches.blocks,
            budget=budget,
        ),
        targets=[work.targets[i] for i in chosen],
    )


def tries(work: Scored, neurons: Neurons | None, config: AttributeConfig) -> list[Try]:
    """Neurons to silence on these texts: those of the largest effects there, random ones, sinks.

    Args:
        work: the texts.
        neurons: classified neurons; of each of their kinds as many are drawn.
        config: how many of each group, and at which positions they are silenced; sinks both at
            text and at all.

    Returns:
        Those at text first, then those at all positions.
    """
    number, where = config.exact, config.where
    sums = FirstOrder(work)
    for unit in sums.units(0, 1):
        or_halves(sums.run, unit, halves)
    effects = _by_language(sums)
    tokens = sums.tokens.reshape(len(work.batches.languages), -1).sum(axis=1)
    at: dict[Where, Floats] = {"text": effects[TEXT], "all": effects.sum(axis=0)}
    shapes = [site.shape for site in work.sites]
    groups = {"top": _largest(at[where] / tokens[:, None], number)}
    groups |= _drawn(neurons, shapes, number, config.seed)
    wanted = [(group, where, chosen) for group, chosen in groups.items()]
    sinks = _largest(effects[BEGINNING] / tokens[:, None], min(SINKS, number))
    wanted += [("sink", "text", sinks), ("sink", "all", sinks)]
    wanted.sort(key=lambda one: one[1] == "all")
    return [
        Try(int(position), group, positions, at[positions][:, position])
        for group, positions, chosen in wanted
        for position in chosen
    ]


class Trying:
    """Neurons silenced one by one: what texts cost meanwhile, in the making.

    Attributes:
        costs: of each language with nothing and with each neuron silenced, [1 + n, K].
    """

    def __init__(self, work: Scored, tries: Sequence[Try], budget: int) -> None:
        """Start from zero.

        Args:
            work: the texts.
            tries: the neurons, those at text first.
            budget: tokens that run side by side.
        """
        self.work, self.tries, self.budget = work, tries, budget
        self.costs = np.zeros((1 + len(tries), len(work.batches.languages)))

    def units(self, rank: int, world: int) -> list[Unit]:
        """What there is to run in this of so many processes, in order; try 0 is nothing."""
        mine = self.work.batches.share(rank, world)
        at_text = 1 + sum(one.where == "text" for one in self.tries)
        units = []
        for batch in mine.batches:
            cost = mine.computed(batch)
            for start, end in ((0, at_text), (at_text, len(self.costs))):
                units += [
                    Unit(batch, cost * (last - first), start + first, start + last)
                    for first, last in shares(end - start, self.budget // cost)
                ]
        return units

    def run(self, unit: Unit) -> None:
        """Run a batch with some of the neurons silenced, and add what its texts cost."""
        nothing = np.zeros(0, np.int64)
        chosen = [
            np.array([self.tries[i - 1].position]) if i else nothing
            for i in range(unit.start, unit.end)
        ]
        everywhere = unit.start > 0 and self.tries[unit.start - 1].where == "all"
        costs = costs_without(self.work, unit.batch, chosen, everywhere=everywhere)
        batches = self.work.batches
        language = [batches.rows[i].key // batches.blocks for i in unit.batch.rows]
        for row, of_one in enumerate(costs, start=unit.start):
            np.add.at(self.costs[row], language, of_one)

    def tensors(self) -> dict[str, NDArray]:
        """Everything summed up so far, by name."""
        return {"costs": self.costs}

    def load(self, sums: Mapping[str, NDArray]) -> None:
        """Go on from what `tensors` gave."""
        self.costs = sums["costs"].copy()

    def tried(self) -> Tried:
        """What was measured."""
        batches = self.work.batches
        tokens = batches.counted().reshape(len(batches.languages), -1).sum(axis=1)
        return Tried(
            positions=np.array([one.position for one in self.tries]),
            groups=tuple(one.group for one in self.tries),
            where=tuple(one.where for one in self.tries),
            estimate=np.array([one.estimate for one in self.tries]),
            exact=self.costs[1:] - self.costs[0],
            tokens=tokens,
        )


def _by_language(sums: FirstOrder) -> Floats:
    """Effects summed over blocks, text and beginning, [2, K, M]."""
    languages = len(sums.work.batches.languages)
    blocks = sums.work.batches.blocks
    layers = [layer.reshape(2, languages, blocks, -1).sum(axis=2) for layer in sums.layers()]
    return np.concatenate(layers, axis=2)


def _largest(effects: Floats, number: int) -> NDArray[np.int64]:
    """The neurons of the largest effect, up or down, on any language; ascending."""
    most = np.abs(effects).max(axis=0)
    return np.sort(np.argsort(-most, kind="stable")[:number])


def _drawn(
    neurons: Neurons | None, shapes: Shapes, number: int, seed: int
) -> dict[str, NDArray[np.int64]]:
    """Neurons drawn at random among all, and among those of each kind."""
    whole = np.arange(int(layout.sizes(shapes).sum()))
    pools = {"random": whole}
    if neurons is not None:
        pools |= {kind: select(neurons, shapes, (kind,)) for kind in KINDS}
    drawn = {}
    for group, pool in pools.items():
        rng = np.random.default_rng([seed, zlib.crc32(group.encode())])
        if len(pool):
            drawn[group] = np.sort(rng.choice(pool, min(number, len(pool)), replace=False))
    return drawn
