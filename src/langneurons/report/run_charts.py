"""Run figures: charts and tables of what a run did besides finding neurons: responses, accuracy, scores, training."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from langneurons.report.neuron_charts import DASH, WIDTH, Figure, enc, layered, tips, top_legend
from langneurons.tables import Cell, Table
from langneurons.texts.accuracy import MEAN, Accuracy
from langneurons.texts.languages import language

_SERIES = ("#767671", "#1f6fb2", "#c8501e", "#12876a", "#8a5fa8", "#b5871b")
_SHAPES = ("circle", "diamond", "square", "triangle-up", "cross", "triangle-down")
"""Colours and shapes of models beside each other, the one before alignment first; beyond six they
come again."""

_ENDS = ("accuracy", "low", "high")


def accuracy_figure(models: Mapping[str, Sequence[Accuracy]]) -> Figure:
    """Right answers per language with intervals, of one model or several beside each other (Tables 1 and 5).

    Args:
        models: name -> accuracies, in the order they are shown.
    """
    rows: list[dict[str, Any]] = [
        {"model": name, "language": _name(one.lang)}
        | one._asdict()
        | {"accuracy": round(one.accuracy, 5)}
        for name, found in models.items()
        for one in found
    ]
    order, names = list(dict.fromkeys(row["language"] for row in rows)), list(models)
    colours, shapes = (
        [kinds[i % len(kinds)] for i in range(len(names))] for kinds in (_SERIES, _SHAPES)
    )
    legend = top_legend() if len(names) > 1 else None
    axis = {"title": "right answers", "axis": {"format": ".0%", "tickCount": 6}}
    shared = {
        "y": enc("language:N", sort=order, title=None, axis={"grid": True, "gridDash": [1, 3]}),
        "yOffset": enc("model:N", sort=names),
        "color": enc("model:N", scale={"domain": names, "range": colours}, legend=legend),
    }
    shape = enc("model:N", scale={"domain": names, "range": shapes}, legend=legend)
    hover = tips("model:N", "language:N", accuracy=".1%", low=".1%", high=".1%", correct=",", n=",")
    dot = {
        "x": enc("accuracy:Q", scale={"domainMin": 0, "nice": True}, **axis),
        "shape": shape,
        "tooltip": hover,
    }
    spec = layered(
        rows,
        {
            "mark": {"type": "rule", "strokeWidth": 1.5},
            "encoding": {"x": enc("low:Q", **axis), "x2": {"field": "high"}},
        },
        {"mark": {"type": "point", "filled": True, "size": 48, "opacity": 1}, "encoding": dot},
        shared=shared,
        width=WIDTH,
        height={"step": max(26, 11 * len(names)), "for": "position"},
    )
    text = (
        "Share of right answers to the same questions, one greedy answer each, with 95% intervals; the mean is over "
        "languages."
    )
    cells = tuple(
        (
            row["model"],
            row["lang"],
            row["language"],
            row["n"],
            row["correct"],
            *map(_cell, (row[end] for end in _ENDS)),
        )
        for row in rows
    )
    heads = ("model", "language", "name", "questions", "right", *_ENDS)
    return Figure("accuracy", "Accuracy", text, spec, Table("accuracy", text, heads, cells))


def training_figure(history: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Loss over the steps of an alignment, on pairs trained on and held out; None without a step."""
    rows = []
    for entry in history:
        for mark, name in (("", "pairs trained on"), ("eval_", "held-out pairs")):
            if f"{mark}loss" in entry:
                found = {
                    "margin": f"{mark}rewards/margins",
                    "preferred": f"{mark}rewards/accuracies",
                }
                row = {"step": entry["step"], "pairs": name, "loss": entry[f"{mark}loss"]}
                rows.append(row | {what: _cell(entry.get(place)) for what, place in found.items()})
    if not rows:
        return None
    names, legend = ["pairs trained on", "held-out pairs"], top_legend()
    curve = {
        "x": enc("step:Q", title="step", axis={"tickMinStep": 1, "grid": False}),
        "y": enc("loss:Q", title="loss", scale={"zero": False}),
        "color": enc(
            "pairs:N", scale={"domain": names, "range": ["#1f6fb2", "#c8501e"]}, legend=legend
        ),
        "shape": enc(
            "pairs:N", scale={"domain": names, "range": ["circle", "diamond"]}, legend=legend
        ),
        "tooltip": tips("step:O", "pairs:N", loss=".4f", margin=".3f", preferred=".0%"),
    }
    line = {key: value for key, value in curve.items() if key not in ("shape", "tooltip")}
    start = {"data": {"values": [{"loss": math.log(2), "label": "ln 2"}]}}
    level = {"y": enc("loss:Q")}
    note = {"x": {"value": "width"}, "text": enc("label:N")}
    spec = layered(
        rows,
        start | {"mark": {"type": "rule", "strokeDash": DASH}, "encoding": level},
        start
        | {
            "mark": {"type": "text", "align": "right", "dy": -7, "fontSize": 11},
            "encoding": level | note,
        },
        {"mark": {"type": "line", "strokeWidth": 1.5}, "encoding": line},
        {"mark": {"type": "point", "filled": True, "size": 40, "opacity": 1}, "encoding": curve},
        width=WIDTH,
        height=200,
    )
    text = (
        "Loss of the preference optimisation. It begins at ln 2, where the model does not yet prefer either response "
        "more than it did."
    )
    cells = tuple(
        tuple(row[name] for name in ("step", "pairs", "loss", "margin", "preferred"))
        for row in rows
    )
    table = Table("training", text, ("step", "pairs", "loss", "margin", "preferred"), cells)
    return Figure("training", "Training", text, spec, table)


def responses_table(languages: Sequence[Mapping[str, Any]]) -> Figure:
    """What responses are like, per language, from what `sample.describe` counted."""
    text = (
        "Responses that the neurons are counted on. Right, of those whose answer is known; cut at the limit on tokens; "
        "empty; in another script or another language than asked."
    )
    names = ("responses", "correct", "judged", "cut", "empty", "wrong_script", "other_language")
    rows = tuple(
        (row["lang"], _name(row["lang"]), *(row.get(name) for name in names)) for row in languages
    )
    heads = (
        "language",
        "name",
        "responses",
        "right",
        "judged",
        "cut",
        "empty",
        "other script",
        "other language",
    )
    return Figure("responses", "Responses", text, None, Table("responses", text, heads, rows))


def scores_table(languages: Sequence[Mapping[str, Any]]) -> Figure:
    """How well responses agree with English ones, per language, from what `reward` counted."""
    text = (
        "Mean alignment score of the responses to align on: of all, of right and of wrong ones; and how often a right "
        "one scores above a wrong one to the same question."
    )
    names = (
        "responses",
        "without_reference",
        "score",
        "score_right",
        "score_wrong",
        "right_above_wrong",
    )
    rows = tuple(
        (row["lang"], _name(row["lang"]), *(row.get(name) for name in names)) for row in languages
    )
    heads = (
        "language",
        "name",
        "responses",
        "no reference",
        "score",
        "of right",
        "of wrong",
        "right above wrong",
    )
    return Figure("scores", "Alignment scores", text, None, Table("scores", text, heads, rows))


def audit_table(audit: Sequence[Mapping[str, Any]]) -> Figure:
    """What became of every response and every pair, from the audit of `pair`."""
    text = (
        "What became of the responses and of the pairs they form. Possible pairs are tied, or wrong (the better one's "
        "number is), or too long, or kept; of those kept some are drawn to train on and some to watch."
    )
    names = [name for name in audit[0] if name != "lang"] if audit else []
    rows = tuple((row["lang"], _name(row["lang"]), *(row[name] for name in names)) for row in audit)
    heads = ("language", "name", *(name.replace("_", " ") for name in names))
    return Figure("audit", "Pairs", text, None, Table("audit", text, heads, rows))


def _name(code: str) -> str:
    return "mean" if code == MEAN else language(code).name


def _cell(value: float | None) -> Cell:
    return None if value is None or math.isnan(value) else float(f"{value:.6g}")
