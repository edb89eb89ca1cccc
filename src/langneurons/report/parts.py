"""Report: what a page is made of, the figures and tables of one model's neurons, and the files they are written to."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from langneurons.align.pairs import Pair
from langneurons.compare.verdicts import Claim
from langneurons.errors import MissingExtraError
from langneurons.neurons.summary import Tile, stages
from langneurons.neurons.table import Neurons
from langneurons.neurons.tables import english, stage_table
from langneurons.report.neuron_charts import (
    LIGHT,
    Figure,
    card_figure,
    lambda_figure,
    language_figure,
    layer_figure,
    shared_figure,
    typical,
)
from langneurons.report.silencing_charts import (
    change_spec,
    change_table,
    dominance_table,
    z_spec,
    z_table,
)
from langneurons.silencing.losses import Losses

STAGES = (3, 4, 5)
"""Numbers of stages that are reported; 4 is the paper's and is drawn."""

Where = Mapping[str, str]
"""What a part of a page is about, as model, questions, alignment. It is shown while these are
chosen; empty: always."""


class Panel(NamedTuple):
    """A figure, or a table alone, and what it is about."""

    figure: Figure
    where: Where


class Preview(NamedTuple):
    """Some pairs that were trained on, to be read, and what they are about."""

    pairs: tuple[Pair, ...]
    where: Where


class Note(NamedTuple):
    """How numbers were computed, in sentences, and what they are about."""

    lines: tuple[str, ...]
    where: Where


class Tiles(NamedTuple):
    """The numbers that matter most, and what they are about."""

    tiles: tuple[Tile, ...]
    where: Where


class Judged(NamedTuple):
    """Claims with verdicts, and what they are about."""

    claims: tuple[Claim, ...]
    where: Where


class Explored(NamedTuple):
    """Neurons to look through, one by one, what silencing costs where it was measured, and what they are about."""

    neurons: Neurons
    losses: Losses | None
    where: Where


class Chapter(NamedTuple):
    """A stage of the flow on the page.

    Attributes:
        name: short name, used for the anchor.
        title: its heading.
        text: what it is about, one or two sentences.
        panels: its figures and tables, in order.
        previews: pairs to be read, after those.
        notes: how its numbers were computed.
    """

    name: str
    title: str
    text: str
    panels: tuple[Panel, ...]
    previews: tuple[Preview, ...] = ()
    notes: tuple[Note, ...] = ()


class Provenance(NamedTuple):
    """Where a result came from.

    Attributes:
        name: folder of the result, from that of the run.
        manifest: its manifest.
    """

    name: str
    manifest: Mapping[str, Any]


class Page(NamedTuple):
    """A page, before it is HTML.

    Attributes:
        title: its heading.
        subtitle: what it is of, in a line.
        studied: what was studied: term and words.
        choices: what can be chosen, as model, questions, alignment: its values, the first chosen
            first.
        tiles: the numbers that matter most.
        judged: the claims.
        chapters: in the order of the flow.
        explored: neurons to look through; those beyond a limit on the page's size are only named.
        provenance: every result it stands on.
        settings: settings of the study; empty without one.
    """

    title: str
    subtitle: str
    studied: tuple[tuple[str, str], ...]
    choices: Mapping[str, Sequence[str]]
    tiles: tuple[Tiles, ...]
    judged: tuple[Judged, ...]
    chapters: tuple[Chapter, ...]
    explored: tuple[Explored, ...]
    provenance: tuple[Provenance, ...]
    settings: Mapping[str, Any]

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """Every figure and table, with a path for its files that no other has."""
        parts = [panel for chapter in self.chapters for panel in chapter.panels]
        for one in self.explored:
            if card := first_card(one.neurons):
                parts.append(Panel(card, one.where))
        for figure, where in parts:
            place = "-".join(re.sub(r"[^\w.-]", "_", value) for value in where.values())
            yield (f"{place}/" if place else "") + figure.name, figure


def neuron_figures(neurons: Neurons) -> tuple[Figure, ...]:
    """Every figure and table of one set of neurons. What its data cannot support (scores of an import) is left out."""
    cuts = {n: cut for n in STAGES if (cut := stages(neurons, n))}
    contrast, table = english(neurons), stage_table(cuts)
    made = (
        layer_figure(neurons, cuts.get(4)),
        shared_figure(neurons),
        language_figure(neurons),
        lambda_figure(neurons),
        Figure("stages", "Stages of the layers", table.caption, None, table) if cuts else None,
        Figure("english", "English and the others", contrast.caption, None, contrast)
        if contrast
        else None,
    )
    return tuple(figure for figure in made if figure)


def silencing_figures(losses: Losses) -> tuple[Figure, ...]:
    """The matrix of changes by silencing, how unusual each is among random sets, and the test of the diagonal."""
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
    test = dominance_table(losses)
    figures.append(Figure("dominance", "Is the diagonal hurt most?", test.caption, None, test))
    return tuple(figures)


def first_card(neurons: Neurons) -> Figure | None:
    """The card of the neuron that is shown first; None where there are no probabilities to show."""
    row = typical(neurons) if neurons.rule.tau is not None else None
    return None if row is None else card_figure(neurons, row)


def figure_files(page: Page) -> dict[str, bytes]:
    """Each figure as SVG and PNG, each table as CSV and LaTeX: file name -> content."""
    vl = vl_convert()
    out = {}
    for path, figure in page.figures():
        if figure.spec:
            svg = _numbered_anew(vl.vegalite_to_svg(figure.spec, config=LIGHT))
            out[f"{path}.svg"], out[f"{path}.png"] = svg.encode(), vl.svg_to_png(svg, scale=2)
        out[f"{path}.csv"] = figure.table.to_csv().encode()
        out[f"{path}.tex"] = figure.table.to_latex().encode()
    return out


def _numbered_anew(svg: str) -> str:
    """The same image with its gradients and clips numbered from 0: Vega numbers them over the life of the process."""
    names = list(dict.fromkeys(re.findall(r'id="((?:gradient_|clip)\d+)"', svg)))
    place = {name: re.sub(r"\d+", str(i), name) for i, name in enumerate(names)}
    return re.sub(r"\b(?:gradient_|clip)\d+\b", lambda found: place.get(found[0], found[0]), svg)


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
