"""Page data: what the scripts read of figures, of neurons and of what silencing them costs."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from langneurons.report import page_data
from langneurons.report.charts import table_figure
from langneurons.report.parts import Explored, Page, Panel
from langneurons.report.results import FolderResults
from langneurons.silencing.matrix import matrices
from langneurons.tables import Table
from support.values import losses, neurons_at

if TYPE_CHECKING:
    from langneurons.neurons.table import Neurons


@pytest.fixture(scope="module")
def explored(school_page: Page) -> Explored:
    return school_page.explored[0]


def test_a_table_is_numbers_and_texts() -> None:
    table = Table("t", "c", ("name", "n", "mixed"), (("a", 1, 1.0), (None, None, "b\x00")))
    figure = page_data.page_data([("t-0", Panel(table_figure("T", table), {"model": "m"}))], [])[
        "figures"
    ][0]
    assert figure == {
        "name": "t-0",
        "file": "m-t",
        "kind": "t",
        "title": "T",
        "spec": None,
        "csv": table.to_csv(),
        "latex": table.to_latex(),
        "columns": ("name", "n", "mixed"),
        "numeric": [0, 1, 0],
        "rows": [["a", 1, "1.0"], [None, None, "b␀"]],
        "more": 0,
    }
    rows = tuple((f"a{i}", i, None) for i in range(130))
    longer = Panel(table_figure("T", table._replace(rows=rows)), {})
    figure = page_data.page_data([("t", longer)], [])["figures"][0]
    assert len(figure["rows"]) == 100
    assert figure["more"] == 30
    assert figure["csv"].count("\n") == 131


def test_neurons_in_columns(explored: Explored) -> None:
    (held,) = page_data.page_data([], [explored])["sets"]
    neurons = explored.neurons
    json.dumps(held, allow_nan=False)
    assert held["neurons"] == len(neurons) == len(held["layer"])
    assert held["expert"] is None
    assert [
        [code in held["member"][i] for code in range(10)] for i in range(len(neurons))
    ] == neurons.member.tolist()
    assert np.array(held["p"]) / 1e5 == pytest.approx(neurons.probability, abs=1e-5)
    assert held["score"] == pytest.approx(neurons.score, abs=1e-6)
    assert held["languages"][9] == {"code": "sw", "name": "Swahili"}
    layer, neuron = held["card"]["name"].split("-")[1:]
    assert [int(layer), -1, int(neuron)] in neurons.keys.tolist()


def test_what_silencing_costs_each_language(explored: Explored) -> None:
    (held,) = page_data.page_data([], [explored])["sets"]
    found = explored.matrices
    assert found
    assert [cost["setting"] for cost in held["costs"]] == ["specific", "specific+related"]
    for cost in held["costs"]:
        matrix = found[cost["setting"], "difference"]
        assert cost["change"] == pytest.approx(np.diagonal(matrix.change), rel=1e-5)
        assert cost["low"] == pytest.approx(np.diagonal(matrix.low), rel=1e-5)
        assert cost["before"] == pytest.approx(matrix.before, rel=1e-5)
        assert cost["neurons"] == matrix.neurons.tolist()
    unknown = matrices(losses({"specific": [[0.5, 0.1], None]}, [1.0, 1.2]))
    (held,) = page_data.page_data([], [explored._replace(matrices=unknown)])["sets"]
    assert held["costs"][0]["change"][1] is None
    assert held["costs"][0]["low"] == [None, None]


def test_what_is_not_known_is_not_there() -> None:
    mask = neurons_at([(0, 1, "en"), (1, 3, "en zh"), (1, 2, "en zh sw")])
    (held,) = page_data.page_data([], [Explored(mask, None, {})])["sets"]
    for name in ("p", "score", "margin", "keeps", "card", "expert"):
        assert held[name] is None
    assert held["costs"] == []
    experts = replace(mask, expert=np.array([-1, 2, 0]))
    (held,) = page_data.page_data([], [Explored(experts, None, {})])["sets"]
    assert held["expert"] == [-1, 2, 0]


def test_sets_that_do_not_fit_are_only_named(
    school: FolderResults, explored: Explored, monkeypatch: pytest.MonkeyPatch
) -> None:
    neurons: Neurons = explored.neurons
    sets = [explored._replace(where={"questions": name}) for name in ("a", "b", "c")]
    monkeypatch.setattr(page_data, "EXPLORED", 2 * len(neurons))
    held = page_data.page_data([], sets)["sets"]
    assert ["layer" in one for one in held] == [True, True, False]
    assert held[2]["neurons"] == len(neurons)
    assert held[2]["name"] == "c"
    monkeypatch.setattr(page_data, "EXPLORED", 10)  # the first is held whole
    held = page_data.page_data([], sets)["sets"]
    assert ["layer" in one for one in held] == [True, False, False]
