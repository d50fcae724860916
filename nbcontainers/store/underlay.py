"""What every container's overlay has lowest: places that are mounted on in all of them, which else each would have to make for itself.

Docker has a layer for that on top of each image. Below them all one is enough for every image: what an image has hides it.
"""

from __future__ import annotations

import contextlib
import os

_FOLDERS = ("dev", "dev/pts", "dev/shm", "etc", "proc", "sys")
_FILES = ("dev/console", "etc/hosts", "etc/hostname", "etc/resolv.conf")
_LINK, _LEADS_TO = "etc/mtab", "/proc/mounts"  # for programs that look there for what is mounted, as Java does


def folder(root: str) -> str:
    """The one of a store, made where it is missing; others may make it at the same time."""
    path = f"{root}/underlay"
    if os.path.lexists(f"{path}/{_LINK}"):
        return path
    for name in ("", *_FOLDERS):
        os.makedirs(f"{path}/{name}", exist_ok=True)
        os.chmod(f"{path}/{name}", 0o755)  # whatever the umask
    for name in _FILES:
        with open(f"{path}/{name}", "ab") as file:
            os.fchmod(file.fileno(), 0o644)
    with contextlib.suppress(FileExistsError):
        os.symlink(_LEADS_TO, f"{path}/{_LINK}")
    return path
