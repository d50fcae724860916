"""docker cp: both ways, running or not, files, folders and archives, and no way out."""

from __future__ import annotations

import contextlib
import errno
import filecmp
import gzip
import io
import os
import stat
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from nbcontainers import Container, Engine
from nbcontainers.engine.carriage import arranged
from nbcontainers.errors import Conflict, NBContainersError, NotFound
from nbcontainers.events import Output
from nbcontainers.runtime.host import TIER

SCRIPT = (
    "mkdir -p /data/sub; echo one > /data/one; echo two > /data/sub/two; ln -s one /data/link; ln /data/one /data/hard; "
    "ln -s /etc/passwd /data/out; ln -s /../../../../etc /data/up; chmod 640 /data/one; echo ready; exec sleep 600"
)


def test_to_this_host(container: Container, tmp_path: Path) -> None:
    """A folder that is there takes it in, a name that is not is its name; modes, times, links and hard links are kept."""
    container.fetch("/data", str(tmp_path))
    data = tmp_path / "data"
    assert sorted(path.name for path in data.iterdir()) == ["hard", "link", "one", "out", "sub", "up"]
    assert (data / "sub/two").read_text() == "two\n"
    assert os.readlink(data / "link") == "one"
    assert (data / "one").stat().st_mode & 0o777 == 0o640
    assert (data / "one").samefile(data / "hard")
    assert (data / "one").stat().st_uid == os.geteuid()
    container.fetch("/data", str(tmp_path / "named"))
    assert (tmp_path / "named/one").read_text() == "one\n"
    (tmp_path / "flat").mkdir()
    container.fetch("/data/.", str(tmp_path / "flat"))
    assert (tmp_path / "flat/one").read_text() == "one\n"
    container.fetch("/data/one", str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_text() == "one\n"
    container.fetch("/data/link", str(tmp_path / "followed"), follow=True)
    assert not (tmp_path / "followed").is_symlink()
    with pytest.raises(NotFound):
        container.fetch("/data/nothing", str(tmp_path))
    with pytest.raises(NotFound):
        container.fetch("/data/one", f"{tmp_path}/no-folder/")
    with pytest.raises(Conflict):
        container.fetch("/data", str(tmp_path / "copy"))


def test_holes_stay_holes(engine: Engine, container: Container, tmp_path: Path) -> None:
    """A large file of which little is there takes little room, both ways, and reads as before."""
    with (tmp_path / "file").open("wb") as file:
        file.truncate(64 << 20)
        file.seek(20_000_000)
        file.write(b"middle" * 1000)
        file.seek((64 << 20) - 3)
        file.write(b"end")
    container.bring(str(tmp_path / "file"), "/tmp/file")
    container.fetch("/tmp/file", str(tmp_path / "back"))
    assert filecmp.cmp(tmp_path / "file", tmp_path / "back", shallow=False)
    inside = engine.store.root / "snapshots" / container.id[:12] / "upper/tmp/file"
    assert all(path.stat().st_blocks * 512 < 4 << 20 for path in (inside, tmp_path / "back"))


@pytest.mark.parametrize("owners", [False, True])
def test_folders_that_may_not_be_written_to_are_copied(container: Container, tmp_path: Path, owners: bool) -> None:
    """In and out, with what is in them, by who is no root; their modes and times are as they were."""
    (tmp_path / "closed/inner").mkdir(parents=True)
    (tmp_path / "closed/inner/file").write_text("x")
    for name, mode in (("closed/inner", 0o500), ("closed", 0o555)):
        (tmp_path / name).chmod(mode)
        os.utime(tmp_path / name, (7, 7))
    container.bring(tmp_path / "closed", "/tmp/", owners=owners)
    container.fetch("/tmp/closed", tmp_path / "back")
    for name, mode in (("back", 0o555), ("back/inner", 0o500)):
        status = (tmp_path / name).stat()
        assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (mode, 7)
    assert (tmp_path / "back/inner/file").read_text() == "x"
    for name in ("closed", "closed/inner", "back", "back/inner"):  # for who tidies up
        (tmp_path / name).chmod(0o755)


def test_a_link_leads_nowhere_but_inside(container: Container, tmp_path: Path) -> None:
    """Links out of the container, followed or not, are links inside it (CVE-2018-15664)."""
    container.fetch("/data/out", str(tmp_path / "passwd"), follow=True)
    container.fetch("/data/up/passwd", str(tmp_path / "passwd2"))
    assert (tmp_path / "passwd").read_bytes() == (tmp_path / "passwd2").read_bytes()
    assert (tmp_path / "passwd").read_bytes() != Path("/etc/passwd").read_bytes()
    marker = tmp_path / "marker"
    marker.write_text("marker")
    container.bring(str(marker), "/data/up/from-outside")
    assert not Path("/etc/from-outside").exists()
    container.fetch("/etc/from-outside", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "marker"


def test_a_path_that_leads_nowhere_is_told(container: Container, tmp_path: Path) -> None:
    """A circle of links, one of /proc's, a name that is too long: in words, both ways, and nothing is written."""
    links = io.BytesIO()
    with tarfile.open(fileobj=links, mode="w") as archive:
        for name, target in (("round", "round"), ("proc", "/proc/1/root/data")):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
    container.bring(io.BytesIO(links.getvalue()), "/data")
    (tmp_path / "file").write_text("x")
    for path in ("/data/round/one", "/data/proc/one", f"/data/{'a' * 300}"):
        with pytest.raises((Conflict, NotFound), match=r"cannot be reached|no such"):
            container.bring(tmp_path / "file", path)
        with pytest.raises((Conflict, NotFound), match=r"cannot be reached|no such"):
            container.fetch(path, tmp_path / "got")
    with pytest.raises(NotFound, match="no such folder: /missing$"):
        container.bring(tmp_path / "file", "/missing/file")
    assert not (tmp_path / "got").exists()


def test_into_the_container(container: Container, tmp_path: Path) -> None:
    """Files and folders of this host; a running program sees them; what was there makes way."""
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/file").write_text("content")
    (tmp_path / "tree/sub/link").symlink_to("../file")
    container.bring(str(tmp_path / "tree"), "/data")
    container.bring(str(tmp_path / "tree/file"), "/data/one")
    container.bring(f"{tmp_path}/tree/.", "/data/sub")
    container.fetch("/data/.", str(tmp_path / "back"))
    back = tmp_path / "back"
    assert (back / "tree/sub/link").read_text() == "content"
    assert (back / "one").read_text() == "content"
    assert (back / "sub/file").read_text() == "content"
    assert (back / "sub/two").read_text() == "two\n"
    if container.state.status == "running":
        assert printed(container, "cat /data/tree/file") == b"content"
    with pytest.raises(Conflict):
        container.bring(str(tmp_path / "tree"), "/data/one")
    with pytest.raises(NotFound):
        container.bring(str(tmp_path / "tree"), "/no/such/place")


def test_archives(container: Container, tmp_path: Path) -> None:
    """An archive that tar reads comes out, one that tar wrote goes in, and none gets out of its folder."""
    with open(tmp_path / "out.tar", "wb") as file:
        container.fetch("/data", file)
    with tarfile.open(tmp_path / "out.tar") as archive:
        assert "data/sub/two" in archive.getnames()
    with tarfile.open(tmp_path / "in.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("new"), None)
    with open(tmp_path / "in.tar", "rb") as file:
        container.bring(file, "/data")
    container.fetch("/data/new", str(tmp_path / "new"))
    for name, link in (("../escaped", ""), ("up/escaped", ""), ("lead", "/"), ("lead/escaped", "")):
        with tarfile.open(tmp_path / "bad.tar", "w") as archive:
            entry = tarfile.TarInfo(name)
            if link:
                entry.type, entry.linkname = tarfile.SYMTYPE, link
            archive.addfile(entry)
        with open(tmp_path / "bad.tar", "rb") as file:
            if link:
                container.bring(file, "/data")
            else:
                with pytest.raises(NBContainersError):
                    container.bring(file, "/data")
    assert not Path("/etc/escaped").exists()


def test_streams_that_are_no_files(container: Container, tmp_path: Path) -> None:
    """Bytes in memory and what compresses them are taken as well as files, and a path as well as its name; an archive that comes
    compressed is unpacked; errors of a stream come.
    """
    memory = io.BytesIO()
    container.fetch("/data/sub", memory)
    with tarfile.open(fileobj=io.BytesIO(memory.getvalue())) as archive:
        assert archive.getnames() == ["sub", "sub/two"]
    with gzip.open(tmp_path / "data.gz", "wb") as packed:
        container.fetch("/data", packed)
    with tarfile.open(tmp_path / "data.gz") as archive:
        assert "data/sub/two" in archive.getnames()
    container.fetch("/data/one", tmp_path / "one")
    container.bring(tmp_path / "one", "/tmp/brought")
    container.bring(io.BytesIO(memory.getvalue()), "/tmp")
    with gzip.open(tmp_path / "sub.gz", "wb") as packed:
        packed.write(memory.getvalue())
    with gzip.open(tmp_path / "sub.gz", "rb") as unpacked:
        container.bring(unpacked, "/data/sub")
    with open(tmp_path / "sub.gz", "rb") as packed:
        container.bring(packed, "/var/tmp")
    assert {"/tmp/brought", "/tmp/sub/two", "/data/sub/sub/two", "/var/tmp/sub/two"} <= {
        change.path for change in container.changes()
    }

    class Full(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, "no room")

    with pytest.raises(OSError, match="no room"):
        container.export(cast("BinaryIO", Full()))
    with pytest.raises(NBContainersError):
        container.bring(io.BytesIO(b"x" * 600), "/tmp")


@pytest.mark.parametrize(
    ("source", "found", "target", "there", "expected"),
    [
        ("/a/f", "file", "/d", "folder", ("/d", "f")),
        ("/a/f", "file", "/d/g", "", ("/d", "g")),
        ("/a/f", "file", "/d/g", "file", ("/d", "g")),
        ("/a", "folder", "/d", "folder", ("/d", "a")),
        ("/a/.", "folder", "/d", "folder", ("/d", "")),
        ("/a/", "folder", "/d/b", "", ("/d", "b")),
    ],
)
def test_the_rules_are_dockers(source: str, found: str, target: str, there: str, expected: tuple[str, str]) -> None:
    """What is there already decides."""
    assert arranged(source, found, target, there, "/d") == expected


def test_what_cannot_make_way_does_not(container: Container, tmp_path: Path) -> None:
    """A device, of this host too; a file that is mounted; the kernel's folders; and a path that is empty names nothing."""
    (tmp_path / "file").write_text("x")
    ends = os.openpty()
    (tmp_path / "link").symlink_to(os.ttyname(ends[1]))
    with pytest.raises(Conflict, match="a device cannot be replaced"):
        container.fetch("/data/one", tmp_path / "link")
    assert stat.S_ISCHR((tmp_path / "link").stat().st_mode)
    for end in ends:
        os.close(end)
    for copy in (lambda: container.bring(tmp_path / "file", ""), lambda: container.fetch("", tmp_path / "got")):
        with pytest.raises(NBContainersError, match="no path of the container"):
            copy()
    if container.state.status != "running":
        return
    looks = "stat -c %F /dev/null; cat /etc/hosts"
    before = printed(container, looks)
    for path in ("/dev/null", "/etc/hosts", "/proc/x", "/proc/sys/kernel"):
        with pytest.raises(Conflict, match=r"a device|what is mounted|the kernel's own"):
            container.bring(tmp_path / "file", path)
    assert printed(container, looks) == before


def printed(container: Container, script: str) -> bytes:
    said: list[bytes] = []
    code = container.exec("sh", "-ec", script).attach(
        lambda event: said.append(event.data) if isinstance(event, Output) else None
    )
    assert code == 0
    return b"".join(said)


def test_who_copies_what_another_copies_too_is_told(container: Container, tmp_path: Path) -> None:
    """One of them may lose; the file is there, whole, with what one of them brought."""
    sources = [tmp_path / name for name in ("one", "two", "three")]
    for source in sources:
        source.write_text(source.name)
    done: list[str] = []

    def copy(source: Path) -> None:
        for _ in range(20):
            with contextlib.suppress(Conflict):
                container.bring(str(source), "/tmp/same")
                done.append(source.name)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(copy, sources))
    assert done
    container.bring(str(sources[0]), "/tmp/same")
    container.fetch("/tmp/same", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "one"


def test_a_hard_link_to_nothing_is_told(container: Container) -> None:
    """An archive that is unpacked into a container may be of anybody's making."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.LNKTYPE, "nothing"
        archive.addfile(link)
    with tempfile.TemporaryFile() as file:
        file.write(stream.getvalue())
        file.seek(0)
        with pytest.raises(NBContainersError, match="a hard link to 'nothing'"):
            container.bring(file, "/tmp")


@pytest.mark.parametrize("begun", [False, True])
def test_what_is_mounted_in_one_that_does_not_run(engine: Engine, tmp_path: Path, begun: bool) -> None:
    """Its volumes and folders of this host are where they are when it runs, made before it first starts; read-only ones stay so."""
    source, shared = tmp_path / "file", tmp_path / "shared"
    source.write_text("brought\n")
    shared.mkdir()
    (shared / "there").write_text("of this host\n")
    volumes = ["filled:/data", "/anonymous", f"{shared}:/shared", f"{shared}:/kept:ro"]
    made = engine.create("toolbox", "sh", "-c", "cat /data/new /anonymous/new /shared/new; ls /kept", volumes=volumes)
    try:
        if begun:
            made.start()
            made.wait()
        for place in ("/data", "/anonymous", "/shared"):
            made.bring(source, f"{place}/new")
        with pytest.raises(Conflict, match="Read-only"):
            made.bring(source, "/kept/other")
        assert sorted(os.listdir(shared)) == ["new", "there"]
        made.fetch("/kept/there", tmp_path / "fetched")
        assert (tmp_path / "fetched").read_text() == "of this host\n"
        assert made.changes() == ()
        made.start()
        assert made.wait() == 0
        assert b"".join(output.data for output in made.logs()).endswith(b"brought\n" * 3 + b"new\nthere\n")
    finally:
        made.remove(volumes=True)
        engine.remove_volume("filled")


def test_where_nothing_can_be_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tier T4: the tree is reached, and a volume where it lies, not what the tree has in its place."""
    monkeypatch.setenv(TIER, "T4")
    source = tmp_path / "file"
    source.write_text("brought\n")
    with Engine(tmp_path / "store") as engine:
        made = engine.create("toolbox", "true", volumes=["data:/data"])
        for place in ("/tmp/new", "/data/new"):
            made.bring(source, place)
            made.fetch(place, tmp_path / "back")
            assert (tmp_path / "back").read_text() == "brought\n"
        assert "/data/new" not in {change.path for change in made.changes()}
        made.remove(volumes=True)
