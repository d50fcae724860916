"""What is thrown away: gone at once, removed soon."""

from __future__ import annotations

import os
import queue
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nbcontainers.store import garbage
from nbcontainers.store import rubbish as rubbish_
from nbcontainers.store.rubbish import Rubbish
from tests.waiting import PATIENCE_S, until


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store's folder, with two folders in it of which somebody wants to be rid."""
    (tmp_path / "trash").mkdir()
    for name in ("one", "two"):
        (tmp_path / name / "below").mkdir(parents=True)
        (tmp_path / name / "below" / "file").touch()
    return tmp_path


def test_what_is_taken_is_gone_at_once_and_removed_by_the_end(root: Path) -> None:
    """Nobody waits for the removal but who closes; it can be used again after that."""
    rubbish = Rubbish(root, garbage.discard)
    for name in ("one", "two"):
        rubbish.take(str(root / name))
        assert not (root / name).exists()
        rubbish.take(str(root / name))  # it is not there any more
        rubbish.close()
        assert os.listdir(root / "trash") == []
    rubbish.close()


def test_what_is_little_waits(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever throws away much of it goes on, and who waits for the removal does not wait for a calm moment."""
    monkeypatch.setattr(rubbish_, "_IDLE_S", 60)
    rubbish = Rubbish(root, garbage.discard)
    rubbish.take(str(root / "one"))
    time.sleep(0.2)
    rubbish.take(str(root / "two"))
    assert len(os.listdir(root / "trash")) == 2
    before = time.monotonic()
    rubbish.close()
    assert time.monotonic() - before < 30
    assert os.listdir(root / "trash") == []


def test_what_is_much_does_not_wait_for_what_is_little(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large file, or many, are removed at once; a container that did nothing when nobody has thrown anything away for a while."""
    removed: queue.SimpleQueue[Path] = queue.SimpleQueue()

    def discard(path: Path) -> None:
        garbage.discard(path)
        removed.put(path)

    monkeypatch.setattr(rubbish_, "_IDLE_S", 60)
    (root / "two" / "below" / "file").write_bytes(bytes(100_000))
    (root / "three").mkdir()
    for number in range(40):
        (root / "three" / str(number)).touch()
    rubbish = Rubbish(root, discard)
    for name in ("one", "two", "three"):
        rubbish.take(str(root / name))
    removed.get(timeout=30)
    removed.get(timeout=30)
    assert [path.name for path in (root / "trash").glob("*/below")] == ["below"]
    rubbish.close()
    assert os.listdir(root / "trash") == []


def test_what_is_little_goes_when_nothing_more_comes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to close anything for that."""
    monkeypatch.setattr(rubbish_, "_IDLE_S", 0.1)
    rubbish = Rubbish(root, garbage.discard)
    rubbish.take(str(root / "one"))
    until(lambda: os.listdir(root / "trash") == [])
    rubbish.close()


def test_what_is_little_goes_without_a_calm_moment_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that throws something away all the time does not fill the disk with it."""
    monkeypatch.setattr(rubbish_, "_OLDEST_S", 0.5)
    removed = threading.Event()
    rubbish = Rubbish(root, lambda path: removed.set())
    number = 0
    while not removed.is_set():
        (root / str(number)).mkdir()
        rubbish.take(str(root / str(number)))
        number += 1
        assert number < 100_000
    rubbish.close()


def test_only_so_much_waits(root: Path) -> None:
    """What has waited longest makes room for the next."""
    rubbish = Rubbish(root, garbage.discard)
    for number in range(rubbish_.MOST + 100):
        (root / "next").mkdir()
        (root / "next" / str(number)).touch()
        rubbish.take(str(root / "next"))
    until(lambda: len(os.listdir(root / "trash")) == rubbish_.MOST)
    assert not list((root / "trash").glob("*/0"))
    rubbish.close()
    assert os.listdir(root / "trash") == []


def test_what_a_removal_leaves_is_tried_again(root: Path) -> None:
    """Somebody who had the folder open put another file into it."""
    seen = []

    def discard(path: Path) -> None:
        seen.append(path)
        if len(seen) == 1:
            raise OSError(39, "Directory not empty")
        garbage.discard(path)

    rubbish = Rubbish(root, discard)
    rubbish.take(str(root / "one"))
    rubbish.close()
    assert len(seen) == 2
    assert os.listdir(root / "trash") == []


def test_a_calm_moment_is_used(root: Path) -> None:
    """For what is to be there the next time; a store that is removed meanwhile stops it, and harms nobody."""
    (root / "store/trash").mkdir(parents=True)
    used: queue.SimpleQueue[None] = queue.SimpleQueue()
    rubbish = Rubbish(root / "store", garbage.discard, lambda: used.put(None))
    rubbish.take(str(root / "one"))
    used.get(timeout=PATIENCE_S)
    shutil.rmtree(root / "store")
    while not used.empty():
        used.get()
    time.sleep(2 * rubbish_._LOOK_S)
    assert used.empty()
    rubbish.close()


def test_without_a_way_to_the_trash_it_is_removed_where_it_is(root: Path) -> None:
    """And whoever throws it away waits for that."""
    (root / "trash").rmdir()
    (root / "trash").touch()
    Rubbish(root, garbage.discard).take(str(root / "one"))
    assert not (root / "one").exists()


def test_a_forked_process_empties_the_trash_too(root: Path) -> None:
    """It has no thread of its parent's, and needs none."""
    rubbish = Rubbish(root, garbage.discard)
    rubbish.take(str(root / "one"))
    pid = os.fork()
    if pid == 0:
        rubbish.take(str(root / "two"))
        rubbish.close()
        os._exit(len(list((root / "trash").glob("*/below"))))
    rubbish.close()
    assert os.waitpid(pid, 0)[1] == 0
    assert os.listdir(root / "trash") == []


def test_several_may_remove_the_same(root: Path) -> None:
    """A collector empties the trash of everybody; nobody stumbles over what another has removed."""
    for number in range(20):
        tree = root / "one" / str(number)
        for name in ("a/b/c", "d/e", "f"):
            (tree / name).mkdir(parents=True)
            (tree / name / "file").touch()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(garbage.discard, [tree] * 4))
        assert os.listdir(root / "one") == ["below"]
