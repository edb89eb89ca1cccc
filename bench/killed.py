"""Kill a study again and again: does it end as an undisturbed run? python bench/killed.py [STUDY]

Two runs in a folder that is kept: `undisturbed`, and `killed`, which gets SIGKILL at random
moments, drawn evenly over the time the first one took, and is then let go to its end. Every result
must have the same digest.
"""

import argparse
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from langneurons import artifacts


def digests(run: Path) -> dict[str, str]:
    """Digest of each result in a run."""
    return {
        result.relative_to(run).as_posix(): artifacts.read(result).digest
        for result in artifacts.finished(run)
    }


def command(study: str, run: Path) -> list[str]:
    """What runs a study in a folder, in this Python."""
    return [sys.executable, "-m", "langneurons", "run", study, "--out", str(run)]


def main() -> None:
    """Run, kill, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", nargs="?", default="nano")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/killed"))
    asked = parser.parse_args()

    undisturbed, killed = asked.out / "undisturbed", asked.out / "killed"
    began = time.monotonic()
    subprocess.run(command(asked.study, undisturbed), check=True)
    whole = time.monotonic() - began
    rng = random.Random(asked.seed)
    moments = sorted(rng.uniform(0, whole) for _ in range(asked.kills))
    in_time = 0
    for before, moment in zip([0.0, *moments], moments, strict=False):
        process = subprocess.Popen(command(asked.study, killed), stderr=subprocess.DEVNULL)
        time.sleep(5 + moment - before)  # a process needs some seconds before it does anything
        process.kill()
        in_time += process.wait() == -signal.SIGKILL
        print(f"killed; {len(digests(killed))} results are there", flush=True)
    subprocess.run(command(asked.study, killed), check=True)
    expected, resumed = digests(undisturbed), digests(killed)
    different = [name for name in expected | resumed if expected.get(name) != resumed.get(name)]
    print(
        f"{len(expected)} results, {len(different)} different {different}; "
        f"{in_time} of {asked.kills} kills came in time"
    )
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
