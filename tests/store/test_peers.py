"""The other tools read what we write, and we read what they write: whole trees are compared, with all that a layer keeps.

Run as root, for only root sees devices, other owners and file capabilities as they are.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nbcontainers.linux.idmap import of_host
from nbcontainers.oci.descriptor import Digest, Platform
from nbcontainers.oci.image import History, Image
from nbcontainers.oci.reference import Reference
from nbcontainers.store import variants
from nbcontainers.store.archive import Form, load, save
from nbcontainers.store.snapshots import CopySnapshots
from nbcontainers.store.store import Store
from tests.benchmarks.docker import Docker
from tests.benchmarks.peers import Podman
from tests.benchmarks.spawn import Unavailable
from tests.store.random_images import several
from tests.store.trees import archive, link, make_image, member, seen
from tests.store.validate import validate

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="other owners, devices and capabilities are root's"),
    pytest.mark.slow,
]
NAME = "docker.io/library/rich:v1"
# security.capability of version 2: cap_net_bind_service, permitted and effective; see capabilities(7).
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
FRACTION = 1_234_567_890.1234567
Seen = dict[str, tuple[object, ...]]


def rich_layers() -> list[bytes]:
    """Two layers with everything that a layer may hold, the second taking away and covering some of the first."""
    capability = CAPABILITY.decode("utf-8", "surrogateescape")
    first = archive(
        member("bin", mode=0o755),
        member("bin/su", b"set-id", mode=0o4755, uid=0, gid=42),
        member("bin/ping", b"capable", mode=0o755, pax_headers={"SCHILY.xattr.security.capability": capability}),
        member("home", mode=0o1777),
        member("home/user", mode=0o700, uid=1000, gid=1001),
        member("home/user/file", b"content", mode=0o640, uid=1000, gid=1001, mtime=FRACTION),
        member("home/user/marked", b"x", pax_headers={"SCHILY.xattr.user.colour": "red"}),
        member("empty", b"", mode=0o000),
        link("home/absolute", "/bin/su", uid=7, gid=8),
        link("home/dangling", "../nowhere"),
        member(
            "home/same", type=tarfile.LNKTYPE, linkname="home/user/file", mode=0o640, uid=1000, gid=1001, mtime=FRACTION
        ),
        member("dev", mode=0o755),
        member("dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        member("dev/loop", type=tarfile.BLKTYPE, devmajor=7, devminor=0, mode=0o660, gid=6),
        member("pipe", type=tarfile.FIFOTYPE, mode=0o600),
        member("long", mode=0o755),
        member("long/" + "n" * 200, b"long name"),
        member("sparse", bytes(100_000) + b"end"),
        member("gone", mode=0o755),
        member("gone/inside", b"x"),
        member("covered", mode=0o755),
        member("covered/old", b"x"),
        member("changed", b"before"),
        member("ünïcödé \u4e16", b"name"),
    )
    second = archive(
        member(".wh.gone", b""),
        member("covered", mode=0o750, uid=5),
        member("covered/.wh..wh..opq", b""),
        member("covered/new", b"y"),
        member("changed", b"after", mode=0o600, uid=3, gid=4, mtime=1_500_000_000.5),
    )
    return [first, second]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", identity=of_host()) as opened:
        yield opened


@pytest.fixture
def image(store: Store) -> Image:
    with store.lease():
        made = make_image(store, rich_layers())
        lines = (History(created_by="first"), History(created_by="second"))
        made = store.images.create(replace(made.config, history=lines), made.layers)
        return store.images.tag(made, Reference.parse(NAME))


@pytest.fixture
def written(store: Store, image: Image, tmp_path: Path) -> Path:
    """Our archive."""
    path = tmp_path / "ours.tar"
    with path.open("wb") as stream:
        save(store, [image], stream)
    return path


def formed(store: Store, image: Image, tmp_path: Path, form: Form) -> Path:
    """Our archive of one format."""
    path = tmp_path / f"{form}.tar"
    with path.open("wb") as stream:
        save(store, [image], stream, form=form)
    return path


def tree(store: Store, image: Image, key: str = "tree") -> Seen:
    """All of an image, as we unpack it."""
    store.snapshots.unpack(image)
    copies = CopySnapshots(store.root, store.content, store.worker, store.stock, store.rubbish)
    copies.prepare(key, image.chain_ids)
    found = seen(store.root / "snapshots" / key / "upper")
    copies.remove(key)
    return found


def same(ours: Seen, theirs: Seen, *, without: frozenset[str] = frozenset()) -> None:
    """Fail with what differs; the root belongs to whoever unpacked it."""
    names = (set(ours) | set(theirs)) - {"."} - without
    differ = [
        f"{name}: {ours.get(name)} {theirs.get(name)}" for name in sorted(names) if ours.get(name) != theirs.get(name)
    ]
    assert not differ, "\n".join(differ)


def test_the_tree_is_rich(store: Store, image: Image) -> None:
    """What the comparisons below compare has in it what they are about."""
    found = tree(store, image)
    assert found["bin/ping"][5] == (("security.capability", CAPABILITY),)
    assert found["bin/su"][0] == oct(0o104755)
    assert found["home/same"][4] == found["home/user/file"][4]
    assert found["home/user/file"][2] == 1_234_567_890_123_456_700
    assert found["dev/null"][3] == os.makedev(1, 3)
    assert "gone" not in found
    assert "covered/old" not in found
    assert found["covered/new"][3] == b"y"


def run(*words: str, **options: object) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [program for program in programs if not shutil.which(program)]
    return pytest.mark.skipif(bool(missing), reason=f"{' and '.join(missing)} not installed")


def taken(store: Store, source: Path, tmp_path: Path) -> Seen:
    """What another's archive or layout is, once it is loaded into a store that knows nothing of it."""
    with Store(tmp_path / "fresh", identity=store.identity) as fresh:
        if source.is_dir():
            (loaded,) = load(fresh, source)
        else:
            with source.open("rb") as stream:
                (loaded,) = load(fresh, stream)
        validate(fresh, loaded)
        return tree(fresh, loaded)


@needs("skopeo", "umoci")
@pytest.mark.peer("umoci")
@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
def test_skopeo_and_umoci_unpack_ours(
    store: Store, image: Image, written: Path, tmp_path: Path, transport: str
) -> None:
    """skopeo takes our archive as either kind, and umoci makes of it the tree that we make."""
    layout = f"{tmp_path / 'layout'}:v1"
    run("skopeo", "--insecure-policy", "copy", f"{transport}:{written}:{NAME}", f"oci:{layout}")
    run("umoci", "unpack", "--image", layout, str(tmp_path / "bundle"))
    same(tree(store, image), seen(tmp_path / "bundle" / "rootfs"))


@needs("skopeo", "umoci")
@pytest.mark.peer("umoci")
@pytest.mark.parametrize(("form", "transport"), [("oci", "oci-archive"), ("docker", "docker-archive")])
def test_skopeo_and_umoci_unpack_ours_of_one_format(
    store: Store, image: Image, tmp_path: Path, form: Form, transport: str
) -> None:
    """An archive that is of one format alone is read as that format."""
    layout = f"{tmp_path / 'layout'}:v1"
    run(
        "skopeo",
        "--insecure-policy",
        "copy",
        f"{transport}:{formed(store, image, tmp_path, form)}:{NAME}",
        f"oci:{layout}",
    )
    run("umoci", "unpack", "--image", layout, str(tmp_path / "bundle"))
    same(tree(store, image), seen(tmp_path / "bundle" / "rootfs"))


@needs("skopeo")
@pytest.mark.peer("skopeo")
@pytest.mark.parametrize("form", ["both", "oci"])
def test_skopeo_copies_every_platform_of_ours(store: Store, tmp_path: Path, form: Form) -> None:
    """The index of an archive leads skopeo to every image, and what skopeo makes of it leads us to them again."""
    foreign = Platform(architecture="s390x")
    with store.lease():
        image, top = several(store, NAME, Platform.host(), foreign)
    archive, copied = formed(store, image, tmp_path, form), tmp_path / "copied.tar"
    found = run("skopeo", "inspect", "--raw", f"oci-archive:{archive}:{NAME}")
    assert Digest.of(found.encode()) == top.digest
    run("skopeo", "--insecure-policy", "copy", "--all", f"oci-archive:{archive}:{NAME}", f"oci-archive:{copied}:{NAME}")
    for path in (archive, copied):
        with Store(tmp_path / path.stem, identity=store.identity) as fresh, path.open("rb") as stream:
            (loaded,) = load(fresh, stream)
            assert fresh.images.tags.read(Reference.parse(NAME)).descriptor.digest == top.digest
            validate(fresh, loaded)
            validate(fresh, variants.choose(fresh, loaded, foreign))


@needs("skopeo")
@pytest.mark.peer("skopeo")
@pytest.mark.parametrize(
    ("transport", "compression"),
    [("oci-archive", "gzip"), ("oci-archive", "zstd"), ("oci", "gzip"), ("oci", "zstd"), ("docker-archive", "")],
)
def test_we_read_what_skopeo_writes(
    store: Store, image: Image, written: Path, tmp_path: Path, transport: str, compression: str
) -> None:
    """Archives of both kinds and layouts in a folder, of layers compressed either way."""
    target = tmp_path / "theirs"
    words = ["--dest-compress-format", compression, "--dest-compress"] if compression else []
    run("skopeo", "--insecure-policy", "copy", *words, f"oci-archive:{written}:{NAME}", f"{transport}:{target}:{NAME}")
    same(tree(store, image), taken(store, target, tmp_path))


@needs("umoci", "skopeo")
@pytest.mark.peer("umoci")
def test_we_read_what_umoci_writes(store: Store, image: Image, written: Path, tmp_path: Path) -> None:
    """A layer that umoci made of changes in its bundle is unpacked as it stands there."""
    layout = tmp_path / "layout"
    run("skopeo", "--insecure-policy", "copy", f"oci-archive:{written}:{NAME}", f"oci:{layout}:v1")
    run("umoci", "unpack", "--image", f"{layout}:v1", str(tmp_path / "bundle"))
    rootfs = tmp_path / "bundle" / "rootfs"
    (rootfs / "changed").unlink()
    (rootfs / "home" / "new").write_bytes(b"new")
    os.chown(rootfs / "home" / "new", 11, 12)
    os.utime(rootfs / "home" / "new", (1_600_000_000, 1_600_000_000))  # umoci writes whole seconds
    os.setxattr(rootfs / "home" / "new", "user.a", b"b")
    shutil.rmtree(rootfs / "covered")
    expected = seen(rootfs)
    run("umoci", "repack", "--image", f"{layout}:v1", str(tmp_path / "bundle"))
    folder_times = {name for name, known in expected.items() if str(known[0]).startswith("0o4")}
    found = taken(store, layout, tmp_path)
    same({**found, **{name: expected[name] for name in folder_times & set(found)}}, expected)
    assert "changed" not in found


@pytest.fixture
def podman(tmp_path: Path, written: Path) -> Iterator[Podman]:
    class Ours(Podman):
        def _load(self, archive: Path) -> None:
            self.run(self.command("load", "--input", str(written)))

        def prepare(self) -> None:
            self.hide_unified()
            self.driver = "vfs"
            self._load(written)

    with tempfile.TemporaryDirectory(dir="/var/tmp", ignore_cleanup_errors=True) as folder:  # it wants short paths
        try:
            with Ours(Path(folder)) as opened:
                yield opened
        except Unavailable as error:
            pytest.skip(f"podman: {error}")


@needs("podman")
@pytest.mark.peer("podman")
def test_podman_reads_ours_and_we_read_podmans(store: Store, image: Image, podman: Podman, tmp_path: Path) -> None:
    """podman loads our archive to the same tree, and what it saves, of either kind, is the same tree again."""
    ours = tree(store, image)
    for form in ("oci", "docker"):
        podman.run(podman.command("rmi", NAME))
        told = podman.ask("load", "--input", str(formed(store, image, tmp_path, form)))
        assert told == f"Loaded image: {NAME}"
    key = podman.ask("create", "--network", "none", NAME, "true")
    same(ours, seen(podman.ask("mount", key)), without=frozenset({"dev", "etc", "proc", "run", "sys"}))
    for kind in ("docker-archive", "oci-archive"):
        target = tmp_path / f"{kind}.tar"
        podman.run(podman.command("save", "--format", kind, "--output", str(target), NAME))
        same(ours, taken(store, target, tmp_path / kind))


def exportable(found: Seen) -> Seen:
    """What ``docker export`` keeps: whole seconds, and of extended attributes the capabilities."""
    return {
        name: (
            *known[:2],
            known[2] and known[2] // 10**9,
            *known[3:5],
            tuple(x for x in known[5] if x[0] != "user.colour"),
        )  # type: ignore[operator, attr-defined]
        for name, known in found.items()
    }


@pytest.fixture
def docker(tmp_path: Path, written: Path) -> Iterator[Docker]:
    class Ours(Docker):
        def prepare(self) -> None:
            self.begin()

    with tempfile.TemporaryDirectory(dir="/var/tmp", ignore_cleanup_errors=True) as folder:  # for its sockets' names
        try:
            with Ours(Path(folder)) as opened:
                yield opened
        except Unavailable as error:
            pytest.skip(f"dockerd: {error}")


@needs("dockerd")
@pytest.mark.peer("docker")
def test_docker_reads_ours_and_we_read_dockers(
    store: Store, image: Image, written: Path, docker: Docker, tmp_path: Path
) -> None:
    """dockerd loads our archive to the same tree, and what it saves is the same tree again."""
    ours = tree(store, image)
    compressed = make_image(
        store, rich_layers(), kind="zstd"
    )  # which this Docker knows only where it is plain in the archive
    compressed = store.images.tag(replace(compressed, reference=None), Reference.parse("docker.io/library/zstd:v1"))
    docker.run(docker.command("load", "--input", str(formed(store, compressed, tmp_path, "docker"))))
    assert docker.ask("image", "inspect", "--format", "{{.ID}}", "zstd:v1") == compressed.id
    docker.run(docker.command("load", "--input", str(written)))
    key = docker.ask("create", "rich:v1", "true")
    exported = tmp_path / "export.tar"
    docker.run(docker.command("export", "--output", str(exported), key))
    target = tmp_path / "exported"
    target.mkdir()
    words = ("--extract", "--file", str(exported), "--directory", str(target), "--xattrs", "--xattrs-include=*")
    run("tar", *words, "--same-owner", "--same-permissions", "--numeric-owner")
    theirs = seen(target)
    stubs = {name for name in theirs if name.split("/")[0] in ("etc", "proc", "sys", "dev", ".dockerenv")}
    same(exportable(ours), exportable(theirs), without=frozenset(stubs))
    saved = tmp_path / "saved.tar"
    docker.run(docker.command("save", "--output", str(saved), "rich:v1"))
    same(ours, taken(store, saved, tmp_path))
