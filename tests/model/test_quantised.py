"""Quantised weights: models saved in 8 and 4 bits are read, counted and silenced like others."""

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers.utils import import_utils

from langneurons.errors import MissingExtraError
from langneurons.model import tokens
from langneurons.model.check import check
from langneurons.model.hooks import probe, silence
from langneurons.model.loading import ModelError, fingerprint, load
from langneurons.model.sites import find_sites
from langneurons.neurons.record import record
from langneurons.texts.responses import Response
from support import families
from support.reading import modules

bitsandbytes = pytest.importorskip(
    "bitsandbytes", reason="bitsandbytes is not installed: no quantised weights"
)

IDS = torch.arange(3, 20)[None]
KINDS: dict[str, dict[str, Any]] = {
    "int8": {"load_in_8bit": True, "llm_int8_threshold": 0.0},
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
}
# A CPU that multiplies in bfloat16 has 4-bit weights packed by 32 rows, each in whole blocks of 64.
ROWS, BLOCK = 32, 64
WIDTH, NEURONS, SHARED = 64, 128, 64
WIDE = {"hidden_size": WIDTH, "intermediate_size": NEURONS, "head_dim": 16}
WIDE_MOE = {
    "hidden_size": WIDTH,
    "intermediate_size": NEURONS,
    "moe_intermediate_size": SHARED // 2,
}
WIDE_MOE |= {"head_dim": 32, "kv_lora_rank": 64, "qk_rope_head_dim": 32, "v_head_dim": 16}
LAYERS = {"int8": "Linear8bitLt", "nf4": "Linear4bit"}
RESPONSES = [
    Response(f"q{q}", lang, f"{q} {word}? ", f"{word} {sample} {word * sample}.", sample)
    for lang, word in (("en", "boats"), ("zh", "船"), ("th", "เรือ"))
    for q in range(3)
    for sample in range(3)
]


def quantise(source: Path, folder: Path, dtype: torch.dtype = torch.float32, **how: Any) -> Path:
    """The model of a folder, its linear layers quantised; a skip where that cannot be done."""
    options: dict[str, Any] = {"device_map": {"": "cpu"}, "dtype": dtype}
    model = AutoModelForCausalLM.from_pretrained(
        source, quantization_config=BitsAndBytesConfig(**how), **options
    )
    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            assert (module.out_features % ROWS, module.in_features % BLOCK) == (0, 0), module
    try:
        model(IDS)
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        pytest.skip(f"bitsandbytes has no kernel for this machine: {error}")
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.save("llama", tmp_path_factory.mktemp("models") / "llama", **WIDE)


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(kind: str, plain: Path) -> Path:
    """A Llama saved with quantised weights."""
    return quantise(plain, plain.parent / kind, **KINDS[kind])


def test_it_loads_as_it_was_saved(kind: str, folder: Path, plain: Path, tmp_path: Path) -> None:
    loaded = load(folder, device="cpu")
    linear = [
        type(module).__name__ for module in loaded.model.modules() if isinstance(module, nn.Linear)
    ]
    assert (
        linear.count(LAYERS[kind]) == len(linear) - 1 == 7 * families.LAYERS
    )  # the head is left as it was
    assert loaded.model.dtype == torch.float32
    whole = load(plain, device="cpu").model(IDS).logits
    difference = (loaded.model(IDS).logits - whole).abs().max() / whole.abs().max()
    assert 0 < difference < 0.5
    half = quantise(plain, tmp_path / "half", torch.bfloat16, **KINDS[kind])
    assert load(half, device="cpu").model.dtype == torch.bfloat16
    assert load(half, device="cpu", dtype="bfloat16").model.dtype == torch.bfloat16
    with pytest.raises(
        ModelError, match="half is quantised and stays in bfloat16, as it was saved, not float32"
    ):
        load(half, device="cpu", dtype="float32")


def test_the_fingerprint_covers_scales(kind: str, folder: Path, plain: Path) -> None:
    loaded = load(folder, device="cpu")
    assert (
        load(folder, device="cpu").fingerprint
        == loaded.fingerprint
        != load(plain, device="cpu").fingerprint
    )
    weight = loaded.model.get_submodule("model.layers.1.mlp.up_proj").weight
    scale = weight.SCB if kind == "int8" else weight.quant_state.absmax
    scale[0] *= 2
    assert fingerprint(loaded.model) != loaded.fingerprint


def test_every_claim_holds(folder: Path) -> None:
    loaded = load(folder, device="cpu")
    checks = check(loaded)
    assert len(checks) == 11
    packed = "the weights are quantised and cannot be edited"
    assert [(one.holds, one.seen) for one in checks if not one.holds] == [(None, packed)] * 2


def test_counts_are_those_of_a_plain_loop(folder: Path) -> None:
    """One sequence, one forward, a hook on the activation; ours in batches of every kind."""
    loaded = load(folder, device="cpu")
    languages = list(dict.fromkeys(response.lang for response in RESPONSES))
    expected = np.zeros((families.LAYERS, len(languages), NEURONS), np.int64)
    rows = tokens.tokenise(loaded.tokenizer, RESPONSES)
    for layer in range(families.LAYERS):
        seen: list[torch.Tensor] = []
        module = loaded.model.get_submodule(f"model.layers.{layer}.mlp.act_fn")
        handle = module.register_forward_hook(lambda _, __, out, seen=seen: seen.append(out[0]))
        for response, row in zip(RESPONSES, rows, strict=True):
            with torch.no_grad():
                loaded.model(torch.from_numpy(row.ids[None]).long())
            expected[layer, languages.index(response.lang)] += (
                (seen.pop()[row.counted] > 0).sum(0).numpy()
            )
        handle.remove()
    # On a CPU that multiplies in bfloat16 the 4-bit kernel does.
    allowed = 2e-3 * expected.sum() if bitsandbytes.functional.has_avx512bf16() else 0
    for options in ({}, {"budget": 1}, {"budget": 10_000, "share_prompts": False}):
        counts = record(loaded, RESPONSES, blocks=2, **options)
        assert counts.tokens.sum() == sum(int(row.counted.sum()) for row in rows)
        found = np.stack([active.sum(axis=1) for active in counts.active])
        assert np.abs(found - expected).sum() <= allowed, options


def test_silencing_is_what_zeroed_weights_do(kind: str, folder: Path) -> None:
    """Against the same weights unpacked, with zeros in the columns of the silenced neurons."""
    model, unpacked = (load(folder, device="cpu").model for _ in range(2))
    mask = torch.arange(NEURONS) % 4 == 1
    sites = find_sites(model)
    for site in find_sites(unpacked):
        weight: Any = modules(site).down.weight  # ty: ignore[possibly-missing-attribute]
        if kind == "int8":
            values = weight.data * weight.SCB[:, None] / 127
        else:
            values = bitsandbytes.functional.dequantize_4bit(weight.data, weight.quant_state)
        down = nn.Linear(NEURONS, WIDTH, bias=False).requires_grad_(False)
        down.weight.copy_(values.masked_fill(mask, 0))
        unpacked.get_submodule(site.path).down_proj = down
    before = model(IDS).logits
    with silence(sites, [mask] * len(sites)):
        silenced = model(IDS).logits
    effect = (silenced - before).abs().max()
    assert effect > 0.1
    assert (silenced - unpacked(IDS).logits).abs().max() < 0.05 * effect
    assert torch.equal(model(IDS).logits, before)


def test_outliers_make_8_bits_depend_on_the_batch(plain: Path, tmp_path: Path) -> None:
    """LLM.int8() computes a column apart where any token of the batch is beyond its threshold.

    check finds that.
    """
    model = AutoModelForCausalLM.from_pretrained(plain)
    for name, weight in model.named_parameters():
        if "norm" in name:
            weight.data[:3] *= 40
    model.save_pretrained(tmp_path / "loud")
    AutoTokenizer.from_pretrained(plain).save_pretrained(tmp_path / "loud")
    failing = {}
    for threshold in (6.0, 0.0):
        how = {"load_in_8bit": True, "llm_int8_threshold": threshold}
        loaded = load(quantise(tmp_path / "loud", tmp_path / f"{threshold}", **how), device="cpu")
        failing[threshold] = {one.claim for one in check(loaded) if one.holds is False}
    assert "a batch reads as its rows alone" in failing[6.0]
    assert failing[0.0] == set()


def test_a_mixture_of_experts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The routed experts stay as they were, which is said.

    Attention, dense layers and shared experts are quantised.
    """
    source = families.save("deepseek_v3", tmp_path / "moe", **WIDE_MOE)
    loaded = load(quantise(source, tmp_path / "nf4", **KINDS["nf4"]), device="cpu")
    assert [site.shape for site in find_sites(loaded.model)] == [
        (NEURONS,),
        (6, SHARED // 2),
        (6, SHARED // 2),
    ]
    weights = 2 * 4 * 3 * WIDTH * SHARED // 2  # of two layers' four experts
    said = f"{weights:,} weights of experts in float32, as bitsandbytes packs linear layers only"
    assert loaded.facts["not quantised"] == said
    assert capsys.readouterr().err.endswith(f"nf4: not quantised: {said}\n")
    checks = check(loaded)
    assert [one.claim for one in checks if one.holds is False] == []


def test_an_adapter_on_quantised_weights(plain: Path, tmp_path: Path) -> None:
    base = quantise(plain, tmp_path / "nf4", **KINDS["nf4"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = peft.LoraConfig(
            r=2, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False
        )
        wrapped = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(plain), config)
        wrapped.peft_config["default"].base_model_name_or_path = "../nf4"
        wrapped.save_pretrained(tmp_path / "adapter")
    loaded = load(tmp_path / "adapter", device="cpu")
    sites = find_sites(loaded.model)
    assert [site.shape for site in sites] == [(NEURONS,)] * families.LAYERS
    probe(loaded.model, sites, IDS)
    adapted = loaded.model(IDS).logits
    with loaded.model.disable_adapter():  # ty: ignore[call-non-callable]
        assert torch.equal(loaded.model(IDS).logits, load(base, device="cpu").model(IDS).logits)
    assert not torch.equal(loaded.model(IDS).logits, load(base, device="cpu").model(IDS).logits)
    assert torch.equal(loaded.model(IDS).logits, adapted)


def test_the_library_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    import_utils.is_bitsandbytes_available.cache_clear()
    try:
        with pytest.raises(
            MissingExtraError, match=r"cannot be loaded without another library: .* bitsandbytes"
        ):
            load(folder, device="cpu")
    finally:
        monkeypatch.undo()
        import_utils.is_bitsandbytes_available.cache_clear()


def test_the_commands(
    kind: str, folder: Path, tmp_path: Path, langneurons: Callable[..., Any]
) -> None:
    """Whole commands, which say nothing of products in half precision."""
    if kind == "int8":
        done = langneurons("check", folder, "--device", "cpu")
        assert done.out.endswith("every measurement holds\n")
    else:
        file = tmp_path / "responses.jsonl"
        file.write_text("\n".join(json.dumps(response.to_row()) for response in RESPONSES), "utf-8")
        done = langneurons(
            "record", folder, file, "--out", tmp_path / "counts", "--device", "cpu", "--json"
        )
    assert (done.status, done.err) == (0, "")
