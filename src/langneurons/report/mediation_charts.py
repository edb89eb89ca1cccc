"""Mediation charts: what share of an alignment goes with which neurons, beside random sets."""

import numpy as np

from langneurons.effects.mediation import FAIR, WAYS, Mediation, Share, groups, shares
from langneurons.intervals import Estimate
from langneurons.report.charts import (
    PAPER_INK,
    RELATED,
    SPECIFIC,
    Figure,
    Spec,
    coloured,
    enc,
    layered,
    mark,
    tips,
    top_legend,
    whiskers,
)
from langneurons.tables import Cell, Table, plain

WIDTH = 560
"""Width of the bars in pixels, where nothing else sets it."""

_COLOURS: dict[str, str] = dict(zip(WAYS, (RELATED, SPECIFIC), strict=True))
"""Colours of the two ways."""

_ENDS = (-0.5, 1.25)
"""Where shares are cut off: what a small change makes of them says no more."""


def mediation_figure(mediation: Mediation) -> Figure:
    """Bars of every set's share, both ways, with bands of its random sets, the fair ones."""
    rows = shares(mediation)
    panels = [
        _panel([row for row in rows if row.group == group], _title(mediation, group, codes))
        for group, codes in groups(mediation).items()
    ]
    return Figure(
        name="mediation",
        title="What goes through which neurons",
        text="Base and aligned model read the same held-out texts, and a set of neurons takes the "
        "other model's values: the aligned model's put into the base, and the other way round. "
        "Bars: the share of what alignment changed that goes with the set, with 95% intervals over "
        "questions. Dark: the interval of random sets of as many neurons in the same layers that "
        "alignment changes as much. Shares of sets do not add up.",
        spec={"vconcat": panels, "spacing": 24, "resolve": {"scale": {"x": "shared"}}},
        table=mediation_table(rows),
    )


def _title(mediation: Mediation, group: str, codes: tuple[str, ...]) -> str:
    """Of which languages bars are, and what alignment changed there."""
    change = mediation.change(codes)
    return (
        f"{group} ({', '.join(codes)}): {change.value:+.3g} [{change.low:+.3g}, "
        f"{change.high:+.3g}] nats a {mediation.unit}"
    )


def _panel(rows: list[Share], title: str) -> Spec:
    """The bars of one group of languages."""
    values: list[Spec] = [
        {"set": row.name, "way": row.way, "neurons": row.neurons}
        | _ends(row.share, "share", "low", "high")
        | (_ends(row.random[FAIR], "random", "from", "to") if FAIR in row.random else {})
        for row in rows
    ]
    names = list(dict.fromkeys(row.name for row in rows))
    places = {
        "y": enc("set:N", title=None, sort=names),
        "yOffset": enc("way:N", sort=list(WAYS)),
    }
    x = {
        "scale": {"domain": list(_ENDS), "clamp": True, "nice": False},
        "axis": {"format": "%", "tickCount": 8},
    }
    formats = {"share": ".1%", "low": ".1%", "high": ".1%", "random": ".1%", "neurons": ","}
    bars = places | {
        "x": enc("share:Q", title="share of the change", **x),
        "color": enc("way:N", scale=coloured(_COLOURS), legend=top_legend()),
        "tooltip": tips("set:N", "way:N", **formats),
    }
    bands = places | {"x": enc("from:Q", **x), "x2": {"field": "to"}}
    held = [row for row in values if "random" in row]
    return layered(
        values,
        mark("bar", bars, opacity=0.75),
        mark("bar", bands, rows=held, color=PAPER_INK, opacity=0.55),
        whiskers("x", places, strokeWidth=1),
        width=WIDTH,
        height={"step": 11, "for": "offset"},
        title=title,
    )


def _ends(number: Estimate, value: str, low: str, high: str) -> Spec:
    """A share and the ends of its interval under these names, cut off where bars are."""
    found = {value: number.value, low: number.low, high: number.high}
    return {name: float(np.clip(part, *_ENDS)) for name, part in found.items()}


def mediation_table(rows: list[Share]) -> Table:
    """Every set in every group of languages, both ways."""
    cells: list[tuple[Cell, ...]] = []
    for row in rows:
        random = {name: float(number.value) for name, number in row.random.items()}
        numbers = [row.share, row.beyond] if row.beyond else [row.share]
        ends = [(float(one.value), float(one.low), float(one.high)) for one in numbers]
        beyond = ends[1] if row.beyond else (None, None, None)
        cells.append(
            (
                row.group,
                row.name,
                row.neurons,
                row.way,
                *plain(ends[0]),
                *(random.get(name) for name in ("layer", "rate", FAIR)),
                row.matched_size,
                *plain(beyond),
                row.verdict,
            )
        )
    return Table(
        name="mediation",
        caption="Share of what alignment changed that goes with each set of neurons, with 95% "
        "intervals over questions; means of random sets matched by layer, by activation rate, by "
        "the size of alignment's change, and how large it is in these, as a share of that in the "
        "set; by how much the set exceeds these, and whether that is more than chance.",
        columns=(
            "languages",
            "set",
            "neurons",
            "way",
            "share",
            "low",
            "high",
            "random, by layer",
            "random, by rate",
            "random, by change",
            "their change",
            "beyond",
            "beyond low",
            "beyond high",
            "verdict",
        ),
        rows=tuple(cells),
    )
