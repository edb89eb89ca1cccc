"""Data: responses and questions from files, prompts from templates, and what is wrong with responses."""

import json
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, get_args

from langneurons import artifacts
from langneurons.errors import FormatError, InputError
from langneurons.languages import language
from langneurons.responses import Question, Response, text_field

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATES = {
    "mathoctopus": (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request. "
        "Please answer in {language}.\n\n### Instruction:\n{question}\n\n### Response:"
    ),
    "plain": "{question}\n",
}
"""Prompt templates by name; `chat` is one more, the tokenizer's own."""

RESPONSES = "responses.jsonl"
"""Name of the file in a stage's folder."""

_T = TypeVar("_T", Question, Response)


def read_responses(
    path: Path,
    template: str | None = None,
    languages: Sequence[str] | None = None,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
) -> list[Response]:
    """Responses from a JSONL file, a stage's folder or a folder of `<lang>.jsonl`; by file name, then line.

    A row has `question_id`, `lang`, `prompt`, `response`, and may have `sample`, `answer`, `correct`. `id` will do for
    `question_id`; where `prompt` is missing it is rendered from `question`. Rows of one question and language without
    `sample` are numbered in order.

    Args:
        path: where they are.
        template: for rows without a prompt, see `load_template`; default `mathoctopus`.
        languages: the codes wanted. Of a folder of `<lang>.jsonl` only their files are read; any other source may hold
            no other language. Each must have a row. Default: whatever is there.
        tokenizer: for the template `chat`.

    Raises:
        InputError: for a line that is not UTF-8, no JSON object, lacks a field or has it wrong, a response that stands
            twice, a language that is not wanted, not that of its file, or has no row. File and line are named.
    """
    text = load_template(template or "mathoctopus")
    samples: Counter[tuple[str, str]] = Counter()

    def build(row: Mapping[str, Any]) -> Response:
        name = "id" if "id" in row and "question_id" not in row else "question_id"
        full = {**row, "question_id": text_field(row, name)}
        code = text_field(row, "lang")
        if "prompt" not in row:
            if "question" not in row:
                raise InputError("fields prompt and question are both missing; one of them is needed")
            full["prompt"] = render(text, text_field(row, "question"), code, tokenizer)
        if "sample" not in row:
            key = (full["question_id"], code)
            full["sample"] = samples[key]
            samples[key] += 1
        return Response.from_row(full)

    return _read(path, languages, build, lambda r: (r.question_id, r.lang, f"sample {r.sample}"))


def read_questions(path: Path, languages: Sequence[str] | None = None) -> list[Question]:
    """Questions from a JSONL file or a folder of `<lang>.jsonl` with `id`, `lang`, `question`, `answer`.

    Order, `languages` and errors are those of `read_responses`.
    """
    return _read(path, languages, Question.from_row, lambda q: (q.id, q.lang))


def load_template(template: str) -> str:
    """The text of a prompt template, checked; what this gives may be given again.

    Args:
        template: `mathoctopus`, `plain`, `chat` (stays as it is), a text with {question} and perhaps {language} (its
            English name) and {code}, or the path of a file that holds such a text, used to the last character. Any
            other brace is doubled.

    Raises:
        InputError: when it is none of these, lacks {question}, or has other placeholders.
    """
    if template == "chat":
        return template
    text = TEMPLATES.get(template, template)
    if "{" not in text:
        try:
            text = Path(text).read_text("utf-8")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise InputError(
                f"template {_brief(template)} cannot be read as a file ({why}); "
                f"use {', '.join(TEMPLATES)}, chat, a text file, or a text with {{question}}"
            ) from None
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise InputError(f"template {_brief(template)}: {error}; write a brace that is meant as one twice") from None
    names = {
        f"{name}{f'!{how}' * bool(how)}{f':{form}' * bool(form)}" for _, name, form, how in parts if name is not None
    }
    strange = sorted(names - {"question", "language", "code"})
    if strange:
        raise InputError(
            f"template {_brief(template)} has the placeholder {{{strange[0]}}}; there are {{question}}, {{language}} "
            "and {code}, and a brace that is meant as one is written twice"
        )
    if "question" not in names:
        raise InputError(f"template {_brief(template)} lacks {{question}}, where the question goes")
    return text


def render(template: str, question: str, lang: str, tokenizer: "PreTrainedTokenizerBase | None" = None) -> str:
    """The prompt for a question in the language `lang`, by a template of `load_template`.

    With `chat` it is what the tokenizer's chat template makes of one user message, up to where the answer starts. A
    beginning token that the tokenizer adds anyway is left off, so that the prompt is not given two.

    Raises:
        InputError: see `load_template`; for `chat`, when there is no tokenizer or it has no chat template.
    """
    text = load_template(template)
    if text != "chat":
        return text.format(question=question, language=language(lang).name, code=lang)
    if tokenizer is None or not tokenizer.chat_template:
        what = "no tokenizer was given" if tokenizer is None else "the tokenizer has no chat template"
        raise InputError(f"the template chat is the model's own, but {what}; use mathoctopus, plain or a text of yours")
    message = [{"role": "user", "content": question}]
    prompt = str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))
    adds = tokenizer.bos_token is not None and tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]
    return prompt.removeprefix(str(tokenizer.bos_token)) if adds else prompt


Flaw = Literal["empty", "unfinished", "repetition", "wrong script"]
"""What can be wrong with a response, see `flaws`."""


class GateRow(NamedTuple):
    """What `gate` found among the responses in one language; a response may have several flaws."""

    lang: str
    total: int
    kept: int
    empty: int
    unfinished: int
    repetition: int
    wrong_script: int


def gate(responses: Sequence[Response], drop: Collection[str] = ()) -> tuple[list[Response], list[GateRow]]:
    """The responses to count, and what was found per language, in order of first sight.

    Args:
        responses: any.
        drop: flaws to leave out besides `empty`, which always is. `unfinished` is a guess and cannot be among them.

    Raises:
        InputError: for a flaw that cannot be dropped.
    """
    droppable = [flaw for flaw in get_args(Flaw) if flaw != "unfinished"]
    for flaw in drop:
        if flaw not in droppable:
            why = "is a guess and only reported" if flaw == "unfinished" else "is no flaw"
            raise InputError(f"drop {flaw!r}: it {why}; what can be dropped is {', '.join(droppable)}")
    out = {"empty", *drop}
    kept: list[Response] = []
    found: dict[str, Counter[str]] = {}
    for response in responses:
        there = flaws(response)
        keep = not out.intersection(there)
        if keep:
            kept.append(response)
        found.setdefault(response.lang, Counter()).update(["total", *["kept"] * keep, *there])
    return kept, [GateRow(code, *(n[what] for what in ("total", "kept", *get_args(Flaw)))) for code, n in found.items()]


def flaws(response: Response) -> tuple[Flaw, ...]:
    """What is wrong with a response.

    - `empty`: nothing but white space; nothing else is then said of it.
    - `unfinished`: it ends in something else than a digit, a closing mark or the end of a sentence, so it was perhaps
      cut off. Rows do not say where sampling stopped: this is a guess. Thai, which ends sentences without a mark, is
      not judged where a letter comes last.
    - `repetition`: one line three times in a row (blank ones between do not matter), or three times or more in all and
      more than half of the text; or the text ends in one piece of 4 to 100 characters five times over.
    - `wrong script`: fewer than 3 in 10 of its letters are in the script of its language, or it is to be Japanese and
      has no kana. Digits, signs and LaTeX commands are no letters; below 10 letters it is not judged, nor in a language
      whose script is not known. Languages of one script (English, German, Swahili) cannot be told apart so, nor
      simplified from traditional Chinese.
    """
    text = response.response.strip()
    if not text:
        return ("empty",)
    script = language(response.lang).script
    checks: list[tuple[Flaw, bool]] = [
        ("unfinished", _unfinished(text, script)),
        ("repetition", _repeats(text)),
        ("wrong script", script in _SCRIPTS and _strays(text, script)),
    ]
    return tuple(flaw for flaw, there in checks if there)


_GOES_ON = set(",;:/\\&@#-،؛、，；：")
_HAN = ("CJK", "IDEOGRAPHIC")
_KANA = ("HIRAGANA", "KATAKANA")
_SCRIPTS = {
    "Arab": ("ARABIC",),
    "Beng": ("BENGALI",),
    "Cyrl": ("CYRILLIC",),
    "Deva": ("DEVANAGARI",),
    "Grek": ("GREEK",),
    "Hang": ("HANGUL",),
    "Hans": _HAN,
    "Hant": _HAN,
    "Hebr": ("HEBREW",),
    "Jpan": (*_HAN, *_KANA),
    "Latn": ("LATIN",),
    "Taml": ("TAMIL",),
    "Telu": ("TELUGU",),
    "Thai": ("THAI",),
    "Tibt": ("TIBETAN",),
}
"""How the Unicode names of a script's letters begin, by the script's ISO 15924 code."""


def _unfinished(text: str, script: str | None) -> bool:
    last, kind = text[-1], unicodedata.category(text[-1])
    if kind[0] in "LM":
        return script != "Thai"
    return last in _GOES_ON or kind in ("Pd", "Ps", "Pi", "Pc", "Sm")


def _repeats(text: str) -> bool:
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    in_a_row = any(a == b == c for a, b, c in zip(lines, lines[1:], lines[2:], strict=False))
    line, times = max(Counter(lines).items(), key=lambda item: item[1] * len(item[0]))
    mostly = times >= 3 and times * len(line) > sum(map(len, lines)) / 2
    return in_a_row or mostly or re.match(r"(.{4,100}?)\1{4}", text[::-1], re.DOTALL) is not None


def _strays(text: str, script: str) -> bool:
    letters = [_family(char) for char in re.sub(r"\\[A-Za-z]+", "", text) if char.isalpha()]
    own = sum(name.startswith(_SCRIPTS[script]) for name in letters)
    no_kana = script == "Jpan" and not any(name.startswith(_KANA) for name in letters)
    return len(letters) >= 10 and (own < 0.3 * len(letters) or no_kana)


@cache
def _family(char: str) -> str:
    """First word of a letter's Unicode name, which begins with its script."""
    return unicodedata.name(char, "").removeprefix("FULLWIDTH ").removeprefix("HALFWIDTH ").partition(" ")[0]


def _read(
    path: Path, languages: Sequence[str] | None, build: Callable[[Mapping[str, Any]], _T], key: Callable[[_T], tuple]
) -> list[_T]:
    """What `build` makes of each row at `path`, checked against its file, the languages wanted and doubles."""
    items: list[_T] = []
    seen: dict[tuple, str] = {}
    for file, of in files(path, languages):
        for place, row in _rows(file):
            try:
                item = build(row)
            except InputError as error:
                raise InputError(f"{place}: {error}") from None
            if of is not None and item.lang != of:
                raise InputError(f"{place}: lang is {item.lang}, but the file is that of {of}; move the row or rename")
            if languages is not None and item.lang not in languages:
                raise InputError(f"{place}: lang {item.lang} is not among the languages {', '.join(languages)}; add it")
            if (first := seen.setdefault(key(item), place)) != place:
                raise InputError(f"{place}: {', '.join(key(item))} stands twice, first in {first}; remove one")
            items.append(item)
    empty = sorted(set(languages or ()) - {item.lang for item in items})
    if empty or not items:
        what = f"for {', '.join(empty)}, which the languages name" if empty else "at all"
        raise InputError(f"{path} has no row {what}; add rows or leave it out")
    return items


def files(path: Path, languages: Sequence[str] | None = None) -> list[tuple[Path, str | None]]:
    """The files of rows at `path`, each with the language its name says, if it says one.

    Raises:
        InputError: when there are none.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; give a JSONL file, a stage's folder or a folder of <lang>.jsonl")
    if not path.is_dir():
        return [(path, None)]
    if (path / artifacts.MANIFEST).exists() or (path / RESPONSES).exists():
        file, manifest = path / RESPONSES, artifacts.read(path).manifest
        digest = manifest["files"].get(RESPONSES)
        if digest is None:
            raise InputError(f"{path} holds {manifest['kind']}, not {RESPONSES}; give the folder of sampled responses")
        if not file.is_file() or artifacts.file_digest(file) != digest:
            raise FormatError(f"{file} is missing or not as it was written; make {path} anew")
        return [(file, None)]
    found = {file.stem: file for file in sorted(path.glob("*.jsonl"))}
    missing = [code for code in languages or () if code not in found]
    if not found or missing:
        name = f"{missing[0]}.jsonl" if missing else "<lang>.jsonl"
        raise InputError(f"{path} has no {name}; add it or leave the language out")
    return [(file, code) for code, file in found.items() if languages is None or code in languages]


def _rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row of a JSONL file with its place in words; blank lines are skipped."""
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    place = f"{file}, line {number}"
                    yield place, _row(place, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from None


def _row(place: str, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: byte {error.start} is not UTF-8; write the file as UTF-8") from None
    except (ValueError, RecursionError) as error:
        why = f"{error.msg} at character {error.pos}" if isinstance(error, json.JSONDecodeError) else error
        raise InputError(f"{place}: not JSON ({why}); one JSON object per line is needed") from None
    if not isinstance(row, dict):
        raise InputError(f"{place}: {_brief(json.dumps(row))} is no JSON object; one object per line is needed")
    return row


def _brief(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:39]}…")
