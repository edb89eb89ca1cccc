"""Judged: the paper's claims in every cell of a sweep, as rows of one long table.

Verdicts are those of `claims`; beside each stands its effect, one number that lies above a bar
where the claim is right, so that cells can be put in order; `IN_FULL` says what it is.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from langneurons import layout
from langneurons.compare.changes import Changes, Resampled, mean_of, total
from langneurons.compare.claims import general_rise, specific_to_related, stable, untrained_alike
from langneurons.compare.model_claims import (
    can_ask_english,
    english_differs_in,
    four_stages_in,
    stages_by_meaning_in,
)
from langneurons.compare.verdicts import Claim, in_numbers, in_words
from langneurons.intervals import Estimate, Floats, estimate, rises
from langneurons.layout import Widths
from langneurons.neurons.agreement import STAGES, Decomposition, decomposed, of_meaning, unavailable
from langneurons.neurons.chance import spread
from langneurons.neurons.classes import SETS
from langneurons.neurons.contrasts import (
    AGREEMENT,
    BY_MEANING,
    BY_NEURONS,
    SHARE,
    neurons_in_stages,
    of_neurons,
)
from langneurons.neurons.layer_stages import fits, layer_stages
from langneurons.neurons.numbers import KINDS, LANGUAGE_KINDS, Numbers
from langneurons.sweep.grid import PAPER, Cell
from langneurons.sweep.units import Counted, Who
from langneurons.tables import plain
from langneurons.texts.languages import is_english

SHUFFLES = 100
"""Times that neurons are shuffled over layers."""

EFFECTS = {
    "four-stages": "the least difference of stages",
    "stages-by-meaning": "the least difference of stages",
    "english": "English / mean of the others",
    "related-exist": "related among the selected",
    "specific-to-related": "the smaller of fall and rise",
    "untrained-alike": "the same, languages not trained",
    "general-rise": "change of general neurons",
    "stable-alignment": "share that stays, smaller of two",
}
"""What the effect of each claim is, as short as an axis wants it."""

IN_FULL = {
    "four-stages": "the least of the differences between stages that are claimed, over the sum of "
    "both stages",
    "stages-by-meaning": "the least of the differences between stages that are claimed, of "
    "agreement and of language's share of the variance, over the sum of both stages",
    "english": "English's neurons over the mean of the others, of the kind of which that is more; "
    "below 1 is fewer",
    "related-exist": "related neurons among the selected, as a share",
    "specific-to-related": "fall of specific or rise of related neurons, whichever is less, as a "
    "share of those before",
    "untrained-alike": "fall of specific or rise of related neurons a language that was not "
    "trained, whichever is less, as a share of those before",
    "general-rise": "change of general neurons, as a share of those before",
    "stable-alignment": "share of the specific or of the related neurons that keep their kind, "
    "whichever is less",
}
"""The same in full."""

BARS = {"english": 1.0, "stable-alignment": 0.5}
"""Where a claim's effect changes sides; 0 for those that are not named."""

Row = dict[str, Any]


class _Judgement(NamedTuple):
    """One claim in one cell."""

    claim: Claim
    effect: Estimate


def rows(counted: Counted, trained: Sequence[str] = ()) -> list[Row]:
    """Every claim in every cell, in the order of cells.

    A claim that cannot be asked in a cell has no row there: English where it is left out, untrained
    languages where none is said to be trained.
    """
    config, parts = counted.config, None
    if not unavailable(counted.before):
        parts = decomposed(counted.before, resamplings=config.bootstrap, seed=config.seed)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        of_cells = pool.map(
            lambda place: _of_cell(counted, place, trained, parts), range(len(counted.cells))
        )
        return [row for made in of_cells for row in made]


def _of_cell(
    counted: Counted, place: int, trained: Sequence[str], parts: Decomposition | None
) -> list[Row]:
    """The rows of one cell; `parts` are those of agreement, where the counts tell of it."""
    cell = counted.cells[place]
    common = _common(counted, place)
    alone, changes = _asked(counted, cell, trained, agreed=parts is not None)
    if problem := counted.found[place].problem:
        made = [common | _unknown(name, problem) for name in alone]
        if counted.after:
            for who in _choices(counted):
                made += [common | _unknown(name, problem) | {"thresholds": who} for name in changes]
        return made
    numbers = counted.numbers("observed", place, "before")
    drawn = _resampled(counted, place, "before")
    codes = languages(counted, cell)
    judged = {
        "four-stages": lambda: _four_stages(counted.before.widths, numbers, drawn),
        "stages-by-meaning": lambda: _by_meaning(parts, common["starts"], codes),
        "english": lambda: _english(numbers, drawn, codes),
        "related-exist": lambda: _related_exist(
            common.get("related_by_chance_high") or 0.0, numbers, drawn
        ),
    }
    made = [common | _row(judged[name]()) for name in alone]
    if not counted.after:
        return made
    for who in _choices(counted):
        if who == "own" and (why := counted.found_after[place].problem):
            made += [common | _unknown(name, why) | {"thresholds": who} for name in changes]
            continue
        after = _after(counted, place, who) | {"thresholds": who}
        changed = _changes(counted, place, who)
        made += [common | _row(_of_change(name, changed, trained)) | after for name in changes]
    return made


def languages(counted: Counted, cell: Cell) -> tuple[str, ...]:
    """The languages of a cell."""
    return tuple(code for code in counted.languages if code != cell.left_out)


def _asked(
    counted: Counted, cell: Cell, trained: Sequence[str], *, agreed: bool
) -> tuple[list[str], list[str]]:
    """The claims that can be asked in a cell: of one model, and of what changed."""
    codes = languages(counted, cell)
    alone = []
    if layout.with_neurons(counted.before.widths).sum() > STAGES:
        alone = ["four-stages", "stages-by-meaning"] if agreed else ["four-stages"]
    if can_ask_english(codes):
        alone.append("english")
    if len(codes) >= 3:
        alone.append("related-exist")
    changes = ["specific-to-related", "general-rise", "stable-alignment"]
    if trained and set(codes) - set(trained):
        changes.insert(1, "untrained-alike")
    return alone, changes if counted.after else []


def _choices(counted: Counted) -> list[Who]:
    """By whose thresholds what comes after is classified."""
    names: dict[str, Who] = {"own": "own", "base": "base's"}
    return [names[word] for word in counted.config.axis("thresholds")]


def _resampled(counted: Counted, place: int, who: Who) -> Numbers | None:
    """Numbers in the resamplings that a cell allows; None without any."""
    known = counted.known("resampled", place, who)
    return counted.numbers("resampled", place, "before", known) if len(known) else None


def _four_stages(widths: Widths, numbers: Numbers, drawn: Numbers | None) -> _Judgement:
    """By intervals alone: languages are left out in cells of their own."""
    held = layout.with_neurons(widths)
    cut = layer_stages(*curves(numbers), of=held)
    claim = four_stages_in(of_neurons(numbers, cut.starts, held, drawn), cut)
    stages = neurons_in_stages(numbers, cut.starts, held)
    replicates = _least(BY_NEURONS, neurons_in_stages(drawn, cut.starts, held)) if drawn else None
    return _Judgement(claim, estimate(_least(BY_NEURONS, stages), replicates))


def _by_meaning(
    parts: Decomposition | None, starts: Sequence[int], codes: Sequence[str]
) -> _Judgement:
    """By intervals alone, as `_four_stages`."""
    assert parts  # noqa: S101 - asked only where the counts tell of agreement
    claim = stages_by_meaning_in(of_meaning(parts, starts, *codes, leave_out=False), starts)
    shares = parts.by_stage(starts, *codes)
    least = _least(BY_MEANING, {AGREEMENT: shares.agreement, SHARE: shares.language})
    return _Judgement(claim, estimate(least[0], least[1:]))


def _least(claimed: Sequence[tuple[str, int, int]], stages: Mapping[str, Floats]) -> Floats:
    """The least difference that is claimed, each over the sum of both stages, [..., S] -> [...];
    0 for two stages that have nothing.
    """
    shares = []
    for what, more, less in claimed:
        first, second = stages[what][..., more - 1], stages[what][..., less - 1]
        whole = np.abs(first) + np.abs(second)
        nothing = np.zeros(np.shape(whole))
        shares.append(np.divide(first - second, whole, out=nothing, where=whole > 0))
    return np.min(shares, axis=0)


def _english(numbers: Numbers, drawn: Numbers | None, codes: Sequence[str]) -> _Judgement:
    [place] = [k for k, code in enumerate(codes) if is_english(code)]

    def ratio(counts: Numbers) -> Floats:
        others = np.delete(counts.languages, place, axis=-1).mean(axis=-1)
        nothing = np.full(others.shape, np.nan)
        of_kinds = np.divide(counts.languages[..., place], others, out=nothing, where=others > 0)
        return of_kinds.max(axis=-1)

    claim = english_differs_in(numbers, codes, drawn)
    return _Judgement(claim, _estimated(ratio, numbers, drawn))


def _related_exist(bar: float, numbers: Numbers, drawn: Numbers | None) -> _Judgement:
    """Some selected neurons are shared by several languages, and not by all (Fig. 1, 5, 10).

    It is a claim that something is there: it holds when there are more than languages with permuted
    labels give in 97.5% of the draws (with one block: when there are any), in the whole interval
    where there is one; it does not hold when there are none, or no more than that.

    `bar` is what permuted labels give at most (97.5% of the draws); 0 where that is not known.
    """
    related = KINDS.index("related")
    found = estimate(numbers.kinds[related], drawn.kinds[..., related] if drawn else None)
    verdict = rises(found, bar)
    if np.isnan(found.low):
        verdict = "holds" if found.value > bar else "cannot tell"
    if not found.value:
        verdict = "does not hold"
    claim = Claim(
        name="related-exist",
        statement="Some neurons are shared by several languages and not by all",
        where="Fig. 1, 5, 10",
        verdict=verdict,
        numbers=plain({"related": in_numbers(found), "by chance at most": bar}),
        words=f"{in_words(found, ',.0f')} related; by chance at most {bar:,.0f}",
    )

    def share(counts: Numbers) -> Floats:
        selected = counts.among.sum(axis=-1)
        return counts.kinds[..., related] / np.maximum(selected, 1)

    return _Judgement(claim, _estimated(share, numbers, drawn))


def _of_change(name: str, changed: Changes, trained: Sequence[str]) -> _Judgement:
    """One claim of what changed, by one choice of thresholds."""
    if name == "specific-to-related":
        claim = specific_to_related((changed,))
        return _Judgement(claim, _shift(changed, {kind: total(kind) for kind in LANGUAGE_KINDS}))
    if name == "untrained-alike":
        rest = [code for code in changed.languages if code not in trained]
        means = {kind: mean_of(kind, changed.languages, rest) for kind in LANGUAGE_KINDS}
        return _Judgement(untrained_alike((changed,), tuple(trained)), _shift(changed, means))
    if name == "general-rise":
        return _Judgement(general_rise((changed,)), _shift(changed, {"general": total("general")}))
    ratios = [changed.ratio(kind) for kind in LANGUAGE_KINDS]
    lesser = np.min([ratio.value for ratio in ratios])
    replicates = None
    if changed.resampled:
        replicates = np.min([ratio.replicates for ratio in ratios], axis=0)
    return _Judgement(stable((changed,), "alignment"), estimate(lesser, replicates))


def _shift(changed: Changes, what: Mapping[str, Callable[[Numbers], Floats]]) -> Estimate:
    """The least of the changes, as shares of those before; a fall where specific ones are meant."""

    def least(before: Numbers, after: Numbers) -> Floats:
        shares = []
        for kind, take in what.items():
            change = (
                take(before) - take(after) if kind == "specific" else take(after) - take(before)
            )
            shares.append(change / np.maximum(take(before), 1))
        return np.min(shares, axis=0)

    drawn = changed.resampled
    replicates = least(drawn.before, drawn.after) if drawn else None
    return estimate(least(changed.before, changed.after), replicates)


def _changes(counted: Counted, place: int, who: Who) -> Changes:
    """What changed in a cell, as `changes.contrast` gives it."""
    known = counted.known("resampled", place, who)
    codes = languages(counted, counted.cells[place])
    nobody = np.zeros((len(SETS), len(codes)), dtype=np.int64)  # no claim here rests on it
    drawn = None
    if len(known):
        moves = counted.moves("resampled", place, who)[known]
        drawn = Resampled(
            before=counted.numbers("resampled", place, "before", known),
            after=counted.numbers("resampled", place, who, known),
            transitions=moves,
            by_chance=np.zeros_like(moves),
            shared=np.repeat(nobody[None], len(known), axis=0),
            shared_by_chance=np.repeat(nobody[None], len(known), axis=0),
            failed=counted.config.bootstrap - len(known),
            paired=True,
        )
    return Changes(
        name="after",
        thresholds="own" if who == "own" else "base's",
        languages=codes,
        before=counted.numbers("observed", place, "before"),
        after=counted.numbers("observed", place, who),
        transitions=counted.moves("observed", place, who),
        shared=nobody,
        resampled=drawn,
    )


def _common(counted: Counted, place: int) -> Row:
    """What all rows of a cell have in common: its settings, and what it gives before."""
    cell, found = counted.cells[place], counted.found[place]
    settings: Row = {
        "cell": place,
        "method": cell.method,
        "rate": cell.rate,
        "tau_quantile": cell.tau_quantile,
        "lam_rule": None if cell.lam is None else str(cell.lam),
        "prefilter": cell.prefilter,
        "left_out": cell.left_out,
        "paper": cell == PAPER,
        "problem": found.problem,
    }
    if found.problem:
        return settings
    numbers = counted.numbers("observed", place, "before")
    codes = languages(counted, cell)
    per_language = {
        f"{kind}_{code}": int(numbers.languages[k, i])
        for k, kind in enumerate(LANGUAGE_KINDS)
        for i, code in enumerate(codes)
    }
    return (
        settings
        | {
            "lam": _number(numbers.lam),
            "lam_status": found.status,
            "binding": list(found.binding) if found.binding else None,
            "tau": float(numbers.tau),
            "selected": int(numbers.among.sum()),
            **dict(zip(KINDS, numbers.kinds.astype(int).tolist(), strict=True)),
        }
        | _stages(numbers, counted.before.widths)
        | _permuted(counted, place)
        | _halves(counted, place)
        | per_language
    )


def _stages(numbers: Numbers, widths: Widths) -> Row:
    """The cuts of four stages and their fit; beside it that of neurons shuffled over layers."""
    held = layout.with_neurons(widths)
    if held.sum() < 4:
        return {}
    cut = layer_stages(*curves(numbers), of=held)
    shuffled = spread(fits(np.log1p(shuffled_curves(numbers, widths))[..., held], 4))
    return {
        "starts": list(cut.starts),
        "fit": cut.fit,
        "fit_by_chance": shuffled.mean,
        "fit_by_chance_high": shuffled.high,
    }


def shuffled_curves(numbers: Numbers, widths: Widths, seed: int = 0) -> Floats:
    """Language and general neurons per layer, each curve's neurons put into random layers.

    As many draws as `SHUFFLES`, [R, 2, L]; a layer can hold no more than it has.
    """
    rng = np.random.default_rng([seed, 3])
    sizes = layout.sizes(widths)
    drawn = [
        rng.multivariate_hypergeometric(sizes, int(total), SHUFFLES, method="marginals")
        for total in curves(numbers).sum(axis=-1)
    ]
    return np.stack(drawn, axis=1).astype(np.float64)


def _permuted(counted: Counted, place: int) -> Row:
    """Neurons of each kind where each language is a mix of all."""
    if not counted.arrays["permuted"].size:
        return {}
    known = counted.known("permuted", place, "before")
    if not len(known):
        return {}
    kinds = counted.numbers("permuted", place, "before", known).kinds
    found: Row = {}
    for k, kind in enumerate(KINDS):
        of = spread(kinds[:, k])
        found |= {f"{kind}_by_chance": of.mean, f"{kind}_by_chance_high": of.high}
    return found


def _halves(counted: Counted, place: int) -> Row:
    """Neurons specific to one half of a language, mean over languages."""
    if counted.cells[place].left_out or not len(counted.halves):
        return {}
    values = counted.halves[:, place]
    values = values[~np.isnan(values)]
    if not len(values):
        return {}
    of = spread(values)
    return {"specific_to_half": of.mean, "specific_to_half_high": of.high}


def _after(counted: Counted, place: int, who: Who) -> Row:
    """What a cell gives after."""
    numbers = counted.numbers("observed", place, who)
    kinds = numbers.kinds.astype(int).tolist()
    return {
        "after_lam": _number(numbers.lam),
        "after_tau": float(numbers.tau),
        **{f"after_{kind}": n for kind, n in zip(KINDS, kinds, strict=True)},
    }


def _row(judgement: _Judgement) -> Row:
    """A claim in one cell."""
    claim, effect = judgement
    return {
        "claim": claim.name,
        "verdict": claim.verdict,
        "effect": _number(effect.value),
        "low": _number(effect.low),
        "high": _number(effect.high),
        "words": claim.words,
    }


def _unknown(name: str, why: str) -> Row:
    """A claim in a cell that gives nothing."""
    return {"claim": name, "verdict": "cannot tell", "words": why}


def _estimated(
    take: Callable[[Numbers], Floats], numbers: Numbers, drawn: Numbers | None
) -> Estimate:
    return estimate(take(numbers), take(drawn) if drawn else None)


def curves(numbers: Numbers) -> Floats:
    """Language neurons and general neurons of each layer, [..., 2, L]."""
    return np.stack([numbers.language_neurons, numbers.by_layer("general").value], axis=-2)


def _number(value: Floats | float) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
