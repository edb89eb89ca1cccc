"""Verdicts: a claim, what an interval says of it, and how numbers and intervals are told in it."""

from typing import Any, NamedTuple

import numpy as np

from langneurons.intervals import Estimate, Verdict, rises
from langneurons.tables import written


class Claim(NamedTuple):
    """One claim of the paper, and what the evidence says.

    Attributes:
        name: short name, for anchors and files.
        statement: what is claimed.
        where: figure, table or section of the paper.
        verdict: `holds`, `does not hold`, `cannot tell`.
        numbers: what the verdict rests on: numbers, intervals as [low, high], p-values; empty
            without evidence.
        words: the verdict's reason in one line; without evidence, what is missing.
    """

    name: str
    statement: str
    where: str
    verdict: Verdict
    numbers: dict[str, Any]
    words: str


def falls(estimate: Estimate) -> Verdict:
    """Whether a number lies below 0, as `rises`."""
    turned = Estimate(
        value=-estimate.value,
        low=-estimate.high,
        high=-estimate.low,
        replicates=-estimate.replicates,
    )
    return rises(turned)


def missing(name: str, statement: str, where: str, what: str) -> Claim:
    """A claim that cannot be told, for want of evidence."""
    return Claim(
        name=name,
        statement=statement,
        where=where,
        verdict="cannot tell",
        numbers={},
        words=f"needs {what}",
    )


def in_numbers(estimate: Estimate) -> dict[str, Any]:
    """An estimate for `Claim.numbers`."""
    known = not np.isnan(estimate.low)
    return {
        "value": float(estimate.value),
        "interval": [float(estimate.low), float(estimate.high)] if known else None,
    }


def in_words(estimate: Estimate, form: str = "") -> str:
    """An estimate for `Claim.words`, in this format; without one as a change is written."""
    value, low, high = (
        f"{float(x):{form}}" if form else written(float(x), sign=True)
        for x in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} (no interval)" if np.isnan(estimate.low) else f"{value} [{low}, {high}]"
