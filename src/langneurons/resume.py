"""Resume: long work that can be killed at any moment and gone on with, and that halves what does
not fit into memory.

Work is a list of units whose number and order are settled before it begins. What was done of them
is kept as sums, or texts, in one hidden file beside the result's folder; so a killed run ends with
the same result.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from langneurons.artifacts import write_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

Progress = Callable[[int, int], None]
"""Called with (done, all), in the unit that the work is told in: tokens, responses, translations,
steps."""

Tensors = dict[str, "NDArray"]
"""What was done, as named arrays."""

_Work = TypeVar("_Work")
_Outcome = TypeVar("_Outcome")


class Saved(Protocol):
    """Where work keeps what it has done so far; `State` is one."""

    def load(self) -> tuple[Tensors, int] | None:
        """What was saved last, and after how many units; None to start from nothing."""

    def save(self, tensors: Mapping[str, "NDArray"], done: int) -> None:
        """Keep this instead."""


class State:
    """What an unfinished result has so far: one hidden file beside its folder, replaced as a whole.

    Kept for one set of settings and inputs only; what was saved under others is not loaded.
    """

    def __init__(
        self, folder: Path, config: Mapping[str, Any], inputs: Mapping[str, str], part: str = "0"
    ) -> None:
        """State of the work that writes `folder`; `part` tells processes of one run apart."""
        self.path = folder.parent / f".{folder.name}.state-{part}"
        asked = json.dumps([dict(config), dict(inputs)], sort_keys=True)
        self.key = hashlib.sha256(asked.encode()).hexdigest()

    def load(self) -> tuple[Tensors, int] | None:
        """Tensors and number of units done; None when there is nothing that can be gone on from."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="numpy") as file:
                meta = file.metadata() or {}
                if meta.get("key") != self.key:
                    return None
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                return tensors, int(meta["done"])
        except (OSError, SafetensorError):
            return None

    def save(self, tensors: Mapping[str, "NDArray"], done: int) -> None:
        """Keep this instead of what was saved before.

        Raises:
            OutputError: when it cannot be written.
        """
        from safetensors.numpy import save

        write_file(self.path, save(dict(tensors), metadata={"key": self.key, "done": str(done)}))

    def drop(self) -> None:
        """Forget what was saved."""
        self.path.unlink(missing_ok=True)


def units_left(
    costs: Sequence[int],
    *,
    load: Callable[[Tensors], None],
    tensors: Callable[[], Mapping[str, "NDArray"]],
    state: Saved | None,
    save_every: float,
    on_step: Progress | None = None,
) -> Iterator[int]:
    """The units that are still to be done, in order: do each in the body of the loop.

    Args:
        costs: what each unit costs, in the unit of `on_step`.
        load: takes what was saved, before the first unit.
        tensors: gives what is to be saved.
        state: where it is kept; None: nowhere.
        save_every: seconds between savings.
        on_step: told of the cost done and of all of it, after each unit.

    Yields:
        The number of a unit, from 0.
    """
    done = 0
    if state is not None and (saved := state.load()):
        load(saved[0])
        done = saved[1]
    finished, whole, last = sum(costs[:done]), sum(costs), time.monotonic()
    for number in range(done, len(costs)):
        yield number
        finished += costs[number]
        if on_step:
            on_step(finished, whole)
        if state is not None and time.monotonic() - last >= save_every:
            state.save(tensors(), number + 1)
            last = time.monotonic()


def or_halves(
    run: Callable[[_Work], _Outcome], work: _Work, halve: Callable[[_Work], Sequence[_Work]]
) -> list[_Outcome]:
    """What `run` makes of the work; where memory does not suffice, of its halves, in order.

    Args:
        run: runs on a device.
        work: what to run.
        halve: cuts work in two; raises when it cannot be cut any further.
    """
    try:
        return [run(work)]
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        halves = halve(work)
    free_memory()
    return [outcome for half in halves for outcome in or_halves(run, half, halve)]


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the machine, has no memory left."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def free_memory() -> None:
    """Give what a failed attempt left back to the device."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def processes() -> tuple[int, int]:
    """Number of a process and how many there are, under torchrun or accelerate launch; else (0,
    1).
    """
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def added_up(sums: Mapping[str, "NDArray"]) -> Tensors:
    """The sums of all processes, in every process; see `processes`."""
    import torch
    import torch.distributed as dist

    started = not dist.is_initialized()
    if started:
        dist.init_process_group("gloo")
    whole = {name: array.copy() for name, array in sums.items()}
    for array in whole.values():
        dist.all_reduce(torch.from_numpy(array))
    if started:
        dist.destroy_process_group()
    return whole
