"""Shims that take one container after another, in a rush and only then."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from nbcontainers.linux import rights
from nbcontainers.runtime import crew, processes
from nbcontainers.runtime import state as states
from nbcontainers.runtime.turns import Turns
from tests.machine import descriptors
from tests.waiting import HICCUP_S, PATIENCE_S, until

from .conftest import Box


class Shims:
    """Sockets to a crew whose shims the test is, and the one by which messages come."""

    def __init__(self, how_many: int) -> None:
        self.crew = crew.Crew()
        self.engine, self.requests = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.far = []
        for _ in range(how_many):
            near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.crew.add(near.detach())
            far.settimeout(PATIENCE_S)
            self.far.append(far)

    def find(self) -> int:
        return self.crew.find(self.requests.fileno())

    def __enter__(self) -> Shims:
        return self

    def __exit__(self, *_: object) -> None:
        for link in self.crew.links:
            os.close(link)
        for one in (self.engine, self.requests, *self.far):
            one.close()


def test_one_that_is_done_takes_the_message_that_waits() -> None:
    """It gets the socket to read it from, and is then the one that waits."""
    with Shims(3) as shims:
        shims.engine.send(b"start")
        shims.far[1].send(crew.FREE)
        link = shims.find()
        assert link in shims.crew.links
        word, [requests] = rights.receive(shims.far[1].fileno())
        assert (word, os.read(requests, 64)) == (crew.WORK, b"start")
        os.close(requests)
        shims.far[1].send(b"taken")
        assert shims.crew.hear(link) == b"taken"


def test_without_a_rush_it_ends() -> None:
    """The next one is new, and has time to make ready what the next container wants."""
    with Shims(1) as shims:
        shims.far[0].send(crew.FREE)
        assert shims.find() == -1
        assert shims.far[0].recv(64) == b""
        assert shims.crew.links == set()


def test_one_that_was_killed_is_passed_over() -> None:
    """Whatever it said before: the message waits for another."""
    with Shims(2) as shims:
        shims.engine.send(b"start")
        for far in shims.far:
            far.send(crew.FREE)
        shims.far[1].close()
        assert shims.find() in shims.crew.links
        assert rights.receive(shims.far[0].fileno())[0] == crew.WORK


def test_nobody_waits_long_for_those_that_are_not_done() -> None:
    """Their containers may run for days; and once that was seen, it is not waited for at all until one of them has ended."""
    with Shims(crew.at_once() + 2) as shims:
        shims.engine.send(b"start")
        shims.far[0].send(crew.FREE)
        assert shims.find() >= 0
        assert shims.find() == -1
        begun = time.monotonic()
        for _ in range(100):
            assert shims.find() == -1
        assert time.monotonic() - begun < 1


def test_no_more_rest_than_are_wanted_at_once() -> None:
    """The others end, and so do these when the rush is over."""
    with Shims(crew.at_once() + 3) as shims:
        shims.engine.send(b"start")
        shims.far[0].send(crew.FREE)
        link = shims.find()
        for far in shims.far[1:]:
            far.send(crew.FREE)
        hearing = threading.Thread(target=shims.crew.hear, args=(link,))
        hearing.start()
        until(lambda: len(shims.crew.links) == 1)
        shims.far[0].close()
        hearing.join()
        assert shims.crew.links == set()


def test_a_rush_is_served_by_a_few(box: Box) -> None:
    """Every container has its own output and exit code; the processes that served them are few, and gone when it is over."""
    served: set[int] = set()

    def one(number: int) -> tuple[int, str]:
        code, out, _ = box.run("sh", "-c", f"echo {number}; exit {number % 7}")
        zygote = box.runtime.zygote_pid()
        served.update(processes.children(zygote or 0))
        return code, out

    box.run("true")
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(120))) == [(number % 7, f"{number}\n") for number in range(120)]
    assert len(served) < 100
    zygote = box.runtime.zygote_pid()
    assert zygote is not None
    until(lambda: len(processes.children(zygote)) == 1)
    assert not [path for path in box.root.iterdir() if states.load_extra(path)["shim"]]


def test_whoever_waits_for_a_container_does_not_wait_for_its_shim(box: Box) -> None:
    """It may have another by then, of which the state of the first does not tell."""
    running = box.start("sleep", "0.3")
    other = box.runtime.open(running.folder)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(other.wait, PATIENCE_S)
        shim = states.load_extra(running.folder)["shim"]
        assert processes.start_time(shim)
        assert waiting.result() == 0
    assert states.load_extra(running.folder)["shim"] == 0


def test_a_detached_containers_shim_is_its_own(box: Box) -> None:
    """It ends with it, and the zygote has no descriptor of it."""
    box.run("true")
    zygote = box.runtime.zygote_pid()
    running = [box.start("sleep", "60", detach=True) for _ in range(3)]
    # 0 to 2 are /dev/null, one is the engine's socket, one leads to the shim in reserve.
    until(lambda: len(os.listdir(f"/proc/{zygote}/fd")) == 5)
    for one in running:
        shim = states.load_extra(one.folder)["shim"]
        one.stop(0)
        assert not processes.start_time(shim)


class TestTurns:
    def test_no_more_at_once_than_there_are(self) -> None:
        """The others wait until one has ended."""
        turns, most, now = Turns(2), 0, 0
        lock = threading.Lock()

        def work(_: int) -> None:
            nonlocal most, now
            with turns.one():
                with lock:
                    now += 1
                    most = max(most, now)
                time.sleep(0.01)
                with lock:
                    now -= 1

        with ThreadPoolExecutor(10) as pool:
            list(pool.map(work, range(20)))
        assert most == 2

    def test_one_that_is_stuck_holds_up_nobody(self) -> None:
        """Where none of those that have a turn comes to an end, the others go on without one."""
        turns, over = Turns(1), threading.Event()

        def stick() -> None:
            with turns.one():
                over.wait(PATIENCE_S)

        stuck = threading.Thread(target=stick)
        stuck.start()
        try:
            until(lambda: stuck.is_alive())
            with ThreadPoolExecutor(5) as pool:
                for done in [pool.submit(turns.one().__enter__) for _ in range(5)]:
                    done.result(PATIENCE_S)
        finally:
            over.set()
            stuck.join()

    def test_many_do_not_wait_for_a_stuck_one_in_turn(self) -> None:
        """Who finds that a turn was waited for in vain, and nothing has ended since, does not wait again."""
        turns = Turns(1, stuck_s=HICCUP_S)  # as long as a machine may stand still: not one of them has waited
        with turns.one():
            with turns.one():
                begun = time.monotonic()
                with contextlib.ExitStack() as stack:
                    for _ in range(20):
                        stack.enter_context(turns.one())
                    assert time.monotonic() - begun < HICCUP_S
            begun = time.monotonic()
            with turns.one():
                assert time.monotonic() - begun >= HICCUP_S

    @pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
    def test_it_is_given_back(self, error: type[BaseException]) -> None:
        """However it ends: the next one has it at once, and who then wants another waits."""
        turns = Turns(1, stuck_s=HICCUP_S)
        begun = time.monotonic()
        for _ in range(3):
            with pytest.raises(error), turns.one():
                raise error
        with turns.one():
            assert time.monotonic() - begun < HICCUP_S
            begun = time.monotonic()
            with turns.one():
                assert time.monotonic() - begun >= HICCUP_S


def test_a_link_is_not_the_next_ones(box: Box) -> None:
    """A shim has none of the others' links open: each sees when the zygote is gone."""
    running = [box.start("sleep", "60") for _ in range(3)]
    ends = [set(descriptors(states.load_extra(one.folder)["shim"])) for one in running]
    sockets = [{name for name in found if name.startswith("socket:")} for found in ends]
    assert len(set.union(*sockets)) == sum(len(found) for found in sockets)
