"""Charts: a figure, and the dialect its Vega-Lite specification is written in.

A specification is a plain dictionary, the same for the page, for SVG and for PNG. It is put
together from fields (`enc`), what is shown on hover (`tips`), marks (`mark`) and views (`view`,
`layered`). Colours come from the theme (`LIGHT`, or the page's own), by kind, in an order that
stays apart for colour-blind readers (Okabe and Ito's set).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from langneurons.errors import MissingExtraError
from langneurons.neurons.table import KINDS
from langneurons.report import drawing
from langneurons.tables import Table

Spec = dict[str, Any]
"""A Vega-Lite specification, or a part of one."""

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
NOTEBOOK = "application/vnd.vegalite.v6+json"
"""What a specification is written in, and what a notebook calls it."""

ENDS = {"low": ",.1f", "high": ",.1f"}
"""How the ends of an interval of counts stand in tooltips."""

WIDTH = 640
"""Width of a figure in pixels, where nothing else sets it."""

SPECIFIC, RELATED, GENERAL, NONE = "#cf5a22", "#15508a", "#2a9d7c", "#9a9a96"
"""Colours of the kinds of neurons, of another lightness each, so that grey print tells them apart;
the page's scripts put its style sheet's in their place."""

PAPER_INK, CELL_INK = "#3d3d3a", "#1c1c1a"
"""Colours of what is written beside a chart, and in its cells."""

LIGHT: Spec = {
    "background": "white",
    "font": "Helvetica, Arial, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "gridColor": "#e7e7e4",
        "domainColor": "#8a8a86",
        "tickColor": "#8a8a86",
        "labelColor": PAPER_INK,
        "titleColor": PAPER_INK,
        "titleFontWeight": "normal",
        "labelFontSize": 11,
        "titleFontSize": 12,
    },
    "legend": {
        "labelColor": PAPER_INK,
        "titleColor": PAPER_INK,
        "labelFontSize": 12,
        "title": None,
    },
    "title": {"color": PAPER_INK, "fontSize": 12, "fontWeight": "normal", "anchor": "start"},
    "text": {"color": PAPER_INK},
    "rule": {"color": PAPER_INK},
    "axisXDiscrete": {"labelAngle": 0},
    "range": {"category": [SPECIFIC, RELATED, GENERAL, NONE]},
}
"""Theme of figures on paper: colours of specific, related, general and none, in this order."""

BAR = 0.8
"""How opaque bars are that an interval is drawn over."""

DASH = [4, 3]
"""Dashes of lines that mark a value."""

DRAWN = ("specific", "related", "general")
"""Kinds of neurons that have a panel of their own."""

_TYPES = {"Q": "quantitative", "N": "nominal", "O": "ordinal"}


class Figure(NamedTuple):
    """One figure of the report. A notebook shows it as the chart, or the table, that it is.

    Attributes:
        name: short name, used for files and anchors.
        title: what it is.
        text: how to read it, one or two sentences.
        spec: the Vega-Lite specification; None where the numbers alone are shown.
        table: its numbers.
    """

    name: str
    title: str
    text: str
    spec: Spec | None
    table: Table

    def to_svg(self) -> str:
        """The chart as SVG, on paper.

        Raises:
            ValueError: when it is a table alone.
            MissingExtraError: when what draws it is not installed.
        """
        if self.spec is None:
            raise ValueError(f"{self.name} is a table alone; its numbers are in `table`")
        return drawing.svg(self.spec, LIGHT)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """What a notebook shows: the chart, as Vega-Lite and as an image, or the table."""
        words = {"text/plain": f"{self.title}. {self.text}"}
        if self.spec is None:
            from langneurons.report.markup import table_alone

            return words | {"text/html": table_alone(self.table)}
        shown = words | {NOTEBOOK: {"$schema": SCHEMA, "config": LIGHT, **self.spec}}
        try:
            return shown | {"image/svg+xml": self.to_svg()}
        except MissingExtraError:
            return shown


def table_figure(title: str, table: Table, *, name: str | None = None) -> Figure:
    """A table alone, read as its caption says."""
    return Figure(name=name or table.name, title=title, text=table.caption, spec=None, table=table)


def enc(shorthand: str, **more: Any) -> Spec:
    """How a field is shown: `neurons:Q` is `neurons` as a quantity; N nominal, O ordinal."""
    name, _, kind = shorthand.rpartition(":")
    return {"field": name, "type": _TYPES[kind], **more}


def tips(*shown: str, **formats: str) -> list[Spec]:
    """What is shown on hover: fields as they are, then quantities by name, in formats of d3."""
    return [*map(enc, shown), *(enc(f"{name}:Q", format=form) for name, form in formats.items())]


def mark(kind: str, encoding: Spec, *, rows: Sequence[Spec] | None = None, **look: Any) -> Spec:
    """A mark and what its places, colours and texts stand for, of its own rows if it has any."""
    own = {} if rows is None else {"data": {"values": list(rows)}}
    return own | {"mark": {"type": kind, **look}, "encoding": encoding}


def whiskers(axis: str, encoding: Spec | None = None, **look: Any) -> Spec:
    """Intervals from the field `low` to the field `high`, along x or y."""
    ends = {axis: enc("low:Q"), f"{axis}2": {"field": "high"}}
    return mark("rule", ends | (encoding or {}), **look)


def view(rows: Sequence[Spec], kind: str, encoding: Spec, **more: Any) -> Spec:
    """A chart of one mark."""
    return {"data": {"values": list(rows)}, "mark": kind, "encoding": encoding, **more}


def layered(rows: Sequence[Spec], *marks: Spec, shared: Spec | None = None, **more: Any) -> Spec:
    """Marks over each other, of the same rows unless they have their own, with what they share."""
    return {"data": {"values": list(rows)}, "encoding": shared or {}, "layer": list(marks), **more}


def kind_colour(legend: Spec | None = None) -> Spec:
    """The colour of a kind of neuron."""
    return enc("kind:N", scale={"domain": list(KINDS)}, legend=legend)


def top_legend(values: Sequence[str] | None = None) -> Spec:
    """A legend above the chart, without a title."""
    return {"orient": "top", "title": None} | ({"values": list(values)} if values else {})


def coloured(colours: Mapping[str, str]) -> Spec:
    """A scale that gives each of these values its colour."""
    return {"domain": list(colours), "range": list(colours.values())}


def diverging(limit: float, **more: Any) -> Spec:
    """A scale of colours from minus to plus this limit, whose middle is no change."""
    return {"scheme": "blueorange", "domain": [-limit, limit], "domainMid": 0, **more}
