"""What is shown to a registry that asks who is there: nothing, a password, or a token for what is to be done.

Source: github.com/distribution/distribution, "Token Authentication Specification" and "Oauth2 Token Authentication".
"""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import RegistryError
from .challenges import Challenge
from .credentials import Credential

CLIENT = "nbcontainers"
_SHORTEST = 60.0  # seconds that a token holds where its server does not say
_MARGIN = 10.0
Scopes = frozenset[str]
Waiting = Callable[[float], object]  # is told of each wait before a new try, in seconds


def pull(repository: str) -> Scopes:
    """The scope that reading a repository needs."""
    return frozenset({f"repository:{repository}:pull"})


def push(repository: str) -> Scopes:
    """The scope that writing to a repository needs."""
    return frozenset({f"repository:{repository}:pull,push"})


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    until: float


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What is asked of a token server: by GET with ``query``, or by POST with ``form``; ``authorization`` is for it alone."""

    realm: str
    query: tuple[tuple[str, str], ...] = ()
    form: Mapping[str, str] | None = None
    authorization: str = ""


class Authorizer:
    """The credential of one place, and the tokens that were got for it. Threads may share it.

    ``find`` looks the credential up when it is first wanted; ``ask`` sends a request to a token server and returns its answer.
    """

    def __init__(
        self,
        host: str,
        find: Callable[[], Credential | None],
        ask: Callable[[TokenRequest, Waiting], bytes],
        *,
        offline: bool = False,
    ) -> None:
        self._host = host
        self._find = find
        self._ask = ask
        self._offline = offline
        self._challenge: Challenge | None = None
        self._tokens: dict[Scopes, _Token] = {}
        self._lock = threading.Lock()
        self.identity_token = ""

    @functools.cached_property
    def credential(self) -> Credential | None:
        """What is kept for this place."""
        return self._find()

    def header(self, scopes: Scopes, waiting: Waiting) -> str:
        """The value of the Authorization header for a request, empty where none is wanted as far as is known."""
        with self._lock:
            challenge = self._challenge
            if challenge is None:
                return ""
            if challenge.scheme == "basic":
                return self.credential.basic if self.credential else ""
            wanted = scopes or frozenset(challenge.parameters.get("scope", "").split())
            token = self._tokens.get(wanted)
            if token is None or token.until < time.monotonic():
                token = self._tokens[wanted] = self._fetch(challenge, wanted, waiting)
            return f"Bearer {token.text}"

    def learn(self, challenges: Iterable[Challenge], refused: str) -> bool:
        """Take in what an answer with status 401 says, to the header ``refused``; False if there is nothing else to show.

        Raises:
            RegistryError: it asks for what cannot be shown.

        """
        known = {challenge.scheme: challenge for challenge in reversed(tuple(challenges))}
        with self._lock:
            if "bearer" in known and known["bearer"].parameters.get("realm"):
                self._challenge = known["bearer"]
                stale = refused.removeprefix("Bearer ") if refused.startswith("Bearer ") else ""
                self._tokens = {scopes: token for scopes, token in self._tokens.items() if token.text != stale}
                return True
            if "basic" in known:
                first = self._challenge is None or not refused
                self._challenge = known["basic"]
                return first and self.credential is not None
        schemes = ", ".join(sorted(known)) or "nothing that is known"
        raise RegistryError(
            f"{self._host} wants to be shown {schemes}", status=401, hint="basic and bearer authentication are known"
        )

    def _fetch(self, challenge: Challenge, scopes: Scopes, waiting: Waiting) -> _Token:
        """Get a token from the server that the registry names, for what is to be done."""
        realm, service = challenge.parameters["realm"], challenge.parameters.get("service", "")
        credential = self.credential
        named = sorted(scopes)
        if credential and credential.identity_token:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": credential.identity_token,
                "client_id": CLIENT,
                "service": service,
                "scope": " ".join(named),
            }
            request = TokenRequest(realm, form=form)
        else:
            query = [("service", service)] if service else []
            query += [("scope", scope) for scope in named]
            if credential:
                query.append(("account", credential.username))
                if self._offline:
                    query += [("offline_token", "true"), ("client_id", CLIENT)]
            request = TokenRequest(realm, query=tuple(query), authorization=credential.basic if credential else "")
        answer = _object(self._ask(request, waiting), self._host)
        text = answer.get("token") or answer.get("access_token")
        if not isinstance(text, str) or not text.isascii() or not text.isprintable():
            raise RegistryError(f"the token server of {self._host} gave no token", hint="log in again")
        refresh = answer.get("refresh_token")
        if isinstance(refresh, str):
            self.identity_token = refresh
        lifetime = answer.get("expires_in")
        seconds = max(float(lifetime), _SHORTEST) if isinstance(lifetime, int | float) else _SHORTEST
        return _Token(text, time.monotonic() + seconds - _MARGIN)


def _object(data: bytes, host: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise RegistryError(f"the token server of {host} answers with something else than JSON", hint="try again later")
    return value
