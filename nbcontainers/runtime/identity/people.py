"""Who processes are: the calls that change it and those that ask."""

from __future__ import annotations

import _socket
import errno
import os
import stat
import struct

from ...linux import recorded, remote
from . import credentials
from .caller import AT_FDCWD, Place, line, signed
from .credentials import KEEP, KEEPS, Arguments, Credentials, Ids, kept
from .files import find
from .world import CAP_SETGID, CAP_SETUID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .caller import Caller
    from .world import World

_MOST_GROUPS = 65536  # NGROUPS_MAX
SO_PEERCRED = 17  # include/uapi/asm-generic/socket.h
_UCRED = struct.Struct("=iII")
PR_SET_KEEPCAPS, PR_SET_SECUREBITS = 8, 28
_SECBITS_THAT_KEEP = 1 << 2 | 1 << 4  # SECBIT_NO_SETUID_FIXUP, SECBIT_KEEP_CAPS
_EMPTY_PATH, _NOFOLLOW = 0x1000, 0x100


# Asking


def _ask(kind: int, which: int) -> Callable[[World, Caller], None]:
    def answer(world: World, caller: Caller) -> None:
        users, groups, *_ = world.people.of(caller.pid)
        caller.listener.succeed(caller.call, (users, groups)[kind][which])

    return answer


def _ask_all(kind: int) -> Callable[[World, Caller], None]:
    def answer(world: World, caller: Caller) -> None:
        users, groups, *_ = world.people.of(caller.pid)
        for address, number in zip(caller.args, (users, groups)[kind][:3], strict=False):
            caller.write(address, struct.pack("=I", number))
        caller.listener.succeed(caller.call)

    return answer


def getgroups(world: World, caller: Caller) -> None:
    """getgroups(2)."""
    groups = world.people.of(caller.pid)[2]
    room = signed(caller.args[0])
    if room < 0 or 0 < room < len(groups):
        raise OSError(errno.EINVAL, "no room")
    if room and groups:
        caller.write(caller.args[1], struct.pack(f"={len(groups)}I", *groups))
    caller.listener.succeed(caller.call, len(groups))


# Changing


def _change(
    kind: int, compute: Callable[[Ids, Arguments, bool], Ids], *, tells: bool = False
) -> Callable[[World, Caller], None]:
    """A call that changes user ids (kind 0) or group ids (1); with ``tells`` it returns the former file system id."""

    def act(world: World, caller: Caller) -> None:
        users, groups, others, keeps = now = world.people.of(caller.pid)
        privileged = world.allows(caller.pid, now, CAP_SETGID if kind else CAP_SETUID)
        before = groups if kind else users
        first, second, third = (number & KEEP for number in caller.args[:3])
        after = compute(before, (first, second, third), privileged)
        if after != before:
            fresh = (users, after, others, keeps) if kind else (after, groups, others, kept(users, after, keeps))
            world.people.become(caller.pid, fresh)
        caller.listener.succeed(caller.call, before[3] if tells else 0)

    return act


def setgroups(world: World, caller: Caller) -> None:
    """setgroups(2)."""
    before = world.people.of(caller.pid)
    if not world.allows(caller.pid, before, CAP_SETGID):
        raise OSError(errno.EPERM, "not root")
    count = caller.args[0] & KEEP
    if count > _MOST_GROUPS:
        raise OSError(errno.EINVAL, "too many groups")
    listed = struct.unpack(f"={count}I", remote.read(caller.pid, caller.args[1], 4 * count)) if count else ()
    groups = tuple(sorted(listed))  # as the kernel keeps them
    if groups != before[2]:
        world.people.become(caller.pid, (*before[:2], groups, before[3]))
    caller.listener.succeed(caller.call)


def getsockopt(world: World, caller: Caller) -> None:
    """getsockopt(2) of SO_PEERCRED: who is at the other end of a Unix socket, as he is now.

    The kernel tells who he was when he connected; hardly anybody becomes another meanwhile.
    """
    descriptor, level, option, value, length = caller.args[:5]
    if (level & KEEP, option & KEEP) != (_socket.SOL_SOCKET, SO_PEERCRED):
        caller.listener.proceed(caller.call)
        return
    end = caller.socket(descriptor)
    try:
        peer = _UCRED.unpack(end.getsockopt(_socket.SOL_SOCKET, SO_PEERCRED, _UCRED.size))[0]
    finally:
        end.close()
    if not peer or os.readlink(b"%d/ns/user" % peer) != os.readlink(b"%d/ns/user" % caller.pid):
        caller.listener.proceed(caller.call)  # he comes from outside
        return
    users, groups, *_ = world.people.of(peer)
    answer = _UCRED.pack(int(line(peer, b"NSpid:")[-1]), users[1], groups[1])
    answer = answer[: struct.unpack("=I", remote.read(caller.pid, length, 4))[0]]
    caller.write(value, answer)
    caller.write(length, struct.pack("=I", len(answer)))
    caller.listener.succeed(caller.call)


def prctl(world: World, caller: Caller) -> None:
    """prctl(2) by which a process keeps its capabilities when it becomes another: PR_SET_KEEPCAPS, or a bit of PR_SET_SECUREBITS."""
    option, value = caller.args[:2]
    keeps = bool(value if option & KEEP == PR_SET_KEEPCAPS else value & _SECBITS_THAT_KEEP)
    users, groups, others, flags = world.people.of(caller.pid)
    if keeps != bool(flags & KEEPS):
        world.people.become(caller.pid, (users, groups, others, flags ^ KEEPS))
    caller.listener.proceed(caller.call)


def execve(world: World, caller: Caller) -> None:
    """execve(2): the saved ids become the effective ones, and set-id bits of the file's true mode are heeded."""
    _execute(world, caller, caller.place(AT_FDCWD, caller.args[0], follow=True))


def execveat(world: World, caller: Caller) -> None:
    """execveat(2)."""
    directory, path, _, _, flags = caller.args[:5]
    place = caller.place(directory, path, follow=not flags & _NOFOLLOW, empty=bool(flags & _EMPTY_PATH))
    _execute(world, caller, place)


def _execute(world: World, caller: Caller, place: Place) -> None:
    status = os.stat(place.path, follow_symlinks=place.follow)
    if stat.S_ISREG(status.st_mode) and status.st_mode & 0o111:
        before = world.people.of(caller.pid)
        record = find(world, place) or (status.st_uid, status.st_gid, status.st_mode, 0, 0)
        after = credentials.executed(before, *_bits(world, before, record, status, place))
        if after != before:
            world.people.become(caller.pid, after)
    caller.listener.proceed(caller.call)


def _bits(
    world: World, before: Credentials, record: recorded.Record, status: os.stat_result, place: Place
) -> tuple[int | None, int | None]:
    """The user and the group that a program's set-id bits name. Those of scripts say nothing."""
    mode = recorded.mode(record, status.st_mode, status.st_size)
    uid = record[0] if mode & stat.S_ISUID else None
    gid = record[1] if mode & stat.S_ISGID and mode & stat.S_IXGRP else None
    if (uid is None or uid == before[0][1]) and (gid is None or gid == before[1][1]):
        return None, None
    if world.no_new_privs:
        return None, None
    file = os.open(place.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return (None, None) if os.pread(file, 2, 0) == b"#!" else (uid, gid)
    finally:
        os.close(file)


def chroot(world: World, caller: Caller) -> None:
    """chroot(2) and its kind: from here on a path may mean something else to some process."""
    world.is_moved = True
    caller.listener.proceed(caller.call)


# The limit in which the kernel keeps who a process is, seen as it was before


def getrlimit(world: World, caller: Caller) -> None:
    """getrlimit(2) of RLIMIT_LOCKS."""
    caller.write(caller.args[1], struct.pack("=QQ", *world.locks))
    caller.listener.succeed(caller.call)


def setrlimit(world: World, caller: Caller) -> None:
    """setrlimit(2) of RLIMIT_LOCKS, which limits nothing."""
    caller.listener.succeed(caller.call)


def prlimit64(world: World, caller: Caller) -> None:
    """prlimit(2) of RLIMIT_LOCKS."""
    if caller.args[3]:
        caller.write(caller.args[3], struct.pack("=QQ", *world.locks))
    caller.listener.succeed(caller.call)


CALLS: dict[str, Callable[[World, Caller], None]] = {
    "getuid": _ask(0, 0),
    "geteuid": _ask(0, 1),
    "getgid": _ask(1, 0),
    "getegid": _ask(1, 1),
    "getresuid": _ask_all(0),
    "getresgid": _ask_all(1),
    "getgroups": getgroups,
    "setuid": _change(0, credentials.set_id),
    "setgid": _change(1, credentials.set_id),
    "setreuid": _change(0, credentials.set_re),
    "setregid": _change(1, credentials.set_re),
    "setresuid": _change(0, credentials.set_res),
    "setresgid": _change(1, credentials.set_res),
    "setfsuid": _change(0, credentials.set_fs, tells=True),
    "setfsgid": _change(1, credentials.set_fs, tells=True),
    "setgroups": setgroups,
    "getsockopt": getsockopt,
    "prctl": prctl,
    "execve": execve,
    "execveat": execveat,
    "chroot": chroot,
    "pivot_root": chroot,
    "setns": chroot,
    "getrlimit": getrlimit,
    "setrlimit": setrlimit,
    "prlimit64": prlimit64,
}
