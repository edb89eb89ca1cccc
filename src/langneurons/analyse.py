"""Analyse: the commands that work on results: import, merge, identify, export. No model is run."""

import json as jsonlib
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from langneurons import artifacts, console
from langneurons.config import IdentifyConfig
from langneurons.console import Force, Json
from langneurons.errors import InputError


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
    from langneurons import formats

    codes = console.codes(languages)
    config = {"tool": tool, "languages": codes, "width": width}
    if path.is_file():
        inputs = {path.name: artifacts.file_digest(path)}
        if not console.there(out, "neurons", config, inputs, force=force):
            default = formats.NJUNLP_LANGUAGES if tool == "njunlp" else formats.LAPE_LANGUAGES
            neurons, assumed = formats.import_mask(path, codes, width, default)
            with artifacts.writing(out, "neurons", "import", config, inputs) as draft:
                draft.table(console.NEURONS, neurons.to_table())
                draft.facts["languages taken without being named"] = assumed
        console.tell_mask(out, json)
        return
    if tool == "lape" and path.is_dir():
        raise InputError(f"{path} is a folder; give LAPE's mask file, such as Mistral-7B.neuron.pth")
    inputs = {file.name: artifacts.file_digest(file) for file in formats.njunlp_files(path)}
    if not console.there(out, "counts", config, inputs, force=force):
        counts, found = formats.import_njunlp(path, codes)
        with artifacts.writing(out, "counts", "import", config, inputs) as draft:
            draft.tensors(console.COUNTS, *counts.to_tensors())
            draft.facts["import"] = [row._asdict() for row in found]
    console.tell_counts(out, json)


def merge(*counts: Path, out: Path, force: Force = False, json: Json = False) -> None:
    """Add up counts: the shards of one recording, or recordings of the same model on other questions or languages.

    Parameters
    ----------
    counts
        Folders of counts.
    out
        Folder to write.
    """
    from langneurons.counts import Counts
    from langneurons.counts import merge as add

    if len(counts) < 2:
        raise InputError("merge needs at least two folders of counts")
    sources = [artifacts.read(folder, "counts") for folder in counts]
    inputs = {f"counts {i + 1}": source.digest for i, source in enumerate(sources)}
    console.same_model(sources)
    if not console.there(out, "counts", {}, inputs, force=force):
        total = add(Counts.from_tensors(*source.tensors(console.COUNTS)) for source in sources)
        with artifacts.writing(out, "counts", "merge", {}, inputs) as draft:
            draft.tensors(console.COUNTS, *total.to_tensors())
            draft.facts["tokens"] = dict(zip(total.languages, total.tokens.sum(axis=1).tolist(), strict=True))
            draft.facts["merged"] = [dict(source.manifest["facts"]) for source in sources]
    console.tell_counts(out, json)


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
        from langneurons.bootstrap import bootstrap
        from langneurons.counts import Counts
        from langneurons.identify import identify as run

        held = Counts.from_tensors(*source.tensors(console.COUNTS))
        with artifacts.writing(out, "neurons", "identify", settings, inputs) as draft:
            neurons = run(held, config)
            with console.progress("resampling", quiet=json) as step:
                neurons = bootstrap(held, neurons, config, step)
            draft.table(console.NEURONS, neurons.to_table())
            draft.facts |= {"blocks": held.blocks, "model": source.manifest["inputs"].get("model")}
    console.tell_neurons(out, json)


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
    from langneurons import formats

    held = console.load_neurons(artifacts.read(neurons, "neurons"))
    mask, beside = formats.export_mask(held, tuple(kinds.split(",")))
    artifacts.write_file(out.with_name(out.name + ".json"), beside)
    artifacts.write_file(out, mask)
    memberships = jsonlib.loads(beside)["memberships"]
    if json:
        console.print_json({"out": str(out), "tool": tool, "memberships": memberships})
        return
    print("  ".join(f"{code} {n:,}" for code, n in memberships.items()))
    print(f"wrote {out} (torch.load opens it with weights_only=True) and {out.name}.json")
