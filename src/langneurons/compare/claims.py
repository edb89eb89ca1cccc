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

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from langneurons.compare.changes import Changes, mean_of, total
from langneurons.compare.mediated import acts_through
from langneurons.compare.model_claims import (
    diagonal_dominance,
    english_differs,
    four_stages,
    related_add,
    stages_by_meaning,
)
from langneurons.compare.verdicts import (
    Claim,
    falls,
    in_numbers,
    in_words,
    missing,
)
from langneurons.effects.mediation import Mediation
from langneurons.intervals import SURE, Floats, Verdict, both, holm, rises
from langneurons.neurons.numbers import Numbers
from langneurons.neurons.table import KINDS, Neurons
from langneurons.silencing.matrix import Matrices
from langneurons.tables import p_value, plain
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
        mediation: what the alignment did, followed through sets of neurons.
    """

    neurons: Neurons | None = None
    changes: tuple[Changes, ...] = ()
    domains: tuple[Changes, ...] = ()
    matrices: Matrices | None = None
    accuracy: tuple[Sequence[Response], Sequence[Response]] | None = None
    trained: tuple[str, ...] = ()
    mediation: Mediation | None = None


def claims(evidence: Evidence) -> list[Claim]:
    """Every claim of the paper with its verdict; what it supposes, where that was followed."""
    neurons, changes, domains, matrices, accuracy, trained, mediation = evidence
    resampled = next((c.resampled.before for c in (*changes, *domains) if c.resampled), None)
    return [
        four_stages(neurons),
        stages_by_meaning(neurons),
        diagonal_dominance(matrices),
        related_add(matrices.losses if matrices else None),
        specific_to_related(changes),
        untrained_alike(changes, trained),
        general_rise(changes),
        english_differs(neurons, resampled),
        stable(changes, "alignment"),
        stable(domains, "domains"),
        accuracy_rises(accuracy, trained, "trained"),
        accuracy_rises(accuracy, trained, "untrained"),
        *(acts_through(mediation) if mediation else ()),
    ]


def specific_to_related(changes: tuple[Changes, ...]) -> Claim:
    """Alignment: fewer specific neurons, more related ones (Fig. 5), over the whole model.

    Both changes have intervals over blocks, paired before and after.
    """
    stated = (
        "specific-to-related",
        "After alignment there are fewer specific and more related neurons",
        "Fig. 4, 5",
    )
    if not changes:
        return missing(*stated, "the neurons after alignment")
    return _shift(stated, changes, {kind: total(kind) for kind in ("specific", "related")})


def untrained_alike(changes: tuple[Changes, ...], trained: tuple[str, ...]) -> Claim:
    """The same shift in languages that were not aligned (Table 2).

    As `specific_to_related`, of mean neurons per language, English included. A related neuron
    stands with each of its languages.
    """
    stated = (
        "untrained-alike",
        "In untrained languages too, specific fall and related rise",
        "Table 2",
    )
    if not changes:
        return missing(*stated, "the neurons after alignment")
    if not trained:
        return missing(*stated, "which languages were trained")
    languages = changes[0].languages
    rest = [code for code in languages if code not in trained]
    if not rest:
        return missing(*stated, "a language that was not trained")
    means = {kind: mean_of(kind, languages, rest) for kind in ("specific", "related")}
    return _shift(stated, changes, means, {"languages": rest})


def general_rise(changes: tuple[Changes, ...]) -> Claim:
    """Alignment: more general neurons (Fig. 5), over all neurons; intervals over blocks, paired."""
    stated = ("general-rise", "After alignment there are more general neurons", "Fig. 4, 5")
    if not changes:
        return missing(*stated, "the neurons after alignment")
    return _shift(stated, changes, {"general": total("general")})


def stable(changes: tuple[Changes, ...], across: Literal["alignment", "domains"]) -> Claim:
    """Most specific and most related neurons stay of their kind (Table 4).

    Across alignment, or across domains. Random sets of a hundredth of the neurons share a
    hundredth, so chance is no bar. The claim is of *most*: it holds when the intervals of both
    ratios lie above one half, and does not when one lies below. Beside it: chance, and the ratio
    that before and its own resamplings have, which is what sampling alone leaves.
    """
    words = "alignment" if across == "alignment" else "domains of questions"
    stated = (
        f"stable-{across}",
        f"Most language neurons keep their kind across {words}",
        "Table 4",
    )
    if not changes:
        other_questions = "the same model's neurons on other questions"
        lacking = "the neurons after alignment" if across == "alignment" else other_questions
        return missing(*stated, lacking)
    ratios = [{kind: each.ratio(kind) for kind in ("specific", "related")} for each in changes]
    by_own = ratios[0]
    if any(np.isnan(ratio.value) for ratio in by_own.values()):
        return missing(*stated, "specific and related neurons before")
    verdicts = [both([rises(ratio, 0.5) for ratio in each.values()]) for each in ratios]
    numbers: dict[str, Any] = {}
    for kind, ratio in by_own.items():
        transitions = changes[0].transitions
        chance = transitions[:, KINDS.index(kind)].sum() / transitions.sum()
        numbers[kind] = in_numbers(ratio) | {
            "chance": chance,
            "before against its resamplings": changes[0].ratio_by_chance(kind),
        }
    numbers |= _other_verdicts(changes, verdicts)
    shares = "; ".join(
        f"{kind} {in_words(ratio, '.1%')}, by chance {numbers[kind]['chance']:.1%}"
        f"{_by_sampling(numbers[kind]['before against its resamplings'])}"
        for kind, ratio in by_own.items()
    )
    return Claim(
        *stated,
        verdict=verdicts[0],
        numbers=plain(numbers),
        words=shares + _where_thresholds_decide(verdicts),
    )


def _by_sampling(share: float) -> str:
    """What drawing the texts anew would leave of a kind, where that is known."""
    return "" if np.isnan(share) else f", texts drawn anew {share:.1%}"


def accuracy_rises(
    accuracy: tuple[Sequence[Response], Sequence[Response]] | None,
    trained: tuple[str, ...],
    which: Literal["trained", "untrained"],
) -> Claim:
    """More answers are right after alignment, on average over languages (Tables 1 and 5).

    Over the trained languages, or over the others. The same questions are answered before and
    after; the two models change places at random per question, in all its languages at once
    (`accuracy.compare_accuracy`), since a question that is hard is hard in every language. It holds
    when p is at most 0.05 and the interval, over questions, lies above 0; it does not hold when p
    is at most 0.05 and the interval lies below 0, or when no answer changed.
    """
    stated = (f"accuracy-{which}", f"Accuracy rises in {which} languages", "Tables 1, 5")
    if accuracy is None:
        return missing(*stated, "the accuracy before and after alignment")
    if not trained:
        return missing(*stated, "which languages were trained")
    before, after = (
        [answer for answer in answers if (answer.lang in trained) == (which == "trained")]
        for answers in accuracy
    )
    if not _any_marked(before) or not _any_marked(after):
        return missing(*stated, f"marked answers in {which} languages, before and after")
    *languages, mean = compare_accuracy(before, after)
    verdict: Verdict = "cannot tell"
    if mean.p <= SURE:
        verdict = "holds" if mean.low > 0 else "does not hold" if mean.high < 0 else verdict
    elif not (mean.low or mean.high):
        verdict = "does not hold"
    numbers: dict[str, Any] = {
        "before": mean.before,
        "after": mean.after,
        "change": mean.change,
        "interval": [mean.low, mean.high],
        "p": mean.p,
        "languages": {row.lang: row.change for row in languages},
    }
    up = [row.change > 0 for row in languages]
    alone = sum(np.array(up) & (np.array(holm([row.p for row in languages])) <= SURE))
    change, low, high = (100 * share for share in (mean.change, mean.low, mean.high))
    words = (
        f"{mean.before:.1%} to {mean.after:.1%}, {change:+.1f} points [{low:+.1f}, {high:+.1f}] in "
        f"the mean of languages, {p_value(mean.p)}; up in {sum(up)} of {len(languages)} languages, "
        f"surely in {alone} (McNemar's test, corrected)"
    )
    return Claim(*stated, verdict=verdict, numbers=plain(numbers), words=words)


def _any_marked(answers: Sequence[Response]) -> bool:
    return any(answer.correct is not None for answer in answers)


def _shift(
    stated: tuple[str, str, str],
    changes: tuple[Changes, ...],
    what: Mapping[str, Callable[[Numbers], Floats]],
    more: Mapping[str, Any] | None = None,
) -> Claim:
    """A claim that specific neurons fall and the other kinds rise.

    Args:
        stated: name, statement and where it stands.
        changes: by own thresholds, then by others.
        what: kind -> what is taken from the numbers.
        more: what else stands among the claim's numbers.
    """
    estimates, verdicts = [], []
    for each in changes:
        by_kind = {kind: each.of(take) for kind, take in what.items()}
        estimates.append(by_kind)
        verdicts.append(
            both(
                [
                    falls(change) if kind == "specific" else rises(change)
                    for kind, change in by_kind.items()
                ]
            )
        )
    by_own = estimates[0]
    numbers: dict[str, Any] = {kind: in_numbers(change) for kind, change in by_own.items()}
    numbers |= dict(more or {}) | _other_verdicts(changes, verdicts)
    for other, by_kind in zip(changes[1:], estimates[1:], strict=True):
        for kind, change in by_kind.items():
            numbers[f"{kind}, {other.thresholds} thresholds"] = in_numbers(change)
    words = "; ".join(f"{kind} {in_words(change)}" for kind, change in by_own.items())
    return Claim(
        *stated,
        verdict=verdicts[0],
        numbers=plain(numbers),
        words=words + _where_thresholds_decide(verdicts),
    )


def _other_verdicts(changes: tuple[Changes, ...], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The verdicts by other thresholds than the models' own."""
    return {
        f"verdict, {each.thresholds} thresholds": verdict
        for each, verdict in zip(changes[1:], verdicts[1:], strict=True)
    }


def _where_thresholds_decide(verdicts: Sequence[Verdict]) -> str:
    """What to add to a claim's words where other thresholds lead to another verdict."""
    others = [verdict for verdict in verdicts[1:] if verdict != verdicts[0]]
    return f"; with the base's thresholds: {others[0]}" if others else ""
