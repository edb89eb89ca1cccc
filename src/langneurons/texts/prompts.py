"""Prompts: from a question to what the model is given, by a template."""

from typing import TYPE_CHECKING

from langneurons.errors import brief

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


import string
from pathlib import Path

from langneurons.errors import InputError
from langneurons.texts.languages import language

TEMPLATES = {
    "mathoctopus": (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request. "
        "Please answer in {language}.\n\n### Instruction:\n{question}\n\n### Response:"
    ),
    "plain": "{question}\n",
}
"""Prompt templates by name; `chat` is one more, the tokenizer's own."""


def load_template(template: str) -> str:
    """The text of a prompt template, checked; what this gives may be given again.

    Args:
        template: `mathoctopus`, `plain`, `chat` (stays as it is), a text with {question} and
            perhaps {language} (its English name) and {code}, or the path of a file that holds such
            a text, used to the last character. Any other brace is doubled.

    Raises:
        InputError: when it is none of these, lacks {question}, or has other placeholders.
    """
    if template == "chat":
        return template
    text = TEMPLATES.get(template, template)
    if "{" not in text:
        try:
            text = Path(text).read_text("utf-8")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise InputError(
                f"template {brief(template)} cannot be read as a file ({why}); "
                f"use {', '.join(TEMPLATES)}, chat, a text file, or a text with {{question}}"
            ) from None
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise InputError(
            f"template {brief(template)}: {error}; write a brace that is meant as one twice"
        ) from None
    names = {
        f"{name}{f'!{how}' * bool(how)}{f':{form}' * bool(form)}"
        for _, name, form, how in parts
        if name is not None
    }
    strange = sorted(names - {"question", "language", "code"})
    if strange:
        raise InputError(
            f"template {brief(template)} has the placeholder {{{strange[0]}}}; there are {{question}}, {{language}} "
            "and {code}, and a brace that is meant as one is written twice"
        )
    if "question" not in names:
        raise InputError(f"template {brief(template)} lacks {{question}}, where the question goes")
    return text


def render(
    template: str, question: str, lang: str, tokenizer: "PreTrainedTokenizerBase | None" = None
) -> str:
    """The prompt for a question in the language `lang`, by a template of `load_template`.

    With `chat` it is what the tokenizer's chat template makes of one user message, up to where the
    answer starts. A beginning token that the tokenizer adds anyway is left off, so that the prompt
    is not given two.

    Raises:
        InputError: see `load_template`; for `chat`, when there is no tokenizer or it has no chat
            template.
    """
    text = load_template(template)
    if text != "chat":
        return text.format(question=question, language=language(lang).name, code=lang)
    if tokenizer is None or not tokenizer.chat_template:
        what = (
            "no tokenizer was given" if tokenizer is None else "the tokenizer has no chat template"
        )
        raise InputError(
            f"the template chat is the model's own, but {what}; use mathoctopus, plain or a text of yours"
        )
    message = [{"role": "user", "content": question}]
    prompt = str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))
    adds = tokenizer.bos_token is not None and tokenizer("").input_ids[:1] == [
        tokenizer.bos_token_id
    ]
    return prompt.removeprefix(str(tokenizer.bos_token)) if adds else prompt
