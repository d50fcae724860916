"""Many threads on one engine, and interrupts every few milliseconds: all is done, or nothing is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from nbcontainers import Engine
from nbcontainers.errors import Conflict, LaunchError, NotFound
from nbcontainers.events import Event, Output
from tests.build.test_interrupts import left_running
from tests.waiting import PATIENCE_S, until

DOCKERFILE = "FROM toolbox\nRUN sleep 30 # {mark}\n"


@pytest.fixture(scope="module")
def root(module_path: Path) -> Iterator[Path]:
    """A store with the toolbox image and a container ``host`` that runs."""
    with Engine(module_path) as engine:
        host = engine.run("toolbox", "sleep", "600", name="host", detach=True)
        yield module_path
        host.remove(force=True)
        assert engine.containers(all=True) == ()


def test_sixteen_threads_use_one_engine(root: Path) -> None:
    """Each has its own container, from the start to the removal, with its own output."""

    def live(number: int) -> None:
        events: list[Event] = []
        container = engine.run("toolbox", "sh", "-c", f"echo {number}; exit {number}")
        assert container.attach(events.append) == number
        assert [event.data for event in events if isinstance(event, Output)] == [b"%d\n" % number]
        assert engine.container("host").name == "host"
        engine.tag("toolbox", f"thread:{number}")
        container.remove()

    with Engine(root) as engine, ThreadPoolExecutor(16) as pool:
        list(pool.map(live, range(1, 33)))
        assert len([image for image in engine.images() if "thread" in str(image.reference)]) == 32
        assert [container.name for container in engine.containers(all=True)] == ["host"]
        assert engine.check().faults == ()


def test_commands_are_entered_while_a_container_is_restarted_and_removed(root: Path) -> None:
    """Each runs in it, or is told that it does not run; none runs elsewhere, and none is left."""
    inside: set[bytes] = set()
    refused: set[str] = set()

    def enter(number: int) -> None:
        with contextlib.suppress(NotFound):
            while churned.state:  # until it is removed
                said: list[Event] = []
                try:
                    if churned.exec("printenv", "MARK").attach(said.append) == 0:
                        inside.add(b"".join(event.data for event in said if isinstance(event, Output)))
                except (Conflict, LaunchError) as error:
                    refused.add(str(error).replace(churned.id, "").replace(name, ""))

    with Engine(root) as engine, ThreadPoolExecutor(6) as pool:
        churned = engine.run("toolbox", "sleep", "600", env={"MARK": "churned"}, detach=True)
        name = churned.name
        entering = pool.map(enter, range(6))
        for _ in range(12):
            time.sleep(0.05)
            churned.restart(0)
        churned.remove(force=True)
        list(entering)
        assert inside == {b"churned\n"}
        words = ("is not running", "ended meanwhile", "before it ran")
        assert all(any(word in one for word in words) for one in refused), refused
        assert [container.name for container in engine.containers(all=True)] == ["host"]


class _Slow(BaseHTTPRequestHandler):
    """The blobs of a store as a registry would send them, over a line that is slow."""

    protocol_version = "HTTP/1.1"
    blobs: Path
    manifest: tuple[str, str]  # its digest and media type

    def do_GET(self) -> None:
        """Source: OCI distribution specification 1.1, "Pull"."""
        digest, kind = self.path.rpartition("/")[2], "application/octet-stream"
        if "/manifests/" in self.path:
            digest, kind = self.manifest
        data = (self.blobs / digest.partition(":")[2]).read_bytes() if ":" in digest else b"{}"
        self.send_response(200)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(data))),
            ("Docker-Content-Digest", digest),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        with contextlib.suppress(OSError):
            for start in range(0, len(data), 1 << 14):
                self.wfile.write(data[start : start + (1 << 14)])
                time.sleep(0.02)

    def do_HEAD(self) -> None:
        """The same without the bytes."""
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def slow(root: Path) -> Iterator[str]:
    """A registry on loopback that takes minutes to send the toolbox image, under this name."""
    with Engine(root) as engine:
        descriptor = engine.image("toolbox").descriptor
    _Slow.blobs, _Slow.manifest = root / "blobs/sha256", (descriptor.digest, descriptor.media_type)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Slow) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}/slow/toolbox"
        server.shutdown()


@pytest.mark.parametrize("verb", ["pull", "run"])
def test_an_interrupt_storm_in_a_pull_leaves_nothing(tmp_path: Path, slow: str, verb: str) -> None:
    """Neither a name nor a container, nor a lease or process; the half of a blob that came is kept for the next pull, or pruned."""
    store, mark = tmp_path / "store", f"pull{os.getpid()}{verb}"
    words = ["pull", slow] if verb == "pull" else ["run", "--rm", slow, "sh", "-c", f"true # {mark}"]
    with Engine(store) as engine:
        assert engine.images() == ()
    (tmp_path / "registries.toml").touch()  # the one that all tests have lets none be asked
    own = {"NBCONTAINERS_ROOT": str(store), "NBCONTAINERS_REGISTRIES": str(tmp_path / "registries.toml")}
    silent, environment = subprocess.DEVNULL, {**os.environ, **own}
    command = [sys.executable, "-m", "nbcontainers", *words]
    with (
        (tmp_path / "said").open("wb") as out,
        subprocess.Popen(command, env=environment, stdin=silent, stdout=out, stderr=out) as program,
    ):
        until(lambda: program.poll() is not None or any(path.stat().st_size for path in _coming(store)))
        assert program.poll() is None, (tmp_path / "said").read_text()
        _storm(program)
    with Engine(store) as engine:
        until(lambda: not left_running(mark))
        assert (engine.images(), engine.containers(all=True)) == ((), ())
        assert list((store / "leases").iterdir()) == []
        engine.prune(["images", "cache"], all=True)
        assert engine.check().faults == ()
        assert [path for path in (store / "blobs").rglob("*") if path.is_file()] == []
        assert _coming(store) == []


def _storm(program: subprocess.Popen[bytes]) -> None:
    """Interrupt a program again and again, until it has ended."""
    deadline = time.monotonic() + PATIENCE_S
    while program.poll() is None and time.monotonic() < deadline:
        program.send_signal(signal.SIGINT)
        time.sleep(0.003)
    assert program.poll() is not None


def _coming(store: Path) -> list[Path]:
    """What of blobs has come so far."""
    return [path for name in ("ingest", "parts") for path in (store / name).rglob("*") if path.is_file()]


@pytest.mark.parametrize("after", [0.0, 0.5, 1.5])
@pytest.mark.parametrize(
    "words",
    [
        ["run", "--rm", "toolbox", "sh", "-c", "sleep 30 # {mark}"],
        ["exec", "host", "sh", "-c", "sleep 30 # {mark}"],
        ["build", "-"],
    ],
    ids=lambda words: words[0],
)
def test_an_interrupt_storm_leaves_nothing(root: Path, words: list[str], after: float) -> None:
    """Interrupts every 3 ms from some instant on: the program ends, and no container, process, mount or lease of it is left."""
    mark = f"storm{os.getpid()}{words[0]}{after}"
    command = [sys.executable, "-m", "nbcontainers", *(word.format(mark=mark) for word in words)]
    given = DOCKERFILE.format(mark=mark).encode() if words[0] == "build" else b""
    environment = {**os.environ, "NBCONTAINERS_ROOT": str(root)}
    silent = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=silent, stderr=silent) as program:
        assert program.stdin is not None
        program.stdin.write(given)
        program.stdin.close()
        time.sleep(after)
        _storm(program)
    with Engine(root) as engine:
        until(lambda: not left_running(mark))
        until(lambda: [one.name for one in engine.containers()] == ["host"])
        for container in engine.containers(all=True):
            if container.name != "host":
                container.remove()
        assert engine.check().faults == ()
