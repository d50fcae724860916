"""What ``inspect`` prints: Docker's JSON keys for what we know, and no key for what we do not (docs/inspect.md says which, and why)."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..oci.image import Image
from ..oci.runtime import RuntimeSpec
from ..results import ContainerState, Health, HealthCheck
from . import networking, policies, requests, sharing
from .asked import Asked
from .connecting import bindings
from .mounts import MountPoint
from .networking import Networking

_UNSET = {
    **dict.fromkeys(("User", "WorkingDir"), ""),
    **dict.fromkeys(("Env", "Cmd", "Entrypoint", "Volumes", "OnBuild", "Labels")),
}


def image(
    subject: Image,
    tags: Sequence[str],
    digests: Sequence[str],
    placed: Mapping[str, Any],
    *,
    size: int,
    tagged: float = 0.0,
) -> dict[str, Any]:
    """An image, with the familiar names that it goes by (those with a tag, and those with a digest), where it lies and how large it is.

    Source: Docker Engine API 1.45, ImageInspect.
    """
    return {
        "Id": str(subject.id),
        "RepoTags": list(tags),
        "RepoDigests": list(digests),
        "Created": subject.config.created,
        "Author": subject.config.author,
        "Config": {**_UNSET, **subject.config.config.to_json()},
        "Architecture": subject.config.platform.architecture,
        "Variant": subject.config.platform.variant,
        "Os": subject.config.platform.os,
        "Size": size,
        "RootFS": {"Type": "layers", "Layers": [str(diff_id) for diff_id in subject.config.diff_ids]},
        "Descriptor": subject.descriptor.to_json(),
        "Parent": "",
        "Comment": subject.config.history[-1].comment if subject.config.history else "",
        "DockerVersion": "",
        "VirtualSize": size,
        "Annotations": dict(subject.manifest.annotations) or None,
        **placed,
        "Metadata": {"LastTagTime": moment(tagged)},
    }


def container(
    state: ContainerState,
    spec: RuntimeSpec,
    asked: Asked,
    folder: Path,
    connection: Networking,
    settings: Mapping[str, Any],
    placed: Mapping[str, Any],
) -> dict[str, Any]:
    """A container, with its NetworkSettings and where it lies. Source: Docker Engine API 1.45, ContainerInspectResponse."""
    process = spec.process
    path, *args = process.args[2:] if process.args[:2] == (policies.INIT, "--") else process.args
    return {
        "Id": state.id,
        "Name": f"/{state.name}",
        "Created": moment(state.created),
        "Path": path,
        "Args": args,
        "State": {
            "Status": state.status,
            "Running": state.status in ("running", "paused", "restarting"),
            "Paused": state.status == "paused",
            "Restarting": state.status == "restarting",
            "OOMKilled": state.out_of_memory,
            "Dead": state.status == "dead",
            "Pid": state.pid,
            "ExitCode": state.exit_code or 0,
            "Error": state.error,
            "StartedAt": moment(state.started),
            "FinishedAt": moment(state.finished),
            **({"Health": _health(state.health)} if state.health else {}),
        },
        "RestartCount": state.restarts,
        "Platform": "linux",
        "Image": state.image_id,
        "LogPath": str(folder / "log"),
        "AppArmorProfile": process.apparmor_profile,
        **placed,
        "HostConfig": {
            "RestartPolicy": {"Name": state.restart[0], "MaximumRetryCount": state.restart[1]},
            "LogConfig": {
                "Type": "json-file",
                "Config": {
                    "max-size": str(state.log_options[0] or -1),
                    "max-file": str(state.log_options[1]),
                    **asked.log,
                },
            },
            "AutoRemove": state.auto_remove,
            "NetworkMode": networking.first(connection),  # where it was not kept with what was asked for
            "PortBindings": bindings(
                [(p.address, p.host, p.port, p.protocol) for p in connection.publications if p.is_named]
            ),
            "Dns": list(connection.names.servers),
            "DnsSearch": list(connection.names.search),
            "DnsOptions": list(connection.names.options),
            "ExtraHosts": [f"{name}:{address}" for name, address in connection.names.hosts] or None,
            "ReadonlyRootfs": spec.readonly_root,
            **asked.host_config,
            **requests.limits(spec),
            "MaskedPaths": list(spec.masked_paths),
            "ReadonlyPaths": list(spec.readonly_paths),
        },
        "Mounts": [_mount(entry, spec) for entry in asked.mounts],
        "Config": {
            "Hostname": sharing.hostname_of(spec, state.id),
            "Domainname": spec.domainname,
            "User": state.user,
            "Env": list(process.env),
            "Cmd": list(state.command),
            "Entrypoint": list(state.entrypoint) or None,
            "Image": state.image,
            "WorkingDir": process.cwd,
            **asked.config,
            **({"Healthcheck": _check(state.check)} if state.check else {}),
            **requests.given("StopSignal", spec.annotations.get("org.opencontainers.image.stopSignal")),
            **requests.given("StopTimeout", _seconds(state.stop_timeout)),
            "Labels": dict(state.labels),
            "AttachStdin": state.interactive and "stdin" in state.attached,
            "AttachStdout": "stdout" in state.attached,
            "AttachStderr": "stderr" in state.attached,
            "OpenStdin": state.interactive,
            "StdinOnce": state.interactive and "stdin" in state.attached,
            "Tty": process.terminal,
        },
        "NetworkSettings": settings,
        "NBContainers": {
            "Tier": state.tier,
            "NotEnforced": list(state.not_enforced),
            "Lacks": list(state.lacks),
            "Capabilities": sorted(process.capabilities),
        },
    }


def _mount(entry: MountPoint, spec: RuntimeSpec) -> dict[str, Any]:
    source = next((mount.source for mount in spec.mounts if mount.destination == entry.destination), "")
    shown: dict[str, Any] = {"Type": entry.kind}
    if entry.kind == "volume":
        shown |= {"Name": entry.source, "Source": source, "Destination": entry.destination, "Driver": "local"}
    elif entry.kind == "image":
        # Docker's source is where it mounts an image on the host; here it is mounted in the container alone.
        shown |= {"Name": entry.source, "Source": entry.image, "Destination": entry.destination}
        return {**shown, "Mode": "", "RW": False, "Propagation": ""}
    else:
        shown |= {"Source": source if entry.kind == "bind" else "", "Destination": entry.destination}
    mode = ",".join(entry.options) if entry.kind == "tmpfs" else "ro" if entry.readonly else ""
    propagation = entry.propagation if entry.kind == "bind" else ""
    is_writable = not entry.readonly and "ro" not in entry.options
    return {**shown, "Mode": mode, "RW": is_writable, "Propagation": propagation}


def created(subject: Image) -> float:
    """When an image was made, in seconds since the epoch; 0 where it does not say."""
    return instant(subject.config.created)


def instant(text: str) -> float:
    """An RFC 3339 time in seconds since the epoch; 0 where it is none."""
    return when(text) or 0.0


def when(text: str) -> float | None:
    """An RFC 3339 time in seconds since the epoch; None where it is none, or Go's word for none."""
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.replace(tzinfo=found.tzinfo or datetime.UTC).timestamp() if found.year > 1 else None


def _health(health: Health) -> dict[str, Any]:
    return {
        "Status": health.status,
        "FailingStreak": health.failing_streak,
        "Log": [
            {
                "Start": moment(result.start),
                "End": moment(result.end),
                "ExitCode": result.exit_code,
                "Output": result.output,
            }
            for result in health.log
        ],
    }


def _check(check: HealthCheck) -> dict[str, Any]:
    is_line = check.test[:2] == ("/bin/sh", "-c") and len(check.test) == 3
    return {
        "Test": ["CMD-SHELL", check.test[2]] if is_line else ["CMD", *check.test],
        "Interval": round(check.interval * 1e9),
        "Timeout": round(check.timeout * 1e9),
        "StartPeriod": round(check.start_period * 1e9),
        "StartInterval": round(check.start_interval * 1e9),
        "Retries": check.retries,
    }


def _seconds(timeout: float | None) -> float | None:
    """Whole seconds as the whole number that Docker has."""
    return int(timeout) if timeout is not None and timeout.is_integer() else timeout


def moment(instant: float) -> str:
    """An instant in RFC 3339, UTC; Docker's zero time for one that has not come."""
    if not instant:
        return "0001-01-01T00:00:00Z"
    return datetime.datetime.fromtimestamp(instant, datetime.UTC).isoformat().replace("+00:00", "Z")
