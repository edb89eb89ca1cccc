"""Console: what every command of the command line shares: its options, its skeleton, progress, and
what it prints.
"""

import json as jsonlib
import re
import sys
import time
import unicodedata
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from cyclopts import Parameter

from langneurons import artifacts, resume
from langneurons.config import listed
from langneurons.errors import InputError
from langneurons.resume import Progress

Force = Annotated[bool, Parameter(negative="", help="Replace a result of other settings.")]
Json = Annotated[bool, Parameter(negative="", help="Print one JSON object instead of text.")]
Quiet = Annotated[bool, Parameter(negative="", help="Show no progress.")]

LINE_EVERY = 30.0
"""Seconds between lines of progress where standard error is no terminal."""

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_LATEX = re.compile(
    r"nabla|ne|neg|neq|newline|not|notin|nu|r(angle|ho|ight\w*)|t(an|anh|au|ext\w*|heta|ilde|imes|o|op)"
)

_Value = TypeVar("_Value", bound=artifacts.Result)


@dataclass(frozen=True)
class Made(Generic[_Value]):
    """A result that a command has made, or that was there already.

    Attributes:
        folder: where it is.
        value: what it holds.
        facts: what its manifest says of how it came about.
    """

    folder: Path
    value: _Value
    facts: Mapping[str, Any]


def made(
    kind: type[_Value],
    out: Path,
    command: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    make: Callable[[resume.State, Progress | None], tuple[_Value, Mapping[str, Any]]],
    *,
    doing: str,
    unit: str = "",
    cut: Mapping[str, Any] | None = None,
    force: bool,
    quiet: bool,
) -> Made[_Value]:
    """The skeleton of a command: the result in a folder, made only when it is not there yet.

    Args:
        kind: what the folder holds.
        out: the folder.
        command: the command that makes it.
        settings: the settings that determine the result.
        inputs: digests of what it is made from, by name.
        make: makes the value, and what is to be said of it. Given: where to keep what is done, and
            who is told of the progress.
        doing: what is being done, in one word, for the progress.
        unit: what the progress counts.
        cut: settings that only say how the work is cut; a killed run goes on only where they are
            the same.
        force: whether a result of other settings is replaced.
        quiet: whether no progress is shown.

    Raises:
        MismatchError: when a result of other settings is there, unless `force`.
        OutputError: when it cannot be written.
    """
    rank, world = resume.processes()
    there = artifacts.current(out, kind.KIND, settings, inputs, force=force)
    if there is not None:
        if rank == 0:
            print(f"{out} is up to date; nothing to do", file=sys.stderr)
        return Made(out, kind.load(there), there.manifest["facts"])
    state = resume.State(out, {**settings, **(cut or {})}, inputs, f"{rank}-of-{world}")
    with progress(doing, quiet=quiet or rank > 0, unit=unit) as on_step:
        value, facts = make(state, on_step)
    facts = jsonlib.loads(jsonlib.dumps(facts))  # as they are read back
    if rank == 0:
        with artifacts.writing(out, kind.KIND, command, settings, inputs) as draft:
            value.write(draft)
            draft.facts |= facts
    state.drop()
    return Made(out, value, facts)


def codes(languages: str | None) -> tuple[str, ...] | None:
    """The codes in a list with commas; None for None."""
    if languages is None:
        return None
    given = listed(languages)
    if not all(given) or len(set(given)) < len(given):
        raise InputError(
            f"--languages {languages!r}: give each code once, with commas, as in en,zh,sw"
        )
    return given


def as_typed(text: str) -> str:
    r"""A text as it was meant that was typed on a command line, where no key gives a line end.

    `\n` is one, `\t` a tab, `\r` a carriage return; `\\n` is a backslash and an n. LaTeX's words
    that begin with these, as `\nabla` and `\text`, stay.
    """

    def meant(match: re.Match[str]) -> str:
        written, word = match[0], match[1]
        if written.startswith("\\\\"):
            return written[1:]
        if _LATEX.fullmatch(word):
            return written
        return _ESCAPES[word[0]] + word[1:]

    return re.sub(r"\\\\?([nrt][A-Za-z]*)", meant, text)


@contextmanager
def progress(doing: str, *, quiet: bool, unit: str = "") -> Generator[Progress | None]:
    """Progress with rate and time left on standard error: a bar on a terminal, elsewhere a line now
    and then.

    Args:
        doing: what is being done.
        quiet: whether nothing is shown.
        unit: what is counted.

    Yields:
        what is to be called with (done, all); None when nothing is shown.
    """
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bar(doing, unit) as step:
            yield step
    else:
        yield _lines(doing, unit)


@contextmanager
def _bar(doing: str, unit: str) -> Generator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    parts = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    first: tuple[int, float] | None = None
    with Bar(*parts, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=None)

        def step(done: int, whole: int) -> None:
            nonlocal first
            now = time.monotonic()
            first = first or (done, now)
            rate = (done - first[0]) / ((now - first[1]) or 1)
            said = f"{doing}, {rate:,.1f} {unit} a second"
            bar.update(task, completed=done, total=whole, description=said)

        yield step


def _lines(doing: str, unit: str) -> Progress:
    """Prints a line each `LINE_EVERY` seconds; the rate is of what was done since the first
    call, which comes minutes after the beginning where a server has to start.
    """
    began = last = time.monotonic()
    first: int | None = None

    def step(done: int, whole: int) -> None:
        nonlocal began, last, first
        now = time.monotonic()
        if first is None:
            first, began = done, now
        if now - last < LINE_EVERY:
            return
        last = now
        said = f"{doing}: {f'{done:,} of {whole:,} {unit}'.rstrip()} ({done / whole:.0%})"
        if done > first and now > began:
            rate = (done - first) / (now - began)
            said += f", {rate:,.1f} a second, about {span((whole - done) / rate)} left"
        print(said, file=sys.stderr, flush=True)

    return step


def span(seconds: float) -> str:
    """A time in words: 12 s, 3 min, 5.1 h, 4 d."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h" if seconds < 2e5 else f"{seconds / 86400:,.0f} d"


def print_json(content: Mapping[str, Any]) -> None:
    """One JSON object on standard output."""
    print(jsonlib.dumps(content, ensure_ascii=False, allow_nan=False, default=str))


def columns(heads: Sequence[str], rows: Sequence[Sequence[object]], *, left: int = 1) -> str:
    """A table in columns: the first `left` of them flush left, the others flush right; None is a
    dash.

    Integers get separators; anything else is printed as it is, so round it first.
    """
    cells = [[_cell(value) for value in row] for row in (heads, *rows)]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        padded = [
            cell + " " * (width - _width(cell)) if i < left else " " * (width - _width(cell)) + cell
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    whole = isinstance(value, int) and not isinstance(value, bool)
    return f"{value:,}" if whole else str(value)


def _width(text: str) -> int:
    """Places a text takes on a terminal: wide characters two, marks that combine none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
