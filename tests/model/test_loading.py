"""Loading: from folders, adapters and memory, refused in one line, told apart by a fingerprint."""

import copy
import json
import logging
import shutil
import sys
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from huggingface_hub.utils import are_progress_bars_disabled
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import nn
from transformers import AutoConfig, AutoModelForSeq2SeqLM, PreTrainedTokenizerFast

from langneurons.errors import InputError, MissingExtraError, ModelError, SiteError
from langneurons.model.hooks import silence
from langneurons.model.loading import Loaded, around, fingerprint, load
from support.families import FAMILIES, build
from support.families import save as save_family

IDS = torch.arange(3, 10)[None]


def save(model: Any, folder: Path) -> Path:
    """A model folder with a tokenizer of 96 words."""
    model.save_pretrained(folder)
    words = Tokenizer(WordLevel({f"w{i}": i for i in range(96)}, unk_token="w0"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(build("llama"), tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="module")
def adapter(llama: Path) -> Path:
    """An adapter of `llama`, beside it, trained a little (its B is not zero)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = peft.LoraConfig(
            r=2, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False
        )
        wrapped = peft.get_peft_model(build("llama"), config)
        wrapped.peft_config["default"].base_model_name_or_path = "../llama"
        wrapped.save_pretrained(llama.parent / "adapter")
    return llama.parent / "adapter"


def test_a_folder(llama: Path) -> None:
    loaded = load(llama, device="cpu")
    assert (loaded.id, loaded.revision) == (str(llama), None)
    assert loaded.model.dtype == torch.float32
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert loaded.fingerprint == fingerprint(build("llama"))
    assert torch.equal(loaded.model(IDS).logits, build("llama")(IDS).logits)
    assert loaded.tokenizer("w3 w4")["input_ids"] == [3, 4]


def test_what_it_tells_of_itself(llama: Path) -> None:
    loaded = load(llama, device="cpu")
    assert repr(loaded) == f"<{llama}: LlamaForCausalLM, 3 x 48 neurons, float32 on cpu>"
    assert loaded.widths == FAMILIES["llama"].shapes
    assert [site.path for site in loaded.sites] == [f"model.layers.{i}.mlp" for i in range(3)]
    assert loaded.device == torch.device("cpu")
    assert loaded.context == 64


def test_a_model_in_memory(llama: Path) -> None:
    model = build("llama").train().requires_grad_(True)
    loaded = around(model, load(llama, device="cpu").tokenizer, name="mine")
    assert loaded.model is model
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert (loaded.id, loaded.revision) == ("mine", None)
    assert loaded.fingerprint == fingerprint(model)
    assert around(model, loaded.tokenizer).id == "LlamaForCausalLM"


def test_a_model_without_neurons_tells_so() -> None:
    model = build("llama")
    for layer in model.model.layers:
        del layer.mlp.act_fn
    loaded = around(model, None, name="odd")
    assert repr(loaded) == "<odd: LlamaForCausalLM, no neurons that can be read, float32 on cpu>"
    with pytest.raises(SiteError):
        _ = loaded.sites


def test_the_fingerprint_stays_that_of_what_was_loaded(llama: Path) -> None:
    """Training changes the weights; what a result was made from does not change with them."""
    loaded = load(llama, device="cpu")
    before = fingerprint(loaded.model)
    loaded.model.get_input_embeddings().weight.data += 1
    assert loaded.fingerprint == before != fingerprint(loaded.model)


def test_sites_are_those_of_the_model_as_it_is(llama: Path) -> None:
    """PEFT puts its own modules in place of a layer's."""
    loaded = load(llama, device="cpu")
    plain = loaded.sites[0].parts[0].down
    config = peft.LoraConfig(r=2, target_modules=["down_proj"], task_type="CAUSAL_LM")
    peft.inject_adapter_in_model(config, loaded.model)
    assert loaded.sites[0].parts[0].down is not plain
    assert loaded.sites[0].parts[0].down is loaded.model.model.layers[0].mlp.down_proj


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A model whose tokenizer knows every byte."""
    return load(save_family("llama", tmp_path_factory.mktemp("models") / "writer"), device="cpu")


def greedy(loaded: Loaded, prompt: str, steps: int) -> list[int]:
    """The likeliest tokens one after another, by whole forwards."""
    ids = loaded.tokenizer(prompt).input_ids
    for _ in range(steps):
        ids.append(int(loaded.model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[-steps:]


def test_it_writes_the_likeliest(writer: Loaded) -> None:
    ids = greedy(writer, "One, two", 8)
    assert len({*ids}) > 1
    said = writer.generate("One, two", max_new_tokens=8)
    assert said == writer.tokenizer.decode(ids, skip_special_tokens=True)
    assert not said.startswith("One")


def test_it_draws_when_told_to(writer: Loaded) -> None:
    def drawn(seed: int) -> str:
        torch.manual_seed(seed)
        return writer.generate("One, two", max_new_tokens=20, do_sample=True, temperature=2.0)

    assert drawn(0) == drawn(0) != drawn(1)


def test_it_writes_without_what_is_silenced(writer: Loaded) -> None:
    masks = [torch.arange(48) % 3 == 0] * 3
    with silence(writer.sites, masks):
        silenced = writer.generate("One, two", max_new_tokens=8)
        ids = greedy(writer, "One, two", 8)
    assert silenced == writer.tokenizer.decode(ids, skip_special_tokens=True)
    assert silenced != writer.generate("One, two", max_new_tokens=8)


def test_refuses_a_prompt_without_room_or_tokens(writer: Loaded, llama: Path) -> None:
    with pytest.raises(InputError, match=r"a prompt of 2,049 tokens leaves no room .* of 2,048"):
        writer.generate("a" * 2048)
    with pytest.raises(InputError, match="an empty prompt has no token to go on from"):
        load(llama, device="cpu").generate("")


def test_the_types(llama: Path) -> None:
    assert load(llama, device="cpu", dtype="bfloat16").model.dtype == torch.bfloat16
    assert load(llama, device="cpu", dtype="float16").model.dtype == torch.float16
    automatic = load(llama).model
    assert automatic.dtype == (torch.float32 if automatic.device.type == "cpu" else torch.bfloat16)


def test_a_device_map(llama: Path) -> None:
    assert torch.equal(load(llama, device_map="cpu").model(IDS).logits, build("llama")(IDS).logits)


def test_an_adapter_and_its_base(llama: Path, adapter: Path) -> None:
    base, loaded = load(llama, device="cpu"), load(adapter, device="cpu")
    assert isinstance(loaded.model, peft.PeftModel)
    assert loaded.fingerprint != base.fingerprint
    assert loaded.tokenizer("w5")["input_ids"] == [5]
    assert (loaded.model(IDS).logits - base.model(IDS).logits).abs().max() > 1e-3
    with loaded.model.disable_adapter():
        assert torch.equal(loaded.model(IDS).logits, base.model(IDS).logits)


def test_an_adapter_needs_peft(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'langneurons\[align\]'"):
        load(adapter, device="cpu")


def test_nothing_leaks_and_settings_come_back(
    llama: Path, adapter: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def settings() -> tuple[object, ...]:
        log = transformers.utils.logging
        level = logging.getLogger("huggingface_hub").level
        return (
            log.get_verbosity(),
            log.is_progress_bar_enabled(),
            are_progress_bars_disabled(),
            level,
            warnings.filters[:],
        )

    level = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_warning()
    before = settings()
    load(llama, device="cpu")
    load(adapter, device="cpu")
    with pytest.raises(ModelError):
        load(llama.parent, device="cpu")
    assert capfd.readouterr() == ("", "")
    assert settings() == before
    transformers.utils.logging.set_verbosity(level)


@pytest.fixture
def broken(llama: Path, tmp_path: Path) -> Path:
    """A copy of the folder, to be broken."""
    return shutil.copytree(llama, tmp_path / "broken")


def refused(said: str, *args: Any, **options: Any) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        load(*args, **({"device": "cpu"} | options))
    assert isinstance(caught.value, InputError)
    assert "\n" not in str(caught.value)


def test_refuses_what_is_no_model_folder(broken: Path, tmp_path: Path) -> None:
    refused(
        r"/nowhere/at/all is no folder; give a model's folder, a GGUF file or an id",
        "/nowhere/at/all",
    )
    refused(r"nowhere/model/x is no folder", "nowhere/model/x")
    refused(r"holds no config\.json, so it is no model folder", tmp_path)
    (broken / "model.safetensors").write_bytes(b"damaged")
    refused("broken: Error while deserializing header", broken)
    (broken / "model.safetensors").unlink()
    refused(r"broken: Error no file named model\.safetensors", broken)
    (broken / "config.json").write_text("{")
    refused(r"config\.json' is not a valid JSON file", broken)


def test_refuses_other_architectures(broken: Path) -> None:
    (broken / "config.json").write_text('{"model_type": "zork"}')
    refused(
        r"broken/config.json: transformers [\d.]+ does not know its architecture 'zork'", broken
    )
    (broken / "config.json").write_text("{}")
    refused("broken/config.json: Unrecognized model", broken)
    (broken / "config.json").write_text('{"model_type": "clip"}')
    refused("broken/config.json: CLIP is no causal language model", broken)
    (broken / "config.json").write_text(
        '{"model_type": "zork", "auto_map": {"AutoConfig": "code.Config"}}'
    )
    refused("its architecture is code of its own", broken)


def test_refuses_an_encoder_with_a_decoder(tmp_path: Path) -> None:
    config = AutoConfig.for_model(
        "t5", vocab_size=96, d_model=32, d_kv=8, d_ff=48, num_heads=4, num_layers=1
    )
    folder = save(AutoModelForSeq2SeqLM.from_config(config), tmp_path / "t5")
    refused(r"is an encoder with a decoder \(t5\); a causal language model is needed", folder)


def test_refuses_weights_that_would_be_random(broken: Path) -> None:
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    refused(r"has no weights for model\.layers\.3\..* and 8 more: they would be random", broken)


def test_refuses_a_missing_tokenizer(broken: Path) -> None:
    for path in broken.glob("*token*"):
        path.unlink()
    refused(r"broken holds no tokenizer that can be loaded \(", broken)


def test_refuses_devices_and_types_that_are_not_there(llama: Path) -> None:
    refused("device 'warp' cannot be used here", llama, device="warp")
    refused("device 'cuda:99' cannot be used here", llama, device="cuda:99")
    refused(
        "'int8' is no type to load a model in; the types are auto, float32, bfloat16, float16",
        llama,
        dtype="int8",
    )


def test_refuses_an_adapter_without_its_base(adapter: Path, tmp_path: Path) -> None:
    lost = shutil.copytree(adapter, tmp_path / "lost")
    refused(r"lost adapts \.\./llama is no folder.*; correct base_model_name_or_path", lost)
    (lost / "adapter_config.json").write_text('{"base_model_name_or_path": null}')
    refused("does not say what model it adapts", lost)


@pytest.mark.parametrize("layers", [2, 4])
def test_refuses_an_adapter_of_another_base(adapter: Path, tmp_path: Path, layers: int) -> None:
    """Of fewer or more layers: PEFT would take what fits, without a word."""
    save(build("llama", num_hidden_layers=layers), tmp_path / "llama")
    other = shutil.copytree(adapter, tmp_path / "adapter")
    refused(
        "adapter was trained on another model than .*llama: base_model.*lora_A.* is in one and",
        other,
    )


def test_a_hub_id_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused(
        r"langneurons/no-such-model: no such folder here, and .* Hub \(.*\); give a local folder",
        "langneurons/no-such-model",
    )


def test_fingerprint_sees_every_small_change() -> None:
    model = build("gpt2")
    before = fingerprint(model)
    assert fingerprint(build("gpt2")) == before
    assert fingerprint(build("gpt2", seed=1)) != before
    model.transformer.h[1].mlp.c_proj.bias[5] += 1e-6
    assert fingerprint(model) != before
    model = build("gpt2")
    model.requires_grad_(True).train()
    assert fingerprint(model) == before
    assert fingerprint(copy.deepcopy(model).to(torch.bfloat16)) != before


def named(**shapes: tuple[int, ...]) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    return nn.ParameterDict(
        OrderedDict((k, torch.randn(shape, generator=generator)) for k, shape in shapes.items())
    )


def test_fingerprint_knows_names_and_shapes_but_no_order_or_device() -> None:
    model = named(a=(2, 3), b=(3, 2))
    other = nn.Module()
    for key in ("b", "a"):
        other.register_parameter(key, model[key])
    assert fingerprint(other) == fingerprint(model)
    other.b = nn.Parameter(model["b"].view(2, 3))
    assert fingerprint(other) != fingerprint(model)
    other.b, other.a = model["a"], model["b"]
    assert fingerprint(other) != fingerprint(model)
    if torch.accelerator.is_available():
        assert fingerprint(
            copy.deepcopy(model).to(torch.accelerator.current_accelerator())
        ) == fingerprint(model)
    with pytest.raises(ModelError, match="a was offloaded"):
        fingerprint(named(a=(2, 3)).to("meta"))


@pytest.mark.parametrize(
    "columns", [1024, 1056]
)  # 32 and 33 times 65,536 weights: both share factors with a row
def test_fingerprint_samples_all_columns_of_a_large_tensor(columns: int) -> None:
    model = named(a=(2048, columns))
    before = fingerprint(model)
    for column in (0, 1, columns // 2, columns - 1):
        changed = copy.deepcopy(model)
        changed["a"].data[:, column] += 1
        assert fingerprint(changed) != before


@pytest.mark.parametrize(("said", "ends"), [(-1, [2]), ([-1, 5, 10**9], [2, 5]), (None, [2])])
def test_ends_that_no_token_has(tmp_path: Path, said: Any, ends: list[int]) -> None:
    folder = save_family("llama", tmp_path / "model")
    path = folder / "generation_config.json"
    path.write_text(json.dumps({"eos_token_id": said}), "utf-8")
    assert load(folder, device="cpu").ends == ends


@pytest.mark.parametrize(
    ("file", "values", "said"),
    [
        ("config.json", {"hidden_size": "32"}, r"config\.json: .*'hidden_size' expected int"),
        ("config.json", {"hidden_act": "zork"}, r"config\.json: KeyError: 'zork'"),
        ("config.json", {"num_attention_heads": 0}, r"config\.json: ZeroDivisionError: "),
        ("config.json", {"sliding_window": "x"}, r"config\.json: sliding_window is 'x'; a whole"),
        (
            "config.json",
            {"intermediate_size": 40},
            r"do not fit its config\.json: .*_proj\.weight is \[.*48.*\] as saved and \[.*40.*\]",
        ),
        (
            "generation_config.json",
            {"eos_token_id": "2"},
            r"generation_config\.json: eos_token_id is '2'; ids are whole numbers",
        ),
        (
            "tokenizer_config.json",
            {"model_max_length": "long"},
            r"no tokenizer that can be loaded \('>' not supported .*tokenizer_config\.json",
        ),
    ],
)
def test_refuses_values_of_the_wrong_type(
    broken: Path, file: str, values: dict[str, Any], said: str
) -> None:
    before = json.loads((broken / file).read_text("utf-8"))
    (broken / file).write_text(json.dumps(before | values), "utf-8")
    refused(said, broken)


def test_refuses_a_generation_config_that_is_none(broken: Path) -> None:
    """Transformers goes on without it, and texts would end elsewhere."""
    (broken / "generation_config.json").write_text("{")
    refused(r"generation_config\.json is no JSON object", broken)


def test_an_id_without_a_row(writer: Loaded) -> None:
    writer.require_rows([[0, 258, 259], []])
    assert (writer.rows, writer.last_id) == (260, 258)
    said = (
        "the tokenizer has ids up to 258, the embedding 260 rows, and None .id 260. is to be read"
    )
    with pytest.raises(ModelError, match=said):
        writer.require_rows([[3], [260, 4]])
