"""Loading: a causal language model and its tokenizer, ready to run.

From the Hugging Face Hub, a folder, a PEFT adapter folder, a GGUF file, or from memory.
"""

import hashlib
import json
import logging
import math
import re
import sys
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from langneurons import artifacts, gemma, nano, quiet
from langneurons.errors import (
    InputError,
    LangneuronsError,
    MissingExtraError,
    ModelError,
    SiteError,
    first_line,
)
from langneurons.layout import Widths, describe
from langneurons.model.experts import Experts
from langneurons.model.forward import context, device_of
from langneurons.model.sites import Site, find_sites
from langneurons.model.tokens import continuation, prompt_ids
from langneurons.resume import processes

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from langneurons.model.gguf_file import Reader

DTYPES = ("float32", "bfloat16", "float16")
"""Types a model can be loaded in; counts are the same for every batching only in float32."""

_WHOLE = 1 << 20  # weights of a tensor up to which its fingerprint covers all of them
_SAMPLE = 1 << 16


@dataclass(frozen=True, eq=False, repr=False)
class Loaded:
    """A model that is ready to run and its tokenizer: what every stage takes.

    It is in eval mode, without gradients.

    Attributes:
        model: the model; for an adapter folder a PeftModel around its base, so that
            `disable_adapter()` gives the base.
        tokenizer: its tokenizer, that of the adapter folder if there is one.
        id: the name it was asked for by.
        revision: commit of the Hub's repository (that of the base for an adapter); None for a
            folder.
        file: SHA-256 of the GGUF file it comes from (that of the base for an adapter); None without
            one.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    id: str
    revision: str | None = None
    file: str | None = None

    def __repr__(self) -> str:
        try:
            neurons = f"{describe(self.widths)} neurons"
        except SiteError:
            neurons = "no neurons that can be read"
        dtype = str(self.model.dtype).removeprefix("torch.")
        return f"<{self.id}: {type(self.model).__name__}, {neurons}, {dtype} on {self.device}>"

    @cached_property
    def fingerprint(self) -> str:
        """Which weights these are, as they were when it was first asked for; see `fingerprint`."""
        return fingerprint(self.model, self.file)

    @cached_property
    def inputs(self) -> dict[str, str]:
        """Digests of all that a result depends on when it was made with this model, by name.

        As they were when they were first asked for: `model`, its weights (see `fingerprint`);
        `tokenizer`, what that does with a text; `config`, the model's and its adapter's; `special
        tokens`, and how a text ends; `chat template`, where there is one.
        """
        digests = {
            "model": self.fingerprint,
            "tokenizer": tokenizer_digest(self.tokenizer),
            "config": config_digest(self.model),
            "special tokens": _special_tokens_digest(self.model, self.tokenizer),
        }
        if template := getattr(self.tokenizer, "chat_template", None):
            digests["chat template"] = _digest(template)
        return digests

    @property
    def ends(self) -> list[int]:
        """Ids of the tokens that end a text, as generation config and tokenizer say, rising.

        Those that no token has, as -1 in place of none, end nothing.
        """
        said = getattr(self.model.generation_config, "eos_token_id", None)
        ends = {self.tokenizer.eos_token_id, *(said if isinstance(said, list) else [said])}
        return sorted(token for token in ends if token is not None and 0 <= token <= self.last_id)

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where its activations are read and silenced, one per layer; see `sites.find_sites`."""
        return find_sites(self.model)

    @property
    def widths(self) -> Widths:
        """Shape of each layer's neurons."""
        return tuple(site.shape for site in self.sites)

    @property
    def device(self) -> torch.device:
        """Where it takes its input."""
        return device_of(self.model)

    def budget(self, asked: int = 0) -> int:
        """Tokens of a batch where so many were asked for; 0 leaves it to us."""
        return asked or (1024 if self.device.type == "cpu" else 16384)

    @property
    def context(self) -> int | None:
        """How many tokens it can read at once; None where its config says nothing."""
        return context(self.model)

    @property
    def rows(self) -> int:
        """How many ids its embedding has a row for; often more than there are."""
        embedding: Any = self.model.get_input_embeddings()
        return int(embedding.weight.shape[0])

    @property
    def last_id(self) -> int:
        """The highest id that its tokenizer has."""
        return max(self.tokenizer.get_vocab().values())

    def require_rows(self, texts: Iterable[Sequence[int] | NDArray[np.integer]]) -> None:
        """Stop at an id that the embedding has no row for; the model would fail, or read nonsense.

        Args:
            texts: ids that the model is to read.

        Raises:
            ModelError: naming the first such id.
        """
        rows = self.rows
        for ids in texts:
            if len(ids) and (highest := int(np.max(ids))) >= rows:
                token = self.tokenizer.convert_ids_to_tokens(highest)
                raise ModelError(
                    f"{self.id}: the tokenizer has ids up to {self.last_id}, the embedding {rows} "
                    f"rows, and {token!r} (id {highest}) is to be read; resize the embedding and "
                    "train it, or take the tokenizer that the model was trained with"
                )

    @property
    def facts(self) -> dict[str, str | None]:
        """What a result says of the model it was made with."""
        facts = {
            "id": self.id,
            "revision": self.revision,
            "fingerprint": self.fingerprint,
            "class": type(self.model).__name__,
            "device": str(self.device),
        }
        if self.file is not None:
            facts["file"] = self.file
        if whole := not_quantised(self.model):
            facts["not quantised"] = whole
        return facts

    @torch.inference_mode()
    def generate(self, prompt: str, *, max_new_tokens: int = 64, **settings: Any) -> str:
        """What the model writes after a prompt, each token the likeliest unless told otherwise.

        For many prompts, seeds and silenced neurons, use `sample`, whose texts do not depend on
        what runs beside them.

        Args:
            prompt: what it goes on from.
            max_new_tokens: how many tokens it may write.
            **settings: what else `generate` of transformers takes, such as `do_sample=True`,
                `temperature=0.7`.

        Returns:
            The new text alone, without special tokens.

        Raises:
            InputError: when the prompt has no tokens, or leaves no room in the model's context.
        """
        [ids] = prompt_ids(self.tokenizer, [prompt])
        if not ids:
            raise InputError("an empty prompt has no token to go on from")
        self.require_rows([ids])
        if self.context is not None and len(ids) >= self.context:
            raise InputError(
                f"a prompt of {len(ids):,} tokens leaves no room in {self.id}'s context of "
                f"{self.context:,}"
            )
        given = torch.tensor([ids], device=self.device)
        both = self.model.generate(  # ty: ignore[not-callable]
            input_ids=given,
            attention_mask=torch.ones_like(given),
            **{"do_sample": False, "max_new_tokens": max_new_tokens, **settings},
        )
        return continuation(self.tokenizer, ids, both[0, len(ids) :].tolist())


def around(model: Any, tokenizer: Any, *, name: str | None = None) -> Loaded:
    """A model that is in memory already, made ready to run: in eval mode, without gradients.

    Args:
        model: a causal language model of transformers, or a PeftModel around one.
        tokenizer: its fast tokenizer.
        name: what to call it; default its class.
    """
    model.eval().requires_grad_(False)
    return Loaded(model, tokenizer, type(model).__name__ if name is None else name)


def load(
    name: str | Path,
    *,
    dtype: str = "auto",
    device: str = "auto",
    device_map: str | None = None,
    revision: str | None = None,
    seq2seq: bool | None = False,
) -> Loaded:
    """Load a causal language model, or a translation model.

    Args:
        name: a folder, a PEFT adapter folder (its base is loaded with it), a GGUF file, or an id on
            the Hugging Face Hub. The weights of a GGUF file are unpacked, whatever they are
            quantised to.
        dtype: `float32`, `bfloat16` or `float16`; `auto` is float32 on the CPU, where it is fast
            and exact, and bfloat16 elsewhere. A model with quantised weights (8-bit, 4-bit) stays
            as it was saved.
        device: `cpu`, `cuda`, `cuda:1`, `mps`; `auto` is the first there is of cuda, mps, cpu.
        device_map: where accelerate puts the layers of a model that does not fit on one device:
            `auto`, `balanced`.
        revision: branch, tag or commit on the Hub.
        seq2seq: whether an encoder with a decoder is wanted (a translation model) and nothing else
            will do; None: either.

    Raises:
        ModelError: in one line, for a folder that is not there or holds no model, no tokenizer or
            damaged weights, a GGUF file that is damaged or one part of several, an architecture
            that transformers does not know or that is no causal language model, an id that cannot
            be fetched, a device or type that is not there, another type than quantised weights were
            saved with.
        MissingExtraError: when peft is needed for an adapter, accelerate for a device map, or gguf
            for a GGUF file.
    """
    place = _device_named(device)
    if dtype not in ("auto", *DTYPES):
        raise ModelError(
            f"{dtype!r} is no type to load a model in; the types are auto, {', '.join(DTYPES)}"
        )
    adapter, base = _places(name, translator=seq2seq is not False)
    with quiet.libraries("transformers"), _source(base, revision) as source:
        model = _model(source, dtype, place, device_map, seq2seq)
        if adapter is not None:
            model = with_adapter(model, adapter)
        tokenizer = _tokenizer(source, adapter)
    model.eval().requires_grad_(False)
    commit = getattr(model.config, "_commit_hash", None)
    loaded = Loaded(
        model,
        tokenizer,
        str(name),
        revision=commit or source.revision,
        file=artifacts.file_digest(Path(base)) if source.reader else None,
    )
    loaded.inputs  # noqa: B018 - taken now, before anybody trains it
    if (whole := not_quantised(model)) and processes()[0] == 0:
        print(f"{name}: not quantised: {whole}", file=sys.stderr, flush=True)
    return loaded


def load_tokenizer(name: str | Path, revision: str | None = None) -> "PreTrainedTokenizerBase":
    """The tokenizer alone of what `load` would load; a folder may hold nothing else.

    Raises:
        ModelError: as `load`.
    """
    adapter, base = _places(name)
    if (Path(base) / "tokenizer_config.json").is_file():
        with quiet.libraries("transformers"):
            return _tokenizer(_Source(base, None, base, {"trust_remote_code": False}), adapter)
    with quiet.libraries("transformers"), _source(base, revision) as source:
        return _tokenizer(source, adapter)


def in_full(name: str) -> str:
    """A model's name; a folder's or file's in full, so that it is found from anywhere."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def base_of(name: str | Path) -> str | None:
    """What a PEFT adapter folder adapts: a folder, a GGUF file, `nano`, or an id on the Hub.

    None for what is no adapter folder.

    Raises:
        ModelError: when the adapter does not say, or names a folder that is no model.
    """
    adapter = Path(name).expanduser()
    if not (adapter / "adapter_config.json").is_file():
        return None
    try:
        settings = artifacts.parsed((adapter / "adapter_config.json").read_bytes())
        base = settings["base_model_name_or_path"]
        beside = adapter / base
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{adapter}/adapter_config.json does not say what model it adapts"
        ) from error
    kind = str(settings.get("peft_type"))
    if kind in _NOT_OF_WEIGHTS:
        raise ModelError(
            f"{adapter} is an adapter of {kind.lower().replace('_', ' ')}, which "
            f"{_NOT_OF_WEIGHTS[kind]}; use an adapter that changes weights, such as LoRA"
        )
    if nano.folder(base) or base == gemma.NAME:
        return base
    adapted = str(beside if beside.exists() else base)
    try:
        _require_model(adapted)
    except ModelError as error:
        raise ModelError(
            f"{adapter} adapts {error}; correct base_model_name_or_path in its config"
        ) from error
    return adapted


def fingerprint(model: nn.Module, file: str | None = None) -> str:
    """SHA-256 over all that is saved of a model: name, shape, type and values.

    Saved are parameters, adapters by their names, buffers and the scales of quantised weights; of
    tied weights, one. It does not depend on the device. A tensor of up to 2**20 weights is covered
    whole; of a larger one 65,536 weights in equal steps, which share no factor with the last
    dimension, so that they fall into all columns alike.

    Args:
        model: the model.
        file: SHA-256 of the GGUF file it comes from, which goes into it and covers them all.

    Raises:
        ModelError: when weights were moved out of memory (a device map that offloads).
    """
    digest = hashlib.sha256((file or "").encode())
    unique = {name for name, _ in model.named_parameters()}
    tied = {name for name, _ in model.named_parameters(remove_duplicate=False)} - unique
    for name, tensor in sorted(model.state_dict().items()):
        if name in tied or not isinstance(tensor, torch.Tensor):
            continue
        if tensor.is_meta:
            raise ModelError(
                f"{name} was offloaded for want of memory; use a smaller dtype, or more or larger "
                "devices"
            )
        values = tensor.detach().reshape(-1)
        if len(values) > _WHOLE:
            step = len(values) // _SAMPLE
            while math.gcd(step, tensor.shape[-1]) > 1:
                step -= 1
            values = values[::step][:_SAMPLE]
        digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(values.contiguous().view(torch.uint8).cpu().numpy().tobytes())
    return digest.hexdigest()


def tokenizer_digest(tokenizer: "PreTrainedTokenizerBase") -> str:
    """SHA-256 of all a fast tokenizer does: vocabulary, merges, normalisation, special tokens.

    Of one that is not fast, as some translation models have, of its vocabulary.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    text = backend.to_str() if backend else json.dumps(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(text.encode()).hexdigest()


_VIRTUAL = "puts learned tokens before every text, so that counts would be of another text"
_NOT_OF_WEIGHTS = {
    "PREFIX_TUNING": _VIRTUAL,
    "PROMPT_TUNING": _VIRTUAL,
    "P_TUNING": _VIRTUAL,
    "MULTITASK_PROMPT_TUNING": _VIRTUAL,
    "CPT": _VIRTUAL,
    "CARTRIDGE": _VIRTUAL,
    "POLY": "must be told a task with every text",
    "SHADOW": "gives layers something else than activations",
    "XLORA": "runs the model twice for every text",
}
"""Kinds of adapters, as PEFT calls them, that cannot be measured, and why."""

_WITHOUT_EFFECT = {
    "_name_or_path",
    "architectures",
    "dtype",  # that of the weights counts, and stands in the settings
    "torch_dtype",
    "transformers_version",
    "use_cache",
    "return_dict",
    "output_attentions",
    "output_hidden_states",
    "initializer_range",
    "problem_type",
    "id2label",
    "label2id",
}
"""What a model's config says and no number depends on."""

_OF_ADAPTERS_WITHOUT_EFFECT = {
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "peft_version",
    "revision",
    "task_type",
    "runtime_config",
}
"""The same of an adapter's."""


def config_digest(model: Any) -> str:
    """SHA-256 of all that a model's config, and its adapter's, say and a number may depend on."""
    said = {"config": _with_effect(model.config.to_diff_dict(), _WITHOUT_EFFECT)}
    for name, adapter in getattr(model, "peft_config", {}).items():
        said[f"adapter {name}"] = _with_effect(adapter.to_dict(), _OF_ADAPTERS_WITHOUT_EFFECT)
    return _digest(said)


def _with_effect(said: Any, without: Collection[str]) -> Any:
    """What a config says, also in parts of it, but for these names."""
    if not isinstance(said, Mapping):
        return said
    return {
        str(name): _with_effect(value, without)
        for name, value in said.items()
        if name not in without
    }


def _special_tokens_digest(model: Any, tokenizer: Any) -> str:
    """SHA-256 of the tokens that are no text, those put around one, and those that end one."""
    said = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    if isinstance(said, list):
        said = sorted(said, key=str)
    names = ("bos_token", "eos_token", "unk_token", "pad_token", "split_special_tokens")
    return _digest(
        {
            "ends": said,
            "named": {name: str(getattr(tokenizer, name, None)) for name in names},
            "all": sorted(getattr(tokenizer, "all_special_ids", ())),
            "around": tokenizer("")["input_ids"],
        }
    )


def _digest(said: Any) -> str:
    """SHA-256 of what can be written as JSON; sets are sorted, types and the like go by name."""

    def plain(value: Any) -> Any:
        return sorted(value, key=str) if isinstance(value, (set, frozenset)) else str(value)

    return hashlib.sha256(json.dumps(said, sort_keys=True, default=plain).encode()).hexdigest()


def _places(name: str | Path, *, translator: bool = False) -> tuple[Path | None, str]:
    """The adapter folder, if it is one, and the folder or id of the model itself."""
    own = nano.folder(str(name), translator=translator) or gemma.assembled(str(name))
    if own is not None:
        return None, str(own)
    base = base_of(name)
    if base is None:
        return None, str(Path(name).expanduser())
    return Path(name).expanduser(), str(nano.folder(base) or gemma.assembled(base) or base)


def _device_named(name: str) -> torch.device:
    """The device of that name; ModelError when there is none."""
    if name == "auto":
        name = "cpu"
        if torch.cuda.is_available():
            name = "cuda"
        elif torch.backends.mps.is_available():
            name = "mps"
        return torch.device(name)
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            f"device {name!r} cannot be used here ({first_line(error)}); try auto or cpu"
        ) from error


class _Source(NamedTuple):
    """Where transformers finds a model.

    Attributes:
        base: the id or folder, or GGUF file, as errors call it.
        settings: the file of its settings, as errors call it; None for an id.
        place: the id or folder that transformers is given.
        options: what else it is given.
        reader: what reads the GGUF file; None without one.
    """

    base: str
    settings: str | None
    place: str
    options: dict[str, Any]
    reader: "Reader | None" = None

    @property
    def revision(self) -> str | None:
        """Branch, tag or commit that was asked for."""
        return self.options.get("revision")


@contextmanager
def _source(base: str, revision: str | None) -> Generator[_Source]:
    """Where a model is, for as long as transformers loads of it.

    Raises:
        ModelError: for what is no model here, and cannot be an id on the Hub.
        MissingExtraError: for a GGUF file, when a library is missing that reads it.
    """
    options = {"trust_remote_code": False}
    local = _require_model(base)
    if not Path(base).is_file():
        settings = f"{base}/config.json" if local else None
        yield _Source(base, settings, base, options | {"revision": revision})
        return
    try:
        import accelerate  # noqa: F401 - transformers needs it for these files

        from langneurons.model import gguf_file
    except ImportError as error:
        raise MissingExtraError(
            f"{base} is a GGUF file, or should be, and {error.name} is missing to read it: "
            "pip install 'langneurons[gguf]'"
        ) from error
    path = Path(base).absolute()
    reader = gguf_file.opened(Path(base))
    # in a folder of its own no other file can be taken for the model's
    with TemporaryDirectory() as empty, gguf_file.reading(reader):
        yield _Source(
            base,
            settings=base,
            place=empty,
            options=options | {"gguf_file": str(path)},
            reader=reader,
        )


def _model(
    source: _Source, dtype: str, device: torch.device, device_map: str | None, seq2seq: bool | None
) -> Any:
    """The model of a Hub id, folder or GGUF file, on its device."""
    from transformers import AutoConfig

    base = source.base
    with _explained(base, source.settings):
        config = AutoConfig.from_pretrained(source.place, **source.options)
    _require_a_window(config, base)
    if seq2seq is None:
        seq2seq = bool(config.is_encoder_decoder)
    if config.is_encoder_decoder != seq2seq:
        kinds = ("an encoder with a decoder", "a causal language model")
        is_, needed = kinds if config.is_encoder_decoder else kinds[::-1]
        raise ModelError(f"{base} is {is_} ({config.model_type}); {needed} is needed")
    where: Any = device_map
    asked = dtype
    quantised = getattr(config, "quantization_config", None) is not None
    if quantised:
        where = device_map or {"": device}  # the weights are packed for the device they go to
        # warns at every 8-bit product
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    elif dtype == "auto":
        asked = "float32" if device.type == "cpu" else "bfloat16"
    auto = _auto_class(config, seq2seq=seq2seq)
    options = source.options | {"config": config, "dtype": asked, "device_map": where}
    options["ignore_mismatched_sizes"] = True  # they are told below, by name
    if source.reader:
        from transformers import GgufConfig

        options["quantization_config"] = GgufConfig(dequantize=True)
    with _explained(base, source.settings):
        model, info = auto.from_pretrained(source.place, output_loading_info=True, **options)
    if source.reader:
        from langneurons.model.gguf_file import made_plain

        made_plain(model, source.reader, Path(base).absolute())
    _require_whole(model, info, base)
    kept = str(model.dtype).removeprefix("torch.")
    if quantised and asked not in ("auto", kept):
        raise ModelError(
            f"{base} is quantised and stays in {kept}, as it was saved, not {asked}; "
            "leave the type to it"
        )
    return model if where is not None else model.to(device)


def _auto_class(config: Any, *, seq2seq: bool) -> Any:
    """What of transformers loads a model of this config.

    One that takes images too, and is known as nothing else, is loaded whole; only its decoder is
    read, as it runs on text alone.
    """
    import transformers

    if seq2seq:
        return transformers.AutoModelForSeq2SeqLM
    with_images = transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    if type(config) in with_images and type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        return transformers.AutoModelForImageTextToText
    return transformers.AutoModelForCausalLM


def _require_whole(model: Any, info: Mapping[str, Any], base: str) -> None:
    """Stop at weights that are missing or of another shape, and at end tokens that are none."""
    if misfits := sorted(info["mismatched_keys"]):
        weight, saved, asked_for = misfits[0]
        raise ModelError(
            f"{base}: the weights do not fit its config.json: {weight} is {list(saved)} as saved "
            f"and {list(asked_for)} as the config says"
        )
    _require_ends(model, base)
    if missing := sorted(info["missing_keys"]):
        raise ModelError(
            f"{base} has no weights for {missing[0]} and {len(missing) - 1} more: "
            "they would be random"
        )


def _require_a_window(config: Any, base: str) -> None:
    """Stop at a width of attention that is none: transformers takes it, and fails as it runs."""
    text = config.get_text_config()
    for name in ("sliding_window", "attention_chunk_size"):
        width = getattr(text, name, None)
        if width is not None and not (isinstance(width, int) and width >= 0):
            raise ModelError(f"{base}/config.json: {name} is {width!r}; a whole number is needed")


def _require_ends(model: Any, base: str) -> None:
    """Stop at end tokens that are none, of which transformers makes what it can."""
    path = Path(base) / "generation_config.json"
    if path.is_file():
        try:
            if not isinstance(json.loads(path.read_text("utf-8")), dict):
                raise ValueError("no object")
        except ValueError as error:
            raise ModelError(
                f"{path} is no JSON object ({first_line(error)}); save it anew"
            ) from error
    said = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    for token in said if isinstance(said, list) else [said]:
        if token is not None and type(token) is not int:
            raise ModelError(f"{path}: eos_token_id is {said!r}; ids are whole numbers")


def with_adapter(model: Any, adapter: Path) -> Any:
    """A model with the adapter in a folder around it.

    Raises:
        ModelError: for an adapter of another model, or one that cannot be loaded.
        MissingExtraError: when peft is not installed.
    """
    try:
        from peft import PeftModel, get_peft_model_state_dict
        from peft.utils import load_peft_weights
    except ImportError as error:
        raise MissingExtraError(
            f"{adapter} is a PEFT adapter; install peft: pip install 'langneurons[align]'"
        ) from error
    with _explained(str(adapter), f"{adapter}/adapter_config.json"):
        saved = load_peft_weights(str(adapter), device="cpu")
    _resize_to_adapter(model, saved, adapter)
    with _explained(str(adapter), f"{adapter}/adapter_config.json"):
        wrapped = PeftModel.from_pretrained(model, str(adapter))
    # PEFT takes what fits and says nothing of the rest, as where the base has fewer layers
    placed = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    if odd := sorted(name for name in saved.keys() ^ placed.keys() if "lora_" in name):
        raise ModelError(
            f"{adapter} was trained on another model than {model.name_or_path}: "
            f"{odd[0]} is in one and not in the other"
        )
    return wrapped


def _resize_to_adapter(model: Any, saved: Mapping[str, torch.Tensor], adapter: Path) -> None:
    """Give the base as many rows as the embedding has that an adapter brings along, if it does.

    Raises:
        ModelError: when the adapter does not bring along all the weights that have them.
    """
    names = {module: name for name, module in model.named_modules()}
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    rows = {
        part: weight.shape[0]
        for part in (embedding, head)
        if part is not None
        for name, weight in saved.items()
        if re.fullmatch(rf"base_model\.model\.{names[part]}(\.base_layer)?\.weight", name)
    }
    has = embedding.weight.shape[0]
    wanted = {number for number in rows.values() if number != has}
    if not wanted:
        return
    number = max(wanted)
    tied = head is None or head.weight is embedding.weight
    if len(set(rows.values())) > 1 or not (tied or {embedding, head} <= rows.keys()):
        raise ModelError(
            f"{adapter} brings along an embedding or a head of {number} rows, but not both, and "
            f"its base has {has}; save both with the adapter (modules_to_save), or resize the base"
        )
    model.resize_token_embeddings(number, mean_resizing=False)


def _tokenizer(source: _Source, adapter: Path | None) -> Any:
    """The tokenizer of the adapter folder if it holds one, else that of the base."""
    from transformers import AutoTokenizer

    own = adapter is not None and (adapter / "tokenizer_config.json").is_file()
    place, options = source.place, source.options
    if own:
        place, options = str(adapter), {"trust_remote_code": False}
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(place, **options)
        if source.reader and not own:
            from langneurons.model.gguf_file import without_strangers

            without_strangers(tokenizer, source.reader)
        tokenizer("")  # settings of a wrong type show only when it is used
        tokenizer.name_or_path = str(adapter) if own else source.base
        return tokenizer
    except Exception as error:  # see `_explained`
        if source.reader and not own:
            raise ModelError(
                f"{source.base} holds no tokenizer that transformers can read "
                f"({first_line(error)}); give the folder or id of the model it was made from"
            ) from error
        raise ModelError(
            f"{place} holds no tokenizer that can be loaded ({first_line(error)}); its "
            "tokenizer.json and tokenizer_config.json are needed, each value of the right type"
        ) from error


def _require_model(name: str) -> bool:
    """Whether this is a folder with a model, or a file, so not on the Hub.

    ModelError when it is neither that nor can be an id on the Hub.
    """
    path = Path(name)
    if path.is_file():
        return True
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(
                f"{name} holds no config.json, so it is no model folder (nor a PEFT adapter folder)"
            )
        return True
    of_gguf = name.endswith(".gguf")
    if of_gguf or path.exists() or not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
        raise ModelError(
            f"{name} is no {'file' if of_gguf else 'folder'}; give a model's folder, a GGUF file "
            "or an id on the Hugging Face Hub (owner/name)"
        )
    return False


def not_quantised(model: Any) -> str | None:
    """Which experts bitsandbytes left as they were, as it packs linear layers only.

    None where it left none, or the model is not quantised by it.
    """
    how = getattr(model.config, "quantization_config", None)
    if getattr(how, "quant_method", None) != "bitsandbytes":
        return None
    try:
        parts = [part for site in find_sites(model) for part in site.parts]
    except SiteError:
        return None
    banks = {
        weight
        for part in parts
        if isinstance(part, Experts)
        for weight in part.module.parameters()
        if weight.ndim > 2 and weight.is_floating_point()
    }
    if not banks:
        return None
    number = sum(weight.numel() for weight in banks)
    dtype = str(next(iter(banks)).dtype).removeprefix("torch.")
    return f"{number:,} weights of experts in {dtype}, as bitsandbytes packs linear layers only"


@contextmanager
def _explained(name: str, settings: str | None) -> Generator[None]:
    """Turn what transformers and PEFT raise inside this block into one line.

    `settings` is the file that is told of where they stumble over what it says; None where it is
    not here.
    """
    from safetensors import SafetensorError

    try:
        yield
    except ImportError as error:
        raise MissingExtraError(
            f"{name} cannot be loaded without another library: {first_line(error)}"
        ) from error
    except LangneuronsError:
        raise
    except (
        Exception
    ) as error:  # whatever their code stumbles over in files that are not as it thinks
        of_files = isinstance(error, (OSError, RuntimeError, SafetensorError))
        where = name if settings is None or of_files else settings
        raise ModelError(f"{where}: {_reason(error, settings is not None)}") from error


def _reason(error: BaseException, local: bool) -> str:
    """Why transformers could not load a folder, or what is no folder here, in words that help."""
    from transformers import __version__

    line = first_line(error)
    unknown = re.search(r"model type `([^`]*)` but Transformers does not recognize", line)
    if unknown:
        return (
            f"transformers {__version__} does not know its architecture {unknown[1]!r}; "
            "a newer one may"
        )
    if unread := re.search(r"GGUF model with architecture (\S+) is not supported", line):
        return (
            f"transformers {__version__} reads no GGUF files of architecture {unread[1]!r}; a "
            "newer one may, or give the folder or id of the model it was made from"
        )
    other = re.search(r"Unrecognized configuration class <class '[\w.]*?(\w+?)(Config)?'>", line)
    if other:
        return f"{other[1]} is no causal language model"
    if "custom code" in line or "trust_remote_code" in line:
        return (
            "its architecture is code of its own beside the weights, which langneurons never runs; "
            "take a model of an architecture that transformers knows, or load it yourself in "
            "Python and go on with langneurons.model.loading.around"
        )
    if not local and isinstance(error, OSError):
        return (
            f"no such folder here, and it could not be fetched from the Hub ({line}); "
            "give a local folder"
        )
    return line
