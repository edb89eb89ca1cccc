"""DPO on real tiny models: the objective by hand, ln 2 at the start, resuming."""

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from langneurons.align.adapter import adapter_files
from langneurons.align.dpo import apart, dpo
from langneurons.align.pairs import Pairs
from langneurons.align.training import Trained
from langneurons.config import AlignConfig
from langneurons.errors import InputError, MissingExtraError, ModelError
from langneurons.model import loading as models
from support import families
from support.preferences import QUICK, pairs, to_learn


def trained(
    source: Path, work: Path, config: AlignConfig = QUICK, learn: Pairs | None = None, **more: Any
) -> Trained:
    return dpo(models.load(source), learn or to_learn(), work, config, **more)


@pytest.fixture(scope="module")
def whole(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A training that nothing disturbed."""
    return trained(llama, tmp_path_factory.mktemp("whole") / "w")


def losses(done: Trained) -> list[float]:
    return [line["loss"] for line in done.adapter.history if "loss" in line]


def begins_at_ln_2(done: Trained) -> None:
    assert done.adapter.history[0]["step"] == 1
    assert losses(done)[0] == pytest.approx(math.log(2), abs=1e-7)
    assert losses(done)[-1] != pytest.approx(math.log(2), abs=1e-6)


def test_the_loss_begins_at_ln_2(whole: Trained) -> None:
    begins_at_ln_2(whole)


@pytest.mark.parametrize(("name", "targets"), [("gpt2", "c_attn"), ("opt", "fc1")])
def test_the_loss_of_models_with_dropout_begins_at_ln_2(
    name: str, targets: str, tmp_path: Path
) -> None:
    """Dropout of their own would make policy and reference differ from the start."""
    config = replace(QUICK, targets=targets, steps=2)
    folder = families.save(name, tmp_path / name)
    begins_at_ln_2(trained(folder, tmp_path / "w", config, Pairs(pairs())))


@torch.inference_mode()
def log_likelihood(model: Any, tokenizer: Any, prompt: str, response: str) -> float:
    """Log-probability of the response and its end token, one token at a time."""
    ids = [*tokenizer(prompt + response).input_ids, tokenizer.eos_token_id]
    first = len(tokenizer(prompt).input_ids)
    logits = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(dim=-1)
    return sum(float(logits[at - 1, ids[at]]) for at in range(first, len(ids)))


def test_the_objective_is_equations_1_to_3(whole: Trained) -> None:
    """The loss of the dev pairs, as logged at each checkpoint, from adapter and base by hand."""
    history = whole.adapter.history
    logged = {line["step"]: line["eval_loss"] for line in history if "eval_loss" in line}
    assert list(logged) == list(whole.adapter.checkpoints) == [2, 4, 6]
    for step, checkpoint in whole.adapter.checkpoints.items():
        loaded = models.load(checkpoint)
        by_hand = []
        for pair in to_learn().dev:
            ratios = []
            for text in (pair.chosen, pair.rejected):
                adapted = log_likelihood(loaded.model, loaded.tokenizer, pair.prompt, text)
                with loaded.model.disable_adapter():  # ty: ignore[call-non-callable]
                    base = log_likelihood(loaded.model, loaded.tokenizer, pair.prompt, text)
                ratios.append(adapted - base)
            a, b = (QUICK.beta * ratio for ratio in ratios)
            by_hand.append(-math.log(1 / (1 + math.exp(-(a - b)))))
        assert logged[step] == pytest.approx(sum(by_hand) / len(by_hand), abs=2e-5)
    assert logged[6] < math.log(2)


def test_a_loss_of_its_own_and_what_is_too_long(llama: Path, tmp_path: Path) -> None:
    """With the adapter at its start: ln 2, and the chosen tokens' mean -log P times the weight.

    Of the pairs that fit; those that do not are left out and named.
    """
    loaded = models.load(llama)
    read = [
        log_likelihood(loaded.model, loaded.tokenizer, pair.prompt, pair.chosen) for pair in pairs()
    ]
    tokens = sum(
        len(loaded.tokenizer(pair.chosen, add_special_tokens=False).input_ids) + 1
        for pair in pairs()
    )
    long = [replace(pairs()[0], chosen="abc" * 20), replace(pairs()[1], rejected="abc" * 20)]
    config = replace(QUICK, sft=2.0, batch=24, device_batch=24, steps=1, max_tokens=40)
    done = trained(llama, tmp_path / "w", config, Pairs([*pairs(), *long]))
    assert losses(done)[0] == pytest.approx(math.log(2) - 2 * sum(read) / tokens, abs=1e-4)
    assert done.facts["too long"] == {"sw": 1, "th": 1}
    assert done.facts["pairs"] == {"sw": 12, "th": 12}


def test_the_limit_counts_prompt_response_beginning_and_end(llama: Path, tmp_path: Path) -> None:
    """One token per character, one at the beginning, one at the end."""
    pair = replace(pairs()[0], prompt="pq? ", chosen="abc", rejected="xyzxyz")
    loaded = models.load(llama)
    with pytest.raises(InputError, match="all 1 pairs are longer than 11 tokens"):
        dpo(loaded, Pairs([pair]), tmp_path / "w", replace(QUICK, max_tokens=11))
    with pytest.raises(InputError, match="has no field beat"):  # so it went on
        dpo(loaded, Pairs([pair]), tmp_path / "w", replace(QUICK, max_tokens=12, set=("beat=1",)))


def test_dropout_of_the_adapter_is_honoured(llama: Path, whole: Trained, tmp_path: Path) -> None:
    """At the first step the adapter does nothing yet; at the second it tells."""
    config = replace(QUICK, dropout=0.0, steps=2)
    without = losses(trained(llama, tmp_path / "w", config))
    assert losses(whole)[0] == without[0]
    assert losses(whole)[1] != pytest.approx(without[1], abs=1e-6)


def test_stopped_and_resumed_is_the_same(llama: Path, whole: Trained, tmp_path: Path) -> None:
    """Stopped one step after the second checkpoint; one that was not finished is not used."""

    def stop(step: int, _: int) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(llama, tmp_path / "w", on_step=stop)
    assert not (tmp_path / "w" / "checkpoint-6").exists()
    shutil.copytree(tmp_path / "w" / "checkpoint-4", tmp_path / "w" / "checkpoint-5")
    (tmp_path / "w" / "checkpoint-5" / "trainer_state.json").write_text('{"global_st')
    steps: list[int] = []
    resumed = trained(llama, tmp_path / "w", on_step=lambda step, _: steps.append(step))
    assert steps == [5, 6]
    assert resumed.adapter.history == whole.adapter.history
    assert list(resumed.adapter.checkpoints) == [2, 4, 6]
    for step in (2, 4, 6):
        ours, theirs = (adapter_files(done.adapter.checkpoints[step]) for done in (resumed, whole))
        assert ours == theirs


def test_no_padding_token_and_prompts_that_spell_the_beginning_token(
    llama: Path, whole: Trained, tmp_path: Path
) -> None:
    """Chat templates spell it: the tokenizer puts one there itself, and there are not to be two."""
    bare = models.load(llama)
    bare.tokenizer.pad_token = None
    train, dev = (
        [replace(pair, prompt=f"<s>{pair.prompt}") for pair in part]
        for part in (to_learn().train, to_learn().dev)
    )
    done = dpo(bare, Pairs(train, dev), tmp_path / "w", QUICK)
    assert losses(done) == losses(whole)


def test_what_cannot_be_trained(llama: Path, whole: Trained, tmp_path: Path) -> None:
    def refused(error: type[Exception], match: str, change: Any = None, **changes: Any) -> None:
        loaded = models.load(llama)
        if change:
            change(loaded)
        with pytest.raises(error, match=match):
            dpo(loaded, Pairs(pairs()), tmp_path / "w", replace(QUICK, **changes))

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
    for setting, said in {
        "learning_rate=fast": "--set: DPOConfig takes float for learning_rate, not 'fast'",
        "seed=1.5": "DPOConfig takes int for seed, not 1.5",
        "lora.r=two": "LoraConfig takes int for r, not 'two'",
        "lora.use_dora=1": "LoraConfig takes bool for use_dora, not 1",
        "lora.target_modules=5": r"LoraConfig takes .*list\[str\].* for target_modules, not 5",
        "lora.bias=some": "--set lora.bias=some: TRL and PEFT cannot train so: .*some",
        "lora.layers_to_transform=[9]": "cannot train so: Target modules .* not found",
        "loss_type=moon": "--set loss_type=moon: TRL and PEFT cannot train so: Unknown loss type",
        'lora.modules_to_save="lm_head"': "the adapter could not be loaded after training: ",
        "lora.inference_mode=true": "no weight would be trained",
    }.items():
        refused(InputError, said, set=(setting,))

    def add_padding(loaded: Any) -> None:
        loaded.tokenizer.add_tokens(["one that fits"])
        loaded.tokenizer.add_special_tokens({"pad_token": "[PAD]"})

    beyond = r"the tokenizer has ids up to 260, the embedding 260 rows, and '\[PAD\]' .id 260."
    refused(ModelError, beyond, add_padding)
    adapter = models.load(whole.adapter.checkpoints[2])
    with pytest.raises(InputError, match="the model is an adapter already"):
        dpo(adapter, Pairs(pairs()), tmp_path / "w", QUICK)


def test_no_token_is_in_prompt_and_response() -> None:
    """The embedded tokenizer has a token for a colon and a space, which reaches across the seam."""
    tokenizer = models.load_tokenizer("nano")
    for responses, prompt in (
        ((" 12", " She"), "A"),
        ((" Anna", " She"), "A:"),
        ((" 1", " 2"), "A"),
    ):
        rest = "A:".removeprefix(prompt)
        assert apart(tokenizer, "A:", responses) == (prompt, tuple(rest + r for r in responses))
        alone, *whole = tokenizer(
            [prompt, *("A:" + response for response in responses)], add_special_tokens=False
        )["input_ids"]
        assert all(ids[: len(alone)] == alone for ids in whole)
