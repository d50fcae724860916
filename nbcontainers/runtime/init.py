"""What runs between clone and exec: one straight list, in the order in which the kernel wants it.

Runs as the first process of the new namespaces. Whatever fails is told through the report pipe (see ``report``); the byte ``x``
on it says that exec comes next, and its end (it is close-on-exec) that exec happened. Imports only what keeps the zygote small,
and nothing once the root has changed: the files would be the image's.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import marshal
import os
import resource
import select
import sys

from ..linux import pages, rights, slices, syscalls
from ..linux.syscalls import (
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
)
from . import becoming, groups, remapped, rootfs, terminal
from . import report as reports
from .descriptors import keep_only
from .identity import supervisor

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import NoReturn

    from .pattern import Pattern
    from .plan import Plan

    Ends = tuple[tuple[int, int, int], int, int, int]
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory

READY = b"r"
_KILLED, _FORBIDDEN = 128 + 9, 128 + 31  # by SIGKILL and SIGSYS
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1  # include/uapi/linux/sockios.h, if.h


def run(
    plan: Plan,
    take: Callable[[], Ends],
    given: tuple[list[int], list[int]] = ([], []),
    prepared: tuple[int, int] | None = None,
) -> NoReturn:
    """Become the container's process; never returns.

    Args:
        plan: what ``launch.compile`` made.
        take: gives what leads to the shim, (stdio, report, go, channel); it is called as late as can be, for the shim may still make it.
            stdio: descriptors for 0, 1 and 2; the first is -1 where the container's own /dev/null is to be read, all are where it
            gets a terminal. report: the write end of the report pipe; a Unix socket where it gets a terminal, whose other end is
            sent through it. go: the read end of a pipe: one byte says that the id maps are written (only where there is a user
            namespace that was not prepared), one that the cgroups are there, and one that the pid is on disk. Its end says that
            the shim is gone. channel: to the supervisor of identities, where the plan wants one, else -1.
        given: what ``remapped.take`` took, where the plan has an ``owner``.
        prepared: what ``prepare`` made of the plan's pattern, if it did already.
    """
    stage = "descriptors"
    report = go = channel = -1

    def at(name: str) -> None:
        nonlocal stage
        stage = name

    try:
        shelf, shelf_null = prepared or (-1, -1)
        trees, binds = given
        # What is made until the streams are needed wants nothing of the shim, but for groups that take nobody before they are filled,
        # and for rules without which no device can be made or opened.
        is_grouped = bool(plan["pattern"]["groups"]["join"]) or not plan["join"]
        is_late = prepared is not None and is_grouped and not plan["devices"]
        if not is_late:
            stdio, report, go, channel = take()
            report, go, channel, shelf, shelf_null, *kept = keep_only(
                stdio, report, go, channel, shelf, shelf_null, *trees, *binds
            )
            trees, binds = kept[: len(trees)], kept[len(trees) :]
        if prepared is None and plan["uid_map"]:
            at("user namespace")
            await_word(go)
        at("session")
        os.setsid()
        if prepared is None:
            at("cgroup")
            await_word(go)
            join_cgroups(plan["join"], plan["late_flags"])
        if plan["owner"]:  # only now: the cgroups are the host's root's
            at("user namespace")
            remapped.become_root()
            syscalls.prctl(PR_SET_DUMPABLE, 1)  # which a change of ids takes away, and with it our files in /proc
        at("namespaces")
        for path, flag in plan["enter"]:
            other = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            syscalls.setns(other, flag)
            os.close(other)
        if prepared is None:
            shelf, shelf_null = prepare(plan["pattern"], at)
        root, taken = rootfs.begin(plan, at, (trees, binds), is_alone=shelf >= 0)
        if prepared is not None and not is_late:  # while the groups are made and limited
            at("cgroup")
            await_word(go)
            if not is_grouped:
                join_cgroups(plan["join"], plan["late_flags"])
        null = rootfs.complete(plan, at, root, taken, (shelf, shelf_null))
        at("sysctl")
        rootfs.set_sysctls(root, plan["sysctl"])
        at("masked paths")
        rootfs.protect(root, null, plan["masked_paths"], plan["readonly_paths"])
        has_devices = null >= 0
        if has_devices:
            os.close(null)
        at("hostname")
        if plan["hostname"]:
            syscalls.sethostname(plan["hostname"])
        if plan["domainname"]:
            syscalls.setdomainname(plan["domainname"])
        at("limits")
        set_oom_score(plan)
        at("pivot_root")
        if shelf >= 0 and not trees:
            rootfs.put_away(shelf, plan["folder"])
        rootfs.enter(root, 1 + (shelf >= 0) if trees else 0)  # who has trees reaches no folder to put anything away
        if shelf >= 0:
            os.close(shelf)
        at("user")
        uid, gid, groups, home = becoming.identify(plan)
        at("working directory")
        os.umask(0o022)
        whose = (uid, gid) if plan["cwd_is_users"] else (0, 0)
        becoming.make_directory(plan["cwd"], *whose, is_recorded=plan["identity"] is not None)
        if is_late:
            at("descriptors")
            stdio, report, go, channel = take()
            report, go, channel, root = keep_only(stdio, report, go, channel, root)
            at("cgroup")
            await_word(go)
        if plan["terminal"]:
            at("terminal")
            open_terminal(root, plan["terminal"], report, console=True)
        elif stdio[0] < 0 and has_devices:
            at("standard input")
            nothing = becoming.open_null(os.O_RDONLY)
            os.dup2(nothing, 0)
            os.close(nothing)
        if plan["readonly_root"]:
            at("read-only root")
            rootfs.freeze_root(root)
        os.close(root)
        at("limits")
        limit(plan)
        at("identity")
        becoming.own_streams(uid, gid)
        if not plan["no_new_privs"]:
            at("seccomp")  # without no_new_privs the kernel wants CAP_SYS_ADMIN for a filter: before they are dropped
            guard(plan, channel, (uid, gid, groups))
        at("identity")
        if not plan["flags"] & syscalls.CLONE_NEWPID:
            # Who is in its pid namespace already and holds as much as it will hold could trace it once it holds no more, and
            # write to its shim through the report pipe.
            syscalls.prctl(PR_SET_DUMPABLE, 0)
        becoming.become(plan, uid, gid, groups)
        at("working directory")
        os.chdir(plan["cwd"])
        os.getcwd()  # refuses a directory that does not lie below the root (CVE-2024-21626)
        os.umask(plan["umask"])
        if plan["no_new_privs"]:
            at("no_new_privs")
            syscalls.prctl(PR_SET_NO_NEW_PRIVS, 1)
            at("seccomp")
            guard(plan, channel, (uid, gid, groups))
        at("parent")
        tie_to_shim(go)
        at("exec")
        becoming.execute(plan, home, report)
    except BaseException as error:
        tell(report if report >= 0 else take()[1], stage, error)
    finally:
        os._exit(125)


def prepare(pattern: Pattern, at: Callable[[str], None]) -> tuple[int, int]:
    """Make what a pattern has, in the namespaces of its flags; see ``rootfs.prepare``."""
    made = rootfs.prepare(pattern, at)
    at("network")
    if pattern["loopback"]:
        raise_loopback()
    at("identity")
    syscalls.bound(pattern["capabilities"])
    return made


def wait(pattern: Pattern, end: int, bell: int) -> NoReturn:
    """Become a container's process before there is a plan; never returns. No other descriptors are open.

    Args:
        pattern: what is made at once, and then has to be in the plan.
        end: a SOCK_SEQPACKET socket to the shim. It says that this process can begin (the id maps are written, if there are any),
            is told READY, and brings the plan, a word to become what it says, and what ``run`` takes; its end is that of this process.
        bell: an eventfd that says that there is a plan. Whoever writes to a socket is taken for one who goes to sleep then, and the
            kernel has the reader wait for his processor; with this it gets one that is idle.
    """

    def take() -> Ends:
        data, descriptors = rights.receive(end)
        if not data:
            os._exit(125)
        stdin, out, err, report, go, channel = rights.unpack(data, descriptors)
        return (stdin, out, err), report, go, channel

    try:
        syscalls.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        syscalls.set_name("nbc-init")
        await_word(end)
        join_cgroups(pattern["groups"]["join"], pattern["groups"]["late_flags"])
        made = prepare(pattern, lambda stage: None)
        os.write(end, READY)
        rings = select.poll()
        rings.register(bell, select.POLLIN)
        rings.register(end, 0)  # its end
        try:
            pages.fetch(lambda: bool(rings.poll(0)))  # its lender's, which the container is not charged with
        except OSError:
            pass  # each is copied when it is written to
        rings.poll()
        _, [text] = rights.receive(end)
        plan = read(text)
        await_word(end)
        run(plan, take, prepared=made)
    finally:
        os._exit(125)


def read(text: int) -> Plan:
    """The plan that a descriptor leads to."""
    plan: Plan = marshal.loads(os.pread(text, os.fstat(text).st_size, 0))  # noqa: S302 - by our own engine, in memory that only ours have
    return plan


def tell(report: int, stage: str, error: BaseException) -> None:
    """Say through the report pipe at which stage what went wrong."""
    number, code, words = 0, 125, str(error) or type(error).__name__
    if isinstance(error, becoming.Refused):
        words, code = error.args
    elif isinstance(error, OSError) and error.errno:
        number = error.errno
        about = f": {os.fsdecode(error.filename)!r}" if isinstance(error.filename, str | bytes) else ""
        words = f"{error.strerror}{about}"
    os.write(report, reports.failure(stage, number, words, code))


def told(report: bytes) -> tuple[str, int, str, int] | None:
    """What ``tell`` has said in a report, None where it has said nothing."""
    return reports.read(report.removeprefix(becoming.EXECUTES))


def cause(report: bytes, ended_by: str, code: int, out_of_memory: bool) -> tuple[str, int, str, int]:
    """Why a report says that there was no exec: (stage, errno, message, exit code). What ended the process is its shim's to know.

    The errno is ESRCH where somebody killed it, ENOSYS where a policy of system calls did.
    """
    if found := told(report):
        return found
    if ended_by:
        return "start", 0, ended_by, 125
    why = ": its memory limit leaves no room to start in" if out_of_memory else ""
    number = errno.ESRCH if code == _KILLED and not out_of_memory else errno.ENOSYS if code == _FORBIDDEN else 0
    return "start", number, f"the first process was ended (status {code}) before its command ran{why}", 125


def open_terminal(root: int, size: list[int], report: int, *, console: bool) -> None:
    """Make a terminal the standard streams, and /dev/console if so; send its other end through the report socket."""
    master, slave = terminal.open_pair(root, *size)
    if console:
        terminal.bind_console(root, slave)
    terminal.hand_over(report, master)
    terminal.take(slave)


def guard(plan: Plan, channel: int, ids: tuple[int, int, list[int]]) -> None:
    """Install the filters: first the one by which identities are answered, for the policy may forbid what that takes."""
    if plan["identity"] is not None:
        supervisor.join(channel, plan["identity"]["filter"], ids)
    if plan["seccomp"]:
        syscalls.seccomp(plan["seccomp"], plan["seccomp_flags"])


def tie_to_shim(go: int) -> None:
    """Die with the shim from here on; one that is gone already has left its end of the pipe closed.

    To be called after the last change of ids, which clears what is asked for here.
    """
    syscalls.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    lives = select.poll()
    lives.register(go, 0)
    if not os.read(go, 1) or lives.poll(0):
        os._exit(125)


def await_word(go: int) -> None:
    """Wait until the shim says the next thing; its end is that of this process."""
    if not os.read(go, 1):
        os._exit(125)


def join_cgroups(files: list[str], late_flags: int) -> None:
    """Move into the container's groups, and make the namespaces that depend on that."""
    groups.join(files)
    if late_flags:
        # A cgroup namespace shows as its root the groups that its maker is in, so it is made after joining them.
        syscalls.unshare(late_flags)


def raise_loopback() -> None:
    """A new network namespace has a loopback interface, which is down; root without CAP_NET_ADMIN has to leave it so."""
    control = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    request = bytearray(b"lo".ljust(40, b"\0"))  # struct ifreq
    request[16:18] = _IFF_UP.to_bytes(2, sys.byteorder)  # the others are not ours to change
    try:
        fcntl.ioctl(control.fileno(), _SIOCSIFFLAGS, request)
    except PermissionError:
        pass  # which the host's notes tell
    control.close()


def set_oom_score(plan: Plan) -> None:
    """Take on the badness that processes hand down; while /proc is that of the host."""
    if plan["oom_score_adj"] is not None:
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        os.write(descriptor, b"%d" % plan["oom_score_adj"])
        os.close(descriptor)


def limit(plan: Plan) -> None:
    """Take on what processes hand down, in place of what the zygote has: limits, processors, the length of turns."""
    slices.take_usual()
    for number, soft, hard in plan["rlimits"]:
        resource.setrlimit(number, (soft, hard))
    if plan["processors"]:
        try:
            os.sched_setaffinity(0, plan["processors"])
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror}: processors {plan['processors']}") from error
