"""How this user gets at registries: rules, credentials and addresses, joined for one piece of work."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ...errors import InvalidReference, NBContainersError, RegistryError
from ...oci.reference import DEFAULT_REGISTRY, Reference
from . import endpoints
from .configuration import Registries
from .connections import Connections
from .credentials import Credential, Credentials
from .endpoints import Endpoint
from .repository import Repository
from .session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What the environment and its files say; ``warn`` is told, with a hint, what in them cannot be used."""

    environ: Mapping[str, str]
    warn: Callable[[str, str], object]

    @property
    def credentials(self) -> Credentials:
        """Where user names and secrets are kept."""
        return Credentials(self.environ, warn=self.warn)

    @contextlib.contextmanager
    def repository(
        self, reference: Reference, *, insecure: bool = False, mirrors: bool = False
    ) -> Iterator[Repository]:
        """The repository of a name, with its mirrors in front where they may stand for it.

        Raises:
            RegistryError: the registry is blocked.

        """
        registries = Registries.of(self.environ)
        rules = registries.permit(reference.registry)
        places = [endpoints.of(reference.registry, insecure=insecure or rules.insecure)]
        if mirrors:
            places[:0] = [
                endpoints.mirror(address, insecure=registries.about(urlsplit(f"//{address}").netloc).insecure)
                for address in rules.mirrors
            ]
        connections = Connections()
        sessions = [self._session(place, reference.repository, connections) for place in places]
        try:
            yield Repository(reference.repository, sessions, lambda message: self.warn(message, ""))
        finally:
            for session in sessions:
                session.close()

    def _session(self, place: Endpoint, repository: str, connections: Connections) -> Session:
        name = f"{place.prefix}/{repository}" if place.prefix else repository
        return Session(
            place,
            lambda: self.credentials.find(place.key, name),
            environ=self.environ,
            connections=connections,
        )

    def login(self, registry: str, username: str, password: str, *, insecure: bool = False) -> str:
        """Keep a credential that the registry accepts; where it is kept is returned.

        Raises:
            RegistryError: the registry refuses it, or cannot be reached; nothing is kept.

        """
        registry = registry_name(registry)
        token = self._accepted(registry, Credential(username, password), insecure=insecure)
        return self.credentials.keep(registry, Credential(username, "" if token else password, token))

    def logged_in(self, registry: str, *, insecure: bool = False) -> str:
        """The user name kept for a registry, which accepts it still; empty if none is kept.

        Raises:
            RegistryError: it refuses it now, or cannot be reached.

        """
        registry = registry_name(registry)
        credential = self.credentials.find(registry)
        if credential is None:
            return ""
        self._accepted(registry, credential, insecure=insecure)
        return credential.username or "<token>"  # as credential helpers name who has only that

    def _accepted(self, registry: str, credential: Credential, *, insecure: bool) -> str:
        """Show a credential to a registry, which may give an identity token for it."""
        rules = Registries.of(self.environ).permit(registry)
        place = endpoints.of(registry, insecure=insecure or rules.insecure)
        session = Session(place, lambda: credential, environ=self.environ, connections=Connections(), offline=True)
        with contextlib.closing(session):
            try:
                with session.answer("GET", "/v2/", "login"):
                    pass
            except RegistryError as error:
                if error.status not in (401, 403):
                    raise
                raise RegistryError(
                    f"{registry} refuses this user name and password",
                    status=error.status,
                    hint="see that both are right",
                ) from error
            return session.authorizer.identity_token

    def logout(self, registry: str) -> bool:
        """Forget what is kept for a registry; False if nothing was."""
        return self.credentials.forget(registry_name(registry))


def registry_name(text: str) -> str:
    """A registry as names write it, from what users write: an address, Docker Hub's old one, or nothing for Docker Hub.

    Raises:
        NBContainersError: it is no registry.

    """
    host = text.partition("://")[2] if "://" in text else text
    host = host.partition("/")[0] or DEFAULT_REGISTRY
    if host in ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"):
        host = DEFAULT_REGISTRY
    with contextlib.suppress(InvalidReference):
        if Reference.parse(f"{host}/x").registry == host:
            return host
    raise NBContainersError(f"not a registry: {text!r}", hint="a registry reads HOST or HOST:PORT, such as ghcr.io")
