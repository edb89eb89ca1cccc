"""A dry run: what would be done, what it would take, and what can be had; nothing is written."""

import json
from pathlib import Path

import pytest

from langneurons import artifacts
from langneurons.study import plan
from langneurons.study.commands import run
from langneurons.study.forecast import Forecast
from langneurons.study.toml import load
from support.studies import STUDIES, TINY, save_questions, write


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("path", STUDIES)
def test_a_dry_run_of_each(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run(path, dry_run=True)
    told = capsys.readouterr().out
    for step in plan.steps(load(path).study):
        assert f"{step.out} " in told
    assert "steps to do: " in told
    by_id = any("/" in model for model in load(path).study.models.values())
    assert ("could not be checked" in told) == by_id
    assert not list(tmp_path.iterdir())


def test_what_is_there_and_what_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One result is there that the run does not know of; its readers are checked again."""
    save_questions(tmp_path / "questions")
    study = write(tmp_path, TINY)
    folder = tmp_path / "run"
    with artifacts.writing(folder / "questions/one", "questions", "run", {}, {}) as draft:
        draft.facts["questions"] = 5
    before = sorted(tmp_path.rglob("*"))
    would = run(str(study), out=folder, dry_run=True, json=True)
    assert isinstance(would, Forecast)
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(would.to_json()))
    states = {step.out: step.state for step in would.steps}
    assert states.pop("questions/one") == "not known to this run"
    assert set(states.values()) == {"not there yet"}
    assert all(step.do for step in would.steps)
    assert sorted(tmp_path.rglob("*")) == before
    named = {needed.name: needed.there for needed in would.access}
    assert named[str(tmp_path / "questions")] is True
    assert named["model"] is None
    assert would.steps[0].command is None
    assert would.steps[-1].command == "langneurons report . --out report.html"


def test_where_nothing_is_to_be_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_questions(tmp_path / "questions")
    study = write(tmp_path, TINY)
    for dry in (False, True):
        run(str(study), out=tmp_path / "run", only="questions", dry_run=dry)
    told = capsys.readouterr().out
    assert "3 steps, all there; nothing to do" in told
    assert "free on the disk of" in told
