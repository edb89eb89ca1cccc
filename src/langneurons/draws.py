"""Draws: the next token of each row, by random numbers that follow from the row's seed and nothing else.

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
    if config.top_k:
        least = scores.topk(min(config.top_k, scores.shape[-1])).values[:, -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    if config.top_p < 1:
        ordered = scores.sort(descending=True).values
        before = ordered.softmax(dim=-1).cumsum(dim=-1).roll(1, dims=-1)
        before[:, 0] = 0
        least = ordered.masked_fill(before >= config.top_p, torch.inf).amin(dim=-1, keepdim=True)
        scores = scores.masked_fill(scores < least, -torch.inf)
    return (scores + gumbel(bases, scores.shape[-1])).argmax(dim=-1)


def gumbel(bases: Tensor, size: int) -> Tensor:
    """Gumbel noise, float32 [B, V]: the largest sum of it and log-probabilities falls on each token by its probability.

    The numbers follow from the base and the token alone, by a 32-bit integer hash (multiply and xor-shift, twice), so
    they are the same on every device and in every batch.

    Args:
        bases: 32 random bits for each row, int64 [B].
        size: V.
    """
    x = (bases[:, None] + 0x9E3779B9 * torch.arange(size, device=bases.device)) & 0xFFFFFFFF
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
