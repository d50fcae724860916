"""How long ``%load_ext nbcontainers`` keeps a fresh kernel waiting, and what it imports that nobody asked for yet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

from .harness import OURS, Session, Table, Target, main

# What belongs to the network, to widgets or to one verb only, and may not come with the extension.
LATER = (
    "aiohttp",
    "anywidget",
    "elftools",
    "http.client",
    "ipywidgets",
    "pyroute2",
    "requests",
    "ssl",
    "urllib.request",
)
# An IPython kernel's shell without its sockets: ipykernel and what it imports are there already.
KERNEL = f"""
import json, sys, time
import ipykernel.ipkernel
from ipykernel.zmqshell import ZMQInteractiveShell
shell = ZMQInteractiveShell.instance()
there = set(sys.modules)
begun = time.perf_counter()
shell.run_line_magic("load_ext", "nbcontainers")
seconds = time.perf_counter() - begun
assert "dockerfile" in shell.magics_manager.magics["cell"], "the extension was not loaded"
later = [name for name in {LATER!r} if name in sys.modules and name not in there]
print(json.dumps([seconds, len(set(sys.modules) - there), later]))
"""


def tables(session: Session) -> Iterator[Table]:
    """The time of the magic; interpreter and IPython are there before."""
    table = Table(title="%load_ext nbcontainers in a fresh kernel", targets=(Target(limit=150),))
    env = {
        **os.environ,
        "IPYTHONDIR": str(session.folder / "ipython"),
        "NBCONTAINERS_ROOT": str(session.folder / "store"),
    }
    modules, later = 0, []
    for number in range(session.rounds() + 1):
        done = subprocess.run(
            [sys.executable, "-c", KERNEL],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
        seconds, modules, later = json.loads(done.stdout.splitlines()[-1])
        if number:  # the first one may have compiled bytecode
            table.rows.setdefault(OURS, []).append(seconds)
    table.notes.append(f"{modules} modules imported; before they are used: {', '.join(later) or 'none'}")
    yield table


if __name__ == "__main__":
    main("imports", tables)
