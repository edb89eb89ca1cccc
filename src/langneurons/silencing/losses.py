"""Losses: what every language's texts cost a model, with nothing and with neurons silenced."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons import artifacts
from langneurons.config import AT_TEXT

if TYPE_CHECKING:
    import pyarrow

FORMAT = 1
"""Version of the table and metadata that `Losses.to_table` writes."""


class Condition(NamedTuple):
    """What was silenced.

    Attributes:
        silenced: language whose neurons were; None when nothing was.
        setting: which of its neurons, kinds joined by `+`: `specific`, `specific+related`; followed
            by `at text` when the first token of each text was left alone; None when nothing was.
        draw: 0 for the neurons themselves, 1 and up for random sets matched to them.
        neurons: how many were silenced; with 0 of them nothing was run and all costs are unknown.
    """

    silenced: str | None
    setting: str | None
    draw: int
    neurons: int

    @property
    def at_text(self) -> bool:
        """Whether the first token of each text was left alone."""
        return (self.setting or "").endswith(AT_TEXT)


def places(
    conditions: Sequence[Condition], languages: Sequence[str], setting: str, draw: int = 0
) -> list[int]:
    """Positions of the conditions of a setting and draw, one for each language."""
    numbers = {
        (condition.silenced, condition.setting, condition.draw): place
        for place, condition in enumerate(conditions)
    }
    return [numbers[code, setting, draw] for code in languages]


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

    @classmethod
    def from_sums(
        cls,
        languages: tuple[str, ...],
        conditions: Sequence[Condition],
        *,
        run: Sequence[int],
        nll: NDArray[np.float64],
        tokens: NDArray[np.int64],
        means: NDArray[np.float64],
        texts: NDArray[np.int64],
        lengths: NDArray[np.int64],
        average: Literal["tokens", "sequences"],
    ) -> "Losses":
        """Losses of which only some conditions were run; the costs of the others are unknown.

        Args:
            languages: the K codes.
            conditions: the C conditions.
            run: positions of the R conditions that were run; the first is among them.
            nll: summed costs of those that were run, [R, K * G].
            tokens: how many they are, [R, K * G]; the others have those of the first.
            means: summed mean costs of texts, [R, K * G].
            texts: how many texts, [K, G].
            lengths: bytes of what was scored, [K, G].
            average: which mean a perplexity is made of.
        """
        shape = (len(conditions), *texts.shape)

        def of_all(sums: NDArray, others: NDArray | float) -> NDArray:
            whole = np.broadcast_to(others, shape).copy()
            whole[run] = sums.reshape(len(run), *texts.shape)
            return whole

        return cls(
            languages=languages,
            conditions=tuple(conditions),
            nll=of_all(nll, np.nan),
            tokens=of_all(tokens, tokens[0].reshape(texts.shape)),
            means=of_all(means, np.nan),
            texts=texts,
            bytes=lengths,
            average=average,
        )

    def find(self, setting: str, draw: int = 0) -> list[int]:
        """Positions of the conditions of a setting and draw, one for each language."""
        return places(self.conditions, self.languages, setting, draw)

    def silenced(self) -> dict[str, dict[str, int]]:
        """Setting -> silenced language -> how many neurons were silenced."""
        return {
            setting: {
                code: self.conditions[place].neurons
                for code, place in zip(self.languages, self.find(setting), strict=True)
            }
            for setting in self.settings
        }

    def log_perplexity(self, weights: NDArray[np.number] | None = None) -> NDArray[np.float64]:
        """Logarithm of the perplexity, [..., C, K].

        The mean cost of a token, or the mean of the texts' mean costs.

        Args:
            weights: how often each block is taken, [..., G]; once by default.
        """
        if self.average == "sequences":
            return self._ratio(self.means, self.texts, weights)
        return self._ratio(self.nll, self.tokens, weights)

    def bits_per_byte(self, weights: NDArray[np.number] | None = None) -> NDArray[np.float64]:
        """Summed cost in bits per byte of text, [..., C, K]; comparable between tokenizers.

        Args:
            weights: how often each block is taken, [..., G]; once by default.
        """
        return self._ratio(self.nll, self.bytes, weights) / np.log(2)

    def _ratio(
        self,
        sums: NDArray[np.number],
        of: NDArray[np.number],
        weights: NDArray[np.number] | None,
    ) -> NDArray[np.float64]:
        """Sums [C, K, G] over other sums [C, K, G] or [K, G], blocks weighted [..., G].

        Returns:
            [..., C, K]; NaN where there is nothing.
        """
        taken = np.ones(self.blocks) if weights is None else np.asarray(weights, dtype=np.float64)
        above = np.einsum("ckg,...g->...ck", sums, taken)
        below = np.einsum("ckg,...g->...ck", np.broadcast_to(of, sums.shape), taken)
        return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)

    def to_table(self) -> "pyarrow.Table":
        """The table of `perplexity.parquet`: a row per condition, evaluated language and block."""
        import pyarrow as pa

        shape = self.nll.shape
        conditions, languages, blocks = shape
        of_row = [condition for condition in self.conditions for _ in range(languages * blocks)]
        evaluated = [code for code in self.languages for _ in range(blocks)] * conditions
        columns = {
            "silenced": pa.array([condition.silenced for condition in of_row], pa.string()),
            "setting": pa.array([condition.setting for condition in of_row], pa.string()),
            "draw": pa.array([condition.draw for condition in of_row], pa.int32()),
            "neurons": pa.array([condition.neurons for condition in of_row], pa.int64()),
            "language": pa.array(evaluated, pa.string()),
            "block": pa.array(list(range(blocks)) * (conditions * languages), pa.int32()),
            "nll": pa.array(self.nll.reshape(-1), from_pandas=True),
            "tokens": pa.array(self.tokens.reshape(-1)),
            "text_means": pa.array(self.means.reshape(-1), from_pandas=True),
            "texts": pa.array(np.broadcast_to(self.texts, shape).reshape(-1)),
            "bytes": pa.array(np.broadcast_to(self.bytes, shape).reshape(-1)),
        }
        meta = {"format": FORMAT, "languages": self.languages, "blocks": blocks}
        meta["average"] = self.average
        return artifacts.with_meta(pa.table(columns), meta)

    @classmethod
    def from_table(cls, table: "pyarrow.Table") -> "Losses":
        """Losses from what `to_table` gave.

        Raises:
            FormatError: when the table is not of this format.
        """
        meta = artifacts.meta_of(
            table, version=FORMAT, what="a table of losses", column="text_means"
        )
        languages, blocks = tuple(meta["languages"]), meta["blocks"]

        def column(name: str) -> NDArray:
            return table[name].to_numpy().reshape(-1, len(languages), blocks)

        each = len(languages) * blocks
        first_rows = [table[name].to_pylist()[::each] for name in Condition._fields]
        return cls(
            languages=languages,
            conditions=tuple(Condition(*cells) for cells in zip(*first_rows, strict=True)),
            nll=column("nll"),
            tokens=column("tokens"),
            means=column("text_means"),
            texts=column("texts")[0],
            bytes=column("bytes")[0],
            average=meta["average"],
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
