"""Memory that is shared after a fork, fetched before it is used."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable

from nbcontainers.linux import pages

SIZE = 4 << 20
PAGES = SIZE // os.sysconf("SC_PAGESIZE")


def faults_in_a_fork(before: Callable[[], None]) -> int:
    """How often the kernel has to come when each page of some memory is written to in a new process."""
    memory = bytearray(b"x") * SIZE
    near, far = os.pipe()
    child = os.fork()
    if child == 0:
        before()
        begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for start in range(0, SIZE, SIZE // PAGES):
            memory[start] = 1
        os.write(far, b"%d" % (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begin))
        os._exit(0)
    os.close(far)
    os.waitpid(child, 0)
    with open(near, "rb") as stream:
        return int(stream.read())


def test_what_was_fetched_is_at_hand() -> None:
    """After a fork every page that is written to would be copied then; those that were fetched are this process's own already."""
    assert faults_in_a_fork(lambda: None) > PAGES // 2
    assert faults_in_a_fork(lambda: pages.fetch(lambda: False)) < PAGES // 8


def test_who_is_wanted_fetches_no_more() -> None:
    """It ends at once when there is work."""
    asked = iter([False, False, True])
    pages.fetch(lambda: next(asked))
    assert next(asked, None) is None
