"""Steering from means: what it does to a model set by hand, and that strength 0 does nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import langneurons as ln
from langneurons.errors import InputError, MismatchError
from langneurons.model.loading import Loaded, load
from langneurons.model.states import run_to_last_state
from langneurons.neurons.counts import Counts
from langneurons.neurons.means import Means
from langneurons.neurons.record import record
from langneurons.neurons.steering import state_named, steered, steering
from langneurons.texts.responses import Response
from support import families, planted
from support.command import refused

ZH = np.array([4, planted.WIDTH + 0, 2 * planted.WIDTH + 1])
"""Positions of the neurons that serve Chinese alone."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(planted.save(tmp_path_factory.mktemp("planted")))


@pytest.fixture(scope="module")
def counts(model: Loaded) -> Counts:
    texts = [
        Response(row["question_id"], row["lang"], row["prompt"], row["response"])
        for row in planted.responses()
    ]
    return record(model, texts, means=True)


@pytest.fixture(scope="module")
def means(counts: Counts) -> Means:
    assert counts.means is not None
    return counts.means


@torch.no_grad()
def logits(model: Loaded, text: str = "ask en3 en5") -> torch.Tensor:
    ids = torch.tensor([model.tokenizer(text).input_ids])
    return model.model(input_ids=ids, use_cache=False).logits[0]


def test_a_difference_is_the_target_less_the_source(means: Means) -> None:
    a, b = (means.of_neurons(code)[ZH] for code in ("zh", "en"))
    assert (steering(means, to="zh", source="en", neurons=ZH).values == a - b).all()
    others = np.mean([means.of_neurons(code)[ZH] for code in ("en", "sw", "th")], axis=0)
    assert np.allclose(steering(means, to="zh", neurons=ZH).values, a - others)
    assert (steering(means, to="zh", neurons=ZH, by="mean").values == a).all()
    state = steering(means, to="zh", source="en", state=2).values
    assert np.allclose(state, means.of_state("zh", 2) - means.of_state("en", 2))


def test_what_is_added_to_neurons_raises_the_words_they_serve(model: Loaded, means: Means) -> None:
    """The last layer's Chinese neuron, planted with gain 0.3, steered from English: the state
    before the norm moves by gain times what was added, along the Chinese words and no others."""
    last = ZH[2:]
    value = float(means.of_neurons("zh")[last[0]])
    assert float(means.of_neurons("en")[last[0]]) == 0
    found = {}
    for strength in (0.0, 1.0, 2.5):
        what = steering(means, to="zh", source="en", neurons=last, strength=strength)
        seen: dict[int, torch.Tensor] = {}
        ids = torch.tensor([model.tokenizer("ask en3").input_ids])
        with torch.no_grad(), steered(model, what):
            run_to_last_state(
                model.model,
                model.sites,
                lambda number, state, seen=seen: seen.update({number: state[0].clone()}),
                input_ids=ids,
                use_cache=False,
            )
        found[strength] = seen[planted.LAYERS]
    half = len(planted.VOCABULARY)
    zh = [half + i for i, word in enumerate(planted.VOCABULARY) if word.startswith("zh")]
    for strength in (1.0, 2.5):
        moved = found[strength] - found[0.0]
        assert torch.allclose(moved[:, zh], torch.tensor(0.3 * strength * value), atol=1e-6)
        rest = [i for i in range(moved.shape[1]) if i not in zh]
        assert not moved[:, rest].any()


def test_steered_far_enough_it_speaks_the_target(model: Loaded, means: Means) -> None:
    def next_word() -> str:
        return planted.VOCABULARY[int(logits(model)[-1].argmax())][:2]

    assert next_word() == "en"
    for strength, word in ((0.1, "en"), (4.0, "zh")):
        with steered(model, steering(means, to="zh", source="en", neurons=ZH, strength=strength)):
            assert next_word() == word
    assert next_word() == "en"


@pytest.mark.parametrize("how", [{"neurons": ZH}, {"neurons": ZH, "by": "mean"}, {"state": 1}])
def test_strength_0_is_the_model_to_the_bit(how: dict, model: Loaded, means: Means) -> None:
    whole = logits(model)
    with steered(model, steering(means, to="zh", source="en", strength=0, **how)):
        assert torch.equal(logits(model), whole)
    with steered(model, steering(means, to="zh", source="en", strength=1, **how)):
        assert not torch.equal(logits(model), whole)
    assert torch.equal(logits(model), whole)


def test_from_python(model: Loaded, counts: Counts) -> None:
    neurons = ln.identify(counts, rate=planted.RATE, bootstrap=0, chance=0)
    whole = logits(model)
    with ln.steer(model, counts, neurons.of("zh"), to="zh", source="en", strength=4):
        assert planted.VOCABULARY[int(logits(model)[-1].argmax())].startswith("zh")
    with ln.steer(model, counts, to="zh", state=3):
        assert not torch.equal(logits(model), whole)
    assert torch.equal(logits(model), whole)
    without = replace(counts, means=None)
    with pytest.raises(InputError, match="recorded without means; record with means=True"):
        ln.steer(model, without, to="zh", state=3).__enter__()


def test_what_cannot_be(model: Loaded, means: Means, tmp_path: Path) -> None:
    for more, says in (
        ({"to": "fr", "neurons": ZH}, "the means hold no fr"),
        ({"to": "zh", "source": "fr", "state": 1}, "the means hold no fr"),
        ({"to": "zh", "source": "zh", "state": 1}, "to be steered to from itself"),
        ({"to": "zh", "state": 9}, "state 9 is not there"),
        ({"to": "zh", "state": 1, "by": "mean"}, "the same after every text"),
        ({"to": "zh", "state": 1, "strength": float("nan")}, "strength nan is not a number"),
        ({"to": "zh", "state": 1, "strength": float("inf")}, "strength inf is not a number"),
        ({"to": "zh", "neurons": ZH[:0]}, "there is no neuron to steer towards zh"),
        ({"to": "zh", "neurons": ZH, "by": "median"}, "choose diffmean or mean"),
        ({"to": "zh"}, "either neurons are steered or a state"),
    ):
        with pytest.raises(InputError, match=says):
            steering(means, **more)
    other = load(families.save("llama", tmp_path / "llama"))
    with pytest.raises(MismatchError, match="the means are of another model"):
        ln.steer(other, means, to="zh", state=1).__enter__()
    assert state_named("state:12") == 12
    assert state_named("runs/neurons") is None
    with pytest.raises(InputError, match="give a state by its number, as state:5"):
        state_named("state:five")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, langneurons: Callable) -> Path:
    """The planted model, its counts with means, its neurons, and English questions."""
    folder = tmp_path_factory.mktemp("steered")
    words = ("record", planted.save(folder / "model"), planted.write(folder / "texts"))
    assert langneurons(*words, "--means", "--out", folder / "counts").status == 0
    words = ("identify", folder / "counts", "--rate", planted.RATE, "--bootstrap", 0)
    assert langneurons(*words, "--out", folder / "neurons").status == 0
    rows = [f'{{"id": "q{i}", "lang": "en", "question": "ask en{i}"}}\n' for i in range(8)]
    (folder / "asked.jsonl").write_text("".join(rows), "utf-8")
    return folder


def test_sampled_while_steered(folder: Path, tmp_path: Path, langneurons: Callable) -> None:
    """By neurons found with their means beside them, and by a state: it answers in the target."""
    base = ("sample", folder / "model", folder / "asked.jsonl", "-n", 1, "--temperature", 0)
    base = (*base, "--template", "plain", "--max-new-tokens", 4)
    ways = {
        "plain": (),
        "nothing": ("--steer", folder / "neurons", "--to", "zh", "--strength", 0),
        "neurons": ("--steer", folder / "neurons", "--to", "zh", "--source", "en", "--strength", 4),
        "held": ("--steer", folder / "neurons", "--to", "zh", "--by", "mean"),
        "state": (
            "--steer",
            "state:3",
            "--means",
            folder / "counts",
            "--to",
            "zh",
            "--strength",
            4,
        ),
    }
    said = {}
    for name, more in ways.items():
        done = langneurons(*base, "--out", tmp_path / name, *more)
        assert done.status == 0, done.err
        said[name] = [response.response for response in ln.read_responses(str(tmp_path / name))]
        if name == "neurons":
            assert "steered: 5 neurons from en to zh by diffmean, strength 4" in done.out
    assert said["nothing"] == said["plain"]
    assert all(text.split()[0].startswith("en") for text in said["plain"])
    for name in ("neurons", "state"):
        assert all(word.startswith("zh") for text in said[name] for word in text.split()), name
    again = langneurons(*base, "--out", tmp_path / "neurons", *ways["held"])
    refused(again, "by diffmean there, mean now")


def test_bad_input_of_the_command_line(folder: Path, tmp_path: Path, langneurons: Callable) -> None:
    neurons, counts = folder / "neurons", folder / "counts"
    other = families.save("llama", tmp_path / "other")
    langneurons("record", folder / "model", folder / "texts", "--out", tmp_path / "without")
    for model, more, says in (
        ("model", ("--to", "zh"), "there is no --steer"),
        ("model", ("--steer", neurons), "say to which language, with --to"),
        ("model", ("--steer", neurons, "--to", "fr"), "fr"),
        ("model", ("--steer", neurons, "--to", "zh", "--source", "fr"), "the means hold no fr"),
        (
            "model",
            ("--steer", neurons, "--to", "th", "--kinds", "specific"),
            "no specific neuron of th",
        ),
        ("model", ("--steer", neurons, "--to", "zh", "--strength", "nan"), "strength nan"),
        ("model", ("--steer", "state:4", "--means", counts, "--to", "zh"), "state 4 is not there"),
        ("model", ("--steer", "state:1", "--to", "zh"), "give counts recorded with --means"),
        (
            "model",
            ("--steer", "state:1", "--to", "zh", "--means", tmp_path / "without"),
            "was recorded without means; record it with --means",
        ),
        (other, ("--steer", neurons, "--to", "zh"), "the means are of another model"),
        (
            "model",
            ("--steer", neurons, "--to", "zh", "--task", "choices"),
            "--steer does not go with --task choices",
        ),
        (
            "model",
            ("--steer", neurons, "--to", "zh", "--engine", "http://localhost:9"),
            "a server cannot silence neurons or steer",
        ),
    ):
        place = folder / model if model == "model" else model
        words = ("evaluate", place, folder / "asked.jsonl", "--template", "plain")
        done = langneurons(*words, "--out", tmp_path / "out", *more)
        refused(done, says)
    assert not (tmp_path / "out").exists()
