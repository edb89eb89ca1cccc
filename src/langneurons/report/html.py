"""The page: one self-contained HTML file.

It works from a file and offline: styles, scripts and the plotting library are inside it. Its
content security policy forbids it to ask the network for anything, and lets no script run but its
own two, by their digests. Whatever comes from outside (names, prompts, responses) is shown as text:
markup is escaped, control characters are made visible.
"""

import base64
import hashlib
import html
import json
import unicodedata
from collections.abc import Iterable, Mapping
from functools import partial
from importlib.resources import files
from typing import Any

from langneurons.align.pairs import Pair
from langneurons.compare.verdicts import Claim
from langneurons.report.page_data import page_data
from langneurons.report.parts import (
    Chapter,
    Judged,
    Page,
    Panel,
    Preview,
    Provenance,
    Where,
    vl_convert,
)
from langneurons.texts.languages import LANGUAGES, language

LONGEST = 1500
"""Characters of a prompt or response that are shown."""

_VERDICTS = {"holds": ("✓", "yes"), "does not hold": ("✕", "no"), "cannot tell": ("?", "open")}
_SEVERAL = {"holds": "hold", "does not hold": "do not hold"}
_LABELS = {"model": "Model", "questions": "Questions", "alignment": "Alignment"}


def render(page: Page) -> str:
    """The page, whole, as HTML."""
    here = files("langneurons") / "report" / "template"
    panels = [panel for chapter in page.chapters for panel in chapter.panels]
    names = {
        id(p): f"{p.figure.name}-{i}" if page.choices else p.figure.name
        for i, p in enumerate(panels)
    }
    data = page_data([(names[id(panel)], panel) for panel in panels], page.explored)
    scripts = {
        "vega": vl_convert().javascript_bundle().replace("</script", "<\\/script"),
        "script": "".join((here / name).read_text("utf-8") for name in ("page.js", "explorer.js")),
    }
    parts = {
        "policy": " ".join(f"'sha256-{_sha256(content)}'" for content in scripts.values()),
        "title": _text(page.title),
        "subtitle": _text(page.subtitle),
        "choices": "".join(
            _choice(name, values) for name, values in page.choices.items() if len(values) > 1
        ),
        "tiles": "".join(_tiles(one.tiles, one.where) for one in page.tiles),
        "studied": _studied(page),
        "claims": _claims(page),
        "chapters": "".join(_chapter(chapter, names) for chapter in page.chapters),
        "provenance": "".join(map(_provenance, page.provenance)),
        "settings": _settings(page.settings),
        "style": (here / "page.css").read_text("utf-8"),
        "data": json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
        **scripts,
    }
    text = (here / "page.html").read_text("utf-8")
    for key, value in parts.items():
        text = text.replace(f"<!--{key}-->", value)
    return text


def visible(text: str) -> str:
    """The text with control characters and those that turn its direction in sight; line ends and tabs stay."""
    return (
        "".join(map(_seen, text))
        if any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in text)
        else text
    )


def _seen(char: str) -> str:
    if (
        char in "\n\t"
        or unicodedata.category(char) not in ("Cc", "Cf", "Cs")
        or char in "\u200c\u200d"
    ):
        return char
    code = ord(char)
    return chr(0x2400 + code) if code < 32 else "\u2421" if code == 127 else f"⟨U+{code:04X}⟩"


def _text(value: object) -> str:
    return html.escape(visible(str(value)))


def _sha256(content: str) -> str:
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _about(where: Where) -> str:
    """The attribute that says when an element is shown."""
    return f' data-where="{_text(json.dumps(dict(where)))}"' if where else ""


# The first screen.


def _choice(name: str, values: Iterable[str]) -> str:
    options = "".join(f"<option>{_text(value)}</option>" for value in values)
    return f'<label>{_LABELS[name]} <select name="{name}">{options}</select></label>'


def _tiles(tiles: Iterable[Any], where: Where) -> str:
    found = "".join(
        f'<div class="tile {tile.key}"><dt>{_text(tile.name)}</dt><dd><b>{_text(tile.value)}</b>'
        f"<span>{_text(tile.text)}</span>"
        + (f'<span class="interval">{_text(tile.interval)}</span>' if tile.interval else "")
        + "</dd></div>"
        for tile in tiles
    )
    return f'<dl class="tiles"{_about(where)}>{found}</dl>'


def _studied(page: Page) -> str:
    if not page.studied:
        return ""
    rows: dict[str, list[str]] = {}
    for term, words in page.studied:
        rows.setdefault(term, []).append(words)
    body = "".join(
        f"<dt>{_text(term if len(held) == 1 or term.endswith('s') else f'{term}s')}</dt>"
        + "".join(f"<dd>{_text(words)}</dd>" for words in held)
        for term, held in rows.items()
    )
    return f'<section id="studied"><h2>What was studied</h2><dl>{body}</dl></section>'


def _claims(page: Page) -> str:
    judged = [one for one in page.judged if one.claims]
    if not judged:
        return ""
    lists = "".join(_judged(one) for one in judged)
    told = [name for name, values in page.choices.items() if len(values) > 1]
    whole = _every_verdict(judged, told) if len(judged) > 1 else ""
    return f'<section id="claims"><h2>The paper’s claims</h2>{lists}{whole}</section>'


def _judged(judged: Judged) -> str:
    known = [claim for claim in judged.claims if claim.numbers]
    count = {verdict: sum(claim.verdict == verdict for claim in known) for verdict in _VERDICTS}
    said = ", ".join(f"{n} {v if n == 1 else _SEVERAL.get(v, v)}" for v, n in count.items() if n)
    body = f'<p class="sum">{said or "Nothing to judge them by yet"}.</p><ol class="claims">'
    body += "".join(map(_claim, known)) + "</ol>"
    if missing := [claim for claim in judged.claims if not claim.numbers]:
        items = "".join(
            f"<li>{_text(c.statement)} <small>{_text(c.where)}</small>: {_text(c.words)}</li>"
            for c in missing
        )
        body += f"<details><summary>Not judged: {len(missing)}</summary><ul>{items}</ul></details>"
    return f"<div{_about(judged.where)}>{body}</div>"


def _badge(verdict: str) -> str:
    sign, key = _VERDICTS[verdict]
    return f'<span class="verdict {key}"><span aria-hidden="true">{sign}</span> {verdict}</span>'


def _claim(claim: Claim) -> str:
    rows = "".join(
        f"<tr><td>{_text(name)}</td><td>{_text(value)}</td></tr>"
        for name, value in _flat(claim.numbers)
    )
    return (
        f"<li>{_badge(claim.verdict)}<div><p>{_text(claim.statement)} <small>{_text(claim.where)}</small></p>"
        f"<details><summary>{_text(claim.words)}</summary>{_scroll(claim.statement)}"
        f'<table class="plain"><tbody>{rows}</tbody></table></div></details></div></li>'
    )


def _flat(numbers: Any, name: str = "") -> Iterable[tuple[str, str]]:
    """Nested numbers as rows."""
    if isinstance(numbers, Mapping):
        for key, value in numbers.items():
            yield from _flat(value, f"{name}, {key}" if name else key)
    elif (
        isinstance(numbers, list)
        and len(numbers) == 2
        and all(isinstance(n, float) for n in numbers)
    ):
        yield name, " to ".join(f"{n:.4g}" for n in numbers)
    elif isinstance(numbers, list):
        yield name, ", ".join(map(str, numbers)) or "none"
    else:
        yield (
            name,
            "not known"
            if numbers is None
            else f"{numbers:.4g}"
            if isinstance(numbers, float)
            else str(numbers),
        )


def _every_verdict(judged: list[Judged], told: list[str]) -> str:
    """Claims by what they were judged on, told by these of what can be chosen."""
    claims = {claim.name: claim.statement for one in judged for claim in one.claims}
    places = [" · ".join(one.where[name] for name in told if name in one.where) for one in judged]
    head = "".join(f'<th scope="col">{_text(place)}</th>' for place in places)
    body = ""
    for name, statement in claims.items():
        cells = ""
        for one in judged:
            found = next((c for c in one.claims if c.name == name and c.numbers), None)
            cells += f"<td>{_badge(found.verdict) if found else '<span class=none>not judged</span>'}</td>"
        body += f'<tr><th scope="row">{_text(statement)}</th>{cells}</tr>'
    table = f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<details><summary>Every verdict</summary>{_scroll('Every verdict')}{table}</div></details>"


# Chapters.


def _chapter(chapter: Chapter, names: Mapping[int, str]) -> str:
    panels = "".join(_panel(panel, names[id(panel)]) for panel in chapter.panels)
    panels += "".join(map(_preview, chapter.previews))
    lines = "".join(
        f"<ul{_about(note.where)}>{''.join(f'<li>{_text(line)}</li>' for line in note.lines)}</ul>"
        for note in chapter.notes
        if note.lines
    )
    how = (
        f'<details class="how"><summary>How these numbers were computed</summary>{lines}</details>'
        if lines
        else ""
    )
    head = f'<h2>{_text(chapter.title)}</h2><p class="lead">{_text(chapter.text)}</p>'
    nothing = '<p class="nothing" hidden>Not measured for what is chosen.</p>'
    return f'<section class="chapter" id="{chapter.name}">{head}{panels}{nothing}{how}</section>'


def _panel(panel: Panel, name: str) -> str:
    figure = panel.figure
    drawn = f'<div class="chart" data-figure="{name}"></div>' if figure.spec else ""
    numbers = f'<details class="numbers" data-table="{name}"><summary>Numbers</summary></details>'
    shown = f'<div data-table="{name}"></div>'
    return (
        f'<article class="panel" id="{name}"{_about(panel.where)}><header><h3>{_text(figure.title)}</h3>'
        f"{_downloads(name, ('SVG', 'PNG', 'CSV', 'LaTeX') if figure.spec else ('CSV', 'LaTeX'))}</header>"
        f"<p>{_text(figure.text)}</p>{drawn}{numbers if figure.spec else shown}</article>"
    )


def _downloads(name: str, formats: Iterable[str]) -> str:
    buttons = "".join(
        f'<button type="button" data-download="{name}" data-format="{f.lower()}">{f}</button>'
        for f in formats
    )
    return f'<div class="downloads">{buttons}</div>'


def _preview(preview: Preview) -> str:
    by_language: dict[str, list[Pair]] = {}
    for pair in preview.pairs:
        by_language.setdefault(pair.lang, []).append(pair)
    body = ""
    for code, pairs in by_language.items():
        body += f"<h4>{_text(language(code).name)}</h4>" + "".join(map(_pair, pairs))
    text = "The first that were drawn to train on, in each language: the response that is preferred beside the other."
    head = f"<header><h3>Some pairs</h3></header><p>{text}</p>"
    return f'<article class="panel pairs"{_about(preview.where)}>{head}{body}</article>'


def _pair(pair: Pair) -> str:
    said = partial(_said, code=pair.lang)
    mark = "right too" if pair.rejected_correct else "wrong"
    sides = "".join(
        f'<div><p><b class="{name.lower()}">{name}</b> {words}, score {score:.3f}</p>{said(text.strip())}</div>'
        for name, words, score, text in (
            ("Chosen", "right", pair.chosen_score, pair.chosen),
            ("Rejected", mark, pair.rejected_score, pair.rejected),
        )
    )
    question = f"<details><summary>Question {_text(pair.question_id)}</summary>{said(pair.prompt)}</details>"
    return f'<div class="pair">{question}<div class="sides">{sides}</div></div>'


def _said(text: str, code: str) -> str:
    """A prompt or a response, in its own direction, cut where it is very long."""
    known = f' lang="{code}"' if code in LANGUAGES else ""
    rest = len(text) - LONGEST
    more = f'<p class="more">and {rest:,} more characters</p>' if rest > 0 else ""
    return f'<div class="said" dir="auto"{known} tabindex="0">{_text(text[:LONGEST])}</div>{more}'


def _scroll(label: str) -> str:
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{_text(label)}">'


# Provenance.


def _settings(settings: Mapping[str, Any]) -> str:
    if not settings:
        return ""
    text = json.dumps(dict(settings), ensure_ascii=False, indent=2)
    return f'<details><summary>Settings of the study</summary><pre tabindex="0">{_text(text)}</pre></details>'


def _provenance(source: Provenance) -> str:
    manifest = source.manifest
    facts = {
        key: value for key, value in manifest["facts"].items() if value not in ({}, [], None, "")
    }
    rows = {
        "made by": f"langneurons {manifest['command']}, {manifest['created']}",
        "settings": json.dumps(manifest["config"], ensure_ascii=False),
        "made from": ", ".join(
            f"{name} {digest[:12]}" for name, digest in manifest["inputs"].items()
        )
        or "nothing",
        "files": ", ".join(f"{name} {digest[:12]}" for name, digest in manifest["files"].items()),
        "to know": _short(json.dumps(facts, ensure_ascii=False)),
        "versions": ", ".join(f"{name} {v}" for name, v in manifest["packages"].items() if v),
    }
    body = "".join(f"<dt>{k}</dt><dd>{_text(v)}</dd>" for k, v in rows.items())
    return (
        f"<details><summary><b>{_text(source.name)}</b> <span>{_text(manifest['kind'])}</span></summary>"
        f"<dl>{body}</dl></details>"
    )


def _short(text: str) -> str:
    return (
        text
        if len(text) <= LONGEST
        else f"{text[:LONGEST]} … and {len(text) - LONGEST:,} more characters"
    )
