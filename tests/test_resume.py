"""The loop that every long command runs: killed at any moment, it goes on to the same result."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from langneurons import resume
from langneurons.errors import RecordError
from support import summing

KILLS = 20


def test_killed_twenty_times_and_the_same_to_the_bit(tmp_path: Path, record_property) -> None:
    """SIGKILL at seeded moments of a run of some 60 units; each run goes on from what was saved."""
    summing.work(tmp_path / "undisturbed", 0, 60)
    rng = random.Random(0)
    folder, in_time, best = tmp_path / "killed", 0, 0
    for _ in range(KILLS):
        command = [sys.executable, summing.__file__, str(folder), "0.004", "0.01"]
        with subprocess.Popen(command) as process:
            state = tmp_path / ".killed.state-0"
            before = state.stat().st_mtime_ns if state.exists() else 0
            while process.poll() is None and not _newer(state, before):
                time.sleep(0.002)  # until this run has saved something, so that all get on
            time.sleep(rng.uniform(0, 0.012))
            process.kill()
        in_time += process.returncode == -signal.SIGKILL
        saved = resume.State(folder, {"units": summing.UNITS}, {}).load()
        if saved:
            assert saved[1] >= best, "a later run knew less than an earlier one"
            best = saved[1]
        assert not folder.exists() or process.returncode == 0
    record_property("kills", f"{in_time} of {KILLS} kills of the shared loop came in time")
    assert in_time >= 10
    summing.work(folder, 0, 60)
    assert np.array_equal(summing.total_in(folder), summing.total_in(tmp_path / "undisturbed"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "undisturbed"]


def _newer(path: Path, than: int) -> bool:
    try:
        return path.stat().st_mtime_ns > than
    except FileNotFoundError:
        return False


class Kept:
    """A state in memory that remembers every saving."""

    def __init__(self, saved: tuple[resume.Tensors, int] | None = None) -> None:
        self.saved = saved
        self.savings: list[int] = []

    def load(self) -> tuple[resume.Tensors, int] | None:
        return self.saved

    def save(self, tensors, done: int) -> None:
        self.saved = ({name: array.copy() for name, array in tensors.items()}, done)
        self.savings.append(done)


def test_units_come_in_order_and_progress_is_their_cost() -> None:
    said: list[tuple[int, int]] = []
    done = list(
        resume.units_left(
            [5, 1, 3],
            load=lambda _: pytest.fail("nothing was saved"),
            tensors=dict,
            state=None,
            save_every=0,
            on_step=lambda finished, whole: said.append((finished, whole)),
        )
    )
    assert done == [0, 1, 2]
    assert said == [(5, 9), (6, 9), (9, 9)]


@pytest.mark.parametrize("stopped_after", range(5))
def test_what_was_saved_is_not_done_again(stopped_after: int) -> None:
    state, total = Kept(), np.zeros(1)

    def load(tensors: resume.Tensors) -> None:
        total[:] = tensors["total"]

    def units(on_step=None):
        return resume.units_left(
            [1] * 5,
            load=load,
            tensors=lambda: {"total": total},
            state=state,
            save_every=0,
            on_step=on_step,
        )

    for unit in units():
        if unit == stopped_after:
            break  # the unit is not done: what it would add must come again
        total += 10**unit
    total[:] = -1
    if not stopped_after:
        total[:] = 0
    again, said = [], []
    for unit in units(lambda finished, whole: said.append((finished, whole))):
        again.append(unit)
        total += 10**unit
    assert again == list(range(stopped_after, 5))
    assert total == 11111
    assert said == [(i + 1, 5) for i in again]
    assert state.savings == [1, 2, 3, 4, 5]


def test_a_state_of_other_settings_or_damaged_is_not_gone_on_from(tmp_path: Path) -> None:
    state = resume.State(tmp_path / "r", {"a": 1}, {"in": "x"})
    state.save({"t": np.arange(3)}, 2)
    again = resume.State(tmp_path / "r", {"a": 1}, {"in": "x"}).load()
    assert again is not None
    assert again[0]["t"].tolist() == [0, 1, 2]
    assert again[1] == 2
    assert resume.State(tmp_path / "r", {"a": 2}, {"in": "x"}).load() is None
    assert resume.State(tmp_path / "r", {"a": 1}, {"in": "y"}).load() is None
    assert resume.State(tmp_path / "r", {"a": 1}, {"in": "x"}, part="1").load() is None
    content = state.path.read_bytes()
    for cut in (0, 7, len(content) // 2, len(content) - 1):
        state.path.write_bytes(content[:cut])
        assert state.load() is None
    state.drop()
    assert list(tmp_path.iterdir()) == []


def test_halves_until_it_fits() -> None:
    tried: list[list[int]] = []

    def run(work: list[int]) -> int:
        tried.append(work)
        if len(work) > 2:
            raise torch.OutOfMemoryError("no room")
        return sum(work)

    def halve(work: list[int]) -> list[list[int]]:
        middle = len(work) // 2
        return [work[:middle], work[middle:]]

    assert resume.or_halves(run, [1, 2, 3, 4, 5], halve) == [3, 3, 9]
    assert tried == [[1, 2, 3, 4, 5], [1, 2], [3, 4, 5], [3], [4, 5]]


def test_what_cannot_be_halved_and_other_errors_are_raised() -> None:
    def too_much(_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 10 bytes")

    def alone(_: object) -> list[object]:
        raise RecordError("a single text does not fit into memory")

    with pytest.raises(RecordError, match="single text"):
        resume.or_halves(too_much, 1, alone)

    def wrong(_: object) -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        resume.or_halves(wrong, 1, alone)
