"""Figures: Vega-Lite charts of one set of neurons; the same specification for the page, for SVG and for PNG.

Colours come from the theme (`LIGHT`, or the page's dark one), by kind, in an order that stays apart for colour-blind
readers (Okabe and Ito's set).
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from langneurons.errors import MissingExtraError
from langneurons.languages import language
from langneurons.neurons import KINDS, Neurons
from langneurons.stages import NAMES, Segmentation
from langneurons.tables import Table, by_layer, layers, per_language, shared_by

if TYPE_CHECKING:
    import altair as alt

Spec = dict[str, Any]

WIDTH = 640
"""Width of a figure in pixels, where nothing else sets it."""

LIGHT: Spec = {
    "background": "white",
    "font": "Helvetica, Arial, sans-serif",
    "view": {"stroke": None},
    "axis": {"gridColor": "#e7e7e4", "domainColor": "#8a8a86", "tickColor": "#8a8a86", "labelColor": "#3d3d3a"}
    | {"titleColor": "#3d3d3a", "titleFontWeight": "normal", "labelFontSize": 11, "titleFontSize": 12},
    "legend": {"labelColor": "#3d3d3a", "titleColor": "#3d3d3a", "labelFontSize": 12, "title": None},
    "title": {"color": "#3d3d3a", "fontSize": 12, "fontWeight": "normal", "anchor": "start"},
    "text": {"color": "#3d3d3a"},
    "rule": {"color": "#3d3d3a"},
    "axisXDiscrete": {"labelAngle": 0},
    "range": {"category": ["#c8501e", "#1f6fb2", "#12876a", "#9a9a96"]},
}
"""Theme of figures on paper: colours of specific, related, general and none, in this order."""


class Figure(NamedTuple):
    """One figure of the report.

    Attributes:
        name: short name, used for files and anchors.
        title: what it is.
        text: how to read it, one or two sentences.
        spec: the Vega-Lite specification.
        table: its numbers.
    """

    name: str
    title: str
    text: str
    spec: Spec
    table: Table


def altair() -> Any:
    """The plotting library, imported when first needed.

    Raises:
        MissingExtraError: when it is not installed.
    """
    try:
        import altair as alt
    except ImportError as error:
        raise MissingExtraError(
            f"{error.name} is not installed; figures need: pip install 'langneurons[report]'"
        ) from None
    return alt


def layer_figure(neurons: Neurons, cut: Segmentation | None) -> Figure:
    """Neurons of each kind per layer, stages shaded (Fig. 3 of the paper)."""
    alt = altair()
    counts = by_layer(neurons)
    panels = [
        _layer_panel(neurons, kind, counts[kind].tolist(), cut, top=kind == "specific", bottom=kind == "general")
        for kind in ("specific", "related", "general")
    ]
    spec = alt.vconcat(*panels, spacing=8).resolve_scale(x="shared", color="shared").to_dict()
    text = "Neurons of each kind per layer. Specific and related are counted among the selected, general over all."
    if cut:
        stages = ", ".join(f"{i + 1} {name} ({a}-{b - 1})" for i, (a, b, name) in enumerate(_stages(cut)))
        text += f" Shaded: the best division into stages, {stages}; it explains {cut.fit:.0%} of the variance."
    return Figure("layers", "Neurons by layer", text, spec, layers(neurons))


def _layer_panel(
    neurons: Neurons, kind: str, counts: list[int], cut: Segmentation | None, *, top: bool, bottom: bool
) -> "alt.LayerChart":
    alt = altair()
    rows: list[dict[str, Any]] = []
    for i, n in enumerate(counts):
        row: dict[str, Any] = {"layer": i, "kind": kind, "neurons": n, "from": i - 0.4, "to": i + 0.4}
        if neurons.uncertainty:
            row["low"], row["high"] = neurons.uncertainty.intervals[f"{kind}@{i}"]
        rows.append(row)
    domain = [-0.5, neurons.layers - 0.5]
    axis = alt.Axis(title="layer" if bottom else None, labels=bottom, ticks=bottom, grid=False, tickMinStep=1)
    x = alt.X("from:Q", bin="binned", scale=alt.Scale(domain=domain, nice=False), axis=axis)
    y = alt.Y("neurons:Q", title=kind, scale=alt.Scale(nice=4), axis=alt.Axis(tickCount=4))
    data = alt.Chart(alt.Data(values=rows))
    tips = [alt.Tooltip("layer:Q"), alt.Tooltip("neurons:Q", title=kind, format=",")]
    if neurons.uncertainty:
        tips += [alt.Tooltip("low:Q", format=",.1f"), alt.Tooltip("high:Q", format=",.1f")]
    color = alt.Color("kind:N", scale=alt.Scale(domain=list(KINDS)), legend=None)
    marks = [data.mark_bar().encode(x=x, x2="to:Q", y=y, color=color, tooltip=tips)]
    if neurons.uncertainty:
        marks.append(data.mark_rule(strokeWidth=1).encode(x=alt.X("layer:Q", axis=axis), y="low:Q", y2="high:Q"))
    if cut:
        bands = [
            {"start": a - 0.5, "end": b - 0.5, "name": name, "layers": f"{a}-{b - 1}", "shade": i % 2}
            | {"middle": (a + b - 1) / 2, "number": str(i + 1)}
            for i, (a, b, name) in enumerate(_stages(cut))
        ]
        ground = alt.Chart(alt.Data(values=bands)).mark_rect(color="#808080")
        opacity = alt.Opacity("shade:Q", scale=alt.Scale(domain=[0, 1], range=[0.06, 0.16]), legend=None)
        tooltip = [alt.Tooltip("name:N"), alt.Tooltip("layers:N")]
        x2 = alt.X("start:Q", scale=alt.Scale(domain=domain, nice=False), axis=axis)
        marks.insert(0, ground.encode(x=x2, x2="end:Q", opacity=opacity, tooltip=tooltip))
        if top:
            numbers = alt.Chart(alt.Data(values=bands)).mark_text(dy=-6, fontSize=12)
            marks.append(
                numbers.encode(x=alt.X("middle:Q", axis=axis), y=alt.value(0), text="number:N", tooltip=tooltip)
            )
    return alt.layer(*marks).properties(width=WIDTH, height=130)


def _stages(cut: Segmentation) -> list[tuple[int, int, str]]:
    """(first layer, one past the last, name) of each stage; the paper's names when there are four."""
    names = NAMES if len(cut.starts) == len(NAMES) else [f"stage {i + 1}" for i in range(len(cut.starts))]
    return list(zip(cut.starts, cut.ends, names, strict=True))


def language_figure(neurons: Neurons) -> Figure:
    """Specific and related neurons of every language."""
    alt = altair()
    table = per_language(neurons)
    rows = []
    for record in table.records():
        for kind in ("specific", "related"):
            row = {"language": record["name"], "kind": kind, "neurons": record[kind]}
            if neurons.uncertainty:
                row |= {"low": record[f"{kind} low"], "high": record[f"{kind} high"]}
            rows.append(row)
    order = [language(code).name for code in neurons.languages]
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("language:N", sort=order, title=None),
        xOffset=alt.XOffset("kind:N", sort=["specific", "related"]),
    )
    tips = [alt.Tooltip("language:N"), alt.Tooltip("kind:N"), alt.Tooltip("neurons:Q", format=",")]
    if neurons.uncertainty:
        tips += [alt.Tooltip("low:Q", format=",.1f"), alt.Tooltip("high:Q", format=",.1f")]
    color = alt.Color("kind:N", scale=alt.Scale(domain=list(KINDS)), legend=_legend(["specific", "related"]))
    bars = [base.mark_bar().encode(y=alt.Y("neurons:Q", title="neurons"), color=color, tooltip=tips)]
    if neurons.uncertainty:
        bars.append(base.mark_rule().encode(y="low:Q", y2="high:Q"))
    spec = alt.layer(*bars).properties(width=WIDTH, height=240).to_dict()
    text = (
        "How many neurons are highly active in a language: in it alone (specific), or in it and some others (related)."
    )
    return Figure("per-language", "Neurons by language", text, spec, table)


def shared_figure(neurons: Neurons) -> Figure:
    """Neurons highly active in N languages, among the selected and over all (Fig. 10 of the paper)."""
    alt = altair()
    table = shared_by(neurons)
    kinds = ["none", "specific", *["related"] * (len(neurons.languages) - 2), "general"]
    views = []
    for column, title in (("selected", "among the selected"), ("all", "over all neurons, N from 1 up")):
        rows = [
            {"N": row["N"], "kind": kinds[row["N"]], "neurons": row[column]}
            for row in table.records()
            if row[column] is not None and (column == "selected" or row["N"])
        ]
        if not rows:
            continue
        chart = alt.Chart(alt.Data(values=rows), title=title).mark_bar()
        views.append(
            chart.encode(
                x=alt.X("N:O", title="N, languages in which a neuron is highly active"),
                y=alt.Y("neurons:Q", title="neurons"),
                color=alt.Color("kind:N", scale=alt.Scale(domain=list(KINDS)), legend=_legend(list(KINDS))),
                tooltip=[alt.Tooltip("N:O"), alt.Tooltip("kind:N"), alt.Tooltip("neurons:Q", format=",")],
            ).properties(width=WIDTH, height=180)
        )
    text = "In how many languages a neuron is highly active. One: specific; several: related; all: general."
    return Figure("shared-by", "Neurons shared by N languages", text, alt.vconcat(*views).to_dict(), table)


def lambda_figure(neurons: Neurons) -> Figure | None:
    """General neurons among the selected against lambda: the cliff behind the choice. None without a lambda curve."""
    alt = altair()
    lam = neurons.rule.lam
    if lam is None or not lam.curve:
        return None
    rows = [{"lambda": x, "plain": x * lam.factor, "general": n} for x, n in lam.curve]
    tips = [
        alt.Tooltip("lambda:Q", format=".4f"),
        alt.Tooltip("plain:Q", title="lambda of Eq. 5", format=".4f"),
        alt.Tooltip("general:Q", title="general neurons selected", format=","),
    ]
    curve = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("lambda:Q", title=f"lambda (released units; times {lam.factor:.3f} in Eq. 5)"),
        y=alt.Y("general:Q", title="general neurons among the selected"),
        color=alt.ColorValue(LIGHT["range"]["category"][2]),
        tooltip=tips,
    )
    label = f"{'λ*' if lam.status == 'bound' else 'λ'} = {lam.value:.5f}"
    here = alt.Chart(alt.Data(values=[{"lambda": lam.value, "label": label}])).encode(x="lambda:Q")
    spec = alt.layer(
        curve.mark_line(strokeWidth=2),
        curve.mark_point(filled=True, size=28),
        here.mark_rule(strokeDash=[4, 3]),
        here.mark_text(align="right", dx=-6, y=12, fontSize=12).encode(text="label:N"),
    ).properties(width=WIDTH, height=220)
    text = "λ is the largest at which no neuron highly active in every language is selected; beyond it they pour in."
    table = Table("lambda", text, ("lambda", "lambda of Eq. 5", "general selected"), tuple(map(_curve_row, rows)))
    return Figure("lambda", "Choosing lambda", text, spec.to_dict(), table)


def card_figure(neurons: Neurons, row: int) -> Figure:
    """One neuron's activation probability per language, with tau (Fig. 1 of the paper)."""
    alt = altair()
    tau = neurons.rule.tau
    rows = [
        {"language": language(code).name, "probability": round(float(p), 5), "active": _side(bool(m))}
        for code, p, m in zip(neurons.languages, neurons.probability[row], neurons.member[row], strict=True)
    ]
    bars = (
        alt.Chart(alt.Data(name="card", values=rows))
        .mark_bar()
        .encode(
            x=alt.X(
                "probability:Q",
                title="activation probability",
                scale=alt.Scale(domain=[0, 1], clamp=True),
                axis=alt.Axis(tickCount=5),
            ),
            y=alt.Y("language:N", title=None, sort=[r["language"] for r in rows]),
            color=alt.Color(
                "active:N",
                scale=alt.Scale(domain=[_side(True), _side(False)], range=["#12876a", "#8fb4d4"]),
                legend=alt.Legend(orient="top", title=None),
            ),
            tooltip=[alt.Tooltip("language:N"), alt.Tooltip("probability:Q", format=".4f")],
        )
    )
    line = alt.Chart(alt.Data(values=[{"tau": tau}])).mark_rule(strokeDash=[4, 3]).encode(x="tau:Q")
    spec = alt.layer(bars, line).properties(width=320, height=alt.Step(20)).to_dict()
    where = [int(part) for part in neurons.keys[row] if part >= 0]
    name = "card-" + "-".join(map(str, where))
    text = f"Activation probability of neuron {':'.join(map(str, where))} in each language; dashed: tau."
    cells = tuple((r["language"], r["probability"], r["active"]) for r in rows)
    return Figure(name, "One neuron", text, spec, Table(name, text, ("language", "probability", "active"), cells))


def typical(neurons: Neurons) -> int | None:
    """Row of the neuron to show first: the related one furthest inside the selection, else any; None without one."""
    for kind in ("related", "specific", "general"):
        rows = np.flatnonzero(neurons.kind == kind)
        if rows.size:
            return int(rows[np.argmax(neurons.margin[rows])])
    return None


def _side(active: bool) -> str:
    return "above tau" if active else "not above tau"


def _curve_row(row: dict[str, Any]) -> tuple[float, float, int]:
    return round(row["lambda"], 6), round(row["plain"], 6), row["general"]


def _legend(values: list[str]) -> Any:
    return altair().Legend(orient="top", title=None, values=values)
