"""Accuracy: the share of right answers per language, how sure it is, and whether two models differ."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from langneurons.errors import InputError, MismatchError
from langneurons.intervals import block_draws, mcnemar, wilson
from langneurons.texts.responses import Response

ACCURACY = "accuracy.parquet"
"""Name of the table in a folder of accuracy; beside it are the responses."""

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
    ids, codes, right, there = _table(responses)
    rows = []
    for code, k, n in zip(codes, right.sum(axis=0), there.sum(axis=0), strict=True):
        rows.append(Accuracy(code, int(n), int(k), k / n, *wilson(int(k), int(n))))
    low, high = _interval(_means(_weights(len(ids), seed), right, there))
    return [
        *rows,
        Accuracy(
            MEAN, len(ids), int(right.sum()), float(np.mean([r.accuracy for r in rows])), low, high
        ),
    ]


def compare_accuracy(
    before: Sequence[Response], after: Sequence[Response], seed: int = 0
) -> list[Change]:
    """How accuracy changed on the questions that both answered, per language, then the mean over languages.

    Args:
        before: one response of the first model to each question in each language, marked.
        after: those of the second.
        seed: of the resampling.

    Raises:
        InputError: when nothing is marked, or a question has two responses.
        MismatchError: when they have no question in common, or its right answers differ.
    """
    firsts, seconds = _marked(before), _marked(after)
    both = [key for key in firsts if key in seconds]
    if not both:
        raise MismatchError(
            "the two evaluations have no question in common; evaluate both on the same questions"
        )
    differ = [key for key in both if firsts[key].answer != seconds[key].answer]
    if differ:
        raise MismatchError(
            f"the right answer to {', '.join(differ[0])} is not the same in the two evaluations"
        )
    ids, codes, was, there = _table([firsts[key] for key in both])
    _, _, now, _ = _table([seconds[key] for key in both])
    lost, gained = (was > now).sum(axis=0), (now > was).sum(axis=0)
    n, weights = there.sum(axis=0), _weights(len(ids), seed)
    rows = []
    for i, code in enumerate(codes):
        column = slice(i, i + 1)
        low, high = _interval(_means(weights, (now - was)[:, column], there[:, column]))
        first, second = was[:, i].sum() / n[i], now[:, i].sum() / n[i]
        p = mcnemar(int(lost[i]), int(gained[i]))
        rows.append(
            Change(
                code,
                int(n[i]),
                first,
                second,
                second - first,
                low,
                high,
                int(lost[i]),
                int(gained[i]),
                p,
            )
        )
    low, high = _interval(_means(weights, now - was, there))
    first, second = (
        float(np.mean([getattr(row, name) for row in rows])) for name in ("before", "after")
    )
    p = _changed_at_random((now - was) / n, seed)
    total = int(lost.sum()), int(gained.sum())
    return [*rows, Change(MEAN, len(ids), first, second, second - first, low, high, *total, p)]


def _marked(responses: Sequence[Response]) -> dict[tuple[str, str], Response]:
    """Responses known to be right or wrong, by question and language."""
    out: dict[tuple[str, str], Response] = {}
    for response in responses:
        key = response.question_id, response.lang
        if key in out:
            raise InputError(
                f"there are several responses to {', '.join(key)}; accuracy is of one to each question"
            )
        if response.correct is not None:
            out[key] = response
    if not out:
        raise InputError(
            "no response is known to be right or wrong; the questions need an answer that is a number"
        )
    return out


def _table(responses: Sequence[Response]) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
    """Questions Q, languages K, and per question and language whether it is right and whether it is there, [Q, K]."""
    marked = _marked(responses)
    ids, codes = (list(dict.fromkeys(names)) for names in zip(*marked, strict=True))
    right, there = np.zeros((2, len(ids), len(codes)))
    place_of_id, place_of_code = (
        {name: i for i, name in enumerate(names)} for names in (ids, codes)
    )
    for (question_id, code), response in marked.items():
        at = place_of_id[question_id], place_of_code[code]
        right[at], there[at] = bool(response.correct), 1
    return ids, codes, right, there


def _weights(questions: int, seed: int) -> np.ndarray:
    """How often each question is drawn in each resampling, [draws, Q]."""
    return block_draws(questions, DRAWS, seed).astype(np.float32)


def _means(weights: np.ndarray, values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Mean over languages of the means over the questions drawn, [draws]; a language none was drawn of counts as 0."""
    sums, n = weights @ values, weights @ there
    return np.divide(sums, n, out=np.zeros_like(sums), where=n > 0).mean(axis=1)


def _interval(draws: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(low), float(high)


def _changed_at_random(differences: np.ndarray, seed: int) -> float:
    """Two-sided p of the sum of differences [Q, K] when the sign of each question's is drawn at random."""
    each = differences.sum(axis=1)
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), (DRAWS, len(each)))
    as_large = np.abs(signs @ each) >= abs(each.sum()) - 1e-12
    return float((1 + as_large.sum()) / (1 + DRAWS))
