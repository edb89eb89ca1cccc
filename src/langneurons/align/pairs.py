"""Pairs: which of two responses to a question is preferred, and which pairs are trained on.

The rule is MAPO's: of every two responses to a question, the one with the higher alignment score is
preferred; the pair is kept when that one's number is right. Equal texts are taken once, which MAPO
does not do: a text sampled ten times would otherwise stand in ten times as many pairs.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from langneurons import artifacts
from langneurons import config as configs
from langneurons.align.scores import Scored
from langneurons.config import PairConfig
from langneurons.errors import InputError
from langneurons.texts.answers import is_correct
from langneurons.texts.responses import block_of
from langneurons.texts.rows import from_lines, to_lines

TOLERANCE = 1e-3
"""How far the number of a response may be off that nobody has marked yet (MAPO's code)."""

Length = Callable[[Sequence[str]], Sequence[int]]
"""Number of tokens of each text, as the model that is to be aligned splits them, without an end
token."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two responses to a prompt, one preferred.

    Attributes:
        question_id: the question's id.
        lang: code of the language.
        prompt: what both respond to, to the character.
        chosen: the preferred response.
        rejected: the other.
        chosen_score: alignment score of the preferred one, the higher.
        rejected_score: that of the other.
        rejected_correct: whether the other reaches the right answer as well; the preferred one
            always does.
    """

    question_id: str
    lang: str
    prompt: str
    chosen: str
    rejected: str
    chosen_score: float
    rejected_score: float
    rejected_correct: bool

    def to_row(self) -> dict[str, Any]:
        """The row of `train.jsonl` and `dev.jsonl`."""
        return asdict(self)


@dataclass(frozen=True)
class Pairs:
    """Preference pairs: what `pair` leaves in a folder.

    Attributes:
        train: pairs to train on.
        dev: pairs of other questions, to watch.
    """

    KIND: ClassVar[str] = "pairs"
    TRAIN: ClassVar[str] = "train.jsonl"
    DEV: ClassVar[str] = "dev.jsonl"

    train: Sequence[Pair]
    dev: Sequence[Pair] = ()

    def write(self, draft: artifacts.Draft) -> None:
        """Add them to a folder that is being written."""
        for name, pairs in ((self.TRAIN, self.train), (self.DEV, self.dev)):
            draft.bytes(name, to_lines(pair.to_row() for pair in pairs))

    def save(self, folder: Path | str) -> None:
        """Write them into a folder of their own; see `artifacts.save`."""
        artifacts.save(self, folder)

    @classmethod
    def load(cls, source: Path | str | artifacts.Artifact) -> "Pairs":
        """Those in a finished folder.

        Raises:
            InputError: when there is none, or it holds something else.
            FormatError: when one of its files is not as it was written.
        """
        artifact = artifacts.opened(source, cls.KIND)
        train, dev = (
            tuple(Pair(**row) for row in from_lines(artifact.file(name).read_bytes()))
            for name in (cls.TRAIN, cls.DEV)
        )
        return cls(train, dev)


class AuditRow(NamedTuple):
    """What became of one language's responses and of the pairs they form.

    Attributes:
        lang: code of the language.
        questions: how many questions there were.
        all_right: questions whose every response is right.
        all_wrong: questions without a right response.
        responses: how many responses there were.
        unscored: of them, without a score (no English reference).
        empty: of them, nothing but white space.
        repeated: of them, equal to an earlier one to the same question.
        possible: pairs of the others.
        tied: of these, with equal scores, or not further apart than the margin.
        wrong: of these, the better one's number is wrong.
        long: of these, one is longer than the limit.
        kept: what is left.
        train: drawn to train on.
        dev: drawn to watch.
    """

    lang: str
    questions: int
    all_right: int
    all_wrong: int
    responses: int
    unscored: int
    empty: int
    repeated: int
    possible: int
    tied: int
    wrong: int
    long: int
    kept: int
    train: int
    dev: int


class Paired(NamedTuple):
    """What pairing gives.

    Attributes:
        pairs: to train on, and to watch.
        audit: what became of the rest, a row for each language.
    """

    pairs: Pairs
    audit: list[AuditRow]


class _Candidate(NamedTuple):
    """Two different responses to one prompt."""

    better: Scored
    worse: Scored

    @property
    def gap(self) -> float:
        """How much higher the better one's score is."""
        return _score(self.better) - _score(self.worse)


def pair(
    scored: Iterable[Scored],
    config: PairConfig | None = None,
    *,
    languages: Sequence[str] | None = None,
    length: Length | None = None,
    **settings: Any,
) -> Paired:
    """Preference pairs of each language, drawn and split.

    At most `config.per_language` pairs are drawn: first one of each question, then a second, and so
    on, so that no question has many more than another. Which, and in what order, follows from
    hashes of the seed, the question and the samples, and not from the order of the responses.
    Questions go to dev by hash, the same in every language.

    Args:
        scored: scored responses. Those that are not marked right or wrong are, where the answer is
            known, to `TOLERANCE`.
        config: settings, or give them by name.
        languages: languages to pair; default all there are.
        length: for the limit on tokens; without it there is none.
        **settings: those of `PairConfig`, by name.

    Raises:
        InputError: for a language that is not there, or gives no pair to train on, saying what
            became of them all.
    """
    config = configs.of(PairConfig, config, settings)
    by_language: dict[str, list[Scored]] = defaultdict(list)
    for response in scored:
        by_language[response.response.lang].append(_marked(response))
    train: list[Pair] = []
    dev: list[Pair] = []
    audit = []
    for code in languages or list(by_language):
        if code not in by_language:
            raise InputError(
                f"no scored response is in {code}; there are {', '.join(by_language) or 'none'}. "
                "English is what the others are scored against and is not paired"
            )
        pairs, row = _of_language(code, by_language[code], config, length)
        train += pairs.train
        dev += pairs.dev
        audit.append(row)
    return Paired(Pairs(train, dev), audit)


def _marked(scored: Scored) -> Scored:
    """A response that nobody marked, marked if its question's answer is known."""
    response = scored.response
    if response.correct is not None or response.answer is None:
        return scored
    correct = is_correct(response.response, response.answer, response.lang, tolerance=TOLERANCE)
    return replace(scored, response=replace(response, correct=correct))


def _of_language(
    code: str, scored: Sequence[Scored], config: PairConfig, length: Length | None
) -> tuple[Pairs, AuditRow]:
    """The pairs of one language, and what became of the rest."""
    groups, seen = _groups(scored)
    kept, fates = _kept(groups, config, length)
    seen += fates
    drawn = _drawn(kept, config)
    pairs = Pairs(
        train=[pair for pair in drawn if not _held_out(pair.question_id, config)],
        dev=[pair for pair in drawn if _held_out(pair.question_id, config)],
    )
    sizes = {"kept": len(kept), "train": len(pairs.train), "dev": len(pairs.dev)}
    counted = {name: seen[name] for name in AuditRow._fields if name not in ("lang", *sizes)}
    row = AuditRow(lang=code, **counted, **sizes)
    if not pairs.train:
        raise InputError(_why_none(row))
    return pairs, row


def _groups(scored: Sequence[Scored]) -> tuple[list[list[Scored]], Counter[str]]:
    """The different responses to each prompt that have a score, and what was seen of all.

    What was seen goes by the names of `AuditRow`.
    """
    seen = Counter(responses=len(scored))
    groups: dict[tuple[str, str], dict[str, Scored]] = defaultdict(dict)
    marks: dict[str, list[bool]] = defaultdict(list)
    for one in scored:
        response, text = one.response, one.response.response.strip()
        marks[response.question_id].append(response.correct is True)
        group = groups[response.question_id, response.prompt]
        if one.score is None:
            seen["unscored"] += 1
        elif not text:
            seen["empty"] += 1
        elif text in group:
            seen["repeated"] += 1
        else:
            group[text] = one
    seen["questions"] = len(marks)
    seen["all_right"] = sum(all(right) for right in marks.values())
    seen["all_wrong"] = sum(not any(right) for right in marks.values())
    return [list(group.values()) for group in groups.values()], seen


def _kept(
    groups: Sequence[Sequence[Scored]], config: PairConfig, length: Length | None
) -> tuple[list[_Candidate], Counter[str]]:
    """Every two responses of a group that may be trained on, and what became of the others."""
    long = _too_long([scored for group in groups for scored in group], config, length)
    kept, fates = [], Counter()
    for group in groups:
        for two in combinations(sorted(group, key=_sample), 2):
            worse, better = sorted(two, key=_score)
            candidate = _Candidate(better, worse)
            fates["possible"] += 1
            if candidate.gap <= config.margin:
                fates["tied"] += 1
            elif not better.response.correct:
                fates["wrong"] += 1
            elif better in long or worse in long:
                fates["long"] += 1
            else:
                kept.append(candidate)
    return kept, fates


def _too_long(scored: Sequence[Scored], config: PairConfig, length: Length | None) -> set[Scored]:
    if length is None:
        return set()
    tokens = length([one.response.prompt + one.response.response for one in scored])
    return {one for one, n in zip(scored, tokens, strict=True) if n + 1 > config.max_tokens}


def _drawn(kept: Sequence[_Candidate], config: PairConfig) -> list[Pair]:
    """Pairs to use: the first of each question by hash, then the second, up to the number asked."""

    def order(candidate: _Candidate) -> bytes:
        samples = (candidate.better.response.sample, candidate.worse.response.sample)
        return _hash(config.seed, candidate.better.response.question_id, *samples)

    by_question: dict[str, list[_Candidate]] = defaultdict(list)
    for candidate in kept:
        by_question[candidate.better.response.question_id].append(candidate)
    ranked = [
        (rank, _hash(config.seed, question), candidate)
        for question, candidates in by_question.items()
        for rank, candidate in enumerate(sorted(candidates, key=order))
    ]
    ranked.sort(key=lambda entry: entry[:2])
    return [_pair(candidate) for _, _, candidate in ranked[: config.per_language]]


def _held_out(question_id: str, config: PairConfig) -> bool:
    return config.dev_every > 0 and block_of(f"dev {question_id}", config.dev_every) == 0


def _pair(candidate: _Candidate) -> Pair:
    chosen, rejected = candidate.better.response, candidate.worse.response
    return Pair(
        question_id=chosen.question_id,
        lang=chosen.lang,
        prompt=chosen.prompt,
        chosen=chosen.response,
        rejected=rejected.response,
        chosen_score=_score(candidate.better),
        rejected_score=_score(candidate.worse),
        rejected_correct=rejected.correct is True,
    )


def _sample(scored: Scored) -> int:
    return scored.response.sample


def _score(scored: Scored) -> float:
    return float("nan") if scored.score is None else scored.score


def _hash(*parts: object) -> bytes:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).digest()


def _why_none(row: AuditRow) -> str:
    """Why a language has no pair to train on, and what to do."""
    if row.kept:
        return (
            f"{row.lang}: all {row.dev} pairs are of questions held out for dev; "
            "sample more questions"
        )
    seen = f"{row.lang} has no pair: of {row.responses:,} responses to {row.questions:,} questions"
    if row.unscored == row.responses:
        return (
            f"{seen} none has a score; sample English responses to the same questions and "
            "score them again"
        )
    if row.all_wrong == row.questions:
        return f"{seen} none is marked right; sample more, or give the questions their answers"
    if not row.possible:
        return f"{seen} no two to one question differ; sample more, or at a higher temperature"
    return (
        f"{seen}, {row.possible:,} pairs were tied {row.tied:,} times, the better one wrong "
        f"{row.wrong:,} times, too long {row.long:,} times; sample more, or change --margin or "
        "--max-tokens"
    )
