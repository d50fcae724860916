"""fork(2) and its like, where nobody else limits how many processes and threads a container has: the kernel exempts the host's root from
RLIMIT_NPROC, and who only looks from time to time gets no processor beside thousands that want one.
"""

from __future__ import annotations

import errno
import os
import time

from .. import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from .caller import Caller
    from .world import World

_SELDOM = 10  # who is refused asks again at once: counting has a tenth of the time, whatever number there is to count


class Crowd:
    """How many processes and threads there are: those that were let since the last count are taken for being there.

    Whoever was let and is not born yet at a count is not seen by it: of a bomb there are more than the limit then, and not twice as many.
    """

    def __init__(self, most: int, others: Container[int]) -> None:
        """``others`` are processes that the shim started and that are no part of the container."""
        self._most = most
        self._known = most
        self._others = others
        self._full_until = 0.0

    def has_room(self) -> bool:
        """Whether one more may begin; then it does."""
        if self._known >= self._most and (begun := time.monotonic()) >= self._full_until:
            self._known = self._count()
            if self._known >= self._most:
                self._full_until = begun + _SELDOM * (time.monotonic() - begun)
        if self._known >= self._most:
            return False
        self._known += 1
        return True

    def _count(self) -> int:
        """All below the shim, in its /proc, which is this process' working directory (see ``caller``)."""
        roots = [pid for pid in processes.children(os.getppid(), proc=".") if pid not in self._others]
        return len(processes.family(roots, proc=".")[1])


def fork(world: World, caller: Caller) -> None:
    """Let the kernel make it, or fail as it would with a cgroup of that limit."""
    if not world.crowd.has_room():
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    caller.listener.proceed(caller.call)


CALLS: dict[str, Callable[[World, Caller], None]] = dict.fromkeys(("fork", "vfork", "clone", "clone3"), fork)
