"""Device rules as a program for cgroup v2: what it lets through is what cgroup v1 lets through."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from nbcontainers.linux import cgroups, devicefilter, groups, hierarchies, limits
from nbcontainers.oci.resources import DeviceRule, Resources

HOST = hierarchies.detect()
NONE = (DeviceRule(allow=False),)
# Opens that need nothing but the right: null, zero, full, kmsg (1:11); reading, writing, both, and making a node.
_TRIES = """
import errno, os, sys, tempfile
for path in sys.argv[1].split(","):
    open(path, "w").write("0")
said = []
with tempfile.TemporaryDirectory() as folder:
    for number, minor in enumerate((3, 5, 7, 11)):
        for how in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
            try:
                os.close(os.open(f"{sys.argv[2]}/{minor}", how | os.O_NONBLOCK)); said.append("y")
            except PermissionError:
                said.append("n")
        try:
            os.mknod(f"{folder}/{number}", 0o20600, os.makedev(1, minor)); said.append("y")
        except PermissionError:
            said.append("n")
        said.append(" ")
print("".join(said).strip())
"""


def rule(text: str) -> DeviceRule:
    """``+c 1:3 rw`` allows, ``-`` denies."""
    kind, numbers, access = text[1:].split()
    major, minor = (None if word == "*" else int(word) for word in numbers.split(":"))
    return DeviceRule(allow=text[0] == "+", type=kind, major=major, minor=minor, access=access)


def tried(directory: str, file: str, nodes: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-S", "-c", _TRIES, f"{directory}/{file}", str(nodes)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.skipif(
    os.geteuid() != 0 or cgroups.UNIFIED not in HOST.parents,
    reason="needs root and a cgroup v2 tree: only there are programs",
)
@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ((), "yyyy yyyy yyyy yyyy"),
        (("-a *:* rwm",), "nnnn nnnn nnnn nnnn"),
        (("-a *:* rwm", "+c 1:3 r"), "ynnn nnnn nnnn nnnn"),
        (("-a *:* rwm", "+c 1:3 r", "+c 1:3 w"), "yyyn nnnn nnnn nnnn"),
        (("-a *:* rwm", "+c *:* m", "+c 1:* rw", "-c 1:* w"), "ynny ynny ynny ynny"),
        (("-a *:* rwm", "+c *:5 rwm"), "nnnn yyyy nnnn nnnn"),
        (("-a *:* rwm", "+b 1:* rwm", "+c 2:* rwm"), "nnnn nnnn nnnn nnnn"),
        (("-c 1:5 w", "-c 1:7 rm"), "yyyy ynny nynn yyyy"),
        (("-c 1:* rwm", "+c 1:3 rwm"), "nnnn nnnn nnnn nnnn"),
        (("-c 1:3 rw", "+c 1:3 r"), "ynny yyyy yyyy yyyy"),
        (("-a *:* rwm", "+c 1:3 rwm", "+a *:* rwm"), "yyyy yyyy yyyy yyyy"),
    ],
)
def test_it_lets_through_what_v1_does(words: Sequence[str], wanted: str, tmp_path: Path) -> None:
    """Each list of rules, tried by real opens in a group with the program; where v1 is there, in one with its controller too."""
    nodes = tmp_path / "nodes"
    nodes.mkdir()
    try:
        for minor in (3, 5, 7, 11):
            os.mknod(nodes / str(minor), stat.S_IFCHR | 0o600, os.makedev(1, minor))
            os.close(os.open(nodes / str(minor), os.O_RDWR | os.O_NONBLOCK))
    except PermissionError:
        pytest.skip("needs a temporary folder where device nodes work, and every right to them")
    rules = [rule(word) for word in words]
    group = f"{HOST.parents[cgroups.UNIFIED]}/nbcontainers-trial-devices-{os.getpid()}"
    os.mkdir(group)
    try:
        devicefilter.attach(group, devicefilter.program(rules))
        assert tried(group, "cgroup.procs", nodes) == wanted
    finally:
        assert groups.remove(group)
    if "devices" not in HOST.parents:
        return
    group = f"{HOST.parents['devices']}/nbcontainers-trial-devices-{os.getpid()}"
    os.mkdir(group)
    try:
        for entry in rules:
            groups.write(f"{group}/devices.{'allow' if entry.allow else 'deny'}", limits.device(entry))
        assert tried(group, "tasks", nodes) == wanted
    finally:
        assert groups.remove(group)


def test_dockers_rules_are_the_same_for_both() -> None:
    """Those that v1 is told are those of the program, and a container's own come after them."""
    own = DeviceRule(allow=True, type="c", major=10, minor=200, access="rw")
    rules = list(limits.device_rules(Resources(devices=(own,))))
    assert rules[0] == DeviceRule(allow=False)
    assert rules[-1] == own
    told = [(f"devices.{'allow' if entry.allow else 'deny'}", limits.device(entry)) for entry in rules]
    assert tuple(told[:-1]) == limits.DEVICES
    code = devicefilter.program(rules)
    assert len(code) % 8 == 0
    assert code.endswith(devicefilter._insn(devicefilter._MOVE, value=0) + devicefilter._insn(devicefilter._EXIT))
