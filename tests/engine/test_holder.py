"""The holder of networks standing still (SIGSTOP): an error in bounded time, nothing made twice, and all goes on with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers import Engine, HostError, LaunchError, NBContainersError
from nbcontainers.runtime import host as hosts
from nbcontainers.runtime import networks, processes
from tests.engine.networked import holders, host_of_our_own, nothing_new, python, traces
from tests.waiting import PATIENCE_S, clock, until


@pytest.fixture(scope="module")
def engine(module_path: Path) -> Iterator[Engine]:
    """A store on a host that is afterwards as it was."""
    if not hosts.probe().allows("container networks"):
        pytest.skip("this host allows no networks between containers")
    with host_of_our_own():
        before = traces()
        with Engine(module_path) as made:
            made.toolbox()
            yield made
            assert made.containers(all=True) == ()
            made.prune_networks()
        until(lambda: nothing_new(before))


@contextlib.contextmanager
def standing_still(engine: Engine) -> Iterator[int]:
    """While it lasts, the holder of the store's networks does nothing."""
    connection = engine._runtime.networks(engine.store.root).look()
    assert connection is not None
    pid = int(connection.about["pid"])
    connection.close()
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_holder_that_stands_still_is_told_and_not_replaced(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wants its networks hears which process it is; what needs none of them works; when it goes on, so does everything."""
    container = engine.run("toolbox", "sleep", "600", name="held", detach=True)
    other = engine.run("toolbox", "sleep", "600", name="ended", detach=True)
    address = container.inspect()["NetworkSettings"]["IPAddress"]
    monkeypatch.setattr(networks, "_PATIENCE_S", 1.0)
    with standing_still(engine) as pid:
        before = set(holders())
        begun = clock()
        with pytest.raises(HostError, match=f"the process {pid}, which holds the networks, has said nothing") as caught:
            engine.run("toolbox", "true", name="late")
        assert f"kill -CONT {pid}" in caught.value.hint
        with pytest.raises(HostError, match="has said nothing"):
            container.inspect()
        with pytest.raises(HostError, match="has said nothing"):
            engine.prune_networks()
        other.stop(0)
        other.remove()
        assert engine.run("toolbox", "true", network="none", rm=True).wait(PATIENCE_S) == 0
        assert {one.name for one in engine.containers(all=True)} <= {"held", "late"}
        assert clock() - begun < 60
        assert set(holders()) <= before
    monkeypatch.undo()
    assert container.inspect()["NetworkSettings"]["IPAddress"] == address
    assert python(engine, "import socket; print(socket.gethostbyname('held'))") == address
    for one in engine.containers(all=True):
        one.remove(force=True)


def test_programs_with_other_folders_for_sockets_share_one_holder(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell with $XDG_RUNTIME_DIR and a service without it: their containers get addresses of one network, and find each other."""
    with tempfile.TemporaryDirectory(prefix="nbc-", dir="/tmp") as place:  # short, which pytest's are not
        first = engine.run("toolbox", "sleep", "600", name="first", detach=True)
        monkeypatch.setenv("XDG_RUNTIME_DIR", place)
        with Engine(engine.store.root) as other:
            second = other.run("toolbox", "sleep", "600", name="second", detach=True)
            addresses = [one.inspect()["NetworkSettings"]["IPAddress"] for one in (first, second)]
            assert len(set(addresses)) == 2
            look_up = "import socket; print(socket.gethostbyname('{}'))"
            assert python(engine, look_up.format("second")) == addresses[1]
            assert python(other, look_up.format("first")) == addresses[0]
            assert [one.name for one in Path(place, "nbcontainers").glob("net-*")] == []
            for one in (first, second):
                one.remove(force=True)


def test_who_asks_a_holder_that_was_killed_just_now_is_told(engine: Engine) -> None:
    """In words, whether he had been heard already or not."""
    container = engine.run("toolbox", "sleep", "600", detach=True)
    with engine._runtime.networks(engine.store.root).connect() as connection:
        pid = int(connection.about["pid"])
        os.kill(pid, signal.SIGKILL)
        until(lambda: not processes.start_time(pid))
        with pytest.raises(LaunchError, match="the holder of networks is gone"):
            connection.ask("list")
    container.remove(force=True)
    socket = Path(engine._runtime.networks(engine.store.root)._socket)
    assert socket.exists()  # it could take nothing away any more
    engine.prune_networks()
    assert not socket.exists()


def test_a_holder_that_is_killed_while_a_container_starts(engine: Engine) -> None:
    """Whenever that is: the start ends well or with an error, and the next one has networks again."""
    for turn in range(4):
        engine.run("toolbox", "sleep", "600", detach=True)
        connection = engine._runtime.networks(engine.store.root).look()
        assert connection is not None
        pid = int(connection.about["pid"])
        connection.close()
        code = f"import os, time; time.sleep({turn * 0.01}); os.kill({pid}, 9)"
        with subprocess.Popen([sys.executable, "-c", code]) as killer:
            ended = False
            while not ended:
                ended = killer.poll() is not None
                with contextlib.suppress(NBContainersError):
                    engine.run("toolbox", "true").wait(PATIENCE_S)
        for container in engine.containers(all=True):
            container.remove(force=True)
    assert "eth0" in python(engine, "print(open('/proc/net/dev').read())")
