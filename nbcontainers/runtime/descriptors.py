"""What a process of ours has open when it becomes another's: the standard streams, and what it is told to keep.

Imports only what keeps the zygote small.
"""

from __future__ import annotations

import fcntl
import os
import resource

from ..linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory

_HIGH = 200  # above every descriptor that a shim has open


def keep_only(stdio: tuple[int, int, int], *kept: int) -> list[int]:
    """Put the standard streams in place and close every other descriptor but those to be kept (CVE-2024-21626); -1 is none."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    above = _HIGH if most < 0 else max(3, min(_HIGH, most - len(kept)))
    high = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, above) if number >= 0 else -1 for number in kept]
    for number, descriptor in enumerate(stdio):
        if descriptor >= 0:
            os.dup2(descriptor, number)
    close_others([number for number in high if number >= 0])
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and exec would keep so
        signal.signal(number, signal.SIG_DFL)
    return high


def let_go(descriptors: list[int]) -> None:
    """Close them, and leave the list empty."""
    while descriptors:
        os.close(descriptors.pop())


def close_others(kept: list[int]) -> None:
    """Close every descriptor but the standard streams and these."""
    first = 3
    for descriptor in sorted(kept):
        if first < descriptor:
            syscalls.close_range(first, descriptor - 1)
        first = descriptor + 1
    syscalls.close_range(first)
