"""The study: what a file may say, the plan, and `langneurons run` on a tiny model: killed, mended, run again."""

import json
import random
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from langneurons import artifacts, nano
from langneurons.errors import InputError
from langneurons.neurons.table import Neurons
from langneurons.study import estimate, plan
from langneurons.study.commands import run as conduct
from langneurons.study.ledger import Ledger, identity
from langneurons.study.spec import BUILT_IN, Named, Study, load, parse
from support import families
from support.command import Outcome, killed
from support.places import ROOT
from support.translators import save_translator

LEAST = 'languages = ["en", "sw"]\nmodels.m = "m"\ndomains.d.questions = "d.jsonl"\n'

TINY = """
languages = ["en", "zh", "sw"]
template = "plain"
checkpoints = "all"

[models]
tiny = "model"

[domains.one]
questions = "questions"
take = 4

[domains.two]
questions = "questions"
take = 3
analyses = ["evaluate"]

[seeds]
questions = "questions"

[translator]
model = "translator"

[alignments]
sw = ["sw"]

[sample]
n = 2
max-new-tokens = 8

[sample-seeds]
n = 6
max-new-tokens = 8

[evaluate]
max-new-tokens = 8

[record]
blocks = 2

[identify]
rate = 0.2
tau-quantile = 0.8
bootstrap = 4

[perplexity]
controls = 1
blocks = 2

[pair]
dev-every = 3

[align]
steps = 2
batch = 2
device-batch = 2
learning-rate = 1e-3
rank = 2
targets = "q_proj,v_proj"
save-every = 1
"""


def write(folder: Path, text: str, name: str = "tiny.toml") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def in_full(text: str, home: Path) -> str:
    """The study with what it names in full, so that it can be in another folder."""
    for name in ("model", "questions", "translator"):
        text = text.replace(f'= "{name}"', f"= {json.dumps(str(home / name))}")
    return text


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study file and what it names. The model writes 1, 2 and spaces, so that some answers are right."""
    folder = tmp_path_factory.mktemp("home")
    families.save("phi", folder / "model")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    with torch.no_grad():
        model.lm_head.weight *= 0.1
        model.lm_head.bias.fill_(-50)
        model.lm_head.bias[
            [tokenizer.eos_token_id, *tokenizer.encode("12Ġ", add_special_tokens=False)[:2]]
        ] = 0
        model.lm_head.bias[tokenizer.convert_tokens_to_ids("Ġ")] = 1
    model.save_pretrained(folder / "model")
    save_translator(folder / "translator")
    (folder / "questions").mkdir()
    for code in ("en", "zh", "sw"):
        rows = [
            {"id": f"q{i}", "lang": code, "question": f"{code} {i}?", "answer": 1 + i % 2}
            for i in range(6)
        ]
        write(
            folder / "questions", "".join(f"{json.dumps(row)}\n" for row in rows), f"{code}.jsonl"
        )
    write(folder, TINY)
    return folder


@pytest.fixture(scope="module")
def whole(home: Path, tmp_path_factory: pytest.TempPathFactory, langneurons: Any) -> Path:
    """A run that nothing disturbed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    done = langneurons("run", home / "tiny.toml", "--out", run)
    assert done.status == 0, done.err
    return run


def holds(run: Path, number: int) -> bool:
    """Whether there are as many results in a run."""
    return len(artifacts.finished(run)) >= number


def digests(run: Path) -> dict[str, str]:
    """Digest of each result in a run."""
    return {
        one.relative_to(run).as_posix(): artifacts.read(one).digest
        for one in artifacts.finished(run)
    }


def made(run: Path) -> dict[str, int]:
    """When each result in a run was written."""
    return {
        str(one.parent.relative_to(run)): one.stat().st_mtime_ns
        for one in run.rglob(artifacts.MANIFEST)
    }


# What a file may say.


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LEAST + "[smaple]\nn = 3", "smaple is unknown; is sample meant?"),
        (
            LEAST + "[sample]\nmax-tokens = 3",
            "sample.max-tokens is unknown; is max-new-tokens meant?",
        ),
        (
            LEAST + "[domains.e]\nquestion = 'x'",
            "domains.e.question is unknown; is questions meant?",
        ),
        (LEAST + "[sample]\nn = 'ten'", "sample.n is 'ten'; a whole number is needed"),
        (LEAST + "[sample]\nn = true", "sample.n is True; a whole number is needed"),
        (
            LEAST + "[record]\nshare-prompts = 1",
            "record.share-prompts is 1; true or false is needed",
        ),
        (
            LEAST + "[identify]\nlam = 'most'",
            "identify.lam is 'most'; a number or 'auto' is needed",
        ),
        (
            LEAST + "[analyses]\nbase = ['report']",
            "analyses.base is 'report'; 'evaluate' or 'perplexity' is needed",
        ),
        (LEAST + "[identify]\nrate = 2", "[identify] rate 2.0 is outside (0, 1)"),
        (LEAST + "[alignments]\nsw = ['fr']", "sw aligns fr; give some of the languages"),
        (LEAST + "[alignments]\nsw = ['sw']", "alignments need [seeds], [translator]"),
        (
            "checkpoints = [150]\n" + LEAST,
            "checkpoints: 150 is none that is kept; one is kept every 100 steps",
        ),
        ('languages = ["en"]\nmodels.m = "m"', "domains is missing"),
        (LEAST.replace("models.m", 'models."../m"'), "'../m' cannot name a folder here"),
        ("languages = [", "is no TOML"),
    ],
)
def test_what_a_file_may_not_say(text: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        parse(text, "x.toml")
    assert says in str(error.value)
    assert str(error.value).startswith("x.toml")
    assert "\n" not in str(error.value)


def test_what_is_left_out_is_the_default_of_the_stage() -> None:
    study = parse(LEAST + "[sample-seeds]\ntemperature = 0.5\n[identify]\nlam = 1\n", "x")
    assert (study.sample_seeds.n, study.sample_seeds.temperature, study.sample.n) == (20, 0.5, 10)
    assert study.identify.lam == 1.0
    assert study == replace(
        parse(LEAST, "x"), sample_seeds=study.sample_seeds, identify=study.identify
    )


@pytest.mark.parametrize("path", [*BUILT_IN, *sorted(map(str, (ROOT / "recipes").glob("*.toml")))])
def test_every_study_that_comes_with_langneurons(path: str) -> None:
    steps = plan.steps(load(path).study)
    outs = [step.out for step in steps]
    assert len(set(outs)) == len(outs)
    for place, step in enumerate(steps):
        assert all(outs.index(need) < place for need in step.needs), step
        assert step.needs or step.stage == "questions"


@pytest.mark.parametrize("path", [*BUILT_IN, *sorted(map(str, (ROOT / "recipes").glob("*.toml")))])
def test_a_dry_run_of_each(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    conduct(path, dry_run=True)
    told = capsys.readouterr().out
    for step in plan.steps(load(path).study):
        assert f"{step.out} " in told
    assert "steps to do: " in told
    assert "could not be checked" in told or path == "nano"
    assert not list(tmp_path.iterdir())


def test_the_demo_runs_nano_as_suits_it() -> None:
    """A study says in full what it is run with; that of `nano` is what its commands would take."""
    said = tomllib.loads((ROOT / "src/langneurons/study/studies/nano.toml").read_text("utf-8"))
    for table in ("sample", "sample-seeds", "evaluate", "align"):
        suited = nano.DEFAULTS[table.removesuffix("-seeds")]
        own = {name: float(value) for name, value in said[table].items() if name != "n"}
        of_grpo = {"max-new-tokens"} if table == "align" else set()
        assert own == {name: float(value) for name, value in suited.items() if name not in of_grpo}


def test_files_are_found_beside_the_study(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    study = load(str(home / "tiny.toml")).study
    assert study.models == {"tiny": str((home / "model").resolve())}
    assert study.domains["one"].questions == str((home / "questions").resolve())
    assert load("nano").study.models == {"nano": "nano"}
    with pytest.raises(InputError, match=r"nan: No such file.*\(nano is meant\?\)"):
        load("nan")


# The plan.


def test_a_plan_by_hand() -> None:
    """One model, two domains, one alignment with a checkpoint: what each step needs."""
    steps = plan.steps(parse(TINY, "x"))
    at = {step.out: step for step in steps}
    base, last = "models/tiny/base/one", "models/tiny/sw/step-2/one"
    assert at[f"{base}/counts"].needs == (f"{base}/responses",)
    assert set(at[f"{base}/perplexity"].needs) == {
        f"{base}/{k}" for k in ("responses", "counts", "neurons")
    }
    assert at["models/tiny/sw/adapter"].needs == ("models/tiny/sw/pairs",)
    middle = at["models/tiny/sw/step-1/one/responses"]
    assert middle.given[0] == "models/tiny/sw/adapter/checkpoint-1"
    assert set(middle.needs) == {"models/tiny/sw/adapter", "questions/one"}
    assert f"{last}/neurons" in at["models/tiny/sw/comparison/one"].needs
    assert "models/tiny/base/two/neurons" in at["models/tiny/sw/comparison/one"].needs
    assert not [out for out in at if "step-1" in out and out.endswith(("accuracy", "perplexity"))]
    assert "models/tiny/base/two/accuracy" in at
    assert "models/tiny/base/two/perplexity" not in at
    assert at[f"{base}/counts"].command() == (
        f"langneurons record model {base}/responses --out {base}/counts --languages en,zh,sw --blocks 2"
    )


def test_texts_of_the_base() -> None:
    study = replace(parse(TINY, "x"), texts="base")
    steps = plan.steps(study)
    assert not [step for step in steps if step.stage == "sample" and "/sw/" in step.out]
    counts = next(step for step in steps if step.out == "models/tiny/sw/step-2/one/counts")
    assert counts.given[1] == Path("models/tiny/base/one/responses")


def test_estimates_by_hand(home: Path, tmp_path: Path) -> None:
    study = load(str(home / "tiny.toml")).study
    ledger = Ledger(tmp_path, Named("tiny", study))
    cost = {s.out: estimate.cost(study, s, ledger) for s in plan.steps(study)}
    size = estimate.size(study.models["tiny"])
    assert size
    assert size.weights == sum(
        p.numel()
        for p in families.build("phi", vocab_size=260, max_position_embeddings=2048).parameters()
    )
    base = "models/tiny/base/one"
    tokens = 4 * 3 * (estimate.PROMPT + 2 * 8)
    assert cost[f"{base}/counts"][:2] == (tokens, 2 * tokens * size.weights)
    assert cost[f"{base}/perplexity"].tokens == tokens * (1 + 2 * 3 * (1 + 1))
    assert cost["models/tiny/seeds/scored"].tokens == 6 * 1 * 6 * 7 * 8
    assert cost["models/tiny/sw/adapter"].tokens == 2 * 2 * 2 * (estimate.PROMPT + 8)
    assert estimate.size("owner/Some-7B") == estimate.Size(7e9, None, None, "by its name")


# Running.


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


def test_a_second_run_does_nothing(whole: Path, home: Path, langneurons: Any) -> None:
    """And decides so without torch."""
    before = made(whole)
    done = langneurons("run", home / "tiny.toml", "--out", whole)
    assert done.status == 0
    assert "nothing to do" in done.out
    assert not done.err
    assert made(whole) == before
    words = ["run", str(home / "tiny.toml"), "--out", str(whole)]
    heavy = "torch transformers trl peft datasets pyarrow numpy vl_convert"
    code = (
        f"import sys; sys.argv[1:] = {words!r}; from langneurons import cli\n"
        f"try: cli.main()\nfinally: print([m for m in {heavy.split()!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("stage", [stage.name for stage in plan.STAGES])
def test_a_stage_that_is_gone_is_made_again(whole: Path, home: Path, stage: str) -> None:
    """And with equal digests, so that what depends on it stands."""
    study = home / "tiny.toml"
    steps = [step.out for step in plan.steps(load(str(study)).study) if step.stage == stage]
    gone, expected, before = steps[len(steps) // 2], digests(whole), made(whole)
    shutil.rmtree(whole / gone)
    conduct(str(study), out=whole)
    assert digests(whole) == expected
    assert {out for out, at in made(whole).items() if at != before[out]} == {gone}


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
    assert {step.stage for step in steps if reasons[step.out]} == {
        "perplexity",
        "compare",
        "report",
    }


def test_killed_again_and_again_is_the_same(
    whole: Path, home: Path, tmp_path: Path, langneurons: Any
) -> None:
    """SIGKILL at random moments of the whole study, which goes on each time; then to the end."""
    run, rng, kills = tmp_path / "run", random.Random(1), 0
    words = ("run", home / "tiny.toml", "--out", run)
    for _ in range(4):
        there = len(artifacts.finished(run))
        enough = there + rng.randint(1, len(digests(whole)) // 4)
        kills += killed(*words, when=partial(holds, run, enough), after=rng.uniform(0, 0.3))
    assert kills > 2
    done = langneurons(*words)
    assert done.status == 0, done.err
    assert digests(run) == digests(whole)
    assert not list(run.rglob(".*"))


def test_a_failure_leaves_the_rest_standing(
    whole: Path, home: Path, tmp_path: Path, langneurons: Any
) -> None:
    """One domain's questions cannot be had: the other's steps are done, and the end says how to go on."""
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    shutil.rmtree(run / "models/tiny/base/one/neurons")
    shutil.rmtree(run / "models/tiny/base/two/counts")
    text = in_full(TINY, home).replace(
        "[domains.two]\nquestions = ", '[domains.two]\nquestions = "nowhere.jsonl" # '
    )
    study = write(tmp_path, text)
    done: Outcome = langneurons("run", study, "--out", run)
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


def test_parts_of_a_study(home: Path, tmp_path: Path, langneurons: Any) -> None:
    done = langneurons(
        "run", home / "tiny.toml", "--out", tmp_path / "run", "--only", "questions", "--json"
    )
    assert list(done.json["done"]) == ["questions/one", "questions/two", "questions/seeds"]
    rows = (tmp_path / "run/questions/two/questions.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(row)["id"] for row in rows if '"zh"' in row] == ["q0", "q1", "q2"]
    wrong = langneurons("run", home / "tiny.toml", "--out", tmp_path / "run", "--from", "recrd")
    assert wrong.status == 2
    assert "--from recrd" in wrong.err


def test_dry_run_of_the_paper(tmp_path: Path, langneurons: Any) -> None:
    """No hub: it says what it could not check, and writes nothing."""
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    done = langneurons(
        "run", "paper", "--out", tmp_path / "run", "--dry-run", cwd=tmp_path, env=env
    )
    assert done.status == 0, done.err
    assert "kevinpro/MistralMathOctopus-7B" in done.out
    assert "could not be checked" in done.out
    assert "models/metamath/nine/step-1000/msvamp/neurons" in done.out
    assert not (tmp_path / "run").exists()


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
    """A local model, one file of questions, two languages that are none of the paper's, one in no table of ours."""
    families.save("gpt2", tmp_path / "model")
    rows = [
        {"id": f"q{i}", "lang": code, "question": f"{text} {i} + 1?", "answer": i + 1}
        for i in range(12)
        for code, text in (("gl", "Canto é"), ("eu", "Zenbat da"))
    ]
    write(
        tmp_path,
        "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows),
        "school.jsonl",
    )
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


def test_identity_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path, "a", "config.json")
    first = identity(str(tmp_path))
    assert identity(str(tmp_path)) == first
    write(tmp_path, "ab", "config.json")
    assert identity(str(tmp_path)) != first
    assert identity("nano-seed") != identity("nano")


def test_a_damaged_ledger_is_named(home: Path, tmp_path: Path) -> None:
    write(tmp_path, "{", "study.json")
    with pytest.raises(InputError, match="delete it: results are kept"):
        Ledger(tmp_path, load(str(home / "tiny.toml")))


def test_a_study_is_a_value() -> None:
    study = parse(LEAST, "x")
    assert isinstance(study, Study)
    assert study.steps() == (study.align.steps,)
