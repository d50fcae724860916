"""Hosts that this one is not: trees of files as other kernels and other set-ups show them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from nbcontainers.linux import cgroups, groups, hierarchies, limits
from nbcontainers.linux.meter import Meter
from nbcontainers.oci.resources import Resources

MIB = 1 << 20
OWN = "user.slice/user-1000.slice/user@1000.service/app.slice/notebook.scope"
LIMITS = Resources(memory=256 * MIB, cpu_quota=150_000, cpu_period=100_000, cpu_shares=2048, pids=64, cpuset_cpus="0-1")


@pytest.fixture
def write_tree(tmp_path: Path) -> Callable[[Mapping[str, str]], Path]:
    def write(files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def v2_files(own: str, **changed: str) -> dict[str, str]:
    """A v2 tree at ``sys`` and this process's view of it, as systemd 252 makes them for a delegated scope."""
    files = {
        f"sys/{own}/cgroup.controllers": "cpuset cpu io memory pids\n",
        f"sys/{own}/cgroup.subtree_control": "cpuset cpu io memory pids\n",
        f"sys/{own}/cgroup.procs": "",
        f"sys/{own}/cgroup.type": "domain\n",
        f"sys/{own}/memory.swap.max": "max\n",
        "proc/cgroup": f"0::/{own}\n",
        "proc/mountinfo": "24 18 0:22 / {root} rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
    }
    return files | {f"sys/{own}/{name.replace('__', '.')}": text for name, text in changed.items()}


def found(tree: Path) -> cgroups.Hierarchy:
    mounts = tree / "proc/mountinfo"
    mounts.write_text(mounts.read_text().replace("{root}", str(tree / "sys")))
    return hierarchies.detect(root=str(tree / "sys"), proc=str(tree / "proc"))


def test_a_delegated_scope_limits_everything(write_tree) -> None:
    """Cgroup v2 with controllers switched on: one directory, entered by clone3, with each limit in v2's own words."""
    tree = write_tree(v2_files(OWN))
    hierarchy = found(tree)
    assert hierarchy.version == "v2"
    assert hierarchy.controllers == {"cpu", "cpuset", "io", "memory", "pids"}
    plan = hierarchy.plan("abc", LIMITS, devices=False)
    directory = f"{tree}/sys/{OWN}/nbcontainers-abc"
    assert plan.directories == (directory,)
    assert plan.into == directory
    assert plan.procs == (f"{directory}/cgroup.procs",)
    assert plan.oom_file == f"{directory}/memory.events"
    assert plan.unenforced == ()
    assert {path.removeprefix(f"{directory}/"): text for path, text in plan.writes} == {
        "memory.max": str(256 * MIB),
        "memory.swap.max": str(256 * MIB),
        "pids.max": "64",
        "cpu.weight": str(limits.weight(2048)),
        "cpu.max": "150000 100000",
        "cpuset.cpus": "0-1",
    }
    assert not [name for name in os.listdir(tree / "sys" / OWN) if name.startswith(cgroups.PREFIX)]


@pytest.mark.parametrize("devices", [False, True])
def test_who_is_limited_alike_has_a_group_of_his_own(write_tree, devices: bool) -> None:
    """The plan of the second is that of the first by another name; who is limited otherwise has another plan."""
    hierarchy = found(write_tree(v2_files(OWN)))
    asked = Resources(memory=64 * MIB, pids=8)
    first, second = (hierarchy.plan(name, asked, devices=devices) for name in ("one", "two"))
    assert repr(first).replace("nbcontainers-one", "nbcontainers-two") == repr(second)
    assert "nbcontainers-one" not in repr(second)
    other = hierarchy.plan("two", Resources(memory=64 * MIB, pids=9), devices=devices)
    assert dict(other.writes)[f"{second.into}/pids.max"] == "9"


def test_controllers_are_switched_on_for_the_groups_below(write_tree, monkeypatch) -> None:
    """What the host has and did not pass on is asked for, one by one, so that one refusal does not take the others along."""
    tree = write_tree(v2_files(OWN, cgroup__subtree_control="pids\n"))
    asked = []

    def write(path: str, text: str) -> None:
        asked.append(text)
        if text == "+cpuset":
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(groups, "write", write)
    hierarchy = found(tree)
    assert asked == ["+cpuset", "+cpu", "+io", "+memory"]
    assert hierarchy.controllers == {"cpu", "io", "memory", "pids"}
    assert [line.split(":")[0] for line in hierarchy.plan("a", LIMITS, devices=False).unenforced] == [
        "choice of processors"
    ]


def test_a_populated_cgroup_gives_groups_without_limits(write_tree, monkeypatch) -> None:
    """A notebook in a scope that is not delegated: no process is moved, groups measure, and every limit is said not to hold."""
    tree = write_tree(v2_files(OWN, cgroup__subtree_control="", cgroup__procs="4711\n4712\n"))

    def write(path: str, text: str) -> None:
        assert not path.endswith("cgroup.procs")
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(groups, "write", write)
    hierarchy = found(tree)
    assert (hierarchy.version, hierarchy.controllers) == ("v2", frozenset())
    plan = hierarchy.plan("abc", LIMITS)
    assert plan.directories == (plan.into,)
    assert (plan.writes, plan.oom_file) == ((), "")
    assert [line.split(":")[0] for line in plan.unenforced] == [
        "cpu limit",
        "choice of processors",
        "device rules",
        "memory limit",
        "process limit",
    ]
    assert all("holds processes" in line for line in plan.unenforced if "device" not in line)


@pytest.mark.parametrize(("kind", "procs"), [("domain", "4711\n"), ("domain threaded", "4711\n"), ("threaded", "")])
def test_nothing_is_switched_on_where_processes_are(write_tree, kind: str, procs: str) -> None:
    """The kernel would take what threads can have (cpu, pids), and then no process could get into a group below."""
    tree = write_tree(v2_files(OWN, cgroup__subtree_control="", cgroup__procs=procs, cgroup__type=f"{kind}\n"))
    assert found(tree).controllers == frozenset()
    assert (tree / "sys" / OWN / "cgroup.subtree_control").read_text() == ""


def refuse_in(monkeypatch, *names: str) -> None:
    """Switching controllers on is EBUSY in these cgroups, as it is where processes are."""

    def write(path: str, text: str) -> None:
        place = os.path.basename(os.path.dirname(path))
        assert path.endswith("cgroup.subtree_control")
        if place in names:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(groups, "write", write)


def in_a_slice(**changed: str) -> dict[str, str]:
    """A notebook in a scope of systemd's that holds its processes, in a slice that passes controllers on."""
    above = os.path.dirname(OWN)
    scope = {"cgroup__subtree_control": "", "cgroup__procs": "4711\n", "pids__max": "4915\n"}
    scope |= {"memory__max": "max\n", "cpu__max": "max 100000\n", **changed}
    return v2_files(OWN, **scope) | {
        f"sys/{above}/cgroup.controllers": "cpu memory pids\n",
        f"sys/{above}/cgroup.subtree_control": "memory pids\n",
        f"sys/{above}/cgroup.procs": "",
        f"sys/{above}/cgroup.type": "domain\n",
        f"sys/{above}/memory.swap.max": "max\n",
    }


def test_beside_a_populated_cgroup_limits_hold(write_tree, monkeypatch) -> None:
    """Under systemd the group is made in the slice: the nearest cgroup above our own that holds no process."""
    tree = write_tree(in_a_slice())
    refuse_in(monkeypatch, "notebook.scope")
    hierarchy = found(tree)
    assert hierarchy.parents == {"unified": f"{tree}/sys/{os.path.dirname(OWN)}"}
    assert hierarchy.controllers == {"cpu", "memory", "pids"}
    plan = hierarchy.plan("abc", Resources(memory=64 * MIB, pids=8), devices=False)
    assert plan.into == f"{tree}/sys/{os.path.dirname(OWN)}/nbcontainers-abc"
    assert plan.unenforced == ()


def test_of_those_above_the_one_with_the_most_is_taken(write_tree) -> None:
    """Root in a session: the slices have memory and counts only, and what is above them has processors, too."""
    above = os.path.dirname(OWN)
    upper = os.path.dirname(above)
    files = in_a_slice() | {f"sys/{above}/cgroup.controllers": "memory pids\n"}
    files |= {f"sys/{upper}/cgroup.{name}": "cpu io memory pids\n" for name in ("controllers", "subtree_control")}
    hierarchy = found(write_tree(files | {f"sys/{upper}/cgroup.procs": "", f"sys/{upper}/cgroup.type": "domain\n"}))
    assert hierarchy.parents["unified"].endswith(upper)
    assert hierarchy.controllers == {"cpu", "io", "memory", "pids"}
    assert "ours to use" in hierarchy.refusals["cpuset"]


@pytest.mark.parametrize(
    "limit", [{"memory__max": "1073741824\n"}, {"cpu__max": "200000 100000\n"}, {"memory__high": "1048576\n"}]
)
def test_a_container_never_gets_out_of_the_notebooks_limits(write_tree, monkeypatch, limit: dict[str, str]) -> None:
    """A notebook that may use one gigabyte shares it with its containers, even where that means that theirs do not hold."""
    tree = write_tree(in_a_slice(**limit))
    refuse_in(monkeypatch, "notebook.scope")
    hierarchy = found(tree)
    assert hierarchy.parents == {"unified": f"{tree}/sys/{OWN}"}
    assert hierarchy.controllers == frozenset()
    assert "holds processes" in hierarchy.plan("a", Resources(memory=64 * MIB), devices=False).unenforced[0]


def test_limits_taken_back_are_unlimited_in_v2s_words(write_tree) -> None:
    """-1 is how Docker and the specification say no limit."""
    hierarchy = found(write_tree(v2_files(OWN)))
    plan = hierarchy.plan("a", Resources(memory=64 * MIB, memory_swap=-1, pids=-1, cpu_quota=-1))
    assert {os.path.basename(path): text for path, text in plan.writes} == {
        "memory.max": str(64 * MIB),
        "memory.swap.max": "max",
        "pids.max": "max",
        "cpu.max": "max 100000",
    }
    soft = hierarchy.plan("a", Resources(memory=64 * MIB, memory_reservation=32 * MIB, memory_swap=64 * MIB))
    assert {os.path.basename(path): text for path, text in soft.writes} == {
        "memory.max": str(64 * MIB),
        "memory.swap.max": "0",
        "memory.low": str(32 * MIB),
    }


def test_a_kernel_that_does_not_count_swap(write_tree) -> None:
    """Nothing is written for a limit that nobody asked for; one that was asked for is said not to hold."""
    files = v2_files(OWN)
    del files[f"sys/{OWN}/memory.swap.max"]
    hierarchy = found(write_tree(files))
    plain = hierarchy.plan("a", Resources(memory=64 * MIB), devices=False)
    assert [os.path.basename(path) for path, _ in plain.writes] == ["memory.max"]
    assert plain.unenforced == ()
    asked = hierarchy.plan("a", Resources(memory=64 * MIB, memory_swap=64 * MIB), devices=False)
    assert asked.unenforced == ("swap limit: this kernel does not count swap",)


HYBRID = {
    "proc/cgroup": "4:memory:/pod/one\n3:cpu,cpuacct:/pod/one\n2:pids:/\n1:name=systemd:/pod/one\n0::/pod/one\n",
    "proc/mountinfo": (
        "30 24 0:26 / {root}/unified rw,relatime - cgroup2 cgroup2 rw\n"
        "31 24 0:27 / {root}/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd\n"
        "32 24 0:28 /pod/one {root}/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
        "33 24 0:29 /pod/one {root}/memory rw,relatime - cgroup cgroup rw,memory\n"
        "34 24 0:30 / {root}/pids rw,relatime shared:3 - cgroup cgroup rw,pids\n"
        "35 24 0:31 / /sys/fs/cgroup/elsewhere rw,relatime - cgroup cgroup rw,devices\n"
    ),
    "sys/unified/pod/one/cgroup.controllers": "hugetlb\n",
    "sys/unified/pod/one/cgroup.procs": "1\n",
    "sys/unified/pod/one/cgroup.subtree_control": "",
    "sys/memory/memory.memsw.limit_in_bytes": "9223372036854771712\n",
    "sys/pids/cgroup.procs": "",
    "sys/cpu,cpuacct/cgroup.procs": "",
    "sys/systemd/pod/one/cgroup.procs": "",
}


def test_trees_that_refuse_alike_give_one_reason(write_tree, monkeypatch) -> None:
    """A pod's trees of v1 are all read-only: who reads why a limit does not hold reads it once, whatever is limited."""
    tree = write_tree(HYBRID)

    def refuse(path: str, mode: int = 0o777) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "mkdir", refuse)
    hierarchy = found(tree)
    assert hierarchy.version == "none"
    reasons = {hierarchy.refusals[name] for name in ("memory", "pids", "cpu")}
    assert reasons == {f"no group can be made below {tree}/sys: Read-only file system"}


def test_a_pod_without_a_cgroup_namespace_on_a_hybrid_host(write_tree) -> None:
    """The mounts show a part of each tree while the paths are whole; two controllers share a tree; systemd's is left alone."""
    tree = write_tree(HYBRID)
    hierarchy = found(tree)
    root = f"{tree}/sys"
    assert hierarchy.version == "hybrid"
    assert hierarchy.parents == {
        "unified": f"{root}/unified/pod/one",
        "cpu": f"{root}/cpu,cpuacct",
        "cpuacct": f"{root}/cpu,cpuacct",
        "memory": f"{root}/memory",
        "pids": f"{root}/pids",
    }
    assert hierarchy.controllers == {"memory", "pids", "cpu", "cpuacct"}
    plan = hierarchy.plan("abc", LIMITS)
    assert plan.into == ""
    assert plan.directories == (
        f"{root}/unified/pod/one/nbcontainers-abc",
        f"{root}/memory/nbcontainers-abc",
        f"{root}/pids/nbcontainers-abc",
        f"{root}/cpu,cpuacct/nbcontainers-abc",
    )
    assert plan.procs == tuple(f"{directory}/cgroup.procs" for directory in plan.directories)
    assert [line.split(":")[0] for line in plan.unenforced] == ["choice of processors", "device rules"]
    files = [os.path.basename(path) for path, _ in plan.writes]
    assert files.index("memory.limit_in_bytes") < files.index("memory.memsw.limit_in_bytes")
    assert files.index("cpu.cfs_period_us") < files.index("cpu.cfs_quota_us")


def test_a_hybrid_whose_v2_tree_has_the_memory_controller(write_tree) -> None:
    """Each limit goes to the tree that has its controller."""
    files = {name: text for name, text in HYBRID.items() if not name.startswith("sys/memory")}
    files["proc/cgroup"] = files["proc/cgroup"].replace("4:memory:/pod/one\n", "")
    files["sys/unified/pod/one/cgroup.controllers"] = "memory\n"
    files["sys/unified/pod/one/cgroup.subtree_control"] = "memory\n"
    tree = write_tree(files)
    hierarchy = found(tree)
    assert hierarchy.version == "hybrid"
    assert "memory" in hierarchy.controllers
    plan = hierarchy.plan("abc", Resources(memory=64 * MIB, pids=5), devices=False)
    unified = f"{tree}/sys/unified/pod/one/nbcontainers-abc"
    assert plan.writes == (
        (f"{unified}/memory.max", str(64 * MIB)),
        (f"{tree}/sys/pids/nbcontainers-abc/pids.max", "5"),
    )
    assert plan.oom_file == f"{unified}/memory.events"
    assert plan.unenforced == ()


@pytest.mark.parametrize("path", ["/../../other", "/somewhere/else"])
def test_an_own_cgroup_that_the_mount_does_not_show_is_not_used(write_tree, path: str) -> None:
    """Outside of our cgroup namespace, or of the part that is mounted, nothing is made."""
    tree = write_tree(v2_files(OWN) | {"proc/cgroup": f"0::{path}\n"})
    hierarchy = found(tree)
    assert (hierarchy.version, hierarchy.parents) == ("none", {})
    assert len(hierarchy.plan("a", LIMITS, devices=False).unenforced) == 4


def test_a_host_without_any_cgroups(write_tree) -> None:
    """No mount, no file: nothing can be made, and each limit that is asked for is said not to hold."""
    tree = write_tree({"sys/x": "", "proc/mountinfo": "1 1 0:1 / / rw - ext4 /dev/vda rw\n"})
    hierarchy = found(tree)
    assert hierarchy.version == "none"
    assert hierarchy.plan("a", Resources(), devices=False) == cgroups.Plan()


def test_usage_is_read_as_a_v2_host_writes_it(write_tree) -> None:
    """Files of a 6.1 host: times in microseconds, limits, the peak, kills, and memory without the cache that is given up first."""
    tree = write_tree(
        {
            "g/cgroup.controllers": "cpu memory pids\n",
            "g/cpu.stat": "usage_usec 1234567\nuser_usec 1000000\nsystem_usec 234567\nnr_periods 10\nnr_throttled 4\n"
            "throttled_usec 2500000\nnr_bursts 0\nburst_usec 0\n",
            "g/cpu.max": "150000 100000\n",
            "g/memory.current": "104857600\n",
            "g/memory.peak": "209715200\n",
            "g/memory.max": "268435456\n",
            "g/memory.stat": "anon 60000000\nfile 40000000\nkernel 3000000\ninactive_anon 60000000\nactive_anon 4096\n"
            "inactive_file 4857600\nactive_file 30000000\nworkingset_refault_anon 0\n",
            "g/memory.events": "low 0\nhigh 0\nmax 51\noom 2\noom_kill 3\noom_group_kill 0\n",
            "g/pids.current": "7\n",
            "g/pids.max": "max\n",
        }
    )
    with Meter([f"{tree}/g"]) as meter:
        usage = meter.sample()
    assert usage.source == "cgroup v2"
    assert usage.cpu_seconds == pytest.approx(1.234567)
    assert usage.throttled_seconds == pytest.approx(2.5)
    assert (usage.memory, usage.memory_peak, usage.memory_limit) == (100_000_000, 209_715_200, 268_435_456)
    assert (usage.processes, usage.processes_limit, usage.oom_kills, usage.cpu_limit) == (7, None, 3, 1.5)


def test_a_kernel_without_a_peak_says_none(write_tree) -> None:
    """memory.peak came with Linux 5.19: a count that the host cannot give is None, and not a wrong number."""
    tree = write_tree(
        {
            "g/cpu.stat": "usage_usec 5\nuser_usec 5\nsystem_usec 0\n",
            "g/memory.current": "4096\n",
            "g/memory.stat": "anon 4096\ninactive_file 0\n",
            "g/memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n",
            "g/cgroup.procs": "",
        }
    )
    with Meter([f"{tree}/g"]) as meter:
        usage = meter.sample()
    assert usage.memory_peak is usage.throttled_seconds is usage.processes_limit is usage.cpu_limit is None
    assert (usage.memory, usage.processes) == (4096, 0)


@pytest.mark.parametrize(
    ("shares", "weight"), [(0, 1), (2, 1), (512, 20), (1024, 39), (262_144, 10_000), (10**9, 10_000)]
)
def test_shares_become_weights_as_runc_has_it(shares: int, weight: int) -> None:
    """The line through (2, 1) and (262144, 10000), with both ends held."""
    assert limits.weight(shares) == weight
