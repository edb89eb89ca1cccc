"""Evaluate: one response to each question, always the likeliest, and how many are right."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from langneurons.ask.sample import sampled
from langneurons.config import EvaluateConfig, of
from langneurons.errors import InputError
from langneurons.resume import Progress, Saved
from langneurons.texts import question_ids
from langneurons.texts.accuracy import Evaluation, accuracies
from langneurons.texts.answers import is_correct
from langneurons.texts.questions import chosen
from langneurons.texts.responses import Question

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from langneurons.ask.engine import Engine
    from langneurons.model.loading import Loaded


class Evaluated(NamedTuple):
    """What evaluating gives.

    Attributes:
        evaluation: the responses, one to each question, in order; and their accuracies.
        facts: what to know of the responses, see `sample.Sampled`.
    """

    evaluation: Evaluation
    facts: dict[str, Any]


def evaluate(
    model: "Loaded | Engine",
    questions: str | Sequence[Question],
    config: EvaluateConfig | None = None,
    *,
    languages: Sequence[str] | None = None,
    take: int = 0,
    template: str | None = None,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
    state: Saved | None = None,
    on_step: Progress | None = None,
    **settings: Any,
) -> Evaluation:
    """Accuracy of a model per language; for the arguments see `sample.sample`.

    Questions whose answer is no number (a month, a weekday) are asked but not counted.

    Raises:
        InputError: when no question in a language has an answer that is a number; else as `sample`.
    """
    return evaluated(
        model,
        chosen(questions, languages, take),
        of(EvaluateConfig, config, settings),
        template=template,
        tokenizer=tokenizer,
        state=state,
        on_step=on_step,
    ).evaluation


def evaluated(
    model: "Loaded | Engine",
    questions: Sequence[Question],
    config: EvaluateConfig,
    *,
    template: str | None = None,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
    state: Saved | None = None,
    on_step: Progress | None = None,
) -> Evaluated:
    """What `evaluate` gives, with what is to be said of it; for arguments and errors see there."""
    _require_numbers(questions)
    responses, facts = sampled(
        model,
        questions,
        config.greedy(),
        template=template,
        tokenizer=tokenizer,
        state=state,
        on_step=on_step,
    )
    facts["notes"] = question_ids.notes(
        question_ids.ids_of(questions),
        "the interval of the mean takes their questions for different ones",
    )
    return Evaluated(Evaluation(responses, accuracies(responses)), facts)


def _require_numbers(questions: Sequence[Question]) -> None:
    """Stop, naming them, when languages have no question that can be answered right."""
    judged = dict.fromkeys((question.lang for question in questions), False)
    for question in questions:
        if is_correct("", question.answer, question.lang) is not None:
            judged[question.lang] = True
    if without := [code for code, known in judged.items() if not known]:
        raise InputError(
            f"no question in {', '.join(without)} has an answer that is a number, so none can be "
            "right"
        )
