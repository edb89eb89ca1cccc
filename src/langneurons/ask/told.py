"""Told: what answers are worth while neurons are silenced, in words and as plain values."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from langneurons import console
from langneurons.ask.marks import Marks
from langneurons.silencing.matrix import Matrix, dominance, words
from langneurons.tables import plain


def marks_in_words(marks: Marks, facts: Mapping[str, Any]) -> str:
    """The tables of what answers are worth, and of what silencing takes from it."""
    whole = facts.get("chrF of the corpus", {})
    heads = ("language", "answers", marks.measure, "95% interval")
    rows = [
        (
            mean.lang,
            mean.n,
            _share(marks, mean.value),
            f"{_share(marks, mean.low)} to {_share(marks, mean.high)}",
            *([f"{whole[mean.lang]:.1f}"] if whole else []),
        )
        for mean in marks.means()
    ]
    lines = [console.columns((*heads, "of the corpus") if whole else heads, rows)]
    for setting in marks.settings:
        lost, astray = marks.lost(setting), marks.astray(setting)
        lines += _table(lost, f"{setting} silenced: {marks.measure} lost, in points")
        lines.append(f"{setting}, {lost.measure}: {words(dominance(lost))}")
        if astray is None:
            lines.append("whether answers are in another language cannot be told here")
        elif np.nan_to_num(astray.change).any() or astray.controls.any():
            lines += _table(astray, f"{setting} silenced: {astray.measure}, change in points")
            lines.append(f"{setting}, {astray.measure}: {words(dominance(astray))}")
        else:
            lines.append(f"{setting}, {astray.measure}: as many as with nothing silenced, always")
    if marks.controls:
        lines.append(f"random sets were matched {facts['controls matched']}")
    lines += [f"note: {note}" for note in facts.get("notes", ())]
    return "\n".join([*lines, facts["asked"]])


def marks_as_json(folder: Path, marks: Marks, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The same numbers by name."""
    told: list[Matrix] = []
    for setting in marks.settings:
        told += [m for m in (marks.lost(setting), marks.astray(setting)) if m is not None]
    return {
        "out": str(folder),
        "measure": marks.measure,
        "unsilenced": plain([mean._asdict() for mean in marks.means()]),
        "matrices": [
            {
                "setting": matrix.setting,
                "measure": matrix.measure,
                "neurons": matrix.neurons.tolist(),
                **{
                    name: plain(getattr(matrix, name).tolist())
                    for name in ("before", "change", "low", "high")
                },
                "random sets": {
                    how: plain(matrix.drawn(how).tolist()) for how in ("median", "min", "max")
                },
            }
            for matrix in told
        ],
        "verdicts": [plain(dominance(matrix)._asdict()) for matrix in told],
        "facts": dict(facts),
    }


def _share(marks: Marks, value: float) -> str:
    """A right share in per cent; chrF from 0 to 100, as it is given elsewhere."""
    return f"{100 * value:.1f}" if marks.measure == "chrF" else f"{value:.1%}"


def _table(matrix: Matrix, title: str) -> list[str]:
    """What silencing each language's neurons changes in every language, with its random sets."""
    rows: list[tuple[str | None, ...]] = []
    for row, code in enumerate(matrix.languages):
        if not matrix.neurons[row]:
            rows.append((code, "empty: not run", *[None] * len(matrix.languages)))
            continue
        cells = [
            f"{100 * change:+.1f}{'*' if share == 1 else ' '}"
            for change, share in zip(matrix.change[row], matrix.percentile[row], strict=True)
        ]
        rows.append((code, f"{matrix.neurons[row]:,} neurons", *cells))
        low, high = 100 * matrix.low[row, row], 100 * matrix.high[row, row]
        beside = f"own {low:+.1f} to {high:+.1f}" if np.isfinite(low) else ""
        if len(matrix.controls):
            drawn = [100 * matrix.drawn(how)[row] for how in ("median", "min", "max")]
            drawn = [np.round(of_row, 1) + 0.0 for of_row in drawn]  # + 0.0: no minus before a zero
            cells = [f"{m:+.1f} ({a:+.1f} to {b:+.1f})" for m, a, b in zip(*drawn, strict=True)]
            rows.append(("", f"{beside}; random sets", *cells))
        elif beside:
            rows.append(("", beside, *[""] * len(matrix.languages)))
    return [
        f"-- {title}; *: more than every random set" if len(matrix.controls) else f"-- {title}",
        console.columns(("silenced", "", *matrix.languages), rows),
    ]
