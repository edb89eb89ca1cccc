"""Differences between stages, by hand, and as `identify` finds and keeps them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from langneurons.neurons.agreement import decomposed, of_meaning
from langneurons.neurons.contrasts import (
    BY_MEANING,
    BY_NEURONS,
    Contrast,
    contrasts,
    neurons_in_stages,
    of_neurons,
)
from langneurons.neurons.identify import identify
from langneurons.neurons.summary import lines, stages
from langneurons.neurons.table import Neurons
from langneurons.neurons.tables import contrast_table
from support.values import neurons_at, random_counts, with_questions

CODES = ("en", "ru", "es", "fr")


@pytest.fixture(scope="module")
def found() -> Neurons:
    counts = with_questions(random_counts(3, 4, blocks=5, widths=((60,),) * 6))
    return identify(counts, rate=0.2, tau_quantile=0.7, bootstrap=8, chance=0)


def test_by_hand() -> None:
    """Two layers a stage, the last of which has no feed-forward."""
    rows = [(0, i, "en") for i in range(6)] + [(2, 0, "zh")] + [(3, i, "en zh sw") for i in (1, 2)]
    numbers = neurons_at(rows, ((9,),) * 4).numbers
    of = np.array([True, True, True, True, False])
    wider = numbers._replace(layers=np.pad(numbers.layers, ((0, 0), (0, 1))))
    stages = neurons_in_stages(wider, (0, 2, 3), of)
    assert stages["language neurons"].tolist() == [3, 1, 0]
    assert stages["general neurons"].tolist() == [0, 0, 2]
    made = contrasts(
        (("general neurons", 3, 1),),
        {"general neurons": np.array([[0, 0, 2.0], [1, 0, 2], [0, 0, 4]])},
        {"en": {"general neurons": np.array([1.0, 0, 1])}},
    )
    assert made[0].name == "general neurons 3 > 1"
    assert made[0].difference.value == 2
    assert made[0].difference.replicates.tolist() == [1, 4]
    assert made[0].without == {"en": 0}
    assert made[0].verdict == "cannot tell"  # not without English
    assert made[0]._replace(without={}).verdict == "holds"


def test_each_language_is_left_out_as_if_it_had_never_been_counted(found: Neurons) -> None:
    counts = with_questions(random_counts(3, 4, blocks=5, widths=((60,),) * 6))
    cut = stages(found)
    assert cut
    assert [one.name for one in found.contrasts] == [f"{w} {a} > {b}" for w, a, b in BY_NEURONS]
    for code in CODES:
        rest = counts.spread(tuple(other for other in CODES if other != code))
        alone = identify(rest, rate=0.2, tau_quantile=0.7, bootstrap=0, chance=0)
        expected = of_neurons(alone.numbers, cut.starts, found.with_neurons)
        for one, other in zip(found.contrasts, expected, strict=True):
            assert one.without[code] == pytest.approx(float(other.difference.value))
        parts = decomposed(rest, resamplings=0)
        agreed = of_meaning(parts, cut.starts)
        assert found.agreement
        for one, other in zip(found.agreement.contrasts, agreed, strict=True):
            assert one.without[code] == pytest.approx(float(other.difference.value), abs=0.01)
    assert len(found.agreement.contrasts) == len(BY_MEANING)


def test_kept_with_the_neurons_and_told(found: Neurons, tmp_path: Path) -> None:
    found.save(tmp_path / "n")
    kept = Neurons.load(tmp_path / "n")
    assert kept.agreement
    assert found.agreement
    ours = (*found.contrasts, *found.agreement.contrasts)
    theirs = (*kept.contrasts, *kept.agreement.contrasts)
    assert [one.to_meta() for one in theirs] == [one.to_meta() for one in ours]
    assert [one.verdict for one in theirs] == [one.verdict for one in ours]
    table = contrast_table(kept)
    assert table
    assert [row["verdict"] for row in table.records()] == [one.verdict for one in ours]
    told = [line for line in lines(kept) if line.strip().startswith("by neurons: ")]
    assert len(told) == 1
    for one in found.contrasts:
        assert one.name in told[0]


def test_what_is_not_known_comes_back_so() -> None:
    made = contrasts((("agreement", 2, 1),), {"agreement": np.array([[0.1, np.nan]])})
    again = Contrast.from_meta({**made[0].to_meta(), "without": {"en": None}})
    assert np.isnan(again.difference.value)
    assert np.isnan(again.without["en"])
    assert again.verdict == "cannot tell"


def test_without_resampling_nothing_is_left_out() -> None:
    counts = with_questions(random_counts(3, 4, blocks=5, widths=((60,),) * 6))
    bare = identify(counts, rate=0.2, tau_quantile=0.7, bootstrap=0, chance=0)
    assert {one.verdict for one in bare.contrasts} == {"cannot tell"}
    assert not any(one.without for one in bare.contrasts)
    assert not [line for line in lines(bare) if "by neurons: " in line]
    table = contrast_table(replace(bare, agreement=None))
    assert table
    assert table.columns == ("of", "more in stage", "less in stage", "difference", "verdict")
    assert "agreement" not in table.caption
    assert "intervals" not in table.caption
