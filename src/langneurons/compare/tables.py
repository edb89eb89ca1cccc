"""Change tables: what changed, as plain rows for the page, for files and for figures (Tables 1 to 5 of the paper).

Each table holds every `after` and both choices of thresholds, told apart by its first columns.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from langneurons.compare.changes import Changes, mean_of, total
from langneurons.intervals import Estimate, Floats, estimate, holm
from langneurons.neurons.numbers import CLASSES, Numbers
from langneurons.neurons.table import KINDS
from langneurons.tables import Cell, Table
from langneurons.texts.accuracy import MEAN, Change
from langneurons.texts.languages import ENGLISH, language

INTERVAL = ("change", "low", "high")
_HEADS = ("after", "thresholds")
_OWN = "Thresholds: own, each model by its own tau and lambda; base's, both by those before."


def tables(found: Sequence[tuple[Changes, ...]], trained: Sequence[str] = ()) -> tuple[Table, ...]:
    """Every table of what changed.

    Args:
        found: what `changes.contrast` gave.
        trained: the languages that were aligned, if any.
    """
    every = [one for pair in found for one in pair]
    return (
        kind_table(every),
        group_table(every, trained),
        language_table(every, trained),
        english_table(every),
        shared_table(every),
        layer_table(every),
        transition_table(every),
        stability_table(every),
        threshold_table(every),
    )


def kind_table(every: Sequence[Changes]) -> Table:
    """Neurons of each kind over the whole model, before, after and their change."""
    rows = [(*_who(one), kind, *_change(one, total(kind))) for one in every for kind in KINDS]
    return Table(
        "kind-changes", f"Neurons of each kind. {_OWN}", (*_HEADS, "kind", *_CHANGE), tuple(rows)
    )


def group_table(every: Sequence[Changes], trained: Sequence[str]) -> Table:
    """Mean change per language, of trained and of the other languages (Table 2 of the paper)."""
    rows = [
        (*_who(one), name, len(codes), kind, *_change(one, mean_of(kind, one.languages, codes)))
        for one in every
        for name, codes in groups(one.languages, trained).items()
        for kind in ("specific", "related")
    ]
    caption = f"Mean over languages of their neurons before and after. {_OWN}"
    return Table(
        "group-changes", caption, (*_HEADS, "languages", "how many", "kind", *_CHANGE), tuple(rows)
    )


def groups(languages: Sequence[str], trained: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Trained and other languages, where there are both; else all."""
    yes = tuple(code for code in languages if code in trained)
    no = tuple(code for code in languages if code not in trained)
    return {"trained": yes, "others": no} if yes and no else {"all": tuple(languages)}


def language_table(every: Sequence[Changes], trained: Sequence[str]) -> Table:
    """Specific and related neurons of each language, before, after and their change."""
    rows = [
        (*_who(one), code, language(code).name, _yes(code in trained), kind, *cells)
        for one in every
        for code in one.languages
        for kind in ("specific", "related")
        for cells in [_change(one, mean_of(kind, one.languages, [code]))]
    ]
    heads = (*_HEADS, "language", "name", "trained", "kind", *_CHANGE)
    return Table("language-changes", f"Neurons of each language. {_OWN}", heads, tuple(rows))


def english_table(every: Sequence[Changes]) -> Table:
    """English against the mean of the others, before and after (Table 3 of the paper)."""
    rows = [
        (*_who(one), name, kind, *_change(one, mean_of(kind, one.languages, codes)))
        for one in every
        if ENGLISH in one.languages and len(one.languages) > 1
        for name, codes in (
            ("English", [ENGLISH]),
            ("mean of the others", [c for c in one.languages if c != ENGLISH]),
        )
        for kind in ("specific", "related")
    ]
    caption = f"English against the other languages. {_OWN}"
    return Table("english-changes", caption, (*_HEADS, "languages", "kind", *_CHANGE), tuple(rows))


def shared_table(every: Sequence[Changes]) -> Table:
    """Neurons shared by N languages, among the selected and over all (Fig. 5 and 10 of the paper)."""
    rows = []
    for one in every:
        for where, what in _HISTOGRAMS.items():
            rows += [
                (*_who(one), where, n, *cells)
                for n, cells in enumerate(zip(*_change_arrays(one, what), strict=True))
            ]
    caption = f"Neurons highly active in N languages, among the selected and over all. {_OWN}"
    return Table("shared-changes", caption, (*_HEADS, "neurons of", "N", *_CHANGE), tuple(rows))


def layer_table(every: Sequence[Changes]) -> Table:
    """Neurons of each kind per layer, before, after and their change (Fig. 4, 11 to 14 of the paper)."""
    rows = []
    for one in every:
        for i, kind in enumerate(KINDS):
            arrays = _change_arrays(one, lambda numbers, i=i: numbers.layers[..., i, :])
            rows += [
                (*_who(one), kind, layer, *cells)
                for layer, cells in enumerate(zip(*arrays, strict=True))
            ]
    return Table(
        "layer-changes",
        f"Neurons per layer. {_OWN}",
        (*_HEADS, "kind", "layer", *_CHANGE),
        tuple(rows),
    )


def transition_table(every: Sequence[Changes]) -> Table:
    """What became of the neurons of each class, with intervals."""
    rows = []
    for one in every:
        counts = estimate(
            one.transitions, None if one.resampled is None else one.resampled.transitions
        )
        whole = one.transitions.sum(axis=1)
        for i, a in enumerate(CLASSES):
            for j, b in enumerate(CLASSES):
                share = counts.value[i, j] / whole[i] if whole[i] else None
                numbers = (counts.value[i, j], counts.low[i, j], counts.high[i, j])
                rows.append((*_who(one), a, b, *map(_cell, numbers), _cell(share)))
    caption = (
        f"Neurons of each class before and what they are after; share: of those before. {_OWN}"
    )
    heads = (*_HEADS, "before", "now", "neurons", "low", "high", "share")
    return Table("transitions", caption, heads, tuple(rows))


def stability_table(every: Sequence[Changes]) -> Table:
    """How many neurons of a kind stay of it (Table 4 of the paper), beside chance and what resampling leaves."""
    rows = []
    for one in every:
        size = one.transitions.sum()
        for kind in ("specific", "related", "general"):
            ratio, at = one.ratio(kind), CLASSES.index(kind)
            chance = one.transitions[:, at].sum() / size
            numbers = (*_cells(ratio), chance, one.ratio_by_chance(kind))
            rows.append((*_who(one), kind, int(one.transitions[at].sum()), *map(_cell, numbers)))
    caption = (
        "Neurons of a kind before that are of it after; chance: of random sets of these sizes; resampled: the same "
        f"ratio between before and its own resamplings. {_OWN}"
    )
    heads = (*_HEADS, "kind", "before", "ratio", "low", "high", "chance", "resampled")
    return Table("stability", caption, heads, tuple(rows))


def threshold_table(every: Sequence[Changes]) -> Table:
    """The thresholds before and after, and how far they moved."""
    rows = []
    for one in every:
        for name, what in (
            ("tau", lambda numbers: numbers.tau),
            ("lambda", lambda numbers: numbers.lam),
        ):
            rows.append((*_who(one), name, *_change(one, what)))
    return Table(
        "thresholds", f"The thresholds. {_OWN}", (*_HEADS, "threshold", *_CHANGE), tuple(rows)
    )


def accuracy_table(changes: Mapping[str, Sequence[Change]], trained: Sequence[str]) -> Table:
    """Right answers before and after with a paired test (Tables 1 and 5 of the paper).

    Args:
        changes: of each `after`, what `accuracy.compare_accuracy` gave.
        trained: the languages that were aligned.
    """
    rows = []
    for name, found in changes.items():
        adjusted = iter(holm([row.p for row in found if row.lang != MEAN]))
        for row in found:
            numbers = (row.before, row.after, row.change, row.low, row.high)
            code = row.lang
            p = (row.p, row.p if code == MEAN else next(adjusted))
            shown = "mean" if code == MEAN else language(code).name
            cells = (
                code,
                shown,
                None if code == MEAN else _yes(code in trained),
                row.n,
                *map(_cell, numbers),
                row.lost,
                row.gained,
            )
            rows.append((name, *cells, *map(_cell, p)))
    caption = (
        "Share of right answers on the questions both answered. p: exact McNemar test, of the mean a permutation test; "
        "p (Holm): corrected for the number of languages."
    )
    heads = (
        "after",
        "language",
        "name",
        "trained",
        "questions",
        "before",
        "now",
        *INTERVAL,
        "lost",
        "gained",
    )
    return Table("accuracy-changes", caption, (*heads, "p", "p (Holm)"), tuple(rows))


_CHANGE = ("before", "now", *INTERVAL)
_HISTOGRAMS: dict[str, Callable[[Numbers], Floats]] = {
    "selected": lambda numbers: numbers.among,
    "all": lambda numbers: numbers.everywhere,
}


def _who(one: Changes) -> tuple[Cell, ...]:
    return one.name, one.thresholds


def _change(one: Changes, what: Callable[[Numbers], Floats]) -> tuple[Cell, ...]:
    """Before, after, change and its interval."""
    return tuple(map(_cell, (what(one.before), what(one.after), *_cells(one.of(what)))))


def _change_arrays(one: Changes, what: Callable[[Numbers], Floats]) -> list[list[Cell]]:
    arrays = (what(one.before), what(one.after), *_cells(one.of(what)))
    return [[_cell(x) for x in array] for array in arrays]


def _cells(found: Estimate) -> tuple[Floats, Floats, Floats]:
    return found.value, found.low, found.high


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _cell(value: float | Floats | None) -> Cell:
    """A number of a table, whole where it is, else to six digits; None where there is none."""
    if value is None or np.isnan(value):
        return None
    number = float(value)
    return int(number) if number.is_integer() else float(f"{number:.6g}")
