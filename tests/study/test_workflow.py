"""A study as a Snakemake workflow: what it says, and carried out by Snakemake itself."""

import ast
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from langneurons import artifacts
from langneurons.cli import app
from langneurons.study import plan
from langneurons.study.toml import load
from support import studies
from support.studies import STUDIES, TINY, write

SMALLEST = """
languages = ["en", "sw"]
template = "plain"
models.tiny = "model"
domains.one = { questions = "questions", take = 3 }
analyses.base = ["evaluate"]
sample = { n = 2, max-new-tokens = 4, stop = ["{}"] }
evaluate.max-new-tokens = 4
record.blocks = 2
identify = { rate = 0.2, tau-quantile = 0.8, bootstrap = 2 }
"""
"""Six steps: questions, sample, evaluate, record, identify, report."""


def shells(text: str) -> list[str]:
    """The commands of a workflow, as Snakemake gives them to a shell."""
    return [
        ast.literal_eval(line).replace("{{", "{").replace("}}", "}")
        for line in re.findall(r"    shell:\n        (.*)\n", text)
    ]


@pytest.mark.parametrize("path", STUDIES)
def test_a_workflow_of_each(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, langneurons: Callable[..., Any]
) -> None:
    """Every step is made by a rule, from what it needs, by a command that there is."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    file = tmp_path / "it.smk"
    done = langneurons("run", path, "--out", tmp_path / "run", "--snakefile", file)
    assert done.status == 0, done.err
    assert f"snakemake -s {file} --cores" in done.out
    text = file.read_text("utf-8")
    made = re.findall(r"update\('(.*)/manifest.json'\)", text)
    steps = plan.steps(load(path).study)
    assert sorted(made) == sorted(step.out for step in steps)
    read = set(re.findall(r"^        '(.*)/manifest.json'", text, re.M))
    assert read == {need for step in steps for need in step.needs} | {"report"}
    for command in shells(text):
        program, *words = shlex.split(command)
        assert program == "langneurons"
        app.parse_args(words, exit_on_error=False, print_error=False)
    head = json.loads((tmp_path / "run" / "study.json").read_text("utf-8"))
    assert head["steps"] == {}


def test_resources_are_those_of_the_estimate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, langneurons: Callable[..., Any]
) -> None:
    """A step that would be long here gets a GPU; what is not known is left to the engine."""
    studies.save_questions(tmp_path / "questions")
    text = TINY.replace('tiny = "model"', 'tiny = "owner/tiny-7B"').replace("take = 4", "take = 2")
    study = write(tmp_path, text.replace('"translator"', '"owner/scorer"'))
    monkeypatch.setattr("langneurons.study.estimates.here", lambda: 1e9)
    file = tmp_path / "it.smk"
    langneurons("run", study, "--out", tmp_path / "run", "--snakefile", file)
    rules = dict(re.findall(r"^rule (\w+):\n(.*?)\n\n", file.read_text("utf-8"), re.M | re.S))
    sampling = next(rule for name, rule in rules.items() if name.startswith("sample_"))
    assert "gpu=1" in sampling
    assert "mem_mb=30000" in sampling  # 4 bytes for each of 7e9 weights, and our own
    seconds = 2 * 2 * 3 * (150 + 2 * 8) * 7e9 / 1e13
    assert seconds < 200
    assert "runtime=lambda wildcards, attempt: 10 * attempt" in sampling
    identifying = next(rule for name, rule in rules.items() if name.startswith("identify_"))
    assert "gpu" not in identifying
    scoring = next(rule for name, rule in rules.items() if name.startswith("reward_"))
    assert "resources" not in scoring


def test_a_part_of_a_study_is_no_workflow(tmp_path: Path, langneurons: Callable[..., Any]) -> None:
    words = ("--out", tmp_path / "run", "--snakefile", tmp_path / "x.smk", "--only", "record")
    done = langneurons("run", "nano", *words)
    assert done.status == 2
    assert "--snakefile writes the whole study" in done.err


@pytest.mark.skipif(find_spec("snakemake") is None, reason="snakemake is not installed")
def test_snakemake_gives_what_run_gives(tmp_path: Path, langneurons: Callable[..., Any]) -> None:
    """On two cores, killed in the middle; then `run` finds it all, and Snakemake what `run` did."""
    studies.save_model(tmp_path / "model")
    studies.save_questions(tmp_path / "questions")
    study, by_run, by_engine = write(tmp_path, SMALLEST), tmp_path / "a", tmp_path / "b"
    file = tmp_path / "it.smk"
    assert langneurons("run", study, "--out", by_run).status == 0
    assert langneurons("run", study, "--out", by_engine, "--snakefile", file).status == 0
    engine = Snakemake(file, tmp_path)
    responses = by_engine / "models/tiny/base/one/responses"
    engine.killed(when=responses / artifacts.MANIFEST)
    made = artifacts.read(responses).manifest["created"]
    assert not (by_engine / "report" / artifacts.MANIFEST).exists()
    engine.run("--rerun-incomplete", "--nolock")
    assert artifacts.read(responses).manifest["created"] == made  # and not again
    digests = {
        folder.relative_to(by_run): artifacts.read(folder).digest
        for folder in artifacts.finished(by_run)
    }
    assert len(digests) == 6
    for folder, digest in digests.items():
        assert artifacts.read(by_engine / folder).digest == digest, folder
    again = langneurons("run", study, "--out", by_engine, "--json")
    assert again.json["failed"] == {}
    assert "nothing to do" in langneurons("run", study, "--out", by_engine).out
    for folder in digests:
        assert artifacts.read(by_engine / folder).digest == digests[folder], folder
    langneurons("run", study, "--out", by_run, "--snakefile", file)
    assert "Nothing to be done" in engine.run("--dry-run")


class Snakemake:
    """Snakemake on a workflow."""

    def __init__(self, file: Path, folder: Path) -> None:
        self.command = [sys.executable, "-m", "snakemake", "-s", str(file), "--cores", "2"]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.how = {"cwd": folder, "env": {**os.environ, "PATH": path}, "text": True}

    def run(self, *words: str) -> str:
        done = subprocess.run([*self.command, *words], check=False, capture_output=True, **self.how)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def killed(self, when: Path) -> None:
        """Begin, and kill it and all that it started once a file is there."""
        quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(self.command, start_new_session=True, **quiet, **self.how) as engine:
            try:
                end = monotonic() + 300
                while not when.exists() and engine.poll() is None and monotonic() < end:
                    sleep(0.01)
            finally:
                os.killpg(engine.pid, signal.SIGKILL)
        assert engine.returncode == -signal.SIGKILL
