"""Work that is stopped again and again, and goes on."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Stopped(Exception):  # noqa: N818 - it is no error of anybody's
    """Raised out of a step."""


def stopped_and_gone_on_with(
    make: Callable[[Callable[..., None]], T], *, steps: int, at_most: int
) -> tuple[T, int]:
    """What is made in the end, and how often it was stopped.

    Args:
        make: makes it, or goes on from what it kept, and calls what it is given after every step.
        steps: at which of its steps each run is stopped; what was done in it is not kept.
        at_most: runs.
    """
    for stops in range(at_most):
        left = steps

        def step(*_: int) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise Stopped

        try:
            return make(step), stops
        except Stopped:
            continue
    raise AssertionError(f"not made in {at_most} runs")
