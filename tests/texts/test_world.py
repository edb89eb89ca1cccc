"""The nano world: every language's file words the same meanings, with the numbers that belong."""

import re
from collections.abc import Iterator
from random import Random

import pytest

from langneurons.errors import InputError
from langneurons.texts import world
from langneurons.texts.answers import last_number
from langneurons.texts.flaws import flaws
from langneurons.texts.responses import Response

OPERATIONS = world.OPENINGS | world.EVENTS | world.ASKED
EQUATIONS = {op: f"{{x}}{op}{{n}}={{z}}" for op in "+-*/"}
OPENING_NUMBERS = {name: ["n", "m"] if op == "*" else ["x"] for name, op in world.OPENINGS.items()}
DOES = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": int.__floordiv__}
every_language = pytest.mark.parametrize("lang", world.LANGUAGES)


def wordings(lang: str, part: str) -> Iterator[tuple[str, str]]:
    """Each section's name with each of its expanded wordings."""
    tongue = world.tongue(lang)
    for section in world.SECTIONS:
        if part in tongue.data[section]:
            for choices in tongue.wordings(section, part, None):
                yield from ((section, wording) for wording in choices)


def numbers(wording: str) -> list[str]:
    """Which of the numbers x n m z a wording names."""
    return re.findall(r"\{([xnmz])[ }]", wording)


@every_language
def test_lexicon_has_the_same_words_in_every_language(lang):
    ours, english = world.tongue(lang), world.tongue("en")
    for table in ("names", "objects", "containers", "units"):
        assert list(getattr(ours, table)) == list(getattr(english, table))
        for word in getattr(ours, table).values():
            assert word["class"] in ours.classes
            assert all(word.values())
    assert {key: len(words) for key, words in ours.phrases.items()} == {
        key: len(words) for key, words in english.phrases.items()
    }
    assert len(ours.names) >= 30
    assert len(ours.objects) >= 40


@every_language
def test_every_sentence_has_at_least_four_wordings(lang):
    tongue = world.tongue(lang)
    for section in world.SECTIONS:
        for part in ("think",) if section == "close" else ("tell", "think"):
            patterns = tongue.data[section][part]
            assert len(patterns) >= 4, (section, part)
            assert len(set(patterns)) == len(patterns), (section, part)
    assert len(tongue.data["plain"]["tell"]) >= 100
    assert len(tongue.stories) >= 16


@every_language
def test_questions_name_the_numbers_they_must_and_no_other(lang):
    for section, wording in wordings(lang, "tell"):
        asks_for = OPENING_NUMBERS.get(section, ["n"] if OPERATIONS[section] != "=" else [])
        assert set(numbers(wording)) == set(asks_for), (section, wording)
        assert not re.search(r"[0-9()]", wording), (section, wording)


@every_language
def test_reasoning_has_its_equation_once(lang):
    for section, wording in wordings(lang, "think"):
        if section == "close":
            assert numbers(wording) == ["z"], wording
            continue
        op = OPERATIONS[section]
        if op == "=":
            assert set(numbers(wording)) == set(OPENING_NUMBERS.get(section, ["z"])), (
                section,
                wording,
            )
            continue
        equation = "{n}*{m}={z}" if section in world.OPENINGS else EQUATIONS[op]
        assert re.sub(r"=\{z [^}]*\}", "={z}", wording).count(equation) == 1, (section, wording)
        assert not re.search(r"[0-9()]", wording), (section, wording)


@every_language
def test_all_that_can_be_said_can_be_said(lang):
    tongue, rng = world.tongue(lang), Random(0)
    for domain in ("nano", "nano-ood"):
        for problem in world.problems(domain, "train", 100):
            for i, sentence in enumerate(problem.sentences):
                for part in ("tell", "think"):
                    for choices in tongue.wordings(sentence.name, part, None):
                        text = tongue.say(rng.choice(choices), sentence, problem.words, i)
                        assert "{" not in text
                        assert not re.search(r"  | [,.]|\s$|^\s", text), text
    for split in ("train", "test"):
        for _ in range(300):
            assert "{" not in world.plain(lang, rng, split)


@every_language
@pytest.mark.parametrize("domain", ["nano", "nano-ood"])
def test_problems_are_worded_in_their_language_and_end_in_the_answer(lang, domain):
    for problem in world.problems(domain, "test", 50):
        rng = Random(problem.id)
        asked, thought = world.tell(problem, lang, rng), world.think(problem, lang, rng)
        assert flaws(Response(problem.id, lang, "", asked)) == ()
        assert flaws(Response(problem.id, lang, "", thought)) == ()
        assert last_number(thought) == problem.answer
        for left, op, right, result in re.findall(r"(\d+)([-+*/])(\d+)=(\d+)", thought):
            assert DOES[op](int(left), int(right)) == int(result)


def test_problems_are_parallel_and_the_same_again():
    def numbers_of(lang: str) -> list[set[str]]:
        return [set(re.findall(r"\d+", q.question)) for q in world.questions("nano", [lang], 60)]

    english = world.questions("nano", ["en"], 60)
    assert world.questions("nano", ["en"], 60) == english
    assert world.questions("nano", ["en"], 20) == english[:20]
    assert [q.id for q in world.questions("nano", ["th"], 60)] == [q.id for q in english]
    for lang in world.LANGUAGES:
        assert numbers_of(lang) == numbers_of("en")
    assert len({q.question for q in english}) == 60
    assert {q.id for q in world.questions("nano-ood", ["en"], 60)}.isdisjoint(q.id for q in english)
    with pytest.raises(InputError, match="no questions in fi; its languages are en, ru"):
        world.questions("nano", ["en", "fi"])


def test_numbers_add_up():
    for domain in ("nano", "nano-ood"):
        for problem in world.problems(domain, "train", 300):
            x = 0
            for sentence in problem.sentences:
                if sentence.name in world.OPENINGS:
                    assert sentence.z == (
                        sentence.n * sentence.m if sentence.op == "*" else sentence.x
                    )
                else:
                    done = {
                        "=": x,
                        "+": x + sentence.n,
                        "-": x - sentence.n,
                        "*": x * sentence.n,
                        "/": x / max(sentence.n, 1),
                    }
                    assert sentence.x == x
                    assert sentence.z == done[sentence.op]
                x = sentence.z
                assert 2 <= x <= world.LARGEST
            assert problem.answer == x
            assert 1 <= sum(sentence.op != "=" for sentence in problem.sentences) <= 4


@pytest.mark.parametrize("domain", ["nano", "nano-ood"])
def test_what_is_held_out_for_the_test_is_never_shown(domain):
    train, test = (
        {tuple(s.name for s in p.sentences) for p in world.problems(domain, split, 400)}
        for split in ("train", "test")
    )
    assert train
    assert test
    assert train.isdisjoint(test)
    for lang in world.LANGUAGES:
        tongue = world.tongue(lang)
        fresh = 0
        for section in world.SECTIONS[:-1]:
            shown = {w for choices in tongue.wordings(section, "tell", "train") for w in choices}
            held = {w for choices in tongue.wordings(section, "tell", "test") for w in choices}
            fresh += shown.isdisjoint(held)
        assert fresh >= 20


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        ("a (b|c) d", ["a b d", "a c d"]),
        ("(a|b)(c|)", ["ac", "a", "bc", "b"]),
        ("{A?he|she} (is|was) {n o}", ["{A?he|she} is {n o}", "{A?he|she} was {n o}"]),
        ("({A}|{A?he|she})", ["{A}", "{A?he|she}"]),
        ("plain", ["plain"]),
    ],
)
def test_expand(pattern, texts):
    assert world.expand(pattern) == texts


def test_russian_numbers_choose_their_nouns():
    word = {"one": "книга", "few": "книги", "many": "книг"}
    assert [word[world.plural(n)] for n in (2, 5, 11, 12, 14, 21, 22, 25, 91)] == [
        "книги", "книг", "книг", "книг", "книг", "книга", "книги", "книг", "книга"
    ]  # fmt: skip
