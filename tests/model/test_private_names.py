"""A canary: the names of other libraries that are theirs alone, and that langneurons rides on.

pyproject.toml bounds these libraries from above. Raise a bound when this file passes on the new
version, with the tests of the modules that are named here.
"""

import ast
import inspect
import warnings
from importlib import import_module
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, configuration_utils

from support import families
from support.house import PATHS

IMPORTED = {
    ("transformers.integrations.moe", "_grouped_linear"): "model.experts",
    ("transformers.integrations.moe", "ALL_EXPERTS_FUNCTIONS"): "model.experts",
    ("transformers.modeling_gguf_pytorch_utils", "tqdm"): "model.gguf_file",
    ("transformers.cache_utils", "DynamicLayer"): "ask.local",
    ("transformers.cache_utils", "DynamicSlidingWindowLayer"): "model.forward",
    ("gguf", "GGUFReader"): "model.gguf_file",
}
"""Names in modules of other libraries, and the module of ours that uses each."""

OF_OBJECTS = {
    "_apply_gate": "transformers: experts of the common form",
    "_is_expert_parallel": "transformers: experts of the common form",
    "_experts_implementation": "transformers: a config",
    "_tokenizer": "transformers: PreTrainedTokenizerFast",
    "_commit_hash": "transformers: a config",
    "_get_field_parts": "gguf: GGUFReader",
    "_ConvNd": "torch.nn.modules.conv",
    "_DropoutNd": "torch.nn.modules.dropout",
    "_compiled_call_impl": "torch.nn.Module",
    "_forward_hooks": "torch.nn.Module",
    "_forward_pre_hooks": "torch.nn.Module",
    "_orig_mod": "torch: what torch.compile wraps",
}
"""Private names of other libraries' objects."""

NAMED_TUPLES = {"_asdict", "_replace", "_fields"}


def private(name: Any) -> bool:
    return isinstance(name, str) and name.startswith("_") and not name.startswith("__")


def names_of_others(tree: ast.Module) -> set[str]:
    """Private names that a module takes from what it has not defined itself."""
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if isinstance(node.value, ast.Name) and node.value.id == "self"
    }
    own |= {
        node.target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    taken = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            taken.add(node.attr)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr"):
            taken |= {arg.value for arg in node.args[1:2] if isinstance(arg, ast.Constant)}
        elif isinstance(node, ast.ImportFrom) and "langneurons" not in (node.module or ""):
            taken |= {alias.name for alias in node.names}
    return {name for name in taken if private(name)} - own - NAMED_TUPLES


def test_every_private_name_of_others_is_listed() -> None:
    listed = {name for _, name in IMPORTED} | set(OF_OBJECTS)
    for module, path in PATHS.items():
        taken = names_of_others(ast.parse(path.read_text("utf-8")))
        assert taken <= listed, f"langneurons.{module} rides on {taken - listed}"


@pytest.mark.parametrize(("module", "name"), IMPORTED)
def test_the_names_of_modules_are_there(module: str, name: str) -> None:
    assert hasattr(import_module(module), name), f"look at {IMPORTED[module, name]}"


def test_the_names_of_objects_are_there() -> None:
    gguf = import_module("gguf")
    assert hasattr(gguf.GGUFReader, "_get_field_parts")
    assert issubclass(torch.nn.Conv1d, torch.nn.modules.conv._ConvNd)
    assert issubclass(torch.nn.Dropout, torch.nn.modules.dropout._DropoutNd)
    for name in ("_compiled_call_impl", "_forward_hooks", "_forward_pre_hooks"):
        assert hasattr(torch.nn.Linear(1, 1), name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of its compiler
        assert hasattr(torch.compile(torch.nn.Linear(1, 1)), "_orig_mod")
    plain = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel()))
    assert isinstance(plain._tokenizer, Tokenizer)
    model = families.build("mixtral")
    experts = [module for module in model.modules() if hasattr(module, "_apply_gate")]
    assert experts
    assert hasattr(experts[0], "_is_expert_parallel")
    assert hasattr(experts[0].config, "_experts_implementation")
    assert "_commit_hash" in inspect.getsource(configuration_utils)  # set where the Hub is read
