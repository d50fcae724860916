"""Root that has not all that root has: the best tier that works is found by trying, and what is missing is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import suite
from tests.engine.networked import GET, HOST, WORLD, host_of_our_own

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can have less than root has")


def without(capabilities: str, store: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a root that can never have these capabilities, with more variables."""
    command = ["setpriv", f"--bounding-set={capabilities}", sys.executable, "-m", "nbcontainers", *words]
    known = {name: value for name, value in os.environ.items() if name != "NBCONTAINERS_TIER"}
    environment = {**known, "NBCONTAINERS_ROOT": str(store), **more}
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("capabilities", "tier", "lacks"),
    [
        ("-sys_admin", "T1", "CAP_SYS_ADMIN"),
        ("-sys_admin,-setuid,-setgid", "T2", "CAP_SYS_ADMIN or CAP_SETUID or CAP_SETGID"),
        ("-sys_ptrace", "T1", "CAP_SYS_PTRACE"),
        ("-kill,-chown,-sys_chroot", "T1", "CAP_CHOWN or CAP_KILL or CAP_SYS_CHROOT"),
    ],
)
def test_a_user_namespace_takes_its_place(capabilities: str, tier: str, lacks: str, tmp_path: Path) -> None:
    """With a range of ids where root may map one, else with one id; networks and limits are there as far as they can be. Containers
    of other users are entered, and ended.
    """
    report = without(capabilities, tmp_path / "store", "doctor")
    assert report.stdout.startswith(f"tier {tier}: "), report.stdout + report.stderr
    assert f"root has no {lacks} here" in " ".join(report.stdout.split())
    script = "touch /x; chown 33:34 /x; stat -c %u /x; id -u; grep -c . /proc/net/dev; cat /etc/hosts | tail -1"
    done = without(capabilities, tmp_path / "store", "run", "--rm", "-m", "64m", "toolbox", "sh", "-ec", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == ["33", "0"]
    assert without(capabilities, tmp_path / "store", "run", "--rm", "--strict", "toolbox", "true").returncode == 0
    words = ("run", "-d", "--name", "other", "-u", "33", "toolbox", "sleep", "600")
    assert without(capabilities, tmp_path / "store", *words).returncode == 0
    assert without(capabilities, tmp_path / "store", "exec", "other", "id", "-u").stdout == "33\n"
    assert without(capabilities, tmp_path / "store", "rm", "-f", "other").returncode == 0


def test_the_suite_holds_in_that_user_namespace(tmp_path: Path) -> None:
    """What holds for an ordinary user with a range of ids holds for root without CAP_SYS_ADMIN, whose ids are the host's root's."""
    suite.require(suite.run(tmp_path / "tests", "setpriv", "--bounding-set=-sys_admin"))


@pytest.mark.parametrize("program", ["pasta", "slirp4netns"])
def test_a_program_leads_its_networks_to_the_world(program: str, tmp_path: Path) -> None:
    """Either of them, as for an ordinary user: a server beyond the host is reached, by the host's address."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("needs /dev/net/tun")
    tools = tmp_path / "tools"  # among which the other one is not to be found
    tools.mkdir()
    (tools / program).symlink_to(path)
    (tools / "setpriv").symlink_to(shutil.which("setpriv") or "")
    assert without("-sys_admin", tmp_path / "store", "toolbox").returncode == 0
    words = ("run", "--rm", "--network", "bridge", "toolbox", "python3", "-c", GET.format(WORLD))
    with host_of_our_own(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tools))
        report = without("-sys_admin", tmp_path / "store", "doctor")
        assert f"by {program}" in report.stdout
        done = without("-sys_admin", tmp_path / "store", *words)
    assert (done.returncode, done.stdout) == (0, f"{HOST}\n"), done.stderr


def test_root_that_may_not_set_up_networks(tmp_path: Path) -> None:
    """Containers start all the same, with a loopback interface that stays down, which is said."""
    report = without("-net_admin", tmp_path / "store", "doctor")
    assert report.stdout.startswith("tier T0: "), report.stdout + report.stderr
    assert "loopback: down in networks of their own" in " ".join(report.stdout.split())
    words = ("run", "--rm", "--network", "none", "toolbox", "cat", "/sys/class/net/lo/operstate")
    done = without("-net_admin", tmp_path / "store", *words)
    assert (done.returncode, done.stdout) == (0, "down\n"), done.stderr
    words = ("run", "--rm", "--network", "none", "--sysctl", "net.ipv4.ip_forward=1", "toolbox", "true")
    assert "such as CAP_NET_ADMIN" in without("-net_admin", tmp_path / "store", *words).stderr


def test_without_any_capability_it_is_said(tmp_path: Path) -> None:
    """Then not even a user namespace can be had: the kernel wants CAP_SETFCAP to map root (user_namespaces(7))."""
    tools = tmp_path / "tools"  # among which there is no PRoot
    tools.mkdir()
    (tools / "setpriv").symlink_to(shutil.which("setpriv") or "")
    words = ("run", "--rm", "--network", "none", "toolbox", "true")
    done = without("-all", tmp_path / "store", *words, PATH=str(tools))
    assert done.returncode == 125
    said = " ".join(done.stderr.split())
    assert "containers cannot run on this host, tier T4: root has no CAP_SYS_ADMIN or CAP_SYS_PTRACE or" in said
    assert "CAP_SYS_CHROOT here, and no user namespace of its own" in said
    assert "images, layers and diffs work here" in said
