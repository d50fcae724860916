"""What the kernel is told to hold a group of processes to its limits: files of a cgroup and what is written into them.

Source: Documentation/admin-guide/cgroup-v1/ and cgroup-v2.rst; OCI runtime specification, "Control groups".
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from ..errors import NBContainersError
from ..oci.resources import DeviceRule, Resources, ThrottleKind

Write = tuple[str, str]
"""A file below the group's directory, and its new content."""

SMALLEST_MEMORY = 6 << 20
"""Docker's least memory limit: below it not even a shell starts, and the first the user sees would be a kill."""

DEVICES: tuple[Write, ...] = (
    ("devices.deny", "a"),
    # mknod of any device is let through, as in Docker: making a node is harmless, opening it is what counts.
    *(
        ("devices.allow", rule)
        for rule in (
            "c *:* m",
            "b *:* m",
            "c 1:3 rwm",  # null
            "c 1:5 rwm",  # zero
            "c 1:7 rwm",  # full
            "c 1:8 rwm",  # random
            "c 1:9 rwm",  # urandom
            "c 5:0 rwm",  # tty
            "c 5:1 rwm",  # console
            "c 5:2 rwm",  # ptmx
            "c 136:* rwm",  # pts
        )
    ),
)
"""Docker's device rules for cgroup v1: everything is denied, then what each container has is let in."""


def device_rules(limits: Resources) -> Iterator[DeviceRule]:
    """Docker's device rules and those of a container after them, as they are taken one after another."""
    for file, text in DEVICES:
        kind, _, rest = text.partition(" ")
        numbers, _, access = rest.partition(" ")
        major, minor = (int(word) if word.isdigit() else None for word in (numbers or "*:*").split(":"))
        allow = file == "devices.allow"
        yield DeviceRule(allow=allow, type=kind, major=major, minor=minor, access=access or "rwm")
    yield from limits.devices


def check(limits: Resources) -> None:
    """NBContainersError where a limit cannot be: smaller than a container can start in, or in conflict with another one."""
    memory = limits.memory or 0
    if 0 < memory < SMALLEST_MEMORY:
        raise _refused(f"a memory limit of {memory} bytes", f"the least is {SMALLEST_MEMORY} (6 MiB)")
    swap = limits.memory_swap or 0
    if swap > 0 and not memory > 0:
        raise _refused(f"a limit of {swap} bytes on memory and swap together", "it needs a memory limit too")
    if 0 < swap < memory:
        raise _refused(
            f"a limit of {swap} bytes on memory and swap together", f"it is less than the memory limit, {memory}"
        )
    if 0 < memory < (limits.memory_reservation or 0):
        raise _refused(
            f"a memory reservation of {limits.memory_reservation} bytes", f"it is more than the limit, {memory}"
        )
    period = limits.cpu_period or 0
    if period and not 1_000 <= period <= 1_000_000:
        raise _refused(f"a cpu period of {period} µs", "it is from 1000 to 1000000 (a second)")
    if 0 < (limits.cpu_quota or 0) < 1_000:
        raise _refused(f"a cpu quota of {limits.cpu_quota} µs", "the least is 1000 (0.01 of a processor)")
    if limits.cpu_shares and not 2 <= limits.cpu_shares <= 262144:  # the kernel would take less, and say nothing
        raise _refused(f"cpu shares of {limits.cpu_shares}", "they are from 2 to 262144, and 1024 is what others have")
    if not 0 <= (limits.memory_swappiness or 0) <= 100:
        raise _refused(f"a memory swappiness of {limits.memory_swappiness}", "it is from 0 to 100")
    if limits.oom_kill_disable and not memory > 0:
        # Docker warns only; here a whole host would hang.
        raise _refused("a container without the out-of-memory killer", "it needs a memory limit")
    if (limits.cpu_rt_runtime or 0) > (limits.cpu_rt_period or 1_000_000):
        raise _refused(f"a real-time runtime of {limits.cpu_rt_runtime} µs", "it is more than its period")
    for share in (limits.blkio_weight, *(entry.weight for entry in limits.blkio_weight_devices)):
        if share and not 10 <= share <= 1000:
            raise _refused(f"a block io weight of {share}", "it is from 10 to 1000")


def _refused(what: str, why: str) -> NBContainersError:
    return NBContainersError(f"{what} cannot be set: {why}")


def asked(limits: Resources) -> frozenset[str]:
    """The controllers (by their v2 names) that must be there for these limits to hold."""
    wanted = {
        "memory": limits.memory or limits.memory_reservation or limits.memory_swap,
        "pids": limits.pids,
        "cpu": limits.cpu_quota or limits.cpu_shares or limits.cpu_period or limits.cpu_rt_runtime,
        "cpuset": limits.cpuset_cpus or limits.cpuset_mems,
        "io": limits.blkio_weight or limits.blkio_weight_devices or limits.throttles,
        "devices": limits.devices,
    }
    wanted["memory"] = wanted["memory"] or limits.oom_kill_disable or limits.memory_swappiness is not None
    return frozenset(controller for controller, value in wanted.items() if value)


def members(words: str) -> set[int]:
    """The numbers of a list such as ``0-2,4``: ValueError where it is none. Source: cpuset(7), "List format"."""
    found: set[int] = set()
    for part in words.split(","):
        first, dash, last = part.partition("-")
        begin, end = int(first), int(last if dash else first)
        if not 0 <= begin <= end < 1 << 16:
            raise ValueError(words)
        found.update(range(begin, end + 1))
    return found


def weights_count(disks: str = "/sys/block", cost: str = "/sys/fs/cgroup/io.cost.qos") -> bool:
    """Whether anything heeds the weights of block devices: the scheduler bfq of a disk, or the cost model of cgroup v2.

    The files of the weights are there all the same. Source: Documentation/block/bfq-iosched.rst; cgroup-v2.rst, "io.cost.qos".
    """
    try:
        names = os.listdir(disks)
    except OSError:
        names = []
    return any("[bfq]" in _text(f"{disks}/{name}/queue/scheduler") for name in names) or "enable=1" in _text(cost)


def _text(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def beside_memory(limits: Resources) -> Iterator[str]:
    """What each wish about memory is called that is none for an upper limit: nothing but a cgroup can keep it."""
    if limits.memory_reservation:
        yield "a memory reservation"
    unasked = 2 * (limits.memory or 0)  # what a limit of memory alone brings
    if (limits.memory_swap or 0) > 0 and limits.memory_swap != unasked:
        yield "a limit of memory and swap together"
    yield from (called for controller, called in only_v1(limits) if controller == "memory")


def only_v1(limits: Resources) -> Iterator[tuple[str, str]]:
    """(controller, what it is called) of each limit that cgroup v2 has no file for."""
    if limits.memory_swappiness is not None:
        yield "memory", "memory swappiness"
    if limits.oom_kill_disable:
        yield "memory", "keeping the out-of-memory killer away"
    if limits.cpu_rt_runtime or limits.cpu_rt_period:
        yield "cpu", "real-time processor time"


def _swap(limits: Resources) -> int | None:
    """Memory and swap together, -1 for no limit, None where nothing is to be written; as Docker, as much swap as memory."""
    if not (limits.memory or 0) > 0:
        return None
    return limits.memory_swap or 2 * (limits.memory or 0)


def v1(controller: str, limits: Resources) -> Iterator[Write]:
    """The writes for one controller of cgroup v1, in the order in which the kernel takes them (cpuset's are the group's own)."""
    match controller:
        case "memory":
            yield from _v1_memory(limits)
        case "cpu":
            if limits.cpu_shares:
                yield "cpu.shares", str(limits.cpu_shares)
            if limits.cpu_period:  # before the quota: what is refused is the ratio of the two
                yield "cpu.cfs_period_us", str(limits.cpu_period)
            if limits.cpu_quota:
                yield "cpu.cfs_quota_us", str(limits.cpu_quota)
            if limits.cpu_rt_period:
                yield "cpu.rt_period_us", str(limits.cpu_rt_period)
            if limits.cpu_rt_runtime:
                yield "cpu.rt_runtime_us", str(limits.cpu_rt_runtime)
        case "io":
            if limits.blkio_weight:
                yield "blkio.bfq.weight", str(limits.blkio_weight)
            # Without that scheduler the kernel refuses them (and takes the other one all the same).
            for share in limits.blkio_weight_devices if weights_count() else ():
                yield "blkio.bfq.weight_device", f"{share.major}:{share.minor} {share.weight}"
            for bound in limits.throttles:
                yield _V1_THROTTLE[bound.kind], f"{bound.major}:{bound.minor} {bound.rate}"
        case "devices":
            yield from DEVICES
            for rule in limits.devices:
                yield f"devices.{'allow' if rule.allow else 'deny'}", device(rule)
        case "pids" if limits.pids:
            yield "pids.max", _or_max(limits.pids)


def _v1_memory(limits: Resources) -> Iterator[Write]:
    if limits.memory:
        yield "memory.limit_in_bytes", str(limits.memory)
    swap = _swap(limits)
    if swap is not None:  # after the limit: it may never be less than that
        yield "memory.memsw.limit_in_bytes", str(swap)
    if limits.memory_reservation:
        yield "memory.soft_limit_in_bytes", str(limits.memory_reservation)
    if limits.memory_swappiness is not None:
        yield "memory.swappiness", str(limits.memory_swappiness)
    if limits.oom_kill_disable:
        yield "memory.oom_control", "1"


def v2(controller: str, limits: Resources) -> Iterator[Write]:
    """The writes for one controller of cgroup v2."""
    match controller:
        case "memory":
            if limits.memory:
                yield "memory.max", _or_max(limits.memory)
            swap = _swap(limits)
            if swap is not None:  # v2 counts swap alone
                yield "memory.swap.max", "max" if swap < 0 else str(swap - (limits.memory or 0))
            if limits.memory_reservation:
                yield "memory.low", _or_max(limits.memory_reservation)
        case "cpu":
            if limits.cpu_shares:
                yield "cpu.weight", str(weight(limits.cpu_shares))
            if limits.cpu_quota or limits.cpu_period:
                yield "cpu.max", f"{_or_max(limits.cpu_quota or -1)} {limits.cpu_period or 100_000}"
        case "pids" if limits.pids:
            yield "pids.max", _or_max(limits.pids)
        case "cpuset":
            if limits.cpuset_cpus:
                yield "cpuset.cpus", limits.cpuset_cpus
            if limits.cpuset_mems:
                yield "cpuset.mems", limits.cpuset_mems
        case "io":
            if limits.blkio_weight:
                yield "io.weight", f"default {_io_weight(limits.blkio_weight)}"
            for share in limits.blkio_weight_devices:
                yield "io.weight", f"{share.major}:{share.minor} {_io_weight(share.weight)}"
            for bound in limits.throttles:
                yield "io.max", f"{bound.major}:{bound.minor} {_V2_THROTTLE[bound.kind]}={bound.rate}"


_V1_THROTTLE: Mapping[ThrottleKind, str] = {
    "ReadBps": "blkio.throttle.read_bps_device",
    "WriteBps": "blkio.throttle.write_bps_device",
    "ReadIOPS": "blkio.throttle.read_iops_device",
    "WriteIOPS": "blkio.throttle.write_iops_device",
}
_V2_THROTTLE: Mapping[ThrottleKind, str] = {
    "ReadBps": "rbps",
    "WriteBps": "wbps",
    "ReadIOPS": "riops",
    "WriteIOPS": "wiops",
}


def device(rule: DeviceRule) -> str:
    """A device rule as cgroup v1 writes it: ``c 10:200 rwm``, and ``a`` for everything. Source: cgroup-v1/devices.rst."""
    if rule.type == "a" and rule.major is None and rule.minor is None and set(rule.access) == set("rwm"):
        return "a"
    numbers = ("*" if number is None else str(number) for number in (rule.major, rule.minor))
    return f"{rule.type} {':'.join(numbers)} {rule.access}"


def _io_weight(share: int) -> int:
    """The v2 weight (1 to 10000) that stands for a blkio weight (10 to 1000), by the line that runc draws."""
    return 1 + (share - 10) * 9_999 // 990


def weight(shares: int) -> int:
    """The v2 weight (1 to 10000) that stands for v1 shares (2 to 262144), by the line that systemd and runc draw."""
    return 1 + (min(max(shares, 2), 262_144) - 2) * 9_999 // 262_142


def _or_max(value: int) -> str:
    return "max" if value < 0 else str(value)
