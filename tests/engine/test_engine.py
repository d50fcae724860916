"""The Python interface: what a program that embeds the engine can rely on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from nbcontainers import (
    BuildError,
    Conflict,
    Container,
    DockerfileError,
    Engine,
    LaunchError,
    NBContainersError,
    NotFound,
)
from nbcontainers.engine.options import RunOptions, signal_number
from nbcontainers.events import Event, Output, StepFinished, StepStarted
from tests.waiting import HICCUP_S, PATIENCE_S, clock, until


def texts(events: list[Event]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, Output))


def test_output_and_exit_code_come_back(engine: Engine) -> None:
    """``attach`` gives every byte and the exit code, however late it is called."""
    container = engine.run("toolbox", "sh", "-c", "echo out; echo err >&2; exit 5")
    assert container.wait(PATIENCE_S) == 5
    events: list[Event] = []
    assert container.attach(events.append) == 5
    assert sorted(texts(events).splitlines()) == [b"err", b"out"]
    assert {event.stream for event in events if isinstance(event, Output)} == {"stdout", "stderr"}
    assert container.state.status == "exited"
    assert [output.data for output in container.logs(tail=1)] in ([b"out\n"], [b"err\n"])
    container.remove()
    with pytest.raises(NotFound):
        _ = container.state


def test_the_readmes_example_prints_what_the_container_wrote(engine: Engine) -> None:
    """And nothing else."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    example = readme.partition("## In Python\n\n```python\n")[2].partition("```")[0]
    environment = {**os.environ, "NBCONTAINERS_ROOT": str(engine.store.root)}
    done = subprocess.run([sys.executable, "-c", example], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("hi\n", "")


def test_what_it_gives_is_printed_in_a_line(engine: Engine) -> None:
    """An image, a list of them, a build and the engine itself say what they are, in a notebook's cell as in a log."""
    made = engine.build("FROM toolbox\nENV A=1\n", tag="printed")
    identity = made.image.id.short
    assert str(made.image) == repr(made.image) == f"<Image printed:latest ({identity})>"
    assert repr(engine.image(made.image.id)) == f"<Image {identity}>"
    assert f"<Image printed:latest ({identity})>" in str(engine.images())
    assert re.fullmatch(
        rf"<BuildResult <Image printed:latest \({identity}\)>, \d steps? \(\d cached\) in \d+\.\d\d s>", str(made)
    )
    assert str(engine) == f"<Engine of {engine.store.root}>"
    assert str(Engine("/nowhere")) == "<Engine of /nowhere>", "nothing is opened or made for it"
    assert str(Engine()) == "<Engine of the default store>"


def test_an_interrupt_ends_what_was_started_here(engine: Engine) -> None:
    """KeyboardInterrupt goes straight through, and within a second nothing runs; the stopped container is kept."""
    container = engine.run("toolbox", "sh", "-c", "echo up; sleep 600")

    def interrupt(event: Event) -> None:
        raise KeyboardInterrupt

    begun = clock()
    with pytest.raises(KeyboardInterrupt):
        container.attach(interrupt)
    assert clock() - begun < 1 + HICCUP_S
    assert (container.state.status, container.state.stopped) == ("exited", True)
    container.remove()


def test_an_interrupted_container_has_the_time_that_it_was_given(engine: Engine) -> None:
    """It is asked with its own signal, and may take as long as its ``stop_timeout`` says; a second interrupt ends it at once."""
    script = "trap 'sleep 1; exit 7' USR1; trap '' TERM; echo up; while :; do sleep 0.05; done"
    container = engine.run("toolbox", "sh", "-c", script, stop_timeout=60, stop_signal="USR1")

    def interrupt(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        container.attach(interrupt)
    assert container.state.exit_code == 7
    container.remove()
    container = engine.run("toolbox", "sh", "-c", "trap '' TERM; echo up; sleep 600", stop_timeout=600)
    timer = threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT))  # which the kernel gives the thread that waits

    def interrupt_twice(event: Event) -> None:
        timer.start()
        raise KeyboardInterrupt

    begun = clock()
    with pytest.raises(KeyboardInterrupt):
        container.attach(interrupt_twice)
    timer.join()
    assert clock() - begun < 2 + HICCUP_S
    assert container.state.exit_code == 137
    container.remove()


def test_only_what_somebody_stopped_is_said_to_be(engine: Engine) -> None:
    """``stop`` and KILL end it whatever it does; other signals leave its end to itself; another run knows nothing of the last."""
    container = engine.run(
        "toolbox", "sh", "-c", "trap 'exit 3' HUP; echo up; while :; do sleep 0.05; done", detach=True
    )
    until(lambda: list(container.logs()))
    for end, code, stopped in (
        (lambda: container.stop(0), 137, True),
        (lambda: container.kill("HUP"), 3, False),
        (container.kill, 137, True),
    ):
        assert not container.state.stopped
        end()
        assert (container.wait(), container.state.stopped) == (code, stopped)
        before = len(list(container.logs()))
        container.start(detach=True)
        until(lambda before=before: len(list(container.logs())) > before)
    container.remove(force=True)


def test_an_interrupted_container_that_was_not_to_be_kept_is_gone(engine: Engine) -> None:
    """``rm=True`` leaves nothing behind after an interrupt either."""
    container = engine.run("toolbox", "sh", "-c", "echo up; sleep 600", rm=True)

    def interrupt(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        container.attach(interrupt)
    assert container.id not in [other.id for other in engine.containers(all=True)]


@pytest.mark.parametrize(
    ("script", "seen"),
    [
        (
            "chmod 644 /etc/group; touch /tmp; touch /srv/x; rm /srv/x; cp -p /etc/shells /etc/t; mv /etc/t /etc/shells",
            "",
        ),
        ("chmod 600 /etc/group", "C /etc C /etc/group"),
        ("touch /etc/group", "C /etc C /etc/group"),
        ("ln /etc/group /root/same; chmod 600 /root/same; chmod 644 /root/same", "C /root A /root/same"),
        ("chmod 700 /srv; rmdir /mnt; mkdir -m 755 /mnt", "C /srv"),
        ("rm -r /var; mkdir -m 755 /var; echo x >/var/a", "C /var A /var/a D /var/"),
        ("rm -r /var; echo x >/var; mkdir -p /opt/a/b", "C /opt A /opt/a A /opt/a/b C /var"),
    ],
)
def test_changes_are_those_that_docker_tells(engine: Engine, script: str, seen: str) -> None:
    """Not what was only touched and is as it was, nor a folder for its time alone; but folders in which something changed."""
    container = engine.run("toolbox", "sh", "-c", script)
    assert container.wait(PATIENCE_S) == 0
    marks = {"added": "A", "modified": "C", "deleted": "D"}
    shown = " ".join(f"{marks[change.kind]} {change.path}" for change in container.changes())
    assert shown.startswith(seen) if seen.endswith("/") else shown == seen
    container.remove()


def test_two_containers_of_one_image_do_not_see_each_others_changes(engine: Engine) -> None:
    """An image never changes: each container writes in a layer of its own, and keeps it when it is started again."""
    first = engine.create("toolbox", "sh", "-c", "cat /mine 2>/dev/null; echo first >> /mine")
    second = engine.create("toolbox", "cat", "/mine")
    outputs: list[list[Event]] = [[], [], []]
    first.start()
    first.attach(outputs[0].append)
    first.start()
    first.attach(outputs[1].append)
    second.start()
    assert second.attach(outputs[2].append) == 1
    assert [texts(events)[:6] for events in outputs] == [b"", b"first\n", b"cat: /"]
    assert [(change.kind, change.path) for change in first.changes()] == [("added", "/mine")]
    assert second.changes() == ()
    first.remove()
    second.remove()


def test_threads_start_containers_at_once(engine: Engine) -> None:
    """Eight threads, eight containers, eight answers."""
    answers: dict[int, bytes] = {}

    def run(number: int) -> None:
        events: list[Event] = []
        container = engine.run("toolbox", "sh", "-c", f"echo {number}", rm=True)
        container.attach(events.append)
        answers[number] = texts(events)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: f"{number}\n".encode() for number in range(8)}


def test_a_second_engine_sees_and_controls_the_same_containers(engine: Engine) -> None:
    """Truth is on disk: another engine on the same folder finds a detached container, and stops it."""
    container = engine.run("toolbox", "sleep", "600", detach=True, name="shared")
    with Engine(engine.store.root) as other:
        assert [found.name for found in other.containers()] == ["shared"]
        assert other.container("shared").usage().processes == 1
        other.container("shared").kill()
        assert other.container("shared").wait(PATIENCE_S) == 137
    assert container.state.status == "exited"
    container.remove()


def test_waiting_has_an_end(engine: Engine) -> None:
    """``wait`` gives up after its timeout, and the container goes on."""
    container = engine.run("toolbox", "sleep", "600")
    with pytest.raises(TimeoutError):
        container.wait(0.1)
    assert container.state.status == "running"
    with pytest.raises(Conflict, match="is running"):
        container.remove()
    container.remove(force=True)


@pytest.mark.parametrize("signal", [None, 9.5, b"KILL", "", "²"])
def test_what_is_no_signal_or_timeout_is_refused(engine: Engine, signal: Any) -> None:
    """In words, before anything is sent."""
    container = engine.run("toolbox", "sleep", "600")
    wrong: Any = "soon"
    with pytest.raises(NBContainersError, match="no such signal"):
        container.kill(signal)
    for act in (container.stop, container.restart):
        with pytest.raises(NBContainersError, match="timeout: wanted a number, got 'soon'"):
            act(wrong)
    assert container.state.status == "running"
    container.remove(force=True)


def test_a_real_time_signal_asks_it_to_end(engine: Engine) -> None:
    """``--stop-signal RTMIN+3``, as images with systemd have it; they are counted up from RTMIN and down from RTMAX."""
    code = "trap 'exit 7' 37; echo ready; while :; do sleep 0.05; done"
    container = engine.run("toolbox", "sh", "-c", code, stop_signal="SIGRTMIN+3", stop_timeout=PATIENCE_S)
    until(lambda: any(b"ready" in line.data for line in container.logs()))
    assert container.inspect()["Config"]["StopTimeout"] == PATIENCE_S
    assert container.stop() == 7
    container.remove()
    assert (signal_number("rtmax-1"), signal_number("RTMIN")) == (63, 34)
    for word in ("RTMIN-3", "RTMIN+40", "RTMAX+1", "TERM+1", "SIG", "0"):
        with pytest.raises(NBContainersError, match="no such signal"):
            signal_number(word)


LISTENS = "trap 'exit 3' HUP TERM; echo ready; while :; do sleep 0.05; done"


@pytest.mark.parametrize(
    ("signal", "own", "restarts"),
    [
        ("HUP", "", 0),
        ("TERM", "", 0),
        ("HUP", "HUP", 0),
        ("HUP", "TERM", 1),
        ("KILL", "HUP", 0),
    ],
)
def test_a_signal_that_is_meant_to_end_it_ends_its_restarts(
    engine: Engine, signal: str, own: str, restarts: int
) -> None:
    """As with Docker 20.10 and 28: KILL and its stop signal are, and where neither it nor its image names one, so is every other."""
    words: RunOptions = {"stop_signal": own} if own else {}
    container = engine.run("toolbox", "sh", "-c", LISTENS, restart="always", detach=True, **words)
    until(lambda: any(b"ready" in line.data for line in container.logs()))
    container.kill(signal)
    until(lambda: container.state.restarts > 0 if restarts else container.state.status == "exited")
    assert container.state.restarts == restarts
    container.remove(force=True)


@pytest.mark.parametrize(("signal", "after"), [("HUP", "exited"), ("INT", "paused"), ("KILL", "exited")])
def test_a_signal_that_is_meant_to_end_it_reaches_one_that_is_paused(engine: Engine, signal: str, after: str) -> None:
    """As with Docker 28: it goes on, so that it can hear it; others wait until it is unpaused."""
    container = engine.run("toolbox", "sh", "-c", LISTENS, stop_signal="HUP")
    until(lambda: any(b"ready" in line.data for line in container.logs()))
    container.pause()
    container.kill(signal)
    until(lambda: container.state.status == after)
    container.remove(force=True)


def test_one_that_waits_for_its_restart_can_be_killed(engine: Engine) -> None:
    """Between two runs there is nobody who gets a signal: one that is meant to end it ends the waiting, others do nothing."""
    container = engine.run("toolbox", "false", restart="always", stop_signal="INT", detach=True)
    until(lambda: container.state.restarts == 4 and container.state.status == "restarting")
    container.kill("HUP")
    until(lambda: container.state.restarts == 5 and container.state.status == "restarting")
    container.kill("INT")
    until(lambda: container.state.status == "exited")
    with pytest.raises(Conflict, match="not running"):
        container.kill()
    container.remove()


def test_a_name_can_be_taken_over(engine: Engine) -> None:
    """``replace`` removes the container that has the name; without it the name is refused and nothing is left of the attempt."""
    first = engine.run("toolbox", "sleep", "600", name="web")
    before = {container.id for container in engine.containers(all=True)}
    with pytest.raises(Conflict, match="taken"):
        engine.run("toolbox", "true", name="web")
    assert {container.id for container in engine.containers(all=True)} == before
    second = engine.run("toolbox", "true", name="web", replace=True)
    second.wait()
    assert engine.container("web").id == second.id
    assert first.id not in {container.id for container in engine.containers(all=True)}
    second.remove()


def test_the_socket_of_a_shim_that_was_killed_goes_with_its_container(engine: Engine) -> None:
    """It had written the end, so that nobody had to repair the container, and then was killed before it had tidied up."""
    container = engine.run("toolbox", "true")
    container.wait()
    socket = Path(engine._runtime.door(container.id))
    until(lambda: not socket.exists())
    socket.touch()
    container.remove()
    assert not socket.exists()


def test_what_cannot_be_started_leaves_nothing(engine: Engine) -> None:
    """A LaunchError says at what stage, with Docker's code, and no container stays."""
    with pytest.raises(LaunchError) as caught:
        engine.run("toolbox", "no-such-program")
    assert caught.value.exit_code == 127
    assert "no-such-program" in caught.value.message
    assert engine.containers(all=True) == ()


def test_an_image_that_a_container_uses_is_kept(engine: Engine) -> None:
    """Docker's rule: its last name is refused while a container was made from it."""
    engine.build("FROM toolbox\nRUN echo one > /one\n", tag="used")
    container = engine.create("used", "true")
    with pytest.raises(Conflict):
        engine.remove_image("used")
    container.remove()
    assert engine.remove_image("used")[0] == "Untagged: used:latest"


def test_a_build_tells_its_steps_and_is_cached(engine: Engine, tmp_path: Path) -> None:
    """Steps are counted over the whole build; the second build executes nothing and makes the same image."""
    (tmp_path / "file").write_text("content\n")
    dockerfile = "FROM toolbox\nCOPY file /file\nRUN cat /file\n"
    events: list[Event] = []
    first = engine.build(dockerfile, context=tmp_path, on_event=events.append)
    started = [event for event in events if isinstance(event, StepStarted)]
    assert [(event.number, event.total, event.lines) for event in started] == [
        (1, 3, (1, 1)),
        (2, 3, (2, 2)),
        (3, 3, (3, 3)),
    ]
    assert texts(events) == b"content\n"
    again: list[Event] = []
    second = engine.build(dockerfile, context=tmp_path, on_event=again.append)
    assert all(event.cached for event in again if isinstance(event, StepFinished))
    assert second.image.id == first.image.id
    (tmp_path / "file").write_text("changed\n")
    third = engine.build(dockerfile, context=tmp_path)
    assert [step.cached for step in third.steps] == [True, False, False]
    diff = engine.image_diff(first.image, third.image)
    assert [(change.kind, change.path) for change in diff.files] == [("modified", "/file")]


@pytest.mark.parametrize(
    ("dockerfile", "error", "lines"),
    [
        ("FROM toolbox\nRUN echo seen; false\n", BuildError, (2, 2)),
        ("FROM toolbox\nRUNN true\n", DockerfileError, (2, 2)),
        ("FROM nowhere-to-be-found\n", NBContainersError, None),
        ("FROM toolbox\nCOPY missing /x\n", DockerfileError, (2, 2)),
    ],
)
def test_a_build_that_fails_says_where(
    engine: Engine, tmp_path: Path, dockerfile: str, error: type[NBContainersError], lines: tuple[int, int] | None
) -> None:
    """The lines of the Dockerfile, and nothing tagged."""
    with pytest.raises(error) as caught:
        engine.build(dockerfile, context=tmp_path, tag="never")
    if lines:
        assert caught.value.lines == lines  # type: ignore[attr-defined]
    if isinstance(caught.value, BuildError):
        assert caught.value.exit_code == 1
        assert b"seen" in caught.value.output
    with pytest.raises(NotFound):
        engine.image("never")


def test_options_that_mean_nothing_are_refused(engine: Engine) -> None:
    """A misspelt keyword is an error with the nearest that there is."""
    with pytest.raises(NBContainersError, match="memroy") as caught:
        engine.run("toolbox", "true", memroy="64m")  # type: ignore[call-arg]
    assert "memory" in caught.value.hint


def test_an_archive_is_loaded_by_its_path(engine: Engine, tmp_path: Path) -> None:
    """As a program writes it, a text or a Path; what is not there is named."""
    archive = tmp_path / "toolbox.tar"
    with archive.open("wb") as stream:
        engine.save(["toolbox"], stream)
    image = engine.image("toolbox")
    assert {engine.load(where)[0].id for where in (archive, str(archive))} == {image.id}
    with pytest.raises(NotFound, match=r"no archive at .*nowhere\.tar"):
        engine.load(tmp_path / "nowhere.tar")


def test_a_run_says_nothing_of_how_the_last_one_ended(engine: Engine) -> None:
    """Started again, a container has no exit code and no error, as in Docker, until it ends again."""
    container = engine.run("toolbox", "sh", "-c", "test -e /again && exec sleep 600; touch /again; exit 3")
    assert container.wait() == 3
    container.start(detach=True)
    state = container.inspect()["State"]
    assert (state["Status"], state["ExitCode"], state["Error"], state["OOMKilled"]) == ("running", 0, "", False)
    container.stop(0)
    assert container.inspect()["State"]["ExitCode"] == 137
    container.remove()


def test_what_goes_with_its_end_is_not_brought_to_the_disk(engine: Engine, tmp_path: Path) -> None:
    """Under rm its root is volatile, so that its end waits for nobody's data; it can be written to and started again all the same."""
    script = "grep ' / ' /proc/self/mounts; touch /made; ls /; exec sleep 600"

    def said(container: Container) -> bytes:
        return b"".join(output.data for output in container.logs())

    kept = engine.run("toolbox", "sh", "-c", script, detach=True)
    passing = engine.run("toolbox", "sh", "-c", script, detach=True, rm=True)
    until(lambda: b"var\n" in said(kept) and b"var\n" in said(passing))
    is_overlay = engine.store.snapshots.name == "overlay"  # a copy's end brings nothing to the disk
    assert (b"volatile" in said(kept), b"volatile" in said(passing)) == (False, is_overlay)
    kept.remove(force=True)
    passing.kill()
    until(lambda: passing.state.status == "exited")
    (tmp_path / "brought").touch()
    passing.bring(tmp_path / "brought", "/")
    passing.start(detach=True)
    until(lambda: {b"made", b"brought"} <= set(said(passing).splitlines()))
    passing.remove(force=True)
