"""Usage of one cgroup, read from descriptors that stay open: a sample is a handful of pread(2), and no path is looked up.

Source: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst, cgroup-v1/cpuacct.rst, cgroup-v1/pids.rst.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Generic, TypeVar

from ..errors import NotFound
from ..results import BlockUse, Usage
from . import counters, groups, processes

_UNLIMITED = 1 << 62  # v1 has no word for it: its largest number of pages, in bytes
_SIZE = 8192  # more than the longest of these files, memory.stat, has

_Read = TypeVar("_Read")
_Counter = tuple[int, bytes]
"""A descriptor, and what stands before the number in its file (nothing, where the number is all of it)."""


class Meter:
    """Measures the group that has these directories, one per hierarchy; close it, or use it in a ``with``.

    Limits are read once: whoever changes them makes another meter. With the ``pid`` of one of its processes the interfaces of
    that one's network are counted, too.
    """

    def __init__(self, directories: Sequence[str], *, pid: int = 0) -> None:
        self._directories = tuple(directories)
        self._open: list[int] = []
        self._closed = False
        self._cpu = self._counter("cpu.stat", b"usage_usec ") or self._counter("cpuacct.usage")
        self._cpu_unit = 1e-6 if self._cpu and self._cpu[1] else 1e-9
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
        self._seen = (-1, -1)
        self._cached = 0
        self._pids = self._counter("pids.current")
        self._periods = _Text(self._whole("cpu.stat", b"nr_periods "), parse=_throttling)
        self._pressures = [
            _Text(self._whole(f"{name}.pressure", b"some "), parse=counters.pressure)
            for name in ("cpu", "memory", "io")
        ]
        self._block = _Text(self._whole("io.stat"), parse=counters.block_v2)
        if self._block.descriptors == (-1,):
            names = ("blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_serviced_recursive")
            # Since Linux 6.10 v1 counts only where a limit was set: no line at all means that nobody counted.
            self._block = _Text(*map(self._whole, names), parse=_counted)
        self._network = _Text(self._whole(f"/proc/{pid}/net/dev") if pid else -1, parse=counters.network)
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
            periods, throttled, seconds = self._periods.read() or (None, None, None)
            cpu, memory, io = (text.read() for text in self._pressures)
            used = _number(self._cpu) if self._cpu else 0
            return Usage(
                time=time.time(),
                cpu_seconds=used * self._cpu_unit,
                memory=self._held(used),
                processes=_number(self._pids) if self._pids else len(groups.processes(self._directories)),
                source=self._source,
                cpu_limit=self._cpu_limit,
                memory_limit=self._memory_limit,
                memory_peak=_number(self._peak) if self._peak else None,
                processes_limit=self._processes_limit,
                throttled_seconds=seconds,
                oom_kills=_number(self._killed) if self._killed else None,
                periods=periods,
                throttled_periods=throttled,
                cpu_pressure=cpu,
                memory_pressure=memory,
                io_pressure=io,
                block=self._block.read(),
                network=self._network.read(),
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

    def _whole(self, file: str, begins: bytes = b"") -> int:
        """The first of our files of that name (or the one with that path) that can be read, kept open; -1 where there is none."""
        for directory in ("",) if file.startswith("/") else self._directories:
            try:
                descriptor = os.open(f"{directory}/{file}" if directory else file, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
            try:  # where pressure is switched off, reading is EOPNOTSUPP
                if begins in os.pread(descriptor, _SIZE, 0):
                    self._open.append(descriptor)
                    return descriptor
            except OSError:
                pass
            os.close(descriptor)
        return -1

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

    def _held(self, used: int) -> int:
        if not self._memory:
            return processes.memory(groups.processes(self._directories))
        held = _number(self._memory)
        # The kernel takes longer for memory.stat than for all the others. Who did not run, and holds as much, has the same cache.
        if self._cache and (not self._cpu or (used, held) != self._seen):
            self._seen, self._cached = (used, held), _number(self._cache)
        return held - self._cached if self._cached < held else held

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


class _Text(Generic[_Read]):
    """What one or two files mean, None where they are not there; read as often as is asked, but parsed only where they changed."""

    __slots__ = ("_last", "_parse", "_texts", "descriptors")

    def __init__(self, *descriptors: int, parse: Callable[..., _Read | None]) -> None:
        self.descriptors = descriptors
        self._parse = parse
        self._texts: list[bytes] = []
        self._last: _Read | None = None

    def read(self) -> _Read | None:
        """What they mean now."""
        if min(self.descriptors) < 0:
            return None
        texts = [os.pread(descriptor, _SIZE, 0) for descriptor in self.descriptors]
        if texts != self._texts:
            self._texts, self._last = texts, self._parse(*texts)
        return self._last


def _counted(size: bytes, operations: bytes) -> tuple[BlockUse, ...] | None:
    return counters.block_v1(size, operations) or None


def _throttling(text: bytes) -> tuple[int, int, float]:
    """(periods, those in which it was held back, seconds for which it was) of a ``cpu.stat`` that has them; v1 counts ns, v2 µs."""
    words = text.split()
    counts = dict(zip(words[::2], words[1::2], strict=False))
    seconds = int(counts.get(b"throttled_time", 0)) * 1e-9 or int(counts.get(b"throttled_usec", 0)) * 1e-6
    return int(counts[b"nr_periods"]), int(counts.get(b"nr_throttled", 0)), seconds


def _number(counter: _Counter) -> int:
    descriptor, name = counter
    text = os.pread(descriptor, _SIZE, 0)
    if not name:
        return int(text)
    start = text.index(name) + len(name)
    return int(text[start : text.index(b"\n", start)])
