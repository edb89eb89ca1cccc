"""A model built by hand: attribute finds what every neuron costs. The real command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langneurons import artifacts
from langneurons.neurons.effects import Effects
from langneurons.neurons.table import Neurons
from support import planted
from support.command import refused, run_two_processes
from support.planted import LANGS, LAYERS, NEURONS, WIDTH, Planted
from support.stopping import stopped_and_gone_on_with


class Run:
    """Folders of one run on the planted model."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.model = folder, planted.save(folder / "model")
        self.texts = planted.write(folder / "texts")
        self.counts, self.neurons = folder / "counts", folder / "neurons"
        self.effects = folder / "effects"

    @property
    def words(self) -> tuple[Any, ...]:
        return ("attribute", self.model, self.texts, "--neurons", self.neurons, "--blocks", 3)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, langneurons: Callable) -> Run:
    made = Run(tmp_path_factory.mktemp("planted"))
    for words in (
        ("record", made.model, made.texts, "--out", made.counts, "--blocks", 3),
        ("identify", made.counts, "--out", made.neurons, "--rate", planted.RATE, "--bootstrap", 0),
        (*made.words, "--exact", 20, "--exact-tokens", 10**6, "--out", made.effects),
    ):
        done = langneurons(*words)
        assert done.status == 0, done.err
    made.said = done.out
    return made


def slopes() -> list[tuple[Planted, dict[str, float]]]:
    """How every planted neuron's scale changes each language's cost, by hand, nats in all: by a
    small step both ways."""
    step = 1e-4
    sums = []
    for neuron in NEURONS:
        at = [(neuron.layer, neuron.neuron)]
        less, more = planted.costs(at, 1 - step), planted.costs(at, 1 + step)
        sums.append((neuron, {code: (less[code] - more[code]) / (2 * step) for code in LANGS}))
    return sums


def test_first_order_is_the_derivative_by_hand(run: Run) -> None:
    """What never fires costs nothing at all."""
    effects = Effects.load(run.effects)
    tokens = 6 * planted.WORDS
    per_token = effects.per_token().reshape(len(LANGS), LAYERS, WIDTH)
    expected = np.zeros_like(per_token)
    for neuron, by_language in slopes():
        for code, slope in by_language.items():
            expected[effects.languages.index(code), neuron.layer, neuron.neuron] = slope
    assert per_token == pytest.approx(expected / tokens, rel=1e-4, abs=1e-8)
    assert (per_token[expected == 0] == 0).all()
    assert not effects.at_beginning().any()  # nothing fires on <s>
    unsilenced = planted.costs([])
    assert dict(zip(effects.languages, effects.nll.sum(axis=1), strict=True)) == pytest.approx(
        unsilenced, rel=1e-6
    )


def test_tries_and_sets_cost_what_they_must(run: Run) -> None:
    effects = Effects.load(run.effects)
    unsilenced = planted.costs([])
    assert effects.tried is not None
    for position, exact in zip(effects.tried.positions, effects.tried.exact, strict=True):
        by_hand = planted.costs([(int(position) // WIDTH, int(position) % WIDTH)])
        for k, code in enumerate(effects.languages):
            assert exact[k] == pytest.approx(by_hand[code] - unsilenced[code], abs=1e-4)
    kinds = {"specific": ("specific",), "specific+related": ("specific", "related")}
    for split in effects.splits:
        mine = [
            (n.layer, n.neuron)
            for n in NEURONS
            if n.kind in kinds[split.setting] and n.fires.get(split.language, 0) > 3
        ]
        assert [(int(p) // WIDTH, int(p) % WIDTH) for p in split.positions] == sorted(mine)
        cost = planted.costs(mine)[split.language] - unsilenced[split.language]
        assert split.costs.sum() == pytest.approx(cost, abs=1e-4)
        assert abs(split.missing) < 0.01
        assert (split.effects.sum(axis=1) > 0).all()  # each of them serves its language
    assert {split.language for split in effects.splits if split.setting == "specific"} == {
        "en",
        "zh",
        "sw",
    }
    assert {split.language for split in effects.splits} == set(LANGS)


def test_neurons_by_effect_are_those_that_serve(
    run: Run, langneurons: Callable, tmp_path: Path
) -> None:
    """With tau at 0 a neuron's languages are those that it helps, and nothing else is selected."""
    helps = {
        (neuron.layer, neuron.neuron): {code for code, slope in mine.items() if slope > 1e-9}
        for neuron, mine in slopes()
    }
    serving = sum(map(len, helps.values()))
    quantile = 1 - serving / (len(LANGS) * LAYERS * WIDTH)
    words = ("identify", run.effects, "--by", "effect", "--tau-quantile", quantile)
    more = ("--rate", 12 / (LAYERS * WIDTH), "--against", run.neurons, "--bootstrap", 0)
    done = langneurons(*words, *more, "--out", tmp_path / "by-effect", "--json")
    assert done.status == 0, done.err
    found = Neurons.load(tmp_path / "by-effect")
    assert found.rule.by == "effect"
    assert found.rule.tau == 0
    languages = {
        (int(layer), int(neuron)): {
            code for code, high in zip(found.languages, member, strict=True) if high
        }
        for (layer, _, neuron), member in zip(found.keys, found.member, strict=True)
    }
    assert languages == {place: helped for place, helped in helps.items() if helped}
    matched = {(one["kind"], one["language"]): one for one in done.json["against"]}
    for code, mine in (("en", 2), ("zh", 3), ("sw", 3)):
        row = matched["specific", code]
        alone = sum(helped == {code} for helped in helps.values())
        assert (row["by_rate"], row["by_effect"], row["both"]) == (mine, alone, mine)
        assert row["precision"][0] == 1
        assert row["recall"][0] == mine / alone
    assert matched["specific", "th"]["precision"] is None
    assert matched["general", None]["by_rate"] == 2


def test_what_cannot_be_classified_by_effect(
    run: Run, langneurons: Callable, tmp_path: Path
) -> None:
    for words, what in (
        ((run.counts, "--by", "effect"), "holds counts; effects are needed here"),
        ((run.effects, "--by", "rate"), "holds effects; counts are needed here"),
        ((run.counts, "--against", run.neurons), "--against is for neurons found by effect"),
        ((run.effects, "--per", "routed"), "effects are per token"),
    ):
        refused(langneurons("identify", *words, "--out", tmp_path / "out"), what)


def test_what_is_said(run: Run, langneurons: Callable) -> None:
    assert "specific of zh" in run.said
    assert "points of its path" in run.said
    assert "top, at text" in run.said
    words = (*run.words, "--exact", 20, "--exact-tokens", 10**6, "--out", run.effects)
    done = langneurons(*words, "--json")
    assert "up to date" in done.err
    assert {one["group"] for one in done.json["trust"]} >= {"top", "random", "sink", "specific"}
    one = done.json["sets"][0]
    assert one["setting"] == "specific"
    each = one["per_token"]
    assert each["value"] == pytest.approx(one["cost"] / one["tokens"])
    assert each["low"] <= each["value"] <= each["high"]
    assert each["low"] < each["high"]
    top = next(one for one in done.json["trust"] if one["group"] == "top")
    assert top["spearman"]["low"] <= top["spearman"]["value"] <= top["spearman"]["high"]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--languages", "en,xx"), "there is none in xx"),
        (("--settings", "specific,specific"), "give each once"),
        (("--settings", "useful"), "'useful' is no kind"),
        (("--languages", "th", "--settings", "specific"), "there is no specific neuron of th"),
        (("--tolerance", "0"), "outside (0, 1)"),
        (("--points", "3"), "5 or more"),
        (("--where", "some"), "--where"),
    ],
)
def test_bad_input_is_one_line(
    words: tuple[str, ...], what: str, run: Run, langneurons: Callable, tmp_path: Path
) -> None:
    refused(langneurons(*run.words, *words, "--out", tmp_path / "out"), what)


def test_neurons_of_another_model_are_refused(
    run: Run, langneurons: Callable, tmp_path: Path
) -> None:
    words = ("attribute", "nano", run.texts, "--neurons", run.neurons, "--out", tmp_path / "out")
    refused(langneurons(*words), "the neurons were found on weights")


def test_two_processes_share_the_work(run: Run, tmp_path: Path) -> None:
    words = (*run.words, "--exact", 20, "--exact-tokens", 10**6, "--budget", 200)
    done = run_two_processes(*words, "--out", tmp_path / "out")
    assert done.status == 0, done.err
    alone, both = Effects.load(run.effects), Effects.load(tmp_path / "out")
    assert both.per_token() == pytest.approx(alone.per_token(), rel=1e-4, abs=1e-8)
    assert alone.tried is not None
    assert both.tried is not None
    assert both.tried.exact == pytest.approx(alone.tried.exact, abs=1e-4)
    for ours, theirs in zip(both.splits, alone.splits, strict=True):
        assert ours.costs == pytest.approx(theirs.costs, abs=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_killed_run_ends_with_the_same_bytes(run: Run, tmp_path: Path) -> None:
    """Stopped after every unit in turn and gone on with; every part of the work is passed."""
    from langneurons.effects import attribute as module
    from langneurons.model.loading import load
    from langneurons.resume import State
    from langneurons.texts.rows import read_responses

    model, neurons = load(run.model), Neurons.load(run.neurons)
    texts = read_responses(run.texts)
    options: dict[str, Any] = {"exact": 2, "exact_tokens": 40, "blocks": 3, "budget": 200}
    options |= {"settings": "specific", "save_every": 1e-9, "neurons": neurons}

    whole = module.attribute(model, texts, **options)
    state = State(tmp_path / "out", {}, {})
    again, stops = stopped_and_gone_on_with(
        lambda on_step: module.attribute(model, texts, **options, state=state, on_step=on_step),
        steps=2,  # the first unit is saved, the second is lost
        at_most=100,
    )
    assert stops > 5
    artifacts.save(whole, tmp_path / "whole")
    artifacts.save(again, tmp_path / "again")
    for name in artifacts.read(tmp_path / "whole").manifest["files"]:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
