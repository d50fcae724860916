"""A container whose state cannot be read, as after a power failure: listed, told of and removed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers import Engine
from nbcontainers.errors import IntegrityError
from nbcontainers.runtime import processes
from nbcontainers.runtime import state as states
from tests.cli.saying import said
from tests.engine.networked import until


@pytest.fixture(scope="module")
def engine(module_path: Path) -> Iterator[Engine]:
    with Engine(module_path) as made:
        made.toolbox()
        yield made


@pytest.mark.parametrize("text", ["", '{"begin": 1', '{"begin": 1, "end": 2}', "[]", "\0" * 700])
def test_a_state_that_cannot_be_read_keeps_nothing_from_the_others(engine: Engine, text: str) -> None:
    """It is dead, as Docker calls that, in each list; it cannot be started, and can be removed with all that it has."""
    engine.create("toolbox", "true", name="other")
    container = engine.create("toolbox", "true", name="torn")
    Path(container._folder, "state.json").write_text(text)
    assert {one.name: one.state.status for one in engine.containers(all=True)} == {"other": "created", "torn": "dead"}
    assert "Dead" in said(engine, "ps -a --filter status=dead --format {{.Names}}:{{.Status}}")
    assert "is not a container's state" in engine.container("torn").inspect()["State"]["Error"]
    with pytest.raises(IntegrityError) as refused:
        engine.container("torn").start()
    assert "nbcontainers rm torn" in refused.value.hint
    (fault,) = engine.check().faults
    assert fault.name == container.id
    assert said(engine, "rm torn").strip() == "torn"
    assert [one.name for one in engine.containers(all=True)] == ["other"]
    assert engine.check().faults == ()
    assert not (engine.store.root / "snapshots" / container.id[:12]).exists()
    engine.container("other").remove()


def test_what_runs_in_it_ends_with_it(engine: Engine) -> None:
    """Nothing tells its processes any more but the door of its shim: it cannot be stopped nor killed, and is told what ends it."""
    container = engine.run("toolbox", "sleep", "1000", detach=True, name="torn")
    extra = states.load_extra(container._folder)
    pid, start = container.state.pid, extra["start"]
    until(lambda: Path(extra["socket"]).exists())
    Path(container._folder, "state.json").write_text("")
    assert engine.container("torn").state.status == "dead"
    for end in (engine.container("torn").stop, engine.container("torn").kill):
        with pytest.raises(IntegrityError) as refused:
            end()
        assert (
            f"'nbcontainers rm {container.id[:12]}' removes the container, and ends what runs in it"
            == refused.value.hint
        )
    engine.container("torn").remove()
    until(lambda: processes.start_time(pid) != start)
    assert not Path(extra["socket"]).exists()
    assert engine.containers(all=True) == ()


@pytest.mark.parametrize("is_torn", [True, False])
def test_the_door_of_its_shim_is_found_wherever_it_is(
    engine: Engine, is_torn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who started it had no XDG_RUNTIME_DIR, as in a notebook, and who removes it has one, as in a terminal."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with Engine(engine.store.root) as notebook:
        container = notebook.run("toolbox", "sleep", "1000", detach=True, name="torn")
    extra, pid = states.load_extra(container._folder), container.state.pid
    door = Path(extra["socket"])
    until(door.exists)
    if is_torn:
        Path(container._folder, "state.json").write_text("")
    else:
        container.stop(0)
        until(lambda: not door.exists())
        door.touch()
    with tempfile.TemporaryDirectory(prefix="nbc-", dir="/tmp") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        with Engine(engine.store.root) as terminal:
            terminal.container("torn").remove(force=True)
    until(lambda: processes.start_time(pid) != extra["start"])
    assert not door.exists()


def test_it_is_pruned_with_what_has_ended(engine: Engine) -> None:
    """As Docker's container prune takes it."""
    container = engine.create("toolbox", "true", name="torn")
    Path(container._folder, "state.json").write_text("")
    assert container.id in engine.prune(["containers"]).containers
    assert engine.containers(all=True) == ()


@pytest.mark.parametrize("text", ["", "[]", "null"])
@pytest.mark.parametrize("name", ["config.json", "asked.json", "network.json", "about"])
def test_a_file_that_is_torn_is_named(engine: Engine, name: str, text: str) -> None:
    """By what needs it, with what to do; lists go on, ``check`` tells, and ``rm`` removes the container with what it has."""
    container = engine.create("toolbox", "true", name="torn", volumes=["held:/held"], network="host")
    folder = engine.store.root / "snapshots" / container.id[:12] if name == "about" else container._folder
    (folder / name).write_text(text)
    with pytest.raises(IntegrityError, match=rf"{name} is damaged: .+") as refused:
        engine.container("torn").start()
    assert "nbcontainers rm" in refused.value.hint
    with pytest.raises(IntegrityError, match="is damaged"):
        engine.container("torn").inspect()
    listed = said(engine, "ps -as --format {{.Names}}|{{.Status}}|{{.Networks}}", code=1)
    assert "torn|Created|" in listed
    assert f"{name} is damaged" in listed
    assert [volume.name for volume in engine.volumes()] == ["held"]
    said(engine, "system df -v")
    assert any(fault.name == container.id for fault in engine.check().faults)
    engine.container("torn").remove(volumes=True)
    assert engine.check().faults == ()
    engine.remove_volume("held")
