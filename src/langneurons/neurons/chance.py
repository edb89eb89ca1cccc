"""Chance: what thresholds select where languages do not differ, or where two languages are one.

A quantile always leaves some probabilities above it, and a rate always selects some neurons. Two
ways to see how many of each kind that alone gives, from the counts themselves:

Labels permuted. In each block the languages change places, so that a pseudo-language is a mix of
all of them. The places form a Latin rectangle: over K blocks every pseudo-language takes one block
of each language. With fewer blocks than languages, or a number that is no multiple of theirs, the
mixes stay a little uneven, and what is found in them is more than chance alone gives.

A language split. The blocks of a language are dealt out to two halves that are called two
languages, in its place. What is specific to one half is noise of sampling, a little more of it than
a whole language has, as a half has half the tokens.

Letters: K language, G block, M neuron.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from langneurons.config import IdentifyConfig
from langneurons.errors import InputError
from langneurons.intervals import Floats, interval
from langneurons.neurons.classes import classified
from langneurons.neurons.counts import Counts
from langneurons.neurons.numbers import KINDS, LANGUAGE_KINDS
from langneurons.neurons.table import Chance, Spread

ONE_BLOCK = "the counts hold one block, so that no labels can be permuted and no blocks split"
"""Why chance is not known."""


def by_chance(counts: Counts, config: IdentifyConfig) -> Chance | None:
    """What the thresholds of `config` give by chance on these counts; None with one block.

    Labels are permuted `config.chance` times; languages are split in turn, each at least once.
    """
    if counts.blocks < 2 or not config.chance:
        return None
    kinds = []
    for draw in range(config.chance):
        try:
            probability = permuted(counts, config.seed, draw).probability(per=config.per)
            kinds.append(classified(probability, counts.widths, config).numbers.kinds)
        except InputError:
            continue
    halves: dict[str, list[float]] = {code: [] for code in counts.languages}
    observed = counts.probability(per=config.per)
    for number, code in splits(counts, config.chance):
        try:
            halved = split(counts, code, observed, per=config.per, seed=config.seed, number=number)
            numbers = classified(halved, counts.widths, config).numbers
        except InputError:
            continue
        halves[code].append(specific_to_halves(numbers.languages))
    return Chance(
        draws=config.chance,
        failed=config.chance - len(kinds),
        permuted={
            kind: spread(np.array(kinds)[:, place]) for place, kind in enumerate(KINDS) if kinds
        },
        halves={code: float(np.mean(found)) for code, found in halves.items() if found},
    )


def permuted(counts: Counts, seed: int, draw: int) -> Counts:
    """The counts with languages in other places in each block; the same draw, the same places."""
    rng = np.random.default_rng([seed, 1, draw])
    places = _latin(len(counts.languages), counts.blocks, rng)
    blocks = np.arange(counts.blocks)
    return replace(
        counts,
        active=tuple(active[places, blocks] for active in counts.active),
        tokens=counts.tokens[places, blocks],
        routed=tuple(
            None if reached is None else reached[places, blocks] for reached in counts.routed
        ),
    )


def splits(counts: Counts, draws: int) -> Iterator[tuple[int, str]]:
    """Which languages are split, and how often before: all in turn, some `draws` in all."""
    languages = counts.languages
    for number in range(max(1, round(draws / len(languages)))):
        yield from ((number, code) for code in languages)


def split(
    counts: Counts,
    code: str,
    observed: Floats,
    *,
    per: Literal["tokens", "routed"],
    seed: int,
    number: int,
) -> Floats:
    """Probabilities with two halves of a language's blocks in its place, [K + 1, M].

    Args:
        counts: of K languages.
        code: the language.
        observed: probabilities of all K, [K, M].
        per: as in `Counts.probability`.
        seed: of the halves.
        number: which split of this language.

    Raises:
        InputError: when a half has no token.
    """
    place = counts.languages.index(code)
    rng = np.random.default_rng([seed, 2, place, number])
    first = np.zeros(counts.blocks)
    first[rng.permutation(counts.blocks)[: counts.blocks // 2]] = 1
    own = counts.spread((code,))
    halves = [own.probability(weights, per=per) for weights in (first, 1 - first)]
    return np.concatenate([*halves, np.delete(observed, place, axis=0)])


def specific_to_halves(languages: Floats) -> float:
    """Neurons specific to one of the first two languages, mean of both; languages [2, K]."""
    return float(languages[LANGUAGE_KINDS.index("specific"), :2].mean())


def spread(values: Floats) -> Spread:
    """Mean and 95% interval of draws, [R]."""
    mean = float(np.mean(values))
    low, high = interval(values, mean)
    return Spread(mean, float(low), float(high))


def _latin(languages: int, blocks: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Which language stands in each place in each block, [K, G]; every block has all of them.

    Over each K blocks every place has every language once.
    """
    rounds = -(-blocks // languages)
    shifts = np.concatenate([rng.permutation(languages) for _ in range(rounds)])[:blocks]
    order = rng.permutation(languages)
    return order[(np.arange(languages)[:, None] + shifts) % languages]
