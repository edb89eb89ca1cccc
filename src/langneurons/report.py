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
from langneurons.heatmaps import change_spec, change_table, dominance_table, z_spec, z_table
from langneurons.losses import Losses
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


def build(neurons: Neurons, losses: Losses | None = None) -> Report:
    """Every figure and table of one set of neurons. What its data cannot support (scores of an import) is left out.

    Args:
        neurons: the classified neurons.
        losses: what silencing them costs, where it was measured.
    """
    cuts = {n: cut for n in STAGES if (cut := stages(neurons, n))}
    first = typical(neurons) if neurons.rule.tau is not None else None
    silenced = silencing_figures(losses) if losses else ()
    figures = (
        *silenced,
        layer_figure(neurons, cuts.get(4)),
        shared_figure(neurons),
        language_figure(neurons),
        lambda_figure(neurons),
        None if first is None else card_figure(neurons, first),
    )
    tables = (dominance_table(losses) if losses else None, stage_table(cuts), english(neurons))
    return Report(tuple(f for f in figures if f), tuple(t for t in tables if t))


def silencing_figures(losses: Losses) -> tuple[Figure, ...]:
    """The matrix of changes by silencing, and how unusual each is among random sets."""
    table, z = change_table(losses), z_spec(losses)
    text = (
        "Change in perplexity of each language (columns) when the neurons of one (rows) are silenced. Hover for "
        "intervals; a dash: the language has no such neurons."
    )
    figures = [Figure("perplexity", "What silencing costs", text, change_spec(losses), table)]
    if z:
        text = (
            f"How many standard deviations each change lies above those of {losses.controls} random sets of as many "
            "neurons in the same layers, in changes of log perplexity. Colours end at 10."
        )
        figures.append(Figure("perplexity-z", "Against random neurons", text, z, z_table(losses)))
    return tuple(figures)


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
