"""examples/flores.py: rows that `record` reads, from the files of SIB-200."""

import runpy
from pathlib import Path

from langneurons.texts.running_text import Document, read
from support.places import ROOT

ROWS = {
    "train": '12\thealth\tone  sentence\n3\tsports\t"a ""quoted"" one"\n',
    "dev": '7\ttravel\t"""quoted """"twice"""""""\n',
    "test": "1\tpolitics\tanother\n",
}


def test_sentences_by_their_number(tmp_path: Path) -> None:
    example = runpy.run_path(str(ROOT / "examples" / "flores.py"))
    for folder in example["CODES"].values():
        path = tmp_path / "sib-200" / "data" / "annotated" / folder
        path.mkdir(parents=True)
        for part, rows in ROWS.items():
            (path / f"{part}.tsv").write_text(f"index_id\tcategory\ttext\n{rows}", "utf-8")
    example["main"](tmp_path / "sib-200", tmp_path / "flores", 1, 4)
    there = read(tmp_path / "flores", ["th", "en"])
    assert there.documents[:3] == [
        Document("flores-0003", "th", 'a "quoted" one'),
        Document("flores-0007", "th", 'quoted "twice"'),
        Document("flores-0012", "th", "one sentence"),
    ]
    assert [document.lang for document in there.documents[3:]] == ["en"] * 3
