"""Commands that say where a model's states are of meaning, and where of language: meaning, lens."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter

from langneurons import console
from langneurons.config import LensConfig, MeaningConfig, ModelConfig, identity
from langneurons.console import Force, Json, Made, Quiet
from langneurons.meaning.lens_table import Lens
from langneurons.meaning.measures import HIDDEN, RATES, Meaning, measures, pivot_of
from langneurons.meaning.sentences import Sentences, parallel
from langneurons.resume import Progress, State
from langneurons.tables import Cell
from langneurons.texts import running_text
from langneurons.texts.running_text import Document


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


def lens(
    model: str,
    texts: Path,
    /,
    *,
    out: Path,
    config: Annotated[LensConfig, Parameter(name="*")] = LensConfig(),
    known: tuple[Path, ...] = (),
    languages: str | None = None,
    loading: Annotated[ModelConfig, Parameter(name="*")] = ModelConfig(),
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Made[Lens]:
    """What a model would say at each layer: in which language, and is it what the sentence says?

    Parameters
    ----------
    model
        A folder, a PEFT adapter folder, a GGUF file or an id on the Hugging Face Hub.
    texts
        The same sentences in several languages, as for meaning.
    out
        Folder to write.
    config
        Settings.
    known
        Texts from which follows which language a token is of, once or several times; not those
        that are measured, and not parallel [default: the sentences after the first --take].
    languages
        Languages to read, in order, as codes with commas [default: all there are].
    loading
        How the model is loaded.
    """
    codes = console.codes(languages)
    there = running_text.read(texts, codes, delimited="lines")
    measured, rest = _apart(there.documents, config.take)
    sentences = parallel(measured, codes)
    digests = dict(there.digests)
    if known:
        rest = []
        for source in known:
            others = running_text.read(source, sentences.languages, delimited="lines")
            rest += others.documents
            digests |= {f"known {source}: {file}": own for file, own in others.digests.items()}
    of_language = _known(rest, sentences)

    from langneurons.meaning.lens import lens as looked
    from langneurons.meaning.token_languages import token_languages
    from langneurons.model.head import Head
    from langneurons.model.loading import load

    loaded = load(model, **asdict(loading))
    vocabulary = Head(loaded.model).module.weight.shape[0]
    tokens = token_languages(loaded.tokenizer, of_language, vocabulary)

    def make(state: State, on_step: Progress | None) -> tuple[Lens, Mapping[str, Any]]:
        made = looked(loaded, sentences, tokens, config, state=state, on_step=on_step)
        known_tokens = dict(zip(tokens.languages, tokens.tokens.tolist(), strict=True))
        return made, {"model": loaded.facts, "known tokens": known_tokens}

    made = console.made(
        Lens,
        out,
        "lens",
        {**identity(config), "languages": codes, "dtype": str(loaded.model.dtype)},
        {**digests, **loaded.inputs},
        make,
        doing="looking",
        unit="positions",
        force=force,
        quiet=quiet,
    )
    if json:
        console.print_json(_shown(made))
    else:
        _print_lens(made)
    return made


def _apart(documents: Sequence[Document], take: int) -> tuple[list[Document], list[Document]]:
    """The first so many documents of each language, and the others."""
    seen: Counter[str] = Counter()
    first: list[Document] = []
    rest: list[Document] = []
    for document in documents:
        seen[document.lang] += 1
        (first if seen[document.lang] <= take else rest).append(document)
    return first, rest


def _known(documents: Sequence[Document], sentences: Sentences) -> dict[str, list[str]]:
    """The texts of each language that are not measured."""
    measured = {text for texts in sentences.texts for text in texts}
    of_language: dict[str, list[str]] = {code: [] for code in sentences.languages}
    for document in documents:
        if document.lang in of_language and document.text not in measured:
            of_language[document.lang].append(document.text)
    return of_language


def _shown(made: Made[Lens]) -> dict[str, Any]:
    value = made.value
    return {
        "out": str(made.folder),
        "states": value.table().records(),
        "leads from": value.lead_table().records(),
        "latent": value.latent_table().records(),
        "uniform": dict(zip(value.known, value.uniform.tolist(), strict=True)),
        "notes": value.notes,
    }


def _print_lens(made: Made[Lens]) -> None:
    """Own and English at every state, the lead, and latent translation where it can be read."""
    value = made.value
    rows = value.table().records()
    print(
        "share of the known mass, own language / English; *: too far from the final layer to read"
    )
    cells = []
    for state in range(value.states):
        here = {row["language"]: row for row in rows if row["state"] == state}
        mark = "" if value.readable[state] else "*"
        shares = [_of_lens(here[code]) for code in value.languages]
        cells.append((f"{state}{mark}", f"{value.divergence[state]:.1f}", *shares))
    print(console.columns(("state", "nats", *value.languages), cells, left=0))
    uniform = ", ".join(
        f"{code} {share:.3f}" for code, share in zip(value.known, value.uniform, strict=True)
    )
    print(f"where all known tokens are as likely: {uniform}")
    print("-- own language leads English for good from state")
    for row in value.lead_table().records():
        ends = ", ".join(_state(row[end]) for end in ("low", "high"))
        print(f"{row['language']}  {_state(row['state'])} [{ends}]")
    last = int(np.flatnonzero(value.readable)[0])
    latent = [row for row in value.latent_table().records() if row["state"] >= last]
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for row in latent:
        pair = row["language"], row["pivot"]
        if pair not in best or row["mass"] > best[pair]["mass"]:
            best[pair] = row
    print(
        "-- words of the translation, most mass per word x 10,000 beyond other sentences' (above)"
    )
    heads = ("language", *value.languages)
    table = [
        (code, *(_latent(best.get((code, pivot))) for pivot in value.languages))
        for code in value.languages
    ]
    print(console.columns(heads, table))
    for note in value.notes:
        print(f"note: {note}")
    print(f"wrote {made.folder}")


def _of_lens(row: Mapping[str, Any]) -> str:
    english = "" if row["English"] is None else f" / {row['English']:.2f}"
    return f"{row['own']:.2f}{english}"


def _state(value: int | None) -> str:
    return "never" if value is None else str(value)


def _latent(row: Mapping[str, Any] | None) -> str | None:
    return None if row is None else f"{row['mass']:.1f} ({row['above']:.2f})"


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
