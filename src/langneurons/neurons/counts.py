"""Counts: how often each neuron was active on response tokens, per language and block.

Sums only; a probability is divided out once, at the end. So counts of two shards, two sessions or
two machines add up exactly, and any resampling of blocks is a weighted sum.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from langneurons import artifacts, layout
from langneurons.errors import FormatError, InputError, MismatchError
from langneurons.layout import Widths
from langneurons.neurons.means import Means
from langneurons.tables import Table

FORMAT = 1
"""Version of the tensors and metadata that `Counts.to_tensors` writes."""


@dataclass(frozen=True)
class Counts:
    """Active tokens per language, block and neuron, and tokens per language and block.

    Letters: K language, G block, L layer, D neuron of a dense layer, E expert, I neuron of an
    expert.

    Attributes:
        languages: the K codes, in the order of the first axis.
        active: one integer array per layer, [K, G, D], or [K, G, E, I] for a mixture of experts.
            Widths may differ.
        tokens: response tokens, [K, G].
        routed: one entry per layer: tokens that reached each expert, [K, G, E], or None for a dense
            layer.
        block_rule: how questions were assigned to blocks, in words; counts of different rules never
            add.
        questions: of each language, the questions that have a counted token: `question_key` of
            their ids, ascending, [K] arrays; empty where it is not known.
        means: of neuron values and states at the same tokens; None where they were not recorded.

    Raises:
        InputError: when shapes disagree, a number is negative, or the same language stands twice.
    """

    KIND: ClassVar[str] = "counts"
    FILE: ClassVar[str] = "counts.safetensors"

    languages: tuple[str, ...]
    active: tuple[NDArray[np.integer], ...]
    tokens: NDArray[np.integer]
    routed: tuple[NDArray[np.integer] | None, ...] = ()
    block_rule: str = "one block"
    questions: tuple[NDArray[np.int64], ...] = ()
    means: Means | None = None

    def __post_init__(self) -> None:
        if not self.routed:
            object.__setattr__(self, "routed", (None,) * len(self.active))
        if not self.languages or not self.active:
            raise InputError("counts need at least one language and one layer")
        twice = {code for code in self.languages if self.languages.count(code) > 1}
        if twice:
            raise InputError(
                f"counts name {', '.join(sorted(twice))} more than once; "
                "each language may stand once"
            )
        self._check_shapes()
        self._check_numbers()

    def __repr__(self) -> str:
        return (
            f"Counts({', '.join(self.languages)}; {self.tokens.sum():,} tokens, "
            f"{layout.describe(self.widths)} neurons, {self.block_rule})"
        )

    def _repr_html_(self) -> str:
        """How a notebook shows them."""
        tokens = self.tokens.sum(axis=1).tolist()
        caption = (
            f"Counts of {layout.describe(self.widths)} neurons, in {self.blocks} block"
            f"{'' if self.blocks == 1 else 's'} of questions."
        )
        rows = tuple((code, f"{n:,}") for code, n in zip(self.languages, tokens, strict=True))
        return Table("counts", caption, ("language", "tokens"), rows).to_html()

    def _check_shapes(self) -> None:
        if self.tokens.ndim != 2 or self.tokens.shape[0] != len(self.languages):
            raise InputError(
                f"tokens have shape {list(self.tokens.shape)}; "
                f"[{len(self.languages)} languages, blocks] is needed"
            )
        for layer, (active, routed) in enumerate(zip(self.active, self.routed, strict=True)):
            dims = 3 if routed is None else 4
            if active.ndim != dims or active.shape[:2] != self.tokens.shape:
                raise InputError(
                    f"layer {layer} has counts of shape {list(active.shape)}; "
                    f"{list(self.tokens.shape)} and {dims - 2} more are needed"
                )
            if routed is not None and routed.shape != active.shape[:3]:
                raise InputError(
                    f"layer {layer}: routed has shape {list(routed.shape)}, "
                    f"not {list(active.shape[:3])}"
                )

    def _check_numbers(self) -> None:
        arrays = {"tokens": self.tokens}
        arrays |= {f"layer {layer}": active for layer, active in enumerate(self.active)}
        for name, array in arrays.items():
            if not np.issubdtype(array.dtype, np.integer):
                raise InputError(f"counts of {name} are {array.dtype}; counts are integers")
            if array.size and array.min() < 0:
                raise InputError(
                    f"counts of {name} are negative ({array.min()}); a count starts at 0"
                )

    @property
    def blocks(self) -> int:
        """Number of blocks, G."""
        return self.tokens.shape[1]

    @property
    def widths(self) -> Widths:
        """Shape of each layer: (D,) when dense, (E, I) in a mixture of experts."""
        return tuple(active.shape[2:] for active in self.active)

    @property
    def parallel(self) -> bool:
        """Whether every language is known to have the same questions, so that a block holds the
        same ones in all of them.
        """
        first, *others = self.questions or (None,)
        return first is not None and all(np.array_equal(first, other) for other in others)

    def __add__(self, other: "Counts") -> "Counts":
        """Counts of both recordings together, to the integer.

        Raises:
            MismatchError: when languages, widths, blocks or the block rule differ.
        """
        for what, ours, theirs in (
            ("languages", ",".join(self.languages), ",".join(other.languages)),
            ("layer widths", layout.describe(self.widths), layout.describe(other.widths)),
            ("blocks", self.blocks, other.blocks),
            ("block rule", self.block_rule, other.block_rule),
        ):
            if ours != theirs:
                raise MismatchError(
                    f"these counts do not add up: {what} {ours} in one, {theirs} in the other"
                )

        def summed(ours: NDArray[np.integer], theirs: NDArray[np.integer]) -> NDArray[np.int64]:
            return np.add(ours, theirs, dtype=np.int64)

        routed = zip(self.routed, other.routed, strict=True)
        return Counts(
            languages=self.languages,
            active=tuple(map(summed, self.active, other.active)),
            tokens=summed(self.tokens, other.tokens),
            routed=tuple(None if a is None or b is None else summed(a, b) for a, b in routed),
            block_rule=self.block_rule,
            questions=tuple(map(np.union1d, self.questions, other.questions)),
            means=self.means + other.means if self.means and other.means else None,
        )

    def spread(self, languages: tuple[str, ...]) -> "Counts":
        """The same counts with their languages in this order; a new language gets zeros."""
        places = {code: i for i, code in enumerate(self.languages)}
        sources = [places.get(code, -1) for code in languages]
        new = [i for i, source in enumerate(sources) if source < 0]

        def take(array: NDArray[np.integer]) -> NDArray[np.integer]:
            rows = array[sources]
            rows[new] = 0
            return rows

        return Counts(
            languages=languages,
            active=tuple(take(active) for active in self.active),
            tokens=take(self.tokens),
            routed=tuple(None if routed is None else take(routed) for routed in self.routed),
            block_rule=self.block_rule,
            questions=tuple(
                self.questions[source] if source >= 0 else np.zeros(0, np.int64)
                for source in sources
            )
            if self.questions
            else (),
            means=self.means and self.means.spread(languages),
        )

    def pooled(
        self, weights: NDArray[np.number] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sums over blocks: active [K, M] and tokens [K].

        Each block is taken `weights` [G] times, once by default. M runs over all neurons of the
        model, layer by layer, experts in order. Sums below 2**53 are exact.
        """
        times = self._times(weights)
        starts = layout.starts(self.widths)
        sums = np.empty((len(self.languages), starts[-1]))
        for active, (start, end) in zip(self.active, pairwise(starts), strict=True):
            np.matmul(times, active.reshape(*self.tokens.shape, -1), out=sums[:, start:end])
        return sums, self.tokens @ times

    def rates(self) -> dict[str, NDArray[np.float64]]:
        """Activation probability of every neuron, [M], by language."""
        return dict(zip(self.languages, self.probability(), strict=True))

    def probability(
        self,
        weights: NDArray[np.number] | None = None,
        *,
        per: Literal["tokens", "routed"] = "tokens",
    ) -> NDArray[np.float64]:
        """Activation probability of each neuron in each language, [K, M] (Eq. 4): active / tokens.

        Args:
            weights: how often each block is taken, [G]; once by default.
            per: for experts, `tokens`: of all tokens, so that an expert that was not chosen does
                not fire; `routed`: of the tokens that reached the expert (0 where none did).

        Raises:
            InputError: when a language has no token.
        """
        probability, tokens = self.pooled(weights)
        self.require_tokens(tokens)
        probability /= tokens[:, None]
        if per == "routed":
            times = self._times(weights)
            spans = pairwise(layout.starts(self.widths))
            for width, routed, (start, end) in zip(self.widths, self.routed, spans, strict=True):
                if routed is None:
                    continue
                reached = np.repeat(np.matmul(times, routed), width[-1], axis=1)
                part = probability[:, start:end]
                np.multiply(part, tokens[:, None], out=part)
                np.divide(part, reached, out=part, where=reached > 0)
        return probability

    def _times(self, weights: NDArray[np.number] | None) -> NDArray[np.float64]:
        """How often each block is taken, [G]."""
        return np.ones(self.blocks) if weights is None else np.asarray(weights, dtype=np.float64)

    def require_tokens(self, tokens: NDArray[np.number]) -> None:
        """Stop, naming them, when languages have no token among `tokens` [K]."""
        empty = [code for code, n in zip(self.languages, tokens, strict=True) if n <= 0]
        if empty:
            raise InputError(
                f"no response token was counted for {', '.join(empty)}: a probability needs "
                "tokens; leave the language out or record responses in it"
            )

    def to_tensors(self) -> tuple[dict[str, NDArray], dict[str, object]]:
        """Named tensors and metadata, as they stand in `counts.safetensors`.

        Numbers are int32 wherever every number of a tensor fits.
        """
        tensors: dict[str, NDArray] = {"tokens": self.tokens.astype(np.int64)}
        for layer, (active, routed) in enumerate(zip(self.active, self.routed, strict=True)):
            tensors[f"active.{layer:03d}"] = _narrow(active)
            if routed is not None:
                tensors[f"routed.{layer:03d}"] = _narrow(routed)
        for place, questions in enumerate(self.questions):
            tensors[f"questions.{place:03d}"] = questions
        meta = {"format": FORMAT, "languages": list(self.languages), "block_rule": self.block_rule}
        return tensors, meta

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray], meta: Mapping[str, Any]) -> "Counts":
        """Counts from what `to_tensors` gave; FormatError when that is not what it is."""
        if meta.get("format") != FORMAT or "tokens" not in tensors:
            raise FormatError(
                f"not counts of format {FORMAT}: metadata {json.dumps(dict(meta))[:80]}"
            )
        layers = sorted((name[7:] for name in tensors if name.startswith("active.")), key=int)
        return cls(
            languages=tuple(meta["languages"]),
            active=tuple(tensors[f"active.{layer}"] for layer in layers),
            tokens=tensors["tokens"],
            routed=tuple(tensors.get(f"routed.{layer}") for layer in layers),
            block_rule=str(meta["block_rule"]),
            questions=tuple(
                tensors[name] for name in sorted(tensors) if name.startswith("questions.")
            ),
        )

    def write(self, draft: artifacts.Draft) -> None:
        """Add them to a folder that is being written, means in a file of their own."""
        draft.tensors(self.FILE, *self.to_tensors())
        if self.means:
            draft.tensors(Means.FILE, *self.means.to_tensors())

    def save(self, folder: Path | str) -> None:
        """Write them into a folder of their own; see `artifacts.save`."""
        artifacts.save(self, folder)

    @classmethod
    def load(cls, source: Path | str | artifacts.Artifact) -> "Counts":
        """Those in a finished folder.

        Raises:
            InputError: when there is none, or it holds something else.
            FormatError: when its file is damaged.
        """
        folder = artifacts.opened(source, cls.KIND)
        counts = cls.from_tensors(*folder.tensors(cls.FILE))
        if Means.FILE not in folder.manifest["files"]:
            return counts
        return replace(counts, means=Means.of_counts(folder))


def question_key(question_id: str) -> int:
    """The number by which counts remember a question: the first 8 bytes of its id's SHA-256."""
    return int.from_bytes(hashlib.sha256(question_id.encode()).digest()[:8], signed=True)


def merge(parts: Iterable[Counts]) -> Counts:
    """All parts together.

    A part may lack languages (one shard per language, say); their order is that of first sight.

    Raises:
        InputError: when there is no part.
        MismatchError: when widths, blocks or block rules differ.
    """
    given = list(parts)
    if not given:
        raise InputError("nothing to merge: no counts were given")
    languages = tuple(dict.fromkeys(code for part in given for code in part.languages))
    total = given[0].spread(languages)
    for part in given[1:]:
        total += part.spread(languages)
    return total


def _narrow(array: NDArray[np.integer]) -> NDArray[np.integer]:
    fits = not array.size or array.max() <= np.iinfo(np.int32).max
    return np.ascontiguousarray(array, dtype=np.int32 if fits else np.int64)
