"""Counts: how often each neuron was active on response tokens, per language and block.

Sums only; a probability is divided out once, at the end. So counts of two shards, two sessions or
two machines add up exactly, and any resampling of blocks is a weighted sum.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from langneurons import artifacts, layout
from langneurons.errors import FormatError, InputError, MismatchError

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

    def __post_init__(self) -> None:
        if not self.routed:
            object.__setattr__(self, "routed", (None,) * len(self.active))
        if not self.languages or not self.active:
            raise InputError("counts need at least one language and one layer")
        twice = {code for code in self.languages if self.languages.count(code) > 1}
        if twice:
            raise InputError(
                f"counts name {', '.join(sorted(twice))} more than once; each language may stand once"
            )
        if self.tokens.ndim != 2 or self.tokens.shape[0] != len(self.languages):
            raise InputError(
                f"tokens have shape {list(self.tokens.shape)}; [{len(self.languages)} languages, blocks] is needed"
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
                    f"layer {layer}: routed has shape {list(routed.shape)}, not {list(active.shape[:3])}"
                )
        for name, array in (
            ("tokens", self.tokens),
            *((f"layer {i}", a) for i, a in enumerate(self.active)),
        ):
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
    def widths(self) -> tuple[tuple[int, ...], ...]:
        """Shape of each layer: (D,) when dense, (E, I) in a mixture of experts."""
        return tuple(active.shape[2:] for active in self.active)

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
        return Counts(
            self.languages,
            tuple(
                np.add(a, b, dtype=np.int64) for a, b in zip(self.active, other.active, strict=True)
            ),
            np.add(self.tokens, other.tokens, dtype=np.int64),
            tuple(
                None if a is None or b is None else np.add(a, b, dtype=np.int64)
                for a, b in zip(self.routed, other.routed, strict=True)
            ),
            self.block_rule,
        )

    def spread(self, languages: tuple[str, ...]) -> "Counts":
        """The same counts with their languages in this order; a language they do not have gets zeros."""
        at = [self.languages.index(code) if code in self.languages else -1 for code in languages]

        def take(array: NDArray[np.integer]) -> NDArray[np.integer]:
            rows = array[at]
            rows[[i for i, source in enumerate(at) if source < 0]] = 0
            return rows

        return Counts(
            languages,
            tuple(take(a) for a in self.active),
            take(self.tokens),
            tuple(None if r is None else take(r) for r in self.routed),
            self.block_rule,
        )

    def pooled(
        self, weights: NDArray[np.number] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sums over blocks, each block taken `weights` [G] times (once by default): active [K, M] and tokens [K].

        M runs over all neurons of the model, layer by layer, experts in order. Sums below 2**53 are
        exact.
        """
        w = np.ones(self.blocks) if weights is None else np.asarray(weights, dtype=np.float64)
        flat = [active.reshape(*active.shape[:2], -1) for active in self.active]
        out = np.empty((len(self.languages), sum(layer.shape[2] for layer in flat)))
        start = 0
        for layer in flat:
            np.matmul(w, layer, out=out[:, start : start + layer.shape[2]])
            start += layer.shape[2]
        return out, self.tokens @ w

    def probability(
        self,
        weights: NDArray[np.number] | None = None,
        *,
        per: Literal["tokens", "routed"] = "tokens",
    ) -> NDArray[np.float64]:
        """Activation probability of each neuron in each language (Eq. 4 of the paper), [K, M]: active / tokens.

        Args:
            weights: how often each block is taken, [G]; once by default.
            per: for experts, `tokens`: of all tokens, so that an expert that was not chosen does
                not fire; `routed`: of the tokens that reached the expert (0 where none did).

        Raises:
            InputError: when a language has no token.
        """
        active, tokens = self.pooled(weights)
        self.require_tokens(tokens)
        active /= tokens[:, None]
        if per == "routed":
            w = np.ones(self.blocks) if weights is None else np.asarray(weights, dtype=np.float64)
            start = 0
            for width, routed in zip(self.widths, self.routed, strict=True):
                size = math.prod(width)
                if routed is not None:
                    reached = np.repeat(np.matmul(w, routed), width[-1], axis=1)
                    part = active[:, start : start + size]
                    np.multiply(part, tokens[:, None], out=part)
                    np.divide(part, reached, out=part, where=reached > 0)
                start += size
        return active

    def require_tokens(self, tokens: NDArray[np.number]) -> None:
        """Stop, naming them, when languages have no token among `tokens` [K]."""
        empty = [code for code, n in zip(self.languages, tokens, strict=True) if n <= 0]
        if empty:
            raise InputError(
                f"no response token was counted for {', '.join(empty)}: a probability needs tokens; "
                "leave the language out or record responses in it"
            )

    def to_tensors(self) -> tuple[dict[str, NDArray], dict[str, object]]:
        """Named tensors and metadata, as they stand in `counts.safetensors` (int32 wherever every number fits)."""
        tensors: dict[str, NDArray] = {"tokens": self.tokens.astype(np.int64)}
        for layer, (active, routed) in enumerate(zip(self.active, self.routed, strict=True)):
            tensors[f"active.{layer:03d}"] = _narrow(active)
            if routed is not None:
                tensors[f"routed.{layer:03d}"] = _narrow(routed)
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
            tuple(meta["languages"]),
            tuple(tensors[f"active.{layer}"] for layer in layers),
            tensors["tokens"],
            tuple(tensors.get(f"routed.{layer}") for layer in layers),
            str(meta["block_rule"]),
        )

    def write(self, draft: artifacts.Draft) -> None:
        """Add them to a folder that is being written."""
        draft.tensors(self.FILE, *self.to_tensors())

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
        return cls.from_tensors(*artifacts.opened(source, cls.KIND).tensors(cls.FILE))


def merge(parts: Iterable[Counts]) -> Counts:
    """All parts together. A part may lack languages (one shard per language, say); their order is that of first sight.

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
