"""Tables: a name, a caption, column heads and rows; written as CSV, LaTeX and JSON."""

import csv
import html
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Cell = str | int | float | None


class Table(NamedTuple):
    """One table of the report.

    Attributes:
        name: short name, used for files and anchors.
        caption: what it shows, one or two sentences.
        columns: column heads.
        rows: cells; None is an empty cell.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def records(self) -> list[dict[str, Any]]:
        """The rows as dictionaries by column head."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def numeric(self) -> tuple[bool, ...]:
        """Of each column, whether every cell in it is a number or empty."""
        return tuple(
            all(isinstance(row[place], int | float | None) for row in self.rows)
            for place in range(len(self.columns))
        )

    def without_empty(self) -> "Table":
        """The table without columns in which no cell holds anything."""
        kept = [i for i in range(len(self.columns)) if any(row[i] is not None for row in self.rows)]
        return self._replace(
            columns=tuple(self.columns[i] for i in kept),
            rows=tuple(tuple(row[i] for i in kept) for row in self.rows),
        )

    def to_csv(self) -> str:
        """Comma-separated, with a header line."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([["" if cell is None else cell for cell in row] for row in self.rows])
        return out.getvalue()

    def to_json(self) -> bytes:
        """Name, caption, columns and rows as one JSON object."""
        return json.dumps(self._asdict(), ensure_ascii=False, allow_nan=False).encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Table":
        """The table that `to_json` wrote."""
        held = json.loads(content)
        return cls(
            held["name"], held["caption"], tuple(held["columns"]), tuple(map(tuple, held["rows"]))
        )

    def to_html(self) -> str:
        """An HTML table with its caption, as a notebook shows it."""

        def row(cells: Sequence[Cell], tag: str) -> str:
            texts = ("" if cell is None else html.escape(str(cell)) for cell in cells)
            return "<tr>" + "".join(f"<{tag}>{text}</{tag}>" for text in texts) + "</tr>"

        lines = [row(self.columns, "th"), *(row(cells, "td") for cells in self.rows)]
        return f"<table><caption>{html.escape(self.caption)}</caption>{''.join(lines)}</table>"

    def to_latex(self) -> str:
        """A booktabs table."""
        align = "".join("r" if number else "l" for number in self.numeric())
        lines = [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{_escape(self.caption)}}}",
            rf"  \label{{tab:{self.name}}}",
            rf"  \begin{{tabular}}{{{align}}}",
            r"    \toprule",
            "    " + " & ".join(_escape(name) for name in self.columns) + r" \\",
            r"    \midrule",
            *("    " + " & ".join(_latex(cell) for cell in row) + r" \\" for row in self.rows),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"


def _latex(cell: Cell) -> str:
    return "" if cell is None else _escape(str(cell))


def _escape(text: str) -> str:
    for char in "&%$#_{}":
        text = text.replace(char, "\\" + char)
    return text


def rounded(value: float | NDArray[np.float64]) -> Cell:
    """A number to six decimals; None where it is not known."""
    return None if np.isnan(value) else round(float(value), 6)


def written(value: float, *, sign: bool = False) -> str:
    """A number as people write it: three digits that matter, no decimals from 100 on.

    Args:
        value: what is written.
        sign: whether a + stands before what is above 0.
    """
    plus = "+" if sign else ""
    if not math.isfinite(value):
        return "not known" if math.isnan(value) else f"{value:{plus}}"
    if value == 0:
        return "0"
    if abs(value) >= 99.95:
        return f"{value:{plus},.0f}"
    if abs(value) < 1e-6:
        return f"{value:{plus}.2g}"
    decimals = 2 - math.floor(math.log10(abs(value)))
    short = f"{value:{plus}.{decimals}f}"
    return short.rstrip("0").rstrip(".")


def joined(words: Sequence[str]) -> str:
    """Words in a sentence: `a, b and c`."""
    *first, last = words or ("",)
    return f"{', '.join(first)} and {last}" if first else last


def from_least_to_most(numbers: Iterable[float], form: Callable[[float], str]) -> str:
    """The ends of some numbers, each in this form: `1 to 3`; one where both read the same."""
    known = list(numbers)
    return " to ".join(dict.fromkeys((form(min(known)), form(max(known)))))


def p_value(p: float) -> str:
    """A p-value in words: to two digits, no further than a thousandth."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def plain(value: Any) -> Any:
    """The same in plain numbers, lists and dictionaries, as JSON takes them; NaN is None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
