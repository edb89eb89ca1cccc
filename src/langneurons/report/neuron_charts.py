"""Figures: Vega-Lite charts of one set of neurons; the same specification for the page, for SVG and for PNG.

Specifications are plain dictionaries, made with `enc`, `tips` and `layered`. Colours come from the
theme (`LIGHT`, or the page's own), by kind, in an order that stays apart for colour-blind readers
(Okabe and Ito's set).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from langneurons.intervals import Estimate
from langneurons.neurons.layer_stages import NAMES, Segmentation
from langneurons.neurons.table import KINDS, Neurons
from langneurons.neurons.tables import layers, per_language, shared_by
from langneurons.tables import Table
from langneurons.texts.languages import language

Spec = dict[str, Any]

WIDTH = 640
"""Width of a figure in pixels, where nothing else sets it."""

LIGHT: Spec = {
    "background": "white",
    "font": "Helvetica, Arial, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "gridColor": "#e7e7e4",
        "domainColor": "#8a8a86",
        "tickColor": "#8a8a86",
        "labelColor": "#3d3d3a",
    }
    | {
        "titleColor": "#3d3d3a",
        "titleFontWeight": "normal",
        "labelFontSize": 11,
        "titleFontSize": 12,
    },
    "legend": {
        "labelColor": "#3d3d3a",
        "titleColor": "#3d3d3a",
        "labelFontSize": 12,
        "title": None,
    },
    "title": {"color": "#3d3d3a", "fontSize": 12, "fontWeight": "normal", "anchor": "start"},
    "text": {"color": "#3d3d3a"},
    "rule": {"color": "#3d3d3a"},
    "axisXDiscrete": {"labelAngle": 0},
    "range": {"category": ["#c8501e", "#1f6fb2", "#12876a", "#9a9a96"]},
}
"""Theme of figures on paper: colours of specific, related, general and none, in this order."""

DASH = [4, 3]
"""Dashes of lines that mark a value."""

_TYPES = {"Q": "quantitative", "N": "nominal", "O": "ordinal"}


class Figure(NamedTuple):
    """One figure of the report.

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


def enc(shorthand: str, **more: Any) -> Spec:
    """How a field is shown: `neurons:Q` is the field `neurons` as a quantity; N nominal, O ordinal."""
    name, _, kind = shorthand.rpartition(":")
    return {"field": name, "type": _TYPES[kind], **more}


def tips(*shown: str, **formats: str) -> list[Spec]:
    """What is shown on hover: nominal and ordinal fields as they are, then quantities in formats of d3, by name."""
    return [*map(enc, shown), *(enc(f"{name}:Q", format=form) for name, form in formats.items())]


def layered(rows: Sequence[Spec], *marks: Spec, shared: Spec | None = None, **more: Any) -> Spec:
    """Marks over each other, of the same rows unless they have their own, with what they share."""
    return {"data": {"values": list(rows)}, "encoding": shared or {}, "layer": list(marks), **more}


def kind_colour(legend: Spec | None = None) -> Spec:
    """The colour of a kind of neuron."""
    return enc("kind:N", scale={"domain": list(KINDS)}, legend=legend)


def top_legend(values: Sequence[str] | None = None) -> Spec:
    """A legend above the chart, without a title."""
    return {"orient": "top", "title": None} | ({"values": list(values)} if values else {})


def layer_figure(neurons: Neurons, cut: Segmentation | None) -> Figure:
    """Neurons of each kind per layer, stages shaded (Fig. 3 of the paper)."""
    numbers = neurons.numbers
    panels = [
        _layer_panel(kind, numbers.by_layer(kind), cut)
        for kind in ("specific", "related", "general")
    ]
    spec = {
        "vconcat": panels,
        "spacing": 8,
        "resolve": {"scale": {"x": "shared", "color": "shared"}},
    }
    text = "Neurons of each kind per layer. Specific and related are counted among the selected, general over all."
    if cut:
        stages = ", ".join(
            f"{i + 1} {name} ({a}-{b - 1})" for i, (a, b, name) in enumerate(_stages(cut))
        )
        text += f" Shaded: the best division into stages, {stages}; it explains {cut.fit:.0%} of the variance."
    return Figure("layers", "Neurons by layer", text, spec, layers(neurons))


def _layer_panel(kind: str, counts: Estimate, cut: Segmentation | None) -> Spec:
    rows: list[Spec] = []
    resampled = not np.isnan(counts.low).any()
    for i, n in enumerate(counts.value.tolist()):
        row: Spec = {"layer": i, "kind": kind, "neurons": int(n), "from": i - 0.4, "to": i + 0.4}
        if resampled:
            row["low"], row["high"] = float(counts.low[i]), float(counts.high[i])
        rows.append(row)
    last = kind == "general"
    axis = {
        "title": "layer" if last else None,
        "labels": last,
        "ticks": last,
        "grid": False,
        "tickMinStep": 1,
    }
    place = {"scale": {"domain": [-0.5, len(rows) - 0.5], "nice": False}, "axis": axis}
    y = enc("neurons:Q", title=kind, scale={"nice": 4}, axis={"tickCount": 4})
    ends = {"low": ",.1f", "high": ",.1f"} if resampled else {}
    hover = tips("layer:O", neurons=",", **ends)
    x = enc("from:Q", bin="binned", **place)
    marks: list[Spec] = [
        {
            "mark": "bar",
            "encoding": {
                "x": x,
                "x2": {"field": "to"},
                "y": y,
                "color": kind_colour(),
                "tooltip": hover,
            },
        }
    ]
    if resampled:
        span = {"x": enc("layer:Q", **place), "y": enc("low:Q"), "y2": {"field": "high"}}
        marks.append({"mark": {"type": "rule", "strokeWidth": 1}, "encoding": span})
    if cut:
        bands = [
            {
                "start": a - 0.5,
                "end": b - 0.5,
                "name": name,
                "layers": f"{a}-{b - 1}",
                "shade": i % 2,
            }
            | {"middle": (a + b - 1) / 2, "number": str(i + 1)}
            for i, (a, b, name) in enumerate(_stages(cut))
        ]
        of = {"data": {"values": bands}}
        shade = enc("shade:Q", scale={"domain": [0, 1], "range": [0.06, 0.16]}, legend=None)
        ground = {"x": enc("start:Q", **place), "x2": {"field": "end"}, "opacity": shade}
        hover = {"tooltip": tips("name:N", "layers:N")}
        marks.insert(
            0, of | {"mark": {"type": "rect", "color": "#808080"}, "encoding": ground | hover}
        )
        if kind == "specific":
            text = {"x": enc("middle:Q", **place), "y": {"value": 0}, "text": enc("number:N")}
            marks.append(
                of | {"mark": {"type": "text", "dy": -6, "fontSize": 12}, "encoding": text | hover}
            )
    return layered(rows, *marks, width=WIDTH, height=130)


def _stages(cut: Segmentation) -> list[tuple[int, int, str]]:
    """(first layer, one past the last, name) of each stage; the paper's names when there are four."""
    names = (
        NAMES
        if len(cut.starts) == len(NAMES)
        else [f"stage {i + 1}" for i in range(len(cut.starts))]
    )
    return list(zip(cut.starts, cut.ends, names, strict=True))


def language_figure(neurons: Neurons) -> Figure:
    """Specific and related neurons of every language."""
    table = per_language(neurons)
    rows, ends = [], {"low": ",.1f", "high": ",.1f"} if neurons.uncertainty else {}
    for record in table.records():
        for kind in ("specific", "related"):
            found = {end: record[f"{kind} {end}"] for end in ends}
            rows.append(
                {"language": record["name"], "kind": kind, "neurons": record[kind], **found}
            )
    order = [language(code).name for code in neurons.languages]
    shared = {
        "x": enc("language:N", sort=order, title=None),
        "xOffset": enc("kind:N", sort=["specific", "related"]),
    }
    colour = kind_colour(top_legend(["specific", "related"]))
    hover = tips("language:N", "kind:N", neurons=",", **ends)
    marks: list[Spec] = [
        {
            "mark": "bar",
            "encoding": {"y": enc("neurons:Q", title="neurons"), "color": colour, "tooltip": hover},
        }
    ]
    if neurons.uncertainty:
        marks.append({"mark": "rule", "encoding": {"y": enc("low:Q"), "y2": {"field": "high"}}})
    text = "How many neurons are highly active in a language: in it alone (specific), or in it and some others (related)."
    spec = layered(rows, *marks, shared=shared, width=WIDTH, height=240)
    return Figure("per-language", "Neurons by language", text, spec, table)


def shared_figure(neurons: Neurons) -> Figure:
    """Neurons highly active in N languages, among the selected and over all (Fig. 10 of the paper)."""
    table = shared_by(neurons)
    kinds = ["none", "specific", *["related"] * (len(neurons.languages) - 2), "general"]
    views = []
    for column, title in (
        ("selected", "among the selected"),
        ("all", "over all neurons, N from 1 up"),
    ):
        rows = [
            {"N": row["N"], "kind": kinds[row["N"]], "neurons": row[column]}
            for row in table.records()
            if row[column] is not None and (column == "selected" or row["N"])
        ]
        if not rows:
            continue
        encoding = {
            "x": enc("N:O", title="N, languages in which a neuron is highly active"),
            "y": enc("neurons:Q", title="neurons"),
            "color": kind_colour(top_legend(KINDS)),
            "tooltip": tips("N:O", "kind:N", neurons=","),
        }
        views.append(
            {"data": {"values": rows}, "mark": "bar", "encoding": encoding, "title": title}
        )
    text = "In how many languages a neuron is highly active. One: specific; several: related; all: general."
    spec = {"vconcat": [view | {"width": WIDTH, "height": 180} for view in views]}
    return Figure("shared-by", "Neurons shared by N languages", text, spec, table)


def lambda_figure(neurons: Neurons) -> Figure | None:
    """General neurons among the selected against lambda: the cliff behind the choice. None without a lambda curve."""
    lam = neurons.rule.lam
    if lam is None or not lam.curve:
        return None
    rows = [{"lambda": x, "plain": x * lam.factor, "general": n} for x, n in lam.curve]
    most = max(1, *(n for _, n in lam.curve))
    hover = [
        enc("lambda:Q", format=".4f"),
        enc("plain:Q", title="lambda of Eq. 5", format=".4f"),
        enc("general:Q", title="general neurons selected", format=","),
    ]
    curve = {
        "x": enc("lambda:Q", title=f"lambda (released units; times {lam.factor:.3f} in Eq. 5)"),
        "y": enc(
            "general:Q",
            title="general neurons among the selected",
            scale={"domain": [0, most], "nice": True},
        ),
        "color": {"value": LIGHT["range"]["category"][2]},
        "tooltip": hover,
    }
    label = f"{'λ*' if lam.status == 'bound' else 'λ'} = {lam.value:.5f}"
    here = {"data": {"values": [{"lambda": lam.value, "label": label}]}}
    x = {"x": enc("lambda:Q")}
    note = {"type": "text", "align": "right", "dx": -6, "y": 12, "fontSize": 12}
    spec = layered(
        rows,
        {"mark": {"type": "line", "strokeWidth": 2}, "encoding": curve},
        {"mark": {"type": "point", "filled": True, "size": 28}, "encoding": curve},
        here | {"mark": {"type": "rule", "strokeDash": DASH}, "encoding": x},
        here | {"mark": note, "encoding": x | {"text": enc("label:N")}},
        width=WIDTH,
        height=220,
    )
    text = "Neurons highly active in every language among the selected, against λ; dashed: the λ that is used."
    if lam.status == "bound":
        text = "λ is the largest at which no neuron highly active in every language is selected; beyond it they pour in."
    table = Table(
        "lambda",
        text,
        ("lambda", "lambda of Eq. 5", "general selected"),
        tuple(map(_curve_row, rows)),
    )
    return Figure("lambda", "Choosing lambda", text, spec, table)


def card_figure(neurons: Neurons, row: int) -> Figure:
    """One neuron's activation probability per language, with tau (Fig. 1 of the paper)."""
    rows = [
        {
            "language": language(code).name,
            "probability": round(float(p), 5),
            "active": _side(bool(m)),
        }
        for code, p, m in zip(
            neurons.languages, neurons.probability[row], neurons.member[row], strict=True
        )
    ]
    x = enc(
        "probability:Q", title="activation probability", scale={"domain": [0, 1], "clamp": True}
    )
    sides = {"domain": [_side(True), _side(False)], "range": ["#12876a", "#8fb4d4"]}
    bars = {
        "x": x | {"axis": {"tickCount": 5}},
        "y": enc("language:N", title=None, sort=[r["language"] for r in rows]),
        "color": enc("active:N", scale=sides, legend=top_legend()),
        "tooltip": tips("language:N", probability=".4f"),
    }
    line = {
        "data": {"values": [{"tau": neurons.rule.tau}]},
        "mark": {"type": "rule", "strokeDash": DASH},
    }
    spec = {
        "layer": [
            {"data": {"name": "card", "values": rows}, "mark": "bar", "encoding": bars},
            line | {"encoding": {"x": enc("tau:Q")}},
        ],
        "width": 320,
        "height": {"step": 20},
    }
    where = [int(part) for part in neurons.keys[row] if part >= 0]
    name = "card-" + "-".join(map(str, where))
    text = f"Activation probability of neuron {':'.join(map(str, where))} in each language; dashed: tau."
    cells = tuple((r["language"], r["probability"], r["active"]) for r in rows)
    return Figure(
        name,
        "One neuron",
        text,
        spec,
        Table(name, text, ("language", "probability", "active"), cells),
    )


def typical(neurons: Neurons) -> int | None:
    """Row of the neuron to show first: the related one furthest inside the selection, else any; None without one."""
    for kind in ("related", "specific", "general"):
        rows = np.flatnonzero(neurons.kind == kind)
        if rows.size:
            return int(rows[np.argmax(neurons.margin[rows])])
    return None


def _side(active: bool) -> str:
    return "above tau" if active else "not above tau"


def _curve_row(row: Spec) -> tuple[float, float, int]:
    return round(row["lambda"], 6), round(row["plain"], 6), row["general"]
