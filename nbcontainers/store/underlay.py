"""What every container's overlay has lowest: places that are mounted on in all of them, which else each would have to make for itself.

Docker has a layer for that on top of each image. Below them all one is enough for every image: what an image has hides it.
"""

from __future__ import annotations

import os

_FOLDERS = ("dev", "etc", "proc", "sys")
_FILES = ("etc/hosts", "etc/hostname", "etc/resolv.conf")


def folder(root: str) -> str:
    """The one of a store, made where it is missing; others may make it at the same time."""
    path = f"{root}/underlay"
    if os.path.exists(f"{path}/{_FILES[-1]}"):
        return path
    for name in ("", *_FOLDERS):
        os.makedirs(f"{path}/{name}", exist_ok=True)
        os.chmod(f"{path}/{name}", 0o755)  # whatever the umask
    for name in _FILES:
        with open(f"{path}/{name}", "ab") as file:
            os.fchmod(file.fileno(), 0o644)
    return path
