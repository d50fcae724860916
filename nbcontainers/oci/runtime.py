"""One container as the OCI runtime specification writes it: frozen values and config.json, no I/O.

The root file system is no part of it: a container is started with ``start(spec, rootfs)``, where ``rootfs`` is a tuple of
mounts. ``to_json`` is a config.json that runc accepts (its ``root.path`` is ``rootfs``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..errors import IntegrityError
from .resources import Resources

Json = Mapping[str, Any]
NamespaceType = Literal["mount", "pid", "network", "ipc", "uts", "cgroup", "user", "time"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mount: all that images and processes say to each other. ``options`` are those of mount(8), then the file system's."""

    destination: str
    type: str
    source: str
    options: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: Json) -> Mount:
        """Read an entry of ``mounts``."""
        return cls(
            destination=data["destination"],
            type=data.get("type", ""),
            source=data.get("source", ""),
            options=tuple(data.get("options") or ()),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "destination": self.destination,
            "type": self.type,
            "source": self.source,
            "options": list(self.options),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Rlimit:
    """A resource limit by its name in setrlimit(2), as in RLIMIT_NOFILE."""

    type: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What runs: ``args[0]`` is looked up in the PATH of ``env``; ``cwd`` is absolute; ids are the container's own.

    ``capabilities`` names the bounding, permitted and effective sets (``CAP_CHOWN`` …); inheritable and ambient stay empty.
    """

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    umask: int | None = None
    terminal: bool = False
    capabilities: frozenset[str] = frozenset()
    no_new_privileges: bool = False
    apparmor_profile: str = ""
    rlimits: tuple[Rlimit, ...] = ()
    oom_score_adj: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdMapping:
    """``size`` ids from ``container`` on are the host's from ``host`` on."""

    container: int
    host: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A namespace of the container: a new one, or the one that ``path`` names."""

    type: NamespaceType
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device node: ``type`` is b or c; ``path`` is inside."""

    path: str
    type: str
    major: int
    minor: int
    mode: int = 0o666
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSpec:
    """One container. ``seccomp`` is the spec's own object (see linux.seccomp), None for none; ``cgroups_path`` as the spec has it."""

    process: Process
    hostname: str = ""
    domainname: str = ""
    readonly_root: bool = False
    mounts: tuple[Mount, ...] = ()
    namespaces: tuple[Namespace, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    resources: Resources = field(default_factory=Resources)
    cgroups_path: str = ""
    seccomp: Json | None = None
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    sysctl: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()
    rootfs_propagation: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    def namespace(self, kind: NamespaceType) -> Namespace | None:
        """The container's namespace of one kind, None where it shares the host's."""
        return next((entry for entry in self.namespaces if entry.type == kind), None)

    def without_namespace(self, kind: NamespaceType) -> RuntimeSpec:
        """The same container sharing the host's namespace of one kind."""
        return replace(self, namespaces=tuple(entry for entry in self.namespaces if entry.type != kind))

    def to_json(self) -> dict[str, Any]:
        """A config.json for ``rootfs`` beside it. A time namespace is left out: runc 1.1 refuses it."""
        capabilities = sorted(self.process.capabilities)
        process: dict[str, Any] = {
            "terminal": self.process.terminal,
            "user": _sparse(
                {
                    "uid": self.process.uid,
                    "gid": self.process.gid,
                    "additionalGids": list(self.process.groups) or None,
                    "umask": self.process.umask,
                }
            ),
            "args": list(self.process.args),
            "env": list(self.process.env),
            "cwd": self.process.cwd,
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
            "noNewPrivileges": self.process.no_new_privileges,
        }
        if self.process.apparmor_profile:
            process["apparmorProfile"] = self.process.apparmor_profile
        if self.process.rlimits:
            process["rlimits"] = [
                {"type": limit.type, "soft": limit.soft, "hard": limit.hard} for limit in self.process.rlimits
            ]
        if self.process.oom_score_adj is not None:
            process["oomScoreAdj"] = self.process.oom_score_adj
        linux: dict[str, Any] = {
            "namespaces": [
                _sparse({"type": entry.type, "path": entry.path or None})
                for entry in self.namespaces
                if entry.type != "time"
            ],
            "maskedPaths": list(self.masked_paths),
            "readonlyPaths": list(self.readonly_paths),
            "resources": self.resources.to_json(),
        }
        for key, mappings in (("uidMappings", self.uid_mappings), ("gidMappings", self.gid_mappings)):
            if mappings:
                linux[key] = [
                    {"containerID": entry.container, "hostID": entry.host, "size": entry.size} for entry in mappings
                ]
        if self.cgroups_path:
            linux["cgroupsPath"] = self.cgroups_path
        if self.seccomp is not None:
            linux["seccomp"] = dict(self.seccomp)
        if self.sysctl:
            linux["sysctl"] = dict(self.sysctl)
        if self.devices:
            linux["devices"] = [
                {
                    "path": node.path,
                    "type": node.type,
                    "major": node.major,
                    "minor": node.minor,
                    "fileMode": node.mode,
                    "uid": node.uid,
                    "gid": node.gid,
                }
                for node in self.devices
            ]
        if self.rootfs_propagation:
            linux["rootfsPropagation"] = self.rootfs_propagation
        written: dict[str, Any] = {
            "ociVersion": "1.0.2",
            "process": process,
            "root": {"path": "rootfs", "readonly": self.readonly_root},
            "mounts": [mount.to_json() for mount in self.mounts],
            "linux": linux,
        }
        if self.hostname:
            written["hostname"] = self.hostname
        if self.domainname:
            written["domainname"] = self.domainname
        if self.annotations:
            written["annotations"] = dict(self.annotations)
        return written

    def to_text(self) -> str:
        """``to_json`` as text. Most of it is the system call policy, so the text of each (by identity) is made once."""
        if self.seccomp is None:
            return json.dumps(self.to_json())
        written = self.to_json()
        written["linux"] = kernel = written.pop("linux")  # to the end, where the policy's text goes
        del kernel["seccomp"]
        return f'{json.dumps(written)[:-2]}, "seccomp": {_policy_text(self.seccomp)}}}}}'

    @classmethod
    def from_json(cls, data: Json) -> RuntimeSpec:
        """Read a config.json: IntegrityError names the key that is missing or of a wrong type."""
        try:
            process, linux = data["process"], data.get("linux") or {}
            user = process.get("user") or {}
            capabilities = process.get("capabilities") or {}
            return cls(
                process=Process(
                    args=tuple(process["args"]),
                    env=tuple(process.get("env") or ()),
                    cwd=process["cwd"],
                    uid=user.get("uid", 0),
                    gid=user.get("gid", 0),
                    groups=tuple(user.get("additionalGids") or ()),
                    umask=user.get("umask"),
                    terminal=bool(process.get("terminal", False)),
                    capabilities=frozenset(capabilities.get("bounding") or ()),
                    no_new_privileges=bool(process.get("noNewPrivileges", False)),
                    apparmor_profile=process.get("apparmorProfile") or "",
                    rlimits=tuple(
                        Rlimit(type=entry["type"], soft=entry["soft"], hard=entry["hard"])
                        for entry in process.get("rlimits") or ()
                    ),
                    oom_score_adj=process.get("oomScoreAdj"),
                ),
                hostname=data.get("hostname") or "",
                domainname=data.get("domainname") or "",
                readonly_root=bool((data.get("root") or {}).get("readonly", False)),
                mounts=tuple(Mount.from_json(entry) for entry in data.get("mounts") or ()),
                namespaces=tuple(
                    Namespace(type=entry["type"], path=entry.get("path") or "")
                    for entry in linux.get("namespaces") or ()
                ),
                uid_mappings=_mappings(linux.get("uidMappings")),
                gid_mappings=_mappings(linux.get("gidMappings")),
                resources=Resources.from_json(linux.get("resources") or {}),
                cgroups_path=linux.get("cgroupsPath") or "",
                seccomp=linux.get("seccomp"),
                masked_paths=tuple(linux.get("maskedPaths") or ()),
                readonly_paths=tuple(linux.get("readonlyPaths") or ()),
                sysctl=dict(linux.get("sysctl") or {}),
                devices=tuple(
                    Device(
                        path=entry["path"],
                        type=entry["type"],
                        major=entry["major"],
                        minor=entry["minor"],
                        mode=entry.get("fileMode", 0o666),
                        uid=entry.get("uid", 0),
                        gid=entry.get("gid", 0),
                    )
                    for entry in linux.get("devices") or ()
                ),
                rootfs_propagation=linux.get("rootfsPropagation") or "",
                annotations=dict(data.get("annotations") or {}),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(
                f"not a runtime specification: {error}", hint="config.json needs process.args and process.cwd"
            ) from error


def _mappings(entries: list[Json] | None) -> tuple[IdMapping, ...]:
    return tuple(
        IdMapping(container=entry["containerID"], host=entry["hostID"], size=entry["size"]) for entry in entries or ()
    )


def _sparse(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _policy_text(policy: Json) -> str:
    known = _policies.get(id(policy))
    if known is None or known[0] is not policy:
        if len(_policies) >= _MOST_POLICIES:
            _policies.clear()
        known = _policies[id(policy)] = policy, json.dumps(dict(policy))
    return known[1]


_policies: dict[int, tuple[Json, str]] = {}  # holds the policies, so that no other gets one's identity
_MOST_POLICIES = 32
