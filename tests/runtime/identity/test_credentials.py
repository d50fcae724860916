"""What the calls that change ids make of them: the rules of setuid(2), setreuid(2), setresuid(2) and setfsuid(2).

They are compared with the kernel's own answers where this process may change its ids (as root).
"""

from __future__ import annotations

import ctypes
import itertools
import os
import struct

import pytest

from nbcontainers.runtime.identity import credentials
from nbcontainers.runtime.identity.credentials import KEEP, KEEPS, KEPT

CALLS = {"setuid": credentials.set_id, "setreuid": credentials.set_re, "setresuid": credentials.set_res}
NUMBERS = (0, 1, 2, 3, KEEP)


def kernel(script: list[tuple[tuple[int, int, int, int], str, tuple[int, int, int]]]) -> list[object]:
    """What the kernel answers: the ids after each call, or its errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    read, write = os.pipe()
    for ids, name, wanted in script:
        pid = os.fork()
        if pid == 0:
            real, effective, saved, _ = ids
            os.setresuid(real, effective, saved)
            count = {"setuid": 1, "setreuid": 2, "setresuid": 3}[name]
            failed = getattr(libc, name)(*[ctypes.c_uint32(number) for number in wanted[:count]])
            answer = struct.pack("=I3I", ctypes.get_errno() if failed else 0, *os.getresuid())
            os.write(write, answer)
            os._exit(0)
        os.waitpid(pid, 0)
    os.close(write)
    data = b""
    while part := os.read(read, 1 << 16):
        data += part
    os.close(read)
    return [number or tuple(ids) for number, *ids in struct.iter_unpack("=I3I", data)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other ids to change to")
@pytest.mark.parametrize("name", CALLS)
def test_ids_change_as_the_kernel_changes_them(name: str) -> None:
    """Every combination of ids and arguments: the same ids, or the same errno."""
    starts = [(0, 0, 0, 0), (1, 1, 1, 1), (1, 0, 0, 0), (0, 1, 2, 1), (1, 2, 3, 2), (1, 1, 0, 1)]
    count = {"setuid": 1, "setreuid": 2, "setresuid": 3}[name]
    script, ours = [], []
    for ids, some in itertools.product(starts, itertools.product(NUMBERS, repeat=count)):
        wanted = (*some, 0, 0)[:3]
        script.append((ids, name, wanted))
        try:
            ours.append(CALLS[name](ids, wanted, ids[1] == 0)[:3])
        except OSError as error:
            ours.append(error.errno)
    assert ours == kernel(script)


def test_the_file_system_id_follows_the_effective_one() -> None:
    """And setfsuid(2) changes it alone, to one of the process's own unless it is root's."""
    assert credentials.set_re((5, 5, 5, 5), (KEEP, KEEP, KEEP), False)[3] == 5
    assert credentials.set_res((1, 2, 3, 9), (KEEP, 3, KEEP), False) == (1, 3, 3, 3)
    assert credentials.set_fs((1, 2, 3, 2), (3, 0, 0), False) == (1, 2, 3, 3)
    assert credentials.set_fs((1, 2, 3, 2), (7, 0, 0), False) == (1, 2, 3, 2)
    assert credentials.set_fs((0, 0, 0, 0), (7, 0, 0), True) == (0, 0, 0, 7)


def test_execution_saves_the_effective_ids() -> None:
    """And takes those of the program's set-id bits; see execve(2)."""
    before = ((1000, 1000, 0, 1000), (100, 100, 100, 100), (100, 29), KEEPS | KEPT)
    assert credentials.executed(before, None, None) == ((1000,) * 4, (100,) * 4, (100, 29), 0)
    assert credentials.executed(before, 0, 42) == ((1000, 0, 0, 0), (100, 42, 42, 42), (100, 29), 0)


def test_capabilities_outlive_a_change_of_ids_where_that_was_asked_for() -> None:
    """Until the process is root again: then the next change is asked anew."""
    root, other = (0, 0, 0, 0), (5, 5, 5, 5)
    assert credentials.kept(root, other, KEEPS) == KEEPS | KEPT
    assert credentials.kept(root, other, 0) == 0
    assert credentials.kept(root, (5, 5, 0, 5), KEEPS) == KEEPS
    assert credentials.kept(other, root, KEEPS | KEPT) == KEEPS
    assert credentials.kept(other, (6, 6, 6, 6), KEEPS | KEPT) == KEEPS | KEPT
