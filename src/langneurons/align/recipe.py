"""Recipe: the settings of a training, as the configs of TRL and PEFT call them."""

import difflib
import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from langneurons.align.only import Only
from langneurons.config import AlignConfig, GrpoConfig
from langneurons.errors import InputError, MissingExtraError

_OURS = (
    "output_dir",
    "max_steps",
    "save_steps",
    "save_strategy",
    "save_total_limit",
    "save_only_model",
    "load_best_model_at_end",
    "resume_from_checkpoint",
)
"""Fields of TRL's configs that cannot be set: what is kept, and where, follows from them."""

_LORA = "lora."
"""What the fields of LoraConfig begin with in `AlignConfig.set`."""


class Place(NamedTuple):
    """Where a training runs.

    Attributes:
        folder: where checkpoints go.
        dtype: that of the model's weights, as torch writes it.
        on_cpu: whether it runs on the CPU.
        processes: how many processes train together.
    """

    folder: Path
    dtype: str
    on_cpu: bool
    processes: int = 1


def dpo_fields(config: AlignConfig, place: Place, *, watch: bool) -> dict[str, Any]:
    """Fields of DPOConfig, those in `config.set` last.

    Args:
        config: what was asked.
        place: where the training runs.
        watch: whether there are pairs to watch.

    Raises:
        InputError: for a batch that cannot be shared out, or a field that is not to be set.
    """
    size = _at_once(config, place.processes, "pairs")
    chosen = {
        **_common_fields(config, place, size),
        "max_length": config.max_tokens,
        "per_device_eval_batch_size": size,
        "eval_strategy": "steps" if watch else "no",
        "eval_steps": config.save_every,
    }
    if config.sft:
        chosen |= {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, config.sft]}
    return chosen | _set_by_hand(config, lora=False)


def grpo_fields(config: AlignConfig, sampling: GrpoConfig, place: Place) -> dict[str, Any]:
    """Fields of GRPOConfig, those in `config.set` last.

    Args:
        config: what was asked.
        sampling: what was asked of GRPO.
        place: where the training runs.

    Raises:
        InputError: for a batch that cannot be shared out, or a field that is not to be set.
    """
    if config.batch % sampling.group:
        raise InputError(
            f"a batch of {config.batch} responses holds no whole groups of {sampling.group}; "
            "change --batch"
        )
    size = _at_once(config, place.processes, "responses")
    chosen = {
        **_common_fields(config, place, size),
        "num_generations": sampling.group,
        "temperature": sampling.temperature,
        "max_completion_length": sampling.max_new_tokens,
    }
    return chosen | _set_by_hand(config, lora=False)


def lora_fields(config: AlignConfig, alone: Only | None = None) -> dict[str, Any]:
    """Fields of LoraConfig, those in `config.set` last.

    Args:
        config: what was asked.
        alone: the neurons whose weights alone are trained, which decide ranks and layers.

    Raises:
        InputError: for a field without a value, or one beside neurons.
    """
    if alone:
        if by_hand := _set_by_hand(config, lora=True):
            raise InputError(
                f"--set {_LORA}{next(iter(by_hand))}: which weights of the adapter are trained "
                "follows from the neurons"
            )
        return {"lora_dropout": config.dropout, "task_type": "CAUSAL_LM", **alone.lora_fields}
    every = config.targets == "all-linear"
    chosen = {
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": config.targets if every else config.targets.split(","),
        "task_type": "CAUSAL_LM",
    }
    return chosen | _set_by_hand(config, lora=True)


def _common_fields(config: AlignConfig, place: Place, size: int) -> dict[str, Any]:
    """Fields that both configs have; `size`: how many are in memory at once on a device."""
    return {
        "output_dir": str(place.folder),
        "max_steps": config.steps,
        "save_steps": config.save_every,
        "save_strategy": "steps",
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": config.batch // (size * place.processes),
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.schedule,
        "warmup_steps": min(config.warmup, config.steps // 10),
        "beta": config.beta,
        "disable_dropout": False,
        "bf16": place.dtype == "torch.bfloat16",
        "fp16": place.dtype == "torch.float16",
        "use_cpu": place.on_cpu,
        "activation_checkpointing": not place.on_cpu,
        "logging_first_step": True,
        "logging_steps": _log_every(config.save_every),
        "seed": config.seed,
        "report_to": config.report_to.split(","),
        "disable_tqdm": True,
        "dataloader_pin_memory": not place.on_cpu,
    }


def _at_once(config: AlignConfig, processes: int, what: str) -> int:
    """How many pairs, or responses, are in memory at once on a device.

    Raises:
        InputError: when a batch is no multiple of what all devices hold.
    """
    size = config.device_batch if config.batch >= config.device_batch * processes else 1
    if config.batch % (size * processes):
        raise InputError(
            f"a batch of {config.batch} {what} cannot be shared out evenly to {processes} "
            f"processes with {config.device_batch} at once; change --batch or --device-batch"
        )
    return size


def _log_every(save_every: int) -> int:
    """Steps between lines of the log: at most 10, and a checkpoint falls on one of them."""
    most = min(10, save_every)
    return next(steps for steps in range(most, 0, -1) if save_every % steps == 0)


def _set_by_hand(config: AlignConfig, *, lora: bool) -> dict[str, Any]:
    """The fields in `config.set`, with their values: those of LoraConfig, or the others.

    Raises:
        InputError: for any of them, of either sort, without a value or not to be set.
    """
    return {
        name.removeprefix(_LORA): value
        for name, value in _parsed(config)
        if name.startswith(_LORA) == lora
    }


def _parsed(config: AlignConfig) -> Iterator[tuple[str, Any]]:
    for given in config.set:
        name, _, value = given.partition("=")
        if not value:
            raise InputError(f"--set {given}: no value is given")
        if name in _OURS:
            raise InputError(f"--set {given}: langneurons sets that itself")
        try:
            yield name, json.loads(value)
        except ValueError:
            yield name, value


def built(kind: Any, values: dict[str, Any]) -> Any:
    """A config of TRL or PEFT.

    Raises:
        InputError: for a field it does not have, naming the nearest, or a value it does not take.
        MissingExtraError: when a value asks for a library that is not installed.
    """
    known = [field.name for field in fields(kind)]
    if unknown := [name for name in values if name not in known]:
        near = difflib.get_close_matches(unknown[0], known, 1)
        meant = f"; {near[0]} is meant?" if near else ""
        raise InputError(f"--set: {kind.__name__} has no field {unknown[0]}{meant}")
    hints = get_type_hints(kind)
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise InputError(
                f"--set: {kind.__name__} takes {_named(hints[name])} for {name}, not {value!r}"
            )
    try:
        return kind(**values)
    except ImportError as error:
        raise MissingExtraError(f"{error}") from error
    except (TypeError, ValueError) as error:
        said = " ".join(str(error).split())
        raise InputError(f"{kind.__name__} does not take these settings: {said}") from error


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the type that a field is annotated with, as far as that can be told.

    A single text passes for a list of them, as TRL takes it.
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, arg) for arg in args)
    if origin is Literal:
        return any(isinstance(value, type(arg)) for arg in args)  # more than those may be known
    if hint is type(None):
        return value is None
    if hint is bool:
        return isinstance(value, bool)
    if hint in (int, float):
        numbers = (int,) if hint is int else (int, float)
        return isinstance(value, numbers) and not isinstance(value, bool)
    if hint is str:
        return isinstance(value, str)
    if (origin or hint) in (list, set, tuple):
        if isinstance(value, str):
            return str in args
        some = args[:1] if Ellipsis not in args else ()
        return isinstance(value, list) and all(_fits(each, *some) for each in value if some)
    if (origin or hint) is dict:
        return isinstance(value, dict)
    return True


def _named(hint: Any) -> str:
    """The name of a type, in short."""
    return str(getattr(hint, "__name__", hint) if not get_args(hint) else hint).replace(
        "typing.", ""
    )
