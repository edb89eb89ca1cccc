"""Counts made up from a known truth, to try `identify` and `report` on.

    python examples/made_up_counts.py --out runs/made-up/counts
    langneurons identify runs/made-up/counts --out runs/made-up/neurons
    langneurons report runs/made-up

No model was run; tests hold `identify` to the truth. 24 layers of 1,024 neurons, 10 languages, 10
blocks. A few neurons are planted: active in one language (first and last layers), in two to nine
(likewise), in all (middle and last layers); every other neuron is active at random at some low
rate, which differs a little between languages. Blocks differ a little, as questions do.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons import artifacts
from langneurons.neurons.counts import Counts

LANGUAGES = ("en", "ru", "es", "fr", "de", "zh", "ja", "bn", "th", "sw")
LAYERS, WIDTH, BLOCKS, TOKENS = 24, 1024, 10, 3000


class MadeUp(NamedTuple):
    """Counts and the truth behind them: planted memberships [K, L, D], kinds [L, D] or empty."""

    counts: Counts
    member: NDArray[np.bool_]
    kind: NDArray[np.str_]


def per_layer(layer: int) -> tuple[int, int, int]:
    """How many specific, related and general neurons are planted in a layer."""
    if layer < 4:
        return 6, 8, 12
    if layer < 14:
        return 0, 1, 40
    if layer < 22:
        return 9, 4, 8
    return 3, 7, 70


def make(
    seed: int = 0,
    *,
    width: int = WIDTH,
    blocks: int = BLOCKS,
    tokens: int = TOKENS,
    planted: Callable[[int], tuple[int, int, int]] = per_layer,
) -> MadeUp:
    """Draw everything anew; the same seed gives the same counts.

    Args:
        seed: of all that is drawn.
        width: neurons of a layer.
        blocks: blocks of questions.
        tokens: most tokens of a language in a block.
        planted: layer -> how many specific, related and general neurons are planted in it.
    """
    rng = np.random.default_rng(seed)
    languages = len(LANGUAGES)
    level = rng.beta(1.5, 6, (LAYERS, width)) * 0.55
    taste = rng.gamma(2, 0.1, (LAYERS, width))  # how much a neuron's rate differs between languages
    probability = level * np.exp(taste * rng.standard_normal((languages, LAYERS, width)))
    member = np.zeros(probability.shape, dtype=bool)
    kind = np.full((LAYERS, width), "", dtype="<U8")
    # English, which a model sees most, has the fewest neurons of its own.
    weight = np.where(np.array(LANGUAGES) == "en", 0.1, 1.0)
    for layer in range(LAYERS):
        spots = iter(rng.permutation(width))
        for name, count in zip(("specific", "related", "general"), planted(layer), strict=True):
            for _ in range(count):
                spot = next(spots)
                size = {"specific": 1, "related": rng.integers(2, languages), "general": languages}
                chosen = rng.choice(languages, size[name], replace=False, p=weight / weight.sum())
                background = 0.02 if name == "specific" else 0.08
                probability[:, layer, spot] = rng.uniform(0.001, background, languages)
                probability[chosen, layer, spot] = rng.uniform(0.5, 0.98, size[name])
                member[chosen, layer, spot] = True
                kind[layer, spot] = name
    held = rng.integers(tokens // 2, tokens, (languages, blocks))
    active = []
    for layer in range(LAYERS):
        by_block = probability[:, None, layer] * rng.normal(1, 0.08, (languages, blocks, width))
        active.append(rng.binomial(held[:, :, None], np.clip(by_block, 0, 1)))
    return MadeUp(Counts(LANGUAGES, tuple(active), held, block_rule="made up"), member, kind)


def main() -> None:
    """Write the counts to a folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    config = {"seed": asked.seed}
    if not artifacts.current(asked.out, "counts", config, {}):
        with artifacts.writing(asked.out, "counts", "made_up_counts", config, {}) as draft:
            make(asked.seed).counts.write(draft)
            draft.facts["note"] = "made up from a known truth; no model was run"
    print(f"made-up counts are in {asked.out}; no model was run")


if __name__ == "__main__":
    main()
