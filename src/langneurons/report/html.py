"""HTML: a page as one self-contained file.

It works from a file and offline: styles, scripts and the plotting library are inside it. Its
content security policy forbids it to ask the network for anything, and lets no script run but its
own two, by their digests. The markup is in the folder `template`; here is what it shows.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import count
from typing import Any, NamedTuple

from markupsafe import Markup

from langneurons.align.pairs import Pair
from langneurons.compare.verdicts import Claim
from langneurons.report import drawing
from langneurons.report.markup import templates
from langneurons.report.page_data import about, page_data
from langneurons.report.parts import Chapter, Judged, Page, Panel, Provenance, Where
from langneurons.tables import written
from langneurons.texts.languages import language, told_apart

LONGEST = 1500
"""Characters of a prompt or response that are shown."""

_VERDICTS = {"holds": ("✓", "yes"), "does not hold": ("✕", "no"), "cannot tell": ("?", "open")}
"""The sign of each verdict, and the class of its badge."""

_FIRST = {
    "layers": "the best division into stages is shaded",
    "perplexity": "a dot: more than with any random set",
}
"""Figures that the first screen shows, of those that the page has, and how to read them."""

_NAMES = {
    "starts": "stages begin in layers",
    "fits": "how well they fit",
    "fit": "share of variance explained",
    "orders": "random orders of the layers that fit as well, as a share",
    "walks": "random walks that fit as well, as a share",
    "raw": "added to log perplexity",
    "net": "added beyond random sets",
    "own greatest": "languages that lose most themselves",
    "elsewhere": "loses most when silenced",
    "interval": "95% interval",
    "chance": "by chance",
    "before against its resamplings": "before against resamplings of itself",
}
"""What the numbers of claims are called, where their names do not say it."""

_OF_SHARES = ("stable-", "accuracy-")
"""Claims whose numbers are shares."""

_SEVERAL = {"holds": "hold", "does not hold": "do not hold"}
_LABELS = {"model": "Model", "questions": "Questions", "alignment": "Alignment"}


class NamedChapter(NamedTuple):
    """A chapter, and its panels with their names on the page."""

    chapter: Chapter
    panels: tuple[tuple[str, Panel], ...]


class Told(NamedTuple):
    """Claims as they are listed: how many hold, those judged, those that could not be, by what."""

    summary: str
    judged: tuple[Claim, ...]
    missing: tuple[Claim, ...]
    where: Where
    notes: tuple[str, ...]


class Verdicts(NamedTuple):
    """Every verdict, claims by what they were judged on; None where one was not judged."""

    places: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str | None, ...]], ...]


def render(page: Page) -> str:
    """The page, whole, as HTML; the same page gives the same bytes."""
    folder = files("langneurons.report") / "template"
    plotting = drawing.script().replace("</script", "<\\/script")
    script = "".join((folder / name).read_text("utf-8") for name in ("page.js", "explorer.js"))
    chapters = tuple(_named(page))
    data = page_data([named for chapter in chapters for named in chapter.panels], page.explored)
    told = [_told(judged) for judged in page.judged if judged.claims]
    return (
        templates()
        .get_template("page.html")
        .render(
            page=page,
            choices=_choices(page),
            studied=_by_term(page.studied),
            claims=told,
            verdicts=_every_verdict(page) if len(told) > 1 else None,
            first_figures=[
                (*named, _FIRST[named[1].figure.name])
                for chapter in chapters
                for named in chapter.panels
                if named[1].figure.name in _FIRST
            ],
            chapters=chapters,
            sources=[(source, _source(source)) for source in page.provenance],
            settings=json.dumps(dict(page.settings), ensure_ascii=False, indent=2),
            signs=_VERDICTS,
            # What follows is the page's own, and no text from outside.
            policy=" ".join(f"'sha256-{_sha256(content)}'" for content in (plotting, script)),
            style=Markup((folder / "page.css").read_text("utf-8")),  # noqa: S704
            plotting=Markup(plotting),  # noqa: S704
            script=Markup(script),  # noqa: S704
            data=Markup(_json(data)),  # noqa: S704
            # How values are shown.
            about=lambda where: json.dumps(about(where)),
            numbers_of=claim_numbers,
            by_language=_by_language,
            language_tag=lambda code: language(code).tag,
            longest=LONGEST,
        )
    )


def _json(data: Mapping[str, Any]) -> str:
    """The data of the scripts; no `<`, so that nothing in it ends the element it stands in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _sha256(content: str) -> str:
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _named(page: Page) -> Iterator[NamedChapter]:
    """The chapters; a figure comes several times where there are choices: names are numbered."""
    number = count()
    for chapter in page.chapters:
        panels = []
        for panel in chapter.panels:
            place = next(number)
            name = f"{panel.figure.name}-{place}" if page.choices else panel.figure.name
            panels.append((name, panel))
        yield NamedChapter(chapter, tuple(panels))


def _choices(page: Page) -> list[tuple[str, str, Sequence[str]]]:
    """Name, label and values of what there is a choice of."""
    labels = _LABELS
    if all(term != "Questions" for term, _ in page.studied):
        labels = labels | {"questions": "Texts"}  # nothing was asked
    return [
        (name, labels[name], values) for name, values in page.choices.items() if len(values) > 1
    ]


def _by_term(studied: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """What was studied, by term; the term in the plural where there are several."""
    words: dict[str, list[str]] = {}
    for term, text in studied:
        words.setdefault(term, []).append(text)
    return {
        term if len(texts) == 1 or term.endswith("s") else f"{term}s": texts
        for term, texts in words.items()
    }


def _told(judged: Judged) -> Told:
    known = tuple(claim for claim in judged.claims if claim.numbers)
    counts = []
    for verdict in _VERDICTS:
        number = sum(claim.verdict == verdict for claim in known)
        words = verdict if number == 1 else _SEVERAL.get(verdict, verdict)
        if number:
            counts.append(f"{number} {words}")
    return Told(
        summary=", ".join(counts) or "Nothing to judge them by yet",
        judged=known,
        missing=tuple(claim for claim in judged.claims if not claim.numbers),
        where=judged.where,
        notes=judged.notes,
    )


def _every_verdict(page: Page) -> Verdicts:
    """The verdicts on every claim, told apart by those choices of which there are several."""
    judged = [judged for judged in page.judged if judged.claims]
    told = [name for name, _, _ in _choices(page)]
    statements = {claim.name: claim.statement for one in judged for claim in one.claims}
    known = [{claim.name: claim.verdict for claim in one.claims if claim.numbers} for one in judged]
    return Verdicts(
        places=tuple(
            " · ".join(one.where[name] for name in told if name in one.where) for one in judged
        ),
        rows=tuple(
            (statement, tuple(verdicts.get(name) for verdicts in known))
            for name, statement in statements.items()
        ),
    )


def claim_numbers(claim: Claim) -> list[tuple[str, str, str]]:
    """What a verdict rests on, as rows: what, the number, its interval."""
    shares = claim.name.startswith(_OF_SHARES)
    return list(_flat(claim.numbers, (), shares=shares))


def _flat(numbers: Any, path: tuple[str, ...], *, shares: bool) -> Iterator[tuple[str, str, str]]:
    """Nested numbers as rows; an interval beside its number.

    Args:
        numbers: a number, a list, or more of them by name.
        path: the names on the way.
        shares: whether they are shares, but for p, and told in per cent.
    """
    name = ", ".join(map(_called, path))
    in_words = _percent if shares and path[-1:] != ("p",) else written
    if isinstance(numbers, Mapping):
        rest = dict(numbers)
        if {"value", "interval"} <= rest.keys():
            value, ends = rest.pop("value"), rest.pop("interval")
            known = _listed(ends, in_words) if ends else "not known"
            yield name, _one(value, in_words), known
        for key, value in rest.items():
            yield from _flat(value, (*path, key), shares=shares)
    elif isinstance(numbers, list):
        yield name, _listed(numbers, in_words), ""
    else:
        yield name, _one(numbers, in_words), ""


def _called(key: str) -> str:
    """What a number is called, in words."""
    return f"{key} stages" if key.isdigit() else _NAMES.get(key, key)


def _one(value: Any, in_words: Callable[[float], str]) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return in_words(value)
    return "not known" if value is None else str(value)


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _listed(values: list[Any], in_words: Callable[[float], str]) -> str:
    """An interval, or a list."""
    if len(values) == 2 and all(isinstance(value, float) for value in values):
        return " to ".join(map(in_words, values))
    return ", ".join(map(str, values)) or "none"


def _by_language(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """Pairs by the name of their language."""
    listed: dict[str, list[Pair]] = {}
    names = told_apart(pair.lang for pair in pairs)
    for pair in pairs:
        listed.setdefault(names[pair.lang], []).append(pair)
    return listed


def _source(source: Provenance) -> dict[str, str]:
    """What is to be known of a result: term -> words."""
    manifest = source.manifest
    known = {name: v for name, v in manifest["facts"].items() if v not in ({}, [], None, "")}
    versions = manifest["packages"].items()
    return {
        "made by": f"langneurons {manifest['command']}, {manifest['created']}",
        "settings": json.dumps(manifest["config"], ensure_ascii=False),
        "made from": _digests(manifest["inputs"]) or "nothing",
        "files": _digests(manifest["files"]),
        "to know": _cut(json.dumps(known, ensure_ascii=False)),
        "versions": ", ".join(f"{name} {version}" for name, version in versions if version),
    }


def _digests(files: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {digest[:12]}" for name, digest in files.items())


def _cut(text: str) -> str:
    rest = len(text) - LONGEST
    return text if rest <= 0 else f"{text[:LONGEST]} … and {rest:,} more characters"
