"""GGUF files: a model of llama.cpp's is read, counted, silenced and aligned like a folder's."""

import copy
import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from langneurons.errors import MissingExtraError, ModelError
from langneurons.model import loading
from langneurons.model.check import check
from langneurons.model.loading import load, load_tokenizer
from langneurons.neurons.record import record
from langneurons.study.access import access
from langneurons.study.sizes import size
from langneurons.study.toml import parse
from langneurons.texts.responses import Response
from support import gguf_files
from support.command import run_here
from support.preferences import QUICK, to_learn

IDS = torch.arange(3, 60)[None]
Q8 = gguf.GGMLQuantizationType.Q8_0
RESPONSES = [
    Response(f"q{q}", lang, f"{q} {word}? ", f"{word} {sample} {word * sample}.", sample)
    for lang, word in (("en", "the boats"), ("zh", "船"), ("th", "เรือ"))
    for q in range(3)
    for sample in range(3)
]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama in a GGUF file."""
    return gguf_files.write(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_it_is_the_model_that_was_written(family: str, tmp_path: Path) -> None:
    path = gguf_files.write(tmp_path / "m.gguf", family)
    loaded = load(path, device="cpu")
    assert torch.equal(loaded.model(IDS).logits, gguf_files.model_of(family)(IDS).logits)
    assert loaded.model.dtype == torch.float32
    assert not loaded.model.training
    assert (loaded.id, loaded.revision, loaded.context) == (str(path), None, 2048)
    assert check(loaded).holds


def test_its_tokenizer(file: Path) -> None:
    """Every byte has a token, `th` is merged, the beginning is marked; nothing else is in it."""
    tokenizer = load_tokenizer(file)
    ids = tokenizer("the 船").input_ids
    assert [*map(len, tokenizer.convert_ids_to_tokens(ids))] == [3, 2, 1, 1, 1, 1, 1]
    assert ids[0] == 1
    assert tokenizer.decode(ids, skip_special_tokens=True) == "the 船"
    assert {*tokenizer.get_vocab()} == {*gguf_files.TOKENS}
    assert load(file, device="cpu").tokenizer("the 船").input_ids == ids


def test_quantised_weights_are_unpacked(tmp_path: Path) -> None:
    """As a model whose weights were rounded as Q8_0 rounds them."""
    plain = gguf_files.model_of("llama", intermediate_size=64)
    path = gguf_files.write(tmp_path / "q8.gguf", model=plain, kind=Q8)
    model = copy.deepcopy(plain)
    for name, weight in model.named_parameters():
        if weight.ndim > 1:
            stem = name.removesuffix(".weight")
            laid = gguf_files.laid_out(stem, weight.numpy(), model)
            # rows of heads change places, which no rounding within a row sees
            assert sorted(map(bytes, laid)) == sorted(map(bytes, weight.numpy()))
            rounded = gguf.quants.dequantize(gguf.quants.quantize(weight.numpy(), Q8), Q8)
            weight.copy_(torch.from_numpy(rounded))
    loaded = load(path, device="cpu")
    assert torch.equal(loaded.model(IDS).logits, model(IDS).logits)
    assert not torch.equal(model(IDS).logits, plain(IDS).logits)
    assert load(path, device="cpu", dtype="bfloat16").model.dtype == torch.bfloat16
    loaded.model.save_pretrained(tmp_path / "folder")  # it is a model like any other
    load_tokenizer(path).save_pretrained(tmp_path / "folder")
    assert torch.equal(load(tmp_path / "folder", device="cpu").model(IDS).logits, model(IDS).logits)


def test_frequencies_of_llama_3(tmp_path: Path) -> None:
    """Its files hold what each frequency is divided by; transformers leaves that out."""
    scaled = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0}
    scaled |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    model = gguf_files.model_of(
        "llama", rope_parameters=scaled | {"original_max_position_embeddings": 64}
    )
    plain = gguf_files.model_of("llama")
    factors = plain.model.rotary_emb.inv_freq / model.model.rotary_emb.inv_freq
    assert factors.max() > 2
    path = gguf_files.write(tmp_path / "m.gguf", tensors={"rope_freqs.weight": factors.numpy()})
    logits = load(path, device="cpu").model(IDS).logits
    assert torch.allclose(logits, model(IDS).logits, atol=1e-5)
    assert not torch.allclose(logits, plain(IDS).logits, atol=1e-2)


def test_a_text_ends_where_a_turn_does(file: Path, tmp_path: Path) -> None:
    assert load(file, device="cpu").ends == [2]
    turns = gguf_files.write(tmp_path / "m.gguf", more={"tokenizer.ggml.eot_token_id": 7})
    assert load(turns, device="cpu").ends == [2, 7]


def test_files_beside_it_have_no_part_in_it(file: Path, tmp_path: Path) -> None:
    """Not the tokenizer or config of another model, nor a file of the same name where we are."""
    folder, here = tmp_path / "folder", tmp_path / "here"
    folder.mkdir()
    here.mkdir()
    beside = folder / "m.gguf"
    beside.write_bytes(file.read_bytes())
    for name in ("config.json", "tokenizer.json", "generation_config.json", "adapter_config.json"):
        (folder / name).write_text("{}")
    gguf_files.write(here / "m.gguf", model=gguf_files.model_of("llama", seed=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        loaded, other = load("../folder/m.gguf", device="cpu"), load("m.gguf", device="cpu")
    assert loaded.inputs == load(file, device="cpu").inputs
    assert other.fingerprint != loaded.fingerprint


def test_the_fingerprint_is_of_the_file(file: Path, tmp_path: Path) -> None:
    """So is a weight covered that no sample of a large tensor would hold."""
    loaded = load(file, device="cpu")
    assert loaded.fingerprint == loading.fingerprint(loaded.model, loaded.file)
    assert loaded.fingerprint != loading.fingerprint(loaded.model)
    assert loaded.facts["file"] == loaded.file
    assert load(file, device="cpu", dtype="bfloat16").fingerprint != loaded.fingerprint
    named = gguf_files.write(tmp_path / "n.gguf", more={"general.name": "other"})
    assert load(named, device="cpu").fingerprint != loaded.fingerprint
    assert load(named, device="cpu").inputs.keys() == loaded.inputs.keys()


def test_counts_are_those_of_the_folder(file: Path, tmp_path: Path) -> None:
    loaded = load(file, device="cpu")
    folder = loading.around(gguf_files.model_of("llama"), loaded.tokenizer)
    ours, theirs = record(loaded, RESPONSES), record(folder, RESPONSES)
    for layer, expected in zip(ours.active, theirs.active, strict=True):
        assert np.array_equal(layer, expected)
        assert layer.any()


def said(*words: object) -> str:
    done = run_here(*words)
    assert (done.status, done.err) == (0, ""), done.err
    return done.out


def test_every_command_takes_it(file: Path, tmp_path: Path) -> None:
    """Quietly: nothing but what a command says itself."""
    assert "every measurement holds" in said("check", file)
    questions, rows = tmp_path / "questions", tmp_path / "rows"
    for folder, extra in ((questions, ""), (rows, ', "response": "the %s"')):
        folder.mkdir()
        for code in ("en", "sw"):
            lines = (
                f'{{"id": "{i}", "lang": "{code}", "question": "{code} {i}?", "answer": {i}'
                + (extra % (code * i) if extra else "")
                + "}"
                for i in range(1, 4)
            )
            (folder / f"{code}.jsonl").write_text("\n".join(lines))
    quiet = ["--quiet", "--template", "plain"]
    said("record", file, rows, "--out", tmp_path / "c", *quiet, "--blocks", "1")
    said("identify", tmp_path / "c", "--out", tmp_path / "n", "--rate", "0.2", "--quiet")
    out = ["--out", tmp_path / "p", "--controls", "1", "--blocks", "1"]
    said("perplexity", file, tmp_path / "n", rows, *out, *quiet)
    words = ["--n", "1", "--max-new-tokens", "4", *quiet]
    said("sample", file, questions, "--out", tmp_path / "s", *words)


@pytest.mark.skipif(not importlib.util.find_spec("trl"), reason="trl is not installed")
def test_an_adapter_of_it(file: Path, tmp_path: Path) -> None:
    """It names the file; whatever takes a model takes the adapter."""
    from langneurons.align.dpo import dpo

    base = load(file, device="cpu")
    logits = base.model(IDS).logits
    done = dpo(load(file, device="cpu"), to_learn(), tmp_path / "w", replace(QUICK, steps=2))
    done.adapter.save(tmp_path / "a")
    assert loading.base_of(tmp_path / "a") == str(file.resolve())
    adapted = load(tmp_path / "a", device="cpu")
    assert adapted.file == base.file
    assert adapted.fingerprint != base.fingerprint
    assert not torch.equal(adapted.model(IDS).logits, logits)
    with adapted.model.disable_adapter():  # ty: ignore[call-non-callable]
        assert torch.equal(adapted.model(IDS).logits, logits)
    assert check(adapted).holds
    file = file.rename(file.with_name("elsewhere.gguf"))
    refused(r"adapts .*tiny\.gguf is no file; .* correct base_model", tmp_path / "a")
    file.rename(file.with_name("tiny.gguf"))


def test_a_study_of_it(file: Path, tmp_path: Path) -> None:
    known = size(str(file))
    assert known
    assert known.weights == sum(p.numel() for p in gguf_files.model_of("llama").parameters())
    assert known.vocabulary == len(gguf_files.TOKENS)
    lines = f'languages = ["en", "sw"]\n[models]\nm = "{file}"\n[domains.w]\nquestions = "nano"'
    seen = {name: (there, words) for name, there, words in access(parse(lines, "here"))}
    assert seen[str(file)] == (True, "39.9k weights by its file, a file here")


def refused(words: str, path: Path, kind: type[Exception] = ModelError, **options: Any) -> None:
    with pytest.raises(kind, match=words) as caught:
        load(path, device="cpu", **options)
    assert "\n" not in str(caught.value)


def test_refuses_what_is_no_such_file(tmp_path: Path) -> None:
    refused(
        r"/m\.gguf is no file; give a model's folder, a GGUF file or an id", tmp_path / "m.gguf"
    )
    (tmp_path / "m.gguf").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    refused(r"m\.gguf is a pointer of git-lfs; fetch the file itself", tmp_path / "m.gguf")
    (tmp_path / "m.bin").write_bytes(b"whatever")
    refused(r"m\.bin is no GGUF file; a model is a folder, a GGUF file or", tmp_path / "m.bin")
    (tmp_path / "m.bin").write_bytes(b"")
    refused(r"m\.bin is empty", tmp_path / "m.bin")


def test_refuses_every_file_that_is_cut_short(file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    lengths = [4, 8, 20, 24, 40, 100, 500, 2000, 4000, len(content) // 2, len(content) - 32]
    for length in lengths:
        (tmp_path / "cut.gguf").write_bytes(content[:length])
        refused(r"cut\.gguf is damaged or cut short", tmp_path / "cut.gguf")


def test_refuses_a_damaged_head(file: Path, tmp_path: Path) -> None:
    """Whatever byte of it is wrong: one line, or a model all the same."""
    content = bytearray(file.read_bytes())
    generator = np.random.default_rng(0)
    for place in generator.integers(4, 1200, 25):
        damaged = content.copy()
        damaged[place] ^= 255
        (tmp_path / "d.gguf").write_bytes(damaged)
        try:
            load(tmp_path / "d.gguf", device="cpu")
        except ModelError as error:
            assert "\n" not in str(error)


def test_refuses_a_part_of_a_model(tmp_path: Path) -> None:
    part = gguf_files.write(tmp_path / "m-00002-of-00004.gguf", more={"split.count": 4})
    refused(
        r"is one of 4 parts of a model; merge them: llama-gguf-split --merge "
        r"\S*/m-00001-of-00004\.gguf m\.gguf$",
        part,
    )


def test_refuses_what_transformers_does_not_read(file: Path, tmp_path: Path) -> None:
    other = file.read_bytes().replace(b"llama", b"zorks")
    (tmp_path / "z.gguf").write_bytes(other)
    refused(
        r"z\.gguf: transformers [\d.]+ reads no GGUF files of architecture 'zorks'",
        tmp_path / "z.gguf",
    )
    for name, value in (("type", "yarn"), ("factor", 4.0)):
        path = gguf_files.write(tmp_path / "y.gguf", more={f"llama.rope.scaling.{name}": value})
        refused(rf"y\.gguf stretches positions \(llama\.rope\.scaling\.{name}\)", path)
    refused(
        r"t\.gguf holds no tokenizer; give the folder or id",
        gguf_files.write(tmp_path / "t.gguf", tokenizer=False),
    )
    refused(
        r"m\.gguf has no weights for model\.layers\.1\.mlp\.up_proj\.weight and 0 more",
        gguf_files.write(tmp_path / "m.gguf", leave_out="blk.1.ffn_up.weight"),
    )


@pytest.mark.parametrize("library", ["gguf", "accelerate"])
def test_it_needs_the_extra(library: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, "langneurons.model.gguf_file", raising=False)
    monkeypatch.delattr("langneurons.model.gguf_file", raising=False)
    refused(
        rf"{library} is missing to read it: pip install 'langneurons\[gguf\]'",
        file,
        MissingExtraError,
    )
