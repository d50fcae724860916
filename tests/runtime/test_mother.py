"""Mothers, who bear first processes beside shims that take one container after another."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nbcontainers.errors import NBContainersError
from nbcontainers.events import Event
from nbcontainers.oci.runtime import Mount
from nbcontainers.runtime import processes
from nbcontainers.runtime import state as states
from nbcontainers.runtime.running import Running
from tests.waiting import until

from .conftest import Box, text


def mothers(box: Box) -> list[int]:
    """Those of the box's shims that are there just now."""
    return [pid for pid in processes.tree(box.runtime.zygote_pid() or 0) if named(pid) == "nbc-mother"]


def named(pid: int) -> str:
    """What a process is called. Those whom a mother has just borne are called as she is, but have a number in a further pid namespace."""
    try:
        lines = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    except OSError:
        return ""
    return lines["Name"] if len(lines["NSpid"].split()) == 1 else f"{lines['Name']} inside"


def parent(pid: int) -> int:
    """That of a process, 0 where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@contextlib.contextmanager
def watching(box: Box, look: Callable[[int], None]) -> Iterator[None]:
    """Look at each mother that is there meanwhile, again and again."""
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            for pid in mothers(box):
                look(pid)
            time.sleep(0.001)

    with ThreadPoolExecutor(1) as pool:
        watched = pool.submit(watch)
        try:
            yield
        finally:
            is_over.set()
        watched.result()


def rush(box: Box, one: Callable[[int], object], many: int = 60) -> list[object]:
    """What comes of many, eight of which are wanted at any time."""
    box.run("true")
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(many)))


def output(box: Box, number: int) -> tuple[int, str, str]:
    """What comes of a container that reads, writes and ends in its own way."""
    return box.run("sh", "-c", f"cat; echo {number}; echo $$ >&2; exit {number % 7}", stdin_bytes=b"in ")


def output_of(number: int) -> tuple[int, str, str]:
    """What is to come of it."""
    return number % 7, f"in {number}\n", "1\n"


def test_in_a_rush_shims_have_them(box: Box) -> None:
    """Each is her shim's; what the containers say and how they end is as ever, and no mother is left when the rush is over."""
    seen: dict[int, str] = {}

    with watching(box, lambda pid: seen.setdefault(pid, named(parent(pid)))):
        assert rush(box, lambda number: output(box, number)) == [output_of(number) for number in range(60)]
    assert set(seen.values()) - {""} == {"nbc-shim"}
    until(lambda: not mothers(box))


def test_what_she_bears_is_the_shims(box: Box) -> None:
    """The first process of such a container is a child of its shim, as every other's, and has no descriptor but its streams."""
    seen: set[int] = set()

    def one(number: int) -> tuple[str, str]:
        _, out, _ = box.run("sh", "-c", "echo /proc/self/fd/*")
        running = box.start("sleep", "0.5")
        shim = parent(states.load_state(running.folder).pid)
        has_mother = bool(seen & set(processes.children(shim)))
        running.wait()
        return (named(shim) if has_mother else ""), out

    with watching(box, seen.add):
        said = rush(box, one)
    # The fourth is what the shell reads the folder with.
    assert {out for _, out in said} == {" ".join(f"/proc/self/fd/{number}" for number in range(4)) + "\n"}
    assert {shim for shim, _ in said} - {""} == {"nbc-shim"}


def test_a_container_that_stays_has_none(box: Box) -> None:
    """Its shim takes no other meanwhile, and lets her go."""
    seen: set[int] = set()

    def one(number: int) -> object:
        return box.start("sleep", "600") if number % 20 == 19 else box.run("true")

    with watching(box, seen.add):
        stay = [running for running in rush(box, one) if isinstance(running, Running)]
    assert seen
    until(lambda: not mothers(box))
    assert [named(states.load_state(running.folder).pid) for running in stay] == ["sleep inside"] * 3


def test_one_that_is_killed_is_not_missed(box: Box) -> None:
    """Whenever that happens, the shim begins its container itself, once; and nothing is left of any."""
    killed: set[int] = set()

    def kill(pid: int) -> None:
        if pid not in killed:
            killed.add(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    with watching(box, kill):
        assert rush(box, lambda number: output(box, number), many=120) == [output_of(number) for number in range(120)]
    assert killed
    until(lambda: not mothers(box))


def test_one_that_stands_still_is_given_up(box: Box) -> None:
    """Her shim begins its container itself, after a while, and the others go on."""
    stopped: set[int] = set()

    def stop(pid: int) -> None:
        if not stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                stopped.add(pid)

    with watching(box, stop):
        assert rush(box, lambda number: output(box, number)) == [output_of(number) for number in range(60)]
    assert stopped
    until(lambda: not mothers(box))


def test_she_goes_with_her_shim(box: Box) -> None:
    """Shims that are killed leave none."""
    seen: set[int] = set()

    def kill(pid: int) -> None:
        shim = parent(pid)
        if pid not in seen and named(shim) == "nbc-shim":
            seen.add(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(shim, signal.SIGKILL)

    def one(number: int) -> None:
        with contextlib.suppress(NBContainersError):  # it ended with its shim
            box.run("true")

    with watching(box, kill):
        rush(box, one)
    assert seen
    until(lambda: not [pid for pid in seen if named(pid) == "nbc-mother"])
    assert box.run("true")[0] == 0


def test_further_runs_and_terminals_are_as_ever(box: Box) -> None:
    """A container that is started again has all its output, and one with a terminal has that."""

    def one(number: int) -> tuple[int, str]:
        if number % 2:
            code, out, _ = box.run("tty", terminal=True)
            return code, out
        command = ("sh", "-c", f"echo {number}; exit 3")
        folder, rootfs = box.prepare()
        state = dataclasses.replace(box.state(folder, command), restart=("on-failure", 1))
        running = box.runtime.start(folder, box.spec(*command), rootfs, state=state)
        box.started.append(running)
        events: list[Event] = []
        return running.attach(events.append), text(events, "stdout")

    seen: set[int] = set()
    with watching(box, seen.add):
        wanted = [(0, "/dev/pts/0\r\n") if number % 2 else (3, f"{number}\n" * 2) for number in range(60)]
        assert rush(box, one) == wanted
    assert seen


def test_what_is_not_as_most_are_is_not_hers(box: Box) -> None:
    """Of such a container nothing can be made before its turn comes; its shim bears it itself, and lets her go first."""
    seen: set[int] = set()
    odd = [Mount(destination="/sys/firmware", type="tmpfs", source="tmpfs")]

    def one(number: int) -> set[int]:
        if number % 2 == 0:
            box.run("true")
            return set()
        running = box.start("sleep", "0.5", mounts=odd)
        found = seen & set(processes.children(parent(states.load_state(running.folder).pid)))
        running.wait()
        return found

    with watching(box, seen.add):
        assert rush(box, one) == [set()] * 60
    assert seen
