"""A container that runs below a cell: its output as it comes, its end in one calm line."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

from ..cli import format as form
from ..cli.console import Console
from ..cli.terminal import Cleaner
from ..errors import NBContainersError
from ..events import Event, Observer, Output
from ..results import ENDED_FOR
from . import show
from .calm import Interrupted, in_notebook

if TYPE_CHECKING:
    from ..engine import Container, Engine
    from ..engine.options import RunOptions


class CellOutput:
    """Writes what a process wrote below the cell: colours stay, every other escape goes."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._streams = {"stdout": out or sys.stdout, "stderr": err or sys.stderr}
        self._cleaners = {"stdout": Cleaner(), "stderr": Cleaner()}

    def write(self, event: Event) -> None:
        """An event of a container; those that are no output are let be."""
        if isinstance(event, Output):
            text = self._cleaners[event.stream].feed(event.data)
            if text:
                self._streams[event.stream].write(text)

    def close(self) -> None:
        """Write what was held back, and let it be seen."""
        for name, stream in self._streams.items():
            rest = self._cleaners[name].close()
            if rest:
                stream.write(rest)
            stream.flush()


class CellConsole(Console):
    """The command line's console below a cell."""

    is_whole_program = False  # the kernel has a life of its own

    def __init__(self) -> None:
        super().__init__(told=sys.stdout)  # what is on standard error has a red ground there
        self._cell = CellOutput(self.out, self.err)

    def write(self, event: Event) -> None:
        """A process's output, cleaned."""
        self._cell.write(event)

    def tell(self, error: NBContainersError) -> None:
        """An error that does not keep a verb from what else it has to do, with a hint for a notebook."""
        error.hint = in_notebook(error.hint)
        super().tell(error)

    def transfers(self, *, quiet: bool = False, errors: bool = False, missing: bool = False) -> Observer:
        """Images on their way as a table, where the page can show one."""
        if not show.in_kernel():
            return super().transfers(quiet=quiet, errors=errors, missing=missing)
        from .transfers import CellTransfers

        return CellTransfers(quiet=quiet)


def run(
    engine: Engine,
    image: str,
    command: Sequence[str],
    options: RunOptions,
    *,
    detach: bool = False,
    script: bytes | None = None,
    bind: Callable[[Container], None] = lambda container: None,
) -> None:
    """Run a container and show its output until it ends; ``bind`` is given the container once it runs.

    Raises:
        Interrupted: the interrupt button was pressed; the container has been stopped.
    """
    began = time.monotonic()
    container = engine.run(image, *command, detach=detach, on_event=CellConsole().transfers(errors=True), **options)
    bind(container)
    state = container.state
    show.not_enforced(state.not_enforced)
    if detach:
        show.note(f"{state.name} runs in the background: {state.id[:12]}")
        return
    output = CellOutput()
    try:
        stdin = standard_input(script) if script is not None else None
        try:
            code = container.attach(output.write, stdin=stdin)
        finally:
            if stdin is not None:
                stdin.close()
            output.close()
    except KeyboardInterrupt:
        raise Interrupted(
            f"{state.name} was stopped" + ("" if options.get("rm") else "; it is kept: %containers -a")
        ) from None
    ended = container.last_state or state
    if ended.out_of_memory:
        limit = container.spec.resources.memory
        bound = f": its limit is {form.binary_size(limit)}" if limit else ""
        show.note(f"{ended.name} ran out of memory{bound}", mood="r")
    elif ended.error.startswith(ENDED_FOR):
        show.note(f"{ended.name} was {ended.error}", mood="r")
    elif code:
        exit_note(code, time.monotonic() - began)


def exit_note(code: int, seconds: float | None = None) -> None:
    """Say with which exit code something ended."""
    after = "" if seconds is None else f" after {seconds:.2f} s"
    signal = f" (signal {code - 128})" if 128 < code < 193 else ""
    show.note(f"exited with code {code}{signal}{after}", mood="w")


def standard_input(script: bytes) -> io.BufferedReader:
    """A file to read a script from: in memory, with a descriptor that a container can be given."""
    descriptor = os.memfd_create("script", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(script)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return open(descriptor, "rb")
