"""Effect charts: where the neurons lie that each language needs most, and how far that is so."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from langneurons import layout
from langneurons.effects.trust import agreements
from langneurons.intervals import Estimate
from langneurons.neurons.effects import Effects, Split
from langneurons.report.charts import CELL_INK, Figure, enc, layered, mark, table_figure
from langneurons.tables import Cell, Table
from langneurons.texts.languages import told_apart

SHARE = 0.01
"""Share of all neurons that are taken for those a language needs most."""

Matched = Sequence[Mapping[str, Any]]
"""How far neurons by effect are those by rate, a row for each kind and language, as
`matches.Match`."""


def effect_figures(effects: Effects, matched: Matched) -> tuple[Figure, ...]:
    """Every figure and table of effects; what was not measured is left out."""
    made = (
        needed_figure(effects),
        table_figure("Neurons by rate and by effect", matches_table(matched)) if matched else None,
        table_figure("What whole sets cost", sets_table(effects)) if effects.splits else None,
        table_figure("How well first order does", trust_table(effects)) if effects.tried else None,
    )
    return tuple(figure for figure in made if figure)


def needed_figure(effects: Effects) -> Figure:
    """Heat map: in which layers the neurons lie whose silencing would cost each language most."""
    table = needed_table(effects)
    names = told_apart(effects.languages)
    rows = [
        {**dict(zip(table.columns, row, strict=True)), "name": names[str(row[0])]}
        for row in table.rows
    ]
    most = max(int(str(row[2])) for row in table.rows)
    colour = enc(
        "neurons:Q",
        scale={"scheme": "blues", "domain": [0, most]},
        legend={"orient": "bottom", "title": "neurons", "gradientLength": 220, "tickCount": 5},
    )
    ink = {"test": f"datum.neurons > {0.6 * most!r}", "value": "white"}
    axis = {"labelAngle": 0, "domain": False, "ticks": False, "grid": False}
    shared = {
        "x": enc("layer:O", title="layer", axis=axis),
        "y": enc("language:N", sort=list(effects.languages), title=None, axis=axis),
        "tooltip": [
            enc("name:N", title="language"),
            enc("layer:O"),
            enc("neurons:Q"),
            enc("largest:Q", title="largest effect, nats a token", format=".3~g"),
        ],
    }
    label = {"text": enc("neurons:Q"), "color": {"condition": ink, "value": CELL_INK}}
    return Figure(
        name="needed",
        title="Where the neurons lie that a language needs most",
        text=table.caption,
        spec=layered(
            rows,
            mark("rect", {"color": colour}),
            mark("text", label, fontSize=9),
            shared=shared,
            width="container",
            height={"step": 26},
        ),
        table=table,
    )


def needed_table(effects: Effects) -> Table:
    """How many of the most needed neurons of each language are in each layer."""
    costs = effects.per_token()
    number = max(1, round(SHARE * costs.shape[1]))
    rows: list[tuple[Cell, ...]] = []
    for code, of_language in zip(effects.languages, costs, strict=True):
        needed = np.sort(np.argsort(-of_language, kind="stable")[:number])
        for layer, (start, end) in enumerate(pairwise(layout.starts(effects.widths))):
            inside = int(((needed >= start) & (needed < end)).sum())
            largest = float(of_language[start:end].max()) if end > start else 0.0
            rows.append((code, layer, inside, float(f"{largest:.4g}")))
    return Table(
        name="needed",
        caption=f"Of the {number:,} neurons ({SHARE:.0%} of all) whose silencing, one by one, "
        "would cost a language most, how many lie in each layer, to first order, at all tokens "
        "but the first of a text; and the largest effect there.",
        columns=("language", "layer", "neurons", "largest"),
        rows=tuple(rows),
    )


def matches_table(matched: Matched) -> Table:
    """How far neurons classified by effect are those classified by rate."""
    rows: list[tuple[Cell, ...]] = []
    for match in matched:
        ends = [match[name] or (None,) * 3 for name in ("precision", "recall", "correlation")]
        counts = [match[name] for name in ("kind", "language", "by_rate", "by_effect", "both")]
        precision, recall, correlation = ends
        rows.append(
            (
                *counts,
                *map(_short, (*precision, *recall, match["chance"], *correlation)),
            )
        )
    return Table(
        name="by-rate-and-effect",
        caption="Neurons classified by how often they fire and by what silencing them costs: of "
        "those by rate, how many are so by effect (precision), the reverse (recall), what a random "
        "set would have (chance), and the rank correlation of rate and effect over those by rate.",
        columns=(
            "kind",
            "language",
            "by rate",
            "by effect",
            "both",
            "precision",
            "precision low",
            "precision high",
            "recall",
            "recall low",
            "recall high",
            "chance",
            "correlation",
            "correlation low",
            "correlation high",
        ),
        rows=tuple(rows),
    )


def sets_table(effects: Effects) -> Table:
    """What silencing each language's sets costs its own texts, and what is in no neuron's part."""
    return Table(
        name="sets",
        caption="What silencing a language's neurons costs its own texts, in nats a token, with "
        "95% intervals over blocks of questions; how much of that the neurons' parts lack, as a "
        "share; and how many neurons carry half of it.",
        columns=("setting", "language", "neurons", "cost", "low", "high", "in no part", "half in"),
        rows=tuple(_set_row(split) for split in effects.splits),
    )


def _set_row(split: Split) -> tuple[Cell, ...]:
    parts = np.sort(split.effects.sum(axis=1))[::-1]
    half = int(np.searchsorted(np.cumsum(parts), parts.sum() / 2)) + 1
    missing = None if np.isnan(split.missing) else split.missing
    ends = [None if np.isnan(end) else float(end) for end in split.cost[1:3]]
    numbers = map(_short, (float(split.cost.value), *ends, missing))
    return split.setting, split.language, len(split.positions), *numbers, half


def trust_table(effects: Effects) -> Table:
    """How first order and silencing single neurons agree, by why they were tried."""

    def ends(number: Estimate) -> list[float | None]:
        return [_short(float(end)) for end in (number.value, number.low, number.high)]

    assert effects.tried is not None  # noqa: S101 - asked by the caller
    return Table(
        name="trust",
        caption="First order against neurons silenced one by one, every language of a neuron by "
        "itself: rank correlation, correlation, and how many nats a neuron really costs for each "
        "nat estimated, with 95% intervals over neurons. Tried were those of the largest effects "
        "(top), some at random, of each kind, and those of the largest effects at the first token "
        "of a text (sink).",
        columns=(
            "tried",
            "silenced at",
            "neurons",
            *("spearman", "spearman low", "spearman high"),
            *("pearson", "pearson low", "pearson high"),
            *("slope", "slope low", "slope high"),
        ),
        rows=tuple(
            (
                row.group,
                row.where,
                row.neurons,
                *ends(row.spearman),
                *ends(row.pearson),
                *ends(row.slope),
            )
            for row in agreements(effects.tried)
        ),
    )


def _short(value: float | None) -> float | None:
    """A number to four digits; None where there is none."""
    return None if value is None or np.isnan(value) else float(f"{value:.4g}")
