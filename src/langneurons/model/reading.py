"""Reading: the texts that a model is to read: responses, or running text in chunks of its tokens.

A chunk of running text is a response to an empty prompt, so it is counted and scored as one: its
document is its question, its number the sample.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from langneurons.config import TextConfig, identity
from langneurons.errors import InputError
from langneurons.model.forward import context
from langneurons.model.tokens import tokenise
from langneurons.texts import perturbed, rows, running_text
from langneurons.texts.flaws import flaws, gate, left_out
from langneurons.texts.responses import Response
from langneurons.texts.running_text import Document

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from langneurons.model.loading import Loaded

WRONG_LANGUAGE = "wrong language"
"""What only a document of running text can be besides its `flaws`."""

_PER_TOKEN = 8
"""Characters of running text that are read for each token wanted: more than any language needs."""

_NAMED = 5
"""Documents in another language that are named."""


@dataclass(frozen=True)
class Reading:
    """Texts that a model is to read.

    Attributes:
        responses: what is counted, without what was dropped.
        digests: file name -> SHA-256 of its content.
        settings: those that determine what is read, for the identity of a result.
        gone: why others are not among them, language -> reason -> how many, see `flaws.left_out`.
        facts: what is to be said of them: `gates`, a row for each language, and of running text
            what its documents are and which are in another language.
        template: the text of what made prompts for rows without one, or `chat`; None for none.
        notes: what to say of these.
    """

    responses: list[Response]
    digests: dict[str, str]
    settings: dict[str, Any]
    gone: dict[str, dict[str, int]]
    facts: dict[str, Any]
    template: str | None = None
    notes: Sequence[str] = ()

    def result_settings(
        self, config: Any, loaded: "Loaded", languages: Sequence[str] | None
    ) -> dict[str, Any]:
        """What a result depends on that is made of these texts: settings of its stage, the
        languages wanted, how texts were read and the type of the weights.
        """
        return {
            **identity(config),
            "languages": languages,
            "template": self.template,
            "dtype": str(loaded.model.dtype),
            **self.settings,
        }

    def result_facts(
        self, facts: Mapping[str, Any], loaded: "Loaded", notes: Sequence[str] = ()
    ) -> dict[str, Any]:
        """What such a result says of itself.

        Args:
            facts: what its stage found, with `notes`.
            loaded: the model.
            notes: what to say before those.
        """
        return {
            **facts,
            **self.facts,
            "notes": [*notes, *facts["notes"], *self.notes],
            "model": loaded.facts,
        }


def read_whole(
    source: Path,
    loaded: "Loaded",
    config: TextConfig,
    *,
    languages: Sequence[str] | None,
    template: str | None,
) -> Reading:
    """The texts of a source to be scored: nothing is dropped, and responses of other languages are
    read too, which the stage leaves out.

    Raises:
        InputError: as `read`.
    """
    return read(
        source,
        loaded,
        config,
        languages=languages if running_text.is_running_text(source) else None,
        template=template,
        drop=None,
    )


def read(
    source: Path,
    loaded: "Loaded",
    config: TextConfig,
    *,
    languages: Sequence[str] | None = None,
    template: str | None = None,
    drop: Sequence[str] | None = (),
) -> Reading:
    """The texts of a source: responses, or running text, as `running_text.is_running_text` says.

    Args:
        source: see `rows.read_responses` and `running_text.read`.
        loaded: the model that is to read them.
        config: how running text is read, and whether texts are perturbed.
        languages: the codes wanted; default: whatever is there.
        template: for rows that hold a question and no prompt, see `rows.read_responses`.
        drop: flaws to leave out besides empty texts; None: responses are taken as they are.

    Raises:
        InputError: for what cannot be read, or a language of which nothing is left.
    """
    is_plain = running_text.is_running_text(source)
    reading = (
        _running_text(source, loaded, config, languages, drop or ())
        if is_plain
        else _responses(source, loaded, template, languages, drop)
    )
    settings: dict[str, Any] = {}
    if config.perturb != "none":
        settings["perturb"] = config.perturb
    if config.perturb == "shuffle":
        settings["shuffle_seed"] = config.shuffle_seed
    if is_plain:
        settings |= {name: getattr(config, name) for name in ("tokens", "chunk", "documents")}
        settings["take"] = config.take
    else:
        changed = {name: getattr(config, name) for name in ("tokens", "take")}
        if changed != {"tokens": "all", "take": 0}:
            raise InputError(
                f"--tokens and --take are for running text; {source} holds responses, which are "
                "counted as they are"
            )
        perturb = _perturbing(config)
        reading = replace(
            reading,
            responses=[
                replace(
                    response,
                    prompt=perturb(response.prompt, response.lang, response.question_id),
                    response=perturb(response.response, response.lang, response.question_id),
                )
                for response in reading.responses
            ],
        )
    return replace(reading, settings=settings)


def chunks(
    tokenizer: "PreTrainedTokenizerBase", documents: Sequence[Document], length: int
) -> list[Response]:
    """Documents in chunks of at most so many of their own tokens, special ones not counted.

    A chunk ends before a word where there is one in its second half, else before any token that
    begins with a character of its own; spaces around it are left off. A document that is short
    enough is left as it is.
    """
    made = []
    for document in documents:
        for number, text in enumerate(_pieces(tokenizer, document.text, length)):
            made.append(Response(document.id, document.lang, "", text, sample=number))
    return made


def cut(
    tokenizer: "PreTrainedTokenizerBase",
    texts: Sequence[Response],
    numbers: Sequence[int],
    most: Mapping[str, int],
) -> list[Response]:
    """The first texts of each language, up to so many tokens; the last is cut before a token.

    Cut off, a text may have other tokens at its end: then it is made a little shorter still.

    Args:
        tokenizer: the tokenizer.
        texts: the texts.
        numbers: how many tokens of each are counted.
        most: tokens of each language.
    """
    left = dict(most)
    kept = []
    for text, number in zip(texts, numbers, strict=True):
        had = left[text.lang]
        if not had:
            continue
        if number > had:
            shorter = _beginning(tokenizer, text.response, had)
            left[text.lang] = 0
            if shorter:
                kept.append(replace(text, response=shorter))
            continue
        left[text.lang] -= number
        kept.append(text)
    return kept


def counted(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[Response]) -> list[int]:
    """How many tokens of each text are counted."""
    return [int(tokens.counted.sum()) for tokens in tokenise(tokenizer, texts)]


def _responses(
    source: Path,
    loaded: "Loaded",
    template: str | None,
    languages: Sequence[str] | None,
    drop: Sequence[str] | None,
) -> Reading:
    """Responses, and what was wrong with them."""
    there = rows.read(source, template, languages, loaded.tokenizer)
    whole = Reading(
        responses=there.responses,
        digests=there.digests,
        settings={},
        gone={},
        facts={},
        template=there.template,
        notes=there.notes,
    )
    if drop is None:
        return whole
    kept, gates = gate(there.responses, drop)
    return replace(
        whole,
        responses=kept,
        gone=left_out(gates, drop),
        facts={"gates": [row._asdict() for row in gates]},
    )


def _running_text(
    source: Path,
    loaded: "Loaded",
    config: TextConfig,
    languages: Sequence[str] | None,
    drop: Sequence[str],
) -> Reading:
    """Running text: read, judged, perturbed, in chunks, cut to the tokens wanted."""
    tokenizer = loaded.tokenizer
    there = running_text.read(
        source,
        languages,
        delimited=config.documents,
        take=config.take,
        characters=_PER_TOKEN * config.tokens if isinstance(config.tokens, int) else 0,
    )
    kept, gates, others = _judged(there.documents, drop)
    perturb = _perturbing(config)
    changed = [
        document._replace(text=perturb(document.text, document.lang, document.id))
        for document in kept
    ]
    limit = context(loaded.model)
    special = len(tokenizer("")["input_ids"])
    texts = chunks(
        tokenizer, changed, min(config.chunk, (limit or config.chunk + special) - special)
    )
    codes = dict.fromkeys(document.lang for document in there.documents)
    if config.tokens != "all":
        numbers = counted(tokenizer, texts)
        if config.tokens == "even":
            each = dict.fromkeys(codes, 0)
            for text, number in zip(texts, numbers, strict=True):
                each[text.lang] += number
            most = min(each.values())
        else:
            most = int(config.tokens)
        texts = cut(tokenizer, texts, numbers, dict.fromkeys(codes, most))
    for row in gates:
        row["chunks"] = sum(text.lang == row["lang"] for text in texts)
    facts: dict[str, Any] = {"gates": gates}
    if there.delimited:
        facts["documents are"] = there.delimited
    if others:
        facts["in another language"] = others
    gone = {
        row["lang"]: {f"as {flaw}": row[flaw.replace(" ", "_")] for flaw in drop} for row in gates
    }
    return Reading(responses=texts, digests=there.digests, settings={}, gone=gone, facts=facts)


def _judged(
    documents: Sequence[Document], drop: Sequence[str]
) -> tuple[list[Document], list[dict[str, Any]], dict[str, Any]]:
    """The documents to read, what was found per language, and those in another language."""
    droppable = ("repetition", "wrong script", WRONG_LANGUAGE)
    for flaw in drop:
        if flaw not in droppable:
            raise InputError(
                f"drop {flaw!r}: what can be dropped of running text is {', '.join(droppable)}"
            )
    strangers = running_text.in_other_languages(documents)
    kept = []
    found: dict[str, dict[str, Any]] = {}
    for document in documents:
        row = found.setdefault(
            document.lang,
            {"lang": document.lang, "documents": 0, "kept": 0}
            | {flaw.replace(" ", "_"): 0 for flaw in droppable},
        )
        wrong = {str(flaw) for flaw in flaws(_whole(document)) if flaw in droppable}
        if (document.lang, document.id) in strangers:
            wrong.add(WRONG_LANGUAGE)
        row["documents"] += 1
        for flaw in wrong:
            row[flaw.replace(" ", "_")] += 1
        if wrong.isdisjoint(drop):
            row["kept"] += 1
            kept.append(document)
    named = [f"{lang} {own} ({other})" for (lang, own), other in strangers.items()]
    others = {"number": len(named), "first": named[:_NAMED], "dropped": WRONG_LANGUAGE in drop}
    return kept, list(found.values()), others if named else {}


def _whole(document: Document) -> Response:
    return Response(document.id, document.lang, "", document.text)


def _perturbing(config: TextConfig) -> Callable[[str, str, str], str]:
    """What makes of a text, given its language and id, the text that is read."""
    if config.perturb == "romanise":
        return lambda text, lang, _: perturbed.romanised(text, lang)
    if config.perturb == "shuffle":
        return lambda text, lang, own: perturbed.shuffled(
            text,
            lang,
            Random(f"{config.shuffle_seed} {lang} {own}"),  # noqa: S311 - no secret
        )
    return lambda text, _lang, _own: text


def _pieces(tokenizer: "PreTrainedTokenizerBase", text: str, length: int) -> Iterator[str]:
    """A text in pieces of at most so many tokens."""
    starts = _starts(tokenizer, text)
    if len(starts) <= length:
        yield text
        return
    begin = 0
    while begin < len(starts):
        end = len(starts)
        if end - begin > length:
            end = _word_start(text, starts, begin, length)
        stop = starts[end] if end < len(starts) else len(text)
        piece = text[starts[begin] if begin else 0 : stop].strip()
        begin = end
        if piece == text:  # one token that is longer alone than as a part: it cannot be cut
            yield piece
        elif piece:
            yield from _pieces(tokenizer, piece, length)


def _word_start(text: str, starts: Sequence[int], begin: int, length: int) -> int:
    """The token before which a piece that begins with token `begin` ends."""
    furthest = begin + length
    for end in range(furthest, begin + length // 2, -1):
        if text[starts[end]].isspace() or text[starts[end] - 1].isspace():
            return end
    while furthest > begin + 1 and starts[furthest] == starts[furthest - 1]:
        furthest -= 1  # tokens of one character stay together
    return furthest


def _beginning(tokenizer: "PreTrainedTokenizerBase", text: str, most: int) -> str:
    """The beginning of a text with at most so many tokens; empty where not even one will do."""
    starts = _starts(tokenizer, text)
    for end in range(min(most, len(starts) - 1), 0, -1):
        piece = text[: starts[end]].rstrip()
        if piece and len(_starts(tokenizer, piece)) <= most:
            return piece
    return ""


def _starts(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """The character at which each token of a text begins."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return [start for start, _ in encoded["offset_mapping"]]
