"""What an engine does while a container's process is made: nobody finds the container, and nothing of it runs, before that is done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from nbcontainers.engine.engine import Engine
from nbcontainers.errors import NotFound
from nbcontainers.runtime import processes
from nbcontainers.runtime import state as states
from tests.waiting import PATIENCE_S, until

from .conftest import Box


@pytest.mark.parametrize("detach", [False, True])
def test_nothing_runs_before_it_is_done(box: Box, detach: bool) -> None:
    """However long it takes; then the container runs, as it would have."""
    folder, rootfs = box.prepare()
    written = folder / "upper/tmp/ran"
    seen: list[bool] = []

    def meanwhile() -> None:
        time.sleep(0.2)
        with pytest.raises(NotFound):
            states.load_state(folder)
        seen.append(written.exists())

    spec, state = box.spec("sh", "-c", "echo > /tmp/ran"), box.state(folder, ("sh",))
    running = box.runtime.start(folder, spec, rootfs, state=state, detach=detach, meanwhile=meanwhile)
    box.started.append(running)
    assert running.wait(PATIENCE_S) == 0
    assert seen == [False]
    assert written.exists()


@pytest.mark.parametrize("detach", [False, True])
def test_what_it_raises_ends_the_container(box: Box, detach: bool) -> None:
    """It comes to who asked, the command never ran, and no process, cgroup or socket is left."""
    folder, rootfs = box.prepare()

    def meanwhile() -> None:
        raise OSError(28, "No space left on device")

    spec, state = box.spec("sh", "-c", "echo > /tmp/ran"), box.state(folder, ("sh",))
    with pytest.raises(OSError, match="No space"):
        box.runtime.start(folder, spec, rootfs, state=state, detach=detach, meanwhile=meanwhile)
    assert not (folder / "upper/tmp/ran").exists()
    until(lambda: not box.host.hierarchy.directories(folder.name))
    assert not Path(box.runtime.door(folder.name)).exists()


def test_an_engine_that_is_killed_meanwhile_leaves_nothing(tmp_path: Path) -> None:
    """Its shim ends, and what there is of the container is removed by whoever lists them; the command never ran."""
    script = """
        import sys, time
        from nbcontainers.engine.engine import Engine
        from nbcontainers.engine.kept import Kept
        engine = Engine(root=sys.argv[1])
        engine.run("toolbox", "true", rm=True).wait()
        def write(self, **words):
            print("writing", flush=True)
            time.sleep(600)
        Kept.write = write
        engine.run("toolbox", "sh", "-c", "echo > /ran; sleep 600", name="half")
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "store")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as engine:
        try:
            assert engine.stdout is not None
            assert engine.stdout.readline() == "writing\n"
            below = [pid for pid in processes.tree(engine.pid) if pid != engine.pid]
        finally:
            os.kill(engine.pid, signal.SIGKILL)
    until(lambda: not any(processes.start_time(pid) for pid in below))
    with Engine(root=tmp_path / "store") as other:
        assert other.containers(all=True) == ()
        assert not list((tmp_path / "store").glob("snapshots/*/upper/ran"))
        again = other.run("toolbox", "true", name="half")
        assert again.wait() == 0
        again.remove()
