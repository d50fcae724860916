"""A tree of 11,700 files and 255 MB becomes a layer, and a layer becomes a tree.

To commit is to read the tree, write it as tar, hash that, compress it and hash it again, into the store. buildah and docker
leave out the compression (they keep layers unpacked and compress when they push); they, umoci and ours also look for what
changed. ``tarfile`` stands for the straightforward Python, compressing at its fastest level.

To unpack is to read the same .tgz and write the tree; umoci and ours also check the digests and write down what is where (an
mtree manifest, the layer's index).
"""

from __future__ import annotations

import gzip
import hashlib
import os
import secrets
import shutil
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, cast

from . import image, tree
from .docker import Docker
from .harness import OURS, Contender, Session, Table, Target, main
from .image import NAME, Base
from .ours import Committer, Ours, Unpacker
from .peers import Buildah, Peer, Umoci


def tables(session: Session) -> Iterator[Table]:
    """The commit, then the unpacking."""
    planted = session.folder / "tree"
    few = {"files": tree.FILES // 30, "size": tree.BYTES // 30} if session.quick else {}
    tree.plant(planted / "tree", **few)
    what = f"{few.get('files', tree.FILES):,} files, {few.get('size', tree.BYTES) / 1e6:.0f} MB"
    ours = session.stack.enter_context(Ours(session.folder))
    docker, buildah, umoci = session.open(Docker), session.open(Buildah), session.open(Umoci)
    settle = (lambda: None) if session.quick else os.sync  # no one writes back what another one wrote

    committer = Committer(ours, planted)
    contenders = [
        Contender(name=OURS, before=lambda: committer.prepare(settle), run=committer.run, after=committer.remove),
        Contender(name="tarfile", before=settle, run=lambda: with_tarfile(planted, session.folder / "tarfile.tgz")),
    ]
    contenders += [
        committing(peer, planted, session.folder, settle) for peer in (docker, buildah, umoci) if peer is not None
    ]
    yield Table(
        title=f"commit of a layer ({what})",
        targets=(
            Target(peer="buildah", limit=0.6),
            Target(peer="docker", limit=0.2),
            Target(peer="tarfile", limit=0.25),
        ),
    ).in_turn(contenders, session.rounds(full=7), warm=not session.quick)

    layer = session.folder / "layer.tgz"
    layer.write_bytes(image.pack(planted))
    archive = session.folder / "layer.tar"
    image.write(archive, "bench-tree:latest", [layer.read_bytes()])
    unpacker = Unpacker(ours, archive, "bench-tree:latest")
    room = Room(session.folder / "unpacked", settle)
    contenders = [
        Contender(name=OURS, before=settle, run=unpacker.run, after=unpacker.remove),
        Contender(name="tarfile", before=room.empty, run=lambda: from_tarfile(layer, room.folder)),
    ]
    for program in ("tar", "bsdtar"):
        if path := shutil.which(program):
            name = f"GNU {program}" if program == "tar" else program
            words = [path, "-xzf", str(layer), "-C", str(room.folder)]
            contenders.append(Contender(name=name, before=room.empty, run=partial(Plain(session.folder).run, words)))
    if umoci:
        lay_out(archive, session.folder / "layout-tree")
        bundle = room.folder / "bundle"
        words = umoci.command("unpack", "--image", f"{session.folder / 'layout-tree'}:latest", str(bundle))
        contenders.append(Contender(name=umoci.name, before=room.empty, run=partial(umoci.run, words)))
    yield Table(
        title=f"unpacking of a layer ({what})",
        targets=(Target(peer="GNU tar", limit=1), Target(peer="umoci", limit=0.4)),
    ).in_turn(contenders, session.rounds(full=7), warm=not session.quick)


class Plain(Peer):
    """A program that is no peer, run like one."""

    name = "program"


class Room:
    """An empty folder for each sample."""

    def __init__(self, folder: Path, settle: Callable[[], object]) -> None:
        self.folder = folder
        self._settle = settle

    def empty(self) -> None:
        """Put away what is there, and let the disk come to rest."""
        tree.put_aside(self.folder, self.folder.parent)
        self.folder.mkdir()
        self._settle()


def committing(peer: Peer, planted: Path, folder: Path, settle: Callable[[], object]) -> Contender:
    """One peer's commit of the tree on top of the base image. A file is new each time: it commits nothing twice."""
    nonce = folder / f"nonce-{peer.name}"

    def renewed(command: list[str]) -> Callable[[], object]:
        def before() -> None:
            nonce.write_text(secrets.token_hex(16))
            peer.run(command)
            settle()

        return before

    if isinstance(peer, Docker):
        key = peer.ask("create", NAME, "/bin/true")
        peer.run(peer.command("cp", f"{planted}/tree", f"{key}:/tree"))
        return Contender(
            name=peer.name,
            before=renewed(peer.command("cp", str(nonce), f"{key}:/tree/nonce")),
            run=lambda: peer.run(peer.command("commit", key, "committed")),
            after=lambda: peer.run(peer.command("rmi", "committed")),
        )
    if isinstance(peer, Buildah):
        key = peer.ask("from", "--pull-never", NAME)
        peer.run(peer.command("copy", key, str(planted / "tree"), "/tree"))
        return Contender(
            name=peer.name,
            before=renewed(peer.command("copy", key, str(nonce), "/tree/nonce")),
            run=lambda: peer.run(peer.command("commit", "--quiet", key, "committed")),
            after=lambda: peer.run(peer.command("rmi", "committed")),
        )
    layout, bundle = folder / "layout-umoci", folder / "bundle-umoci"
    lay_out(Base.at(folder).archive, layout)
    peer.run(peer.command("unpack", "--image", f"{layout}:latest", str(bundle)))
    shutil.copytree(planted / "tree", bundle / "rootfs/tree", symlinks=True)
    copied = [shutil.which("cp") or "/bin/cp", str(nonce), str(bundle / "rootfs/tree/nonce")]
    return Contender(
        name=peer.name,
        before=renewed(copied),
        run=lambda: peer.run(peer.command("repack", "--image", f"{layout}:committed", str(bundle))),
        after=lambda: peer.run(peer.command("gc", "--layout", str(layout))),
    )


def lay_out(archive: Path, layout: Path) -> None:
    """Unpack an OCI archive of ours to the layout that it holds."""
    layout.mkdir()
    with tarfile.open(archive) as stream:
        for entry in stream:
            target = layout / entry.name
            target.parent.mkdir(parents=True, exist_ok=True)
            body = stream.extractfile(entry)
            assert body is not None
            with body, target.open("wb") as written:
                shutil.copyfileobj(body, written)


class Hashing:
    """A stream that hashes what is written through it."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile) -> None:
        self._stream = stream
        self.hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Hash and hand on."""
        self.hash.update(data)
        return self._stream.write(data)

    def flush(self) -> None:
        """Hand on."""
        self._stream.flush()


def with_tarfile(planted: Path, target: Path) -> None:
    """A layer as ``tarfile`` and ``gzip`` write it, with both digests."""
    with (
        target.open("wb") as stream,
        gzip.GzipFile(fileobj=cast(IO[bytes], Hashing(stream)), mode="wb", compresslevel=1) as packed,
        tarfile.open(fileobj=cast(IO[bytes], Hashing(packed)), mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        archive.add(planted, ".")


def from_tarfile(layer: Path, folder: Path) -> None:
    """The tree as ``tarfile`` unpacks it, with owners and modes."""
    with tarfile.open(layer) as archive:
        if hasattr(tarfile, "fully_trusted_filter"):
            archive.extraction_filter = tarfile.fully_trusted_filter
        archive.extractall(folder)


if __name__ == "__main__":
    main("layers_commit", tables)
