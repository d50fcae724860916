"""What a tier cannot keep is said: as a warning, with ``strict`` as an error, and of every container by inspect."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Unpack

import pytest

from nbcontainers.engine import Engine, devices, security, userns
from nbcontainers.engine.options import RunOptions
from nbcontainers.errors import HostError, LaunchError
from nbcontainers.linux import capabilities
from nbcontainers.linux.cgroups import Hierarchy
from nbcontainers.linux.idmap import Identity
from nbcontainers.oci.runtime import IdMapping
from nbcontainers.runtime.host import Host

Shell = Callable[..., str]


@pytest.fixture(scope="module")
def host(engine: Engine) -> Host:
    return engine._runtime.host


@pytest.fixture
def apart(engine: Engine, host: Host) -> RunOptions:
    """The words for a container in a user namespace: without privilege each is, with it those that have one of their own."""
    if host.identity.userns:
        return {}
    if why := userns.refusal(engine.store.root):
        pytest.skip(f"no id-mapped mounts on {engine.store.root}: {why}")
    return {"userns": "auto"}


def refused(engine: Engine, **words: Unpack[RunOptions]) -> str:
    """What a strict container of these words is refused for; empty where it is made."""
    options: RunOptions = {"network": "none", **words, "strict": True}
    try:
        engine.create("toolbox", "true", **options).remove()
    except HostError as error:
        return error.message
    return ""


def closed_node(host: Host) -> str:
    """A device of this host that root of a container in a user namespace may not open."""
    for node in devices.every():
        is_closed = not node.mode & (stat.S_IROTH | stat.S_IWOTH)
        if is_closed and not (
            host.identity.userns and (os.access(node.path, os.R_OK) or os.access(node.path, os.W_OK))
        ):
            return node.path
    pytest.skip("needs a device that not everybody may open")


def test_what_no_container_has_is_told_by_inspect_as_by_doctor(engine: Engine, host: Host) -> None:
    """All of it, of one that has not run, too: no limit and no cgroup of its own is left out."""
    container = engine.create("toolbox", "true", network="none")
    told = host.report().not_enforced
    assert tuple(container.inspect()["NBContainers"]["Lacks"]) == told
    container.start()
    container.wait()
    assert tuple(container.inspect()["NBContainers"]["Lacks"]) == told
    assert container.inspect()["NBContainers"]["NotEnforced"] == []
    container.remove()
    for controller, words in (("memory", "memory is watched"), ("cpu", "cpu is not limited"), ("io", "block devices")):
        assert (words in " ".join(told)) == (controller not in host.hierarchy.controllers)


def test_groups_that_are_not_there_are_told(engine: Engine, host: Host, shell: Shell) -> None:
    """Where nothing is mounted on /sys/fs/cgroup, that is said, and asking to write to it is not passed over."""
    if host.tier == "T3":
        pytest.skip("needs a tier above T3, where a container's /sys is the host's")
    found = shell("ls /sys/fs/cgroup", network="none").split()
    assert bool(found) == host.shows_groups
    assert any(line.startswith("cgroup file system: none") for line in host.notes()) == (not found)
    assert ("writable-cgroups" in refused(engine, security_opt=["writable-cgroups"])) == (not found)
    assert refused(engine, security_opt=["writable-cgroups=false"]) == ""


def test_groups_of_the_hosts_root_are_not_for_a_range_of_ids(engine: Engine, apart: RunOptions) -> None:
    """In a user namespace that root gives, writable groups would be another's."""
    if not apart:
        pytest.skip("needs root, who gives ranges of ids")
    assert "writable-cgroups: they belong to the host's root" in refused(
        engine, security_opt=["writable-cgroups"], **apart
    )


def test_devices_that_cannot_be_opened_are_told(engine: Engine, host: Host, apart: RunOptions, shell: Shell) -> None:
    """Those that the container's root may not open, and no others."""
    node = closed_node(host)
    said = refused(engine, device=[node, "/dev/null:/dev/nothing"], **apart)
    assert f"devices that cannot be opened inside for reading and writing: {node} (" in said
    assert refused(engine, device=["/dev/null:/dev/nothing"], **apart) == ""
    words = {"device": [f"{node}:/dev/given", "/dev/null:/dev/nothing"], "network": "none", **apart}
    script = "! (: </dev/given) 2>/dev/null && ! (: >/dev/given) 2>/dev/null && : </dev/nothing && : >/dev/nothing && echo so"
    assert shell(script, **words) == "so\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who makes device nodes")
def test_a_device_of_a_group_that_is_left_behind_is_told(tmp_path: Path) -> None:
    """With a range of ids setgroups(2) takes this user's further groups away; with a single id it is denied, and they stay."""
    node = tmp_path / "node"
    try:
        os.mknod(node, stat.S_IFCHR | 0o060, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("needs a host on which device nodes can be made")
    os.chmod(node, 0o060)
    os.chown(node, 5, 6)
    word = f"{node}:/dev/given"

    def told(size: int) -> Iterator[str]:
        maps = (IdMapping(container=0, host=os.geteuid(), size=size),)
        return devices.closed([word], Identity(userns=True, uid_mappings=maps, gid_mappings=maps))

    before = os.getgroups()
    os.setgroups([6])
    try:
        assert [line.partition(":")[0] for line in told(3)] == [
            "devices that cannot be opened inside for reading and writing"
        ]
        assert list(told(1)) == []
        node.chmod(0o064)
        assert [line.partition(":")[0] for line in told(3)] == ["devices that cannot be opened inside for writing"]
    finally:
        os.setgroups(before)


def test_capabilities_that_the_kernel_wants_elsewhere_are_told(engine: Engine, apart: RunOptions) -> None:
    """Those that were asked for by name or with all, less those that were taken away; none of what Docker gives anyhow."""
    asked = refused(engine, cap_add=["SYS_TIME", "cap_sys_nice", "NET_ADMIN", "SYS_BOOT"], **apart)
    assert asked.endswith("for the kernel asks for them in the host's: CAP_SYS_NICE, CAP_SYS_TIME")
    every = refused(engine, cap_add=["ALL"], cap_drop=["SYS_TIME"], **apart)
    named = {word for word in re.findall(r"CAP_\w+", every) if word in capabilities.OF_INITIAL}
    assert named == capabilities.OF_INITIAL - {"CAP_SYS_TIME"}
    assert refused(engine, cap_add=["KILL", "NET_ADMIN"], **apart) == ""
    assert refused(engine, **apart) == ""


def test_those_capabilities_allow_nothing(apart: RunOptions, shell: Shell) -> None:
    """The kernel refuses what they are for: to be nicer than others, to set limits, to read its log, to wake the machine."""
    script = """
import ctypes, os, resource
libc, refused = ctypes.CDLL(None, use_errno=True), 0
for act in (lambda: os.nice(-5), lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 21, 1 << 21))):
    try:
        act()
    except (OSError, ValueError):
        refused += 1
for word in (libc.klogctl(3, None, 0), libc.timerfd_create(8, 0), libc.acct(b"/tmp/acct"), libc.vhangup()):
    refused += word < 0
print(refused)
"""
    words = {"cap_add": ["ALL"], "security_opt": ["seccomp=unconfined"], "network": "none", **apart}
    assert shell(f"python3 -c '{script}'".replace("\n\n", "\n"), **words) == "6\n"


def test_the_same_capabilities_count_outside_of_user_namespaces(engine: Engine, host: Host) -> None:
    """Root's containers are not told of it."""
    if host.identity.userns:
        pytest.skip("needs root without a user namespace")
    given = sorted(capabilities.OF_INITIAL & host.capabilities)
    assert refused(engine, cap_add=given) == ""


def test_devices_are_told_of_rules_that_there_are_not(host: Host) -> None:
    """Where no cgroup has device rules a device that is to be read only can be written, too; no root is without them by a mere word,
    so the host is described.
    """
    ruled = dataclasses.replace(
        host,
        identity=Identity(userns=False),
        hierarchy=Hierarchy(version="v1", controllers=frozenset({"devices"}), parents={"devices": "/cg/devices"}),
    )
    unruled = dataclasses.replace(ruled, hierarchy=Hierarchy(version="v1", controllers=frozenset(), parents={}))
    options: RunOptions = {"device": ["/dev/null:/dev/x:r", "/dev/zero"], "device_cgroup_rule": ["c 10:* r"]}
    assert security.missing(options, ruled, ruled.identity) == ()
    assert security.missing(options, unruled, unruled.identity) == (
        "device rules: none can be set here",
        "devices that can be opened in every way, for no device rules can be set here: /dev/null",
    )


def test_a_network_without_a_way_out_is_told_to_who_asked_for_one(engine: Engine, host: Host) -> None:
    """By its name, or by asking for nothing to be missing; who asked for neither finds it in what the container lacks."""
    if not host.allows("container networks"):
        assert "networks between containers: none can be had here" in refused(engine, network=None)
        pytest.skip("needs a host that allows networks between containers")
    engine.create_network("unkept-inner", internal=True)
    engine.create_network("unkept-outer")
    missing = "no way out of its networks to the world: "
    is_lacking = not host.way_out().holds
    for name, is_told in (("bridge", True), ("unkept-outer", True), ("unkept-inner", False), (None, False)):
        options: RunOptions = {"network": name} if name else {}
        container = engine.run("toolbox", "true", **options)
        container.wait()
        container.start()  # it is kept with the container who asked
        container.wait()
        is_said = any(line.startswith(missing) for line in container.state.not_enforced)
        assert is_said == (is_lacking and is_told), name
        assert any(line.startswith(missing) for line in container.state.lacks) == is_lacking
        container.remove()
        strictly = refused(engine, network=name)
        assert (missing in strictly) == (is_lacking and name != "unkept-inner"), name
    for strict in (False, True):
        container = engine.create("toolbox", "true", network="unkept-inner", strict=strict)
        if strict and is_lacking:
            with pytest.raises(HostError, match=missing):
                container.connect("unkept-outer")
        else:
            assert [line.startswith(missing) for line in container.connect("unkept-outer")] == [True] * is_lacking
            assert any(line.startswith(missing) for line in container.foreseen()) == is_lacking
        container.remove()
    container = engine.create("toolbox", "true", network="unkept-outer")
    assert container.connect("unkept-inner") == ()
    container.remove()
    for name in ("unkept-inner", "unkept-outer"):
        engine.remove_network(name)


def test_a_user_that_is_not_mapped_is_told_what_is(engine: Engine, host: Host) -> None:
    """The ranges of ids that there are, or that there is root alone."""
    if not host.identity.userns and userns.refusal(engine.store.root):
        pytest.skip("needs user namespaces, or id-mapped mounts")
    words: RunOptions = {"user": "4000000000", "network": "none"}
    if host.has_single_id:
        words["security_opt"] = ["identity=off"]
    elif not host.identity.userns:
        words["userns"] = "auto"
    wanted = "maps root only" if host.has_single_id else "its user namespace maps the ids 0 to 65535"
    if not host.has_single_id and not host.identity.holds(65535, 65535):
        pytest.skip("needs a range of 65536 ids")
    with pytest.raises(LaunchError, match=f"user 4000000000:0 cannot be taken on: .*{wanted}"):
        engine.run("toolbox", "true", **words)
    if not host.identity.userns:
        with pytest.raises(LaunchError, match="maps the ids 0 to 499; take one of these"):
            engine.run("toolbox", "true", user="5:500", network="none", userns="auto:size=500")
