"""Controls: which neurons are switched off, and the matched random sets to hold them against.

A set is the positions of its neurons among all M of the model, layer by layer, experts in order.
"""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from langneurons.config import AT_TEXT, PerplexityConfig
from langneurons.layout import Shapes
from langneurons.neurons.matched import control
from langneurons.neurons.sets import layer_range, select
from langneurons.neurons.table import Neurons
from langneurons.silencing.losses import Condition

Sets = list[tuple[Condition, NDArray[np.int64]]]
"""Each condition and the positions of the neurons it silences."""


def conditions(
    neurons: Neurons,
    shapes: Shapes,
    languages: Sequence[str],
    config: PerplexityConfig,
    rates: Mapping[str, NDArray[np.floating]] | None = None,
) -> Sets:
    """Every condition: nothing silenced, then each setting of each language and its controls.

    The controls of a language avoid all its specific and related neurons. Which they are depends on
    the seed, the kinds and the language, not on where they are silenced or what else is measured.

    Raises:
        InputError: for a setting with a word that is no kind, or sets that leave no room for
            controls.
    """
    layers = None if config.layers is None else layer_range(config.layers, neurons)
    sets: Sets = [(Condition(None, None, 0, 0), np.zeros(0, np.int64))]
    for setting, kinds in config.kinds.items():
        for code in languages:
            chosen = select(neurons, shapes, kinds, (code,), layers)
            avoid = select(neurons, shapes, ("specific", "related"), (code,))
            sets.append((Condition(code, setting, 0, len(chosen)), chosen))
            rate = None if rates is None else rates[code]
            place = zlib.crc32(f"{setting.removesuffix(AT_TEXT)}/{code}".encode())
            for draw in range(1, config.controls + 1):
                rng = np.random.default_rng([config.seed, draw, place])
                drawn = control(chosen, avoid, shapes, rate, rng)
                sets.append((Condition(code, setting, draw, len(drawn)), drawn))
    return sets
