"""Faults that a store survives, each really done: kills at any instant, full disks, torn files, many processes at once.

NBCONTAINERS_KILLS sets how often each kind of work is killed.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers import Conflict, Engine
from tests.hosts import needs_containers
from tests.store.registry.servers import Parts, Server, serving
from tests.store.trees import paths
from tests.store.validate import validate_store
from tests.waiting import PATIENCE_S, until

KILLS = int(os.environ.get("NBCONTAINERS_KILLS", "4"))
BUSYBOX = shutil.which("busybox")
ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.skipif(not BUSYBOX, reason="busybox is not installed"),
    needs_containers,
]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A store with an image ``base`` (busybox, tagged ``kept`` too), a stopped container of it and an archive."""
    folder = tmp_path / "context"
    (folder / "bin").mkdir(parents=True)
    assert BUSYBOX
    shutil.copy(BUSYBOX, folder / "bin" / "busybox")
    for name in ("sh", "sleep", "true", "dd"):
        (folder / "bin" / name).symlink_to("busybox")
    (folder / "data").write_bytes(random.Random(1).randbytes(300_000))
    with Engine(tmp_path / "store") as made:
        made.build("FROM scratch\nCOPY bin /bin\nCMD sh", context=folder, tag="base")
        made.tag("base", "kept")
        container = made.create("base", "true", name="held")
        (made.store.root / "snapshots" / container.id[:12] / "upper" / "file").write_bytes(bytes(500_000))
        made.commit(container, "archived")
        with (tmp_path / "archive.tar").open("wb") as stream:
            made.save(["archived"], stream)
        made.remove_image("archived")
        yield made
        for container in made.containers(all=True):
            container.remove(force=True)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A registry with an image of three layers; the file ``pulled`` has its name."""
    monkeypatch.setenv("NBCONTAINERS_REGISTRIES", os.devnull)  # which blocks none
    with serving(Server()) as server:
        (tmp_path / "pulled").write_text(Parts.make(9, layers=3, size=3_000_000).serve(server))
        yield


WORK = {
    "pull": """
        name = open("pulled").read()
        engine.pull(name)
        engine.remove_image(name)
    """,
    "load": """
        with open("archive.tar", "rb") as stream:
            engine.load(stream)
        engine.remove_image("archived")
    """,
    "commit": """
        engine.commit("held", f"made:{turn}")
        engine.remove_image(f"made:{turn}")
    """,
    "build": """
        text = f"FROM base\\nCOPY data /{turn}\\nRUN dd if=/dev/zero of=/out bs=1000 count=300 2>/dev/null\\nCOPY data /b"
        engine.build(text, context="context", tag="made", no_cache=True)
    """,
    "prune": """
        engine.build(f"FROM base\\nCOPY data /{turn}", context="context", tag=f"made:{turn % 2}")
        engine.create("base", "true")
        engine.prune(["cache", "images"], all=turn % 2 == 1)
        for container in engine.containers(all=True):
            if container.name != "held":
                container.remove()
    """,
}
LOOP = """
import sys
from nbcontainers import Engine
from nbcontainers.errors import NotFound
engine = Engine("store")
print(flush=True)
for turn in range(1000):
{work}
"""


def until_gone(identifiers: set[str]) -> None:
    """Wait until no process and no cgroup has to do with these names: shims end with their engine, and clean up."""
    until(lambda: not any(name in path for path, _, _ in os.walk("/sys/fs/cgroup") for name in identifiers))


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("kind", WORK)
def test_a_kill_at_any_instant_leaves_the_store_whole(engine: Engine, tmp_path: Path, kind: str) -> None:
    """kill -9 of whoever pulls, loads, commits, builds or prunes: what was there is whole, nothing half-made can be seen, and after
    the next prune no byte, snapshot, lease or cgroup is left of it.
    """
    root = engine.store.root
    work = textwrap.indent(textwrap.dedent(WORK[kind]), "    ")
    chance = random.Random(kind)
    (kept,) = engine.containers(all=True)
    for _ in range(KILLS):
        with subprocess.Popen(
            [sys.executable, "-c", LOOP.format(work=work)],
            stdout=subprocess.PIPE,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        ) as process:
            assert process.stdout
            process.stdout.readline()
            time.sleep(chance.uniform(0, 0.5))
            made = {path.name for path in (root / "snapshots").iterdir()} - {kept.id[:12]}
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL  # it has worked until then
        until_gone(made)
        problems = [
            fault for fault in engine.check().faults if not (fault.kind == "container" and fault.name != kept.id)
        ]
        assert problems == []
        for container in engine.containers(all=True):
            if container.id != kept.id:
                container.remove(force=True)
        # The worker of the one that was killed may be at its last call still.
        deadline = time.monotonic() + PATIENCE_S
        while True:
            engine.prune(["images", "cache"], all=False)
            left = [path for name in ("ingest", "trash", "leases") for path in (root / name).iterdir()]
            left += [
                path
                for name in ("snapshots", "containers")
                for path in (root / name).iterdir()
                if path.name not in (kept.id, kept.id[:12])
            ]
            if not left:
                break
            assert time.monotonic() < deadline, left
            time.sleep(0.05)
        assert engine.check().faults == ()
        named = {image.name for image in engine.images() if image.reference}
        assert {"base:latest", "kept:latest"} <= named or kind == "prune"
    validate_store(engine.store)
    kept.start()
    assert kept.wait(PATIENCE_S) == 0


FULL = """
import os, pathlib, sys
from nbcontainers import Engine, HostError
folder, kind = pathlib.Path(sys.argv[1]), sys.argv[2]
ballast, failures = folder / "ballast", 0
with Engine(folder / "store") as engine:
    (folder / "context").mkdir()
    (folder / "context" / "data").write_bytes(os.urandom(200_000))
    first = engine.build("FROM scratch\\nCOPY data /first", context=folder / "context", tag="first").image
    container = engine.create("first", "true")
    (engine.store.root / "snapshots" / container.id[:12] / "upper" / "file").write_bytes(os.urandom(230_000))
    with open(folder / "archive.tar", "wb") as stream:
        engine.save(["first"], stream)
    (folder / "context" / "data").write_bytes(os.urandom(230_000))
    engine.build("FROM scratch\\nCOPY data /second", context=folder / "context", tag="second", no_cache=True)
    with open(folder / "second.tar", "wb") as stream:
        engine.save(["second"], stream)
    engine.remove_image("second")
    engine.prune(["cache"], all=True)
    known = engine.images()
    for room in range(0, 900_000, 45_056):
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096): pass
            except OSError:
                pass
            file.truncate(max(file.tell() - room, 0))
        try:
            match kind:
                case "build":
                    engine.build(f"FROM first\\nCOPY data /{room}", context=folder / "context", tag="second")
                case "commit":
                    engine.commit(container, "second")
                case "load":
                    with open(folder / "second.tar", "rb") as stream:
                        engine.load(stream)
                case "import":
                    with open(folder / "archive.tar", "rb") as stream:
                        engine.import_(stream, "second")
        except HostError as error:
            assert "no space left" in error.message and error.hint, error
            failures += 1
        else:
            break
        finally:
            ballast.unlink()
        assert [image.name for image in engine.images() if image.reference] == ["first:latest"]
        engine.prune(["images", "cache"])
        assert engine.images() == known, engine.images()
        assert engine.check().faults == (), engine.check().faults
    assert failures >= 2, failures
    assert engine.image("second")
    assert engine.check().faults == ()
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096): pass
        except OSError:
            pass
    container.remove()
    assert engine.containers(all=True) == ()
    assert os.listdir(engine.store.root / "snapshots") == []
print("whole")
"""


@pytest.mark.parametrize("kind", ["build", "commit", "load", "import"])
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    """ENOSPC at any point: an error with a hint, nothing tagged, the space given back; with room enough it works, and without any a
    container can be removed.
    """
    script = f'mount -t tmpfs -o size=4m none {tmp_path} && exec "$@"'
    mounted = ["unshare", "--map-root-user", "--user", "--mount", "sh", "-c", script, "sh"]
    if subprocess.run([*mounted, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs (mount in a user namespace)")
    with tempfile.TemporaryDirectory(dir="/tmp") as sockets:  # short, and of the user that is root in there
        done = subprocess.run(
            [*mounted, sys.executable, "-c", FULL, str(tmp_path), kind],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]), "XDG_RUNTIME_DIR": sockets},
        )
    assert done.stdout == "whole\n", done.stderr


def small_files(root: Path) -> list[Path]:
    """Every file of a store that is neither a blob nor the content of an image or container."""
    return sorted(
        path
        for path in map(Path, paths(str(root)))
        if path.is_file()
        and not path.is_symlink()
        and not {"blobs", "fs", "upper", "work"} & set(path.relative_to(root).parts)
        and path.suffix != ".lock"
        and path.name != "lock"
    )


TORN = (b"", b"\0" * 64, b"{")


def test_torn_files_are_rebuilt_or_named(engine: Engine) -> None:
    """Whichever file of the store is empty, zeroed or cut: it opens, the other images are there, and the repair makes it whole or
    says what has to be done.
    """
    root = engine.store.root
    engine.store.snapshots.unpack(engine.image("base"))
    engine.build("FROM base\nCOPY data /x", context=root.parent / "context", tag="built")
    for number, path in enumerate(small_files(root)):
        data = TORN[number % len(TORN)]
        try:
            whole = path.read_bytes()
        except FileNotFoundError:
            assert {"stock", "trash"} & {*path.parts}, path  # nobody owns that: a repair throws it away
            continue
        path.chmod(0o600)
        path.write_bytes(data)
        with Engine(root) as other:
            if path.name == "version" and data:
                with pytest.raises(Conflict, match="has version"):
                    other.images()
                path.write_bytes(whole)
                continue
            named = {image.name for image in other.images()}
            found = other.check(repair=True)
            assert {"kept:latest"} <= named or "kept" in path.name, path
            left = [fault for fault in found.faults if not fault.repaired]
            assert not left or path.parent.parent.name in ("containers", "snapshots"), (path, left)
            if path.exists() and left:
                path.write_bytes(whole)
            assert other.check().faults == (), path
        if not path.exists():
            path.write_bytes(whole)


BUSY = """
import random, sys, time
from nbcontainers import Engine
from nbcontainers.errors import NotFound
number, end = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
chance = random.Random(number)
engine, turn = Engine("store"), 0
while time.monotonic() < end or turn < 2:
    turn += 1
    engine.tag("base", f"own:{number}-{turn}")
    match chance.choice(["load", "pull", "build", "build", "prune", "run", "untag"]):
        case "load":
            with open("archive.tar", "rb") as stream:
                engine.load(stream)
        case "pull":
            engine.pull(open("pulled").read())
        case "build":
            text = f"FROM base\\nCOPY data /{turn % 3}\\nRUN true"
            engine.build(text, context="context", tag=f"built:{number}", no_cache=turn % 2 == 0)
        case "prune":
            engine.prune(["images", "cache"])
        case "run":
            container = engine.run("base", "true")
            container.wait()
            container.remove()
        case "untag":
            engine.tag("base", f"gone:{number}")
            engine.remove_image(f"gone:{number}")
print(turn)
"""


@pytest.mark.usefixtures("registry")
def test_eight_processes_at_once(engine: Engine, tmp_path: Path) -> None:
    """Eight processes tag, load, pull, build, run, remove and prune on one store: every tag is kept, nothing fails, and all is whole.

    A check that looks meanwhile finds nothing wrong either.
    """
    seconds = os.environ.get("NBCONTAINERS_BUSY_SECONDS", "3")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", BUSY, str(number), seconds],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        for number in range(8)
    ]
    while any(process.poll() is None for process in processes):
        assert engine.check().faults == ()
    turns = []
    for process in processes:
        out, err = process.communicate(timeout=5 * PATIENCE_S)
        assert process.returncode == 0, err
        turns.append(int(out))
    wanted = {f"own:{number}-{turn}" for number, count in enumerate(turns) for turn in range(1, count + 1)}
    assert wanted <= {image.name for image in engine.images()}
    assert engine.check().faults == ()
    engine.prune(["images", "cache"])
    validate_store(engine.store)
    assert [path.name for path in (engine.store.root / "snapshots").iterdir()] == [engine.container("held").id[:12]]


def test_two_builds_and_a_prune_at_once(engine: Engine, tmp_path: Path) -> None:
    """Whatever a prune takes away while they run, both builds end well, and their images are whole."""
    code = """
import sys
from nbcontainers import Engine
with Engine("store") as engine:
    for turn in range(4):
        text = f"FROM base\\nCOPY data /{sys.argv[1]}\\nRUN echo {turn} > /turn\\nCOPY data /b"
        engine.build(text, context="context", tag=f"built:{sys.argv[1]}-{turn}", no_cache=True)
"""
    builds = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(number)],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        for number in range(2)
    ]
    while any(build.poll() is None for build in builds):
        engine.prune(["images", "cache"], all=False)
        engine.prune(["cache"], all=True)
    for build in builds:
        assert build.communicate()[1] == b""
        assert build.returncode == 0
    names = {image.name for image in engine.images()}
    assert {f"built:{number}-{turn}" for number in range(2) for turn in range(4)} <= names
    assert engine.check().faults == ()
