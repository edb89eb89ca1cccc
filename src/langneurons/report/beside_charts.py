"""Beside charts: two models, or one model on two texts, side by side on the same scales.

What differs is told in sentences: numbers of both, and how many neurons stay what they were, from
a comparison where one was made.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from langneurons.compare.overlap import overlap
from langneurons.neurons.summary import stages
from langneurons.neurons.table import Neurons
from langneurons.neurons.tables import layers
from langneurons.report.charts import DRAWN, Figure
from langneurons.report.layer_charts import layer_panels
from langneurons.report.silencing_charts import SIZE, change_table, heat_maps, panel_rows
from langneurons.silencing.matrix import Matrices
from langneurons.tables import Table, written

_LANGUAGE_KINDS = ("specific", "related")
"""Kinds of neurons whose numbers are told."""


class Kept(NamedTuple):
    """How many neurons of a kind on the left are of it on the right too.

    Attributes:
        before: how many there are on the left.
        share: the share of them that are.
        low: lower end of its interval; None without a comparison that gave one.
        high: upper end.
        chance: the share expected of random sets.
        resampled: the share that resampling the left alone leaves; None where it is not known.
    """

    before: int
    share: float
    low: float | None
    high: float | None
    chance: float
    resampled: float | None


def layers_beside(sides: Mapping[str, Neurons]) -> Figure:
    """Neurons of each kind per layer of both, each with its stages."""
    cuts = {name: stages(neurons) for name, neurons in sides.items()}
    most = {kind: max(_highest(neurons, kind) for neurons in sides.values()) for kind in DRAWN}
    columns = [
        {
            "title": name,
            "vconcat": layer_panels(neurons, cuts[name], width=SIZE, most=most),
            "spacing": 8,
        }
        for name, neurons in sides.items()
    ]
    return Figure(
        name="layers-beside",
        title="Neurons by layer",
        text="Neurons of each kind per layer, the same scale on both sides. Shaded: the best "
        "division of each into stages.",
        spec={"hconcat": columns, "spacing": 24, "resolve": {"scale": {"color": "shared"}}},
        table=_joined({name: layers(neurons) for name, neurons in sides.items()}),
    )


def silencing_beside(sides: Mapping[str, Matrices]) -> Figure | None:
    """What silencing costs on both, one scale of colours; None without a setting of both."""
    settings = _settings(sides)
    if not settings:
        return None
    drawn = settings[-1]
    panels = {
        f"{drawn} silenced, {name}": panel_rows(matrices, drawn) for name, matrices in sides.items()
    }
    return Figure(
        name="perplexity-beside",
        title="What silencing costs",
        text="Perplexity of each language (columns) when the neurons of one (rows) are silenced, "
        "as a multiple of what it was, the same colours on both sides; a dot: more than with any "
        "random set.",
        spec=heat_maps(panels),
        table=_joined({name: change_table(matrices) for name, matrices in sides.items()}),
    )


def what_differs(sides: Mapping[str, Neurons], tables: Mapping[str, Table]) -> Iterator[str]:
    """Numbers of both sides, and how many neurons stay what they were.

    Args:
        sides: name -> neurons, of two.
        tables: of a comparison of the two, by name; empty without one.
    """
    told = [_numbers(sides, kind, tables) for kind in _LANGUAGE_KINDS]
    if all(neurons.rule.tau is not None for neurons in sides.values()):
        told.append(_bars(sides, tables))
    yield _sentence(told)
    kept = {kind: of for kind in _LANGUAGE_KINDS if (of := _kept(sides, kind, tables))}
    if kept:
        yield " ".join(_kept_words(kept, *sides, compared=bool(tables)))


def _numbers(sides: Mapping[str, Neurons], kind: str, tables: Mapping[str, Table]) -> str:
    """How many neurons of a kind both sides have: with the change's interval, else their own."""
    change = _changed(_row(tables, "kind-changes", kind=kind), "{:+,.0f}".format)
    told = []
    for name, neurons in sides.items():
        number = neurons.numbers.of_kind(kind)
        ends = f" [{number.low:,.0f}, {number.high:,.0f}]"
        known = not change and not np.isnan(number.low)
        told.append(f"{number.value:,.0f}{ends if known else ''} {name}")
    return f"{kind} neurons: {' and '.join(told)}{change}"


def _bars(sides: Mapping[str, Neurons], tables: Mapping[str, Table]) -> str:
    """The tau of both sides: with the change's interval, else their own."""
    change = _changed(_row(tables, "thresholds", threshold="tau"), partial(written, sign=True))
    told = []
    for name, neurons in sides.items():
        ends = neurons.numbers.intervals.tau if neurons.numbers.intervals and not change else ()
        interval = f" [{', '.join(map(written, ends))}]" if len(ends) else ""
        told.append(f"{written(neurons.rule.tau or 0)}{interval} {name}")
    return f"τ: {' and '.join(told)}{change}"


def _changed(row: Mapping[str, Any] | None, form: Callable[[float], str]) -> str:
    """A change and its interval, as a comparison has it, to stand behind the numbers."""
    if not row or row["low"] is None:
        return ""
    change, *ends = (form(row[end]) for end in ("change", "low", "high"))
    return f" ({change} [{', '.join(ends)}])"


def _kept(sides: Mapping[str, Neurons], kind: str, tables: Mapping[str, Table]) -> Kept | None:
    """How many stay of a kind: of the comparison, else of the neurons; None of other models."""
    if row := _row(tables, "stability", kind=kind):
        known = (row[name] for name in ("before", "ratio", "low", "high", "chance", "resampled"))
        return None if row["ratio"] is None else Kept(*known)
    left, right = sides.values()
    same = left.widths == right.widths and set(left.languages) == set(right.languages)
    if not left.widths or not same:
        return None
    [both] = [of for of in overlap(left, right) if (of.kind, of.language) == (kind, "all")]
    if both.ratio is None:
        return None
    keeps = float(left.keeps[left.kind == kind].mean())
    return Kept(
        before=both.before,
        share=both.ratio,
        low=None,
        high=None,
        chance=both.chance,
        resampled=None if np.isnan(keeps) else keeps,
    )


def _kept_words(
    kept: Mapping[str, Kept], left: str, right: str, *, compared: bool
) -> Iterator[str]:
    """How many neurons stay of their kind, beside what resampling and chance leave."""
    stay = []
    for kind, of in kept.items():
        ends = "" if of.low is None else f" [{of.low:.0%}, {of.high:.0%}]"
        stay.append(
            f"of {of.before:,} {kind} neurons {left}, {of.share:.0%}{ends} are {kind} {right} too"
        )
    yield _sentence(stay)
    chance = " and ".join(f"{100 * of.chance:.2g}%" for of in kept.values())
    resampled = [f"{of.resampled:.0%}" for of in kept.values() if of.resampled is not None]
    if len(resampled) == len(kept):
        yield f"Drawing the texts anew would leave {' and '.join(resampled)}, chance {chance}."
    else:
        yield f"Chance would leave {chance}."
    if any(of.low is None for of in kept.values()):
        why = "No blocks were resampled" if compared else "These two were not compared"
        yield f"{why}, so there is no interval."


def what_silencing_differs(sides: Mapping[str, Matrices]) -> Iterator[str]:
    """How far a language's own loss lies from those of the others, on both sides."""
    for setting in _settings(sides):
        told = []
        for name, matrices in sides.items():
            found = matrices.dominance(setting, "log ratio")
            ends = [written(float(np.exp(end))) for end in found.interval or ()]
            gap = written(float(np.exp(found.diagonal - found.others)))
            interval = f" [{', '.join(ends)}]" if ends else ""
            told.append(f"×{gap}{interval} {name}")
        yield (
            f"Growth of a language's own perplexity over that of the others, {setting} silenced: "
            f"{' and '.join(told)}."
        )


def _settings(sides: Mapping[str, Matrices]) -> list[str]:
    """The settings that both sides were silenced in."""
    left, right = sides.values()
    return [setting for setting in left.settings if setting in right.settings]


def _sentence(parts: Iterable[str]) -> str:
    words = "; ".join(parts)
    return f"{words[0].upper()}{words[1:]}."


def _row(tables: Mapping[str, Table], name: str, **chosen: str) -> Mapping[str, Any] | None:
    """The row of a table of a comparison, by own thresholds."""
    rows = tables[name].records() if name in tables else ()
    chosen = {"thresholds": "own", **chosen}
    return next((row for row in rows if chosen.items() <= row.items()), None)


def _highest(neurons: Neurons, kind: str) -> float:
    """The highest number of a kind in a layer, with its interval."""
    numbers = neurons.numbers.by_layer(kind)
    return float(max(1, numbers.value.max(), *np.nan_to_num(numbers.high)))


def _joined(tables: Mapping[str, Table]) -> Table:
    """Two tables below each other, with a column that says of which side a row is."""
    left = next(iter(tables.values()))
    columns = max((table.columns for table in tables.values()), key=len)
    rows = tuple(
        (name, *(record.get(column) for column in columns))
        for name, table in tables.items()
        for record in table.records()
    )
    return Table(f"{left.name}-beside", left.caption, ("side", *columns), rows)
