"""Many threads on one engine, and interrupts every few milliseconds: all is done, or nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nbcontainers import Engine
from nbcontainers.events import Event, Output
from tests.build.test_interrupts import left_running
from tests.waiting import PATIENCE_S, until

DOCKERFILE = "FROM toolbox\nRUN sleep 30 # {mark}\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store with the toolbox image and a container ``host`` that runs."""
    path = tmp_path_factory.mktemp("store")
    with Engine(path) as engine:
        host = engine.run("toolbox", "sleep", "600", name="host", detach=True)
        yield path
        host.remove(force=True)
        assert engine.containers(all=True) == ()


def test_sixteen_threads_use_one_engine(root: Path) -> None:
    """Each has its own container, from the start to the removal, with its own output."""

    def live(number: int) -> None:
        events: list[Event] = []
        container = engine.run("toolbox", "sh", "-c", f"echo {number}; exit {number}")
        assert container.attach(events.append) == number
        assert [event.data for event in events if isinstance(event, Output)] == [b"%d\n" % number]
        assert engine.container("host").name == "host"
        engine.tag("toolbox", f"thread:{number}")
        container.remove()

    with Engine(root) as engine, ThreadPoolExecutor(16) as pool:
        list(pool.map(live, range(1, 33)))
        assert len([image for image in engine.images() if "thread" in str(image.reference)]) == 32
        assert [container.name for container in engine.containers(all=True)] == ["host"]
        assert engine.check().faults == ()


@pytest.mark.parametrize("after", [0.0, 0.5, 1.5])
@pytest.mark.parametrize(
    "words",
    [
        ["run", "--rm", "toolbox", "sh", "-c", "sleep 30 # {mark}"],
        ["exec", "host", "sh", "-c", "sleep 30 # {mark}"],
        ["build", "-"],
    ],
    ids=lambda words: words[0],
)
def test_an_interrupt_storm_leaves_nothing(root: Path, words: list[str], after: float) -> None:
    """Interrupts every 3 ms from some instant on: the program ends, and no container, process, mount or lease of it is left."""
    mark = f"storm{os.getpid()}{words[0]}{after}"
    command = [sys.executable, "-m", "nbcontainers", *(word.format(mark=mark) for word in words)]
    given = DOCKERFILE.format(mark=mark).encode() if words[0] == "build" else b""
    environment = {**os.environ, "NBCONTAINERS_ROOT": str(root)}
    silent = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=silent, stderr=silent) as program:
        assert program.stdin is not None
        program.stdin.write(given)
        program.stdin.close()
        time.sleep(after)
        deadline = time.monotonic() + PATIENCE_S
        while program.poll() is None and time.monotonic() < deadline:
            program.send_signal(signal.SIGINT)
            time.sleep(0.003)
        assert program.poll() is not None
    with Engine(root) as engine:
        until(lambda: not left_running(mark))
        until(lambda: [one.name for one in engine.containers()] == ["host"])
        for container in engine.containers(all=True):
            if container.name != "host":
                container.remove()
        assert engine.check().faults == ()
