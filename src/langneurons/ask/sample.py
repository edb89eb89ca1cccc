"""Sample: responses to questions, n to each in each language, marked right or wrong."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from langneurons.ask.engine import Completion, Engine, Request, seed_of
from langneurons.config import EvaluateConfig, SampleConfig
from langneurons.errors import InputError
from langneurons.resume import State
from langneurons.texts.accuracy import Accuracy, accuracies
from langneurons.texts.answers import is_correct
from langneurons.texts.flaws import flaws
from langneurons.texts.language_id import Identifier, learn
from langneurons.texts.prompts import load_template
from langneurons.texts.responses import Question, Response

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Progress = Callable[[int, int], None]
"""Called with (responses there are, responses asked for)."""


class Sampled(NamedTuple):
    """What sampling gives.

    Attributes:
        responses: n to each question, in order, with the right answer and whether they reach it,
            where that is known.
        facts: what to know of them: `languages`, see `describe`; `template`, the text that made the
            prompts, or chat.
    """

    responses: list[Response]
    facts: dict[str, Any]


def sample(
    engine: Engine,
    questions: Sequence[Question],
    config: SampleConfig,
    *,
    template: str | None = None,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
    state: State | None = None,
    on_step: Progress | None = None,
) -> Sampled:
    """Responses to questions.

    Args:
        engine: what writes them: `generate.InProcess` or `server.Server`.
        questions: what to ask.
        config: settings.
        template: makes a prompt of a question, see `load_template`; default `chat` where the
            tokenizer has a chat template, else `mathoctopus`.
        tokenizer: the model's, where it is at hand.
        state: where to keep what is done, every `config.save_every` seconds and when something
            stops it.
        on_step: told of the progress.

    Raises:
        InputError: for a template that cannot be used.
    """
    chats = tokenizer is not None and tokenizer.chat_template
    form = load_template(template or ("chat" if chats else "mathoctopus"))
    prompts = [form.prompt(one.question, one.lang, tokenizer) for one in questions]
    asked = [
        (one, prompt, i)
        for one, prompt in zip(questions, prompts, strict=True)
        for i in range(config.n)
    ]
    requests = [
        Request(prompt, seed_of(config.seed, one.id, one.lang, i)) for one, prompt, i in asked
    ]
    found = _completed(engine, requests, config, state, on_step)
    responses = []
    for (one, prompt, i), (_, said, _) in zip(asked, found, strict=True):
        mark = is_correct(
            said, one.answer, one.lang, tolerance=config.tolerance, extractor=config.extractor
        )
        responses.append(Response(one.id, one.lang, prompt, said, i, one.answer, mark))
    texts: dict[str, list[str]] = {}
    for one in questions:
        texts.setdefault(one.lang, []).append(one.question)
    rows = describe(responses, [one.finish for one in found], learn(texts))
    return Sampled(responses, {"languages": rows, "template": form.text})


def describe(
    responses: Sequence[Response], finish: Sequence[str], identifier: Identifier | None = None
) -> list[dict[str, Any]]:
    """What to know of responses, per language, in order of first sight.

    Args:
        responses: any.
        finish: how each ended, see `completions.Completion`.
        identifier: tells the languages apart; None: only scripts are told apart.

    Returns:
        rows of `lang`, `responses`, `correct`, `judged` (how many are known to be right or wrong),
        `cut` (at the limit on tokens), `no_room` (the prompt fills the model's context), `empty`,
        `wrong_script` (see `flaws`), `other_language` (by the identifier, None without) and
        `spoken` (how many are in which language, likewise).
    """
    rows: dict[str, dict[str, Any]] = {}
    for response, how in zip(responses, finish, strict=True):
        names = ("responses", "correct", "judged", "cut", "no_room", "empty", "wrong_script")
        row = rows.setdefault(
            response.lang,
            {
                "lang": response.lang,
                **dict.fromkeys(names, 0),
                "other_language": 0 if identifier else None,
                "spoken": {},
            },
        )
        wrong = flaws(response)
        row["responses"] += 1
        row["correct"] += response.correct is True
        row["judged"] += response.correct is not None
        row["cut"] += how == "length"
        row["no_room"] += how == "none"
        row["empty"] += "empty" in wrong
        row["wrong_script"] += "wrong script" in wrong
        if identifier and (code := identifier.language(response.response)):
            row["other_language"] += code != response.lang
            row["spoken"][code] = row["spoken"].get(code, 0) + 1
    return list(rows.values())


def _completed(
    engine: Engine,
    requests: Sequence[Request],
    config: SampleConfig,
    state: State | None,
    on_step: Progress | None,
) -> list[Completion]:
    """What the engine makes of all requests, in order, going on from what was saved."""
    found: dict[int, Completion] = {}
    if state and (saved := state.load()):
        found = {row[0]: Completion(*row) for row in json.loads(saved[0]["completions"].tobytes())}
    last = time.monotonic()
    try:
        for completion in engine.complete(requests, config, frozenset(found)):
            found[completion.place] = completion
            if on_step:
                on_step(len(found), len(requests))
            if state and time.monotonic() - last >= config.save_every:
                _save(state, found)
                last = time.monotonic()
    except BaseException:
        if state and found:
            _save(state, found)
        raise
    return [found[place] for place in range(len(requests))]


def _save(state: State, found: Mapping[int, Completion]) -> None:
    rows = json.dumps([found[place] for place in sorted(found)])
    state.save({"completions": np.frombuffer(rows.encode(), dtype=np.uint8)}, len(found))


class Evaluated(NamedTuple):
    """What an evaluation gives.

    Attributes:
        responses: one to each question, in order, marked.
        accuracies: per language, then their mean.
        facts: what to know of the responses, see `sample.Sampled`.
    """

    responses: list[Response]
    accuracies: list[Accuracy]
    facts: dict[str, Any]


def evaluate(
    engine: Engine,
    questions: Sequence[Question],
    config: EvaluateConfig,
    *,
    template: str | None = None,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
    state: State | None = None,
    on_step: Progress | None = None,
) -> Evaluated:
    """Greedy accuracy per language; for the arguments see `sample.sample`.

    Questions whose answer is no number (a month, a weekday) are asked but not counted.

    Raises:
        InputError: when no question in a language has an answer that is a number.
    """
    codes = dict.fromkeys(one.lang for one in questions)
    judged = {one.lang for one in questions if is_correct("", one.answer, one.lang) is not None}
    if without := [code for code in codes if code not in judged]:
        raise InputError(
            f"no question in {', '.join(without)} has an answer that is a number, so none can be right"
        )
    responses, facts = sample(
        engine,
        questions,
        config.greedy(),
        template=template,
        tokenizer=tokenizer,
        state=state,
        on_step=on_step,
    )
    return Evaluated(responses, accuracies(responses), facts)
