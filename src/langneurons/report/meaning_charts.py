"""Meaning charts: where a model's states are of what texts mean, and where of their language.

All panels lie above each other on the same layers, with the stages of the neurons shaded. A state
lies between the layer that writes it and the one that reads it. Each curve has a dash of its own,
so that nothing is told by colour alone.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from langneurons.intervals import Estimate
from langneurons.meaning.lens_table import READABLE, Lens
from langneurons.meaning.measures import RATES, Meaning
from langneurons.neurons.layer_stages import Segmentation
from langneurons.neurons.summary import stages
from langneurons.neurons.table import Neurons
from langneurons.report.charts import (
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
    layered,
    mark,
    table_figure,
    tips,
)
from langneurons.report.layer_charts import (
    bands,
    layer_axis,
    shading,
    stage_numbers,
    stages_in_words,
)
from langneurons.report.results import Results
from langneurons.tables import Cell, Table, rounded
from langneurons.texts.languages import english_among, told_apart

_HEIGHT = 120

_LETTER = 7
"""Pixels that a letter takes."""

_NEURONS, _AGREEMENT, _SHARES, _LENS = "neurons", "agreement", "share of variance", "share"
"""What the axes of the panels are called, from above."""

_ASKED = {
    _NEURONS: "Which neurons are where?",
    _AGREEMENT: "Do all neurons do the same, whatever the language?",
    _SHARES: "What makes them differ: the language, or what is meant?",
    _LENS: "In which language would the model go on if it stopped here?",
}
"""What each panel asks."""

_COLOURS = {
    "specific": SPECIFIC,
    "related": RELATED,
    "general": GENERAL,
    "agreement": GENERAL,
    "shuffled": NONE,
    "language": SPECIFIC,
    "meaning": RELATED,
    "own language": SPECIFIC,
    "English": RELATED,
    "largest other": NONE,
}
_DASHES = {
    "specific": [1, 0],
    "related": [6, 3],
    "general": [2, 2],
    "agreement": [1, 0],
    "shuffled": [2, 2],
    "language": [1, 0],
    "meaning": [6, 3],
    "own language": [1, 0],
    "English": [6, 3],
    "largest other": [2, 2],
}

_Curves = Mapping[str, Estimate]


def meaning_figures(results: Results) -> tuple[Figure, ...]:
    """Every figure and table of a model's states; none of meaning that is not there."""
    meaning = results.meaning if results.meaning and results.meaning.beyond_surface else None
    made = []
    if results.neurons and (meaning or results.lens):
        made.append(depth_figure(results.neurons, meaning, results.lens))
    if results.lens:
        made.append(lens_figure(results.lens))
        made.append(table_figure("When the own language leads", results.lens.lead_table()))
    if results.meaning:
        made.append(table_figure("Meaning, state by state", results.meaning.places))
    return tuple(figure for figure in made if figure)


def not_drawn(results: Results) -> tuple[str, ...]:
    """What is told in place of curves of meaning, where there is none to be seen."""
    if results.meaning is None or results.meaning.beyond_surface:
        return ()
    return (
        "No state finds more translations than state 0, the embedding, which knows the surface "
        f"alone, among {results.meaning.sentences:,} sentences: retrieval shows nothing of meaning "
        "in this model, and no curve is drawn.",
    )


def depth_figure(neurons: Neurons, meaning: Meaning | None, lens: Lens | None) -> Figure:
    """Neurons of each kind, agreement, language's share and the lens, above each other."""
    cut, count = stages(neurons), neurons.layers
    shown = _panels(neurons, meaning, lens)
    panels = []
    for title, curves in shown.items():
        lowest = title == list(shown)[-1]
        x = layer_axis(count, lowest=lowest)
        panels.append(_panel(title, curves, x, cut, lens if title == _LENS else None))
    if cut:
        numbers = stage_numbers(_named(bands(cut), count), layer_axis(count, lowest=False))
        panels[0]["layer"].append(numbers)
        panels[0]["title"]["offset"] = 4
    text = "Each panel on the same layers. "
    if cut:
        text += f"Shaded: the stages of the neurons, {stages_in_words(cut)}. "
    text += (
        "Neurons of each kind (a logarithmic axis); agreement: of what is not the language's in "
        "the variance of all neurons' rates of activation, how much is the sentence's meaning, "
        "above the highest of 20 shufflings; the language's and the meaning's shares. "
    )
    if lens:
        text += (
            "Lens: in which language the model would go on if it stopped there, mean over all "
            "languages but English, as shares of the probability that is told by language; faint "
            f"where the state is over {READABLE:g} nats from the final layer, and says nothing. "
        )
    text += "Bands: 95% intervals."
    return Figure(
        name="depth",
        title="From language to meaning and back",
        text=text,
        spec={
            "vconcat": panels,
            "spacing": 14,
            "resolve": {
                "scale": {"x": "shared", "color": "independent", "strokeDash": "independent"}
            },
        },
        table=_depth_table(shown, lens),
    )


def _panels(neurons: Neurons, meaning: Meaning | None, lens: Lens | None) -> dict[str, _Curves]:
    """What is drawn in each panel, from above."""
    shown: dict[str, _Curves] = {_NEURONS: {kind: neurons.numbers.by_layer(kind) for kind in DRAWN}}
    rows = meaning.of(RATES) if meaning else []
    known = neurons.agreement
    if rows:
        top = np.array([row["shuffled"] for row in rows], dtype=np.float64)
        shown[_AGREEMENT] = {"agreement": _column(rows, "agreement"), "shuffled": _alone(top)}
        shown[_SHARES] = {name: _column(rows, name) for name in ("language", "meaning")}
    elif known:
        shown[_AGREEMENT] = {"agreement": known.agreement, "shuffled": _alone(known.shuffled)}
        shown[_SHARES] = {"language": known.language, "meaning": known.meaning}
    if lens:
        shown[_LENS] = lens.curves()
    return shown


def _column(rows: Sequence[Mapping[str, Cell]], name: str) -> Estimate:
    """A column of a table with its interval."""
    value, low, high = (
        np.array([row[head] for row in rows], dtype=np.float64)
        for head in (name, f"{name} low", f"{name} high")
    )
    return Estimate(value, low, high, np.zeros((0, len(value))))


def _alone(values: np.ndarray) -> Estimate:
    """Values without intervals."""
    nothing = np.full(len(values), np.nan)
    return Estimate(np.asarray(values, np.float64), nothing, nothing, np.zeros((0, len(values))))


def _named(stages: list[Spec], count: int) -> list[Spec]:
    """The stages with their names beside their numbers, where these have room."""
    return [
        stage | {"number": f"{stage['number']} {stage['name']}"}
        if WIDTH * (stage["end"] - stage["start"]) / count > _LETTER * (2 + len(stage["name"]))
        else stage
        for stage in stages
    ]


def _panel(
    title: str, curves: _Curves, x: Spec, cut: Segmentation | None, lens: Lens | None
) -> Spec:
    """Curves with their intervals over the stages; of states, each between two layers."""
    y: Spec = {"title": title, "axis": {"tickCount": 4}, "scale": {"domainMin": 0}}
    if title == _NEURONS:
        y["axis"] = {"values": [0, 1, 10, 100, 1000, 10_000]}
        highest = max(float(np.nanmax([of.value, of.high])) for of in curves.values())
        y["scale"] = {"type": "symlog", "domain": [0, 1.5 * max(1.0, highest)]}
    names = list(curves)
    legend = {"orient": "right", "title": None, "symbolType": "stroke", "symbolSize": 500}
    scales = (
        ("color", coloured({name: _COLOURS[name] for name in names})),
        ("strokeDash", {"domain": names, "range": [_DASHES[name] for name in names]}),
    )
    named = {what: enc("curve:N", scale=scale, sort=names, legend=legend) for what, scale in scales}
    value = {"y": enc("value:Q", **y)}
    told = value | {"tooltip": tips("curve:N", "where:N", value=".3~f", low=".3~f", high=".3~f")}
    marks = [shading(bands(cut), x)] if cut else []
    rows = {name: _rows(name, of, lens) for name, of in curves.items()}
    for name, of_curve in rows.items():
        colour = {"color": _COLOURS[name]}
        if any("low" in row for row in of_curve):
            ends = {"y": enc("low:Q", **y), "y2": {"field": "high"}}
            marks.append(mark("area", ends, rows=of_curve, opacity=0.18, **colour))
        if lens:
            faint = {**colour, "strokeDash": _DASHES[name], "opacity": 0.3}
            marks.append(mark("line", value, rows=of_curve, **faint))
    every = [row for of_curve in rows.values() for row in of_curve]
    clear = [row for row in every if row["readable"] == "yes"]
    marks.append(mark("line", named | value, rows=clear, strokeWidth=2.2))
    for name, of_curve in rows.items():
        look = {"filled": True, "size": 22, "color": _COLOURS[name]}
        seen = {"condition": {"test": "datum.readable == 'no'", "value": 0.3}, "value": 1}
        marks.append(mark("point", told | {"opacity": seen}, rows=of_curve, **look))
    panel = layered(every, *marks, shared={"x": enc("place:Q", **x)}, width=WIDTH, height=_HEIGHT)
    return panel | {
        "title": {"text": _ASKED[title], "anchor": "start", "frame": "group", "fontWeight": "bold"}
    }


def _rows(name: str, of: Estimate, lens: Lens | None) -> list[Spec]:
    """A curve as rows: of layers, or of states, which lie half a layer before."""
    rows = []
    for number, value in enumerate(of.value.tolist()):
        if not np.isfinite(value):
            continue
        row: Spec = {
            "curve": name,
            "place": number - 0.5 if lens else number,
            "where": f"state {number}" if lens else f"layer {number}",
            "value": value,
            "readable": "no" if lens and not lens.readable[number] else "yes",
        }
        if np.isfinite(of.low[number]):
            row |= {"low": float(of.low[number]), "high": float(of.high[number])}
        rows.append(row)
    return rows


def _depth_table(shown: Mapping[str, _Curves], lens: Lens | None) -> Table:
    """The numbers of every curve, a row each."""
    rows: list[tuple[Cell, ...]] = []
    for panel, curves in shown.items():
        of_states = panel == _LENS
        for name, of in curves.items():
            for number, ends in enumerate(zip(*of[:3], strict=True)):
                readable = lens.readable[number] if of_states and lens else True
                what = "state" if of_states else "layer"
                cells = (panel, name, what, number, *map(rounded, ends), None if readable else "no")
                rows.append(cells)
    caption = (
        "Neurons of each kind, agreement, shares of the variance of rates by layer; what a lens "
        "shows by state, state l + 1 being what layer l writes; with 95% intervals."
    )
    heads = ("panel", "curve", "of", "number", "value", "low", "high", "readable")
    return Table("depth", caption, heads, tuple(rows))


def lens_figure(lens: Lens) -> Figure | None:
    """Own language against English at each state, a row a language; None without English."""
    english = english_among(lens.known)
    chosen = [code for code in lens.languages if code != english]
    if english is None or not chosen:
        return None
    names = told_apart(chosen)
    rows = []
    for code in chosen:
        own, other = (lens.share(code, of, resamplings=0)[0] for of in (code, english))
        rows += [
            {
                "language": names[code],
                "from": state - 0.5,
                "to": state + 0.5,
                "state": state,
                "own": float(own[state]),
                "English": float(other[state]),
                "ahead": float(own[state] - other[state]),
                "sign": "+" if own[state] > other[state] else "−",
                "readable": "yes" if lens.readable[state] else "no",
            }
            for state in range(lens.states)
        ]
    faint = {"condition": {"test": "datum.readable == 'no'", "value": 0.25}, "value": 1}
    x = {"scale": {"domain": [-0.5, lens.states - 0.5], "nice": False}}
    axis = {"tickMinStep": 1, "grid": False}
    shared = {
        "x": enc("from:Q", bin="binned", title="state", axis=axis, **x),
        "y": enc("language:N", title=None, sort=list(names.values())),
        "opacity": faint,
        "tooltip": tips("language:N", "state:O", own=".3f", English=".3f"),
    }
    legend = {"gradientLength": 100, "tickCount": 3, "title": "own − English"}
    cells = shared | {
        "x2": {"field": "to"},
        "color": enc("ahead:Q", scale=diverging(1), legend=legend),
    }
    signs = {key: shared[key] for key in ("y", "opacity", "tooltip")} | {
        "x": enc("state:Q", **x),
        "text": enc("sign:N"),
    }
    return Figure(
        name="lens",
        title="Own language or English",
        text="What the model would say at each state: share of the sentence's own language less "
        "that of English; a sign says which is larger. Faint: too far from the final layer to "
        "read.",
        spec=layered(
            rows,
            mark("rect", cells),
            mark("text", signs, color=PAPER_INK, fontSize=10),
            width=WIDTH,
            height={"step": 18},
        ),
        table=lens.table(),
    )
