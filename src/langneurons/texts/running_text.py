"""Running text: documents from .txt, from rows with a column `text`, or from a data set.

What LAPE and most of the field record on: what people wrote, not what a model answered.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from langneurons import artifacts
from langneurons.errors import InputError
from langneurons.texts import data_sets, rows, world
from langneurons.texts.language_id import Identifier, by_language
from langneurons.texts.responses import text_field

ENOUGH = 20
"""Documents in each language below which none is judged to be in another."""

HEAD = 1000
"""Characters of a document that its language is judged by."""

LEARNT = 2000
"""Documents of a language from which the identifier learns it."""

_DATA = (".parquet", ".arrow", ".csv", ".json", ".json.gz", ".jsonl.gz", ".zst")
"""Files that a data set is made of, where a folder holds no texts and no rows."""


class Document(NamedTuple):
    """One document: the unit that blocks are made of.

    Attributes:
        id: the same in every language, where the n-th documents of all say the same.
        lang: code of its language.
        text: all of it.
    """

    id: str
    lang: str
    text: str


class Documents(NamedTuple):
    """Documents, and what is to be known of them.

    Attributes:
        documents: in order of languages.
        digests: file name -> SHA-256 of its content; of a data set that of what was read.
        delimited: what a document of a .txt is, as `lines`; None for other sources.
    """

    documents: list[Document]
    digests: dict[str, str]
    delimited: str | None


def is_running_text(source: Path) -> bool:
    """Whether this is running text rather than responses, by names and the first row."""
    if str(source) in world.TEXTS:
        return True
    if not source.exists():
        beside = source.parent.is_dir()  # then it is a path that is mistyped, and no id on the Hub
        return not beside and data_sets.named(str(source)) is not None
    if source.is_file():
        return source.suffix == ".txt" or _has_text(source)
    if (source / artifacts.MANIFEST).exists() or (source / rows.Responses.FILE).exists():
        return False
    if _texts_in(source):
        return True
    tables = sorted(source.glob("*.jsonl"))
    if tables:
        return _has_text(tables[0])
    return any(path.name.endswith(_DATA) for path in source.rglob("*"))


def require(source: Path, languages: Sequence[str] | None = None) -> None:
    """Stop, before a model is loaded for nothing, where there is nothing to read.

    Raises:
        InputError: see `rows.files`.
    """
    if not is_running_text(source):
        rows.files(source, languages)


def _has_text(file: Path) -> bool:
    """Whether the first row of a JSONL file is running text; a file that cannot be read is not."""
    try:
        _, row = next(rows.json_rows(file, hashlib.sha256()))
    except (InputError, StopIteration):
        return False
    return "text" in row and not {"response", "prompt", "question"} & set(row)


def read(
    source: Path,
    languages: Sequence[str] | None = None,
    *,
    delimited: str = "auto",
    take: int = 0,
    characters: int = 0,
) -> Documents:
    """The documents of a source.

    Args:
        source: a .txt or JSONL file; a folder of `<lang>.txt`, `<lang>/*.txt` or `<lang>.jsonl`; a
            name of `world.TEXTS`; or a data set as `owner/name`, `owner/name:config` or
            `owner/name:config:split`, where `{lang}` in the configuration stands for each language
            wanted, or a folder that holds one.
        languages: the codes wanted, in order; default: whatever is there.
        delimited: what a document of a .txt is: lines, paragraphs, files, or auto; see
            `config.TextConfig`.
        take: the first so many of each language; 0: all.
        characters: characters in each language after which no further document is read; 0: read
            all.

    Raises:
        InputError: in one line, for a file that is no UTF-8, a row without text, a language that is
            not there, or a data set that cannot be read.
    """
    if str(source) in world.TEXTS:
        of_language, digests, unit = _of_world(str(source), languages, take or world.NUMBER)
    elif source.is_file() or _is_folder_of_files(source):
        of_language, digests, unit = _of_files(source, languages, delimited)
    else:
        of_language, digests, unit = _of_data_set(str(source), languages)
    documents: list[Document] = []
    for lang, every in of_language.items():
        own = list(_first(every, take, characters))
        if not own:
            raise InputError(f"{source} holds no text in {lang}; add some or leave it out")
        documents += own
    if missing := [code for code in languages or () if code not in of_language]:
        raise InputError(
            f"{source} has no text in {', '.join(missing)}; there is "
            f"{', '.join(of_language) or 'none'}"
        )
    if not digests:
        digests = {str(source): _digest(documents)}
    return Documents(documents, digests, unit)


def in_other_languages(documents: Sequence[Document]) -> dict[tuple[str, str], str]:
    """Documents that are more likely in another of the languages: (language, id) -> which.

    The identifier learns the languages from the documents themselves, and the one that is judged
    has no part in what was learnt. So most documents of a language must be in it. With one
    language, or few documents in one, nothing is judged.
    """
    texts = by_language((document.lang, document.text[:HEAD]) for document in documents)
    if len(texts) < 2 or min(map(len, texts.values())) < ENOUGH:
        return {}
    identifier = Identifier({lang: own[:LEARNT] for lang, own in texts.items()})
    strangers: dict[tuple[str, str], str] = {}
    place = dict.fromkeys(texts, 0)
    for document in documents:
        known = place[document.lang] < LEARNT
        place[document.lang] += 1
        without = document.lang if known else None
        lang = identifier.language(document.text[:HEAD], learnt_as=without)
        if lang not in (None, document.lang):
            strangers[document.lang, document.id] = str(lang)
    return strangers


_Sources = tuple[Mapping[str, Iterable[Document]], dict[str, str], str | None]
"""Documents of each language; digests, empty where they follow from the documents; see
`Documents.delimited`."""


def _first(every: Iterable[Document], take: int, characters: int) -> Iterator[Document]:
    """The first documents, up to so many, and until they have so many characters."""
    had = 0
    for document in islice(every, take or None):
        yield document
        had += len(document.text)
        if characters and had >= characters:
            return


def _digest(documents: Sequence[Document]) -> str:
    """SHA-256 of what was read."""
    content = hashlib.sha256()
    for document in documents:
        content.update(rows.to_lines([document._asdict()]))
    return content.hexdigest()


def _of_world(name: str, languages: Sequence[str] | None, number: int) -> _Sources:
    """Documents that come with langneurons."""
    codes = tuple(languages or world.LANGUAGES)
    if unknown := [code for code in codes if code not in world.LANGUAGES]:
        raise InputError(
            f"{name} has no texts in {', '.join(unknown)}; its languages are "
            f"{', '.join(world.LANGUAGES)}"
        )

    def told(lang: str) -> Iterator[Document]:
        for i, text in enumerate(world.running_text(name, lang, number)):
            yield Document(f"{name}-{i}", lang, text)

    return {code: told(code) for code in codes}, {}, None


def _is_folder_of_files(source: Path) -> bool:
    return source.is_dir() and bool(_texts_in(source) or any(source.glob("*.jsonl")))


def _texts_in(folder: Path) -> dict[str, list[Path]]:
    """The .txt of each language: `<lang>.txt`, else those below `<lang>/`."""
    texts = {
        path.name: sorted(path.rglob("*.txt"))
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith(".")
    }
    found = {code: files for code, files in texts.items() if files}
    return found | {path.stem: [path] for path in sorted(folder.glob("*.txt"))}


def _of_files(source: Path, languages: Sequence[str] | None, delimited: str) -> _Sources:
    """Documents of files: .txt, or rows with a column `text`."""
    if source.is_file():
        if source.suffix != ".txt":
            return _of_rows([source], languages, one_language=False)
        only = languages[0] if languages and len(languages) == 1 else source.stem
        texts = {only: [source]}
    else:
        texts = _texts_in(source)
        if not texts:
            named = {file.stem: file for file in sorted(source.glob("*.jsonl"))}
            codes = [code for code in languages or named if code in named]
            return _of_rows([named[code] for code in codes], languages, one_language=True)
    wanted = {code: texts[code] for code in languages or texts if code in texts}
    read_as = {file: _text(file) for files in wanted.values() for file in files}
    unit = _unit(source, wanted, read_as) if delimited == "auto" else delimited
    documents = {
        code: [
            document
            for file in files
            for document in _documents(file, read_as[file], code, unit, source)
        ]
        for code, files in wanted.items()
    }
    digests = {
        (file.relative_to(source).as_posix() if source.is_dir() else file.name): (
            artifacts.file_digest(file)
        )
        for file in read_as
    }
    return documents, digests, unit


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file}: byte {error.start} is not UTF-8; write the file as UTF-8"
        ) from None
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from None


_LINE_END = re.compile(r"\r\n|\r|\n")
_BLANK_LINES = re.compile(r"(?:\r\n|\r|\n)(?:[^\S\r\n]*(?:\r\n|\r|\n))+")


def _unit(source: Path, files: Mapping[str, Sequence[Path]], texts: Mapping[Path, str]) -> str:
    """What a document is where nothing was said.

    Raises:
        InputError: where some languages have blank lines between texts and others have none.
    """
    if any(file.parent != source and source.is_dir() for own in files.values() for file in own):
        return "files"
    parted = {file: _BLANK_LINES.search(text.strip()) is not None for file, text in texts.items()}
    if len(set(parted.values())) > 1:
        with_blank = next(file for file, is_parted in parted.items() if is_parted)
        without = next(file for file, is_parted in parted.items() if not is_parted)
        raise InputError(
            f"{with_blank} has blank lines between texts and {without} has none; say what a "
            "document is: --documents lines, paragraphs or files"
        )
    return "paragraphs" if any(parted.values()) else "lines"


def _documents(file: Path, text: str, lang: str, unit: str, source: Path) -> Iterator[Document]:
    """The documents of a .txt; the id of a line or paragraph is its number, of a file its name."""
    name = ""
    if source.is_dir() and file.parent != source:
        name = file.relative_to(source / lang).with_suffix("").as_posix()
    if unit == "files":
        if text.strip():
            yield Document(name or "1", lang, text.strip())
        return
    parts = _LINE_END.split(text) if unit == "lines" else _BLANK_LINES.split(text)
    for number, part in enumerate(parts, 1):
        if part.strip():
            yield Document(f"{name}:{number}" if name else str(number), lang, part.strip())


def _of_rows(
    files: Sequence[Path], languages: Sequence[str] | None, *, one_language: bool
) -> _Sources:
    """Documents of rows with `text`, and `lang` and `id` where they have them."""
    documents: dict[str, list[Document]] = {}
    digests: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    for file in files:
        content = hashlib.sha256()
        of_file = file.stem if one_language else None
        for number, (place, row) in enumerate(rows.json_rows(file, content), 1):
            try:
                lang = text_field({"lang": of_file, **row}, "lang")
                text = text_field(row, "text", may_be_empty=True)
            except InputError as error:
                raise InputError(f"{place}: {error}") from None
            rows.check_language(place, lang, of_file)
            own = str(row.get("id", row.get("question_id", number)))
            if (lang, own) in seen:
                raise InputError(f"{place}: {own}, {lang} stands twice; remove one")
            seen.add((lang, own))
            if text.strip() and (languages is None or lang in languages):
                documents.setdefault(lang, []).append(Document(own, lang, text.strip()))
        digests[file.name] = content.hexdigest()
    order = [code for code in languages or documents if code in documents]
    return {code: documents[code] for code in order}, digests, None


def _of_data_set(source: str, languages: Sequence[str] | None) -> _Sources:
    """Documents of a data set, read as one goes through its rows."""
    of_name = data_sets.named(source)
    if of_name is None:
        raise InputError(
            f"{source} is no file or folder here; give a .txt, a folder of <lang>.txt or "
            "<lang>.jsonl, or a data set of the Hugging Face Hub as owner/name or "
            "owner/name:config:split"
        )
    configs = _configs_by_language(source, of_name, languages)
    if configs:
        return {code: _of_config(of_name, name, code) for code, name in configs.items()}, {}, None
    config = of_name.config or data_sets.known_configs(of_name.source)[0]
    if languages:
        alone = len(languages) == 1
        return (
            {code: _of_config(of_name, config, code, may_not_say=alone) for code in languages},
            {},
            None,
        )
    documents: dict[str, list[Document]] = {}
    for document in _of_config(of_name, config, None):
        documents.setdefault(document.lang, []).append(document)
    return documents, {}, None


def _configs_by_language(
    source: str, of_name: data_sets.Named, languages: Sequence[str] | None
) -> dict[str, str]:
    """The configuration of each language; empty where one holds all of them."""
    if "{lang}" in of_name.config:
        if not languages:
            raise InputError(f"{source} names a configuration for each language; add --languages")
        return {code: of_name.config.replace("{lang}", code) for code in languages}
    known = data_sets.known_configs(of_name.source)
    chosen = data_sets.configs(of_name.source, known, of_name.config, languages)
    by_language = [name for name in chosen if data_sets.is_language(name, languages)]
    return {name: name for name in languages or by_language if name in by_language}


def _of_config(
    of_name: data_sets.Named, config: str, code: str | None, *, may_not_say: bool = True
) -> Iterator[Document]:
    """The documents of one configuration in a language, or in any.

    Args:
        of_name: the data set.
        config: the configuration.
        code: the language wanted; None: all, each row says its own in `lang`.
        may_not_say: whether a row without `lang` is taken for one in it.
    """
    place = f"{of_name.source}:{config}"
    parts = data_sets.splits(of_name.source, config, streaming=True)
    part = data_sets.split_of(place, list(parts), of_name.split, "train")
    every = iter(parts[part])
    number = 0
    while True:
        with data_sets.fetching(of_name.source):
            row = next(every, None)
        if row is None:
            return
        lang = row.get("lang") or (code if may_not_say else None)
        if "text" not in row or lang is None:
            missing = "lang: name one with --languages" if "text" in row else "text"
            raise InputError(f"{place}:{part} has the columns {', '.join(row)}, but no {missing}")
        if code is not None and lang != code:
            continue
        number += 1
        text = str(row["text"] or "").strip()
        if text:
            own = row.get("id")
            yield Document(f"{of_name.stem}-{number}" if own is None else str(own), lang, text)
