"""Images as ``docker save`` wrote them before it knew of OCI layouts: each layer once, as a plain tar that is named by its diff ID.

Every reader of docker-archives takes it, also those that know no zstd, as Docker 20.10.

Source: github.com/moby/docker-image-spec, "Combined Image JSON + Filesystem Changeset Format".
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, BinaryIO

from ..events import Observer, Progress
from ..oci.descriptor import Descriptor, Digest
from ..oci.image import Image
from .compression import ReadAhead, reader
from .content import Content
from .layers import mistaken

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer in the store, with its size when it is uncompressed."""

    blob: Descriptor
    size: int


def save(content: Content, images: Sequence[Image], stream: IO[bytes], *, on_event: Observer) -> None:
    """Write images to a stream, which need not be seekable; the caller holds a lease. The same images give the same bytes.

    Raises:
        NotFound: a blob is missing.
        IntegrityError: a blob is damaged, or a layer is not what its diff ID says.

    """
    layers: dict[Digest, _Layer] = {}
    for image in images:
        for blob, diff_id in zip(image.layers, image.config.diff_ids, strict=True):
            if diff_id not in layers:  # a header has the size, so each layer is read twice: to know it and to write it
                layers[diff_id] = _Layer(blob, _measure(content, blob, diff_id))
    total, done = sum(layer.size for layer in layers.values()), 0
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_PIECE) as archive:
        archive.copybufsize = _PIECE  # type: ignore[attr-defined]  # typeshed knows it not
        _add(archive, "manifest.json", io.BytesIO(_listed(images)))
        for identifier in sorted({image.id for image in images}):
            _add(archive, f"{identifier.hex}.json", io.BytesIO(content.read(identifier)))
        for diff_id, layer in sorted(layers.items()):
            with content.open(layer.blob.digest) as file:
                _add(archive, f"{diff_id.hex}.tar", reader(file), layer.size)
            done += layer.size
            on_event(Progress(what="save", done=done, total=total))


def _measure(content: Content, blob: Descriptor, diff_id: Digest) -> int:
    """The size of a layer without its compression."""
    size, hasher = 0, hashlib.new(diff_id.algorithm)
    with content.open(blob.digest) as file, ReadAhead(reader(file)) as plain:
        while piece := plain.read():
            size += len(piece)
            hasher.update(piece)
    if (actual := f"{diff_id.algorithm}:{hasher.hexdigest()}") != diff_id:
        raise mistaken(blob.digest, diff_id, Digest(actual))
    return size


def _add(archive: tarfile.TarFile, name: str, source: IO[bytes] | BinaryIO, size: int | None = None) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode = 0o644
    entry.size = size if size is not None else source.seek(0, io.SEEK_END)
    if size is None:
        source.seek(0)
    archive.addfile(entry, _Exactly(source))


class _Exactly:
    """A stream that gives as many bytes as it is asked for, which tarfile counts on and decompressors need not do."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._rest = b""

    def read(self, size: int = _PIECE, /) -> bytes:
        pieces, length = [self._rest], len(self._rest)
        while length < size and (piece := self._source.read(size - length)):
            pieces.append(piece)
            length += len(piece)
        data = b"".join(pieces)
        self._rest = data[size:]
        return data[:size]


def _listed(images: Sequence[Image]) -> bytes:
    """manifest.json: an entry for each image, with all its names, in full: a short one is Docker Hub's to Docker, and not to Podman."""
    names: dict[Digest, list[str]] = {}
    for image in images:
        known = names.setdefault(image.id, [])
        if image.reference and image.reference.tag and str(image.reference) not in known:
            known.append(str(image.reference))
    entries = [
        {
            "Config": f"{image.id.hex}.json",
            "RepoTags": names[image.id],
            "Layers": [f"{diff_id.hex}.tar" for diff_id in image.config.diff_ids],
        }
        for image in {image.id: image for image in images}.values()
    ]
    return json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
