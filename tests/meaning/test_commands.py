"""The command, from a tiny model and a folder of texts."""

import json
from pathlib import Path

import pytest

from langneurons.meaning.measures import Meaning
from support.command import refused


@pytest.fixture(scope="module")
def out(model_folder: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory, langneurons):
    folder = tmp_path_factory.mktemp("runs") / "meaning"
    words = ("--out", folder, "--languages", "en,zh,sw", "--bootstrap", 20)
    done = langneurons("meaning", model_folder, texts, *words)
    assert done.status == 0, done.err
    assert "30 sentences in en, zh, sw; translations: of en with each other language" in done.out
    assert "-- hidden states" in done.out
    assert "-- rates of activation" in done.out
    return folder


def test_what_it_writes(out: Path, model_folder: Path, texts: Path, langneurons) -> None:
    value = Meaning.load(out)
    assert value.languages == ("en", "zh", "sw")
    words = ("--out", out, "--languages", "en,zh,sw", "--bootstrap", 20, "--json")
    again = langneurons("meaning", model_folder, texts, *words)
    assert again.json["places"] == value.places.records()
    assert again.json["beyond the surface"] == value.beyond_surface
    assert "up to date" in again.err


def test_texts_that_do_not_do(model_folder: Path, texts: Path, tmp_path: Path, langneurons) -> None:
    """Each in one line, before the model is loaded."""
    one = tmp_path / "one.jsonl"
    one.write_bytes((texts / "en.jsonl").read_bytes())
    rows = [json.loads(line) for line in (texts / "sw.jsonl").read_text("utf-8").splitlines()]
    for row in rows:
        row["id"] = f"sw-{row['id']}"
    both = one.read_text("utf-8") + "".join(f"{json.dumps(row)}\n" for row in rows)
    apart = tmp_path / "apart.jsonl"
    apart.write_text(both, "utf-8")
    twins = tmp_path / "twins"
    twins.mkdir()
    for code in ("en", "sw"):
        first, *others = (texts / f"{code}.jsonl").read_text("utf-8").splitlines()
        again = json.loads(first) | {"id": "again"}
        lines = [first, *others, json.dumps(again)]
        (twins / f"{code}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    for source, told in (
        (one, "one language"),
        (apart, "not parallel"),
        (twins, "sentences s0 and again are the same in en"),
        (texts, "10 sentences in each language"),
    ):
        take = ("--take", 10) if source == texts else ()
        refused(langneurons("meaning", model_folder, source, "--out", tmp_path / "o", *take), told)


def test_a_model_that_does_not_do(texts: Path, tmp_path: Path, langneurons) -> None:
    """In one line: one without decoder layers of its own, or a head."""
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    config = {"model_type": "t5", "is_encoder_decoder": True}
    (encoder / "config.json").write_text(json.dumps(config), "utf-8")
    for command in ("meaning", "lens"):
        words = (command, encoder, texts, "--languages", "en,zh,sw", "--take", 26)
        refused(langneurons(*words, "--out", tmp_path / "o"), "encoder with a decoder")


def test_settings_out_of_range(
    model_folder: Path, texts: Path, tmp_path: Path, langneurons
) -> None:
    for words, told in (
        (("--bootstrap", 1), "2 resamplings or more"),
        (("--take", -1), "a number of sentences"),
        (("--pivot", "de"), "pivot de"),
    ):
        refused(langneurons("meaning", model_folder, texts, "--out", tmp_path / "o", *words), told)


def test_a_lens(model_folder: Path, texts: Path, tmp_path: Path, langneurons) -> None:
    """Measured are the first sentences; what is known of tokens follows from other texts."""
    known = tmp_path / "known"
    known.mkdir()
    for code in ("en", "zh", "sw"):
        rows = (texts / f"{code}.jsonl").read_text("utf-8").splitlines()
        lines = [json.dumps(json.loads(row) | {"id": f"k{i}"}) for i, row in enumerate(rows * 3)]
        (known / f"{code}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    words = ("lens", model_folder, texts, "--take", 26, "--positions", 1, "--languages", "en,zh,sw")
    refused(langneurons(*words, "--out", tmp_path / "o"), "tokens of en are known from texts that")
    done = langneurons(*words, "--known", known, "--known", known, "--out", tmp_path / "l")
    assert done.status == 2
    done = langneurons(*words, "--known", known, "--out", tmp_path / "l", "--json")
    refused(done, "tokens of en are known")  # the measured sentences are among them, and left out
