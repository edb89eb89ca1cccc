"""Summary: the few numbers of a set of neurons that are told first.

One set of facts; four views of it: tiles of a page, the rules in sentences, values for machines,
lines for people.
"""

from dataclasses import asdict
from typing import Any, NamedTuple, get_args

import numpy as np

from langneurons.errors import InputError
from langneurons.intervals import Estimate, Verdict
from langneurons.neurons.agreement import Agreement
from langneurons.neurons.contrasts import Contrast
from langneurons.neurons.layer_stages import NAMES, Segmentation, layer_stages
from langneurons.neurons.numbers import (
    KINDS,
    LANGUAGE_KINDS,
    Intervals,
    Numbers,
    general_words,
    least_general,
)
from langneurons.neurons.table import Chance, Lambda, Neurons, Rule, Uncertainty
from langneurons.neurons.tables import english
from langneurons.tables import Table


class Tile(NamedTuple):
    """One number that matters.

    Attributes:
        key: short name, by which it is coloured.
        name: what it is called.
        value: the number.
        text: what it says, in a line.
        interval: its interval in words; empty without one.
    """

    key: str
    name: str
    value: str
    text: str
    interval: str = ""


class Facts(NamedTuple):
    """What there is to tell of a set of neurons.

    Attributes:
        languages: the K codes.
        rule: how they were chosen.
        numbers: how many of each sort.
        kinds: neurons of each of `KINDS`, general over all neurons.
        selected: how many neurons were selected.
        general_selected: how many of those are general.
        uncertainty: what resampling says; None without it.
        ends: the intervals by name, as in `Intervals.named`; empty without resampling.
        chance: what the thresholds give by chance; None where it is not known.
        english: English against the others; None without English.
        stages: the layers cut into the paper's four stages; None with fewer layers.
        agreement: how far all neurons do the same in all languages; None where it is not known.
        contrasts: what the stages differ in, as the paper has it; empty where it is not known.
    """

    languages: tuple[str, ...]
    rule: Rule
    numbers: Numbers
    kinds: dict[str, int]
    selected: int
    general_selected: int
    uncertainty: Uncertainty | None
    ends: dict[str, tuple[float, float]]
    chance: Chance | None
    english: Table | None
    stages: Segmentation | None
    agreement: Agreement | None
    contrasts: tuple[Contrast, ...]

    def interval(self, name: str, form: str) -> str:
        """The interval of a number, to stand behind it; nothing without one."""
        if name not in self.ends:
            return ""
        low, high = self.ends[name]
        return f" [{low:{form}}, {high:{form}}]"


def facts(neurons: Neurons) -> Facts:
    """What there is to tell of these neurons."""
    numbers, uncertainty = neurons.numbers, neurons.uncertainty
    kinds = dict(zip(KINDS, numbers.kinds.astype(int).tolist(), strict=True))
    selected = int(numbers.among.sum())
    intervals: Intervals | None = numbers.intervals
    return Facts(
        languages=neurons.languages,
        rule=neurons.rule,
        numbers=numbers,
        kinds=kinds,
        selected=selected,
        general_selected=selected - sum(n for kind, n in kinds.items() if kind != "general"),
        uncertainty=uncertainty,
        ends=intervals.named(neurons.languages) if intervals else {},
        chance=neurons.chance,
        english=english(neurons),
        stages=stages(neurons),
        agreement=neurons.agreement,
        contrasts=neurons.contrasts,
    )


def stages(neurons: Neurons, count: int = 4) -> Segmentation | None:
    """Stages of the layers; None when there are fewer layers than stages."""
    numbers = neurons.numbers
    try:
        general = numbers.by_layer("general").value
        return layer_stages(numbers.language_neurons, general, count, of=neurons.with_neurons)
    except InputError:
        return None


def lambda_words(lam: Lambda) -> str:
    """How lambda was found, in words."""
    if lam.binding is not None:
        *layer, neuron = lam.binding
        expert = f", expert {layer[1]}" if len(layer) == 2 else ""
        return f"bound by neuron {neuron} of layer {layer[0]}{expert}"
    return {
        "given": "as given",
        "not binding": "the limit; no general neuron is selected below it",
        "no general": "the limit; there is no general neuron",
    }[lam.status]


def tiles(neurons: Neurons) -> tuple[Tile, ...]:
    """The numbers that matter most: how many neurons of each kind, lambda and tau."""
    told = facts(neurons)
    rule, lam = told.rule, told.rule.lam

    def interval(key: str, digits: int = 0) -> str:
        if key not in told.ends:
            return ""
        low, high = told.ends[key]
        return f"95% interval {low:,.{digits}f} to {high:,.{digits}f}"

    thresholds, shown = [], []
    if lam:
        bound = Tile(
            key="lambda",
            name="λ*" if lam.status == "bound" else "λ",
            value=f"{lam.value:.5f}",
            text=f"{lam.plain:.5f} in the units of Eq. 5; {lambda_words(lam)}",
            interval=interval("lambda", 5),
        )
        thresholds.append(bound)
    if rule.tau is not None:
        quantile = f"quantile {rule.tau_quantile:g} of all {rule.levels}"
        bar = Tile(
            key="tau",
            name="τ",
            value=f"{rule.tau:.5f}",
            text=f"a neuron is highly active above it; {quantile}",
            interval=interval("tau", 5),
        )
        thresholds.append(bar)
    for kind, active_in in (
        ("specific", "in one language"),
        ("related", "in several"),
        ("general", f"in {general_words(len(told.languages), neurons.least_general)}"),
    ):
        counted = Tile(
            key=kind,
            name=kind,
            value=f"{told.kinds[kind]:,}",
            text=f"neurons highly active {active_in}{_among(told, kind)}",
            interval=interval(kind),
        )
        shown.append(counted)
    return (*shown, *thresholds)


def _among(told: Facts, kind: str) -> str:
    """Of which neurons those of a kind were counted, where that is known."""
    everything = sum(told.rule.histogram)
    if not everything:
        return ""
    return f", of all {everything:,}" if kind == "general" else f", of {told.selected:,} selected"


def rules(neurons: Neurons) -> tuple[str, ...]:
    """How the numbers were computed, in sentences, from the rule itself."""
    told = facts(neurons)
    sentences = [*_selection_rules(told), *_lambda_rules(told.rule.lam)]
    if told.uncertainty:
        sentences.append(_resampling_rule(told.uncertainty))
    elif told.rule.method != "imported":
        sentences.append(
            "Intervals are unavailable: the counts hold one block, or no resampling was asked for."
        )
    return tuple(sentences)


def _selection_rules(told: Facts) -> list[str]:
    rule = told.rule
    if rule.method == "imported":
        return [
            "These memberships were imported from a mask; it holds no scores and no probabilities."
        ]
    neurons = sum(rule.histogram)
    probabilities = neurons * len(told.languages)
    levels = rule.levels if rule.by == "effect" else "activation probabilities"
    filtered = (
        "Neurons highly active in no language were dropped before the selection."
        if rule.prefilter
        else "No neuron was dropped before the selection: "
        "a selected neuron can be highly active in no language."
    )
    return [
        f"The lowest {rule.rate:g} of {neurons:,} neurons by score are selected: "
        f"{told.selected:,}.",
        f"τ = {rule.tau:.6f}: the {rule.tau_quantile:g} quantile of all {probabilities:,} "
        f"{levels}; highly active is strictly above it.",
        filtered,
        *([f"General: highly active in {_general(told)}."] if rule.general < 1 else []),
    ]


def _general(told: Facts) -> str:
    """In which languages a general neuron is highly active."""
    languages = len(told.languages)
    return general_words(languages, least_general(languages, told.rule.general))


def _lambda_rules(lam: Lambda | None) -> list[str]:
    if lam is None:
        return []
    sentences = [
        "score = H(p') / ln K − λ · max p / h, with h the mean of 1, 1/2, …, 1/K; "
        f"λ = {lam.value:.6f}, {lambda_words(lam)}; in the units of Eq. 5 it is {lam.plain:.6f}."
    ]
    if lam.later:
        later = ", ".join(f"{start:.5f} to {end:.5f}" for start, end in lam.later)
        sentences.append(
            f"No general neuron is selected in these later intervals of λ either: {later}."
        )
    return sentences


def _resampling_rule(uncertainty: Uncertainty) -> str:
    left_out = ""
    if uncertainty.failed:
        left_out = f"; {uncertainty.failed} of them allow no λ and are left out"
    return (
        f"Intervals: {uncertainty.level:.0%} of {uncertainty.replicates} resamplings of the "
        f"{uncertainty.blocks} blocks of texts, the same for every language{left_out}. They "
        "are widened to hold the number itself: some blocks come twice in a resampling, which "
        "moves thresholds, so a number may lie near one end."
    )


def values(neurons: Neurons) -> dict[str, Any]:
    """The numbers by name."""
    told = facts(neurons)
    lam, cut = told.rule.lam, told.stages
    per_language = told.numbers.languages.astype(int).T.tolist()
    return {
        "lambda": lam and lam.value,
        "lambda_plain": lam and lam.plain,
        "lambda_supremum": lam and lam.supremum,
        "lambda_status": lam and lam.status,
        "binding": lam and lam.binding,
        "tau": told.rule.tau,
        "selected": told.selected,
        "classes": told.kinds,
        "shared_by": told.numbers.among.astype(int).tolist(),
        "shared_by_all": list(told.rule.histogram),
        "per_language": {
            code: dict(zip(LANGUAGE_KINDS, counts, strict=True))
            for code, counts in zip(told.languages, per_language, strict=True)
        },
        "stages": cut and {"starts": cut.starts, "fit": cut.fit},
        "agreement": told.agreement and told.agreement.to_meta(),
        "contrasts": [contrast.to_meta() for contrast in told.contrasts] or None,
        "intervals": told.ends or None,
        "again": [asdict(row) for row in neurons.again],
        "chance": told.chance and asdict(told.chance),
    }


def lines(neurons: Neurons) -> list[str]:
    """The numbers in words, a line each."""
    told = facts(neurons)
    out = [*_threshold_lines(told), *_number_lines(told)]
    if told.english:
        (_, *english_has), (_, *others_have) = told.english.rows
        out.append(
            f"English  {english_has[0]:g} specific, {english_has[1]:g} related; "
            f"the others on average {others_have[0]:g} and {others_have[1]:g}"
        )
    if told.stages:
        cut = zip(told.stages.starts, told.stages.ends, NAMES, strict=True)
        named = ", ".join(f"{start}-{end - 1} {name}" for start, end, name in cut)
        out.append(f"stages   {named} (fit {told.stages.fit:.2f})")
    out += _contrast_lines(told)
    out += _again_lines(neurons)
    out += _chance_lines(told)
    if told.agreement:
        out += _agreement_lines(told.agreement)
    if told.rule.method != "imported" and not told.uncertainty:
        out.append("intervals unavailable: the counts hold one block, or --bootstrap is 0")
    return out


def _again_lines(neurons: Neurons) -> list[str]:
    """How many are found again from fewer blocks: whether more texts would change them."""
    if not neurons.again or not neurons.uncertainty:
        return []
    out = []
    for row in neurons.again:
        where = f"from {row.blocks} of {neurons.uncertainty.blocks} blocks"
        if row.of == "rest":
            where = f"from {row.blocks}, those of {row.blocks} others"
        shares = ", ".join(
            f"{middle:.0%} [{low:.0%}, {high:.0%}] {kind}"
            for kind, (middle, low, high) in row.shares.items()
        )
        out.append(f"{'' if out else 'again':<8} {where} ({row.tokens:,} tokens): {shares}")
    return out


def _threshold_lines(told: Facts) -> list[str]:
    rule, lam = told.rule, told.rule.lam
    out = []
    if lam:
        star = "lambda*" if lam.status == "bound" else "lambda"
        out.append(
            f"{star} = {lam.value:.5f}{told.interval('lambda', '.5f')} "
            f"({lam.plain:.5f} in the units of Eq. 5), {lambda_words(lam)}"
        )
    if lam and lam.later:
        later = ", ".join(f"{start:.5f}-{end:.5f}" for start, end in lam.later)
        out.append(
            f"         no general neuron is selected at lambda {later} either; "
            "the first interval is used"
        )
    if rule.tau is not None:
        out.append(
            f"tau = {rule.tau:.6f}{told.interval('tau', '.6f')}, "
            f"quantile {rule.tau_quantile:g} of all {rule.levels}"
        )
    return out


def _number_lines(told: Facts) -> list[str]:
    words = {"none": "in no language (N = 0)"}
    selected = ", ".join(
        f"{n:,}{told.interval(kind, ',.0f')} {words.get(kind, kind)}"
        for kind, n in told.kinds.items()
        if kind != "general"
    )
    return [
        f"selected {told.selected:,}: {selected}",
        f"general  {told.kinds['general']:,}{told.interval('general', ',.0f')} of all neurons, "
        f"{told.general_selected:,} selected"
        + (f"; highly active in {_general(told)}" if told.rule.general < 1 else ""),
    ]


def _agreement_lines(agreement: Agreement) -> list[str]:
    """Agreement and the share of language by stage, and where agreement is highest."""
    values = agreement.agreement.value
    if np.isnan(values).all():
        return ["agreement unknown: no neuron varies between questions"]
    highest = int(np.nanargmax(values))
    low, high = agreement.agreement.low[highest], agreement.agreement.high[highest]
    ends = "" if np.isnan(low) else f" [{low:.2f}, {high:.2f}]"
    peak = (
        f"{values[highest]:.2f}{ends} in layer {highest}, the highest; "
        f"with shuffled questions at most {np.nanmax(agreement.shuffled):.2f}"
    )
    if not agreement.starts:
        return [f"agreement {peak}"]

    def by_stage(shares: Estimate) -> str:
        return ", ".join(f"{share:.2f}" for share in shares.value)

    out = [
        f"agreement of languages by stage {by_stage(agreement.stage_agreement)}; {peak}",
        f"language's share of the variance by stage {by_stage(agreement.stage_language)}",
    ]
    if agreement.stage_english and agreement.stage_agreement.value.size > 1:
        place = int(np.nanargmax(agreement.stage_agreement.value))
        shares = agreement.stage_english.items()
        each = ", ".join(f"{code} {share.value[place]:.2f}" for code, share in shares)
        out.append(f"agreement with English in stage {place + 1}: {each}")
    return out


def _contrast_lines(told: Facts) -> list[str]:
    """What the stages differ in as the paper has it, and what not."""
    known = told.agreement.contrasts if told.agreement else ()
    out = []
    for what, asked in (("neurons", told.contrasts), ("agreement", known)):
        if not asked or np.isnan(asked[0].difference.low):
            continue
        names = {
            verdict: [one.name for one in asked if one.verdict == verdict]
            for verdict in get_args(Verdict)
        }
        words = "; ".join(f"{verdict}: {', '.join(of)}" for verdict, of in names.items() if of)
        out.append(f"{'':<8} by {what}: {words}")
    return out


def _chance_lines(told: Facts) -> list[str]:
    """What the thresholds give by chance, where it is known."""
    if not told.chance:
        return []
    out = []
    if told.chance.permuted:
        spreads = {kind: told.chance.permuted[kind] for kind in ("specific", "related", "general")}
        numbers = ", ".join(
            f"{of.mean:,.1f} [{of.low:,.0f}, {of.high:,.0f}] {kind}" for kind, of in spreads.items()
        )
        out.append(f"chance   {numbers} where each language is a mix of all")
    if halves := told.chance.halves:
        mean, most = sum(halves.values()) / len(halves), max(halves, key=lambda code: halves[code])
        out.append(
            f"         {mean:,.1f} specific to one half of a language's own questions, on average "
            f"(most: {most} {halves[most]:,.1f})"
        )
    return out
