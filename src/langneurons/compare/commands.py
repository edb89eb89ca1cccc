"""The command that holds a model before against models after: compare. No model is run."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from langneurons import artifacts, console
from langneurons.compare import comparison
from langneurons.compare.changes import Side, Source
from langneurons.compare.comparison import Comparison
from langneurons.config import IdentifyConfig
from langneurons.console import Force, Json, Made, Quiet
from langneurons.effects.mediation import Mediation
from langneurons.errors import InputError
from langneurons.neurons.counts import Counts
from langneurons.neurons.table import Neurons
from langneurons.resume import Progress, State
from langneurons.silencing.losses import Losses
from langneurons.silencing.matrix import matrices
from langneurons.tables import Table
from langneurons.texts.accuracy import Evaluation


def compare(
    before: Path,
    /,
    *after: Path,
    out: Path,
    trained: str | None = None,
    domain: Path | None = None,
    perplexity: Path | None = None,
    accuracy: tuple[Path, ...] = (),
    mediation: Path | None = None,
    bootstrap: int = 200,
    seed: int = 0,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Made[Comparison]:
    """Hold neurons before against neurons after: overlap, changes, the paper's claims.

    Parameters
    ----------
    before
        Folder of neurons, or a folder that holds the results of a model, that the others are held
        against.
    after
        One or more such folders: checkpoints of an alignment, another method. Claims are judged by
        the last.
    out
        Folder to write.
    trained
        Languages that were aligned, as codes with commas.
    domain
        Folder of the neurons of the model before on other questions.
    perplexity
        Folder of what silencing costs the model before; by default one beside its neurons, made
        from them.
    accuracy
        Folder of an evaluation; once for BEFORE, then once for each AFTER.
    mediation
        Folder of what the alignment did, followed through the neurons of BEFORE; by default the
        only one beside them.
    bootstrap
        Resamplings of the blocks behind every interval; 0 for none.
    seed
        Seed of the resampling.
    """
    if not after:
        raise InputError("compare needs at least two folders of neurons, BEFORE and AFTER")
    if bootstrap < 0 or bootstrap == 1:
        raise InputError(
            f"bootstrap {bootstrap}: an interval needs 2 resamplings or more, 0 means none"
        )
    if twice := [str(folder) for folder in after if after.count(folder) > 1]:
        raise InputError(f"{twice[0]} is given more than once; each AFTER may stand once")
    given = _Given(
        before=_results(before),
        after=[_results(folder) for folder in after],
        domain=_results(domain) if domain else None,
        perplexity=artifacts.read(perplexity, Losses.KIND) if perplexity else None,
        accuracy=[artifacts.read(folder, Evaluation.KIND) for folder in accuracy],
        mediation=artifacts.read(mediation, Mediation.KIND) if mediation else None,
    ).completed()
    codes = console.codes(trained) or ()
    languages = Neurons.load(given.before.neurons).languages
    if unknown := [code for code in codes if code not in languages]:
        raise InputError(
            f"--trained {', '.join(unknown)}: the languages of {before} are {', '.join(languages)}"
        )

    perturbed = given.perturbed()

    def make(_: State, on_step: Progress | None) -> tuple[Comparison, Mapping[str, Any]]:
        made = comparison.compare(
            given.before.side(),
            [results.side() for results in given.after],
            domain=given.domain.side() if given.domain else None,
            matrices=matrices(Losses.load(given.perplexity)) if given.perplexity else None,
            accuracy=[Evaluation.load(evaluation).responses for evaluation in given.accuracy],
            trained=codes,
            mediation=Mediation.load(given.mediation) if given.mediation else None,
            alignment=not perturbed,
            resamplings=bootstrap,
            seed=seed,
            on_step=on_step,
        )
        return replace(made, notes=[*made.notes, *perturbed]), {}

    made = console.made(
        Comparison,
        out,
        "compare",
        {"trained": list(codes), "bootstrap": bootstrap, "seed": seed},
        given.digests(),
        make,
        doing="resampling",
        force=force,
        quiet=quiet,
    )
    if json:
        _print_json(made)
    else:
        _print(made)
    return made


class _Results(NamedTuple):
    """The results of one model.

    Attributes:
        name: what it was called on the command line.
        neurons: its neurons.
        counts: what they come from, if it is beside them.
        perplexity: what silencing them costs, if it is beside them.
        accuracy: its evaluations, where a folder of results was given.
        mediations: alignments of it, followed through these neurons, if they are beside it.
    """

    name: str
    neurons: artifacts.Artifact
    counts: artifacts.Artifact | None
    perplexity: artifacts.Artifact | None
    accuracy: list[artifacts.Artifact]
    mediations: list[artifacts.Artifact]

    def digests(self, name: str) -> dict[str, str]:
        """Digests of what a comparison is made from."""
        digests = {name: self.neurons.digest}
        if self.counts:
            digests[f"{name} counts"] = self.counts.digest
        return digests

    @property
    def perturbed(self) -> str | None:
        """How the texts were perturbed that it was recorded on, as far as is known."""
        return self.counts.manifest["config"].get("perturb") if self.counts else None

    def side(self) -> Side:
        """Its neurons and, where they were identified here, what they were identified from."""
        neurons = Neurons.load(self.neurons)
        if not self.counts or neurons.rule.method == "imported":
            return Side(self.name, neurons)
        known = {field.name for field in fields(IdentifyConfig)}
        settings = {
            name: value for name, value in self.neurons.manifest["config"].items() if name in known
        }
        source = Source(Counts.load(self.counts), IdentifyConfig(**settings))
        return Side(self.name, neurons, source)


class _Given(NamedTuple):
    """What a comparison is made from; see `compare`."""

    before: _Results
    after: list[_Results]
    domain: _Results | None
    perplexity: artifacts.Artifact | None
    accuracy: list[artifacts.Artifact]
    mediation: artifacts.Artifact | None

    def completed(self) -> "_Given":
        """The same with what was not given taken from the folders of results.

        Raises:
            InputError: when evaluations were given for some of the models only.
        """
        models = [self.before, *self.after]
        accuracy = self.accuracy
        if not accuracy and all(len(results.accuracy) == 1 for results in models):
            accuracy = [results.accuracy[0] for results in models]
        elif accuracy and len(accuracy) != len(models):
            raise InputError(
                f"--accuracy was given {len(accuracy)} times for {len(models)} models; give it "
                "once for BEFORE, then once for each AFTER"
            )
        perplexity = self.perplexity or self.before.perplexity
        mediation = self.mediation
        if not mediation and len(self.before.mediations) == 1:
            [mediation] = self.before.mediations
        return self._replace(perplexity=perplexity, accuracy=accuracy, mediation=mediation)

    def perturbed(self) -> list[str]:
        """Notes on models after whose texts were perturbed otherwise than those before."""
        before = self.before.perturbed
        return [
            f"{results.name} is of texts after --perturb {results.perturbed}, {self.before.name} "
            f"{f'after --perturb {before}' if before else 'of texts as they are'}: what differs is "
            "the texts, so claims of what alignment does stay open"
            for results in self.after
            if results.perturbed != before
        ]

    def digests(self) -> dict[str, str]:
        """Digests of everything, by name."""
        digests = self.before.digests("before")
        for number, results in enumerate(self.after, start=1):
            digests |= results.digests(f"after {number}")
        if self.domain:
            digests |= self.domain.digests("domain")
        if self.perplexity:
            digests["perplexity"] = self.perplexity.digest
        if self.mediation:
            digests["mediation"] = self.mediation.digest
        for number, evaluation in enumerate(self.accuracy):
            digests[f"accuracy {number}"] = evaluation.digest
        return digests


def _results(folder: Path) -> _Results:
    """The neurons in a folder, or in a folder of results, and what belongs to them."""
    is_result = (folder / artifacts.MANIFEST).is_file()
    if is_result or not folder.is_dir():
        neurons = artifacts.read(folder, Neurons.KIND)
    else:
        neurons = _neurons_among(folder)
    beside = neurons.folder.resolve().parent
    costs, mediations = (
        [
            found
            for found in artifacts.find(beside, kind)
            if found.manifest["inputs"].get("neurons") == neurons.digest
        ]
        for kind in (Losses.KIND, Mediation.KIND)
    )
    return _Results(
        name=str(folder),
        neurons=neurons,
        counts=artifacts.source_beside(neurons, Counts.KIND),
        perplexity=costs[0] if costs else None,
        accuracy=[] if is_result else artifacts.find(folder, Evaluation.KIND),
        mediations=mediations,
    )


def _neurons_among(results: Path) -> artifacts.Artifact:
    """The only neurons in a folder of results, or those in its folder `neurons`."""
    by_name = {neurons.folder.name: neurons for neurons in artifacts.find(results, Neurons.KIND)}
    if len(by_name) == 1:
        return next(iter(by_name.values()))
    if "neurons" not in by_name:
        raise InputError(
            f"{results} holds {', '.join(by_name) or 'no neurons'}; give the folder of neurons "
            "that is meant"
        )
    return by_name["neurons"]


def _print_json(made: Made[Comparison]) -> None:
    """What was found, as one JSON object."""
    tables = {name: table.records() for name, table in made.value.tables.items()}
    console.print_json(
        {
            "out": str(made.folder),
            "overlap": tables.pop("overlap"),
            "tables": tables,
            "notes": made.value.notes,
            "claims": [claim._asdict() for claim in made.value.claims],
        }
    )


def _print(made: Made[Comparison]) -> None:
    """What was found: overlap, changes, accuracy, claims."""
    tables = made.value.tables
    _print_overlap(tables["overlap"])
    if "survival-alone" in tables:
        _print_survival(tables["survival-alone"], " where its texts alone are so")
    elif "survival" in tables:
        _print_survival(tables["survival"])
    for name in ("kind-changes", "group-changes"):
        if name in tables:
            _print_changes(tables[name])
    if "agreement-changes" in tables:
        _print_agreement(tables["agreement-changes"])
    if "accuracy-changes" in tables:
        _print_accuracy(tables["accuracy-changes"])
    print("-- claims of the paper")
    for claim in made.value.claims:
        print(f"{claim.verdict:<14} {claim.statement} ({claim.where})")
        print(f"{'':<14} {claim.words}")
    for note in made.value.notes:
        print(f"note: {note}")
    print(f"wrote {made.folder}")


def _by_after(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows of each model after, by its name."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["after"], []).append(row)
    return groups


def _print_overlap(table: Table) -> None:
    heads = ("kind", "language", "before", "after", "both", "ratio", "Jaccard", "chance")
    groups = _by_after(table.records())
    for after, rows in groups.items():
        if len(groups) > 1:
            print(f"-- {after}")
        cells = [
            (
                row["kind"],
                row["language"],
                row["before neurons"],
                row["after neurons"],
                row["both"],
                _share(row["ratio"]),
                _share(row["jaccard"]),
                f"{row['chance']:.2%}",
            )
            for row in rows
        ]
        print(console.columns(heads, cells, left=2))


def _print_survival(table: Table, where: str = "") -> None:
    """Of each language's neurons how many stay its own, by own thresholds."""
    heads = ("stay", "kind", "before", "both", "ratio", "95% interval", "chance", "resampled")
    for after, rows in _by_after(table.records()).items():
        print(f"-- neurons of a language that are its own and of their kind in {after}{where}")
        cells = [
            (
                row["language"],
                row["kind"],
                row["before"],
                row["both"],
                _share(row["ratio"]),
                "" if row["low"] is None else f"[{row['low']:.0%}, {row['high']:.0%}]",
                f"{row['chance']:.2%}",
                _share(row["resampled"]),
            )
            for row in rows
            if row["thresholds"] == "own"
        ]
        print(console.columns(heads, cells, left=2))


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.1%}"


def _print_changes(table: Table) -> None:
    """Changes by own thresholds, and beside them by the base's."""
    places = [name for name in table.columns if name in ("languages", "kind")]
    what = "mean per language" if "languages" in places else "neurons"
    heads = (*places, "before", "now", "change", "95% interval", "by those before", "95% interval")
    for after, rows in _by_after(table.records()).items():
        print(f"-- {what}, {after}: change by own thresholds, and by those before")
        by_base = {
            tuple(row[name] for name in places): row for row in rows if row["thresholds"] != "own"
        }
        cells = []
        for row in rows:
            if row["thresholds"] == "own":
                place = tuple(row[name] for name in places)
                by_those_before = _moved(by_base[place]) if place in by_base else ("", "")
                numbers = (f"{row['before']:,}", f"{row['now']:,}")
                cells.append((*place, *numbers, *_moved(row), *by_those_before))
        print(console.columns(heads, cells, left=len(places)))


def _print_agreement(table: Table) -> None:
    """How agreement over the whole model changed."""
    heads = ("share", "languages", "before", "now", "change", "95% interval")
    for after, rows in _by_after(table.records()).items():
        print(f"-- agreement of languages over all layers, {after}")
        last = max(row["last layer"] for row in rows)
        cells = [
            (
                row["share"],
                row["languages"],
                f"{row['before']:.3f}",
                f"{row['now']:.3f}",
                f"{row['change']:+.3f}",
                "" if row["low"] is None else f"[{row['low']:+.3f}, {row['high']:+.3f}]",
            )
            for row in rows
            if (row["first layer"], row["last layer"]) == (0, last) and row["change"] is not None
        ]
        print(console.columns(heads, cells, left=2))


def _moved(row: Mapping[str, Any]) -> tuple[str, str]:
    """A change and its interval."""
    change = f"{row['change']:+,.6g}"
    if row["low"] is None:
        return change, ""
    return change, f"[{row['low']:+,.4g}, {row['high']:+,.4g}]"


def _print_accuracy(table: Table) -> None:
    heads = ("accuracy", "before", "now", "change", "95% interval", "p (Holm)")
    cells = [
        (
            row["name"],
            f"{row['before']:.1%}",
            f"{row['now']:.1%}",
            f"{row['change']:+z.1%}",
            f"{row['low']:+z.1%} to {row['high']:+z.1%}",
            f"{row['p (Holm)']:.2g}",
        )
        for row in table.records()
    ]
    print(console.columns(heads, cells))
