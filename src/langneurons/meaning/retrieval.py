"""Retrieval: is a sentence nearer to its translation than to any other sentence?

MEXA (Kargaran et al. 2024), strict: a sentence is a hit where its cosine with its translation is
greater than with every other sentence of that language, and its translation's with it greater than
with every other sentence of its own. Raw, as published; and standardised, each dimension about its
mean in the language and over its standard deviation there, since a few dimensions of large variance
decide raw cosines. A score means little without the number of sentences it is of, what chance
gives, and what state 0 gives, where nothing but the surface is known.

Letters: n sentence, D dimension, K language.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons.intervals import Floats


class Found(NamedTuple):
    """Which sentences find their translations.

    Attributes:
        hits: whether each does, [n].
        chance: the score that is expected when translations are assigned at random: pairs that are
            each other's nearest / n^2, at most 1 / n.
    """

    hits: NDArray[np.bool_]
    chance: float


def retrieved(ours: Floats, theirs: Floats) -> Found:
    """Which sentences [n, D] of a language find their translations [n, D], strictly both ways.

    Ties count as misses, so a sentence that has a twin is never found.
    """
    cosines = unit(ours) @ unit(theirs).T
    own = np.diagonal(cosines)
    among_theirs, among_ours = _best_other(cosines), _best_other(cosines.T)
    hits = (own > among_theirs) & (own > among_ours)
    nearest = cosines == cosines.max(axis=1, keepdims=True)
    mutual = nearest & (cosines == cosines.max(axis=0, keepdims=True))
    return Found(hits, float(mutual.sum()) / len(cosines) ** 2)


def standardised(states: Floats) -> Floats:
    """Each dimension of a language's states [n, D] about its mean, over its standard deviation; 0
    where that is none.
    """
    centred = states - states.mean(axis=0)
    spread = centred.std(axis=0)
    varies = spread > 1e-12 * np.abs(states).max(initial=1e-300)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=varies)


def scaled(states: Floats) -> Floats:
    """Each dimension of all languages' states [K, n, D] over its standard deviation among all.

    Without it, the variance of hidden states is that of one dimension or two.
    """
    languages, n, width = states.shape
    return standardised(states.reshape(-1, width)).reshape(languages, n, width)


def language_told(states: Floats) -> Floats:
    """How well one sentence in each language teaches which language a text is in, [n].

    For each sentence: its K versions are all that is known of the languages, and every other text
    is taken for the language of the nearest of them, by distance between scaled states. The share
    of texts that are told right; chance is 1 / K.
    """
    languages, n, _ = states.shape
    flat = scaled(states).reshape(languages * n, -1)
    products = flat @ flat.T
    squares = np.diagonal(products)
    distance = (squares[None] - 2 * products).reshape(languages * n, languages, n)
    true = np.repeat(np.arange(languages), n)
    own = np.tile(np.arange(n), languages)
    right = np.empty(n)
    for i in range(n):
        told = distance[:, :, i].argmin(axis=1)
        right[i] = np.mean((told == true)[own != i])
    return right


def kernel_alignment(ours: Floats, theirs: Floats) -> float:
    """Debiased linear CKA of two languages' states [n, D] (Kornblith et al. 2019).

    1 for states that are equal up to a rotation, a scale and a shift, 0 on average for independent
    ones, whatever n and D. NaN where one never changes.
    """
    first, second = _kernel(ours), _kernel(theirs)
    scale = _dependence(first, first) * _dependence(second, second)
    return float(_dependence(first, second) / np.sqrt(scale)) if scale > 0 else np.nan


def unit(vectors: Floats) -> Floats:
    """Vectors [n, D] of length 1; those of length 0 stay."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)


def _best_other(cosines: Floats) -> Floats:
    """The greatest of each row but for its own place, [n]."""
    others = cosines.copy()
    np.fill_diagonal(others, -np.inf)
    return others.max(axis=1)


def _kernel(states: Floats) -> Floats:
    centred = states - states.mean(axis=0)
    kernel = centred @ centred.T
    np.fill_diagonal(kernel, 0)
    return kernel


def _dependence(first: Floats, second: Floats) -> float:
    """The unbiased HSIC of two kernels with zeroed diagonals."""
    n = len(first)
    trace = float((first * second).sum())
    product = float(first.sum() * second.sum()) / ((n - 1) * (n - 2))
    cross = float(first.sum(axis=0) @ second.sum(axis=0)) * 2 / (n - 2)
    return (trace + product - cross) / (n * (n - 3))
