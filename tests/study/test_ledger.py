"""The ledger: what is done of a study, and why a step is to be done. Results are made by hand."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from langneurons import artifacts
from langneurons.errors import FormatError, InputError
from langneurons.study import plan
from langneurons.study.ledger import Ledger, identity
from langneurons.study.plan import Step
from langneurons.study.spec import Study
from langneurons.study.toml import NamedStudy, load
from support.studies import TINY, save_questions, write

BASE = "models/tiny/base/one"


class Run(NamedTuple):
    """A run in which every step is done."""

    folder: Path
    study: Study

    def reasons(self, study: Study | None = None) -> dict[str, str]:
        """Why steps are to be done, by folder, as a new process sees it."""
        study = study or self.study
        ledger = Ledger(self.folder, NamedStudy("tiny", study))
        reasons = {step.out: ledger.reason(step) for step in plan.steps(study)}
        return {out: reason for out, reason in reasons.items() if reason}


def save(run: Path, out: str, content: str) -> None:
    with artifacts.writing(run / out, "anything", "test", {}, {}) as draft:
        draft.bytes("content", content.encode())


def note(ledger: Ledger, step: Step) -> None:
    outside = {name: identity(name) for name in step.call.outside}
    ledger.note(step, outside, seconds=2.0, operations=4.0)


def carried_out(folder: Path) -> Run:
    """A run in a folder, of a study in it."""
    home, run = folder / "home", folder / "run"
    home.mkdir()
    save_questions(home / "questions")
    for name in ("model", "translator"):
        (home / name).mkdir()
        write(home / name, "{}", "config.json")
    named = load(str(write(home, TINY)))
    ledger = Ledger(run, named)
    for step in plan.steps(named.study):
        save(run, step.out, step.out)
        note(ledger, step)
    write(run, "", "report.html")
    return Run(run, named.study)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return carried_out(tmp_path_factory.mktemp("untouched"))


@pytest.fixture
def run(untouched: Run, tmp_path: Path) -> Run:
    """A copy, to do with as one likes."""
    shutil.copytree(untouched.folder, tmp_path / "run")
    return untouched._replace(folder=tmp_path / "run")


def test_what_is_done_is_not_to_be_done(run: Run) -> None:
    assert run.reasons() == {}


def test_a_ledger_that_is_lost_knows_of_nothing(run: Run) -> None:
    (run.folder / "study.json").unlink()
    reasons = run.reasons()
    assert set(reasons) == {step.out for step in plan.steps(run.study)}
    assert set(reasons.values()) == {"not known to this run"}
    shutil.rmtree(run.folder)
    assert set(run.reasons().values()) == {"not there yet"}


def test_a_folder_that_is_gone_and_one_that_has_changed(run: Run) -> None:
    shutil.rmtree(run.folder / BASE / "neurons")
    assert run.reasons() == {f"{BASE}/neurons": "its folder is gone"}
    save(run.folder, f"{BASE}/neurons", "other")
    reasons = run.reasons()
    assert reasons.pop(f"{BASE}/neurons") == "its folder has changed"
    assert set(reasons.values()) == {f"{BASE}/neurons is another"}
    readers = {"perplexity", "comparison/one", "checkpoints/one", "comparison/two"}
    assert {"report", f"{BASE}/perplexity", "models/tiny/sw/comparison/one"} <= set(reasons)
    assert {out.removeprefix(f"{BASE}/").removeprefix("models/tiny/sw/") for out in reasons} == {
        *readers,
        "checkpoints/two",
        "report",
    }


def test_other_settings_are_named(run: Run) -> None:
    other = replace(run.study, identify=replace(run.study.identify, rate=0.25, bootstrap=5))
    reasons = run.reasons(other)
    both = "rate 0.2 then, 0.25 now; bootstrap 4 then, 5 now"
    assert reasons[f"{BASE}/neurons"] == both
    assert reasons["models/tiny/sw/comparison/one"] == "bootstrap 4 then, 5 now"
    assert len(reasons) == 6 + 4


def test_what_is_read_elsewhere_may_have_changed(tmp_path: Path) -> None:
    run = carried_out(tmp_path)
    model = run.study.models["tiny"]
    write(Path(model), "{ }", "config.json")
    reasons = run.reasons()
    assert set(reasons.values()) == {f"{model} may have changed"}
    stages = {step.stage.name for step in plan.steps(run.study) if step.out in reasons}
    assert stages == {"sample", "evaluate", "record", "perplexity", "pair", "align"}
    assert not [out for out in reasons if "/step-" in out]


def test_the_page_is_part_of_the_report(run: Run) -> None:
    (run.folder / "report.html").unlink()
    assert run.reasons() == {"report": "report.html is gone"}


def test_a_result_that_lacks_a_file_is_refused(run: Run) -> None:
    (run.folder / "questions/one/content").unlink()
    with pytest.raises(FormatError, match=r"questions/one/content is missing; delete .*made anew"):
        run.reasons()


def test_the_pace_of_a_stage_is_of_what_it_took(run: Run) -> None:
    ledger = Ledger(run.folder, NamedStudy("tiny", run.study))
    [step, *_] = [step for step in plan.steps(run.study) if step.stage.name == "record"]
    assert ledger.pace("record") == 0.5
    assert ledger.pace("check") is None
    number = sum(entry["stage"] == "record" for entry in ledger.steps.values())
    ledger.note(step, {}, seconds=4.0, operations=4.0)
    assert ledger.pace("record") == pytest.approx((2 * (number - 1) + 4) / (4 * number))
    again = Ledger(run.folder, NamedStudy("tiny", run.study))
    assert again.pace("record") == pytest.approx(ledger.pace("record"))


def test_a_ledger_of_another_study_or_damaged_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a run of the study tiny; choose another place for"):
        Ledger(run.folder, NamedStudy("other", run.study))
    for content in ("{", "[]", json.dumps({"study": "tiny", "format": 1})):
        write(tmp_path, content, "study.json")
        with pytest.raises(FormatError, match="delete it: results are kept"):
            Ledger(tmp_path, NamedStudy("tiny", run.study))
    write(tmp_path, json.dumps({"study": "tiny", "format": 9, "steps": {}}), "study.json")
    with pytest.raises(FormatError, match="has format 9, not 1; delete it: results are kept"):
        Ledger(tmp_path, NamedStudy("tiny", run.study))


def test_identity_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path, "a", "config.json")
    first = identity(str(tmp_path))
    assert identity(str(tmp_path)) == first
    write(tmp_path, "ab", "config.json")
    assert identity(str(tmp_path)) != first
    assert identity("nano-seed") != identity("nano")
