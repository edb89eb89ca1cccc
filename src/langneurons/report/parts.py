"""Parts: what a page is made of, as values."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from langneurons.align.pairs import Pair
from langneurons.compare.verdicts import Claim
from langneurons.neurons.effects import Effects
from langneurons.neurons.summary import Tile
from langneurons.neurons.table import Neurons
from langneurons.report.charts import Figure
from langneurons.report.figures import first_card
from langneurons.silencing.matrix import Matrices

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
    """Sentences, as what was found or how numbers were computed, and what they are about."""

    lines: tuple[str, ...]
    where: Where


class Tiles(NamedTuple):
    """The numbers that matter most, and what they are about."""

    tiles: tuple[Tile, ...]
    where: Where


class Judged(NamedTuple):
    """Claims with verdicts, and what they are about.

    Attributes:
        claims: the claims.
        where: what they are about.
        notes: what they were judged by, where that is not as in the paper.
    """

    claims: tuple[Claim, ...]
    where: Where
    notes: tuple[str, ...] = ()


class Explored(NamedTuple):
    """Neurons to look through one by one, what silencing them costs, and what they are about.

    Attributes:
        neurons: the neurons.
        matrices: what silencing sets of them costs.
        where: what they are about.
        effects: what silencing each of them would cost.
    """

    neurons: Neurons
    matrices: Matrices | None
    where: Where
    effects: Effects | None = None


class Chapter(NamedTuple):
    """A stage of the flow on the page.

    Attributes:
        name: short name, used for the anchor.
        title: its heading.
        text: what it is about, one or two sentences.
        panels: its figures and tables, in order.
        previews: pairs to be read, after those.
        findings: what was found, told first.
        notes: how its numbers were computed.
    """

    name: str
    title: str
    text: str
    panels: tuple[Panel, ...]
    previews: tuple[Preview, ...] = ()
    findings: tuple[Note, ...] = ()
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
        panels = [panel for chapter in self.chapters for panel in chapter.panels]
        for explored in self.explored:
            if card := first_card(explored.neurons):
                panels.append(Panel(card, explored.where))
        for figure, where in panels:
            place = "-".join(re.sub(r"[^\w.-]", "_", value) for value in where.values())
            yield (f"{place}/" if place else "") + figure.name, figure
