"""A model exported with neurons silenced answers as the silenced model does, to the last bit."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from langneurons import layout
from langneurons.model.loading import load
from langneurons.neurons.sets import select, silence
from langneurons.texts.rows import read_responses
from support import adapters, families
from support.command import refused
from support.spoken import drawn


@pytest.mark.parametrize(
    "name", ["llama", "gpt2", "opt", "gemma3", "qwen3_moe", "deepseek_v3", "gpt_oss"]
)
def test_logits_are_those_of_silence_to_the_last_bit(
    name: str, tmp_path: Path, langneurons: Callable
) -> None:
    folder = families.save(name, tmp_path / "model")
    model = load(folder)
    neurons = drawn(model.widths)
    neurons.save(tmp_path / "neurons")
    words = ("export", "checkpoint", folder, tmp_path / "neurons", "--out", tmp_path / "out")
    done = langneurons(*words, "--kinds", "specific", "--languages", "zh", "--json")
    assert done.status == 0, done.err
    chosen = select(neurons, model.widths, ("specific",), ("zh",))
    assert done.json["silenced"] == len(chosen) > 0
    ids = torch.tensor([[1, *range(40, 70)]])
    with torch.no_grad(), silence(model, chosen):
        expected = model.model(input_ids=ids, use_cache=False).logits
    with torch.no_grad():
        whole = model.model(input_ids=ids, use_cache=False).logits
        again = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
        found = again(input_ids=ids, use_cache=False).logits
    assert torch.equal(found, expected)
    assert not torch.equal(found, whole)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer("she has")["input_ids"] == model.tokenizer("she has")["input_ids"]
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert f"{len(chosen):,} neurons silenced" in card
    assert "specific neurons of zh" in card
    per_layer = layout.per_layer(model.widths, chosen)
    assert all(f"| {i} | {n:,} |" in card for i, n in enumerate(per_layer) if n)
    assert "up to date" in langneurons(*words, "--kinds", "specific", "--languages", "zh").err


def test_an_adapter_is_merged(tmp_path: Path, langneurons: Callable) -> None:
    base = families.save("llama", tmp_path / "model")
    lora = peft.LoraConfig(target_modules=["q_proj", "down_proj"], r=2)
    folder = adapters.save(lora, base, tmp_path / "adapter")
    model = load(folder)
    neurons = drawn(model.widths)
    neurons.save(tmp_path / "neurons")
    words = ("export", "checkpoint", folder, tmp_path / "neurons", "--out", tmp_path / "out")
    done = langneurons(*words)
    assert done.status == 0, done.err
    ids = torch.tensor([[1, *range(40, 70)]])
    with torch.no_grad(), silence(model, neurons.of()):
        expected = model.model(input_ids=ids, use_cache=False).logits
    with torch.no_grad():
        found = load(tmp_path / "out").model(input_ids=ids, use_cache=False).logits
    assert np.allclose(found, expected, atol=1e-5)
    assert "its adapter merged into its base" in (tmp_path / "out" / "README.md").read_text("utf-8")


def test_a_norm_in_between_is_refused(
    tmp_path: Path, langneurons: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    bitnet = families.Family("bitnet", families.FAMILIES["llama"].config)
    monkeypatch.setitem(families.OTHERS, "bitnet", bitnet)
    folder = families.save("bitnet", tmp_path / "model")
    drawn(load(folder).widths).save(tmp_path / "neurons")
    words = ("export", "checkpoint", folder, tmp_path / "neurons", "--out", tmp_path / "out")
    refused(langneurons(*words), "has a norm between its activation and its down projection")


def test_what_cannot_be_exported(tmp_path: Path, langneurons: Callable) -> None:
    folder = families.save("llama", tmp_path / "model")
    drawn(load(folder).widths).save(tmp_path / "neurons")
    drawn(((8,),) * 3, each=2).save(tmp_path / "other")
    words = ("export", "checkpoint", folder)
    for more, what in (
        ((), "needs a model and its neurons"),
        ((tmp_path / "neurons", "--kinds", "specific", "--languages", "sw"), "nothing to silence"),
        ((tmp_path / "neurons", "--languages", "xx"), "know nothing of xx"),
        ((tmp_path / "other",), "the neurons are of another model"),
    ):
        refused(langneurons(*words, *more, "--out", tmp_path / "out"), what)
        assert not (tmp_path / "out").exists()
    words = ("export", "njunlp", tmp_path / "neurons", tmp_path / "neurons", "--out", "mask.pt")
    refused(langneurons(*words), "takes a folder of neurons alone")


def test_an_exported_model_answers_as_evaluate_silences(
    tmp_path: Path, langneurons: Callable
) -> None:
    """Word for word, by transformers alone, which knows nothing of langneurons."""
    folder = families.save("llama", tmp_path / "model")
    drawn(load(folder).widths).save(tmp_path / "neurons")
    asked = tmp_path / "asked.jsonl"
    rows = [
        {"id": f"q{i}", "lang": code, "question": f"{text} {i}?", "answer": i}
        for code, text in (("en", "she has"), ("zh", "她有"))
        for i in range(4)
    ]
    asked.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    of = ("--kinds", "specific,related", "--languages", "zh")
    words = ("evaluate", folder, asked, "--template", "plain", "--max-new-tokens", 16)
    done = langneurons(*words, "--silence", tmp_path / "neurons", *of, "--out", tmp_path / "a")
    assert done.status == 0, done.err
    words = ("export", "checkpoint", folder, tmp_path / "neurons", *of, "--out", tmp_path / "out")
    assert langneurons(*words).status == 0
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    responses = read_responses(tmp_path / "a")
    assert len(responses) == 8
    for response in responses:
        ids = tokenizer(response.prompt, return_tensors="pt").input_ids
        whole = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=16
        )
        text = tokenizer.decode(whole[0], skip_special_tokens=True)
        before = tokenizer.decode(ids[0], skip_special_tokens=True)
        assert text.removeprefix(before) == response.response
