"""Ask: the commands that let a model answer questions: sample, evaluate."""

import hashlib
import json as jsonlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from cyclopts import Parameter
from cyclopts.field_info import FieldInfo

from langneurons import artifacts, console, resume
from langneurons.config import Asking, EvaluateConfig, ModelConfig, SampleConfig
from langneurons.console import Force, Json, print_json
from langneurons.errors import InputError, MismatchError
from langneurons.neurons.table import Neurons
from langneurons.texts.accuracy import Change, Evaluation
from langneurons.texts.rows import Responses

if TYPE_CHECKING:
    from langneurons.ask.engine import Engine
    from langneurons.texts.responses import Question


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
) -> None:
    """Let a model answer questions, n times each in each language, and mark each response right or wrong.

    Parameters
    ----------
    model
        A folder, a PEFT adapter folder or an id on the Hugging Face Hub; with a server, its name
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
    from langneurons.ask.sample import sample as run

    held, prompt, one = _begin(model, questions, config, how, loading, force=force)
    if not console.there(out, "responses", one.settings, one.inputs, force=force):
        state = resume.State(out, one.settings, one.inputs)
        with console.progress("sampling", quiet=json, unit="responses") as step:
            responses, facts = run(
                one.engine,
                held,
                config,
                template=prompt,
                tokenizer=one.tokenizer,
                state=state,
                on_step=step,
            )
        with artifacts.writing(out, "responses", "sample", one.settings, one.inputs) as draft:
            Responses(responses).write(draft)
            draft.facts |= facts | one.facts()
        state.drop()
    tell_sampled(out, model, json)


def evaluate(
    model: str,
    questions: str,
    /,
    *,
    out: Path,
    config: Annotated[EvaluateConfig, Parameter(name="*")] = EvaluateConfig(),
    against: Path | None = None,
    base: bool = True,
    how: Annotated[Asking, Parameter(name="*")] = Asking(),
    loading: Annotated[ModelConfig, Parameter(name="*")] = ModelConfig(),
    force: Force = False,
    json: Json = False,
) -> None:
    """Let a model answer each question once, always by the likeliest token, and say how many answers are right.

    Parameters
    ----------
    model
        A folder, a PEFT adapter folder or an id on the Hugging Face Hub; with a server, its name
        there.
    questions
        mgsm, msvamp, a JSONL file, a folder of <language>.jsonl, or a data set of the Hub.
    out
        Folder to write.
    config
        Settings.
    against
        Folder of another evaluation on the same questions, of the model before: both are shown,
        with a paired test. Of an adapter by default its base, which is evaluated first, into a
        folder beside OUT: OUT-base.
    base
        Whether the base of an adapter is evaluated if there is no --against.
    how
        How it is asked.
    loading
        How the model is loaded.
    """
    if against:
        artifacts.read(against, "accuracy")
    elif base and how.engine == "transformers" and not how.silence:
        from langneurons.model.loading import base_of

        if before := base_of(model):
            against = out.with_name(f"{out.name}-base")
            _evaluate(before, questions, against, config, how, loading, force=force, quiet=json)
    _evaluate(model, questions, out, config, how, loading, force=force, quiet=json)
    tell_accuracy(out, against, json)


def _evaluate(
    model: str,
    questions: str,
    out: Path,
    config: EvaluateConfig,
    how: Asking,
    loading: ModelConfig,
    *,
    force: bool,
    quiet: bool,
) -> None:
    from langneurons.ask.sample import evaluate as run

    held, prompt, one = _begin(model, questions, config, how, loading, force=force)
    if console.there(out, "accuracy", one.settings, one.inputs, force=force):
        return
    state = resume.State(out, one.settings, one.inputs)
    with console.progress(f"evaluating {model}", quiet=quiet, unit="responses") as step:
        responses, accuracies, facts = run(
            one.engine,
            held,
            config,
            template=prompt,
            tokenizer=one.tokenizer,
            state=state,
            on_step=step,
        )
    with artifacts.writing(out, "accuracy", "evaluate", one.settings, one.inputs) as draft:
        Evaluation(responses, accuracies).write(draft)
        draft.facts |= facts | one.facts()
    state.drop()


class _Silenced(NamedTuple):
    """Which neurons are to be silenced."""

    source: artifacts.Artifact
    languages: tuple[str, ...]
    kinds: tuple[str, ...]


class _Engine(NamedTuple):
    """What writes the responses, and everything that determines them."""

    engine: "Engine"
    tokenizer: Any
    settings: dict[str, Any]
    inputs: dict[str, str]
    named: dict[str, Any]

    def facts(self) -> dict[str, Any]:
        """What to remember of the engine once it has run."""
        return {"model": self.named} | getattr(self.engine, "facts", {})


def _begin(
    model: str,
    questions: str,
    config: SampleConfig | EvaluateConfig,
    how: Asking,
    loading: ModelConfig,
    *,
    force: bool,
) -> "tuple[list[Question], str | None, _Engine]":
    """Questions, template and engine; mistakes that can be seen without the model come first."""
    from langneurons.texts.prompts import load_template
    from langneurons.texts.questions import load_questions

    template = load_template(how.template).text if how.template else None
    silenced = _silenced(how)
    held = load_questions(questions, console.codes(how.asked))
    rows = jsonlib.dumps([question.to_row() for question in held])
    inputs = {"questions": hashlib.sha256(rows.encode()).hexdigest()}
    settings = {
        **asdict(config),
        "stop": list(config.stop),
        "template": template,
        "engine": how.engine,
    }
    del settings["save_every"], settings["concurrency"]
    if how.engine == "transformers":
        one = _in_process(model, loading, silenced, force=force)
    elif silenced:
        raise InputError("a server cannot silence neurons; leave --engine at transformers")
    else:
        one = _server(model, how, loading)
    return (
        held,
        template,
        one._replace(settings=settings | one.settings, inputs=inputs | one.inputs),
    )


def _server(model: str, how: Asking, loading: ModelConfig) -> _Engine:
    from langneurons.ask.server import Server
    from langneurons.model import loading as models

    server = Server(how.engine, model)
    tokenizer = (
        models.load_tokenizer(model, revision=loading.revision) if how.template == "chat" else None
    )
    return _Engine(server, tokenizer, {"model": model}, {}, {"id": model})


def _in_process(
    model: str, loading: ModelConfig, silenced: _Silenced | None, *, force: bool
) -> _Engine:
    from langneurons.ask.local import InProcess
    from langneurons.model import loading as models

    loaded = models.load(model, **asdict(loading))
    settings: dict[str, Any] = {"dtype": str(loaded.model.dtype)}
    inputs = {"model": loaded.fingerprint, "tokenizer": models.tokenizer_digest(loaded.tokenizer)}
    named: dict[str, Any] = {
        "id": loaded.id,
        "revision": loaded.revision,
        "fingerprint": loaded.fingerprint,
    }
    named["device"] = str(loaded.model.get_input_embeddings().weight.device)
    masks = None
    if silenced:
        masks, said = _masks(loaded, silenced, force=force)
        settings |= {"silence": list(silenced.languages), "kinds": list(silenced.kinds)}
        inputs["neurons"] = silenced.source.digest
        named["silenced"] = said
    return _Engine(
        InProcess(loaded.model, loaded.tokenizer, masks), loaded.tokenizer, settings, inputs, named
    )


def _silenced(how: Asking) -> _Silenced | None:
    codes = console.codes(how.languages)
    if how.silence is None:
        if codes:
            raise InputError(
                "--languages says whose neurons --silence switches off, and there is no --silence; --asked chooses "
                "the languages of the questions"
            )
        return None
    source = artifacts.read(how.silence, "neurons")
    if not codes:
        raise InputError(f"--silence {how.silence}: say whose neurons, with --languages")
    return _Silenced(source, codes, tuple(kind.strip() for kind in how.kinds.split(",")))


def _masks(loaded: Any, silenced: _Silenced, *, force: bool) -> tuple[Any, dict[str, Any]]:
    """What `sites.silence` takes, and what to say of it.

    Raises:
        MismatchError: when the neurons are of another model.
        InputError: when there are none of these kinds and languages.
    """
    from langneurons.model.sites import find_sites
    from langneurons.neurons.sets import require_fit, select, to_masks

    neurons = Neurons.load(silenced.source)
    shapes = [site.shape for site in find_sites(loaded.model)]
    require_fit(neurons, shapes)
    found = silenced.source.manifest["facts"].get("model")
    if found not in (None, loaded.fingerprint) and not force:
        raise MismatchError(
            f"the neurons were found on weights {found[:12]}, this model has {loaded.fingerprint[:12]}; --force "
            "silences them all the same and notes it"
        )
    chosen = select(neurons, shapes, silenced.kinds, silenced.languages)
    if not len(chosen):
        what = f"{', '.join(silenced.kinds)} neuron of {', '.join(silenced.languages)}"
        raise InputError(f"{silenced.source.folder} has no {what}, so there is nothing to silence")
    return to_masks([chosen], shapes), {"neurons": len(chosen), "found on": found}


def tell_sampled(out: Path, model: str, json: bool) -> None:
    """Print what a model answered."""
    facts = artifacts.read(out, "responses").manifest["facts"]
    if json:
        print_json({"out": str(out), **facts})
        return
    _tell_languages(facts["languages"])
    _tell_model(facts)
    print(f"wrote {out}; next: langneurons record {model} {out} --out {out.parent / 'counts'}")


def tell_accuracy(out: Path, against: Path | None, json: bool) -> None:
    """Print how many answers are right, and what changed against another evaluation."""
    from langneurons.texts.accuracy import compare_accuracy
    from langneurons.texts.rows import read_responses

    source = artifacts.read(out, "accuracy")
    evaluation, facts = Evaluation.load(source), source.manifest["facts"]
    rows = [row._asdict() for row in evaluation.accuracies]
    changes = []
    if against:
        changes = compare_accuracy(read_responses(against), evaluation.responses)
    if json:
        compared = (
            {"against": str(against), "changes": [change._asdict() for change in changes]}
            if against
            else {}
        )
        print_json({"out": str(out), "accuracy": rows, **compared, **facts})
        return
    print(f"{'language':<10}{'questions':>10}{'right':>10}{'accuracy':>10}   95% interval")
    for row in rows:
        shares = f"{row['accuracy']:>10.1%}   {row['low']:.1%} to {row['high']:.1%}"
        print(f"{row['lang']:<10}{row['n']:>10,}{row['correct']:>10,}{shares}")
    if against:
        _tell_changes(
            changes, against, artifacts.read(against, "accuracy").manifest["facts"], facts
        )
    _tell_languages(facts["languages"])
    _tell_model(facts)
    print(f"wrote {out}")


def _tell_changes(
    changes: "Sequence[Change]", against: Path, before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    print(f"-- against {against}, on the questions both answered")
    print(
        f"{'language':<10}{'before':>8}{'after':>8}{'change':>8}   {'95% interval':<18}"
        f"{'lost':>6}{'gained':>8}{'p':>10}   in another language"
    )
    strays = [_strays(of["languages"]) for of in (before, after)]
    for row in changes:
        shares = f"{row.before:>8.1%}{row.after:>8.1%}{row.change:>+8.1%}"
        interval = f"{row.low:+.1%} to {row.high:+.1%}"
        elsewhere = " to ".join(share[row.lang] for share in strays if row.lang in share)
        print(
            f"{row.lang:<10}{shares}   {interval:<18}{row.lost:>6,}{row.gained:>8,}{row.p:>10.2g}   {elsewhere}"
        )


def _strays(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Share of responses in another language, per language; in a wrong script, where that is all that is known."""
    names = {
        row["lang"]: "wrong_script" if row["other_language"] is None else "other_language"
        for row in rows
    }
    return {row["lang"]: f"{row[names[row['lang']]] / row['responses']:.1%}" for row in rows}


def _tell_languages(rows: Sequence[Mapping[str, Any]]) -> None:
    names = [name for name in rows[0] if name not in ("lang", "judged", "spoken")]
    print(
        f"{'language':<10}"
        + "".join(f"{name.replace('_', ' '):>{max(10, len(name) + 2)}}" for name in names)
    )
    for row in rows:
        cells = ("-" if row[name] is None else f"{row[name]:,}" for name in names)
        print(
            f"{row['lang']:<10}"
            + "".join(
                f"{cell:>{max(10, len(name) + 2)}}" for cell, name in zip(cells, names, strict=True)
            )
        )


def _tell_model(facts: Mapping[str, Any]) -> None:
    if said := facts["model"].get("silenced"):
        print(f"silenced: {said['neurons']:,} neurons")
