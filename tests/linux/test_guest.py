"""Cgroup v2 alone, with every controller: on a real kernel in a guest, since hosts for tests have hybrids of v1 and v2."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

import pytest

from . import guest

ROOT = Path(__file__).parents[2]
PACKAGES = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "py")


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="root runs it, once")
def test_cgroup_v2_holds_its_limits(tmp_path: Path) -> None:
    """The tests of cgroups, of counters and of device rules, in a machine that has nothing but v2."""
    if lacking := guest.missing():
        pytest.skip(f"no guest without {lacking}")
    folders = {"nbcontainers": ROOT / "nbcontainers", "tests/linux": ROOT / "tests/linux"}
    folders["tests/runtime/test_device_rules.py"] = ROOT / "tests/runtime/test_device_rules.py"
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
    ]
    code, said = guest.run([guest.PYTHON, *words], folders, tmp_path, timeout=600)
    assert code == 0, said[-6000:]
    assert re.search(r"(\d+) passed", said), said[-2000:]
    lacking = re.findall(r"needs cgroup controllers that we may use: (.*)", said)
    assert lacking == [], said[-2000:]
    skipped = re.findall(r"SKIPPED .*(?:device|busybox).*", said)
    assert skipped == [], said[-2000:]
