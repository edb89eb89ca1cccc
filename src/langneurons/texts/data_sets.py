"""Data sets of the Hugging Face Hub, or of a folder that holds one: what is in them, and their
rows.
"""

import logging
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from langneurons import quiet
from langneurons.errors import InputError
from langneurons.texts.languages import known


class Named(NamedTuple):
    """What a name such as `owner/name:config:split` is of.

    Attributes:
        source: id on the Hub, or the folder.
        stem: the last part of it, to name rows by.
        config: the configuration it names; empty for none.
        split: the split it names; empty for none.
    """

    source: str
    stem: str
    config: str
    split: str


def named(name: str) -> Named | None:
    """What a name is of; None where it is no folder here and cannot be an id on the Hub."""
    source, config, split = name, "", ""
    if not Path(name).expanduser().is_dir():
        source, _, after_source = name.partition(":")
        config, _, split = after_source.partition(":")
    folder = Path(source).expanduser()
    if folder.is_dir():
        return Named(str(folder), folder.resolve().name, config, split)
    if ":" not in split and re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source):
        return Named(source, folder.name, config, split)
    return None


def known_configs(source: str) -> Sequence[str]:
    """The configurations of a data set; where the network is needed and not there, `default`."""
    import datasets

    with fetching(source):
        return datasets.get_dataset_config_names(source)


def is_language(config: str, languages: Sequence[str] | None) -> bool:
    """Whether a configuration is that of a language: of any known one, or one that is wanted."""
    return known(config) or config in (languages or ())


def configs(
    source: str, known: Sequence[str], config: str, languages: Sequence[str] | None
) -> Sequence[str]:
    """The configurations to read: the one asked for, those of the languages, or the only one.

    Raises:
        InputError: for one that is not there, or several of which none is meant.
    """
    names = ", ".join(known)
    if config:
        if config not in known and list(known) != ["default"]:
            raise InputError(
                f"{source} has no configuration {config}; there is {names} "
                f"(a split: {source}::{config})"
            )
        return [config]
    by_language = [name for name in known if is_language(name, languages)]
    if by_language:
        missing = [code for code in languages or () if code not in by_language]
        if missing:
            raise InputError(f"{source} has no configuration {missing[0]}; there is {names}")
        return [name for name in by_language if languages is None or name in languages]
    if len(known) != 1:
        raise InputError(
            f"{source} has several configurations, of which none is named by a language: {names}; "
            f"give one, as {source}:{known[0]}"
        )
    return known


def splits(source: str, config: str, *, streaming: bool = False) -> Any:
    """The splits of a configuration, by name: in memory, or read as one goes through them."""
    import datasets

    with fetching(source), TemporaryDirectory() as once:
        if streaming:
            return datasets.load_dataset(source, config, streaming=True)
        # What datasets prepares from a folder it finds again by the folder's name and card alone:
        # it would give another folder of that name, or an older state. So for a folder nothing is
        # kept.
        cache = once if Path(source).is_dir() else None
        return datasets.load_dataset(source, config, cache_dir=cache, keep_in_memory=True)


def split_of(place: str, known: Sequence[str], split: str, usual: str) -> str:
    """The split to read: the one asked for, the usual one, or the only one.

    Raises:
        InputError: when there is none of these.
    """
    if split in known:
        return split
    if not split and usual in known:
        return usual
    if not split and len(known) == 1:
        return known[0]
    raise InputError(
        f"{place} has no split {split or usual}; there is {', '.join(known)}; "
        f"give one, as {place}:{known[0]}"
    )


@contextmanager
def fetching(source: str) -> Generator[None]:
    """Inside this block nothing is told but errors, in one line."""
    from datasets.exceptions import DatasetsError

    try:
        # its errors are raised too, and told once, below
        with quiet.libraries("datasets", level=logging.CRITICAL):
            yield
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        in_one_line = " ".join(str(error.__cause__ or error).split())[:200].removesuffix(".")
        said = in_one_line or type(error).__name__
        if Path(source).is_dir():
            raise InputError(
                f"{source} holds no <lang>.jsonl, and no data set that can be read: {said}"
            ) from error
        raise InputError(
            f"{source}: no such file or folder here, and it could not be fetched from the Hub "
            f"({said}); give a local file or folder"
        ) from error
