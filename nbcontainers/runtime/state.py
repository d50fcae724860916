"""A container's state.json: read, written and, where it cannot be true any more, repaired.

Beside the fields of ContainerState it holds ``runtime``: what the one who looks later needs to find the processes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import Conflict, IntegrityError, NotFound
from ..linux import groups, rights, smallfiles
from ..results import STREAMS, ContainerState, Health, HealthCheck, HealthResult
from . import processes, record, tracees

_NAMES = tuple(field.name for field in dataclasses.fields(ContainerState))
_REQUIRED = {
    field.name
    for field in dataclasses.fields(ContainerState)
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
}
_NOT_ONE = (ValueError, KeyError, TypeError, AttributeError)  # what a text that is not a state makes of its reading
_LIVE = {"creating", "running", "paused", "restarting"}
_LOCK_S = 1.0  # longer than anybody who is well keeps the lock of a folder
GONE_S = 15.0  # how long the kernel may take to end a process that was killed


def load_state(folder: Path) -> ContainerState:
    """What is true of a container: its state.json, repaired first (exited, 137) if its processes are not there any more.

    A state is believed while its shim lives, for the shim will write what comes. What a dead shim left is ended.

    Raises:
        NotFound: there is no state.json.
        IntegrityError: it is not one.
    """
    state, extra = _read(folder)
    if _is_believed(state, extra):
        return state
    descriptor = record.lock(str(folder))
    try:
        state, extra = _parse(folder)  # it may have been started anew meanwhile
        if _is_believed(state, extra):
            return state
        end(state.pid, extra.get("start", 0))
        _end_others(extra)
        forget(extra)
        state = dataclasses.replace(
            state,
            status="exited",
            pid=0,
            finished=time.time(),
            exit_code=137,
            error="its shim was killed, and the container with it",
        )
        record.write(descriptor, {**to_json(state), "runtime": extra})
    finally:
        os.close(descriptor)
    return state


def load_extra(folder: Path) -> dict[str, Any]:
    """The ``runtime`` part: start and shim (pids' times), socket, where the log of this run begins, cgroup, limits."""
    return _read(folder)[1]


def new_state(folder: Path, state: ContainerState) -> None:
    """Write the first state.json of a folder, which makes it a container."""
    descriptor = record.lock(str(folder))
    try:
        record.write(descriptor, {**to_json(state), "runtime": {}})
    finally:
        os.close(descriptor)


def save_state(folder: Path, state: ContainerState) -> None:
    """Write state.json, whole or not at all; what the shim noted under ``runtime`` stays."""
    descriptor = record.lock(str(folder))
    try:
        try:
            extra = _parse(folder)[1]
        except (NotFound, IntegrityError):
            extra = {}
        record.write(descriptor, {**to_json(state), "runtime": extra})
    finally:
        os.close(descriptor)


def change(folder: Path, **fields: Any) -> ContainerState:
    """Change some of what state.json says, and return the whole. NotFound if it is gone."""
    descriptor = record.lock(str(folder))
    try:
        state, extra = _parse(folder)
        state = dataclasses.replace(state, **fields)
        record.write(descriptor, {**to_json(state), "runtime": extra})
        return state
    finally:
        os.close(descriptor)


class StartedAgain(Conflict):
    """The run that was meant has ended, and another one of the container goes on."""


@contextlib.contextmanager
def parting(folder: Path, known: ContainerState, told: Mapping[str, Any]) -> Iterator[tuple[ContainerState, str]]:
    """Keep a container that has ended from being started while its folder is moved away: a shim that is about to finds it gone.

    It gives its state, what is ``known`` where that cannot be read, and where its last shim listened, if it says so. ``told`` is what
    that shim has said of the end, which may not be written yet.

    Raises:
        NotFound: it is gone already.
        StartedAgain: somebody has started it since the state that is ``known``.
    """
    try:
        descriptor = record.lock(str(folder))
    except FileNotFoundError:
        raise _no_such(folder) from None
    try:
        try:
            written = record.read(descriptor)
            state, extra = _from_json({**written, **told})
            status, started = written["status"], written.get("started", 0)
        except _NOT_ONE:
            state, extra = dataclasses.replace(known, **told), {}
            status, started = state.status, state.started
        is_live = told.get("status", known.status) in _LIVE
        if status in _LIVE and (is_live or started != told.get("started", known.started)):
            raise StartedAgain(f"container {known.name or known.id} was started again meanwhile")
        yield state, str(extra.get("socket", ""))
    finally:
        os.close(descriptor)


def to_json(state: ContainerState) -> dict[str, Any]:
    """The state's fields as JSON has them."""
    # all but the last two are flat: dataclasses.asdict would copy each value deeply
    data = {name: getattr(state, name) for name in _NAMES}
    data["check"] = health_to_json(state.check) if state.check else None
    data["health"] = dataclasses.asdict(state.health) if state.health else None
    return data


def health_to_json(check: HealthCheck) -> dict[str, Any]:
    """A health check as JSON, and as the shim takes it."""
    return {**dataclasses.asdict(check), "test": list(check.test)}


def _health(data: Any) -> Health | None:
    if not data:
        return None
    return Health(**{**data, "log": tuple(HealthResult(**entry) for entry in data["log"])})


def open_process(pid: int, start: int) -> int:
    """A pidfd of the process that began then, -1 where it is not there any more. It holds that one for good."""
    if not pid or not start:
        return -1
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (
            errno.ESRCH,
            errno.EINVAL,
        ):  # EINVAL: somebody waits for it just now; its number goes in an instant
            return -1
        raise
    try:
        is_it = processes.start_time(pid) == start
    except BaseException:
        os.close(pidfd)
        raise
    if is_it:
        return pidfd
    os.close(pidfd)
    return -1


def end(pid: int, start: int) -> None:
    """Kill a process if it is still the one that began then, and wait until it is gone."""
    pidfd = open_process(pid, start)
    if pidfd < 0:
        return
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        deadline = time.monotonic() + GONE_S
        while processes.start_time(pid) == start and time.monotonic() < deadline:
            time.sleep(0.005)
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)


def end_shim(folder: Path) -> None:
    """End the shim of a container: it needs the lock to be done with this one and take another. Who keeps that for long is stuck, too."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise _no_such(folder) from None
    try:
        deadline = time.monotonic() + _LOCK_S
        while time.monotonic() < deadline:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(0.005)
        _, extra = _parse(folder)
        end(extra.get("shim", 0), extra.get("shim_start", 0))
    finally:
        os.close(descriptor)


def end_at(door: str) -> None:
    """End a container of which no more can be read than its number: with its shim, which listens at its door."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller, contextlib.suppress(OSError):
        caller.connect(door)
        pid = rights.peer(caller)
        end(pid, processes.start_time(pid))


def is_alive(pid: int, start: int) -> bool:
    """Whether the process that began then is still there."""
    return bool(pid and start) and processes.start_time(pid) == start


def _is_believed(state: ContainerState, extra: dict[str, Any]) -> bool:
    if state.status not in _LIVE:
        return True
    # While it is "creating" and no shim has spoken yet, an engine is at it.
    return is_alive(extra.get("shim", 0), extra.get("shim_start", 0)) or (not extra and state.status == "creating")


def _end_others(extra: dict[str, Any]) -> None:
    """Kill who is in a container's cgroups, or runs in its loader: one that was frozen as it was made, or that nobody traces any more,
    is not bound to its shim's life.
    """
    if extra.get(tracees.LOADER):
        tracees.end(extra[tracees.LOADER], ())
        end(*(extra.get("keeper") or (0, 0)))  # one that a program inside has stopped
    with contextlib.suppress(Conflict):
        groups.kill(extra.get("cgroup_directories") or (), timeout=GONE_S)


def forget(extra: dict[str, Any]) -> None:
    """Take away what a shim takes away at its end: its socket, and its cgroups, which are empty now."""
    with contextlib.suppress(OSError):
        os.unlink(extra.get("socket") or "")
    for directory in reversed((*(extra.get("cgroup_shelves") or ()), *(extra.get("cgroup_places") or ()))):
        try:
            os.rmdir(directory)
        except OSError:
            continue


def _read(folder: Path) -> tuple[ContainerState, dict[str, Any]]:
    try:
        return _parse(folder)
    except IntegrityError:  # someone may be in the middle of writing it: see record.write
        descriptor = record.lock(str(folder))
        try:
            return _parse(folder)
        finally:
            os.close(descriptor)


def _parse(folder: Path) -> tuple[ContainerState, dict[str, Any]]:
    path, text = f"{folder}/{record.NAME}", _text(folder)
    try:
        data = json.loads(text)
        if data.get(record.BEGIN) != data.get(record.END):
            raise ValueError("half of it is of another time")
        if _text(folder) != text:  # who reads beside a writer may see its middle alone of another time
            raise ValueError("it changes while it is read")
        return _from_json(data)
    except _NOT_ONE as error:
        raise IntegrityError(f"{path} is not a container's state: {error}", hint=way_out(folder.name[:12])) from error


def _from_json(data: dict[str, Any]) -> tuple[ContainerState, dict[str, Any]]:
    """(the state, what stands under ``runtime``); one of ``_NOT_ONE`` where it is none."""
    missing = _REQUIRED - data.keys()
    if missing:
        raise KeyError(min(missing))
    values = {name: data[name] for name in _NAMES if name in data}
    values["command"] = tuple(values["command"])
    values["entrypoint"] = tuple(values.get("entrypoint", ()))
    for name in ("not_enforced", "lacks"):
        values[name] = tuple(values.get(name) or ())
    values["attached"] = tuple(values.get("attached", STREAMS))
    values["labels"] = tuple((key, value) for key, value in values.get("labels") or ())
    values["ports"] = tuple(tuple(port) for port in values.get("ports") or ())
    policy, most = values.get("restart") or ("no", 0)
    values["restart"] = (policy, most)
    size, count = values.get("log_options") or (0, 1)
    values["log_options"] = (size, count)
    check = values.get("check")
    values["check"] = HealthCheck(**{**check, "test": tuple(check["test"])}) if check else None
    values["health"] = _health(values.get("health"))
    return ContainerState(**values), data.get("runtime") or {}


def way_out(name: str) -> str:
    """What can be done about a container of which a file cannot be read."""
    return f"'nbcontainers rm {name}' removes the container, and ends what runs in it"


def _text(folder: Path) -> bytes:
    try:
        return smallfiles.read(f"{folder}/{record.NAME}")
    except FileNotFoundError:
        raise _no_such(folder) from None


def _no_such(folder: Path) -> NotFound:
    return NotFound(f"no such container: {folder.name}", hint="nbcontainers ps -a lists those there are")
