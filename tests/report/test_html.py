"""HTML: what a page shows, what it is made of, and that nothing from outside becomes markup."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from langneurons.align.pairs import Pair
from langneurons.compare.verdicts import Claim
from langneurons.config import IdentifyConfig
from langneurons.neurons.identify import identify
from langneurons.neurons.summary import Tile
from langneurons.report.charts import table_figure
from langneurons.report.html import LONGEST, claim_numbers, render
from langneurons.report.markup import visible
from langneurons.report.pages import results_page
from langneurons.report.parts import (
    Chapter,
    Judged,
    Note,
    Page,
    Panel,
    Preview,
    Provenance,
    Tiles,
)
from langneurons.report.results import Results, read_folder
from langneurons.silencing.matrix import matrices
from langneurons.tables import Table, written
from support import made_up_study
from support.hostile import NASTY, TEXT
from support.markup import Element, parse
from support.values import neurons_at, random_counts

HERE = {"model": "small", "questions": "school", "alignment": "sw-th"}


@pytest.fixture(scope="module")
def shown(html: str) -> Element:
    return parse(html)


def about(element: Element) -> dict[str, str]:
    return json.loads(element["data-where"] or "null")


def data(page: Element) -> dict[str, Any]:
    return json.loads(page.one("script", id="data").text)


def test_it_asks_for_nothing_and_runs_no_script_but_its_own(html: str, shown: Element) -> None:
    policy = shown.one("meta", **{"http-equiv": "Content-Security-Policy"})["content"]
    assert policy
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    kept = shown.all("script")
    assert [script["type"] for script in kept] == ["application/json", None, "module"]
    digests = [
        base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
        for script in kept[1:]
    ]
    assert re.findall(r"'sha256-([^']+)'", policy) == digests
    assert 'src="http' not in html
    assert 'href="http' not in html
    assert len(html.encode()) < 5_000_000
    names = [element["id"] for element in shown if element["id"]]
    assert len(set(names)) == len(names)


def test_the_first_screen(shown: Element, page: Page) -> None:
    assert shown.one("title").text == "study · langneurons"
    assert shown.one("h1").text == "study"
    for select, values in zip(
        shown.one("form", id="choices").all("select"),
        (["school", "market"], ["sw-th", "zh-de"]),
        strict=True,
    ):
        assert [option.text for option in select.all("option")] == values
        assert [option["value"] for option in select.all("option")] == values
    terms = shown.one("section", id="studied")
    assert [term.text for term in terms.all("dt")] == [
        "Model",
        "Languages",
        "Questions",
        "Alignments",
    ]
    assert [words.text for words in terms.all("dd")] == [words for _, words in page.studied]
    for element, told in zip(shown.all("dl", of="tiles"), page.tiles, strict=True):
        assert about(element) == told.where
        for tile, expected in zip(element.all("div", of="tile"), told.tiles, strict=True):
            assert expected.key in tile.classes
            parts = (tile.one("dt"), tile.one("b"), *tile.all("span"))
            interval = [expected.interval] if expected.interval else []
            assert [part.text for part in parts] == [
                expected.name,
                expected.value,
                expected.text,
                *interval,
            ]


def test_every_claim_with_its_verdict_and_reason(shown: Element, page: Page) -> None:
    section = shown.one("section", id="claims")
    lists = [part for part in section.all("div") if part["data-where"]]
    for element, judged in zip(lists, page.judged, strict=True):
        known = [claim for claim in judged.claims if claim.numbers]
        assert about(element) == judged.where
        listed = element.one("ol", of="claims")
        assert [b.words[2:] for b in listed.all(of="verdict")] == [claim.verdict for claim in known]
        assert [p.text for p in listed.all("p", of="why")] == [claim.words for claim in known]
        missing = len(judged.claims) - len(known)
        assert missing > 0
        assert element.all("summary")[-1].text == f"Not judged: {missing}"
        held = sum(claim.verdict == "holds" for claim in known)
        assert element.one("p", of="sum").text.startswith(f"{held} hold")
    rows = [row.all("td") for row in lists[0].all("li")[0].all("tr")[1:]]
    first = {cells[0].text: [cell.text for cell in cells[1:]] for cells in rows}
    fit = written(page.judged[0].claims[0].numbers["fits"]["4"]["fit"])
    assert first["how well they fit, 4 stages, share of variance explained"] == [fit, ""]
    assert first["stages begin in layers"] == ["0, 4, 5, 14", ""]


def test_the_numbers_of_a_claim_are_told_in_words() -> None:
    """An interval stands beside its number; shares are told as in the line above them."""
    numbers = {"raw": {"value": 0.0126, "interval": [0.01, 0.015]}, "more in": ["es", "th"]}
    assert claim_numbers(Claim("related-add", "", "", "holds", numbers, "")) == [
        ("added to log perplexity", "0.0126", "0.01 to 0.015"),
        ("more in", "es, th", ""),
    ]
    numbers = {"before": 0.417, "p": 0.0153, "interval": [0.167, 0.583], "known": True}
    assert claim_numbers(Claim("accuracy-trained", "", "", "holds", numbers, "")) == [
        ("before", "41.7%", ""),
        ("p", "0.0153", ""),
        ("95% interval", "16.7% to 58.3%", ""),
        ("known", "yes", ""),
    ]
    numbers = {"specific": {"value": 0.5, "interval": None, "chance": 0.05}}
    assert claim_numbers(Claim("stable-domains", "", "", "holds", numbers, "")) == [
        ("specific", "50.0%", "not known"),
        ("specific, by chance", "5.0%", ""),
    ]


def test_every_verdict_side_by_side(shown: Element, page: Page) -> None:
    table = shown.one("section", id="claims").all("table")[-1]
    heads = [head.text for head in table.all("th", scope="col")]
    assert heads == [f"{q} · {a}" for q in ("school", "market") for a in ("sw-th", "zh-de")]
    rows = [row for row in table.all("tr") if row.all("th", scope="row")]
    assert len(rows) == 12
    for row, claims in zip(
        rows, zip(*(judged.claims for judged in page.judged), strict=True), strict=True
    ):
        assert row.one("th").text == claims[0].statement
        cells = [cell.words.lstrip("✓✕? ") for cell in row.all("td")]
        assert cells == [claim.verdict if claim.numbers else "not judged" for claim in claims]


def test_chapters(shown: Element, page: Page) -> None:
    for chapter in page.chapters:
        section = shown.one("section", id=chapter.name)
        assert section.one("h2").text == chapter.title
        assert section.one("p", of="lead").text == chapter.text
        panels = [part for part in section.all("article") if "pairs" not in part.classes]
        for element, panel in zip(panels, chapter.panels, strict=True):
            name = element["id"]
            assert name
            assert re.fullmatch(rf"{panel.figure.name}-\d+", name)
            assert about(element) == panel.where
            assert element.one("h3").text == panel.figure.title
            assert element.all("p")[0].text == panel.figure.text
            formats = [button["data-format"] for button in element.all("button")]
            assert formats == (
                ["svg", "png", "csv", "latex"] if panel.figure.spec else ["csv", "latex"]
            )
            assert {button["data-download"] for button in element.all("button")} == {name}
            assert len(element.all("div", of="chart")) == (panel.figure.spec is not None)
            assert len(element.all(**{"data-table": name})) == 1
        lines = [line for note in chapter.notes for line in note.lines]
        assert [item.text for item in section.one("details", of="how").all("li")] == lines


def test_numbers_are_those_of_the_files(shown: Element, page: Page) -> None:
    panels = [panel for chapter in page.chapters for panel in chapter.panels]
    for figure, panel in zip(data(shown)["figures"], panels, strict=True):
        table = panel.figure.table
        assert shown.one("article", id=figure["name"]).one("h3").text == figure["title"]
        assert figure["csv"] == table.to_csv()
        assert figure["latex"] == table.to_latex()
        assert figure["spec"] == json.loads(json.dumps(panel.figure.spec))
        assert figure["columns"] == list(table.columns)
        assert figure["rows"] == [list(row) for row in table.rows[:100]]
        assert figure["more"] == max(0, len(table.rows) - 100)


def test_pairs_are_there_to_read(shown: Element) -> None:
    previews = {about(part)["alignment"]: part for part in shown.all("article", of="pairs")}
    pairs = previews["sw-th"]
    assert [head.text for head in pairs.all("h4")] == ["Swahili", "Thai"]
    assert len(pairs.all("div", of="pair")) == 2 * 3
    wrong, right = pairs.all("div", of="pair")[:2]
    assert right.one("summary").text == "Question q1"
    assert [said.text for said in right.all("div", of="said")] == [
        "How many?",
        "6 + 7 = 13. #### 13",
        "6 + 7 = 13. #### 13 5",
    ]
    assert "Rejected right too, score -1.900" in right.words
    assert "Rejected wrong, score -1.900" in wrong.words
    assert {said["lang"] for said in right.all("div", of="said")} == {"sw"}


def test_every_result_is_named(shown: Element, page: Page) -> None:
    origins = shown.one("div", of="origins").all("details")
    for element, origin in zip(origins, page.provenance, strict=True):
        summary = element.one("summary")
        assert summary.one("b").text == origin.name
        kinds = [span.text for span in summary.all("span")]
        kind = origin.manifest["kind"]
        assert kinds == ([] if origin.name.endswith(kind) else [kind])
        facts = dict(
            zip(
                [t.text for t in element.all("dt")],
                [d.text for d in element.all("dd")],
                strict=True,
            )
        )
        assert facts["settings"] == json.dumps(origin.manifest["config"])
        for name, digest in origin.manifest["files"].items():
            assert f"{name} {digest[:12]}" in facts["files"]
    settings = shown.one("section", id="provenance").one("pre").text
    assert json.loads(settings) == json.loads(json.dumps(page.settings))


def test_neurons_to_look_through(shown: Element, page: Page) -> None:
    sets = data(shown)["sets"]
    assert [held["name"] for held in sets] == ["small · school", "small · market"]
    for held, explored in zip(sets, page.explored, strict=True):
        assert held["neuron"] == explored.neurons.neuron.tolist()
        assert held["kind"] == explored.neurons.kind.tolist()
    card = shown.one("template", id="card-of-one")
    assert [button["data-format"] for button in card.all("button")] == [
        "svg",
        "png",
        "csv",
        "latex",
    ]


def test_a_page_of_one_set_has_no_choices(school_page: Page) -> None:
    shown = parse(render(school_page))
    assert shown.one("form", id="choices").content == []
    assert not shown.all("section", id="studied")
    assert [p["id"] for p in shown.all("article")][:3] == ["layers", "shared-by", "per-language"]
    assert [badge.words for badge in shown.one("ol", of="claims").all(of="verdict")][1:3] == [
        "✓ holds",
        "✓ holds",
    ]
    assert not [head for head in shown.all("summary") if head.text == "Every verdict"]


def test_what_cannot_be_judged() -> None:
    missing = Claim("a", "A claim", "Fig. 1", "cannot tell", {}, "needs more")
    page = hostile_page()._replace(judged=(Judged((missing,), {}),))
    section = parse(render(page)).one("section", id="claims")
    assert section.one("p", of="sum").text == "Nothing to judge them by yet."
    assert section.one("ul").words == "A claim Fig. 1: needs more"
    none = parse(render(page._replace(judged=())))
    assert not none.all("section", id="claims")
    assert none.one("div", of="opening").content != []


# Bytes.


def test_the_same_page_gives_the_same_bytes(html: str, page: Page) -> None:
    assert render(page) == html


def test_the_same_in_another_process(tmp_path: Path) -> None:
    """Whatever the order of sets and hashes is there."""
    code = (
        "import sys; from pathlib import Path;"
        "from langneurons.report.html import claim_numbers, render; "
        "from langneurons.report.pages import results_page;"
        "from langneurons.report.results import read_folder;"
        "found = read_folder(Path(sys.argv[1]));"
        "page = results_page('t', found.results, found.provenance); "
        "sys.stdout.buffer.write(render(page).encode())"
    )
    neurons_at([(0, 1, "en"), (1, 3, "en zh"), (1, 2, "en zh sw")]).save(tmp_path / "mask")
    found = read_folder(tmp_path / "mask")
    here = render(results_page("t", found.results, found.provenance))
    there = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "mask"],
        capture_output=True,
        check=True,
        env={"PYTHONHASHSEED": "1", "PYTHONPATH": ":".join(sys.path)},
    )
    assert there.stdout.decode() == here


# What comes from outside.


def hostile_page() -> Page:
    """A page whose every text would take it over."""
    claim = Claim(NASTY, TEXT, NASTY, "holds", {NASTY: 1.0, "list": [NASTY]}, TEXT)
    missing = Claim("b", TEXT, NASTY, "cannot tell", {}, TEXT)
    where = {"model": NASTY, "questions": TEXT, "alignment": NASTY}
    table = Table(NASTY, TEXT, (NASTY, "n"), ((TEXT, 1), (NASTY, None)))
    pair = Pair(TEXT, NASTY, TEXT * 40, TEXT, NASTY, -1.0, -2.0, False)
    manifest = {
        "kind": NASTY,
        "command": TEXT,
        "created": NASTY,
        "config": {NASTY: TEXT},
        "inputs": {TEXT: "0" * 64},
        "files": {NASTY: "0" * 64},
        "facts": {"said": TEXT * 40},
        "packages": {NASTY: TEXT},
    }
    neurons = neurons_at([(0, 1, "en"), (1, 3, f"en {NASTY.replace(' ', '')}")])
    neurons = replace(neurons, languages=("en", "zh", NASTY))
    explored = results_page("", Results(neurons=neurons), []).explored
    chapter = Chapter(
        name="answers",
        title=TEXT,
        text=NASTY,
        panels=(Panel(table_figure(TEXT, table, name="table"), where),),
        previews=(Preview((pair,), where),),
        notes=(Note((TEXT, NASTY), where),),
    )
    return Page(
        title=TEXT,
        subtitle=NASTY,
        studied=((NASTY, TEXT), (NASTY, NASTY)),
        choices={"model": [NASTY, TEXT], "questions": [TEXT], "alignment": [NASTY, "b"]},
        tiles=(Tiles((Tile("accuracy", NASTY, TEXT, NASTY, TEXT),), where),),
        judged=(Judged((claim, missing), where), Judged((claim,), {})),
        chapters=(chapter,),
        explored=explored,
        provenance=(Provenance(TEXT, manifest),),
        settings={NASTY: TEXT},
    )


@pytest.fixture(scope="module")
def hostile() -> Element:
    return parse(render(hostile_page()))


def test_hostile_names_and_texts_stay_text(hostile: Element) -> None:
    """No element, no attribute and no script comes of them, and each is shown to the character."""
    tags = {element.tag for element in hostile}
    assert not tags & {"img", "i"}
    assert [script["type"] for script in hostile.all("script")] == [
        "application/json",
        None,
        "module",
    ]
    for element in hostile:
        assert not [name for name in element.attributes if name.startswith("on")], element.tag
    known = visible(TEXT)
    assert hostile.one("title").text == f"{known} · langneurons"
    assert hostile.one("h1").text == known
    assert hostile.one("p", of="subtitle").text == NASTY
    for place, shown in (
        (hostile.one("section", id="studied").all("dd")[0], known),
        (hostile.one("dl", of="tiles").one("b"), known),
        (hostile.all("ol", of="claims")[0].one("p", of="why"), known),
        (hostile.all("ol", of="claims")[0].all("td")[1], NASTY),
        (hostile.one("section", id="answers").one("h2"), known),
        (hostile.one("article", id="table-0").one("h3"), known),
        (hostile.one("details", of="how").all("li")[0], known),
        (hostile.one("article", of="pairs").one("h4"), NASTY),
        (hostile.one("div", of="sides").all("div", of="said")[0], known.strip()),
        (hostile.one("div", of="origins").one("b"), known),
        (hostile.one("div", of="origins").one("summary").one("span"), NASTY),
    ):
        assert place.text == shown
    assert not set("\u202e\x1b\x00") & set(hostile.one("main").text + hostile.one("title").text)
    assert "⟨U+202E⟩ مرحبا ␀␇␛[31m & {{x}} {% raw %}" in hostile.one("h1").text


def test_hostile_data_is_what_it_was(hostile: Element) -> None:
    """The scripts get every text as it is, but names, which are shown as the rest of the page shows
    them."""
    kept = hostile.one("script", id="data").text
    assert "<" not in kept
    held = json.loads(kept)
    (figure,) = held["figures"]
    assert figure["title"] == TEXT
    assert figure["csv"] == hostile_page().chapters[0].panels[0].figure.table.to_csv()
    assert figure["rows"] == [[visible(TEXT), 1], [NASTY, None]]
    assert held["sets"][0]["languages"][2] == {"code": NASTY, "name": NASTY}


def test_choices_choose_what_is_about_them(hostile: Element) -> None:
    """Also where a name has characters that cannot be seen: a choice and a part call it the
    same."""
    options = {option["value"] for option in hostile.one("select", name="model").all("option")}
    assert options == {NASTY, visible(TEXT)}
    parts = [element for element in hostile if element["data-where"] not in (None, "{}")]
    assert len(parts) == 5
    for part in parts:
        assert about(part) == {"model": NASTY, "questions": visible(TEXT), "alignment": NASTY}


def test_very_long_texts_are_cut(hostile: Element) -> None:
    prompt = hostile.one("div", of="pair").one("details")
    whole = TEXT * 40
    assert prompt.one("div", of="said").text == visible(whole[:LONGEST])
    assert prompt.one("p", of="more").text == f"and {len(whole) - LONGEST:,} more characters"
    facts = dict(
        zip(
            [term.text for term in hostile.one("div", of="origins").all("dt")],
            [words.text for words in hostile.one("div", of="origins").all("dd")],
            strict=True,
        )
    )
    assert facts["to know"].endswith(" more characters")
    assert not hostile.one("div", of="sides").all("p", of="more")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttext", "plain\n\ttext"),
        ("a\x00b\x1f\x7f", "a␀b␟␡"),
        ("\u202e\ufeff", "⟨U+202E⟩⟨U+FEFF⟩"),
        ("\u200c\u200d", "\u200c\u200d"),
        ("\x85", "⟨U+0085⟩"),
    ],
)
def test_what_cannot_be_seen_is_made_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_page_of_the_papers_size_weighs_little() -> None:
    """Ten languages, 32 layers of 14,336 neurons, what silencing each language costs."""
    counts = random_counts(1, languages=10, blocks=1, widths=((14_336,),) * 32)
    neurons = identify(counts, IdentifyConfig(chance=0))
    measured = matrices(made_up_study.costs(neurons, blocks=8))
    whole = render(results_page("a 7B", Results(neurons=neurons, matrices=measured), ()))
    assert len(neurons) > 4_000
    assert len(whole.encode()) < 5_000_000
