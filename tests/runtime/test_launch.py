"""From a specification to a plan that needs no further thought."""

from __future__ import annotations

import marshal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nbcontainers.errors import HostError, LaunchError
from nbcontainers.linux import syscalls
from nbcontainers.linux.cgroups import Hierarchy
from nbcontainers.linux.idmap import Identity, of_host
from nbcontainers.oci.runtime import IdMapping, Mount, Namespace, Resources, RuntimeSpec
from nbcontainers.results import Check, ContainerState
from nbcontainers.runtime import launch
from nbcontainers.runtime.defaults import docker_spec
from nbcontainers.runtime.host import Host
from nbcontainers.runtime.identity import policy
from nbcontainers.runtime.plan import Plan

ROOT = (
    Mount(destination="/", type="overlay", source="overlay", options=("lowerdir=/a:/b", "upperdir=/u", "workdir=/w")),
)
PRIVATE = syscalls.MS_PRIVATE | syscalls.MS_REC
KINDS = frozenset({"mount", "pid", "network", "ipc", "uts", "cgroup", "time"})
STATE = ContainerState(id="c1", name="n", image="i", image_id="", command=("true",), status="created", created=1.0)


def host(tier: str = "T0", **changes: Any) -> Host:
    """A host as it may be."""
    one = (IdMapping(container=0, host=1000, size=1),)
    values: dict[str, Any] = {
        "tier": tier,
        "identity": of_host() if tier == "T0" else Identity(userns=True, uid_mappings=one, gid_mappings=one),
        "hierarchy": Hierarchy(version="none"),
        "capabilities": frozenset({"CAP_CHOWN", "CAP_KILL"}),
        "namespaces": KINDS,
        "checks": (),
    }
    return Host(**{**values, **changes})


def plan(
    spec: RuntimeSpec | None = None, on: Host | None = None, rootfs: tuple[Mount, ...] = ROOT, next_name: str = ""
) -> Plan:
    """The plan of a specification, the default one on T0 if nothing is said."""
    on = on or host()
    spec = spec or docker_spec(args=["true"], host=on)
    return launch.compile(spec, rootfs, folder=Path("/c"), state=STATE, host=on, socket="/s", next_name=next_name)


def test_a_plan_travels() -> None:
    """It is made of numbers, text, bytes and containers of them: marshal takes it, and nothing else is in it."""
    made = plan()
    assert marshal.loads(marshal.dumps(dict(made))) == made


def test_every_namespace_is_asked_for() -> None:
    """Those of the specification, and time where the kernel has it; network is left out when it is the host's."""
    flags = plan()["flags"]
    for flag in ("NEWNS", "NEWPID", "NEWNET", "NEWIPC", "NEWUTS", "NEWTIME", "NEWCGROUP"):
        assert flags & getattr(syscalls, f"CLONE_{flag}"), flag
    assert not flags & syscalls.CLONE_NEWUSER
    shared = plan(docker_spec(args=["true"], host=host(), network="host"))
    assert not shared["flags"] & syscalls.CLONE_NEWNET
    assert not shared["pattern"]["loopback"]
    assert shared["sysctl"] == shared["pattern"]["sysctl"] == []
    old = host(namespaces=KINDS - {"time"})
    assert not plan(on=old)["flags"] & syscalls.CLONE_NEWTIME


def test_groups_are_joined_the_cheap_way() -> None:
    """v2 by birth, v1 through ``tasks``, and the cgroup namespace after that."""
    hybrid = Hierarchy(
        version="hybrid",
        controllers=frozenset({"memory", "pids"}),
        parents={"unified": "/cg/unified", "memory": "/cg/memory/mine", "pids": "/cg/pids"},
    )
    made = plan(on=host(hierarchy=hybrid))
    assert made["into_cgroup"] == "/cg/unified/nbcontainers-c1"
    assert made["join"] == ["/cg/memory/mine/nbcontainers-c1/tasks", "/cg/pids/nbcontainers-c1/tasks"]
    assert made["late_flags"] == syscalls.CLONE_NEWCGROUP
    assert not made["flags"] & syscalls.CLONE_NEWCGROUP
    v2 = Hierarchy(version="v2", controllers=frozenset({"memory"}), parents={"unified": "/cg"})
    made = plan(on=host(hierarchy=v2))
    assert (made["into_cgroup"], made["join"], made["late_flags"]) == ("/cg/nbcontainers-c1", [], 0)


def test_groups_are_made_and_joined_beforehand() -> None:
    """Under the next container's name, with what of them is mounted; none of v1 where a cpuset is among them, which is to be filled
    first.
    """
    parents = {"unified": "/cg/unified", "memory": "/cg/memory/mine", "cpuset": "/cg/cpuset"}
    hybrid = host(hierarchy=Hierarchy(version="hybrid", controllers=frozenset({"memory", "cpuset"}), parents=parents))
    made = plan(on=hybrid, next_name="c2")
    assert made["pattern"]["groups"]["directories"] == made["cgroup_directories"]
    assert made["pattern"]["groups"]["join"] == made["join"]
    assert made["next_groups"] == {
        "directories": ["/cg/unified/nbcontainers-c2", "/cg/memory/mine/nbcontainers-c2"],
        "into": "/cg/unified/nbcontainers-c2",
        "join": ["/cg/memory/mine/nbcontainers-c2/tasks"],
        "late_flags": syscalls.CLONE_NEWCGROUP,
    }
    bound = docker_spec(args=["true"], host=hybrid, resources=Resources(cpuset_cpus="0"))
    made = plan(bound, on=hybrid, next_name="c2")
    assert made["pattern"]["groups"]["join"] == []
    assert made["pattern"]["groups"]["directories"] == ["/cg/unified/nbcontainers-c1"]
    assert plan(on=hybrid)["next_groups"] is None
    v2 = Hierarchy(version="v2", controllers=frozenset({"memory"}), parents={"unified": "/cg"})
    assert "/sys/fs/cgroup" in {entry[0] for entry in plan(on=host(hierarchy=v2))["pattern"]["mounts"]}


def test_without_groups_others_watch() -> None:
    """Processes by an rlimit, which counts who answers for identities, too; memory by the shim; which processors by what is
    handed down to a child; processor time by nobody; each is named.
    """
    limits = Resources(memory=1 << 26, pids=7, cpu_quota=5000, cpu_period=10000, cpuset_cpus="0-1,3")
    on = host("T2")
    wanted = docker_spec(args=["true"], host=on, resources=limits)
    made = plan(wanted, on)
    import resource

    assert made["rlimits"] == [(resource.RLIMIT_NPROC, 8, 8)]
    alone = replace(wanted, annotations={policy.IDENTITY: "off"})
    assert plan(alone, on)["rlimits"] == [(resource.RLIMIT_NPROC, 7, 7)]
    assert made["processors"] == [0, 1, 3]
    assert made["watched_memory"] == 1 << 26
    assert made["watched_processes"] == 0  # all are one id's
    assert made["limits"] == {"memory": 1 << 26, "pids": 7, "cpus": 0.5}
    named = " ".join(made["state"]["not_enforced"])
    assert all(words in named for words in ("watched", "RLIMIT_NPROC", "cpu is not limited", "sched_setaffinity"))
    assert "other identities" in " ".join(made["state"]["lacks"])


def test_processes_of_the_hosts_root_are_watched() -> None:
    """The kernel exempts it from the rlimit, in a user namespace of its own, too."""
    root = (IdMapping(container=0, host=0, size=1),)
    on = host("T3", identity=Identity(userns=True, uid_mappings=root, gid_mappings=root))
    wanted = docker_spec(args=["true"], host=on, resources=Resources(pids=7))
    made = plan(wanted, on)
    assert (made["watched_processes"], made["identity"] and made["identity"]["most"]) == (0, 7)
    assert "limited by the supervisor" in " ".join(made["state"]["not_enforced"])
    assert launch.not_enforced(wanted, on) == tuple(made["state"]["not_enforced"])  # as it is told where one is created
    alone = plan(replace(wanted, annotations={policy.IDENTITY: "off"}), on)
    assert (alone["watched_processes"], alone["identity"]) == (7, None)
    assert "the host's root's not at all" in " ".join(alone["state"]["not_enforced"])


def test_processes_that_nothing_would_end_are_named() -> None:
    """Who shares the host's pid namespace, where no cgroup can be made."""
    on = host()
    own = docker_spec(args=["true"], host=on)
    shared = replace(own, namespaces=tuple(entry for entry in own.namespaces if entry.type != "pid"))
    told = [" ".join(plan(spec, on)["state"]["not_enforced"]) for spec in (own, shared)]
    assert ["leaves behind goes on" in words for words in told] == [False, True]


def test_processes_of_several_ids_are_watched() -> None:
    """An rlimit counts those of each id apart, which is named; without a limit nobody watches."""
    several = (IdMapping(container=0, host=1000, size=1), IdMapping(container=1, host=100000, size=65535))
    on = host("T1", identity=Identity(userns=True, uid_mappings=several, gid_mappings=several))
    made = plan(docker_spec(args=["true"], host=on, resources=Resources(pids=7)), on)
    assert made["watched_processes"] == 7
    assert "counts those of each user apart" in " ".join(made["state"]["not_enforced"])
    assert plan(docker_spec(args=["true"], host=on, resources=Resources(pids=-1)), on)["watched_processes"] == 0


@pytest.mark.parametrize(
    ("words", "unkept"),
    [
        ({"memory": 1 << 26, "memory_swap": 1 << 27}, []),  # as much swap as memory: what there is where nobody asks
        ({"memory": 1 << 26, "memory_swap": -1}, []),
        ({"memory": 1 << 26, "memory_swap": 1 << 26}, ["a limit of memory and swap together"]),
        ({"memory_reservation": 1 << 25}, ["a memory reservation"]),
        ({"memory": 1 << 26, "oom_kill_disable": True}, ["keeping the out-of-memory killer away"]),
        ({"memory_swappiness": 0}, ["memory swappiness"]),
    ],
)
def test_only_a_limit_of_memory_is_watched(words: dict[str, Any], unkept: list[str]) -> None:
    """Whatever else is wished of memory nothing but a group keeps: each wish is named, and none is called watched."""
    on = host("T2")
    named = plan(docker_spec(args=["true"], host=on, resources=Resources(**words)), on)["state"]["not_enforced"]
    assert [one.partition(":")[0] for one in named if "nothing here keeps it" in one] == unkept
    assert any("is watched" in one for one in named) == ("memory" in words)


def test_one_id_is_mapped() -> None:
    """On T2 root inside is the caller; groups are given up, as the kernel demands of who has no privilege."""
    made = plan(on=host("T2"))
    assert (made["uid_map"], made["gid_map"]) == ("0 1000 1\n", "0 1000 1\n")
    assert made["flags"] & syscalls.CLONE_NEWUSER
    assert made["pattern"]["bind_devices"]
    terminals = next(entry for entry in made["pattern"]["mounts"] if entry[0] == "/dev/pts")
    assert "gid" not in dict(terminals[5])
    assert ("net.ipv4.ping_group_range", "0 0") in made["pattern"]["sysctl"]


def test_images_cannot_bring_devices_where_no_rules_hold() -> None:
    """Without device rules root's containers get a root without devices, and no CAP_MKNOD (see host)."""
    assert plan(on=host())["root_attributes"] == syscalls.MOUNT_ATTR_NODEV
    ruled = Hierarchy(version="v1", controllers=frozenset({"devices"}), parents={"devices": "/cg/devices"})
    assert plan(on=host(hierarchy=ruled))["root_attributes"] == 0
    assert plan(on=host("T2"))["root_attributes"] == 0


@pytest.mark.parametrize(
    ("value", "folders"),
    [("/a", ["/a"]), ("/a:/b", ["/a", "/b"]), (r"/a\:b:/c\\d", ["/a:b", r"/c\d"]), ("/ü ,x:/y", ["/ü ,x", "/y"])],
)
def test_lower_folders_are_split_where_overlay_splits_them(value: str, folders: list[str]) -> None:
    """Colons and backslashes of names are escaped with a backslash."""
    mounts = (Mount(destination="/", type="overlay", source="overlay", options=(f"lowerdir={value}", "userxattr")),)
    assert plan(rootfs=mounts)["root"] == ("overlay", "overlay", folders, ["userxattr"])


@pytest.mark.parametrize(
    ("options", "set_", "cleared", "rest"),
    [
        (("ro", "nosuid", "size=1m"), 3, 0, [("size", "1m")]),
        (("ro", "rw"), 0, 1, []),
        (("rw", "ro"), 1, 0, []),
        (("noatime",), 0x10, 0x70, []),
        (("nodev", "dev", "noexec", "rprivate", "x", "k=a=b"), 8, 4, [("x", ""), ("k", "a=b")]),
    ],
)
def test_words_of_mount(options: tuple[str, ...], set_: int, cleared: int, rest: list[tuple[str, str]]) -> None:
    """Attributes of the mount are told from options of the file system; the last word wins."""
    mount = Mount(destination="/x", type="bind", source="/y", options=options)
    made = plan(docker_spec(args=["true"], host=host(), mounts=[mount]))["mounts"][-1]
    assert made == ("/x", "bind", "/y", set_, cleared, [], False, 0, PRIVATE)
    mount = replace(mount, type="tmpfs")
    made = plan(docker_spec(args=["true"], host=host(), mounts=[mount]))["mounts"][-1]
    assert made == ("/x", "tmpfs", "/y", set_, 0, [("source", "/y"), *rest], False, 0, PRIVATE)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda spec: replace(spec, process=replace(spec.process, args=())), "no command"),
        (lambda spec: replace(spec, namespaces=(Namespace(type="mount", path="/proc/1/ns/mnt"),)), "cannot be joined"),
        (lambda spec: spec.without_namespace("mount"), "mount namespace of its own"),
        (lambda spec: replace(spec, sysctl={"net.core.somaxconn": "1"}).without_namespace("network"), "network of"),
        (lambda spec: replace(spec, mounts=(Mount(destination="/..", type="tmpfs", source=""),)), "mounted on /"),
        (
            lambda spec: replace(
                spec,
                seccomp={
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
                },
            ),
            "NOTIFY",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(change: Any, words: str) -> None:
    """Nothing is parsed and then ignored."""
    with pytest.raises(LaunchError, match=words):
        plan(change(docker_spec(args=["true"], host=host())))
    with pytest.raises(LaunchError, match="first mount"):
        plan(rootfs=())


def test_namespaces_of_others_are_entered() -> None:
    """The process namespace by birth, others by init; without privilege none can be."""
    spec = docker_spec(args=["true"], host=host())
    others = spec.without_namespace("pid").without_namespace("ipc").namespaces
    joined = (Namespace(type="pid", path="/proc/7/ns/pid"), Namespace(type="ipc", path="/proc/7/ns/ipc"))
    made = plan(replace(spec, namespaces=(*others, *joined)))
    assert (made["pid_namespace"], made["enter"]) == ("/proc/7/ns/pid", [("/proc/7/ns/ipc", syscalls.CLONE_NEWIPC)])
    assert made["shares_pids"]
    assert not made["flags"] & (syscalls.CLONE_NEWPID | syscalls.CLONE_NEWIPC)
    poor = docker_spec(args=["true"], host=host("T2"))
    with pytest.raises(LaunchError, match="cannot be joined"):
        plan(replace(poor, namespaces=(*poor.namespaces, joined[1])), host("T2"))
    with pytest.raises(LaunchError, match="pid namespace of its own"):
        plan(poor.without_namespace("pid"), host("T2"))


@pytest.mark.parametrize("tier", ["T4"])
def test_other_tiers_are_told(tier: str) -> None:
    """Where containers cannot run, the error names the tier, the reason and what to do."""
    poor = host(tier, checks=(Check(name="proc", holds=False, detail="Operation not permitted"),))
    with pytest.raises(HostError, match=f"tier {tier}.*proc: Operation not permitted") as caught:
        plan(on=poor)
    assert caught.value.tier == tier


def test_a_profile_is_compiled_once() -> None:
    """Compiling takes longer than a start."""
    first, second = plan()["seccomp"], plan()["seccomp"]
    assert first is second
    assert len(first) % 8 == 0
