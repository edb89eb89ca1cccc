"""Page data: what the scripts of a page read, as plain values: figures, their numbers, neurons.

Columns rather than rows and probabilities in units of 1e-5 keep it small. CSV and LaTeX of a table
are those of its files.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langneurons import layout
from langneurons.neurons.effects import Effects
from langneurons.neurons.table import Neurons
from langneurons.report.charts import LIGHT, Figure
from langneurons.report.figures import first_card
from langneurons.report.markup import SHOWN, visible
from langneurons.report.parts import Explored, Panel, Where
from langneurons.silencing.matrix import Matrices
from langneurons.tables import Table
from langneurons.texts.languages import told_apart

EXPLORED = 20_000
"""Neurons that the page holds to be looked through; the first set is held whole, others as long as
they fit."""


def page_data(panels: Iterable[tuple[str, Panel]], explored: Sequence[Explored]) -> dict[str, Any]:
    """Everything the scripts read.

    Args:
        panels: the figures and tables with their names on the page.
        explored: neurons to look through.
    """
    return {
        "figures": [_figure(panel.figure, name, panel.where) for name, panel in panels],
        "sets": [
            _set(one, whole=fits) for one, fits in zip(explored, _fitting(explored), strict=True)
        ],
        "light": LIGHT,
    }


def about(where: Where) -> dict[str, str]:
    """What a part of the page is about, as the choices say it."""
    return {name: visible(value) for name, value in where.items()}


def _figure(figure: Figure, name: str, where: Where) -> dict[str, Any]:
    return {
        "name": name,
        "file": "-".join([*where.values(), figure.name]),
        "kind": figure.name,
        "title": figure.title,
        "spec": figure.spec,
        "csv": figure.table.to_csv(),
        "latex": figure.table.to_latex(),
        **_table(figure.table),
    }


def _table(table: Table) -> dict[str, Any]:
    """What is shown of a table: numbers as they are, in other columns text."""
    numeric = table.numeric()
    rows = [
        [
            cell if number or cell is None else visible(str(cell))
            for cell, number in zip(row, numeric, strict=True)
        ]
        for row in table.rows[:SHOWN]
    ]
    return {
        "columns": table.columns,
        "numeric": [int(number) for number in numeric],
        "rows": rows,
        "more": max(0, len(table.rows) - SHOWN),
    }


def _fitting(explored: Iterable[Explored]) -> list[bool]:
    """Whether the page holds each set."""
    fits, total = [], 0
    for one in explored:
        total += len(one.neurons)
        fits.append(not fits or total <= EXPLORED)
    return fits


def _set(explored: Explored, *, whole: bool) -> dict[str, Any]:
    """A set of neurons; only what it is called, unless it is held whole."""
    neurons, where = explored.neurons, about(explored.where)
    named = {
        "where": where,
        "name": " · ".join(where.values()),
        "neurons": len(neurons),
        "languages": [
            {"code": code, "name": visible(name)}
            for code, name in told_apart(neurons.languages).items()
        ],
    }
    if not whole:
        return named
    card = first_card(neurons)
    return named | {
        "layer": neurons.layer.tolist(),
        "expert": neurons.expert.tolist() if (neurons.expert >= 0).any() else None,
        "neuron": neurons.neuron.tolist(),
        "kind": neurons.kind.tolist(),
        "member": [np.flatnonzero(row).tolist() for row in neurons.member],
        "selected": neurons.selected.astype(int).tolist(),
        "p": _probabilities(neurons.probability),
        "score": _column(neurons.score, 6),
        "margin": _column(neurons.margin, 6),
        "keeps": _column(neurons.keeps, 3),
        "card": _card(card) if card else None,
        "costs": _costs(explored.matrices) if explored.matrices else [],
        "own": _own(neurons, explored.effects) if explored.effects else None,
    }


def _probabilities(probability: NDArray[np.float64]) -> list[list[int]] | None:
    """In units of 1e-5, [n, K]; None where they are not known."""
    rounded = np.round(probability * 1e5)
    return None if np.isnan(rounded).all() else rounded.astype(int).tolist()


def _column(values: NDArray[np.float64], digits: int) -> list[float | None] | None:
    """A number of each neuron; None where it is known of none."""
    rounded = np.round(values, digits)
    return None if np.isnan(rounded).all() else _known(rounded)


def _card(card: Figure) -> dict[str, Any]:
    return {"name": card.name, "kind": "card", "title": card.title, "spec": card.spec}


def _costs(matrices: Matrices) -> list[dict[str, Any]]:
    """What silencing each language's own neurons costs it, per setting."""
    costs = []
    for setting in matrices.settings:
        found = matrices[setting, "difference"]
        costs.append(
            {
                "setting": setting,
                "languages": found.languages,
                "neurons": found.neurons.tolist(),
                "before": _known(found.before),
                "change": _known(np.diagonal(found.change)),
                "low": _known(np.diagonal(found.low)),
                "high": _known(np.diagonal(found.high)),
            }
        )
    return costs


def _own(neurons: Neurons, effects: Effects) -> dict[str, Any] | None:
    """What silencing each neuron alone would cost every language, in millionths of a nat a token.

    Beside it the share of the model's neurons that would cost the language less; None where the
    effects are of a model of another shape.
    """
    if neurons.widths != effects.widths or not len(neurons):
        return None
    costs = effects.per_token()
    places = layout.positions(effects.widths, neurons.keys)
    below = [np.searchsorted(np.sort(of_one), of_one[places]) for of_one in costs]
    return {
        "names": [visible(name) for name in told_apart(effects.languages).values()],
        "effects": np.round(costs[:, places].T * 1e6).astype(int).tolist(),
        "below": np.round(np.array(below).T / costs.shape[1], 4).tolist(),
    }


def _known(values: NDArray[np.float64]) -> list[float | None]:
    return [float(f"{x:.6g}") if np.isfinite(x) else None for x in values.tolist()]
