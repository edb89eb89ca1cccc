"""Sweep charts: every cell stands where its effect puts it, and every axis below it."""

import numpy as np
import pytest

from langneurons.config import SweepConfig
from langneurons.neurons.identify import identify
from langneurons.report.charts import Figure
from langneurons.report.sweep_charts import sweep_figures
from langneurons.sweep.sweep import Sweep, sweep
from support.values import random_counts

CONFIG = SweepConfig(
    rates="0.01,0.1,0.2",
    tau_quantiles="0.8,0.95",
    lams="auto",
    bootstrap=4,
    chance=2,
)
COUNTS = random_counts(3, 4, blocks=4, widths=((60,),) * 6)


@pytest.fixture(scope="module")
def swept() -> Sweep:
    return sweep(COUNTS, CONFIG, after=random_counts(4, 4, blocks=4, widths=((60,),) * 6))


@pytest.fixture(scope="module")
def figures(swept: Sweep) -> dict[str, Figure]:
    shown = identify(COUNTS, rate=0.1, tau_quantile=0.8, bootstrap=0, chance=0)
    return {figure.name: figure for figure in sweep_figures(swept, shown)}


def test_a_curve_has_every_cell_in_order(figures: dict[str, Figure], swept: Sweep) -> None:
    figure = figures["curve-general-rise"]
    told = [row for row in swept.rows if row["claim"] == "general-rise" and "effect" in row]
    effects = [row["effect"] for row in figure.table.records()]
    assert effects == sorted(effects)
    assert len(effects) == len(told)
    assert figure.spec
    points = figure.spec["data"]["values"]
    assert [point["n"] for point in points] == list(range(len(told)))
    assert np.allclose([point["effect"] for point in points], effects)
    assert all(point["low"] <= point["effect"] <= point["high"] for point in points)
    for point, row in zip(points, figure.table.records(), strict=True):
        assert point["axis rate"] == f"rate {row['rate']:g}"
        assert point["axis thresholds"] == f"{row['thresholds']} thresholds"
        assert point["verdict"] == row["verdict"]
    ticks = figure.spec["vconcat"][1]
    assert set(ticks["transform"][0]["fold"]) == {name for p in points for name in p if " " in name}


def test_two_cells_are_marked(figures: dict[str, Figure]) -> None:
    points = figures["curve-related-exist"].spec["data"]["values"]  # ty: ignore
    marked = {point["mark"]: point["words"] for point in points if point["mark"]}
    assert marked == {
        "paper": "rate 0.01, quantile 0.95, λ auto, not filtered, all languages",
        "here": "rate 0.1, quantile 0.8, λ auto, not filtered, all languages",
    }
    assert (
        "the paper's cell is the diamond, the cell of the neurons"
        in figures["curve-related-exist"].text
    )


def test_heat_maps_are_of_the_paper_s_other_settings(
    figures: dict[str, Figure], swept: Sweep
) -> None:
    maps = figures["sweep-lambda"]
    assert len(maps.table.rows) == 3 * 2
    rows = {
        (row["rate"], row["tau_quantile"]): row
        for row in swept.rows
        if row["lam_rule"] == "auto" and not row["prefilter"] and row["left_out"] is None
    }
    for record in maps.table.records():
        row = rows[record["rate"], record["tau quantile"]]
        if row.get("lam") is not None:
            assert record["lambda"] == pytest.approx(row["lam"], rel=1e-4)
    for record in figures["sweep-cuts"].table.records():
        starts = rows[record["rate"], record["tau quantile"]]["starts"]
        assert [record["second"], record["third"], record["fourth"]] == starts[1:]


def test_layers_stand_beside_shuffled_ones(figures: dict[str, Figure]) -> None:
    for row in figures["sweep-layers"].table.records():
        assert row["low"] <= row["shuffled"] <= row["high"]


def test_every_figure_is_drawn(figures: dict[str, Figure]) -> None:
    for figure in figures.values():
        if figure.spec:
            assert figure.to_svg().startswith("<svg")
