"""Descriptors, inodes and processes used up: by the program that the engine lives in, and by what runs in a container."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nbcontainers import Engine
from nbcontainers.linux import hierarchies
from tests.engine.networked import until

ROOT = Path(__file__).parents[2]
# Leaves itself fewer and fewer descriptors… and does the work with each number of them, until there are enough.
FEW = """
import io, os, resource, sys
from nbcontainers import Engine
from nbcontainers.cli import main
from nbcontainers.cli.console import Console
root, verb, *words = sys.argv[1:]
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
failures = 0
with Engine(root) as engine:
    def do():
        out = io.StringIO()
        return main.run([verb, *words], engine=engine, console=Console(out, out)), out.getvalue()
    do() if verb != "run" else None
    for room in range(64):
        open_ = len(os.listdir("/proc/self/fd")) - 1
        highest = max(map(int, os.listdir("/proc/self/fd")))
        held = [os.open("/dev/null", os.O_RDONLY) for _ in range(highest + 1 - open_)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + room, hard))
        code, said = do()
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        for descriptor in held:
            os.close(descriptor)
        if code == 0:
            break
        failures += 1
        assert "error: " in said and ("too many files open" in said or "Too many open files" in said), (room, code, said)
        assert code in (1, 125), code
    assert code == 0 and failures, (code, failures)
    assert engine.containers() == ()
    for container in engine.containers(all=True):
        container.remove()
    engine.prune(["images", "cache"], all=False)
    assert engine.check().faults == ()
    left = [path.name for name in ("ingest", "leases", "snapshots", "containers") for path in (engine.store.root / name).iterdir()]
    assert left == [], left
print("whole", failures)
"""


@pytest.fixture(scope="module")
def engine(module_path: Path) -> Iterator[Engine]:
    with Engine(module_path) as made:
        made.toolbox()
        yield made
        for container in made.containers(all=True):
            container.remove(force=True)


@pytest.mark.parametrize(
    "words",
    [
        ["images"],
        ["ps", "-a"],
        ["run", "--rm", "--network", "none", "toolbox", "true"],
        ["build", "--no-cache", "-q", "-t", "few", "."],
    ],
    ids=lambda words: words[0],
)
def test_a_program_with_few_descriptors_left(engine: Engine, tmp_path: Path, words: list[str]) -> None:
    """EMFILE at any point: an error that says so and how to have more; nothing is left that a prune does not take."""
    (tmp_path / "Dockerfile").write_text("FROM toolbox\nCOPY Dockerfile /x\nRUN true\n")
    done = subprocess.run(
        [sys.executable, "-c", FEW, str(engine.store.root), *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
        timeout=300,
    )
    assert done.stdout.startswith("whole"), done.stdout + done.stderr


# The same for a program that calls the library: a fresh engine each, so that whatever is made or imported first is met, too.
CALLS = """
import os, resource, sys
from nbcontainers import Engine, HostError
root = sys.argv[1]
CALLS = {
    "run": lambda engine: engine.run("toolbox", "true", network="none", rm=True).wait(60),
    "build": lambda engine: engine.build("FROM toolbox\\nRUN true\\n", no_cache=True, tag="few"),
    "exec": lambda engine: engine.container("stays").exec("true").attach(),
    "restart": lambda engine: engine.container("stays").restart(0),
    "usage": lambda engine: engine.container("stays").usage(),
    "inspect": lambda engine: engine.container("stays").inspect(size=True),
    "logs": lambda engine: list(engine.container("stays").logs()),
    "events": lambda engine: list(engine.events(since=0, until=1)),
    "commit": lambda engine: engine.commit("stays", "few"),
    "volume": lambda engine: (engine.create_volume("few"), engine.remove_volume("few")),
    "prune": lambda engine: engine.prune(),
    "check": lambda engine: engine.check(),
    "host": lambda engine: engine.host(),
}
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
for name, call in CALLS.items():
    with Engine(root) as engine:
        engine.store
        failures, begin = 0, len(os.listdir("/proc/self/fd"))
        for room in range(64):
            held = [os.open("/dev/null", os.O_RDONLY)]
            while held[-1] < 100:
                held.append(os.open("/dev/null", os.O_RDONLY))
            resource.setrlimit(resource.RLIMIT_NOFILE, (held[-1] + 1 + room, hard))
            try:
                call(engine)
                failed = False
            except HostError as error:
                assert "too many files open" in error.message and "ulimit -n" in error.hint, (name, room, error)
                failed = True
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            for descriptor in held:
                os.close(descriptor)
            opened = [os.readlink(entry.path) for entry in os.scandir("/proc/self/fd") if os.path.lexists(entry.path)]
            assert len(opened) <= begin + 6, (name, room, opened)  # what it has of its zygote and its worker
            failures += failed
            if not failed:
                break
        assert failures and not failed, (name, failures)
        assert engine.container("stays").state.status == "running", (name, engine.container("stays").state)
with Engine(root) as engine:
    engine.container("stays").remove(force=True)
    assert engine.containers(all=True) == ()
    engine.prune(["images", "cache"])
    assert engine.check().faults == ()
    left = [path.name for name in ("ingest", "leases", "snapshots", "containers") for path in (engine.store.root / name).iterdir()]
    assert left == [], left
print("whole")
"""


def test_a_call_with_few_descriptors_left(engine: Engine) -> None:
    """EMFILE at any point of any call: one HostError with a hint; nothing is lost, and no container passes for dead."""
    engine.run("toolbox", "sleep", "1000", name="stays", network="none", init=True, detach=True)
    done = subprocess.run(
        [sys.executable, "-c", CALLS, str(engine.store.root)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
        timeout=300,
    )
    assert done.stdout.startswith("whole"), done.stdout + done.stderr


BLIND = """
import os, resource, subprocess
from nbcontainers.runtime import processes, state
child = subprocess.Popen(["sleep", "1000"])
begun = processes.start_time(child.pid)
resource.setrlimit(resource.RLIMIT_NOFILE, (os.open("/dev/null", os.O_RDONLY), 64))
for ask in (processes.start_time, lambda pid: state.is_alive(pid, begun), lambda pid: state.end(pid, begun)):
    try:
        print(ask(child.pid))
    except OSError as error:
        print(os.strerror(error.errno))
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
print(child.poll(), state.is_alive(child.pid, begun))
child.kill()
child.wait()
"""


def test_who_cannot_look_does_not_take_a_process_for_dead() -> None:
    """Without a descriptor to read its start time with, another thread's container would be noted as killed."""
    done = subprocess.run([sys.executable, "-c", BLIND], capture_output=True, text=True, cwd=ROOT, check=True)
    full = os.strerror(errno.EMFILE)
    assert done.stdout.splitlines() == [full, full, full, "None True"]


# What a container may use up, in Python: it says "flooding" once it has, and goes on.
FLOODS: dict[str, tuple[str, dict[str, Any]]] = {
    "processes": (
        "def more():\n  while True:\n    try:\n      os.fork()\n    except OSError:\n      say()\nmore()",
        {"pids_limit": 48},
    ),
    "memory": (
        "held = []\nsay()\nwhile True:\n  held.append(bytearray(b'x') * (1 << 22))",
        {"memory": "96m", "memory_swap": "96m"},
    ),
    "descriptors": (
        "held = []\nwhile True:\n  try:\n    held += os.pipe()\n  except OSError:\n    say()\n    time.sleep(0.01)",
        {"ulimit": ["nofile=4096:4096"]},
    ),
    "terminals": (
        "held = []\nwhile len(held) < 500:\n  try:\n    held.append(os.open('/dev/ptmx', os.O_RDWR))\n  except OSError:\n    break\n"
        "say()\ntime.sleep(600)",
        {},
    ),
    "owners": (
        "import threading\nopen('/tmp/f', 'w').close()\n"
        "def more():\n  while True:\n    os.chown('/tmp/f', 7, 7)\n    os.stat('/tmp/f')\n    say()\n"
        "[threading.Thread(target=more).start() for _ in range(8)]",
        {},
    ),
    "output": ("while True:\n  say()\n  os.write(1, b'x' * 65536 + b'\\n')", {"log_opt": ["max-size=256k"]}),
}
SAYING = "import os, sys, time\ndef say(done=[]):\n  if not done:\n    done.append(os.write(1, b'flooding\\n'))\n"


@pytest.mark.parametrize("flood", FLOODS)
def test_a_container_that_uses_up_what_it_can(engine: Engine, flood: str) -> None:
    """The notebook lives, others start, commands are entered, and it can be ended; nothing of it is left."""
    code, words = FLOODS[flood]
    container = engine.run("toolbox", "python3", "-c", SAYING + code, detach=True, network="none", **words)
    until(lambda: container.state.status == "exited" or any(line.data for line in container.logs()))
    assert engine.run("toolbox", "true", network="none", rm=True).wait(60) == 0
    if flood == "memory":
        assert container.wait(60) == 137
        assert container.state.out_of_memory
    elif flood not in ("processes", "descriptors"):
        assert container.exec("true").attach() == 0
    identifier = container.id
    container.remove(force=True)
    hierarchy = hierarchies.detect()
    until(lambda: not list(hierarchy.directories(identifier)))
    assert engine.containers(all=True) == ()


FULL = """
import os, pathlib, shutil, sys
from nbcontainers import Engine, HostError
folder = pathlib.Path(sys.argv[1])
with Engine(folder / "store") as engine:
    (folder / "context/bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), folder / "context/bin/busybox")
    for name in ("sh", "touch", "true"):
        (folder / "context/bin" / name).symlink_to("busybox")
    engine.build("FROM scratch\\nCOPY . /", context=folder / "context", tag="base")
    flood = engine.run("base", "sh", "-c", "n=0; while touch /f$n 2>/dev/null; do n=$((n+1)); done; exit 7", network="none")
    assert flood.wait(120) == 7
    for verb in (lambda: engine.run("base", "true", network="none"), lambda: engine.tag("base", "other")):
        try:
            verb()
        except HostError as error:
            assert "no space left" in error.message and error.hint, error
        else:
            raise AssertionError("there was room")
    for number in range(12):  # room for a little more each time
        (engine.store.root / "snapshots" / flood.id[:12] / "upper" / f"f{number}").unlink()
        try:
            engine.run("base", "true", network="none", rm=True).wait(60)
        except HostError as error:
            assert "no space left" in error.message and error.hint, error
    flood.remove()
    assert os.listdir(engine.store.root / "trash") == []
    assert engine.containers(all=True) == (), engine.containers(all=True)
    assert engine.check().faults == ()
    assert engine.run("base", "true", network="none", rm=True).wait(60) == 0
    assert [image.name for image in engine.images()] == ["base:latest"]
print("whole")
"""


def test_a_container_that_uses_up_the_inodes_of_the_store(tmp_path: Path) -> None:
    """What then cannot be made is said to have no room, nothing half-made is seen, and with the container its inodes are free."""
    if not shutil.which("busybox"):
        pytest.skip("busybox is not installed")
    script = f'mount -t tmpfs -o size=64m,nr_inodes=600 none {tmp_path} && exec "$@"'
    mounted = ["unshare", "--map-root-user", "--user", "--mount", "sh", "-c", script, "sh"]
    if subprocess.run([*mounted, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs (mount in a user namespace)")
    with tempfile.TemporaryDirectory(dir="/tmp") as sockets:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
        done = subprocess.run(
            [*mounted, sys.executable, "-c", FULL, str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env=environment | {"XDG_RUNTIME_DIR": sockets},
        )
    assert done.stdout == "whole\n", done.stderr
