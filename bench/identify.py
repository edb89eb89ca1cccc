"""How long identification takes, and how much memory: python bench/identify.py [--big]

Drawn counts of the shape of a 7B model (32 x 14,336 neurons, 10 languages, 10 blocks) and, with
--big, of a 70B model (80 x 28,672, one block). The released code walks over all neurons in a Python
double loop, once per step of its search for lambda; that loop is written here in its plainest form,
timed on a slice of the same counts and scaled up.
"""

import argparse
import math
import platform
import resource
import time
from collections.abc import Callable

import numpy as np

from langneurons.neurons.counts import Counts
from langneurons.neurons.identify import identify

CODES = ("en", "ru", "es", "fr", "de", "zh", "ja", "bn", "th", "sw")


def drawn(layers: int, width: int, blocks: int) -> Counts:
    """Counts whose probabilities spread like a real model's.

    Most are low, a few high, some uneven over languages.
    """
    rng = np.random.default_rng(0)
    tokens = rng.integers(30_000, 70_000, (len(CODES), blocks))
    active = []
    for _ in range(layers):
        level = rng.beta(0.8, 4, width)
        p = level * np.exp(0.4 * rng.standard_normal((len(CODES), 1, width)))
        noise = 1 + 0.02 * rng.standard_normal((len(CODES), blocks, width))
        active.append((tokens[:, :, None] * np.clip(p * noise, 0, 1)).astype(np.int32))
    return Counts(CODES, tuple(active), tokens)


def loop_pass(probability: np.ndarray, lam: float) -> list[float]:
    """One pass of the double loop: the score of every neuron, one after the other."""
    scores = []
    h = sum(1 / k for k in range(1, len(CODES) + 1)) / len(CODES)
    for j in range(probability.shape[1]):
        p = [float(probability[k, j]) for k in range(len(CODES))]
        total = sum(p)
        entropy = 0.0
        for x in p:
            share = x / total if total else 1 / len(p)
            if share:
                entropy -= share * math.log(share)
        scores.append(entropy / math.log(len(p)) - lam * max(p) / h)
    return scores


def best(work: Callable[[], object], times: int) -> float:
    """Least seconds of several runs."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def peak() -> float:
    """Peak memory of this process so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Print one line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--big", action="store_true", help="also the 70B shape")
    asked = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}")
    counts = drawn(32, 14336, 1)
    ours = best(lambda: identify(counts), 5)
    what = "scores, tau, exact lambda, curve, margins, table"
    print(f"identify, 10 x 32 x 14336:           {ours:8.2f} s ({what})")
    part = counts.probability()[:, :20_000]
    loop = best(lambda: loop_pass(part, 0.1), 2) / 20_000 * 32 * 14336
    print(f"one pass of the Python double loop:  {loop:8.2f} s (20,000 neurons timed, scaled up)")
    times = f"{8 * loop / ours:.0f} times as long as identify"
    print(f"the 8 passes of its bisection:       {8 * loop:8.2f} s, {times}")
    blocks = drawn(32, 14336, 10)
    once = best(lambda: identify(blocks, bootstrap=0), 1)
    resampled = best(lambda: identify(blocks, bootstrap=200), 1) - once
    print(f"200 resamplings of 10 blocks:        {resampled:8.2f} s")
    print(f"peak memory so far:                  {peak():8.2f} GiB")
    if asked.big:
        del counts, blocks, part
        big = drawn(80, 28672, 1)
        print(f"identify, 10 x 80 x 28672:           {best(lambda: identify(big), 2):8.2f} s")
        print(f"peak memory:                         {peak():8.2f} GiB")


if __name__ == "__main__":
    main()
