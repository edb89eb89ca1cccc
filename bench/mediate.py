"""Does alignment act through language neurons? On the embedded model.

    python bench/mediate.py [--targets sw,th zh,de] [--seeds 0 1 2]

After `bench/mapo.py` with the same options, whose adapters it takes. Held-out pairs in languages
that were trained and that were not come of `sample`, `reward` and `pair` on the held-out questions,
neurons of `record` and `identify` on the base's own answers to them. Then `mediate` for each target
and seed: the share of the change in margin that goes with each set of neurons, both ways, and the
mean over seeds. What is done already is not done again. Words after -- go to `mediate`, such as --
--controls 5.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from mapo import step, write

from langneurons.effects.mediation import FAIR, Mediation, Share, shares
from langneurons.intervals import Estimate

Found = dict[tuple[str, str, str], list[Share]]
"""Group of languages, set and way -> what each seed gave."""


def ends(number: Estimate | None) -> str:
    """A share with its interval, in per cent."""
    if number is None:
        return ""
    return f"{number.value:z.0%} [{number.low:z.0%}, {number.high:z.0%}]"


def tell(target: str, found: Found) -> None:
    """Every set over the seeds: its share in each, on average, and against the fair random sets."""
    seeds = max(map(len, found.values()))
    print(
        f"\n{target}\n\n| languages | set | neurons | way | share, by seed | mean | random | more |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for (group, name, way), rows in found.items():
        random = [float(row.random[FAIR].value) for row in rows if FAIR in row.random]
        verdicts = [row.verdict or "" for row in rows]
        holds = f"{verdicts.count('holds')} of {seeds}" if any(verdicts) else ""
        print(
            f"| {group} | {name} | {rows[0].neurons:,} | {way} | "
            f"{'; '.join(ends(row.share) for row in rows)} | "
            f"{np.mean([row.share.value for row in rows]):z.0%} | "
            f"{f'{np.mean(random):z.0%}' if random else ''} | {holds} |"
        )


def main() -> None:
    """Run it all and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets", nargs="+", default=["sw,th", "zh,de"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--questions", type=int, default=400, help="held out, in each language")
    parser.add_argument("-n", type=int, default=4, help="responses sampled to each of them")
    parser.add_argument("--margin", type=float, default=0.5, help="of pair")
    parser.add_argument("--languages", default="en,sw,th,zh,de,es", help="of the held-out pairs")
    parser.add_argument("--out", type=Path, default=Path("build/mapo"), help="that of mapo.py")
    parser.add_argument("--name", default="adapter", help="of the adapters' folders")
    parser.add_argument("more", nargs="*", help="options of mediate, after --")
    asked = parser.parse_args()
    out = asked.out / "mediate"
    out.mkdir(parents=True, exist_ok=True)
    counts = step(out / "counts", "record", "nano", asked.out / "base")
    neurons = step(out / "neurons", "identify", counts)
    codes = asked.languages.split(",")
    held = write(out / "held-out.jsonl", "nano", asked.questions, codes)
    said = step(out / "said", "sample", "nano", held, "-n", asked.n, "--seed", 100)
    scored = step(out / "scored", "reward", said, "--translator", "nano")
    pairs = step(out / "pairs", "pair", scored, "--margin", asked.margin)
    for target in asked.targets:
        found: Found = defaultdict(list)
        name = target.replace(",", "-")
        for seed in asked.seeds:
            adapter = asked.out / f"seed-{seed}" / f"{asked.name}-{name}"
            folder = step(
                out / f"{asked.name}-{name}-{seed}",
                *("mediate", "nano", adapter, neurons, pairs),
                *("--trained", target, *asked.more),
            )
            for row in shares(Mediation.load(folder)):
                found[row.group, row.name, row.way].append(row)
        tell(target, found)


if __name__ == "__main__":
    main()
