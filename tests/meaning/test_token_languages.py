"""Languages of tokens, by hand."""

import numpy as np
import pytest

from langneurons.errors import InputError
from langneurons.meaning import token_languages as module
from langneurons.meaning.token_languages import rare_tokens, token_languages
from langneurons.model.loading import Loaded
from langneurons.model.tokens import tokenise
from langneurons.texts.responses import Response


def ids(model: Loaded, text: str) -> list[int]:
    [row] = tokenise(model.tokenizer, [Response("t", "en", "", text)])
    return row.ids[row.counted].tolist()


def test_a_token_belongs_to_languages_by_their_shares(
    model: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tokenizer is byte-level: of 'aab' two thirds are a, of 'abbbbb' a sixth."""
    monkeypatch.setattr(module, "LEAST", 1)
    known = token_languages(model.tokenizer, {"en": ["aab"], "sw": ["abb", "bbb", "c"]}, 260)
    a, b, c = (ids(model, letter)[-1] for letter in "abc")
    share = {"en": np.array([2, 1, 0]) / 3, "sw": np.array([1, 5, 1]) / 7}
    for place, token in enumerate((a, b, c)):
        whole = share["en"][place] + share["sw"][place]
        expected = [share["en"][place] / whole, share["sw"][place] / whole]
        assert known.weight[token].tolist() == pytest.approx(expected)
    assert known.known.sum() == 3
    assert known.tokens.tolist() == [3, 7]
    assert known.uniform == pytest.approx(known.weight[[a, b, c]].mean(axis=0))


def test_too_few_tokens_are_refused(model: Loaded) -> None:
    with pytest.raises(InputError, match=r"3 tokens of en are known .* with --known"):
        token_languages(model.tokenizer, {"en": ["aab"]}, 260)


def test_rare_words(model: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte is no word; were it one, it would be rare where two texts have it, not three."""
    assert [len(found) for found in rare_tokens(model.tokenizer, ["ab", "b"], "en")] == [0, 0]
    assert module._is_word("船船")
    assert not module._is_word("the")
    monkeypatch.setattr(module, "_is_word", str.isalpha)
    found = rare_tokens(model.tokenizer, ["ab", "bc", "bd"], "en")
    assert [set(words.tolist()) for words in found] == [
        {ids(model, letter)[-1]} for letter in "acd"
    ]
