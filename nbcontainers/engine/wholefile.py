"""A file of the caller's that is there once it is whole, and not before."""

from __future__ import annotations

import contextlib
import errno
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..errors import HostError

_HINTS = {
    errno.ENOENT: "make its folder first, or see that the name is right",
    errno.ENOTDIR: "what stands before the last / is no folder",
    errno.EISDIR: "name a file in it",
}


@contextlib.contextmanager
def written(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a file that takes its place, and perhaps another one's, when all is written; after an error that one is as it was.

    A link is followed. What is no file (a pipe, a device) is written to as it is, for nothing else can take its place.

    Raises:
        HostError: it cannot be written.
        BrokenPipeError: the reader of a pipe is gone.

    """
    given = Path(path)
    try:
        if (
            given.exists() and not given.is_file()
        ):  # asked of the name itself: that of a pipe in /proc resolves to nothing
            with given.open("wb") as stream:
                yield stream
            return
        target = given.resolve()
        scratch = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            with scratch.open("xb") as stream:
                yield stream
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "is there room, and may you write there?")
        raise HostError(f"cannot write {path}: {error.strerror or error}", hint=hint) from error
