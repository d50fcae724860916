"""Folders that are made before they are wanted."""

from __future__ import annotations

import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nbcontainers.store.stock import FEW, MOST, Kind, Stock
from nbcontainers.store.store import Store
from tests.waiting import until

KIND = Kind("kind", folders=("below",), files=(("file", 0o640),))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store's folder."""
    (tmp_path / "stock").mkdir()
    return tmp_path


def kept(root: Path) -> list[str]:
    """What is in stock."""
    return sorted(os.listdir(root / "stock"))


def inode(path: Path) -> int:
    """Which folder it is."""
    return path.stat().st_ino


def test_one_from_stock_is_as_one_that_is_made(root: Path) -> None:
    """The same folders and files with the same modes; it only was there before."""
    stock = Stock(root)
    shapes = []
    for name in ("made", "moved"):
        stock.take(KIND, str(root / name))
        shapes.append(
            [(path.name, path.stat().st_mode) for path in (root / name, *sorted((root / name).iterdir()))][1:]
        )
        stock.fill()
    assert shapes[0] == shapes[1] == [("below", stat.S_IFDIR | 0o700), ("file", stat.S_IFREG | 0o640)]
    assert stat.S_IMODE((root / "moved").stat().st_mode) == 0o700


def test_the_modes_are_those_of_the_kind(root: Path) -> None:
    """Whatever the umask of who makes it, who may be another process than who takes it."""
    before = os.umask(0o077)
    try:
        Stock(root).take(KIND, str(root / "one"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((root / "one/file").stat().st_mode) == 0o640


def test_what_cannot_be_made_whole_is_not_made(root: Path) -> None:
    """As where the disk is full in the middle of it."""
    with pytest.raises(FileNotFoundError):
        Stock(root).take(Kind("kind", folders=("one", "no/such")), str(root / "one"))
    assert not (root / "one").exists()


def test_as_many_are_kept_as_were_wanted(root: Path) -> None:
    """Few at least; what has become too many stays, and is used up."""
    stock = Stock(root)
    stock.take(KIND, str(root / "0"))
    assert kept(root) == []
    stock.fill()
    few = {inode(root / "stock" / name) for name in kept(root)}
    assert len(few) == FEW
    for number in range(1, 2 * FEW + 1):
        stock.take(KIND, str(root / str(number)))
    assert {inode(root / str(number)) for number in range(1, FEW + 1)} == few
    stock.fill()
    assert len(kept(root)) == 2 * FEW
    stock.take(KIND, str(root / "last"))
    stock.fill()
    stock.fill()
    assert len(kept(root)) == 2 * FEW - 1
    for number in range(MOST + 1):
        stock.take(KIND, str(root / f"many-{number}"))
    stock.fill()
    assert len(kept(root)) == MOST


def test_a_place_that_is_taken_is_left_alone(root: Path) -> None:
    """With something in stock and without."""
    stock = Stock(root)
    (root / "one" / "file").mkdir(parents=True)
    for _ in range(2):
        with pytest.raises(FileExistsError):
            stock.take(KIND, str(root / "one"))
        stock.fill()
    assert os.listdir(root / "one") == ["file"]
    assert len(kept(root)) == FEW


def test_two_never_get_the_same(root: Path) -> None:
    """Threads, and processes that know of the same entries."""
    one, other = Stock(root), Stock(root)
    for number in range(20):
        one.take(KIND, str(root / f"before-{number}"))
    one.fill()
    other.take(KIND, str(root / "first"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: (one, other)[number % 2].take(KIND, str(root / f"after-{number}")), range(40)))
    assert all(sorted(os.listdir(root / f"after-{number}")) == ["below", "file"] for number in range(40))
    assert kept(root) == []


def test_it_may_vanish(root: Path) -> None:
    """The collector throws it away whole, whoever uses it: then folders are made as they are wanted."""
    stock = Stock(root)
    stock.take(KIND, str(root / "one"))
    stock.fill()
    shutil.rmtree(root / "stock")
    stock.take(KIND, str(root / "two"))
    stock.fill()
    assert sorted(os.listdir(root / "two")) == ["below", "file"]
    (root / "stock").mkdir()
    stock.take(KIND, str(root / "three"))
    stock.fill()
    assert len(kept(root)) == FEW


def test_a_store_fills_it_in_a_calm_moment_and_collects_it(store: Store) -> None:
    """When something has been thrown away, as most containers are; with what a killed process left half made."""
    store.stock.take(KIND, str(store.root / "containers/one"))
    store.rubbish.take(str(store.root / "containers/one"))
    until(lambda: len(kept(store.root)) == FEW)
    store.rubbish.close()
    (store.root / "stock" / ".kind-half").mkdir()
    store.images.collect()
    assert kept(store.root) == []
