"""kill -9 of everybody: of the engine, of a shim, of the zygote; and what is left afterwards (nothing)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nbcontainers.errors import Conflict, LaunchError
from nbcontainers.runtime import process as starting
from nbcontainers.runtime import processes, zygotes
from nbcontainers.runtime import state as states
from nbcontainers.runtime.process import Runtime
from tests.waiting import PATIENCE_S, until

from .conftest import Box
from .test_exec import wish

ENGINE = """
    import os, pickle, sys
    from pathlib import Path
    from nbcontainers.runtime import host
    from nbcontainers.runtime.process import Runtime
    run_dir, folder, spec, rootfs, state, detach = pickle.loads(sys.stdin.buffer.read())
    runtime = Runtime(run_dir, host.probe())
    running = runtime.start(folder, spec, rootfs, state=state, detach=detach)
    print(runtime.zygote_pid(), flush=True)
    if "forks" in sys.argv:
        if os.fork() == 0:
            import time
            time.sleep(30)
            os._exit(0)
    signal = __import__("signal")
    signal.pause()
"""


def traces(box: Box, name: str) -> tuple[set[str], set[str]]:
    """What the host knows of a container: its cgroups, and mounts anywhere that name its folder."""
    mounts = set()
    for path in Path("/proc").glob("[0-9]*/mountinfo"):
        try:
            mounts |= {line for line in path.read_text().splitlines() if name in line}
        except OSError:
            continue
    return set(box.host.hierarchy.directories(name)), mounts


@pytest.fixture
def engine(box: Box, run_dir: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], Path, int]]]:
    """Starts ``sleep`` from an engine in a process of its own: (that process, the container's folder, the zygote's pid)."""
    import pickle

    engines: list[subprocess.Popen[bytes]] = []

    def start(*words: str, detach: bool = False) -> tuple[subprocess.Popen[bytes], Path, int]:
        folder, rootfs = box.prepare()
        root = Path(__file__).parents[2]
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(ENGINE), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])},
        )
        engines.append(process)
        assert process.stdin is not None
        assert process.stdout is not None
        spec = box.spec("sh", "-c", "sleep 4321 & sleep 4321")
        given = (run_dir, folder, spec, rootfs, box.state(folder, ("sleep",)), detach)
        process.stdin.write(pickle.dumps(given))
        process.stdin.close()
        zygote = int(process.stdout.readline())
        return process, folder, zygote

    yield start
    for process in engines:
        kill(process)


def comm(pid: int) -> str:
    """What a process is called; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


@pytest.mark.parametrize("words", [(), ("forks",)], ids=["alone", "with a forked copy of it"])
def test_a_killed_engine_leaves_nothing(
    box: Box, engine: Callable[..., tuple[subprocess.Popen[bytes], Path, int]], words: tuple[str, ...]
) -> None:
    """Within a moment its container, shim, zygote, cgroups and mounts are gone, and the state on disk is true.

    Even where the engine has forked (multiprocessing): the copy holds no lifeline.
    """
    process, folder, zygote = engine(*words)
    found, extra = states.load_state(folder), states.load_extra(folder)
    until(lambda: len(list(processes.tree(found.pid))) == 2)
    family = [*processes.tree(found.pid), extra["shim"], zygote]
    kill(process)
    until(lambda: not any(processes.start_time(pid) for pid in family))
    until(lambda: traces(box, folder.name) == (set(), set()))
    after = states.load_state(folder)
    assert (after.status, after.exit_code, after.pid) == ("exited", 137, 0)
    assert "engine" in after.error


def test_a_detached_container_outlives_a_killed_engine(
    box: Box, engine: Callable[..., tuple[subprocess.Popen[bytes], Path, int]]
) -> None:
    """It runs on, and can be stopped by another."""
    process, folder, zygote = engine(detach=True)
    kill(process)
    until(lambda: not processes.start_time(zygote))
    running = box.runtime.open(folder)
    assert running.state.status == "running"
    running.signal(signal.SIGKILL)
    assert running.wait(PATIENCE_S) == 137
    until(lambda: traces(box, folder.name) == (set(), set()))


@pytest.mark.parametrize("detach", [False, True])
def test_a_killed_shim_takes_its_container_along(box: Box, detach: bool) -> None:
    """The kernel ends the container; whoever reads the state next makes it true and takes away what is left."""
    running = box.start("sh", "-c", "sleep 4321 & sleep 4321", detach=detach)
    found, extra = running.state, states.load_extra(running.folder)
    until(lambda: len(list(processes.tree(found.pid))) == 2)
    family = list(processes.tree(found.pid))
    os.kill(extra["shim"], signal.SIGKILL)
    until(lambda: not any(processes.start_time(pid) for pid in family))
    assert running.wait(PATIENCE_S) == 137
    after = states.load_state(running.folder)
    assert (after.status, after.exit_code, after.pid) == ("exited", 137, 0)
    assert "shim" in after.error
    until(lambda: traces(box, running.folder.name) == (set(), set()))
    assert not os.path.exists(extra["socket"])


def test_a_container_that_defies_its_shims_death_is_ended_by_the_next_engine(box: Box) -> None:
    """A process can clear PR_SET_PDEATHSIG (a set-uid program does): reading the state ends it then."""
    running = box.start("sleep", "4321", detach=True)
    found, extra = running.state, states.load_extra(running.folder)
    # Stand in for such a program: a state whose shim is gone and whose process lives.
    victim = subprocess.Popen(["sleep", "4321"])
    import json

    path = running.folder / "state.json"
    data = json.loads(path.read_text())
    data["pid"] = victim.pid
    data["runtime"].update(start=processes.start_time(victim.pid), shim=2**22 - 1, shim_start=1)
    path.write_text(json.dumps(data))
    assert states.load_state(running.folder).status == "exited"
    assert victim.wait(PATIENCE_S) == -signal.SIGKILL
    os.kill(extra["shim"], signal.SIGKILL)
    until(lambda: not processes.start_time(found.pid))
    states.forget(extra)


@pytest.mark.parametrize("killed", ["shim", "container"])
def test_a_command_that_is_frozen_on_its_way_in_ends_with_its_container(box: Box, killed: str) -> None:
    """It is in the container's cgroup before it can bind itself to anybody's life."""
    running = box.start("sleep", "4321", detach=True)
    extra = states.load_extra(running.folder)
    groups = [path for path in map(Path, extra["cgroup_directories"]) if (path / "cgroup.freeze").exists()]
    if not groups:
        pytest.skip("needs a group of cgroup v2 that we may make: into others nobody is born")
    members = groups[0] / "cgroup.procs"
    (groups[0] / "cgroup.freeze").write_text("1")
    with ThreadPoolExecutor(1) as pool:
        entering = pool.submit(running.exec, wish("true"), stdin=False)
        until(lambda: len(members.read_text().split()) == 2)
        family = [int(word) for word in members.read_text().split()]
        os.kill(extra["shim"] if killed == "shim" else running.state.pid, signal.SIGKILL)
        assert running.wait(PATIENCE_S) == 137
        until(lambda: not any(processes.start_time(pid) for pid in family))
        until(lambda: traces(box, running.folder.name) == (set(), set()))
        assert isinstance(entering.exception(PATIENCE_S), (Conflict, LaunchError))


def test_a_killed_zygote_harms_no_container(box: Box, run_dir: Path) -> None:
    """What runs goes on, and the next start spawns another zygote."""
    with Runtime(run_dir, box.host) as runtime:
        folder, rootfs = box.prepare()
        running = runtime.start(folder, box.spec("sleep", "4321"), rootfs, state=box.state(folder, ("sleep",)))
        zygote = runtime.zygote_pid()
        assert zygote is not None
        os.kill(zygote, signal.SIGKILL)
        until(lambda: not processes.start_time(zygote))
        assert running.state.status == "running"
        again, mounts = box.prepare()
        states.new_state(again, box.state(again, ("true",)))
        other = runtime.start(again, box.spec("true"), mounts, state=box.state(again, ("true",)))
        assert other.wait(PATIENCE_S) == 0
        assert runtime.zygote_pid() != zygote
        running.signal(signal.SIGKILL)
        assert running.wait(PATIENCE_S) == 137


def test_a_shim_that_waits_may_be_killed(box: Box, run_dir: Path) -> None:
    """The zygote puts another in its place."""
    with Runtime(run_dir, box.host) as runtime:
        folder, rootfs = box.prepare()
        assert runtime.start(folder, box.spec("true"), rootfs, state=box.state(folder, ("true",))).wait(PATIENCE_S) == 0
        zygote = runtime.zygote_pid()
        assert zygote is not None

        def waiting() -> list[int]:
            return [
                pid for pid in list(processes.tree(zygote))[1:] if processes.start_time(pid) and comm(pid) == "nbc-shim"
            ]

        spares = until(waiting)
        for spare in spares:
            with contextlib.suppress(ProcessLookupError):  # it may have had nothing more to wait for
                os.kill(spare, signal.SIGKILL)
        until(lambda: set(waiting()).difference(spares))
        again, mounts = box.prepare()
        assert runtime.start(again, box.spec("true"), mounts, state=box.state(again, ("true",))).wait(PATIENCE_S) == 0


def killed_meanwhile(box: Box, is_meant: Callable[[int], bool]) -> LaunchError:
    """What comes of a start where some of its zygote's descendants are killed before the command may run; it never ran.

    Where they are killed before one of them has the container, another one takes it, and all is well: then it is tried again.
    """
    for _ in range(20):
        error = _killed_once(box, is_meant)
        assert box.run("true")[0] == 0
        if error is not None:
            return error
    raise AssertionError("every start succeeded")


def _killed_once(box: Box, is_meant: Callable[[int], bool]) -> LaunchError | None:
    box.run("true")
    zygote = box.runtime.zygote_pid()
    assert zygote is not None

    def shims() -> set[int]:
        return {pid for pid in processes.children(zygote) if comm(pid) == "nbc-shim"}

    until(shims)
    before = shims()
    folder, rootfs = box.prepare()

    def meanwhile() -> None:
        until(lambda: shims() - before)  # one has taken the container, and another its place
        for pid in until(lambda: list(filter(is_meant, processes.tree(zygote)))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    spec, state = box.spec("touch", "/tmp/ran"), box.state(folder, ("touch",))
    try:
        assert box.runtime.start(folder, spec, rootfs, state=state, meanwhile=meanwhile).wait(PATIENCE_S) == 0
    except LaunchError as error:
        caught = error
    else:
        return None
    assert not (folder / "upper/tmp/ran").exists()
    until(lambda: not Path(box.runtime.door(folder.name)).exists())  # it is told of first, and tidied up then
    return caught


def test_a_start_whose_shim_is_killed_says_so(box: Box) -> None:
    """In one sentence, with what can be done, as an error with a name that can be caught."""
    error = killed_meanwhile(box, lambda pid: comm(pid) == "nbc-shim")
    assert error.message == "the process that was to start it (its shim) was killed"
    assert "start it again" in error.hint
    assert not type(error).__name__.startswith("_")


def test_a_start_whose_first_process_is_killed_says_so(box: Box) -> None:
    """The same where it is the process that was to become the command."""

    def is_inside(pid: int) -> bool:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return any(line.startswith("NSpid:") and len(line.split()) > 2 + in_namespace for line in lines)

    own = Path("/proc/self/status").read_text().partition("NSpid:")[2].partition("\n")[0]
    in_namespace = len(own.split()) - 1
    error = killed_meanwhile(box, is_inside)
    assert error.message == "start: the first process was ended (status 137) before its command ran"
    assert "start it again" in error.hint


def test_a_start_whose_networks_end_says_so(box: Box) -> None:
    """It does not tell of a pipe, at whichever moment the process that holds them is killed."""
    for ends_first in (True, False):
        folder, rootfs = box.prepare()
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if ends_first:
            far.close()
        with near, far, pytest.raises(LaunchError) as caught:
            box.runtime.start(
                folder,
                box.spec("true"),
                rootfs,
                state=box.state(folder, ("true",)),
                network=near.fileno(),
                meanwhile=far.close,
            )
        assert caught.value.message == "network: the process that holds the networks is gone"
        assert "start it again" in caught.value.hint


def test_a_start_whose_zygotes_are_killed_says_so(box: Box, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is killed is replaced; if the next one is killed as well, that is an error."""

    class Doomed(zygotes.Zygote):
        def send(self, descriptors: list[int]) -> None:
            os.kill(self.pid, signal.SIGKILL)
            until(lambda: not processes.start_time(self.pid))
            for pid in processes.children(self.pid):
                until(lambda pid=pid: not processes.start_time(pid))
            super().send(descriptors)
            raise BrokenPipeError  # the shim in reserve held the other end for an instant

    monkeypatch.setattr(starting, "Zygote", Doomed)
    folder, rootfs = box.prepare()
    with (
        Runtime(run_dir, box.host) as runtime,
        pytest.raises(LaunchError, match=r"\(its zygote\) was killed") as caught,
    ):
        runtime.start(folder, box.spec("true"), rootfs, state=box.state(folder, ("true",)))
    assert "start it again" in caught.value.hint


def test_a_container_whose_shim_was_killed_can_be_started_again(box: Box) -> None:
    """What the dead shim left (groups with their counters, a socket) is in nobody's way, even if nobody has repaired it."""
    folder, rootfs = box.prepare()
    running = box.runtime.start(folder, box.spec("sleep", "4321"), rootfs, state=box.state(folder, ("sleep",)))
    found, extra = states.load_state(folder), states.load_extra(folder)
    os.kill(extra["shim"], signal.SIGKILL)
    until(lambda: not processes.start_time(found.pid))
    running.close()
    again = box.runtime.start(
        folder, box.spec("sleep", "4321"), rootfs, state=box.state(folder, ("sleep",)), detach=True
    )
    box.started.append(again)
    until(lambda: os.path.exists(states.load_extra(folder)["socket"]))
    assert again.state.status == "running"
