"""Rows: responses and questions from files of JSON, a row a line, and back."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from langneurons import artifacts
from langneurons.contents import foreign
from langneurons.errors import FormatError, InputError, brief
from langneurons.texts.prompts import Template, load_template, suited
from langneurons.texts.responses import Question, Response, text_field

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_Item = TypeVar("_Item", Question, Response)


@dataclass(frozen=True)
class Responses:
    """Responses that were sampled: what `sample` leaves in a folder.

    Attributes:
        responses: in order.
    """

    KIND: ClassVar[str] = "responses"
    FILE: ClassVar[str] = "responses.jsonl"

    responses: list[Response]

    def write(self, draft: artifacts.Draft) -> None:
        """Add them to a folder that is being written."""
        draft.bytes(self.FILE, to_lines(response.to_row() for response in self.responses))

    def save(self, folder: Path | str) -> None:
        """Write them into a folder of their own; see `artifacts.save`."""
        artifacts.save(self, folder)

    @classmethod
    def load(cls, source: Path | str | artifacts.Artifact) -> "Responses":
        """Those in a finished folder.

        Raises:
            InputError: when there is none, or it holds something else.
            FormatError: when its file is damaged.
        """
        return cls(read_responses(artifacts.opened(source, cls.KIND).folder))


class Rendered(NamedTuple):
    """Prompts that were made for rows without one.

    Attributes:
        template: what made them.
        rows: how many they are.
        digest: SHA-256 of all of them, in order.
    """

    template: Template
    rows: int
    digest: str


class Read(NamedTuple):
    """Responses, and what identifies what they were read from.

    Attributes:
        responses: in order.
        digests: file name -> SHA-256 of its content, of every file that was read; `prompts`, where
            any were made.
        rendered: the prompts that were made; None where every row has its own.
    """

    responses: list[Response]
    digests: dict[str, str]
    rendered: Rendered | None

    @property
    def template(self) -> str | None:
        """The text of the template that made prompts, or `chat`; None where none did."""
        return self.rendered.template.text if self.rendered else None

    @property
    def notes(self) -> list[str]:
        """What to say of prompts that were made: nothing, or one line."""
        if not self.rendered:
            return []
        return [
            f"{self.rendered.rows:,} of {len(self.responses):,} rows have a question and no "
            f"prompt; theirs were made with template {self.rendered.template.name}"
        ]


def read_responses(
    path: Path | str,
    template: str | None = None,
    languages: Sequence[str] | None = None,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
) -> list[Response]:
    """Responses from a JSONL file, a stage's folder or a folder of `<lang>.jsonl`.

    They come by file name, then line. A row has `question_id`, `lang`, `prompt`, `response`, and
    may have `sample`, `answer`, `correct`. `id` will do for `question_id`; where `prompt` is
    missing it is rendered from `question`. Rows of one question and language without `sample` are
    numbered in order.

    Args:
        path: where they are.
        template: for rows without a prompt, see `load_template`; default `chat` where there is a
            tokenizer that has a chat template, else `mathoctopus`.
        languages: the codes wanted. Of a folder of `<lang>.jsonl` only their files are read; any
            other source may hold no other language. Each must have a row. Default: whatever is
            there.
        tokenizer: that of the model the prompts are for.

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
    """What `read_responses` gives, with what identifies it; each file is read once."""
    if template is None and tokenizer is not None:
        form = suited(None, tokenizer)
    else:
        form = load_template(template or "mathoctopus")
    rendered: list[str] = []
    responses, digests = _read(
        Path(path), languages, _responses_from(form, tokenizer, rendered.append)
    )
    if not rendered:
        return Read(responses, digests, None)
    digest = hashlib.sha256(json.dumps(rendered).encode()).hexdigest()
    made = Rendered(form, len(rendered), digest)
    return Read(responses, {**digests, "prompts": digest}, made)


def read_questions(path: Path, languages: Sequence[str] | None = None) -> list[Question]:
    """Questions from a JSONL file or a folder of `<lang>.jsonl`.

    A row has `id`, `lang`, `question`, `answer`. Order, `languages` and errors are those of
    `read_responses`.
    """
    questions, _ = _read(path, languages, Question.from_row)
    return questions


def to_lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """The content of a JSONL file with these rows."""
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


def from_lines(content: bytes) -> list[dict[str, Any]]:
    """The rows of what `to_lines` gave."""
    return [json.loads(line) for line in content.splitlines()]


def _responses_from(
    template: Template,
    tokenizer: "PreTrainedTokenizerBase | None",
    rendered: Callable[[str], None],
) -> Callable[[Mapping[str, Any]], Response]:
    """What makes a response of a row, and gives it the prompt and the number that it may lack.

    Each prompt that is made is told to `rendered`.
    """
    samples: Counter[tuple[str, str]] = Counter()

    def build(row: Mapping[str, Any]) -> Response:
        id_field = "id" if "id" in row and "question_id" not in row else "question_id"
        question_id, lang = text_field(row, id_field), text_field(row, "lang")
        whole = {**row, "question_id": question_id}
        if "prompt" not in row:
            if "question" not in row:
                raise InputError(
                    "fields prompt and question are both missing; one of them is needed"
                )
            whole["prompt"] = template.prompt(text_field(row, "question"), lang, tokenizer)
            rendered(whole["prompt"])
        if "sample" not in row:
            whole["sample"] = samples[question_id, lang]
            samples[question_id, lang] += 1
        return Response.from_row(whole)

    return build


def _read(
    path: Path, languages: Sequence[str] | None, build: Callable[[Mapping[str, Any]], _Item]
) -> tuple[list[_Item], dict[str, str]]:
    """What `build` makes of each row at `path`, and the digests of the files.

    Each row is checked against its file, the languages wanted and doubles.
    """
    items: list[_Item] = []
    digests: dict[str, str] = {}
    first_place: dict[tuple[str, ...], str] = {}
    for file in files(path, languages):
        content = hashlib.sha256()
        for place, row in json_rows(file.path, content):
            try:
                item = build(row)
            except InputError as error:
                raise InputError(f"{place}: {error}") from None
            check_language(place, item.lang, file.lang, languages)
            names = _names(item)
            if names in first_place:
                raise InputError(
                    f"{place}: {', '.join(names)} stands twice, first in {first_place[names]}; "
                    "remove one"
                )
            first_place[names] = place
            items.append(item)
        digest = content.hexdigest()
        if file.digest not in (None, digest):
            raise _damaged(file.path, path)
        digests[file.path.name] = digest
    empty = sorted(set(languages or ()) - {item.lang for item in items})
    if empty or not items:
        what = f"for {', '.join(empty)}, which the languages name" if empty else "at all"
        raise InputError(f"{path} has no row {what}; add rows or leave it out")
    return items, digests


def _names(item: Question | Response) -> tuple[str, ...]:
    """What tells a question or a response from all others, in words."""
    if isinstance(item, Question):
        return item.id, item.lang
    return item.question_id, item.lang, f"sample {item.sample}"


def check_language(
    place: str, lang: str, lang_of_file: str | None, languages: Sequence[str] | None = None
) -> None:
    """Stop at a row that is not in the language of its file, or in none that is wanted."""
    if lang_of_file not in (None, lang):
        raise InputError(
            f"{place}: lang is {lang}, but the file is that of {lang_of_file}; move the row "
            "or rename"
        )
    if languages is not None and lang not in languages:
        raise InputError(
            f"{place}: lang {lang} is not among the languages {', '.join(languages)}; add it"
        )


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
            f"{path} does not exist; give a JSONL file, a stage's folder, a folder of "
            "<lang>.jsonl, or running text (.txt)"
        )
    if not path.is_dir():
        return [File(path, None, None)]
    if (path / artifacts.MANIFEST).exists() or (path / Responses.FILE).exists():
        return [_file_of_result(path)]
    by_language = {file.stem: file for file in sorted(path.glob("*.jsonl"))}
    missing = [code for code in languages or () if code not in by_language]
    if not by_language or missing:
        name = f"{missing[0]}.jsonl" if missing else "<lang>.jsonl"
        raise InputError(f"{path} has no {name}; add it or leave the language out")
    return [
        File(file, code, None)
        for code, file in by_language.items()
        if languages is None or code in languages
    ]


def _file_of_result(folder: Path) -> File:
    """The file of responses in a stage's folder, with the digest that the manifest names."""
    manifest = artifacts.read(folder).manifest
    digest = manifest["files"].get(Responses.FILE)
    if digest is None:
        raise InputError(
            f"{folder} holds {manifest['kind']}, not {Responses.FILE}; give the folder of sampled "
            "responses"
        )
    path = folder / Responses.FILE
    if not path.is_file():
        raise _damaged(path, folder)
    return File(path, None, digest)


def _damaged(file: Path, folder: Path) -> FormatError:
    return FormatError(f"{file} is missing or not as it was written; make {folder} anew")


def json_rows(file: Path, content: "hashlib._Hash") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row of a JSONL file with its place in words; blank lines are skipped.

    A byte order mark is left off every line: files that each begin with one are often joined. The
    bytes that are read are added to the digest `content`.
    """
    is_first = True
    try:
        with file.open("rb") as chunks:
            for number, line in enumerate(_lines(chunks, content), 1):
                text = line
                while text.startswith(_MARK):
                    text = text.removeprefix(_MARK)
                if text.strip():
                    place = f"{file}, line {number}"
                    yield place, _first_row(file, place, text) if is_first else _row(place, text)
                    is_first = False
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from None


def _lines(chunks: Iterable[bytes], content: "hashlib._Hash") -> Iterator[bytes]:
    """The lines of a file, whose bytes are added to the digest.

    They may end in a carriage return alone, as some editors save; in JSON none stands in a text.
    """
    for chunk in chunks:
        content.update(chunk)
        yield from chunk.removesuffix(b"\n").removesuffix(b"\r").split(b"\r")


_MARK = b"\xef\xbb\xbf"
"""The byte order mark in UTF-8."""


def _first_row(file: Path, place: str, line: bytes) -> dict[str, Any]:
    """The first row; where it is none, what the file is instead, if that can be told."""
    try:
        return _row(place, line)
    except InputError:
        if what := foreign(file) or _other_text(file):
            raise InputError(f"{file} is {what}; one JSON object per line is needed") from None
        raise


def _other_text(file: Path) -> str | None:
    """What a file of text is that is not JSONL: JSON over several lines, or a table."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, ValueError):
        return None
    first, *others = text.strip().splitlines()
    if others and text.lstrip().startswith(("[", "{")):
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return None
        return "JSON over several lines"
    if file.suffix.lower() in (".tsv", ".csv"):  # MGSM's own have no heads
        return "a table of separated values"
    names = {name.strip().strip('"').lower() for name in re.split(r"[,;\t]", first)}
    if len(names & {"id", "question_id", "lang", "question", "prompt", "response", "answer"}) > 1:
        return "a table of separated values"
    return None


def _row(place: str, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{place}: byte {error.start} is not UTF-8; write the file as UTF-8"
        ) from None
    except json.JSONDecodeError as error:
        raise _no_json(place, f"{error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError) as error:
        raise _no_json(place, str(error)) from None
    if not isinstance(row, dict):
        raise InputError(
            f"{place}: {brief(json.dumps(row))} is no JSON object; one object per line is needed"
        )
    return row


def _no_json(place: str, why: str) -> InputError:
    return InputError(f"{place}: not JSON ({why}); one JSON object per line is needed")
