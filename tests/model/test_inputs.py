"""What a result depends on: everything of a model that changes a number, and nothing else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
from transformers import AutoTokenizer

from langneurons.model.loading import load
from support import adapters, families
from support.command import Outcome, refused


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = families.save("llama", tmp_path_factory.mktemp("models") / "llama")
    (folder / "chat_template.jinja").write_text("<{{ messages[0]['content'] }}>")
    return folder


@pytest.fixture
def copied(llama: Path, tmp_path: Path) -> Path:
    """A copy of the model, to be corrected."""
    return shutil.copytree(llama, tmp_path / "model")


def correct(file: Path, **values: Any) -> None:
    """Change values in a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | values), "utf-8")


def changed(folder: Path, before: Path) -> set[str]:
    """Names of the digests that differ from those of another folder."""
    now, then = load(folder, device="cpu").inputs, load(before, device="cpu").inputs
    return {name for name in now.keys() | then.keys() if now.get(name) != then.get(name)}


ROPE = {"rope_parameters": {"rope_theta": 50.0, "rope_type": "default"}}


@pytest.mark.parametrize(
    ("file", "values", "digest"),
    [
        ("config.json", ROPE, "config"),
        ("config.json", {"hidden_act": "gelu"}, "config"),
        ("config.json", {"rms_norm_eps": 1e-3}, "config"),
        ("config.json", {"max_position_embeddings": 1024}, "config"),
        ("generation_config.json", {"eos_token_id": [2, 5]}, "special tokens"),
        ("tokenizer_config.json", {"eos_token": "a"}, "special tokens"),
    ],
)
def test_what_changes_a_number(
    llama: Path, copied: Path, file: str, values: dict[str, Any], digest: str
) -> None:
    correct(copied / file, **values)
    assert digest in changed(copied, llama)
    assert "model" not in changed(copied, llama)


def test_the_chat_template(llama: Path, copied: Path) -> None:
    (copied / "chat_template.jinja").write_text("[{{ messages[0]['content'] }}]")
    assert changed(copied, llama) == {"chat template"}
    (copied / "chat_template.jinja").unlink()
    assert changed(copied, llama) == {"chat template"}


def test_a_token_that_the_tokenizer_got(llama: Path, copied: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(copied)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|u|>"]})
    tokenizer.save_pretrained(copied)
    assert changed(copied, llama) == {"tokenizer", "special tokens"}


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("config.json", {"_name_or_path": "elsewhere", "use_cache": False}),
        ("config.json", {"transformers_version": "4.0.0", "torch_dtype": "bfloat16"}),
        ("config.json", {"architectures": None, "initializer_range": 0.5}),
        ("generation_config.json", {"transformers_version": "4.0.0", "use_cache": False}),
        ("generation_config.json", {"eos_token_id": 2}),
        ("tokenizer_config.json", {"name_or_path": "elsewhere", "padding_side": "left"}),
    ],
)
def test_what_changes_none(llama: Path, copied: Path, file: str, values: dict[str, Any]) -> None:
    correct(copied / file, **values)
    loaded = load(copied, device="cpu", dtype="float32")
    assert loaded.inputs == load(llama, device="cpu").inputs


def test_an_adapter(llama: Path, tmp_path: Path) -> None:
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    folder = adapters.save(config, llama, tmp_path / "adapter")
    copy = shutil.copytree(folder, tmp_path / "copy")
    correct(copy / "adapter_config.json", peft_version="0.1", revision="main")
    assert changed(copy, folder) == set()
    correct(copy / "adapter_config.json", lora_alpha=64)
    assert changed(copy, folder) == {"config"}


def test_commands_refuse_what_was_made_before(
    copied: Path, tmp_path: Path, langneurons: Callable[..., Outcome]
) -> None:
    rows = tmp_path / "rows.jsonl"
    row = {"id": "1", "question_id": "1", "lang": "en", "prompt": "One", "response": " two"}
    rows.write_text(json.dumps({**row, "question": "One?", "answer": 1}) + "\n")
    short = ("--max-new-tokens", 2)
    commands: list[tuple[object, ...]] = [
        ("record", copied, rows, "--out", tmp_path / "counts"),
        ("sample", copied, rows, "-n", 1, *short, "--out", tmp_path / "responses"),
        ("evaluate", copied, rows, *short, "--out", tmp_path / "accuracy"),
    ]
    for words in commands:
        done = langneurons(*words)
        assert done.status == 0, done.err
        assert "is up to date" in langneurons(*words).err
    correct(copied / "config.json", hidden_act="gelu")
    for words in commands:
        refused(langneurons(*words), "holds a result of other settings: config ")
