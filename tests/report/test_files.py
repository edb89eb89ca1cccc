"""Files beside a page: every figure and table of it, as they are on the page."""

import json
from pathlib import Path
from typing import Any

import pytest

from langneurons import artifacts
from langneurons.report.files import FigureFiles, figure_files
from langneurons.report.parts import Page
from langneurons.report.results import FolderResults
from support.values import neurons_at


@pytest.fixture(scope="module")
def drawn(school_page: Page) -> FigureFiles:
    return figure_files(school_page)


def test_every_figure_in_every_format(drawn: FigureFiles, school_page: Page) -> None:
    figures = dict(school_page.figures())
    assert len(drawn.files) == sum(4 if figure.spec else 2 for figure in figures.values())
    for path, figure in figures.items():
        assert drawn.files[f"{path}.csv"] == figure.table.to_csv().encode()
        assert drawn.files[f"{path}.tex"] == figure.table.to_latex().encode()
        if figure.spec:
            assert drawn.files[f"{path}.svg"].startswith(b"<svg")
            assert drawn.files[f"{path}.png"].startswith(b"\x89PNG")


def test_progress_is_told(school_page: Page) -> None:
    tables = tuple(
        chapter._replace(panels=tuple(p for p in chapter.panels if p.figure.spec is None))
        for chapter in school_page.chapters
    )
    told: list[tuple[int, int]] = []
    page = school_page._replace(chapters=tables, explored=())
    figure_files(page, lambda done, whole: told.append((done, whole)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_they_are_kept_as_a_result(tmp_path: Path) -> None:
    made = FigureFiles({"layers.svg": b"<svg/>", "small-school/layers.csv": b"layer\n0\n"})
    made.save(tmp_path / "report")
    assert FigureFiles.load(tmp_path / "report") == made
    assert (tmp_path / "report" / "small-school" / "layers.csv").read_bytes() == b"layer\n0\n"


def test_the_command(school: FolderResults, study: Path, tmp_path: Path, langneurons: Any) -> None:
    """The page and its files; the same bytes when it is made again, without a word of progress."""
    home = study / "models" / "small" / "base" / "school"
    out = tmp_path / "page.html"
    done = langneurons("report", home, "--out", out, "--title", "<i>School</i>")
    assert done.status == 0, done.err
    files = sorted(path for path in (tmp_path / "page").rglob("*") if path.name != "manifest.json")
    megabytes = out.stat().st_size / 1e6
    assert done.out == (
        f"wrote {out} ({megabytes:.1f} MB, opens offline) and {len(files)} files in "
        f"{tmp_path / 'page'}\n"
    )
    html = out.read_bytes()
    assert b"&lt;i&gt;School&lt;/i&gt;" in html
    made = artifacts.read(tmp_path / "page", "report")
    assert made.manifest["command"] == "report"
    assert made.manifest["inputs"] == school.inputs
    again = langneurons(
        "report", home, "--out", out, "--title", "<i>School</i>", "--json", "--quiet"
    )
    assert again.err == ""
    assert again.json["page"] == str(out)
    assert again.json["files"] == str(tmp_path / "page")
    assert again.json["figures"][:2] == ["layers", "shared-by"]
    assert out.read_bytes() == html
    assert artifacts.read(tmp_path / "page").manifest["files"] == made.manifest["files"]


def test_something_else_is_not_replaced(tmp_path: Path, langneurons: Any) -> None:
    neurons_at([(0, 1, "en"), (1, 3, "en zh")]).save(tmp_path / "neurons")
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "mine.txt").write_text("mine", "utf-8")
    done = langneurons("report", tmp_path / "neurons", "--out", tmp_path / "page.html")
    assert done.status == 2
    assert "exists and is no result of langneurons" in done.err
    assert not (tmp_path / "page.html").exists()
    assert json.dumps(sorted(p.name for p in tmp_path.iterdir())) == '["neurons", "page"]'
