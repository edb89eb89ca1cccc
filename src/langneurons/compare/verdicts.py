"""Verdicts: what a claim is judged by: a number with its interval, and two tests that need no blocks of questions."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from langneurons.intervals import Estimate

Verdict = Literal["holds", "does not hold", "cannot tell"]


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


def rises(one: Estimate, bar: float = 0.0) -> Verdict:
    """Whether a number lies above a bar: its whole interval does, none of it does, or one cannot tell."""
    if np.isnan(one.low):
        return "cannot tell"
    return "holds" if one.low > bar else "does not hold" if one.high <= bar else "cannot tell"


def falls(one: Estimate) -> Verdict:
    """Whether a number lies below 0, as `rises`."""
    return rises(Estimate(-one.value, -one.high, -one.low, -one.replicates))


def both(verdicts: Sequence[Verdict]) -> Verdict:
    """Of a claim that says several things: it holds when all hold, and does not when one does not.

    That all must hold keeps the chance of a false `holds` at that of one (an intersection-union
    test).
    """
    if "does not hold" in verdicts:
        return "does not hold"
    return "cannot tell" if "cannot tell" in verdicts or not verdicts else "holds"


def missing(name: str, statement: str, where: str, what: str) -> Claim:
    """A claim that cannot be told, for want of evidence."""
    return Claim(name, statement, where, "cannot tell", {}, f"needs {what}")


def told(one: Estimate) -> dict[str, Any]:
    """An estimate for `Claim.numbers`."""
    return {
        "value": float(one.value),
        "interval": None if np.isnan(one.low) else [float(one.low), float(one.high)],
    }


def said(one: Estimate, form: str) -> str:
    """An estimate in words, in this format."""
    if np.isnan(one.low):
        return f"{float(one.value):{form}} (no interval)"
    return f"{float(one.value):{form}} [{float(one.low):{form}}, {float(one.high):{form}}]"
