"""What the worker's process does when it is called: each function of ``CALLS``, with plain values in and out."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..errors import NotFound
from ..linux import mounts, recorded
from ..oci.descriptor import Digest
from ..oci.image import chain_ids
from . import (
    attributes,
    audit,
    carrying,
    changes,
    compression,
    copying,
    layers,
    lookups,
    removal,
    stubs,
    tar,
    unarchive,
    unpacked,
)
from .attributes import Attributes, Owners
from .entries import Index
from .merged import FOLDER, Merged
from .picking import Picking, Rule
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
            work.publish(folder, chain, diff_id, index, sum(entry.size for entry in index))


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
    snapshot = work.root / "snapshots" / key
    with contextlib.ExitStack() as stack:
        below = stack.enter_context(work.opened(parents if copied else parents[-1:]))
        folder = stack.enter_context(work.scratch())
        tree = snapshot / "upper"
        attributes.learn(snapshot)
        if copied:
            tree = folder / "fs"
            tree.mkdir(mode=0o755)
            source, upper = os.open(snapshot / "upper", FOLDER), os.open(tree, FOLDER)
            try:
                found = changes.of_copy(source, Merged(below), unpacked.filled(snapshot))
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
                    tree.rename(folder / "fs")
                with contextlib.suppress(FileNotFoundError):
                    (snapshot / recorded.LEDGER).rename(folder / recorded.LEDGER)
                work.publish(folder, chain, packed.diff_id, index, packed.size)
                work.remove(snapshot)
        except BaseException:
            os.close(blob)
            path.unlink(missing_ok=True)
            for lock in held:
                unpacked.unlock(work.root, chain, lock)
            raise
    about = packed.descriptor
    value = (str(path), about.media_type, str(about.digest), about.size, str(packed.diff_id), str(chain), packed.size)
    return Answer(value, (blob, *held))


def fill(work: Work, key: str, parents: list[str]) -> None:
    """See ``Worker.fill``."""
    snapshot = work.root / "snapshots" / key
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
    snapshot = work.root / "snapshots" / key
    attributes.learn(snapshot)
    with work.opened(parents) as below:
        upper = os.open(snapshot / "upper", FOLDER)
        try:
            lower = Merged(below)
            found = (
                changes.of_copy(upper, lower, unpacked.filled(snapshot)) if copied else changes.of_overlay(upper, lower)
            )
            return [(row.kind, "/" + os.fsdecode(row.path), row.size) for row in found]
        finally:
            os.close(upper)


def copy(
    work: Work,
    rootfs: list[dict[str, Any]],
    rows: list[tuple[str, str]],
    destination: str,
    directory: bool,
    chown: str | None,
    mode: str,
    unpack: bool,
) -> int:
    """See ``filling.copy``."""
    root = work.view(rootfs, write=True)
    with work.beside(rootfs) as beside:
        unknown = set[str]()
        owner = lookups.owner(root, chown, unknown) if chown else (0, 0)
        with contextlib.closing(copying.Copying(root, os.fsencode(destination), owner, mode, beside)) as target:
            into = directory or target.is_folder()
            for source, relative in rows:
                if unpack and unarchive.is_archive(os.fsencode(source)):
                    target.unpack(os.fsencode(source), owner if chown else None)
                    continue
                copying.from_host(target, os.fsencode(source), os.fsencode(relative) if into else b"")
        work.warn(target.owners.lost)
        _warn_of_owners(work, unknown)
        return target.size


def _warn_of_owners(work: Work, unknown: set[str]) -> None:
    if unknown:
        work.say(
            "warned",
            f"no {' and no '.join(sorted(unknown))} in the tree: root takes the place",
            "give a number, or make it before",
        )


def copy_from(
    work: Work,
    rootfs: list[dict[str, Any]],
    from_rootfs: list[dict[str, Any]],
    sources: list[str],
    destination: str,
    directory: bool,
    chown: str | None,
    mode: str,
    include: list[Rule],
    exclude: list[Rule],
    must_match: bool,
    may_miss: str,
) -> int:
    """See ``filling.copy_from``."""
    tree, root = work.view(from_rootfs), work.view(rootfs, write=True)
    with work.beside(rootfs) as beside:
        unknown = set[str]()
        owner = lookups.owner(root, chown, unknown) if chown else None
        with contextlib.closing(copying.Copying(root, os.fsencode(destination), owner, mode, beside)) as target:
            names = [os.fsencode(source) for source in sources]
            try:
                copying.from_tree(target, tree, names, directory=directory, picking=Picking(include, exclude))
            except NotFound:
                if not may_miss:
                    raise
                work.say("warned", may_miss, "")
            if must_match and include and not target.count:
                raise NotFound("no such file to copy", hint="the path is looked up in the stage or image of --from")
        work.warn(target.owners.lost)
        _warn_of_owners(work, unknown)
        return target.size


def fill_volume(work: Work, rootfs: list[dict[str, Any]], path: str, volume: str) -> None:
    """See ``Worker.fill_volume``."""
    with contextlib.ExitStack() as opened:
        place = os.open(volume, FOLDER)
        opened.callback(os.close, place)
        if os.listdir(place):
            return
        owners = copying.fill(work.view(rootfs), os.fsencode(path), place)
        work.warn(owners.lost)


def make_folder(work: Work, path: str, mode: int, uid: int, gid: int) -> None:
    """See ``Worker.make_folder``."""
    os.mkdir(path, 0o700)
    folder = os.open(path, FOLDER)
    try:
        Owners().give(folder, Attributes(stat.S_IFDIR | mode, uid, gid, 0, 0))
    finally:
        os.close(folder)


def clear_stubs(work: Work, key: str, parents: list[str], copied: bool, destinations: list[str]) -> None:
    """See ``filling.clear_stubs``."""
    with work.opened(parents) as below:
        upper = os.open(work.root / "snapshots" / key / "upper", FOLDER)
        try:
            stubs.clear(upper, Merged(below), [os.fsencode(path) for path in destinations], copied=copied)
        finally:
            os.close(upper)


def read(work: Work, rootfs: list[dict[str, Any]], path: str, limit: int) -> bytes:
    """See ``Worker.read``."""
    return lookups.read(work.view(rootfs), os.fsencode(path), limit)


def content(work: Work, chain: str, path: str, limit: int) -> bytes:
    """See ``Worker.content``."""
    return unpacked.content(work.root, Digest(chain), path, limit=limit)


def lookup(work: Work, rootfs: list[dict[str, Any]], word: str) -> tuple[int, int]:
    """See ``Worker.lookup``."""
    return lookups.lookup(work.view(rootfs), word)


def export(work: Work, rootfs: list[dict[str, Any]], descriptor: int) -> None:
    """See ``Worker.export``."""

    def emit(block: memoryview) -> None:
        rest = block
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    writer = tar.Writer(emit)
    layers.export(work.view(rootfs), writer)
    writer.close()


def _tree(work: Work, rootfs: list[dict[str, Any]], root: tuple[int, ...], *, write: bool = False) -> int:
    """The root that was given, that of a container that runs, or else a snapshot's own."""
    return root[0] if root else work.view(rootfs, write=write)


def kind(work: Work, rootfs: list[dict[str, Any]], path: str, follow: bool, *root: int) -> str:
    """See ``Worker.kind``."""
    return carrying.kind(_tree(work, rootfs, root), path, follow=follow)


def carry_out(
    work: Work, rootfs: list[dict[str, Any]], path: str, name: str, follow: bool, out: int, *root: int
) -> None:
    """See ``Worker.carry_out``."""

    def emit(block: memoryview) -> None:
        rest = block
        while rest:
            rest = rest[os.write(out, rest) :]

    carrying.pack(_tree(work, rootfs, root), path, name, emit, follow=follow, look=attributes.read)


def carry_in(work: Work, rootfs: list[dict[str, Any]], folder: str, owners: bool, source: int, *root: int) -> None:
    """See ``Worker.carry_in``."""
    tree, keeper = _tree(work, rootfs, root, write=True), attributes.Owners()
    with open(source, "rb", closefd=False) as stream:
        carrying.place(tree, folder, stream, owners=owners, keeper=keeper)
    if keeper.has_recorded:  # the container may run, and its supervisor is to look
        with work.beside(rootfs) as beside:
            recorded.mark(beside)


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


def measure(work: Work, folders: list[str]) -> list[int]:
    """See ``Worker.measure``."""
    return [_taken(work.root / folder) for folder in folders]


def _taken(tree: Path) -> int:
    """The blocks of a tree's files, in bytes, a file with several names once; 0 where it is gone."""
    seen, size = set[tuple[int, int]](), 0
    with contextlib.suppress(FileNotFoundError):  # the tree itself
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
    "unpack": unpack,
    "commit": commit,
    "fill": fill,
    "changes": differences,
    "copy": copy,
    "copy_from": copy_from,
    "fill_volume": fill_volume,
    "make_folder": make_folder,
    "clear_stubs": clear_stubs,
    "read": read,
    "content": content,
    "lookup": lookup,
    "export": export,
    "kind": kind,
    "carry_out": carry_out,
    "carry_in": carry_in,
    "verify": verify,
    "repack": repack,
    "measure": measure,
    "remove": remove,
    "probe_overlay": probe_overlay,
}
CALLS = {name: _answering(call) for name, call in _ALL.items()}
