"""Short texts in three languages and neurons drawn at random, for tiny random models."""

import random
from collections.abc import Sequence

import numpy as np

from langneurons.neurons.table import Neurons, Rule
from langneurons.texts.responses import Response

LANGS = ("en", "zh", "sw")
WORDS = {"en": "she has nine red boats", "zh": "她有九条红船", "sw": "ana mashua tisa nyekundu"}


def texts(questions: int = 2, samples: int = 2) -> list[Response]:
    """Responses of several lengths in three languages, several to a prompt."""
    rng = random.Random(0)
    out = []
    for code, text in WORDS.items():
        for q in range(questions):
            for sample in range(samples):
                answer = "".join(rng.choices(text, k=rng.randint(2, 9)))
                out.append(Response(f"q{q}", code, f"{text[: 2 + q]}? ", answer, sample))
    return out


def drawn(shapes: Sequence[tuple[int, ...]], seed: int = 0, each: int = 6) -> Neurons:
    """Neurons drawn at random: in each layer some of every language; sw has none that is
    specific."""
    rng = np.random.default_rng(seed)
    at, member = [], []
    for layer, shape in enumerate(shapes):
        size = int(np.prod(shape))
        for place in np.sort(rng.choice(size, min(each, size // 4), replace=False)):
            at.append((layer, place // shape[-1] if len(shape) == 2 else -1, place % shape[-1]))
            member.append([(1, 0, 0), (0, 1, 0), (0, 1, 1)][len(at) % 3])
    keys, unknown = np.array(at), np.full(len(at), np.nan)
    return Neurons(
        LANGS,
        tuple(map(tuple, shapes)),
        Rule("imported"),
        *keys.T,
        np.array(member, bool),
        np.ones(len(at), bool),
        unknown,
        unknown,
        np.full((len(at), 3), np.nan),
        unknown,
    )
