"""Artifacts: a stage's folder, and the only code that reads or writes one.

A folder is its files and `manifest.json`. Files are written into a hidden folder beside the final
one; the manifest, with the digest of every file, comes last; then the folder is renamed into place.
So under its final name a folder is whole or absent, whatever happens in between. Reading checks the
digests.
"""

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self

from langneurons.errors import FormatError, InputError, MismatchError, OutputError

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray

FORMAT = 1
"""Version of the manifest."""

MANIFEST = "manifest.json"
_PACKAGES = ("langneurons", "numpy", "torch", "pyarrow", "safetensors")


@dataclass(frozen=True)
class Artifact:
    """A finished stage folder.

    Attributes:
        folder: where it is.
        manifest: what it says of itself: `format`, `kind` (what it holds: counts, neurons, ...),
            `command`, `config`, `inputs` (name -> digest), `files` (name -> digest), `facts` (what
            the stage had to say of its input), `packages`, `python`, `platform`, `created`.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """One digest of all its files: what a later stage remembers of its input."""
        return _sha256(json.dumps(self.manifest["files"], sort_keys=True).encode())

    def tensors(self, name: str) -> "tuple[dict[str, NDArray], dict[str, Any]]":
        """Tensors and metadata of a safetensors file."""
        from safetensors import safe_open

        path = self.file(name)
        with safe_open(path, framework="numpy") as file:
            meta = json.loads((file.metadata() or {}).get("langneurons", "{}"))
            return {key: file.get_tensor(key) for key in file.keys()}, meta  # noqa: SIM118

    def table(self, name: str) -> "pyarrow.Table":
        """A Parquet table."""
        from pyarrow import parquet

        return parquet.read_table(self.file(name))

    def file(self, name: str) -> Path:
        """Path of one of its files, checked to be as it was written."""
        path, expected = self.folder / name, self.manifest["files"].get(name)
        if expected is None:
            raise InputError(f"{self.folder} holds {self.manifest['kind']}, not {name}")
        if not path.is_file() or file_digest(path) != expected:
            raise FormatError(
                f"{path} is missing or not as it was written; make {self.folder} anew"
            )
        return path


class Draft:
    """A stage folder being written; see `writing`."""

    def __init__(self, folder: Path) -> None:
        """Write into this folder, which is not yet under its final name."""
        self.folder = folder
        self.facts: dict[str, Any] = {}

    def tensors(
        self, name: str, tensors: "Mapping[str, NDArray]", meta: Mapping[str, object]
    ) -> None:
        """Add a safetensors file."""
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        try:
            save_file(dict(tensors), self.folder / name, metadata={"langneurons": json.dumps(meta)})
        except SafetensorError as error:
            raise OSError(str(error)) from error

    def table(self, name: str, table: "pyarrow.Table") -> None:
        """Add a Parquet table."""
        from pyarrow import parquet

        parquet.write_table(table, self.folder / name, compression="zstd")

    def bytes(self, name: str, content: bytes) -> None:
        """Add a file with this content, in a folder of its own where the name has one."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


class Result(Protocol):
    """A value that is kept in a folder of its own: what kind it is, and how it is written and
    loaded.
    """

    KIND: ClassVar[str]
    """What its folder holds, as the manifest says it: counts, neurons, ..."""

    def write(self, draft: Draft) -> None:
        """Add its files to a folder that is being written."""

    @classmethod
    def load(cls, source: "Path | str | Artifact") -> Self:
        """The value in a finished folder."""
        ...


def save(
    value: Result,
    folder: Path | str,
    *,
    command: str = "save",
    config: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write a value into a folder of its own; a result that stands there is replaced.

    Raises:
        OutputError: when it cannot be written, or something else is there; nothing half-written
            stays.
    """
    current(Path(folder), value.KIND, config or {}, inputs or {}, force=True)
    with writing(Path(folder), value.KIND, command, config or {}, inputs or {}) as draft:
        value.write(draft)
        draft.facts |= facts or {}


def opened(source: Path | str | Artifact, *kinds: str) -> Artifact:
    """The finished folder at a path, or one that was read already; it must hold one of these kinds.

    Raises:
        InputError: see `read`.
    """
    if isinstance(source, Artifact):
        return source if source.manifest["kind"] in kinds else read(source.folder, *kinds)
    return read(Path(source), *kinds)


def read(folder: Path, *kinds: str) -> Artifact:
    """The finished stage folder at `folder`, which must hold one of these kinds of thing.

    Raises:
        InputError: when there is no such folder, it is unfinished, or it holds something else.
    """
    path = folder / MANIFEST
    wanted = " or ".join(kinds)
    if not path.is_file():
        what = (
            "has no manifest.json, so it is no finished result"
            if folder.is_dir()
            else "does not exist"
        )
        raise InputError(f"{folder} {what}; {wanted} from langneurons are needed here")
    try:
        manifest = parsed(path.read_bytes())
        kind, form = manifest["kind"], manifest["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(
            f"{path} is no manifest of langneurons ({error}); make {folder} anew"
        ) from None
    if form != FORMAT:
        raise FormatError(
            f"{path} has format {form}; this version of langneurons reads format {FORMAT}"
        )
    if kinds and kind not in kinds:
        raise InputError(f"{folder} holds {kind}; {wanted} are needed here")
    return Artifact(folder, manifest)


def find(run: Path, *kinds: str) -> list[Artifact]:
    """Every finished stage folder of these kinds directly in the folder `run`, by name.

    Raises:
        InputError: when `run` is no folder.
    """
    if not run.is_dir():
        raise InputError(
            f"{run} is not a folder; give the folder that holds the results, counts and neurons"
        )
    found = [read(path.parent) for path in sorted(run.glob(f"*/{MANIFEST}"))]
    return [artifact for artifact in found if artifact.manifest["kind"] in kinds]


def source_beside(result: Artifact, kind: str) -> Artifact | None:
    """What a result was made from, of this kind, where it stands beside it; None where it does
    not.
    """
    digest = result.manifest["inputs"].get(kind)
    if digest is None:
        return None
    beside = find(result.folder.resolve().parent, kind)
    return next((source for source in beside if source.digest == digest), None)


def finished(folder: Path) -> list[Path]:
    """Every finished stage folder below `folder`, by name, also while others are being written
    there.
    """
    walked = os.walk(folder)  # passes over what vanishes meanwhile, as rglob does not
    found = [Path(place) for place, _, files in walked if MANIFEST in files]
    return sorted(
        path
        for path in found
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def current(
    folder: Path,
    kind: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    *,
    force: bool = False,
) -> Artifact | None:
    """The result at `folder` if it is the one these settings and inputs give; None if nothing is
    there.

    Raises:
        MismatchError: when a result of other settings or inputs is there, naming what differs,
            unless `force`.
        OutputError: when something else is there.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if not (folder / MANIFEST).is_file():
        raise OutputError(
            f"{folder} exists and is no result of langneurons; choose another place with --out"
        )
    there = read(folder)
    asked = {"kind": kind, "config": dict(config), "inputs": dict(inputs)}
    kept = {key: there.manifest[key] for key in asked}
    other = differences(kept, json.loads(json.dumps(asked)))
    if not other or force:
        return None if other else there
    listed = "; ".join(f"{d.name} {_brief(d.there)} there, {_brief(d.now)} now" for d in other)
    raise MismatchError(
        f"{folder} holds a result of other settings: {listed}. "
        "Choose another --out, or replace it with --force"
    )


@contextmanager
def writing(
    folder: Path, kind: str, command: str, config: Mapping[str, Any], inputs: Mapping[str, str]
) -> Generator[Draft, None, None]:
    """Write a stage folder: add files to the draft; it appears under its name when the block ends
    without an error.

    Args:
        folder: its final name. A result that stands there is replaced; see `current` for who may.
        kind: what it holds.
        command: the command that makes it.
        config: the settings that determine the content.
        inputs: digests of what it is made from, by name.

    Raises:
        OutputError: when it cannot be written; nothing half-written stays.
    """
    with _failures(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        draft = Draft(folder.parent / _draft_name(folder.name, os.getpid()))
        draft.folder.mkdir()
    try:
        with _failures(folder):
            yield draft
            paths = sorted(path for path in draft.folder.rglob("*") if path.is_file())
            files = {path.relative_to(draft.folder).as_posix(): file_digest(path) for path in paths}
            manifest = {
                "format": FORMAT,
                "kind": kind,
                "command": command,
                "config": dict(config),
                "inputs": dict(inputs),
                "files": files,
                "facts": draft.facts,
                "packages": {name: _version(name) for name in _PACKAGES},
                "python": platform.python_version(),
                "platform": platform.platform(),
                "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            }
            _write_synced(
                draft.folder / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False).encode()
            )
            _put_in_place(draft.folder, folder)
    finally:
        shutil.rmtree(draft.folder, ignore_errors=True)


def write_file(path: Path, content: bytes) -> None:
    """Write one file, whole or not at all.

    Raises:
        OutputError: when it cannot be written.
    """
    with _failures(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        draft = path.parent / _draft_name(path.name, os.getpid())
        try:
            _write_synced(draft, content)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def with_meta(table: "pyarrow.Table", meta: Mapping[str, Any]) -> "pyarrow.Table":
    """A table with what there is to know of it beside its columns."""
    return table.replace_schema_metadata({"langneurons": json.dumps(meta)})


def meta_of(
    table: "pyarrow.Table", *, version: int, what: str, column: str | None = None
) -> dict[str, Any]:
    """What `with_meta` put beside the columns of a table.

    Args:
        table: the table.
        version: the `format` that it must name.
        what: what it should be, for the error.
        column: one that it must have besides.

    Raises:
        FormatError: when the table is not of this format.
    """
    meta = json.loads((table.schema.metadata or {}).get(b"langneurons", b"{}"))
    if meta.get("format") != version or (column and column not in table.column_names):
        raise FormatError(
            f"not {what} of format {version}; its columns are {table.column_names[:6]}"
        )
    return meta


def parsed(content: str | bytes) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: when it is none, or nests too deeply to be read.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("it nests too deeply") from None


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _failures(target: Path) -> Generator[None, None, None]:
    """Turn an error of the file system into one that says what could not be written."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise OutputError(
            f"cannot write {target}: {reason}; free space or choose another place with --out"
        ) from error


def _draft_name(final: str, pid: int | str) -> str:
    return f".{final}.writing-{platform.node()}-{pid}"


def _sweep(path: Path) -> None:
    """Remove what killed runs of this machine left behind while writing beside this: drafts of
    folders and of files.
    """
    for left in path.parent.glob(_draft_name("*", "*")):
        if not _alive(int(left.name.removesuffix("-old").rpartition("-")[2])):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(
                missing_ok=True
            )


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def _put_in_place(draft: Path, folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        old = draft.with_name(f"{draft.name}-old")
        folder.rename(old)
        draft.rename(folder)
        shutil.rmtree(old)
    else:
        draft.rename(folder)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


class Difference(NamedTuple):
    """One setting in which two tables of settings differ.

    Attributes:
        name: of the setting.
        there: what it was.
        now: what it is.
    """

    name: str
    there: Any
    now: Any


def differences(there: Any, now: Any, name: str = "") -> list[Difference]:
    """Where two tables of settings differ, tables in them gone into; None for what is not there."""
    if isinstance(there, dict) and isinstance(now, dict):
        keys = dict.fromkeys((*there, *now))
        return [d for key in keys for d in differences(there.get(key), now.get(key), key)]
    return [] if there == now else [Difference(name, there, now)]


def _brief(value: Any) -> str:
    text = "auto" if value is None else str(value)
    text = text if text.isprintable() else repr(text)  # a template may have several lines
    return text if len(text) <= 24 else text[:12] + "…"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    with suppress(PackageNotFoundError):
        return version(package)
    return None
