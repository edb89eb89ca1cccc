"""Neuron charts: a set of neurons by number of languages, by language; one neuron."""

import numpy as np

from langneurons.neurons.table import KINDS, Lambda, Neurons, kind_of
from langneurons.neurons.tables import per_language, shared_by
from langneurons.report.charts import (
    BAR,
    DASH,
    ENDS,
    GENERAL,
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
    view,
    whiskers,
)
from langneurons.tables import Table
from langneurons.texts.languages import told_apart

_ABOVE, _BELOW = "above tau", "not above tau"
_SIDES = {_ABOVE: GENERAL, _BELOW: "#8fb4d4"}


def language_figure(neurons: Neurons) -> Figure:
    """Specific and related neurons of every language."""
    table = per_language(neurons)
    ends = ENDS if neurons.uncertainty else {}
    rows = []
    for record in table.records():
        for kind in ("specific", "related"):
            row = {"language": record["name"], "kind": kind, "neurons": record[kind]}
            rows.append(row | {end: record[f"{kind} {end}"] for end in ends})
    bars = {
        "y": enc("neurons:Q", title="neurons"),
        "color": kind_colour(top_legend(["specific", "related"])),
        "tooltip": tips("language:N", "kind:N", neurons=",", **ends),
    }
    marks = [mark("bar", bars, opacity=BAR)]
    if neurons.uncertainty:
        marks.append(whiskers("y"))
    order = list(told_apart(neurons.languages).values())
    shared = {
        "x": enc("language:N", sort=order, title=None),
        "xOffset": enc("kind:N", sort=["specific", "related"]),
    }
    return Figure(
        name="per-language",
        title="Neurons by language",
        text="How many neurons are highly active in a language: in it alone (specific), or in it "
        "and some others (related).",
        spec=layered(rows, *marks, shared=shared, width=WIDTH, height=240),
        table=table,
    )


def shared_figure(neurons: Neurons) -> Figure:
    """Neurons highly active in N languages, among the selected and over all (Fig. 10)."""
    table = shared_by(neurons)
    k = len(neurons.languages)
    kinds = kind_of(np.arange(k + 1), k, neurons.least_general).tolist()
    bars = {
        "x": enc("N:O", title="N, languages in which a neuron is highly active"),
        "y": enc("neurons:Q", title="neurons"),
        "color": kind_colour(top_legend(KINDS)),
        "tooltip": tips("N:O", "kind:N", neurons=","),
    }
    views = []
    for column, title, least in (
        ("selected", "among the selected", 0),
        ("all", "over all neurons, N from 1 up", 1),
    ):
        rows = [
            {"N": row["N"], "kind": kinds[row["N"]], "neurons": row[column]}
            for row in table.records()
            if row[column] is not None and row["N"] >= least
        ]
        if rows:
            views.append(view(rows, "bar", bars, title=title, width=WIDTH, height=180))
    return Figure(
        name="shared-by",
        title="Neurons shared by N languages",
        text="In how many languages a neuron is highly active. One: specific; several: related; "
        f"{'all' if neurons.least_general == k else f'{neurons.least_general} or more'}: general.",
        spec={"vconcat": views},
        table=table,
    )


def lambda_figure(neurons: Neurons) -> Figure | None:
    """General neurons among the selected against lambda: the cliff behind the choice.

    None without a lambda curve.
    """
    lam = neurons.rule.lam
    if lam is None or not lam.curve:
        return None
    rows = [{"lambda": x, "plain": x * lam.factor, "general": n} for x, n in lam.curve]
    text = (
        "λ is the largest at which no neuron highly active in every language is selected; beyond "
        "it they pour in."
        if lam.status == "bound"
        else "Neurons highly active in every language among the selected, against λ; dashed: the λ "
        "that is used."
    )
    if not any(row["general"] for row in rows):
        text += " None is selected at any λ here: it does not bind."
    cells = tuple((round(r["lambda"], 6), round(r["plain"], 6), r["general"]) for r in rows)
    columns = ("lambda", "lambda of Eq. 5", "general selected")
    return Figure(
        name="lambda",
        title="Choosing lambda",
        text=text,
        spec=_lambda_spec(lam, rows),
        table=Table(name="lambda", caption=text, columns=columns, rows=cells),
    )


def _lambda_spec(lam: Lambda, rows: list[Spec]) -> Spec:
    """The curve, and a dashed line at the lambda that is used."""
    most = max(1, *(row["general"] for row in rows))
    curve = {
        "x": enc("lambda:Q", title=f"lambda (released units; times {lam.factor:.3f} in Eq. 5)"),
        "y": enc(
            "general:Q",
            title="general neurons among the selected",
            scale={"domain": [0, most], "nice": True},
        ),
        "color": {"value": GENERAL},
        "tooltip": [
            enc("lambda:Q", format=".4f"),
            enc("plain:Q", title="lambda of Eq. 5", format=".4f"),
            enc("general:Q", title="general neurons selected", format=","),
        ],
    }
    symbol = "λ*" if lam.status == "bound" else "λ"
    used = [{"lambda": lam.value, "label": f"{symbol} = {lam.value:.5f}"}]
    place = {"x": enc("lambda:Q")}
    label = {"align": "right", "dx": -6, "y": 12, "fontSize": 12}
    return layered(
        rows,
        mark("line", curve, strokeWidth=2),
        mark("point", curve, filled=True, size=28),
        mark("rule", place, rows=used, strokeDash=DASH),
        mark("text", place | {"text": enc("label:N")}, rows=used, **label),
        width=WIDTH,
        height=220,
    )


def card_figure(neurons: Neurons, row: int) -> Figure:
    """One neuron's activation probability per language, with tau (Fig. 1 of the paper)."""
    names = told_apart(neurons.languages)
    said = "effect, largest = 1" if neurons.rule.by == "effect" else "activation probability"
    rows = [
        {
            "language": names[code],
            "probability": round(float(probability), 5),
            "active": _ABOVE if member else _BELOW,
        }
        for code, probability, member in zip(
            neurons.languages, neurons.probability[row], neurons.member[row], strict=True
        )
    ]
    bars = {
        "x": enc(
            "probability:Q",
            title=said,
            scale={"domain": [0, 1], "clamp": True},
            axis={"tickCount": 5},
        ),
        "y": enc("language:N", title=None, sort=[row["language"] for row in rows]),
        "color": enc("active:N", scale=coloured(_SIDES), legend=top_legend()),
        "tooltip": tips("language:N", probability=".4f"),
    }
    # The rows have a name by which the page's scripts put those of another neuron in their place.
    named = mark("bar", bars) | {"data": {"name": "card", "values": rows}}
    tau = mark("rule", {"x": enc("tau:Q")}, rows=[{"tau": neurons.rule.tau}], strokeDash=DASH)
    where = [str(part) for part in neurons.keys[row].tolist() if part >= 0]
    name = f"card-{'-'.join(where)}"
    text = f"{said.capitalize()} of neuron {':'.join(where)} in each language; dashed: tau."
    columns = ("language", "probability", "active")
    cells = tuple(tuple(row[column] for column in columns) for row in rows)
    return Figure(
        name=name,
        title="One neuron",
        text=text,
        spec={"layer": [named, tau], "width": 320, "height": {"step": 20}},
        table=Table(name=name, caption=text, columns=columns, rows=cells),
    )


def typical(neurons: Neurons) -> int | None:
    """Row of the neuron to show first; None without one.

    It is the related one furthest inside the selection, else a specific or general one.
    """
    for kind in ("related", "specific", "general"):
        rows = np.flatnonzero(neurons.kind == kind)
        if rows.size:
            return int(rows[np.argmax(neurons.margin[rows])])
    return None
