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
from typing import Any, Literal, NamedTuple

from langneurons.errors import InputError
from langneurons.texts.languages import ENGLISH
from langneurons.texts.responses import Question

LANGUAGES = ("en", "ru", "es", "fr", "de", "zh", "ja", "bn", "th", "sw")
"""The languages of the world, as ISO 639-1 codes, in the order of the paper's released masks."""

DomainName = Literal["nano", "nano-ood"]
Split = Literal["train", "test"]
"""`test`: ways of combining events, and wordings, that `train` never shows."""

QUESTIONS = ("nano", "nano-ood", "nano-seed")
"""`nano` and `nano-ood`: held-out problems of two domains, as MGSM and MSVAMP are to the paper.
`nano-seed`: problems as the model was trained on, to sample responses from for an alignment, as the
paper does from NumGLUE."""

TEXTS = ("nano-problems", "nano-stories")
"""Running text: problems with right reasoning of both domains, as the model was trained on, and
small stories. The same in every language, told in its own words."""

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
_OPERATIONS = OPENINGS | EVENTS | ASKED
"""What the sentence of each section does to the number before: `=` nothing, or one of + - * /."""

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
class Sentence:
    """What one sentence of a problem says, without words.

    Attributes:
        name: its section: of `OPENINGS`, `EVENTS` or `ASKED`, or `close`.
        op: what it does: `=` nothing, or one of + - * /.
        x: the number before.
        n: the number it does it with, 0 if none.
        m: the other number of an opening that multiplies two, else 0.
        z: the number after.
    """

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
        sentences: the opening, the events, the question.
        words: what else they name, by slot: A, o, c, and for each sentence B0, t0, shop0, spot0,
            B1, ...
        answer: the right answer.
    """

    id: str
    domain: DomainName
    split: Split
    sentences: tuple[Sentence, ...]
    words: Mapping[str, str] = field(hash=False)
    answer: int


def problems(domain: DomainName, split: Split, number: int, seed: int = 0) -> Iterator[Problem]:
    """Problems, the same for the same arguments; the first ones do not depend on `number`.

    Lengths (equations to write) are drawn evenly from those there are, then a schema of that
    length.
    """
    by_length = _by_length(domain, split)
    lengths = sorted(by_length)
    for i in range(number):
        rng = Random(f"{domain} {split} {seed} {i}")
        sentences = None
        while sentences is None:
            schema = rng.choice(by_length[rng.choice(lengths)])
            sentences = _sentences(schema, rng)
        yield Problem(
            id=f"{domain}-{seed}-{split}-{i:05d}",
            domain=domain,
            split=split,
            sentences=sentences,
            words=_words(len(sentences), rng),
            answer=sentences[-1].z,
        )


def schemas(domain: DomainName) -> list[tuple[str, ...]]:
    """Every way to combine an opening, up to two events and a question, of 1 to 4 equations."""
    every: list[tuple[str, ...]] = []
    for openings, events, asked in _STORIES[domain]:
        between = [order for size in range(3) for order in permutations(events, size)]
        for first, middle, last in product(openings, between, asked):
            every.append((first, *middle, last))
    return [schema for schema in every if _length(schema)]


def tell(problem: Problem, lang: str, rng: Random) -> str:
    """The question's text in a language.

    One of a test problem's sentences at least is worded as in no other split.
    """
    fresh = rng.randrange(len(problem.sentences)) if problem.split == "test" else -1
    spoken = tongue(lang)
    texts = []
    for i, sentence in enumerate(problem.sentences):
        wordings = spoken.wordings(sentence.name, "tell", "test" if i == fresh else "train")
        wording = rng.choice(rng.choice(wordings))
        texts.append(spoken.say(wording, sentence, problem.words, i))
    return spoken.space.join(texts)


def think(problem: Problem, lang: str, rng: Random) -> str:
    """Reasoning in a language: a sentence or two for each of the problem's, then the answer."""
    spoken = tongue(lang)
    close = Sentence("close", "=", x=0, n=0, m=0, z=problem.answer)
    texts = []
    for i, sentence in enumerate([*problem.sentences, close]):
        wording = rng.choice(rng.choice(spoken.wordings(sentence.name, "think", None)))
        texts.append(spoken.say(wording, sentence, problem.words, i))
    return spoken.space.join(texts)


def plain(lang: str, rng: Random, split: Split = "train") -> str:
    """A plain sentence, or a small story, in a language."""
    spoken = tongue(lang)
    lines = [rng.choice(spoken.wordings("plain", "tell", split))]
    if rng.random() < 0.3:
        lines = rng.choice(spoken.stories)
    words = _words(len(lines), rng)
    for i in range(len(lines)):
        words[f"B{i}"] = words["B0"]  # a story is about two
    texts = [spoken.say(rng.choice(line), None, words, i) for i, line in enumerate(lines)]
    return spoken.space.join(texts)


def questions(
    name: str, languages: Sequence[str] | None = None, number: int = NUMBER
) -> list[Question]:
    """The questions of one of the names in `QUESTIONS`.

    They come in the order of `languages`, then of problems. A question and its number are the same
    for any `number`.

    Raises:
        InputError: for a language that is none of `LANGUAGES`.
    """
    codes = LANGUAGES if languages is None else tuple(languages)
    if unknown := [code for code in codes if code not in LANGUAGES]:
        raise InputError(
            f"{name} has no questions in {', '.join(unknown)}; "
            f"its languages are {', '.join(LANGUAGES)}"
        )
    domain: DomainName = "nano-ood" if name == "nano-ood" else "nano"
    made = list(problems(domain, "train" if name == "nano-seed" else "test", number))
    asked = []
    for lang in codes:
        for problem in made:
            text = tell(problem, lang, Random(f"{problem.id} {lang}"))
            asked.append(Question(problem.id, lang, text, problem.answer))
    return asked


def running_text(name: str, lang: str, number: int) -> Iterator[str]:
    """The first so many documents of one of `TEXTS` in a language; they do not depend on how many.

    The n-th document says the same in every language.
    """
    if name == "nano-stories":
        stories = min(len(tongue(code).stories) for code in LANGUAGES)
        for i in range(number):
            yield _story(lang, i % stories, i)
        return
    domains: tuple[DomainName, ...] = ("nano", "nano-ood")
    made = [problems(domain, "train", number) for domain in domains]
    for i in range(number):
        problem = next(made[i % len(domains)])
        rng = Random(f"{problem.id} {lang}")
        yield f"{tell(problem, lang, rng)}\n{think(problem, lang, rng)}"


def _story(lang: str, place: int, number: int) -> str:
    """The story at a place in a language's list, about those whom this number draws."""
    spoken = tongue(lang)
    lines = spoken.stories[place]
    words = _words(
        max(map(len, (tongue(code).stories[place] for code in LANGUAGES))), Random(number)
    )
    rng = Random(f"{number} {lang}")
    for i in range(len(lines)):
        words[f"B{i}"] = words["B0"]  # a story is about two
    texts = [spoken.say(rng.choice(line), None, words, i) for i, line in enumerate(lines)]
    return spoken.space.join(texts)


_PHRASES = {"t": "time", "shop": "shop", "spot": "spot"}
"""Slots of a whole phrase, and the list of phrases that fills each."""

_NUMBERS = ("x", "n", "m", "z")
"""Slots of a number, which are the sentence's attributes."""

_SLOT = re.compile(r"\{([^}]*)\}")
_CHOICE = re.compile(r"\(([^()]*)\)")
_START = re.compile(r"(^|[.?!] )([¿¡«]*)(\w)")


class _Slot(NamedTuple):
    """What stands between the braces of a wording.

    | slot | number | word | form | options |
    |---|---|---|---|---|
    | `{x}` | x | | | |
    | `{n o:acc}` | n | o | acc | |
    | `{A:gen}` | | A | gen | |
    | `{A?he|she}` | | A | | he, she |

    Attributes:
        number: one of `_NUMBERS`, or nothing.
        word: A or B (somebody), o (the object), c (the container), the name of a unit, a slot of
            `_PHRASES`, or nothing.
        form: of the word, or of the two together where there is a number; the first one if nothing.
        options: which of these it is depends on the word's class.
    """

    number: str = ""
    word: str = ""
    form: str = ""
    options: tuple[str, ...] = ()


@cache
def _slot(text: str) -> _Slot:
    """The slot that is written so."""
    word, asks, options = text.partition("?")
    if asks:
        return _Slot(word=word, options=tuple(options.split("|")))
    what, _, form = text.partition(":")
    if what in _NUMBERS:
        return _Slot(number=what)
    number, _, word = what.rpartition(" ")
    return _Slot(number=number, word=word, form=form)


class Tongue:
    """One language's file: its lexicon and wordings.

    Attributes:
        lang: its code.
        data: the file as it is.
        space: what stands between two sentences.
        classes: the classes of words that the options of a slot are for, in their order.
        count: patterns of a number and what it counts, by the name of the form.
        names: people, by English name; each is its forms by name, and its `class`.
        objects: what they have, likewise.
        containers: what that is in, likewise.
        units: other words, likewise.
        phrases: times, shops and spots, in the same order in every language.
        stories: per story, per line, the line's expansions.
    """

    def __init__(self, lang: str, data: Mapping[str, Any]) -> None:
        """From the file's data."""
        self.lang, self.data = lang, data
        self.space: str = data.get("space", " ")
        self.classes: list[str] = data["classes"]
        self.count: dict[str, str | dict[str, str]] = data["count"]
        self.names = _lexicon(data["names"])
        self.objects = _lexicon(data["objects"])
        self.containers = _lexicon(data["containers"])
        self.units = _lexicon(data["units"])
        self.phrases: dict[str, list[str]] = data["phrases"]
        self.stories = [[expand(line) for line in story] for story in data["stories"]["tell"]]
        self._wordings: dict[tuple[str, str, str | None], list[list[str]]] = {}

    def wordings(self, section: str, part: str, split: Split | None) -> list[list[str]]:
        """A section's patterns of a split, each as its expansions.

        Where test has none they are those of train; without a split they are all there are.
        """
        key = (section, part, split)
        if key not in self._wordings:
            patterns = [expand(pattern) for pattern in self.data[section][part]]
            if split is not None:
                patterns = [self._of_split(section, choices, split) for choices in patterns]
            some = [choices for choices in patterns if choices]
            wider: Split | None = "train" if split == "test" else None
            self._wordings[key] = some or self.wordings(section, part, wider)
        return self._wordings[key]

    def _of_split(self, section: str, choices: Sequence[str], split: Split) -> list[str]:
        return [
            wording
            for wording in choices
            if _held_out(f"{self.lang} {section} {wording}") == (split == "test")
        ]

    def say(
        self, wording: str, sentence: Sentence | None, words: Mapping[str, str], place: int
    ) -> str:
        """A sentence, its slots filled; `place` is its number among the problem's."""

        def fill(match: re.Match[str]) -> str:
            return self._fill(_slot(match[1]), sentence, words, place)

        text = _SLOT.sub(fill, wording)
        return _START.sub(lambda start: start[1] + start[2] + start[3].upper(), text)

    def _fill(
        self, slot: _Slot, sentence: Sentence | None, words: Mapping[str, str], place: int
    ) -> str:
        if slot.word in _PHRASES:
            phrases = self.phrases[_PHRASES[slot.word]]
            return phrases[int(words[f"{slot.word}{place}"])]
        if slot.number:
            number = getattr(sentence, slot.number)
            if not slot.word:
                return str(number)
            return self._counted(number, self._word(slot.word, words, place), slot.form)
        word = self._word(slot.word, words, place)
        if slot.options:
            return slot.options[self.classes.index(word["class"])]
        return word[slot.form] if slot.form else _first_form(word)

    def _word(self, slot: str, words: Mapping[str, str], place: int) -> dict[str, str]:
        """The word in a slot, by its forms."""
        lexicons = {"A": self.names, "B": self.names, "o": self.objects, "c": self.containers}
        if slot not in lexicons:
            return self.units[slot]
        return lexicons[slot][words[f"B{place}" if slot == "B" else slot]]

    def _counted(self, number: int, word: Mapping[str, str], form: str) -> str:
        """A number and what it counts, in one of the forms in which the two stand together."""
        pattern = self.count[form or next(iter(self.count))]
        if not isinstance(pattern, str):
            pattern = pattern[plural(number)]
        return pattern.format(n=number, **word)


def _lexicon(rows: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Words by English name, each as its forms by name; its class is one of them."""
    forms = ["class", *rows["forms"]]
    return {
        name: dict(zip(forms, row, strict=True)) for name, row in rows.items() if name != "forms"
    }


def _first_form(word: Mapping[str, str]) -> str:
    return next(text for form, text in word.items() if form != "class")


def expand(pattern: str) -> list[str]:
    """Every text that a pattern with (choices|in|brackets) stands for.

    Slots stay, whatever is in them.
    """
    kept = _SLOT.sub(lambda slot: slot[0].replace("|", "\0"), pattern)
    pieces = _CHOICE.split(kept)  # every second one is what stands in brackets
    choices = [piece.split("|") if i % 2 else [piece] for i, piece in enumerate(pieces)]
    chosen = product(*choices)
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
def _by_length(domain: DomainName, split: Split) -> dict[int, list[tuple[str, ...]]]:
    """A split's schemas by the number of their equations."""
    by_length: dict[int, list[tuple[str, ...]]] = {}
    for schema in schemas(domain):
        if _held_out(f"schema {' '.join(schema)}") == (split == "test"):
            by_length.setdefault(_length(schema), []).append(schema)
    return by_length


def _length(schema: Sequence[str]) -> int:
    """Equations that a schema needs."""
    return sum(_OPERATIONS[name] != "=" for name in schema)


def _words(sentences: int, rng: Random) -> dict[str, str]:
    """What else so many sentences name, by slot: in each somebody else, another time and place."""
    english = tongue(ENGLISH)
    first, *others = rng.sample(list(english.names), 1 + sentences)
    words = {
        "A": first,
        "o": rng.choice(list(english.objects)),
        "c": rng.choice(list(english.containers)),
    }
    for i, other in enumerate(others):
        words[f"B{i}"] = other
        for slot, phrases in _PHRASES.items():
            words[f"{slot}{i}"] = str(rng.randrange(len(english.phrases[phrases])))
    return words


def work_out(op: str, x: int, n: int) -> int | None:
    """What `op` (= nothing, or one of + - * /) and n make of x.

    None where that is no number a problem may have.
    """
    if op == "=":
        return x
    if op == "/" and x % n:
        return None
    z = {"+": x + n, "-": x - n, "*": x * n, "/": x // n}[op]
    return z if 2 <= z <= LARGEST else None


def _sentences(schema: Sequence[str], rng: Random) -> tuple[Sentence, ...] | None:
    """Numbers for a schema, or None when a draw comes out badly."""
    opening = _opening(schema[0], rng)
    sentences = [opening]
    x = opening.z
    for name in schema[1:]:
        op = _OPERATIONS[name]
        n = _drawn(op, rng)
        z = work_out(op, x, n)
        if z is None:
            return None
        sentences.append(Sentence(name, op, x=x, n=n, m=0, z=z))
        x = z
    return tuple(sentences)


def _opening(name: str, rng: Random) -> Sentence:
    """The first sentence: so many of something, or n times m of it."""
    if OPENINGS[name] == "*":
        n, m = rng.randint(2, 9), rng.randint(2, 9)
        return Sentence(name, "*", x=n * m, n=n, m=m, z=n * m)
    x = rng.randint(3, 80)
    return Sentence(name, "=", x=x, n=0, m=0, z=x)


def _drawn(op: str, rng: Random) -> int:
    """The number that an event or a question does its operation with."""
    if op == "=":
        return 0
    return rng.randint(2, 9) if op in "*/" else rng.randint(2, 40)


@cache
def tongue(lang: str) -> Tongue:
    """The file of a language."""
    text = files("langneurons").joinpath("embedded", "world", f"{lang}.toml").read_text("utf-8")
    return Tongue(lang, tomllib.loads(text))
