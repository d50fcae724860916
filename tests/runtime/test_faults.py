"""kill -9 at random instants of starts and execs: afterwards nothing is left.

``NBCONTAINERS_FAULTS=200`` kills that often; a few times unless told otherwise.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from nbcontainers.runtime import processes
from nbcontainers.runtime import state as states
from tests.waiting import until

from .conftest import Box

TIMES = int(os.environ.get("NBCONTAINERS_FAULTS", "9"))
ENGINE = """
    import pickle, sys
    from nbcontainers.runtime import host
    from nbcontainers.runtime.process import Runtime
    run_dir, folder, spec, rootfs, state, wish = pickle.loads(sys.stdin.buffer.read())
    runtime = Runtime(run_dir, host.probe())
    print("ready", flush=True)
    running = runtime.start(folder, spec, rootfs, state=state)
    print(runtime.zygote_pid(), flush=True)
    while True:
        running.exec(wish, stdin=False).attach()
"""


@pytest.mark.parametrize("victim", ["engine", "zygote", "shim"])
def test_a_kill_at_any_instant_leaves_nothing(box: Box, run_dir: Path, victim: str) -> None:
    """No process, mount, cgroup, socket or file of it, and a state that is true, whoever was killed whenever."""
    chance = random.Random(f"{victim} 1")
    for number in range(max(1, TIMES // 3)):
        kill_once(box, run_dir, victim, f"{os.getpid()}{victim}{number}", chance.random() * 0.15)


def kill_once(box: Box, run_dir: Path, victim: str, mark: str, after: float) -> None:
    """Start a container and commands in it, kill somebody so many seconds later, and look at what is left."""
    import pickle

    from .test_exec import wish

    folder, rootfs = box.prepare()
    spec = box.spec("sh", "-c", f"sleep 300 & sleep 300 # {mark}")
    given = (run_dir, folder, spec, rootfs, box.state(folder, ("sh",)), wish("sh", "-c", f"sleep 0.01 # {mark}"))
    root = str(Path(__file__).parents[2])
    engine = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(ENGINE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert engine.stdin is not None
    assert engine.stdout is not None
    with engine.stdout, engine.stdin:
        engine.stdin.write(pickle.dumps(given))
        engine.stdin.close()
        assert engine.stdout.readline() == b"ready\n"
        pids = {"engine": engine.pid}
        if victim != "engine":
            pids["zygote"] = int(engine.stdout.readline())
            pids["shim"] = states.load_extra(folder)["shim"]
        time.sleep(after)
        os.kill(pids[victim], signal.SIGKILL)
        if victim == "zygote":  # nothing depends on it: its container goes on until its engine goes
            assert engine.poll() is None
            engine.kill()
        elif victim == "shim":
            until(lambda: engine.poll() is not None)
        engine.kill()
        engine.wait()
    until(lambda: not marked(mark))
    if (folder / "state.json").exists():
        until(lambda: states.load_state(folder).status in ("exited", "created"))
    until(lambda: not list(run_dir.glob(f"{folder.name[:32]}*")))
    until(lambda: not list(box.host.hierarchy.directories(folder.name)))
    assert not mounts(folder.name)
    assert {path.name for path in folder.iterdir()} <= {"state.json", "log", "people", "upper", "work"}


def marked(mark: str) -> list[int]:
    """The processes whose command line has a mark, and what they started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark.encode() in (entry / "cmdline").read_bytes():
                    found += list(processes.tree(int(entry.name)))
            except OSError:
                continue
    return found


def mounts(name: str) -> set[str]:
    """The mounts of any process that name a container's folder."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/mountinfo"):
        try:
            found |= {line for line in path.read_text().splitlines() if name in line}
        except OSError:
            continue
    return found
