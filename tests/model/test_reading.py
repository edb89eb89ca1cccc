"""What a model reads: running text in chunks counts and costs what rows without a prompt do."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from langneurons.config import TextConfig
from langneurons.errors import InputError
from langneurons.model import reading
from langneurons.model.loading import Loaded, load
from langneurons.model.reading import chunks, counted, cut
from langneurons.neurons.counts import Counts
from langneurons.silencing.losses import Losses
from langneurons.texts import world
from langneurons.texts.running_text import Document
from support.command import Outcome, refused

CODES = ("en", "de", "zh", "th")

Command = Callable[..., Outcome]


@pytest.fixture(scope="module")
def nano() -> Loaded:
    return load("nano")


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of .txt, a document a line."""
    folder = tmp_path_factory.mktemp("sentences")
    for code in CODES:
        lines = [text.replace("\n", " ") for text in world.running_text("nano-stories", code, 24)]
        (folder / f"{code}.txt").write_text("\n".join(lines), "utf-8")
    return folder


@pytest.fixture(scope="module")
def as_rows(sentences: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as responses to empty prompts."""
    folder = tmp_path_factory.mktemp("rows")
    for code in CODES:
        lines = (sentences / f"{code}.txt").read_text("utf-8").splitlines()
        rows = [
            {"question_id": str(i), "lang": code, "prompt": "", "response": line}
            for i, line in enumerate(lines, 1)
        ]
        content = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{code}.jsonl").write_text(content, "utf-8")
    return folder


@pytest.fixture(scope="module")
def recorded(sentences: Path, as_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both recorded: `text` and `rows`, and the neurons of the first."""
    from support.command import run_here

    out = tmp_path_factory.mktemp("out")
    for name, source in (("text", sentences), ("rows", as_rows)):
        done = run_here("record", "nano", source, "--out", out / name, "--languages", "en,de,zh,th")
        assert done.status == 0, done.err
    done = run_here("identify", out / "text", "--out", out / "neurons", "--rate", 0.2)
    assert done.status == 0, done.err
    return out


def test_counts_are_those_of_rows_with_an_empty_prompt(recorded: Path) -> None:
    text, rows = Counts.load(recorded / "text"), Counts.load(recorded / "rows")
    assert text.languages == rows.languages
    assert (text.tokens == rows.tokens).all()
    assert text.tokens.sum() > 3000
    for ours, theirs in zip(text.active, rows.active, strict=True):
        assert (ours == theirs).all()


def test_perplexities_are_those_of_rows_with_an_empty_prompt(
    recorded: Path, sentences: Path, as_rows: Path, langneurons: Command
) -> None:
    costs = []
    for name, source in (("p text", sentences), ("p rows", as_rows)):
        out = recorded / name
        words = ("--controls", 0, "--settings", "specific", "--languages", "de,th")
        done = langneurons("perplexity", "nano", recorded / "neurons", source, "--out", out, *words)
        assert done.status == 0, done.err
        costs.append(Losses.load(out))
    assert (costs[0].tokens == costs[1].tokens).all()
    np.testing.assert_allclose(costs[0].nll, costs[1].nll, rtol=1e-6)


def test_a_chunk_is_no_longer_than_it_may_be(nano: Loaded) -> None:
    text = "\n\n".join(world.running_text("nano-problems", "th", 12))
    glued = text.replace(" ", "").replace("\n", "")
    documents = [Document("a", "th", text), Document("b", "th", glued), Document("c", "th", "สวัสดี")]
    pieces = chunks(nano.tokenizer, documents, 40)
    assert max(counted(nano.tokenizer, pieces)) <= 40
    assert min(counted(nano.tokenizer, pieces)[:10]) > 15
    for document in documents:
        own = [piece for piece in pieces if piece.question_id == document.id]
        assert [piece.sample for piece in own] == list(range(len(own)))
        joined = "".join("".join(piece.response.split()) for piece in own)
        assert joined == "".join(document.text.split())
    assert pieces[-1].response == "สวัสดี"
    assert all(piece.prompt == "" for piece in pieces)


def test_words_are_not_cut_where_there_are_spaces(nano: Loaded) -> None:
    text = " ".join(world.running_text("nano-problems", "en", 8)).replace("\n", " ")
    pieces = chunks(nano.tokenizer, [Document("a", "en", text)], 30)
    assert " ".join(piece.response for piece in pieces) == text


@pytest.mark.parametrize("most", [1, 7, 100, 333])
def test_cut_to_so_many_tokens(nano: Loaded, most: int) -> None:
    documents = [
        Document(str(i), code, text)
        for code in ("en", "bn")
        for i, text in enumerate(world.running_text("nano-stories", code, 15))
    ]
    texts = chunks(nano.tokenizer, documents, 512)
    kept = cut(nano.tokenizer, texts, counted(nano.tokenizer, texts), {"en": most, "bn": most})
    for code in ("en", "bn"):
        own = [text for text in kept if text.lang == code]
        whole = [text for text in texts if text.lang == code]
        total = sum(counted(nano.tokenizer, own))
        assert most - 3 <= total <= most
        assert own[:-1] == whole[: len(own) - 1]
        assert whole[len(own) - 1].response.startswith(own[-1].response)


def test_as_many_in_every_language(nano: Loaded, sentences: Path) -> None:
    texts = reading.read(sentences, nano, TextConfig(tokens="even"))
    numbers = dict.fromkeys(CODES, 0)
    for text, number in zip(texts.responses, counted(nano.tokenizer, texts.responses), strict=True):
        numbers[text.lang] += number
    assert max(numbers.values()) - min(numbers.values()) <= 3
    whole = reading.read(sentences, nano, TextConfig())
    assert len(texts.responses) < len(whole.responses) == 24 * len(CODES)
    assert whole.settings == {"tokens": "all", "chunk": 512, "documents": "auto", "take": 0}
    assert [gate["chunks"] for gate in whole.facts["gates"]] == [24] * len(CODES)


def test_a_document_in_another_language_is_told_and_left_out(
    sentences: Path, tmp_path: Path, langneurons: Command
) -> None:
    for code in CODES:
        (tmp_path / f"{code}.txt").write_bytes((sentences / f"{code}.txt").read_bytes())
    stray = (tmp_path / "en.txt").read_text("utf-8").splitlines()[3]
    with (tmp_path / "de.txt").open("a", encoding="utf-8") as file:
        file.write(f"\n{stray}")
    words = ("record", "nano", tmp_path, "--take", 25, "--quiet")
    told = langneurons(*words, "--out", tmp_path / "a")
    assert "1 document is in another language, by the others here: de 25 (en)" in told.out
    assert "--drop wrong-language leaves such out" in told.out
    dropped = langneurons(*words, "--drop", "wrong-language", "--out", tmp_path / "b", "--json")
    assert dropped.json["gates"][0] == {
        "lang": "de",
        "documents": 25,
        "kept": 24,
        "repetition": 0,
        "wrong_script": 0,
        "wrong_language": 1,
        "chunks": 24,
    }
    refused(langneurons(*words, "--drop", "unfinished", "--out", tmp_path / "c"), "what can be")


def test_shuffled_texts(nano: Loaded, sentences: Path, as_rows: Path) -> None:
    """By document, so that the rest of a file does not matter; responses alike."""
    shuffled = reading.read(sentences, nano, TextConfig(perturb="shuffle"))
    again = reading.read(sentences, nano, TextConfig(perturb="shuffle", take=3))
    other = reading.read(sentences, nano, TextConfig(perturb="shuffle", shuffle_seed=1))
    responses = reading.read(as_rows, nano, TextConfig(perturb="shuffle"))
    assert shuffled.settings["perturb"] == "shuffle"
    assert shuffled.settings["shuffle_seed"] == 0
    assert shuffled.responses[:3] == again.responses[:3]
    assert shuffled.responses != other.responses
    assert [r.response for r in responses.responses] == [r.response for r in shuffled.responses]
    assert responses.settings == {"perturb": "shuffle", "shuffle_seed": 0}


def test_what_is_not_for_responses_is_refused(nano: Loaded, as_rows: Path) -> None:
    with pytest.raises(InputError, match="--tokens and --take are for running text"):
        reading.read(as_rows, nano, TextConfig(tokens=100))


def test_few_documents_are_noted(tmp_path: Path, langneurons: Command) -> None:
    for code in ("en", "de"):
        text = "\n".join(world.running_text("nano-stories", code, 9))
        (tmp_path / f"{code}.txt").write_text(text, "utf-8")
    words = ("record", "nano", tmp_path, "--documents", "files", "--chunk", 20, "--quiet")
    done = langneurons(*words, "--out", tmp_path / "counts")
    assert "note: fewer documents than the 10 blocks in de 1, en 1" in done.out
    refused(langneurons(*words, "--tokens", 0, "--out", tmp_path / "b"), "tokens 0")
    refused(langneurons(*words, "--tokens", "some", "--out", tmp_path / "b"), "some")
