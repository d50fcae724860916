"""What the user says of registries: mirrors, which ones may be spoken to without protection, which ones not at all.

A TOML file: ``$NBCONTAINERS_REGISTRIES``, else the user's ``nbcontainers/registries.toml`` (below ``~/.config``) over
``/etc/nbcontainers/registries.toml``::

    [registry."docker.io"]
    mirrors = ["mirror.lab:5000", "harbor.lab/dockerhub"]   # asked first, in this order; pushes never go there

    [registry."registry.lab:5000"]
    insecure = true     # a certificate is not verified, and http is taken where there is no https

    [registry."*"]      # all that are not named
    blocked = true      # nothing is pulled or pushed
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import NBContainersError, RegistryError

VARIABLE = "NBCONTAINERS_REGISTRIES"
SYSTEM = Path("/etc/nbcontainers/registries.toml")
_HINT = 'a registry reads [registry."docker.io"], with mirrors = ["HOST"], insecure = true or blocked = true'


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for one registry."""

    mirrors: tuple[str, ...] = ()
    insecure: bool = False
    blocked: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True)
class Registries:
    """The rules by registry, as names write it (``docker.io``, ``HOST:PORT``); ``*`` stands for all that are not named."""

    rules: Mapping[str, Rules] = field(default_factory=dict)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Registries:
        """Read the files that hold for this user.

        Raises:
            NBContainersError: a file cannot be read, or says what is not known.

        """
        if named := environ.get(VARIABLE):
            return cls(_read(Path(named), required=True))
        home = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or Path.home()) / ".config")
        return cls({**_read(SYSTEM), **_read(home / "nbcontainers" / "registries.toml")})

    def about(self, registry: str) -> Rules:
        """What holds for a registry."""
        return self.rules.get(registry) or self.rules.get("*") or Rules()

    def permit(self, registry: str) -> Rules:
        """What holds for a registry that is to be spoken to: RegistryError if that is not allowed."""
        rules = self.about(registry)
        if rules.blocked:
            raise RegistryError(
                f"the registry {registry} is blocked", hint=f"{rules.source} says so: ask who wrote it, or change it"
            )
        return rules


def _read(path: Path, *, required: bool = False) -> dict[str, Rules]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if required:
            raise NBContainersError(
                f"{VARIABLE} names {path}, which is not there", hint="write it, or unset it"
            ) from None
        return {}
    except (OSError, ValueError) as error:
        raise NBContainersError(f"cannot read {path}: {error}", hint=_HINT) from error
    unknown = sorted(set(data) - {"registry"})
    tables = data.get("registry", {})
    if unknown or not isinstance(tables, dict):
        raise NBContainersError(f"{path} says {', '.join(unknown) or 'registry'}, which is not known", hint=_HINT)
    return {name: _rules(path, name, table) for name, table in tables.items()}


def _rules(path: Path, name: str, table: Any) -> Rules:
    kinds: dict[str, type] = {"mirrors": list, "insecure": bool, "blocked": bool}
    if not isinstance(table, dict):
        raise NBContainersError(f"{path} has no table for {name!r}", hint=_HINT)
    for key, value in table.items():
        if not isinstance(value, kinds.get(key, ())) or (
            isinstance(value, list) and not all(isinstance(mirror, str) and mirror for mirror in value)
        ):
            raise NBContainersError(f"{path} says {key} = {value!r} of {name!r}", hint=_HINT)
    return Rules(
        mirrors=tuple(table.get("mirrors", ())),
        insecure=table.get("insecure", False),
        blocked=table.get("blocked", False),
        source=str(path),
    )
