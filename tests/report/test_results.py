"""Results: what is read from a run, what is not there yet, what cannot be read."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import langneurons as ln
from langneurons import artifacts, run_folder
from langneurons.align.pairs import Pairs
from langneurons.compare.comparison import Comparison
from langneurons.errors import InputError
from langneurons.report.results import PREVIEWED, StudyResults, read_folder, read_study
from langneurons.texts.accuracy import Evaluation


def test_what_a_study_has_found(found: StudyResults, study: Path) -> None:
    assert found.name == "study"
    (model,) = found.models
    assert (model.name, model.source) == ("small", "owner/model")
    assert {name: (a.source, a.number) for name, a in found.asked.items()} == {
        "school": ("school", 40),
        "market": ("market", 40),
    }
    assert list(model.base) == ["school", "market"]
    assert model.base["school"].matrices
    assert model.base["market"].matrices is None
    home = study / "models" / "small" / "base" / "school"
    neurons = ln.Neurons.load(home / "neurons")
    assert model.base["school"].neurons
    assert (model.base["school"].neurons.keys == neurons.keys).all()
    assert list(model.base["school"].accuracy) == Evaluation.load(home / "accuracy").accuracies
    assert list(model.base["market"].manifests) == ["responses", "accuracy", "counts", "neurons"]
    assert model.scored
    assert model.scored["kind"] == "scored"


def test_what_alignments_did(found: StudyResults, study: Path) -> None:
    first, second = found.models[0].alignments
    assert (first.name, second.name) == ("sw-th", "zh-de")
    assert first.languages == ("sw", "th")
    assert list(first.after) == list(first.compared) == ["school", "market"]
    assert {kind: made["command"] for kind, made in first.manifests.items()} == {
        "pairs": "pair",
        "adapter": "align",
    }
    home = study / "models" / "small" / "sw-th"
    assert Counter(pair.lang for pair in first.pairs) == {"sw": PREVIEWED, "th": PREVIEWED}
    assert first.pairs == (
        *Pairs.load(home / "pairs").train[:3],
        *Pairs.load(home / "pairs").train[5:8],
    )
    assert [entry["step"] for entry in first.history if "loss" in entry] == [1, *range(10, 70, 10)]
    neurons = first.after["school"].neurons
    assert neurons
    last = ln.Neurons.load(home / "step-60" / "school" / "neurons")
    assert (neurons.keys == last.keys).all()


def test_what_is_after_goes_by_its_step(found: StudyResults, study: Path) -> None:
    """Not by the folder it lies in; other questions go by theirs."""
    compared = found.models[0].alignments[0].compared["market"]
    written = Comparison.load(study / "models" / "small" / "sw-th" / "comparison" / "market")
    assert list(compared.tables) == list(written.tables)
    for tables, steps in (
        (compared.tables, ["step 60"]),
        (compared.checkpoints, ["step 30", "step 60"]),
    ):
        for name, table in tables.items():
            after = list(dict.fromkeys(row["after"] for row in table.records()))
            if name == "stability-domains":
                assert after == ["models/small/base/school"]
            else:
                assert after == steps, name
    plain = [row[1:] for row in written.tables["layer-changes"].rows]
    assert [row[1:] for row in compared.tables["layer-changes"].rows] == plain
    assert list(compared.claims) == list(written.claims)


def test_every_result_is_named(found: StudyResults, study: Path) -> None:
    folders = sorted(
        path.relative_to(study).as_posix()
        for part in ("models", "questions")
        for path in artifacts.finished(study / part)
    )
    assert sorted(origin.name for origin in found.provenance) == folders == sorted(found.inputs)
    assert len(folders) > 40
    for origin in found.provenance:
        assert origin.manifest == artifacts.read(study / origin.name).manifest


def test_what_is_not_there_yet_is_left_out(study: Path, tmp_path: Path) -> None:
    """A run in the midst: no alignment is done, one set of questions has no neurons."""
    run = tmp_path / "run"
    shutil.copytree(study, run)
    for name in ("sw-th", "zh-de"):
        shutil.rmtree(run / "models" / "small" / name)
    shutil.rmtree(run / "models" / "small" / "base" / "market" / "neurons")
    shutil.rmtree(run / "questions" / "market")
    found = read_study(run)
    (model,) = found.models
    assert model.alignments == ()
    assert model.base["market"].neurons is None
    assert model.base["market"].accuracy
    assert list(found.asked) == ["school"]


def test_neurons_of_a_folder(study: Path, tmp_path: Path) -> None:
    """With what they were made from, and what was made from them; nothing of other neurons."""
    home = study / "models" / "small" / "base" / "school"
    found = read_folder(home)
    assert [origin.name for origin in found.provenance] == ["counts", "neurons", "perplexity"]
    assert found.results.matrices
    assert found.inputs == {"neurons": artifacts.read(home / "neurons").digest}
    alone = read_folder(home / "neurons")
    assert [origin.name for origin in alone.provenance] == ["neurons"]
    assert alone.results.matrices is None
    run = Path(shutil.copytree(home, tmp_path / "run"))
    shutil.copytree(home.parent / "market" / "neurons", run / "others")
    others = read_folder(run, "others")
    assert [origin.name for origin in others.provenance] == ["others", "neurons"]
    assert others.results.matrices is None
    assert [origin.name for origin in read_folder(run).provenance] == [
        "counts",
        "neurons",
        "perplexity",
        "others",
    ]
    with pytest.raises(InputError, match=r"\(there: neurons, others\); choose with --neurons"):
        read_folder(run, "nothing")


def test_other_neurons_of_a_folder_stand_beside(
    study: Path, tmp_path: Path, langneurons: Any
) -> None:
    """With what silencing those costs, and with a comparison of the two, whichever it names."""
    home = study / "models" / "small" / "base" / "school"
    run = Path(shutil.copytree(home, tmp_path / "run"))
    for rate in ("0.01", "0.03"):
        done = langneurons(
            "identify", run / "counts", "--out", run / f"rate-{rate}", "--rate", rate
        )
        assert done.status == 0, done.err
    sets = [run / name for name in ("neurons", "rate-0.01", "rate-0.03")]
    done = langneurons("compare", *sets, "--out", run / "rates", "--bootstrap", "3")
    assert done.status == 0, done.err
    found = read_folder(run)
    assert [list(sides.results) for sides in found.beside] == [
        ["in neurons", "in rate-0.01"],
        ["in neurons", "in rate-0.03"],
    ]
    assert list(found.inputs) == ["neurons", "beside rate-0.01", "beside rate-0.03"]
    for sides, folder in zip(found.beside, sets[1:], strict=True):
        mine, theirs = (of.neurons for of in sides.results.values())
        assert mine is found.results.neurons
        assert theirs
        assert len(theirs) == len(ln.Neurons.load(folder))
        rows = sides.tables["kind-changes"].records()
        assert {row["after"] for row in rows} == {str(folder)}
        assert rows[0]["now"] == (theirs.kind == "specific").sum()
    (other_way, _) = read_folder(run, "rate-0.01").beside
    assert other_way.tables == {}
    assert other_way.results["in neurons"].matrices


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "study.json cannot be read"),
        ("[]", "study.json cannot be read"),
        ({"languages": ["en"]}, "study.json cannot be read ('models')"),
        ({"models": {"../m": "m"}}, "'../m' cannot name a folder of the run"),
        ({"domains": {".d": "d"}}, "'.d' cannot name a folder of the run"),
        ({"models": {"m": "m"}}, "holds no neurons and no accuracy yet"),
    ],
)
def test_a_run_that_cannot_be_read(
    tmp_path: Path, langneurons: Any, content: Any, message: str
) -> None:
    if isinstance(content, dict):
        whole = {"models": {}, "domains": {}, "alignments": {}, "languages": ["en"]} | content
        settings = content if "models" not in content and "domains" not in content else whole
        content = json.dumps({"study": "s", "settings": settings})
    (tmp_path / run_folder.LEDGER).write_text(content, "utf-8")
    done = langneurons("report", tmp_path)
    assert done.status == 2
    assert message in done.err


def test_any_kind_of_result_is_loaded(study: Path) -> None:
    base = study / "models" / "small" / "base" / "school"
    home = study / "models" / "small" / "sw-th"
    kinds = {
        study / "questions" / "school": "questions",
        base / "responses": "responses",
        base / "accuracy": "accuracy",
        base / "counts": "counts",
        base / "neurons": "neurons",
        base / "perplexity": "perplexity",
        study / "models" / "small" / "seeds" / "scored": "scored",
        home / "pairs": "pairs",
        home / "adapter": "adapter",
        home / "comparison" / "school": "comparison",
    }
    for folder, kind in kinds.items():
        assert kind == ln.load_result(folder).KIND
    assert len(ln.load_result(str(base / "neurons"))) == len(ln.Neurons.load(base / "neurons"))
    with pytest.raises(InputError, match="nowhere does not exist; questions or responses or "):
        ln.load_result(study / "nowhere")
