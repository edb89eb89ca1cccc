"""Serving: the engine that starts a server by a command, waits for it, asks it and stops it.

The command is the user's, as `vllm serve {model} --served-model-name {name} --port {port}`. A
server that dies, or gives no answer for long, is started anew a few times; what was answered is
kept. One server is kept for what comes next in this process, if that is of the same model, and is
stopped with it; on Linux also when this process is killed. What a server says goes into a file,
which stays where the server fails.
"""

import atexit
import ctypes
import hashlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import IO, Any, NamedTuple

from langneurons import artifacts, console, nano
from langneurons.ask.engine import Completion, Request
from langneurons.ask.server import Server
from langneurons.config import SampleConfig
from langneurons.errors import InputError, ServerError

PORT = "{port}"
"""What tells a command from a URL: it stands for the port that the server is to listen on."""

STARTS, START = 4, 1800.0
"""How often a server is started for one task, and seconds until it must answer."""

TIMEOUT, PATIENCE = 600.0, 20.0
"""Seconds to wait for one reply, and of failing after which a server is started anew."""

_TO_END = 20.0  # seconds that a server has to end by itself

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that vLLM can be told as the largest of its adapters."""

_ERROR = re.compile(r"(?:^|\] )(?:\w+\.)*([A-Z]\w*(?:Error|Exception): .*)")  # ]: of a log
_TOLD = 300  # characters of what a server has said that are told

_OF_SEEDS = "; where a seed is what it dies of: --no-server-seeds, in a study seeds = false"

_OF_WEIGHTS = (".safetensors", ".bin", ".json", ".jinja", ".model", ".gguf")


class Served(NamedTuple):
    """What a server is to be started with.

    Attributes:
        model: folder, file or id of the model; of an adapter its base.
        name: what requests call it; of an adapter, the adapter.
        adapter: folder of the adapter; None without one.
        digest: of the files of both; of an id on the Hub, the commit that is in the cache.
    """

    model: str
    name: str
    adapter: Path | None
    digest: str


def served(model: str) -> Served:
    """What is to be served of MODEL, as commands take it.

    Raises:
        ModelError: for an adapter that does not say what it adapts.
    """
    from langneurons.model.loading import base_of

    base = base_of(model)
    source = base or model
    folder = str(nano.folder(source) or source)
    adapter = Path(model).expanduser().resolve() if base else None
    digests = [_digest(folder), *([_digest(str(adapter))] if adapter else [])]
    return Served(folder, model, adapter, hashlib.sha256(repr(digests).encode()).hexdigest())


def words(command: str, what: Served, port: int) -> list[str]:
    """The words of a command, with what stands for them put in; an adapter is added as to vLLM.

    Raises:
        InputError: for a command that cannot be read.
    """
    name = what.name if what.adapter is None else f"base-of-{what.name}"
    values = {"{model}": what.model, "{name}": name, PORT: str(port)}
    try:
        parts = shlex.split(command)
    except ValueError as error:
        raise InputError(f"--engine {command!r}: {error}") from None
    for placeholder, value in values.items():
        parts = [part.replace(placeholder, value) for part in parts]
    if what.adapter:
        settings = artifacts.parsed((what.adapter / "adapter_config.json").read_bytes())
        rank = max([settings.get("r", 0), *(settings.get("rank_pattern") or {}).values()])
        allowed = next((most for most in RANKS if most >= rank), rank)
        parts += ["--enable-lora", "--max-lora-rank", str(allowed)]
        parts += ["--lora-modules", f"{what.name}={what.adapter}"]
    return parts


def telling(said: str) -> str:
    """What tells most of what a server has said: its first error, with what is set in below it, as
    those that follow are of its other processes; else its last line.
    """
    lines = [line for line in said.splitlines() if line.strip()]
    for place, line in enumerate(lines):
        if error := _ERROR.search(line):
            below = takewhile(lambda line: line[0].isspace(), lines[place + 1 :])
            return " ".join([error[1], *map(str.strip, below)])[:_TOLD]
    return lines[-1].strip() if lines else "nothing"


class Serving:
    """The engine that asks a server it has started; see `engine.Engine`.

    Attributes:
        key: what it was made of.
        quiet: whether it is not told on standard error that a server is started, which may take
            minutes, or has failed.
    """

    def __init__(self, command: str, what: Served, *, seeds: bool = True) -> None:
        """Use this command; nothing is started yet.

        Args:
            command: starts a server.
            what: what it serves.
            seeds: whether it is sent a seed with each request.
        """
        self.key = (command, what, seeds)
        port = _free_port()
        self._words = words(command, what, port)
        self._server = Server(
            f"http://127.0.0.1:{port}/v1",
            what.name,
            timeout=TIMEOUT,
            patience=PATIENCE,
            seeds=seeds,
        )
        self.quiet = False
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._starts = 0

    @property
    def facts(self) -> dict[str, Any]:
        """What happened so far, see `Server.facts`, and how often it was started."""
        return {"server": {**self._server.facts["server"], "started": self._starts}}

    def complete(
        self, requests: Sequence[Request], config: SampleConfig, done: Collection[int] = ()
    ) -> Iterator[Completion]:
        """Completions as they arrive, see `Server.complete`.

        Raises:
            InputError: when the server refuses what it is asked, or cannot be started.
            ServerError: when it does not recover though it was started anew.
        """
        there, starts = set(done), 0
        while True:
            if self._process is None or self._process.poll() is not None:
                starts += 1
                self._start()
            try:
                for completion in self._server.complete(requests, config, frozenset(there)):
                    there.add(completion.place)
                    yield completion
            except ServerError as error:
                said, status = self._said(), self._process.poll() if self._process else None
                self.stop(failed=True)
                if starts >= STARTS:
                    raise ServerError(
                        f"{error}; it was started {starts} times and said: {said}{_OF_SEEDS}"
                    ) from None
                fate = "answers no more" if status is None else f"ended with status {status}"
                hint = _OF_SEEDS if self.key[2] and config.temperature else ""
                self._tell(f"the server {fate} and said: {said}{hint}")
            else:
                return

    def _start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            InputError: when there is no such command, or it ends by itself.
            ServerError: when it does not answer in time.
        """
        self.stop()
        self._server.transport.answered = False
        self._log = tempfile.NamedTemporaryFile(  # noqa: SIM115 - as long as the server
            prefix="langneurons-server-", suffix=".log", delete=False
        )
        command = shlex.join(self._words)
        self._tell(f"starting a server of {self._server.model}, which may take minutes")
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the user's own command
                self._words,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_ends_with_us(),
            )
        except OSError as error:
            self.stop()
            raise InputError(f"--engine {self._words[0]}: {error.strerror}") from None
        self._starts += 1
        began = time.monotonic()
        while time.monotonic() < began + START:
            if (status := self._process.poll()) is not None:
                said = self._said()
                self.stop()
                raise InputError(f"{command} ended with status {status}: {said}")
            try:
                self._server.models()
            except ServerError:
                time.sleep(0.2)
            else:
                self._tell(f"the server answers, after {console.span(time.monotonic() - began)}")
                return
        said = self._said()
        self.stop(failed=True)
        raise ServerError(f"{command} gave no answer in {START:.0f} s and said: {said}")

    def stop(self, *, failed: bool = False) -> None:
        """Stop the server, and all that it has started.

        Args:
            failed: whether it runs and yet does not serve. What one has said that failed, or ended
                by itself, is kept.
        """
        process, self._process = self._process, None
        if process:
            failed = failed or process.poll() is not None
            for how in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.killpg(process.pid, how)
                    process.wait(_TO_END)
            process.poll()
        if self._log:
            self._log.close()
            if not failed:
                Path(self._log.name).unlink(missing_ok=True)
            self._log = None

    def _said(self) -> str:
        """What the server has said, see `telling`, and where all of it stands."""
        if self._log is None:
            return ""
        log = Path(self._log.name)
        return f"{telling(log.read_text('utf-8', 'replace'))} (all of it: {log})"

    def _tell(self, what: str) -> None:
        if not self.quiet:
            print(what, file=sys.stderr, flush=True)


_KEPT: list[Serving] = []


def serving(command: str, what: Served, *, seeds: bool = True, quiet: bool = False) -> Serving:
    """The engine for a command: the one that is kept, if it serves the same, else a new one."""
    if not _KEPT or _KEPT[0].key != (command, what, seeds):
        stop()
        _KEPT.append(Serving(command, what, seeds=seeds))
    _KEPT[0].quiet = quiet
    return _KEPT[0]


@atexit.register
def stop() -> None:
    """Stop the server that is kept, if there is one."""
    while _KEPT:
        _KEPT.pop().stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _ends_with_us() -> Any:
    """What a new process does first on Linux: have itself ended when this one is no more."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    set_death_signal = 1  # of sys/prctl.h

    def ask() -> None:
        libc.prctl(set_death_signal, signal.SIGTERM)

    return ask


def _digest(name: str) -> str:
    """Which files a model has: of a folder or file, by their content."""
    path = Path(name)
    if path.is_file():
        return artifacts.file_digest(path)
    if not path.is_dir():
        return _commit(name)
    files = sorted(file for file in path.iterdir() if file.suffix in _OF_WEIGHTS)
    kept = [file for file in files if file.name != artifacts.MANIFEST]
    return repr([(file.name, artifacts.file_digest(file)) for file in kept])


def _commit(name: str) -> str:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return name
    return f"{name}@{Path(cached).parent.name}" if isinstance(cached, str) else name
