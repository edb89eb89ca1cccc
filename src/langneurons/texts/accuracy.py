"""Accuracy: the share of right answers, how sure it is, and whether two models differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from langneurons import artifacts
from langneurons.errors import InputError, MismatchError
from langneurons.intervals import Floats, block_draws, mcnemar, wilson
from langneurons.texts.responses import Response
from langneurons.texts.rows import Responses, read_responses

MEAN = "mean"
"""What stands for the language in the row of the mean over languages."""

DRAWS = 10_000
"""Resamplings of the questions."""


class Accuracy(NamedTuple):
    """Right answers in one language, or the mean over languages.

    Attributes:
        lang: code of the language, or `MEAN`.
        n: questions; of the mean, different ones.
        correct: right answers; of the mean, all of them.
        accuracy: share of right answers; of the mean, the mean of the languages' shares.
        low: end of its 95% interval: Wilson's; of the mean, by resampling the questions, each in
            all its languages.
        high: its other end.
    """

    lang: str
    n: int
    correct: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """Answers of a model, and how many of them are right: what `evaluate` leaves in a folder.

    Attributes:
        responses: one to each question in each language.
        accuracies: per language, then the mean over languages.
    """

    KIND: ClassVar[str] = "accuracy"
    FILE: ClassVar[str] = "accuracy.parquet"

    responses: list[Response]
    accuracies: list[Accuracy]

    def write(self, draft: artifacts.Draft) -> None:
        """Add both to a folder that is being written."""
        import pyarrow as pa

        Responses(self.responses).write(draft)
        draft.table(self.FILE, pa.Table.from_pylist([row._asdict() for row in self.accuracies]))

    def save(self, folder: Path | str) -> None:
        """Write both into a folder of their own; see `artifacts.save`."""
        artifacts.save(self, folder)

    @classmethod
    def load(cls, source: Path | str | artifacts.Artifact) -> "Evaluation":
        """The one in a finished folder.

        Raises:
            InputError: when there is none, or it holds something else.
            FormatError: when a file is damaged.
        """
        folder = artifacts.opened(source, cls.KIND)
        rows = folder.table(cls.FILE).to_pylist()
        return cls(read_responses(folder.folder), [Accuracy(**row) for row in rows])


class Change(NamedTuple):
    """Accuracy of two models on the same questions, in one language or the mean over languages.

    Attributes:
        lang: code of the language, or `MEAN`.
        n: questions both answered.
        before: accuracy of the first model on them.
        after: accuracy of the second.
        change: after - before.
        low: end of its 95% interval, by resampling the questions with both models' answers to them.
        high: its other end.
        lost: questions only the first answered right.
        gained: questions only the second answered right.
        p: how likely a difference this large is if there is none: exact McNemar test, two-sided; of
            the mean, the two models changed at random per question, in all its languages at once.
    """

    lang: str
    n: int
    before: float
    after: float
    change: float
    low: float
    high: float
    lost: int
    gained: int
    p: float


def accuracies(responses: Sequence[Response], seed: int = 0) -> list[Accuracy]:
    """Accuracy per language, in order of first sight, then the mean over languages.

    Args:
        responses: one to each question in each language; those that are not known to be right or
            wrong are left out.
        seed: of the resampling.

    Raises:
        InputError: when none is known to be right or wrong, or a question has two.
    """
    marks = _table_of(_marked(responses))
    rows = []
    for k, lang in enumerate(marks.languages):
        n, correct = int(marks.n[k]), int(marks.right[:, k].sum())
        low, high = wilson(correct, n)
        rows.append(Accuracy(lang, n, correct, accuracy=correct / n, low=low, high=high))
    draws = _draws(len(marks.questions), seed)
    low, high = _interval(_drawn_means(draws, marks.right, marks.judged))
    mean = Accuracy(
        lang=MEAN,
        n=len(marks.questions),
        correct=int(marks.right.sum()),
        accuracy=float(np.mean([row.accuracy for row in rows])),
        low=low,
        high=high,
    )
    return [*rows, mean]


def compare_accuracy(
    before: Sequence[Response], after: Sequence[Response], seed: int = 0
) -> list[Change]:
    """How accuracy changed on the questions that both answered, per language, then their mean.

    Args:
        before: one response of the first model to each question in each language, marked.
        after: those of the second.
        seed: of the resampling.

    Raises:
        InputError: when nothing is marked, or a question has two responses.
        MismatchError: when they have no question in common, or its right answers differ.
    """
    first, second = _in_common(_marked(before), _marked(after))
    draws = _draws(len(first.questions), seed)
    change = second.right - first.right
    rows = []
    for k, lang in enumerate(first.languages):
        n, lost, gained = (
            int(first.n[k]),
            int((change[:, k] < 0).sum()),
            int((change[:, k] > 0).sum()),
        )
        share_before, share_after = first.right[:, k].sum() / n, second.right[:, k].sum() / n
        own = slice(k, k + 1)
        low, high = _interval(_drawn_means(draws, change[:, own], first.judged[:, own]))
        rows.append(
            Change(
                lang=lang,
                n=n,
                before=float(share_before),
                after=float(share_after),
                change=float(share_after - share_before),
                low=low,
                high=high,
                lost=lost,
                gained=gained,
                p=mcnemar(lost, gained),
            )
        )
    mean_before = float(np.mean([row.before for row in rows]))
    mean_after = float(np.mean([row.after for row in rows]))
    low, high = _interval(_drawn_means(draws, change, first.judged))
    mean = Change(
        lang=MEAN,
        n=len(first.questions),
        before=mean_before,
        after=mean_after,
        change=mean_after - mean_before,
        low=low,
        high=high,
        lost=sum(row.lost for row in rows),
        gained=sum(row.gained for row in rows),
        p=_changed_at_random(change / first.n, seed),
    )
    return [*rows, mean]


def not_compared(before: Sequence[Response], after: Sequence[Response]) -> list[str]:
    """What to say of the languages of which no question is in both: nothing, or one line.

    Raises:
        InputError: as `compare_accuracy`.
    """
    first, second = _marked(before), _marked(after)
    both = {lang for question, lang in first if (question, lang) in second}
    missing = [
        lang for lang in dict.fromkeys(lang for _, lang in (*first, *second)) if lang not in both
    ]
    if not missing:
        return []
    return [f"not compared, as no question is in both: {', '.join(missing)}"]


_Key = tuple[str, str]
"""A question's id and a language."""


class _Marks(NamedTuple):
    """Which answers are right, of Q questions in K languages.

    Attributes:
        questions: the Q ids.
        languages: the K codes.
        right: 1 where an answer is right, [Q, K].
        judged: 1 where it is known to be right or wrong, [Q, K].
    """

    questions: list[str]
    languages: list[str]
    right: Floats
    judged: Floats

    @property
    def n(self) -> Floats:
        """Answers in each language that are known to be right or wrong, [K]."""
        return self.judged.sum(axis=0)


def _marked(responses: Sequence[Response]) -> dict[_Key, Response]:
    """Responses known to be right or wrong, by question and language."""
    marked: dict[_Key, Response] = {}
    for response in responses:
        key = response.question_id, response.lang
        if key in marked:
            raise InputError(
                f"there are several responses to {', '.join(key)}; accuracy is of one to each "
                "question"
            )
        if response.correct is not None:
            marked[key] = response
    if not marked:
        raise InputError(
            "no response is known to be right or wrong; the questions need an answer that is a "
            "number"
        )
    return marked


def _table_of(marked: dict[_Key, Response]) -> _Marks:
    """Questions and languages in order of first sight."""
    questions = list(dict.fromkeys(question for question, _ in marked))
    languages = list(dict.fromkeys(lang for _, lang in marked))
    row = {question: i for i, question in enumerate(questions)}
    column = {lang: k for k, lang in enumerate(languages)}
    right, judged = np.zeros((2, len(questions), len(languages)))
    for (question, lang), response in marked.items():
        right[row[question], column[lang]] = bool(response.correct)
        judged[row[question], column[lang]] = 1
    return _Marks(questions, languages, right, judged)


def _in_common(before: dict[_Key, Response], after: dict[_Key, Response]) -> tuple[_Marks, _Marks]:
    """Both models' marks on what both answered, in the same order."""
    both = [key for key in before if key in after]
    if not both:
        raise MismatchError(
            "the two evaluations have no question in common; evaluate both on the same questions"
        )
    differ = [key for key in both if before[key].answer != after[key].answer]
    if differ:
        raise MismatchError(
            f"the right answer to {', '.join(differ[0])} is not the same in the two evaluations"
        )
    first = _table_of({key: before[key] for key in both})
    return first, _table_of({key: after[key] for key in both})


def _draws(questions: int, seed: int) -> np.ndarray:
    """How often each question is drawn in each resampling, [DRAWS, Q]."""
    return block_draws(questions, DRAWS, seed).astype(np.float32)


def _drawn_means(draws: np.ndarray, values: Floats, judged: Floats) -> Floats:
    """Mean over languages of the means over the questions drawn, [DRAWS].

    A language that none was drawn of counts as 0.
    """
    sums, n = draws @ values, draws @ judged
    return np.divide(sums, n, out=np.zeros_like(sums), where=n > 0).mean(axis=1)


def _interval(means: Floats) -> tuple[float, float]:
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def _changed_at_random(differences: Floats, seed: int) -> float:
    """Two-sided p of the sum of differences [Q, K].

    In each draw the sign of each question's differences is drawn at random.
    """
    each = differences.sum(axis=1)
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), (DRAWS, len(each)))
    as_large = np.abs(signs @ each) >= abs(each.sum()) - 1e-12
    return float((1 + as_large.sum()) / (1 + DRAWS))
