"""Adapters and their log: where they are kept, and that they are the same wherever they lie."""

import json
from pathlib import Path

import pytest

from langneurons import artifacts
from langneurons.align.adapter import Adapter, adapter_files
from langneurons.errors import FormatError

HISTORY = [{"step": 1, "loss": 0.69}, {"step": 4, "loss": 0.5}]


@pytest.fixture
def trained(tmp_path: Path) -> Adapter:
    """Two checkpoints as PEFT leaves them, the targets in any order."""
    checkpoints = {}
    for step in (2, 4):
        folder = tmp_path / f"work-{step}"
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(b"weights %d" % step)
        config = {"target_modules": ["v_proj", "q_proj"], "base_model_name_or_path": "there"}
        (folder / "adapter_config.json").write_text(json.dumps(config), "utf-8")
        checkpoints[step] = folder
    return Adapter(checkpoints, HISTORY, base="owner/model")


def test_the_last_step_is_the_folder_itself(trained: Adapter, tmp_path: Path) -> None:
    trained.save(tmp_path / "a")
    names = ("adapter_config.json", "adapter_model.safetensors")
    files = artifacts.read(tmp_path / "a").manifest["files"]
    assert sorted(files) == [*names, *(f"checkpoint-2/{name}" for name in names), "history.jsonl"]
    assert (tmp_path / "a" / names[1]).read_bytes() == b"weights 4"
    config = json.loads((tmp_path / "a" / names[0]).read_bytes())
    assert config == {
        "target_modules": ["q_proj", "v_proj"],
        "base_model_name_or_path": "owner/model",
    }


def test_kept_and_loaded(trained: Adapter, tmp_path: Path) -> None:
    """The steps are handed on, not read out of names; what is loaded can be kept again."""
    trained.save(tmp_path / "a")
    loaded = Adapter.load(tmp_path / "a")
    assert loaded.checkpoints == {2: tmp_path / "a" / "checkpoint-2", 4: tmp_path / "a"}
    assert loaded.checkpoints == trained.at(tmp_path / "a").checkpoints
    assert loaded.history == HISTORY
    loaded.save(tmp_path / "b")
    assert artifacts.read(tmp_path / "a").digest == artifacts.read(tmp_path / "b").digest
    for step in (2, 4):
        assert adapter_files(loaded.checkpoints[step]) == adapter_files(
            trained.checkpoints[step], "owner/model"
        )


def test_what_cannot_be_loaded(trained: Adapter, tmp_path: Path) -> None:
    trained.save(tmp_path / "a")
    with (tmp_path / "a" / "history.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(FormatError, match=r"history.jsonl is missing or not as it was written"):
        Adapter.load(tmp_path / "a")
    with artifacts.writing(tmp_path / "old", "adapter", "align", {}, {}):
        pass
    with pytest.raises(FormatError, match="does not say which checkpoints it has"):
        Adapter.load(tmp_path / "old")
