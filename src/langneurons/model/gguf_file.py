"""GGUF: a model in one file of llama.cpp, read by transformers into plain weights.

transformers reads such files with the library gguf, which takes a quarter of a minute for a
vocabulary of 262,144 and is asked three times. Here it is read once, and its lists in one go.
"""

import json
import re
import struct
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from langneurons.contents import foreign
from langneurons.errors import ModelError


class Reader(gguf.GGUFReader):
    """What a GGUF file says of its model, and its tensors, which stay in the file."""

    def _get_field_parts(
        self, orig_offs: int, raw_type: int
    ) -> tuple[int, list[Any], list[int], list[gguf.GGUFValueType]]:
        """As gguf has it; the values of a list are found without a call for each."""
        if raw_type != gguf.GGUFValueType.ARRAY or self.byte_order != "I":
            return super()._get_field_parts(orig_offs, raw_type)
        content: Any = np.asarray(self.data)
        whole = memoryview(content)
        kind, count = struct.unpack_from("<IQ", whole, orig_offs)
        start = orig_offs + 12
        dtype = self.gguf_scalar_to_np.get(kind)
        if dtype is not None:
            end = start + count * np.dtype(dtype).itemsize
            values = list(content[start:end].view(dtype).reshape(-1, 1))
        elif kind == gguf.GGUFValueType.STRING:
            values, end = [], start
            for _ in range(count):
                (length,) = struct.unpack_from("<Q", whole, end)
                values.append(content[end + 8 : end + 8 + length])
                end += 8 + length
        else:
            return super()._get_field_parts(orig_offs, raw_type)
        if len(values) < count or end > len(content):
            raise ValueError("it ends within a list")
        types = [gguf.GGUFValueType.ARRAY, gguf.GGUFValueType(kind)]
        return end - orig_offs, values, list(range(count)), types

    def said(self, name: str) -> Any:
        """What the file says under a name; None where it says nothing."""
        field = self.get_field(name)
        return None if field is None else field.contents()

    @property
    def architecture(self) -> str:
        """What llama.cpp calls its architecture."""
        return str(self.said("general.architecture"))

    @property
    def weights(self) -> int:
        """How many it has."""
        return sum(int(tensor.n_elements) for tensor in self.tensors)

    @property
    def vocabulary(self) -> int | None:
        """How many tokens it knows; None where the file does not say."""
        tokens = self.get_field("tokenizer.ggml.tokens")
        return None if tokens is None else len(tokens.data)


def opened(path: Path) -> Reader:
    """A GGUF file that holds a whole model, to be read.

    Raises:
        ModelError: for a file that is none, is damaged or cut short, is one part of several, or
            says of itself what transformers would not heed.
    """
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            seen = f"{path} is {foreign(path) or 'no GGUF file'}"
            raise ModelError(
                f"{seen}; a model is a folder, a GGUF file or an id on the Hugging Face Hub"
            )
    try:
        reader = Reader(path)
    except (ValueError, LookupError, struct.error, OverflowError, MemoryError) as error:
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(
            f"{path} is damaged or cut short, or of a newer kind than gguf {_version()} reads "
            f"({line}); fetch it again, or upgrade gguf"
        ) from error
    if (parts := reader.said("split.count") or 1) > 1:
        first = re.sub(r"-\d{5}-of-", "-00001-of-", str(path))
        whole = re.sub(r"-\d{5}-of-\d{5}", "", path.name)
        raise ModelError(
            f"{path} is one of {parts} parts of a model; merge them: "
            f"llama-gguf-split --merge {first} {whole}"
        )
    if reader.vocabulary is None:
        raise ModelError(
            f"{path} holds no tokenizer; give the folder or id of the model it was made from"
        )
    _require_heeded(reader, path)
    return reader


def _require_heeded(reader: Reader, path: Path) -> None:
    """Stop at positions that are stretched: transformers reads of it for one architecture only."""
    scaling = f"{reader.architecture}.rope.scaling"
    stretches = [
        *(name for name in (f"{scaling}.type",) if reader.said(name) not in (None, "none")),
        *(name for name in (f"{scaling}.factor",) if reader.said(name) not in (None, 0, 1)),
        *(tensor.name for tensor in reader.tensors if tensor.name.startswith("rope_factors")),
    ]
    if stretches and reader.architecture != "gpt-oss":
        raise ModelError(
            f"{path} stretches positions ({stretches[0]}), which transformers does not read from a "
            "GGUF file, so that numbers would be another model's; give the folder or id of the "
            "model it was made from"
        )


@contextmanager
def reading(reader: Reader) -> Generator[None]:
    """Inside this block transformers takes this reader for its file, and draws no bar."""
    from transformers import modeling_gguf_pytorch_utils as library

    ours = ((gguf, "GGUFReader", lambda _: reader), (library, "tqdm", _without_bar))
    theirs = [getattr(module, name) for module, name, _ in ours]
    for module, name, value in ours:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(ours, theirs, strict=True):
            setattr(module, name, value)


def _without_bar(steps: Any, **_: Any) -> Any:
    return steps


def made_plain(model: Any, reader: Reader, path: Path) -> None:
    """Make what transformers loaded from a GGUF file a model like any other.

    Its weights are no longer quantised. Frequencies of positions are divided by what the file says
    (Llama 3.1 and later), and a text ends also where a turn does, both of which transformers
    leaves out.
    """
    model.hf_quantizer = None
    for holder, name in ((model.config, "quantization_config"), (model, "quantization_method")):
        if hasattr(holder, name):
            delattr(holder, name)
    model.name_or_path = model.config.name_or_path = str(path)
    for tensor in reader.tensors:
        if tensor.name == "rope_freqs.weight":
            factors = torch.from_numpy(np.array(tensor.data, dtype=np.float32))
            for module in model.modules():
                for name, frequencies in module.named_buffers(recurse=False):
                    if name.endswith("inv_freq"):
                        frequencies.div_(factors.to(frequencies))
    said, turn = model.generation_config.eos_token_id, reader.said("tokenizer.ggml.eot_token_id")
    ends = {*(said if isinstance(said, list) else [said]), turn} - {None}
    if turn is not None:
        model.generation_config.eos_token_id = sorted(ends)


def without_strangers(tokenizer: Any, reader: Reader) -> None:
    """Take from a tokenizer the tokens that its file does not have.

    Its class in transformers adds some of its own, such as GPT-2's end of text, for which the model
    has no row.
    """
    size = reader.vocabulary
    if size is None or max(tokenizer.get_vocab().values()) < size:
        return
    from tokenizers import Tokenizer

    said = json.loads(tokenizer.backend_tokenizer.to_str())
    said["added_tokens"] = [token for token in said["added_tokens"] if token["id"] < size]
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(said))
    for name, token in tokenizer.special_tokens_map.items():
        if tokenizer.convert_tokens_to_ids(token) is None:
            setattr(tokenizer, name, None)


def _version() -> str:
    from importlib.metadata import version

    return version("gguf")
