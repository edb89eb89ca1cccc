"""Tokens: the exact ids of prompt and response, and which of them are the response's.

Prompt and response are tokenised together, once, as a model reads them. Which tokens are the
response's follows from the characters each token covers, never from tokenising the prompt alone: a
token may reach across the seam, and the prompt alone may split otherwise (that is how the released
counts reach probabilities above 1).
"""

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons.errors import InputError
from langneurons.texts.responses import Response

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CHUNK = 512  # responses given to the tokenizer at once; bounds the memory their offsets take


class Tokens(NamedTuple):
    """Prompt and response as a model reads them.

    Attributes:
        ids: token ids, int32 [T], with the special tokens the tokenizer adds.
        counted: bool [T], which positions are counted.
    """

    ids: NDArray[np.int32]
    counted: NDArray[np.bool_]


def tokenise(tokenizer: "PreTrainedTokenizerBase", responses: Sequence[Response]) -> list[Tokens]:
    """Tokens of each response after its prompt, in order; counted is what belongs to the response.

    A token counts when any of its characters lies in the response, so one across the seam counts.
    All tokens a character is split into count or do not count together. Special tokens (beginning,
    end, separators) never count, whether the tokenizer added them or the text spells them; the
    unknown token stands for text and counts. A prompt that spells the beginning token itself, as
    chat templates do, does not get a second. Nothing is ever cut.

    Raises:
        InputError: when the tokenizer is not a fast one, which alone knows the characters of its
            tokens.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"{type(tokenizer).__name__} does not tell which characters a token covers; "
            "load the fast tokenizer of this model (a folder with tokenizer.json)"
        )
    special = _special_ids(tokenizer)
    out = []
    for start in range(0, len(responses), _CHUNK):
        chunk = responses[start : start + _CHUNK]
        texts = [r.prompt + r.response for r in chunk]
        encoded = tokenizer(
            texts,
            padding=False,
            truncation=False,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        columns = (encoded[name] for name in ("input_ids", "offset_mapping", "special_tokens_mask"))
        for response, text, ids, spans, added in zip(chunk, texts, *columns, strict=True):
            held = np.array(ids, dtype=np.int32)
            offsets = np.array(spans, dtype=np.int64).reshape(-1, 2)
            never = np.array(added, dtype=bool) | np.isin(held, special)
            counted = _covers(tokenizer, text, len(response.prompt), held, offsets, never)
            twice = (
                len(ids) > 1
                and ids[0] == ids[1] == tokenizer.bos_token_id
                and added[0]
                and not added[1]
            )
            out.append(Tokens(held[int(twice) :], counted[int(twice) :]))
    return out


def prompt_ids(tokenizer: "PreTrainedTokenizerBase", prompts: Sequence[str]) -> list[list[int]]:
    """Ids of each prompt as `tokenise` reads it, for something to be written after it.

    An end token that the tokenizer puts after a text is left out. An empty prompt may have none.
    """
    rows = tokenise(tokenizer, [Response("prompt", "en", prompt, "") for prompt in prompts])
    prompt_ids = [row.ids.tolist() for row in rows]
    for ids in prompt_ids:
        while len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
            ids.pop()
    return prompt_ids


def continuation(
    tokenizer: "PreTrainedTokenizerBase", prompt: Sequence[int], written: Sequence[int]
) -> str:
    """What was written after a prompt, as text: what both are together, without the prompt.

    Decoded alone, a word at its beginning would lose the space before it with some tokenizers.

    Args:
        tokenizer: the tokenizer of both.
        prompt: ids of the prompt.
        written: ids of what was written after it.
    """

    def text(ids: Sequence[int]) -> str:
        decoded = tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(decoded)

    return text([*prompt, *written]).removeprefix(text(prompt))


def predicting(tokens: Tokens) -> Tokens:
    """The same ids; counted are the positions that predict a counted token, each the one before.

    A counted first token (empty prompt, no beginning token) is predicted by nothing, so one
    position less counts then.
    """
    shifted = np.zeros_like(tokens.counted)
    shifted[:-1] = tokens.counted[1:]
    return Tokens(tokens.ids, shifted)


def shared_prefix(group: Sequence[Tokens]) -> int:
    """How many leading tokens all members have in common, of which none counts.

    That much needs to be computed only once.

    Args:
        group: at least one member, usually the responses to one prompt.
    """
    length = min(_uncounted_prefix(tokens) for tokens in group)
    first = group[0].ids
    for ids, _ in group[1:]:
        differs = ids[:length] != first[:length]
        length = int(differs.argmax()) if differs.any() else length
    return length


def too_long(tokens: Sequence[Tokens], limit: int) -> list[int]:
    """Positions of those with more ids than `limit`, the model's context.

    For the caller to name.
    """
    return [i for i, (ids, _) in enumerate(tokens) if len(ids) > limit]


def _uncounted_prefix(tokens: Tokens) -> int:
    return int(tokens.counted.argmax()) if tokens.counted.any() else len(tokens.counted)


def _special_ids(tokenizer: "PreTrainedTokenizerBase") -> NDArray[np.int32]:
    ends = {
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
    }  # GPT-2's unknown token is its end token
    unknown = {tokenizer.unk_token_id} - ends
    return np.array(sorted(set(tokenizer.all_special_ids) - unknown), dtype=np.int32)


def _covers(
    tokenizer: "PreTrainedTokenizerBase",
    text: str,
    seam: int,
    ids: NDArray[np.int32],
    offsets: NDArray[np.int64],
    never: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Which tokens cover a character of the text at or after the seam, [T].

    A token with offsets [start, end) does so when end > seam, also where they have no width: a
    tokenizer that trims spaces off its offsets leaves (end, end) of a token that is nothing but
    spaces before `end`. Only the last token before the seam can end later than its offsets say, by
    spaces trimmed off or marks joined to its last letter.
    """
    ends = offsets[:, 1]
    counted = (ends > seam) & ~never
    before = np.flatnonzero(~counted & ~never)
    if len(before):
        last = before[-1]
        end, later = int(ends[last]), np.flatnonzero(ends[last + 1 :] > offsets[last + 1 :, 0])
        gap = text[end : offsets[last + 1 + later[0], 0] if len(later) else None]
        name = str(tokenizer.convert_ids_to_tokens(int(ids[last])))
        if end + _trimmed(text[:end][-1:], gap, name) > seam:
            counted[last] = True
        elif end + _joined(gap) > seam:
            counted |= (ends == end) & ~never  # the character may be split into several tokens
    return counted


def _trimmed(final: str, gap: str, name: str) -> int:
    """How many spaces were trimmed off the end of a token's offsets.

    Args:
        final: the last character before their end, empty at the front of the text.
        gap: the text between them and the next token's.
        name: the token as it stands in the vocabulary; a byte-level one has a G with a dot for each
            space.
    """
    if final in (" ", "Ġ"):  # then nothing was trimmed, or the sign is the text's own
        return 0
    return min(len(name) - len(name.rstrip("Ġ")), len(gap) - len(gap.lstrip(" ")))


def _joined(gap: str) -> int:
    """How many combining marks were joined to the letter before the gap.

    NFC makes e and an accent one character.
    """
    return next((i for i, char in enumerate(gap) if unicodedata.category(char)[0] != "M"), len(gap))
