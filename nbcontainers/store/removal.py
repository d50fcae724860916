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
    path can name or a process can open them.
    """
    waiting = [name]
    while waiting:
        here = waiting.pop()
        try:
            os.unlink(here, dir_fd=directory)
            continue
        except FileNotFoundError:
            continue
        except (IsADirectoryError, PermissionError):  # POSIX's and Linux's answers for a folder
            pass
        folder = _opened(directory, here)
        try:
            for inside in os.listdir(folder):
                try:
                    os.unlink(inside, dir_fd=folder)
                except (IsADirectoryError, PermissionError):
                    with contextlib.suppress(OSError):
                        os.rmdir(inside, dir_fd=folder)
                        continue
                    _allow(folder, os.fsencode(inside))  # a folder is moved only by who may write in it
                    beside = b"%b.%b" % (name[:200], secrets.token_hex(8).encode())
                    os.rename(inside, beside, src_dir_fd=folder, dst_dir_fd=directory)
                    waiting.append(beside)
        finally:
            os.close(folder)
        os.rmdir(here, dir_fd=directory)


def _opened(directory: int, name: bytes) -> int:
    _allow(directory, name)
    return os.open(name, _FOLDER, dir_fd=directory)


def _allow(directory: int, name: bytes) -> None:
    """A folder without read, write and search permission keeps what is in it, for all but root."""
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode) and status.st_mode & 0o700 != 0o700:
        os.chmod(name, 0o700, dir_fd=directory)
