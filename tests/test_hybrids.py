"""Whole commands on models that keep more than keys and values, as users have them today."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support import families
from support.command import Outcome

WORDS = {"en": "she has nine red boats", "zh": "她有九条红色的船", "sw": "ana mashua tisa"}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three responses to each of four questions in three languages."""
    rows = [
        {
            "question_id": f"q{q}",
            "lang": code,
            "prompt": f"{text} {q}? ",
            "response": f"{text[sample:]} {q * sample}.",
            "sample": sample,
        }
        for code, text in WORDS.items()
        for q in range(4)
        for sample in range(3)
    ]
    path = tmp_path_factory.mktemp("texts") / "responses.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path


@pytest.mark.parametrize("name", ["qwen3_5", "falcon_h1", "bamba"])
def test_check_record_and_perplexity(
    name: str, texts: Path, tmp_path: Path, langneurons: Callable[..., Outcome]
) -> None:
    """Prompts are shared where the model goes on from them, else not, and every command says so."""
    shared = families.CONTINUES[name]
    model = families.save(name, tmp_path / "model")
    checked = langneurons("check", model)
    assert checked.status == 0, checked.out
    claim = next(line for line in checked.out.splitlines() if "a prompt's cache" in line)
    assert claim.startswith("yes " if shared else "-   ")
    counts, neurons = tmp_path / "counts", tmp_path / "neurons"
    recorded = langneurons("record", model, texts, "--out", counts, "--blocks", 2, "--json")
    assert recorded.status == 0, recorded.err
    found = langneurons(
        "identify", counts, "--out", neurons, "--rate", 0.1, "--tau-quantile", 0.8, "--bootstrap", 0
    )
    assert found.status == 0, found.err
    measured = langneurons(
        "perplexity", model, neurons, texts, "--out", tmp_path / "ppl", "--controls", 1, "--json"
    )
    assert measured.status == 0, measured.err
    for done in (recorded, measured):
        assert ("every text is read whole" in done.err) != shared
    assert ("prompts not shared" in recorded.json) != shared
    assert ("prompts not shared" in measured.json["facts"]) != shared
    whole = langneurons(
        "record", model, texts, "--out", tmp_path / "whole", "--blocks", 2, "--no-share-prompts"
    )
    assert whole.status == 0, whole.err
    file = "counts.safetensors"
    assert (counts / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    forced = langneurons("record", model, texts, "--out", tmp_path / "forced", "--share-prompts")
    assert forced.status == (0 if shared else 2)
    assert forced.err.count("langneurons: --share-prompts: the model does not go on") != shared
