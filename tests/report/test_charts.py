"""Charts: the dialect by hand, and figures as a notebook shows them."""

import json
from typing import Any

import numpy as np
import pytest

import langneurons as ln
from langneurons.errors import MissingExtraError
from langneurons.report import drawing
from langneurons.report.charts import (
    NOTEBOOK,
    SCHEMA,
    Figure,
    enc,
    layered,
    mark,
    table_figure,
    tips,
    whiskers,
)
from langneurons.report.results import FolderResults
from langneurons.tables import Table
from support.markup import parse
from support.values import losses

TABLE = Table("small", "A caption.", ("language", "share"), (("<b>", 0.5), (None, None)))


def test_fields_marks_and_layers() -> None:
    assert enc("neurons:Q", title=None) == {
        "field": "neurons",
        "type": "quantitative",
        "title": None,
    }
    assert tips("name:N", share=".1%") == [
        {"field": "name", "type": "nominal"},
        {"field": "share", "type": "quantitative", "format": ".1%"},
    ]
    level = mark("rule", {"y": enc("tau:Q")}, rows=[{"tau": 0.5}], strokeDash=[4, 3])
    assert layered([{"x": 1}], level, whiskers("y"), width=10) == {
        "data": {"values": [{"x": 1}]},
        "encoding": {},
        "layer": [
            {
                "data": {"values": [{"tau": 0.5}]},
                "mark": {"type": "rule", "strokeDash": [4, 3]},
                "encoding": {"y": {"field": "tau", "type": "quantitative"}},
            },
            {
                "mark": {"type": "rule"},
                "encoding": {
                    "y": {"field": "low", "type": "quantitative"},
                    "y2": {"field": "high"},
                },
            },
        ],
        "width": 10,
    }


@pytest.fixture(scope="module")
def figures() -> dict[str, Figure]:
    changes = [[0.5, 0.1], [0.0, 0.4]]
    return ln.figures(losses({"specific": changes}, [1.0, 1.2], blocks=3, controls=3, noise=0.1))


def test_a_notebook_shows_a_chart(figures: dict[str, Figure]) -> None:
    """As Vega-Lite where it is known, and as an image that is the figure's file."""
    bundle: dict[str, Any] = figures["perplexity"]._repr_mimebundle_(include=None, exclude=None)
    assert list(bundle) == ["text/plain", NOTEBOOK, "image/svg+xml"]
    assert bundle["image/svg+xml"] == figures["perplexity"].to_svg()
    chart = bundle[NOTEBOOK]
    assert chart["$schema"] == SCHEMA
    assert chart["hconcat"] == figures["perplexity"].spec["hconcat"]  # ty: ignore
    assert chart["config"]["background"] == "white"
    json.dumps(bundle, allow_nan=False)


def test_a_notebook_shows_a_table() -> None:
    figure = table_figure("Small", TABLE)
    bundle = figure._repr_mimebundle_()
    assert list(bundle) == ["text/plain", "text/html"]
    shown = parse(bundle["text/html"])
    assert [cell.text for cell in shown.all("th")] == ["language", "share"]
    assert [cell.text for cell in shown.all("td")] == ["<b>", "0.5", "", ""]
    assert shown.one("caption").text == "A caption."
    with pytest.raises(ValueError, match="small is a table alone"):
        figure.to_svg()


def test_a_long_table_is_cut() -> None:
    rows = tuple((f"a{i}", i) for i in range(130))
    shown = parse(table_figure("Long", TABLE._replace(rows=rows))._repr_mimebundle_()["text/html"])
    assert len(shown.all("tr")) == 1 + 100
    assert shown.one("p").text == "and 30 more rows"


def test_a_notebook_without_what_draws(
    figures: dict[str, Figure], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise MissingExtraError("not installed")

    monkeypatch.setattr(drawing, "vl_convert", missing)
    assert list(figures["perplexity"]._repr_mimebundle_()) == ["text/plain", NOTEBOOK]


def test_ipython_takes_the_bundle(figures: dict[str, Figure]) -> None:
    from IPython.core.formatters import DisplayFormatter

    data, _ = DisplayFormatter().format(figures["perplexity"])
    assert data["image/svg+xml"].startswith("<svg")
    assert NOTEBOOK in data


def test_a_drawing_is_the_same_whatever_was_drawn_before(figures: dict[str, Figure]) -> None:
    """Vega numbers gradients and clips over the life of the process."""
    first = figures["perplexity"].to_svg()
    assert "gradient_0" in first
    assert figures["perplexity-random"].to_svg() != first
    assert figures["perplexity"].to_svg() == first
    assert drawing.png(first).startswith(b"\x89PNG")


def test_figures_of_a_result(school: FolderResults) -> None:
    neurons, matrices = school.results.neurons, school.results.matrices
    assert neurons
    assert matrices
    made = ln.figures(neurons)
    tables = ["stages", "contrasts", "english"]
    names = ["layers", "shared-by", "per-language", "lambda", *tables]
    assert [*made] == [*names, next(name for name in made if name.startswith("card-"))]
    assert all(figure.name == name and figure.text for name, figure in made.items())
    assert [name for name, figure in made.items() if figure.spec is None] == tables
    costs = ln.figures(matrices.losses)
    assert [*costs] == ["perplexity", "perplexity-random", "dominance"]
    one = losses({"specific": [[0.5, 0.1], [0.0, np.nan]]}, [1.0, 1.2])
    assert [*ln.figures(one)] == ["perplexity", "dominance"]  # there are no random sets
