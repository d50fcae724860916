from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from nbcontainers.errors import Conflict, IntegrityError, InvalidReference, NotFound
from nbcontainers.linux.idmap import of_host
from nbcontainers.oci.descriptor import CONFIG, INDEX, MANIFEST, Descriptor, Digest, Platform
from nbcontainers.oci.image import Index, to_bytes
from nbcontainers.oci.reference import Reference
from nbcontainers.store.store import Store
from tests.store.random_images import add_layer, random_image, random_layer
from tests.store.validate import validate


def tag(store: Store, seed: int, *names: str, **options: int) -> Digest:
    """A random image with these names; its ID."""
    with store.lease():
        image = random_image(store, seed, **options)  # type: ignore[arg-type]
        for name in names:
            store.images.tag(image, Reference.parse(name))
    return image.id


def names(store: Store) -> list[str]:
    return [image.name for image in store.images.list()]


def test_an_image_is_found_by_every_name_it_has(store: Store) -> None:
    """Tag, familiar or whole, image ID, its beginning with and without algorithm, and digest all name the image."""
    image_id = tag(store, 1, "app:v1")
    image = store.images.resolve("app:v1")
    validate(store, image)
    assert image.id == image_id
    for name in (
        "docker.io/library/app:v1",
        image_id,
        image_id.hex,
        image_id.short,
        image_id.hex[:4],
        image_id[:20],
        image.descriptor.digest,
        f"app@{image.descriptor.digest}",
        f"app:v1@{image.descriptor.digest}",
    ):
        assert store.images.resolve(name).id == image_id, name
    assert image.name == "app:v1"
    assert store.images.resolve(image_id.short).name == image_id.short


def test_images_are_written_as_the_specification_has_them(store: Store) -> None:
    """Configuration and manifest are blobs of OCI media types, and the same image gives the same blobs."""
    image = random_image(store, 1)
    manifest = json.loads(store.content.read(image.descriptor.digest))
    assert manifest["mediaType"] == MANIFEST
    assert manifest["config"]["mediaType"] == CONFIG
    assert random_image(store, 1) == image


def test_an_image_needs_all_its_parts(store: Store) -> None:
    """An image of missing layers, or with more layers than diff IDs, is not made."""
    image = random_image(store, 1)
    missing = Descriptor(media_type=image.layers[0].media_type, digest=Digest.of(b"gone"), size=4)
    with pytest.raises(NotFound, match="no blob"):
        store.images.create(image.config, [image.layers[0], missing])
    with pytest.raises(IntegrityError, match="1 layers and 2 diff IDs"):
        store.images.create(image.config, image.layers[:1])
    short = Descriptor(media_type=image.layers[0].media_type, digest=image.layers[0].digest, size=1)
    with pytest.raises(IntegrityError, match="should have 1 bytes"):
        store.images.create(image.config, [short, image.layers[1]])
    store.images.collect()


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("pyton", "did you mean python"),
        ("python:3.21", "did you mean python:3.12"),
        ("pythn:3.12", "python:3.12"),
        ("python:none", "python:3.12"),
        ("qqqq", "nbcontainers images"),
    ],
)
def test_an_unknown_name_gets_a_suggestion(store: Store, asked: str, hint: str) -> None:
    """A name that is not there is answered with those that are spelled like it."""
    tag(store, 1, "python", "python:3.12")
    with pytest.raises(NotFound, match=f"no such image: {asked}") as caught:
        store.images.resolve(asked)
    assert hint in caught.value.hint


def test_names_that_cannot_be_are_told_apart_from_unknown_ones(store: Store) -> None:
    """A malformed name is an InvalidReference; an empty store says how to come to images."""
    with pytest.raises(InvalidReference):
        store.images.resolve("Upper")
    with pytest.raises(NotFound) as caught:
        store.images.resolve("app")
    assert "no images yet" in caught.value.hint
    with pytest.raises(NotFound):
        store.images.resolve("0" * 64)
    with pytest.raises(NotFound):
        store.images.resolve(f"app@sha256:{'0' * 64}")


def test_an_ambiguous_id_is_a_conflict(store: Store) -> None:
    """A beginning that several image IDs share is refused, and the hint shows them."""
    seen: dict[str, Digest] = {}
    layer, diff_id = add_layer(store, random_layer(0, 1))
    first = random_image(store, 1)
    for number in range(2000):
        data = json.loads(to_bytes(first.config)) | {
            "author": str(number),
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        }
        digest = Digest.of(to_bytes(type(first.config).from_json(data)))
        other = seen.setdefault(digest.hex[:4], digest)
        if other == digest:
            seen[digest.hex[:4] + "data"] = data
            continue
        pair = (seen[digest.hex[:4] + "data"], data)
        break
    ids = [store.images.create(type(first.config).from_json(data), [layer]).id for data in pair]
    with pytest.raises(Conflict, match="2 images have an ID that begins with") as caught:
        store.images.resolve(ids[0].hex[:4])
    assert all(image_id.short in caught.value.hint for image_id in ids)
    assert store.images.resolve(ids[0].hex).id == ids[0]


def test_images_are_listed_newest_first(store: Store) -> None:
    """One row for each tag by the image's time, then what has no tag; a moved tag leaves its old image there."""
    tag(store, 1, "old")
    tag(store, 3, "new", "newer-name")
    tag(store, 2, "middle")
    assert names(store) == ["new:latest", "newer-name:latest", "middle:latest", "old:latest"]
    old = store.images.resolve("old").id
    tag(store, 4, "old")
    assert names(store) == ["old:latest", "new:latest", "newer-name:latest", "middle:latest", old.short]


def test_history_comes_with_its_layers(store: Store) -> None:
    """Each line that made a layer is paired with it, from the base up."""
    image = random_image(store, 1)
    lines = store.images.history(image)
    assert [(line.created_by, layer) for line, layer in lines] == [
        ("COPY 0 /", image.layers[0]),
        ("COPY 1 /", image.layers[1]),
        ("CMD sh", None),
    ]


def test_of_an_index_the_image_for_this_machine_is_opened(store: Store) -> None:
    """A multi-platform index stands for the manifest of this platform, and for nothing where there is none."""
    image = random_image(store, 1)
    here = Descriptor(
        media_type=MANIFEST, digest=image.descriptor.digest, size=image.descriptor.size, platform=Platform.host()
    )
    alien = Descriptor(
        media_type=MANIFEST, digest=Digest.of(b"x"), size=1, platform=Platform(architecture="m68k", variant="v2")
    )
    both = store.content.write(to_bytes(Index(manifests=(alien, here))), INDEX)
    assert store.images.open(both).id == image.id
    assert store.images.resolve(f"app@{both.digest}").id == image.id
    only = store.content.write(to_bytes(Index(manifests=(alien,))), INDEX)
    with pytest.raises(NotFound) as caught:
        store.images.open(only)
    assert "linux/m68k/v2" in caught.value.hint


# Tags ----------------------------------------------------------------------------------------------------------------


def test_eight_processes_tag_at_once_and_lose_nothing(store: Store) -> None:
    """Eight processes that each make and tag images, while one collects and one tags over, keep every tag."""
    code = textwrap.dedent("""
        import sys, pathlib
        sys.path.insert(0, sys.argv[3])
        from nbcontainers.oci.reference import Reference
        from nbcontainers.linux.idmap import of_host
        from nbcontainers.store.store import Store
        from tests.store.random_images import random_image
        number = int(sys.argv[2])
        with Store(pathlib.Path(sys.argv[1]), identity=of_host()) as store:
            sys.stdin.read(1)
            for turn in range(5):
                with store.lease():
                    image = random_image(store, number * 10 + turn, shared=1)
                    for chain in image.chain_ids:
                        (store.root / "layers" / chain.hex / "fs" / "a" / "b").mkdir(parents=True, exist_ok=True)
                    store.images.tag(image, Reference.parse(f"app{number}:{turn}"))
                    store.images.tag(image, Reference.parse("everybody:latest"))
                store.images.collect()
    """)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(store.root), str(number), str(Path(__file__).parents[2])],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number in range(8)
    ]
    for process in processes:
        assert process.stdin
        process.stdin.write(b"x")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors.decode()
    wanted = {f"app{number}:{turn}" for number in range(8) for turn in range(5)} | {"everybody:latest"}
    assert set(names(store)) == wanted
    for image in store.images.list():
        validate(store, image)


def test_a_kill_at_any_instant_leaves_the_store_whole(store: Store) -> None:
    """kill -9 of a process that makes, tags and removes images, at any instant: every tag names a whole image, and the next
    collection leaves nothing else.
    """
    code = textwrap.dedent("""
        import sys, pathlib
        sys.path.insert(0, sys.argv[2])
        from nbcontainers.linux.idmap import of_host
        from nbcontainers.oci.reference import Reference
        from nbcontainers.store.store import Store
        from tests.store.random_images import random_image
        store = Store(pathlib.Path(sys.argv[1]), identity=of_host())
        print(flush=True)
        for turn in range(1000):
            with store.lease():
                store.images.tag(random_image(store, turn, layers=1), Reference.parse(f"app:{turn % 3}"))
            store.images.remove(f"app:{turn % 3}", force=True) if turn % 5 == 4 else store.images.collect()
    """)
    words = [sys.executable, "-c", code, str(store.root), str(Path(__file__).parents[2])]
    for delay in (0.001, 0.004, 0.01, 0.02, 0.033, 0.05):
        with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            time.sleep(delay)
            process.kill()
        store.images.collect()
        kept = {digest for image in store.images.list() for digest in (image.id, image.descriptor.digest)}
        layers = {layer.digest for image in store.images.list() for layer in image.layers}
        assert set(store.content) == kept | layers
        for image in store.images.list():
            validate(store, image)
        assert os.listdir(store.root / "ingest") == os.listdir(store.root / "leases") == []


def test_a_full_disk_tags_nothing(tmp_path: Path) -> None:
    """ENOSPC at any point of making and tagging an image is a HostError; no tag is half-made, and the space comes back."""
    code = textwrap.dedent("""
        import sys, pathlib
        from nbcontainers.errors import HostError
        from nbcontainers.linux.idmap import of_host
        from nbcontainers.oci.reference import Reference
        from nbcontainers.store.store import Store
        from tests.store.random_images import random_image
        from tests.store.validate import validate_store
        root = pathlib.Path(sys.argv[1])
        store = Store(root / "store", identity=of_host())
        with store.lease():
            store.images.tag(random_image(store, 0), Reference.parse("first"))
        ballast = root / "ballast"
        failures = 0
        for room in range(0, 140_000, 4096):
            with ballast.open("wb", buffering=0) as file:
                try:
                    while file.write(b"x" * 4096): pass
                except OSError:
                    pass
                file.truncate(max(file.tell() - room, 0))
            try:
                with store.lease():
                    store.images.tag(random_image(store, 1), Reference.parse("second"))
            except HostError as error:
                assert error.hint
                failures += 1
            else:
                break
            finally:
                ballast.unlink()
            assert [image.name for image in store.images.list() if image.reference] == ["first:latest"]
            store.images.collect()
            validate_store(store)
        assert failures > 3, failures
        assert [image.name for image in store.images.list()] == ["second:latest", "first:latest"]
        validate_store(store)
        print("whole")
    """)
    script = f'mount -t tmpfs -o size=600k none {tmp_path} && exec "$@"'
    mounted = ["unshare", "--map-root-user", "--user", "--mount", "sh", "-c", script, "sh"]
    if subprocess.run([*mounted, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs of 600 KiB (mount in a user namespace)")
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [*mounted, sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False, env=environ
    )
    assert done.stdout == "whole\n", done.stderr


def test_an_image_that_was_collected_before_it_was_tagged_is_not_tagged(store: Store) -> None:
    """Without a lease the collector may come first: then the tag is refused, and no tag names what is gone."""
    image = random_image(store, 1)
    store.images.collect()
    with pytest.raises(NotFound, match="no blob"):
        store.images.tag(image, Reference.parse("late"))
    assert store.images.list() == ()


def test_a_name_with_a_digest_is_no_tag(store: Store) -> None:
    """A digest names its image by itself: it cannot be given to another."""
    image = random_image(store, 1)
    with pytest.raises(InvalidReference, match="digest reference"):
        store.images.tag(image, Reference.parse(f"app@{image.descriptor.digest}"))


def test_the_longest_names_are_kept_apart(store: Store) -> None:
    """Names longer than a file name may be are tags like others."""
    long = "registry.example:5000/" + "/".join(["a" * 60] * 4)
    for number in range(2):
        tag(store, number, f"{long}:{'t' * 100}{number}")
    assert [image.config.config.labels["seed"] for image in map(store.images.resolve, names(store))] == ["1", "0"]


def test_a_damaged_tag_hides_no_other(store: Store) -> None:
    """A torn tag file is left out of the list, said when it is asked for, stops the collector, and is healed by a new tag."""
    tag(store, 1, "torn")
    tag(store, 2, "whole")
    path = store.images.tags.path(Reference.parse("torn"))
    path.write_bytes(b"")
    assert [image.name for image in store.images.list() if image.reference] == ["whole:latest"]
    with pytest.raises(IntegrityError, match="torn"):
        store.images.resolve("torn")
    with pytest.raises(IntegrityError, match="torn"):
        store.images.collect()
    tag(store, 1, "torn")
    assert names(store) == ["whole:latest", "torn:latest"]


# Removal -------------------------------------------------------------------------------------------------------------


def test_the_last_name_takes_the_image_along(store: Store) -> None:
    """A name of several is only untagged; with the last one the image goes, but what others share stays."""
    first = tag(store, 1, "a", "a:v2", shared=1)
    tag(store, 2, "b", shared=1)
    image = store.images.resolve("a")
    assert store.images.remove("a") == ("Untagged: a:latest",)
    assert store.images.remove("a:v2") == ("Untagged: a:v2", f"Deleted: {first}")
    assert not store.content.has(image.layers[1].digest)
    assert store.content.has(image.layers[0].digest)
    validate(store, store.images.resolve("b"))
    assert names(store) == ["b:latest"]


def test_unpacked_layers_go_with_their_image(store: Store) -> None:
    """Docker's second kind of line names the layers, topmost first; a layer that another image has stays unpacked."""
    tag(store, 1, "a", shared=1)
    tag(store, 2, "b", shared=1)
    image, other = store.images.resolve("a"), store.images.resolve("b")
    for chain in {*image.chain_ids, *other.chain_ids}:
        (store.root / "layers" / chain.hex / "fs" / "locked").mkdir(parents=True)
        (store.root / "layers" / chain.hex / "fs" / "locked").chmod(0)
    assert store.images.remove("a") == ("Untagged: a:latest", f"Deleted: {image.id}", f"Deleted: {image.chain_ids[1]}")
    assert sorted(os.listdir(store.root / "layers")) == sorted(chain.hex for chain in other.chain_ids)
    assert store.images.remove("b")[2:] == tuple(f"Deleted: {chain}" for chain in reversed(other.chain_ids))
    assert os.listdir(store.root / "layers") == []


def test_removing_an_image_leaves_one_without_a_name_whole(store: Store) -> None:
    """What an image without a name shares with the one that goes stays, until that goes, too."""
    with store.lease():
        unnamed, named = random_image(store, 1, shared=1), random_image(store, 2, shared=1)
        assert unnamed.layers[0] == named.layers[0]
        store.images.tag(named, Reference.parse("app"))
    assert f"Deleted: {named.id}" in store.images.remove("app")
    validate(store, store.images.resolve(unnamed.id.short))
    assert not store.content.has(named.layers[1].digest)
    store.images.remove(unnamed.id.short)
    assert not store.content.has(unnamed.layers[0].digest)


def test_by_its_id_an_image_goes_with_all_names_of_one_repository(store: Store) -> None:
    """An ID takes all names of one repository along; with names in several it is refused unless forced."""
    image_id = tag(store, 1, "a:1", "a:2")
    assert store.images.remove(image_id.short) == ("Untagged: a:1", "Untagged: a:2", f"Deleted: {image_id}")
    image_id = tag(store, 1, "a:1", "b:1")
    with pytest.raises(Conflict, match="referenced in multiple repositories") as caught:
        store.images.remove(image_id.short)
    assert "a:1, b:1" in caught.value.hint
    assert store.images.remove(image_id.short, force=True)[-1] == f"Deleted: {image_id}"
    assert list(store.content) == []


def test_an_image_in_use_is_kept(store: Store) -> None:
    """A container's image is not removed; forced, it loses its names and keeps what the container stands on."""
    image_id = tag(store, 1, "app")
    with pytest.raises(Conflict, match="must be forced"):
        store.images.remove("app", in_use=[image_id])
    assert store.images.remove("app", in_use=[image_id], force=True) == ("Untagged: app:latest",)
    with pytest.raises(Conflict, match="cannot be forced"):
        store.images.remove(image_id.short, in_use=[image_id], force=True)
    store.images.collect(keep=[image_id])
    validate(store, store.images.resolve(image_id.short))
    assert store.images.collect().images == (image_id,)
    assert list(store.content) == []


def test_an_image_without_names_is_removed_by_its_id(store: Store) -> None:
    """An image that lost its tag to another goes by ID."""
    image = random_image(store, 1)
    assert store.images.remove(image.id.short) == (f"Deleted: {image.id}",)
    assert list(store.content) == []


def test_removing_what_is_not_there_says_so(store: Store) -> None:
    """Names that are not there or cannot be are told as when they are looked up."""
    with pytest.raises(NotFound, match="no such image: nowhere"):
        store.images.remove("nowhere")
    with pytest.raises(InvalidReference):
        store.images.remove("Upper")


def test_a_damaged_image_can_be_removed(store: Store) -> None:
    """An image whose manifest is damaged stops the collector, which cannot tell what it needs, until it is untagged."""
    tag(store, 1, "broken", shared=1)
    tag(store, 2, "whole", shared=1)
    path = store.content.path(store.images.resolve("broken").descriptor.digest)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    with pytest.raises(IntegrityError, match=path.name):
        store.images.collect()
    assert store.images.remove("whole") == ("Untagged: whole:latest",)
    assert store.images.remove("broken") == ("Untagged: broken:latest",)
    store.images.collect()
    assert list(store.content) == []


# Collection ----------------------------------------------------------------------------------------------------------


def test_the_collector_takes_what_has_no_name(store: Store) -> None:
    """Images without a tag, stray blobs and layers go; what tags name stays, whole."""
    tag(store, 1, "kept", shared=1)
    dangling = random_image(store, 2, shared=1)
    stray = store.content.write(b"stray", "text/plain")
    (store.root / "layers" / dangling.chain_ids[1].hex / "fs").mkdir(parents=True)
    collected = store.images.collect()
    assert collected.images == (dangling.id,)
    assert set(collected.blobs) == {
        dangling.id,
        dangling.descriptor.digest,
        dangling.layers[1].digest,
        stray.digest,
    }
    assert collected.layers == (dangling.chain_ids[1],)
    assert collected.size > 0
    assert names(store) == ["kept:latest"]
    assert store.images.collect().blobs == ()


def test_a_lease_keeps_work_in_progress(store: Store) -> None:
    """What is written under a lease, and what it names, stays until the lease ends, whoever collects."""
    with Store(store.root, identity=of_host()) as other:
        with store.lease():
            image = random_image(store, 1)
            assert other.images.collect().blobs == ()
            validate(store, image)
        untagged = random_image(store, 2)
        with other.lease() as lease:
            lease.add(untagged.descriptor.digest)
            store.images.collect()
            validate(store, untagged)
        assert len(store.images.collect().blobs) == 4


def test_the_lease_of_a_dead_process_keeps_nothing(store: Store) -> None:
    """kill -9 of a process at work: what it made and its lease are gone after the next collection."""
    code = textwrap.dedent("""
        import os, sys, pathlib
        from nbcontainers.linux.idmap import of_host
        from nbcontainers.store.store import Store
        store = Store(pathlib.Path(sys.argv[1]), identity=of_host())
        with store.lease():
            store.content.write(b"half-made", "text/plain")
            os.kill(os.getpid(), 9)
    """)
    subprocess.run([sys.executable, "-c", code, str(store.root)], check=False)
    assert len(list(store.content)) == 1
    assert len(os.listdir(store.root / "leases")) == 1
    store.images.collect()
    assert (list(store.content), os.listdir(store.root / "leases")) == ([], [])


def test_what_the_build_cache_needs_can_be_kept(store: Store) -> None:
    """Blobs and chain IDs that the caller names stay, with or without an image."""
    image_id = tag(store, 1, "app")
    image = store.images.resolve(image_id)
    (store.root / "layers" / image.chain_ids[0].hex).mkdir()
    keep = [image.layers[0].digest, image.chain_ids[0]]
    assert store.images.remove("app", keep=keep) == ("Untagged: app:latest", f"Deleted: {image_id}")
    assert store.images.collect(keep=keep).blobs == ()
    assert list(store.content) == [image.layers[0].digest]
    assert store.images.collect().layers == (image.chain_ids[0],)


def test_snapshots_that_nobody_has_go(store: Store) -> None:
    """A build that was killed leaves a snapshot, which the next collection removes; a container's stays, and so do all at work."""
    for key in ("container", "abandoned-step"):
        (store.root / "snapshots" / key / "work" / "work").mkdir(parents=True)
        (store.root / "snapshots" / key / "work" / "work").chmod(0)  # as overlay leaves it
    (store.root / "containers" / "container").mkdir()
    with store.lease():
        store.images.collect()
        assert sorted(os.listdir(store.root / "snapshots")) == ["abandoned-step", "container"]
    store.images.collect()
    assert os.listdir(store.root / "snapshots") == ["container"]


def test_a_tree_that_is_being_made_stays(store: Store) -> None:
    """A folder in ROOT/ingest, and a layer, that its maker keeps locked is not collected; once the maker is gone it is."""
    tree, chain = store.root / "ingest" / "tree", Digest.of(b"chain")
    layer, lock = store.root / "layers" / chain.hex, store.root / "ingest" / f"{chain.hex}.lock"
    (tree / "fs" / "deep").mkdir(parents=True)
    layer.mkdir()
    with lock.open("w") as made:
        folder = os.open(tree, os.O_RDONLY)
        fcntl.flock(folder, fcntl.LOCK_EX)
        fcntl.flock(made, fcntl.LOCK_EX)
        assert store.images.collect().layers == ()
        assert tree.is_dir()
        os.close(folder)
    assert store.images.collect().layers == (chain,)
    assert not tree.exists()
    assert not lock.exists()
