"""Translation models as judges, on a real tiny M2M100: their languages, and what they say."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import NllbTokenizer

from langneurons.align.translator import (
    Text,
    Translation,
    encode,
    in_chunks,
    judge,
    language_tokens,
)
from langneurons.errors import InputError, ModelError
from langneurons.model import loading as library
from support.translators import plainly, save_translator, tiny_tokenizer, tiny_translator

CODES = ("en", "zh", "sw")

NAMED = (
    "af ar bg bn bo ca cs da de el en es et eu fa fi fr ha he hi hu id ig it ja ko lt mr ms mt nl "
    "no pl pt ro ru sv sw ta te th tr uk ur vi yo zh zu"
)


# What is known of each language.


def test_language_tokens_are_found_by_every_spelling() -> None:
    for tokens in (
        ["eng_Latn", "zho_Hans"],
        ["__en__", "__zh__"],
        ["<en>", "<zh>"],
        ["en_XX", "zh_CN"],
    ):
        tokenizer = tiny_tokenizer(tokens)
        assert language_tokens(tokenizer, ["en", "zh"]) == dict(
            zip(("en", "zh"), tokenizer.convert_tokens_to_ids(tokens), strict=True)
        )
    mixed = tiny_tokenizer(["__zh__", "zho_Hant", "zho_Hans"])
    assert mixed.convert_ids_to_tokens(language_tokens(mixed, ["zh"])["zh"]) == "zho_Hans"
    assert (
        mixed.convert_ids_to_tokens(language_tokens(mixed, ["zh"], {"zh": "zho_Hant"})["zh"])
        == "zho_Hant"
    )
    assert (
        mixed.convert_ids_to_tokens(language_tokens(mixed, ["zho_Hant"])["zho_Hant"]) == "zho_Hant"
    )


@pytest.mark.parametrize(
    ("tokens", "codes"),
    [
        (["zho_Hans", "zho_Hant", "por_Latn"], {"zh-CN": 0, "zh_Hant": 1, "zh-TW": 1, "pt-BR": 2}),
        (["__zh__", "__pt__"], {"zho_Hans": 0, "cmn": 0, "por_Latn": 1, "pt-PT": 1}),
        (["<zh>", "<de>"], {"zh-CN": 0, "deu_Latn": 1, "German": 1}),
        (["zh_CN", "de_DE", "en_XX"], {"zho_Hans": 0, "deu": 1, "eng_Latn": 2, "en-US": 2}),
        (["yue_Hant", "swh_Latn", "pes_Arab"], {"yue": 0, "sw-KE": 1, "fa": 2}),
        (["fas_Arab", "srp_Latn"], {"fa": 0, "sr-Latn": 1}),
    ],
)
def test_language_tokens_are_found_by_every_code(tokens: list[str], codes: dict[str, int]) -> None:
    tokenizer = tiny_tokenizer(tokens)
    wanted = {code: tokenizer.convert_tokens_to_ids(tokens[at]) for code, at in codes.items()}
    assert language_tokens(tokenizer, list(codes)) == wanted


def test_every_language_of_the_table_is_one_of_nllb() -> None:
    """A code NLLB does not have would be its unknown token, as `jpn_Hani` was in MAPO's code."""
    tokenizer = NllbTokenizer()
    codes = NAMED.split()
    found = language_tokens(tokenizer, codes)
    assert len(set(found.values())) == len(codes)
    assert tokenizer.unk_token_id not in found.values()


@pytest.mark.parametrize(
    ("code", "spelled", "seen"),
    [
        ("ja", {"ja": "jpn_Hani"}, r"no language token jpn_Hani for ja; the nearest is jpn_Jpan"),
        (
            "tlh",
            {},
            r"no language token tlh or __tlh__ or <tlh> for tlh; the nearest is .* --codes tlh=",
        ),
        ("xx", {}, r"for xx; the nearest is"),
    ],
)
def test_an_unknown_language_names_the_nearest(
    code: str, spelled: dict[str, str], seen: str
) -> None:
    with pytest.raises(InputError, match=seen):
        language_tokens(NllbTokenizer(), ["en", code], spelled)


def test_a_vocabulary_without_languages() -> None:
    with pytest.raises(InputError, match="vocabulary has no language tokens"):
        language_tokens(tiny_tokenizer([]), ["en"])


# How texts are given to the model.


def test_texts_are_given_as_nllb_gives_them() -> None:
    pieces = ["▁", "a", "b", "▁a"]
    special = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    tokenizer = NllbTokenizer(
        vocab=special | {piece: 4 + i for i, piece in enumerate(pieces)}, merges=[("▁", "a")]
    )
    texts = ["a b", "ab a", "b"]
    tokens = language_tokens(tokenizer, ["zh", "en"])
    tokenizer.src_lang, tokenizer.tgt_lang = "zho_Hans", "eng_Latn"
    theirs = tokenizer(texts, text_target=texts)
    for code, column in (("zh", "input_ids"), ("en", "labels")):
        ours, cut = encode(tokenizer, [Text(code, text) for text in texts], tokens, 512)
        assert [row.tolist() for row in ours] == theirs[column]
        assert cut == 0


def test_a_long_text_is_cut_and_counted() -> None:
    tokenizer = tiny_tokenizer()
    tokens = language_tokens(tokenizer, CODES)
    rows, cut = encode(tokenizer, [Text("sw", "abcdefgh"), Text("en", "abcd")], tokens, 6)
    assert cut == 1
    assert [len(row) for row in rows] == [6, 6]
    assert rows[0].tolist() == [tokens["sw"], *tokenizer("abcd").input_ids, tokenizer.eos_token_id]


# What the model says.


def drawn(
    seed: int, sources: int = 5, targets: int = 6
) -> tuple[list[np.ndarray], list[np.ndarray], list[Translation]]:
    rng = np.random.default_rng(seed)
    tokens = list(language_tokens(tiny_tokenizer(), CODES).values())

    def text() -> np.ndarray:
        return np.r_[rng.choice(tokens), rng.integers(4, 200, rng.integers(0, 20)), 2].astype(
            np.int32
        )

    links = [
        Translation(int(s), int(t))
        for s in range(sources)
        for t in rng.permutation(targets)[: rng.integers(1, 6)]
    ]
    return [text() for _ in range(sources)], [text() for _ in range(targets)], links


@pytest.mark.parametrize("budget", [1, 40, 100, 10_000])
def test_batched_is_one_at_a_time(budget: int) -> None:
    sources, targets, pairs = drawn(0)
    done = 0
    for chunk in in_chunks(sources, targets, pairs, budget):
        sums = judge(tiny_translator(), sources, targets, pairs, chunk)
        for i, text, first in zip(
            (i for batch in chunk.batches for i in batch), *sums, strict=True
        ):
            expected = plainly(sources[pairs[i].source], targets[pairs[i].target])
            assert (text, first) == pytest.approx(expected, abs=2e-4)
            done += 1
    assert done == len(pairs)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 300))
def test_every_pair_once_every_source_encoded_once_within_the_budget(
    seed: int, budget: int
) -> None:
    sources, targets, pairs = drawn(seed)
    chunks = in_chunks(sources, targets, pairs, budget)
    assert sorted(i for chunk in chunks for batch in chunk.batches for i in batch) == list(
        range(len(pairs))
    )
    assert sorted(s for chunk in chunks for s in chunk.sources) == sorted(
        {pair.source for pair in pairs}
    )
    for chunk in chunks:
        assert {pairs[i].source for batch in chunk.batches for i in batch} == set(chunk.sources)
        longest = max(len(sources[s]) for s in chunk.sources)
        assert longest * len(chunk.sources) <= budget or len(chunk.sources) == 1
        for batch in chunk.batches:
            widest = max(longest, *(len(targets[pairs[i].target]) for i in batch))
            assert widest * len(batch) <= budget or len(batch) == 1


def test_a_model_that_does_not_say_how_its_decoder_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    sources, targets, pairs = drawn(0)
    monkeypatch.setattr(tiny_translator().config, "decoder_start_token_id", None)
    with pytest.raises(ModelError, match="names no decoder_start_token_id"):
        judge(
            tiny_translator(), sources, targets, pairs, in_chunks(sources, targets, pairs, 100)[0]
        )


def test_loading_a_translator(tmp_path: Path) -> None:
    from support import families

    loaded = library.load(save_translator(tmp_path / "t"), seq2seq=True)
    assert loaded.fingerprint == library.fingerprint(tiny_translator())
    assert language_tokens(loaded.tokenizer, CODES) == language_tokens(tiny_tokenizer(), CODES)
    with pytest.raises(
        ModelError,
        match=r"is a causal language model \(llama\); an encoder with a decoder is needed",
    ):
        library.load(families.save("llama", tmp_path / "llama"), seq2seq=True)


def test_texts_are_given_as_m2m100_gives_them(tmp_path: Path) -> None:
    """Its tokenizer is not a fast one and needs sentencepiece."""
    pytest.importorskip("sentencepiece")
    train = importlib.import_module("sentencepiece").SentencePieceTrainer.train
    (tmp_path / "text").write_text("a b ab ba aab\n" * 50)
    train(
        input=str(tmp_path / "text"), model_prefix=str(tmp_path / "m"), vocab_size=9, minloglevel=2
    )
    import json

    from transformers import M2M100Tokenizer

    vocabulary = {
        "<s>": 0,
        "<pad>": 1,
        "</s>": 2,
        "<unk>": 3,
        "▁a": 4,
        "▁b": 5,
        "a": 6,
        "b": 7,
        "▁": 8,
    }
    (tmp_path / "v.json").write_text(json.dumps(vocabulary))
    tokenizer = M2M100Tokenizer(
        str(tmp_path / "v.json"), str(tmp_path / "m.model"), src_lang="zh", tgt_lang="en"
    )
    tokens = language_tokens(tokenizer, ["zh", "en"])
    theirs = tokenizer(["a b", "b"], text_target=["b a", "b"])
    for code, texts, column in (("zh", ["a b", "b"], "input_ids"), ("en", ["b a", "b"], "labels")):
        ours, _ = encode(tokenizer, [Text(code, text) for text in texts], tokens, 512)
        assert [row.tolist() for row in ours] == theirs[column]
    assert library.tokenizer_digest(tokenizer)
