"""Steps that are made at the same time, as one loop in the caller's thread has them.

A step is a generator: what it does between two ``yield`` happens in the caller's thread, one step at a time; work that it
yields is done in a thread beside that of other steps, and the answer sent in again. Once it yields ``MADE`` those that need it
go on, beside what it still has to do. So a build that finds all in the cache
starts no thread, and the events of all of them arrive in the caller's thread.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any, Literal

from ..events import Event, Observer
from ..store import stopping
from ..store.stopping import Stop
from . import interrupts

Work = Callable[[Observer], Any]
# A step yields work, the number of another step whose very end it waits for, or MADE.
Task = Generator["Work | int | Literal['made']", Any, None]
MADE: Literal["made"] = "made"

_ROOM = 256  # events that wait for the caller's thread: who tells more waits
_AT_LEAST = 4  # commands wait for networks and disks, too
_MOMENT = 0.05


def most() -> int:
    """How many steps are worth making at once here."""
    return max(_AT_LEAST, len(os.sched_getaffinity(0)))


class Jobs:
    """The steps of a build on their way. ``failed`` is the one whose error ended them, if one did."""

    def __init__(self, begin: Callable[[int], Task], needs: Sequence[Sequence[int]], on_event: Observer) -> None:
        """``begin`` makes a step's generator, once all are done that it ``needs``."""
        self.failed: int | None = None
        self._begin = begin
        self._on_event = on_event
        self._stop = Stop()
        self._missing = [len(set(inputs)) for inputs in needs]
        self._users: list[list[int]] = [[] for _ in needs]
        for index, inputs in enumerate(needs):
            for one in set(inputs):
                self._users[one].append(index)
        self._ready = [index for index, count in enumerate(self._missing) if not count]
        self._ended: set[int] = set()
        self._tasks: dict[int, Task] = {}
        self._waiting: dict[int, list[int]] = {}
        self._due: deque[tuple[int, Work]] = deque()  # work of steps that have begun, for which there was no room
        self._threads: dict[int, threading.Thread] = {}
        self._said: queue.Queue[Event | _Answer] = queue.Queue(_ROOM)

    def run(self) -> None:
        """Make all steps. The first error or interrupt stops the others; no thread is left then."""
        room = most()
        try:
            while self._ready or self._due or self._threads:
                interrupts.check()
                while self._due and len(self._threads) < room:
                    self._start(*self._due.popleft())
                if self._ready and len(self._threads) < room:
                    index = heapq.heappop(self._ready)
                    self._tasks[index] = self._begin(index)
                    self._go_on(index, None)
                    continue
                try:
                    said = self._said.get(timeout=_MOMENT)
                except queue.Empty:
                    continue
                if isinstance(said, _Answer):
                    self._threads.pop(said.index).join()
                    self._go_on(said.index, said)
                else:
                    self._on_event(said)
        finally:
            self._end()

    def again(self, index: int, needs: Sequence[int]) -> None:
        """Begin a step that has ended once more, once all have ended that it needs now."""
        self._ended.remove(index)
        missing = set(needs) - self._ended
        self._missing[index] = len(missing)
        for one in missing:
            self._users[one].append(index)
        if not missing:
            heapq.heappush(self._ready, index)

    def _go_on(self, index: int, answer: _Answer | None) -> None:
        task = self._tasks[index]
        try:
            wish = task.send(answer.taken() if answer is not None else None)
        except StopIteration:
            self._finish(index)
        except Exception:
            self.failed = index
            raise
        else:
            if wish == MADE:
                self._release(index)
                self._go_on(index, None)
            elif isinstance(wish, int):
                self._waiting.setdefault(wish, []).append(index)
            else:
                self._due.append((index, wish))

    def _finish(self, index: int) -> None:
        del self._tasks[index]
        self._release(index)
        self._ended.add(index)
        for other in self._waiting.pop(index, ()):
            self._go_on(other, None)

    def _release(self, index: int) -> None:
        """Let those go on that need a step; they are told once."""
        for user in self._users[index]:
            self._missing[user] -= 1
            if not self._missing[user]:
                heapq.heappush(self._ready, user)
        self._users[index] = []

    def _start(self, index: int, work: Work) -> None:
        self._threads[index] = threading.Thread(target=self._act, args=(index, work), name=f"step {index}", daemon=True)
        self._threads[index].start()

    def _act(self, index: int, work: Work) -> None:
        def tell(event: Event) -> None:
            self._stop.check()
            self._said.put(event)

        answer = _Answer(index)
        try:
            with stopping.obeying(self._stop):
                stopping.check()
                answer.value = work(tell)
        except BaseException as error:
            answer.error = error
        self._said.put(answer)

    def _end(self) -> None:
        """Stop what still goes on, and wait for it; what it says now is for nobody."""
        self._stop.set()
        for thread in self._threads.values():
            while thread.is_alive():
                with contextlib.suppress(queue.Empty):
                    self._said.get(timeout=_MOMENT)


class _Answer:
    """What became of a step's work."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.value: Any = None
        self.error: BaseException | None = None

    def taken(self) -> Any:
        """The value, or the error raised."""
        if self.error is not None:
            error, self.error = self.error, None
            try:
                raise error
            finally:
                del error  # a frame and its own error would keep each other
        return self.value
