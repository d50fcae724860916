"""Containers' usage, sampled in a thread of the kernel while cells come and go."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ..cli.text import counted_by, holds_processor
from ..errors import Conflict, NBContainersError
from ..results import ContainerState, Usage
from . import payload

SPAN = 60.0  # seconds that are kept
Sample = tuple[float, float | None, int, int]
"""An instant, processors kept busy since the sample before (None for the first), bytes of memory, processes."""


class Meter(Protocol):
    """What samples one container."""

    def sample(self) -> Usage:
        """What it uses now."""
        ...

    def close(self) -> None:
        """Let go of the files that are read."""
        ...


class Source(Protocol):
    """A container, as far as watching it goes."""

    @property
    def id(self) -> str:
        """Its ID."""
        ...

    @property
    def state(self) -> ContainerState:
        """What is on disk of it: NotFound when it has been removed."""
        ...

    def meter(self) -> Meter:
        """A new meter: Conflict if it does not run."""
        ...


@dataclass(frozen=True, slots=True)
class Departed:
    """A container that ran and was removed before it could be looked at; its last state is all that there is."""

    state: ContainerState

    @property
    def id(self) -> str:
        """Its ID."""
        return self.state.id

    def meter(self) -> Meter:
        """Nothing is left to measure."""
        raise Conflict(f"container {self.state.name} is removed")


@dataclass(slots=True)
class Watched:
    """A container that is or was watched, with the samples of the last minute."""

    source: Source
    state: ContainerState
    meter: Meter | None = None
    usage: Usage | None = None
    busy: float | None = None
    most_processes: int = 0
    history: deque[Sample] = field(default_factory=lambda: deque(maxlen=int(SPAN * 10)))

    @property
    def ended(self) -> bool:
        """Whether it will not run on."""
        return self.state.status in ("exited", "dead")

    def depart(self, last: ContainerState) -> None:
        """Take in the last state of one that was removed."""
        if not self.ended or self.state.status == "dead":
            self.state = last if last.status in ("exited", "dead") else replace(last, status="dead", pid=0)

    def sample(self) -> Sample | None:
        """Take a sample; None when there is nothing to measure (any more)."""
        try:
            if self.meter is None:
                if self.state.status not in ("running", "paused"):
                    return None
                self.meter = self.source.meter()
            now = self.meter.sample()
        except (NBContainersError, OSError):
            self.close()  # it ended between two looks at it
            return None
        if self.usage is not None and now.time > self.usage.time:
            self.busy = max(0.0, (now.cpu_seconds - self.usage.cpu_seconds) / (now.time - self.usage.time))
        self.usage = now
        self.most_processes = max(self.most_processes, now.processes)
        taken = (now.time, self.busy, now.memory, now.processes)
        self.history.append(taken)
        return taken

    def look(self) -> None:
        """Read its state again."""
        try:
            self.state = self.source.state
        except NBContainersError:
            if not self.ended:
                # removed while it was watched: nobody knows its exit code
                self.state = replace(self.state, status="dead", pid=0, finished=time.time())

    def close(self) -> None:
        """Let the meter go."""
        if self.meter is not None:
            self.meter.close()
            self.meter = None

    def to_json(self) -> dict[str, Any]:
        """What the widget shows beside the lines."""
        usage = self.usage
        return {
            **payload.container(self.state),
            "source": counted_by(usage.source) if usage else "",
            "enforced": bool(usage and usage.source.startswith("cgroup")),
            "cpuLimit": usage.cpu_limit if usage else None,
            "cpuHeld": bool(usage and holds_processor(usage)),
            "memoryLimit": usage.memory_limit if usage else None,
            "memoryPeak": usage.memory_peak if usage else None,
            "processesLimit": usage.processes_limit if usage else None,
            "processesPeak": self.most_processes,
        }


class Watch:
    """Looks at containers several times a second until they have ended, or until it is stopped.

    ``find`` is called in the watch's own thread, about once a second: it gives the containers to watch. ``departed`` gives the
    last states of those that were removed, so that each is said to have ended as it did, however short it was there. With
    ``forever`` it goes on when none of them runs, and shows those that start. ``tell`` is called in the same thread, with the
    samples just taken by container ID, and a last time when ``live`` is not true any more; the watch itself has everything else.
    """

    def __init__(
        self,
        find: Callable[[], Sequence[Source]],
        tell: Callable[[Watch, dict[str, Sample]], None],
        *,
        departed: Callable[[], Sequence[ContainerState]] = tuple,
        rate: float = 4.0,
        forever: bool = False,
    ) -> None:
        self.watched: dict[str, Watched] = {}
        self.live = True
        self._find = find
        self._tell = tell
        self._departed = departed
        self._began = time.time()
        self._pause = 1 / rate
        self._forever = forever
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nbcontainers-watch", daemon=True)

    @property
    def seen(self) -> tuple[Watched, ...]:
        """What is or was watched, in the order of its coming."""
        return tuple(self.watched.values())

    def glance(self) -> None:
        """Look once and take a sample of each, in the caller's thread and before ``start``."""
        self._look()
        for one in self.seen:
            one.sample()

    def start(self) -> None:
        """Go on in a thread of the watch's own."""
        self._thread.start()

    def stop(self, *, wait: float = 2.0) -> None:
        """End it, and wait until it has ended."""
        self._stop.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(wait)

    def _run(self) -> None:
        looked = time.monotonic()
        try:
            while not self._stop.wait(self._pause):
                samples = {key: taken for key, one in self.watched.items() if (taken := one.sample()) is not None}
                idle = any(one.meter is None and not one.ended for one in self.seen)
                if idle or time.monotonic() - looked >= 1:
                    looked = time.monotonic()
                    self._look()
                if not self._forever and all(one.ended for one in self.seen):
                    break
                self._tell(self, samples)
        finally:
            self.live = False
            for one in self.seen:
                one.close()
            self._tell(self, {})

    def _look(self) -> None:
        try:
            found = self._find()
        except (NBContainersError, OSError):
            found = ()  # the store is gone or locked for a moment: those that are known stay
        for source in found:
            if source.id not in self.watched:
                try:
                    self.watched[source.id] = Watched(source, source.state)
                except NBContainersError:
                    continue  # removed since it was found
        for one in self.seen:
            if not one.ended:
                one.look()
        self._learn()
        if self._forever and len(self.watched) > 12:
            # of those that have ended only the latest stay in sight
            over = sorted((one.state.finished, key) for key, one in self.watched.items() if one.ended)
            for _, key in over[: len(self.watched) - 12]:
                del self.watched[key]

    def _learn(self) -> None:
        """How those ended that were removed; also of those that came and went between two looks."""
        for last in self._departed():
            if last.id in self.watched:
                self.watched[last.id].depart(last)
            elif self._forever and last.started >= self._began:
                self.watched[last.id] = Watched(Departed(last), last)
