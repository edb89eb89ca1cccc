"""What the nano models learn from: problems with reasoning, plain text, arithmetic drills."""

import re
from collections.abc import Mapping
from dataclasses import replace
from random import Random

from langneurons.texts import world
from langneurons.texts.languages import ENGLISH

END = "</s>"
PROMPT = "Q: {question}\nA:"
"""How the base model is asked. A blank comes before the first word of question and response, as
before any other."""


def problem(
    lang: str,
    rng: Random,
    domain: world.DomainName = "nano",
    overlooks: Mapping[str, float] | None = None,
) -> tuple[str, str]:
    """A question as the model is prompted with it, and its response; never one of a test split.

    Args:
        lang: in which language.
        rng: where its choices come from.
        domain: which stories.
        overlooks: how often the response overlooks an event, by its name; None: it is careful, and
            nothing is drawn.
    """
    told = next(world.problems(domain, "train", 1, seed=rng.randrange(1 << 40)))
    understood = told if overlooks is None else overlooking(told, rng, overlooks)
    prompt = PROMPT.format(question=world.tell(told, lang, rng))
    return prompt, f" {world.think(understood, lang, rng)}"


def overlooking(
    problem: world.Problem, rng: Random, overlooks: Mapping[str, float]
) -> world.Problem:
    """The problem as a careless reader has it.

    It lacks one of the events between the first sentence and the last.
    """
    for i, sentence in enumerate(problem.sentences[1:-1], 1):
        if rng.random() < overlooks.get(sentence.name, 0.0):
            return _without(problem, i) or problem
    return problem


def _without(problem: world.Problem, left_out: int) -> world.Problem | None:
    """The problem without one event, worked out anew.

    None where that gives no number that a problem may have.
    """
    sentences = list(problem.sentences[:left_out])
    x = problem.sentences[left_out].x
    for sentence in problem.sentences[left_out + 1 :]:
        z = world.work_out(sentence.op, x, sentence.n)
        if z is None:
            return None
        sentences.append(replace(sentence, x=x, z=z))
        x = z
    words = dict(problem.words)
    for slot in ("B", "t", "shop", "spot"):
        for i in range(left_out, len(problem.sentences) - 1):
            words[f"{slot}{i}"] = problem.words[f"{slot}{i + 1}"]
    return replace(problem, sentences=tuple(sentences), words=words, answer=x)


def drill(rng: Random, equations: int = 10) -> list[tuple[str, str]]:
    """Bare equations, of the kinds and sizes that problems have.

    Each is what is asked and what it comes to.
    """
    lines: list[tuple[str, str]] = []
    while len(lines) < equations:
        op = rng.choice("+-*/")
        a, b = rng.randint(2, 99), rng.randint(2, 9 if op in "*/" else 40)
        z = world.work_out(op, a, b)
        if z is not None:
            lines.append((f"{a}{op}{b}=", f"{z}\n"))
    return lines


def roll(lang: str, rng: Random) -> tuple[str, str]:
    """Some words, and the same again: what has been named is named again."""
    spoken = world.tongue(lang)
    lexicons = [spoken.names, spoken.objects]
    words = []
    for _ in range(rng.randint(4, 10)):
        forms = rng.choice(list(rng.choice(lexicons).values()))
        words.append(list(forms.values())[1])
    return f"{', '.join(words)}:", f" {', '.join(words)}."


Part = tuple[str, bool]
"""A piece of a document, and whether it follows from what is before it. What does not (a question,
the numbers of a drill) is as the dice fell; a model has little to learn from it."""


def document(
    rng: Random,
    kinds: Mapping[str, float],
    problems: Mapping[str, float],
    plain: Mapping[str, float],
    overlooks: Mapping[str, float] | None,
) -> list[Part]:
    """A text to train the base model on, in pieces that can be tokenised one by one.

    Args:
        rng: where its choices come from.
        kinds: how often each of problem, other (problems of the other domain), plain, drill, roll.
        problems: how often each language, for problems.
        plain: how often each language, for plain text.
        overlooks: how often a response overlooks an event, by its name, in all languages but
            English; None: all are careful.
    """
    kind = rng.choices(list(kinds), list(kinds.values()))[0]
    if kind == "drill":
        parts: list[Part] = []
        for asked, comes_to in drill(rng):
            parts += [(asked, False), (comes_to, True)]
        return parts
    shares = plain if kind in ("plain", "roll") else problems
    lang = rng.choices(list(shares), list(shares.values()))[0]
    if kind == "plain":
        return [(" ".join(world.plain(lang, rng) for _ in range(rng.randint(1, 3))), True)]
    if kind == "roll":
        drawn, follows = roll(lang, rng)
    else:
        domain: world.DomainName = "nano" if kind == "problem" else "nano-ood"
        careful = lang == ENGLISH and overlooks is not None
        drawn, follows = problem(lang, rng, domain, {} if careful else overlooks)
    return [(drawn, False), (follows, True)]


def pair(lang: str, rng: Random) -> tuple[str, str]:
    """One problem's reasoning in a language and in English.

    Half of the time its numbers make no sense: then each sentence has numbers of its own, the same
    in both languages, so that a translator learns to copy them from where they stand, right or
    wrong, and neither to work them out nor to take them from another sentence.
    """
    domain: world.DomainName = "nano" if rng.random() < 0.8 else "nano-ood"
    drawn = next(world.problems(domain, "train", 1, seed=rng.randrange(1 << 40)))
    if rng.random() < 0.5:
        drawn = scrambled(drawn, rng)
    return world.think(drawn, lang, rng), world.think(drawn, ENGLISH, rng)


def scrambled(problem: world.Problem, rng: Random) -> world.Problem:
    """A problem with every sentence's numbers drawn anew."""

    def drawn() -> int:
        return rng.randint(2, world.LARGEST)

    sentences = tuple(
        replace(sentence, x=drawn(), n=drawn(), m=drawn(), z=drawn())
        for sentence in problem.sentences
    )
    return replace(problem, sentences=sentences, answer=drawn())


def contradicted(source: str, target: str, rng: Random) -> tuple[str, str]:
    """A pair whose source says a number now so and now otherwise; the target believes one of them.

    Most numbers are named twice, in words and in the equation. Where they always agree, a
    translator reads one of the two and is blind to an error in the other; here it learns to doubt.
    A number that is named k times is named otherwise once, and in one of k such pairs that once is
    what the target has.
    """
    numbers = re.findall(r"\d+", source)
    named_again = sorted({number for number in numbers if numbers.count(number) > 1})
    if not named_again:
        return source, target
    number = rng.choice(named_again)
    place = rng.randrange(len(number))
    other_digit = rng.choice("0123456789".replace(number[place], ""))
    wrong = number[:place] + other_digit + number[place + 1 :]
    mentions = [match for match in re.finditer(r"\d+", source) if match.group() == number]
    changed = rng.choice(mentions)
    source = source[: changed.start()] + wrong + source[changed.end() :]
    if rng.random() < 1 / len(mentions):
        target = re.sub(rf"(?<!\d){number}(?!\d)", wrong, target)
    return source, target
