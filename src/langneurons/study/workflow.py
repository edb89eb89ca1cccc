"""Workflow: a study as a Snakemake workflow, by which many machines carry it out.

A rule for each step: its command as a person would type it, from the folder of the run; manifests
of the results it reads and of the one it writes; and GPUs, memory and minutes by the estimate.
"""

import math
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from langneurons import __version__
from langneurons.artifacts import MANIFEST
from langneurons.study.estimates import GPU, Cost, Estimates, seconds_at
from langneurons.study.ledger import Ledger
from langneurons.study.plan import Step
from langneurons.study.spec import Study
from langneurons.study.stages import FetchQuestions, MakeReport

AT_ONCE = 600.0
"""Seconds that a step may take here; one that would take longer is given a GPU."""

SPARE = 3
"""How many times as long as estimated a step may take; estimates are off by a factor of a few."""

LEAST, OWN = 10, 2000
"""Minutes of the shortest step, and megabytes that langneurons takes without a model."""


def workflow(study: Study, source: str, steps: Sequence[Step], ledger: Ledger) -> str:
    """The text of a Snakefile.

    Args:
        study: the study.
        source: STUDY, as `run` takes it from any folder.
        steps: its steps, all of them.
        ledger: of the run.
    """
    estimates = Estimates(study, ledger)
    fetching = [step for step in steps if isinstance(step.stage, FetchQuestions)]
    lines = [
        f"# {len(steps)} steps of the study {ledger.head['study']}, by langneurons {__version__}:",
        f"# langneurons run {shlex.quote(source)} --snakefile, --out {ledger.run}",
        f"workdir: {str(ledger.run.resolve())!r}",
        *_rule("all", inputs=[steps[-1].out]),
    ]
    if fetching:
        words = ["langneurons", "run", source, "--out", ".", "--only", FetchQuestions.name]
        outs = [step.out for step in fetching]
        lines += _rule("questions", outs=outs, command=shlex.join(words))
    for number, step in enumerate(steps):
        if step not in fetching:
            lines += _rule(
                f"{step.stage.name}_{number}",
                inputs=step.needs,
                outs=[step.out],
                resources=list(_resources(estimates, step)),
                command=_command(step),
            )
    return "\n".join(lines) + "\n"


def _command(step: Step) -> str:
    """As a person would type it; a result of other settings is replaced, as `run` does."""
    command = step.command() or ""
    return command if isinstance(step.stage, MakeReport) else f"{command} --force"


def _rule(
    name: str,
    *,
    inputs: Sequence[str] = (),
    outs: Sequence[str] = (),
    resources: Sequence[str] = (),
    command: str | None = None,
) -> Iterator[str]:
    """The lines of a rule.

    What it writes is `update`d: Snakemake leaves it where it is, and the command says whether it
    still holds.
    """
    yield ""
    yield f"rule {name}:"
    if inputs:
        yield from _listed("input", [_manifest(folder) for folder in inputs])
    if outs:
        yield from _listed("output", [f"update({_manifest(folder)})" for folder in outs])
    if resources:
        yield from _listed("resources", resources)
    if command:
        escaped = command.replace("{", "{{").replace("}", "}}")
        yield from _listed("shell", [repr(escaped)])


def _listed(word: str, values: Sequence[str]) -> Iterator[str]:
    yield f"    {word}:"
    yield ",\n".join(f"        {value}" for value in values)


def _manifest(folder: str) -> str:
    return repr(str(Path(folder) / MANIFEST))


def _resources(estimates: Estimates, step: Step) -> Iterator[str]:
    """A GPU where this machine would be long about it, memory, minutes; of what is known.

    A step that ran out of time goes on where it was, with more of it each time.
    """
    cost = estimates.cost(step)
    seconds = estimates.seconds(step, cost)
    if seconds is None:
        return
    if seconds > AT_ONCE:
        yield "gpu=1"
        seconds = min(seconds, seconds_at(GPU, step.stage.name, cost.operations or 0))
    yield f"mem_mb={_memory(cost)}"
    minutes = max(LEAST, math.ceil(SPARE * seconds / 60))
    yield f"runtime=lambda wildcards, attempt: {minutes} * attempt"


def _memory(cost: Cost) -> int:
    return OWN + math.ceil((cost.memory or 0) / 1e6)
