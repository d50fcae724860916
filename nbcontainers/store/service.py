"""The worker's own process: it takes on the containers' identity and serves calls until its engine is gone.

It begins with one thread, for only such a process may make a user namespace, and never lets an interrupt at the terminal stop
it: its engine, which gets that too, decides.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import errors
from ..linux import syscalls
from . import attributes, wire
from .durable import saying_when_full

_IDLE = 2.0  # seconds after which what was unpacked is brought to the disk
_DEEPEST = 6000
"""Calls in each other: more than twice the 2047 folders that a path of PATH_MAX has, and within the stack."""


def main(descriptor: int, root: str, identity: dict[str, Any]) -> None:
    """Serve calls on a socket until its other end is closed.

    Args:
        descriptor: the socket.
        root: the store's folder.
        identity: ``userns``, and ``uid_map`` and ``gid_map`` as text; ``helper`` if the engine writes those maps.

    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end = socket.socket(fileno=descriptor)
    try:
        try:
            _enter(end, identity)
        except OSError as error:
            wire.send(end, ("error", "HostError", f"no namespace for the store's worker: {error.strerror}", "", {}))
            return
        wire.send(end, ("ready",))
        # A call may take minutes; the engine's death is to end it at once.
        threading.Thread(target=_watch, args=(end,), name="watch", daemon=True).start()
        _serve(end, Path(root))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the engine is gone, and so is the reason to be
    finally:
        end.close()


def _enter(end: socket.socket, identity: dict[str, Any]) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.umask(0)
    if not identity["userns"]:
        attributes.stand_for_root()
        # Root without CAP_SYS_ADMIN has no mounts of its own, and needs none for copies.
        with contextlib.suppress(PermissionError):
            syscalls.unshare(syscalls.CLONE_NEWNS)
            syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_SLAVE)
        return
    syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
    if identity["helper"]:
        wire.send(end, ("map",))
        wire.receive(end)
        from . import tasks  # noqa: F401 - while this is root who gives others a range, and may read where the modules lie

        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    else:
        # One id may be mapped without privilege, if setgroups(2) is given up first: user_namespaces(7).
        for name, text in (("setgroups", "deny"), ("uid_map", identity["uid_map"]), ("gid_map", identity["gid_map"])):
            handle = os.open(f"/proc/self/{name}", os.O_WRONLY)
            try:
                os.write(handle, text.encode())
            finally:
                os.close(handle)
    syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_SLAVE)


def _watch(end: socket.socket) -> None:
    poll = select.poll()
    poll.register(end.fileno(), select.POLLRDHUP)
    poll.poll()
    os._exit(1)


def _serve(end: socket.socket, root: Path) -> None:
    sys.setrecursionlimit(_DEEPEST)
    from . import tasks  # after the user namespace: nothing that it imports may have started a thread before
    from .work import Work

    turn = threading.Lock()  # a thread that reads ahead tells of its progress

    def say(*message: Any, descriptors: Sequence[int] = ()) -> None:
        with turn:
            wire.send(end, message, descriptors)

    work = Work(root, say)
    while True:
        idle = not select.select([end], [], [], _IDLE)[0]
        if idle:
            work.settle()
        calls, descriptors = wire.receive(end)
        try:
            with saying_when_full(root), contextlib.closing(work):
                for name, arguments in calls:
                    answer = tasks.CALLS[name](work, *arguments, *descriptors)
            say("done", answer.value, descriptors=answer.descriptors)
            for descriptor in answer.descriptors:
                os.close(descriptor)
        except Exception as error:
            say(*_described(error))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _described(error: BaseException) -> tuple[object, ...]:
    """An error as the other end will raise it again: ours by name, the kernel's by number, others as a fault of ours."""
    if isinstance(error, errors.NBContainersError):
        about = {
            key: str(value) if isinstance(value, str) else value for key, value in vars(error).items() if key != "hint"
        }
        return "error", type(error).__name__, error.message, error.hint, about
    if isinstance(error, OSError) and error.errno is not None:
        name = error.filename if isinstance(error.filename, str | bytes) else b""
        return "os", error.errno, error.strerror or "", os.fsencode(name)
    if isinstance(error, RecursionError):
        hint = "move some of them up, or remove them, from inside"
        return "error", "NBContainersError", "folders lie in each other deeper than can be walked", hint, {}
    return "fault", "".join(traceback.format_exception(error))
