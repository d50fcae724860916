from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from nbcontainers.oci.reference import Reference
from nbcontainers.store.store import Store
from tests.store.random_images import random_image
from tests.store.validate import validate


def overwrite(at: int, data: bytes) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(at)
            file.write(data)

    return damage


def statement(text: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        connection = sqlite3.connect(path)
        connection.executescript(text)
        connection.close()

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(os.urandom(20_000)),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        overwrite(100, b"\xff" * 4000),
        overwrite(0, b"X"),
        statement("PRAGMA user_version = 99"),
        statement("DROP TABLE images; PRAGMA user_version = 1"),
        statement("UPDATE images SET manifest = 'nonsense ' || manifest"),
        statement("UPDATE images SET size = x'00ff'"),
    ],
    ids=["lost", "empty", "noise", "cut", "torn", "header", "version", "table", "row", "type"],
)
def test_whatever_happens_to_the_index_images_are_found(store: Store, damage: Callable[[Path], None]) -> None:
    """An index that is lost, empty, torn or of another version is made again from the blobs; nothing else notices."""
    named = random_image(store, 1)
    store.images.tag(named, Reference.parse("app"))
    unnamed = random_image(store, 2)
    damage(store.root / "index.sqlite3")
    assert store.images.resolve(unnamed.id.short) == unnamed
    assert [image.id for image in store.images.list()] == [named.id, unnamed.id]
    third = random_image(store, 3)
    assert store.images.resolve(third.id.hex[:20]) == third
    validate(store, third)


def test_the_index_is_never_the_truth(store: Store) -> None:
    """A row whose manifest is gone is no image."""
    image = random_image(store, 1)
    store.content.delete(image.descriptor.digest)
    assert store.images.list() == ()
    store.images.collect()
    connection = sqlite3.connect(store.root / "index.sqlite3")
    assert connection.execute("SELECT count(*) FROM images").fetchone() == (0,)
    connection.close()


def test_an_index_that_cannot_be_written_is_not_thrown_away(store: Store) -> None:
    """A lock that another holds too long is an error, not a reason to make the index again."""
    random_image(store, 1)
    path = store.root / "index.sqlite3"
    before = path.stat().st_ino
    code = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read(1)
connection.execute("COMMIT")
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdin
        process.stdout.readline()
        store.images._metadata._patience = 0.1
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            store.images.list()
        process.stdin.write(b"x")
        process.stdin.close()
    assert len(store.images.list()) == 1
    assert path.stat().st_ino == before


def test_processes_that_find_the_index_torn_make_it_once(store: Store) -> None:
    """Four processes at once on a torn index all find all images, and what one enters another does not drop."""
    for seed in range(4):
        store.images.tag(random_image(store, seed), Reference.parse(f"app:{seed}"))
    (store.root / "index.sqlite3").write_bytes(b"torn" * 1000)
    code = textwrap.dedent("""
        import pathlib, sys
        from nbcontainers.linux.idmap import of_host
        from nbcontainers.store.store import Store
        from tests.store.random_images import random_image
        store = Store(pathlib.Path(sys.argv[1]), identity=of_host())
        sys.stdin.read(1)
        with store.lease():
            image = random_image(store, int(sys.argv[2]))
            assert store.images.resolve(image.id.hex) == image
            print(image.id)
    """)
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(store.root), str(10 + number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
        )
        for number in range(4)
    ]
    ids = [process.communicate("x", timeout=600)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    assert {store.images.resolve(image_id).id for image_id in ids} == set(ids)
    assert len(store.images.list()) == 8
