"""Preference pairs of made-up texts, and settings of a training that takes seconds."""

import random
from functools import cache

from langneurons.align.pairs import Pair, Pairs
from langneurons.config import AlignConfig

QUICK = AlignConfig(
    steps=6,
    batch=4,
    device_batch=2,
    learning_rate=3e-3,
    beta=0.3,
    rank=4,
    alpha=8,
    save_every=2,
    warmup=0,
)


@cache
def pairs(number: int = 24) -> tuple[Pair, ...]:
    """Pairs in two languages, the chosen response in other letters than the rejected one."""
    rng = random.Random(0)

    def text(letters: str) -> str:
        return "".join(rng.choices(letters, k=rng.randint(2, 12)))

    return tuple(
        Pair(
            question_id=f"q{i}",
            lang=("sw", "th")[i % 2],
            prompt=f"{text('pq')}? ",
            chosen=text("abc "),
            rejected=text("xyz "),
            chosen_score=-0.1,
            rejected_score=-0.2,
            rejected_correct=False,
        )
        for i in range(number)
    )


def to_learn(watched: int = 5) -> Pairs:
    """All of them to train on, the first to watch."""
    return Pairs(pairs(), pairs()[:watched])
