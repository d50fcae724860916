"""The course: every notebook runs from top to bottom on the offline base, and is stored so that it can be opened anywhere."""

from __future__ import annotations

import re
from pathlib import Path

import nbclient
import nbconvert
import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").rglob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]
WIDGET = "application/vnd.jupyter.widget-view+json"


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
@pytest.mark.filterwarnings(
    "ignore:There is no current event loop:DeprecationWarning"
)  # jupyter_client, on its own thread
def test_it_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cell does what its text says: none fails that is not marked as one that does."""
    monkeypatch.setenv("NBCONTAINERS_ROOT", str(tmp_path / "store"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = read(path)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if WIDGET in output.get("data", {}):
                assert {"text/html", "text/plain"} <= output.data.keys(), cell.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_it_is_stored_without_widget_state(path: Path) -> None:
    """A widget saved with its state would load scripts from elsewhere: HTML and text stand in its place."""
    notebook = read(path)
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            assert WIDGET not in output.get("data", {})


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_its_outputs_load_nothing_from_elsewhere(path: Path) -> None:
    """What it shows is in it: no script, style or picture of another site."""
    for cell in read(path).cells:
        for output in cell.get("outputs", ()):
            html = "".join(output.get("data", {}).get("text/html", ""))
            assert not re.search(r"<script|(src|href)\s*=\s*[\"']?(https?:)?//|@import|url\(", html, re.IGNORECASE)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_it_becomes_a_page(path: Path) -> None:
    """nbconvert makes HTML of it, with the layer stacks in it."""
    page, _ = nbconvert.HTMLExporter(embed_images=True).from_notebook_node(read(path))
    assert "<h1" in page
