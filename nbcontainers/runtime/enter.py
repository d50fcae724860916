"""A further command in a container that runs: into its cgroups and namespaces, and then as init did it.

The shim forks a process that joins the cgroups, enters every namespace by the pidfd of the container's init at once, and
makes a child there: only a child is in the pid namespace. That child becomes the shim's (CLONE_PARENT), takes on what the
container's own process took on (limits, capabilities, system call policy) and executes. Until then nobody inside can look
into it: it is not dumpable, has no descriptor but those it needs (CVE-2019-5736, CVE-2024-21626), and its executable is the
zygote's sealed copy. Imports only what keeps the zygote small.

On the report socket come, in order: ``p`` and the child's pid in 8 bytes, ``t`` with the other end of a terminal if one was
wanted, and what init reports: ``x`` and the end, or why not.
"""

from __future__ import annotations

import errno
import os
import sys

from ..linux import syscalls
from ..linux.syscalls import PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS
from . import becoming, groups, init, remapped
from .descriptors import keep_only

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .plan import Plan

ENTERED = b"p"
_KINDS = (
    ("user", syscalls.CLONE_NEWUSER),
    ("mnt", syscalls.CLONE_NEWNS),
    ("pid", syscalls.CLONE_NEWPID),
    ("net", syscalls.CLONE_NEWNET),
    ("ipc", syscalls.CLONE_NEWIPC),
    ("uts", syscalls.CLONE_NEWUTS),
    ("cgroup", syscalls.CLONE_NEWCGROUP),
    ("time", syscalls.CLONE_NEWTIME),
)


def namespaces(pid: int) -> int:
    """The kinds of namespaces, as CLONE_NEW flags, in which a process is not where this one is; ESRCH where it has ended."""
    flags = 0
    for name, flag in _KINDS:
        try:
            ours = os.stat(f"/proc/self/ns/{name}").st_ino
        except FileNotFoundError:  # a kernel without this kind
            continue
        try:
            theirs = os.stat(f"/proc/{pid}/ns/{name}").st_ino
        except FileNotFoundError:  # it ended meanwhile: it is in none
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from None
        if theirs != ours:
            flags |= flag
    return flags


def run(
    plan: Plan, target: int, flags: int, stdio: tuple[int, int, int], report: int, go: int, channel: int
) -> NoReturn:
    """Enter the container and execute the plan's command; never returns.

    Args:
        plan: the container's, with the command, user, folder, variables and terminal of this one in place of its own.
        target: a pidfd of the container's init.
        flags: the namespaces to enter.
        stdio: descriptors for 0, 1 and 2; -1 where the container's own /dev/null is to be used, or a terminal.
        report: a Unix socket, see above.
        go: the read end of a pipe: two bytes say that the shim knows the child's pid. Its end says that the shim is gone.
        channel: to the supervisor of identities, where the plan wants one, else -1.
    """
    stage = "descriptors"
    try:
        report, go, target, channel = keep_only(stdio, report, go, target, channel)
        stage = "limits"
        init.set_oom_score(plan)
        init.limit(plan)
        stage = "cgroup"
        groups.take_changes(plan)
        groups.join(plan["join"])
        stage = "namespaces"
        syscalls.prctl(PR_SET_DUMPABLE, 0)
        syscalls.setns(target, flags)
        os.close(target)
        pid, _pidfd = syscalls.clone3(syscalls.CLONE_PARENT)
        if pid:
            os.write(report, ENTERED + pid.to_bytes(8, sys.byteorder))
            os._exit(0)
        _become(plan, stdio, report, go, channel)
    except BaseException as error:
        init.tell(report, stage, error)
    finally:
        os._exit(125)


def _become(plan: Plan, stdio: tuple[int, int, int], report: int, go: int, channel: int) -> None:
    """What the child does, in the order in which the kernel wants it; see ``init.run``."""
    stage = "parent"
    try:
        if not os.read(go, 1):  # what is reported from here on comes after the pid
            os._exit(125)
        if plan["owner"]:
            stage = "user namespace"
            remapped.become_root()
        stage = "session"
        os.setsid()
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if plan["terminal"]:
            stage = "terminal"
            init.open_terminal(root, plan["terminal"], report, console=False)
        elif -1 in stdio:
            stage = "/dev/null"
            _read_nothing(stdio)
        os.close(root)
        stage = "user"
        uid, gid, groups, home = becoming.identify(plan)
        stage = "identity"
        becoming.own_streams(uid, gid)
        if not plan["no_new_privs"]:
            stage = "seccomp"
            init.guard(plan, channel, (uid, gid, groups))
        stage = "identity"
        syscalls.bound(plan["capabilities"])
        becoming.become(plan, uid, gid, groups)
        stage = "working directory"
        os.chdir(plan["cwd"])
        os.getcwd()  # refuses a directory that does not lie below the root (CVE-2024-21626)
        os.umask(plan["umask"])
        if plan["no_new_privs"]:
            stage = "no_new_privs"
            syscalls.prctl(PR_SET_NO_NEW_PRIVS, 1)
            stage = "seccomp"
            init.guard(plan, channel, (uid, gid, groups))
        stage = "parent"
        init.tie_to_shim(go)
        stage = "exec"
        becoming.execute(plan, home, report)
    except BaseException as error:
        init.tell(report, stage, error)
    finally:
        os._exit(125)


def _read_nothing(stdio: tuple[int, int, int]) -> None:
    """The container's own /dev/null for what was not given."""
    descriptor = becoming.open_null(os.O_RDWR)
    for number, given in enumerate(stdio):
        if given < 0:
            os.dup2(descriptor, number)
    os.close(descriptor)
