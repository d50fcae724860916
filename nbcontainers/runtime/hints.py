"""What can be done about a container that could not be started, or that cannot be had here."""

from __future__ import annotations

import errno
import os

from ..linux import inside
from . import plug

AGAIN = "start it again: it was not the container's own doing"
_OF_EXEC = {
    "executable file not found in $PATH": "name a program that the image has, or its path where that is no folder of PATH",
    "no such file or directory": "the image has no such file, or lacks the interpreter that it names",
    "not a directory": "the image has no such file: a part of its path is a file",
    "permission denied": "name a file that the user of the container may execute",
    "exec format error": "it is for another processor, or a script whose first line is not like #!/bin/sh",
}


def of_privilege() -> str:
    """What this user, who may be root of less than a host, can do about privilege that is wanting."""
    return "run as root" if os.geteuid() else "run as root of the host itself, with all that root may"


def of_start(stage: str, number: int, words: str) -> str:
    """A hint for what a shim said of a start that failed: at which stage, with which errno, in which words; empty if there is none."""
    if words == plug.GONE or (stage == "start" and number == errno.ESRCH):  # see ``init.cause``
        return AGAIN
    if stage == "start" and number == errno.ENOSYS:
        return "its policy of system calls kills for one that the start needs: allow it (where PRoot shows the files, what that needs too)"
    if words.endswith(inside.NO_PROC):
        return "mount nothing else there"
    if stage in {"namespaces", "fork"} and number in {errno.ENOSPC, errno.EAGAIN, errno.ENOMEM, errno.EUSERS}:
        return "too many processes or namespaces: see ulimit -u and /proc/sys/user"
    if stage.startswith("mount ") and number == errno.ENOENT:
        return "what is mounted must be there"
    if stage.startswith("mount ") and number == errno.EINVAL and words.endswith(("'uid'", "'gid'")):
        return (
            "it has no such id: leave uid and gid out, or run as root or as a user with a range of ids in /etc/subuid"
        )
    if stage.startswith("mount ") and number == errno.EROFS:
        return "its place is missing in what is mounted around it, which is read-only: name a folder that is there"
    if stage == "cgroup" and number == errno.EINVAL and os.sched_getscheduler(0) in {os.SCHED_FIFO, os.SCHED_RR}:
        return "this process is scheduled in real time, for which no group has a share: start it with 'chrt --other 0'"
    if stage == "sysctl" and number == errno.ENOENT:
        return "'ls -R /proc/sys/net' in a container shows those that there are"
    if stage == "sysctl" and number == errno.EPERM:
        return "leave it out: it takes a capability that this host does not give, such as CAP_NET_ADMIN"
    if stage == "sysctl":
        return "see which values the kernel takes for it"
    return of_exec(stage, words)


def of_exec(stage: str, words: str) -> str:
    """A hint for a command that could not be executed, after what the kernel said of it; empty if there is none."""
    return _OF_EXEC.get(words.rpartition(": ")[2], "") if stage == "exec" else ""
