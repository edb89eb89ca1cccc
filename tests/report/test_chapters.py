"""Chapters: which figures and tables there are for each choice, and what is said of them."""

import pytest

from langneurons.report import chapters
from langneurons.report.chapters import after_alignment, before_alignment
from langneurons.report.parts import Chapter, Page, Where
from langneurons.report.results import Model, Results, StudyResults

SCHOOL = {"model": "small", "questions": "school"}
MARKET = {"model": "small", "questions": "market"}
CHANGES = [
    "kind-changes",
    "layer-changes",
    "checkpoints",
    "shared-changes",
    "group-changes",
    "english-changes",
    "stability",
    "stability-domains",
    "transitions",
    "language-changes",
    "thresholds",
    "overlap",
]


@pytest.fixture(scope="module")
def model(found: StudyResults) -> Model:
    return found.models[0]


def names(chapter: Chapter, where: Where) -> list[str]:
    """Its figures and tables that are about this."""
    return [panel.figure.name for panel in chapter.panels if dict(panel.where) == dict(where)]


def lines(chapter: Chapter, where: Where) -> list[str]:
    return [
        line for note in chapter.notes if dict(note.where) == dict(where) for line in note.lines
    ]


def test_chapters_come_in_the_order_of_the_flow(page: Page) -> None:
    assert [chapter.name for chapter in page.chapters] == [
        "answers",
        "neurons",
        "silencing",
        "beside",
        "alignment",
        "changes",
    ]
    for chapter in page.chapters:
        for part in (*chapter.panels, *chapter.previews, *chapter.notes):
            assert part.where
            for choice, value in part.where.items():
                assert value in page.choices[choice]


def test_answers(model: Model) -> None:
    chapter = chapters.answers([model])
    for where in (SCHOOL, MARKET):
        assert names(chapter, where) == ["accuracy", "responses"]
        for name in ("sw-th", "zh-de"):
            assert names(chapter, {**where, "alignment": name}) == ["accuracy-changes"]
    shown = chapter.panels[0].figure.table
    assert list(dict.fromkeys(row["model"] for row in shown.records())) == [
        "before",
        "sw-th",
        "zh-de",
    ]
    accuracy, responses = lines(chapter, SCHOOL)
    assert accuracy.startswith(
        "Accuracy: one greedy answer to each question; intervals are Wilson's"
    )
    assert responses == (
        "Responses: drawn anew for each question and language. Settings: max-new-tokens 200."
    )
    table = next(p.figure.table for p in chapter.panels if p.figure.name == "responses")
    assert table.records()[9] == {
        "language": "sw",
        "name": "Swahili",
        "responses": 40,
        "right": 15,
        "judged": 40,
        "cut": 1,
        "empty": 0,
        "other script": 0,
        "other language": 2,
    }


def test_neurons(model: Model) -> None:
    chapter = chapters.neurons(before_alignment([model]))
    for where in (SCHOOL, MARKET):
        assert names(chapter, where) == [
            "layers",
            "shared-by",
            "per-language",
            "lambda",
            "stages",
            "contrasts",
            "english",
        ]
        counted, selected, *_ = lines(chapter, where)
        assert counted == (
            "Counts: how often each neuron is above 0, over tokens of responses. "
            "Settings: blocks 4."
        )
        assert selected.startswith("The lowest 0.02 of 2,880 neurons by score are selected")


def test_silencing(model: Model) -> None:
    """On the questions it was measured on, and after alignment under names that say so."""
    chapter = chapters.silencing(before_alignment([model]))
    assert names(chapter, SCHOOL) == ["perplexity", "perplexity-random", "dominance"]
    assert names(chapter, MARKET) == []
    assert lines(chapter, SCHOOL) == [
        "Perplexity of responses given their prompts, with neurons set to zero. "
        "Settings: controls 3."
    ]
    noted = model.base["school"]._replace(
        manifests={"perplexity": {"config": {"controls": 3}, "facts": {"notes": ["th was lost"]}}},
    )
    assert lines(chapters.silencing([(SCHOOL, noted)]), SCHOOL)[1:] == ["th was lost"]
    assert not chapters.silencing(after_alignment([model])).panels
    where = {**SCHOOL, "alignment": "sw-th"}
    after = chapters.silencing([(where, model.base["school"])])
    assert names(after, where) == ["perplexity-after", "perplexity-random-after", "dominance-after"]
    assert after.panels[0].figure.title == "What silencing costs, after alignment"


def test_aligning(model: Model) -> None:
    chapter = chapters.aligning([model])
    assert names(chapter, {"model": "small"}) == ["scores"]
    where = {"model": "small", "alignment": "sw-th"}
    assert names(chapter, where) == ["audit", "training"]
    audit = next(p.figure.table for p in chapter.panels if p.figure.name == "audit")
    assert [row[:2] for row in audit.rows] == [("sw", "Swahili"), ("th", "Thai")]
    assert audit.records()[0]["kept"] == 390
    (preview,) = [p for p in chapter.previews if p.where == where]
    assert [pair.lang for pair in preview.pairs] == ["sw"] * 3 + ["th"] * 3
    assert lines(chapter, {"model": "small"}) == [
        "Scores: how probable the English responses are as translations, by "
        "owner/translator. Settings: ."
    ]
    pairs, training = lines(chapter, where)
    assert pairs == (
        "Pairs: the higher score is preferred, if its number is right. Settings: margin 0.0."
    )
    assert training == (
        "Training: a LoRA adapter on 700 pairs (sw 350, th 350). "
        "Settings: steps 60, beta 0.1, learning-rate 1e-06."
    )


def test_changes(model: Model) -> None:
    chapter = chapters.changes([model])
    for name in ("sw-th", "zh-de"):
        assert names(chapter, {**MARKET, "alignment": name}) == CHANGES
        first_questions = [change for change in CHANGES if change != "stability-domains"]
        assert names(chapter, {**SCHOOL, "alignment": name}) == first_questions
        first, own, *_ = lines(chapter, {**SCHOOL, "alignment": name})
        assert first.startswith("Intervals: 95% of 8 resamplings of the blocks of questions")
        assert own.startswith("Own thresholds: each model by its own τ and λ.")
    figures = {panel.figure.name: panel.figure for panel in chapter.panels}
    assert "after" not in figures["stability"].table.columns  # it is step 60 in every row
    assert "after" in figures["checkpoints"].table.columns
    assert figures["stability"].title == "Which neurons keep their kind, across alignment"


def test_impossible_counts_of_an_import_are_said(model: Model) -> None:
    faults = [{"negative": 5, "above_one": 0}, {"negative": 2, "above_one": 1}]
    manifest = {"config": {}, "facts": {"import": faults}}
    results = model.base["school"]._replace(manifests={"counts": manifest})
    said = lines(chapters.neurons([(SCHOOL, results)]), SCHOOL)
    assert said[1] == (
        "Imported: 7 counts were negative and are set to 0; 1 are above the number of tokens and "
        "stay as they are."
    )
    manifest["facts"]["import"] = [{"negative": 0, "above_one": 0}]
    assert not any("Imported" in x for x in lines(chapters.neurons([(SCHOOL, results)]), SCHOOL))


def test_what_was_read_is_said_as_it_was(model: Model) -> None:
    """Running text is cut in chunks; then there are neither responses nor prompts."""
    for config, read in (({}, "responses given their prompts"), ({"chunk": 512}, "running text")):
        manifest = {"config": config, "facts": {}}
        results = model.base["school"]._replace(manifests={"perplexity": manifest})
        (said,) = lines(chapters.silencing([(SCHOOL, results)]), SCHOOL)
        assert said.startswith(f"Perplexity of {read}, with neurons set to zero.")


def test_a_chapter_of_nothing(model: Model) -> None:
    empty = Model("m", "m", {"q": Results()}, (), None)
    for chapter in (
        chapters.answers([empty]),
        chapters.neurons(before_alignment([empty])),
        chapters.silencing(before_alignment([empty])),
        chapters.beside(chapters.sides([empty])),
        chapters.aligning([empty]),
        chapters.changes([empty]),
    ):
        assert chapter.panels == ()
        assert [line for note in chapter.notes for line in note.lines] == []
