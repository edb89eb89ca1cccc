"""Findings: what a chapter found, in a sentence or two computed from its data.

Each says what was found, how sure it is, and against which control; what the data cannot tell is
left out.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from langneurons.compare.verdicts import Claim
from langneurons.neurons.summary import Facts, facts
from langneurons.neurons.table import Neurons
from langneurons.report.results import Alignment
from langneurons.report.sweep_charts import TITLES
from langneurons.silencing.matrix import Matrices
from langneurons.sweep.sweep import Sweep
from langneurons.sweep.tables import claim_table
from langneurons.tables import p_value, written
from langneurons.texts.accuracy import MEAN, Accuracy
from langneurons.texts.languages import language, told_apart

_OF_CHANGE = ("specific-to-related", "untrained-alike", "stable-alignment")
"""Claims that are told of an alignment first."""


def of_answers(accuracy: Mapping[str, tuple[Accuracy, ...]]) -> Iterator[str]:
    """Right answers: the mean of each model, the lowest and the highest language.

    Args:
        accuracy: of the model before alignment and after each; name -> languages and mean.
    """
    for name, shares in accuracy.items():
        by_language = [share for share in shares if share.lang != MEAN]
        mean = next((share for share in shares if share.lang == MEAN), None)
        if not mean or not by_language:
            continue
        lowest, *_, highest = sorted(by_language, key=lambda share: share.accuracy)
        when = "Before alignment" if name == "before" else f"After {name}"
        yield (
            f"{when} {mean.accuracy:.0%} [{mean.low:.0%}, {mean.high:.0%}] of the answers are "
            f"right, from {lowest.accuracy:.0%} in {language(lowest.lang).name} to "
            f"{highest.accuracy:.0%} in {language(highest.lang).name}."
        )


def of_neurons(neurons: Neurons) -> Iterator[str]:
    """How many neurons are of one language and of several, beside chance; where; English."""
    told = facts(neurons)
    specific, related = told.kinds["specific"], told.kinds["related"]
    everything = sum(told.rule.histogram)
    share = f", together {(specific + related) / everything:.1%} of all" if everything else ""
    yield (
        f"Neurons of one language: {specific:,}{told.interval('specific', ',.0f')}; of several: "
        f"{related:,}{told.interval('related', ',.0f')}{share}{_by_chance(told)}."
    )
    where = _places(neurons)
    if where:
        yield where
    if told.english:
        (_, *english), (_, *others) = told.english.rows
        yield (
            f"English has {english[0]:g} specific and {english[1]:g} related ones, the other "
            f"languages {others[0]:,.0f} and {others[1]:,.0f} on average."
        )


def _by_chance(told: Facts) -> str:
    if not told.chance or not told.chance.permuted:
        return ""
    specific, related = (told.chance.permuted[kind].mean for kind in ("specific", "related"))
    return f"; were each language a mix of all, {specific:,.0f} and {related:,.0f}"


def _places(neurons: Neurons) -> str:
    """In which layers most language neurons and most general ones are."""
    language_neurons = neurons.numbers.language_neurons
    general = neurons.numbers.by_layer("general").value
    if not language_neurons.any() or not general.any():
        return ""
    return (
        f"Most language neurons are in layer {int(np.argmax(language_neurons))}, most neurons "
        f"active in all languages in layer {int(np.argmax(general))} of {neurons.layers}."
    )


def of_silencing(matrices: Matrices) -> Iterator[str]:
    """What silencing costs the language itself, the others, and what random sets cost."""
    for setting in matrices.settings:
        found = matrices.dominance(setting, "log ratio")
        if not math.isfinite(found.diagonal) or not math.isfinite(found.others):
            continue
        gap = f"×{_ratio(found.diagonal - found.others)}"
        if found.interval:
            gap += f" [{', '.join(map(_ratio, found.interval))}]"
        control = ""
        if found.controls:
            control = f"; random sets of the same layers by {_every(found.controls)}"
        yield (
            f"Without its {setting} neurons a language's own perplexity grows ×"
            f"{_ratio(found.diagonal)}, that of the others ×{_ratio(found.others)}: apart by "
            f"{gap}{control}. {len(found.on_diagonal)} of {len(found.rows)} languages lose most "
            f"themselves ({p_value(found.p)})."
        )


def _every(gaps: Sequence[float]) -> str:
    """How far apart every random draw is, from the least to the most."""
    ends = dict.fromkeys(f"×{_ratio(end(gaps))}" for end in (min, max))
    return f"{' to '.join(ends)} ({len(gaps)} drawn)"


def _ratio(logarithm: float) -> str:
    ratio = math.exp(logarithm)
    return f"{ratio:.2f}" if ratio < 10 else written(ratio)


def of_alignment(alignment: Alignment) -> Iterator[str]:
    """What an alignment learned from."""
    adapter = alignment.manifests.get("adapter")
    if not adapter:
        return
    pairs = adapter["facts"].get("pairs", {})
    names = ", ".join(told_apart(pairs).values())
    steps = adapter["config"].get("steps")
    yield (
        f"{alignment.name} learned from {sum(pairs.values()):,} pairs of responses in {names}, in "
        f"{steps:,} steps."
    )


def of_changes(claims: tuple[Claim, ...]) -> Iterator[str]:
    """What became of the neurons: the claims on change, each with its numbers."""
    for claim in claims:
        if claim.name in _OF_CHANGE and claim.numbers:
            yield f"{claim.statement}: {claim.verdict} ({claim.words})."


def of_sweep(sweep: Sweep) -> Iterator[str]:
    """In how many cells of the grid each claim holds."""
    table = claim_table(sweep.rows)
    places = {name: table.columns.index(name) for name in ("claim", "holds", "cells")}
    told = [
        f"{TITLES[row[places['claim']]]} in {row[places['holds']]:,} of {row[places['cells']]:,}"
        for row in table.rows
    ]
    if told:
        yield f"Over {sweep.cells:,} settings the claims hold: {'; '.join(told)}."
