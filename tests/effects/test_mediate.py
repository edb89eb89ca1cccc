"""An adapter that moves one known neuron is carried by it; any set by the plainest loop."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy

from langneurons import artifacts
from langneurons.align.pairs import Pair, Pairs
from langneurons.config import MediateConfig
from langneurons.effects.mediate import Judged, mediated
from langneurons.effects.mediation import WAYS, Mediation, shares
from langneurons.model.entering import Entering, entering
from langneurons.model.loading import Loaded, load
from langneurons.neurons.sets import select
from langneurons.resume import State
from langneurons.texts.responses import Response
from support import adapters, families
from support.command import refused, run_two_processes
from support.spoken import LANGS, drawn, texts
from support.stopping import stopped_and_gone_on_with
from support.values import neurons_at

NEURON = 7


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.save("llama", tmp_path_factory.mktemp("mediate") / "model")


@pytest.fixture(scope="module")
def one(base: Path) -> Path:
    """An adapter that changes what one neuron of the last layer is multiplied by."""
    lora = peft.LoraConfig(target_modules=["up_proj"], layers_to_transform=[2], r=2)
    folder = adapters.save(lora, base, base.parent / "one")
    weights = load_file(folder / "adapter_model.safetensors")
    for name, weight in weights.items():
        if "lora_B" in name:
            kept = weight[NEURON] * 20
            weight.zero_()
            weight[NEURON] = kept
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def everywhere(base: Path) -> Path:
    lora = peft.LoraConfig(target_modules=["q_proj", "v_proj", "o_proj"], r=2)
    return adapters.save(lora, base, base.parent / "everywhere")


def pairs() -> list[Pair]:
    """Of every two responses to a prompt the first is preferred."""
    by_prompt: dict[tuple[str, str, str], list[str]] = {}
    for text in texts(3, 2):
        by_prompt.setdefault((text.question_id, text.lang, text.prompt), []).append(text.response)
    return [Pair(*key, *both, 1.0, 0.0, False) for key, both in by_prompt.items()]


def judged() -> list[Judged]:
    return [
        Judged(Response(pair.question_id, pair.lang, pair.prompt, text), sign, number)
        for number, pair in enumerate(pairs())
        for text, sign in ((pair.chosen, 1), (pair.rejected, -1))
    ]


def test_one_neuron_carries_what_it_alone_does(one: Path) -> None:
    model = load(one)
    rows = [(2, NEURON, "en zh sw"), (2, NEURON + 1, "en"), (1, 3, "en zh")]
    neurons = neurons_at(rows, model.widths)
    config = MediateConfig(controls=2)
    found = mediated(model, neurons, judged(), config, paired=True, trained=("sw",)).mediation
    assert np.abs(found.aligned - found.base).max() > 0.01
    for row in shares(found):
        expected = {"all": 1, "all + attention": 1, "general": 1}.get(row.name, 0)
        assert row.share.value == pytest.approx(expected, abs=1e-4), row
        assert all(random.value == pytest.approx(0, abs=1e-4) for random in row.random.values())
        if row.name == "general":
            assert row.beyond is not None
            assert row.beyond.value == pytest.approx(1, abs=1e-4)
    assert {row.group for row in shares(found)} == {"trained languages", "other languages"}
    assert set(found.units) == {1}
    assert found.names[:3] == ("all", "in no class", "specific")


def outcome(
    model: Loaded, text: Response, chosen: np.ndarray, *, base: bool
) -> tuple[float, float, float]:
    """What a text costs unpatched, in the other model, and with the other's values, by hand."""
    ids = torch.tensor(model.tokenizer(text.prompt + text.response)["input_ids"])
    start = len(model.tokenizer(text.prompt)["input_ids"])
    kept: dict[int, torch.Tensor] = {}

    def cost(as_base: bool, change: Callable[[Entering], torch.Tensor]) -> float:
        inner: Any = model.model
        switch = inner.disable_adapter() if as_base else nullcontext()
        with switch, torch.no_grad(), entering(model.sites, change):
            logits = inner(input_ids=ids[None], use_cache=False).logits[0].float()
        return float(cross_entropy(logits[start - 1 : -1], ids[start:], reduction="sum"))

    def keep(mine: Entering) -> torch.Tensor:
        kept[mine.site] = mine.values
        return mine.values

    def put(mine: Entering) -> torch.Tensor:
        values = mine.values.clone()
        width = values.shape[1]
        mine_of = chosen[(chosen >= mine.site * width) & (chosen < (mine.site + 1) * width)]
        values[:, mine_of % width] = kept[mine.site][:, mine_of % width]
        return values

    other = cost(not base, keep)
    return cost(base, lambda mine: mine.values), other, cost(base, put)


@pytest.mark.parametrize("budget", [1, 4000])
def test_any_set_is_what_the_plain_loop_says(everywhere: Path, budget: int) -> None:
    model = load(everywhere)
    neurons = drawn(model.widths)
    config = MediateConfig(controls=1, settings="related", budget=budget)
    rates = {code: np.linspace(0, 1, 3 * 48) for code in LANGS}
    found = mediated(model, neurons, judged(), config, paired=True, rates=rates).mediation
    assert found.matchings("related") == ("layer", "rate", "change")
    place = [one.name for one in found.sets].index("related")
    for q, (code, question) in enumerate(found.questions):
        chosen = select(neurons, model.widths, ("related",), (code,))
        sums = np.zeros((2, 3))
        for one in judged():
            if (one.text.lang, one.text.question_id) == (code, question):
                for way, base in enumerate((True, False)):
                    sums[way] -= one.sign * np.array(outcome(model, one.text, chosen, base=base))
        assert found.base[q] == pytest.approx(sums[0, 0], abs=1e-4)
        assert found.aligned[q] == pytest.approx(sums[0, 1], abs=1e-4)
        assert found.moved[place, :, q] == pytest.approx(sums[:, 2], abs=1e-4)
        assert found.neurons[place, q] == len(chosen)
    assert found.share("all", "into base", LANGS).value != pytest.approx(1, abs=1e-3)
    for name in ("attention", "all + attention"):  # the adapter is in attention alone
        for way in WAYS:
            assert found.share(name, way, LANGS).value == pytest.approx(1, abs=1e-5)
    row = next(i for i, one in enumerate(found.sets) if one.name == "attention")
    assert not found.neurons[row].any()


def test_stages_of_layers_carry_what_is_in_them(tmp_path: Path) -> None:
    """An adapter in the attention of layer 2 alone, of four layers, each a stage."""
    base = families.save("llama", tmp_path / "model", num_hidden_layers=4)
    lora = peft.LoraConfig(target_modules=["o_proj"], layers_to_transform=[2], r=2)
    model = load(adapters.save(lora, base, tmp_path / "adapter"))
    config = MediateConfig(controls=1, settings="related", layers="2-3")
    found = mediated(model, drawn(model.widths), judged(), config, paired=True).mediation
    shares_of = {name: found.share(name, "into base", LANGS).value for name in found.names}
    for layer in range(4):
        if layer <= 2:  # what comes later answers to it
            expected = pytest.approx(1 if layer == 2 else 0, abs=1e-5)
            assert shares_of[f"attention of layer {layer}"] == expected
        if layer < 2:
            assert shares_of[f"neurons of layer {layer}"] == pytest.approx(0, abs=1e-5)
    row = next(i for i, one in enumerate(found.sets) if one.name == "related")
    for q, (code, _) in enumerate(found.questions):
        inside = select(drawn(model.widths), model.widths, ("related",), (code,), range(2, 4))
        assert found.neurons[row, q] == len(inside)


def test_the_command(base: Path, everywhere: Path, tmp_path: Path, langneurons: Callable) -> None:
    drawn(load(base).widths).save(tmp_path / "neurons")
    Pairs(train=(), dev=pairs()).save(tmp_path / "pairs")
    words = ("mediate", base, everywhere, tmp_path / "neurons", tmp_path / "pairs")
    more = ("--controls", 1, "--trained", "sw", "--out", tmp_path / "out")
    done = langneurons(*words, *more)
    assert done.status == 0, done.err
    assert "trained languages (sw): alignment changed" in done.out
    again = langneurons(*words, *more, "--json")
    assert "up to date" in again.err
    assert {row["group"] for row in again.json["shares"]} == {
        "trained languages",
        "other languages",
    }
    found = Mediation.load(tmp_path / "out")
    assert found.to_table().equals(Mediation.from_table(found.to_table()).to_table())
    assert found.trained == ("sw",)


def test_two_processes_share_the_work(
    base: Path, everywhere: Path, tmp_path: Path, langneurons: Callable
) -> None:
    drawn(load(base).widths).save(tmp_path / "neurons")
    Pairs(train=(), dev=pairs()).save(tmp_path / "pairs")
    words = ("mediate", base, everywhere, tmp_path / "neurons", tmp_path / "pairs")
    words += ("--controls", 1, "--budget", 200)
    done = run_two_processes(*words, "--out", tmp_path / "both")
    assert done.status == 0, done.err
    assert langneurons(*words, "--out", tmp_path / "alone").status == 0
    alone, both = Mediation.load(tmp_path / "alone"), Mediation.load(tmp_path / "both")
    assert both.sets == alone.sets
    assert (both.sizes == alone.sizes).all()
    assert both.moved == pytest.approx(alone.moved, rel=1e-5)
    assert {path.name for path in tmp_path.iterdir()} == {"neurons", "pairs", "both", "alone"}


def test_a_killed_run_ends_with_the_same_numbers(everywhere: Path, tmp_path: Path) -> None:
    """Stopped again and again, in the middle of a batch too, which holds several sets."""
    model = load(everywhere)
    neurons = drawn(model.widths)
    config = MediateConfig(controls=1, settings="related", budget=1, save_every=1e-9)
    some = judged()[:8]
    whole = mediated(model, neurons, some, config, paired=True).mediation
    state = State(tmp_path / "out", {}, {})

    def run(on_step: Callable[..., None]) -> Mediation:
        options: dict[str, Any] = {"paired": True, "state": state, "on_step": on_step}
        return mediated(model, neurons, some, config, **options).mediation

    again, stops = stopped_and_gone_on_with(run, steps=30, at_most=200)
    assert stops > 1
    assert len(whole.sets) % 29  # so it was stopped in the middle of a batch
    assert again.to_table().equals(whole.to_table())


def test_trained_languages_and_held_out_pairs_are_those_the_adapter_says(
    base: Path, everywhere: Path, tmp_path: Path, langneurons: Callable
) -> None:
    drawn(load(base).widths).save(tmp_path / "neurons")
    Pairs(train=pairs()[:4], dev=pairs()[4:]).save(tmp_path / "pairs")
    inputs = {"pairs": artifacts.read(tmp_path / "pairs").digest, "model": load(base).fingerprint}
    with artifacts.writing(tmp_path / "trained", "adapter", "align", {}, inputs) as draft:
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            content = (everywhere / name).read_bytes()
            draft.bytes(name, content)
            draft.bytes(f"checkpoint-2/{name}", content)
        draft.facts["pairs"] = {"sw": 4}
    words = (tmp_path / "neurons", tmp_path / "pairs", "--controls", 0, "--out", tmp_path / "out")
    done = langneurons("mediate", base, tmp_path / "trained" / "checkpoint-2", *words)
    assert done.status == 0, done.err
    assert "trained languages (sw)" in done.out
    assert f"the {len(pairs()) - 4} pairs held out from the adapter's training" in done.out


def test_bad_input_is_one_line(
    base: Path, one: Path, everywhere: Path, tmp_path: Path, langneurons: Callable
) -> None:
    drawn(load(base).widths).save(tmp_path / "neurons")
    drawn(((8,),) * 3, each=2).save(tmp_path / "other")
    Pairs(train=pairs()).save(tmp_path / "pairs")
    trained = tmp_path / "trained"
    inputs = {"pairs": artifacts.read(tmp_path / "pairs").digest}
    with artifacts.writing(trained, "adapter", "align", {}, inputs) as draft:
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            draft.bytes(name, (everywhere / name).read_bytes())
    usual = (base, everywhere, tmp_path / "neurons", tmp_path / "pairs")
    done = langneurons("graft", trained, "--projections", "v_proj", "--out", tmp_path / "grafted")
    assert done.status == 0, done.err
    for words, what in (
        ((base, tmp_path / "grafted", *usual[2:]), "was trained on all pairs"),
        ((base, base, *usual[2:]), "is no adapter folder"),
        (("nano", *usual[1:]), "adapts"),
        ((base, trained, *usual[2:]), "was trained on all pairs"),
        ((*usual[:2], tmp_path / "other", usual[3]), "the neurons are of another model"),
        ((*usual, "--languages", "xx"), "holds no such pair in xx"),
        ((*usual, "--template", "chat"), "--template is for responses"),
        ((*usual, "--settings", "useful"), "'useful' is no kind"),
        ((*usual[:3], tmp_path / "nowhere"), "does not exist"),
    ):
        refused(langneurons("mediate", *words, "--out", tmp_path / "out"), what)
        assert not (tmp_path / "out").exists()


def test_an_adapter_that_changes_nothing(base: Path, tmp_path: Path) -> None:
    lora = peft.LoraConfig(target_modules=["up_proj"], r=2)
    folder = adapters.save(lora, base, tmp_path / "adapter")
    weights = load_file(folder / "adapter_model.safetensors")
    save_file(
        {name: weight * 0 for name, weight in weights.items()},
        folder / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    model = load(folder)
    with pytest.raises(ValueError, match="there is nothing to mediate"):
        mediated(model, drawn(model.widths), judged(), MediateConfig(controls=0), paired=True)
