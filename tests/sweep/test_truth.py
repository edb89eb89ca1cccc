"""What was planted is found in every sensible cell; what was not is no more than chance."""

import importlib.util
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from langneurons.config import IdentifyConfig, SweepConfig
from langneurons.neurons.chance import by_chance
from langneurons.neurons.counts import Counts
from support.places import ROOT


@pytest.fixture(scope="module")
def bench() -> Any:
    spec = importlib.util.spec_from_file_location("bench_sweep", ROOT / "bench" / "sweep.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("languages", [10, 100])
def test_every_sensible_cell_finds_what_was_planted(bench: Any, languages: int) -> None:
    made = bench.planted(languages, 8, 200)
    config = SweepConfig(
        rates=bench.rates(made),
        tau_quantiles=bench.quantiles(made),
        lams="auto,0",
        general=bench.SHARE,
        leave_out="none",
    )
    held = bench.held(made, config)
    assert len(held) == 3 * 3 * 4  # the quantiles far off are not sensible
    assert sum(cell.wrong for cell in held.values()) == 0
    if languages == 100:  # no neuron is active in all of so many, and few in nine tenths
        assert sum(cell.bound for cell in held.values()) >= 6
        of_all = bench.held(made, replace(config, general=1.0))
        assert not any(cell.bound for cell in of_all.values())


def alike(counts: Counts) -> Counts:
    """The same with the mean of all languages in each."""
    rng = np.random.default_rng(1)
    tokens = counts.tokens[:, :, None]
    mean = [(layer / tokens).mean(axis=(0, 1)) for layer in counts.active]
    return replace(counts, active=tuple(rng.binomial(tokens, p) for p in mean))


def test_permuted_labels_give_no_more_than_languages_that_do_not_differ(example: Any) -> None:
    counts = example.make(width=150, tokens=1000).counts
    config = IdentifyConfig(rate=0.02, chance=10)
    mixed, none = by_chance(counts, config), by_chance(alike(counts), config)
    assert mixed
    assert none
    selected = round(0.02 * 24 * 150)
    assert mixed.permuted["specific"].high <= max(none.permuted["specific"].high, 0.02 * selected)
    assert mixed.permuted["general"].mean > 10 * mixed.permuted["related"].mean
    assert max(mixed.halves.values()) <= 2


def test_a_language_that_differs_between_its_questions_is_noise_to_itself() -> None:
    """Neurons that fire in half of the blocks of one language alone: specific to a half of it."""
    rng = np.random.default_rng(0)
    tokens = np.full((4, 8), 500)
    p = np.broadcast_to(rng.uniform(0.01, 0.2, 400), (4, 8, 400)).copy()
    p[2, :4, :20], p[2, 4:, 20:40] = 0.9, 0.9
    counts = Counts(("en", "zh", "sw", "th"), (rng.binomial(tokens[:, :, None], p),), tokens)
    found = by_chance(counts, IdentifyConfig(rate=0.1, tau_quantile=0.97, chance=40))
    assert found
    assert found.halves["sw"] > 3
    assert max(found.halves[code] for code in ("en", "zh", "th")) < 1
