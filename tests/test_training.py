"""The scripts that make the embedded models, on a budget of seconds: what they write is of use."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import pytest
import torch

from langneurons.align.reward import reward
from langneurons.model import loading as models
from langneurons.model.check import check
from langneurons.texts import world
from langneurons.texts.responses import Response
from support import families

TRAINING = Path(__file__).parent.parent / "training"
sys.path.append(str(TRAINING))
import base  # noqa: E402 - the training scripts are no package
import corpus  # noqa: E402
import sentences  # noqa: E402
import translator  # noqa: E402

BASE = {
    "vocabulary": 700,
    "texts": 10,
    "width": 32,
    "layers": 2,
    "neurons": 48,
    "heads": 2,
    "tokens": 3000,
    "batch": 512,
}
TRANSLATOR = {"width": 32, "layers": 1, "neurons": 48, "heads": 2, "pairs": 128, "batch": 16}


def run(script: str, settings: dict[str, Any], *words: object) -> None:
    """A training script in a process of its own."""
    command = [sys.executable, TRAINING / script, json.dumps(settings), *words]
    subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=300)


def run_here(main: Callable[[], None], settings: dict[str, Any], *words: object) -> None:
    """The same in this process."""
    precision = torch.get_float32_matmul_precision()
    argv = ["script", json.dumps(settings), *map(str, words)]
    try:
        with mock.patch.object(sys, "argv", argv):
            main()
    finally:
        torch.set_float32_matmul_precision(precision)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A base model of a few steps, and the folder it is in."""
    folder = tmp_path_factory.mktemp("trained")
    run("base.py", BASE | {"questions": 1}, "--out", folder / "model")
    return folder


def overlooked(number: int) -> list[tuple[world.Problem, world.Problem]]:
    """Problems, and the same as one reads them who overlooks every gift he can."""
    made = world.problems("nano", "train", number, seed=7)
    both = [
        (told, corpus.overlooking(told, Random(i), {"gives": 1.0})) for i, told in enumerate(made)
    ]
    return [(told, read) for told, read in both if told is not read]


def test_who_overlooks_an_event_works_out_the_rest():
    problems = overlooked(300)
    assert len(problems) > 20
    for told, read in problems:
        names, kept = [s.name for s in told.sentences], [s.name for s in read.sentences]
        i = names.index("gives")
        assert kept == names[:i] + names[i + 1 :]
        for before, sentence in zip(read.sentences, read.sentences[1:], strict=False):
            x, n = before.z, sentence.n
            results = {"+": x + n, "-": x - n, "*": x * n, "/": x / (n or 1), "=": x}
            assert sentence.x == x
            assert sentence.z == results[sentence.op]
        assert read.answer == read.sentences[-1].z
        assert 2 <= read.answer <= world.LARGEST


def test_sentences_keep_their_own_words_when_one_is_left_out():
    for told, read in overlooked(300):
        left_out = [s.name for s in told.sentences].index("gives")
        for slot in ("B", "t", "shop", "spot"):
            for i in range(len(read.sentences)):
                assert read.words[f"{slot}{i}"] == told.words[f"{slot}{i + (i >= left_out)}"]


def test_nothing_is_overlooked_in_english_nor_unless_asked_for():
    assert all(
        corpus.overlooking(one, Random(0), {}) is one for one in world.problems("nano", "train", 50)
    )
    share = {"en": 1.0}
    texts = [
        corpus.document(Random(i), {"problem": 1.0}, share, share, {"gives": 1.0})
        for i in range(40)
    ]
    assert texts == [
        corpus.document(Random(i), {"problem": 1.0}, share, share, {}) for i in range(40)
    ]


def test_careful_texts_are_drawn_as_if_there_were_no_careless_ones():
    """What a seed gave before there were any, it gives still."""
    rng, asked, thought = Random(5), *corpus.problem("de", Random(5))
    one = next(world.problems("nano", "train", 1, seed=rng.randrange(1 << 40)))
    assert asked == corpus.PROMPT.format(question=world.tell(one, "de", rng))
    assert thought == f" {world.think(one, 'de', rng)}"


def test_base_model_is_one_that_can_be_measured(trained):
    loaded = models.load(trained / "model")
    assert check(loaded).holds
    lines = (trained / "model" / "curve.jsonl").read_text("utf-8").splitlines()
    assert list(json.loads(lines[-1])["accuracy"]) == list(world.LANGUAGES)
    text = "Q: Anna hatte 12 Äpfel. ทอม 7 ผล\nA: 12+7=19"
    assert loaded.tokenizer.decode(loaded.tokenizer(text).input_ids) == text
    digits = loaded.tokenizer.convert_ids_to_tokens(loaded.tokenizer("12+7=19").input_ids)
    assert digits == ["1", "2", "+", "7", "=", "1", "9"]


def test_a_model_goes_on_from_another(trained, tmp_path):
    settings = BASE | {"questions": 0, "rate": 0.0, "muon": 0.0, "tokens": 600}
    run_here(base.main, settings, "--out", tmp_path, "--start", trained / "model")
    for name in ("model.safetensors", "tokenizer.json"):  # at a rate of nothing, it stays
        assert (tmp_path / name).read_bytes() == (trained / "model" / name).read_bytes()


def test_killed_and_gone_on_it_is_the_same_whoever_makes_the_texts(trained, tmp_path):
    command = [
        sys.executable,
        str(TRAINING / "base.py"),
        json.dumps(BASE | {"questions": 0}),
        "--every",
        "0",
    ]
    process = subprocess.Popen([*command, "--out", str(tmp_path)], stdout=subprocess.DEVNULL)
    while not (tmp_path / "state.pt").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "model.safetensors").exists()
    run("base.py", BASE | {"questions": 0}, "--out", tmp_path, "--workers", 2)
    for name in ("model.safetensors", "tokenizer.json"):
        assert (tmp_path / name).read_bytes() == (trained / "model" / name).read_bytes()
    assert not (tmp_path / "state.pt").exists()


def test_a_source_that_contradicts_itself():
    """A number named twice is named otherwise once; the target has either, about as often."""
    source, target = "Ken gives 38. So 12+38=50, and 38 was much.", "12+38=50. It is 380."
    made = [corpus.contradicted(source, target, Random(i)) for i in range(300)]
    believed = 0
    for one, told in made:
        (was, now), *more = [
            (a, b) for a, b in zip(source.split(), one.split(), strict=True) if a != b
        ]
        assert not more
        assert "38" in was
        wrong = now.strip(".,").replace("12+", "").replace("=50", "")
        assert len(wrong) == 2
        assert sum(a != b for a, b in zip(wrong, "38", strict=True)) == 1
        believed += told != target
        assert told in (target, f"12+{wrong}=50. It is 380.")
    assert 70 < believed < 130
    assert len({one.split(" ", 3)[2] for one, _ in made}) > 10
    assert corpus.contradicted("1+2=3", "3=2+1", Random(0)) == ("1+2=3", "3=2+1"), (
        "nothing is named twice"
    )


def test_translator_scores_what_it_never_saw(trained, tmp_path):
    run_here(translator.main, TRANSLATOR, "--tokenizer", trained / "model", "--out", tmp_path)
    loaded = models.load(tmp_path, seq2seq=True)
    said = [
        Response("1", "en", "", "Anna has 3+4=7 apples."),
        Response("1", "th", "", "แอนนามีแอปเปิล 3+4=7 ผล"),
    ]
    [scored] = reward(loaded, said).scored
    assert scored.score is not None
    assert scored.score < 0


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # of PEFT's own call
def test_sentences_of_a_language_cost_less_after_training_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    model = families.save("llama", tmp_path / "model")
    (tmp_path / "texts").mkdir()
    for code, text in (("sw", "ana mashua tisa nyekundu"), ("en", "she has nine red boats")):
        rows = [json.dumps({"id": str(i), "text": f"{text} {i}"}) + "\n" for i in range(8)]
        (tmp_path / "texts" / f"{code}.jsonl").write_text("".join(rows))
    words = [model, tmp_path / "texts", "sw", "--out", tmp_path / "adapter", "--rows", "0-5"]
    words += ["--steps", 8, "--rate", 0.02, "--watch", "sw,en", "--held-out", "6-7"]
    monkeypatch.setattr(sys, "argv", ["sentences.py", *map(str, words)])
    sentences.main()
    costs = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert costs["after"]["sw"] < costs["before"]["sw"]
    loaded = models.load(tmp_path / "adapter")
    with torch.inference_mode():
        texts = sentences.sentences(tmp_path / "texts", "sw", "6-7")
        assert sentences.watched(loaded.model, loaded.tokenizer, {"sw": texts}) == {
            "sw": costs["after"]["sw"]
        }
