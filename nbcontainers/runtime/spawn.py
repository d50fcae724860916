"""How our small processes are started: this Python, isolated, from a sealed copy of its executable.

A container's first process is, until it execs, our interpreter: whoever is root inside may keep /proc/self/exe open (an image
whose entrypoint that is, say) and write to it once nobody runs it (CVE-2019-5736). A sealed copy in memory has nothing behind
it that could be written.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from ..errors import HostError

START_S = 60.0  # how long such a process may take until it says something: some machines are slow, and some are busy
_BUSY_S = 5.0
_PACKAGES = str(Path(__file__).resolve().parents[2])
_BOOT = "import sys; sys.path.append(sys.argv[1]); from nbcontainers.runtime.{} import main; main()"
_MFD_EXEC = 0x10  # include/uapi/linux/memfd.h, since 6.3; older kernels refuse it and need it not
_SEALS = 0x1 | 0x2 | 0x4 | 0x8  # F_SEAL_SEAL, SHRINK, GROW, WRITE


def start(module: str, *, stdin: int, stdout: int = subprocess.DEVNULL, sealed: bool = True) -> subprocess.Popen[bytes]:
    """Run ``main`` of a module of this package in a new process and session, without site-packages and PYTHON* variables.

    The package's own folder is given explicitly, so an editable install in a virtual environment works as any other.
    ``sealed`` false runs the executable as it lies on disk, for hosts where a file in memory cannot be run.
    """
    if not sys.executable:
        raise HostError(
            "this Python does not know its own executable", hint="run nbcontainers under a Python of its own"
        )
    flags = ["-I", "-S", "-X", "utf8", *(["-B"] if sys.dont_write_bytecode else [])]
    command = [sys.executable, *flags, "-c", _BOOT.format(module), _PACKAGES]
    with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
        copy = _sealed_copy(sys.executable) if sealed else -1
        if copy >= 0:
            theirs.callback(os.close, copy)
        null = theirs.enter_context(open(os.devnull, "r+b", buffering=0)).fileno()
        given = {"stdin": stdin, "stdout": stdout}
        pipes: dict[str, IO[bytes]] = {}
        for word, wanted in given.items():
            if wanted == subprocess.PIPE:
                pipes[word], given[word] = _pipe(word == "stdin", ours, theirs)
            elif wanted == subprocess.DEVNULL:
                given[word] = null
        process = subprocess.Popen(
            command,
            executable=f"/proc/self/fd/{copy}" if copy >= 0 else None,
            pass_fds=(copy,) if copy >= 0 else (),
            cwd="/",
            env=_environment() if copy >= 0 else {},
            start_new_session=True,
            stdin=given["stdin"],
            stdout=given["stdout"],
            stderr=null,
        )
        process.stdin, process.stdout = pipes.get("stdin"), pipes.get("stdout")
        ours.pop_all()
        return process


def _pipe(is_written: bool, ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[IO[bytes], int]:
    """A pipe: our end, and the other process's. Popen could make it, but forgets (before Python 3.12) those that it has made where
    there are no descriptors for the rest.
    """
    read_end, write_end = os.pipe()
    own, other = (write_end, read_end) if is_written else (read_end, write_end)
    theirs.callback(os.close, other)
    return ours.enter_context(open(own, "wb" if is_written else "rb")), other


def _sealed_copy(path: str) -> int:
    """A file in memory with the executable's bytes, which nothing can change; -1 where it is a script or memory files cannot be."""
    with open(path, "rb") as source:
        if source.read(4) != b"\x7fELF":
            return -1
        try:
            copy = _memory_file()
        except OSError:
            return -1
        try:
            size, offset = os.fstat(source.fileno()).st_size, 0
            while offset < size:
                offset += os.sendfile(copy, source.fileno(), offset, size - offset)
            seal(copy)
        except BaseException:
            os.close(copy)
            raise
    return copy


def seal(copy: int) -> None:
    """Let nothing change a file in memory any more. The kernel is busy with a page of it for a moment now and then: it is asked again."""
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _SEALS)
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _memory_file() -> int:
    try:
        return os.memfd_create("python", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | _MFD_EXEC)
    except OSError:
        return os.memfd_create("python", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def _environment() -> dict[str, str]:
    """Where the copy finds a shared libpython: the loader takes $ORIGIN from the executable's place, and memory is none.

    Symbols are looked up at once: each process that is forked would look them up again, and copy the pages that they are noted in.
    """
    folders = _library_folders()
    return {"LD_BIND_NOW": "1", **({"LD_LIBRARY_PATH": ":".join(folders)} if folders else {})}


def _library_folders() -> Sequence[str]:
    with open("/proc/self/maps") as file:
        paths = [line.split(maxsplit=5)[5].rstrip() for line in file if "/libpython" in line]
    return sorted({os.path.dirname(path) for path in paths})
