"""What a shim does with a container's standard streams: into the log, to whoever is attached, and input back.

The container never waits for a reader. Docker's does, and stands still when a client that is attached stops reading; here the
log is the truth, everything goes into it first, and a client whose socket is full is served from the log when it reads again
(and at the end reads the rest there itself: see ``process``). So a shim's memory is bounded and a log holds everything.
Imports only what keeps the zygote small.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import select
import time

from ..linux import smallfiles
from . import frames, log, logfiles, record
from .client import Client
from .poller import GONE, Poller

_CHUNK = 1 << 16
_MOST_DRAINED = 1 << 10
_PIECES = 4
"""What goes into the log at once is at most a file's size by this: what is read at once may be more than a small one holds."""
_LAST_S = 5.0  # how long a client may take to read them at the end
_MOST_INPUT = 1 << 16  # input that waits for the container; beyond it a client is not read
NOTICE = 4  # to a client: JSON, where in the log its stream begins, and how much was written before
REQUEST = 5  # from a client: "all" for what this run has written so far, else from now on


class Streams:
    """The streams of one container and those who are attached to them."""

    def __init__(self, poller: Poller, log_path: str, limits: tuple[int, int], *, lasts: object = False) -> None:
        """To be owned first. ``limits`` are the bytes that a file of the log may have (0: any number), and how many files there are.

        Where ``lasts`` is not true the container's input ends where a client's does; else another client may go on with it, as he
        may at a terminal, which has a key for its end.
        """
        self._poller = poller
        self._path = log_path
        self._most, self._files = limits
        self._old: list[tuple[int, int]] = []  # files of the log before this one: where each begins, its size
        self._is_held = False  # the container waits: a client is about to lose what it has not read yet
        self._open_log()
        # By descriptor: the stream, and bytes of a character that has not come whole.
        self._outputs: dict[int, tuple[int, bytes]] = {}
        self._clients: dict[int, Client] = {}
        self._stdin = -1
        self._input = b""
        self._input_ends = False
        self._lasts = bool(lasts)
        self.written = 0  # by the container, in bytes
        self._before = 0  # of these, before the run that is
        self.lost = ""  # why the log is not whole, if so

    def _open_log(self) -> None:
        self._log = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def find_begin(self) -> None:
        """Find where the log of this run begins, once it is owned; before anything is written or read."""
        folder, _, name = self._path.rpartition("/")
        self._old = logfiles.older(folder, name)
        self._base = logfiles.end(self._old)
        self.begin = self._end = self._base + os.fstat(self._log).st_size

    def own(self, patience_s: float) -> bool:
        """Wait until no other shim of this container is there, and keep others away for as long as this process lives.

        The lock is on the log, which stays open to the end: a container that is started again waits for the shim of its last run
        to have tidied up. False where the other one stays: the container runs already.
        """
        deadline = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(self._log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.001)
                continue
            own = os.fstat(self._log)
            try:
                if own.st_ino == os.stat(self._path).st_ino:
                    return True
            except FileNotFoundError:
                pass
            os.close(self._log)  # the other shim began another file meanwhile
            self._open_log()

    def read(self, descriptor: int, stream: int) -> None:
        """Take the read end of a pipe that the container writes to."""
        os.set_blocking(descriptor, False)
        self._outputs[descriptor] = (stream, b"")
        self._watch_output(descriptor)

    def feed(self, descriptor: int) -> None:
        """Take the write end of the container's standard input."""
        os.set_blocking(descriptor, False)
        self._stdin = descriptor
        self._input_ends = False

    def attach(self, socket: _socket.socket, *, from_begin: bool) -> None:
        """Serve a client; one that has not asked for anything yet (``from_begin`` false) gets nothing before it does."""
        socket.setblocking(False)
        client = Client(socket, self.begin if from_begin and self._end > self.begin else -1)
        client.wants_output = from_begin
        self._clients[socket.fileno()] = client
        self._watch(client)

    def drain(self) -> None:
        """After the end of a run: take what its pipes still hold, and let go of them."""
        for descriptor in list(self._outputs):
            # A pipe holds at most 1 MiB; who writes on (a process outside the container's pid namespace) is not waited for.
            for _ in range(_MOST_DRAINED):
                if not self._take(descriptor):
                    break
            self._close_output(descriptor)
        self._close_input()

    def begin_anew(self) -> None:
        """What comes now is of the next run."""
        self.begin, self._before = self._end, self.written

    def dismiss(self) -> None:
        """After the last run: tell the clients what fits, and let go of everybody; the rest they read in the log themselves."""
        self._is_held = False  # so it is not removed now: the next run does that
        deadline = time.monotonic() + _LAST_S
        for client in list(self._clients.values()):
            self._serve(client)
            if self.lost:  # the log has not got it: wait for who reads
                self._serve_last(client, deadline)
            self._drop(client)

    def _serve_last(self, client: Client, deadline: float) -> None:
        poll = select.poll()
        number = client.socket.fileno()
        if number >= 0:
            poll.register(number, select.POLLOUT)
        while number in self._clients and (client.pending or client.behind >= 0 or client.kept):
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                return
            self._serve(client)

    def _take(self, descriptor: int) -> bool:
        """Move one chunk; False when there is none now."""
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:  # a terminal that nobody has open inside
                raise
            data = b""
        stream, begun = self._outputs[descriptor]
        if not data:
            self._close_output(descriptor)
            return False
        data = begun + data
        whole = log.whole_characters(data)
        self._outputs[descriptor] = (stream, data[whole:])
        if whole:
            most = self._most // _PIECES  # 0: any number
            for piece in log.pieces(data[:whole], most) if most else (data[:whole],):
                self._deliver(stream, piece)
        return True

    def _deliver(self, stream: int, data: bytes) -> None:
        start = self._end
        self.written += len(data)
        written = log.records(stream, data, time.time_ns())
        is_logged = True
        try:
            smallfiles.write_all(self._log, written)
            self._end += len(written)
        except OSError as error:
            os.ftruncate(self._log, start - self._base)  # no torn record
            self.lost = self.lost or f"the log is not whole: {error.strerror}"
            is_logged = False
        for client in list(self._clients.values()):
            if not client.wants_output:
                continue
            is_late = client.pending or client.behind >= 0
            if client.kept or (is_late and not is_logged):
                client.keep(frames.frame(stream, data), start)
                self._watch(client)
            elif client.behind >= 0:
                continue
            elif client.pending:
                client.behind = start
            else:
                self._send(client, frames.frame(stream, data), start)
        if self._most and self._end - self._base >= self._most:
            self._rotate()

    def _rotate(self) -> None:
        """Begin another file of the log. It is locked before it has its name, so that no other shim has it first."""
        fresh = f"{self._path}.new"
        try:
            descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o640)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(self._path, logfiles.path(self._path, self._base))
            os.rename(fresh, self._path)
        except OSError as error:
            self.lost = self.lost or f"the log does not rotate: {error.strerror}"
            self._most = 0
            return
        self._old.append((self._base, self._end - self._base))
        os.close(self._log)
        self._log, self._base = descriptor, self._end
        self._trim()

    def _trim(self) -> None:
        """Remove what is too old, but not before every client has had it: till then the container waits."""
        while len(self._old) >= self._files:
            begin, size = self._old[0]
            if any(client.needs(begin + size) for client in self._clients.values()):
                self._hold(True)
                return
            try:
                os.unlink(logfiles.path(self._path, begin))
            except FileNotFoundError:
                pass
            del self._old[0]
        self._hold(False)

    def _hold(self, held: bool) -> None:
        if held != self._is_held:
            self._is_held = held
            for descriptor in self._outputs:
                self._watch_output(descriptor)

    def _watch_output(self, descriptor: int) -> None:
        events = 0 if self._is_held else select.POLLIN
        self._poller.watch(descriptor, events, lambda happened: self._take(descriptor))

    def _send(self, client: Client, data: bytes, begin: int) -> None:
        """Send what the socket takes and keep the rest until it takes more; ``begin`` is where in the log it is (-1: it is not)."""
        try:
            sent = client.socket.send(data, _socket.MSG_NOSIGNAL)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(client)
            return
        client.pending = data[sent:]
        client.begun = begin if client.pending else -1
        self._watch(client)

    def _serve(self, client: Client) -> None:
        """Send a client what it lacks, as far as its socket takes it."""
        while client.socket.fileno() in self._clients:
            if client.pending:
                self._send(client, client.pending, client.begun)
                if client.pending:
                    return
            elif client.behind >= 0:
                self._catch_up(client)
            elif client.kept:
                client.pending, client.kept = client.kept, b""
            else:
                self._watch(client)
                return
            if self._is_held:
                self._trim()

    def _catch_up(self, client: Client) -> None:
        """The next piece of the log, as one frame of one stream."""
        client.behind = start = max(client.behind, self._old[0][0] if self._old else self._base)
        piece = self._pread(client.behind)
        while piece and b"\n" not in piece:  # a record may be longer, for a line may
            more = self._pread(client.behind + len(piece))
            if not more:
                break
            piece += more
        stream, parts = -1, []
        end = client.until if client.kept else self._end
        for line in piece.splitlines(keepends=True) if piece else ():
            parsed = log.parse(line)
            if not line.endswith(b"\n") or (parsed and stream not in {-1, parsed[0]}) or client.behind >= end:
                break
            client.behind += len(line)
            if parsed:
                stream = parsed[0]
                parts.append(parsed[1])
        if client.behind >= end or not piece:
            client.behind = -1
        if parts:
            self._send(client, frames.frame(stream, b"".join(parts)), start)

    def _pread(self, offset: int) -> bytes:
        """A piece of the log from an offset on, of one of its files."""
        for begin, size in self._old:
            if begin <= offset < begin + size:
                with open(logfiles.path(self._path, begin), "rb", buffering=0) as file:
                    return os.pread(file.fileno(), min(_CHUNK, begin + size - offset), offset - begin)
        return os.pread(self._log, _CHUNK, offset - self._base)

    def _watch(self, client: Client) -> None:
        events = select.POLLIN if len(self._input) < _MOST_INPUT else 0
        if client.pending or client.behind >= 0 or client.kept:
            events |= select.POLLOUT
        self._poller.watch(client.socket.fileno(), events, lambda happened: self._attend(client, happened))

    def _attend(self, client: Client, events: int) -> None:
        if events & select.POLLOUT:
            self._serve(client)
        if events & select.POLLIN and client.socket.fileno() in self._clients:
            try:
                data = client.socket.recv(_CHUNK)
                for stream, body in client.reader.feed(data):
                    self._obey(client, stream, body)
            except BlockingIOError:
                return
            except (OSError, frames.BadFrame):
                data = b""
            if not data:
                self._drop(client)
        elif events & GONE:
            self._drop(client)

    def _obey(self, client: Client, stream: int, body: bytes) -> None:
        if stream == REQUEST:
            begin, written = (self.begin, self._before) if body == b"all" else (self._end, self.written)
            client.wants_output = True
            client.behind = begin if begin < self._end else -1
            self._send(
                client,
                client.pending + frames.frame(NOTICE, record.to_json({"offset": begin, "written": written}).encode()),
                client.begun,
            )
        elif stream == log.STDIN:
            self._input += body
            self._input_ends = self._input_ends or (not self._lasts and not body)
            self._push_input()

    def _push_input(self) -> None:
        """Give the container what it takes of its input; a container that closed it gets no more."""
        if self._stdin < 0:
            self._input = b""
            return
        was_full = len(self._input) >= _MOST_INPUT
        try:
            while self._input:
                self._input = self._input[os.write(self._stdin, self._input) :]
        except BlockingIOError:
            self._poller.watch(self._stdin, select.POLLOUT, lambda events: self._push_input())
        except OSError:
            self._close_input()
        else:
            self._poller.forget(self._stdin)
            if self._input_ends:
                self._close_input()
        if was_full != (len(self._input) >= _MOST_INPUT):
            for client in self._clients.values():
                self._watch(client)

    def _close_input(self) -> None:
        if self._stdin >= 0:
            self._poller.forget(self._stdin)
            os.close(self._stdin)
            self._stdin = -1
        self._input = b""

    def _close_output(self, descriptor: int) -> None:
        if descriptor in self._outputs:
            stream, begun = self._outputs.pop(descriptor)
            if begun:
                self._deliver(stream, begun)
            self._poller.forget(descriptor)
            os.close(descriptor)

    def _drop(self, client: Client) -> None:
        number = client.socket.fileno()
        if self._clients.pop(number, None) is not None:
            self._poller.forget(number)
            client.socket.close()
            if self._is_held:
                self._trim()
