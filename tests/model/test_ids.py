"""A tokenizer with more tokens than the embedding has rows: refused where one of them is read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from support import families
from support.command import Outcome, refused
from support.translators import save_translator

SAID = "the tokenizer has ids up to 262, the embedding 260 rows, and '<|3|>' (id 262) is to be read"


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokenizer got four tokens, of which one has a row; its template uses one."""
    folder = families.save("llama", tmp_path_factory.mktemp("models") / "llama")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<|{i}|>" for i in range(4)], special_tokens=True)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text("<|3|>{{ messages[0]['content'] }}")
    return folder


def rows(file: Path, prompt: str) -> Path:
    row = {"id": "1", "question_id": "1", "lang": "en", "prompt": prompt, "response": " two"}
    file.write_text(json.dumps({**row, "question": "One?", "answer": 1}) + "\n")
    return file


def test_it_is_refused_where_it_is_read(
    llama: Path, tmp_path: Path, langneurons: Callable[..., Outcome]
) -> None:
    marked = rows(tmp_path / "marked.jsonl", "<|3|>One")
    out = ("--out", tmp_path / "out")
    refused(langneurons("record", llama, marked, *out), SAID)
    refused(langneurons("sample", llama, marked, "-n", 1, *out), SAID)
    refused(langneurons("evaluate", llama, marked, *out), SAID)
    assert not (tmp_path / "out").exists()


def test_perplexity_refuses_it(
    llama: Path, tmp_path: Path, langneurons: Callable[..., Outcome]
) -> None:
    plain = rows(tmp_path / "plain.jsonl", "One")
    plain.write_text(plain.read_text() + plain.read_text().replace('"en"', '"zh"'))
    counts, neurons = tmp_path / "counts", tmp_path / "neurons"
    for words in (
        ("record", llama, plain, "--out", counts),
        ("identify", counts, "--rate", 0.2, "--lam", 0.1, "--bootstrap", 0, "--out", neurons),
    ):
        done = langneurons(*words)
        assert done.status == 0, done.err
    marked = rows(tmp_path / "marked.jsonl", "<|3|>One")
    marked.write_text(marked.read_text() + marked.read_text().replace('"en"', '"zh"'))
    words = ("perplexity", llama, neurons, marked, "--controls", 1, "--out", tmp_path / "costs")
    refused(langneurons(*words), SAID)
    assert not (tmp_path / "costs").exists()


def test_training_and_scoring_refuse_it(
    llama: Path, tmp_path: Path, langneurons: Callable[..., Outcome]
) -> None:
    """GRPO where a prompt has it; reward where the translator's tokenizer has grown."""
    said = [
        {"question_id": "1", "lang": code, "prompt": "<|3|>One", "response": " two <|4|>"}
        for code in ("en", "zh")
    ]
    file = tmp_path / "said.jsonl"
    file.write_text("".join(f"{json.dumps({**row, 'sample': 0})}\n" for row in said))
    whole = save_translator(tmp_path / "translator")
    grown = save_translator(tmp_path / "grown")
    tokenizer = AutoTokenizer.from_pretrained(grown)
    tokenizer.add_tokens([f"<|{i}|>" for i in range(99)], special_tokens=True)
    tokenizer.save_pretrained(grown)
    out = ("--out", tmp_path / "out")
    refused(langneurons("reward", file, "--translator", grown, *out), "rows, and '<|4|>' (id ")
    words = ("align", llama, file, "--objective", "grpo", "--steps", 1, "--batch", 2, "--rank", 2)
    more = ("--group", 2, "--max-new-tokens", 2, "--translator", whole)
    refused(langneurons(*words, *more, *out), SAID)
    assert not (tmp_path / "out").exists()


def test_it_does_no_harm_where_it_is_not(
    llama: Path, tmp_path: Path, langneurons: Callable[..., Outcome]
) -> None:
    plain = rows(tmp_path / "plain.jsonl", "<|0|>One")
    done = langneurons("record", llama, plain, "--out", tmp_path / "counts")
    assert done.status == 0, done.err


def test_check_tells(llama: Path, langneurons: Callable[..., Outcome]) -> None:
    done = langneurons("check", llama)
    assert done.status == 2
    first = done.out.splitlines()[0]
    assert first.split("  ")[0] == "NO"
    assert first.endswith("ids up to 262, 260 rows")
