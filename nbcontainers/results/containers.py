"""Containers: what is on disk of one, how it is, and what happened to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ENDED_FOR = "ended because it "
"""How the error of a container begins that went beyond a limit which its shim holds: of time, or of output."""
Status = Literal["creating", "created", "running", "paused", "restarting", "exited", "dead"]
HealthStatus = Literal["starting", "healthy", "unhealthy"]
STREAMS = ("stdin", "stdout", "stderr")
"""The standard streams by their numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that happened to a container or image: ``kind`` says to which, ``action`` what, in Docker's words."""

    time: float
    kind: str
    action: str
    id: str
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessList:
    """The processes of a container: what stands in each column, and a row for each process. Numbers are this host's."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """How a container's health is found: the command, and times in seconds; ``retries`` failures in a row make it unhealthy."""

    test: tuple[str, ...]
    interval: float = 30.0
    timeout: float = 30.0
    retries: int = 3
    start_period: float = 0.0
    start_interval: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthResult:
    """What one check gave: 0 is healthy, -1 that it could not be run or took too long."""

    start: float
    end: float
    exit_code: int
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a container is, and its last results, the newest last."""

    status: HealthStatus
    failing_streak: int = 0
    log: tuple[HealthResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerState:
    """What is on disk of a container. Instants are 0 where they have not come; ``pid`` is 0 unless it runs.

    ``restart`` is the policy (``no``, ``on-failure``, ``always``, ``unless-stopped``) with how often at most (0: ever), and
    ``restarts`` how often that happened; ``stop_timeout`` is None for ten seconds. ``log_options`` says how many bytes
    a file of its log may have (0: any number), and how many files there are.

    ``user`` is the word of USER or ``--user``, looked up inside at each start; ``interactive`` keeps standard input open,
    until its first client's ends if that is among the streams that it was made to have a client for (``attached``); ``detached``
    says that nobody's end ends this run.
    ``tier`` says how well it is isolated, ``lacks`` what no container of its host has, ``not_enforced`` what was asked for it and is
    not enforced; ``error`` says why it could not start, or how it was ended, ``stopped`` that somebody ended it. ``ports`` are those
    that its last start published: address and port of this host, port of the container, protocol.
    """

    id: str
    name: str
    image: str
    image_id: str
    command: tuple[str, ...]
    status: Status
    created: float
    entrypoint: tuple[str, ...] = ()
    started: float = 0.0
    finished: float = 0.0
    pid: int = 0
    exit_code: int | None = None
    out_of_memory: bool = False
    error: str = ""
    stopped: bool = False
    tier: str = ""
    not_enforced: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    user: str = ""
    interactive: bool = False
    attached: tuple[str, ...] = STREAMS
    auto_remove: bool = False
    detached: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    ports: tuple[tuple[str, int, int, str], ...] = ()
    restart: tuple[str, int] = ("no", 0)
    restarts: int = 0
    stop_timeout: float | None = None
    log_options: tuple[int, int] = (0, 1)
    check: HealthCheck | None = None
    health: Health | None = None
