"""A shim or zygote that stands still (SIGSTOP): whoever wants something of it hears an error in time, and can end it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import pytest

from nbcontainers.errors import LaunchError
from nbcontainers.linux import groups
from nbcontainers.runtime import execution, pausing, process, processes, running
from nbcontainers.runtime import state as states
from nbcontainers.runtime.process import Runtime
from tests.waiting import until

from .conftest import Box
from .test_exec import run, wish


@contextlib.contextmanager
def standing_still(pid: int) -> Iterator[None]:
    """While it lasts, the process does nothing, as one that has ended does; and who waits for it has little patience.

    Before and after, the patience is the usual: a start may take seconds on a machine that does other things as well.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.MonkeyPatch.context() as impatience:
            impatience.setattr(execution, "_PATIENCE_S", 1.0)
            impatience.setattr(execution, "_START_S", 1.0)
            impatience.setattr(running, "_PATIENCE_S", 1.0)
            impatience.setattr(process, "_START_S", 1.0)
            impatience.setattr(process, "_PATIENCE_S", 1.0)
            yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("detach", [True, False])
def test_a_container_whose_shim_stands_still_can_be_ended(box: Box, detach: bool) -> None:
    """``stop`` ends the shim too, once the container's process is gone; the state is true, and nothing is left."""
    started = box.start("sleep", "600", detach=detach)
    state, extra = started.state, states.load_extra(started.folder)
    with standing_still(extra["shim"]):
        assert started.stop(0.1) == 137
    assert started.state.status == "exited"
    assert not states.is_alive(state.pid, extra["start"])
    assert not os.path.exists(extra["socket"])
    until(lambda: not list(box.host.hierarchy.directories(started.folder.name)))


def test_a_paused_container_whose_process_was_killed_meanwhile_can_be_ended(box: Box) -> None:
    """Its shim has not come to write that it ended; whoever ends it does not hear that it does not run."""
    started = box.start("sleep", "600", detach=True)
    pausing.pause(started.folder)
    state, extra = started.state, states.load_extra(started.folder)
    with standing_still(extra["shim"]):
        os.kill(state.pid, signal.SIGKILL)
        if any(os.path.exists(f"{path}/freezer.state") for path in extra["cgroup_directories"]):
            groups.freeze(extra["cgroup_directories"], frozen=False)  # of v1: it holds even those that are to die
        until(lambda: not states.is_alive(state.pid, extra["start"]))
        assert started.state.status == "paused"
        assert started.stop(0.1) == 137


def test_exec_where_the_shim_stands_still(box: Box) -> None:
    """It is an error that says so; when the shim goes on, so does the container, and the command is not run after all."""
    started = box.start("sleep", "600", detach=True)
    with (
        standing_still(states.load_extra(started.folder)["shim"]),
        pytest.raises(LaunchError, match="nothing was heard"),
    ):
        started.exec(wish("touch", "/tmp/late"), stdin=False)
    assert run(started, "true")[0] == 0


def test_a_shim_that_was_stopped_is_not_waited_for(box: Box) -> None:
    """Whoever enters a command hears soon which process stands still; who stops the container waits for its process, and not much more."""
    started = box.start("sleep", "600", detach=True)
    extra = states.load_extra(started.folder)
    os.kill(extra["shim"], signal.SIGSTOP)
    begun = time.monotonic()
    with pytest.raises(LaunchError, match=f"process {extra['shim']}, is stopped") as refused:
        started.exec(wish("true"), stdin=False)
    assert f"kill -CONT {extra['shim']}" in refused.value.hint
    assert started.stop(0.1) == 137
    assert time.monotonic() - begun < execution._PATIENCE_S
    assert not states.is_alive(extra["shim"], extra["shim_start"])


def test_a_start_where_the_zygote_stands_still(box: Box) -> None:
    """It is an error, and what was to be started is not started later."""
    with Runtime(box.runtime._run_dir, box.host) as runtime:
        folder, rootfs = box.prepare()
        # It goes on, for its shim would have none in reserve if it were free to take the next one.
        runtime.start(folder, box.spec("sleep", "600"), rootfs, state=box.state(folder, ("sleep",)))
        zygote = runtime.zygote_pid() or 0
        served = states.load_extra(folder)["shim"]
        shims = until(lambda: [pid for pid in processes.children(zygote) if pid != served])  # the one in reserve
        folder, rootfs = box.prepare()
        with contextlib.ExitStack() as still:
            for pid in (zygote, *shims):
                still.enter_context(standing_still(pid))
            with pytest.raises(LaunchError, match="nothing was heard"):
                runtime.start(folder, box.spec("sleep", "600"), rootfs, state=box.state(folder, ("sleep",)))
    until(lambda: not any(processes.start_time(pid) for pid in (zygote, *shims)))
    assert not (folder / "state.json").exists() or states.load_state(folder).status in {"created", "exited"}
