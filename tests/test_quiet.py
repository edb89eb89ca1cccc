"""Libraries that say nothing but errors: what is told inside the block, and that all is as it was
afterwards."""

import logging
import warnings
from contextlib import suppress

import datasets
import pytest
from huggingface_hub.utils import are_progress_bars_disabled
from transformers.utils import logging as transformers_logging

from langneurons import quiet

LOGGERS = (
    "transformers",
    "datasets",
    "huggingface_hub",
    "accelerate",
    "peft",
    "trl",
    "bitsandbytes",
)


def settings() -> tuple[object, ...]:
    levels = [logging.getLogger(name).level for name in LOGGERS]
    bars = transformers_logging.is_progress_bar_enabled(), datasets.are_progress_bars_disabled()
    return levels, bars, are_progress_bars_disabled(), warnings.filters[:]


def test_only_errors_are_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(*names: str) -> set[tuple[str, str]]:
        caplog.clear()
        for name in names:
            logger = logging.getLogger(f"{name}.some.module")
            logger.warning("a warning")
            logger.error("an error")
        return {(record.name.partition(".")[0], record.levelname) for record in caplog.records}

    for name in LOGGERS:
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)  # to where the test reads
    before = told(*LOGGERS)
    with quiet.libraries("transformers", "datasets"):
        assert told(*LOGGERS) == {(name, "ERROR") for name in LOGGERS}
        warnings.warn(
            "an error, as tests are run, if it were not ignored", UserWarning, stacklevel=1
        )
        assert not transformers_logging.is_progress_bar_enabled()
        assert datasets.are_progress_bars_disabled()
        assert not are_progress_bars_disabled()
    with quiet.libraries("datasets", level=logging.CRITICAL):
        assert told("datasets") == set()
    assert told(*LOGGERS) == before


def test_all_is_as_it_was_even_after_an_error() -> None:
    before = settings()
    with suppress(ZeroDivisionError), quiet.libraries("transformers", "datasets"):
        assert settings() != before
        raise ZeroDivisionError
    assert settings() == before
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    try:
        off = settings()
        with quiet.libraries("transformers", "datasets"):
            pass
        assert settings() == off
    finally:
        datasets.enable_progress_bars()
        transformers_logging.enable_progress_bar()
    assert settings() == before
