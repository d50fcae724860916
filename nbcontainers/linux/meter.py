"""Usage of one cgroup, read from descriptors that stay open: a sample is a handful of pread(2), and no path is looked up.

Source: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst, cgroup-v1/cpuacct.rst, cgroup-v1/pids.rst.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from types import TracebackType

from ..errors import NotFound
from ..results import Usage
from . import groups, processes

_UNLIMITED = 1 << 62  # v1 has no word for it: its largest number of pages, in bytes
_SIZE = 8192  # more than the longest of these files, memory.stat, has

_Counter = tuple[int, bytes]
"""A descriptor, and what stands before the number in its file (nothing, where the number is all of it)."""


class Meter:
    """Measures the group that has these directories, one per hierarchy; close it, or use it in a ``with``.

    Limits are read once: whoever changes them makes another meter.
    """

    def __init__(self, directories: Sequence[str]) -> None:
        self._directories = tuple(directories)
        self._open: list[int] = []
        self._closed = False
        self._cpu = self._counter("cpu.stat", b"usage_usec ") or self._counter("cpuacct.usage")
        self._cpu_unit = 1e-6 if self._cpu and self._cpu[1] else 1e-9
        self._throttled = self._counter("cpu.stat", b"throttled_time ") or self._counter("cpu.stat", b"throttled_usec ")
        self._throttled_unit = 1e-9 if self._throttled and b"time" in self._throttled[1] else 1e-6
        self._memory = self._counter("memory.usage_in_bytes")
        if self._memory:
            self._source = "cgroup v1"
            self._cache = self._counter("memory.stat", b"total_inactive_file ")
            self._peak = self._counter("memory.max_usage_in_bytes")
            self._killed = self._counter("memory.oom_control", b"oom_kill ")
        else:
            self._memory = self._counter("memory.current")
            self._source = "cgroup v2" if self._memory else "process tree"
            self._cache = self._counter("memory.stat", b"\ninactive_file ")
            self._peak = self._counter("memory.peak")
            self._killed = self._counter("memory.events", b"oom_kill ")
        self._pids = self._counter("pids.current")
        self._cpu_limit = self._processors()
        self._memory_limit = self._limit("memory.max", "memory.limit_in_bytes")
        self._processes_limit = self._limit("pids.max")

    def sample(self) -> Usage:
        """What the group uses now. NotFound where it has been removed.

        As in Docker ``memory`` leaves out the page cache that the kernel would give up first, and ``processes`` counts threads
        (the processes alone, where no cgroup counts them).
        """
        if self._closed:  # the numbers of its descriptors may be other files by now
            raise ValueError("the meter is closed")
        try:
            return Usage(
                time=time.time(),
                cpu_seconds=_number(self._cpu) * self._cpu_unit if self._cpu else 0.0,
                memory=self._held(),
                processes=_number(self._pids) if self._pids else len(groups.processes(self._directories)),
                source=self._source,
                cpu_limit=self._cpu_limit,
                memory_limit=self._memory_limit,
                memory_peak=_number(self._peak) if self._peak else None,
                processes_limit=self._processes_limit,
                throttled_seconds=_number(self._throttled) * self._throttled_unit if self._throttled else None,
                oom_kills=_number(self._killed) if self._killed else None,
            )
        except OSError as error:  # ENODEV: the group behind the descriptor is gone
            raise NotFound(f"the cgroup {self._directories[0]} is gone") from error

    def close(self) -> None:
        """Close every descriptor; it can be called twice, and a closed meter gives no sample (ValueError)."""
        self._closed = True
        while self._open:
            os.close(self._open.pop())

    def __enter__(self) -> Meter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _counter(self, file: str, name: bytes = b"") -> _Counter | None:
        """The first of our files of that name with a number behind ``name``, kept open; both trees of a hybrid have a cpu.stat."""
        for directory in self._directories:
            try:
                descriptor = os.open(f"{directory}/{file}", os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
            if name in os.pread(descriptor, _SIZE, 0):
                self._open.append(descriptor)
                return descriptor, name
            os.close(descriptor)
        return None

    def _held(self) -> int:
        if not self._memory:
            return processes.memory(groups.processes(self._directories))
        held = _number(self._memory)
        cache = _number(self._cache) if self._cache else 0
        return held - cache if cache < held else held

    def _limit(self, *names: str) -> int | None:
        for name in names:
            for directory in self._directories:
                text = groups.read(f"{directory}/{name}")
                if text.isdigit() and int(text) < _UNLIMITED:
                    return int(text)
        return None

    def _processors(self) -> float | None:
        for directory in self._directories:
            quota, _, period = groups.read(f"{directory}/cpu.max").partition(" ")
            quota = quota or groups.read(f"{directory}/cpu.cfs_quota_us")
            period = period or groups.read(f"{directory}/cpu.cfs_period_us")
            if quota.isdigit() and period.isdigit():
                return int(quota) / int(period)
        return None


def _number(counter: _Counter) -> int:
    descriptor, name = counter
    text = os.pread(descriptor, _SIZE, 0)
    if not name:
        return int(text)
    start = text.index(name) + len(name)
    return int(text[start : text.index(b"\n", start)])
