"""Paths: what sets of neurons cost when they are scaled down to zero, split over their members.

Every neuron of a set is scaled by 1 - alpha, alpha from 0 to 1. The cost of a text is a function of
alpha whose derivative is a sum over the set's members, so its integral splits what the whole set
costs over them, and the parts add up to it: integrated gradients (Sundararajan et al. 2017) with
silencing as the path. Every text goes along the path of its own language's set.

The integral is Simpson's rule on panels. What each panel must add up to is known, the cost at its
end less the cost at its beginning; a panel that misses it by more than it may is halved, so that
points gather where the cost bends: with a norm after the down projection all of it can come at the
very end of the path.

Letters: U keys (language and block) that a batch holds, C neurons of the sets of all languages
together.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons.config import AttributeConfig
from langneurons.effects.passes import BACKWARD, Unit, keyed
from langneurons.effects.scaling import Point, Positions, point
from langneurons.model.scored import Scored
from langneurons.neurons.effects import Split

FLOOR = 1e-5
"""What a panel may miss for each scored token and unit of the path, in nats: float32's rounding."""

USUAL = 9
"""About how many points a path takes, for the progress."""

NARROWEST = 2.0**-20
"""A panel as narrow is not halved any more."""


class Walked(NamedTuple):
    """What a batch's way along the path gave.

    Attributes:
        costs: what silencing costs its texts by key, measured at both ends, [U].
        split: that, split over the neurons, [U, C].
        points: forward and backward passes that it took.
    """

    costs: NDArray[np.float64]
    split: NDArray[np.float64]
    points: int


class _Panel(NamedTuple):
    """A part of the path with the points at its ends and in its middle."""

    start: float
    end: float
    first: Point
    middle: Point
    last: Point

    @property
    def costs(self) -> NDArray[np.float64]:
        """What it must add up to, [U]."""
        return self.last.costs - self.first.costs

    @property
    def split(self) -> NDArray[np.float64]:
        """Simpson's rule for each neuron, [U, C]."""
        sums = self.first.split + 4 * self.middle.split + self.last.split
        return (self.end - self.start) / 6 * sums

    @property
    def missed(self) -> float:
        """By how much the neurons' parts miss what they must add up to, over all keys."""
        return float(np.abs(self.split.sum(axis=1) - self.costs).sum())


def walked(at: Callable[[float], Point], tokens: int, *, tolerance: float, most: int) -> Walked:
    """A batch led along the path.

    Args:
        at: gives the batch with its sets scaled by a factor.
        tokens: how many of its tokens are scored.
        tolerance: share of its cost by which a panel may be missed.
        most: points after which no panel is halved any more.
    """
    first, last = at(1.0), at(0.0)
    whole = float(np.abs(last.costs - first.costs).sum())
    middle = at(0.5)
    points = 5
    ahead = [
        _Panel(0.5, 1.0, middle, at(0.25), last),
        _Panel(0.0, 0.5, first, at(0.75), middle),
    ]
    split = np.zeros_like(first.split)
    while ahead:
        panel = ahead.pop()
        width = panel.end - panel.start
        allowed = tolerance / 2 * max(float(np.abs(panel.costs).sum()), width * whole)
        near = panel.missed <= allowed + FLOOR * tokens * width
        if near or width <= NARROWEST or points + 2 > most:
            split += panel.split
            continue
        half = (panel.start + panel.end) / 2
        left, right = (1 - (panel.start + half) / 2, 1 - (half + panel.end) / 2)
        ahead.append(_Panel(half, panel.end, panel.middle, at(right), panel.last))
        ahead.append(_Panel(panel.start, half, panel.first, at(left), panel.middle))
        points += 2
    return Walked(costs=last.costs - first.costs, split=split, points=points)


class Paths:
    """The sets of one setting on their way: what they cost and its split, in the making.

    Attributes:
        name: of the setting.
        costs: what silencing costs, [K * G].
        split: that, split over the neurons, [K * G, C].
        points: forward and backward passes so far, and batches, [2].
    """

    def __init__(
        self, work: Scored, setting: str, sets: Sequence[Positions], config: AttributeConfig
    ) -> None:
        """Start from zero.

        Args:
            work: the texts.
            setting: name of the setting.
            sets: the set of each language.
            config: settings.
        """
        self.work, self.name, self.sets, self.config = work, setting, sets, config
        self.columns = np.unique(np.concatenate(sets))
        keys = len(sets) * work.batches.blocks
        self.costs = np.zeros(keys)
        self.split = np.zeros((keys, len(self.columns)))
        self.points = np.zeros(2, np.int64)

    def units(self, rank: int, world: int) -> list[Unit]:
        """What there is to run in this of so many processes, in order."""
        mine = self.work.batches.share(rank, world)
        return [Unit(batch, USUAL * BACKWARD * mine.computed(batch)) for batch in mine.batches]

    def run(self, unit: Unit) -> None:
        """Lead a batch along the path and add what that gives."""
        place = keyed(self.work, unit.batch)
        everywhere = self.config.where == "all"
        rows = (self.work.batches.rows[i] for i in unit.batch.rows)
        way = walked(
            lambda factor: point(self.work, place, self.sets, factor, everywhere=everywhere),
            sum(int(row.tokens.counted.sum()) for row in rows),
            tolerance=self.config.tolerance,
            most=self.config.points,
        )
        self.costs[place.keys] += way.costs
        self.split[place.keys] += way.split
        self.points += (way.points, 1)

    def tensors(self) -> dict[str, NDArray]:
        """Everything summed up so far, by name."""
        return {"costs": self.costs, "split": self.split, "points": self.points}

    def load(self, sums: Mapping[str, NDArray]) -> None:
        """Go on from what `tensors` gave."""
        self.costs, self.split, self.points = (
            sums[name].copy() for name in ("costs", "split", "points")
        )

    def passes(self) -> float:
        """Forward and backward passes for each batch, on average."""
        return round(float(self.points[0] / self.points[1]), 1)

    def splits(self) -> list[Split]:
        """What was summed up, for each language that has a set."""
        batches = self.work.batches
        tokens = batches.counted()
        splits = []
        for k, (code, mine) in enumerate(zip(batches.languages, self.sets, strict=True)):
            keys = slice(k * batches.blocks, (k + 1) * batches.blocks)
            columns = np.searchsorted(self.columns, mine)
            if len(mine):
                splits.append(
                    Split(
                        setting=self.name,
                        language=code,
                        positions=mine,
                        effects=self.split[keys, columns].T.copy(),
                        costs=self.costs[keys].copy(),
                        tokens=tokens[keys],
                    )
                )
        return splits
