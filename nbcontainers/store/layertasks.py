"""What the worker's process does with layers: unpacks, commits, compares and packs them."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..linux import recorded
from ..oci.descriptor import Digest
from ..oci.image import chain_ids
from . import attributes, audit, changes, compression, layers, unpacked
from .entries import Index
from .merged import FOLDER, Merged
from .work import Answer, Work

_MOST_FAULTS = 1000  # of one layer, beyond which more tell nothing new


class _Counted(io.FileIO):
    """A file that tells how much of it was read."""

    def __init__(self, path: str, tell: Callable[[int], None]) -> None:
        super().__init__(path)
        self._told = tell
        self._done = 0

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        self._done += count or 0
        self._told(self._done)
        return count

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(-1 if size is None else size) or b""
        self._done += len(data)
        self._told(self._done)
        return data


def unpack(work: Work, blob: str, diff_id: str, chain: str, parents: list[str], bounds: tuple[int, int]) -> None:
    """See ``Worker.unpack``."""
    target = work.layer(chain)
    with work.alone(chain):
        if unpacked.usable(target):
            return
        size = os.stat(blob).st_size
        tell = work.paced(f"unpacking {Digest(diff_id).short}", size)
        with work.scratch() as folder, _Counted(blob, tell) as file, work.opened(parents) as below:
            limits = layers.Limits(*bounds)
            index, lost = Index(), set[str]()
            (folder / "fs").mkdir(mode=0o755)
            root = os.open(folder / "fs", FOLDER)
            try:
                stream = compression.reader(cast("BinaryIO", file))
                found = layers.apply(stream, root, parents=below, index=index, limits=limits, lost=lost)
            finally:
                os.close(root)
            if found != diff_id:
                raise layers.mistaken(os.path.basename(blob), Digest(diff_id), found)
            work.warn(lost)
            work.publish(folder, chain, diff_id, index)


def commit(
    work: Work,
    key: str,
    parents: list[str],
    copied: bool,
    keep: bool,
    created: int | None,
    kind: compression.Compression,
) -> Answer:
    """See ``Worker.commit``."""
    work.close()  # what is committed is mounted nowhere
    snapshot = str(unpacked.snapshot(work.root, key))
    with contextlib.ExitStack() as stack:
        below = stack.enter_context(work.opened(parents if copied else parents[-1:]))
        folder = stack.enter_context(work.scratch()) if keep and copied else Path(f"{snapshot}/{unpacked.BEGUN}")
        tree = f"{snapshot}/upper"
        attributes.learn(snapshot)
        if copied:
            tree = f"{folder}/fs"
            os.mkdir(tree, 0o755)
            source, upper = os.open(f"{snapshot}/upper", FOLDER), os.open(tree, FOLDER)
            try:
                attributes.reach(source, stack)
                found = changes.of_copy(source, Merged(below), unpacked.filled(Path(snapshot)))
                changes.into_overlay(source, found, upper, keep=keep)
            finally:
                os.close(source)
                os.close(upper)
        index = Index()
        upper = os.open(tree, FOLDER)
        stack.callback(os.close, upper)
        path, blob = work.blob()
        held: list[int] = []  # the layer's lock, which whoever has asked lets go of once a lease names the layer
        try:
            packed = layers.pack(
                upper,
                blob,
                index,
                below=below[-1] if below else None,
                created=created,
                settle=not keep,
                compression=kind,
                progress=work.paced("committing", None),
            )
            chain = chain_ids([Digest(parents[-1]), packed.diff_id])[-1] if parents else packed.diff_id
            if not keep:
                held.append(work.lock(chain))
                if not copied:
                    os.rename(tree, f"{folder}/fs")
                with contextlib.suppress(FileNotFoundError):
                    os.rename(f"{snapshot}/{recorded.LEDGER}", f"{folder}/{recorded.LEDGER}")
                work.publish(folder, chain, packed.diff_id, index)
        except BaseException:
            os.close(blob)
            path.unlink(missing_ok=True)
            for lock in held:
                unpacked.unlock(work.root, chain, lock)
            raise
    about = packed.descriptor
    value = (str(path), about.media_type, str(about.digest), about.size, str(packed.diff_id), str(chain), packed.size)
    return Answer(value, (blob, *held))


def verify(work: Work, chain: str) -> list[tuple[str, str]]:
    """See ``Worker.verify``."""
    layer = work.layer(chain)
    with work.opened([chain]) as (tree,):
        listed = Index.from_bytes(Path(layer, "index").read_bytes())
        return list(itertools.islice(audit.faults(tree, listed), _MOST_FAULTS))


def repack(work: Work, chain: str, parents: list[str], kind: compression.Compression) -> Answer:
    """See ``Worker.repack``."""
    with work.opened([*parents, chain]) as trees:
        path, blob = work.blob()
        try:
            below = trees[-2] if parents else None
            packed = layers.pack(trees[-1], blob, Index(), below=below, compression=kind)
        except BaseException:
            os.close(blob)
            path.unlink(missing_ok=True)
            raise
    about = packed.descriptor
    return Answer((str(path), about.media_type, str(about.digest), about.size), (blob,))
