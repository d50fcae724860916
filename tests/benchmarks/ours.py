"""Our own side of every table: an engine on a store of its own."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

from nbcontainers import Engine
from nbcontainers.oci.descriptor import Digest

from .image import NAME, Base
from .tree import put_aside

# As those of the peers, which have no network either.
LIMITS: dict[str, Any] = {"memory": "64m", "cpus": 1.0, "pids_limit": 64, "network": "none"}
# What dockerd writes for runc; ours has the rules in the launch, not in the specification.
DEVICES = [
    {"allow": False, "access": "rwm"},
    *(
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        for major, minor in ((1, 3), (1, 5), (1, 8), (1, 9), (5, 0), (5, 1))
    ),
]


class Ours(AbstractContextManager["Ours"]):
    """An engine below a session's folder, with the base image in its store as ``base``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Self:
        self.engine = Engine(self.folder / "store")
        with Base.at(self.folder).archive.open("rb") as stream:
            self.engine.load(stream)
        self.base = self.engine.image(NAME)
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.close()

    def config(self) -> dict[str, Any]:
        """The config.json of our own ``/bin/true``, for runtimes when there is no dockerd to write one."""
        container = self.engine.create(self.base, "/bin/true", **LIMITS)
        config = container.spec.to_json()
        container.remove()
        config["linux"]["resources"]["devices"] = DEVICES
        return config

    def forget_layer(self, chain_id: Digest) -> None:
        """Put away an unpacked layer, as if it had never been."""
        put_aside(self.engine.store.root / "layers" / chain_id.hex, self.folder)


class Committer:
    """Commits a planted tree on top of the base image, again and again; a file is new each time."""

    def __init__(self, ours: Ours, planted: Path) -> None:
        self._ours = ours
        self._planted = planted
        self._store = ours.engine.store
        self._key = ""
        self._store.snapshots.unpack(ours.base)

    def prepare(self, settle: Callable[[], object]) -> None:
        """Put the tree, by hard links, where a container would have written it."""
        self._key = secrets.token_hex(8)
        self._store.snapshots.prepare(self._key, self._ours.base.chain_ids)
        upper = self._store.root / "snapshots" / self._key / "upper"
        shutil.copytree(self._planted, upper, symlinks=True, dirs_exist_ok=True, copy_function=os.link)
        (upper / "tree/nonce").write_text(self._key)
        settle()

    def run(self) -> None:
        """Commit it."""
        self._layer = self._store.snapshots.commit(self._key)

    def remove(self) -> None:
        """Remove what was committed."""
        self._ours.forget_layer(self._layer.chain_id)
        self._store.content.delete(self._layer.descriptor.digest)


class Unpacker:
    """Unpacks an image of one layer, again and again."""

    def __init__(self, ours: Ours, archive: Path, name: str) -> None:
        self._ours = ours
        with archive.open("rb") as stream:
            ours.engine.load(stream)
        self._image = ours.engine.image(name)

    def run(self) -> None:
        """Unpack it into the store."""
        self._ours.engine.store.snapshots.unpack(self._image)

    def remove(self) -> None:
        """Remove what was unpacked."""
        self._ours.forget_layer(self._image.chain_ids[-1])


def zygote_memory(process: int) -> int:
    """Resident bytes of a process's zygote, the child that has the word in its command line."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process and b"zygote" in (folder / "cmdline").read_bytes():
                return int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (FileNotFoundError, ProcessLookupError):
            continue
    raise LookupError(f"process {process} has no zygote")
