from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers import Container, Engine, IntegrityError, NBContainersError
from nbcontainers.build import caches
from nbcontainers.engine import upkeep
from nbcontainers.events import Event, Warned
from nbcontainers.oci.image import Image
from nbcontainers.oci.reference import Reference
from nbcontainers.results import DiskUse, Pruned
from tests.store.random_images import random_image
from tests.store.test_check import flip


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(tmp_path / "store") as made:
        yield made
        for container in made.containers(all=True):
            container.remove(force=True)


def image(engine: Engine, seed: int, *names: str, created: str = "", shared: int = 0) -> Image:
    with engine.store.lease():
        made = random_image(engine.store, seed, created=created, shared=shared)
        for name in names:
            engine.store.images.tag(made, Reference.parse(name))
    return made


def container(engine: Engine, of: str, **options: object) -> Container:
    return engine.create(of, "true", **options)  # type: ignore[arg-type]


def names(engine: Engine) -> list[str]:
    return sorted(found.name for found in engine.images())


def use(engine: Engine) -> dict[str, DiskUse]:
    return {row.kind: row for row in engine.disk_use()}


def test_dangling_images_go_and_used_ones_stay(engine: Engine) -> None:
    """An image without a name is removed with its blobs, unless a container was made from it."""
    loose = image(engine, 1)
    kept = image(engine, 2, "kept")
    used = image(engine, 3, "used")
    container(engine, "used")
    engine.tag("kept", "used")  # takes the name away from the third
    pruned = engine.prune(("images",))
    assert pruned.images == (loose.id,)
    assert pruned.size == sum(part.size for part in (loose.descriptor, loose.manifest.config, *loose.layers))
    assert {found.id for found in engine.images()} == {kept.id, used.id}


def test_all_takes_every_image_that_no_container_uses(engine: Engine) -> None:
    """With ``all`` named images go too, each name is told, and what a container stands on stays runnable."""
    image(engine, 1, "a", "b:2")
    image(engine, 2, "used")
    held = container(engine, "used")
    pruned = engine.prune(("images",), all=True)
    assert sorted(pruned.untagged) == ["a:latest", "b:2"]
    assert names(engine) == ["used:latest"]
    assert engine.store.snapshots.mounts(held.id)
    assert engine.check().faults == ()


def test_stopped_containers_go_with_what_they_wrote(engine: Engine) -> None:
    """A container that does not run is removed; then its image is unused."""
    image(engine, 1, "app")
    first, second = container(engine, "app"), container(engine, "app", labels=["keep=1"])
    (engine.store.root / "snapshots" / first.id[:12] / "upper" / "file").write_bytes(bytes(100_000))
    pruned = engine.prune(("containers",), filters=["label!=keep"])
    assert pruned.containers == (first.id,)
    assert pruned.size >= 100_000
    assert [found.id for found in engine.containers(all=True)] == [second.id]
    assert engine.prune(all=True).containers == (second.id,)
    assert (engine.images(), os.listdir(engine.store.root / "layers")) == ((), [])


def test_until_spares_what_is_young(engine: Engine) -> None:
    """``until=1h`` removes what was made more than an hour ago."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    young, old = image(engine, 1, created=now), image(engine, 2, created="2020-01-01T00:00:00Z")
    pruned = engine.prune(filters=["until=1h"])
    assert pruned.images == (old.id,)
    assert engine.image(young.id)
    with pytest.raises(NBContainersError, match="not a time"):
        engine.prune(filters=["until=soon"])
    with pytest.raises(NBContainersError, match="nothing to prune is called 'image'"):
        engine.prune(["image"])
    assert engine.prune(filters=[f"label=seed={1}"]).images == (young.id,)


def test_nothing_is_removed_while_it_cannot_be_told_what_is_needed(engine: Engine) -> None:
    """A damaged image stops the pruning of images before anything is gone; the error names it."""
    made = image(engine, 1, "app")
    loose = image(engine, 2)
    path = engine.store.content.path(made.descriptor.digest)
    whole = flip(path)
    with pytest.raises(IntegrityError, match=made.descriptor.digest):
        engine.prune(all=True)
    assert engine.image(loose.id)
    path.chmod(0o600)
    path.write_bytes(whole)
    assert engine.prune(all=True).images


def test_a_container_with_a_torn_state_keeps_its_layers(engine: Engine) -> None:
    """Zero-length or corrupt, its state is told by the check, and nothing that it stands on is collected."""
    image(engine, 1, "app")
    held = container(engine, "app")
    state = engine.store.root / "containers" / held.id / "state.json"
    whole = state.read_bytes()
    for data in (b"", b"{}", whole[:20]):
        state.write_bytes(data)
        (fault,) = engine.check().faults
        assert (fault.kind, fault.name) == ("container", held.id)
        engine.prune(("images", "cache"), all=True)
    state.write_bytes(whole)
    assert len(engine.store.snapshots.mounts(held.id)) == 1
    assert len(os.listdir(engine.store.root / "layers")) == 2


def test_what_a_killed_maker_left_of_a_container_goes(engine: Engine) -> None:
    """A container's folder without a state, a snapshot of nobody and a name of nothing are removed by the next prune."""
    image(engine, 1, "app")
    held = container(engine, "app", name="whole")
    root = engine.store.root
    (root / "containers" / ("f" * 64)).mkdir()
    (root / "snapshots" / ("f" * 64) / "upper").mkdir(parents=True)
    (root / "names" / "ghost").symlink_to("f" * 64)
    (root / "ranges").mkdir()
    (root / "ranges" / "7").symlink_to("f" * 64)
    kinds = {fault.kind for fault in engine.check().faults}
    assert kinds == {"container"}
    engine.prune(("images",))
    assert os.listdir(root / "containers") == [held.id]
    assert os.listdir(root / "snapshots") == [held.id[:12]]
    assert os.listdir(root / "names") == ["whole"]
    assert os.listdir(root / "ranges") == []
    assert engine.check().faults == ()


def build(engine: Engine, text: str, tag: str = "") -> Image:
    return engine.build(f"FROM scratch\n{text}\n", context=engine.store.root.parent / "context", tag=tag).image


@pytest.fixture
def files(engine: Engine) -> Path:
    folder = engine.store.root.parent / "context"
    folder.mkdir()
    for number in range(3):
        (folder / f"f{number}").write_bytes(os.urandom(50_000))
    return folder


def test_the_build_cache_goes_where_no_image_has_its_layers(engine: Engine, files: Path) -> None:
    """Steps of images that are there stay cached; those of images that are gone are forgotten, and ``all`` takes every one."""
    build(engine, "COPY f0 /", "kept")
    build(engine, "COPY f1 /", "gone")
    engine.remove_image("gone")
    assert use(engine)["Build Cache"].size > 50_000
    pruned = engine.prune(("cache",))
    assert (len(pruned.cache), pruned.size > 50_000) == (1, True)
    assert use(engine)["Build Cache"] == DiskUse(kind="Build Cache", total=1, active=1, size=0, reclaimable=0)
    assert engine.prune(("cache",), filters=["until=1h"], all=True) == Pruned()
    assert len(engine.prune(("cache",), all=True).cache) == 1
    assert names(engine) == ["kept:latest"]


def test_disk_use_counts_shared_layers_once(engine: Engine) -> None:
    """Two images with a layer in common take it once; what a container uses is not reclaimable."""
    first = image(engine, 1, "a", shared=1)
    second = image(engine, 2, "b", shared=1)
    container(engine, "a")
    found = use(engine)
    blobs = {
        part.digest: part.size
        for made in (first, second)
        for part in (made.descriptor, made.manifest.config, *made.layers)
    }
    assert (found["Images"].total, found["Images"].active, found["Images"].size) == (2, 1, sum(blobs.values()))
    own = second.descriptor.size + second.manifest.config.size + second.layers[1].size
    assert found["Images"].reclaimable == own
    assert (found["Containers"].total, found["Containers"].active) == (1, 0)
    assert (found["Unpacked Layers"].total, found["Unpacked Layers"].active) == (2, 2)


def test_a_cap_removes_what_can_be_made_again(engine: Engine, files: Path) -> None:
    """Unpacked layers go, then the oldest steps of builds; images and what containers stand on stay, and too many are told."""
    build(engine, "COPY f0 /", "kept")
    build(engine, "COPY f1 /", "gone")
    engine.remove_image("gone")
    used = image(engine, 5, "used")
    container(engine, "used")
    total = sum(row.size for row in engine.disk_use())
    assert engine.keep_within(2 * total) == Pruned()
    pruned = engine.keep_within(180_000)  # which the two unpacked layers that nobody stands on make room for
    assert (len(pruned.layers), pruned.cache) == (2, ())
    assert sorted(os.listdir(engine.store.root / "layers")) == sorted(chain.hex for chain in used.chain_ids)
    events: list[Event] = []
    pruned = engine.keep_within(1, on_event=events.append)
    assert len(pruned.cache) == 2
    (warned,) = events
    assert isinstance(warned, Warned)
    assert "cannot be made again" in warned.hint
    assert names(engine) == ["kept:latest", "used:latest"]
    assert engine.check().faults == ()


def test_the_cap_of_the_environment_holds_after_a_build(
    engine: Engine, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NBCONTAINERS_DISK_LIMIT is looked at when something has come into the store."""
    monkeypatch.setenv("NBCONTAINERS_DISK_LIMIT", "120k")
    build(engine, "COPY f0 /\nCOPY f1 /", "app")
    assert os.listdir(engine.store.root / "layers") == []
    monkeypatch.setenv("NBCONTAINERS_DISK_LIMIT", "lots")
    with pytest.raises(NBContainersError, match="not a size"):
        build(engine, "COPY f2 /", "other")


def test_spoilt_records_of_the_build_cache_are_told_and_forgotten(engine: Engine, files: Path) -> None:
    """A record that is torn, or whose blob is gone, is a fault that the repair takes away."""
    made = build(engine, "COPY f0 /\nCOPY f1 /", "app")
    cache = engine.store.root / "cache"
    records = sorted(path for path in cache.iterdir() if len(path.name) == 64)
    records[0].write_bytes(b"")
    named = json.loads(records[1].read_text())
    records[1].write_text(json.dumps(named | {"descriptor": named["descriptor"] | {"digest": f"sha256:{'0' * 64}"}}))
    assert {fault.kind for fault in engine.check().faults} == {"cache"}
    assert len(engine.check(repair=True).faults) == 2
    assert engine.check().faults == ()
    assert build(engine, "COPY f0 /\nCOPY f1 /", "app").layers == made.layers


def test_volumes_are_counted_and_pruned_when_asked(engine: Engine) -> None:
    """An anonymous volume that no container has goes only with ``volumes``; one with a name stays."""
    engine.create_volume("named")
    loose = engine.create_volume()
    Path(loose.path, "file").write_bytes(bytes(100_000))
    assert (use(engine)["Local Volumes"].total, use(engine)["Local Volumes"].reclaimable >= 100_000) == (2, True)
    assert engine.prune(all=True).volumes == ()
    pruned = engine.prune(("volumes",))
    assert (pruned.volumes, pruned.size >= 100_000) == ((loose.name,), True)
    assert [volume.name for volume in engine.volumes()] == ["named"]


def test_folders_that_steps_share_go_with_the_whole_cache(engine: Engine) -> None:
    """Cache mounts count as build cache; the whole of it takes them, but for those that a build uses."""
    with caches.used(engine.store.root, "pip", "shared", lambda folder: folder.mkdir()) as folder:
        (folder / "wheel").write_bytes(bytes(100_000))
        assert use(engine)["Build Cache"].size >= 100_000
        assert engine.prune(("cache",), all=True).cache == ()
    assert engine.prune(("cache",)).cache == ()
    pruned = engine.prune(("cache",), all=True)
    assert (len(pruned.cache), pruned.size >= 100_000) == (1, True)
    assert use(engine)["Build Cache"].size == 0


def test_what_went_while_a_check_looked_is_no_fault(engine: Engine) -> None:
    """A container that was listed and has been removed is not told of; a folder without a state that stays is."""
    image(engine, 1, "base")
    made = [container(engine, "base", name=name) for name in ("gone", "spoilt")]
    made[0].remove()
    (engine.store.root / "containers" / made[1].id / "state.json").unlink()
    (fault,) = upkeep.check(engine.store, made).faults
    assert (fault.kind, fault.name) == ("container", made[1].id)
