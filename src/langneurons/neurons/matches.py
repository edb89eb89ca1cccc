"""Matches: how far neurons classified by effect are those classified by rate."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from langneurons import layout
from langneurons.errors import MismatchError
from langneurons.intervals import Floats, interval, spearman, wilson
from langneurons.layout import Widths
from langneurons.neurons.effects import Effects
from langneurons.neurons.numbers import LANGUAGE_KINDS
from langneurons.neurons.table import Neurons

RESAMPLINGS = 1000


class Match(NamedTuple):
    """Agreement on one kind and language, or on the general neurons (language None).

    Attributes:
        kind: specific, related or general.
        language: whose neurons.
        by_rate: how many there are by rate.
        by_effect: how many by effect.
        both: how many by both.
        precision: share of those by rate that are so by effect, with its interval (Wilson); None
            without any.
        recall: share of those by effect that are so by rate.
        chance: precision to be expected of a random set, by_effect of all neurons.
        correlation: rank correlation of rate and effect in the language over those by rate, with
            its interval over neurons; None with fewer than three, and for general ones.
    """

    kind: str
    language: str | None
    by_rate: int
    by_effect: int
    both: int
    precision: tuple[float, float, float] | None
    recall: tuple[float, float, float] | None
    chance: float
    correlation: tuple[float, float, float] | None


def matches(by_rate: Neurons, by_effect: Neurons, effects: Effects) -> list[Match]:
    """Agreement of two tables of one model, kind by kind and language by language.

    Args:
        by_rate: neurons found by activation rate.
        by_effect: neurons found from the effects.
        effects: the effects.

    Raises:
        MismatchError: when the tables are of models of other shapes, the first is by effect too, or
            they share no language.
    """
    if by_rate.rule.by == "effect":
        raise MismatchError("both tables are by effect; --against takes neurons found by rate")
    if by_rate.widths is not None and by_rate.widths != effects.widths:
        raise MismatchError(
            f"the neurons are of layers {layout.describe(by_rate.widths)}, the effects of "
            f"{layout.describe(effects.widths)}: two different models"
        )
    shared = [code for code in effects.languages if code in by_rate.languages]
    if not shared:
        raise MismatchError(
            f"the neurons ({', '.join(by_rate.languages)}) and the effects "
            f"({', '.join(effects.languages)}) share no language"
        )
    sets = [(kind, code) for kind in LANGUAGE_KINDS for code in shared] + [("general", None)]
    costs = dict(zip(effects.languages, effects.per_token(), strict=True))
    return [
        _match(by_rate, by_effect, costs=costs, widths=effects.widths, kind=kind, code=code)
        for kind, code in sets
    ]


def _match(
    by_rate: Neurons,
    by_effect: Neurons,
    costs: Mapping[str, Floats],
    widths: Widths,
    kind: str,
    code: str | None,
) -> Match:
    """Agreement on one kind and language; `costs` has the effects of all neurons, [M] of each."""
    codes = () if code is None else (code,)
    mine, others = by_rate.of(*codes, kinds=(kind,)), by_effect.of(*codes, kinds=(kind,))
    first, second = (layout.positions(widths, table.keys) for table in (mine, others))
    both = len(np.intersect1d(first, second))

    def share(of: int) -> tuple[float, float, float] | None:
        return (both / of, *wilson(both, of)) if of else None

    correlation = None
    if code is not None and len(mine) > 2:
        rates = mine.probability[:, by_rate.languages.index(code)]
        effect = costs[code][first]
        draws = np.random.default_rng(0).integers(len(mine), size=(RESAMPLINGS, len(mine)))
        value = spearman(rates, effect)
        low, high = interval([spearman(rates[draw], effect[draw]) for draw in draws], value)
        correlation = value, float(low), float(high)
    return Match(
        kind=kind,
        language=code,
        by_rate=len(mine),
        by_effect=len(others),
        both=both,
        precision=share(len(mine)),
        recall=share(len(others)),
        chance=len(others) / int(layout.sizes(widths).sum()),
        correlation=correlation,
    )
