"""The page in a real browser: it draws, sorts, filters, downloads, and asks the network for nothing."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from conftest import CHROMIUM
from langneurons import artifacts
from langneurons.neurons import Neurons

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; `make browser` installs one")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A page, and everything it said or asked for."""

    def __init__(self, browser: Browser, path: Path, width: int, scheme: str = "light") -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            accept_downloads=True,  # ty: ignore
        )
        self.page: Page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("body[data-ready=yes]")

    def close(self) -> None:
        self.context.close()
        assert self.said == []
        assert [url for url in self.asked if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.fixture
def watched(browser: Browser, demo: Path) -> Iterator[Page]:
    shown = Watched(browser, demo / "report.html", 1280)
    yield shown.page
    shown.close()


@pytest.fixture(scope="module")
def neurons(demo: Path) -> Neurons:
    return Neurons.from_table(artifacts.read(demo / "neurons").table("neurons.parquet"))


def rows(page: Page) -> list[list[str]]:
    return [row.locator("td").all_inner_texts() for row in page.locator("#neurons tbody tr").all()]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_every_figure_is_drawn_at_any_width(browser: Browser, demo: Path, width: int, scheme: str) -> None:
    shown = Watched(browser, demo / "report.html", width, scheme)
    page = shown.page
    assert page.locator(".chart svg").count() == 4
    for box in [*page.locator(".chart").all(), page.locator("#card .plot")]:
        size = box.locator("svg").first.bounding_box()
        assert size
        assert size["height"] > 100
        assert size["width"] <= width
        assert box.locator(".mark-rect path, .mark-symbol path").count() > 5
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shown.close()


def test_numbers_are_those_of_the_table(watched: Page, neurons: Neurons) -> None:
    tiles = dict(
        zip(watched.locator(".tile dt").all_inner_texts(), watched.locator(".tile b").all_inner_texts(), strict=True)
    )
    for kind in ("specific", "related", "general"):
        assert tiles[kind] == f"{(neurons.kind == kind).sum():,}"
    assert tiles["λ*"] == f"{neurons.rule.lam.value:.5f}"  # ty: ignore
    assert watched.locator(".tile .interval").count() == 5


def test_sort(watched: Page, neurons: Neurons) -> None:
    watched.click("#neurons button[data-sort=score]")
    assert watched.locator("#neurons th[aria-sort=ascending]").inner_text().startswith("Score")
    scores = [float(row[5]) for row in rows(watched)]
    assert scores == sorted(scores)
    assert scores[0] == pytest.approx(neurons.score.min(), abs=1e-4)
    watched.click("#neurons button[data-sort=score]")
    scores = [float(row[5]) for row in rows(watched)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(neurons.score.max(), abs=1e-4)


def test_filter_by_language_kind_layer_and_index(watched: Page, neurons: Neurons) -> None:
    watched.select_option("[name=language]", "zh")
    watched.select_option("[name=kind]", "related")
    watched.fill("[name=first]", "14")
    watched.fill("[name=last]", "20")
    zh = neurons.member[:, neurons.languages.index("zh")]
    expected = neurons.where(zh & (neurons.kind == "related") & (neurons.layer >= 14) & (neurons.layer <= 20))
    assert len(expected) > 3
    assert watched.locator("#found").inner_text() == f"{len(expected)} of {len(neurons):,} neurons"
    assert [(int(row[0]), int(row[1])) for row in rows(watched)] == [
        (int(layer), int(neuron)) for layer, _, neuron in expected.keys[:25]
    ]
    watched.fill("[name=neuron]", str(expected.neuron[2]))
    assert str(expected.neuron[2]) in [row[1] for row in rows(watched)]
    watched.click("#filters [type=reset]")
    watched.wait_for_function(f"document.getElementById('found').textContent.startsWith('{len(neurons):,} of')")


def test_pages(watched: Page, neurons: Neurons) -> None:
    pages = -(-len(neurons) // 25)
    assert watched.locator("#position").inner_text() == f"page 1 of {pages}"
    assert watched.locator("#previous").is_disabled()
    watched.click("#next")
    assert [(int(row[0]), int(row[1])) for row in rows(watched)] == [
        (int(layer), int(neuron)) for layer, _, neuron in neurons.keys[25:50]
    ]


def test_card_by_keyboard(watched: Page, neurons: Neurons) -> None:
    watched.locator("#neurons tbody tr").nth(3).focus()
    watched.keyboard.press("Enter")
    layer, _, neuron = neurons.keys[3]
    watched.wait_for_function(f"document.querySelector('#card h3').textContent === 'Layer {layer}, neuron {neuron}'")
    assert watched.locator("#neurons tr[aria-selected=true]").count() == 1
    with watched.expect_download() as download:
        watched.click("#card button[data-format=csv]")
    got = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8"))))
    assert [float(row["probability"]) for row in got] == pytest.approx(neurons.probability[3], abs=1e-5)
    assert [row["active"] == "above tau" for row in got] == neurons.member[3].tolist()


def test_downloads_of_a_figure(watched: Page, demo: Path) -> None:
    starts = {"svg": b"<svg", "png": b"\x89PNG", "csv": b"layer,", "latex": rb"\begin{table}"}
    for name, start in starts.items():
        with watched.expect_download() as download:
            watched.click(f"#layers button[data-format={name}]")
        content = Path(download.value.path()).read_bytes()
        assert content.startswith(start), name
        assert len(content) > 300
    assert content.decode() == (demo / "report" / "layers.tex").read_text("utf-8")


def test_download_of_the_filtered_table(watched: Page, neurons: Neurons) -> None:
    watched.select_option("[name=kind]", "specific")
    with watched.expect_download() as download:
        watched.click("#explorer button[data-format=csv]")
    got = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8"))))
    specific = neurons.where(neurons.kind == "specific")
    assert [(int(row["layer"]), int(row["neuron"])) for row in got] == [(int(a), int(b)) for a, _, b in specific.keys]
    assert [float(row["p_sw"]) for row in got] == pytest.approx(specific.probability[:, 9], abs=1e-5)
    with watched.expect_download() as download:
        watched.click("#explorer button[data-format=latex]")
    assert Path(download.value.path()).read_text("utf-8").count(r"\\") == len(specific) + 1


def test_hostile_names_stay_text(browser: Browser, neurons: Neurons, tmp_path: Path) -> None:
    """A language code and a title from outside cannot become markup."""
    import dataclasses

    from langneurons import page, report

    nasty = "<img src=x onerror=document.title='owned'>"
    odd = dataclasses.replace(neurons, languages=(nasty, *neurons.languages[1:]))
    odd = dataclasses.replace(odd, uncertainty=None)
    path = tmp_path / "page.html"
    path.write_text(page.render(f"</title>{nasty}", odd, report.build(odd), []), "utf-8")
    shown = Watched(browser, path, 1280)
    assert "owned" not in shown.page.title().replace(nasty, "")
    assert shown.page.locator("img").count() == 0
    shown.close()


def test_a_mask_without_scores_has_a_page(browser: Browser, tmp_path: Path) -> None:
    from langneurons import page, report
    from test_compare import neurons_at

    mask = neurons_at([(0, 1, "en"), (1, 3, "en zh"), (1, 2, "en zh sw")])
    path = tmp_path / "page.html"
    path.write_text(page.render("mask", mask, report.build(mask), []), "utf-8")
    shown = Watched(browser, path, 1280)
    assert shown.page.locator("#neurons th").all_inner_texts() == ["Layer", "Neuron", "Kind", "N", "Languages"]
    assert shown.page.locator("#card button").count() == 0
    shown.close()


def test_page_asks_for_nothing_even_in_its_text(demo: Path) -> None:
    text = (demo / "report.html").read_text("utf-8")
    assert "default-src 'none'" in text
    assert 'src="http' not in text
    assert 'href="http' not in text
    assert len(text.encode()) < 5_000_000
