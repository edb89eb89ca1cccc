"""Tables: what changed, as plain rows for the page, files and figures (Tables 1 to 5 of the paper).

Each table holds every `after` and both choices of thresholds, told apart by its first columns.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from langneurons.compare.changes import Changes, Side, mean_of, set_sizes, total
from langneurons.compare.overlap import Overlap, overlap
from langneurons.compare.verdicts import Claim
from langneurons.intervals import Estimate, Floats, estimate, holm
from langneurons.neurons.classes import CLASSES, SETS
from langneurons.neurons.numbers import KINDS, Numbers, kind_of
from langneurons.tables import Cell, Table
from langneurons.texts.accuracy import MEAN, Change
from langneurons.texts.languages import is_english, told_apart

INTERVAL = ("change", "low", "high")
_HEADS = ("after", "thresholds")
_CHANGE = ("before", "now", *INTERVAL)
OWN = "Thresholds: own, each model by its own tau and lambda; base's, both by those before."
"""What captions of tables say at their end that have a column `thresholds`."""
_OF_LANGUAGES = ("specific", "related")
"""Kinds whose neurons belong to languages of their own."""


def tables(found: Sequence[tuple[Changes, ...]], trained: Sequence[str] = ()) -> tuple[Table, ...]:
    """Every table of what changed.

    Args:
        found: what `changes.contrast` gave.
        trained: the languages that were aligned, if any.
    """
    every = [changes for choices in found for changes in choices]
    return (
        kind_table(every),
        group_table(every, trained),
        language_table(every, trained),
        english_table(every),
        shared_table(every),
        layer_table(every),
        transition_table(every),
        stability_table(every),
        survival_table(every),
        threshold_table(every),
    )


def overlap_table(before: Side, after: Sequence[Side]) -> Table:
    """How far the neurons of each `after` agree with those before (Table 4 of the paper)."""
    rows = []
    for side in after:
        for row in overlap(before.neurons, side.neurons):
            rows.append((side.name, *row))
    called = {"before": "before neurons", "after": "after neurons"}
    heads = [called.get(name, name) for name in Overlap._fields]
    caption = "Overlap of the neurons after with those before."
    return Table("overlap", caption, ("after", *heads), tuple(rows))


def claim_table(claims: Sequence[Claim]) -> Table:
    """Every claim with its verdict and why."""
    rows = tuple((claim.statement, claim.where, claim.verdict, claim.words) for claim in claims)
    return Table("claims", "Claims of the paper.", ("claim", "where", "verdict", "reason"), rows)


def kind_table(every: Sequence[Changes]) -> Table:
    """Neurons of each kind over the whole model, before, after and their change."""
    rows = []
    for changes in every:
        for kind in KINDS:
            rows.append((*_heads(changes), kind, *_change(changes, total(kind))))
    heads = (*_HEADS, "kind", *_CHANGE)
    return Table(
        "kind-changes", f"Neurons of each kind, before and after. {OWN}", heads, tuple(rows)
    )


def group_table(every: Sequence[Changes], trained: Sequence[str]) -> Table:
    """Mean change per language, of trained and of the other languages (Table 2 of the paper)."""
    rows = []
    for changes in every:
        for group, codes in groups(changes.languages, trained).items():
            for kind in _OF_LANGUAGES:
                cells = _change(changes, mean_of(kind, changes.languages, codes))
                rows.append((*_heads(changes), group, len(codes), kind, *cells))
    heads = (*_HEADS, "languages", "how many", "kind", *_CHANGE)
    caption = f"Mean over languages of their neurons before and after. {OWN}"
    return Table("group-changes", caption, heads, tuple(rows))


def groups(languages: Sequence[str], trained: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Trained and other languages, where there are both; else all."""
    aligned = tuple(code for code in languages if code in trained)
    others = tuple(code for code in languages if code not in trained)
    if aligned and others:
        return {"trained": aligned, "others": others}
    return {"all": tuple(languages)}


def language_table(every: Sequence[Changes], trained: Sequence[str]) -> Table:
    """Specific and related neurons of each language, before, after and their change."""
    rows = []
    for changes in every:
        for code, name in told_apart(changes.languages).items():
            known = (code, name, _yes(code in trained))
            for kind in _OF_LANGUAGES:
                cells = _change(changes, mean_of(kind, changes.languages, [code]))
                rows.append((*_heads(changes), *known, kind, *cells))
    heads = (*_HEADS, "language", "name", "trained", "kind", *_CHANGE)
    return Table(
        "language-changes", f"Neurons of each language, before and after. {OWN}", heads, tuple(rows)
    )


def english_table(every: Sequence[Changes]) -> Table:
    """English against the mean of the others, before and after (Table 3 of the paper)."""
    rows = []
    for changes in every:
        own = [code for code in changes.languages if is_english(code)]
        others = [code for code in changes.languages if not is_english(code)]
        if not others or not own:
            continue
        for name, codes in (("English", own), ("mean of the others", others)):
            for kind in _OF_LANGUAGES:
                cells = _change(changes, mean_of(kind, changes.languages, codes))
                rows.append((*_heads(changes), name, kind, *cells))
    heads = (*_HEADS, "languages", "kind", *_CHANGE)
    caption = f"English against the other languages. {OWN}"
    return Table("english-changes", caption, heads, tuple(rows))


def shared_table(every: Sequence[Changes]) -> Table:
    """Neurons shared by N languages, among the selected and over all (Fig. 5 and 10)."""
    rows = []
    for changes in every:
        k = len(changes.languages)
        kinds = kind_of(np.arange(k + 1), k, changes.least_general).tolist()
        for where, histogram in (
            ("selected", lambda numbers: numbers.among),
            ("all", lambda numbers: numbers.everywhere),
        ):
            for n, cells in enumerate(_changes(changes, histogram)):
                rows.append((*_heads(changes), where, n, kinds[n], *cells))
    heads = (*_HEADS, "neurons of", "N", "kind", *_CHANGE)
    caption = f"Neurons highly active in N languages, among the selected and over all. {OWN}"
    return Table("shared-changes", caption, heads, tuple(rows))


def layer_table(every: Sequence[Changes]) -> Table:
    """Neurons of each kind per layer, before, after and their change (Fig. 4, 11 to 14)."""
    rows = []
    for changes in every:
        for place, kind in enumerate(KINDS):
            per_layer = _changes(changes, lambda numbers, i=place: numbers.layers[..., i, :])
            for layer, cells in enumerate(per_layer):
                rows.append((*_heads(changes), kind, layer, *cells))
    heads = (*_HEADS, "kind", "layer", *_CHANGE)
    return Table("layer-changes", f"Neurons per layer. {OWN}", heads, tuple(rows))


def transition_table(every: Sequence[Changes]) -> Table:
    """What became of the neurons of each class, with intervals."""
    rows = []
    for changes in every:
        resampled = changes.resampled
        counts = estimate(changes.transitions, resampled and resampled.transitions)
        of_class = changes.transitions.sum(axis=1)
        for i, before in enumerate(CLASSES):
            for j, now in enumerate(CLASSES):
                share = counts.value[i, j] / of_class[i] if of_class[i] else None
                numbers = (counts.value[i, j], counts.low[i, j], counts.high[i, j], share)
                rows.append((*_heads(changes), before, now, *map(_cell, numbers)))
    heads = (*_HEADS, "before", "now", "neurons", "low", "high", "share")
    caption = f"Neurons of each class before and what they are after; share: of those before. {OWN}"
    return Table("transitions", caption, heads, tuple(rows))


def stability_table(every: Sequence[Changes], *, domains: bool = False) -> Table:
    """How many neurons of a kind stay of it (Table 4), beside chance and what resampling leaves.

    Args:
        every: the changes.
        domains: whether what is after are the same model's neurons on other questions.
    """
    rows = []
    for changes in every:
        whole = changes.transitions.sum()
        for kind in ("specific", "related", "general"):
            place = CLASSES.index(kind)
            before = int(changes.transitions[place].sum())
            chance = changes.transitions[:, place].sum() / whole
            numbers = (*_ends(changes.ratio(kind)), chance, changes.ratio_by_chance(kind))
            rows.append((*_heads(changes), kind, before, *map(_cell, numbers)))
    heads = (*_HEADS, "kind", "before", "ratio", "low", "high", "chance", "resampled")
    where = "on the other questions" if domains else "after"
    caption = (
        f"Neurons of a kind before that are of it {where}; chance: of random sets of these sizes; "
        f"resampled: the same ratio between before and its own resamplings. {OWN}"
    )
    return Table("stability-domains" if domains else "stability", caption, heads, tuple(rows))


_SURVIVAL = (
    *(*_HEADS, "language", "name", "kind", "before", "now", "both"),
    *("ratio", "low", "high", "chance", "resampled"),
)
_SURVIVAL_WORDS = (
    "chance: of random sets of these sizes; resampled: the same ratio between before and its own "
    f"resamplings, as much as texts of this size leave. {OWN}"
)


def survival_table(every: Sequence[Changes]) -> Table:
    """How many of each language's neurons are of it and of their kind after, beside chance."""
    rows = [row for changes in every for row in _survival_rows(changes, changes.languages)]
    caption = f"Neurons of each language and kind before that are so after; {_SURVIVAL_WORDS}"
    return Table("survival", caption, _SURVIVAL, tuple(rows))


def alone_table(found: Sequence[tuple[str, tuple[Changes, ...]]]) -> Table:
    """The same of each language where its texts alone are others.

    Args:
        found: the language whose texts are others, and what `changes.contrast` gave of it.
    """
    rows = [
        row for code, choices in found for one in choices for row in _survival_rows(one, [code])
    ]
    caption = (
        "Neurons of each language and kind before that are so where the texts of this language are "
        f"those after, and those of all others are as before; {_SURVIVAL_WORDS}"
    )
    return Table("survival-alone", caption, _SURVIVAL, tuple(rows))


def _survival_rows(changes: Changes, codes: Sequence[str]) -> Iterator[tuple[Cell, ...]]:
    """A row for each of these languages and each of `SETS`."""
    ratio, ceiling = changes.survival(), changes.survival_by_chance()
    sizes, after = set_sizes(changes.before), set_sizes(changes.after)
    whole = int(changes.transitions.sum())
    for k, (code, name) in enumerate(told_apart(changes.languages).items()):
        if code not in codes:
            continue
        for i, kinds in enumerate(SETS):
            numbers = (
                *(sizes[i, k], after[i, k], changes.shared[i, k]),
                *(array[i, k] for array in _ends(ratio)),
                after[i, k] / whole,
                ceiling[i, k],
            )
            yield (*_heads(changes), code, name, "+".join(kinds), *map(_cell, numbers))


def threshold_table(every: Sequence[Changes]) -> Table:
    """The thresholds before and after, and how far they moved."""
    rows = []
    for changes in every:
        rows.append((*_heads(changes), "tau", *_change(changes, lambda numbers: numbers.tau)))
        rows.append((*_heads(changes), "lambda", *_change(changes, lambda numbers: numbers.lam)))
    heads = (*_HEADS, "threshold", *_CHANGE)
    return Table("thresholds", f"Tau and lambda, before and after. {OWN}", heads, tuple(rows))


def accuracy_table(changes: Mapping[str, Sequence[Change]], trained: Sequence[str]) -> Table:
    """Right answers before and after with a paired test (Tables 1 and 5 of the paper).

    Args:
        changes: of each `after`, what `accuracy.compare_accuracy` gave.
        trained: the languages that were aligned.
    """
    rows: list[tuple[Cell, ...]] = []
    for after, found in changes.items():
        names = told_apart(change.lang for change in found if change.lang != MEAN)
        corrected = iter(holm([change.p for change in found if change.lang != MEAN]))
        for change in found:
            if change.lang == MEAN:
                name, aligned, p_holm = "mean", None, change.p
            else:
                name, aligned = names[change.lang], _yes(change.lang in trained)
                p_holm = next(corrected)
            shares = (change.before, change.after, change.change, change.low, change.high)
            rows.append(
                (
                    after,
                    change.lang,
                    name,
                    aligned,
                    change.n,
                    *map(_cell, shares),
                    change.lost,
                    change.gained,
                    _cell(change.p),
                    _cell(p_holm),
                )
            )
    heads = (
        *("after", "language", "name", "trained", "questions", "before", "now"),
        *INTERVAL,
        *("lost", "gained", "p", "p (Holm)"),
    )
    caption = (
        "Share of right answers on the questions both answered. p: exact McNemar test, of the mean "
        "a permutation test; p (Holm): corrected for the number of languages."
    )
    return Table("accuracy-changes", caption, heads, tuple(rows))


def _heads(changes: Changes) -> tuple[Cell, ...]:
    """What tells the rows of one `after` and choice of thresholds apart."""
    return changes.name, changes.thresholds


def _change(changes: Changes, what: Callable[[Numbers], Floats]) -> tuple[Cell, ...]:
    """Before, after, change and its interval, of a number."""
    numbers = (what(changes.before), what(changes.after), *_ends(changes.of(what)))
    return tuple(map(_cell, numbers))


def _changes(changes: Changes, what: Callable[[Numbers], Floats]) -> list[tuple[Cell, ...]]:
    """The same of an array of numbers, each of them."""
    arrays = (what(changes.before), what(changes.after), *_ends(changes.of(what)))
    return [tuple(map(_cell, numbers)) for numbers in zip(*arrays, strict=True)]


def _ends(estimate: Estimate) -> tuple[Floats, Floats, Floats]:
    """A number and the ends of its interval."""
    return estimate.value, estimate.low, estimate.high


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _cell(value: float | Floats | None) -> Cell:
    """A number of a table, whole where it is, else to six digits; None where there is none."""
    if value is None or np.isnan(value):
        return None
    number = float(value)
    return int(number) if number.is_integer() else float(f"{number:.6g}")
