"""Quiet: the libraries underneath say nothing but errors while they are called."""

import logging
import warnings
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Literal

_ALWAYS = ("huggingface_hub", "accelerate", "peft", "trl", "bitsandbytes")


@contextmanager
def libraries(
    *names: Literal["transformers", "datasets"], level: int = logging.ERROR
) -> Generator[None]:
    """Inside this block libraries log only errors, warn of nothing and draw no bars; downloads keep
    theirs.

    That covers what they say while they are imported: bitsandbytes, which PEFT imports wherever it
    is installed, tells there of a kernel that it does not find. Afterwards everything is as it was.

    Args:
        names: the libraries called that draw bars; they are imported here.
        level: what is below it is not logged.
    """
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")
        for name in names:
            stack.enter_context(_BARS[name]())
        loggers = [logging.getLogger(name) for name in (*names, *_ALWAYS)]
        for logger in loggers:
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(level)
        yield


@contextmanager
def _transformers() -> Generator[None]:
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from transformers.utils import logging as library

    library.get_verbosity()  # sets the level of its logger, the first time
    bars, downloads = library.is_progress_bar_enabled(), not are_progress_bars_disabled()
    library.disable_progress_bar()  # of the Hub's client too
    if downloads:
        enable_progress_bars()
    try:
        yield
    finally:
        if bars:
            library.enable_progress_bar()
        if not downloads:
            disable_progress_bars()


@contextmanager
def _datasets() -> Generator[None]:
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    bars = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if bars:
            enable_progress_bars()


_BARS = {"transformers": _transformers, "datasets": _datasets}
