"""Findings: sentences hold the numbers of the data, and nothing that is not known."""

import numpy as np

from langneurons.report import findings
from langneurons.report.parts import Page
from langneurons.report.results import FolderResults
from langneurons.silencing.matrix import matrices
from langneurons.texts.accuracy import MEAN, Accuracy
from support.values import losses, neurons_at


def test_neurons(school: FolderResults) -> None:
    neurons = school.results.neurons
    assert neurons
    first, where, english = findings.of_neurons(neurons)
    kinds = neurons.numbers.kinds.astype(int)
    assert first.startswith(f"Neurons of one language: {kinds[0]:,} [")
    assert f"]; of several: {kinds[1]:,} [" in first
    layer = int(np.argmax(neurons.numbers.language_neurons))
    assert where.startswith(f"Most language neurons are in layer {layer},")
    assert english.startswith("English has ")


def test_neurons_that_say_little() -> None:
    (first,) = findings.of_neurons(neurons_at([(0, 3, "th")], languages="th sw fr"))
    assert first == "Neurons of one language: 1; of several: 0."


def test_silencing_stands_beside_random_sets() -> None:
    # own languages cost log 2, the other nothing; random sets nothing anywhere
    cost = float(np.log(2))
    measured = losses({"specific": [[cost, 0.0], [0.0, cost]]}, [1.0, 1.2])
    (said,) = findings.of_silencing(matrices(measured))
    assert "own perplexity grows ×2.00, that of the others ×1.00: apart by ×2.00" in said
    assert "random" not in said
    assert "2 of 2 languages lose most themselves" in said
    beside = losses({"specific": [[cost, 0.0], [0.0, cost]]}, [1.0, 1.2], controls=3)
    (said,) = findings.of_silencing(matrices(beside))
    # each of them costs every language 0.01, 0.02 or 0.03: none more than the others
    assert "apart by ×2.00; random sets of the same layers by ×1.00 (3 drawn). 2 of 2" in said


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
    assert any("keep their kind across alignment: " in line for line in said["changes"])
    known = {line for lines in said.values() for line in lines}
    assert not [line for line in known if "nan" in line or "e-0" in line]
