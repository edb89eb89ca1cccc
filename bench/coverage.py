"""Do the 95% intervals hold the truth 95 times in 100?

python bench/coverage.py [--block-spread 0.15]

Draws counts again and again from known probabilities, so that the numbers an unlimited recording
would give are known, and asks of each interval whether it holds them: the percentile interval that
`identify` gives, and two others made from the same resamplings (mirrored around the estimate; of
the same width, centred on the estimate).
"""

import argparse
from dataclasses import replace

import numpy as np

from langneurons.config import IdentifyConfig
from langneurons.neurons.counts import Counts
from langneurons.neurons.identify import identify
from langneurons.neurons.numbers import KINDS, LANGUAGE_KINDS

LANGUAGES, NEURONS, BLOCKS, TOKENS = 10, 4096, 10, 2000
CODES = tuple("abcdefghij")
NAMES = ("tau", "specific", "related", "general", "specific/a", "related/a")


def truth(rng: np.random.Generator) -> np.ndarray:
    """Probabilities [K, M]: most low and alike, some planted in one, several or all languages."""
    p = (
        rng.beta(1.5, 6, NEURONS)
        * 0.55
        * np.exp(rng.gamma(2, 0.2, NEURONS) * rng.standard_normal((LANGUAGES, NEURONS)))
    )
    for j, kind in enumerate(rng.choice(4, NEURONS, p=[0.93, 0.02, 0.015, 0.035])):
        if kind:
            size = {1: 1, 2: rng.integers(2, LANGUAGES), 3: LANGUAGES}[kind]
            p[:, j] = rng.uniform(0.001, 0.05, LANGUAGES)
            p[rng.choice(LANGUAGES, size, replace=False), j] = rng.uniform(0.53, 0.98, size)
    return np.clip(p, 0, 0.99)


def numbers(counts: Counts, config: IdentifyConfig) -> dict[str, float]:
    """The numbers whose intervals are tested."""
    numbers = identify(counts, replace(config, bootstrap=0)).numbers
    values = {kind: float(numbers.of_kind(kind).value) for kind in KINDS}
    for kind in LANGUAGE_KINDS:
        values[f"{kind}/a"] = float(numbers.by_language(kind).value[0])
    return values | {"tau": float(numbers.tau)}


def main() -> None:
    """Print, for each number, how often each interval held the truth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--block-spread", type=float, default=0.15, help="how much blocks differ, as a share of p"
    )
    parser.add_argument("--times", type=int, default=60)
    asked = parser.parse_args()
    rng = np.random.default_rng(1)
    p = truth(rng)
    tokens = np.full((LANGUAGES, BLOCKS), TOKENS)
    config = IdentifyConfig(bootstrap=200, lam=0.2)
    unlimited = (p[:, None] * 10**9).astype(np.int64)
    real = numbers(Counts(CODES, (unlimited,), np.full((LANGUAGES, 1), 10**9)), config)
    held = {name: np.zeros(3) for name in NAMES}
    for time in range(asked.times):
        spread = rng.normal(1, asked.block_spread, (LANGUAGES, BLOCKS, NEURONS))
        active = rng.binomial(TOKENS, np.clip(p[:, None] * spread, 0, 1))
        counts = Counts(CODES, (active,), tokens)
        seeded = replace(config, seed=time)
        intervals = identify(counts, seeded).numbers.intervals
        assert intervals is not None
        ends = intervals.named(CODES)
        estimate = numbers(counts, seeded)
        for name in NAMES:
            (low, high), x, t = ends[name], estimate[name], real[name]
            half = (high - low) / 2
            held[name] += [low <= t <= high, 2 * x - high <= t <= 2 * x - low, abs(t - x) <= half]
    print(f"{asked.times} recordings, blocks differ by {asked.block_spread:.0%}")
    print(f"{'':12}{'truth':>10}{'percentile':>12}{'reflected':>12}{'normal':>12}")
    for name in NAMES:
        shares = "".join(f"{x / asked.times:>12.0%}" for x in held[name])
        print(f"{name:<12}{real[name]:>10.4g}{shares}")


if __name__ == "__main__":
    main()
