"""Tables: what is told of all cells together, as plain rows.

Cells rest on the same counts and lean on each other, so no share of them is a p-value; it says how
much a verdict hangs on settings, not how sure it is.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, get_args

import numpy as np

from langneurons.intervals import Verdict
from langneurons.sweep.judged import EFFECTS
from langneurons.tables import Cell, Table

Rows = Sequence[Mapping[str, Any]]

AXES = {
    "rate": "rate",
    "tau_quantile": "tau quantile",
    "rule": "method and lambda",
    "prefilter": "filter",
    "thresholds": "thresholds",
    "left_out": "language left out",
}
"""Axes of the grid: column -> what it is called."""

VERDICTS = get_args(Verdict)

_SETTINGS = ("rate", "tau quantile", "lambda rule", "filter", "left out", "paper's")


def tables(rows: Rows) -> tuple[Table, ...]:
    """Every table."""
    return (claim_table(rows), axis_table(rows), threshold_table(rows), chance_table(rows))


def of_claims(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    """The rows of each claim, in the order in which claims are told."""
    found = {name: [row for row in rows if row["claim"] == name] for name in EFFECTS}
    return {name: some for name, some in found.items() if some}


def rule(row: Mapping[str, Any]) -> str:
    """Method and rule for lambda of a row, in words."""
    if row["method"] == "lape":
        return "LAPE"
    return "auto" if row["lam_rule"] == "auto" else f"{float(row['lam_rule']):g}"


def value(row: Mapping[str, Any], axis: str) -> Any:
    """Where a row stands on an axis."""
    return rule(row) if axis == "rule" else row.get(axis)


def claim_table(rows: Rows) -> Table:
    """In how many cells each claim holds, does not, cannot be told."""
    made: list[tuple[Cell, ...]] = []
    for name, some in of_claims(rows).items():
        verdicts = Counter(row["verdict"] for row in some)
        effects = [row["effect"] for row in some if row.get("effect") is not None]
        papers = [row for row in some if row["paper"]]
        middle = np.quantile(effects, [0, 0.5, 1]).tolist() if effects else [None] * 3
        made.append(
            (
                name,
                len(some),
                *(verdicts[verdict] for verdict in VERDICTS),
                *map(_number, middle),
                _number(papers[0].get("effect")) if papers else None,
                papers[0]["verdict"] if papers else None,
                EFFECTS[name],
            )
        )
    return Table(
        "sweep-claims",
        "In how many cells of the grid each claim holds, does not hold, or cannot be told, "
        "and its effect. Cells rest on the same counts: a share of them is no p-value.",
        (
            *("claim", "cells", *VERDICTS, "least", "median", "most"),
            *("paper's cell", "paper's verdict", "effect"),
        ),
        tuple(made),
    )


def axis_table(rows: Rows) -> Table:
    """How much each axis moves each claim: pairs of cells that differ in it alone."""
    made: list[tuple[Cell, ...]] = []
    for name, some in of_claims(rows).items():
        effects = [row["effect"] for row in some if row.get("effect") is not None]
        spread = float(np.std(effects)) if effects else 0.0
        for axis, called in AXES.items():
            pairs, other, moved = 0, 0, []
            for first, second in _apart_in(some, axis):
                pairs += 1
                other += first["verdict"] != second["verdict"]
                if first.get("effect") is not None and second.get("effect") is not None:
                    moved.append(abs(first["effect"] - second["effect"]))
            if pairs:
                moves = float(np.mean(moved)) / spread if moved and spread else None
                made.append((name, called, pairs, other, round(other / pairs, 4), _number(moves)))
    return Table(
        "sweep-axes",
        "Pairs of cells that differ in one axis alone: how many of them differ in verdict, and how "
        "far apart their effects lie on average, in standard deviations of the effect over all "
        "cells.",
        ("claim", "axis", "pairs", "other verdict", "share", "effect moves"),
        tuple(made),
    )


def _apart_in(rows: Rows, axis: str) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Pairs of rows that differ in an axis and in no other; of numbers, in neighbouring values.

    A language is left out of all of them: pairs of one left out and none.
    """
    groups: dict[tuple, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        same = tuple(value(row, other) for other in AXES if other != axis)
        groups[same].append(row)
    pairs = []
    for group in groups.values():
        if axis == "left_out":
            whole = [row for row in group if row["left_out"] is None]
            pairs += [(w, row) for w in whole for row in group if row["left_out"] is not None]
        elif axis in ("rate", "tau_quantile"):
            ordered = sorted(group, key=lambda row: row[axis])
            pairs += pairwise(ordered)
        else:
            pairs += [
                (a, b)
                for i, a in enumerate(group)
                for b in group[i + 1 :]
                if value(a, axis) != value(b, axis)
            ]
    return pairs


def _settings(row: Mapping[str, Any]) -> tuple[Cell, ...]:
    """The settings of a row's cell, under the heads of `_SETTINGS`."""
    filtered, papers = "on" if row["prefilter"] else "off", "yes" if row["paper"] else None
    return (row["rate"], row["tau_quantile"], rule(row), filtered, row["left_out"], papers)


def threshold_table(rows: Rows) -> Table:
    """Lambda, tau, the stages' cuts and the numbers of each kind in each cell."""
    made: list[tuple[Cell, ...]] = []
    for row in by_cell(rows):
        made.append(
            (
                *_settings(row),
                *(_number(row.get(name)) for name in ("lam", "tau")),
                row.get("lam_status"),
                ":".join(map(str, row.get("binding") or ())) or None,
                *(row.get(kind) for kind in ("specific", "related", "general", "none")),
                " ".join(map(str, (row.get("starts") or ())[1:])) or None,
                _number(row.get("fit")),
            )
        )
    return Table(
        "sweep-cells",
        "Every cell: lambda (bound: by the neuron named), tau, neurons of each kind, first layers "
        "of the second to fourth stage and how much of the variance the stages explain.",
        (
            *_SETTINGS,
            *("lambda", "tau", "status", "binding"),
            *("specific", "related", "general", "none", "cuts", "fit"),
        ),
        tuple(made),
    )


def chance_table(rows: Rows) -> Table:
    """What chance gives beside what was found, in each cell where it is known."""
    made: list[tuple[Cell, ...]] = []
    for row in by_cell(rows):
        if row.get("specific_by_chance") is None:
            continue
        of_kinds: list[Cell] = []
        for kind in ("specific", "related", "general"):
            of_kinds += [row[kind], _number(row[f"{kind}_by_chance"])]
            of_kinds.append(_number(row[f"{kind}_by_chance_high"]))
        made.append(
            (
                *_settings(row),
                *of_kinds,
                _number(row.get("specific_to_half")),
                _number(row.get("specific_to_half_high")),
            )
        )
    heads = [
        head
        for kind in ("specific", "related", "general")
        for head in (kind, f"{kind} by chance", f"{kind} by chance, high")
    ]
    return Table(
        "sweep-chance",
        "Neurons of each kind, beside those where each language is a mix of all (labels permuted "
        "in every block: mean of the draws, and the end of the interval of 95%), and those "
        "specific to one half of a language's own blocks.",
        (
            *_SETTINGS,
            *heads,
            *("specific to a half", "specific to a half, high"),
        ),
        tuple(made),
    )


def by_cell(rows: Rows) -> list[Mapping[str, Any]]:
    """One row of each cell."""
    first: dict[int, Mapping[str, Any]] = {}
    for row in rows:
        first.setdefault(row["cell"], row)
    return list(first.values())


def _number(found: float | None) -> float | None:
    return None if found is None else float(f"{found:.6g}")
