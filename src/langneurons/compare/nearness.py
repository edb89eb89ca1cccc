"""Nearness: whether alignment brings languages nearer to each other, and in which layers.

Agreement of languages (`neurons.agreement`) before and after, over the whole model, over the stages
of the neurons before, and in each layer: of all languages, and of English with those that were
trained, with the others, and with each. No class of neurons takes part. Intervals resample blocks
of questions, the same before and after where the questions are the same.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from langneurons.compare.changes import Side
from langneurons.intervals import Floats, estimate
from langneurons.neurons.agreement import Decomposition, decomposed, unavailable
from langneurons.neurons.counts import Counts
from langneurons.neurons.summary import stages
from langneurons.tables import Cell, Table, rounded
from langneurons.texts.languages import english_among

_HEADS = ("after", "share", "languages", "first layer", "last layer")
_CHANGE = ("before", "now", "change", "low", "high")

Taken = Callable[[Decomposition, slice], Floats]
"""A share of some layers together, in each resampling, [R + 1]."""


def nearness(
    before: Side,
    after: Sequence[Side],
    trained: Sequence[str],
    *,
    resamplings: int = 200,
    seed: int = 0,
) -> tuple[Table | None, list[str]]:
    """How agreement of languages changed from `before` to each of `after`, and what to know of it.

    Args:
        before: the base, with the counts of its neurons.
        after: others of the same languages.
        trained: the languages that were aligned.
        resamplings: of the blocks; 0 for none.
        seed: of the resamplings.

    Returns:
        the table, None where no counts tell; and a line for each side whose counts do not tell.
    """
    counted = [side for side in (before, *after) if side.source]
    if before.source is None or len(counted) < 2:
        return None, []
    notes = [
        f"{side.name}: agreement of languages is not told: {reason}"
        for side in counted
        if (reason := unavailable(_counts(side)))
    ]
    known = [side for side in counted[1:] if not unavailable(_counts(side))]
    if not known or unavailable(_counts(before)):
        return None, notes
    languages = before.neurons.languages
    parts = _parts(before, languages, resamplings, seed)
    measures, spans = _measures(languages, trained), _spans(before)
    rows: list[tuple[Cell, ...]] = []
    for number, side in enumerate(known, start=1):
        same = _same_blocks(before, side)
        now = _parts(side, languages, resamplings, seed if same else seed + number)
        for (share, group), take in measures.items():
            for layers in spans:
                first, second = take(parts, layers), take(now, layers)  # row 0: as observed
                change = estimate(second[0] - first[0], second[1:] - first[1:])
                shares = (first[0], second[0], *change[:3])
                span = (layers.start, layers.stop - 1)
                rows.append((side.name, share, group, *span, *map(rounded, shares)))
    caption = (
        "Agreement of languages, meaning / (meaning + rest), and the share of language in the "
        "variance of rates of activation, before and after: of all languages, and agreement of "
        "English with those trained, with the others and with each. Over the model, over the "
        "stages of the neurons before, and in each layer."
    )
    return Table("agreement-changes", caption, (*_HEADS, *_CHANGE), tuple(rows)), notes


def _counts(side: Side) -> Counts:
    assert side.source  # noqa: S101 - only sides with counts are asked
    return side.source.counts


def _parts(side: Side, languages: tuple[str, ...], resamplings: int, seed: int) -> Decomposition:
    return decomposed(_counts(side).spread(languages), resamplings=resamplings, seed=seed)


def _same_blocks(before: Side, after: Side) -> bool:
    """Whether both hold the same questions in the same blocks."""
    first, second = _counts(before), _counts(after)
    same_rule = (first.blocks, first.block_rule) == (second.blocks, second.block_rule)
    return same_rule and np.array_equal(first.questions[0], second.questions[0])


def _measures(languages: Sequence[str], trained: Sequence[str]) -> Mapping[tuple[str, str], Taken]:
    """What is told: (share, of which languages) -> how it is taken."""
    measures: dict[tuple[str, str], Taken] = {
        ("agreement", "all"): lambda parts, layers: parts.over(layers).agreement,
        ("language", "all"): lambda parts, layers: parts.over(layers).language,
    }
    english = english_among(languages)
    if english is None:
        return measures
    others = [code for code in languages if code != english]
    groups = {
        "trained with English": [code for code in others if code in trained],
        "others with English": [code for code in others if trained and code not in trained],
        **{f"{code} with English": [code] for code in others},
    }
    for name, codes in groups.items():
        if codes:
            measures["agreement", name] = _with_english(english, codes)
    return measures


def _with_english(english: str, codes: Sequence[str]) -> Taken:
    """Mean over languages of their agreement with English."""

    def take(parts: Decomposition, layers: slice) -> Floats:
        each = [parts.over(layers, english, code).agreement for code in codes]
        return np.mean(each, axis=0)

    return take


def _spans(before: Side) -> list[slice]:
    """The whole model, each layer, and the stages of its neurons that are more than a layer."""
    count = len(_counts(before).active)
    cut = stages(before.neurons)
    of_stages = zip(cut.starts, cut.ends, strict=True) if cut else ()
    of_layers = ((layer, layer + 1) for layer in range(count))
    return [slice(*span) for span in dict.fromkeys([(0, count), *of_layers, *of_stages])]
