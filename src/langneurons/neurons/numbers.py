"""Numbers: how many neurons there are of each sort, tau and lambda, and the intervals of all these.

Letters: K language, L layer, n listed neuron, R resampling.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from langneurons.intervals import Estimate, Floats, interval

KINDS = ("specific", "related", "general", "none")
"""What a neuron is: highly active in one language, in several, in all, or (selected all the same)
in none."""

LANGUAGE_KINDS = KINDS[:2]
"""The kinds of a language neuron, which are counted per language too."""


class Intervals(NamedTuple):
    """Intervals of numbers: every array has a last axis of two, the lower and the upper end.

    Attributes:
        tau: of the bar, [2].
        lam: of lambda, [2]; NaN when there is none.
        kinds: of the neurons of each of `KINDS`, [4, 2].
        layers: of those per layer, [4, L, 2].
        languages: of the specific and related neurons of each language, [2, K, 2].
    """

    tau: Floats
    lam: Floats
    kinds: Floats
    layers: Floats
    languages: Floats

    def named(self, languages: Sequence[str]) -> dict[str, tuple[float, float]]:
        """Name -> (low, high), as files keep them.

        Names: `tau`, `lambda`, `specific`, `specific@7` (layer 7), `specific/zh`, and so on.
        """
        ends = {"tau": self.tau}
        if not np.isnan(self.lam).any():
            ends["lambda"] = self.lam
        for i, kind in enumerate(KINDS):
            ends[kind] = self.kinds[i]
            ends |= {f"{kind}@{layer}": pair for layer, pair in enumerate(self.layers[i])}
            if kind in LANGUAGE_KINDS:
                pairs = zip(languages, self.languages[i], strict=True)
                ends |= {f"{kind}/{code}": pair for code, pair in pairs}
        return {name: (float(low), float(high)) for name, (low, high) in ends.items()}

    @classmethod
    def from_named(
        cls, ends: Mapping[str, Sequence[float]], languages: Sequence[str]
    ) -> "Intervals":
        """The intervals that `named` gave."""
        layers = range(sum(name.startswith(f"{KINDS[0]}@") for name in ends))
        return cls(
            tau=np.array(ends["tau"]),
            lam=np.array(ends.get("lambda", (math.nan, math.nan))),
            kinds=np.array([ends[kind] for kind in KINDS]),
            layers=np.array([[ends[f"{kind}@{i}"] for i in layers] for kind in KINDS]),
            languages=np.array(
                [[ends[f"{kind}/{code}"] for code in languages] for kind in LANGUAGE_KINDS]
            ),
        )


class Numbers(NamedTuple):
    """How many neurons of each sort; of R resamplings, every array has a first axis R.

    Attributes:
        tau: the bar; NaN when not known.
        lam: lambda; NaN when there is none.
        layers: neurons of each of `KINDS` per layer, [4, L]; general over all neurons, the others
            among the selected.
        languages: specific and related neurons highly active in each language, [2, K]. A related
            neuron stands with each of its languages.
        among: neurons of the selected with N = 0..K, [K + 1].
        everywhere: neurons of the whole model with N = 0..K, [K + 1]; NaN when not known.
        intervals: of these numbers; None without resampling, and for resamplings themselves.
    """

    tau: Floats
    lam: Floats
    layers: Floats
    languages: Floats
    among: Floats
    everywhere: Floats
    intervals: Intervals | None = None

    @property
    def kinds(self) -> Floats:
        """Neurons of each of `KINDS` over all layers, [4]."""
        return self.layers.sum(axis=-1)

    @property
    def language_neurons(self) -> Floats:
        """Specific and related neurons together in each layer, [L]."""
        return self.layers[..., : len(LANGUAGE_KINDS), :].sum(axis=-2)

    def of_kind(self, kind: str) -> Estimate:
        """Neurons of a kind, with their interval (NaN without one)."""
        place = KINDS.index(kind)
        return _estimate(self.kinds[..., place], self.intervals and self.intervals.kinds[place])

    def by_layer(self, kind: str) -> Estimate:
        """Neurons of a kind in each layer, [L], with their intervals."""
        place = KINDS.index(kind)
        ends = self.intervals and self.intervals.layers[place]
        return _estimate(self.layers[..., place, :], ends)

    def by_language(self, kind: str) -> Estimate:
        """Specific or related neurons of each language, [K], with their intervals."""
        place = LANGUAGE_KINDS.index(kind)
        ends = self.intervals and self.intervals.languages[place]
        return _estimate(self.languages[..., place, :], ends)

    def with_intervals(self, resampled: Self) -> Self:
        """The same numbers, with intervals from resamplings of what they were counted from."""

        def ends(observed: Floats, replicates: Floats) -> Floats:
            return np.stack(interval(replicates, observed), axis=-1)

        return self._replace(
            intervals=Intervals(
                tau=ends(self.tau, resampled.tau),
                lam=ends(self.lam, resampled.lam),
                kinds=ends(self.kinds, resampled.kinds),
                layers=ends(self.layers, resampled.layers),
                languages=ends(self.languages, resampled.languages),
            )
        )


def count(
    layer: NDArray[np.integer],
    member: NDArray[np.bool_],
    selected: NDArray[np.bool_],
    *,
    layers: int,
    tau: float | None,
    lam: float | None,
    everywhere: Sequence[int] | NDArray[np.integer] | None,
    least_general: int | None = None,
) -> Numbers:
    """How many of each sort there are among listed neurons: every selected and every general one.

    Args:
        layer: layer of each, [n].
        member: in which languages each is highly active, [n, K].
        selected: whether it is among the selected, [n].
        layers: layers of the model, L.
        tau: the bar, where known.
        lam: lambda, where there is one.
        everywhere: neurons of the whole model with N = 0..K, [K + 1], where known.
        least_general: lowest N of a general neuron; K by default.
    """
    languages = member.shape[1]
    n = member.sum(axis=1)
    kind = kind_codes(n, languages, least_general)
    per_layer = [np.bincount(layer[kind == i], minlength=layers) for i in range(len(KINDS))]
    per_language = [member[kind == i].sum(axis=0) for i in range(len(LANGUAGE_KINDS))]
    unknown = np.full(languages + 1, np.nan)
    return Numbers(
        tau=np.array(math.nan if tau is None else tau),
        lam=np.array(math.nan if lam is None else lam),
        layers=np.array(per_layer, dtype=np.float64),
        languages=np.array(per_language, dtype=np.float64),
        among=np.bincount(n[selected], minlength=languages + 1).astype(np.float64),
        everywhere=unknown if everywhere is None else np.array(everywhere, dtype=np.float64),
    )


def stacked(numbers: Sequence[Numbers]) -> Numbers:
    """Numbers of R resamplings as one: every array [R, ...]."""
    return Numbers(
        tau=np.stack([one.tau for one in numbers]),
        lam=np.stack([one.lam for one in numbers]),
        layers=np.stack([one.layers for one in numbers]),
        languages=np.stack([one.languages for one in numbers]),
        among=np.stack([one.among for one in numbers]),
        everywhere=np.stack([one.everywhere for one in numbers]),
    )


def least_general(languages: int, share: float = 1.0) -> int:
    """In how many of K languages a neuron is highly active at least to be general: share * K, up.

    Never in fewer than two: N = 1 is specific, whatever the share.
    """
    return max(2, math.ceil(share * languages - 1e-9))


def general_words(languages: int, least: int) -> str:
    """In which languages a general neuron is highly active, in words."""
    return "every language" if least >= languages else f"{least} or more of {languages} languages"


def kind_codes(
    n_languages: NDArray[np.integer], languages: int, least: int | None = None
) -> NDArray[np.int8]:
    """Position in `KINDS` of listed neurons, by the number of languages each is active in.

    Args:
        n_languages: in how many each is highly active, N.
        languages: K.
        least: lowest N of a general neuron; K by default, as in the paper.
    """
    least = languages if least is None else least
    related, general = ["related"] * (least - 2), ["general"] * (languages + 1 - least)
    names = ("none", "specific", *related, *general)
    return np.array([KINDS.index(name) for name in names], dtype=np.int8)[n_languages]


def kind_of(
    n_languages: NDArray[np.integer], languages: int, least: int | None = None
) -> NDArray[np.str_]:
    """Kind of listed neurons, by the number of languages each is highly active in."""
    return np.array(KINDS)[kind_codes(n_languages, languages, least)]


def _estimate(value: Floats, ends: Floats | None) -> Estimate:
    nothing = np.full(value.shape, np.nan)
    low, high = (nothing, nothing) if ends is None else (ends[..., 0], ends[..., 1])
    return Estimate(value, low, high, replicates=np.zeros((0, *value.shape)))
