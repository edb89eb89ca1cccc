"""Does alignment help the embedded model?

    python bench/mapo.py [--targets sw,th zh,de] [--seeds 0 1 2]

For each seed and target, the commands of the stages: `sample` (seed questions), `reward`, `pair`,
`align`, and `evaluate` on held-out questions, against the base model on the same. Per language, and
on average over the trained and the other languages, what changed, with paired intervals and tests;
then the mean over seeds. What is done already is not done again. Words after -- go to `align`, such
as -- --steps 200.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from langneurons.compare.claims import accuracy_rises
from langneurons.texts import world
from langneurons.texts.accuracy import compare_accuracy
from langneurons.texts.responses import Response
from langneurons.texts.rows import read_responses


def step(out: Path, *words: object) -> Path:
    """One command, its result and how long it took."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "langneurons", *map(str, words), "--out", str(out)]
    with Path(f"{out}.log").open("w") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log)
    print(
        f"  {words[0]} {out.name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True
    )
    return out


def write(out: Path, name: str, number: int, languages: list[str] | None = None) -> Path:
    """Questions of one of the embedded sets, more of them than its name alone gives."""
    rows = [question.to_row() for question in world.questions(name, languages, number)]
    out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return out


def tell(target: str, seed: int, before: list[Response], after: list[Response]) -> dict[str, float]:
    """A line of the table; the changes by name."""
    trained = tuple(target.split(","))
    found = {row.lang: row.change for row in compare_accuracy(before, after)[:-1]}
    rises = [accuracy_rises((before, after), trained, which) for which in ("trained", "untrained")]
    cells = [
        f"{100 * change:+.1f}" + ("*" if lang in trained else "") for lang, change in found.items()
    ]
    print(
        f"| {target} | {seed} | {' | '.join(cells)} |",
        *(f"{r.verdict}: {r.words} |" for r in rises),
        flush=True,
    )
    mean = {"trained": [v for lang, v in found.items() if lang in trained]}
    mean["untrained"] = [v for lang, v in found.items() if lang not in trained]
    return {name: float(np.mean(values)) for name, values in mean.items()}


def main() -> None:
    """Run it all and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets", nargs="+", default=["sw,th", "zh,de"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--seed-questions", type=int, default=1000, help="questions to sample responses to"
    )
    parser.add_argument(
        "--questions", type=int, default=400, help="held-out questions in each language"
    )
    parser.add_argument("-n", type=int, default=4, help="responses sampled to each seed question")
    parser.add_argument("--margin", type=float, default=0.5, help="of pair")
    parser.add_argument("--out", type=Path, default=Path("build/mapo"))
    parser.add_argument("--name", default="adapter", help="of the adapters' folders")
    parser.add_argument("more", nargs="*", help="options of align, after --")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    held = write(asked.out / "held-out.jsonl", "nano", asked.questions)
    base = read_responses(step(asked.out / "base", "evaluate", "nano", held))
    spoken = list(
        dict.fromkeys(["en", *(code for target in asked.targets for code in target.split(","))])
    )
    seeds = write(asked.out / "seeds.jsonl", "nano-seed", asked.seed_questions, spoken)
    codes = list(dict.fromkeys(r.lang for r in base))
    print(f"| aligned | seed | {' | '.join(codes)} | trained | untrained |")
    print(f"|---|---|{'---|' * (len(codes) + 2)}")
    changes: dict[str, list[dict[str, float]]] = {}
    for seed in asked.seeds:
        of = asked.out / f"seed-{seed}"
        of.mkdir(exist_ok=True)
        said = step(of / "said", "sample", "nano", seeds, "-n", asked.n, "--seed", seed)
        scored = step(of / "scored", "reward", said, "--translator", "nano")
        for target in asked.targets:
            name = target.replace(",", "-")
            options = ("--languages", target, "--margin", asked.margin, "--seed", seed)
            pairs = step(of / f"pairs-{name}-{asked.margin}", "pair", scored, *options)
            adapter = step(
                of / f"{asked.name}-{name}", "align", "nano", pairs, "--seed", seed, *asked.more
            )
            after = read_responses(
                step(of / f"{asked.name}-{name}-accuracy", "evaluate", adapter, held, "--no-base")
            )
            changes.setdefault(target, []).append(tell(target, seed, base, after))
    for target, rows in changes.items():
        for which in ("trained", "untrained"):
            values = [100 * row[which] for row in rows]
            spread = f", {min(values):+.1f} to {max(values):+.1f}" if len(values) > 1 else ""
            mean = f"{np.mean(values):+.1f} on average over {len(values)} seeds"
            print(f"{target}, {which}: {mean}{spread}")


if __name__ == "__main__":
    main()
