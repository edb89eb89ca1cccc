"""Comparison: a model before held against models after, as tables and claims with verdicts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from langneurons import artifacts
from langneurons.compare import tables
from langneurons.compare.changes import Changes, Side, Source, contrast
from langneurons.compare.claims import Evidence, claims
from langneurons.compare.nearness import nearness
from langneurons.compare.verdicts import Claim
from langneurons.effects.mediation import Mediation
from langneurons.neurons.counts import merge
from langneurons.neurons.identify import identify
from langneurons.resume import Progress
from langneurons.silencing.matrix import Matrices
from langneurons.tables import Table
from langneurons.texts.accuracy import Change, compare_accuracy, not_compared
from langneurons.texts.responses import Response

ALONE = 50
"""Resamplings, at most, behind the intervals of each language alone: there are many of these."""


@dataclass(frozen=True)
class Comparison:
    """What changed from a model to others, and what the paper's claims come to.

    Attributes:
        tables: by name.
        claims: every claim with its verdict.
        notes: what to know of how it came about.
    """

    KIND: ClassVar[str] = "comparison"
    FILE: ClassVar[str] = "claims.json"

    tables: Mapping[str, Table]
    claims: Sequence[Claim]
    notes: Sequence[str] = ()

    def write(self, draft: artifacts.Draft) -> None:
        """Add each table, as JSON, CSV and LaTeX, and the claims to a folder being written."""
        judged = [claim._asdict() for claim in self.claims]
        content = json.dumps(judged, ensure_ascii=False, allow_nan=False)
        draft.bytes(self.FILE, content.encode())
        for table in (*self.tables.values(), tables.claim_table(self.claims)):
            draft.bytes(f"{table.name}.csv", table.to_csv().encode())
            draft.bytes(f"{table.name}.tex", table.to_latex().encode())
        for table in self.tables.values():
            draft.bytes(f"{table.name}.json", table.to_json())
        draft.facts |= {"notes": list(self.notes), "tables": list(self.tables)}

    def save(self, folder: Path | str) -> None:
        """Write them into a folder of their own; see `artifacts.save`."""
        artifacts.save(self, folder)

    @classmethod
    def load(cls, source: Path | str | artifacts.Artifact) -> "Comparison":
        """Those in a finished folder.

        Raises:
            InputError: when there is none, or it holds something else.
            FormatError: when a file of it is damaged.
        """
        opened = artifacts.opened(source, cls.KIND)
        facts = opened.manifest["facts"]
        judged = json.loads(opened.file(cls.FILE).read_bytes())
        return cls(
            tables={
                name: Table.from_json(opened.file(f"{name}.json").read_bytes())
                for name in facts["tables"]
            },
            claims=[Claim(**fields) for fields in judged],
            notes=facts["notes"],
        )


def compare(
    before: Side,
    after: Sequence[Side],
    *,
    domain: Side | None = None,
    matrices: Matrices | None = None,
    accuracy: Sequence[Sequence[Response]] = (),
    trained: Sequence[str] = (),
    mediation: Mediation | None = None,
    alignment: bool = True,
    resamplings: int = 200,
    seed: int = 0,
    on_step: Progress | None = None,
) -> Comparison:
    """A model before held against models after: overlap, changes with intervals, and claims.

    Of models that know other languages only the overlap is told. Claims are judged by the last.

    Args:
        before: the model before.
        after: the models after: checkpoints of an alignment, another method.
        domain: the model before on other questions.
        matrices: what silencing costs the model before.
        accuracy: marked responses to the same questions, of the model before, then of each after;
            empty for none.
        trained: the languages that were aligned.
        mediation: what the alignment did, followed through sets of neurons of the model before.
        alignment: whether what is after is another model. Where it is the same on other texts,
            claims of what alignment does stay open, and it is told what the texts of each language
            change alone.
        resamplings: how many lie behind every interval; 0 for none.
        seed: of the resampling.
        on_step: told of the resamplings done.

    Raises:
        MismatchError: when neurons are of different models, or responses of different questions.
        InputError: when a table of neurons does not say enough, or no resampling allows a lambda.
    """
    languages = set(before.neurons.languages)
    alike = [side for side in after if set(side.neurons.languages) == languages]
    notes = [
        f"{side.name} has other languages: only its overlap is shown"
        for side in after
        if set(side.neurons.languages) != languages
    ]
    settings: dict[str, Any] = {"resamplings": resamplings, "seed": seed, "on_step": on_step}
    made = [tables.overlap_table(before, after)]
    aligned = contrast(before, alike, **settings)
    if aligned:
        made += tables.tables(aligned, trained)
        nearer, untold = nearness(before, alike, trained, resamplings=resamplings, seed=seed)
        made += [nearer] if nearer else []
        notes += untold
    if not alignment and (alone := [one for side in alike for one in _alone(before, side)]):
        fewer: dict[str, Any] = {**settings, "resamplings": min(resamplings, ALONE)}
        found = contrast(before, [side for _, side in alone], **fewer)
        codes = [code for code, _ in alone]
        made.append(tables.alone_table(list(zip(codes, found, strict=True))))
    domains: tuple[Changes, ...] = ()
    if domain:
        (domains,) = contrast(before, [domain], paired=False, **settings)
        made.append(tables.stability_table(domains, domains=True))
    for changes in (*aligned, *([domains] if domains else [])):
        notes += _notes(changes[0])
    if accuracy:
        made.append(tables.accuracy_table(_accuracies(after, accuracy), trained))
        for side, answers in zip(after, accuracy[1:], strict=True):
            notes += [
                f"accuracy, {side.name}: {note}" for note in not_compared(accuracy[0], answers)
            ]
    evidence = Evidence(
        neurons=before.neurons,
        changes=aligned[-1] if alignment and aligned and alike[-1] is after[-1] else (),
        domains=domains,
        matrices=matrices,
        accuracy=(accuracy[0], accuracy[-1]) if accuracy else None,
        trained=tuple(trained),
        mediation=mediation if alignment else None,
    )
    return Comparison({table.name: table for table in made}, claims(evidence), notes)


def _alone(before: Side, after: Side) -> list[tuple[str, Side]]:
    """For each language, what comes after with the texts of all other languages as before.

    What is specific to a language depends on all of them: where all change at once, so do neurons
    of a language whose own texts stay as they are. Empty without counts that can be put together.
    """
    first, second = before.source, after.source
    if not first or not second or first.counts.block_rule != second.counts.block_rule:
        return []
    config = replace(second.config, bootstrap=0)
    sides = []
    for code in before.neurons.languages:
        others = tuple(other for other in before.neurons.languages if other != code)
        counts = merge([first.counts.spread(others), second.counts.spread((code,))])
        sides.append((code, Side(after.name, identify(counts, config), Source(counts, config))))
    return sides


def _notes(changes: Changes) -> list[str]:
    """What to know of the intervals of these changes."""
    if changes.resampled is None:
        return [
            f"{changes.name}: no intervals: its counts are not beside its neurons, or hold one "
            "block"
        ]
    if changes.resampled.failed:
        return [
            f"{changes.name}: {changes.resampled.failed} resamplings allow no lambda and are left "
            "out"
        ]
    return []


def _accuracies(
    after: Sequence[Side], accuracy: Sequence[Sequence[Response]]
) -> dict[str, list[Change]]:
    """How accuracy changed up to each of the models after, by its name."""
    first, *later = accuracy
    return {
        side.name: compare_accuracy(first, answers)
        for side, answers in zip(after, later, strict=True)
    }
