"""Ledger: what a run has done of a study, and why a step is to be done, without any model.

`study.json` in the run's folder keeps for each step what it was asked, the digests of the results
it read, and a cheap identity of the models and files it read elsewhere: names, sizes and times of
files. Where any of it differs, the stage's own command decides, by the weights themselves; so a
ledger that is lost costs time and nothing else.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

from langneurons import __version__, artifacts, gemma, nano
from langneurons.errors import FormatError, InputError
from langneurons.run_folder import LEDGER, PAGE
from langneurons.study.plan import Step
from langneurons.study.stages import MakeReport
from langneurons.study.toml import NamedStudy
from langneurons.texts import world

FORMAT = 1
"""Version of the ledger."""


class Pace(NamedTuple):
    """What the steps of a stage took together, as far as they run a model: seconds, operations."""

    steps: int
    seconds: float
    operations: float


class Ledger:
    """What is done of a study in the folder of a run.

    Attributes:
        run: the folder.
        steps: of each step that is done, by its folder, what the module's docstring says.
    """

    def __init__(self, run: Path, named: NamedStudy) -> None:
        """Read what is there.

        Raises:
            InputError: when the folder is a run of another study.
            FormatError: when its ledger cannot be read.
        """
        self.run = run
        self.path = run / LEDGER
        self.head = {"format": FORMAT, "study": named.name, "settings": _plain(named.study)}
        self.steps: dict[str, dict[str, Any]] = {}
        if self.path.is_file():
            self._read(named.name)
        self._paces: dict[str, Pace] = {}
        for entry in self.steps.values():
            self._pace_with(entry)

    def _read(self, name: str) -> None:
        try:
            content = artifacts.parsed(self.path.read_bytes())
            study, form, self.steps = content["study"], content["format"], dict(content["steps"])
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(
                f"{self.path} cannot be read ({error}); delete it: results are kept"
            ) from None
        if form != FORMAT:
            raise FormatError(
                f"{self.path} has format {form}, not {FORMAT}; delete it: results are kept"
            )
        if study != name:
            raise InputError(
                f"{self.run} is a run of the study {study}; "
                f"choose another place for {name} with --out"
            )

    def reason(self, step: Step) -> str | None:
        """Why a step is to be done; None when what it gives is there.

        A result it needs that is not there says nothing.

        Raises:
            LangneuronsError: when something else stands in its folder, or the folder is damaged.
        """
        there, known = self.digest(step.out), self.steps.get(step.out)
        if there is None:
            return "not there yet" if known is None else "its folder is gone"
        if known is None:
            return "not known to this run"
        if known["digest"] != there:
            return "its folder has changed"
        if other := artifacts.differences(known["asked"], _asked(step)):
            named = ((d.name.replace("_", "-"), d) for d in other)
            return "; ".join(f"{name} {d.there} then, {d.now} now" for name, d in named)
        for need in step.needs:
            if self.digest(need) not in (None, known["inputs"].get(need)):
                return f"{need} is another"
        for name in step.call.outside:
            if known["outside"].get(name) != identity(name):
                return f"{name} may have changed"
        if isinstance(step.stage, MakeReport) and not (self.run / PAGE).is_file():
            return f"{PAGE} is gone"
        return None

    def note(
        self, step: Step, outside: Mapping[str, str], seconds: float, operations: float | None
    ) -> None:
        """Remember that a step is done.

        Args:
            step: the step.
            outside: `identity` of what it read elsewhere, from before it read it.
            seconds: how long it took.
            operations: what it was estimated to take, by which later ones of its stage are
                estimated.
        """
        if step.out in self.steps:
            self._pace_with(self.steps[step.out], sign=-1)
        self.steps[step.out] = {
            "stage": step.stage.name,
            "asked": _asked(step),
            "inputs": {need: self.digest(need) for need in step.needs},
            "outside": dict(outside),
            "seconds": round(seconds, 3),
            "operations": operations,
            "digest": self.digest(step.out),
        }
        self._pace_with(self.steps[step.out])
        self.save()

    def save(self) -> None:
        """Write it, whole or not at all."""
        content = json.dumps(self.head | {"steps": self.steps}, ensure_ascii=False, indent=1)
        artifacts.write_file(self.path, content.encode())

    def digest(self, folder: str) -> str | None:
        """Digest of a result by its manifest; None when it is not there.

        Raises:
            FormatError: when a file of it is missing.
        """
        path = self.run / folder
        if not (path / artifacts.MANIFEST).is_file():
            return None
        result = artifacts.read(path)
        if missing := [name for name in result.manifest["files"] if not (path / name).is_file()]:
            raise FormatError(
                f"{path / missing[0]} is missing; delete {path}, then it is made anew"
            )
        return result.digest

    def pace(self, stage: str) -> float | None:
        """Seconds that an operation took in the steps of a stage so far; None when none is done."""
        pace = self._paces.get(stage)
        return pace.seconds / pace.operations if pace and pace.steps else None

    def _pace_with(self, entry: Mapping[str, Any], sign: int = 1) -> None:
        """Count a step that is done in; with -1 out, when it is done again."""
        if entry.get("operations"):
            pace = self._paces.get(entry["stage"], Pace(0, 0, 0))
            self._paces[entry["stage"]] = Pace(
                steps=pace.steps + sign,
                seconds=pace.seconds + sign * entry["seconds"],
                operations=pace.operations + sign * entry["operations"],
            )


def identity(name: str) -> str:
    """What tells a model, questions or a file from what they were before, without reading them.

    Of a folder or file names, sizes and times of change; of an id on the Hub the commit that is in
    the cache, if any; of any other name the name.
    """
    if name in (*world.QUESTIONS, *world.TEXTS):
        return f"{name} of langneurons {__version__}"
    if name == gemma.NAME:
        return f"{name} {gemma.SHA256}"
    path = nano.folder(name) or Path(name)
    if path.exists():
        inside = path.rglob("*") if path.is_dir() else [path]
        files = sorted(file for file in inside if file.is_file())
        seen = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return hashlib.sha256(repr(seen).encode()).hexdigest()
    return _commit(name)


def _commit(name: str) -> str:
    """An id on the Hub with the commit of its configuration that is in the cache."""
    if name.count("/") != 1:
        return name
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return name
    return f"{name}@{Path(cached).parent.name}" if isinstance(cached, str) else name


def _asked(step: Step) -> dict[str, Any]:
    options = {name: _plain(value) for name, value in step.call.options.items()}
    return {"given": _plain(step.call.given), **options}


def _plain(value: Any) -> Any:
    """The same as JSON gives it back."""
    return json.loads(json.dumps(asdict(value) if is_dataclass(value) else value, default=_encoded))


def _encoded(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) else str(value)
