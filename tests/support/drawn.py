"""Responses drawn at random, with their tokens."""

import numpy as np

from langneurons.model.tokens import Tokens
from langneurons.texts.responses import Response
from support import families

LANGS = ("en", "zh", "sw")


def made_up(
    seed: int = 0, questions: int = 4, samples: int = 3
) -> tuple[list[Response], list[Tokens]]:
    """Responses and their tokens, drawn: several to each prompt, of many lengths."""
    rng = np.random.default_rng(seed)
    responses, tokens = [], []
    for code in LANGS:
        for q in range(questions):
            prompt = rng.integers(3, families.VOCABULARY, rng.integers(2, 9))
            for sample in range(samples):
                answer = rng.integers(3, families.VOCABULARY, rng.integers(1, 12))
                responses.append(Response(f"q{q}", code, f"{code} {q}", "text", sample))
                counted = np.r_[np.zeros(len(prompt), bool), np.ones(len(answer), bool)]
                tokens.append(Tokens(np.r_[prompt, answer].astype(np.int32), counted))
    return responses, tokens
