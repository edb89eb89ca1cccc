"""Alignment on real tiny models: the objective by hand, ln 2 at the start, resuming, two processes."""

import json
import math
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from langneurons import artifacts
from langneurons.align.pairs import Pair
from langneurons.align.recipe import built, settings
from langneurons.align.training import Aligned, adapter_files, align, apart, begun
from langneurons.config import AlignConfig
from langneurons.errors import InputError, MissingExtraError
from langneurons.model import loading as models
from support import families
from support.command import killed
from support.places import ROOT

QUICK = AlignConfig(
    steps=6, batch=4, device_batch=2, learning_rate=3e-3, rank=4, alpha=8, save_every=2, warmup=0
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.save("llama", tmp_path_factory.mktemp("llama"))


@cache
def pairs(n: int = 24) -> tuple[Pair, ...]:
    rng = random.Random(0)

    def text(letters: str) -> str:
        return "".join(rng.choices(letters, k=rng.randint(2, 12)))

    return tuple(
        Pair(
            f"q{i}",
            ("sw", "th")[i % 2],
            f"{text('pq')}? ",
            text("abc "),
            text("xyz "),
            -0.1,
            -0.2,
            False,
        )
        for i in range(n)
    )


def trained(
    source: Path, work: Path, config: AlignConfig = QUICK, dev: Sequence[Pair] = (), **more: Any
) -> Aligned:
    loaded = models.load(source)
    return align(loaded.model, loaded.tokenizer, pairs(), dev, config, work, **more)


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Aligned:
    """A training that nothing disturbed."""
    return trained(folder, tmp_path_factory.mktemp("whole") / "w", dev=pairs()[:4])


def losses(done: Aligned) -> list[float]:
    return [row["loss"] for row in done.history if "loss" in row]


@pytest.mark.parametrize(
    ("name", "targets"), [("llama", "q_proj,v_proj,o_proj"), ("gpt2", "c_attn"), ("opt", "fc1")]
)
def test_the_loss_begins_at_ln_2(name: str, targets: str, tmp_path: Path) -> None:
    """GPT-2 and OPT have dropout of their own, which would make policy and reference differ from the start."""
    done = trained(
        families.save(name, tmp_path / name),
        tmp_path / "w",
        replace(QUICK, targets=targets, steps=2),
    )
    assert done.history[0]["step"] == 1
    assert done.history[0]["loss"] == pytest.approx(math.log(2), abs=1e-7)
    assert losses(done)[-1] != pytest.approx(math.log(2), abs=1e-6)


@torch.inference_mode()
def log_likelihood(model: Any, tokenizer: Any, prompt: str, response: str) -> float:
    """Log-probability of the response and its end token, one token at a time."""
    ids = [*tokenizer(prompt + response).input_ids, tokenizer.eos_token_id]
    first = len(tokenizer(prompt).input_ids)
    logits = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(dim=-1)
    return sum(float(logits[at - 1, ids[at]]) for at in range(first, len(ids)))


def test_the_objective_is_equations_1_to_3(folder: Path, tmp_path: Path) -> None:
    """The loss of the dev pairs, as logged at each checkpoint, from adapter and base by hand."""
    dev = pairs()[:5]
    done = trained(folder, tmp_path / "w", replace(QUICK, beta=0.3), dev)
    logged = {row["step"]: row["eval_loss"] for row in done.history if "eval_loss" in row}
    assert list(logged) == list(done.checkpoints) == [2, 4, 6]
    for step, checkpoint in done.checkpoints.items():
        loaded = models.load(checkpoint)
        by_hand = []
        for pair in dev:
            ratios = []
            for text in (pair.chosen, pair.rejected):
                adapted = log_likelihood(loaded.model, loaded.tokenizer, pair.prompt, text)
                with loaded.model.disable_adapter():  # ty: ignore[call-non-callable]
                    ratios.append(
                        adapted - log_likelihood(loaded.model, loaded.tokenizer, pair.prompt, text)
                    )
            a, b = (0.3 * ratio for ratio in ratios)
            by_hand.append(-math.log(1 / (1 + math.exp(-(a - b)))))
        assert logged[step] == pytest.approx(sum(by_hand) / len(by_hand), abs=2e-5)
    assert logged[6] < math.log(2)


def test_the_chosen_response_can_have_a_loss_of_its_own(folder: Path, tmp_path: Path) -> None:
    """With the adapter at its start: ln 2, and the chosen tokens' mean -log P times the weight."""
    loaded = models.load(folder)
    done = trained(
        folder, tmp_path / "w", replace(QUICK, sft=2.0, batch=24, device_batch=24, steps=2)
    )
    read = [
        log_likelihood(loaded.model, loaded.tokenizer, pair.prompt, pair.chosen) for pair in pairs()
    ]
    tokens = sum(
        len(loaded.tokenizer(pair.chosen, add_special_tokens=False).input_ids) + 1
        for pair in pairs()
    )
    assert done.history[0]["loss"] == pytest.approx(math.log(2) - 2 * sum(read) / tokens, abs=1e-4)


def test_dropout_of_the_adapter_is_honoured(folder: Path, whole: Aligned, tmp_path: Path) -> None:
    without = losses(trained(folder, tmp_path / "w", replace(QUICK, dropout=0.0)))
    assert losses(whole)[0] == without[0]
    assert losses(whole)[-1] != pytest.approx(without[-1], abs=1e-6)


def test_stopped_and_resumed_is_the_same(folder: Path, whole: Aligned, tmp_path: Path) -> None:
    """Stopped after step 5, one step after the second checkpoint; a checkpoint that was not finished is not used."""

    def stop(step: int, _: int) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(folder, tmp_path / "w", dev=pairs()[:4], on_step=stop)
    assert not (tmp_path / "w" / "checkpoint-6").exists()
    shutil.copytree(tmp_path / "w" / "checkpoint-4", tmp_path / "w" / "checkpoint-5")
    (tmp_path / "w" / "checkpoint-5" / "trainer_state.json").write_text('{"global_st')
    steps: list[int] = []
    resumed = trained(
        folder, tmp_path / "w", dev=pairs()[:4], on_step=lambda step, _: steps.append(step)
    )
    assert steps == [5, 6]
    assert resumed.history == whole.history
    assert list(resumed.checkpoints) == [2, 4, 6]
    for step in (2, 4, 6):
        ours, theirs = (
            adapter_files(done.checkpoints[step], str(folder)) for done in (resumed, whole)
        )
        assert ours == theirs


def test_a_tokenizer_without_a_padding_token(folder: Path, whole: Aligned, tmp_path: Path) -> None:
    bare = models.load(folder)
    bare.tokenizer.pad_token = None
    done = align(bare.model, bare.tokenizer, pairs(), pairs()[:4], QUICK, tmp_path / "w")
    assert losses(done) == losses(whole)


def test_a_prompt_that_spells_the_beginning_token(
    folder: Path, whole: Aligned, tmp_path: Path
) -> None:
    """As chat templates do: the tokenizer puts one there itself, and there are not to be two."""
    loaded = models.load(folder)
    spelled = [replace(pair, prompt=f"<s>{pair.prompt}") for pair in pairs()]
    done = align(loaded.model, loaded.tokenizer, spelled, spelled[:4], QUICK, tmp_path / "w")
    assert losses(done) == losses(whole)
    assert begun(loaded.tokenizer, "a <s>") == "a <s>"


def test_what_cannot_be_trained(folder: Path, tmp_path: Path) -> None:
    def refused(error: type[Exception], match: str, change: Any = None, **changes: Any) -> None:
        loaded = models.load(folder)
        if change:
            change(loaded)
        with pytest.raises(error, match=match):
            align(
                loaded.model,
                loaded.tokenizer,
                pairs(),
                (),
                replace(QUICK, **changes),
                tmp_path / "w",
            )

    refused(
        InputError,
        "no layer called c_attn; its linear layers are down_proj, .* q_proj",
        targets="q_proj,c_attn",
    )
    refused(InputError, "all 24 pairs are longer than 5 tokens", max_tokens=5)
    refused(InputError, "no end token", lambda loaded: setattr(loaded.tokenizer, "eos_token", None))
    refused(
        MissingExtraError,
        "cannot report to moon: it is not installed; there are none",
        report_to="moon",
    )
    refused(InputError, "--set: DPOConfig has no field beat; beta is meant", set=("beat=1",))
    refused(InputError, "--set: LoraConfig has no field rank", set=("lora.rank=1",))
    refused(InputError, "langneurons sets that itself", set=("output_dir=x",))
    refused(InputError, "no value is given", set=("beta",))
    refused(InputError, "DPOConfig does not take these settings", set=("lr_scheduler_type=moon",))
    done = trained(folder, tmp_path / "done", replace(QUICK, steps=1))
    loaded = models.load(done.checkpoints[1])
    with pytest.raises(InputError, match="the model is an adapter already"):
        align(loaded.model, loaded.tokenizer, pairs(), (), QUICK, tmp_path / "w")
    for wrong in (
        {"steps": 0},
        {"beta": 0.0},
        {"dropout": 1.0},
        {"learning_rate": -1.0},
        {"sft": -1.0},
        {"dev": -1},
    ):
        with pytest.raises(InputError):
            AlignConfig(**wrong)


def test_long_pairs_are_left_out_and_named(folder: Path, tmp_path: Path) -> None:
    long = [replace(pairs()[0], chosen="abc" * 20), replace(pairs()[1], rejected="abc" * 20)]
    loaded = models.load(folder)
    config = replace(QUICK, max_tokens=40, steps=1)
    done = align(loaded.model, loaded.tokenizer, [*pairs(), *long], (), config, tmp_path / "w")
    assert done.facts["too long"] == {"sw": 1, "th": 1}
    assert done.facts["pairs"] == {"sw": 12, "th": 12}


def test_the_settings_of_the_paper_reach_the_libraries(tmp_path: Path) -> None:
    from peft import LoraConfig
    from trl import DPOConfig

    four = settings(AlignConfig(), tmp_path, "torch.bfloat16", 4, on_cpu=False, watch=True)
    one = settings(AlignConfig(), tmp_path, "torch.float32", 1, on_cpu=True, watch=False)
    assert (four[0]["gradient_accumulation_steps"], one[0]["gradient_accumulation_steps"]) == (2, 8)
    dpo, lora = built(DPOConfig, one[0]), built(LoraConfig, one[1])
    assert (dpo.learning_rate, dpo.beta, dpo.max_steps, dpo.warmup_steps, dpo.save_steps) == (
        1e-6,
        0.1,
        1000,
        100,
        100,
    )
    assert dpo.lr_scheduler_type == "cosine"
    assert not dpo.disable_dropout
    assert not dpo.load_best_model_at_end
    assert dpo.save_total_limit is None
    assert (lora.r, lora.lora_alpha, lora.lora_dropout) == (64, 128, 0.05)
    assert lora.target_modules == {"q_proj", "v_proj", "o_proj"}
    mine = AlignConfig(set=("max_grad_norm=0.5", "lora.use_rslora=true", "loss_type=ipo"))
    dpo, lora = (
        built(kind, values)
        for kind, values in zip(
            (DPOConfig, LoraConfig),
            settings(mine, tmp_path, "torch.float32", 1, on_cpu=True, watch=False),
            strict=True,
        )
    )
    assert (dpo.max_grad_norm, dpo.loss_type, lora.use_rslora) == (0.5, ["ipo"], True)
    with pytest.raises(
        InputError, match="a batch of 16 pairs cannot be shared out evenly to 3 processes"
    ):
        settings(AlignConfig(), tmp_path, "torch.float32", 3, on_cpu=True, watch=False)


@pytest.mark.parametrize("name", ["ddp", "zero2", "fsdp"])
def test_the_accelerate_configs_are_read(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(ROOT / "examples" / "accelerate" / f"{name}.yaml"))
    kinds = {"ddp": "MULTI_GPU", "zero2": "DEEPSPEED", "fsdp": "FSDP"}
    assert config.distributed_type == kinds[name]
    assert (config.num_processes, config.mixed_precision) == (4, "bf16")


# The whole command.


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pairs") / "p"
    with artifacts.writing(out, "pairs", "pair", {}, {}) as draft:
        for name, rows in (("train.jsonl", pairs()), ("dev.jsonl", pairs()[:4])):
            draft.bytes(name, "".join(json.dumps(row.to_row()) + "\n" for row in rows).encode())
    return out


WORDS = (
    "--steps",
    "6",
    "--save-every",
    "2",
    "--batch",
    "4",
    "--rank",
    "4",
    "--learning-rate",
    "3e-3",
    "--dropout",
    "0",
)


@pytest.fixture(scope="module")
def aligned(
    folder: Path, paired: Path, tmp_path_factory: pytest.TempPathFactory, langneurons: Any
) -> Path:
    """What the command leaves that was killed at any moment after its first checkpoint, and run again."""
    out = tmp_path_factory.mktemp("runs") / "d"
    words = ["align", folder, paired, "--out", out, *WORDS]
    killed(
        *words,
        when=lambda: list(out.parent.glob(".d.*/checkpoint-2")),
        after=random.uniform(0, 0.3),
    )
    done = langneurons(*words)
    assert done.status == 0, done.err
    if "up to date" not in done.err:
        assert "     1    0.693      0.000" in done.out
        assert "next: langneurons evaluate" in done.out
    return out


def contents(folder: Path) -> dict[str, str]:
    return artifacts.read(folder, "adapter").manifest["files"]


def test_the_folder_and_its_checkpoints_are_models(aligned: Path, folder: Path) -> None:
    adapter = ("adapter_config.json", "adapter_model.safetensors")
    expected = [
        *adapter,
        *(f"checkpoint-{n}/{name}" for n in (2, 4) for name in adapter),
        "history.jsonl",
    ]
    assert sorted(contents(aligned)) == expected
    assert [path.name for path in aligned.parent.iterdir()] == ["d"]
    base = models.load(folder)
    prints = {base.fingerprint}
    for path in (aligned, aligned / "checkpoint-2", aligned / "checkpoint-4"):
        loaded = models.load(path)
        prints.add(loaded.fingerprint)
        ids = torch.tensor([[5, 6, 7, 8]])
        with loaded.model.disable_adapter():  # ty: ignore[call-non-callable]
            assert torch.equal(loaded.model(input_ids=ids).logits, base.model(input_ids=ids).logits)
        assert not torch.equal(loaded.model(input_ids=ids).logits, base.model(input_ids=ids).logits)
    assert len(prints) == 4


def test_no_token_is_in_prompt_and_response() -> None:
    """The embedded tokenizer has a token for a colon and a space: before a digit it reaches across the seam."""
    tokenizer = models.load_tokenizer("nano")
    for said, prompt in (((" 12", " She"), "A"), ((" Anna", " She"), "A:"), ((" 1", " 2"), "A")):
        assert apart(tokenizer, "A:", said) == (
            prompt,
            tuple("A:".removeprefix(prompt) + one for one in said),
        )
        alone, *whole = tokenizer(
            [prompt, *("A:" + one for one in said)], add_special_tokens=False
        )["input_ids"]
        assert all(ids[: len(alone)] == alone for ids in whole)


def test_an_adapter_is_evaluated_with_its_base(
    aligned: Path, folder: Path, tmp_path: Path, langneurons: Any
) -> None:
    """The base comes first, into a folder beside, as if it had been asked for; --no-base leaves it out."""
    asked = tmp_path / "asked.jsonl"
    rows = [
        {"id": f"q{n}", "lang": lang, "question": f"{n} + 1?", "answer": n}
        for n in range(3)
        for lang in ("en", "sw")
    ]
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    words = (asked, "--max-new-tokens", 3, "--template", "plain", "--out")
    alone = langneurons("evaluate", aligned, *words, tmp_path / "e", "--no-base", "--json")
    assert alone.status == 0, alone.err
    assert "changes" not in alone.json
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["e"]
    done = langneurons("evaluate", aligned, *words, tmp_path / "e", "--json")
    assert done.status == 0, done.err
    assert done.json["against"] == str(tmp_path / "e-base")
    assert [row["lang"] for row in done.json["changes"]] == ["en", "sw", "mean"]
    assert artifacts.read(tmp_path / "e-base", "accuracy").manifest["facts"]["model"]["id"] == str(
        folder
    )
    again = langneurons("evaluate", folder, *words, tmp_path / "e-base", "--json")
    assert "up to date" in again.err


def test_what_the_command_refuses(
    aligned: Path, folder: Path, paired: Path, tmp_path: Path, langneurons: Any
) -> None:
    """An adapter as MODEL, a base without an end token, something that is no folder of pairs: a line each."""
    endless = shutil.copytree(folder, tmp_path / "endless")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (endless / name).is_file():
            held = json.loads((endless / name).read_text("utf-8"))
            held.pop("eos_token", None)
            (endless / name).write_text(json.dumps(held), "utf-8")
    for model, source, says in (
        (aligned, paired, "the model is an adapter already; give its base"),
        (endless, paired, "the tokenizer has no end token"),
        (folder, aligned, "holds adapter; pairs are needed here"),
    ):
        done = langneurons("align", model, source, "--out", tmp_path / "d", *WORDS)
        assert done.status == 2
        assert says in done.err
        assert done.err.count("\n") == 1
        assert not (tmp_path / "d").exists()


def test_killed_and_resumed_is_the_same(aligned: Path, folder: Path, tmp_path: Path) -> None:
    config = replace(QUICK, alpha=128, dropout=0.0)
    done = trained(folder, tmp_path / "w", config, pairs()[:4])
    for step, checkpoint in done.checkpoints.items():
        for name, content in adapter_files(checkpoint, str(folder)).items():
            assert (
                aligned / ("" if step == 6 else f"checkpoint-{step}") / name
            ).read_bytes() == content
    assert [
        json.loads(line) for line in (aligned / "history.jsonl").read_text().splitlines()
    ] == done.history
    assert artifacts.read(aligned, "adapter").manifest["facts"]["pairs"] == {"sw": 12, "th": 12}


def test_two_processes_have_the_losses_of_one(
    aligned: Path, folder: Path, paired: Path, tmp_path: Path
) -> None:
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--standalone",
    ]
    command = [
        *torchrun,
        "-m",
        "langneurons",
        "align",
        folder,
        paired,
        "--out",
        tmp_path / "d",
        *WORDS,
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, env=env, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    one, two = (
        [json.loads(line) for line in (path / "history.jsonl").read_text().splitlines()]
        for path in (aligned, tmp_path / "d")
    )
    assert [row["step"] for row in one] == [row["step"] for row in two]
    for a, b in zip(one, two, strict=True):
        name = "loss" if "loss" in a else "eval_loss"
        assert a[name] == pytest.approx(b[name], abs=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["d"]
