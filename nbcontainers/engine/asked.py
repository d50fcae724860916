"""What was asked for when a container was made, kept beside its specification: what inspect shows and a restart needs again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import IntegrityError
from ..linux import smallfiles
from .mounts import MountPoint

NAME = "asked.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The mounts, in the order in which they are made, and the words that have no place in a runtime specification.

    ``host_config`` and ``config`` have Docker's keys (HostConfig and Config of the Engine API); limits are not in them, for ``update``
    changes those. ``log`` are the words of ``--log-opt`` that choose what is told with each line. ``missing`` says what of it was
    known not to hold when it was made, None where nobody kept that: a state says also what was found at its last start, and a next
    one may find otherwise.
    """

    mounts: tuple[MountPoint, ...] = ()
    host_config: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    log: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] | None = None

    def save(self, folder: Path) -> None:
        """Write it into a container's folder."""
        data = {
            "mounts": [entry.to_json() for entry in self.mounts],
            "host_config": dict(self.host_config),
            "config": dict(self.config),
            "log": dict(self.log),
            "missing": self.missing,
        }
        smallfiles.publish(f"{folder}/{NAME}", json.dumps(data).encode())

    @classmethod
    def load(cls, folder: Path) -> Asked:
        """Read it; one that asked for nothing where there is none. IntegrityError where it is torn."""
        try:
            text = smallfiles.read(f"{folder}/{NAME}")
        except FileNotFoundError:
            return cls()
        try:
            data = json.loads(text)
            return cls(
                mounts=tuple(MountPoint.from_json(entry) for entry in data.get("mounts", ())),
                host_config=data.get("host_config", {}),
                config=data.get("config", {}),
                log=data.get("log", {}),
                missing=None if data.get("missing") is None else tuple(data["missing"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise torn(folder / NAME, error) from error


def torn(path: Path, error: Exception) -> IntegrityError:
    """The error for a file of a container that cannot be read."""
    from ..runtime.state import way_out

    return IntegrityError(f"{path} is damaged: {error}", hint=way_out(path.parent.name[:12]))
