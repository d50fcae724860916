"""The notebooks: each runs from its first cell to its last, and none is stored with what only a kernel can show."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.jupyter.conftest import Kernel

ROOT = Path(__file__).parent.parent.parent
NOTEBOOKS = sorted(path for path in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
named = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.relative_to(ROOT)))


@named
def test_a_notebook_is_stored_without_widgets(path: Path) -> None:
    """No state and no view of one: a viewer would load scripts from elsewhere for it. Outputs are HTML and text."""
    notebook = json.loads(path.read_text())
    assert "widgets" not in notebook["metadata"]
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            assert output["output_type"] in ("display_data", "stream", "execute_result"), "an error"
            assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
            assert not output.get("data") or {"text/html", "text/plain"} <= set(output["data"])
            written = "".join("".join(part) for part in output.get("data", {}).values())
            assert not re.search(r"<script|https?://|/home/|/root/", written)
        assert "execution" not in cell["metadata"], "times of one machine"


@named
def test_a_notebook_runs_from_its_first_cell_to_its_last(path: Path, tmp_path_factory, environment) -> None:
    """In a kernel of its own, with nothing but what it makes itself."""
    pytest.importorskip("ipykernel", reason="needs ipykernel")
    kernel = Kernel(tmp_path_factory.mktemp("notebook"), environment)
    try:
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "code":
                source = "".join(cell["source"])
                ran = kernel.run(source)
                assert ran.error is None, f"{source}\n{ran.traceback}\n{ran.stderr}"
                assert not list(kernel.folder.glob("*.txt")), "a notebook leaves no file beside it"
    finally:
        kernel.close()
