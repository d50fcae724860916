from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from nbcontainers.analysis import rpm
from nbcontainers.analysis.difference import image_diff
from nbcontainers.oci.image import Image
from nbcontainers.store.store import Store
from tests.analysis.archives import Content, Link, image

STATUS = """Package: {name}
Status: install ok {status}
Architecture: {architecture}
Version: {version}
Description: what it is
 Package: not this
"""


def dpkg(*packages: tuple[str, str], architecture: str = "amd64", status: str = "installed") -> bytes:
    stanzas = [
        STATUS.format(name=name, version=version, architecture=architecture, status=status)
        for name, version in packages
    ]
    return "\n".join(stanzas).encode()


def told(store: Store, before: Image, after: Image) -> list[str]:
    """The packages that differ: ``dpkg bash: 1 > 2``."""
    signs = {"added": "+", "deleted": "-", "upgraded": ">", "downgraded": "<"}
    return [
        f"{one.packaging} {one.name} {one.before or ''}{signs[one.kind]}{one.after or ''}{one.where and ' in ' + one.where}"
        for one in image_diff(store, before, after).packages
    ]


def test_debian_packages_are_compared(store: Store) -> None:
    """Added, removed, upgraded and downgraded, from one file; one that was removed but for its settings is not installed."""
    base = dpkg(("bash", "5.2-1"), ("sed", "4.9"), ("tar", "1.34"), ("zlib", "1:1.2"))
    above = dpkg(("bash", "5.2-2"), ("sed", "4.8"), ("zlib", "1:1.2"), ("curl", "7.88"))
    above += b"\n" + dpkg(("gone", "1"), status="deinstall ok config-files".removeprefix("install ok "))
    before = image(store, {"var/lib/dpkg/status": base, "bin/bash": 3})
    after = image(store, {"var/lib/dpkg/status": base, "bin/bash": 3}, {"var/lib/dpkg/status": above})
    assert told(store, before, after) == [
        "dpkg bash 5.2-1>5.2-2",
        "dpkg curl +7.88",
        "dpkg sed 4.9<4.8",
        "dpkg tar 1.34-",
    ]
    assert told(store, after, before)[0] == "dpkg bash 5.2-2<5.2-1"
    assert told(store, before, before) == []


def test_packages_of_several_architectures_are_told_apart(store: Store) -> None:
    """They get their architecture's name as well; others do not."""
    before = image(store, {"var/lib/dpkg/status": dpkg(("libc6", "2.36"), ("sed", "1"))})
    both = dpkg(("libc6", "2.37"), ("sed", "2")) + b"\n" + dpkg(("libc6", "2.37"), architecture="i386")
    assert told(store, before, image(store, {"var/lib/dpkg/status": both})) == [
        "dpkg libc6:amd64 2.36>2.37",
        "dpkg libc6:i386 +2.37",
        "dpkg sed 1>2",
    ]


def test_images_without_dpkg_have_a_file_for_each_package(store: Store) -> None:
    """As distroless images do."""
    parts = "var/lib/dpkg/status.d"
    before = image(
        store, {f"{parts}/base": b"Package: base\nVersion: 1\n", f"{parts}/tz": b"Package: tz\nVersion: 1\n"}
    )
    after = image(store, {f"{parts}/base": b"Package: base\nVersion: 2\n", f"{parts}/base.md5sums": b"x"})
    assert told(store, before, after) == ["dpkg base 1>2", "dpkg tz 1-"]


def test_alpine_packages_are_compared_wherever_their_database_lies(store: Store) -> None:
    """It has moved from /lib to /usr/lib; what is installed in both is no difference."""
    before = image(
        store, {"lib/apk/db/installed": b"C:Q1\nP:musl\nV:1.2.4-r2\nA:x86_64\n\nP:zlib\nV:1-r0\nA:x86_64\n\n"}
    )
    after = image(
        store,
        {"usr/lib/apk/db/installed": b"P:musl\nV:1.2.5-r0\nA:x86_64\nF:lib\nR:ld.so\n\nP:zlib\nV:1-r0\nA:x86_64\n\n"},
    )
    assert told(store, before, after) == ["apk musl 1.2.4-r2>1.2.5-r0"]


def test_python_distributions_are_told_by_their_records(store: Store) -> None:
    """Of every environment, wheels and eggs; two writings are one name, and what a package carries along is not installed."""
    debian, venv = "usr/lib/python3/dist-packages", "srv/venv/lib/python3.11/site-packages"
    before = image(
        store,
        {
            f"{venv}/Flask_Login-1.0.dist-info/METADATA": 1,
            f"{venv}/gone-2.dist-info/METADATA": 1,
            f"{venv}/same-2.dist-info/METADATA": b"x",
            f"{debian}/six-1.16.0.egg-info": 10,
            f"{venv}/pip/_vendor/urllib3-1.dist-info/METADATA": 1,
        },
    )
    after = image(
        store,
        {
            f"{venv}/flask_login-1.1rc1.dist-info/METADATA": 1,
            f"{venv}/same-2.dist-info/METADATA": b"y",
            f"{debian}/six-1.17.0.egg-info/PKG-INFO": 10,
            f"{debian}/ext-3-py3.11-linux-x86_64.egg-info/PKG-INFO": 10,
            "opt/conda/conda-meta/numpy-base-2.1.0-py311h1_0.json": 10,
            f"{venv}/pip/_vendor/urllib3-2.dist-info/METADATA": 1,
        },
    )
    assert told(store, before, after) == [
        "conda numpy-base +2.1.0 in /opt/conda",
        f"python ext +3 in /{debian}",
        f"python flask-login 1.0>1.1rc1 in /{venv}",
        f"python gone 2- in /{venv}",
        f"python six 1.16.0>1.17.0 in /{debian}",
    ]


def test_a_database_is_read_from_the_layer_that_has_it(store: Store) -> None:
    """The topmost one, also where it is a further name of a file, or was removed and made anew; a removed one has no packages."""
    old, new = dpkg(("sed", "1")), dpkg(("sed", "2"))
    before = image(store, {"var/lib/dpkg/status": old})
    linked = {"var/lib/dpkg/status-new": new, "var/lib/dpkg/status": Link("var/lib/dpkg/status-new", hard=True)}
    again = {"var/lib/dpkg/.wh.status": 0, "var/lib/dpkg/status": new}
    layers: tuple[dict[str, Content], ...]
    for layers in ({"var/lib/dpkg/status": old}, linked), ({"var/lib/dpkg/status": old}, again), (again, {"other": 1}):
        assert told(store, before, image(store, *layers)) == ["dpkg sed 1>2"]
    assert told(store, before, image(store, {"var/lib/dpkg/status": old}, {"var/lib/.wh.dpkg": 0})) == ["dpkg sed 1-"]


def test_a_database_that_is_none_is_said_to_be_unread(store: Store) -> None:
    """A link, other kinds of rpm database and damaged ones: the rest of the answer is there."""
    before = image(store, {"bin/sh": 1})
    after = image(
        store,
        {
            "var/lib/rpm/Packages": 4096,
            "var/lib/rpm/rpmdb.sqlite": b"SQLite format 3\0" + bytes(4000),
            "usr/lib/sysimage/rpm/Packages.db": 1,
            "var/lib/dpkg/status": Link("/etc/shadow"),
            "lib/apk/db/installed": b"P:musl\nV:1\n",
        },
    )
    found = image_diff(store, before, after)
    assert [one.name for one in found.packages] == ["musl"]
    assert len(found.unread) == 3
    assert "/var/lib/rpm/Packages could not be read: it is an rpm database of the kind Berkeley DB" in found.unread[1]
    assert all(after.name in sentence for sentence in found.unread)


def test_only_a_database_that_changed_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The indexes say whether it did."""
    base: dict[str, Content] = {"var/lib/dpkg/status": dpkg(("sed", "1"))}
    one, two = image(store, base, {"x": 1}), image(store, base | {"y": 1}, {"x": 2})
    monkeypatch.setattr("nbcontainers.store.unpacked.content", None)
    assert image_diff(store, one, two).packages == ()


def test_a_database_that_nobody_may_read_is_read(store: Store) -> None:
    """The containers' root may: the worker reads it where this process cannot."""
    before, after = (image(store, {"var/lib/dpkg/status": dpkg(("sed", version))}) for version in "12")
    image_diff(store, before, after)
    for chain in (*before.chain_ids, *after.chain_ids):
        (store.root / "layers" / chain.hex / "fs/var/lib/dpkg/status").chmod(0)
    assert image_diff(store, before, after).unread == ()
    assert told(store, before, after) == ["dpkg sed 1>2"]


SPEC = """
Name: {name}
Version: {version}
Release: {release}
Epoch: {epoch}
Summary: a package
License: none
BuildArch: noarch
%description
nothing
%files
"""


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two folders of rpm: with ``tool`` and ``other``, and with a later ``tool``."""
    if not shutil.which("rpmbuild"):
        pytest.skip("needs rpm: apt-get install rpm")
    work = tmp_path_factory.mktemp("rpm")

    def install(folder: Path, name: str, version: str, release: str, epoch: int) -> None:
        spec = work / f"{name}-{version}.spec"
        spec.write_text(SPEC.format(name=name, version=version, release=release, epoch=epoch))
        own = ["--define", f"_topdir {work}", "--define", "_db_backend sqlite", "--dbpath", str(folder)]
        subprocess.run(
            ["rpmbuild", "-bb", *own[:2], spec], check=True, capture_output=True, env={**os.environ, "HOME": str(work)}
        )
        built = work / "RPMS/noarch" / f"{name}-{version}-{release}.noarch.rpm"
        subprocess.run(
            ["rpm", *own, "-U", "--justdb", "--nodeps", "--noscripts", built], check=True, capture_output=True
        )

    before, after = work / "before", work / "after"
    install(before, "tool", "1.0", "9.fc40", 0)
    install(before, "other", "2.5", "1", 3)
    shutil.copytree(before, after)
    install(after, "tool", "1.0", "10.fc40", 0)
    return before, after


@pytest.mark.peer("rpm")
def test_rpm_packages_are_those_that_rpm_lists(databases: tuple[Path, Path], store: Store) -> None:
    """Name, epoch, version, release and architecture, from a database that rpm itself wrote."""
    for folder in databases:
        words = ["rpm", "--dbpath", folder, "-qa", "--queryformat", "%{NAME} %{EPOCH}:%{VERSION}-%{RELEASE} %{ARCH}\n"]
        listed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        log = folder / "rpmdb.sqlite-wal"
        found = rpm.packages((folder / "rpmdb.sqlite").read_bytes(), log.read_bytes() if log.exists() else b"")
        assert sorted(listed.replace(" 0:", " ").splitlines()) == sorted(" ".join(row) for row in found)

    def made(folder: Path) -> Image:
        return image(
            store, {f"var/lib/rpm/{path.name}": path.read_bytes() for path in folder.iterdir() if path.is_file()}
        )

    assert told(store, made(databases[0]), made(databases[1])) == ["rpm tool 1.0-9.fc40>1.0-10.fc40"]


@pytest.mark.parametrize(
    "schema",
    [
        "CREATE VIEW Packages AS WITH RECURSIVE n(blob) AS (SELECT 1 UNION ALL SELECT blob + 1 FROM n) SELECT blob FROM n",
        "CREATE TABLE Packages (hnum INTEGER, blob BLOB); INSERT INTO Packages VALUES (1, x'ffffffff00000000')",
        "CREATE TABLE Packages (hnum INTEGER, blob BLOB); INSERT INTO Packages VALUES (1, 'text')",
        "CREATE TABLE Packages (hnum INTEGER)",
        "CREATE TABLE other (x)",
    ],
)
def test_a_hostile_rpm_database_is_refused(schema: str, tmp_path: Path) -> None:
    """At once, whatever its schema says."""
    made = sqlite3.connect(tmp_path / "db")
    made.executescript(schema)
    made.close()
    with pytest.raises(ValueError, match="not an rpm database"):
        list(rpm.packages((tmp_path / "db").read_bytes()))
