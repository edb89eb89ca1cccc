"""Figures of a model's states, from made-up meaning and lens."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langneurons import artifacts
from langneurons.meaning.lens_table import COLUMNS, Lens
from langneurons.meaning.measures import Meaning, measures
from langneurons.meaning.pooled import Pooled
from langneurons.report import chapters
from langneurons.report.meaning_charts import meaning_figures, not_drawn
from langneurons.report.pages import results_page
from langneurons.report.results import Results, read_folder
from support.values import neurons_at, random_counts

CODES = ("en", "zh", "sw")
LAYERS = 6


def states(meaning: float, width: int = 40) -> np.ndarray:
    """[K, n, D] with so much of the sentence in them."""
    rng = np.random.default_rng(int(10 * meaning))
    noise = rng.standard_normal((3, 30, width))
    return (meaning * rng.standard_normal((1, 30, width)) + noise).astype(np.float32)


def meant(of: list[float]) -> Meaning:
    """Meaning of hidden states and rates with so much of the sentence in each."""
    hidden = tuple(states(one) for one in of)
    return measures(Pooled(hidden, hidden[1:]), CODES, bootstrap=20)


@pytest.fixture(scope="module")
def lens() -> Lens:
    """States 0 to 2 are unreadable; English leads up to state 4, then the own language."""
    numbers = np.ones((LAYERS + 1, 3, 5, len(COLUMNS)))
    numbers[:3, ..., COLUMNS.index("divergence")] = 20
    languages = np.full((LAYERS + 1, 3, 5, 3), 0.1)
    languages[:5, ..., 0] = 0.8
    for k in range(3):
        languages[5:, k, :, k] = 0.8
    sums: Mapping[str, Any] = {
        "numbers": numbers,
        "languages": languages,
        "latent": np.zeros((LAYERS + 1, 3, 5, 3, 3)),
        "ranks": np.ones((LAYERS + 1, 15, 1)),
    }
    return Lens(CODES, CODES, np.full(3, 1 / 3), sums)


def results(meaning: Meaning | None, lens: Lens | None) -> Results:
    everywhere = ["en zh sw" if layer in (2, 3) else "zh" for layer in range(LAYERS)]
    rows = [(layer, i, codes) for layer, codes in enumerate(everywhere) for i in (0, 1)]
    return Results(neurons_at(rows, ((4,),) * LAYERS), meaning=meaning, lens=lens)


def test_all_on_the_same_layers(lens: Lens) -> None:
    found = results(meant([0.1, 0.2, 1, 2, 2, 1, 0.5]), lens)
    figures = {figure.name: figure for figure in meaning_figures(found)}
    assert list(figures) == ["depth", "lens", "lens-lead", "meaning-places"]
    depth = figures["depth"]
    assert depth.spec
    marks = [panel["layer"][-1]["encoding"] for panel in depth.spec["vconcat"]]
    titles = [encoding["y"]["title"] for encoding in marks[1:]]
    assert titles == ["agreement", "share of variance", "share"]
    assert "1 understanding (0-" in depth.text
    of = {(row["curve"], row["of"], row["number"]): row for row in depth.table.records()}
    assert of["general", "layer", 2]["value"] == 2
    assert of["own language", "state", 6]["value"] == pytest.approx(0.8)
    assert of["English", "state", 0]["readable"] == "no"
    assert of["agreement", "layer", 2]["value"] > of["agreement", "layer", 0]["value"]
    assert depth.to_svg().startswith("<svg")
    assert figures["lens"].to_svg().startswith("<svg")


def test_where_there_is_no_meaning_it_is_said_and_no_curve_drawn(lens: Lens) -> None:
    found = results(meant([1.0] * (LAYERS + 1)), None)
    (table,) = meaning_figures(found)
    assert table.spec is None
    assert "no curve is drawn" in not_drawn(found)[0]
    chapter = chapters.meanings([({}, found)])
    assert any("no curve is drawn" in line for note in chapter.notes for line in note.lines)
    with_lens = results(found.meaning, lens)
    depth, *_ = meaning_figures(with_lens)
    panels = {row["panel"] for row in depth.table.records()}
    assert panels == {"neurons", "share"}


def test_read_beside_the_neurons_of_their_model(lens: Lens, tmp_path: Path) -> None:
    counts = random_counts(0, 3, blocks=2, widths=((4,),) * LAYERS)
    artifacts.save(counts, tmp_path / "counts", inputs={"model": "ours"})
    made_from = {"counts": artifacts.read(tmp_path / "counts").digest}
    neurons = results(None, None).neurons
    assert neurons
    artifacts.save(neurons, tmp_path / "neurons", inputs=made_from)
    artifacts.save(meant([0.1, 2.0]), tmp_path / "meaning", inputs={"model": "another"})
    artifacts.save(lens, tmp_path / "lens", inputs={"model": "ours"})
    found = read_folder(tmp_path)
    assert found.results.meaning is None
    assert found.results.lens
    assert [origin.name for origin in found.provenance] == ["counts", "neurons", "lens"]
    page = results_page("x", found.results, found.provenance)
    assert [chapter.name for chapter in page.chapters][:2] == ["neurons", "meaning"]
