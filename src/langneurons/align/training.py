"""Training: what both objectives share. TRL and PEFT train, accelerate spreads the work."""

import copy
import ctypes
import json
import re
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from langneurons import nano, quiet
from langneurons.align.adapter import Adapter, adapter_files
from langneurons.align.only import Only
from langneurons.align.recipe import Place, built, lora_fields
from langneurons.config import AlignConfig
from langneurons.errors import InputError, LangneuronsError, MissingExtraError
from langneurons.model.loading import in_full, with_adapter
from langneurons.model.sites import decoder_path
from langneurons.resume import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from langneurons.model.loading import Loaded


class Trained(NamedTuple):
    """What a training gives.

    Attributes:
        adapter: its checkpoints, in the folder where it trained, and its log.
        facts: texts used and left out, and how many weights were trained.
    """

    adapter: Adapter
    facts: dict[str, Any]


class Objective(NamedTuple):
    """What a trainer of TRL is made of.

    Attributes:
        trainer: its class.
        config: the class of its settings.
        fields: its settings.
        data: what else it takes: the texts, what gives rewards.
    """

    trainer: Any
    config: Any
    fields: dict[str, Any]
    data: dict[str, Any]


def place_of(model: "Loaded", folder: Path, processes: int) -> Place:
    """Where a training of this model runs."""
    return Place(folder, str(model.model.dtype), model.device.type == "cpu", processes)


def check(model: "Loaded", config: AlignConfig, processes: int, alone: Only | None = None) -> None:
    """Refuse what cannot be trained.

    Raises:
        InputError: for a model that is an adapter already or has no layer of a name in
            `config.targets`, a tokenizer without an end token, several devices and one process.
        MissingExtraError: when TRL, PEFT or what is reported to is not installed.
    """
    try:
        with quiet.libraries("transformers"):
            import peft  # noqa: F401
            import trl  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"align needs TRL and PEFT ({error}); pip install 'langneurons[align]'"
        ) from error
    if hasattr(model.model, "peft_config"):
        raise InputError(
            "the model is an adapter already; give its base, or merge the adapter into it and "
            "save that"
        )
    if model.tokenizer.eos_token is None:
        raise InputError(
            "the tokenizer has no end token, so that responses would never end; set eos_token in it"
        )
    padding = model.tokenizer.pad_token_id
    marks = [model.tokenizer.eos_token_id, *model.tokenizer("")["input_ids"]]
    model.require_rows([marks if padding is None else [padding, *marks]])
    _check_devices(model.model, processes)
    _check_reporting(config)
    if not alone:
        _check_targets(model.model, config)


def _check_devices(model: Any, processes: int) -> None:
    devices, spread = torch.cuda.device_count(), getattr(model, "hf_device_map", None)
    if model.device.type == "cuda" and devices > 1 and processes == 1 and not spread:
        raise InputError(
            f"{devices} GPUs are visible and one process runs; start it with torchrun or "
            "accelerate launch, or show one with CUDA_VISIBLE_DEVICES=0"
        )


def _check_reporting(config: AlignConfig) -> None:
    from transformers.integrations import get_available_reporting_integrations

    known = ["none", "all", *get_available_reporting_integrations()]
    if unknown := [name for name in config.report_to.split(",") if name not in known]:
        raise MissingExtraError(
            f"cannot report to {unknown[0]}: it is not installed; there are {', '.join(known)}"
        )


def _check_targets(model: Any, config: AlignConfig) -> None:
    if config.targets == "all-linear":
        return
    layers = {name.rpartition(".")[2] for name, module in model.named_modules() if _linear(module)}
    if missing := [name for name in config.targets.split(",") if name not in layers]:
        raise InputError(
            f"the model has no layer called {', '.join(missing)}; its linear layers are "
            f"{', '.join(sorted(layers))}. Choose with --targets, or take all-linear"
        )


def _beside_the_decoder(model: Any) -> dict[str, list[str]]:
    """Linear layers that no adapter is for: of towers for images, beside the decoder."""
    path, head = decoder_path(model), model.get_output_embeddings()
    beside = [
        name
        for name, module in model.named_modules()
        if _linear(module) and module is not head and path and not name.startswith(f"{path}.")
    ]
    return {"exclude_modules": beside} if beside else {}


def _linear(module: Any) -> bool:
    return type(module).__name__ in ("Linear", "Conv1D", "Linear4bit", "Linear8bitLt")


def trained(
    model: "Loaded",
    objective: Objective,
    config: AlignConfig,
    place: Place,
    facts: Mapping[str, Any],
    on_step: Progress | None,
    alone: Only | None = None,
) -> Trained:
    """What a trainer of TRL gives, from the last whole checkpoint in the folder if there is one.

    Args:
        model: the model; it is changed.
        objective: what the trainer is made of.
        config: settings.
        place: where it runs.
        facts: what is known already; the number of weights trained is added.
        on_step: told of the progress.
        alone: what alone is trained; None: what `config` says.

    Raises:
        InputError: for a field in `config.set` that TRL and PEFT do not know.
    """
    from peft import LoraConfig
    from transformers import PrinterCallback

    _without_dropout(model.model)
    if place.on_cpu:
        _keep_freed_memory()
    with quiet.libraries("transformers", "datasets"):
        args = built(objective.config, objective.fields)
        lora = built(LoraConfig, _beside_the_decoder(model.model) | lora_fields(config, alone))
        with _blaming_settings(config):
            trainer = objective.trainer(
                model=model.model,
                args=args,
                processing_class=model.tokenizer,
                peft_config=lora,
                **objective.data,
            )
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_steps(on_step))
        if alone:
            alone.restrict(trainer.model)
            facts = {**facts, "neurons trained": alone.number}
        weights = sum(p.numel() for p in model.model.parameters() if p.requires_grad)
        if not weights:
            raise InputError("with these settings no weight would be trained; see --set, --targets")
        _rehearse(trainer.model, config)
        checkpoints = list(_checkpoints(place.folder).values())
        with _blaming_settings(config):
            trainer.train(resume_from_checkpoint=str(checkpoints[-1]) if checkpoints else None)
    adapter = Adapter(
        checkpoints=_checkpoints(place.folder),
        history=_history(trainer.state.log_history),
        base=_name_of(model),
    )
    return Trained(adapter, {**facts, "weights trained": weights})


@contextmanager
def _blaming_settings(config: AlignConfig) -> Generator[None]:
    """Turn what TRL and PEFT stumble over inside this block into one line, where settings of theirs
    were given by hand.
    """
    try:
        yield
    except LangneuronsError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, NotImplementedError) as error:
        if not config.set:
            raise
        given = ", ".join(f"--set {setting}" for setting in config.set)
        said = " ".join(str(error).split())
        raise InputError(f"{given}: TRL and PEFT cannot train so: {said}") from error


def _rehearse(model: Any, config: AlignConfig) -> None:
    """Save an adapter before it is trained and load it again, on a base without weights.

    What cannot be loaded shows then, and not when training is done.

    Raises:
        InputError: when it cannot be loaded.
    """
    init = model.peft_config["default"].init_lora_weights
    if isinstance(init, str) and init.lower() != "gaussian":
        return  # computed from weights that are not there
    base = model.get_base_model()
    with TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        try:
            model.save_pretrained(folder)
            adapter_files(Path(folder))
            with torch.device("meta"):
                bare = type(base)(copy.deepcopy(base.config))
            with_adapter(bare, Path(folder))
        except Exception as error:  # whatever it is, it would come after the training as well
            given = ", ".join(f"--set {setting}" for setting in config.set) or "these settings"
            said = " ".join(str(error).replace(folder, "the adapter").split())
            raise InputError(
                f"with {given} the adapter could not be loaded after training: {said}"
            ) from error


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


def _steps(on_step: Progress | None) -> Any:
    """What tells of every step."""
    from transformers import TrainerCallback

    class Steps(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:  # noqa: ARG002
            if on_step:
                on_step(state.global_step, state.max_steps)

    return Steps()


def _checkpoints(folder: Path) -> dict[int, Path]:
    """Whole checkpoints by step: those whose state, which is written last, can be read."""
    whole = {}
    for path in folder.glob("checkpoint-*"):
        try:
            state = json.loads((path / "trainer_state.json").read_text("utf-8"))
            whole[int(state["global_step"])] = path
        except (OSError, ValueError, KeyError):
            continue
    return dict(sorted(whole.items()))


def _history(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is kept of a log: neither times nor what a resumed training counts from anew."""
    passing = re.compile(r"runtime|per_second|step_time|num_tokens|flos")
    return [
        {name: value for name, value in line.items() if not passing.search(name)}
        for line in log
        if "train_runtime" not in line
    ]


def _name_of(model: "Loaded") -> str:
    """A base as its adapter's config is to name it: nano, an id, a folder or GGUF file in full."""
    if nano.folder(model.id):
        return model.id
    return in_full(str(model.model.name_or_path))


def begun(tokenizer: "PreTrainedTokenizerBase", prompt: str) -> str:
    """A prompt without the beginning token that it spells, where the tokenizer puts it itself.

    Chat templates spell it.
    """
    mark = tokenizer.bos_token
    if not mark or not prompt.startswith(mark):
        return prompt
    rest = prompt.removeprefix(mark)
    once, twice = tokenizer([rest, prompt], verbose=False)["input_ids"]
    return rest if twice == [tokenizer.bos_token_id, *once] else prompt
