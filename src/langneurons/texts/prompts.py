"""Prompts: from a question to what the model is given, by a template."""

import codecs
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langneurons.contents import foreign
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

_TODAY = datetime(2025, 1, 1)
"""The date for chat templates that ask for one, so that prompts are the same every day."""

_OF_DATES = "aAbBcdHIjmMpSUwWxXyY"
"""What a date can be asked for, as `strftime` calls it."""


@dataclass(frozen=True)
class Template:
    """A prompt template that was checked; see `load_template`.

    Attributes:
        text: with its placeholders; or `chat`.
    """

    text: str

    @property
    def name(self) -> str:
        """What to call it: its name, or the beginning of its text."""
        names = [name for name, text in TEMPLATES.items() if text == self.text]
        return self.text if self.text == CHAT else names[0] if names else brief(self.text)

    def prompt(
        self, question: str, lang: str, tokenizer: "PreTrainedTokenizerBase | None" = None
    ) -> str:
        """The prompt for a question in the language `lang`.

        With `chat` it is what the tokenizer's chat template makes of one user message, up to where
        the answer starts. A beginning token that the tokenizer adds anyway is left off, so that the
        prompt is not given two.

        Raises:
            InputError: for `chat`, when there is no tokenizer, it has no chat template, or one that
                refuses a question or leaves it out; where the language is to be named and its code
                is not known.
        """
        if self.text == CHAT:
            return _chat_prompt(question, tokenizer)
        name = named(lang) if self._names_the_language else ""
        return self.text.format(question=question, language=name, code=lang)

    @cached_property
    def _names_the_language(self) -> bool:
        return any(name == "language" for _, name, _, _ in string.Formatter().parse(self.text))


def suited(template: str | None, tokenizer: "PreTrainedTokenizerBase | None") -> Template:
    """The template that is named, else the one that suits a model with this tokenizer.

    That is its own chat template if it has one, else that of MathOctopus. The same rule holds
    whatever writes the responses.

    Raises:
        InputError: when neither is known; else as `load_template`.
    """
    if template:
        return load_template(template)
    if tokenizer is None:
        raise InputError(
            "whether the model has a chat template cannot be known without its tokenizer; name "
            "that (--tokenizer, a folder or an id on the Hub), or say how to ask (--template chat, "
            "mathoctopus, plain or a text of yours)"
        )
    return Template(CHAT if tokenizer.chat_template else TEMPLATES["mathoctopus"])


def load_template(template: str) -> Template:
    """A prompt template, checked; the text of what this gives may be given again.

    Args:
        template: `mathoctopus`, `plain`, `chat` (stays as it is), a text with {question} and
            perhaps {language} (its English name) and {code}, or the path of a file that holds such
            a text, used to the last character but for a byte order mark in front. Any other brace
            is doubled.

    Raises:
        InputError: when it is none of these, lacks {question}, or has other placeholders.
    """
    if template == CHAT:
        return Template(CHAT)
    text = TEMPLATES.get(template, template)
    if "{" not in text:
        text = _from_file(template)
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise InputError(
            f"template {brief(template)} is no valid text: it holds half a surrogate pair, as what "
            "is not UTF-8 becomes on a command line; write it into a UTF-8 file"
        )
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
        return Path(template).read_text("utf-8").lstrip("\ufeff")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else _not_utf8(error, Path(template))
        raise InputError(
            f"template {brief(template)} cannot be read as a file ({why}); "
            f"use {', '.join(TEMPLATES)}, chat, a text file, or a text with {{question}}"
        ) from None


def _not_utf8(error: ValueError, file: Path) -> str:
    """What a file is that could not be read as UTF-8."""
    content = error.object if isinstance(error, UnicodeDecodeError) else b""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "it is UTF-16; save it as UTF-8"
    what = foreign(file) if content else None
    return f"it is {what}" if what else "not UTF-8"


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
    prompt = _whole_chat(question, tokenizer)
    begins = tokenizer.bos_token_id
    adds_it = tokenizer.bos_token is not None and tokenizer("").input_ids[:1] == [begins]
    return prompt.removeprefix(str(tokenizer.bos_token)) if adds_it else prompt


def _whole_chat(question: str, tokenizer: "PreTrainedTokenizerBase") -> str:
    """What the chat template makes of one user message.

    Templates of models that also take pictures may want the content in parts, and write nothing for
    a text, or stop at it; then it is given so.

    Raises:
        InputError: when the template refuses it either way, or leaves the question out.
    """
    templates = tokenizer.chat_template
    if isinstance(templates, Mapping) and "default" not in templates:
        raise InputError(
            f"the tokenizer has several chat templates ({', '.join(map(str, templates))}) and none "
            "is called default; use --template mathoctopus, plain or a text of yours"
        )
    refused = None
    contents: tuple[Any, ...] = (question, [{"type": "text", "text": question}])
    for content in contents:
        try:
            prompt = tokenizer.apply_chat_template(
                [{"role": "user", "content": content}],
                tokenize=False,
                add_generation_prompt=True,
                chat_template=_on_that_day(str(tokenizer.get_chat_template())),
            )
        except Exception as error:  # noqa: BLE001 - a template is a program of somebody else's
            refused = refused or error
            continue
        as_python = content is not question and str(content) in str(prompt)
        if _as_words(question) in _as_words(str(prompt)) and not as_python:
            return str(prompt)
    raise InputError(_why_no_chat(refused))


def _on_that_day(template: str) -> str:
    """The chat template with a date in it wherever it asks for today's.

    A macro answers where the form of the date is no plain text; transformers lets no function in.
    """

    def date(match: re.Match[str]) -> str:
        return f"'{_TODAY.strftime(match[2])}'"

    dated = re.sub(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""", date, template)
    if not re.search(r"strftime_now\s*\(", dated):
        return dated
    parts = "".join(f"|replace('%{part}', '{_TODAY.strftime(f'%{part}')}')" for part in _OF_DATES)
    macro = f"{{% macro strftime_now(form) %}}{{{{ form{parts} }}}}{{% endmacro %}}"
    return f"{macro}{{{{ '' }}}}{dated}"


def _as_words(text: str) -> str:
    """The text with single spaces: templates may trim what they are given."""
    return " ".join(text.split())


def _why_no_chat(refused: Exception | None) -> str:
    """Why there is no prompt, and what to do."""
    instead = "use --template mathoctopus, plain or a text of yours"
    if refused is None:
        return f"the model's chat template leaves the question out of the prompt; {instead}"
    said = " ".join(str(refused).split()).removesuffix(".") or type(refused).__name__
    if type(refused).__name__ == "TemplateSyntaxError":
        return f"the model's chat template is damaged ({said}); mend it, or {instead}"
    return f"the model's chat template refuses a question without more ({said}); {instead}"
