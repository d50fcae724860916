"""What docker cp makes of links and of slashes at the end, and the names in its archives: as docker, and inside the container."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from nbcontainers import Container, Engine
from nbcontainers.errors import Conflict, NBContainersError, NotFound

SCRIPT = (
    "mkdir -p /data/sub; echo one > /data/one; echo two > /data/sub/two; ln -s one /data/link; ln /data/one /data/hard; "
    "echo ready; exec sleep 600"
)


def _seen(container: Container, path: str, folder: Path) -> tarfile.TarInfo:
    """What a path of a container is, link or not."""
    with (folder / "seen.tar").open("w+b") as archive:
        container.fetch(path, archive)
        archive.seek(0)
        with tarfile.open(fileobj=archive) as opened:
            return opened.getmembers()[0]


@pytest.mark.parametrize(
    ("target", "real"),
    [
        ("/data/one", "/data/one"),  # by an absolute link
        ("one", "/data/one"),
        ("first/../one", "/data/one"),
        ("sub/missing", "/data/sub/missing"),
        ("/data/missing", "/data/missing"),
        ("/../../../../../tmp/missing", "/tmp/missing"),
        ("link", "/data/one"),  # a link to a link
    ],
)
def test_a_link_is_written_through(container: Container, tmp_path: Path, target: str, real: str) -> None:
    """The file behind a link where a file is to lie is written or made, inside the container; the link stays."""
    (tmp_path / "file").write_text("new")
    (tmp_path / "tree/first").mkdir(parents=True)
    (tmp_path / "tree/there").symlink_to(target)
    container.bring(f"{tmp_path}/tree/.", "/data")
    container.bring(tmp_path / "file", "/data/there")
    assert _seen(container, "/data/there", tmp_path).linkname == target
    assert _seen(container, real, tmp_path).isfile()
    container.fetch(real, tmp_path / "got")
    assert (tmp_path / "got").read_text() == "new"
    assert not Path("/tmp/missing").exists()


def test_links_that_cannot_be_written_through(container: Container, tmp_path: Path) -> None:
    """A circle, and a link into a folder that is not there, are told; nothing takes their place."""
    (tmp_path / "file").write_text("new")
    (tmp_path / "tree").mkdir()
    for name, target in (("circle", "back"), ("back", "circle"), ("nowhere", "/no/such/folder/file")):
        (tmp_path / "tree" / name).symlink_to(target)
    container.bring(f"{tmp_path}/tree/.", "/data")
    for name in ("circle", "nowhere"):
        with pytest.raises((Conflict, NotFound)):
            container.bring(tmp_path / "file", f"/data/{name}")
        assert _seen(container, f"/data/{name}", tmp_path).issym()
    with pytest.raises(Conflict, match="circle"):
        container.fetch("/data/one", tmp_path / "tree/circle")


def test_a_link_of_this_host_is_written_through(container: Container, tmp_path: Path) -> None:
    """As with cp(1), whether there is something behind it or not."""
    (tmp_path / "old").write_text("old")
    (tmp_path / "link").symlink_to("old")
    (tmp_path / "dangling").symlink_to(tmp_path / "made")
    for name, real in (("link", "old"), ("dangling", "made")):
        container.fetch("/data/one", tmp_path / name)
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / real).read_text() == "one\n"


def test_a_slash_at_the_end_is_of_a_folder(container: Container, tmp_path: Path) -> None:
    """A link to a folder that is copied with one gives what it leads to; what is no folder cannot have one."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").write_text("content")
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "file").symlink_to("real/file")
    container.bring(tmp_path / "folder", "/data/plain")
    assert _seen(container, "/data/plain", tmp_path).linkname == "real"
    for number, source in enumerate((f"{tmp_path}/folder/", f"{tmp_path}/folder/.")):
        container.bring(source, f"/data/whole{number}")
        assert _seen(container, f"/data/whole{number}/file", tmp_path).size == len("content")
    container.bring(f"{tmp_path}/folder/", "/data/sub")
    assert _seen(container, "/data/sub/folder", tmp_path).isdir()
    container.bring(f"{tmp_path}/folder/.", "/data/sub")
    assert _seen(container, "/data/sub/file", tmp_path).isfile()
    container.bring(tmp_path / "real", "/data")
    for number, source in enumerate(("/data/plain/", "/data/plain/.")):
        container.fetch(source, tmp_path / f"got{number}")
        assert (tmp_path / f"got{number}/file").read_text() == "content"
    for source in (f"{tmp_path}/real/file/", f"{tmp_path}/real/file/.", f"{tmp_path}/file/"):
        with pytest.raises(Conflict, match="not a directory"):
            container.bring(source, "/data/new")
    for source in ("/data/one/", "/data/one/.", "/data/link/"):
        with pytest.raises(Conflict, match="not a directory"):
            container.fetch(source, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("path", "follow", "first"),
    [
        ("/data", False, ["data/", "data/hard", "data/link"]),
        ("/data/", False, ["data/", "data/hard", "data/link"]),
        ("/data/.", False, ["./", "./hard", "./link"]),
        ("/data/sub/.", False, ["./", "./two"]),
        ("/data/to/.", False, ["./", "./two"]),
        ("/data/to/", False, ["to/", "to/two"]),
        ("/data/to", False, ["to"]),
        ("/data/to", True, ["sub/", "sub/two"]),
    ],
)
def test_an_archive_begins_with_the_folder_itself(
    container: Container, tmp_path: Path, path: str, follow: bool, first: list[str]
) -> None:
    """Its content is below ``./``, which has the mode and the owner of the folder: the names are those that docker gives."""
    (tmp_path / "to").symlink_to("sub")
    container.bring(tmp_path / "to", "/data")
    memory = io.BytesIO()
    container.fetch(path, memory, follow=follow)
    with tarfile.open(fileobj=io.BytesIO(memory.getvalue())) as archive:
        found = archive.getmembers()
    names = [entry.name + "/" * entry.isdir() for entry in found]
    assert names[: len(first)] == first
    assert found[0].mode == (0o777 if first == ["to"] else 0o755)
    container.bring(io.BytesIO(memory.getvalue()), "/tmp")  # hard links too lead to what is below


@pytest.mark.parametrize("owners", [False, True])
def test_what_lies_above_an_entry_is_made(container: Container, owners: bool) -> None:
    """An archive need not tell of the folders of its files: as in docker they are root's, and everybody may enter them."""
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as archive:
        entry = tarfile.TarInfo("deep/er/file")
        entry.uid = entry.gid = 33
        archive.addfile(entry)
    container.bring(io.BytesIO(memory.getvalue()), "/srv", owners=owners)
    container.fetch("/srv/deep", memory := io.BytesIO(), owners=True)
    with tarfile.open(fileobj=io.BytesIO(memory.getvalue())) as archive:
        found = {entry.name: (entry.mode, entry.uid, entry.gid) for entry in archive.getmembers()}
    assert (found["deep"], found["deep/er"]) == ((0o755, 0, 0), (0o755, 0, 0))
    assert found["deep/er/file"][1:] == ((33, 33) if owners else (0, 0))
    for above, word in (("deep/er/file", "Not a directory"), ("link", "symbolic links")):
        with tarfile.open(fileobj=(memory := io.BytesIO()), mode="w") as archive:
            (link := tarfile.TarInfo("link")).type = tarfile.SYMTYPE
            link.linkname = "/etc"
            archive.addfile(link)
            archive.addfile(tarfile.TarInfo(f"{above}/below/it"))
        with pytest.raises(NBContainersError, match=word):
            container.bring(io.BytesIO(memory.getvalue()), "/srv")


def test_the_archive_of_a_whole_container(engine: Engine, tmp_path: Path) -> None:
    """All its names begin with a slash, as in docker, the root's own first; of ``/.`` with a dot. Both can be brought back."""
    container = engine.create("toolbox", "true")
    for path, first in (("/", "/"), ("/.", ".")):
        with open(tmp_path / "whole.tar", "w+b") as archive:
            container.fetch(path, archive)
            archive.seek(0)
            with tarfile.open(fileobj=archive) as opened:
                names = opened.getnames()
            assert names[0].rstrip("/") == first.rstrip("/")
            assert all(name.startswith(f"{names[0].rstrip('/')}/") for name in names[1:])
            archive.seek(0)
            container.bring(archive, "/tmp")
    container.fetch("/tmp/etc/passwd", tmp_path / "passwd")


def test_what_the_kernel_shows_is_in_no_archive(container: Container) -> None:
    """As in docker the folder of /proc is empty, of a container that runs too; a file of it that is named comes."""
    memory = io.BytesIO()
    container.fetch("/proc", memory)
    with tarfile.open(fileobj=io.BytesIO(memory.getvalue())) as archive:
        assert archive.getnames() == ["proc"]
    if container.state.status == "running":
        container.fetch("/", memory := io.BytesIO())
        with tarfile.open(fileobj=io.BytesIO(memory.getvalue())) as archive:
            assert not [name for name in archive.getnames() if name.startswith(("/proc/", "/sys/"))]
        container.fetch("/proc/version", memory := io.BytesIO())
        with tarfile.open(fileobj=io.BytesIO(memory.getvalue())) as archive:
            content = archive.extractfile("version")
            assert content is not None
            assert content.read() == Path("/proc/version").read_bytes()
