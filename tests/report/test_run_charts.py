"""Run charts: accuracy, training, and tables of what was counted."""

import math

from langneurons.report.run_charts import (
    accuracy_figure,
    audit_table,
    responses_table,
    scores_table,
    training_figure,
)
from langneurons.texts.accuracy import MEAN, Accuracy

SHARES = [Accuracy("sw", 40, 10, 0.25, 0.14, 0.4), Accuracy(MEAN, 40, 10, 0.25, math.nan, 0.4)]


def test_models_stand_beside_each_other() -> None:
    figure = accuracy_figure({"before": SHARES, "sw-th": SHARES})
    assert figure.table.rows == (
        ("before", "sw", "Swahili", 40, 10, 0.25, 0.14, 0.4),
        ("before", "mean", "mean", 40, 10, 0.25, None, 0.4),
        ("sw-th", "sw", "Swahili", 40, 10, 0.25, 0.14, 0.4),
        ("sw-th", "mean", "mean", 40, 10, 0.25, None, 0.4),
    )
    assert figure.spec
    shared, dot = figure.spec["encoding"], figure.spec["layer"][1]["encoding"]
    assert shared["y"]["sort"] == ["Swahili", "mean"]
    assert (
        shared["color"]["scale"]["domain"] == dot["shape"]["scale"]["domain"] == ["before", "sw-th"]
    )
    assert len(set(dot["shape"]["scale"]["range"])) == 2
    assert shared["color"]["legend"]
    alone = accuracy_figure({"before": SHARES})
    assert alone.spec
    assert alone.spec["encoding"]["color"]["legend"] is None


def test_beyond_six_models_colours_come_again() -> None:
    figure = accuracy_figure({f"m{i}": SHARES for i in range(8)})
    assert figure.spec
    colours = figure.spec["encoding"]["color"]["scale"]["range"]
    assert len(colours) == 8
    assert colours[:2] == colours[6:]


def test_the_loss_of_training() -> None:
    history = [
        {"step": 1, "loss": 0.69, "rewards/margins": 0.0123456789, "rewards/accuracies": 0.5},
        {"step": 2, "loss": 0.6},
        {"step": 2, "eval_loss": 0.65, "eval_rewards/margins": math.nan},
        {"step": 2, "train_runtime": 1.0},
    ]
    figure = training_figure(history)
    assert figure
    assert figure.table.rows == (
        (1, "pairs trained on", 0.69, 0.0123457, 0.5),
        (2, "pairs trained on", 0.6, None, None),
        (2, "held-out pairs", 0.65, None, None),
    )
    assert figure.spec
    start = figure.spec["layer"][0]["data"]["values"]
    assert start == [{"loss": math.log(2), "label": "ln 2"}]
    with_sft = training_figure(history, sft=30)
    assert with_sft
    assert with_sft.spec
    assert "plus 30 times the loss of the better response itself" in with_sft.text
    assert len(with_sft.spec["layer"]) == len(figure.spec["layer"]) - 2  # nothing of ln 2
    assert training_figure(history[-1:]) is None
    assert training_figure([]) is None


def test_tables_of_what_was_counted() -> None:
    counted = {"lang": "sw", "responses": 40, "correct": 15, "judged": 40, "cut": 1, "empty": 0}
    table = responses_table([counted | {"other_language": 2}]).table
    assert table.columns == (
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
    assert table.rows == (("sw", "Swahili", 40, 15, 40, 1, 0, None, 2),)
    scores = scores_table([{"lang": "th", "score": -1.5}]).table
    assert scores.rows == (("th", "Thai", None, None, -1.5, None, None, None),)
    audit = audit_table([{"lang": "th", "all_right": 3, "kept": 5}]).table
    assert audit.columns == ("language", "name", "all right", "kept")
    assert audit.rows == (("th", "Thai", 3, 5),)
    assert audit_table([]).table.rows == ()
