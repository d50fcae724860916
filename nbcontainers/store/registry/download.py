"""One blob comes from a registry: verified while it is read, resumed where it broke off, in an earlier process too."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import httpx

from ...errors import IntegrityError, RegistryError
from ...events import Transfer
from ...oci.descriptor import Descriptor, Digest
from ..parts import Part
from .authentication import Waiting
from .parallel import Tell
from .repository import Repository
from .session import TRIES, pause

if TYPE_CHECKING:
    from ..content import Content, Ingest

PACE = 0.1  # seconds between two words about progress
_STEP = 64 << 10  # bytes that a connection must have brought to count as one that works


def blob(repository: Repository, content: Content, wanted: Descriptor, tell: Tell) -> None:
    """Bring a blob into the store. The caller holds a lease.

    A mirror that lacks it, or has something else under its digest, is passed over.

    Raises:
        IntegrityError: what comes has another size or digest; nothing of it is left.
        RegistryError: it does not come; what came of it is kept for the next time.

    """
    places = repository.places
    for place in places:
        try:
            with Part(content, wanted) as part:
                _complete(repository, place, wanted, part, tell)
            break
        except (RegistryError, IntegrityError) as error:
            if place == places[-1]:
                raise
            if isinstance(error, RegistryError):
                repository.failed(place, error)
    tell(Transfer(layer=wanted.digest, phase="downloaded", done=wanted.size, total=wanted.size))


def retrying(layer: Digest, tell: Tell) -> Waiting:
    """Who tells of each wait before a blob is tried again."""
    return lambda seconds: tell(Transfer(layer=layer, phase="retrying", detail=f"{math.ceil(seconds)}"))


def _complete(repository: Repository, place: int, wanted: Descriptor, part: Part, tell: Tell) -> None:
    """Bring what a part lacks; one that does not become the blob was damaged, and all of it comes."""
    kept = part.size
    try:
        if not kept or kept < wanted.size:
            _receive(repository, place, wanted, part, tell)
        part.commit(wanted.media_type, wanted)
    except IntegrityError:
        if not kept:
            raise
        part.begin_anew()
        _receive(repository, place, wanted, part, tell)
        part.commit(wanted.media_type, wanted)


def _receive(repository: Repository, place: int, wanted: Descriptor, ingest: Ingest, tell: Tell) -> None:
    """Read until the announced size is reached, over as many connections as it takes."""
    waiting = retrying(wanted.digest, tell)
    failures = 0
    while True:
        before = ingest.size
        try:
            with repository.blob(place, wanted.digest, before, waiting) as response:
                _copy(response, wanted, ingest, tell)
            why = f"it ended after {ingest.size} of {wanted.size} bytes"
        except httpx.TransportError as error:
            repository.registry.connections.check()
            why = str(error) or type(error).__name__
        if ingest.size == wanted.size:
            return
        failures = 1 if ingest.size - before >= _STEP else failures + 1
        if failures >= TRIES:
            raise RegistryError(
                f"the blob {wanted.digest} breaks off again and again: {why}", hint="try again; what is whole is kept"
            )
        seconds = pause(failures - 1)
        waiting(seconds)
        repository.registry.connections.wait(seconds)


def _copy(response: httpx.Response, wanted: Descriptor, ingest: Ingest, tell: Tell) -> None:
    """One answer's bytes; those of a server that knows no ranges take the place of what is here."""
    if _start(response, ingest.size) < ingest.size:
        ingest.begin_anew()
    length = response.headers.get("content-length", "")
    if response.status_code == 200 and length.isdigit() and int(length) != wanted.size:
        raise IntegrityError(
            f"the blob {wanted.digest} should have {wanted.size} bytes, and {length} were announced",
            expected=str(wanted.size),
            actual=length,
            hint="the registry, or something before it, lies: nothing of it was kept",
        )
    last = 0.0
    for piece in response.iter_raw():
        if ingest.size + len(piece) > wanted.size:
            raise IntegrityError(
                f"the blob {wanted.digest} has more than its {wanted.size} bytes",
                expected=str(wanted.size),
                hint="the registry, or something before it, lies: nothing of it was kept",
            )
        ingest.write(piece)
        now = time.monotonic()
        if now - last >= PACE:
            last = now
            tell(Transfer(layer=wanted.digest, phase="downloading", done=ingest.size, total=wanted.size))


def _start(response: httpx.Response, asked: int) -> int:
    """The place in the blob that an answer begins at."""
    if response.status_code == 200:
        return 0
    first = response.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0]
    if not first.isdigit() or int(first) != asked:
        raise RegistryError(
            f"{response.url.host} answers with another part of a blob than was asked for", hint="try again"
        )
    return asked
