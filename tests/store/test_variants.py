"""One name for images of several platforms, through archives and the store."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from nbcontainers.errors import IntegrityError, NotFound
from nbcontainers.events import Event, Warned
from nbcontainers.linux.idmap import of_host
from nbcontainers.oci.descriptor import LAYER_ZSTD, Descriptor, Digest, Platform
from nbcontainers.oci.image import Image, ImageConfig
from nbcontainers.oci.reference import Reference
from nbcontainers.store import variants
from nbcontainers.store.archive import Form, load, save
from nbcontainers.store.store import Store
from tests.store.random_images import add_layer, random_image, random_layer, several
from tests.store.validate import uncompressed, validate_store

FOREIGN = Platform(architecture="s390x")


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "other", identity=of_host()) as opened:
        yield opened


@pytest.fixture
def image(store: Store) -> Image:
    """For this host, of a name that stands for another platform's too."""
    with store.lease():
        return several(store, "app", Platform.host(), FOREIGN)[0]


def saved(store: Store, *images: Image, form: Form = "both", platform: Platform | None = None) -> bytes:
    stream = io.BytesIO()
    save(store, images, stream, form=form, platform=platform)
    return stream.getvalue()


def files(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive if entry.isreg()}  # type: ignore[union-attr]


def top(store: Store, name: str = "app") -> Descriptor:
    return store.images.tags.read(Reference.parse(name)).descriptor


@pytest.mark.parametrize("form", ["both", "oci"])
def test_an_index_goes_and_comes_whole(store: Store, other: Store, image: Image, form: Form) -> None:
    """Every image of it is in the archive and in the store that loads it, under one name; and goes with that name."""
    data = saved(store, image, form=form)
    assert ("manifest.json" in files(data)) == (form == "both")
    assert load(other, io.BytesIO(data)) == (image,)
    assert top(other) == top(store)
    assert set(other.content) == set(store.content)
    assert saved(other, other.images.resolve("app"), form=form) == data
    other.images.reindex()
    assert [one.name for one in other.images.list()] == ["app:latest"]  # the others are no images without a name
    other.images.collect()
    assert set(other.content) == set(store.content)
    validate_store(other)
    other.images.remove("app")
    assert set(other.content) == set()


def test_one_platform_is_saved(store: Store, other: Store, image: Image) -> None:
    """Exactly the one that is named, and then the name stands for it alone; what there is not is refused, with what there is."""
    for form in ("both", "oci", "docker"):
        (came,) = load(other, io.BytesIO(saved(store, image, form=form, platform=FOREIGN)))
        assert (came.config.platform, came.name) == (FOREIGN, "app:latest")
        other.images.remove("app")
        assert set(other.content) == set()
    with pytest.raises(NotFound, match="linux/riscv64") as caught:
        saved(store, image, platform=Platform(architecture="riscv64"))
    assert "s390x" in str(caught.value.hint)
    single = store.images.tag(random_image(store, 1), Reference.parse("single"))
    with pytest.raises(NotFound, match="was asked for"):
        saved(store, single, platform=FOREIGN)


def test_an_index_that_is_not_whole_is_left_out(store: Store, other: Store, image: Image) -> None:
    """Where an image of it is missing, as after a pull, this host's goes alone, and the missing one cannot be saved."""
    foreign = variants.choose(store, image, FOREIGN)
    store.content.path(foreign.layers[1].digest).unlink()
    load(other, io.BytesIO(saved(store, image)))
    assert top(other) == image.descriptor
    with pytest.raises(NotFound, match="has not the image for linux/s390x"):
        saved(store, image, platform=FOREIGN)


def test_one_platform_is_loaded(store: Store, other: Store, image: Image) -> None:
    """Of an archive of several images those for the platform; the others are told of, and leave nothing. None is an error."""
    single = store.images.tag(random_image(store, 1, layers=1), Reference.parse("single"))
    data, events = saved(store, image, single), list[Event]()
    (came,) = load(other, io.BytesIO(data), platform=FOREIGN, on_event=events.append)
    assert (came.config.platform, top(other)) == (FOREIGN, came.descriptor)
    assert ["left out" in event.message for event in events if isinstance(event, Warned)] == [True]
    assert set(other.content) == {came.descriptor.digest, came.id, *(layer.digest for layer in came.layers)}
    other.images.remove("app")
    for form in ("both", "docker"):
        with pytest.raises(NotFound, match="no image for linux/s390x"):
            load(other, io.BytesIO(saved(store, single, form=form)), platform=FOREIGN)
        assert (other.images.list(), set(other.content)) == ((), set())


def test_dockers_format_has_plain_layers(store: Store, other: Store) -> None:
    """Whatever compresses them here, each is there once, as the tar that its diff ID names; the image keeps its ID."""
    plain = [random_layer(number) for number in range(2)]
    zstd = store.content.write(zstandard.ZstdCompressor().compress(plain[1]), LAYER_ZSTD)
    blobs = [add_layer(store, plain[0])[0], zstd, zstd]
    diff_ids = tuple(Digest.of(layer) for layer in (plain[0], plain[1], plain[1]))
    made = store.images.create(ImageConfig(platform=Platform.host(), diff_ids=diff_ids), blobs)
    named = [store.images.tag(made, Reference.parse(name)) for name in ("a:1", "a:2")]
    data = saved(store, *named, form="docker")
    found = files(data)
    assert set(found) == {"manifest.json", f"{made.id.hex}.json", *(f"{digest.hex}.tar" for digest in diff_ids)}
    assert [found[f"{digest.hex}.tar"] for digest in diff_ids[:2]] == plain
    (entry,) = json.loads(found["manifest.json"])
    assert entry["RepoTags"] == ["docker.io/library/a:1", "docker.io/library/a:2"]
    assert [came.id for came in load(other, io.BytesIO(data))] == [made.id, made.id]
    assert saved(other, *map(other.images.resolve, ("a:1", "a:2")), form="docker") == data
    path = store.content.path(zstd.digest)
    whole = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(zstandard.ZstdCompressor().compress(uncompressed(whole)[:-1]))
    with pytest.raises(IntegrityError, match="where its image says"):
        saved(store, *named, form="docker")
    path.write_bytes(whole)
    path.chmod(0o444)


def test_another_name_keeps_the_index(store: Store, image: Image) -> None:
    """A tag of a tag stands for all that it stood for; an image by its ID is that image alone."""
    by_id = store.images.open(image.descriptor)
    assert variants.top(store, image) == top(store)
    assert variants.top(store, by_id) == image.descriptor
