"""Commands of neurons: record, import, merge, identify, export. Only record runs a model."""

import json as jsonlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from langneurons import artifacts, console, resume
from langneurons.config import (
    IdentifyConfig,
    ModelConfig,
    RecordConfig,
    TextConfig,
    VectorConfig,
    changed,
    cut,
    identity,
    listed,
)
from langneurons.console import Force, Json, Made, Quiet
from langneurons.errors import InputError, MismatchError
from langneurons.neurons.checkpoint import Checkpoint
from langneurons.neurons.counts import Counts
from langneurons.neurons.effects import Effects
from langneurons.neurons.sets import notes_on_weights, require_fit, select
from langneurons.neurons.table import Neurons
from langneurons.neurons.vector import Vector
from langneurons.tables import plain


def import_(
    tool: Literal["njunlp", "lape"],
    path: Path,
    /,
    *,
    out: Path,
    languages: str | None = None,
    width: int | None = None,
    force: Force = False,
    json: Json = False,
) -> Made[Counts] | Made[Neurons]:
    """Take over other tools' files: a folder of activation counts, or a mask, of NJUNLP or LAPE.

    Parameters
    ----------
    tool
        Whose files they are.
    path
        A folder of activation.<language>.<model>.pt files, or LAPE's
        activation.<language>.train.<model>, gives counts; a mask file gives neurons.
    out
        Folder to write.
    languages
        Languages to import, in order, as codes with commas; for a mask, the languages of its lists.
    width
        Neurons per layer, for a mask (a mask does not say).
    """
    from langneurons.neurons import other_tools

    codes = console.codes(languages)
    settings = {"tool": tool, "languages": codes, "width": width}
    lape = tool == "lape"

    def mask(*_: object) -> tuple[Neurons, dict[str, Any]]:
        default = other_tools.LAPE_LANGUAGES if lape else other_tools.NJUNLP_LANGUAGES
        neurons, assumed = other_tools.import_mask(path, codes, width, default)
        return neurons, {"languages taken without being named": assumed}

    def counts(*_: object) -> tuple[Counts, dict[str, Any]]:
        take_over = other_tools.import_lape if lape else other_tools.import_njunlp
        imported, found = take_over(path, codes)
        return imported, {"import": [row._asdict() for row in found]}

    how: dict[str, Any] = {"doing": "importing", "force": force, "quiet": True}
    if path.is_file():
        inputs = {path.name: artifacts.file_digest(path)}
        made_mask = console.made(Neurons, out, "import", settings, inputs, mask, **how)
        _tell_mask(made_mask, json)
        return made_mask
    files = other_tools.lape_files(path) if lape else other_tools.njunlp_files(path)
    inputs = {file.name: artifacts.file_digest(file) for file in files}
    made_counts = console.made(Counts, out, "import", settings, inputs, counts, **how)
    _tell_imported(made_counts, json, has_prompts=not lape)
    return made_counts


def merge(*counts: Path, out: Path, force: Force = False, json: Json = False) -> Made[Counts]:
    """Add up counts: the shards of one recording, or recordings of one model.

    These may be of other questions or languages.

    Parameters
    ----------
    counts
        Folders of counts.
    out
        Folder to write.
    """
    from langneurons.neurons.counts import merge as add

    if len(counts) < 2:
        raise InputError("merge needs at least two folders of counts")
    sources = [artifacts.read(folder, Counts.KIND) for folder in counts]
    inputs = {f"counts {i + 1}": source.digest for i, source in enumerate(sources)}
    _require_same_model(sources)

    def make(*_: object) -> tuple[Counts, dict[str, Any]]:
        total = add(Counts.load(source) for source in sources)
        tokens = dict(zip(total.languages, total.tokens.sum(axis=1).tolist(), strict=True))
        merged = [dict(source.manifest["facts"]) for source in sources]
        notes = dict.fromkeys(note for facts in merged for note in facts.get("notes", ()))
        return total, {"tokens": tokens, "merged": merged, "notes": list(notes)}

    made = console.made(
        Counts, out, "merge", {}, inputs, make, doing="merging", force=force, quiet=True
    )
    _tell_recorded(made, json)
    return made


def identify(
    counts: Path,
    /,
    *,
    out: Path,
    by: Literal["rate", "effect"] | None = None,
    against: Path | None = None,
    config: Annotated[IdentifyConfig, Parameter(name="*")] = IdentifyConfig(),
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Made[Neurons]:
    """Classify neurons as language-specific, language-related or general.

    Parameters
    ----------
    counts
        Folder of counts, or of effects.
    out
        Folder to write.
    by
        Whether neurons are classified by how often they fire (rate, from counts) or by what
        silencing them would cost (effect, from effects) [default: whichever the folder holds].
    against
        With effects: folder of neurons of the same model found by rate, to say how far both agree.
    config
        Settings.
    """
    kinds = {"rate": (Counts.KIND,), "effect": (Effects.KIND,), None: (Counts.KIND, Effects.KIND)}
    source = artifacts.read(counts, *kinds[by])
    kind = source.manifest["kind"]
    inputs = {kind: source.digest}
    beside = None
    if against is not None:
        if kind != Effects.KIND:
            raise InputError(f"{counts} holds counts; --against is for neurons found by effect")
        beside = artifacts.read(against, Neurons.KIND)
        inputs["neurons"] = beside.digest

    def make(_: resume.State, on_step: resume.Progress | None) -> tuple[Neurons, dict[str, Any]]:
        from langneurons.neurons.agreement import unavailable
        from langneurons.neurons.identify import identify as identified
        from langneurons.neurons.matches import matches

        facts: dict[str, Any] = {"model": source.manifest["inputs"].get("model")}
        if kind == Effects.KIND:
            effects = Effects.load(source)
            facts["blocks"] = effects.blocks
            neurons = identified(effects, config, on_step=on_step)
            if beside:
                matched = matches(Neurons.load(beside), neurons, effects)
                facts["against"] = plain([match._asdict() for match in matched])
        else:
            held = Counts.load(source)
            facts["blocks"] = held.blocks
            neurons = identified(held, config, on_step=on_step)
            facts["agreement unavailable"] = unavailable(held)
        return neurons, facts | {"notes": source.manifest["facts"].get("notes", [])}

    made = console.made(
        Neurons,
        out,
        "identify",
        identity(config),
        inputs,
        make,
        doing="resampling",
        force=force,
        quiet=quiet,
    )
    _tell_neurons(made, json)
    return made


def export(
    tool: Literal["njunlp", "lape", "checkpoint", "vector"],
    source: str,
    neurons: str | None = None,
    /,
    *,
    out: Path,
    kinds: str = "specific,related",
    languages: str | None = None,
    steer: Annotated[VectorConfig, Parameter(name="*")] = VectorConfig(),
    loading: Annotated[ModelConfig, Parameter(name="*")] = ModelConfig(),
    force: Force = False,
    json: Json = False,
) -> Made[Checkpoint] | Made[Vector] | None:
    """Write a mask for NJUNLP's or LAPE's code, a model with neurons silenced for good, or a
    steering vector.

    export njunlp|lape NEURONS: a mask; a JSON file beside it names its languages, widths and rule.
    export checkpoint MODEL NEURONS: the model, with tokenizer and a card, for any engine.
    export vector MODEL NEURONS|state:5 --to th: what is added to states, as safetensors and as a
    control vector of llama.cpp.

    Parameters
    ----------
    tool
        Whose code shall read a mask; both read the same type. Or checkpoint, or vector.
    source
        Folder of neurons; with checkpoint and vector a model: a folder, a PEFT adapter folder, a
        GGUF file or an id on the Hugging Face Hub.
    neurons
        With checkpoint and vector: folder of neurons of this model; those of another are refused
        unless --force. With vector also a residual state, as state:5.
    out
        File to write; with checkpoint and vector a folder.
    kinds
        Kinds to export, silence or steer, with commas.
    languages
        With checkpoint: languages whose neurons are silenced, as codes with commas [default: all].
    steer
        With vector: how is steered.
    loading
        With checkpoint and vector: how the model is loaded.
    """
    words = listed(kinds)
    if tool != "vector" and (given := changed(steer)):
        raise InputError(f"--{next(iter(given))} is for export vector, not for export {tool}")
    if tool in ("checkpoint", "vector") and neurons is None:
        raise InputError(f"export {tool} needs a model and its neurons: MODEL NEURONS --out")
    if tool == "vector":
        vector = _vector(source, str(neurons), out, kinds, steer, loading=loading, force=force)
        _tell_vector(vector, json)
        return vector
    if tool == "checkpoint":
        made = _checkpoint(
            source,
            Path(str(neurons)),
            out,
            kinds=words,
            languages=console.codes(languages),
            loading=loading,
            force=force,
        )
        if json:
            console.print_json({"out": str(made.folder), **made.facts})
            return made
        _tell_notes(made.facts)
        print(f"wrote {out}: {made.facts['silenced']:,} neurons silenced for good")
        return made
    if neurons is not None or languages is not None:
        raise InputError(f"export {tool} takes a folder of neurons alone, and no --languages")
    _mask(tool, Path(source), out, words, json=json)
    return None


def _mask(tool: str, neurons: Path, out: Path, kinds: tuple[str, ...], *, json: bool) -> None:
    """Write a mask, and beside it what it holds."""
    from langneurons.neurons.other_tools import export_mask

    if out.is_dir():
        raise InputError(f"--out {out} is a folder; a mask is a file, such as {out}/mask.pt")
    mask, beside = export_mask(Neurons.load(neurons), kinds)
    artifacts.write_file(out.with_name(out.name + ".json"), beside)
    artifacts.write_file(out, mask)
    memberships = jsonlib.loads(beside)["memberships"]
    if json:
        console.print_json({"out": str(out), "tool": tool, "memberships": memberships})
        return
    print(_listed(memberships, between="  "))
    print(f"wrote {out} (torch.load opens it with weights_only=True) and {out.name}.json")


def _checkpoint(
    model: str,
    neurons: Path,
    out: Path,
    *,
    kinds: tuple[str, ...],
    languages: tuple[str, ...] | None,
    loading: ModelConfig,
    force: bool,
) -> Made[Checkpoint]:
    """Write a model with neurons silenced for good.

    Raises:
        InputError: when there is no such neuron.
        MismatchError: for neurons of another model.
    """
    from langneurons.model.loading import load
    from langneurons.neurons.checkpoint import card, silenced_for_good

    beside = artifacts.read(neurons, Neurons.KIND)
    chosen = Neurons.load(beside)
    chosen.of(*(languages or ()), kinds=kinds)  # before a model is loaded for nothing
    loaded = load(model, **asdict(loading))
    require_fit(chosen, loaded.widths)
    found_on = beside.manifest["facts"].get("model")
    notes = notes_on_weights(found_on, loaded.fingerprint, force=force)
    positions = select(chosen, loaded.widths, kinds, languages)
    if not len(positions):
        what = f"{', '.join(kinds)} neuron of {', '.join(languages or chosen.languages)}"
        raise InputError(f"{neurons} has no {what}, so there is nothing to silence")
    settings = {
        "kinds": list(kinds),
        "languages": languages,
        "dtype": str(loaded.model.dtype),
    }
    inputs = {**loaded.inputs, "neurons": beside.digest}
    merged = hasattr(loaded.model, "merge_and_unload")

    def make(*_: object) -> tuple[Checkpoint, dict[str, Any]]:
        said = card(
            model,
            positions,
            loaded.widths,
            kinds=kinds,
            languages=languages or chosen.languages,
            merged=merged,
        )
        facts = {"silenced": len(positions), "notes": notes, "model": loaded.facts}
        return Checkpoint(said, silenced_for_good(loaded, positions)), facts

    return console.made(
        Checkpoint,
        out,
        "export",
        settings,
        inputs,
        make,
        doing="exporting",
        force=force,
        quiet=True,
    )


def _vector(
    model: str,
    what: str,
    out: Path,
    kinds: str,
    steer: VectorConfig,
    *,
    loading: ModelConfig,
    force: bool,
) -> Made[Vector]:
    """Write what steers a model as vectors.

    Raises:
        InputError: see `neurons.steering.by_name`.
        SiteError: where neurons steered are no vector.
        MismatchError: for neurons or means of another model.
    """
    from langneurons.model.loading import load
    from langneurons.neurons.steering import by_name
    from langneurons.neurons.vector import vector_of

    if steer.to is None:
        raise InputError(f"export vector {what}: say to which language it steers, with --to")
    named = by_name(
        what,
        steer.means,
        kinds,
        to=steer.to,
        source=steer.source,
        by="diffmean",
        strength=steer.strength,
    )
    loaded = load(model, **asdict(loading))
    notes = named.fit(loaded, force=force)

    def make(*_: object) -> tuple[Vector, dict[str, Any]]:
        vector = vector_of(loaded, named.steering)
        told = [*notes, *filter(None, [vector.why_no_gguf])]
        return vector, {"steers": named.told, "notes": told, "model": loaded.facts}

    return console.made(
        Vector,
        out,
        "export",
        {**named.settings, "dtype": str(loaded.model.dtype)},
        {**named.inputs, **loaded.inputs},
        make,
        doing="exporting",
        force=force,
        quiet=True,
    )


def _tell_vector(made: Made[Vector], json: bool) -> None:
    """What was written."""
    states = list(made.value.states)
    if json:
        console.print_json({"out": str(made.folder), "states": states, **made.facts})
        return
    print(made.facts["steers"])
    _tell_notes(made.facts)
    files = Vector.FILE if made.value.why_no_gguf else f"{Vector.FILE} and {Vector.GGUF}"
    print(f"wrote {files} to {made.folder}: added to state {', '.join(map(str, states))}")


def record(
    model: str,
    responses: Path,
    /,
    *,
    out: Path,
    config: Annotated[RecordConfig, Parameter(name="*")] = RecordConfig(),
    text: Annotated[TextConfig, Parameter(name="*")] = TextConfig(),
    languages: str | None = None,
    template: str | None = None,
    drop: str | None = None,
    loading: Annotated[ModelConfig, Parameter(name="*")] = ModelConfig(),
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Made[Counts]:
    """Count how often each neuron of a model is active on the tokens of responses or running text.

    Counts are kept per language and block of questions, or of documents.

    Parameters
    ----------
    model
        A folder, a PEFT adapter folder, a GGUF file or an id on the Hugging Face Hub.
    responses
        A responses.jsonl, a folder that holds one, or a folder of <language>.jsonl; or running
        text: a folder of <language>.txt, of <language>/*.txt or of <language>.jsonl with a column
        text, one such file, a data set of the Hub with a column text, nano-problems, nano-stories.
    out
        Folder to write.
    config
        Settings.
    text
        How running text is read, and whether texts are perturbed.
    languages
        Languages to record, in order, as codes with commas [default: all there are].
    template
        Prompt for rows that hold a question and no prompt: mathoctopus, plain, chat, or a text file
        [default: the model's chat template if it has one, or mathoctopus].
    drop
        What is not counted besides empty texts: repetition, wrong-script, with commas; of running
        text also wrong-language.
    loading
        How the model is loaded.
    """
    from langneurons.texts import running_text

    codes = console.codes(languages)
    running_text.require(responses, codes)  # before a model is loaded for nothing

    from langneurons.model import reading
    from langneurons.model.loading import load
    from langneurons.neurons.record import recorded

    loaded = load(model, **asdict(loading))
    texts = reading.read(
        responses, loaded, text, languages=codes, template=template, drop=_flaws(drop)
    )
    settings = texts.result_settings(config, loaded, codes) | {"drop": drop}
    inputs = {**texts.digests, **loaded.inputs}

    def make(state: resume.State, on_step: resume.Progress | None) -> tuple[Counts, dict[str, Any]]:
        counts, facts = recorded(
            loaded,
            texts.responses,
            config,
            languages=codes,
            gone=texts.gone,
            state=state,
            on_step=on_step,
        )
        facts["notes"] += _few_documents(texts.facts["gates"], config.blocks)
        return counts, texts.result_facts(facts, loaded)

    made = console.made(
        Counts,
        out,
        "record",
        settings,
        inputs,
        make,
        doing="recording",
        unit="tokens",
        cut=cut(config),
        force=force,
        quiet=quiet,
    )
    rank, _ = resume.processes()
    if rank == 0:
        _tell_recorded(made, json)
    return made


def _flaws(drop: str | None) -> tuple[Any, ...]:
    """The flaws in a list with commas, as `flaws` calls them."""
    return tuple(word.strip().replace("-", " ") for word in drop.split(",")) if drop else ()


def _few_documents(gates: Sequence[Mapping[str, Any]], blocks: int) -> list[str]:
    """A note on languages whose running text has too few documents to be resampled well."""
    few = {gate["lang"]: gate["kept"] for gate in gates if gate.get("documents", blocks) < blocks}
    if not few or blocks == 1:
        return []
    return [
        f"fewer documents than the {blocks} blocks in {_listed(few)}: intervals mean little; say "
        "what a document is with --documents, or add some"
    ]


def _require_same_model(sources: Sequence[artifacts.Artifact]) -> None:
    """Stop when counts that know their model are of different ones.

    Raises:
        MismatchError: naming two folders and their models.
    """
    models = {source.folder: source.manifest["inputs"].get("model") for source in sources}
    known = [(folder, model) for folder, model in models.items() if model is not None]
    for folder, model in known[1:]:
        first_folder, first_model = known[0]
        if model != first_model:
            raise MismatchError(
                f"these counts are of different models: weights {first_model[:12]} in "
                f"{first_folder}, {model[:12]} in {folder}"
            )


def _tell_imported(made: Made[Counts], json: bool, *, has_prompts: bool) -> None:
    """What an import of counts found; those of LAPE have no prompt to take away."""
    languages = made.facts["import"]
    if json:
        console.print_json({"out": str(made.folder), "languages": languages})
        return
    columns = {
        "language": "language",
        "tokens": "tokens",
        "below prompt alone": "negative",
        "above its tokens": "above_one",
    }
    if not has_prompts:
        del columns["below prompt alone"]
    rows = [[row[name] for name in columns.values()] for row in languages]
    print(console.columns(tuple(columns), rows))
    if has_prompts:
        print("below prompt alone: neurons whose response count came out negative; set to 0")
    _tell_next(made.folder)


def _tell_recorded(made: Made[Counts], json: bool) -> None:
    """What was counted: tokens per language, what was wrong with responses, what was left out."""
    from langneurons.texts.languages import strangers

    facts = made.facts
    if json:
        console.print_json({"out": str(made.folder), **facts})
        return
    gates = {gate["lang"]: gate for gate in facts.get("gates", [])}
    names = [name for name in next(iter(gates.values()), {}) if name != "lang"]
    heads = ("language", "tokens", *(name.replace("_", " ") for name in names))
    rows = [
        (code, tokens, *(gates[code][name] for name in names))
        for code, tokens in facts["tokens"].items()
    ]
    print(console.columns(heads, rows))
    if unknown := strangers(facts["tokens"]):
        print(unknown)
    _tell_documents(facts)
    if long := facts.get("longer than the context"):
        print(
            f"longer than the context of {long['context']:,} tokens and not counted: "
            f"{_listed(long['responses'])} (first: {', '.join(long['first'][:3])})"
        )
    if empty := facts.get("without a token to count"):
        print(f"without a token to count: {_listed(empty)}")
    if halved := facts.get("batches halved for want of memory"):
        print(f"batches halved for want of memory: {halved}; a smaller --budget saves the attempt")
    _tell_notes(facts)
    _tell_next(made.folder)


def _tell_documents(facts: Mapping[str, Any]) -> None:
    """Of running text: what a document is, and which are not in the language they stand in."""
    if unit := facts.get("documents are"):
        print(f"documents are {unit}")
    if others := facts.get("in another language"):
        dropped, number = others["dropped"], others["number"]
        print(
            f"{number:,} document{' is' if number == 1 else 's are'} in another language, by the "
            "others here: "
            f"{', '.join(others['first'])}; "
            + ("left out" if dropped else "--drop wrong-language leaves such out")
        )


def _tell_notes(facts: Mapping[str, Any]) -> None:
    for note in facts.get("notes", ()):
        print(f"note: {note}")


def _tell_next(folder: Path) -> None:
    print(f"wrote {folder}; next: langneurons identify {folder} --out {folder.parent / 'neurons'}")


def _tell_mask(made: Made[Neurons], json: bool) -> None:
    """What an import of a mask found."""
    neurons = made.value
    assumed = made.facts["languages taken without being named"]
    memberships = dict(zip(neurons.languages, neurons.member.sum(axis=0).tolist(), strict=True))
    if json:
        console.print_json(
            {"out": str(made.folder), "memberships": memberships, "assumed": assumed}
        )
        return
    print(_listed(memberships, between="  "))
    if assumed:
        print(
            f"its lists were taken to be {','.join(assumed)}, as in the released masks; "
            "--languages says otherwise"
        )
    print(f"wrote {made.folder} ({len(neurons):,} neurons); next: langneurons report {made.folder}")


def _tell_neurons(made: Made[Neurons], json: bool) -> None:
    """What was identified."""
    from langneurons.neurons import summary

    out, neurons = made.folder, made.value
    if json:
        against = {name: made.facts[name] for name in ("against",) if name in made.facts}
        console.print_json({"out": str(out)} | summary.values(neurons) | against)
        return
    print("\n".join(summary.lines(neurons)))
    if "against" in made.facts:
        _tell_matches(made.facts["against"])
    if reason := made.facts.get("agreement unavailable"):
        print(f"agreement unavailable: {reason}")
    _tell_notes(made.facts)
    print(f"wrote {out} ({len(neurons):,} neurons); next: langneurons report {out.parent}")


def _tell_matches(matches: Sequence[Mapping[str, Any]]) -> None:
    """How far neurons by effect are those by rate."""

    def ends(number: Sequence[float] | None) -> str | None:
        if number is None or number[0] is None:
            return None
        return f"{number[0]:.2f} [{number[1]:.2f}, {number[2]:.2f}]"

    print(
        "-- neurons by rate (of --against) and by effect. precision: share of those by rate that "
        "are so by effect;\n   recall: the other way round; chance: precision of a random set"
    )
    heads = ("kind", "language", "by rate", "by effect", "both", "precision", "recall", "chance")
    rows = [
        (
            *(match[name] for name in ("kind", "language", "by_rate", "by_effect", "both")),
            ends(match["precision"]),
            ends(match["recall"]),
            f"{match['chance']:.3f}",
            ends(match["correlation"]),
        )
        for match in matches
    ]
    print(console.columns((*heads, "rank correlation"), rows, left=2))


def _listed(counts: Mapping[str, int], between: str = ", ") -> str:
    return between.join(f"{code} {n:,}" for code, n in counts.items())
