"""Folders made when nobody waits, for those who will want such ones soon: ROOT/stock/KIND-NUMBER.

To make a file takes the kernel ten times as long as to move a folder, and a container wants a dozen. Nobody owns what is in stock: who
moves an entry away has it, and who finds it gone takes another, or makes his own. What is half made begins with a dot.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections import deque
from dataclasses import dataclass
from pathlib import Path

FEW, MOST = 4, 128  # entries of a kind that are kept, however few and however many were wanted of late


@dataclass(frozen=True, slots=True)
class Kind:
    """What a new folder has in it, all of it empty: a file is to be filled, and given its name, by who takes it."""

    name: str
    folders: tuple[str, ...] = ()
    files: tuple[tuple[str, int], ...] = ()  # with their modes

    def make(self, path: str) -> None:
        """Make one, or nothing. FileExistsError where there is something."""
        os.mkdir(path, 0o700)
        try:
            for folder in self.folders:
                os.mkdir(f"{path}/{folder}", 0o700)
            for file, mode in self.files:
                descriptor = os.open(f"{path}/{file}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
                try:
                    os.fchmod(descriptor, mode)  # whose umask it is made under says nothing of who takes it
                finally:
                    os.close(descriptor)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise


class Stock:
    """The stock of one store. Threads may share it, without a lock, which a fork could find held."""

    def __init__(self, root: Path) -> None:
        self._place = f"{root}/stock"
        self._known: dict[Kind, deque[str]] = {}
        self._wanted: dict[Kind, int] = {}  # about how many since it was filled last

    def take(self, kind: Kind, path: str) -> None:
        """Put a folder of a kind there: FileExistsError where there is something."""
        self._wanted[kind] = self._wanted.get(kind, 0) + 1
        if kind not in self._known:
            self._known.setdefault(kind, deque(self._list(kind)))
        known = self._known[kind]
        while known:
            try:
                os.rename(known.popleft(), path)
                return
            except (IndexError, FileNotFoundError):
                continue  # another thread or process has taken it
            except OSError:
                break  # there is something, or no room: which of them is told here
        kind.make(path)

    def fill(self) -> None:
        """Make as many as were wanted since this was done last."""
        for kind, wanted in list(self._wanted.items()):
            if wanted:
                self._wanted[kind] = 0
                # A full disk ends it; so does whoever throws all of it away just now.
                with contextlib.suppress(OSError):
                    for _ in range(min(max(wanted, FEW), MOST) - len(self._list(kind))):
                        self._add(kind)
                    self._known[kind] = deque(self._list(kind))

    def _add(self, kind: Kind) -> None:
        name = f"{kind.name}-{secrets.token_hex(16)}"
        half = f"{self._place}/.{name}"
        kind.make(half)
        os.rename(half, f"{self._place}/{name}")

    def _list(self, kind: Kind) -> list[str]:
        return [f"{self._place}/{name}" for name in os.listdir(self._place) if name.startswith(f"{kind.name}-")]
