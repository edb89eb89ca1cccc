"""The nano world: word problems with reasoning, and plain sentences, in ten languages.

The languages' words are in the files of embedded/world.

A problem is made without words first (who, what, which events, which numbers) and then told in each
language, so that problems of one id are parallel. Which of a language's wordings is taken is drawn
anew for each telling.
"""

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from itertools import permutations, product
from random import Random
from typing import Any, Literal

from langneurons.errors import InputError
from langneurons.texts.responses import Question

LANGUAGES = ("en", "ru", "es", "fr", "de", "zh", "ja", "bn", "th", "sw")
"""The languages of the world, as ISO 639-1 codes, in the order of the paper's released masks."""

Domain = Literal["nano", "nano-ood"]
Split = Literal["train", "test"]
"""`test`: ways of combining events, and wordings, that `train` never shows."""

QUESTIONS = ("nano", "nano-ood", "nano-seed")
"""`nano` and `nano-ood`: held-out problems of two domains, as MGSM and MSVAMP are to the paper.
`nano-seed`: problems as the model was trained on, to sample responses from for an alignment, as the
paper does from NumGLUE."""

NUMBER = 100
"""Questions of a name in each language: what two cores ask, score and align on in minutes;
`questions` gives more."""

LARGEST = 99
"""No number in a problem is larger, and none is below 2."""

OPENINGS = {"has": "=", "boxes": "*", "bus": "=", "walk": "=", "rows": "*", "shelf": "="}
EVENTS = {
    **dict.fromkeys(("buys", "gets", "finds", "boards", "rides", "plants", "returns"), "+"),
    **dict.fromkeys(("gives", "loses", "sells", "alights", "storm", "lends"), "-"),
}
ASKED = {
    **dict.fromkeys(("now", "aboard", "far", "trees", "books"), "="),
    **dict.fromkeys(("more", "together"), "+"),
    "fewer": "-",
    **dict.fromkeys(("price", "times", "fares", "harvest"), "*"),
    **dict.fromkeys(("share", "packs", "back", "crates"), "/"),
}
_STORIES: Mapping[str, Sequence[tuple[Sequence[str], Sequence[str], Sequence[str]]]] = {
    "nano": [
        (
            ("has", "boxes"),
            ("buys", "gets", "finds", "gives", "loses", "sells"),
            ("now", "share", "packs", "price", "more", "fewer", "together", "times"),
        )
    ],
    "nano-ood": [
        (("bus",), ("boards", "alights"), ("aboard", "fares")),
        (("walk",), ("rides",), ("far", "back")),
        (("rows",), ("plants", "storm"), ("trees", "harvest")),
        (("shelf",), ("lends", "returns"), ("books", "crates")),
    ],
}
"""For each domain its stories: openings, events, questions that go together."""

SECTIONS = (*OPENINGS, *EVENTS, *ASKED, "close")
"""The parts of a problem that each language's file words; `plain` and `stories` are more, outside
problems."""


@dataclass(frozen=True)
class Step:
    """One sentence's meaning: x before, what it does (`=` nothing, or one of + - * /), n (and m), z after."""

    name: str
    op: str
    x: int
    n: int
    m: int
    z: int


@dataclass(frozen=True)
class Problem:
    """A problem without words.

    Attributes:
        id: the same in every language.
        domain: `nano` or `nano-ood`.
        split: which wordings it is told in.
        steps: the opening, the events, the question.
        words: what else its sentences name, by slot: A, o, c, and per step B0, t0, shop0, spot0,
            B1, ...
        answer: the right answer.
    """

    id: str
    domain: Domain
    split: Split
    steps: tuple[Step, ...]
    words: Mapping[str, str] = field(hash=False)
    answer: int


def problems(domain: Domain, split: Split, number: int, seed: int = 0) -> Iterator[Problem]:
    """Problems, the same for the same arguments; the first ones do not depend on `number`.

    Lengths (equations to write) are drawn evenly from those there are, then a schema of that
    length.
    """
    by_length = _by_length(domain, split)
    lengths = sorted(by_length)
    for i in range(number):
        rng = Random(f"{domain} {split} {seed} {i}")
        while (steps := _steps(rng.choice(by_length[rng.choice(lengths)]), rng)) is None:
            pass
        yield Problem(
            f"{domain}-{seed}-{split}-{i:05d}",
            domain,
            split,
            steps,
            _words(len(steps), rng),
            steps[-1].z,
        )


def schemas(domain: Domain) -> list[tuple[str, ...]]:
    """Every way to combine an opening, up to two events and a question, of 1 to 4 equations."""
    found = []
    for openings, events, asked in _STORIES[domain]:
        between = [order for size in range(3) for order in permutations(events, size)]
        found += [
            (first, *middle, last) for first, middle, last in product(openings, between, asked)
        ]
    return [schema for schema in found if _length(schema)]


def tell(problem: Problem, lang: str, rng: Random) -> str:
    """The question's text in a language. One of a test problem's sentences at least is worded as in no other split."""
    fresh = rng.randrange(len(problem.steps)) if problem.split == "test" else -1
    spoken = tongue(lang)
    sentences = []
    for i, step in enumerate(problem.steps):
        wordings = spoken.wordings(step.name, "tell", "test" if i == fresh else "train")
        sentences.append(spoken.say(rng.choice(rng.choice(wordings)), step, problem.words, i))
    return spoken.space.join(sentences)


def think(problem: Problem, lang: str, rng: Random) -> str:
    """Reasoning in a language: a sentence or two per step, then one with the answer."""
    spoken = tongue(lang)
    steps = [*problem.steps, Step("close", "=", 0, 0, 0, problem.answer)]
    return spoken.space.join(
        spoken.say(
            rng.choice(rng.choice(spoken.wordings(step.name, "think", None))),
            step,
            problem.words,
            i,
        )
        for i, step in enumerate(steps)
    )


def plain(lang: str, rng: Random, split: Split = "train") -> str:
    """A plain sentence, or a small story, in a language."""
    spoken = tongue(lang)
    lines = [rng.choice(spoken.wordings("plain", "tell", split))]
    if rng.random() < 0.3:
        lines = rng.choice(spoken.stories)
    words = _words(len(lines), rng)
    for i in range(len(lines)):
        words[f"B{i}"] = words["B0"]  # a story is about two
    return spoken.space.join(
        spoken.say(rng.choice(line), None, words, i) for i, line in enumerate(lines)
    )


def questions(
    name: str, languages: Sequence[str] | None = None, number: int = NUMBER
) -> list[Question]:
    """The questions of one of the names in `QUESTIONS`, in the order of `languages`, then of problems.

    A question and its number are the same for any `number`.

    Raises:
        InputError: for a language that is none of `LANGUAGES`.
    """
    codes = LANGUAGES if languages is None else tuple(languages)
    if unknown := [code for code in codes if code not in LANGUAGES]:
        raise InputError(
            f"{name} has no questions in {', '.join(unknown)}; its languages are {', '.join(LANGUAGES)}"
        )
    domain: Domain = "nano-ood" if name == "nano-ood" else "nano"
    made = list(problems(domain, "train" if name == "nano-seed" else "test", number))
    return [
        Question(p.id, lang, tell(p, lang, Random(f"{p.id} {lang}")), p.answer)
        for lang in codes
        for p in made
    ]


_PHRASES = {"t": "time", "shop": "shop", "spot": "spot"}
_SLOT = re.compile(r"\{([^}]*)\}")
_CHOICE = re.compile(r"\(([^()]*)\)")
_START = re.compile(r"(^|[.?!] )([¿¡«]*)(\w)")


class Tongue:
    """One language's file: its lexicon and wordings.

    Attributes:
        lang: its code.
        space: what stands between two sentences. names, objects, containers, units: lexicon, by
            English name; each word is its forms by name, and its `class`.
        phrases: times, shops and spots, in the same order in every language.
        stories: per story, per line, the line's expansions.
    """

    def __init__(self, lang: str, data: Mapping[str, Any]) -> None:
        """From the file's data."""
        self.lang, self.data = lang, data
        self.space: str = data.get("space", " ")
        self.classes: list[str] = data["classes"]
        self.count: dict[str, str | dict[str, str]] = data["count"]
        tables = {
            name: self._table(data[name]) for name in ("names", "objects", "containers", "units")
        }
        self.names, self.objects, self.containers, self.units = tables.values()
        self.phrases: dict[str, list[str]] = data["phrases"]
        self.stories = [[expand(line) for line in story] for story in data["stories"]["tell"]]
        self._wordings: dict[tuple[str, str, str | None], list[list[str]]] = {}

    def wordings(self, section: str, part: str, split: str | None) -> list[list[str]]:
        """A section's patterns of a split, each as its expansions; those of train where test has none."""
        key = (section, part, split)
        if key not in self._wordings:
            every = [expand(pattern) for pattern in self.data[section][part]]
            held = [
                [w for w in choices if _held_out(f"{self.lang} {section} {w}")] for choices in every
            ]
            shown = [
                [w for w in choices if w not in out]
                for choices, out in zip(every, held, strict=True)
            ]
            found = [
                choices for choices in {None: every, "train": shown, "test": held}[split] if choices
            ]
            self._wordings[key] = found or self.wordings(
                section, part, "train" if split == "test" else None
            )
        return self._wordings[key]

    def say(self, wording: str, step: Step | None, words: Mapping[str, str], place: int) -> str:
        """A sentence, its slots filled; `place` is its number among the problem's."""
        text = _SLOT.sub(lambda slot: self._fill(slot[1], step, words, place), wording)
        return _START.sub(lambda start: start[1] + start[2] + start[3].upper(), text)

    def _table(self, rows: Mapping[str, Any]) -> dict[str, dict[str, str]]:
        forms = ["class", *rows["forms"]]
        return {
            name: dict(zip(forms, row, strict=True))
            for name, row in rows.items()
            if name != "forms"
        }

    def _fill(self, slot: str, step: Step | None, words: Mapping[str, str], place: int) -> str:
        if slot in _PHRASES:
            return self.phrases[_PHRASES[slot]][int(words[f"{slot}{place}"])]
        head, choose, options = slot.partition("?")
        if choose:
            return options.split("|")[self.classes.index(self._word(head, words, place)["class"])]
        head, _, form = slot.partition(":")
        number, _, noun = head.rpartition(" ")
        if number:
            if step is None:
                raise KeyError(slot)
            return self._counted(getattr(step, number), self._word(noun, words, place), form)
        if step is not None and head in ("x", "n", "m", "z"):
            return str(getattr(step, head))
        word = self._word(head, words, place)
        return (
            word[form] if form else next(value for name, value in word.items() if name != "class")
        )

    def _word(self, name: str, words: Mapping[str, str], place: int) -> dict[str, str]:
        if name in ("A", "B"):
            return self.names[words["A" if name == "A" else f"B{place}"]]
        return (
            {"o": self.objects, "c": self.containers}[name][words[name]]
            if name in ("o", "c")
            else self.units[name]
        )

    def _counted(self, number: int, word: Mapping[str, str], case: str) -> str:
        pattern = self.count[case] if case else next(iter(self.count.values()))
        if not isinstance(pattern, str):
            pattern = pattern[plural(number)]
        return pattern.format(n=number, **word)


def expand(pattern: str) -> list[str]:
    """Every text that a pattern with (choices|in|brackets) stands for; slots stay, whatever is in them."""
    kept = _SLOT.sub(lambda slot: slot[0].replace("|", "\0"), pattern)
    pieces = _CHOICE.split(kept)
    chosen = product(*(piece.split("|") if i % 2 else [piece] for i, piece in enumerate(pieces)))
    return ["".join(choice).replace("\0", "|") for choice in chosen]


def plural(number: int) -> str:
    """Russian's plural category of a whole number."""
    if number % 10 == 1 and number % 100 != 11:
        return "one"
    return "few" if number % 10 in (2, 3, 4) and number % 100 not in (12, 13, 14) else "many"


def _held_out(text: str) -> bool:
    """One in ten, by the text."""
    return hashlib.sha256(text.encode()).digest()[0] < 26


@cache
def _by_length(domain: Domain, split: Split) -> dict[int, list[tuple[str, ...]]]:
    """A split's schemas by the number of their equations."""
    found: dict[int, list[tuple[str, ...]]] = {}
    for schema in schemas(domain):
        if _held_out(f"schema {' '.join(schema)}") == (split == "test"):
            found.setdefault(_length(schema), []).append(schema)
    return found


def _length(schema: Sequence[str]) -> int:
    return sum((OPENINGS | EVENTS | ASKED)[name] != "=" for name in schema)


def _words(steps: int, rng: Random) -> dict[str, str]:
    """What else the sentences of so many steps name, by slot; somebody else and another time and place in each."""
    english = tongue("en")
    who, *others = rng.sample(list(english.names), 1 + steps)
    words = {
        "A": who,
        "o": rng.choice(list(english.objects)),
        "c": rng.choice(list(english.containers)),
    }
    for i, other in enumerate(others):
        words[f"B{i}"] = other
        words |= {
            f"{slot}{i}": str(rng.randrange(len(english.phrases[key])))
            for slot, key in _PHRASES.items()
        }
    return words


def work_out(op: str, x: int, n: int) -> int | None:
    """What `op` (= nothing, or one of + - * /) and n make of x; None where that is no number a problem may have."""
    if op == "=":
        return x
    z = {"+": x + n, "-": x - n, "*": x * n, "/": x // n}[op]
    return None if not 2 <= z <= LARGEST or (op == "/" and x % n) else z


def _steps(schema: Sequence[str], rng: Random) -> tuple[Step, ...] | None:
    """Numbers for a schema, or None when a draw comes out badly."""
    steps: list[Step] = []
    x = 0
    for name in schema:
        op = (OPENINGS | EVENTS | ASKED)[name]
        n = m = 0
        if name in OPENINGS:
            n, m = (rng.randint(2, 9), rng.randint(2, 9)) if op == "*" else (0, 0)
            x = z = n * m if op == "*" else rng.randint(3, 80)
        else:
            n = 0 if op == "=" else rng.randint(2, 9) if op in "*/" else rng.randint(2, 40)
            z = work_out(op, x, n)
            if z is None:
                return None
        steps.append(Step(name, op, x, n, m, z))
        x = z
    return tuple(steps)


@cache
def tongue(lang: str) -> Tongue:
    """The file of a language."""
    text = files("langneurons").joinpath("embedded", "world", f"{lang}.toml").read_text("utf-8")
    return Tongue(lang, tomllib.loads(text))
