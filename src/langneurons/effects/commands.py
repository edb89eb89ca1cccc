"""The command that finds what each neuron costs each language: attribute."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter

from langneurons import artifacts, console, layout, resume
from langneurons.config import AttributeConfig, ModelConfig, TextConfig, identity
from langneurons.console import Force, Json, Made, Quiet
from langneurons.effects.trust import Agreement, agreements
from langneurons.intervals import Estimate
from langneurons.neurons.effects import Effects
from langneurons.neurons.sets import notes_on_weights
from langneurons.neurons.table import Neurons
from langneurons.tables import plain


def attribute(
    model: str,
    responses: Path,
    /,
    *,
    out: Path,
    neurons: Path | None = None,
    config: Annotated[AttributeConfig, Parameter(name="*")] = AttributeConfig(),
    running: Annotated[TextConfig, Parameter(name="*")] = TextConfig(),
    languages: str | None = None,
    template: str | None = None,
    loading: Annotated[ModelConfig, Parameter(name="*")] = ModelConfig(),
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Made[Effects]:
    """Find what silencing each neuron would cost each language.

    All neurons to first order, some silenced to say how well that does; and what whole sets cost,
    split over their neurons.

    Parameters
    ----------
    model
        A folder, a PEFT adapter folder, a GGUF file or an id on the Hugging Face Hub.
    responses
        Responses or running text, as for record.
    out
        Folder to write.
    neurons
        Folder of neurons, of this model, whose sets are silenced and split; those of another are
        refused unless --force.
    config
        Settings.
    running
        How running text is read, and whether texts are perturbed.
    languages
        Languages to measure, in order, as codes with commas [default: all there are].
    template
        Prompt for rows that hold a question and no prompt: mathoctopus, plain, chat, or a text file
        [default: the model's chat template if it has one, or mathoctopus].
    loading
        How the model is loaded.
    """
    from langneurons.texts import running_text

    source = None if neurons is None else artifacts.read(neurons, Neurons.KIND)
    codes = console.codes(languages)
    running_text.require(responses)  # before a model is loaded for nothing

    from langneurons.effects.attribute import attributed
    from langneurons.model import reading
    from langneurons.model.loading import load

    loaded = load(model, **asdict(loading))
    notes = []
    if source:
        found_on = source.manifest["facts"].get("model")
        notes = notes_on_weights(found_on, loaded.fingerprint, force=force)
    texts = reading.read(
        responses,
        loaded,
        running,
        languages=codes if running_text.is_running_text(responses) else None,
        template=template,
        drop=None,
    )
    settings = {
        **identity(config),
        "languages": codes,
        "template": texts.template,
        "dtype": str(loaded.model.dtype),
        **texts.settings,
    }
    inputs = {**texts.digests, **loaded.inputs}
    if source:
        inputs["neurons"] = source.digest

    def make(
        state: resume.State, on_step: resume.Progress | None
    ) -> tuple[Effects, Mapping[str, Any]]:
        effects, facts = attributed(
            loaded,
            texts.responses,
            config,
            neurons=None if source is None else Neurons.load(source),
            languages=codes,
            state=state,
            on_step=on_step,
        )
        facts |= texts.facts
        return effects, facts | {
            "notes": [*notes, *facts["notes"], *texts.notes],
            "model": loaded.facts,
        }

    made = console.made(
        Effects,
        out,
        "attribute",
        settings,
        inputs,
        make,
        doing="attributing",
        unit="tokens",
        force=force,
        quiet=quiet,
    )
    rank, _ = resume.processes()
    if rank == 0:
        _print_json(made) if json else _print(made)
    return made


def _print_json(made: Made[Effects]) -> None:
    """How well first order does, and what sets cost, as one JSON object."""
    effects = made.value
    agreed = [] if effects.tried is None else agreements(effects.tried)
    sets = [
        {
            "setting": split.setting,
            "language": split.language,
            "neurons": len(split.positions),
            "cost": float(split.costs.sum()),
            "tokens": int(split.tokens.sum()),
            "missing": split.missing,
        }
        for split in effects.splits
    ]
    console.print_json(
        {
            "out": str(made.folder),
            "trust": [plain(_told(one)) for one in agreed],
            "sets": plain(sets),
            "facts": made.facts,
        }
    )


def _told(agreement: Agreement) -> dict[str, Any]:
    """An agreement without its resamplings."""
    told = agreement._asdict()
    for name in ("spearman", "pearson", "slope"):
        value, low, high, _ = told[name]
        told[name] = {"value": value, "low": low, "high": high}
    return told


def _print(made: Made[Effects]) -> None:
    """What single neurons and sets cost, and how well first order does."""
    effects = made.value
    per_token = effects.per_token()
    tokens = effects.tokens.sum(axis=1)
    costs = effects.nll.sum(axis=1) / tokens
    rows = []
    for k, code in enumerate(effects.languages):
        most = int(np.argmax(per_token[k]))
        where = ":".join(map(str, layout.address(effects.widths, most)))
        rows.append((code, int(tokens[k]), f"{costs[k]:.4g}", where, f"{per_token[k, most]:+.3g}"))
    heads = ("language", "tokens", "nats a token", "costliest neuron", "about")
    print(console.columns(heads, rows))
    if effects.tried is not None:
        print("-- first order against silencing single neurons, with intervals over neurons")
        agreed = [
            (
                f"{one.group}, at {one.where}",
                one.neurons,
                *map(_with_ends, (one.spearman, one.pearson, one.slope)),
            )
            for one in agreements(effects.tried)
        ]
        heads = ("neurons", "tried", "Spearman", "Pearson", "exact per nat estimated")
        print(console.columns(heads, agreed))
    if effects.splits:
        print("-- sets silenced: cost in nats a token of their own language's texts")
        sets = [
            (
                f"{split.setting} of {split.language}",
                len(split.positions),
                f"{split.costs.sum() / split.tokens.sum():+.4g}",
                f"{split.missing:+.2%}" if split.costs.sum() else None,
            )
            for split in effects.splits
        ]
        print(console.columns(("set", "neurons", "cost", "not in its parts"), sets))
    for note in made.facts.get("notes", []):
        print(f"note: {note}")
    print(f"wrote {made.folder}; next: langneurons identify {made.folder} --by effect --out ...")


def _with_ends(number: Estimate) -> str:
    """A number with its interval."""
    if np.isnan(number.value):
        return "-"
    return f"{number.value:.2f} [{number.low:.2f}, {number.high:.2f}]"
