"""Usage of one cgroup, read from descriptors that stay open: a sample is a handful of pread(2), and no path is looked up.

Source: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst, cgroup-v1/cpuacct.rst, cgroup-v1/pids.rst.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Generic, TypeVar

from ..errors import NotFound
from ..results import BlockUse, Usage
from . import counters, groups
from .memory import used as memory_of

_UNLIMITED = 1 << 62  # v1 has no word for it: its largest number of pages, in bytes
_SIZE = 8192  # more than the longest of these files, memory.stat, has

_Value = TypeVar("_Value")
_Counts = tuple[int, int, int | None, int | None, tuple[int, int, float] | tuple[None, None, None]]
"""The cache, the processes, the peak of memory, the kills for want of it, and what ``_throttling`` tells."""


class Meter:
    """Measures the group that has these directories, one per hierarchy; close it, or use it in a ``with``.

    Limits are read once: whoever changes them makes another meter. With the ``pid`` of one of its processes the interfaces of
    that one's network are counted, too.
    """

    def __init__(self, directories: Sequence[str], *, pid: int = 0) -> None:
        self._directories = tuple(directories)
        self._open: list[int] = []
        self._closed = False
        self._cpu, self._cpu_unit = self._number("cpuacct.usage"), 1e-9
        if not self._cpu:
            self._cpu, self._cpu_unit = self._number("cpu.stat", b"usage_usec "), 1e-6
        self._memory = self._number("memory.usage_in_bytes")
        if self._memory:
            self._source = "cgroup v1"
            self._cache = self._number("memory.stat", b"total_inactive_file ")
            self._peak = self._number("memory.max_usage_in_bytes")
            self._killed = self._number("memory.oom_control", b"oom_kill ")
        else:
            self._memory = self._number("memory.current")
            self._source = "cgroup v2" if self._memory else "process tree"
            self._cache = self._number("memory.stat", b"\ninactive_file ")
            self._peak = self._number("memory.peak")
            self._killed = self._number("memory.events", b"oom_kill ")
        self._pids = self._number("pids.current")
        self._periods = self._text(_throttling, "cpu.stat", begins=b"nr_periods ")
        self._seen = (-1, -1)
        self._counts: _Counts = (0, 0, None, None, (None, None, None))
        self._pressures = [
            self._text(counters.pressure, f"{name}.pressure", begins=b"some ") for name in ("cpu", "memory", "io")
        ]
        # Since Linux 6.10 v1 counts only where a limit was set: no line at all means that nobody counted.
        v1 = ("blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_serviced_recursive")
        self._block: _Text[tuple[BlockUse, ...] | None] | None
        self._block = self._text(counters.block_v2, "io.stat") or self._text(_counted, *v1)
        self._network = self._text(counters.network, f"/proc/{pid}/net/dev") if pid else None
        self._cpu_limit = self._processors()
        self._memory_limit = self._limit("memory.max", "memory.limit_in_bytes")
        self._processes_limit = self._limit("pids.max")
        every = (self._cpu, self._memory, *self._pressures, self._block, self._network)
        self._watched: list[_Text[Any]] = [text for text in every if text]
        self._last: tuple[list[bytes], Usage] | None = None  # their texts, and what those mean, where they tell it all

    def sample(self) -> Usage:
        """What the group uses now. NotFound where it has been removed.

        As in Docker ``memory`` leaves out the page cache that the kernel would give up first, and ``processes`` counts threads
        (the processes alone, where no cgroup counts them).
        """
        if self._closed:  # the numbers of its descriptors may be other files by now
            raise ValueError("the meter is closed")
        try:
            texts = [os.pread(watched.descriptor, _SIZE, 0) for watched in self._watched]
            if self._last and texts == self._last[0]:
                return Usage(time.time(), *self._last[1][1:])
            for watched, text in zip(self._watched, texts, strict=True):
                watched.take(text)
            usage = self._told()
        except OSError as error:  # ENODEV: the group behind the descriptor is gone
            raise NotFound(f"the cgroup {self._directories[0]} is gone") from error
        if self._cpu and self._memory:
            self._last = texts, usage
        return usage

    def _told(self) -> Usage:
        """What the texts mean that were taken last."""
        used = self._cpu.value if self._cpu else 0
        held = self._memory.value if self._memory else memory_of(groups.processes(self._directories))
        # Who did not run, and holds as much, has the same counts. They are read after what they are known by, so that what
        # happens meanwhile is seen by the next sample.
        if (used, held) != self._seen or not (self._cpu and self._memory):
            self._counts, self._seen = self._count(), (used, held)
        cached, running, peak, kills, (periods, throttled, seconds) = self._counts
        cpu, memory, io = self._pressures
        return Usage(
            time=time.time(),
            cpu_seconds=used * self._cpu_unit,
            memory=held - cached if cached < held else held,
            processes=running,
            source=self._source,
            cpu_limit=self._cpu_limit,
            memory_limit=self._memory_limit,
            memory_peak=peak,
            processes_limit=self._processes_limit,
            throttled_seconds=seconds,
            oom_kills=kills,
            periods=periods,
            throttled_periods=throttled,
            cpu_pressure=cpu.value if cpu else None,
            memory_pressure=memory.value if memory else None,
            io_pressure=io.value if io else None,
            block=self._block.value if self._block else None,
            network=self._network.value if self._network else None,
        )

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

    def _count(self) -> _Counts:
        """What changes only while the group runs: most of it is cheap, but the kernel takes longer for memory.stat than for all else."""
        return (
            self._cache.read() if self._cache else 0,
            self._pids.read() if self._pids else len(groups.processes(self._directories)),
            self._peak.read() if self._peak else None,
            self._killed.read() if self._killed else None,
            self._periods.read() if self._periods else (None, None, None),
        )

    def _number(self, file: str, name: bytes = b"") -> _Text[int] | None:
        """The number behind ``name`` (all of the text, where there is none) in the first of our files that has it; both trees of a
        hybrid have a cpu.stat.
        """
        return self._text(partial(_behind, name) if name else int, file, begins=name)

    def _text(self, parse: Callable[..., _Value], *files: str, begins: bytes = b"") -> _Text[_Value] | None:
        """What these files mean together, None unless there are all of them."""
        descriptors = [self._keep(file, begins) for file in files]
        return _Text(descriptors, parse) if min(descriptors) >= 0 else None

    def _keep(self, file: str, words: bytes) -> int:
        """The first of our files of that name (or the one with that path) that has the words, kept open; -1 where there is none."""
        for directory in ("",) if file.startswith("/") else self._directories:
            try:
                descriptor = os.open(f"{directory}/{file}" if directory else file, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
            try:  # where pressure is switched off, reading is EOPNOTSUPP
                if words in os.pread(descriptor, _SIZE, 0):
                    self._open.append(descriptor)
                    return descriptor
            except OSError:
                pass
            os.close(descriptor)
        return -1

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


class _Text(Generic[_Value]):
    """What files that are open mean together: ``value``, read and parsed again only where the first of them has changed."""

    __slots__ = ("_others", "_parse", "_text", "descriptor", "value")

    def __init__(self, descriptors: Sequence[int], parse: Callable[..., _Value]) -> None:
        self.descriptor, *self._others = descriptors
        self._parse = parse
        self._text: bytes | None = None
        self.value: _Value

    def take(self, text: bytes) -> _Value:
        """What they mean, if that is in the first of them."""
        if text != self._text:
            self.value = self._parse(text, *(os.pread(other, _SIZE, 0) for other in self._others))
            self._text = text
        return self.value

    def read(self) -> _Value:
        """What they mean now."""
        return self.take(os.pread(self.descriptor, _SIZE, 0))


def _behind(name: bytes, text: bytes) -> int:
    start = text.index(name) + len(name)
    return int(text[start : text.index(b"\n", start)])


def _counted(size: bytes, operations: bytes) -> tuple[BlockUse, ...] | None:
    return counters.block_v1(size, operations) or None


def _throttling(text: bytes) -> tuple[int, int, float]:
    """(periods, those in which it was held back, seconds for which it was) of a ``cpu.stat`` that has them; v1 counts ns, v2 µs."""
    words = text.split()
    counts = dict(zip(words[::2], words[1::2], strict=False))
    seconds = int(counts.get(b"throttled_time", 0)) * 1e-9 or int(counts.get(b"throttled_usec", 0)) * 1e-6
    return int(counts[b"nr_periods"]), int(counts.get(b"nr_throttled", 0)), seconds
