"""What the kernel notes in the work folder of a volatile overlay, so that it is not mounted again after the machine has stopped.

Imports only what keeps the zygote small. Source: Documentation/filesystems/overlayfs.rst, "Volatile mount".
"""

from __future__ import annotations

import os


def forget(work: str) -> None:
    """Let the folders be mounted again: the machine has not stopped meanwhile, or nobody minds what was lost."""
    noted = f"{work}/work/incompat"  # below the kernel's own folder in the work directory
    try:
        os.unlink(f"{noted}/volatile/dirty")
        os.rmdir(f"{noted}/volatile")
        os.rmdir(noted)
    except FileNotFoundError:
        pass
