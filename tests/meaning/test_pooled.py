"""Pooled states: those of a plain loop, however the work is cut."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from langneurons import resume
from langneurons.errors import InputError, RecordError
from langneurons.meaning import pooled as module
from langneurons.meaning.pooled import Pooled, pooled
from langneurons.meaning.sentences import Sentences
from langneurons.model.hooks import watch
from langneurons.model.loading import Loaded
from langneurons.model.tokens import tokenise
from langneurons.texts.responses import Response
from support import families


@pytest.fixture(scope="module")
def states(model: Loaded, sentences: Sentences) -> Pooled:
    return pooled(model, sentences)


def test_shapes(states: Pooled) -> None:
    assert [vectors.shape for vectors in states.hidden] == [(3, 30, 32)] * 4
    assert [vectors.shape for vectors in states.rates] == [(3, 30, 48)] * 3


def test_a_plain_loop_says_the_same(model: Loaded, sentences: Sentences, states: Pooled) -> None:
    """One sentence at a time, tokens by a loop; the beginning token has no part."""
    for k, code in enumerate(sentences.languages):
        for i in (0, 7, 29):
            [row] = tokenise(model.tokenizer, [Response("s", code, "", sentences.texts[k][i])])
            assert not row.counted[0]
            fires: dict[int, torch.Tensor] = {}
            with (
                torch.inference_mode(),
                watch(
                    model.sites,
                    lambda read, fires=fires: fires.update({read.site: read.values > 0}),
                ),
            ):
                output = model.model(
                    input_ids=torch.from_numpy(row.ids[None]).long(), output_hidden_states=True
                )
            total, hidden, rate = 0, 0.0, 0.0
            for place, token in enumerate(np.flatnonzero(row.counted), start=1):
                total += place
                hidden = hidden + place * output.hidden_states[1][0, token].numpy()
                rate = rate + place * fires[2][token].float().numpy()
            assert states.hidden[1][k, i] == pytest.approx(hidden / total, abs=1e-5)
            assert states.rates[2][k, i] == pytest.approx(rate / total, abs=1e-5)


def test_the_order_of_languages_does_not_matter(
    model: Loaded, sentences: Sentences, states: Pooled
) -> None:
    turned = sentences._replace(languages=sentences.languages[::-1], texts=sentences.texts[::-1])
    for ours, theirs in zip(pooled(model, turned).hidden, states.hidden, strict=True):
        assert ours[::-1] == pytest.approx(theirs, abs=1e-5)


def test_a_batch_that_does_not_fit_is_halved(
    model: Loaded, sentences: Sentences, states: Pooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = module.run_to_last_state

    def scarce(model: Any, sites: Any, on_state: Any, **inputs: Any) -> None:
        if len(inputs["input_ids"]) > 4:
            raise torch.OutOfMemoryError
        run(model, sites, on_state, **inputs)

    monkeypatch.setattr(module, "run_to_last_state", scarce)
    for ours, theirs in zip(pooled(model, sentences).hidden, states.hidden, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


def test_killed_and_resumed_is_the_same(
    model: Loaded,
    sentences: Sentences,
    states: Pooled,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class KilledError(Exception):
        pass

    class Mortal(resume.State):
        def save(self, tensors: Any, done: int) -> None:
            super().save(tensors, done)
            raise KilledError

    monkeypatch.setattr(module, "SAVE_EVERY", 0.0)
    with pytest.raises(KilledError):
        pooled(model, sentences, state=Mortal(tmp_path / "out", {}, {}))
    again = pooled(model, sentences, state=resume.State(tmp_path / "out", {}, {}))
    for ours, theirs in zip(
        (*again.hidden, *again.rates), (*states.hidden, *states.rates), strict=True
    ):
        assert ours.tobytes() == theirs.tobytes()


def test_experts_have_hidden_states_alone(sentences: Sentences, tmp_path: Path) -> None:
    from langneurons.model.loading import load

    folder = families.save("mixtral", tmp_path / "mixtral")
    made = pooled(load(folder), sentences)
    assert len(made.hidden) == 4
    assert made.rates == ()


def test_a_sentence_too_long_for_the_model_is_named(model: Loaded, sentences: Sentences) -> None:
    long = ("word " * 500, *sentences.texts[1][1:])
    texts = (sentences.texts[0], long, sentences.texts[2])
    with pytest.raises(
        InputError, match=r"sentence s0 is longer than .* 2048 tokens in zh; remove"
    ):
        pooled(model, sentences._replace(texts=texts))


def test_states_that_are_no_numbers(model_folder: Path, sentences: Sentences) -> None:
    from langneurons.model.loading import load

    broken = load(model_folder)
    broken.model.model.layers[1].mlp.down_proj.weight.data[:] = float("inf")
    with pytest.raises(RecordError, match="not numbers; try another --dtype"):
        pooled(broken, sentences)
