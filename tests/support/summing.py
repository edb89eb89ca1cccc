"""Work that can be killed, in a process of its own: summing.py FOLDER SECONDS SAVE_EVERY."""

import sys
import time
from pathlib import Path

import numpy as np

from langneurons import artifacts, resume
from langneurons.artifacts import writing

UNITS = 60


def value_of(unit: int) -> np.ndarray:
    """What a unit adds: numbers whose sum depends on the order in which they are added."""
    return np.random.default_rng(unit).standard_normal(8) * 10.0 ** (unit % 12)


def work(folder: Path, seconds: float, save_every: float) -> None:
    """The sum of all units, in order, as a finished result."""
    state = resume.State(folder, {"units": UNITS}, {})
    total = np.zeros(8)

    def load(tensors: resume.Tensors) -> None:
        total[:] = tensors["total"]

    units = resume.units_left(
        [1] * UNITS, load=load, tensors=lambda: {"total": total}, state=state, save_every=save_every
    )
    for unit in units:
        time.sleep(seconds)
        total[:] += value_of(unit)
    with writing(folder, "sum", "summing", {"units": UNITS}, {}) as draft:
        draft.tensors("sum.safetensors", {"total": total}, {})
    state.drop()


def total_in(folder: Path) -> np.ndarray:
    """The sum in a finished result."""
    return artifacts.read(folder, "sum").tensors("sum.safetensors")[0]["total"]


if __name__ == "__main__":
    work(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
