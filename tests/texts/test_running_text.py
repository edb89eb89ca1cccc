"""Running text: which documents there are, wherever they come from."""

import json
from pathlib import Path

import pytest

from langneurons.errors import InputError
from langneurons.texts.running_text import (
    Document,
    in_other_languages,
    is_running_text,
    read,
)
from support.places import data


def write(folder: Path, **files: str) -> Path:
    """Files by their name, in which __ is a folder's end."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return folder


def test_a_document_a_line(tmp_path: Path) -> None:
    write(tmp_path, en="\ufeffone\r\n two \rthree", zh="一\n二")
    there = read(tmp_path)
    assert there.delimited == "lines"
    assert there.documents == [
        Document("1", "en", "one"),
        Document("2", "en", "two"),
        Document("3", "en", "three"),
        Document("1", "zh", "一"),
        Document("2", "zh", "二"),
    ]
    assert list(there.digests) == ["en.txt", "zh.txt"]
    assert [d.text for d in read(tmp_path, ["zh", "en"], take=1).documents] == ["一", "one"]


def test_a_blank_line_parts_documents(tmp_path: Path) -> None:
    write(tmp_path, en="one\nmore\n \n\ntwo\n", zh="一\n\n二\n\n\n")
    there = read(tmp_path)
    assert there.delimited == "paragraphs"
    assert [d.text for d in there.documents] == ["one\nmore", "two", "一", "二"]
    lines = read(tmp_path, ["en"], delimited="lines").documents
    assert [(d.id, d.text) for d in lines] == [("1", "one"), ("2", "more"), ("5", "two")]
    assert [d.text for d in read(tmp_path, ["zh"], delimited="files").documents] == ["一\n\n二"]


def test_blank_lines_in_one_language_alone_are_refused(tmp_path: Path) -> None:
    write(tmp_path, en="one\n\ntwo", zh="一\n二\n")
    with pytest.raises(InputError, match=r"en.txt has blank lines .*zh.txt has none; say what"):
        read(tmp_path)


def test_a_file_is_a_document_where_a_language_is_a_folder(tmp_path: Path) -> None:
    write(tmp_path, en__a="one\n\ntwo", en__deep__b="three", zh__a="一", empty__x=" \n")
    there = read(tmp_path, ["en", "zh"])
    assert there.delimited == "files"
    assert [(d.id, d.lang, d.text) for d in there.documents] == [
        ("a", "en", "one\n\ntwo"),
        ("deep/b", "en", "three"),
        ("a", "zh", "一"),
    ]
    assert set(there.digests) == {"en/a.txt", "en/deep/b.txt", "zh/a.txt"}
    with pytest.raises(InputError, match="holds no text in empty"):
        read(tmp_path)
    with pytest.raises(InputError, match="has no text in sw; there is en"):
        read(tmp_path, ["en", "sw"])


def test_a_file_alone(tmp_path: Path) -> None:
    file = write(tmp_path, book="one\ntwo") / "book.txt"
    assert {d.lang for d in read(file, ["sw"]).documents} == {"sw"}
    assert {d.lang for d in read(file).documents} == {"book"}
    file.write_bytes("é".encode("latin-1"))
    with pytest.raises(InputError, match=r"byte 0 is not UTF-8"):
        read(file)


def test_rows_with_text(tmp_path: Path) -> None:
    rows = [{"id": "a", "lang": "en", "text": "one"}, {"lang": "zh", "text": "一"}]
    file = tmp_path / "x.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert is_running_text(file)
    assert read(file).documents == [Document("a", "en", "one"), Document("2", "zh", "一")]
    folder = tmp_path / "by language"
    folder.mkdir()
    (folder / "en.jsonl").write_text('{"text": "one"}\n{"text": " "}\n{"text": "three"}\n')
    assert is_running_text(folder)
    assert [d.id for d in read(folder).documents] == ["1", "3"]
    (folder / "en.jsonl").write_text('{"text": "one", "lang": "sw"}\n')
    with pytest.raises(InputError, match="lang is sw, but the file is that of en"):
        read(folder)
    (folder / "en.jsonl").write_text('{"text": "one"}\n{"body": "two"}\n')
    with pytest.raises(InputError, match="line 2: field text is missing"):
        read(folder)


def test_responses_are_no_running_text(tmp_path: Path) -> None:
    (tmp_path / "en.jsonl").write_text('{"text": "x", "prompt": "", "response": "y"}\n')
    assert not is_running_text(tmp_path)
    assert not is_running_text(tmp_path / "en.jsonl")
    assert not is_running_text(tmp_path / "is not there.jsonl")
    assert not is_running_text(Path("tests/nothing"))
    assert is_running_text(Path("owner/name:20231101.{lang}"))
    (tmp_path / "en.jsonl").write_text("{")
    assert not is_running_text(tmp_path)


def test_a_data_set(tmp_path: Path) -> None:
    """A folder as it lies on the Hub: a configuration for each language, read as far as wanted."""
    card = "---\nconfigs:\n"
    for code, texts in {"en": ["one", "", "three"], "sw": ["moja", "mbili", "tatu"]}.items():
        rows = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        (tmp_path / code).mkdir()
        (tmp_path / code / "train.json").write_text(rows)
        card += f"- config_name: {code}\n  data_files: {code}/train.json\n"
    (tmp_path / "README.md").write_text(card + "---\n")
    assert is_running_text(tmp_path)
    there = read(tmp_path, ["sw", "en"])
    name = tmp_path.name
    assert [(d.id, d.text) for d in there.documents][:2] == [
        (f"{name}-1", "moja"),
        (f"{name}-2", "mbili"),
    ]
    assert [d.id for d in there.documents if d.lang == "en"] == [f"{name}-1", f"{name}-3"]
    assert read(tmp_path, ["sw", "en"]).digests == there.digests
    assert read(tmp_path, ["sw"], characters=5).documents == there.documents[:2]
    assert read(Path(f"{tmp_path}:sw"), ["sw"], take=1).documents == there.documents[:1]
    with pytest.raises(InputError, match="no configuration th"):
        read(tmp_path, ["th"])


def test_a_data_set_with_a_column_of_languages(tmp_path: Path) -> None:
    rows = [{"text": "one", "lang": "en"}, {"text": "moja", "lang": "sw"}]
    (tmp_path / "train.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [d.lang for d in read(tmp_path).documents] == ["en", "sw"]
    assert [d.text for d in read(tmp_path, ["sw"]).documents] == ["moja"]
    (tmp_path / "train.json").write_text('{"body": "one"}\n')
    with pytest.raises(InputError, match="has the columns body, but no text"):
        read(tmp_path, ["en"])


@pytest.mark.parametrize("name", ["nano-problems", "nano-stories"])
def test_texts_that_come_with_langneurons(name: str) -> None:
    assert is_running_text(Path(name))
    there = read(Path(name), ["en", "zh"], take=30)
    assert [d.id for d in there.documents[:30]] == [d.id for d in there.documents[30:]]
    assert there.documents[:3] == read(Path(name), ["en"], take=3).documents
    assert len({d.text for d in there.documents}) == 60
    with pytest.raises(InputError, match="has no texts in xx; its languages are en, ru"):
        read(Path(name), ["en", "xx"])


def test_documents_in_another_language_are_noticed() -> None:
    languages = ("en", "de", "sw")
    documents = read(Path("nano-stories"), languages, take=30).documents
    assert in_other_languages(documents) == {}
    moved = [document._replace(lang="sw", id="x") for document in documents[:1]]
    assert in_other_languages([*documents, *moved]) == {("sw", "x"): "en"}
    assert in_other_languages(documents[:30]) == {}
    assert in_other_languages(documents[:45]) == {}  # too few in German to tell


def test_real_sentences_in_another_language_are_noticed() -> None:
    codes = ("bn", "de", "en", "es", "fr", "ja", "ru", "sw", "th", "zh")
    texts = {
        code: [
            json.loads(line)["text"]
            for line in data("flores_sib200", f"{code}.jsonl").read_text("utf-8").splitlines()
        ]
        for code in codes
    }
    documents = [
        Document(str(i), code, text) for code in codes for i, text in enumerate(texts[code][:100])
    ]
    planted = [
        Document(f"x{i}", code, texts[other][900 + i])
        for code, other in (("sw", "en"), ("de", "es"), ("fr", "th"))
        for i in range(5)
    ]
    strangers = in_other_languages([*documents, *planted])
    assert {(document.lang, document.id) for document in planted} <= set(strangers)
    assert len(strangers) <= len(planted) + 2  # Chinese that is half names in Latin letters
