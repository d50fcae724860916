"""How much memory processes have in store. The zygote imports this module.

Source: proc_pid_statm(5); proc_pid_smaps_rollup (Documentation/filesystems/proc.rst).
"""

from __future__ import annotations

import os
import time

from . import smallfiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_PAGE = os.sysconf("SC_PAGE_SIZE")
_UNNAMED = b" /dev/zero (deleted)\n"  # what is mapped shared and anonymous; see mm/shmem.c, shmem_zero_setup


def resident(pid: int) -> int:
    """Bytes that a process has, pages that it shares with others counted in full."""
    return sum(_resident(pid, "/proc"))


def used(pids: Iterable[int], held: int = 0, *, until: float = float("inf"), proc: str = "/proc") -> int:
    """Bytes that processes have, each shared page divided among those that share it; dearer than ``resident``. ``held`` are those that
    they hold together by descriptors, files and segments: what of these they have mapped counts once.

    Where the kernel does not let us see that (another user's, or a process that is not dumpable), all their resident pages. So they
    count, and as nothing that is held, once this process has used so much of a processor's time (``until``).
    """
    own = shared = 0
    for pid in pids:
        is_late = time.process_time() > until
        alone, common = _resident(pid, proc) if is_late else _parts(pid, proc)
        if held and common:  # that nobody holds otherwise
            unnamed = common if is_late else min(common, _unnamed(pid, proc))
            alone, common = alone + unnamed, common - unnamed
        own, shared = own + alone, shared + common
    return own + max(shared, held)


def _parts(pid: int, proc: str) -> tuple[int, int]:
    """(bytes of its own and of files, bytes that can be shared and lie in memory only); all second where they are not told apart."""
    counts = {}
    for line in _read(f"{proc}/{pid}/smaps_rollup").splitlines():
        if line.startswith((b"Pss:", b"Pss_Shmem:")):
            name, count, *_ = line.split()
            counts[name] = int(count) * 1024
    if counts:
        shared = counts.get(b"Pss_Shmem:", counts[b"Pss:"])
        return counts[b"Pss:"] - shared, shared
    return _resident(pid, proc)


def _resident(pid: int, proc: str) -> tuple[int, int]:
    """As ``_parts``, each page counted in full."""
    fields = _read(f"{proc}/{pid}/statm").split()
    return ((int(fields[1]) - int(fields[2])) * _PAGE, int(fields[2]) * _PAGE) if fields else (0, 0)


def _unnamed(pid: int, proc: str) -> int:
    """Bytes of what a process has mapped shared and anonymous, which no descriptor and no segment leads to."""
    total = 0
    for one in _read(f"{proc}/{pid}/smaps").split(_UNNAMED)[1:]:
        count = one.partition(b"\nPss:")[2].split(maxsplit=1)
        total += int(count[0]) * 1024 if count else 0
    return total


def _read(path: str) -> bytes:
    """A file of /proc, empty where it or its process is gone, or does not let us look."""
    try:
        return smallfiles.read(path)
    except OSError:
        return b""
