"""Real registries on loopback: Debian's docker-registry, in every way that it protects itself."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nbcontainers.store.registry import session
from nbcontainers.store.registry.documents import ACCEPTED
from tests.machine import free_port
from tests.store.registry.authorities import Authority
from tests.waiting import PATIENCE_S, until

needs_registry = pytest.mark.skipif(not shutil.which("docker-registry"), reason="docker-registry is not installed")
PASSWORD = "correct horse"  # of reader; the line below is its bcrypt digest
HTPASSWD = "reader:$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2\n"


@dataclass(frozen=True)
class Registry:
    """A registry that runs: HOST:PORT, and the folder of its configuration, data and log."""

    host: str
    folder: Path

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def requests(self, method: str, part: str = "") -> int:
        """How often something was asked."""
        return sum(1 for line in self.log().splitlines() if f'"{method} ' in line and part in line)


Start = Callable[..., Registry]


@pytest.fixture(scope="module")
def start(module_path: Path) -> Iterator[Start]:
    """Starts registries, which end with the module; ``lines`` are added to the configuration by section."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(*, http_lines: str = "", sections: str = "", ready: int = 200) -> Registry:
        if not shutil.which("docker-registry"):
            pytest.skip("docker-registry is not installed")
        folder, port = Path(tempfile.mkdtemp(prefix="registry-", dir=module_path)), free_port()
        config = folder / "config.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error}\n"
            f"storage:\n  filesystem: {{rootdirectory: {folder}/data}}\n  delete: {{enabled: true}}\n"
            f"http:\n  addr: 127.0.0.1:{port}\n  secret: of this test\n{http_lines}{sections}"
        )
        with (folder / "log").open("wb") as log:
            environ = {"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"}
            running.append(
                subprocess.Popen(
                    ["docker-registry", "serve", str(config)], stdout=log, stderr=log, env=environ, cwd=folder
                )
            )
        wait_until_it_listens(running[-1], port, folder / "log")
        return Registry(f"127.0.0.1:{port}", folder)

    yield begin
    for process in running:
        process.terminate()
    for process in running:
        process.wait(PATIENCE_S)


def wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    def listens() -> bool:
        assert process.poll() is None, log.read_text()
        socket.create_connection(("127.0.0.1", port), PATIENCE_S).close()
        return True

    until(listens)


@pytest.fixture(scope="module")
def registry(start: Start) -> Registry:
    """A registry without protection."""
    return start()


@pytest.fixture(scope="module")
def private(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A registry that wants the password of ``reader``."""
    users = tmp_path_factory.mktemp("users") / "htpasswd"
    users.write_text(HTPASSWD)
    return start(sections=f"auth:\n  htpasswd: {{realm: test, path: {users}}}\n")


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority of the tests' own, that nobody knows."""
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def protected(start: Start, authority: Authority) -> Registry:
    """A registry with a certificate of an unknown authority."""
    certificate, key = authority.certificate("127.0.0.1")
    return start(http_lines=f"  tls: {{certificate: {certificate}, key: {key}}}\n")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has configured nothing, and waits little."""
    folder = tmp_path / "home"
    folder.mkdir()
    rules = folder / "registries.toml"
    rules.write_text('[registry."docker.io"]\nblocked = true\n')
    for name in (
        "DOCKER_CONFIG",
        "REGISTRY_AUTH_FILE",
        "XDG_RUNTIME_DIR",
        "XDG_CONFIG_HOME",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("NBCONTAINERS_REGISTRIES", str(rules))
    monkeypatch.setattr(session, "pace", 0.02)
    return folder


def answered(host: str, path: str) -> tuple[int, bytes]:
    """What a registry without TLS answers to a GET."""
    connection = http.client.HTTPConnection(host, timeout=PATIENCE_S)
    try:
        connection.request("GET", path, headers={"Accept": ", ".join(ACCEPTED)})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
