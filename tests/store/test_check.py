from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from nbcontainers.oci.descriptor import INDEX, Digest, Platform
from nbcontainers.oci.image import Image, Index
from nbcontainers.oci.reference import Reference
from nbcontainers.results import Fault
from nbcontainers.store import repair as repairing
from nbcontainers.store.check import check
from nbcontainers.store.repair import repair
from nbcontainers.store.store import Store
from tests.store.random_images import random_image
from tests.store.validate import validate


def tagged(store: Store, seed: int, name: str, *, shared: int = 0) -> Image:
    with store.lease():
        image = store.images.tag(random_image(store, seed, shared=shared), Reference.parse(name))
        store.snapshots.unpack(image)
    return image


def flip(path: Path, at: int = -1) -> bytes:
    """Change one byte of a file and return what it held before."""
    whole = path.read_bytes()
    mode = path.stat().st_mode
    path.chmod(0o600)
    data = bytearray(whole)
    data[at] ^= 1
    path.write_bytes(data)
    path.chmod(mode)
    return whole


def faults(store: Store) -> dict[str, Fault]:
    return {fault.name: fault for fault in check(store).faults}


@pytest.fixture
def images(store: Store) -> tuple[Image, Image]:
    """Two images that share their first layer, unpacked."""
    return tagged(store, 1, "first", shared=1), tagged(store, 2, "second", shared=1)


def test_a_whole_store_has_no_faults(store: Store, images: tuple[Image, Image]) -> None:
    """Everything is counted, and nothing is wrong; a check changes nothing."""
    before = sorted(os.listdir(store.root))
    found = check(store)
    assert (found.blobs, found.tags, found.images, found.layers, found.faults) == (7, 2, 2, 3, ())
    assert found.size == sum(store.content.size(digest) for digest in store.content)
    assert sorted(os.listdir(store.root)) == before


def test_one_flipped_byte_in_any_blob_is_named_with_what_it_hurts(store: Store, images: tuple[Image, Image]) -> None:
    """Manifest, configuration and layers: each damaged blob is named by its digest, with the images that need it, and only those."""
    first, second = images
    for digest in tuple(store.content):
        hurt = {
            image.name
            for image in images
            if digest in (image.descriptor.digest, image.id, *(layer.digest for layer in image.layers))
        }
        path = store.content.path(digest)
        whole = flip(path, len(path.read_bytes()) // 2)
        found = faults(store)
        assert digest in found, digest
        assert set(found[digest].images) == hurt
        assert "is damaged" in found[digest].problem
        assert {name for name in found if name != digest} == set(), found
        path.chmod(0o600)
        path.write_bytes(whole)
        path.chmod(0o444)
    assert faults(store) == {}
    validate(store, first)
    validate(store, second)


def test_a_damaged_blob_without_a_source_is_put_aside(store: Store, images: tuple[Image, Image]) -> None:
    """What cannot be made again goes to quarantine, where nothing finds it; the image then says what it lacks."""
    first, second = images
    digest = first.layers[1].digest
    whole = flip(store.content.path(digest))
    (fault,) = repair(store).faults
    assert (fault.name, fault.images) == (digest, ("first:latest",))
    assert "put aside" in fault.repaired
    assert not store.content.has(digest)
    assert (store.root / "quarantine" / f"sha256-{digest.hex}").exists()
    (fault,) = check(store).faults
    assert (fault.name, fault.problem, fault.images) == (digest, "is missing", ("first:latest",))
    validate(store, second)
    store.content.write(whole, first.layers[1].media_type)
    assert faults(store) == {}


def test_a_damaged_blob_is_fetched_again(store: Store, images: tuple[Image, Image]) -> None:
    """Whoever knows where a blob came from brings it again, manifests too."""
    first, _ = images
    kept = {
        digest: flip(store.content.path(digest))
        for digest in (first.layers[1].digest, first.id, first.descriptor.digest)
    }

    def fetch(digest: Digest) -> bool:
        store.content.write(kept[digest], "any")
        return True

    assert {fault.repaired for fault in repair(store, fetch=fetch).faults} == {"fetched again"}
    assert faults(store) == {}
    validate(store, store.images.resolve("first"))
    assert list((store.root / "quarantine").iterdir()) == []


@pytest.mark.parametrize("gone", [False, True])
def test_an_image_of_which_nothing_is_left_comes_again_whole(
    store: Store, images: tuple[Image, Image], gone: bool
) -> None:
    """One repair is enough where every blob is damaged or missing: each document that comes tells what its image needs besides."""
    first, _ = images
    with store.lease():
        index = Index(manifests=(replace(first.descriptor, platform=Platform.host()),))
        top = store.content.write(json.dumps(index.to_json()).encode(), INDEX)
        first = store.images.tag(first, Reference.parse("first"), top=top)
    needed = (top.digest, first.descriptor.digest, first.id, *(layer.digest for layer in first.layers))
    kept = {digest: flip(store.content.path(digest)) for digest in needed}
    for digest in kept if gone else ():
        store.content.path(digest).unlink()

    def fetch(digest: Digest) -> bool:
        store.content.write(kept[digest], "any")
        return True

    told = {fault.name: fault for fault in repair(store, fetch=fetch).faults}
    validate(store, store.images.resolve("first"))
    assert all(told[digest if digest in told else "first:latest"].repaired for digest in needed)
    assert not any(fault.is_lost for fault in told.values())
    assert check(store).faults == ()


def test_a_layer_that_was_committed_here_is_made_again_byte_for_byte(store: Store) -> None:
    """The blob of a layer of our own is packed from its unpacked form: the same bytes as before."""
    with store.lease():
        base = random_image(store, 1)
        store.snapshots.unpack(base)
        store.snapshots.prepare("work", base.chain_ids)
        upper = store.root / "snapshots" / "work" / "upper"
        (upper / "new").mkdir()
        (upper / "new" / "file").write_text("content")
        (upper / "link").symlink_to("new/file")
        layer = store.snapshots.commit("work")
        config = type(base.config).from_json(
            base.config.to_json()
            | {"rootfs": {"type": "layers", "diff_ids": [*base.config.diff_ids, layer.diff_id]}, "history": []}
        )
        image = store.images.create(config, [*base.layers, layer.descriptor])
        image = store.images.tag(image, Reference.parse("made"))
    flip(store.content.path(layer.descriptor.digest))
    (fault,) = repair(store).faults
    assert fault.repaired == "made again from the unpacked layer"
    assert faults(store) == {}
    validate(store, image)


@pytest.mark.parametrize("damage", ["content", "mode", "missing", "extra", "index", "meta"])
def test_a_damaged_unpacked_layer_is_unpacked_again(store: Store, images: tuple[Image, Image], damage: str) -> None:
    """Files that are not as the index says are told by path, and the layer is made anew from its blob."""
    first, _ = images
    chain = first.chain_ids[1]
    folder = store.root / "layers" / chain.hex
    file = next(path for path in sorted((folder / "fs").rglob("f*")) if path.is_file() and path.stat().st_size)
    match damage:
        case "content":
            flip(file)
        case "mode":
            file.chmod(0o755)
        case "missing":
            file.unlink()
        case "extra":
            (folder / "fs" / "extra").write_text("x")
        case _:
            flip(folder / damage, 40 if damage == "index" else 0)
    (fault,) = check(store).faults
    assert (fault.kind, fault.name, fault.images) == ("layer", chain, ("first:latest",))
    if damage in ("content", "mode", "missing"):
        assert str(file.relative_to(folder / "fs")) in fault.problem
    (fault,) = repair(store).faults
    assert fault.repaired == "unpacked again from its blob"
    assert faults(store) == {}


def test_layers_below_running_containers_stay(store: Store, images: tuple[Image, Image]) -> None:
    """A damaged layer is not taken away from under a container that runs."""
    first, _ = images
    chain = first.chain_ids[0]
    (store.root / "layers" / chain.hex / "fs" / "extra").write_text("x")
    (fault,) = repair(store, used=lambda: {chain: True}).faults
    assert fault.repaired == ""
    assert (store.root / "layers" / chain.hex / "fs" / "extra").exists()
    (fault,) = repair(store, used=lambda: {chain: False}).faults
    assert fault.repaired


@pytest.mark.parametrize("data", [b"", b"{", b'{"reference": 1}', b"\0" * 100])
def test_a_tag_that_cannot_be_read_is_put_aside(store: Store, images: tuple[Image, Image], data: bytes) -> None:
    """A zero-length or corrupt tag is named; the repair moves it out of the way, and its image is still there by ID."""
    first, _ = images
    path = store.images.tags.path(Reference.parse("first"))
    path.write_bytes(data)
    (fault,) = check(store).faults
    assert (fault.kind, fault.name) == ("tag", path.name)
    (fault,) = repair(store).faults
    assert "quarantine" in fault.repaired
    assert faults(store) == {}
    assert store.images.resolve(first.id).id == first.id


def test_a_tag_that_points_nowhere_is_named_and_kept(store: Store, images: tuple[Image, Image]) -> None:
    """Its image may be pulled again: the name stays."""
    first, _ = images
    store.content.delete(first.descriptor.digest)
    (fault,) = repair(store).faults
    assert (fault.kind, fault.name, fault.repaired) == ("tag", "first:latest", "")
    assert "points nowhere" in fault.problem
    store.images.remove("first")
    assert faults(store) == {}


def test_the_index_is_made_anew(store: Store, images: tuple[Image, Image]) -> None:
    """A row that is missing is found by reading the blobs."""
    first, _ = images
    store.images._metadata.remove(first.descriptor.digest)
    (fault,) = check(store).faults
    assert fault.kind == "index"
    (fault,) = repair(store).faults
    assert fault.repaired == "the index was made anew"
    assert faults(store) == {}


def test_what_is_put_aside_is_found_by_nothing(store: Store, images: tuple[Image, Image]) -> None:
    """A blob in quarantine is no blob: only pruning sees it."""
    first, _ = images
    flip(store.content.path(first.layers[1].digest))
    repair(store)
    assert first.layers[1].digest not in set(store.content)
    assert (store.root / repairing.QUARANTINE).is_dir()
    store.images.remove("first")
