"""In which packages two images differ: by the databases of dpkg, apk and rpm, and by the names of Python's and conda's records.

Where a database lies in an image the layer indexes say, and whether it changed at all; only then is that one file read, out of the
layer that holds it. Python's and conda's records have name and version in their names, so none of them is read.

Sources: dpkg(1), deb822(5); apk's installed database, which has a letter for each field; the recorded form of an installed
distribution, packaging.python.org.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import NBContainersError
from ..oci.image import Image
from ..results import PackageChange, PackageChangeKind, Packaging
from ..store import unpacked
from ..store.entries import Index
from . import rpm
from .tree import FILE, HARDLINK, WHITEOUT, Tree
from .versions import later

if TYPE_CHECKING:
    from ..store.store import Store

_LIMIT = 128 << 20  # bytes of a database: that of 5,000 rpm packages has 100 MB
_DPKG_PARTS = "/var/lib/dpkg/status.d/"  # a file for each package, as in images that have no dpkg
_DPKG = "/var/lib/dpkg/status"
_APK = ("/lib/apk/db/installed", "/usr/lib/apk/db/installed")
_RPM = ("/var/lib/rpm/", "/usr/lib/sysimage/rpm/", "/usr/share/rpm/")
_RPM_UNREAD = {"Packages": "Berkeley DB", "Packages.db": "ndb"}

_RECORD = re.compile(
    r"(?P<where>.*)/(?:(?P<name>[^/-]+)-(?P<version>[^/-]+)(?:\.dist-info/METADATA|(?:-py[\d.]+)?(?:-[^/]+)?\.egg-info(?:/PKG-INFO)?)"
    r"|conda-meta/(?P<package>[^/]+)-(?P<of>[^/-]+)-[^/-]+\.json)"
)
_RECORD_ENDS = (".dist-info/METADATA", ".egg-info/PKG-INFO", ".egg-info", ".json")


@dataclass(frozen=True, slots=True)
class Package:
    """One installed package, as it is told from others: by all but its version."""

    packaging: Packaging
    name: str
    architecture: str = ""
    where: str = ""


Found = dict[Package, set[str]]
"""The versions of each package: rpm can have several of one."""


@dataclass(slots=True)
class Side:
    """An image, its layers' indexes from the base up, its tree, and what is found of its packages."""

    store: Store
    image: Image
    layers: Sequence[Index]
    tree: Tree
    found: Found
    unread: list[str]
    unpacked: bool = False

    def content(self, path: str) -> bytes:
        """The content of a file of the tree, out of the topmost layer that has it; nothing where there is no such file."""
        record = self.tree.records.get(path)
        if record is None or record[0] not in (FILE, HARDLINK):
            return b""
        number = max(number for number, layer in enumerate(self.layers) if _holds(layer, path))
        chain = self.image.chain_ids[number]
        if not self.unpacked:  # an index is trusted after the machine has stopped, the files beside it not always
            self.store.snapshots.unpack(self.image)
            self.unpacked = True
        try:
            return unpacked.content(self.store.root, chain, path, limit=_LIMIT)
        except PermissionError:
            return self.store.worker.content(chain, path, limit=_LIMIT)

    def note(self, packages: Iterable[tuple[Package, str]]) -> None:
        """Add packages with their versions."""
        for package, version in packages:
            self.found.setdefault(package, set()).add(version)


def package_changes(before: Side, after: Side, changed: Collection[str]) -> tuple[PackageChange, ...]:
    """The packages that differ, by packaging and name; ``changed`` are the paths whose records do.

    What could not be read is said in ``unread`` of the sides.
    """
    for side in (before, after):
        for path, read in _databases(changed):
            if path in side.tree.records:
                _note(side, path, read)
        side.note(_records(path for path in changed if path.endswith(_RECORD_ENDS) and path in side.tree.records))
    return tuple(sorted(_differences(before.found, after.found), key=lambda one: (one.packaging, one.name, one.where)))


Reader = Callable[[Side, str], Iterable[tuple[Package, str]]]


def _databases(changed: Collection[str]) -> Iterator[tuple[str, Reader]]:
    """The databases that changed, with what reads each."""
    known: dict[str, Reader] = {_DPKG: _dpkg, **dict.fromkeys(_APK, _apk)}
    known |= {f"{folder}rpmdb.sqlite": _rpm for folder in _RPM}
    known |= {f"{folder}{name}": _unreadable for folder in _RPM for name in _RPM_UNREAD}
    known |= {path: _dpkg for path in changed if path.startswith(_DPKG_PARTS) and not path.endswith(".md5sums")}
    # SQLite may have written to the log beside a database only
    return ((path, read) for path, read in known.items() if path in changed or f"{path}-wal" in changed)


def _note(side: Side, path: str, read: Reader) -> None:
    try:
        side.note(list(read(side, path)))
    except (NBContainersError, OSError, ValueError) as error:
        why = error.message if isinstance(error, NBContainersError) else str(error)
        side.unread.append(f"the packages of {side.image.name} in {path} could not be read: {why}")


def _unreadable(side: Side, path: str) -> Iterable[tuple[Package, str]]:
    kind = _RPM_UNREAD[path.rpartition("/")[2]]
    raise ValueError(f"it is an rpm database of the kind {kind}, and only those of SQLite are read")


def _dpkg(side: Side, path: str) -> Iterator[tuple[Package, str]]:
    for stanza in side.content(path).decode(errors="replace").split("\n\n"):
        fields = dict(_fields(stanza))
        if fields.get("Status", "install ok installed").endswith(" installed") and fields.keys() >= {
            "Package",
            "Version",
        }:
            yield Package("dpkg", fields["Package"], fields.get("Architecture", "")), fields["Version"]


def _fields(stanza: str) -> Iterator[tuple[str, str]]:
    for line in stanza.split("\n"):
        name, colon, value = line.partition(": ")
        if colon and name in ("Package", "Status", "Version", "Architecture"):
            yield name, value.strip()


def _apk(side: Side, path: str) -> Iterator[tuple[Package, str]]:
    for stanza in side.content(path).decode(errors="replace").split("\n\n"):
        fields = {line[0]: line[2:] for line in stanza.split("\n") if line[1:2] == ":" and line[0] in "PVA"}
        if fields.keys() >= {"P", "V"}:
            yield Package("apk", fields["P"], fields.get("A", "")), fields["V"]


def _rpm(side: Side, path: str) -> Iterator[tuple[Package, str]]:
    for name, version, architecture in rpm.packages(side.content(path), side.content(f"{path}-wal")):
        yield Package("rpm", name, architecture), version


def _records(paths: Iterable[str]) -> Iterator[tuple[Package, str]]:
    """The distributions that Python's and conda's records name; what a package carries in a folder of its own is not installed."""
    for path in paths:
        match = _RECORD.fullmatch(path)
        if match is None or "/_vendor/" in path:
            continue
        if match["package"]:
            yield Package("conda", match["package"], where=match["where"]), match["of"]
        else:
            name = re.sub(r"[-_.]+", "-", match["name"]).lower()  # as PEP 503 has it: two writings are one distribution
            yield Package("python", name, where=match["where"]), match["version"].replace("_", "-")


def _differences(before: Found, after: Found) -> Iterator[PackageChange]:
    names = _names((before, after))
    for package in before.keys() | after.keys():
        old, new = before.get(package, set()), after.get(package, set())
        gone, come = sorted(old - new), sorted(new - old)
        name = names[package]
        if len(gone) == len(come) == 1:
            up = later(package.packaging, come[0], gone[0]) or not later(package.packaging, gone[0], come[0])
            yield _change("upgraded" if up else "downgraded", package, name, gone[0], come[0])
            continue
        for version in gone:
            yield _change("deleted", package, name, version, None)
        for version in come:
            yield _change("added", package, name, None, version)


def _change(
    kind: PackageChangeKind, package: Package, name: str, before: str | None, after: str | None
) -> PackageChange:
    return PackageChange(
        kind=kind, packaging=package.packaging, name=name, before=before, after=after, where=package.where
    )


def _names(sides: Sequence[Found]) -> Mapping[Package, str]:
    """What to call each package: with its architecture where there are several of one name."""
    architectures: dict[tuple[Packaging, str, str], set[str]] = defaultdict(set)
    for package in (package for found in sides for package in found):
        architectures[package.packaging, package.name, package.where].add(package.architecture)
    return {
        package: f"{package.name}:{package.architecture}"
        if len(architectures[package.packaging, package.name, package.where]) > 1
        else package.name
        for found in sides
        for package in found
    }


def _holds(layer: Index, path: str) -> bool:
    place = -1
    while True:
        try:
            place = layer.paths.index(path, place + 1)
        except ValueError:
            return False
        if layer.records[place][0] != WHITEOUT:
            return True
