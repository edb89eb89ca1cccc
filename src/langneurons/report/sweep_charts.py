"""Sweep charts: specification curves, and heat maps of what thresholds move.

A specification curve shows every cell of a grid: in order of the effect, coloured by verdict, with
ticks below that say which settings each cell has.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langneurons.neurons.table import Neurons
from langneurons.report.charts import (
    CELL_INK,
    DASH,
    GENERAL,
    NONE,
    RELATED,
    SPECIFIC,
    WIDTH,
    Figure,
    Spec,
    coloured,
    enc,
    layered,
    mark,
    table_figure,
    tips,
    top_legend,
    whiskers,
)
from langneurons.report.layer_charts import layer_axis
from langneurons.sweep.grid import PAPER
from langneurons.sweep.judged import BARS, EFFECTS, IN_FULL
from langneurons.sweep.sweep import Sweep
from langneurons.sweep.tables import (
    axis_table,
    by_cell,
    chance_table,
    claim_table,
    of_claims,
    rule,
    threshold_table,
)
from langneurons.tables import Cell, Table

Row = Mapping[str, Any]

_COLOURS = {"holds": GENERAL, "cannot tell": NONE, "does not hold": SPECIFIC}
_SHAPES = ["circle", "square", "cross"]
TITLES: dict[Cell, str] = {
    "four-stages": "Four stages",
    "stages-by-meaning": "Stages by agreement",
    "english": "English has far fewer",
    "related-exist": "Some are shared by several",
    "specific-to-related": "Specific fall, related rise",
    "untrained-alike": "In untrained languages too",
    "general-rise": "General ones rise",
    "stable-alignment": "Most keep their kind",
}
"""What a sweep judges, in a few words."""

_CURVES = ("specific and related", "general")


def sweep_figures(sweep: Sweep, neurons: Neurons | None = None) -> tuple[Figure, ...]:
    """Every figure and table of a sweep.

    Args:
        sweep: what was found.
        neurons: those shown beside it, whose cell is marked besides the paper's.
    """
    chance, rows = chance_table(sweep.rows), sweep.rows
    return (
        table_figure("In how many cells each claim holds", claim_table(rows)),
        *(
            curve_figure(name, some, neurons)
            for name, some in of_claims(rows).items()
            if any(row.get("effect") is not None for row in some)
        ),
        table_figure("Which axis moves it", axis_table(rows)),
        *heat_maps(rows),
        *([shuffled_figure(sweep)] if sweep.layers else []),
        *([table_figure("What chance gives", chance)] if chance.rows else []),
        table_figure("Every cell", threshold_table(rows)),
    )


def curve_figure(claim: str, rows: Sequence[Row], neurons: Neurons | None = None) -> Figure:
    """The specification curve of one claim."""
    told = [row for row in rows if row.get("effect") is not None]
    ordered = sorted(told, key=lambda row: (row["effect"], row["cell"]))
    untold = len(rows) - len(told)
    shown = [_point(place, row, neurons) for place, row in enumerate(ordered)]
    marked = "the paper's cell is the diamond"
    if not any(row["paper"] for row in ordered):
        marked = "the grid does not hold the paper's cell"
    if any(row["mark"] == "here" for row in shown):
        marked += ", the cell of the neurons on this page the triangle"
    effect = EFFECTS[claim]
    text = (
        f"Each point is a cell of the grid, in order of its effect: {IN_FULL[claim]}. Below: its "
        f"settings; {marked}. Cells "
        "rest on the same counts, so a share of them is no p-value."
        + (f" Cells without an effect, not drawn: {untold}." if untold else "")
    )
    return Figure(
        name=f"curve-{claim}",
        title=f"{TITLES[claim]}: every cell",
        text=text,
        spec=_curve_spec(shown, effect, BARS.get(claim, 0.0 if claim in _SIGNED else None)),
        table=_curve_table(claim, ordered),
    )


_SIGNED = (
    "four-stages",
    "stages-by-meaning",
    "specific-to-related",
    "untrained-alike",
    "general-rise",
)


def _point(place: int, row: Row, neurons: Neurons | None) -> Spec:
    """A cell as the curve has it."""
    point: Spec = {"n": place, "effect": _rounded(row["effect"]), "verdict": row["verdict"]}
    if row["low"] is not None:
        point |= {"low": _rounded(row["low"]), "high": _rounded(row["high"])}
    settings = dict(_settings(row))
    point |= {f"axis {name}": value for name, value in settings.items()}
    own = neurons is not None and is_cell_of(row, neurons)
    paper = row["paper"] and row.get("thresholds") in (None, "own")
    return point | {"mark": "paper" if paper else "here" if own else None, "words": _words(row)}


def is_cell_of(row: Row, neurons: Neurons) -> bool:
    """Whether a row is of the settings that neurons were identified with."""
    said = neurons.rule
    given = said.lam is not None and said.lam.status == "given"
    lam = None if said.lam is None else str(said.lam.value) if given else "auto"
    return (
        (row["method"], row["rate"], row["tau_quantile"])
        == (said.method, said.rate, said.tau_quantile)
        and row["prefilter"] == said.prefilter
        and row.get("lam_rule") == lam
        and row["left_out"] is None
        and row.get("thresholds") in (None, "own")
    )


def _settings(row: Row) -> Iterator[tuple[str, str]]:
    """The settings of a cell: axis, and what it is called below the curve."""
    yield "rate", f"rate {row['rate']:g}"
    yield "quantile", f"quantile {row['tau_quantile']:g}"
    yield "rule", "LAPE" if row["method"] == "lape" else f"λ {rule(row)}"
    if row["method"] != "lape":
        yield "filter", "filtered" if row["prefilter"] else "not filtered"
    if row.get("thresholds"):
        yield "thresholds", f"{row['thresholds']} thresholds"
    yield "left out", f"without {row['left_out']}" if row["left_out"] else "all languages"


def _words(row: Row) -> str:
    return ", ".join(value for _, value in _settings(row))


def _curve_spec(points: list[Spec], effect: str, bar: float | None) -> Spec:
    """Effects above, ticks of the settings below, one column for each cell."""
    x = {"scale": {"domain": [-1, len(points)], "nice": False}, "axis": None}
    place = {"x": enc("n:Q", **x)}
    y = enc("effect:Q", title=effect, scale={"zero": False, "nice": True})
    resampled = any("low" in point for point in points)
    ends = {"low": ".3~g", "high": ".3~g"} if resampled else {}
    verdict = {
        "color": enc("verdict:N", scale=coloured(_COLOURS), legend=top_legend()),
        "shape": enc("verdict:N", scale={"domain": list(_COLOURS), "range": _SHAPES}),
        "tooltip": tips("words:N", "verdict:N", effect=".3~g", **ends),
    }
    marks = [mark("point", place | {"y": y} | verdict, filled=True, size=16, opacity=0.9)]
    if resampled:
        marks.insert(0, whiskers("y", place, strokeWidth=0.6, opacity=0.45))
    if bar is not None:
        level = {"y": enc("bar:Q")}
        marks.insert(0, mark("rule", level, rows=[{"bar": bar}], strokeDash=DASH))
    marked = [point for point in points if point["mark"]]
    shape = {"domain": ["paper", "here"], "range": ["diamond", "triangle-up"]}
    emphasis: Spec = place | {"y": y, "shape": enc("mark:N", scale=shape, legend=None)}
    emphasis |= {"color": {"value": RELATED}, "tooltip": verdict["tooltip"]}
    if marked:
        marks.append(mark("rule", place, rows=marked, strokeWidth=0.8, color=RELATED))
        marks.append(mark("point", emphasis, rows=marked, filled=True, size=110, stroke="white"))
    names = list(dict.fromkeys(key for point in points for key in point if key.startswith("axis ")))
    order = [value for name in names for value in _ordered(points, name)]
    ticks = {
        "x": enc("n:Q", **x),
        "y": enc(
            "setting:N",
            sort=order,
            title=None,
            axis={"labelFontSize": 9, "labelLimit": 160, "ticks": False, "domain": False},
        ),
        "color": enc("verdict:N", scale=coloured(_COLOURS), legend=None),
    }
    below = mark("tick", ticks, thickness=1, height=7, orient="vertical") | {
        "transform": [
            {"fold": names, "as": ["axis", "setting"]},
            {"filter": "isValid(datum.setting)"},
        ],
        "width": WIDTH - 120,
        "height": {"step": 10},
    }
    above: Spec = {"layer": marks, "width": WIDTH - 120, "height": 200}
    above |= {"resolve": {"scale": {"shape": "independent", "color": "independent"}}}
    return {
        "data": {"values": points},
        "vconcat": [above, below],
        "spacing": 6,
        "resolve": {"scale": {"x": "shared", "color": "independent"}},
    }


def _ordered(points: Sequence[Spec], name: str) -> list[str]:
    """The values of an axis in the order of the grid: numbers ascending, words as they come."""
    values = list(dict.fromkeys(point[name] for point in points if name in point))

    def key(value: str) -> tuple[int, float, str]:
        number = value.rpartition(" ")[2]
        try:
            return 1, float(number), value
        except ValueError:
            first = value in ("all languages", "λ auto", "not filtered", "own thresholds")
            return (0 if first else 2), 0.0, value

    return sorted(values, key=key)


def _curve_table(claim: str, ordered: Sequence[Row]) -> Table:
    rows = tuple(
        (
            row["rate"],
            row["tau_quantile"],
            rule(row),
            "on" if row["prefilter"] else "off",
            row.get("thresholds"),
            row["left_out"],
            "yes" if row["paper"] else None,
            *(_rounded(row[name]) for name in ("effect", "low", "high")),
            row["verdict"],
        )
        for row in ordered
    )
    columns = (
        *("rate", "tau quantile", "lambda rule", "filter", "thresholds", "left out", "paper's"),
        *("effect", "low", "high", "verdict"),
    )
    caption = f"Every cell, by its effect: {IN_FULL[claim]}."
    return Table(f"curve-{claim}", caption, columns, rows)


def heat_maps(rows: Sequence[Row]) -> tuple[Figure, ...]:
    """Lambda, and the cuts of the stages, over rate and quantile; all else as in the paper."""
    cells = [
        row
        for row in by_cell(rows)
        if row["left_out"] is None
        and (row["method"], row["lam_rule"]) == (PAPER.method, str(PAPER.lam))
        and row["prefilter"] == PAPER.prefilter
    ]
    rates, quantiles = ({row[name] for row in cells} for name in ("rate", "tau_quantile"))
    if len(rates) < 2 or len(quantiles) < 2:
        return ()
    made = [_lambda_map(cells)]
    if any(row.get("starts") for row in cells):
        made.append(_cut_maps(cells))
    return tuple(made)


def _lambda_map(cells: Sequence[Row]) -> Figure:
    shown = []
    for row in cells:
        lam = row.get("lam")
        bound = row.get("lam_status") == "bound"
        label = "none" if lam is None else f"{lam:.3f}" if bound else f"{lam:g} (limit)"
        binding = ":".join(map(str, row.get("binding") or ()))
        shown.append(_tile(row, lam, label) | {"binding": binding or row.get("lam_status") or "-"})
    table: tuple[tuple[Cell, ...], ...] = tuple(
        (r["rate"], r["tau_quantile"], _rounded(r.get("lam")), r.get("lam_status"), s["binding"])
        for r, s in zip(cells, shown, strict=True)
    )
    text = (
        "λ over rate and quantile, all else as in the paper, whose cell is framed. Limit: no "
        "general neuron binds it below; none: one is selected at λ = 0 already."
    )
    return Figure(
        name="sweep-lambda",
        title="λ* over rate and quantile",
        text=text,
        spec=_heat_map(shown, "λ", ["binding:N"]) | {"width": 320},
        table=Table(
            "sweep-lambda",
            text,
            ("rate", "tau quantile", "lambda", "status", "binding"),
            table,
        ),
    )


def _cut_maps(cells: Sequence[Row]) -> Figure:
    """A panel for each cut: first layer of the second, third and fourth stage."""
    panels = []
    for stage in (1, 2, 3):
        shown = []
        for row in cells:
            start = row["starts"][stage] if row.get("starts") else None
            shown.append(_tile(row, start, "none" if start is None else str(start)))
        first = not panels
        panels.append(
            _heat_map(shown, None, [], named=first)
            | {"width": 165, "title": f"stage {stage + 1} begins in layer"}
        )
    columns = ("rate", "tau quantile", "second", "third", "fourth", "fit", "shuffled over layers")
    table: tuple[tuple[Cell, ...], ...] = tuple(
        (
            row["rate"],
            row["tau_quantile"],
            *(row["starts"][1:] if row.get("starts") else (None,) * 3),
            _rounded(row.get("fit")),
            _rounded(row.get("fit_by_chance")),
        )
        for row in cells
    )
    fits = [row["fit"] for row in cells if row.get("fit") is not None]
    by_chance = [row["fit_by_chance_high"] for row in cells if row.get("fit") is not None]
    text = (
        "Where the best division into four stages is cut, over rate and quantile, all else as in "
        f"the paper. The stages explain {min(fits):.0%} to {max(fits):.0%} of the variance; of "
        f"neurons shuffled over layers at most {max(by_chance):.0%} (97.5% of the draws)."
    )
    return Figure(
        name="sweep-cuts",
        title="Where the stages are cut",
        text=text,
        spec={
            "hconcat": panels,
            "spacing": 12,
            "resolve": {"scale": {"color": "independent"}},
        },
        table=Table("sweep-cuts", text, columns, table),
    )


def _tile(row: Row, value: float | None, label: str) -> Spec:
    return {
        "rate": f"{row['rate']:g}",
        "quantile": f"{row['tau_quantile']:g}",
        "value": value,
        "label": label,
        "paper": row["paper"],
    }


def _heat_map(
    shown: list[Spec], legend: str | None, hover: Sequence[str], *, named: bool = True
) -> Spec:
    """Tiles over rate and quantile with their numbers in them."""
    rates = sorted({tile["rate"] for tile in shown}, key=float)
    quantiles = sorted({tile["quantile"] for tile in shown}, key=float, reverse=True)
    known = [tile["value"] for tile in shown if tile["value"] is not None]
    middle = (min(known) + max(known)) / 2 if known else 0.0
    axis = {"domain": False, "ticks": False, "grid": False}
    shared = {
        "x": enc("rate:N", sort=rates, title="rate", axis=axis),
        "y": enc(
            "quantile:N", sort=quantiles, title="quantile of tau" if named else None, axis=axis
        ),
        "tooltip": tips("rate:N", "quantile:N", "label:N", *hover),
    }
    colour = enc(
        "value:Q",
        title=legend,
        scale={"scheme": "blues", "zero": False},
        legend={"gradientLength": 100, "tickCount": 4} if legend else None,
    )
    ink = {"condition": {"test": f"datum.value > {middle!r}", "value": "white"}, "value": CELL_INK}
    framed = [tile for tile in shown if tile["paper"]]
    marks = [
        mark("rect", {}, color="#80808022"),
        mark("rect", {"color": colour}) | {"transform": [{"filter": "isValid(datum.value)"}]},
        mark("text", {"text": enc("label:N"), "color": ink}, fontSize=11),
    ]
    if framed:
        marks.append(mark("rect", {}, rows=framed, filled=False, stroke=SPECIFIC, strokeWidth=2))
    return layered(shown, *marks, shared=shared, height={"step": 28})


def shuffled_figure(sweep: Sweep) -> Figure:
    """The class curves in the paper's cell, beside neurons shuffled over layers."""
    panels, cells = [], []
    for name, layers in zip(_CURVES, sweep.layers, strict=True):
        rows = [{"layer": layer} | dict(of) for layer, of in enumerate(layers)]
        cells += [
            (
                name,
                r["layer"],
                r["neurons"],
                *(_rounded(r[end]) for end in ("chance", "low", "high")),
            )
            for r in rows
        ]
        lowest = name == _CURVES[-1]
        x = enc("layer:Q", **layer_axis(len(rows), lowest=lowest))
        band = {"x": x, "y": enc("low:Q", title=name), "y2": {"field": "high"}}
        line = {
            "x": x,
            "y": enc("neurons:Q"),
            "tooltip": tips("layer:O", neurons=",", chance=",.0f"),
        }
        colour = GENERAL if lowest else RELATED
        panels.append(
            layered(
                rows,
                mark("area", band, color=NONE, opacity=0.4),
                mark("line", line, color=colour, strokeWidth=1.5),
                mark("point", line, color=colour, filled=True, size=22),
                width=WIDTH - 60,
                height=110,
            )
        )
    text = (
        "Neurons per layer in the paper's cell; the band holds 95% of the draws in which as many "
        "neurons are put into random layers."
    )
    columns = ("neurons of", "layer", "neurons", "shuffled", "low", "high")
    return Figure(
        name="sweep-layers",
        title="By layer, beside neurons shuffled over layers",
        text=text,
        spec={"vconcat": panels, "spacing": 8, "resolve": {"scale": {"x": "shared"}}},
        table=Table("sweep-layers", text, columns, tuple(cells)),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
