"""Small counts, neurons and losses, made by hand or drawn."""

from dataclasses import replace
from typing import Any

import numpy as np

from langneurons.neurons.counts import Counts, question_key
from langneurons.neurons.table import Neurons, Rule
from langneurons.silencing.losses import Condition, Losses


def tiny(active: list, tokens: list | int, languages: str = "en zh", **more: Any) -> Counts:
    """Counts of one block from nested lists: `active[layer][language][neuron]`."""
    codes = tuple(languages.split())
    held = (
        np.full((len(codes), 1), tokens) if isinstance(tokens, int) else np.array(tokens)[:, None]
    )
    return Counts(codes, tuple(np.array(layer)[:, None] for layer in active), held, **more)


def random_counts(
    seed: int,
    languages: int = 4,
    blocks: int = 3,
    widths: tuple = ((40,), (24,)),
    tokens: int = 200,
) -> Counts:
    """Counts drawn at random, with structure: neurons differ in level and in which languages they
    like."""
    rng = np.random.default_rng(seed)
    held = rng.integers(tokens // 2, tokens, (languages, blocks))
    active, routed = [], []
    for width in widths:
        p = rng.beta(0.7, 2, (1, 1, *width)) * rng.choice([0.1, 1, 1.6], (languages, 1, *width))
        experts = None
        n = held
        if len(width) == 2:
            experts = rng.binomial(held[:, :, None], 0.5, (languages, blocks, width[0]))
            n = experts
        routed.append(experts)
        active.append(
            rng.binomial(n.reshape(*n.shape, *[1] * (2 + len(width) - n.ndim)), np.clip(p, 0, 1))
        )
    codes = ("en", "ru", "es", "fr", "de", "zh", "ja", "bn", "th", "sw")[:languages]
    return Counts(codes, tuple(active), held, tuple(routed), "drawn")


def with_questions(counts: Counts, number: int = 30) -> Counts:
    """The same counts, of so many questions in every language."""
    keys = np.sort([question_key(f"q{i}") for i in range(number)])
    return replace(counts, questions=(keys,) * len(counts.languages))


def neurons_at(
    rows: list[tuple[int, int, str]], widths=((4,), (4,)), languages: str = "en zh sw"
) -> Neurons:
    """A table with neurons at (layer, neuron), highly active in the languages named."""
    codes = languages.split()
    n = len(rows)
    unknown = np.full(n, np.nan)
    return Neurons(
        tuple(codes),
        widths,
        Rule("imported"),
        np.array([r[0] for r in rows]),
        np.full(n, -1),
        np.array([r[1] for r in rows]),
        np.array([[code in r[2].split() for code in codes] for r in rows]).reshape(n, len(codes)),
        np.ones(n, bool),
        unknown,
        unknown,
        np.full((n, len(codes)), np.nan),
        unknown,
    )


def losses(
    changes: dict[str, list],
    before: list,
    *,
    blocks: int = 1,
    controls: int = 0,
    noise: float = 0,
    **more,
) -> Losses:
    """Losses whose mean cost per token is `before` [K], plus `changes` [K, K] when silenced (None:
    no neurons).

    Control draws change nothing but by `draw / 100`. Every block has 10 tokens of each language,
    and 20 bytes.
    """
    k = len(before)
    codes = tuple("abcdefgh"[:k])
    rng = np.random.default_rng(0)
    base = np.array(before)[:, None] + noise * rng.standard_normal((k, blocks))
    conditions, costs = [Condition(None, None, 0, 0)], [base]
    for setting, rows in changes.items():
        for code, row in zip(codes, rows, strict=True):
            for draw in range(controls + 1):
                conditions.append(Condition(code, setting, draw, 0 if row is None else 3))
                own = (
                    np.full(k, np.nan)
                    if row is None
                    else np.array(row)
                    if not draw
                    else np.full(k, draw / 100)
                )
                costs.append(base + own[:, None])
    cost = np.array(costs)
    tokens = np.full(cost.shape, 10)
    whole = np.full((k, blocks), 2)
    return Losses(codes, tuple(conditions), cost * 10, tokens, cost * 2, whole, whole * 10, **more)
