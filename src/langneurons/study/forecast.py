"""Forecast: what a run would do, what it would take, and what can be had. Nothing is written."""

import os
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from langneurons.console import columns, span
from langneurons.study.access import Access, access, amount
from langneurons.study.estimates import GPU, PROMPT, Estimates, seconds_at
from langneurons.study.ledger import Ledger
from langneurons.study.plan import Step
from langneurons.study.sizes import gpus
from langneurons.study.spec import Study


class Planned(NamedTuple):
    """A step, as a run would find it.

    Attributes:
        stage: name of the stage.
        out: folder it writes.
        state: whether it is there, or why it is to be done.
        do: whether it would be done.
        tokens: see `estimates.Cost`.
        operations: see there.
        memory: see there.
        seconds: how long it would take; None where that cannot be known.
        command: how to do the same by hand; None for what has no command.
    """

    stage: str
    out: str
    state: str
    do: bool
    tokens: float | None
    operations: float | None
    memory: float | None
    seconds: float | None
    command: str | None


class Forecast(NamedTuple):
    """What a run would do.

    Attributes:
        run: its folder.
        steps: its steps.
        access: what it needs, and whether that can be had.
    """

    run: Path
    steps: list[Planned]
    access: list[Access]

    def to_json(self) -> dict[str, Any]:
        """The same as `--json` prints it."""
        return {
            "run": str(self.run),
            "steps": [step._asdict() for step in self.steps],
            "access": [needed._asdict() for needed in self.access],
        }

    def to_text(self) -> str:
        """The same as a table, totals, and what can be had."""
        heads = ("stage", "folder", "tokens", "memory", "time")
        table = columns(heads, [_cells(step) for step in self.steps], left=2).splitlines()
        width = max(map(len, table))
        states = ("state", *(step.state for step in self.steps))
        lines = [f"{row:<{width}}  {state}" for row, state in zip(table, states, strict=True)]
        lines += _totals([step for step in self.steps if step.do], len(self.steps))
        words: Mapping[bool | None, str] = {True: "yes", False: "NO", None: "-"}
        for needed in self.access:
            lines.append(f"{words[needed.there]:<5}{needed.name:<44}{needed.seen}")
        there = next(p for p in (self.run, *self.run.absolute().parents) if p.exists())
        free = shutil.disk_usage(there).free
        return "\n".join([*lines, f"free on the disk of {self.run}: {free / 1e9:,.0f} GB"])


def forecast(study: Study, steps: Sequence[Step], ledger: Ledger) -> Forecast:
    """What a run would do of these steps."""
    estimates = Estimates(study, ledger, ask_hub=True)
    rows: list[Planned] = []
    new: set[str] = set()
    for step in steps:
        reason = ledger.reason(step)
        before = next((need for need in step.needs if need in new), None)
        if reason:
            new.add(step.out)
        cost = estimates.cost(step)
        planned = Planned(
            stage=step.stage.name,
            out=step.out,
            state=reason or (f"there; checked again after {before}" if before else "there"),
            do=reason is not None,
            **cost._asdict(),
            seconds=estimates.seconds(step, cost),
            command=step.command(),
        )
        rows.append(planned)
    return Forecast(ledger.run, rows, access(study))


def _cells(step: Planned) -> tuple[str, str, str, str, str]:
    """Stage, folder, tokens, memory and time of a step, as text."""
    if not step.do:
        return step.stage, step.out, "", "", ""
    tokens, memory = ("?" if n is None else amount(n) for n in (step.tokens, step.memory))
    time = "?" if step.seconds is None else span(step.seconds)
    return (
        step.stage,
        step.out,
        "-" if step.tokens == 0 else tokens,
        "-" if step.memory == 0 else memory if step.memory is None else f"{memory}B",
        time,
    )


def _totals(steps: Sequence[Planned], number: int) -> list[str]:
    """Totals of the steps that are to be done, of a number of all steps, and what they rest on."""
    if not steps:
        return [f"{number} steps, all there; nothing to do"]
    unknown = sum(step.seconds is None for step in steps)
    tokens = sum(step.tokens or 0 for step in steps)
    time = sum(step.seconds or 0 for step in steps)
    memory = max(step.memory or 0 for step in steps)
    least = "at least " if unknown else ""
    total = f"{least}{amount(tokens)} tokens, {amount(memory)}B at once, {span(time)}"
    if gpus():
        device = f"{gpus()} GPUs here, of which one is used"
    else:
        device = f"{os.cpu_count()} cores here and no GPU"
        on_gpu = sum(seconds_at(GPU, step.stage, step.operations or 0) for step in steps)
        total += f" here, {span(on_gpu)} on a GPU"
    parts: dict[str, float] = defaultdict(float)
    for step in steps:
        parts[step.stage] += step.seconds or 0
    longest = sorted(parts.items(), key=lambda part: part[1], reverse=True)[:4]
    shares = (f"{stage} {part / (time or 1):.0%}" for stage, part in longest)
    said = [f"{len(steps)} of {number} steps to do: {total}", f"most of it: {', '.join(shares)}"]
    if unknown:
        said.append(
            f"{unknown} steps cannot be estimated: their questions or their model are not here"
        )
    said.append(
        f"{device}; prompts taken to have {PROMPT} tokens, responses all they may have "
        "(see docs/study.md)"
    )
    return said
