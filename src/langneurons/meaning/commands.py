"""The command that says where a model's states are of meaning, and where of language: meaning."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from langneurons import console
from langneurons.config import MeaningConfig, ModelConfig, identity
from langneurons.console import Force, Json, Made, Quiet
from langneurons.meaning.measures import HIDDEN, RATES, Meaning, measures, pivot_of
from langneurons.resume import Progress, State
from langneurons.tables import Cell


def meaning(
    model: str,
    texts: Path,
    /,
    *,
    out: Path,
    config: Annotated[MeaningConfig, Parameter(name="*")] = MeaningConfig(),
    languages: str | None = None,
    loading: Annotated[ModelConfig, Parameter(name="*")] = ModelConfig(),
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Made[Meaning]:
    """Where a model's states are of what a sentence means, and where of its language.

    The same sentences are read in every language, one by one.

    Parameters
    ----------
    model
        A folder, a PEFT adapter folder, a GGUF file or an id on the Hugging Face Hub.
    texts
        The same sentences in several languages: a JSONL file, or a folder of <language>.jsonl, of
        rows with id and text; a folder of <language>.txt, a sentence a line; or a data set of the
        Hub, as for record.
    out
        Folder to write.
    config
        Settings.
    languages
        Languages to read, in order, as codes with commas [default: all there are].
    loading
        How the model is loaded.
    """
    from langneurons.meaning.sentences import parallel
    from langneurons.texts import running_text

    codes = console.codes(languages)
    there = running_text.read(texts, codes, delimited="lines", take=config.take)
    sentences = parallel(there.documents, codes)
    pivot_of(sentences.languages, config.pivot)  # before a model is loaded for nothing

    from langneurons.meaning.pooled import pooled
    from langneurons.model.loading import load

    loaded = load(model, **asdict(loading))

    def make(state: State, on_step: Progress | None) -> tuple[Meaning, Mapping[str, Any]]:
        states = pooled(loaded, sentences, state=state, on_step=on_step)
        made = measures(states, sentences.languages, config, notes=sentences.notes)
        return made, {"model": loaded.facts}

    made = console.made(
        Meaning,
        out,
        "meaning",
        {**identity(config), "languages": codes, "dtype": str(loaded.model.dtype)},
        {**there.digests, **loaded.inputs},
        make,
        doing="reading",
        unit="tokens",
        force=force,
        quiet=quiet,
    )
    if json:
        console.print_json(_values(made))
    else:
        _print(made)
    return made


def _values(made: Made[Meaning]) -> dict[str, Any]:
    value = made.value
    return {
        "out": str(made.folder),
        "languages": value.languages,
        "pivot": value.pivot,
        "sentences": value.sentences,
        "places": value.places.records(),
        "pairs": value.pairs.records(),
        "beyond the surface": value.beyond_surface,
        "notes": value.notes,
    }


def _print(made: Made[Meaning]) -> None:
    """The shares, agreement and retrieval at every state and in every layer."""
    value = made.value
    print(
        f"{value.sentences:,} sentences in {', '.join(value.languages)}; translations: of "
        f"{value.pivot} with each other language, strict, chance 1/{value.sentences:,} at most"
    )
    for kind, what in ((HIDDEN, "state"), (RATES, "layer")):
        rows = value.of(kind)
        if not rows:
            continue
        name = "hidden states" if kind == HIDDEN else "rates of activation"
        print(f"-- {name}; MEXA: share of translations found, raw and standardised")
        heads = (
            *(what, "language", "meaning", "agreement", "95% interval", "shuffled"),
            *("MEXA raw", "MEXA std", "95% interval", "language told"),
        )
        cells = [
            (
                str(row["place"]),
                *(_three(row[name]) for name in ("language", "meaning", "agreement")),
                _ends(row, "agreement"),
                _three(row["shuffled"]),
                _three(row["raw"]),
                _three(row["standardised"]),
                _ends(row, "standardised"),
                _three(row["told"]),
            )
            for row in rows
        ]
        print(console.columns(heads, cells, left=0))
    if not value.beyond_surface:
        print(
            "no state finds more translations than state 0, the embedding, which knows the surface "
            "alone: retrieval shows nothing of meaning in this model"
        )
    for note in value.notes:
        print(f"note: {note}")
    print(f"wrote {made.folder}")


def _three(value: Cell) -> str | None:
    return f"{value:.3f}" if isinstance(value, int | float) else None


def _ends(row: Mapping[str, Cell], name: str) -> str:
    low, high = (_three(row[f"{name} {end}"]) for end in ("low", "high"))
    return "" if low is None else f"[{low}, {high}]"
