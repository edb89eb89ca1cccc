"""Findings: sentences hold the numbers of the data, and nothing that is not known."""

from typing import get_args

import numpy as np

from langneurons.compare.verdicts import Claim
from langneurons.config import SweepConfig
from langneurons.intervals import Verdict
from langneurons.neurons.identify import identify
from langneurons.report import findings
from langneurons.report.parts import Page
from langneurons.report.results import FolderResults
from langneurons.silencing.matrix import matrices
from langneurons.sweep.sweep import sweep
from langneurons.tables import Table
from langneurons.texts.accuracy import MEAN, Accuracy
from support.values import losses, neurons_at, random_counts, with_questions


def test_neurons(school: FolderResults) -> None:
    neurons = school.results.neurons
    assert neurons
    first, chance, where, english = findings.of_neurons(neurons)
    assert chance.startswith("By chance, with the languages of texts permuted, ")
    kinds = neurons.numbers.kinds.astype(int)
    selected = int(neurons.numbers.among.sum())
    assert first.startswith(f"Of {selected:,} selected neurons {kinds[0]:,} [")
    assert f"] are of one language, {kinds[1]:,} [" in first
    assert f" of several, {kinds[3]:,} of none; of all 2,880 neurons {kinds[2]:,} [" in first
    layer = int(np.argmax(neurons.numbers.language_neurons))
    most = int(neurons.numbers.language_neurons.max())
    together = int(kinds[0] + kinds[1])
    assert where.startswith(
        f"Of layers 0 to 23, layer {layer} has the most language neurons, {most} of {together};"
    )
    assert english.startswith("English has ")


def test_neurons_that_say_little() -> None:
    (first,) = findings.of_neurons(neurons_at([(0, 3, "th")], languages="th sw fr"))
    assert first == "1 are of one language, 0 of several."


def test_neurons_stand_beside_chance() -> None:
    counts = random_counts(3, 4, blocks=4, widths=((60,),) * 6)
    neurons = identify(counts, rate=0.1, tau_quantile=0.7, lam=0.1, bootstrap=0, chance=5)
    assert neurons.chance
    means = [neurons.chance.permuted[kind].mean for kind in ("specific", "related", "general")]
    _, said, *_ = findings.of_neurons(neurons)
    assert said == (
        f"By chance, with the languages of texts permuted, {means[0]:.0f} are of one language, "
        f"{means[1]:.0f} of several and {means[2]:.0f} of all on average."
    )


def test_agreement_is_told_with_what_shuffling_leaves() -> None:
    counts = with_questions(random_counts(3, 4, blocks=6, widths=((60,),) * 6))
    neurons = identify(counts, rate=0.1, tau_quantile=0.7, lam=0.1, bootstrap=20)
    known = neurons.agreement
    assert known
    (said,) = (line for line in findings.of_neurons(neurons) if "agree across" in line)
    most = int(np.argmax(known.agreement.value))
    ends = [f"{float(end[most]):.2f}" for end in known.agreement[:3]]
    assert f"most in layer {most}, {ends[0]} [{ends[1]}, {ends[2]}], and least" in said
    assert f"shuffled at most {known.shuffled.max():.2f} in any layer." in said


def test_silencing_stands_beside_random_sets() -> None:
    # own languages cost log 2, the other nothing; random sets nothing anywhere
    cost = float(np.log(2))
    measured = losses({"specific": [[cost, 0.0], [0.0, cost]]}, [1.0, 1.2])
    said = list(findings.of_silencing(matrices(measured)))
    own, others = said
    assert own.startswith(
        "Without its specific neurons a language's own perplexity grows ×2.00 in the median "
        "language, ×2.00 in the mean of logarithms, from ×2.00 ("
    )
    assert others == (
        "The other languages' grows ×1.000. Own and others are apart by ×2.00. 2 of 2 languages "
        "lose most themselves (p = 0.5, languages exchanged at random)."
    )
    beside = losses({"specific": [[cost, 0.0], [0.0, cost]]}, [1.0, 1.2], controls=3)
    own, others = findings.of_silencing(matrices(beside))
    # each of them costs every language 0.01, 0.02 or 0.03: the own one as the others
    assert own.endswith(
        "Without as many random neurons of the same layers it grows ×1.010 to ×1.030 in that mean "
        "(3 sets); all sets stay below its own in 2 of 2 languages."
    )
    assert "grows ×1.000, with random neurons silenced ×1.010 to ×1.030. Own and" in others
    assert "apart by ×2.00, with random neurons by ×1.000. 2 of 2" in others


def test_one_language_that_makes_the_mean_is_named() -> None:
    """Three languages whose own costs are 1000, 1.1 and 0.9 times; each block says the same."""
    changes = [[np.log(1000), 0.0, 0.0], [0.0, 0.1, 0.2], [0.0, 0.0, -0.1]]
    measured = losses({"specific": changes}, [1.0, 1.2, 1.1], blocks=4, noise=0.1)
    own, others = findings.of_silencing(matrices(measured))
    assert "×1.11 in the median language, ×10 in the mean of logarithms" in own
    assert "from ×0.905 (c) to ×1,000 (a)." in own
    assert "1 of 3 languages lose most themselves, 1 surely: own less the next has" in others


def test_what_an_alignment_changed_most() -> None:
    columns = ("language", "name", "trained", "questions", "change", "low", "high", "p (Holm)")
    rows = (
        ("ru", "Russian", "no", 12, 0.75, 0.5, 1.0, 0.04),
        ("sw", "Swahili", "yes", 12, 0.25, 0.0, 0.5, 1.0),
        (MEAN, "mean", None, 12, 0.9, 0.9, 0.9, 0.0),
    )
    (said,) = findings.of_accuracy_changes("sw-th", Table("x", "", columns, rows))
    assert said == (
        "sw-th changes Russian most, not trained: +75 points [+50, +100] on 12 questions, p = 0.04 "
        "by McNemar's test, corrected for 2 languages."
    )
    same = (("ru", "Russian", "no", 12, 0.0, 0.0, 0.0, 1.0),)
    assert not list(findings.of_accuracy_changes("sw-th", Table("x", "", columns, same)))


def test_answers() -> None:
    def share(lang: str, right: float) -> Accuracy:
        return Accuracy(lang, n=10, correct=round(10 * right), accuracy=right, low=0.0, high=1.0)

    shares = (share("en", 0.9), share("th", 0.1), share(MEAN, 0.5))
    assert list(findings.of_answers({"before": shares, "sw-th": (share("en", 1.0),)})) == [
        "Before alignment 50% [0%, 100%] of the answers are right, from 10% in Thai to 90% in "
        "English."
    ]


def test_every_chapter_of_a_study_says_what_was_found(page: Page) -> None:
    said = {
        chapter.name: [line for finding in chapter.findings for line in finding.lines]
        for chapter in page.chapters
    }
    assert all(said.values()), said
    assert any("learned from" in line for line in said["alignment"])
    assert all("60 steps." in line for line in said["alignment"])
    assert any("keep their kind across alignment: " in line for line in said["changes"])
    known = {line for lines in said.values() for line in lines}
    assert not [line for line in known if "nan" in line or "e-0" in line]


def test_a_sweep_says_where_its_own_cell_is_judged_otherwise() -> None:
    counts = random_counts(3, 4, blocks=4, widths=((60,),) * 6)
    config = SweepConfig(rates="0.1,0.2", tau_quantiles="0.8", lams="auto", bootstrap=4, chance=0)
    made = sweep(counts, config)
    neurons = identify(counts, rate=0.1, tau_quantile=0.8, bootstrap=0, chance=0)
    (own,) = (
        row
        for row in made.rows
        if row["claim"] == "english"
        and row["rate"] == 0.1
        and row["method"] == "ternary"
        and not row["prefilter"]
        and row["left_out"] is None
    )

    def claim(verdict: Verdict) -> Claim:
        return Claim("english", "", "", verdict, {"p": 0.1}, "")

    first, *rest = findings.of_sweep(made, neurons, [claim(own["verdict"])])
    assert "settings that allows it. It holds: Four stages in " in first
    assert not rest
    verdicts: tuple[Verdict, ...] = get_args(Verdict)
    other = next(verdict for verdict in verdicts if verdict != own["verdict"])
    _, said = findings.of_sweep(made, neurons, [claim(other)])
    assert said == (
        "In the cell of this page verdicts differ from those above, as a sweep goes by intervals "
        f"alone, of 4 resamplings: English has far fewer: {own['verdict']} (above: {other})."
    )
