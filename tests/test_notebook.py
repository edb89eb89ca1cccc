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
    code = [cell for cell in done.cells if cell.cell_type == "code"]
    told = [
        "".join(
            output.get("text", "") or output["data"].get("text/html", output["data"]["text/plain"])
            for output in cell.outputs
            if output.get("name") != "stderr"
        )
        for cell in code
    ]
    assert "nano" in told[0]
    assert "every measurement holds" in told[1]
    for word in ("specific", "related", "general", "sw"):
        assert word in told[2]
    for kind in ("specific", "related", "general"):
        assert kind in told[3]
    assert "neurons silenced:" in told[6]
    shown = [output["data"] for cell in code for output in cell.outputs if "data" in output]
    assert sum("image/svg+xml" in data for data in shown) == 2, "both figures display themselves"
