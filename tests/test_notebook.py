"""The notebook of examples/ runs from front to end on the embedded model."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from langneurons import nano
from support.places import ROOT


@pytest.mark.skipif(
    nano.folder(nano.NAME) is None, reason="the embedded model is not in this installation"
)
def test_your_own_model_in_five_minutes(tmp_path: Path) -> None:
    notebook = nbformat.read(ROOT / "examples" / "your_own_model.ipynb", as_version=4)
    done = NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    told = [
        "".join(
            out.get("text", "") or out["data"]["text/plain"]
            for out in cell.outputs
            if out.get("name") != "stderr"
        )
        for cell in done.cells
        if cell.cell_type == "code"
    ]
    assert "NO " not in told[1]
    assert "steps to do" in told[3]
    assert "page: runs/mine/report" in told[4]
    for kind in ("specific", "related", "general"):
        assert kind in told[5]
    costs = told[7].splitlines()
    assert [line.split()[0] for line in costs[-3:]] == ["en", "de", "sw"]
    assert "neurons silenced:" in told[8]
