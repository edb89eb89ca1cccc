"""A graft changes the model where it is asked to and nowhere else."""

from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import torch

from langneurons.model.loading import load
from support import adapters, families
from support.command import refused


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graft")
    base = families.save("llama", folder / "model")
    lora = peft.LoraConfig(target_modules=["q_proj", "down_proj"], r=2)
    return adapters.save(lora, base, folder / "adapter")


def merged(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a model with its adapter merged in."""
    model = load(folder).model
    whole = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    return {name: weight.detach().clone() for name, weight in whole.named_parameters()}


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (("--layers", "1"), {"1.q_proj", "1.down_proj"}),
        (("--layers", "0-1", "--projections", "q_proj"), {"0.q_proj", "1.q_proj"}),
        (("--projections", "down_proj"), {"0.down_proj", "1.down_proj", "2.down_proj"}),
        (
            ("--layers", "0,2", "--remove"),
            {"1.q_proj", "1.down_proj"},
        ),
    ],
)
def test_weights_are_the_adapters_there_and_the_bases_elsewhere(
    words: tuple[str, ...], kept: set[str], adapter: Path, tmp_path: Path, langneurons: Callable
) -> None:
    done = langneurons("graft", adapter, *words, "--out", tmp_path / "out", "--json")
    assert done.status == 0, done.err
    assert (done.json["kept"], done.json["changed by the adapter"]) == (len(kept), 6)
    base, whole, found = map(merged, (adapter.parent / "model", adapter, tmp_path / "out"))
    changed = {name for name in base if not torch.equal(base[name], whole[name])}
    assert len(changed) == 6
    for name, weight in found.items():
        parts = name.split(".")
        mine = any(f"{parts[i]}.{parts[-2]}" in kept for i in range(len(parts)))
        assert torch.equal(weight, whole[name] if mine else base[name]), name


def test_bad_input_is_one_line(adapter: Path, tmp_path: Path, langneurons: Callable) -> None:
    for words, what in (
        ((adapter,), "say where the change is kept"),
        ((adapter, "--layers", "7"), "changes nothing in layers 7"),
        ((adapter, "--projections", "o_proj"), "changes nothing in o_proj"),
        ((adapter, "--layers", "0-2"), "everything would be left"),
        ((adapter, "--layers", "0-2", "--remove"), "nothing would be left"),
        ((adapter, "--layers", "reasoning"), "with --neurons a stage"),
        ((adapter, "--layers", "some"), "give one, a range as 0-4"),
        ((adapter, "--layers", "2-0"), "layers '2-0': give one, a range as 0-4"),
        ((adapter.parent / "model", "--layers", "1"), "is no adapter folder"),
    ):
        refused(langneurons("graft", *words, "--out", tmp_path / "out"), what)
        assert not (tmp_path / "out").exists()


def test_other_adapters_are_refused(adapter: Path, tmp_path: Path, langneurons: Callable) -> None:
    dora = peft.LoraConfig(target_modules=["q_proj"], r=2, use_dora=True)
    folder = adapters.save(dora, adapter.parent / "model", tmp_path / "dora")
    words = ("graft", folder, "--layers", "1", "--out", tmp_path / "out")
    refused(langneurons(*words), "is DoRA; only the change of plain LoRA")
