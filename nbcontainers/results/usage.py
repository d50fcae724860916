"""What a container uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """How much was waited for a resource: percent of the last ten seconds in which some, or all, tasks waited, and for how long in all.

    Source: Documentation/accounting/psi.rst.
    """

    some: float
    full: float
    some_seconds: float
    full_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockUse:
    """Bytes and operations of one block device, by its number (``254:0``)."""

    device: str
    read: int
    written: int
    reads: int
    writes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkUse:
    """Bytes and packets of one network interface, as the container sees them."""

    interface: str
    received: int
    sent: int
    packets_received: int
    packets_sent: int
    dropped: int = 0


class Usage(NamedTuple):
    """One sample of what a container uses; a limit that is not set is None, a count that the host cannot give is None.

    ``cpu_seconds`` adds up over all processors since the start; ``source`` says who counted: ``cgroup v1``, ``cgroup v2`` or
    ``process tree`` (where no cgroup could be made, so the limits are watched, not enforced by the kernel). Of ``periods`` in which
    it wanted processor time it was ``throttled_periods`` times held back; ``network`` is None where it shares the host's.

    A tuple, for a meter makes a thousand of them in a second: a frozen dataclass takes three to four times as long to make.
    """

    time: float
    cpu_seconds: float
    memory: int
    processes: int
    source: str
    cpu_limit: float | None = None
    memory_limit: int | None = None
    memory_peak: int | None = None
    processes_limit: int | None = None
    throttled_seconds: float | None = None
    periods: int | None = None
    throttled_periods: int | None = None
    cpu_pressure: Pressure | None = None
    memory_pressure: Pressure | None = None
    io_pressure: Pressure | None = None
    block: tuple[BlockUse, ...] | None = None
    network: tuple[NetworkUse, ...] | None = None
    oom_kills: int | None = None
