"""kill -9 at random instants in the lives of containers, from their creation to their removal: afterwards nothing is left.

A program of its own creates, starts, enters, stops and removes containers with a network, a volume and a folder in memory, one after
another; one of the processes that this stands on is killed, and a little later the program itself. ``NBCONTAINERS_KILLS=200``
kills that often; a few times unless told otherwise.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers import Engine, NotFound
from nbcontainers.runtime import host, processes
from tests.hosts import needs_containers
from tests.waiting import PATIENCE_S, until

KILLS = int(os.environ.get("NBCONTAINERS_KILLS", "3"))
VICTIMS = ("engine", "zygote", "shim", "worker", "holder", "inside")
PREFIX = f"de{os.getpid():06x}"  # of the names of all its containers, and so of their cgroups, mounts and sockets
FOLDERS = ("containers", "snapshots", "trash", "leases", "ingest", "volumes")
LIVES = """
import random, secrets, sys
from nbcontainers import Engine
from nbcontainers.errors import NBContainersError
prefix, chance, token = sys.argv[1], random.Random(int(sys.argv[2])), secrets.token_hex
secrets.token_hex = lambda size=32: (prefix + token(size))[: 2 * size]
engine = Engine()
print(flush=True)
while True:
    networks = {"network": chance.choice(["none", "bridge"])} if sys.argv[3] else {}
    words = {"volumes": ["kept:/v", "/anonymous"], "tmpfs": ["/t"], "env": {"mark": prefix}, **networks}
    shape = chance.choice(["passing", "removing", "detached"])
    command = "echo x > /v/x; echo x > /x" + ("; sleep 300 & sleep 300" if shape == "detached" else "")
    try:
        made = engine.run("toolbox", "sh", "-c", command, rm=shape == "removing", detach=shape == "detached", **words)
        if shape == "detached":
            made.exec("sh", "-c", "sleep 0.01").wait()
            made.stop(0)
        made.wait()
        if shape != "removing":
            made.remove(volumes=True)
    except NBContainersError as error:
        print(error, file=sys.stderr, flush=True)
"""

pytestmark = needs_containers


@pytest.fixture(scope="module")
def sockets() -> Iterator[Path]:
    """A short folder for the sockets of this test alone; its name is in the environment of all that is started for it."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="nbc-k") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


@pytest.fixture(scope="module")
def root(module_path: Path, sockets: Path) -> Path:
    """A store with the toolbox image, unpacked."""
    with Engine(module_path) as engine:
        engine.run("toolbox", "true", rm=True).wait()
    return module_path


def test_a_kill_at_any_instant_of_a_life_leaves_nothing(root: Path, sockets: Path) -> None:
    """No process, mount, cgroup, network, socket or file of it, whoever was killed whenever; and the next container runs."""
    has_networks = host.probe().allows("container networks")
    for number in range(KILLS):
        chance = random.Random(number)
        victim = VICTIMS[number % len(VICTIMS)]
        kill_once(root, sockets, victim, number, chance, networks=has_networks)
        try:
            until(lambda: tidied(root) and not left(root, sockets))
        except AssertionError:
            assert left(root, sockets) == [], (number, victim)
            raise
    with Engine(root) as engine:
        assert engine.run("toolbox", "true", rm=True).wait(PATIENCE_S) == 0


def tidied(root: Path) -> bool:
    """Remove the containers that are left and what else nobody needs, as a user would; whether the store is whole then."""
    with Engine(root) as engine:
        for container in engine.containers(all=True):
            with contextlib.suppress(NotFound):  # its shim removes it just now
                container.remove(force=True)
        engine.prune()
        engine.prune_volumes(everything=True)
        return not engine.check().faults


def kill_once(root: Path, sockets: Path, victim: str, number: int, chance: random.Random, *, networks: bool) -> None:
    """Let containers live and die, kill one of those processes in the middle of it, and then whoever is left."""
    command = [sys.executable, "-c", LIVES, PREFIX, str(number), "networks" if networks else ""]
    own = {"NBCONTAINERS_ROOT": str(root)}
    with (
        tempfile.TemporaryFile() as told,
        subprocess.Popen(command, env=os.environ | own, stdout=subprocess.PIPE, stderr=told) as program,
    ):
        assert program.stdout is not None
        program.stdout.readline()
        time.sleep(chance.uniform(0, 0.6))
        deadline = time.monotonic() + chance.uniform(0.2, 0.5)
        while not (found := standing(program.pid, sockets, victim)) and time.monotonic() < deadline:
            time.sleep(0.001)  # it may be that there is none just now
        if found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(found), signal.SIGKILL)
            time.sleep(chance.uniform(0, 0.2))
        ended = program.poll()
        program.kill()
        program.wait()
        told.seek(0)
        assert victim == "engine" or ended is None, (victim, told.read().decode())


def standing(pid: int, sockets: Path, victim: str) -> list[int]:
    """Those of a program's processes that are meant."""
    if victim == "engine":
        return [pid]
    found = []
    for one in sorted({*processes.tree(pid), *ours(sockets)}):
        name, words = said(one)
        fits = {
            "zygote": "zygote" in words and name not in ("nbc-shim", "nbc-networks", "nbc-ports"),
            "shim": name == "nbc-shim",
            "worker": "uid_map" in words,
            "holder": name == "nbc-networks",
            "inside": words.startswith(("sh\0", "sleep\0")),
        }
        if fits[victim]:
            found.append(one)
    return found


def ours(sockets: Path) -> Iterator[int]:
    """The processes that were started for this test, whoever their parent is, and those of its containers."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if folder.name != str(os.getpid()) and (
                os.fsencode(sockets) in (folder / "environ").read_bytes()
                or f"mark={PREFIX}".encode() in (folder / "environ").read_bytes()
            ):
                yield int(folder.name)


def said(pid: int) -> tuple[str, str]:
    """What a process is called, and its words."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip(), Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return "", ""


def left(root: Path, sockets: Path) -> list[str]:
    """All that is still there of any container."""
    found = [f"process {pid} {said(pid)}" for pid in ours(sockets)]
    for path in Path("/proc").glob("[0-9]*/mountinfo"):
        with contextlib.suppress(OSError):
            lines = path.read_text(errors="replace").splitlines()
            found += [f"mount {line}" for line in lines if PREFIX in line or f"{root}/snapshots" in line]
    found += [path for path, _, _ in os.walk("/sys/fs/cgroup") if PREFIX in path]
    found += [str(path) for path in sockets.rglob("*") if path.is_socket()]
    for name in FOLDERS:
        inside = {path.name for path in (root / name).iterdir()} if (root / name).is_dir() else set()
        found += [f"{name}/{one}" for one in inside - {".lock", ".making"}]
    return found + [f"volumes/.making/{path.name}" for path in (root / "volumes/.making").glob("*")]
