"""Recipe: how an adapter is trained: the settings, where each comes from, and what TRL and PEFT call them."""

import difflib
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from langneurons.config import AlignConfig, GrpoConfig
from langneurons.errors import InputError, MissingExtraError

_HERE = (
    "output_dir",
    "max_steps",
    "save_steps",
    "save_strategy",
    "save_total_limit",
    "save_only_model",
)
_OURS = (*_HERE, "load_best_model_at_end", "resume_from_checkpoint")
"""Fields of TRL's configs that cannot be set: what is kept, and where, follows from them."""


def settings(
    config: AlignConfig,
    folder: Path,
    dtype: str,
    processes: int,
    *,
    on_cpu: bool,
    watch: bool = False,
    grpo: GrpoConfig | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields of DPOConfig, or of GRPOConfig, and of LoraConfig, those in `config.set` last.

    Args:
        config: what was asked.
        folder: where checkpoints go.
        dtype: that of the model's weights, as torch writes it.
        processes: how many train together.
        on_cpu: whether they train on the CPU.
        watch: whether there are pairs to watch.
        grpo: what was asked of GRPO, if that is the objective.

    Raises:
        InputError: for a batch that cannot be shared out, or a field that is no field or not to be
            set.
    """
    if grpo and config.batch % grpo.group:
        raise InputError(
            f"a batch of {config.batch} responses holds no whole groups of {grpo.group}; change --batch"
        )
    together = config.device_batch * processes
    if config.batch < together:
        together = processes
    if config.batch % together:
        raise InputError(
            f"a batch of {config.batch} {'responses' if grpo else 'pairs'} cannot be shared out evenly to {processes} "
            f"processes with {config.device_batch} at once; change --batch or --device-batch"
        )
    size = together // processes
    arguments: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": config.steps,
        "save_steps": config.save_every,
        "save_strategy": "steps",
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": config.batch // together,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.schedule,
        "warmup_steps": min(config.warmup, config.steps // 10),
        "beta": config.beta,
        "disable_dropout": False,
        "bf16": dtype == "torch.bfloat16",
        "fp16": dtype == "torch.float16",
        "use_cpu": on_cpu,
        "activation_checkpointing": not on_cpu,
        "logging_first_step": True,
        "logging_steps": next(
            n for n in range(min(10, config.save_every), 0, -1) if config.save_every % n == 0
        ),
        "seed": config.seed,
        "report_to": config.report_to.split(","),
        "disable_tqdm": True,
        "dataloader_pin_memory": not on_cpu,
    }
    if grpo:
        arguments |= {
            "num_generations": grpo.group,
            "temperature": grpo.temperature,
            "max_completion_length": grpo.max_new_tokens,
        }
    else:
        arguments |= {
            "max_length": config.max_tokens,
            "per_device_eval_batch_size": size,
            "eval_strategy": "steps" if watch else "no",
            "eval_steps": config.save_every,
        }
        if config.sft:
            arguments |= {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, config.sft]}
    lora: dict[str, Any] = {
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": config.targets
        if config.targets == "all-linear"
        else config.targets.split(","),
        "task_type": "CAUSAL_LM",
    }
    for given in config.set:
        name, _, value = given.partition("=")
        if not value or name in _OURS:
            raise InputError(
                f"--set {given}: {'no value is given' if not value else 'langneurons sets that itself'}"
            )
        into, key = (lora, name[5:]) if name.startswith("lora.") else (arguments, name)
        try:
            into[key] = json.loads(value)
        except ValueError:
            into[key] = value
    return arguments, lora


def built(kind: Any, values: dict[str, Any]) -> Any:
    """A config of TRL or PEFT.

    Raises:
        InputError: for a field it does not have, naming the nearest, or a value it does not take.
        MissingExtraError: when a value asks for a library that is not installed.
    """
    known = [field.name for field in fields(kind)]
    if unknown := [name for name in values if name not in known]:
        near = difflib.get_close_matches(unknown[0], known, 1)
        raise InputError(
            f"--set: {kind.__name__} has no field {unknown[0]}{f'; {near[0]} is meant?' if near else ''}"
        )
    try:
        return kind(**values)
    except ImportError as error:
        raise MissingExtraError(f"{error}") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"{kind.__name__} does not take these settings: {error}") from error
