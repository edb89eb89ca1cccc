"""The whole commands reward, pair and align: what they write, refuse, and go on with."""

import json
import math
import random
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from langneurons import artifacts, console
from langneurons.align import translator as translation
from langneurons.align.adapter import Adapter, adapter_files
from langneurons.align.dpo import dpo
from langneurons.align.grpo import Judge, grpo
from langneurons.align.pairs import Pairs
from langneurons.align.scores import Scored, Scores
from langneurons.model import loading as models
from langneurons.texts.responses import Response
from support import sampled
from support.command import refused, run_two_processes
from support.preferences import QUICK, to_learn
from support.translators import save_translator, tiny_judge


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return file


@contextmanager
def steps_told(stop_after: int | None = None) -> Generator[list[int]]:
    """What a command tells of its progress; it is interrupted once it has done so many."""
    told: list[int] = []

    def step(done: int, _: int) -> None:
        told.append(done)
        if stop_after is not None and done >= stop_after:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "_lines", lambda *_: step)
        yield told


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_translator(tmp_path_factory.mktemp("translator"))


# reward


@pytest.fixture(scope="module")
def responses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn responses: 12 questions, 4 samples, three languages, some right, some wrong."""
    rng = random.Random(0)
    rows = []
    words = {
        "en": "she has nine boats",
        "zh": "她 有 九 船",
        "sw": "ana mashua tisa nyekundu",
    }
    for number in range(12):
        for code, known in words.items():
            for sample in range(4):
                said = rng.choices(known.split(), k=rng.randint(2, 9))
                text = f"{' '.join(said)} {rng.choice([number, number, 7])}"
                correct = text.endswith(f" {number}")
                row = Response(f"q{number}", code, f"{number}? ", text, sample, number, correct)
                rows.append(row.to_row())
    return write(tmp_path_factory.mktemp("responses") / "responses.jsonl", rows)


@pytest.fixture(scope="module")
def rewarded(
    responses: Path, translator: Path, tmp_path_factory: pytest.TempPathFactory, process: Any
) -> Path:
    """What the command leaves, in a process of its own."""
    out = tmp_path_factory.mktemp("runs") / "scored"
    words = ("reward", responses, "--translator", translator, "--out", out, "--budget", 200)
    done = process(*words, "--quiet")
    assert (done.status, done.err) == (0, "")
    assert "right above wrong" in done.out
    assert "next: langneurons pair" in done.out
    return out


def test_reward_writes_every_response_that_is_not_english(rewarded: Path, responses: Path) -> None:
    rows = lines(rewarded / "scored.jsonl")
    kept = [
        {key: row[key] for key in row if key not in ("score", "score_max", "references")}
        for row in rows
    ]
    assert kept == [row for row in lines(responses) if row["lang"] != "en"]
    for row in rows:
        assert row["score"] < 0
        assert row["score"] <= row["score_max"]
        assert row["references"] >= 2
    manifest = artifacts.read(rewarded, "scored").manifest
    assert manifest["facts"]["translator"]["fingerprint"] == manifest["inputs"]["translator"]
    digest = artifacts.file_digest(responses)
    assert manifest["inputs"]["responses.jsonl"] == digest


def test_reward_again_other_languages_and_json(
    rewarded: Path, responses: Path, translator: Path, tmp_path: Path, langneurons: Any
) -> None:
    words = ("reward", responses, "--translator", translator, "--budget", 200)
    again = langneurons(*words, "--out", rewarded)
    assert "up to date" in again.err
    assert "right above wrong" in again.out
    done = langneurons(
        *words, "--out", tmp_path / "sw", "--languages", "sw", "--json", "--codes", "sw=__zh__"
    )
    assert [row["lang"] for row in done.json["languages"]] == ["sw"]
    assert done.json["language tokens"]["sw"] == "__zh__"
    there = langneurons(
        *words, "--out", tmp_path / "sw", "--languages", "sw", "--json", "--codes", "sw=__zh__"
    )
    assert there.json == done.json


def test_reward_stopped_and_resumed_is_the_same(
    rewarded: Path,
    responses: Path,
    translator: Path,
    tmp_path: Path,
    langneurons: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("reward", responses, "--translator", translator, "--out", tmp_path / "s")
    words = (*words, "--budget", 200, "--save-every", 0)
    with steps_told(stop_after=300) as before:
        assert langneurons(*words).status == 130
    assert len(list(tmp_path.glob(".s.state-*"))) == 1
    judged = []
    judge = translation.judge
    monkeypatch.setattr(
        translation, "judge", lambda *given: judged.append(given[-1]) or judge(*given)
    )
    with steps_told() as after:
        assert langneurons(*words).status == 0
    assert after[0] == before[-1]  # only the one that was interrupted ran again
    assert len(judged) == len(after)
    assert (tmp_path / "s" / "scored.jsonl").read_bytes() == (
        rewarded / "scored.jsonl"
    ).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_bad_input_of_reward(
    responses: Path, translator: Path, llama: Path, tmp_path: Path, langneurons: Any
) -> None:
    words = ("reward", responses, "--out", tmp_path / "s", "--translator")
    refused(langneurons(*words, translator, "--languages", "th"), "no response in th")
    refused(
        langneurons(*words, translator, "--codes", "sw=swa_Latn"),
        "no language token swa_Latn for sw",
    )
    refused(langneurons(*words, translator, "--codes", "sw"), "give language and token")
    without = save_translator(tmp_path / "en-zh", ("__en__", "__zh__"))
    refused(
        langneurons(*words, without),
        "no language token swh_Latn or __sw__ or <sw> for sw; the nearest is __zh__. "
        "If it is meant, say --codes sw=",
    )
    done = langneurons(*words, without, "--languages", "zh", "--json")
    assert done.json["languages"][0]["lang"] == "zh"


# pair


def scored(text: str, score: float, correct: bool | None = True, sample: int = 0) -> Scored:
    return Scored(Response("q", "sw", "q? ", text, sample, None, correct), score, score, 2)


def drawn(seed: int, lang: str) -> list[Scored]:
    """Scored responses of 60 questions with 1 to 12 samples."""
    rng = random.Random(seed)
    rows = []
    for question in range(60):
        for sample in range(rng.randint(1, 12)):
            text = f"{question} {rng.randint(0, 9)} {sample}"
            score = rng.choice([-1.0, -2.0, -3.0, -rng.random()])
            correct = rng.random() < 0.6
            prompt = f"q{question}? "
            response = Response(f"q{question}", lang, prompt, text, sample, None, correct)
            rows.append(Scored(response, score, score, 2))
    return rows


def kept(rows: list[Scored], folder: Path) -> Path:
    Scores(tuple(rows)).save(folder)
    return folder


def test_pair(tmp_path: Path, llama: Path, langneurons: Any) -> None:
    rows = drawn(5, "sw") + drawn(6, "th") + drawn(7, "zh")
    strange = replace(rows[0], response=replace(rows[0].response, response="a\u2028b"))
    source = kept([strange, *rows[1:]], tmp_path / "s")
    words: tuple[object, ...] = ("pair", source, "--languages", "sw,th", "--tokenizer", llama)
    words = (*words, "--max-tokens", 13, "--per-language", 90)
    done = langneurons(*words, "--out", tmp_path / "p")
    assert (done.status, done.err) == (0, "")
    found = {name: lines(tmp_path / "p" / f"{name}.jsonl") for name in ("train", "dev")}
    assert {row["lang"] for row in found["train"]} == {"sw", "th"}
    for row in found["train"]:
        assert len(row["prompt"] + row["chosen"]) + 2 <= 13  # beginning, end
    first = artifacts.read(tmp_path / "p", "pairs")
    audit = first.manifest["facts"]["audit"]
    assert sum(row["train"] for row in audit) == len(found["train"])
    assert all(row["long"] > 0 for row in audit)
    table = [line.split() for line in done.out.splitlines()]
    assert ["sw", "th"] in table
    assert ["train", *(str(row["train"]) for row in audit)] in table
    again = langneurons(*words, "--out", tmp_path / "p")
    assert "up to date" in again.err
    assert again.out == done.out
    langneurons(*words, "--out", tmp_path / "q")
    assert artifacts.read(tmp_path / "q", "pairs").digest == first.digest


def test_pair_tells_of_ids_that_carry_the_language(tmp_path: Path, langneurons: Any) -> None:
    rows = [
        Scored(
            Response(f"{code}-{n}", code, "1? ", f"{sample} 1" * 2, sample, 1, True), 0.1, sample, 1
        )
        for code in ("zh", "sw")
        for n in range(4)
        for sample in range(2)
    ]
    rows = [replace(row, score=float(row.response.sample)) for row in rows]
    Scores(tuple(rows)).save(tmp_path / "scored")
    words = ("pair", tmp_path / "scored", "--dev-every", 0, "--out", tmp_path / "pairs")
    done = langneurons(*words)
    assert done.status == 0, done.err
    says = "zh, sw share no question with another language, so dev holds out other questions in"
    assert f"note: {says}" in done.out
    assert "with the language left off its id, 4 of 4 questions" in done.out
    assert langneurons(*words, "--json").json["notes"][0].startswith(says)
    alone = langneurons(*words[:-1], tmp_path / "alone", "--languages", "zh")
    assert "note: " not in alone.out


def test_prompts_that_were_made_without_knowing_the_model(
    responses: Path, translator: Path, tmp_path: Path, langneurons: Any
) -> None:
    bare = lines(responses)[:24]
    for row in bare:
        row["question"] = row.pop("prompt")
    file = write(tmp_path / "bare.jsonl", bare)
    done = langneurons("reward", file, "--translator", translator, "--out", tmp_path / "s")
    assert done.status == 0, done.err
    assert "note: 24 of 24 rows have a question and no prompt; theirs were made with " in done.out
    assert "template mathoctopus; a model with a chat template is asked otherwise" in done.out


def test_nothing_to_pair(tmp_path: Path, langneurons: Any) -> None:
    """All wrong; all right and equally good; no language asked for: one line, nothing is left."""
    wrong = kept([scored("a", -1.0, False), scored("b", -2.0, False, 1)], tmp_path / "wrong")
    right = kept([scored("a", -1.0), scored("b", -1.0, sample=1)], tmp_path / "right")
    for source, words, what in (
        (
            wrong,
            (),
            "sw has no pair: of 2 responses to 1 questions none is marked right; sample more, or "
            "give",
        ),
        (right, (), "sw has no pair: of 2 responses to 1 questions, 1 pairs were tied 1 times"),
        (right, ("--languages", ""), "--languages '': give each code once"),
        (
            right,
            ("--languages", "en"),
            "English is what the others are scored against and is not paired",
        ),
    ):
        refused(langneurons("pair", source, "--out", tmp_path / "p", *words), what)
        assert not (tmp_path / "p").exists()


def test_pair_marks_what_nobody_marked(tmp_path: Path, langneurons: Any, process: Any) -> None:
    """In a process of its own."""
    texts = ("It is 9", "8", "so 9.001", "ni 9.0001")
    rows = [
        Scored(Response("q", "sw", "q? ", text, i, 9), -0.1 * (i + 1), -0.1 * (i + 1), 2)
        for i, text in enumerate(texts)
    ]
    source = kept(rows, tmp_path / "s")
    words = ("pair", source, "--out", tmp_path / "p", "--dev-every", 0)
    done = process(*words)
    assert (done.status, done.err) == (0, "")
    assert "next: langneurons align" in done.out
    train = lines(tmp_path / "p" / "train.jsonl")
    assert {row["chosen"] for row in train} == {"It is 9", "so 9.001"}
    assert langneurons(*words, "--json").json["audit"][0]["kept"] == 4
    none = langneurons("pair", source, "--out", tmp_path / "none", "--margin", 5)
    refused(none, "were tied 6 times")
    assert not (tmp_path / "none").exists()


# align


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pairs") / "p"
    to_learn(watched=4).save(out)
    return out


def options(config: Any, *names: str) -> list[object]:
    """The command line's words for these settings."""
    return [
        word for name in names for word in (f"--{name}", getattr(config, name.replace("-", "_")))
    ]


BY_DPO = replace(QUICK, alpha=128, dropout=0.0)
WORDS = options(
    BY_DPO, "steps", "save-every", "batch", "beta", "rank", "alpha", "learning-rate", "dropout"
)


@pytest.fixture(scope="module")
def aligned(
    llama: Path,
    paired: Path,
    tmp_path_factory: pytest.TempPathFactory,
    langneurons: Any,
) -> Path:
    """What the command leaves that was stopped after its second checkpoint, and run again."""
    out = tmp_path_factory.mktemp("runs") / "d"
    words = ["align", llama, paired, "--out", out, *WORDS]
    with steps_told(stop_after=5) as steps:
        assert langneurons(*words).status == 130
    assert steps == [1, 2, 3, 4, 5]
    [work] = out.parent.glob(".d.*")
    assert sorted(path.name for path in work.glob("checkpoint-*")) == [
        "checkpoint-2",
        "checkpoint-4",
    ]
    with steps_told() as steps:
        done = langneurons(*words)
    assert (done.status, done.err) == (0, "")
    assert steps == [5, 6]
    table = [line.split() for line in done.out.splitlines()]
    assert table[0] == ["step", "loss", "margin", "dev", "loss", "dev", "right"]
    assert [line[0] for line in table[1:5]] == ["1", "2", "4", "6"]
    assert table[1][1:3] == ["0.693", "0.000"]
    assert "pairs: sw 12, th 12; left out: none" in done.out
    assert "next: langneurons evaluate" in done.out
    again = langneurons(*words)
    assert "up to date" in again.err
    assert again.out == done.out
    return out


def test_the_folder_and_its_checkpoints_are_models(aligned: Path, llama: Path) -> None:
    names = ("adapter_config.json", "adapter_model.safetensors")
    files = artifacts.read(aligned, "adapter").manifest["files"]
    inside = [f"checkpoint-{step}/{name}" for step in (2, 4) for name in names]
    assert sorted(files) == [*names, *inside, "history.jsonl"]
    assert [path.name for path in aligned.parent.iterdir()] == ["d"]
    assert artifacts.read(aligned).manifest["facts"]["checkpoints"] == [2, 4, 6]
    base = models.load(llama)
    prints = {base.fingerprint}
    ids = torch.tensor([[5, 6, 7, 8]])
    logits = base.model(input_ids=ids).logits
    for path in Adapter.load(aligned).checkpoints.values():
        loaded = models.load(path)
        prints.add(loaded.fingerprint)
        with loaded.model.disable_adapter():  # ty: ignore[call-non-callable]
            assert torch.equal(loaded.model(input_ids=ids).logits, logits)
        assert not torch.equal(loaded.model(input_ids=ids).logits, logits)
    assert len(prints) == 4


def test_stopped_and_resumed_is_the_same(aligned: Path, llama: Path, tmp_path: Path) -> None:
    """As a training that nothing disturbed, in one process, without the command line."""
    done = dpo(models.load(llama), to_learn(watched=4), tmp_path / "w", BY_DPO)
    there = Adapter.load(aligned)
    for step, checkpoint in done.adapter.checkpoints.items():
        for name, content in adapter_files(checkpoint, str(llama)).items():
            assert (there.checkpoints[step] / name).read_bytes() == content
    assert there.history == done.adapter.history
    assert math.isclose(there.history[0]["loss"], math.log(2), abs_tol=1e-7)
    assert artifacts.read(aligned).manifest["facts"]["pairs"] == {"sw": 12, "th": 12}


def test_pairs_that_were_changed_are_refused(
    llama: Path, paired: Path, tmp_path: Path, langneurons: Any
) -> None:
    """The adapter's manifest would swear to pairs that it has not been trained on."""
    for name in (Pairs.TRAIN, Pairs.DEV):
        source = shutil.copytree(paired, tmp_path / name)
        rows = lines(source / name)
        rows[0]["chosen"], rows[0]["rejected"] = rows[0]["rejected"], rows[0]["chosen"]
        write(source / name, rows)
        done = langneurons("align", llama, source, "--out", tmp_path / "d", *WORDS)
        refused(done, f"{name} is missing or not as it was written; make {source} anew")
        assert not (tmp_path / "d").exists()


def test_what_align_refuses(
    aligned: Path, llama: Path, paired: Path, tmp_path: Path, langneurons: Any
) -> None:
    """An adapter as MODEL, a base without an end token, something that is no folder of pairs."""
    endless = shutil.copytree(llama, tmp_path / "endless")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (endless / name).is_file():
            settings = json.loads((endless / name).read_text("utf-8"))
            settings.pop("eos_token", None)
            (endless / name).write_text(json.dumps(settings), "utf-8")
    for model, source, what in (
        (aligned, paired, "the model is an adapter already; give its base"),
        (endless, paired, "the tokenizer has no end token"),
        (llama, aligned, "holds adapter; pairs are needed here"),
    ):
        refused(langneurons("align", model, source, "--out", tmp_path / "d", *WORDS), what)
        assert not (tmp_path / "d").exists()


def test_an_adapter_is_evaluated_with_its_base(
    aligned: Path, llama: Path, tmp_path: Path, langneurons: Any
) -> None:
    """The base comes first, into a folder beside, as if asked for; --no-base leaves it out."""
    rows = [
        {"id": f"q{n}", "lang": lang, "question": f"{n} + 1?", "answer": n}
        for n in range(3)
        for lang in ("en", "sw")
    ]
    asked = write(tmp_path / "asked.jsonl", rows)
    words = (asked, "--max-new-tokens", 3, "--template", "plain", "--out")
    alone = langneurons("evaluate", aligned, *words, tmp_path / "e", "--no-base", "--json")
    assert alone.status == 0, alone.err
    assert "changes" not in alone.json
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["e"]
    done = langneurons("evaluate", aligned, *words, tmp_path / "e", "--json")
    assert done.status == 0, done.err
    assert done.json["against"] == str(tmp_path / "e-base")
    assert [row["lang"] for row in done.json["changes"]] == ["en", "sw", "mean"]
    base = artifacts.read(tmp_path / "e-base", "accuracy").manifest["facts"]["model"]["id"]
    assert base == str(llama)
    again = langneurons("evaluate", llama, *words, tmp_path / "e-base", "--json")
    assert "up to date" in again.err


def test_two_processes_have_the_losses_of_one(
    aligned: Path, llama: Path, paired: Path, tmp_path: Path
) -> None:
    done = run_two_processes("align", llama, paired, "--out", tmp_path / "d", *WORDS, "--quiet")
    assert done.status == 0, done.err
    assert done.out.count("wrote ") == 1
    noise = [line for line in done.err.splitlines() if not line.startswith("[rank")]
    assert noise == []  # beside what the C++ of torch has to say of each process
    one, two = (Adapter.load(path).history for path in (aligned, tmp_path / "d"))
    assert [line["step"] for line in one] == [line["step"] for line in two]
    for a, b in zip(one, two, strict=True):
        name = "loss" if "loss" in a else "eval_loss"
        assert a[name] == pytest.approx(b[name], abs=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_align_by_grpo(llama: Path, translator: Path, tmp_path: Path, langneurons: Any) -> None:
    """Stopped after a checkpoint and run again: as a training that nothing disturbed."""
    source = write(tmp_path / "responses.jsonl", [row.to_row() for row in sampled.ROWS])
    words = ["align", llama, source, "--out", tmp_path / "d", "--objective", "grpo"]
    words += ["--languages", "sw"]
    words += options(sampled.QUICK, "steps", "batch", "device-batch", "learning-rate", "rank")
    words += options(sampled.QUICK, "alpha", "save-every", "warmup")
    words += options(sampled.SHORT, "group", "max-new-tokens")
    refused(langneurons(*words), "give a translation model with --translator")
    words += ["--translator", translator]
    with steps_told(stop_after=3):
        assert langneurons(*words).status == 130
    with steps_told() as steps:
        done = langneurons(*words)
    assert done.status == 0, done.err
    assert steps == [3, 4]
    assert done.out.split()[:3] == ["step", "loss", "reward"]
    assert "prompts: sw 6; left out: none" in done.out
    whole = grpo(
        models.load(llama),
        Judge(tiny_judge(), {}),
        sampled.ROWS,
        tmp_path / "w",
        sampled.QUICK,
        sampled.SHORT,
        languages=("sw",),
    )
    there = Adapter.load(tmp_path / "d")
    for step in (2, 4):
        for name, content in adapter_files(whole.adapter.checkpoints[step], str(llama)).items():
            assert (there.checkpoints[step] / name).read_bytes() == content
    assert there.history == whole.adapter.history
    again = langneurons(*words)
    assert "up to date" in again.err
    assert again.out == done.out
    pairs = ("align", llama, source, "--out", tmp_path / "e", "--translator", translator)
    refused(langneurons(*pairs), "--translator and the like go with grpo")
    assert models.load(tmp_path / "d").fingerprint != models.load(llama).fingerprint
