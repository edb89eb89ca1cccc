"""Files of rows: what is read of them, how often, and what is said of a line that will not do."""

import gzip
import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from langneurons import artifacts
from langneurons.errors import FormatError, InputError
from langneurons.texts.prompts import TEMPLATES
from langneurons.texts.responses import Question, Response
from langneurons.texts.rows import (
    Responses,
    from_lines,
    read,
    read_questions,
    read_responses,
    to_lines,
)
from support.places import data
from support.translators import tiny_tokenizer


def row(**fields: object) -> dict:
    return {"question_id": "q1", "lang": "en", "prompt": "2+2?\n", "response": "4", **fields}


def line(**fields: object) -> str:
    return json.dumps(row(**fields), ensure_ascii=False)


def write(path: Path, *lines: str | bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join((x if isinstance(x, bytes) else x.encode()) + b"\n" for x in lines))
    return path


def test_a_file_of_our_form(tmp_path: Path) -> None:
    file = write(
        tmp_path / "r.jsonl",
        line(),
        "",
        line(question_id="q2", lang="zh", sample=4, answer=4, correct=False),
    )
    assert read_responses(file) == [
        Response("q1", "en", "2+2?\n", "4"),
        Response("q2", "zh", "2+2?\n", "4", 4, 4, False),
    ]


def test_a_folder_by_language_with_rendered_prompts(tmp_path: Path) -> None:
    for code, question in (("zh", "二加二？"), ("en", "2+2?")):
        fields = {
            "id": "m-0",
            "lang": code,
            "question": question,
            "response": "4",
            "prediction": 4,
            "answer": 4,
        }
        write(tmp_path / f"{code}.jsonl", json.dumps(fields))
    en, zh = read_responses(tmp_path, template="{code}|{question}|{language}:")
    assert en == Response("m-0", "en", "en|2+2?|English:", "4", 0, 4)
    assert zh.prompt == "zh|二加二？|Chinese:"
    assert read_responses(tmp_path, languages=["zh"])[0].prompt.endswith(
        "in Chinese.\n\n### Instruction:\n二加二？\n\n### Response:"
    )
    assert [q.question for q in read_questions(tmp_path)] == ["2+2?", "二加二？"]


MARK = b"\xef\xbb\xbf"


def test_joined_files_that_each_begin_with_a_mark(tmp_path: Path) -> None:
    first, second = line().encode(), line(question_id="q2").encode()
    file = write(tmp_path / "r.jsonl", MARK + first, MARK, MARK + MARK + second)
    assert [response.question_id for response in read_responses(file)] == ["q1", "q2"]
    question = {"id": "m-0", "lang": "en", "question": "2+2?", "answer": 4}
    other = json.dumps({**question, "id": "m-1"}).encode()
    file = write(tmp_path / "q.jsonl", MARK + json.dumps(question).encode(), MARK + other)
    assert [question.id for question in read_questions(file)] == ["m-0", "m-1"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (line().encode("utf-16"), "is text in UTF-16; write it as UTF-8"),
        (line().encode("utf-16-le"), "is text in UTF-16; write it as UTF-8"),
        (line().encode("utf-32"), "is text in UTF-32; write it as UTF-8"),
        (gzip.compress(line().encode(), mtime=0), "is compressed by gzip; unpack it"),
        (b"PAR1\x15\x04PAR1", "is a Parquet file"),
        (b"<!DOCTYPE html>\n<html>", "is a page of HTML or XML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (json.dumps([row(), row(sample=1)], indent=1).encode(), "is JSON over several lines"),
        (json.dumps(row(), indent=1).encode(), "is JSON over several lines"),
        (b"question_id,lang,prompt,response\nq1,en,x,4\n", "is a table of separated values"),
    ],
)
def test_a_file_that_is_not_what_its_name_says(tmp_path: Path, content: bytes, what: str) -> None:
    file = tmp_path / "r.jsonl"
    file.write_bytes(content)
    with pytest.raises(InputError, match=what) as error:
        read_responses(file)
    assert str(error.value).startswith(f"{file} is ")
    assert "one JSON object per line is needed" in str(error.value)


@pytest.mark.parametrize(
    ("name", "what"),
    [("xl/workbook.xml", "a workbook of Excel"), ("r.jsonl", "a zip archive; unpack it")],
)
def test_a_zip_in_place_of_rows(tmp_path: Path, name: str, what: str) -> None:
    with zipfile.ZipFile(tmp_path / "r.jsonl", "w") as archive:
        archive.writestr(name, "hello")
    with pytest.raises(InputError, match=rf"r\.jsonl is {what}"):
        read_responses(tmp_path / "r.jsonl")


def test_a_table_without_heads(tmp_path: Path) -> None:
    (tmp_path / "mgsm_en.tsv").write_text("Tom has 3 cats.\t3\n", "utf-8")
    with pytest.raises(InputError, match=r"mgsm_en\.tsv is a table of separated values; one JSON"):
        read_questions(tmp_path / "mgsm_en.tsv")


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n", "\n\r", "\r\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_lines_may_end_as_on_any_machine(tmp_path: Path, end: str, last: bool) -> None:
    texts = [line(response="one\rtwo\n"), line(question_id="q2")]
    content = (end.join(texts) + end * last).encode()
    file = tmp_path / "r.jsonl"
    file.write_bytes(content)
    there = read(file)
    assert [one.question_id for one in there.responses] == ["q1", "q2"]
    assert there.responses[0].response == "one\rtwo\n"
    assert there.digests == {"r.jsonl": hashlib.sha256(content).hexdigest()}
    file.write_bytes(b"\r".join([line().encode(), b"", b"{", b""]))
    with pytest.raises(InputError, match=r"r.jsonl, line 3: not JSON"):
        read_responses(file)


def test_prompts_that_are_made(tmp_path: Path) -> None:
    """By the tokenizer's chat template, if it has one; told, and part of what was read."""
    bare = {"question_id": "q9", "lang": "en", "question": "2+2?", "response": "4"}
    file = write(tmp_path / "r.jsonl", line(), json.dumps(bare))
    chatting, plain = tiny_tokenizer(), tiny_tokenizer()
    chatting.chat_template = "[{{ messages[0]['content'] }}]"
    made = read(file, tokenizer=chatting)
    assert [one.prompt for one in made.responses] == ["2+2?\n", "[2+2?]"]
    assert made.template == "chat"
    assert made.notes == [
        "1 of 2 rows have a question and no prompt; theirs were made with template chat"
    ]
    others = [read(file), read(file, tokenizer=plain), read(file, "mathoctopus", None, chatting)]
    for other in others:
        assert other.responses[1].prompt.endswith("### Instruction:\n2+2?\n\n### Response:")
        assert other.template == TEMPLATES["mathoctopus"]
        assert other.notes[0].endswith("template mathoctopus")
        assert other.digests["r.jsonl"] == made.digests["r.jsonl"]
    digests = {one.digests["prompts"] for one in (made, *others)}
    assert len(digests) == 2
    whole = read(write(tmp_path / "w.jsonl", line()), tokenizer=chatting)
    assert (whole.template, whole.notes, whole.digests.keys()) == (None, [], {"w.jsonl"})


def test_a_prompt_that_is_there_is_kept(tmp_path: Path) -> None:
    file = write(tmp_path / "r.jsonl", line(question="another", prompt="as {it} was"))
    assert read_responses(file, template="plain")[0].prompt == "as {it} was"


def test_rows_without_a_sample_are_numbered_by_question_and_language(tmp_path: Path) -> None:
    lines = [line(), line(response="vier"), line(lang="de"), line(question_id="q2"), line()]
    responses = read_responses(write(tmp_path / "r.jsonl", *lines))
    assert [response.sample for response in responses] == [0, 1, 0, 0, 2]


def test_marks_and_line_ends_of_other_systems(tmp_path: Path) -> None:
    text = line(response="a\u2028b") + "\r"
    file = write(tmp_path / "r.jsonl", b"\xef\xbb\xbf" + text.encode())
    assert read_responses(file)[0].response == "a\u2028b"


def test_files_with_byte_order_marks_that_were_joined(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    rows = [line(lang=code).encode() + b"\r\n" for code in ("en", "zh")]
    file = write(tmp_path / "r.jsonl", mark + rows[0] + mark + rows[1] + mark)
    assert [response.lang for response in read_responses(file)] == ["en", "zh"]


@pytest.mark.parametrize(
    ("bad", "seen"),
    [
        (b'{"lang": "\xff"}', "byte 10 is not UTF-8"),
        ("{'lang': 1}", "not JSON \\(Expecting property name .* at character 1\\)"),
        ("[" * 100_000, "not JSON \\(maximum recursion"),
        ('["q1", "en"]', '\'\\["q1", "en"\\]\' is no JSON object'),
        ("null", "'null' is no JSON object"),
        (line(response=None), "field response is None"),
        (line(lang=""), "field lang is empty"),
        (line(answer=float("inf")), "field answer is inf"),
        (line(lang="fr"), "lang fr is not among the languages en, zh; add it"),
        (line(), "q1, en, sample 0 stands twice, first in .*r.jsonl, line 1; remove one"),
        (
            '{"id": 3, "lang": "en", "question": "x", "response": "y"}',
            "field id is 3; text is needed",
        ),
        (
            '{"lang": "en", "question": "x", "response": "y"}',
            "field question_id is missing; there are lang, question",
        ),
        (
            '{"id": "a", "lang": "en", "response": "y"}',
            "fields prompt and question are both missing",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, bad: str | bytes, seen: str) -> None:
    file = write(
        tmp_path / "r.jsonl",
        line(sample=0),
        line(question_id="q0"),
        bad.replace("}", ', "sample": 0}') if bad == line() else bad,
    )
    with pytest.raises(InputError, match=rf"r\.jsonl, line 3: {seen}") as caught:
        read_responses(file, languages=["en", "zh"])
    assert "\n" not in str(caught.value)


def test_a_row_in_the_file_of_another_language(tmp_path: Path) -> None:
    write(tmp_path / "zh.jsonl", line(lang="zh"), line())
    with pytest.raises(
        InputError, match=r"zh\.jsonl, line 2: lang is en, but the file is that of zh"
    ):
        read_responses(tmp_path)


def test_a_language_without_a_row(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no row for sw, zh, which the languages name"):
        read_responses(write(tmp_path / "r.jsonl", line()), languages=["zh", "en", "sw"])
    with pytest.raises(InputError, match=r"f has no sw\.jsonl; add it"):
        read_responses(write(tmp_path / "f" / "en.jsonl", line()).parent, languages=["en", "sw"])
    with pytest.raises(InputError, match="has no row at all"):
        read_questions(write(tmp_path / "empty.jsonl", ""))


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere does not exist; give a JSONL file"):
        read_responses(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"has no <lang>\.jsonl"):
        read_questions(tmp_path)
    (tmp_path / "en.jsonl").mkdir()
    with pytest.raises(InputError, match=r"en\.jsonl cannot be read: Is a directory"):
        read_questions(tmp_path)


def test_each_file_is_read_once_and_hashed_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code in ("en", "zh", "sw"):
        write(tmp_path / f"{code}.jsonl", line(lang=code), "", line(lang=code))
    opened: list[str] = []
    really_open = Path.open

    def noting(path: Path, *how: Any) -> Any:
        opened.append(path.name)
        return really_open(path, *how)

    monkeypatch.setattr(Path, "open", noting)
    responses, digests, _ = read(tmp_path, languages=["zh", "en"])
    assert opened == ["en.jsonl", "zh.jsonl"]
    assert [response.lang for response in responses] == ["en", "en", "zh", "zh"]
    monkeypatch.undo()
    assert digests == {
        name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        for name in ("en.jsonl", "zh.jsonl")
    }


def test_rows_come_back_from_their_lines() -> None:
    rows = [{"a": "two\nlines\u2028 and \x85", "b": None}, {"a": "九", "b": [0.5, True]}]
    content = to_lines(rows)
    assert content.count(b"\n") == 2
    assert "九".encode() in content
    assert from_lines(content) == rows
    assert to_lines([]) == b""
    assert from_lines(b"") == []


def test_sampled_responses_come_back(tmp_path: Path) -> None:
    sampled = Responses([Response("q1", "en", "2+2?\n", "4", answer=4, correct=True)])
    sampled.save(tmp_path / "r")
    assert artifacts.read(tmp_path / "r").manifest["kind"] == "responses"
    assert Responses.load(tmp_path / "r") == sampled
    assert read_responses(tmp_path / "r") == sampled.responses
    write(tmp_path / "r" / "responses.jsonl", line())
    with pytest.raises(FormatError, match="not as it was written"):
        Responses.load(tmp_path / "r")


def stage(folder: Path, name: str = "responses.jsonl") -> Path:
    with artifacts.writing(folder, "responses", "sample", {}, {}) as draft:
        draft.bytes(name, line(lang="zh").encode())
    return folder


def test_a_stages_folder(tmp_path: Path) -> None:
    assert read_responses(stage(tmp_path / "r")) == [Response("q1", "zh", "2+2?\n", "4")]


def test_a_stages_folder_that_was_changed(tmp_path: Path) -> None:
    write(stage(tmp_path / "r") / "responses.jsonl", line())
    with pytest.raises(
        FormatError, match=r"responses\.jsonl is missing or not as it was written; make .* anew"
    ):
        read_responses(tmp_path / "r")
    (tmp_path / "r" / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"r has no manifest\.json, so it is no finished result"):
        read_responses(tmp_path / "r")


def test_a_stages_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds responses, not responses\.jsonl"):
        read_responses(stage(tmp_path / "r", "other.jsonl"))


def test_questions(tmp_path: Path) -> None:
    file = write(
        tmp_path / "q.jsonl",
        '{"id": "a", "lang": "en", "question": "2+2?", "answer": 4, "note": 1}',
    )
    assert read_questions(file) == [Question("a", "en", "2+2?", 4)]
    with pytest.raises(InputError, match=r"line 2: a, en stands twice, first in .*line 1"):
        read_questions(write(tmp_path / "two.jsonl", *[file.read_text("utf-8").strip()] * 2))


def test_real_questions_of_chosen_languages() -> None:
    questions = read_questions(data("mgsm"), ["th", "sw"])
    assert [(q.id, q.lang) for q in questions[::250]] == [("mgsm-000", "sw"), ("mgsm-000", "th")]


def test_importing_is_light() -> None:
    code = (
        "import sys, langneurons.texts.rows, langneurons.model.tokens; "
        "print({'torch', 'transformers', 'pyarrow'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
