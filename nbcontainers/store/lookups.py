"""What a tree's own files say: where a path leads, their content, and the ids of the names in its /etc/passwd and /etc/group."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat

from ..errors import Conflict, NotFound
from ..linux import syscalls

INSIDE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_FOLDER = os.O_RDONLY | os.O_DIRECTORY
_MOST_LINKS = 40  # as many as the kernel follows


def real(tree: int, path: bytes) -> bytes:
    """A path with every link in it followed inside the tree, the last one too; what is not there yet stays as it is written."""
    done, left, followed = b"", [part for part in reversed(path.split(b"/")) if part not in (b"", b".")], 0
    while left:
        part = left.pop()
        if part == b"..":
            done = done.rpartition(b"/")[0]
            continue
        try:
            folder = syscalls.openat2(tree, done or b"/", _FOLDER, resolve=INSIDE)
        except (FileNotFoundError, NotADirectoryError):
            done += b"/" + part
            continue
        try:
            target = os.readlink(part, dir_fd=folder)
        except OSError:  # no link, or nothing
            done += b"/" + part
            continue
        finally:
            os.close(folder)
        followed += 1
        if followed > _MOST_LINKS:
            raise Conflict(f"links go in a circle: {text(path)}", hint="remove them, or name another destination")
        done = b"" if target.startswith(b"/") else done
        left += [part for part in reversed(target.split(b"/")) if part not in (b"", b".")]
    return done


def read(tree: int, path: bytes, limit: int) -> bytes:
    """The content of a regular file of a tree: NotFound, or Conflict if it is none or is longer than ``limit``."""
    try:
        opened = syscalls.openat2(tree, path, os.O_RDONLY | os.O_NONBLOCK, resolve=INSIDE)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        raise NotFound(f"no such file in the tree: {text(path)}") from None
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise Conflict(f"{text(path)} is no regular file")
        data = b""
        while len(data) <= limit and (piece := os.read(opened, limit + 1 - len(data))):
            data += piece
    finally:
        os.close(opened)
    if len(data) > limit:
        raise Conflict(f"{text(path)} is longer than {limit} bytes")
    return data


def lookup(tree: int, word: str) -> tuple[int, int]:
    """The ids of ``name|uid[:group|gid]`` by the tree's own /etc/passwd and /etc/group."""
    user, colon, group = word.partition(":")
    uid, gid = _user(tree, user) if user else (0, 0)
    if colon and group:
        gid = int(group) if group.isdecimal() else _line(tree, b"/etc/group", group, "group")[0]
    return uid, gid


def owner(tree: int, word: str, unknown: set[str]) -> tuple[int, int]:
    """The ids as COPY --chown has them: a name that the tree's files do not have is root, as BuildKit has it, and is told."""
    user, colon, group = word.partition(":")
    uid, gid = _named(tree, b"/etc/passwd", user, "user", unknown) or (0, 0)
    if colon:  # an unknown group is the user's
        (gid,) = _named(tree, b"/etc/group", group, "group", unknown) or (gid,)
    return uid, gid


def _named(tree: int, path: bytes, word: str, what: str, unknown: set[str]) -> list[int]:
    """The ids of one word of --chown; none for a name that is not there. Nothing is 0, and what no int32 holds is a name."""
    if word in ("", "root") or (re.fullmatch(r"[+-]?[0-9]+", word) and -(1 << 31) <= int(word) < 1 << 31):
        number = int(word) if word not in ("", "root") else 0
        return [number] * (2 if what == "user" else 1)
    try:
        return _line(tree, path, word, what)
    except NotFound:
        if _is_empty(tree):  # nothing can have a name in it
            raise
        unknown.add(f"{what} {word!r}")
        return []


def _is_empty(tree: int) -> bool:
    folder = os.open(".", _FOLDER, dir_fd=tree)
    try:
        return not os.listdir(folder)
    finally:
        os.close(folder)


def _user(tree: int, word: str) -> tuple[int, int]:
    if word.isdecimal():
        return int(word), int(word)
    found = _line(tree, b"/etc/passwd", word, "user")
    return found[0], found[1]


def _line(tree: int, path: bytes, name: str, what: str) -> list[int]:
    try:
        lines = read(tree, path, 16 << 20).decode(errors="surrogateescape").splitlines()
    except NotFound:
        lines = []
    for line in lines:
        fields = line.split(":")
        if fields[0] == name and len(fields) > 3 - (what == "group"):
            with contextlib.suppress(ValueError):
                return [int(field) for field in fields[2 : 3 if what == "group" else 4]]
    raise NotFound(f"no {what} {name!r} in the tree's {text(path)}", hint="give its number, or make it before")


def text(path: bytes) -> str:
    """A path as messages have it."""
    return repr(os.fsdecode(path))
