"""Watching containers: in a thread, until they have ended, with what was measured kept for a minute."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from nbcontainers.errors import Conflict, NotFound
from nbcontainers.jupyter.watching import Watch
from nbcontainers.results import ContainerState, Usage
from tests.jupyter import samples
from tests.waiting import HICCUP_S, clock, until


@dataclass
class Burner:
    """A container that is this process: it keeps half a processor busy, as its meter tells it."""

    state: ContainerState = field(default_factory=samples.state)
    closed: int = 0
    removed: bool = False
    id: str = samples.state().id

    def meter(self) -> Burner:
        if self.state.status != "running":
            raise Conflict("it does not run")
        return self

    def sample(self) -> Usage:
        if self.state.status != "running":
            raise Conflict("it does not run")
        now = time.time()
        return Usage(
            time=now, cpu_seconds=now * 0.5, memory=1 << 20, processes=2, source="process tree", memory_limit=2 << 20
        )

    def close(self) -> None:
        self.closed += 1

    def end(self) -> None:
        self.state = replace(self.state, status="exited", exit_code=3, finished=time.time())


@pytest.fixture
def told() -> Iterator[list]:
    yield []
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "nbcontainers-watch"])


def watch(sources: list, told: list, **options) -> Watch:
    watching = Watch(lambda: list(sources), lambda one, taken: told.append((one.live, taken)), rate=50, **options)
    watching.glance()
    return watching


def test_it_ends_with_the_last_container(told: list) -> None:
    """The last thing told is that it is over; meters are closed, and the exit code is known."""
    source = Burner()
    watching = watch([source], told)
    assert watching.seen[0].history, "the first sample is there before the thread is"
    watching.start()
    until(lambda: len(told) > 3)
    source.end()
    until(lambda: not watching.live)
    until(lambda: told[-1] == (False, {}))
    (one,) = watching.seen
    assert one.busy == pytest.approx(0.5, abs=0.01)
    assert (one.state.exit_code, one.ended, source.closed) == (3, True, 1)
    assert one.to_json()["source"] == "watched, process tree"
    assert one.to_json()["enforced"] is False
    watching.stop()


def test_it_ends_when_it_is_told_to(told: list) -> None:
    """Within a moment, whatever runs."""
    watching = watch([Burner()], told)
    watching.start()
    began = clock()
    watching.stop()
    assert clock() - began < 1 + HICCUP_S
    assert not watching.live


def test_forever_shows_containers_that_start_later(told: list) -> None:
    """And goes on when none runs."""
    sources: list[Burner] = []
    watching = watch(sources, told, forever=True)
    assert watching.seen == ()
    watching.start()
    until(lambda: len(told) > 2)
    sources.append(Burner())
    until(lambda: watching.seen and watching.seen[0].history)
    sources[0].end()
    until(lambda: watching.seen[0].ended)
    assert watching.live
    watching.stop()


def test_a_container_that_is_removed_is_gone_not_an_error(told: list) -> None:
    """With --rm its state is away before anyone could read it."""

    class Removed(Burner):
        @property
        def state(self) -> ContainerState:
            if self.removed:
                raise NotFound("no such container")
            return samples.state()

        @state.setter
        def state(self, value: ContainerState) -> None:
            pass

        def sample(self) -> Usage:
            if self.removed:
                raise ProcessLookupError
            return super().sample()

    source = Removed()
    watching = watch([source], told)
    watching.start()
    until(lambda: len(told) > 2)
    source.removed = True
    until(lambda: not watching.live)
    assert watching.seen[0].state.status == "dead"
    watching.stop()


def test_one_that_was_removed_is_said_to_have_ended_as_it_did(told: list) -> None:
    """The engine that removed it remembers, whatever was seen of it before."""
    last: list[ContainerState] = []
    source = Burner()
    watching = watch([source], told, departed=lambda: last)
    watching.start()
    until(lambda: len(told) > 2)
    last.append(samples.state(status="exited", exit_code=137, out_of_memory=True, finished=time.time()))
    source.state = replace(source.state, status="dead")
    until(lambda: not watching.live)
    assert watching.seen[0].to_json()["ended"] == "memory ran out"
    watching.stop()


def test_one_that_came_and_went_between_two_looks_is_shown(told: list) -> None:
    """With the reason of its end, and nothing measured; one that ended before the watch began is not."""
    last: list[ContainerState] = [samples.state("before", "exited", exit_code=0)]
    watching = watch([], told, departed=lambda: last, forever=True)
    watching.start()
    now = time.time()
    last.append(replace(samples.state("short", "exited", exit_code=143), started=now, finished=now))
    until(lambda: watching.seen)
    (one,) = watching.seen
    assert (one.state.name, one.to_json()["ended"]) == ("short", "exit code 143: SIGTERM")
    assert not one.history
    watching.stop()


def test_it_outlives_a_view_that_is_drawn_anew_and_ends_without_one(
    monkeypatch: pytest.MonkeyPatch, told: list
) -> None:
    """A page takes the view away before it draws it again; when none comes back, nobody looks."""
    widgets = pytest.importorskip("nbcontainers.jupyter.widgets", reason="needs anywidget", exc_type=ImportError)
    watching = Watch(lambda: [Burner()], lambda one, taken: view.take(taken), rate=50)
    watching.glance()
    view = widgets.UsageWidget(watching)
    for kind in ("seen", "left", "seen"):
        view._told(None, {"type": kind}, None)
    monkeypatch.setattr(widgets, "UNSEEN", 0.0)
    watching.start()
    taken = len(watching.seen[0].history)
    until(lambda: len(watching.seen[0].history) > taken + 3)
    assert watching.live
    view._told(None, {"type": "left"}, None)
    until(lambda: not watching.live)
    view.close()
