"""Trees removed, however deep they are and whatever modes their folders have."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(directory: int, name: bytes) -> None:
    """Remove what a name means in a folder, with all that is below it; nothing if it is not there. Links are not followed.

    Folders inside it are first moved beside it, so that no depth is too deep: a container can nest folders further than a
    path can name or a process can open them. Others may remove the same at the same time.
    """
    waiting = [name]
    while waiting:
        here = waiting.pop()
        with contextlib.suppress(FileNotFoundError):
            if not _unlink(directory, here):
                waiting += _empty(directory, here, name)
                os.rmdir(here, dir_fd=directory)


def _unlink(directory: int, name: bytes) -> bool:
    """Remove a name; false if it is a folder's."""
    try:
        os.unlink(name, dir_fd=directory)
    except (IsADirectoryError, PermissionError):  # POSIX's and Linux's answers for a folder
        return False
    return True


def _rmdir(directory: int, name: bytes) -> bool:
    """Remove a folder; false if there is something in it, or it may not be looked into."""
    try:
        os.rmdir(name, dir_fd=directory)
    except FileNotFoundError:
        raise
    except OSError:
        return False
    return True


def _empty(directory: int, name: bytes, called: bytes) -> list[bytes]:
    """Remove what is in a folder; return what folders with something in them are called beside it now."""
    moved = []
    folder = _opened(directory, name)
    try:
        for inside in map(os.fsencode, os.listdir(folder)):
            with contextlib.suppress(FileNotFoundError):
                if _unlink(folder, inside):
                    continue
                if not _rmdir(folder, inside):
                    _allow(folder, inside)  # a folder is moved only by who may write in it
                    beside = b"%b.%b" % (called[:200], secrets.token_hex(8).encode())
                    os.rename(inside, beside, src_dir_fd=folder, dst_dir_fd=directory)
                    moved.append(beside)
    finally:
        os.close(folder)
    return moved


def _opened(directory: int, name: bytes) -> int:
    _allow(directory, name)
    return os.open(name, _FOLDER, dir_fd=directory)


def _allow(directory: int, name: bytes) -> None:
    """A folder without read, write and search permission keeps what is in it, for all but root."""
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode) and status.st_mode & 0o700 != 0o700:
        os.chmod(name, 0o700, dir_fd=directory)
