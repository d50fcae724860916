"""A root file system in an archive becomes a layer."""

from __future__ import annotations

from typing import IO

from ..errors import IntegrityError
from ..events import Observer, Progress, ignore
from ..oci.descriptor import Descriptor, Digest
from .compression import BLOCK, MEDIA_TYPES, Compression, Compressor, Hasher
from .content import Content
from .streams import plain

LIMIT = 1 << 38


def layer(
    content: Content,
    stream: IO[bytes],
    *,
    compression: Compression = "gzip",
    limit: int = LIMIT,
    on_event: Observer = ignore,
) -> tuple[Descriptor, Digest]:
    """Keep a tar, as it is or compressed, as a layer's blob; the diff ID is returned with it. What is in it nobody has looked at yet.

    Raises:
        IntegrityError: it is damaged, empty, or more than ``limit`` bytes.
        HostError: the disk is full.

    """
    source, done = plain(stream), 0
    with content.ingest() as ingest, Hasher() as hasher, Compressor(compression, ingest.write) as compressor:
        while block := _block(source):
            done += len(block)
            if done > limit:
                raise IntegrityError(f"an archive of more than {limit} bytes", hint="raise the limit if it is trusted")
            hasher.update(memoryview(block))
            compressor.write(memoryview(block))
            on_event(Progress(what="importing", done=done))
        if not done:
            raise IntegrityError("an empty archive", hint="give a tar of a root file system, as 'export' writes it")
        compressor.finish()
        return ingest.commit(MEDIA_TYPES[compression]), Digest(hasher.finish())


def _block(source: IO[bytes]) -> bytes:
    """The next block, of the one size with which the same bytes are compressed to the same bytes."""
    pieces, length = [], 0
    while length < BLOCK and (piece := source.read(BLOCK - length)):
        pieces.append(piece)
        length += len(piece)
    return b"".join(pieces)
