"""From counts to the table of neurons, and what resampling the blocks says of it."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langneurons.config import IdentifyConfig
from langneurons.errors import InputError
from langneurons.neurons.counts import Counts
from langneurons.neurons.identify import identify
from langneurons.neurons.selection import score
from langneurons.neurons.table import Neurons
from support.values import random_counts

CONFIG = IdentifyConfig(rate=0.1, tau_quantile=0.7, lam=0.1, bootstrap=30, chance=0)


def test_margin_says_how_far_from_the_boundary() -> None:
    counts = random_counts(1, 4, widths=((80,),))
    config = IdentifyConfig(rate=0.1, tau_quantile=0.6, lam=0.05)
    neurons = identify(counts, config)
    scores = np.sort(score(counts.probability(), config).at(0.05))
    inside, outside = scores[7], scores[8]
    assert neurons.margin[neurons.selected] == pytest.approx(
        outside - neurons.score[neurons.selected]
    )
    assert neurons.margin[~neurons.selected] == pytest.approx(
        inside - neurons.score[~neurons.selected]
    )
    assert (neurons.margin[neurons.selected] > 0).all()
    assert (neurons.margin[~neurons.selected] < 0).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.randoms())
def test_order_of_languages_does_not_matter(seed: int, random) -> None:
    counts = random_counts(seed, 4)
    order = list(counts.languages)
    random.shuffle(order)
    config = IdentifyConfig(rate=0.1, tau_quantile=0.7, lam=0.1, bootstrap=0, chance=0)
    one, other = identify(counts, config), identify(counts.spread(tuple(order)), config)
    assert one.rule.tau == other.rule.tau
    assert one.keys.tolist() == other.keys.tolist()
    columns = [other.languages.index(code) for code in one.languages]
    assert (one.member == other.member[:, columns]).all()
    assert one.score == pytest.approx(other.score, abs=1e-12)


def test_layers_of_any_width_and_experts() -> None:
    counts = random_counts(5, 4, widths=((7,), (3, 5), (4,)), tokens=400)
    neurons = identify(counts, IdentifyConfig(rate=0.9, tau_quantile=0.6, lam=0.1))
    flat = counts.probability()
    for (layer, expert, neuron), p in zip(neurons.keys, neurons.probability, strict=True):
        at = {0: neuron, 1: 7 + expert * 5 + neuron, 2: 22 + neuron}[layer]
        assert flat[:, at].tolist() == p.tolist()
    assert (neurons.expert >= 0).tolist() == (neurons.layer == 1).tolist()


def test_prefilter_drops_what_is_active_nowhere() -> None:
    counts = random_counts(2, 4, widths=((200,),))
    config = IdentifyConfig(rate=0.2, tau_quantile=0.8, lam=0.05)
    plain, filtered = (
        identify(counts, config),
        identify(counts, dataclasses.replace(config, prefilter=True)),
    )
    assert (plain.kind == "none").any()
    assert not (filtered.kind == "none").any()
    assert filtered.selected.sum() == plain.selected.sum()


def test_planted_neurons_are_found(example) -> None:
    made = example.make(seed=3)
    neurons = identify(made.counts, bootstrap=0)
    planted = made.kind[neurons.layer, neurons.neuron]
    for kind in ("specific", "general"):
        right = (planted == kind) & (neurons.kind == kind)
        assert right.sum() > 0.9 * (made.kind == kind).sum(), kind
        assert right.sum() > 0.8 * (neurons.kind == kind).sum(), kind
    specific = neurons.where((neurons.kind == "specific") & (planted == "specific"))
    truth = made.member[:, specific.layer, specific.neuron].T
    assert (truth == specific.member).all()


@pytest.mark.parametrize("languages", [2, 3, 7])
def test_any_number_of_languages(languages: int) -> None:
    neurons = identify(
        random_counts(8, languages, widths=((50,),)),
        IdentifyConfig(rate=0.2, tau_quantile=0.5, lam=0.05),
    )
    n = neurons.n_languages
    expected = np.where(
        n == 0, "none", np.where(n == 1, "specific", np.where(n == languages, "general", "related"))
    )
    assert neurons.kind.tolist() == expected.tolist()
    assert neurons.rule.lam is not None
    assert neurons.rule.lam.factor == pytest.approx(
        math.log(languages) * languages / sum(1 / k for k in range(1, languages + 1))
    )


def test_a_resampling_is_identification_of_resampled_blocks() -> None:
    """Intervals from replicates that are put together block by block and identified from the
    start.
    """
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
    """Ten languages, very different blocks: a neuron just above tau everywhere is below it
    somewhere in most draws.
    """
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
    """Every token of one language is in one block: resamplings without that block have no
    probability for it.
    """
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


def part_of(counts: Counts, blocks: np.ndarray) -> Counts:
    """The counts of some blocks alone."""
    return Counts(
        counts.languages,
        tuple(active[:, blocks] for active in counts.active),
        counts.tokens[:, blocks],
        (),
        "drawn",
    )


def found(whole: Neurons, part: Neurons, kind: str) -> float:
    """The share of a kind's neurons in one table that are of it in another, in the plainest way."""
    there = {
        tuple(key): (kind, tuple(member) if kind == "specific" else None)
        for key, kind, member in zip(
            part.keys.tolist(), part.kind.tolist(), part.member.tolist(), strict=True
        )
    }
    rows = [
        (tuple(key), (kind, tuple(member) if kind == "specific" else None))
        for key, its, member in zip(
            whole.keys.tolist(), whole.kind.tolist(), whole.member.tolist(), strict=True
        )
        if its == kind
    ]
    return sum(there.get(key) == what for key, what in rows) / len(rows)


def test_how_many_are_found_again_from_fewer_blocks() -> None:
    """As identification of those blocks alone has it, and of the other half."""
    counts = random_counts(9, 3, blocks=8, widths=((60,), (40,)), tokens=60)
    whole = identify(counts, CONFIG)
    assert [(row.blocks, row.of) for row in whole.again] == [
        (1, "all"),
        (2, "all"),
        (4, "all"),
        (4, "rest"),
    ]
    rng = np.random.default_rng(CONFIG.seed)
    orders = [rng.permutation(8) for _ in range(8)]
    without = dataclasses.replace(CONFIG, bootstrap=0)
    for row in whole.again:
        parts = [identify(part_of(counts, order[: row.blocks]), without) for order in orders]
        looked_for = [whole] * 8
        if row.of == "rest":
            looked_for = [identify(part_of(counts, order[4:]), without) for order in orders]
        for kind, (middle, low, high) in row.shares.items():
            shares = [found(a, b, kind) for a, b in zip(looked_for, parts, strict=True)]
            assert (middle, low, high) == (np.median(shares), min(shares), max(shares))
        tokens = [counts.tokens[:, order[: row.blocks]].sum(axis=1).min() for order in orders]
        assert row.tokens == round(np.mean(tokens))
    assert whole.again[0].shares["specific"][0] < whole.again[2].shares["specific"][0]
    assert Neurons.from_table(whole.to_table()).again == whole.again


def test_blocks_that_are_alike_find_all_of_them_again() -> None:
    one = random_counts(9, 3, blocks=1, widths=((60,),))
    counts = part_of(one, np.zeros(8, int))
    for row in identify(counts, CONFIG).again:
        assert set(row.shares.values()) == {(1.0, 1.0, 1.0)}


def test_nothing_is_found_again_without_resampling() -> None:
    counts = random_counts(9, 3, blocks=8)
    assert identify(counts, dataclasses.replace(CONFIG, bootstrap=0)).again == ()
    assert identify(random_counts(9, 3, blocks=1), CONFIG).again == ()
