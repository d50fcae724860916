"""A container's cgroups as its shim has them: made and limited as the plan says, asked why it ended, taken away.

Imports only what keeps the zygote small.
"""

from __future__ import annotations

import errno
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .launch import Plan

_CLEANING_S = 5.0  # how long a cgroup may stay busy with what is still ending


def make(plan: Plan) -> None:
    """Make the groups and write their limits; OSError says which value was refused where."""
    for directory in plan["cgroup_directories"]:
        try:
            os.mkdir(directory, 0o755)
        except FileExistsError:  # left by a shim that was killed: its counters are of that run
            os.rmdir(directory)
            os.mkdir(directory, 0o755)
    opened, descriptor = "", -1  # several rules in a row go into one file, each with a write of its own
    for path, value in plan["cgroup_writes"]:
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


def remove(plan: Plan) -> None:
    """Take them away. A cgroup is busy for as long as the last of its processes is on its way out."""
    deadline = time.monotonic() + _CLEANING_S
    for directory in reversed(plan["cgroup_directories"]):
        while True:
            try:
                os.rmdir(directory)
            except OSError as error:
                if error.errno == errno.EBUSY and time.monotonic() < deadline:
                    time.sleep(0.001)
                    continue
            break


def oom_kills(plan: Plan) -> int:
    """How often the kernel killed for want of memory in the container's cgroup (memory.oom_control, memory.events)."""
    try:
        with open(plan["oom_file"], "rb", buffering=0) as file:
            words = (file.read() or b"").split()
        return int(words[words.index(b"oom_kill") + 1])
    except (OSError, ValueError):
        return 0
