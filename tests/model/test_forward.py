"""Forward: what a model is given, by hand; what fits into it."""

from typing import Any

import numpy as np
import peft
import pytest
import torch
from transformers import DynamicCache

from langneurons.errors import InputError
from langneurons.model.batches import Batch, Batches, batched
from langneurons.model.forward import (
    cache_name,
    context,
    device_of,
    fitting,
    forward_arguments,
    model_inputs,
    prompts_of,
    spread_prompts,
)
from langneurons.model.tokens import Tokens
from langneurons.texts.responses import Response
from support import families


def tokens(ids: list[int], counted: str) -> Tokens:
    return Tokens(np.array(ids, np.int32), np.array([sign == "+" for sign in counted]))


RESPONSES = [
    Response("q1", "en", "first", "a"),
    Response("q2", "en", "second", "b"),
    Response("q1", "en", "first", "c"),
]
ROWS = [
    tokens([1, 5, 6, 7], "---+"),
    tokens([1, 8, 9, 4, 3], "---++"),
    tokens([1, 5, 6, 8, 9], "---++"),
]


def work(*, share_prompts: bool) -> Batches:
    return batched(RESPONSES, ROWS, ("en",), blocks=1, budget=100, share_prompts=share_prompts)


def test_a_batch_is_padded_on_the_right() -> None:
    cut = work(share_prompts=False)
    assert [batch.prefix for batch in cut.batches] == [0]
    prompts, inputs = model_inputs(families.tiny("llama"), cut, Batch((0, 1), 0))
    assert prompts == {}
    assert inputs["input_ids"].tolist() == [[1, 5, 6, 7, 0], [1, 8, 9, 4, 3]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert inputs["use_cache"] is False


def test_a_shared_prompt_is_given_once() -> None:
    model = families.tiny("llama")
    cut = work(share_prompts=True)
    batch = Batch((2, 0), 3)
    assert batch.prefix == next(b.prefix for b in cut.batches if b.prefix)
    prompts, inputs = model_inputs(model, cut, batch)
    cache = inputs[cache_name(model)]
    assert isinstance(cache, DynamicCache)
    assert prompts[cache_name(model)] is cache
    assert prompts["input_ids"].tolist() == [[1, 5, 6]]
    assert prompts["attention_mask"].tolist() == [[1, 1, 1]]
    assert inputs["input_ids"].tolist() == [[8, 9], [7, 0]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
    assert prompts["use_cache"] is inputs["use_cache"] is True


def test_every_row_gets_the_keys_of_its_prompt() -> None:
    """Two prompts, the second met first: logits are those of each whole row alone."""
    model = families.tiny("llama")
    cut = work(share_prompts=True)
    batch = Batch((1, 0, 2), 3)
    assert prompts_of(cut, batch) == [1, 0]
    prompts, inputs = model_inputs(model, cut, batch)
    with torch.no_grad():
        model(**prompts)
        spread_prompts(cut, batch, inputs[cache_name(model)])
        together = model(**inputs).logits
        for row, i in enumerate(batch.rows):
            ids = torch.from_numpy(ROWS[i].ids[None]).long()
            alone = model(input_ids=ids).logits[0, 3:]
            assert torch.allclose(together[row, : len(alone)], alone, atol=1e-5)


def test_what_does_not_fit_is_left_out_and_told() -> None:
    model = families.build("llama", max_position_embeddings=4)
    assert context(model) == 4
    responses = [*RESPONSES, Response("q3", "sw", "p", ""), Response("q4", "sw", "p", "d")]
    rows = [*ROWS, tokens([1, 2], "--"), tokens([1, 2], "-+")]
    kept, facts = fitting(model, responses, rows, ("en", "sw"))
    assert kept == [0, 4]
    assert facts == {
        "longer than the context": {
            "context": 4,
            "responses": {"en": 2},
            "first": ["en q2", "en q1"],
        },
        "without a token to count": {"sw": 1},
    }
    assert fitting(families.tiny("bloom"), RESPONSES, ROWS, ("en",)) == ([0, 1, 2], {})


def test_a_language_of_which_nothing_fits() -> None:
    model = families.build("llama", max_position_embeddings=3)
    said = (
        "no response is left for en, th: all of en are left out, 1 as empty, 3 as longer than the "
        "model's context of 3 tokens; there is none in th; add responses that can be counted, or "
        "remove the language"
    )
    gone = {"en": {"as empty": 1, "as wrong script": 0}, "sw": {"as empty": 7}}
    with pytest.raises(InputError) as caught:
        fitting(model, RESPONSES, ROWS, ("en", "th"), gone)
    assert str(caught.value) == said


def test_why_nothing_is_left_of_a_language_is_told_of_that_language() -> None:
    """What is long or empty in others is no reason."""
    model = families.build("llama", max_position_embeddings=4)
    responses = [*RESPONSES, Response("q3", "sw", "p", ""), Response("q4", "sw", "p", "d")]
    rows = [*ROWS, tokens([1, 2], "--"), tokens([1, 2, 3, 4, 5], "-++++")]
    with pytest.raises(InputError) as caught:
        fitting(model, responses, rows, ("en", "sw"))
    assert (
        "all of sw are left out, 1 as longer than the model's context of 4 tokens, 1 as without a "
        "token to count; add"
    ) in str(caught.value)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_a_wrapped_model_takes_what_its_base_takes() -> None:
    base = families.build("llama")
    wrapped: Any = peft.get_peft_model(base, peft.LoraConfig(r=2, task_type="CAUSAL_LM"))
    assert forward_arguments(wrapped) == forward_arguments(families.tiny("llama"))
    assert {"input_ids", "attention_mask", cache_name(wrapped)} <= forward_arguments(wrapped)
    assert device_of(wrapped) == torch.device("cpu")


@pytest.mark.parametrize("name", families.FAMILIES)
def test_context_of_every_family(name: str) -> None:
    """Falcon with ALiBi, like Bloom, reads any length; its config says 2,048 all the same."""
    expected = {"bloom": None, "falcon": 2048, "falcon-alibi": 2048, "gpt_oss": 131072}
    assert context(families.tiny(name)) == expected.get(name, 64)
