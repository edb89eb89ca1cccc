"""What every command shares: its skeleton, its progress, its tables."""

import io
import json
import pty
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from langneurons import artifacts, console, resume
from langneurons.errors import InputError, MismatchError


@dataclass(frozen=True)
class Total:
    """A result of the simplest kind: one number."""

    number: int
    KIND: ClassVar[str] = "total"

    def write(self, draft: artifacts.Draft) -> None:
        draft.bytes("total.json", json.dumps(self.number).encode())

    @classmethod
    def load(cls, source: Path | str | artifacts.Artifact) -> "Total":
        return cls(json.loads(artifacts.opened(source, cls.KIND).file("total.json").read_bytes()))


class Work:
    """Makes a total, and counts how often."""

    def __init__(self, number: int = 3) -> None:
        self.number, self.times = number, 0

    def __call__(self, state: resume.State, _: resume.Progress | None):
        self.times += 1
        state.save({"sum": np.zeros(1)}, 1)
        return Total(self.number), {"rows": (1, 2)}


def made(out: Path, work: Work, *, seed: int = 0, force: bool = False) -> console.Made[Total]:
    return console.made(
        Total, out, "add", {"seed": seed}, {}, work, doing="adding", force=force, quiet=True
    )


def test_a_result_is_made_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = Work()
    first = made(tmp_path / "t", work)
    assert capsys.readouterr().err == ""
    second = made(tmp_path / "t", work)
    assert work.times == 1
    assert first == second == console.Made(tmp_path / "t", Total(3), {"rows": [1, 2]})
    assert capsys.readouterr().err == f"{tmp_path / 't'} is up to date; nothing to do\n"
    assert [path.name for path in tmp_path.iterdir()] == ["t"], "the state is dropped"


def test_other_settings_are_refused_or_forced(tmp_path: Path) -> None:
    made(tmp_path / "t", Work(3))
    with pytest.raises(MismatchError, match="seed 0 there, 1 now"):
        made(tmp_path / "t", Work(4), seed=1)
    assert made(tmp_path / "t", Work(4), seed=1, force=True).value == Total(4)
    assert Total.load(tmp_path / "t") == Total(4)


def test_what_fails_leaves_its_state_and_no_result(tmp_path: Path) -> None:
    def fails(state: resume.State, _: resume.Progress | None):
        state.save({"sum": np.ones(1)}, 1)
        raise InputError("no more")

    with pytest.raises(InputError, match="no more"):
        made(tmp_path / "t", fails)  # ty: ignore[invalid-argument-type]
    assert [path.name for path in tmp_path.iterdir()] == [".t.state-0-of-1"]
    saved = []

    def goes_on(state: resume.State, _: resume.Progress | None):
        saved.append(state.load())
        return Total(1), {}

    made(tmp_path / "t", goes_on)  # ty: ignore[invalid-argument-type]
    assert saved[0][1] == 1


def test_only_the_first_of_several_processes_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert made(tmp_path / "t", Work()).value == Total(3)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("RANK", "0")
    made(tmp_path / "t", Work())
    monkeypatch.setenv("RANK", "1")
    made(tmp_path / "t", Work())
    assert capsys.readouterr().err == ""


def test_lines_of_progress_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line each half minute, by a clock that the test turns."""
    now = 1000.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    with console.progress("recording", quiet=False, unit="tokens") as step:
        assert step is not None
        for done in range(0, 100_001, 1000):
            step(done, 100_000)
            now += 1
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "recording: 30,000 of 100,000 tokens (30%), 1,000.0 a second, about 70 s left",
        "recording: 60,000 of 100,000 tokens (60%), 1,000.0 a second, about 40 s left",
        "recording: 90,000 of 100,000 tokens (90%), 1,000.0 a second, about 10 s left",
    ]


def test_the_rate_is_of_what_was_done_since_a_run_went_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    with console.progress("scoring", quiet=False) as step:
        assert step is not None
        now = 300.0  # as long as a server takes to start
        step(900, 1000)  # nine tenths were there
        now = 331.0
        step(931, 1000)
    assert capsys.readouterr().err.splitlines() == [
        "scoring: 900 of 1,000 (90%)",
        "scoring: 931 of 1,000 (93%), 1.0 a second, about 69 s left",
    ]


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("recording", quiet=True) as step:
        assert step is None
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal() -> None:
    """On a terminal of its own, as a person sees it."""
    code = (
        "import time\n"
        "from langneurons import console\n"
        "with console.progress('recording', quiet=False, unit='tokens') as step:\n"
        "    for done in range(5):\n"
        "        step(done, 5)\n"
        "        time.sleep(0.15)\n"
    )
    mine, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", code], stderr=theirs) as process:
        process.wait()
    import os

    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(mine, 1 << 16)
        except OSError:
            break
        if not part:
            break
        seen += part
    os.close(mine)
    text = seen.decode()
    assert process.returncode == 0
    assert "recording" in text
    assert "tokens a second" in text
    assert "4/5" in text


def test_columns_by_hand() -> None:
    text = console.columns(
        ("language", "tokens", "share"), [("en", 12345, "1.0%"), ("zh", None, "-")]
    )
    assert text.splitlines() == [
        "language  tokens  share",
        "en        12,345   1.0%",
        "zh             -      -",
    ]


def test_columns_of_wide_and_combining_characters() -> None:
    text = console.columns(("name", "n"), [("日本語", 1), ("กำ้", 22), ("deutsch", True)])
    assert text.splitlines() == ["name        n", "日本語      1", "กำ้         22", "deutsch  True"]


def test_columns_without_rows() -> None:
    assert console.columns(("language", "n"), []) == "language  n"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (99, "99 s"), (100, "2 min"), (5399, "90 min"), (5400, "1.5 h"), (200_000, "2 d")],
)
def test_spans(seconds: float, said: str) -> None:
    assert console.span(seconds) == said


def test_codes() -> None:
    assert console.codes(None) is None
    assert console.codes("en, zh") == ("en", "zh")
    for wrong in ("", "en,,zh", "en,en"):
        with pytest.raises(InputError, match="give each code once"):
            console.codes(wrong)


def test_json_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({"out": Path("a"), "name": "日本語"})
    assert json.load(io.StringIO(capsys.readouterr().out)) == {"out": "a", "name": "日本語"}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (r"\n\n", "\n\n"),
        (r"Q: {question}\nA:", "Q: {question}\nA:"),
        (r"a\r\nb\tc", "a\r\nb\tc"),
        (r"\t", "\t"),
        (r"\\n", r"\n"),
        (r"\\nabla \nabla \neq", r"\nabla \nabla \neq"),
        (r"\boxed{{}} \frac \text \times \right", r"\boxed{{}} \frac \text \times \right"),
        (r"\nnumber", "\nnumber"),
        ("\\", "\\"),
        ("plain\n", "plain\n"),
    ],
)
def test_line_ends_as_people_type_them(typed: str, meant: str) -> None:
    assert console.as_typed(typed) == meant
