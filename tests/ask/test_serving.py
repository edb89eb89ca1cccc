"""The engine that starts a server by a command: used, killed, wedged, and never left behind."""

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from langneurons import artifacts
from langneurons.ask import serving
from langneurons.ask.engine import Request
from langneurons.ask.serving import Served, Serving, words
from langneurons.config import SampleConfig
from langneurons.errors import InputError, ServerError
from support.command import refused

STUB = Path(__file__).parents[1] / "support" / "stub_server.py"
REQUESTS = [Request(f"prompt {i}", i) for i in range(6)]
CONFIG = SampleConfig(n=1, max_new_tokens=8, concurrency=1)
WHAT = Served("folder", "mine", None, "digest")


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    serving.stop()


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where what servers say is kept, here and not where the machine keeps it."""
    folder = tmp_path / "logs"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def command(log: Path, how: str = "well") -> str:
    """Starts the stub; the model is not looked at."""
    return f"{shlex.quote(sys.executable)} {STUB} {{name}} {{port}} {log} {how}"


def starts(log: Path) -> list[int]:
    lines = log.read_text().splitlines()
    return [int(line.split()[1]) for line in lines if line.startswith("start ")]


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits for its parent to look does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ends(pid: int) -> bool:
    """Whether a process is gone within some seconds."""
    end = time.monotonic() + 20
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pid)


def test_a_server_is_started_asked_and_stopped(
    log: Path, logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """That is told, as it may take minutes; of what it said nothing is left, as all was well."""
    engine = Serving(command(log), WHAT)
    assert not log.exists()
    found = sorted(engine.complete(REQUESTS, CONFIG))
    assert [one.place for one in found] == list(range(6))
    assert list(engine.complete(REQUESTS, CONFIG)) != []
    assert len(starts(log)) == 1
    assert engine.facts["server"]["started"] == 1
    [said] = logs.iterdir()
    engine.stop()
    assert ends(starts(log)[0])
    assert not said.exists()
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "starting a server of mine, which may take minutes"
    assert told[1].startswith("the server answers, after ")
    assert len(told) == 2


@pytest.mark.parametrize(
    ("how", "fate"), [("dies", "ended with status 1"), ("hangs", "answers no more")]
)
def test_one_that_dies_or_hangs_is_started_anew(
    how: str,
    fate: str,
    log: Path,
    logs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What was answered is not asked again; what it said before it failed is kept."""
    monkeypatch.setattr(serving, "PATIENCE", 1.0)  # long enough for one that dies to be dead
    monkeypatch.setattr(serving, "TIMEOUT", 1.0)
    engine = Serving(command(log, how), WHAT)
    found = sorted(engine.complete(REQUESTS, CONFIG))
    engine.stop()
    assert [one.place for one in found] == list(range(6))
    assert engine.facts["server"]["started"] == 2 == len(starts(log))
    prompts = [line for line in log.read_text().splitlines() if line.startswith("prompt")]
    assert sorted(prompts) == [f'prompt "prompt {i}"' for i in range(6)]
    assert all(ends(pid) for pid in starts(log))
    [said] = logs.iterdir()
    assert said.read_text() == "looking for the model\n"
    told = f"the server {fate} and said: looking for the model (all of it: {said}); where a "
    assert told in capsys.readouterr().err


def test_one_that_keeps_dying_is_given_up(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "PATIENCE", 0.3)
    engine = Serving(command(log, "always-dies"), WHAT)
    many = [Request(f"prompt {i}", i) for i in range(20)]
    answered = []
    with pytest.raises(ServerError, match=r"started 4 times .* --no-server-seeds"):
        answered += engine.complete(many, CONFIG)
    assert len(starts(log)) == 4


def test_one_that_cannot_be_started_is_told_of(log: Path, logs: Path) -> None:
    """With its last line, and where all is that it said."""
    with pytest.raises(InputError, match="ended with status 3: no such model") as error:
        list(Serving(command(log, "never"), WHAT).complete(REQUESTS, CONFIG))
    [said] = logs.glob("langneurons-server-*.log")
    assert str(error.value).endswith(f"(all of it: {said})")
    assert said.read_text() == "looking for the model\nno such model\n"
    with pytest.raises(InputError, match="no-such-program: No such file"):
        list(Serving("no-such-program {port}", WHAT).complete(REQUESTS, CONFIG))
    with pytest.raises(InputError, match="No closing quotation"):
        Serving("vllm '{port}", WHAT)
    assert list(logs.iterdir()) == [said]


def test_what_tells_most_of_what_a_server_has_said() -> None:
    """Its own words, as vLLM puts them: what is wrong first, what became of it after that."""
    memory = (
        "WARNING 11-28 03:19:41 [utils.py:255] This can cause errors like `OSError: Too many`.\n"
        "(Worker pid=8) ERROR 11-28 03:20:51 [executor.py:953]     raise ValueError(\n"
        "(Worker pid=8) ERROR 11-28 03:20:51 [executor.py:953] ValueError: too little memory\n"
        "(Engine pid=6) ERROR 11-28 03:20:54 [core.py:15] Exception: see above\n"
        "RuntimeError: Engine core initialization failed. See root cause above.\n\n"
    )
    assert serving.telling(memory) == "ValueError: too little memory"
    length = (
        "pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
        "  Value error, max_model_len (2048) is too long\n"
        "    For further information visit https://example.org\n"
    )
    assert serving.telling(length) == (
        "ValidationError: 1 validation error for ModelConfig Value error, max_model_len (2048) is "
        "too long For further information visit https://example.org"
    )
    assert serving.telling("ValueError: " + "x" * 999) == "ValueError: " + "x" * 288
    assert serving.telling("one\n\n  two \n\n") == "two"
    assert serving.telling("") == "nothing"


def test_what_stands_for_what(tmp_path: Path) -> None:
    """An adapter is served beside its base, by its own name."""
    plain = words("serve {model} --name {name} --port {port} 'a b'", WHAT, 80)
    assert plain == ["serve", "folder", "--name", "mine", "--port", "80", "a b"]
    settings = {"r": 12, "rank_pattern": {"q_proj": 20}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    adapted = words("serve {model} {name} {port}", Served("base", "mine", tmp_path, ""), 80)
    assert adapted[:4] == ["serve", "base", "base-of-mine", "80"]
    assert adapted[4:7] == ["--enable-lora", "--max-lora-rank", "32"]
    assert adapted[7:] == ["--lora-modules", f"mine={tmp_path}"]


def test_what_is_served_is_known_by_its_files(model: Path, tmp_path: Path) -> None:
    first = serving.served(str(model))
    assert first == serving.served(str(model))
    assert (first.model, first.name, first.adapter) == (str(model), str(model), None)
    other = tmp_path / "other"
    other.mkdir()
    for file in model.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    assert serving.served(str(other)).digest == first.digest
    (other / "config.json").write_text("{}")
    assert serving.served(str(other)).digest != first.digest
    assert serving.served("nano").model.endswith("embedded/model")


def test_sample_and_evaluate_share_a_server(
    model: Path, sums: Path, tmp_path: Path, log: Path, langneurons: Callable[..., Any]
) -> None:
    """In one process; what is there is not asked for again; the manifest says how it was asked."""
    how = ("--engine", command(log), "--no-server-seeds", "--template", "plain")
    done = langneurons("sample", model, sums, "--out", tmp_path / "a", "-n", 2, *how)
    assert done.status == 0, done.err
    done = langneurons("evaluate", model, sums, "--out", tmp_path / "b", *how)
    assert done.status == 0, done.err
    assert len(starts(log)) == 1
    manifest = artifacts.read(tmp_path / "a").manifest
    assert manifest["config"]["engine"] == command(log)
    assert manifest["config"]["server_seeds"] is False
    assert manifest["facts"]["server"]["started"] == 1
    serving.stop()
    again = langneurons("sample", model, sums, "--out", tmp_path / "a", "-n", 2, *how)
    assert "up to date" in again.err
    assert len(starts(log)) == 1
    wrong = langneurons("sample", model, sums, "--out", tmp_path / "c", *how, "--revision", "x")
    refused(wrong, "put it into the command")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends it with its parent")
def test_a_server_ends_with_who_started_it(model: Path, sums: Path, log: Path, logs: Path) -> None:
    """Also when that is killed and can do nothing any more."""
    program = [sys.executable, "-m", "langneurons", "evaluate", str(model), str(sums)]
    how = ["--engine", command(log, "hangs"), "--template", "plain", "--out", str(log) + ".out"]
    quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    there = {**os.environ, "TMPDIR": str(logs)}
    with subprocess.Popen([*program, *how], env=there, **quiet) as process:
        end = time.monotonic() + 120
        while not (log.exists() and "prompt" in log.read_text()) and time.monotonic() < end:
            time.sleep(0.05)
        assert alive(starts(log)[0])
        os.kill(process.pid, signal.SIGKILL)
    assert ends(starts(log)[0])
