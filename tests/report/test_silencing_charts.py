"""Silencing charts: every cell is that of the matrix."""

import numpy as np
import pytest

from langneurons.report.results import FolderResults
from langneurons.report.silencing_charts import (
    COST_LIMIT,
    _multiples,
    change_figure,
    dominance_table,
    random_figure,
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
                drawn = np.exp(ratio.controls[:, i, j])
                assert cell["random"] == f"{drawn.min():.4g} to {drawn.max():.4g}"
                assert (cell["beyond"] == "•") == (cell["cost"] > ratio.controls[:, i, j].max())
                assert cell["interval"] == f"{row['low']:+.4g} to {row['high']:+.4g}"
                assert row["after"] == pytest.approx(found.before[j] + found.change[i, j], rel=1e-5)
                assert row["ratio"] == pytest.approx(row["after"] / row["before"], rel=1e-4)
                assert row["neurons"] == found.neurons[i]
                bits = made[setting, "bits per byte"].change[i, j]
                assert row["bits"] == pytest.approx(bits, rel=1e-5)


def test_colours_end_where_the_greatest_cost_does(made: Matrices) -> None:
    change = change_figure(made)
    assert change.spec
    greatest = max(np.abs(made[s, "log ratio"].change).max() for s in made.settings)
    assert greatest < COST_LIMIT
    for panel in change.spec["hconcat"]:
        low, high = panel["layer"][1]["encoding"]["color"]["scale"]["domain"]
        assert -low == high == pytest.approx(greatest, rel=1e-5)


def test_every_random_set_is_shown(made: Matrices) -> None:
    figure = random_figure(made)
    assert figure
    assert figure.spec
    assert "each of 3 random sets of as many neurons in the same layers" in figure.text
    for row in figure.table.records():
        found = made[row["setting"], "log ratio"]
        i, j = (made.languages.index(row[part]) for part in ("silenced", "evaluated"))
        drawn = found.controls[:, i, j]
        for name, how in (("least", np.min), ("median", np.median), ("most", np.max)):
            assert row[f"random {name}"] == pytest.approx(how(drawn), rel=1e-5)
        assert row["random below"] == pytest.approx(found.percentile[i, j], rel=1e-5)
    for setting, panel in zip(made.settings, figure.spec["hconcat"], strict=True):
        found, marks = made[setting, "log ratio"], panel["layer"]
        ticks = next(each["data"]["values"] for each in marks if each["mark"]["type"] == "tick")
        for i, own in enumerate(panel["data"]["values"]):
            ends = [found.low[i, i], found.change[i, i], found.high[i, i]]
            assert [own[x] for x in ("low", "ratio", "high")] == pytest.approx(
                np.exp(ends), rel=1e-5
            )
            drawn = [tick["ratio"] for tick in ticks if tick["code"] == own["code"]]
            assert drawn == pytest.approx(np.exp(found.controls[:, i, i]), rel=1e-5)


def test_how_many_cells_exceed_their_random_sets() -> None:
    """Random sets cost 0.01 and 0.02: a's own neurons more, b's others more, c has none."""
    changes = {"specific": [[0.5, 0.02, 0.0], [0.03, 0.015, 0.0], None]}
    figure = random_figure(matrices(losses(changes, [1.0, 1.2, 1.1], controls=2)))
    assert figure
    assert "any of them: specific, 1 of 2 own cells and 1 of 4 others." in figure.text
    assert "it would be one cell in 3." in figure.text


def test_without_random_sets_there_is_nothing_to_stand_beside() -> None:
    without = matrices(losses({"specific": [[0.5, 0.1], [0.0, 0.4]]}, [1.0, 1.2]))
    assert random_figure(without) is None
    assert "A dot" not in change_figure(without).text
    nothing = matrices(losses({"specific": [None, None]}, [1.0, 1.2], controls=2))
    assert random_figure(nothing) is None


@pytest.mark.parametrize("most", [1.006, 1.02, 1.1, 1.3, 2.5, 30.0, 4000.0, 1e9])
def test_an_axis_of_multiples_names_one_and_a_few_others(most: float) -> None:
    named = _multiples(0.999, most)
    assert 1 in named
    assert 1 < len(named) < 13
    assert all(0.999 <= x <= most for x in named)


def test_a_language_without_neurons_is_a_dash() -> None:
    some = matrices(losses({"specific": [[0.5, 0.1], None]}, [1.0, 1.2]))
    figure = change_figure(some)
    assert figure.spec
    (panel,) = figure.spec["hconcat"]
    run, not_run = panel["data"]["values"][0], panel["data"]["values"][2]
    assert run["cost label"] == "1.65"  # e to the 0.5
    assert run["interval"] == run["random"] == "unknown"  # one block, no random sets
    assert not_run["change"] is None
    assert not_run["cost label"] == "–"
    assert not_run["ratio"] == "not run"
    assert figure.table.records()[2]["change"] is None
    none = change_figure(matrices(losses({"specific": [None, None]}, [1.0, 1.2])))
    assert {row["change"] for row in none.table.records()} == {None}


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
