"""Agreement: how far neurons do the same in all languages where texts mean the same.

No class of neurons takes part. A neuron's states (its rates of activation, say) on the same
sentences in several languages vary for three reasons: the language, the sentence whatever its
language (its meaning), and the rest. This is a two-way analysis of variance without replication,
with random effects: of mean squares MS_L, MS_M, MS_E of K languages, n sentences and their
interaction, the variances are v_L = (MS_L - MS_E) / n, v_M = (MS_M - MS_E) / K, v_E = MS_E, each
summed over neurons before anything is divided. Their shares are without bias: pure noise gives 0,
where plain shares would give meaning 1/K. Agreement = v_M / (v_M + v_E) is an intraclass
correlation: 1 where all languages do the same up to an offset, 0 where a sentence in one language
tells nothing of it in another.

Blocks of m questions, which is what counts keep, stand in for sentences. Means over a block keep
language's variance and divide the others' by m: agreement stays, and the share of language is told
of single questions, v_L / (v_L + m (v_M + v_E)).

Letters: K language, n sentence or block, D neuron or dimension, L layer, S stage, R resampling,
row 0 being what was observed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from langneurons.errors import InputError
from langneurons.intervals import Estimate, Floats, block_draws, estimate
from langneurons.neurons.contrasts import AGREEMENT, BY_MEANING, SHARE, Contrast, contrasts
from langneurons.neurons.counts import Counts
from langneurons.texts.languages import english_among

SHUFFLES = 20
"""Shufflings of the pairs, beside which agreement is shown: none of them is as high, by chance, in
19 of 20 cases."""

STAGES = 4
"""Stages that the paper tells apart, of which contrasts are told."""

FEWER = 8
"""How many times as many dimensions as states there are, for these to be worth condensing."""

LEAST_BLOCKS = 3
"""Fewest blocks of questions from which agreement is told."""


class Shares(NamedTuple):
    """Parts of the variance, which add up to 1, and agreement; arrays of one shape.

    Attributes:
        language: share of the language, of single sentences.
        meaning: share of the sentence, whatever its language.
        rest: share of neither.
        agreement: meaning / (meaning + rest); NaN where nothing varies but with the language.
    """

    language: Floats
    meaning: Floats
    rest: Floats
    agreement: Floats


@dataclass(frozen=True)
class Decomposition:
    """Inner products of the states of every layer: all that variances of any of its languages,
    layers and resamplings are made of.

    Attributes:
        languages: the K codes.
        size: sentences in a block (their harmonic mean); 1 for sentences one by one.
        weights: how often each block is taken, [R + 1, n]; row 0 once each.
        cells: inner products of the languages' states on each block, [L, n, K, K].
        means: inner products of the languages' mean states in each resampling, [L, R + 1, K, K].
    """

    languages: tuple[str, ...]
    size: float
    weights: NDArray[np.number]
    cells: Floats
    means: Floats

    def by_layer(self, *languages: str) -> Shares:
        """Shares of each layer, [R + 1, L], among these of the languages (all when none is
        named).
        """
        return self._shares(self.cells, self.means, languages)

    def over(self, layers: slice, *languages: str) -> Shares:
        """Shares of some layers together, [R + 1]: variances are summed over their neurons."""
        cells = self.cells[layers].sum(axis=0, keepdims=True)
        means = self.means[layers].sum(axis=0, keepdims=True)
        return Shares(*(part[:, 0] for part in self._shares(cells, means, languages)))

    def by_stage(self, starts: Sequence[int], *languages: str) -> Shares:
        """Shares of each stage, [R + 1, S], given the first layer of each."""
        if not starts:
            return Shares(*[np.zeros((len(self.weights), 0))] * 4)
        spans = zip(starts, (*starts[1:], len(self.cells)), strict=True)
        stages = [self.over(slice(*span), *languages) for span in spans]
        return Shares(*(np.stack(part, axis=1) for part in zip(*stages, strict=True)))

    def _shares(self, cells: Floats, means: Floats, languages: Sequence[str]) -> Shares:
        chosen = [self.languages.index(code) for code in languages or self.languages]
        cells = cells[..., chosen, :][..., chosen]
        means = means[..., chosen, :][..., chosen]
        return _shares(cells, means, self.weights, self.size)


def decomposition(
    states: Iterable[Floats],
    languages: Sequence[str],
    *,
    size: float = 1.0,
    draws: NDArray[np.number] | None = None,
) -> Decomposition:
    """The inner products of every layer's states.

    Args:
        states: of each layer, [K, n, D], on the same n sentences or blocks in every language.
        languages: the K codes.
        size: sentences in a block.
        draws: how often each block is taken in each resampling, [R, n]; none without.
    """
    products = []
    weights: NDArray[np.number] = np.ones((1, 0))
    for layer in map(_condensed, states):
        observed = np.ones((1, layer.shape[1]))
        weights = observed if draws is None else np.concatenate([observed, draws])
        products.append(_products(layer, weights))
    return Decomposition(
        languages=tuple(languages),
        size=size,
        weights=weights,
        cells=np.stack([cells for cells, _ in products]),
        means=np.stack([means for _, means in products]),
    )


def shuffled_agreement(states: Floats, seed: int = 0) -> Floats:
    """Agreement of one layer's states [K, n, D] with the sentences of each language in random
    orders, [SHUFFLES]: what it is where sentences do not belong together.
    """
    rng = np.random.default_rng(seed)
    languages, n, _ = states.shape
    orders = np.array([[rng.permutation(n) for _ in range(languages)] for _ in range(SHUFFLES)])
    states = _condensed(states)
    once = np.ones((1, n))
    _, means = _products(states, once)
    cells = np.empty((SHUFFLES, n, languages, languages))
    for first in range(languages):
        for second in range(first, languages):  # each product once, whatever is shuffled
            cross = states[first] @ states[second].T
            met = cross[orders[:, first], orders[:, second]]
            cells[..., first, second] = cells[..., second, first] = met
    return _shares(cells, np.repeat(means[None], SHUFFLES, axis=0), once, 1.0).agreement[0]


def _condensed(states: Floats) -> Floats:
    """States [K, n, D] about their mean, with the same inner products in at most K n dimensions
    where that many are far fewer: finding them costs as much as many products.
    """
    states = np.asarray(states, dtype=np.float64)
    states = states - states.mean(axis=(0, 1))
    languages, n, width = states.shape
    if width <= FEWER * languages * n:
        return states
    flat = states.reshape(languages * n, width)
    squares, directions = np.linalg.eigh(flat @ flat.T)
    return (directions * np.sqrt(np.maximum(squares, 0))).reshape(languages, n, -1)


def _products(states: Floats, weights: NDArray[np.number]) -> tuple[Floats, Floats]:
    """Inner products of one layer's states: of each block's, [n, K, K], and of the means,
    [R + 1, K, K].
    """
    by_block = states.transpose(1, 0, 2)
    parts = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float64)
    by_draw = (parts @ states).transpose(1, 0, 2)
    return by_block @ by_block.transpose(0, 2, 1), by_draw @ by_draw.transpose(0, 2, 1)


def _shares(cells: Floats, means: Floats, weights: NDArray[np.number], size: float) -> Shares:
    """Shares [R + 1, L] from inner products [L, n, K, K] and [L, R + 1, K, K]."""
    k = cells.shape[-1]
    n = weights.sum(axis=1)[:, None]
    whole = weights @ np.trace(cells, axis1=2, axis2=3).T
    of_sentences = weights @ cells.sum(axis=(2, 3)).T / k**2
    of_languages = np.trace(means, axis1=2, axis2=3).T
    of_all = means.sum(axis=(2, 3)).T / k**2
    squares_language = n * (of_languages - k * of_all)
    squares_meaning = k * (of_sentences - n * of_all)
    squares_rest = whole - n * k * of_all - squares_language - squares_meaning
    # Of blocks taken w times, the squares about their mean have n - sum w^2 / n degrees of freedom
    # and the mean has sum w^2 / n^2 of their variance: n - 1 and 1 / n where each is taken once.
    # A resampling that takes one block alone has none, and says nothing.
    twice = (weights**2).sum(axis=1)[:, None] / n
    freedom = np.where(n - twice > 0, n - twice, np.nan)
    rest = squares_rest / ((k - 1) * freedom)
    meaning = (squares_meaning / freedom - rest) / k
    language = squares_language / (k - 1) / n - rest * twice / n
    of_one = size * (meaning + rest)  # of single sentences
    total = language + of_one
    return Shares(
        language=_ratio(language, total, whole),
        meaning=_ratio(size * meaning, total, whole),
        rest=_ratio(size * rest, total, whole),
        agreement=_ratio(meaning, meaning + rest, whole),
    )


def _ratio(part: Floats, whole: Floats, scale: Floats) -> Floats:
    """One over the other; NaN where the whole is nothing but rounding."""
    unknown = np.full(whole.shape, np.nan)
    return np.divide(part, whole, out=unknown, where=whole > 1e-12 * np.maximum(scale, 1e-300))


class Agreement(NamedTuple):
    """What counts say of agreement, with intervals over blocks.

    Attributes:
        blocks: blocks of questions that have tokens.
        questions: questions in them.
        language: share of language in each layer, [L], of single questions.
        meaning: share of meaning, [L].
        agreement: agreement of all languages, [L].
        shuffled: the highest of `SHUFFLES` shufflings, [L].
        english: agreement of English with each other language, by its code, [L]; empty without
            English.
        starts: first layer of each stage, as the neurons tell the stages; empty without them.
        stage_language: share of language in each stage.
        stage_agreement: agreement in each stage.
        stage_english: agreement of English with each other language in each stage, by its code.
        contrasts: what differs between four stages, as `contrasts.BY_MEANING` claims it; empty
            without them.
    """

    blocks: int
    questions: int
    language: Estimate
    meaning: Estimate
    agreement: Estimate
    shuffled: Floats
    english: Mapping[str, Estimate]
    starts: tuple[int, ...]
    stage_language: Estimate
    stage_agreement: Estimate
    stage_english: Mapping[str, Estimate] = {}
    contrasts: tuple[Contrast, ...] = ()

    def to_meta(self) -> dict[str, Any]:
        """The numbers as the metadata of a file keep them; None for what is not known."""
        return {
            "blocks": self.blocks,
            "questions": self.questions,
            "shuffled": _listed(self.shuffled),
            "starts": list(self.starts),
            "english": {code: _ends(one) for code, one in self.english.items()},
            "stage_english": {code: _ends(one) for code, one in self.stage_english.items()},
            "contrasts": [contrast.to_meta() for contrast in self.contrasts],
            **{name: _ends(getattr(self, name)) for name in _ESTIMATES},
        }

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> Self:
        """What `to_meta` gave; without the replicates, which no file keeps."""
        return cls(
            blocks=meta["blocks"],
            questions=meta["questions"],
            shuffled=_known(meta["shuffled"]),
            starts=tuple(meta["starts"]),
            english={code: _estimate(ends) for code, ends in meta["english"].items()},
            stage_english={
                code: _estimate(ends) for code, ends in meta.get("stage_english", {}).items()
            },
            contrasts=tuple(map(Contrast.from_meta, meta.get("contrasts", ()))),
            **{name: _estimate(meta[name]) for name in _ESTIMATES},
        )


_ESTIMATES = ("language", "meaning", "agreement", "stage_language", "stage_agreement")


def agreement(
    counts: Counts,
    starts: Sequence[int] = (),
    *,
    resamplings: int = 200,
    seed: int = 0,
) -> Agreement:
    """Agreement of every layer of a model, from counts; no model is run.

    States are rates of activation in blocks of questions: active / tokens.

    Args:
        counts: of parallel blocks.
        starts: first layer of each stage, if stages are to be told.
        resamplings: of the blocks, the same in every language, behind the intervals; 0 for none.
        seed: of the resamplings and the shufflings.

    Raises:
        InputError: when the counts do not allow it; see `unavailable`.
    """
    parts = decomposed(counts, resamplings=resamplings, seed=seed)
    whole = parts.by_layer()
    stages = parts.by_stage(starts)
    english = english_among(counts.languages)
    others = [code for code in counts.languages if english and code != english]
    with_english = {
        code: parts.by_stage(starts, str(english), code).agreement for code in others if starts
    }
    return Agreement(
        blocks=parts.weights.shape[1],
        questions=len(counts.questions[0]),
        language=told(whole.language),
        meaning=told(whole.meaning),
        agreement=told(whole.agreement),
        shuffled=np.array([shuffled_agreement(rates, seed).max() for rates in _rates(counts)]),
        english={code: told(parts.by_layer(str(english), code).agreement) for code in others},
        starts=tuple(starts),
        stage_language=told(stages.language),
        stage_agreement=told(stages.agreement),
        stage_english={code: told(shares) for code, shares in with_english.items()},
        contrasts=of_meaning(parts, starts) if len(starts) == STAGES else (),
    )


def of_meaning(
    parts: Decomposition, starts: Sequence[int], *languages: str, leave_out: bool = True
) -> tuple[Contrast, ...]:
    """What `contrasts.BY_MEANING` claims of four stages.

    Args:
        parts: of every layer.
        starts: first layers of the stages.
        *languages: those that take part; all when none is named.
        leave_out: whether to tell it with each of the languages left out too, of three or more.
    """
    codes = languages or parts.languages

    def told_of(*chosen: str) -> dict[str, Floats]:
        shares = parts.by_stage(starts, *chosen)
        return {AGREEMENT: shares.agreement, SHARE: shares.language}

    without = {}
    if leave_out and len(codes) > 2:
        for left_out in codes:
            rest = told_of(*(code for code in codes if code != left_out))
            without[left_out] = {what: rows[0] for what, rows in rest.items()}
    return contrasts(BY_MEANING, told_of(*codes), without)


def decomposed(counts: Counts, *, resamplings: int = 200, seed: int = 0) -> Decomposition:
    """The inner products of every layer's rates of activation in blocks; see `agreement`."""
    reason = unavailable(counts)
    if reason:
        raise InputError(f"agreement of languages cannot be told: {reason}")
    tokens = counts.tokens[:, _filled(counts)]
    share = (tokens / tokens.sum(axis=1, keepdims=True)).mean(axis=0)
    in_block = share * len(counts.questions[0])
    draws = block_draws(len(in_block), resamplings, seed) if resamplings else None
    return decomposition(
        _rates(counts),
        counts.languages,
        size=1 / float(np.mean(1 / in_block)),
        draws=draws,
    )


def unavailable(counts: Counts) -> str | None:
    """Why these counts say nothing of agreement; None where they do."""
    if len(counts.languages) < 2:
        return "the counts are of one language"
    if counts.blocks < LEAST_BLOCKS:
        return (
            f"the counts hold {counts.blocks} block{'' if counts.blocks == 1 else 's'} of "
            f"questions; at least {LEAST_BLOCKS} are needed"
        )
    if not counts.questions:
        return (
            "the counts do not say which questions they are of (imported, or recorded by an "
            "earlier version)"
        )
    if not counts.parallel:
        return _not_shared(counts)
    if len(_filled(counts)) < LEAST_BLOCKS:
        return (
            f"the questions lie in {len(_filled(counts))} blocks; at least {LEAST_BLOCKS} are "
            "needed"
        )
    return None


def _not_shared(counts: Counts) -> str:
    """Which language lacks how many questions that others have."""
    together = len(np.unique(np.fromiter(chain(*counts.questions), np.int64)))
    lacking = {
        code: together - len(questions)
        for code, questions in zip(counts.languages, counts.questions, strict=True)
        if len(questions) < together
    }
    listed = ", ".join(f"{code} lacks {number:,}" for code, number in lacking.items())
    return f"not every language has the same {together:,} questions ({listed})"


def told(shares: Floats) -> Estimate:
    """Shares [R + 1, ...] as an estimate: row 0 with the interval of the others."""
    return estimate(shares[0], shares[1:] if shares[0].size else None)


def _filled(counts: Counts) -> NDArray[np.intp]:
    """Blocks that have tokens in every language."""
    return np.flatnonzero((counts.tokens > 0).all(axis=0))


def _rates(counts: Counts) -> Iterator[Floats]:
    """Rates of activation in blocks with tokens, of each layer, [K, n, D]."""
    filled = _filled(counts)
    tokens = counts.tokens[:, filled, None]
    for active in counts.active:
        yield active[:, filled].reshape(*tokens.shape[:2], -1) / tokens


def _listed(values: Floats) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def _known(values: Sequence[float | None]) -> Floats:
    return np.array(values, dtype=np.float64)


def _ends(numbers: Estimate) -> list[list[float | None]]:
    return [_listed(part) for part in numbers[:3]]


def _estimate(ends: Sequence[Sequence[float | None]]) -> Estimate:
    value, low, high = map(_known, ends)
    return Estimate(value, low, high, np.zeros((0, *value.shape)))
