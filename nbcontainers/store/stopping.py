"""Work in a thread that another thread can stop: whatever makes it wait says how that wait is ended.

Python interrupts its main thread only. So whoever does work in further threads gives each a ``Stop`` to obey; a call that may
take long names, while it goes on, the function that ends it: kill that process, hang up that container.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")


class Stopped(BaseException):
    """This thread's work is not wanted any more. As KeyboardInterrupt it is no Exception: nothing handles it and goes on."""


class Stop:
    """Tells threads to stop, once and for all of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: list[Callable[[], object]] = []
        self.is_set = False

    def set(self) -> None:
        """End what the threads wait for; whatever they would wait for later does not begin."""
        with self._lock:
            self.is_set = True
            for end in self._ends:
                end()

    def check(self) -> None:
        """Stopped, if it is so."""
        if self.is_set:
            raise Stopped

    @contextlib.contextmanager
    def ending(self, end: Callable[[], object]) -> Iterator[None]:
        """What the block waits for is ended by ``end``, which is quick and is never called once the block is left."""
        with self._lock:
            self.check()
            self._ends.append(end)
        try:
            yield
        except Exception:
            self.check()  # what was ended for this reason did not fail
            raise
        finally:
            with self._lock:
                self._ends.remove(end)


class _Whole:
    """What the main thread does in the block, an interrupt comes after and not into, where its handler asks ``put_off``."""

    def __init__(self) -> None:
        self._depth = 0
        self._has_missed = False

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._depth += 1

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            self._depth -= 1
            if self._has_missed and not self._depth:
                self._has_missed = False
                signal.raise_signal(signal.SIGINT)

    def put_off(self) -> bool:
        """Whether the interrupt that has come is to come again, after the block."""
        self._has_missed = self._has_missed or self._depth > 0
        return self._depth > 0


whole = _Whole()
_obeyed: ContextVar[Stop | None] = ContextVar("obeyed", default=None)


@contextlib.contextmanager
def obeying(stop: Stop) -> Iterator[None]:
    """What this thread does in the block can be stopped."""
    token = _obeyed.set(stop)
    try:
        yield
    finally:
        _obeyed.reset(token)


def check() -> None:
    """Stopped, if this thread is to stop."""
    if (stop := _obeyed.get()) is not None:
        stop.check()


def ended_by(end: Callable[[], object]) -> contextlib.AbstractContextManager[None]:
    """See ``Stop.ending``; nothing where this thread obeys none."""
    stop = _obeyed.get()
    return contextlib.nullcontext() if stop is None else stop.ending(end)


def abandoning(work: Callable[[], T]) -> T:
    """Do what nothing can end, such as waiting for a server: a thread that is to stop leaves it alone, to end by itself.

    Without a Stop to obey it is a plain call.
    """
    stop = _obeyed.get()
    if stop is None:
        return work()
    results: list[T] = []
    errors: list[BaseException] = []
    over = threading.Event()

    def act() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)
        finally:
            over.set()

    threading.Thread(target=act, name="fetch", daemon=True).start()
    with stop.ending(over.set):
        over.wait()
    stop.check()
    if errors:
        raise errors.pop()  # a frame and its own error would keep each other
    return results[0]
