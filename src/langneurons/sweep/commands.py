"""The command that tries every claim over a grid of settings: sweep. No model is run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from langneurons import artifacts, console
from langneurons.config import SweepConfig, identity
from langneurons.console import Force, Json, Made, Quiet
from langneurons.errors import InputError
from langneurons.neurons.counts import Counts
from langneurons.resume import Progress, State
from langneurons.sweep.sweep import Sweep
from langneurons.sweep.sweep import sweep as swept
from langneurons.sweep.tables import VERDICTS


def sweep(
    counts: Path,
    /,
    *,
    out: Path,
    after: Path | None = None,
    trained: str | None = None,
    config: Annotated[SweepConfig, Parameter(name="*")] = SweepConfig(),
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Made[Sweep]:
    """Try every claim that counts can answer over a grid of settings, beside what chance gives.

    Parameters
    ----------
    counts
        Folder of counts.
    out
        Folder to write.
    after
        Folder of counts after an alignment, for the claims of what it changed.
    trained
        Languages that were aligned, as codes with commas.
    config
        The grid.
    """
    sources = {"counts": artifacts.read(counts, Counts.KIND)}
    if after:
        sources["after"] = artifacts.read(after, Counts.KIND)
    before, codes = Counts.load(sources["counts"]), console.codes(trained) or ()
    if unknown := [code for code in codes if code not in before.languages]:
        raise InputError(
            f"--trained {', '.join(unknown)}: the languages of {counts} are "
            f"{', '.join(before.languages)}"
        )

    def make(state: State, on_step: Progress | None) -> tuple[Sweep, Mapping[str, Any]]:
        found = swept(
            before,
            config,
            after=Counts.load(sources["after"]) if after else None,
            trained=codes,
            state=state,
            on_step=on_step,
        )
        return found, {"cells": found.cells, "notes": list(found.notes)}

    made = console.made(
        Sweep,
        out,
        "sweep",
        {**identity(config), "trained": list(codes)},
        {name: source.digest for name, source in sources.items()},
        make,
        doing="sweeping",
        unit="cells",
        force=force,
        quiet=quiet,
    )
    _tell(made, json)
    return made


def _tell(made: Made[Sweep], json: bool) -> None:
    """Over all cells: how often each claim holds, and which axis moves it most."""
    claims, axes, *_ = made.value.tables
    if json:
        told = {"claims": claims.records(), "axes": axes.records()}
        notes = list(made.value.notes)
        console.print_json(
            {"out": str(made.folder), "cells": made.value.cells, **told, "notes": notes}
        )
        return
    heads = (
        "claim",
        "holds",
        "does not",
        "cannot tell",
        "least",
        "median",
        "most",
        "paper's",
        "moved most by",
    )
    lines = []
    for row in claims.records():
        numbers = [_short(row[name]) for name in ("least", "median", "most", "paper's cell")]
        shares = [f"{row[verdict] / row['cells']:.0%}" for verdict in VERDICTS]
        lines.append((row["claim"], *shares, *numbers, _most(axes.records(), row["claim"])))
    print(f"{made.value.cells:,} cells; a share of cells is no p-value")
    print(console.columns(heads, lines))
    for note in made.value.notes:
        print(f"note: {note}")
    print(f"wrote {made.folder}; next: langneurons report {made.folder.parent}")


def _most(axes: list[dict[str, Any]], claim: str) -> str | None:
    """The axis that changes a claim's verdict most often, or else moves its effect most."""
    own = [row for row in axes if row["claim"] == claim]
    if not own:
        return None
    most = max(own, key=lambda row: (row["share"], row["effect moves"] or 0))
    return f"{most['axis']} ({most['share']:.0%} other verdict)"


def _short(number: float | None) -> str | None:
    return None if number is None else f"{number:.3g}"
