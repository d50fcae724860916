"""One blob goes to a registry: not at all where it is there, by name where another repository has it, else its bytes.

Source: OCI distribution spec 1.1, "Pushing Blobs".
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from typing import BinaryIO
from urllib.parse import urlencode

from ...errors import IntegrityError, RegistryError
from ...events import Transfer
from ...oci.descriptor import Descriptor, Digest
from ..content import Content
from .download import PACE, retrying
from .parallel import Tell
from .refusals import LONGEST_WAIT
from .repository import Repository
from .session import TRIES, pause

CHUNK = 64 << 20  # bytes; what is larger goes in pieces of this size, so that a broken connection costs one piece
_MOST_MOUNTS = 3
_READ = 256 << 10
_BYTES = "application/octet-stream"


def blob(
    repository: Repository, content: Content, wanted: Descriptor, sources: Sequence[str], shown: Digest, tell: Tell
) -> None:
    """Bring a blob of the store to a repository.

    Args:
        repository: where to.
        content: where from.
        wanted: which.
        sources: repositories of the same registry that may have it.
        shown: what events call it.
        tell: is told where it stands.

    Raises:
        IntegrityError: its bytes are not those of its digest: they are damaged in the store.
        RegistryError: the registry does not take it.

    """
    waiting = retrying(shown, tell)
    if repository.has(wanted.digest, waiting):
        tell(Transfer(layer=shown, phase="exists", total=wanted.size))
        return
    url = ""
    for source in sources[:_MOST_MOUNTS]:
        try:
            url = repository.begin(wanted.digest, waiting, mount_from=source)
        except RegistryError as error:
            if error.status not in (401, 403, 404):
                raise
            continue  # that repository is not for this user: the bytes go there instead
        if not url:
            tell(Transfer(layer=shown, phase="mounted", total=wanted.size, detail=source))
            return
        break
    with content.open(wanted.digest) as file:
        _verify(file, wanted)
        _send(repository, file, wanted, shown, tell, url)
    tell(Transfer(layer=shown, phase="pushed", done=wanted.size, total=wanted.size))


def _verify(file: BinaryIO, wanted: Descriptor) -> None:
    """What is sent has been looked at before: a registry would keep a damaged name for it otherwise, or say less."""
    found = hashlib.new(wanted.digest.algorithm)
    while data := file.read(_READ):
        found.update(data)
    actual = found.hexdigest()
    if actual != wanted.digest.hex or file.tell() != wanted.size:
        raise IntegrityError(
            f"blob {wanted.digest} is damaged: its bytes have the digest {actual}",
            expected=wanted.digest,
            actual=f"{wanted.digest.algorithm}:{actual}",
            hint="load or pull its image again",
        )


def _send(repository: Repository, file: BinaryIO, wanted: Descriptor, shown: Digest, tell: Tell, url: str) -> None:
    """Try until all is there: from the beginning, or where it goes in pieces from the last one that arrived."""
    waiting = retrying(shown, tell)
    offset = failures = 0
    pieces = wanted.size > CHUNK
    while True:
        try:
            url = url or repository.begin(wanted.digest, waiting)
            while pieces and offset < wanted.size:
                end = min(offset + CHUNK, wanted.size)
                headers = {"Content-Range": f"{offset}-{end - 1}", **_headers(end - offset)}
                part = _Part(file, offset, end, wanted, shown, tell)
                url = repository.send("PATCH", url, body=part, headers=headers)
                offset, failures = end, 0
            part = _Part(file, offset, wanted.size, wanted, shown, tell)
            query = urlencode({"digest": wanted.digest})
            repository.send("PUT", url, body=part, headers=_headers(wanted.size - offset), query=query)
            return
        except RegistryError as error:
            repository.registry.connections.check()
            failures += 1
            if pieces and error.status in (400, 404, 405, 411, 413, 415, 416, 501) and failures == 1:
                pieces, offset, url = False, 0, ""  # it wants the whole blob in one piece
                continue
            hopeless = bool(error.status) and error.status < 500 and error.status not in (404, 408, 416, 429)
            seconds = pause(failures - 1) if error.wait is None else error.wait
            if failures >= TRIES or hopeless or seconds > LONGEST_WAIT:
                raise
            waiting(seconds)
            repository.registry.connections.wait(seconds)
            url, offset = _resumed(repository, url, offset) if pieces else ("", 0)


def _resumed(repository: Repository, url: str, offset: int) -> tuple[str, int]:
    """Where an upload in pieces goes on, or that it begins anew."""
    if not url or not offset:
        return "", 0
    try:
        return repository.received(url)
    except RegistryError:
        return "", 0


def _headers(size: int) -> dict[str, str]:
    return {"Content-Type": _BYTES, "Content-Length": str(size)}


class _Part:
    """A piece of a file, read anew for each try, told of as it goes."""

    def __init__(self, file: BinaryIO, start: int, end: int, wanted: Descriptor, shown: Digest, tell: Tell) -> None:
        self._file = file
        self._start, self._end = start, end
        self._total = wanted.size
        self._shown = shown
        self._tell = tell

    def __call__(self) -> Iterator[bytes]:
        """The bytes, from the first one on."""
        self._file.seek(self._start)
        place, last = self._start, 0.0
        while place < self._end and (data := self._file.read(min(_READ, self._end - place))):
            yield data
            place += len(data)
            now = time.monotonic()
            if now - last >= PACE:
                last = now
                self._tell(Transfer(layer=self._shown, phase="uploading", done=place, total=self._total))
