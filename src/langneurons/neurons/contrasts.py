"""Contrasts: what differs between stages of the layers that are fixed beforehand.

The paper says of its four stages which have more of something than others. A contrast is one such
difference, with an interval over blocks and its value without each language in turn. The stages
stay those of all blocks and languages, so that no resampling chooses them anew; and that layers
can be cut into stages at all, which any smooth curve can, is no part of it. Letters: S stage, L
layer, R resampling, row 0 being what was observed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from langneurons.intervals import Estimate, Floats, Verdict, estimate, rises
from langneurons.neurons.numbers import Numbers

LANGUAGE, GENERAL = "language neurons", "general neurons"
AGREEMENT, SHARE = "agreement", "language's share"

BY_NEURONS = (
    (LANGUAGE, 1, 2),
    (LANGUAGE, 3, 2),
    (GENERAL, 2, 1),
    (GENERAL, 2, 3),
    (GENERAL, 4, 3),
)
"""What the paper's four stages look like in neurons per layer: of what, which stage has more than
which (Fig. 3)."""

BY_MEANING = ((AGREEMENT, 2, 1), (SHARE, 1, 2), (SHARE, 3, 2), (SHARE, 4, 2))
"""The same in what all neurons do: languages agree in the second stage more than in the first, and
their share of the variance is larger in every other stage."""


class Contrast(NamedTuple):
    """A difference between two stages.

    Attributes:
        what: of what.
        more: the stage, from 1, that is said to have more of it.
        less: the stage that is said to have less.
        difference: more minus less, with its interval.
        without: the same with one language left out, by its code; NaN where that cannot be told,
            empty where it was not asked.
    """

    what: str
    more: int
    less: int
    difference: Estimate
    without: Mapping[str, float]

    @property
    def name(self) -> str:
        """What is claimed, in a few words."""
        return f"{self.what} {self.more} > {self.less}"

    @property
    def verdict(self) -> Verdict:
        """Whether it lies above 0: its whole interval, and its value without any one language."""
        own = rises(self.difference)
        lasts = all(value > 0 for value in self.without.values())
        return "cannot tell" if own == "holds" and not lasts else own

    def to_meta(self) -> dict[str, Any]:
        """The numbers as the metadata of a file keep them; None for what is not known."""
        return {
            "what": self.what,
            "stages": [self.more, self.less],
            "difference": [_number(end) for end in self.difference[:3]],
            "without": {code: _number(value) for code, value in self.without.items()},
        }

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> Self:
        """What `to_meta` gave, without the replicates, which no file keeps."""
        more, less = meta["stages"]
        value, low, high = np.array(meta["difference"], dtype=np.float64)
        return cls(
            what=meta["what"],
            more=more,
            less=less,
            difference=Estimate(value, low, high, np.zeros(0)),
            without={
                code: np.nan if number is None else number
                for code, number in meta["without"].items()
            },
        )


def contrasts(
    claimed: Sequence[tuple[str, int, int]],
    stages: Mapping[str, Floats],
    without: Mapping[str, Mapping[str, Floats]] | None = None,
) -> tuple[Contrast, ...]:
    """The differences that are claimed, in the order of the claim.

    Args:
        claimed: of what, which stage has more than which, from 1.
        stages: what there is of each in each stage, [R + 1, S].
        without: the same with a language left out, by its code, [S].
    """
    made = []
    for what, more, less in claimed:
        rows = stages[what][:, more - 1] - stages[what][:, less - 1]
        left_out = {
            code: float(parts[what][more - 1] - parts[what][less - 1])
            for code, parts in (without or {}).items()
        }
        made.append(Contrast(what, more, less, estimate(rows[0], rows[1:]), left_out))
    return tuple(made)


def neurons_in_stages(
    numbers: Numbers, starts: Sequence[int], of: NDArray[np.bool_]
) -> dict[str, Floats]:
    """Language and general neurons per layer in each stage, [..., S].

    Args:
        numbers: of neurons; of resamplings too.
        starts: first layer of each stage.
        of: which layers have neurons, [L].
    """
    curves = {LANGUAGE: numbers.language_neurons, GENERAL: numbers.by_layer("general").value}
    stage = np.searchsorted(starts, np.arange(len(of)), side="right") - 1
    return {
        what: np.stack(
            [curve[..., of & (stage == s)].mean(axis=-1) for s in range(len(starts))], axis=-1
        )
        for what, curve in curves.items()
    }


def of_neurons(
    observed: Numbers,
    starts: Sequence[int],
    of: NDArray[np.bool_],
    resampled: Numbers | None = None,
    without: Mapping[str, Numbers | None] | None = None,
) -> tuple[Contrast, ...]:
    """What `BY_NEURONS` claims, of numbers of neurons.

    Args:
        observed: the numbers.
        starts: first layers of the four stages.
        of: which layers have neurons, [L].
        resampled: those of resamplings of the blocks.
        without: those with a language left out, by its code; None for one that cannot be.
    """
    stages = {what: rows[None] for what, rows in neurons_in_stages(observed, starts, of).items()}
    if resampled:
        drawn = neurons_in_stages(resampled, starts, of)
        stages = {what: np.concatenate([stages[what], drawn[what]]) for what in stages}
    unknown = dict.fromkeys(stages, np.full(len(starts), np.nan))
    left_out = {
        code: neurons_in_stages(numbers, starts, of) if numbers else unknown
        for code, numbers in (without or {}).items()
    }
    return contrasts(BY_NEURONS, stages, left_out)


def _number(value: Floats | float) -> float | None:
    number = float(value)
    return number if np.isfinite(number) else None
