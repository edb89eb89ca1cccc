"""Pages: what is told first, of a study and of one set of neurons; a matrix is made once."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from langneurons.compare.comparison import Comparison
from langneurons.report import pages
from langneurons.report.html import render
from langneurons.report.pages import results_page, study_page
from langneurons.report.parts import Page
from langneurons.report.results import (
    FolderResults,
    Results,
    StudyResults,
    read_folder,
    read_study,
)
from langneurons.silencing import matrix
from langneurons.silencing.matrix import MEASURES
from langneurons.sweep.sweep import Sweep
from support.values import neurons_at


def test_what_was_studied(page: Page) -> None:
    assert page.title == "study"
    assert page.subtitle == "1 model · 10 languages · 2 sets of questions · 2 alignments"
    assert page.studied == (
        ("Model", "small: owner/model, 24 x 120 neurons"),
        (
            "Languages",
            "English, Russian, Spanish, French, German, Chinese, Japanese, Bengali, Thai, Swahili",
        ),
        ("Questions", "school: 40 in each language, 2 responses to each"),
        ("Questions", "market: 40 in each language, 2 responses to each"),
        ("Alignment", "sw-th: Swahili and Thai, aligned to English, 60 steps"),
        ("Alignment", "zh-de: Chinese and German, aligned to English, 60 steps"),
    )
    assert {name: list(values) for name, values in page.choices.items()} == {
        "model": ["small"],
        "questions": ["school", "market"],
        "alignment": ["sw-th", "zh-de"],
    }


def test_the_claims_are_those_of_the_comparisons(page: Page, study: Path) -> None:
    assert len(page.judged) == 4
    for judged in page.judged:
        home = study / "models" / "small" / judged.where["alignment"] / "comparison"
        written = Comparison.load(home / judged.where["questions"])
        assert list(judged.claims) == list(written.claims)
        assert len([claim for claim in judged.claims if claim.numbers]) < len(judged.claims) == 12


def test_four_numbers_of_every_choice(page: Page, found: StudyResults) -> None:
    model = found.models[0]
    assert [dict(told.where) for told in page.tiles] == [
        {"model": "small", "questions": questions, "alignment": name}
        for questions in ("school", "market")
        for name in ("sw-th", "zh-de")
    ]
    for told in page.tiles:
        questions, name = told.where["questions"], told.where["alignment"]
        neurons = model.base[questions].neurons
        assert neurons
        assert len(told.tiles) == 4
        language_neurons = sum(
            int((neurons.kind == kind).sum()) for kind in ("specific", "related")
        )
        assert told.tiles[0].value == f"{language_neurons:,}"
        (aligned,) = (alignment for alignment in model.alignments if alignment.name == name)
        claims = {claim.name: claim.numbers for claim in aligned.compared[questions].claims}
        moved = claims["specific-to-related"]
        by_name = {tile.name: tile for tile in told.tiles}
        assert by_name["specific / related"].value == " / ".join(
            f"{moved[kind]['value']:+,.0f}" for kind in ("specific", "related")
        ).replace("-", "−")
        raised = claims["accuracy-trained"]
        assert by_name["accuracy"].value == f"{raised['before']:.1%} → {raised['after']:.1%}"


def test_what_was_read_while_neurons_were_silenced(study: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(study, tmp_path / "run"))
    place = run / "models" / "small" / "base" / "school" / "perplexity" / "manifest.json"
    manifest = json.loads(place.read_text("utf-8"))
    manifest["facts"] |= {"texts": {"en": 4, "sw": 4}, "tokens": {"en": 1200, "sw": 900}}
    place.write_text(json.dumps(manifest), "utf-8")
    told = dict(study_page("run", read_study(run)).studied)
    assert told["Silenced on"] == (
        "school: 4 texts, 900 to 1,200 tokens in each language; 3 random sets"
    )


def test_one_set_of_neurons(school: FolderResults, school_page: Page) -> None:
    neurons = school.results.neurons
    assert neurons
    assert school_page.subtitle == "10 languages · 24 x 120 neurons · ternary classification"
    tiles = {tile.name: tile for told in school_page.tiles for tile in told.tiles}
    for kind in ("specific", "related", "general"):
        assert tiles[kind].value == f"{(neurons.kind == kind).sum():,}"
    assert neurons.rule.lam
    assert tiles["λ"].value == f"{neurons.rule.lam.value:.5f}"
    assert all(tile.interval for tile in tiles.values())
    assert len(tiles) == 5
    assert [chapter.name for chapter in school_page.chapters] == ["neurons", "silencing"]
    (judged,) = school_page.judged
    assert all(claim.numbers for claim in judged.claims)
    assert [claim.name for claim in judged.claims] == [
        "four-stages",
        "diagonal",
        "related-add",
        "english",
    ]
    assert [origin.name for origin in school_page.provenance] == ["counts", "neurons", "perplexity"]
    assert school_page.studied == ()
    assert school_page.choices == {}


def test_claims_say_where_settings_are_not_the_papers(school: FolderResults) -> None:
    """And which verdicts are others at the paper's, where a sweep has its cell."""
    neurons = school.results.neurons
    assert neurons
    (judged,) = results_page("x", school.results, []).judged
    assert judged.notes == (
        "Judged with the lowest 2% of neurons by score selected (the paper: 1%) and τ at quantile "
        "0.9 (the paper: 0.95).",
    )
    told = {claim.name: claim.verdict for claim in judged.claims}
    assert told["english"] != "does not hold"
    cells = [
        {"claim": name, "paper": paper, "thresholds": None, "verdict": verdict}
        for name, paper, verdict in (
            ("english", True, "does not hold"),
            ("english", False, "cannot tell"),
            ("four-stages", True, told["four-stages"]),
        )
    ]
    sweep = Sweep(neurons.languages, neurons.widths or (), [*map(dict, cells)], (), (), 20)
    noted = pages._judged_by(judged.claims, {}, neurons, sweep).notes
    assert noted[1:] == (
        "At the paper's settings 1 of 2 verdicts of the sweep (20 resamplings) are others. English "
        "has far fewer specific and related neurons than other languages: does not hold.",
    )
    cells[0]["verdict"] = told["english"]
    same = Sweep(neurons.languages, neurons.widths or (), cells, ())
    assert pages._judged_by(judged.claims, {}, neurons, same).notes[1:] == (
        "At the paper's settings the 2 verdicts of the sweep are these.",
    )
    as_paper = replace(neurons, rule=replace(neurons.rule, rate=0.01, tau_quantile=0.95))
    filtered = replace(as_paper, rule=replace(as_paper.rule, prefilter=True, lam=None))
    assert pages._judged_by(judged.claims, {}, filtered, None).notes == (
        "Judged with neurons highly active in no language dropped first (the paper: kept).",
    )
    assert not pages._judged_by(judged.claims, {}, as_paper, None).notes


def test_a_mask(tmp_path: Path) -> None:
    mask = neurons_at([(0, 1, "en"), (1, 3, "en zh"), (1, 2, "en zh sw")])
    page = results_page("mask", Results(neurons=mask), [])
    assert page.subtitle == "3 languages · 2 x 4 neurons · imported mask"
    assert [tile.name for tile in page.tiles[0].tiles] == ["specific", "related", "general"]
    assert [chapter.name for chapter in page.chapters] == ["neurons"]


def test_a_run_in_the_midst(study: Path, tmp_path: Path) -> None:
    """No alignment is done, one set of questions has no neurons."""
    run = Path(shutil.copytree(study, tmp_path / "run"))
    for name in ("sw-th", "zh-de"):
        shutil.rmtree(run / "models" / "small" / name)
    shutil.rmtree(run / "models" / "small" / "base" / "market" / "neurons")
    page = study_page("run", read_study(run))
    assert "changes" not in [chapter.name for chapter in page.chapters]
    assert [judged.where for judged in page.judged] == [{"model": "small", "questions": "school"}]
    assert len(page.judged[0].claims) == 4
    school, market = page.tiles
    assert [tile.name for tile in school.tiles] == [
        "language neurons",
        "silenced",
        "accuracy",
        "general",
    ]
    assert [tile.name for tile in market.tiles] == ["accuracy"]
    assert [explored.where["questions"] for explored in page.explored] == ["school"]
    assert "Alignment" not in dict(page.studied)


def test_an_alignment_that_is_not_trained_yet(study: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(study, tmp_path / "run"))
    shutil.rmtree(run / "models" / "small" / "sw-th" / "adapter")
    page = study_page("run", read_study(run))
    assert (
        "Alignment",
        "sw-th: Swahili and Thai, aligned to English, not trained yet",
    ) in page.studied


def test_a_matrix_is_made_once_for_a_page(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each setting in each measure, for figures, claims, tiles and the data of the page
    together."""
    made: Counter[tuple[str, str]] = Counter()
    make = matrix.matrix

    def counted(losses, setting: str, measure: str = "difference", seed: int = 0):
        made[setting, measure] += 1
        return make(losses, setting, measure, seed)

    monkeypatch.setattr(matrix, "matrix", counted)
    once = {(s, m): 1 for s in ("specific", "specific+related") for m in MEASURES}
    study_results = read_study(study)
    html = render(study_page("study", study_results))
    assert "What silencing costs" in html
    assert made == once
    made.clear()
    found = read_folder(study / "models" / "small" / "base" / "school")
    page = results_page("school", found.results, found.provenance)
    render(page)
    assert len([figure for _, figure in page.figures() if "perplexity" in figure.name]) == 2
    assert made == once


def test_every_figure_has_a_path_of_its_own(page: Page, school_page: Page) -> None:
    paths = [path for path, _ in page.figures()]
    assert len(set(paths)) == len(paths)
    assert "small-school-sw-th/layer-changes" in paths
    assert [path for path, _ in school_page.figures()][:2] == ["layers", "shared-by"]
