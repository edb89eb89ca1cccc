"""Evaluate: one greedy response to each question, and the share of right answers per language."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from langneurons.accuracy import Accuracy, accuracies
from langneurons.answers import is_correct
from langneurons.artifacts import State
from langneurons.completions import Engine
from langneurons.config import EvaluateConfig
from langneurons.errors import InputError
from langneurons.responses import Question, Response
from langneurons.sample import Progress, sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Evaluated(NamedTuple):
    """What an evaluation gives.

    Attributes:
        responses: one to each question, in order, marked.
        accuracies: per language, then their mean.
        facts: what to know of the responses, see `sample.Sampled`.
    """

    responses: list[Response]
    accuracies: list[Accuracy]
    facts: dict[str, Any]


def evaluate(
    engine: Engine,
    questions: Sequence[Question],
    config: EvaluateConfig,
    *,
    template: str | None = None,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
    state: State | None = None,
    on_step: Progress | None = None,
) -> Evaluated:
    """Greedy accuracy per language; for the arguments see `sample.sample`.

    Questions whose answer is no number (a month, a weekday) are asked but not counted.

    Raises:
        InputError: when no question in a language has an answer that is a number.
    """
    codes = dict.fromkeys(one.lang for one in questions)
    judged = {one.lang for one in questions if is_correct("", one.answer, one.lang) is not None}
    if without := [code for code in codes if code not in judged]:
        raise InputError(f"no question in {', '.join(without)} has an answer that is a number, so none can be right")
    responses, facts = sample(
        engine,
        questions,
        config.greedy(),
        template=template,
        tokenizer=tokenizer,
        state=state,
        on_step=on_step,
    )
    return Evaluated(responses, accuracies(responses), facts)
