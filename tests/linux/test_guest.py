"""Cgroup v2 alone, with every controller: on a real kernel in a guest, since hosts for tests have hybrids of v1 and v2."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.runtime import test_apparmor

from . import guest

ROOT = Path(__file__).parents[2]
PACKAGES = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "py")


def compiled(profile: str, folder: Path) -> Path:
    """An AppArmor profile as the kernel takes it."""
    features = "/etc/apparmor.d/abi/3.0"
    words = ["apparmor_parser", "--skip-kernel-load", "--stdout", "--skip-cache", "--quiet"]
    words += [f"--kernel-features={features}", f"--policy-features={features}"]
    environment = {**os.environ, "PATH": guest.SBIN}
    done = subprocess.run(words, input=profile.encode(), env=environment, capture_output=True, check=True)
    made = folder / "policy"
    made.write_bytes(done.stdout)
    return made


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="root runs it, once")
def test_cgroup_v2_holds_its_limits(tmp_path: Path) -> None:
    """The tests of cgroups, of counters, of device rules, of AppArmor and of processes that wait, in a machine that has nothing but v2."""
    if lacking := guest.missing():
        pytest.skip(f"no guest without {lacking}")
    folders = {"nbcontainers": ROOT / "nbcontainers", "tests/linux": ROOT / "tests/linux"}
    folders["tests/waiting.py"] = ROOT / "tests/waiting.py"
    for name in ("test_device_rules.py", "test_apparmor.py", "test_groups_beforehand.py"):
        folders[f"tests/runtime/{name}"] = ROOT / "tests/runtime" / name
    folders["policy"] = compiled(test_apparmor.TEXT, tmp_path)
    for name in PACKAGES:
        found = importlib.util.find_spec(name)
        assert found is not None
        assert found.origin is not None
        origin = Path(found.origin)
        if origin.name == "__init__.py":
            folders[name] = origin.parent
        else:
            folders[origin.name] = origin
    words = ["-m", "pytest", "-c", "/dev/null", "--rootdir=/guest", "--noconftest", "-p", "no:cacheprovider"]
    words += [
        "--import-mode=importlib",
        "--assert=plain",
        "-q",
        "--color=no",
        "-rs",
        "tests/linux/test_cgroups.py",
        "tests/linux/test_counters.py",
        "tests/linux/test_devicefilter.py",
        "tests/runtime/test_device_rules.py",
        "tests/runtime/test_apparmor.py",
        "tests/runtime/test_groups_beforehand.py",
    ]
    code, said = guest.run([guest.PYTHON, *words], folders, tmp_path, timeout=1800)
    assert code == 0, said[-6000:]
    assert re.search(r"(\d+) passed", said), said[-2000:]
    lacking = re.findall(r"needs cgroup controllers that we may use: (.*)", said)
    assert lacking == [], said[-2000:]
    skipped = re.findall(
        r"SKIPPED .*(?:device|busybox|needs AppArmor|needs root|needs cgroup v2|needs a Python).*", said
    )
    assert skipped == [], said[-2000:]
