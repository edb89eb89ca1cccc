"""Pages: the whole page of a study or of one set of neurons, with what is told first."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from langneurons.compare.verdicts import Claim
from langneurons.layout import describe
from langneurons.neurons.summary import tiles
from langneurons.neurons.table import Neurons, Rule
from langneurons.report import chapters
from langneurons.report.parts import (
    Chapter,
    Explored,
    Judged,
    Page,
    Provenance,
    Tiles,
    Where,
)
from langneurons.report.results import Alignment, Model, Results, Sides, StudyResults
from langneurons.report.tiles import study_tiles
from langneurons.sweep.grid import PAPER
from langneurons.sweep.sweep import Sweep
from langneurons.tables import from_least_to_most, joined, written
from langneurons.texts.languages import told_apart

_METHODS = {
    "ternary": "ternary classification",
    "lape": "LAPE",
    "imported": "imported mask",
}


def results_page(
    title: str,
    results: Results,
    provenance: Iterable[Provenance],
    beside: Iterable[Sides] = (),
) -> Page:
    """The page of one set of neurons, and of what silencing them costs where it was measured.

    Args:
        title: its heading.
        results: what was found; neurons must be among it.
        provenance: the results they stand on.
        beside: the same beside others.
    """
    neurons, everywhere = results.neurons, {}
    assert neurons  # noqa: S101 - the caller chose them
    judged = chapters.claims_of(results)
    swept = chapters.Swept(results.sweep, neurons, judged)
    widths = neurons.widths
    shape = f"{describe(widths)} neurons" if widths else f"{neurons.layers} layers"
    parts = (
        chapters.neurons([(everywhere, results)]),
        chapters.meanings([(everywhere, results)]),
        chapters.silencing([(everywhere, results)]),
        chapters.effects([(everywhere, results)]),
        chapters.beside((everywhere, sides) for sides in beside),
        chapters.mediated([(everywhere, results.mediation)]),
        chapters.sweeps([(everywhere, swept)]),
    )
    return Page(
        title=title,
        subtitle=f"{len(neurons.languages)} languages · {shape} · {_METHODS[neurons.rule.method]}",
        studied=(),
        choices={},
        tiles=(Tiles(tiles(neurons), everywhere),),
        judged=(_judged_by(judged, everywhere, neurons, results.sweep),),
        chapters=_filled(parts),
        explored=(Explored(neurons, results.matrices, everywhere, results.effects),),
        provenance=tuple(provenance),
        settings={},
    )


def study_page(title: str, found: StudyResults) -> Page:
    """The page of a study.

    Args:
        title: its heading.
        found: what its run has found so far.
    """
    models, codes = found.models, found.settings["languages"]
    questions = tuple(dict.fromkeys(name for model in models for name in model.base))
    alignments = tuple(dict.fromkeys(a.name for model in models for a in model.alignments))
    before = list(chapters.before_alignment(models))
    after = chapters.after_alignment(models)
    parts = (
        chapters.answers(models),
        chapters.neurons(before),
        chapters.meanings(before),
        chapters.silencing([*before, *after]),
        chapters.effects([*before]),
        chapters.beside(chapters.sides(models)),
        chapters.aligning(models),
        chapters.changes(models),
        chapters.mediated(chapters.followed(models)),
        chapters.sweeps(chapters.swept(models)),
    )
    texts = [name for name in questions if found.settings["domains"][name].get("texts")]
    counted = (
        _count(len(models), "model"),
        _count(len(codes), "language"),
        _count(len(questions) - len(texts), "set of questions", "sets of questions"),
        _count(len(texts), "set of texts", "sets of texts"),
        _count(len(alignments), "alignment"),
    )
    return Page(
        title=title,
        subtitle=" · ".join(words for words in counted if words),
        studied=tuple(_studied(found)),
        choices={
            "model": [model.name for model in models],
            "questions": questions,
            "alignment": alignments,
        },
        tiles=tuple(_tiles(models)),
        judged=tuple(_judged(models)),
        chapters=_filled(parts),
        explored=tuple(
            Explored(results.neurons, results.matrices, where, results.effects)
            for where, results in before
            if results.neurons
        ),
        provenance=found.provenance,
        settings=found.settings,
    )


def _filled(parts: Iterable[Chapter]) -> tuple[Chapter, ...]:
    """The chapters that have something in them."""
    return tuple(chapter for chapter in parts if chapter.panels or chapter.previews)


def _studied(found: StudyResults) -> Iterator[tuple[str, str]]:
    """What was studied: term and words."""
    for model in found.models:
        yield "Model", _model(model)
    yield "Languages", _names(found.settings["languages"])
    n = found.settings.get("sample", {}).get("n")
    for name, asked in found.asked.items():
        origin = "" if asked.source == name else f" ({asked.source})"
        sampled = f", {n} responses to each" if n else ""
        yield "Questions", f"{name}{origin}: {asked.number:,} in each language{sampled}"
    for name, of in found.settings["domains"].items():
        if source := of.get("texts"):
            origin = "" if source == name else f" ({source})"
            yield "Running text", f"{name}{origin}{_tokens(found.models, name)}"
    yield from dict.fromkeys(_silenced_on(found.models, found.settings["domains"]))
    told = set()
    for model in found.models:
        for alignment in model.alignments:
            if alignment.name not in told:
                told.add(alignment.name)
                yield "Alignment", _alignment(alignment)


def _tokens(models: Iterable[Model], domain: str) -> str:
    """How many tokens of running text the first model was recorded on, in words."""
    for model in models:
        if counts := model.base[domain].manifests.get("counts"):
            tokens = counts["facts"]["tokens"].values()
            return f": {min(tokens):,} to {max(tokens):,} tokens in each language"
    return ""


def _silenced_on(
    models: Iterable[Model], domains: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    """How much was read while neurons were silenced, and beside how many random sets."""
    for model in models:
        for questions, results in model.base.items():
            made = results.manifests.get("perplexity")
            if made and {"texts", "tokens"} <= made["facts"].keys():
                texts, tokens = (
                    from_least_to_most(made["facts"][name].values(), "{:,}".format)
                    for name in ("texts", "tokens")
                )
                read = domains[questions].get("scored") or questions
                drawn = _count(made["config"]["controls"], "random set") or "no random sets"
                words = f"{texts} texts, {tokens} tokens in each language; {drawn}"
                yield "Silenced on", f"{read}: {words}"


def _model(model: Model) -> str:
    widths = next((r.neurons.widths for r in model.base.values() if r.neurons), None)
    shape = f", {describe(widths)} neurons" if widths else ""
    source = "" if model.source == model.name else f": {model.source}"
    return f"{model.name}{source}{shape}"


def _alignment(alignment: Alignment) -> str:
    adapter = alignment.manifests.get("adapter")
    steps = f"{adapter['config'].get('steps'):,} steps" if adapter else "not trained yet"
    languages = joined([*told_apart(alignment.languages).values()])
    return f"{alignment.name}: {languages}, aligned to English, {steps}"


def _names(codes: Sequence[str]) -> str:
    return ", ".join(told_apart(codes).values())


def _judged(models: Iterable[Model]) -> Iterator[Judged]:
    """Claims: of comparisons; where a model was not aligned, those that are of one model."""
    for model in models:
        for questions, results in model.base.items():
            where: Where = {"model": model.name, "questions": questions}
            aligned = [one for one in model.alignments if questions in one.compared]
            compared = {one.name: one.compared[questions] for one in aligned}
            sweeps = {alignment.name: alignment.sweeps.get(questions) for alignment in aligned}
            for name, changed in compared.items():
                here = {**where, "alignment": name}
                yield _judged_by(changed.claims, here, results.neurons, sweeps[name])
            if not compared and results.neurons:
                yield _judged_by(chapters.claims_of(results), where, results.neurons, results.sweep)


def _judged_by(
    claims: tuple[Claim, ...], where: Where, neurons: Neurons | None, sweep: Sweep | None
) -> Judged:
    """The claims, with what differs from the paper's settings and what they come to at those."""
    if not neurons or not (unlike := list(_unlike_the_paper(neurons.rule))):
        return Judged(claims, where)
    verdicts = {claim.name: (claim.statement, claim.verdict) for claim in claims if claim.numbers}
    asked = {
        row["claim"]: row["verdict"]
        for row in (sweep.rows if sweep else ())
        if row["paper"] and row["thresholds"] in (None, "own") and row["claim"] in verdicts
    }
    others = [
        f"{verdicts[name][0]}: {verdict}"
        for name, verdict in asked.items()
        if verdict != verdicts[name][1]
    ]
    notes = [f"Judged with {joined(unlike)}."]
    of = f" ({sweep.resamplings:,} resamplings)" if sweep and sweep.resamplings else ""
    if others:
        notes.append(
            f"At the paper's settings {len(others)} of {len(asked)} verdicts of the sweep{of} are "
            f"others. {'; '.join(others)}."
        )
    elif asked:
        notes.append(
            f"At the paper's settings the {len(asked)} verdicts of the sweep{of} are these."
        )
    return Judged(claims, where, tuple(notes))


def _unlike_the_paper(rule: Rule) -> Iterator[str]:
    """What neurons were found by that is not as in the paper; nothing of imported ones."""
    if rule.method == "imported":
        return
    if rule.method != PAPER.method:
        yield "the score of LAPE (the paper: its own)"
    if rule.rate != PAPER.rate:
        yield (
            f"the lowest {100 * (rule.rate or 0):.3g}% of neurons by score selected (the paper: "
            f"{100 * PAPER.rate:.3g}%)"
        )
    if rule.tau_quantile != PAPER.tau_quantile:
        yield f"τ at quantile {rule.tau_quantile:g} (the paper: {PAPER.tau_quantile:g})"
    if rule.lam and rule.lam.status == "given":
        yield f"λ given as {written(rule.lam.value)} (the paper: found from the neurons)"
    if rule.prefilter and rule.method == PAPER.method:
        yield "neurons highly active in no language dropped first (the paper: kept)"
    if rule.by == "effect":
        yield "effects in place of activation rates"
    if rule.general < 1:
        yield f"general neurons from {rule.general:.0%} of the languages on (the paper: all)"


def _tiles(models: Iterable[Model]) -> Iterator[Tiles]:
    """The four numbers of each choice."""
    for model in models:
        for questions, results in model.base.items():
            where: Where = {"model": model.name, "questions": questions}
            if not model.alignments:
                yield Tiles(study_tiles(results, None, questions), where)
            for alignment in model.alignments:
                yield Tiles(
                    study_tiles(results, alignment, questions),
                    {**where, "alignment": alignment.name},
                )


def _count(number: int, one: str, several: str | None = None) -> str:
    return "" if not number else f"{number} {one if number == 1 else several or f'{one}s'}"
