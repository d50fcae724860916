"""The near end of a container's streams: output to an observer, input from a file, until the container's end.

What the socket did not carry (a reader slower than the container) is read from the log, which has everything.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from ..errors import Detached
from ..events import Observer, Output
from . import frames, log, logfiles, poller, streams
from .keys import Sequence

_CHUNK = 1 << 16
_LOOK_AGAIN_S = 0.05
_NAMES: dict[int, Literal["stdout", "stderr"]] = {log.STDOUT: "stdout", log.STDERR: "stderr"}


class Attachment:
    """One stream of frames to a shim. May be left (by an exception) and taken up again; one thread at a time."""

    def __init__(self, stream: socket.socket, log_path: Path, begin: int | None = None) -> None:
        """``begin`` is where in the log the stream begins; None when the shim will say so."""
        stream.setblocking(False)
        self.received = 0
        self._stream = stream
        self._log = log_path
        self._begin = begin
        self._before = 0  # bytes that the container had written before that
        self._reader = frames.Reader()
        self._ended = False

    def follow(self, observer: Observer, stdin: BinaryIO | int | None = None, detach_keys: bytes = b"") -> None:
        """Tell the observer what comes, feed the container what is read, until the shim closes the stream.

        Raises:
            Detached: ``detach_keys`` were read from ``stdin``.
        """
        keys = Sequence(detach_keys)
        source = None if stdin is None else Input(stdin)
        pending = b""
        while not self._ended:
            poll = select.poll()
            poll.register(self._stream, select.POLLIN | (select.POLLOUT if pending else 0))
            wants_input = source is not None and not pending
            if wants_input and source is not None and source.descriptor >= 0:
                poll.register(source.descriptor, select.POLLIN)
            for descriptor, events in poll.poll(0 if wants_input and source and source.descriptor < 0 else None):
                if source is not None and descriptor == source.descriptor:
                    continue
                if events & (select.POLLIN | poller.GONE):
                    self._receive(observer)
                if events & select.POLLOUT and not self._ended:
                    pending = self._send(pending)
            if wants_input and source is not None and not self._ended and source.is_ready():
                data = source.read()
                typed, leaves = keys.feed(data)
                if typed or not data:  # an empty frame is the end of the input
                    pending = self._send(frames.frame(log.STDIN, typed))
                if leaves:
                    raise Detached("the container goes on by itself")
                source = source if data else None

    def complete(self, observer: Observer, written: int | None) -> None:
        """After the end: tell the observer what the stream did not carry, from the log.

        ``written`` is what the container wrote in all since its shim began, None if nobody knows. What is missing is the end of
        it: the beginning of the stream may not be in the log any more.
        """
        if self._begin is None:
            return
        if written is None:
            skip = self.received
        else:
            missing = written - self._before - self.received
            if missing <= 0:
                return
            skip = sum(len(data) for _, data, _ in read_log(self._log, self._begin)) - missing
        for stream, data, _ in read_log(self._log, self._begin):
            rest = data[max(0, skip) :]
            skip = max(0, skip - len(data))
            if rest:
                self.received += len(rest)
                observer(Output(data=rest, stream=_NAMES[stream]))

    def request(self, *, all_of_it: bool) -> None:
        """Ask a shim that was connected to for its output: all of this run, or from now on."""
        self._stream.send(frames.frame(streams.REQUEST, b"all" if all_of_it else b"new"))

    def close(self) -> None:
        """Let go of the stream."""
        self._stream.close()

    def _receive(self, observer: Observer) -> None:
        try:
            data = self._stream.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except ConnectionResetError:
            data = b""
        self._ended = not data
        for stream, body in self._reader.feed(data):
            if stream in _NAMES:
                # Counted before the observer is called: what an exception there interrupts is not told twice.
                self.received += len(body)
                observer(Output(data=body, stream=_NAMES[stream]))
            elif stream == streams.NOTICE:
                notice = json.loads(body)
                self._begin, self._before = int(notice["offset"]), int(notice["written"])

    def _send(self, data: bytes) -> bytes:
        """What the socket did not take."""
        try:
            return data[self._stream.send(data) :]
        except (BlockingIOError, InterruptedError):
            return data
        except OSError:  # the container is gone; the end comes with the next read
            return b""


class Input:
    """A source of input: a descriptor that can be waited for, or a file that only lives in this process."""

    def __init__(self, source: BinaryIO | int) -> None:
        self._file = None if isinstance(source, int) else source
        try:
            self.descriptor = source if isinstance(source, int) else source.fileno()
        except (io.UnsupportedOperation, AttributeError, OSError):
            self.descriptor = -1

    def is_ready(self) -> bool:
        """Whether reading will not block."""
        if self.descriptor < 0:
            return True
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(0))

    def read(self) -> bytes:
        """Some bytes, none at the end."""
        if self.descriptor < 0 and self._file is not None:
            return self._file.read(_CHUNK) or b""
        try:
            return os.read(self.descriptor, _CHUNK)
        except BlockingIOError:
            return b""
        except OSError:  # EIO: the terminal went away
            return b""


def read_log(
    path: Path, begin: int = 0, *, goes_on: Callable[[], bool] = lambda: False
) -> Iterator[tuple[int, bytes, str]]:
    """(stream, bytes, time) of each record from an offset on; torn records are passed over, a log that is gone has none.

    At its end the log is read on for as long as ``goes_on`` says so, and then once more. What was removed is passed over.
    """
    while True:
        try:
            file, start, is_current = _open_at(path, begin)
        except FileNotFoundError:
            return
        with file:
            file.seek(max(0, begin - start))
            is_last = False
            while True:
                line = file.readline()
                if line.endswith(b"\n"):
                    record = log.parse(line)
                    if record is not None:
                        yield record
                    continue
                file.seek(-len(line), os.SEEK_CUR)
                if not is_current:
                    break
                if not _is_at(path, file):  # another file was begun: once more to the end of this one, and on to that
                    is_current = False
                elif is_last:
                    return
                else:
                    is_last = not goes_on()
                    if not is_last:
                        time.sleep(_LOOK_AGAIN_S)
            begin = start + file.seek(0, os.SEEK_END)


def last_lines(path: Path, count: int) -> int:
    """The offset in a log from which it has ``count`` lines left, of which the last may be unfinished."""
    after = 0  # lines in the files after the one that is looked at
    old = logfiles.older(str(path.parent), path.name)
    for start in [logfiles.end(old), *(begin for begin, _ in reversed(old))]:
        begins: deque[int] = deque(maxlen=max(0, count - after))
        offset, unfinished = start, set[bytes]()
        with contextlib.suppress(FileNotFoundError), open(_name(path, start, old), "rb") as file:
            for record in file:
                stream, ends = log.line_end(record)
                if stream not in unfinished:
                    begins.append(offset)
                    after += 1
                (unfinished.discard if ends else unfinished.add)(stream)
                offset += len(record)
        if after >= count:
            return begins[0] if begins else offset
    return old[0][0] if old else 0


def _name(path: Path, start: int, old: list[tuple[int, int]]) -> str:
    return logfiles.path(str(path), start) if any(start == begin for begin, _ in old) else str(path)


def _open_at(path: Path, begin: int) -> tuple[BinaryIO, int, bool]:
    """(the file of a log that holds an offset, where it begins, whether it is the one that is written)."""
    while True:
        old = logfiles.older(str(path.parent), path.name)
        held = [start for start, size in old if begin < start + size]
        try:
            if held:
                return open(logfiles.path(str(path), held[0]), "rb"), held[0], False
            file = open(path, "rb")  # noqa: SIM115 - the caller's to close
        except FileNotFoundError:
            if path.exists() or logfiles.older(str(path.parent), path.name) != old:
                continue  # it was removed, or got its other name, just now
            raise
        try:
            is_last = logfiles.older(str(path.parent), path.name) == old
        except BaseException:
            file.close()
            raise
        if is_last:
            return file, logfiles.end(old), True
        file.close()  # another file was begun meanwhile


def _is_at(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return not path.parent.exists()  # between two names of a rotation, or gone with its container
