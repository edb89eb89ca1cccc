"""The page in a real browser: it draws, fits, sorts, filters, downloads, and asks the network for
nothing.

What a page says is held in test_pages.py, test_chapters.py, test_html.py and the others here.
"""

import csv
import io
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from langneurons.neurons.table import Neurons
from langneurons.report import commands, page_data, parts
from langneurons.report.html import render
from langneurons.report.pages import results_page, study_page
from langneurons.report.results import Results, StudyResults, read_study
from support import made_up_study
from support.browser import CHROMIUM, Watched
from support.hostile import NASTY, TEXT
from support.values import neurons_at, random_counts

if TYPE_CHECKING:
    from langneurons.tables import Table

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine; `make browser` installs one"
)

VIEWS = ((1280, "light"), (820, "dark"), (390, "light"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def watch(browser: Browser, tmp_path: Path) -> Iterator[Callable[[str], Watched]]:
    """Open pages; each must have said nothing, and asked for nothing, by the end of the test."""
    opened: list[Watched] = []

    def watch(html: str) -> Watched:
        path = tmp_path / f"page{len(opened)}.html"
        path.write_text(html, "utf-8")
        opened.append(Watched(browser, path))
        return opened[-1]

    yield watch
    for page in opened:
        page.close()


@pytest.fixture(scope="module")
def neurons(school_page: parts.Page) -> Neurons:
    return school_page.explored[0].neurons


@pytest.fixture(scope="module")
def one_set_html(school_page: parts.Page) -> str:
    return render(school_page)


@pytest.fixture
def one_set(watch: Callable[[str], Watched], one_set_html: str) -> Page:
    """The page of one set of neurons."""
    return watch(one_set_html).page


@pytest.fixture(scope="module")
def opened(
    browser: Browser, html: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    """The page of the study, open while all tests look at it."""
    path = tmp_path_factory.mktemp("page") / "study.html"
    path.write_text(html, "utf-8")
    watched = Watched(browser, path)
    yield watched
    watched.close()


@pytest.fixture
def shown(opened: Watched) -> Page:
    """The same, its first choices chosen, no filter set."""
    choose(opened.page, "school", "sw-th")
    opened.page.locator("#filters [type=reset]").click()
    return opened.page


def choose(page: Page, questions: str, alignment: str) -> None:
    page.select_option("[name=questions]", questions)
    page.select_option("[name=alignment]", alignment)
    page.wait_for_selector("body[data-ready=yes]")


def rows(page: Page) -> list[list[str]]:
    return [row.locator("td").all_inner_texts() for row in page.locator("#rows tbody tr").all()]


def drawn(page: Page, width: int) -> int:
    """How many figures are shown, each of which must be drawn and fit."""
    boxes = [
        box
        for box in [*page.locator(".chart").all(), page.locator("#card .plot")]
        if box.is_visible()
    ]
    for box in boxes:
        size, room = box.locator("svg").first.bounding_box(), box.bounding_box()
        assert size
        assert room
        assert size["height"] > 100
        assert size["width"] <= room["width"] <= width
        assert box.locator(".mark-rect path, .mark-symbol path").count() > 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    return len(boxes)


def download(page: Page, button: str) -> bytes:
    with page.expect_download() as found:
        page.click(button)
    return Path(found.value.path()).read_bytes()


FOLDED = (
    ".how",
    ".numbers",
    ".claims details",
    "#claims > details",
    ".pair details",
    ".origins details",
)


def faults(page: Page) -> list[str]:
    """What axe-core finds that is serious, one of each folded part open; a figure is one image."""
    for kind in FOLDED:
        folded = page.locator(f"{kind}:visible").first
        if folded.get_attribute("open") is None:
            folded.locator("> summary").click()
    if not page.evaluate("'axe' in window"):
        page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text("utf-8"))
    found = page.evaluate("axe.run({ exclude: ['svg > *'] }, { resultTypes: ['violations'] })")
    assert len(found["passes"]) > 20
    serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]} ({len(one['nodes'])})" for one in serious
    ]


# One set of neurons.


def test_every_figure_is_drawn_at_any_width(
    watch: Callable[[str], Watched], one_set_html: str
) -> None:
    watched = watch(one_set_html)
    for width, scheme in VIEWS:
        watched.fit(width, scheme)
        assert drawn(watched.page, width) == 2 + 4 + 2 + 1  # two of them first


def test_what_costs_nothing_is_as_its_ground_by_day_and_by_night(
    watch: Callable[[str], Watched], one_set_html: str
) -> None:
    """Cells far off the diagonal cost about nothing."""
    watched = watch(one_set_html)
    shades = {}
    for scheme in ("light", "dark"):
        watched.fit(1280, scheme)
        cells = watched.page.locator("#perplexity .mark-rect path[fill^=rgb]")
        fills = [cell.get_attribute("fill") or "" for cell in cells.all()]
        assert len(fills) == 2 * 100
        shades[scheme] = [sum(map(int, re.findall(r"\d+", fill)[:3])) for fill in fills]
    assert max(shades["dark"]) > 400 > np.median(shades["dark"])
    assert np.median(shades["light"]) > 600 > min(shades["light"])


def test_sort(one_set: Page, neurons: Neurons) -> None:
    one_set.click("#rows button[data-sort=score]")
    assert one_set.locator("#rows th[aria-sort=ascending]").inner_text().startswith("Score")
    scores = [float(row[5]) for row in rows(one_set)]
    assert scores == sorted(scores)
    assert scores[0] == pytest.approx(neurons.score.min(), abs=1e-4)
    one_set.click("#rows button[data-sort=score]")
    scores = [float(row[5]) for row in rows(one_set)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(neurons.score.max(), abs=1e-4)


def test_filter_by_language_kind_layer_n_and_index(one_set: Page, neurons: Neurons) -> None:
    one_set.select_option("[name=language]", "zh")
    one_set.select_option("[name=kind]", "related")
    one_set.fill("[name=first]", "5")
    one_set.fill("[name=last]", "20")
    zh = neurons.member[:, neurons.languages.index("zh")]
    mask = zh & (neurons.kind == "related") & (neurons.layer >= 5) & (neurons.layer <= 20)
    expected = neurons.where(mask)
    assert 3 < len(expected) < (zh & (neurons.kind == "related")).sum()
    assert one_set.locator("#found").inner_text() == f"{len(expected)} of {len(neurons):,} neurons"
    assert [(int(row[0]), int(row[1])) for row in rows(one_set)] == [
        (int(layer), int(neuron)) for layer, _, neuron in expected.keys[:25]
    ]
    n = int(expected.n_languages[0])
    one_set.fill("[name=n]", str(n))
    assert len(rows(one_set)) == (expected.n_languages == n).sum() < len(expected)
    one_set.fill("[name=n]", "")
    one_set.fill("[name=neuron]", str(expected.neuron[2]))
    assert str(expected.neuron[2]) in [row[1] for row in rows(one_set)]
    one_set.click("#filters [type=reset]")
    expect(one_set.locator("#found")).to_have_text(f"{len(neurons):,} of {len(neurons):,} neurons")


def test_pages_and_a_card_by_keyboard(one_set: Page, neurons: Neurons) -> None:
    pages = -(-len(neurons) // 25)
    assert one_set.locator("#position").inner_text() == f"page 1 of {pages}"
    assert one_set.locator("#previous").is_disabled()
    one_set.locator("#rows tbody tr").nth(3).focus()
    one_set.keyboard.press("Enter")
    layer, _, neuron = neurons.keys[3]
    expect(one_set.locator("#card h3")).to_have_text(f"Layer {layer}, neuron {neuron}")
    assert one_set.locator("#rows tr[aria-selected=true]").count() == 1
    got = list(
        csv.DictReader(io.StringIO(download(one_set, "#card button[data-format=csv]").decode()))
    )
    assert [float(row["probability"]) for row in got] == pytest.approx(
        neurons.probability[3], abs=1e-5
    )
    assert [row["active"] == "above tau" for row in got] == neurons.member[3].tolist()
    latex = download(one_set, "#card button[data-format=latex]").decode()
    assert latex.startswith(r"\begin{table}")
    assert latex.count(r"\\") == 1 + 10
    assert download(one_set, "#card button[data-format=svg]").startswith(b"<svg")
    one_set.click("#next")
    assert [(int(row[0]), int(row[1])) for row in rows(one_set)] == [
        (int(layer), int(neuron)) for layer, _, neuron in neurons.keys[25:50]
    ]


def test_downloads(one_set: Page, school_page: parts.Page, neurons: Neurons) -> None:
    """A figure's are its files; those of the explorer hold the rows that pass the filters."""
    table = dict(school_page.figures())["layers"].table
    starts = {"svg": b"<svg", "png": b"\x89PNG", "csv": b"layer,", "latex": rb"\begin{table}"}
    found = {name: download(one_set, f"#layers button[data-format={name}]") for name in starts}
    for name, start in starts.items():
        assert found[name].startswith(start), name
        assert len(found[name]) > 300
    assert found["csv"].decode() == table.to_csv()
    assert found["latex"].decode() == table.to_latex()
    one_set.select_option("[name=kind]", "specific")
    content = download(one_set, "#explorer button[data-format=csv]").decode()
    got = list(csv.DictReader(io.StringIO(content)))
    specific = neurons.where(neurons.kind == "specific")
    assert [(int(row["layer"]), int(row["neuron"])) for row in got] == [
        (int(a), int(b)) for a, _, b in specific.keys
    ]
    assert [float(row["p_sw"]) for row in got] == pytest.approx(
        specific.probability[:, 9], abs=1e-5
    )
    latex = download(one_set, "#explorer button[data-format=latex]").decode()
    assert latex.count(r"\\") == len(specific) + 1


def test_a_link_goes_to_its_chapter(one_set: Page) -> None:
    links = one_set.locator("#contents a")
    assert links.all_inner_texts() == ["Neurons", "Silencing", "Every neuron", "Sources"]
    one_set.emulate_media(reduced_motion="reduce")
    one_set.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
    links.nth(1).click()
    assert one_set.evaluate("location.hash") == "#silencing"
    top = one_set.evaluate("document.getElementById('silencing').getBoundingClientRect().top")
    assert 0 <= top < 200


def test_a_mask_without_scores_has_a_page(watch: Callable[[str], Watched]) -> None:
    mask = neurons_at([(0, 1, "en"), (1, 3, "en zh"), (1, 2, "en zh sw")])
    page = watch(render(results_page("mask", Results(neurons=mask), []))).page
    assert page.locator("#rows th").all_inner_texts() == [
        "Layer",
        "Neuron",
        "Kind",
        "N",
        "Languages",
    ]
    assert page.locator("#card h3").inner_text() == "Layer 0, neuron 1"
    assert page.locator("#card button").count() == 0
    assert page.locator("#card .effects").count() == 0


# A study.


def test_a_study_at_any_width(opened: Watched) -> None:
    """Every figure of every choice is drawn, nothing is wider than the screen, axe-core finds no
    serious fault."""
    for width, scheme in VIEWS:
        choose(opened.page, "school", "sw-th")
        opened.fit(width, scheme)
        first = drawn(opened.page, width)
        assert first == 2 + 2 + 4 + 2 + 2 + 1 + 5 + 1
        assert faults(opened.page) == []
        choose(opened.page, "market", "zh-de")
        assert drawn(opened.page, width) == first - 3  # silencing was not measured on these
        assert opened.page.locator("#silencing .nothing").is_visible()
    opened.fit(1280, "light")


def test_two_stand_side_by_side_and_below_each_other_where_there_is_no_room(
    shown: Page, opened: Watched
) -> None:
    """The axes of both name the same numbers."""
    for width in (1280, 390):
        opened.fit(width, "light")
        drawing = shown.locator("#beside article[id^=layers-beside-]:visible svg").first
        titles = [drawing.get_by_text(name, exact=True) for name in ("before", "after sw-th")]
        left, right = (title.bounding_box() for title in titles)
        assert left
        assert right
        if width == 1280:
            assert left["y"] == right["y"]
            assert right["x"] - left["x"] > 400
        else:
            assert left["x"] == right["x"]
            assert right["y"] - left["y"] > 400
        named = drawing.locator(".role-axis-label text").all_text_contents()
        assert len(named) > 20
        assert named[: len(named) // 2] == named[len(named) // 2 :]
    opened.fit(1280, "light")


def test_what_is_chosen_is_shown(shown: Page, page: parts.Page) -> None:
    """Of tiles, claims, figures, pairs and notes, those that are about the choice."""
    for questions, alignment in (("school", "sw-th"), ("market", "zh-de")):
        choose(shown, questions, alignment)
        where = {"model": "small", "questions": questions, "alignment": alignment}
        (told,) = [told for told in page.tiles if told.where == where]
        assert shown.locator(".tile:visible b").all_inner_texts() == [
            tile.value for tile in told.tiles
        ]
        (judged,) = [judged for judged in page.judged if judged.where == where]
        known = [claim for claim in judged.claims if claim.numbers]
        assert shown.locator("#chosen").inner_text() == f"; shown: {questions} · {alignment}"
        listed = shown.locator(".claims > li:visible")
        assert [text[2:] for text in listed.locator(".verdict").all_inner_texts()] == [
            claim.verdict for claim in known
        ]
        assert listed.locator(".why").all_inner_texts() == [claim.words for claim in known]
        panels = [
            panel.figure.title
            for chapter in page.chapters
            for panel in chapter.panels
            if panel.where.items() <= where.items()
        ]
        articles = shown.locator("article:not(.pairs):visible h3")
        assert articles.all_inner_texts() == panels
        languages = {"sw-th": ["Swahili", "Thai"], "zh-de": ["Chinese", "German"]}[alignment]
        assert shown.locator(".pairs:visible h4").all_inner_texts() == languages
    listed.locator("summary").first.press("Enter")
    assert "how well they fit, 4 stages" in listed.first.inner_text()


def test_every_verdict_side_by_side(shown: Page) -> None:
    whole = shown.locator("#claims > details")
    if whole.get_attribute("open") is None:
        shown.click("text=Every verdict")
    heads = shown.locator("#claims > details thead th").all_inner_texts()
    assert heads == [f"{q} · {a}" for q in ("school", "market") for a in ("sw-th", "zh-de")]
    assert shown.locator("#claims > details tbody tr:has(th):visible").count() == 12


def test_numbers_of_a_choice_are_its_files(shown: Page, page: parts.Page) -> None:
    choose(shown, "market", "zh-de")
    tables: dict[str, Table] = {
        path.removeprefix("small-market-zh-de/"): figure.table for path, figure in page.figures()
    }
    for name in ("layer-changes", "stability", "language-changes"):
        place = f"#changes article[id^={name}-]:visible"
        written = {"csv": tables[name].to_csv(), "latex": tables[name].to_latex()}
        for form, content in written.items():
            assert download(shown, f"{place} button[data-format={form}]").decode() == content
    stability = shown.locator("#changes article[id^=stability-]:visible").first
    stability.locator("summary").click()
    table = stability.locator("tr")
    body = list(csv.reader(io.StringIO(tables["stability"].to_csv())))
    assert table.count() == len(body)
    assert table.nth(1).locator("td").all_inner_texts()[:2] == body[1][:2]
    summary = shown.locator("#changes article[id^=layer-changes-]:visible summary")
    summary.focus()
    summary.press("Enter")
    shown.wait_for_selector("#changes article[id^=layer-changes-]:visible table")


def test_pairs_and_tables_are_there_to_read(shown: Page) -> None:
    pairs = shown.locator(".pairs:visible .pair")
    assert pairs.count() == 2 * 3
    assert pairs.nth(1).locator(".said:visible").all_inner_texts() == [
        "6 + 7 = 13. #### 13",
        "6 + 7 = 13. #### 13 5",
    ]
    shown.locator("article[id^=audit-]:visible summary").click()
    audit = shown.locator("article[id^=audit-]:visible tbody tr").all_inner_texts()
    assert [line.split()[:2] for line in audit] == [["sw", "Swahili"], ["th", "Thai"]]


def test_the_card_says_what_silencing_costs(shown: Page, found: StudyResults) -> None:
    results = found.models[0].base["school"]
    neurons, matrices = results.neurons, results.matrices
    assert neurons
    assert matrices
    shown.select_option("[name=kind]", "specific")
    shown.locator("#rows tbody tr").first.click()
    one = int(neurons.member[np.flatnonzero(neurons.kind == "specific")[0]].argmax())
    lines = shown.locator(".effects li").all_inner_texts()
    assert len(lines) == 2
    for line, setting in zip(lines, matrices.settings, strict=True):
        made = matrices[setting, "difference"]
        assert (
            f"{made.neurons[one]} {setting}: from {made.before[one]:.4g} by "
            f"+{made.change[one, one]:#.3g}"
        ) in line


def test_on_paper_it_is_light(shown: Page) -> None:
    shown.emulate_media(media="print", color_scheme="dark")
    colour = shown.evaluate("getComputedStyle(document.querySelector('.chart svg text')).fill")
    assert colour == shown.evaluate("getComputedStyle(document.body).color") == "rgb(29, 29, 27)"
    assert not shown.locator(".downloads:visible").count()
    shown.emulate_media(media="screen", color_scheme="light")


def test_no_script_runs_but_its_own(watch: Callable[[str], Watched], one_set_html: str) -> None:
    watched = watch(one_set_html)
    watched.page.evaluate(
        "const s = document.createElement('script'); s.textContent = 'window.owned = 1'; "
        "document.head.append(s)"
    )
    assert watched.page.evaluate("window.owned") is None
    assert any("Content Security Policy" in text for text in watched.said)
    watched.said.clear()


def test_hostile_names_and_texts_stay_text(browser: Browser, tmp_path: Path) -> None:
    """Markup, scripts, very long strings, right-to-left text, control characters: in names,
    prompts, responses."""
    languages = ("en", "th", "sw", NASTY)
    counts = random_counts(1, 4, blocks=4, widths=((60,),) * 6)
    run = made_up_study.write(
        tmp_path / "run",
        replace(counts, languages=languages),
        model=TEXT,
        domains=("<i>bold\u202e",),
        alignments={NASTY: ("th",), "x" * 150: ("sw",)},
        said=TEXT + "long " * 20_000 + "x" * 20_000,
        asked=TEXT * 3,
    )
    commands.report(run, title=f"</title>{NASTY}", quiet=True)
    assert (run / "report.html").stat().st_size < 5_000_000
    shown = Watched(browser, run / "report.html")
    for width in (1280, 390):
        shown.fit(width, "light")
        drawn(shown.page, width)
        assert faults(shown.page) == []
        assert "owned" not in shown.page.title().replace(NASTY, "")
        assert shown.page.locator("img, i").count() == 0
        said = shown.page.locator(".pair:visible .said").nth(1).inner_text()
        assert NASTY in said
        assert "مرحبا" in said
        assert "\u202e" not in said
        assert "⟨U+202E⟩" in said
        assert "␀␇␛[31m" in said
        assert "more characters" in shown.page.locator(".pairs:visible").inner_text()
        assert NASTY in shown.page.locator("[name=alignment]").inner_text()
        shown.page.locator("#rows tbody tr").first.click()
    got = download(
        shown.page, "#changes article[id^=language-changes-]:visible button[data-format=latex]"
    )
    assert NASTY.replace("&", r"\&") in got.decode()
    place = next(
        path for path in (run / "report").iterdir() if "img" in path.name and "bold" in path.name
    )
    assert got == (place / "language-changes.tex").read_bytes()
    shown.close()


def test_a_name_that_cannot_be_seen_can_be_chosen(
    watch: Callable[[str], Watched], study: Path, tmp_path: Path
) -> None:
    """A choice whose name holds control characters shows what is about it."""
    run = Path(shutil.copytree(study, tmp_path / "run"))
    unseen = "mar\u202eket"
    for parent in (run / "questions", run / "models" / "small" / "base"):
        (parent / "market").rename(parent / unseen)
    for name in ("sw-th", "zh-de"):
        shutil.rmtree(run / "models" / "small" / name)
    ledger = run / "study.json"
    ledger.write_text(ledger.read_text("utf-8").replace("market", unseen), "utf-8")
    watched = watch(render(study_page("run", read_study(run))))
    watched.page.select_option("[name=questions]", index=1)
    watched.drawn()
    assert watched.page.locator("[name=questions]").input_value() == "mar⟨U+202E⟩ket"
    assert watched.page.locator("#neurons .chart:visible").count() == 4
    assert watched.page.locator("#explore").is_visible()


def test_what_is_not_there_yet_is_left_out(
    watch: Callable[[str], Watched], study: Path, tmp_path: Path
) -> None:
    """A run in the midst: no alignment is done, one set of questions has no neurons."""
    run = Path(shutil.copytree(study, tmp_path / "run"))
    for name in ("sw-th", "zh-de"):
        shutil.rmtree(run / "models" / "small" / name)
    shutil.rmtree(run / "models" / "small" / "base" / "market" / "neurons")
    page = watch(render(study_page("run", read_study(run)))).page
    assert page.locator("#changes").count() == 0
    assert page.locator(".claims > li:visible").count() == 4
    assert page.locator(".tile:visible b").count() == 4
    page.select_option("[name=questions]", "market")
    assert "no neurons for what is chosen" in page.locator("#explorer").inner_text()
    assert page.locator("#neurons .nothing").is_visible()


def test_sets_that_do_not_fit_are_only_named(
    watch: Callable[[str], Watched], page: parts.Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_data, "EXPLORED", 10)
    shown = watch(render(page)).page
    assert len(rows(shown)) == 25
    shown.select_option("[name=questions]", "market")
    assert "in neurons.parquet" in shown.locator("#elsewhere").inner_text()
    assert not shown.locator("#explore").is_visible()
