"""The worker: a process of the engine's that touches trees of files as the containers' root.

Only in the containers' id mapping can trees be made, read and removed as they are (uid 1000 cannot write in a 0555 folder, nor
a user namespace's maps be entered by a kernel with threads). So everything that unpacks, commits, copies and removes happens there,
in mounts that nobody else sees. Trees half made are left in ROOT/ingest and ROOT/trash, where the collector finds them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from ..events import Observer, ignore
from ..linux.idmap import Identity
from ..oci.descriptor import Descriptor, Digest
from ..oci.runtime import Mount
from ..results import Change
from . import layers, unpacked
from .compression import Compression
from .filling import Call, plain, texts
from .layers import CommittedLayer, Limits
from .processes import Processes

Adopt = Callable[[Path, Descriptor, int], object]
"""Takes a file in ROOT/ingest away; the descriptor keeps it locked until then, and is to be closed."""


class Worker:
    """Calls into the worker's process, which is started by the first one and ends with the engine, however that ends.

    A call returns when its work is done and raises what went wrong there. Calls of several threads go on at the same time, each
    in a process of its own. An exception in a caller's thread while it waits (KeyboardInterrupt, or one of its observer's) ends
    its process, and so does a ``Stop`` that it obeys; the next call starts another.

    Raises:
        HostError: the host does not allow the namespaces that the identity needs, or the disk is full.

    """

    def __init__(self, root: Path, identity: Identity) -> None:
        self._root = root
        self._processes = Processes(root, identity)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes that nobody waits for; those of calls under way end with them. The next call would start another."""
        self._processes.close()

    def rest(self) -> None:
        """End what only many calls at once needed: one process stays at hand."""
        self._processes.rest()

    def pids(self) -> tuple[int, ...]:
        """The processes that are there now."""
        return self._processes.pids()

    def _call(
        self, name: str, *arguments: object, on_event: Observer = ignore, descriptors: Sequence[int] = ()
    ) -> tuple[Any, list[int]]:
        return self._processes.call((Call(name, arguments),), on_event, descriptors)

    # What it does

    def do(self, *calls: Call, on_event: Observer = ignore) -> Any:
        """Do one or several calls (see ``filling``) and return what the last one answers; the first error ends them.

        ``on_event`` is warned of what cannot be kept.
        """
        return self._processes.call(calls, on_event, ())[0]

    def unpack(
        self,
        blob: Path,
        diff_id: Digest,
        chain: Digest,
        *,
        parents: Sequence[Digest] = (),
        limits: Limits | None = None,
        on_event: Observer = ignore,
    ) -> None:
        """Unpack a layer's blob to ROOT/layers/CHAIN unless it is there; of several processes that want it, one does it.

        Args:
            blob: the file, compressed in any of the ways that are known by its first bytes.
            diff_id: what its uncompressed bytes must hash to.
            chain: the chain ID of the layer.
            parents: the chain IDs of the layers below, from the base up; each is unpacked.
            limits: what it may be at most; by default in proportion to the blob, or what $NBCONTAINERS_LAYER_LIMIT allows.
            on_event: hears of progress, and is warned of what this host cannot keep.

        Raises:
            IntegrityError: the blob is damaged or hostile, or is not what ``diff_id`` says; nothing is left.

        """
        limits = limits or layers.bounds(blob.stat().st_size, os.environ)
        most = (limits.bytes, limits.entries)
        self._call("unpack", str(blob), str(diff_id), str(chain), texts(parents), most, on_event=on_event)

    def commit(
        self,
        key: str,
        *,
        parents: Sequence[Digest],
        copied: bool = False,
        keep: bool = False,
        created: int | None = None,
        compression: Compression = "gzip",
        first: Sequence[Call] = (),
        adopt: Adopt,
        protect: Callable[..., object],
        on_event: Observer = ignore,
    ) -> CommittedLayer:
        """Make the changes of a snapshot a layer: blob, index and unpacked folder. Unless ``keep``, what is left of it is of no use.

        ``first`` is done before (see ``filling``), and raises what it raises.
        ``adopt`` takes the blob's file in ROOT/ingest away, now or later; ``protect`` keeps blob and layer from the collector from now on.
        ``copied`` says that the snapshot is a whole tree, not an overlay's upper directory; ``created`` is for ``layers.diff``.
        """
        call = Call("commit", (key, texts(parents), copied, keep, created, compression))
        value, (handle, *locks) = self._processes.call((*first, call), on_event, ())
        path, media_type, digest, size, diff_id, chain, files = value
        described = Descriptor(media_type=media_type, digest=Digest(digest), size=size)
        try:
            adopt(Path(path), described, handle)
            protect(Digest(chain), described.digest)
        finally:
            for lock in locks:
                unpacked.unlock(self._root, chain, lock)
        return CommittedLayer(descriptor=described, diff_id=Digest(diff_id), chain_id=Digest(chain), size=files)

    def fill(self, key: str, parents: Sequence[Digest]) -> None:
        """Copy the tree of unpacked layers into a snapshot's empty folder, sharing blocks where the file system can."""
        self._call("fill", key, texts(parents))

    def changes(self, key: str, parents: Sequence[Digest], *, copied: bool = False) -> tuple[Change, ...]:
        """What a snapshot changed on its parents, in the order of the paths (``/etc/motd`` …); a new folder's content is listed too."""
        rows, _ = self._call("changes", key, texts(parents), copied)
        return tuple(Change(kind=kind, path=path, size=size) for kind, path, size in rows)

    def fill_volume(self, mounts: Sequence[Mount], path: str, volume: Path) -> None:
        """Give an empty folder what a tree has at a path, with the owner, mode and attributes of that folder itself.

        Links are followed inside the tree. Nothing where the folder is not empty, or where the tree has no folder there.
        """
        self._call("fill_volume", plain(mounts), path, str(volume))

    def read(self, mounts: Sequence[Mount], path: str, *, limit: int = 16 << 20) -> bytes:
        """The content of a file in a tree: NotFound, or Conflict if it is no file or is longer than ``limit``."""
        return bytes(self._call("read", plain(mounts), path, limit)[0])

    def make_folder(self, path: Path, mode: int, uid: int, gid: int) -> None:
        """Make a folder below ROOT as containers see it: with this mode and these ids of theirs. FileExistsError if it is there."""
        self._call("make_folder", str(path), mode, uid, gid)

    def content(self, chain: Digest, path: str, *, limit: int) -> bytes:
        """See ``unpacked.content``; also where only the containers' root may read the file."""
        return bytes(self._call("content", str(chain), path, limit)[0])

    def lookup(self, mounts: Sequence[Mount], word: str) -> tuple[int, int]:
        """The ids that ``name|uid[:group|gid]`` means in a tree: NotFound if its /etc/passwd or /etc/group has no such name."""
        uid, gid = self._call("lookup", plain(mounts), word)[0]
        return uid, gid

    def export(self, mounts: Sequence[Mount], descriptor: int) -> None:
        """Write a whole tree to an open file or pipe as a tar archive."""
        self._call("export", plain(mounts), descriptors=[descriptor])

    def kind(self, mounts: Sequence[Mount], path: str, *, follow: bool, root: int | None) -> str:
        """What a path of a tree is (see ``carrying.kind``); with ``root``, that of the container that runs on the tree."""
        return str(self._call("kind", plain(mounts), path, follow, descriptors=_given(root))[0])

    def real(self, mounts: Sequence[Mount], path: str, *, root: int | None) -> str:
        """A path of a tree with every link in it followed there (see ``lookups.real``), the last one too; ``root`` as in ``kind``."""
        return str(self._call("real", plain(mounts), path, descriptors=_given(root))[0])

    def carry_out(
        self, mounts: Sequence[Mount], path: str, name: str, out: int, *, follow: bool, root: int | None
    ) -> None:
        """Write a path of a tree to an open file or pipe, as ``carrying.pack`` does."""
        self._call("carry_out", plain(mounts), path, name, follow, descriptors=[out, *_given(root)])

    def carry_in(self, mounts: Sequence[Mount], folder: str, source: int, *, owners: bool, root: int | None) -> None:
        """Unpack an archive from an open file or pipe into a folder of a tree, as ``carrying.place`` does."""
        self._call("carry_in", plain(mounts), folder, owners, descriptors=[source, *_given(root)])

    def verify(self, chain: Digest) -> tuple[tuple[str, str], ...]:
        """The paths of an unpacked layer that are not as its index says, each with what is wrong: every file is read.

        Raises:
            IntegrityError: the index is torn.
            FileNotFoundError: the layer or its index is not there.

        """
        return tuple((path, problem) for path, problem in self._call("verify", str(chain))[0])

    def repack(
        self,
        chain: Digest,
        parents: Sequence[Digest],
        compression: Compression,
        adopt: Adopt,
    ) -> None:
        """Make a blob of an unpacked layer, for ``adopt`` to take or to remove; one that was committed here has its old bytes."""
        (path, media_type, digest, size), (handle,) = self._call("repack", str(chain), texts(parents), compression)
        adopt(Path(path), Descriptor(media_type=media_type, digest=Digest(digest), size=size), handle)

    def measure(self, folders: Sequence[str]) -> tuple[int, ...]:
        """The bytes on the disk of each of some folders, given relative to ROOT; 0 for one that is gone."""
        return tuple(self._call("measure", list(folders))[0])

    def remove(self, path: Path) -> None:
        """Remove a file or a tree below ROOT, whatever owners, modes and depth it has; nothing if it is not there."""
        self._call("remove", str(path))

    def probe_overlay(self, folder: Path) -> str:
        """Why no overlay can have its upper directory below a folder of the host; empty if it can. Found by trying there."""
        return str(self._call("probe_overlay", str(folder))[0])


def _given(root: int | None) -> list[int]:
    return [] if root is None else [root]
