"""A real kernel with the magics loaded, and a store of its own."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import PATIENCE_S, clock

ROOT = Path(__file__).parent.parent.parent


@dataclass
class Cell:
    """What a cell gave: its streams, its outputs in order (an update takes the place of what it updates), its error.

    And how long it took, or went on after it was interrupted, by the clock of ``tests.waiting``.
    """

    stdout: str = ""
    stderr: str = ""
    outputs: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, Any] | None = None
    seconds: float = 0.0
    shown_as: dict[str, int] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The text form of every output."""
        return "\n".join(output.get("text/plain", "") for output in self.outputs)

    @property
    def html(self) -> str:
        """The HTML form of every output."""
        return "\n".join(output.get("text/html", "") for output in self.outputs)

    @property
    def traceback(self) -> str:
        """What is shown of the error."""
        return "\n".join(self.error["traceback"]) if self.error else ""


class Kernel:
    """A kernel of this Python, in a folder of its own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        from jupyter_client.manager import KernelManager

        self.folder = folder
        self.manager = KernelManager(kernel_name="python3", transport="ipc", ip=str(folder / "k"))
        self.manager.start_kernel(cwd=str(folder), env=environment, extra_arguments=["--IPKernelApp.log_level=ERROR"])
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE_S)

    def run(self, code: str, *, interrupt_after: str | Callable[[], object] = "") -> Cell:
        """Execute a cell and wait for its end; once it has printed this, or something is true, the interrupt button is pressed."""
        sent = self.client.execute(code)
        cell, deadline, began, interrupted = Cell(), time.monotonic() + 5 * PATIENCE_S, clock(), False
        while True:
            assert time.monotonic() < deadline, cell
            due = interrupt_after in cell.stdout if isinstance(interrupt_after, str) else interrupt_after()
            if interrupt_after and due and not interrupted:
                self.manager.interrupt_kernel()
                began, interrupted = clock(), True
            try:
                message = self.client.get_iopub_msg(timeout=0.1)
            except queue.Empty:
                continue
            content, kind = message["content"], message["msg_type"]
            if kind == "stream":
                setattr(cell, content["name"], getattr(cell, content["name"]) + content["text"])
            elif kind in ("display_data", "execute_result", "update_display_data"):
                name = content.get("transient", {}).get("display_id", "")
                if kind == "update_display_data" and name in cell.shown_as:
                    cell.outputs[cell.shown_as[name]] = content["data"]
                elif kind != "update_display_data":
                    cell.shown_as[name] = len(cell.outputs)
                    cell.outputs.append(content["data"])
            elif kind == "error":
                cell.error = content
            elif message["parent_header"].get("msg_id") == sent and content.get("execution_state") == "idle":
                cell.seconds = clock() - began
                return cell

    def updated(self, *words: str) -> int:
        """Wait until an output of a cell before is replaced by a text with these words; how many replacements came until then."""
        deadline, count = time.monotonic() + 5 * PATIENCE_S, 0
        while True:
            assert time.monotonic() < deadline, words
            try:
                message = self.client.get_iopub_msg(timeout=0.1)
            except queue.Empty:
                continue
            if message["msg_type"] == "update_display_data":
                count += 1
                if all(word in message["content"]["data"]["text/plain"] for word in words):
                    return count

    def close(self) -> None:
        """End the kernel, and let go of everything that leads to it."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=False)
        self.manager.cleanup_resources()
        self.client.context.destroy(0)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all kernels: making the offline base takes seconds."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def environment(store: Path) -> dict[str, str]:
    """What a kernel is started with."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "IPYTHON", "PYTEST"))}
    return {
        **kept,
        "NBCONTAINERS_ROOT": str(store),
        "PYTHONPATH": str(ROOT),
        "IPYTHONDIR": str(store.parent / "ipython"),
    }


@pytest.fixture(scope="session")
def kernel(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Iterator[Kernel]:
    """A kernel with the magics, and the image ``hello``."""
    pytest.importorskip("ipykernel", reason="needs ipykernel")
    made = Kernel(tmp_path_factory.mktemp("kernel"), environment)
    try:
        assert made.run("%load_ext nbcontainers").error is None
        (made.folder / "greet.txt").write_text("hello from a file\n")
        built = made.run(
            '%%dockerfile -t hello --as made\nFROM toolbox\nCOPY greet.txt /greet\nCMD ["cat", "/greet"]\n'
        )
        assert built.error is None, built.traceback
        yield made
    finally:
        made.close()
