"""Questions: what a model is asked, by path or by name: files, a benchmark, any data set of the Hugging Face Hub."""

import logging
import re
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, NamedTuple

from langneurons import artifacts, quiet
from langneurons.errors import InputError
from langneurons.texts import world
from langneurons.texts.languages import LANGUAGES
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
        "HHazard/numglue", "numglue-{n:05}", ("default",), "en", ("Type_1", "Type_4", "Type_8")
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


def load_questions(name: str, languages: Sequence[str] | None = None) -> list[Question]:
    """Questions from wherever `name` says. A path that exists comes before a name, but not before the embedded ones.

    Args:
        name: one of `world.QUESTIONS` (`nano` ...; `./nano` is a path); a JSONL file or a folder of
            `<lang>.jsonl`, see `data.read_questions`; a name of `BENCHMARKS`; or a data set of the
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
        held = read_questions(path)
        if missing := [
            code for code in languages or () if not any(one.lang == code for one in held)
        ]:
            raise InputError(
                f"{path} has no question in {', '.join(missing)}; add some or leave the language out"
            )
        return [one for one in held if not languages or one.lang in languages]
    if any(path.glob("*.jsonl")):
        return read_questions(path, languages)
    if name in BENCHMARKS and not path.is_dir():
        return _load(BENCHMARKS[name], "", "", languages)
    source, config, split = name, "", ""
    if not path.is_dir():
        source, _, rest = name.partition(":")
        config, _, split = rest.partition(":")
    folder = Path(source).expanduser()
    if folder.is_dir():
        source = str(folder)
    elif ":" in split or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source):
        raise InputError(
            f"{name} is no file or folder here, and no name of questions; give a JSONL file, a folder of <lang>.jsonl, "
            f"{', '.join(BENCHMARKS)}, or a data set of the Hugging Face Hub as owner/name or owner/name:config:split"
        )
    stem = re.sub(r"[{}]", "", folder.resolve().name if folder.is_dir() else folder.name)
    return _load(DataSet(source, f"{stem}-{{split}}-{{n}}"), config, split, languages)


def _load(
    wanted: DataSet, config: str, split: str, languages: Sequence[str] | None
) -> list[Question]:
    """The questions of a data set in the languages wanted, by configuration, then row."""
    source = wanted.source
    configs = wanted.configs or _known_configs(source)
    items: dict[tuple[str, str], Question] = {}
    for name in _configs(source, configs, config, languages):
        splits = _splits(source, name)
        part = _split(f"{source}:{name}", list(splits), split)
        lang = name if _is_language(name, languages) else wanted.lang
        if lang is None and languages is not None and len(languages) == 1:
            lang = languages[0]
        for question in _questions(f"{source}:{name}:{part}", splits[part], wanted, part, lang):
            if languages is None or question.lang in languages:
                key = question.id, question.lang
                if key in items:
                    raise InputError(
                        f"{source}:{name}:{part}: {', '.join(key)} stands twice; remove one, or its id"
                    )
                items[key] = question
    empty = sorted(set(languages or ()) - {lang for _, lang in items})
    if empty or not items:
        what = f"for {', '.join(empty)}; leave it out" if empty else "at all"
        raise InputError(f"{source} has no row {what}")
    return list(items.values())


def _known_configs(source: str) -> Sequence[str]:
    """The configurations of a data set; without network they are not known, and `default` is all that is said."""
    import datasets

    with _fetching(source):
        return datasets.get_dataset_config_names(source)


def _is_language(config: str, languages: Sequence[str] | None) -> bool:
    return config in LANGUAGES or config in (languages or ())


def _configs(
    source: str, there: Sequence[str], config: str, languages: Sequence[str] | None
) -> Sequence[str]:
    """The configurations to read: the one asked for, those of the languages wanted, or the only one."""
    if config:
        if config not in there and list(there) != ["default"]:
            raise InputError(
                f"{source} has no configuration {config}; there is {', '.join(there)} (a split: {source}::{config})"
            )
        return [config]
    own = [name for name in there if _is_language(name, languages)]
    if own:
        missing = [code for code in languages or () if code not in own]
        if missing:
            raise InputError(
                f"{source} has no configuration {missing[0]}; there is {', '.join(there)}"
            )
        return [name for name in own if languages is None or name in languages]
    if len(there) != 1:
        raise InputError(
            f"{source} has several configurations, of which none is named by a language: {', '.join(there)}; "
            f"give one, as {source}:{there[0]}"
        )
    return there


def _splits(source: str, config: str) -> Any:
    """The splits of a configuration, by name, in memory."""
    import datasets

    with _fetching(source), TemporaryDirectory() as once:
        # What datasets prepares from a folder it finds again by the folder's name and card alone: it would give another
        # folder of that name, or an older state. So for a folder nothing is kept.
        cache = once if Path(source).is_dir() else None
        return datasets.load_dataset(source, config, cache_dir=cache, keep_in_memory=True)


def _split(place: str, there: Sequence[str], split: str) -> str:
    """The split to read: the one asked for, `test`, or the only one."""
    if split in there:
        return split
    if not split and ("test" in there or len(there) == 1):
        return "test" if "test" in there else there[0]
    what = f"no split {split}" if split else "no split test"
    raise InputError(
        f"{place} has {what}; there is {', '.join(there)}; give one, as {place}:{there[0]}"
    )


def _questions(
    place: str, rows: Any, wanted: DataSet, split: str, lang: str | None
) -> Iterator[Question]:
    """The questions in the rows of a split; `lang` is the language of rows that do not say theirs."""
    there = rows.column_names
    columns = next((pair for pair in COLUMNS if set(there) >= {*pair} - {None}), None)
    if columns is None:
        raise InputError(
            f"{place} has the columns {', '.join(there)}; the question is to be in question (or m_query)"
        )
    if lang is None and "lang" not in there:
        raise InputError(
            f"{place} does not say its language: it has no column lang, and no configuration named by a language; "
            "name it with --languages"
        )
    read: Counter[str] = Counter()
    for number, row in enumerate(
        rows.select_columns([name for name in there if name in (*columns, *_OTHERS)])
    ):
        try:
            code = text_field({"lang": row.get("lang", lang)}, "lang")
            own = (
                wanted.ids.format(split=split, n=read[code])
                if row.get("id") is None
                else str(row["id"])
            )
            read[code] += 1
            if not wanted.types or row.get("type") in wanted.types:
                question, answer = (row.get(name) for name in columns)
                yield Question.from_row(
                    {"id": own, "lang": code, "question": question, "answer": answer}
                )
        except InputError as error:
            raise InputError(f"{place}, row {number}: {error}") from None


_OTHERS = ("id", "lang", "type")


@contextmanager
def _fetching(source: str) -> Generator[None]:
    """Inside this block nothing is told but errors, in one line."""
    from datasets.exceptions import DatasetsError

    try:
        with quiet.libraries(
            "datasets", level=logging.CRITICAL
        ):  # errors are raised too, and told once, below
            yield
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        said = (
            " ".join(str(error.__cause__ or error).split())[:200].removesuffix(".")
            or type(error).__name__
        )
        if Path(source).is_dir():
            raise InputError(
                f"{source} holds no <lang>.jsonl, and no data set that can be read: {said}"
            ) from error
        raise InputError(
            f"{source}: no such file or folder here, and it could not be fetched from the Hub ({said}); give a local "
            "file or folder"
        ) from error
