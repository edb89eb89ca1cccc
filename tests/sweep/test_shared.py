"""Every cell of a sweep is what `identify` finds with its settings, to the neuron."""

import re
from dataclasses import replace

import numpy as np
import pytest

from langneurons import layout
from langneurons.config import IdentifyConfig, SweepConfig
from langneurons.errors import InputError
from langneurons.neurons.classes import Thresholds, classify
from langneurons.neurons.counts import Counts
from langneurons.neurons.identify import identify
from langneurons.sweep.grid import cells
from langneurons.sweep.shared import Shared
from support.values import random_counts

GRID = SweepConfig(
    rates="0.02,0.1,0.3",
    tau_quantiles="0.5,0.7,0.9",
    lams="auto,0.05,0.4,0",
    lam_limit=2.0,
    leave_out="every",
    bootstrap=0,
    chance=0,
)


def without(counts: Counts, code: str | None) -> Counts:
    return counts.spread(tuple(other for other in counts.languages if other != code))


def shared(counts: Counts, config: SweepConfig) -> Shared:
    return Shared(
        counts.probability(per=config.per),
        counts.widths,
        config.numbers("tau_quantiles"),
        general=config.general,
        limit=config.lam_limit,
    )


@pytest.mark.parametrize(
    ("config", "widths"),
    [
        (GRID, ((60,), (40,), (50,))),
        (replace(GRID, general=0.6), ((60,), (40,), (50,))),
        (replace(GRID, per="routed"), ((60,), (4, 12), (3, 20))),
    ],
)
def test_every_cell_is_what_identify_finds(config: SweepConfig, widths: tuple) -> None:
    counts = random_counts(7, 5, widths=widths, tokens=60)
    by_code, infeasible, bound = {}, 0, 0
    every = cells(config, counts.languages)
    assert len(every) == 6 * (4 * 2 - 1 + 1) * 9
    for cell in every:
        some = without(counts, cell.left_out)
        if cell.left_out not in by_code:
            by_code[cell.left_out] = shared(some, config)
        settings = cell.config(config)
        try:
            expected = identify(some, settings)
        except InputError as error:
            with pytest.raises(InputError, match=re.escape(str(error))):
                by_code[cell.left_out].own(settings)
            infeasible += 1
            continue
        found = by_code[cell.left_out].own(settings)
        listed = layout.positions(counts.widths, expected.keys)
        assert np.array_equal(found.selected, listed[expected.selected])
        kinds = np.array(["specific", "related", "general", "none", "not listed"])[found.kind]
        assert np.array_equal(kinds[listed], expected.kind)
        assert (kinds != "not listed").sum() == len(listed)
        lam = expected.rule.lam
        assert (found.lam and found.lam.value) == (lam and lam.value)
        assert (found.lam and found.lam.binding) == (lam and lam.binding)
        bound += bool(lam and lam.status == "bound")
        for name in ("tau", "lam", "layers", "languages", "among", "everywhere"):
            ours, theirs = getattr(found.numbers, name), getattr(expected.numbers, name)
            assert np.array_equal(ours, theirs, equal_nan=True), name
    assert infeasible
    assert bound >= 8


@pytest.mark.parametrize("cell", [IdentifyConfig(rate=0.1), IdentifyConfig("lape", rate=0.3)])
def test_by_given_thresholds_as_classify_has_it(cell: IdentifyConfig) -> None:
    after = random_counts(2, 5, widths=((60,), (90,)))
    for tau, lam in ((0.3, 0.1), (0.9, 0.0), (2.0, 0.2)):  # above 1 nothing passes the filter
        given = Thresholds(cell, tau, None if cell.method == "lape" else lam)
        _, expected = classify(after, replace(cell, lam=0.1), None, given)
        found = shared(after, GRID).by(given)
        assert np.array_equal(found.kind, expected.kind)
        assert np.array_equal(found.numbers.layers, expected.numbers.layers)
