"""Languages of tokens: how likely each is, given a token, from texts that are not measured.

A token that stands in texts of several languages belongs to each of them in part: P(k | v) = f_kv /
sum_j f_jv, with f_kv the share of token v among the tokens of language k's texts. Languages weigh
the same, however long their texts are. So languages of one script are told apart, which scripts
alone cannot do. Letters: K language, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons.errors import InputError
from langneurons.model.tokens import tokenise
from langneurons.texts.responses import Response

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LEAST = 1000
"""Fewest tokens of a language from which its tokens are known."""


class TokenLanguages(NamedTuple):
    """How likely each language is, given a token.

    Attributes:
        languages: the K codes.
        weight: P(language | token), [V, K]; zeros for a token that no text has.
        tokens: how many tokens of each language it is from, [K].
    """

    languages: tuple[str, ...]
    weight: NDArray[np.float32]
    tokens: NDArray[np.int64]

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether any text has the token, [V]."""
        return self.weight.sum(axis=1) > 0

    @property
    def uniform(self) -> NDArray[np.float64]:
        """Share of each language where all known tokens are as likely, [K]: what a head that knows
        nothing of the state would show.
        """
        return self.weight[self.known].mean(axis=0, dtype=np.float64)


def token_languages(
    tokenizer: "PreTrainedTokenizerBase", texts: Mapping[str, Sequence[str]], vocabulary: int
) -> TokenLanguages:
    """How likely each language is, given a token.

    Args:
        tokenizer: whose tokens.
        texts: of each language, its code first.
        vocabulary: number of tokens, V.

    Raises:
        InputError: for a language with too few tokens.
    """
    counts = np.zeros((vocabulary, len(texts)))
    for place, (code, of_language) in enumerate(texts.items()):
        rows = tokenise(tokenizer, [Response("text", code, "", text) for text in of_language])
        for row in rows:
            np.add.at(counts[:, place], row.ids[row.counted], 1)
    tokens = counts.sum(axis=0).astype(np.int64)
    for code, number in zip(texts, tokens.tolist(), strict=True):
        if number < LEAST:
            raise InputError(
                f"{number:,} tokens of {code} are known from texts that are not measured; at least "
                f"{LEAST:,} are needed: give more texts, or others with --known"
            )
    counts /= tokens  # in place: vocabularies are large
    whole = counts.sum(axis=1, keepdims=True)
    np.divide(counts, whole, out=counts, where=whole > 0)
    return TokenLanguages(tuple(texts), counts.astype(np.float32), tokens)


def rare_tokens(
    tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], lang: str, *, most: int = 2
) -> list[NDArray[np.int64]]:
    """Of each text, its tokens that are words of their own and that at most so many texts have.

    A word of its own has four letters or more (two in Han or kana, which say more with one).
    """
    rows = tokenise(tokenizer, [Response("text", lang, "", text) for text in texts])
    own = [np.unique(row.ids[row.counted]) for row in rows]
    ids, texts_with = np.unique(np.concatenate(own), return_counts=True)
    words = {
        int(token)
        for token, number in zip(ids, texts_with, strict=True)
        if number <= most and _is_word(str(tokenizer.decode([int(token)])).strip())
    }
    return [
        np.array([token for token in of_text if int(token) in words], dtype=np.int64)
        for of_text in own
    ]


def _is_word(text: str) -> bool:
    wide = all("\u3040" <= char <= "\u9fff" for char in text)
    return text.isalpha() and len(text) >= (2 if wide else 4)
