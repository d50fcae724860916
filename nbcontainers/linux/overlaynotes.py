"""What the kernel notes in the work folder of a volatile overlay, so that it is not mounted again after the machine has stopped.

Imports only what keeps the zygote small. Source: Documentation/filesystems/overlayfs.rst, "Volatile mount".
"""

from __future__ import annotations

import os

_NOTED = "work/incompat"  # in the work folder: the kernel's own one there, and what it notes in that


def forget(work: str) -> None:
    """Let the folders be mounted again: the machine has not stopped meanwhile, or nobody minds what was lost."""
    noted = f"{work}/{_NOTED}"
    try:
        os.unlink(f"{noted}/volatile/dirty")
        os.rmdir(f"{noted}/volatile")
        os.rmdir(noted)
    except FileNotFoundError:
        pass
