"""User names and secrets for registries, where Docker and Podman keep them, so that one login serves all.

Source: github.com/docker/cli, ``cli/config``; github.com/docker/docker-credential-helpers; containers-auth.json(5).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import NBContainersError
from ...oci.reference import DEFAULT_REGISTRY
from ..durable import replace, sync_folder

DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_DOCKER_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_IDENTITY = "<token>"  # as helpers say that the secret is an identity token
_NOTHING = "credentials not found"  # as all helpers begin to say that they have nothing

patience = 30.0  # seconds for a credential helper


@dataclass(frozen=True, slots=True)
class Credential:
    """Who asks: a user name with a password, or an identity token that tokens are got for."""

    username: str
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class Credentials:
    """The credentials of this user. ``warn`` is told, with a hint, what is configured and cannot be used."""

    def __init__(
        self, environ: Mapping[str, str], *, warn: Callable[[str, str], object] = lambda message, hint: None
    ) -> None:
        home = Path(environ.get("HOME") or Path.home())
        config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
        self.path = Path(environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json"
        podman = [Path(environ["REGISTRY_AUTH_FILE"])] if environ.get("REGISTRY_AUTH_FILE") else []
        if runtime := environ.get("XDG_RUNTIME_DIR"):
            podman.append(Path(runtime) / "containers" / "auth.json")
        podman.append(config / "containers" / "auth.json")
        self._files = (self.path, *podman)
        self._warn = warn

    def find(self, registry: str, repository: str = "") -> Credential | None:
        """What to show a registry (``docker.io``, HOST or HOST:PORT) for a repository; None if nothing is kept for it.

        Raises:
            NBContainersError: a file that keeps credentials cannot be read.

        """
        for path in self._files:
            data = _load(path)
            helper = _helper(data, registry)
            if helper and (found := self._ask(helper, registry)):
                return found
            if found := _decoded(path, _table(data, "auths"), registry, repository):
                return found
        return None

    def _ask(self, helper: str, registry: str) -> Credential | None:
        for key in _keys(registry):
            try:
                answer = _run(helper, "get", key)
            except NBContainersError as error:
                if _NOTHING not in error.message:
                    self._warn(error.message, error.hint)
                    return None
                continue
            try:
                said = json.loads(answer)
                user, secret = str(said["Username"]), str(said["Secret"])
            except (ValueError, KeyError, TypeError):
                self._warn(f"docker-credential-{helper} answers with something else than a credential", "")
                return None
            return Credential(user, identity_token=secret) if user == _IDENTITY else Credential(user, secret)
        return None

    def keep(self, registry: str, credential: Credential) -> str:
        """Keep a credential, with the helper that is configured or in Docker's config.json (mode 0600); where is returned.

        Raises:
            NBContainersError: neither can be written.

        """
        with self._editing() as data:
            helper = _helper(data, registry)
            token = credential.identity_token
            auths = data.setdefault("auths", {})
            if helper:
                said = {
                    "ServerURL": _key(registry),
                    "Username": _IDENTITY if token else credential.username,
                    "Secret": token or credential.password,
                }
                _run(helper, "store", json.dumps(said))
                auths[_key(registry)] = {}
                return f"docker-credential-{helper}"
            pair = f"{credential.username}:{'' if token else credential.password}"
            entry = {"auth": base64.b64encode(pair.encode()).decode()}
            auths[_key(registry)] = entry | ({"identitytoken": token} if token else {})
            return str(self.path)

    def forget(self, registry: str) -> bool:
        """Remove what ``keep`` kept, and say whether there was anything; Podman's own files are let be.

        Raises:
            NBContainersError: the helper cannot remove it, so that it is still kept.

        """
        if not self.path.exists():
            return False
        with self._editing() as data:
            auths = _table(data, "auths")
            known = [key for key in auths if _normal(key) in {_normal(name) for name in _keys(registry)}]
            helper = _helper(data, registry)
            erased = bool(helper) and _erase(helper, _key(registry))
            for key in known:
                del auths[key]
            return erased or bool(known)

    @contextlib.contextmanager
    def _editing(self) -> Iterator[dict[str, Any]]:
        """Docker's config.json, to be changed; it is written whole, or stays as it was. Other keys are kept."""
        path = Path(os.path.realpath(self.path))  # it may be a link into a folder of dotfiles
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)
                data = _load(path)
                yield data
                text = json.dumps(data, indent="\t", ensure_ascii=False) + "\n"
                replace(path, text.encode(), temporary=path.parent, mode=0o600)
                sync_folder(path.parent)
            finally:
                os.close(folder)
        except OSError as error:
            raise NBContainersError(
                f"cannot write {path}: {error.strerror}", hint="name another folder in DOCKER_CONFIG"
            ) from error


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes() or b"{}")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise NBContainersError(f"cannot read {path}: {error}", hint="repair it, or move it away") from error
    if not isinstance(data, dict):
        raise NBContainersError(f"{path} is not a JSON object", hint="repair it, or move it away")
    return data


def _table(data: dict[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def _helper(data: dict[str, Any], registry: str) -> str:
    """Which helper keeps the credential of a registry; an empty word for one registry means the file, whatever ``credsStore`` says."""
    single = _table(data, "credHelpers")
    named = next((single[key] for key in (registry, *_keys(registry)) if key in single), data.get("credsStore"))
    return str(named or "")


def _erase(helper: str, key: str) -> bool:
    """Let a helper forget a secret; false if it has none, which each says in other words: so it is asked."""
    try:
        _run(helper, "erase", key)
    except NBContainersError:
        try:
            _run(helper, "get", key)
        except NBContainersError as error:
            if _NOTHING in error.message:
                return False
        raise
    return True


def _decoded(path: Path, auths: dict[str, Any], registry: str, repository: str) -> Credential | None:
    """The entry of a file for a registry, or for the longest part of the repository's name that has one (as Podman writes)."""
    by_name = {_normal(key): entry for key, entry in auths.items()}
    parts = repository.split("/") if repository else []
    names = ["/".join((registry, *parts[:length])) for length in range(len(parts), 0, -1)]
    for name in (*names, *map(_normal, _keys(registry))):
        entry = by_name.get(name)
        if not isinstance(entry, dict) or not entry:
            continue
        token = str(entry.get("identitytoken") or "")
        user, secret = str(entry.get("username") or ""), str(entry.get("password") or "")
        if entry.get("auth"):
            try:
                pair = base64.b64decode(str(entry["auth"]), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError) as error:
                raise NBContainersError(
                    f"the entry {name!r} of {path} cannot be read: {error}", hint="log in again"
                ) from error
            user, _, secret = pair.partition(":")
            secret = secret.rstrip("\0")
        if user or token:
            return Credential(user, secret, token)
    return None


def _key(registry: str) -> str:
    return DOCKER_HUB_KEY if registry == DEFAULT_REGISTRY else registry


def _keys(registry: str) -> tuple[str, ...]:
    """The keys under which programs have kept the credential of a registry, the usual one first."""
    if registry in _DOCKER_HUB:
        return (DOCKER_HUB_KEY, *sorted(_DOCKER_HUB))
    return (registry, f"https://{registry}")


def _normal(key: str) -> str:
    """An address as a name: Docker's oldest clients wrote the address of an interface that is no more."""
    scheme, separator, rest = key.partition("://")
    if not separator:
        return scheme.rstrip("/")
    return rest.partition("/")[0]


def _run(helper: str, action: str, text: str) -> str:
    """What a credential helper answers.

    Raises:
        NBContainersError: it is not there, fails or hangs; the message is its own.

    """
    program = f"docker-credential-{helper}"
    if not _HELPER.fullmatch(helper):
        raise NBContainersError(f"{helper!r} cannot name a credential helper", hint="see credsStore in config.json")
    try:
        done = subprocess.run(
            [program, action],
            input=text,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=patience,
        )
    except OSError as error:
        raise NBContainersError(
            f"the credential helper {program} cannot be started: {error.strerror}",
            hint="install it, or remove credsStore and credHelpers from Docker's config.json",
        ) from error
    except subprocess.TimeoutExpired:
        raise NBContainersError(f"the credential helper {program} does not answer", hint="try it by hand") from None
    if done.returncode:
        said = (done.stdout.strip() or done.stderr.strip() or f"exit code {done.returncode}")[:500]
        raise NBContainersError(f"the credential helper {program} says: {said}")
    return done.stdout
