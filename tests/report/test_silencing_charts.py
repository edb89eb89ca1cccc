"""Silencing charts: every cell is that of the matrix."""

import numpy as np
import pytest

from langneurons.report.results import FolderResults
from langneurons.report.silencing_charts import (
    COST_LIMIT,
    Z_LIMIT,
    change_figure,
    dominance_table,
    z_figure,
)
from langneurons.silencing.matrix import Matrices, matrices
from support.values import losses


@pytest.fixture(scope="module")
def made(school: FolderResults) -> Matrices:
    assert school.results.matrices
    return school.results.matrices


def test_cells_are_those_of_the_matrix(made: Matrices) -> None:
    figure = change_figure(made)
    assert figure.spec
    for setting, panel in zip(made.settings, figure.spec["hconcat"], strict=True):
        found, ratio = made[setting, "difference"], made[setting, "log ratio"]
        assert panel["title"] == f"{setting} silenced"
        cells = {(row["from"], row["to"]): row for row in panel["data"]["values"]}
        table = {
            (r["silenced"], r["evaluated"]): r
            for r in figure.table.records()
            if r["setting"] == setting
        }
        assert len(cells) == len(table) == 100
        for i, a in enumerate(made.languages):
            for j, b in enumerate(made.languages):
                cell, row = cells[a, b], table[a, b]
                assert (
                    cell["change"] == row["change"] == pytest.approx(found.change[i, j], rel=1e-5)
                )
                assert cell["cost"] == pytest.approx(ratio.change[i, j], rel=1e-5)
                assert cell["z"] == pytest.approx(ratio.z[i, j], rel=1e-5)
                assert cell["interval"] == f"{row['low']:+.4g} to {row['high']:+.4g}"
                assert row["after"] == pytest.approx(found.before[j] + found.change[i, j], rel=1e-5)
                assert row["ratio"] == pytest.approx(row["after"] / row["before"], rel=1e-4)
                assert row["neurons"] == found.neurons[i]
                bits = made[setting, "bits per byte"].change[i, j]
                assert row["bits"] == pytest.approx(bits, rel=1e-5)


def test_colours_end_where_the_greatest_cost_does(made: Matrices) -> None:
    change, z = change_figure(made), z_figure(made)
    assert change.spec
    assert z
    assert z.spec
    greatest = max(np.abs(made[s, "log ratio"].change).max() for s in made.settings)
    assert greatest < COST_LIMIT
    for figure, limit in ((change, greatest), (z, Z_LIMIT)):
        for panel in figure.spec["hconcat"]:  # ty: ignore
            low, high = panel["layer"][1]["encoding"]["color"]["scale"]["domain"]
            assert -low == high == pytest.approx(limit, rel=1e-5)


def test_random_sets(made: Matrices) -> None:
    z = z_figure(made)
    assert z
    for row in z.table.records():
        found = made[row["setting"], "log ratio"]
        i, j = (made.languages.index(row[part]) for part in ("silenced", "evaluated"))
        assert row["random sets"] == pytest.approx(found.controls[:, i, j].mean(), rel=1e-5)
        assert row["random sets below"] == pytest.approx(found.percentile[i, j], rel=1e-5)
    assert "3 random sets" in z.text
    one_set = losses({"specific": [[0.5, 0.1], [0.0, 0.4]]}, [1.0, 1.2], controls=1)
    assert z_figure(matrices(one_set)) is None


def test_a_language_without_neurons_is_a_dash() -> None:
    some = matrices(losses({"specific": [[0.5, 0.1], None]}, [1.0, 1.2]))
    figure = change_figure(some)
    assert figure.spec
    (panel,) = figure.spec["hconcat"]
    run, not_run = panel["data"]["values"][0], panel["data"]["values"][2]
    assert run["cost label"] == "1.65"  # e to the 0.5
    assert run["interval"] == run["above"] == "unknown"  # one block, no random sets
    assert not_run["change"] is None
    assert not_run["cost label"] == "–"
    assert not_run["ratio"] == "not run"
    assert figure.table.records()[2]["change"] is None


def test_the_test_of_the_diagonal(made: Matrices) -> None:
    rows = dominance_table(made).records()
    settings = [(row["setting"], row["measure"]) for row in rows]
    assert settings == [(s, m) for s in made.settings for m in ("difference", "log ratio")]
    for row in rows:
        found = made.dominance(row["setting"], row["measure"])
        assert row["own greatest"] == "10 of 10"
        assert row["elsewhere"] == row["no such neurons"] == ""
        assert row["verdict"] == found.holds == "holds"
        assert row["p"] == pytest.approx(found.p, rel=1e-5)
        assert row["apart"] == pytest.approx(found.diagonal - found.others, rel=1e-5)
    empty = matrices(losses({"specific": [[0.1, 0.5], None]}, [1.0, 1.2]))
    first = dominance_table(empty).records()[0]
    assert first["elsewhere"] == "a:b"
    assert first["no such neurons"] == "b"
