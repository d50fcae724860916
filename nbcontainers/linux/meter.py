"""Usage of one cgroup, read from descriptors that stay open: a sample is a handful of pread(2), and no path is looked up.

Source: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst, cgroup-v1/cpuacct.rst, cgroup-v1/pids.rst.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from types import TracebackType

from ..errors import NotFound
from ..results import Usage
from . import groups, processes

_SIZE = 16384  # more than the longest of these files, memory.stat, has
_UNLIMITED = 1 << 62  # v1 has no word for it: its largest number of pages, in bytes


class Meter:
    """Measures the group that has these directories, one per hierarchy; close it, or use it in a ``with``.

    Limits are read once: whoever changes them makes another meter.
    """

    def __init__(self, directories: Sequence[str]) -> None:
        self._files: dict[str, int] = {}
        self._directories = tuple(directories)
        unified = next((path for path in directories if os.path.exists(f"{path}/cgroup.controllers")), "")
        if unified:
            self._keep("unified", unified, "cpu.stat memory.current memory.stat memory.peak memory.events pids.current")
        for directory in directories:
            if directory != unified:
                self._keep(
                    "v1",
                    directory,
                    "cpuacct.usage cpu.stat memory.usage_in_bytes memory.stat memory.max_usage_in_bytes "
                    "memory.oom_control pids.current",
                )
        self._cpu_limit = self._processors(unified)
        self._memory_limit = self._limit("memory.max", "memory.limit_in_bytes")
        self._processes_limit = self._limit("pids.max")
        if "memory.usage_in_bytes" in self._files:
            self._source = "cgroup v1"
        elif "memory.current" in self._files:
            self._source = "cgroup v2"
        else:
            self._source = "process tree"

    def sample(self) -> Usage:
        """What the group uses now. NotFound where it has been removed.

        As in Docker ``memory`` leaves out the page cache that the kernel would give up first, and ``processes`` counts threads.
        """
        try:
            throttled, cpu = self._cpu()
            return Usage(
                time=time.time(),
                cpu_seconds=cpu,
                memory=self._memory(),
                processes=self._processes(),
                source=self._source,
                cpu_limit=self._cpu_limit,
                memory_limit=self._memory_limit,
                memory_peak=self._number("memory.peak", "memory.max_usage_in_bytes"),
                processes_limit=self._processes_limit,
                throttled_seconds=throttled,
                oom_kills=self._oom_kills(),
            )
        except OSError as error:  # ENODEV: the group behind the descriptor is gone
            raise NotFound(f"the cgroup {self._directories[0]} is gone") from error

    def close(self) -> None:
        """Close every descriptor; it can be called twice."""
        while self._files:
            os.close(self._files.popitem()[1])

    def __enter__(self) -> Meter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _keep(self, tree: str, directory: str, names: str) -> None:
        for name in names.split():
            # cpu.stat is in both trees of a hybrid: the v2 one counts time, the v1 one only what was throttled.
            key = "v1 cpu.stat" if name == "cpu.stat" and tree == "v1" else name
            if key in self._files:
                continue
            with contextlib.suppress(OSError):
                self._files[key] = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_CLOEXEC)

    def _text(self, name: str) -> bytes:
        return os.pread(self._files[name], _SIZE, 0)

    def _number(self, *names: str) -> int | None:
        for name in names:
            if name in self._files:
                return int(self._text(name))
        return None

    def _cpu(self) -> tuple[float | None, float]:
        throttled: float | None = None
        if "v1 cpu.stat" in self._files:
            throttled = _value(self._text("v1 cpu.stat"), b"throttled_time") / 1e9
        if "cpu.stat" in self._files:
            text = self._text("cpu.stat")
            if throttled is None and b"throttled_usec" in text:
                throttled = _value(text, b"throttled_usec") / 1e6
            return throttled, _value(text, b"usage_usec") / 1e6
        return throttled, (self._number("cpuacct.usage") or 0) / 1e9

    def _memory(self) -> int:
        held = self._number("memory.usage_in_bytes", "memory.current")
        if held is None:
            return processes.memory(self._members())
        name = b"total_inactive_file" if self._source == "cgroup v1" else b"inactive_file"
        cache = _value(self._text("memory.stat"), name)
        return held - cache if cache < held else held

    def _processes(self) -> int:
        counted = self._number("pids.current")
        return len(self._members()) if counted is None else counted

    def _members(self) -> tuple[int, ...]:
        return groups.processes(self._directories)

    def _oom_kills(self) -> int | None:
        name = "memory.oom_control" if self._source == "cgroup v1" else "memory.events"
        return _value(self._text(name), b"oom_kill") if name in self._files else None

    def _limit(self, *names: str) -> int | None:
        for name in names:
            for directory in self._directories:
                text = groups.read(f"{directory}/{name}")
                if text.isdigit() and int(text) < _UNLIMITED:
                    return int(text)
        return None

    def _processors(self, unified: str) -> float | None:
        quota, _, period = groups.read(f"{unified}/cpu.max").partition(" ") if unified else ("", "", "")
        for directory in self._directories if not quota else ():
            quota = quota or groups.read(f"{directory}/cpu.cfs_quota_us")
            period = period or groups.read(f"{directory}/cpu.cfs_period_us")
        return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _value(text: bytes, name: bytes) -> int:
    """The number behind a name, in lines of ``name number``; 0 where there is none."""
    start = 0 if text.startswith(name + b" ") else text.find(b"\n" + name + b" ") + 1
    if start == 0 and not text.startswith(name + b" "):
        return 0
    start += len(name) + 1
    end = text.find(b"\n", start)
    return int(text[start : end if end >= 0 else None])
