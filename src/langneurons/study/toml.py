"""The study in a TOML file, or one that comes with langneurons."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from importlib.resources import files
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from langneurons import gemma, nano
from langneurons.contents import foreign
from langneurons.errors import InputError
from langneurons.study.spec import SEED_RESPONSES, Domain, Study
from langneurons.texts import world

BUILT_IN = ("nano", "gemma", "paper")
"""Studies that come with langneurons. `./nano` is a file of that name."""


class NamedStudy(NamedTuple):
    """A study and what it is called.

    Attributes:
        name: of the file, without .toml.
        study: what it says; files it names are absolute paths.
    """

    name: str
    study: Study


def load(source: str) -> NamedStudy:
    """A study from a TOML file, or a built-in one.

    A file it names (models, questions, template, translator) is looked for beside it, and for a
    built-in one in the present folder; what is not there stays as it is: a name, or an id on the
    Hub.

    Raises:
        InputError: in one line, for a file that cannot be read, is no TOML, has an unknown key (the
            nearest one is named) or a value of the wrong type, or describes no study.
    """
    if source in BUILT_IN:
        path = files("langneurons").joinpath("study", "studies", f"{source}.toml")
        return NamedStudy(source, _placed(parse(path.read_text("utf-8"), source), Path()))
    path = Path(source).expanduser()
    if what := foreign(path):
        raise InputError(f"{source} is {what}; a study is written in TOML")
    try:
        text = path.read_text("utf-8").lstrip("\ufeff")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8; save it so"
        near = difflib.get_close_matches(source, BUILT_IN, 1)
        meant = f" ({near[0]} is meant?)" if near else ""
        raise InputError(
            f"{source}: {why}; give a TOML file or a study that comes with langneurons: "
            f"{', '.join(BUILT_IN)}{meant}"
        ) from None
    study = _placed(parse(text, str(path)), path.parent)
    return NamedStudy(path.name.removesuffix(".toml"), study)


def parse(text: str, place: str) -> Study:
    """The study in a text; `place` is what to call it in errors.

    Raises:
        InputError: see `load`.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{place} is no TOML: {error}") from None
    return _Reader(place).table(Study, content, "", _suited(content))


def _suited(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a study of the embedded model alone starts from: what its commands do."""
    models = content.get("models")
    if not isinstance(models, dict) or set(models.values()) != {nano.NAME}:
        return {}
    return {
        "sample": nano.SAMPLE,
        "sample_seeds": replace(nano.SAMPLE, n=SEED_RESPONSES),
        "evaluate": nano.EVALUATE,
        "align": nano.ALIGN,
    }


def _placed(study: Study, folder: Path) -> Study:
    """The same with paths that exist made absolute."""

    def path_of(name: str) -> str:
        path = folder / Path(name).expanduser()
        return str(path.resolve()) if path.exists() else name

    def model_of(name: str) -> str:
        return name if name in (nano.NAME, gemma.NAME) else path_of(name)

    def placed(domain: Domain) -> Domain:
        def source_of(name: str) -> str:
            known = (*world.QUESTIONS, *world.TEXTS)
            return path_of(name) if name and name not in known else name

        return replace(
            domain,
            questions=source_of(domain.questions),
            texts=source_of(domain.texts),
            scored=source_of(domain.scored),
        )

    translator = study.translator
    return replace(
        study,
        models={name: model_of(model) for name, model in study.models.items()},
        domains={name: placed(domain) for name, domain in study.domains.items()},
        seeds=study.seeds and placed(study.seeds),
        translator=translator and replace(translator, model=model_of(translator.model)),
        template=study.template and path_of(study.template),
    )


class _Reader:
    """Makes dataclasses of tables of TOML; says in one line what cannot be made."""

    def __init__(self, place: str) -> None:
        """`place` is what to call the file in errors."""
        self.place = place

    def table(
        self, kind: Any, content: Mapping[str, Any], path: str, start: Mapping[str, Any]
    ) -> Any:
        """A dataclass from a table.

        Args:
            kind: the dataclass.
            content: the table; its keys may have - for _.
            path: where it stands in the file, as `sample.`; empty for the whole file.
            start: what holds of its fields where the table says nothing, beside their defaults.

        Raises:
            InputError: for an unknown or missing key, or a value of another type or out of range.
        """
        known = {setting.name: setting for setting in fields(kind)}
        types = get_type_hints(kind)
        values = dict(start)
        for key, value in content.items():
            name = key.replace("-", "_")
            if name not in known:
                raise InputError(
                    f"{self.place}: {path}{key} is unknown; {_meant(name, list(known))}"
                )
            at = f"{path}{key}"
            if is_dataclass(types[name]) and isinstance(value, dict):
                before = values[name] if name in values else _default(known[name])
                values[name] = self.table(types[name], value, f"{at}.", _settings(before))
            else:
                values[name] = self.value(types[name], value, at)
        needed = [name for name, setting in known.items() if _default(setting) is MISSING]
        if missing := [name for name in needed if name not in values]:
            raise InputError(f"{self.place}: {path}{missing[0]} is missing")
        try:
            return kind(**values)
        except InputError as error:
            table = f"[{path[:-1]}] " if path else ""
            raise InputError(f"{self.place}: {table}{error}") from None

    def value(self, kind: Any, value: Any, at: str) -> Any:
        """A value as what a field holds; `at` is its key.

        Raises:
            InputError: when it is of another type.
        """
        origin, inner = get_origin(kind), get_args(kind)
        if is_dataclass(kind) and isinstance(value, dict):
            return self.table(kind, value, f"{at}.", {})
        if origin in (UnionType, Union):
            return self._any_of(inner, kind, value, at)
        if origin is Literal and any(value == word and type(value) is type(word) for word in inner):
            return value
        if origin is tuple and isinstance(value, list):
            return tuple(self.value(inner[0], each, at) for each in value)
        if origin is dict and isinstance(value, dict):
            return {key: self.value(inner[1], each, f"{at}.{key}") for key, each in value.items()}
        if kind is float and type(value) in (int, float):
            return float(value)
        if kind in (int, str, bool) and type(value) is kind:
            return value
        raise self._wrong(kind, value, at)

    def _any_of(self, kinds: tuple[Any, ...], whole: Any, value: Any, at: str) -> Any:
        """A value as the first of several types that it fits."""
        for kind in kinds:
            if kind is type(None):
                continue
            try:
                return self.value(kind, value, at)
            except InputError:
                if isinstance(value, dict):  # a table: what is wrong in it is the thing to say
                    raise
        raise self._wrong(whole, value, at)

    def _wrong(self, kind: Any, value: Any, at: str) -> InputError:
        return InputError(f"{self.place}: {at} is {value!r}; {_type_words(kind)} is needed")


def _default(setting: Field[Any]) -> Any:
    """What a field holds if nothing is said; MISSING where it must be said."""
    factory = setting.default_factory
    return setting.default if factory is MISSING else factory()


def _settings(config: Any) -> dict[str, Any]:
    """The settings in a dataclass, by name; none where there is no dataclass."""
    if not is_dataclass(config):
        return {}
    return {setting.name: getattr(config, setting.name) for setting in fields(config)}


def _meant(name: str, known: list[str]) -> str:
    """The nearest of the names that are known, or all of them, as they stand in a file."""
    near = difflib.get_close_matches(name, known, 1, 0.5)
    hint = f"is {near[0]} meant?" if near else f"there are {', '.join(known)}"
    return hint.replace("_", "-")


def _type_words(kind: Any) -> str:
    """What a type is called."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (UnionType, Union):
        return " or ".join(_type_words(each) for each in inner if each is not type(None))
    if origin is Literal:
        return " or ".join(repr(word) for word in inner)
    if origin is tuple:
        return f"a list of {_type_words(inner[0])}"
    simple = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return simple.get(kind, "a table")
