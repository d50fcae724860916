"""A layer out of rows, with no tree of files in between."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from ..oci.descriptor import LAYER_GZIP, Descriptor, Digest
from .compression import Compressor, Hasher
from .content import Content
from .gathering import Row
from .tar import Writer
from .tarheader import DIRECTORY, REGULAR, SYMLINK, Header

_TYPES = {"file": REGULAR, "directory": DIRECTORY, "symlink": SYMLINK}


@dataclass(frozen=True, slots=True)
class Packed:
    """A layer that is in the store: the compressed blob, and the digest of what is in it."""

    descriptor: Descriptor
    diff_id: Digest


def pack(content: Content, rows: Mapping[str, Row], mtime: int) -> Packed:
    """Write rows as a layer, sorted by name, all of root and of one time (seconds); the same rows are the same bytes.

    Raises:
        OSError: a source is gone or cannot be read any more.
        HostError: the disk is full.

    """
    with content.ingest() as ingest, Hasher() as hasher, Compressor("gzip", ingest.write) as compressor:

        def emit(block: memoryview) -> None:
            hasher.update(block)
            compressor.write(block)

        writer = Writer(emit)
        for name in sorted(rows):
            row = rows[name]
            header = Header(
                os.fsencode(name),
                _TYPES[row.kind],
                row.mode,
                size=row.size,
                mtime_ns=mtime * 1_000_000_000,
                link=os.fsencode(row.link),
            )
            if not row.source:
                writer.add(header, row.data)
                continue
            source = os.open(row.source, os.O_RDONLY | os.O_CLOEXEC)
            try:
                writer.add(header, source)
            finally:
                os.close(source)
        writer.close()
        compressor.finish()
        return Packed(ingest.commit(LAYER_GZIP), Digest(hasher.finish()))
