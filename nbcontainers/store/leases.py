"""Leases keep work in progress from the collector, and the gate keeps the collector from whoever names something new.

A lease is a file in ROOT/leases that its holder keeps locked; its lines are what it protects: digests of blobs, chain IDs of
layers, keys of snapshots. A lease whose lock can be had has lost its holder and protects nothing: no clock is asked.

The gate is the lock ROOT/lock. Whoever is about to rely on something holds it shared for as long as it takes to name it (in a
lease or a tag); the collector holds it alone from reading leases and tags until the last name is gone. So what was named before
the collector began is kept, and what is named after it has ended was looked for after it had ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import threading
from collections.abc import Collection, Iterator
from pathlib import Path

from ..linux.smallfiles import write_all
from .durable import abandoned, locked, saying_when_full


class Lease:
    """Names that are not collected while this is held; made by ``Leases.hold``. Threads may share it."""

    def __init__(self, leases: Leases, descriptor: int) -> None:
        self._leases = leases
        self._descriptor = descriptor
        self._names: set[str] = set()
        self._mutex = threading.Lock()

    def add(self, *names: str) -> None:
        """Protect a manifest (with all that it names), a blob, a layer by its chain ID or a snapshot by its key.

        Name it first, look whether it is there then: the answer holds until the lease ends.
        """
        if self._lacks(names):
            with self._leases.shared(), saying_when_full(self._leases.folder):
                self._add(names)

    def _lacks(self, names: Collection[str]) -> bool:
        return not self._names.issuperset(names)

    def _add(self, names: Collection[str]) -> None:
        """Name what is not named yet, if this is still held. The caller holds the gate."""
        with self._mutex:
            if self._descriptor >= 0 and self._lacks(names):
                self._write(set(names) - self._names)

    def _write(self, names: set[str]) -> None:
        write_all(self._descriptor, "".join(f"{name}\n" for name in sorted(names)).encode())
        self._names |= names

    def _end(self) -> None:
        with self._mutex:
            os.close(self._descriptor)
            self._descriptor = -1


class Leases:
    """The leases of one store, and its gate."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "leases"
        self._gate = root / "lock"
        self._held: tuple[Lease, ...] = ()
        self._mutex = threading.Lock()

    def shared(self) -> contextlib.AbstractContextManager[None]:
        """Hold the gate beside others who name things; keep it short, and take no other lock inside."""
        return locked(self._gate, exclusive=False)

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        """Hold the gate alone: nothing gets a name meanwhile."""
        return locked(self._gate, exclusive=True)

    @contextlib.contextmanager
    def hold(self, *names: str) -> Iterator[Lease]:
        """Take a lease, which protects ``names`` (see ``Lease.add``), and every blob that this process writes while it is held."""
        path = f"{self.folder}/{secrets.token_hex(16)}"
        lease: Lease | None = None
        try:  # from here on: an interrupt may come between any two lines
            # Between its making and its lock it would look abandoned.
            with self.shared(), saying_when_full(self.folder):
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
                lease = Lease(self, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                lease._write(set(names))
            with self._mutex:
                self._held = (*self._held, lease)
            yield lease
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            with self._mutex:
                self._held = tuple(other for other in self._held if other is not lease)
            if lease is not None:
                lease._end()

    def protect(self, *names: str) -> None:
        """Name something in every lease that this process holds; without one it does nothing."""
        wanting = [lease for lease in self._held if lease._lacks(names)]
        if wanting:
            with self.shared(), saying_when_full(self.folder):
                for lease in wanting:
                    lease._add(names)

    def names(self) -> frozenset[str]:
        """All that living leases of all processes protect; abandoned ones are removed. The caller holds the gate alone."""
        names: set[str] = set()
        for path in self.living():
            with contextlib.suppress(FileNotFoundError):  # its holder has let go just now, which takes no gate
                names.update(path.read_text().splitlines())
        return frozenset(names)

    def living(self) -> tuple[Path, ...]:
        """The leases whose holders live; the others are removed. The caller holds the gate alone."""
        with os.scandir(self.folder) as entries:
            paths = [Path(entry.path) for entry in entries]
        living = []
        for path in paths:
            if abandoned(path):
                path.unlink(missing_ok=True)
            else:
                living.append(path)
        return tuple(living)
