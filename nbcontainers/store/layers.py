"""Layers: an archive becomes a folder in overlay form (``apply``), and such a folder an archive (``diff``, ``pack``)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import IntegrityError, NBContainersError
from ..oci.descriptor import Descriptor, Digest
from . import tar
from .apply import Limits, apply
from .compression import MEDIA_TYPES, Compression, Compressor, Hasher
from .diff import diff, export
from .durable import Stream
from .entries import Index

__all__ = ["CommittedLayer", "Limits", "Packed", "apply", "diff", "export", "mistaken", "pack"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedLayer:
    """A layer of the store: the blob it is moved as, what is in it, and the tree that it completes; ``size`` is its files' bytes."""

    descriptor: Descriptor
    diff_id: Digest
    chain_id: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Packed:
    """A layer that was written to a file: its blob and its diff ID; ``size`` is its files' bytes."""

    descriptor: Descriptor
    diff_id: Digest
    size: int


LIMIT = "NBCONTAINERS_LAYER_LIMIT"


def mistaken(layer: str, expected: Digest, actual: Digest) -> IntegrityError:
    """The error that a layer's archive is not the one that the image's configuration means."""
    return IntegrityError(
        f"the layer {layer} has the diff ID {actual} where its image says {expected}",
        expected=expected,
        actual=actual,
        hint="it is damaged, or not its image's: get the image again, and if that does not help, do not use it",
    )


def bounds(stored: int, environ: Mapping[str, str]) -> Limits:
    """What a layer that is stored in so many bytes may be at most: 200 times as much, or a GiB if that is more.

    $NBCONTAINERS_LAYER_LIMIT raises it: bytes, or a size such as ``100g``; NBContainersError if it is neither.
    """
    word = environ.get(LIMIT, "").strip().lower()
    least = max(1 << 30, 200 * stored)
    if not word:
        return Limits(bytes=least)
    match = re.fullmatch(r"(\d+)([kmgt]?)i?b?", word)
    if not match:
        raise NBContainersError(f"{LIMIT} is no size: {word!r}", hint="write bytes, or a size such as 100g")
    return Limits(bytes=max(least, int(match[1]) << 10 * (" kmgt".index(match[2] or " "))))


def pack(
    upper: int,
    target: int,
    index: Index,
    *,
    below: int | None = None,
    created: int | None = None,
    settle: bool = False,
    compression: Compression = "gzip",
    progress: Callable[[int], object] = lambda count: None,
) -> Packed:
    """Write a folder in overlay form as a compressed layer to an open file; the arguments are those of ``diff``.

    The archive is hashed and compressed on two other threads while this one reads files. ``progress`` is called with the bytes of
    the archive so far.
    """
    blob, stream, done = hashlib.sha256(), Stream(target), 0

    def store(data: bytes) -> None:
        blob.update(data)
        stream.write(data)

    with Hasher() as archive, Compressor(compression, store) as compressor:

        def emit(block: memoryview) -> None:
            nonlocal done
            archive.update(block)
            compressor.write(block)
            done += len(block)
            progress(done)

        writer = tar.Writer(emit)
        held = diff(upper, writer, index, below=below, created=created, settle=settle)
        writer.close()
        compressor.finish()
        diff_id = Digest(archive.finish())
    descriptor = Descriptor(
        media_type=MEDIA_TYPES[compression], digest=Digest("sha256:" + blob.hexdigest()), size=stream.size
    )
    return Packed(descriptor, diff_id, held)
