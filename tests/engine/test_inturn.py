"""Several people restart, start and stop one container at once, from threads and from processes: all of it is done, one after another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from nbcontainers import Engine
from nbcontainers.engine import Container, inturn
from nbcontainers.errors import Conflict, NotFound
from tests.waiting import PATIENCE_S, clock, until

ROUNDS = 5
RESTARTS = """
import sys
from nbcontainers import Engine
with Engine(sys.argv[1]) as engine:
    container = engine.container("one")
    print(flush=True)
    sys.stdin.readline()
    for _ in range(3):
        container.restart(0)
"""
KEEPS = """
import sys, time
from pathlib import Path
from nbcontainers.engine import inturn
with inturn.alone(Path(sys.argv[1])):
    print(flush=True)
    time.sleep(600)
"""


@pytest.fixture
def one(engine: Engine) -> Iterator[Container]:
    """A container that pays no attention to TERM."""
    container = engine.run("toolbox", "sleep", "600", name="one", network="none", detach=True)
    yield container
    container.remove(force=True)


@contextmanager
def kept(container: Container) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has the turn of a container, and keeps it."""
    words = (sys.executable, "-c", KEEPS, str(container._folder))
    with subprocess.Popen(words, stdout=subprocess.PIPE) as keeper:
        assert keeper.stdout is not None
        keeper.stdout.readline()
        yield keeper
        keeper.kill()


def test_restarts_of_several_processes_all_succeed(engine: Engine, one: Container, module_path: Path) -> None:
    """Each returns, none waits for the patience of a shim, and the container runs afterwards."""
    words = (sys.executable, "-c", RESTARTS, str(module_path))
    several = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(4)]
    for process in several:
        assert process.stdout is not None
        process.stdout.readline()
    began = clock()
    for process in several:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    assert [process.wait(PATIENCE_S) for process in several] == [0] * len(several)
    assert clock() - began < 8
    assert one.state.status == "running"
    for process in several:
        process.communicate()


@pytest.mark.parametrize("shared", [True, False])
def test_restarts_of_several_threads_all_succeed(engine: Engine, one: Container, shared: bool) -> None:
    """Of one object as of several, and of one that was in the foreground."""
    for _ in range(ROUNDS):
        began = clock()
        with ThreadPoolExecutor(6) as pool:
            for done in [pool.submit((one if shared else engine.container("one")).restart, 0) for _ in range(6)]:
                done.result()
        assert clock() - began < 8
        assert one.state.status == "running"


def test_a_container_of_the_foreground_is_restarted_by_several_at_once(engine: Engine, one: Container) -> None:
    """It goes on by itself then, and can be stopped."""
    for _ in range(ROUNDS):
        one.stop(0)
        one.start()
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(one.restart, 0) for _ in range(4)]:
                done.result()
        assert one.state.status == "running"
        assert one.state.detached


def test_of_several_starts_one_starts_it(engine: Engine, one: Container) -> None:
    """The others hear that it runs already."""
    for _ in range(ROUNDS):
        one.stop(0)
        said: list[str] = []

        def start(container: Container, said: list[str] = said) -> None:
            try:
                container.start(detach=True)
            except Conflict as error:
                said.append(error.message)

        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(start, engine.container("one")) for _ in range(4)]:
                done.result()
        assert said == ["container one is already running"] * 3
        assert one.state.status == "running"


def test_starts_beside_a_restart_do_it_no_harm(engine: Engine, one: Container) -> None:
    """They start it or hear that it runs; the restart succeeds whoever has started it."""
    for _ in range(ROUNDS):
        with ThreadPoolExecutor(5) as pool:
            starts = [pool.submit(engine.container("one").start, detach=True) for _ in range(4)]
            pool.submit(engine.container("one").restart, 0).result()
            for done in starts:
                assert isinstance(done.exception(), Conflict | None)
        assert one.state.status == "running"


def test_stops_beside_a_restart_tell_how_the_run_ended_that_they_stopped(engine: Engine, one: Container) -> None:
    """None of them takes the run that comes next for what it stopped."""
    for _ in range(ROUNDS):
        with ThreadPoolExecutor(5) as pool:
            stops = [pool.submit(engine.container("one").stop, 0) for _ in range(3)]
            restarts = [pool.submit(engine.container("one").restart, 0) for _ in range(2)]
            assert [done.result() for done in stops] == [137] * 3
            for restarted in restarts:
                restarted.result()
        one.restart(0)


def test_a_patient_stop_is_hurried_by_another_one(engine: Engine, one: Container) -> None:
    """And a start meanwhile hears at once that the container still runs."""
    with ThreadPoolExecutor(1) as pool:
        patient = pool.submit(one.stop, 600)
        until(lambda: threading.active_count() > 1 and not patient.done())
        with pytest.raises(Conflict, match="already running"):
            engine.container("one").start(detach=True)
        assert engine.container("one").stop(0) == 137
        assert patient.result(PATIENCE_S) == 137


def test_the_turn_of_one_that_is_killed_ends(engine: Engine, one: Container) -> None:
    """Whoever waits for it has it then."""
    one.stop(0)
    with kept(one) as keeper, ThreadPoolExecutor(1) as pool:
        start = pool.submit(one.start, detach=True)
        keeper.kill()
        start.result(PATIENCE_S)
    assert one.state.status == "running"


def test_who_waits_for_a_turn_can_be_interrupted(engine: Engine, one: Container) -> None:
    """Nothing of him is left then: the next one has the turn."""
    one.stop(0)
    with kept(one):
        timer = threading.Timer(0.3, signal.raise_signal, (signal.SIGINT,))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            one.start(detach=True)
        timer.join()
    one.start(detach=True)


def test_a_fork_in_a_turn_does_not_keep_it(engine: Engine, one: Container) -> None:
    """Its descriptor is the same open file, to which the lock belongs."""
    with inturn.alone(one._folder):
        child = os.fork()
        if not child:
            signal.pause()
            os._exit(0)
    try:
        began = clock()
        one.restart(0)
        assert clock() - began < 8
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_one_that_is_removed_meanwhile_is_not_found(engine: Engine) -> None:
    """By whoever waited for its turn."""
    container = engine.create("toolbox", "sleep", "600", network="none")
    with kept(container) as keeper, ThreadPoolExecutor(1) as pool:
        start = pool.submit(engine.container(container.id).start, detach=True)
        container.remove()
        keeper.kill()
        with pytest.raises(NotFound):
            start.result(PATIENCE_S)
