"""A container's cgroups as its shim has them: made and limited as the plan says, asked why it ended, taken away.

Imports only what keeps the zygote small.
"""

from __future__ import annotations

import errno
import fcntl
import marshal
import os
import time

from ..linux import smallfiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence
    from typing import Any

    from .plan import Plan
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory

_CLEANING_S = 5.0  # how long a cgroup may stay busy with what is still ending


CHANGES = "limits"
"""The file in a container's folder by which its shim hears of limits that were changed since it began."""


def join(files: Sequence[str]) -> None:
    """Move this process into groups of v1, each by its ``tasks``: see ``launch``."""
    for path in files:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        os.write(descriptor, b"0")
        os.close(descriptor)


def take_changes(plan: Plan) -> bytes:
    """Let the plan say what the limits are by now: they may have been changed since this shim began. Empty if they were not."""
    try:
        changes = smallfiles.read(f"{plan['folder']}/{CHANGES}")
    except FileNotFoundError:
        return b""  # as at nearly every start
    plan.update(marshal.loads(changes))  # noqa: S302 - written by our own engine, in our own folder
    return changes


def noted(plan: Plan) -> dict[str, Any]:
    """What whoever looks later needs to know of them."""
    return {
        "cgroup": plan["cgroup"],
        "cgroup_directories": plan["cgroup_directories"],
        "cgroup_places": plan["cgroup_places"],
        "cgroup_shelves": plan["cgroup_shelves"],
        "limits": plan["limits"],
    }


def make(plan: Plan, made: Sequence[str] = ()) -> bool:
    """Make the groups, but for those that are ``made``, and write their limits; OSError says which value was refused where.

    Limits that somebody changes meanwhile, before there is a group for him to write to, are written as well. Returns whether there
    were such.
    """
    ready, changes = set(made), None
    while changes != (changes := take_changes(plan)):
        for directory in plan["cgroup_directories"]:
            if directory not in ready:
                _make_directory(directory)
                ready.add(directory)
        _write(plan["cgroup_writes"])
    if plan["cgroup_devices"] is not None:
        from ..linux import devicefilter  # on hosts without v1 only

        devicefilter.attach(*plan["cgroup_devices"])
    return bool(changes)


def _make_directory(directory: str) -> None:
    try:
        os.mkdir(directory, 0o755)
    except FileExistsError:
        _clear_away(directory)
        os.mkdir(directory, 0o755)


def _write(writes: Sequence[tuple[str, str]]) -> None:
    opened, descriptor = "", -1  # several rules in a row go into one file, each with a write of its own
    for path, value in writes:
        if path != opened:
            if descriptor >= 0:
                os.close(descriptor)
            opened, descriptor = path, os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode())
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror}: {value!r} to {path}") from error
    if descriptor >= 0:
        os.close(descriptor)


class Own:
    """Groups that may be wanted by others under their names: they leave them alone until ``let_go``."""

    def __init__(self) -> None:
        self._made: list[str] = []
        self.descriptor = -1  # of the first

    def make(self, directories: Sequence[str]) -> None:
        """Make them. After an OSError ``remove`` takes away those that were made."""
        for directory in directories:
            os.mkdir(directory, 0o755)
            self._made.append(directory)
            if self.descriptor < 0:
                self.descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                fcntl.flock(self.descriptor, fcntl.LOCK_EX)

    def remove(self) -> None:
        """Take them away once nobody is in them any more, and let go of them."""
        remove_directories(self._made)
        self.let_go()

    def let_go(self) -> None:
        """Leave them to whoever wants them."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1
        self._made = []


def _clear_away(directory: str) -> None:
    """Take away a group that was left by a shim that was killed, with the counters of that run, or in which a process waits for
    this very container. Who keeps that one takes it away too, and must be done with it before there is another of its name.
    """
    deadline = time.monotonic() + _CLEANING_S
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _empty(directory)
        while time.monotonic() < deadline:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.001)
        remove_directory(directory, deadline)
    finally:
        os.close(descriptor)


def remove(plan: Plan) -> None:
    """Take them away. A cgroup is busy for as long as the last of its processes is on its way out."""
    remove_directories(plan["cgroup_places"])


def remove_directories(directories: Sequence[str]) -> None:
    """Take groups away, the last one first."""
    deadline = time.monotonic() + _CLEANING_S
    for directory in reversed(directories):
        remove_directory(directory, deadline)


def remove_directory(directory: str, deadline: float) -> None:
    """Take one away, if it is there and nobody is in it before the deadline (of the monotonic clock).

    Who is still in it has no container any more: a command that was frozen before it could enter one would wait there for ever.
    """
    while True:
        try:
            os.rmdir(directory)
        except OSError as error:
            if error.errno == errno.EBUSY and time.monotonic() < deadline:
                _kill(directory)
                time.sleep(0.001)
                continue
        break


def remove_shelves(plan: Plan) -> None:
    """Take away what was made above them for this container, unless another's group is in it by now."""
    for directory in reversed(plan["cgroup_shelves"]):
        try:
            os.rmdir(directory)
        except OSError:
            break


def kill(plan: Plan) -> None:
    """End what the first process has left: without a pid namespace of its own, its end is not theirs. Only a cgroup knows them."""
    for directory in plan["cgroup_directories"][:1]:
        _empty(directory)


def _empty(directory: str) -> None:
    """Kill who is in a group, until nobody is."""
    deadline = time.monotonic() + _CLEANING_S
    while _kill(directory) and time.monotonic() < deadline:
        time.sleep(0.002)


def _kill(directory: str) -> bool:
    """Kill who is in a group; whether there was anybody."""
    try:
        with open(f"{directory}/cgroup.procs", "rb") as file:
            found = file.read().split()
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno != errno.ENODEV:  # it went while it was read
            raise
        return False
    for pid in map(int, found):
        try:
            if pid:  # 0 stands for one that this pid namespace does not see
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return bool(found)


def oom_kills(plan: Plan) -> int:
    """How often the kernel killed for want of memory in the container's cgroup (memory.oom_control, memory.events)."""
    try:
        words = smallfiles.read(plan["oom_file"]).split()
        return int(words[words.index(b"oom_kill") + 1])
    except (OSError, ValueError):
        return 0
