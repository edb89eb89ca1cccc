"""Scored responses in a folder of their own."""

from pathlib import Path

import pytest

from langneurons.align.scores import Scored, Scores
from langneurons.errors import FormatError
from langneurons.texts.responses import Response

SCORES = Scores(
    (
        Scored(Response("q", "sw", "q? ", "a\u2028b", 0, 9, True), -0.5, -0.25, 2),
        Scored(Response("q", "sw", "q? ", "", 1), None, None, 0),
    )
)


def test_kept_and_loaded(tmp_path: Path) -> None:
    SCORES.save(tmp_path / "s")
    assert Scores.load(tmp_path / "s") == SCORES


def test_what_was_changed_is_refused(tmp_path: Path) -> None:
    SCORES.save(tmp_path / "s")
    file = tmp_path / "s" / "scored.jsonl"
    file.write_bytes(file.read_bytes().replace(b"-0.5", b"-0.1"))
    with pytest.raises(FormatError, match=r"scored.jsonl is missing or not as it was written"):
        Scores.load(tmp_path / "s")
