"""Two engines at the same containers, on purpose at the same time: whatever one does is there or is not, for the other too."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nbcontainers import Engine
from nbcontainers.engine import Container, carriage
from nbcontainers.errors import Conflict, HostError, IntegrityError, LaunchError, NBContainersError, NotFound
from nbcontainers.runtime import host as hosts
from nbcontainers.runtime import processes
from nbcontainers.runtime import state as states
from tests.engine.networked import until

NAMES = ("ann", "bob", "cid")
SECONDS = 8.0


def kill(container: Container) -> None:
    """End its shim, if it has one."""
    extra = states.load_extra(container._folder)
    if extra.get("shim") and processes.start_time(extra["shim"]) == extra["shim_start"]:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
            os.kill(extra["shim"], 9)


DEEDS: dict[str, Callable[[Engine, str], object]] = {
    "run": lambda engine, name: engine.run(
        "toolbox", "sh", "-c", "while :; do echo x; sleep 0.05; done", name=name, network="none", detach=True, init=True
    ),
    "always": lambda engine, name: engine.run(
        "toolbox", "sh", "-c", "sleep 0.1; exit 1", name=name, network="none", detach=True, restart="always"
    ),
    "exec": lambda engine, name: engine.container(name).exec("true").attach(),
    "changes": lambda engine, name: engine.container(name).changes(),
    "stop": lambda engine, name: engine.container(name).stop(0),
    "kill": lambda engine, name: engine.container(name).kill(),
    "kill its shim": lambda engine, name: kill(engine.container(name)),
    "rm": lambda engine, name: engine.container(name).remove(force=True),
    "restart": lambda engine, name: engine.container(name).restart(0),
    "pause": lambda engine, name: (engine.container(name).pause(), engine.container(name).unpause()),
    "usage": lambda engine, name: engine.container(name).usage(),
    "inspect": lambda engine, name: engine.container(name).inspect(size=True),
    "rename": lambda engine, name: engine.container(name).rename(random.choice(NAMES)),
    "update": lambda engine, name: engine.container(name).update(pids_limit=100),
    "commit": lambda engine, name: engine.commit(name, "committed"),
    "list": lambda engine, name: engine.containers(all=True),
}


def meddle(root: str, seed: int) -> int:
    """What one of the two processes does, by several threads; how much of it was done."""
    done: list[str] = []
    wrong: list[BaseException] = []
    end = time.monotonic() + SECONDS

    def work(number: int, engine: Engine) -> None:
        choice = random.Random(seed + number)
        while time.monotonic() < end and not wrong:
            deed = choice.choice(list(DEEDS))
            try:
                DEEDS[deed](engine, choice.choice(NAMES))
                done.append(deed)
            except (NotFound, Conflict, LaunchError, HostError):
                continue
            except BaseException as error:
                error.add_note(f"while it did: {deed}")
                wrong.append(error)

    with Engine(root) as engine:
        threads = [threading.Thread(target=work, args=(number, engine)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if wrong:
        raise wrong[0]
    return len(done)


@pytest.fixture(scope="module")
def root(module_path: Path) -> Path:
    """The folder of a store with an image."""
    with Engine(module_path) as engine:
        engine.toolbox()
    return module_path


def test_everything_at_once_from_two_engines(root: Path) -> None:
    """Each call does what it says or says why not, in errors of ours; at the end nothing is left."""
    code = "import sys; from tests.engine.test_two_engines import meddle; print(meddle(sys.argv[1], int(sys.argv[2])))"
    words = [sys.executable, "-c", code, str(root)]
    here = Path(__file__).parents[2]
    both = [
        subprocess.Popen([*words, seed], cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for seed in ("100", "200")
    ]
    said = [one.communicate(timeout=240) for one in both]
    for one, (out, err) in zip(both, said, strict=True):
        assert one.returncode == 0, err
        assert int(out) > 0
    with Engine(root) as engine:
        for container in engine.containers(all=True):
            container.remove(force=True)
        assert engine.containers(all=True) == ()
        engine.prune()
        assert engine.check().faults == ()
        kept = ("ingest", "leases", "snapshots", "containers", "names")
        until(lambda: [path for name in kept for path in (root / name).iterdir()] == [])
    until(lambda: subprocess.run(["pgrep", "-f", str(root)], capture_output=True, check=False).returncode == 1)
    until(lambda: holders(root) == [])


def holders(root: Path) -> list[int]:
    """The other processes that have a file of the store open, be it removed, as each shim has its container's log."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(link).startswith(f"{root}/"):
                found.add(int(link.parts[2]))
    return sorted(found - {os.getpid()})


def test_what_is_removed_as_it_starts_does_not_run(root: Path) -> None:
    """Of a start and a removal at the same instant one is told that it came too late; nothing runs that no store knows."""
    with Engine(root) as engine, Engine(root) as other, ThreadPoolExecutor(2) as pool:
        for number in range(80):
            container = engine.create("toolbox", "sleep", "600", network="none")

            def remove(
                name: str = container.id, after: float = number / 4000, *, force: bool = number % 2 == 1
            ) -> None:
                time.sleep(after)
                other.container(name).remove(force=force)

            errors = [pool.submit(container.start, detach=True), pool.submit(remove)]
            said = [one.exception() for one in errors]
            assert all(error is None or isinstance(error, (NotFound, Conflict, LaunchError)) for error in said), said
            left = engine.containers(all=True)
            if left:
                assert said[0] is None, said
                left[0].remove(force=True)
            else:
                assert said[1] is None, said
    until(lambda: holders(root) == [])


def test_what_is_removed_meanwhile_is_not_found(root: Path) -> None:
    """Whoever still holds it is told so by every call, and not that a file is missing."""
    with (
        Engine(root) as engine,
        Engine(root) as other,
        open(os.devnull, "r+b", buffering=0) as null,
    ):
        container = engine.create("toolbox", "true", network="none")
        other.container(container.id).remove()
        calls: list[Callable[[], object]] = [
            container.start,
            container.stop,
            container.kill,
            container.pause,
            container.unpause,
            container.usage,
            container.changes,
            container.inspect,
            container.commit,
            lambda: container.rename("other"),
            lambda: container.update(pids_limit=5),
            lambda: container.exec("true"),
            lambda: container.fetch("/etc", null),
            lambda: container.bring(null, "/etc"),
            lambda: container.export(null),
            lambda: container.remove(force=True),
        ]
        for call in calls:
            with pytest.raises(NotFound):
                call()


def test_limits_are_changed_by_several_at_once(root: Path) -> None:
    """Each change is whole, and the last one holds: for the specification, and for what the shim starts anew."""
    if "pids" not in hosts.probe().hierarchy.controllers:
        pytest.skip("needs a cgroup controller for processes: without one nothing holds them to a new limit")
    with Engine(root) as engine:
        container = engine.run("toolbox", "sleep", "600", network="none")

        def change(number: int) -> None:
            engine.container(container.id).update(pids_limit=100 + number)

        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(change, number) for number in range(64)]:
                done.result()
        change(0)
        assert engine.container(container.id).spec.resources.pids == 100
        assert {path.name for path in container._folder.iterdir() if path.name.startswith(".")} == set()
        container.remove(force=True)


def test_a_name_whose_container_is_being_made(root: Path) -> None:
    """It is claimed before there is anything that could be stopped."""
    with Engine(root) as engine:
        container = engine.create("toolbox", "true", network="none", name="early")
        folder = container._folder
        (folder / "state.json").unlink()
        (folder / "config.json").write_text("")
        for call in (lambda one: one.kill("TERM"), lambda one: one.stop(), lambda one: one.start()):
            with pytest.raises(NBContainersError, match="no such container"):
                call(engine.container("early"))


def test_volumes_are_pruned_while_a_container_is_being_made(root: Path) -> None:
    """It is half written, without volumes: where it has any, nobody prunes until that is on disk."""
    with Engine(root) as engine:
        container = engine.create("toolbox", "true", network="none")
        told, state = container._folder / "asked.json", container._folder / "state.json"
        whole, text = state.read_bytes(), told.read_bytes()
        state.unlink()
        told.write_text("")
        engine.create_volume("idle")
        assert engine.prune_volumes(everything=True)[0] == ("idle",)
        state.write_bytes(whole)
        with pytest.raises(IntegrityError, match="is damaged"):
            engine.prune_volumes()
        told.write_bytes(text)
        container.remove()


def test_a_container_that_is_starting_has_no_tree_of_the_host(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first process is known before it has left this host's root, from and into which nothing is copied."""
    monkeypatch.setattr(carriage, "_BEGINS_S", 0.0)
    with Engine(root) as engine, open(os.devnull, "r+b", buffering=0) as null:
        container = engine.create("toolbox", "true", network="none")
        early = dataclasses.replace(container.state, pid=os.getpid())  # a process that has the host's root
        tree = carriage.Tree(engine.store.worker, engine.store.snapshots.mounts(container.id), early)
        for call in (
            lambda: carriage.fetch(tree, "/etc", null, follow=False, owners=False),
            lambda: carriage.bring(tree, __file__, "/tmp", follow=False, owners=False),
        ):
            with pytest.raises(Conflict, match="has not begun yet"):
                call()
        container.remove()
