"""Trust: how well first order does on the very model, by neurons that were silenced one by one."""

from typing import NamedTuple

import numpy as np

from langneurons.intervals import Estimate, Floats, estimate, pearson, spearman
from langneurons.neurons.effects import Tried

RESAMPLINGS = 1000


class Agreement(NamedTuple):
    """How first order and silencing agree on one group of neurons.

    Each neuron counts with every language; intervals are over neurons.

    Attributes:
        group: why they were tried.
        where: at which positions they were silenced.
        neurons: how many they are.
        spearman: rank correlation.
        pearson: correlation.
        slope: exact cost for each nat that first order says, by least squares through zero.
    """

    group: str
    where: str
    neurons: int
    spearman: Estimate
    pearson: Estimate
    slope: Estimate


def agreements(tried: Tried, seed: int = 0) -> list[Agreement]:
    """How first order does on each group of neurons that were silenced."""
    kinds = list(dict.fromkeys(zip(tried.groups, tried.where, strict=True)))
    of_each = np.array([kinds.index(pair) for pair in zip(tried.groups, tried.where, strict=True)])
    out = []
    for i, (group, where) in enumerate(kinds):
        rows = np.flatnonzero(of_each == i)
        ours, exact = (values[rows] / tried.tokens for values in (tried.estimate, tried.exact))
        draws = np.random.default_rng(seed).integers(len(rows), size=(RESAMPLINGS, len(rows)))
        numbers = [_numbers(ours, exact), *(_numbers(ours[draw], exact[draw]) for draw in draws)]
        value, replicates = np.array(numbers[0]), np.array(numbers[1:])
        spearman, pearson, slope = (
            estimate(value[j], replicates[:, j] if len(rows) > 1 else None) for j in range(3)
        )
        out.append(Agreement(group, where, len(rows), spearman, pearson, slope))
    return out


def _numbers(ours: Floats, exact: Floats) -> tuple[float, float, float]:
    """Spearman, Pearson, slope; NaN where one of them never changes."""
    x, y = ours.ravel(), exact.ravel()
    below = float(x @ x)
    slope = float(x @ y) / below if below else float("nan")
    return spearman(x, y), pearson(x, y), slope
