"""Blobs by digest, as an OCI layout keeps them: ROOT/blobs/sha256/HEX."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

from ..errors import IntegrityError, NotFound
from ..oci.descriptor import Descriptor, Digest
from .durable import Stream, saying_when_full, sync_folder
from .leases import Leases

_ALGORITHMS = {"sha256": 64, "sha512": 128}


class Ingest:
    """A blob on its way in, used as a context manager: whatever is not committed at its end leaves nothing behind.

    The bytes are hashed while they are written. A killed process leaves a file in ROOT/ingest whose lock is free, which the
    collector removes.
    """

    def __init__(self, content: Content, *, algorithm: str, limit: int | None) -> None:
        self._content = content
        self._hash = hashlib.new(algorithm)
        self._algorithm = algorithm
        self._limit = limit
        self._descriptor = -1
        self._stream = Stream(-1)
        self.path = content.root / "ingest" / secrets.token_hex(16)

    def __enter__(self) -> Self:
        with self._content.leases.shared(), saying_when_full(self.path):
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self._stream = Stream(self._descriptor)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._descriptor >= 0:
            self.path.unlink(missing_ok=True)
            self._close()

    def _close(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take more bytes and return how many: all of them.

        Raises:
            IntegrityError: there are more bytes than the limit allows.
            HostError: the disk is full.

        """
        view = memoryview(data)
        if self._limit is not None and self.size + view.nbytes > self._limit:
            raise IntegrityError(
                f"a blob of more than {self._limit} bytes",
                expected=str(self._limit),
                hint="it is not what was announced",
            )
        self._hash.update(view)
        with saying_when_full(self.path):
            self._stream.write(view)
        return view.nbytes

    def begin_anew(self) -> None:
        """Forget what was written."""
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._hash = hashlib.new(self._algorithm)
        self._stream = Stream(self._descriptor)

    @property
    def size(self) -> int:
        """How many bytes there are so far."""
        return self._stream.size

    @property
    def digest(self) -> Digest:
        """The digest of the bytes so far."""
        return Digest(f"{self._algorithm}:{self._hash.hexdigest()}")

    def commit(self, media_type: str, expected: Descriptor | None = None) -> Descriptor:
        """Make the bytes a blob, durably, and return its descriptor; the same blob again is no error (and heals a damaged one).

        Raises:
            IntegrityError: digest or size are not those of ``expected``; nothing is left.

        """
        digest = self.digest
        found = Descriptor(media_type=media_type, digest=digest, size=self.size)
        if expected is not None:
            _compare(found, expected)
        with saying_when_full(self.path):
            os.fsync(self._descriptor)
            os.fchmod(self._descriptor, 0o444)
            self._content._place(self.path, digest)
        self._close()
        return found if expected is None else expected


class Content:
    """The blobs of one store, verified by digest and size on their way in and whenever they are read whole."""

    def __init__(self, root: Path, leases: Leases | None = None) -> None:
        self.root = root
        self._blobs = f"{root}/blobs"
        self.leases = leases or Leases(root)

    def path(self, digest: Digest) -> Path:
        """Where the blob is or would be."""
        return Path(self._file(digest))

    def _file(self, digest: Digest) -> str:
        return f"{self._blobs}/{digest.algorithm}/{digest.hex}"

    def has(self, digest: Digest) -> bool:
        """True if the blob is there. Only what a lease or a tag names is sure to be there the next moment too."""
        return os.path.isfile(self._file(digest))

    def size(self, digest: Digest) -> int:
        """The blob's length in bytes: NotFound if it is not there."""
        try:
            return os.stat(self._file(digest)).st_size
        except FileNotFoundError:
            raise _missing(digest) from None

    def open(self, digest: Digest) -> BinaryIO:
        """Open the blob for reading, unverified: NotFound if it is not there."""
        try:
            return open(self._file(digest), "rb")
        except FileNotFoundError:
            raise _missing(digest) from None

    def read(self, digest: Digest, *, limit: int = 4 << 20) -> bytes:
        """The blob's bytes, verified.

        Raises:
            NotFound: it is not there.
            IntegrityError: it is longer than ``limit``, or its bytes are not those of its digest.

        """
        with self.open(digest) as blob:
            data = blob.read(limit + 1)
        if len(data) > limit:
            raise IntegrityError(
                f"blob {digest} is longer than {limit} bytes", hint="a manifest or configuration is small"
            )
        actual = hashlib.new(digest.algorithm, data).hexdigest()
        if actual != digest.hex:
            raise IntegrityError(
                f"blob {digest} is damaged: its bytes have the digest {actual}",
                expected=digest,
                actual=f"{digest.algorithm}:{actual}",
                hint="load or pull its image again",
            )
        return data

    def write(self, data: bytes, media_type: str) -> Descriptor:
        """Keep some bytes, durably; those that are there already are not written again."""
        descriptor = Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data))
        self.leases.protect(descriptor.digest)
        path = self.path(descriptor.digest)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size == len(data):
                sync_folder(path.parent)  # whoever renamed it may not have got to this yet
                return descriptor
        with self.ingest() as ingest:
            ingest.write(data)
            return ingest.commit(media_type)

    def ingest(self, *, algorithm: str = "sha256", limit: int | None = None) -> Ingest:
        """A blob to be written piece by piece, of at most ``limit`` bytes."""
        return Ingest(self, algorithm=algorithm, limit=limit)

    def adopt(self, path: Path, descriptor: Descriptor, handle: int) -> None:
        """Make a file directly below ROOT/ingest a blob, durably. Its writer has hashed it; on failure it is removed.

        ``handle`` is a descriptor of it that holds its lock; it is closed.

        Raises:
            IntegrityError: its size is not that of the descriptor.

        """
        try:
            if path.parent != self.root / "ingest":
                raise ValueError(f"{path} is not in {self.root / 'ingest'}")
            try:
                _compare_size(os.fstat(handle).st_size, descriptor)
                with saying_when_full(path):
                    os.fsync(handle)
                    os.fchmod(handle, 0o444)
                    self._place(path, descriptor.digest)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        finally:
            os.close(handle)

    def _place(self, path: Path, digest: Digest) -> None:
        self.leases.protect(digest)
        target = self.path(digest)
        try:
            os.rename(path, target)
        except FileNotFoundError:  # the first one of its algorithm
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.rename(path, target)
        sync_folder(target.parent)

    def delete(self, digest: Digest) -> None:
        """Remove the blob, if it is there, with what is known of where it came from. The caller knows that nothing needs it."""
        self.path(digest).unlink(missing_ok=True)
        (self.root / "origins" / digest.hex).unlink(missing_ok=True)

    def __iter__(self) -> Iterator[Digest]:
        """The digests of all blobs, in no order; files that are no blobs are let be."""
        for algorithm, length in _ALGORITHMS.items():
            try:
                names = os.listdir(self.root / "blobs" / algorithm)
            except FileNotFoundError:
                continue
            for name in names:
                if len(name) == length and set(name) <= set("0123456789abcdef"):
                    yield Digest(f"{algorithm}:{name}")


def _missing(digest: Digest) -> NotFound:
    return NotFound(f"no blob {digest} in the store", hint="load or pull the image that needs it")


def _compare_size(size: int, expected: Descriptor) -> None:
    if size != expected.size:
        raise IntegrityError(
            f"blob {expected.digest} should have {expected.size} bytes and has {size}",
            expected=str(expected.size),
            actual=str(size),
            hint="what was read is cut short or is something else: try again",
        )


def _compare(found: Descriptor, expected: Descriptor) -> None:
    _compare_size(found.size, expected)
    if found.digest != expected.digest:
        raise IntegrityError(
            f"blob {expected.digest} has other bytes, of the digest {found.digest}",
            expected=expected.digest,
            actual=found.digest,
            hint="what was read is damaged or is something else: try again",
        )
