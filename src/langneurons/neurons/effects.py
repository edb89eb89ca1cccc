"""Effects: what silencing each neuron would cost each language, per language and block.

Sums only, in nats over all scored tokens; a mean is divided out once, at the end. So any resampling
of blocks is a weighted sum, as with counts.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons import artifacts, layout
from langneurons.errors import FormatError, InputError
from langneurons.intervals import Estimate, Floats, block_draws, estimate
from langneurons.layout import Widths

if TYPE_CHECKING:
    import pyarrow

FORMAT = 1
"""Version of the files that `Effects.write` writes."""

RESAMPLINGS = 1000

Where = Literal["text", "all"]
"""At which positions neurons are silenced: at all but the first of each text, or at all."""


class Tried(NamedTuple):
    """Single neurons that were silenced, to hold first order against. n tries, K languages.

    Attributes:
        positions: each neuron's position among all M, [n].
        groups: why it was tried, [n]: `top`, `random`, `sink`, or random among a kind of neurons.
        where: at which positions it was silenced, [n].
        estimate: what first order says, summed over the tokens tried, in nats, [n, K].
        exact: what it cost, [n, K].
        tokens: how many these tokens are, [K].
    """

    positions: NDArray[np.int64]
    groups: tuple[str, ...]
    where: tuple[Where, ...]
    estimate: Floats
    exact: Floats
    tokens: NDArray[np.int64]


class Split(NamedTuple):
    """What silencing one language's set costs its own texts, split over the set's neurons.

    Attributes:
        setting: which neurons, kinds joined by `+`.
        language: whose.
        positions: the set, as positions among all M, ascending, [n].
        effects: each neuron's part, per block, in nats, [n, G].
        costs: what the whole set costs, measured, per block, in nats, [G].
        tokens: scored tokens, [G].
    """

    setting: str
    language: str
    positions: NDArray[np.int64]
    effects: Floats
    costs: Floats
    tokens: NDArray[np.int64]

    @property
    def missing(self) -> float:
        """What the parts lack of the cost, as a share of it; NaN for a set that costs nothing."""
        whole = float(self.costs.sum())
        return (whole - float(self.effects.sum())) / whole if whole else float("nan")

    @property
    def cost(self) -> Estimate:
        """What the set costs in nats a token, with an interval over blocks of questions."""
        blocks = len(self.tokens)
        value = float(self.costs.sum() / self.tokens.sum())
        if blocks == 1:
            return estimate(value)
        draws = block_draws(blocks, RESAMPLINGS, 0)
        tokens = (draws @ self.tokens).astype(float)
        return estimate(value, draws @ self.costs / np.where(tokens > 0, tokens, np.nan))


@dataclass(frozen=True)
class Effects:
    """First-order effects of every neuron, tries of some, and what sets cost, split.

    Letters: K language, G block, L layer, D neuron of a dense layer, E expert, I neuron of an
    expert, M neuron of the whole model.

    Attributes:
        languages: the K codes.
        text: for each layer what silencing each neuron at all positions but the first of each text
            would cost, to first order, in nats, float32 [K, G, D] or [K, G, E, I]. Never to be
            summed over neurons: they stand in for each other.
        beginning: the same for the first position alone.
        nll: what the texts cost, in nats, [K, G].
        tokens: scored tokens, [K, G].
        tried: single neurons silenced; None where none was.
        splits: sets silenced, one for each setting and language.
        block_rule: how questions were assigned to blocks, in words.
    """

    KIND: ClassVar[str] = "effects"
    FILE: ClassVar[str] = "effects.safetensors"
    TRIED: ClassVar[str] = "tried.parquet"
    SETS: ClassVar[str] = "sets.safetensors"

    languages: tuple[str, ...]
    text: tuple[NDArray[np.floating], ...]
    beginning: tuple[NDArray[np.floating], ...]
    nll: Floats
    tokens: NDArray[np.int64]
    tried: Tried | None = None
    splits: tuple[Split, ...] = ()
    block_rule: str = "one block"

    def __repr__(self) -> str:
        return (
            f"Effects({', '.join(self.languages)}; {self.tokens.sum():,} tokens, "
            f"{layout.describe(self.widths)} neurons, {self.block_rule})"
        )

    @property
    def blocks(self) -> int:
        """Number of blocks, G."""
        return self.tokens.shape[1]

    @property
    def widths(self) -> Widths:
        """Shape of each layer: (D,) when dense, (E, I) in a mixture of experts."""
        return tuple(layer.shape[2:] for layer in self.text)

    def per_token(
        self, weights: NDArray[np.number] | None = None, *, where: Where = "text"
    ) -> Floats:
        """What silencing each neuron would cost each language, in nats a token, [K, M].

        To first order.

        Args:
            weights: how often each block is taken, [G]; once by default.
            where: at which positions.

        Raises:
            InputError: when a language has no token.
        """
        times = np.ones(self.blocks) if weights is None else np.asarray(weights, dtype=np.float64)
        tokens = self.tokens @ times
        empty = [code for code, n in zip(self.languages, tokens, strict=True) if n <= 0]
        if empty:
            raise InputError(
                f"no token was scored for {', '.join(empty)}: leave the language out or give "
                "responses in it"
            )
        starts = layout.starts(self.widths)
        effects = np.empty((len(self.languages), starts[-1]))
        parts = zip(self.text, self.beginning, pairwise(starts), strict=True)
        for text, beginning, (start, end) in parts:
            sums = text if where == "text" else text + beginning
            effects[:, start:end] = np.matmul(times, sums.reshape(*self.tokens.shape, -1))
        return effects / tokens[:, None]

    def probability(
        self, weights: NDArray[np.number] | None = None, *, per: str = "tokens"
    ) -> Floats:
        """What stands for activation probabilities when neurons are classified by effect, [K, M].

        Effects at text as shares of the largest of all; 0 where silencing would help.

        Args:
            weights: how often each block is taken, [G]; once by default.
            per: must be `tokens`; a cost is of all tokens.

        Raises:
            InputError: for another `per`, a language without tokens, or where no effect is above 0.
        """
        if per != "tokens":
            raise InputError(f"per {per!r}: effects are per token of a text; leave --per at tokens")
        effects = np.maximum(self.per_token(weights), 0)
        largest = effects.max()
        if not largest > 0:
            raise InputError("silencing no neuron costs anything: there is nothing to classify by")
        return effects / largest

    def at_beginning(self) -> Floats:
        """What silencing each neuron at the first position would cost, in nats a token, [K, M].

        To first order, which says little there.
        """
        return self.per_token(where="all") - self.per_token()

    def split(self, setting: str, language: str) -> Split:
        """What one set costs.

        Raises:
            InputError: when it was not measured.
        """
        for split in self.splits:
            if (split.setting, split.language) == (setting, language):
                return split
        known = ", ".join(f"{split.setting} of {split.language}" for split in self.splits)
        raise InputError(
            f"the effects hold no set {setting} of {language}; "
            f"they hold {known or 'none; give attribute --neurons'}"
        )

    def write(self, draft: artifacts.Draft) -> None:
        """Add them to a folder that is being written."""
        tensors: dict[str, NDArray] = {"tokens": self.tokens, "nll": self.nll}
        for layer, (text, beginning) in enumerate(zip(self.text, self.beginning, strict=True)):
            tensors[f"text.{layer:03d}"] = np.ascontiguousarray(text, dtype=np.float32)
            tensors[f"beginning.{layer:03d}"] = np.ascontiguousarray(beginning, dtype=np.float32)
        meta = {"format": FORMAT, "languages": self.languages, "block_rule": self.block_rule}
        draft.tensors(self.FILE, tensors, meta)
        if self.tried is not None:
            draft.table(self.TRIED, _tried_table(self.tried, self))
        if self.splits:
            names = [[split.setting, split.language] for split in self.splits]
            parts = {
                f"{name}.{i:03d}": np.ascontiguousarray(getattr(split, name))
                for i, split in enumerate(self.splits)
                for name in _SPLIT
            }
            draft.tensors(self.SETS, parts, {"format": FORMAT, "sets": names})

    def save(self, folder: Path | str) -> None:
        """Write them into a folder of their own; see `artifacts.save`."""
        artifacts.save(self, folder)

    @classmethod
    def load(cls, source: Path | str | artifacts.Artifact) -> "Effects":
        """Those in a finished folder.

        Raises:
            InputError: when there is none, or it holds something else.
            FormatError: when its file is damaged.
        """
        there = artifacts.opened(source, cls.KIND)
        tensors, meta = there.tensors(cls.FILE)
        if meta.get("format") != FORMAT:
            raise FormatError(
                f"not effects of format {FORMAT}: metadata {json.dumps(dict(meta))[:80]}"
            )
        languages = tuple(meta["languages"])
        layers = sorted((name[5:] for name in tensors if name.startswith("text.")), key=int)
        text = tuple(tensors[f"text.{layer}"] for layer in layers)
        files = there.manifest["files"]
        widths = tuple(layer.shape[2:] for layer in text)
        return cls(
            languages=languages,
            text=text,
            beginning=tuple(tensors[f"beginning.{layer}"] for layer in layers),
            nll=tensors["nll"],
            tokens=tensors["tokens"],
            tried=_tried(there.table(cls.TRIED), languages, widths) if cls.TRIED in files else None,
            splits=_splits(*there.tensors(cls.SETS)) if cls.SETS in files else (),
            block_rule=str(meta["block_rule"]),
        )


_SPLIT = ("positions", "effects", "costs", "tokens")


def _tried_table(tried: Tried, effects: Effects) -> "pyarrow.Table":
    """The table of `tried.parquet`: a row per try."""
    import pyarrow as pa

    layer, expert, neuron = layout.addresses(effects.widths, tried.positions).T
    columns: dict[str, Any] = {
        "layer": pa.array(layer),
        "expert": pa.array(expert),
        "neuron": pa.array(neuron),
        "group": pa.array(tried.groups, pa.string()),
        "where": pa.array(tried.where, pa.string()),
    }
    for k, code in enumerate(effects.languages):
        columns[f"estimate_{code}"] = pa.array(tried.estimate[:, k])
        columns[f"exact_{code}"] = pa.array(tried.exact[:, k])
    meta = {"format": FORMAT, "tokens": tried.tokens.tolist()}
    return artifacts.with_meta(pa.table(columns), meta)


def _tried(table: "pyarrow.Table", languages: Sequence[str], widths: Widths) -> Tried:
    """What `_tried_table` gave."""
    meta = artifacts.meta_of(table, version=FORMAT, what="a table of tries")
    keys = np.stack([table[name].to_numpy() for name in ("layer", "expert", "neuron")], axis=1)

    def by_language(name: str) -> Floats:
        return np.stack([table[f"{name}_{code}"].to_numpy() for code in languages], axis=1)

    return Tried(
        positions=layout.positions(widths, keys),
        groups=tuple(table["group"].to_pylist()),
        where=tuple(table["where"].to_pylist()),
        estimate=by_language("estimate"),
        exact=by_language("exact"),
        tokens=np.array(meta["tokens"], dtype=np.int64),
    )


def _splits(tensors: Mapping[str, NDArray], meta: Mapping[str, Any]) -> tuple[Split, ...]:
    """The sets in a file."""
    return tuple(
        Split(setting, language, *(tensors[f"{name}.{i:03d}"] for name in _SPLIT))
        for i, (setting, language) in enumerate(meta["sets"])
    )
