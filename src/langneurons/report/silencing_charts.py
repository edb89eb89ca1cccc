"""Heat maps: silenced languages against evaluated ones, as Vega-Lite charts and tables (Fig. 2, 6, 7, 8 of the paper).

Written as plain Vega-Lite: one panel per setting, side by side, on one colour scale whose middle is
no change.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from langneurons.silencing.losses import Losses
from langneurons.silencing.matrix import dominance, matrix
from langneurons.tables import Cell, Table
from langneurons.texts.languages import language

SIZE = 300
"""Width of a panel in pixels, where nothing else sets it."""

Z_LIMIT = 10
"""Where the colours of z end: beyond it a few random sets cannot tell degrees."""

_NAMES = {
    "silenced": "silenced",
    "evaluated": "evaluated",
    "neurons": "neurons silenced",
    "before": "before",
} | {
    "change": "change",
    "interval": "95% interval",
    "ratio": "after / before",
    "z": "z against random sets",
    "above": "random sets with less",
}
"""What is shown on hover, and under which name."""


def change_spec(losses: Losses) -> dict[str, Any]:
    """Heat maps of the change in perplexity."""
    return _spec(losses, "change", "change in perplexity")


def z_spec(losses: Losses) -> dict[str, Any] | None:
    """Heat maps of z against the random sets; None where there are fewer than two of them."""
    return None if losses.controls < 2 else _spec(losses, "z", "z")


def change_table(losses: Losses) -> Table:
    """Every cell: perplexity before and after, its change with interval, ratio, and change in bits per byte."""
    rows: list[tuple[Cell, ...]] = []
    for setting in losses.settings:
        found, bits = matrix(losses, setting), matrix(losses, setting, "bits per byte")
        for i, a in enumerate(losses.languages):
            for j, b in enumerate(losses.languages):
                before, change = float(found.before[j]), float(found.change[i, j])
                cells = (before, before + change, change, found.low[i, j], found.high[i, j])
                ratio = (before + change) / before
                rows.append(
                    (
                        setting,
                        a,
                        b,
                        int(found.neurons[i]),
                        *map(_cell, (*cells, ratio, bits.change[i, j])),
                    )
                )
    columns = (
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
    )
    caption = (
        "Perplexity before and after silencing a language's neurons, with 95% intervals over blocks of questions; "
        "bits: change in bits per byte. Where a language has no such neurons, nothing was run."
    )
    return Table("perplexity", caption, (*columns, "bits"), tuple(rows))


def z_table(losses: Losses) -> Table:
    """Every cell against its random sets, in changes of log perplexity."""
    rows: list[tuple[Cell, ...]] = []
    for setting in losses.settings:
        found = matrix(losses, setting, "log ratio")
        mean = (
            found.controls.mean(axis=0)
            if len(found.controls)
            else np.full(found.change.shape, np.nan)
        )
        for i, a in enumerate(losses.languages):
            for j, b in enumerate(losses.languages):
                numbers = (found.change[i, j], mean[i, j], found.z[i, j], found.percentile[i, j])
                rows.append((setting, a, b, *map(_cell, numbers)))
    caption = (
        f"Change in log perplexity, its mean over {losses.controls} random sets matched to the silenced neurons, how "
        "many of their standard deviations it lies above that, and the share of them that change less."
    )
    columns = (
        "setting",
        "silenced",
        "evaluated",
        "change",
        "random sets",
        "z",
        "random sets below",
    )
    return Table("perplexity-z", caption, columns, tuple(rows))


def dominance_table(losses: Losses) -> Table:
    """The test of the diagonal for each setting and measure."""
    rows: list[tuple[Cell, ...]] = []
    for setting in losses.settings:
        for measure in ("difference", "log ratio"):
            found = dominance(matrix(losses, setting, measure))
            low, high = found.interval or (np.nan, np.nan)
            numbers = (found.diagonal, found.others, found.diagonal - found.others, low, high)
            elsewhere = " ".join(f"{a}:{b}" for a, b in found.elsewhere.items())
            count = f"{len(found.on_diagonal)} of {len(found.rows)}"
            cells = (
                count,
                elsewhere,
                " ".join(found.empty),
                *map(_cell, numbers),
                _cell(found.p),
                found.holds,
            )
            rows.append((setting, measure, *cells))
    columns = (
        "setting",
        "measure",
        "own greatest",
        "elsewhere",
        "no such neurons",
        "diagonal",
        "others",
        "apart",
    )
    caption = (
        "Does silencing a language's neurons hurt that language most? Rows whose greatest change is their own, means "
        "on and off the diagonal, how far they lie apart, and the share p of assignments of columns to rows that do as "
        "well."
    )
    return Table("dominance", caption, (*columns, "low", "high", "p", "verdict"), tuple(rows))


def _spec(losses: Losses, field: str, title: str) -> dict[str, Any]:
    panels = [_rows(losses, setting) for setting in losses.settings]
    values = [abs(row[field]) for rows in panels for row in rows if row[field] is not None]
    limit = max(values, default=0) or 1
    if field == "z":
        limit = min(limit, Z_LIMIT)
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "hconcat": [
            _panel(losses, setting, rows, field, title, limit, first=not i)
            for i, (setting, rows) in enumerate(zip(losses.settings, panels, strict=True))
        ],
        "spacing": 16,
        "resolve": {"scale": {"color": "shared"}},
    }


def _panel(
    losses: Losses,
    setting: str,
    rows: list[dict[str, Any]],
    field: str,
    title: str,
    limit: float,
    *,
    first: bool,
) -> dict[str, Any]:
    order = list(losses.languages)
    axis = {"labelAngle": 0, "domain": False, "ticks": False, "grid": False}
    color = {
        "field": field,
        "type": "quantitative",
        "scale": {"scheme": "blueorange", "domain": [-limit, limit], "domainMid": 0, "clamp": True},
        "legend": {
            "orient": "bottom",
            "title": title,
            "gradientLength": 220,
            "format": ".3~r",
            "tickCount": 5,
        },
    }
    ink = [{"test": f"!isValid(datum.{field})", "value": "#8a8a86"}]
    ink.append({"test": f"abs(datum.{field}) > {0.6 * limit!r}", "value": "white"})
    tips = [
        {
            "field": name,
            "title": text,
            "type": "nominal" if isinstance(rows[0][name], str) else "quantitative",
        }
        | ({} if isinstance(rows[0][name], str | int) else {"format": ".4~g"})
        for name, text in _NAMES.items()
    ]
    return {
        "title": f"{setting} silenced",
        "width": SIZE,
        "height": {"step": 26},
        "data": {"values": rows},
        "encoding": {
            "x": {
                "field": "to",
                "type": "nominal",
                "sort": order,
                "title": "evaluated",
                "axis": axis,
            },
            "y": {
                "field": "from",
                "type": "nominal",
                "sort": order,
                "title": "silenced" if first else None,
            }
            | {"axis": axis},
            "tooltip": tips,
        },
        "layer": [
            {"mark": {"type": "rect", "color": "#80808022"}},
            {
                "transform": [{"filter": f"isValid(datum.{field})"}],
                "mark": {"type": "rect"},
                "encoding": {"color": color},
            },
            {
                "mark": {"type": "text", "fontSize": 9},
                "encoding": {
                    "text": {"field": f"{field} label", "type": "nominal"},
                    "color": {"condition": ink, "value": "#1c1c1a"},
                },
            },
        ],
    }


def _rows(losses: Losses, setting: str) -> list[dict[str, Any]]:
    """What a panel shows: one row per cell."""
    found, z = matrix(losses, setting), matrix(losses, setting, "log ratio").z
    out = []
    for i, a in enumerate(losses.languages):
        for j, b in enumerate(losses.languages):
            change, before = _cell(found.change[i, j]), float(found.before[j])
            low, high = _cell(found.low[i, j]), _cell(found.high[i, j])
            share = _cell(found.percentile[i, j])
            out.append(
                {
                    "from": a,
                    "to": b,
                    "silenced": language(a).name,
                    "evaluated": language(b).name,
                    "neurons": int(found.neurons[i]),
                    "before": f"{before:.4g}",
                    "change": change,
                    "interval": "unknown"
                    if low is None or high is None
                    else f"{low:+.4g} to {high:+.4g}",
                    "ratio": "not run" if change is None else f"{(before + change) / before:.4g}",
                    "change label": _short(found.change[i, j]),
                    "z": _cell(z[i, j]),
                    "z label": _short(z[i, j]),
                    "above": "unknown" if share is None else f"{share:.0%}",
                }
            )
    return out


def _short(value: float) -> str:
    """A number in few characters; a dash where there is none."""
    if np.isnan(value):
        return "–"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{round(float(value), digits) + 0.0:.{digits}f}"  # + 0.0: no minus before a zero


def _cell(value: float | NDArray[np.float64]) -> float | None:
    """A number of a table, to six digits; None where there is none."""
    return None if np.isnan(value) else float(f"{float(value):.6g}")
