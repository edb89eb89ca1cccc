"""Measure: the commands that run a model: check, record, perplexity."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from langneurons import artifacts, console
from langneurons.config import ModelConfig, PerplexityConfig, RecordConfig
from langneurons.console import Force, Json
from langneurons.errors import MismatchError


def check(
    model: str,
    /,
    *,
    loading: Annotated[ModelConfig, Parameter(name="*")] = ModelConfig(),
    json: Json = False,
) -> None:
    """Prove on a model that its neurons can be read and silenced: sites, batches, padding, caches, restoring.

    Parameters
    ----------
    model
        A folder, a PEFT adapter folder or an id on the Hugging Face Hub.
    loading
        How the model is loaded.
    """
    from langneurons import models
    from langneurons.check import check as run

    loaded = models.load(model, **asdict(loading))
    checks = run(loaded.model, loaded.tokenizer)
    console.tell_checks(model, checks, json)
    if not all(one.holds is not False for one in checks):
        sys.exit(2)


def record(
    model: str,
    responses: Path,
    /,
    *,
    out: Path,
    config: Annotated[RecordConfig, Parameter(name="*")] = RecordConfig(),
    languages: str | None = None,
    template: str | None = None,
    drop: str | None = None,
    loading: Annotated[ModelConfig, Parameter(name="*")] = ModelConfig(),
    force: Force = False,
    json: Json = False,
) -> None:
    """Count how often each neuron of a model is active on response tokens, per language and block of questions.

    Parameters
    ----------
    model
        A folder, a PEFT adapter folder or an id on the Hugging Face Hub.
    responses
        A responses.jsonl, a folder that holds one, or a folder of <language>.jsonl.
    out
        Folder to write.
    config
        Settings.
    languages
        Languages to record, in order, as codes with commas [default: all there are].
    template
        Prompt for rows that hold a question and no prompt: mathoctopus, plain, chat, or a text file
        [default: mathoctopus].
    drop
        What is not counted besides empty responses: repetition, wrong-script, with commas.
    loading
        How the model is loaded.
    """
    from langneurons import data

    codes = console.codes(languages)
    data.files(responses, codes)  # before a model is loaded for nothing

    from langneurons import models
    from langneurons.record import processes
    from langneurons.record import record as run

    rank, world = processes()
    loaded = models.load(model, **asdict(loading))
    rows = data.read_responses(responses, template, codes, loaded.tokenizer)
    kept, gates = data.gate(rows, _flaws(drop))
    settings = {
        **asdict(config),
        "languages": codes,
        "template": template,
        "drop": drop,
        "dtype": str(loaded.model.dtype),
    }
    del settings["save_every"]
    files = [responses] if responses.is_file() else sorted(responses.glob("*.jsonl"))
    inputs = {file.name: artifacts.file_digest(file) for file in files}
    inputs |= {"model": loaded.fingerprint, "tokenizer": models.tokenizer_digest(loaded.tokenizer)}
    if not console.there(out, "counts", settings, inputs, force=force, quiet=rank > 0):
        state = artifacts.State(out, settings, inputs, f"{rank}-of-{world}")
        with console.progress("recording", quiet=json or rank > 0, unit="tokens") as step:
            counts, facts = run(
                loaded.model, loaded.tokenizer, kept, config, languages=codes, state=state, on_step=step
            )
        if rank == 0:
            with artifacts.writing(out, "counts", "record", settings, inputs) as draft:
                draft.tensors(console.COUNTS, *counts.to_tensors())
                draft.facts |= facts | {"gates": [gate._asdict() for gate in gates], "model": _named(loaded)}
        state.drop()
    if rank == 0:
        console.tell_counts(out, json)


def perplexity(
    model: str,
    neurons: Path,
    responses: Path,
    /,
    *,
    out: Path,
    config: Annotated[PerplexityConfig, Parameter(name="*")] = PerplexityConfig(),
    counts: Path | None = None,
    languages: str | None = None,
    template: str | None = None,
    loading: Annotated[ModelConfig, Parameter(name="*")] = ModelConfig(),
    force: Force = False,
    json: Json = False,
) -> None:
    """Silence the neurons of each language in turn and measure what every language's texts then cost, with controls.

    Parameters
    ----------
    model
        A folder, a PEFT adapter folder or an id on the Hugging Face Hub.
    neurons
        Folder of neurons, of this model; those of another are refused unless --force.
    responses
        A responses.jsonl, a folder that holds one, or a folder of <language>.jsonl.
    out
        Folder to write.
    config
        Settings.
    counts
        Folder of the counts that the neurons come from, to match random sets by activation rate
        [default: found beside the neurons; without any, random sets are matched per layer only].
    languages
        Languages to silence and to evaluate, as codes with commas
        [default: all that neurons and responses have in common].
    template
        Prompt for rows that hold a question and no prompt: mathoctopus, plain, chat, or a text file
        [default: mathoctopus].
    loading
        How the model is loaded.
    """
    from langneurons import data

    source = artifacts.read(neurons, "neurons")
    behind = _counts_behind(source, counts)
    codes = console.codes(languages)
    data.files(responses)  # before a model is loaded for nothing

    from langneurons import models
    from langneurons.counts import Counts
    from langneurons.perplexity import perplexity as run

    loaded = models.load(model, **asdict(loading))
    notes = _other_weights(source, behind, loaded.fingerprint, force=force)
    rows = data.read_responses(responses, template, tokenizer=loaded.tokenizer)
    settings = {**asdict(config), "languages": codes, "template": template, "dtype": str(loaded.model.dtype)}
    del settings["save_every"]
    files = [responses] if responses.is_file() else sorted(responses.glob("*.jsonl"))
    inputs = {file.name: artifacts.file_digest(file) for file in files}
    inputs |= {"model": loaded.fingerprint, "tokenizer": models.tokenizer_digest(loaded.tokenizer)}
    inputs |= {"neurons": source.digest} | ({"counts": behind.digest} if behind else {})
    if not console.there(out, "perplexity", settings, inputs, force=force):
        state = artifacts.State(out, settings, inputs)
        rates = None
        if behind:
            held = Counts.from_tensors(*behind.tensors(console.COUNTS))
            rates = dict(zip(held.languages, held.probability(), strict=True))
        with console.progress("silencing", quiet=json, unit="tokens") as step:
            losses, facts = run(
                loaded.model,
                loaded.tokenizer,
                rows,
                console.load_neurons(source),
                config,
                languages=codes,
                rates=rates,
                state=state,
                on_step=step,
            )
        with artifacts.writing(out, "perplexity", "perplexity", settings, inputs) as draft:
            draft.table(console.PERPLEXITY, losses.to_table())
            draft.facts |= facts | {"notes": notes, "model": _named(loaded)}
        state.drop()
    console.tell_perplexity(out, json)


def _counts_behind(neurons: artifacts.Artifact, counts: Path | None) -> artifacts.Artifact | None:
    """The counts that neurons come from: those given, or those beside them; None when there are none.

    Raises:
        MismatchError: when the neurons come from other counts than those given.
    """
    known = neurons.manifest["inputs"].get("counts")
    if counts is None:
        beside = artifacts.find(neurons.folder.resolve().parent, "counts") if known else []
        return next((one for one in beside if one.digest == known), None)
    given = artifacts.read(counts, "counts")
    if known not in (None, given.digest):
        raise MismatchError(f"{neurons.folder} comes from other counts than {counts}; give those, or no --counts")
    return given


def _other_weights(
    neurons: artifacts.Artifact, counts: artifacts.Artifact | None, fingerprint: str, *, force: bool
) -> list[str]:
    """What to note about the weights the neurons were found on.

    Raises:
        MismatchError: when they are others than the model's, unless `force`.
    """
    found = neurons.manifest["facts"].get("model") or (counts.manifest["inputs"].get("model") if counts else None)
    if found is None:
        return ["the neurons do not say which weights they were found on; only the shape of the layers was compared"]
    if found == fingerprint:
        return []
    said = f"the neurons were found on weights {found[:12]}, this model has {fingerprint[:12]}"
    if not force:
        raise MismatchError(f"{said}; another --dtype changes them too; --force measures all the same and notes it")
    return [f"{said}; measured all the same (--force)"]


def _flaws(drop: str | None) -> tuple[Any, ...]:
    return tuple(word.strip().replace("-", " ") for word in drop.split(",")) if drop else ()


def _named(loaded: Any) -> dict[str, Any]:
    model = loaded.model
    return {
        "id": loaded.id,
        "revision": loaded.revision,
        "fingerprint": loaded.fingerprint,
        "class": type(model).__name__,
        "device": str(model.get_input_embeddings().weight.device),
    }
