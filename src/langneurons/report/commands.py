"""Publish: the command that makes the page: report. No model is run."""

import json as jsonlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langneurons import artifacts, console
from langneurons.align.adapter import Adapter
from langneurons.align.pairs import Pair, Pairs
from langneurons.compare.commands import load_comparison
from langneurons.console import Json
from langneurons.errors import FormatError, InputError
from langneurons.neurons.table import Neurons
from langneurons.run_folder import LEDGER
from langneurons.silencing.losses import Losses
from langneurons.texts.accuracy import Evaluation

if TYPE_CHECKING:
    from langneurons.report.chapters import Aligned, Compared, Model, Results
    from langneurons.report.parts import Page, Provenance
    from langneurons.tables import Table

PREVIEWED = 3
"""Pairs of each language that are shown."""


def report(
    run: Path,
    /,
    *,
    out: Path | None = None,
    neurons: str | None = None,
    title: str | None = None,
    json: Json = False,
) -> None:
    """Make the page: one self-contained HTML file, and every figure and table beside it.

    Parameters
    ----------
    run
        Folder of a study's run; or one that holds the results of a model, a folder each; or a
        folder of neurons.
    out
        The page [default: RUN/report.html]; figures and tables go into a folder of the same name.
    neurons
        Which folder of neurons to show, when there are several and no study [default: neurons].
    title
        Heading of the page [default: the name of the study, or of the folder].
    """
    from langneurons.report import html as page
    from langneurons.report.parts import figure_files

    out = out or run / "report.html"
    if (run / LEDGER).is_file():
        made, inputs = _of_study(run, title)
    else:
        made, inputs = _of_results(run, neurons, title)
    html = page.render(made).encode()
    files = figure_files(made)
    folder = out.with_suffix("")
    artifacts.current(folder, "report", {}, {}, force=True)
    with artifacts.writing(folder, "report", "report", {}, inputs) as draft:
        for name, content in files.items():
            draft.bytes(name, content)
    artifacts.write_file(out, html)
    if json:
        figures = [path for path, _ in made.figures()]
        console.print_json({"page": str(out), "files": str(folder), "figures": figures})
        return
    print(
        f"wrote {out} ({len(html) / 1e6:.1f} MB, opens offline) and {len(files)} files in {folder}"
    )


def _of_results(run: Path, name: str | None, title: str | None) -> "tuple[Page, dict[str, str]]":
    """The page of a folder of results: the neurons chosen, and what belongs to them."""
    from langneurons.report.pages import results_page

    if (run / artifacts.MANIFEST).is_file():
        chosen, beside = artifacts.read(run, "neurons"), []
    else:
        found = {artifact.folder.name: artifact for artifact in artifacts.find(run, "neurons")}
        wanted = name or (next(iter(found)) if len(found) == 1 else "neurons")
        if wanted not in found:
            there = ", ".join(found) or "none"
            raise InputError(
                f"{run} has no folder {wanted} of neurons (there: {there}); choose with --neurons"
            )
        chosen = found[wanted]
        beside = [
            a
            for a in artifacts.find(run, "counts")
            if a.digest == chosen.manifest["inputs"].get("counts")
        ]
    costs = artifacts.find(run, "perplexity") if chosen.folder != run else []
    costs = [one for one in costs if one.manifest["inputs"].get("neurons") == chosen.digest][:1]
    sources = {one.manifest["kind"]: one for one in (*beside, chosen, *costs)}
    page = results_page(
        title or run.resolve().name, _results(sources), _origins(run, list(sources.values()))
    )
    return page, {"neurons": chosen.digest}


def _of_study(run: Path, title: str | None) -> "tuple[Page, dict[str, str]]":
    """The page of a study, of what its run has found so far."""
    from langneurons.report.pages import study_page

    name, settings = _study(run)
    models = [_model(run, model, source, settings) for model, source in settings["models"].items()]
    asked = {}
    for questions in settings["domains"]:
        if there := _there(run / "questions" / questions, "questions"):
            asked[questions] = (
                there.manifest["facts"]["source"],
                there.manifest["facts"]["questions"],
            )
    sources = [
        artifacts.read(path)
        for part in ("questions", "models")
        for path in artifacts.finished(run / part)
    ]
    if not any(one.manifest["kind"] in ("neurons", "accuracy") for one in sources):
        raise InputError(
            f"{run} holds no neurons and no accuracy yet; langneurons run goes on with it"
        )
    inputs = {one.folder.relative_to(run).as_posix(): one.digest for one in sources}
    return study_page(title or name, models, settings, asked, _origins(run, sources)), inputs


def _study(run: Path) -> tuple[str, dict[str, Any]]:
    """Name and settings of the study that a folder is a run of."""
    path = run / LEDGER
    try:
        held = jsonlib.loads(path.read_text("utf-8"))
        name, settings = held["study"], held["settings"]
        whole = (
            {**settings["models"], **settings["domains"], **settings["alignments"]},
            settings["languages"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(
            f"{path} cannot be read ({error}); langneurons run STUDY --out {run} writes it anew"
        ) from None
    if bad := [one for one in whole[0] if "/" in one or one.startswith(".")]:
        raise FormatError(f"{path}: {bad[0]!r} cannot name a folder of the run")
    return name, settings


def _model(run: Path, name: str, source: str, settings: Mapping[str, Any]) -> "Model":
    from langneurons.report.chapters import Model

    folder = run / "models" / name
    base = {
        questions: _results(_sources(folder / "base" / questions))
        for questions in settings["domains"]
    }
    scored = _there(folder / "seeds" / "scored", "scored")
    aligned = tuple(
        _aligned(folder / one, one, codes, settings)
        for one, codes in settings["alignments"].items()
        if (folder / one).is_dir()
    )
    return Model(name, source, base, aligned, scored.manifest if scored else None)


def _aligned(
    folder: Path, name: str, codes: Sequence[str], settings: Mapping[str, Any]
) -> "Aligned":
    from langneurons.report.chapters import Aligned

    parts = {kind: there for kind in ("pairs", "adapter") if (there := _there(folder / kind, kind))}
    pairs: list[Pair] = []
    if "pairs" in parts:
        for pair in Pairs.load(parts["pairs"]).train:
            if sum(other.lang == pair.lang for other in pairs) < PREVIEWED:
                pairs.append(pair)
    history = Adapter.load(parts["adapter"]).history if "adapter" in parts else ()
    last = folder / f"step-{settings['align']['steps']}"
    return Aligned(
        name,
        tuple(codes),
        tuple(pairs),
        tuple(history),
        {
            one: _results(_sources(last / one))
            for one in settings["domains"]
            if (last / one).is_dir()
        },
        {one: found for one in settings["domains"] if (found := _compared(folder, one))},
        {kind: there.manifest for kind, there in parts.items()},
    )


def _compared(folder: Path, questions: str) -> "Compared | None":
    from langneurons.report.chapters import Compared

    one = _there(folder / "comparison" / questions, "comparison")
    if one is None:
        return None
    tables, claims = load_comparison(one)
    several = _there(folder / "checkpoints" / questions, "comparison")
    over = load_comparison(several)[0] if several else {}
    return Compared(_short(tables), _short(over), tuple(claims), one.manifest)


def _short(tables: "Mapping[str, Table]") -> "dict[str, Table]":
    """The tables with what is after called by its step, not by its folder in the run."""
    out = {}
    for name, table in tables.items():
        at = table.columns.index("after")
        rows = tuple((*row[:at], _step(str(row[at])), *row[at + 1 :]) for row in table.rows)
        out[name] = table._replace(rows=rows)
    return out


def _step(folder: str) -> str:
    """`step 60` of models/nano/sw-th/step-60/nano; a name of another sort as it is."""
    part = next((part for part in Path(folder).parts if part.startswith("step-")), None)
    return part.replace("-", " ") if part else folder


def _sources(folder: Path) -> dict[str, artifacts.Artifact]:
    kinds = ("responses", "accuracy", "counts", "neurons", "perplexity")
    return {kind: there for kind in kinds if (there := _there(folder / kind, kind))}


def _results(sources: Mapping[str, artifacts.Artifact]) -> "Results":
    from langneurons.report.chapters import Results

    neurons, costs, marked = (sources.get(kind) for kind in ("neurons", "perplexity", "accuracy"))
    return Results(
        Neurons.load(neurons) if neurons else None,
        Losses.load(costs) if costs else None,
        tuple(Evaluation.load(marked).accuracies) if marked else (),
        {kind: one.manifest for kind, one in sources.items()},
    )


def _there(folder: Path, kind: str) -> artifacts.Artifact | None:
    """A result of a run; None when it is not there yet."""
    return artifacts.read(folder, kind) if (folder / artifacts.MANIFEST).is_file() else None


def _origins(run: Path, sources: Sequence[artifacts.Artifact]) -> "list[Provenance]":
    from langneurons.report.parts import Provenance

    names = [one.folder.relative_to(run).as_posix() for one in sources]
    return [
        Provenance(run.resolve().name if name == "." else name, one.manifest)
        for name, one in zip(names, sources, strict=True)
    ]
