"""Beside charts: both sides on one scale; sentences hold the numbers of a comparison, where one was
made, else those of the neurons."""

import numpy as np
import pytest

from langneurons.report import chapters
from langneurons.report.beside_charts import (
    layers_beside,
    silencing_beside,
    what_differs,
    what_silencing_differs,
)
from langneurons.report.charts import DRAWN
from langneurons.report.parts import Chapter, Where
from langneurons.report.results import Model, StudyResults
from langneurons.silencing.matrix import matrices
from support.values import losses, neurons_at

SCHOOL = {"model": "small", "questions": "school"}
ALIGNED = {**SCHOOL, "alignment": "zh-de"}


@pytest.fixture(scope="module")
def model(found: StudyResults) -> Model:
    return found.models[0]


@pytest.fixture(scope="module")
def chapter(model: Model) -> Chapter:
    return chapters.beside(chapters.sides([model]))


def lines(chapter: Chapter, where: Where) -> list[str]:
    return [
        line for note in chapter.findings if dict(note.where) == dict(where) for line in note.lines
    ]


def test_a_study_shows_every_two_that_it_holds(chapter: Chapter) -> None:
    """Before and after each alignment, and each set of questions beside the other."""
    panels = [(panel.figure.title, dict(panel.where)) for panel in chapter.panels]
    named = {"school": "on school and on market", "market": "on market and on school"}
    expected = []
    for questions, both in named.items():
        where = {"model": "small", "questions": questions}
        expected += [
            (f"Neurons by layer, before and after {name}", {**where, "alignment": name})
            for name in ("sw-th", "zh-de")
        ]
        expected.append((f"Neurons by layer, {both}", where))
    assert panels == expected


def test_both_sides_have_one_scale(model: Model) -> None:
    sides = {
        "before": model.base["school"].neurons,
        "after": model.alignments[0].after["school"].neurons,
    }
    neurons = {name: of for name, of in sides.items() if of}
    figure = layers_beside(neurons)
    assert figure.spec
    left, right = figure.spec["hconcat"]
    assert [left["title"], right["title"]] == ["before", "after"]
    for kind, mine, theirs in zip(DRAWN, left["vconcat"], right["vconcat"], strict=True):
        domains = []
        for name, panel in zip(neurons, (mine, theirs), strict=True):
            (bars,) = (each for each in panel["layer"] if each["mark"]["type"] == "bar")
            domains.append(bars["encoding"]["y"]["scale"]["domain"])
            heights = [row["neurons"] for row in panel["data"]["values"]]
            assert heights == neurons[name].numbers.by_layer(kind).value.tolist()
        assert domains[0] == domains[1]
        ends = [of.numbers.by_layer(kind).high.max() for of in neurons.values()]
        assert domains[0] == [0, max(ends)]
    rows = figure.table.records()
    assert [row["side"] for row in rows] == ["before"] * 24 + ["after"] * 24
    assert rows[30]["specific"] == neurons["after"].numbers.by_layer("specific").value[6]


def test_a_comparison_says_how_many_stay(chapter: Chapter, model: Model) -> None:
    (aligned,) = (one for one in model.alignments if one.name == "zh-de")
    tables = aligned.compared["school"].tables
    numbers, stay = lines(chapter, ALIGNED)
    for kind in ("specific", "related"):
        chosen = {"thresholds": "own", "kind": kind}
        moved, kept = (
            next(row for row in tables[name].records() if chosen.items() <= row.items())
            for name in ("kind-changes", "stability")
        )
        assert (
            f"{kind} neurons: {moved['before']:,} before and {moved['now']:,} after zh-de "
            f"({moved['change']:+,.0f} [{moved['low']:+,.0f}, {moved['high']:+,.0f}])"
        ) in numbers.lower()
        assert (
            f"of {kept['before']:,} {kind} neurons before, {kept['ratio']:.0%} "
            f"[{kept['low']:.0%}, {kept['high']:.0%}] are {kind} after zh-de too"
        ) in stay.lower()
    assert "; τ: " in numbers
    assert "no interval" not in stay


def test_two_texts_take_the_numbers_of_a_comparison_where_one_was_made(
    chapter: Chapter, model: Model
) -> None:
    """The second questions were compared with the first, and not the other way round."""
    numbers, stay = lines(chapter, {"model": "small", "questions": "market"})
    table = model.alignments[0].compared["market"].tables["stability-domains"]
    row = next(row for row in table.records() if row["thresholds"] == "own")
    assert (
        f"Of {row['before']:,} specific neurons on market, {row['ratio']:.0%} "
        f"[{row['low']:.0%}, {row['high']:.0%}] are specific on school too"
    ) in stay
    assert "] on market and " in numbers  # each has its own interval
    _, stay = lines(chapter, SCHOOL)
    assert "%] are specific" not in stay
    assert stay.endswith("These two were not compared, so there is no interval.")


def test_what_stays_by_hand() -> None:
    """Two of three specific neurons stay; of the eight of the model two are specific on the
    right."""
    left = neurons_at([(0, 1, "en"), (0, 2, "zh"), (1, 3, "sw"), (1, 0, "en zh")])
    right = neurons_at([(0, 1, "zh"), (0, 2, "zh"), (1, 3, "en zh"), (1, 1, "en sw")])
    numbers, stay = what_differs({"on a": left, "on b": right}, {})
    assert numbers == "Specific neurons: 3 on a and 2 on b; related neurons: 1 on a and 2 on b."
    assert stay == (
        "Of 3 specific neurons on a, 67% are specific on b too; of 1 related neurons on a, 0% are "
        "related on b too. Chance would leave 25% and 25%. These two were not compared, so there "
        "is no interval."
    )


def test_neurons_of_models_of_other_shapes_cannot_stay() -> None:
    left = neurons_at([(0, 1, "en")])
    right = neurons_at([(0, 1, "en")], languages="en zh")
    assert len(list(what_differs({"a": left, "b": right}, {}))) == 1


def test_silencing_of_both(model: Model) -> None:
    one, other = (
        matrices(losses({"specific": [[own, 0.0], [0.0, own]]}, [1.0, 1.2])) for own in (0.7, 0.2)
    )
    figure = silencing_beside({"before": one, "after": other})
    assert figure
    assert figure.spec
    left, right = figure.spec["hconcat"]
    assert left["title"] == "specific silenced, before"
    limits = [
        panel["layer"][1]["encoding"]["color"]["scale"]["domain"][1] for panel in (left, right)
    ]
    assert limits == pytest.approx([0.7, 0.7])
    assert [row["side"] for row in figure.table.records()] == ["before"] * 4 + ["after"] * 4
    (said,) = what_silencing_differs({"before": one, "after": other})
    assert said == (
        "Growth of a language's own perplexity over that of the others, specific silenced: "
        f"×{np.exp(0.7):.2f} before and ×{np.exp(0.2):.2f} after."
    )
    related = matrices(losses({"related": [[0.7, 0.0], [0.0, 0.7]]}, [1.0, 1.2]))
    assert silencing_beside({"before": one, "after": related}) is None
    assert not list(what_silencing_differs({"before": one, "after": related}))


def test_silencing_and_other_models_have_their_place(model: Model) -> None:
    """Two models of the same questions stand beside each other, with what silencing costs both."""
    twin = model._replace(name="twin", alignments=())
    made = chapters.beside(chapters.sides([model, twin]))
    titles = [panel.figure.title for panel in made.panels if panel.where == SCHOOL]
    assert titles == [
        "Neurons by layer, on school and on market",
        "Neurons by layer, in small and in twin",
        "What silencing costs, in small and in twin",
    ]
    names = [panel.figure.name for panel in made.panels if panel.where == SCHOOL]
    assert names == ["layers-beside-1", "layers-beside-2", "perplexity-beside-2"]
    assert any("100% are specific in twin too" in line for line in lines(made, SCHOOL))
