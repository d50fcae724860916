from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nbcontainers.errors import Conflict, HostError
from nbcontainers.linux.idmap import of_host
from nbcontainers.oci.reference import Reference
from nbcontainers.store import filling
from nbcontainers.store.garbage import unpacked
from nbcontainers.store.store import Store
from tests.store.random_images import random_image
from tests.store.trees import here
from tests.store.validate import validate, validate_store


def opened(root: Path) -> Store:
    return Store(root, identity=of_host())


def test_a_store_is_made_whole_and_opened_again(tmp_path: Path) -> None:
    """A new store has a version, is an OCI layout, and is its user's alone; opening it changes nothing."""
    root = tmp_path / "deep" / "store"
    with opened(root) as store:
        image = random_image(store, 1)
    assert (root / "version").read_text() == "1\n"
    assert json.loads((root / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    before = sorted(os.listdir(root))
    with opened(root) as store:
        assert store.images.list() == (image,)
    assert sorted(os.listdir(root)) == before


def test_the_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """What a newer nbcontainers made is not touched, and the error says what to do."""
    opened(tmp_path / "store").close()
    (tmp_path / "store" / "version").write_text("2\n")
    with pytest.raises(Conflict, match="has version '2'") as caught:
        opened(tmp_path / "store")
    assert "newer nbcontainers" in caught.value.hint


def test_lost_parts_of_the_frame_are_made_again(tmp_path: Path) -> None:
    """An empty version file or a missing folder, left by a crash, is no reason to refuse."""
    with opened(tmp_path / "store") as store:
        image = random_image(store, 1)
    (tmp_path / "store" / "version").write_bytes(b"")
    for folder in ("ingest", "leases", "trash", "tags"):
        (tmp_path / "store" / folder).rmdir()
    with opened(tmp_path / "store") as store:
        assert store.images.list() == (image,)
    assert (tmp_path / "store" / "version").read_text() == "1\n"


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """A file where the store should be is said, with what to do."""
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "store"):
        with pytest.raises(HostError, match="cannot make the store") as caught:
            opened(place)
        assert "NBCONTAINERS_ROOT" in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_store_has_one_user(tmp_path: Path) -> None:
    """The store of another user is refused, to root too: files of two owners would lock each other out."""
    opened(tmp_path / "store").close()
    os.chown(tmp_path / "store", 12345, 12345)
    with pytest.raises(HostError, match="belongs to uid 12345"):
        opened(tmp_path / "store")


def test_processes_make_one_store_together(tmp_path: Path) -> None:
    """Several processes that open a store which is not there yet all get the same one."""
    code = """
import pathlib, sys
from nbcontainers.linux.idmap import of_host
from nbcontainers.store.store import Store
sys.stdin.read(1)
with Store(pathlib.Path(sys.argv[1]), identity=of_host()) as store:
    store.content.write(sys.argv[2].encode(), "text/plain")
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "store"), str(number)], stdin=subprocess.PIPE, text=True
        )
        for number in range(4)
    ]
    for process in processes:
        process.communicate("x", timeout=600)
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    with opened(tmp_path / "store") as store:
        assert len(list(store.content)) == 4


def test_a_store_unpacks_changes_and_forgets(tmp_path: Path) -> None:
    """The parts are joined: an image is unpacked, a snapshot of it becomes a layer of a new image, and all of it goes again."""
    with Store(tmp_path / "store", identity=here()) as store:
        with store.lease():
            image = store.images.tag(random_image(store, 1), Reference.parse("app"))
            store.snapshots.unpack(image)
            mounts = store.snapshots.prepare("step", image.chain_ids)
            source = tmp_path / "file"
            source.write_text("new")
            store.worker.do(filling.copy(mounts, [(str(source), "file")], "/", directory=True))
            assert [change.path for change in store.snapshots.changes("step")] == ["/file"]
            layer = store.snapshots.commit("step")
            config = replace(image.config, diff_ids=(*image.config.diff_ids, layer.diff_id), history=())
            child = store.images.create(config, [*image.layers, layer.descriptor])
            assert child.chain_ids[-1] == layer.chain_id
            store.images.tag(child, Reference.parse("child"))
        validate(store, child)
        store.snapshots.prepare("container", child.chain_ids)
        (store.root / "containers" / "container").mkdir()
        assert store.images.collect().layers == ()
        assert set(unpacked(store.root)) == set(child.chain_ids)
        assert store.images.remove("child") == (
            "Untagged: child:latest",
            f"Deleted: {child.id}",
            f"Deleted: {layer.chain_id}",
        )
        store.images.remove("app")
        store.snapshots.remove("container")
        store.images.collect()
        assert (unpacked(store.root), list(store.content)) == ((), [])
        validate_store(store)
