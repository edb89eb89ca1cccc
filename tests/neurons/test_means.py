"""Means of neuron values and states: those of a plain loop, however the work is cut."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from langneurons import artifacts
from langneurons.errors import InputError, MismatchError, SiteError
from langneurons.model import batches
from langneurons.model.loading import load
from langneurons.model.sites import find_sites
from langneurons.neurons.counts import Counts, merge
from langneurons.neurons.means import Means
from langneurons.neurons.record import record
from langneurons.neurons.tally import Tally, run_or_halve
from langneurons.neurons.value_sums import ValueSums
from langneurons.texts.responses import Response
from support import families, planted
from support.command import refused
from support.drawn import LANGS, made_up
from support.values import tiny


def counted(name: str, **options: Any) -> Counts:
    """Counts with means of the drawn responses, by our code."""
    responses, tokens = made_up()
    model = families.tiny(name)
    sites = find_sites(model)
    work = batches.batched(responses, tokens, LANGS, blocks=3, **{"budget": 64, **options})
    tally = Tally(work, sites, ValueSums(model, sites, work, torch.arange(3, 9)[None]))
    for batch in work.batches:
        run_or_halve(model, sites, work, batch, tally)
    return tally.counts()


def plain(name: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The same means, one text at a time: [K, D] of each layer, [K, H] of each state.

    Values by a hook on the down projection, named by hand. States from transformers' own list,
    whose last is after the final norm and is not looked at.
    """
    responses, tokens = made_up()
    model, family = families.build(name), families.DENSE[name]  # its own: hidden states leave hooks
    entered: dict[int, torch.Tensor] = {}

    def keep(i: int, _: Any, args: Any) -> None:
        entered[i] = args[0].reshape(-1, args[0].shape[-1])

    downs = [model.get_submodule(str(family.down).format(i)) for i in range(families.LAYERS)]
    handles = [down.register_forward_pre_hook(partial(keep, i)) for i, down in enumerate(downs)]
    values: dict[str, list[list[np.ndarray]]] = {code: [] for code in LANGS}
    states: dict[str, list[list[np.ndarray]]] = {code: [] for code in LANGS}
    for response, (ids, mine) in zip(responses, tokens, strict=True):
        with torch.no_grad():
            given = torch.from_numpy(ids[None]).long()
            hidden = model(given, use_cache=False, output_hidden_states=True).hidden_states
        for place in np.flatnonzero(mine):
            values[response.lang].append(
                [entered[i][place].double().numpy() for i in range(families.LAYERS)]
            )
            states[response.lang].append([h[0, place].double().numpy() for h in hidden[:-1]])
    for handle in handles:
        handle.remove()

    def means(rows: dict[str, list[list[np.ndarray]]]) -> list[np.ndarray]:
        number = len(rows[LANGS[0]][0])
        return [
            np.stack([np.mean([row[i] for row in rows[code]], axis=0) for code in LANGS])
            for i in range(number)
        ]

    return means(values), means(states)


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2", "opt"])
def test_means_are_those_of_the_plain_loop(name: str) -> None:
    neurons, states = plain(name)
    for options in ({}, {"share_prompts": False}, {"budget": 1}):
        means = counted(name, **options).means
        assert means is not None
        assert len(means.states) == families.LAYERS + 1
        for k, code in enumerate(LANGS):
            expected = np.concatenate([layer[k] for layer in neurons])
            assert np.allclose(means.of_neurons(code), expected, atol=1e-6)
            for number, state in enumerate(states):
                assert np.allclose(means.of_state(code, number), state[k], atol=1e-5)


def test_a_value_set_by_hand(tmp_path: Path) -> None:
    """A planted neuron's value is one number on the words it fires on, and zero on others."""
    model = load(planted.save(tmp_path / "model"))
    responses = [
        Response(row["question_id"], row["lang"], row["prompt"], row["response"])
        for row in planted.responses()
    ]
    means = record(model, responses, means=True).means
    assert means is not None
    x = planted.GATE * planted.READ / np.sqrt(planted.READ**2 / planted.HIDDEN + planted.EPSILON)
    value = x / (1 + np.exp(-x)) * x
    for neuron in planted.NEURONS:
        if neuron.layer == 0:  # later layers read what the earlier ones add too
            for code in planted.LANGS:
                share = neuron.fires.get(code, 0) / planted.WORDS
                assert means.of_neurons(code)[neuron.neuron] == pytest.approx(share * value)


def test_counts_are_the_same_and_means_stand_beside_them(
    tmp_path: Path, langneurons: Callable
) -> None:
    model = planted.save(tmp_path / "model")
    words = ("record", model, planted.write(tmp_path / "texts"), "--out")
    for name, more in (("plain", ()), ("with", ("--means",))):
        done = langneurons(*words, tmp_path / name, *more)
        assert done.status == 0, done.err
    file = Counts.FILE
    assert (tmp_path / "plain" / file).read_bytes() == (tmp_path / "with" / file).read_bytes()
    refused(langneurons(*words, tmp_path / "plain", "--means"), "means False there, True now")
    whole = Counts.load(tmp_path / "with")
    whole.save(tmp_path / "again")
    again = Counts.load(tmp_path / "again")
    assert again.means is not None
    assert np.array_equal(again.means.of_state("th", 1), whole.means.of_state("th", 1))
    with pytest.raises(InputError, match="recorded without means; record it with --means"):
        Means.of_counts(tmp_path / "plain")
    assert Means.FILE in artifacts.read(tmp_path / "with").manifest["files"]


def test_means_add_up_as_counts_do(tmp_path: Path) -> None:
    """Of two languages recorded apart, and of one recorded in two parts."""
    model = load(families.save("llama", tmp_path / "model"))
    texts = [
        Response(f"q{i}", code, "", f"{text} {i}")
        for code, text in (("en", "she has nine"), ("sw", "ana tisa"))
        for i in range(4)
    ]
    whole = record(model, texts, means=True).means
    parts = merge(record(model, [text], means=True) for text in texts).means
    assert whole is not None
    assert parts is not None
    assert parts.languages == whole.languages
    assert np.allclose(parts.of_neurons("sw"), whole.of_neurons("sw"), atol=1e-6)
    assert np.allclose(parts.of_state("en", 3), whole.of_state("en", 3), atol=1e-6)
    without = merge([record(model, texts[:1], means=True), record(model, texts[1:])])
    assert without.means is None
    with pytest.raises(InputError, match="the means hold no th, only en, sw"):
        whole.of_neurons("th")
    with pytest.raises(InputError, match=r"state 4 is not there: .* to 3"):
        whole.of_state("en", 4)
    with pytest.raises(InputError, match="no token was counted in th"):
        whole.spread(("en", "sw", "th")).of_neurons("th")
    with pytest.raises(MismatchError, match="other languages or layers"):
        whole + replace(whole, states=whole.states[1:])
    assert tiny([[[1], [2]]], 4).means is None


def test_sums_go_on_from_what_was_saved() -> None:
    """Saved after any batch and gone on with, they are the same to the bit."""
    responses, tokens = made_up()
    model = families.tiny("gemma3")
    sites = find_sites(model)
    work = batches.batched(responses, tokens, LANGS, blocks=3, budget=64)
    beginning = torch.arange(3, 9)[None]
    tally = Tally(work, sites, ValueSums(model, sites, work, beginning))
    saved = {}
    for number, batch in enumerate(work.batches):
        if number == len(work.batches) // 2:
            saved = {name: array.copy() for name, array in tally.tensors().items()}
            later = Tally(work, sites, ValueSums(model, sites, work, beginning))
            later.load(saved)
        if saved:
            run_or_halve(model, sites, work, batch, later)
        run_or_halve(model, sites, work, batch, tally)
    for name, array in tally.tensors().items():
        assert np.array_equal(array, later.tensors()[name]), name


def test_experts_have_no_means(tmp_path: Path) -> None:
    model = load(families.save("mixtral", tmp_path / "model"))
    with pytest.raises(SiteError, match=r"layer 0 is a mixture of experts.*without --means"):
        record(model, [Response("q", "en", "", "she has nine")], means=True)
