"""Claims: what the paper says of language neurons, each as a test with a verdict and its numbers.

A claim that something rises holds when its whole 95% interval lies above 0, does not hold when its
whole interval lies at or below 0, and otherwise one cannot tell. Where a claim says two things
(specific fall *and* related rise), both must hold: such an intersection of tests needs no
correction for their number. Intervals resample blocks of questions, the same before and after.
Without resampling (one block) there is no interval and one cannot tell, unless the test is of
another sort, which its function then says.

Changes are judged by own thresholds, as in the paper; the verdict with the base's thresholds stands
beside it.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from langneurons.compare.changes import Changes, mean_of, total
from langneurons.compare.model_claims import (
    diagonal_dominance,
    english_differs,
    four_stages,
    related_add,
)
from langneurons.compare.verdicts import (
    Claim,
    Verdict,
    both,
    falls,
    missing,
    rises,
    said,
    told,
)
from langneurons.intervals import SURE, Estimate
from langneurons.neurons.table import KINDS, Neurons
from langneurons.silencing.matrix import Matrices
from langneurons.tables import plain
from langneurons.texts.accuracy import compare_accuracy
from langneurons.texts.responses import Response


class Evidence(NamedTuple):
    """What claims are judged by. What is not there leaves the claims that need it open.

    Attributes:
        neurons: of the model before alignment.
        changes: from before to after alignment, as `changes.contrast` gives them: own thresholds
            first.
        domains: from the questions before to other questions, of the same model.
        matrices: what silencing costs the model before alignment.
        accuracy: marked responses to the same questions, of the model before and after.
        trained: languages that were aligned.
    """

    neurons: Neurons | None = None
    changes: tuple[Changes, ...] = ()
    domains: tuple[Changes, ...] = ()
    matrices: Matrices | None = None
    accuracy: tuple[Sequence[Response], Sequence[Response]] | None = None
    trained: tuple[str, ...] = ()


def claims(evidence: Evidence) -> list[Claim]:
    """Every claim of the paper with its verdict."""
    e = evidence
    resampled = next((c.resampled.before for c in (*e.changes, *e.domains) if c.resampled), None)
    return [
        four_stages(e.neurons, resampled),
        diagonal_dominance(e.matrices),
        related_add(e.matrices.losses if e.matrices else None),
        specific_to_related(e.changes),
        untrained_alike(e.changes, e.trained),
        general_rise(e.changes),
        english_differs(e.neurons, resampled),
        stable(e.changes, "alignment"),
        stable(e.domains, "domains"),
        accuracy_rises(e.accuracy, e.trained, "trained"),
        accuracy_rises(e.accuracy, e.trained, "untrained"),
    ]


def specific_to_related(changes: tuple[Changes, ...]) -> Claim:
    """Alignment: fewer specific neurons, more related ones (Fig. 5), over the whole model.

    Both changes have intervals over blocks, paired before and after.
    """
    start = (
        "specific-to-related",
        "After alignment there are fewer specific and more related neurons",
        "Fig. 4, 5",
    )
    if not changes:
        return missing(*start, "the neurons after alignment")
    found = [
        {"specific": one.of(total("specific")), "related": one.of(total("related"))}
        for one in changes
    ]
    return _shift(start, changes, found)


def untrained_alike(changes: tuple[Changes, ...], trained: tuple[str, ...]) -> Claim:
    """The same shift in languages that were not aligned (Table 2): means over them, English included.

    As `specific_to_related`, of mean neurons per language. A related neuron stands with each of its
    languages.
    """
    start = (
        "untrained-alike",
        "In untrained languages too, specific fall and related rise",
        "Table 2",
    )
    if not changes or not trained:
        return missing(
            *start, "the neurons after alignment" if not changes else "which languages were trained"
        )
    rest = [code for code in changes[0].languages if code not in trained]
    if not rest:
        return missing(*start, "a language that was not trained")
    found = [
        {kind: one.of(mean_of(kind, one.languages, rest)) for kind in ("specific", "related")}
        for one in changes
    ]
    return _shift(start, changes, found, {"languages": rest})


def general_rise(changes: tuple[Changes, ...]) -> Claim:
    """Alignment: more general neurons (Fig. 5), counted over all neurons; the interval is over blocks, paired."""
    start = ("general-rise", "After alignment there are more general neurons", "Fig. 4, 5")
    if not changes:
        return missing(*start, "the neurons after alignment")
    return _shift(start, changes, [{"general": one.of(total("general"))} for one in changes])


def stable(changes: tuple[Changes, ...], across: Literal["alignment", "domains"]) -> Claim:
    """Most specific and most related neurons stay of their kind (Table 4), across alignment or domains.

    Random sets of a hundredth of the neurons share a hundredth, so chance is no bar. The claim is
    of *most*: it holds when the intervals of both ratios lie above one half, and does not when one
    lies below. Beside it: chance, and the ratio that before and its own resamplings have, which is
    what sampling alone leaves.
    """
    words = "alignment" if across == "alignment" else "domains of questions"
    start = (f"stable-{across}", f"Most language neurons keep their kind across {words}", "Table 4")
    if not changes:
        elsewhere = "the same model's neurons on other questions"
        return missing(
            *start, "the neurons after alignment" if across == "alignment" else elsewhere
        )
    found = [{kind: one.ratio(kind) for kind in ("specific", "related")} for one in changes]
    if any(np.isnan(ratio.value) for ratio in found[0].values()):
        return missing(*start, "specific and related neurons before")
    verdicts = [both([rises(ratio, 0.5) for ratio in each.values()]) for each in found]
    first = changes[0]
    numbers: dict[str, Any] = {}
    for kind, ratio in found[0].items():
        at = KINDS.index(kind)
        chance = first.transitions[:, at].sum() / first.transitions.sum()
        numbers[kind] = told(ratio) | {
            "chance": chance,
            "before against its resamplings": first.ratio_by_chance(kind),
        }
    shares = "; ".join(f"{kind} {said(ratio, '.1%')}" for kind, ratio in found[0].items())
    return Claim(
        *start, verdicts[0], plain(numbers | _beside(changes, verdicts)), shares + _aside(verdicts)
    )


def accuracy_rises(
    accuracy: tuple[Sequence[Response], Sequence[Response]] | None,
    trained: tuple[str, ...],
    which: Literal["trained", "untrained"],
) -> Claim:
    """More answers are right after alignment, on average over the trained, or the other, languages (Tables 1 and 5).

    The same questions are answered before and after; the two models change places at random per
    question, in all its languages at once (`accuracy.compare_accuracy`), since a question that is
    hard is hard in every language. It holds when p is at most 0.05 and the interval, over
    questions, lies above 0.
    """
    start = (f"accuracy-{which}", f"Accuracy rises in {which} languages", "Tables 1, 5")
    if accuracy is None or not trained:
        lacking = (
            "which languages were trained"
            if accuracy
            else "the accuracy before and after alignment"
        )
        return missing(*start, lacking)
    sides = [[r for r in side if (r.lang in trained) == (which == "trained")] for side in accuracy]
    if not all(any(r.correct is not None for r in side) for side in sides):
        return missing(*start, f"marked answers in {which} languages, before and after")
    *each, mean = compare_accuracy(sides[0], sides[1])
    verdict = (
        "does not hold"
        if mean.high <= 0
        else "holds"
        if mean.low > 0 and mean.p <= SURE
        else "cannot tell"
    )
    numbers: dict[str, Any] = {
        "before": mean.before,
        "after": mean.after,
        "change": mean.change,
        "interval": [mean.low, mean.high],
    }
    numbers |= {"p": mean.p, "languages": {row.lang: row.change for row in each}}
    words = (
        f"{mean.before:.1%} to {mean.after:.1%}, {mean.change:+.1%} [{mean.low:+.1%}, {mean.high:+.1%}], "
        f"p = {mean.p:.2g}; up in {sum(row.change > 0 for row in each)} of {len(each)} languages"
    )
    return Claim(*start, verdict, plain(numbers), words)


def _shift(
    start: tuple[str, str, str],
    changes: tuple[Changes, ...],
    found: list[dict[str, Estimate]],
    more: dict[str, Any] | None = None,
) -> Claim:
    """A claim that specific neurons fall and the other kinds rise."""
    verdicts = []
    for each in found:
        verdicts.append(
            both([falls(one) if kind == "specific" else rises(one) for kind, one in each.items()])
        )
    numbers = {kind: told(one) for kind, one in found[0].items()} | (more or {})
    numbers |= _beside(changes, verdicts) | {
        f"{kind}, {other.thresholds} thresholds": told(one)
        for other, each in zip(changes[1:], found[1:], strict=True)
        for kind, one in each.items()
    }
    words = "; ".join(f"{kind} {said(one, '+,.4g')}" for kind, one in found[0].items())
    return Claim(*start, verdicts[0], plain(numbers), words + _aside(verdicts))


def _beside(changes: tuple[Changes, ...], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The verdicts by the other thresholds."""
    return {
        f"verdict, {c.thresholds} thresholds": v
        for c, v in zip(changes[1:], verdicts[1:], strict=True)
    }


def _aside(verdicts: Sequence[Verdict]) -> str:
    """What to add where the thresholds decide."""
    other = [verdict for verdict in verdicts[1:] if verdict != verdicts[0]]
    return f"; with the base's thresholds: {other[0]}" if other else ""
