"""Does a causal model tell right responses from wrong ones, as the translator of MAPO's score?

    python bench/translator.py gemma.gguf [--questions 60] [--languages de,sw] [--shots 3]

Real responses of mCoT-7B to MSVAMP, those that are right in English and in another language, and
the worked solutions of MGSM's exemplars as examples in the prompt. The English response, given the
right one, should be more probable than given

- the same with one of its numbers changed, drawn at random;
- the same with another final number;
- the right response to another problem.
"""

import argparse
import json
import platform
import re
import time
from math import inf
from pathlib import Path
from random import Random

import torch

from langneurons.align.prompted import Prompting
from langneurons.align.reward import rewarded
from langneurons.config import PromptedConfig, RewardConfig
from langneurons.model.loading import load
from langneurons.texts.responses import Response
from langneurons.texts.running_text import Document

KINDS = ("one number changed", "another final number", "another problem's")
NUMBER = re.compile(r"\d+")


def rows_of(file: Path) -> list[dict]:
    """Rows of a JSONL file."""
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def changed(text: str, place: int, rng: Random) -> str:
    """The text with its number at a place, of those it has, another."""
    found = list(NUMBER.finditer(text))[place]
    other = max(0, int(found[0]) + rng.choice([-3, -2, -1, 1, 2, 3]))
    other += other == int(found[0])
    return f"{text[: found.start()]}{other}{text[found.end() :]}"


def cases(data: Path, code: str, questions: int) -> list[Response]:
    """English references, and each right response with three that are wrong."""
    english, other = (
        {row["id"]: row["response"] for row in rows_of(data / f"{lang}.jsonl") if row["correct"]}
        for lang in ("en", code)
    )
    first = [row["id"] for row in rows_of(data / "en.jsonl")[:questions]]
    ids = [i for i in first if i in english and i in other and NUMBER.search(other[i])]
    out = [Response(i, "en", "", english[i]) for i in ids]
    for place, i in enumerate(ids):
        rng, right = Random(i), other[i]
        numbers = len(NUMBER.findall(right))
        wrong = (
            changed(right, rng.randrange(numbers), rng),
            changed(right, numbers - 1, rng),
            other[ids[place - 1]],
        )
        out += [Response(i, code, "", text, n) for n, text in enumerate((right, *wrong))]
    return out


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="a causal MODEL")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--questions", type=int, default=60, help="of MSVAMP, the first")
    parser.add_argument("--languages", default="de,ja,bn,es,zh,sw,ru,fr,th")
    parser.add_argument("--shots", type=int, default=3)
    parser.add_argument("--prompt", choices=("plain", "chat"), default="plain")
    asked = parser.parse_args()
    examples = tuple(
        Document(row["id"], row["lang"], row["solution"])
        for file in sorted((asked.data / "mgsm_exemplars").glob("*.jsonl"))
        for row in rows_of(file)
    )
    prompting = Prompting(PromptedConfig(asked.prompt, asked.shots), examples)
    model = load(asked.model)
    began, sums = time.perf_counter(), [0] * (1 + len(KINDS))
    print(f"{platform.machine()}, torch {torch.__version__}; {model}; {asked.shots} examples")
    print(f"{'':<10}{'cases':>8}" + "".join(f"{kind:>24}" for kind in KINDS))
    for code in asked.languages.split(","):
        responses = cases(asked.data / "responses_mcot7b" / "msvamp", code, asked.questions)
        scored = rewarded(model, responses, RewardConfig(), prompting=prompting).scores.scored
        scores = [-inf if one.score is None else one.score for one in scored]
        groups = [scores[i : i + 4] for i in range(0, len(scores), 4)]
        above = [sum(group[0] > group[n] for group in groups) for n in range(1, 4)]
        row = [len(groups), *above]
        sums = [total + more for total, more in zip(sums, row, strict=True)]
        print(f"{code:<10}{row[0]:>8}" + "".join(f"{count:>24}" for count in above), flush=True)
    print(f"{'all':<10}{sums[0]:>8}" + "".join(f"{count:>24}" for count in sums[1:]))
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
