"""Commands of silencing: perplexity."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from langneurons import artifacts, console, resume
from langneurons.config import ModelConfig, PerplexityConfig
from langneurons.console import Force, Json, print_json
from langneurons.errors import MismatchError
from langneurons.neurons.table import Neurons
from langneurons.silencing.losses import Losses
from langneurons.tables import plain


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
    from langneurons.texts.rows import files, read_responses

    source = artifacts.read(neurons, "neurons")
    behind = _counts_behind(source, counts)
    codes = console.codes(languages)
    files(responses)  # before a model is loaded for nothing

    from langneurons.model import loading as models
    from langneurons.neurons.counts import Counts
    from langneurons.silencing.perplexity import perplexity as run

    loaded = models.load(model, **asdict(loading))
    notes = _other_weights(source, behind, loaded.fingerprint, force=force)
    rows = read_responses(responses, template, tokenizer=loaded.tokenizer)
    settings = {
        **asdict(config),
        "languages": codes,
        "template": template,
        "dtype": str(loaded.model.dtype),
    }
    del settings["save_every"]
    files = [responses] if responses.is_file() else sorted(responses.glob("*.jsonl"))
    inputs = {file.name: artifacts.file_digest(file) for file in files}
    inputs |= {"model": loaded.fingerprint, "tokenizer": models.tokenizer_digest(loaded.tokenizer)}
    inputs |= {"neurons": source.digest} | ({"counts": behind.digest} if behind else {})
    if not console.there(out, "perplexity", settings, inputs, force=force):
        state = resume.State(out, settings, inputs)
        rates = None
        if behind:
            held = Counts.load(behind)
            rates = dict(zip(held.languages, held.probability(), strict=True))
        with console.progress("silencing", quiet=json, unit="tokens") as step:
            losses, facts = run(
                loaded.model,
                loaded.tokenizer,
                rows,
                Neurons.load(source),
                config,
                languages=codes,
                rates=rates,
                state=state,
                on_step=step,
            )
        with artifacts.writing(out, "perplexity", "perplexity", settings, inputs) as draft:
            losses.write(draft)
            draft.facts |= facts | {"notes": notes, "model": loaded.facts}
        state.drop()
    tell_perplexity(out, json)


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
        raise MismatchError(
            f"{neurons.folder} comes from other counts than {counts}; give those, or no --counts"
        )
    return given


def _other_weights(
    neurons: artifacts.Artifact, counts: artifacts.Artifact | None, fingerprint: str, *, force: bool
) -> list[str]:
    """What to note about the weights the neurons were found on.

    Raises:
        MismatchError: when they are others than the model's, unless `force`.
    """
    found = neurons.manifest["facts"].get("model") or (
        counts.manifest["inputs"].get("model") if counts else None
    )
    if found is None:
        return [
            "the neurons do not say which weights they were found on; only the shape of the layers was compared"
        ]
    if found == fingerprint:
        return []
    said = f"the neurons were found on weights {found[:12]}, this model has {fingerprint[:12]}"
    if not force:
        raise MismatchError(
            f"{said}; another --dtype changes them too; --force measures all the same and notes it"
        )
    return [f"{said}; measured all the same (--force)"]


def tell_perplexity(out: Path, json: bool) -> None:
    """What silencing costs every language, and whether it costs most on the diagonal."""
    from langneurons.silencing import matrix as diagonal

    source = artifacts.read(out, "perplexity")
    losses, facts = Losses.load(source), source.manifest["facts"]
    found = {
        (s, m): diagonal.matrix(losses, s, m) for s in losses.settings for m in diagonal.MEASURES
    }
    verdicts = [
        diagonal.dominance(one) for (_, measure), one in found.items() if measure != "bits per byte"
    ]
    if json:
        print_json(
            {
                "out": str(out),
                "verdicts": [plain(v._asdict()) for v in verdicts],
                "matrices": [
                    {
                        "setting": one.setting,
                        "measure": one.measure,
                        "neurons": one.neurons.tolist(),
                    }
                    | {
                        name: plain(getattr(one, name).tolist())
                        for name in ("before", "change", "low", "high", "z")
                    }
                    for one in found.values()
                ],
                "facts": facts,
            }
        )
        return
    width = "".join(f"{code:>10}" for code in losses.languages)
    print(f"{'perplexity':<20}{width}")
    before = found[losses.settings[0], "difference"].before
    print(f"{'nothing silenced':<20}{''.join(f'{value:>10.4g}' for value in before)}")
    for setting in losses.settings:
        one = found[setting, "difference"]
        print(f"-- {setting} silenced: change in perplexity; *: more than every random set")
        for code, n, row, share in zip(
            losses.languages, one.neurons, one.change, one.percentile, strict=True
        ):
            stars = ["*" if above == 1 else " " for above in share]
            cells = (
                "".join(f"{v:>+9.3g}{s}" for v, s in zip(row, stars, strict=True))
                if n
                else "  empty: not run"
            )
            print(f"{code:<8}{n:>8,} neurons{cells}")
    for verdict in verdicts:
        print(f"{verdict.setting}, {verdict.measure}: {diagonal.words(verdict)}")
    print(f"random sets were matched {facts['controls matched']}")
    for note in facts.get("notes", []):
        print(f"note: {note}")
    print(f"wrote {out}; next: langneurons report {out.parent}")
