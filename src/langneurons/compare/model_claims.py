"""Claims of one model: what the paper says of a model's neurons before any alignment; see `claims`.

Where numbers were resampled, their intervals take part in the verdicts.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons.compare.verdicts import (
    Claim,
    both,
    in_numbers,
    in_words,
    missing,
)
from langneurons.intervals import (
    LEVEL,
    SURE,
    Estimate,
    Floats,
    Verdict,
    block_draws,
    estimate,
    lower_than_others,
    rises,
)
from langneurons.neurons.layer_stages import Segmentation, layer_stages, order_of_layers
from langneurons.neurons.numbers import LANGUAGE_KINDS, Numbers
from langneurons.neurons.table import Neurons
from langneurons.silencing.losses import Losses
from langneurons.silencing.matrix import RESAMPLINGS, Matrices
from langneurons.silencing.matrix import words as dominance_in_words
from langneurons.tables import plain
from langneurons.texts.languages import is_english

_FOUR_STAGES = (
    "four-stages",
    "Layers form four stages, by the kinds of neurons they hold",
    "Fig. 3",
)
_ENGLISH = (
    "english",
    "English has far fewer specific and related neurons than other languages",
    "Table 3",
)
_ENGLISH_NEEDS = "the neurons of English and at least three other languages"


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
    if neurons is None:
        return missing(*_FOUR_STAGES, "the neurons of a model")
    return four_stages_in(neurons.numbers, neurons.with_neurons, resampled)


def four_stages_in(
    observed: Numbers, held: NDArray[np.bool_], resampled: Numbers | None = None
) -> Claim:
    """The same of numbers alone, and of which layers have neurons, [L]; see `four_stages`."""
    stated = _FOUR_STAGES  # hybrids have layers without any neurons
    if held.sum() < 5:
        return missing(*stated, f"more layers than {held.sum()}: four stages of at least 5")
    language = observed.language_neurons[held]
    general = observed.by_layer("general").value[held]
    cut = layer_stages(language, general)
    p = order_of_layers(np.log1p(np.stack([language, general])), 4)
    pattern = {what: bool(is_so) for what, is_so in _pattern(language, general, cut).items()}
    whole = all(pattern.values())
    starts = np.flatnonzero(held)[list(cut.starts)].tolist()
    numbers: dict[str, Any] = {"starts": starts, "p": p, "pattern": pattern}
    for stages in (3, 4, 5):
        numbers[f"fit of {stages}"] = layer_stages(language, general, stages).fit
    share = float(whole)
    if resampled:
        in_resamplings = _pattern(
            resampled.language_neurons[..., held],
            resampled.by_layer("general").value[..., held],
            cut,
        )
        share = float(np.all(list(in_resamplings.values()), axis=0).mean())
        numbers["resamplings with the pattern"] = share
    verdict: Verdict = "cannot tell"
    if whole and share >= LEVEL and p <= SURE:
        verdict = "holds"
    elif not whole and share <= 1 - LEVEL:
        verdict = "does not hold"
    lacking = [what for what, is_so in pattern.items() if not is_so]
    words = (
        f"cut before layers {', '.join(map(str, starts[1:]))}; fit {cut.fit:.2f}, p = {p:.2g}; "
        + (f"not so: {'; '.join(lacking)}" if lacking else "the pattern is there")
    )
    return Claim(*stated, verdict=verdict, numbers=plain(numbers), words=words)


def diagonal_dominance(matrices: Matrices | None) -> Claim:
    """Silencing a language's neurons hurts that language most (Fig. 2, 6 to 8).

    The test is `matrix.dominance`, in changes of log perplexity: a permutation test over which
    language is whose, that no effect of a language that any silencing hurts can pass, and an
    interval over blocks. In log perplexity, since in perplexity itself the language with the
    highest one decides. It holds when it holds for every setting, and does not when it does not for
    one of them.
    """
    stated = ("diagonal", "Silencing a language's neurons hurts that language most", "Fig. 2, 6-8")
    if matrices is None:
        return missing(*stated, "what silencing costs (langneurons perplexity)")
    numbers, verdicts, words = {}, [], []
    for setting in matrices.settings:
        found = matrices.dominance(setting, "log ratio")
        numbers[setting] = {
            "diagonal": found.diagonal,
            "others": found.others,
            "interval": found.interval,
            "p": found.p,
            "own greatest": found.on_diagonal,
            "elsewhere": found.elsewhere,
        }
        verdicts.append(found.holds)
        words.append(f"{setting}: {dominance_in_words(found)}")
    return Claim(*stated, verdict=both(verdicts), numbers=plain(numbers), words="; ".join(words))


def related_add(losses: Losses | None) -> Claim:
    """Silencing related neurons besides specific ones hurts the language more (Fig. 2, 6 to 8).

    Silencing more neurons hurts more whichever they are. So each change of a language's own log
    perplexity is first reduced by the mean change by its random sets, of the same size and layers;
    the mean over languages of how much more `specific+related` then costs than `specific` has an
    interval over blocks, the same blocks for all conditions. Without random sets the change itself
    is judged, and it says so.
    """
    stated = (
        "related-add",
        "Related neurons add to what specific ones do for a language",
        "Fig. 2, 6-8",
    )
    settings = ("specific", "specific+related")
    if losses is None or not set(settings) <= set(losses.settings):
        needed = "what silencing costs with specific and with specific+related silenced"
        return missing(*stated, needed)
    added = _added(losses, *settings)
    if added is None:
        return missing(*stated, "a language that has both specific and related neurons")
    numbers: dict[str, Any] = {"raw": in_numbers(added.raw)}
    if added.net:
        numbers["net"] = in_numbers(added.net)
    numbers |= {"languages": added.languages, "more in": added.more_in}
    beyond = "beyond random sets" if added.net else "with no random sets to compare with"
    words = (
        f"{in_words(added.judged, '+.3g')} in log perplexity, {beyond}; "
        f"more in {len(added.more_in)} of {len(added.languages)} languages"
    )
    return Claim(*stated, verdict=rises(added.judged), numbers=plain(numbers), words=words)


def english_differs(neurons: Neurons | None, resampled: Numbers | None = None) -> Claim:
    """English has far fewer specific and related neurons than other languages (Table 3).

    Among languages that are all alike one is always the lowest. So the question is whether English
    would be unusual as one more draw from what the others are draws of: the test of a single case
    against a small sample (Crawford and Howell 1998; one-sided t with as many degrees of freedom as
    there are others, less one), on log(1 + neurons), which is closer to a normal distribution than
    the number. It needs no blocks. It holds when p is at most 0.05 for both kinds and, where there
    are resamplings, the interval of the mean of the others less English lies above 0 for both; it
    does not hold when that is at or below 0 for one of them. Of resamplings of which only the
    neurons' own intervals are left, that interval is the widest these allow: others at their
    lowest less English at its highest, and the other way round.
    """
    if neurons is None or not can_ask_english(neurons.languages):
        return missing(*_ENGLISH, _ENGLISH_NEEDS)
    return english_differs_in(neurons.numbers, neurons.languages, resampled)


def english_differs_in(
    observed: Numbers, languages: Sequence[str], resampled: Numbers | None = None
) -> Claim:
    """The same of numbers alone, of these languages; see `english_differs`."""
    if not can_ask_english(languages):
        return missing(*_ENGLISH, _ENGLISH_NEEDS)
    [place] = [k for k, code in enumerate(languages) if is_english(code)]
    numbers: dict[str, Any] = {}
    verdicts: list[Verdict] = []
    words = []
    for kind in LANGUAGE_KINDS:
        per_language = observed.by_language(kind).value
        english, others = int(per_language[place]), np.delete(per_language, place)
        mean = float(others.mean())
        p = lower_than_others(math.log1p(english), np.log1p(others))
        fewer = _fewer_in_english(observed, resampled, kind, place)
        numbers[kind] = {"English": english, "others": mean, "p": p} | in_numbers(fewer)
        verdicts.append(_judge_fewer(fewer, p))
        words.append(f"{kind}: English {english:,}, others on average {mean:,.1f}, p = {p:.2g}")
    return Claim(*_ENGLISH, verdict=both(verdicts), numbers=plain(numbers), words="; ".join(words))


def can_ask_english(languages: Sequence[str]) -> bool:
    """Whether there is one English, and others enough to hold it against."""
    return sum(map(is_english, languages)) == 1 and len(languages) >= 4


def _pattern(
    language: NDArray[np.number], general: NDArray[np.number], cut: Segmentation
) -> dict[str, NDArray[np.bool_]]:
    """What the four stages are said to look like, and whether they do, of neurons per layer."""
    stages = list(zip(cut.starts, cut.ends, strict=True))
    language_1, language_2, language_3, _ = (
        language[..., start:end].mean(axis=-1) for start, end in stages
    )
    general_1, general_2, general_3, general_4 = (
        general[..., start:end].mean(axis=-1) for start, end in stages
    )
    return {
        "language neurons fewer in the second stage than in the first": language_2 < language_1,
        "language neurons fewer in the second stage than in the third": language_2 < language_3,
        "general neurons more in the second stage than in the first": general_2 > general_1,
        "general neurons more in the second stage than in the third": general_2 > general_3,
        "general neurons more in the fourth stage than in the third": general_4 > general_3,
    }


def _fewer_in_english(
    numbers: Numbers, resampled: Numbers | None, kind: str, english: int
) -> Estimate:
    """Mean of the other languages' neurons of a kind, less those of English."""
    per_language = numbers.by_language(kind)
    fewer = _others(per_language.value, english) - per_language.value[english]
    if resampled:
        drawn = resampled.by_language(kind).value
        return estimate(fewer, _others(drawn, english) - drawn[:, english])
    low, high = per_language.low, per_language.high
    return Estimate(
        value=fewer,
        low=_others(low, english) - high[english],
        high=_others(high, english) - low[english],
        replicates=np.zeros(0),
    )


def _others(per_language: Floats, english: int) -> Floats:
    """Mean of the other languages, [..., K] -> [...]."""
    return np.delete(per_language, english, axis=-1).mean(axis=-1)


def _judge_fewer(fewer: Estimate, p: float) -> Verdict:
    """Whether English has fewer neurons than others, by how many fewer and the test of one case."""
    known = not np.isnan(fewer.low)
    at_most = fewer.high if known else fewer.value
    if at_most <= 0:
        return "does not hold"
    above = not known or fewer.low > 0
    return "holds" if p <= SURE and above else "cannot tell"


class _Added(NamedTuple):
    """How much more the second of two settings costs a language than the first, in log perplexity.

    Attributes:
        languages: those of which both silence something.
        more_in: those that it costs more.
        raw: mean over the languages.
        net: the same less what random sets of the same sizes cost; None without random sets.
    """

    languages: list[str]
    more_in: list[str]
    raw: Estimate
    net: Estimate | None

    @property
    def judged(self) -> Estimate:
        """What the claim is judged by: beyond random sets, where there are any."""
        return self.net or self.raw


def _added(losses: Losses, first: str, second: str) -> _Added | None:
    """How much more the second setting costs than the first; None where no language has both."""
    draws = range(losses.controls + 1)
    firsts = np.array([losses.find(first, draw) for draw in draws])
    seconds = np.array([losses.find(second, draw) for draw in draws])
    columns = _measured(losses, firsts[0], seconds[0])
    if not len(columns):
        return None

    def more(weights: NDArray[np.number] | None) -> Floats:
        """In each language and draw, [..., draws, languages]; draw 0 are the neurons themselves."""
        costs = losses.log_perplexity(weights)
        return costs[..., seconds[:, columns], columns] - costs[..., firsts[:, columns], columns]

    observed = more(None)
    resampled = np.zeros((0, *observed.shape))
    if losses.blocks > 1:
        resampled = more(block_draws(losses.blocks, RESAMPLINGS, 0))

    judged = observed[0]
    net = None
    if losses.controls:
        judged = observed[0] - observed[1:].mean(axis=0)
        drawn = resampled[:, 0] - resampled[:, 1:].mean(axis=1)
        net = estimate(judged.mean(), drawn.mean(axis=-1))
    languages = [losses.languages[column] for column in columns]
    return _Added(
        languages=languages,
        more_in=[code for code, value in zip(languages, judged, strict=True) if value > 0],
        raw=estimate(observed[0].mean(), resampled[:, 0].mean(axis=-1)),
        net=net,
    )


def _measured(losses: Losses, *settings: Sequence[int]) -> NDArray[np.intp]:
    """Languages of which every setting, given by its conditions, silences something."""
    sizes = [[losses.conditions[row].neurons for row in rows] for rows in settings]
    return np.flatnonzero((np.array(sizes) > 0).all(axis=0))
