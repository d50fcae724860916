"""Limits in real containers: what was asked for is what the kernel says it holds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nbcontainers.engine import Engine
from nbcontainers.engine.options import RunOptions
from nbcontainers.errors import HostError, NBContainersError
from nbcontainers.events import Output
from nbcontainers.linux.limits import weights_count
from tests.waiting import until

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


def test_a_process_in_real_time_hears_why_no_group_takes_it(engine: Engine) -> None:
    """cpu groups of v1 have no share for it; the error says what to do."""
    needs(engine, "cpu")
    if engine._host.hierarchy.version == "v2" or os.geteuid():
        pytest.skip("only root's groups of v1 refuse it")
    words = ["run", "--rm", "--pull", "never", "--cpus", "0.5", "toolbox", "true"]
    done = subprocess.run(
        ["chrt", "--fifo", "1", sys.executable, "-m", "nbcontainers", *words],
        env={**os.environ, "NBCONTAINERS_ROOT": str(engine.store.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "cgroup: Invalid argument" in done.stderr
    assert "chrt --other 0" in done.stderr


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
    container = engine.run("toolbox", "sleep", "600", memory="64m", cgroup_parent=f"/{name}/below")
    lines = Path(f"/proc/{container.state.pid}/cgroup").read_text()
    assert f"/{name}/below/nbcontainers-{container.id}" in lines
    container.remove(force=True)
    until(lambda: not [path for path in Path("/sys/fs/cgroup").glob(f"**/{name}") if path.exists()])
    with pytest.raises(NBContainersError, match="not a parent"):
        engine.run("toolbox", "true", cgroup_parent="../x")
    for container in engine.containers(all=True):
        container.remove()


def test_weights_and_real_time_reach_the_kernel(engine: Engine) -> None:
    """Those limits that only some kernels of cgroup v1 have, and the rest of the rates."""
    needs(engine, "cpu", "io")
    if engine._host.hierarchy.version == "v2":
        pytest.skip("this host has cgroup v2")
    path = disk()
    number = os.stat(path).st_rdev
    node = f"{os.major(number)}:{os.minor(number)}"
    wanted = {
        "cpu.cfs_quota_us": "50000",
        "blkio.bfq.weight": "300",
        "blkio.throttle.write_bps_device": f"{node} {1 << 20}",
        "blkio.throttle.read_iops_device": f"{node} 30",
    }
    words = {"device_write_bps": [f"{path}:1m"], "device_read_iops": [f"{path}:30"], "cpus": 0.5}
    cpu, io = (engine._host.hierarchy.parents[name] for name in ("cpu", "io"))
    if os.path.exists(f"{cpu}/cpu.rt_runtime_us"):
        words |= {"cpu_rt_period": 100_000, "cpu_rt_runtime": 5_000}
        wanted |= {"cpu.rt_period_us": "100000", "cpu.rt_runtime_us": "5000"}
    if os.path.exists(f"{io}/blkio.bfq.io_serviced"):
        words |= {"blkio_weight": 300}
    else:
        del wanted["blkio.bfq.weight"]
    container = engine.run("toolbox", "sleep", "600", **words)  # type: ignore[arg-type]
    try:
        assert read(engine, *wanted) == wanted
    finally:
        container.remove(force=True)
    if not weights_count():  # told, as that of all disks is
        container = engine.create("toolbox", "true", blkio_weight_device=[f"{path}:300"])
        container.start()
        assert container.wait() == 0
        assert [line for line in container.state.not_enforced if line.startswith("block io weight")]
        container.remove()
    with pytest.raises(NBContainersError, match="70000"):
        engine.run("toolbox", "true", blkio_weight_device=[f"{path}:70000"])
    with pytest.raises(NBContainersError, match="not a whole number"):
        engine.create("toolbox", "true", blkio_weight_device=[f"{path}:heavy"])


def test_limits_of_a_running_container_are_changed(engine: Engine, shell: Shell) -> None:
    """At once, also in a cgroup that it had not before; what enters later is held too, and so is the next start."""
    container = engine.run("toolbox", "sh", "-c", "sleep 600 & sleep 600", memory="64m")
    try:
        if not engine._host.hierarchy.parents:
            with pytest.raises(HostError, match="cannot be changed while it runs"):
                container.update(memory="32m")
            assert container.spec.resources.memory == 64 << 20
            return
        needs(engine, "memory", "pids", "cpu")
        container.update(memory="128m", pids_limit=50, cpus=0.5, cpuset_cpus="0")
        if engine._host.hierarchy.version != "v2":
            files = (
                "memory.limit_in_bytes",
                "memory.memsw.limit_in_bytes",
                "cpu.cfs_quota_us",
                "cpuset.cpus",
                "pids.max",
            )
            found = read(engine, *files)
            wanted = [str(128 << 20), str(128 << 20), "50000", "0", "50"]
            assert [found.get(name, "") for name in files] == [
                text if name in found else "" for name, text in zip(files, wanted, strict=True)
            ]
        usage = container.usage()
        assert (usage.memory_limit, usage.processes_limit, usage.cpu_limit) == (128 << 20, 50, 0.5)
        entered = container.exec("cat", "/proc/self/cgroup")
        said: list[bytes] = []
        entered.attach(lambda event: said.append(event.data) if isinstance(event, Output) else None)
        if engine._host.hierarchy.version != "v2":
            assert f"cpu:/nbcontainers-{container.id}" in b"".join(said).decode()
        container.update(memory="32m", pids_limit=-1)  # lower, and no limit
        usage = container.usage()
        assert (usage.memory_limit, usage.processes_limit) == (32 << 20, None)
        container.update(memory_swap="48m")
        with pytest.raises(NBContainersError, match="more than the limit on memory and swap"):
            container.update(memory="128m")
        container.kill()
        container.wait()
        until(lambda: not list(Path("/sys/fs/cgroup").glob(f"**/nbcontainers-{container.id}")))
        container.update(cpus=1)
        container.start()
        assert (container.usage().memory_limit, container.usage().cpu_limit) == (32 << 20, 1)
    finally:
        container.remove(force=True)


def test_a_limit_that_the_kernel_refuses_is_an_error_and_changes_nothing(engine: Engine) -> None:
    """Neither for what runs nor for its next start."""
    needs(engine, "memory")
    if "memory" not in engine._host.hierarchy.parents:
        pytest.skip("needs a memory controller of cgroup v1: that of v2 takes a limit that is in use, and kills")
    script = "head -c 40M /dev/zero > /dev/shm/much && echo; sleep 600"
    container = engine.run("toolbox", "sh", "-c", script, memory="64m", memory_swap="64m")
    try:
        until(lambda: list(container.logs()))
        with pytest.raises(NBContainersError, match=r"memory\.limit_in_bytes to '16777216': .* busy") as refused:
            container.update(memory="16m", memory_swap="16m")
        assert "more is in use" in refused.value.hint
        assert engine.container(container.id).spec.resources.memory == 64 << 20
    finally:
        container.remove(force=True)


def test_limits_changed_between_two_runs_hold_for_the_next(engine: Engine) -> None:
    """A restart policy has the container wait, and there is no group of it then."""
    needs(engine, "pids")
    script = "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null; exit 1"
    container = engine.run("toolbox", "sh", "-c", script, restart="always", pids_limit=50, detach=True)
    try:
        until(lambda: container.state.restarts > 2 and container.state.status == "restarting")  # for a while, by now
        container.update(pids_limit=60)
        until(lambda: b"60\n" in b"".join(event.data for event in container.logs()))
    finally:
        container.remove(force=True)


def test_what_cannot_be_changed_is_refused(engine: Engine) -> None:
    """Only limits can; a stopped container has them from its next start on."""
    container = engine.create("toolbox", "true", memory="64m")
    container.update(memory="32m", cpu_shares=100)
    limits = engine.container(container.id).spec.resources
    assert (limits.memory, limits.memory_swap, limits.cpu_shares) == (32 << 20, 128 << 20, 100)
    assert container.inspect()["HostConfig"]["Memory"] == 32 << 20
    refused: tuple[RunOptions, ...] = ({"privileged": True}, {"memory": "1m"}, {"cpus": 1000.0})
    for words in refused:
        with pytest.raises(NBContainersError):
            container.update(**words | {"restart": "always"})
    assert container.state.restart == ("no", 0)  # all of it, or nothing
    container.remove()


def test_usage_has_network_and_pressure(engine: Engine) -> None:
    """Interfaces of its own network (loopback is none), and nothing of the host's; pressure where a v2 tree is mounted."""
    for network, wanted in (("none", ()), ("host", None)):
        container = engine.run("toolbox", "sleep", "600", network=network)
        try:
            usage = container.usage()
            assert usage.network == wanted
            if "unified" in engine._host.hierarchy.parents and os.path.exists("/proc/pressure/cpu"):
                assert usage.cpu_pressure is not None
                assert usage.cpu_pressure.some_seconds >= 0
        finally:
            container.remove(force=True)
