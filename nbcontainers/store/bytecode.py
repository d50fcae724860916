"""Compiled Python modules that are the same bytes every time, made in a process of its own.

A module's bytecode depends on the state of the process that makes it (which strings are shared already, the order of sets),
so a fresh interpreter does it, with a fixed hash seed and the modules in a fixed order. The files are marked as never to be
checked against their source (PEP 552): an image has no times worth looking at, and nothing is written when it runs.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType

PROCESSES = 2  # always, whatever the machine has: what a module becomes depends on those before it


class Compilation:
    """Processes that compile modules; use it in a ``with``, which ends them whatever happens.

    Args:
        executable: the interpreter that will read the bytecode.
        modules: for each its file on this host or its source, and the file name that its tracebacks shall show.

    """

    def __init__(self, executable: str, modules: Sequence[tuple[str | bytes, str]]) -> None:
        environment = {"PYTHONHASHSEED": "0"}
        if "LD_LIBRARY_PATH" in os.environ:
            environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]  # an interpreter may not start without
        self._modules = [list(modules[number::PROCESSES]) for number in range(PROCESSES)]
        self._processes: list[subprocess.Popen[bytes]] = []
        for _ in range(PROCESSES):
            self._processes.append(
                subprocess.Popen(
                    [executable, "-s", "-S", "-P", "-B", "-W", "ignore", __file__],
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )
            )

    def __enter__(self) -> Compilation:
        for process, modules in zip(self._processes, self._modules, strict=True):
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # said by ``result``
                process.stdin.write(marshal.dumps(modules))
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def result(self) -> list[bytes | None] | None:
        """The content of each ``.pyc``, None for a module that does not compile; None at all if a process failed."""
        merged: list[bytes | None] = [None] * sum(map(len, self._modules))
        for number, (process, modules) in enumerate(zip(self._processes, self._modules, strict=True)):
            assert process.stdout is not None
            data = process.stdout.read()
            made = marshal.loads(data) if process.wait() == 0 else None  # noqa: S302 # our own child wrote it
            if not isinstance(made, list) or len(made) != len(modules):
                return None
            merged[number::PROCESSES] = made
        return merged


def compiled(source: bytes, name: str) -> bytes | None:
    """One module as an unchecked hash-based ``.pyc``; None where its source is not Python."""
    from importlib.util import MAGIC_NUMBER, source_hash

    try:
        code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError):
        return None
    return MAGIC_NUMBER + (1).to_bytes(4, "little") + source_hash(source) + marshal.dumps(code)


def main() -> None:
    """Read the modules from standard input, write their bytecode to standard output."""
    made: list[bytes | None] = []
    for source, name in marshal.loads(sys.stdin.buffer.read()):  # noqa: S302 # our parent did
        if isinstance(source, bytes):
            data = source
        else:
            with open(source, "rb") as stream:
                data = stream.read()
        made.append(compiled(data, name))
    sys.stdout.buffer.write(marshal.dumps(made))


if __name__ == "__main__":
    main()
