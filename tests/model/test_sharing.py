"""Sharing: where a model goes on from a prompt's cache it is found to, and only there."""

from functools import partial
from typing import Any

import numpy as np
import peft
import pytest
import torch

from langneurons.errors import InputError, RecordError
from langneurons.model.batches import Batch, Batches, batched
from langneurons.model.check import check
from langneurons.model.loading import around
from langneurons.model.sharing import Trial, activations_tried, cut_as_it_holds, tried, why_not
from langneurons.model.sites import find_sites
from support import families
from support.drawn import LANGS, made_up

CLAIM = "a prompt's cache reads as the whole text"


def work() -> Batches:
    responses, tokens = made_up()
    return batched(responses, tokens, LANGS, blocks=1, budget=100)


def prefix_tuned() -> Any:
    """A Llama whose adapter puts keys and values before every text; a cache takes their place."""
    config = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    torch.manual_seed(0)
    return peft.get_peft_model(families.build("llama"), config).eval().requires_grad_(False)


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max())


@pytest.mark.parametrize("name", [*families.CONTINUES, "llama", "mistral", "deepseek_v3"])
def test_who_goes_on_from_a_cache(name: str) -> None:
    model = families.tiny(name)
    trial = activations_tried(model, find_sites(model), work())
    assert trial.holds == families.CONTINUES.get(name, True)
    assert trial.off < 1e-5 if trial.holds else trial.off > 1e-3


@pytest.mark.filterwarnings(
    "ignore:.*(is_gradient_checkpointing|past_key_values):FutureWarning"
)  # peft
def test_an_adapter_whose_cache_would_be_replaced() -> None:
    model = prefix_tuned()
    trial = activations_tried(model, find_sites(model), work())
    assert trial.off > 1e-3
    assert not trial.holds


def test_a_model_with_a_cache_of_its_own() -> None:
    """As MiniMax Text-01 is: it takes no other cache than its own."""
    model = families.build("llama")

    def own(_: Any, __: tuple, inputs: dict[str, Any]) -> None:
        if inputs.get("use_cache"):
            raise ValueError("it uses a cache of its own\nand is not compatible.")

    model.register_forward_pre_hook(own, with_kwargs=True)
    trial = activations_tried(model, find_sites(model), work())
    assert not trial.holds
    assert why_not(trial, "") == (
        "the model does not go on from a prompt's cache (it uses a cache of its own)"
    )
    claim = next(one for one in check(around(model, Bytes())) if one.claim == CLAIM)
    assert claim.holds is None
    assert claim.seen.startswith("not shared: the model does not go on from a prompt's cache (it")


class Bytes:
    """A tokenizer of bytes, for models that have none."""

    pad_token_id = 0

    def get_vocab(self) -> dict[str, int]:
        return {str(token): token for token in range(93)}

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [3 + byte % 90 for byte in text.encode()][:40]}


@pytest.mark.parametrize("name", ["qwen3_5", "bamba"])
def test_check_says_where_prompts_are_shared(name: str) -> None:
    checks = check(around(families.tiny(name), Bytes()))
    assert checks.holds
    claim = next(one for one in checks if one.claim == CLAIM)
    assert claim.holds is (True if families.CONTINUES[name] else None)


def test_the_longest_text_is_tried_among_others() -> None:
    """Three rows at most: the longest, one of another prompt, one more of its own."""
    cut, ran = work(), []

    def run(batch: Batch) -> np.ndarray:
        ran.append(batch)
        return np.zeros((len(batch.rows), 1))

    assert tried(cut, run, difference, 0.1) == Trial(0.0, 0.1)
    whole, alone, shared = ran
    lengths = {i: len(row.tokens.ids) for i, row in enumerate(cut.rows)}
    longest = max(i for batch in cut.batches if batch.prefix for i in batch.rows)
    assert (whole.prefix, alone.prefix) == (0, 0)
    assert shared.prefix
    assert whole.rows == shared.rows
    assert lengths[alone.rows[0]] == max(map(lengths.get, shared.rows)) >= lengths[longest]
    assert alone.rows == shared.rows[:1]
    assert len({cut.rows[i].prompt for i in shared.rows}) == len(shared.rows) - 1 == 2


def test_what_another_batch_changes_is_allowed_four_times() -> None:
    def run(batch: Batch, off: float) -> np.ndarray:
        alone = len(batch.rows) == 1
        return np.full((len(batch.rows), 1), off if batch.prefix else 0.01 * alone)

    cut = work()
    assert tried(cut, partial(run, off=0.039), difference, 0.001).holds
    trial = tried(cut, partial(run, off=0.041), difference, 0.001)
    assert why_not(trial, "of it") == (
        "the model does not go on from a prompt's cache as if it had read the whole text (0.041 of "
        "it, 0.04 by rounding)"
    )
    assert tried(cut, partial(run, off=0.041), difference, 0.05).holds


def test_what_does_not_fit_into_memory_is_tried_with_fewer_rows() -> None:
    def run(batch: Batch, room: int) -> np.ndarray:
        if len(batch.rows) > room:
            raise torch.OutOfMemoryError("as a small device would")
        return np.zeros((len(batch.rows), 1))

    cut = work()
    assert tried(cut, partial(run, room=1), difference, 0.0).holds
    with pytest.raises(RecordError, match="a single text of 19 tokens does not fit into memory"):
        tried(cut, partial(run, room=0), difference, 0.0)


def test_as_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    """Unset it is tried; asked for and not to be had, it is an error; else it is not tried."""
    responses, tokens = made_up()
    cut = partial(batched, responses, tokens, LANGS, blocks=1, budget=100)

    def shares(asked: bool | None, why: str | None) -> bool:
        return any(
            batch.prefix for batch in cut_as_it_holds(cut, asked, lambda _: why, facts).batches
        )

    facts: dict[str, Any] = {}
    assert shares(None, None)
    assert shares(True, None)
    assert not shares(False, "never asked")
    assert facts == {}
    assert capsys.readouterr().err == ""
    assert not shares(None, "it forgets")
    assert facts == {"prompts not shared": "it forgets"}
    assert capsys.readouterr().err == "every text is read whole, prompts too: it forgets\n"
    with pytest.raises(InputError, match=r"^--share-prompts: it forgets; leave the option out"):
        shares(True, "it forgets")
