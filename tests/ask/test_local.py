"""Completions by real tiny models of every family: each is the same whatever runs beside it."""

import random
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.cache_utils import DynamicCache, DynamicLayer

from langneurons.ask.engine import Completion, Request, seed_of
from langneurons.ask.local import ROOM, InProcess, Roomy
from langneurons.config import SampleConfig
from langneurons.model.loading import around
from support import families

PROMPTS = ["2 + 2 =", "Wie viel ist drei mal vier?", "x", "১৮ টাকা থেকে ৭ টাকা", "Long " * 9, "答案"]
GREEDY = SampleConfig(n=1, temperature=0, max_new_tokens=20)
DRAWN = SampleConfig(n=3, max_new_tokens=12)  # beyond the first look at which rows have ended


@pytest.fixture(scope="module")
def tokenizer(model: Path) -> Any:
    return AutoTokenizer.from_pretrained(model)


@cache
def model_of(name: str) -> Any:
    """A model of this family that reads the byte-level tokenizer's tokens, with room for 256."""
    config = (families.FAMILIES.get(name) or families.OTHERS[name]).config
    has_room = config.get("text_config", config).keys() & {
        "max_position_embeddings",
        "n_positions",
        "max_seq_len",
    }
    return families.build(name, vocab_size=260, **dict.fromkeys(has_room, 256))


def engine_of(model: Any, tokenizer: Any, masks: Any = None) -> InProcess:
    return InProcess(around(model, tokenizer), masks)


def requests(prompts: list[str], n: int = 1, seed: int = 0) -> list[Request]:
    return [Request(prompt, seed_of(seed, prompt, "en", i)) for prompt in prompts for i in range(n)]


def texts(engine: InProcess, asked: list[Request], config: SampleConfig) -> list[Completion]:
    found = sorted(engine.complete(asked, config))
    assert [completion.place for completion in found] == list(range(len(asked)))
    return found


def with_rows(config: SampleConfig, rows: int) -> SampleConfig:
    return SampleConfig(**{**vars(config), "rows": rows})


def plain(model: Any, tokenizer: Any, prompt: str, config: SampleConfig) -> str:
    """Greedy in the plainest way: one prompt, no cache, no padding."""
    ids = tokenizer(prompt).input_ids
    written: list[int] = []
    for _ in range(config.max_new_tokens):
        logits = model(input_ids=torch.tensor([ids + written]), use_cache=False).logits[0, -1]
        written.append(int(logits.argmax()))
        if written[-1] == tokenizer.eos_token_id:
            break
    return tokenizer.decode(written, skip_special_tokens=True)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_every_family_writes_the_same_in_any_batch(name: str, tokenizer: Any) -> None:
    model = model_of(name)
    engine = engine_of(model, tokenizer)
    whole = texts(engine, requests(PROMPTS), GREEDY)
    assert [one.text for one in whole] == [
        plain(model, tokenizer, prompt, GREEDY) for prompt in PROMPTS
    ]
    asked = requests(PROMPTS, 3)
    drawn = texts(engine, asked, DRAWN)
    assert len({one.text for one in drawn}) > 2 * len(PROMPTS)
    for rows in (1, 4):
        assert texts(engine, asked, with_rows(DRAWN, rows)) == drawn
    order = list(range(len(asked)))
    random.Random(0).shuffle(order)
    shuffled = texts(engine, [asked[i] for i in order], DRAWN)
    assert [shuffled[order.index(i)].text for i in range(len(asked))] == [one.text for one in drawn]


@pytest.mark.parametrize("name", families.CONTINUES)
def test_what_a_model_keeps_is_tried(
    name: str, tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """States are repeated as keys and values are; the whole text is read where it must be."""
    model = model_of(name)
    engine = engine_of(model, tokenizer)
    asked = requests(PROMPTS[:4], 2)
    assert [one.text for one in texts(engine, asked, GREEDY)] == [
        plain(model, tokenizer, request.prompt, GREEDY) for request in asked
    ]
    goes_on = name != "moshi"  # the others do, token by token
    assert (engine.why_not_kept is None) == goes_on
    assert capsys.readouterr().err.startswith("every text is read whole") != goes_on


def test_a_model_without_attention(tokenizer: Any) -> None:
    config = AutoConfig.for_model(
        "mamba", hidden_size=32, num_hidden_layers=2, vocab_size=260, eos_token_id=2
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    whole = texts(engine_of(model, tokenizer), requests(PROMPTS), GREEDY)
    assert [one.text for one in whole] == [
        plain(model, tokenizer, prompt, GREEDY) for prompt in PROMPTS
    ]


def test_silencing_is_that_of_a_model_without_these_neurons(tokenizer: Any) -> None:
    masks = [
        torch.rand(48, generator=torch.Generator().manual_seed(i)) < 0.5
        for i in range(families.LAYERS)
    ]
    silenced = texts(engine_of(model_of("llama"), tokenizer, masks), requests(PROMPTS, 3), DRAWN)
    cut_out = families.build("llama", vocab_size=260, max_position_embeddings=256)
    for layer, mask in zip(cut_out.model.layers, masks, strict=True):
        layer.mlp.down_proj.weight[:, mask] = 0
    assert silenced == texts(engine_of(cut_out, tokenizer), requests(PROMPTS, 3), DRAWN)
    assert silenced != texts(engine_of(model_of("llama"), tokenizer), requests(PROMPTS, 3), DRAWN)
    nothing = [torch.zeros(48, dtype=torch.bool)] * families.LAYERS
    assert texts(
        engine_of(model_of("llama"), tokenizer, nothing), requests(PROMPTS), GREEDY
    ) == texts(engine_of(model_of("llama"), tokenizer), requests(PROMPTS), GREEDY)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft asks for it
def test_an_adapter_writes_as_the_model_it_is_merged_into(tokenizer: Any) -> None:
    base = families.build("llama", vocab_size=260, max_position_embeddings=256)
    torch.manual_seed(0)
    adapted = get_peft_model(
        base, LoraConfig(target_modules="all-linear", init_lora_weights=False)
    ).eval()
    found = texts(engine_of(adapted, tokenizer), requests(PROMPTS), GREEDY)
    assert found != texts(engine_of(model_of("llama"), tokenizer), requests(PROMPTS), GREEDY)
    assert found == texts(
        engine_of(adapted.merge_and_unload(), tokenizer), requests(PROMPTS), GREEDY
    )


def ending(tokenizer: Any, often: float) -> InProcess:
    """An engine whose model ends texts now and then."""
    model = families.build("gpt2", vocab_size=260, n_positions=256, tie_word_embeddings=False)
    model.lm_head.weight[tokenizer.eos_token_id] *= often
    return engine_of(model, tokenizer)


def test_rows_that_end_leave_the_batch(tokenizer: Any) -> None:
    engine = ending(tokenizer, 3)
    asked, config = requests(PROMPTS, 20), SampleConfig(max_new_tokens=100)
    found = texts(engine, asked, config)
    assert 20 < sum(one.finish == "stop" for one in found) < len(found)
    assert all("</s>" not in one.text for one in found)
    alone = texts(engine, asked[:20:3], with_rows(config, 1))
    assert [one.text for one in alone] == [one.text for one in found[:20:3]]
    assert {one.finish for one in found[:20:3]} == {"stop", "length"}


def test_stop_strings(tokenizer: Any) -> None:
    engine = ending(tokenizer, 1)
    free = texts(engine, requests(PROMPTS, 10), DRAWN)
    letter = max(
        "abcdefghijklmnopqrstuvwxyz", key=lambda char: sum(char in one.text for one in free)
    )
    stopped = texts(
        engine,
        requests(PROMPTS, 10),
        SampleConfig(**{**vars(DRAWN), "stop": (letter, "no such text")}),
    )
    for one, whole in zip(stopped, free, strict=True):
        assert one.text == whole.text.partition(letter)[0]
        assert one.finish == ("stop" if letter in whole.text else whole.finish)


def test_no_text_goes_beyond_the_context(tokenizer: Any) -> None:
    """Positions are learned: one more would not be there.

    A prompt that fills the context gets an empty response.
    """
    engine = engine_of(families.build("gpt2", vocab_size=260, n_positions=32), tokenizer)
    asked = requests(["short", "x" * 25, "x" * 30, "x" * 31, "x" * 60])
    found = texts(engine, asked, SampleConfig(n=1, temperature=0, max_new_tokens=50))
    assert [one.finish for one in found] == ["length", "length", "length", "none", "none"]
    assert [len(one.text.encode("utf-8", "replace")) > 0 for one in found] == [
        True,
        True,
        True,
        False,
        False,
    ]
    alone = [next(iter(engine.complete([one], GREEDY))).text for one in asked[:3]]
    assert [one.text[: len(text)] for one, text in zip(found, alone, strict=False)] == alone


def test_nothing_is_asked_twice(tokenizer: Any) -> None:
    """A batch of which all is done is skipped; one with a part done comes again, the same."""
    engine = engine_of(model_of("llama"), tokenizer)
    whole = texts(engine, requests(PROMPTS), with_rows(GREEDY, 2))
    rest = list(
        engine.complete(requests(PROMPTS), with_rows(GREEDY, 2), {one.place for one in whole[:3]})
    )
    assert 3 <= len(rest) < len(whole)
    assert {one.place for one in rest} >= {3, 4, 5}
    assert all(whole[one.place] == one for one in rest)
    assert not list(engine.complete(requests(PROMPTS), GREEDY, set(range(len(PROMPTS)))))


def test_what_the_cache_rides_on_is_still_there(tokenizer: Any) -> None:
    """A canary: `local.Roomy` takes the place of a layer of transformers' cache."""
    word = f"transformers {transformers.__version__} changed DynamicLayer; look at ask/local.Roomy"
    engine = engine_of(model_of("llama"), tokenizer)
    cache = engine._read([[5, 6, 7], [8]]).cache
    assert cache is not None, word
    assert [type(layer) for layer in cache.layers] == [Roomy] * families.LAYERS, word
    assert type(DynamicCache().layers) is list, word
    own = {name for name, value in vars(DynamicLayer).items() if callable(value)}
    assert own - {"get_max_length", "get_max_cache_shape", "__init__"} == {
        "lazy_initialization",
        "update",
        "get_mask_sizes",
        "get_seq_length",
        "reset",
        "crop",
        "batch_repeat_interleave",
        "batch_select_indices",
    }, word
    plain, roomy = DynamicLayer(), Roomy()
    assert vars(roomy) == vars(plain) == {"keys": None, "values": None, "is_initialized": False}, (
        word
    )
    random = torch.Generator().manual_seed(0)
    for length, rows in ((3, [0, 0, 1]), (1, [2, 0]), (ROOM, [1, 1]), (1, [0])):
        size = (plain.keys.shape[0] if plain.is_initialized else 2, 2, length, 4)
        new = [torch.rand(size, generator=random) for _ in range(2)]
        expected = plain.update(*new)
        for one, other in zip(roomy.update(*new), expected, strict=True):
            assert one.equal(other), word
        assert roomy.get_seq_length() == plain.get_seq_length(), word
        assert roomy.get_mask_sizes(1) == plain.get_mask_sizes(1), word
        for layer in (plain, roomy):
            layer.reorder_cache(torch.tensor(rows))
        assert roomy.keys.equal(plain.keys), word
        assert roomy.values.equal(plain.values), word


def test_how_many_rows_fit_is_remembered(tokenizer: Any) -> None:
    """A device with room for two rows: eight and four are tried once, then never more than two."""
    model, tried = families.build("llama", vocab_size=260, max_position_embeddings=256), []

    def small(_: Any, args: tuple, kwargs: dict[str, Any]) -> None:
        tried.append(len(kwargs["input_ids"]))
        if tried[-1] > 2:
            raise torch.OutOfMemoryError("as a device with room for two rows would")

    config = SampleConfig(n=1, temperature=0, max_new_tokens=1, rows=8)
    asked = requests([f"{number} + 1 =" for number in range(10)])
    expected = texts(engine_of(model, tokenizer), asked, config)
    model.register_forward_pre_hook(small, with_kwargs=True)
    assert texts(engine_of(model, tokenizer), asked, config) == expected
    assert tried == [3, 1, 1, 1, 1, 1, 8, 4, 2, 2, 2, 2, 2]  # what is kept is tried first


SHORT_OF_MEMORY = """
import resource, sys
from pathlib import Path
from langneurons.ask.engine import Request
from langneurons.ask.local import InProcess
from langneurons.config import SampleConfig
from langneurons.errors import RecordError
from langneurons.model.loading import load

loaded = load(sys.argv[1], device="cpu")
engine, tried = InProcess(loaded), []

def note(_, __, inputs):
    tried.append(len(inputs["input_ids"]))

loaded.model.register_forward_pre_hook(note, with_kwargs=True)
asked = [Request(f"{i:03}", i) for i in range(300)]
config = SampleConfig(n=1, max_new_tokens=1, rows=300)
whole = sorted(engine.complete(asked, config))
pages = int(Path("/proc/self/statm").read_text().split()[0])
room = pages * resource.getpagesize() + 150 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))
tried.clear()
assert sorted(engine.complete(asked, config)) == whole
assert tried[0] == 300 and tried.count(300) == 1 and tried[-1] < 300, tried
try:
    list(engine.complete([Request("x" * 400_000, 0)], config))
except RecordError as error:
    print(error)
"""


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="its own size cannot be read here"
)
def test_a_process_that_is_really_short_of_memory(tmp_path: Path) -> None:
    """Its address space has a limit: 300 rows of 50,000 logits do not fit, some of them do.

    A long prompt does not.
    """
    model = families.save("llama", tmp_path / "model")
    families.build("llama", vocab_size=50_000, max_position_embeddings=500_000).save_pretrained(
        model
    )
    done = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY, model], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        "a single response to a prompt of 400,001 tokens does not fit into memory; use a"
    )
