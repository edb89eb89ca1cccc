"""Tiles: four numbers, and what takes their place where something was not measured."""

from dataclasses import replace

from langneurons.compare.verdicts import Claim
from langneurons.report.results import Alignment, Compared, FolderResults, Results
from langneurons.report.tiles import study_tiles
from langneurons.silencing.matrix import matrices
from langneurons.texts.accuracy import MEAN, Accuracy
from support.values import losses

MARKED = (Accuracy("sw", 40, 10, 0.25, 0.14, 0.4), Accuracy(MEAN, 40, 10, 0.26, 0.15, 0.41))


def aligned(*claims: Claim) -> Alignment:
    """An alignment of which these claims were judged on the questions q."""
    compared = Compared({}, {}, claims, {})
    return Alignment("a", ("sw",), (), (), {}, {"q": compared}, {})


def claim(name: str, numbers: dict) -> Claim:
    return Claim(name, "", "", "holds", numbers, "")


def test_accuracy_without_an_alignment() -> None:
    (tile,) = study_tiles(Results(accuracy=MARKED), None, "q")
    assert tile.value == "26.0%"
    assert tile.interval == "95% interval 15.0% to 41.0%"
    assert study_tiles(Results(), None, "q") == ()
    assert study_tiles(Results(accuracy=MARKED[:1]), None, "q") == ()


def test_accuracy_before_and_after() -> None:
    numbers = {"before": 0.25, "after": 0.5, "change": 0.25, "interval": [0.1, 0.4], "p": 0.0123}
    (tile,) = study_tiles(
        Results(accuracy=MARKED), aligned(claim("accuracy-trained", numbers)), "q"
    )
    assert tile.value == "25.0% → 50.0%"
    assert tile.text.endswith("before and after; change +25.0 points")
    assert tile.interval == "95% interval +10.0 to +40.0, p = 0.012"
    other = study_tiles(Results(accuracy=MARKED), aligned(), "other questions")
    assert other[0].value == "26.0%"


def test_what_an_alignment_moved() -> None:
    numbers = {
        "specific": {"value": -1234.4, "interval": [-1300.0, -1200.0]},
        "related": {"value": 0.2, "interval": [-1.0, 2.0]},
    }
    (tile,) = study_tiles(Results(), aligned(claim("specific-to-related", numbers)), "q")
    assert tile.value == "−1,234 / 0"
    assert tile.interval == "95% intervals −1,300 to −1,200 and −1 to +2"
    unsure = numbers | {"related": {"value": 3.0, "interval": None}}
    (tile,) = study_tiles(Results(), aligned(claim("specific-to-related", unsure)), "q")
    assert tile.value == "−1,234 / +3"
    assert tile.interval == ""


def test_what_silencing_costs() -> None:
    """In factors of the perplexity: e to the median over languages of the change of its logarithm
    by their own neurons; random sets change it by 0.01, 0.02 and 0.03."""
    changes = [[0.5, 0.1, 0.0], [0.0, 0.3, 0.1], [0.1, 0.0, 4.0]]
    costs = matrices(losses({"specific": changes}, [1.0, 1.2, 1.1]))
    (tile,) = study_tiles(Results(matrices=costs), None, "q")
    assert tile.value == "×1.65"
    assert tile.text == (
        "perplexity of the median language without its specific neurons; mean of logarithms "
        "×4.95, others ×1.051"
    )
    beside = matrices(losses({"specific": changes}, [1.0, 1.2, 1.1], controls=3))
    (tile,) = study_tiles(Results(matrices=beside), None, "q")
    assert "neurons, random ones ×1.010 to ×1.030; mean of" in tile.text
    assert tile.interval == ""  # one block
    nobody = matrices(losses({"specific": [None, None]}, [1.0, 1.2]))
    assert study_tiles(Results(matrices=nobody), None, "q") == ()


def test_language_neurons_and_what_takes_the_place_of_others(school: FolderResults) -> None:
    neurons = school.results.neurons
    assert neurons
    specific, related = (int((neurons.kind == kind).sum()) for kind in ("specific", "related"))
    told = study_tiles(Results(neurons=neurons), None, "q")
    assert [tile.name for tile in told] == ["language neurons", "general", "λ", "τ"]
    assert told[0].text == (
        f"{specific} of one language, {related} of several, 0 of none, among 58 selected"
    )
    assert told[0].interval.startswith("95% intervals ")
    without = study_tiles(Results(neurons=replace(neurons, uncertainty=None)), None, "q")
    assert without[0].interval == ""
