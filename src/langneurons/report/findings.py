"""Findings: what a chapter found, in a sentence or two computed from its data.

Each says what was found, how sure it is, and against which control; what the data cannot tell is
left out.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from langneurons.compare.verdicts import Claim
from langneurons.neurons.agreement import Agreement
from langneurons.neurons.summary import facts
from langneurons.neurons.table import Neurons
from langneurons.report.results import Alignment
from langneurons.report.sweep_charts import TITLES, is_cell_of
from langneurons.silencing.matrix import Dominance, Matrices, Matrix
from langneurons.sweep.sweep import Sweep
from langneurons.sweep.tables import claim_table
from langneurons.tables import Table, from_least_to_most, joined, p_value, written
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


def of_accuracy_changes(name: str, table: Table) -> Iterator[str]:
    """The language whose share of right answers an alignment changed most, trained or not."""
    rows = [row for row in table.records() if row["language"] != MEAN and row["change"]]
    if not rows:
        return
    most = max(rows, key=lambda row: abs(row["change"]))
    ends = ""
    if most["low"] is not None:
        ends = f" [{100 * most['low']:+.0f}, {100 * most['high']:+.0f}]"
    yield (
        f"{name} changes {most['name']} most, {'' if most['trained'] == 'yes' else 'not '}trained: "
        f"{100 * most['change']:+.0f} points{ends} on {most['questions']:,} questions, "
        f"{p_value(most['p (Holm)'])} by McNemar's test, corrected for {len(table.rows) - 1} "
        "languages."
    )


def of_neurons(neurons: Neurons) -> Iterator[str]:
    """How many neurons are of one language and of several, beside chance; where; English."""
    told = facts(neurons)
    kinds = {
        kind: f"{number:,}{told.interval(kind, ',.0f')}" for kind, number in told.kinds.items()
    }
    counted = f"{kinds['specific']} are of one language, {kinds['related']} of several"
    if not told.rule.histogram:
        yield f"{counted}."
    else:
        yield (
            f"Of {told.selected:,} selected neurons {counted}, {told.kinds['none']:,} of none; of "
            f"all {sum(told.rule.histogram):,} neurons {kinds['general']} are highly active in all "
            "languages."
        )
    if told.chance and (permuted := told.chance.permuted):
        means = [f"{permuted[kind].mean:,.0f}" for kind in ("specific", "related", "general")]
        yield (
            f"By chance, with the languages of texts permuted, {means[0]} are of one language, "
            f"{means[1]} of several and {means[2]} of all on average."
        )
    where = _places(neurons)
    if where:
        yield where
    if told.agreement and np.isfinite(told.agreement.agreement.value).all():
        yield _agreement(told.agreement)
    if told.english:
        (_, *english), (_, *others) = told.english.rows
        yield (
            f"English has {english[0]:g} specific and {english[1]:g} related ones, the other "
            f"languages {others[0]:,.0f} and {others[1]:,.0f} on average."
        )


def _agreement(known: Agreement) -> str:
    """In which layer languages agree most and least, beside shuffled questions."""
    found = known.agreement
    most, least = int(np.argmax(found.value)), int(np.argmin(found.value))
    ends = [
        f"{found.value[layer]:.2f}"
        + (
            ""
            if np.isnan(found.low[layer])
            else f" [{found.low[layer]:.2f}, {found.high[layer]:.2f}]"
        )
        for layer in (most, least)
    ]
    return (
        f"All neurons together agree across languages most in layer {most}, {ends[0]}, and least "
        f"in layer {least}, {ends[1]}; with the questions shuffled at most "
        f"{float(np.max(known.shuffled)):.2f} in any layer."
    )


def _places(neurons: Neurons) -> str:
    """In which layers most language neurons and most general ones are."""
    language_neurons = neurons.numbers.language_neurons
    general = neurons.numbers.by_layer("general").value
    if not language_neurons.any() or not general.any():
        return ""
    told = [
        f"layer {int(np.argmax(of_layers))} has the most {name}, {of_layers.max():,.0f} of "
        f"{of_layers.sum():,.0f}"
        for name, of_layers in (
            ("language neurons", language_neurons),
            ("neurons active in all languages", general),
        )
    ]
    return f"Of layers 0 to {neurons.layers - 1}, {'; '.join(told)}."


def of_silencing(matrices: Matrices) -> Iterator[str]:
    """What silencing costs the language itself and the others, and what random sets cost both."""
    for setting in matrices.settings:
        found = matrices.dominance(setting, "log ratio")
        if math.isfinite(found.diagonal) and math.isfinite(found.others):
            yield _own_cost(found, matrices[setting, "log ratio"])
            yield _apart(found)


def _own_cost(found: Dominance, matrix: Matrix) -> str:
    """A language's own loss: mean, range and median, and what random sets cost it."""
    rows, names = matrix.measured, told_apart(matrix.languages)
    own = matrix.change[rows, rows]
    lowest, highest = (rows[place(own)] for place in (np.argmin, np.argmax))
    ends = " to ".join(
        f"×{ratio(matrix.change[row, row])} ({names[matrix.languages[row]]})"
        for row in (lowest, highest)
    )
    beside = ""
    if found.random:
        beside = (
            f" Without as many random neurons of the same layers it grows {every(found.random)} in "
            f"that mean ({len(found.random)} sets); all sets stay below its own in "
            f"{len(found.beyond)} of {len(rows)} languages."
        )
    return (
        f"Without its {matrix.setting} neurons a language's own perplexity grows "
        f"×{ratio(float(np.median(own)))} in the median language, ×{ratio(found.diagonal)} in the "
        f"mean of logarithms, from {ends}.{beside}"
    )


def _apart(found: Dominance) -> str:
    """How far the own loss lies from that of the others, and the same of random sets."""
    ends = f" [{', '.join(map(ratio, found.interval))}]" if found.interval else ""
    others = random = ""
    if found.controls:
        costs = np.subtract(found.random, found.controls)
        others = f", with random neurons silenced {every(costs)}"
        random = f", with random neurons by {every(found.controls)}"
    sure = ""
    if found.interval:
        sure = f", {len(found.surely)} surely: own less the next has an interval above 0"
    return (
        f"The other languages' grows ×{ratio(found.others)}{others}. Own and others are apart by "
        f"×{ratio(found.diagonal - found.others)}{ends}{random}. {len(found.on_diagonal)} of "
        f"{len(found.rows)} languages lose most themselves{sure} ({p_value(found.p)}, languages "
        "exchanged at random)."
    )


def every(logarithms: Iterable[float]) -> str:
    """What every random set costs, from the least to the most."""
    return from_least_to_most(logarithms, lambda logarithm: f"×{ratio(logarithm)}")


def ratio(logarithm: float) -> str:
    """A multiple of perplexity; close to 1 to a thousandth."""
    ratio = math.exp(logarithm)
    if abs(ratio - 1) < 0.1:
        return f"{ratio:.3f}"
    return f"{ratio:.2f}" if ratio < 10 else written(ratio)


def of_alignment(alignment: Alignment) -> Iterator[str]:
    """What an alignment learned from."""
    adapter = alignment.manifests.get("adapter")
    if not adapter:
        return
    pairs = adapter["facts"].get("pairs", {})
    names = joined([*told_apart(pairs).values()])
    steps = adapter["config"].get("steps")
    yield (
        f"{alignment.name} learned from {sum(pairs.values()):,} pairs of responses in {names}, in "
        f"{steps:,} steps.{_preferred(alignment, adapter['facts'].get('dev pairs'))}"
    )


def _preferred(alignment: Alignment, held_out: int | None) -> str:
    """In how many pairs the better response is preferred at last, where that was logged."""
    last = [
        next((entry[name] for entry in reversed(alignment.history) if name in entry), None)
        for name in ("rewards/accuracies", "eval_rewards/accuracies")
    ]
    if None in last or not held_out:
        return ""
    trained, others = last
    return (
        f" At last it prefers the better response in {trained:.0%} of the pairs of a batch trained "
        f"on, and in {others:.0%} of {held_out:,} held-out pairs; a coin does in 50%."
    )


def of_changes(claims: tuple[Claim, ...]) -> Iterator[str]:
    """What became of the neurons: the claims on change, each with its numbers."""
    for claim in claims:
        if claim.name in _OF_CHANGE and claim.numbers:
            yield f"{claim.statement}: {claim.verdict} ({claim.words})."


def of_sweep(
    sweep: Sweep, neurons: Neurons | None = None, claims: Sequence[Claim] = ()
) -> Iterator[str]:
    """In how many cells of the grid each claim holds; whether the page's own cell is judged so too.

    Args:
        sweep: what was found.
        neurons: those of the page, whose settings one of the cells may have.
        claims: their claims, as the page judges them.
    """
    table = claim_table(sweep.rows)
    places = {name: table.columns.index(name) for name in ("claim", "holds", "cells")}
    told = [
        f"{TITLES[row[places['claim']]]} in {row[places['holds']]:,} of {row[places['cells']]:,}"
        for row in table.rows
    ]
    if told:
        whose = {row["thresholds"] for row in sweep.rows if row.get("thresholds")}
        twice = ", claims of change by both choices of thresholds" if len(whose) > 1 else ""
        yield (
            f"Each claim was judged in every one of {sweep.cells:,} settings that allows it"
            f"{twice}. It holds: {'; '.join(told)}."
        )
    judged = {claim.name: claim.verdict for claim in claims if claim.numbers}
    others = [
        f"{TITLES[row['claim']]}: {row['verdict']} (above: {judged[row['claim']]})"
        for row in sweep.rows
        if neurons
        and is_cell_of(row, neurons)
        and row["verdict"] != judged.get(row["claim"], row["verdict"])
    ]
    if others:
        of = f", of {sweep.resamplings:,} resamplings" if sweep.resamplings else ""
        yield (
            "In the cell of this page verdicts differ from those above, as a sweep goes by "
            f"intervals alone{of}: {'; '.join(others)}."
        )
