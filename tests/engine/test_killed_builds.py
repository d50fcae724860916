"""kill -9 of the processes that a build stands on, while a command of it runs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nbcontainers import Engine
from nbcontainers.runtime import host, processes
from tests.build.test_interrupts import left_running
from tests.waiting import PATIENCE_S, until

FOLDERS = ("ingest", "trash", "leases", "snapshots", "containers")

pytestmark = pytest.mark.skipif(host.probe().tier not in ("T0", "T1", "T2"), reason="no containers on this host")


def said(pid: int) -> tuple[str, str]:
    """What a process is called, and its words."""
    try:
        folder = Path(f"/proc/{pid}")
        return (folder / "comm").read_text().strip(), (folder / "cmdline").read_text()
    except OSError:
        return "", ""


def victims(builder: int, kind: str, mark: str) -> list[int]:
    """The shim of the command that runs, or the worker that does the engine's work on trees."""
    family = list(processes.tree(builder))
    if not any(mark in said(pid)[1] for pid in family):
        return []
    if kind == "worker":
        return [pid for pid in family if "uid_map" in said(pid)[1]]
    return [
        pid
        for pid in family
        if said(pid)[0] == "nbc-shim" and any(mark in said(child)[1] for child in processes.tree(pid))
    ]


def let_end(builder: int, mark: str) -> bool:
    """Ask the command to end, which it hears once it has got to its loop; whether there is none any more."""
    running = [pid for pid in processes.tree(builder) if mark in said(pid)[1]]
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGUSR1)
    return not running


@pytest.mark.parametrize("kind", ["shim", "worker"])
def test_a_build_outlives_its_worker_and_tells_of_its_shim(tmp_path: Path, kind: str) -> None:
    """Another worker makes the layer; without its shim the command cannot go on, and the build says that. Nothing is left of either."""
    with Engine(tmp_path / "store") as engine:
        engine.toolbox()  # whose layers the build's own worker unpacks, so that there is one when the command runs
    mark = f"killed{os.getpid()}{kind}"
    text = f"FROM toolbox\nRUN echo runs; touch /made; trap 'exit 0' USR1; while :; do sleep 0.05; done # {mark}\n"
    with subprocess.Popen(
        [sys.executable, "-m", "nbcontainers", "build", "--tag", "made", "-"],
        env={**os.environ, "NBCONTAINERS_ROOT": str(tmp_path / "store")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as builder:
        assert builder.stdin is not None
        assert builder.stdout is not None
        builder.stdin.write(text.encode())
        builder.stdin.close()
        # Its shim has said that it runs by then: one that is killed before that is another story, and told as another.
        said_before = b""
        while not said_before.endswith(b"\nruns\n"):
            line = builder.stdout.readline()
            assert line, said_before
            said_before += line
        for pid in until(lambda: victims(builder.pid, kind, mark)):
            os.kill(pid, signal.SIGKILL)
        until(lambda: builder.poll() is not None or (kind == "worker" and let_end(builder.pid, mark)))
        told = (said_before + builder.stdout.read()).decode()
        code = builder.wait(PATIENCE_S)
    root = tmp_path / "store"
    with Engine(root) as engine:
        names = {image.name for image in engine.images()}
        assert engine.check().faults == ()
        assert engine.containers(all=True) == ()
    if kind == "worker":
        assert (code, names) == (0, {"made:latest", "toolbox:latest"}), told
    else:
        assert code == 1
        assert "ended with exit code 137: its shim was killed, and the container with it" in told
        assert names == {"toolbox:latest"}
    until(lambda: not left_running(mark))
    assert [path for name in FOLDERS for path in (root / name).iterdir()] == []
    assert str(root) not in Path("/proc/self/mountinfo").read_text()
