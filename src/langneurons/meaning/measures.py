"""Measures: what pooled states say of meaning, at each state and in each layer's neurons.

Agreement of languages (`neurons.agreement`: of rates as they are, of hidden states scaled),
retrieval of translations (`retrieval`), and how near language lies to the surface. Intervals
resample sentences; the candidates of a retrieval stay as they are, since a sentence drawn twice
would tie with itself and be a miss.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from langneurons import artifacts
from langneurons import config as configs
from langneurons.config import MeaningConfig
from langneurons.errors import FormatError, InputError
from langneurons.intervals import Estimate, Floats, block_draws, estimate
from langneurons.meaning.retrieval import (
    Found,
    kernel_alignment,
    language_told,
    retrieved,
    scaled,
    standardised,
)
from langneurons.neurons.agreement import Decomposition, decomposition, shuffled_agreement, told
from langneurons.tables import Cell, Table, rounded
from langneurons.texts.languages import english_among

if TYPE_CHECKING:
    from langneurons.meaning.pooled import Pooled

HIDDEN, RATES = "hidden", "rates"
"""What a row is of: the residual stream at a state, or rates of activation in a layer."""

VARIANTS = ("raw", "standardised")
"""How cosines are taken: of states as they are, or standardised in each language."""


@dataclass(frozen=True)
class Meaning:
    """Where a model's states are of the meaning of a text, and where of its language.

    Attributes:
        languages: the K codes.
        pivot: the language that the others are held against, English where there is any.
        sentences: how many in each language.
        places: a row for each state and for each layer's neurons: shares of language and meaning,
            agreement, retrieval of translations (mean over the pivot with each other language, and
            over all pairs) with its chance, how well one sentence teaches the languages.
        pairs: a row for each of those and each language with the pivot.
        notes: what to know of how it came about.
    """

    KIND: ClassVar[str] = "meaning"
    FILE: ClassVar[str] = "meaning.json"

    languages: tuple[str, ...]
    pivot: str
    sentences: int
    places: Table
    pairs: Table
    notes: tuple[str, ...] = ()

    def of(self, states: str) -> list[dict[str, Any]]:
        """The rows of `places` that are of hidden states, or of rates, by column."""
        return [row for row in self.places.records() if row["states"] == states]

    @property
    def beyond_surface(self) -> bool:
        """Whether translations are found at some state that are not found by the surface.

        That is: whether some state's standardised score has an interval that lies above state 0's.
        Where none has, there is no meaning to be seen.
        """
        first, *later = self.of(HIDDEN)
        if first["standardised high"] is None:  # without resampling
            return any(row["standardised"] > first["standardised"] for row in later)
        return any(row["standardised low"] > first["standardised high"] for row in later)

    def write(self, draft: artifacts.Draft) -> None:
        """Add it to a folder that is being written: everything as JSON, each table as CSV."""
        content = {
            "languages": self.languages,
            "pivot": self.pivot,
            "sentences": self.sentences,
            "notes": self.notes,
            "tables": [json.loads(table.to_json()) for table in (self.places, self.pairs)],
        }
        draft.bytes(self.FILE, json.dumps(content, ensure_ascii=False).encode())
        for table in (self.places, self.pairs):
            draft.bytes(f"{table.name}.csv", table.to_csv().encode())

    def save(self, folder: Path | str) -> None:
        """Write it into a folder of its own; see `artifacts.save`."""
        artifacts.save(self, folder)

    @classmethod
    def load(cls, source: Path | str | artifacts.Artifact) -> "Meaning":
        """That in a finished folder.

        Raises:
            InputError: when there is none, or it holds something else.
            FormatError: when its file is damaged.
        """
        path = artifacts.opened(source, cls.KIND).file(cls.FILE)
        try:
            content = artifacts.parsed(path.read_bytes())
            places, pairs = (
                Table.from_json(json.dumps(table).encode()) for table in content["tables"]
            )
            return cls(
                languages=tuple(content["languages"]),
                pivot=content["pivot"],
                sentences=content["sentences"],
                places=places,
                pairs=pairs,
                notes=tuple(content["notes"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{path} cannot be read ({error}); make it anew") from None


def measures(
    states: "Pooled",
    languages: Sequence[str],
    config: MeaningConfig | None = None,
    *,
    notes: Sequence[str] = (),
    **settings: object,
) -> Meaning:
    """What pooled states say of meaning.

    Args:
        states: one vector for each sentence, of each state and of each layer's rates.
        languages: the K codes.
        config: settings; or give them by name.
        notes: what to know of the texts.
        **settings: fields of `MeaningConfig`.

    Raises:
        InputError: for a pivot that is not among the languages.
    """
    config = configs.of(MeaningConfig, config, settings)
    pivot = pivot_of(languages, config.pivot)
    n = states.hidden[0].shape[1]
    draws = block_draws(n, config.bootstrap, config.seed)
    work = [(HIDDEN, i, vectors) for i, vectors in enumerate(states.hidden)]
    work += [(RATES, i, vectors) for i, vectors in enumerate(states.rates) if vectors.size]
    places, pairs = [], []
    for kind, number, vectors in work:
        place = _Place(np.asarray(vectors, np.float64), tuple(languages), pivot, draws, kind)
        places.append({"states": kind, "place": number} | place.whole(config))
        pairs += [
            {"states": kind, "place": number, "language": code} | place.pair(code, config)
            for code in languages
            if code != pivot
        ]
    said = [*notes]
    if not states.rates:
        said.append(
            "the model has mixtures of experts, of which a sentence reaches few: nothing is told "
            "of rates of activation"
        )
    return Meaning(
        languages=tuple(languages),
        pivot=pivot,
        sentences=n,
        places=_table("meaning-places", _PLACES.format(pivot=pivot, n=n), places),
        pairs=_table("meaning-pairs", _PAIRS.format(pivot=pivot), pairs),
        notes=tuple(said),
    )


_PLACES = (
    "Of {n} sentences, at each state (hidden) and in each layer's neurons (rates): shares of "
    "language and meaning in the variance, agreement = meaning / (meaning + rest), the highest of "
    "its shufflings; translations found by cosine, raw and standardised: mean of {pivot} with each "
    "other language, mean of all pairs, and what chance gives; told: share of texts whose language "
    "one sentence in each teaches."
)
_PAIRS = "The same of {pivot} with each other language."


def pivot_of(languages: Sequence[str], wanted: str | None) -> str:
    """The language that the others are held against: the one wanted, else English, else the first.

    Raises:
        InputError: when it is not among the languages.
    """
    if wanted is not None and wanted not in languages:
        raise InputError(f"pivot {wanted}: the languages of these texts are {', '.join(languages)}")
    return wanted or english_among(languages) or languages[0]


class _Place:
    """One state, or one layer's rates: [K, n, D]."""

    def __init__(
        self,
        vectors: Floats,
        languages: tuple[str, ...],
        pivot: str,
        draws: NDArray[np.number],
        kind: str,
    ) -> None:
        self.vectors, self.languages, self.pivot = vectors, languages, pivot
        self.draws = draws
        compared = scaled(vectors) if kind == HIDDEN else vectors
        self.shuffled = shuffled_agreement(compared).max()
        self.parts: Decomposition = decomposition([compared], languages, draws=draws)
        turned = {"raw": vectors, "standardised": np.stack([standardised(x) for x in vectors])}
        self.found: Mapping[str, Mapping[frozenset[str], Found]] = {
            variant: {
                frozenset((languages[a], languages[b])): retrieved(states[a], states[b])
                for a, b in combinations(range(len(languages)), 2)
            }
            for variant, states in turned.items()
        }

    def whole(self, config: MeaningConfig) -> dict[str, Cell]:
        """What is told of all languages."""
        shares = self.parts.by_layer()
        row = {
            **_cells("language", told(shares.language[:, 0])),
            **_cells("meaning", told(shares.meaning[:, 0])),
            **_cells("agreement", told(shares.agreement[:, 0])),
            "shuffled": rounded(self.shuffled),
        }
        for variant in VARIANTS:
            every = self.found[variant]
            with_pivot = [found for pair, found in every.items() if self.pivot in pair]
            row |= _cells(variant, self._score(with_pivot))
            row[f"{variant} all"] = rounded(self._score(list(every.values())).value)
            row[f"{variant} chance"] = rounded(np.mean([found.chance for found in with_pivot]))
        taught = language_told(self.vectors)
        row |= _cells("told", estimate(taught.mean(), self._resampled(taught)))
        if config.cka:
            others = [code for code in self.languages if code != self.pivot]
            row["CKA"] = rounded(np.mean([self._kernel_alignment(code) for code in others]))
        return row

    def pair(self, code: str, config: MeaningConfig) -> dict[str, Cell]:
        """What is told of one language with the pivot."""
        row = _cells("agreement", told(self.parts.by_layer(self.pivot, code).agreement[:, 0]))
        for variant in VARIANTS:
            found = self.found[variant][frozenset((self.pivot, code))]
            row |= _cells(variant, self._score([found]))
            row[f"{variant} chance"] = rounded(found.chance)
        if config.cka:
            row["CKA"] = rounded(self._kernel_alignment(code))
        return row

    def _score(self, found: Sequence[Found]) -> Estimate:
        """Mean share of hits; sentences are resampled, candidates stay."""
        hits = np.mean([one.hits for one in found], axis=0)
        return estimate(hits.mean(), self._resampled(hits))

    def _resampled(self, of_sentences: Floats) -> Floats:
        """Mean over sentences in each resampling, [R]."""
        return np.asarray(self.draws @ of_sentences, np.float64) / len(of_sentences)

    def _kernel_alignment(self, code: str) -> float:
        first, second = (
            standardised(self.vectors[self.languages.index(one)]) for one in (self.pivot, code)
        )
        return kernel_alignment(first, second)


def _cells(name: str, numbers: Estimate) -> dict[str, Cell]:
    """A number with the ends of its interval."""
    ends = zip((name, f"{name} low", f"{name} high"), numbers[:3], strict=True)
    return {head: rounded(value) for head, value in ends}


def _table(name: str, caption: str, rows: Sequence[Mapping[str, Cell]]) -> Table:
    columns = tuple(rows[0])
    return Table(name, caption, columns, tuple(tuple(row.values()) for row in rows))
