"""What the worker's process does when it is called: each function of ``CALLS``, with plain values in and out."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..linux import mounts
from . import attributes, changes, layertasks, removal, treetasks, unpacked
from .merged import FOLDER, Merged
from .work import Answer, Work


def fill(work: Work, key: str, parents: list[str]) -> None:
    """See ``Worker.fill``."""
    snapshot = unpacked.snapshot(work.root, key)
    with work.opened(parents) as below:
        target = os.open(snapshot / "upper", FOLDER)
        try:
            if below:
                changes.fill(Merged(below), below[-1], target)
            else:
                os.fchmod(target, 0o755)
        finally:
            os.close(target)
    unpacked.mark_filled(snapshot)


def differences(work: Work, key: str, parents: list[str], copied: bool) -> list[tuple[str, str, int]]:
    """See ``Worker.changes``."""
    snapshot = unpacked.snapshot(work.root, key)
    attributes.learn(snapshot)
    with work.opened(parents) as below:
        upper = os.open(snapshot / "upper", FOLDER)
        try:
            attributes.reach(upper)
            lower = Merged(below)
            found = (
                changes.of_copy(upper, lower, unpacked.filled(snapshot)) if copied else changes.of_overlay(upper, lower)
            )
            return [(row.kind, "/" + os.fsdecode(row.path), row.size) for row in changes.visible(found)]
        finally:
            os.close(upper)


def measure(work: Work, folders: list[str]) -> list[int]:
    """See ``Worker.measure``."""
    return [_taken(work.root / folder) for folder in folders]


def _taken(tree: Path) -> int:
    """The blocks of a tree's files, in bytes, a file with several names once; 0 where it is gone.

    Who puts folders into each other deeper than can be walked leaves the rest of his own files out, and spoils no other's number.
    """
    seen, size = set[tuple[int, int]](), 0
    with contextlib.suppress(FileNotFoundError, RecursionError):  # the tree itself
        top = os.open(tree, FOLDER)
        try:
            attributes.reach(top)
        finally:
            os.close(top)
        for _, _, names, folder in os.fwalk(tree):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    if status.st_nlink == 1 or (status.st_dev, status.st_ino) not in seen:
                        seen.add((status.st_dev, status.st_ino))
                        size += status.st_blocks * 512
    return size


def remove(work: Work, path: str) -> None:
    """See ``Worker.remove``."""
    if not Path(path).is_relative_to(work.root) or ".." in Path(path).parts:
        raise ValueError(f"{path} is not below {work.root}")
    if Path(path).parent.exists():
        work.remove(Path(path))


def probe_overlay(work: Work, folder: str) -> str:
    """See ``Worker.probe_overlay``."""
    place = Path(folder) / f".probe-{secrets.token_hex(8)}"
    here = os.open(folder, FOLDER)
    try:
        for name in ("lower/folder", "upper", "work", "scratch"):
            (place / name).mkdir(mode=0o755, parents=True)
        tree = mounts.Overlay((str(place / "lower"),), str(place / "upper"), str(place / "work"))
        root = mounts.detached(tree, str(place / "scratch"))
        try:
            # A lower folder replaced is an opaque one: the file system must take user.* attributes and whiteouts.
            os.rmdir("folder", dir_fd=root)
            os.mkdir("folder", 0o755, dir_fd=root)
            os.stat("folder", dir_fd=root)
        finally:
            os.close(root)
        return ""
    except OSError as error:
        return f"{error.strerror} ({Path(folder)})"
    finally:
        with contextlib.suppress(FileNotFoundError):
            removal.remove(here, os.fsencode(place.name))
        os.close(here)


def _answering(call: Callable[..., Any]) -> Callable[..., Answer]:
    def answer(*arguments: Any) -> Answer:
        value = call(*arguments)
        return value if isinstance(value, Answer) else Answer(value)

    return answer


_ALL: dict[str, Callable[..., Any]] = {
    "unpack": layertasks.unpack,
    "commit": layertasks.commit,
    "fill": fill,
    "changes": differences,
    "copy": treetasks.copy,
    "copy_from": treetasks.copy_from,
    "fill_volume": treetasks.fill_volume,
    "make_folder": treetasks.make_folder,
    "clear_stubs": treetasks.clear_stubs,
    "read": treetasks.read,
    "content": treetasks.content,
    "lookup": treetasks.lookup,
    "export": treetasks.export,
    "kind": treetasks.kind,
    "real": treetasks.real,
    "carry_out": treetasks.carry_out,
    "carry_in": treetasks.carry_in,
    "verify": layertasks.verify,
    "repack": layertasks.repack,
    "measure": measure,
    "remove": remove,
    "probe_overlay": probe_overlay,
}
CALLS = {name: _answering(call) for name, call in _ALL.items()}
