"""Console: what the command line says: results in words, one JSON object, a progress bar."""

import json as jsonlib
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from langneurons import artifacts
from langneurons.errors import InputError, MismatchError

if TYPE_CHECKING:
    from langneurons.accuracy import Change
    from langneurons.check import Check
    from langneurons.losses import Losses
    from langneurons.neurons import Neurons
    from langneurons.tables import Table
    from langneurons.verdicts import Claim

COUNTS, NEURONS, PERPLEXITY = "counts.safetensors", "neurons.parquet", "perplexity.parquet"
"""Names of the files in a folder of counts, in one of neurons, and in one of perplexity."""

ACCURACY = "accuracy.parquet"
"""Name of the table in a folder of accuracy; beside it are the responses."""

CLAIMS = "claims.json"
"""Name of the file of claims in a folder of comparison; beside it each table as NAME.json, NAME.csv and NAME.tex."""

Force = Annotated[bool, Parameter(negative="", help="Replace a result of other settings.")]
Json = Annotated[bool, Parameter(negative="", help="Print one JSON object instead of text.")]


def load_neurons(source: artifacts.Artifact) -> "Neurons":
    """The neurons in a folder of neurons."""
    from langneurons.neurons import Neurons

    return Neurons.from_table(source.table(NEURONS))


def load_losses(source: artifacts.Artifact) -> "Losses":
    """The losses in a folder of perplexity."""
    from langneurons.losses import Losses

    return Losses.from_table(source.table(PERPLEXITY))


def load_comparison(source: artifacts.Artifact) -> "tuple[dict[str, Table], list[Claim]]":
    """The tables, by name, and the claims in a folder of comparison."""
    from langneurons.tables import Table
    from langneurons.verdicts import Claim

    names = source.manifest["facts"]["tables"]
    tables = {name: Table.from_json(source.file(f"{name}.json").read_bytes()) for name in names}
    return tables, [Claim(**held) for held in jsonlib.loads(source.file(CLAIMS).read_bytes())]


def codes(languages: str | None) -> tuple[str, ...] | None:
    """The codes in a list with commas; None for None."""
    if languages is None:
        return None
    found = tuple(code.strip() for code in languages.split(","))
    if not all(found) or len(set(found)) < len(found):
        raise InputError(f"--languages {languages!r}: give each code once, with commas, as in en,zh,sw")
    return found


def there(
    out: Path, kind: str, config: Mapping[str, Any], inputs: Mapping[str, str], *, force: bool, quiet: bool = False
) -> bool:
    """Whether the result is there already; says so, unless quiet."""
    found = artifacts.current(out, kind, config, inputs, force=force)
    if found and not quiet:
        print(f"{out} is up to date; nothing to do", file=sys.stderr)
    return found is not None


@contextmanager
def progress(what: str, *, quiet: bool, unit: str = "") -> Generator[Callable[[int, int], None] | None, None, None]:
    """A progress bar with rate and time left on standard error, for people who watch."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    began = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def step(done: int, total: int) -> None:
            rate = done / (time.monotonic() - began)
            bar.update(task, completed=done, total=total, description=f"{what}, {rate:,.1f} {unit} a second")

        yield step


def print_json(content: Mapping[str, Any]) -> None:
    """One JSON object on standard output."""
    print(jsonlib.dumps(content, ensure_ascii=False, allow_nan=False, default=str))


def same_model(sources: list[artifacts.Artifact]) -> None:
    """Stop when counts that know their model are of different ones.

    Raises:
        MismatchError: naming two folders and their models.
    """
    known = [(s, s.manifest["inputs"]["model"]) for s in sources if "model" in s.manifest["inputs"]]
    for source, model in known[1:]:
        if model != known[0][1]:
            raise MismatchError(
                f"these counts are of different models: weights {known[0][1][:12]} in {known[0][0].folder}, "
                f"{model[:12]} in {source.folder}"
            )


def tell_checks(model: str, checks: list["Check"], json: bool) -> None:
    """What holds on a model, and the verdict."""
    good = all(check.holds is not False for check in checks)
    if json:
        print_json({"model": model, "holds": good, "checks": [check._asdict() for check in checks]})
        return
    words = {True: "yes", False: "NO", None: "-"}
    for check in checks:
        print(f"{words[check.holds]:<5}{check.claim:<56}{check.seen}")
    print(
        f"{model}: every measurement holds"
        if good
        else f"{model}: not every measurement holds; do not trust its counts"
    )


def tell_counts(out: Path, json: bool) -> None:
    """What counts hold: what an import found, or what was recorded."""
    source = artifacts.read(out, "counts")
    facts = source.manifest["facts"]
    if "import" not in facts:
        _tell_recorded(out, facts, json)
        return
    found = facts["import"]
    if json:
        print_json({"out": str(out), "languages": found})
        return
    print(f"{'language':<10}{'tokens':>10}{'below prompt alone':>20}{'above its tokens':>18}")
    for row in found:
        print(f"{row['language']:<10}{row['tokens']:>10,}{row['negative']:>20,}{row['above_one']:>18,}")
    print("below prompt alone: neurons whose response count came out negative; set to 0")
    print(f"wrote {out}; next: langneurons identify {out} --out {out.parent / 'neurons'}")


def _tell_recorded(out: Path, facts: Mapping[str, Any], json: bool) -> None:
    if json:
        print_json({"out": str(out), **facts})
        return
    gates = {gate["lang"]: gate for gate in facts.get("gates", [])}
    heads = [name for name in next(iter(gates.values()), {}) if name != "lang"]
    print(f"{'language':<10}{'tokens':>12}" + "".join(f"{name.replace('_', ' '):>14}" for name in heads))
    for code, tokens in facts["tokens"].items():
        print(f"{code:<10}{tokens:>12,}" + "".join(f"{gates[code][name]:>14,}" for name in heads))
    long, empty = facts.get("longer than the context"), facts.get("without a token to count")
    if long:
        where, first = _listed(long["responses"]), ", ".join(long["first"][:3])
        print(f"longer than the context of {long['context']:,} tokens and not counted: {where} (first: {first})")
    if empty:
        print(f"without a token to count: {_listed(empty)}")
    if halved := facts.get("batches halved for want of memory"):
        print(f"batches halved for want of memory: {halved}; a smaller --budget saves the attempt")
    print(f"wrote {out}; next: langneurons identify {out} --out {out.parent / 'neurons'}")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{code} {n:,}" for code, n in counts.items())


def tell_mask(out: Path, json: bool) -> None:
    """What an import of a mask found."""
    source = artifacts.read(out, "neurons")
    neurons = load_neurons(source)
    assumed = source.manifest["facts"]["languages taken without being named"]
    held = {code: int(n) for code, n in zip(neurons.languages, neurons.member.sum(axis=0), strict=True)}
    if json:
        print_json({"out": str(out), "memberships": held, "assumed": assumed})
        return
    print("  ".join(f"{code} {n:,}" for code, n in held.items()))
    if assumed:
        print(f"its lists were taken to be {','.join(assumed)}, as in the released masks; --languages says otherwise")
    print(f"wrote {out} ({len(neurons):,} neurons); next: langneurons report {out}")


def tell_neurons(out: Path, json: bool) -> None:
    """What was identified."""
    from langneurons import summary

    neurons = load_neurons(artifacts.read(out, "neurons"))
    if json:
        print_json({"out": str(out)} | summary.values(neurons))
        return
    print("\n".join(summary.lines(neurons)))
    print(f"wrote {out} ({len(neurons):,} neurons); next: langneurons report {out.parent}")


def tell_perplexity(out: Path, json: bool) -> None:
    """What silencing costs every language, and whether it costs most on the diagonal."""
    from langneurons import diagonal

    source = artifacts.read(out, "perplexity")
    losses, facts = load_losses(source), source.manifest["facts"]
    found = {(s, m): diagonal.matrix(losses, s, m) for s in losses.settings for m in diagonal.MEASURES}
    verdicts = [diagonal.dominance(one) for (_, measure), one in found.items() if measure != "bits per byte"]
    if json:
        print_json(
            {
                "out": str(out),
                "verdicts": [_known(v._asdict()) for v in verdicts],
                "matrices": [
                    {"setting": one.setting, "measure": one.measure, "neurons": one.neurons.tolist()}
                    | {name: _known(getattr(one, name).tolist()) for name in ("before", "change", "low", "high", "z")}
                    for one in found.values()
                ],
                "facts": facts,
            }
        )
        return
    width = "".join(f"{code:>10}" for code in losses.languages)
    print(f"{'perplexity':<20}{width}")
    before = found[losses.settings[0], "difference"].before
    print(f"{'nothing silenced':<20}{''.join(f'{value:>10.4g}' for value in before)}")
    for setting in losses.settings:
        one = found[setting, "difference"]
        print(f"-- {setting} silenced: change in perplexity; *: more than every random set")
        for code, n, row, share in zip(losses.languages, one.neurons, one.change, one.percentile, strict=True):
            stars = ["*" if above == 1 else " " for above in share]
            cells = "".join(f"{v:>+9.3g}{s}" for v, s in zip(row, stars, strict=True)) if n else "  empty: not run"
            print(f"{code:<8}{n:>8,} neurons{cells}")
    for verdict in verdicts:
        print(f"{verdict.setting}, {verdict.measure}: {diagonal.words(verdict)}")
    print(f"random sets were matched {facts['controls matched']}")
    for note in facts.get("notes", []):
        print(f"note: {note}")
    print(f"wrote {out}; next: langneurons report {out.parent}")


def tell_sampled(out: Path, model: str, json: bool) -> None:
    """Print what a model answered."""
    facts = artifacts.read(out, "responses").manifest["facts"]
    if json:
        print_json({"out": str(out), **facts})
        return
    _tell_languages(facts["languages"])
    _tell_model(facts)
    print(f"wrote {out}; next: langneurons record {model} {out} --out {out.parent / 'counts'}")


def tell_accuracy(out: Path, against: Path | None, json: bool) -> None:
    """Print how many answers are right, and what changed against another evaluation."""
    from langneurons import data
    from langneurons.accuracy import compare_accuracy

    source = artifacts.read(out, "accuracy")
    facts, rows = source.manifest["facts"], source.table(ACCURACY).to_pylist()
    changes = []
    if against:
        changes = compare_accuracy(data.read_responses(against), data.read_responses(out))
    if json:
        compared = {"against": str(against), "changes": [change._asdict() for change in changes]} if against else {}
        print_json({"out": str(out), "accuracy": rows, **compared, **facts})
        return
    print(f"{'language':<10}{'questions':>10}{'right':>10}{'accuracy':>10}   95% interval")
    for row in rows:
        shares = f"{row['accuracy']:>10.1%}   {row['low']:.1%} to {row['high']:.1%}"
        print(f"{row['lang']:<10}{row['n']:>10,}{row['correct']:>10,}{shares}")
    if against:
        _tell_changes(changes, against, artifacts.read(against, "accuracy").manifest["facts"], facts)
    _tell_languages(facts["languages"])
    _tell_model(facts)
    print(f"wrote {out}")


def _tell_changes(
    changes: "Sequence[Change]", against: Path, before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    print(f"-- against {against}, on the questions both answered")
    print(
        f"{'language':<10}{'before':>8}{'after':>8}{'change':>8}   {'95% interval':<18}"
        f"{'lost':>6}{'gained':>8}{'p':>10}   in another language"
    )
    strays = [_strays(of["languages"]) for of in (before, after)]
    for row in changes:
        shares = f"{row.before:>8.1%}{row.after:>8.1%}{row.change:>+8.1%}"
        interval = f"{row.low:+.1%} to {row.high:+.1%}"
        elsewhere = " to ".join(share[row.lang] for share in strays if row.lang in share)
        print(f"{row.lang:<10}{shares}   {interval:<18}{row.lost:>6,}{row.gained:>8,}{row.p:>10.2g}   {elsewhere}")


def _strays(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Share of responses in another language, per language; in a wrong script, where that is all that is known."""
    names = {row["lang"]: "wrong_script" if row["other_language"] is None else "other_language" for row in rows}
    return {row["lang"]: f"{row[names[row['lang']]] / row['responses']:.1%}" for row in rows}


def _tell_languages(rows: Sequence[Mapping[str, Any]]) -> None:
    names = [name for name in rows[0] if name not in ("lang", "judged", "spoken")]
    print(f"{'language':<10}" + "".join(f"{name.replace('_', ' '):>{max(10, len(name) + 2)}}" for name in names))
    for row in rows:
        cells = ("-" if row[name] is None else f"{row[name]:,}" for name in names)
        print(
            f"{row['lang']:<10}"
            + "".join(f"{cell:>{max(10, len(name) + 2)}}" for cell, name in zip(cells, names, strict=True))
        )


def _tell_model(facts: Mapping[str, Any]) -> None:
    if said := facts["model"].get("silenced"):
        print(f"silenced: {said['neurons']:,} neurons")


def _known(value: Any) -> Any:
    """The same with None for what is not a number, as JSON needs it."""
    if isinstance(value, Mapping):
        return {key: _known(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_known(item) for item in value]
    return None if isinstance(value, float) and value != value else value
