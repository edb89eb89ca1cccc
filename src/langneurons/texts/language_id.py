"""Language identification: which of a few known languages a text is in, learnt from texts in them.

Naive Bayes over runs of one to three characters. Among the ten languages of MGSM, learnt from its
questions, it was right for all of 12,500 real responses (docs/evaluate.md); `flaws` can only tell
scripts apart.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

LEAST = 10
"""Letters below which a text is not judged."""

ENOUGH = 500
"""Characters of text in each language below which nothing can be learnt."""

_PRIOR = 0.5  # added to the count of every run of characters in every language


class Identifier:
    """Tells languages apart.

    Attributes:
        languages: codes of the languages it knows.
    """

    def __init__(self, texts: Mapping[str, Sequence[str]]) -> None:
        """Learn from texts, by code of their language.

        It is best if they say the same in all of them.
        """
        counts: list[Counter[str]] = []
        for texts_of_one in texts.values():
            count: Counter[str] = Counter()
            for text in texts_of_one:
                count.update(_runs(text))
            counts.append(count)
        every_run = dict.fromkeys(run for count in counts for run in count)
        self.languages = tuple(texts)
        self._row = {run: i for i, run in enumerate(every_run)}
        self._seen = np.full((len(every_run) + 1, len(counts)), _PRIOR)  # the last: runs never seen
        for k, count in enumerate(counts):
            rows = [self._row[run] for run in count]
            self._seen[rows, k] += list(count.values())
        self._total = self._seen.sum(axis=0)
        self._log = np.log(self._seen / self._total)

    def language(self, text: str, *, learnt_as: str | None = None) -> str | None:
        """Code of the language a text is most likely in; None where it is too short to tell.

        Args:
            text: any.
            learnt_as: the language that was learnt from this text among others, where it was: what
                it gave to it is taken away first.
        """
        if sum(char.isalpha() for char in _plain(text)) < LEAST:
            return None
        runs = Counter(_runs(text))
        rows = [self._row.get(run, -1) for run in runs]
        times = np.array(list(runs.values()))
        log = self._log[rows]
        if learnt_as is not None:
            k = self.languages.index(learnt_as)
            left = self._seen[rows, k] - times
            log[:, k] = np.log(left) - np.log(self._total[k] - times.sum())
        return self.languages[int((times @ log).argmax())]


def by_language(texts: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Texts by the code of their language, each given with it."""
    parted: dict[str, list[str]] = {}
    for lang, text in texts:
        parted.setdefault(lang, []).append(text)
    return parted


def learn(texts: Mapping[str, Sequence[str]]) -> Identifier | None:
    """An identifier of these languages; None where there is only one, or too little text in one."""
    enough = all(sum(map(len, texts_of_one)) >= ENOUGH for texts_of_one in texts.values())
    return Identifier(texts) if len(texts) > 1 and enough else None


def _plain(text: str) -> str:
    """A text in small letters without digits, ASCII signs and LaTeX commands."""
    return re.sub(r"(?:\\[a-z]*|[\d\s!-@\[\]^_`{-~])+", " ", text.lower())


def _runs(text: str) -> list[str]:
    """All runs of one to three characters."""
    padded = f" {_plain(text).strip()} "
    return [padded[i : i + n] for n in (1, 2, 3) for i in range(len(padded) - n + 1)]
