"""The same specification under another runtime: what we write is what the standard means."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nbcontainers.errors import LaunchError
from nbcontainers.linux import syscalls
from nbcontainers.oci.resources import Resources
from nbcontainers.oci.runtime import Device, Mount, Rlimit, RuntimeSpec

from .conftest import Box

Change = Callable[[RuntimeSpec], RuntimeSpec]


@pytest.mark.peer(name="runc")
def test_runc_accepts_a_specification(box: Box, tmp_path: Path) -> None:
    """``runc run`` on config.json and a copy of the root: same output, same rights."""
    if shutil.which("runc") is None:
        pytest.skip("runc is not installed")
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    shutil.copytree(box.lower, bundle / "rootfs", symlinks=True)
    script = "echo $$; id -u; hostname; pwd; grep -e CapEff -e Seccomp: /proc/self/status; exit 5"
    limits = Resources(memory=256 << 20, pids=100) if os.geteuid() == 0 else None
    name = f"nbc-{uuid.uuid4().hex[:12]}"
    spec = box.spec("sh", "-c", script, hostname="box1", resources=limits, cgroups_path=f"/{name}" if limits else "")
    written = spec.to_json()
    assert RuntimeSpec.from_json(json.loads(json.dumps(written))).to_json() == written
    (bundle / "config.json").write_text(json.dumps(written))
    done = subprocess.run(
        ["runc", "--root", str(tmp_path / "state"), "run", "--bundle", str(bundle), name],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode == 1 and "rootless" in done.stderr:
        pytest.skip(f"runc does not run without privilege here: {done.stderr.strip()}")
    ours = box.run("sh", "-c", script, hostname="box1")
    assert (done.returncode, done.stdout) == (5, ours[1]), done.stderr
    assert ours[0] == 5


def _process(**words: Any) -> Change:
    return lambda spec: replace(spec, process=replace(spec.process, **words))


def _resources(**words: Any) -> Change:
    return lambda spec: replace(spec, resources=Resources(**words))


def _mounted(*options: str, kind: str = "tmpfs", source: str = "tmpfs", place: str = "/mnt") -> Change:
    added = Mount(destination=place, type=kind, source=source, options=options)
    return lambda spec: replace(spec, mounts=(*spec.mounts, added))


_SHOW = "cat /proc/self/status | grep -e Cap -e NoNewPrivs -e Seccomp: -e Groups -e Uid -e Gid -e Umask"
_NODE = Device(path="/dev/mine", type="c", major=1, minor=5, mode=0o640, uid=3, gid=4)
_CHANGES: dict[str, tuple[Change, str]] = {
    "nothing": (lambda spec: spec, _SHOW),
    "args": (_process(args=("sh", "-c", "echo $0 $1", "a b", "")), ""),
    "env": (_process(env=("PATH=/bin", "A=b=c", "E=")), "env | grep -v -e ^SHLVL -e ^_ -e ^PWD -e ^HOME | sort"),
    "cwd": (_process(cwd="/etc"), "pwd"),
    "uid": (_process(uid=1000, gid=100), _SHOW),
    "groups": (_process(groups=(0, 29, 44)), _SHOW),
    "umask": (_process(umask=0o27), "umask; touch /tmp/x; stat -c %a /tmp/x"),
    "capabilities": (_process(capabilities=frozenset({"CAP_KILL", "CAP_CHOWN"})), _SHOW),
    "no capabilities": (_process(capabilities=frozenset()), _SHOW),
    "noNewPrivileges": (_process(no_new_privileges=True), _SHOW),
    "rlimits": (_process(rlimits=(Rlimit(type="RLIMIT_NOFILE", soft=50, hard=60),)), "ulimit -n; ulimit -Hn"),
    "oomScoreAdj": (_process(oom_score_adj=500), "cat /proc/self/oom_score_adj"),
    "hostname": (lambda spec: replace(spec, hostname="other"), "hostname"),
    "root.readonly": (lambda spec: replace(spec, readonly_root=True), "touch /x 2>&1; touch /dev/shm/x && echo well"),
    "seccomp": (lambda spec: replace(spec, seccomp=None), _SHOW),
    "maskedPaths": (
        lambda spec: replace(spec, masked_paths=("/proc/uptime", "/proc/tty")),
        "cat /proc/uptime; ls /proc/tty; stat -c %t:%T /proc/uptime",
    ),
    "readonlyPaths": (lambda spec: replace(spec, readonly_paths=("/etc", "/none")), "touch /etc/x 2>&1"),
    "sysctl": (lambda spec: replace(spec, sysctl={"kernel.msgmax": "9001"}), "cat /proc/sys/kernel/msgmax"),
    "devices": (lambda spec: replace(spec, devices=(_NODE,)), "stat -c '%F %a %u %g %t:%T' /dev/mine"),
    "without ipc": (lambda spec: spec.without_namespace("ipc"), "readlink /proc/self/ns/ipc"),
    "without uts": (lambda spec: replace(spec.without_namespace("uts"), hostname=""), "hostname"),
    "without network": (
        lambda spec: replace(spec.without_namespace("network"), sysctl={}),
        "readlink /proc/self/ns/net",
    ),
    "tmpfs": (_mounted("size=1m", "mode=710", "noexec", "ro"), "grep ' /mnt ' /proc/self/mounts; stat -c %a /mnt"),
    "tmpfs on a folder": (_mounted(place="/tmp"), "stat -c %a /tmp"),
    "bind": (_mounted("bind", "ro", kind="bind", source="/etc/hostname"), "cat /mnt; touch /mnt 2>&1"),
    "rbind": (
        _mounted("rbind", "nosuid", "nodev", "noexec", kind="bind", source="/sys"),
        "grep -c ' /mnt' /proc/self/mounts; ls /mnt",
    ),
    "memory": (
        _resources(memory=64 << 20, memory_swap=64 << 20),
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true",
    ),
    "pids": (_resources(pids=30), "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; true"),
    "cpu": (
        _resources(cpu_shares=300, cpu_quota=50_000, cpu_period=100_000),
        "cat /sys/fs/cgroup/cpu/cpu.shares /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null; true",
    ),
    "cpuset": (
        _resources(cpuset_cpus="0", cpuset_mems="0"),
        "cat /sys/fs/cgroup/cpuset/cpuset.cpus /sys/fs/cgroup/cpuset.cpus 2>/dev/null; nproc",
    ),
    "not there": (_process(args=("/none",)), ""),
    "not executable": (_process(args=("/etc/passwd",)), ""),
}


@pytest.mark.peer(name="runc")
@pytest.mark.skipif(os.geteuid() != 0, reason="runc runs without privilege only with its own cgroups")
@pytest.mark.parametrize("key", _CHANGES)
def test_a_key_means_here_what_it_means_there(box: Box, runc: Path, key: str) -> None:
    """The same specification with one key changed, under both: what it prints is the same, and so is whether it starts."""
    change, script = _CHANGES[key]
    name = f"nbc-{uuid.uuid4().hex[:12]}"
    spec = box.spec("sh", "-c", script, hostname="box1")
    spec = change(spec)
    bundle = runc / name
    bundle.mkdir()
    (bundle / "rootfs").mkdir()
    (bundle / "config.json").write_text(json.dumps(replace(spec, cgroups_path=f"/{name}").to_json()))
    upper, work = bundle / "upper", bundle / "work"
    upper.mkdir()
    work.mkdir()
    syscalls.mount(
        "overlay", str(bundle / "rootfs"), "overlay", 0, f"lowerdir={box.lower},upperdir={upper},workdir={work}"
    )
    try:
        words = ["runc", "--root", str(runc / "state"), "run", "--bundle", str(bundle), name]
        done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    finally:
        syscalls.umount(str(bundle / "rootfs"), syscalls.MNT_DETACH)
    try:
        code, out, _ = box.run(*spec.process.args, spec=spec)
    except LaunchError:
        assert done.returncode == 1, done.stdout
        return
    assert (done.returncode, done.stdout) == (code, out), done.stderr


@pytest.fixture
def runc(tmp_path: Path) -> Path:
    """A folder for bundles, where runc is installed."""
    if shutil.which("runc") is None:
        pytest.skip("runc is not installed")
    return tmp_path
