"""A model built by hand: record, identify and perplexity find exactly what was planted. The real
command line."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from langneurons import artifacts
from langneurons.config import PerplexityConfig
from langneurons.neurons.counts import Counts
from langneurons.neurons.table import Neurons
from langneurons.report import commands as publish
from langneurons.silencing import matrix as diagonal
from langneurons.silencing.controls import conditions
from langneurons.silencing.losses import Losses
from support import planted
from support.browser import CHROMIUM
from support.command import killed
from support.planted import LANGS, LAYERS, NEURONS, WIDTH

SETTINGS = {"specific": ("specific",), "specific+related": ("specific", "related")}


class Run:
    """Folders of one run on the planted model."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.model = folder, planted.save(folder / "model")
        self.texts = planted.write(folder / "texts")
        self.counts, self.neurons = folder / "run" / "counts", folder / "run" / "neurons"
        self.perplexity = folder / "run" / "perplexity"

    def read_losses(self, at: Path | None = None) -> Losses:
        return Losses.from_table(
            artifacts.read(at or self.perplexity, "perplexity").table("perplexity.parquet")
        )

    def read_neurons(self) -> Neurons:
        return Neurons.from_table(artifacts.read(self.neurons, "neurons").table("neurons.parquet"))

    def words(self, out: Path, *more: object) -> tuple[object, ...]:
        return (
            "perplexity",
            self.model,
            self.neurons,
            self.texts,
            "--out",
            out,
            "--blocks",
            3,
            "--budget",
            40,
            *more,
        )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, langneurons: Callable) -> Run:
    made = Run(tmp_path_factory.mktemp("planted"))
    for words in (
        ("record", made.model, made.texts, "--out", made.counts, "--blocks", 3),
        ("identify", made.counts, "--out", made.neurons, "--rate", planted.RATE, "--bootstrap", 0),
        made.words(made.perplexity),
    ):
        done = langneurons(*words)
        assert done.status == 0, done.err
    made.said = done.out
    return made


def test_counts_are_as_planted(run: Run) -> None:
    counts = Counts.from_tensors(*artifacts.read(run.counts).tensors("counts.safetensors"))
    expected = np.zeros((len(LANGS), LAYERS, WIDTH))
    for neuron in NEURONS:
        for code, words in neuron.fires.items():
            expected[LANGS.index(code), neuron.layer, neuron.neuron] = words / planted.WORDS
    order = [counts.languages.index(code) for code in LANGS]
    assert np.array_equal(counts.probability()[order].reshape(expected.shape), expected)
    assert (counts.tokens.sum(axis=1) == 6 * planted.WORDS).all()


def test_neurons_are_as_planted(run: Run) -> None:
    neurons = run.read_neurons()
    assert neurons.rule.tau == planted.TAU
    assert neurons.rule.lam is not None
    assert neurons.rule.lam.status == "bound"
    assert neurons.rule.lam.supremum == pytest.approx(planted.LAMBDA, rel=1e-12)
    assert neurons.rule.lam.binding == (0, 30)
    assert neurons.rule.histogram == (103 + 1 + 3, 8, 2, 1, 2)
    found = {
        (int(layer), int(neuron)): (
            str(kind),
            {c for c, m in zip(neurons.languages, member, strict=True) if m},
        )
        for (layer, _, neuron), kind, member in zip(
            neurons.keys, neurons.kind, neurons.member, strict=True
        )
    }
    assert found == {
        (n.layer, n.neuron): (n.kind, {c for c, words in n.fires.items() if words > 3})
        for n in NEURONS
        if n.kind
    }


def sets(run: Run) -> list[list[tuple[int, int]]]:
    """(layer, neuron) of every condition; those of draw 0 by hand, those of the random sets as they
    are drawn."""
    counts = Counts.from_tensors(*artifacts.read(run.counts).tensors("counts.safetensors"))
    rates = dict(zip(counts.languages, counts.probability(), strict=True))
    out = []
    for condition, chosen in conditions(
        run.read_neurons(),
        ((WIDTH,),) * LAYERS,
        run.read_losses().languages,
        PerplexityConfig(),
        rates,
    ):
        places = sorted((int(i) // WIDTH, int(i) % WIDTH) for i in chosen)
        if condition.setting and not condition.draw:
            kinds = SETTINGS[condition.setting]
            assert places == sorted(
                (n.layer, n.neuron)
                for n in NEURONS
                if n.kind in kinds and n.fires.get(condition.silenced, 0) > 3
            )
        out.append(places)
    return out


def test_the_matrix_is_as_planted(run: Run) -> None:
    """Every cell, of the sets and of their controls; and nothing but the languages that a set
    serves changes at all."""
    losses = run.read_losses()
    assert len(losses.conditions) == 1 + 2 * 4 * 6
    for i, (condition, places) in enumerate(zip(losses.conditions, sets(run), strict=True)):
        if condition.silenced and not places:
            assert (condition.silenced, condition.setting, condition.neurons) == (
                "th",
                "specific",
                0,
            )
            assert np.isnan(losses.nll[i]).all()
            continue
        by_hand = planted.costs(places)
        found = dict(zip(losses.languages, losses.nll[i].sum(axis=1), strict=True))
        assert found == pytest.approx(by_hand, rel=2e-6)
        if condition.draw == 0 and condition.setting:
            served = {
                code
                for n in NEURONS
                if (n.layer, n.neuron) in places
                for code, words in n.fires.items()
                if words
            }
            for k, code in enumerate(losses.languages):
                change = np.abs(losses.nll[i, k] - losses.nll[0, k]).max()
                assert change > 0.01 if code in served else change < 1e-4, (condition, code, change)


def test_the_diagonal_is_as_planted(run: Run) -> None:
    """Specific neurons hurt their own language only; th has none, and the verdict says so."""
    losses = run.read_losses()
    at = [losses.languages.index(code) for code in ("en", "zh", "sw")]
    for measure in diagonal.MEASURES:
        found = diagonal.matrix(losses, "specific", measure)
        own = np.zeros((4, 4), bool)
        own[at, at] = True
        assert np.abs(found.change[at][~own[at]]).max() < 1e-5
        assert (found.change[own] > 1e-2).all()
    verdict = diagonal.dominance(diagonal.matrix(losses, "specific"))
    assert verdict.on_diagonal == verdict.rows
    assert set(verdict.rows) == {"en", "zh", "sw"}
    assert verdict.empty == ("th",)
    assert verdict.p == pytest.approx(1 / 24)
    assert abs(verdict.others) < 1e-5
    assert verdict.holds == "holds"


def test_what_the_command_says(run: Run) -> None:
    assert "empty: not run" in run.said
    assert "specific, difference: holds: 3 of 3 languages lose most themselves" in run.said
    assert "no such neurons: th" in run.said
    assert "random sets were matched per layer and by activation rate" in run.said
    assert f"wrote {run.perplexity}; next: langneurons report {run.perplexity.parent}" in run.said
    notes = [line for line in run.said.splitlines() if line.startswith("note:")]
    assert len(notes) == 1
    assert notes[0].startswith("note: the texts lie in 2 of the 3 blocks that are resampled")


@pytest.fixture(scope="module")
def page(run: Run, langneurons: Callable) -> Path:
    done = langneurons("report", run.perplexity.parent)
    assert done.status == 0, done.err
    return run.perplexity.parent / "report.html"


def test_the_report_holds_the_matrix(run: Run, page: Path) -> None:
    """Every cell with its interval as CSV, the figures in every format, and the verdict as a
    table."""
    folder = page.with_suffix("")
    for name in ("perplexity", "perplexity-random"):
        assert (folder / f"{name}.svg").read_text("utf-8").count("<path") > 4 * 4 * 2
        assert (folder / f"{name}.png").stat().st_size > 1000
        assert "toprule" in (folder / f"{name}.tex").read_text("utf-8")
    with (folder / "perplexity.csv").open(encoding="utf-8") as file:
        rows = {(r["setting"], r["silenced"], r["evaluated"]): r for r in csv.DictReader(file)}
    assert len(rows) == 2 * 4 * 4
    losses = run.read_losses()
    for setting in SETTINGS:
        found = diagonal.matrix(losses, setting)
        for i, a in enumerate(losses.languages):
            for j, b in enumerate(losses.languages):
                row = rows[setting, a, b]
                assert int(row["neurons"]) == found.neurons[i]
                if a == "th" and setting == "specific":
                    assert row["change"] == row["low"] == row["ratio"] == row["bits"] == ""
                else:
                    assert float(row["change"]) == pytest.approx(found.change[i, j], rel=1e-5)
                    assert float(row["low"]) <= float(row["change"]) <= float(row["high"])
    with (folder / "dominance.csv").open(encoding="utf-8") as file:
        verdicts = {(r["setting"], r["measure"]): r for r in csv.DictReader(file)}
    assert verdicts["specific", "difference"]["verdict"] == "holds"
    assert verdicts["specific", "difference"]["own greatest"] == "3 of 3"
    assert verdicts["specific", "difference"]["no such neurons"] == "th"


def test_the_report_does_not_depend_on_what_was_drawn_before(page: Path, tmp_path: Path) -> None:
    """Vega numbers gradients and clips over the life of a process; here two reports in this one,
    that in another."""
    for place in ("once", "twice"):
        publish.report(page.parent, out=tmp_path / place / "report.html")
        made = {
            path.name: path.read_bytes() for path in (tmp_path / place / "report").glob("*.svg")
        }
        assert made == {path.name: path.read_bytes() for path in page.with_suffix("").glob("*.svg")}
        assert b"gradient_0" in made["perplexity.svg"]


@pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine; `make browser` installs one"
)
@pytest.mark.parametrize("width", [1280, 390])
def test_heat_maps_in_the_page(page: Path, width: int) -> None:
    """Drawn side by side, or below each other where there is no room; a cell says its interval."""
    from playwright.sync_api import sync_playwright

    from support.browser import Watched

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        shown = Watched(browser, page, width)
        box = shown.page.locator("#silencing .chart[data-figure=perplexity]")
        drawn = box.locator("svg").bounding_box()
        assert drawn
        assert 200 < drawn["width"] <= width
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
        cells = box.locator(".mark-rect path")
        assert cells.count() >= 2 * 16 + 16 + 12
        tops = {round(t.bounding_box()["y"]) for t in box.locator(".role-title text").all()}
        assert len(tops) == (1 if width > 600 else 2)
        box.locator(".mark-text text").first.hover()
        shown.page.wait_for_selector("#vg-tooltip-element.visible")
        said = shown.page.locator("#vg-tooltip-element").inner_text()
        assert "95% interval" in said
        assert " to " in said
        shown.close()
        browser.close()


def test_done_is_done(run: Run, langneurons: Callable) -> None:
    done = langneurons(*run.words(run.perplexity), "--json")
    assert "up to date" in done.err
    said = done.json
    assert {(v["setting"], v["measure"]) for v in said["verdicts"]} == {
        (s, m) for s in SETTINGS for m in ("difference", "log ratio")
    }


def digest(folder: Path) -> str:
    return artifacts.read(folder, "perplexity").manifest["files"]["perplexity.parquet"]


def test_killed_and_resumed_is_the_same(run: Run, tmp_path: Path, process: Callable) -> None:
    """SIGKILL after the first units were saved; then again, to the end, in processes of their
    own."""
    words = run.words(tmp_path / "p")
    state = tmp_path / ".p.state-0-of-1"
    assert killed(*words, "--save-every", 0, when=state.exists)
    assert not (tmp_path / "p").exists()
    assert state.exists()
    done = process(*words)
    assert done.status == 0, done.err
    assert digest(tmp_path / "p") == digest(run.perplexity)
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_neurons_of_other_weights_are_refused(
    run: Run, tmp_path: Path, langneurons: Callable
) -> None:
    from support.command import refused

    other = planted.model()
    other.lm_head.weight[0, 0] = 1
    folder = tmp_path / "other"
    other.save_pretrained(folder)
    for file in run.model.glob("tokenizer*"):
        (folder / file.name).write_bytes(file.read_bytes())
    words = [
        "perplexity",
        folder,
        run.neurons,
        run.texts,
        "--out",
        tmp_path / "p",
        "--controls",
        1,
        "--blocks",
        1,
    ]
    refused(langneurons(*words), "found on weights")
    assert not (tmp_path / "p").exists()
    forced = langneurons(*words, "--force", "--counts", run.counts)
    assert forced.status == 0, forced.err
    assert "note: the neurons were found on weights" in forced.out
    assert "matched per layer and by activation rate" in forced.out
    notes = artifacts.read(tmp_path / "p").manifest["facts"]["notes"]
    assert "taken all the same (--force)" in notes[0]


def test_without_counts_controls_are_matched_per_layer(
    run: Run, tmp_path: Path, langneurons: Callable
) -> None:
    """Neurons moved away from their counts: the widths still hold them to the model; it is said
    what was matched."""
    import shutil

    alone = Path(shutil.copytree(run.neurons, tmp_path / "elsewhere" / "neurons"))
    texts = tmp_path / "all.jsonl"  # languages that are not asked for may be there
    texts.write_text(
        "".join(file.read_text("utf-8") for file in sorted(run.texts.glob("*.jsonl"))), "utf-8"
    )
    words = ["perplexity", run.model, alone, texts, "--languages", "en,zh", "--blocks", 1]
    done = langneurons(*words, "--out", tmp_path / "p")
    assert done.status == 0, done.err
    assert "matched per layer only" in done.out
    losses = run.read_losses(tmp_path / "p")
    assert losses.languages == ("en", "zh")
    assert losses.nll[1].sum() == pytest.approx(
        sum(planted.costs([(0, 3), (2, 7)])[code] for code in ("en", "zh")), rel=1e-6
    )


def test_bad_input_of_perplexity(run: Run, tmp_path: Path, langneurons: Callable) -> None:
    from support.command import refused

    out = tmp_path / "p"
    words = run.words(out)
    refused(langneurons(*words, "--languages", "en,fr"), "the neurons have no fr; they have")
    other = tmp_path / "other.jsonl"
    other.write_text(
        '{"question_id": "q", "lang": "fr", "prompt": "a", "response": "b"}\n', "utf-8"
    )
    refused(
        langneurons("perplexity", run.model, run.neurons, other, "--out", out),
        "(fr) share no language",
    )
    refused(langneurons(*words, "--layers", "7"), "layers '7'")
    refused(langneurons(*words, "--to", "nothing"), "nothing")
    refused(
        langneurons("perplexity", run.model, run.counts, run.texts, "--out", out), "holds counts"
    )
    assert not out.exists()
