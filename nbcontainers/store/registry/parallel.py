"""Several blobs on their way at once, told of in the thread that waits for them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from ...events import Event, Observer
from ...oci.descriptor import Descriptor, Digest
from .connections import Connections, Stopped

Tell = Callable[[Event], object]
Move = Callable[[Descriptor, Tell], None]
_PATIENCE = 20.0  # seconds for threads to see that they were stopped


class Transfers:
    """Moves blobs by ``move``, ``width`` at a time in the order given; used as a context manager.

    Left by an error (KeyboardInterrupt too), it cuts the connections and waits for its threads. ``on_event`` is called only by who
    waits.
    """

    def __init__(
        self, blobs: Sequence[Descriptor], move: Move, *, width: int, connections: Connections, on_event: Observer
    ) -> None:
        self._move = move
        self._connections = connections
        self._on_event = on_event
        self._waiting: queue.SimpleQueue[Descriptor] = queue.SimpleQueue()
        self._told: queue.SimpleQueue[Event | tuple[Digest, BaseException | None]] = queue.SimpleQueue()
        self._done: set[Digest] = set()
        for blob in blobs:
            self._waiting.put(blob)
        self._threads = [
            threading.Thread(target=self._run, name=f"transfer-{number}", daemon=True)
            for number in range(min(width, len(blobs)))
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._connections.cut()
        for thread in self._threads:
            thread.join(_PATIENCE)

    def _run(self) -> None:
        while True:
            try:
                self._connections.check()
                blob = self._waiting.get_nowait()
            except (queue.Empty, Stopped):
                return
            try:
                self._move(blob, self._told.put)
            except BaseException as failure:  # whatever it is, who waits is the one to hear of it
                self._told.put((blob.digest, failure))
                return
            self._told.put((blob.digest, None))

    def wait(self, digest: Digest) -> None:
        """Return when a blob has arrived; tell what happens meanwhile, and raise what went wrong with any."""
        while digest not in self._done:
            self._take(self._told.get())

    def drain(self) -> None:
        """Tell what has happened by now."""
        while True:
            try:
                self._take(self._told.get_nowait())
            except queue.Empty:
                return

    def _take(self, item: Event | tuple[Digest, BaseException | None]) -> None:
        if not isinstance(item, tuple):
            self._on_event(item)
            return
        digest, failure = item
        if failure is not None:
            raise failure
        self._done.add(digest)
