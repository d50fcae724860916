"""Files: what a layer holds, and what a container changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ChangeKind = Literal["added", "modified", "deleted"]
FileKind = Literal["file", "directory", "symlink", "hardlink", "device", "fifo", "whiteout"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A path that a container changed on top of its image."""

    kind: ChangeKind
    path: str
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One path of a layer or of a whole image; ``digest`` is a regular file's content, ``link`` a link's target."""

    path: str
    kind: FileKind
    size: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    digest: str = ""
    link: str = ""
