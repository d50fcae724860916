"""Limits in real containers: what was asked for is what the kernel says it holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nbcontainers.engine import Engine
from nbcontainers.errors import NBContainersError

from .test_limits import disk

Shell = Callable[..., str]


def needs(engine: Engine, *controllers: str) -> None:
    missing = sorted(set(controllers) - engine._host.hierarchy.controllers)
    if missing:
        pytest.skip(f"no cgroup controller that we may use: {', '.join(missing)}")


def read(engine: Engine, *files: str) -> dict[str, str]:
    """Files of the only running container's groups, by their names."""
    (container,) = engine.containers()
    extra = container._running.folder / "state.json"
    import json

    directories = json.loads(extra.read_text())["runtime"]["cgroup_directories"]
    found = {}
    for file in files:
        for directory in directories:
            if os.path.exists(f"{directory}/{file}"):
                found[file] = Path(f"{directory}/{file}").read_text().strip()
    return found


def test_every_limit_reaches_the_kernel(engine: Engine) -> None:
    """On cgroup v1 (also of a hybrid): each file holds what was asked for."""
    needs(engine, "memory", "cpu", "cpuset", "pids", "io")
    if engine._host.hierarchy.version == "v2":
        pytest.skip("this host has cgroup v2")
    path = disk()
    number = os.stat(path).st_rdev
    node = f"{os.major(number)}:{os.minor(number)}"
    container = engine.run(
        "toolbox",
        "sleep",
        "60",
        memory="64m",
        memory_swap="96m",
        memory_reservation="32m",
        memory_swappiness=0,
        oom_kill_disable=True,
        cpu_period=50_000,
        cpu_quota=25_000,
        cpu_shares=512,
        cpuset_cpus="0",
        cpuset_mems="0",
        pids_limit=50,
        device_read_bps=[f"{path}:1m"],
        device_write_iops=[f"{path}:30"],
    )
    wanted = {
        "memory.limit_in_bytes": str(64 << 20),
        "memory.memsw.limit_in_bytes": str(96 << 20),
        "memory.soft_limit_in_bytes": str(32 << 20),
        "memory.swappiness": "0",
        "cpu.cfs_period_us": "50000",
        "cpu.cfs_quota_us": "25000",
        "cpu.shares": "512",
        "cpuset.cpus": "0",
        "cpuset.mems": "0",
        "pids.max": "50",
        "blkio.throttle.read_bps_device": f"{node} {1 << 20}",
        "blkio.throttle.write_iops_device": f"{node} 30",
    }
    try:
        found = read(engine, *wanted, "memory.oom_control")
        assert "oom_kill_disable 1" in found.pop("memory.oom_control")
        assert found == {name: text for name, text in wanted.items() if name in found}
        assert set(wanted) - set(found) <= {"memory.memsw.limit_in_bytes"}
    finally:
        container.remove(force=True)


def test_a_disk_is_read_no_faster_than_it_may_be(engine: Engine, shell: Shell, tmp_path: Path) -> None:
    """8 MiB at 4 MiB a second take two seconds, past the page cache."""
    needs(engine, "io")
    device = os.stat(tmp_path).st_dev
    path = Path(f"/dev/block/{os.major(device)}:{os.minor(device)}")
    nodes = [node for node in Path("/dev").iterdir() if node.is_block_device() and node.stat().st_rdev == device]
    if not nodes:
        pytest.skip(f"no node for the disk of {tmp_path} ({path})")
    (tmp_path / "data").write_bytes(os.urandom(8 << 20))
    os.sync()
    script = "import os, mmap, time\nd = os.open('/d/data', os.O_RDONLY | os.O_DIRECT)\nm = mmap.mmap(-1, 1 << 20)\nt = time.time()\n"
    script += "while os.readv(d, [m]): pass\nprint(time.time() - t)"
    words = shell(f'python3 -c "{script}"', volumes=[f"{tmp_path}:/d"], device_read_bps=[f"{nodes[0]}:4m"])
    assert float(words) > 1.5


def test_rlimits_scores_and_memory_to_share(engine: Engine, shell: Shell) -> None:
    """setrlimit(2), oom_score_adj and /dev/shm need no cgroup."""
    script = "ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj; df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2"
    words = {"ulimit": ["nofile=100:200", "core=0"], "oom_score_adj": 300, "shm_size": "2m"}
    assert shell(script, **words).split() == ["100", "200", "0", "300", "2048"]


def test_a_group_below_another_is_made_and_goes_with_it(engine: Engine, shell: Shell) -> None:
    """``--cgroup-parent`` names it from the top or from our own; what was made for one container is not left behind."""
    if not engine._host.hierarchy.parents:
        container = engine.run("toolbox", "true", cgroup_parent="nbc-test")
        container.wait()
        assert any("cgroup parent" in note for note in container.state.not_enforced)
        container.remove()
        return
    name = f"nbc-test-{os.getpid()}"
    container = engine.run("toolbox", "sleep", "60", memory="64m", cgroup_parent=f"/{name}/below")
    lines = Path(f"/proc/{container.state.pid}/cgroup").read_text()
    assert f"/{name}/below/nbcontainers-{container.id}" in lines
    container.remove(force=True)
    left = [path for path in Path("/sys/fs/cgroup").glob(f"**/{name}") if path.exists()]
    assert left == []
    with pytest.raises(NBContainersError, match="not a parent"):
        engine.run("toolbox", "true", cgroup_parent="../x")
    for container in engine.containers(all=True):
        container.remove()
