"""Align: train a LoRA adapter, on preference pairs by DPO. TRL and PEFT do the training, accelerate spreads it.

The objective of DPO is the paper's Eq. 1 to 3: -log sigmoid(A - B), where A and B are beta times
how much likelier the chosen and the rejected response have become under the adapted model than
under the base.
"""

import ctypes
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from langneurons import nano, quiet
from langneurons.align.pairs import Pair
from langneurons.align.recipe import built, settings
from langneurons.config import AlignConfig
from langneurons.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Progress = Callable[[int, int], None]
"""Called with (steps done, steps to do)."""

ADAPTER = ("adapter_model.safetensors", "adapter_config.json")
"""Files of an adapter."""


class Aligned(NamedTuple):
    """What a training gives.

    Attributes:
        checkpoints: folders with an adapter each, by step; the last is the result.
        history: what was logged, in order: `step`, `loss`, `rewards/margins`, ... and `eval_...` of
            the dev pairs.
        facts: pairs used and left out, and how many weights were trained.
    """

    checkpoints: dict[int, Path]
    history: list[dict[str, Any]]
    facts: dict[str, Any]


def align(
    model: Any,
    tokenizer: "PreTrainedTokenizerBase",
    train: Sequence[Pair],
    dev: Sequence[Pair],
    config: AlignConfig,
    folder: Path,
    *,
    processes: int = 1,
    on_step: Progress | None = None,
) -> Aligned:
    """Train an adapter on a model, from the last whole checkpoint in the folder if there is one.

    Args:
        model: a causal language model without an adapter; it is changed.
        tokenizer: its tokenizer. Prompts are plain text, so that no chat template is needed; a
            missing padding token is the end token.
        train: pairs to train on.
        dev: pairs to watch the loss of, at every checkpoint.
        config: settings.
        folder: where checkpoints go while training. It is the caller's to remove.
        processes: how many processes train together.
        on_step: told of the progress.

    Raises:
        InputError: for a model that is an adapter already or has no layer of a name in
            `config.targets`, a tokenizer without an end token, pairs that are all too long, a batch
            that cannot be shared out, a field in `config.set` that TRL and PEFT do not know.
        MissingExtraError: when TRL, PEFT or what is reported to is not installed.
    """
    check(model, tokenizer, config, processes)
    from trl import DPOConfig, DPOTrainer

    kept, long = _fitting(tokenizer, train, config)
    if not kept:
        raise InputError(
            f"all {len(train)} pairs are longer than {config.max_tokens} tokens; raise --max-tokens"
        )
    fitting = _fitting(tokenizer, dev, config)[0]
    number = min(config.dev, len(fitting))
    watched = [fitting[i * len(fitting) // number] for i in range(number)]  # of every language
    dtype, on_cpu = str(model.dtype), is_on_cpu(model)
    arguments, lora = settings(config, folder, dtype, processes, on_cpu=on_cpu, watch=bool(watched))
    given = {
        name: _dataset(tokenizer, part)
        for name, part in (("train_dataset", kept), ("eval_dataset", watched))
        if part
    }
    facts = {
        "pairs": dict(Counter(pair.lang for pair in kept)),
        "too long": dict(Counter(pair.lang for pair in long)),
        "dev pairs": len(watched),
    }
    return trained(
        DPOTrainer, DPOConfig, arguments, lora, model, tokenizer, folder, given, facts, on_step
    )


def trained(
    kind: Any,
    config: Any,
    arguments: dict[str, Any],
    lora: dict[str, Any],
    model: Any,
    tokenizer: "PreTrainedTokenizerBase",
    folder: Path,
    given: dict[str, Any],
    facts: dict[str, Any],
    on_step: Progress | None,
) -> Aligned:
    """What a trainer of TRL gives, from the last whole checkpoint in the folder if there is one.

    Args:
        kind: the trainer's class.
        config: the class of its settings.
        arguments: its settings.
        lora: fields of LoraConfig.
        model: the model.
        tokenizer: its tokenizer.
        folder: where checkpoints go.
        given: what else the trainer takes.
        facts: what is known already; the number of weights trained is added.
        on_step: told of the progress.
    """
    from peft import LoraConfig
    from transformers import PrinterCallback

    _without_dropout(model)
    if is_on_cpu(model):
        _keep_freed_memory()
    with quiet.libraries("transformers", "datasets"):
        trainer = kind(
            model=model,
            args=built(config, arguments),
            processing_class=tokenizer,
            peft_config=built(LoraConfig, lora),
            **given,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_steps(on_step))
        weights = sum(p.numel() for p in model.parameters() if p.requires_grad)
        trainer.train(resume_from_checkpoint=_last(folder))
    history = [_told(entry) for entry in trainer.state.log_history if "train_runtime" not in entry]
    return Aligned(_checkpoints(folder), history, facts | {"weights trained": weights})


def is_on_cpu(model: Any) -> bool:
    """Whether a model runs on the CPU."""
    return model.get_input_embeddings().weight.device.type == "cpu"


def adapter_files(folder: Path, base: str) -> dict[str, bytes]:
    """Name and content of an adapter's files in a checkpoint, the same for the same adapter.

    Args:
        folder: the checkpoint.
        base: the model that is adapted, as its config is to name it; a folder here is named in
            full, `nano` is nano.
    """
    weights, config = (folder / name for name in ADAPTER)
    settings = json.loads(config.read_text("utf-8"))
    here = Path(base).is_dir() and base != nano.NAME
    settings["base_model_name_or_path"] = str(Path(base).resolve()) if here else base
    if isinstance(settings["target_modules"], list):
        settings["target_modules"].sort()  # PEFT writes a set, in any order
    return {
        weights.name: weights.read_bytes(),
        config.name: json.dumps(settings, indent=2, sort_keys=True).encode(),
    }


def check(
    model: Any, tokenizer: "PreTrainedTokenizerBase", config: AlignConfig, processes: int
) -> None:
    """Refuse what cannot be trained.

    Raises:
        InputError: see `align`.
        MissingExtraError: see `align`.
    """
    try:
        with quiet.libraries("transformers"):
            import peft
            import trl
    except ImportError as error:
        raise MissingExtraError(
            f"align needs TRL and PEFT ({error}); pip install 'langneurons[align]'"
        ) from error
    from transformers.integrations import get_available_reporting_integrations

    if hasattr(model, "peft_config"):
        raise InputError(
            "the model is an adapter already; give its base, or merge the adapter into it and save that"
        )
    if tokenizer.eos_token is None:
        raise InputError(
            "the tokenizer has no end token, so that responses would never end; set eos_token in it"
        )
    devices, spread = torch.cuda.device_count(), getattr(model, "hf_device_map", None)
    if model.device.type == "cuda" and devices > 1 and processes == 1 and not spread:
        raise InputError(
            f"{devices} GPUs are visible and one process runs; start it with torchrun or accelerate launch, "
            "or show one with CUDA_VISIBLE_DEVICES=0"
        )
    known = ["none", "all", *get_available_reporting_integrations()]
    if unknown := [name for name in config.report_to.split(",") if name not in known]:
        raise MissingExtraError(
            f"cannot report to {unknown[0]}: it is not installed; there are {', '.join(known)}"
        )
    if config.targets == "all-linear":
        return
    there = {name.rpartition(".")[2] for name, module in model.named_modules() if _linear(module)}
    if missing := [name for name in config.targets.split(",") if name not in there]:
        raise InputError(
            f"the model has no layer called {', '.join(missing)}; its linear layers are {', '.join(sorted(there))}. "
            "Choose with --targets, or take all-linear"
        )


def _without_dropout(model: Any) -> None:
    """Turn the base's own dropout off, as a module or as a number that its modules hold."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def _keep_freed_memory() -> None:
    """Tell glibc to keep large blocks that are freed, for as long as the process lives.

    By default it gives them back to the system, which hands them out again page by page, cleared:
    on a CPU that took more than half of a step.
    """
    trim_threshold, mmap_max = -1, -4  # of malloc.h
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(mmap_max, 0)


def _linear(module: Any) -> bool:
    return type(module).__name__ in ("Linear", "Conv1D", "Linear4bit", "Linear8bitLt")


def _fitting(
    tokenizer: "PreTrainedTokenizerBase", pairs: Sequence[Pair], config: AlignConfig
) -> tuple[list[Pair], list[Pair]]:
    """Pairs that are within the limit on tokens, and those that are not. Nothing is ever cut."""
    parts: tuple[list[Pair], list[Pair]] = ([], [])
    for pair in pairs:
        ids = tokenizer([pair.prompt + pair.chosen, pair.prompt + pair.rejected], verbose=False)[
            "input_ids"
        ]
        parts[max(map(len, ids)) + 1 > config.max_tokens].append(pair)
    return parts


def _dataset(tokenizer: "PreTrainedTokenizerBase", pairs: Sequence[Pair]) -> Any:
    from datasets import Dataset

    rows = [
        apart(tokenizer, begun(tokenizer, pair.prompt), (pair.chosen, pair.rejected))
        for pair in pairs
    ]
    return Dataset.from_list(
        [{"prompt": prompt, "chosen": one, "rejected": two} for prompt, (one, two) in rows]
    )


def apart(
    tokenizer: "PreTrainedTokenizerBase", prompt: str, said: tuple[str, ...]
) -> tuple[str, tuple[str, ...]]:
    """Prompt and responses such that no token is in both.

    Where one would be, the end of the prompt that is in it goes to every response: as in `tokens`,
    such a token counts as the response's.
    """
    while prompt:
        texts = [prompt, *(prompt + one for one in said)]
        alone, *whole = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        if all(ids[: len(alone)] == alone for ids in whole):
            break
        prompt, said = prompt[:-1], tuple(prompt[-1] + one for one in said)
    return prompt, said


def begun(tokenizer: "PreTrainedTokenizerBase", prompt: str) -> str:
    """A prompt without the beginning token that it spells, as chat templates do, where the tokenizer puts it there."""
    mark = tokenizer.bos_token
    if not mark or not prompt.startswith(mark):
        return prompt
    rest = prompt.removeprefix(mark)
    once, twice = tokenizer([rest, prompt], verbose=False)["input_ids"]
    return rest if twice == [tokenizer.bos_token_id, *once] else prompt


def _steps(on_step: Progress | None) -> Any:
    """What tells of every step."""
    from transformers import TrainerCallback

    class Steps(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if on_step:
                on_step(state.global_step, state.max_steps)

    return Steps()


def _checkpoints(folder: Path) -> dict[int, Path]:
    """Whole checkpoints by step: those whose state, which is written last, can be read."""
    found = {}
    for path in folder.glob("checkpoint-*"):
        try:
            step = json.loads((path / "trainer_state.json").read_text("utf-8"))["global_step"]
        except (OSError, ValueError, KeyError):
            continue
        found[int(step)] = path
    return dict(sorted(found.items()))


def _last(folder: Path) -> str | None:
    return str(list(found.values())[-1]) if (found := _checkpoints(folder)) else None


def _told(entry: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a line of the log: neither times nor what a resumed training counts from anew."""
    return {
        key: value
        for key, value in entry.items()
        if not re.search(r"runtime|per_second|step_time|num_tokens|flos", key)
    }
