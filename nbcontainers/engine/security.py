"""What a container may do beyond the defaults, or less: ``--security-opt``, ``--privileged``, ``--cap-add``, ``--sysctl``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import NBContainersError, NotFound
from ..linux import apparmor, capabilities, seccomp
from ..linux.idmap import Identity
from ..oci.resources import DeviceRule
from ..oci.runtime import Mount, RuntimeSpec
from ..runtime.host import Host
from ..runtime.identity.policy import IDENTITY
from . import devices
from .options import RunOptions, pairs

_NAMESPACED = frozenset(
    f"kernel.{name}" for name in "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced".split()
)
_CGROUP_KINDS = ("cgroup", "cgroup2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """What ``--security-opt`` says: ``seccomp`` is a profile in Docker's format where another than the default is asked for."""

    no_new_privileges: bool = False
    filtered: bool = True
    seccomp: Mapping[str, Any] | None = None
    apparmor: str = ""
    system_paths: bool = True
    writable_cgroups: bool = False
    identities: bool = True


def read(words: Iterable[str]) -> Security:
    """Read the words of ``--security-opt``: NBContainersError where one asks for what cannot be had here."""
    found = Security()
    for word in words:
        name, value = [*re.split("[=:]", word, maxsplit=1), ""][:2]
        match name, value:
            case "no-new-privileges", "" | "true" | "false":
                found = replace(found, no_new_privileges=value != "false")
            case "seccomp", "unconfined":
                found = replace(found, filtered=False, seccomp=None)
            case "seccomp", "builtin" | "default":
                found = replace(found, filtered=True, seccomp=None)
            case "seccomp", path if path:
                found = replace(found, filtered=True, seccomp=_profile(path))
            case "systempaths", "unconfined":
                found = replace(found, system_paths=False)
            case "writable-cgroups", "" | "true" | "false":
                found = replace(found, writable_cgroups=value != "false")
            case "identity", "on" | "off":
                found = replace(found, identities=value == "on")
            case "apparmor", "unconfined":
                found = replace(found, apparmor="")
            case "apparmor", profile if profile:
                found = replace(found, apparmor=apparmor.loaded(profile))
            case "label", "disable" if not os.path.exists("/sys/fs/selinux/enforce"):
                pass  # nothing is labelled where SELinux is not
            case "label", _:
                raise NBContainersError(
                    f"security option {word!r}: labels of SELinux are not set here", hint="leave it out"
                )
            case _:
                hint = (
                    "wanted no-new-privileges, seccomp=FILE|unconfined|builtin, systempaths=unconfined, "
                    "apparmor=PROFILE|unconfined, label=disable, identity=on|off or writable-cgroups"
                )
                raise NBContainersError(f"unknown security option {word!r}", hint=hint)
    return found


def apply(spec: RuntimeSpec, wanted: Security, options: RunOptions) -> RuntimeSpec:
    """The specification with what is wanted, and what the options say else, of security, devices and kernel parameters.

    What a process has of it (``no_new_privileges``, ``apparmor``) it has already.
    """
    host_devices: tuple[Any, ...] = ()
    if options.get("profile") == "sandbox":
        spec = replace(spec, seccomp=seccomp.sandbox_profile())
    privileged = options.get("privileged", False)
    if privileged:
        wanted = replace(wanted, filtered=wanted.seccomp is not None, system_paths=False, writable_cgroups=True)
        spec = replace(spec, mounts=tuple(_unlocked(mount) for mount in spec.mounts))
        if not spec.namespace("user"):
            host_devices = devices.every()
            rules = (*spec.resources.devices, DeviceRule(allow=True))
            spec = replace(
                spec, resources=replace(spec.resources, devices=rules), devices=(*spec.devices, *host_devices)
            )
    elif wanted.writable_cgroups:
        spec = replace(
            spec,
            mounts=tuple(_unlocked(mount) if mount.type in _CGROUP_KINDS else mount for mount in spec.mounts),
        )
    if not wanted.filtered:
        spec = replace(spec, seccomp=None)
    elif wanted.seccomp is not None:
        profile = seccomp.resolve(wanted.seccomp, spec.process.capabilities)
        seccomp.compile(profile)  # what is wrong with it is said now
        spec = replace(spec, seccomp=profile)
    if not wanted.system_paths:
        spec = replace(spec, masked_paths=(), readonly_paths=())
    if not wanted.identities:
        spec = replace(spec, annotations={**spec.annotations, IDENTITY: "off"})
    if sysctls := _sysctls(options.get("sysctl", ()), spec):
        spec = replace(spec, sysctl={**spec.sysctl, **sysctls})
    return spec


def held(options: RunOptions) -> frozenset[str]:
    """The capabilities that were asked for, whether or not this host can give them."""
    if options.get("privileged"):
        return capabilities.ALL
    return capabilities.adjust(capabilities.DOCKER, options.get("cap_add", ()), options.get("cap_drop", ()))


def missing(options: RunOptions, host: Host, identity: Identity) -> tuple[str, ...]:
    """What was asked for and cannot be given on this host, in plain words; ``identity`` is the container's."""
    notes = []
    given = host.capabilities if identity == host.identity else capabilities.ALL
    beyond = sorted(held(options) - given - capabilities.DOCKER)
    if beyond:
        notes.append(f"capabilities that cannot be given here: {', '.join(beyond)}")
    if options.get("privileged") and identity.userns:
        notes.append(
            "privileged: what it may do ends at its user namespace, so it has no devices of the host, "
            "and cannot mount disks or load modules"
        )
    elif identity.userns and (idle := sorted(_asked(options) & capabilities.OF_INITIAL)):
        notes.append(
            f"capabilities that allow little or nothing in a user namespace, for the kernel asks for them in the host's: {', '.join(idle)}"
        )
    if not identity.userns and "devices" not in host.hierarchy.controllers:
        notes += devices.unruled(options.get("device", ()), options.get("device_cgroup_rule", ()))
    words = [word for word in options.get("security_opt", ()) if word.startswith("writable-cgroups")]
    if read(words).writable_cgroups and not host.shows_groups:
        notes.append(f"writable-cgroups: there are none that could be written to here ({host.why_without_groups()})")
    elif read(words).writable_cgroups and identity != host.identity:
        notes.append("writable-cgroups: they belong to the host's root, who does not exist in its user namespace")
    if identity.userns:
        notes += devices.closed(options.get("device", ()), host.identity if identity == host.identity else None)
    return tuple(notes)


def _asked(options: RunOptions) -> frozenset[str]:
    """The capabilities that were asked for by name, or with all."""
    return capabilities.adjust((), options.get("cap_add", ()), options.get("cap_drop", ()))


def _unlocked(mount: Mount) -> Mount:
    """A mount of the defaults that can be written to."""
    if mount.type not in ("sysfs", *_CGROUP_KINDS):
        return mount
    return replace(mount, options=tuple(word for word in mount.options if word != "ro"))


def _profile(path: str) -> Mapping[str, Any]:
    try:
        profile = json.loads(Path(path).expanduser().read_bytes())
    except OSError as error:
        raise NotFound(
            f"seccomp profile {path!r}: {(error.strerror or '').lower()}", hint="name a file, or unconfined"
        ) from error
    except ValueError as error:
        raise NBContainersError(
            f"seccomp profile {path!r} is no JSON: {error}", hint="see docker's default.json"
        ) from error
    if not isinstance(profile, dict):
        raise NBContainersError(f"seccomp profile {path!r} is no JSON object", hint="see docker's default.json")
    return profile


def _sysctls(words: Iterable[str] | Mapping[str, str], spec: RuntimeSpec) -> dict[str, str]:
    """Kernel parameters that belong to a namespace of the container's own; others would be the host's.

    Source: runc, libcontainer/configs/validate; sysctl.d(5) for names with slashes.
    """
    found = {}
    for name, value in pairs(tuple(words) if not isinstance(words, Mapping) else words, "kernel parameter").items():
        key = name.replace("/", ".") if "/" in name and "." not in name.split("/")[0] else name
        if key in _NAMESPACED or key.startswith("fs.mqueue."):
            kind = "ipc"
        elif key.startswith("net."):
            kind = "network"
        else:
            raise NBContainersError(
                f"kernel parameter {name!r} is not of a namespace: setting it would set the host's",
                hint="net.*, fs.mqueue.* and the ipc ones of kernel.* (shmmax, sem, msgmax …) can be set",
            )
        own = spec.namespace("ipc" if kind == "ipc" else "network")
        if own is None or own.path:
            raise NBContainersError(
                f"kernel parameter {name!r} needs {'an' if kind == 'ipc' else 'a'} {kind} namespace of the container's own",
                hint=f"leave out --{'ipc' if kind == 'ipc' else 'network'}, or the parameter",
            )
        found[key] = value
    return found
