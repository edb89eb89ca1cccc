"""Measure: the commands that run a model: check, record."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from langneurons import artifacts, console
from langneurons.config import ModelConfig, RecordConfig
from langneurons.console import Force, Json


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
    from langneurons import data, models
    from langneurons.record import processes
    from langneurons.record import record as run

    codes = console.codes(languages)
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
