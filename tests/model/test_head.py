"""What tokens cost, against the plainest loop there is, for every family."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from langneurons.model import head as loglik
from langneurons.model.head import Head
from support import families

IDS = torch.randint(3, families.VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(0))


def plain(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """Cost of every token but the first, row by row, from the model's own logits."""
    rows = [
        cross_entropy(model(input_ids=r[None]).logits[0, :-1].float(), r[1:], reduction="none")
        for r in ids
    ]
    return torch.stack(rows)


def ours(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    head = Head(model)
    hidden = head.hidden(input_ids=ids, use_cache=False)[:, :-1].flatten(0, 1)
    return head.costs(hidden, ids[:, 1:].flatten()).nll.view(len(ids), -1)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_every_family_costs_what_the_plain_loop_says(name: str) -> None:
    model = families.tiny(name)
    assert Head(model).apart
    assert (ours(model, IDS) - plain(model, IDS)).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["gemma2", "cohere2", "granite"])
def test_what_is_done_to_the_logits_matters(name: str) -> None:
    """These families scale or cap: their configs here do so, and leaving it out would be seen."""
    changes = {
        "gemma2": {"final_logit_softcapping": 2.0},
        "cohere2": {"logit_scale": 3.0},
        "granite": {"logits_scaling": 4.0},
    }
    model = families.build(name, **changes[name])
    head = Head(model)
    assert head.apart
    assert (ours(model, IDS) - plain(model, IDS)).abs().max() < 1e-5
    head.cap = head.times = head.over = None
    assert not head._gives_the_same()


@pytest.mark.parametrize("name", ["gemma2", "cohere2", "granite", "opt", "gpt2"])
def test_an_unknown_head_is_run_by_the_model_itself(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that does what we know nothing of: the model's own code makes the logits in chunks."""
    model = families.build(name)
    monkeypatch.setattr(loglik, "CHUNK", 5 * families.VOCABULARY)
    module = model.get_output_embeddings()
    module.register_forward_hook(lambda _, __, out: out * 3)
    expected = plain(model, IDS)
    head = Head(model)
    head.apart = False
    hidden = head.hidden(input_ids=IDS, use_cache=False)[:, :-1].flatten(0, 1)
    found = head.costs(hidden, IDS[:, 1:].flatten()).nll.view_as(expected)
    assert (found - expected).abs().max() < 1e-5


def test_a_head_that_is_not_as_known_is_noticed() -> None:
    model = families.build("llama")
    before = type(model).forward

    class Scaled(type(model)):
        def forward(self, *args, **inputs):
            out = before(self, *args, **inputs)
            out.logits = out.logits * 0.5
            return out

    model.__class__ = Scaled
    assert not Head(model).apart
    assert (ours(model, IDS) - plain(model, IDS)).abs().max() < 1e-5


def test_logits_held_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vocabulary of 150,000, a text of 300 tokens: never more logits than the chunk allows."""
    model = families.build("qwen2", vocab_size=150_000, max_position_embeddings=2048)
    monkeypatch.setattr(loglik, "CHUNK", 1 << 22)
    ids = torch.randint(3, 150_000, (1, 301))
    held = []
    model.get_output_embeddings().register_forward_hook(lambda _, __, out: held.append(out.numel()))
    Head(model)
    held.clear()
    found = ours(model, ids)
    assert max(held) <= 1 << 22
    assert len(held) > 10
    assert (found - plain(model, ids)).abs().max() < 1e-5


def mebibytes(name: str) -> float:
    """A line of what the kernel says of this process's memory."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc"
)
def test_memory_is_bounded() -> None:
    """2,000 positions of 150,000 words are 1,144 MiB of logits; two chunks of them are 128."""
    head = Head(families.build("llama", vocab_size=150_000))
    hidden, targets = torch.randn(2000, 32), torch.randint(0, 150_000, (2000,))
    with torch.inference_mode():
        before = mebibytes("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
        head.costs(hidden, targets, best=True)
    assert 64 < mebibytes("VmHWM") - before < 300


def test_the_most_likely_token() -> None:
    model = families.tiny("llama")
    head = Head(model)
    hidden = head.hidden(input_ids=IDS, use_cache=False)[:, :-1].flatten(0, 1)
    costs = head.costs(hidden, IDS[:, 1:].flatten(), best=True)
    log = torch.log_softmax(model(input_ids=IDS).logits[:, :-1].flatten(0, 1), dim=-1)
    assert torch.allclose(costs.best, -log.amax(-1), atol=1e-5)
    assert (costs.best <= costs.nll).all()


@pytest.mark.parametrize("name", ["llama", "gemma2", "granite", "cohere2"])
def test_float32_whatever_the_type_of_the_model(name: str) -> None:
    model = families.build(name).to(torch.bfloat16)
    assert Head(model).apart
    found = ours(model, IDS)
    assert found.dtype == torch.float32
    assert (found - plain(model, IDS)).abs().max() < 0.1


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_an_adapter_counts() -> None:
    """Under PEFT the head is the model's own and the hidden states are the adapter's."""
    from peft import LoraConfig, get_peft_model

    base = plain(families.tiny("llama"), IDS)
    model: Any = get_peft_model(
        families.build("llama"), LoraConfig(r=4, target_modules=["q_proj", "lm_head"])
    ).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.constant_(parameter, 0.1)
    with torch.no_grad():
        expected = plain(model, IDS)
        assert (expected - base).abs().max() > 0.01
        assert (ours(model, IDS) - expected).abs().max() < 1e-5
        with model.disable_adapter():
            assert (ours(model, IDS) - base).abs().max() < 1e-5


def test_nothing_is_left_on_the_model() -> None:
    model = families.tiny("llama")
    before = model(input_ids=IDS).logits
    ours(model, IDS)
    assert not model.get_output_embeddings()._forward_pre_hooks
    assert torch.equal(model(input_ids=IDS).logits, before)


def test_no_position_no_cost() -> None:
    head = Head(families.tiny("llama"))
    assert head.costs(torch.zeros(0, 32), torch.zeros(0, dtype=torch.long)).nll.shape == (0,)
