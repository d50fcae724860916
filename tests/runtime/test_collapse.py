"""A shim that has no descriptors left, or a fault of its own; a zygote that is killed as it is asked; a start that is called off."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from nbcontainers.errors import NBContainersError
from nbcontainers.results import HealthCheck
from nbcontainers.runtime import process, processes
from nbcontainers.runtime import state as states
from nbcontainers.runtime.process import Runtime
from nbcontainers.runtime.running import Running
from tests.waiting import PATIENCE_S, clock, until

from .conftest import Box
from .test_death import traces
from .test_exec import run, wish
from .test_life import start


def shim(running: Running) -> int:
    return int(states.load_extra(running.folder)["shim"])


def opened(pid: int) -> list[int]:
    return sorted(int(name) for name in os.listdir(f"/proc/{pid}/fd"))


def at_rest(pid: int) -> list[int]:
    """What a process has open while nothing goes on in it: who has heard the end of a command is faster than what still closes."""
    seen = [opened(pid)]
    while len(seen) < 10 or seen[-10:].count(seen[-1]) < 10:
        time.sleep(0.05)
        seen.append(opened(pid))
    return seen[-1]


def leave_room(pid: int, room: int) -> None:
    """Let a process open so many descriptors more, or as many as before (-1)."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    held = opened(pid)
    free = [number for number in range(held[-1] + room + 2) if number not in held]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free[room] if room >= 0 else hard, hard))


def test_a_shim_without_descriptors_refuses_a_command_and_goes_on(box: Box) -> None:
    """With any number of free ones: the command runs or is refused with the reason, and the shim keeps none of them."""
    running = start(box, "sleep", "4321")
    pid, outcomes = shim(running), set()
    until(lambda: run(running, "true")[0] == 0)
    held = at_rest(pid)
    for room in range(1, 14):  # with none nobody gets in at the door
        leave_room(pid, room)
        try:
            outcomes.add(run(running, "true")[0])
        except (NBContainersError, OSError) as error:
            outcomes.add(type(error).__name__)
        leave_room(pid, -1)
        assert running.state.status == "running", (room, running.state.error)
        until(lambda: opened(pid) == held)
    assert 0 in outcomes
    assert outcomes != {0}
    assert run(running, "echo", "well")[:2] == (0, "well\n")
    running.signal(signal.SIGKILL)


def test_a_check_of_health_for_which_there_are_no_descriptors_has_failed(box: Box) -> None:
    """It says why, and the next one is made when there are some."""
    check = HealthCheck(test=("true",), interval=0.05, timeout=60, retries=1, start_period=0, start_interval=0.05)
    running = start(box, "sleep", "4321", check=check)

    def outputs() -> list[str]:
        found = states.load_state(running.folder).health
        return [result.output for result in found.log] if found else []

    def fails(room: int) -> bool:
        """Whether a check failed meanwhile; with a single descriptor not even the state can be written, until there are more."""
        leave_room(pid, room)
        time.sleep(0.3)
        leave_room(pid, -1)
        return any("Too many open files" in one for one in outputs())

    until(lambda: "" in outputs())
    pid = shim(running)
    for room in (1, 2, 3):  # none to look whether it is paused, none for its output, none to enter it
        until(partial(fails, room))
        until(lambda: set(outputs()) == {""})
    assert running.state.status == "running"
    running.signal(signal.SIGKILL)


@pytest.mark.parametrize("detach", [True, False])
def test_a_fault_of_a_shim_is_told_by_the_state_of_its_container(box: Box, detach: bool) -> None:
    """The container ends with it, nothing is left of both, and whoever looks reads what it was and where."""
    running = start(box, "sh", "-c", "sleep 4321 & sleep 4321", detach=detach)
    found, extra = running.state, states.load_extra(running.folder)
    until(lambda: len(list(processes.tree(found.pid))) == 2)
    family = list(processes.tree(found.pid))
    execution = running.exec(wish("sleep", "4321"), stdin=False)
    execution.signal(1 << 40)  # which no signal is, and no engine sends
    with contextlib.suppress(NBContainersError):
        assert execution.attach(lambda event: None) != 0
    until(lambda: not any(processes.start_time(pid) for pid in (*family, extra["shim"])))
    assert running.wait(PATIENCE_S) == 137
    after = states.load_state(running.folder)
    assert (after.status, after.exit_code, after.pid) == ("exited", 137, 0)
    assert after.error.startswith("ended by a fault of its shim: OverflowError: ")
    assert " at entered.py:" in after.error
    until(lambda: traces(box, running.folder.name) == (set(), set()))
    assert not os.path.exists(extra["socket"])


def test_a_start_whose_zygote_is_killed_is_made_by_another(box: Box, run_dir: Path) -> None:
    """Whether the plan was lost with the zygote, or its process had taken it already: the container runs, once."""
    with Runtime(run_dir, box.host) as runtime:
        for number in range(8):
            folder, rootfs = box.prepare()
            spec = box.spec("sh", "-c", "echo ran >> /tmp/runs")
            states.new_state(folder, box.state(folder, ("sh",)))
            if (zygote := runtime.zygote_pid()) is not None:
                if number % 2:
                    os.kill(zygote, signal.SIGSTOP)
                os.kill(zygote, signal.SIGKILL)
            running = runtime.start(folder, spec, rootfs, state=box.state(folder, ("sh",)))
            assert running.wait(PATIENCE_S) == 0
            assert (folder / "upper/tmp/runs").read_text() == "ran\n"


def test_a_plan_that_went_with_its_zygote_is_sent_again(box: Box, run_dir: Path) -> None:
    """Nothing of the container had begun, as its state shows."""
    with Runtime(run_dir, box.host) as runtime:
        folder, rootfs = box.prepare()
        assert runtime.start(folder, box.spec("true"), rootfs, state=box.state(folder, ("true",))).wait(PATIENCE_S) == 0
        zygote = runtime.zygote_pid()
        assert zygote is not None
        until(lambda: len(list(processes.tree(zygote))) >= 2)
        everybody: list[int] = []

        def all_there() -> list[int]:
            """The shim of the container that has ended may be gone the moment after. The kernel holds a lender already."""
            names = {pid: Path(f"/proc/{pid}/comm").read_text() for pid in processes.tree(zygote)}
            return [pid for pid, name in names.items() if name != "nbc-lender\n"]

        def stand_still() -> bool:
            """Nobody was forked while they were being stopped."""
            everybody[:] = all_there()
            for pid in everybody:
                os.kill(pid, signal.SIGSTOP)
            stopped = all("T (stopped)" in Path(f"/proc/{pid}/status").read_text() for pid in everybody)
            return stopped and all_there() == everybody

        until(stand_still)
        send = runtime._send

        def send_and_kill(*words: object) -> object:
            sent = send(*words)  # type: ignore[arg-type]
            for pid in everybody:
                if processes.start_time(pid):
                    os.kill(pid, signal.SIGKILL)
            return sent

        runtime._send = send_and_kill  # type: ignore[assignment,method-assign]
        again, mounts = box.prepare()
        states.new_state(again, box.state(again, ("sh",)))
        other = runtime.start(
            again, box.spec("sh", "-c", "echo ran >> /tmp/runs"), mounts, state=box.state(again, ("sh",))
        )
        assert other.wait(PATIENCE_S) == 0
        assert (again / "upper/tmp/runs").read_text() == "ran\n"
        assert runtime.zygote_pid() != zygote


def test_a_detached_container_that_has_just_begun_can_be_called_off(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt in the instant after its command was executed ends it, and at once."""
    heard = process._await_exec

    def interrupted(*words: object) -> int:
        heard(*words)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(process, "_await_exec", interrupted)
    folder, rootfs = box.prepare()
    began = clock()
    with pytest.raises(KeyboardInterrupt):
        box.runtime.start(folder, box.spec("sleep", "4321"), rootfs, state=box.state(folder, ("sleep",)), detach=True)
    assert clock() - began < 3
    found = states.load_state(folder)
    assert (found.status, found.exit_code) == ("exited", 137)
    until(lambda: traces(box, folder.name) == (set(), set()))
