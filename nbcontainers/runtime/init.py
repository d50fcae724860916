"""What runs between clone and exec: one straight list, in the order in which the kernel wants it.

Runs as the first process of the new namespaces. Whatever fails is told through the report pipe as a marshalled
(stage, errno, message, exit code); the byte ``x`` on it says that exec comes next, and its end (it is close-on-exec) that
exec happened. Imports only what keeps the zygote small, and nothing once the root has changed: the files would be the image's.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import marshal
import os
import resource
import select
import stat
import sys

from ..linux import recorded, syscalls
from ..linux.syscalls import (
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAPBSET_DROP,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
)
from . import remapped, rootfs, terminal, user
from .identity import supervisor

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import NoReturn

    from .pattern import Pattern
    from .plan import Plan
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory

EXECUTES = b"x"
READY = b"r"
_DEFAULT_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1  # include/uapi/linux/sockios.h, if.h
_MOST_USERS = 1 << 24  # bytes of a passwd or group file: some 200,000 people
_HIGH = 200  # above every descriptor that a shim has open


class Refused(Exception):
    """The command cannot be run: its text is Docker's, its second argument the exit code."""


def run(
    plan: Plan,
    stdio: tuple[int, int, int],
    report: int,
    go: int,
    channel: int,
    given: tuple[list[int], list[int]] = ([], []),
    prepared: tuple[int, int] | None = None,
) -> NoReturn:
    """Become the container's process; never returns.

    Args:
        plan: what ``launch.compile`` made.
        stdio: descriptors for 0, 1 and 2; the first is -1 where the container's own /dev/null is to be read, all are where it
            gets a terminal.
        report: the write end of the report pipe; a Unix socket where it gets a terminal, whose other end is sent through it.
        go: the read end of a pipe: one byte says that the id maps are written (only where there is a user namespace that was not
            prepared), one that the cgroups are there, and one that the pid is on disk. Its end says that the shim is gone.
        channel: to the supervisor of identities, where the plan wants one, else -1.
        given: what ``remapped.take`` took, where the plan has an ``owner``.
        prepared: what ``prepare`` made of the plan's pattern, if it did already.
    """
    stage = "descriptors"

    def at(name: str) -> None:
        nonlocal stage
        stage = name

    try:
        trees, binds = given
        report, go, channel, *kept = keep_only(stdio, report, go, channel, *(prepared or (-1, -1)), *trees, *binds)
        shelf, shelf_null, *kept = kept
        if prepared is None and plan["uid_map"]:
            at("user namespace")
            if not os.read(go, 1):
                os._exit(125)
        at("session")
        os.setsid()
        if prepared is None:
            at("cgroup")
            join_cgroups(plan, go)
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
        root, taken = rootfs.begin(plan, at, (kept[: len(trees)], kept[len(trees) :]), is_alone=shelf >= 0)
        if prepared is not None:  # while the groups are made
            at("cgroup")
            join_cgroups(plan, go)
        null = rootfs.complete(plan, at, root, taken, (shelf, shelf_null))
        if plan["terminal"]:
            at("terminal")
            open_terminal(root, plan["terminal"], report, console=True)
        elif stdio[0] < 0 and null >= 0:
            # Never the host's node: through it a container's root could change the mode of the host's /dev/null.
            own = os.open(f"/proc/self/fd/{null}", os.O_RDONLY | os.O_CLOEXEC)
            os.dup2(own, 0)
            os.close(own)
        at("sysctl")
        rootfs.set_sysctls(root, plan["sysctl"])
        at("masked paths")
        rootfs.protect(root, null, plan["masked_paths"], plan["readonly_paths"])
        at("hostname")
        if plan["hostname"]:
            syscalls.sethostname(plan["hostname"])
        if plan["domainname"]:
            syscalls.setdomainname(plan["domainname"])
        at("limits")
        limit(plan)
        at("pivot_root")
        rootfs.enter(root, bool(trees) + (shelf >= 0))
        if shelf >= 0:
            os.close(shelf)
        at("user")
        uid, gid, groups, home = identify(plan)
        at("working directory")
        os.umask(0o022)
        make_directory(plan["cwd"], uid, gid, is_recorded=plan["identity"] is not None)
        if plan["readonly_root"]:
            at("read-only root")
            rootfs.freeze_root(root)
        os.close(root)
        if null >= 0:
            os.close(null)
        at("identity")
        own_streams(uid, gid)
        if not plan["no_new_privs"]:
            at("seccomp")  # without no_new_privs the kernel wants CAP_SYS_ADMIN for a filter: before they are dropped
            guard(plan, channel, (uid, gid, groups))
        at("identity")
        if not plan["flags"] & syscalls.CLONE_NEWPID:
            # Who is in its pid namespace already and holds as much as it will hold could trace it once it holds no more, and
            # write to its shim through the report pipe.
            syscalls.prctl(PR_SET_DUMPABLE, 0)
        become(plan, uid, gid, groups)
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
        execute(plan, home, report)
    except BaseException as error:
        tell(report, stage, error)
    finally:
        os._exit(125)


def prepare(pattern: Pattern, at: Callable[[str], None]) -> tuple[int, int]:
    """Make what a pattern has, in the namespaces of its flags; see ``rootfs.prepare``."""
    made = rootfs.prepare(pattern, at)
    at("network")
    if pattern["loopback"]:
        raise_loopback()
    at("identity")
    bound(pattern["capabilities"])
    return made


def wait(pattern: Pattern, end: int) -> NoReturn:
    """Become a container's process before there is a plan; never returns.

    Args:
        pattern: what is made at once, and then has to be in the plan.
        end: a SOCK_SEQPACKET socket to the shim. It says that the id maps are written (only where there is a user namespace),
            is told READY, and brings the plan and the descriptors that ``run`` takes; its end is that of this process.
    """
    try:
        syscalls.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        syscalls.set_name("nbc-init")
        [end] = keep_only((-1, -1, -1), end)
        if pattern["uid_map"] and not os.read(end, 1):
            os._exit(125)
        made = prepare(pattern, lambda stage: None)
        os.write(end, READY)
        data, descriptors = terminal.receive(end)
        if data:
            plan: Plan = marshal.loads(os.pread(descriptors[0], os.fstat(descriptors[0]).st_size, 0))  # noqa: S302 - from our own shim
            rest = iter(descriptors[1:])
            stdin, out, err, report, go, channel = (next(rest) if is_given else -1 for is_given in data)
            run(plan, (stdin, out, err), report, go, channel, prepared=made)
    finally:
        os._exit(125)


def tell(report: int, stage: str, error: BaseException) -> None:
    """Say through the report pipe at which stage what went wrong."""
    number, code, words = 0, 125, str(error) or type(error).__name__
    if isinstance(error, Refused):
        words, code = error.args
    elif isinstance(error, OSError) and error.errno:
        number = error.errno
        about = f": {os.fsdecode(error.filename)!r}" if isinstance(error.filename, str | bytes) else ""
        words = f"{error.strerror}{about}"
    os.write(report, marshal.dumps((stage, number, words, code)))


def cause(report: bytes, ended_by: str, code: int, out_of_memory: bool) -> tuple[str, int, str, int]:
    """Why a report says that there was no exec: (stage, errno, message, exit code). What ended the process is its shim's to know."""
    told = report.removeprefix(EXECUTES)
    if told:
        found: tuple[str, int, str, int] = marshal.loads(told)  # noqa: S302 - written by our own init
        return found
    if ended_by:
        return "start", 0, ended_by, 125
    why = ": its memory limit leaves no room to start in" if out_of_memory else ""
    return "start", 0, f"the first process was ended (status {code}) before its command ran{why}", 125


def open_terminal(root: int, size: list[int], report: int, *, console: bool) -> None:
    """Make a terminal the standard streams, and /dev/console if so; send its other end through the report socket."""
    master, slave = terminal.open_pair(root, *size)
    if console:
        terminal.bind_console(root, slave)
    terminal.hand_over(report, master)
    terminal.take(slave)


def keep_only(stdio: tuple[int, int, int], *kept: int) -> list[int]:
    """Put the standard streams in place and close every other descriptor but those to be kept (CVE-2024-21626); -1 is none."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    above = _HIGH if most < 0 else max(3, min(_HIGH, most - len(kept)))
    high = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, above) if number >= 0 else -1 for number in kept]
    for number, descriptor in enumerate(stdio):
        if descriptor >= 0:
            os.dup2(descriptor, number)
    first = 3
    for descriptor in sorted(number for number in high if number >= 0):
        if first < descriptor:
            syscalls.close_range(first, descriptor - 1)
        first = descriptor + 1
    syscalls.close_range(first)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and exec would keep so
        signal.signal(number, signal.SIG_DFL)
    return high


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


def join_cgroups(plan: Plan, go: int) -> None:
    """Move into the container's groups once they are there, and make the namespaces that depend on that."""
    if not os.read(go, 1):
        os._exit(125)
    for path in plan["join"]:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        os.write(descriptor, b"0")
        os.close(descriptor)
    if plan["late_flags"]:
        # A cgroup namespace shows as its root the groups that its maker is in, so it is made after joining them.
        syscalls.unshare(plan["late_flags"])


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


def limit(plan: Plan) -> None:
    """Take on the limits that processes hand down."""
    if plan["oom_score_adj"] is not None:
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        os.write(descriptor, b"%d" % plan["oom_score_adj"])
        os.close(descriptor)
    for number, soft, hard in plan["rlimits"]:
        resource.setrlimit(number, (soft, hard))


def identify(plan: Plan) -> tuple[int, int, list[int], str]:
    """(uid, gid, groups, home): those of the user word, else the plan's ids with the home that passwd has for them."""
    passwd, group = _content("/etc/passwd"), _content("/etc/group")
    if plan["user"]:
        uid, gid, groups, home = user.look_up(plan["user"], passwd, group)
    else:
        uid, gid, groups = plan["ids"]
        home = user.look_up(str(uid), passwd, b"")[3]
    return uid, gid, user.with_groups(groups, plan["groups"], group), home


def _content(path: str) -> bytes:
    """A file of the image, empty where there is none; never a pipe or a device, which could hold a start up for ever."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return b""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return b""
        if status.st_size > _MOST_USERS:
            raise Refused(
                f"the image's {path} has {status.st_size} bytes, more than the {_MOST_USERS} that are read of it", 125
            )
        parts = []
        while part := os.read(descriptor, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def make_directory(path: str, uid: int, gid: int, *, is_recorded: bool) -> None:
    """Make the working directory where it is missing, owned by the user (or recorded as his), as Docker does."""
    walked = ""
    for name in path.split("/"):
        walked += "/" + name if name else ""
        if not walked or os.path.isdir(walked):
            continue
        os.mkdir(walked, 0o755)
        if not is_recorded:
            os.chown(walked, uid, gid)
        elif (uid, gid) != (0, 0):
            os.setxattr(walked, recorded.NAME, recorded.text((uid, gid, stat.S_IFDIR | 0o755, 0, 0)))


def own_streams(uid: int, gid: int) -> None:
    """Let the user open /dev/stdout again: a pipe or terminal belongs to its maker. The ids may be none of this namespace:
    then so be it.
    """
    if not uid:
        return
    for number in range(3):
        if stat.S_ISFIFO(os.fstat(number).st_mode) or os.isatty(number):
            try:
                os.fchown(number, uid, -1 if os.isatty(number) else gid)  # a terminal's group is tty
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise


def bound(capabilities: int) -> None:
    """Let no program that is executed gain others than these."""
    for number in range(64):
        if not capabilities >> number & 1:
            try:
                syscalls.prctl(PR_CAPBSET_DROP, number)
            except OSError as error:
                if error.errno == errno.EINVAL:  # the first number that this kernel does not know
                    break
                raise


def become(plan: Plan, uid: int, gid: int, groups: list[int]) -> None:
    """Take on the ids and the capabilities, once ``bound``: a user other than root holds none, as in Docker."""
    syscalls.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    held = plan["capabilities"] if uid == 0 else 0
    if plan["identity"] is not None:  # who this is stands in the supervisor's books
        syscalls.capset(held, held, 0)
        return
    try:
        if plan["sets_groups"]:
            os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        if error.errno == errno.EINVAL and plan["uid_map"]:
            words = f"user {uid}:{gid} cannot be taken on: the user namespace of this host's tier maps root only"
            raise Refused(words, 125) from error
        raise
    syscalls.capset(held, held, 0)


def confine(profile: str) -> None:
    """Have the next exec change to an AppArmor profile; only a process itself can ask for that, and with the ids that it has then.

    Source: Documentation/admin-guide/LSM/apparmor.rst, apparmor(7); proc_pid_attr(5).
    """
    for path in ("/proc/self/attr/apparmor/exec", "/proc/self/attr/exec"):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            os.write(descriptor, f"exec {profile}".encode())
        except OSError as error:
            raise Refused(f"AppArmor profile {profile!r}: {error.strerror}", 125) from error
        finally:
            os.close(descriptor)
        return
    raise Refused(f"AppArmor profile {profile!r}: /proc/self/attr is not there", 125)


def execute(plan: Plan, home: str, report: int) -> NoReturn:
    """Find the command as Docker does (a name without a slash along PATH) and become it."""
    env = plan["env"]
    env.setdefault(b"HOME", os.fsencode(home))
    args = plan["args"]
    if plan["apparmor"]:
        confine(plan["apparmor"])
    path = args[0] if b"/" in args[0] else _along_path(args[0], env.get(b"PATH", _DEFAULT_PATH))
    os.write(report, EXECUTES)
    try:
        os.execve(path, args, env)
    except OSError as error:
        missing = error.errno in {errno.ENOENT, errno.ENOTDIR}
        words = f'exec: "{os.fsdecode(args[0])}": {(error.strerror or "").lower()}'
        raise Refused(words, 127 if missing else 126) from error


def _along_path(name: bytes, path: bytes) -> bytes:
    for folder in path.split(b":"):
        candidate = (folder or b".") + b"/" + name
        try:
            found = os.stat(candidate)
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode) and os.access(candidate, os.X_OK):
            return candidate
    raise Refused(f'exec: "{os.fsdecode(name)}": executable file not found in $PATH', 127)
