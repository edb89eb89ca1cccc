"""Sample: responses to questions, n to each in each language, marked right or wrong."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from langneurons.ask.engine import (
    LENGTH,
    NO_ROOM,
    STOP,
    Completion,
    Engine,
    Request,
    seed_of,
)
from langneurons.config import SampleConfig, of
from langneurons.resume import Progress, Saved
from langneurons.texts.answers import is_correct
from langneurons.texts.flaws import flaws
from langneurons.texts.language_id import Identifier, by_language, learn
from langneurons.texts.languages import same
from langneurons.texts.prompts import suited
from langneurons.texts.questions import chosen
from langneurons.texts.responses import Question, Response

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from langneurons.model.loading import Loaded


class Sampled(NamedTuple):
    """What sampling gives.

    Attributes:
        responses: n to each question, in order, with the right answer and whether they reach it,
            where that is known.
        facts: what to know of them: `languages`, see `describe`; `template`, the text that made the
            prompts, or chat; `unanswered`, see `unanswered`; `prompts not shared`, why a model in
            this process read the whole text at each step, where it did.
    """

    responses: list[Response]
    facts: dict[str, Any]


def sample(
    model: "Loaded | Engine",
    questions: str | Sequence[Question],
    config: SampleConfig | None = None,
    *,
    languages: Sequence[str] | None = None,
    take: int = 0,
    template: str | None = None,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
    state: Saved | None = None,
    on_step: Progress | None = None,
    **settings: Any,
) -> list[Response]:
    """Responses of a model to questions, n to each, in order, marked right or wrong.

    Args:
        model: a loaded model, which answers in this process, or whatever else writes completions,
            such as `server.Server`.
        questions: what to ask: questions, or where they come from (see `load_questions`): `mgsm`,
            a file, a folder, a data set of the Hub.
        config: settings.
        languages: languages to ask in; default: all there are.
        take: the first so many questions, the same in every language; 0: all.
        template: makes a prompt of a question, see `load_template`; default `chat` where the
            tokenizer has a chat template, else `mathoctopus`. Whatever writes completions is asked
            in the same way.
        tokenizer: the model's, for an engine of which it is at hand; a loaded model brings its own.
        state: where to keep what is done, every `save_every` seconds and when something stops it.
        on_step: told how many responses there are, and how many are asked for.
        settings: settings by name instead of `config`, as in `sample(model, questions, n=4)`.

    Raises:
        InputError: for a template that cannot be used, or a setting that is none.
    """
    return sampled(
        model,
        chosen(questions, languages, take),
        of(SampleConfig, config, settings),
        template=template,
        tokenizer=tokenizer,
        state=state,
        on_step=on_step,
    ).responses


def sampled(
    model: "Loaded | Engine",
    questions: Sequence[Question],
    config: SampleConfig,
    *,
    template: str | None = None,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
    state: Saved | None = None,
    on_step: Progress | None = None,
) -> Sampled:
    """What `sample` gives, with what is to be said of it; for arguments and errors see there."""
    engine, tokenizer = _engine_and_tokenizer(model, tokenizer)
    form = suited(template, tokenizer)
    asked = [(question, number) for question in questions for number in range(config.n)]
    prompts = {
        question: form.prompt(question.question, question.lang, tokenizer) for question in questions
    }
    requests = [
        Request(prompts[question], seed_of(config.seed, question.id, question.lang, number))
        for question, number in asked
    ]
    completions = completed(engine, requests, config, state, on_step)
    responses = [
        _response(question, number, prompts[question], completion.text, config)
        for (question, number), completion in zip(asked, completions, strict=True)
    ]
    texts = by_language((question.lang, question.question) for question in questions)
    finishes = [completion.finish for completion in completions]
    languages = describe(responses, finishes, learn(texts))
    facts: dict[str, Any] = {"languages": languages, "template": form.text}
    if without := unanswered(responses, finishes):
        facts["unanswered"] = without
    if why := getattr(engine, "why_not_kept", None):  # of a model in this process
        facts["prompts not shared"] = why
    return Sampled(responses, facts)


def unanswered(responses: Sequence[Response], finish: Sequence[str]) -> list[dict[str, Any]]:
    """The questions of which a response ended otherwise than by itself or at its length.

    Returns:
        rows of `lang`, `question_id`, `finish` and how many `responses`, in order of first sight.
    """
    counted = Counter(
        (response.lang, response.question_id, ended)
        for response, ended in zip(responses, finish, strict=True)
        if ended not in (STOP, LENGTH)
    )
    return [
        {"lang": lang, "question_id": question, "finish": ended, "responses": number}
        for (lang, question, ended), number in counted.items()
    ]


def describe(
    responses: Sequence[Response], finish: Sequence[str], identifier: Identifier | None = None
) -> list[dict[str, Any]]:
    """What to know of responses, per language, in order of first sight.

    Args:
        responses: any.
        finish: how each ended, see `engine.Finish`.
        identifier: tells the languages apart; None: only scripts are told apart.

    Returns:
        rows of `lang`, `responses`, `correct`, `judged` (how many are known to be right or wrong),
        `cut` (at the limit on tokens), `no_room` (the prompt fills the model's context), `ended`
        (how many for which other reason, as a server calls it), `empty`, `wrong_script` (see
        `flaws`), `other_language` (by the identifier, None without) and `spoken` (how many are in
        which language, likewise).
    """
    rows: dict[str, dict[str, Any]] = {}
    for response, ended in zip(responses, finish, strict=True):
        if response.lang not in rows:
            rows[response.lang] = _empty_row(response.lang, identifier)
        row, wrong = rows[response.lang], flaws(response)
        row["responses"] += 1
        row["correct"] += response.correct is True
        row["judged"] += response.correct is not None
        row["cut"] += ended == LENGTH
        row["no_room"] += ended == NO_ROOM
        if ended not in (STOP, LENGTH, NO_ROOM):
            row["ended"][ended] = row["ended"].get(ended, 0) + 1
        row["empty"] += "empty" in wrong
        row["wrong_script"] += "wrong script" in wrong
        if identifier and (code := identifier.language(response.response)):
            row["other_language"] += not same(code, response.lang)
            row["spoken"][code] = row["spoken"].get(code, 0) + 1
    return list(rows.values())


def _empty_row(lang: str, identifier: Identifier | None) -> dict[str, Any]:
    return {
        "lang": lang,
        "responses": 0,
        "correct": 0,
        "judged": 0,
        "cut": 0,
        "no_room": 0,
        "ended": {},
        "empty": 0,
        "wrong_script": 0,
        "other_language": None if identifier is None else 0,
        "spoken": {},
    }


def _engine_and_tokenizer(
    model: "Loaded | Engine", tokenizer: "PreTrainedTokenizerBase | None"
) -> "tuple[Engine, PreTrainedTokenizerBase | None]":
    if isinstance(model, Engine):
        return model, tokenizer
    from langneurons.ask.local import InProcess

    return InProcess(model), tokenizer or model.tokenizer


def _response(
    question: Question, number: int, prompt: str, text: str, config: SampleConfig
) -> Response:
    """What was written to a question, marked."""
    correct = is_correct(
        text,
        question.answer,
        question.lang,
        tolerance=config.tolerance,
        extractor=config.extractor,
    )
    return Response(
        question_id=question.id,
        lang=question.lang,
        prompt=prompt,
        response=text,
        sample=number,
        answer=question.answer,
        correct=correct,
    )


def completed(
    engine: Engine,
    requests: Sequence[Request],
    config: SampleConfig,
    state: Saved | None,
    on_step: Progress | None,
) -> list[Completion]:
    """What the engine makes of all requests, in order, going on from what was saved.

    State and progress are those of `sample`.

    No loop over `resume.units_left`, whose units are done in their order and only kept between two
    of them: here the engine says what comes next, a batch or whatever a server answers first, and
    what there is is kept also when something stops it, as asking again may cost money.
    """
    done: dict[int, Completion] = {}
    if state is not None and (saved := state.load()):
        rows = json.loads(saved[0]["completions"].tobytes())
        done = {row[0]: Completion(*row) for row in rows}
    last = time.monotonic()
    try:
        for completion in engine.complete(requests, config, frozenset(done)):
            done[completion.place] = completion
            if on_step:
                on_step(len(done), len(requests))
            if state is not None and time.monotonic() - last >= config.save_every:
                _save(state, done)
                last = time.monotonic()
    except BaseException:
        if state is not None and done:
            _save(state, done)
        raise
    return [done[place] for place in range(len(requests))]


def _save(state: Saved, done: Mapping[int, Completion]) -> None:
    rows = json.dumps([done[place] for place in sorted(done)])
    state.save({"completions": np.frombuffer(rows.encode(), dtype=np.uint8)}, len(done))
