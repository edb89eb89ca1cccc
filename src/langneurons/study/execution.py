"""Execution: carry out the steps of a study; those that need none that failed go on."""

import gc
import hashlib
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass, field, fields
from inspect import signature
from pathlib import Path
from typing import Any

from langneurons import console
from langneurons.ask import serving
from langneurons.errors import InputError, LangneuronsError, missing_extra
from langneurons.run_folder import PAGE
from langneurons.study.estimates import Estimates, Remaining
from langneurons.study.ledger import Ledger, identity
from langneurons.study.plan import Step
from langneurons.study.spec import Study
from langneurons.study.stages import EvaluateModel, MakeReport, SampleResponses
from langneurons.texts.questions import Questions, chosen
from langneurons.texts.rows import to_lines

LOG = "log.txt"
"""Name of the file in the folder of a run to which every stage says what it has to say."""


def questions(
    source: str, /, *, out: Path, languages: tuple[str, ...], take: int, force: bool
) -> None:
    """Fetch the questions of a study, so that they stay with it.

    Args:
        source: QUESTIONS.
        out: folder to write.
        languages: languages to take, as codes.
        take: how many to take, the first ones, the same in every language; 0: all.
        force: whether a result of other settings is replaced.
    """
    taken = Questions(chosen(source, languages, take))
    lines = to_lines(question.to_row() for question in taken.questions)
    facts = {"source": source, "questions": len({question.id for question in taken.questions})}
    console.made(
        Questions,
        out,
        "run",
        settings={"languages": list(languages), "take": take},
        inputs={"questions": hashlib.sha256(lines).hexdigest()},
        make=lambda _state, _step: (taken, facts),
        doing="fetching",
        force=force,
        quiet=True,
    )


def commands() -> dict[str, Callable[..., object]]:
    """What carries out each stage: the function that is its command.

    They are imported when something is to be done: all the stages bring numpy with them.
    """
    from langneurons.align import commands as align
    from langneurons.ask import commands as ask
    from langneurons.compare import commands as compare
    from langneurons.effects import commands as effects
    from langneurons.meaning import commands as meaning
    from langneurons.neurons import commands as neurons
    from langneurons.report import commands as report
    from langneurons.silencing import commands as silencing
    from langneurons.sweep import commands as sweep

    return {
        "questions": questions,
        "sample": ask.sample,
        "evaluate": ask.evaluate,
        "record": neurons.record,
        "identify": neurons.identify,
        "perplexity": silencing.perplexity,
        "attribute": effects.attribute,
        "meaning": meaning.meaning,
        "lens": meaning.lens,
        "reward": align.reward,
        "pair": align.pair,
        "align": align.align,
        "compare": compare.compare,
        "sweep": sweep.sweep,
        "report": report.report,
    }


@dataclass
class Outcome:
    """What became of the steps of a run, by folder.

    Attributes:
        run: folder of the run.
        done: steps that were carried out, and seconds.
        kept: those that were done before.
        failed: those that failed, and what they said.
        waiting: those that need one that failed, and which.
        unforeseen: those among the failed that are langneurons' own fault.
    """

    run: Path
    done: dict[str, float] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    unforeseen: list[str] = field(default_factory=list)

    @property
    def page(self) -> Path:
        """Where the page is, once it is made."""
        return self.run / PAGE

    @property
    def status(self) -> int:
        """Exit status: 0, 2 when something failed that can be mended, 1 when that is our fault."""
        if self.unforeseen:
            return 1
        return 2 if self.failed else 0

    def to_json(self) -> dict[str, Any]:
        """The same as `--json` prints it."""
        page = str(self.page) if self.page.is_file() else None
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "run"}
        return {"run": str(self.run), "page": page, **own}


def carry_out(study: Study, steps: Sequence[Step], ledger: Ledger, *, quiet: bool) -> Outcome:
    """Carry out each step that is not done; a step comes after those it needs.

    Args:
        study: the study.
        steps: its steps, or some of them.
        ledger: what is done of it in the folder of the run.
        quiet: whether neither the steps nor their progress are shown.
    """
    run = _Run(study, steps, ledger, quiet=quiet)
    try:
        for number, step in enumerate(steps, 1):
            run.carry_out(number, step)
            run.passed(step)
    finally:
        serving.stop()
    return run.outcome


class _Run:
    """Steps being carried out."""

    def __init__(self, study: Study, steps: Sequence[Step], ledger: Ledger, *, quiet: bool) -> None:
        """See `carry_out`."""
        self.outcome = Outcome(ledger.run)
        self._steps = steps
        self._ledger = ledger
        self._quiet = quiet
        self._estimates = Estimates(study, ledger)
        self._remaining: Remaining | None = None  # made at the first step that is to be done
        self._began = time.monotonic()

    def carry_out(self, number: int, step: Step) -> None:
        """Carry out a step if it is to be done, and if what it needs did not fail."""
        outcome = self.outcome
        lost = [need for need in step.needs if need in outcome.failed or need in outcome.waiting]
        if lost:
            outcome.waiting[step.out] = lost[0]
            return
        try:
            reason = self._reason(step)
            if reason is None:
                outcome.kept.append(step.out)
                return
            if not self._quiet:
                self._announce(number, step, reason)
            outcome.done[step.out] = self._call(step)
        except LangneuronsError as error:
            self._failed(step, str(error))
        except Exception as error:  # noqa: BLE001 - the other steps go on; the story is in the log
            if missing := missing_extra(error):
                self._failed(step, str(missing))
                return
            outcome.unforeseen.append(step.out)
            what = f"this should not happen: {type(error).__name__}: {error}"
            self._failed(step, f"{what}. Report it, with {LOG}")

    def passed(self, step: Step) -> None:
        """Leave a step out of what remains."""
        if self._remaining:
            self._remaining.passed(step)

    def _reason(self, step: Step) -> str | None:
        """Why a step is to be done; None when it is done.

        Raises:
            LangneuronsError: when something it needs is not there, or its folder is damaged.
        """
        reason = self._ledger.reason(step)
        if reason is None:
            return None
        for need in step.needs:
            if self._ledger.digest(need) is None:
                raise InputError(f"it needs {need}, which is not there; leave out --only")
        return reason

    def _announce(self, number: int, step: Step, reason: str) -> None:
        """Say which step begins and why, and about how long the rest will take."""
        if self._remaining is None:
            self._remaining = Remaining(self._estimates, self._steps[number - 1 :])
        times = console.span(time.monotonic() - self._began)
        left = self._remaining.seconds()
        if left is not None:
            times += f", about {console.span(left)} left"
        place = f"[{number}/{len(self._steps)}, {times}]"
        _say(f"{place} {step.stage.name} {step.out} ({reason})")

    def _failed(self, step: Step, why: str) -> None:
        self.outcome.failed[step.out] = why
        _say(f"{step.stage.name} {step.out} failed: {why}")

    def _call(self, step: Step) -> float:
        """Call the command of a step in the folder of the run; seconds it took."""
        _release(step)
        outside = {name: identity(name) for name in step.call.outside}
        ledger = self._ledger
        ledger.save()
        options: dict[str, Any] = {"out": Path(step.out)}
        if not isinstance(step.stage, MakeReport):
            options["force"] = True
        options |= step.call.options
        command = commands()[step.stage.name]
        if self._quiet and "quiet" in signature(command).parameters:
            options["quiet"] = True
        began = time.monotonic()
        with (
            (ledger.run / LOG).open("a", encoding="utf-8") as log,
            chdir(ledger.run),
            redirect_stdout(log),
        ):
            when = time.strftime("%Y-%m-%d %H:%M:%S")
            print(f"\n== {when} {step.command() or step.out}", flush=True)
            try:
                command(*step.call.given, **options)
            except Exception:
                traceback.print_exc(file=log)
                raise
        seconds = time.monotonic() - began
        ledger.note(step, outside, seconds, self._estimates.cost(step).operations)
        return seconds


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _release(step: Step) -> None:
    """Give back what the last model took, so that the next one has room; a server too, unless this
    step may ask it.
    """
    if not isinstance(step.stage, SampleResponses | EvaluateModel):
        serving.stop()
    gc.collect()
    gc.freeze()  # what is left are libraries, which the next collection need not look through
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        torch.cuda.empty_cache()
