"""compare on the real command line: neurons and counts on disk in, tables and claims out."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from langneurons import artifacts
from langneurons.compare.comparison import Comparison
from langneurons.config import IdentifyConfig
from langneurons.neurons.counts import Counts
from langneurons.neurons.identify import identify
from langneurons.neurons.table import Neurons
from langneurons.texts.accuracy import Evaluation, accuracies
from langneurons.texts.responses import Response
from support.mediations import mediation
from support.values import random_counts

CONFIG = IdentifyConfig(rate=0.2, tau_quantile=0.7, lam=0.1, chance=0)


def save(run: Path, counts: Counts, **config: str) -> Neurons:
    """Counts and neurons as `record` and `identify` leave them."""
    with artifacts.writing(run / "counts", "counts", "record", config, {}) as draft:
        counts.write(draft)
    neurons = identify(counts, CONFIG)
    settings = {**vars(CONFIG)}
    inputs = {"counts": artifacts.read(run / "counts").digest}
    with artifacts.writing(run / "neurons", "neurons", "identify", settings, inputs) as draft:
        neurons.write(draft)
    return neurons


def mark(folder: Path, share: float) -> None:
    """An evaluation on 60 questions in two languages."""
    answers = [
        Response(f"q{i}", code, "p", "r", 0, 1, i * 7 % 60 < 60 * share)
        for code in ("en", "fr")
        for i in range(60)
    ]
    Evaluation(answers, accuracies(answers)).save(folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model before, two checkpoints after in which more and more specific neurons are shared, and
    another domain."""
    where = tmp_path_factory.mktemp("runs")
    before = random_counts(3, 4, blocks=5, widths=((60,),) * 6)
    neurons = save(where / "base", before)
    for name, part in (("step-1", 0.3), ("step-2", 0.9)):
        active = [a.copy() for a in before.active]
        rows = np.flatnonzero(neurons.kind == "specific")
        for row in rows[: round(part * len(rows))]:
            k = int(neurons.member[row].argmax())
            place = active[neurons.layer[row]]
            place[(k + 1) % 4, :, neurons.neuron[row]] = np.minimum(
                place[k, :, neurons.neuron[row]], before.tokens[(k + 1) % 4]
            )
        save(where / name, replace(before, active=tuple(active)))
    rng = np.random.default_rng(5)
    save(
        where / "domain",
        replace(
            before,
            active=tuple(
                rng.binomial(before.tokens[..., None], a / before.tokens[..., None])
                for a in before.active
            ),
        ),
    )
    for name, share in (("base", 0.4), ("step-1", 0.5), ("step-2", 0.8)):
        mark(where / name / "accuracy", share)
    return where


def test_a_whole_comparison(runs: Path, tmp_path: Path, langneurons: Callable) -> None:
    words = (
        "compare",
        runs / "base",
        runs / "step-1",
        runs / "step-2",
        "--out",
        tmp_path / "c",
        "--trained",
        "fr",
    )
    words = (*words, "--domain", runs / "domain" / "neurons", "--bootstrap", 20)
    done = langneurons(*words)
    assert done.status == 0, done.err
    assert done.out.splitlines()[0] == f"-- {runs / 'step-1'}"
    assert "mean per language" in done.out
    assert "English has far fewer" in done.out
    again = langneurons(*words, "--json")
    assert again.err == f"{tmp_path / 'c'} is up to date; nothing to do\n"
    told = again.json
    claims = {claim["name"]: claim for claim in told["claims"]}
    assert claims["specific-to-related"]["verdict"] == "holds"
    assert claims["untrained-alike"]["numbers"]["languages"] == ["en", "ru", "es"]
    assert (
        claims["accuracy-trained"]["verdict"] == claims["accuracy-untrained"]["verdict"] == "holds"
    )
    assert claims["diagonal"]["verdict"] == "cannot tell"
    kinds = [
        row
        for row in told["tables"]["kind-changes"]
        if row["kind"] == "specific" and row["thresholds"] == "own"
    ]
    assert [row["after"] for row in kinds] == [str(runs / "step-1"), str(runs / "step-2")]
    assert 0 > kinds[0]["change"] > kinds[1]["change"]
    assert kinds[1]["low"] <= kinds[1]["change"] <= kinds[1]["high"] < 0
    assert {row["thresholds"] for row in told["tables"]["transitions"]} == {"own", "base's"}
    assert [row["kind"] for row in told["tables"]["stability-domains"]][:2] == [
        "specific",
        "related",
    ]
    assert len(told["tables"]["accuracy-changes"]) == 2 * 3
    held = Comparison.load(tmp_path / "c")
    assert held.tables["kind-changes"].records() == told["tables"]["kind-changes"]
    assert [claim._asdict() for claim in held.claims] == told["claims"]
    for name in ("overlap", "transitions", "claims"):
        assert (tmp_path / "c" / f"{name}.csv").stat().st_size
        assert "tabular" in (tmp_path / "c" / f"{name}.tex").read_text("utf-8")


def test_evaluations_of_other_languages_are_told(
    runs: Path, tmp_path: Path, langneurons: Callable
) -> None:
    known = Evaluation.load(runs / "step-1" / "accuracy")
    fewer = [row for row in known.responses if row.lang != "fr"]
    Evaluation(fewer, accuracies(fewer)).save(tmp_path / "fewer")
    words = ("compare", runs / "base", runs / "step-1", "--bootstrap", 0, "--out", tmp_path / "c")
    words = (*words, "--accuracy", runs / "base" / "accuracy", "--accuracy", tmp_path / "fewer")
    done = langneurons(*words)
    assert done.status == 0, done.err
    says = f"accuracy, {runs / 'step-1'}: not compared, as no question is in both: fr"
    assert f"note: {says}" in done.out.splitlines()


def test_same_settings_same_bytes(
    runs: Path, tmp_path: Path, langneurons: Callable, process: Callable
) -> None:
    """In this process, and in one of its own."""
    files = []
    for name, command in (("a", langneurons), ("b", process)):
        done = command(
            "compare", runs / "base", runs / "step-2", "--out", tmp_path / name, "--bootstrap", 6
        )
        assert done.status == 0, done.err
        files.append(artifacts.read(tmp_path / name).manifest["files"])
    assert files[0] == files[1]


def test_neurons_without_their_counts(runs: Path, tmp_path: Path, langneurons: Callable) -> None:
    """No interval, and it says so; evaluations can be named one by one."""
    lonely = tmp_path / "elsewhere" / "neurons"
    lonely.mkdir(parents=True)
    for file in (runs / "step-2" / "neurons").iterdir():
        (lonely / file.name).write_bytes(file.read_bytes())
    words = (
        "compare",
        runs / "base" / "neurons",
        lonely,
        "--out",
        tmp_path / "c",
        "--trained",
        "fr",
    )
    named = ("--accuracy", runs / "base" / "accuracy", "--accuracy", runs / "step-1" / "accuracy")
    done = langneurons(*words, *named, "--json")
    assert done.status == 0, done.err
    assert done.json["notes"] == [
        f"{lonely}: no intervals: its counts are not beside its neurons, or hold one block"
    ]
    assert {row["low"] for row in done.json["tables"]["kind-changes"]} == {None}
    assert {row["before"] for row in done.json["tables"]["accuracy-changes"]} == {0.4}


def test_mistakes_are_told(runs: Path, tmp_path: Path, langneurons: Callable) -> None:
    base, step, out = runs / "base", runs / "step-1", ("--out", tmp_path / "c")
    for words, what in (
        ((base, step, "--trained", "fr,xx"), "--trained xx: the languages of"),
        ((base, step, step), "is given more than once"),
        (
            (base, step, "--accuracy", base / "accuracy"),
            "--accuracy was given 1 times for 2 models",
        ),
        ((base, runs), "holds no neurons"),
        ((base, step, "--bootstrap", 1), "2 resamplings or more"),
    ):
        done = langneurons("compare", *words, *out)
        assert done.status == 2, done.out
        assert what in done.err
    assert not (tmp_path / "c").exists()


def test_perturbed_texts_are_no_alignment(tmp_path: Path, langneurons: Callable) -> None:
    """How many of each language's neurons stay is told; claims of what alignment does stay open."""
    before = random_counts(3, 4, blocks=5, widths=((60,),) * 6)
    save(tmp_path / "plain", before)
    active = tuple(np.roll(a, 1, axis=2) for a in before.active[:3]) + before.active[3:]
    save(tmp_path / "shuffled", replace(before, active=active), perturb="shuffle")
    folders = (tmp_path / "plain", tmp_path / "shuffled")
    words = ("compare", *folders, "--out", tmp_path / "c", "--bootstrap", 10)
    done = langneurons(*words)
    assert done.status == 0, done.err
    assert "neurons of a language that are its own and of their kind in" in done.out
    assert "shuffled is of texts after --perturb shuffle, " in done.out
    made = Comparison.load(tmp_path / "c")
    verdicts = {claim.name: claim.verdict for claim in made.claims}
    assert verdicts["specific-to-related"] == verdicts["general-rise"] == "cannot tell"
    rows = [row for row in made.tables["survival"].records() if row["thresholds"] == "own"]
    assert {row["kind"] for row in rows} == {"specific", "related", "specific+related"}
    for row in rows:
        assert row["both"] <= row["before"]
        assert 0 <= row["low"] <= row["ratio"] <= row["high"] <= 1
        assert 0 < row["resampled"] <= 1
    both = {row["language"]: row for row in rows if row["kind"] == "specific+related"}
    assert all(row["ratio"] < row["resampled"] for row in both.values())


def test_texts_of_one_language_alone(tmp_path: Path, langneurons: Callable) -> None:
    """Where only French texts change, only French has another number than alone before; a language
    whose texts are as before keeps all its neurons."""
    before = random_counts(3, 4, blocks=5, widths=((60,),) * 6)
    save(tmp_path / "plain", before)
    k = before.languages.index("fr")
    active = tuple(a.copy() for a in before.active)
    for layer in active:
        layer[k] = np.roll(layer[k], 1, axis=1)
    save(tmp_path / "other", replace(before, active=active), perturb="romanise")
    folders = (tmp_path / "plain", tmp_path / "other")
    done = langneurons("compare", *folders, "--out", tmp_path / "c", "--bootstrap", 4)
    assert "of their kind in" in done.out
    assert "where its texts alone are so" in done.out
    tables = Comparison.load(tmp_path / "c").tables
    alone = {
        (row["language"], row["kind"]): row
        for row in tables["survival-alone"].records()
        if row["thresholds"] == "own"
    }
    whole = {
        (row["language"], row["kind"]): row
        for row in tables["survival"].records()
        if row["thresholds"] == "own"
    }
    assert alone.keys() == whole.keys()
    for (code, kind), row in alone.items():
        if code == "fr":
            assert {**row, "after": 0} == {**whole[code, kind], "after": 0}
        else:
            assert row["both"] == row["before"] == row["now"]
    assert any(row["both"] < row["before"] for (code, _), row in whole.items() if code != "fr")


def test_what_was_followed_through_the_neurons_before_is_judged(
    runs: Path, tmp_path: Path, langneurons: Callable
) -> None:
    """Found beside them, or given; of other neurons only where it is given."""

    def follow(folder: Path, neurons: Path) -> Path:
        inputs = {"neurons": artifacts.read(neurons).digest}
        with artifacts.writing(folder, "mediation", "mediate", {}, inputs) as draft:
            mediation({"all": 0.8, "specific": 0.4}).write(draft)
        return folder

    other = follow(tmp_path / "other", runs / "domain" / "neurons")
    beside = follow(runs / "base" / "followed", runs / "base" / "neurons")
    words = ("compare", runs / "base", runs / "step-2", "--bootstrap", 0, "--json")
    try:
        found = langneurons(*words, "--out", tmp_path / "found")
    finally:
        shutil.rmtree(beside)
    none = langneurons(*words, "--out", tmp_path / "none")
    given = langneurons(*words, "--mediation", other, "--out", tmp_path / "given")
    verdicts = [
        {claim["name"]: claim["verdict"] for claim in done.json["claims"]}
        for done in (found, none, given)
    ]
    assert [one.get("mediated-by-specific") for one in verdicts] == ["holds", None, "holds"]
