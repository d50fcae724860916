"""What the worker's process does in the tree of a container or of a build's step."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Any

from ..errors import NotFound
from ..linux import recorded
from ..oci.descriptor import Digest
from . import attributes, carrying, copying, layers, lookups, stubs, tar, unarchive, unpacked
from .attributes import Attributes, Owners
from .durable import emitter
from .merged import FOLDER, Merged
from .picking import Picking, Rule
from .work import Work


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
    may_miss: str,
    none_picked: str,
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
            except copying.Missing as error:
                raise NotFound(error.message, hint=error.hint) from error
            except NotFound:
                if not may_miss:
                    raise
                work.say("warned", may_miss, "")
            else:
                if none_picked and not target.count:
                    work.say("warned", none_picked, "")
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
        upper = os.open(unpacked.snapshot(work.root, key) / "upper", FOLDER)
        try:
            with contextlib.ExitStack() as writing:
                attributes.reach(upper, writing)
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
    writer = tar.Writer(emitter(descriptor))
    layers.export(work.view(rootfs), writer)
    writer.close()


def _tree(work: Work, rootfs: list[dict[str, Any]], root: tuple[int, ...], *, write: bool = False) -> int:
    """The root that was given, that of a container that runs, or else a snapshot's own."""
    return root[0] if root else work.view(rootfs, write=write)


def kind(work: Work, rootfs: list[dict[str, Any]], path: str, follow: bool, *root: int) -> str:
    """See ``Worker.kind``."""
    return carrying.kind(_tree(work, rootfs, root), path, follow=follow)


def real(work: Work, rootfs: list[dict[str, Any]], path: str, *root: int) -> str:
    """See ``Worker.real``."""
    return "/" + os.fsdecode(lookups.real(_tree(work, rootfs, root), os.fsencode(path))).lstrip("/")


def carry_out(
    work: Work, rootfs: list[dict[str, Any]], path: str, name: str, follow: bool, out: int, *root: int
) -> None:
    """See ``Worker.carry_out``."""
    carrying.pack(_tree(work, rootfs, root), path, name, emitter(out), follow=follow, look=attributes.read)


def carry_in(work: Work, rootfs: list[dict[str, Any]], folder: str, owners: bool, source: int, *root: int) -> None:
    """See ``Worker.carry_in``."""
    tree, keeper = _tree(work, rootfs, root, write=True), attributes.Owners()
    with open(source, "rb", closefd=False) as stream:
        carrying.place(tree, folder, stream, owners=owners, keeper=keeper)
    if keeper.has_recorded:  # the container may run, and its supervisor is to look
        with work.beside(rootfs) as beside:
            recorded.mark(beside)
