"""Silencing charts: heat maps of silenced languages against evaluated ones (Fig. 2, 6, 7, 8).

One panel per setting, side by side, on one colour scale whose middle is no change.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from langneurons.report.charts import CELL_INK, Figure, Spec, diverging, enc, layered, mark
from langneurons.silencing.matrix import Matrices, Matrix
from langneurons.tables import Cell, Table
from langneurons.texts.languages import told_apart

SIZE = 300
"""Width of a panel in pixels, where nothing else sets it."""

COST_LIMIT = 2
"""Where the colours of costs end, in nats a token: a perplexity seven times what it was. One
language that loses its script must not make all others look untouched."""

Z_LIMIT = 10
"""Where the colours of z end: beyond it a few random sets cannot tell degrees."""

_PALE = "#8a8a86"

_NUMBER = ".4~g"
_TIPS = (
    enc("silenced:N", title="silenced"),
    enc("evaluated:N", title="evaluated"),
    enc("neurons:Q", title="neurons silenced"),
    enc("before:N", title="before"),
    enc("change:Q", title="change", format=_NUMBER),
    enc("interval:N", title="95% interval"),
    enc("ratio:N", title="after / before"),
    enc("z:Q", title="z against random sets", format=_NUMBER),
    enc("above:N", title="random sets with less"),
)
"""What is shown on hover, and under which name."""


def change_figure(matrices: Matrices) -> Figure:
    """Heat maps of perplexity after silencing over perplexity before."""
    return Figure(
        name="perplexity",
        title="What silencing costs",
        text="Perplexity of each language (columns) when the neurons of one (rows) are silenced, "
        "as a multiple of what it was: 1.00 is no change. Hover for changes and intervals; a dash: "
        "the language has no such neurons. Colours, of the logarithm, end at "
        f"{np.exp(COST_LIMIT):.1f} times.",
        spec=_heat_maps(matrices, "cost", "cost in nats a token", most=COST_LIMIT),
        table=change_table(matrices),
    )


def z_figure(matrices: Matrices) -> Figure | None:
    """Heat maps of z against the random sets; None where there are fewer than two of them."""
    controls = matrices.losses.controls
    if controls < 2:
        return None
    return Figure(
        name="perplexity-z",
        title="Against random neurons",
        text=f"How many standard deviations each change lies above those of {controls} random "
        "sets of as many neurons in the same layers, in changes of log perplexity. Colours end "
        f"at {Z_LIMIT}.",
        spec=_heat_maps(matrices, "z", "z", most=Z_LIMIT),
        table=z_table(matrices),
    )


def change_table(matrices: Matrices) -> Table:
    """Every cell: perplexity before and after, its change with interval, ratio, bits per byte."""
    rows: list[tuple[Cell, ...]] = []
    for setting in matrices.settings:
        found, bits = matrices[setting, "difference"], matrices[setting, "bits per byte"]
        for i, j, silenced, evaluated in _cells(found):
            before, change = float(found.before[j]), float(found.change[i, j])
            numbers = (
                before,
                before + change,
                change,
                found.low[i, j],
                found.high[i, j],
                (before + change) / before,
                bits.change[i, j],
            )
            neurons = int(found.neurons[i])
            rows.append((setting, silenced, evaluated, neurons, *map(_number, numbers)))
    return Table(
        name="perplexity",
        caption="Perplexity before and after silencing a language's neurons, with 95% intervals "
        "over blocks of questions; bits: change in bits per byte. Where a language has no such "
        "neurons, nothing was run.",
        columns=(
            "setting",
            "silenced",
            "evaluated",
            "neurons",
            "before",
            "after",
            "change",
            "low",
            "high",
            "ratio",
            "bits",
        ),
        rows=tuple(rows),
    )


def z_table(matrices: Matrices) -> Table:
    """Every cell against its random sets, in changes of log perplexity."""
    rows: list[tuple[Cell, ...]] = []
    for setting in matrices.settings:
        found = matrices[setting, "log ratio"]
        mean = np.full(found.change.shape, np.nan)
        if len(found.controls):
            mean = found.controls.mean(axis=0)
        z, percentile = found.z, found.percentile
        for i, j, silenced, evaluated in _cells(found):
            numbers = (found.change[i, j], mean[i, j], z[i, j], percentile[i, j])
            rows.append((setting, silenced, evaluated, *map(_number, numbers)))
    return Table(
        name="perplexity-z",
        caption=f"Change in log perplexity, its mean over {matrices.losses.controls} random sets "
        "matched to the silenced neurons, how many of their standard deviations it lies above "
        "that, and the share of them that change less.",
        columns=(
            "setting",
            "silenced",
            "evaluated",
            "change",
            "random sets",
            "z",
            "random sets below",
        ),
        rows=tuple(rows),
    )


def dominance_table(matrices: Matrices) -> Table:
    """The test of the diagonal for each setting and measure."""
    rows: list[tuple[Cell, ...]] = []
    for setting in matrices.settings:
        for measure in ("difference", "log ratio"):
            found = matrices.dominance(setting, measure)
            low, high = found.interval or (np.nan, np.nan)
            apart = found.diagonal - found.others
            numbers = (found.diagonal, found.others, apart, low, high, found.p)
            rows.append(
                (
                    setting,
                    measure,
                    f"{len(found.on_diagonal)} of {len(found.rows)}",
                    " ".join(f"{own}:{other}" for own, other in found.elsewhere.items()),
                    " ".join(found.empty),
                    *map(_number, numbers),
                    found.holds,
                )
            )
    return Table(
        name="dominance",
        caption="Does silencing a language's neurons hurt that language most? Rows whose "
        "greatest change is their own, means on and off the diagonal, how far they lie apart, "
        "and the share p of assignments of columns to rows that do as well.",
        columns=(
            "setting",
            "measure",
            "own greatest",
            "elsewhere",
            "no such neurons",
            "diagonal",
            "others",
            "apart",
            "low",
            "high",
            "p",
            "verdict",
        ),
        rows=tuple(rows),
    )


def _heat_maps(matrices: Matrices, field: str, title: str, *, most: float = np.inf) -> Spec:
    """A panel per setting; colours end where the greatest change does, at `most` at the latest."""
    panels = {setting: _panel_rows(matrices, setting) for setting in matrices.settings}
    values = [abs(row[field]) for rows in panels.values() for row in rows if row[field] is not None]
    limit = min(max(values, default=0) or 1, most)
    colour = enc(
        f"{field}:Q",
        scale=diverging(limit, clamp=True),
        legend={
            "orient": "bottom",
            "title": title,
            "gradientLength": 220,
            "format": ".3~r",
            "tickCount": 5,
        },
    )
    ink = [
        {"test": f"!isValid(datum.{field})", "value": _PALE},
        {"test": f"abs(datum.{field}) > {0.6 * limit!r}", "value": "white"},
    ]
    label = {"text": enc(f"{field} label:N"), "color": {"condition": ink, "value": CELL_INK}}
    known = {"transform": [{"filter": f"isValid(datum.{field})"}]}
    marks = (
        mark("rect", {}, color="#80808022"),
        known | mark("rect", {"color": colour}),
        mark("text", label, fontSize=9),
    )
    order = list(matrices.languages)
    axis = {"labelAngle": 0, "domain": False, "ticks": False, "grid": False}
    views = []
    for setting, rows in panels.items():
        shared = {
            "x": enc("to:N", sort=order, title="evaluated", axis=axis),
            "y": enc("from:N", sort=order, title=None if views else "silenced", axis=axis),
            "tooltip": list(_TIPS),
        }
        size = {"width": SIZE, "height": {"step": 26}}
        views.append(layered(rows, *marks, shared=shared, title=f"{setting} silenced", **size))
    return {"hconcat": views, "spacing": 16, "resolve": {"scale": {"color": "shared"}}}


def _panel_rows(matrices: Matrices, setting: str) -> list[Spec]:
    """What a panel shows: one row per cell."""
    found, costs = matrices[setting, "difference"], matrices[setting, "log ratio"]
    z = costs.z
    percentile = found.percentile
    names, rows = told_apart(found.languages), []
    for i, j, silenced, evaluated in _cells(found):
        change, before = _number(found.change[i, j]), float(found.before[j])
        low, high = _number(found.low[i, j]), _number(found.high[i, j])
        share = _number(percentile[i, j])
        row: Spec = {"from": silenced, "to": evaluated}
        row |= {"silenced": names[silenced], "evaluated": names[evaluated]}
        row |= {"neurons": int(found.neurons[i]), "before": f"{before:.4g}"}
        cost = costs.change[i, j]
        row |= {"change": change, "cost": _number(cost), "cost label": _short(np.exp(cost))}
        row |= {"z": _number(z[i, j]), "z label": _short(z[i, j])}
        row["interval"] = "unknown"
        if low is not None and high is not None:
            row["interval"] = f"{low:+.4g} to {high:+.4g}"
        row["ratio"] = "not run" if change is None else f"{(before + change) / before:.4g}"
        row["above"] = "unknown" if share is None else f"{share:.0%}"
        rows.append(row)
    return rows


def _cells(found: Matrix) -> Iterator[tuple[int, int, str, str]]:
    """Row, column, and the languages they are of."""
    for i, silenced in enumerate(found.languages):
        for j, evaluated in enumerate(found.languages):
            yield i, j, silenced, evaluated


def _short(value: float) -> str:
    """A number in few characters; a dash where there is none."""
    if np.isnan(value):
        return "–"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{round(float(value), digits) + 0.0:,.{digits}f}"  # + 0.0: no minus before a zero


def _number(value: float | NDArray[np.float64]) -> float | None:
    """A number of a table, to six digits; None where there is none."""
    return None if np.isnan(value) else float(f"{float(value):.6g}")
