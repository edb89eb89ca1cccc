"""Right answers by each extractor: python bench/answers.py [--data FOLDER]. Prints the tables of docs/evaluate.md.

Real responses of two systems to MGSM and MSVAMP (`responses_*/BENCHMARK/<lang>.jsonl`), held
against the answers of the benchmark (`BENCHMARK/<lang>.jsonl`).
"""

import argparse
import json
from pathlib import Path

from langneurons.texts.answers import is_correct
from langneurons.texts.rows import read_questions


def share(marks: list[bool]) -> str:
    """Per cent of right answers."""
    return f"{100 * sum(marks) / len(marks):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    folder = parser.parse_args().data
    for system in sorted(folder.glob("responses_*/*")):
        print(f"{system.parent.name}/{system.name}\n")
        print("| | n | native | last-number | authors | only native | only last-number |")
        print("|---|---|---|---|---|---|---|")
        for file in sorted(system.glob("*.jsonl")):
            answers = {
                one.id: one.answer for one in read_questions(folder / system.name / file.name)
            }
            rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
            native, last = (
                [
                    bool(is_correct(row["response"], answers[row["id"]], file.stem, extractor=name))
                    for row in rows
                ]
                for name in ("native", "last-number")
            )
            both = list(zip(native, last, strict=True))
            cells = [share(native), share(last), share([row["correct"] for row in rows])]
            cells += [str(both.count(one)) for one in ((True, False), (False, True))]
            print(f"| {file.stem} | {len(rows)} | {' | '.join(cells)} |")
        print()


if __name__ == "__main__":
    main()
