"""How long a sweep takes, how much memory, and what it finds of a planted truth.

    python bench/sweep.py [COUNTS] [--cells 1000] [--languages 100] [--width 14336]

Times cells without intervals on a folder of counts, such as the released ones, or on counts made up
in their shape (32 x 14,336 neurons, ten languages, one block). With --languages the counts are made
up of a known truth in as many languages, a general neuron being active in nine tenths of them, and
every sensible cell is held against it: one whose tau lies between what is planted and the rest.
"""

import argparse
import platform
import resource
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons.config import SweepConfig
from langneurons.neurons.classes import CLASSES
from langneurons.neurons.counts import Counts
from langneurons.neurons.numbers import least_general
from langneurons.sweep.grid import Cell, cells
from langneurons.sweep.shared import Shared
from langneurons.sweep.sweep import sweep

SHARE = 0.9
"""Share of the languages in which a general neuron is active."""


class Planted(NamedTuple):
    """Counts and what was planted in them.

    Attributes:
        counts: of one block.
        kind: position in `classes.CLASSES` of each neuron, [M].
    """

    counts: Counts
    kind: NDArray[np.int8]


def planted(languages: int, layers: int, width: int, *, tokens: int = 2000) -> Planted:
    """Counts of a known truth.

    In a hundred neurons one is active in one language, one in two or more but fewer than are
    general, and three in `SHARE` of them or more; all others are active now and then in all.
    """
    rng = np.random.default_rng(languages)
    least = least_general(languages, SHARE)
    kinds = np.full(layers * width, CLASSES.index("not listed"), dtype=np.int8)
    active = []
    for layer in range(layers):
        level = rng.uniform(0.02, 0.2, width)
        p = level * rng.uniform(0.9, 1.1, (languages, width))
        kind = np.full(width, CLASSES.index("not listed"), dtype=np.int8)
        order = rng.permutation(width)
        for name, share, fewest, most in (
            ("specific", 0.01, 1, 1),
            ("related", 0.01, 2, max(2, least // 2)),
            ("general", 0.03, least, languages),
        ):
            number = max(1, round(share * width))
            some, order = order[:number], order[number:]
            kind[some] = CLASSES.index(name)
            for place in some:
                chosen = rng.choice(languages, rng.integers(fewest, most + 1), replace=False)
                p[:, place] = rng.uniform(0.01, 0.02, languages)
                p[chosen, place] = rng.uniform(0.6, 0.9, len(chosen))
        kinds[layer * width : (layer + 1) * width] = kind
        active.append(np.round(p * tokens).astype(np.int32)[:, None])
    codes = ("en", *(f"x{number}" for number in range(1, languages)))
    counts = Counts(codes, tuple(active), np.full((languages, 1), tokens))
    return Planted(counts, kinds)


class Held(NamedTuple):
    """A sensible cell held against what was planted.

    Attributes:
        wrong: neurons that it misses, or says another kind of.
        bound: whether a general neuron binds lambda.
    """

    wrong: int
    bound: bool


def held(made: Planted, config: SweepConfig) -> dict[Cell, Held]:
    """Every sensible cell, held against what was planted.

    A cell that selects fewer than are planted misses those that it does not select; the others it
    must know.
    """
    shared = Shared(
        made.counts.probability(),
        made.counts.widths,
        config.numbers("tau_quantiles"),
        general=config.general,
        limit=config.lam_limit,
    )
    nothing = [CLASSES.index("none"), CLASSES.index("not listed")]
    of_languages = int((made.kind < CLASSES.index("general")).sum())
    said = {}
    for cell in cells(config, made.counts.languages):
        outcome = shared.own(cell.config(config))
        if not 0.2 < float(outcome.numbers.tau) < 0.6:
            continue
        kind = outcome.kind
        missed = np.isin(kind, nothing) & ~np.isin(made.kind, nothing)
        other = ~np.isin(kind, nothing) & (kind != made.kind)
        allowed = max(of_languages - round(cell.rate * len(kind)), 0)
        bound = outcome.lam is not None and outcome.lam.status == "bound"
        said[cell] = Held(int(other.sum()) + abs(int(missed.sum()) - allowed), bound)
    return said


def rates(made: Planted) -> str:
    """Two that select fewer than are planted in languages, and the one that selects as many."""
    of_languages = float((made.kind < CLASSES.index("general")).mean())
    return f"0.005,0.01,{of_languages:.9f}"


def quantiles(made: Planted) -> str:
    """Quantiles between what is planted and the rest, and two that are not."""
    share = float((made.counts.probability() > 0.5).mean())
    inside = (1 - share * 1.002, 1 - share * 1.0005, 1 - share)
    return ",".join(f"{q:.6f}" for q in (0.8, *inside, 0.999))


def main() -> None:
    """Print one line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", nargs="?", type=Path)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--languages", type=int)
    parser.add_argument("--width", type=int, default=14336)
    asked = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}")
    if asked.languages:
        made = planted(asked.languages, 32, asked.width)
        config = SweepConfig(
            rates=rates(made),
            tau_quantiles=quantiles(made),
            lams="auto,0",
            general=SHARE,
            leave_out="none",
        )
        began = time.perf_counter()
        said = held(made, config)
        seconds = time.perf_counter() - began
        print(f"{asked.languages} languages x 32 x {asked.width:,}, planted:")
        print(f"sensible cells:                        {len(said)}, {seconds:.0f} s")
        print(f"of these with lambda bound:            {sum(cell.bound for cell in said.values())}")
        print(f"neurons of another kind than planted:  {sum(cell.wrong for cell in said.values())}")
    else:
        counts = Counts.load(asked.counts) if asked.counts else planted(10, 32, 14336).counts
        config = SweepConfig(leave_out="every")
        some = len(cells(config, counts.languages))
        config = SweepConfig(
            leave_out="every",
            rates=",".join(
                f"{0.05 * (i + 1) / 4:.6f}" for i in range(max(1, round(4 * asked.cells / some)))
            ),
        )
        wall, cpu = time.perf_counter(), time.process_time()
        found = sweep(counts, config)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(f"{found.cells:,} cells without intervals: {wall:.1f} s, {cpu:.1f} s of CPU")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory: {peak:.2f} GiB")


if __name__ == "__main__":
    main()
