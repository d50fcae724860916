"""Stages that do not need each other are made at the same time: bounded, with one result, one error, and nothing left."""

from __future__ import annotations

import contextlib
import http.server
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers.build import jobs
from nbcontainers.errors import BuildError, DockerfileError
from nbcontainers.events import Event, Output, Progress, StepFinished, StepStarted, StepStopped
from tests.build.conftest import Builder
from tests.build.test_interrupts import left_running
from tests.build.test_solver import unique
from tests.waiting import HICCUP_S, PATIENCE_S, clock

MANY = 30


def stages(count: int, command: str) -> str:
    """A Dockerfile whose last stage takes a file from each of many others; ``{n}`` in the command is the stage's number."""
    text = "".join(f"FROM busybox AS s{n}\nRUN {command.format(n=n)}\n" for n in range(count))
    return text + "FROM scratch\n" + "".join(f"COPY --from=s{n} /made /made{n}\n" for n in range(count))


class Overlap:
    """Hears of a build, and knows how many commands ran at once, at most and on average."""

    def __init__(self) -> None:
        self.running: dict[int, float] = {}
        self.most = 0
        self.first = self.last = self.taken = 0.0

    def __call__(self, event: Event) -> None:
        match event:
            case StepStarted(text=text, number=number) if text.startswith("RUN"):
                self.running[number] = time.monotonic()
                self.first = self.first or self.running[number]
                self.most = max(self.most, len(self.running))
            case StepFinished(number=number) if number in self.running:
                self.last = time.monotonic()
                self.taken += self.last - self.running.pop(number)

    @property
    def average(self) -> float:
        return self.taken / (self.last - self.first)


def test_thirty_stages_overlap(builder: Builder) -> None:
    """But no more of them at once than this machine has use for; the second build finds them all."""
    text = stages(MANY, f"sleep 0.3; echo {unique()} {{n}} > /made")
    overlap = Overlap()
    builder.build(text, on_event=overlap)
    assert 1 < overlap.most <= jobs.most()
    assert overlap.average > 1.3
    assert len(builder.store.worker.pids()) <= 1
    builder.build(text)
    assert all(builder.cached)
    assert [event.number for event in builder.events if isinstance(event, StepStarted)] == list(range(1, 3 * MANY + 2))


def test_the_result_is_that_of_one_step_after_another(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, with the steps in the Dockerfile's order."""
    text = stages(5, f"echo {unique()} {{n}} > /made")
    together = builder.build(text, epoch=1_700_000_000)
    monkeypatch.setattr(jobs, "most", lambda: 1)
    alone = builder.build(text, epoch=1_700_000_000, no_cache=True)
    assert together.image.descriptor.digest == alone.image.descriptor.digest
    assert [step.text for step in together.steps] == [step.text for step in alone.steps]
    assert [step.stage for step in together.steps][:4] == ["s0", "s0", "s1", "s1"]


def test_the_first_error_ends_the_others(builder: Builder) -> None:
    """It is the one that is raised, and the events tell the failed step from those that were cancelled."""
    word = unique()
    text = stages(MANY, f"test {{n}} != 2 || {{{{ echo oh; sleep 0.3; exit 7; }}}}; sleep 600 # {word} {{n}}")
    with pytest.raises(BuildError, match="exit code 7") as caught:
        builder.build(text)
    assert caught.value.lines == (6, 6)
    stopped = [event for event in builder.events if isinstance(event, StepStopped)]
    failed = [event.number for event in stopped if not event.cancelled]
    assert failed == [6]
    assert stopped[0].number == 6
    finished = {event.number for event in builder.events if isinstance(event, StepFinished)}
    started = {event.number for event in builder.events if isinstance(event, StepStarted)}
    assert {event.number for event in stopped} == started - finished
    assert {event.step for event in builder.events if isinstance(event, Output)} == {6}
    assert left_running(word) == []


def test_an_error_that_is_found_beside_commands_ends_them(builder: Builder) -> None:
    """As a file that no image has, which is looked for while another stage's command runs."""
    word = unique()
    text = f"FROM busybox AS slow\nRUN sleep 600 # {word}\nFROM busybox\nCOPY --from=busybox /nothing /\nCOPY --from=slow /a /\n"
    with pytest.raises(DockerfileError, match="nothing"):
        builder.build(text)
    assert [(event.number, event.cancelled) for event in builder.events if isinstance(event, StepStopped)] == [
        (4, False),
        (2, True),
    ]
    assert left_running(word) == []


def test_a_missing_file_is_told_before_any_command_is_executed(builder: Builder) -> None:
    """In whatever stage it is wanted; of several that are missing the last one is, as BuildKit mostly does."""
    builder.write({"there": ""})
    text = "FROM busybox AS a\nCOPY nothing /\nRUN echo ran\nFROM busybox\nRUN echo ran\nCOPY --from=a / /\nCOPY \\\n nowhere /\n"
    with pytest.raises(DockerfileError, match="'nowhere' is not in the context") as caught:
        builder.build(text)
    assert caught.value.lines == (7, 8)
    assert builder.events == []
    with pytest.raises(DockerfileError, match="'nowhere' is not in the context") as caught:
        builder.build("FROM busybox\nRUN --mount=source=nowhere,target=/m echo ran\nCOPY there /\n")
    assert caught.value.lines == (2, 2)


def test_the_same_step_in_two_stages_is_made_once(builder: Builder) -> None:
    """As it is when the stages are made one after another."""
    command = f"RUN sleep 0.2; cat /proc/sys/kernel/random/uuid > /{unique()}"
    text = f"FROM busybox AS a\n{command}\nFROM busybox AS b\n{command}\nFROM busybox\nCOPY --from=a / /\nCOPY --from=b / /\n"
    result = builder.build(text)
    assert [step.cached for step in result.steps][:4] == [True, False, True, True]
    assert result.steps[1].layer == result.steps[3].layer


def test_a_locked_cache_keeps_two_stages_apart(builder: Builder) -> None:
    """Whoever comes second waits, and sees what the first one left."""
    mount = f"--mount=type=cache,sharing=locked,target=/c,id={unique()}"
    command = "test ! -e /c/taken || exit 9; touch /c/taken; sleep 0.3; rm /c/taken; echo {n} > /made"
    builder.build(stages(4, f"{mount} {command}"))


@pytest.fixture
def stalled(tmp_path: Path) -> Iterator[tuple[str, threading.Event]]:
    """A server that sends the beginning of a file and then nothing more; and has nothing at ``/seen`` until the event is set."""
    over, seen = threading.Event(), threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/seen":
                self.send_response(200 if seen.is_set() else 404)
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(1 << 20))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(b"x" * (1 << 19))
                over.wait(PATIENCE_S)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", seen
    over.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_is_fetched_is_fetched_beside_the_rest_and_given_up(
    builder: Builder, stalled: tuple[str, threading.Event]
) -> None:
    """A server that does not answer any more keeps no other stage waiting, nor the error of one."""
    server, seen = stalled
    wait = f"until busybox wget -q -O /dev/null {server}/seen; do sleep 0.1; done; exit 4 # {unique()}"
    text = f"FROM busybox AS slow\nADD {server}/file /\nFROM busybox\nRUN --network=host {wait}\nCOPY --from=slow /file /\n"

    def hear(event: Event) -> None:
        if isinstance(event, Progress) and event.step == 2:
            seen.set()

    begun = clock()
    with pytest.raises(BuildError, match="exit code 4"):
        builder.build(text, on_event=hear)
    assert clock() - begun < 20


class Destroyed:
    """Something in whose destructor the interrupt comes."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_a_destructor_swallows_ends_it_too(builder: Builder) -> None:
    """Python drops what is raised there."""
    word = unique()

    def hear(event: Event) -> None:
        if isinstance(event, Output):
            Destroyed()

    with pytest.raises(KeyboardInterrupt):
        builder.build(f"FROM busybox\nRUN echo {word}; sleep 30\n", on_event=hear)
    assert left_running(word) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("instant", [0.02, 0.1, 0.25, 0.5, 0.9])
def test_an_interrupt_ends_all_of_them(builder: Builder, instant: float) -> None:
    """Within a second, whatever each of them is just doing; the fixture looks for what is left."""
    word = unique()
    text = stages(8, f"echo {{n}} > /made; sleep $(({{n}} % 3)).1; test {{n}} -lt 3 || sleep 30 # {word}")
    rung: list[float] = []

    def ring() -> None:
        rung.append(clock())
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGALRM, lambda *_: ring())
    try:
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the alarm may go off before the build begins
            signal.setitimer(signal.ITIMER_REAL, instant)
            builder.build(text)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert clock() - rung[0] < 1 + HICCUP_S
    assert left_running(word) == []
    assert sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("step")) == []
    finished = sorted(event.number for event in builder.events if isinstance(event, StepFinished))
    assert finished[:1] in ([], [1]), "a busy machine may not have come to the first"
