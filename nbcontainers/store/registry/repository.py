"""One repository of a registry, and of the mirrors that have it too: the calls of the distribution specification."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode, urlsplit

from ...errors import IntegrityError, RegistryError
from ...events import Event, Transfer, Warned
from ...oci.descriptor import INDEX, Descriptor, Digest
from ...oci.image import Index, parse
from . import authentication as scope
from . import session as http
from .authentication import Waiting
from .documents import ACCEPTED, LIMIT, Document
from .documents import read as understand
from .parallel import Tell
from .refusals import busy
from .session import Session

if TYPE_CHECKING:
    import httpx

_MOST_PAGES = 1000
_Found = TypeVar("_Found")


class Repository:
    """Reads from the first of its places that has what is wanted; writes to the last one, which is the registry itself."""

    def __init__(
        self, name: str, sessions: Sequence[Session], waiting: Callable[[str], object] = lambda message: None
    ) -> None:
        self.name = name
        self._sessions = tuple(sessions)
        self._told = waiting
        self._silent: set[int] = set()

    @property
    def registry(self) -> Session:
        """The registry itself, which no mirror stands for when something is written."""
        return self._sessions[-1]

    def path(self, session: Session, rest: str) -> str:
        """Where something of the repository is at one place."""
        prefix = f"{session.endpoint.prefix}/" if session.endpoint.prefix else ""
        return f"/v2/{prefix}{self.name}/{rest}"

    def _scopes(self, session: Session) -> scope.Scopes:
        prefix = f"{session.endpoint.prefix}/" if session.endpoint.prefix else ""
        return scope.pull(prefix + self.name)

    def _first(self, ask: Callable[[Session], _Found]) -> _Found:
        """The answer of the first place that has one; what a mirror lacks or refuses, the registry is asked for."""
        refused = []
        for place in self.places[:-1]:
            try:
                return ask(self._sessions[place])
            except (RegistryError, IntegrityError) as error:
                refused.append(error.message)
                if isinstance(error, RegistryError):
                    self.failed(place, error)
        try:
            return ask(self.registry)
        except RegistryError as error:
            if error.status or not refused:
                raise
            raise RegistryError(f"{error.message}; of its mirrors, {'; '.join(refused)}", hint=error.hint) from error

    def _waiting(self, session: Session) -> Waiting:
        """Tells who waits for a document why nothing comes."""

        def tell(seconds: float) -> None:
            if seconds >= 1:
                self._told(busy(session.endpoint.host, seconds))

        return tell

    def only_waits(self, tell: Tell) -> Tell:
        """For a blob that is too small to be shown: of all that happens to it, only that it has to wait."""

        def pass_on(event: Event) -> None:
            if isinstance(event, Transfer) and event.phase == "retrying" and float(event.detail) >= 1:
                tell(Warned(message=busy(self.registry.endpoint.host, float(event.detail))))

        return pass_on

    def failed(self, place: int, error: RegistryError) -> None:
        """A place that gives no answer at all is not asked again: each time would cost the whole patience."""
        if error.status == 0 and place != len(self._sessions) - 1:
            self._silent.add(place)

    # What is read ----------------------------------------------------------------------------------------------------

    def manifest(self, reference: str) -> Document:
        """The manifest or index of a tag or a digest, of 4 MiB at most, verified against its digest where it is known.

        Raises:
            RegistryError: there is none, or it is not given.
            IntegrityError: it is not what was asked for, or not one thing only.

        """
        return self._first(lambda session: self._manifest(session, reference))

    def _manifest(self, session: Session, reference: str) -> Document:
        what = f"manifest of {self.name}{'@' if ':' in reference else ':'}{reference}"
        path = self.path(session, f"manifests/{reference}")
        headers = {"Accept": ", ".join(ACCEPTED)}
        with session.answer(
            "GET", path, what, scopes=self._scopes(session), headers=headers, waiting=self._waiting(session)
        ) as response:
            data = http.read(response, LIMIT, f"the {what}")
            announced = response.headers.get("docker-content-digest", "")
            expected = Digest(reference) if ":" in reference else Digest(announced) if announced else None
            return understand(data, response.headers.get("content-type", ""), expected)

    def has(self, digest: Digest, waiting: Waiting) -> bool:
        """True if the registry itself has a blob in this repository."""
        session = self.registry
        path, what = self.path(session, f"blobs/{digest}"), f"blob {digest} of {self.name}"
        with session.answer(
            "HEAD", path, what, scopes=scope.push(self.name), accept=(200, 404), waiting=waiting
        ) as response:
            return response.status_code == 200

    @contextlib.contextmanager
    def blob(self, place: int, digest: Digest, offset: int, waiting: Waiting) -> Iterator[httpx.Response]:
        """The bytes of a blob from an offset on, from one of the places; an answer with 200 begins at its beginning all the same."""
        session = self._sessions[place]
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        path, what = self.path(session, f"blobs/{digest}"), f"blob {digest} of {self.name}"
        with session.answer(
            "GET", path, what, scopes=self._scopes(session), headers=headers, accept=(200, 206), waiting=waiting
        ) as response:
            yield response

    @property
    def places(self) -> tuple[int, ...]:
        """The places to read from, by number; the last one is the registry itself."""
        return tuple(place for place in range(len(self._sessions)) if place not in self._silent)

    def tags(self) -> tuple[str, ...]:
        """All tags of the repository, in the registry's order."""
        found: list[str] = []
        for page in self._pages("tags/list?n=1000", f"list of the tags of {self.name}", "tags"):
            found.extend(str(tag) for tag in page)
        return tuple(dict.fromkeys(found))

    def referrers(self, digest: Digest, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """The manifests that say of themselves that they belong to another: signatures, bills of material and the like.

        A registry without the call keeps them in an index that is tagged for the digest. Of a type only those are given; the
        registry may choose them, and need not.
        Source: OCI distribution spec 1.1, "Listing Referrers" and "Unavailable Referrers API".
        """
        found: list[Descriptor] = []
        what = f"list of what refers to {digest}"
        query = "?" + urlencode({"artifactType": artifact_type}) if artifact_type else ""
        has_call = False
        try:
            for page in self._pages(f"referrers/{digest}{query}", what, "manifests", kind=INDEX):
                has_call = True
                found.extend(Descriptor.from_json(entry) for entry in page)
        except RegistryError as error:
            if error.status != 404 or has_call:
                raise
            found.extend(self._tagged_referrers(digest))
        wanted = [entry for entry in found if artifact_type in ("", entry.artifact_type)]
        return tuple({entry.digest: entry for entry in wanted}.values())

    def _tagged_referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        """What the index lists that clients keep under a tag where the registry has no call for it."""
        try:  # the tag has 64 digits at most, of longer digests too
            document = self._manifest(self.registry, f"{digest.algorithm}-{digest.hex[:64]}")
        except RegistryError as absent:
            if absent.status != 404:
                raise
            return ()
        return document.value.manifests if isinstance(document.value, Index) else ()

    def _pages(self, rest: str, what: str, key: str, *, kind: str = "application/json") -> Iterator[list[Any]]:
        session = self.registry
        path, waiting = self.path(session, rest), self._waiting(session)
        for _ in range(_MOST_PAGES):
            with session.answer(
                "GET", path, what, scopes=self._scopes(session), headers={"Accept": kind}, waiting=waiting
            ) as response:
                content = response.headers.get("content-type", "").partition(";")[0]
                if key == "manifests" and content != INDEX:
                    raise RegistryError(f"{session.endpoint.host} has no {what}", status=404)
                page = parse(http.read(response, LIMIT, f"the {what}"), f"the {what}").get(key)
                yield page if isinstance(page, list) else []
                following = response.links.get("next", {}).get("url")
                if not following:
                    return
                path = str(response.url.join(following))
                if urlsplit(path).netloc != urlsplit(session.base).netloc:
                    raise RegistryError(f"{session.endpoint.host} has the rest of the {what} elsewhere", hint="refused")

    # What is written -------------------------------------------------------------------------------------------------

    def put_manifest(self, reference: str, data: bytes, media_type: str) -> None:
        """Give the registry a manifest, by a tag or by its digest; what it needs is there already."""
        session = self.registry
        what = f"manifest of {self.name}{'@' if ':' in reference else ':'}{reference}"
        with session.answer(
            "PUT",
            self.path(session, f"manifests/{reference}"),
            f"upload of the {what}",
            scopes=scope.push(self.name),
            headers={"Content-Type": media_type},
            body=lambda: data,
            accept=(200, 201, 202),
            waiting=self._waiting(session),
        ) as response:
            kept = response.headers.get("docker-content-digest", "")
            if kept.startswith("sha256:") and kept != Digest.of(data):
                raise IntegrityError(
                    f"{session.endpoint.host} says it has kept the {what} as {kept}",
                    expected=Digest.of(data),
                    actual=kept,
                    hint="it has changed what it was given: do not rely on it",
                )

    def begin(self, digest: Digest, waiting: Waiting, *, mount_from: str = "") -> str:
        """Begin an upload; the address to send to is returned, or nothing if the registry took the blob from elsewhere."""
        session = self.registry
        scopes = scope.push(self.name) | (scope.pull(mount_from) if mount_from else frozenset())
        query = "?" + urlencode({"mount": digest, "from": mount_from}) if mount_from else ""
        what = f"upload to {self.name}"
        path = self.path(session, f"blobs/uploads/{query}")
        with session.answer(
            "POST", path, what, scopes=scopes, body=lambda: b"", accept=(201, 202), waiting=waiting
        ) as response:
            if response.status_code == 201:
                return ""
            return _location(session, response)

    def send(self, method: str, url: str, *, body: http.Body, headers: dict[str, str], query: str = "") -> str:
        """Send a piece of an upload (PATCH), or its end (PUT); the address for what follows is returned."""
        session = self.registry
        if query:
            url += ("&" if urlsplit(url).query else "?") + query
        with session.answer(
            method,
            url,
            f"upload to {self.name}",
            scopes=scope.push(self.name),
            headers=headers,
            body=body,
            accept=(201, 202, 204),
            tries=1,
        ) as response:
            return _location(session, response) if response.headers.get("location") else url

    def received(self, url: str) -> tuple[str, int]:
        """How far an upload got: where it goes on, and how many bytes the registry has."""
        session = self.registry
        with session.answer(
            "GET", url, f"state of an upload to {self.name}", scopes=scope.push(self.name), accept=(204,)
        ) as response:
            last = response.headers.get("range", "").removeprefix("bytes=").partition("-")[2]
            follow = _location(session, response) if response.headers.get("location") else url
            return follow, int(last) + 1 if last.isdigit() and last != "0" else 0


def _location(session: Session, response: httpx.Response) -> str:
    """The address that an answer names: never one without protection where the registry has it."""
    location = response.headers.get("location", "")
    if not location:
        raise RegistryError(f"{session.endpoint.host} does not say where to send a blob", status=response.status_code)
    target = response.url.join(location)
    if target.scheme != urlsplit(session.base).scheme and target.scheme != "https":
        raise RegistryError(
            f"{session.endpoint.host} wants a blob sent to {target.scheme}://{target.host}, which is not protected",
            hint="https must not lead to http",
        )
    return str(target)
