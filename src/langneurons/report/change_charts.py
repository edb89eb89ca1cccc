"""Change charts: what changed, drawn from the tables of a comparison.

Bars are changes by own thresholds, with intervals; a diamond is the same change by the base's
thresholds.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from langneurons.neurons.table import KINDS, kind_of
from langneurons.report.charts import (
    BAR,
    CELL_INK,
    DRAWN,
    GENERAL,
    NONE,
    PAPER_INK,
    RELATED,
    SPECIFIC,
    WIDTH,
    Figure,
    Spec,
    coloured,
    diverging,
    enc,
    kind_colour,
    layered,
    mark,
    tips,
    top_legend,
    view,
    whiskers,
)
from langneurons.tables import Table

_MARKS = (
    "Bars: each model by its own thresholds, with 95% intervals. Diamonds: both by those before."
)
_MOVED = {"before": ",.4~g", "now": ",.4~g", "change": "+,.4~g", "low": "+,.4~g", "high": "+,.4~g"}
_SHARES = {"before": ".1%", "now": ".1%", "change": "+.1%", "low": "+.1%", "high": "+.1%"}

_DIAMOND = {
    "shape": "diamond",
    "size": 40,
    "fill": "white",
    "stroke": PAPER_INK,
    "opacity": 1,
}

_NEARER = {"all": GENERAL, "trained with English": SPECIFIC, "others with English": RELATED}
"""Languages whose nearness is drawn."""

_TICK: Spec = {"size": 12, "thickness": 2, "color": PAPER_INK}
"""The end of a bar, so that a change of nothing is seen too."""

_GROUPS = {"trained": SPECIFIC, "other": RELATED, "mean": NONE}


def change_figures(tables: Mapping[str, Table]) -> tuple[Figure, ...]:
    """Every figure the tables allow, of the last `after` they hold.

    The one over checkpoints is there where the tables hold several.

    Args:
        tables: by name, as `compare.tables` makes them.
    """
    makers: tuple[tuple[str, Callable[[Table], Figure | None]], ...] = (
        ("shared-changes", shared_change_figure),
        ("layer-changes", layer_change_figure),
        ("layer-changes", checkpoint_figure),
        ("agreement-changes", agreement_change_figure),
        ("group-changes", group_figure),
        ("transitions", transition_figure),
        ("accuracy-changes", accuracy_change_figure),
    )
    made = (make(tables[name]) for name, make in makers if name in tables and tables[name].rows)
    return tuple(figure for figure in made if figure)


def shared_change_figure(table: Table) -> Figure:
    """Neurons shared by N languages: before, after, and the change (Fig. 5 and 10 of the paper)."""
    shown, views = _last(table), []
    k = max(row["N"] for row in shown.records())
    kinds = kind_of(np.arange(k + 1), k).tolist()  # of comparisons that do not say them themselves
    for among, title, least in (
        ("selected", "among the selected", 0),
        ("all", "over all neurons, N from 1 up", 1),
    ):
        rows = [
            {"kind": kinds[row["N"]], **row}
            for row in shown.records()
            if row["neurons of"] == among and row["now"] is not None and row["N"] >= least
        ]
        if rows:
            views += _before_and_change(rows, title)
    return Figure(
        name="shared-changes",
        title="Neurons shared by N languages, before and after",
        text=f"In how many languages neurons are highly active, before and after. {_MARKS}",
        spec={"vconcat": views, "spacing": 10},
        table=shown,
    )


def _before_and_change(rows: Sequence[Spec], title: str) -> list[Spec]:
    """Numbers by N before and after, and below them what changed."""
    both = [
        {"N": row["N"], "model": model, "kind": row["kind"], "neurons": row[column]}
        for row in rows
        if row["thresholds"] == "own"
        for model, column in (("before", "before"), ("after", "now"))
    ]
    pale = {"domain": ["before", "after"], "range": [0.45, 1]}
    bars = {
        "x": enc("N:O", title=None),
        "xOffset": enc("model:N", sort=["before", "after"]),
        "y": enc("neurons:Q", title="neurons"),
        "color": kind_colour(),
        "opacity": enc("model:O", scale=pale, legend=None),
        "tooltip": tips("N:O", "model:N", neurons=","),
    }
    size = {"width": WIDTH, "height": 130}
    n = enc("N:O", title="N, languages in which a neuron is highly active")
    return [
        view(both, "bar", bars, title=f"before (pale) and after, {title}", **size),
        _bars(rows, n, "N:O") | {"title": f"change, {title}", **size},
    ]


def layer_change_figure(table: Table) -> Figure:
    """Change of each kind per layer (Fig. 4 and 11 of the paper)."""
    shown = _last(table)
    panels = []
    for kind in DRAWN:
        rows = [row for row in shown.records() if row["kind"] == kind]
        lowest = kind == DRAWN[-1]
        axis = {
            "title": "layer" if lowest else None,
            "labels": lowest,
            "ticks": lowest,
            "labelOverlap": True,
        }
        bars = _bars(rows, enc("layer:O", axis=axis), "layer:O", title=kind)
        panels.append(bars | {"width": WIDTH, "height": 110})
    return Figure(
        name="layer-changes",
        title="Change by layer",
        text=f"Change in the number of neurons of each kind per layer. {_MARKS}",
        spec={"vconcat": panels, "spacing": 8},
        table=shown,
    )


def checkpoint_figure(table: Table) -> Figure | None:
    """Change of each kind per layer over checkpoints (Fig. 12 to 14); None with a single one."""
    order = list(dict.fromkeys(row["after"] for row in table.records()))
    if len(order) < 2:
        return None
    thresholds = table.columns.index("thresholds")
    own = table._replace(
        name="checkpoints", rows=tuple(row for row in table.rows if row[thresholds] == "own")
    )
    panels = []
    for kind in DRAWN:
        rows = [row for row in own.records() if row["kind"] == kind]
        limit = max(abs(row["change"]) for row in rows) or 1
        lowest = kind == DRAWN[-1]
        cells = {
            "x": enc(
                "layer:O",
                title="layer" if lowest else None,
                axis={"labels": lowest, "labelOverlap": True},
            ),
            "y": enc("after:N", sort=order, title=None),
            "color": enc(
                "change:Q",
                title="change",
                scale=diverging(limit),
                legend={"gradientLength": 60, "tickCount": 3},
            ),
            "tooltip": tips("after:N", "layer:O", "thresholds:N", **_MOVED),
        }
        size = {"width": WIDTH - 120, "height": {"step": 18}}
        panels.append(view(rows, "rect", cells, title=kind, **size))
    return Figure(
        name="checkpoints",
        title="Change by layer over checkpoints",
        text="Change in the number of neurons of each kind per layer, for each model, by its own "
        "thresholds.",
        spec={
            "vconcat": panels,
            "spacing": 10,
            "resolve": {"scale": {"color": "independent"}},
        },
        table=own,
    )


def agreement_change_figure(table: Table) -> Figure:
    """Change of agreement by layer: of all languages, of English with trained and with others."""
    shown = _last(table)
    rows = [
        row
        for row in shown.records()
        if row["share"] == "agreement"
        and row["languages"] in _NEARER
        and row["first layer"] == row["last layer"]
        and row["change"] is not None
    ]
    change = {
        "x": enc("last layer:O", title="layer", axis={"labelOverlap": True}),
        "y": enc("change:Q", title="change", axis={"tickCount": 5}),
        "tooltip": tips(
            "last layer:O", before=".3f", now=".3f", change="+.3f", low="+.3f", high="+.3f"
        ),
    }
    panels = []
    for name in dict.fromkeys(row["languages"] for row in rows):
        of_group = [row for row in rows if row["languages"] == name]
        marks = [mark("bar", change, color=_NEARER[name])]
        if any(row["low"] is not None for row in of_group):
            marks.append(whiskers("y", {"x": change["x"]}))
        title = "all languages" if name == "all" else name
        panels.append(layered(of_group, *marks, width=WIDTH, height=110, title=title))
    return Figure(
        name="agreement-changes",
        title="Do languages come nearer to each other?",
        text="Change of agreement by layer, with 95% intervals over blocks: how much of what is "
        "not the language's in the rates of all neurons is the question's, whatever its language.",
        spec={"vconcat": panels, "spacing": 8, "resolve": {"scale": {"y": "shared"}}},
        table=shown,
    )


def group_figure(table: Table) -> Figure:
    """Mean change per language, trained languages against the others (Table 2 of the paper)."""
    shown = _last(table)
    names = dict.fromkeys(row["languages"] for row in shown.records())
    kind = enc("kind:N", sort=["specific", "related"], title=None)
    panels = []
    for name in names:
        rows = [row for row in shown.records() if row["languages"] == name]
        size = {"width": WIDTH / 2 - 60, "height": 170}
        panels.append(_bars(rows, kind, "kind:N") | {"title": name, **size})
    return Figure(
        name="group-changes",
        title="Trained and other languages",
        text=f"Mean change in neurons per language. {_MARKS}",
        spec={
            "hconcat": panels,
            "spacing": 24,
            "resolve": {"scale": {"y": "shared"}},
        },
        table=shown,
    )


def transition_figure(table: Table) -> Figure:
    """What became of the neurons of each class, as a share of those before."""
    shown = _last(table)
    panels: list[Spec] = []
    for thresholds in dict.fromkeys(row["thresholds"] for row in shown.records()):
        rows = [row for row in shown.records() if row["thresholds"] == thresholds]
        panels.append(_transitions(rows, f"thresholds: {thresholds}", first=not panels))
    return Figure(
        name="transitions",
        title="What became of them",
        text="What the neurons of each class before (rows) are after (columns): numbers, shaded "
        "by share of the row.",
        spec={"hconcat": panels},
        table=shown,
    )


def _transitions(records: Sequence[Spec], title: str, *, first: bool) -> Spec:
    """Classes before against classes after; only the first panel names the rows."""
    rows = [row | {"share": row["share"] or 0, "label": f"{row['neurons']:,}"} for row in records]
    order = [*KINDS, "not listed"]
    above = {"orient": "top", "domain": False, "ticks": False}
    shared = {
        "x": enc("now:N", sort=order, title="after", axis=above),
        "y": enc("before:N", sort=order, title="before" if first else None),
    }
    cells = {
        "color": enc(
            "share:Q",
            title="share of those before",
            scale={"scheme": "blues", "domain": [0, 1]},
            legend={"orient": "bottom", "format": ".0%", "gradientLength": 200},
        ),
        "tooltip": tips("before:N", "now:N", neurons=",", low=",.1f", high=",.1f", share=".1%"),
    }
    ink = {"condition": {"test": "datum.share > 0.55", "value": "white"}, "value": CELL_INK}
    return layered(
        rows,
        mark("rect", cells),
        mark("text", {"text": enc("label:N"), "color": ink}, fontSize=10),
        shared=shared,
        width=270,
        height={"step": 28},
        title=title,
    )


def accuracy_change_figure(table: Table) -> Figure:
    """Change in accuracy per language with intervals (Tables 1 and 5 of the paper)."""
    shown = _last(table)
    rows = [row | {"group": _group(row)} for row in shown.records()]
    bars = {
        "x": enc("change:Q", title="change in accuracy", axis={"format": "+.0%"}),
        "color": enc("group:N", scale=coloured(_GROUPS), legend=top_legend()),
        "tooltip": tips("name:N", **_SHARES, p=".2g"),
    }
    spec = layered(
        rows,
        mark("bar", bars, opacity=BAR),
        mark("tick", {"x": enc("change:Q"), "tooltip": bars["tooltip"]}, **_TICK),
        whiskers("x"),
        shared={"y": enc("name:N", sort=[row["name"] for row in rows], title=None)},
        width=WIDTH - 120,
        height={"step": 22},
    )
    return Figure(
        name="accuracy-changes",
        title="Accuracy, before and after",
        text="Change in the share of right answers to the same questions, with 95% intervals "
        "over questions.",
        spec=spec,
        table=shown,
    )


def _group(row: Spec) -> str:
    if row["language"] == "mean":
        return "mean"
    return "trained" if row["trained"] == "yes" else "other"


def _last(table: Table) -> Table:
    """The rows of the last `after`."""
    after = table.columns.index("after")
    last = table.rows[-1][after]
    return table._replace(rows=tuple(row for row in table.rows if row[after] == last))


def _bars(rows: Sequence[Spec], x: Spec, place: str, *, title: str = "change") -> Spec:
    """Changes as bars with intervals, those by the base's thresholds as diamonds."""
    own = [row for row in rows if row["thresholds"] == "own"]
    by_the_base = [row for row in rows if row["thresholds"] != "own"]
    change = {
        "y": enc("change:Q", title=title, stack=None, axis={"tickCount": 5}),
        "tooltip": tips(place, "thresholds:N", **_MOVED),
    }
    marks = [mark("bar", change | {"color": kind_colour()}, opacity=BAR)]
    if any(row["low"] is not None for row in own):
        marks.append(whiskers("y"))
    if by_the_base:
        marks.append(mark("point", change, rows=by_the_base, **_DIAMOND))
    return layered(own, *marks, shared={"x": x})
