"""The command that makes the page: report. No model is run."""

from pathlib import Path

from langneurons import artifacts, console, run_folder
from langneurons.console import Json, Made, Quiet
from langneurons.errors import InputError
from langneurons.report.files import FigureFiles, figure_files


def report(
    run: Path,
    /,
    *,
    out: Path | None = None,
    neurons: str | None = None,
    title: str | None = None,
    json: Json = False,
    quiet: Quiet = False,
) -> Made[FigureFiles]:
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
    from langneurons.report.html import render
    from langneurons.report.pages import results_page, study_page
    from langneurons.report.results import read_folder, read_study

    out = out or run / run_folder.PAGE
    folder = out.with_suffix("")
    if folder == out:
        raise InputError(f"--out {out}: the page is a file, such as {out}.html; give it an ending")
    if (run / run_folder.LEDGER).is_file():
        study = read_study(run)
        inputs, page = study.inputs, study_page(title or study.name, study)
    else:
        found = read_folder(run, neurons)
        heading = title or run.resolve().name
        inputs = found.inputs
        page = results_page(heading, found.results, found.provenance, found.beside)
    html = render(page).encode()
    with console.progress("drawing", quiet=quiet, unit="figures") as on_step:
        drawn = figure_files(page, on_step)
    artifacts.save(drawn, folder, command="report", inputs=inputs)
    artifacts.write_file(out, html)
    if json:
        figures = [path for path, _ in page.figures()]
        console.print_json({"page": str(out), "files": str(folder), "figures": figures})
    else:
        size = f"{len(html) / 1e6:.1f} MB, opens offline"
        print(f"wrote {out} ({size}) and {len(drawn.files)} files in {folder}")
    return Made(folder, drawn, {})
