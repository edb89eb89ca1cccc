"""Marks: what each answer of a model is worth, with nothing silenced and with neurons silenced.

Letters: C condition, K language, Q question.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons import artifacts
from langneurons.intervals import Floats, block_draws, interval
from langneurons.silencing.losses import Condition
from langneurons.silencing.matrix import RESAMPLINGS, Matrix, changed
from langneurons.texts.responses import Response
from langneurons.texts.rows import Responses, read_responses

if TYPE_CHECKING:
    import pyarrow

FORMAT = 1
"""Version of the table that `Marks.to_table` writes."""

Measure = Literal["accuracy", "chrF"]
"""What an answer is worth: 1 where it is right and 0 where it is wrong, or its chrF from 0 to 1."""


class Mean(NamedTuple):
    """The mean of one language.

    Attributes:
        lang: its code.
        n: questions of which it is known.
        value: the mean.
        low: end of its 95% interval, by resampling the questions; NaN with one question.
        high: its other end.
    """

    lang: str
    n: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Marks:
    """What each answer is worth, per condition, language and question.

    Attributes:
        measure: what is measured.
        languages: the K codes, silenced and evaluated.
        questions: the Q ids.
        conditions: the C conditions; the first silences nothing.
        worth: what each answer is worth, from 0 to 1, [C, K, Q]; NaN where it is not known, or
            nothing was run.
        strays: 1 where an answer is in another language than it should be, else 0, [C, K, Q]; NaN
            where it is not known.
        responses: the answers with nothing silenced.
    """

    KIND: ClassVar[str] = "marks"
    FILE: ClassVar[str] = "marks.parquet"

    measure: Measure
    languages: tuple[str, ...]
    questions: tuple[str, ...]
    conditions: tuple[Condition, ...]
    worth: NDArray[np.float32]
    strays: NDArray[np.float32]
    responses: list[Response]

    @property
    def settings(self) -> tuple[str, ...]:
        """What is silenced, in order; empty where nothing is."""
        return tuple(dict.fromkeys(c.setting for c in self.conditions if c.setting is not None))

    @property
    def controls(self) -> int:
        """Number of random sets behind each set."""
        return max(condition.draw for condition in self.conditions)

    def means(self, seed: int = 0) -> list[Mean]:
        """What answers are worth with nothing silenced, per language."""
        values = self.worth[:1]
        number = np.isfinite(values[0]).sum(axis=1)
        observed = _means(values, None)[0]
        low = high = np.full(len(self.languages), np.nan)
        if len(self.questions) > 1:
            drawn = _means(values, block_draws(len(self.questions), RESAMPLINGS, seed))[:, 0]
            low, high = interval(drawn, observed)
        rows = zip(self.languages, number, observed, low, high, strict=True)
        return [Mean(lang, int(n), *map(float, ends)) for lang, n, *ends in rows]

    def lost(self, setting: str, seed: int = 0) -> Matrix:
        """What silencing each language's neurons takes from what answers are worth.

        Its numbers are shares that are not right, 1 less the mean worth, so that a loss is a
        change above 0, as with perplexity. Intervals resample questions, the same for all.
        """
        return self._matrix(1 - self.worth, setting, f"loss of {self.measure}", seed)

    def astray(self, setting: str, seed: int = 0) -> Matrix | None:
        """The change of the share of answers in another language; None where it is not known."""
        if not np.isfinite(self.strays[0]).any(axis=1).all():
            return None
        return self._matrix(self.strays, setting, "answers in another language", seed)

    def _matrix(self, values: NDArray[np.float32], setting: str, measure: str, seed: int) -> Matrix:
        return changed(
            lambda weights: _means(values, weights),
            self.conditions,
            self.languages,
            setting=setting,
            measure=measure,
            units=len(self.questions),
            seed=seed,
        )

    def to_table(self) -> "pyarrow.Table":
        """The table of `marks.parquet`: a row per condition, language and question."""
        import pyarrow as pa

        of_each = len(self.languages) * len(self.questions)
        of_row = [condition for condition in self.conditions for _ in range(of_each)]
        times = len(self.conditions)
        columns = {
            "silenced": pa.array([condition.silenced for condition in of_row], pa.string()),
            "setting": pa.array([condition.setting for condition in of_row], pa.string()),
            "draw": pa.array([condition.draw for condition in of_row], pa.int32()),
            "neurons": pa.array([condition.neurons for condition in of_row], pa.int64()),
            "language": [code for code in self.languages for _ in self.questions] * times,
            "question": list(self.questions) * (times * len(self.languages)),
            "worth": pa.array(self.worth.reshape(-1), from_pandas=True),
            "stray": pa.array(self.strays.reshape(-1), from_pandas=True),
        }
        meta = {
            "format": FORMAT,
            "measure": self.measure,
            "languages": self.languages,
            "questions": self.questions,
        }
        return artifacts.with_meta(pa.table(columns), meta)

    def write(self, draft: artifacts.Draft) -> None:
        """Add them to a folder that is being written."""
        Responses(self.responses).write(draft)
        draft.table(self.FILE, self.to_table())

    def save(self, folder: Path | str) -> None:
        """Write them into a folder of their own; see `artifacts.save`."""
        artifacts.save(self, folder)

    @classmethod
    def load(cls, source: Path | str | artifacts.Artifact) -> "Marks":
        """Those in a finished folder.

        Raises:
            InputError: when there is none, or it holds something else.
            FormatError: when a file is damaged.
        """
        folder = artifacts.opened(source, cls.KIND)
        table = folder.table(cls.FILE)
        meta = artifacts.meta_of(table, version=FORMAT, what="a table of marks", column="worth")
        languages, questions = tuple(meta["languages"]), tuple(meta["questions"])
        shape = (-1, len(languages), len(questions))
        each = len(languages) * len(questions)
        first_rows = [table[name].to_pylist()[::each] for name in Condition._fields]
        return cls(
            measure=meta["measure"],
            languages=languages,
            questions=questions,
            conditions=tuple(Condition(*cells) for cells in zip(*first_rows, strict=True)),
            worth=table["worth"].to_numpy().reshape(shape),
            strays=table["stray"].to_numpy().reshape(shape),
            responses=read_responses(folder.folder),
        )


def _means(values: NDArray[np.float32], weights: NDArray[np.int64] | None) -> Floats:
    """Means over the questions of which a value [C, K, Q] is known, each taken so often [R, Q].

    Returns:
        [C, K], or [R, C, K]; NaN where none is known.
    """
    known = np.isfinite(values)
    taken = np.ones((1, values.shape[-1])) if weights is None else weights.astype(np.float64)
    sums = np.where(known, values, 0).astype(np.float64) @ taken.T
    number = known.astype(np.float64) @ taken.T
    means = np.divide(sums, number, out=np.full(sums.shape, np.nan), where=number > 0)
    return means[..., 0] if weights is None else np.moveaxis(means, -1, 0)


def on_grid(
    values: Sequence[float], responses: Sequence[Response], codes: Sequence[str], ids: Sequence[str]
) -> NDArray[np.float32]:
    """A value of each response by its language and question, [K, Q]; NaN where there is none."""
    column = {id_: place for place, id_ in enumerate(ids)}
    row = {code: place for place, code in enumerate(codes)}
    grid = np.full((len(codes), len(ids)), np.nan, dtype=np.float32)
    for value, response in zip(values, responses, strict=True):
        grid[row[response.lang], column[response.question_id]] = value
    return grid
