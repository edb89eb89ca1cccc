"""The command line: in this process or in one of its own, and what becomes of it."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock


class Outcome(NamedTuple):
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run_here(*words: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> Outcome:
    """Run the command line in this process: the same entry point, words, messages and exit
    status."""
    from langneurons import cli

    out, err, status = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["langneurons", *map(str, words)]),
        mock.patch.dict(os.environ, env or {}),
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as exit_:
            status = exit_.code if isinstance(exit_.code, int) else 0 if exit_.code is None else 1
    return Outcome(status, out.getvalue(), err.getvalue())


def run_process(
    *words: object,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    launcher: Sequence[str] = (),
) -> Outcome:
    """Run the command line in a process of its own, in which a warning is an error."""
    command = [sys.executable, *launcher, "-m", "langneurons", *map(str, words)]
    whole = {**os.environ, "PYTHONWARNINGS": "error", **(env or {})}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=whole, check=False, timeout=600
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def run_two_processes(*words: object) -> Outcome:
    """Run the command line under torchrun, in two processes that share the work."""
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")
    return run_process(*words, env={"OMP_NUM_THREADS": "1"}, launcher=torchrun)


def killed(*words: object, when: Callable[[], object], after: float = 0.0) -> bool:
    """Run the real command line and kill it, seconds after something is true; False: it had ended
    by itself."""
    command = [sys.executable, "-m", "langneurons", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not when() and process.poll() is None:
                time.sleep(0.001)
            time.sleep(after)
        finally:
            process.kill()
    return process.returncode == -signal.SIGKILL


def refused(done: Outcome, what: str) -> None:
    """Exit status 2, one line that says so, no traceback."""
    assert done.status == 2, (done.out, done.err)
    assert done.err.startswith("langneurons: ")
    assert done.err.count("\n") == 1, done.err
    assert what in done.err, done.err
