"""The settings of a training reach the libraries, and what they do not take is told of."""

from pathlib import Path

import pytest

from langneurons.align.recipe import Place, built, dpo_fields, grpo_fields, lora_fields
from langneurons.config import AlignConfig, GrpoConfig
from langneurons.errors import InputError


def cpu(folder: Path, processes: int = 1) -> Place:
    return Place(folder, "torch.float32", on_cpu=True, processes=processes)


def test_the_settings_of_the_paper_reach_the_libraries(tmp_path: Path) -> None:
    from peft import LoraConfig
    from trl import DPOConfig

    gpus = Place(tmp_path, "torch.bfloat16", on_cpu=False, processes=4)
    four = dpo_fields(AlignConfig(), gpus, watch=True)
    one = dpo_fields(AlignConfig(), cpu(tmp_path), watch=False)
    assert (four["gradient_accumulation_steps"], one["gradient_accumulation_steps"]) == (2, 8)
    assert (four["eval_strategy"], one["eval_strategy"]) == ("steps", "no")
    assert (four["bf16"], one["bf16"], one["use_cpu"]) == (True, False, True)
    dpo, lora = built(DPOConfig, one), built(LoraConfig, lora_fields(AlignConfig()))
    assert (dpo.learning_rate, dpo.beta, dpo.max_steps) == (1e-6, 0.1, 1000)
    assert (dpo.warmup_steps, dpo.save_steps) == (100, 100)
    assert dpo.lr_scheduler_type == "cosine"
    assert not dpo.disable_dropout
    assert not dpo.load_best_model_at_end
    assert dpo.save_total_limit is None
    assert (lora.r, lora.lora_alpha, lora.lora_dropout) == (64, 128, 0.05)
    assert lora.target_modules == {"q_proj", "v_proj", "o_proj"}


def test_any_field_can_be_set(tmp_path: Path) -> None:
    from peft import LoraConfig
    from trl import DPOConfig

    mine = AlignConfig(set=("max_grad_norm=0.5", "lora.use_rslora=true", "loss_type=ipo"), sft=1.0)
    dpo = built(DPOConfig, dpo_fields(mine, cpu(tmp_path), watch=False) | {"loss_weights": None})
    lora = built(LoraConfig, lora_fields(mine))
    assert (dpo.max_grad_norm, dpo.loss_type, lora.use_rslora) == (0.5, ["ipo"], True)


def test_a_batch_is_shared_out_evenly(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="a batch of 16 pairs cannot be shared out evenly to 3 processes"
    ):
        dpo_fields(AlignConfig(), cpu(tmp_path, 3), watch=False)
    with pytest.raises(InputError, match="a batch of 8 responses cannot be shared out evenly to 3"):
        grpo_fields(AlignConfig(batch=8), GrpoConfig(), cpu(tmp_path, 3))
    small = dpo_fields(AlignConfig(batch=4, device_batch=8), cpu(tmp_path, 2), watch=False)
    assert small["per_device_train_batch_size"] == 1
    assert small["gradient_accumulation_steps"] == 2


def test_the_log_has_a_line_at_every_checkpoint(tmp_path: Path) -> None:
    for save_every, lines_every in ((100, 10), (20, 10), (14, 7), (13, 1), (3, 3)):
        fields = dpo_fields(AlignConfig(save_every=save_every), cpu(tmp_path), watch=False)
        assert fields["logging_steps"] == lines_every


def test_settings_out_of_range() -> None:
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
    for wrong in ({"group": 1}, {"temperature": 0.0}, {"max_new_tokens": 0}):
        with pytest.raises(InputError):
            GrpoConfig(**wrong)
