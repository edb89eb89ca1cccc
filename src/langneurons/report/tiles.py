"""Tiles: the four numbers of a study that are told first."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from langneurons.neurons.summary import Tile, facts
from langneurons.neurons.summary import tiles as neuron_tiles
from langneurons.neurons.table import Neurons
from langneurons.report.findings import every, ratio
from langneurons.report.results import Alignment, Results
from langneurons.silencing.matrix import Matrices, Matrix
from langneurons.tables import p_value
from langneurons.texts.accuracy import MEAN, Accuracy

TILES = 4
"""How many numbers are told first of a study."""


def study_tiles(results: Results, alignment: Alignment | None, questions: str) -> tuple[Tile, ...]:
    """Language neurons, what silencing them costs, accuracy, what an alignment moved.

    What was not measured gives its place to the numbers of the neurons.

    Args:
        results: of the model before alignment, on these questions.
        alignment: what is told of; None without one.
        questions: their name.
    """
    numbers: dict[str, Mapping[str, Any]] = {}
    if alignment and questions in alignment.compared:
        claims = alignment.compared[questions].claims
        numbers = {claim.name: claim.numbers for claim in claims}
    found = (
        _language_neurons(results.neurons) if results.neurons else None,
        _own_loss(results.matrices) if results.matrices else None,
        _accuracy(results.accuracy, numbers.get("accuracy-trained", {})),
        _shift(numbers.get("specific-to-related", {})),
    )
    told = [tile for tile in found if tile]
    if results.neurons:
        spare = neuron_tiles(results.neurons)
        told += [tile for tile in spare if tile.key not in ("specific", "related")]
    return tuple(told[:TILES])


def _language_neurons(neurons: Neurons) -> Tile:
    specific, related = map(neurons.numbers.of_kind, ("specific", "related"))
    together = int(specific.value + related.value)
    told = facts(neurons)
    share = f", {told.kinds['none']:,} of none, among {told.selected:,} selected"
    interval = ""
    if not np.isnan(specific.low):
        interval = _intervals(f"{n.low:,.0f} to {n.high:,.0f}" for n in (specific, related))
    return Tile(
        key="related",
        name="language neurons",
        value=f"{together:,}",
        text=f"{int(specific.value):,} of one language, {int(related.value):,} of several"
        f"{share if neurons.rule.histogram else ''}",
        interval=interval,
    )


def _own_loss(matrices: Matrices) -> Tile | None:
    """How much perplexity grows in the language whose neurons are silenced, and in the others."""
    setting = matrices.settings[-1]
    found = matrices.dominance(setting, "log ratio")
    if not math.isfinite(found.diagonal) or not math.isfinite(found.others):
        return None
    costs = matrices[setting, "log ratio"]
    own = costs.change[costs.measured, costs.measured]
    interval = ""
    if found.interval:
        low, high = map(ratio, found.interval)
        interval = f"own against others in that mean, 95% interval ×{low} to ×{high}"
    return Tile(
        key="specific",
        name="silenced",
        value=f"×{ratio(float(np.median(own)))}",
        text=f"perplexity of the median language without its {setting} neurons"
        f"{_random(costs)}; mean of logarithms ×{ratio(found.diagonal)}, others "
        f"×{ratio(found.others)}",
        interval=interval,
    )


def _random(costs: Matrix) -> str:
    """What random sets cost the median language itself, from the least to the most."""
    if not len(costs.controls):
        return ""
    middles = np.median(costs.controls[:, costs.measured, costs.measured], axis=1)
    return f", random ones {every(middles)}"


def _accuracy(shares: Iterable[Accuracy], claim: Mapping[str, Any]) -> Tile | None:
    """Accuracy before and after, where a claim compares them; else before alone."""
    if claim:
        low, high = claim["interval"]
        return Tile(
            key="accuracy",
            name="accuracy",
            value=f"{claim['before']:.1%} → {claim['after']:.1%}",
            text="right answers in the languages aligned, before and after; change "
            f"{100 * claim['change']:+.1f} points".replace("-", "−"),
            interval=f"95% interval {100 * low:+.1f} to {100 * high:+.1f}, "
            f"{p_value(claim['p'])}".replace("-", "−"),
        )
    mean = next((share for share in shares if share.lang == MEAN), None)
    if mean is None:
        return None
    return Tile(
        key="accuracy",
        name="accuracy",
        value=f"{mean.accuracy:.1%}",
        text="right answers, mean over languages",
        interval=f"95% interval {mean.low:.1%} to {mean.high:.1%}",
    )


def _shift(claim: Mapping[str, Any]) -> Tile | None:
    """How many specific and related neurons more, or fewer, there are after alignment."""
    if not claim:
        return None
    both = [claim[kind] for kind in ("specific", "related")]
    ends = [change["interval"] for change in both]
    interval = ""
    if all(ends):
        interval = _intervals(f"{low:+,.0f} to {high:+,.0f}" for low, high in ends)
    return Tile(
        key="general",
        name="specific / related",
        value=" / ".join(_signed(change["value"]) for change in both),
        text="change of their number by alignment",
        interval=interval,
    )


def _intervals(ends: Iterable[str]) -> str:
    return f"95% intervals {' and '.join(ends)}".replace("-", "−")


def _signed(value: float) -> str:
    return f"{value:+,.0f}".replace("-", "−") if round(value) else "0"
