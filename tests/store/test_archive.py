from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import re
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from nbcontainers.errors import IntegrityError, NotFound
from nbcontainers.events import Event, Progress, Warned
from nbcontainers.linux.idmap import of_host
from nbcontainers.oci.descriptor import LAYER_GZIP, LAYER_TAR, LAYER_ZSTD, MANIFEST, Descriptor, Digest
from nbcontainers.oci.image import Image, to_bytes
from nbcontainers.oci.reference import Reference
from nbcontainers.store.archive import load, save
from nbcontainers.store.store import Store
from tests.store.random_images import add_layer, random_image, random_layer
from tests.store.validate import uncompressed, validate, validate_store


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed")


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store(tmp_path / "other", identity=of_host())


def tagged(store: Store, seed: int, *names: str, **options: int) -> list[Image]:
    with store.lease():
        image = random_image(store, seed, **options)  # type: ignore[arg-type]
        return [store.images.tag(image, Reference.parse(name)) for name in names]


def saved(store: Store, *images: Image) -> bytes:
    stream = io.BytesIO()
    save(store, images, stream)
    return stream.getvalue()


def tar(entries: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in entries.items():
            if isinstance(data, tarfile.TarInfo):
                archive.addfile(data)
                continue
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def untar(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive if entry.isreg()}  # type: ignore[union-attr]


def blobs(store: Store) -> set[Digest]:
    return set(store.content)


# Our own, both ways ----------------------------------------------------------------------------------------------------


def test_what_is_saved_is_loaded_elsewhere(store: Store, other: Store) -> None:
    """Several images under several names come out of one archive as they went in, shared layers once."""
    images = [
        *tagged(store, 1, "app:1", "app:latest", shared=1),
        *tagged(store, 2, "registry.example:5000/b/c:v2", shared=1),
    ]
    data = saved(store, *images)
    loaded = load(other, io.BytesIO(data))
    assert loaded == tuple(images)
    assert {image.name for image in other.images.list()} == {"app:1", "app:latest", "registry.example:5000/b/c:v2"}
    assert blobs(other) == blobs(store)
    assert len([name for name in untar(data) if name.startswith("blobs/")]) == len(blobs(store))
    validate_store(other)


def test_the_same_images_give_the_same_bytes(store: Store, other: Store) -> None:
    """An archive depends on nothing but its images: not on the time, the user or the store."""
    (image,) = tagged(store, 1, "app")
    data = saved(store, image)
    load(other, io.BytesIO(data))
    assert saved(other, other.images.resolve("app")) == data
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert {(entry.mtime, entry.uid, entry.gid, entry.uname) for entry in archive} == {(0, 0, 0, "")}


def test_archives_go_through_pipes(store: Store, other: Store) -> None:
    """Neither side seeks: an image goes from one store to another through a pipe."""
    (image,) = tagged(store, 1, "app")
    reader, writer = os.pipe()

    def write() -> None:
        with os.fdopen(writer, "wb") as stream:
            save(store, [image], stream)

    thread = threading.Thread(target=write)
    thread.start()
    with os.fdopen(reader, "rb") as stream:
        assert load(other, stream) == (image,)
    thread.join()
    validate(other, image)


@pytest.mark.parametrize(
    "compress",
    [gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress],
    ids=["gzip", "bzip2", "xz", "zstd"],
)
def test_a_compressed_archive_is_read(store: Store, other: Store, compress: Callable[[bytes], bytes]) -> None:
    """An archive may be compressed as a whole."""
    (image,) = tagged(store, 1, "app")
    assert load(other, io.BytesIO(compress(saved(store, image)))) == (image,)


def test_a_layout_in_a_folder_is_read(store: Store, other: Store, tmp_path: Path) -> None:
    """An OCI layout need not be in an archive; a blob that is not its digest's is refused there too."""
    images = tagged(store, 1, "app", "app:2")
    folder = tmp_path / "layout"
    for name, data in untar(saved(store, *images)).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "README.md").write_text("let be")
    assert load(other, folder) == tuple(images)
    validate_store(other)
    blob = folder / "blobs" / "sha256" / images[0].layers[0].digest.hex
    blob.write_bytes(blob.read_bytes()[:-1])
    other.images.remove("app")
    other.images.remove("app:2")
    with pytest.raises(IntegrityError):
        load(other, folder)
    assert (other.images.list(), blobs(other)) == ((), set())
    with pytest.raises(IntegrityError, match="no images in the folder .*nowhere: it has no index.json"):
        load(other, tmp_path / "nowhere")


def test_artifacts_in_an_archive_are_told_of_and_left_out(store: Store, other: Store) -> None:
    """A chart or an attestation lies in an OCI layout as an image does. An archive of nothing else is refused, and leaves nothing."""
    image, statement = tagged(store, 1, "app")[0], tagged(store, 2, "statement")[0]
    for value in (
        replace(statement.manifest, config=replace(statement.manifest.config, media_type="application/vnd.acme.chart")),
        replace(statement.manifest, layers=(replace(statement.layers[0], media_type="application/vnd.in-toto+json"),)),
    ):
        kind = "application/vnd.acme.chart" if len(value.layers) > 1 else "application/vnd.in-toto+json"
        entries = untar(saved(store, image, statement))
        listed = json.loads(entries["index.json"])
        data = to_bytes(value)
        entries[f"blobs/sha256/{Digest.of(data).hex}"] = data
        listed["manifests"][1] |= {"digest": str(Digest.of(data)), "size": len(data)}
        entries["index.json"] = json.dumps(listed).encode()
        told: list[Event] = []
        assert [one.name for one in load(other, io.BytesIO(tar(entries)), on_event=told.append)] == ["app:latest"]
        assert [kind in event.message for event in told if isinstance(event, Warned)] == [True]
        validate_store(other)
        other.images.remove("app")
        del listed["manifests"][0]
        entries["index.json"] = json.dumps(listed).encode()
        with pytest.raises(NotFound, match=f"an artifact of the type {re.escape(kind)}"):
            load(other, io.BytesIO(tar(entries)))
        assert (other.images.list(), blobs(other)) == ((), set())


def test_an_image_without_a_name_stays_without(store: Store, other: Store) -> None:
    """An image saved by its ID is loaded and found by its ID, and the collector takes it like any other."""
    image = random_image(store, 1)
    assert load(other, io.BytesIO(saved(store, image))) == (image,)
    assert other.images.resolve(image.id.short) == image
    other.images.collect()
    assert blobs(other) == set()


def test_progress_is_told(store: Store, other: Store) -> None:
    """Both directions say how many bytes have gone; saving knows how many there are."""
    (image,) = tagged(store, 1, "app")
    events: list[Event] = []
    stream = io.BytesIO()
    save(store, [image], stream, on_event=events.append)
    last = events[-1]
    assert isinstance(last, Progress)
    assert last.done == last.total
    events.clear()
    load(other, io.BytesIO(stream.getvalue()), on_event=events.append)
    assert events
    assert all(isinstance(event, Progress) for event in events)


def test_a_damaged_blob_is_not_saved(store: Store) -> None:
    """Saving verifies what it reads: a flipped bit makes an error, not an archive."""
    (image,) = tagged(store, 1, "app")
    path = store.content.path(image.layers[0].digest)
    whole = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(IntegrityError) as caught:
        saved(store, image)
    assert caught.value.expected == image.layers[0].digest
    path.write_bytes(whole[:-1])
    with pytest.raises(IntegrityError, match="bytes and has"):
        saved(store, image)
    path.write_bytes(whole)
    path.chmod(0o444)


# Docker's own ----------------------------------------------------------------------------------------------------------


def docker_archive(image: Image, layers: list[bytes], names: list[str] | None) -> dict[str, bytes | tarfile.TarInfo]:
    """The entries as ``docker save`` wrote them up to version 24: layers by folder, the configuration by its digest."""
    entries: dict[str, bytes | tarfile.TarInfo] = {}
    for number, layer in enumerate(layers):
        entries |= {f"{number}/VERSION": b"1.0", f"{number}/json": b"{}", f"{number}/layer.tar": layer}
    entries[f"{image.id.hex}.json"] = to_bytes(image.config)
    paths = [f"{number}/layer.tar" for number in range(len(layers))]
    document = [{"Config": f"{image.id.hex}.json", "RepoTags": names, "Layers": paths}]
    return entries | {"manifest.json": json.dumps(document).encode(), "repositories": b"{}"}


def plain_layers(store: Store, image: Image) -> list[bytes]:
    return [uncompressed(store.content.path(layer.digest).read_bytes()) for layer in image.layers]


@pytest.mark.parametrize(
    ("pack", "kind"),
    [
        (bytes, LAYER_TAR),
        (lambda data: gzip.compress(data), LAYER_GZIP),
        (lambda data: zstandard.ZstdCompressor().compress(data), LAYER_ZSTD),
    ],
    ids=["none", "gzip", "zstd"],
)
def test_a_docker_archive_is_read(store: Store, other: Store, pack: Callable[[bytes], bytes], kind: str) -> None:
    """Layers as plain, gzip or zstd tars are taken as they are, and the image keeps its ID."""
    image = random_image(store, 1)
    layers = [pack(layer) for layer in plain_layers(store, image)]
    loaded = load(other, io.BytesIO(tar(docker_archive(image, layers, ["app:1", "app:2"]))))
    assert [entry.name for entry in loaded] == ["app:1", "app:2"]
    assert {entry.id for entry in loaded} == {image.id}
    assert [layer.media_type for layer in loaded[0].layers] == [kind, kind]
    validate_store(other)
    assert len(blobs(other)) == 4
    store.images.collect()


def test_links_of_a_docker_archive_are_followed(store: Store, other: Store) -> None:
    """A layer that an archive holds once is named by symbolic or hard links elsewhere in it."""
    image = random_image(store, 1)
    entries = docker_archive(image, plain_layers(store, image), None)
    for number, (kind, target) in enumerate([(tarfile.SYMTYPE, "../real/0"), (tarfile.LNKTYPE, "real/1")]):
        entries[f"real/{number}"] = entries[f"{number}/layer.tar"]
        link = tarfile.TarInfo(f"{number}/layer.tar")
        link.type, link.linkname = kind, target
        entries[f"{number}/layer.tar"] = link
    (loaded,) = load(other, io.BytesIO(tar(entries)))
    assert (loaded.id, loaded.reference) == (image.id, None)
    validate(other, loaded)
    store.images.collect()


def test_a_docker_layer_must_be_the_one_that_the_image_names(store: Store, other: Store) -> None:
    """Other bytes under a layer's path are refused by the diff ID, and nothing is left of them."""
    image = random_image(store, 1)
    layers = plain_layers(store, image)
    for wrong in ([layers[0], layers[0]], layers[:1], [layers[0], gzip.compress(layers[1])[:-8]]):
        with pytest.raises(IntegrityError):
            load(other, io.BytesIO(tar(docker_archive(image, wrong, ["app"]))))
        assert (other.images.list(), blobs(other)) == ((), set())
    store.images.collect()


# Archives that lie -----------------------------------------------------------------------------------------------------


def special(name: str, kind: bytes, target: str = "") -> dict[str, bytes | tarfile.TarInfo]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return {name: entry}


@pytest.mark.parametrize(
    "extra",
    [
        {"../evil": b"x"},
        {"/etc/passwd": b"x"},
        {"a/../../b": b"x"},
        special("link", tarfile.SYMTYPE, "/etc/passwd"),
        special("link", tarfile.SYMTYPE, "../x"),
        special("link", tarfile.LNKTYPE, "../../x"),
        special("node", tarfile.CHRTYPE),
        special("pipe", tarfile.FIFOTYPE),
        {"blobs/sha256/" + "0" * 64: b"other bytes"},
        {"blobs/sha256/evil": b"x"},
        {"blobs/md5/" + "0" * 32: b"x"},
    ],
    ids=lambda extra: next(iter(extra)),
)
def test_an_entry_that_no_image_needs_is_refused(store: Store, other: Store, extra: dict[str, Any]) -> None:
    """Names that lead out, links that do, devices, and blobs that are not their digest's: nothing of the archive stays."""
    (image,) = tagged(store, 1, "app")
    for entries in (untar(saved(store, image)) | extra, extra | untar(saved(store, image))):
        with pytest.raises(IntegrityError) as caught:
            load(other, io.BytesIO(tar(entries)))
        assert caught.value.hint
        assert (other.images.list(), blobs(other), os.listdir(other.root / "ingest")) == ((), set(), [])


def test_an_archive_that_is_cut_short_leaves_nothing(store: Store, other: Store) -> None:
    """Wherever it ends too early, loading fails and nothing is in the store."""
    (image,) = tagged(store, 1, "app")
    data = saved(store, image)
    end = len(data.rstrip(b"\0"))
    for cut in (0, 100, 600, 5000, end // 2, end - 100):
        with pytest.raises(
            IntegrityError, match="not an archive|no images" if cut < 600 else "in the middle|does not hold"
        ):
            load(other, io.BytesIO(data[:cut]))
        with pytest.raises(IntegrityError):
            load(other, io.BytesIO(gzip.compress(data)[: cut // 3]))
        assert (other.images.list(), blobs(other), os.listdir(other.root / "ingest")) == ((), set(), [])


def test_one_bad_image_spoils_the_archive(store: Store, other: Store) -> None:
    """Of two images, one lacking a layer, none is tagged; what the store had before stays."""
    first, second = tagged(store, 1, "a", shared=1)[0], tagged(store, 2, "b", shared=1)[0]
    load(other, io.BytesIO(saved(store, first)))
    before = blobs(other)
    entries = untar(saved(store, first, second))
    del entries[f"blobs/sha256/{second.layers[1].digest.hex}"]
    with pytest.raises(NotFound, match=second.layers[1].digest):
        load(other, io.BytesIO(tar(entries)))
    assert [image.name for image in other.images.list()] == ["a:latest"]
    assert blobs(other) == before


def test_documents_that_mean_two_things_are_refused(store: Store, other: Store) -> None:
    """A manifest that is an index as well, a document twice, or JSON of another shape is no image."""
    (image,) = tagged(store, 1, "app")
    entries = untar(saved(store, image))
    both = json.dumps(json.loads(store.content.read(image.descriptor.digest)) | {"manifests": []}).encode()
    evil = Descriptor(media_type=MANIFEST, digest=Digest.of(both), size=len(both))
    index = {"manifests": [evil.to_json()]}
    changed: list[dict[str, bytes]] = [
        {"index.json": json.dumps(index).encode(), f"blobs/sha256/{evil.digest.hex}": both},
        {"index.json": b"[]"},
        {"index.json": b"[" * 100_000},
        {"index.json": json.dumps({"manifests": [image.descriptor.to_json() | {"size": 1}]}).encode()},
        {"manifest.json": b"{}"},
        {"manifest.json": b'[{"Config": "nowhere", "Layers": []}]'},
    ]
    for change in changed:
        with pytest.raises(IntegrityError):
            load(other, io.BytesIO(tar(entries | change)))
    twice = tar({"index.json": entries["index.json"]})[:1024] + saved(store, image)
    with pytest.raises(IntegrityError, match="twice"):
        load(other, io.BytesIO(twice))
    with pytest.raises(IntegrityError, match="no images in the archive"):
        load(other, io.BytesIO(tar({"file": b"x"})))
    with pytest.raises(IntegrityError) as refused:  # what skopeo's dir: has
        load(other, io.BytesIO(tar({"manifest.json": store.content.read(image.descriptor.digest)})))
    assert "oci:LAYOUT:NAME" in refused.value.hint
    assert blobs(other) == set()


def test_an_archive_is_bounded(store: Store, other: Store) -> None:
    """More bytes than the limit, layers that unpack to more, and headers of gigabytes are refused as they come."""
    image = random_image(store, 1)
    data = tar(docker_archive(image, [gzip.compress(layer) for layer in plain_layers(store, image)], ["app"]))
    with pytest.raises(IntegrityError, match="the archive has more than"):
        load(other, io.BytesIO(data), limit=1000)
    zeros = random_layer(0, 0) + b"\0" * (1 << 20)
    (descriptor, diff_id) = add_layer(store, zeros)
    bomb = store.images.create(type(image.config)(platform=image.config.platform, diff_ids=(diff_id,)), [descriptor])
    packed = tar(docker_archive(bomb, [gzip.compress(zeros)], ["bomb"]))
    with pytest.raises(IntegrityError, match="a layer of more than"):
        load(other, io.BytesIO(packed), limit=100_000)
    header = tarfile.TarInfo("x" * 200)
    header.type, header.size = tarfile.XHDTYPE, 1 << 33
    with pytest.raises(IntegrityError, match="extended header"):
        load(other, io.BytesIO(header.tobuf(tarfile.GNU_FORMAT)[-512:] + b"\0" * 1024))
    assert blobs(other) == set()
    store.images.collect()


# Peers -----------------------------------------------------------------------------------------------------------------


def run(*words: str, **options: Any) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


@needs("skopeo")
@pytest.mark.peer("skopeo")
@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
def test_skopeo_reads_our_archives(store: Store, tmp_path: Path, transport: str) -> None:
    """skopeo reads the one archive as either kind, by name, and finds the configuration and the layers that we wrote."""
    first, second = tagged(store, 1, "app:v1")[0], tagged(store, 2, "registry.example/b:v2")[0]
    path = tmp_path / "images.tar"
    with path.open("wb") as stream:
        save(store, [first, second], stream)
    for image in (first, second):
        place = f"{transport}:{path}:{image.reference}"
        config = json.loads(run("skopeo", "inspect", "--config", "--raw", place))
        assert config == image.config.to_json()
        layers = json.loads(run("skopeo", "inspect", place))["Layers"]
        if transport == "oci-archive":
            assert layers == [layer.digest for layer in image.layers]
        else:
            assert layers == list(image.config.diff_ids)
        copied = tmp_path / f"copy-{image.id.short}"
        run("skopeo", "--insecure-policy", "copy", place, f"dir:{copied}")


@needs("umoci")
@pytest.mark.peer("umoci")
def test_umoci_unpacks_our_layout(store: Store, tmp_path: Path) -> None:
    """The archive untarred is an OCI layout, of which umoci makes the tree that we put in."""
    (image,) = tagged(store, 3, "app:v1")
    layout = tmp_path / "layout"
    for name, data in untar(saved(store, image)).items():
        (layout / name).parent.mkdir(parents=True, exist_ok=True)
        (layout / name).write_bytes(data)
    names = run("umoci", "ls", "--layout", str(layout)).split()
    assert names == [str(image.reference)]
    run("umoci", "unpack", "--rootless", "--image", f"{layout}:{names[0]}", str(tmp_path / "bundle"))
    for layer in plain_layers(store, image):
        for name, data in untar(layer).items():
            assert (tmp_path / "bundle" / "rootfs" / name).read_bytes() == data


@needs("skopeo")
@pytest.mark.peer("skopeo")
@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
def test_archives_of_skopeo_are_read(store: Store, other: Store, tmp_path: Path, transport: str) -> None:
    """What skopeo writes, of either kind, is loaded with its name and the same tree."""
    (image,) = tagged(store, 4, "app:v1")
    ours, theirs = tmp_path / "ours.tar", tmp_path / "theirs.tar"
    ours.write_bytes(saved(store, image))
    run("skopeo", "--insecure-policy", "copy", f"oci-archive:{ours}", f"{transport}:{theirs}:docker.io/library/app:v1")
    with theirs.open("rb") as stream:
        (loaded,) = load(other, stream)
    assert loaded.name == "app:v1"
    assert loaded.config.diff_ids == image.config.diff_ids
    assert loaded.config.config == image.config.config
    validate_store(other)
