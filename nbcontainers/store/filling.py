"""What is done to a snapshot's tree before it is committed, as calls that the worker gets all at once, and does one after another.

A tree that several of them want is mounted once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..oci.descriptor import Digest
from ..oci.runtime import Mount
from .picking import Rule


class Call(NamedTuple):
    """A function of ``tasks.CALLS`` with its arguments."""

    name: str
    arguments: tuple[object, ...]


def copy(
    mounts: Sequence[Mount],
    rows: Iterable[tuple[str, str]],
    destination: str,
    *,
    directory: bool,
    chown: str | None = None,
    chmod: str = "",
    unpack: bool = False,
) -> Call:
    """Copy files of the host into a snapshot's tree, as COPY does from its context; the answer is the bytes of their contents.

    Args:
        mounts: the snapshot's.
        rows: (absolute path on the host, path relative to ``destination``) of each file, link and folder, a folder before
            what is in it. A folder's row makes the folder only. The empty relative path means the destination itself.
        destination: absolute; resolved inside the tree, links of which lead nowhere else. Folders missing on the way are
            made with mode 0755 and owner 0:0.
        directory: True if the destination is a folder (``rows`` are then below it). False for one file: it becomes the destination,
            or, under its relative path, goes into it if that is a folder.
        chown: ``name|uid[:group|gid]`` looked up in the tree; without it everything belongs to 0:0. A user's group is
            that of its line in /etc/passwd; a number's is the same number.
        chmod: what becomes of the modes of files and folders, octal or symbolic (see ``modes``); empty for their own.
        unpack: what is a tar archive is unpacked into the destination instead.

    Modes and times are kept, links are copied as links, extended attributes are left out. A file that is there is replaced; so is a
    link below the destination, while one that is the destination itself is followed. A user or group of ``chown`` that the tree's
    files do not have is root, and is told, as is what cannot be kept.

    Raises:
        NotFound: a source is not there, or the tree has no file in which to look up ``chown``.
        Conflict: a folder would replace a file or a file a folder.

    """
    return Call("copy", (plain(mounts), list(rows), destination, directory, chown, chmod, unpack))


def copy_from(
    mounts: Sequence[Mount],
    from_mounts: Sequence[Mount],
    sources: Sequence[str],
    destination: str,
    *,
    directory: bool,
    chown: str | None = None,
    chmod: str = "",
    include: Sequence[Rule] = (),
    exclude: Sequence[Rule] = (),
    may_miss: str = "",
    none_picked: str = "",
) -> Call:
    """Copy from one snapshot's tree into another's, as COPY --from does; the answer is the bytes of the files' contents.

    Sources are absolute paths or patterns (``*``, ``?``, ``[…]`` in any part) in the other tree, resolved inside it; of a
    folder the content is copied. Owners, times, extended attributes and hard links are kept. ``directory`` is True if the destination
    was written with a slash at its end or there are several sources. ``include`` and ``exclude`` say what of a folder's content is
    meant (see ``picking``). Where sources may be missing, ``may_miss`` is what is then told, and ``none_picked``
    where nothing of them is meant. The rest is as for ``copy``.

    Raises:
        NotFound: nothing is named or matched by a source.

    """
    where = plain(mounts), plain(from_mounts), list(sources), destination, directory
    return Call("copy_from", (*where, chown, chmod, list(include), list(exclude), may_miss, none_picked))


def clear_stubs(key: str, parents: Sequence[Digest], destinations: Sequence[str], *, copied: bool = False) -> Call:
    """Take out of a snapshot the empty files and folders that were made only to be mounted on, and their folders.

    What else is there stays. Links are never followed: a command may have put one where a folder was.
    """
    return Call("clear_stubs", (key, texts(parents), copied, list(destinations)))


def plain(mounts: Sequence[Mount]) -> list[dict[str, Any]]:
    """Mounts as the worker is told of them."""
    return [mount.to_json() for mount in mounts]


def texts(digests: Sequence[Digest]) -> list[str]:
    """Digests as the worker is told of them: marshal takes no subclass of str."""
    return [str(digest) for digest in digests]
