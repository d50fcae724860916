"""A host for the tests of networks: for root a network namespace of its own with a world beyond it, else the real one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nbcontainers.engine import Container, Engine
from nbcontainers.events import Event, Output
from nbcontainers.linux import syscalls
from nbcontainers.linux.network import Links, within
from tests.machine import IS_ADMIN
from tests.waiting import PATIENCE_S, until

WORLD, HOST = "203.0.113.2", "203.0.113.1"
GET = "import urllib.request as u; print(u.urlopen('http://{}', timeout=100).read().decode())"

# Says who asks: over HTTP, and as the answer to every question for a name.
SERVER = f"""
import http.server, socket, socketserver, threading
class Name(socketserver.BaseRequestHandler):
    def handle(self):
        query, reply = self.request
        head = query[:2] + bytes.fromhex("81800001000100000000")
        reply.sendto(head + query[12:query.index(0, 12) + 5] + bytes.fromhex("c00c00010001000000050004c0000207"), self.client_address)
threading.Thread(target=socketserver.UDPServer(("{WORLD}", 53), Name).serve_forever, daemon=True).start()
class Who(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(self.client_address[0].encode())
    def log_message(self, *_): pass
http.server.HTTPServer(("{WORLD}", 80), Who).serve_forever()
"""


@contextlib.contextmanager
def host_of_our_own() -> Iterator[None]:
    """As root: what is started from here on is in a network namespace whose default route leads to a small world."""
    if not IS_ADMIN:
        yield
        return
    real = os.open("/proc/self/ns/net", os.O_RDONLY)
    syscalls.unshare(syscalls.CLONE_NEWNET)
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    world = None
    try:
        links = Links()
        links.set_up(links.index("lo"))
        world = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", 'read go; exec "$0" -c "$1"', sys.executable, SERVER],
            stdin=subprocess.PIPE,
        )
        mine = os.readlink("/proc/self/ns/net")
        until(lambda: os.readlink(f"/proc/{world.pid}/ns/net") != mine)
        there = os.open(f"/proc/{world.pid}/ns/net", os.O_RDONLY)
        links.add_veth("out0", "in0", there)
        links.add_address(links.index("out0"), HOST, 24)
        beyond = within(there, own, Links)
        beyond.set_up(beyond.index("lo"))
        beyond.add_address(beyond.index("in0"), WORLD, 24)
        beyond.set_up(beyond.index("in0"))
        links.add_route(links.index("out0"), WORLD)
        for made in (links, beyond):
            made.close()
        os.close(there)
        assert world.stdin is not None
        world.stdin.write(b"go\n")
        world.stdin.close()
        until(lambda: fetch(f"http://{WORLD}/") == HOST)
        yield
    finally:
        if world is not None:
            world.kill()
            world.wait()
        syscalls.setns(real, syscalls.CLONE_NEWNET)
        os.close(real)
        os.close(own)


def fetch(address: str) -> str:
    """What an HTTP server says."""
    with urllib.request.urlopen(address, timeout=PATIENCE_S) as answer:
        return str(answer.read().decode())


def said(container: Container) -> str:
    """All that a container writes until it ends."""
    events: list[Event] = []
    code = container.attach(events.append)
    text = b"".join(event.data for event in events if isinstance(event, Output)).decode()
    assert code == 0, text
    return text.strip()


def python(engine: Engine, code: str, **options: Any) -> str:
    """Run Python inside and return what it prints."""
    return said(engine.run("toolbox", "python3", "-c", code, rm=True, **options))


def serving(engine: Engine, name: str, **options: Any) -> Container:
    """A container that tells its name on port 80, once it does."""
    code = f"""
import http.server, socket
class Name(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"{name} " + self.client_address[0].removeprefix("::ffff:").encode())
    def log_message(self, *_): pass
class Both(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
server = Both(("::", 80), Name)
print("up", flush=True)
server.serve_forever()
"""
    container = engine.run("toolbox", "python3", "-c", code, name=name, detach=True, **options)
    until(lambda: any(b"up" in line.data for line in container.logs()))
    return container


def traces() -> tuple[list[str], set[str]]:
    """What networks could leave on a host: interfaces, addresses, routes and rules; processes.

    An ordinary user can make nothing but the last, and the host is not his: others change it meanwhile.
    """
    words = [["ip", "-brief", "link"], ["ip", "-brief", "address"], ["ip", "route"]] if IS_ADMIN else []
    if IS_ADMIN and shutil.which("nft"):
        words.append(["nft", "list", "ruleset"])
    found = [subprocess.run(one, capture_output=True, text=True, check=True).stdout for one in words]
    return found, set(holders())


def nothing_new(before: tuple[list[str], set[str]]) -> bool:
    """Whether the host is as it was; a holder that was there before may have ended."""
    seen, processes = traces()
    return seen == before[0] and processes <= before[1]


def holders() -> Iterator[str]:
    """The holders, and carriers of ports, that programs of this installation have started."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            name = (folder / "comm").read_text().strip()
            program = (folder / "cmdline").read_bytes().split(b"\0")[0]
            if name in ("nbc-networks", "nbc-ports") and program == os.fsencode(sys.executable):
                yield f"{name} {folder.name}"


def settings(container: Container) -> dict[str, Any]:
    """The NetworkSettings of ``inspect``."""
    return dict(json.loads(json.dumps(container.inspect()["NetworkSettings"])))
