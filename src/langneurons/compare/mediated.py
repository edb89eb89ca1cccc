"""Mediated claims: whether an alignment acts through a kind of neurons."""

from collections.abc import Sequence
from typing import Any

from langneurons.compare.verdicts import Claim, in_numbers, in_words
from langneurons.effects.mediation import Carried, Mediation, carried, shares


def acts_through(mediation: Mediation) -> list[Claim]:
    """A claim for specific and for related neurons, where they were followed.

    Judged by the trained languages, where these are known, and by those sets of random neurons that
    alignment changes as much; see `effects.mediation.carried`. The paper supposes it and does not
    test it.
    """
    rows = carried(shares(mediation))
    kinds = dict.fromkeys(row.kind for row in rows)
    return [_claim(kind, [row for row in rows if row.kind == kind]) for kind in kinds]


def _claim(kind: str, rows: Sequence[Carried]) -> Claim:
    """The claim of one kind, judged by the first group of languages."""
    numbers: dict[str, Any] = {
        f"{row.group}, {way}": in_numbers(number)
        for row in rows
        for way, number in row.beyond.items()
    }
    numbers |= {f"verdict, {row.group}": row.verdict for row in rows[1:]}
    told = [
        f"{row.group}: "
        + ", ".join(f"{way} {in_words(number, '+.1%')}" for way, number in row.beyond.items())
        + (f" ({row.verdict})" if row is not rows[0] else "")
        for row in rows
    ]
    return Claim(
        name=f"mediated-by-{kind}",
        statement=f"What alignment does goes through {kind} neurons more than through others",
        where="supposed",
        verdict=rows[0].verdict,
        numbers=numbers,
        words=f"share beyond random sets that change as much; {'; '.join(told)}",
    )
