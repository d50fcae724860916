"""Profiles: ``docker`` is docker's defaults; ``sandbox`` is for code that is not trusted, and lets nothing of it be taken back."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from ..errors import NBContainersError
from ..oci.runtime import RuntimeSpec
from ..runtime.host import Host
from . import userns
from .options import RunOptions

NAMES = ("docker", "sandbox")
NOBODY = "65534:65534"
_OPENING = (
    "privileged cap_add device device_cgroup_rule pid ipc uts userns cgroup_parent oom_kill_disable group_add sysctl "
    "volumes_from"
).split()
_HARMLESS = (("userns", "auto"), ("userns", "private"))  # it has one anyway, where one can be had
_KEPT = ("no-new-privileges", "no-new-privileges=true", "no-new-privileges:true")


def defaults() -> RunOptions:
    """The limits of a sandbox that are the caller's to choose; each holds unless another is given."""
    return RunOptions(
        memory="512m", pids_limit=512, cpus=min(1.0, float(os.cpu_count() or 1)), timeout=60.0, output_limit="10m"
    )


def under(options: RunOptions, host: Host, root: Path) -> RunOptions:
    """The options with what their profile says, for a container in the store ``root``.

    NBContainersError where a sandbox is asked for and something that would open it.
    """
    profile = options.get("profile") or "docker"
    if profile not in NAMES:
        raise NBContainersError(f"no profile is called {profile!r}", hint=f"there are {' and '.join(NAMES)}")
    if profile == "docker":
        return options
    for word in _OPENING:
        if (value := options.get(word)) and (word, value) not in _HARMLESS:
            raise _refused(f"--{word.replace('_', '-')}")
    network = options.get("network") or "none"
    for word in [network] if isinstance(network, str) else network:
        if word != "none":
            raise _refused(f"--network {word}")
    if options.get("cgroupns") == "host":
        raise _refused("--cgroupns host")
    for word in options.get("security_opt", ()):
        if word not in _KEPT:
            raise _refused(f"--security-opt {word}")
    made: dict[str, Any] = {**defaults(), **options}
    made |= {"network": "none", "read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}
    given = [*options.get("tmpfs", ()), *options.get("volumes", ()), *options.get("mount", ())]
    if not any("/tmp" in word for word in given):
        made["tmpfs"] = [*options.get("tmpfs", ()), "/tmp:size=64m,mode=1777,exec"]
    if not host.identity.userns:
        if not userns.refusal(root):
            made["userns"] = "auto"
        elif not options.get("user"):
            made["user"] = NOBODY  # root inside would be the host's, though one without capabilities
    return cast(RunOptions, made)


def missing(options: RunOptions, host: Host, root: Path) -> tuple[str, ...]:
    """What of its profile a container cannot have on this host, in plain words."""
    if options.get("profile") != "sandbox" or host.identity.userns or options.get("userns"):
        return ()
    return (f"user namespace: none, so its ids are the host's ({userns.refusal(root)})",)


def apply(spec: RuntimeSpec, options: RunOptions, host: Host) -> RuntimeSpec:
    """Leave out the /proc of a sandbox that can have no other than the host's: it shows what programs there were called with."""
    if options.get("profile") != "sandbox" or host.tier != "T3":
        return spec
    return replace(
        spec,
        mounts=tuple(mount for mount in spec.mounts if mount.destination != "/proc"),
        masked_paths=tuple(path for path in spec.masked_paths if not path.startswith("/proc/")),
        readonly_paths=tuple(path for path in spec.readonly_paths if not path.startswith("/proc/")),
    )


def _refused(what: str) -> NBContainersError:
    return NBContainersError(f"{what} would open the sandbox", hint="leave it out, or use the profile docker")
