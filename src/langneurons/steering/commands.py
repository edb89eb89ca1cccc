"""The command that tries what steering does: steer."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from langneurons import artifacts, console
from langneurons.config import ModelConfig, SteerConfig, cut, identity
from langneurons.console import Force, Json, Made, Quiet
from langneurons.errors import InputError
from langneurons.neurons.counts import Counts
from langneurons.neurons.means import Means
from langneurons.neurons.sets import counts_behind, notes_on_weights
from langneurons.neurons.table import Neurons
from langneurons.resume import Progress, State
from langneurons.steering.continuations import NOTHING, Continuations
from langneurons.tables import plain


def steer(
    model: str,
    neurons: Path,
    texts: str,
    /,
    *,
    out: Path,
    config: Annotated[SteerConfig, Parameter(name="*")] = SteerConfig(),
    means: Path | None = None,
    sources: str | None = None,
    targets: str | None = None,
    template: str | None = None,
    loading: Annotated[ModelConfig, Parameter(name="*")] = ModelConfig(),
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Made[Continuations]:
    """Steer a model from each language to each other; say how much of what it writes is in it.

    By the language's neurons, by a residual state, and by random neurons as a control; each
    strength is chosen on other prompts than those it is judged on.

    Parameters
    ----------
    model
        A folder, a PEFT adapter folder, a GGUF file or an id on the Hugging Face Hub.
    neurons
        Folder of neurons, of this model; those of another are refused unless --force.
    texts
        Running text, as for record, whose beginnings are gone on from, or questions, as for sample;
        in several languages, which are told apart by it.
    out
        Folder to write.
    config
        Settings.
    means
        Folder of counts of this model, recorded with --means [default: those that the neurons come
        from, found beside them].
    sources
        Languages of the prompts, as codes with commas [default: all of the texts].
    targets
        Languages steered to, as codes with commas [default: all of the texts and the neurons].
    template
        Makes prompts of questions: mathoctopus, plain, chat, or a text file [default: the model's
        chat template if it has one, or mathoctopus].
    loading
        How the model is loaded.
    """
    from langneurons.steering.prompts import texts_of
    from langneurons.steering.steer import languages
    from langneurons.steering.steer import steer as steered

    source = artifacts.read(neurons, Neurons.KIND)
    behind = counts_behind(source, means)
    if behind is None:
        raise InputError(f"{neurons}: give counts recorded with --means, as --means FOLDER")
    values, found = Means.of_counts(behind), Neurons.load(source)
    there = texts_of(texts)
    wanted = languages(there, found, values, console.codes(sources), console.codes(targets))
    _ = there.identifier  # languages that cannot be told apart load no model

    from langneurons.model.loading import load

    loaded = load(model, **asdict(loading))
    weights = behind.manifest["inputs"].get("model")
    notes = notes_on_weights(weights, loaded.fingerprint, force=force)

    def make(state: State, on_step: Progress | None) -> tuple[Continuations, Mapping[str, Any]]:
        made = steered(
            loaded,
            found,
            values,
            there,
            config,
            rates=Counts.load(behind).rates(),
            sources=wanted[0],
            targets=wanted[1],
            template=template,
            state=state,
            on_step=on_step,
        )
        return made, {"model": loaded.facts, "notes": notes}

    settings = {"sources": list(wanted[0]), "targets": list(wanted[1]), "template": template}
    made = console.made(
        Continuations,
        out,
        "steer",
        {**identity(config), **settings, "dtype": str(loaded.model.dtype)},
        {**there.digests, **loaded.inputs, "neurons": source.digest, "means": behind.digest},
        make,
        doing="steering",
        unit="continuations",
        cut=cut(config),
        force=force,
        quiet=quiet,
    )
    if json:
        console.print_json(_values(made))
    else:
        _print(made)
    return made


def _values(made: Made[Continuations]) -> dict[str, Any]:
    value = made.value
    return {
        "out": str(made.folder),
        "steered": plain(value.table().records()),
        "beyond": plain(value.contrast_table().records()),
        "doses": plain(value.doses().records()),
        "identified": value.identified,
        "notes": made.facts["notes"],
    }


def _print(made: Made[Continuations]) -> None:
    """Each way of steering, and what neurons reach beyond the others."""
    value = made.value
    print(
        "each half of the prompts steered as did best on the other half; share: of continuations "
        "in the target; cost: of the model as it is, in nats a token"
    )
    heads = ("from", "to", "steered", "by", "share", "95%", "distinct", "cost", "right", "score")
    rows = []
    for row in value.table().records():
        what = row["what"] if row["what"] != NOTHING else "nothing"
        steered = f"random {what}" if row["draw"] else what
        cells = [_two(row[name]) for name in ("distinct", "cost", "right", "score")]
        share = (_two(row["share"]), _range(row, "share"))
        rows.append((row["source"], row["target"], steered, row["variant"], *share, *cells))
    print(console.columns(heads, rows, left=4))
    if contrasts := value.contrast_table().records():
        print("-- what neurons reach beyond random ones, and beyond the state")
        cells = [
            (
                *(row[name] for name in ("source", "target", "what", "beyond")),
                *(_two(row["share"]), _range(row, "share")),
                *(_two(row["score"]), _range(row, "score")),
            )
            for row in contrasts
        ]
        heads = ("from", "to", "neurons", "beyond", "share", "95%", "score", "95%")
        print(console.columns(heads, cells, left=4))
    told = ", ".join(f"{code} {share:.1%}" for code, share in (value.identified or {}).items())
    print(f"languages are told by the texts, each without itself right of: {told}")
    for note in made.facts["notes"]:
        print(f"note: {note}")
    print(f"wrote {made.folder}")


def _two(number: float | None) -> str | None:
    return None if number is None else f"{number:.2f}"


def _range(row: Mapping[str, Any], name: str) -> str:
    low, high = _two(row[f"{name} low"]), _two(row[f"{name} high"])
    return "" if low is None else f"[{low}, {high}]"
