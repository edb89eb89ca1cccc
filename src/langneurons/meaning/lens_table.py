"""Lens table: what a lens showed at each state, by language, as sums over sentences and as rows.

Intervals resample sentences. A state is readable where its divergence from the final layer is small
enough (`READABLE`); what others show is told, and greyed where it is drawn. Letters: S state, K
language of a sentence, n sentence, J language of tokens, P pivot, R resampling.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from langneurons import artifacts
from langneurons.errors import FormatError
from langneurons.intervals import Estimate, Floats, block_draws, estimate
from langneurons.tables import Cell, Table, rounded
from langneurons.texts.languages import english_among

COLUMNS = ("positions", "known", "divergence", "echo", "as final")
"""What is summed of every sentence: positions; probability of known tokens; divergence of the final
distribution from what is shown, in nats; how often the likeliest token is the one just read, and
the final layer's."""

READABLE = 10.0
"""Most nats that the final distribution may diverge from what a state shows, for it to be read."""

_RESAMPLINGS = 200


@dataclass(frozen=True)
class Lens:
    """What a model would say at each state.

    Attributes:
        languages: of the sentences, K.
        known: the languages that tokens are told by, J.
        uniform: share of each where every known token is as likely, [J].
        sums: `numbers` [S, K, n, COLUMNS]; `languages` [S, K, n, J]: probability by language;
            `latent` [S, K, n, P, 3]: of each pivot the chance that the words of the sentence's
            translation have more mass than another's, how much more, and of how many positions;
            `ranks` [S, K * n, positions]: rank of the true next token.
        notes: what to know of the texts.
    """

    KIND: ClassVar[str] = "lens"
    FILE: ClassVar[str] = "lens.safetensors"

    languages: tuple[str, ...]
    known: tuple[str, ...]
    uniform: Floats
    sums: Mapping[str, NDArray]
    notes: tuple[str, ...] = ()

    @property
    def states(self) -> int:
        """How many states there are."""
        return len(self.sums["numbers"])

    @property
    def divergence(self) -> Floats:
        """Divergence of each state from the final layer in nats, mean over languages, [S]."""
        return self._mean("divergence").mean(axis=1)

    @property
    def readable(self) -> NDArray[np.bool_]:
        """Which states can be read, [S]."""
        return self.divergence <= READABLE

    def share(self, lang: str, of: str, *, resamplings: int = _RESAMPLINGS) -> Floats:
        """Share of a language's tokens in the known mass that sentences of `lang` show, [R + 1, S];
        row 0 is what was observed.
        """
        k, j = self.languages.index(lang), self.known.index(of)
        part = self.sums["languages"][:, k, :, j]
        known = self.sums["numbers"][:, k, :, COLUMNS.index("known")]
        n = known.shape[1]
        weights = np.concatenate([np.ones((1, n)), block_draws(n, resamplings, 0)])
        whole = weights @ known.T
        unknown = np.full(whole.shape, np.nan)
        return np.divide(weights @ part.T, whole, out=unknown, where=whole > 0)

    def curves(self) -> dict[str, Estimate]:
        """Shares of the known mass at each state, [S], mean over the languages that are not
        English: of a sentence's own language, of English, and of whichever third is largest.
        """
        english = english_among(self.known)
        chosen = [code for code in self.languages if code != english]
        shares: dict[str, list[Floats]] = {}
        for lang in chosen:
            thirds = [code for code in self.known if code not in (lang, english)]
            shares.setdefault("own language", []).append(self.share(lang, lang))
            if english:
                shares.setdefault("English", []).append(self.share(lang, english))
            if thirds:
                largest = np.max([self.share(lang, code) for code in thirds], axis=0)
                shares.setdefault("largest other", []).append(largest)
        means = {name: np.mean(each, axis=0) for name, each in shares.items()}
        return {name: estimate(mean[0], mean[1:]) for name, mean in means.items()}

    def leads_from(self, lang: str, over: str) -> Estimate:
        """The state from which a language's own tokens outweigh another's for good; one past the
        last where they never do.
        """
        ahead = self.share(lang, lang) > self.share(lang, over)
        for_good = np.logical_and.accumulate(ahead[:, ::-1], axis=1)
        first = ahead.shape[1] - for_good.sum(axis=1)
        return estimate(first[0], first[1:])

    def table(self) -> Table:
        """A row for each state and language of the sentences."""
        english = english_among(self.known)
        readable, positions = self.readable, self._sum("positions")
        means = [self._mean(name) for name in COLUMNS[1:]]
        rows: list[tuple[Cell, ...]] = []
        for k, lang in enumerate(self.languages):
            own = _ends(self.share(lang, lang))
            of_english = _ends(self.share(lang, english)) if english else None
            others = {
                code: self.share(lang, code, resamplings=0)[0]
                for code in self.known
                if code not in (lang, english)
            }
            for state in range(self.states):
                largest = max(others, key=lambda code, s=state: others[code][s], default=None)
                rows.append(
                    (
                        lang,
                        state,
                        "yes" if readable[state] else "no",
                        *own[state],
                        *(of_english[state] if of_english and lang != english else (None,) * 3),
                        largest,
                        rounded(others[largest][state]) if largest else None,
                        *(rounded(mean[state, k]) for mean in means),
                        rounded(self._median_rank(state, k)),
                        int(positions[state, k]),
                    )
                )
        heads = (
            *("language", "state", "readable", "own", "own low", "own high"),
            *("English", "English low", "English high", "largest other", "its share"),
            *("known mass", "divergence", "echo", "as final", "median rank", "positions"),
        )
        caption = (
            "What a model would say at each state: shares of the known mass on tokens of the "
            "sentence's own language, of English and of the largest other; divergence of the final "
            "distribution in nats; how often the likeliest token is the one just read (echo), the "
            "final layer's; median rank of the true next token."
        )
        return Table("lens", caption, heads, tuple(rows))

    def lead_table(self) -> Table:
        """From which state each language's own tokens outweigh English's for good."""
        english = english_among(self.known)
        rows: list[tuple[Cell, ...]] = []
        for lang in self.languages:
            if english is None or lang == english:
                continue
            first = self.leads_from(lang, english)
            ends = (first.value, first.low, first.high)
            rows.append((lang, *(int(end) if end < self.states else None for end in ends)))
        caption = (
            "State from which a language's own tokens outweigh English's for good, with 95% "
            "interval over sentences; empty: never."
        )
        return Table("lens-lead", caption, ("language", "state", "low", "high"), tuple(rows))

    def latent_table(self) -> Table:
        """Does the mass lie on words of the sentence's translation, rather than of others'?"""
        latent = self.sums["latent"].sum(axis=2)
        rows: list[tuple[Cell, ...]] = []
        for k, lang in enumerate(self.languages):
            for p, pivot in enumerate(self.languages):
                for state in range(self.states):
                    above, more, positions = latent[state, k, p]
                    if pivot != lang and positions:
                        numbers = (above / positions, 1e4 * more / positions)
                        rows.append((lang, pivot, state, *map(rounded, numbers), int(positions)))
        caption = (
            "Latent translation: the chance that rare words of the sentence's translation have "
            "more mass than those of another sentence's (0.5 by chance), and how much more, per "
            "word, times 10,000. No word that the source has counts, and of other pivots none that "
            "an English sentence has."
        )
        heads = ("language", "pivot", "state", "above", "mass", "positions")
        return Table("lens-latent", caption, heads, tuple(rows))

    def _sum(self, name: str) -> Floats:
        """Sum over sentences, [S, K]."""
        return self.sums["numbers"][..., COLUMNS.index(name)].sum(axis=2)

    def _mean(self, name: str) -> Floats:
        """Mean over positions, [S, K]."""
        return self._sum(name) / self._sum("positions")

    def _median_rank(self, state: int, k: int) -> float:
        n = self.sums["numbers"].shape[2]
        return float(np.nanmedian(self.sums["ranks"][state, k * n : (k + 1) * n]))

    def write(self, draft: artifacts.Draft) -> None:
        """Add it to a folder that is being written: the sums, and each table as CSV."""
        meta = {"languages": self.languages, "known": self.known, "notes": self.notes}
        draft.tensors(self.FILE, {**self.sums, "uniform": self.uniform}, meta)
        for table in (self.table(), self.lead_table(), self.latent_table()):
            draft.bytes(f"{table.name}.csv", table.to_csv().encode())

    def save(self, folder: Path | str) -> None:
        """Write it into a folder of its own; see `artifacts.save`."""
        artifacts.save(self, folder)

    @classmethod
    def load(cls, source: Path | str | artifacts.Artifact) -> "Lens":
        """That in a finished folder.

        Raises:
            InputError: when there is none, or it holds something else.
            FormatError: when its file is damaged.
        """
        tensors, meta = artifacts.opened(source, cls.KIND).tensors(cls.FILE)
        if "numbers" not in tensors or "known" not in meta:
            raise FormatError(f"{source} holds no lens of this version; make it anew")
        return cls(
            languages=tuple(meta["languages"]),
            known=tuple(meta["known"]),
            uniform=tensors.pop("uniform"),
            sums=tensors,
            notes=tuple(meta["notes"]),
        )


def _ends(shares: Floats) -> list[tuple[Cell, Cell, Cell]]:
    """A share with the ends of its interval at each state."""
    told = estimate(shares[0], shares[1:])
    return [
        (rounded(value), rounded(low), rounded(high))
        for value, low, high in zip(told.value, told.low, told.high, strict=True)
    ]
