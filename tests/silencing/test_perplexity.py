"""The stage on real tiny models: its costs are those of the plainest loop, however the work is
cut."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import DynamicCache

from langneurons import resume
from langneurons.config import PerplexityConfig
from langneurons.errors import InputError, MismatchError, RecordError
from langneurons.model import loading as models
from langneurons.model.forward import cache_name
from langneurons.model.hooks import silence
from langneurons.model.loading import Loaded
from langneurons.neurons.sets import to_masks
from langneurons.neurons.table import Neurons
from langneurons.silencing.controls import conditions
from langneurons.silencing.losses import Losses
from langneurons.silencing.perplexity import measured, perplexity
from langneurons.texts.responses import Response, block_of
from support import families
from support.spoken import LANGS, drawn, texts


@dataclass
class Subject:
    """A tiny model of a family, and neurons drawn for it."""

    loaded: Loaded
    neurons: Neurons

    @property
    def model(self) -> Any:
        return self.loaded.model

    @property
    def tokenizer(self) -> Any:
        return self.loaded.tokenizer

    def measure(self, responses: Sequence[Response] | None = None, **options: Any) -> Losses:
        options = {"controls": 1, "blocks": 3, **options}
        return perplexity(self.loaded, self.neurons, responses or texts(), **options)


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Subject]:
    @cache
    def get(name: str) -> Subject:
        loaded = models.load(families.save(name, tmp_path_factory.mktemp(name)))
        return Subject(loaded, drawn(loaded.widths))

    return get


def plain(subject: Subject, config: PerplexityConfig, responses: Sequence[Response]) -> np.ndarray:
    """Summed costs [C, K, G] in the plainest way: one condition, one text, one forward with all
    logits."""
    shapes = subject.loaded.widths
    sets = conditions(subject.neurons, shapes, LANGS, config)
    out = np.zeros((len(sets), len(LANGS), config.blocks))
    for c, (condition, chosen) in enumerate(sets):
        masks = to_masks([chosen], shapes)
        for r in responses:
            ids = torch.tensor(subject.tokenizer(r.prompt + r.response)["input_ids"])
            start = len(
                subject.tokenizer(r.prompt)["input_ids"]
            )  # a byte is a token: no token reaches across
            if condition.at_text:
                logits = after_an_intact_first(subject, ids, masks)
            else:
                with silence(subject.loaded.sites, masks):
                    logits = subject.model(input_ids=ids[None], use_cache=False).logits[0].float()
            cost = cross_entropy(logits[start - 1 : -1], ids[start:], reduction="sum")
            out[c, LANGS.index(r.lang), block_of(r.question_id, config.blocks)] += float(cost)
        if condition.silenced and not len(chosen):
            out[c] = np.nan
    return out


def after_an_intact_first(subject: Subject, ids: torch.Tensor, masks: Any) -> torch.Tensor:
    """Logits where the first token is read with nothing silenced, and then the others."""
    cache = {cache_name(subject.model): DynamicCache(config=subject.model.config)}
    intact = [None] * len(masks)
    with silence(subject.loaded.sites, intact):  # experts run as they do in silence
        first = subject.model(input_ids=ids[None, :1], use_cache=True, **cache).logits
    with silence(subject.loaded.sites, masks):
        others = subject.model(input_ids=ids[None, 1:], use_cache=True, **cache).logits
    return torch.cat((first, others), dim=1)[0].float()


@pytest.mark.parametrize("name", ["llama", "opt", "gemma3", "deepseek_v3", "gpt_oss"])
def test_at_text_the_first_token_is_left_alone(name: str, load: Callable[[str], Subject]) -> None:
    """Whether prompts are shared or not, beside the same sets silenced everywhere."""
    subject, responses = load(name), texts(2, 2)
    config = PerplexityConfig(controls=1, blocks=3, where="all,text")
    expected = plain(subject, config, responses)
    for more in ({"budget": 400}, {"budget": 60, "share_prompts": False}):
        found = subject.measure(responses, where="all,text", **more)
        tokens = np.where(found.tokens, found.tokens, 1)
        assert np.isnan(found.nll).tolist() == np.isnan(expected).tolist()
        assert np.nanmax(np.abs(found.nll - expected) / tokens) < 1e-5
    both = ("specific", "specific+related")
    assert found.settings == (*both, *(f"{setting} at text" for setting in both))
    sets = conditions(subject.neurons, subject.loaded.widths, LANGS, config)[1:]
    half = len(sets) // 2
    for (one, chosen), (other, same) in zip(sets[:half], sets[half:], strict=True):
        assert (one.silenced, one.draw) == (other.silenced, other.draw)
        assert np.array_equal(chosen, same)
    everywhere, at_text = np.split(found.nll[1:], 2)
    assert np.nanmax(np.abs(everywhere - at_text)) > 1e-3


def test_at_text_an_activation_can_be_held(load: Callable[[str], Subject]) -> None:
    subject = load("llama")
    far = subject.measure(settings="specific", to="3", where="all,text", controls=0)
    first, late = far.find("specific")[0], far.find("specific at text")[0]
    assert abs(far.nll[first] - far.nll[late]).max() > 1e-3


def test_where_is_all_or_text() -> None:
    for where in ("here", "all,all", ""):
        with pytest.raises(InputError, match=f"where '{where}': choose all, text or all,text"):
            PerplexityConfig(where=where)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_every_family_costs_what_the_plain_loop_says(
    name: str, load: Callable[[str], Subject]
) -> None:
    subject, responses = load(name), texts(2, 1)
    found = subject.measure(responses, budget=300, controls=0)
    expected = plain(subject, PerplexityConfig(controls=0, blocks=3), responses)
    tokens = np.where(found.tokens, found.tokens, 1)
    assert np.isnan(found.nll).tolist() == np.isnan(expected).tolist()
    assert np.nanmax(np.abs(found.nll - expected) / tokens) < 1e-5
    assert np.nanmax(np.abs(found.nll[1:] - found.nll[0])) > 0.01  # silencing does something


@pytest.mark.parametrize("name", families.CONTINUES)
def test_prompts_are_shared_where_the_model_goes_on_from_them(
    name: str, load: Callable[[str], Subject]
) -> None:
    """States behind the last feed-forward are kept too; costs are those of the plain loop."""
    subject, responses = load(name), texts(2, 2)
    found = measured(subject.loaded, subject.neurons, responses, PerplexityConfig(controls=0))
    expected = plain(subject, PerplexityConfig(controls=0), responses)
    assert np.nanmax(np.abs(found.losses.nll - expected)) < 1e-3
    goes_on = families.CONTINUES[name]
    assert ("prompts not shared" in found.facts) != goes_on
    if not goes_on:
        with pytest.raises(InputError, match=r"^--share-prompts: the model does not go on from"):
            subject.measure(share_prompts=True)


@pytest.mark.parametrize("name", ["llama", "falcon", "gemma2", "deepseek_v3", "gpt_oss"])
def test_conditions_in_one_batch_equal_conditions_alone(
    name: str, load: Callable[[str], Subject]
) -> None:
    """The budget says how many conditions run as rows of one batch; prompts are shared or not."""
    subject = load(name)
    alone = subject.measure(budget=1, share_prompts=False)
    for options in ({"budget": 4000}, {"budget": 300, "share_prompts": False}):
        together = subject.measure(**options)
        assert (alone.tokens == together.tokens).all()
        assert np.nanmax(np.abs(alone.nll - together.nll)) < 1e-3
        assert np.nanmax(np.abs(alone.log_perplexity() - together.log_perplexity())) < 1e-5


def test_an_empty_set_is_said_and_not_run(load: Callable[[str], Subject]) -> None:
    """No neuron is specific to sw: its row says 0 neurons, its costs are unknown and not those of
    the whole model."""
    subject = load("llama")
    config = PerplexityConfig(controls=1, blocks=3)
    losses, facts = measured(subject.loaded, subject.neurons, texts(), config)
    row = losses.find("specific")[LANGS.index("sw")]
    assert losses.conditions[row].neurons == 0
    assert np.isnan(losses.nll[row]).all()
    assert not np.isnan(losses.nll[losses.find("specific+related")]).any()
    assert facts["silenced"]["specific"]["sw"] == 0
    assert (losses.tokens == losses.tokens[0]).all()


def test_what_is_counted(load: Callable[[str], Subject]) -> None:
    """A byte is a token, so tokens and bytes of the responses are their lengths."""
    losses = load("llama").measure()
    for k, code in enumerate(LANGS):
        mine = [r for r in texts() if r.lang == code]
        assert losses.texts[k].sum() == len(mine)
        length = sum(len(r.response.encode()) for r in mine)
        assert losses.tokens[0, k].sum() == losses.bytes[k].sum() == length
    per_byte = losses.nll.sum(2) / losses.bytes.sum(1) / np.log(2)
    assert np.allclose(losses.bits_per_byte(), per_byte, equal_nan=True)


def test_means_of_texts(load: Callable[[str], Subject]) -> None:
    subject = load("llama")
    alone = [
        subject.measure([r], languages=[r.lang]).log_perplexity()[0, 0]
        for r in texts()
        if r.lang == "zh"
    ]
    found = subject.measure(average="sequences")
    assert found.log_perplexity()[0, 1] == pytest.approx(np.mean(alone), abs=1e-5)
    assert found.log_perplexity()[0, 1] != pytest.approx(
        subject.measure().log_perplexity()[0, 1], abs=1e-4
    )


def test_prompt_text(load: Callable[[str], Subject]) -> None:
    """Every prompt once, however many responses it has; all its tokens, which the first one
    predicts."""
    subject = load("llama")
    losses = subject.measure(text="prompt")
    for k, code in enumerate(LANGS):
        prompts = {r.prompt for r in texts() if r.lang == code}
        assert losses.texts[k].sum() == len(prompts)
        assert losses.tokens[0, k].sum() == sum(len(p.encode()) for p in prompts)
        ids = [torch.tensor(subject.tokenizer(p)["input_ids"]) for p in prompts]
        cost = sum(
            float(
                cross_entropy(
                    subject.model(input_ids=i[None]).logits[0, :-1], i[1:], reduction="sum"
                )
            )
            for i in ids
        )
        assert losses.nll[0, k].sum() == pytest.approx(cost, rel=1e-5)


def test_arg_max_mixed_in(load: Callable[[str], Subject]) -> None:
    """As the released code averages: each token's cost, and the likeliest token's where that is
    another."""
    subject = load("llama")
    mixed = subject.measure(mix_argmax=True)
    total, entries = 0.0, 0
    for r in texts():
        if r.lang == "en":
            ids = torch.tensor(subject.tokenizer(r.prompt + r.response)["input_ids"])
            start = len(r.prompt) + 1
            log = torch.log_softmax(subject.model(input_ids=ids[None]).logits[0], -1)[
                start - 1 : -1
            ]
            for row, token in zip(log, ids[start:], strict=True):
                total -= float(row[token])
                entries += 1
                if row.argmax() != token:
                    total -= float(row.max())
                    entries += 1
    assert mixed.nll[0, 0].sum() == pytest.approx(total, rel=1e-5)
    assert mixed.tokens[0, 0].sum() == entries
    assert (mixed.log_perplexity()[0] < subject.measure().log_perplexity()[0]).all()


def test_silencing_to_a_value(load: Callable[[str], Subject]) -> None:
    """Zero as a number is zero; the mean is that of the languages' means on the scored
    positions."""
    subject = load("llama")
    zero = subject.measure()
    held = subject.measure(to="1e-30")
    assert np.nanmax(np.abs(zero.nll - held.nll)) < 1e-3
    assert np.nanmax(np.abs(zero.nll - subject.measure(to="0.7").nll)) > 1
    with pytest.raises(InputError, match="experts"):
        load("mixtral").measure(to="mean")
    with pytest.raises(InputError, match="experts"):
        load("mixtral").measure(to="0.7")


@pytest.mark.parametrize("name", ["llama", "opt"])
def test_mean_activations_by_hooks(name: str, load: Callable[[str], Subject]) -> None:
    subject = load(name)
    path = families.FAMILIES[name].activation
    modules = [subject.model.get_submodule(str(path).format(i)) for i in range(families.LAYERS)]
    sums = torch.zeros(families.LAYERS, len(LANGS), 48)
    tokens = torch.zeros(len(LANGS))
    for r in texts():
        ids = torch.tensor(subject.tokenizer(r.prompt + r.response)["input_ids"])[None]
        k, start, seen = LANGS.index(r.lang), len(subject.tokenizer(r.prompt)["input_ids"]), []
        handles = [
            m.register_forward_hook(lambda _, __, out, seen=seen: seen.append(out)) for m in modules
        ]
        subject.model(input_ids=ids, use_cache=False)
        for handle in handles:
            handle.remove()
        for i, out in enumerate(seen):
            sums[i, k] += out.reshape(-1, 48)[start - 1 : -1].sum(0)
        tokens[k] += ids.shape[1] - start
    means = (sums / tokens[:, None]).mean(1)
    chosen = [
        set_
        for condition, set_ in conditions(
            subject.neurons, [(48,)] * 3, LANGS, PerplexityConfig(controls=0)
        )
    ]
    by_hand = np.zeros((len(chosen), len(LANGS)))
    for c, places in enumerate(chosen):
        flat = torch.zeros(3 * 48, dtype=torch.bool)
        flat[places] = True

        def put(i: int, flat: torch.Tensor = flat) -> Any:
            return lambda _, __, out: torch.where(flat.view(3, 48)[i], means[i], out)

        handles = [m.register_forward_hook(put(i)) for i, m in enumerate(modules)]
        for r in texts():
            ids = torch.tensor(subject.tokenizer(r.prompt + r.response)["input_ids"])
            start = len(subject.tokenizer(r.prompt)["input_ids"])
            logits = subject.model(input_ids=ids[None], use_cache=False).logits[0]
            cost = cross_entropy(logits[start - 1 : -1], ids[start:], reduction="sum")
            by_hand[c, LANGS.index(r.lang)] += float(cost)
        for handle in handles:
            handle.remove()
        if c and not len(places):
            by_hand[c] = np.nan
    found = subject.measure(to="mean", controls=0, budget=700).nll.sum(2)
    assert np.allclose(found, by_hand, rtol=1e-5, equal_nan=True)


def test_layers_only(load: Callable[[str], Subject]) -> None:
    subject = load("llama")
    whole, part = subject.measure(controls=0), subject.measure(controls=0, layers="1-2")
    lower = subject.neurons.where(subject.neurons.layer >= 1)
    assert part.conditions[1].neurons < whole.conditions[1].neurons
    again = perplexity(subject.loaded, lower, texts(), controls=0, blocks=3)
    assert np.array_equal(again.nll, part.nll, equal_nan=True)


def test_controls_do_not_depend_on_what_else_is_measured(load: Callable[[str], Subject]) -> None:
    subject = load("llama")
    shapes = subject.loaded.widths
    rates = {code: np.random.default_rng(0).random(3 * 48) for code in LANGS}
    all_of_them = dict(
        conditions(subject.neurons, shapes, LANGS, PerplexityConfig(controls=3), rates)
    )
    some = PerplexityConfig(controls=2, settings="specific+related")
    for condition, chosen in conditions(subject.neurons, shapes, ("zh",), some, rates)[1:]:
        assert (all_of_them[condition] == chosen).all()
    own = {tuple(chosen) for condition, chosen in all_of_them.items() if condition.silenced == "zh"}
    assert len(own) == 8  # two settings, each the set and three draws, all different


def test_resuming_runs_only_what_is_not_done(
    load: Callable[[str], Subject], tmp_path: Path
) -> None:
    """Killed after a few units: what was saved is not computed again, and the sums are the same to
    the last bit."""
    subject = load("llama")
    whole = subject.measure(budget=60)

    class Killed(resume.State):
        left = 5

        def save(self, tensors: Any, done: int) -> None:
            super().save(tensors, done)
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    state = Killed(tmp_path / "p", {}, {})
    with pytest.raises(KeyboardInterrupt):
        subject.measure(budget=60, save_every=0, state=state)
    calls = []
    counter = subject.model.register_forward_pre_hook(lambda *_: calls.append(1))
    resumed = subject.measure(budget=60, state=resume.State(tmp_path / "p", {}, {}))
    mine, calls[:] = len(calls), []
    subject.measure(budget=60)
    counter.remove()
    assert 0 < mine < len(calls)
    assert np.array_equal(resumed.nll, whole.nll, equal_nan=True)
    assert np.array_equal(resumed.means, whole.means, equal_nan=True)


def test_little_memory_halves(
    load: Callable[[str], Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = load("llama")
    whole = subject.measure(budget=2000)
    forward = subject.model.forward

    def small(*args: Any, **inputs: Any) -> Any:
        if len(inputs["input_ids"]) > limit:
            raise torch.OutOfMemoryError("no memory")
        return forward(*args, **inputs)

    limit = 3
    monkeypatch.setattr(subject.model, "forward", small)
    halved = subject.measure(budget=2000)
    assert np.nanmax(np.abs(whole.nll - halved.nll)) < 1e-3
    limit = 0
    with pytest.raises((RecordError, torch.OutOfMemoryError), match="memory"):
        subject.measure(budget=2000)


def test_the_table_holds_everything(load: Callable[[str], Subject]) -> None:
    losses = load("llama").measure()
    table = losses.to_table()
    assert table.num_rows == losses.nll.size
    row = table.slice(losses.find("specific")[1] * 9 + 2 * 3, 1).to_pylist()[
        0
    ]  # zh silenced, sw evaluated, block 0
    assert (row["silenced"], row["setting"], row["draw"], row["language"], row["block"]) == (
        "zh",
        "specific",
        0,
        "sw",
        0,
    )
    assert row["nll"] == losses.nll[losses.find("specific")[1], 2, 0]
    again = Losses.from_table(table)
    assert again.conditions == losses.conditions
    for name in ("nll", "tokens", "means", "texts", "bytes"):
        assert np.array_equal(
            getattr(again, name), getattr(losses, name), equal_nan=name in ("nll", "means")
        )


def test_languages_that_do_not_fit(load: Callable[[str], Subject]) -> None:
    subject = load("llama")
    with pytest.raises(InputError, match=r"the neurons have no th; they have en, zh, sw"):
        subject.measure(languages=["en", "th"])
    with pytest.raises(InputError, match=r"the responses have no sw; they have en"):
        subject.measure([r for r in texts() if r.lang == "en"], languages=["en", "sw"])
    with pytest.raises(
        InputError, match=r"neurons \(en, zh, sw\) and responses \(th\) share no language"
    ):
        subject.measure([Response("q", "th", "p", "r")])
    with pytest.raises(InputError, match="'general1' is no kind"):
        subject.measure(settings="general1")
    both = subject.measure([*texts(), Response("q", "th", "p", "r")])
    assert both.languages == LANGS
    config = PerplexityConfig(controls=0, blocks=1)
    known = (subject.loaded, subject.neurons)
    _, facts = measured(*known, [*texts(), Response("q", "th", "p", "r")], config)
    assert facts["notes"] == ["not measured, as the neurons have none: th"]
    english = [r for r in texts() if r.lang == "en"]
    _, facts = measured(*known, english, config)
    assert facts["notes"] == ["not measured, as the responses have none: zh, sw"]
    _, facts = measured(*known, texts(), config, languages=["en"])
    assert facts["notes"] == []  # as it was asked for
    with pytest.raises(MismatchError, match="another model"):
        replace(subject, neurons=drawn([(48,)] * 2)).measure()
