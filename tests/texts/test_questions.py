"""Questions by path and by name; the Hub's data sets are tried on folders that hold such."""

import csv
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from langneurons import artifacts
from langneurons.errors import InputError
from langneurons.texts.questions import BENCHMARKS, Questions, load_questions
from langneurons.texts.responses import Question
from langneurons.texts.rows import read_questions
from support.places import data

MGSM = {"answer": None, "equation_solution": None}
Rows = Iterable[Mapping[str, object]]


def hub(folder: Path, parts: Mapping[str, Mapping[str, Rows]], form: str = "parquet") -> Path:
    """A folder as the Hub holds a data set: a file for each configuration and split, and a card."""
    card = ["---", "configs:"]
    for config, splits in parts.items():
        card += [f"- config_name: {config}", "  data_files:"]
        for split, rows in splits.items():
            file = folder / "of" / config / f"{split}.{form}"
            file.parent.mkdir(parents=True, exist_ok=True)
            write(file, list(rows))
            card += [f"  - split: {split}", f"    path: {file.relative_to(folder)}"]
    (folder / "README.md").write_text("\n".join([*card, "---", ""]))
    return folder


def write(file: Path, rows: list[Mapping[str, object]]) -> None:
    if file.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), file)
    elif file.suffix == ".json":
        file.write_text(json.dumps(rows, ensure_ascii=False))
    else:
        with file.open("w", newline="") as lines:
            table = csv.DictWriter(lines, rows[0])
            table.writeheader()
            table.writerows(rows)


def mgsm(folder: Path) -> Path:
    """A data set with the columns of juletxara/mgsm: three questions in each of three languages."""
    asked = {
        "de": ("Eins?", "Zwei?", "Drei?"),
        "te": ("ఒకటి?", "రెండు?", "మూడు?"),
        "zh": ("一？", "二？", "三？"),
    }
    return hub(
        folder,
        {
            code: {
                "train": [
                    {
                        "question": "shown",
                        "answer": "The answer is 9.",
                        "answer_number": 9,
                        "equation_solution": None,
                    }
                ],
                "test": [
                    {"question": text, "answer_number": n, **MGSM}
                    for n, text in enumerate(texts, 1)
                ],
            }
            for code, texts in asked.items()
        },
    )


def refused(said: str, *args: object) -> None:
    with pytest.raises(InputError, match=said) as caught:
        load_questions(*args)  # ty: ignore[invalid-argument-type]
    assert "\n" not in str(caught.value)


# --- paths


def test_files_are_read_as_before(tmp_path: Path) -> None:
    line = json.dumps({"id": "q1", "lang": "en", "question": "2+2?", "answer": 4})
    for file in (tmp_path / "questions.jsonl", tmp_path / "by" / "en.jsonl"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(line + "\n")
    wanted = [Question("q1", "en", "2+2?", 4)]
    assert load_questions(str(tmp_path / "questions.jsonl")) == wanted
    assert load_questions(str(tmp_path / "by"), ["en"]) == wanted
    refused("by has no de.jsonl", str(tmp_path / "by"), ["en", "de"])


def test_other_languages_in_a_file_are_left_out(tmp_path: Path) -> None:
    rows = [{"id": "a", "lang": code, "question": f"{code}?"} for code in ("en", "zh", "sw")]
    (tmp_path / "q.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert [q.lang for q in load_questions(str(tmp_path / "q.jsonl"), ["sw", "en"])] == ["en", "sw"]
    refused(r"q\.jsonl has no question in th; add some", str(tmp_path / "q.jsonl"), ["en", "th"])


def test_questions_of_a_study_come_back(tmp_path: Path) -> None:
    kept = Questions([Question("q1", "en", "2+2?", 4), Question("q1", "zh", "二加二？")])
    kept.save(tmp_path / "q")
    assert artifacts.read(tmp_path / "q").manifest["kind"] == "questions"
    assert Questions.load(tmp_path / "q") == kept
    assert load_questions(str(tmp_path / "q" / Questions.FILE)) == kept.questions


def test_a_path_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mgsm(Path("mgsm"))
    assert {q.id for q in load_questions("mgsm", ["de"])} == {
        "mgsm-test-0",
        "mgsm-test-1",
        "mgsm-test-2",
    }
    hub(Path("owner/name"), {"default": {"test": [{"question": "a?", "lang": "en"}]}})
    assert (
        load_questions("owner/name")
        == load_questions("owner/name:default")
        == [Question("name-test-0", "en", "a?")]
    )


def test_what_is_neither_path_nor_name(tmp_path: Path) -> None:
    names = (
        "give a JSONL file, .* mgsm, msvamp, numglue, "
        "or a data set of the Hugging Face Hub as owner/name"
    )
    for name in ("mgsn", "gsm8k", "/nowhere/at.jsonl", "a/b/c", "a/b:c:d:e", "", "a b/c"):
        if name:
            refused(f"{name} is no file or folder here, and no name of questions; {names}", name)
    (tmp_path / "empty").mkdir()
    refused(
        r"empty holds no <lang>\.jsonl, and no data set that can be read: ", str(tmp_path / "empty")
    )
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "test.parquet").write_bytes(b"no parquet")
    refused("broken holds no .* data set that can be read: ", str(tmp_path / "broken"))


# --- benchmarks


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The benchmarks, read from folders with their columns in place of the Hub."""
    for name, benchmark in BENCHMARKS.items():
        monkeypatch.setitem(
            BENCHMARKS, name, benchmark._replace(source=str(tmp_path / name), configs=())
        )
    return tmp_path


def test_mgsm(here: Path) -> None:
    mgsm(here / "mgsm")
    questions = load_questions("mgsm", ["zh", "de"])
    assert questions == [
        Question("mgsm-000", "de", "Eins?", 1),
        Question("mgsm-001", "de", "Zwei?", 2),
        Question("mgsm-002", "de", "Drei?", 3),
        Question("mgsm-000", "zh", "一？", 1),
        Question("mgsm-001", "zh", "二？", 2),
        Question("mgsm-002", "zh", "三？", 3),
    ]
    assert {q.lang for q in load_questions("mgsm")} == {"de", "te", "zh"}
    refused("mgsm has no configuration th; there is de, te, zh", "mgsm", ["de", "th"])


def test_msvamp(here: Path) -> None:
    rows = [
        {
            "query": "julia played .",
            "m_query": "Wie viele?",
            "response": 8.0,
            "equation": "- number0 number1",
        }
    ]
    hub(
        here / "msvamp",
        {"de": {"test": rows}, "sw": {"test": [{**rows[0], "m_query": "Wangapi?"}]}},
        "json",
    )
    assert load_questions("msvamp") == [
        Question("msvamp-0000", "de", "Wie viele?", 8.0),
        Question("msvamp-0000", "sw", "Wangapi?", 8.0),
    ]


def test_numglue_is_three_of_its_tasks(here: Path) -> None:
    rows = [{"question": f"{n}?", "answer": str(n), "type": f"Type_{n}"} for n in range(1, 9)]
    hub(here / "numglue", {"default": {"train": rows[:2], "test": rows}})
    assert load_questions("numglue") == [
        Question("numglue-00000", "en", "1?", "1"),
        Question("numglue-00003", "en", "4?", "4"),
        Question("numglue-00007", "en", "8?", "8"),
    ]
    refused("numglue has no row for de; leave it out", "numglue", ["en", "de"])


def test_mgsm_as_the_hub_has_it_is_mgsm_as_files(here: Path) -> None:
    """Made again in the Hub's form, the real questions come back as in the files, ids included."""
    files = data("mgsm")
    wanted = read_questions(files)
    of = {q.lang: [p for p in wanted if p.lang == q.lang] for q in wanted}
    rows = {
        code: {
            "test": [{"question": q.question, "answer_number": q.answer, **MGSM} for q in questions]
        }
        for code, questions in of.items()
    }
    hub(here / "mgsm", rows)
    assert load_questions("mgsm") == wanted


# --- any data set


def test_configurations_and_splits(tmp_path: Path) -> None:
    folder = mgsm(tmp_path / "set")
    assert load_questions(f"{folder}:zh:train") == [Question("set-train-0", "zh", "shown", 9)]
    assert {q.lang for q in load_questions(f"{folder}::train")} == {"de", "te", "zh"}
    assert load_questions(f"{folder}:de") == load_questions(f"{folder}", ["de"])
    refused(
        r"set has no configuration train; there is de, te, zh \(a split: .*set::train\)",
        f"{folder}:train",
    )
    refused(
        "set:de has no split validation; there is train, test; give one, as .*set:de:train",
        f"{folder}:de:validation",
    )
    refused("set has no row for zh", f"{folder}:de", ["zh"])


def test_a_table_that_says_everything(tmp_path: Path) -> None:
    rows = [
        {"id": 7, "lang": "en", "question": "2+2?", "answer": 4, "source": "x"},
        {"id": 7, "lang": "de", "question": "2+2=?", "answer": 4, "source": "x"},
        {"id": 8, "lang": "en", "question": "1/2?", "answer": 0.5, "source": ""},
    ]
    hub(tmp_path / "set", {"default": {"train": rows}}, "csv")
    first, second, third = load_questions(str(tmp_path / "set"))
    assert (first, second) == (Question("7", "en", "2+2?", 4), Question("7", "de", "2+2=?", 4))
    assert third == Question("8", "en", "1/2?", 0.5)
    assert load_questions(str(tmp_path / "set"), ["de"]) == [second]
    hub(tmp_path / "set", {"default": {"train": [*rows, rows[1]]}}, "csv")
    refused("set:default:train: 7, de stands twice", str(tmp_path / "set"))


def test_folders_of_one_name_are_not_mixed_up(tmp_path: Path) -> None:
    """`datasets` keeps what it prepared by name and card of the folder, whatever the files hold."""
    one, two = (
        hub(tmp_path / where / "set", {"en": {"test": [{"question": where}]}})
        for where in ("first", "second")
    )
    for folder, text in ((one, "first"), (two, "second"), (one, "first")):
        assert [q.question for q in load_questions(str(folder))] == [text]
    hub(two, {"en": {"test": [{"question": "third"}]}})
    assert [q.question for q in load_questions(str(two))] == ["third"]


def test_ids_are_counted_by_language(tmp_path: Path) -> None:
    rows = [{"question": text, "lang": text[:2]} for text in ("en a", "en b", "sw a", "sw b")]
    hub(tmp_path / "set", {"default": {"test": rows}})
    assert [q.id for q in load_questions(str(tmp_path / "set"))] == [
        f"set-test-{n}" for n in (0, 1, 0, 1)
    ]


def test_a_language_that_is_not_said_is_the_one_wanted(tmp_path: Path) -> None:
    rows = [{"question": "Cantas?", "answer": "#### 72"}]
    folder = hub(
        tmp_path / "set", {"main": {"train": rows, "test": rows}, "socratic": {"test": rows}}
    )
    refused(
        "set has several configurations, .*: main, socratic; give one, as .*set:main", str(folder)
    )
    refused(
        "set:main:test does not say its language: .* name it with --languages", f"{folder}:main"
    )
    refused("set:main:test does not say its language", f"{folder}:main", ["gl", "pt"])
    assert load_questions(f"{folder}:main", ["gl"]) == [
        Question("set-test-0", "gl", "Cantas?", "#### 72")
    ]
    folder = hub(tmp_path / "other", {"gl": {"test": rows}, "xx": {"test": rows}})
    assert load_questions(str(folder), ["gl"]) == [
        Question("other-test-0", "gl", "Cantas?", "#### 72")
    ]
    folder = hub(tmp_path / "splits", {"en": {"first": rows, "second": rows}})
    refused("splits:en has no split test; there is first, second; give one", str(folder))


def test_rows_that_will_not_do(tmp_path: Path) -> None:
    folder = hub(tmp_path / "a", {"en": {"test": [{"prompt": "2+2?", "response": 4}]}})
    refused(
        "a:en:test has the columns prompt, response; the question is to be in question", str(folder)
    )
    folder = hub(tmp_path / "b", {"en": {"test": [{"question": "2+2?"}, {"question": None}]}})
    refused("b:en:test, row 1: field question is None; text is needed", str(folder))
    folder = hub(tmp_path / "c", {"en": {"test": [{"question": "2+2?", "answer": [4]}]}})
    refused(r"c:en:test, row 0: field answer is \[4\]", str(folder))
    folder = hub(
        tmp_path / "d",
        {"default": {"test": [{"question": "2+2?", "lang": None}, {"question": "", "lang": "a"}]}},
    )
    refused("d:default:test, row 0: field lang is None", str(folder))


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No network; gives the folder where `datasets` keeps what it fetched."""
    for name in ("huggingface_hub.constants.HF_HUB_OFFLINE", "datasets.config.HF_HUB_OFFLINE"):
        monkeypatch.setattr(name, True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache"


UNFETCHED = (
    r"no such file or folder here, and it could not be fetched from the Hub \(.*\); "
    "give a local file or folder"
)


def test_a_hub_id_without_network(offline: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("langneurons/no-such-questions", "langneurons/no-such-questions:en:test"):
        refused(f"^langneurons/no-such-questions: {UNFETCHED}$", name)
    refused(f"^juletxara/mgsm: {UNFETCHED}$", "mgsm")
    assert capfd.readouterr() == ("", "")


def test_a_command_without_network(
    offline: Path, tmp_path: Path, langneurons: Callable[..., Any]
) -> None:
    """It says so before it looks for the model, which is not there either."""
    model, out = tmp_path / "no-such-model", tmp_path / "responses"
    done = langneurons("sample", model, "langneurons/no-such-questions", "--out", out)
    assert (done.status, done.out) == (2, "")
    assert re.fullmatch(rf"langneurons: langneurons/no-such-questions: {UNFETCHED}\n", done.err)
    assert not out.exists()


def test_what_was_fetched_before_needs_no_network(offline: Path, tmp_path: Path) -> None:
    folder = mgsm(tmp_path / "mgsm")
    for code in ("de", "zh"):  # what `datasets` leaves behind, by the name it has from the Hub
        datasets.load_dataset(str(folder), code)
    (offline / "mgsm").rename(offline / "juletxara___mgsm")
    assert {(q.id, q.lang) for q in load_questions("mgsm", ["zh", "de"])} == {
        (f"mgsm-00{n}", code) for n in range(3) for code in ("zh", "de")
    }
    assert load_questions("juletxara/mgsm:zh:train") == [Question("mgsm-train-0", "zh", "shown", 9)]
    refused(r"juletxara/mgsm: .*from the Hub .*'de', 'zh'", "mgsm", ["de", "th"])
    refused(r"juletxara/mgsm: .*from the Hub .*'de', 'zh'", "juletxara/mgsm", ["de"])


def test_nothing_is_told_and_settings_come_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def settings() -> tuple[object, ...]:
        levels = [logging.getLogger(name).level for name in ("datasets", "huggingface_hub")]
        return (*levels, datasets.are_progress_bars_disabled())

    before = settings()
    load_questions(str(mgsm(tmp_path / "set")))
    refused("no configuration", f"{tmp_path / 'set'}:xx")
    assert capfd.readouterr() == ("", "")
    assert settings() == before
