"""What several test files need: the real command line, the released data where it is, small counts made by hand."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langneurons.counts import Counts

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("LANGNEURONS_DATA", ROOT.parent / "shared" / "data"))
"""Real data that is not part of the project; tests that use it are skipped where it is absent."""


def data(*parts: str) -> Path:
    """A folder or file of the real data, or a skip that says what is missing."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"real data {'/'.join(parts)} is not on this machine (LANGNEURONS_DATA names its folder)")
    return path


@pytest.fixture(scope="session")
def released() -> Path:
    """Folder of the counts the paper's authors released."""
    return data("njunlp_release", "activations", "mgsm")


class Outcome:
    """What a command did."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(scope="session")
def langneurons() -> Callable[..., Outcome]:
    """Run the real command line in a process of its own."""

    def run(*words: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> Outcome:
        command = [sys.executable, "-m", "langneurons", *map(str, words)]
        whole = {**os.environ, "PYTHONWARNINGS": "error", **(env or {})}
        return Outcome(
            subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=whole, check=False, timeout=600)
        )

    return run


def killed(*words: object, when: Callable[[], object], after: float = 0.0) -> bool:
    """Run the real command line and kill it, seconds after something is true; False: it had ended by itself."""
    command = [sys.executable, "-m", "langneurons", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not when() and process.poll() is None:
                time.sleep(0.001)
            time.sleep(after)
        finally:
            process.kill()
    return process.returncode == -signal.SIGKILL


def tiny(active: list, tokens: list | int, languages: str = "en zh", **more: Any) -> Counts:
    """Counts of one block from nested lists: `active[layer][language][neuron]`."""
    codes = tuple(languages.split())
    held = np.full((len(codes), 1), tokens) if isinstance(tokens, int) else np.array(tokens)[:, None]
    return Counts(codes, tuple(np.array(layer)[:, None] for layer in active), held, **more)


def random_counts(
    seed: int, languages: int = 4, blocks: int = 3, widths: tuple = ((40,), (24,)), tokens: int = 200
) -> Counts:
    """Counts drawn at random, with structure: neurons differ in level and in which languages they like."""
    rng = np.random.default_rng(seed)
    held = rng.integers(tokens // 2, tokens, (languages, blocks))
    active, routed = [], []
    for width in widths:
        p = rng.beta(0.7, 2, (1, 1, *width)) * rng.choice([0.1, 1, 1.6], (languages, 1, *width))
        experts = None
        n = held
        if len(width) == 2:
            experts = rng.binomial(held[:, :, None], 0.5, (languages, blocks, width[0]))
            n = experts
        routed.append(experts)
        active.append(rng.binomial(n.reshape(*n.shape, *[1] * (2 + len(width) - n.ndim)), np.clip(p, 0, 1)))
    codes = ("en", "ru", "es", "fr", "de", "zh", "ja", "bn", "th", "sw")[:languages]
    return Counts(codes, tuple(active), held, tuple(routed), "drawn")


@pytest.fixture(scope="session")
def example() -> Any:
    """The module examples/made_up_counts.py."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("made_up_counts", ROOT / "examples" / "made_up_counts.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, langneurons: Callable[..., Outcome]) -> Path:
    """A run folder as `make demo` leaves it: made-up counts, neurons, report."""
    run = tmp_path_factory.mktemp("runs") / "demo"
    script = [sys.executable, ROOT / "examples" / "made_up_counts.py", "--out", run / "counts"]
    subprocess.run(script, check=True, capture_output=True)
    for words in (("identify", run / "counts", "--out", run / "neurons"), ("report", run)):
        done = langneurons(*words)
        assert done.status == 0, done.err
    return run


CHROMIUM = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)
