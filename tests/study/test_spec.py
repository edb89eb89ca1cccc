"""What a study is: a value whose parts go together."""

from dataclasses import replace

import pytest

from langneurons.config import AlignConfig
from langneurons.errors import InputError
from langneurons.study.spec import Domain, Study, Translator

LEAST = Study(("en", "sw"), {"m": "m"}, {"d": Domain("d.jsonl")})
ALIGNED = replace(
    LEAST,
    languages=("zh", "en", "sw", "th"),
    seeds=Domain("s.jsonl"),
    translator=Translator("t"),
    alignments={"a": ("sw",), "b": ("zh", "sw")},
    align=AlignConfig(steps=250, save_every=100),
)


def test_the_steps_that_are_studied() -> None:
    assert LEAST.steps() == (1000,)
    assert ALIGNED.steps() == (250,)
    assert replace(ALIGNED, checkpoints="all").steps() == (100, 200, 250)
    assert replace(ALIGNED, checkpoints=(200, 100, 250)).steps() == (100, 200, 250)
    with pytest.raises(InputError, match="checkpoints: 150 is none that is kept"):
        replace(ALIGNED, checkpoints=(150,))


def test_questions_to_align_on_are_asked_in_the_languages_aligned_and_english() -> None:
    assert ALIGNED.seed_languages() == ("zh", "en", "sw")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"languages": ()}, "languages: at least one is needed"),
        ({"models": {}}, "models: at least one is needed"),
        ({"domains": {}}, "domains: at least one is needed"),
        ({"languages": ("sw", "en", "sw")}, "languages sw, en, sw: each may stand once"),
        ({"models": {"report": "m"}}, "models: 'report' cannot name a folder here"),
        ({"domains": {"seeds": Domain("d")}}, "domains: 'seeds' cannot name a folder here"),
        ({"alignments": {"base": ("sw",)}}, "alignments: 'base' cannot name a folder here"),
        ({"alignments": {"a": ()}}, "alignments: a aligns nothing"),
        ({"alignments": {"a": ("sw", "en")}}, "alignments: a aligns en; give some of the lang"),
        ({"alignments": {"a": ("sw",)}, "seeds": None}, r"alignments need \[seeds\]"),
        ({"alignments": {"a": ("sw",)}, "translator": None}, r"alignments need \[seeds\]"),
        ({"languages": ("sw", "zh")}, r"alignments need \[seeds\], \[translator\], and en among"),
    ],
)
def test_what_does_not_go_together(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        replace(ALIGNED, **changes)
    with pytest.raises(InputError, match="take -1"):
        Domain("d", take=-1)
