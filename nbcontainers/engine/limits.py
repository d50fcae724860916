"""docker's words for limits, read: memory, processors, processes, block devices, and what setrlimit(2) holds."""

from __future__ import annotations

import functools
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from ..errors import NBContainersError, NotFound
from ..linux.capabilities import bounding
from ..linux.limits import check, members
from ..oci.resources import DeviceWeight, Resources, Throttle, ThrottleKind
from ..oci.runtime import Rlimit
from ..runtime.launch import OUTPUT_LIMIT, TIME_LIMIT
from .options import CPU_PERIOD, MIN_MEMORY, RunOptions, size

_RLIMITS = "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
_THROTTLES: Mapping[str, ThrottleKind] = {
    "device_read_bps": "ReadBps",
    "device_write_bps": "WriteBps",
    "device_read_iops": "ReadIOPS",
    "device_write_iops": "WriteIOPS",
}
OF_HOST = ("cpuset_cpus", "cpuset_mems", "blkio_weight_device", *_THROTTLES)
"""The words of limits whose meaning depends on what this host has now."""
PLAIN = frozenset(
    "memory memory_swap memory_reservation memory_swappiness oom_kill_disable cpus cpu_shares cpu_quota cpu_period cpu_rt_runtime "
    "cpu_rt_period pids_limit blkio_weight".split()
)
"""The others."""
WHOLE = "nbcontainers.cpus"
"""The annotation that says that quota and period are those of ``--cpus``."""
UNLIMITED = (1 << 64) - 1  # what the specification writes for RLIM_INFINITY


def resources(options: RunOptions) -> Resources:
    """The limits that were asked for: NBContainersError where one can mean nothing, or two do not go together."""
    if any(map(options.get, OF_HOST)):
        return _check(read(options))
    return _checked(tuple((word, value) for word, value in options.items() if word in PLAIN and value is not None))


@functools.lru_cache(maxsize=64)
def _checked(plain: tuple[tuple[str, object], ...]) -> Resources:
    """The same for words that mean the same tomorrow, whatever becomes of this host: many containers have the same."""
    return _check(read(cast(RunOptions, dict(plain))))


def _check(found: Resources) -> Resources:
    check(found)
    return found


def read(options: RunOptions) -> Resources:
    """The same for what may be one half of a change: each word by itself."""
    memory = _memory(options.get("memory"))
    swap = options.get("memory_swap")
    reservation = options.get("memory_reservation")
    swappiness = options.get("memory_swappiness")
    if swappiness is not None and swappiness != -1 and not 0 <= swappiness <= 100:
        raise NBContainersError(f"memory swappiness of {swappiness}", hint="from 0 to 100, or -1 for the host's own")
    quota, period = _processors(options)
    pids = options.get("pids_limit")
    return Resources(
        memory=memory,
        memory_swap=_swap(swap, memory),
        memory_reservation=_memory(reservation, "memory reservation"),
        memory_swappiness=swappiness if swappiness is not None and swappiness >= 0 else None,
        oom_kill_disable=options.get("oom_kill_disable", False),
        cpu_shares=options.get("cpu_shares") or None,
        cpu_quota=quota,
        cpu_period=period,
        cpu_rt_runtime=options.get("cpu_rt_runtime") or None,
        cpu_rt_period=options.get("cpu_rt_period") or None,
        cpuset_cpus=_numbers(options.get("cpuset_cpus") or "", "--cpuset-cpus", "/sys/devices/system/cpu/online"),
        cpuset_mems=_numbers(options.get("cpuset_mems") or "", "--cpuset-mems", "/sys/devices/system/node/online"),
        pids=pids if pids is not None and pids > 0 else None,
        blkio_weight=_weight(options.get("blkio_weight") or 0) or None,
        blkio_weight_devices=tuple(
            DeviceWeight(major=major, minor=minor, weight=_weight(_count(value, word)))
            for word, major, minor, value in _devices(options.get("blkio_weight_device", ()))
        ),
        throttles=(
            *_throttles("device_read_bps", options.get("device_read_bps", ())),
            *_throttles("device_write_bps", options.get("device_write_bps", ())),
            *_throttles("device_read_iops", options.get("device_read_iops", ())),
            *_throttles("device_write_iops", options.get("device_write_iops", ())),
        ),
    )


def rlimits(words: Sequence[str]) -> tuple[Rlimit, ...]:
    """``nofile=1024:2048`` (soft and hard), or one number for both; -1 is no limit. The last word for a name holds.

    NBContainersError also where a hard limit is above this process's own, which only CAP_SYS_RESOURCE may raise.
    """
    import resource

    found: dict[str, Rlimit] = {}
    for word in words:
        match = re.fullmatch(r"([a-z]+)=(-?\d+)(?::(-?\d+))?", word)
        if not match or match[1] not in _RLIMITS:
            raise NBContainersError(
                f"not a ulimit: {word!r}", hint=f"write NAME=SOFT[:HARD] with one of {', '.join(_RLIMITS)}"
            )
        soft = int(match[2])
        hard = int(match[3]) if match[3] is not None else soft
        if hard >= 0 and not 0 <= soft <= hard:
            raise NBContainersError(
                f"ulimit {word!r}: the soft limit is above the hard one", hint="the second number is the larger"
            )
        name = f"RLIMIT_{match[1].upper()}"
        number = getattr(resource, name, None)
        if number is None:
            raise NBContainersError(f"ulimit {match[1]!r} is not known to this Python", hint="leave it out")
        own = resource.getrlimit(number)[1]
        is_more = own != resource.RLIM_INFINITY and (hard < 0 or hard > own)
        if is_more and (os.geteuid() or "CAP_SYS_RESOURCE" not in bounding()):
            raise NBContainersError(
                f"ulimit {word!r}: the hard limit of this process is {own}, and more cannot be given here",
                hint=f"ask for at most {own}, or start nbcontainers with a higher limit",
            )
        found[name] = Rlimit(type=name, soft=soft if soft >= 0 else UNLIMITED, hard=hard if hard >= 0 else UNLIMITED)
    return tuple(found.values())


def oom_score(value: int | None) -> int | None:
    """The ``oom_score_adj`` of the container's processes, None for this process's own: NBContainersError where it cannot be set."""
    if not value:
        return None
    if not -1000 <= value <= 1000:
        raise NBContainersError(f"an OOM score of {value}", hint="from -1000 (never killed) to 1000 (killed first)")
    with open("/proc/self/oom_score_adj") as file:
        own = int(file.read())
    if value < own and (os.geteuid() or "CAP_SYS_RESOURCE" not in bounding()):
        raise NBContainersError(
            f"an OOM score of {value}: this process has {own}, and only CAP_SYS_RESOURCE may go below it",
            hint=f"ask for {own} to 1000",
        )
    return value


def bounds(options: RunOptions) -> dict[str, str]:
    """What no resources say of limits, as annotations: seconds on the wall clock and bytes of output, and whether ``--cpus`` was."""
    timeout, output = options.get("timeout"), options.get("output_limit")
    if timeout is not None and not 0 < timeout < 1e9:
        raise NBContainersError(f"a timeout of {timeout:g} seconds", hint="more than 0; leave it out for none")
    found = {}
    if options.get("cpus"):
        found[WHOLE] = "true"
    if timeout is not None:
        found[TIME_LIMIT] = f"{timeout:g}"
    if output:
        found[OUTPUT_LIMIT] = str(size(output))
    return found


def _memory(value: int | str | None, what: str = "memory limit") -> int | None:
    limit = size(value) if value else 0
    if not limit:
        return None
    if limit < MIN_MEMORY:
        raise NBContainersError(f"a {what} of {limit} bytes is too small", hint="no program starts in less than 6m")
    return limit


def _swap(value: int | str | None, memory: int | None) -> int | None:
    """Memory and swap together: as much swap as memory unless something else is said, -1 for any amount."""
    if value in (None, "", 0, "0"):
        return memory * 2 if memory else None
    limit = -1 if value in (-1, "-1") else size(value)
    if memory is None:
        raise NBContainersError(
            "a limit on swap needs one on memory", hint="give --memory too; --memory-swap counts both together"
        )
    if 0 < limit < memory:
        raise NBContainersError(
            f"--memory-swap of {limit} bytes is less than the memory limit, {memory}",
            hint="it counts memory and swap together",
        )
    return limit


def _processors(options: RunOptions) -> tuple[int | None, int | None]:
    cpus, available = options.get("cpus"), os.cpu_count() or 1
    quota, period = options.get("cpu_quota") or None, options.get("cpu_period") or None
    if not cpus:
        return quota, period
    if quota or period:
        raise NBContainersError(
            "--cpus and --cpu-period or --cpu-quota", hint="--cpus is both of them: 1.5 is 150000 of each 100000 µs"
        )
    if not 0.01 <= cpus <= available:
        raise NBContainersError(f"{cpus:g} processors: this host has {available}", hint=f"from 0.01 to {available}")
    return round(cpus * CPU_PERIOD), CPU_PERIOD


def _numbers(word: str, flag: str, online: str) -> str:
    """A list such as ``0-2,4`` whose numbers this host has."""
    if not word:
        return ""
    try:
        wanted = members(word)
    except ValueError:
        raise NBContainersError(f"{flag} {word!r}", hint="write numbers and ranges: 0-2,4") from None
    try:
        with open(online) as file:
            known = members(file.read().strip())
    except OSError:
        known = {0}
    if missing := sorted(wanted - known):
        raise NBContainersError(
            f"{flag} {word}: this host has no number {missing[0]}", hint=f"it has {','.join(map(str, sorted(known)))}"
        )
    return word


def _weight(value: int) -> int:
    if value and not 10 <= value <= 1000:
        raise NBContainersError(f"a block io weight of {value}", hint="from 10 to 1000, or 0 for none")
    return value


def _throttles(option: str, words: Sequence[str]) -> Iterator[Throttle]:
    kind = _THROTTLES[option]
    for word, major, minor, value in _devices(words):
        rate = size(value) if kind.endswith("Bps") else _count(value, word)
        if rate <= 0:
            raise NBContainersError(f"a rate of {value!r} in {word!r}", hint="more than nothing")
        yield Throttle(kind=kind, major=major, minor=minor, rate=rate)


def _count(value: str, word: str) -> int:
    if not value.isascii() or not value.isdigit():
        raise NBContainersError(f"not a whole number: {value!r} in {word!r}", hint="write digits only")
    return int(value)


def _devices(words: Sequence[str]) -> Iterator[tuple[str, int, int, str]]:
    """(the word, major, minor, what stands behind the colon) of each ``/dev/sda:VALUE``."""
    for word in words:
        path, colon, value = word.rpartition(":")
        if not colon or not path.startswith("/dev/") or not value:
            raise NBContainersError(f"not a limit of a device: {word!r}", hint="write /dev/sda:VALUE")
        try:
            status = os.stat(path)
        except OSError as error:
            raise NotFound(f"device {path}: {(error.strerror or '').lower()}", hint="lsblk lists the disks") from error
        if not stat.S_ISBLK(status.st_mode):
            raise NBContainersError(f"{path} is no block device", hint="lsblk lists the disks")
        yield word, os.major(status.st_rdev), os.minor(status.st_rdev), value
