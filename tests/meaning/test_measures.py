"""Measures of states whose meaning is known, and their file."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from langneurons import artifacts
from langneurons.errors import FormatError, InputError
from langneurons.meaning.measures import HIDDEN, RATES, Meaning, measures
from langneurons.meaning.pooled import Pooled
from langneurons.meaning.retrieval import retrieved
from langneurons.report.results import load_result

CODES = ("sw", "en", "th")


def planted(meaning: float, seed: int) -> NDArray[np.float32]:
    """States of 40 sentences in 3 languages, so much of them the sentence's."""
    rng = np.random.default_rng(seed)
    language = rng.standard_normal((3, 1, 30))
    sentence = np.sqrt(meaning) * rng.standard_normal((1, 40, 30))
    rest = np.sqrt(1 - meaning) * rng.standard_normal((3, 40, 30))
    return (language + sentence + rest).astype(np.float32)


@pytest.fixture(scope="module")
def states() -> Pooled:
    """A surface, a middle that is all meaning but for noise, an end."""
    hidden = tuple(planted(share, i) for i, share in enumerate((0.1, 0.9, 0.4)))
    rates = tuple((vectors > 0).astype(np.float32) for vectors in hidden[1:])
    return Pooled(hidden, rates)


@pytest.fixture(scope="module")
def made(states: Pooled) -> Meaning:
    return measures(states, CODES, bootstrap=50, cka=True, notes=["a note"])


def test_shares_are_those_planted(made: Meaning) -> None:
    for row, share in zip(made.of(HIDDEN), (0.1, 0.9, 0.4), strict=True):
        assert row["agreement"] == pytest.approx(share, abs=0.05)
        assert row["agreement low"] <= row["agreement"] <= row["agreement high"]
        assert abs(row["shuffled"]) < 0.06
        assert row["language"] + row["meaning"] < 1
    assert made.pivot == "en"
    assert made.sentences == 40
    assert made.beyond_surface


def test_scores_are_means_over_pairs(states: Pooled, made: Meaning) -> None:
    sw, en, th = np.asarray(states.hidden[2], np.float64)
    row = made.of(HIDDEN)[2]
    with_pivot = [retrieved(en, sw).hits.mean(), retrieved(en, th).hits.mean()]
    assert row["raw"] == pytest.approx(np.mean(with_pivot), abs=1e-6)
    every = [*with_pivot, retrieved(sw, th).hits.mean()]
    assert row["raw all"] == pytest.approx(np.mean(every), abs=1e-6)
    assert row["raw chance"] <= 1 / 40
    of_pairs = {
        pair["language"]: pair["raw"]
        for pair in made.pairs.records()
        if (pair["states"], pair["place"]) == (HIDDEN, 2)
    }
    assert list(of_pairs.values()) == pytest.approx(with_pivot, abs=1e-6)
    assert list(of_pairs) == ["sw", "th"]


def test_equal_states_are_found_and_shuffled_ones_are_not(states: Pooled) -> None:
    equal = np.stack([states.hidden[0][0]] * 3)
    rng = np.random.default_rng(0)
    shuffled = np.stack([equal[0][rng.permutation(40)] for _ in range(3)])
    found = measures(Pooled((equal, shuffled), ()), CODES, bootstrap=0).of(HIDDEN)
    assert (found[0]["raw"], found[0]["standardised"], found[0]["agreement"]) == (1, 1, 1)
    assert found[1]["raw"] <= 0.1
    assert found[1]["agreement"] == pytest.approx(0, abs=0.05)
    assert found[0]["agreement low"] is None


def test_nothing_beyond_the_surface() -> None:
    """Where no state finds more than state 0, it is said."""
    flat = Pooled((planted(0.3, 0),) * 3, ())
    assert not measures(flat, CODES, bootstrap=50).beyond_surface


def test_without_rates_it_is_said(states: Pooled) -> None:
    made = measures(states._replace(rates=()), CODES, bootstrap=0)
    assert not made.of(RATES)
    assert "mixtures of experts" in made.notes[-1]
    assert "CKA" not in made.places.columns


def test_another_pivot(states: Pooled) -> None:
    made = measures(states, CODES, bootstrap=0, pivot="th")
    assert {row["language"] for row in made.pairs.records()} == {"sw", "en"}
    with pytest.raises(InputError, match="pivot de: the languages of these texts are sw, en, th"):
        measures(states, CODES, pivot="de")


def test_in_and_out_of_a_folder(made: Meaning, tmp_path: Path) -> None:
    made.save(tmp_path / "m")
    assert load_result(tmp_path / "m") == made
    assert (tmp_path / "m" / "meaning-places.csv").read_text().startswith("states,place,language,")
    folder = artifacts.read(tmp_path / "m")
    broken = folder.folder / Meaning.FILE
    content = broken.read_bytes()
    broken.write_bytes(content[:-20])
    with pytest.raises(FormatError, match="as it was written"):
        Meaning.load(tmp_path / "m")
