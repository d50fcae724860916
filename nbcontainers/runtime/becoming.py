"""From the container's root to its command: whose it is, where it begins, what it may gain, and exec.

Imports only what keeps the zygote small, and nothing once the root has changed.
"""

from __future__ import annotations

import errno
import os
import stat

from ..linux import recorded, smallfiles, syscalls
from ..linux.syscalls import PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL
from . import user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from .plan import Plan

EXECUTES = b"x"
DEFAULT_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NULL = os.makedev(1, 3)
_MOST_USERS = 1 << 24  # bytes of a passwd or group file: some 200,000 people


class Refused(Exception):
    """The command cannot be run: its text is Docker's, its second argument the exit code."""


def identify(plan: Plan, find: Callable[[str], str] = lambda path: path) -> tuple[int, int, list[int], str]:
    """(uid, gid, groups, home): those of the user word, else the plan's ids with the home that passwd has for them.

    ``find`` tells where a file of the container's lies.
    """
    passwd, group = _content(find("/etc/passwd")), _content(find("/etc/group"))
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
        return smallfiles.read_all(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: str, uid: int, gid: int, *, is_recorded: bool) -> None:
    """Make the working directory where it is missing, owned by somebody (or recorded as his); also that to which a link leads."""
    walked = ""
    for name in os.path.realpath(path).split("/"):
        walked += "/" + name if name else ""
        if not walked or os.path.isdir(walked):
            continue
        try:
            os.mkdir(walked, 0o755)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), walked) from error
        if not is_recorded:
            os.chown(walked, uid, gid)
        elif (uid, gid) != (0, 0):
            os.setxattr(walked, recorded.NAME, recorded.text((uid, gid, stat.S_IFDIR | 0o755, 0, 0)))


def open_null(access: int) -> int:
    """The container's own /dev/null, verified on the descriptor.

    Never the host's: through it a container's root could change the mode of the host's /dev/null.
    """
    descriptor = os.open("/dev/null", access | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    found = os.fstat(descriptor)
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != _NULL:
        raise OSError(errno.ENODEV, "/dev/null of the container is not the character device 1:3")
    os.set_blocking(descriptor, True)
    return descriptor


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


def become(plan: Plan, uid: int, gid: int, groups: list[int]) -> None:
    """Take on the ids and the capabilities, once they are ``bound``: a user other than root holds none, as in Docker."""
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
            raise Refused(f"user {uid}:{gid} cannot be taken on: {_mapped(plan)}", 125) from error
        raise
    syscalls.capset(held, held, 0)


def _mapped(plan: Plan) -> str:
    """Which ids there are, in words: those of the maps of the container's user namespace."""
    users, groups = _ranges(plan["uid_map"]), _ranges(plan["gid_map"])
    if users == groups == "0":
        return "the user namespace of this host's tier maps root only"
    also = "" if groups == users else f", and the groups {groups}"
    return f"its user namespace maps the ids {users}{also}; take one of these"


def _ranges(text: str) -> str:
    """``0 to 65535`` for a map that says so, in however many lines; see user_namespaces(7)."""
    found: list[list[int]] = []
    for first, _, size in sorted([int(word) for word in line.split()] for line in text.splitlines()):
        if found and found[-1][1] + 1 == first:
            found[-1][1] += size
        else:
            found.append([first, first + size - 1])
    return ", ".join(f"{first} to {last}" if last > first else str(first) for first, last in found)


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
    env[b"HOME"] = env.get(b"HOME") or os.fsencode(home)  # an empty one counts as none, as runc has it
    args = plan["args"]
    if plan["apparmor"]:
        confine(plan["apparmor"])
    path = args[0] if b"/" in args[0] else along_path(args[0], env.get(b"PATH", DEFAULT_PATH))
    os.write(report, EXECUTES)
    try:
        os.execve(path, args, env)
    except OSError as error:
        raise refused(args[0], error.errno) from error


def refused(name: bytes, number: int | None) -> Refused:
    """What is to be said of a command that the kernel did not execute, after its errno."""
    missing = number in {errno.ENOENT, errno.ENOTDIR}
    return Refused(f'"{os.fsdecode(name)}": {os.strerror(number or 0).lower()}', 127 if missing else 126)


def along_path(name: bytes, path: bytes, find: Callable[[bytes], str | bytes] = lambda path: path) -> bytes:
    """The path of a program that is called by its name alone; ``find`` tells where a file of the container's lies."""
    for folder in path.split(b":"):
        candidate = (folder or b".") + b"/" + name
        try:
            place = find(candidate)
            found = os.stat(place)
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode) and os.access(place, os.X_OK):
            return candidate
    raise Refused(f'"{os.fsdecode(name)}": executable file not found in $PATH', 127)
