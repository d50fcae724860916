"""Images to and from Debian's docker-registry; skopeo is the oracle, both ways."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers.engine import Engine, registries
from nbcontainers.errors import IntegrityError, NotFound, RegistryError
from nbcontainers.events import Event, Transfer, TransferFinished, TransferStarted, Warned, ignore
from nbcontainers.linux.idmap import of_host
from nbcontainers.oci.descriptor import DOCKER_MANIFEST, INDEX, LAYER_GZIP, MANIFEST, Digest
from nbcontainers.oci.image import Image
from nbcontainers.oci.reference import Reference
from nbcontainers.store.registry import upload
from nbcontainers.store.registry.connections import Connections
from nbcontainers.store.registry.endpoints import of
from nbcontainers.store.registry.origins import Origins
from nbcontainers.store.registry.session import Session
from nbcontainers.store.store import Store
from tests.store.random_images import random_image
from tests.store.registry.conftest import Registry, answered
from tests.store.registry.servers import Parts, described, encoded, index_of
from tests.store.validate import validate, validate_store

needs_skopeo = pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")


def pull(store: Store, name: str, events: list[Event] | None = None, **options: str) -> Image:
    on_event = ignore if events is None else events.append
    return registries.pull(store, name, platform=options.get("platform"), insecure=False, on_event=on_event)


def push(store: Store, name: str, events: list[Event] | None = None) -> Digest:
    on_event = ignore if events is None else events.append
    return registries.push(store, (registries.pushed(store, name),), insecure=False, on_event=on_event)[0]


def tagged(store: Store, seed: int, *names: str, **options: int) -> Image:
    with store.lease():
        image = random_image(store, seed, **options)  # type: ignore[arg-type]
        for name in names:
            image = store.images.tag(image, Reference.parse(name))
    return image


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "other", identity=of_host()) as opened:
        yield opened


def phases(events: list[Event]) -> list[str]:
    return [event.phase for event in events if isinstance(event, Transfer)]


def skopeo(*words: str) -> str:
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *words], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def requested(registry: Registry, digest: str) -> int:
    return registry.requests("GET", f"/blobs/{digest}")


# Both ways -------------------------------------------------------------------------------------------------------------


def test_what_is_pushed_is_pulled_as_it_was(store: Store, other: Store, registry: Registry) -> None:
    """The same image, by digest, layer for layer, unpacked and tagged."""
    name = f"{registry.host}/both/ways:1"
    image, events = tagged(store, 1, name), []
    digest = push(store, name, events)
    assert digest == image.descriptor.digest
    assert [phase for phase in phases(events) if phase != "uploading"] == ["waiting", "waiting", "pushed", "pushed"]
    assert events[-1] == TransferFinished(name=name, direction="push", digest=digest, size=image.descriptor.size)
    events = []
    back = pull(other, name, events)
    assert back == other.images.resolve(name)
    assert (back.id, back.layers) == (image.id, image.layers)
    assert events[0] == TransferStarted(name=name, direction="pull")
    assert isinstance(events[-1], TransferFinished)
    assert events[-1].fresh
    assert all((other.root / "layers" / chain.hex / "fs").is_dir() for chain in back.chain_ids)
    validate(other, back)
    validate_store(other)


def test_a_second_pull_of_an_image_with_one_new_layer_moves_one_layer(
    store: Store, other: Store, registry: Registry
) -> None:
    """What is here does not come again, and of an image that did not change no blob is asked for."""
    first, second = f"{registry.host}/shared:1", f"{registry.host}/shared:2"
    one = tagged(store, 1, first, layers=4, shared=3)
    two = tagged(store, 2, second, layers=4, shared=3)
    push(store, first)
    push(store, second)
    pull(other, first)
    before = {layer.digest: requested(registry, layer.digest) for layer in (*one.layers, *two.layers)}
    events: list[Event] = []
    pull(other, second, events)
    came = {digest for digest, count in before.items() if requested(registry, digest) != count}
    assert came == {two.layers[3].digest}
    assert phases(events).count("exists") == 3
    events = []
    pull(other, second, events)
    assert phases(events) == ["exists"] * 4
    assert isinstance(events[-1], TransferFinished)
    assert not events[-1].fresh
    assert all(requested(registry, layer.digest) == 1 for layer in (*one.layers[:3], two.layers[3]))


def test_blobs_are_skipped_where_they_are_and_mounted_from_where_they_were(store: Store, registry: Registry) -> None:
    """A registry has each blob once: another repository of it gets it by name."""
    name, again = f"{registry.host}/mount/one:1", f"{registry.host}/mount/two:1"
    image = tagged(store, 7, name, again)
    push(store, name)
    events: list[Event] = []
    push(store, name, events)
    assert phases(events)[2:] == ["exists", "exists"]
    events = []
    push(store, again, events)
    mounted = [event for event in events if isinstance(event, Transfer) and event.phase == "mounted"]
    assert [event.detail for event in mounted] == ["mount/one"] * 2
    assert {event.layer for event in mounted} == set(image.config.diff_ids)
    assert answered(registry.host, "/v2/mount/two/manifests/1")[0] == 200


def test_where_a_blob_came_from_is_kept_no_longer_than_the_blob(store: Store, registry: Registry) -> None:
    """Origins are a hint that costs nothing to lose."""
    name = f"{registry.host}/origin:1"
    layer = tagged(store, 8, name).layers[0].digest
    push(store, name)
    assert Origins(store.root).of(layer, registry.host) == ("origin",)
    assert Origins(store.root).of(layer, "another.registry") == ()
    store.images.remove(name)
    assert not (store.root / "origins" / layer.hex).exists()


def test_large_blobs_go_in_pieces_and_small_ones_whole(
    store: Store, other: Store, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is larger than a piece is sent by PATCH; the registry has the same image either way."""
    monkeypatch.setattr(upload, "CHUNK", 1000)
    name = f"{registry.host}/pieces:1"
    image = tagged(store, 11, name)
    assert any(layer.size > 2000 for layer in image.layers)
    before = registry.requests("PATCH")
    push(store, name)
    assert registry.requests("PATCH") > before
    validate(other, pull(other, name))


@needs_skopeo
@pytest.mark.parametrize("kind", ["oci", "v2s2"])
def test_skopeo_gets_what_was_pushed_and_gives_what_is_pulled(
    store: Store, other: Store, registry: Registry, tmp_path: Path, kind: str
) -> None:
    """Both directions, OCI and Docker's schema 2; the digest survives a round trip through our store."""
    name, copied, back = (f"{registry.host}/skopeo/{part}-{kind}:1" for part in ("ours", "theirs", "back"))
    image = tagged(store, 3, name)
    push(store, name)
    insecure = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    skopeo("copy", "--format", kind, *insecure, f"docker://{name}", f"docker://{copied}")
    theirs = pull(other, copied)
    assert theirs.id == image.id if kind == "oci" else theirs.config.diff_ids == image.config.diff_ids
    assert theirs.descriptor.media_type == (MANIFEST if kind == "oci" else DOCKER_MANIFEST)
    validate(other, theirs)
    other.images.tag(theirs, Reference.parse(back))
    assert push(other, back) == theirs.descriptor.digest
    told = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{back}"))
    assert told["Digest"] == theirs.descriptor.digest
    assert told["Layers"] == [layer.digest for layer in theirs.layers]
    skopeo("copy", "--src-tls-verify=false", f"docker://{back}", f"oci:{tmp_path}/layout:1")
    blobs = {path.name for path in (tmp_path / "layout" / "blobs" / "sha256").iterdir()}
    assert {layer.digest.hex for layer in theirs.layers} <= blobs


def upload_raw(registry: Registry, name: str, documents: dict[str, tuple[bytes, str]], *blobs: bytes) -> None:
    """Put documents and blobs in a registry as they are, by the calls that push uses."""
    from nbcontainers.store.registry.repository import Repository

    session = Session(of(registry.host), lambda: None, environ=os.environ, connections=Connections())
    repository = Repository(name, [session])
    for blob in blobs:
        place = repository.begin(Digest.of(blob), lambda seconds: None)
        repository.send("PUT", place, body=lambda blob=blob: blob, headers={}, query=f"digest={Digest.of(blob)}")
    for reference, (data, kind) in documents.items():
        repository.put_manifest(reference, data, kind)
    session.close()


def test_what_buildkit_attests_is_not_counted_as_an_image(store: Store, registry: Registry) -> None:
    """An index of one image and its attestation goes as the image alone, and the warning says what stays behind."""
    ours, attested = Parts.make(11), Parts.make(12, os="unknown", architecture="unknown")
    platform = {"os": "linux", "architecture": ours.config["architecture"]}
    data = index_of((ours, platform), (attested, {"os": "unknown", "architecture": "unknown"}))
    documents = {
        str(Digest.of(encoded(parts.manifest))): (encoded(parts.manifest), MANIFEST) for parts in (ours, attested)
    }
    blobs = [blob for parts in (ours, attested) for blob in (encoded(parts.config), *parts.layers)]
    upload_raw(registry, "attested", documents | {"1": (data, INDEX)}, *blobs)
    name = f"{registry.host}/attested:1"
    image = pull(store, name)
    events: list[Event] = []
    assert push(store, name, events) == image.descriptor.digest
    (warned,) = [event for event in events if isinstance(event, Warned)]
    assert warned.message.endswith("is pushed, without what its index attests of it")


def test_an_index_is_pulled_for_one_platform_and_keeps_its_digest(
    store: Store, other: Store, registry: Registry
) -> None:
    """The name stands for the index, and this host's image is the one that came; pushed again, only that goes, and it is said."""
    ours, foreign = Parts.make(1), Parts.make(2, architecture="s390x")
    data = index_of(
        (foreign, {"os": "linux", "architecture": "s390x"}),
        (ours, {"os": "linux", "architecture": ours.config["architecture"]}),
    )
    documents = {
        str(Digest.of(encoded(parts.manifest))): (encoded(parts.manifest), MANIFEST) for parts in (ours, foreign)
    }
    blobs = [blob for parts in (ours, foreign) for blob in (encoded(parts.config), *parts.layers)]
    upload_raw(registry, "multi", documents | {"1": (data, INDEX)}, *blobs)
    name = f"{registry.host}/multi:1"
    events: list[Event] = []
    image = pull(store, name, events)
    assert image.descriptor.digest == Digest.of(encoded(ours.manifest))
    assert isinstance(events[-1], TransferFinished)
    assert events[-1].digest == Digest.of(data)
    assert store.images.resolve(name) == image
    assert store.images.resolve(f"{registry.host}/multi@{Digest.of(data)}").id == image.id
    assert not store.content.has(Digest.of(encoded(foreign.config)))
    events = []
    assert push(store, name, events) == image.descriptor.digest
    assert any(isinstance(event, Warned) and "of 2 in its index" in event.message for event in events)
    upload_raw(registry, "multi", {"1": (data, INDEX)})
    # An index of which the store has everything goes as a whole, byte for byte.
    pull(other, name, platform="linux/s390x")
    pull(other, name)
    store.images.remove(name)
    assert not store.content.has(Digest.of(data))
    whole = f"{registry.host}/whole:1"
    other.images.name(
        other.images.resolve(name), Reference.parse(whole), other.images.tags.read(Reference.parse(name)).descriptor
    )
    assert push(other, whole) == Digest.of(data)
    assert answered(registry.host, f"/v2/whole/manifests/{Digest.of(encoded(foreign.manifest))}")[0] == 200


def test_an_image_of_another_platform_comes_when_it_is_asked_for(store: Store, registry: Registry) -> None:
    """Its name stands for that image then, and nothing of ours is there."""
    parts = Parts.make(5, architecture="s390x")
    ours = Parts.make(6)
    index = index_of(
        (ours, {"os": "linux", "architecture": ours.config["architecture"]}),
        (parts, {"os": "linux", "architecture": "s390x"}),
    )
    documents = {str(Digest.of(encoded(one.manifest))): (encoded(one.manifest), MANIFEST) for one in (parts, ours)}
    upload_raw(
        registry,
        "far",
        documents | {"1": (index, INDEX)},
        *(blob for one in (parts, ours) for blob in (encoded(one.config), *one.layers)),
    )
    image = pull(store, f"{registry.host}/far:1", platform="linux/s390x")
    assert image.config.platform.architecture == "s390x"
    assert store.images.resolve(f"{registry.host}/far:1") == image


def test_what_is_pulled_by_its_digest_is_kept_by_its_digest(store: Store, other: Store, registry: Registry) -> None:
    """Nothing collects it until that name is removed; a tag beside a digest is not looked at, as with Docker."""
    name = f"{registry.host}/exact:1"
    image = tagged(store, 12, name)
    push(store, name)
    exact = f"{registry.host}/exact@{image.descriptor.digest}"
    pull(other, f"{registry.host}/exact:whatever@{image.descriptor.digest}")
    other.images.collect()
    assert other.images.resolve(exact).id == image.id
    assert [str(one.reference) for one in other.images.list()] == [exact]
    other.images.remove(exact)
    with pytest.raises(NotFound):
        other.images.resolve(exact)
    assert not list(other.content)


def test_all_tags_of_a_repository_come(store: Store, other: Store, registry: Registry) -> None:
    """And all that the store has go there."""
    names = [f"{registry.host}/many:{tag}" for tag in ("1", "2", "latest")]
    for seed, name in enumerate(names, 20):
        tagged(store, seed, name)
    sent = registries.push(store, registries.all_tags(store, f"{registry.host}/many"), insecure=False, on_event=ignore)
    assert len(sent) == 3
    came = registries.pull_all(other, f"{registry.host}/many", platform=None, insecure=False, on_event=ignore)
    assert sorted(str(image.reference) for image in came) == sorted(names)


def test_what_refers_to_an_image_is_listed(store: Store, registry: Registry) -> None:
    """By the call for it, or from the tag where registries without the call keep it."""
    name = f"{registry.host}/signed:1"
    image = tagged(store, 30, name)
    push(store, name)
    assert registries.referrers(name) == ()
    manifest = encoded(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described(b"{}", "application/vnd.oci.empty.v1+json"),
            "layers": [described(b"{}", LAYER_GZIP)],
        }
    )
    signature = described(manifest, MANIFEST) | {"artifactType": "application/vnd.test.signature"}
    index = encoded({"schemaVersion": 2, "mediaType": INDEX, "manifests": [signature]})
    tag = str(image.descriptor.digest).replace(":", "-")
    upload_raw(registry, "signed", {str(Digest.of(manifest)): (manifest, MANIFEST), tag: (index, INDEX)}, b"{}")
    (found,) = registries.referrers(name)
    assert found.digest == Digest.of(manifest)


def test_a_damaged_blob_is_not_sent_on(store: Store, registry: Registry) -> None:
    """What the store has under a digest is looked at before a registry gets it; and it can be brought again."""
    name = f"{registry.host}/damaged:1"
    image = tagged(store, 31, name)
    push(store, name)
    path = store.content.path(image.layers[0].digest)
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    other = f"{registry.host}/elsewhere:1"
    store.images.tag(image, Reference.parse(other))
    Origins(store.root)._folder.joinpath(image.layers[0].digest.hex).unlink()
    with pytest.raises(IntegrityError, match="is damaged"):
        push(store, other)
    Origins(store.root).note([image.layers[0].digest], registry.host, "damaged")
    assert registries.fetch(store, image.layers[0].digest, on_event=ignore)
    assert path.read_bytes() == whole
    store.content.path(image.descriptor.digest).unlink()
    assert registries.fetch(store, image.descriptor.digest, on_event=ignore)
    assert not registries.fetch(store, Digest.of(b"never seen"), on_event=ignore)


def test_a_repair_pulls_what_is_damaged_again(tmp_path: Path, registry: Registry) -> None:
    """One flipped byte in any blob of a pulled image: the check names it, and the repair brings it from where it came."""
    name = f"{registry.host}/repaired:1"
    with Engine(tmp_path / "engine") as engine:
        image = tagged(engine.store, 41, name)
        engine.push(name)
        for digest in (image.descriptor.digest, image.id, *(layer.digest for layer in image.layers)):
            path = engine.store.content.path(digest)
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.chmod(0o644)
            path.write_bytes(data)
            (fault,) = engine.check().faults
            assert (fault.name, fault.images) == (digest, (name,))
            (fault,) = engine.check(repair=True).faults
            assert fault.repaired == "fetched again", fault
            assert engine.check().faults == ()
        validate(engine.store, engine.image(name))


@pytest.mark.parametrize("part", ["manifest", "configuration", "layer"])
def test_what_is_damaged_here_comes_again(store: Store, other: Store, registry: Registry, part: str) -> None:
    """A pull heals what it needs: it does not trust a blob for its size."""
    name = f"{registry.host}/healed-{part}:1"
    image = tagged(store, 70, name)
    push(store, name)
    pull(other, name)
    digest = {"manifest": image.descriptor.digest, "configuration": image.id, "layer": image.layers[1].digest}[part]
    path = other.content.path(digest)
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    other.worker.remove(other.root / "layers" / image.chain_ids[1].hex)
    back = pull(other, name)
    assert path.read_bytes() == whole
    validate(other, back)


def test_a_name_that_is_not_there_says_so(store: Store, registry: Registry) -> None:
    """Of the registry, and of the store."""
    with pytest.raises(RegistryError, match="manifest unknown") as caught:
        pull(store, f"{registry.host}/nothing:1")
    assert caught.value.status == 404
    with pytest.raises(NotFound):
        push(store, f"{registry.host}/nothing:1")
    with pytest.raises(RegistryError, match="cannot reach 127.0.0.1:1"):
        pull(store, "127.0.0.1:1/nothing")


# Faults ----------------------------------------------------------------------------------------------------------------

PULL = """
import sys
from pathlib import Path
from nbcontainers.engine import Engine, registries
from nbcontainers.events import Transfer
from nbcontainers.linux.idmap import of_host
from nbcontainers.store.store import Store

def tell(event):
    if isinstance(event, Transfer):
        print(event.phase, event.layer, flush=True)

with Store(Path(sys.argv[1]), identity=of_host()) as store:
    registries.pull(store, sys.argv[2], platform=None, insecure=False, on_event=tell)
"""


@pytest.mark.parametrize("moment", ["waiting", "downloaded", "pulled"])
def test_a_pull_that_is_killed_leaves_nothing_half_made_and_what_is_whole_is_used(
    store: Store, other: Store, registry: Registry, moment: str
) -> None:
    """kill -9 as the first layer is awaited, has come, and is unpacked: no name, no half blob; the next pull asks for the rest only."""
    name = f"{registry.host}/killed-{moment}:1"
    image = tagged(store, 40 + len(moment), name, layers=6)
    push(store, name)
    process = subprocess.Popen(
        [sys.executable, "-c", PULL, str(other.root), name], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(moment):
            process.send_signal(signal.SIGKILL)
            break
    process.wait(600)
    process.stdout.close()
    with pytest.raises(NotFound):
        other.images.resolve(name)
    whole = {layer.digest for layer in image.layers if other.content.has(layer.digest)}
    if moment != "waiting":
        assert whole
    before = {layer.digest: requested(registry, layer.digest) for layer in image.layers}
    back = pull(other, name)
    assert all(requested(registry, digest) == before[digest] for digest in whole)
    validate(other, back)
    deadline = time.monotonic() + 60
    while (
        list((other.root / "ingest").iterdir()) and time.monotonic() < deadline
    ):  # the killed one's worker may still end
        other.images.collect()
        time.sleep(0.05)
    other.images.collect()
    validate_store(other)


def test_an_interrupt_ends_a_pull_at_once(store: Store, other: Store, registry: Registry) -> None:
    """Whatever waits on the network is cut, and nothing half made is left."""
    name = f"{registry.host}/interrupted:1"
    tagged(store, 50, name)
    push(store, name)

    def press(event: Event) -> None:
        if isinstance(event, Transfer) and event.phase == "downloaded":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        registries.pull(other, name, platform=None, insecure=False, on_event=press)
    assert not list(other.images.tags)
    other.images.collect()
    validate_store(other)


def test_many_pulls_at_once_are_one_image(store: Store, other: Store, registry: Registry) -> None:
    """Four processes, one store, one image: all succeed, and the store is whole."""
    name = f"{registry.host}/crowd:1"
    image = tagged(store, 51, name, layers=3)
    push(store, name)
    running = [
        subprocess.Popen([sys.executable, "-c", PULL, str(other.root), name], stdout=subprocess.DEVNULL)
        for _ in range(4)
    ]
    assert [process.wait(600) for process in running] == [0] * 4
    assert other.images.resolve(name).id == image.id
    other.images.collect()
    validate_store(other)


def test_a_name_in_use_elsewhere_is_taken_over(store: Store, other: Store, registry: Registry) -> None:
    """A tag that moved in the registry moves here; the image that had it keeps no name."""
    name = f"{registry.host}/moves:latest"
    first = tagged(store, 60, name)
    push(store, name)
    pull(other, name)
    second = tagged(store, 61, name)
    push(store, name)
    assert pull(other, name).id == second.id
    assert [image.reference for image in other.images.list() if image.id == first.id] == [None]
