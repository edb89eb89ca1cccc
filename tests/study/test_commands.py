"""`langneurons run` on a tiny model: whole, run again, mended, killed; and a study of one's own."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from langneurons import artifacts
from langneurons.neurons.effects import Effects
from langneurons.neurons.table import Neurons
from langneurons.study import execution, plan
from langneurons.study.commands import run as conduct
from langneurons.study.execution import Outcome
from langneurons.study.ledger import Ledger
from langneurons.study.toml import load
from support import families, planted, studies
from support.command import killed
from support.studies import TINY, in_full, write

KILLS = 4


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study file and what it names."""
    folder = tmp_path_factory.mktemp("home")
    studies.save(folder)
    return folder


@pytest.fixture(scope="module")
def whole(home: Path, tmp_path_factory: pytest.TempPathFactory, langneurons: Any) -> Path:
    """A run that nothing disturbed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    done = langneurons("run", home / "tiny.toml", "--out", run)
    assert done.status == 0, done.err
    assert "[1/35, " in done.err
    return run


def digests(run: Path) -> dict[str, str]:
    """Digest of each result in a run."""
    return {
        result.relative_to(run).as_posix(): artifacts.read(result).digest
        for result in artifacts.finished(run)
    }


def written(run: Path) -> dict[str, int]:
    """When each result in a run was written."""
    return {
        manifest.parent.relative_to(run).as_posix(): manifest.stat().st_mtime_ns
        for manifest in run.rglob(artifacts.MANIFEST)
    }


def holds(run: Path, number: int) -> bool:
    """Whether there are as many results in a run."""
    return len(artifacts.finished(run)) >= number


def test_the_whole(whole: Path, home: Path) -> None:
    study = load(str(home / "tiny.toml")).study
    assert set(digests(whole)) == {step.out for step in plan.steps(study)}
    assert (whole / "report.html").is_file()
    claims = json.loads((whole / "models/tiny/sw/comparison/one/claims.json").read_text("utf-8"))
    assert len(claims) > 5
    assert not list(whole.rglob(".*"))
    log = (whole / "log.txt").read_text("utf-8")
    assert "langneurons align" in log
    assert "wrote models/tiny/base/one/neurons" in log


def test_a_second_run_does_nothing(whole: Path, home: Path) -> None:
    """And decides so without torch, in a process of its own."""
    before = written(whole)
    words = ["run", str(home / "tiny.toml"), "--out", str(whole)]
    heavy = "torch transformers trl peft datasets pyarrow numpy vl_convert"
    code = (
        f"import sys; sys.argv[1:] = {words!r}; from langneurons import cli\n"
        f"try: cli.main()\nfinally: print([m for m in {heavy.split()!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "35 steps; nothing to do" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
    assert not done.stderr
    assert written(whole) == before


def test_what_is_gone_is_made_again(
    whole: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder of every stage; and with equal digests, so that what depends on it stands."""
    study = home / "tiny.toml"
    of_stage: dict[str, list[str]] = {}
    for step in plan.steps(load(str(study)).study):
        of_stage.setdefault(step.stage.name, []).append(step.out)
    gone = {outs[len(outs) // 2] for outs in of_stage.values()}
    assert len(gone) == 11
    expected, before = digests(whole), written(whole)
    for out in gone:
        shutil.rmtree(whole / out)
    capsys.readouterr()
    outcome = conduct(str(study), out=whole, quiet=True)
    assert isinstance(outcome, Outcome)
    assert outcome.status == 0
    assert set(outcome.done) == gone
    assert digests(whole) == expected
    assert {out for out, at in written(whole).items() if at != before[out]} == gone
    assert capsys.readouterr().err == "", "--quiet shows no progress of any stage"


def test_other_settings_are_done_again_and_say_why(
    whole: Path, home: Path, tmp_path: Path, langneurons: Any
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    other = langneurons("run", write(home, TINY, "other.toml"), "--out", run)
    assert other.status == 2
    assert "is a run of the study tiny" in other.err
    text = in_full(TINY.replace("rate = 0.2", "rate = 0.25"), home)
    changed = write(tmp_path, text)
    done = langneurons("run", changed, "--out", run, "--only", "identify")
    assert done.status == 0, done.err
    assert "(rate 0.2 then, 0.25 now)" in done.err
    assert "6 done" in done.out
    named = load(str(changed))
    steps = plan.steps(named.study)
    ledger = Ledger(run, named)
    reasons = {step.out: ledger.reason(step) for step in steps}
    assert reasons["models/tiny/base/one/perplexity"] == "models/tiny/base/one/neurons is another"
    assert {step.stage.name for step in steps if reasons[step.out]} == {
        "perplexity",
        "compare",
        "report",
    }


def test_a_failure_leaves_the_rest_standing(
    whole: Path, home: Path, tmp_path: Path, langneurons: Any
) -> None:
    """One domain's questions are not there: the other's steps are done; the end says what to do."""
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    shutil.rmtree(run / "models/tiny/base/one/neurons")
    shutil.rmtree(run / "models/tiny/base/two/counts")
    text = in_full(TINY, home).replace(
        "[domains.two]\nquestions = ", '[domains.two]\nquestions = "nowhere.jsonl" # '
    )
    study = write(tmp_path, text)
    done = langneurons("run", study, "--out", run)
    assert done.status == 2
    assert "langneurons: questions/two: nowhere.jsonl is no file" in done.err
    assert f"go on with: langneurons run {study} --out {run}" in done.err
    assert "1 done" in done.out
    assert "1 failed" in done.out
    there = digests(run)
    assert there["models/tiny/base/one/neurons"] == digests(whole)["models/tiny/base/one/neurons"]
    assert "models/tiny/base/two/counts" not in there
    needs = langneurons("run", study, "--out", run, "--only", "identify", "--json")
    assert needs.status == 0, needs.err
    shutil.rmtree(run / "models/tiny/base/two/neurons")
    needs = langneurons("run", study, "--out", run, "--only", "identify")
    assert needs.status == 2
    assert "it needs models/tiny/base/two/counts, which is not there; leave out --only" in needs.err


def test_what_should_not_happen_is_told_and_the_rest_goes_on(
    home: Path, tmp_path: Path, langneurons: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = execution.questions

    def broken(source: str, *, out: Path, **options: Any) -> None:
        if out.name == "two":
            raise ZeroDivisionError("by hand")
        fetch(source, out=out, **options)

    monkeypatch.setattr(execution, "questions", broken)
    words = ("run", home / "tiny.toml", "--out", tmp_path / "run", "--only", "questions", "--json")
    done = langneurons(*words)
    assert done.status == 1
    assert list(done.json["done"]) == ["questions/one", "questions/seeds"]
    assert done.json["unforeseen"] == ["questions/two"]
    assert "this should not happen: ZeroDivisionError: by hand. Report it, with log.txt" in done.err
    assert "Traceback" in (tmp_path / "run/log.txt").read_text("utf-8")


def test_killed_again_and_again_is_the_same(
    whole: Path,
    home: Path,
    tmp_path: Path,
    langneurons: Any,
    record_property: Callable[[str, object], None],
) -> None:
    """SIGKILL at seeded moments of the whole study, which goes on each time; then to the end."""
    run, rng, in_time = tmp_path / "run", random.Random(1), 0
    words = ("run", home / "tiny.toml", "--out", run)
    for _ in range(KILLS):
        there = len(artifacts.finished(run))
        enough = there + rng.randint(1, len(digests(whole)) // KILLS)
        in_time += killed(*words, when=partial(holds, run, enough), after=rng.uniform(0, 0.3))
    record_property("kills", f"{in_time} of {KILLS} kills of a study came in time")
    assert in_time >= KILLS - 1
    done = langneurons(*words)
    assert done.status == 0, done.err
    assert digests(run) == digests(whole)
    assert not list(run.rglob(".*"))


def test_parts_of_a_study(home: Path, tmp_path: Path, langneurons: Any) -> None:
    words = ("run", home / "tiny.toml", "--out", tmp_path / "run")
    done = langneurons(*words, "--only", "questions", "--json")
    assert list(done.json["done"]) == ["questions/one", "questions/two", "questions/seeds"]
    rows = (tmp_path / "run/questions/two/questions.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(row)["id"] for row in rows if '"zh"' in row] == ["q0", "q1", "q2"]
    seeds = (tmp_path / "run/questions/seeds/questions.jsonl").read_text("utf-8").splitlines()
    assert {json.loads(row)["lang"] for row in seeds} == {"en", "sw"}
    wrong = langneurons(*words, "--only", "recrd")
    assert wrong.status == 2
    assert "--only recrd" in wrong.err


OWN = """
languages = ["gl", "eu"]

[models]
mine = "model"

[domains.school]
questions = "school.jsonl"

[sample]
n = 2
max-new-tokens = 8

[evaluate]
max-new-tokens = 8

[identify]
rate = 0.2
tau-quantile = 0.8

[perplexity]
controls = 1
"""


def test_a_study_of_ones_own(tmp_path: Path, langneurons: Any) -> None:
    """A local model, a file of questions, two languages not the paper's, one in no table here."""
    families.save("gpt2", tmp_path / "model")
    rows = [
        {"id": f"q{i}", "lang": code, "question": f"{text} {i} + 1?", "answer": i + 1}
        for i in range(12)
        for code, text in (("gl", "Canto é"), ("eu", "Zenbat da"))
    ]
    lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    write(tmp_path, lines, "school.jsonl")
    done = langneurons("run", write(tmp_path, OWN, "own.toml"), cwd=tmp_path)
    assert done.status == 0, done.err
    run = tmp_path / "runs" / "own"
    page = next(run.rglob("*.html")).read_text("utf-8")
    assert "Basque" in page
    base = run / "models" / "mine" / "base" / "school"
    assert {path.name for path in base.iterdir()} == {
        "responses",
        "accuracy",
        "counts",
        "neurons",
        "perplexity",
    }
    neurons = Neurons.load(artifacts.read(base / "neurons", "neurons"))
    assert neurons.languages == ("gl", "eu")
    assert len(neurons.layer) > 10


def test_a_study_of_effects(tmp_path: Path, langneurons: Any) -> None:
    """On a model with neurons set by hand; they are on the page, and on each neuron's card."""
    planted.save(tmp_path / "model")
    texts = tmp_path / "texts"
    texts.mkdir()
    for code in planted.LANGS:
        lines = [" ".join(f"{code}{(i + j) % planted.WORDS}" for j in range(10)) for i in range(6)]
        write(texts, "\n".join(lines) + "\n", f"{code}.txt")
    text = f"""
languages = ["en", "zh", "sw", "th"]
models.planted = "model"
domains.words = {{ texts = "texts" }}
analyses.base = ["attribute"]
attribute = {{ exact = 1, exact-tokens = 40, blocks = 2 }}
identify = {{ rate = {planted.RATE}, bootstrap = 0, chance = 0 }}
"""
    run = tmp_path / "run"
    done = langneurons("run", write(tmp_path, text, "effects.toml"), "--out", run)
    assert done.status == 0, done.err
    effects = Effects.load(run / "models/planted/base/words/effects")
    assert {split.setting for split in effects.splits} == {"specific", "specific+related"}
    page = (run / "report.html").read_text("utf-8")
    assert "Where the neurons lie that a language needs most" in page
    assert "What whole sets cost" in page
    assert '"own":' in page


def test_a_study_of_running_text(tmp_path: Path, langneurons: Any) -> None:
    """Nothing is asked; what was read is on the page; other texts are read anew."""
    texts = tmp_path / "texts"
    texts.mkdir()
    for code in ("en", "zh", "sw"):
        write(texts, "".join(f"{code} text {i}\n" for i in range(12)), f"{code}.txt")
    studies.save_model(tmp_path / "model")
    settings = TINY.partition("[record]")[2].partition("[pair]")[0]
    text = f"""
languages = ["en", "zh", "sw"]
models.tiny = "model"
domains.lines = {{ texts = "texts", take = 8, scored-take = 2 }}
[record]{settings}"""
    study, run = write(tmp_path, text, "lines.toml"), tmp_path / "run"
    done = langneurons("run", study, "--out", run)
    assert done.status == 0, done.err
    base = run / "models/tiny/base/lines"
    assert set(digests(run)) == {
        "models/tiny/base/lines/counts",
        "models/tiny/base/lines/neurons",
        "models/tiny/base/lines/perplexity",
        "report",
    }
    counts, costs = (artifacts.read(base / kind) for kind in ("counts", "perplexity"))
    assert [gate["documents"] for gate in counts.manifest["facts"]["gates"]] == [8] * 3
    assert costs.manifest["facts"]["texts"] == {"en": 2, "zh": 2, "sw": 2}
    page = (run / "report.html").read_text("utf-8")
    assert "Running text" in page
    assert "tokens in each language" in page
    assert "nothing to do" in langneurons("run", study, "--out", run).out
    write(texts, "another\n" * 8, "sw.txt")
    again = langneurons("run", study, "--out", run)
    assert "4 done" in again.out, again.out


def test_a_study_by_a_server(tmp_path: Path, langneurons: Any) -> None:
    """Started once for the steps that ask, of two domains, and stopped; by hand it is the same
    command.
    """
    studies.save_model(tmp_path / "model")
    studies.save_questions(tmp_path / "questions")
    stub = Path(__file__).parents[1] / "support" / "stub_server.py"
    log = tmp_path / "log"
    serve = f"{sys.executable} {stub} {{name}} {{port}} {log}"
    text = f"""
languages = ["en", "sw"]
template = "plain"
models.tiny = "model"
domains.one = {{ questions = "questions", take = 3 }}
domains.two = {{ questions = "questions", take = 2 }}
analyses.base = ["evaluate"]
sample.n = 2
record.blocks = 2
identify = {{ rate = 0.2, tau-quantile = 0.8, bootstrap = 2 }}
serve = {{ command = {json.dumps(serve)}, seeds = false }}
"""
    study, run = write(tmp_path, text, "served.toml"), tmp_path / "run"
    done = langneurons("run", study, "--out", run)
    assert done.status == 0, done.err
    starts = [line for line in log.read_text("utf-8").splitlines() if line.startswith("start")]
    assert len(starts) == 1
    assert not Path(f"/proc/{starts[0].split()[1]}/cmdline").exists()
    base = run / "models/tiny/base/one"
    for kind in ("responses", "accuracy"):
        assert artifacts.read(base / kind).manifest["config"]["engine"] == serve
    assert "--no-server-seeds" in (run / "log.txt").read_text("utf-8")
    assert "nothing to do" in langneurons("run", study, "--out", run).out
    both = text.replace("seeds = false", 'url = "http://localhost:1/v1"')
    wrong = langneurons("run", write(tmp_path, both, "both.toml"))
    assert "[serve] give a command that starts a server or the url" in wrong.err
    by_url = TINY.replace("[align]", '[serve]\nurl = "http://localhost:1/v1"\n\n[align]')
    wrong = langneurons("run", write(tmp_path, by_url, "by-url.toml"))
    assert "cannot know adapters that are still to be trained" in wrong.err
