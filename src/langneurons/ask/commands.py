"""Commands that let a model answer questions: sample, evaluate."""

import hashlib
import json as jsonlib
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from cyclopts import Parameter
from cyclopts.field_info import FieldInfo

from langneurons import artifacts, console, resume
from langneurons.ask.engine import NO_ROOM
from langneurons.ask.marks import Marks
from langneurons.ask.serving import PORT
from langneurons.ask.told import marks_as_json, marks_in_words
from langneurons.config import (
    Asking,
    EvaluateConfig,
    ModelConfig,
    SampleConfig,
    TaskConfig,
    cut,
    identity,
    listed,
)
from langneurons.console import Force, Json, Made, Quiet, print_json
from langneurons.errors import InputError
from langneurons.neurons.counts import Counts
from langneurons.neurons.sets import counts_behind, notes_on_weights
from langneurons.neurons.table import Neurons
from langneurons.texts.accuracy import Change, Evaluation, compare_accuracy, not_compared
from langneurons.texts.responses import Response
from langneurons.texts.rows import Responses

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from langneurons.ask.engine import Engine
    from langneurons.ask.marks import Measure
    from langneurons.ask.silenced import Answering
    from langneurons.model.loading import Loaded
    from langneurons.neurons.steering import ByName
    from langneurons.texts.prompts import Template
    from langneurons.texts.responses import Question


_NAMED = 5  # questions that are named, of many


def _short(field: FieldInfo, _: frozenset[str]) -> str | None:
    return "-n" if field.name == "n" else None


def sample(
    model: str,
    questions: str,
    /,
    *,
    out: Path,
    config: Annotated[SampleConfig, Parameter(name="*", short_alias=_short)] = SampleConfig(),
    how: Annotated[Asking, Parameter(name="*")] = Asking(),
    loading: Annotated[ModelConfig, Parameter(name="*")] = ModelConfig(),
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Made[Responses]:
    """Let a model answer questions, n times each in each language.

    Each response is marked right or wrong where the answer is known.

    Parameters
    ----------
    model
        A folder, a PEFT adapter folder, a GGUF file or an id on the Hub; with a server, its name
        there.
    questions
        mgsm, msvamp, a JSONL file, a folder of <language>.jsonl, or a data set of the Hub.
    out
        Folder to write.
    config
        Settings.
    how
        How it is asked.
    loading
        How the model is loaded.
    """
    from langneurons.ask.sample import sampled

    task = _task(model, questions, config, how, loading, force=force, quiet=quiet)

    def make(
        state: resume.State, on_step: resume.Progress | None
    ) -> tuple[Responses, dict[str, Any]]:
        writer = task.writer
        responses, facts = sampled(
            writer.engine,
            task.questions,
            config,
            template=task.template,
            tokenizer=writer.tokenizer,
            state=state,
            on_step=on_step,
        )
        return Responses(responses), task.told(facts)

    made = console.made(
        Responses,
        out,
        "sample",
        task.settings,
        task.inputs,
        make,
        doing="sampling",
        unit="responses",
        cut=cut(config),
        force=force,
        quiet=quiet,
    )
    _tell_sampled(made, model, json)
    return made


def evaluate(
    model: str,
    questions: str,
    /,
    *,
    out: Path,
    config: Annotated[EvaluateConfig, Parameter(name="*")] = EvaluateConfig(),
    tasks: Annotated[TaskConfig, Parameter(name="*")] = TaskConfig(),
    examples: Path | None = None,
    against: Path | None = None,
    base: bool = True,
    controls: int | None = None,
    how: Annotated[Asking, Parameter(name="*")] = Asking(),
    loading: Annotated[ModelConfig, Parameter(name="*")] = ModelConfig(),
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Made[Evaluation] | Made[Marks]:
    """Let a model answer each question once, and say how many answers are right.

    It always writes the likeliest token. With --silence and --controls, the neurons of each
    language are silenced in turn, and random sets like them.

    Parameters
    ----------
    model
        A folder, a PEFT adapter folder, a GGUF file or an id on the Hub; with a server, its name
        there.
    questions
        mgsm, msvamp, a JSONL file, a folder of <language>.jsonl, or a data set of the Hub.
    out
        Folder to write.
    config
        Settings.
    tasks
        What is asked.
    examples
        Worked examples that prompts show: with --task choices questions with their answers, with
        --task translation parallel texts; a JSONL file or a folder of <language>.jsonl.
    against
        Folder of another evaluation on the same questions, of the model before: both are shown,
        with a paired test. Of an adapter by default its base, which is evaluated first, into a
        folder beside OUT: OUT-base.
    base
        Whether the base of an adapter is evaluated if there is no --against.
    controls
        With --silence: silence the neurons of each language in turn, beside so many random sets
        like them, and tell what that costs every language.
    how
        How it is asked.
    loading
        How the model is loaded.
    """
    _require_task(tasks, examples, how, controls=controls, against=against)
    asked = _Marking(config, tasks, examples, controls, how, loading)
    if tasks.task == "translation" or controls is not None:
        return _marked(model, questions, out, asked, json=json, force=force, quiet=quiet)
    before: Made[Evaluation] | None = None
    if against:
        source = artifacts.read(against, Evaluation.KIND)
        before = Made(against, Evaluation.load(source), source.manifest["facts"])
    elif base and _as_it_is(how):
        from langneurons.model.loading import base_of

        if adapted := base_of(model):
            beside = out.with_name(f"{out.name}-base")
            before = _evaluated(adapted, questions, beside, asked, force=force, quiet=quiet)
    made = _evaluated(model, questions, out, asked, force=force, quiet=quiet)
    _tell_evaluated(made, before, json)
    return made


def _evaluated(
    model: str,
    questions: str,
    out: Path,
    asked: "_Marking",
    *,
    force: bool,
    quiet: bool,
) -> Made[Evaluation]:
    if asked.tasks.task == "choices":
        return _chosen(model, questions, out, asked, force=force, quiet=quiet)

    from langneurons.ask.evaluate import evaluated

    config = asked.config
    task = _task(
        model,
        questions,
        config,
        asked.how,
        asked.loading,
        take=asked.tasks.take,
        force=force,
        quiet=quiet,
    )

    def make(
        state: resume.State, on_step: resume.Progress | None
    ) -> tuple[Evaluation, dict[str, Any]]:
        writer = task.writer
        evaluation, facts = evaluated(
            writer.engine,
            task.questions,
            config,
            template=task.template,
            tokenizer=writer.tokenizer,
            state=state,
            on_step=on_step,
        )
        return evaluation, task.told(facts)

    return console.made(
        Evaluation,
        out,
        "evaluate",
        task.settings,
        task.inputs,
        make,
        doing=f"evaluating {model}",
        unit="responses",
        cut=cut(config),
        force=force,
        quiet=quiet,
    )


@dataclass(frozen=True)
class _Marking:
    """What `evaluate` is told besides the model, the questions and where to write.

    Attributes:
        config: how answers are written.
        tasks: what is asked.
        examples: where worked examples are.
        controls: random sets for each language's neurons; None: nothing is silenced in turn.
        how: how the model is asked.
        loading: how it is loaded.
    """

    config: EvaluateConfig
    tasks: TaskConfig
    examples: Path | None
    controls: int | None
    how: Asking
    loading: ModelConfig


class _Asked(NamedTuple):
    """A task that a loaded model can be asked, with neurons silenced or not.

    Attributes:
        answer: how it answers.
        codes: languages of what is asked.
        measure: what an answer is worth.
        settings: the settings that determine its answers.
        inputs: digests of what they depend on, by name.
        told: how it is asked, in words.
        facts: given all answers, what else is to be known.
    """

    answer: "Answering"
    codes: tuple[str, ...]
    measure: "Measure"
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    told: str
    facts: "Callable[[Sequence[Response]], Mapping[str, Any]]"


def _require_task(
    tasks: TaskConfig,
    examples: Path | None,
    how: Asking,
    *,
    controls: int | None,
    against: Path | None,
) -> None:
    """Stop where what is asked for does not go together.

    Raises:
        InputError: in one line.
    """
    numbers = tasks.task == "numbers"
    if how.steer and (not numbers or controls is not None):
        what = f"--task {tasks.task}" if not numbers else "--controls"
        raise InputError(f"--steer does not go with {what}; steer --task numbers, or use steer")
    if examples is not None and numbers:
        raise InputError("--examples is for --task choices and --task translation")
    if how.engine != "transformers" and (not numbers or controls is not None):
        what = f"--task {tasks.task}" if not numbers else "--controls"
        raise InputError(f"{what} needs the model in this process; leave --engine at transformers")
    if controls is None and how.silence and not numbers:
        raise InputError(
            f"--task {tasks.task} silences one language after the other: say how many random sets "
            "each is held against, as in --controls 3, or 0 for none"
        )
    if controls is not None and controls < 0:
        raise InputError(f"controls {controls}: random sets for each set, 0 for none")
    if controls is not None and not how.silence:
        raise InputError("--controls are random sets beside the neurons of --silence; give that")
    if against and (controls is not None or tasks.task == "translation"):
        raise InputError(
            "--against holds the right answers of two models against each other; it goes neither "
            "with --controls nor with --task translation"
        )


def _ready(loaded: "Loaded", questions: str, asked: _Marking) -> _Asked:
    """The task as this model is asked it; `--asked` chooses the languages."""
    made = {"numbers": _of_numbers, "choices": _of_choices, "translation": _of_translation}
    return made[asked.tasks.task](loaded, questions, asked)


def _of_numbers(loaded: "Loaded", questions: str, asked: _Marking) -> _Asked:
    import math

    from langneurons.ask.local import InProcess
    from langneurons.ask.sample import sampled
    from langneurons.ask.silenced import Answers, strays
    from langneurons.texts.language_id import by_language, learn
    from langneurons.texts.prompts import suited
    from langneurons.texts.questions import chosen

    config, how = asked.config, asked.how
    rows = chosen(questions, console.codes(how.asked), asked.tasks.take)
    form = suited(how.template, loaded.tokenizer)
    texts = by_language((row.lang, row.question) for row in rows)
    identifier = learn(texts)

    def answer(
        masks: "Sequence[Tensor | None] | None",
        state: resume.Saved | None = None,
        on_step: resume.Progress | None = None,
    ) -> Answers:
        responses, _ = sampled(
            InProcess(loaded, masks),
            rows,
            config.greedy(),
            template=form.text,
            tokenizer=loaded.tokenizer,
            state=state,
            on_step=on_step,
        )
        worth = [math.nan if one.correct is None else float(one.correct) for one in responses]
        return Answers(responses, worth, strays(responses, identifier))

    return _Asked(
        answer=answer,
        codes=tuple(texts),
        measure="accuracy",
        settings={**identity(config), "stop": list(config.stop), "template": form.text},
        inputs={"questions": _digest([row.to_row() for row in rows])},
        told=_in_words(config, how, form.name, list(texts), "the model's end token"),
        facts=lambda _: {},
    )


def _of_choices(loaded: "Loaded", questions: str, asked: _Marking) -> _Asked:
    from langneurons.ask.choices import Chooser, Choosing, require_choices
    from langneurons.texts.questions import chosen, load_questions

    codes = console.codes(asked.how.asked)
    shown = load_questions(str(asked.examples)) if asked.examples else []
    ids = {one.id for one in shown}
    rows = [one for one in chosen(questions, codes) if one.id not in ids]
    if not rows:
        raise InputError(f"every question of {questions} is among the examples; give others")
    rows = chosen(rows, codes, asked.tasks.take)
    require_choices(rows)
    choosing = Choosing.of(asked.tasks, asked.how.template, shown, loaded.tokenizer)
    chooser = Chooser(loaded, rows, choosing, save_every=asked.config.save_every)
    found = list(dict.fromkeys(row.lang for row in rows))
    taken_off = ", its score without the question taken off" if choosing.calibrated else ""
    return _Asked(
        answer=chooser.answers,
        codes=tuple(found),
        measure="accuracy",
        settings={
            "template": choosing.template.text,
            "shots": choosing.shots,
            "calibrate": choosing.calibrated,
        },
        inputs={
            "questions": _digest([row.to_row() for row in rows]),
            "prompts": _digest(chooser.prompts),
        },
        told=(
            f"asked in {', '.join(found)} with template {choosing.template.name} and "
            f"{choosing.shots} examples; the choice of the highest log-probability{taken_off}"
        ),
        facts=lambda _: chooser.facts,
    )


def _of_translation(loaded: "Loaded", questions: str, asked: _Marking) -> _Asked:
    from langneurons.ask.translation import Translating
    from langneurons.texts import running_text
    from langneurons.texts.languages import ENGLISH

    codes = console.codes(asked.how.asked)
    wanted = None if codes is None else tuple(dict.fromkeys((ENGLISH, *codes)))
    shown = running_text.read(asked.examples, wanted).documents if asked.examples else []
    ids = {one.id for one in shown}
    read = running_text.read(Path(questions), wanted)
    texts = [one for one in read.documents if one.id not in ids]
    translating = Translating(loaded, texts, asked.config, asked.tasks, shown)
    shots = asked.tasks.shots if shown else 0
    stop = list(translating.config.stop)
    return _Asked(
        answer=translating.answers,
        codes=translating.codes,
        measure="chrF",
        settings={
            "direction": asked.tasks.direction,
            "shots": shots,
            "stop": stop,
            "max_new_tokens": asked.config.max_new_tokens,
        },
        inputs={
            "prompts": _digest([one.prompt for one in translating.asked]),
            "references": _digest([one.answer for one in translating.asked]),
        },
        told=(
            f"translated {asked.tasks.direction.replace('-', ' ')} after {shots} examples, always "
            f"the likeliest token, to {' or '.join(map(repr, stop))} or "
            f"{asked.config.max_new_tokens} tokens; chrF by sacrebleu, of each text"
        ),
        facts=lambda responses: {"chrF of the corpus": translating.corpus_score(responses)},
    )


def _chosen(
    model: str, questions: str, out: Path, asked: _Marking, *, force: bool, quiet: bool
) -> Made[Evaluation]:
    """The most probable choices as an evaluation, which can be held against another model's."""
    from langneurons.ask.engine import STOP
    from langneurons.ask.sample import describe
    from langneurons.model.loading import load
    from langneurons.texts.accuracy import accuracies

    loaded = load(model, **asdict(asked.loading))
    task = _ready(loaded, questions, asked)

    def make(
        state: resume.State, on_step: resume.Progress | None
    ) -> tuple[Evaluation, dict[str, Any]]:
        responses = task.answer(None, state, on_step).responses
        facts = {
            # choices are not written by the model: their script says nothing of it
            "languages": [
                row | {"wrong_script": 0} for row in describe(responses, [STOP] * len(responses))
            ],
            "asked": task.told,
            "model": loaded.facts,
            **task.facts(responses),
        }
        return Evaluation(responses, accuracies(responses)), facts

    settings = {"task": asked.tasks.task, "dtype": str(loaded.model.dtype), **task.settings}
    return console.made(
        Evaluation,
        out,
        "evaluate",
        settings,
        {**task.inputs, **loaded.inputs},
        make,
        doing=f"evaluating {model}",
        unit="answers",
        force=force,
        quiet=quiet,
    )


def _marked(
    model: str,
    questions: str,
    out: Path,
    asked: _Marking,
    *,
    json: bool,
    force: bool,
    quiet: bool,
) -> Made[Marks]:
    """What answers are worth, with nothing silenced and, if asked for, language by language."""
    from langneurons.ask.silenced import NOTHING, marked, sets_of, silenced_facts
    from langneurons.model.loading import load

    source = artifacts.read(asked.how.silence, Neurons.KIND) if asked.how.silence else None
    behind = counts_behind(source, None) if source else None
    loaded = load(model, **asdict(asked.loading))
    notes = []
    if source:
        found_on = source.manifest["facts"].get("model")
        notes = notes_on_weights(found_on, loaded.fingerprint, force=force)
    wanted = console.codes(asked.how.languages)
    narrowed = wanted if wanted and not asked.how.asked else console.codes(asked.how.asked)
    how = replace(asked.how, asked=",".join(narrowed) if narrowed else None)
    task = _ready(loaded, questions, replace(asked, how=how))
    settings = {"task": asked.tasks.task, "dtype": str(loaded.model.dtype), **task.settings}
    inputs = {**task.inputs, **loaded.inputs}
    kinds = listed(asked.how.kinds)
    if source:
        settings |= {"controls": asked.controls, "kinds": list(kinds)}
        inputs["neurons"] = source.digest
        if behind:
            inputs["counts"] = behind.digest

    def make(
        state: resume.State, on_step: resume.Progress | None
    ) -> tuple[Marks, Mapping[str, Any]]:
        sets, rates = NOTHING, None
        if source:
            neurons = Neurons.load(source)
            if lacking := [code for code in task.codes if code not in neurons.languages]:
                raise InputError(
                    f"the neurons have no {', '.join(lacking)}; they have "
                    f"{', '.join(neurons.languages)}; choose languages with --asked"
                )
            rates = Counts.load(behind).rates() if behind else None
            sets = sets_of(
                loaded,
                neurons,
                task.codes,
                kinds=kinds,
                controls=asked.controls or 0,
                rates=rates,
            )
        marks = marked(
            loaded,
            task.answer,
            sets,
            task.codes,
            measure=task.measure,
            state=state,
            on_step=on_step,
            save_every=asked.config.save_every,
        )
        facts = {
            "asked": task.told,
            "model": loaded.facts,
            "notes": notes,
            **task.facts(marks.responses),
        }
        if source:
            facts |= silenced_facts(marks, rates)
        return marks, facts

    made = console.made(
        Marks,
        out,
        "evaluate",
        settings,
        inputs,
        make,
        doing=f"evaluating {model}",
        unit="sets of neurons" if source else "answers",
        force=force,
        quiet=quiet,
    )
    if json:
        console.print_json(marks_as_json(made.folder, made.value, made.facts))
    else:
        print(marks_in_words(made.value, made.facts))
        print(f"wrote {made.folder}")
    return made


@dataclass(frozen=True)
class _Silenced:
    """Which neurons are to be silenced."""

    source: artifacts.Artifact
    languages: tuple[str, ...]
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class _Writer:
    """What writes the responses.

    Attributes:
        engine: the engine.
        tokenizer: the model's, where it is at hand.
        settings: those of its settings that determine the responses.
        inputs: digests of what it is made of, by name.
        model: what to say of the model.
        ends: what ends a text besides stop texts: the end tokens, or whose they are.
        note: what to say where its chat template cannot be known.
    """

    engine: "Engine"
    tokenizer: "PreTrainedTokenizerBase | None"
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    model: Mapping[str, Any]
    ends: str
    note: str | None = None

    def facts(self) -> dict[str, Any]:
        """What to say of it once it has run."""
        return {"model": self.model} | getattr(self.engine, "facts", {})


@dataclass(frozen=True)
class _Task:
    """Who is asked what, and all that determines the responses.

    Attributes:
        questions: what is asked.
        template: makes a prompt of a question.
        writer: what answers.
        settings: the settings that determine the responses.
        inputs: digests of what they depend on, by name.
        asked: how it is asked, in words, for whoever reads the result.
    """

    questions: "list[Question]"
    template: str
    writer: _Writer
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    asked: str

    def told(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """What to say of it once it has run, with what is to be said of the responses."""
        notes = [*facts.get("notes", ()), *filter(None, [self.writer.note])]
        return {**facts, "notes": notes, "asked": self.asked, **self.writer.facts()}


def _task(
    model: str,
    questions: str,
    config: SampleConfig | EvaluateConfig,
    how: Asking,
    loading: ModelConfig,
    *,
    take: int = 0,
    force: bool,
    quiet: bool,
) -> _Task:
    """Who is asked what; mistakes that can be seen without the model come first."""
    from langneurons.texts.prompts import load_template, suited
    from langneurons.texts.questions import chosen, load_questions

    given = load_template(how.template).text if how.template else None
    if how.tokenizer and how.engine == "transformers":
        raise InputError(
            "--tokenizer is for a model that a server runs; one in this process has its own"
        )
    silenced, steered = _silenced(how), _steered(how)
    asked = chosen(load_questions(questions, console.codes(how.asked)), take=take)
    if how.engine == "transformers":
        writer = _in_process(model, loading, silenced, steered, force=force)
    elif silenced or steered:
        raise InputError("a server cannot silence neurons or steer; leave --engine at transformers")
    elif PORT in how.engine:
        writer = _by_command(model, how, loading, quiet=quiet)
    else:
        writer = _by_server(model, how, loading)
    if writer.note:
        print(f"note: {writer.note}", file=sys.stderr)
        given = "mathoctopus"
    form = suited(given, writer.tokenizer)
    prompts = [form.prompt(one.question, one.lang, writer.tokenizer) for one in asked]
    languages = list(dict.fromkeys(question.lang for question in asked))
    settings = {
        **identity(config),
        "stop": list(config.stop),
        "template": form.text,
        "engine": how.engine,
        "asked": languages,
        **writer.settings,
    }
    inputs = {"questions": _digest([question.to_row() for question in asked])}
    inputs["prompts"] = _digest(prompts)
    return _Task(
        questions=asked,
        template=form.text,
        writer=writer,
        settings=settings,
        inputs={**inputs, **writer.inputs},
        asked=_in_words(config, how, _whose(form, writer), languages, writer.ends),
    )


def _as_it_is(how: Asking) -> bool:
    """Whether MODEL is asked as it is, by what has its files, so that its base can be too."""
    return (
        (how.engine == "transformers" or PORT in how.engine) and not how.silence and not how.steer
    )


def _whose(form: "Template", writer: _Writer) -> str:
    """A template by its name, and whose chat template it is where the model has an alias."""
    tokenizer = writer.model.get("tokenizer")
    if form.text != "chat" or tokenizer in (None, writer.model["id"]):
        return form.name
    return f"{form.name} (that of {tokenizer})"


def _in_words(
    config: SampleConfig | EvaluateConfig,
    how: Asking,
    template: str,
    languages: Sequence[str],
    ends: str,
) -> str:
    """How a model is asked, all that its responses depend on, in one line."""
    full = config.greedy() if isinstance(config, EvaluateConfig) else config
    drawn = "always the likeliest token"
    if full.temperature:
        drawn = (
            f"temperature {full.temperature:g}, top-k {full.top_k or 'all'}, top-p {full.top_p:g}, "
            f"seed {full.seed}"
        )
    whose = "transformers in this process" if how.engine == "transformers" else how.engine
    stops = " or ".join([*map(repr, full.stop), ends])
    return (
        f"asked in {', '.join(languages)} with template {template}, by {whose}; {drawn}, to "
        f"{stops} or {full.max_new_tokens} tokens; answers by {full.extractor}, within "
        f"{full.tolerance:g}"
    )


def _digest(rows: Sequence[Any]) -> str:
    return hashlib.sha256(jsonlib.dumps(rows).encode()).hexdigest()


def _by_server(model: str, how: Asking, loading: ModelConfig) -> _Writer:
    """A model that a server runs; of it only the tokenizer is loaded, and only for its template."""
    from langneurons.ask.served import Known, tokenizer_of
    from langneurons.ask.server import Server
    from langneurons.texts.prompts import CHAT

    server = Server(how.engine, model, seeds=how.server_seeds)
    known = Known(None)
    if how.template in (None, CHAT):
        known = tokenizer_of(
            server, named=how.tokenizer, template=how.template, revision=loading.revision
        )
    return _Writer(
        engine=server,
        tokenizer=known.tokenizer,
        settings={"model": model, "server_seeds": how.server_seeds},
        inputs={},
        model={"id": model, "tokenizer": known.name},
        ends="the end tokens the server knows",
        note=known.note,
    )


def _by_command(model: str, how: Asking, loading: ModelConfig, *, quiet: bool) -> _Writer:
    """A model that is served by a command, for as long as it is asked.

    Raises:
        InputError: for a revision, which the command is to be told.
    """
    from langneurons.ask import serving
    from langneurons.model.loading import load_tokenizer
    from langneurons.texts.prompts import CHAT

    if loading.revision:
        raise InputError("--revision is for a model in this process; put it into the command")
    what = serving.served(model)
    named = how.tokenizer or model
    tokenizer = load_tokenizer(named) if how.template in (None, CHAT) else None
    return _Writer(
        engine=serving.serving(how.engine, what, seeds=how.server_seeds, quiet=quiet),
        tokenizer=tokenizer,
        settings={"model": model, "server_seeds": how.server_seeds},
        inputs={"files": what.digest},
        model={"id": model, "tokenizer": named if tokenizer else None},
        ends="the end tokens the server knows",
    )


def _in_process(
    model: str,
    loading: ModelConfig,
    silenced: _Silenced | None,
    steered: "ByName | None",
    *,
    force: bool,
) -> _Writer:
    """A model in this process, with neurons silenced or not, steered or not."""
    from langneurons.ask.local import InProcess
    from langneurons.model.loading import load
    from langneurons.neurons import steering

    loaded = load(model, **asdict(loading))
    settings: dict[str, Any] = {"dtype": str(loaded.model.dtype)}
    inputs = dict(loaded.inputs)
    described: dict[str, Any] = dict(loaded.facts)
    masks = None
    if silenced:
        masks, described["silenced"] = _masks(loaded, silenced, force=force)
        settings |= {"silence": list(silenced.languages), "kinds": list(silenced.kinds)}
        inputs["neurons"] = silenced.source.digest
    within: Callable[[], AbstractContextManager[object]] = nullcontext
    if steered:
        within = partial(steering.steered, loaded, steered.steering)
        described["steered"] = {"how": steered.told, "notes": steered.fit(loaded, force=force)}
        settings["steered"] = dict(steered.settings)
        inputs |= steered.inputs
    engine = InProcess(loaded, masks, within)
    ends = list(map(str, loaded.tokenizer.convert_ids_to_tokens(engine.ends)))
    return _Writer(
        engine=engine,
        tokenizer=loaded.tokenizer,
        settings=settings | {"ends": ends},
        inputs=inputs,
        model=described,
        ends=" or ".join(ends) or "no end token",
    )


def _silenced(how: Asking) -> _Silenced | None:
    codes = console.codes(how.languages)
    if how.silence is None:
        if codes:
            raise InputError(
                "--languages says whose neurons --silence switches off, and there is no --silence; "
                "--asked chooses the languages of the questions"
            )
        return None
    source = artifacts.read(how.silence, Neurons.KIND)
    if not codes:
        raise InputError(
            f"--silence {how.silence}: say whose neurons, with --languages, or silence those of "
            "each language in turn: evaluate --controls 3"
        )
    return _Silenced(source, codes, listed(how.kinds))


def _steered(how: Asking) -> "ByName | None":
    """What is to be steered; mistakes that can be seen without the model come first."""
    from langneurons.neurons.steering import by_name

    if how.steer is None:
        if how.to or how.source or how.means:
            raise InputError(
                "--to, --source and --means say how --steer steers, and there is no --steer"
            )
        return None
    if how.to is None:
        raise InputError(f"--steer {how.steer}: say to which language, with --to")
    return by_name(
        how.steer,
        how.means,
        how.kinds,
        to=how.to,
        source=how.source,
        by=how.by,
        strength=how.strength,
    )


def _masks(
    loaded: "Loaded", silenced: _Silenced, *, force: bool
) -> "tuple[list[Tensor | None], dict[str, Any]]":
    """What silences the neurons, and what to say of them.

    Raises:
        MismatchError: when the neurons are of another model.
        InputError: when there are none of these kinds and languages.
    """
    from langneurons.neurons.sets import require_fit, select, to_masks

    neurons = Neurons.load(silenced.source)
    require_fit(neurons, loaded.widths)
    weights = silenced.source.manifest["facts"].get("model")
    notes = notes_on_weights(weights, loaded.fingerprint, force=force)
    chosen = select(neurons, loaded.widths, silenced.kinds, silenced.languages)
    if not len(chosen):
        what = f"{', '.join(silenced.kinds)} neuron of {', '.join(silenced.languages)}"
        raise InputError(f"{silenced.source.folder} has no {what}, so there is nothing to silence")
    facts = {"neurons": len(chosen), "found on": weights, "notes": notes}
    return to_masks([chosen], loaded.widths), facts


def _tell_sampled(made: Made[Responses], model: str, json: bool) -> None:
    """Print what a model answered."""
    if json:
        print_json({"out": str(made.folder), **made.facts})
        return
    print(_languages(made.facts["languages"]))
    _tell_how(made.facts)
    counts = made.folder.parent / "counts"
    reads = made.facts["model"].get("tokenizer") or model  # an alias is known to a server alone
    print(f"wrote {made.folder}; next: langneurons record {reads} {made.folder} --out {counts}")


def _tell_evaluated(made: Made[Evaluation], before: Made[Evaluation] | None, json: bool) -> None:
    """Print how many answers are right, and what changed against another evaluation."""
    accuracies = made.value.accuracies
    changes: list[Change] = []
    if before:
        changes = compare_accuracy(before.value.responses, made.value.responses)
    if json:
        told: dict[str, Any] = {"out": str(made.folder)}
        told["accuracy"] = [row._asdict() for row in accuracies]
        if before:
            told["against"] = str(before.folder)
            told["changes"] = [change._asdict() for change in changes]
        print_json(told | dict(made.facts))
        return
    rows = [
        (
            row.lang,
            row.n,
            row.correct,
            f"{row.accuracy:.1%}",
            f"{row.low:.1%} to {row.high:.1%}",
        )
        for row in accuracies
    ]
    print(console.columns(("language", "questions", "right", "accuracy", "95% interval"), rows))
    if before:
        print(f"-- against {before.folder}, on the questions both answered")
        print(_changes(changes, before.facts, made.facts))
        for note in not_compared(before.value.responses, made.value.responses):
            print(f"note: {note}")
    print(_languages(made.facts["languages"]))
    _tell_how(made.facts)
    print(f"wrote {made.folder}")


def _changes(changes: Sequence[Change], before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The table of what changed between two evaluations with these facts."""
    heads = (
        "language",
        "before",
        "after",
        "change",
        "95% interval",
        "lost",
        "gained",
        "p",
        "in another language",
    )
    strays = [_strays(facts["languages"]) for facts in (before, after)]
    rows = [
        (
            row.lang,
            f"{row.before:.1%}",
            f"{row.after:.1%}",
            f"{row.change:+z.1%}",
            f"{row.low:+z.1%} to {row.high:+z.1%}",
            row.lost,
            row.gained,
            f"{row.p:.2g}",
            " to ".join(shares[row.lang] for shares in strays if row.lang in shares),
        )
        for row in changes
    ]
    return console.columns(heads, rows)


def _strays(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Share of responses in another language, per language.

    Of those in a wrong script, where that is all that is known.
    """
    shares = {}
    for row in rows:
        known = row["other_language"] is not None
        strays = row["other_language"] if known else row["wrong_script"]
        shares[row["lang"]] = f"{strays / row['responses']:.1%}"
    return shares


def _languages(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of what to know of the responses, per language; see `sample.describe`."""
    from langneurons.texts.languages import strangers

    names = [name for name in rows[0] if name not in ("lang", "judged", "spoken", "ended")]
    reasons = sorted({reason for row in rows for reason in row.get("ended", ())})
    heads = ["language", *(name.replace("_", " ") for name in names), *reasons]
    cells = [
        [
            row["lang"],
            *(row[name] for name in names),
            *(row["ended"].get(reason, 0) for reason in reasons),
        ]
        for row in rows
    ]
    table = console.columns(heads, cells)
    notes = [strangers(row["lang"] for row in rows)]
    if silent := [row["lang"] for row in rows if row["empty"] == row["responses"]]:
        notes.append(f"note: every response in {', '.join(silent)} is empty")
    return "\n".join([table, *filter(None, notes)])


def _tell_how(facts: Mapping[str, Any]) -> None:
    """Print how it was asked, which questions it did not answer, and what else is to be noted."""
    for note in facts.get("notes", ()):
        print(f"note: {note}")
    for finish, rows in _by_finish(facts.get("unanswered", ())).items():
        named = ", ".join(f"{row['question_id']} ({row['lang']})" for row in rows[:_NAMED])
        more = f" and {len(rows) - _NAMED:,} more" if len(rows) > _NAMED else ""
        what = "no room" if finish == NO_ROOM else finish
        print(f"{what}: {named}{more}")
    if left := facts.get("server", {}).get("left out of the requests"):
        print(f"not taken by the server, which has its own: {', '.join(left)}")
    print(facts["asked"])
    if silenced := facts["model"].get("silenced"):
        print(f"silenced: {silenced['neurons']:,} neurons")
        for note in silenced["notes"]:
            print(f"note: {note}")
    if steered := facts["model"].get("steered"):
        print(f"steered: {steered['how']}")
        for note in steered["notes"]:
            print(f"note: {note}")


def _by_finish(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """What is not answered, by how it ended; see `sample.unanswered`."""
    parted: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        parted.setdefault(row["finish"], []).append(row)
    return parted
