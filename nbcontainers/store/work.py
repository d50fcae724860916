"""What every call in the worker's process has at hand: the store's folder, its unpacked layers, places to work in."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import HostError
from ..linux import mounts, overlaynotes, recorded, smallfiles, syscalls
from ..oci.descriptor import Digest
from ..oci.runtime import Mount
from . import attributes, removal, unpacked
from .durable import locked
from .entries import Index
from .merged import FOLDER

_PACE = 0.1  # seconds between two words about progress


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call gives back, with open descriptors that then go to the caller."""

    value: Any
    descriptors: tuple[int, ...] = ()


class Work:
    """One store's folder, and the way to tell the engine what happens meanwhile."""

    def __init__(self, root: Path, say: Callable[..., object]) -> None:
        self.root = root
        self._gate = root / "lock"
        self.say = say
        self._unsettled = True
        self._views: dict[tuple[tuple[Mount, ...], bool], int] = {}
        self._held = contextlib.ExitStack()
        self._reached = set[str]()

    def layer(self, chain: str) -> str:
        """The folder of an unpacked layer."""
        return f"{self.root}/layers/{Digest(chain).hex}"

    @contextlib.contextmanager
    def opened(self, chains: Sequence[str]) -> Iterator[tuple[int, ...]]:
        """The trees of unpacked layers."""
        with contextlib.ExitStack() as held:
            found = []
            for chain in chains:
                layer = self.layer(chain)
                attributes.learn(layer)
                found.append(os.open(f"{layer}/fs", FOLDER))
                held.callback(os.close, found[-1])
                if layer not in self._reached:  # it may have been unpacked by somebody who is root
                    attributes.reach(found[-1])
                    self._reached.add(layer)
            yield tuple(found)

    def view(self, rootfs: Sequence[dict[str, Any]], *, write: bool = False) -> int:
        """A descriptor of the root of a snapshot's tree, until ``close``; one that is only read may be mounted elsewhere meanwhile.

        Behind the root ``rootfs`` may have binds that are to be seen in it, at places that are made where they are missing.
        """
        wanted = tuple(Mount.from_json(entry) for entry in rootfs)
        if (wanted, write) not in self._views:
            self._views[wanted, write] = self._viewed(*wanted, write=write)
        return self._views[wanted, write]

    def _viewed(self, mount: Mount, *binds: Mount, write: bool) -> int:
        if mount.type == "bind":
            attributes.learn(os.path.dirname(mount.source))
            if not binds:
                root = os.open(mount.source, FOLDER)
                self._held.callback(os.close, root)
                if mount.source.startswith((f"{self.root}/snapshots/", f"{self.root}/volumes/")):
                    attributes.reach(root, self._held if write else None)
                return root
            root = self._held.enter_context(self._hung(mount, self._held.enter_context(self.scratch())))
        else:
            tree = mounts.parse(mount)
            for folder in filter(None, (*tree.lower, tree.upper)):
                attributes.learn(os.path.dirname(folder))
            if not write:
                tree = self._held.enter_context(self._written_aside(tree)) if binds else tree.readable()
            root = self._held.enter_context(self.mounted(tree))
        for bind in sorted(binds, key=lambda bind: bind.destination.count("/")):
            for folder in mounts.parse(bind).lower if bind.type == "overlay" else ():
                attributes.learn(os.path.dirname(folder))
            mounts.cover(root, bind)
        return root

    def close(self) -> None:
        """Let go of all views: what comes next sees others. At the end of what was asked at once nothing is mounted."""
        self._views.clear()
        self._held.close()

    @contextlib.contextmanager
    def beside(self, rootfs: Sequence[dict[str, Any]]) -> Iterator[int]:
        """A descriptor of the folder that a snapshot's writable tree lies in, with its ledger."""
        mount = Mount.from_json(rootfs[0])
        tree = mount.source if mount.type == "bind" else mounts.parse(mount).upper
        folder = os.open(os.path.dirname(tree), FOLDER)
        try:
            yield folder
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def mounted(self, tree: mounts.Overlay) -> Iterator[int]:
        """A descriptor of the root of an overlay, which is mounted where only this process sees it.

        It hangs over a folder meanwhile: on a mount that hangs nowhere openat2 answers EAGAIN to every "..", for ever.
        """
        with contextlib.ExitStack() as held:
            if tree.upper:  # which the kernel wants in one mount at a time, and does not always refuse in a second one
                alone = os.open(os.path.dirname(tree.upper), FOLDER)
                held.callback(os.close, alone)
                fcntl.flock(alone, fcntl.LOCK_EX)
            if tree.volatile:  # it was mounted before, here or by a container that has ended
                overlaynotes.forget(tree.work)
            written = mounts.overlay(tree.lower, tree.upper, tree.work, volatile=tree.volatile)
            # Over its own work folder, where it has one: there nobody else looks for anything meanwhile.
            place = Path(tree.work) if tree.work else held.enter_context(self.scratch())
            yield held.enter_context(self._hung(written, place))

    @contextlib.contextmanager
    def _written_aside(self, tree: mounts.Overlay) -> Iterator[mounts.Overlay]:
        """The same tree, in which what is written is nobody's, and gone at the end: it may be mounted elsewhere meanwhile."""
        below = tree.readable()
        with self.scratch() as folder:
            aside = mounts.Overlay(below.lower, f"{folder}/aside/upper", f"{folder}/aside/work")
            os.makedirs(aside.upper)
            os.mkdir(aside.work)
            os.chmod(aside.upper, os.stat(below.lower[0]).st_mode & 0o7777)
            yield aside

    @contextlib.contextmanager
    def _hung(self, mount: Mount, folder: Path) -> Iterator[int]:
        """A descriptor of the root of a mount over a folder, where only this process sees it."""
        try:
            mounts.attach(mount, str(folder), guarded=True)
        except OSError as error:
            what = "bind" if mount.type == "bind" else f"overlay of {len(mounts.parse(mount).lower)} layers"
            raise HostError(
                f"no {what} can be mounted: {error.strerror}",
                hint="nbcontainers doctor shows what this host allows",
            ) from error
        with contextlib.ExitStack() as held:
            held.callback(syscalls.umount, str(folder), syscalls.MNT_DETACH)
            root = os.open(folder, FOLDER)
            held.callback(os.close, root)
            yield root

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A new folder in ROOT/ingest, locked while it is used, as the collector wants it; removed at the end unless it was moved."""
        path = Path(f"{self.root}/ingest/{secrets.token_hex(16)}")
        with locked(self._gate, exclusive=False):  # between its making and its lock it would look abandoned
            path.mkdir(mode=0o700)
            held = os.open(path, FOLDER)
            fcntl.flock(held, fcntl.LOCK_EX)
        try:
            yield path
        finally:
            self.remove(path)
            os.close(held)

    def blob(self) -> tuple[Path, int]:
        """A new file in ROOT/ingest, open for reading and writing, and locked as long as it is open."""
        path = Path(f"{self.root}/ingest/{secrets.token_hex(16)}")
        with locked(self._gate, exclusive=False):
            made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(made, fcntl.LOCK_EX)
        return path, made

    def remove(self, path: Path) -> None:
        """Remove a tree, whatever it is."""
        folder = os.open(path.parent, FOLDER)
        try:
            removal.remove(folder, os.fsencode(path.name))
        finally:
            os.close(folder)

    def lock(self, chain: str) -> int:
        """Take the lock of a layer that is being made, whose file is ``unpacked.lock``."""
        path = unpacked.lock(self.root, chain)
        while True:
            held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(held, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.stat(path), os.fstat(held)):
                    return held
            os.close(held)  # whoever had it took the file away

    @contextlib.contextmanager
    def alone(self, chain: str) -> Iterator[None]:
        """Hold the lock of a layer that is being made."""
        held = self.lock(chain)
        try:
            yield
        finally:
            unpacked.unlock(self.root, chain, held)

    def publish(self, folder: Path, chain: str, diff_id: str, index: Index) -> None:
        """Make a folder with ``fs`` in it an unpacked layer, in one step; if there is one, it stays. The caller holds its lock."""
        smallfiles.write(f"{folder}/index", index.to_bytes())
        meta = {"diff_id": diff_id, "size": index.size, "entries": len(index), "boot": unpacked.boot()}
        smallfiles.write(f"{folder}/meta", json.dumps(meta).encode())
        if not index.has_owners:
            smallfiles.write(f"{folder}/{recorded.PLAIN}", b"")
        elif os.path.exists(f"{folder}/{recorded.PLAIN}"):
            os.unlink(f"{folder}/{recorded.PLAIN}")
        target = self.layer(chain)
        if unpacked.usable(target):
            return
        if os.path.exists(target):
            os.rename(target, self.root / "trash" / secrets.token_hex(16))
        os.rename(folder, target)
        self._unsettled = True

    def settle(self) -> None:
        """Bring unpacked layers to the disk, so that they are trusted after the machine has stopped too."""
        if not self._unsettled:
            return
        self._unsettled = False
        names = [path for path in (self.root / "layers").iterdir() if not (path / unpacked.SETTLED).exists()]
        if not names:
            return
        root = os.open(self.root, FOLDER)
        try:
            syscalls.syncfs(root)
        finally:
            os.close(root)
        for path in names:
            with contextlib.suppress(FileNotFoundError):
                (path / unpacked.SETTLED).touch()

    def warn(self, lost: set[str]) -> None:
        """Tell what could not be kept, in one sentence."""
        if lost:
            self.say(
                "warned",
                f"this host cannot keep {', '.join(sorted(lost))}",
                "they will be root's or missing in containers and in layers made from them",
            )

    def paced(self, what: str, total: int | None) -> Callable[[int], None]:
        """A function that tells how far some work is, but not too often; of work of unknown length only what takes longer."""
        last = 0.0 if total is not None else time.monotonic()

        def tell(done: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last > _PACE:
                last = now
                self.say("progress", what, done, total)

        return tell
