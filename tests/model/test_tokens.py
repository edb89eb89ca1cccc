"""Tokens: boundaries against references without offsets, the bytes and pieces of the tokens."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from langneurons.errors import InputError
from langneurons.model.tokens import (
    Tokens,
    continuation,
    predicting,
    prompt_ids,
    shared_prefix,
    tokenise,
    too_long,
)
from langneurons.texts.responses import Response
from langneurons.texts.rows import read_responses
from support.places import data

LINES = [
    "The answer is 18. So she makes $18 every day at the farmers' market.",
    "所以答案是十八。 她每天在市场上赚十八美元。",
    "答えは18です。ジャネットは市場で稼ぎます。",
    "Ответ: 18 долларов. Она продаёт яйца на рынке.",
    "คำตอบคือ 18 เธอขายไข่ที่ตลาดทุกวัน",
    "উত্তর হল ১৮। সে প্রতিদিন বাজারে ডিম বিক্রি করে।",
    "Jibu ni 18.\n\n### Instruction:\nx\n\n### Response:",
    "\t a\t b\t c \t d\n  e\n  f",
]


def add_ends(bare: Tokenizer, *more: processors.PostProcessor) -> None:
    template = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    bare.post_processor = processors.Sequence([*more, template])


@cache
def byte_level(
    *, ends: bool = True, trim: bool = False, spaced: bool = False
) -> PreTrainedTokenizerFast:
    """Byte-level BPE as GPT-2, Llama 3 (trim), Qwen have it.

    Merges go across spaces, so every kind of seam occurs.
    """
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=spaced, use_regex=False)
    bare.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bare.train_from_iterator(
        LINES,
        trainers.BpeTrainer(
            vocab_size=420,
            initial_alphabet=alphabet,
            special_tokens=["<s>", "</s>"],
            show_progress=False,
        ),
    )
    if ends:
        add_ends(bare, processors.ByteLevel(trim_offsets=trim, add_prefix_space=spaced))
    else:
        bare.post_processor = processors.ByteLevel(trim_offsets=trim, add_prefix_space=spaced)
    return PreTrainedTokenizerFast(tokenizer_object=bare, bos_token="<s>", eos_token="</s>")


@cache
def pieces(*, prepend: bool) -> PreTrainedTokenizerFast:
    """Unigram with the space as a sign at the front of words, as Llama 2, Gemma and T5 have it."""
    bare = Tokenizer(models.Unigram())
    bare.pre_tokenizer = pre_tokenizers.Metaspace(
        prepend_scheme="always" if prepend else "never", split=True
    )
    bare.decoder = decoders.Metaspace(prepend_scheme="always" if prepend else "never")
    trainer = trainers.UnigramTrainer(
        vocab_size=230,
        special_tokens=["<s>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    bare.train_from_iterator(LINES, trainer)
    add_ends(bare)
    return PreTrainedTokenizerFast(
        tokenizer_object=bare, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


@cache
def word_pieces() -> PreTrainedTokenizerFast:
    """WordPiece as BERT has it: lower case, accents and white space dropped."""
    bare = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    bare.normalizer = normalizers.BertNormalizer(lowercase=True)
    bare.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=260,
        special_tokens=["[CLS]", "[SEP]", "[UNK]"],
        show_progress=False,
        initial_alphabet=[],
    )
    bare.train_from_iterator(LINES, trainer)
    bare.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bare,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[UNK]",
    )


BYTES = [
    pytest.param({"ends": ends, "trim": trim}, id=f"ends={ends} trim={trim}")
    for ends in (True, False)
    for trim in (True, False)
]

free = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
"""Any text, which a tokenizer trained on LINES mostly falls back to bytes or the unknown token
for."""


@st.composite
def cut_anywhere(draw: st.DrawFn) -> tuple[str, str]:
    """A text in many scripts, cut into prompt and response anywhere, in words and merges too."""
    text = "".join(
        draw(
            st.lists(
                st.sampled_from(LINES) | free | st.sampled_from([" ", "  ", "\t ", "\n"]),
                max_size=4,
            )
        )
    )
    at = draw(st.integers(0, len(text)))
    return text[:at], text[at:]


def one(tokenizer: PreTrainedTokenizerBase, prompt: str, response: str) -> Tokens:
    (tokens,) = tokenise(tokenizer, [Response("q", "en", prompt, response)])
    assert tokens.ids.dtype == np.int32
    assert tokens.counted.dtype == bool
    assert tokens.ids.shape == tokens.counted.shape
    return tokens


@cache
def byte_lengths(tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    """Bytes of each token, 0 for special ones.

    Names of byte-level tokens have one character per byte.
    """
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return np.array([0 if name in tokenizer.all_special_tokens else len(name) for name in names])


def by_bytes(
    tokenizer: PreTrainedTokenizerFast, prompt: str, response: str, ids: np.ndarray
) -> np.ndarray:
    """Which byte-level tokens reach beyond the prompt; a space put in front is no one's."""
    lengths = byte_lengths(tokenizer)[ids]
    added = lengths.sum() - len((prompt + response).encode())
    assert added in (0, 1)
    return (lengths.cumsum() - added > len(prompt.encode())) & (lengths > 0)


@pytest.mark.parametrize("kind", BYTES)
@given(texts=cut_anywhere())
def test_byte_level_tokens_against_their_bytes(kind: dict, texts: tuple[str, str]) -> None:
    tokenizer = byte_level(**kind)
    tokens = one(tokenizer, *texts)
    assert tokens.ids.tolist() == tokenizer("".join(texts)).input_ids
    assert np.array_equal(tokens.counted, by_bytes(tokenizer, *texts, tokens.ids))


@given(texts=cut_anywhere(), trim=st.booleans())
def test_counted_tokens_decode_to_the_response_and_a_little_before(
    texts: tuple[str, str], trim: bool
) -> None:
    tokenizer = byte_level(trim=trim)
    ids, counted = one(tokenizer, *texts)
    assert tokenizer.decode(ids[counted], clean_up_tokenization_spaces=False).endswith(texts[1])
    before = tokenizer.decode(
        ids[~counted], skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    assert texts[0].startswith(before.rstrip("\ufffd"))  # a token may end within a character
    assert counted.sum() + (~counted & ~np.isin(ids, [0, 1])).sum() + np.isin(
        ids, [0, 1]
    ).sum() == len(ids)


@given(texts=cut_anywhere(), prepend=st.booleans())
def test_pieces_against_their_lengths(texts: tuple[str, str], prepend: bool) -> None:
    """Pieces together are the text, a sign for each space and perhaps one at the front."""
    prompt, response = texts[0].replace("▁", ""), texts[1].replace("▁", "")
    tokenizer = pieces(prepend=prepend)
    ids, counted = one(tokenizer, prompt, response)
    names = [tokenizer.convert_ids_to_tokens(int(i)) for i in ids[1:-1]]
    if (
        "<unk>" in names
    ):  # an unknown piece does not tell its length; the other test of unknown pieces has those
        return
    added = int("".join(names) != (prompt + response).replace(" ", "▁"))
    assert "".join(names) == "▁" * added + (prompt + response).replace(" ", "▁")
    ends = np.cumsum([len(name) for name in names]) - added
    assert counted[1:-1].tolist() == [
        bool(end > len(prompt) or (end == 0 and not prompt)) for end in ends
    ]
    assert not counted[[0, -1]].any()


@pytest.mark.parametrize(
    ("prompt", "response", "expected"),
    [
        ("ab", "cd", "<s>- ab- cd+ </s>-"),
        ("a", "bcd", "<s>- ab+ cd+ </s>-"),
        ("abc", "d", "<s>- ab- cd+ </s>-"),
        ("ab ", "cd", "<s>- ab- Ġcd+ </s>-"),
        ("ab", " cd", "<s>- ab- Ġcd+ </s>-"),
        ("ab ", " cd", "<s>- ab- Ġ- Ġcd+ </s>-"),
        ("ab", "  cd", "<s>- ab- Ġ+ Ġcd+ </s>-"),
        ("ab\n", "cd", "<s>- ab- Ċ- cd+ </s>-"),
        ("ab\t", " cd", "<s>- ab- ĉĠ+ cd+ </s>-"),
        ("ab\t ", "cd", "<s>- ab- ĉĠ- cd+ </s>-"),
        ("abé", "é", "<s>- ab- Ã- ©- Ã+ ©+ </s>-"),
        ("", "ab", "<s>- ab+ </s>-"),
        ("", " ab", "<s>- Ġ+ ab+ </s>-"),
        ("ab", "", "<s>- ab- </s>-"),
        ("", "", "<s>- </s>-"),
        ("ab</s>", "cd</s>", "<s>- ab- </s>- cd+ </s>- </s>-"),
        ("<s>ab", "cd", "<s>- ab- cd+ </s>-"),
        ("<s>", "<s>cd", "<s>- <s>- cd+ </s>-"),
    ],
)
@pytest.mark.parametrize("trim", [True, False])
def test_seams_by_hand(prompt: str, response: str, expected: str, trim: bool) -> None:
    """By hand: `ab`, `cd` and ` cd` are merged whatever part of them is the prompt's."""
    names = ["<s>", "</s>", *pre_tokenizers.ByteLevel.alphabet(), "ab", "cd", "Ġcd", "ĉĠ"]
    merges = [("a", "b"), ("ĉ", "Ġ"), ("c", "d"), ("Ġ", "cd")]
    bare = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, merges))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    add_ends(bare, processors.ByteLevel(trim_offsets=trim))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, bos_token="<s>", eos_token="</s>")
    ids, counted = one(tokenizer, prompt, response)
    seen = zip(tokenizer.convert_ids_to_tokens(ids.tolist()), counted, strict=True)
    assert " ".join(f"{name}{'+' if yes else '-'}" for name, yes in seen) == expected


@pytest.mark.parametrize(
    ("prompt", "response", "expected"),
    [
        ("e\u0301", "a", [False, True]),
        ("e", "\u0301a", [True, True]),
        ("e", "\u0301", [True]),
        ("a", "e\u0301", [False, True]),
        ("\u09a1\u09bc", "a", [False, False, True]),  # NFC takes it apart and leaves it so
        ("\u09dc", "a", [False, False, True]),
        ("a", "\u09dc", [False, True, True]),
    ],
)
def test_a_normaliser_that_joins_or_splits_characters(
    prompt: str, response: str, expected: list[bool]
) -> None:
    vocabulary = {
        name: i for i, name in enumerate(["a", "\u00e9", "e", "\u0301", "\u09a1", "\u09bc"])
    }
    bare = Tokenizer(models.BPE(vocabulary, []))
    bare.normalizer = normalizers.NFC()
    tokens = one(PreTrainedTokenizerFast(tokenizer_object=bare), prompt, response)
    assert tokens.counted.tolist() == expected


def test_a_mark_that_keeps_its_own_token() -> None:
    """Without a normaliser the letter before the seam stays the prompt's, whatever follows."""
    bare = Tokenizer(models.BPE({"e": 0, "\u0301": 1}, []))
    assert one(PreTrainedTokenizerFast(tokenizer_object=bare), "e", "\u0301").counted.tolist() == [
        False,
        True,
    ]


def test_characters_split_into_bytes_count_together() -> None:
    vocabulary = {
        "<unk>": 0,
        "▁": 1,
        "a": 2,
        "▁a": 3,
        **{f"<0x{byte:02X}>": 4 + byte for byte in range(256)},
    }
    bare = Tokenizer(models.BPE(vocabulary, [("▁", "a")], byte_fallback=True, unk_token="<unk>"))
    bare.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, unk_token="<unk>")
    assert one(tokenizer, "a", "你 a").counted.tolist() == [False, True, True, True, True]
    assert one(tokenizer, "a你", " a").counted.tolist() == [False, False, False, False, True]
    assert one(tokenizer, "a你 ", "a").counted.tolist() == [False, False, False, False, True]


@given(
    st.lists(st.sampled_from(["hello", "answer", "18", "☃", "日", "."]), min_size=1),
    st.integers(0, 9),
)
def test_words_on_either_side(words: list[str], at: int) -> None:
    """WordPiece never joins two words: each side has the tokens it has alone.

    Unknown ones count as well.
    """
    tokenizer = word_pieces()
    prompt, response = " ".join(words[:at]), " ".join(words[at:])
    ids, counted = one(tokenizer, f"{prompt} ", response)
    assert ids[counted].tolist() == tokenizer(response, add_special_tokens=False).input_ids
    assert ids[~counted].tolist() == tokenizer(prompt).input_ids


def test_unknown_pieces_count() -> None:
    ids, counted = one(pieces(prepend=True), "The answer", " ☃")
    assert ids[-2] == 2
    assert counted[-2]


@given(texts=cut_anywhere(), trim=st.booleans())
def test_a_space_the_tokenizer_puts_in_front(texts: tuple[str, str], trim: bool) -> None:
    """Without a prompt it goes with the first character, or with none."""
    tokenizer = byte_level(spaced=True, trim=trim)
    ids, counted = one(tokenizer, *texts)
    skip = 0 if texts[0] else 2
    assert np.array_equal(counted[skip:], by_bytes(tokenizer, *texts, ids)[skip:])


def test_many_at_once_are_as_each_alone() -> None:
    """More than the tokenizer is given at once; nothing is cut at its own limit or filled up."""
    tokenizer = byte_level()
    responses = [
        Response(f"q{i}", "en", LINES[i % 8][: i % 17], LINES[i % 7] * (i % 3)) for i in range(1100)
    ]
    tokenizer.model_max_length = 8
    for response, tokens in zip(responses, tokenise(tokenizer, responses), strict=True):
        alone = one(tokenizer, response.prompt, response.response)
        assert tokens.ids.tolist() == alone.ids.tolist()
        assert tokens.counted.tolist() == alone.counted.tolist()
    assert tokenise(tokenizer, []) == []


def test_prompts_to_write_after_have_no_end_token() -> None:
    tokenizer = byte_level(ends=True)
    [with_text, with_its_own, empty] = prompt_ids(tokenizer, ["ab", "ab</s>", ""])
    assert with_text == tokenizer("ab").input_ids[:-1]
    assert with_its_own == with_text
    assert empty == [tokenizer.bos_token_id]
    assert prompt_ids(byte_level(ends=False), [""]) == [[]]


@pytest.mark.parametrize("prepend", [True, False])
def test_what_was_written_keeps_the_space_before_it(prepend: bool) -> None:
    """Decoded alone, the first word of a text loses the sign for the space before it."""
    tokenizer = pieces(prepend=prepend)
    prompt, whole = "The answer", "The answer is 18. So she"
    ids = tokenizer(whole).input_ids[:-1]
    before = tokenizer(prompt).input_ids[:-1]
    assert ids[: len(before)] == before
    assert continuation(tokenizer, before, ids[len(before) :]) == " is 18. So she"
    assert continuation(tokenizer, before, [tokenizer.eos_token_id]) == ""


def test_a_slow_tokenizer() -> None:
    class Slow(PreTrainedTokenizerBase):
        is_fast = False

    with pytest.raises(
        InputError,
        match="Slow does not tell which characters a token covers; load the fast tokenizer",
    ):
        tokenise(Slow(), [])


def made(ids: list[int], counted: str) -> Tokens:
    return Tokens(np.array(ids, dtype=np.int32), np.array([c == "+" for c in counted]))


@pytest.mark.parametrize(
    ("counted", "shifted"),
    [("--++-", "-++--"), ("+++", "++-"), ("-", "-"), ("", ""), ("---+", "--+-")],
)
def test_predicting_positions(counted: str, shifted: str) -> None:
    tokens = predicting(made([7] * len(counted), counted))
    assert "".join("-+"[int(c)] for c in tokens.counted) == shifted
    assert len(tokens.ids) == len(counted)


@pytest.mark.parametrize(
    ("group", "length"),
    [
        ([([1, 2, 3, 4], "--++")], 2),
        ([([1, 2, 3, 4], "--++"), ([1, 2, 3, 5, 6], "--+++")], 2),
        ([([1, 2, 3, 4], "---+"), ([1, 2, 9, 5], "--++")], 2),
        ([([1, 2, 3, 4], "---+"), ([1, 8, 3, 5], "---+")], 1),
        ([([1, 2], "++"), ([1, 2], "--")], 0),
        ([([1, 2, 3], "---"), ([1, 2, 3, 4], "---+")], 3),
        ([([1, 2, 3, 4], "---+"), ([1, 2], "--")], 2),
    ],
)
def test_the_part_computed_once(group: list[tuple], length: int) -> None:
    assert shared_prefix([made(*member) for member in group]) == length


@given(st.sampled_from(LINES), st.lists(free, min_size=1, max_size=5), st.booleans())
def test_the_shared_part_is_shared_uncounted_and_cannot_be_longer(
    prompt: str, texts: list[str], before: bool
) -> None:
    group = tokenise(byte_level(), [Response("q", "en", prompt, text) for text in texts])
    if before:
        group = [predicting(tokens) for tokens in group]
    length = shared_prefix(group)
    heads = {tuple(tokens.ids[:length]) for tokens in group}
    assert len(heads) == 1
    assert not any(tokens.counted[:length].any() for tokens in group)
    longer = {tuple(tokens.ids[: length + 1]) for tokens in group}
    at_end = any(len(tokens.ids) == length for tokens in group)
    assert len(longer) > 1 or at_end or any(tokens.counted[length] for tokens in group)


def test_too_long_ones_are_named_and_not_cut() -> None:
    assert too_long([made([1] * n, "-" * n) for n in (3, 4, 5, 9)], 4) == [2, 3]


def test_real_responses_in_every_language() -> None:
    """Prompt and response of every MGSM response, against the bytes of the tokens."""
    responses = read_responses(data("responses_mcot7b", "mgsm"))
    tokenizer = byte_level(trim=True)
    for response, tokens in zip(responses, tokenise(tokenizer, responses), strict=True):
        expected = by_bytes(tokenizer, response.prompt, response.response, tokens.ids)
        assert np.array_equal(tokens.counted, expected)
