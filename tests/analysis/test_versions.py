from __future__ import annotations

import itertools
import shutil
import subprocess

import pytest

from nbcontainers.analysis.versions import later

DEBIAN = [
    "1.0~rc1",
    "1.0~rc2-1",
    "1.0",
    "1.0-1",
    "1.0-1+deb12u1",
    "1.0-1+deb12u10",
    "1.0a",
    "1.0+git1",
    "1.0.1",
    "1.10",
    "1:0.1",
    "0.9",
]
RPM = ["1.0~rc1-1", "1.0-1", "1.0^git1-1", "1.0a-1", "1.0.1-1", "1.0.1-10.fc40", "1.0.1-9.fc40", "1.10-1", "2-1"]
PYTHON = [
    "1.0.dev1",
    "1.0a1",
    "1.0a2.dev3",
    "1.0b1",
    "1.0rc1",
    "1.0rc2",
    "1.0",
    "1.0.post1",
    "1.0.1",
    "1.10",
    "2024.1",
    "1!0.1",
    "0.9",
]
APK = [
    "1.2_alpha1-r0",
    "1.2_beta1-r0",
    "1.2_rc1-r0",
    "1.2-r0",
    "1.2-r10",
    "1.2_p1-r0",
    "1.2a-r0",
    "1.2.1-r0",
    "1.10-r0",
]


@pytest.mark.skipif(not shutil.which("dpkg"), reason="needs dpkg")
@pytest.mark.peer("dpkg")
def test_debian_versions_are_ordered_as_dpkg_orders_them() -> None:
    """Every pair."""
    for one, other in itertools.combinations(DEBIAN, 2):
        told = subprocess.run(["dpkg", "--compare-versions", one, "gt", other], check=False).returncode == 0
        assert (later("dpkg", one, other), later("dpkg", other, one)) == (told, not told), (one, other)


@pytest.mark.skipif(not shutil.which("rpm"), reason="needs rpm")
@pytest.mark.peer("rpm")
def test_rpm_versions_are_ordered_as_rpm_orders_them() -> None:
    """Every pair, by rpm's own comparison of ``VERSION-RELEASE``."""
    pairs = list(itertools.permutations(RPM, 2))
    lua = "".join(f"print(rpm.vercmp('{one}', '{other}')..' ')" for one, other in pairs)
    told = subprocess.run(
        ["rpm", "--eval", f"%{{lua:{lua}}}"], check=True, capture_output=True, text=True
    ).stdout.split()
    assert [later("rpm", *pair) for pair in pairs] == [word == "1" for word in told]


def test_python_versions_are_ordered_as_pip_orders_them() -> None:
    """Every pair, by PEP 440."""
    versions = pytest.importorskip("packaging.version", reason="needs packaging")
    for one, other in itertools.permutations(PYTHON, 2):
        assert later("python", one, other) is (versions.Version(one) > versions.Version(other)), (one, other)
    assert not later("python", "1.0", "1.0.0")
    assert not later("python", "1.0.0", "1.0")


def test_alpine_versions_are_ordered() -> None:
    """As in apk-package(5): pre-releases before, patches behind, then the build."""
    assert sorted(APK, key=lambda one: sum(later("apk", one, other) for other in APK)) == APK


def test_a_version_may_be_anything() -> None:
    """What an image says is no version need not be one."""
    for packaging in ("dpkg", "rpm", "apk", "python", "conda"):
        for odd in ("", "-", ":", "~", "9" * 10_000, "\udcff", "١", "1:"):
            assert later(packaging, odd, odd) is False
            later(packaging, odd, "1.0")
