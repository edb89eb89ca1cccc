"""Reward: how well each response agrees with the English responses to its question, by a translation model.

Each English response to a question is a reference. A response's alignment score against one is log
P(reference | response) per token of the reference, under the translation model; its score is the
mean over the references.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons.align import translator as translation
from langneurons.align.pairs import Scored
from langneurons.align.translator import Text, Translation
from langneurons.config import RewardConfig
from langneurons.errors import InputError
from langneurons.resume import State
from langneurons.texts.languages import ENGLISH
from langneurons.texts.responses import Response

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Progress = Callable[[int, int], None]
"""Called with (translations judged, translations to judge)."""

_TOGETHER = 20  # references that MAPO's code pads together
_LEAST = 2.0**-23  # the least mean its reciprocal is taken of; a perfect translation has 0


class Rewarded(NamedTuple):
    """What scoring gives.

    Attributes:
        scored: every response that is not English, in order.
        facts: what to know of them: per language, responses scored and not; references kept and
            dropped; texts cut.
    """

    scored: list[Scored]
    facts: dict[str, Any]


def reward(
    model: Any,
    tokenizer: "PreTrainedTokenizerBase",
    responses: Sequence[Response],
    config: RewardConfig,
    *,
    spelled: Mapping[str, str] | None = None,
    state: State | None = None,
    on_step: Progress | None = None,
) -> Rewarded:
    """Alignment scores of all responses that are not English.

    A response and a reference are scored once, however often they stand there. Calculator marks
    `<<...>>` and whatever follows `####` are left off both. English texts that stand twice, are
    empty, or repeat a line are no references.

    Args:
        model: a multilingual translation model in eval mode.
        tokenizer: its tokenizer.
        responses: responses in English and other languages, to the same questions.
        config: settings.
        spelled: language tokens by code, for languages that are not found; see
            `translation.language_tokens`.
        state: where to keep what is done, every `config.save_every` seconds.
        on_step: told of the progress.

    Raises:
        InputError: when there is no English response, or nothing else; when a language has no
            token.
    """
    foreign = [response for response in responses if response.lang != ENGLISH]
    found = references(
        [response for response in responses if response.lang == ENGLISH], config.references
    )
    if not found.texts:
        raise InputError(
            f"no response in {ENGLISH} can be a reference; sample the questions in {ENGLISH} as well"
        )
    if not foreign:
        raise InputError(
            f"all responses are in {ENGLISH}; sample the questions in other languages as well"
        )
    languages = list(dict.fromkeys(response.lang for response in foreign))
    tokens = translation.language_tokens(tokenizer, [ENGLISH, *languages], spelled)
    work = _Work(config.direction == "to-english")
    links = []
    for response in foreign:
        said, texts = (
            Text(response.lang, clean(response.response)),
            found.texts.get(response.question_id, []),
        )
        links.append([work.add(said, Text(ENGLISH, text)) for text in texts])
    sources, cut_sources = translation.encode(
        tokenizer, list(work.sources), tokens, config.max_tokens
    )
    targets, cut_targets = translation.encode(
        tokenizer, list(work.targets), tokens, config.max_tokens
    )
    pairs = list(work.pairs)
    sums = _judged(model, sources, targets, pairs, config, state, on_step)
    lengths = np.array([len(targets[pair.target]) for pair in pairs])
    scored = [
        _scored(response, np.array(at, int), sums, lengths, config)
        for response, at in zip(foreign, links, strict=True)
    ]
    facts = {
        "languages": [
            _counted(code, [one for one in scored if one.response.lang == code])
            for code in languages
        ],
        "references": found.facts,
        "translations judged": len(pairs),
        "texts cut": cut_sources + cut_targets,
        "language tokens": {
            code: str(tokenizer.convert_ids_to_tokens(i)) for code, i in tokens.items()
        },
    }
    return Rewarded(scored, facts)


class References(NamedTuple):
    """English texts that responses are held against.

    Attributes:
        texts: by question, cleaned, in the order of the samples.
        facts: how many there are, and how many were dropped and why.
    """

    texts: dict[str, list[str]]
    facts: dict[str, int]


def references(english: Sequence[Response], most: int = 0) -> References:
    """The references among English responses: cleaned, each text once, none empty, none with a line that repeats.

    Args:
        english: responses in English.
        most: references that a question may have, the first of them; 0: any number.
    """
    texts: dict[str, list[str]] = {}
    seen: Counter[str] = Counter(kept=0, empty=0, repeated=0, looping=0, beyond=0)
    for response in english:
        text = clean(response.response)
        lines = [line for line in map(str.strip, text.splitlines()) if line]
        there = texts.setdefault(response.question_id, [])
        fate = (
            "empty"
            if not text
            else "repeated"
            if text in there
            else "looping"
            if len(set(lines)) < len(lines)
            else "beyond"
            if most and len(there) >= most
            else "kept"
        )
        seen[fate] += 1
        if fate == "kept":
            there.append(text)
    return References({question: there for question, there in texts.items() if there}, dict(seen))


def clean(text: str) -> str:
    """A text without calculator marks `<<...>>`, and without `####` and what follows it (MAPO's preparation)."""
    return re.sub(r"<<.*?>>", "", text.partition("####")[0]).strip()


class _Work:
    """Translations to judge, and their texts, each held once."""

    def __init__(self, to_english: bool) -> None:
        self.to_english = to_english
        self.sources: dict[Text, int] = {}
        self.targets: dict[Text, int] = {}
        self.pairs: dict[Translation, int] = {}

    def add(self, response: Text, reference: Text) -> int:
        """Position of the translation among all."""
        source, target = (response, reference) if self.to_english else (reference, response)
        pair = Translation(
            self.sources.setdefault(source, len(self.sources)),
            self.targets.setdefault(target, len(self.targets)),
        )
        return self.pairs.setdefault(pair, len(self.pairs))


def _judged(
    model: Any,
    sources: list[NDArray[np.int32]],
    targets: list[NDArray[np.int32]],
    pairs: list[Translation],
    config: RewardConfig,
    state: State | None,
    on_step: Progress | None,
) -> NDArray[np.float64]:
    """Log-probabilities of each translation [P, 2]: of text and end token, of the language token."""
    on_cpu = model.get_input_embeddings().weight.device.type == "cpu"
    chunks = translation.plan(sources, targets, pairs, config.budget or (4096 if on_cpu else 8192))
    sums, done = np.zeros((len(pairs), 2)), 0
    if state and (saved := state.load()):
        sums, done = saved[0]["sums"], saved[1]
    judged, last = (
        sum(len(batch) for chunk in chunks[:done] for batch in chunk.batches),
        time.monotonic(),
    )
    for number, chunk in enumerate(chunks[done:], done + 1):
        order = [i for batch in chunk.batches for i in batch]
        sums[order] = np.stack(translation.judge(model, sources, targets, pairs, chunk), axis=1)
        judged += len(order)
        if on_step:
            on_step(judged, len(pairs))
        if state and time.monotonic() - last >= config.save_every:
            state.save({"sums": sums}, number)
            last = time.monotonic()
    return sums


def _scored(
    response: Response,
    at: NDArray[np.int64],
    sums: NDArray[np.float64],
    lengths: NDArray[np.int64],
    config: RewardConfig,
) -> Scored:
    """The response with mean and highest score; `at` are its translations, one per reference.

    Scores are rounded to the sixth decimal, where the rounding of a batch of other shape begins to
    show.
    """
    if not len(at):
        return Scored(response, None, None, 0)
    if config.arithmetic == "mapo":
        padded = [lengths[at[i : i + _TOGETHER]].max() for i in range(0, len(at), _TOGETHER)]
        mean = -sums[at].sum(axis=1) / np.repeat(padded, _TOGETHER)[: len(at)]
        scores = 1 / np.maximum(mean, _LEAST)
    else:
        scores = sums[at, 0] / (lengths[at] - 1)
    return Scored(response, round(float(scores.mean()), 6), round(float(scores.max()), 6), len(at))


def _counted(code: str, scored: Sequence[Scored]) -> dict[str, Any]:
    """What the facts say of one language."""
    scores = [one.score for one in scored if one.score is not None]
    right = [one.score for one in scored if one.score is not None and one.response.correct is True]
    wrong = [one.score for one in scored if one.score is not None and one.response.correct is False]
    return {
        "lang": code,
        "responses": len(scored),
        "without_reference": len(scored) - len(scores),
        "score": _mean(scores),
        "score_right": _mean(right),
        "score_wrong": _mean(wrong),
        "right_above_wrong": _right_above_wrong(scored),
    }


def _right_above_wrong(scored: Sequence[Scored]) -> float | None:
    """How often a right response scores above a wrong one to the same question; half for equal scores."""
    of: dict[str, tuple[list[float], list[float]]] = {}
    for one in scored:
        if one.score is not None and one.response.correct is not None:
            of.setdefault(one.response.question_id, ([], []))[one.response.correct].append(
                one.score
            )
    return _mean(
        [
            1.0 * (up > down) + 0.5 * (up == down)
            for wrong, right in of.values()
            for up in right
            for down in wrong
        ]
    )


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 6) if values else None
