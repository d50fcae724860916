"""The mounts of this process's namespace, and what has become of them since.

Imports only what keeps the zygote small.
"""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_CHUNK = 1 << 16
_POINT = 4  # the field of a line that says where it is mounted: see proc_pid_mountinfo(5)
_ESCAPES = ((b"\\", b"\\134"), (b" ", b"\\040"), (b"\t", b"\\011"), (b"\n", b"\\012"))


class MountTable:
    """What is mounted now. ``descriptor`` has POLLPRI for each news of it, which is told once: set ``changed`` then."""

    def __init__(self) -> None:
        self.descriptor = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self.changed = False
        self._known = self._read()

    def has_lost(self) -> bool:
        """Whether something that was mounted is not, or not as it was."""
        return bool(self._known - self._read())

    def is_as_it_was(self, paths: Iterable[str]) -> bool:
        """Whether nothing is gone, and nothing has come at one of the paths, above it or below it."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLPRI)
        self.changed |= bool(poll.poll(0))
        if not self.changed:
            return True
        lines = self._read()
        points = [line.split(b" ", _POINT + 1)[_POINT].rstrip(b"/") + b"/" for line in lines - self._known]
        places = [_mangled(os.path.realpath(path)) for path in paths] if points else []
        is_new = any(place.startswith(point) or point.startswith(place) for place in places for point in points)
        return not (is_new or self._known - lines)

    def close(self) -> None:
        """Let go of it; again does nothing."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1

    def _read(self) -> frozenset[bytes]:
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        text = b""
        while part := os.read(self.descriptor, _CHUNK):
            text += part
        return frozenset(text.splitlines())


def _mangled(path: str) -> bytes:
    """As the kernel writes a path, with a slash at its end."""
    name = os.fsencode(path).rstrip(b"/") + b"/"
    for plain, escaped in _ESCAPES:
        name = name.replace(plain, escaped)
    return name
