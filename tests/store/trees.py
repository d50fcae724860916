"""Layers and trees as test data: written as a few words, read back as plain values."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import zstandard

from nbcontainers.linux import idmap
from nbcontainers.oci.descriptor import Digest, Platform
from nbcontainers.oci.image import Image, ImageConfig
from nbcontainers.results import Entry
from nbcontainers.store.attributes import is_whiteout
from nbcontainers.store.compression import MEDIA_TYPES, Compression
from nbcontainers.store.entries import Index
from nbcontainers.store.layers import Limits, apply
from nbcontainers.store.store import Store

LIMITS = Limits()


def here() -> idmap.Identity:
    """The identity that this user's containers have."""
    return idmap.of_host() if os.geteuid() == 0 else idmap.single()


def member(name: str, data: bytes | None = None, **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    """An entry: a file if it has data, else what ``type`` says, else a folder."""
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.REGTYPE if data is not None else tarfile.DIRTYPE
    entry.mode = 0o644 if data is not None else 0o755
    entry.mtime = 1_000_000_000
    entry.size = len(data or b"")
    for key, value in fields.items():
        setattr(entry, key, value)
    return entry, data or b""


def link(name: str, target: str, **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    """A symbolic link."""
    return member(name, type=tarfile.SYMTYPE, linkname=target, mode=0o777, **fields)


def hard(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    """A hard link."""
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def archive(*members: tuple[tarfile.TarInfo, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar archive of these entries."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as opened:
        for entry, data in members:
            opened.addfile(entry, io.BytesIO(data) if data else None)
    return out.getvalue()


def unpack(
    layer: bytes | BinaryIO, folder: Path, *parents: Path, limits: Limits = LIMITS
) -> tuple[Digest, list[Entry]]:
    """Apply a layer in this process; the parents are from the base up."""
    folder.mkdir()
    index = Index()
    opened = [os.open(path, os.O_RDONLY) for path in (folder, *parents)]
    try:
        stream = io.BytesIO(layer) if isinstance(layer, bytes) else layer
        digest = apply(stream, opened[0], parents=opened[1:], index=index, limits=limits)
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return digest, list(index)


def make_image(store: Store, layers: Sequence[bytes], *, kind: Compression = "gzip") -> Image:
    """An image of these uncompressed layers, from the base up; compressed on the way into the store."""
    blobs = [store.content.write(compressed(layer, kind), MEDIA_TYPES[kind]) for layer in layers]
    config = ImageConfig(platform=Platform.host(), diff_ids=tuple(Digest.of(layer) for layer in layers))
    return store.images.create(config, blobs)


def compressed(layer: bytes, kind: Compression) -> bytes:
    """A layer's blob."""
    match kind:
        case "gzip":
            return gzip.compress(layer, 1, mtime=0)
        case "zstd":
            return zstandard.ZstdCompressor().compress(layer)
        case "none":
            return layer


def seen(folder: Path | str, *, times: bool = True, owners: bool = True) -> dict[str, tuple[object, ...]]:
    """Every path below a folder, with all that a layer keeps of it."""
    found: dict[str, tuple[object, ...]] = {}
    inodes: dict[int, str] = {}
    for path in paths(str(folder)):
        status = os.lstat(path)
        name = os.path.relpath(path, folder)
        kind = stat.S_IFMT(status.st_mode)
        if is_whiteout(status):
            found[name] = ("whiteout",)
            continue
        content: object = status.st_rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else None
        if kind == stat.S_IFREG:
            with open(path, "rb") as file:
                content = file.read()
        elif kind == stat.S_IFLNK:
            content = os.readlink(path)
        first = inodes.setdefault(status.st_ino, name)
        xattrs = {}
        if kind in (stat.S_IFREG, stat.S_IFDIR):
            xattrs = {key: os.getxattr(path, key) for key in os.listxattr(path) if not key.startswith("user.overlay.o")}
        found[name] = (
            oct(status.st_mode),
            (status.st_uid, status.st_gid) if owners else None,
            status.st_mtime_ns if times and name != "." else None,
            content,
            first if kind != stat.S_IFDIR else None,
            tuple(sorted(xattrs.items())),
        )
    return found


def paths(folder: str) -> Iterable[str]:
    """A folder and all below it that may be seen; what others take away meanwhile is not there."""
    yield folder
    for above, folders, files in os.walk(folder):
        for name in sorted(folders + files):
            yield os.path.join(above, name)
