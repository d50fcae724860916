"""What it costs to watch: one sample of the usage of 100 containers, and of ten of them ten times a second.

There is no engine to compare with: docker and podman take a second to say it once. Milliseconds differ with the machine, so there is
a row for the least that somebody does who keeps nothing: he opens the same files, and reads them. ``opened each time`` is
our own ``usage()``, without the descriptors that a meter keeps.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from nbcontainers.linux.meter import Meter

from .harness import OURS, Contender, Session, Table, Target, main
from .ours import LIMITS, Ours

CONTAINERS, WATCHED, HERTZ = 100, 10, 10
READ = "the same files opened and read"


def tables(session: Session) -> Iterator[Table]:
    """One sample of all, then the share of a processor that watching takes."""
    many = 10 if session.quick else CONTAINERS
    ours = session.stack.enter_context(Ours(session.folder))
    containers = [ours.engine.run(ours.base, "/bin/sleep", "1000", rm=True, **LIMITS) for _ in range(many)]
    meters = [container.meter() for container in containers]
    try:
        sampled = [meter.sample() for meter in meters]
        assert all(usage.processes == 1 and usage.memory_limit for usage in sampled), sampled[0]
        kept = [meter._watched for meter in meters if isinstance(meter, Meter)]
        files = [os.readlink(f"/proc/self/fd/{text.descriptor}") for texts in kept for text in texts]
        contenders = [
            Contender(name=OURS, run=lambda: [meter.sample() for meter in meters]),
            Contender(name="opened each time", run=lambda: [container.usage() for container in containers]),
        ]
        table = Table(
            title=f"one sample of the usage of {many} containers",
            targets=(Target(limit=5), Target(limit=1, peer=READ)),
            notes=[f"counted by {sampled[0].source}"],
        )
        if files:
            contenders.append(Contender(name=READ, run=lambda: [_read(file) for file in files]))
        else:
            table.not_measured[READ] = "no cgroup counts here"
        yield table.in_turn(contenders, session.rounds())
        share = Table(
            title=f"{WATCHED} containers sampled {HERTZ} times a second, share of one processor",
            unit="%",
            scale=100,
            targets=(Target(limit=2),),
        )
        watched = meters[:WATCHED]
        for _ in range(session.rounds(full=5)):
            before, begun = time.process_time(), time.monotonic()
            for tick in range(1, HERTZ + 1):
                for meter in watched:
                    meter.sample()
                time.sleep(max(0.0, begun + tick / HERTZ - time.monotonic()))
            share.rows.setdefault(OURS, []).append((time.process_time() - before) / (time.monotonic() - begun))
        yield share
    finally:
        for meter in meters:
            meter.close()
        for container in containers:
            container.kill()
        for container in containers:
            container.wait()


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(descriptor, 8192, 0)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main("usage", tables)
