"""Scores, lambda and the selection: by hand, and against the plainest loops there are."""

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
from langneurons.neurons.selection import (
    choose_lambda,
    find,
    general_selected,
    lowest,
    score,
    threshold,
)
from support.values import random_counts, tiny


def loop_score(p: list[float], lam: float) -> float:
    """The released score of one neuron, in the plainest code there is."""
    total, languages = sum(p), len(p)
    entropy = 0.0
    for x in p:
        share = x / total if total else 1 / languages
        if share > 0:
            entropy -= share * math.log(share)
    h = sum(1 / k for k in range(1, languages + 1)) / languages
    return entropy / math.log(languages) - lam * max(p) / h


def test_every_kind_by_hand() -> None:
    # Ten tokens in each of three languages; five neurons, all selected. tau is the 7th smallest of
    # 15 probabilities.            none      specific  related   general   never active
    active = [[[1, 9, 9, 9, 0], [1, 0, 8, 9, 0], [1, 1, 1, 9, 0]]]
    neurons = identify(
        tiny(active, 10, "en zh sw"),
        IdentifyConfig(rate=0.99, tau_quantile=7 / 15, lam=0.1, bootstrap=0),
    )
    assert neurons.rule.tau == 0.1
    assert neurons.rule.histogram == (2, 1, 1, 1)
    assert neurons.kind.tolist() == ["none", "specific", "related", "general", "none"]
    assert neurons.member.tolist() == [
        [False, False, False],
        [True, False, False],
        [True, True, False],
        [True, True, True],
        [False, False, False],
    ]
    p = neurons.probability.tolist()
    assert p[1] == [0.9, 0.0, 0.1]
    assert neurons.score.tolist() == pytest.approx([loop_score(row, 0.1) for row in p])


def test_tau_is_strict_and_of_that_rank() -> None:
    p = np.array([[0.1, 0.2, 0.3, 0.4, 0.5], [0.6, 0.7, 0.8, 0.9, 1.0]])
    assert threshold(p, 0.95) == 1.0  # round(9.5) = 10th smallest
    assert threshold(p, 0.8) == 0.8
    assert score(p, IdentifyConfig(rate=0.2, tau_quantile=0.8)).n_languages.tolist() == [
        0,
        0,
        0,
        1,
        1,
    ]


def test_lowest_takes_the_first_of_equals() -> None:
    assert lowest(np.array([3.0, 1.0, 1.0, 0.0, 1.0]), 3).tolist() == [1, 2, 3]
    assert lowest(
        np.array([3.0, 1.0, 1.0, 0.0, 1.0]), 3, np.array([1, 0, 1, 1, 1], bool)
    ).tolist() == [2, 3, 4]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 6), st.floats(0, 0.5))
def test_scores_agree_with_the_loop(seed: int, languages: int, lam: float) -> None:
    p = random_counts(seed, languages).probability()
    p[:, 0] = 0
    scores = score(p, IdentifyConfig(rate=0.1))
    expected = [loop_score(column, lam) for column in p.T.tolist()]
    assert scores.at(lam).tolist() == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.05, 0.1, 0.3]), st.sampled_from([0.5, 0.7, 0.8]))
def test_lambda_is_the_supremum(seed: int, rate: float, quantile: float) -> None:
    counts = random_counts(seed, 3, widths=((60,),))
    config = IdentifyConfig(rate=rate, tau_quantile=quantile, lam_limit=1.0)
    scores = score(counts.probability(), config)
    try:
        lam = choose_lambda(scores, 3, counts.widths, config)
    except InputError:
        assert general_selected(scores, 0.0) > 0
        return
    assert general_selected(scores, lam.value) == 0
    for step in np.linspace(0, lam.value, 50):
        assert general_selected(scores, float(step)) == 0
    if lam.status == "bound":
        assert lam.supremum is not None
        assert lam.value < lam.supremum
        assert lam.supremum - lam.value < 1e-12
        assert general_selected(scores, min(lam.supremum + 1e-9, 1.0)) > 0
        chosen = lowest(scores.at(lam.supremum + 1e-9), scores.size)
        assert lam.binding == (0, *[int(i) for i in chosen if scores.n_languages[i] == 3][:1])
    else:
        assert lam.value == 1.0
        assert general_selected(scores, 1.0) == 0


@pytest.mark.parametrize(
    ("languages", "share", "least", "rate"), [(10, 0.75, 8, 0.05), (100, 0.9, 90, 0.4)]
)
def test_lambda_binds_on_neurons_general_to_a_share(
    languages: int, share: float, least: int, rate: float
) -> None:
    """Exactly, as for all languages: nothing general just below it, the binding one just above."""
    rng = np.random.default_rng(languages)
    level = rng.beta(0.7, 2, 400)
    p = np.clip(level * rng.choice([0.1, 1, 1.6], (languages, 400), p=[0.1, 0.6, 0.3]), 0, 1)
    config = IdentifyConfig(rate=rate, tau_quantile=0.7, general=share, lam_limit=1.0)
    scores = score(p, config)
    assert scores.least_general == least
    assert scores.general.sum() == (np.sum(p > scores.tau, axis=0) >= least).sum() > 0
    lam = choose_lambda(scores, languages, ((400,),), config)
    assert lam.status == "bound"
    assert lam.supremum is not None
    assert lam.binding is not None
    for at in (*np.linspace(0, lam.value, 200), lam.value):
        assert not scores.general[lowest(scores.at(float(at)), scores.size)].any()
    above = lowest(scores.at(lam.supremum + 1e-9), scores.size)
    assert above[scores.general[above]].tolist() == [lam.binding[1]]
    if languages == 100:  # nothing is active in all of so many, so nothing binds
        whole = score(p, dataclasses.replace(config, general=1.0))
        assert choose_lambda(whole, languages, (), config).status == "no general"


def test_a_share_moves_related_to_general() -> None:
    # Highly active in 3, 2, 1, 0 of three languages; two thirds of three are two.
    active = [[[9, 9, 9, 1], [9, 9, 1, 1], [9, 1, 1, 1]]]
    settings = {"rate": 0.9, "tau_quantile": 0.5, "lam": 0.1}
    paper, shared = (
        identify(tiny(active, 10, "en zh sw"), general=share, **settings) for share in (1.0, 0.6)
    )
    assert paper.kind.tolist() == ["general", "related", "specific", "none"]
    assert shared.kind.tolist() == ["general", "general", "specific", "none"]
    assert (paper.least_general, shared.least_general) == (3, 2)
    assert shared.numbers.kinds.tolist() == [1, 0, 2, 1]


def test_no_general_neuron_uses_the_limit() -> None:
    lam = identify(
        tiny([[[9, 0, 1], [0, 9, 1]]], 10), IdentifyConfig(rate=0.4, tau_quantile=0.6)
    ).rule.lam
    assert lam is not None
    assert (lam.status, lam.value, lam.binding) == ("no general", 0.2, None)


def test_general_at_lambda_0_is_named_with_a_rate_that_works() -> None:
    # Neuron 2 is highly active everywhere and yet the second most specific; with one selected it is
    # not.
    counts = tiny([[[8, 2, 9, 2], [0, 3, 5, 2]]], 10)
    config = IdentifyConfig(rate=0.5, tau_quantile=0.5)
    with pytest.raises(
        InputError, match=r"neuron \(0, 2\) is highly active in every language .* at most 0.25"
    ):
        identify(counts, config)
    assert identify(counts, dataclasses.replace(config, rate=0.25)).selected.sum() == 1


def test_lape_by_hand() -> None:
    # tau is the 6th smallest of 8, 0.3. Neuron 0 is never above it and is dropped although its
    # entropy is 0.
    active = [[[3, 9, 1, 2], [0, 0, 5, 2]]]
    neurons = identify(tiny(active, 10), IdentifyConfig("lape", rate=0.5, tau_quantile=0.75))
    assert neurons.rule.tau == 0.3
    assert neurons.rule.lam is None
    assert neurons.neuron.tolist() == [1, 2]
    assert neurons.kind.tolist() == ["specific", "specific"]
    assert neurons.score.tolist() == pytest.approx(
        [loop_score([0.9, 0], 0), loop_score([0.1, 0.5], 0)]
    )


def test_one_language_is_refused() -> None:
    one = Counts(("en",), (np.ones((1, 1, 100), int),), np.full((1, 1), 10))
    with pytest.raises(InputError, match="these counts hold one language"):
        identify(one)


def test_a_rate_that_selects_nothing_is_refused() -> None:
    with pytest.raises(InputError, match=r"rate 0\.01 of 2 neurons selects none; use 0\.5 or more"):
        identify(tiny([[[5, 1], [1, 5]]], 10))


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"rate": 0}, "rate 0 is outside"),
        ({"rate": 1.0}, "rate 1.0 is outside"),
        ({"tau_quantile": 1.5}, "tau-quantile 1.5 is outside"),
        ({"general": 0}, "general 0 is outside"),
        ({"general": 1.1}, "general 1.1 is outside"),
        ({"lam": -0.1}, "lam -0.1 is not"),
        ({"lam": math.nan}, "lam nan is not"),
        ({"lam_limit": 0.0}, "lam-limit 0.0 is not above 0"),
        ({"bootstrap": 1}, "needs 2 resamplings"),
        ({"method": "magic"}, "'magic' is no method"),
    ],
)
def test_settings_out_of_range(settings: dict, what: str) -> None:
    with pytest.raises(InputError, match=what):
        IdentifyConfig(**settings)


def test_find_on_ties_is_deterministic() -> None:
    p = np.full((3, 50), 0.25)
    p[0, ::7] = 0.5
    config = IdentifyConfig(rate=0.1, tau_quantile=0.9, lam=0.1)
    assert find(p, ((50,),), config).selected.tolist() == [0, 7, 14, 21, 28]
