"""Parallel sentences in ten languages as running text: FLORES-200, as SIB-200 has it.

git clone https://github.com/dadelani/sib-200                  # CC BY-SA 4.0
python examples/flores.py sib-200 recipes/flores               # all 1,004
python examples/flores.py sib-200 recipes/flores-found 0 100   # the first 100 by their number
python examples/flores.py sib-200 recipes/flores-scored 700 706
"""

import csv
import json
import sys
from pathlib import Path

CODES = {
    "en": "eng_Latn",
    "ru": "rus_Cyrl",
    "es": "spa_Latn",
    "fr": "fra_Latn",
    "de": "deu_Latn",
    "zh": "zho_Hans",
    "ja": "jpn_Jpan",
    "bn": "ben_Beng",
    "th": "tha_Thai",
    "sw": "swh_Latn",
}


def sentences(folder: Path) -> list[tuple[int, str]]:
    """Number and text of each sentence of a language, by number."""
    rows: dict[int, str] = {}
    for part in ("train", "dev", "test"):
        with (folder / f"{part}.tsv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                text = row["text"]
                if text.startswith('"') and text.endswith('"') and '""' in text:
                    text = text[1:-1].replace('""', '"')  # some are quoted twice
                rows[int(row["index_id"])] = " ".join(text.split())
    return sorted(rows.items())


def main(source: Path, out: Path, first: int = 0, end: int | None = None) -> None:
    """Write a file of rows for each language."""
    out.mkdir(parents=True, exist_ok=True)
    for code, folder in CODES.items():
        chosen = sentences(source / "data" / "annotated" / folder)[first:end]
        rows = [
            {"id": f"flores-{number:04}", "lang": code, "text": text} for number, text in chosen
        ]
        lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
        (out / f"{code}.jsonl").write_text(lines, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
