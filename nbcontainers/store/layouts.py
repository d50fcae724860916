"""A folder in the OCI image layout that is not a store: what others wrote is read with suspicion, and ours is written whole.

Source: OCI image spec, "Image Layout".
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from ..errors import HostError, IntegrityError, NotFound
from ..oci import platforms
from ..oci.descriptor import INDEXES, MANIFEST, Descriptor, Digest, Platform
from ..oci.image import Image, Index, Manifest, parse, to_bytes
from .content import Content
from .durable import locked, saying_when_full
from .store import Store

_MARK = b'{"imageLayoutVersion":"1.0.0"}'
_NAME = "org.opencontainers.image.ref.name"
_LIMIT = 4 << 20  # bytes of a document
_PIECE = 1 << 20


class Layout:
    """A layout in a folder, which need not be there yet to be written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, word: str = "") -> Descriptor:
        """The manifest of a tag or a digest, verified; without either the tag ``latest``, or else the only one there is.

        An index is followed to this host's platform.

        Raises:
            NotFound: there is no layout, or nothing of that name in it.
            IntegrityError: what is there is not what its digest says.

        """
        entries = self._index().manifests
        named = [entry for entry in entries if word in (entry.digest, entry.annotations.get(_NAME))]
        if not word:
            named = [entry for entry in entries if entry.annotations.get(_NAME) == "latest"] or list(entries)
        if not named or (not word and len(named) > 1):
            known = ", ".join(sorted(filter(None, (entry.annotations.get(_NAME) for entry in entries)))) or "no names"
            raise NotFound(f"the layout {self.folder} has no {word or 'latest'!r}", hint=f"it has {known}")
        found = named[-1]
        for _ in range(2):
            if found.media_type not in INDEXES:
                return found
            index = Index.from_json(parse(self.read(found, _LIMIT), f"index {found.digest}"))
            found = platforms.choose(index.manifests, Platform.host())
        raise IntegrityError(f"an index of indexes in {self.folder}", hint="name one of them by its digest")

    def manifest(self, word: str = "") -> Manifest:
        """The manifest that ``find`` finds."""
        found = self.find(word)
        return Manifest.from_json(parse(self.read(found, _LIMIT), f"manifest {found.digest}"))

    def read(self, blob: Descriptor, limit: int) -> bytes:
        """A small blob's bytes, verified: NotFound, or IntegrityError as of ``find`` and where it is larger than ``limit``."""
        try:
            with self._path(blob.digest).open("rb") as file:
                data = file.read(min(blob.size, limit) + 1)
        except OSError as error:
            raise self._missing(blob.digest, error) from error
        actual = f"{blob.digest.algorithm}:{hashlib.new(blob.digest.algorithm, data).hexdigest()}"
        if len(data) != blob.size or actual != blob.digest:
            raise IntegrityError(
                f"blob {blob.digest} in {self.folder} has other bytes", expected=blob.digest, actual=actual
            )
        return data

    def bring(self, content: Content, blob: Descriptor) -> None:
        """Copy a blob into a store, verified: NotFound, or IntegrityError, and then nothing of it is kept. The caller holds a lease."""
        try:
            file = self._path(blob.digest).open("rb")
        except OSError as error:
            raise self._missing(blob.digest, error) from error
        with file, content.ingest(algorithm=blob.digest.algorithm, limit=blob.size) as ingest:
            while data := file.read(_PIECE):
                ingest.write(data)
            ingest.commit(blob.media_type, blob)

    def image(self, store: Store, word: str = "") -> Image:
        """The image that ``find`` finds, all of it brought to a store, where nothing names it. The caller holds a lease.

        Raises:
            NotFound: there is none, or a part of it is missing.
            IntegrityError: a part is not what its digest says.

        """
        found = self.find(word)
        manifest = Manifest.from_json(parse(self.read(found, _LIMIT), f"manifest {found.digest}"))
        for blob in (found, manifest.config, *manifest.layers):
            store.leases.protect(blob.digest)
            if not store.content.has(blob.digest):
                self.bring(store.content, blob)
        return store.images.open(found)

    def put(self, content: Content, name: str, config: tuple[str, bytes], layers: Sequence[Descriptor]) -> Digest:
        """Write a manifest with a configuration (its media type and bytes) and layers of a store, under a tag.

        What has that tag loses it; other tags and blobs stay.

        Raises:
            HostError: the folder cannot be written to.
            IntegrityError: a layer is damaged in the store.

        """
        try:
            with saying_when_full(self.folder):
                (self.folder / "blobs/sha256").mkdir(parents=True, exist_ok=True)
                for layer in layers:
                    self._copy(content, layer)
                described = Descriptor(media_type=config[0], digest=Digest.of(config[1]), size=len(config[1]))
                value = to_bytes(Manifest(config=described, layers=tuple(layers)))
                digest = Digest.of(value)
                self._write(self._path(described.digest), config[1])
                self._write(self._path(digest), value)
                with locked(self.folder / "index.json.lock", exclusive=True):
                    try:
                        others = [one for one in self._index().manifests if one.annotations.get(_NAME) != name]
                    except NotFound:
                        others = []
                    named = Descriptor(media_type=MANIFEST, digest=digest, size=len(value), annotations={_NAME: name})
                    self._write(self.folder / "oci-layout", _MARK)
                    self._write(self.folder / "index.json", to_bytes(Index(manifests=(*others, named))))
        except OSError as error:
            raise HostError(
                f"cannot write the layout {self.folder}: {error.strerror}", hint="name a folder that you may write to"
            ) from error
        return digest

    def _index(self) -> Index:
        try:
            with (self.folder / "index.json").open("rb") as file:
                data = file.read(_LIMIT)
        except OSError as error:
            raise NotFound(
                f"no OCI layout in {self.folder}: {error.strerror}", hint="it is a folder with a file index.json"
            ) from error
        return Index.from_json(parse(data, f"the index of {self.folder}"))

    def _path(self, digest: Digest) -> Path:
        return self.folder / "blobs" / digest.algorithm / digest.hex

    def _missing(self, digest: Digest, error: OSError) -> NotFound:
        return NotFound(f"no blob {digest} in {self.folder}: {error.strerror}", hint="the layout is not whole")

    def _copy(self, content: Content, layer: Descriptor) -> None:
        """Copy a blob unless it is there; what is damaged goes no further."""
        target = self._path(layer.digest)
        if target.is_file() and target.stat().st_size == layer.size:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch, hasher = self._scratch(target), hashlib.new(layer.digest.algorithm)
        try:
            with content.open(layer.digest) as source, scratch.open("xb") as file:
                while data := source.read(_PIECE):
                    hasher.update(data)
                    file.write(data)
            if hasher.hexdigest() != layer.digest.hex:
                raise IntegrityError(
                    f"blob {layer.digest} is damaged", hint="'nbcontainers check --repair' looks for another"
                )
            scratch.rename(target)
        finally:
            scratch.unlink(missing_ok=True)

    def _write(self, path: Path, data: bytes) -> None:
        scratch = self._scratch(path)
        try:
            scratch.write_bytes(data)
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)

    @staticmethod
    def _scratch(path: Path) -> Path:
        return path.with_name(f".{path.name}.{secrets.token_hex(4)}")
