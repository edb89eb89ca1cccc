"""One model of each kind of structure, read and silenced as plain hooks written by hand do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from langneurons.errors import SiteError
from langneurons.model.check import check
from langneurons.model.gates import find_gate
from langneurons.model.hooks import hold, probe, silence
from langneurons.model.loading import around, load
from langneurons.model.sites import find_sites
from langneurons.texts.responses import Response
from support.command import Outcome
from support.families import OTHERS, build, save, tiny
from support.reading import IDS, Bytes, logits, read, some

KINDS = (
    "qwen3_vl",
    "llama4",
    "lfm2",
    "nemotron_h",
    "bitnet",
    "zamba",
    "bert",
    "longcat",
    "minimax_m3",
)


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("name", KINDS)
def test_every_neuron_has_its_place(name: str) -> None:
    model = tiny(name)
    sites = find_sites(model)
    assert [site.layer for site in sites] == list(range(len(sites)))
    assert tuple(site.shape for site in sites) == OTHERS[name].shapes
    probe(model, sites, IDS)


@pytest.mark.parametrize("name", KINDS)
def test_no_claim_is_broken(name: str) -> None:
    claims = check(around(tiny(name), Bytes()))
    about_caches = "a prompt's cache reads as the whole text"
    broken = [claim for claim in claims if claim.holds is False and claim.claim != about_caches]
    assert broken == []
    assert len(claims) == 11


def outputs(model: nn.Module, path: str) -> list[Tensor]:
    """What a module gave in one forward, each time."""
    seen: list[Tensor] = []
    with model.get_submodule(path).register_forward_hook(
        lambda _, __, out: seen.append(out.clone())
    ):
        logits(model)
    return seen


def with_output(model: nn.Module, path: str, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Logits where a module gives something else."""
    with model.get_submodule(path).register_forward_hook(lambda _, __, out: change(out)):
        return logits(model)


def test_a_bare_function_is_read_at_its_argument() -> None:
    model, masks = tiny("lfm2"), some(find_sites(tiny("lfm2")))
    [reading] = read(model)[1]
    [gate] = outputs(model, "model.layers.1.feed_forward.w1")
    assert torch.equal(reading.values, gate.flatten(0, 1))
    with silence(find_sites(model), [None, masks[1], None]):
        silenced = logits(model)
    # silu gives zero at zero
    zeroed = with_output(model, "model.layers.1.feed_forward.w1", lambda x: x * ~masks[1])
    assert torch.allclose(silenced, zeroed, atol=1e-5)
    with (
        pytest.raises(SiteError, match="layer 1 applies its activation as a bare function"),
        hold(find_sites(model), [None, masks[1][None], None], [torch.ones(48)] * 3),
    ):
        pass


def test_a_norm_inside_is_silenced_before_it() -> None:
    model = tiny("bitnet")
    masks = some(find_sites(model))
    with silence(find_sites(model), [None, masks[1], None]):
        silenced, readings = logits(model), read(model)
    place = "model.layers.1.mlp.act_fn"
    assert torch.equal(silenced, with_output(model, place, lambda x: x * ~masks[1]))
    assert torch.equal(readings[1][0].values, outputs(model, place)[0].flatten(0, 1))


def test_experts_that_run_all_at_once() -> None:
    model = tiny("llama4")
    masks = some(find_sites(model), rows=2)
    [all_at_once] = outputs(model, "model.layers.1.feed_forward.experts.act_fn")
    routed, shared = read(model)[1]
    assert len(routed.values) == IDS.numel()  # one expert for each token
    assert torch.equal(routed.values, all_at_once[routed.experts, routed.tokens])
    assert shared.experts.tolist() == [4] * IDS.numel()
    with silence(find_sites(model), [None, masks[1], None]):
        silenced = logits(model)
    mlp = "model.layers.1.feed_forward"
    rows = masks[1].repeat_interleave(IDS.shape[1], 0)
    with model.get_submodule(f"{mlp}.shared_expert.activation_fn").register_forward_hook(
        lambda _, __, out: out * ~rows[:, 4]
    ):
        experts = f"{mlp}.experts.act_fn"
        zeroed = with_output(model, experts, lambda x: x * ~rows[:, :4].transpose(0, 1))
    assert torch.allclose(silenced, zeroed, atol=1e-5)


def test_experts_in_a_loop_beside_two_dense_feed_forwards() -> None:
    model = tiny("longcat")
    masks = some(find_sites(model))
    calls = outputs(model, "model.layers.0.mlp.experts.act_fn")
    routed, *dense = read(model)[0]
    assert torch.equal(routed.values, torch.cat(calls))
    for i, reading in enumerate(dense):
        [values] = outputs(model, f"model.layers.0.mlps.{i}.act_fn")
        assert torch.equal(reading.values, values.reshape(-1, 24))
        assert set(reading.experts.tolist()) == {4 + 2 * i, 5 + 2 * i}
    with silence(find_sites(model), [masks[0], None]):
        silenced = logits(model)
    experts: Any = model.get_submodule("model.layers.0.mlp.experts")
    experts.down_proj.mT[masks[0][:4]] = 0
    for i in range(2):
        down: Any = model.get_submodule(f"model.layers.0.mlps.{i}.down_proj")
        down.weight.mT[masks[0][4 + 2 * i : 6 + 2 * i].flatten()] = 0
    edited = logits(model)
    tiny.cache_clear()
    assert torch.allclose(silenced, edited, atol=1e-5)


def test_experts_that_no_token_goes_to() -> None:
    """In LongCat all may go to identities."""
    model = build("longcat", zero_expert_num=2)
    for layer in model.model.layers:
        layer.mlp.router.e_score_correction_bias.copy_(torch.tensor([-9.0] * 4 + [9.0] * 2))
    sites = find_sites(model)
    probe(model, sites, IDS)
    assert [len(reading.values) for reading in read(model)[0]] == [0, 28, 28]


def test_experts_without_a_gate() -> None:
    model = tiny("nemotron_h")
    routed, shared = read(model)[1]
    experts: Any = model.get_submodule("model.layers.1.mixer.experts")
    inputs: list[Tensor] = []
    with experts.register_forward_pre_hook(lambda _, args: inputs.append(args[0])):
        logits(model)
    for value, expert, token in zip(routed.values, routed.experts, routed.tokens, strict=True):
        expected = functional.relu(inputs[0][token] @ experts.up_proj[expert].T) ** 2
        assert torch.allclose(value, expected, atol=1e-5)
    assert shared.values.shape == (2 * IDS.numel(), 24)


def test_a_feed_forward_of_several_layers_is_read_in_each() -> None:
    model = tiny("zamba")
    readings = read(model)
    assert [len(site) for site in readings] == [0, 1, 0, 1]
    for layer in (1, 3):
        [values] = outputs(model, f"model.layers.{layer}.shared_transf.feed_forward.act_fn")
        assert torch.equal(readings[layer][0].values, values.flatten(0, 1))


def test_what_is_left_over_is_told() -> None:
    """A second way through the layer, beside the feed-forward that is found."""
    model = build("llama")
    mlp: Any = model.get_submodule("model.layers.1.mlp")
    mlp.more = nn.Sequential(nn.Linear(32, 8), nn.Linear(8, 32))
    mlp.more.requires_grad_(False)
    forward = mlp.forward
    mlp.forward = lambda x: forward(x) + mlp.more[1](mlp.more[0](x).relu())
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    claims = {claim.claim: claim for claim in check(around(model, Bytes()))}
    assert claims["silencing all leaves nothing of a feed-forward"].holds is False
    assert all(torch.equal(before[name], weight) for name, weight in model.named_parameters())


class Glu(nn.Module):
    """A feed-forward with its gate in another place of a fused layer."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.inner, self.back = nn.Linear(32, 48), nn.Linear(24, 32)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        pairs = x.chunk(2, -1) if self.form in ("first", "second") else (x[..., ::2], x[..., 1::2])
        gate, up = pairs if self.form in ("first", "even") else pairs[::-1]
        return self.back(functional.silu(gate) * up)


@pytest.mark.parametrize(
    ("form", "columns"),
    [
        ("first", slice(None, 24)),
        ("second", slice(24, None)),
        ("even", slice(None, None, 2)),
        ("odd", slice(1, None, 2)),
    ],
)
def test_which_half_is_the_gate(form: str, columns: slice) -> None:
    linears = {"inner": (32, 48), "back": (24, 32)}
    found = find_gate(Glu(form), linears, 32, torch.float32)
    assert found == ("inner", columns, "back", 24)


def test_what_is_no_gate() -> None:
    """Two layers without a function between, and one whose sign does not tell."""
    linears = {"0": (32, 24), "2": (24, 32)}
    for between in (nn.Identity(), nn.Sigmoid()):
        module = nn.Sequential(nn.Linear(32, 24), between, nn.Linear(24, 32))
        assert find_gate(module, linears, 32, torch.float32) is None


@pytest.mark.parametrize("name", ["qwen3_vl", "llama4", "lfm2", "nemotron_h", "bitnet"])
def test_by_the_commands(name: str, tmp_path: Path, langneurons: Callable[..., Outcome]) -> None:
    folder, responses = save(name, tmp_path / "model"), tmp_path / "responses.jsonl"
    rows = [
        Response(f"q{i}", code, prompt=f"{said} {i % 2}: ", response=f"{said} {i}").to_row()
        for code, said in (("en", "boats"), ("de", "Boote"), ("zh", "三条船"))
        for i in range(4)
    ]
    responses.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    counts, neurons = tmp_path / "counts", tmp_path / "neurons"
    assert langneurons("check", folder).status == 0
    assert langneurons("record", folder, responses, "--out", counts).status == 0
    assert langneurons("identify", counts, "--out", neurons, "--rate", 0.1).status == 0
    done = langneurons(
        "perplexity", folder, neurons, responses, "--out", tmp_path / "costs", "--controls", 1
    )
    assert (done.status, done.err) == (0, "")


def test_the_tower_is_left_alone(tmp_path: Path) -> None:
    """Its layers are as many as the decoder's here."""
    loaded = load(save("qwen3_vl", tmp_path))
    assert type(loaded.model).__name__ == "Qwen3VLForConditionalGeneration"
    assert [site.path for site in loaded.sites] == [
        f"model.language_model.layers.{i}.mlp" for i in range(3)
    ]
