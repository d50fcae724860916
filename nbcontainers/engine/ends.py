"""Descriptors for what a program writes to or reads from: a file's own, a pipe to or from anything else that takes or gives bytes."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from typing import IO, Any, BinaryIO

from ..errors import NBContainersError


@contextlib.contextmanager
def writable(stream: IO[bytes]) -> Iterator[int]:
    """A descriptor; what is written to it has come to the stream when this is left."""
    own = _descriptor(stream)
    if own is not None:
        stream.flush()
        yield own
        return
    failures: list[BaseException] = []
    end, out = os.pipe()

    def work() -> None:
        try:
            with open(end, "rb") as source:
                shutil.copyfileobj(source, stream)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work, name="stream")
    thread.start()
    try:
        yield out
    except BaseException:
        if not failures:  # else who wrote was told that nobody reads, and what follows is the reason
            raise
    finally:
        os.close(out)
        thread.join()
    if failures:
        raise failures[0]


@contextlib.contextmanager
def readable(stream: IO[bytes]) -> Iterator[int]:
    """A descriptor that gives what the stream gives."""
    own = _descriptor(stream)
    if own is not None:
        yield own
        return

    def work(out: int) -> None:
        with open(out, "wb", closefd=False) as target:
            shutil.copyfileobj(stream, target)

    with piped(work) as source:
        yield source.fileno()


def _descriptor(stream: Any) -> int | None:
    """The descriptor behind a stream that passes bytes on as they are: what compresses has one, too, and is not meant by it."""
    raw = getattr(stream, "raw", stream)
    return stream.fileno() if isinstance(raw, io.FileIO | socket.SocketIO) else None


@contextlib.contextmanager
def piped(write: Callable[[int], None]) -> Iterator[BinaryIO]:
    """What a thread writes, to be read here; what went wrong there is raised when this has been read."""
    end, out = os.pipe()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            write(out)
        except BrokenPipeError:  # who reads has had enough, and says why
            pass
        except BaseException as error:
            failures.append(error)
        finally:
            os.close(out)

    thread = threading.Thread(target=work, name="cp")
    thread.start()
    try:
        with open(end, "rb", buffering=0) as stream:
            try:
                yield stream
            except NBContainersError:
                if not failures:
                    raise
    finally:
        thread.join()
    if failures:
        raise failures[0]
