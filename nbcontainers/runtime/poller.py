"""The one loop of a shim, and of a holder: what happens to descriptors, and when time is up.

Imports only what keeps the zygote small.
"""

from __future__ import annotations

import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL


def happens(descriptor: int, events: int, wait_s: float | None) -> bool:
    """Whether one of the events of poll(2) comes within a time, or the other end goes; None waits for that as long as it takes."""
    poll = select.poll()
    poll.register(descriptor, events)
    return bool(poll.poll(None if wait_s is None else wait_s * 1000))


class Poller:
    """select.poll with a function for each descriptor, and for each instant to wait for."""

    def __init__(self) -> None:
        self._poll = select.poll()
        # One each, in a list that lasts as long as the watch does.
        self._handlers: dict[int, list[Callable[[int], object]]] = {}
        self._timers: dict[object, tuple[float, Callable[[], object]]] = {}

    def watch(self, descriptor: int, events: int, handler: Callable[[int], object]) -> None:
        """Call the handler with what happened; again for a descriptor replaces events and handler."""
        self._handlers.setdefault(descriptor, [handler])[0] = handler
        self._poll.register(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """Watch it no more (and need not have)."""
        if self._handlers.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def after(self, seconds: float, act: Callable[[], object]) -> object:
        """Call ``act`` once, when the seconds are over; what is returned is for ``cancel``."""
        timer = object()
        self._timers[timer] = (time.monotonic() + seconds, act)
        return timer

    def cancel(self, timer: object) -> None:
        """Call it no more (and need not have)."""
        self._timers.pop(timer, None)

    def turn(self) -> None:
        """Wait once and call those concerned."""
        left = None
        if self._timers:
            left = max(0.0, min(when for when, _ in self._timers.values()) - time.monotonic()) * 1000
        happened = [(number, events, self._handlers.get(number)) for number, events in self._poll.poll(left)]
        for descriptor, events, watch in happened:
            # A handler that was called before may have closed it, and opened another file that has its number now.
            if watch is not None and self._handlers.get(descriptor) is watch:
                watch[0](events)
        if self._timers:
            now = time.monotonic()
            for timer, (when, act) in list(self._timers.items()):
                if when <= now and timer in self._timers:
                    del self._timers[timer]
                    act()
