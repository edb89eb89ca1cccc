import numpy as np
import pytest

from langneurons.compare.overlap import overlap
from langneurons.config import IdentifyConfig
from langneurons.errors import InputError, MismatchError
from langneurons.neurons.identify import identify
from support.values import neurons_at, random_counts, tiny

SPREAD = IdentifyConfig(rate=0.99, tau_quantile=0.5, lam=0.0, bootstrap=0)


def test_by_hand() -> None:
    before = neurons_at([(0, 0, "en"), (0, 1, "zh"), (1, 0, "en zh"), (1, 1, "en zh sw")])
    after = neurons_at([(0, 0, "en"), (0, 1, "sw"), (0, 2, "zh"), (1, 1, "en zh sw")])
    rows = {(row.kind, row.language): row for row in overlap(before, after)}
    # Specific: {(0,0), (0,1)} before, {(0,0), (0,1), (0,2)} after; both hold two, though (0,1)
    # changed its language.
    assert rows["specific", "all"][2:] == (2, 3, 2, 1.0, 2 / 3, 3 / 8)
    assert rows["specific", "en"][2:] == (1, 1, 1, 1.0, 1.0, 1 / 8)
    assert rows["specific", "zh"][2:] == (1, 1, 0, 0.0, 0.0, 1 / 8)
    assert rows["related", "en"][2:5] == (1, 0, 0)
    assert rows["related", "en"].ratio == 0.0
    assert rows["related", "sw"].ratio is None
    assert rows["general", "all"][2:5] == (1, 1, 1)
    assert ("general", "en") not in rows


def test_with_itself() -> None:
    neurons = identify(random_counts(0, 4), SPREAD)
    for row in overlap(neurons, neurons):
        assert row.before == row.after == row.both
        assert row.before == 0 or row.ratio == row.jaccard == 1.0


def test_chance_is_what_random_sets_give() -> None:
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(300):
        a = neurons_at([(0, int(i), "en") for i in rng.choice(40, 12, replace=False)], ((40,),))
        b = neurons_at([(0, int(i), "en") for i in rng.choice(40, 8, replace=False)], ((40,),))
        row = overlap(a, b)[0]
        ratios.append(row.ratio)
        assert row.chance == 8 / 40
    assert np.mean(ratios) == pytest.approx(0.2, abs=0.02)


def test_another_models_widths_are_refused() -> None:
    one, other = (
        identify(tiny([[[9, 1], [1, 9]]], 10), SPREAD),
        identify(tiny([[[9, 1, 3], [1, 9, 3]]], 10), SPREAD),
    )
    with pytest.raises(
        MismatchError, match="two different models: layers 1 x 2 in the first, 1 x 3 in the second"
    ):
        overlap(one, other)


def test_no_common_language_is_refused() -> None:
    with pytest.raises(MismatchError, match="share no language: en,zh in the first, bn,th"):
        overlap(neurons_at([], languages="en zh"), neurons_at([], languages="bn th"))


def test_unknown_widths_are_refused() -> None:
    with pytest.raises(InputError, match="neither table knows"):
        overlap(neurons_at([], None), neurons_at([], None))
