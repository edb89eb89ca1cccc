"""The command that measures what silencing costs: perplexity."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from langneurons import artifacts, console
from langneurons.config import ModelConfig, PerplexityConfig, TextConfig
from langneurons.console import Force, Json, Made, Quiet
from langneurons.neurons.counts import Counts
from langneurons.neurons.sets import counts_behind, notes_on_weights
from langneurons.neurons.table import Neurons
from langneurons.resume import Progress, State
from langneurons.silencing.losses import Losses
from langneurons.silencing.matrix import MEASURES, Matrices, matrices, words
from langneurons.tables import plain


def perplexity(
    model: str,
    neurons: Path,
    responses: Path,
    /,
    *,
    out: Path,
    config: Annotated[PerplexityConfig, Parameter(name="*")] = PerplexityConfig(),
    running: Annotated[TextConfig, Parameter(name="*")] = TextConfig(),
    counts: Path | None = None,
    languages: str | None = None,
    template: str | None = None,
    loading: Annotated[ModelConfig, Parameter(name="*")] = ModelConfig(),
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Made[Losses]:
    """Silence the neurons of each language in turn; measure what every language's texts then cost.

    Matched random sets of neurons are silenced too, as controls.

    Parameters
    ----------
    model
        A folder, a PEFT adapter folder, a GGUF file or an id on the Hugging Face Hub.
    neurons
        Folder of neurons, of this model; those of another are refused unless --force.
    responses
        Responses or running text, as for record.
    out
        Folder to write.
    config
        Settings.
    running
        How running text is read, and whether texts are perturbed.
    counts
        Folder of the counts that the neurons come from, to match random sets by activation rate
        [default: found beside the neurons; without any, random sets are matched per layer only].
    languages
        Languages to silence and to evaluate, as codes with commas
        [default: all that neurons and responses have in common].
    template
        Prompt for rows that hold a question and no prompt: mathoctopus, plain, chat, or a text file
        [default: the model's chat template if it has one, or mathoctopus].
    loading
        How the model is loaded.
    """
    from langneurons.model import reading
    from langneurons.model.loading import load
    from langneurons.silencing.perplexity import measured
    from langneurons.texts import running_text

    source = artifacts.read(neurons, Neurons.KIND)
    behind = counts_behind(source, counts)
    codes = console.codes(languages)
    running_text.require(responses)  # before a model is loaded for nothing

    loaded = load(model, **asdict(loading))
    found_on = source.manifest["facts"].get("model")
    if found_on is None and behind:
        found_on = behind.manifest["inputs"].get("model")
    notes = notes_on_weights(found_on, loaded.fingerprint, force=force)
    texts = reading.read_whole(responses, loaded, running, languages=codes, template=template)
    inputs = {
        **texts.digests,
        **loaded.inputs,
        "neurons": source.digest,
    }
    if behind:
        inputs["counts"] = behind.digest

    def make(state: State, on_step: Progress | None) -> tuple[Losses, Mapping[str, Any]]:
        losses, facts = measured(
            loaded,
            Neurons.load(source),
            texts.responses,
            config,
            languages=codes,
            rates=Counts.load(behind).rates() if behind else None,
            state=state,
            on_step=on_step,
        )
        return losses, texts.result_facts(facts, loaded, notes)

    made = console.made(
        Losses,
        out,
        "perplexity",
        texts.result_settings(config, loaded, codes),
        inputs,
        make,
        doing="silencing",
        unit="tokens",
        force=force,
        quiet=quiet,
    )
    if json:
        _print_json(made, matrices(made.value))
    else:
        _print(made, matrices(made.value))
    return made


_DRAWN: tuple[Literal["median", "min", "max", "mean"], ...] = ("median", "min", "max", "mean")
"""How what random sets change is told."""

_JUDGED = tuple(measure for measure in MEASURES if measure != "bits per byte")
"""Measures of which it is said whether the changes lie on the diagonal."""


def _print_json(made: Made[Losses], of_losses: Matrices) -> None:
    """Every matrix, and whether its changes lie on the diagonal, as one JSON object."""
    shown = []
    for (setting, measure), matrix in of_losses.items():
        numbers = {
            name: plain(getattr(matrix, name).tolist())
            for name in ("before", "change", "low", "high", "percentile")
        }
        random = {how: plain(matrix.drawn(how).tolist()) for how in _DRAWN}
        neurons = matrix.neurons.tolist()
        shown.append({"setting": setting, "measure": measure, "neurons": neurons, **numbers})
        shown[-1]["random sets"] = random
    verdicts = [
        plain(of_losses.dominance(setting, measure)._asdict())
        for setting in of_losses.settings
        for measure in _JUDGED
    ]
    console.print_json(
        {
            "out": str(made.folder),
            "verdicts": verdicts,
            "matrices": shown,
            "facts": made.facts,
        }
    )


def _print(made: Made[Losses], of_losses: Matrices) -> None:
    """What silencing costs every language, and whether it costs most on the diagonal."""
    languages = of_losses.languages
    before = of_losses[of_losses.settings[0], "difference"].before
    unsilenced = ("nothing silenced", *(f"{value:.4g}" for value in before))
    print(console.columns(("perplexity", *languages), [unsilenced]))
    for setting in of_losses.settings:
        print(f"-- {setting} silenced: change in perplexity; *: more than every random set")
        print(console.columns(("silenced", "", *languages), _rows(of_losses, setting)))
        if of_losses.losses.controls:
            print("-- beside its random sets: change of the language's own perplexity")
            heads = ("silenced", "own neurons", *(f"random sets: {_DRAWN[0]}", *_DRAWN[1:]))
            print(console.columns(heads, _beside(of_losses, setting)))
    for setting in of_losses.settings:
        for measure in _JUDGED:
            print(f"{setting}, {measure}: {words(of_losses.dominance(setting, measure))}")
    print(f"random sets were matched {made.facts['controls matched']}")
    if sinks := made.facts.get("sinks"):
        print(f"sinks, which act at the first token most of all: {'; '.join(map(_of_sink, sinks))}")
    for note in made.facts.get("notes", []):
        print(f"note: {note}")
    print(f"wrote {made.folder}; next: langneurons report {made.folder.parent}")


def _of_sink(sink: Mapping[str, Any]) -> str:
    """A sink, and which sets silence it at the first token too."""
    own = {of["silenced"]: None for of in sink["sets"] if not of["draw"]}
    drawn = {of["silenced"]: None for of in sink["sets"] if of["draw"]}
    where = [f"among {', '.join(own)}'s own"] if own else []
    where += [f"in random sets of {', '.join(drawn)}"] if drawn else []
    name = f"{sink['layer']}:{sink['neuron']}"
    return f"{name} ({' and '.join(where)})" if where else name


def _beside(of_losses: Matrices, setting: str) -> list[tuple[str | None, ...]]:
    """What silencing each language's neurons, and random sets, changes in its own perplexity."""
    matrix = of_losses[setting, "difference"]
    own = [matrix.change, *(matrix.drawn(how) for how in _DRAWN)]
    return [
        (code, *(f"{change[row, row]:+.3g}" if neurons else None for change in own))
        for row, (code, neurons) in enumerate(zip(matrix.languages, matrix.neurons, strict=True))
    ]


def _rows(of_losses: Matrices, setting: str) -> list[tuple[str | None, ...]]:
    """What silencing each language's neurons changes in every language's perplexity."""
    matrix = of_losses[setting, "difference"]
    rows: list[tuple[str | None, ...]] = []
    for code, neurons, changes, shares in zip(
        matrix.languages, matrix.neurons, matrix.change, matrix.percentile, strict=True
    ):
        if not neurons:
            rows.append((code, "empty: not run", *[None] * len(changes)))
            continue
        cells = [
            f"{change:+.3g}{'*' if share == 1 else ' '}"
            for change, share in zip(changes, shares, strict=True)
        ]
        rows.append((code, f"{neurons:,} neurons", *cells))
    return rows
