"""Report: every figure and table of a set of neurons, and the files they are written to."""

from typing import Any, NamedTuple

from langneurons.errors import MissingExtraError
from langneurons.figures import (
    LIGHT,
    Figure,
    card_figure,
    lambda_figure,
    language_figure,
    layer_figure,
    shared_figure,
    typical,
)
from langneurons.neurons import Neurons
from langneurons.summary import stages
from langneurons.tables import Table, english, stage_table

STAGES = (3, 4, 5)
"""Numbers of stages that are reported; 4 is the paper's and is drawn."""


class Report(NamedTuple):
    """What a report is made of.

    Attributes:
        figures: in the order of the page.
        tables: those without a figure.
    """

    figures: tuple[Figure, ...]
    tables: tuple[Table, ...]


def build(neurons: Neurons) -> Report:
    """Every figure and table of one set of neurons. What its data cannot support (scores of an import) is left out."""
    cuts = {n: cut for n in STAGES if (cut := stages(neurons, n))}
    first = typical(neurons) if neurons.rule.tau is not None else None
    figures = (
        layer_figure(neurons, cuts.get(4)),
        shared_figure(neurons),
        language_figure(neurons),
        lambda_figure(neurons),
        None if first is None else card_figure(neurons, first),
    )
    tables = (stage_table(cuts), english(neurons))
    return Report(tuple(f for f in figures if f), tuple(t for t in tables if t))


def figure_files(report: Report) -> dict[str, bytes]:
    """Each figure as SVG and PNG, each table as CSV and LaTeX: file name -> content."""
    vl = vl_convert()
    out = {}
    for figure in report.figures:
        out[f"{figure.name}.svg"] = vl.vegalite_to_svg(figure.spec, config=LIGHT).encode()
        out[f"{figure.name}.png"] = vl.vegalite_to_png(figure.spec, config=LIGHT, scale=2)
    for table in (*(figure.table for figure in report.figures), *report.tables):
        out[f"{table.name}.csv"] = table.to_csv().encode()
        out[f"{table.name}.tex"] = table.to_latex().encode()
    return out


def vl_convert() -> Any:
    """The library that draws without a browser, imported when first needed.

    Raises:
        MissingExtraError: when it is not installed.
    """
    try:
        import vl_convert as library
    except ImportError:
        raise MissingExtraError(
            "vl-convert-python is not installed; the report needs: pip install 'langneurons[report]'"
        ) from None
    return library
