"""Sinks: a neuron made to act at the beginning token is found, named, and spared where asked."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from langneurons.config import PerplexityConfig
from langneurons.model import loading as models
from langneurons.model.loading import Loaded
from langneurons.model.tokens import tokenise
from langneurons.neurons.table import Neurons, Rule
from langneurons.silencing.perplexity import measured
from langneurons.silencing.sinks import Sink, sinks
from langneurons.texts.responses import Response
from support import families

LAYER, NEURON, LANGS = 1, 17, ("en", "sw")
RESPONSES = [
    Response(f"q{q}", code, "", f"{text} {q}")
    for q in range(3)
    for code, text in (("en", "she has nine red boats"), ("sw", "ana mashua tisa nyekundu"))
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.save("llama", tmp_path_factory.mktemp("sinks") / "llama")


@pytest.fixture(scope="module")
def sinking(folder: Path) -> Loaded:
    """One dimension tells the beginning token from all others, and one neuron reads it."""
    loaded: Any = models.load(folder)
    model, mark = loaded.model, 5
    embedding = model.get_input_embeddings().weight
    embedding[:, mark] = 0
    embedding[loaded.tokenizer.bos_token_id, mark] = 10
    for i, layer in enumerate(model.model.layers):
        layer.self_attn.o_proj.weight[mark] = 0
        layer.mlp.down_proj.weight[mark] = 0
        if i == LAYER:
            for projection in (layer.mlp.gate_proj, layer.mlp.up_proj):
                projection.weight[NEURON] = 0
                projection.weight[NEURON, mark] = 3
    return models.around(model, loaded.tokenizer)


def tokens(model: Loaded) -> Any:
    return tokenise(model.tokenizer, RESPONSES[:2])


def by_hand(model: Loaded) -> Sink:
    """What the activations of the layer say, by one hook and one text at a time."""
    shares, firsts, others = [], [], []
    down: Any = model.model.get_submodule(f"model.layers.{LAYER}.mlp.down_proj")
    seen: list[torch.Tensor] = []
    handle = down.register_forward_hook(lambda _, args, __: seen.append(args[0][0].abs()))
    for row in tokens(model):
        model.model(torch.from_numpy(row.ids[None]).long())
        values = seen.pop()
        shares.append(float(values[0, NEURON] ** 2 / (values[0] ** 2).sum()))
        firsts.append(float(values[0, NEURON]))
        others += values[1:, NEURON].tolist()
    handle.remove()
    times = np.mean(firsts) / np.mean(others) if np.mean(others) else None
    return Sink(LAYER, NEURON, round(float(np.mean(shares)), 3), times)


def test_it_is_found(sinking: Loaded, folder: Path) -> None:
    [found] = [sink for sink in sinks(sinking, tokens(sinking)) if sink.layer == LAYER]
    expected = by_hand(sinking)
    assert found[:3] == expected[:3]
    assert found.times == expected.times
    assert found.share > 0.9
    assert str(found) == "1:17"
    plain = models.load(folder)
    assert (LAYER, NEURON) not in [sink[:2] for sink in sinks(plain, tokens(plain))]


def test_one_that_acts_everywhere_is_none(folder: Path) -> None:
    """However large it is at the first token."""
    loaded: Any = models.load(folder)
    loaded.model.model.layers[LAYER].mlp.gate_proj.weight[NEURON] *= 1000
    known = sinks(loaded, tokens(loaded))
    assert all(sink.times > 1 for sink in known)


def two_neurons() -> Neurons:
    """The sink as English's, another as Swahili's."""
    keys = np.array([(LAYER, -1, NEURON), (0, -1, 3)])
    unknown = np.full(2, np.nan)
    return Neurons(
        LANGS,
        ((48,),) * 3,
        Rule("imported"),
        *keys.T,
        np.eye(2, dtype=bool),
        np.ones(2, bool),
        unknown,
        unknown,
        np.full((2, 2), np.nan),
        unknown,
    )


def test_its_silencing_is_told(sinking: Loaded) -> None:
    """Everywhere it costs, at text nothing, as it does not act there; the facts name the sets."""
    neurons = two_neurons()
    config = PerplexityConfig(settings="specific", where="all,text", controls=0, blocks=1)
    losses, facts = measured(sinking, neurons, RESPONSES, config)
    [told] = [sink for sink in facts["sinks"] if sink["layer"] == LAYER]
    assert (told["layer"], told["neuron"]) == (LAYER, NEURON)
    assert told["sets"] == [
        {"silenced": "en", "setting": setting, "draw": 0}
        for setting in ("specific", "specific at text")
    ]
    cost = losses.log_perplexity()
    nothing, everywhere, at_text = cost[0], cost[losses.find("specific")[0]], cost[3]
    assert losses.conditions[3].setting == "specific at text"
    assert np.abs(everywhere - nothing).min() > 1e-3
    assert np.abs(at_text - nothing).max() < 1e-6


def test_the_command_tells_of_it(sinking: Loaded, tmp_path: Path, langneurons: Any) -> None:
    sinking.model.save_pretrained(tmp_path / "model")
    sinking.tokenizer.save_pretrained(tmp_path / "model")
    two_neurons().save(tmp_path / "n")
    rows = [asdict(response) for response in RESPONSES]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ["--settings", "specific", "--where", "text", "--controls", 2, "--blocks", 1]
    done = langneurons(
        "perplexity",
        tmp_path / "model",
        tmp_path / "n",
        tmp_path / "r.jsonl",
        *words,
        "--out",
        tmp_path / "p",
        "--quiet",
    )
    assert (done.status, done.err) == (0, "")
    assert "-- specific at text silenced: change in perplexity" in done.out
    beside = done.out.partition("-- beside its random sets")[2].splitlines()[1:4]
    assert beside[0].split()[-5:] == ["sets:", "median", "min", "max", "mean"]
    assert [line.split()[0] for line in beside[1:]] == ["en", "sw"]
    assert all(len(line.split()) == 6 for line in beside[1:])
    assert "1:17 (among en's own" in done.out
    assert " (median; " in done.out


def test_experts_are_left_out(tmp_path: Path) -> None:
    loaded = models.load(families.save("mixtral", tmp_path / "m"))
    assert sinks(loaded, tokens(loaded)) == []
