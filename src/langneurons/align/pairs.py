"""Pair: which of two responses to a question is preferred, by alignment score, and which pairs are trained on.

The rule is MAPO's: of every two responses to a question, the one with the higher score is
preferred; the pair is kept when that one's number is right. Equal texts are taken once, which MAPO
does not do: a text sampled ten times would otherwise stand in ten times as many pairs.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, NamedTuple

from langneurons.config import PairConfig
from langneurons.errors import InputError
from langneurons.texts.responses import Response, block_of

Length = Callable[[Sequence[str]], Sequence[int]]
"""Number of tokens of each text, as the model that is to be aligned splits them, without an end
token."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A response and how well it agrees with the English responses to its question.

    Attributes:
        response: the response.
        score: mean of its scores against each English reference; None without a reference.
        score_max: the highest of them; None without a reference.
        references: how many there were.
    """

    response: Response
    score: float | None
    score_max: float | None
    references: int

    def to_row(self) -> dict[str, Any]:
        """The row of `scored.jsonl`: the response's fields, then the score's."""
        scores = {"score": self.score, "score_max": self.score_max, "references": self.references}
        return self.response.to_row() | scores

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Scored":
        """What `to_row` wrote."""
        return cls(Response.from_row(row), row["score"], row["score_max"], row["references"])


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
    """What pairing gives: pairs to train on, pairs of other questions to watch, and what became of the rest."""

    train: list[Pair]
    dev: list[Pair]
    audit: list[AuditRow]


def pair(
    scored: Sequence[Scored],
    config: PairConfig,
    languages: Sequence[str] | None = None,
    length: Length | None = None,
) -> Paired:
    """Preference pairs of each language, drawn and split.

    At most `config.per_language` pairs are drawn: first one of each question, then a second, and so
    on, so that no question has many more than another. Which, and in what order, follows from
    hashes of the seed, the question and the samples, and not from the order of the responses.
    Questions go to dev by hash, the same in every language.

    Args:
        scored: scored responses.
        config: settings.
        languages: languages to pair; default all there are.
        length: for the limit on tokens; without it there is none.

    Raises:
        InputError: for a language that is not there, or gives no pair to train on, saying what
            became of them all.
    """
    by_language: dict[str, list[Scored]] = defaultdict(list)
    for one in scored:
        by_language[one.response.lang].append(one)
    out = Paired([], [], [])
    for code in languages or list(by_language):
        if code not in by_language:
            raise InputError(
                f"no scored response is in {code}; there are {', '.join(by_language) or 'none'}. "
                "English is what the others are scored against and is not paired"
            )
        kept, seen = _pairs(by_language[code], config, length)
        parts: tuple[list[Pair], list[Pair]] = ([], [])
        for drawn in _draw(kept, config):
            parts[_held_out(drawn.question_id, config)].append(drawn)
        train, dev = parts
        counted = {
            name: seen[name]
            for name in AuditRow._fields
            if name not in ("lang", "kept", "train", "dev")
        }
        row = AuditRow(lang=code, **counted, kept=len(kept), train=len(train), dev=len(dev))
        if not train:
            raise InputError(_why_none(row))
        out.train.extend(train)
        out.dev.extend(dev)
        out.audit.append(row)
    return out


def _pairs(
    scored: Sequence[Scored], config: PairConfig, length: Length | None
) -> tuple[list[tuple[Scored, Scored]], Counter[str]]:
    """All (better, worse) of one language that may be trained on, and what was seen, by the names of `AuditRow`."""
    seen = Counter(responses=len(scored))
    groups: dict[tuple[str, str], dict[str, Scored]] = defaultdict(dict)
    right: dict[str, list[bool]] = defaultdict(list)
    for one in scored:
        response, text = one.response, one.response.response.strip()
        right[response.question_id].append(response.correct is True)
        group = groups[response.question_id, response.prompt]
        reason = (
            "unscored"
            if one.score is None
            else "empty"
            if not text
            else "repeated"
            if text in group
            else None
        )
        if reason:
            seen[reason] += 1
        else:
            group[text] = one
    seen["questions"] = len(right)
    seen["all_right"] = sum(all(marks) for marks in right.values())
    seen["all_wrong"] = sum(not any(marks) for marks in right.values())
    long = _too_long([one for group in groups.values() for one in group.values()], config, length)
    kept = []
    for group in groups.values():
        for two in combinations(sorted(group.values(), key=lambda one: one.response.sample), 2):
            seen["possible"] += 1
            worse, better = sorted(two, key=_score)
            reason = (
                "tied"
                if _score(better) - _score(worse) <= config.margin
                else "wrong"
                if not better.response.correct
                else "long"
                if long and (better in long or worse in long)
                else None
            )
            if reason:
                seen[reason] += 1
            else:
                kept.append((better, worse))
    return kept, seen


def _too_long(scored: Sequence[Scored], config: PairConfig, length: Length | None) -> set[Scored]:
    if length is None:
        return set()
    tokens = length([one.response.prompt + one.response.response for one in scored])
    return {one for one, n in zip(scored, tokens, strict=True) if n + 1 > config.max_tokens}


def _draw(kept: Sequence[tuple[Scored, Scored]], config: PairConfig) -> list[Pair]:
    """The pairs to use: the first of each question by hash, then the second of each, up to the number wanted."""
    of: dict[str, list[tuple[Scored, Scored]]] = defaultdict(list)
    for two in kept:
        of[two[0].response.question_id].append(two)
    ranked = []
    for question, twos in of.items():
        twos.sort(
            key=lambda two: _hash(config.seed, question, *(one.response.sample for one in two))
        )
        ranked += [(rank, _hash(config.seed, question), two) for rank, two in enumerate(twos)]
    ranked.sort(key=lambda entry: entry[:2])
    return [_pair(better, worse) for _, _, (better, worse) in ranked[: config.per_language]]


def _held_out(question_id: str, config: PairConfig) -> bool:
    return config.dev_every > 0 and block_of(f"dev {question_id}", config.dev_every) == 0


def _pair(better: Scored, worse: Scored) -> Pair:
    said, other = better.response, worse.response
    scores = _score(better), _score(worse)
    return Pair(
        said.question_id,
        said.lang,
        said.prompt,
        said.response,
        other.response,
        *scores,
        other.correct is True,
    )


def _score(scored: Scored) -> float:
    return float("nan") if scored.score is None else scored.score


def _hash(*parts: object) -> bytes:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).digest()


def _why_none(row: AuditRow) -> str:
    """Why a language has no pair to train on, and what to do."""
    if row.kept:
        return f"{row.lang}: all {row.dev} pairs are of questions held out for dev; sample more questions"
    seen = f"{row.lang} has no pair: of {row.responses:,} responses to {row.questions:,} questions"
    if row.unscored == row.responses:
        return f"{seen} none has a score; sample English responses to the same questions and score them again"
    if row.all_wrong == row.questions:
        return f"{seen} none is marked right; sample more, or give the questions their answers"
    if not row.possible:
        return f"{seen} no two to one question differ; sample more, or at a higher temperature"
    said = f"{seen}, {row.possible:,} pairs were tied {row.tied:,} times, the better one wrong {row.wrong:,} times"
    return f"{said}, too long {row.long:,} times; sample more, or change --margin or --max-tokens"
