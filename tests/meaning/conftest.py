"""A tiny model, and sentences that it can read, in three languages."""

import json
import random
from pathlib import Path

import pytest

from langneurons.meaning.sentences import Sentences, parallel
from langneurons.model.loading import Loaded, load
from langneurons.texts.running_text import read
from support import families

WORDS = {"en": "she has nine red boats", "zh": "她有九条红色的船", "sw": "ana mashua tisa nyekundu"}


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.save("gemma3", tmp_path_factory.mktemp("gemma"))


@pytest.fixture(scope="session")
def model(model_folder: Path) -> Loaded:
    return load(model_folder)


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of <language>.jsonl: 30 sentences of a few words each, in three languages."""
    folder = tmp_path_factory.mktemp("texts")
    for code, text in WORDS.items():
        words = text.split() if code != "zh" else list(text)
        rng = random.Random(0)
        rows = [
            {
                "id": f"s{i}",
                "lang": code,
                "text": " ".join(rng.choices(words, k=rng.randint(2, 5))) + f" {i}",
            }
            for i in range(30)
        ]
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (folder / f"{code}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


@pytest.fixture(scope="session")
def sentences(texts: Path) -> Sentences:
    return parallel(read(texts, ["en", "zh", "sw"]).documents)
