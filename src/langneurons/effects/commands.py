"""Commands that find what neurons do: attribute, mediate."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from cyclopts import Parameter

from langneurons import artifacts, console, layout, resume
from langneurons.config import AttributeConfig, MediateConfig, ModelConfig, TextConfig, identity
from langneurons.console import Force, Json, Made, Quiet
from langneurons.effects.mediation import (
    Carried,
    Mediation,
    Share,
    carried,
    groups,
    is_sure,
    shares,
)
from langneurons.effects.trust import agreements
from langneurons.errors import InputError, MismatchError
from langneurons.intervals import Estimate
from langneurons.neurons.counts import Counts
from langneurons.neurons.effects import Effects
from langneurons.neurons.sets import counts_behind, notes_on_weights
from langneurons.neurons.table import Neurons
from langneurons.tables import plain

if TYPE_CHECKING:
    from langneurons.effects.mediate import Judged
    from langneurons.model.loading import Loaded


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
    texts = reading.read_whole(responses, loaded, running, languages=codes, template=template)
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
        return effects, texts.result_facts(facts, loaded, notes)

    made = console.made(
        Effects,
        out,
        "attribute",
        texts.result_settings(config, loaded, codes),
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


def mediate(
    base: str,
    adapter: Path,
    neurons: Path,
    source: Path,
    /,
    *,
    out: Path,
    config: Annotated[MediateConfig, Parameter(name="*")] = MediateConfig(),
    trained: str | None = None,
    counts: Path | None = None,
    languages: str | None = None,
    template: str | None = None,
    loading: Annotated[ModelConfig, Parameter(name="*")] = ModelConfig(),
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Made[Mediation]:
    """Follow what an alignment did through sets of neurons.

    Base and aligned model read the same held-out texts; the values of a set of neurons in one of
    them are put into the other, both ways, beside random sets.

    Parameters
    ----------
    base
        The model before alignment, as the adapter names it.
    adapter
        Folder of its adapter, of align or of PEFT.
    neurons
        Folder of neurons, of either; those of another model are refused unless --force.
    source
        Folder that pair wrote, of which the adapter was not trained on all; or responses, of which
        the right ones are read.
    out
        Folder to write.
    config
        Settings.
    trained
        Languages that were trained, as codes with commas, to be told apart from the others
        [default: as the adapter says].
    counts
        Folder of the counts that the neurons come from, to match random sets by activation rate
        [default: found beside the neurons].
    languages
        Languages to follow, as codes with commas [default: all that neurons and texts share].
    template
        Prompt for rows of responses that hold a question and no prompt.
    loading
        How the model is loaded.
    """
    from langneurons.effects.mediate import mediated
    from langneurons.model.loading import base_of, in_full, load

    found = artifacts.read(neurons, Neurons.KIND)
    behind = counts_behind(found, counts)
    wanted, training = console.codes(languages), _training_of(adapter)
    adapted = base_of(adapter)
    if adapted is None:
        raise InputError(f"{adapter} is no adapter folder: what alignment did is held against BASE")
    if in_full(adapted) != in_full(base):
        raise MismatchError(f"{adapter} adapts {adapted}, not {base}")
    apart = console.codes(trained) or sorted(training.facts.get("pairs", {}))
    texts = _judged(source, training, wanted, template)
    loaded = load(adapter, **asdict(loading))
    if texts is None:
        texts = _right_responses(source, wanted, template, loaded)
    notes = _notes_on_either(found, training, loaded.fingerprint, force=force)
    settings = {
        **identity(config),
        "languages": wanted,
        "trained": apart,
        "dtype": str(loaded.model.dtype),
    }
    inputs = {**texts.digests, **loaded.inputs, "neurons": found.digest}
    if behind:
        inputs["counts"] = behind.digest

    def make(
        state: resume.State, on_step: resume.Progress | None
    ) -> tuple[Mediation, Mapping[str, Any]]:
        mediation, facts = mediated(
            loaded,
            Neurons.load(found),
            texts.judged,
            config,
            paired=texts.paired,
            trained=apart,
            rates=Counts.load(behind).rates() if behind else None,
            state=state,
            on_step=on_step,
        )
        told = [*notes, *texts.notes, *_notes_on_sets(facts)]
        return mediation, facts | {"notes": told, "model": loaded.facts}

    made = console.made(
        Mediation,
        out,
        "mediate",
        settings,
        inputs,
        make,
        doing="mediating",
        unit="tokens",
        force=force,
        quiet=quiet,
    )
    rows = shares(made.value)
    if json:
        console.print_json(
            {
                "out": str(made.folder),
                "shares": plain([_told(row) for row in rows]),
                "claims": plain([_told(row) for row in carried(rows)]),
                "facts": made.facts,
            }
        )
    else:
        _print_shares(made, rows)
    return made


class _Training(NamedTuple):
    """What an adapter says of its training; nothing where it is not of align, or a graft of such.

    Attributes:
        adapter: its folder.
        inputs: digests of what it was trained on and from.
        facts: what is known of it, such as the number of pairs in each language.
    """

    adapter: Path
    inputs: Mapping[str, str]
    facts: Mapping[str, Any]


def _training_of(adapter: Path) -> _Training:
    """What an adapter, or the folder that it is a checkpoint of, says of its training."""
    for folder in (adapter, adapter.resolve().parent):
        if (folder / artifacts.MANIFEST).is_file():
            manifest = artifacts.read(folder).manifest
            return _Training(adapter, manifest["inputs"], manifest["facts"])
    return _Training(adapter, {}, {})


def _notes_on_sets(facts: Mapping[str, Any]) -> list[str]:
    """What to say of sets that could not be followed."""
    empty = [f"there is no neuron that is {name}" for name in facts["empty sets"]]
    return [*empty, *([facts["attention"]] if facts["attention"] else [])]


class _Texts(NamedTuple):
    """What outcomes are of.

    Attributes:
        judged: the texts.
        paired: whether they are pairs.
        digests: of the files they come from.
        notes: what to say of them.
    """

    judged: "list[Judged]"
    paired: bool
    digests: Mapping[str, str]
    notes: Sequence[str] = ()


def _judged(
    source: Path, training: _Training, wanted: Sequence[str] | None, template: str | None
) -> "_Texts | None":
    """The pairs in a folder that the adapter was not trained on; None where it holds responses.

    Raises:
        InputError: when there are none, or none in these languages.
    """
    from langneurons.align.pairs import Pairs
    from langneurons.effects.mediate import Judged
    from langneurons.texts import rows
    from langneurons.texts.responses import Response

    if not (source / artifacts.MANIFEST).is_file() or artifacts.read(source).manifest["kind"] != (
        Pairs.KIND
    ):
        rows.files(source)  # before a model is loaded for nothing
        return None
    if template is not None:
        raise InputError("pairs hold their prompts; --template is for responses")
    there = artifacts.read(source, Pairs.KIND)
    pairs = Pairs.load(there)
    own = training.inputs.get(Pairs.KIND) == there.digest
    held_out = pairs.dev if own else (*pairs.train, *pairs.dev)
    if not held_out:
        raise InputError(
            f"{training.adapter} was trained on all pairs in {source}; give others, or pair with "
            "--dev-every so that some questions are held out"
        )
    mine = [pair for pair in held_out if wanted is None or pair.lang in wanted]
    if not mine:
        raise InputError(f"{source} holds no such pair in {', '.join(wanted or ())}")
    judged = [
        Judged(Response(pair.question_id, pair.lang, pair.prompt, text), sign, number)
        for number, pair in enumerate(mine)
        for text, sign in ((pair.chosen, 1), (pair.rejected, -1))
    ]
    note = (
        f"the {len(mine):,} pairs held out from the adapter's training"
        if own
        else (
            f"all {len(mine):,} pairs; the adapter does not say that it was trained on any of them"
        )
    )
    return _Texts(judged, paired=True, digests={"pairs": there.digest}, notes=[note])


def _right_responses(
    source: Path, wanted: Sequence[str] | None, template: str | None, loaded: "Loaded"
) -> _Texts:
    """The responses that are right, or all where that is not known.

    Raises:
        InputError: when there are none in these languages.
    """
    from langneurons.effects.mediate import Judged
    from langneurons.texts import rows

    read = rows.read(source, template, tokenizer=loaded.tokenizer)
    right = [
        text
        for text in read.responses
        if text.correct is not False and text.response and (wanted is None or text.lang in wanted)
    ]
    if not right:
        raise InputError(
            f"{source} holds no right response in {', '.join(wanted or ('any language',))}"
        )
    judged = [Judged(text, 1, number) for number, text in enumerate(right)]
    return _Texts(judged, paired=False, digests=read.digests, notes=read.notes)


def _notes_on_either(
    neurons: artifacts.Artifact, training: _Training, fingerprint: str, *, force: bool
) -> list[str]:
    """What to note about the weights neurons were found on: the aligned model's or its base's.

    Raises:
        MismatchError: when they are neither's, unless `force`.
    """
    found_on = neurons.manifest["facts"].get("model")
    if base := training.inputs.get("model"):
        if found_on == base:
            return ["the neurons are the base's"]
        return notes_on_weights(found_on, fingerprint, force=force)
    if found_on == fingerprint:
        return []
    return [
        "the adapter does not say what its base's weights were; the neurons are taken to be its"
    ]


def _print_shares(made: Made[Mediation], rows: Sequence[Share]) -> None:
    """What share of the change goes with which neurons, and whether that is more than chance."""
    mediation = made.value

    def ends(number: Estimate | None) -> str | None:
        if number is None or np.isnan(number.value):
            return None
        return f"{number.value:z.0%} [{number.low:z.0%}, {number.high:z.0%}]"

    for group, codes in groups(mediation).items():
        change = mediation.change(codes)
        print(
            f"-- {group} ({', '.join(codes)}): alignment changed {change.value:+.4g} "
            f"[{change.low:.4g}, {change.high:.4g}] nats a {mediation.unit}"
        )
        if not is_sure(change):
            print("that is not sure to be a change at all: shares of it say nothing")
        table = [
            (
                row.name,
                row.neurons or None,
                row.way,
                ends(row.share),
                *(
                    None if matched not in row.random else f"{row.random[matched].value:z.0%}"
                    for matched in ("layer", "rate", "change")
                ),
                None if row.matched_size is None else f"{row.matched_size:.2f}",
                ends(row.beyond),
                row.verdict,
            )
            for row in rows
            if row.group == group
        ]
        heads = ("neurons", "number", "way", "share", "random by layer", "by rate", "by change")
        more = ("their change", "beyond by change", "more than random")
        print(console.columns((*heads, *more), table))
    for one in carried(rows):
        print(_claimed(one))
    for note in made.facts.get("notes", []):
        print(f"note: {note}")
    print(
        "their change: how large it is in random sets matched by it, as a share of that in the "
        "set; shares of sets do not add up"
    )
    print(f"wrote {made.folder}")


def _claimed(one: Carried) -> str:
    """A verdict on one kind of neurons, and what it rests on."""
    sure = ", ".join(
        f"{way} {number.value:+z.1%} [{number.low:+z.1%}, {number.high:+z.1%}]"
        for way, number in one.beyond.items()
    )
    return (
        f"mediated-by-{one.kind}, {one.group}: {one.verdict} ({sure} beyond random sets that "
        "alignment changes as much)"
    )


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
            "per_token": plain(_told(split.cost)),
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


def _told(value: Any) -> Any:
    """The same with estimates as value, low and high alone, without their resamplings."""
    if isinstance(value, Estimate):
        return {"value": value.value, "low": value.low, "high": value.high}
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {name: _told(part) for name, part in value.items()}
    return value


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
                _with_ends(split.cost, "+.4g"),
                f"{split.missing:+.2%}" if split.costs.sum() else None,
                made.facts["points of a path"][split.setting],
            )
            for split in effects.splits
        ]
        heads = ("set", "neurons", "cost", "not in its parts", "points of its path")
        print(console.columns(heads, sets))
    for note in made.facts.get("notes", []):
        print(f"note: {note}")
    print(f"wrote {made.folder}; next: langneurons identify {made.folder} --by effect --out ...")


def _with_ends(number: Estimate, form: str = ".2f") -> str:
    """A number with its interval, if it has one."""
    if np.isnan(number.value):
        return "-"
    if np.isnan(number.low):
        return f"{number.value:{form}}"
    return f"{number.value:{form}} [{number.low:{form}}, {number.high:{form}}]"
