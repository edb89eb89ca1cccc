"""Agreement of languages, from states whose parts are known, and from counts."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from langneurons.errors import InputError
from langneurons.intervals import block_draws
from langneurons.neurons.agreement import (
    Agreement,
    agreement,
    decomposed,
    decomposition,
    shuffled_agreement,
    told,
    unavailable,
)
from langneurons.neurons.counts import Counts, merge
from langneurons.neurons.identify import identify
from langneurons.neurons.summary import lines
from langneurons.neurons.table import Neurons
from support.values import random_counts, with_questions

CODES = ("en", "ru", "es", "fr", "de", "zh", "ja", "bn", "th", "sw")


def planted(
    language: float, meaning: float, rest: float, k: int = 10, n: int = 200, width: int = 640
) -> NDArray[np.float64]:
    """States [K, n, D] in which the parts have these variances."""
    rng = np.random.default_rng(0)
    return (
        np.sqrt(language) * rng.standard_normal((k, 1, width))
        + np.sqrt(meaning) * rng.standard_normal((1, n, width))
        + np.sqrt(rest) * rng.standard_normal((k, n, width))
    )


def shares(states: NDArray[np.float64]) -> list[float]:
    """Language, meaning, rest and agreement of one layer."""
    parts = decomposition([states], CODES[: len(states)])
    return [float(part[0, 0]) for part in parts.by_layer()]


def test_planted_shares_are_recovered() -> None:
    assert shares(planted(1, 2, 1)) == pytest.approx([0.25, 0.5, 0.25, 2 / 3], abs=0.006)


def test_noise_has_no_meaning() -> None:
    language, meaning, _, agreed = shares(planted(0, 0, 1))
    assert [language, meaning, agreed] == pytest.approx([0, 0, 0], abs=0.002)


def test_equal_states_agree_whatever_the_language_adds() -> None:
    states = planted(0, 1, 0)
    assert shares(states) == pytest.approx([0, 1, 0, 1], abs=1e-9)
    offsets = np.random.default_rng(1).standard_normal((10, 1, 640))
    assert shares(states + 3 * offsets)[3] == pytest.approx(1, abs=1e-9)


def test_shuffled_sentences_have_nothing_in_common() -> None:
    states = planted(1, 2, 1)
    assert np.abs(shuffled_agreement(states)).max() < 0.003


def test_agreement_does_not_depend_on_the_size_of_blocks() -> None:
    states = planted(0.2, 1, 1, width=400)
    blocks = states.reshape(10, 20, 10, -1).mean(axis=2)
    one_by_one = decomposition([states], CODES).by_layer()
    in_blocks = decomposition([blocks], CODES, size=10).by_layer()
    for ours, theirs in zip(one_by_one, in_blocks, strict=True):
        assert ours == pytest.approx(theirs, abs=0.02)


def by_hand(states: NDArray[np.float64]) -> list[float]:
    """The same by loops over neurons, with the textbook's sums of squares."""
    k, n, width = states.shape
    language = meaning = rest = 0.0
    for d in range(width):
        x = states[:, :, d]
        in_language, in_sentence = x.mean(axis=1), x.mean(axis=0)
        left = x - in_language[:, None] - in_sentence[None] + x.mean()
        of_rest = (left**2).sum() / ((k - 1) * (n - 1))
        language += (n * in_language.var(ddof=1) - of_rest) / n
        meaning += (k * in_sentence.var(ddof=1) - of_rest) / k
        rest += of_rest
    total = language + meaning + rest
    return [language / total, meaning / total, rest / total, meaning / (meaning + rest)]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 4), st.integers(3, 6), st.integers(1, 40))
def test_a_plain_loop_says_the_same(seed: int, k: int, n: int, width: int) -> None:
    states = np.random.default_rng(seed).uniform(size=(k, n, width)) + 5
    assert shares(states) == pytest.approx(by_hand(states), rel=1e-6, abs=1e-9)


def test_a_resampling_that_takes_each_block_once_is_what_was_observed() -> None:
    draws = np.array([[1] * 5, [2, 0, 1, 1, 1]])
    parts = decomposition([planted(1, 2, 1, n=5, width=50)], CODES, draws=draws).by_layer()
    for part in parts:
        assert part[1] == pytest.approx(part[0])
        assert part[2] != pytest.approx(part[0])


def test_intervals_hold_the_truth() -> None:
    """Ten blocks, forty recordings of one model: the offsets of languages stay as they are."""
    rng = np.random.default_rng(3)
    offsets = rng.standard_normal((4, 1, 100))
    true_language = offsets.var(axis=0, ddof=1).mean()
    inside = {"language": 0, "agreement": 0}
    for recording in range(40):
        meaning = rng.standard_normal((1, 10, 100)) * np.sqrt(2)
        states = offsets + meaning + rng.standard_normal((4, 10, 100))
        draws = block_draws(10, 200, recording)
        parts = decomposition([states], CODES[:4], draws=draws).by_layer()
        truth = {"language": true_language / (true_language + 3), "agreement": 2 / 3}
        for name in inside:
            share = told(getattr(parts, name))
            inside[name] += int(share.low[0] <= truth[name] <= share.high[0])
            assert share.replicates.mean() == pytest.approx(share.value[0], abs=0.01)
    assert min(inside.values()) >= 32


def test_layers_together_weigh_by_their_variance() -> None:
    layers = [planted(1, 2, 1, n=50, width=30), 10 * planted(2, 1, 1, n=50, width=30)]
    parts = decomposition(layers, CODES)
    both = decomposition([np.concatenate(layers, axis=2)], CODES).by_layer()
    together = parts.over(slice(0, 2))
    for ours, theirs in zip(together, both, strict=True):
        assert ours == pytest.approx(theirs[:, 0])


def test_two_languages_are_as_if_alone() -> None:
    states = planted(1, 2, 1, n=40, width=50)
    alone = decomposition([states[[0, 9]]], ("en", "sw")).by_layer()
    among = decomposition([states], CODES).by_layer("en", "sw")
    assert among.agreement == pytest.approx(alone.agreement)


def test_counts_are_their_rates() -> None:
    """Counts drawn from rates that share what a block says, in a first layer and not in a second;
    experts are taken as one layer's neurons."""
    rng = np.random.default_rng(0)
    shared = rng.uniform(0.2, 0.8, (1, 6, 2, 200))
    own = rng.uniform(0.2, 0.8, (4, 6, 100))
    tokens = np.full((4, 6), 5000)
    active = (
        rng.binomial(5000, np.broadcast_to(shared, (4, 6, 2, 200))),
        rng.binomial(5000, own),
    )
    routed = np.full((4, 6, 2), 5000)
    counts = with_questions(Counts(CODES[:4], active, tokens, (routed, None), "drawn"))
    found = agreement(counts, (0, 1), resamplings=20)
    assert found.agreement.value == pytest.approx([1, 0], abs=0.02)
    assert found.stage_agreement.value == pytest.approx(found.agreement.value)
    assert (found.shuffled < 0.2).all()
    assert sorted(found.english) == ["es", "fr", "ru"]
    assert found.english["ru"].value == pytest.approx([1, 0], abs=0.1)
    assert (found.blocks, found.questions) == (6, 30)
    again = Agreement.from_meta(found.to_meta())
    assert again.to_meta() == found.to_meta()


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (random_counts(0, 1), "of one language"),
        (with_questions(random_counts(0, blocks=1)), "hold 1 block of questions; at least 3"),
        (random_counts(0), "do not say which questions"),
    ],
)
def test_counts_that_do_not_tell_say_why(counts: Counts, reason: str) -> None:
    assert reason in str(unavailable(counts))
    with pytest.raises(InputError, match=reason):
        decomposed(counts)


def test_questions_that_not_every_language_has() -> None:
    counts = with_questions(random_counts(0))
    fewer = (*counts.questions[:3], counts.questions[3][2:])
    reason = unavailable(dataclasses.replace(counts, questions=fewer))
    assert reason == "not every language has the same 30 questions (fr lacks 2)"


def test_shards_add_up_to_the_same_questions() -> None:
    """In whatever order, and languages apart; counts that know no questions leave none known."""
    counts = with_questions(random_counts(0))
    half = tuple(keys[::2] for keys in counts.questions)
    parts = [dataclasses.replace(counts, questions=half), counts]
    for order in (parts, parts[::-1]):
        assert merge(order).parallel
        assert len(merge(order).questions[0]) == 30
    assert not merge([counts, random_counts(0)]).questions
    turned = counts.spread(("sw", *counts.languages[::-1]))
    assert [len(keys) for keys in turned.questions] == [0, 30, 30, 30, 30]
    again = Counts.from_tensors(*counts.to_tensors())
    assert again.parallel
    assert not turned.parallel


def test_neurons_keep_it() -> None:
    counts = with_questions(random_counts(3, 4, blocks=6, widths=((60,),) * 5))
    neurons = identify(counts, rate=0.1, tau_quantile=0.7, lam=0.1, bootstrap=20)
    assert neurons.agreement
    assert neurons.agreement.starts[0] == 0
    assert len(neurons.agreement.starts) == 4
    again = Neurons.from_table(neurons.to_table())
    assert again.agreement
    assert again.agreement.to_meta() == neurons.agreement.to_meta()
    assert [line for line in lines(neurons) if line.startswith("agreement")]


def test_states_that_never_change_have_no_shares() -> None:
    assert np.isnan(shares(np.full((3, 5, 4), 0.3))).all()
    counts = with_questions(Counts(("en", "sw"), (np.ones((2, 4, 3), int),), np.full((2, 4), 9)))
    assert np.isnan(agreement(counts, resamplings=5).agreement.value).all()
