"""kill -9 of the processes that a build stands on, while a command of it runs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers import Engine
from nbcontainers.runtime import processes
from tests.build.test_interrupts import left_running
from tests.hosts import needs_containers
from tests.waiting import PATIENCE_S, until

PREFIX = "nbcontainers-"
FOLDERS = ("ingest", "trash", "leases", "snapshots", "containers")

pytestmark = needs_containers


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
    running = [pid for pid in processes.tree(builder) if said(pid)[0] == "sh" and mark in said(pid)[1]]
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGUSR1)
    return not running


@contextlib.contextmanager
def building(store: Path, text: str, *flags: str, out: int) -> Iterator[subprocess.Popen[bytes]]:
    """A build of a Dockerfile by a process of its own, which is gone at the end."""
    words = [sys.executable, "-m", "nbcontainers", "build", *flags, "-"]
    env = {**os.environ, "NBCONTAINERS_ROOT": str(store)}
    with subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT) as builder:
        try:
            assert builder.stdin is not None
            builder.stdin.write(text.encode())
            builder.stdin.close()
            yield builder
        finally:
            builder.kill()


@pytest.mark.parametrize("kind", ["shim", "worker"])
def test_a_build_outlives_its_worker_and_tells_of_its_shim(tmp_path: Path, kind: str) -> None:
    """Another worker makes the layer; without its shim the command cannot go on, and the build says that. Nothing is left of either."""
    with Engine(tmp_path / "store") as engine:
        engine.toolbox()  # whose layers the build's own worker unpacks, so that there is one when the command runs
    mark = f"killed{os.getpid()}{kind}"
    text = f"FROM toolbox\nRUN trap 'exit 0' USR1; touch /made; echo runs; while :; do sleep 0.05; done # {mark}\n"
    with building(tmp_path / "store", text, "--tag", "made", out=subprocess.PIPE) as builder:
        assert builder.stdout is not None
        # Its shim has said that it runs by then: one that is killed before that is another story, and told as another.
        said_before = b""
        while not said_before.endswith(b"\nruns\n"):
            line = builder.stdout.readline()
            assert line, said_before
            said_before += line
        killed = until(lambda: victims(builder.pid, kind, mark))
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        until(lambda: not any(map(processes.start_time, killed)))  # one that is about to end would take what comes next
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


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A short folder for the sockets of one test alone."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="nbc-b") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


def cgroups_of(pid: int) -> set[str]:
    """The names of the groups of ours that a process is in."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return {name for line in lines if (name := line.rpartition("/")[2]).startswith(PREFIX)}


@pytest.mark.parametrize("has_state", [True, False], ids=["", "whose snapshot somebody has removed"])
def test_one_prune_removes_all_that_a_killed_build_left(tmp_path: Path, sockets: Path, has_state: bool) -> None:
    """Its engine and its shim are killed at once, and the prune comes at once: no process, socket, cgroup, mount or file is left.

    Another store of this user, whose containers use the same folder for sockets, notices nothing.
    """
    root = tmp_path / "store"
    with Engine(tmp_path / "other") as other, Engine(root) as engine:
        other.run("toolbox", "true", network="none", rm=True).wait()  # so that a process waits for the next one
        bystander = other.run("toolbox", "sleep", "600", network="none", detach=True)
        engine.toolbox()
        with building(root, "FROM toolbox\nRUN exec sleep 600\n", out=subprocess.DEVNULL) as builder:
            (shim,) = until(lambda: sleepers(builder.pid))
            command = next(child for child in processes.tree(shim) if said(child)[0] == "sleep")
            groups = cgroups_of(command)
            assert len(list(sockets.rglob("build-*.sock"))) == 1
            family = [*processes.tree(builder.pid)]
            for pid in (builder.pid, shim):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not any(processes.start_time(pid) for pid in (builder.pid, shim)))
        if not has_state:
            until(lambda: not processes.start_time(command))
            for path in (root / "snapshots").iterdir():
                path.rename(root / "trash" / path.name)  # as whoever collects in this store does
        engine.prune()
        assert list(sockets.rglob("build-*")) == []
        assert not {name for _, names, _ in os.walk("/sys/fs/cgroup") for name in names} & groups
        assert [path for name in FOLDERS for path in (root / name).iterdir()] == []
        assert str(root / "snapshots") not in Path("/proc/self/mountinfo").read_text()
        until(lambda: not any(processes.start_time(pid) for pid in family))
        assert bystander.exec("true").wait(PATIENCE_S) == 0
        assert other.run("toolbox", "true", network="none", rm=True).wait(PATIENCE_S) == 0
        bystander.remove(force=True)
    assert list(sockets.rglob("*.sock")) == []


def sleepers(builder: int) -> list[int]:
    """The shims of a build whose commands have become ``sleep``."""
    return [
        pid
        for pid in processes.tree(builder)
        if said(pid)[0] == "nbc-shim" and any(said(child)[0] == "sleep" for child in processes.tree(pid))
    ]
