"""What both objectives share: prompts as they are given, the examples for accelerate."""

from pathlib import Path

import pytest

from langneurons.align.training import _beside_the_decoder, begun
from langneurons.model import loading as models
from support.families import tiny
from support.places import ROOT


def test_a_prompt_begins_once(llama: Path) -> None:
    tokenizer = models.load_tokenizer(llama)
    assert begun(tokenizer, "<s>a") == "a"
    assert begun(tokenizer, "a <s>") == "a <s>"
    assert begun(tokenizer, "a") == "a"


def test_no_adapter_is_for_a_tower() -> None:
    """Its attention is called as the decoder's is, or otherwise."""
    beside = _beside_the_decoder(tiny("qwen3_vl"))["exclude_modules"]
    assert "model.visual.blocks.1.mlp.linear_fc1" in beside
    assert all(name.startswith("model.visual.") for name in beside)
    assert _beside_the_decoder(tiny("opt")) == {}


@pytest.mark.parametrize("name", ["ddp", "zero2", "fsdp"])
def test_the_accelerate_configs_are_read(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(ROOT / "examples" / "accelerate" / f"{name}.yaml"))
    kinds = {"ddp": "MULTI_GPU", "zero2": "DEEPSPEED", "fsdp": "FSDP"}
    assert config.distributed_type == kinds[name]
    assert (config.num_processes, config.mixed_precision) == (4, "bf16")
