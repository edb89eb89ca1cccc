"""Summary: the few numbers of a set of neurons that are told first, as lines for people, values for machines, tiles."""

from typing import Any, NamedTuple

import numpy as np

from langneurons.errors import InputError
from langneurons.neurons.layer_stages import NAMES, Segmentation, layer_stages
from langneurons.neurons.table import KINDS, Lambda, Neurons
from langneurons.neurons.tables import by_layer, english


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


def tiles(neurons: Neurons) -> tuple[Tile, ...]:
    """The numbers that matter most: lambda, tau, and how many neurons of each kind."""
    rule, kinds, out = neurons.rule, neurons.kind, []

    def interval(key: str, digits: int = 0) -> str:
        if not neurons.uncertainty:
            return ""
        low, high = neurons.uncertainty.intervals[key]
        return f"95% interval {low:,.{digits}f} to {high:,.{digits}f}"

    if rule.lam:
        name = "λ*" if rule.lam.status == "bound" else "λ"
        text = f"{rule.lam.value * rule.lam.factor:.5f} in the units of Eq. 5; {lambda_words(rule.lam)}"
        out.append(Tile("lambda", name, f"{rule.lam.value:.5f}", text, interval("lambda", 5)))
    if rule.tau is not None:
        text = f"a neuron is highly active above it; quantile {rule.tau_quantile:g} of all probabilities"
        out.append(Tile("tau", "τ", f"{rule.tau:.5f}", text, interval("tau", 5)))
    for kind, what in (
        ("specific", "active in one language"),
        ("related", "active in several"),
        ("general", "active in every language"),
    ):
        text = f"neurons highly {what}"
        out.append(Tile(kind, kind, f"{int((kinds == kind).sum()):,}", text, interval(kind)))
    return tuple(out)


def rules(neurons: Neurons) -> tuple[str, ...]:
    """How the numbers were computed, in sentences, from the rule itself."""
    rule, facts = neurons.rule, []
    if rule.method == "imported":
        facts.append(
            "These memberships were imported from a mask; it holds no scores and no probabilities."
        )
    else:
        total = sum(rule.histogram)
        facts += [
            f"The lowest {rule.rate:g} of {total:,} neurons by score are selected: {int(neurons.selected.sum()):,}.",
            f"τ = {rule.tau:.6f}: the {rule.tau_quantile:g} quantile of all {total * len(neurons.languages):,} "
            "activation probabilities; highly active is strictly above it.",
            "Neurons highly active in no language were dropped before the selection."
            if rule.prefilter
            else "No neuron was dropped before the selection: a selected neuron can be highly active in no language.",
        ]
    if rule.lam:
        facts.append(
            f"score = H(p') / ln K − λ · max p / h, with h the mean of 1, 1/2, …, 1/K; λ = {rule.lam.value!r}, "
            f"{lambda_words(rule.lam)}; in the units of Eq. 5 it is {rule.lam.value * rule.lam.factor:.6f}."
        )
        if len(rule.lam.feasible) > 1:
            later = ", ".join(f"{a:.5f} to {b:.5f}" for a, b in rule.lam.feasible[1:])
            facts.append(
                f"No general neuron is selected in these later intervals of λ either: {later}."
            )
    u = neurons.uncertainty
    if u:
        failed = f"; {u.failed} of them allow no λ and are left out" if u.failed else ""
        facts.append(
            f"Intervals: {u.level:.0%} of {u.replicates} resamplings of the {u.blocks} blocks of questions, the same "
            f"for every language{failed}."
        )
    elif rule.method != "imported":
        facts.append(
            "Intervals are unavailable: the counts hold one block, or no resampling was asked for."
        )
    return tuple(facts)


def stages(neurons: Neurons, count: int = 4) -> Segmentation | None:
    """Stages of the layers; None when there are fewer layers than stages."""
    counts = by_layer(neurons)
    try:
        return layer_stages(counts["specific"] + counts["related"], counts["general"], count)
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


def values(neurons: Neurons) -> dict[str, Any]:
    """The numbers by name."""
    rule, kinds = neurons.rule, neurons.kind
    lam = rule.lam
    cut = stages(neurons)
    return {
        "lambda": lam and lam.value,
        "lambda_plain": lam and lam.value * lam.factor,
        "lambda_supremum": lam and lam.supremum,
        "lambda_status": lam and lam.status,
        "binding": lam and lam.binding,
        "tau": rule.tau,
        "selected": int(neurons.selected.sum()),
        "classes": {kind: int((kinds == kind).sum()) for kind in KINDS},
        "shared_by": np.bincount(
            neurons.n_languages[neurons.selected], minlength=len(neurons.languages) + 1
        ).tolist(),
        "shared_by_all": list(rule.histogram),
        "per_language": {
            code: {
                kind: int((neurons.member[:, k] & (kinds == kind)).sum())
                for kind in ("specific", "related")
            }
            for k, code in enumerate(neurons.languages)
        },
        "stages": cut and {"starts": cut.starts, "fit": cut.fit},
        "intervals": neurons.uncertainty and dict(neurons.uncertainty.intervals),
    }


def lines(neurons: Neurons) -> list[str]:
    """The numbers in words, a line each."""
    rule, kinds, u = neurons.rule, neurons.kind, neurons.uncertainty
    out = []

    def interval(name: str, form: str) -> str:
        return f" [{u.intervals[name][0]:{form}}, {u.intervals[name][1]:{form}}]" if u else ""

    if rule.lam:
        star = "lambda*" if rule.lam.status == "bound" else "lambda"
        plain = rule.lam.value * rule.lam.factor
        out.append(
            f"{star} = {rule.lam.value:.5f}{interval('lambda', '.5f')} ({plain:.5f} in the units of Eq. 5), "
            f"{lambda_words(rule.lam)}"
        )
        if len(rule.lam.feasible) > 1:
            later = ", ".join(f"{a:.5f}-{b:.5f}" for a, b in rule.lam.feasible[1:])
            out.append(
                f"         no general neuron is selected at lambda {later} either; the first interval is used"
            )
    if rule.tau is not None:
        out.append(
            f"tau = {rule.tau:.6f}{interval('tau', '.6f')}, quantile {rule.tau_quantile:g} of all probabilities"
        )
    counts = {kind: int((kinds[neurons.selected] == kind).sum()) for kind in KINDS}
    words = {"none": "in no language (N = 0)"}
    parts = [
        f"{n:,}{interval(kind, ',.0f')} {words.get(kind, kind)}"
        for kind, n in counts.items()
        if kind != "general"
    ]
    out.append(f"selected {int(neurons.selected.sum()):,}: {', '.join(parts)}")
    everywhere = int((kinds == "general").sum())
    out.append(
        f"general  {everywhere:,}{interval('general', ',.0f')} of all neurons, {counts['general']:,} selected"
    )
    contrast = english(neurons)
    if contrast:
        (_, *en), (_, *others) = contrast.rows
        out.append(
            f"English  {en[0]:g} specific, {en[1]:g} related; the others on average {others[0]:g} and {others[1]:g}"
        )
    cut = stages(neurons)
    if cut:
        named = [
            f"{a}-{b - 1} {name}" for a, b, name in zip(cut.starts, cut.ends, NAMES, strict=True)
        ]
        out.append(f"stages   {', '.join(named)} (fit {cut.fit:.2f})")
    if rule.method != "imported" and not u:
        out.append("intervals unavailable: the counts hold one block, or --bootstrap is 0")
    return out
