"""Change figures: what changed, as Vega-Lite charts in the style of `figures`, drawn from the tables of `changetables`.

Bars are changes by own thresholds, with intervals; a diamond is the same change by the base's
thresholds.
"""

from collections.abc import Mapping, Sequence

from langneurons.neurons.table import KINDS
from langneurons.report.neuron_charts import (
    WIDTH,
    Figure,
    Spec,
    enc,
    kind_colour,
    layered,
    tips,
    top_legend,
)
from langneurons.tables import Table

_MARKS = (
    "Bars: each model by its own thresholds, with 95% intervals. Diamonds: both by those before."
)
_MOVED = {"before": ",.4~g", "now": ",.4~g", "change": "+,.4~g", "low": "+,.4~g", "high": "+,.4~g"}


def change_figures(tables: Mapping[str, Table]) -> tuple[Figure, ...]:
    """Every figure the tables allow, of the last `after` they hold; the one over checkpoints where there are several.

    Args:
        tables: by name, as `changetables.tables` and `accuracy_table` give them.
    """
    makers = (
        ("shared-changes", shared_change_figure),
        ("layer-changes", layer_change_figure),
        ("layer-changes", checkpoint_figure),
        ("group-changes", group_figure),
        ("transitions", transition_figure),
        ("accuracy-changes", accuracy_figure),
    )
    made = (make(tables[name]) for name, make in makers if name in tables and tables[name].rows)
    return tuple(figure for figure in made if figure)


def shared_change_figure(table: Table) -> Figure:
    """Neurons shared by N languages: before, after, and the change (Fig. 5 and 10 of the paper)."""
    shown = _last(table)
    k = max(row["N"] for row in shown.records())
    kinds = ["none", "specific", *["related"] * (k - 2), "general"]
    views = []
    for where, title in (
        ("selected", "among the selected"),
        ("all", "over all neurons, N from 1 up"),
    ):
        rows = [
            row | {"kind": kinds[row["N"]]}
            for row in shown.records()
            if row["neurons of"] == where
            and row["now"] is not None
            and (where == "selected" or row["N"])
        ]
        if not rows:
            continue
        both = [
            {"N": row["N"], "model": model, "kind": row["kind"], "neurons": row[column]}
            for row in rows
            if row["thresholds"] == "own"
            for model, column in (("before", "before"), ("after", "now"))
        ]
        pale = {"domain": ["before", "after"], "range": [0.45, 1]}
        sizes = {
            "x": enc("N:O", title=None),
            "xOffset": enc("model:N", sort=["before", "after"]),
            "y": enc("neurons:Q", title="neurons"),
            "color": kind_colour(),
            "opacity": enc("model:O", scale=pale, legend=None),
            "tooltip": tips("N:O", "model:N", neurons=","),
        }
        view = {
            "data": {"values": both},
            "mark": "bar",
            "encoding": sizes,
            "width": WIDTH,
            "height": 130,
        }
        views.append(view | {"title": f"before (pale) and after, {title}"})
        x = enc("N:O", title="N, languages in which a neuron is highly active")
        views.append(
            _bars(rows, x, "N:O") | {"width": WIDTH, "height": 130, "title": f"change, {title}"}
        )
    text = f"In how many languages neurons are highly active, before and after. {_MARKS}"
    spec = {"vconcat": views, "spacing": 10}
    return Figure(
        "shared-changes", "Neurons shared by N languages, before and after", text, spec, shown
    )


def layer_change_figure(table: Table) -> Figure:
    """Change of each kind per layer (Fig. 4 and 11 of the paper)."""
    shown = _last(table)
    panels = []
    for kind in ("specific", "related", "general"):
        rows = [row for row in shown.records() if row["kind"] == kind]
        last = kind == "general"
        axis = {
            "title": "layer" if last else None,
            "labels": last,
            "ticks": last,
            "labelOverlap": True,
        }
        panels.append(
            _bars(rows, enc("layer:O", axis=axis), "layer:O", title=kind)
            | {"width": WIDTH, "height": 110}
        )
    text = f"Change in the number of neurons of each kind per layer. {_MARKS}"
    return Figure(
        "layer-changes", "Change by layer", text, {"vconcat": panels, "spacing": 8}, shown
    )


def checkpoint_figure(table: Table) -> Figure | None:
    """Change of each kind per layer over checkpoints (Fig. 12 to 14 of the paper); None with a single one."""
    order = list(dict.fromkeys(row["after"] for row in table.records()))
    if len(order) < 2:
        return None
    panels = []
    for kind in ("specific", "related", "general"):
        rows = [
            row for row in table.records() if row["kind"] == kind and row["thresholds"] == "own"
        ]
        limit = max(abs(row["change"]) for row in rows) or 1
        last = kind == "general"
        encoding = {
            "x": enc(
                "layer:O",
                title="layer" if last else None,
                axis={"labels": last, "labelOverlap": True},
            ),
            "y": enc("after:N", sort=order, title=None),
            "color": enc(
                "change:Q",
                title="change",
                scale={"scheme": "blueorange", "domain": [-limit, limit], "domainMid": 0},
                legend={"gradientLength": 60, "tickCount": 3},
            ),
            "tooltip": tips("after:N", "layer:O", "thresholds:N", **_MOVED),
        }
        view = {"data": {"values": rows}, "mark": "rect", "encoding": encoding, "title": kind}
        panels.append(view | {"width": WIDTH - 120, "height": {"step": 18}})
    text = "Change in the number of neurons of each kind per layer, for each model, by its own thresholds."
    spec = {"vconcat": panels, "spacing": 10, "resolve": {"scale": {"color": "independent"}}}
    own = tuple(row for row in table.rows if row[table.columns.index("thresholds")] == "own")
    shown = table._replace(name="checkpoints", rows=own)
    return Figure("checkpoints", "Change by layer over checkpoints", text, spec, shown)


def group_figure(table: Table) -> Figure:
    """Mean change per language, trained languages against the others (Table 2 of the paper)."""
    shown = _last(table)
    names = list(dict.fromkeys(row["languages"] for row in shown.records()))
    x = enc("kind:N", sort=["specific", "related"], title=None)
    panels = [
        _bars([row for row in shown.records() if row["languages"] == name], x, "kind:N")
        | {"width": WIDTH / 2 - 60, "height": 170, "title": name}
        for name in names
    ]
    text = f"Mean change in neurons per language. {_MARKS}"
    spec = {"hconcat": panels, "spacing": 24, "resolve": {"scale": {"y": "shared"}}}
    return Figure("group-changes", "Trained and other languages", text, spec, shown)


def transition_figure(table: Table) -> Figure:
    """What became of the neurons of each class: share of each class before that is of each class after."""
    shown = _last(table)
    order = [*KINDS, "not listed"]
    panels = []
    for choice in dict.fromkeys(row["thresholds"] for row in shown.records()):
        rows = [
            row | {"share": row["share"] or 0, "label": f"{row['neurons']:,}"}
            for row in shown.records()
            if row["thresholds"] == choice
        ]
        shared = {
            "x": enc(
                "now:N",
                sort=order,
                title="after",
                axis={"orient": "top", "domain": False, "ticks": False},
            ),
            "y": enc("before:N", sort=order, title=None if panels else "before"),
        }
        colour = enc(
            "share:Q",
            title="share of those before",
            scale={"scheme": "blues", "domain": [0, 1]},
            legend={"orient": "bottom", "format": ".0%", "gradientLength": 200},
        )
        hover = tips("before:N", "now:N", neurons=",", low=",.1f", high=",.1f", share=".1%")
        ink = {"condition": {"test": "datum.share > 0.55", "value": "white"}, "value": "#1c1c1a"}
        panels.append(
            layered(
                rows,
                {"mark": "rect", "encoding": {"color": colour, "tooltip": hover}},
                {
                    "mark": {"type": "text", "fontSize": 10},
                    "encoding": {"text": enc("label:N"), "color": ink},
                },
                shared=shared,
                width=270,
                height={"step": 28},
                title=f"thresholds: {choice}",
            )
        )
    text = "What the neurons of each class before (rows) are after (columns): numbers, shaded by share of the row."
    return Figure("transitions", "What became of them", text, {"hconcat": panels}, shown)


def accuracy_figure(table: Table) -> Figure:
    """Change in accuracy per language with intervals (Tables 1 and 5 of the paper)."""
    shown = _last(table)
    rows = [
        row
        | {
            "group": "mean"
            if row["language"] == "mean"
            else "trained"
            if row["trained"] == "yes"
            else "other"
        }
        for row in shown.records()
    ]
    moved = {"change": "+.1%", "low": "+.1%", "high": "+.1%"}
    groups = {"domain": ["trained", "other", "mean"], "range": ["#c8501e", "#1f6fb2", "#9a9a96"]}
    bars = {
        "x": enc("change:Q", title="change in accuracy", axis={"format": "+.0%"}),
        "color": enc("group:N", scale=groups, legend=top_legend()),
        "tooltip": tips("name:N", before=".1%", now=".1%", **moved, p=".2g"),
    }
    spec = layered(
        rows,
        {"mark": "bar", "encoding": bars},
        {"mark": "rule", "encoding": {"x": enc("low:Q"), "x2": {"field": "high"}}},
        shared={"y": enc("name:N", sort=[row["name"] for row in rows], title=None)},
        width=WIDTH - 120,
        height={"step": 22},
    )
    text = "Change in the share of right answers to the same questions, with 95% intervals over questions."
    return Figure("accuracy-changes", "Accuracy, before and after", text, spec, shown)


def _last(table: Table) -> Table:
    """The rows of the last `after`."""
    at = table.columns.index("after")
    return table._replace(rows=tuple(row for row in table.rows if row[at] == table.rows[-1][at]))


def _bars(rows: Sequence[Spec], x: Spec, place: str, *, title: str = "change") -> Spec:
    """Changes as bars with intervals, those by the base's thresholds as diamonds."""
    own = [row for row in rows if row["thresholds"] == "own"]
    y = enc("change:Q", title=title, stack=None, axis={"tickCount": 5})
    hover = tips(place, "thresholds:N", **_MOVED)
    marks: list[Spec] = [
        {"mark": "bar", "encoding": {"y": y, "color": kind_colour(), "tooltip": hover}}
    ]
    if any(row["low"] is not None for row in own):
        marks.append({"mark": "rule", "encoding": {"y": enc("low:Q"), "y2": {"field": "high"}}})
    other = [row for row in rows if row["thresholds"] != "own"]
    if other:
        diamond = {
            "type": "point",
            "shape": "diamond",
            "size": 40,
            "fill": "white",
            "stroke": "#3d3d3a",
            "opacity": 1,
        }
        marks.append(
            {"data": {"values": other}, "mark": diamond, "encoding": {"y": y, "tooltip": hover}}
        )
    return layered(own, *marks, shared={"x": x})
