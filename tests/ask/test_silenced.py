"""What a model does while neurons are silenced, by tasks: on a model set by hand, to the answer."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from langneurons import artifacts
from langneurons.ask.choices import Chooser, Choosing
from langneurons.ask.marks import Marks
from langneurons.ask.silenced import Answers, marked, sets_of
from langneurons.config import PerplexityConfig, TaskConfig
from langneurons.model.loading import Loaded, load
from langneurons.model.scored import why_not_from
from langneurons.neurons.sets import to_masks
from langneurons.neurons.table import Neurons
from langneurons.resume import Tensors
from langneurons.silencing.controls import conditions
from langneurons.silencing.losses import Condition
from langneurons.silencing.matrix import dominance
from langneurons.texts.prompts import load_template
from langneurons.texts.responses import Question, Response
from support import planted
from support.command import refused

LANGS = planted.LANGS


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted.save(tmp_path_factory.mktemp("planted") / "model")


@pytest.fixture(scope="module")
def loaded(model: Path) -> Loaded:
    return load(model)


@pytest.fixture(scope="module")
def neurons(loaded: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted neurons, as a table that came from nowhere."""
    from langneurons.neurons.table import Rule

    chosen = [one for one in planted.NEURONS if one.kind in ("specific", "related", "general")]
    unknown = np.full(len(chosen), np.nan)
    table = Neurons(
        LANGS,
        tuple(map(tuple, loaded.widths)),
        Rule("imported"),
        np.array([one.layer for one in chosen]),
        np.full(len(chosen), -1),
        np.array([one.neuron for one in chosen]),
        np.array([[one.fires.get(code, 0) > 3 for code in LANGS] for one in chosen]),
        np.ones(len(chosen), bool),
        unknown,
        unknown,
        np.full((len(chosen), len(LANGS)), np.nan),
        unknown,
    )
    folder = tmp_path_factory.mktemp("neurons") / "neurons"
    table.save(folder)
    return folder


def rows(number: int = 4) -> list[Question]:
    """After a word of a language a word of another one, or of its own: the second is right.

    On the words before them every neuron of the language fires, and no other of the language.
    """
    other = dict(zip(LANGS, LANGS[1:] + LANGS[:1], strict=True))
    return [
        Question(f"q{i}", code, f"{code}{i + 2}", f"{code}9", (f"{other[code]}9", f"{code}9"))
        for code in LANGS
        for i in range(number)
    ]


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("choices") / "choices.jsonl"
    file.write_text("".join(f"{json.dumps(one.to_row())}\n" for one in rows()), "utf-8")
    return file


WORDS = ("--task", "choices", "--template", "plain")


def test_a_language_that_is_silenced_is_not_chosen_any_more(
    model: Path, neurons: Path, questions: Path, tmp_path: Path, langneurons: Callable
) -> None:
    """Without its neurons a language's words are as likely as any: the first choice, wrong, is
    taken. No other language changes but the one that has nothing of its own."""
    words = ("evaluate", model, questions, *WORDS, "--silence", neurons, "--controls", 2)
    done = langneurons(*words, "--out", tmp_path / "marks", "--json")
    assert done.status == 0, done.err
    marks = Marks.load(tmp_path / "marks")
    assert [mean.value for mean in marks.means()] == [1, 1, 1, 1]
    lost = marks.lost("specific+related")
    expected = np.eye(4)
    expected[2, 3] = 1  # all that th has is related, and shared with sw
    assert lost.change.tolist() == expected.tolist()
    assert (lost.low <= lost.change).all()
    assert lost.controls.shape == (2, 4, 4)
    told = done.json["matrices"][0]
    assert np.array(told["change"]).tolist() == lost.change.tolist()
    assert told["measure"] == "loss of accuracy"
    assert dominance(lost).on_diagonal == (*LANGS[:2], "th")
    again = langneurons(*words, "--out", tmp_path / "marks")
    assert "up to date" in again.err
    assert "specific+related silenced: accuracy lost, in points" in again.out


def test_scores_are_those_of_a_plain_forward(loaded: Loaded) -> None:
    """Every text's answer by one forward of its own, with nothing and with neurons silenced."""
    shown = [Question("e", code, f"{code}0 {code}1", f"{code}2") for code in LANGS]
    choosing = Choosing(load_template("plain"), tuple(shown), 1, calibrated=True)
    asked = [
        Question("q", code, f"{code}3", f"{code}4", (f"{code}4", "en1 en2", "zh5 sw6 th7"))
        for code in LANGS
    ]
    chooser = Chooser(loaded, asked, choosing)
    masks = to_masks([np.array([3, 4, 47])], loaded.widths)
    for mask in (None, masks):
        scores = chooser.scores(mask)
        for number, question in enumerate(asked):
            prompt = f"{question.lang}0 {question.lang}1 {question.lang}2\n\n{question.lang}3"
            empty = f"{question.lang}0 {question.lang}1 {question.lang}2\n\n"
            for text, places in ((prompt, 0), (empty, 1)):
                expected = [_plain(loaded, text, choice, mask) for choice in question.choices]
                found = scores[chooser.places[number][places]]
                np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.fixture(scope="module")
def of_nano() -> Chooser:
    """Questions after two examples in each of two languages, of a model that attends."""
    told = {"en": "A farmer has 3 apples and buys {} more", "sw": "Juma ana vitabu 3, anapata {}"}
    shown = [
        Question(f"e{i}", c, text.format(i), str(3 + i)) for c, text in told.items() for i in (4, 9)
    ]
    asked = [
        Question(f"q{i}", code, text.format(i), str(3 + i), (str(3 + i), "red", "1 2"))
        for code, text in told.items()
        for i in (2, 5, 16)
    ]
    choosing = Choosing(load_template("plain"), tuple(shown), 2, calibrated=True)
    return Chooser(load("nano"), asked, choosing, budget=200)


def test_examples_are_computed_once_for_all_questions(of_nano: Chooser) -> None:
    """The same scores as from texts that are read whole, and few tokens read for them."""
    begins, work = of_nano.beginnings, of_nano.work
    assert len(begins) == 2
    assert of_nano.facts == {}
    read: list[int] = []
    count = work.model.get_input_embeddings().register_forward_pre_hook(
        lambda _, given: read.append(given[0].numel())
    )
    masks = to_masks([np.arange(400, 900)], [site.shape for site in work.sites])
    try:
        ours = [of_nano.scores(mask) for mask in (None, masks)]
        mine, read[:] = sum(read), []
        of_nano.beginnings = {}
        whole = [of_nano.scores(mask) for mask in (None, masks)]
    finally:
        count.remove()
        of_nano.beginnings = begins
    np.testing.assert_allclose(ours, whole, atol=1e-3)
    assert np.abs(ours[0] - ours[1]).max() > 0.1
    assert mine < 0.6 * sum(read)


def test_a_beginning_that_is_not_the_prompts_own_is_found_out(of_nano: Chooser) -> None:
    work = of_nano.work
    batch = work.batches.batches[0]
    [own, other] = of_nano.beginnings.values()
    length = min(len(own), len(other))
    assert why_not_from(work, own, batch) is None
    assert "does not go on" in str(why_not_from(work, other[:length], batch))


def _plain(loaded: Loaded, prompt: str, answer: str, masks: object) -> float:
    from langneurons.model.hooks import silence

    ids = loaded.tokenizer(f"{prompt} {answer}")["input_ids"]
    number = len(answer.split())
    with torch.no_grad(), silence(loaded.sites, masks or [None] * len(loaded.sites)):
        logits = loaded.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    places = range(len(ids) - number - 1, len(ids) - 1)
    return float(sum(logits[place, ids[place + 1]] for place in places))


def test_sets_are_those_of_perplexity(loaded: Loaded, neurons: Path) -> None:
    table = Neurons.load(neurons)
    kinds = ("specific", "related")
    ours = sets_of(loaded, table, LANGS, kinds=kinds, controls=3, rates=None)
    config = PerplexityConfig(settings="specific+related", controls=3)
    theirs = conditions(table, loaded.widths, LANGS, config, None)
    for (a, mine), (b, other) in zip(ours, theirs, strict=True):
        assert a == b
        assert mine.tolist() == other.tolist()


class Kept:
    """A state in memory, and work that ends after so many sets."""

    def __init__(self) -> None:
        self.saved: tuple[Tensors, int] | None = None

    def load(self) -> tuple[Tensors, int] | None:
        return self.saved

    def save(self, tensors: Tensors, done: int) -> None:
        self.saved = {name: array.copy() for name, array in tensors.items()}, done


def test_a_killed_matrix_goes_on_to_the_same_result(loaded: Loaded, neurons: Path) -> None:
    chooser = Chooser(loaded, rows(2), Choosing(load_template("plain"), (), 0, calibrated=False))
    sets = sets_of(
        loaded, Neurons.load(neurons), LANGS, kinds=("specific",), controls=1, rates=None
    )
    whole = marked(loaded, chooser.answers, sets, LANGS, measure="accuracy")
    state, asked = Kept(), []

    def answer(masks: object, *_: object) -> Answers:
        if len(asked) == 4:
            raise KeyboardInterrupt
        asked.append(masks)
        return chooser.answers(masks)

    with pytest.raises(KeyboardInterrupt):
        marked(loaded, answer, sets, LANGS, measure="accuracy", state=state, save_every=0)
    asked = [None] * 5  # never stops again
    again = marked(loaded, answer, sets, LANGS, measure="accuracy", state=state, save_every=0)
    np.testing.assert_array_equal(again.worth, whole.worth)
    assert again.responses == whole.responses
    assert len(asked) == 5 + 8 - 4 - 2 + 1  # th has no specific neuron: its two sets are not run
    th = [i for i, one in enumerate(whole.conditions) if one.silenced == "th"]
    assert np.isnan(whole.worth[th]).all()


def test_killed_choices_go_on_to_the_same_scores(loaded: Loaded) -> None:
    choosing = Choosing(load_template("plain"), (), 0, calibrated=False)
    whole = Chooser(loaded, rows(), choosing, budget=30).scores(None)
    state, runs = Kept(), []
    chooser = Chooser(loaded, rows(), choosing, budget=30, save_every=0)

    def stop(done: int, _: int) -> None:
        runs.append(done)
        if len(runs) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chooser.scores(None, state, stop)
    again: list[int] = []
    scores = chooser.scores(None, state, lambda done, _: again.append(done))
    assert scores.tolist() == whole.tolist()
    assert again[0] > runs[1]


def test_intervals_are_over_questions() -> None:
    """Two questions in ten lost: the mean of every resampling is a share of tenths."""
    nothing, own = Condition(None, None, 0, 0), Condition("en", "specific", 0, 3)
    worth = np.ones((2, 1, 10), np.float32)
    worth[1, 0, :2] = 0
    worth[0, 0, 9] = worth[1, 0, 9] = math.nan
    marks = Marks(
        "accuracy",
        ("en",),
        tuple(map(str, range(10))),
        (nothing, own),
        worth,
        np.full(worth.shape, np.nan, np.float32),
        [Response("0", "en", "", "")],
    )
    lost = marks.lost("specific")
    assert lost.change[0, 0] == pytest.approx(2 / 9)
    draws = [
        np.bincount(np.random.default_rng(i).integers(0, 10, 10), minlength=10) for i in range(3000)
    ]
    expected = [draw[:2].sum() / draw[:9].sum() for draw in draws if draw[:9].sum()]
    low, high = np.quantile(expected, [0.025, 0.975])
    assert lost.low[0, 0] == pytest.approx(low, abs=0.05)
    assert lost.high[0, 0] == pytest.approx(high, abs=0.05)
    assert marks.astray("specific") is None
    assert marks.means()[0][:3] == ("en", 9, 1.0)


def test_an_evaluation_of_choices(
    model: Path, questions: Path, tmp_path: Path, langneurons: Callable
) -> None:
    """Without silencing it is an evaluation as any, which another can be held against."""
    words = ("evaluate", model, questions, *WORDS, "--take", 3)
    done = langneurons(*words, "--out", tmp_path / "a", "--json")
    assert done.status == 0, done.err
    assert [row["accuracy"] for row in done.json["accuracy"]] == [1] * 5
    against = langneurons(*words, "--out", tmp_path / "b", "--against", tmp_path / "a")
    assert against.status == 0, against.err
    assert "the choice of the highest log-probability" in against.out
    assert artifacts.read(tmp_path / "a", "accuracy").manifest["config"]["calibrate"] is True


def test_translations_are_scored_by_chrf(
    model: Path, neurons: Path, tmp_path: Path, langneurons: Callable
) -> None:
    """The model goes on with words of its language; a translation of them is English by name."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for code in LANGS:
        rows = [{"id": f"t{i}", "lang": code, "text": f"{code}{i} {code}{i + 1}"} for i in range(6)]
        (folder / f"{code}.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in rows), "utf-8")
    words = ("evaluate", model, folder, "--task", "translation", "--max-new-tokens", 4)
    done = langneurons(*words, "--out", tmp_path / "marks", "--take", 4, "--json")
    assert done.status == 0, done.err
    from sacrebleu.metrics.chrf import CHRF

    marks = Marks.load(tmp_path / "marks")
    assert marks.measure == "chrF"
    assert set(marks.languages) == set(LANGS[1:])
    mine = [one for one in marks.responses if one.lang == "zh"]
    assert len(mine) == 4
    each = [CHRF().sentence_score(one.response, [str(one.answer)]).score / 100 for one in mine]
    means = {row["lang"]: row["value"] for row in done.json["unsilenced"]}
    assert means["zh"] == pytest.approx(np.mean(each), abs=1e-6)
    both = CHRF().corpus_score([one.response for one in mine], [[str(one.answer) for one in mine]])
    assert done.json["facts"]["chrF of the corpus"]["zh"] == round(both.score, 2)
    more = ("--direction", "from-english", "--examples", folder, "--shots", 2, "--asked", "zh,sw")
    silent = ("--silence", neurons, "--controls", 1)
    again = langneurons(*words, *more, *silent, "--out", tmp_path / "b")
    assert again.status == 2  # every text is an example
    few = tmp_path / "few"
    few.mkdir()
    for code in LANGS:
        lines = (folder / f"{code}.jsonl").read_text("utf-8").splitlines()[:2]
        (few / f"{code}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    more = (*more[:2], "--examples", few, *more[4:])
    again = langneurons(*words, *more, *silent, "--out", tmp_path / "b")
    assert again.status == 0, again.err
    assert "specific+related silenced: chrF lost, in points" in again.out
    assert "translated from english after 2 examples" in again.out


def test_a_row_is_an_evaluation_with_these_neurons_silenced(
    model: Path, neurons: Path, tmp_path: Path, langneurons: Callable
) -> None:
    """Of problems with numbers: the matrix says what single evaluations say, language by language,
    and how many answers turn to another language."""
    file = tmp_path / "asked.jsonl"
    rows = [
        {"id": f"q{i}", "lang": code, "question": f"ask {code}{i}", "answer": 0}
        for code in LANGS
        for i in range(planted.WORDS)
    ]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    words = ("evaluate", model, file, "--template", "plain", "--max-new-tokens", 3)
    words = (*words, "--silence", neurons, "--kinds", "specific,related,general")
    done = langneurons(*words, "--controls", 1, "--out", tmp_path / "marks", "--json")
    assert done.status == 0, done.err
    marks = Marks.load(tmp_path / "marks")
    lost = marks.lost("specific+related+general")
    assert (lost.before == 0).all()
    assert np.diagonal(lost.change).max() > 0
    for row, code in enumerate(LANGS[:2]):
        one = langneurons(*words, "--languages", code, "--out", tmp_path / code, "--json")
        assert one.status == 0, one.err
        alone = [told["accuracy"] for told in one.json["accuracy"][:-1]]
        np.testing.assert_allclose(1 - lost.change[row], alone, atol=1e-6)
        strays = [told["other_language"] for told in one.json["languages"]]
        if strays[0] is not None:
            astray = marks.astray("specific+related+general")
            assert astray is not None
            np.testing.assert_allclose(astray.change[row], np.array(strays) / 10, atol=1e-6)


def test_the_first_questions_alone(model: Path, tmp_path: Path, langneurons: Callable) -> None:
    """Problems with numbers too are asked as many as are wanted, the same in every language."""
    file = tmp_path / "sums.jsonl"
    rows = [
        {"id": f"q{i}", "lang": code, "question": f"{code}{i}", "answer": i}
        for code in ("en", "zh")
        for i in range(3)
    ]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    words = ("evaluate", model, file, "--take", 2, "--max-new-tokens", 2, "--template", "plain")
    done = langneurons(*words, "--out", tmp_path / "a", "--json")
    assert [row["n"] for row in done.json["accuracy"]] == [2, 2, 2]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--task", "choices"), "q0 (en) has no choices"),
        (("--task", "choices", "--silence", "x"), "say how many random sets"),
        (("--controls", 3), "random sets beside the neurons of --silence"),
        (("--controls", -1, "--silence", "x"), "controls -1: random sets for each set"),
        (("--examples", "x"), "--examples is for --task choices and --task translation"),
        (("--task", "translation", "--engine", "http://x"), "needs the model in this process"),
        (("--task", "translation", "--against", "x"), "goes neither with --controls nor with"),
        (("--task", "choices", "--take", -1), "take -1: a number of questions"),
        (("--task", "choices", "--shots", 0), "shots 0: 1 or more"),
    ],
)
def test_what_cannot_be_asked(
    words: tuple[object, ...], says: str, model: Path, tmp_path: Path, langneurons: Callable
) -> None:
    file = tmp_path / "plain.jsonl"
    row = {"id": "q0", "lang": "en", "question": "en0", "answer": "en1"}
    file.write_text(f"{json.dumps(row)}\n", "utf-8")
    refused(langneurons("evaluate", model, file, "--out", tmp_path / "out", *words), says)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"choices": ["a"]}, "a list of 2 texts or more is needed"),
        ({"choices": ["a", "a"], "answer": "a"}, "no two alike"),
        ({"choices": ["a", ""], "answer": "a"}, "a list of 2 texts or more is needed"),
        ({"choices": "ab", "answer": "a"}, "a list of 2 texts or more is needed"),
        ({"choices": ["a", "b"], "answer": "c"}, "not among the choices"),
        ({"choices": ["a", "b"]}, "q0 (en) has choices and no answer"),
    ],
)
def test_choices_that_are_none(
    row: dict[str, object], says: str, model: Path, tmp_path: Path, langneurons: Callable
) -> None:
    file = tmp_path / "plain.jsonl"
    row = {"id": "q0", "lang": "en", "question": "en0", **row}
    file.write_text(f"{json.dumps(row)}\n", "utf-8")
    refused(langneurons("evaluate", model, file, "--out", tmp_path / "out", *WORDS), says)


def test_examples_of_a_language(tmp_path: Path) -> None:
    """Each language is shown its own examples, and what is missing is said."""
    shown = tuple(Question(f"e{i}", "en", f"en{i}", f"en{i + 1}") for i in range(3))
    choosing = Choosing.of(TaskConfig(shots=2), "{question} =", shown, None)
    assert choosing.prompt("en5", "en", None) == "en0 = en1\n\nen1 = en2\n\nen5 ="
    with pytest.raises(Exception, match="0 examples are there in zh, 2 are to be shown"):
        choosing.prompt("zh5", "zh", None)
