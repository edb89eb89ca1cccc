"""Claims of one model: what the paper says of the neurons of a model before any alignment; see `claims`.

Where numbers were resampled, their intervals take part in the verdicts.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langneurons.compare.verdicts import (
    Claim,
    Verdict,
    both,
    missing,
    rises,
    said,
    told,
)
from langneurons.intervals import (
    LEVEL,
    SURE,
    Estimate,
    Floats,
    block_draws,
    estimate,
    lower_than_others,
)
from langneurons.neurons.layer_stages import Segmentation, layer_stages, order_of_layers
from langneurons.neurons.numbers import Numbers
from langneurons.neurons.table import KINDS, Neurons
from langneurons.neurons.tables import by_layer
from langneurons.silencing import matrix as diagonal
from langneurons.silencing.losses import Losses
from langneurons.silencing.matrix import Matrices
from langneurons.tables import plain
from langneurons.texts.languages import ENGLISH


def four_stages(neurons: Neurons | None, resampled: Numbers | None = None) -> Claim:
    """Layers form four stages, told by which neurons they hold (Fig. 3).

    Two things are asked. Order: do layers that follow each other look alike at all? The fit of the
    best division into four is held against that of the same layers in random orders (permutation
    test: under the null hypothesis depth does not matter and every order is as likely). Pattern:
    per layer, language neurons (specific and related) fewer in the second stage than in the first
    and third; general ones more in the second than in the first and third, and more in the fourth
    than in the third. It holds with p at most 0.05 and the pattern, also in 95% of the resamplings
    where there are any; it does not hold when the pattern is absent, from 95% of them. That four
    stages fit better than three or five is not tested: the fits stand beside it.
    """
    start = ("four-stages", "Layers form four stages, by the kinds of neurons they hold", "Fig. 3")
    if neurons is None:
        return missing(*start, "the neurons of a model")
    if neurons.layers < 5:
        return missing(*start, f"more layers than {neurons.layers}: four stages of at least 5")
    counts = by_layer(neurons)
    language, general = counts["specific"] + counts["related"], counts["general"]
    cut = layer_stages(language, general)
    p = order_of_layers(np.log1p(np.stack([language, general])), 4)
    seen = _pattern(language, general, cut)
    there = bool(all(seen.values()))
    numbers: dict[str, Any] = {"starts": cut.starts, "p": p, "pattern": seen}
    numbers |= {f"fit of {n}": layer_stages(language, general, n).fit for n in (3, 4, 5)}
    share = float(there)
    if resampled:
        layers = resampled.layers
        again = _pattern(layers[:, :2].sum(axis=1), layers[:, KINDS.index("general")], cut)
        numbers["resamplings with the pattern"] = share = float(
            np.all(list(again.values()), axis=0).mean()
        )
    verdict: Verdict = "cannot tell"
    if there and share >= LEVEL and p <= SURE:
        verdict = "holds"
    elif not there and share <= 1 - LEVEL:
        verdict = "does not hold"
    lacking = [what for what, is_so in seen.items() if not is_so]
    words = (
        f"cut before layers {', '.join(map(str, cut.starts[1:]))}; fit {cut.fit:.2f}, p = {p:.2g}; "
        + (f"not so: {'; '.join(lacking)}" if lacking else "the pattern is there")
    )
    return Claim(*start, verdict, plain(numbers), words)


def diagonal_dominance(matrices: Matrices | None) -> Claim:
    """Silencing a language's neurons hurts that language most (Fig. 2, 6 to 8), in changes of log perplexity.

    The test is `diagonal.dominance`: a permutation test over which language is whose, that no
    effect of a language that any silencing hurts can pass, and an interval over blocks. In log
    perplexity, since in perplexity itself the language with the highest one decides. It holds when
    it holds for every setting, and does not when it does not for one of them.
    """
    start = ("diagonal", "Silencing a language's neurons hurts that language most", "Fig. 2, 6-8")
    if matrices is None:
        return missing(*start, "what silencing costs (langneurons perplexity)")
    found = [matrices.dominance(setting, "log ratio") for setting in matrices.settings]
    numbers = {}
    for one in found:
        numbers[one.setting] = {
            "diagonal": one.diagonal,
            "others": one.others,
            "interval": one.interval,
            "p": one.p,
            "own greatest": one.on_diagonal,
            "elsewhere": one.elsewhere,
        }
    words = "; ".join(f"{one.setting}: {diagonal.words(one)}" for one in found)
    return Claim(*start, both([one.holds for one in found]), plain(numbers), words)


def related_add(losses: Losses | None) -> Claim:
    """Silencing related neurons besides specific ones hurts the language more (Fig. 2, 6 to 8).

    Silencing more neurons hurts more whichever they are. So each change of a language's own log
    perplexity is first reduced by the mean change by its random sets, of the same size and layers;
    the mean over languages of how much more `specific+related` then costs than `specific` has an
    interval over blocks, the same blocks for all conditions. Without random sets the change itself
    is judged, and it says so.
    """
    start = (
        "related-add",
        "Related neurons add to what specific ones do for a language",
        "Fig. 2, 6-8",
    )
    settings = ("specific", "specific+related")
    if losses is None or not set(settings) <= set(losses.settings):
        return missing(
            *start, "what silencing costs with specific and with specific+related silenced"
        )
    means, each, codes = _added(losses, settings)
    if not codes:
        return missing(*start, "a language that has both specific and related neurons")
    judged = list(means.values())[-1]
    higher = [code for code, value in zip(codes, each, strict=True) if value > 0]
    numbers = {name: told(one) for name, one in means.items()} | {
        "languages": codes,
        "more in": higher,
    }
    beyond = "beyond random sets" if losses.controls else "with no random sets to compare with"
    words = f"{said(judged, '+.3g')} in log perplexity, {beyond}; more in {len(higher)} of {len(codes)} languages"
    return Claim(*start, rises(judged), plain(numbers), words)


def english_differs(neurons: Neurons | None, resampled: Numbers | None = None) -> Claim:
    """English has far fewer specific and related neurons than other languages (Table 3).

    Among languages that are all alike one is always the lowest. So the question is whether English
    would be unusual as one more draw from what the others are draws of: the test of a single case
    against a small sample (Crawford and Howell 1998; one-sided t with as many degrees of freedom as
    there are others, less one), on log(1 + neurons), which is closer to a normal distribution than
    the number. It needs no blocks. It holds when p is at most 0.05 for both kinds and, where there
    are resamplings, the interval of the mean of the others less English lies above 0 for both; it
    does not hold when that is at or below 0 for one of them.
    """
    start = (
        "english",
        "English has far fewer specific and related neurons than other languages",
        "Table 3",
    )
    if neurons is None or ENGLISH not in neurons.languages or len(neurons.languages) < 4:
        return missing(*start, "the neurons of English and at least three other languages")
    at = neurons.languages.index(ENGLISH)
    numbers: dict[str, Any] = {}
    verdicts: list[Verdict] = []
    words = []
    for kind in ("specific", "related"):
        held = neurons.member[neurons.kind == kind].sum(axis=0)
        rest = np.delete(held, at)
        gap = estimate(float(rest.mean() - held[at]))
        if resampled:
            drawn = resampled.languages[:, KINDS.index(kind)]
            gap = estimate(gap.value, np.delete(drawn, at, axis=1).mean(axis=1) - drawn[:, at])
        p = lower_than_others(math.log1p(held[at]), np.log1p(rest))
        numbers[kind] = {"English": int(held[at]), "others": float(rest.mean()), "p": p} | told(gap)
        sure = np.isnan(gap.low) or gap.low > 0
        below = gap.high <= 0 if len(gap.replicates) else gap.value <= 0
        verdicts.append(
            "does not hold" if below else "holds" if p <= SURE and sure else "cannot tell"
        )
        words.append(
            f"{kind}: English {held[at]:,}, others on average {rest.mean():,.1f}, p = {p:.2g}"
        )
    return Claim(*start, both(verdicts), plain(numbers), "; ".join(words))


def _pattern(
    language: NDArray[np.number], general: NDArray[np.number], cut: Segmentation
) -> dict[str, NDArray[np.bool_]]:
    """What the four stages are said to look like, of neurons per layer [..., L], and whether they do."""
    a, b = (
        [x[..., i:j].mean(axis=-1) for i, j in zip(cut.starts, cut.ends, strict=True)]
        for x in (language, general)
    )
    return {
        "language neurons fewer in the second stage than in the first": a[1] < a[0],
        "language neurons fewer in the second stage than in the third": a[1] < a[2],
        "general neurons more in the second stage than in the first": b[1] > b[0],
        "general neurons more in the second stage than in the third": b[1] > b[2],
        "general neurons more in the fourth stage than in the third": b[3] > b[2],
    }


def _added(
    losses: Losses, settings: tuple[str, str]
) -> tuple[dict[str, Estimate], Floats, list[str]]:
    """How much more the second setting costs a language than the first, in its own log perplexity.

    Returns:
        `raw` and, where there are random sets, `net` of what they cost: means over languages; then
        what is judged in each language, and these languages' codes.
    """
    first, second = (
        np.array([losses.find(name, d) for d in range(losses.controls + 1)]) for name in settings
    )
    sizes = np.array([[losses.conditions[i].neurons for i in rows[0]] for rows in (first, second)])
    at = np.flatnonzero((sizes > 0).all(axis=0))
    if not len(at):
        return {}, np.zeros(0), []

    def more(weights: NDArray[np.number] | None) -> NDArray[np.float64]:
        """[..., draws + 1, languages]."""
        costs = losses.log_perplexity(weights)
        return costs[..., second[:, at], at] - costs[..., first[:, at], at]

    seen = more(None)
    drawn = np.zeros((0, *seen.shape))
    g = losses.blocks
    if g > 1:
        drawn = more(block_draws(g, diagonal.RESAMPLINGS, seed=0))
    each = {"raw": (seen[0], drawn[:, 0])}
    if losses.controls:
        each["net"] = (seen[0] - seen[1:].mean(axis=0), drawn[:, 0] - drawn[:, 1:].mean(axis=1))
    means = {
        name: estimate(value.mean(), replicates.mean(axis=-1))
        for name, (value, replicates) in each.items()
    }
    return means, list(each.values())[-1][0], [losses.languages[i] for i in at]
