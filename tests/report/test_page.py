"""The page in a real browser: it draws, sorts, filters, downloads, and asks the network for nothing."""

import csv
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from langneurons import artifacts
from langneurons.compare.comparison import Comparison
from langneurons.neurons.table import Neurons
from langneurons.report import commands as publish
from langneurons.report import html as page
from langneurons.report import page_data as pagedata
from langneurons.report.chapters import Results
from langneurons.report.pages import results_page
from langneurons.silencing import matrix as diagonal
from langneurons.silencing.losses import Losses
from support import made_up_study
from support.browser import CHROMIUM, Watched
from support.values import neurons_at, random_counts

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine; `make browser` installs one"
)

WIDTHS = [(1280, "light"), (820, "dark"), (390, "light")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def watched(browser: Browser, made_up: Path) -> Iterator[Page]:
    shown = Watched(browser, made_up / "report.html", 1280)
    yield shown.page
    shown.close()


@pytest.fixture(scope="module")
def neurons(made_up: Path) -> Neurons:
    return Neurons.from_table(artifacts.read(made_up / "neurons").table("neurons.parquet"))


@pytest.fixture(scope="module")
def study(example: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one model on two sets of questions, with two alignments, and its page."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("WIDTH", 120), ("BLOCKS", 4), ("TOKENS", 400)):
            patch.setattr(example, name, value)
        patch.setattr(
            example, "per_layer", lambda layer: (2, 2, 3) if layer < 4 or layer > 13 else (0, 1, 8)
        )
        run = made_up_study.write(tmp_path_factory.mktemp("runs") / "study", example.make().counts)
    publish.report(run)
    return run


@pytest.fixture
def shown(browser: Browser, study: Path) -> Iterator[Page]:
    shown = Watched(browser, study / "report.html", 1280)
    yield shown.page
    shown.close()


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
    """What axe-core finds that is serious, with one of each folded part opened; a figure is to it one image."""
    for kind in FOLDED:
        page.locator(f"{kind}:visible > summary").first.click()
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text("utf-8"))
    found = page.evaluate("axe.run({ exclude: ['svg > *'] }, { resultTypes: ['violations'] })")
    assert len(found["passes"]) > 20
    serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]} ({len(one['nodes'])})" for one in serious
    ]


# One set of neurons.


@pytest.mark.parametrize(("width", "scheme"), WIDTHS)
def test_every_figure_is_drawn_at_any_width(
    browser: Browser, made_up: Path, width: int, scheme: str
) -> None:
    shown = Watched(browser, made_up / "report.html", width, scheme)
    assert drawn(shown.page, width) == 5
    shown.close()


def test_numbers_are_those_of_the_table(watched: Page, neurons: Neurons) -> None:
    tiles = dict(
        zip(
            watched.locator(".tile dt").all_inner_texts(),
            watched.locator(".tile b").all_inner_texts(),
            strict=True,
        )
    )
    for kind in ("specific", "related", "general"):
        assert tiles[kind] == f"{(neurons.kind == kind).sum():,}"
    assert tiles["λ*"] == f"{neurons.rule.lam.value:.5f}"  # ty: ignore
    assert watched.locator(".tile .interval").count() == 5
    assert watched.locator("#claims .verdict").all_inner_texts() == ["✓ holds", "✓ holds"]


def test_sort(watched: Page, neurons: Neurons) -> None:
    watched.click("#rows button[data-sort=score]")
    assert watched.locator("#rows th[aria-sort=ascending]").inner_text().startswith("Score")
    scores = [float(row[5]) for row in rows(watched)]
    assert scores == sorted(scores)
    assert scores[0] == pytest.approx(neurons.score.min(), abs=1e-4)
    watched.click("#rows button[data-sort=score]")
    scores = [float(row[5]) for row in rows(watched)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(neurons.score.max(), abs=1e-4)


def test_filter_by_language_kind_layer_n_and_index(watched: Page, neurons: Neurons) -> None:
    watched.select_option("[name=language]", "zh")
    watched.select_option("[name=kind]", "related")
    watched.fill("[name=first]", "14")
    watched.fill("[name=last]", "20")
    zh = neurons.member[:, neurons.languages.index("zh")]
    mask = zh & (neurons.kind == "related") & (neurons.layer >= 14) & (neurons.layer <= 20)
    expected = neurons.where(mask)
    assert len(expected) > 3
    assert watched.locator("#found").inner_text() == f"{len(expected)} of {len(neurons):,} neurons"
    assert [(int(row[0]), int(row[1])) for row in rows(watched)] == [
        (int(layer), int(neuron)) for layer, _, neuron in expected.keys[:25]
    ]
    n = int(expected.n_languages[0])
    watched.fill("[name=n]", str(n))
    assert len(rows(watched)) == (expected.n_languages == n).sum() < len(expected)
    watched.fill("[name=n]", "")
    watched.fill("[name=neuron]", str(expected.neuron[2]))
    assert str(expected.neuron[2]) in [row[1] for row in rows(watched)]
    watched.click("#filters [type=reset]")
    expect(watched.locator("#found")).to_have_text(f"{len(neurons):,} of {len(neurons):,} neurons")


def test_pages(watched: Page, neurons: Neurons) -> None:
    pages = -(-len(neurons) // 25)
    assert watched.locator("#position").inner_text() == f"page 1 of {pages}"
    assert watched.locator("#previous").is_disabled()
    watched.click("#next")
    assert [(int(row[0]), int(row[1])) for row in rows(watched)] == [
        (int(layer), int(neuron)) for layer, _, neuron in neurons.keys[25:50]
    ]


def test_card_by_keyboard(watched: Page, neurons: Neurons) -> None:
    watched.locator("#rows tbody tr").nth(3).focus()
    watched.keyboard.press("Enter")
    layer, _, neuron = neurons.keys[3]
    expect(watched.locator("#card h3")).to_have_text(f"Layer {layer}, neuron {neuron}")
    assert watched.locator("#rows tr[aria-selected=true]").count() == 1
    got = list(
        csv.DictReader(io.StringIO(download(watched, "#card button[data-format=csv]").decode()))
    )
    assert [float(row["probability"]) for row in got] == pytest.approx(
        neurons.probability[3], abs=1e-5
    )
    assert [row["active"] == "above tau" for row in got] == neurons.member[3].tolist()


def test_downloads_of_a_figure(watched: Page, made_up: Path) -> None:
    starts = {"svg": b"<svg", "png": b"\x89PNG", "csv": b"layer,", "latex": rb"\begin{table}"}
    for name, start in starts.items():
        content = download(watched, f"#layers button[data-format={name}]")
        assert content.startswith(start), name
        assert len(content) > 300
    assert content.decode() == (made_up / "report" / "layers.tex").read_text("utf-8")


def test_download_of_the_filtered_table(watched: Page, neurons: Neurons) -> None:
    watched.select_option("[name=kind]", "specific")
    content = download(watched, "#explorer button[data-format=csv]").decode()
    got = list(csv.DictReader(io.StringIO(content)))
    specific = neurons.where(neurons.kind == "specific")
    assert [(int(row["layer"]), int(row["neuron"])) for row in got] == [
        (int(a), int(b)) for a, _, b in specific.keys
    ]
    assert [float(row["p_sw"]) for row in got] == pytest.approx(
        specific.probability[:, 9], abs=1e-5
    )
    latex = download(watched, "#explorer button[data-format=latex]").decode()
    assert latex.count(r"\\") == len(specific) + 1


def test_a_mask_without_scores_has_a_page(browser: Browser, tmp_path: Path) -> None:
    mask = neurons_at([(0, 1, "en"), (1, 3, "en zh"), (1, 2, "en zh sw")])
    path = tmp_path / "page.html"
    path.write_text(page.render(results_page("mask", Results(mask, None, (), {}), [])), "utf-8")
    shown = Watched(browser, path, 1280)
    assert shown.page.locator("#rows th").all_inner_texts() == [
        "Layer",
        "Neuron",
        "Kind",
        "N",
        "Languages",
    ]
    assert shown.page.locator("#card button").count() == 0
    shown.close()


# A study.


@pytest.mark.parametrize(("width", "scheme"), WIDTHS)
def test_a_study_at_any_width(browser: Browser, study: Path, width: int, scheme: str) -> None:
    """Every figure of every choice is drawn, nothing is wider than the screen, and axe-core finds no serious fault."""
    shown = Watched(browser, study / "report.html", width, scheme)
    first = drawn(shown.page, width)
    assert first == 2 + 4 + 2 + 1 + 5 + 1
    assert faults(shown.page) == []
    shown.page.select_option("[name=questions]", "market")
    shown.page.select_option("[name=alignment]", "zh-de")
    shown.page.wait_for_selector("body[data-ready=yes]")
    assert drawn(shown.page, width) == first - 2  # silencing was not measured on these
    assert shown.page.locator("#silencing .nothing").is_visible()
    shown.close()


def test_the_first_screen(shown: Page, study: Path) -> None:
    """What was studied, four numbers, and every claim with its verdict and reason, for each choice."""
    words = shown.locator("#studied").inner_text()
    for word in (
        "owner/model",
        "24 x 120",
        "Bengali",
        "market",
        "40 in each language",
        "Chinese, German to English",
    ):
        assert word in words
    for alignment in ("sw-th", "zh-de"):
        shown.select_option("[name=alignment]", alignment)
        tiles = shown.locator(".tile:visible b").all_inner_texts()
        assert len(tiles) == 4
        held = artifacts.read(study / "models" / "small" / alignment / "comparison" / "school")
        claims = Comparison.load(held).claims
        moved = {claim.name: claim for claim in claims}["specific-to-related"].numbers
        assert tiles[3] == " / ".join(
            f"{moved[k]['value']:+,.0f}" for k in ("specific", "related")
        ).replace("-", "−")
        known = [claim for claim in claims if claim.numbers]
        listed = shown.locator(".claims > li:visible")
        assert [text[2:] for text in listed.locator(".verdict").all_inner_texts()] == [
            c.verdict for c in known
        ]
        assert listed.locator("summary").all_inner_texts() == [claim.words for claim in known]
    assert len(known) < len(claims)
    listed.locator("summary").first.press("Enter")
    assert "fit of 4" in listed.first.inner_text()


def test_every_verdict_side_by_side(shown: Page) -> None:
    shown.click("text=Every verdict")
    heads = shown.locator("#claims thead th").all_inner_texts()
    assert heads == [f"{q} · {a}" for q in ("school", "market") for a in ("sw-th", "zh-de")]
    assert shown.locator("#claims tbody tr:has(th)").count() == 11


def test_numbers_of_a_choice_are_its_files(shown: Page, study: Path) -> None:
    shown.select_option("[name=questions]", "market")
    shown.select_option("[name=alignment]", "zh-de")
    files = study / "report" / "small-market-zh-de"
    for name in ("layer-changes", "stability", "language-changes"):
        at = f"#changes article[id^={name}-]:visible"
        for form, end in (("csv", "csv"), ("latex", "tex")):
            assert (
                download(shown, f"{at} button[data-format={form}]")
                == (files / f"{name}.{end}").read_bytes()
            )
    body = list(csv.reader(io.StringIO((files / "stability.csv").read_text("utf-8"))))
    table = shown.locator("#changes article[id^=stability-]:visible").first.locator("tr")
    assert table.count() == len(body)
    assert table.nth(1).locator("td").all_inner_texts()[:2] == body[1][:2]
    summary = shown.locator("#changes article[id^=layer-changes-]:visible summary")
    summary.focus()
    summary.press("Enter")
    shown.wait_for_selector("#changes article[id^=layer-changes-]:visible table")
    assert (files / "layer-changes.svg").read_text("utf-8").startswith("<svg")


def test_pairs_are_there_to_read(shown: Page) -> None:
    pairs = shown.locator(".pairs:visible")
    assert pairs.locator("h4").all_inner_texts() == ["Swahili", "Thai"]
    assert pairs.locator(".pair").count() == 2 * publish.PREVIEWED
    first = pairs.locator(".pair").nth(1)
    assert first.locator(".said:visible").all_inner_texts() == [
        "6 + 7 = 13. #### 13",
        "6 + 7 = 13. #### 13 5",
    ]
    assert "right too, score -1.900" in first.inner_text()
    audit = shown.locator("article[id^=audit-]:visible tbody tr").all_inner_texts()
    assert [line.split()[:2] for line in audit] == [["sw", "Swahili"], ["th", "Thai"]]


def test_the_card_says_what_silencing_costs(shown: Page, study: Path) -> None:
    home = study / "models" / "small" / "base" / "school"
    found = Neurons.load(artifacts.read(home / "neurons"))
    losses = Losses.load(artifacts.read(home / "perplexity"))
    shown.select_option("[name=kind]", "specific")
    shown.locator("#rows tbody tr").first.click()
    one = int(found.member[np.flatnonzero(found.kind == "specific")[0]].argmax())
    lines = shown.locator(".effects li").all_inner_texts()
    assert len(lines) == 2
    for line, setting in zip(lines, losses.settings, strict=True):
        made = diagonal.matrix(losses, setting)
        assert (
            f"{made.neurons[one]} {setting}: {made.before[one]:.4g} +{made.change[one, one]:#.3g}"
            in line
        )


def test_every_result_is_named(shown: Page, study: Path) -> None:
    listed = shown.locator(".origins summary b").all_inner_texts()
    there = sorted(
        path.relative_to(study).as_posix()
        for part in ("models", "questions")
        for path in artifacts.finished(study / part)
    )
    assert sorted(listed) == there
    assert len(there) > 40


def test_on_paper_it_is_light(shown: Page) -> None:
    shown.emulate_media(media="print", color_scheme="dark")
    colour = shown.evaluate("getComputedStyle(document.querySelector('.chart svg text')).fill")
    assert colour == shown.evaluate("getComputedStyle(document.body).color") == "rgb(29, 29, 27)"
    assert not shown.locator(".downloads:visible").count()


def test_no_script_runs_but_its_own(browser: Browser, study: Path) -> None:
    shown = Watched(browser, study / "report.html", 1280)
    shown.page.evaluate(
        "const s = document.createElement('script'); s.textContent = 'window.owned = 1'; document.head.append(s)"
    )
    assert shown.page.evaluate("window.owned") is None
    assert any("Content Security Policy" in text for text in shown.said)
    shown.context.close()


NASTY = "<img src=x onerror=\"document.title='owned'\">"
TEXT = f"{NASTY}</script><script>document.title='owned'</script><!--<script>\u202e مرحبا \x00\x07\x1b[31m & {{x}} "


def test_hostile_names_and_texts_stay_text(browser: Browser, tmp_path: Path) -> None:
    """Markup, scripts, very long strings, right-to-left text, control characters: in names, prompts, responses."""
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
    publish.report(run, title=f"</title>{NASTY}")
    assert (run / "report.html").stat().st_size < 5_000_000
    for width in (1280, 390):
        shown = Watched(browser, run / "report.html", width)
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
            path
            for path in (run / "report").iterdir()
            if "img" in path.name and "bold" in path.name
        )
        assert got == (place / "language-changes.tex").read_bytes()
        shown.close()


def test_what_is_not_there_yet_is_left_out(browser: Browser, study: Path, tmp_path: Path) -> None:
    """A run in the midst: no alignment is done, one set of questions has no neurons."""
    run = tmp_path / "run"
    shutil.copytree(study, run, ignore=shutil.ignore_patterns("report*"))
    for name in ("sw-th", "zh-de"):
        shutil.rmtree(run / "models" / "small" / name)
    shutil.rmtree(run / "models" / "small" / "base" / "market" / "neurons")
    publish.report(run)
    shown = Watched(browser, run / "report.html", 1280)
    assert shown.page.locator("#changes").count() == 0
    assert shown.page.locator(".claims > li:visible").count() == 4
    assert shown.page.locator(".tile:visible b").count() == 4
    shown.page.select_option("[name=questions]", "market")
    assert "no neurons for what is chosen" in shown.page.locator("#explorer").inner_text()
    assert shown.page.locator("#neurons .nothing").is_visible()
    shown.close()


def test_sets_that_do_not_fit_are_only_named(
    browser: Browser, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pagedata, "EXPLORED", 10)
    publish.report(study, out=tmp_path / "page.html")
    shown = Watched(browser, tmp_path / "page.html", 1280)
    assert len(rows(shown.page)) == 25
    shown.page.select_option("[name=questions]", "market")
    assert "in neurons.parquet" in shown.page.locator("#elsewhere").inner_text()
    assert not shown.page.locator("#explore").is_visible()
    shown.close()


def test_a_run_that_cannot_be_read(tmp_path: Path, langneurons: Any) -> None:
    (tmp_path / "study.json").write_text("{", "utf-8")
    done = langneurons("report", tmp_path)
    assert done.status == 2
    assert "study.json cannot be read" in done.err
    settings = {"models": {"m": "m"}, "domains": {}, "alignments": {}, "languages": ["en"]}
    (tmp_path / "study.json").write_text(json.dumps({"study": "s", "settings": settings}), "utf-8")
    done = langneurons("report", tmp_path)
    assert done.status == 2
    assert "holds no neurons and no accuracy yet" in done.err


def test_pages_ask_for_nothing_even_in_their_text(made_up: Path, study: Path) -> None:
    for path in (made_up / "report.html", study / "report.html"):
        text = path.read_text("utf-8")
        assert "default-src 'none'; script-src 'sha256-" in text
        assert 'src="http' not in text
        assert 'href="http' not in text
        assert len(text.encode()) < 5_000_000
