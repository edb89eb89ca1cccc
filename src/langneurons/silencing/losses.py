"""Losses: what every language's texts cost a model, with nothing silenced and with each set of neurons silenced."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons import artifacts
from langneurons.errors import FormatError

if TYPE_CHECKING:
    import pyarrow

FORMAT = 1
"""Version of the table and metadata that `Losses.to_table` writes."""


class Condition(NamedTuple):
    """What was silenced.

    Attributes:
        silenced: language whose neurons were; None when nothing was.
        setting: which of its neurons, kinds joined by `+`: `specific`, `specific+related`; None
            when nothing was.
        draw: 0 for the neurons themselves, 1 and up for random sets matched to them.
        neurons: how many were silenced; with 0 of them nothing was run and all costs are unknown.
    """

    silenced: str | None
    setting: str | None
    draw: int
    neurons: int


@dataclass(frozen=True)
class Losses:
    """Sums of costs, per condition, language and block.

    Letters: C condition, K language, G block. Sums only; a mean is divided out once, at the end.

    Attributes:
        languages: the K codes, silenced and evaluated.
        conditions: the C conditions; the first silences nothing.
        nll: summed negative log-likelihood of the scored tokens, in nats, [C, K, G]; NaN where
            nothing was run.
        tokens: how many they are, [C, K, G]. The same in all conditions, unless arg-max tokens were
            mixed in.
        means: sum over texts of their mean cost per token, [C, K, G].
        texts: how many texts, [K, G].
        bytes: length of what was scored in UTF-8, [K, G].
        average: which mean a perplexity is made of: of all tokens, or of the texts' own means.
    """

    KIND: ClassVar[str] = "perplexity"
    FILE: ClassVar[str] = "perplexity.parquet"

    languages: tuple[str, ...]
    conditions: tuple[Condition, ...]
    nll: NDArray[np.float64]
    tokens: NDArray[np.int64]
    means: NDArray[np.float64]
    texts: NDArray[np.int64]
    bytes: NDArray[np.int64]
    average: Literal["tokens", "sequences"] = "tokens"

    @property
    def blocks(self) -> int:
        """Number of blocks, G."""
        return self.texts.shape[1]

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings, in order."""
        return tuple(dict.fromkeys(c.setting for c in self.conditions if c.setting is not None))

    @property
    def controls(self) -> int:
        """Number of random sets behind each set."""
        return max(c.draw for c in self.conditions)

    def find(self, setting: str, draw: int = 0) -> list[int]:
        """Positions of the conditions of a setting and draw, one per silenced language, in order of `languages`."""
        at = {(c.silenced, c.setting, c.draw): i for i, c in enumerate(self.conditions)}
        return [at[code, setting, draw] for code in self.languages]

    def log_perplexity(self, weights: NDArray[np.number] | None = None) -> NDArray[np.float64]:
        """Logarithm of the perplexity, [..., C, K]: the mean cost of a token, or the mean of the texts' mean costs.

        Args:
            weights: how often each block is taken, [..., G]; once by default.
        """
        w = np.ones(self.blocks) if weights is None else np.asarray(weights, dtype=np.float64)
        if self.average == "sequences":
            return _ratio(self.means, np.broadcast_to(self.texts, self.means.shape), w)
        return _ratio(self.nll, self.tokens, w)

    def bits_per_byte(self, weights: NDArray[np.number] | None = None) -> NDArray[np.float64]:
        """Summed cost in bits per byte of text, [..., C, K]; comparable between tokenizers.

        Args:
            weights: how often each block is taken, [..., G]; once by default.
        """
        w = np.ones(self.blocks) if weights is None else np.asarray(weights, dtype=np.float64)
        return _ratio(self.nll, np.broadcast_to(self.bytes, self.nll.shape), w) / np.log(2)

    def to_table(self) -> "pyarrow.Table":
        """The long table as it stands in `perplexity.parquet`: a row per condition, evaluated language and block."""
        import pyarrow as pa

        c, k, g = self.nll.shape
        each = [cond for cond in self.conditions for _ in range(k * g)]
        columns = {
            "silenced": pa.array([cond.silenced for cond in each], pa.string()),
            "setting": pa.array([cond.setting for cond in each], pa.string()),
            "draw": pa.array([cond.draw for cond in each], pa.int32()),
            "neurons": pa.array([cond.neurons for cond in each], pa.int64()),
            "language": pa.array(
                [code for _ in range(c) for code in self.languages for _ in range(g)], pa.string()
            ),
            "block": pa.array(list(range(g)) * (c * k), pa.int32()),
            "nll": pa.array(self.nll.reshape(-1), from_pandas=True),
            "tokens": pa.array(self.tokens.reshape(-1)),
            "text_means": pa.array(self.means.reshape(-1), from_pandas=True),
            "texts": pa.array(np.broadcast_to(self.texts, (c, k, g)).reshape(-1)),
            "bytes": pa.array(np.broadcast_to(self.bytes, (c, k, g)).reshape(-1)),
        }
        meta = {"format": FORMAT, "languages": self.languages, "blocks": g, "average": self.average}
        return pa.table(columns).replace_schema_metadata({"langneurons": json.dumps(meta)})

    @classmethod
    def from_table(cls, table: "pyarrow.Table") -> "Losses":
        """Losses from what `to_table` gave.

        Raises:
            FormatError: when the table is not of this format.
        """
        meta = json.loads((table.schema.metadata or {}).get(b"langneurons", b"{}"))
        if meta.get("format") != FORMAT or "text_means" not in table.column_names:
            raise FormatError(
                f"not a table of losses of format {FORMAT}; its columns are {table.column_names[:6]}"
            )
        languages, g = tuple(meta["languages"]), meta["blocks"]
        size = len(languages) * g

        def column(name: str) -> NDArray:
            return table[name].to_numpy().reshape(-1, len(languages), g)

        heads = [table[name].to_pylist()[::size] for name in Condition._fields]
        return cls(
            languages,
            tuple(Condition(*fields) for fields in zip(*heads, strict=True)),
            column("nll"),
            column("tokens"),
            column("text_means"),
            column("texts")[0],
            column("bytes")[0],
            meta["average"],
        )

    def write(self, draft: artifacts.Draft) -> None:
        """Add them to a folder that is being written."""
        draft.table(self.FILE, self.to_table())

    def save(self, folder: Path | str) -> None:
        """Write them into a folder of their own; see `artifacts.save`."""
        artifacts.save(self, folder)

    @classmethod
    def load(cls, source: Path | str | artifacts.Artifact) -> "Losses":
        """Those in a finished folder.

        Raises:
            InputError: when there is none, or it holds something else.
            FormatError: when its file is damaged.
        """
        return cls.from_table(artifacts.opened(source, cls.KIND).table(cls.FILE))


def _ratio(
    sums: NDArray[np.number], of: NDArray[np.number], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sums [C, K, G] over other sums, blocks weighted [..., G] -> [..., C, K]; NaN where there is nothing."""
    above, below = (np.einsum("ckg,...g->...ck", x, weights) for x in (sums, of))
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
