"""Mediation charts: every bar is a share, every band the interval of its random sets."""

import shutil
from pathlib import Path

import pytest

from langneurons import artifacts
from langneurons.effects.mediation import FAIR, shares
from langneurons.report.mediation_charts import mediation_figure
from langneurons.report.pages import results_page
from langneurons.report.results import read_folder, read_study
from support.mediations import mediation


def test_bars_are_shares_and_bands_random_sets() -> None:
    made = mediation({"all": 0.8, "specific": 0.4, "related": 3.0})
    figure = mediation_figure(made)
    assert figure.spec
    trained, others = figure.spec["vconcat"]
    assert trained["title"].startswith("trained languages (sw, th): +")
    assert others["title"].startswith("other languages (en)")
    bars = {(row["set"], row["way"]): row for row in trained["data"]["values"]}
    for row in shares(made):
        if row.group != "trained languages":
            continue
        bar = bars[row.name, row.way]
        assert bar["share"] == pytest.approx(min(row.share.value, 1.25))
        if FAIR in row.random:
            assert bar["from"] == pytest.approx(row.random[FAIR].low)
            assert bar["to"] == pytest.approx(row.random[FAIR].high)
        else:
            assert "from" not in bar
    assert figure.to_svg().startswith("<svg")
    [first, *_] = figure.table.records()
    assert (first["set"], first["beyond"], first["verdict"]) == ("all", None, None)
    assert len(figure.table.rows) == 2 * 2 * 3


def test_the_page_of_a_folder_and_of_a_study_show_it(study: Path) -> None:
    """Where it lies beside the neurons it was made with, or with an alignment of the run."""
    folder = study / "models" / "small" / "base" / "school"
    neurons = artifacts.read(folder / "neurons")
    made = mediation({"all": 0.8, "specific": 0.4})
    alignment = next((study / "models" / "small").glob("*/adapter")).parent
    places = (folder / "followed", alignment / "mediation")
    try:
        for place in places:
            inputs = {"neurons": neurons.digest}
            with artifacts.writing(place, "mediation", "mediate", {}, inputs) as draft:
                made.write(draft)
        found = read_folder(folder)
        page = results_page("page", found.results, found.provenance)
        assert "mediation" in [chapter.name for chapter in page.chapters]
        assert "mediated-by-specific" in [claim.name for claim in page.judged[0].claims]
        [model] = read_study(study).models
        assert [one.mediation is not None for one in model.alignments].count(True) == 1
    finally:
        for place in places:
            shutil.rmtree(place, ignore_errors=True)
