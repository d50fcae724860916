"""What a flag that takes protection away really opens, as root and in a user namespace; docs/sandbox.md tells it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nbcontainers.engine import Engine

# Files are opened for writing and never written to.
SCRIPT = """
may() { word=$1; shift; ( "$@" ) >/dev/null 2>&1 && echo $word || true; }
write() { : >> "$1"; }
remounted() { mount -o remount,bind,rw /proc/sys && write /proc/sys/kernel/core_pattern; }
grouped() {
    mkdir -p /tmp/groups
    { mount -t cgroup -o devices none /tmp/groups || mount -t cgroup2 none /tmp/groups; } && write /tmp/groups/cgroup.procs
}
written() {
    for file in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs; do test -w $file && write $file && return; done
    return 1
}
may parameters write /proc/sys/kernel/core_pattern
may sys write /sys/kernel/rcu_expedited
may cgroups written
may devices test -c /dev/kmsg
may mounts mount -t tmpfs none /mnt
may cgroups-mounted grouped
may namespaces unshare -U true
may parameters-remounted remounted
"""
ROOT = {
    "privileged": "parameters sys cgroups devices mounts cgroups-mounted namespaces",
    "SYS_ADMIN": "mounts cgroups-mounted namespaces parameters-remounted",
    "ALL": "mounts cgroups-mounted namespaces parameters-remounted",
    "systempaths": "parameters",
    "seccomp": "namespaces",
    "writable-cgroups": "cgroups",
}
USER = dict.fromkeys(("privileged", "SYS_ADMIN", "ALL"), "mounts namespaces") | {"seccomp": "namespaces"}
FLAGS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "privileged": {"privileged": True},
    "SYS_ADMIN": {"cap_add": ["SYS_ADMIN"]},
    "ALL": {"cap_add": ["ALL"]},
    "systempaths": {"security_opt": ["systempaths=unconfined"]},
    "seccomp": {"security_opt": ["seccomp=unconfined"]},
    "writable-cgroups": {"security_opt": ["writable-cgroups"]},
}


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_gives_away_what_is_told_of_it(engine: Engine, shell: Callable[..., str], flag: str) -> None:
    """No less, or it would not be Docker's, and no more: without flags nothing, and in a user namespace nothing of the host."""
    is_root = engine.host().tier == "T0"
    opened = shell(SCRIPT, network="none", **FLAGS[flag]).split()
    if not is_root and engine._host.hierarchy.parents:  # groups that are this user's are its container's root's, too
        opened = [word for word in opened if not word.startswith("cgroups")]
    assert opened == (ROOT if is_root else USER).get(flag, "").split()


@pytest.mark.parametrize("flag", FLAGS)
def test_ids_of_its_own_keep_the_host_whatever_the_flag(engine: Engine, shell: Callable[..., str], flag: str) -> None:
    """``--userns auto``: what a flag gives ends at the container's own user namespace, also where root starts it."""
    if engine.host().tier != "T0":
        pytest.skip("needs root, which alone has ids that nobody else has")
    assert shell(SCRIPT, network="none", userns="auto", **FLAGS[flag]).split() == USER.get(flag, "").split()
