"""The words of ``docker run`` as inspect shows them, and those that ask only for what is so anyway."""

from __future__ import annotations

from typing import Any

from ..errors import NBContainersError
from ..linux import capabilities
from ..oci.descriptor import Platform
from ..oci.image import ContainerConfig
from ..oci.runtime import Rlimit, RuntimeSpec
from . import devices, mounts, policies, publish
from . import options as words
from .limits import UNLIMITED, WHOLE, rlimits
from .mounts import MountPoint
from .options import RunOptions
from .sharing import Modes


def host_config(options: RunOptions, modes: Modes) -> dict[str, Any]:
    """What a container's specification does not say, by Docker's keys. Source: Docker Engine API 1.50, HostConfig."""
    return {
        "Binds": [word for word in options.get("volumes", ()) if ":" in word] or None,  # others are Config.Volumes
        "VolumesFrom": list(options.get("volumes_from", ())) or None,
        "CapAdd": list(map(_capability, options.get("cap_add", ()))) or None,
        "CapDrop": list(map(_capability, options.get("cap_drop", ()))) or None,
        "GroupAdd": list(options.get("group_add", ())) or None,
        "CgroupnsMode": modes.cgroupns,
        "CgroupParent": options.get("cgroup_parent") or "",
        "IpcMode": modes.ipc,
        "PidMode": modes.pid,
        "UTSMode": modes.uts,
        "UsernsMode": modes.userns.word,
        "Privileged": options.get("privileged", False),
        "PublishAllPorts": options.get("publish_all", False),
        "SecurityOpt": list(options.get("security_opt", ())) or None,
        "OomScoreAdj": options.get("oom_score_adj") or 0,
        "ShmSize": words.size(options.get("shm_size") or 0) or 64 << 20,
        **given("Sysctls", words.pairs(options.get("sysctl", ()), "kernel parameter") or None),
        **given("Tmpfs", dict(word.partition(":")[::2] for word in options.get("tmpfs", ())) or None),
        **given("Annotations", words.pairs(options.get("annotation", ()), "annotation") or None),
        "Ulimits": [_ulimit(entry) for entry in rlimits(options.get("ulimit", ()))] or None,
        "Devices": [
            dict(zip(("PathOnHost", "PathInContainer", "CgroupPermissions"), devices.read(word), strict=True))
            for word in options.get("device", ())
        ],
        "DeviceCgroupRules": list(options.get("device_cgroup_rule", ())) or None,
        "Runtime": "nbcontainers",
        "Isolation": "",
        **given("Init", options.get("init") or None),
        **given("Mounts", [_mount(mounts.mount(word)) for word in options.get("mount", ())] or None),
    }


def given(key: str, value: object) -> dict[str, Any]:
    """A key that Docker leaves out where nothing was asked for, as it does some."""
    return {} if value is None else {key: value}


def _mount(entry: MountPoint) -> dict[str, Any]:
    """What ``--mount`` asked for. Source: Docker Engine API 1.50, Mount."""
    said = dict(option.split("=", 1) for option in entry.options if "=" in option)
    below = {"volume": "", "image": "", entry.kind: entry.subpath}
    asked: dict[str, Any] = {"Type": entry.kind, "Source": entry.source, "Target": entry.destination}
    asked |= {
        "ReadOnly": entry.readonly or "ro" in entry.options,
        "BindOptions": {
            "Propagation": "" if entry.propagation == "rprivate" else entry.propagation,
            "NonRecursive": entry.recursion == "disabled",
            "CreateMountpoint": entry.create,
            "ReadOnlyNonRecursive": entry.recursion == "writable",
            "ReadOnlyForceRecursive": entry.recursion == "readonly",
        },
        "VolumeOptions": {"NoCopy": entry.nocopy, "Labels": dict(entry.labels), "Subpath": below["volume"]},
        "ImageOptions": {"Subpath": below["image"]},
        "TmpfsOptions": {"SizeBytes": int(said.get("size", 0)), "Mode": int(said.get("mode", "0"), 8)},
    }
    return {
        key: shown
        for key, value in asked.items()
        if (shown := {name: word for name, word in value.items() if word} if isinstance(value, dict) else value)
    }


def _capability(word: str) -> str:
    return "ALL" if word.strip().upper() == "ALL" else capabilities.parse(word)


def _ulimit(entry: Rlimit) -> dict[str, Any]:
    soft, hard = (-1 if number == UNLIMITED else number for number in (entry.soft, entry.hard))
    return {"Name": entry.type.removeprefix("RLIMIT_").lower(), "Hard": hard, "Soft": soft}


def config(options: RunOptions, image: ContainerConfig) -> dict[str, Any]:
    """The check, the ports, the volumes and the folder of the image and of the words together, by Docker's keys.

    Source: Docker Engine API 1.50, ContainerConfig.
    """
    ports = [one for word in (*image.exposed_ports, *options.get("expose", ())) for one in publish.exposed(word)]
    ports += [one for word in options.get("publish", ()) for one in publish.parse(word)]
    volumes = {*image.volumes, *(word for word in options.get("volumes", ()) if ":" not in word)}
    check = policies.healthcheck(image, options)
    return {
        **given("Healthcheck", check.to_json() if check else None),
        **given("ExposedPorts", {f"{one.port}/{one.protocol}": {} for one in ports} or None),
        "WorkingDir": options.get("workdir") or image.working_dir,
        "Volumes": {path: {} for path in sorted(volumes)} or None,
    }


def limits(spec: RuntimeSpec) -> dict[str, Any]:
    """The limits of a specification by Docker's keys."""
    resources, is_whole = spec.resources, WHOLE in spec.annotations
    rates = {
        kind: [
            {"Path": f"{entry.major}:{entry.minor}", "Rate": entry.rate}
            for entry in resources.throttles
            if entry.kind == kind
        ]
        or None
        for kind in ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS")
    }
    return {
        "Memory": resources.memory or 0,
        "MemorySwap": resources.memory_swap or 0,
        "MemoryReservation": resources.memory_reservation or 0,
        "MemorySwappiness": resources.memory_swappiness,
        "OomKillDisable": resources.oom_kill_disable,
        "NanoCpus": round((resources.cpus or 0) * 1e9) if is_whole else 0,
        "CpuPeriod": 0 if is_whole else resources.cpu_period or 0,
        "CpuQuota": 0 if is_whole else resources.cpu_quota or 0,
        "CpuShares": resources.cpu_shares or 0,
        "CpuRealtimePeriod": resources.cpu_rt_period or 0,
        "CpuRealtimeRuntime": resources.cpu_rt_runtime or 0,
        "CpusetCpus": resources.cpuset_cpus,
        "CpusetMems": resources.cpuset_mems,
        "PidsLimit": resources.pids,
        "BlkioWeight": resources.blkio_weight or 0,
        "BlkioWeightDevice": [
            {"Path": f"{entry.major}:{entry.minor}", "Weight": entry.weight} for entry in resources.blkio_weight_devices
        ],
        "BlkioDeviceReadBps": rates["ReadBps"],
        "BlkioDeviceWriteBps": rates["WriteBps"],
        "BlkioDeviceReadIOps": rates["ReadIOPS"],
        "BlkioDeviceWriteIOps": rates["WriteIOPS"],
    }


def check_platform(options: RunOptions, platform: Platform) -> None:
    """``--platform`` names what the image must be for: NBContainersError where it is not."""
    wanted = options.get("platform") or ""
    if not wanted:
        return
    system, _, rest = wanted.rpartition("/") if wanted.count("/") < 2 else wanted.partition("/")
    system, rest = (system or "linux", rest) if wanted.count("/") < 2 else (system, rest)
    architecture, _, variant = rest.partition("/")
    have = (platform.os, platform.architecture)
    if (system, architecture) != have or (variant and platform.variant and variant != platform.variant):
        raise NBContainersError(
            f"the image is for {'/'.join(have)}, and {wanted} was asked for",
            hint="pull or build it for that platform, or leave --platform out",
        )
