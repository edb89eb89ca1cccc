"""Page data: what the scripts of a page read: figures, their numbers, and the neurons to look through, as plain values.

Columns rather than rows, probabilities in units of 1e-5 and tables as CSV keep it small.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from langneurons.report.neuron_charts import LIGHT, Figure
from langneurons.report.parts import Explored, Panel, Where, first_card
from langneurons.silencing.losses import Losses
from langneurons.silencing.matrix import matrix
from langneurons.texts.languages import language

EXPLORED = 20_000
"""Neurons that the page holds to be looked through; the first set is held whole, others as long as
they fit."""


def page_data(panels: Iterable[tuple[str, Panel]], explored: Iterable[Explored]) -> dict[str, Any]:
    """Everything the scripts read.

    Args:
        panels: the figures and tables with their names on the page.
        explored: neurons to look through.
    """
    explored = list(explored)
    return {
        "figures": [_figure(panel.figure, name, panel.where) for name, panel in panels],
        "sets": [_set(one, held) for one, held in zip(explored, _held(explored), strict=True)],
        "light": LIGHT,
    }


def _figure(figure: Figure, name: str, where: Where) -> dict[str, Any]:
    place = "-".join([*where.values(), figure.name])
    table = figure.table
    numeric = [
        all(isinstance(row[i], int | float | None) for row in table.rows)
        for i in range(len(table.columns))
    ]
    return {
        "name": name,
        "file": place,
        "kind": figure.name,
        "title": figure.title,
        "label": table.name,
        "caption": table.caption,
        "spec": figure.spec,
        "numeric": [int(n) for n in numeric],
        "csv": table.to_csv(),
    }


def _held(explored: Iterable[Explored]) -> list[bool]:
    """Whether the page holds each set."""
    out, total = [], 0
    for one in explored:
        total += len(one.neurons)
        out.append(not out or total <= EXPLORED)
    return out


def _set(one: Explored, held: bool) -> dict[str, Any]:
    neurons, card = one.neurons, first_card(one.neurons)
    about = {
        "where": dict(one.where),
        "name": " · ".join(one.where.values()),
        "neurons": len(neurons),
        "languages": [{"code": code, "name": language(code).name} for code in neurons.languages],
    }
    if not held:
        return about
    numbers = {
        "score": np.round(neurons.score, 6),
        "margin": np.round(neurons.margin, 6),
        "keeps": np.round(neurons.keeps, 3),
    }
    rounded = np.round(neurons.probability * 1e5)
    return about | {
        "layer": neurons.layer.tolist(),
        "expert": neurons.expert.tolist() if (neurons.expert >= 0).any() else None,
        "neuron": neurons.neuron.tolist(),
        "kind": neurons.kind.tolist(),
        "member": [np.flatnonzero(row).tolist() for row in neurons.member],
        "selected": neurons.selected.astype(int).tolist(),
        "p": None if np.isnan(rounded).all() else rounded.astype(int).tolist(),
        **{key: None if np.isnan(v).all() else _known(v) for key, v in numbers.items()},
        "card": card
        and {"name": card.name, "kind": "card", "title": card.title, "spec": card.spec},
        "costs": _costs(one.losses) if one.losses else [],
    }


def _costs(losses: Losses) -> list[dict[str, Any]]:
    """What silencing each language's own neurons costs it, per setting."""
    out = []
    for setting in losses.settings:
        found = matrix(losses, setting)
        own = {
            name: _known(np.diagonal(getattr(found, name))) for name in ("change", "low", "high")
        }
        sizes, before = found.neurons.tolist(), _known(found.before)
        out.append(
            {
                "setting": setting,
                "languages": losses.languages,
                "neurons": sizes,
                "before": before,
                **own,
            }
        )
    return out


def _known(values: np.ndarray) -> list[float | None]:
    return [float(f"{x:.6g}") if np.isfinite(x) else None for x in values.tolist()]
