"""Layer charts: what lies in which layer: neurons of each kind, agreement of languages.

Panels lie above each other on the same layers, with the stages shaded.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from langneurons.intervals import Estimate
from langneurons.neurons.agreement import Agreement
from langneurons.neurons.layer_stages import NAMES, Segmentation
from langneurons.neurons.table import Neurons
from langneurons.neurons.tables import agreement_table, layers
from langneurons.report.charts import (
    BAR,
    DASH,
    DRAWN,
    ENDS,
    GENERAL,
    NONE,
    RELATED,
    SPECIFIC,
    WIDTH,
    Figure,
    Spec,
    coloured,
    enc,
    kind_colour,
    layered,
    mark,
    tips,
    top_legend,
    whiskers,
)
from langneurons.texts.languages import told_apart

_CURVES = {"language": SPECIFIC, "meaning": RELATED}
"""Colours of the shares that are drawn."""


def layer_figure(neurons: Neurons, cut: Segmentation | None) -> Figure:
    """Neurons of each kind per layer, stages shaded (Fig. 3 of the paper)."""
    text = (
        "Neurons of each kind per layer. Specific and related are counted among the selected, "
        "general over all."
    )
    if cut:
        text += (
            f" Shaded: the best division into stages, layers {_spans(cut)}; it explains "
            f"{cut.fit:.0%} of the variance. Some division always is the best: whether it is the "
            "paper's is judged among the claims."
        )
    return Figure(
        name="layers",
        title="Neurons by layer",
        text=text,
        spec={
            "vconcat": layer_panels(neurons, cut),
            "spacing": 8,
            "resolve": {"scale": {"x": "shared", "color": "shared"}},
        },
        table=layers(neurons),
    )


def layer_panels(
    neurons: Neurons,
    cut: Segmentation | None,
    *,
    width: int = WIDTH,
    most: Mapping[str, float] | None = None,
) -> list[Spec]:
    """A panel of each kind, below each other.

    Args:
        neurons: what is drawn.
        cut: their stages.
        width: of the panels.
        most: where the scale of each kind ends; where its own numbers do by default.
    """
    return [
        _layer_panel(kind, neurons.numbers.by_layer(kind), cut, (most or {}).get(kind))
        | {"width": width}
        for kind in DRAWN
    ]


def _layer_panel(kind: str, counts: Estimate, cut: Segmentation | None, most: float | None) -> Spec:
    """Bars of one kind, over the stages; only the lowest panel names the layers."""
    scale = {"nice": 4} | ({"domain": [0, most]} if most else {})
    resampled = not np.isnan(counts.low).any()
    x = layer_axis(len(counts.value), lowest=kind == DRAWN[-1])
    bars = {
        "x": enc("from:Q", bin="binned", **x),
        "x2": {"field": "to"},
        "y": enc("neurons:Q", title=kind, scale=scale, axis={"tickCount": 4}),
        "color": kind_colour(),
        "tooltip": tips("layer:O", neurons=",", **(ENDS if resampled else {})),
    }
    marks = [mark("bar", bars, opacity=BAR)]
    if resampled:
        marks.append(whiskers("y", {"x": enc("layer:Q", **x)}, strokeWidth=1))
    if cut:
        marks.insert(0, shading(bands(cut), x))
        if kind == DRAWN[0]:
            marks.append(stage_numbers(bands(cut), x))
    return layered(_layer_rows(kind, counts), *marks, height=130)


def _layer_rows(kind: str, counts: Estimate) -> list[Spec]:
    rows: list[Spec] = []
    for layer, count in enumerate(counts.value.tolist()):
        row: Spec = {"layer": layer, "kind": kind, "neurons": int(count)}
        row |= {"from": layer - 0.4, "to": layer + 0.4}
        if not np.isnan(counts.low[layer]):
            row["low"], row["high"] = float(counts.low[layer]), float(counts.high[layer])
        rows.append(row)
    return rows


def agreement_figure(neurons: Neurons, cut: Segmentation | None) -> Figure | None:
    """Agreement of languages by layer, its parts, and English with each; None where not known."""
    known = neurons.agreement
    if known is None or np.isnan(known.agreement.value).all():
        return None
    panels = [_curve_panel(known, cut), _share_panel(known, cut)]
    if known.english:
        panels.append(_language_panel(known))
    panels[-1]["encoding"]["x"] = layer_axis(len(known.shuffled), lowest=True)
    return Figure(
        name="agreement",
        title="Where languages agree",
        text="How often neurons are active varies with the language and with the question. Below: "
        "the share of language, and that of the question in whatever language (meaning). Above: "
        "agreement, the part of meaning in all that is not the language's. Bands are 95% "
        "intervals over blocks; dashed, the highest of 20 shufflings of the questions. All "
        "neurons take part, whatever their class.",
        spec={
            "vconcat": panels,
            "spacing": 8,
            "resolve": {"scale": {"x": "shared", "color": "independent"}},
        },
        table=agreement_table(neurons),
    )


def _curve_panel(known: Agreement, cut: Segmentation | None) -> Spec:
    """Agreement with its interval, and what shuffling leaves."""
    curve = [row | {"curve": "agreement"} for row in _curve(known.agreement)]
    chance = [{"layer": i, "value": float(top)} for i, top in enumerate(known.shuffled)]
    return _lines(
        curve,
        {"agreement": GENERAL},
        cut,
        [mark("line", {"y": enc("value:Q")}, rows=chance, strokeDash=DASH, color=NONE)],
        title="agreement",
    )


def _share_panel(known: Agreement, cut: Segmentation | None) -> Spec:
    """Shares of language and meaning with their intervals."""
    rows = [row | {"curve": name} for name in _CURVES for row in _curve(getattr(known, name))]
    return _lines(rows, _CURVES, cut, [], title="share of the variance")


def _lines(
    rows: list[Spec],
    colours: dict[str, str],
    cut: Segmentation | None,
    more: list[Spec],
    *,
    title: str,
) -> Spec:
    """Curves over the layers with bands of their intervals, stages shaded."""
    count = 1 + max(row["layer"] for row in rows)
    x = layer_axis(count, lowest=False)
    legend = top_legend() | {"symbolOpacity": 1} if len(colours) > 1 else None
    shared = {
        "x": enc("layer:Q", **x),
        "color": enc("curve:N", scale=coloured(colours), legend=legend),
    }
    values = {
        "y": enc("value:Q", title=title, axis={"tickCount": 4}),
        "tooltip": tips("layer:O", "curve:N", value=".3f", low=".3f", high=".3f"),
    }
    marks = [mark("line", shared | values, strokeWidth=2), *more]
    marks.append(mark("point", shared | values, filled=True, size=24))
    if any("low" in row for row in rows):
        ends = {"y": enc("low:Q"), "y2": {"field": "high"}}
        marks.insert(0, mark("area", shared | ends, opacity=0.2))
    if cut:
        marks.insert(0, shading(bands(cut), x))
    return layered(rows, *marks, shared={"x": shared["x"]}, width=WIDTH, height=130)


def _language_panel(known: Agreement) -> Spec:
    """Agreement of English with each other language, a cell a layer."""
    names = told_apart(known.english)
    rows = [
        {"layer": layer, "from": layer - 0.5, "to": layer + 0.5, "language": names[code]}
        | {"agreement": value}
        for code, shares in known.english.items()
        for layer, value in enumerate(shares.value.tolist())
        if np.isfinite(value)
    ]
    cells = {
        "x": enc("from:Q", bin="binned"),
        "x2": {"field": "to"},
        "y": enc("language:N", title="English with", sort=list(names.values())),
        "color": enc(
            "agreement:Q",
            scale={"scheme": "blues", "domain": [0, 1]},
            legend={"gradientLength": 100, "tickCount": 3, "title": "agreement"},
        ),
        "tooltip": tips("language:N", "layer:O", agreement=".3f"),
    }
    return layered(rows, mark("rect", cells), width=WIDTH, height={"step": 16})


def _curve(shares: Estimate) -> list[Spec]:
    """A share by layer, with its interval where there is one."""
    rows = []
    for layer, value in enumerate(shares.value.tolist()):
        row: Spec = {"layer": layer, "value": value}
        if np.isfinite(shares.low[layer]):
            row |= {"low": float(shares.low[layer]), "high": float(shares.high[layer])}
        if np.isfinite(value):
            rows.append(row)
    return rows


def layer_axis(count: int, *, lowest: bool) -> Spec:
    """The axis of layers; only the lowest panel names them."""
    return {
        "scale": {"domain": [-0.5, count - 0.5], "nice": False},
        "axis": {
            "title": "layer" if lowest else None,
            "labels": lowest,
            "ticks": lowest,
            "grid": False,
            "tickMinStep": 1,
        },
    }


def bands(cut: Segmentation) -> list[Spec]:
    """Where each stage lies, and what it is called."""
    return [
        {
            "start": first - 0.5,
            "end": end - 0.5,
            "name": name,
            "layers": f"{first}-{end - 1}",
            "shade": place % 2,
            "middle": (first + end - 1) / 2,
            "number": str(place + 1),
        }
        for place, (first, end, name) in enumerate(_stages(cut))
    ]


def shading(stages: list[Spec], x: Spec) -> Spec:
    """The ground of the stages, from `bands`, on the axis of layers."""
    shade = enc("shade:Q", scale={"domain": [0, 1], "range": [0.06, 0.16]}, legend=None)
    ground = {"x": enc("start:Q", **x), "x2": {"field": "end"}, "opacity": shade}
    return mark("rect", ground | _band_tips(), rows=stages, color="#808080")


def stage_numbers(stages: list[Spec], x: Spec) -> Spec:
    """Their numbers, above the chart."""
    places = {"x": enc("middle:Q", **x), "y": {"value": 0}, "text": enc("number:N")}
    return mark("text", places | _band_tips(), rows=stages, dy=-6, fontSize=12)


def _band_tips() -> Spec:
    return {"tooltip": tips("name:N", "layers:N")}


def stages_in_words(cut: Segmentation) -> str:
    """Number, name and layers of each stage."""
    return ", ".join(
        f"{number} {name} ({first}-{end - 1})"
        for number, (first, end, name) in enumerate(_stages(cut), 1)
    )


def _spans(cut: Segmentation) -> str:
    """First and last layer of each stage, without a name."""
    return ", ".join(
        f"{first}" if first == end - 1 else f"{first}-{end - 1}" for first, end, _ in _stages(cut)
    )


def _stages(cut: Segmentation) -> list[tuple[int, int, str]]:
    """(first layer, one past the last, name) of each stage; with four, the paper's names."""
    names: Sequence[str] = NAMES
    if len(cut.starts) != len(NAMES):
        names = [f"stage {number}" for number in range(1, len(cut.starts) + 1)]
    return list(zip(cut.starts, cut.ends, names, strict=True))
