"""Rows: responses and questions from files of JSON, a row a line."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from langneurons import artifacts
from langneurons.errors import FormatError, InputError, brief
from langneurons.texts.prompts import load_template, render
from langneurons.texts.responses import Question, Response, text_field

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


RESPONSES = "responses.jsonl"
"""Name of the file in a stage's folder."""

_T = TypeVar("_T", Question, Response)


class Read(NamedTuple):
    """Responses, and what identifies the files they were read from.

    Attributes:
        responses: in order.
        digests: file name -> SHA-256 of its content, of every file that was read.
    """

    responses: list[Response]
    digests: dict[str, str]


def read_responses(
    path: Path | str,
    template: str | None = None,
    languages: Sequence[str] | None = None,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
) -> list[Response]:
    """Responses from a JSONL file, a stage's folder or a folder of `<lang>.jsonl`; by file name, then line.

    A row has `question_id`, `lang`, `prompt`, `response`, and may have `sample`, `answer`,
    `correct`. `id` will do for `question_id`; where `prompt` is missing it is rendered from
    `question`. Rows of one question and language without `sample` are numbered in order.

    Args:
        path: where they are.
        template: for rows without a prompt, see `load_template`; default `mathoctopus`.
        languages: the codes wanted. Of a folder of `<lang>.jsonl` only their files are read; any
            other source may hold no other language. Each must have a row. Default: whatever is
            there.
        tokenizer: for the template `chat`.

    Raises:
        InputError: for a line that is not UTF-8, no JSON object, lacks a field or has it wrong, a
            response that stands twice, a language that is not wanted, not that of its file, or has
            no row. File and line are named.
    """
    return read(path, template, languages, tokenizer).responses


def read(
    path: Path | str,
    template: str | None = None,
    languages: Sequence[str] | None = None,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
) -> Read:
    """What `read_responses` gives, with the digests of the files; each file is read once."""
    text = load_template(template or "mathoctopus")
    samples: Counter[tuple[str, str]] = Counter()

    def build(row: Mapping[str, Any]) -> Response:
        name = "id" if "id" in row and "question_id" not in row else "question_id"
        full = {**row, "question_id": text_field(row, name)}
        code = text_field(row, "lang")
        if "prompt" not in row:
            if "question" not in row:
                raise InputError(
                    "fields prompt and question are both missing; one of them is needed"
                )
            full["prompt"] = render(text, text_field(row, "question"), code, tokenizer)
        if "sample" not in row:
            key = (full["question_id"], code)
            full["sample"] = samples[key]
            samples[key] += 1
        return Response.from_row(full)

    key = lambda r: (r.question_id, r.lang, f"sample {r.sample}")  # noqa: E731
    return Read(*_read(Path(path), languages, build, key))


def read_questions(path: Path, languages: Sequence[str] | None = None) -> list[Question]:
    """Questions from a JSONL file or a folder of `<lang>.jsonl` with `id`, `lang`, `question`, `answer`.

    Order, `languages` and errors are those of `read_responses`.
    """
    items, _ = _read(path, languages, Question.from_row, lambda q: (q.id, q.lang))
    return items


def _read(
    path: Path,
    languages: Sequence[str] | None,
    build: Callable[[Mapping[str, Any]], _T],
    key: Callable[[_T], tuple[str, ...]],
) -> tuple[list[_T], dict[str, str]]:
    """What `build` makes of each row at `path`, and the digests of the files.

    Each row is checked against its file, the languages wanted and doubles.
    """
    items: list[_T] = []
    seen: dict[tuple[str, ...], str] = {}
    digests: dict[str, str] = {}
    for file, code, written in files(path, languages):
        content = hashlib.sha256()
        for place, row in _rows(file, content):
            try:
                item = build(row)
            except InputError as error:
                raise InputError(f"{place}: {error}") from None
            if code is not None and item.lang != code:
                raise InputError(
                    f"{place}: lang is {item.lang}, but the file is that of {code}; move the row "
                    "or rename"
                )
            if languages is not None and item.lang not in languages:
                raise InputError(
                    f"{place}: lang {item.lang} is not among the languages "
                    f"{', '.join(languages)}; add it"
                )
            if (first := seen.setdefault(key(item), place)) != place:
                raise InputError(
                    f"{place}: {', '.join(key(item))} stands twice, first in {first}; remove one"
                )
            items.append(item)
        digests[file.name] = content.hexdigest()
        if written not in (None, digests[file.name]):
            raise FormatError(f"{file} is missing or not as it was written; make {path} anew")
    empty = sorted(set(languages or ()) - {item.lang for item in items})
    if empty or not items:
        what = f"for {', '.join(empty)}, which the languages name" if empty else "at all"
        raise InputError(f"{path} has no row {what}; add rows or leave it out")
    return items, digests


class File(NamedTuple):
    """A file of rows.

    Attributes:
        path: where it is.
        lang: the language its name says, if it says one.
        digest: SHA-256 it must have, where a result's manifest names it.
    """

    path: Path
    lang: str | None
    digest: str | None


def files(path: Path, languages: Sequence[str] | None = None) -> list[File]:
    """The files of rows at `path`; none of them is read.

    Raises:
        InputError: when there are none.
        FormatError: when a result's own file is gone.
    """
    if not path.exists():
        raise InputError(
            f"{path} does not exist; give a JSONL file, a stage's folder or a folder of "
            "<lang>.jsonl"
        )
    if not path.is_dir():
        return [File(path, None, None)]
    if (path / artifacts.MANIFEST).exists() or (path / RESPONSES).exists():
        file, manifest = path / RESPONSES, artifacts.read(path).manifest
        digest = manifest["files"].get(RESPONSES)
        if digest is None:
            raise InputError(
                f"{path} holds {manifest['kind']}, not {RESPONSES}; give the folder of sampled "
                "responses"
            )
        if not file.is_file():
            raise FormatError(f"{file} is missing or not as it was written; make {path} anew")
        return [File(file, None, digest)]
    by_language = {file.stem: file for file in sorted(path.glob("*.jsonl"))}
    missing = [code for code in languages or () if code not in by_language]
    if not by_language or missing:
        name = f"{missing[0]}.jsonl" if missing else "<lang>.jsonl"
        raise InputError(f"{path} has no {name}; add it or leave the language out")
    wanted = [code for code in by_language if languages is None or code in languages]
    return [File(by_language[code], code, None) for code in wanted]


def _rows(file: Path, content: "hashlib._Hash") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row of a JSONL file with its place in words; blank lines are skipped.

    The bytes that are read are added to the digest `content`.
    """
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                content.update(line)
                if line.strip():
                    place = f"{file}, line {number}"
                    text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                    yield place, _row(place, text)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from None


def _row(place: str, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{place}: byte {error.start} is not UTF-8; write the file as UTF-8"
        ) from None
    except (ValueError, RecursionError) as error:
        why = (
            f"{error.msg} at character {error.pos}"
            if isinstance(error, json.JSONDecodeError)
            else error
        )
        raise InputError(f"{place}: not JSON ({why}); one JSON object per line is needed") from None
    if not isinstance(row, dict):
        raise InputError(
            f"{place}: {brief(json.dumps(row))} is no JSON object; one object per line is needed"
        )
    return row
