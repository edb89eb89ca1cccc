"""Prompts: what a steered model goes on from, and how the languages it may write are told apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from langneurons.errors import InputError
from langneurons.model.reading import chunks
from langneurons.texts import running_text
from langneurons.texts.language_id import Identifier, by_language, learn
from langneurons.texts.prompts import suited
from langneurons.texts.questions import chosen, load_questions
from langneurons.texts.responses import Question
from langneurons.texts.running_text import Document

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Prompt(NamedTuple):
    """What is gone on from.

    Attributes:
        text: the prompt, to the character.
        answer: the right answer to it, where known.
    """

    text: str
    answer: float | str | None = None


@dataclass(frozen=True)
class Texts:
    """Texts in several languages, as they were found.

    Attributes:
        texts: all of them by language, from which the identifier learns.
        questions: of questions, all of them; empty where they are running text.
        digests: file name -> SHA-256 of its content; of questions none.
    """

    texts: dict[str, list[str]]
    questions: Sequence[Question]
    digests: dict[str, str]

    @cached_property
    def identifier(self) -> tuple[Identifier, dict[str, float]]:
        """What tells the languages apart, and how often it is right about these texts, each without
        itself.

        Raises:
            InputError: for one language, or too little text in one.
        """
        identifier = learn(self.texts)
        if identifier is None:
            raise InputError(
                f"the texts, in {', '.join(self.texts)}, do not tell languages apart; two or more "
                "are needed, with 500 characters each"
            )
        right = {
            code: sum(identifier.language(text, learnt_as=code) == code for text in own) / len(own)
            for code, own in self.texts.items()
        }
        return identifier, right


def prompts(
    texts: Texts,
    language: str,
    take: int,
    *,
    beginning: int,
    template: str | None,
    tokenizer: "PreTrainedTokenizerBase",
) -> list[Prompt]:
    """The first prompts of a language: questions through a template, or beginnings of texts.

    Args:
        texts: the texts.
        language: the code of one of their languages.
        take: how many.
        beginning: tokens of a running text that are its prompt, at most.
        template: makes a prompt of a question, see `load_template`.
        tokenizer: the model's.

    Raises:
        InputError: for a template that cannot be used; for fewer than four prompts, as they are
            parted into halves.
    """
    if texts.questions:
        form = suited(template, tokenizer)
        asked = chosen(texts.questions, (language,), take)
        made = [Prompt(form.prompt(one.question, one.lang, tokenizer), one.answer) for one in asked]
    else:
        documents = (
            Document(str(number), language, text)
            for number, text in enumerate(islice(texts.texts[language], take))
        )
        made = [Prompt(chunks(tokenizer, [one], beginning)[0].response) for one in documents]
    if len(made) < 4:
        raise InputError(
            f"{len(made)} prompts in {language}: 4 or more are needed, as a strength is chosen on "
            "one half and judged on the other"
        )
    return made


def texts_of(source: str) -> Texts:
    """Questions, or running text, by whichever it is.

    Raises:
        InputError: see `load_questions` and `running_text.read`.
    """
    if running_text.is_running_text(Path(source)):
        there = running_text.read(Path(source))
        documents = ((document.lang, document.text) for document in there.documents)
        return Texts(by_language(documents), (), there.digests)
    questions = load_questions(source)
    asked = ((question.lang, question.question) for question in questions)
    return Texts(by_language(asked), questions, {})
