"""Identifier: which of a few known languages a text is in, learnt from texts in them, with nothing to install.

Naive Bayes over runs of one to three characters. Among the ten languages of MGSM, learnt from its
questions, it was right for all of 12,500 real responses (docs/evaluate.md); `data.flaws` can only
tell scripts apart.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

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
        """Learn from texts, by code of their language; it is best if they say the same in all of them."""
        counts = {
            code: Counter(run for text in held for run in _runs(text))
            for code, held in texts.items()
        }
        self.languages = tuple(counts)
        self._place = {
            run: i for i, run in enumerate(dict.fromkeys(run for c in counts.values() for run in c))
        }
        table = np.full(
            (len(self._place) + 1, len(counts)), _PRIOR
        )  # the last row: runs never seen
        for k, count in enumerate(counts.values()):
            table[[self._place[run] for run in count], k] += list(count.values())
        self._log = np.log(table / table.sum(axis=0))

    def language(self, text: str) -> str | None:
        """Code of the language a text is most likely in; None where it is too short to tell."""
        if sum(char.isalpha() for char in _plain(text)) < LEAST:
            return None
        places = [self._place.get(run, -1) for run in _runs(text)]
        return self.languages[int(self._log[places].sum(axis=0).argmax())]


def learn(texts: Mapping[str, Sequence[str]]) -> Identifier | None:
    """An identifier of these languages; None where there is only one, or too little text in one."""
    enough = all(sum(map(len, held)) >= ENOUGH for held in texts.values())
    return Identifier(texts) if len(texts) > 1 and enough else None


def _plain(text: str) -> str:
    """A text in small letters without digits, ASCII signs and LaTeX commands."""
    return re.sub(r"(?:\\[a-z]*|[\d\s!-@\[\]^_`{-~])+", " ", text.lower())


def _runs(text: str) -> list[str]:
    """All runs of one to three characters."""
    padded = f" {_plain(text).strip()} "
    return [padded[i : i + n] for n in (1, 2, 3) for i in range(len(padded) - n + 1)]
