"""Access: whether models, questions and libraries are here or can be fetched."""

import shlex
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from langneurons import gemma, nano
from langneurons.study import hub
from langneurons.study.sizes import cached, size
from langneurons.study.spec import Study
from langneurons.texts import world


class Access(NamedTuple):
    """Whether something can be had: a model, questions, a library.

    Attributes:
        name: of it.
        there: whether it can be had; None when that could not be checked.
        seen: what was seen.
    """

    name: str
    there: bool | None
    seen: str


def access(study: Study) -> list[Access]:
    """What a study needs, and whether it can be had."""
    models = list(study.models.values())
    if study.translator:
        models.append(study.translator.model)
    domains = list(study.domains.values())
    if study.seeds:
        domains.append(study.seeds)
    needed = [_model(name) for name in dict.fromkeys(models)]
    needed += [
        _questions(name) for name in dict.fromkeys(d.questions for d in domains if d.questions)
    ]
    texts = [name for domain in domains for name in (domain.texts, domain.scored) if name]
    needed += [_texts(name) for name in dict.fromkeys(texts)]
    if study.template and "/" in study.template:
        needed.append(Access(study.template, Path(study.template).is_file(), "prompt template"))
    if study.serve and study.serve.command:
        program = shlex.split(study.serve.command)[0]
        there = shutil.which(program) is not None
        needed.append(
            Access(program, there, seen="starts a server" if there else "no such program")
        )
    needed.append(_library("torch", extra="model"))
    needed.append(_library("vl_convert", extra="report"))
    if study.alignments:
        needed += [_library(name, extra="align") for name in ("trl", "peft", "accelerate")]
    return needed


def _model(name: str) -> Access:
    if name == gemma.NAME:
        seen = "268M weights, in an installed package" if gemma.is_here() else gemma.INSTALL
        return Access(name, there=gemma.is_here(), seen=seen)
    folder = nano.folder(name) or Path(name)
    local = folder.exists() or name == nano.NAME or cached(name) is not None
    known = size(name, ask_hub=not local)
    said = f"{amount(known.weights)} weights {known.seen}" if known else "size not known"
    if folder.is_dir():
        configs = ("config.json", "adapter_config.json")
        if not any((folder / config).is_file() for config in configs):
            return Access(name, there=False, seen="a folder without config.json")
        return Access(name, there=True, seen=f"{said}, a folder here")
    if folder.is_file():
        return Access(name, there=known is not None, seen=f"{said}, a file here")
    if name == nano.NAME:
        seen = "the embedded model is not in this installation"
        return Access(name, there=False, seen=seen)
    if local:
        return Access(name, there=True, seen=f"{said}, in the Hub's cache")
    found = hub.look(name, "model")
    return Access(name, found.there, f"{said}; {found.words}")


def _questions(name: str) -> Access:
    from langneurons.texts.questions import BENCHMARKS

    if name in world.QUESTIONS:
        return Access(name, there=True, seen="questions that come with langneurons")
    if Path(name).exists():
        return Access(name, there=True, seen="questions here")
    if name.endswith(".jsonl"):
        return Access(name, there=False, seen="no such file of questions here")
    source = BENCHMARKS[name].source if name in BENCHMARKS else name.partition(":")[0]
    found = hub.look(source, "dataset")
    return Access(name, found.there, f"questions; {found.words}")


def _texts(name: str) -> Access:
    if name in world.TEXTS:
        return Access(name, there=True, seen="texts that come with langneurons")
    if Path(name).exists():
        return Access(name, there=True, seen="texts here")
    if name.count("/") != 1:
        return Access(name, there=False, seen="no such file or folder of texts here")
    found = hub.look(name.partition(":")[0], "dataset")
    return Access(name, found.there, f"texts; {found.words}")


def _library(name: str, *, extra: str) -> Access:
    there = find_spec(name) is not None
    how = "a library" if there else f"missing: pip install 'langneurons[{extra}]'"
    return Access(name, there, how)


def amount(number: float) -> str:
    """A number in few letters: 12k, 3.4M, 1.2G."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{unit}"
    return f"{number:.0f}"
