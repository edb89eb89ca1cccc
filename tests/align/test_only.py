"""Only the weights of a set of neurons are trained: all others stay equal to the bit."""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from langneurons.align.dpo import dpo
from langneurons.align.only import only
from langneurons.align.pairs import Pairs
from langneurons.config import AlignConfig
from langneurons.errors import InputError, SiteError
from langneurons.model import loading as models
from langneurons.neurons.numbers import KINDS
from langneurons.neurons.sets import select
from support import families
from support.command import refused
from support.preferences import QUICK, pairs, to_learn
from support.spoken import drawn

MEANT = np.array([3, 40, 48 + 7, 2 * 48 + 7, 2 * 48 + 8])
"""Neurons 3 and 40 of layer 0, 7 of layer 1, 7 and 8 of layer 2."""

FAST = replace(QUICK, learning_rate=1e-2)


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def merged(folder: Path) -> dict[str, torch.Tensor]:
    """Every weight of an adapted model, with its adapter's change added."""
    return weights(models.load(folder).model.merge_and_unload())  # ty: ignore[call-non-callable]


def place(name: str) -> tuple[int, bool] | None:
    """Layer of a weight, and whether its columns are the neurons; None for one without neurons."""
    parts = name.split(".")
    if "mlp" not in parts:
        return None
    return int(parts[2]), parts[-2] == "down_proj"


def require_only(base: Path, folder: Path, meant: Iterable[int], width: int = 48) -> None:
    """Only weights of the neurons meant differ, and all kinds of their weights do."""
    changed = set()
    after = merged(folder)
    for name, before in weights(models.load(base).model).items():
        differs = after[name] != before
        if not (where := place(name)):
            assert not differs.any(), name
            continue
        layer, is_down = where
        per_neuron = differs.any(dim=0 if is_down else 1).nonzero().flatten().tolist()
        changed |= {(layer * width + neuron, name.split(".")[-2]) for neuron in per_neuron}
    assert changed == {
        (int(position), projection)
        for position in meant
        for projection in ("gate_proj", "up_proj", "down_proj")
    }


def trained(base: Path, work: Path, config: AlignConfig = FAST, **more: Any) -> Path:
    model = models.load(base)
    done = dpo(model, to_learn(), work, config, alone=only(model, MEANT), **more)
    assert done.facts["neurons trained"] == len(MEANT)
    assert done.facts["weights trained"] == 3 * 32 * len(MEANT)
    assert done.adapter.history[0]["loss"] == pytest.approx(np.log(2), abs=1e-7)
    done.adapter.save(work.parent / f"{work.name}-saved")
    return work.parent / f"{work.name}-saved"


def test_all_other_weights_are_equal_to_the_bit(llama: Path, tmp_path: Path) -> None:
    folder = trained(llama, tmp_path / "w")
    require_only(llama, folder, MEANT)
    require_only(llama, folder / "checkpoint-2", MEANT)
    base, adapted = models.load(llama), models.load(folder)
    given = torch.arange(5)[None]
    with torch.inference_mode(), adapted.model.disable_adapter():  # ty: ignore[call-non-callable]
        assert torch.equal(adapted.model(given).logits, base.model(given).logits)


def test_a_killed_training_ends_with_the_same_bytes(llama: Path, tmp_path: Path) -> None:
    whole = trained(llama, tmp_path / "whole")

    class Killed(Exception):  # noqa: N818
        pass

    def kill(step: int, _: int) -> None:
        if step == 3:
            raise Killed

    model = models.load(llama)
    with pytest.raises(Killed):
        dpo(model, to_learn(), tmp_path / "w", FAST, alone=only(model, MEANT), on_step=kill)
    again = trained(llama, tmp_path / "w")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (again / name).read_bytes() == (whole / name).read_bytes()


def test_gpt2_whose_layers_keep_their_weights_turned(tmp_path: Path) -> None:
    """Conv1D has inputs as rows, and there is no gate."""
    base = families.save("gpt2", tmp_path / "model")
    model = models.load(base)
    alone = only(model, np.array([5]))
    assert list(alone.into) == ["transformer.h.0.mlp.c_fc"]
    done = dpo(model, Pairs(pairs()), tmp_path / "w", replace(FAST, steps=2), alone=alone)
    done.adapter.save(tmp_path / "out")
    after = merged(tmp_path / "out")
    for name, before in weights(models.load(base).model).items():
        differs = after[name] != before
        if name == "transformer.h.0.mlp.c_fc.weight":
            assert differs.any(dim=0).nonzero().flatten().tolist() == [5]
        elif name == "transformer.h.0.mlp.c_proj.weight":
            assert differs.any(dim=1).nonzero().flatten().tolist() == [5]
        else:
            assert not differs.any(), name


@pytest.mark.parametrize(
    ("family", "what"),
    [("mixtral", "mixture of experts"), ("phi3", "which rows are a neuron's cannot be told")],
)
def test_models_whose_neurons_have_no_rows_of_their_own(
    family: str, what: str, tmp_path: Path
) -> None:
    model = models.load(families.save(family, tmp_path / "model"))
    with pytest.raises(SiteError, match=what):
        only(model, np.array([1]))


def test_nothing_to_train(llama: Path) -> None:
    with pytest.raises(InputError, match="no such neuron"):
        only(models.load(llama), np.zeros(0, np.int64))


@pytest.fixture
def words(llama: Path, tmp_path: Path) -> tuple[Any, ...]:
    drawn(models.load(llama).widths).save(tmp_path / "neurons")
    to_learn().save(tmp_path / "pairs")
    more = ("--steps", 2, "--batch", 2, "--learning-rate", 0.01, "--neurons", tmp_path / "neurons")
    return ("align", llama, tmp_path / "pairs", *more)


def test_the_command(
    llama: Path, words: tuple[Any, ...], tmp_path: Path, langneurons: Callable
) -> None:
    shapes = models.load(llama).widths
    neurons = drawn(shapes)
    sets = {
        "related": select(neurons, shapes, ("related",), ("zh", "sw")),
        "frozen": np.setdiff1d(np.arange(144), select(neurons, shapes, ("related",), ("zh", "sw"))),
    }
    assert len(sets["related"])
    for name, option in (("related", "--only"), ("frozen", "--freeze")):
        out = tmp_path / name
        done = langneurons(*words, option, "related", "--languages", "zh,sw", "--out", out)
        assert done.status == 0, done.err
        require_only(llama, out, sets[name])
    done = langneurons(*words, "--only", "random-like:related", "--out", tmp_path / "random")
    assert done.status == 0, done.err
    avoided = select(neurons, shapes, [kind for kind in KINDS if kind != "none"])
    after, before = merged(tmp_path / "random"), weights(models.load(llama).model)
    for layer in range(3):
        name = f"model.layers.{layer}.mlp.down_proj.weight"
        moved = (after[name] != before[name]).any(dim=0).nonzero().flatten().numpy() + 48 * layer
        like = select(neurons, shapes, ("related",), layers=range(layer, layer + 1))
        assert len(moved) == len(like)
        assert not np.isin(moved, avoided).any()
    again = langneurons(*words, "--only", "related", "--out", tmp_path / "related")
    assert again.status == 2  # of other languages
    shutil.rmtree(tmp_path / "random")


def test_bad_input_is_one_line(
    words: tuple[Any, ...], tmp_path: Path, langneurons: Callable
) -> None:
    drawn(((8,),) * 3, each=2).save(tmp_path / "other")
    without = words[:-2]
    for given, what in (
        ((*words, "--only", "related", "--freeze", "related"), "say the same twice"),
        ((*without, "--only", "related"), "--only and --freeze say which neurons of --neurons"),
        (words, "give one of them with it"),
        ((*words, "--only", "useful"), "'useful' is no kind"),
        ((*words, "--only", "related", "--languages", "xx"), "xx"),
        ((*words, "--only", "related", "--set", "lora.r=4"), "follows from the neurons"),
        ((*without, "--neurons", tmp_path / "other", "--only", "related"), "of another model"),
        ((*without, "--languages", "sw"), "go with grpo"),
    ):
        refused(langneurons(*given, "--out", tmp_path / "out"), what)
        assert not (tmp_path / "out").exists()
