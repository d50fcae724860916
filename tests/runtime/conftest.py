"""Containers for the tests of the runtime: busybox on an overlay, on whatever tier this host has."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nbcontainers.errors import HostError
from nbcontainers.events import Event, Output
from nbcontainers.linux import recorded
from nbcontainers.oci.runtime import Mount, RuntimeSpec
from nbcontainers.results import ContainerState
from nbcontainers.runtime import host as hosts
from nbcontainers.runtime.defaults import docker_spec
from nbcontainers.runtime.host import Host
from nbcontainers.runtime.process import Runtime
from nbcontainers.runtime.running import Running
from tests.machine import remove
from tests.waiting import PATIENCE_S

BUSYBOX = "/bin/busybox"


@pytest.fixture(scope="session")
def host() -> Host:
    """This host, where containers can run on it."""
    found = hosts.probe()
    try:
        found.require()
    except HostError as error:
        pytest.skip(str(error))
    return found


@pytest.fixture(scope="session")
def lower() -> Iterator[Path]:
    """An image's only layer: busybox, and a passwd with two users. Not in pytest's folders, whose names are long."""
    if not os.path.exists(BUSYBOX) or b"statically linked" not in subprocess.run(
        ["file", "-L", BUSYBOX], capture_output=True, check=False
    ).stdout.replace(b"static-pie linked", b"statically linked"):
        pytest.skip("busybox-static is not installed")
    top = Path(tempfile.mkdtemp(prefix="nbc-lower-"))
    layer = top / "fs"
    (layer / "bin").mkdir(parents=True)
    shutil.copy(BUSYBOX, layer / "bin/busybox")
    for name in subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if name != "busybox":
            (layer / "bin" / name).symlink_to("busybox")
    (layer / "etc").mkdir()
    (layer / "tmp").mkdir()
    (layer / "tmp").chmod(0o1777)
    (layer / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nann:x:1000:100:Ann:/home/ann:/bin/sh\n")
    (layer / "etc/group").write_text("root:x:0:\nusers:x:100:\naudio:x:29:ann\n")
    layer.chmod(0o755)
    (top / recorded.PLAIN).touch()
    yield layer
    shutil.rmtree(top)


@dataclass
class Box:
    """Starts containers in a folder of its own and cleans up after them."""

    root: Path
    lower: Path
    host: Host
    runtime: Runtime
    started: list[Running] = field(default_factory=list)

    def prepare(self, *lowers: Path, name: str = "") -> tuple[Path, tuple[Mount, ...]]:
        """A container's folder and how its root is mounted, with further layers on top of busybox."""
        name = name or self.runtime.new_id()
        folder = self.root / name
        for part in ("", "upper", "work"):
            (folder / part).mkdir(exist_ok=True)
        if self.host.is_viewed:  # nothing can be mounted
            for path in (self.lower, *reversed(lowers)):
                shutil.copytree(path, folder / "upper", symlinks=True, dirs_exist_ok=True)
            return folder, (Mount(destination="/", type="bind", source=f"{folder}/upper", options=("bind",)),)
        layers = ":".join(str(path) for path in (*lowers, self.lower))
        options = (f"lowerdir={layers}", f"upperdir={folder}/upper", f"workdir={folder}/work", "userxattr")
        return folder, (Mount(destination="/", type="overlay", source="overlay", options=options),)

    def state(self, folder: Path, args: Sequence[str]) -> ContainerState:
        """What an engine would have put on disk before."""
        return ContainerState(
            id=folder.name,
            name="box",
            image="busybox",
            image_id="",
            command=tuple(args),
            status="created",
            created=time.time(),
        )

    def spec(self, *args: str, **words: Any) -> RuntimeSpec:
        """The default specification of a command."""
        return docker_spec(args=args, host=self.host, **words)

    def start(
        self,
        *args: str,
        user: str = "",
        stdin: bool = False,
        detach: bool = False,
        lowers: Sequence[Path] = (),
        spec: RuntimeSpec | None = None,
        **words: Any,
    ) -> Running:
        """Start a command."""
        folder, rootfs = self.prepare(*lowers)
        made = spec or self.spec(*args, **words)
        running = self.runtime.start(
            folder, made, rootfs, state=self.state(folder, args), user=user, stdin=stdin, detach=detach
        )
        self.started.append(running)
        return running

    def run(self, *args: str, stdin_bytes: bytes | None = None, **words: Any) -> tuple[int, str, str]:
        """Run a command to its end: (exit code, stdout, stderr)."""
        import io

        running = self.start(*args, stdin=stdin_bytes is not None, **words)
        events: list[Event] = []
        code = running.attach(events.append, None if stdin_bytes is None else io.BytesIO(stdin_bytes))
        return code, text(events, "stdout"), text(events, "stderr")

    def shell(self, script: str, **words: Any) -> str:
        """What a shell script prints; it must succeed."""
        code, out, err = self.run("sh", "-ec", script, **words)
        assert code == 0, (code, out, err)
        return out


def text(events: Sequence[Event], stream: str) -> str:
    """All that one stream said."""
    parts = [event.data for event in events if isinstance(event, Output) and event.stream == stream]
    return b"".join(parts).decode(errors="replace")


@pytest.fixture(scope="session")
def run_dir() -> Iterator[Path]:
    """A short folder for sockets."""
    path = Path(tempfile.mkdtemp(prefix="nbc-run-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def runtime(host: Host, run_dir: Path) -> Iterator[Runtime]:
    """One for all tests: its zygote serves them one after the other, as a notebook's does."""
    with Runtime(run_dir, host) as made:
        yield made


@pytest.fixture
def box(host: Host, lower: Path, runtime: Runtime) -> Iterator[Box]:
    """See Box."""
    root = Path(tempfile.mkdtemp(prefix="nbc-box-"))
    made = Box(root, lower, host, runtime)
    yield made
    for running in made.started:
        with contextlib.suppress(Exception):
            running.signal(9)
        with contextlib.suppress(Exception):
            running.wait(PATIENCE_S)
        running.close()
    remove(root)


def is_char(mode: int) -> bool:
    """Whether a mode is a character device's."""
    return stat.S_ISCHR(mode)
