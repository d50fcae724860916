"""Store the notebooks again, with outputs of now: ``python -m tests.jupyter.storing``.

Each is executed in a new folder with a store of its own and without widgets, so that its outputs are HTML and text. A cell that is
tagged ``of-this-machine`` is stored without its output.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
NOTEBOOKS = ROOT / "notebooks"
PRIVATE = "of-this-machine"


def store(path: Path) -> None:
    """Execute a notebook and write it with its outputs, and with nothing that only this machine or this hour has."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"NBCONTAINERS_WIDGETS": "off", "NBCONTAINERS_ROOT": f"{folder}/store"}
        (Path(folder) / "work").mkdir()
        client = NotebookClient(
            notebook, timeout=600, record_timing=False, resources={"metadata": {"path": f"{folder}/work"}}
        )
        client.execute()
    notebook.metadata.language_info = {"name": "python"}  # without the version of this machine's Python
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code" and PRIVATE in cell.metadata.get("tags", ()):
            cell.outputs = []
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for found in sorted(NOTEBOOKS.rglob("*.ipynb")):
        if ".ipynb_checkpoints" not in found.parts:
            store(found)
