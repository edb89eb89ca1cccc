"""Run: the command that carries out a study."""

import gc
import hashlib
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from cyclopts import Parameter

from langneurons import artifacts, console
from langneurons.align import commands as mapo
from langneurons.ask import commands as ask
from langneurons.compare import commands as contrast
from langneurons.console import Json
from langneurons.errors import InputError, LangneuronsError
from langneurons.neurons import commands as analyse
from langneurons.report import commands as publish
from langneurons.silencing import commands as silencing
from langneurons.study import estimate
from langneurons.study.ledger import Ledger, identity
from langneurons.study.plan import STAGES, Step, steps
from langneurons.study.spec import Named, load

LOG = "log.txt"
"""Name of the file in the folder of a run to which every stage says what it has to say."""


def run(
    study: str,
    /,
    *,
    out: Path | None = None,
    only: str | None = None,
    start: Annotated[str | None, Parameter(name="--from")] = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Carry out a study, stage by stage; what is done already is skipped.

    Parameters
    ----------
    study
        A TOML file, or a study that comes with langneurons: nano, paper.
    out
        Folder of the run [default: runs/STUDY].
    only
        Carry out these stages only, with commas; what they need must be there.
    start
        Carry out this stage and those that come after it; what they need must be there.
    dry_run
        Only say what would be done, what it would take, and whether models and questions can be
        had.
    """
    named = load(study)
    folder = out or Path("runs") / named.name
    chosen = _chosen(steps(named.study), only, start)
    ledger = Ledger(folder, named)
    if dry_run:
        _tell_plan(named, chosen, ledger, json)
        return
    began = time.monotonic()
    outcome = _carry_out(named, chosen, ledger, quiet=json)
    _tell(study, folder, len(chosen), outcome, time.monotonic() - began, json)


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
    from langneurons.texts.questions import Questions, load_questions
    from langneurons.texts.rows import to_lines

    held = load_questions(source, languages)
    ids = list(dict.fromkeys(one.id for one in held))[: take or None]
    wanted = frozenset(ids)
    held = [one for one in held if one.id in wanted]
    content = to_lines(one.to_row() for one in held)
    settings = {"languages": list(languages), "take": take}
    inputs = {"questions": hashlib.sha256(content).hexdigest()}
    if not console.there(out, "questions", settings, inputs, force=force, quiet=True):
        with artifacts.writing(out, "questions", "run", settings, inputs) as draft:
            Questions(held).write(draft)
            draft.facts |= {"source": source, "questions": len(ids)}


COMMANDS: dict[str, Callable[..., object]] = {
    "questions": questions,
    "sample": ask.sample,
    "evaluate": ask.evaluate,
    "record": analyse.record,
    "identify": analyse.identify,
    "perplexity": silencing.perplexity,
    "reward": mapo.reward,
    "pair": mapo.pair,
    "align": mapo.align,
    "compare": contrast.compare,
    "report": publish.report,
}
"""What carries out each stage: the function that is its command."""


class Outcome(NamedTuple):
    """What became of the steps, by folder.

    Attributes:
        done: those that were carried out, and seconds.
        kept: those that were done before.
        failed: those that failed, and what they said.
        waiting: those that need one that failed, and which.
        unforeseen: those among the failed that are langneurons' own fault.
    """

    done: dict[str, float]
    kept: list[str]
    failed: dict[str, str]
    waiting: dict[str, str]
    unforeseen: list[str]


def _chosen(whole: Sequence[Step], only: str | None, start: str | None) -> list[Step]:
    """The steps of the stages asked for.

    Raises:
        InputError: for a name that is no stage, with the nearest.
    """
    names = [stage.name for stage in STAGES]
    wanted = console.codes(only) or tuple(names)
    for flag, given in (("--only", wanted), ("--from", (start,) if start else ())):
        if unknown := [name for name in given if name not in names]:
            raise InputError(f"{flag} {unknown[0]}: the stages are {', '.join(names)}")
    after = names[names.index(start) :] if start else names
    return [step for step in whole if step.stage in wanted and step.stage in after]


def _carry_out(named: Named, chosen: Sequence[Step], ledger: Ledger, *, quiet: bool) -> Outcome:
    """Each step that is not done; one that fails leaves those standing that do not need it."""
    outcome = Outcome({}, [], {}, {}, [])
    began = time.monotonic()
    for number, step in enumerate(chosen, 1):
        lost = next(
            (need for need in step.needs if need in outcome.failed or need in outcome.waiting), None
        )
        if lost:
            outcome.waiting[step.out] = lost
            continue
        try:
            reason = ledger.reason(step)
            if reason is None:
                outcome.kept.append(step.out)
                continue
            if missing := [need for need in step.needs if ledger.digest(need) is None]:
                raise InputError(
                    f"it needs {missing[0]}, which is not there; leave out --only and --from"
                )
            if not quiet:
                left = estimate.left(named.study, chosen[number - 1 :], ledger)
                spent = console.span(time.monotonic() - began)
                place = f"[{number}/{len(chosen)}, {spent}{f', {left} left' if left else ''}]"
                print(f"{place} {step.stage} {step.out} ({reason})", file=sys.stderr, flush=True)
            outcome.done[step.out] = _do(named, step, ledger)
        except LangneuronsError as error:
            outcome.failed[step.out] = str(error)
        except Exception as error:  # noqa: BLE001 - the other stages go on; the story is in the log
            outcome.failed[step.out] = (
                f"this should not happen: {type(error).__name__}: {error}. Report it, with {LOG}"
            )
            outcome.unforeseen.append(step.out)
        if step.out in outcome.failed:
            print(
                f"{step.stage} {step.out} failed: {outcome.failed[step.out]}",
                file=sys.stderr,
                flush=True,
            )
    return outcome


def _do(named: Named, step: Step, ledger: Ledger) -> float:
    """Carry out one step in the folder of the run; seconds it took."""
    _release()
    outside = {name: identity(name) for name in step.outside}
    ledger.save()
    words: dict[str, Any] = {
        "out": Path(step.out),
        **({} if step.stage == "report" else {"force": True}),
    }
    began = time.monotonic()
    with (
        (ledger.run / LOG).open("a", encoding="utf-8") as log,
        chdir(ledger.run),
        redirect_stdout(log),
    ):
        print(f"\n== {time.strftime('%Y-%m-%d %H:%M:%S')} {step.command() or step.out}", flush=True)
        try:
            COMMANDS[step.stage](*step.given, **words | step.options)
        except Exception:
            traceback.print_exc(file=log)
            raise
    seconds = time.monotonic() - began
    ledger.note(step, outside, seconds, estimate.cost(named.study, step, ledger).operations)
    return seconds


def _release() -> None:
    """Give back what the last model took, so that the next one has room."""
    gc.collect()
    gc.freeze()  # what is left are libraries, which the next collection need not look through
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _tell(
    study: str, folder: Path, steps: int, outcome: Outcome, seconds: float, json: bool
) -> None:
    """What was done and what not; ends the process with 2 or 1 when something failed."""
    page = folder / "report.html"
    if json:
        console.print_json(
            {"run": str(folder), "page": str(page) if page.is_file() else None, **outcome._asdict()}
        )
    elif not outcome.failed and not outcome.done:
        print(f"{folder} is up to date: {steps} steps; nothing to do")
    else:
        parts = {"done": outcome.done, "there already": outcome.kept, "failed": outcome.failed}
        parts |= {"waiting for those": outcome.waiting}
        said = ", ".join(f"{len(held)} {what}" for what, held in parts.items() if held)
        print(
            f"{folder}: {said}; {console.span(seconds)}; what each stage said is in {folder / LOG}"
        )
    if page.is_file() and not json:
        print(f"page: {page}")
    if outcome.failed:
        for out, said in outcome.failed.items():
            print(f"langneurons: {out}: {said}", file=sys.stderr)
        print(
            f"langneurons: {len(outcome.failed)} of {steps} steps failed. When that is mended, go on with: "
            f"langneurons run {study} --out {folder}",
            file=sys.stderr,
        )
        sys.exit(1 if outcome.unforeseen else 2)


def _tell_plan(named: Named, chosen: Sequence[Step], ledger: Ledger, json: bool) -> None:
    """What would be done, what it would take, and what can be had."""
    rows: list[dict[str, Any]] = []
    new: set[str] = set()
    for step in chosen:
        reason = ledger.reason(step)
        before = next((need for need in step.needs if need in new), None)
        state = reason or (f"there; checked again after {before}" if before else "there")
        if reason:
            new.add(step.out)
        cost = estimate.cost(named.study, step, ledger)
        rows.append(
            {
                "stage": step.stage,
                "out": step.out,
                "state": state,
                "do": reason is not None,
                **cost._asdict(),
            }
        )
        rows[-1] |= {"seconds": estimate.seconds(step, cost, ledger), "command": step.command()}
    access = estimate.access(named.study)
    if json:
        console.print_json(
            {"run": str(ledger.run), "steps": rows, "access": [one._asdict() for one in access]}
        )
        return
    width = max(len(row["out"]) for row in rows)
    print(f"{'stage':<12}{'folder':<{width + 2}}{'tokens':>9}{'memory':>9}{'time':>9}  state")
    for row in rows:
        cells = estimate.cells(row) if row["do"] else ("", "", "")
        print(
            f"{row['stage']:<12}{row['out']:<{width + 2}}{''.join(f'{cell:>9}' for cell in cells)}  {row['state']}"
        )
    print("\n".join(estimate.summary([row for row in rows if row["do"]], len(rows))))
    words = {True: "yes", False: "NO", None: "-"}
    for one in access:
        print(f"{words[one.there]:<5}{one.name:<44}{one.seen}")
    free = shutil.disk_usage(
        next(p for p in (ledger.run, *ledger.run.absolute().parents) if p.exists())
    ).free
    print(f"free on the disk of {ledger.run}: {free / 1e9:,.0f} GB")
