"""What the nano models learn from: problems with reasoning, plain sentences and stories, arithmetic drills."""

import re
from collections.abc import Mapping
from dataclasses import replace
from random import Random

from langneurons.texts import world

END = "</s>"
PROMPT = "Q: {question}\nA:"
"""How the base model is asked. A blank comes before the first word of question and response, as
before any other."""


def problem(
    lang: str,
    rng: Random,
    domain: world.Domain = "nano",
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
    one = next(world.problems(domain, "train", 1, seed=rng.randrange(1 << 40)))
    read = one if overlooks is None else overlooking(one, rng, overlooks)
    return PROMPT.format(question=world.tell(one, lang, rng)), f" {world.think(read, lang, rng)}"


def overlooking(
    problem: world.Problem, rng: Random, overlooks: Mapping[str, float]
) -> world.Problem:
    """The problem as a careless reader has it: without one of the events between the first and the last."""
    for i, step in enumerate(problem.steps[1:-1], 1):
        if rng.random() < overlooks.get(step.name, 0.0):
            return _without(problem, i) or problem
    return problem


def _without(problem: world.Problem, left_out: int) -> world.Problem | None:
    """The problem without one event, worked out anew; None where that gives no number that a problem may have."""
    steps, x = list(problem.steps[:left_out]), problem.steps[left_out].x
    for step in problem.steps[left_out + 1 :]:
        z = world.work_out(step.op, x, step.n)
        if z is None:
            return None
        steps.append(replace(step, x=x, z=z))
        x = z
    words = dict(problem.words)
    for slot in ("B", "t", "shop", "spot"):
        for i in range(left_out, len(problem.steps) - 1):
            words[f"{slot}{i}"] = problem.words[f"{slot}{i + 1}"]
    return replace(problem, steps=tuple(steps), words=words, answer=x)


def drill(rng: Random, equations: int = 10) -> list[tuple[str, str]]:
    """Bare equations, of the kinds and sizes that problems have, each as what is asked and what it comes to."""
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
    tables = [spoken.names, spoken.objects]
    words = [
        list(rng.choice(list(rng.choice(tables).values())).values())[1]
        for _ in range(rng.randint(4, 10))
    ]
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
        return [
            part for asked, comes_to in drill(rng) for part in ((asked, False), (comes_to, True))
        ]
    shares = plain if kind in ("plain", "roll") else problems
    lang = rng.choices(list(shares), list(shares.values()))[0]
    if kind == "plain":
        return [(" ".join(world.plain(lang, rng) for _ in range(rng.randint(1, 3))), True)]
    if kind == "roll":
        drawn, follows = roll(lang, rng)
    else:
        domain: world.Domain = "nano" if kind == "problem" else "nano-ood"
        drawn, follows = problem(lang, rng, domain, {} if lang == "en" and overlooks else overlooks)
    return [(drawn, False), (follows, True)]


def pair(lang: str, rng: Random) -> tuple[str, str]:
    """One problem's reasoning in a language and in English, half of the time with numbers that make no sense.

    Then each sentence has numbers of its own, the same in both languages, so that a translator
    learns to copy them from where they stand, right or wrong, and neither to work them out nor to
    take them from another sentence.
    """
    domain: world.Domain = "nano" if rng.random() < 0.8 else "nano-ood"
    one = next(world.problems(domain, "train", 1, seed=rng.randrange(1 << 40)))
    if rng.random() < 0.5:
        one = scrambled(one, rng)
    return world.think(one, lang, rng), world.think(one, "en", rng)


def scrambled(problem: world.Problem, rng: Random) -> world.Problem:
    """A problem with every sentence's numbers drawn anew."""

    def drawn() -> int:
        return rng.randint(2, world.LARGEST)

    steps = tuple(
        replace(step, x=drawn(), n=drawn(), m=drawn(), z=drawn()) for step in problem.steps
    )
    return replace(problem, steps=steps, answer=drawn())


def contradicted(source: str, target: str, rng: Random) -> tuple[str, str]:
    """A pair whose source says a number now so and now otherwise, of which the target believes one throughout.

    Most numbers are named twice, in words and in the equation. Where they always agree, a
    translator reads one of the two and is blind to an error in the other; here it learns to doubt.
    A number that is named k times is named otherwise once, and in one of k such pairs that once is
    what the target has.
    """
    found = re.findall(r"\d+", source)
    again = sorted({number for number in found if found.count(number) > 1})
    if not again:
        return source, target
    number = rng.choice(again)
    place = rng.randrange(len(number))
    wrong = (
        number[:place] + rng.choice("0123456789".replace(number[place], "")) + number[place + 1 :]
    )
    named = [m for m in re.finditer(r"\d+", source) if m.group() == number]
    once = rng.choice(named)
    source = source[: once.start()] + wrong + source[once.end() :]
    if rng.random() < 1 / len(named):
        target = re.sub(rf"(?<!\d){number}(?!\d)", wrong, target)
    return source, target
