"""Overview: the whole page of a run, and its first screen: what was studied, the numbers that matter, the claims."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langneurons.compare.claims import Evidence, claims
from langneurons.compare.verdicts import Claim
from langneurons.layout import describe as describe_widths
from langneurons.neurons.summary import Tile, tiles
from langneurons.neurons.table import Neurons
from langneurons.report import chapters
from langneurons.report.chapters import Aligned, Model, Results
from langneurons.report.parts import Chapter, Explored, Judged, Page, Provenance, Tiles, Where
from langneurons.silencing import matrix as diagonal
from langneurons.silencing.losses import Losses
from langneurons.texts.accuracy import MEAN
from langneurons.texts.languages import language

TILES = 4
"""How many numbers are told first of a study."""


def results_page(title: str, found: Results, provenance: Iterable[Provenance]) -> Page:
    """The page of one set of neurons, and of what silencing them costs where it was measured.

    Args:
        title: its heading.
        found: the results; neurons must be among them.
        provenance: the results they stand on.
    """
    assert found.neurons  # noqa: S101 - the caller chose them
    rule, nowhere = found.neurons.rule, {}
    widths = found.neurons.widths
    shape = f"{describe_widths(widths)} neurons" if widths else f"{found.neurons.layers} layers"
    method = {"ternary": "ternary classification", "lape": "LAPE", "imported": "imported mask"}[
        rule.method
    ]
    parts = (chapters.neurons([(nowhere, found)]), chapters.silencing([(nowhere, found)]))
    return Page(
        title,
        f"{len(found.neurons.languages)} languages · {shape} · {method}",
        (),
        {},
        (Tiles(tiles(found.neurons), nowhere),),
        (Judged(_claims(found), nowhere),),
        _written(parts),
        (Explored(found.neurons, found.losses, nowhere),),
        tuple(provenance),
        {},
    )


def study_page(
    title: str,
    models: Sequence[Model],
    settings: Mapping[str, Any],
    asked: Mapping[str, tuple[str, int]],
    provenance: Iterable[Provenance],
) -> Page:
    """The page of a study.

    Args:
        title: its heading.
        models: what was found.
        settings: what the study says.
        asked: questions -> where they come from, and how many in each language.
        provenance: every result of the run.
    """
    questions = tuple(dict.fromkeys(name for model in models for name in model.base))
    alignments = tuple(dict.fromkeys(one.name for model in models for one in model.alignments))
    before = [
        ({"model": m.name, "questions": q}, found) for m in models for q, found in m.base.items()
    ]
    after = [
        ({"model": m.name, "questions": q, "alignment": one.name}, found)
        for m in models
        for one in m.alignments
        for q, found in one.after.items()
    ]
    parts = (
        chapters.answers(models),
        chapters.neurons(before),
        chapters.silencing([*before, *after]),
        chapters.aligning(models),
        chapters.changes(models),
    )
    codes = settings["languages"]
    counted = (
        _count(len(models), "model"),
        _count(len(codes), "language"),
        _count(len(questions), "set of questions", "sets of questions"),
        _count(len(alignments), "alignment"),
    )
    return Page(
        title,
        " · ".join(one for one in counted if one),
        tuple(_studied(models, codes, settings.get("sample", {}).get("n"), asked)),
        {"model": [m.name for m in models], "questions": questions, "alignment": alignments},
        tuple(_first(models)),
        tuple(_judged(models)),
        _written(parts),
        tuple(
            Explored(found.neurons, found.losses, where) for where, found in before if found.neurons
        ),
        tuple(provenance),
        settings,
    )


def _written(parts: Iterable[Chapter]) -> tuple[Chapter, ...]:
    """The chapters that have something in them."""
    return tuple(one for one in parts if one.panels or one.previews)


def _studied(
    models: Sequence[Model],
    codes: Sequence[str],
    n: int | None,
    asked: Mapping[str, tuple[str, int]],
) -> Iterable[tuple[str, str]]:
    """What was studied: term and words."""
    for model in models:
        widths = next((r.neurons.widths for r in model.base.values() if r.neurons), None)
        shape = f", {describe_widths(widths)} neurons" if widths else ""
        source = "" if model.source == model.name else f": {model.source}"
        yield "Model", f"{model.name}{source}{shape}"
    yield "Languages", ", ".join(language(code).name for code in codes)
    for name, (source, number) in asked.items():
        origin = "" if source == name else f" ({source})"
        sampled = f", {n} responses to each" if n else ""
        yield "Questions", f"{name}{origin}: {number:,} in each language{sampled}"
    seen = {}
    for model in models:
        for one in model.alignments:
            targets = ", ".join(language(code).name for code in one.languages)
            adapter = one.manifests.get("adapter")
            steps = (
                f", {adapter['config'].get('steps'):,} steps" if adapter else ", not trained yet"
            )
            seen.setdefault(one.name, f"{one.name}: {targets} to English{steps}")
    for words in seen.values():
        yield "Alignment", words


def _judged(models: Iterable[Model]) -> Iterable[Judged]:
    """Claims: of comparisons; where a model was not aligned, those that are of one model."""
    for model in models:
        for questions, found in model.base.items():
            where = {"model": model.name, "questions": questions}
            compared = {
                one.name: one.compared[questions]
                for one in model.alignments
                if questions in one.compared
            }
            for name, one in compared.items():
                yield Judged(one.claims, where | {"alignment": name})
            if not compared and found.neurons:
                yield Judged(_claims(found), where)


def _claims(found: Results) -> tuple[Claim, ...]:
    """The claims that results of one model can tell about."""
    matrices = diagonal.matrices(found.losses) if found.losses else None
    evidence = Evidence(neurons=found.neurons, matrices=matrices)
    return tuple(claim for claim in claims(evidence) if claim.numbers)


def _first(models: Iterable[Model]) -> Iterable[Tiles]:
    """The four numbers of each choice."""
    for model in models:
        for questions, found in model.base.items():
            where: Where = {"model": model.name, "questions": questions}
            if not model.alignments:
                yield Tiles(_tiles(found, None, questions), where)
            for one in model.alignments:
                yield Tiles(_tiles(found, one, questions), {**where, "alignment": one.name})


def _tiles(found: Results, aligned: Aligned | None, questions: str) -> tuple[Tile, ...]:
    judged = aligned.compared[questions].claims if aligned and questions in aligned.compared else ()
    numbers = {claim.name: claim.numbers for claim in judged}
    out = [
        _language_neurons(found.neurons) if found.neurons else None,
        _own_loss(found.losses) if found.losses else None,
        _accuracy(found, numbers.get("accuracy-trained", {})),
        _shift(numbers.get("specific-to-related", {})),
    ]
    told = [tile for tile in out if tile]
    spare = (
        [tile for tile in tiles(found.neurons) if tile.key not in ("specific", "related")]
        if found.neurons
        else []
    )
    return tuple((told + spare)[:TILES])


def _language_neurons(neurons: Neurons) -> Tile:
    held = {kind: int((neurons.kind == kind).sum()) for kind in ("specific", "related", "general")}
    found, whole = held["specific"] + held["related"], sum(neurons.rule.histogram)
    share = f", {found / whole:.2%} of all" if whole else ""
    text = f"{held['specific']:,} of one language, {held['related']:,} of several{share}"
    interval = ""
    if neurons.uncertainty:
        ends = [neurons.uncertainty.intervals[kind] for kind in ("specific", "related")]
        interval = "95% intervals " + " and ".join(
            f"{low:,.0f} to {high:,.0f}" for low, high in ends
        )
    return Tile("related", "language neurons", f"{found:,}", text, interval)


def _own_loss(losses: Losses) -> Tile | None:
    """How much perplexity grows in the language whose neurons are silenced, and in the others."""
    found = diagonal.dominance(diagonal.matrix(losses, losses.settings[-1], "log ratio"))
    if not math.isfinite(found.diagonal) or not math.isfinite(found.others):
        return None
    text = f"perplexity of a language when its {found.setting} neurons are silenced; others ×{math.exp(found.others):.2f}"
    interval = ""
    if found.interval:
        low, high = map(math.exp, found.interval)
        interval = f"own against others, 95% interval ×{low:.2f} to ×{high:.2f}"
    return Tile("specific", "silenced", f"×{math.exp(found.diagonal):.2f}", text, interval)


def _accuracy(found: Results, claim: Mapping[str, Any]) -> Tile | None:
    if claim:
        low, high = claim["interval"]
        text = f"right answers in the languages aligned, before and after; change {100 * claim['change']:+.1f} points"
        interval = f"95% interval {100 * low:+.1f} to {100 * high:+.1f}, p = {claim['p']:.2g}"
        return Tile(
            "accuracy", "accuracy", f"{claim['before']:.1%} → {claim['after']:.1%}", text, interval
        )
    mean = next((one for one in found.accuracy if one.lang == MEAN), None)
    if mean is None:
        return None
    interval = f"95% interval {mean.low:.1%} to {mean.high:.1%}"
    return Tile(
        "accuracy",
        "accuracy",
        f"{mean.accuracy:.1%}",
        "right answers, mean over languages",
        interval,
    )


def _shift(claim: Mapping[str, Any]) -> Tile | None:
    if not claim:
        return None
    both = [claim[kind] for kind in ("specific", "related")]
    value = " / ".join(_signed(one["value"]) for one in both)
    ends = [one["interval"] for one in both]
    interval = (
        "95% intervals " + " and ".join(f"{low:+,.0f} to {high:+,.0f}" for low, high in ends)
        if all(ends)
        else ""
    )
    return Tile(
        "general", "specific / related", value, "change of their number by alignment", interval
    )


def _signed(value: float) -> str:
    return f"{value:+,.0f}".replace("-", "−") if round(value) else "0"


def _count(number: int, one: str, several: str | None = None) -> str:
    return "" if not number else f"{number} {one if number == 1 else several or f'{one}s'}"
