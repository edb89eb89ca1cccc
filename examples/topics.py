r"""What a sentence is about, as questions with choices: the labels of SIB-200 on FLORES-200.

git clone https://github.com/dadelani/sib-200                  # CC BY-SA 4.0
python examples/topics.py sib-200 topics
langneurons evaluate MODEL topics/questions --task choices --examples topics/examples
    --template 'Text: {question}\nTopic:' --out runs/topics

Questions are the sentences of the test part, in order of their number; examples four of the part
for training: the first of at most 100 characters in English, of four topics.
"""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from flores import CODES

SHOTS, LONGEST = 4, 100


def rows_of(folder: Path, part: str) -> list[dict[str, str]]:
    """Id, text and topic of each sentence of a language's part, by its number."""
    with (folder / f"{part}.tsv").open(encoding="utf-8", newline="") as file:
        rows = [
            {
                "id": f"flores-{int(row['index_id']):04}",
                "text": " ".join(row["text"].split()),
                "category": row["category"],
            }
            for row in csv.DictReader(file, delimiter="\t")
        ]
    return sorted(rows, key=lambda row: row["id"])


def shown(english: Sequence[Mapping[str, str]]) -> list[str]:
    """Ids of the examples."""
    chosen: dict[str, str] = {}
    for row in english:
        if len(row["text"]) <= LONGEST and len(chosen) < SHOTS:
            chosen.setdefault(row["category"], row["id"])
    return list(chosen.values())


def questions(
    rows: Sequence[Mapping[str, str]], lang: str, topics: Sequence[str]
) -> list[dict[str, object]]:
    """Rows as `evaluate --task choices` takes them."""
    return [
        {
            "id": row["id"],
            "lang": lang,
            "question": row["text"],
            "answer": row["category"],
            "choices": list(topics),
        }
        for row in rows
    ]


def write(file: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """A JSONL file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), "utf-8")


def write_all(parts: Mapping[str, Mapping[str, Sequence[Mapping[str, str]]]], out: Path) -> None:
    """Questions and examples of every language, of its parts `train` and `test`."""
    topics = sorted({row["category"] for row in parts["en"]["train"]})
    ids = shown(parts["en"]["train"])
    for code, of in parts.items():
        write(out / "questions" / f"{code}.jsonl", questions(of["test"], code, topics))
        by_id = {row["id"]: row for row in of["train"]}
        write(out / "examples" / f"{code}.jsonl", questions([by_id[i] for i in ids], code, topics))


if __name__ == "__main__":
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    folders = {code: source / "data" / "annotated" / name for code, name in CODES.items()}
    write_all(
        {
            code: {part: rows_of(folder, part) for part in ("train", "test")}
            for code, folder in folders.items()
        },
        out,
    )
