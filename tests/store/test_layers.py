"""Layers in and out: what an honest archive means, what a hostile one may not do, and that a tree survives the way."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbcontainers.errors import Conflict, IntegrityError, NBContainersError
from nbcontainers.linux.recorded import LEDGER
from nbcontainers.oci.descriptor import Digest
from nbcontainers.results import Entry
from nbcontainers.store import attributes, compression, tar
from nbcontainers.store.attributes import OPAQUE, STAT, is_whiteout
from nbcontainers.store.changes import of_copy, of_overlay
from nbcontainers.store.entries import OPAQUE as OPAQUE_ROW
from nbcontainers.store.entries import Index
from nbcontainers.store.layers import Limits, Packed, apply, bounds, diff, export, pack
from nbcontainers.store.merged import Folder
from tests.store.trees import archive, compressed, hard, link, member, seen, unpack
from tests.waiting import clock

IS_ROOT = os.geteuid() == 0


def packed(folder: Path, out: Path, **options: object) -> tuple[Packed, list[Entry], list[tarfile.TarInfo]]:
    """A folder in overlay form as a layer, its index, and its entries as tarfile reads them."""
    index = Index()
    upper = os.open(folder, os.O_RDONLY)
    try:
        with out.open("wb", buffering=0) as file:
            made = pack(upper, file.fileno(), index, **options)  # type: ignore[arg-type]
    finally:
        os.close(upper)
    with tarfile.open(out) as opened:
        return made, list(index), opened.getmembers()


def truth(path: Path) -> attributes.Attributes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        return attributes.read(descriptor)
    finally:
        os.close(descriptor)


# What an honest layer means


def test_a_layer_is_unpacked_with_all_that_it_says(tmp_path: Path) -> None:
    """Modes, owners, times, links, pipes and attributes; those that this user cannot make are recorded."""
    layer = archive(
        member("d", mode=0o1770, uid=5, gid=6, mtime=1_000_000_000.25),
        member("d/f", b"content", mode=0o4755, uid=7, gid=8, pax_headers={"SCHILY.xattr.user.note": "hi"}),
        link("d/l", "/anywhere/../at/all"),
        member("p", type=tarfile.FIFOTYPE, mode=0o622),
        member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        hard("d/h", "d/f"),
    )
    digest, index = unpack(layer, tmp_path / "fs")
    folder = tmp_path / "fs"
    assert digest == Digest.of(layer)
    assert [entry.path for entry in index] == ["/d", "/d/f", "/d/l", "/p", "/null", "/d/h"]
    assert index[1].digest == Digest.of(b"content")
    assert index[5].link == "/d/f"
    found = truth(folder / "d")
    assert (stat.S_IMODE(found.mode), found.uid, found.gid) == (0o1770, 5, 6)
    assert found.mtime_ns == 1_000_000_000_250_000_000
    found = truth(folder / "d/f")
    assert (stat.S_IMODE(found.mode), found.uid, found.gid, found.size) == (0o4755, 7, 8, 7)
    assert found.xattrs == {b"user.note": b"hi"}
    assert os.readlink(folder / "d/l") == "/anywhere/../at/all"
    assert stat.S_ISFIFO((folder / "p").stat().st_mode)
    assert (folder / "d/h").stat().st_ino == (folder / "d/f").stat().st_ino
    device = attributes.of((folder / "null").lstat(), -1, bytes(folder / "null")) if IS_ROOT else truth(folder / "null")
    assert (stat.S_ISCHR(device.mode), device.major, device.minor) == (True, 1, 3)


def test_owners_that_cannot_be_are_recorded_and_come_out_true(tmp_path: Path) -> None:
    """A file of another owner is not made a set-id program of ours; the next layer has its owner and bits again."""
    if IS_ROOT:
        pytest.skip("root can give files to anyone: run as an ordinary user")
    layer = archive(
        member("d", uid=5, gid=6),
        member("d/f", b"x", mode=0o4755, uid=7, gid=8),
        member("d/g", b"y", mode=0o600, uid=7, gid=8),
        member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666, uid=1),
    )
    unpack(layer, tmp_path / "fs")
    assert os.getxattr(tmp_path / "fs/d/f", STAT) == b"7:8:104755"
    assert os.getxattr(tmp_path / "fs/null", STAT) == b"1:0:20666:1:3"
    assert (tmp_path / "fs/d/f").stat().st_mode & 0o7777 == 0o755
    (tmp_path / "fs/d/g").chmod(0o640)  # as a container may do
    _, _, members = packed(tmp_path / "fs", tmp_path / "out")
    rows = [(entry.name, entry.uid, entry.gid, entry.mode, entry.type) for entry in members]
    assert rows[-4:] == [
        ("d", 5, 6, 0o755, tarfile.DIRTYPE),
        ("d/f", 7, 8, 0o4755, tarfile.REGTYPE),
        ("d/g", 7, 8, 0o640, tarfile.REGTYPE),
        ("null", 1, 0, 0o666, tarfile.CHRTYPE),
    ]


def test_hard_links_come_in_any_order(tmp_path: Path) -> None:
    """Before their target, in chains, and to a file that is replaced before the layer ends."""
    unpack(
        archive(hard("c", "b"), hard("b", "d/a"), member("d"), member("d/a", b"x"), hard("e", "e2"), member("e2", b"")),
        tmp_path / "fs",
    )
    assert len({(tmp_path / "fs" / name).stat().st_ino for name in ("b", "c", "d/a")}) == 1
    unpack(archive(hard("a", "b"), member("a", b"own"), member("b", b"x")), tmp_path / "two")
    assert (tmp_path / "two/a").read_bytes() == b"own"


def test_hard_links_reach_into_lower_layers(tmp_path: Path) -> None:
    """The file is copied up with all that it is, and its folder with it; a removed one is not reached."""
    unpack(archive(member("d", mode=0o700), member("d/a", b"x", mode=0o640, mtime=5)), tmp_path / "one")
    unpack(archive(hard("b", "d/a")), tmp_path / "two", tmp_path / "one")
    made = tmp_path / "two/d/a"
    assert made.read_bytes() == b"x"
    assert (made.stat().st_mode & 0o777, made.stat().st_mtime, made.stat().st_nlink) == (0o640, 5, 2)
    assert (tmp_path / "two/d").stat().st_mode & 0o777 == 0o700
    unpack(archive(member("d/.wh.a", b"")), tmp_path / "gone", tmp_path / "one")
    with pytest.raises(IntegrityError, match="hard link"):
        unpack(archive(hard("b", "d/a")), tmp_path / "three", tmp_path / "one", tmp_path / "gone")


def test_removals_take_away_what_is_below_and_no_more(tmp_path: Path) -> None:
    """A whiteout before or after what the layer itself brings leaves that; a folder made anew hides the old one."""
    layer = archive(
        member(".wh.gone", b""),
        member(".wh.late", b""),
        member("late", b"new"),
        member("early", b"new"),
        member(".wh.early", b""),
        member(".wh.folder", b""),
        member("folder"),
        member("other"),
        member("other/own", b""),
        member(".wh.other", b""),
        member("clear/.wh..wh..opq", b""),
        member(".wh..wh.plnk"),
        member(".wh..wh.plnk/7", b"aufs"),
    )
    _, index = unpack(layer, tmp_path / "fs")
    folder = tmp_path / "fs"
    assert is_whiteout((folder / "gone").lstat())
    assert (folder / "late").read_bytes() == (folder / "early").read_bytes() == b"new"
    assert {name for name in ("folder", "other", "clear") if OPAQUE in os.listxattr(folder / name)} == {
        "folder",
        "other",
        "clear",
    }
    assert sorted(os.listdir(folder)) == ["clear", "early", "folder", "gone", "late", "other"]
    assert [entry.path for entry in index if entry.kind == "whiteout"] == [
        "/gone",
        "/late",
        "/early",
        "/folder",
        "/other",
        f"/clear/{OPAQUE_ROW}",
    ]


def test_an_opaque_root_removes_everything_below(tmp_path: Path) -> None:
    """An overlay does not look whether its root is opaque, so each name below is removed."""
    unpack(
        archive(member("a", b""), member("d"), member("d/x", b""), member("s"), member("s/y", b"")), tmp_path / "one"
    )
    unpack(archive(member("s"), member(".wh..wh..opq", b"")), tmp_path / "two", tmp_path / "one")
    assert is_whiteout((tmp_path / "two/a").lstat())
    assert is_whiteout((tmp_path / "two/d").lstat())
    assert os.getxattr(tmp_path / "two/s", OPAQUE) == b"y"


def test_links_on_the_way_lead_where_they_lead_in_the_whole_tree(tmp_path: Path) -> None:
    """An entry below a link of this or a lower layer lands where that points to, inside the root."""
    unpack(
        archive(member("usr"), member("usr/lib", mode=0o711), link("lib", "usr/lib"), link("abs", "/usr")),
        tmp_path / "one",
    )
    layer = archive(
        member("lib/new", b"1"), member("abs/bin/prog", b"2"), link("up", "../../../usr/share"), member("up/doc", b"3")
    )
    _, index = unpack(layer, tmp_path / "two", tmp_path / "one")
    assert [entry.path for entry in index] == ["/usr/lib/new", "/usr/bin/prog", "/up", "/usr/share/doc"]
    assert (tmp_path / "two/usr/lib/new").read_bytes() == b"1"
    assert (tmp_path / "two/usr/lib").stat().st_mode & 0o777 == 0o711
    assert not (tmp_path / "two/lib").exists()


def test_missing_folders_are_those_of_lower_layers(tmp_path: Path) -> None:
    """Else they are Docker's 0755; the root too repeats what is below it."""
    unpack(
        archive(member(".", mode=0o711), member("d", mode=0o500, mtime=77), member("d/e", mode=0o777)), tmp_path / "one"
    )
    unpack(archive(member("d/e/new/f", b"")), tmp_path / "two", tmp_path / "one")
    found = {name: (tmp_path / "two" / name).stat() for name in (".", "d", "d/e", "d/e/new")}
    assert {name: oct(status.st_mode & 0o777) for name, status in found.items()} == {
        ".": "0o711",
        "d": "0o500",
        "d/e": "0o777",
        "d/e/new": "0o755",
    }
    assert found["d"].st_mtime == 77


def test_the_last_of_two_entries_with_one_name_counts(tmp_path: Path) -> None:
    """Whatever the first one was; a folder stays if it is one again."""
    pairs = [member("x", b"1"), member("x"), link("x", "y"), member("x", type=tarfile.FIFOTYPE)]
    for first in pairs:
        for second in pairs:
            target = tmp_path / f"{pairs.index(first)}{pairs.index(second)}"
            inside = [member("x/in", b"")] if first[0].isdir() else []
            unpack(archive(first, *inside, second, member("z", b"")), target)
            kind = stat.S_IFMT((target / "x").lstat().st_mode)
            assert (
                kind == {b"0": stat.S_IFREG, b"5": stat.S_IFDIR, b"2": stat.S_IFLNK, b"6": stat.S_IFIFO}[second[0].type]
            )


# What a hostile one may not do

REFUSED = {
    "a name above the root": [member("../out", b"")],
    "a name above the root, later": [member("a/../../out", b"")],
    "a root that is a file": [member(".", b"")],
    "a root that is a link": [link("./", "/etc")],
    "a root that is a hard link": [hard("/", "etc")],
    "a whiteout of the folder itself": [member("d/.wh..", b"")],
    "a whiteout of the folder above": [member("d/.wh...", b"")],
    "a whiteout of nothing": [member("d/.wh.", b"")],
    "a whiteout as a folder": [member("d/.wh.x/y", b"")],
    "an entry below a file": [member("f", b""), member("f/g", b"")],
    "an entry below a device": [member("f", type=tarfile.FIFOTYPE), member("f/g", b"")],
    "a link in a circle": [link("a", "b"), link("b", "a"), member("a/f", b"")],
    "a hard link to nothing": [hard("a", "b")],
    "a hard link to itself": [hard("a", "a")],
    "a hard link to a folder": [member("d"), hard("a", "d")],
    "a hard link above the root": [hard("a", "../../etc/passwd")],
    "a hard link to what is removed": [member(".wh.a", b""), hard("b", "a")],
    "a hard link over the folder of its target": [member("d"), member("d/f", b""), hard("d", "d/f")],
    "a link to nothing": [link("a", "")],
    "a name that is too long": [member("n" * 300, b"")],
    "a path that is too long": [member("n/" * 3000 + "f", b"")],
    "a type that nobody knows": [member("a", type=b"Z")],
    "an owner that cannot be": [member("a", b"", uid=2**32 - 1)],
    "a device that cannot be": [member("a", type=tarfile.CHRTYPE, devmajor=1 << 20, devminor=0)],
}


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_archives_are_refused(name: str, tmp_path: Path) -> None:
    """Each of these is an error of ours that says so, and nothing beside the folder is touched (but the folder's own ledger)."""
    (tmp_path / "beside").write_text("mine")
    with pytest.raises(IntegrityError):
        unpack(archive(*REFUSED[name]), tmp_path / "fs")
    assert sorted({*os.listdir(tmp_path)} - {LEDGER}) == ["beside", "fs"]


@pytest.mark.parametrize(
    "members",
    [
        [member("/abs/f", b"x")],
        [link("l", "{outside}"), member("l/f", b"x")],
        [link("l", "../../../../../../../../../../{outside}"), member("l/f", b"x")],
        [link("a", "b"), link("b", "/{outside}"), member("a/f", b"x")],
        [member("d"), link("d/l", ".."), member("d/l/../l/f", b"x")],
        [link("f", "{outside}/victim"), member("f", b"x")],
        [link("f", "{outside}/victim"), hard("g", "f"), member("g", b"x")],
        [link("l", "{outside}"), hard("g", "l/victim"), member("l/victim", b"x")],
        [link("l", "{outside}"), member("l/.wh.victim", b"")],
        [link("l", "{outside}"), member("l/.wh..wh..opq", b"")],
        [link("l", "{outside}"), member("l", mode=0o777)],
        [link("p", "/proc/self/root{outside}"), member("p/f", b"x")],
    ],
    ids=lambda members: " ".join(entry.name for entry, _ in members),
)
def test_no_link_leads_out(members: list[tuple[tarfile.TarInfo, bytes]], tmp_path: Path) -> None:
    """Names count from the layer's root, and what looks like the host's folder is made inside it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("mine")
    before = seen(outside)
    for entry, _ in members:
        entry.linkname = entry.linkname.replace(
            "{outside}", str(outside).lstrip("/") if "/{" in entry.linkname else str(outside)
        )
    unpack(archive(*members), tmp_path / "fs")
    assert seen(outside) == before


def test_private_attributes_are_left_out(tmp_path: Path) -> None:
    """An archive cannot forge the overlay's state, our records, or the host's labels."""
    names = ["user.overlay.redirect", "trusted.overlay.opaque", STAT, "security.selinux", "user.fine"]
    layer = archive(member("d", pax_headers={f"SCHILY.xattr.{name}": "y" for name in names}))
    unpack(layer, tmp_path / "fs")
    folder = tmp_path / "fs/d"
    assert [name for name in os.listxattr(folder) if os.getxattr(folder, name) == b"y"] == ["user.fine"]


def test_the_device_of_a_whiteout_is_no_whiteout(tmp_path: Path) -> None:
    """A raw device 0:0 in an archive is recorded, for as a device it would remove what lies below; it comes out again."""
    unpack(archive(member("x", type=tarfile.CHRTYPE, devmajor=0, devminor=0)), tmp_path / "fs")
    assert stat.S_ISREG((tmp_path / "fs/x").stat().st_mode)
    _, _, members = packed(tmp_path / "fs", tmp_path / "out")
    assert [(entry.name, entry.type) for entry in members if entry.name != "."] == [("x", tarfile.CHRTYPE)]


def test_bombs_are_bounded(tmp_path: Path) -> None:
    """More bytes or entries than allowed stop the unpacking; a sparse file counts with its holes."""
    with pytest.raises(IntegrityError, match="more than"):
        unpack(archive(member("a", bytes(5000))), tmp_path / "one", limits=Limits(bytes=4000))
    with pytest.raises(IntegrityError, match="more than 3 entries"):
        unpack(archive(*(member(f"d{n}") for n in range(4))), tmp_path / "two", limits=Limits(entries=3))
    if shutil.which("tar") is None:
        pytest.skip("GNU tar is not installed")
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(1 << 40)
    data = subprocess.run(["tar", "-cSf", "-", "holes"], cwd=tmp_path, capture_output=True, check=True).stdout
    begun = clock()
    with pytest.raises(IntegrityError, match="more than"):
        unpack(data, tmp_path / "three")
    assert clock() - begun < 5


def test_a_cut_layer_is_refused(tmp_path: Path) -> None:
    """Compressed or not."""
    data = archive(member("a", os.urandom(100_000)))
    with pytest.raises(IntegrityError):
        unpack(data[:50_000], tmp_path / "one")
    import gzip

    (tmp_path / "two").mkdir()
    folder = os.open(tmp_path / "two", os.O_RDONLY)
    try:
        with pytest.raises(IntegrityError):
            apply(compression.reader(io.BytesIO(gzip.compress(data)[:-50_000])), folder, index=Index())
    finally:
        os.close(folder)


# The way there and back


def test_a_layer_is_written_in_order_and_as_the_specification_says(tmp_path: Path) -> None:
    """Removals first, names sorted, no entry for the root, hard links after their file, sockets left out."""
    unpack(
        archive(
            member("b"),
            member("b/f", b"1"),
            hard("a-link", "b/f"),
            member(".wh.z", b""),
            member("c/.wh..wh..opq", b""),
            member("B", b""),
        ),
        tmp_path / "fs",
    )
    import socket

    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(tmp_path / "fs")  # 108 bytes are all that a socket's name may have
        listening.bind("sock")
        os.chdir("/")
    made, index, members = packed(tmp_path / "fs", tmp_path / "out")
    names = [entry.name for entry in members if entry.name != "."]
    assert names == [".wh.z", "B", "a-link", "b", "b/f", "c", "c/.wh..wh..opq"]
    assert members[-3].linkname == "a-link"
    assert [entry.path for entry in index if entry.path != "/"] == [
        "/z",
        "/B",
        "/a-link",
        "/b",
        "/b/f",
        "/c",
        f"/c/{OPAQUE_ROW}",
    ]
    assert made.size == 1
    assert made.descriptor.size == (tmp_path / "out").stat().st_size
    assert made.descriptor.digest == Digest.of((tmp_path / "out").read_bytes())


def test_times_can_be_held_back(tmp_path: Path) -> None:
    """With SOURCE_DATE_EPOCH nothing is newer, and the tree becomes what its archive says only if that is asked for."""
    unpack(
        archive(member("old", b"", mtime=5), member("new", b"", mtime=500.5), link("l", "x", mtime=600)),
        tmp_path / "fs",
    )
    _, _, members = packed(tmp_path / "fs", tmp_path / "out", created=100)
    assert {entry.name: entry.mtime for entry in members if entry.name != "."} == {"old": 5, "new": 100, "l": 100}
    assert (tmp_path / "fs/new").stat().st_mtime == 500.5
    packed(tmp_path / "fs", tmp_path / "out", created=100, settle=True)
    assert (tmp_path / "fs/new").stat().st_mtime == (tmp_path / "fs/l").lstat().st_mtime == 100


def test_a_file_named_as_a_removal_cannot_be_in_a_layer(tmp_path: Path) -> None:
    """It would remove what it stands for from every image made with it: an error says so."""
    (tmp_path / "fs").mkdir()
    (tmp_path / "fs/.wh.x").touch()
    with pytest.raises(Conflict, match=r"\.wh\.x"):
        packed(tmp_path / "fs", tmp_path / "out")


def test_the_root_is_written_if_it_is_not_as_it_is_below(tmp_path: Path) -> None:
    """chmod of / is a change like any other; a root as it was has no entry."""
    unpack(archive(member("f", b"")), tmp_path / "fs")
    names = [entry.name for entry in packed(tmp_path / "fs", tmp_path / "out")[2]]
    assert names == (["f"] if IS_ROOT or "." not in names else [".", "f"])
    (tmp_path / "fs").chmod(0o700)
    members = packed(tmp_path / "fs", tmp_path / "out")[2]
    assert [(entry.name, entry.mode) for entry in members] == [(".", 0o700), ("f", 0o644)]


NAMES = st.sampled_from(["a", "b", ".hidden", "ü", "with space", "x" * 120, "new\nline", "-dash", "c", "d"])
MODES = st.integers(0, 0o7777).map(lambda mode: mode if IS_ROOT else mode | 0o700)
TIMES = st.integers(-(2**31) * 10**9, 2**34 * 10**9 - 1)
OWNERS = st.sampled_from([0, 1, 1000, 65534, 3_000_000]) if IS_ROOT else st.just(0)
XATTRS = st.dictionaries(st.sampled_from(["user.a", "user.b.c"]), st.binary(max_size=40), max_size=2)
LEAVES = st.one_of(
    st.tuples(st.just("file"), st.binary(max_size=2000), MODES, OWNERS, OWNERS, TIMES, XATTRS),
    st.tuples(st.just("link"), NAMES, OWNERS, OWNERS, TIMES),
    st.tuples(st.just("hard")),
    st.tuples(st.just("fifo"), MODES, OWNERS, OWNERS, TIMES),
    st.tuples(st.just("gone")),
)
TREES = st.recursive(
    LEAVES,
    lambda inside: st.tuples(
        st.just("folder"),
        st.dictionaries(NAMES, inside, max_size=4),
        MODES,
        OWNERS,
        OWNERS,
        TIMES,
        XATTRS,
        st.booleans(),
    ),
    max_leaves=25,
)


def plant(path: str, node: tuple[object, ...], files: list[str]) -> None:
    """Make a tree in overlay form out of what hypothesis has drawn."""
    match node:
        case "file", bytes(data), int(mode), int(uid), int(gid), int(mtime), dict(xattrs):
            with open(path, "wb") as file:
                file.write(data)
            _dress(path, mode, uid, gid, mtime, xattrs)
            files.append(path)
        case "link", str(target), int(uid), int(gid), int(mtime):
            os.symlink(target, path)
            if IS_ROOT:
                os.chown(path, uid, gid, follow_symlinks=False)
            os.utime(path, ns=(0, mtime), follow_symlinks=False)
        case ("hard",):
            if files:
                os.link(files[-1], path)
        case "fifo", int(mode), int(uid), int(gid), int(mtime):
            os.mkfifo(path)
            _dress(path, mode, uid, gid, mtime, {})
        case ("gone",):
            os.mknod(path, stat.S_IFCHR, 0)
        case "folder", dict(inside), int(mode), int(uid), int(gid), int(mtime), dict(xattrs), bool(opaque):
            os.mkdir(path)
            for name, child in inside.items():
                plant(os.path.join(path, name), child, files)
            _dress(path, mode, uid, gid, mtime, {**xattrs, **({OPAQUE: b"y"} if opaque else {})})


def _dress(path: str, mode: int, uid: int, gid: int, mtime: int, xattrs: dict[str, bytes]) -> None:
    for name, value in xattrs.items():
        os.setxattr(path, name, value)
    if IS_ROOT:
        os.chown(path, uid, gid)
    os.chmod(path, mode)
    os.utime(path, ns=(0, mtime))


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(children=st.dictionaries(NAMES, TREES, max_size=5))
def test_a_tree_survives_the_way_through_a_layer(
    tmp_path_factory: pytest.TempPathFactory, children: dict[str, tuple[object, ...]]
) -> None:
    """What diff writes, apply makes again: kinds, modes, owners, times to the nanosecond, contents, links, attributes, removals."""
    place = tmp_path_factory.mktemp("trip")
    try:
        (place / "fs").mkdir()
        (place / "again").mkdir()
        files: list[str] = []
        for name, node in children.items():
            plant(str(place / "fs" / name), node, files)
        made, index, _ = packed(place / "fs", place / "out")
        folder = os.open(place / "again", os.O_RDONLY)
        rows = Index()
        try:
            with (place / "out").open("rb") as blob:
                assert apply(compression.reader(blob), folder, index=rows) == made.diff_id
        finally:
            os.close(folder)
        first, second = seen(place / "fs", owners=IS_ROOT), seen(place / "again", owners=IS_ROOT)
        # An ordinary user cannot make root's files, so those that it makes again have records.
        plain = [
            {name: row[:5] if not IS_ROOT else row for name, row in tree.items() if name != "."}
            for tree in (first, second)
        ]
        if not IS_ROOT:
            plain = [{name: row[1:] for name, row in tree.items()} for tree in plain]
        assert plain[0] == plain[1]
        assert list(rows) == index
    finally:
        shutil.rmtree(place, onerror=None)


# Oracles


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of a few hundred paths with names, modes and links of every kind."""
    root = tmp_path / "tree"
    for number in range(120):
        folder = root / f"d{number % 7}" / ("sub" * (number % 5 + 1))
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"file {number} {'n' * (number % 90)}"
        file.write_bytes(bytes([number]) * (number * 97))
        file.chmod(0o600 | number % 64)
        os.utime(file, ns=(0, 1_600_000_000_000_000_000 + number * 1_000_003))
        if number % 9 == 0:
            (folder / f"link{number}").symlink_to(file.name)
            os.link(file, folder / f"hard{number}")
    root.chmod(0o755)
    return root


@pytest.mark.parametrize(
    "words", [["tar", "--format=pax"], ["tar", "--format=gnu"], ["bsdtar", "--format=pax"]], ids=" ".join
)
def test_archives_of_other_programs_are_unpacked(words: list[str], tree: Path, tmp_path: Path) -> None:
    """What GNU tar and libarchive write gives the same tree."""
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    data = subprocess.run([*words, "-cf", "-", "."], cwd=tree, capture_output=True, check=True).stdout
    unpack(data, tmp_path / "fs")
    exact = "pax" in words[-1]
    names = lambda folder: {name: row[:1] + row[3:4] for name, row in seen(folder).items()}  # noqa: E731
    assert names(tmp_path / "fs") == names(tree)
    if exact:
        assert {n: r[2] for n, r in seen(tmp_path / "fs").items()} == {n: r[2] for n, r in seen(tree).items()}


@pytest.mark.parametrize("program", ["tar", "bsdtar"])
def test_other_programs_unpack_ours(program: str, tree: Path, tmp_path: Path) -> None:
    """GNU tar and libarchive make the same tree of a layer, to the nanosecond."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    packed(tree, tmp_path / "out")
    (tmp_path / "fs").mkdir()
    subprocess.run([program, "-xpf", str(tmp_path / "out"), "-C", str(tmp_path / "fs")], check=True)
    theirs, mine = seen(tmp_path / "fs"), seen(tree)
    for name in mine:
        assert theirs[name][:4] == mine[name][:4] or name == "."


def test_umoci_unpacks_ours(tree: Path, tmp_path: Path) -> None:
    """An image of our layers becomes the tree that they mean, removals included."""
    if shutil.which("umoci") is None:
        pytest.skip("umoci is not installed")
    layout = tmp_path / "layout"
    subprocess.run(["umoci", "init", "--layout", str(layout)], check=True, capture_output=True)
    unpack(
        archive(member("d0/.wh.sub", b""), member("d1/.wh..wh..opq", b""), member("d1/only", b"1")), tmp_path / "second"
    )
    layers = [packed(folder, tmp_path / f"out{number}")[0] for number, folder in enumerate((tree, tmp_path / "second"))]
    for number, layer in enumerate(layers):
        shutil.copy(tmp_path / f"out{number}", layout / "blobs/sha256" / layer.descriptor.digest.hex)

    def add(value: dict[str, object], media_type: str) -> dict[str, object]:
        data = json.dumps(value).encode()
        (layout / "blobs/sha256" / Digest.of(data).hex).write_bytes(data)
        return {"mediaType": media_type, "digest": Digest.of(data), "size": len(data)}

    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
    }
    kind = "application/vnd.oci.image."
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind + "manifest.v1+json",
        "config": add(config, kind + "config.v1+json"),
        "layers": [layer.descriptor.to_json() for layer in layers],
    }
    about = add(manifest, kind + "manifest.v1+json")
    about["annotations"] = {"org.opencontainers.image.ref.name": "ours"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [about]}))
    words = [
        "umoci",
        "unpack",
        *([] if IS_ROOT else ["--rootless"]),
        "--image",
        f"{layout}:ours",
        str(tmp_path / "bundle"),
    ]
    subprocess.run(words, check=True, capture_output=True)
    theirs, mine = seen(tmp_path / "bundle/rootfs", times=False), seen(tree, times=False)
    gone = {name for name in mine if name.startswith(("d0/sub/", "d1/")) or name == "d0/sub"}
    assert set(theirs) == set(mine) - gone | {"d1/only"}
    assert all(theirs[name][3] == mine[name][3] for name in set(mine) - gone)


def test_the_bound_of_a_layer_can_be_raised() -> None:
    """In proportion to the blob, a GiB at least; the environment raises it, and never lowers it."""
    assert bounds(1000, {}).bytes == 1 << 30
    assert bounds(10 << 30, {}).bytes == 2000 << 30
    assert bounds(1000, {"NBCONTAINERS_LAYER_LIMIT": "100g"}).bytes == 100 << 30
    assert bounds(1000, {"NBCONTAINERS_LAYER_LIMIT": "5"}).bytes == 1 << 30
    with pytest.raises(NBContainersError, match="no size: 'much'"):
        bounds(1000, {"NBCONTAINERS_LAYER_LIMIT": "much"})


@pytest.mark.skipif(os.geteuid() != 0, reason="an ACL names ids of this host")
def test_access_control_lists_are_kept(tmp_path: Path) -> None:
    """An ACL comes out of a layer as it went in, and goes into the next one; see acl(5)."""
    # Version 2; user:: rw-, user:1000 r--, group:: r--, mask:: r--, other:: ---
    entries = ((0x01, 6, -1), (0x02, 4, 1000), (0x04, 4, -1), (0x10, 4, -1), (0x20, 0, -1))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    key = "SCHILY.xattr.system.posix_acl_access"
    text = acl.decode("utf-8", "surrogateescape")
    unpack(archive(member("f", b"x", mode=0o640, pax_headers={key: text})), tmp_path / "tree")
    try:
        found = os.getxattr(tmp_path / "tree" / "f", "system.posix_acl_access")
    except OSError:
        pytest.skip("this file system keeps no ACLs")
    assert found == acl
    written = io.BytesIO()
    writer = tar.Writer(written.write)
    upper = os.open(tmp_path / "tree", os.O_RDONLY)
    try:
        diff(upper, writer, Index())
    finally:
        os.close(upper)
    writer.close()
    with tarfile.open(fileobj=io.BytesIO(written.getvalue())) as opened:
        assert opened.getmember("f").pax_headers[key].encode("utf-8", "surrogateescape") == acl


@pytest.mark.skipif(os.geteuid() != 0, reason="an ACL names ids of this host")
def test_what_is_unpacked_inherits_nothing(tmp_path: Path) -> None:
    """A folder's default ACL and its set-group bit are for what is made there later: what the layer has in it is as the layer says."""
    # Version 2; user:: rwx, group:: r-x, group:7 rwx, mask:: rwx, other:: ---
    entries = ((0x01, 7, -1), (0x04, 5, -1), (0x08, 7, 7), (0x10, 7, -1), (0x20, 0, -1))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    key = "SCHILY.xattr.system.posix_acl_default"
    text = acl.decode("utf-8", "surrogateescape")
    layer = archive(
        member("d", mode=0o2775, gid=7, pax_headers={key: text}),
        member("d/f", b"x", mode=0o604, gid=0),
        member("d/own", b"x", mode=0o660, gid=7),
        member("d/e", mode=0o701, gid=0),
    )
    unpack(layer, tmp_path / "tree")
    folder = tmp_path / "tree/d"
    if "system.posix_acl_default" not in os.listxattr(folder):
        pytest.skip("this file system keeps no ACLs")
    assert os.getxattr(folder, "system.posix_acl_default") == acl
    found = {name: (folder / name).stat() for name in (".", "f", "own", "e")}
    assert {name: (stat.S_IMODE(one.st_mode), one.st_gid) for name, one in found.items()} == {
        ".": (0o2775, 7),
        "f": (0o604, 0),
        "own": (0o660, 7),
        "e": (0o701, 0),
    }
    assert not any(os.listxattr(folder / name) for name in ("f", "own", "e"))


def test_a_umask_takes_nothing_away(tmp_path: Path) -> None:
    """Files have the modes that the layer says, though this process would have others."""
    before = os.umask(0o077)
    try:
        unpack(archive(member("d", mode=0o755), *(member(f"d/{n}", b"x", mode=0o666) for n in "ab")), tmp_path / "tree")
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / "tree/d" / name).stat().st_mode) for name in "ab"] == [0o666, 0o666]


@pytest.mark.parametrize("kind", ["none", "gzip", "zstd"])
def test_holes_that_are_written_out_take_no_room(kind: compression.Compression, tmp_path: Path) -> None:
    """A file that is mostly zeros in the archive has holes on the disk, at its end too, and all of its bytes."""
    contents = {
        "within": b"a" + bytes(8 << 20) + b"b",
        "ends": b"c" * (2 << 20) + bytes(8 << 20),
        "all": bytes(8 << 20),
    }
    layer = compressed(archive(*(member(name, data) for name, data in contents.items())), kind)
    _, index = unpack(compression.reader(io.BytesIO(layer)), tmp_path / "tree")
    for name, data in contents.items():
        path = tmp_path / "tree" / name
        assert path.read_bytes() == data
        assert path.stat().st_blocks * 512 < len(data) // 2
    assert {entry.path: entry.digest for entry in index} == {
        f"/{name}": Digest.of(data) for name, data in contents.items()
    }


RESTLESS = """
import os, shutil, sys, time
os.chdir(sys.argv[1])
def gone():
    time.sleep(0.0002)
    os.rename("f", "../f")
    try:
        os.unlink("../f")
    except OSError:
        shutil.rmtree("../f")
print(flush=True)
while True:
    with open("f", "x") as file:
        file.write("inside")
    gone()
    os.symlink(sys.argv[2], "f")
    gone()
    os.makedirs("f/g")
    gone()
    os.mkfifo("f")
    gone()
"""


@pytest.fixture
def restless(tmp_path: Path) -> Iterator[Path]:
    """A folder with two names: one stays, and one is a file, a link, a folder, a pipe and nothing, again and again."""
    (tmp_path / "upper").mkdir()
    (tmp_path / "upper/stays").write_text("here")
    (tmp_path / "secret").write_text("outside")
    words = [sys.executable, "-c", RESTLESS, str(tmp_path / "upper"), str(tmp_path / "secret")]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as running:
        try:
            assert running.stdout is not None
            running.stdout.readline()
            yield tmp_path / "upper"
        finally:
            running.kill()


def test_a_tree_that_changes_while_it_is_read_is_archived(restless: Path, tmp_path: Path) -> None:
    """As while a container runs: each name is there as it was at a moment, or is not there; never what a link leads to."""
    met: set[bytes] = set()
    for number in range(1000):
        if number % 2:
            _, _, members = packed(restless, tmp_path / "layer.tar")
        else:
            members = exported(restless, tmp_path / "layer.tar")
        names = [entry.name for entry in members]
        assert "stays" in names
        assert len(names) == len(set(names))
        assert b"outside" not in (tmp_path / "layer.tar").read_bytes()
        met |= {entry.type for entry in members if entry.name == "f"}
    assert met == {tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE}


@pytest.mark.parametrize("form", ["overlay", "copy"])
def test_what_changes_while_it_is_compared_is_told(form: str, restless: Path, tmp_path: Path) -> None:
    """As ``diff`` of a container that runs: a name is told as what it was at a moment, or as gone."""
    (tmp_path / "lower/f/g").mkdir(parents=True)
    upper, lower = (os.open(path, os.O_RDONLY) for path in (restless, tmp_path / "lower"))
    met: set[str] = set()
    try:
        for _ in range(3000):
            below = Folder((lower,))
            told = of_overlay(upper, below) if form == "overlay" else of_copy(upper, below, 0)
            found = {entry.path: entry.kind for entry in told}
            assert found[b"stays"] == "added"
            met.add(found.get(b"f", "nothing"))
    finally:
        os.close(upper)
        os.close(lower)
    assert "modified" in met


def exported(folder: Path, out: Path) -> list[tarfile.TarInfo]:
    """A whole tree as ``export`` writes it, as tarfile reads that."""
    root = os.open(folder, os.O_RDONLY)
    try:
        with out.open("wb") as file:
            writer = tar.Writer(file.write)
            export(root, writer)
            writer.close()
    finally:
        os.close(root)
    with tarfile.open(out) as opened:
        return opened.getmembers()
