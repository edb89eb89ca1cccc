"""Markup: the templates of the page, in which whatever comes from outside is shown as text.

Every value that a template shows is escaped, and its control characters are made visible, without a
template having to ask for it; only what is `Markup` already is taken as it is.
"""

import unicodedata
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from langneurons.tables import Table

SHOWN = 100
"""Rows of a table that are shown; the rest is only counted."""

_UNSEEN = ("Cc", "Cf", "Cs")
"""Unicode categories of characters that cannot be seen: control, format, halves of surrogates."""

_KEPT = "\n\t\u200c\u200d"
"""Those of them that stay: line ends, tabs, and what joins or parts letters in some scripts."""


@cache
def templates() -> Environment:
    """The templates in the folder `template`."""
    return Environment(
        loader=PackageLoader("langneurons.report", "template"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def table_alone(table: Table) -> str:
    """A table as HTML, for a notebook."""
    numeric, rows = table.numeric(), table.rows
    return (
        templates()
        .get_template("table.html")
        .render(
            table=table,
            numeric=numeric,
            rows=rows[:SHOWN],
            more=len(rows) - SHOWN,
        )
    )


def visible(text: str) -> str:
    """The text with control characters and those that turn its direction in sight.

    Line ends and tabs stay.
    """
    if not any(unicodedata.category(char) in _UNSEEN for char in text):
        return text
    return "".join(map(_seen, text))


def _seen(char: str) -> str:
    if char in _KEPT or unicodedata.category(char) not in _UNSEEN:
        return char
    code = ord(char)
    if code < 32:
        return chr(0x2400 + code)
    return "\u2421" if code == 127 else f"⟨U+{code:04X}⟩"


def _shown(value: object) -> object:
    """What a template shows of a value."""
    return value if isinstance(value, Markup) else visible(str(value))
