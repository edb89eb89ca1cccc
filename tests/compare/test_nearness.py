"""Nearness: does agreement of languages rise where languages were brought nearer?"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from langneurons.compare.changes import Side, Source
from langneurons.compare.comparison import compare
from langneurons.compare.nearness import nearness
from langneurons.config import IdentifyConfig
from langneurons.neurons.counts import Counts
from langneurons.neurons.identify import identify
from langneurons.report.change_charts import change_figures
from langneurons.report.charts import Figure
from support.values import random_counts, with_questions

CONFIG = IdentifyConfig(rate=0.1, tau_quantile=0.7, lam=0.1, bootstrap=0)
CODES = ("en", "zh", "sw", "th")


def drawn(shared: Sequence[float], *, near: float = 0.0, seed: int = 0) -> Counts:
    """Counts of layers in which so much of the rates is the block's in every language; of `near` in
    the last layer more of it in Swahili and English."""
    rng = np.random.default_rng(0)
    noise = np.random.default_rng(seed)
    tokens = np.full((4, 8), 20_000)
    active = []
    for layer, weight in enumerate(shared):
        of_block = rng.uniform(0.2, 0.8, (1, 8, 80))
        own = rng.uniform(0.2, 0.8, (4, 8, 80))
        weights = np.full((4, 1, 1), weight)
        if layer == len(shared) - 1:
            weights[[0, 2]] += near
        rates = weights * of_block + (1 - weights) * own
        active.append(noise.binomial(20_000, rates))
    return with_questions(Counts(CODES, tuple(active), tokens, block_rule="drawn"))


def side(name: str, counts: Counts) -> Side:
    return Side(name, identify(counts, CONFIG), Source(counts, CONFIG))


def found(before: Counts, after: Counts) -> dict[tuple, dict]:
    table, notes = nearness(
        side("before", before), [side("after", after)], ["sw"], resamplings=50, seed=1
    )
    assert table
    assert notes == []
    return {
        (row["share"], row["languages"], row["first layer"], row["last layer"]): row
        for row in table.records()
    }


def test_nothing_happened() -> None:
    """Two recordings of one model: no interval leaves out 0 by more than their noise."""
    rows = found(drawn([0.5] * 5), drawn([0.5] * 5, seed=1))
    spans = {key[2:] for key in rows}
    assert spans >= {(0, 4), (0, 0), (1, 1), (2, 2), (3, 3), (4, 4)}
    assert len(rows) == 7 * len(spans)
    assert all(abs(row["change"]) < 0.01 for row in rows.values())


def test_languages_brought_nearer_in_one_layer() -> None:
    rows = found(drawn([0.4] * 5), drawn([0.4] * 5, near=0.3, seed=1))
    nearer = rows["agreement", "trained with English", 4, 4]
    assert nearer["low"] > 0.2
    assert rows["agreement", "sw with English", 4, 4] == {**nearer, "languages": "sw with English"}
    for layer in range(4):
        assert abs(rows["agreement", "trained with English", layer, layer]["change"]) < 0.01
    others = rows["agreement", "others with English", 4, 4]["change"]
    assert others < nearer["change"]
    assert 0 < rows["agreement", "all", 0, 4]["change"] < nearer["change"]


def test_pairing_narrows_the_interval() -> None:
    """What questions have in common cancels out where both sides resample the same blocks."""
    before, after = drawn([0.5] * 5), drawn([0.5] * 5, seed=1)
    paired = found(before, after)["agreement", "all", 0, 4]
    keys = tuple(keys + 1 for keys in after.questions)
    apart = found(before, dataclasses.replace(after, questions=keys))["agreement", "all", 0, 4]
    assert paired["change"] == apart["change"]
    assert paired["high"] - paired["low"] < (apart["high"] - apart["low"]) / 3


def test_counts_that_do_not_tell_are_named() -> None:
    known, unknown = drawn([0.5] * 5), random_counts(0, 4, widths=((80,),) * 5)
    unknown = dataclasses.replace(unknown, languages=CODES)
    table, notes = nearness(side("a", known), [side("b", unknown)], [])
    assert table is None
    [note] = notes
    assert note.startswith("b: agreement of languages is not told: the counts do not say which")


def test_a_comparison_tells_and_draws_it() -> None:
    before, after = drawn([0.4] * 5), drawn([0.4] * 5, near=0.3, seed=1)
    made = compare(side("before", before), [side("after", after)], trained=["sw"], resamplings=10)
    table = made.tables["agreement-changes"]
    figures = {figure.name: figure for figure in change_figures(made.tables)}
    figure = figures["agreement-changes"]
    assert isinstance(figure, Figure)
    assert figure.table == table
    assert figure.spec
    panels = figure.spec["vconcat"]
    assert [panel["title"] for panel in panels] == [
        "all languages",
        "trained with English",
        "others with English",
    ]
    bars = panels[1]["data"]["values"]
    assert [row["last layer"] for row in bars] == [0, 1, 2, 3, 4]
    assert bars[4]["change"] == pytest.approx(max(row["change"] for row in bars))
