"""state.json as the shim writes it: whole or not at all, under a lock, without the json module (which would cost memory).

``state.py`` reads it. Imports only what keeps the zygote small.
"""

from __future__ import annotations

import fcntl
import os
from _json import encode_basestring_ascii

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAME = "state.json"


def to_json(value: Any) -> str:
    """JSON of dicts, lists, tuples, strings, numbers, booleans and None."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return encode_basestring_ascii(value)
        case int() | float():
            return repr(value)
        case dict():
            return (
                "{" + ", ".join(f"{encode_basestring_ascii(key)}: {to_json(item)}" for key, item in value.items()) + "}"
            )
        case list() | tuple():
            return "[" + ", ".join(to_json(item) for item in value) + "]"
        case _:
            raise TypeError(f"no JSON for a {type(value).__name__}")


def lock(folder: str) -> int:
    """Take the folder's lock and return the descriptor that holds it, to be closed.

    Held for the length of one write: by a shim that writes what is, by an engine that repairs what cannot be.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def write(folder: int, value: dict[str, Any]) -> None:
    """Replace state.json in the folder, which the caller has locked; a reader sees the old text or the new one."""
    new = f".{NAME}.{os.getpid()}"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644, dir_fd=folder)
    try:
        write_all(descriptor, to_json(value).encode() + b"\n")
    finally:
        os.close(descriptor)
    os.rename(new, NAME, src_dir_fd=folder, dst_dir_fd=folder)


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
