"""Batches: cut by hand; every row runs once, within the budget, with its prompt computed once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langneurons.errors import InputError
from langneurons.model.batches import Batch, batched
from langneurons.model.tokens import Tokens
from langneurons.texts.responses import Response, block_of
from support.drawn import LANGS, made_up


def rows(*prompts_and_lengths: tuple[str, int]) -> tuple[list[Response], list[Tokens]]:
    """Responses of a prompt of two tokens, the second its own, and so many tokens in all."""
    responses = []
    tokens = []
    for number, (prompt, length) in enumerate(prompts_and_lengths):
        ids = [1, 2 + ord(prompt), *(300 + number for _ in range(length - 2))]
        responses.append(Response(f"q{number}", "en", prompt, "r"))
        tokens.append(Tokens(np.array(ids, np.int32), np.arange(length) >= 2))
    return responses, tokens


def cut(
    *prompts_and_lengths: tuple[str, int], budget: int, share_prompts: bool = True
) -> list[Batch]:
    responses, tokens = rows(*prompts_and_lengths)
    work = batched(responses, tokens, ("en",), blocks=1, budget=budget, share_prompts=share_prompts)
    return list(work.batches)


def test_the_longest_come_first_and_fill_the_budget() -> None:
    assert cut(("a", 3), ("b", 9), ("c", 5), ("d", 4), budget=10) == [
        Batch((1,), 0),  # 9 of 10
        Batch((2, 3), 0),  # 2 rows of 5, padded
        Batch((0,), 0),
    ]


def test_a_row_beyond_the_budget_runs_alone() -> None:
    assert cut(("a", 50), ("b", 3), budget=10) == [Batch((0,), 0), Batch((1,), 0)]


def test_a_prompt_is_shared_where_it_has_several_responses() -> None:
    """Prompts of one length run together; a group beyond the budget is cut and pays it again."""
    several = (("a", 4), ("b", 6), ("a", 5), ("b", 3))
    assert cut(*several, budget=100) == [Batch((1, 3, 0, 2), 2)]
    assert cut(*several, budget=100, share_prompts=False) == [Batch((1, 2, 0, 3), 0)]
    assert cut(*several, budget=10) == [Batch((1, 3), 2), Batch((0, 2), 2)]
    assert cut(*several, budget=6) == [
        Batch((1,), 2),
        Batch((3,), 2),
        Batch((0,), 2),
        Batch((2,), 2),
    ]


def test_what_is_computed() -> None:
    responses, tokens = rows(("a", 4), ("b", 6), ("a", 5), ("b", 3))
    work = batched(responses, tokens, ("en",), blocks=1, budget=100)
    assert work.computed(Batch((0, 1), 0)) == 12
    assert work.computed(Batch((0, 1, 2), 2)) == 3 * 4 + 2 * 2


def test_shares_are_of_nearly_equal_cost_and_make_the_whole() -> None:
    responses, tokens = rows(("a", 9), ("b", 8), ("c", 7), ("d", 6), ("e", 5))
    work = batched(responses, tokens, ("en",), blocks=1, budget=9)
    assert [work.computed(batch) for batch in work.batches] == [9, 8, 7, 6, 5]
    first, second = (work.share(i, 2) for i in range(2))
    assert [work.computed(batch) for batch in first.batches] == [9, 6, 5]
    assert [work.computed(batch) for batch in second.batches] == [8, 7]
    assert first.rows == second.rows == work.rows
    assert work.share(0, 1) == work


def test_a_row_adds_to_its_language_and_block() -> None:
    responses = [Response("q7", "sw", "p", "r"), Response("q7", "en", "p", "r")]
    tokens = [Tokens(np.array([1, 2], np.int32), np.array([False, True]))] * 2
    work = batched(responses, tokens, ("en", "sw"), blocks=10, budget=9)
    block = block_of("q7", 10)
    assert [row.key for row in work.rows] == [10 + block, block]
    assert work.rows[0].prompt != work.rows[1].prompt, "of two languages"


def test_a_language_that_was_not_declared() -> None:
    responses, tokens = rows(("a", 3))
    with pytest.raises(InputError, match=r"question q0 has a response in en, not among \('zh',\)"):
        batched(responses, tokens, ("zh",), blocks=1, budget=100)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 400), st.integers(1, 5))
def test_every_row_runs_once_within_the_budget(seed: int, budget: int, shards: int) -> None:
    responses, tokens = made_up(seed)
    work = batched(responses, tokens, LANGS, blocks=3, budget=budget)
    parts = [work.share(i, shards) for i in range(shards)]
    ran = sorted(i for part in parts for batch in part.batches for i in batch.rows)
    assert ran == list(range(len(responses)))
    for batch in work.batches:
        assert work.computed(batch) <= budget or len(batch.rows) == 1
        for i in batch.rows:
            assert not tokens[i].counted[: batch.prefix].any()
    loads = [sum(part.computed(b) for b in part.batches) for part in parts]
    assert max(loads) - min(loads) <= max(work.computed(batch) for batch in work.batches)


def test_a_shared_prompt_is_computed_once() -> None:
    responses, tokens = made_up(questions=2, samples=5)
    shared = batched(responses, tokens, LANGS, blocks=1, budget=10_000)
    apart = batched(responses, tokens, LANGS, blocks=1, budget=10_000, share_prompts=False)
    prompts = {r.prompt: int((~t.counted).sum()) for r, t in zip(responses, tokens, strict=True)}
    answers = [int(t.counted.sum()) for t in tokens]
    assert sum(map(shared.computed, shared.batches)) >= sum(prompts.values()) + sum(answers)
    assert sum(map(shared.computed, shared.batches)) < sum(map(apart.computed, apart.batches))
