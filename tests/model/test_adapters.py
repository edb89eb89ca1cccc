"""Adapters of every kind: measured right, or refused by kind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from langneurons.errors import ModelError
from langneurons.model.check import check
from langneurons.model.hooks import silence
from langneurons.model.loading import load
from support import adapters, families
from support.command import Outcome, refused

CAUSAL: Any = {"task_type": "CAUSAL_LM"}
DOWN: Any = {"target_modules": ["down_proj"], **CAUSAL}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a model of a family."""
    folder = tmp_path_factory.mktemp("models")

    def of(name: str) -> Path:
        return folder / name if (folder / name).exists() else families.save(name, folder / name)

    return of


def experts(*names: str) -> peft.LoraConfig:
    """LoRA on parameters of experts."""
    return peft.LoraConfig(
        target_modules=["q_proj"], target_parameters=[f"mlp.experts.{name}" for name in names]
    )


MEASURED: dict[str, tuple[str, Callable[[], peft.PeftConfig]]] = {
    "lora": ("llama", lambda: peft.LoraConfig(**DOWN)),
    "all linear": ("llama", lambda: peft.LoraConfig(target_modules="all-linear", **CAUSAL)),
    "dora": ("llama", lambda: peft.LoraConfig(use_dora=True, **DOWN)),
    "saved whole": (
        "llama",
        lambda: peft.LoraConfig(target_modules=["q_proj"], modules_to_save=["down_proj"], **CAUSAL),
    ),
    "ia3": ("llama", lambda: peft.IA3Config(feedforward_modules=["down_proj"], **DOWN)),
    "vera": ("llama", lambda: peft.VeraConfig(r=4, **DOWN)),
    "oft": ("llama", lambda: peft.OFTConfig(oft_block_size=4, **DOWN)),
    "boft": ("llama", lambda: peft.BOFTConfig(boft_block_size=4, **DOWN)),
    "vblora": ("llama", lambda: peft.VBLoRAConfig(vector_length=8, num_vectors=8, **DOWN)),
    "loha": ("llama", lambda: peft.LoHaConfig(**DOWN)),
    "lora on gpt2": (
        "gpt2",
        lambda: peft.LoraConfig(target_modules=["c_proj"], fan_in_fan_out=True, **CAUSAL),
    ),
    "dora on gpt2": (
        "gpt2",
        lambda: peft.LoraConfig(
            target_modules=["c_proj"], fan_in_fan_out=True, use_dora=True, **CAUSAL
        ),
    ),
    "experts": ("mixtral", lambda: experts("gate_up_proj", "down_proj")),
    "experts, all linear": (
        "qwen3_moe",
        lambda: peft.LoraConfig(target_modules="all-linear", **CAUSAL),
    ),
    "shared experts": ("deepseek_v3", lambda: experts("down_proj")),
    "transposed experts": ("gpt_oss", lambda: experts("gate_up_proj", "down_proj")),
}


@pytest.mark.parametrize("kind", MEASURED)
def test_every_claim_holds(kind: str, base: Callable[[str], Path], tmp_path: Path) -> None:
    family, config = MEASURED[kind]
    loaded = load(adapters.save(config(), base(family), tmp_path / "adapter"), device="cpu")
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    checks = check(loaded)
    assert [(one.claim, one.seen) for one in checks if one.holds is not True] == []
    after = loaded.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_silencing_is_that_of_the_merged_model(base: Callable[[str], Path], tmp_path: Path) -> None:
    """By hand, apart from `check`: columns of the merged weights are zero."""
    config = peft.LoraConfig(use_dora=True, **DOWN)
    loaded = load(adapters.save(config, base("llama"), tmp_path / "adapter"), device="cpu")
    ids, mask = torch.arange(3, 40)[None], torch.arange(48) % 16 == 3
    with silence(loaded.sites, [mask] * 3):
        silenced = loaded.model(ids).logits
    model: Any = loaded.model
    merged = model.merge_and_unload()
    for layer in merged.model.layers:
        layer.mlp.down_proj.weight[:, mask] = 0
    assert (silenced - merged(ids).logits).abs().max() < 1e-5


REFUSED = {
    "prefix tuning": peft.PrefixTuningConfig(num_virtual_tokens=4, **CAUSAL),
    "prompt tuning": peft.PromptTuningConfig(num_virtual_tokens=4, **CAUSAL),
    "p tuning": peft.PromptEncoderConfig(num_virtual_tokens=4, encoder_hidden_size=8, **CAUSAL),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refuses_what_is_not_of_weights(
    kind: str, base: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = adapters.save(REFUSED[kind], base("llama"), tmp_path / "adapter")
    with pytest.raises(ModelError, match=f"adapter is an adapter of {kind}, which .*such as LoRA"):
        load(folder, device="cpu")


def test_every_command_refuses_it(
    base: Callable[[str], Path], tmp_path: Path, langneurons: Callable[..., Outcome]
) -> None:
    folder = adapters.save(REFUSED["prefix tuning"], base("llama"), tmp_path / "adapter")
    rows = tmp_path / "rows.jsonl"
    row = {"id": "1", "question_id": "1", "lang": "en", "prompt": "One", "response": " two"}
    rows.write_text(json.dumps({**row, "question": "One?", "answer": 1}) + "\n")
    for words in (
        ("check", folder),
        ("record", folder, rows, "--out", tmp_path / "out"),
        ("sample", folder, rows, "--out", tmp_path / "out"),
        ("evaluate", folder, rows, "--out", tmp_path / "out"),
    ):
        refused(langneurons(*words), "is an adapter of prefix tuning")
    assert not list(tmp_path.glob("out*"))


RESIZED = {
    "both saved": ("llama", {"modules_to_save": ["embed_tokens", "lm_head"]}),
    "saved by PEFT itself": ("llama", {}),
    "tied": ("gpt2", {"modules_to_save": ["wte"], "fan_in_fan_out": True}),
}


@pytest.mark.parametrize("kind", RESIZED)
def test_an_adapter_with_tokens_of_its_own(
    kind: str, base: Callable[[str], Path], tmp_path: Path
) -> None:
    family, settings = RESIZED[kind]
    target = "q_proj" if family == "llama" else "c_attn"
    config = peft.LoraConfig(target_modules=[target], **CAUSAL, **settings)
    loaded = load(adapters.save(config, base(family), tmp_path / "adapter", more=2), device="cpu")
    assert (loaded.rows, loaded.last_id) == (261, 260)
    assert check(loaded).holds
    embedding = loaded.model.get_input_embeddings().weight
    assert not torch.equal(embedding[260], torch.zeros_like(embedding[260]))


def test_tokens_of_its_own_without_a_head(base: Callable[[str], Path], tmp_path: Path) -> None:
    config = peft.LoraConfig(
        target_modules=["q_proj"], trainable_token_indices=[259, 260], **CAUSAL
    )
    folder = adapters.save(config, base("llama"), tmp_path / "adapter", more=2)
    said = "brings along an embedding or a head of 261 rows, but not both, and its base has 260"
    with pytest.raises(ModelError, match=said):
        load(folder, device="cpu")


def test_the_whole_message_of_a_library(base: Callable[[str], Path], tmp_path: Path) -> None:
    """PyTorch's first line ends with a colon and says nothing."""
    folder = adapters.save(peft.LoraConfig(**DOWN), base("llama"), tmp_path / "adapter")
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"r": 3}))
    with pytest.raises(
        ModelError, match=r"adapter: Error\(s\) in loading .*: size mismatch for .*"
    ):
        load(folder, device="cpu")
