"""Files: every figure and table of a page, as the files that lie beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from langneurons import artifacts
from langneurons.report import drawing
from langneurons.report.parts import Page
from langneurons.resume import Progress


@dataclass(frozen=True)
class FigureFiles:
    """Each figure as SVG and PNG, each table as CSV and LaTeX.

    Attributes:
        files: name of the file, in a folder of its own where the page has choices -> content.
    """

    KIND: ClassVar[str] = "report"

    files: Mapping[str, bytes]

    def write(self, draft: artifacts.Draft) -> None:
        """Add them to a folder that is being written."""
        for name, content in self.files.items():
            draft.bytes(name, content)

    def save(self, folder: Path | str) -> None:
        """Write them into a folder of their own; see `artifacts.save`."""
        artifacts.save(self, folder)

    @classmethod
    def load(cls, source: Path | str | artifacts.Artifact) -> "FigureFiles":
        """Those in a finished folder.

        Raises:
            InputError: when there is none, or it holds something else.
            FormatError: when a file is damaged.
        """
        folder = artifacts.opened(source, cls.KIND)
        return cls({name: folder.file(name).read_bytes() for name in folder.manifest["files"]})


def figure_files(page: Page, on_step: Progress | None = None) -> FigureFiles:
    """Every figure and table of a page, drawn and written.

    Args:
        page: the page.
        on_step: called with the number of figures done and of all.
    """
    files: dict[str, bytes] = {}
    figures = list(page.figures())
    for done, (path, figure) in enumerate(figures, 1):
        if figure.spec:
            svg = figure.to_svg()
            files[f"{path}.svg"] = svg.encode()
            files[f"{path}.png"] = drawing.png(svg)
        files[f"{path}.csv"] = figure.table.to_csv().encode()
        files[f"{path}.tex"] = figure.table.to_latex().encode()
        if on_step:
            on_step(done, len(figures))
    return FigureFiles(files)
