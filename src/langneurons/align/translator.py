"""Translation: how probable a translation model finds one text as the translation of another.

A multilingual translation model is told the languages by tokens of its vocabulary. Texts are given
to it as NLLB-200, M2M100 and mBART-50 were trained: `[language] text </s>` on both sides, the
decoder beginning with the model's start token. So no tokenizer class is needed, only a vocabulary
with language tokens.
"""

import difflib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from langneurons.errors import InputError, ModelError
from langneurons.texts.languages import language, same

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LANGUAGE_TOKEN = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}|__[a-z]{2,3}__|<[a-z]{2}>|[a-z]{2}_[A-Z]{2}")
"""NLLB-200, M2M100, plain, mBART."""

Ids = NDArray[np.int32]
"""A text as the model is given it: language, tokens, end."""


class Text(NamedTuple):
    """A text and the code of its language."""

    lang: str
    text: str


class Translation(NamedTuple):
    """One translation to judge: positions among the source texts and among the target texts."""

    source: int
    target: int


class Chunk(NamedTuple):
    """Sources encoded together, and the pairs they are in, as they run through the decoder.

    Attributes:
        sources: positions among the source texts.
        batches: positions among the pairs, batch by batch; each pair's source is among `sources`.
    """

    sources: tuple[int, ...]
    batches: tuple[tuple[int, ...], ...]


class Sums(NamedTuple):
    """What a translation model says of pairs; one row each.

    Attributes:
        text: summed log-probability (natural logarithm) of the target's tokens and its end token,
            float64 [n].
        language: log-probability of the target's language token, float64 [n].
    """

    text: NDArray[np.float64]
    language: NDArray[np.float64]


_AT_ONCE = 512  # texts that the tokenizer is given at once


def language_tokens(
    tokenizer: "PreTrainedTokenizerBase",
    codes: Sequence[str],
    spelled: Mapping[str, str] | None = None,
) -> dict[str, int]:
    """Id of each language's token in the vocabulary.

    A language's token is the first there is of its NLLB-200 code (`zho_Hans`), `__zh__` (M2M100),
    `<zh>` and `zh_XX` with any two capitals (mBART). A code that is itself a language token stands
    for itself.

    Args:
        tokenizer: of a multilingual translation model.
        codes: languages.
        spelled: tokens by code, for languages that are not found by this rule.

    Raises:
        InputError: for a language without a token, naming what was looked for and the nearest there
            is. Tokenizers would take the unknown token instead, without a word.
    """
    apart = getattr(tokenizer, "lang_token_to_id", ())  # M2M100 holds them apart
    vocabulary = [*tokenizer.get_vocab(), *apart]
    known = {token for token in vocabulary if _LANGUAGE_TOKEN.fullmatch(token)}
    if not known:
        raise InputError(
            "the translator's vocabulary has no language tokens (as eng_Latn, __en__, <en>); "
            "a multilingual translation model such as NLLB-200 or M2M100 is needed"
        )
    ids = {}
    for code in codes:
        wanted = [spelled[code]] if spelled and code in spelled else _spellings(code, known)
        token = next((token for token in wanted if token in known), None)
        if token is None:
            near = difflib.get_close_matches(wanted[0], sorted(known), 1, 0)[0]
            raise InputError(
                "the translator has no language token "
                f"{' or '.join(dict.fromkeys(wanted[:3]))} for {code}; the nearest is {near}. "
                f"If it is meant, say --codes {code}={near}; else leave {code} out"
            )
        ids[code] = int(tokenizer.convert_tokens_to_ids(token))  # ty: ignore[invalid-argument-type]
    return ids


def _spellings(code: str, known: Collection[str]) -> list[str]:
    """How the token of a language may be spelled: NLLB-200, M2M100, plain, as it is, mBART."""
    about = language(code)
    short = about.iso or code
    mbart = sorted(
        token for token in known if re.fullmatch(rf"{re.escape(short)}_[A-Z]{{2}}", token)
    )
    if about.tag and "-" in about.tag:
        mbart = [token for token in mbart if same(token, code)]  # zh_CN is not zh-Hant
    others = sorted(token for token in known if same(token.strip("_<>"), code))
    return [about.nllb or code, f"__{short}__", f"<{short}>", code, *mbart, *others]


def encode(
    tokenizer: "PreTrainedTokenizerBase",
    texts: Sequence[Text],
    tokens: Mapping[str, int],
    limit: int,
) -> tuple[list[Ids], int]:
    """Ids of each text, `[language] text </s>`, at most `limit` of them; how many texts were cut.

    A text that is cut keeps its beginning and gets the end token all the same.
    """
    room = limit - 2  # beside language and end
    encoded, cut = [], 0
    for start in range(0, len(texts), _AT_ONCE):
        some = texts[start : start + _AT_ONCE]
        rows = tokenizer(
            [text.text for text in some], add_special_tokens=False, padding=False, verbose=False
        )["input_ids"]
        for text, ids in zip(some, rows, strict=True):
            cut += len(ids) > room
            whole = [tokens[text.lang], *ids[:room], tokenizer.eos_token_id]
            encoded.append(np.array(whole, np.int32))
    return encoded, cut


def in_chunks(
    sources: Sequence[Ids],
    targets: Sequence[Ids],
    pairs: Sequence[Translation],
    budget: int,
) -> list[Chunk]:
    """All the work, cut so that every source is encoded once and little is padded.

    Args:
        sources: the source texts.
        targets: the target texts.
        pairs: what to judge.
        budget: tokens of a batch, padding included; a text or pair that is longer runs alone.
    """
    by_source: dict[int, list[int]] = {}
    for number, pair in enumerate(pairs):
        by_source.setdefault(pair.source, []).append(number)

    def source_length(source: int) -> int:
        return len(sources[source])

    def target_length(number: int) -> int:
        return len(targets[pairs[number].target])

    chunks = []
    by_length = sorted(by_source, key=lambda source: (source_length(source), source))
    for together in _packed(by_length, source_length, budget):
        longest = max(map(source_length, together))
        numbers = [number for source in together for number in by_source[source]]
        numbers.sort(key=lambda number: (target_length(number), number))

        def width(number: int, least: int = longest) -> int:
            return max(least, target_length(number))

        chunks.append(Chunk(together, tuple(_packed(numbers, width, budget))))
    return chunks


@torch.inference_mode()
def judge(
    model: Any,
    sources: Sequence[Ids],
    targets: Sequence[Ids],
    pairs: Sequence[Translation],
    chunk: Chunk,
) -> Sums:
    """Log P(target | source) of the chunk's pairs, in the order of its batches.

    Padding has no part in it.

    Raises:
        ModelError: when the model does not say what its decoder begins with.
    """
    config, device = model.config, model.get_input_embeddings().weight.device
    start, pad = config.decoder_start_token_id, config.pad_token_id
    if start is None or pad is None:
        raise ModelError(
            "the translator's config names no decoder_start_token_id or no pad_token_id; "
            "set them in it"
        )
    inputs, mask = _padded([sources[source] for source in chunk.sources], pad, device)
    hidden = model.get_encoder()(input_ids=inputs, attention_mask=mask).last_hidden_state
    row_of = {source: row for row, source in enumerate(chunk.sources)}
    sums = []
    for batch in chunk.batches:
        rows = torch.tensor([row_of[pairs[number].source] for number in batch], device=device)
        labels, real = _padded([targets[pairs[number].target] for number in batch], pad, device)
        each = _log_probabilities(model, hidden[rows], mask[rows], labels, real.bool(), start)
        sums.append(torch.stack((each[:, 1:].sum(dim=1), each[:, 0])))
    text, first = torch.cat(sums, dim=1).cpu().numpy()
    return Sums(text, first)


def _log_probabilities(
    model: Any,
    hidden: torch.Tensor,
    mask: torch.Tensor,
    labels: torch.Tensor,
    counted: torch.Tensor,
    start: int,
) -> torch.Tensor:
    """Log-probability of every label, float64 [n, T], 0 where none is counted.

    Logits are never all held at once.
    """
    head = model.get_output_embeddings()
    states = _before_the_head(model, hidden, mask, labels, start)[counted]
    bias = getattr(model, "final_logits_bias", None)  # mBART, Marian
    wanted = labels[counted]
    logits_at_once = 1 << 20 if states.device.type == "cpu" else 1 << 27
    rows_at_once = max(1, logits_at_once // head.weight.shape[0])
    parts = []
    for rows, label in zip(states.split(rows_at_once), wanted.split(rows_at_once), strict=True):
        logits = head(rows).float() if bias is None else (head(rows) + bias).float()
        parts.append(logits.gather(1, label[:, None])[:, 0] - logits.logsumexp(dim=1))
    every = torch.zeros(labels.shape, dtype=torch.float64, device=labels.device)
    return every.masked_scatter_(counted, torch.cat(parts).double())


def _before_the_head(
    model: Any, hidden: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor, start: int
) -> torch.Tensor:
    """What the decoder gives its language head at every label [n, T, H]; the head runs on one."""
    from transformers.modeling_outputs import BaseModelOutput

    states = []

    def keep(_: Any, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        states.append(args[0])
        return (args[0][:, :1],)

    shifted = torch.cat((torch.full_like(labels[:, :1], start), labels[:, :-1]), dim=1)
    handle = model.get_output_embeddings().register_forward_pre_hook(keep)
    try:
        model(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
            attention_mask=mask,
            decoder_input_ids=shifted,
            use_cache=False,
        )
    finally:
        handle.remove()
    return states[0]


def _padded(rows: Sequence[Ids], pad: int, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows side by side, filled up on the right; 1 where a place is no filling, 0 where it is.

    Both [n, T].
    """
    length = max(map(len, rows))
    ids = np.stack([np.pad(row, (0, length - len(row)), constant_values=pad) for row in rows])
    real = np.arange(length) < np.array([len(row) for row in rows])[:, None]
    return torch.from_numpy(ids).long().to(device), torch.from_numpy(real).long().to(device)


def _packed(
    items: Sequence[int], length: Callable[[int], int], budget: int
) -> list[tuple[int, ...]]:
    """Items in runs whose number times longest length is within the budget; lengths never fall."""
    runs: list[list[int]] = []
    for item in items:
        if runs and (len(runs[-1]) + 1) * length(item) <= budget:
            runs[-1].append(item)
        else:
            runs.append([item])
    return [tuple(run) for run in runs]
