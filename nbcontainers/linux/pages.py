"""The pages of this process's memory, fetched before they are used.

After a fork each page that is written to is copied first: some microseconds for every one of hundreds, at the very moment when
somebody waits. Imports only what keeps the zygote small.
"""

from __future__ import annotations

import ctypes
import os

from . import smallfiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_madvise = ctypes.CDLL(None).madvise
_madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_MADV_POPULATE_WRITE = 23  # since Linux 5.14; an older one refuses, and nothing is fetched
_PRESENT = 1 << 63  # Documentation/admin-guide/mm/pagemap.rst
_ENTRY = 8
_SIZE = os.sysconf("SC_PAGESIZE")
_AT_ONCE = 32  # which take a twentieth of a millisecond


def fetch(is_wanted: Callable[[], bool]) -> None:
    """Copy what this process shares with the one that it was forked from, until it is wanted."""
    for first, last in _present():
        if is_wanted():
            return
        _madvise(first * _SIZE, (last - first) * _SIZE, _MADV_POPULATE_WRITE)


def _present() -> Iterator[tuple[int, int]]:
    """The runs of writable pages that are there at all, none of them long: the first, and the one after the last, of each."""
    descriptor = os.open("/proc/self/maps", os.O_RDONLY | os.O_CLOEXEC)
    maps = smallfiles.read_all(descriptor)
    os.close(descriptor)
    pagemap = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for line in maps.splitlines():
            addresses, rights = line.split(None, 2)[:2]
            if rights == b"rw-p":
                first, after = (int(number, 16) // _SIZE for number in addresses.split(b"-"))
                yield from _runs(os.pread(pagemap, (after - first) * _ENTRY, first * _ENTRY), first)
    finally:
        os.close(pagemap)


def _runs(entries: bytes, first: int) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for number, entry in enumerate(memoryview(entries).cast("Q"), first):
        if not entry & _PRESENT:
            continue
        if runs and runs[-1][1] == number and number - runs[-1][0] < _AT_ONCE:
            runs[-1] = (runs[-1][0], number + 1)
        else:
            runs.append((number, number + 1))
    return runs
