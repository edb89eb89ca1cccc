"""What every engine is asked: seeds, stop strings, settings."""

import pytest

from langneurons.ask.engine import seed_of, until_stop
from langneurons.config import SampleConfig
from langneurons.errors import InputError


def test_seeds_are_those_of_the_response() -> None:
    names = [
        (seed, q, lang, i)
        for seed in (0, 1)
        for q in ("a", "b")
        for lang in ("en", "zh")
        for i in (0, 1)
    ]
    seeds = [seed_of(*name) for name in names]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**64 for seed in seeds)
    assert seed_of(0, "mgsm-000", "en", 0) == 13399967252158123053  # the same for ever


def test_a_text_ends_before_its_first_stop_string() -> None:
    assert until_stop("abc###def", ("###", "c#")) == ("ab", True)
    assert until_stop("abc", ("###",)) == ("abc", False)


def test_settings_that_make_no_sense() -> None:
    for bad in (
        {"n": 0},
        {"temperature": -1},
        {"temperature": 0},
        {"top_p": 0},
        {"top_k": -1},
        {"stop": ("",)},
    ):
        with pytest.raises(InputError):
            SampleConfig(**bad)
