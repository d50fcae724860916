"""What it costs to be somebody else where there is one id: calls that the supervisor of identities answers, against the kernel's own.

A container with a single id calls stat(2) and geteuid(2) again and again: while nothing is recorded, then of a file of which
nothing is, of one with a recorded owner, of its own ids. The row ``unsupervised`` is the same container with its identities left alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from nbcontainers import Engine
from nbcontainers.events import Output
from nbcontainers.runtime.host import TIER

from .harness import OURS, Session, Table, main

SCRIPT = """
import os, sys, time
calls = int(sys.argv[1])
open("plain", "w").close()
open("owned", "w").close()
stat, euid = os.stat, os.geteuid
everything = (stat, "plain"), (stat, "plain"), (stat, "owned"), (stat, "/usr/bin/env"), (lambda _: euid(), "")
for number, (act, word) in enumerate(everything):
    if sys.argv[2:] and number == 1:
        os.chown("owned", 5, 6)
    begin = time.perf_counter()
    for _ in range(calls):
        act(word)
    print((time.perf_counter() - begin) / calls)
"""
TITLES = (
    "stat while nothing is recorded",
    "stat of a file without a record",
    "stat of a file with a recorded owner",
    "stat by an absolute path",
    "geteuid",
)


def tables(session: Session) -> Iterator[Table]:
    """A table for each kind of call."""
    os.environ[TIER] = "T2"
    engine = session.stack.enter_context(Engine(session.folder / "store"))
    engine.toolbox()
    calls = str(200 if session.quick else 5000)
    found = [Table(title=title, unit="µs", scale=1e6) for title in TITLES]
    for _ in range(session.rounds(10)):
        for name, words, options in ((OURS, ["own"], []), ("unsupervised", [], ["identity=off"])):
            command = ("python3", "-c", SCRIPT, calls, *words)
            said: list[bytes] = []
            container = engine.run("toolbox", *command, workdir="/tmp", rm=True, network="none", security_opt=options)
            code = container.attach(
                lambda event, said=said: said.append(event.data) if isinstance(event, Output) else None
            )
            assert code == 0, said
            for table, line in zip(found, b"".join(said).split(), strict=True):
                table.rows.setdefault(name, []).append(float(line))
    yield from found


if __name__ == "__main__":
    main("identities", tables)
