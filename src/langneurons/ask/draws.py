"""Draws: the next token of each row, by random numbers that follow from the row's seed alone.

Letters: B row of a batch, T token, V vocabulary.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langneurons.config import SampleConfig


def draw(logits: Tensor, bases: Tensor | None, config: SampleConfig) -> Tensor:
    """The next token of each row, [B].

    Args:
        logits: [B, V].
        bases: 32 random bits for each row, [B]; None for the likeliest token.
        config: temperature, top-k, top-p.
    """
    if bases is None:
        return logits.argmax(dim=-1)
    scores = logits.float() / config.temperature
    tokens = torch.arange(scores.shape[-1], device=scores.device)[None]
    if config.top_k:
        scores, tokens = scores.topk(min(config.top_k, scores.shape[-1]))
    elif config.top_p < 1:
        scores, tokens = scores.sort(descending=True)
    if config.top_p < 1:
        before = scores.softmax(dim=-1).cumsum(dim=-1).roll(1, dims=-1)
        before[:, 0] = 0
        scores = scores.masked_fill(before >= config.top_p, -torch.inf)
    place = (scores + gumbel(bases, tokens)).argmax(dim=-1, keepdim=True)
    return tokens.expand(len(scores), -1).gather(1, place)[:, 0]


def gumbel(bases: Tensor, tokens: Tensor) -> Tensor:
    """Gumbel noise, float32 [B, N].

    The largest sum of it and log-probabilities falls on each token by its probability. The numbers
    follow from the base and the token alone, by a 32-bit integer hash (multiply and xor-shift,
    twice), so they are the same on every device and in every batch.

    Args:
        bases: 32 random bits for each row, int64 [B].
        tokens: N tokens of each row, int64 [B, N], or of all [1, N].
    """
    x = (bases[:, None] + 0x9E3779B9 * tokens) & 0xFFFFFFFF
    x ^= x >> 16
    x = x * 0x21F0AAAD & 0xFFFFFFFF
    x ^= x >> 15
    x = x * 0x735A2D97 & 0xFFFFFFFF
    x ^= x >> 15
    uniform = ((x >> 9).float() + 0.5) * 2**-23  # in (0, 1), never either end
    return -(-uniform.log()).log()


def bases_of(seed: int, length: int) -> NDArray[np.int64]:
    """32 random bits for each token of a completion, int64 [T]."""
    return (np.random.Philox(key=seed).random_raw(length) >> np.uint64(32)).astype(np.int64)
