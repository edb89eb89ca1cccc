"""Results: what was found, as values, read from the run of a study or a folder of results."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from langneurons import artifacts, run_folder
from langneurons.align.adapter import Adapter
from langneurons.align.pairs import Pair, Pairs
from langneurons.align.scores import Scores
from langneurons.ask.marks import Marks
from langneurons.compare.comparison import Comparison
from langneurons.compare.verdicts import Claim
from langneurons.effects.mediation import Mediation
from langneurons.errors import FormatError, InputError
from langneurons.meaning.lens_table import Lens
from langneurons.meaning.measures import Meaning
from langneurons.neurons.counts import Counts
from langneurons.neurons.effects import Effects
from langneurons.neurons.table import Neurons
from langneurons.report.files import FigureFiles
from langneurons.report.parts import Provenance
from langneurons.silencing.losses import Losses
from langneurons.silencing.matrix import Matrices, matrices
from langneurons.steering.continuations import Continuations
from langneurons.sweep.sweep import Sweep
from langneurons.tables import Table
from langneurons.texts.accuracy import Accuracy, Evaluation
from langneurons.texts.questions import Questions
from langneurons.texts.rows import Responses

PREVIEWED = 3
"""Pairs of each language that are shown."""

BESIDE = 4
"""Other neurons of a folder that are shown beside those chosen."""

Manifest = Mapping[str, Any]

_KINDS: tuple[type[artifacts.Result], ...] = (
    Questions,
    Responses,
    Evaluation,
    Counts,
    Neurons,
    Effects,
    Losses,
    Marks,
    Meaning,
    Lens,
    Continuations,
    Scores,
    Pairs,
    Adapter,
    Mediation,
    Comparison,
    Sweep,
    FigureFiles,
)
"""Every kind of result, in the order of the flow."""


def load_result(folder: Path | str) -> Any:
    """The result in a finished folder, of whatever kind: counts, neurons, a comparison, ...

    Raises:
        InputError: when there is none.
        FormatError: when a file of it is damaged.
    """
    kinds = {kind.KIND: kind for kind in _KINDS}
    source = artifacts.read(Path(folder), *kinds)
    return kinds[source.manifest["kind"]].load(source)


class Results(NamedTuple):
    """What was found of a model on questions; what was not measured is None or empty.

    Attributes:
        neurons: its neurons.
        matrices: what silencing them costs.
        accuracy: right answers per language, then their mean.
        sweep: the claims over a grid of settings.
        effects: what silencing each neuron would cost each language.
        matched: how far neurons by effect are those by rate, as `matches.Match`, as plain values.
        meaning: where its states are of what texts mean.
        lens: what it would say at each layer.
        mediation: an alignment of it, followed through its neurons.
        manifests: kind of result -> manifest.
    """

    neurons: Neurons | None = None
    matrices: Matrices | None = None
    accuracy: tuple[Accuracy, ...] = ()
    sweep: Sweep | None = None
    effects: Effects | None = None
    matched: tuple[Mapping[str, Any], ...] = ()
    meaning: Meaning | None = None
    lens: Lens | None = None
    mediation: Mediation | None = None
    manifests: Mapping[str, Manifest] = {}


class Sides(NamedTuple):
    """Two results that stand side by side.

    Attributes:
        results: what each is called -> what was found.
        tables: of a comparison of the first with the second, by name; empty without one.
    """

    results: Mapping[str, Results]
    tables: Mapping[str, Table]


class Compared(NamedTuple):
    """A model before against after an alignment, on some questions.

    Attributes:
        tables: name -> table, of the last step.
        checkpoints: the same of every step that is studied; empty with one.
        claims: the paper's claims, judged.
        manifest: that of the comparison.
    """

    tables: Mapping[str, Table]
    checkpoints: Mapping[str, Table]
    claims: tuple[Claim, ...]
    manifest: Manifest


class Alignment(NamedTuple):
    """An alignment of a model.

    Attributes:
        name: its name.
        languages: the languages aligned to English.
        pairs: some of the pairs that were trained on.
        history: what the training logged.
        after: questions -> results after the last step.
        compared: questions -> what changed.
        manifests: kind of result -> manifest: pairs, adapter.
        sweeps: questions -> the claims over a grid of settings, before and after.
        mediation: what it did, followed through sets of neurons.
    """

    name: str
    languages: tuple[str, ...]
    pairs: tuple[Pair, ...]
    history: tuple[Mapping[str, Any], ...]
    after: Mapping[str, Results]
    compared: Mapping[str, Compared]
    manifests: Mapping[str, Manifest]
    sweeps: Mapping[str, Sweep] = {}
    mediation: Mediation | None = None


class Model(NamedTuple):
    """A model of a study.

    Attributes:
        name: its name in the study.
        source: where it comes from: an id, a folder.
        base: questions -> results before any alignment.
        alignments: its alignments.
        scored: manifest of the scored responses to align on; None without.
    """

    name: str
    source: str
    base: Mapping[str, Results]
    alignments: tuple[Alignment, ...]
    scored: Manifest | None


class Asked(NamedTuple):
    """Questions that were asked.

    Attributes:
        source: where they come from.
        number: how many there are in each language.
    """

    source: str
    number: int


class StudyResults(NamedTuple):
    """What the run of a study has found so far.

    Attributes:
        name: name of the study.
        settings: what it says.
        models: what was found.
        asked: the questions, by name.
        provenance: every result of the run.
        inputs: digest of each, by folder.
    """

    name: str
    settings: Mapping[str, Any]
    models: tuple[Model, ...]
    asked: Mapping[str, Asked]
    provenance: tuple[Provenance, ...]
    inputs: Mapping[str, str]


class FolderResults(NamedTuple):
    """What a folder of results holds of one set of neurons.

    Attributes:
        results: the neurons, and what belongs to them.
        provenance: every result it stands on.
        inputs: digest of the neurons.
        beside: the same beside each of the other neurons of the folder.
    """

    results: Results
    provenance: tuple[Provenance, ...]
    inputs: Mapping[str, str]
    beside: tuple[Sides, ...] = ()


def read_folder(run: Path, name: str | None = None) -> FolderResults:
    """The neurons chosen of a folder of results, and what belongs to them.

    Args:
        run: a folder of results, one folder each; or a folder of neurons.
        name: which folder of neurons; the only one, or `neurons`, when none is chosen.

    Raises:
        InputError: when there is none of this name.
    """
    counts: list[artifacts.Artifact] = []
    costs: list[artifacts.Artifact] = []
    sweeps: list[artifacts.Artifact] = []
    effects: list[artifacts.Artifact] = []
    matched: tuple[Mapping[str, Any], ...] = ()
    states: list[artifacts.Artifact] = []
    mediations: list[artifacts.Artifact] = []
    others: list[artifacts.Artifact] = []
    if (run / artifacts.MANIFEST).is_file():
        neurons = artifacts.read(run, "neurons")
    else:
        neurons = _chosen(run, name)
        made_from = neurons.manifest["inputs"].get("counts")
        counts = [one for one in artifacts.find(run, "counts") if one.digest == made_from]
        costs, mediations = (
            _made_from(run, kind, neurons) for kind in ("perplexity", Mediation.KIND)
        )
        others = [one for one in artifacts.find(run, Neurons.KIND) if one.digest != neurons.digest][
            :BESIDE
        ]
        sweeps = [
            one
            for one in artifacts.find(run, Sweep.KIND)
            if one.manifest["inputs"].get("counts") == made_from
        ]
        sweeps.sort(key=lambda one: "after" not in one.manifest["inputs"])
        effects = _effects_of(run, neurons)
        matched = _matched(run, neurons)
        states = [
            one
            for kind in (Meaning.KIND, Lens.KIND)
            for one in _of_model(artifacts.find(run, kind), counts)[:1]
        ]
    chosen = (
        *counts,
        neurons,
        *costs[:1],
        *mediations[:1],
        *sweeps[:1],
        *effects[:1],
        *states,
    )
    sources = {source.manifest["kind"]: source for source in chosen}
    results = _results(sources)._replace(matched=matched)
    return FolderResults(
        results=results,
        provenance=_provenance(run, [*sources.values(), *others]),
        inputs={
            "neurons": neurons.digest,
            **{f"beside {of.folder.name}": of.digest for of in others},
        },
        beside=tuple(_beside(run, neurons, results, other) for other in others),
    )


def _made_from(run: Path, kind: str, neurons: artifacts.Artifact) -> list[artifacts.Artifact]:
    """The results of a kind that were made from these neurons."""
    there = artifacts.find(run, kind)
    return [one for one in there if one.manifest["inputs"].get("neurons") == neurons.digest]


def _beside(
    run: Path, neurons: artifacts.Artifact, results: Results, other: artifacts.Artifact
) -> Sides:
    """What was found beside other neurons of the folder, and the comparison of both, if any."""
    costs = _made_from(run, "perplexity", other)[:1]
    theirs = _results({one.manifest["kind"]: one for one in (other, *costs)})
    tables: dict[str, Table] = {}
    for made in artifacts.find(run, Comparison.KIND):
        inputs = made.manifest["inputs"]
        after = [inputs[name] for name in inputs if re.fullmatch(r"after \d+", name)]
        if inputs.get("before") == neurons.digest and other.digest in after:
            tables = _of_after(Comparison.load(made).tables, after.index(other.digest))
    names = (f"in {of.folder.name}" for of in (neurons, other))
    return Sides(dict(zip(names, (results, theirs), strict=True)), tables)


def _of_after(tables: Mapping[str, Table], place: int) -> dict[str, Table]:
    """The tables of a comparison, of the one of what is after that is at this place."""
    chosen = {}
    for name, table in tables.items():
        column = table.columns.index("after")
        names = list(dict.fromkeys(row[column] for row in table.rows))
        of_one = tuple(row for row in table.rows if row[column] == names[place])
        chosen[name] = table._replace(rows=of_one)
    return chosen


def _effects_of(run: Path, neurons: artifacts.Artifact) -> list[artifacts.Artifact]:
    """Effects that belong to some neurons: they come from them, or are of their model.

    Those that the neurons were found by come first, then those whose sets they are.
    """

    def far(effects: artifacts.Artifact) -> int:
        if neurons.manifest["inputs"].get(Effects.KIND) == effects.digest:
            return 0
        return 1 if effects.manifest["inputs"].get("neurons") == neurons.digest else 2

    model = neurons.manifest["facts"].get("model")
    there = [
        one
        for one in artifacts.find(run, Effects.KIND)
        if far(one) < 2 or (model and one.manifest["inputs"].get("model") == model)
    ]
    return sorted(there, key=far)


def _matched(run: Path, neurons: artifacts.Artifact) -> tuple[Mapping[str, Any], ...]:
    """How far the neurons are those by effect, or by rate, that some were held against."""
    for one in (neurons, *artifacts.find(run, Neurons.KIND)):
        of_these = neurons.digest in (one.digest, one.manifest["inputs"].get("neurons"))
        if of_these and "against" in one.manifest["facts"]:
            return tuple(one.manifest["facts"]["against"])
    return ()


def _of_model(
    found: Sequence[artifacts.Artifact], counts: Sequence[artifacts.Artifact]
) -> list[artifacts.Artifact]:
    """Those of the same model as the counts; all where these do not say."""
    models = {one.manifest["inputs"].get("model") for one in counts} - {None}
    return [one for one in found if not models or one.manifest["inputs"].get("model") in models]


def _chosen(run: Path, name: str | None) -> artifacts.Artifact:
    """The folder of neurons of this name, or the one that is meant without."""
    by_name = {artifact.folder.name: artifact for artifact in artifacts.find(run, "neurons")}
    wanted = name or (next(iter(by_name)) if len(by_name) == 1 else "neurons")
    if wanted not in by_name:
        names = ", ".join(by_name) or "none"
        raise InputError(
            f"{run} has no folder {wanted} of neurons (there: {names}); choose with --neurons"
        )
    return by_name[wanted]


def read_study(run: Path) -> StudyResults:
    """What the run of a study has found so far.

    Raises:
        FormatError: when its ledger cannot be read.
        InputError: when there is nothing to show yet.
    """
    name, settings = _ledger(run)
    sources = [
        artifacts.read(folder)
        for part in (run_folder.QUESTIONS, run_folder.MODELS)
        for folder in artifacts.finished(run / part)
    ]
    if not any(source.manifest["kind"] in ("neurons", "accuracy") for source in sources):
        raise InputError(
            f"{run} holds no neurons and no accuracy yet; langneurons run goes on with it"
        )
    asked = {}
    for domain in settings["domains"]:
        if questions := _finished(run / run_folder.questions(domain), "questions"):
            facts = questions.manifest["facts"]
            asked[domain] = Asked(facts["source"], facts["questions"])
    return StudyResults(
        name=name,
        settings=settings,
        models=tuple(
            _model(run, model, source, settings) for model, source in settings["models"].items()
        ),
        asked=asked,
        provenance=_provenance(run, sources),
        inputs={source.folder.relative_to(run).as_posix(): source.digest for source in sources},
    )


def _ledger(run: Path) -> tuple[str, dict[str, Any]]:
    """Name and settings of the study that a folder is a run of."""
    path = run / run_folder.LEDGER
    try:
        ledger = artifacts.parsed(path.read_bytes())
        name, settings = ledger["study"], ledger["settings"]
        folders = [*settings["models"], *settings["domains"], *settings["alignments"]]
        settings["languages"]
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(
            f"{path} cannot be read ({error}); langneurons run STUDY --out {run} writes it anew"
        ) from None
    for folder in folders:
        if "/" in folder or folder.startswith("."):
            raise FormatError(f"{path}: {folder!r} cannot name a folder of the run")
    return name, settings


def _model(run: Path, name: str, source: str, settings: Mapping[str, Any]) -> Model:
    scored = _finished(run / run_folder.seeds(name) / "scored", "scored")
    return Model(
        name=name,
        source=source,
        base={
            domain: _results(_measured(run / run_folder.base(name, domain)))
            for domain in settings["domains"]
        },
        alignments=tuple(
            _alignment(run, name, alignment, codes, settings)
            for alignment, codes in settings["alignments"].items()
            if (run / run_folder.alignment(name, alignment)).is_dir()
        ),
        scored=scored.manifest if scored else None,
    )


def _alignment(
    run: Path, model: str, name: str, codes: Sequence[str], settings: Mapping[str, Any]
) -> Alignment:
    folder = run / run_folder.alignment(model, name)
    pairs, adapter = _finished(folder / "pairs", "pairs"), _finished(folder / "adapter", "adapter")
    followed = _finished(folder / Mediation.KIND, Mediation.KIND)
    after, compared, sweeps = {}, {}, {}
    for domain in settings["domains"]:
        last = run / run_folder.step(model, name, settings["align"]["steps"], domain)
        if last.is_dir():
            after[domain] = _results(_measured(last))
        if changed := _compared(run, model, name, domain):
            compared[domain] = changed
        if swept := _finished(run / run_folder.sweep(model, name, domain), "sweep"):
            sweeps[domain] = Sweep.load(swept)
    return Alignment(
        name=name,
        languages=tuple(codes),
        pairs=_first_pairs(Pairs.load(pairs)) if pairs else (),
        history=tuple(Adapter.load(adapter).history) if adapter else (),
        after=after,
        compared=compared,
        sweeps=sweeps,
        mediation=Mediation.load(followed) if followed else None,
        manifests={made.manifest["kind"]: made.manifest for made in (pairs, adapter) if made},
    )


def _first_pairs(pairs: Pairs) -> tuple[Pair, ...]:
    """The first pairs of each language that are trained on."""
    shown: Counter[str] = Counter()
    chosen = []
    for pair in pairs.train:
        if shown[pair.lang] < PREVIEWED:
            shown[pair.lang] += 1
            chosen.append(pair)
    return tuple(chosen)


def _compared(run: Path, model: str, name: str, domain: str) -> Compared | None:
    comparison = _finished(run / run_folder.comparison(model, name, domain), "comparison")
    if comparison is None:
        return None
    changed = Comparison.load(comparison)
    checkpoints = _finished(run / run_folder.checkpoints(model, name, domain), "comparison")
    return Compared(
        tables=_by_step(changed.tables),
        checkpoints=_by_step(Comparison.load(checkpoints).tables) if checkpoints else {},
        claims=tuple(changed.claims),
        manifest=comparison.manifest,
    )


def _by_step(tables: Mapping[str, Table]) -> dict[str, Table]:
    """The tables with what is after called by its step, not by its folder in the run."""
    called = {}
    for name, table in tables.items():
        place = table.columns.index("after")
        rows = []
        for row in table.rows:
            number = run_folder.step_number(str(row[place]))
            after = row[place] if number is None else f"step {number}"
            rows.append((*row[:place], after, *row[place + 1 :]))
        called[name] = table._replace(rows=tuple(rows))
    return called


def _measured(folder: Path) -> dict[str, artifacts.Artifact]:
    """What there is of a model on some questions: kind -> result."""
    kinds = (
        *("responses", "accuracy", "counts", "neurons", "perplexity", "sweep", "effects"),
        *("meaning", "lens"),
    )
    return {kind: found for kind in kinds if (found := _finished(folder / kind, kind))}


def _results(sources: Mapping[str, artifacts.Artifact]) -> Results:
    neurons, costs, marked = (sources.get(kind) for kind in ("neurons", "perplexity", "accuracy"))
    return Results(
        neurons=Neurons.load(neurons) if neurons else None,
        matrices=matrices(Losses.load(costs)) if costs else None,
        accuracy=tuple(Evaluation.load(marked).accuracies) if marked else (),
        sweep=Sweep.load(sources["sweep"]) if "sweep" in sources else None,
        effects=Effects.load(sources["effects"]) if "effects" in sources else None,
        meaning=Meaning.load(sources["meaning"]) if "meaning" in sources else None,
        lens=Lens.load(sources["lens"]) if "lens" in sources else None,
        mediation=Mediation.load(sources["mediation"]) if "mediation" in sources else None,
        manifests={kind: source.manifest for kind, source in sources.items()},
    )


def _finished(folder: Path, kind: str) -> artifacts.Artifact | None:
    """A result of a run; None when it is not there yet."""
    return artifacts.read(folder, kind) if (folder / artifacts.MANIFEST).is_file() else None


def _provenance(run: Path, sources: Iterable[artifacts.Artifact]) -> tuple[Provenance, ...]:
    """Every result by its folder in the run; the run itself by its own name."""
    names = [(source.folder.relative_to(run).as_posix(), source.manifest) for source in sources]
    return tuple(
        Provenance(run.resolve().name if name == "." else name, manifest)
        for name, manifest in names
    )
