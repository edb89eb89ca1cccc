"""Run charts: what else a run did: responses, accuracy, scores, pairs, training."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from typing import Any

from langneurons.report.charts import (
    DASH,
    GENERAL,
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
from langneurons.tables import Cell, Table
from langneurons.texts.accuracy import MEAN, Accuracy
from langneurons.texts.languages import told_apart

_SERIES = ("#767671", RELATED, SPECIFIC, GENERAL, "#8a5fa8", "#b5871b")
_SHAPES = ("circle", "diamond", "square", "triangle-up", "cross", "triangle-down")
"""Colours and shapes of models beside each other, the one before alignment first; beyond six they
come again."""

_TRAINED, _HELD_OUT = "pairs trained on", "held-out pairs"


def accuracy_figure(models: Mapping[str, Sequence[Accuracy]]) -> Figure:
    """Right answers per language with intervals, of one model or several (Tables 1 and 5).

    Args:
        models: name -> accuracies, in the order they are shown.
    """
    text = (
        "Share of right answers to the same questions, one greedy answer each, with 95% "
        "intervals; the mean is over languages."
    )
    names = _names(share.lang for shares in models.values() for share in shares)
    rows: list[Spec] = [
        {"model": model, "language": names[share.lang]}
        | share._asdict()
        | {"accuracy": round(share.accuracy, 5)}
        for model, shares in models.items()
        for share in shares
    ]
    cells = tuple(
        (
            row["model"],
            row["lang"],
            row["language"],
            row["n"],
            row["correct"],
            _number(row["accuracy"]),
            _number(row["low"]),
            _number(row["high"]),
        )
        for row in rows
    )
    heads = ("model", "language", "name", "questions", "right", "accuracy", "low", "high")
    return Figure(
        name="accuracy",
        title="Accuracy",
        text=text,
        spec=_accuracy_spec(rows, list(models)),
        table=Table(name="accuracy", caption=text, columns=heads, rows=cells),
    )


def _accuracy_spec(rows: Sequence[Spec], models: Sequence[str]) -> Spec:
    """A dot and its interval for each model in each language."""
    colours = dict(zip(models, cycle(_SERIES), strict=False))
    shapes = {"domain": list(models), "range": list(islice(cycle(_SHAPES), len(models)))}
    legend = top_legend() if len(models) > 1 else None
    order = list(dict.fromkeys(row["language"] for row in rows))
    share = {"title": "right answers", "axis": {"format": ".0%", "tickCount": 6}}
    shared = {
        "y": enc("language:N", sort=order, title=None, axis={"grid": True, "gridDash": [1, 3]}),
        "yOffset": enc("model:N", sort=list(models)),
        "color": enc("model:N", scale=coloured(colours), legend=legend),
    }
    dot = {
        "x": enc("accuracy:Q", scale={"domainMin": 0, "nice": True}, **share),
        "shape": enc("model:N", scale=shapes, legend=legend),
        "tooltip": tips(
            "model:N", "language:N", accuracy=".1%", low=".1%", high=".1%", correct=",", n=","
        ),
    }
    interval = {"x": enc("low:Q", **share)}
    return layered(
        rows,
        whiskers("x", interval, strokeWidth=1.5),
        mark("point", dot, filled=True, size=48, opacity=1),
        shared=shared,
        width=WIDTH,
        height={"step": max(26, 11 * len(models)), "for": "position"},
    )


def training_figure(history: Sequence[Mapping[str, Any]], sft: float = 0) -> Figure | None:
    """Loss over the steps of an alignment, on pairs trained on and held out; None without any.

    Args:
        history: what the training logged.
        sft: the weight of the better response's own loss, which is part of what is drawn.
    """
    rows = list(_losses(history))
    if not rows:
        return None
    text = (
        "Loss of the preference optimisation. It begins at ln 2, where the model does not yet "
        "prefer either response more than it did."
    )
    if sft:
        text = (
            f"Loss of the preference optimisation, plus {sft:g} times the loss of the better "
            "response itself, in nats a token, which is most of what is drawn."
        )
    columns = ("step", "pairs", "loss", "margin", "preferred")
    cells = tuple(tuple(row[column] for column in columns) for row in rows)
    return Figure(
        name="training",
        title="Training",
        text=text,
        spec=_training_spec(rows, at_ln_2=not sft),
        table=Table(name="training", caption=text, columns=columns, rows=cells),
    )


def _losses(history: Sequence[Mapping[str, Any]]) -> Iterator[Spec]:
    """What the training logged of the pairs it was on, and of those held out."""
    for entry in history:
        for prefix, pairs in (("", _TRAINED), ("eval_", _HELD_OUT)):
            if f"{prefix}loss" in entry:
                yield {
                    "step": entry["step"],
                    "pairs": pairs,
                    "loss": entry[f"{prefix}loss"],
                    "margin": _number(entry.get(f"{prefix}rewards/margins")),
                    "preferred": _number(entry.get(f"{prefix}rewards/accuracies")),
                }


def _training_spec(rows: Sequence[Spec], *, at_ln_2: bool) -> Spec:
    """Two curves, and a dashed line where training begins, if it begins at ln 2."""
    legend = top_legend()
    shapes = {"domain": [_TRAINED, _HELD_OUT], "range": ["circle", "diamond"]}
    curve = {
        "x": enc("step:Q", title="step", axis={"tickMinStep": 1, "grid": False}),
        "y": enc("loss:Q", title="loss", scale={"zero": False}),
        "color": enc(
            "pairs:N", scale=coloured({_TRAINED: RELATED, _HELD_OUT: SPECIFIC}), legend=legend
        ),
    }
    dots = curve | {
        "shape": enc("pairs:N", scale=shapes, legend=legend),
        "tooltip": tips("step:O", "pairs:N", loss=".4f", margin=".3f", preferred=".0%"),
    }
    start = [{"loss": math.log(2), "label": "ln 2"}]
    level = {"y": enc("loss:Q")}
    label = level | {"x": {"value": "width"}, "text": enc("label:N")}
    beginning = (
        mark("rule", level, rows=start, strokeDash=DASH),
        mark("text", label, rows=start, align="right", dy=-7, fontSize=11),
    )
    return layered(
        rows,
        *(beginning if at_ln_2 else ()),
        mark("line", curve, strokeWidth=1.5),
        mark("point", dots, filled=True, size=40, opacity=1),
        width=WIDTH,
        height=200,
    )


def responses_table(languages: Sequence[Mapping[str, Any]]) -> Figure:
    """What responses are like, per language, from what `sample.describe` counted."""
    heads = {
        "responses": "responses",
        "correct": "right",
        "judged": "judged",
        "cut": "cut",
        "empty": "empty",
        "wrong_script": "other script",
        "other_language": "other language",
    }
    table = _per_language(
        "responses",
        "Responses that the neurons are counted on. Right, of those whose answer is known; cut "
        "at the limit on tokens; empty; in another script or another language than asked.",
        heads,
        languages,
    )
    return table_figure("Responses", table)


def scores_table(languages: Sequence[Mapping[str, Any]]) -> Figure:
    """How well responses agree with English ones, per language, from what `reward` counted."""
    heads = {
        "responses": "responses",
        "without_reference": "no reference",
        "score": "score",
        "score_right": "of right",
        "score_wrong": "of wrong",
        "right_above_wrong": "right above wrong",
    }
    table = _per_language(
        "scores",
        "Mean alignment score of the responses to align on: of all, of right and of wrong ones; "
        "and how often a right one scores above a wrong one to the same question.",
        heads,
        languages,
    )
    return table_figure("Alignment scores", table)


def audit_table(audit: Sequence[Mapping[str, Any]]) -> Figure:
    """What became of every response and every pair, from the audit of `pair`."""
    names = [name for name in audit[0] if name != "lang"] if audit else []
    table = _per_language(
        "audit",
        "What became of the responses and of the pairs they form. A pair is left out where both "
        "responses score alike (tied), where the one that scores higher is wrong, or where one is "
        "too long. Of those kept some are drawn to train on and some to watch.",
        {name: name.replace("_", " ") for name in names},
        audit,
    )
    return table_figure("Pairs", table)


def _per_language(
    name: str, caption: str, heads: Mapping[str, str], languages: Sequence[Mapping[str, Any]]
) -> Table:
    """A row per language of what was counted in it: key -> column head; else an empty cell."""
    names = _names(counted["lang"] for counted in languages)
    rows = tuple(
        (counted["lang"], names[counted["lang"]], *(counted.get(key) for key in heads))
        for counted in languages
    )
    return Table(name, caption, ("language", "name", *heads.values()), rows)


def _names(codes: Iterable[str]) -> dict[str, str]:
    """What to call each language, and the mean over them."""
    return {**told_apart(code for code in codes if code != MEAN), MEAN: "mean"}


def _number(value: float | None) -> Cell:
    return None if value is None or math.isnan(value) else float(f"{value:.6g}")
