"""state.json as the shim writes it: whole or not at all, under a lock, without the json module (which would cost memory).

``state.py`` reads it. Imports only what keeps the zygote small.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from _json import encode_basestring_ascii, make_encoder, make_scanner

from ..linux import smallfiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAME = "state.json"
NEW = f".{NAME}"  # what is being written, under the lock
BEGIN, END = "begin", "end"  # the first key and the last: when the text was written, twice
OTHERS = ("name", "restart")  # what an engine may change while a shim has the container


def to_json(value: Any) -> str:
    """JSON of dicts, lists, tuples, strings, numbers, booleans and None."""
    return "".join(_encode(value, 0))


def _refuse(value: object) -> None:
    raise TypeError(f"no JSON for a {type(value).__name__}")


# What json.JSONEncoder calls in the end: markers, default, encoder, indent, separators, sort_keys, skipkeys, allow_nan.
_encode = make_encoder(None, _refuse, encode_basestring_ascii, None, ": ", ", ", False, False, True)


class _Context:
    """What json.JSONDecoder would tell the scanner."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def read(folder: int) -> dict[str, Any]:
    """What state.json in the folder says, which the caller has locked; nothing where there is none, or none that is whole."""
    try:
        descriptor = os.open(NAME, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return {}
    try:
        text = smallfiles.read_all(descriptor)
    finally:
        os.close(descriptor)
    try:
        value, _ = make_scanner(_Context)(  # type: ignore[arg-type]
            text.decode(), 0
        )
    except (ValueError, StopIteration):
        return {}
    if not isinstance(value, dict):
        return {}
    for name in (BEGIN, END):
        value.pop(name, None)
    return value


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
    """Replace state.json in the folder, which the caller has locked; a reader sees the old text or the new one.

    The new text is written over the old one where the container is removed at its end, for nobody wants it after the machine
    has stopped (that promise costs a file and a wait for the disk each time), and on a full disk, where the old one's block is
    there: a reader who does not lock can then see half of it, as begin and end tell him, and looks again (see ``state``).
    """
    now = time.time_ns()
    text = to_json({BEGIN: now, **value, END: now}).encode() + b"\n"
    if value.get("auto_remove") and _write_over(folder, text):
        return
    try:
        try:
            _put(folder, NEW, text)
            os.rename(NEW, NAME, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            _remove(folder, NEW)
            raise
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        _write_over(folder, text)


def change(path: str, what: dict[str, Any], extra: dict[str, Any], *, whole: bool) -> bool:
    """Change what the state in a folder says; False where the container was removed meanwhile, and wants none.

    What is not named stays as it is; if this is the ``whole`` state, all but what others may have changed is new. ``extra`` is what
    the runtime keeps beside it.
    """
    try:
        folder = lock(path)
    except FileNotFoundError:
        return False
    try:
        if not os.access(path, os.F_OK):  # moved away by the one whom the lock was waited for (see ``state.parting``)
            return False
        known = read(folder)
        known = {**what, **{key: known[key] for key in OTHERS if key in known}} if whole else {**known, **what}
        write(folder, {**known, "runtime": extra})
        return True
    finally:
        os.close(folder)


def _put(folder: int, name: str, text: bytes) -> None:
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644, dir_fd=folder)
    try:
        smallfiles.fill(descriptor, text)
    finally:
        os.close(descriptor)


def _write_over(folder: int, text: bytes) -> bool:
    """Write over the text that is there, if there is one: in one system call, so that who is killed leaves one or the other."""
    try:
        descriptor = os.open(NAME, os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return False
    try:
        smallfiles.write_all(descriptor, text.ljust(os.fstat(descriptor).st_size))
    finally:
        os.close(descriptor)
    return True


def _remove(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
