"""ADD: archives, addresses and repositories, and the newer flags of COPY that Debian's BuildKit does not know."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import socket
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nbcontainers.errors import DockerfileError, HostError, NBContainersError
from nbcontainers.events import Warned
from tests.build import contexts
from tests.build.conftest import Builder
from tests.build.test_solver import unique

LIST = "RUN cd /o && find . -mindepth 1 | sort | while read f; do stat -c '%A %n' \"$f\"; done\n"


class Server:
    """Files of a folder by http on the loopback device; ``asked`` are the paths that were."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *words: Any) -> None:
                super().__init__(*words, directory=str(folder))

            def do_GET(self) -> None:
                asked.append(self.path)
                super().do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "web"
    folder.mkdir()
    made = Server(folder)
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def shared(builder: Builder) -> Builder:
    contexts.make(builder.context)
    return builder


def listed(builder: Builder, text: str) -> list[str]:
    """What is in /o at the end."""
    builder.build(f"FROM busybox\n{text}{LIST}")
    return builder.output.splitlines()


@pytest.mark.parametrize("name", ["app.tar", "app.tar.gz", "app.tgz", "app.tar.bz2", "app.tar.xz", "app.tar.zst"])
def test_archives_are_unpacked(shared: Builder, name: str) -> None:
    """Whatever compresses them; modes, links and owners are the archive's."""
    if name.endswith(".zst"):
        import zstandard

        data = zstandard.compress((shared.context / "app.tar").read_bytes())
        (shared.context / name).write_bytes(data)
    found = listed(shared, f"ADD {name} /o\n")
    assert "drwxr-x--- ./top" in found
    assert "-rw------- ./top/hard" in found
    assert "-rw-r--r-- ./unsaid/inner/file" in found


def test_unpack_says_whether(shared: Builder, web: Server, tmp_path: Path) -> None:
    """--unpack=false keeps an archive whole, --unpack unpacks one that was fetched."""
    (tmp_path / "web/x.tgz").write_bytes((shared.context / "app.tgz").read_bytes())
    assert listed(shared, "ADD --unpack=false app.tgz /o/\n") == ["-rw-r--r-- ./app.tgz"]
    assert listed(shared, f"ADD {web.url}/x.tgz /o/\n") == ["-rw------- ./x.tgz"]
    assert "drwxr-x--- ./top" in listed(shared, f"ADD --unpack {web.url}/x.tgz /o/\n")


def test_an_archive_never_leads_out(builder: Builder) -> None:
    """Its links are resolved inside the destination, where what they lead to is made, and a name with ``..`` is refused."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        link = tarfile.TarInfo("away")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("away/evil"))
    (builder.context / "x.tar").write_bytes(stream.getvalue())
    for made in ("true", "mkdir -p /o/etc"):
        builder.build(f"FROM busybox\nRUN {made}\nADD x.tar /o/\nRUN ls /o/etc; ls /etc\n")
        assert builder.output.split().count("evil") == 1
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../evil"))
    (builder.context / "x.tar").write_bytes(stream.getvalue())
    with pytest.raises(DockerfileError, match="outside"):
        builder.build("FROM busybox\nADD x.tar /o/\n")


def test_a_file_is_fetched(builder: Builder, web: Server, tmp_path: Path) -> None:
    """Named after its address, 0600, with the server's time; a checksum is checked, and then needs no fetching again."""
    content = unique().encode()
    (tmp_path / "web/file.txt").write_bytes(content)
    os.utime(tmp_path / "web/file.txt", (10**9, 10**9))
    builder.build(f"FROM busybox\nADD {web.url}/file.txt?x=1 /o/\nRUN stat -c '%a %Y %n' /o/*\n")
    assert builder.output == "600 1000000000 /o/file.txt\n"
    (tmp_path / "web/a b").write_text("spaced")
    builder.build(f"FROM busybox\nADD {web.url}/a%20b /o/\nRUN cat '/o/a b'\n")
    assert builder.output == "spaced"
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    text = f"FROM busybox\nADD --checksum={digest} --chmod=644 {web.url}/file.txt /o/name\nRUN stat -c %a /o/name\n"
    builder.build(text)
    assert builder.output == "644\n"
    web.asked.clear()
    builder.build(text)
    assert not web.asked
    with pytest.raises(DockerfileError, match="--checksum says") as caught:
        builder.build(f"FROM busybox\nADD --checksum=sha256:{'0' * 64} {web.url}/file.txt /o/name\n")
    assert caught.value.lines == (2, 2)
    with pytest.raises(DockerfileError, match="404"):
        builder.build(f"FROM busybox\nADD {web.url}/nothing /o/\n")
    with pytest.raises((DockerfileError, HostError), match="cannot be fetched"):
        builder.build("FROM busybox\nADD http://127.0.0.1:9/x /o/\n")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two commits, a tag, a branch and a folder."""
    place = tmp_path / "made.git"

    def git(*words: str) -> str:
        identity = ("-c", "user.name=A", "-c", "user.email=a@b.c")
        return subprocess.run(
            ["git", "-C", str(place), *identity, *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    place.mkdir()
    git("init", "-q", "-b", "main")
    (place / "sub").mkdir()
    (place / "file").write_text("one\n")
    (place / "sub/inner").write_text("inner\n")
    git("add", ".")
    git("commit", "-qm", "one")
    git("tag", "-a", "v1", "-m", "v1")
    git("checkout", "-qb", "side")
    (place / "file").write_text("two\n")
    git("commit", "-qam", "two")
    git("checkout", "-q", "main")
    git("update-server-info")
    return place


def test_repositories_are_fetched(builder: Builder, repository: Path) -> None:
    """At a branch, a tag, a commit or the default; a folder of it; with .git only if it is asked for."""
    url = f"file://{repository}"
    for ref, word in {"": "one", "#side": "two", "#v1": "one", "#refs/tags/v1": "one", "?branch=side": "two"}.items():
        builder.build(f"FROM busybox\nADD {url}{ref} /o\nRUN cat /o/file; ls -A /o\n", no_cache=True)
        assert builder.output.split() == [word, "file", "sub"]
    builder.build(f"FROM busybox\nADD --keep-git-dir=true {url} /o\nRUN ls -A /o\n")
    assert builder.output.split() == [".git", "file", "sub"]
    builder.build(f"FROM busybox\nADD {url}#main:sub /o\nRUN ls -A /o\n")
    assert builder.output.split() == ["inner"]
    commit = subprocess.run(
        ["git", "-C", str(repository), "rev-parse", "side"], capture_output=True, text=True, check=True
    ).stdout.strip()
    builder.build(f"FROM busybox\nADD --checksum={commit} {url}#side /o\nRUN cat /o/file\n")
    assert builder.output == "two\n"
    with pytest.raises(DockerfileError, match="the checksum is"):
        builder.build(f"FROM busybox\nADD --checksum={commit} {url}#main /o\n")
    for bad in ("#nothing", "#main:nothing"):
        with pytest.raises(DockerfileError, match="line 2"):
            builder.build(f"FROM busybox\nADD {url}{bad} /o\n")
    with pytest.raises(NBContainersError, match="no option"):
        builder.build(f"FROM busybox\nADD {url}?what=x /o\n")


def test_a_socket_is_an_empty_file(shared: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied, added and mounted, with its mode; so does BuildKit bring it."""
    monkeypatch.chdir(shared.context)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("sock")
    os.chmod("sock", 0o620)
    text = "COPY . /o/\nADD sock /o/x/\nCOPY --chmod=700 sock /o/y\nRUN --mount=target=/c find /c/sock /o -size 0 -name 's*k' -type f\n"
    shared.build(f"FROM busybox\n{text}RUN stat -c '%A %s' /o/sock /o/x/sock /o/y\n")
    found = "/c/sock /o/sock /o/x/sock -rw--w----_0 -rw--w----_0 -rwx------_0"
    assert sorted(line.replace(" ", "_") for line in shared.output.splitlines()) == sorted(found.split())


def test_symbolic_modes(shared: Builder) -> None:
    """As chmod(1) reads them, for files and folders each."""
    assert listed(shared, "COPY --chmod=u=rwX,go=rX private /o/p/\n") == ["drwxr-xr-x ./p", "-rw-r--r-- ./p/key"]
    assert listed(shared, "COPY --chmod=a+x a.txt b.txt /o/\n") == ["-rwxr-xr-x ./a.txt", "-rwxr-x--x ./b.txt"]
    assert listed(shared, "COPY --chmod=g=u,o-rwx,u+s a.txt /o/\n") == ["-rwSrw---- ./a.txt"]
    for wrong in ("u+q", "8", "z=r", "u", "u=rw,,g=r"):
        with pytest.raises(DockerfileError, match="--chmod"):
            shared.build(f"FROM busybox\nCOPY --chmod={wrong} a.txt /o/\n")


def test_parents_are_copied_too(shared: Builder) -> None:
    """From the context's root on, or from ``/./`` on; with their modes; ``**`` is any number of folders."""
    assert listed(shared, "COPY --parents private/key /o/\n") == ["drwx------ ./private", "-rw------- ./private/key"]
    deep = ["drwxr-xr-x ./three", "-rw-r--r-- ./three/file"]
    assert listed(shared, "COPY --parents deep/one/two/./three /o/\n") == deep
    assert listed(shared, "COPY --parents ./docs/*.md ./LICENSE /o\n") == [
        "-rw-r--r-- ./LICENSE",
        "drwxr-xr-x ./docs",
        "-rw-r--r-- ./docs/README.md",
    ]
    found = listed(shared, "COPY --parents **/*.md /o/\n")
    assert [line.split()[1] for line in found] == [
        "./README.md",
        "./docs",
        "./docs/README.md",
        "./docs/guide",
        "./docs/guide/intro.md",
    ]
    for source in ("nothing*/x", "nothing/x", "src/./", "."):  # as in BuildKit, which says no word of it
        assert listed(shared, f"COPY --parents {source} /o/\n") == []
        told = [event.message for event in shared.events if isinstance(event, Warned)]
        assert told == [f"{source!r} matches nothing in the context"]
    with pytest.raises(DockerfileError, match="not in the context"):
        shared.build("FROM busybox\nCOPY --parents nothing/./x /o/\n")
    text = (
        "FROM busybox AS s\nCOPY . /w/\nFROM busybox\nCOPY --from=s --parents /w/./src/lib/*.js /w/docs/gu* /o/\n"
        + LIST
    )
    shared.build(text)
    assert [line.split()[1] for line in shared.output.splitlines()] == [
        *("./src", "./src/lib", "./src/lib/util.js", "./src/lib/util.test.js"),
        *("./w", "./w/docs", "./w/docs/guide", "./w/docs/guide/intro.md"),
    ]


def test_patterns_are_left_out(shared: Builder) -> None:
    """Relative to each folder that is copied; a file that a source names itself is not asked."""
    assert [line.split()[1] for line in listed(shared, "COPY --exclude=lib/*.test.js --exclude=styles src /o/\n")] == [
        *("./index.js", "./lib", "./lib/util.js", "./relative"),
    ]
    assert len(listed(shared, "COPY --exclude=*.txt a.txt b.txt /o/\n")) == 2
    found = [line.split()[1] for line in listed(shared, "COPY --exclude=**/*.js --exclude=!lib/util.js src /o/\n")]
    assert "./lib/util.js" in found
    assert "./index.js" not in found
    text = f"FROM busybox AS s\nCOPY docs /d/\nFROM busybox\nCOPY --from=s --exclude=guide /d /o/\n{LIST}"
    shared.build(text)
    assert shared.output.splitlines() == ["-rw-r--r-- ./README.md"]


def test_checksums_are_for_one_address(shared: Builder) -> None:
    """For nothing else, and in their own form."""
    for line in ("ADD --checksum=sha256:ab a.txt /o/", "ADD --checksum=x http://127.0.0.1:9/x /o/"):
        with pytest.raises(DockerfileError, match="--checksum"):
            shared.build(f"FROM busybox\n{line}\n")
    with pytest.raises(DockerfileError, match="COPY has the address"):
        shared.build("FROM busybox\nCOPY http://127.0.0.1:9/x /o/\n")
