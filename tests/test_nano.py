"""The embedded models do what their card says, on a few held-out problems; bench/nano.py measures
it all."""

import hashlib
import json
import re
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from langneurons import cli, nano
from langneurons.align.reward import reward
from langneurons.ask.evaluate import evaluate
from langneurons.config import (
    PerplexityConfig,
)
from langneurons.model import loading as models
from langneurons.model.check import check
from langneurons.neurons.identify import identify
from langneurons.neurons.record import record
from langneurons.silencing.perplexity import perplexity
from langneurons.texts import world
from langneurons.texts.responses import Response

FOLDER = nano.FOLDER
WEAK = ("bn", "th", "sw")


@pytest.fixture(scope="module")
def loaded():
    return models.load("nano")


@pytest.fixture(scope="module")
def gold():
    """Right responses to the first 12 held-out problems, as the world words them."""
    rows = []
    for problem in world.problems("nano", "test", 12):
        for lang in world.LANGUAGES:
            rng = Random(f"{problem.id} {lang}")
            asked, thought = world.tell(problem, lang, rng), world.think(problem, lang, rng)
            rows.append(
                Response(
                    problem.id, lang, f"Q: {asked}\nA:", f" {thought}", 0, problem.answer, True
                )
            )
    return rows


@pytest.fixture(scope="module")
def neurons(loaded, gold):
    counts = record(loaded, gold, languages=world.LANGUAGES)
    return identify(counts, rate=nano.RATE, bootstrap=0)


def test_all_of_it_is_small():
    sizes = {file: file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()}
    assert sum(sizes.values()) <= 10_000_000


def test_the_card_is_of_these_weights():
    card = (FOLDER / "CARD.md").read_text("utf-8")
    for part in ("model", "translator"):
        digest = hashlib.sha256((FOLDER / part / "model.safetensors").read_bytes()).hexdigest()
        assert digest in card


def test_its_commands_take_what_suits_it():
    """Where nothing else is given, and no other model."""

    def taken(*words):
        parsed = cli.app.parse_args([*words, "--out", "o"], exit_on_error=False, print_error=False)
        return parsed[1].arguments

    assert taken("sample", "nano", "q")["config"] == nano.SAMPLE
    assert taken("evaluate", "nano", "q")["config"] == nano.EVALUATE
    assert taken("align", "nano", "p")["config"] == nano.ALIGN
    assert taken("align", "nano", "p")["sampling"] == nano.GRPO
    given = taken("sample", "nano", "q", "--top-k", "0", "--temperature", "0.5")["config"]
    assert given == replace(nano.SAMPLE, top_k=0, temperature=0.5)
    for command in ("sample", "evaluate", "align"):
        assert not {"config", "sampling"} & set(taken(command, "another", "q"))


def test_every_measurement_holds_on_it(loaded):
    assert check(loaded).holds


def test_it_reasons_in_english_best_and_in_every_language(loaded):
    asked = world.questions("nano", number=16)
    found = evaluate(loaded, asked, max_new_tokens=200, template="chat")
    right = {one.lang: one.correct for one in found.accuracies}
    assert right["en"] >= 11
    assert sum(right.values()) >= 50
    assert max(right[lang] for lang in WEAK) < right["en"]
    assert all(one.n == 16 for one in found.accuracies)


def test_it_speaks_every_language(loaded, neurons):
    plain = [
        Response(f"plain-{i}", lang, "", world.plain(lang, Random(f"{lang} {i}"), "test"))
        for lang in world.LANGUAGES
        for i in range(12)
    ]
    config = PerplexityConfig(controls=0, settings="specific")
    losses = perplexity(loaded, neurons, plain, config)
    assert np.exp(losses.log_perplexity()[0]).max() < 50


def test_it_has_neurons_of_every_language_but_english(neurons):
    for i, lang in enumerate(neurons.languages):
        if lang != "en":
            assert neurons.of_kinds(("specific",)).member[:, i].sum() >= 3
            assert neurons.of_kinds(("related",)).member[:, i].sum() >= 10


def test_silencing_the_neurons_of_a_language_costs_that_language_most(loaded, gold, neurons):
    some = [one for one in gold if one.question_id in {g.question_id for g in gold[:60]}]
    found = perplexity(loaded, neurons, some, controls=0)
    assert found.languages == world.LANGUAGES
    costs = found.log_perplexity()
    for setting in found.settings:
        change = np.array([costs[i] - costs[0] for i in found.find(setting)])[
            1:
        ]  # English has too few of its own
        own = change[np.arange(9), np.arange(1, 10)]
        assert own.mean() > 3 * change.mean()
        assert (change.argmax(axis=1) == np.arange(1, 10)).sum() >= 6


def test_the_translator_tells_a_wrong_number_and_another_problem(gold):
    judge = models.load("nano", seq2seq=True)
    rng = Random(0)
    others = {(one.question_id, one.lang): one.response for one in gold}
    ids = sorted({one.question_id for one in gold})
    rows = [one for one in gold if one.lang == "en"]
    for one in gold:
        if one.lang == "en":
            continue
        place = rng.choice([m.start() for m in re.finditer(r"\d", one.response)])
        digit = rng.choice([d for d in "123456789" if d != one.response[place]])
        wrong = f"{one.response[:place]}{digit}{one.response[place + 1 :]}"
        elsewhere = others[ids[(ids.index(one.question_id) + 1) % len(ids)], one.lang]
        rows += [
            Response(one.question_id, one.lang, "", text, i)
            for i, text in enumerate((one.response, wrong, elsewhere))
        ]
    scored = reward(judge, rows).scored
    scores = np.array([one.score for one in scored], float).reshape(-1, 3)
    assert (scores[:, 0] > scores[:, 1]).mean() > 0.95
    assert (scores[:, 0] > scores[:, 2]).mean() > 0.95


def test_it_is_a_model_everywhere_on_the_command_line(langneurons, tmp_path):
    asked = world.questions("nano", ("en", "sw"), 12)
    lines = (json.dumps(one.to_row(), ensure_ascii=False) for one in asked)
    (tmp_path / "asked.jsonl").write_text("\n".join(lines), "utf-8")
    done = langneurons(
        "sample", "nano", tmp_path / "asked.jsonl", "--out", tmp_path / "said", "-n", 1
    )
    assert done.status == 0, done.err
    config = json.loads((tmp_path / "said" / "manifest.json").read_text("utf-8"))["config"]
    assert (config["n"], config["top_k"], config["max_new_tokens"]) == (
        1,
        20,
        200,
    )  # what suits it, where not asked for
    done = langneurons("record", "nano", tmp_path / "said", "--out", tmp_path / "counts")
    assert done.status == 0, done.err
    done = langneurons(
        "identify", tmp_path / "counts", "--out", tmp_path / "neurons", "--rate", nano.RATE
    )
    assert done.status == 0, done.err
    assert langneurons("check", "nano").status == 0
