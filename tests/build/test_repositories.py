"""Repositories as contexts and for ADD, from a real git server on loopback."""

from __future__ import annotations

import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers import Engine
from nbcontainers.build import fetching, remotes
from nbcontainers.cli import main
from nbcontainers.errors import NotFound
from tests.build.conftest import Builder

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
DOCKERFILE = "FROM scratch\nCOPY . /\nLABEL from=repository\n"


def git(place: Path, *words: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "protocol.file.allow=always")
    done = subprocess.run(["git", "-C", str(place), *identity, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


class Backend(http.server.BaseHTTPRequestHandler):
    """Git's own server program, by the smart protocol; ``root`` holds the repositories."""

    root = Path()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        length = int(self.headers.get("Content-Length") or 0)
        environ = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type") or "",
            "CONTENT_LENGTH": str(length),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "",
        }
        body = self.rfile.read(length)
        done = subprocess.run(["git", "http-backend"], env=environ, input=body, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        lines = [line.partition(": ")[::2] for line in head.decode().splitlines()]
        status = next((value.partition(" ")[0] for name, value in lines if name == "Status"), "200")
        self.send_response(int(status))
        for name, value in lines:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with ``ann/app.git``, whose submodule is ``ann/part.git``."""
    root = tmp_path_factory.mktemp("git")
    handler = type("Handler", (Backend,), {"root": root})
    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    url = f"http://127.0.0.1:{listening.server_address[1]}"
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    work = root / "work"
    for name in ("part", "app"):
        (work / name).mkdir(parents=True)
        git(work / name, "init", "-q", "-b", "main")
        (work / name / "file").write_text(f"{name}\n")
        (work / name / "Dockerfile").write_text(DOCKERFILE)
        if name == "app":
            git(work / name, "submodule", "add", "-q", f"{url}/ann/part.git", "inner")
        git(work / name, "add", ".")
        git(work / name, "commit", "-qm", "one")
        git(work / name, "tag", "v1")
        git(work / name, "tag", "-a", "-m", "told", "told")
        (work / name / "file").write_text(f"{name} 2\n")
        git(work / name, "commit", "-qam", "two")
        git(root, "clone", "-q", "--bare", str(work / name), f"ann/{name}.git")
    yield url
    listening.shutdown()
    listening.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("fragment", "names"),
    [
        ("", ["refs/heads/main", "refs/tags/main"]),
        ("#main", ["refs/heads/main", "refs/tags/main"]),
        ("#v1", ["refs/heads/v1", "refs/tags/v1"]),
        ("#told", ["refs/tags/told"]),
    ],
)
def test_a_kept_repository_knows_its_name(server: str, fragment: str, names: list[str], tmp_path: Path) -> None:
    """The branch or tag that was asked for is one in a kept .git, as in BuildKit, and git describes the commit by it."""
    remote = remotes.parse(f"{server}/ann/app.git{fragment}", keep_git_dir=True)
    fetched = fetching.repository(remote, fetching.commit_of(remote), tmp_path)
    told = subprocess.run(
        ["git", "-C", str(fetched.path), "for-each-ref", "--format=%(refname)"], capture_output=True, check=True
    )
    assert told.stdout.decode().split() == names
    described = subprocess.run(["git", "-C", str(fetched.path), "describe", "--tags"], capture_output=True, check=True)
    assert described.stdout.decode().strip() == names[-1].removeprefix("refs/tags/")
    assert not (fetched.path / ".git/FETCH_HEAD").exists()


def test_a_repository_comes_with_its_submodules(builder: Builder, server: str) -> None:
    """Over http too, at a tag; unless they are not wanted."""
    builder.build(f"FROM busybox\nADD {server}/ann/app.git#v1 /o\nRUN cd /o; cat file inner/file; ls -A . inner\n")
    assert builder.output.split() == [
        *("app", "part", "2"),
        *(".:", ".gitmodules", "Dockerfile", "file", "inner", "inner:", "Dockerfile", "file"),
    ]
    builder.build(f"FROM busybox\nADD {server}/ann/app.git?submodules=false /o\nRUN cat /o/file; ls -A /o/inner\n")
    assert builder.output == "app 2\n"
    builder.build(f"FROM busybox\nADD {server}/ann/app.git?submodules=false /o\nRUN cat /o/file; ls -A /o/inner\n")
    assert builder.cached == [True, True, True]


def test_a_context_may_be_named_as_docker_names_those_of_github(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``github.com/USER/REPOSITORY`` alone, with a branch and a folder; a folder of that name here goes first."""
    (tmp_path / ".gitconfig").write_text(f'[url "{server}/"]\n\tinsteadOf = https://github.com/\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with Engine(tmp_path / "store") as engine:
        made = engine.build(Path("Dockerfile"), context="github.com/ann/app#v1")
        assert made.image.config.config.labels == {"from": "repository"}
        assert main.run(["build", "-q", "-t", "app", "github.com/ann/app.git#main:inner"], engine=engine) == 0
        assert engine.image("app").config.config.labels == {"from": "repository"}
        with pytest.raises(NotFound):
            engine.build(Path("Dockerfile"), context="github.com/ann/none")
        (tmp_path / "github.com/ann/app").mkdir(parents=True)
        (tmp_path / "github.com/ann/app/Dockerfile").write_text("FROM scratch\nLABEL from=here\n")
        assert main.run(["build", "-q", "-t", "here", "github.com/ann/app"], engine=engine) == 0
        assert engine.image("here").config.config.labels == {"from": "here"}
    capsys.readouterr()


@pytest.mark.parametrize(
    ("word", "url"),
    [
        ("github.com/a/b", "https://github.com/a/b.git"),
        ("github.com/a/b.git#main:sub", "https://github.com/a/b.git#main:sub"),
        ("github.com/a/b/", "https://github.com/a/b.git"),
        ("gitlab.com/a/b", "gitlab.com/a/b"),
        ("https://github.com/a/b.git", "https://github.com/a/b.git"),
    ],
)
def test_only_github_is_known_without_a_scheme(word: str, url: str) -> None:
    """As docker has it."""
    assert remotes.of_context(word) == url
