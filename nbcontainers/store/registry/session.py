"""HTTP with one place that has images: who is asked, what is shown to whom, and what is tried again.

What is secret goes to the place it is kept for and nowhere else: a redirect to another host takes no header along, and a host
that was redirected to gets no answer to its questions (CVE-2020-15157).
"""

from __future__ import annotations

import contextlib
import random
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from ...errors import HostError, RegistryError, reason
from . import certificates, challenges
from .authentication import Authorizer, Scopes, TokenRequest, Waiting
from .connections import Connections
from .credentials import Credential
from .endpoints import Endpoint, is_loopback
from .refusals import passes, refusal, wait

TRIES = 5
MOST_REDIRECTS = 5
TIMEOUT = httpx.Timeout(30.0, connect=15.0, pool=None)
TOKEN_LIMIT = 1 << 20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_AGENT = "nbcontainers"

pace = 0.5  # seconds before the first new try; each further one waits twice as long
Body = Callable[[], bytes | Iterable[bytes]]


def pause(attempt: int) -> float:
    """How long to wait before a new try, the first being number 0: longer each time, and not in step with others."""
    return float(min(pace * 2**attempt, 30.0) * random.uniform(0.75, 1.25))  # noqa: S311 - no secret hangs on it


class Session:
    """Requests to one endpoint. Threads may share it. ``find`` looks up the credential that is kept for it."""

    def __init__(
        self,
        endpoint: Endpoint,
        find: Callable[[], Credential | None],
        *,
        environ: Mapping[str, str],
        connections: Connections,
        offline: bool = False,
    ) -> None:
        self.endpoint = endpoint
        self.connections = connections
        self.authorizer = Authorizer(endpoint.host, find, self._ask_for_token, offline=offline)
        self._environ = environ
        self._clients: dict[str, httpx.Client] = {}
        self._lock = threading.Lock()
        self._trying = threading.Lock()
        self._answered = False
        self._base = f"https://{endpoint.host}" if endpoint.schemes == ("https",) else ""

    def close(self) -> None:
        """Close the connections; the session can be used again."""
        with self._lock:
            clients, self._clients = self._clients, {}
        for client in clients.values():
            client.close()

    @property
    def base(self) -> str:
        """``https://HOST`` or ``http://HOST``: found by trying where both may be.

        Raises:
            RegistryError: nothing answers there, or not in a way that may be trusted.

        """
        if not self._base:
            with self._trying:
                self._base = self._base or self._spoken()
        return self._base

    def _spoken(self) -> str:
        """The first scheme in which something answers that is a registry, or could be one."""
        failures: list[Exception] = []
        for scheme in self.endpoint.schemes:
            url = f"{scheme}://{self.endpoint.host}"
            try:
                with contextlib.closing(self._send("GET", f"{url}/v2/")) as response:
                    if response.status_code != 400 or scheme == "https":  # 400: "this port speaks https"
                        return url
            except httpx.TransportError as error:
                failures.append(error)
        # What failed for want of trust says more than that the other scheme is not spoken there.
        failures.sort(key=_is_tls)
        raise self._unreachable(failures[-1] if failures else RuntimeError("no registry answers"))

    def url(self, path: str) -> str:
        """The address of something of the registry's interface; an address that it gave is resolved likewise."""
        return str(httpx.URL(self.base).join(path))

    @contextlib.contextmanager
    def answer(
        self,
        method: str,
        path: str,
        what: str,
        *,
        scopes: Scopes = frozenset(),
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        accept: Iterable[int] = (200,),
        tries: int = TRIES,
        waiting: Waiting = lambda seconds: None,
    ) -> Iterator[httpx.Response]:
        """Ask, until there is an answer with one of the accepted states; its body is then still to be read.

        Args:
            method: GET, HEAD, POST, PUT, PATCH or DELETE.
            path: below the registry's root, or a whole address.
            what: is asked for, in the words of an error: a noun without its article.
            scopes: what a token must allow.
            headers: further ones.
            body: makes what is sent; called again for each try.
            accept: the states that are answers.
            tries: how often what may pass is tried.
            waiting: is told of each wait before a new try, in seconds.

        Raises:
            RegistryError: it refuses, cannot be reached, or does something that is not to be trusted.

        """
        given = {**(headers or {}), "Accept-Encoding": "identity"}
        states = frozenset(accept)
        attempt = shown = 0
        while True:
            try:
                response, asked, header = self._request(method, self.url(path), scopes, given, body, waiting)
            except httpx.TransportError as error:
                attempt += 1
                absent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) and not self._answered
                if attempt >= tries or absent:
                    raise self._unreachable(error) from error
                self._wait(pause(attempt - 1), waiting)
                continue
            self._answered = True
            with contextlib.closing(response):
                if response.status_code in states:
                    yield response
                    return
                if response.status_code == 401:
                    if not asked:
                        raise RegistryError(
                            f"{response.url.host}, to which {self.endpoint.host} points for {what}, wants a password",
                            status=401,
                            hint="it gets none: only the registry itself may ask",
                        )
                    shown += 1
                    found = challenges.parse(response.headers.get_list("www-authenticate"))
                    if shown <= 2 and found and self.authorizer.learn(found, header):
                        continue
                attempt += 1
                if attempt >= tries or not passes(response, self.endpoint.host):
                    raise refusal(response, self.endpoint.host, what)
                told = wait(response)
            self._wait(pause(attempt - 1) if told is None else told, waiting)

    def _wait(self, seconds: float, waiting: Waiting) -> None:
        waiting(seconds)
        self.connections.wait(seconds)

    def _request(
        self, method: str, url: str, scopes: Scopes, headers: Mapping[str, str], body: Body | None, waiting: Waiting
    ) -> tuple[httpx.Response, bool, str]:
        """One request and its redirects: the answer, whether it is the endpoint's own, and the Authorization it was sent."""
        for _ in range(MOST_REDIRECTS + 1):
            own = _origin(url) == _origin(self.base)
            header = self.authorizer.header(scopes, waiting) if own else ""
            response = self._send(
                method, url, headers={**headers, **({"Authorization": header} if header else {})}, body=body
            )
            location = response.headers.get("location")
            if method not in ("GET", "HEAD") or response.status_code not in _REDIRECTS or not location:
                return response, own, header
            response.close()
            url = self._target(url, location)
        raise RegistryError(f"{self.endpoint.host} points on and on", hint="more than five redirects are no answer")

    def _target(self, url: str, location: str) -> str:
        """Where a redirect leads: never from a protected connection to one that is not."""
        try:
            target = httpx.URL(url).join(location)
        except httpx.InvalidURL:
            raise RegistryError(
                f"{self.endpoint.host} points to {location!r:.200}", hint="that is no address"
            ) from None
        if target.scheme != "https" and not (target.scheme == "http" and urlsplit(self.base).scheme == "http"):
            raise RegistryError(
                f"{self.endpoint.host} points to {target.scheme}://{target.host}, which is not protected",
                hint="https must not lead to http",
            )
        return str(target.copy_with(userinfo=b""))

    def _send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        form: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """One request, and the head of its answer."""
        self.connections.check()
        client = self._client(url)
        content: Any = body() if body else None
        request = client.build_request(
            method,
            url,
            headers=dict(headers or {}),
            content=content,
            data=dict(form) if form else None,
            extensions={"trace": self.connections.trace},
        )
        try:
            return client.send(request, stream=True)
        except httpx.TransportError:
            self.connections.check()  # it was cut, not broken
            raise

    def _client(self, url: str) -> httpx.Client:
        """The connections to one host; what protects them is decided for each."""
        origin = _origin(url)
        with self._lock:
            if origin not in self._clients:
                self._clients[origin] = self._connect(origin)
            return self._clients[origin]

    def _connect(self, origin: str) -> httpx.Client:
        parts = urlsplit(origin)
        own = parts.netloc == self.endpoint.host
        verify: Any = False
        if parts.scheme == "https":
            trusted = not (own and self.endpoint.trust == "insecure")
            verify = certificates.context(parts.netloc, self._environ, verify=trusted)
        try:
            return httpx.Client(
                verify=verify,
                trust_env=not is_loopback(parts.hostname or ""),  # proxies of the environment
                timeout=TIMEOUT,
                limits=httpx.Limits(max_connections=None),
                headers={"User-Agent": _AGENT},
            )
        except (ImportError, ValueError) as error:
            raise HostError(
                f"the proxy of the environment cannot be used: {error}", hint="see HTTPS_PROXY, ALL_PROXY and NO_PROXY"
            ) from error

    def _ask_for_token(self, request: TokenRequest, waiting: Waiting) -> bytes:
        """Send a request to the token server that the registry named; it is trusted no less than the registry."""
        realm = urlsplit(request.realm)
        if realm.scheme != "https" and not (realm.scheme == "http" and urlsplit(self.base).scheme == "http"):
            raise RegistryError(
                f"{self.endpoint.host} names {request.realm!r:.200} for its tokens, which is not protected",
                hint="a registry with https has a token server with https",
            )
        url = str(httpx.URL(request.realm).copy_with(userinfo=b"").copy_merge_params(list(request.query)))
        headers = {"Authorization": request.authorization} if request.authorization else {}
        what = "token"
        attempt = 0
        while True:
            method = "GET" if request.form is None else "POST"
            try:
                response = self._send(method, url, headers=headers, form=request.form)
            except httpx.TransportError as error:
                raise self._unreachable(error, realm.netloc) from error
            with contextlib.closing(response):
                if response.status_code == 200:
                    return _body(response, TOKEN_LIMIT, f"the token server of {self.endpoint.host}")
                if response.status_code in (400, 401, 403):
                    shown = self.authorizer.credential is not None
                    raise RegistryError(
                        f"{realm.netloc} refuses the user name or password kept for {self.endpoint.key}"
                        if shown
                        else f"{realm.netloc} gives nobody a token who has not logged in to {self.endpoint.key}",
                        status=response.status_code,
                        hint=f"log in with 'nbcontainers login {self.endpoint.key}'",
                    )
                attempt += 1
                if attempt >= TRIES or not passes(response, self.endpoint.host):
                    raise refusal(response, realm.netloc, what)
                told = wait(response)
            self._wait(pause(attempt - 1) if told is None else told, waiting)

    def _unreachable(self, error: Exception, host: str = "") -> RegistryError:
        """Why there is no answer, and what can be done about it."""
        host = host or self.endpoint.host
        said = reason(error)
        proxy = _proxy(error)
        if isinstance(error, httpx.TimeoutException) and not proxy:
            return RegistryError(
                f"{host} does not answer", hint="see that this host has a way there, or a proxy is set"
            )
        if _is_tls(error) and "CERTIFICATE_VERIFY_FAILED" in said:
            return RegistryError(
                f"the certificate of {host} is not to be trusted: {said.partition('] ')[2] or said}",
                hint=f"put its authority in {certificates.place(host, self._environ)}/ca.crt, or take the risk with --insecure",
            )
        if _is_tls(error):
            return RegistryError(
                f"{host} does not speak https: {said.partition('] ')[2] or said}",
                hint="for http, name it insecure: --insecure, or registries.toml",
            )
        if proxy:
            return RegistryError(
                f"cannot reach {host} through the proxy {proxy}: {said}",
                hint="see that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY is right, or name the host in NO_PROXY",
            )
        return RegistryError(f"cannot reach {host}: {said}", hint="see that the name is right and this host is online")


def _proxy(error: Exception) -> str:
    """HOST:PORT of the environment's proxy on the way that failed, found as httpx finds it; empty if there is none."""
    if not isinstance(error, httpx.RequestError):
        return ""
    url, proxies = error.request.url, urllib.request.getproxies()
    address = proxies.get(url.scheme) or proxies.get("all") or ""
    if not address or is_loopback(url.host) or urllib.request.proxy_bypass(url.netloc.decode()):
        return ""
    return httpx.URL(address if "://" in address else f"http://{address}").netloc.decode()


def read(response: httpx.Response, limit: int, what: str) -> bytes:
    """The whole body of an answer: RegistryError if it is longer than ``limit``, or breaks off."""
    return _body(response, limit, what)


def _body(response: httpx.Response, limit: int, what: str) -> bytes:
    data = bytearray()
    try:
        for piece in response.iter_raw():
            data += piece
            if len(data) > limit:
                raise RegistryError(
                    f"{what} has more than {limit} bytes", hint="nothing so large is meant: not trusted"
                )
    except httpx.TransportError as error:
        raise RegistryError(f"{what} broke off: {error}", hint="try again") from error
    return bytes(data)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}".lower()


def _is_tls(error: Exception) -> bool:
    return "SSL" in str(error) or "certificate" in str(error).lower()
