"""Shared: many cells on the same probabilities, each exactly as `identify` finds it.

What cells have in common is worked out once: entropies and peaks of all neurons, tau of every
quantile and N above it, which neurons the selection boundary can reach at all. What is left of a
cell is lambda and a selection among few neurons. Letters: K language, L layer, M neuron of the
whole model.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons import layout
from langneurons.config import IdentifyConfig
from langneurons.intervals import Floats
from langneurons.layout import Widths
from langneurons.neurons.classes import CLASSES, Thresholds
from langneurons.neurons.numbers import (
    KINDS,
    LANGUAGE_KINDS,
    Numbers,
    kind_codes,
    least_general,
)
from langneurons.neurons.selection import (
    Scores,
    assembled,
    choose_lambda,
    entropy_and_peak,
    highly_active,
    lowest,
    thresholds,
    within_reach,
)
from langneurons.neurons.table import Lambda


class Outcome(NamedTuple):
    """What one cell gives.

    Attributes:
        lam: lambda and how it was found; None for LAPE, and by given thresholds.
        selected: places of the selected, ascending.
        n_languages: in how many languages each neuron is highly active, [M].
        least_general: lowest N of a general neuron.
        numbers: how many of each sort.
    """

    lam: Lambda | None
    selected: NDArray[np.intp]
    n_languages: NDArray[np.intp]
    least_general: int
    numbers: Numbers

    @property
    def kind(self) -> NDArray[np.int8]:
        """What every neuron is: position in `classes.CLASSES`, [M]."""
        n, languages = self.n_languages, len(self.numbers.among) - 1
        kind = np.full(len(n), CLASSES.index("not listed"), dtype=np.int8)
        kind[n >= self.least_general] = CLASSES.index("general")
        kind[self.selected] = kind_codes(n[self.selected], languages, self.least_general)
        return kind


class _Above(NamedTuple):
    """What one tau gives.

    Attributes:
        tau: the bar.
        n: in how many languages each neuron is highly active, [M].
        general: general neurons of each layer, [L].
        everywhere: neurons with N = 0..K, [K + 1].
    """

    tau: float
    n: NDArray[np.intp]
    general: NDArray[np.intp]
    everywhere: NDArray[np.intp]


class Shared:
    """Probabilities of one model in some languages, and what all cells on them have in common."""

    def __init__(
        self,
        probability: Floats,
        widths: Widths,
        quantiles: Sequence[float],
        *,
        general: float,
        limit: float,
    ) -> None:
        """Of probabilities [K, M].

        Args:
            probability: of every neuron in every language.
            widths: shapes of the layers.
            quantiles: those that tau is set at.
            general: share of the languages in which a general neuron is highly active at least.
            limit: largest lambda at which anything is selected.
        """
        self.probability, self.widths = probability, widths
        self._layer = np.repeat(np.arange(len(widths)), layout.sizes(widths))
        self._least = least_general(len(probability), general)
        self._limit = limit
        self._entropy, self._peak = entropy_and_peak(probability)
        self._taus = dict(zip(quantiles, thresholds(probability, quantiles), strict=True))
        self._known: dict[float, _Above] = {}
        self._reach: dict[tuple[float | None, int], NDArray[np.intp]] = {}

    def own(self, config: IdentifyConfig) -> Outcome:
        """What `identify` finds with these settings.

        Raises:
            InputError: as `selection.find`.
        """
        above = self._above(self._taus[config.tau_quantile])
        scores = self._scores(above, config)
        reach = self._reached(scores, above.tau)
        lam, used = None, 0.0
        if config.method == "ternary":
            lam = choose_lambda(scores, len(self.probability), self.widths, config, reach=reach)
            used = lam.value
        found = scores.only(reach)
        selected = reach[lowest(found.at(used), scores.size)]
        return self._outcome(above, selected, lam, lam.value if lam else None)

    def by(self, given: Thresholds) -> Outcome:
        """What thresholds found on another model give, as `classes.classify` has it."""
        above = self._above(given.tau)
        filtered = given.config.prefilter or given.config.method == "lape"
        size = round(given.config.rate * len(above.n))
        selected = np.zeros(0, dtype=np.intp)
        if not filtered or above.everywhere[1:].any():
            scores = self._scores(above, given.config)
            size = min(size, scores.size)
            reach = self._reached(scores, above.tau)
            selected = reach[lowest(scores.only(reach).at(given.lam or 0.0), size)]
        return self._outcome(above, selected, None, given.lam)

    def _scores(self, above: _Above, config: IdentifyConfig) -> Scores:
        return assembled(
            self._entropy,
            self._peak,
            above.tau,
            above.n,
            languages=len(self.probability),
            config=config,
        )

    def _above(self, tau: float) -> _Above:
        if tau not in self._known:
            n = highly_active(self.probability, tau)
            general = np.bincount(self._layer[n >= self._least], minlength=len(self.widths))
            everywhere = np.bincount(n, minlength=len(self.probability) + 1)
            self._known[tau] = _Above(tau, n, general, everywhere)
        return self._known[tau]

    def _reached(self, scores: Scores, tau: float) -> NDArray[np.intp]:
        """What the selection boundary can reach; without the filter tau plays no part in it."""
        key = (None if scores.eligible is None else tau, scores.size)
        if key not in self._reach:
            places = None if scores.eligible is None else np.flatnonzero(scores.eligible)
            some = scores if places is None else scores.only(places)
            reach = within_reach(some, self._limit)
            self._reach[key] = reach if places is None else places[reach]
        return self._reach[key]

    def _outcome(
        self, above: _Above, selected: NDArray[np.intp], lam: Lambda | None, used: float | None
    ) -> Outcome:
        """The outcome, counted as `numbers.count` counts."""
        languages, layers = len(self.probability), len(self.widths)
        n = above.n[selected]
        kind = kind_codes(n, languages, self._least).astype(np.intp)
        per_layer = np.bincount(kind * layers + self._layer[selected], minlength=4 * layers)
        per_layer = per_layer.reshape(len(KINDS), layers).astype(np.float64)
        per_layer[KINDS.index("general")] = above.general
        of_kinds = []
        for place in range(len(LANGUAGE_KINDS)):
            chosen = selected[kind == place]
            of_kinds.append((self.probability[:, chosen] > above.tau).sum(axis=1))
        numbers = Numbers(
            tau=np.array(above.tau),
            lam=np.array(np.nan if used is None else used),
            layers=per_layer,
            languages=np.array(of_kinds, dtype=np.float64),
            among=np.bincount(n, minlength=languages + 1).astype(np.float64),
            everywhere=above.everywhere.astype(np.float64),
        )
        return Outcome(lam, selected, above.n, self._least, numbers)
