"""Mediation: how much of what an alignment did goes through which neurons, and its file.

Letters: S set, Q question in one language, R resampling.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons import artifacts
from langneurons.errors import InputError
from langneurons.intervals import Estimate, Floats, Verdict, block_draws, both, estimate, rises

if TYPE_CHECKING:
    import pyarrow

FORMAT = 2
"""Version of the table that `Mediation.to_table` writes."""

RESAMPLINGS = 1000

FAIR = "change"
"""How random sets are matched that verdicts are against: what moves most carries most."""

Way = Literal["into base", "out of aligned"]
WAYS: tuple[Way, Way] = ("into base", "out of aligned")
"""The aligned model's values put into the base (is it enough?), and the other way round (is it
needed?)."""


class Moved(NamedTuple):
    """A set of neurons whose values are taken over from the other model.

    Attributes:
        name: which neurons: kinds joined by `+`, of the text's own language or of any; or what
            attention gives.
        matched: what a random set has in common with it: `layer`, `rate` or `change`; None for the
            neurons themselves.
        draw: 0 for the neurons themselves, 1 and up for random sets.
    """

    name: str
    matched: str | None
    draw: int


@dataclass(frozen=True)
class Mediation:
    """Outcomes of every question with nothing, everything and each set taken over.

    Attributes:
        questions: (language, id) of each, [Q].
        trained: languages that were trained; empty where that is not known.
        sets: the S sets.
        neurons: how many neurons each has in the language of each question, [S, Q].
        sizes: the size of what alignment did to the values of these neurons in that language, [S,
            Q]: the root of the sum of each neuron's mean square of its change.
        base: outcome of the base, [Q]: log P(chosen) - log P(rejected) summed over the pairs of the
            question, or log P of its responses; in nats.
        aligned: that of the aligned model, [Q].
        moved: that of either model with the other's values in a set, [S, 2, Q], in the order of
            `WAYS`.
        units: what an outcome is counted in, [Q]: pairs, or scored tokens.
        unit: their name.
    """

    KIND: ClassVar[str] = "mediation"
    FILE: ClassVar[str] = "mediation.parquet"

    questions: tuple[tuple[str, str], ...]
    trained: tuple[str, ...]
    sets: tuple[Moved, ...]
    neurons: NDArray[np.int64]
    sizes: Floats
    base: Floats
    aligned: Floats
    moved: Floats
    units: NDArray[np.int64]
    unit: str

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages, in order of first sight."""
        return tuple(dict.fromkeys(code for code, _ in self.questions))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sets."""
        return tuple(dict.fromkeys(one.name for one in self.sets))

    def change(self, languages: Sequence[str]) -> Estimate:
        """What alignment changed, in nats a pair or token, with its interval over questions."""
        weights = self._draws(languages)
        sums = weights @ np.stack([self.aligned - self.base, self.units], axis=1)
        means = _ratio(sums[:, 0], sums[:, 1])
        return estimate(means[0], means[1:])

    def share(
        self, name: str, way: Way, languages: Sequence[str], matched: str | None = None
    ) -> Estimate:
        """What share of the change goes with a set, or with the mean of its random sets.

        With an interval over questions, the same draw for all that is compared.

        Args:
            name: of the set.
            way: which model's values go into which.
            languages: whose questions.
            matched: of random sets, how they are matched.
        """
        whole = self._draws(languages) @ (self.aligned - self.base)
        shares = _ratio(self._sums(name, way, languages, matched), whole)
        return estimate(shares[0], shares[1:])

    def beyond(self, name: str, way: Way, languages: Sequence[str], matched: str) -> Estimate:
        """By how much a set's share exceeds the mean of its random sets', with an interval.

        Random sets are resampled like questions: which were drawn is chance as well.
        """
        whole = self._draws(languages) @ (self.aligned - self.base)
        own, others = (self._sums(name, way, languages, one) for one in (None, matched))
        apart = _ratio(own - others, whole)
        return estimate(apart[0], apart[1:])

    def matched_size(self, name: str, languages: Sequence[str], matched: str) -> float:
        """How large alignment's change is in a set's random sets, as a share of that in the set."""
        inside = np.array([code in languages for code, _ in self.questions])
        own, others = (
            self.sizes[self._rows(name, one)][:, inside].mean() for one in (None, matched)
        )
        return float(others / own) if own else float("nan")

    def matchings(self, name: str) -> tuple[str, ...]:
        """How the random sets of a set are matched."""
        of_set = (one.matched for one in self.sets if one.name == name)
        return tuple(dict.fromkeys(matched for matched in of_set if matched))

    def _rows(self, name: str, matched: str | None) -> list[int]:
        """Places of a set, or of its random sets.

        Raises:
            InputError: when there is no such set.
        """
        rows = [i for i, one in enumerate(self.sets) if (one.name, one.matched) == (name, matched)]
        if not rows:
            raise InputError(f"there is no set {name} here; there are {', '.join(self.names)}")
        return rows

    def _sums(self, name: str, way: Way, languages: Sequence[str], matched: str | None) -> Floats:
        """What of the change follows with a set or the mean of its random sets, [1 + R].

        Over the questions of these languages: all of them, then in each resampling.
        """
        rows = self._rows(name, matched)
        moved = self.moved[rows, WAYS.index(way)]
        followed = moved - self.base if way == "into base" else self.aligned - moved
        each = self._draws(languages) @ followed.T  # [1 + R, draws]
        return np.einsum("rd,rd->r", each, _resampled(len(rows)))

    @cached_property
    def _taken(self) -> Floats:
        """How often each question is taken: once, then in each resampling, [1 + R, Q].

        The draw is of ids, the same in every language.
        """
        names, place = np.unique([question for _, question in self.questions], return_inverse=True)
        once = np.ones((1, len(names)))
        return np.concatenate([once, block_draws(len(names), RESAMPLINGS, 0)])[:, place]

    def _draws(self, languages: Sequence[str]) -> Floats:
        """The same of questions in these languages alone; others are never taken."""
        return self._taken * np.array([code in languages for code, _ in self.questions])

    def to_table(self) -> "pyarrow.Table":
        """The table of `mediation.parquet`: a row for each set, way and question."""
        import pyarrow as pa

        sets, ways, questions = self.moved.shape
        each = ways * questions

        def repeated(values: Sequence[object]) -> list[object]:
            return [value for value in values for _ in range(each)]

        columns = {
            "set": pa.array(repeated([one.name for one in self.sets]), pa.string()),
            "matched": pa.array(repeated([one.matched for one in self.sets]), pa.string()),
            "draw": pa.array(repeated([one.draw for one in self.sets]), pa.int32()),
            "way": pa.array([way for way in WAYS for _ in range(questions)] * sets, pa.string()),
            "language": pa.array([code for code, _ in self.questions] * (sets * ways), pa.string()),
            "question_id": pa.array([q for _, q in self.questions] * (sets * ways), pa.string()),
            "neurons": pa.array(np.repeat(self.neurons[:, None], ways, axis=1).reshape(-1)),
            "size": pa.array(np.repeat(self.sizes[:, None], ways, axis=1).reshape(-1)),
            "outcome": pa.array(self.moved.reshape(-1)),
            "base": pa.array(np.tile(self.base, sets * ways)),
            "aligned": pa.array(np.tile(self.aligned, sets * ways)),
            "units": pa.array(np.tile(self.units, sets * ways)),
        }
        meta = {"format": FORMAT, "trained": self.trained, "unit": self.unit}
        meta["questions"] = questions
        return artifacts.with_meta(pa.table(columns), meta)

    @classmethod
    def from_table(cls, table: "pyarrow.Table") -> "Mediation":
        """What `to_table` gave.

        Raises:
            FormatError: when the table is not of this format.
        """
        meta = artifacts.meta_of(table, version=FORMAT, what="a table of mediation")
        questions = meta["questions"]

        def column(name: str) -> NDArray:
            return table[name].to_numpy()

        def firsts(name: str, step: int, stop: int | None = None) -> list:
            return table[name].to_pylist()[:stop:step]

        each = 2 * questions
        heads = (firsts(name, each) for name in ("set", "matched", "draw"))
        ids = zip(
            firsts("language", 1, questions), firsts("question_id", 1, questions), strict=True
        )
        return cls(
            questions=tuple(ids),
            trained=tuple(meta["trained"]),
            sets=tuple(Moved(*cells) for cells in zip(*heads, strict=True)),
            neurons=column("neurons").reshape(-1, 2, questions)[:, 0],
            sizes=column("size").reshape(-1, 2, questions)[:, 0],
            base=column("base")[:questions],
            aligned=column("aligned")[:questions],
            moved=column("outcome").reshape(-1, 2, questions),
            units=column("units")[:questions],
            unit=meta["unit"],
        )

    def write(self, draft: artifacts.Draft) -> None:
        """Add it to a folder that is being written."""
        draft.table(self.FILE, self.to_table())

    def save(self, folder: Path | str) -> None:
        """Write it into a folder of its own; see `artifacts.save`."""
        artifacts.save(self, folder)

    @classmethod
    def load(cls, source: Path | str | artifacts.Artifact) -> "Mediation":
        """The one in a finished folder.

        Raises:
            InputError: when there is none, or it holds something else.
            FormatError: when its file is damaged.
        """
        return cls.from_table(artifacts.opened(source, cls.KIND).table(cls.FILE))


def _ratio(sums: Floats, whole: Floats) -> Floats:
    """Ratios; NaN where there is nothing to be a part of, as when no question was drawn."""
    return np.divide(sums, whole, out=np.full(len(whole), np.nan), where=whole != 0)


def _resampled(draws: int) -> Floats:
    """What each of so many random sets weighs in their mean: the same, then as resampled."""
    if draws == 1:
        return np.ones((1 + RESAMPLINGS, 1))
    return np.concatenate([np.ones((1, draws)), block_draws(draws, RESAMPLINGS, 1)]) / draws


class Share(NamedTuple):
    """How a set stands against its random sets, in one group of languages and one way.

    Attributes:
        group: `trained languages`, `other languages` or `all languages`.
        name: of the set.
        neurons: how many it has, on average over questions.
        way: which model's values go into which.
        share: of the change that goes with it.
        random: the mean of its random sets, by how they are matched.
        matched_size: how large the change is in those matched by its size, as a share of that in
            the set; None without.
        beyond: by how much it exceeds those matched by the size of the change; None without.
        verdict: whether it does: `holds`, `does not hold`, `cannot tell`; None without random sets.
            Where it is not sure that alignment changed anything, one cannot tell.
    """

    group: str
    name: str
    neurons: int
    way: Way
    share: Estimate
    random: dict[str, Estimate]
    matched_size: float | None
    beyond: Estimate | None
    verdict: Verdict | None


def groups(mediation: Mediation) -> dict[str, tuple[str, ...]]:
    """Languages that are told of together: trained ones and the others, where that is known."""
    trained = tuple(code for code in mediation.languages if code in mediation.trained)
    others = tuple(code for code in mediation.languages if code not in mediation.trained)
    if not trained:
        return {"all languages": others}
    named = {"trained languages": trained, "other languages": others}
    return {name: codes for name, codes in named.items() if codes}


def is_sure(change: Estimate) -> bool:
    """Whether there is a change at all, of which there may be shares: 0 is not in its interval."""
    return bool(change.low > 0 or change.high < 0)


def _verdict(beyond: Estimate | None, *, sure: bool) -> Verdict | None:
    """Whether a set carries more than its random sets; see `Share.verdict`."""
    if beyond is None:
        return None
    return rises(beyond) if sure else "cannot tell"


def shares(mediation: Mediation) -> list[Share]:
    """Every set in every group of languages, both ways."""
    rows = []
    for group, codes in groups(mediation).items():
        inside = np.array([code in codes for code, _ in mediation.questions])
        sure = is_sure(mediation.change(codes))
        for name in mediation.names:
            place = mediation.sets.index(Moved(name, None, 0))
            matchings = mediation.matchings(name)
            for way in WAYS:
                beyond = size = None
                if FAIR in matchings:
                    beyond = mediation.beyond(name, way, codes, FAIR)
                    size = mediation.matched_size(name, codes, FAIR)
                rows.append(
                    Share(
                        group=group,
                        name=name,
                        neurons=round(float(mediation.neurons[place, inside].mean())),
                        way=way,
                        share=mediation.share(name, way, codes),
                        random={
                            matched: mediation.share(name, way, codes, matched)
                            for matched in matchings
                        },
                        matched_size=size,
                        beyond=beyond,
                        verdict=_verdict(beyond, sure=sure),
                    )
                )
    return rows


class Carried(NamedTuple):
    """Whether the neurons of one kind carry more of an alignment than random sets do.

    Attributes:
        kind: of the neurons, each text's own language's.
        group: of languages; see `Share.group`.
        beyond: by how much they carry more than random sets of the same change, each way.
        verdict: whether they do, both ways.
    """

    kind: str
    group: str
    beyond: dict[Way, Estimate]
    verdict: Verdict


def carried(rows: Sequence[Share]) -> list[Carried]:
    """Specific and related neurons, in every group of languages where they were followed."""
    found = []
    for kind in ("specific", "related"):
        mine = [row for row in rows if row.name == kind and row.beyond is not None]
        for group in dict.fromkeys(row.group for row in mine):
            of_group = [row for row in mine if row.group == group]
            beyond = {row.way: row.beyond for row in of_group if row.beyond}
            verdict = both([row.verdict for row in of_group if row.verdict])
            found.append(Carried(kind, group, beyond, verdict))
    return found
