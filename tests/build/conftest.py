from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nbcontainers.build import whole
from nbcontainers.build.context import Context
from nbcontainers.errors import HostError, NotFound
from nbcontainers.events import Event, Observer, Output, StepFinished
from nbcontainers.oci.image import Image
from nbcontainers.oci.reference import Reference
from nbcontainers.results import BuildResult
from nbcontainers.runtime.host import Host, probe
from nbcontainers.runtime.process import Runtime
from nbcontainers.store.store import Store

APPLETS = "sh ls cat mkdir ln stat find echo id env chmod chown tar touch readlink sort cp mv rm sleep true false pwd head seq test"


@dataclass
class Builder:
    """A store and a runtime with an image ``busybox`` in it, and the events of the last build."""

    store: Store
    runtime: Runtime
    host: Host
    context: Path
    events: list[Event] = field(default_factory=list)

    def build(
        self,
        dockerfile: str,
        *,
        context: bool = True,
        arguments: Mapping[str, str] | None = None,
        target: str = "",
        no_cache: bool = False,
        epoch: int | None = None,
        on_event: Observer | None = None,
        **more: Any,
    ) -> BuildResult:
        """Build with the context folder; the events are kept."""
        self.events.clear()
        opened = Context.open(self.context, digests=self.store.root / "cache" / "digests")
        with self.store.lease():
            return whole.build(
                dockerfile,
                store=self.store,
                runtime=self.runtime,
                host=self.host,
                resolve_toolbox=self.no_toolbox,
                contexts={**({"": opened} if context else {}), **more.pop("contexts", {})},
                arguments=arguments,
                target=target,
                no_cache=no_cache,
                epoch=epoch,
                on_event=on_event or self.events.append,
                **more,
            )

    def no_toolbox(self) -> Image:
        raise NotFound("no toolbox in this test")

    def write(self, files: Mapping[str, str]) -> None:
        """Files of the context."""
        for name, text in files.items():
            path = self.context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    @property
    def output(self) -> str:
        """What the commands of the last build printed."""
        return b"".join(event.data for event in self.events if isinstance(event, Output)).decode()

    @property
    def cached(self) -> list[bool]:
        """For each step of the last build that ended, in their order, whether it was in the cache."""
        ended = {event.number: event.cached for event in self.events if isinstance(event, StepFinished)}
        return [ended[number] for number in sorted(ended)]

    def left(self) -> list[str]:
        """What a build must not leave: snapshots, containers, unfinished files."""
        return [
            str(path.relative_to(self.store.root))
            for folder in ("snapshots", "containers", "ingest", "leases")
            for path in (self.store.root / folder).iterdir()
        ]


def is_static(program: str) -> bool:
    """Whether a program needs no interpreter."""
    from elftools.elf.elffile import ELFFile

    with Path(program).open("rb") as file:
        return not any(segment.header.p_type == "PT_INTERP" for segment in ELFFile(file).iter_segments())


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system of a static busybox."""
    program = shutil.which("busybox")
    if program is None or not is_static(program):
        pytest.skip("needs a static busybox (Debian: busybox-static)")
    root = tmp_path_factory.mktemp("busybox")
    for folder in ("bin", "etc", "tmp"):
        (root / folder).mkdir()
    shutil.copy2(program, root / "bin/busybox")
    (root / "bin/busybox").chmod(0o755)
    for applet in APPLETS.split():
        (root / "bin" / applet).symlink_to("busybox")
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\napp:x:1001:\nwheel:x:10:\n")
    return root


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory, busybox: Path) -> Iterator[tuple[Store, Runtime, Host]]:
    """One store and one runtime for all tests: what one test caches has names of its own."""
    host = probe()
    try:
        host.require()
    except HostError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("nbc")
    with Store(folder / "store", identity=host.identity) as store, Runtime(folder / "run", host) as runtime:
        builder = Builder(store, runtime, host, busybox)
        made = builder.build('FROM scratch\nCOPY . /\nCMD ["sh"]\n')
        store.images.tag(made.image, Reference.parse("busybox"))
        yield store, runtime, host


@pytest.fixture
def builder(started: tuple[Store, Runtime, Host], tmp_path: Path) -> Iterator[Builder]:
    """A context of its own, and at the end nothing left over."""
    context = tmp_path / "context"
    context.mkdir()
    builder = Builder(*started, context)
    yield builder
    assert builder.left() == []
