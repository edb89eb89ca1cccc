"""Reward: scores of how well each response agrees with the English responses to its question.

Each English response to a question is a reference. A response's alignment score against one is log
P(reference | response) per token of the reference, under a translation model or a causal model that
is asked to translate; its score is the mean over the references.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons import config as configs
from langneurons.align import prompted
from langneurons.align import translator as translation
from langneurons.align.prompted import Prompting
from langneurons.align.scores import Scored, Scores
from langneurons.align.translator import Ids, Text, Translation
from langneurons.config import RewardConfig
from langneurons.errors import InputError
from langneurons.resume import Progress, Saved, Tensors, units_left
from langneurons.texts import question_ids
from langneurons.texts.languages import ENGLISH, is_english
from langneurons.texts.responses import Response

if TYPE_CHECKING:
    from langneurons.model.loading import Loaded

_TOGETHER = 20  # references that MAPO's code pads together
_LEAST = 2.0**-23  # the least mean its reciprocal is taken of; a perfect translation has 0


class Rewarded(NamedTuple):
    """What scoring gives.

    Attributes:
        scores: of every response that is not English, in order.
        facts: what to know of them: per language, responses scored and not; references kept and
            dropped; texts cut.
    """

    scores: Scores
    facts: dict[str, Any]


def reward(
    translator: "Loaded",
    responses: Sequence[Response],
    config: RewardConfig | None = None,
    *,
    spelled: Mapping[str, str] | None = None,
    prompting: Prompting | None = None,
    **settings: Any,
) -> Scores:
    """Alignment scores of all responses that are not English; see `rewarded`.

    Args:
        translator: a multilingual translation model, or a causal model.
        responses: responses in English and other languages, to the same questions.
        config: settings, or give them by name.
        spelled: language tokens by code, for languages that are not found; see
            `translator.language_tokens`.
        prompting: how a causal model is asked; default without examples.
        **settings: those of `RewardConfig`, by name.
    """
    config = configs.of(RewardConfig, config, settings)
    return rewarded(translator, responses, config, spelled=spelled, prompting=prompting).scores


def rewarded(
    translator: "Loaded",
    responses: Sequence[Response],
    config: RewardConfig,
    *,
    spelled: Mapping[str, str] | None = None,
    prompting: Prompting | None = None,
    state: Saved | None = None,
    on_step: Progress | None = None,
) -> Rewarded:
    """Alignment scores of all responses that are not English, and what to know of them.

    A response and a reference are scored once, however often they stand there. Calculator marks
    `<<...>>` and whatever follows `####` are left off both. English texts that stand twice, are
    empty, or repeat a line are no references.

    Args:
        translator: a multilingual translation model, or a causal model.
        responses: responses in English and other languages, to the same questions.
        config: settings.
        spelled: language tokens by code, for languages that are not found; see
            `translator.language_tokens`.
        prompting: how a causal model is asked; default without examples.
        state: where to keep what is done, every `config.save_every` seconds.
        on_step: told of the progress.

    Raises:
        InputError: when there is no English response, or nothing else; when a language has no
            token, or no question that has a reference.
    """
    english = [response for response in responses if is_english(response.lang)]
    foreign = [response for response in responses if not is_english(response.lang)]
    known = references(english, config.references)
    if not known.texts:
        raise InputError(
            f"no response in {ENGLISH} can be a reference; sample the questions in {ENGLISH} "
            "as well"
        )
    if not foreign:
        raise InputError(
            f"all responses are in {ENGLISH}; sample the questions in other languages as well"
        )
    languages = list(dict.fromkeys(response.lang for response in foreign))
    require_shared(question_ids.ids_of(responses), known.texts.keys())
    work = _Work(config.direction == "to-english")
    links = [work.add(response, known.texts.get(response.question_id, [])) for response in foreign]
    if is_translation_model(translator):
        scores_of, told = _by_language_tokens(
            translator, work, [ENGLISH, *languages], spelled, config, state, on_step
        )
    else:
        scores_of, told = _by_prompt(
            translator, work, prompting or Prompting(), spelled, config, state, on_step
        )
    scored = [
        _scored(response, scores_of(np.array(link, int)))
        for response, link in zip(foreign, links, strict=True)
    ]
    facts = {
        "languages": [
            _counted(code, [one for one in scored if one.response.lang == code])
            for code in languages
        ],
        "references": known.facts,
        "translations judged": len(work.pairs),
        **told,
    }
    return Rewarded(Scores(tuple(scored)), facts)


def require_shared(ids: question_ids.Ids, known: Set[str]) -> None:
    """Stop at a language none of whose questions has an English reference.

    Args:
        ids: the ids of the questions there are, by language.
        known: those of them that have a reference.

    Raises:
        InputError: naming it, and why there is none.
    """
    held_against_nothing = [
        code for code, questions in ids.items() if code != ENGLISH and known.isdisjoint(questions)
    ]
    if not held_against_nothing:
        return
    codes = ", ".join(held_against_nothing)
    english = ids.get(ENGLISH, ())
    concerned = {ENGLISH: english} | {code: ids[code] for code in held_against_nothing}
    if any(not set(english).isdisjoint(ids[code]) for code in held_against_nothing):
        raise InputError(
            f"no question in {codes} has a reference: all {ENGLISH} responses to them are empty or "
            "repeat a line; sample more in it, or leave the language out of --languages"
        )
    raise InputError(
        f"no question is there in {ENGLISH} and in {codes}, so no response has a reference; "
        f"{question_ids.advice(concerned)}"
    )


class References(NamedTuple):
    """English texts that responses are held against.

    Attributes:
        texts: by question, cleaned, in the order of the samples.
        facts: how many there are, and how many were dropped and why.
    """

    texts: dict[str, list[str]]
    facts: dict[str, int]


def references(english: Sequence[Response], most: int = 0) -> References:
    """The references among English responses: cleaned, each once, none empty, none that loops.

    A text loops where one of its lines stands twice.

    Args:
        english: responses in English.
        most: references that a question may have, the first of them; 0: any number.
    """
    texts: dict[str, list[str]] = {}
    fates: Counter[str] = Counter(kept=0, empty=0, repeated=0, looping=0, beyond=0)
    for response in english:
        text = clean(response.response)
        taken = texts.setdefault(response.question_id, [])
        if not text:
            fates["empty"] += 1
        elif text in taken:
            fates["repeated"] += 1
        elif _loops(text):
            fates["looping"] += 1
        elif most and len(taken) >= most:
            fates["beyond"] += 1
        else:
            fates["kept"] += 1
            taken.append(text)
    with_any = {question: taken for question, taken in texts.items() if taken}
    return References(with_any, dict(fates))


def _loops(text: str) -> bool:
    """Whether a line stands twice in a text."""
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    return len(set(lines)) < len(lines)


def clean(text: str) -> str:
    """A text as MAPO prepares it: without calculator marks `<<...>>`, `####` and the rest."""
    return re.sub(r"<<.*?>>", "", text.partition("####")[0]).strip()


class _Encoded(NamedTuple):
    """Translations to judge, as the model is given them.

    Attributes:
        sources: ids of each text to translate from.
        targets: ids of each text to translate to.
        pairs: which is to be judged as the translation of which.
        cut: texts that were cut to fit.
    """

    sources: list[Ids]
    targets: list[Ids]
    pairs: list[Translation]
    cut: int

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of the target of each pair, [P]."""
        return np.array([len(self.targets[pair.target]) for pair in self.pairs])


class _Work:
    """Translations to judge, and their texts, each held once."""

    def __init__(self, to_english: bool) -> None:
        self.to_english = to_english
        self.sources: dict[Text, int] = {}
        self.targets: dict[Text, int] = {}
        self.pairs: dict[Translation, int] = {}

    def add(self, response: Response, references: Sequence[str]) -> list[int]:
        """Positions among all translations of those between a response and its references."""
        text = Text(response.lang, clean(response.response))
        return [self._add(text, Text(ENGLISH, reference)) for reference in references]

    def _add(self, response: Text, reference: Text) -> int:
        source, target = (response, reference) if self.to_english else (reference, response)
        pair = Translation(
            source=self.sources.setdefault(source, len(self.sources)),
            target=self.targets.setdefault(target, len(self.targets)),
        )
        return self.pairs.setdefault(pair, len(self.pairs))

    def encoded(self, tokenizer: Any, tokens: Mapping[str, int], limit: int) -> _Encoded:
        """All of it as ids, at most `limit` of them to a text."""
        sources, cut_sources = translation.encode(tokenizer, list(self.sources), tokens, limit)
        targets, cut_targets = translation.encode(tokenizer, list(self.targets), tokens, limit)
        return _Encoded(sources, targets, list(self.pairs), cut_sources + cut_targets)


def _judged(
    model: Any,
    work: _Encoded,
    config: RewardConfig,
    state: Saved | None,
    on_step: Progress | None,
) -> NDArray[np.float64]:
    """Log-probability of each translation [P, 2]: of text and end token, of the language token."""
    on_cpu = model.get_input_embeddings().weight.device.type == "cpu"
    budget = config.budget or (4096 if on_cpu else 8192)
    chunks = translation.in_chunks(work.sources, work.targets, work.pairs, budget)
    orders = [[pair for batch in chunk.batches for pair in batch] for chunk in chunks]
    sums = np.zeros((len(work.pairs), 2))

    def load(saved: Tensors) -> None:
        sums[:] = saved["sums"]

    for number in units_left(
        [len(order) for order in orders],
        load=load,
        tensors=lambda: {"sums": sums},
        state=state,
        save_every=config.save_every,
        on_step=on_step,
    ):
        judged = translation.judge(model, work.sources, work.targets, work.pairs, chunks[number])
        sums[orders[number]] = np.stack(judged, axis=1)
    return sums


_ScoresOf = Callable[[NDArray[np.int64]], NDArray[np.float64]]
"""The scores of translations, by their positions."""


def is_translation_model(translator: "Loaded") -> bool:
    """Whether it is an encoder with a decoder, and no causal model."""
    return bool(translator.model.config.is_encoder_decoder)


def _by_language_tokens(
    translator: "Loaded",
    work: _Work,
    languages: Sequence[str],
    spelled: Mapping[str, str] | None,
    config: RewardConfig,
    state: Saved | None,
    on_step: Progress | None,
) -> tuple[_ScoresOf, dict[str, Any]]:
    """Scores by a translation model, and what to know of them."""
    tokens = translation.language_tokens(translator.tokenizer, languages, spelled)
    encoded = work.encoded(translator.tokenizer, tokens, config.max_tokens)
    translator.require_rows([*encoded.sources, *encoded.targets])
    sums = _judged(translator.model, encoded, config, state, on_step)
    lengths = encoded.lengths

    def scores_of(link: NDArray[np.int64]) -> NDArray[np.float64]:
        if config.arithmetic == "mapo":
            return _as_mapo(sums[link], lengths[link])
        return sums[link, 0] / (lengths[link] - 1)

    names = translator.tokenizer.convert_ids_to_tokens(list(tokens.values()))
    told = {"texts cut": encoded.cut, "language tokens": dict(zip(tokens, names, strict=True))}
    return scores_of, told


def _by_prompt(
    translator: "Loaded",
    work: _Work,
    prompting: Prompting,
    spelled: Mapping[str, str] | None,
    config: RewardConfig,
    state: Saved | None,
    on_step: Progress | None,
) -> tuple[_ScoresOf, dict[str, Any]]:
    """Scores by a causal model, and what to know of them.

    Raises:
        InputError: for settings that go with language tokens.
    """
    if spelled or config.arithmetic == "mapo":
        what = "--codes spells" if spelled else "--arithmetic mapo counts"
        raise InputError(
            f"{what} the language token, and {translator.id} is a causal model, which has none; "
            "leave the option out"
        )
    texts = list(work.sources), list(work.targets)
    judged = prompted.judged(
        translator, prompting, texts, list(work.pairs), config, state=state, on_step=on_step
    )

    def scores_of(link: NDArray[np.int64]) -> NDArray[np.float64]:
        told = link[judged.tokens[link] > 0]
        return judged.sums[told] / judged.tokens[told]

    return scores_of, {"texts cut": judged.cut, "examples shown": prompting.number}


def _scored(response: Response, scores: NDArray[np.float64]) -> Scored:
    """The response with mean and highest score, of its translations, one per reference.

    Scores are rounded to the sixth decimal, where the rounding of a batch of other shape begins to
    show.
    """
    if not len(scores):
        return Scored(response, score=None, score_max=None, references=0)
    return Scored(
        response,
        score=round(float(scores.mean()), 6),
        score_max=round(float(scores.max()), 6),
        references=len(scores),
    )


def _as_mapo(sums: NDArray[np.float64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """MAPO's scores [n]: 1 / mean of -log P, that over language token and padding too."""
    starts = range(0, len(lengths), _TOGETHER)
    padded = [lengths[start : start + _TOGETHER].max() for start in starts]
    mean = -sums.sum(axis=1) / np.repeat(padded, _TOGETHER)[: len(lengths)]
    return 1 / np.maximum(mean, _LEAST)


def _counted(code: str, scored: Sequence[Scored]) -> dict[str, Any]:
    """What the facts say of one language."""
    by_mark: dict[bool | None, list[float]] = {True: [], False: [], None: []}
    for one in scored:
        if one.score is not None:
            by_mark[one.response.correct].append(one.score)
    scores = [one.score for one in scored if one.score is not None]
    return {
        "lang": code,
        "responses": len(scored),
        "without_reference": len(scored) - len(scores),
        "score": _mean(scores),
        "score_right": _mean(by_mark[True]),
        "score_wrong": _mean(by_mark[False]),
        "right_above_wrong": _right_above_wrong(scored),
    }


def _right_above_wrong(scored: Sequence[Scored]) -> float | None:
    """How often a right response scores above a wrong one to its question; half for equal ones."""
    by_question: dict[str, tuple[list[float], list[float]]] = {}
    for one in scored:
        if one.score is not None and one.response.correct is not None:
            marks = by_question.setdefault(one.response.question_id, ([], []))
            marks[one.response.correct].append(one.score)
    wins = []
    for wrong, right in by_question.values():
        for higher in right:
            wins += [1.0 * (higher > lower) + 0.5 * (higher == lower) for lower in wrong]
    return _mean(wins)


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 6) if values else None
