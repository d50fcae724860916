"""Who a process is, as values, and what the calls that change it make of them; see credentials(7) and setresuid(2).

The zygote imports this module, so it imports only what is small.
"""

from __future__ import annotations

import errno
import os
import resource

RLIMIT_LOCKS = 10  # include/uapi/asm-generic/resource.h
KEEP = 0xFFFFFFFF
PEOPLE = "people"
"""In the folder of a container that runs: a line for each identity in use there, its number, effective user and group."""
_MOST = 1 << 16  # identities that one container may have used

Ids = tuple[int, int, int, int]
"""Real, effective, saved and file system id."""
Arguments = tuple[int, int, int]
"""The first three arguments of a call, each 32 bits, KEEP where an id is to stay."""
Credentials = tuple[Ids, Ids, tuple[int, ...], int]
"""A process's user ids, group ids, supplementary groups, and whether its capabilities outlive a change of ids (KEEPS, KEPT)."""
KEEPS = 1  # it asked that they do: PR_SET_KEEPCAPS
KEPT = 2  # and they have


class People:
    """The identities in use in one container, and who has which."""

    def __init__(self, initial: Credentials, listed: int) -> None:
        """``listed`` is a descriptor of a file for those outside who want to know, too (see PEOPLE)."""
        self._known: list[Credentials] = []
        self._numbers: dict[Credentials, int] = {}
        self._listed = listed
        self._add(initial)

    @property
    def are_many(self) -> bool:
        """Whether there has been anybody but the first one."""
        return len(self._known) > 1

    def of(self, pid: int) -> Credentials:
        """Who a process or thread is; one that has set the limit itself is who the first process was."""
        number = resource.prlimit(pid, RLIMIT_LOCKS)[0]
        return self._known[number if 0 <= number < len(self._known) else 0]

    def of_folder(self, folder: bytes) -> Credentials | None:
        """Who the process is that a folder of /proc tells of; None where that is none of these people."""
        number = number_in(folder)
        return self._known[number] if 0 <= number < len(self._known) else None

    def become(self, pid: int, credentials: Credentials) -> None:
        """Make a process (with its threads, and those that it will fork) somebody."""
        number = self._numbers.get(credentials)
        if number is None:
            number = self._add(credentials)
        resource.prlimit(pid, RLIMIT_LOCKS, (number, resource.prlimit(pid, RLIMIT_LOCKS)[1]))

    def _add(self, credentials: Credentials) -> int:
        number = len(self._known)
        if number >= _MOST:
            raise OSError(errno.EAGAIN, "too many identities")
        self._known.append(credentials)
        self._numbers[credentials] = number
        try:
            os.write(self._listed, b"%d %d %d\n" % (number, credentials[0][1], credentials[1][1]))
        except OSError:  # a full disk: those outside do not see this one
            pass
        return number

    def is_initial(self, credentials: Credentials) -> bool:
        """Whether this is who the container's first process was at its start."""
        return credentials is self._known[0]


def number_in(folder: bytes) -> int:
    """The number of the identity of the process that a folder of /proc tells of, -1 where it has none; see ``People``."""
    with open(folder + b"/limits", "rb", buffering=0) as file:
        word = (file.read(4096) or b"").partition(b"Max file locks")[2].split(None, 1)[0]
    return int(word) if word.isdigit() else -1


def effective(folder: str) -> dict[int, tuple[int, int]]:
    """The effective user and group of each identity in use in the container that has this folder, by their numbers."""
    try:
        with open(f"{folder}/{PEOPLE}", "rb", buffering=0) as file:
            rows = [line.split() for line in (file.read() or b"").splitlines()]
    except FileNotFoundError:
        return {}
    return {int(row[0]): (int(row[1]), int(row[2])) for row in rows if len(row) == 3}


def initial(uid: int, gid: int, groups: tuple[int, ...]) -> Credentials:
    """The credentials of one who has these ids for real, effective and saved ones; the kernel, too, sorts groups."""
    return (uid,) * 4, (gid,) * 4, tuple(sorted(groups)), 0


def kept(before: Ids, after: Ids, keeps: int) -> int:
    """KEEPS and KEPT once user ids have changed; see capabilities(7), "Effect of user ID changes on capabilities"."""
    if 0 in after[:3]:
        return keeps & KEEPS
    if 0 in before[:3]:
        return keeps | (KEPT if keeps & KEEPS else 0)
    return keeps


def set_id(ids: Ids, wanted: Arguments, privileged: bool) -> Ids:
    """setuid(2), setgid(2)."""
    real, _, saved, _ = ids
    new = wanted[0]
    if new == KEEP:
        raise OSError(errno.EINVAL, "no such id")
    if privileged:
        return new, new, new, new
    if new not in {real, saved}:
        raise OSError(errno.EPERM, "not one of its ids")
    return real, new, saved, new


def set_re(ids: Ids, wanted: Arguments, privileged: bool) -> Ids:
    """setreuid(2), setregid(2)."""
    real, effective, saved, _ = ids
    new_real, new = wanted[:2]
    if not privileged and (new_real not in {KEEP, real, effective} or new not in {KEEP, real, effective, saved}):
        raise OSError(errno.EPERM, "not one of its ids")
    after = effective if new == KEEP else new
    if new_real != KEEP or new not in {KEEP, real}:
        saved = after
    return real if new_real == KEEP else new_real, after, saved, after


def set_res(ids: Ids, wanted: Arguments, privileged: bool) -> Ids:
    """setresuid(2), setresgid(2)."""
    if not privileged and not {KEEP, *ids[:3]}.issuperset(wanted):
        raise OSError(errno.EPERM, "not one of its ids")
    real, effective, saved = (old if new == KEEP else new for old, new in zip(ids, wanted, strict=False))
    return real, effective, saved, effective


def set_fs(ids: Ids, wanted: Arguments, privileged: bool) -> Ids:
    """setfsuid(2), setfsgid(2), which never fail."""
    new = wanted[0]
    return (*ids[:3], new) if new != KEEP and (privileged or new in ids) else ids


def executed(credentials: Credentials, uid: int | None, gid: int | None) -> Credentials:
    """After execve(2) of a file whose set-id bits (None: it has none) name these; see "Effective IDs" there."""
    users, groups, others, _ = credentials
    effective = users[1] if uid is None else uid
    effective_group = groups[1] if gid is None else gid
    return (
        (users[0], effective, effective, effective),
        (groups[0], effective_group, effective_group, effective_group),
        others,
        0,
    )
