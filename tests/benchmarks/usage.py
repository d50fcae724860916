"""What it costs to watch: one sample of the usage of 100 containers, and of ten of them ten times a second.

There is no peer: docker and podman take a second to say it once. The row ``opened each time`` is ours without the descriptors
that a meter keeps.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from .harness import OURS, Contender, Session, Table, Target, main
from .ours import LIMITS, Ours

CONTAINERS, WATCHED, HERTZ = 100, 10, 10


def tables(session: Session) -> Iterator[Table]:
    """One sample of all, then the share of a processor that watching takes."""
    many = 10 if session.quick else CONTAINERS
    ours = session.stack.enter_context(Ours(session.folder))
    containers = [ours.engine.run(ours.base, "/bin/sleep", "1000", rm=True, **LIMITS) for _ in range(many)]
    meters = [container.meter() for container in containers]
    try:
        sampled = [meter.sample() for meter in meters]
        assert all(usage.processes == 1 and usage.memory_limit for usage in sampled), sampled[0]
        yield Table(
            title=f"one sample of the usage of {many} containers",
            targets=(Target(limit=5),),
            notes=[f"counted by {sampled[0].source}"],
        ).in_turn(
            [
                Contender(name=OURS, run=lambda: [meter.sample() for meter in meters]),
                Contender(name="opened each time", run=lambda: [container.usage() for container in containers]),
            ],
            session.rounds(),
        )
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


if __name__ == "__main__":
    main("usage", tables)
