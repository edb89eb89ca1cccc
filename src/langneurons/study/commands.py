"""Commands of studies: run."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from langneurons import artifacts, console
from langneurons.console import Json, Quiet
from langneurons.errors import InputError
from langneurons.study.execution import LOG, Outcome, carry_out
from langneurons.study.forecast import Forecast, forecast
from langneurons.study.ledger import Ledger
from langneurons.study.plan import Step, steps
from langneurons.study.spec import Study
from langneurons.study.stages import STAGES
from langneurons.study.toml import BUILT_IN, load
from langneurons.study.workflow import workflow


def run(
    study: str,
    /,
    *,
    out: Path | None = None,
    only: str | None = None,
    snakefile: Path | None = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> Outcome | Forecast | Path:
    """Carry out a study, stage by stage; what is done already is skipped.

    Parameters
    ----------
    study
        A TOML file, or a study that comes with langneurons: nano, gemma, paper.
    out
        Folder of the run [default: runs/STUDY].
    only
        Carry out these stages only, with commas; what they need must be there.
    snakefile
        Write the study into this file as a Snakemake workflow, by which many machines carry it out,
        and do nothing else.
    dry_run
        Only say what would be done, what it would take, and whether models and questions can be
        had.
    """
    named = load(study)
    folder = out or Path("runs") / named.name
    chosen = _chosen(steps(named.study), only)
    ledger = Ledger(folder, named)
    if snakefile:
        return _written(snakefile, study, named.study, chosen, ledger)
    if dry_run:
        would = forecast(named.study, chosen, ledger)
        if json:
            console.print_json(would.to_json())
        else:
            print(would.to_text())
        return would
    began = time.monotonic()
    outcome = carry_out(named.study, chosen, ledger, quiet=quiet)
    if json:
        console.print_json(outcome.to_json())
    else:
        _tell(outcome, time.monotonic() - began)
    if outcome.failed:
        _tell_failures(outcome, study, len(chosen))
    return outcome


def _written(file: Path, source: str, study: Study, chosen: Sequence[Step], ledger: Ledger) -> Path:
    """The file of a workflow; the folder of its run says from now on what it is a run of.

    Raises:
        InputError: when only some of the stages are asked for.
    """
    if len(chosen) < len(steps(study)):
        raise InputError("--snakefile writes the whole study; leave out --only")
    source = source if source in BUILT_IN else str(Path(source).resolve())
    artifacts.write_file(file, workflow(study, source, chosen, ledger).encode())
    ledger.save()
    rules = f"{len(chosen)} steps"
    print(f"wrote {file} ({rules}); next: snakemake -s {file} --cores {os.cpu_count()}")
    return file


def _chosen(whole: Sequence[Step], only: str | None) -> list[Step]:
    """The steps of the stages asked for.

    Raises:
        InputError: for a name that is no stage.
    """
    names = [stage.name for stage in STAGES]
    wanted = console.codes(only) or tuple(names)
    if unknown := [name for name in wanted if name not in names]:
        raise InputError(f"--only {unknown[0]}: the stages are {', '.join(names)}")
    return [step for step in whole if step.stage.name in wanted]


def _tell(outcome: Outcome, seconds: float) -> None:
    """What was done and what not."""
    run = outcome.run
    if not outcome.failed and not outcome.done:
        print(f"{run} is up to date: {len(outcome.kept)} steps; nothing to do")
    else:
        numbers = {
            "done": len(outcome.done),
            "there already": len(outcome.kept),
            "failed": len(outcome.failed),
            "waiting for those": len(outcome.waiting),
        }
        parts = ", ".join(f"{number} {what}" for what, number in numbers.items() if number)
        print(f"{run}: {parts}; {console.span(seconds)}; what each stage said is in {run / LOG}")
    if outcome.page.is_file():
        print(f"page: {outcome.page}")


def _tell_failures(outcome: Outcome, study: str, number: int) -> None:
    """What failed, and how to go on."""
    by_reason: dict[str, list[str]] = {}
    for out, why in outcome.failed.items():
        by_reason.setdefault(why, []).append(out)
    for why, outs in by_reason.items():
        more = f" and {len(outs) - 1} more" if len(outs) > 1 else ""
        print(f"langneurons: {outs[0]}{more}: {why}", file=sys.stderr)
    print(
        f"langneurons: {len(outcome.failed)} of {number} steps failed. When that is mended, "
        f"go on with: langneurons run {study} --out {outcome.run}",
        file=sys.stderr,
    )
