"""A blob whose pull was killed half-way goes on where it was, and what nobody comes back for goes away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nbcontainers.engine import registries, room, upkeep
from nbcontainers.errors import IntegrityError
from nbcontainers.events import ignore
from nbcontainers.results import DiskUse
from nbcontainers.store import parts as halves
from nbcontainers.store.store import Store
from tests.store.registry.servers import Parts, Request, Server, serving
from tests.store.registry.test_registry import PULL
from tests.store.validate import validate

CUT = 700_000


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as running:
        yield running


def half(root: Path) -> halves.Found:
    """The one part in a store."""
    (found,) = halves.every(root)
    return found


def killed(root: Path, server: Server, parts: Parts) -> str:
    """Pull from a server that gives no more than ``CUT`` bytes of the layer, and kill -9 that when they are in the store."""
    name, path = parts.serve(server), parts.blob(0)
    whole, done = server.routes[path], threading.Event()

    def slow(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(parts.layers[0])))
        request.end_headers()
        request.wfile.write(parts.layers[0][:CUT])
        request.wfile.flush()
        done.wait(120)
        request.close_connection = True

    server.routes[path] = slow
    process = subprocess.Popen([sys.executable, "-c", PULL, str(root), name], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 100
        while CUT not in [part.size for part in halves.every(root)]:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert half(root).is_live
        assert halves.sweep(root, before=time.time() + 1) == 0
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        done.set()
    server.routes[path] = whole
    server.seen.clear()
    return name


def pull(store: Store, name: str) -> None:
    validate(store, registries.pull(store, name, platform=None, insecure=False, on_event=ignore))
    assert not list(halves.every(store.root))
    store.images.collect()  # the lease of who was killed


def ranges(server: Server, path: str) -> list[str]:
    """What was asked of a blob; empty for all of it."""
    return [headers.get("Range", "") for _, asked, headers in server.seen if asked == path]


def test_the_next_pull_asks_for_the_rest_only(store: Store, server: Server) -> None:
    """kill -9 with 700,000 bytes there: a collection keeps them, and the next pull asks for what comes behind them."""
    parts = Parts.make(1, layers=1, size=1 << 20)
    name = killed(store.root, server, parts)
    store.images.collect()
    pull(store, name)
    assert ranges(server, parts.blob(0)) == [f"bytes={CUT}-"]


def _tampered(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"something else")


def _longer(path: Path) -> None:
    os.truncate(path, 8 << 20)


@pytest.mark.parametrize(("spoil", "asked"), [(_tampered, [f"bytes={CUT}-", ""]), (_longer, [""])])
def test_a_part_that_is_not_what_came_is_thrown_away(
    store: Store, server: Server, spoil: Callable[[Path], None], asked: list[str]
) -> None:
    """Digest and size are those of the whole, whatever was there: the blob comes again from its beginning."""
    parts = Parts.make(2, layers=1, size=1 << 20)
    name = killed(store.root, server, parts)
    spoil(half(store.root).path)
    pull(store, name)
    assert ranges(server, parts.blob(0)) == asked


def test_a_server_without_ranges_gives_the_whole(store: Store, server: Server) -> None:
    """It answers 200, once, and a liar's answer leaves nothing."""
    parts = Parts.make(3, layers=1, size=1 << 20)
    name = killed(store.root, server, parts)
    honest = parts.layers[0]
    server.routes[parts.blob(0)] = lambda request: request.answer(200, honest[:-1] + b"?")
    with pytest.raises(IntegrityError, match="has other bytes"):
        registries.pull(store, name, platform=None, insecure=False, on_event=ignore)
    assert not list(halves.every(store.root))
    name = killed(store.root, server, parts)
    server.routes[parts.blob(0)] = lambda request: request.answer(200, honest)
    pull(store, name)
    assert ranges(server, parts.blob(0)) == [f"bytes={CUT}-"]


def test_parts_are_counted_and_go_in_time(store: Store, server: Server) -> None:
    """``system df`` has a line of them; a collection removes one of the day before yesterday, a prune those of any age."""
    parts = Parts.make(4, layers=1, size=1 << 20)
    killed(store.root, server, parts)
    (line,) = (use for use in room.disk_use(store, (), ()) if use.kind == "Partial Pulls")
    assert line == DiskUse(kind="Partial Pulls", total=1, active=0, size=CUT, reclaimable=CUT)
    upkeep.prune(store, (), filters=["until=1h"])
    assert half(store.root).size == CUT
    assert upkeep.prune(store, (), kinds=["images"]).size >= CUT
    assert not list(halves.every(store.root))
    killed(store.root, server, parts)
    old = time.time() - 2 * halves.FRESH
    os.utime(half(store.root).path, (old, old))
    store.images.collect()
    assert not list(halves.every(store.root))
