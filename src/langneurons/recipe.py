"""Recipe: how an adapter is trained: the settings, where each comes from, and what TRL and PEFT call them."""

import difflib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from langneurons.errors import InputError, MissingExtraError

_HERE = ("output_dir", "max_steps", "save_steps", "save_strategy", "save_total_limit", "save_only_model")
_OURS = (*_HERE, "load_best_model_at_end", "resume_from_checkpoint")
"""Fields of TRL's configs that cannot be set: what is kept, and where, follows from them."""


@dataclass(frozen=True)
class AlignConfig:
    """Settings of `align`. Defaults are the paper's, and where it says nothing those of MAPO's code.

    Raises:
        InputError: for a value out of range, naming it.
    """

    steps: int = 1000
    """Training steps (the paper, appendix). The last one is kept, not the one of the least loss."""
    batch: int = 16
    """Pairs of one step, over all processes (the paper, appendix)."""
    learning_rate: float = 1e-6
    """Highest learning rate (the paper, appendix)."""
    beta: float = 0.1
    """Beta of Eq. 1 and 2 (MAPO's example config; the paper does not give it); with GRPO the weight of the divergence
    from the base."""
    sft: float = 0.0
    """Weight of the chosen response's own loss, -log P per token, beside Eq. 3 (ours: the paper has none). It keeps a
    model from drifting at rates that it needs; with GRPO of no effect."""
    schedule: str = "cosine"
    """How the learning rate falls (MAPO's code)."""
    warmup: int = 100
    """Steps over which it rises (MAPO's code); at most a tenth of the steps."""
    rank: int = 64
    """Rank of the adapter (the paper, appendix)."""
    alpha: int = 128
    """Alpha of the adapter (the paper, appendix)."""
    dropout: float = 0.05
    """Dropout of the adapter (the paper, appendix). The base's own is off: its loss would not begin at ln 2."""
    targets: str = "q_proj,v_proj,o_proj"
    """Layers that get an adapter (MAPO's code), with commas; all-linear for every one."""
    device_batch: int = 2
    """Pairs in memory at once on a device (MAPO's code); the rest of a batch comes by accumulation."""
    max_tokens: int = 1024
    """Tokens of prompt, response and end token; longer pairs are left out (MAPO's code: 1,024 characters)."""
    dev: int = 200
    """Pairs of the dev part that are watched, at most; 0 for none."""
    save_every: int = 100
    """Steps between checkpoints, all of which are kept (MAPO's code)."""
    seed: int = 0
    """Seed of the adapter, the order of the pairs, and dropout."""
    report_to: str = "none"
    """Where to report as well: tensorboard, wandb, or whatever transformers knows, with commas."""
    set: tuple[str, ...] = ()
    """Any field of TRL's DPOConfig or GRPOConfig, as max_grad_norm=0.5, or of PEFT's LoraConfig, as lora.bias=all."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "rank", "alpha", "device_batch", "save_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name.replace('_', '-')} {getattr(self, name)}: 1 or more are needed")
        for name in ("learning_rate", "beta"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(f"{name.replace('_', '-')} {getattr(self, name)} is not a number above 0")
        if not 0 <= self.sft < float("inf"):
            raise InputError(f"sft {self.sft} is not a number from 0 up")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout {self.dropout} is outside [0, 1)")
        if self.max_tokens < 2 or self.dev < 0 or self.warmup < 0:
            raise InputError(f"max-tokens {self.max_tokens}, dev {self.dev}, warmup {self.warmup}: too small")


@dataclass(frozen=True)
class GrpoConfig:
    """What `align --objective grpo` is told besides. Defaults are those of MAPO's code for PPO, and of TRL.

    Raises:
        InputError: for a value out of range, naming it.
    """

    group: int = 8
    """Responses to one prompt that are held against each other (TRL). A batch holds whole groups."""
    temperature: float = 1.0
    """Of the sampling (MAPO's code)."""
    max_new_tokens: int = 512
    """Tokens of a response, at most (MAPO's code)."""

    def __post_init__(self) -> None:
        if self.group < 2:
            raise InputError(f"group {self.group}: 2 responses or more are needed, to hold one against another")
        if not 0 < self.temperature < float("inf"):
            raise InputError(f"temperature {self.temperature} is not a number above 0")
        if self.max_new_tokens < 1:
            raise InputError(f"max-new-tokens {self.max_new_tokens}: 1 or more are needed")


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
        InputError: for a batch that cannot be shared out, or a field that is no field or not to be set.
    """
    if grpo and config.batch % grpo.group:
        raise InputError(f"a batch of {config.batch} responses holds no whole groups of {grpo.group}; change --batch")
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
        "logging_steps": next(n for n in range(min(10, config.save_every), 0, -1) if config.save_every % n == 0),
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
        "target_modules": config.targets if config.targets == "all-linear" else config.targets.split(","),
        "task_type": "CAUSAL_LM",
    }
    for given in config.set:
        name, _, value = given.partition("=")
        if not value or name in _OURS:
            raise InputError(f"--set {given}: {'no value is given' if not value else 'langneurons sets that itself'}")
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
        raise InputError(f"--set: {kind.__name__} has no field {unknown[0]}{f'; {near[0]} is meant?' if near else ''}")
    try:
        return kind(**values)
    except ImportError as error:
        raise MissingExtraError(f"{error}") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"{kind.__name__} does not take these settings: {error}") from error
