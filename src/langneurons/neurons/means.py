"""Means: of neuron values and of residual states at counted tokens, per language.

A neuron's value is what enters the down projection: activation times gate partner. They stand
beside counts, made of the very same tokens; sums are kept, so that those of two recordings add up.
Letters: K language, D neuron of a layer, M neuron of the whole model, H width of a state.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from langneurons import artifacts
from langneurons.errors import FormatError, InputError, MismatchError
from langneurons.layout import Widths

FORMAT = 1
"""Version of the tensors and metadata that `Means.to_tensors` writes."""

NEURONS, STATES = "neurons", "states"
"""What the names of sums begin with; the number of a layer or of a state follows."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Means:
    """Sums over counted tokens, and how many there are; a mean is divided out once, at the end.

    Attributes:
        languages: the K codes.
        tokens: counted tokens, [K].
        neurons: summed values of each layer's neurons, [K, D].
        states: summed residual states, from what enters the first layer to what leaves the last,
            [K, H].
    """

    FILE: ClassVar[str] = "means.safetensors"

    languages: tuple[str, ...]
    tokens: NDArray[np.int64]
    neurons: tuple[Floats, ...]
    states: tuple[Floats, ...]

    @property
    def widths(self) -> Widths:
        """Shape of each layer's neurons."""
        return tuple(layer.shape[1:] for layer in self.neurons)

    def of_neurons(self, language: str) -> Floats:
        """Mean value of every neuron in a language, [M].

        Raises:
            InputError: for a language that is not there, or has no token.
        """
        row = self._row(language)
        return np.concatenate([layer[row] for layer in self.neurons]) / self.tokens[row]

    def of_state(self, language: str, number: int) -> Floats:
        """Mean of a state in a language, [H].

        Raises:
            InputError: see `of_neurons`; for a state that is not there.
        """
        if not 0 <= number < len(self.states):
            raise InputError(
                f"state {number} is not there: this model has states 0 (the embedding) to "
                f"{len(self.states) - 1} (what its last layer leaves)"
            )
        row = self._row(language)
        return self.states[number][row] / self.tokens[row]

    def _row(self, language: str) -> int:
        if language not in self.languages:
            raise InputError(
                f"the means hold no {language}, only {', '.join(self.languages)}; record it too"
            )
        row = self.languages.index(language)
        if not self.tokens[row]:
            raise InputError(f"no token was counted in {language}, so it has no mean")
        return row

    def __add__(self, other: "Means") -> "Means":
        """Means over the tokens of both recordings.

        Raises:
            MismatchError: when languages or widths differ.
        """
        shapes = [[a.shape for a in (*part.neurons, *part.states)] for part in (self, other)]
        if self.languages != other.languages or shapes[0] != shapes[1]:
            raise MismatchError("these means are of other languages or layers, and do not add up")
        return Means(
            languages=self.languages,
            tokens=self.tokens + other.tokens,
            neurons=tuple(a + b for a, b in zip(self.neurons, other.neurons, strict=True)),
            states=tuple(a + b for a, b in zip(self.states, other.states, strict=True)),
        )

    def spread(self, languages: tuple[str, ...]) -> "Means":
        """The same with their languages in this order; a new language gets zeros."""
        sources = [
            self.languages.index(code) if code in self.languages else -1 for code in languages
        ]
        new = [i for i, source in enumerate(sources) if source < 0]

        def take(array: NDArray) -> NDArray:
            rows = array[sources]
            rows[new] = 0
            return rows

        return Means(
            languages=languages,
            tokens=take(self.tokens),
            neurons=tuple(map(take, self.neurons)),
            states=tuple(map(take, self.states)),
        )

    @classmethod
    def from_sums(
        cls, languages: tuple[str, ...], tokens: NDArray[np.int64], sums: Mapping[str, NDArray]
    ) -> "Means":
        """Means of sums by name, as `value_sums` makes them; `tokens` is [K]."""

        def of(kind: str) -> tuple[Floats, ...]:
            names = [name for name in sums if name.startswith(f"{kind}.")]
            return tuple(sums[name] for name in sorted(names))

        return cls(languages, tokens, of(NEURONS), of(STATES))

    def to_tensors(self) -> tuple[dict[str, NDArray], dict[str, object]]:
        """Named tensors and metadata, as they stand in `means.safetensors`."""
        tensors: dict[str, NDArray] = {"tokens": self.tokens}
        for kind, arrays in ((NEURONS, self.neurons), (STATES, self.states)):
            tensors |= {f"{kind}.{i:03d}": array for i, array in enumerate(arrays)}
        return tensors, {"format": FORMAT, "languages": list(self.languages)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray], meta: Mapping[str, Any]) -> "Means":
        """Means from what `to_tensors` gave; FormatError when that is not what it is."""
        if meta.get("format") != FORMAT or "tokens" not in tensors:
            raise FormatError(f"not means of format {FORMAT}")
        return cls.from_sums(tuple(meta["languages"]), tensors["tokens"], tensors)

    @classmethod
    def of_counts(cls, source: Path | str | artifacts.Artifact) -> "Means":
        """Those in a finished folder of counts.

        Raises:
            InputError: when there is no such folder, or it was recorded without means.
        """
        counts = artifacts.opened(source, "counts")
        if cls.FILE not in counts.manifest["files"]:
            raise InputError(f"{counts.folder} was recorded without means; record it with --means")
        return cls.from_tensors(*counts.tensors(cls.FILE))
