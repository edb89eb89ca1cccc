"""Effects of real tiny models are those of the plainest loop, however the work is cut."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from langneurons import layout
from langneurons.config import AttributeConfig
from langneurons.effects.attribute import attribute, attributed
from langneurons.model import loading as models
from langneurons.model.entering import Entering, entering
from langneurons.model.hooks import silence
from langneurons.model.loading import Loaded
from langneurons.neurons.effects import Effects
from langneurons.neurons.sets import select, to_masks
from langneurons.texts.responses import Response, block_of
from support import families
from support.spoken import LANGS, drawn, texts

CHOSEN = ("llama", "gemma3", "opt", "falcon", "qwen3_moe", "deepseek_v3", "gpt_oss")
"""Dense layers gated and not, two-dimensional ones, norms after, routed and shared experts."""


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Loaded]:
    @cache
    def get(name: str) -> Loaded:
        return models.load(families.save(name, tmp_path_factory.mktemp(name)))

    return get


def cost(model: Loaded, text: Response) -> torch.Tensor:
    """What one text costs, in the plainest way: one forward, all logits; a byte is a token."""
    ids = torch.tensor(model.tokenizer(text.prompt + text.response)["input_ids"])
    start = len(model.tokenizer(text.prompt)["input_ids"])
    logits = model.model(input_ids=ids[None], use_cache=False).logits[0].float()
    return cross_entropy(logits[start - 1 : -1], ids[start:], reduction="sum")


def plain(model: Loaded, responses: Sequence[Response], blocks: int) -> tuple[Any, Any]:
    """Minus value times gradient, [K, G, M] at text and at the beginning, one text at a time."""
    shapes = model.widths
    starts = layout.starts(shapes)
    sums = np.zeros((2, len(LANGS), blocks, starts[-1]))
    for text in responses:
        kept: list[tuple[Entering, torch.Tensor]] = []

        def keep(mine: Entering, kept: list = kept) -> torch.Tensor:
            values = mine.values if mine.values.requires_grad else mine.values.requires_grad_()
            values.retain_grad()
            kept.append((mine, values))
            return values

        with entering(model.sites, keep):
            whole = cost(model, text)
        whole.backward()
        k, g = LANGS.index(text.lang), block_of(text.question_id, blocks)
        for mine, values in kept:
            assert values.grad is not None
            effect = -(values * values.grad).detach().numpy().astype(float)
            for row in range(len(effect)):
                token = row if mine.tokens is None else int(mine.tokens[row])
                expert = 0 if mine.experts is None else int(mine.experts[row])
                place = starts[mine.site] + expert * effect.shape[1]
                part = 1 if token == 0 else 0
                sums[part, k, g, place : place + effect.shape[1]] += effect[row]
    return sums[0], sums[1]


def flat(layers: Sequence[np.ndarray]) -> np.ndarray:
    """Layers [K, G, *shape] side by side, [K, G, M]."""
    return np.concatenate([layer.reshape(*layer.shape[:2], -1) for layer in layers], axis=2)


@pytest.mark.parametrize("name", [*CHOSEN, "qwen3_5"])
def test_first_order_is_what_the_plain_loop_says(name: str, load: Callable[[str], Loaded]) -> None:
    model, responses = load(name), texts(2, 2)
    found = attribute(model, responses, blocks=3, budget=120, exact=0)
    text, beginning = plain(model, responses, 3)
    scale = np.abs(text).max()
    assert scale > 1e-3
    assert np.abs(flat(found.text) - text).max() < 1e-5 * scale
    assert np.abs(flat(found.beginning) - beginning).max() < 1e-5 * max(
        np.abs(beginning).max(), scale
    )
    assert found.nll.sum() == pytest.approx(sum(float(cost(model, r)) for r in responses), rel=1e-5)


@pytest.mark.parametrize("name", ["llama", "deepseek_v3"])
def test_however_the_work_is_cut(name: str, load: Callable[[str], Loaded]) -> None:
    model, responses = load(name), texts(2, 2)
    neurons = drawn(model.widths)
    common: dict[str, Any] = {
        "blocks": 3,
        "exact": 2,
        "neurons": neurons,
        "points": 5,
        "exact_tokens": 60,
    }
    common |= {"settings": "specific+related"}
    ways = [
        attribute(model, responses, **common, **options)
        for options in ({"budget": 2000}, {"budget": 100}, {"budget": 150, "share_prompts": False})
    ]
    scale = np.abs(flat(ways[0].text)).max()
    for other in ways[1:]:
        assert np.abs(flat(other.text) - flat(ways[0].text)).max() < 1e-5 * scale
        assert other.tried is not None
        assert ways[0].tried is not None
        assert np.array_equal(other.tried.positions, ways[0].tried.positions)
        assert np.abs(other.tried.exact - ways[0].tried.exact).max() < 1e-4
        for ours, theirs in zip(other.splits, ways[0].splits, strict=True):
            assert np.abs(ours.costs - theirs.costs).max() < 1e-4
            assert np.abs(ours.effects - theirs.effects).max() < 1e-4


@pytest.mark.parametrize(("name", "where"), [("llama", "all"), ("deepseek_v3", "text")])
def test_tries_are_what_silencing_costs(
    name: str, where: Any, load: Callable[[str], Loaded]
) -> None:
    model, responses = load(name), texts(2, 1)
    neurons = drawn(model.widths)
    found = attribute(
        model, responses, neurons=neurons, exact=1, exact_tokens=10**6, blocks=2, where=where
    )
    tried = found.tried
    assert tried is not None
    assert {"top", "random", "sink", "specific", "related"} == set(tried.groups)
    whole = {"text": flat(found.text), "all": flat(found.text) + flat(found.beginning)}
    for i, position in enumerate(tried.positions):
        assert tried.estimate[i] == pytest.approx(
            whole[tried.where[i]][:, :, position].sum(1), abs=1e-4
        )
        assert tried.exact[i] == pytest.approx(
            without(model, [np.array([position])] * 3, tried.where[i], responses).sum(1), abs=1e-4
        )


def without(
    model: Loaded, sets: Sequence[np.ndarray], where: str, responses: Sequence[Response]
) -> np.ndarray:
    """What silencing each language's set costs its own texts, by hand, [K, 2]."""
    costs = np.zeros((len(LANGS), 2))
    for text in responses:
        k = LANGS.index(text.lang)
        masks = to_masks([sets[k]], model.widths)
        with torch.no_grad():
            before = float(cost(model, text))
            if where == "all":
                with silence(model.sites, masks):
                    after = float(cost(model, text))
            else:
                with entering(model.sites, zeros(masks)):
                    after = float(cost(model, text))
        costs[k, block_of(text.question_id, 2)] += after - before
    return costs


def zeros(masks: Sequence[torch.Tensor | None]) -> Callable[[Entering], torch.Tensor]:
    """Puts zeros where a mask says, but for the first token."""

    def change(mine: Entering) -> torch.Tensor:
        mask = masks[mine.site]
        if mask is None:
            return mine.values
        values = mine.values.clone()
        for row in range(len(values)):
            token = row if mine.tokens is None else int(mine.tokens[row])
            chosen = mask[0] if mine.experts is None else mask[0, int(mine.experts[row])]
            if token:
                values[row, chosen] = 0
        return values

    return change


@pytest.mark.parametrize(
    ("name", "where"),
    [("llama", "text"), ("gemma3", "all"), ("opt", "text"), ("deepseek_v3", "text")],
)
def test_parts_of_a_set_add_up_to_what_it_costs(
    name: str, where: Any, load: Callable[[str], Loaded]
) -> None:
    """Where tokens go to other experts on the way, the cost jumps, and no part is of the jump."""
    model, responses = load(name), texts(2, 1)
    neurons = drawn(model.widths)
    config = AttributeConfig(
        blocks=2,
        exact=0,
        where=where,
        budget=4000,
        tolerance=0.02,
        settings="specific+related",
        points=33,
    )
    found, facts = attributed(model, responses, config, neurons=neurons)
    kinds = config.kinds["specific+related"]
    sets = [select(neurons, model.widths, kinds, (code,)) for code in LANGS]
    by_hand = without(model, sets, where, responses)
    for k, code in enumerate(LANGS):
        split = found.split("specific+related", code)
        assert np.array_equal(split.positions, sets[k])
        assert split.costs == pytest.approx(by_hand[k], abs=1e-4)
        if name != "deepseek_v3":
            assert split.effects.sum(axis=0) == pytest.approx(
                split.costs, abs=0.02 * np.abs(split.costs).sum() + 1e-3
            )
    assert 5 <= facts["points of a path"]["specific+related"] <= 33
    assert isinstance(found, Effects)
