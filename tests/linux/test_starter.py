"""The program by which a traced container begins: what it tells, with nobody around who traces it."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

import pytest

from nbcontainers.linux import starter

pytestmark = pytest.mark.skipif(not starter.program(), reason="needs x86-64")


def told(tmp_path: Path, *words: str, stdin: int | None = None) -> tuple[list[tuple[int, int]], float]:
    """What it tells of a command, whose words are the path to execute and then its own, and how long it lived."""
    path = tmp_path / "start"
    path.write_bytes(starter.program())
    path.chmod(0o755)
    reader, writer = os.pipe()
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.dup2(writer, starter.DESCRIPTOR, inheritable=True)
        os.execve(path, [str(path), *words], {"FIRST": "", "SECOND": "", "THIRD": "", "FOURTH": "4"})
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        said = file.read()
    assert os.waitpid(pid, 0)[1] == 0
    return starter.told(said), time.monotonic() - began


def test_it_tells_of_begin_and_end(tmp_path: Path) -> None:
    """First the pid of the command, then its status: the exit code, or the signal that ended it."""
    (begun, pid), (status, again) = told(tmp_path, "/bin/sh", "sh", "-c", "exit 5")[0]
    assert (begun, again) == (0, pid)
    assert os.waitstatus_to_exitcode(status) == 5
    (_, (status, _)), _ = told(tmp_path, "/bin/sh", "sh", "-c", "kill -KILL $$")
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def test_it_tells_why_there_is_no_command(tmp_path: Path) -> None:
    """The kernel's errno, and nothing after that."""
    ((number, _),), _ = told(tmp_path, "/no/such", "such")
    assert number == errno.ENOENT
    ((number, _),), _ = told(tmp_path, "/etc/passwd", "passwd")
    assert number == errno.EACCES


def test_the_command_has_its_own_words_only(tmp_path: Path) -> None:
    """Not the descriptor by which it is told of, not the first three variables; it leads a session of its own."""
    script = (
        f'test ! -e /proc/self/fd/{starter.DESCRIPTOR} && test -z "${{FIRST+x}}${{SECOND+x}}${{THIRD+x}}" && test "$FOURTH" = 4 && '
        'test "$0 $1" = "zeroth first" && test "$(ps -o sid= -p $$ | tr -d " ")" = $$'
    )
    (_, (status, _)), _ = told(tmp_path, "/bin/sh", "sh", "-c", script, "zeroth", "first")
    assert status == 0


def test_it_adopts_orphans(tmp_path: Path) -> None:
    """It stays until the last process is gone that the command has left behind, though that is in a session of its own."""
    (_, (status, _)), age = told(tmp_path, "/bin/sh", "sh", "-c", "(setsid sleep 0.5 &) ; exit 3")
    assert os.waitstatus_to_exitcode(status) == 3
    assert age >= 0.5


def test_other_words_are_not_taken_for_its_own() -> None:
    """A report that does not begin as its do, and the beginning of one that is still on its way, tell nothing."""
    assert starter.told(b"") == []
    assert starter.told(b"x\0\0\0\0\0\0\0") == []
    assert starter.told(b"\xa9\4" + bytes(30)) == []
