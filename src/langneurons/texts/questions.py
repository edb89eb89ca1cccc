"""Questions: what a model is asked: a file, a benchmark, any data set of the Hugging Face Hub."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from langneurons import artifacts
from langneurons.errors import InputError
from langneurons.texts import data_sets, world
from langneurons.texts.languages import ENGLISH
from langneurons.texts.question_ids import advice, ids_of
from langneurons.texts.responses import Question, text_field
from langneurons.texts.rows import read_questions, to_lines


@dataclass(frozen=True)
class Questions:
    """Questions that stay with a study: what its first stage leaves in a folder.

    Attributes:
        questions: in order.
    """

    KIND: ClassVar[str] = "questions"
    FILE: ClassVar[str] = "questions.jsonl"

    questions: list[Question]

    def write(self, draft: artifacts.Draft) -> None:
        """Add them to a folder that is being written."""
        draft.bytes(self.FILE, to_lines(question.to_row() for question in self.questions))

    def save(self, folder: Path | str) -> None:
        """Write them into a folder of their own; see `artifacts.save`."""
        artifacts.save(self, folder)

    @classmethod
    def load(cls, source: Path | str | artifacts.Artifact) -> "Questions":
        """Those in a finished folder.

        Raises:
            InputError: when there is none, or it holds something else.
            FormatError: when its file is damaged.
        """
        return cls(read_questions(artifacts.opened(source, cls.KIND).file(cls.FILE)))


class DataSet(NamedTuple):
    """A data set of the Hub, and how its rows become questions.

    Attributes:
        source: its id on the Hub, or a folder that holds it.
        ids: form of a question's id, given the number n and the split of its row.
        configs: its configurations; empty: they are asked for, which needs the network.
        lang: code of its language, where it does not say it.
        types: what its column `type` must hold; empty: every row is taken.
    """

    source: str
    ids: str
    configs: tuple[str, ...] = ()
    lang: str | None = None
    types: tuple[str, ...] = ()


_TEN = ("bn", "de", "en", "es", "fr", "ja", "ru", "sw", "th", "zh")

BENCHMARKS = {
    "mgsm": DataSet("juletxara/mgsm", "mgsm-{n:03}", (*_TEN, "te")),
    "msvamp": DataSet("Mathoctopus/MSVAMP", "msvamp-{n:04}", _TEN),
    "numglue": DataSet(
        "HHazard/numglue",
        "numglue-{n:05}",
        configs=("default",),
        lang=ENGLISH,
        types=("Type_1", "Type_4", "Type_8"),
    ),
}
"""The paper's benchmarks by name. Of NumGLUE the tasks the paper takes, in English: 1 (commonsense
and arithmetic), 4 (fill in the blank), 8 (word problems)."""

COLUMNS = (
    ("question", "answer_number"),
    ("question", "answer"),
    ("question", None),
    ("m_query", "response"),
)
"""Columns of a question and its answer; the first pair that a data set has is read. MGSM has a
worked solution or nothing in `answer`, and the number in `answer_number`; MSVAMP has `m_query` and
`response`."""

_OTHERS = ("id", "lang", "type")
"""Columns that are read besides, where they are there."""


def chosen(
    questions: str | Sequence[Question], languages: Sequence[str] | None = None, take: int = 0
) -> list[Question]:
    """Questions by name or as they are, in some languages, and of these the first so many.

    Args:
        questions: a name, see `load_questions`, or questions.
        languages: the codes wanted; default: whatever is there.
        take: how many, the first ones, the same in every language; 0: all.

    Raises:
        InputError: see `load_questions`; for a language of which there is none, or none among the
            first so many.
    """
    if isinstance(questions, str):
        questions = load_questions(questions, languages)
    present = {question.lang for question in questions}
    if missing := [code for code in languages or () if code not in present]:
        raise InputError(f"there is no question in {', '.join(missing)}; leave the language out")
    wanted = [question for question in questions if not languages or question.lang in languages]
    ids = set(list(dict.fromkeys(question.id for question in wanted))[: take or None])
    taken = [question for question in wanted if question.id in ids]
    if lost := {question.lang for question in wanted} - {question.lang for question in taken}:
        raise InputError(
            f"none of the first {take} questions is there in {', '.join(sorted(lost))}; "
            f"{advice(ids_of(wanted))}"
        )
    return taken


def load_questions(name: str, languages: Sequence[str] | None = None) -> list[Question]:
    """Questions from wherever `name` says.

    A path that exists comes before a name, but not before the embedded ones.

    Args:
        name: one of `world.QUESTIONS` (`nano` ...; `./nano` is a path); a JSONL file or a folder of
            `<lang>.jsonl`, see `rows.read_questions`; a name of `BENCHMARKS`; or a data set of the
            Hugging Face Hub as `owner/name`, `owner/name:config` or `owner/name:config:split`,
            where `config` may be empty. A folder with a data set will do for its id. By default
            every configuration is read that is named by the code of a language, or else the only
            one; of each the split `test`, or the only one.
        languages: the codes wanted; each must have a row, and rows in others are left out. Default:
            whatever is there.

    A data set has the columns of `COLUMNS` and may have `id` and `lang`. A row's language is its
    `lang`, else the name of its configuration, else the one language wanted. Without `id`, the n-th
    rows of all languages are taken for one question; its id is `<name>-<split>-<n>` from 0, and
    `mgsm-007` in a benchmark.

    Raises:
        InputError: in one line, for a name that is none of these, a data set that cannot be
            fetched, a configuration, split, column or language that is not there, a row that lacks
            a field or has it wrong or stands twice.
    """
    if name in world.QUESTIONS:
        return world.questions(name, languages)
    path = Path(name).expanduser()
    if path.is_file():
        return _from_file(path, languages)
    if any(path.glob("*.jsonl")):
        return read_questions(path, languages)
    if name in BENCHMARKS and not path.is_dir():
        return _from_data_set(BENCHMARKS[name], "", "", languages)
    data_set, config, split = _named(name)
    return _from_data_set(data_set, config, split, languages)


def _from_file(path: Path, languages: Sequence[str] | None) -> list[Question]:
    """The questions of a JSONL file in the languages wanted."""
    questions = read_questions(path)
    present = {question.lang for question in questions}
    if missing := [code for code in languages or () if code not in present]:
        raise InputError(
            f"{path} has no question in {', '.join(missing)}; add some or leave the language out"
        )
    return [question for question in questions if not languages or question.lang in languages]


def _named(name: str) -> tuple[DataSet, str, str]:
    """The data set that a name is of, the configuration and the split it names, or "" for none."""
    of_name = data_sets.named(name)
    if of_name is None:
        raise InputError(
            f"{name} is no file or folder here, and no name of questions; give a JSONL file, a "
            f"folder of <lang>.jsonl, {', '.join(BENCHMARKS)}, or a data set of the Hugging Face "
            "Hub as owner/name or owner/name:config:split"
        )
    source, stem, config, split = of_name
    without_braces = re.sub(r"[{}]", "", stem)
    return DataSet(source, f"{without_braces}-{{split}}-{{n}}"), config, split


def _from_data_set(
    data_set: DataSet, config: str, split: str, languages: Sequence[str] | None
) -> list[Question]:
    """The questions of a data set in the languages wanted, by configuration, then row."""
    source = data_set.source
    known = data_set.configs or data_sets.known_configs(source)
    questions: dict[tuple[str, str], Question] = {}
    for name in data_sets.configs(source, known, config, languages):
        splits = data_sets.splits(source, name)
        part = data_sets.split_of(f"{source}:{name}", list(splits), split, "test")
        place = f"{source}:{name}:{part}"
        lang = _language_of(name, data_set, languages)
        for question in _questions(place, splits[part], data_set, part, lang):
            if languages is not None and question.lang not in languages:
                continue
            key = question.id, question.lang
            if key in questions:
                raise InputError(f"{place}: {', '.join(key)} stands twice; remove one, or its id")
            questions[key] = question
    empty = sorted(set(languages or ()) - {lang for _, lang in questions})
    if empty or not questions:
        what = f"for {', '.join(empty)}; leave it out" if empty else "at all"
        raise InputError(f"{source} has no row {what}")
    return list(questions.values())


def _language_of(config: str, data_set: DataSet, languages: Sequence[str] | None) -> str | None:
    """The language of rows that do not say theirs; None where nothing tells it."""
    if data_sets.is_language(config, languages):
        return config
    if data_set.lang is None and languages is not None and len(languages) == 1:
        return languages[0]
    return data_set.lang


def _questions(
    place: str, rows: Any, data_set: DataSet, split: str, lang: str | None
) -> Iterator[Question]:
    """The questions in the rows of a split; `lang` is that of rows that do not say theirs."""
    columns = _columns(place, rows.column_names, lang)
    used = [name for name in rows.column_names if name in (*columns, *_OTHERS)]
    number_in: Counter[str] = Counter()
    for number, row in enumerate(rows.select_columns(used)):
        try:
            code = text_field({"lang": row.get("lang", lang)}, "lang")
            question_id = row.get("id")
            if question_id is None:
                question_id = data_set.ids.format(split=split, n=number_in[code])
            number_in[code] += 1
            if data_set.types and row.get("type") not in data_set.types:
                continue
            question, answer = (row.get(name) for name in columns)
            yield Question.from_row(
                {"id": str(question_id), "lang": code, "question": question, "answer": answer}
            )
        except InputError as error:
            raise InputError(f"{place}, row {number}: {error}") from None


def _columns(place: str, known: Sequence[str], lang: str | None) -> tuple[str, str | None]:
    """The columns of question and answer in a data set whose columns are `known`."""
    pairs = [pair for pair in COLUMNS if set(known) >= {*pair} - {None}]
    if not pairs:
        raise InputError(
            f"{place} has the columns {', '.join(known)}; the question is to be in question "
            "(or m_query)"
        )
    if lang is None and "lang" not in known:
        raise InputError(
            f"{place} does not say its language: it has no column lang, and no configuration named "
            "by a language; name it with --languages"
        )
    return pairs[0]
