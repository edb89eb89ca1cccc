"""Effects on the page: where needed neurons lie, tables, and each neuron's own cost on its card."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from langneurons import layout
from langneurons.config import IdentifyConfig
from langneurons.neurons.effects import Effects, Split, Tried
from langneurons.neurons.identify import identify
from langneurons.report import commands, effect_charts
from langneurons.report.page_data import page_data
from langneurons.report.parts import Explored
from langneurons.report.results import read_folder
from support.browser import CHROMIUM, Watched
from support.values import random_counts

WIDTHS = ((40,), (24,))


def made_up(codes: tuple[str, ...]) -> Effects:
    """Neuron i of the model costs language k (i + 1) (k + 1) micronats a token; the last helps."""
    number = sum(width for (width,) in WIDTHS)
    each = np.arange(1, number + 1) * 1e-6
    each[-1] *= -1
    tokens = np.full((len(codes), 2), 100)
    sums = each[None, None] * np.arange(1, len(codes) + 1)[:, None, None] * tokens[..., None]
    cuts = layout.starts(WIDTHS)[1:-1]
    text = tuple(part.astype(np.float32) for part in np.split(sums, cuts, axis=2))
    tried = Tried(
        positions=np.arange(4),
        groups=("top",) * 2 + ("random",) * 2,
        where=("text",) * 4,
        estimate=np.arange(1.0, 4 * len(codes) + 1).reshape(4, -1),
        exact=2 * np.arange(1.0, 4 * len(codes) + 1).reshape(4, -1),
        tokens=np.full(len(codes), 10),
    )
    split = Split(
        setting="specific",
        language=codes[0],
        positions=np.arange(3),
        effects=np.array([[6.0, 6.0], [1.0, 1.0], [2.0, 2.0]]),
        costs=np.array([10.0, 10.0]),
        tokens=np.array([100, 100]),
    )
    return Effects(
        languages=codes,
        text=text,
        beginning=tuple(np.zeros_like(part) for part in text),
        nll=np.ones(tokens.shape),
        tokens=tokens,
        tried=tried,
        splits=(split,),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, langneurons: Callable) -> Path:
    """Counts, neurons by rate, effects, neurons by effect held against them."""
    folder = tmp_path_factory.mktemp("run")
    counts = random_counts(1, blocks=2, widths=WIDTHS)
    counts.save(folder / "counts")
    made_up(counts.languages).save(folder / "effects")
    words = ("identify", folder / "counts", "--out", folder / "neurons", "--rate", 0.2)
    assert langneurons(*words, "--bootstrap", 0).status == 0
    words = ("identify", folder / "effects", "--by", "effect", "--out", folder / "by-effect")
    done = langneurons(*words, "--rate", 0.2, "--bootstrap", 0, "--against", folder / "neurons")
    assert done.status == 0, done.err
    return folder


def test_where_needed_neurons_lie() -> None:
    """Of 64 neurons one is 1%: the last but one, in the second layer, in every language."""
    table = effect_charts.needed_table(made_up(("en", "sw")))
    assert table.rows == (
        ("en", 0, 0, 4e-05),
        ("en", 1, 1, 6.3e-05),
        ("sw", 0, 0, 8e-05),
        ("sw", 1, 1, 0.000126),
    )
    figure = effect_charts.needed_figure(made_up(("en", "sw")))
    assert figure.to_svg().startswith("<svg")


def test_sets_and_tries() -> None:
    effects = made_up(("en", "sw"))
    row = effect_charts.sets_table(effects).rows[0]
    assert row == ("specific", "en", 3, 0.1, 0.1, 0.1, 0.1, 1)  # parts 18 of 20; 12 of them one's
    by_name = {row[0]: row for row in effect_charts.trust_table(effects).rows}
    assert by_name["top"][:4] == ("top", "text", 2, 1.0)
    assert by_name["random"][9] == 2.0


def test_the_chapter_is_of_the_neurons_model(run: Path) -> None:
    """Neurons by effect bring the effects they come from, and what they were held against."""
    found = read_folder(run, "by-effect").results
    assert found.effects is not None
    assert {match["kind"] for match in found.matched} == {"specific", "related", "general"}
    by_rate = read_folder(run, "neurons").results
    assert by_rate.matched == found.matched
    assert by_rate.effects is None  # nothing says that they are of one model


def test_each_neuron_has_its_own_costs() -> None:
    counts = random_counts(1, blocks=2, widths=WIDTHS)
    neurons = identify(counts, IdentifyConfig(rate=0.2, bootstrap=0, chance=0))
    effects = made_up(counts.languages)
    [held] = page_data([], [Explored(neurons, None, {}, effects)])["sets"]
    places = layout.positions(effects.widths, neurons.keys)
    last = sum(width for (width,) in WIDTHS) - 1
    for place, own, below in zip(places, held["own"]["effects"], held["own"]["below"], strict=True):
        sign = -1 if place == last else 1
        assert own == [sign * (place + 1) * (k + 1) for k in range(len(counts.languages))]
        assert below[0] == pytest.approx(0 if sign < 0 else (place + 1) / (last + 1), abs=1e-4)
    other = made_up(counts.languages)
    [held] = page_data([], [Explored(neurons, None, {}, None)])["sets"]
    assert held["own"] is None
    assert other.widths == neurons.widths


@pytest.fixture
def watched(run: Path, tmp_path: Path) -> Iterator[Watched]:
    file = tmp_path / "page.html"
    commands.report(run, neurons="by-effect", out=file, quiet=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = Watched(browser, file)
        yield page
        page.close()
        browser.close()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_card_says_what_it_costs_alone(watched: Watched) -> None:
    page = watched.page
    assert page.locator("#effects h2").inner_text() == "Effects"
    lines = page.locator("#card .alone li").all_inner_texts()
    assert len(lines) == 4
    assert "more than" in lines[0]
    assert page.locator("#card .of-sets").count() == 0
