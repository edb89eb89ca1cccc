"""Question ids: which languages share no question because an id is not the same in all of them."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from langneurons.texts.languages import language
from langneurons.texts.responses import Question, Response

Ids = Mapping[str, Collection[str]]
"""Ids of the questions there are, by language."""


def ids_of(items: Iterable[Question | Response]) -> dict[str, dict[str, None]]:
    """The ids of questions, or of those that were answered, by language, in order."""
    ids: dict[str, dict[str, None]] = {}
    for item in items:
        question = item.id if isinstance(item, Question) else item.question_id
        ids.setdefault(item.lang, {})[question] = None
    return ids


def unshared(ids: Ids) -> list[str]:
    """Languages of which no question is there in another one too; none where there is only one."""
    if len(ids) < 2:
        return []
    languages = Counter(question for questions in ids.values() for question in set(questions))
    return [
        code
        for code, questions in ids.items()
        if not any(languages[question] > 1 for question in questions)
    ]


def notes(ids: Ids, consequence: str) -> list[str]:
    """What to say where languages share no question with any other: nothing, or one line.

    Args:
        ids: the ids there are.
        consequence: what is lost, as in `their blocks are not paired`.
    """
    alone = unshared(ids)
    if not alone:
        return []
    verb = "shares" if len(alone) == 1 else "share"
    who = f"{', '.join(alone)} {verb} no question with another language"
    return [f"{who}, so {consequence}; {advice(ids)}"]


def advice(ids: Ids) -> str:
    """What to do where questions are not shared: which rule would join them, if one is seen."""
    examples = ", ".join(next(iter(questions)) for questions in list(ids.values())[:3] if questions)
    needed = f"a question needs the same id in every language (there are {examples})"
    bare = {code: {_without(question, code) for question in ids[code]} for code in ids}
    unambiguous = all(len(bare[code]) == len(set(ids[code])) for code in ids)
    languages = Counter(question for questions in bare.values() for question in questions)
    joined = sum(n > 1 for n in languages.values())
    if not unambiguous or not joined:
        return needed
    return (
        f"{needed}: with the language left off its id, {joined:,} of {len(languages):,} questions "
        "would be there in two languages or more"
    )


def _without(question: str, code: str) -> str:
    """An id without its language's code or name, where they stand apart from other letters."""
    known = language(code)
    words = sorted({code, known.name, known.nllb or code}, key=len, reverse=True)
    pattern = "|".join(map(re.escape, words))
    bare = re.sub(rf"(?<![^\W\d_])(?:{pattern})(?![^\W\d_])", "", question, flags=re.IGNORECASE)
    return re.sub(r"([-_./:\s])[-_./:\s]+", r"\1", bare).strip("-_./: ")
