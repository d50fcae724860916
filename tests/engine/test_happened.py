"""What is told of containers: what happened to them, which ones were asked for, what they wrote and when."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest

from nbcontainers import Engine
from nbcontainers.errors import Conflict, LaunchError, NBContainersError
from nbcontainers.runtime import happenings
from tests.waiting import until


def test_what_happened_is_told(engine: Engine) -> None:
    """Of every container and image, whoever did it, in order, with docker's words; a torn line is passed over."""
    begin = time.time()
    container = engine.run("toolbox", "sh", "-c", "exit 3", name="told", labels={"a": "b"})
    container.wait()
    container.rename("told-again")
    engine.tag("toolbox", "other")
    engine.remove_image("other")
    with open(engine.store.root / happenings.NAME, "a") as file:
        file.write('{"torn\n')
    container.remove()
    told = list(engine.events(since=begin, until=time.time()))
    ours = [one.action for one in told if one.id == container.id]
    assert ours == ["create", "attach", "start", "die", "rename", "destroy"]
    assert [one.action for one in told if one.kind == "image"] == ["tag", "untag"]
    die = next(one for one in told if one.action == "die")
    assert dict(die.attributes) | {"exitCode": "3", "name": "told", "a": "b"} == dict(die.attributes)
    now = time.time()
    assert [one.action for one in engine.events("event=die", "label=a=b", since=begin, until=now)] == ["die"]
    assert [one.action for one in engine.events("container=told-again", since=begin, until=now)] == [
        "rename",
        "destroy",
    ]
    assert {one.kind for one in engine.events("type=image", since=begin, until=now)} == {"image"}
    assert list(engine.events(until=now)) == []
    with pytest.raises(NBContainersError, match="no filter"):
        list(engine.events("colour=blue", until=now))


def test_a_stop_and_an_update_are_told(engine: Engine) -> None:
    """In docker's order: the signal that asks for the end, the end, and that it was a stop; stopping it again is no event."""
    begin = time.time()
    container = engine.run("toolbox", "sleep", "600", detach=True)
    container.update(restart="no")
    container.stop(0)
    container.stop(0)
    container.remove()
    told = [one.action for one in engine.events(f"container={container.id}", since=begin, until=time.time())]
    assert told == ["create", "start", "update", "kill", "die", "stop", "destroy"]


def test_what_is_asked_of_a_container_that_runs_is_told(engine: Engine) -> None:
    """By docker's words: a list of its processes, an attachment, and the beginnings and ends of commands, each with its number."""
    begin = time.time()
    container = engine.run("toolbox", "sh", "-c", "read line", detach=True, interactive=True)
    container.top()
    with container.exec("sh", "-c", "exit 3") as execution:
        assert execution.wait() == 3
    with pytest.raises(LaunchError):
        container.exec("missing")
    container.attach(stdin=io.BytesIO(b"end\n"))
    with pytest.raises(Conflict):
        container.exec("true")
    told = list(engine.events(f"container={container.id}", since=begin, until=time.time()))
    assert [one.action for one in told if not one.action.startswith("exec")] == [
        "create",
        "start",
        "top",
        "attach",
        "die",
    ]
    commands = [one for one in told if one.action.startswith("exec")]
    words = ["exec_create: sh -c exit 3", "exec_start: sh -c exit 3", "exec_die"]
    assert [one.action for one in commands] == [*words, "exec_create: missing", "exec_start: missing"]
    assert len({dict(one.attributes)["execID"] for one in commands[:3]}) == 1
    assert dict(commands[2].attributes)["exitCode"] == "3"
    container.remove()


def test_a_check_of_health_is_told_as_a_command(engine: Engine) -> None:
    """It is one: its beginning, with a number of its own, and its end; and then what it says of the container's health."""
    begin = time.time()
    container = engine.run("toolbox", "sleep", "600", detach=True, health_cmd="exit 0", health_interval="100ms")
    until(lambda: (found := container.state.health) is not None and len(found.log) > 1)
    container.remove(force=True)
    told = list(engine.events(f"container={container.id}", since=begin, until=time.time()))
    words = ["exec_create: /bin/sh -c exit 0", "exec_start: /bin/sh -c exit 0", "exec_die"]
    assert [one.action for one in told[:9]] == ["create", "start", *words, "health_status: healthy", *words]
    numbers = [dict(one.attributes)["execID"] for one in told if one.action.startswith("exec")]
    assert len(set(numbers[:3])) == len(set(numbers[3:6])) == 1
    assert numbers[0] != numbers[3]
    assert dict(told[4].attributes)["exitCode"] == "0"


def test_whoever_starts_it_in_the_foreground_is_attached_before(engine: Engine) -> None:
    """In docker's order, once for each run; a container that is started in the background has nobody attached to it."""
    begin = time.time()
    container = engine.run("toolbox", "true")
    assert container.attach() == 0
    container.start(detach=True)
    container.wait()
    container.remove()
    told = [one.action for one in engine.events(f"container={container.id}", since=begin, until=time.time())]
    assert told == ["create", "attach", "start", "die", "start", "die", "destroy"]


def test_a_restart_is_told_as_a_stop_and_a_start(engine: Engine) -> None:
    """In docker's order."""
    begin = time.time()
    container = engine.run("toolbox", "sleep", "600", detach=True)
    container.restart(0)
    container.remove(force=True)
    told = [one.action for one in engine.events(f"container={container.id}", since=begin, until=time.time())]
    assert told == ["create", "start", "kill", "die", "stop", "start", "restart", "kill", "die", "destroy"]


def test_events_go_on_in_the_next_file(engine: Engine) -> None:
    """A file that grew too long makes way; who reads goes on."""
    path = engine.store.root / happenings.NAME
    begin = time.time()
    with open(path, "a") as file:
        line = {"time": time.time_ns(), "type": "test", "action": "fill", "id": "x", "attributes": {"pad": "p" * 1000}}
        file.write((json.dumps(line) + "\n") * 4200)
    happenings.note(str(path), "test", "last", {"id": "x"}, {})
    assert not path.exists()
    happenings.note(str(path), "test", "next", {"id": "x"}, {})
    told = [one.action for one in engine.events("type=test", since=begin, until=time.time())]
    assert told[-2:] == ["last", "next"]


def test_filters_of_containers(engine: Engine) -> None:
    """Docker's, alone and together."""
    first = engine.create("toolbox", "true", name="first", labels={"n": "1"})
    second = engine.run("toolbox", "sh", "-c", "exit 4", name="second")
    second.wait()

    def names(*filters: str) -> list[str]:
        return sorted(container.name for container in engine.containers(*filters, all=True))

    assert names("name=fir") == ["first"]
    assert names("name=first", "name=second") == ["first", "second"]
    assert names("name=^/first$") == names("name=^first$") == names("name=/first") == ["first"]
    assert names("name=^/") == ["first", "second"]
    assert names("name=(") == []
    assert engine.container("/first").inspect()["Name"] == "/first"
    assert names("label=n=1") == ["first"]
    assert names("exited=4") == ["second"]
    assert [container.name for container in engine.containers("status=exited")] == ["second"]
    assert names("ancestor=toolbox", "before=second") == ["first"]
    assert names("since=first") == ["second"]
    assert names(f"id={first.id[:6]}") == ["first"]
    assert names("health=none", "restarting=false", "name=first") == ["first"]
    assert names("volume=/nowhere") == []
    assert names("is-task=false") == ["first", "second"]
    assert names("is-task=true") == names("status=removing") == names("publish=80") == names("expose=80-90/udp") == []
    for word in ("publish=x", "publish=", "publish=/tcp", "expose=3-2", "expose=70000", "is-task=yes"):
        with pytest.raises(NBContainersError):
            engine.containers(word)
    for word in ("status=well", "exited=x", "name", "colour=blue"):
        with pytest.raises(NBContainersError):
            engine.containers(word)
    first.remove()
    second.remove()


def test_logs_of_a_time(engine: Engine, tmp_path: Path) -> None:
    """``since`` and ``until`` are instants; ``tail`` counts from the end."""
    script = "for word in one two three; do echo $word; until [ -e /go/$word ]; do sleep 0.02; done; done"
    container = engine.run("toolbox", "sh", "-c", script, volumes=[f"{tmp_path}:/go"])
    for number, word in enumerate(
        ("one", "two", "three"), 1
    ):  # each line has its own time, however late the log is written
        until(lambda number=number: len(list(container.logs())) == number)
        (tmp_path / word).touch()
    container.wait()
    lines = list(container.logs())
    middle = lines[1].time or 0.0
    assert [line.data for line in container.logs(since=middle)] == [b"two\n", b"three\n"]
    assert [line.data for line in container.logs(until=middle)] == [b"one\n", b"two\n"]
    assert [line.data for line in container.logs(tail=1)] == [b"three\n"]
    assert [line.data for line in container.logs(follow=True, tail=2)] == [b"two\n", b"three\n"]
    container.remove()
