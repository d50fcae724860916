"""The near end of the worker's processes: each serves one call at a time, and there are as many as calls go on at once."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from .. import errors
from ..errors import HostError, NBContainersError
from ..events import Observer, Progress, Warned
from ..linux import idmap
from ..linux.idmap import Identity
from ..oci.runtime import IdMapping
from . import stopping, wire
from .filling import Call

_PACKAGE = str(Path(__file__).parents[2])
# Isolated from the environment and from the working directory; where modules are is said by the one who knows.
_START = "import sys,json;a=json.loads(sys.argv[1]);sys.path[:]=a['path'];from nbcontainers.store.service import main;main(*a['main'])"
_PATIENCE = 5.0  # seconds for a process to end that has nothing more to do


class Processes:
    """The processes of one store: a call that finds none idle starts another.

    Threads of one process would do less: they cannot be ended in the middle of their work.
    """

    def __init__(self, root: Path, identity: Identity) -> None:
        self._root = root
        self._identity = identity
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._busy: set[_Process] = set()
        self._ending: list[_Process] = []
        self._starter = 0

    def call(self, calls: Sequence[Call], on_event: Observer, descriptors: Sequence[int]) -> tuple[Any, list[int]]:
        """What the last of some calls answers, and the descriptors that come with it, which are the caller's.

        Any exception but an error of a call itself ends the process.
        """
        process = self._take()
        try:
            with stopping.ended_by(process.kill):
                message, answered = process.ask(calls, on_event, descriptors)
        except BaseException:
            self._busy.discard(process)
            process.end(0)
            raise
        self._give_back(process)
        if message[0] != "done":
            _raise(message)
        return message[1], answered

    def pids(self) -> tuple[int, ...]:
        """The processes that are there now."""
        return tuple(process.pid for process in (*self._idle, *self._busy) if process.is_alive())

    def rest(self) -> None:
        """Let all idle ones end but one. Nobody waits for that: one may be bringing layers to the disk."""
        with self._lock:
            for process in self._idle[1:]:
                process.hang_up()
            self._ending += self._idle[1:]
            self._idle = self._idle[:1]
            self._reap()

    def close(self) -> None:
        """End all idle ones; one that has a call ends after it."""
        with self._lock:
            ending = [*self._idle, *self._ending]
            self._idle, self._busy, self._ending = [], set(), []
        if self._starter == os.getpid():
            _end(ending)

    def _take(self) -> _Process:
        with self._lock:
            if self._starter != os.getpid():  # a forked copy of the engine has no part in its processes
                self._starter, self._idle, self._busy, self._ending = os.getpid(), [], set(), []
            self._reap()
            while self._idle:
                process = self._idle.pop()
                if process.is_alive():
                    break
                process.end(0)  # it died while nobody asked it anything, as by a full memory
            else:
                process = _Process(self._root, self._identity)
            self._busy.add(process)
            return process

    def _reap(self) -> None:
        over = [process for process in self._ending if not process.is_alive()]
        self._ending = [process for process in self._ending if process not in over]
        for process in over:
            process.end(0)

    def _give_back(self, process: _Process) -> None:
        with self._lock:
            if process in self._busy:
                self._busy.remove(process)
                self._idle.append(process)
                return
        process.end(_PATIENCE)  # the worker was closed meanwhile


class _Process:
    """One process, started with its first call."""

    def __init__(self, root: Path, identity: Identity) -> None:
        self._root = root
        self._identity = identity
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._stderr = -1

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Kill it from another thread; who waits for its answer sees the end of its socket."""
        if self._process is not None:
            self._process.kill()

    def hang_up(self) -> None:
        """Let it end by itself."""
        if self._socket is not None:
            self._socket.close()

    def end(self, patience: float) -> None:
        """Close its socket, after which it ends by itself; kill it if it has not after ``patience`` seconds."""
        self.hang_up()
        if self._process is not None:
            try:
                if not patience:
                    self._process.kill()
                self._process.wait(patience or None)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._stderr >= 0:
            os.close(self._stderr)
        self._process, self._socket, self._stderr = None, None, -1

    def ask(self, calls: Sequence[Call], on_event: Observer, descriptors: Sequence[int]) -> tuple[Any, list[int]]:
        try:
            end = self._connected()
            wire.send(end, [tuple(call) for call in calls], descriptors)
            while True:
                message, answered = wire.receive(end)
                match message[0]:
                    case "progress":
                        on_event(Progress(what=message[1], done=message[2], total=message[3]))
                    case "warned":
                        on_event(Warned(message=message[1], hint=message[2]))
                    case _:
                        return message, answered
        except (EOFError, BrokenPipeError, ConnectionResetError):
            last = os.pread(self._stderr, 4096, 0).decode(errors="replace") if self._stderr >= 0 else ""
            raise NBContainersError(
                f"the store's worker died in {calls[-1].name!r}: {last.strip() or 'it was killed'}",
                hint="memory may have run out; what it was making is not there, and nothing else is harmed",
            ) from None

    def _connected(self) -> socket.socket:
        if self._socket is not None:
            return self._socket
        self._socket, theirs = socket.socketpair()
        with theirs:
            single = len(self._identity.uid_mappings) == 1 and self._identity.uid_mappings[0].size == 1
            identity = {
                "userns": self._identity.userns,
                "uid_map": idmap.text(self._identity.uid_mappings),
                "gid_map": idmap.text(self._identity.gid_mappings),
                "helper": self._identity.userns and not single,
            }
            path = [_PACKAGE, *(entry for entry in sys.path if os.path.isabs(entry) and entry != _PACKAGE)]
            said = json.dumps({"path": path, "main": [theirs.fileno(), str(self._root), identity]})
            self._stderr = os.memfd_create("worker-errors")
            with stopping.whole:  # else a process could be there that nobody knows of
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", _START, said],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._stderr,
                    pass_fds=[theirs.fileno()],
                    cwd="/",
                )
        stopping.check()  # a Stop that came before there was anything to kill
        while True:
            message, _ = wire.receive(self._socket)
            match message[0]:
                case "ready":
                    return self._socket
                case "map":
                    _write_maps(self._process.pid, self._identity)
                    wire.send(self._socket, ("mapped",))
                case _:
                    _raise(message)


def _end(processes: Sequence[_Process]) -> None:
    for process in processes:
        process.hang_up()
    for process in processes:
        process.end(_PATIENCE)


def _raise(message: Sequence[Any]) -> NoReturn:
    match message[0]:
        case "error":
            _, name, text, hint, about = message
            raise getattr(errors, name)(text, hint=hint, **about)
        case "os":
            _, number, text, filename = message
            raise OSError(number, text, *([os.fsdecode(filename)] if filename else []))
        case _:
            raise NBContainersError(f"the store's worker failed:\n{message[1]}", hint="this is a fault of nbcontainers")


def _write_maps(pid: int, identity: Identity) -> None:
    """Write maps of several ids, which the process itself may not: as root, else by the setuid helpers; see newuidmap(1)."""
    if os.geteuid() == 0:
        for name, mappings in (("uid_map", identity.uid_mappings), ("gid_map", identity.gid_mappings)):
            Path(f"/proc/{pid}/{name}").write_text(idmap.text(mappings))
        return
    maps = (("newuidmap", identity.uid_mappings), ("newgidmap", identity.gid_mappings))
    for program, mappings in maps:
        try:
            done = subprocess.run([program, str(pid), *_words(mappings)], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise HostError(f"{program} is not installed", hint="install the package uidmap") from None
        if done.returncode:
            raise HostError(f"{program} refuses: {done.stderr.strip()}", hint="see /etc/subuid and /etc/subgid")


def _words(mappings: Sequence[IdMapping]) -> list[str]:
    return [str(number) for entry in mappings for number in (entry.container, entry.host, entry.size)]
