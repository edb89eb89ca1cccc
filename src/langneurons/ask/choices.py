"""Choices: which of given answers a model finds most probable after the question.

An answer's score is its summed log-probability after the prompt, and calibrated what is left of
that when its score after the same prompt without the question is taken off: how probable an answer
is in itself says nothing (contextual calibration in its simplest form, pointwise mutual
information).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from langneurons.ask.silenced import Answers
from langneurons.config import TaskConfig
from langneurons.errors import InputError
from langneurons.intervals import Floats
from langneurons.model.beginnings import Beginning, by_key, shared
from langneurons.model.hooks import silence
from langneurons.model.scored import prepared, why_not_from
from langneurons.resume import Progress, Saved, Tensors, units_left
from langneurons.texts.languages import same
from langneurons.texts.prompts import CHAT, Template, suited
from langneurons.texts.responses import Question, Response

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from langneurons.model.loading import Loaded


@dataclass(frozen=True)
class Choosing:
    """How a model is shown a question with choices.

    Attributes:
        template: makes a prompt of a question.
        examples: questions with their answers, shown before; those of a question's language.
        shots: how many of them, the first ones.
        calibrated: whether an answer's score without the question is taken off.
    """

    template: Template
    examples: tuple[Question, ...]
    shots: int
    calibrated: bool

    @classmethod
    def of(
        cls,
        config: TaskConfig,
        template: str | None,
        examples: Sequence[Question],
        tokenizer: "PreTrainedTokenizerBase | None",
    ) -> "Choosing":
        """As settings say; without a template `plain`, or the chat template where there is one."""
        plain = tokenizer is not None and not tokenizer.chat_template
        return cls(
            template=suited(template or ("plain" if plain else None), tokenizer),
            examples=tuple(examples),
            shots=config.shots if examples else 0,
            calibrated=config.calibrate,
        )

    def prompt(self, question: str, lang: str, tokenizer: "PreTrainedTokenizerBase | None") -> str:
        """What stands before the answer.

        Raises:
            InputError: when the language has too few examples.
        """
        shown = self._shown(lang)
        if self.template.text == CHAT:
            asked = [f"{one.question}\n{one.answer}" for one in shown]
            return self.template.prompt("\n\n".join([*asked, question]), lang, tokenizer)
        asked = [f"{self._plain(one.question, lang)} {one.answer}" for one in shown]
        return "\n\n".join([*asked, self._plain(question, lang)])

    def answer(self, text: str) -> str:
        """An answer as it follows the prompt."""
        return text if self.template.text == CHAT else f" {text}"

    def _plain(self, question: str, lang: str) -> str:
        return self.template.prompt(question, lang).rstrip(" ")

    def _shown(self, lang: str) -> list[Question]:
        mine = [one for one in self.examples if same(one.lang, lang)]
        if self.examples and len(mine) < self.shots:
            raise InputError(
                f"{len(mine)} examples are there in {lang}, {self.shots} are to be shown; "
                "add some, or lower --shots"
            )
        return mine[: self.shots]


class _Place(NamedTuple):
    """A text whose answer is scored, among all of them."""

    lang: str
    prompt: str
    answer: str


class Chooser:
    """Questions with choices, ready to be answered, with neurons silenced or not.

    Attributes:
        facts: what to know of it: why prompts are not shared, or what they begin with, where they
            are not.
    """

    def __init__(
        self,
        model: "Loaded",
        questions: Sequence[Question],
        choosing: Choosing,
        *,
        budget: int = 0,
        save_every: float = 60.0,
    ) -> None:
        """Make every text that is scored.

        Args:
            model: what answers.
            questions: questions with choices.
            choosing: how they are shown.
            budget: tokens of a batch; 0 leaves it to us.
            save_every: seconds between savings of what is done.

        Raises:
            InputError: for a question without choices or without an answer among them, or one that
                is longer with its prompt than the model's context.
        """
        require_choices(questions)
        self.questions, self.choosing, self.save_every = questions, choosing, save_every
        tokenizer = model.tokenizer
        empty = {lang: choosing.prompt("", lang, tokenizer) for lang in _languages(questions)}
        self.prompts = [choosing.prompt(one.question, one.lang, tokenizer) for one in questions]
        texts: dict[_Place, int] = {}
        self.places: list[tuple[list[int], list[int]]] = []
        for question, prompt in zip(questions, self.prompts, strict=True):
            asked, alone = (
                [
                    texts.setdefault(_Place(question.lang, text, answer), len(texts))
                    for answer in map(choosing.answer, question.choices)
                ]
                for text in (
                    [prompt, empty[question.lang]] if choosing.calibrated else [prompt] * 2
                )
            )
            self.places.append((asked, alone))
        rows = [
            Response(str(place), text.lang, text.prompt, text.answer)
            for text, place in texts.items()
        ]
        codes = _languages(questions)
        fit, work, facts = prepared(
            model, rows, codes, blocks=1, budget=model.budget(budget), share_prompts=None
        )
        if long := facts.pop("longer than the context", None):
            raise InputError(
                f"{sum(long['responses'].values())} of {len(rows)} answers are longer with their "
                f"prompts than the model's context of {long['context']:,} tokens; lower --shots"
            )
        self.work = replace(work, batches=by_key(work.batches))
        self.facts: dict[str, Any] = facts
        self._begin()
        self.order = np.array([int(row.question_id) for row in fit])

    def _begin(self) -> None:
        """Find what the prompts of a language begin with, and try whether they go on from it."""
        batches = self.work.batches
        self.beginnings = shared(batches)
        if not self.beginnings:
            return
        key = min(self.beginnings)  # batches stand key by key
        batch = next(batch for batch in batches.batches if batches.rows[batch.rows[0]].key == key)
        if why := why_not_from(self.work, self.beginnings[key], batch):
            self.facts["examples not shared"] = why
            self.beginnings = {}

    def answers(
        self,
        masks: "Sequence[Tensor | None] | None",
        state: Saved | None = None,
        on_step: Progress | None = None,
    ) -> Answers:
        """The most probable choice of each question; see `silenced.Answering`."""
        scores = self.scores(masks, state, on_step)
        responses, worth = [], []
        for question, prompt, (asked, alone) in zip(
            self.questions, self.prompts, self.places, strict=True
        ):
            best = scores[asked] - scores[alone] if self.choosing.calibrated else scores[asked]
            picked = question.choices[int(np.argmax(best))]
            right = picked == question.answer
            worth.append(float(right))
            responses.append(
                Response(
                    question_id=question.id,
                    lang=question.lang,
                    prompt=prompt,
                    response=self.choosing.answer(picked),
                    answer=question.answer,
                    correct=right,
                )
            )
        return Answers(responses, worth, [math.nan] * len(responses))

    def scores(
        self,
        masks: "Sequence[Tensor | None] | None",
        state: Saved | None = None,
        on_step: Progress | None = None,
    ) -> Floats:
        """Summed log-probability of every text's answer after its prompt, in nats."""
        sums = np.zeros(len(self.order))
        sites, batches = self.work.sites, self.work.batches
        begun: dict[int, Beginning] = {}

        def load(saved: Tensors) -> None:
            sums[:] = saved["sums"]

        with silence(sites, masks if masks is not None else [None] * len(sites)):
            for number in units_left(
                [len(batch.rows) for batch in batches.batches],
                load=load,
                tensors=lambda: {"sums": sums},
                state=state,
                save_every=self.save_every,
                on_step=on_step,
            ):
                batch = batches.batches[number]
                key = batches.rows[batch.rows[0]].key
                if key in self.beginnings and key not in begun:
                    begun = {key: self.work.begun(self.beginnings[key])}
                found = self.work.log_probabilities(batch, begun.get(key))
                sums[self.order[list(batch.rows)]] = found
        return sums


def require_choices(questions: Sequence[Question]) -> None:
    """Stop where a question has no choices, or no answer among them.

    Raises:
        InputError: naming the first.
    """
    for question in questions:
        if not question.choices:
            raise InputError(
                f"question {question.id} ({question.lang}) has no choices; --task choices needs "
                "them, as in a row with choices and answer"
            )
        if question.answer is None:
            raise InputError(f"question {question.id} ({question.lang}) has choices and no answer")


def _languages(questions: Sequence[Question]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(question.lang for question in questions))
