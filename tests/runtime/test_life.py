"""What a shim does for a container while it lives: starts it again, checks its health, lets it be paused, keeps its log small."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest

from nbcontainers.errors import Conflict
from nbcontainers.events import Event
from nbcontainers.results import ContainerState, HealthCheck
from nbcontainers.runtime import logfiles, pausing
from nbcontainers.runtime import state as states
from nbcontainers.runtime.restarts import Restarts
from nbcontainers.runtime.running import Running, logs
from tests.waiting import PATIENCE_S, until

from .conftest import Box, text
from .test_exec import run


def start(box: Box, *args: str, detach: bool = True, stdin: bool = False, **fields: Any) -> Running:
    """Start a command with what its state says beside."""
    folder, rootfs = box.prepare()
    state: ContainerState = dataclasses.replace(box.state(folder, args), **fields)
    running = box.runtime.start(folder, box.spec(*args), rootfs, state=state, detach=detach, stdin=stdin)
    box.started.append(running)
    return running


@pytest.mark.parametrize(
    ("policy", "code", "pauses"),
    [
        (("no", 0), 1, [None]),
        (("on-failure", 0), 0, [None]),
        (("on-failure", 2), 1, [0.1, 0.2, None]),
        (("always", 0), 0, [0.1, 0.2, 0.4, 0.8]),
        (("unless-stopped", 0), 1, [0.1, 0.2]),
    ],
)
def test_policies_are_dockers(policy: tuple[str, int], code: int, pauses: list[float | None]) -> None:
    """When, after how long, how often."""
    restarts = Restarts(policy)
    assert [restarts.pause(code, 1.0) for _ in pauses] == pauses


def test_pauses_end_at_a_minute_and_begin_anew_after_a_sound_run() -> None:
    """Ten seconds of running are sound."""
    restarts = Restarts(("always", 0))
    assert [restarts.pause(1, 1.0) for _ in range(12)][-1] == 60
    assert restarts.pause(1, 11.0) == 0.1
    restarts.give_up()
    assert restarts.pause(1, 1.0) is None


def test_it_is_started_again(box: Box) -> None:
    """As often as was said; each run is a new one on the same files, and all are in the log."""
    script = "echo run; cat /tmp/before 2>/dev/null; echo $$ >> /tmp/before; exit 7"
    running = start(box, "sh", "-c", script, restart=("on-failure", 2))
    assert running.wait(PATIENCE_S) == 7
    found = states.load_state(running.folder)
    assert (found.status, found.restarts, found.exit_code) == ("exited", 2, 7)
    assert b"".join(output.data for output in logs(running.folder)) == b"run\nrun\n1\nrun\n1\n1\n"


def test_whoever_is_attached_sees_every_run(box: Box) -> None:
    """The engine that started it in the foreground gets them all, and the last exit code."""
    script = "read n < /tmp/n; echo run $n; echo $((n+1)) > /tmp/n; exit 3"
    running = start(box, "sh", "-c", script, detach=False, restart=("on-failure", 2))
    events: list[Event] = []
    assert running.attach(events.append) == 3
    assert text(events, "stdout") == "run\nrun 1\nrun 2\n"


def test_a_person_ends_it_for_good(box: Box) -> None:
    """While it runs and while it waits to be started again."""
    script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    running = start(box, "sh", "-c", script, restart=("always", 0))
    until(lambda: list(logs(running.folder)))
    assert running.stop(PATIENCE_S) == 5
    assert states.load_state(running.folder).status == "exited"
    running = start(box, "false", restart=("always", 0))
    until(lambda: states.load_state(running.folder).restarts >= 4)
    assert running.stop(PATIENCE_S) == 1
    assert states.load_state(running.folder).status == "exited"


def test_a_foreground_container_is_not_started_again_without_its_engine(box: Box) -> None:
    """Its engine's end is its own."""
    running = start(box, "false", detach=False, restart=("always", 0))
    running.hang_up()
    assert running.wait(PATIENCE_S) in (1, 137)
    until(lambda: states.load_state(running.folder).status == "exited")


def test_health_is_found_by_asking(box: Box) -> None:
    """Starting, unhealthy after so many failures, healthy at the first success; the last results are kept."""
    check = HealthCheck(test=("sh", "-c", "echo looked; test -e /tmp/ok"), interval=0.1, retries=2)
    running = start(box, "sleep", "600", check=check)

    def status() -> str:
        health = states.load_state(running.folder).health
        return health.status if health else ""

    until(lambda: status() == "unhealthy")
    assert run(running, "touch", "/tmp/ok")[0] == 0
    until(lambda: status() == "healthy")
    health = states.load_state(running.folder).health
    assert health is not None
    assert (health.failing_streak, health.log[-1].exit_code, health.log[-1].output) == (0, 0, "looked\n")
    assert len(health.log) <= 5


def test_a_check_that_takes_too_long_is_ended(box: Box) -> None:
    """And counts as a failure; the container is none the worse."""
    check = HealthCheck(test=("sleep", "600"), interval=0.05, timeout=0.2, retries=1)
    running = start(box, "sleep", "600", check=check)

    def log() -> Any:
        health = states.load_state(running.folder).health
        return health.log if health else ()

    until(log)
    assert "timeout" in log()[0].output
    assert not running.is_over()


def test_failures_while_it_starts_up_do_not_count(box: Box) -> None:
    """Within the start period it stays starting."""
    check = HealthCheck(test=("false",), interval=0.05, retries=1, start_period=60, start_interval=0.05)
    running = start(box, "sleep", "600", check=check)

    def health() -> Any:
        return states.load_state(running.folder).health

    until(lambda: health() and len(health().log) >= 3)
    assert (health().status, health().failing_streak) == ("starting", 0)


def test_a_paused_container_stands_still(box: Box) -> None:
    """Its processes do nothing until they go on; it can be killed all the same."""
    running = start(box, "sh", "-c", "while :; do echo x >> /tmp/count; sleep 0.02; done")
    count = running.folder / "upper/tmp/count"
    until(lambda: count.exists() and count.stat().st_size > 2)
    pausing.pause(running.folder)
    assert states.load_state(running.folder).status == "paused"
    size = count.stat().st_size
    time.sleep(0.3)
    assert count.stat().st_size == size
    with pytest.raises(Conflict, match="paused"):
        run(running, "true")
    with pytest.raises(Conflict, match="paused"):
        pausing.pause(running.folder)
    pausing.unpause(running.folder)
    until(lambda: count.stat().st_size > size)
    pausing.pause(running.folder)
    running.signal(9)
    assert running.wait(PATIENCE_S) == 137
    with pytest.raises(Conflict, match="not paused"):
        pausing.unpause(running.folder)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("log"))


def test_a_log_makes_way_for_the_next(box: Box) -> None:
    """No more files than were allowed; offsets go on; the newest lines are there."""
    script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done"
    running = start(box, "sh", "-c", script, log_options=(32 << 10, 3))
    assert running.wait(PATIENCE_S) == 0
    names = files(running.folder)
    assert len(names) == 3
    old = logfiles.older(str(running.folder), "log")
    assert old[1][0] == old[0][0] + old[0][1]
    lines = [output.data for output in logs(running.folder)]
    assert lines[-1] == b"line 2999\n"
    assert lines == [b"line %d\n" % number for number in range(3000 - len(lines), 3000)]
    assert [output.data for output in logs(running.folder, tail=2)] == [b"line 2998\n", b"line 2999\n"]
    assert len(list(logs(running.folder, tail=500))) == 500


def test_what_comes_at_once_makes_no_file_of_the_log_too_long(box: Box) -> None:
    """A shim that comes late reads much at a time; records take several times what their lines do."""
    script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done > /tmp/lines; cat /tmp/lines"
    running = start(box, "sh", "-c", script, log_options=(32 << 10, 3))
    assert running.wait(PATIENCE_S) == 0
    sizes = [(running.folder / name).stat().st_size for name in files(running.folder)]
    assert len(sizes) == 3
    assert max(sizes) < 48 << 10
    lines = [output.data for output in logs(running.folder)]
    assert lines == [b"line %d\n" % number for number in range(3000 - len(lines), 3000)]


def test_who_follows_loses_nothing(box: Box) -> None:
    """One that is attached and slow gets every line: the container waits for him before its log forgets one."""
    script = "i=0; while [ $i -lt 4000 ]; do echo a line that is not so short $i; i=$((i+1)); done"
    running = start(box, "sh", "-c", script, detach=False, log_options=(16 << 10, 2))
    time.sleep(0.3)  # nobody reads yet: socket and log fill up
    events: list[Event] = []

    def observe(event: Event) -> None:
        events.append(event)
        if len(events) < 20:
            time.sleep(0.01)

    assert running.attach(observe) == 0
    lines = text(events, "stdout").splitlines()
    assert lines == [f"a line that is not so short {number}" for number in range(4000)]
