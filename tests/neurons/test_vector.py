"""Steering as a vector: a model with it added answers as the steered one, or it is refused."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from langneurons.model.loading import Loaded, load
from langneurons.model.steering import add_to_state
from langneurons.neurons.counts import Counts
from langneurons.neurons.sets import select
from langneurons.neurons.steering import steered, steering
from langneurons.neurons.vector import Vector
from langneurons.texts.responses import Response
from langneurons.texts.rows import Responses
from support import families
from support.command import refused
from support.spoken import drawn

IDS = torch.tensor([[1, *range(40, 70)]])


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    rows = [
        Response(f"q{i}", code, "", f"{text} {i}")
        for code, text in (("en", "she has nine"), ("zh", "九条船"), ("sw", "ana tisa"))
        for i in range(3)
    ]
    Responses(rows).save(folder / "r")
    return folder / "r"


def logits(model: Loaded, vector: Vector | None = None) -> torch.Tensor:
    with torch.no_grad(), ExitStack() as stack:
        for number, added in (vector.states if vector else {}).items():
            stack.enter_context(add_to_state(model.sites, number, torch.from_numpy(added)))
        return model.model(input_ids=IDS, use_cache=False).logits


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "phi", "gptj"])
def test_logits_are_those_of_the_steered_model(
    name: str, texts: Path, tmp_path: Path, langneurons: Callable
) -> None:
    """Where only a sum follows the down projection: neurons, and any state."""
    folder = families.save(name, tmp_path / "model")
    assert langneurons("record", folder, texts, "--means", "--out", tmp_path / "counts").status == 0
    model, means = load(folder), Counts.load(tmp_path / "counts").means
    assert means is not None
    neurons = drawn(model.widths)
    neurons.save(tmp_path / "neurons")
    for what, more in (("neurons", {}), ("state", {"state": 2})):
        named = tmp_path / "neurons" if what == "neurons" else "state:2"
        words = ("export", "vector", folder, named, "--means", tmp_path / "counts", "--to", "zh")
        done = langneurons(*words, "--strength", 2, "--out", tmp_path / f"of {what}", "--json")
        assert done.status == 0, done.err
        if what == "neurons":
            more = {"neurons": select(neurons, model.widths, ("specific", "related"), ("zh",))}
        with steered(model, steering(means, to="zh", strength=2, **more)):
            expected = logits(model)
        vector = Vector.load(tmp_path / f"of {what}")
        assert list(vector.states) == done.json["states"]
        assert torch.allclose(logits(model, vector), expected, atol=2e-5)
        assert float((expected - logits(model)).abs().max()) > 1e-3
        assert (tmp_path / f"of {what}" / Vector.GGUF).exists() == (min(vector.states) > 1)


def test_a_control_vector_is_llama_cpps(tmp_path: Path, texts: Path, langneurons: Callable) -> None:
    """direction.N is added to what layer N leaves, so state N + 1; layer 0 has none there."""
    folder = families.save("llama", tmp_path / "model")
    langneurons("record", folder, texts, "--means", "--out", tmp_path / "counts")
    words = ("export", "vector", folder, "state:3", "--means", tmp_path / "counts", "--to", "sw")
    done = langneurons(*words, "--out", tmp_path / "out")
    assert done.status == 0, done.err
    assert "vector.safetensors and vector.gguf" in done.out
    reader = gguf.GGUFReader(tmp_path / "out" / Vector.GGUF)
    assert reader.fields["general.architecture"].contents() == "controlvector"
    assert reader.fields["controlvector.model_hint"].contents() == "llama"
    [tensor] = reader.tensors
    assert tensor.name == "direction.2"
    [added] = Vector.load(tmp_path / "out").states.values()
    assert np.array_equal(tensor.data, added)
    assert "up to date" in langneurons(*words, "--out", tmp_path / "out").err
    first = langneurons(*words[:3], "state:1", *words[4:], "--out", tmp_path / "first")
    assert "no vector.gguf: llama.cpp adds nothing to what the first layer leaves" in first.out
    assert not (tmp_path / "first" / Vector.GGUF).exists()


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "olmo2"])
def test_a_norm_behind_the_projection_is_refused(
    name: str, texts: Path, tmp_path: Path, langneurons: Callable
) -> None:
    folder = families.save(name, tmp_path / "model")
    langneurons("record", folder, texts, "--means", "--out", tmp_path / "counts")
    drawn(load(folder).widths).save(tmp_path / "neurons")
    more = ("--means", tmp_path / "counts", "--to", "zh", "--out", tmp_path / "out")
    done = langneurons("export", "vector", folder, tmp_path / "neurons", *more)
    refused(done, "a norm or a factor follows the down projection")
    assert langneurons("export", "vector", folder, "state:2", *more).status == 0


def test_bad_input(texts: Path, tmp_path: Path, langneurons: Callable) -> None:
    folder = families.save("llama", tmp_path / "model")
    langneurons("record", folder, texts, "--means", "--out", tmp_path / "counts")
    means = ("--means", tmp_path / "counts", "--out", tmp_path / "out")
    for words, says in (
        (("vector", folder), "needs a model and its neurons"),
        (("vector", folder, "state:2"), "say to which language it steers, with --to"),
        (("vector", folder, "state:2", "--to", "fr"), "the means hold no fr"),
        (("vector", folder, "state:7", "--to", "zh"), "state 7 is not there"),
        (("vector", folder, "state:2", "--to", "zh", "--strength", "inf"), "strength inf"),
        (("njunlp", folder, "--to", "zh"), "--to is for export vector"),
    ):
        refused(langneurons("export", *words, *means), says)
