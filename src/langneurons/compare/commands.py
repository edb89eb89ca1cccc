"""Contrast: the command that holds a model before against models after: compare. No model is run."""

import json as jsonlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from langneurons import artifacts, console
from langneurons.config import IdentifyConfig
from langneurons.console import Force, Json
from langneurons.errors import InputError
from langneurons.neurons.table import Neurons

if TYPE_CHECKING:
    from langneurons.compare.changes import Side
    from langneurons.compare.verdicts import Claim
    from langneurons.silencing.losses import Losses
    from langneurons.tables import Table
    from langneurons.texts.responses import Response


CLAIMS = "claims.json"
"""Name of the file of claims in a folder of comparison; beside it each table as NAME.json, NAME.csv
and NAME.tex."""


def load_comparison(source: artifacts.Artifact) -> "tuple[dict[str, Table], list[Claim]]":
    """The tables, by name, and the claims in a folder of comparison."""
    from langneurons.compare.verdicts import Claim
    from langneurons.tables import Table

    names = source.manifest["facts"]["tables"]
    tables = {name: Table.from_json(source.file(f"{name}.json").read_bytes()) for name in names}
    return tables, [Claim(**held) for held in jsonlib.loads(source.file(CLAIMS).read_bytes())]


def compare(
    before: Path,
    /,
    *after: Path,
    out: Path,
    trained: str | None = None,
    domain: Path | None = None,
    perplexity: Path | None = None,
    accuracy: tuple[Path, ...] = (),
    bootstrap: int = 200,
    seed: int = 0,
    force: Force = False,
    json: Json = False,
) -> None:
    """Hold neurons before against neurons after: overlap, changes with intervals, and the paper's claims with verdicts.

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
    first, others = _find(before), [_find(folder) for folder in after]
    other = _find(domain) if domain else None
    cost = artifacts.read(perplexity, "perplexity") if perplexity else first.perplexity
    marked = _evaluations(accuracy, [first, *others])
    codes = console.codes(trained) or ()
    known = Neurons.load(first.neurons).languages
    if unknown := [code for code in codes if code not in known]:
        raise InputError(
            f"--trained {', '.join(unknown)}: the languages of {before} are {', '.join(known)}"
        )
    inputs = {f"before {what}".strip(): digest for what, digest in first.digests().items()}
    inputs |= {
        f"after {i} {w}".strip(): d
        for i, one in enumerate(others, 1)
        for w, d in one.digests().items()
    }
    inputs |= (
        {f"domain {what}".strip(): digest for what, digest in other.digests().items()}
        if other
        else {}
    )
    inputs |= {"perplexity": cost.digest} if cost else {}
    inputs |= {f"accuracy {i}": one.digest for i, one in enumerate(marked)}
    config = {"trained": list(codes), "bootstrap": bootstrap, "seed": seed}
    if not console.there(out, "comparison", config, inputs, force=force):
        losses = Losses.load(cost) if cost else None
        with console.progress("resampling", quiet=json) as step:
            made = _compare(first, others, other, losses, marked, config, step)
        with artifacts.writing(out, "comparison", "compare", config, inputs) as draft:
            for name, content in _files(made).items():
                draft.bytes(name, content)
            draft.facts |= {"notes": made.notes, "tables": [table.name for table in made.tables]}
    _tell(out, json)


class _Found(NamedTuple):
    """The results of one model."""

    name: str
    neurons: artifacts.Artifact
    counts: artifacts.Artifact | None
    perplexity: artifacts.Artifact | None
    accuracy: tuple[artifacts.Artifact, ...]

    def digests(self) -> dict[str, str]:
        """Digests of what a comparison is made from."""
        return {"": self.neurons.digest} | ({"counts": self.counts.digest} if self.counts else {})


class _Made(NamedTuple):
    tables: "tuple[Table, ...]"
    claims: "list[Claim]"
    notes: list[str]


def _find(folder: Path) -> _Found:
    """The neurons in a folder, or in a folder of results, and what belongs to them."""
    alone = (folder / artifacts.MANIFEST).is_file()
    if alone or not folder.is_dir():
        neurons = artifacts.read(folder, "neurons")
    else:
        there = {one.folder.name: one for one in artifacts.find(folder, "neurons")}
        name = next(iter(there)) if len(there) == 1 else "neurons"
        if name not in there:
            raise InputError(
                f"{folder} holds {', '.join(there) or 'no neurons'}; give the folder of neurons that is meant"
            )
        neurons = there[name]
    run = neurons.folder.resolve().parent
    counts = [
        c
        for c in artifacts.find(run, "counts")
        if c.digest == neurons.manifest["inputs"].get("counts")
    ]
    costs = [
        p
        for p in artifacts.find(run, "perplexity")
        if p.manifest["inputs"].get("neurons") == neurons.digest
    ]
    accuracy = () if alone else tuple(artifacts.find(folder, "accuracy"))
    return _Found(str(folder), neurons, next(iter(counts), None), next(iter(costs), None), accuracy)


def _evaluations(given: tuple[Path, ...], found: Sequence[_Found]) -> list[artifacts.Artifact]:
    """One evaluation for each model, or none: those given, or the only one in each folder of results."""
    if not given:
        return (
            [one.accuracy[0] for one in found]
            if all(len(one.accuracy) == 1 for one in found)
            else []
        )
    if len(given) != len(found):
        raise InputError(
            f"--accuracy was given {len(given)} times for {len(found)} models; give it once for BEFORE, then once for "
            "each AFTER"
        )
    return [artifacts.read(folder, "accuracy") for folder in given]


def _side(found: _Found) -> "Side":
    from langneurons.compare.changes import Side, Source
    from langneurons.neurons.counts import Counts

    neurons, source = Neurons.load(found.neurons), None
    if found.counts and neurons.rule.method != "imported":
        names = {field.name for field in fields(IdentifyConfig)}
        settings = {
            key: value for key, value in found.neurons.manifest["config"].items() if key in names
        }
        source = Source(Counts.load(found.counts), IdentifyConfig(**settings))
    return Side(found.name, neurons, source)


def _compare(
    first: _Found,
    others: Sequence[_Found],
    domain: _Found | None,
    losses: "Losses | None",
    marked: Sequence[artifacts.Artifact],
    config: Mapping[str, Any],
    step: Any,
) -> _Made:
    from langneurons.compare import tables as changetables
    from langneurons.compare.changes import Changes, contrast
    from langneurons.compare.claims import Evidence, claims
    from langneurons.compare.overlap import Overlap, overlap
    from langneurons.silencing.matrix import matrices
    from langneurons.tables import Table
    from langneurons.texts.accuracy import compare_accuracy

    base, sides = _side(first), [_side(one) for one in others]
    heads = (f"{name} neurons" if name in ("before", "after") else name for name in Overlap._fields)
    rows = tuple((side.name, *row) for side in sides for row in overlap(base.neurons, side.neurons))
    tables = [
        Table("overlap", f"Overlap of neurons with those of {first.name}.", ("after", *heads), rows)
    ]
    known = set(base.neurons.languages)
    alike = [side for side in sides if set(side.neurons.languages) == known]
    others_known = [side.name for side in sides if set(side.neurons.languages) != known]
    notes = [f"{name} has other languages: only its overlap is shown" for name in others_known]
    how: dict[str, Any] = {
        "resamplings": config["bootstrap"],
        "seed": config["seed"],
        "on_step": step,
    }
    found = contrast(base, alike, **how)
    if found:
        tables += changetables.tables(found, config["trained"])
    across: tuple[Changes, ...] = ()
    if domain:
        (across,) = contrast(base, [_side(domain)], paired=False, **how)
        tables.append(changetables.stability_table(across)._replace(name="stability-domains"))
    for one in (*(pair[0] for pair in found), *across[:1]):
        if one.resampled is None:
            notes.append(
                f"{one.name}: no intervals: its counts are not beside its neurons, or hold one block"
            )
        elif one.resampled.failed:
            notes.append(
                f"{one.name}: {one.resampled.failed} resamplings allow no lambda and are left out"
            )
    answers = [_marked(one) for one in marked]
    if answers:
        changed = {
            one.name: compare_accuracy(answers[0], then)
            for one, then in zip(others, answers[1:], strict=True)
        }
        tables.append(changetables.accuracy_table(changed, config["trained"]))
    evidence = Evidence(
        base.neurons,
        found[-1] if found and alike[-1] is sides[-1] else (),
        across,
        matrices(losses) if losses else None,
        (answers[0], answers[-1]) if answers else None,
        tuple(config["trained"]),
    )
    return _Made(tuple(tables), claims(evidence), notes)


def _marked(evaluation: artifacts.Artifact) -> "list[Response]":
    from langneurons.texts.accuracy import Evaluation

    return Evaluation.load(evaluation).responses


def _files(made: _Made) -> dict[str, bytes]:
    """Each table as JSON, CSV and LaTeX, and the claims: file name -> content."""
    import json

    from langneurons.tables import Table

    rows = tuple(
        (claim.statement, claim.where, claim.verdict, claim.words) for claim in made.claims
    )
    verdicts = Table(
        "claims", "Claims of the paper.", ("claim", "where", "verdict", "reason"), rows
    )
    held = [claim._asdict() for claim in made.claims]
    out = {CLAIMS: json.dumps(held, ensure_ascii=False, allow_nan=False).encode()}
    for table in (*made.tables, verdicts):
        out[f"{table.name}.csv"] = table.to_csv().encode()
        out[f"{table.name}.tex"] = table.to_latex().encode()
    return out | {f"{table.name}.json": table.to_json() for table in made.tables}


def _tell(out: Path, json: bool) -> None:
    """What was found: overlap, changes, accuracy, claims."""
    source = artifacts.read(out, "comparison")
    tables, claims = load_comparison(source)
    notes = source.manifest["facts"]["notes"]
    if json:
        found = {name: table.records() for name, table in tables.items() if name != "overlap"}
        console.print_json(
            {
                "out": str(out),
                "overlap": tables["overlap"].records(),
                "tables": found,
                "notes": notes,
            }
            | {"claims": [claim._asdict() for claim in claims]}
        )
        return
    _tell_overlap(tables["overlap"])
    for name in ("kind-changes", "group-changes"):
        if name in tables:
            _tell_changes(tables[name])
    if "accuracy-changes" in tables:
        print(
            f"{'accuracy':<14}{'before':>9}{'now':>9}{'change':>9}  {'95% interval':<20}{'p (Holm)':>9}"
        )
        for row in tables["accuracy-changes"].records():
            shares = f"{row['before']:>9.1%}{row['now']:>9.1%}{row['change']:>+9.1%}"
            interval = f"{row['low']:+.1%} to {row['high']:+.1%}"
            print(f"{row['name']:<14}{shares}  {interval:<20}{row['p (Holm)']:>9.2g}")
    print("-- claims of the paper")
    for claim in claims:
        print(f"{claim.verdict:<14} {claim.statement} ({claim.where})\n{'':<15}{claim.words}")
    for note in notes:
        print(f"note: {note}")
    print(f"wrote {out}")


def _tell_overlap(table: "Table") -> None:
    print(
        f"{'kind':<10}{'language':<10}{'before':>8}{'after':>8}{'both':>8}{'ratio':>9}{'Jaccard':>9}{'chance':>9}"
    )
    rows, last = table.records(), None
    for row in rows:
        if rows[0]["after"] != rows[-1]["after"] and row["after"] != last:
            print(f"-- {row['after']}")
        last = row["after"]
        sizes = f"{row['before neurons']:>8,}{row['after neurons']:>8,}{row['both']:>8,}"
        shares = f"{_share(row['ratio']):>9}{_share(row['jaccard']):>9}{row['chance']:>9.2%}"
        print(f"{row['kind']:<10}{row['language']:<10}{sizes}{shares}")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _tell_changes(table: "Table") -> None:
    """Changes by own thresholds, and beside them by the base's."""
    rows = table.records()
    places = [name for name in table.columns if name in ("languages", "kind")]
    base = {
        (row["after"], *(row[p] for p in places)): row for row in rows if row["thresholds"] != "own"
    }
    last = None
    for row in rows:
        if row["thresholds"] != "own":
            continue
        if row["after"] != last:
            what = "mean per language" if "languages" in places else "neurons"
            print(f"-- {what}, {row['after']}: change by own thresholds, and by those before")
        last = row["after"]
        other = base.get((row["after"], *(row[p] for p in places)))
        who = "".join(f"{row[p]:<10}" for p in places)
        print(
            f"{who}{row['before']:>9,}{row['now']:>9,} {_moved(row):<28}{_moved(other) if other else ''}".rstrip()
        )


def _moved(row: Mapping[str, Any]) -> str:
    interval = "" if row["low"] is None else f" [{row['low']:+,.4g}, {row['high']:+,.4g}]"
    return f"{row['change']:>+9,.6g}{interval}"
