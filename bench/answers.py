"""Right answers by each extractor: the tables of docs/evaluate.md.

    python bench/answers.py [--data FOLDER]

Real responses of two systems to MGSM and MSVAMP (`responses_*/BENCHMARK/<lang>.jsonl`), held
against the answers of the benchmark (`BENCHMARK/<lang>.jsonl`).
"""

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

from langneurons.config import Extractor
from langneurons.texts.answers import is_correct
from langneurons.texts.responses import Question
from langneurons.texts.rows import from_lines, read_questions


def share(marks: list[bool]) -> str:
    """Per cent of right answers."""
    return f"{100 * sum(marks) / len(marks):.1f}"


def row_of(responses: list[dict[str, Any]], questions: list[Question], lang: str) -> str:
    """The table's row of one language: right answers by each extractor and by the authors."""
    answers = {question.id: question.answer for question in questions}

    def marks(extractor: Extractor) -> list[bool]:
        return [
            bool(is_correct(row["response"], answers[row["id"]], lang, extractor=extractor))
            for row in responses
        ]

    rules = [marks("marked"), marks("native"), marks("last-number")]
    shares = " | ".join(map(share, (*rules, [row["correct"] for row in responses])))
    changes = []
    for better, worse in pairwise(rules):
        both = list(zip(better, worse, strict=True))
        changes += [f"+{both.count((True, False))} -{both.count((False, True))}"]
    return f"| {lang} | {len(responses)} | {shares} | {' | '.join(changes)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    folder = parser.parse_args().data
    for system in sorted(folder.glob("responses_*/*")):
        print(f"{system.parent.name}/{system.name}\n")
        print("| | n | marked | native | last-number | authors | by marks | by writing |")
        print("|---|---|---|---|---|---|---|---|")
        for file in sorted(system.glob("*.jsonl")):
            questions = read_questions(folder / system.name / file.name)
            print(row_of(from_lines(file.read_bytes()), questions, file.stem))
        print()


if __name__ == "__main__":
    main()
