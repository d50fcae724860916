"""One suite for both ways of making snapshots: what it promises must not depend on the host."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from nbcontainers.errors import Conflict, IntegrityError, NotFound
from nbcontainers.events import Event, Warned
from nbcontainers.linux import recorded
from nbcontainers.oci.descriptor import Digest
from nbcontainers.oci.image import Image
from nbcontainers.oci.runtime import Mount
from nbcontainers.store import compression, filling, garbage, snapshots, unpacked
from nbcontainers.store.entries import OPAQUE
from nbcontainers.store.snapshots import CopySnapshots, OverlaySnapshots, Snapshotter
from nbcontainers.store.store import Store
from nbcontainers.store.worker import Worker
from tests.store.trees import archive, hard, here, link, make_image, member, seen

BASE = archive(
    member("etc"),
    member("etc/passwd", b"root:x:0:0::/root:/bin/sh\nann:x:1234:77::/home/ann:/bin/sh\n"),
    member("etc/group", b"root:x:0:\nstaff:x:50:ann\n"),
    member("etc/motd", b"hello\n"),
    member("usr"),
    member("usr/bin"),
    member("usr/bin/sh", b"#!", mode=0o755),
    link("bin", "usr/bin"),
    hard("usr/bin/dash", "usr/bin/sh"),
    member("var"),
    member("var/cache"),
    member("var/cache/one", b"1"),
    member("var/cache/two", b"22"),
)
SECOND = archive(
    member("etc"),
    member("etc/.wh.motd", b""),
    member("etc/hostname", b"box\n"),
    member("var"),
    member("var/cache"),
    member("var/cache/.wh..wh..opq", b""),
    member("var/cache/three", b"333"),
)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[Store, Worker]]:
    with Store(tmp_path / "store", identity=here()) as store, Worker(store.root, here()) as worker:
        yield store, worker


@pytest.fixture(params=[OverlaySnapshots, CopySnapshots], ids=["overlay", "copy"])
def shots(request: pytest.FixtureRequest, opened: tuple[Store, Worker]) -> Snapshotter:
    store, worker = opened
    if request.param is OverlaySnapshots and (why := worker.probe_overlay(store.root)):
        pytest.skip(f"no overlay here: {why}")
    made: Snapshotter = request.param(store.root, store.content, worker, store.stock, store.rubbish)
    return made


@pytest.fixture
def image(opened: tuple[Store, Worker], shots: Snapshotter) -> Image:
    found = make_image(opened[0], [BASE, SECOND])
    shots.unpack(found)
    return found


def tree(worker: Worker, shots: Snapshotter, key: str) -> dict[str, tarfile.TarInfo]:
    """A snapshot's tree as it is seen, by name."""
    return mounted(worker, shots.mounts(key))


def mounted(worker: Worker, mounts: Sequence[Mount]) -> dict[str, tarfile.TarInfo]:
    """The tree that mounts show, by name."""
    with io.BytesIO() as out, open(os.memfd_create("tree"), "w+b") as file:
        worker.export(mounts, file.fileno())
        file.seek(0)
        out.write(file.read())
        out.seek(0)
        with tarfile.open(fileobj=out) as archived:
            return {entry.name: entry for entry in archived}


def put(worker: Worker, shots: Snapshotter, key: str, path: str, data: bytes, tmp_path: Path) -> None:
    source = tmp_path / "put"
    source.write_bytes(data)
    worker.do(filling.copy(shots.mounts(key), [(str(source), "put")], path, directory=False))


def test_layers_are_seen_as_one_tree(opened: tuple[Store, Worker], shots: Snapshotter, image: Image) -> None:
    """What an upper layer removed is gone, what it replaced is new, a folder that it made anew has only the new."""
    shots.prepare("one", image.chain_ids)
    found = tree(opened[1], shots, "one")
    assert sorted(name for name in found if name.startswith(("etc", "var"))) == [
        "etc",
        "etc/group",
        "etc/hostname",
        "etc/passwd",
        "var",
        "var/cache",
        "var/cache/three",
    ]
    assert found["bin"].linkname == "usr/bin"
    shots.remove("one")
    assert not (opened[0].root / "snapshots" / "one").exists()


def test_layers_that_are_only_read_lie_beside_a_snapshot(
    opened: tuple[Store, Worker], shots: Snapshotter, image: Image
) -> None:
    """All of them, the lowest, or none: each is a tree of its own, which goes with the snapshot; with a layer too few it is refused."""
    store, worker = opened
    shots.prepare("one", image.chain_ids)
    for name, layers in (("all", image.chain_ids), ("lowest", image.chain_ids[:1]), ("none", ())):
        found = mounted(worker, [shots.beside("one", name, layers)])
        assert bool(found) == bool(layers)
        assert ("etc/passwd" in found) == bool(layers)
        assert ("var/cache/three" in found) == (name == "all")
        assert ("etc/motd" in found) == (name == "lowest")
    with pytest.raises(NotFound, match="not unpacked"):
        shots.beside("one", "missing", [Digest("sha256:" + "0" * 64)])
    assert sorted(os.listdir(store.root / "snapshots")) == ["one"]
    shots.remove("one")
    assert os.listdir(store.root / "snapshots") == []


def test_a_snapshot_without_parents_is_an_empty_tree(opened: tuple[Store, Worker], shots: Snapshotter) -> None:
    """FROM scratch: nothing is there, and what is put there is a layer of its own."""
    store, worker = opened
    mounts = shots.prepare("empty", ())
    assert [mount.destination for mount in mounts] == ["/"]
    assert tree(worker, shots, "empty") == {}
    layer = shots.commit("empty")
    assert layer.chain_id == layer.diff_id
    assert store.content.has(layer.descriptor.digest)


def test_a_layer_says_that_it_records_nothing(
    opened: tuple[Store, Worker], shots: Snapshotter, image: Image, tmp_path: Path
) -> None:
    """A layer in which all is root's is known as such, whether it is committed or unpacked; one with other owners is not."""
    store, worker = opened
    source = tmp_path / "file"
    source.write_text("x")
    for chown, plain in (None, True), ("5:6", False):
        mounts = shots.prepare("one", image.chain_ids)
        call = filling.copy(mounts, [(str(source), "file")], "/new", directory=False, chown=chown)
        layer = shots.commit("one", first=[call])
        place = store.root / "layers" / layer.chain_id.hex
        assert (place / recorded.PLAIN).exists() is plain
        worker.remove(place)
        worker.unpack(
            store.content.path(layer.descriptor.digest), layer.diff_id, layer.chain_id, parents=image.chain_ids
        )
        assert (place / recorded.PLAIN).exists() is plain


def test_what_need_not_last_is_written_to_again_and_again(
    opened: tuple[Store, Worker], shots: Snapshotter, image: Image, tmp_path: Path
) -> None:
    """A volatile snapshot says so in its mounts, takes several calls one after another, and becomes a layer as any other."""
    store, worker = opened
    mounts = shots.prepare("one", image.chain_ids, volatile=True)
    assert ("volatile" in mounts[0].options) is (shots.name == "overlay")
    source = tmp_path / "file"
    source.write_text("x")
    for name in ("/a", "/b"):
        worker.do(filling.copy(mounts, [(str(source), "file")], name, directory=False))
    same = filling.copy_from(mounts, mounts, ["/a"], "/c", directory=False)
    missing = filling.copy_from(mounts, mounts, ["/no*"], "/d", directory=False, may_miss="nothing there")
    told: list[Event] = []
    layer = shots.commit("one", first=[same, missing], on_event=told.append)
    assert sorted(unpacked.index(store.root, layer.chain_id).paths) == ["/a", "/b", "/c"]
    assert [event.message for event in told if isinstance(event, Warned)] == ["nothing there"]


def test_places_that_are_always_mounted_on_are_there_already(
    opened: tuple[Store, Worker], shots: Snapshotter, tmp_path: Path
) -> None:
    """A container's overlay has them whatever its image has, for anybody to look into, and so has its export; a copy gets them from who
    mounts. No change, and in a store from before there were so many the rest is made.
    """
    image = make_image(opened[0], [archive(member("bin"), member("bin/sh", b"#!", mode=0o755))])
    shots.unpack(image)
    before = os.umask(0o077)
    try:
        shots.prepare("box", image.chain_ids)
        shots.mounts("box", footed=True)
        with contextlib.suppress(FileNotFoundError):
            (opened[0].root / "underlay/etc/mtab").unlink()
        mounts = shots.mounts("box", footed=True)
    finally:
        os.umask(before)
    with (tmp_path / "tree.tar").open("wb") as file:
        opened[1].export(mounts, file.fileno())
    with tarfile.open(tmp_path / "tree.tar") as tar:
        found = {entry.name.rstrip("/"): entry.linkname or entry.mode for entry in tar}
    folders = ("dev", "dev/pts", "dev/shm", "proc", "sys", "etc")
    files = ("dev/console", "etc/hosts", "etc/hostname", "etc/resolv.conf")
    placed: dict[str, int | str] = dict.fromkeys(folders, 0o755) | dict.fromkeys(files, 0o644)
    placed["etc/mtab"] = "/proc/mounts"
    own = {"bin", "bin/sh"}
    assert {name: what for name, what in found.items() if name not in own} == (
        placed if shots.name == "overlay" else {}
    )
    assert shots.changes("box") == ()


def test_a_key_is_taken_once(shots: Snapshotter, image: Image) -> None:
    """Two snapshots never share a folder; the taken one is as it was."""
    first = shots.prepare("one", image.chain_ids)
    with pytest.raises(Conflict):
        shots.prepare("one", image.chain_ids)
    assert shots.mounts("one") == first
    with pytest.raises(NotFound):
        shots.mounts("two")
    shots.remove("two")


def test_only_unpacked_layers_are_stood_upon(shots: Snapshotter) -> None:
    """A snapshot on a layer that is not there is refused, and leaves its key free."""
    with pytest.raises(NotFound):
        shots.prepare("one", [Digest.of(b"nothing")])
    shots.prepare("one", ())


def test_changes_are_told_and_become_a_layer(
    opened: tuple[Store, Worker], shots: Snapshotter, image: Image, tmp_path: Path
) -> None:
    """What is changed is listed, committed, and seen again on top of the new layer; the snapshot is gone."""
    store, worker = opened
    shots.prepare("one", image.chain_ids)
    put(worker, shots, "one", "/etc/hostname", b"other\n", tmp_path)
    put(worker, shots, "one", "/opt/new/file", b"new", tmp_path)
    assert [(change.kind, change.path, change.size) for change in shots.changes("one")] == [
        ("modified", "/etc", 0),
        ("modified", "/etc/hostname", 6),
        ("added", "/opt", 0),
        ("added", "/opt/new", 0),
        ("added", "/opt/new/file", 3),
    ]
    layer = shots.commit("one")
    assert layer.size == 9
    with pytest.raises(NotFound):
        shots.mounts("one")
    with store.content.open(layer.descriptor.digest) as blob:
        data = compression.reader(blob).read()
    assert Digest.of(data) == layer.diff_id
    with tarfile.open(fileobj=io.BytesIO(data)) as archived:
        assert archived.getnames() == ["etc", "etc/hostname", "opt", "opt/new", "opt/new/file"]
    index = unpacked.index(store.root, layer.chain_id)
    assert index.paths == ["/etc", "/etc/hostname", "/opt", "/opt/new", "/opt/new/file"]
    assert index[4].digest == Digest.of(b"new")
    shots.prepare("two", (*image.chain_ids, layer.chain_id))
    assert worker.read(shots.mounts("two"), "/etc/hostname") == b"other\n"
    assert worker.read(shots.mounts("two"), "/opt/new/file") == b"new"
    assert shots.changes("two") == ()


def test_what_is_committed_is_what_its_blob_unpacks_to(
    opened: tuple[Store, Worker], shots: Snapshotter, image: Image, tmp_path: Path
) -> None:
    """The unpacked layer that a commit leaves is the same tree as the one made from its blob elsewhere."""
    store, worker = opened
    shots.prepare("one", image.chain_ids)
    put(worker, shots, "one", "/etc/hostname", b"other\n", tmp_path)
    put(worker, shots, "one", "/opt/file", b"new", tmp_path)
    layer = shots.commit("one", created=1_500_000_000)
    folder = store.root / "layers" / layer.chain_id.hex
    before, index = seen(folder / "fs"), (folder / "index").read_bytes()
    worker.remove(folder)
    blob = store.content.path(layer.descriptor.digest)
    worker.unpack(blob, layer.diff_id, layer.chain_id, parents=image.chain_ids)
    after = seen(folder / "fs")
    assert {name: row[:5] for name, row in after.items()} == {name: row[:5] for name, row in before.items()}
    assert after["opt/file"][2] == 1_500_000_000 * 10**9
    assert (folder / "index").read_bytes() == index


def test_a_new_layer_is_kept_until_a_lease_names_it(
    opened: tuple[Store, Worker], shots: Snapshotter, image: Image, tmp_path: Path
) -> None:
    """A collector that comes the moment after it was made takes the others, and not this one."""
    store, worker = opened
    shots.prepare("work", image.chain_ids)
    put(worker, shots, "work", "new", b"1", tmp_path)
    with store.lease():
        layer = shots.commit("work", adopt=lambda *blob: garbage.drop_layers(store.root, store.layers()))
        assert store.layers() == (layer.chain_id,)
        assert list((store.root / "ingest").glob("*.lock")) == []
    assert not garbage.drop_layers(store.root, ()).layers


def test_a_commit_may_leave_the_snapshot(
    opened: tuple[Store, Worker], shots: Snapshotter, image: Image, tmp_path: Path
) -> None:
    """A container goes on after it was committed, and its later changes are not in the layer."""
    store, worker = opened
    shots.prepare("one", image.chain_ids)
    put(worker, shots, "one", "/etc/hostname", b"other\n", tmp_path)
    layer = shots.commit("one", keep=True, created=10)
    put(worker, shots, "one", "/etc/hostname", b"later\n", tmp_path)
    assert worker.read(shots.mounts("one"), "/etc/hostname") == b"later\n"
    assert tree(worker, shots, "one")["etc/hostname"].mtime > 10
    worker.unpack(store.content.path(layer.descriptor.digest), layer.diff_id, layer.chain_id, parents=image.chain_ids)
    shots.prepare("two", (*image.chain_ids, layer.chain_id))
    assert worker.read(shots.mounts("two"), "/etc/hostname") == b"other\n"


def test_the_same_changes_are_the_same_layer(
    opened: tuple[Store, Worker], shots: Snapshotter, image: Image, tmp_path: Path
) -> None:
    """Two snapshots with the same content commit to the same digests; the second finds the layer there."""
    layers = []
    for key in ("one", "two"):
        shots.prepare(key, image.chain_ids)
        put(opened[1], shots, key, "/opt/file", b"same", tmp_path)
        layers.append(shots.commit(key, created=1))
    assert layers[0] == layers[1]


def test_an_image_that_lies_is_not_unpacked(opened: tuple[Store, Worker], shots: Snapshotter) -> None:
    """A layer whose bytes are not what the configuration says is refused, and nothing of it is left."""
    store, worker = opened
    image = make_image(store, [BASE])
    with pytest.raises(IntegrityError) as raised:
        worker.unpack(store.content.path(image.layers[0].digest), Digest.of(b"other"), Digest.of(b"other"))
    assert raised.value.actual == image.config.diff_ids[0]
    assert os.listdir(store.root / "layers") == []
    assert os.listdir(store.root / "ingest") == []


def test_a_layer_of_before_the_last_start_is_unpacked_again(
    opened: tuple[Store, Worker], shots: Snapshotter, image: Image
) -> None:
    """Files that may have been lost with the machine's memory are not trusted, unless they were brought to the disk."""
    folder = opened[0].root / "layers" / image.chain_ids[0].hex
    (folder / unpacked.SETTLED).unlink(missing_ok=True)
    meta = json.loads((folder / "meta").read_text())
    (folder / "meta").write_text(json.dumps({**meta, "boot": "another"}))
    (folder / "fs/usr/bin/sh").write_bytes(b"")
    with pytest.raises(NotFound):
        shots.prepare("one", image.chain_ids)
    shots.unpack(image)
    assert (folder / "fs/usr/bin/sh").read_bytes() == b"#!"
    shots.prepare("one", image.chain_ids)


def test_many_layers_are_one_tree(opened: tuple[Store, Worker], shots: Snapshotter, tmp_path: Path) -> None:
    """More layers than mount(2) has room for."""
    store, worker = opened
    image = make_image(store, [archive(member(f"f{number}", b"x")) for number in range(60)])
    shots.unpack(image)
    shots.prepare("one", image.chain_ids)
    assert len(tree(worker, shots, "one")) == 60
    put(worker, shots, "one", "/f3", b"y", tmp_path)
    assert [change.path for change in shots.changes("one")] == ["/f3"]


def test_copies_of_a_stage_keep_what_files_are(
    opened: tuple[Store, Worker], shots: Snapshotter, image: Image, tmp_path: Path
) -> None:
    """COPY --from takes contents of folders, files through links, patterns, owners, times and hard links."""
    _, worker = opened
    shots.prepare("from", image.chain_ids)
    shots.prepare("to", ())
    source, target = shots.mounts("from"), shots.mounts("to")
    worker.do(filling.copy_from(target, source, ["/bin"], "/programs", directory=False))
    worker.do(filling.copy_from(target, source, ["/etc/h*", "/etc/pass??"], "/words/", directory=True))
    worker.do(filling.copy_from(target, source, ["/etc/hostname"], "/name", directory=False, chown="1:2", chmod="600"))
    worker.do(filling.copy_from(target, source, ["/etc/hostname"], "/words", directory=False))
    found = tree(worker, shots, "to")
    assert sorted(found) == [
        "name",
        "programs",
        "programs/dash",
        "programs/sh",
        "words",
        "words/hostname",
        "words/passwd",
    ]
    assert found["programs/sh"].linkname == "programs/dash"
    assert found["programs/dash"].mode == 0o755
    assert found["programs/dash"].mtime == 1_000_000_000
    assert (found["name"].uid, found["name"].gid, found["name"].mode) == (1, 2, 0o600)
    with pytest.raises(NotFound):
        worker.do(filling.copy_from(target, source, ["/etc/nothing*"], "/x", directory=False))


def test_owners_are_looked_up_in_the_tree(opened: tuple[Store, Worker], shots: Snapshotter, image: Image) -> None:
    """Names mean what the image's own files say; a user's group is its own, a number's the same number."""
    worker = opened[1]
    mounts = shots.prepare("one", image.chain_ids)
    words = {"ann": (1234, 77), "ann:staff": (1234, 50), "5": (5, 5), "5:staff": (5, 50), "0:7": (0, 7)}
    assert {word: worker.lookup(mounts, word) for word in words} == words
    for word in ("bob", "ann:bobs"):
        with pytest.raises(NotFound):
            worker.lookup(mounts, word)


def test_an_interrupted_call_leaves_scratch_only(
    opened: tuple[Store, Worker], shots: Snapshotter, tmp_path: Path
) -> None:
    """An observer that raises ends the work; the layer is not there, and the next call is served."""
    store, _ = opened
    image = make_image(store, [archive(member("big", os.urandom(8 << 20)))])

    def stop(event: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shots.unpack(image, stop)
    assert os.listdir(store.root / "layers") == []
    shots.unpack(image)
    assert len(os.listdir(store.root / "layers")) == 1


def test_eight_processes_unpack_an_image_once(opened: tuple[Store, Worker], image: Image) -> None:
    """All of them have it afterwards, whole, and nothing is left of those that came second."""
    store, worker = opened
    for chain in image.chain_ids:
        worker.remove(store.root / "layers" / chain.hex)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from nbcontainers.store.snapshots import OverlaySnapshots\n"
        "from nbcontainers.store.store import Store\n"
        "from nbcontainers.store.worker import Worker\n"
        "from tests.store.trees import here\n"
        "with Store(Path(sys.argv[1]), identity=here()) as store, Worker(store.root, here()) as worker:\n"
        "    OverlaySnapshots(store.root, store.content, worker, store.stock, store.rubbish).unpack(store.images.resolve(sys.argv[2]))\n"
    )
    words = [sys.executable, "-c", code, str(store.root), image.id]
    root = Path(__file__).parents[2]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))}
    started = [subprocess.Popen(words, cwd=root, env=environ) for _ in range(8)]
    assert [process.wait(600) for process in started] == [0] * 8
    assert all(unpacked.usable(store.root / "layers" / chain.hex) for chain in image.chain_ids)
    assert os.listdir(store.root / "ingest") == []


def test_the_way_is_chosen_by_trying(opened: tuple[Store, Worker]) -> None:
    """Where an overlay can be, it is used; the answer is remembered, and a new kernel is asked again."""
    store, worker = opened
    first = snapshots.choose(store.root, store.content, worker, store.stock, store.rubbish)
    assert (first.name == "overlay") == (not worker.probe_overlay(store.root))
    told = store.root / "overlay.json"
    told.write_text(json.dumps({**json.loads(told.read_text()), "why": "because"}))
    assert snapshots.choose(store.root, store.content, worker, store.stock, store.rubbish).name == "copy"
    told.write_text(json.dumps({"about": ["another kernel"], "why": "because"}))
    assert snapshots.choose(store.root, store.content, worker, store.stock, store.rubbish).name == first.name


def test_errors_of_the_kernel_come_back(opened: tuple[Store, Worker]) -> None:
    """Errors of the kernel come back as what they are."""
    worker = opened[1]
    with pytest.raises(OSError, match="No such file") as raised:
        worker.unpack(Path("/nothing"), Digest.of(b""), Digest.of(b""))
    assert raised.value.errno == errno.ENOENT


def test_index_names_removals(opened: tuple[Store, Worker], shots: Snapshotter, image: Image) -> None:
    """Removed paths and folders made anew are rows of kind whiteout."""
    index = unpacked.index(opened[0].root, image.chain_ids[1])
    assert [entry.path for entry in index if entry.kind == "whiteout"] == ["/etc/motd", f"/var/cache/{OPAQUE}"]
