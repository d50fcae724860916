"""The entries of an archive, taken into the store as blobs.

An archive is somebody else's word. No entry becomes a file of its own name: each is a blob, verified against the digest that names
it where one does, or a small document that somebody parses. Names are keys, and a link is one more name.
"""

from __future__ import annotations

import os
import posixpath
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from ..errors import IntegrityError
from ..events import Observer, Progress, ignore
from ..oci.descriptor import Descriptor, Digest
from .content import Content
from .streams import plain

DOCUMENTS = frozenset({"index.json", "manifest.json", "oci-layout"})
DOCUMENT_LIMIT = 4 << 20
_IGNORED = frozenset({"VERSION", "json", "repositories"})  # Docker's first image format, beside its second
_MOST_ENTRIES = 100_000
_MOST_LINKS = 8
_LONGEST_HEADER = 1 << 20
_PIECE = 1 << 20
_HINT = "give what 'docker save', 'podman save', 'skopeo copy' or 'nbcontainers save' writes"


class _Entry(tarfile.TarInfo):
    """A header that may not make its reader allocate what it likes (``_proc_member`` is tarfile's point for subclasses)."""

    def _proc_member(self, archive: tarfile.TarFile) -> Self:
        extended = (
            tarfile.XHDTYPE,
            tarfile.XGLTYPE,
            tarfile.SOLARIS_XHDTYPE,
            tarfile.GNUTYPE_LONGNAME,
            tarfile.GNUTYPE_LONGLINK,
        )
        if self.type in extended and self.size > _LONGEST_HEADER:
            raise IntegrityError(f"an extended header of {self.size} bytes in the archive", hint=_HINT)
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise IntegrityError(f"the sparse file {self.name!r} in the archive", hint=_HINT)
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]


@dataclass(slots=True)
class Incoming:
    """What an archive brought: documents, blobs and links by their names in it; ``new`` are the blobs that were not there before."""

    documents: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, Descriptor] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    new: set[Digest] = field(default_factory=set)

    def find(self, name: str) -> Descriptor:
        """The blob that an entry became, through links: IntegrityError if the archive has no such entry."""
        key = _inside(name)
        for _ in range(_MOST_LINKS):
            if key in self.blobs:
                return self.blobs[key]
            if key not in self.links:
                break
            key = self.links[key]
        raise IntegrityError(f"the archive names {name!r} and does not hold it", hint="it is cut short: make it again")

    def receive(self, content: Content, stream: IO[bytes], *, limit: int, on_event: Observer = ignore) -> None:
        """Read a tar, as it is or compressed, to its end.

        Args:
            content: where the blobs go; the caller holds a lease.
            stream: need not be seekable.
            limit: bytes of all entries together.
            on_event: is told the progress.

        Raises:
            IntegrityError: an entry is damaged, cut short, too large, or of a kind or name that no image needs.

        """
        done = 0
        try:
            with tarfile.open(fileobj=plain(stream), mode="r|", tarinfo=_Entry, bufsize=_PIECE) as archive:
                for number, entry in enumerate(archive):
                    archive.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every header it has seen
                    done += entry.size
                    if done > limit or number >= _MOST_ENTRIES:
                        raise IntegrityError(
                            f"the archive has more than {limit} bytes or {_MOST_ENTRIES} entries",
                            hint="if you trust it, raise the limit",
                        )
                    self._take(content, archive, entry)
                    on_event(Progress(what="load", done=done))
        except (tarfile.TarError, EOFError) as error:
            if done and ("unexpected end" in str(error) or "truncated" in str(error)):
                raise IntegrityError(
                    "an archive of images that ends in the middle", hint="it is cut short: get it again"
                ) from error
            raise IntegrityError(f"not an archive of images: {error}", hint=_HINT) from error

    def receive_folder(self, content: Content, folder: Path, *, limit: int, on_event: Observer = ignore) -> None:
        """Read an OCI layout that lies unpacked in a folder; the arguments and errors are those of ``receive``."""
        done = 0
        for path in sorted(folder.glob("*.json")) + sorted(folder.glob("blobs/*/*")):
            name = str(path.relative_to(folder))
            with path.open("rb") as body:
                size = os.fstat(body.fileno()).st_size
                done += size
                if done > limit:
                    raise IntegrityError(
                        f"the layout has more than {limit} bytes", hint="if you trust it, raise the limit"
                    )
                if name in DOCUMENTS and size <= DOCUMENT_LIMIT:
                    self.documents[name] = body.read()
                elif name.startswith("blobs/"):
                    self._ingest(content, name, size, body)
            on_event(Progress(what="load", done=done))

    def _take(self, content: Content, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        name = _inside(entry.name)
        if entry.isdir():
            return
        if entry.issym():
            self.links[name] = _inside(posixpath.join(posixpath.dirname(name), entry.linkname))
        elif entry.islnk():
            self.links[name] = _inside(entry.linkname)
        elif not entry.isreg() or entry.sparse is not None:
            raise IntegrityError(f"the archive holds {name!r}, which is no regular file", hint=_HINT)
        elif (body := archive.extractfile(entry)) is None:
            raise IntegrityError(f"the archive holds {name!r} without its bytes", hint=_HINT)
        elif name in DOCUMENTS:
            if name in self.documents or entry.size > DOCUMENT_LIMIT:
                raise IntegrityError(f"the archive holds {name!r} twice, or larger than any is", hint=_HINT)
            self.documents[name] = body.read()
        elif posixpath.basename(name) not in _IGNORED:
            self._ingest(content, name, entry.size, body)

    def _ingest(self, content: Content, name: str, size: int, body: IO[bytes]) -> None:
        kind = "application/octet-stream"
        expected = None
        parts = name.split("/")
        if len(parts) == 3 and parts[0] == "blobs":
            expected = Descriptor(media_type=kind, digest=Digest(f"{parts[1]}:{parts[2]}"), size=size)
        with content.ingest(algorithm=expected.digest.algorithm if expected else "sha256") as ingest:
            while piece := body.read(_PIECE):
                ingest.write(piece)
            was_there = content.has(ingest.digest)
            self.blobs[name] = ingest.commit(kind, expected)
        if not was_there:
            self.new.add(self.blobs[name].digest)


def _inside(name: str) -> str:
    """A name of an archive, in its simplest form: IntegrityError if it leads out."""
    simple = posixpath.normpath(name)
    if simple.startswith(("/", "../")) or simple in ("..", ""):
        raise IntegrityError(
            f"the archive names {name!r}, which lies outside of it", hint="do not trust where it is from"
        )
    return simple
