"""Change charts: drawn of the tables a comparison holds."""

from collections.abc import Mapping

import pytest

from langneurons.report.change_charts import (
    accuracy_change_figure,
    change_figures,
    layer_change_figure,
    shared_change_figure,
)
from langneurons.report.results import Compared, StudyResults
from langneurons.tables import Table


@pytest.fixture(scope="module")
def compared(found: StudyResults) -> Compared:
    return found.models[0].alignments[0].compared["school"]


@pytest.fixture(scope="module")
def tables(compared: Compared) -> Mapping[str, Table]:
    """Those over both steps."""
    return compared.checkpoints


def test_figures_are_drawn(tables: Mapping[str, Table]) -> None:
    figures = {figure.name: figure for figure in change_figures(tables)}
    expected = [
        "shared-changes",
        "layer-changes",
        "checkpoints",
        "group-changes",
        "transitions",
        "accuracy-changes",
    ]
    assert list(figures) == expected
    for figure in figures.values():
        assert figure.to_svg().count("<path") > 10, figure.name
    assert {row["after"] for row in figures["layer-changes"].table.records()} == {"step 60"}
    assert {row["thresholds"] for row in figures["checkpoints"].table.records()} == {"own"}
    one = tables["layer-changes"]._replace(
        rows=tuple(row for row in tables["layer-changes"].rows if row[0] == "step 30")
    )
    assert [figure.name for figure in change_figures({"layer-changes": one})] == ["layer-changes"]
    assert change_figures({}) == ()


def test_bars_are_own_thresholds_and_diamonds_the_others(tables: Mapping[str, Table]) -> None:
    figure = layer_change_figure(tables["layer-changes"])
    assert figure.spec
    for panel, kind in zip(figure.spec["vconcat"], ("specific", "related", "general"), strict=True):
        bars = panel["data"]["values"]
        diamonds = panel["layer"][-1]["data"]["values"]
        for rows, own in ((bars, True), (diamonds, False)):
            expected = [
                row["change"]
                for row in figure.table.records()
                if row["kind"] == kind and (row["thresholds"] == "own") == own
            ]
            assert [row["change"] for row in rows] == expected
            assert len(rows) == 24


def test_numbers_by_n_before_and_after(tables: Mapping[str, Table]) -> None:
    figure = shared_change_figure(tables["shared-changes"])
    assert figure.spec
    numbers, change, *_ = figure.spec["vconcat"]
    assert numbers["title"] == "before (pale) and after, among the selected"
    shown = {(row["N"], row["model"]): row["neurons"] for row in numbers["data"]["values"]}
    for row in change["data"]["values"]:
        assert row["change"] == shown[row["N"], "after"] - shown[row["N"], "before"]
    assert len(shown) == 2 * 11


def test_accuracy_is_told_by_who_was_trained(tables: Mapping[str, Table]) -> None:
    figure = accuracy_change_figure(tables["accuracy-changes"])
    assert figure.spec
    groups = {row["name"]: row["group"] for row in figure.spec["data"]["values"]}
    assert [name for name, group in groups.items() if group == "trained"] == ["Thai", "Swahili"]
    assert groups["mean"] == "mean"
    assert groups["English"] == "other"
