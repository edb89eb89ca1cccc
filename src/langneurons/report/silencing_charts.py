"""Silencing charts: heat maps of silenced languages against evaluated ones (Fig. 2, 6, 7, 8).

One panel per setting, side by side, on one colour scale whose middle is no change. Random sets are
shown one by one: a few of them have a least and a most, but no spread to divide by.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from langneurons.report.charts import (
    CELL_INK,
    NONE,
    PAPER_INK,
    SPECIFIC,
    Figure,
    Spec,
    diverging,
    enc,
    layered,
    mark,
    tips,
    whiskers,
)
from langneurons.silencing.matrix import Matrices, Matrix
from langneurons.tables import Cell, Table
from langneurons.texts.languages import told_apart

SIZE = 300
"""Width of a panel in pixels, where nothing else sets it."""

COST_LIMIT = 2
"""Where the colours of costs end, in nats a token: a perplexity seven times what it was. One
language that loses its script must not make all others look untouched."""

_PALE = "#8a8a86"

_OWN: Spec = {"filled": True, "size": 45, "opacity": 1, "color": SPECIFIC}
_RANDOM: Spec = {"size": 11, "thickness": 1.5, "color": PAPER_INK}
"""How a language's own neurons and random ones are drawn beside each other."""

_STEPS = (
    tuple(10.0**power for power in range(-6, 13)),
    (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100),
    (0.5, 0.7, 1, 1.5, 2, 3, 5),
    (0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.5),
    (0.9, 0.95, 1, 1.05, 1.1, 1.15, 1.2),
    (0.98, 0.99, 1, 1.01, 1.02, 1.03, 1.04, 1.05),
    (0.99, 0.995, 1, 1.005, 1.01),
)
"""Multiples that axes of logarithms may name, the farthest apart first."""

_NUMBER = ".4~g"
_TIPS = (
    enc("silenced:N", title="silenced"),
    enc("evaluated:N", title="evaluated"),
    enc("neurons:Q", title="neurons silenced"),
    enc("before:N", title="before"),
    enc("change:Q", title="change", format=_NUMBER),
    enc("interval:N", title="95% interval"),
    enc("ratio:N", title="after / before"),
    enc("random:N", title="random sets, after / before"),
)
"""What is shown on hover, and under which name."""


def change_figure(matrices: Matrices) -> Figure:
    """Heat maps of perplexity after silencing over perplexity before."""
    beyond = ""
    if matrices.losses.controls:
        beyond = " A dot: more than with any random set."
    ends = f", and end at {np.exp(COST_LIMIT):.1f} times" if _most(matrices) > COST_LIMIT else ""
    return Figure(
        name="perplexity",
        title="What silencing costs",
        text="Perplexity of each language (columns) when the neurons of one (rows) are silenced, "
        "as a multiple of what it was: 1.00 is no change. Hover for changes and intervals; a dash: "
        f"the language has no such neurons.{beyond} Colours are of the logarithm{ends}.",
        spec=heat_maps(
            {f"{setting} silenced": panel_rows(matrices, setting) for setting in matrices.settings}
        ),
        table=change_table(matrices),
    )


def _most(matrices: Matrices) -> float:
    """The greatest change of log perplexity, up or down; 0 where no neuron was silenced."""
    changes = [matrices[setting, "log ratio"].change for setting in matrices.settings]
    return float(np.abs(np.nan_to_num(changes)).max())


def random_figure(matrices: Matrices) -> Figure | None:
    """What each language's own neurons cost it, beside every random set; None without any."""
    drawn = matrices.losses.controls
    panels = {setting: _beside(matrices[setting, "log ratio"]) for setting in matrices.settings}
    if not any(random for _, random in panels.values()):
        return None
    sets = f"each of {drawn} random sets" if drawn > 1 else "one random set"
    return Figure(
        name="perplexity-random",
        title="Beside random neurons",
        text="What silencing a language's neurons costs the language itself, with its 95% interval "
        f"(dots), and what {sets} of as many neurons in the same layers costs it (ticks), as "
        f"multiples of its perplexity. {_more_than_random(matrices)}",
        spec=_strips(panels),
        table=random_table(matrices),
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


def random_table(matrices: Matrices) -> Table:
    """Every cell beside its random sets, in changes of log perplexity."""
    rows: list[tuple[Cell, ...]] = []
    for setting in matrices.settings:
        found = matrices[setting, "log ratio"]
        drawn = [found.drawn(how) for how in ("min", "median", "max")]
        below = found.percentile
        for i, j, silenced, evaluated in _cells(found):
            numbers = (found.change[i, j], *(of_all[i, j] for of_all in drawn), below[i, j])
            rows.append((setting, silenced, evaluated, *map(_number, numbers)))
    return Table(
        name="perplexity-random",
        caption="Change in log perplexity, what each of "
        f"{matrices.losses.controls} random sets matched to the silenced neurons changes (least, "
        "median, most), and the share of them that change less.",
        columns=(
            "setting",
            "silenced",
            "evaluated",
            "change",
            "random least",
            "random median",
            "random most",
            "random below",
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


def _more_than_random(matrices: Matrices) -> str:
    """How many cells exceed all of their random sets, own and others, and how many by chance."""
    counted = []
    for setting in matrices.settings:
        found = matrices[setting, "log ratio"]
        rows = found.measured
        beyond = found.percentile[rows] == 1
        own, others = len(rows), len(rows) * (len(found.languages) - 1)
        reached = int(beyond[np.arange(own), rows].sum())
        counted.append(
            f"{setting}, {reached} of {own} own cells and {int(beyond.sum()) - reached} of "
            f"{others} others"
        )
    return (
        f"More than with any of them: {'; '.join(counted)}. Were these neurons like any others, it "
        f"would be one cell in {matrices.losses.controls + 1}."
    )


def _beside(found: Matrix) -> tuple[list[Spec], list[Spec]]:
    """The own change of every language that has neurons, and what each random set changes."""
    names, own, drawn = told_apart(found.languages), [], []
    for i in found.measured:
        language = {"code": found.languages[i], "language": names[found.languages[i]]}
        ends = np.exp([found.change[i, i], found.low[i, i], found.high[i, i]])
        numbers = dict(zip(("ratio", "low", "high"), map(_number, ends), strict=True))
        own.append(language | {"neurons": int(found.neurons[i])} | numbers)
        drawn += [language | {"ratio": _number(np.exp(x))} for x in found.controls[:, i, i]]
    return own, drawn


def _strips(panels: Mapping[str, tuple[list[Spec], list[Spec]]]) -> Spec:
    """A panel per setting: languages below each other, multiples of perplexity on one scale."""
    known = [row for panel in panels.values() for rows in panel for row in rows]
    ends = [row[end] for row in known for end in ("ratio", "low", "high") if row.get(end)]
    axis = {"values": _multiples(min(ends), max(ends)), "format": "~g", "grid": False}
    scale = {"type": "log", "nice": False, "padding": 8}
    views = []
    for setting, (own, drawn) in panels.items():
        x = {"title": "perplexity, after / before", "scale": scale, "axis": axis}
        y = enc("code:N", sort=[row["code"] for row in own], title=None, axis={"ticks": False})
        place = {"x": enc("ratio:Q", **x), "y": y}
        tip = tips("language:N", ratio=_NUMBER)
        told = tips("language:N", neurons=",", ratio=_NUMBER, low=_NUMBER, high=_NUMBER)
        marks = [
            mark("rule", {"x": {"datum": 1, "type": "quantitative"}}, rows=[{}], color=NONE),
            mark("tick", place | {"tooltip": tip}, rows=drawn, **_RANDOM),
            whiskers("x", {"y": y}, strokeWidth=1.5, color=SPECIFIC),
            mark("point", place | {"tooltip": told}, **_OWN),
        ]
        height = {"step": 18}
        title = f"{setting} silenced"
        views.append(layered(own, *marks, title=title, width=SIZE, height=height))
    return {"hconcat": views, "spacing": 16, "resolve": {"scale": {"x": "shared"}}}


def _multiples(least: float, most: float) -> list[float]:
    """Multiples to be written on an axis of logarithms from the least to the most: 1 and others."""
    inside: list[float] = []
    for steps in _STEPS:
        inside = [x for x in steps if least <= x <= most]
        if len(inside) > 2:
            break
    return inside


def heat_maps(panels: Mapping[str, list[Spec]]) -> Spec:
    """Panels side by side; colours end where the greatest cost does, at the limit at the latest.

    Args:
        panels: title -> cells, from `panel_rows`.
    """
    cells = [row for rows in panels.values() for row in rows]
    values = [abs(row["cost"]) for row in cells if row["cost"] is not None]
    limit = min(max(values, default=0) or 1, COST_LIMIT)
    colour = enc(
        "cost:Q",
        scale=diverging(limit, clamp=True),
        legend={
            "orient": "bottom",
            "title": "perplexity, after / before",
            "gradientLength": 220,
            "labelExpr": "format(exp(datum.value), '~g')",
            "values": [float(np.log(x)) for x in _multiples(np.exp(-limit), np.exp(limit))],
        },
    )
    ink = [
        {"test": "!isValid(datum.cost)", "value": _PALE},
        {"test": f"abs(datum.cost) > {0.6 * limit!r}", "value": "white"},
    ]
    label = {"text": enc("cost label:N"), "color": {"condition": ink, "value": CELL_INK}}
    known = {"transform": [{"filter": "isValid(datum.cost)"}]}
    marks = (
        mark("rect", {}, color="#80808022"),
        known | mark("rect", {"color": colour}),
        mark("text", label, fontSize=9),
        mark("text", label | {"text": enc("beyond:N")}, fontSize=12, dx=12, dy=-7),
    )
    axis = {"labelAngle": 0, "domain": False, "ticks": False, "grid": False}
    views = []
    for title, rows in panels.items():
        order = list(dict.fromkeys(row["from"] for row in rows))
        shared = {
            "x": enc("to:N", sort=order, title="evaluated", axis=axis),
            "y": enc("from:N", sort=order, title=None if views else "silenced", axis=axis),
            "tooltip": list(_TIPS),
        }
        size = {"width": SIZE, "height": {"step": 26}}
        views.append(layered(rows, *marks, shared=shared, title=title, **size))
    return {"hconcat": views, "spacing": 16, "resolve": {"scale": {"color": "shared"}}}


def panel_rows(matrices: Matrices, setting: str) -> list[Spec]:
    """What a panel shows: one row per cell."""
    found, costs = matrices[setting, "difference"], matrices[setting, "log ratio"]
    least, most, below = costs.drawn("min"), costs.drawn("max"), costs.percentile
    names, rows = told_apart(found.languages), []
    for i, j, silenced, evaluated in _cells(found):
        change, before = _number(found.change[i, j]), float(found.before[j])
        low, high = _number(found.low[i, j]), _number(found.high[i, j])
        row: Spec = {"from": silenced, "to": evaluated}
        row |= {"silenced": names[silenced], "evaluated": names[evaluated]}
        row |= {"neurons": int(found.neurons[i]), "before": f"{before:.4g}"}
        cost = costs.change[i, j]
        row |= {"change": change, "cost": _number(cost), "cost label": _short(np.exp(cost))}
        row["beyond"] = "•" if below[i, j] == 1 else ""
        row["interval"] = "unknown"
        if low is not None and high is not None:
            row["interval"] = f"{low:+.4g} to {high:+.4g}"
        row["ratio"] = "not run" if change is None else f"{(before + change) / before:.4g}"
        row["random"] = "unknown"
        if np.isfinite(least[i, j]):
            row["random"] = f"{np.exp(least[i, j]):.4g} to {np.exp(most[i, j]):.4g}"
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
