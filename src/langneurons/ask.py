"""Ask: the commands that let a model answer questions: sample, evaluate."""

import hashlib
import json as jsonlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from cyclopts import Parameter
from cyclopts.field_info import FieldInfo

from langneurons import artifacts, console
from langneurons.config import EvaluateConfig, ModelConfig, SampleConfig
from langneurons.console import Force, Json
from langneurons.errors import InputError, MismatchError

if TYPE_CHECKING:
    from langneurons.accuracy import Accuracy
    from langneurons.completions import Engine
    from langneurons.responses import Question, Response


@dataclass(frozen=True)
class Asking:
    """How a model is asked."""

    engine: str = "transformers"
    """transformers, or the URL of an OpenAI-compatible server; its key is taken from LANGNEURONS_API_KEY if set."""
    template: str | None = None
    """mathoctopus, plain, chat, or a text file; by default the model's chat template if it has one, or mathoctopus."""
    asked: str | None = None
    """Languages to ask in, as codes with commas; by default all there are."""
    silence: Path | None = None
    """Folder of neurons to silence meanwhile, of this model; those of another are refused unless --force."""
    languages: str | None = None
    """Languages whose neurons are silenced, as codes with commas."""
    kinds: str = "specific,related"
    """Kinds of neurons that are silenced: specific, related, general, with commas."""


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
        A folder, a PEFT adapter folder or an id on the Hugging Face Hub; with a server, its name there.
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
    from langneurons.sample import sample as run

    held, prompt, one = _begin(model, questions, config, how, loading, force=force)
    if not console.there(out, "responses", one.settings, one.inputs, force=force):
        state = artifacts.State(out, one.settings, one.inputs)
        with console.progress("sampling", quiet=json, unit="responses") as step:
            responses, facts = run(
                one.engine, held, config, template=prompt, tokenizer=one.tokenizer, state=state, on_step=step
            )
        with artifacts.writing(out, "responses", "sample", one.settings, one.inputs) as draft:
            draft.bytes("responses.jsonl", _jsonl(responses))
            draft.facts |= facts | one.facts()
        state.drop()
    console.tell_sampled(out, model, json)


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
        A folder, a PEFT adapter folder or an id on the Hugging Face Hub; with a server, its name there.
    questions
        mgsm, msvamp, a JSONL file, a folder of <language>.jsonl, or a data set of the Hub.
    out
        Folder to write.
    config
        Settings.
    against
        Folder of another evaluation on the same questions, of the model before: both are shown, with a paired test.
        Of an adapter by default its base, which is evaluated first, into a folder beside OUT: OUT-base.
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
        from langneurons.models import base_of

        if before := base_of(model):
            against = out.with_name(f"{out.name}-base")
            _evaluate(before, questions, against, config, how, loading, force=force, quiet=json)
    _evaluate(model, questions, out, config, how, loading, force=force, quiet=json)
    console.tell_accuracy(out, against, json)


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
    from langneurons.evaluate import evaluate as run

    held, prompt, one = _begin(model, questions, config, how, loading, force=force)
    if console.there(out, "accuracy", one.settings, one.inputs, force=force):
        return
    state = artifacts.State(out, one.settings, one.inputs)
    with console.progress(f"evaluating {model}", quiet=quiet, unit="responses") as step:
        responses, accuracies, facts = run(
            one.engine, held, config, template=prompt, tokenizer=one.tokenizer, state=state, on_step=step
        )
    with artifacts.writing(out, "accuracy", "evaluate", one.settings, one.inputs) as draft:
        draft.bytes("responses.jsonl", _jsonl(responses))
        draft.table(console.ACCURACY, _table(accuracies))
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
    from langneurons import data
    from langneurons.questions import load_questions

    template = how.template and data.load_template(how.template)
    silenced = _silenced(how)
    held = load_questions(questions, console.codes(how.asked))
    rows = jsonlib.dumps([question.to_row() for question in held])
    inputs = {"questions": hashlib.sha256(rows.encode()).hexdigest()}
    settings = {**asdict(config), "stop": list(config.stop), "template": template, "engine": how.engine}
    del settings["save_every"], settings["concurrency"]
    if how.engine == "transformers":
        one = _in_process(model, loading, silenced, force=force)
    elif silenced:
        raise InputError("a server cannot silence neurons; leave --engine at transformers")
    else:
        one = _server(model, how, loading)
    return held, template, one._replace(settings=settings | one.settings, inputs=inputs | one.inputs)


def _server(model: str, how: Asking, loading: ModelConfig) -> _Engine:
    from langneurons import models
    from langneurons.server import Server

    server = Server(how.engine, model)
    tokenizer = models.load_tokenizer(model, revision=loading.revision) if how.template == "chat" else None
    return _Engine(server, tokenizer, {"model": model}, {}, {"id": model})


def _in_process(model: str, loading: ModelConfig, silenced: _Silenced | None, *, force: bool) -> _Engine:
    from langneurons import models
    from langneurons.generate import InProcess

    loaded = models.load(model, **asdict(loading))
    settings: dict[str, Any] = {"dtype": str(loaded.model.dtype)}
    inputs = {"model": loaded.fingerprint, "tokenizer": models.tokenizer_digest(loaded.tokenizer)}
    named: dict[str, Any] = {"id": loaded.id, "revision": loaded.revision, "fingerprint": loaded.fingerprint}
    named["device"] = str(loaded.model.get_input_embeddings().weight.device)
    masks = None
    if silenced:
        masks, said = _masks(loaded, silenced, force=force)
        settings |= {"silence": list(silenced.languages), "kinds": list(silenced.kinds)}
        inputs["neurons"] = silenced.source.digest
        named["silenced"] = said
    return _Engine(InProcess(loaded.model, loaded.tokenizer, masks), loaded.tokenizer, settings, inputs, named)


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
    from langneurons.silencing import require_fit, select, to_masks
    from langneurons.sites import find_sites

    neurons = console.load_neurons(silenced.source)
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


def _jsonl(responses: "Sequence[Response]") -> bytes:
    return "".join(f"{jsonlib.dumps(one.to_row(), ensure_ascii=False)}\n" for one in responses).encode()


def _table(accuracies: "Sequence[Accuracy]") -> Any:
    import pyarrow as pa

    return pa.Table.from_pylist([row._asdict() for row in accuracies])
