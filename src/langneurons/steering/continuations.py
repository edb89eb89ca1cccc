"""Continuations: what a steered model wrote, and how much of it is in the language wanted.

Every way of steering is tried at several strengths. The prompts are parted into two halves, every
other one; what is told of a half was steered as did best on the other half. Letters: n prompt, R
resampling.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from langneurons import artifacts
from langneurons.intervals import Estimate, Floats, block_draws, estimate, wilson
from langneurons.tables import Cell, Table

if TYPE_CHECKING:
    import pyarrow

FORMAT = 1
"""Version of the table and metadata that `Continuations.to_table` writes."""

NOTHING, STATE = "nothing", "state"
"""What is steered where nothing is, and where a residual state is."""


class Continuation(NamedTuple):
    """What was written to one prompt.

    Attributes:
        source: language of the prompt.
        target: language that was steered to; None where nothing was steered.
        what: what was steered: `nothing`, `state`, or kinds of the target's neurons joined by `+`.
        draw: 0 for the neurons themselves, from 1 on for random ones matched to them.
        variant: how, in words: `1.5`, a strength, or `state 5, 1.5`.
        prompt: number of the prompt among those of the source.
        text: what was written.
        language: the language it is in; None where that cannot be told.
        distinct: share of its pairs of neighbouring tokens that are different ones; NaN without.
        cost: what its tokens cost the model that is not steered, mean in nats; NaN without any.
        correct: whether it gives the right answer; None where that is not known.
    """

    source: str
    target: str | None
    what: str
    draw: int
    variant: str
    prompt: int
    text: str
    language: str | None
    distinct: float
    cost: float
    correct: bool | None


class Judged(NamedTuple):
    """How well one way of steering from a source to a target does, its strength chosen elsewhere.

    Attributes:
        source: language of the prompts.
        target: language wanted.
        what: see `Continuation`.
        draw: see `Continuation`.
        variants: how the first half was steered and how the second.
        share: share of the continuations in the target, with its Wilson interval.
        distinct: mean share of distinct pairs of tokens.
        cost: mean cost under the model that is not steered.
        right: share of right answers; None where none is known.
        score: harmonic mean of `share` and of `right` or, without, `distinct`.
    """

    source: str
    target: str
    what: str
    draw: int
    variants: tuple[str, ...]
    share: Estimate
    distinct: Estimate
    cost: Estimate
    right: Estimate | None
    score: Estimate


class Contrast(NamedTuple):
    """What neurons reach beyond something else, on the same prompts.

    Attributes:
        source: language of the prompts.
        target: language wanted.
        what: kinds of neurons.
        beyond: `random` (the mean of its draws) or `state`.
        share: difference of shares in the target.
        score: difference of scores.
    """

    source: str
    target: str
    what: str
    beyond: str
    share: Estimate
    score: Estimate


class _Kept(NamedTuple):
    """Of one way of steering, the continuation that is judged for each prompt, [n] each."""

    variants: tuple[str, ...]
    inside: Floats
    distinct: Floats
    cost: Floats
    right: Floats


@dataclass(frozen=True)
class Continuations:
    """What a steered model wrote.

    Attributes:
        rows: all of it.
        resamplings: of the prompts, behind intervals of means and differences.
        seed: of these.
        identified: share of the texts in each language that the identifier tells right, each
            without itself among what it learnt.
    """

    KIND: ClassVar[str] = "steering"
    FILE: ClassVar[str] = "steering.parquet"

    rows: tuple[Continuation, ...]
    resamplings: int = 200
    seed: int = 0
    identified: dict[str, float] | None = None

    def judged(self) -> list[Judged]:
        """Every way of steering from each source to each target; nothing steered comes first."""
        told = []
        for source, target in self._pairs():
            for (what, draw), rows in self._ways(source, target).items():
                kept = _kept(rows, target)
                told.append(self._judged(kept, source, target, what, draw))
        return told

    def contrasts(self) -> list[Contrast]:
        """Each kind of neurons against its random ones and against the state."""
        told = []
        for source, target in self._pairs():
            ways = {way: _kept(rows, target) for way, rows in self._ways(source, target).items()}
            for what in dict.fromkeys(what for what, _ in ways if what not in (NOTHING, STATE)):
                own = ways[what, 0]
                random = [kept for (name, draw), kept in ways.items() if name == what and draw]
                state = [kept for (name, _), kept in ways.items() if name == STATE]
                for beyond, others in (("random", random), ("state", state)):
                    if others:
                        differences = self._beyond(own, others)
                        told.append(Contrast(source, target, what, beyond, *differences))
        return told

    def doses(self) -> Table:
        """Every variant on all prompts, nothing chosen: a row each."""
        heads = ("source", "target", "what", "draw", "variant", "prompts", "share", "distinct")
        rows: list[tuple[Cell, ...]] = []
        for source, target in self._pairs():
            for (what, draw), own in self._ways(source, target).items():
                for variant, given in _by_variant(own).items():
                    inside = float(np.mean([row.language == target for row in given]))
                    means = (
                        _mean([row.distinct for row in given]),
                        _mean([row.cost for row in given]),
                    )
                    rows.append((source, target, what, draw, variant, len(given), inside, *means))
        caption = "Share of continuations in the target at every strength, on all prompts."
        return Table("steering-doses", caption, (*heads, "cost"), tuple(rows))

    def table(self) -> Table:
        """What `judged` gives, a row each."""
        rows = []
        for row in self.judged():
            cells: list[Cell] = [row.source, row.target, row.what, row.draw]
            cells.append(" / ".join(dict.fromkeys(row.variants)))
            for number in (row.share, row.distinct, row.cost, row.right, row.score):
                cells += _ends(number)
            rows.append(tuple(cells))
        heads = ["source", "target", "what", "draw", "variant"]
        for name in ("share", "distinct", "cost", "right", "score"):
            heads += [name, f"{name} low", f"{name} high"]
        caption = (
            "Continuations in the target, each half of the prompts steered as did best on the "
            "other half; 95% intervals over prompts."
        )
        return Table("steering", caption, tuple(heads), tuple(rows))

    def contrast_table(self) -> Table:
        """What `contrasts` gives, a row each."""
        heads = ["source", "target", "what", "beyond"]
        for name in ("share", "score"):
            heads += [name, f"{name} low", f"{name} high"]
        rows = [
            (*contrast[:4], *_ends(contrast.share), *_ends(contrast.score))
            for contrast in self.contrasts()
        ]
        caption = "What neurons reach beyond random ones and beyond a state, on the same prompts."
        return Table("steering-contrasts", caption, tuple(heads), tuple(rows))

    def _pairs(self) -> list[tuple[str, str]]:
        """Every source with every target, in order."""
        pairs = ((row.source, row.target) for row in self.rows if row.target)
        return list(dict.fromkeys(pairs))

    def _ways(self, source: str, target: str) -> dict[tuple[str, int], list[Continuation]]:
        """What was written from a source to a target, by what was steered and which draw."""
        ways: dict[tuple[str, int], list[Continuation]] = {}
        for row in self.rows:
            if row.source == source and row.target in (None, target):
                ways.setdefault((row.what, row.draw), []).append(row)
        return ways

    def _judged(self, kept: _Kept, source: str, target: str, what: str, draw: int) -> Judged:
        weights = self._weights(len(kept.inside))
        share = float(kept.inside.mean())
        low, high = wilson(int(kept.inside.sum()), len(kept.inside))
        known = not np.isnan(kept.right).all()
        return Judged(
            source=source,
            target=target,
            what=what,
            draw=draw,
            variants=kept.variants,
            share=Estimate(np.array(share), np.array(low), np.array(high), np.zeros(0)),
            distinct=_estimate(kept.distinct, weights),
            cost=_estimate(kept.cost, weights),
            right=_estimate(kept.right, weights) if known else None,
            score=estimate(_score(kept), _scores(kept, weights)),
        )

    def _beyond(self, own: _Kept, others: Sequence[_Kept]) -> tuple[Estimate, Estimate]:
        """Differences of share and score, one and the mean of others."""
        weights = self._weights(len(own.inside))
        inside = own.inside - np.mean([other.inside for other in others], axis=0)
        score = _score(own) - float(np.mean([_score(other) for other in others]))
        drawn = _scores(own, weights) - np.mean(
            [_scores(other, weights) for other in others], axis=0
        )
        return _estimate(inside, weights), estimate(score, drawn)

    def _weights(self, prompts: int) -> Floats:
        """How often each prompt is taken in each resampling, [R, n]."""
        return block_draws(prompts, self.resamplings, self.seed).astype(np.float64)

    def to_table(self) -> "pyarrow.Table":
        """The table of `steering.parquet`, a row for each continuation."""
        import pyarrow as pa

        columns = {
            name: pa.array([getattr(row, name) for row in self.rows])
            for name in Continuation._fields
        }
        meta = {"format": FORMAT, "resamplings": self.resamplings, "seed": self.seed}
        return artifacts.with_meta(pa.table(columns), {**meta, "identified": self.identified})

    def write(self, draft: artifacts.Draft) -> None:
        """Add it to a folder that is being written; beside it what follows, as CSV."""
        draft.table(self.FILE, self.to_table())
        for table in (self.table(), self.contrast_table(), self.doses()):
            draft.bytes(f"{table.name}.csv", table.to_csv().encode())

    @classmethod
    def load(cls, source: Path | str | artifacts.Artifact) -> "Continuations":
        """Those in a finished folder.

        Raises:
            InputError: when there is none, or it holds something else.
            FormatError: when its file is damaged.
        """
        table = artifacts.opened(source, cls.KIND).table(cls.FILE)
        meta = artifacts.meta_of(
            table, version=FORMAT, what="a table of continuations", column="variant"
        )
        rows = [Continuation(*row.values()) for row in table.to_pylist()]
        return cls(tuple(rows), meta["resamplings"], meta["seed"], meta["identified"])


def to_bytes(rows: Sequence[Continuation]) -> bytes:
    """Continuations as unfinished work keeps them."""
    return json.dumps(rows).encode()


def from_bytes(content: bytes) -> list[Continuation]:
    """What `to_bytes` was given."""
    return [Continuation(*row) for row in json.loads(content)]


def score_of(inside: float, quality: float) -> float:
    """Harmonic mean of two shares; 0 where either is, or is not known."""
    below = inside + quality
    return 2 * inside * quality / below if below > 0 else 0.0


def _by_variant(rows: Sequence[Continuation]) -> dict[str, list[Continuation]]:
    """Continuations by variant, each in the order of prompts."""
    return {
        name: sorted(own, key=lambda row: row.prompt)
        for name, own in groupby(rows, key=lambda row: row.variant)
    }


def _kept(rows: Sequence[Continuation], target: str) -> _Kept:
    """Of each half of the prompts what was written under the variant best on the other half.

    Of variants that do as well the first, of the least strength, is taken.
    """
    by_variant = {name: _values(own, target) for name, own in _by_variant(rows).items()}
    first = next(iter(by_variant.values()))
    n = len(first.inside)
    kept = [np.full(n, np.nan) for _ in range(4)]
    chosen = []
    for half in (0, 1):
        mine, others = np.arange(n) % 2 == half, np.arange(n) % 2 != half
        scores = {name: _score(values, others) for name, values in by_variant.items()}
        best = max(scores, key=lambda name: scores[name])  # the first of equals
        chosen.append(best)
        for array, values in zip(kept, by_variant[best][1:], strict=True):
            array[mine] = values[mine]
    return _Kept(tuple(chosen), *kept)


def _values(rows: Sequence[Continuation], target: str) -> _Kept:
    """What is judged of the continuations of one variant."""
    right = [math.nan if row.correct is None else float(row.correct) for row in rows]
    return _Kept(
        variants=(rows[0].variant,),
        inside=np.array([float(row.language == target) for row in rows]),
        distinct=np.array([row.distinct for row in rows]),
        cost=np.array([row.cost for row in rows]),
        right=np.array(right),
    )


def _score(kept: _Kept, of: Any = slice(None)) -> float:
    """Score on some prompts."""
    quality = kept.distinct if np.isnan(kept.right).all() else kept.right
    return score_of(float(kept.inside[of].mean()), _mean(quality[of]))


def _scores(kept: _Kept, weights: Floats) -> Floats:
    """Score in each resampling, [R]."""
    quality = kept.distinct if np.isnan(kept.right).all() else kept.right
    shares = _weighted(kept.inside, weights)
    pairs = zip(shares, _weighted(quality, weights), strict=True)
    return np.array([score_of(share, value) for share, value in pairs])


def _estimate(values: Floats, weights: Floats) -> Estimate:
    """Mean of what is known, with its interval over prompts."""
    return estimate(_mean(values), _weighted(values, weights))


def _mean(values: Sequence[float] | Floats) -> float:
    """Mean of what is known; NaN without any."""
    known = np.array([value for value in values if not math.isnan(value)])
    return float(known.mean()) if len(known) else math.nan


def _weighted(values: Floats, weights: Floats) -> Floats:
    """The same in each resampling, [R]."""
    known = ~np.isnan(values)
    below = weights @ known
    above = weights @ np.nan_to_num(values)
    return np.divide(above, below, out=np.full(len(weights), np.nan), where=below > 0)


def _ends(number: Estimate | None) -> list[Cell]:
    """A number and the ends of its interval, as cells."""
    if number is None or math.isnan(float(number.value)):
        return [None] * 3
    ends = [float(number.value), float(number.low), float(number.high)]
    return [None if math.isnan(end) else end for end in ends]
