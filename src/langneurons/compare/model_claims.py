"""Claims of one model: what the paper says of a model's neurons before any alignment; see `claims`.

Where numbers were resampled, their intervals take part in the verdicts.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from langneurons.compare.verdicts import (
    Claim,
    in_numbers,
    in_words,
    missing,
)
from langneurons.intervals import (
    SURE,
    Estimate,
    Floats,
    Verdict,
    block_draws,
    both,
    estimate,
    lower_than_others,
    rises,
)
from langneurons.neurons.agreement import STAGES
from langneurons.neurons.contrasts import Contrast, of_neurons
from langneurons.neurons.layer_stages import Segmentation, layer_stages, null, segment
from langneurons.neurons.numbers import LANGUAGE_KINDS, Numbers
from langneurons.neurons.table import Neurons
from langneurons.silencing.losses import Losses
from langneurons.silencing.matrix import RESAMPLINGS, Matrices
from langneurons.silencing.matrix import words as dominance_in_words
from langneurons.tables import p_value, plain
from langneurons.texts.languages import is_english

_FOUR_STAGES = (
    "four-stages",
    "Layers form four stages, by the kinds of neurons they hold",
    "Fig. 3",
)
_BY_MEANING = (
    "stages-by-meaning",
    "The four stages show in how far languages agree, of all neurons",
    "Fig. 3",
)
_ENGLISH = (
    "english",
    "English has far fewer specific and related neurons than other languages",
    "Table 3",
)
_ENGLISH_NEEDS = "the neurons of English and at least three other languages"

_ONE_BLOCK = "no intervals, as with one block of questions"
_OLD = "no intervals: identify the neurons anew for them"
"""Why differences between stages have no intervals."""

FITS = (2, 3, 4, 5, 6)
"""Numbers of stages whose fit is shown."""


def four_stages(neurons: Neurons | None) -> Claim:
    """Layers form four stages, told by which neurons they hold (Fig. 3).

    The stages are cut from the neurons and then stay as they are. What is asked is what they differ
    in (`contrasts.BY_NEURONS`): per layer, language neurons (specific and related) fewer in the
    second stage than in the first and third; general ones more in the second than in the first and
    third, and more in the fourth than in the third. It holds when every difference does: its 95%
    interval over blocks lies above 0, and so does its value without any one language. It does not
    hold when the interval of one lies at or below 0. Random walks, cut the same way, have such a
    pattern in 1 of 200 cases.

    How well the stages fit decides nothing. The fits of 2 to 6 stages stand beside it, with how
    often random orders of the layers, a null that any smooth curve passes, and random walks of the
    curves' own steps are fitted as well.
    """
    if neurons is None:
        return missing(*_FOUR_STAGES, "the neurons of a model")
    held = neurons.with_neurons
    if held.sum() <= STAGES:
        return missing(*_FOUR_STAGES, f"more layers than {held.sum()}: four stages of at least 5")
    numbers = neurons.numbers
    curves = np.stack([numbers.language_neurons, numbers.by_layer("general").value])
    cut = layer_stages(*curves, of=held)
    asked = neurons.contrasts or of_neurons(numbers, cut.starts, held)
    old = neurons.uncertainty and not neurons.contrasts  # of a table that an older version wrote
    claim = four_stages_in(asked, cut, _OLD if old else _ONE_BLOCK)
    logs = np.log1p(curves[:, held])
    fits = {}
    for stages in FITS:
        if stages <= held.sum():
            fits[str(stages)] = {"fit": segment(logs, stages).fit} | null(logs, stages)._asdict()
    own = fits[str(STAGES)]
    words = (
        f"{claim.words}, which {100 * own['orders']:.2g}% of random orders of the layers and "
        f"{100 * own['walks']:.2g}% of random walks of the same steps reach"
    )
    return claim._replace(numbers=plain(claim.numbers | {"fits": fits}), words=words)


def four_stages_in(
    asked: Sequence[Contrast], cut: Segmentation, no_intervals: str = _ONE_BLOCK
) -> Claim:
    """The same of contrasts alone, between these stages; without what fits are held against."""
    words = (
        f"cut before layers {', '.join(map(str, cut.starts[1:]))}; "
        f"{_contrasts_in_words(asked, no_intervals)}; fit {cut.fit:.2f}"
    )
    numbers = {"starts": list(cut.starts), "fit": cut.fit, **_contrasts_in_numbers(asked)}
    verdict = both([contrast.verdict for contrast in asked])
    return Claim(*_FOUR_STAGES, verdict=verdict, numbers=plain(numbers), words=words)


def stages_by_meaning(neurons: Neurons | None) -> Claim:
    """The four stages show in what all neurons do, whatever their class.

    The stages are those of the neurons' numbers, which know nothing of this. What is asked is what
    they differ in (`contrasts.BY_MEANING`): languages agree more in the second stage than in the
    first, and language's share of the variance is larger in the first, third and fourth than in the
    second. It is judged as `four_stages`. Counts whose blocks are not parallel leave it open.
    """
    if neurons is None:
        return missing(*_BY_MEANING, "the neurons of a model")
    known = neurons.agreement
    if known is None:
        why = "counts of the same questions in every language, in at least 3 blocks"
        return missing(*_BY_MEANING, why)
    if not known.contrasts:
        return missing(*_BY_MEANING, "four stages of the layers (identify the neurons anew)")
    if len(neurons.languages) < 3:
        return missing(*_BY_MEANING, "at least 3 languages, as each is left out in turn")
    return stages_by_meaning_in(known.contrasts, known.starts)


def stages_by_meaning_in(asked: Sequence[Contrast], starts: Sequence[int]) -> Claim:
    """The same of contrasts alone, between stages that start at these layers."""
    words = f"cut before layers {', '.join(map(str, starts[1:]))}; {_contrasts_in_words(asked)}"
    numbers = {"starts": list(starts), **_contrasts_in_numbers(asked)}
    verdict = both([contrast.verdict for contrast in asked])
    return Claim(*_BY_MEANING, verdict=verdict, numbers=plain(numbers), words=words)


def _contrasts_in_numbers(asked: Sequence[Contrast]) -> dict[str, Any]:
    """Each difference with its interval, and the least without one language."""
    numbers: dict[str, Any] = {}
    for contrast in asked:
        numbers[contrast.name] = in_numbers(contrast.difference)
        if contrast.without:
            least = min(contrast.without, key=lambda code, c=contrast: c.without[code])
            numbers[contrast.name] |= {
                "least without a language": contrast.without[least],
                "that language": least,
            }
    return numbers


def _contrasts_in_words(asked: Sequence[Contrast], no_intervals: str = _ONE_BLOCK) -> str:
    """Which differences are there, which are not, and which one cannot tell.

    Args:
        asked: the differences.
        no_intervals: what is said where they have none.
    """
    if np.isnan(asked[0].difference.low):
        lacking = [contrast.name for contrast in asked if not contrast.difference.value > 0]
        seen = f"not as claimed: {', '.join(lacking)}" if lacking else "the pattern is there"
        return f"{no_intervals}; {seen}"
    told = {
        verdict: [
            f"{contrast.name} ({in_words(contrast.difference, '+.3g')})"
            if verdict != "holds"
            else contrast.name
            for contrast in asked
            if contrast.verdict == verdict
        ]
        for verdict in get_args(Verdict)
    }
    heads = {
        "holds": "as claimed",
        "does not hold": "not as claimed",
        "cannot tell": "cannot be told",
    }
    parts = [f"{heads[verdict]}: {', '.join(names)}" for verdict, names in told.items() if names]
    return "; ".join(parts)


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
        f"{in_words(added.judged)} in log perplexity, {beyond}; "
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
        least = np.delete(np.array(languages), place)[others.argmin()]
        words.append(
            f"{kind}: English {english:,}, others at least {int(others.min()):,} ({least}), on "
            f"average {mean:,.1f}, {p_value(p)}"
        )
    told = (
        f"{'; '.join(words)}; one language held against {len(languages) - 1} by a one-sided t test "
        "of log(1 + neurons)"
    )
    if np.isnan(fewer.low):
        told += "; no interval"
    return Claim(*_ENGLISH, verdict=both(verdicts), numbers=plain(numbers), words=told)


def can_ask_english(languages: Sequence[str]) -> bool:
    """Whether there is one English, and others enough to hold it against."""
    return sum(map(is_english, languages)) == 1 and len(languages) >= 4


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
