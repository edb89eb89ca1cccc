"""Analyse: the commands that work on results: import, merge, identify, export. No model is run."""

import json as jsonlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from langneurons import artifacts, console, resume
from langneurons.config import IdentifyConfig, ModelConfig, RecordConfig
from langneurons.console import Force, Json, print_json
from langneurons.errors import InputError, MismatchError
from langneurons.neurons.table import Neurons


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
) -> None:
    """Take over other tools' files: a folder of NJUNLP activation counts, or a LAPE or NJUNLP mask.

    Parameters
    ----------
    tool
        Whose files they are.
    path
        A folder of activation.<language>.<model>.pt files gives counts; a mask file gives neurons.
    out
        Folder to write.
    languages
        Languages to import, in order, as codes with commas; for a mask, the languages of its lists.
    width
        Neurons per layer, for a mask (a mask does not say).
    """
    from langneurons.neurons import other_tools as formats

    codes = console.codes(languages)
    config = {"tool": tool, "languages": codes, "width": width}
    if path.is_file():
        inputs = {path.name: artifacts.file_digest(path)}
        if not console.there(out, "neurons", config, inputs, force=force):
            default = formats.NJUNLP_LANGUAGES if tool == "njunlp" else formats.LAPE_LANGUAGES
            neurons, assumed = formats.import_mask(path, codes, width, default)
            with artifacts.writing(out, "neurons", "import", config, inputs) as draft:
                neurons.write(draft)
                draft.facts["languages taken without being named"] = assumed
        tell_mask(out, json)
        return
    if tool == "lape" and path.is_dir():
        raise InputError(
            f"{path} is a folder; give LAPE's mask file, such as Mistral-7B.neuron.pth"
        )
    inputs = {file.name: artifacts.file_digest(file) for file in formats.njunlp_files(path)}
    if not console.there(out, "counts", config, inputs, force=force):
        counts, found = formats.import_njunlp(path, codes)
        with artifacts.writing(out, "counts", "import", config, inputs) as draft:
            counts.write(draft)
            draft.facts["import"] = [row._asdict() for row in found]
    tell_counts(out, json)


def merge(*counts: Path, out: Path, force: Force = False, json: Json = False) -> None:
    """Add up counts: the shards of one recording, or recordings of the same model on other questions or languages.

    Parameters
    ----------
    counts
        Folders of counts.
    out
        Folder to write.
    """
    from langneurons.neurons.counts import Counts
    from langneurons.neurons.counts import merge as add

    if len(counts) < 2:
        raise InputError("merge needs at least two folders of counts")
    sources = [artifacts.read(folder, "counts") for folder in counts]
    inputs = {f"counts {i + 1}": source.digest for i, source in enumerate(sources)}
    same_model(sources)
    if not console.there(out, "counts", {}, inputs, force=force):
        total = add(Counts.load(source) for source in sources)
        with artifacts.writing(out, "counts", "merge", {}, inputs) as draft:
            total.write(draft)
            draft.facts["tokens"] = dict(
                zip(total.languages, total.tokens.sum(axis=1).tolist(), strict=True)
            )
            draft.facts["merged"] = [dict(source.manifest["facts"]) for source in sources]
    tell_counts(out, json)


def identify(
    counts: Path,
    /,
    *,
    out: Path,
    config: Annotated[IdentifyConfig, Parameter(name="*")] = IdentifyConfig(),
    force: Force = False,
    json: Json = False,
) -> None:
    """Classify neurons as language-specific, language-related or general.

    Parameters
    ----------
    counts
        Folder of counts.
    out
        Folder to write.
    config
        Settings.
    """
    source = artifacts.read(counts, "counts")
    settings, inputs = asdict(config), {"counts": source.digest}
    if not console.there(out, "neurons", settings, inputs, force=force):
        from langneurons.neurons.counts import Counts
        from langneurons.neurons.identify import identify as run

        held = Counts.load(source)
        with artifacts.writing(out, "neurons", "identify", settings, inputs) as draft:
            with console.progress("resampling", quiet=json) as step:
                neurons = run(held, config, on_step=step)
            neurons.write(draft)
            draft.facts |= {"blocks": held.blocks, "model": source.manifest["inputs"].get("model")}
    tell_neurons(out, json)


def export(
    tool: Literal["njunlp", "lape"],
    neurons: Path,
    /,
    *,
    out: Path,
    kinds: str = "specific,related",
    json: Json = False,
) -> None:
    """Write a mask for NJUNLP's or LAPE's code, and a JSON file beside it that names its languages, widths and rule.

    Parameters
    ----------
    tool
        Whose code shall read it; both read the same type.
    neurons
        Folder of neurons.
    out
        File to write.
    kinds
        Kinds to export, with commas.
    """
    from langneurons.neurons import other_tools as formats

    held = Neurons.load(artifacts.read(neurons, "neurons"))
    mask, beside = formats.export_mask(held, tuple(kinds.split(",")))
    artifacts.write_file(out.with_name(out.name + ".json"), beside)
    artifacts.write_file(out, mask)
    memberships = jsonlib.loads(beside)["memberships"]
    if json:
        console.print_json({"out": str(out), "tool": tool, "memberships": memberships})
        return
    print("  ".join(f"{code} {n:,}" for code, n in memberships.items()))
    print(f"wrote {out} (torch.load opens it with weights_only=True) and {out.name}.json")


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
    from langneurons.texts.flaws import gate
    from langneurons.texts.rows import files, read_responses

    codes = console.codes(languages)
    files(responses, codes)  # before a model is loaded for nothing

    from langneurons.model import loading as models
    from langneurons.neurons.record import record as run
    from langneurons.resume import processes

    rank, world = processes()
    loaded = models.load(model, **asdict(loading))
    rows = read_responses(responses, template, codes, loaded.tokenizer)
    kept, gates = gate(rows, _flaws(drop))
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
        state = resume.State(out, settings, inputs, f"{rank}-of-{world}")
        with console.progress("recording", quiet=json or rank > 0, unit="tokens") as step:
            counts, facts = run(
                loaded.model,
                loaded.tokenizer,
                kept,
                config,
                languages=codes,
                state=state,
                on_step=step,
            )
        if rank == 0:
            with artifacts.writing(out, "counts", "record", settings, inputs) as draft:
                counts.write(draft)
                draft.facts |= facts | {
                    "gates": [gate._asdict() for gate in gates],
                    "model": _named(loaded),
                }
        state.drop()
    if rank == 0:
        tell_counts(out, json)


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


def same_model(sources: list[artifacts.Artifact]) -> None:
    """Stop when counts that know their model are of different ones.

    Raises:
        MismatchError: naming two folders and their models.
    """
    known = [(s, s.manifest["inputs"]["model"]) for s in sources if "model" in s.manifest["inputs"]]
    for source, model in known[1:]:
        if model != known[0][1]:
            raise MismatchError(
                f"these counts are of different models: weights {known[0][1][:12]} in {known[0][0].folder}, "
                f"{model[:12]} in {source.folder}"
            )


def tell_counts(out: Path, json: bool) -> None:
    """What counts hold: what an import found, or what was recorded."""
    source = artifacts.read(out, "counts")
    facts = source.manifest["facts"]
    if "import" not in facts:
        _tell_recorded(out, facts, json)
        return
    found = facts["import"]
    if json:
        print_json({"out": str(out), "languages": found})
        return
    print(f"{'language':<10}{'tokens':>10}{'below prompt alone':>20}{'above its tokens':>18}")
    for row in found:
        print(
            f"{row['language']:<10}{row['tokens']:>10,}{row['negative']:>20,}{row['above_one']:>18,}"
        )
    print("below prompt alone: neurons whose response count came out negative; set to 0")
    print(f"wrote {out}; next: langneurons identify {out} --out {out.parent / 'neurons'}")


def _tell_recorded(out: Path, facts: Mapping[str, Any], json: bool) -> None:
    if json:
        print_json({"out": str(out), **facts})
        return
    gates = {gate["lang"]: gate for gate in facts.get("gates", [])}
    heads = [name for name in next(iter(gates.values()), {}) if name != "lang"]
    print(
        f"{'language':<10}{'tokens':>12}"
        + "".join(f"{name.replace('_', ' '):>14}" for name in heads)
    )
    for code, tokens in facts["tokens"].items():
        print(f"{code:<10}{tokens:>12,}" + "".join(f"{gates[code][name]:>14,}" for name in heads))
    long, empty = facts.get("longer than the context"), facts.get("without a token to count")
    if long:
        where, first = _listed(long["responses"]), ", ".join(long["first"][:3])
        print(
            f"longer than the context of {long['context']:,} tokens and not counted: {where} (first: {first})"
        )
    if empty:
        print(f"without a token to count: {_listed(empty)}")
    if halved := facts.get("batches halved for want of memory"):
        print(f"batches halved for want of memory: {halved}; a smaller --budget saves the attempt")
    print(f"wrote {out}; next: langneurons identify {out} --out {out.parent / 'neurons'}")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{code} {n:,}" for code, n in counts.items())


def tell_mask(out: Path, json: bool) -> None:
    """What an import of a mask found."""
    source = artifacts.read(out, "neurons")
    neurons = Neurons.load(source)
    assumed = source.manifest["facts"]["languages taken without being named"]
    held = {
        code: int(n) for code, n in zip(neurons.languages, neurons.member.sum(axis=0), strict=True)
    }
    if json:
        print_json({"out": str(out), "memberships": held, "assumed": assumed})
        return
    print("  ".join(f"{code} {n:,}" for code, n in held.items()))
    if assumed:
        print(
            f"its lists were taken to be {','.join(assumed)}, as in the released masks; --languages says otherwise"
        )
    print(f"wrote {out} ({len(neurons):,} neurons); next: langneurons report {out}")


def tell_neurons(out: Path, json: bool) -> None:
    """What was identified."""
    from langneurons.neurons import summary

    neurons = Neurons.load(artifacts.read(out, "neurons"))
    if json:
        print_json({"out": str(out)} | summary.values(neurons))
        return
    print("\n".join(summary.lines(neurons)))
    print(f"wrote {out} ({len(neurons):,} neurons); next: langneurons report {out.parent}")
