"""Limits of a container as the OCI runtime specification writes them (``linux.resources``), frozen, no I/O.

Source: OCI runtime specification 1.2, config-linux, "Control groups".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

ThrottleKind = Literal["ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS"]
THROTTLES: tuple[ThrottleKind, ...] = ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """At most ``rate`` bytes or operations a second from or to one block device."""

    kind: ThrottleKind
    major: int
    minor: int
    rate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceWeight:
    """The share (10 to 1000) of one block device's time."""

    major: int
    minor: int
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRule:
    """Which nodes may be used how: ``type`` is a, b or c; a number that is None stands for all; ``access`` is of r, w and m."""

    allow: bool
    type: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Limits, None where there is none: bytes, processes, and processor time as ``cpu_quota`` of each ``cpu_period`` (µs).

    ``devices`` come after the defaults that every container has, and may take them back.
    """

    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    memory_swappiness: int | None = None
    oom_kill_disable: bool = False
    cpu_shares: int | None = None
    cpu_quota: int | None = None
    cpu_period: int | None = None
    cpu_rt_runtime: int | None = None
    cpu_rt_period: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids: int | None = None
    blkio_weight: int | None = None
    blkio_weight_devices: tuple[DeviceWeight, ...] = ()
    throttles: tuple[Throttle, ...] = ()
    devices: tuple[DeviceRule, ...] = ()

    @property
    def cpus(self) -> float | None:
        """The processors that the quota allows, or None."""
        if self.cpu_quota is None or self.cpu_quota <= 0:
            return None
        return self.cpu_quota / (self.cpu_period or 100_000)

    def to_json(self) -> dict[str, Any]:
        """The JSON object; what is not limited is not in it."""
        sections = {
            "devices": [_rule(rule) for rule in self.devices],
            "memory": _sparse(
                {
                    "limit": self.memory,
                    "swap": self.memory_swap,
                    "reservation": self.memory_reservation,
                    "swappiness": self.memory_swappiness,
                    "disableOOMKiller": self.oom_kill_disable or None,
                }
            ),
            "cpu": _sparse(
                {
                    "shares": self.cpu_shares,
                    "quota": self.cpu_quota,
                    "period": self.cpu_period,
                    "realtimeRuntime": self.cpu_rt_runtime,
                    "realtimePeriod": self.cpu_rt_period,
                    "cpus": self.cpuset_cpus or None,
                    "mems": self.cpuset_mems or None,
                }
            ),
            "pids": _sparse({"limit": self.pids}),
            "blockIO": _sparse(
                {
                    "weight": self.blkio_weight,
                    "weightDevice": [
                        {"major": entry.major, "minor": entry.minor, "weight": entry.weight}
                        for entry in self.blkio_weight_devices
                    ]
                    or None,
                    **{
                        f"throttle{kind}Device": [
                            {"major": entry.major, "minor": entry.minor, "rate": entry.rate}
                            for entry in self.throttles
                            if entry.kind == kind
                        ]
                        or None
                        for kind in THROTTLES
                    },
                }
            ),
        }
        return {key: value for key, value in sections.items() if value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Resources:
        """Read the JSON object: KeyError or TypeError where it is none."""
        memory, cpu, pids = data.get("memory") or {}, data.get("cpu") or {}, data.get("pids") or {}
        block = data.get("blockIO") or {}
        return cls(
            memory=memory.get("limit"),
            memory_swap=memory.get("swap"),
            memory_reservation=memory.get("reservation"),
            memory_swappiness=memory.get("swappiness"),
            oom_kill_disable=bool(memory.get("disableOOMKiller", False)),
            cpu_shares=cpu.get("shares"),
            cpu_quota=cpu.get("quota"),
            cpu_period=cpu.get("period"),
            cpu_rt_runtime=cpu.get("realtimeRuntime"),
            cpu_rt_period=cpu.get("realtimePeriod"),
            cpuset_cpus=cpu.get("cpus") or "",
            cpuset_mems=cpu.get("mems") or "",
            pids=pids.get("limit"),
            blkio_weight=block.get("weight"),
            blkio_weight_devices=tuple(
                DeviceWeight(major=entry["major"], minor=entry["minor"], weight=entry["weight"])
                for entry in block.get("weightDevice") or ()
            ),
            throttles=tuple(
                Throttle(kind=kind, major=entry["major"], minor=entry["minor"], rate=entry["rate"])
                for kind in THROTTLES
                for entry in block.get(f"throttle{kind}Device") or ()
            ),
            devices=tuple(
                DeviceRule(
                    allow=entry["allow"],
                    type=entry.get("type") or "a",
                    major=_number(entry.get("major")),
                    minor=_number(entry.get("minor")),
                    access=entry.get("access") or "rwm",
                )
                for entry in data.get("devices") or ()
            ),
        )


def _rule(rule: DeviceRule) -> dict[str, Any]:
    numbers = {"major": rule.major, "minor": rule.minor}
    return {"allow": rule.allow, "type": rule.type, **_sparse(numbers), "access": rule.access}


def _number(value: int | None) -> int | None:
    return None if value is None or value < 0 else value  # runc writes -1 for all


def _sparse(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
