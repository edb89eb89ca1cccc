"""Kill a study again and again and see that it ends as an undisturbed run: python bench/killed.py [STUDY] [--kills 20].

Two runs in a folder that is kept: `undisturbed`, and `killed`, which gets SIGKILL at random
moments, drawn evenly over the time the first one took, and is then let go to its end. Every result
must have the same digest.
"""

import argparse
import random
import subprocess
import sys
import time
from pathlib import Path

from langneurons import artifacts


def digests(run: Path) -> dict[str, str]:
    """Digest of each result in a run."""
    manifests = sorted(run.rglob(artifacts.MANIFEST))
    return {
        one.parent.relative_to(run).as_posix(): artifacts.read(one.parent).digest
        for one in manifests
    }


def main() -> None:
    """Run, kill, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", nargs="?", default="nano")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/killed"))
    asked = parser.parse_args()

    def command(name: str) -> list[str]:
        return [
            sys.executable,
            "-m",
            "langneurons",
            "run",
            asked.study,
            "--out",
            str(asked.out / name),
        ]

    began = time.monotonic()
    subprocess.run(command("undisturbed"), check=True)
    whole = time.monotonic() - began
    rng = random.Random(asked.seed)
    moments = sorted(rng.uniform(0, whole) for _ in range(asked.kills))
    for before, moment in zip([0.0, *moments], moments, strict=False):
        process = subprocess.Popen(command("killed"), stderr=subprocess.DEVNULL)
        time.sleep(5 + moment - before)  # a process needs some seconds before it does anything
        process.kill()
        process.wait()
        print(f"killed; {len(digests(asked.out / 'killed'))} results are there", flush=True)
    subprocess.run(command("killed"), check=True)
    expected, found = digests(asked.out / "undisturbed"), digests(asked.out / "killed")
    different = [name for name in expected | found if expected.get(name) != found.get(name)]
    print(f"{len(expected)} results, {len(different)} different {different}; {asked.kills} kills")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
