import dataclasses

import numpy as np
import pytest

from langneurons.config import IdentifyConfig
from langneurons.errors import InputError
from langneurons.neurons.counts import Counts
from langneurons.neurons.identify import identify
from support.values import random_counts

CONFIG = IdentifyConfig(rate=0.1, tau_quantile=0.7, lam=0.1, bootstrap=30)


def test_a_resampling_is_identification_of_resampled_blocks() -> None:
    """Intervals from replicates that are put together block by block and identified from the start."""
    counts = random_counts(4, 3, blocks=4, widths=((30,), (3, 10)))
    neurons = identify(counts, CONFIG)
    draws = np.random.default_rng(CONFIG.seed).multinomial(4, np.full(4, 0.25), CONFIG.bootstrap)
    taus, specific, kept = [], [], []
    for draw in draws:
        blocks = np.repeat(np.arange(4), draw)
        again = identify(
            Counts(
                counts.languages,
                tuple(a[:, blocks] for a in counts.active),
                counts.tokens[:, blocks],
                tuple(None if r is None else r[:, blocks] for r in counts.routed),
                "drawn",
            ),
            CONFIG,
        )
        taus.append(again.rule.tau)
        specific.append(int((again.kind == "specific").sum()))
        mine = {
            tuple(key): (kind, tuple(member) if kind == "specific" else None)
            for key, kind, member in zip(
                again.keys.tolist(), again.kind, again.member.tolist(), strict=True
            )
        }
        kept.append(
            [
                mine.get(tuple(key)) == (kind, tuple(member) if kind == "specific" else None)
                for key, kind, member in zip(
                    neurons.keys.tolist(), neurons.kind, neurons.member.tolist(), strict=True
                )
            ]
        )
    assert neurons.uncertainty is not None
    ends = neurons.uncertainty.intervals.named(neurons.languages)
    point = {"tau": neurons.rule.tau, "specific": (neurons.kind == "specific").sum()}
    for name, values in (("tau", taus), ("specific", specific)):
        low, high = np.quantile(values, [0.025, 0.975])
        expected = min(low, point[name]), max(high, point[name])
        assert ends[name] == pytest.approx(expected)
    keeps = np.where(neurons.selected, np.mean(kept, axis=0), np.nan)
    assert np.allclose(neurons.keeps, keeps, equal_nan=True)


def test_equal_blocks_leave_nothing_uncertain() -> None:
    one = random_counts(1, 3, blocks=1)
    same = Counts(
        one.languages, tuple(a.repeat(5, axis=1) for a in one.active), one.tokens.repeat(5, axis=1)
    )
    neurons = identify(same, CONFIG)
    assert neurons.uncertainty is not None
    ends = neurons.uncertainty.intervals.named(neurons.languages)
    assert len(ends) == 2 + 4 * (1 + 2) + 2 * 3
    assert all(low == high for low, high in ends.values())
    assert (neurons.keeps[neurons.selected] == 1).all()
    assert np.isnan(neurons.keeps[~neurons.selected]).all()


def test_an_interval_holds_what_was_observed() -> None:
    """Ten languages, very different blocks: a neuron just above tau everywhere is below it somewhere in most draws."""
    counts = random_counts(9, 10, blocks=3, widths=((200,),), tokens=40)
    config = dataclasses.replace(CONFIG, tau_quantile=0.5)
    neurons = identify(counts, config)
    general = neurons.numbers.of_kind("general")
    assert general.low < general.high == general.value == (neurons.kind == "general").sum()
    for kind in ("specific", "related", "general"):
        number = neurons.numbers.of_kind(kind)
        assert number.low <= (neurons.kind == kind).sum() <= number.high


def test_same_seed_same_result() -> None:
    counts = random_counts(2, 3, blocks=5)
    first, again, other = (
        identify(counts, dataclasses.replace(CONFIG, seed=seed)).to_table() for seed in (0, 0, 1)
    )
    assert first.equals(again, check_metadata=True)
    assert first.schema.metadata != other.schema.metadata


def test_one_block_has_no_intervals() -> None:
    counts = random_counts(0, 3, blocks=1)
    neurons = identify(counts, CONFIG)
    assert neurons.uncertainty is None
    assert neurons.numbers.intervals is None
    assert np.isnan(neurons.keeps).all()


def test_replicates_without_tokens_are_left_out_and_counted() -> None:
    """Every token of one language is in one block: resamplings without that block have no probability for it."""
    counts = random_counts(3, 3, blocks=3)
    tokens = counts.tokens.copy()
    tokens[0, 1:] = 0
    active = tuple(a.copy() for a in counts.active)
    for a in active:
        a[0, 1:] = 0
    lonely = Counts(counts.languages, active, tokens)
    neurons = identify(lonely, CONFIG)
    draws = np.random.default_rng(0).multinomial(3, np.full(3, 1 / 3), 30)
    assert neurons.uncertainty is not None
    assert neurons.uncertainty.failed == (draws[:, 0] == 0).sum() > 0


def test_progress_is_told() -> None:
    counts, seen = random_counts(0, 3), []
    identify(counts, CONFIG, on_step=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, 30) for i in range(30)]


def test_no_resampling_that_works_is_an_error() -> None:
    """Each language has its tokens in another block, and both draws miss a block."""
    counts = random_counts(0, 2, blocks=2)
    apart = Counts(counts.languages, counts.active, np.array([[100, 0], [0, 100]]))
    missing = (
        seed
        for seed in range(1000)
        if (np.random.default_rng(seed).multinomial(2, [0.5, 0.5], 2) == 0).any(axis=1).all()
    )
    config = dataclasses.replace(CONFIG, bootstrap=2, seed=next(missing))
    with pytest.raises(InputError, match="none of 2 resamplings of the 2 blocks"):
        identify(apart, config)
