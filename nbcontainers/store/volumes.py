"""Volumes: folders with a name that outlive the containers which show them, in ROOT/volumes/NAME.

``_data`` in it is what is mounted and ``volume.json`` what is known of it; a volume is there once the latter is.
Making the folder is claiming the name. Who makes or uses a volume holds ROOT/volumes locked shared, who removes one alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import Conflict, NBContainersError, NotFound
from ..linux.smallfiles import NO_ROOM, publish
from .durable import locked, saying_when_full
from .worker import Worker

DATA = "_data"
_ABOUT = "volume.json"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A volume; ``anonymous`` ones were made for one container and go with it under ``--rm``; ``path`` is where its files lie."""

    name: str
    path: str
    created: float
    labels: Mapping[str, str] = field(default_factory=dict)
    anonymous: bool = False


class Volumes:
    """The volumes of one store."""

    def __init__(self, root: Path, worker: Worker) -> None:
        self._root = root / "volumes"
        self._worker = worker

    def shared(self) -> contextlib.AbstractContextManager[None]:
        """Hold this from choosing a volume until its user is on disk: none is removed meanwhile."""
        self._root.mkdir(mode=0o700, exist_ok=True)
        return locked(self._root / ".lock", exclusive=False)

    def create(
        self, name: str = "", *, labels: Mapping[str, str] | None = None, anonymous: bool = False
    ) -> tuple[Volume, bool]:
        """(the volume of that name, whether it was made now); without a name a new, anonymous one.

        Raises:
            NBContainersError: the name is not well formed.
            HostError: the disk is full.
        """
        anonymous = anonymous or not name
        name = name or secrets.token_hex(32)
        if not _NAME.fullmatch(name):
            raise NBContainersError(
                f"invalid volume name {name!r}",
                hint="two or more letters, digits, '_', '.' or '-', the first a letter or digit; a path begins with / or .",
            )
        volume = Volume(
            name=name,
            path=str(self._root / name / DATA),
            created=time.time(),
            labels=dict(labels or {}),
            anonymous=anonymous,
        )
        self._root.mkdir(mode=0o700, exist_ok=True)
        with saying_when_full(self._root), locked(self._root / ".making", exclusive=True):
            with contextlib.suppress(NotFound):
                return self.get(name), False
            folder = self._root / name
            if not (folder / _ABOUT).exists():  # what a killed process left: nothing of it comes back under the name
                self._put_aside(folder)
            (folder / DATA).mkdir(mode=0o755, parents=True, exist_ok=True)
            (folder / DATA).chmod(0o755)
            about = {
                "created": volume.created,
                "labels": dict(volume.labels),
                "anonymous": anonymous,
            }
            publish(f"{folder}/{_ABOUT}", json.dumps(about).encode())
        return volume, True

    def get(self, name: str) -> Volume:
        """The volume of that name: NotFound where there is none."""
        try:
            if not _NAME.fullmatch(name):
                raise ValueError
            about = json.loads((self._root / name / _ABOUT).read_text())
            return Volume(
                name=name,
                path=str(self._root / name / DATA),
                created=about["created"],
                labels=about.get("labels") or {},
                anonymous=bool(about.get("anonymous")),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                raise
            raise NotFound(f"no such volume: {name!r}", hint="'nbcontainers volume ls' lists them") from None

    def list(self) -> tuple[Volume, ...]:
        """Every volume, by name."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(self._root)):
                with contextlib.suppress(NotFound):
                    found.append(self.get(name))
        return tuple(found)

    def remove(self, name: str, users: Mapping[str, tuple[str, ...]]) -> None:
        """Remove a volume with all that is in it; ``users`` are the containers (IDs) that name each volume.

        Raises:
            NotFound: there is no such volume.
            Conflict: a container uses it.
        """
        self.get(name)
        if users.get(name):
            raise Conflict(
                f"volume {name} is in use by {', '.join(user[:12] for user in users[name])}",
                hint="remove those containers first: 'nbcontainers rm -v' takes anonymous volumes along",
            )
        folder = self._root / name
        try:  # once it is put aside it is not there; who is killed then leaves it to the next prune
            folder = self._put_aside(folder)
        except OSError:  # as where a full disk has no room for another name
            (folder / _ABOUT).unlink(missing_ok=True)
        self._worker.remove(folder)

    def sweep(self) -> None:
        """Put aside what is left of volumes that were being made, or removed, when their process was killed."""
        with contextlib.suppress(FileNotFoundError), locked(self._root / ".making", exclusive=True):
            for folder in self._root.iterdir():
                if folder.is_dir() and not (folder / _ABOUT).exists():
                    self._put_aside(folder)

    def _put_aside(self, folder: Path) -> Path:
        """Move a folder to where each collection removes what it finds; nothing if it is not there."""
        aside = self._root.parent / "trash" / secrets.token_hex(16)
        with contextlib.suppress(FileNotFoundError):
            folder.rename(aside)
        return aside

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        """Hold this from reading who uses volumes until those that nobody does are removed."""
        self._root.mkdir(mode=0o700, exist_ok=True)
        return locked(self._root / ".lock", exclusive=True)

    def size(self, name: str) -> int:
        """Bytes on the disk that its files take, as this process can see them."""
        total = 0
        for folder, _, files in os.walk(self._root / name / DATA):
            for file in files:
                with contextlib.suppress(OSError):
                    total += os.lstat(os.path.join(folder, file)).st_blocks * 512
        return total
