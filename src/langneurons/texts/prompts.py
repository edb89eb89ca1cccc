"""Prompts: from a question to what the model is given, by a template."""

import string
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from langneurons.errors import InputError, brief
from langneurons.texts.languages import named

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATES = {
    "mathoctopus": (
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request. "
        "Please answer in {language}.\n\n### Instruction:\n{question}\n\n### Response:"
    ),
    "plain": "{question}\n",
}
"""Prompt templates by name; `chat` is one more, the tokenizer's own."""

CHAT = "chat"
"""Name of the template that is the tokenizer's own."""

_PLACEHOLDERS = ("question", "language", "code")


@dataclass(frozen=True)
class Template:
    """A prompt template that was checked; see `load_template`.

    Attributes:
        text: with its placeholders; or `chat`.
    """

    text: str

    def prompt(
        self, question: str, lang: str, tokenizer: "PreTrainedTokenizerBase | None" = None
    ) -> str:
        """The prompt for a question in the language `lang`.

        With `chat` it is what the tokenizer's chat template makes of one user message, up to where
        the answer starts. A beginning token that the tokenizer adds anyway is left off, so that the
        prompt is not given two.

        Raises:
            InputError: for `chat`, when there is no tokenizer or it has no chat template; where the
                language is to be named and its code is not known.
        """
        if self.text == CHAT:
            return _chat_prompt(question, tokenizer)
        name = named(lang) if self._names_the_language else ""
        return self.text.format(question=question, language=name, code=lang)

    @cached_property
    def _names_the_language(self) -> bool:
        return any(name == "language" for _, name, _, _ in string.Formatter().parse(self.text))


def load_template(template: str) -> Template:
    """A prompt template, checked; the text of what this gives may be given again.

    Args:
        template: `mathoctopus`, `plain`, `chat` (stays as it is), a text with {question} and
            perhaps {language} (its English name) and {code}, or the path of a file that holds such
            a text, used to the last character. Any other brace is doubled.

    Raises:
        InputError: when it is none of these, lacks {question}, or has other placeholders.
    """
    if template == CHAT:
        return Template(CHAT)
    text = TEMPLATES.get(template, template)
    if "{" not in text:
        text = _from_file(template)
    try:
        placeholders = {
            _as_written(name, form, conversion)
            for _, name, form, conversion in string.Formatter().parse(text)
            if name is not None
        }
    except ValueError as error:
        raise InputError(
            f"template {brief(template)}: {error}; write a brace that is meant as one twice"
        ) from None
    strange = sorted(placeholders.difference(_PLACEHOLDERS))
    if strange:
        raise InputError(
            f"template {brief(template)} has the placeholder {{{strange[0]}}}; there are "
            "{question}, {language} and {code}, and a brace that is meant as one is written twice"
        )
    if "question" not in placeholders:
        raise InputError(f"template {brief(template)} lacks {{question}}, where the question goes")
    return Template(text)


def _from_file(template: str) -> str:
    """The text in the file that a template names."""
    try:
        return Path(template).read_text("utf-8")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputError(
            f"template {brief(template)} cannot be read as a file ({why}); "
            f"use {', '.join(TEMPLATES)}, chat, a text file, or a text with {{question}}"
        ) from None


def _as_written(name: str, form: str | None, conversion: str | None) -> str:
    """A placeholder as it stands between its braces: `question`, `question!r`, `code:>4`."""
    after_name = f"!{conversion}" if conversion else ""
    return name + after_name + (f":{form}" if form else "")


def _chat_prompt(question: str, tokenizer: "PreTrainedTokenizerBase | None") -> str:
    if tokenizer is None or not tokenizer.chat_template:
        what = (
            "no tokenizer was given" if tokenizer is None else "the tokenizer has no chat template"
        )
        raise InputError(
            f"the template chat is the model's own, but {what}; use mathoctopus, plain or a text "
            "of yours"
        )
    message = [{"role": "user", "content": question}]
    prompt = str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))
    begins = tokenizer.bos_token_id
    adds_it = tokenizer.bos_token is not None and tokenizer("").input_ids[:1] == [begins]
    return prompt.removeprefix(str(tokenizer.bos_token)) if adds_it else prompt
