"""What is found in images: their layers, and in what two of them differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..oci.descriptor import Digest
from .files import ChangeKind, Entry

PackageChangeKind = Literal["added", "deleted", "upgraded", "downgraded"]
Packaging = Literal["dpkg", "apk", "rpm", "python", "conda"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of a stack: the instruction that made it and what it did to the files below it.

    ``size`` is what its files hold; ``stored_size`` is the compressed blob. An instruction that made no layer has ``digest``
    and ``diff_id`` None and counts nothing. ``largest`` holds its biggest files, largest first. ``wasted`` are the bytes of
    it that later layers replace or remove. ``shared_with`` are the names of the other images in the store that have the same blob.
    """

    instruction: str
    digest: Digest | None
    diff_id: Digest | None
    size: int = 0
    stored_size: int = 0
    added: int = 0
    modified: int = 0
    deleted: int = 0
    wasted: int = 0
    largest: tuple[Entry, ...] = ()
    shared_with: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerStack:
    """The layers of an image from the base up; ``efficiency`` from 0 to 1 as dive defines it."""

    name: str
    id: Digest
    platform: str
    layers: tuple[Layer, ...]
    size: int
    stored_size: int
    wasted: int
    efficiency: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A path that differs between two images; the side where it is not there is None. ``what`` names the fields that differ."""

    kind: ChangeKind
    path: str
    before: Entry | None
    after: Entry | None
    what: tuple[str, ...] = ()

    @property
    def growth(self) -> int:
        """Bytes that the second image has more."""
        return (self.after.size if self.after else 0) - (self.before.size if self.before else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingChange:
    """A key of the configuration (``Env.PATH``, ``Cmd`` …) that differs; the side where it is not set is None."""

    key: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageChange:
    """A package that differs between two images, with its versions; the side where it is not installed is None.

    ``where`` is the folder of a Python or conda environment, for there may be several; elsewhere it is empty.
    """

    kind: PackageChangeKind
    packaging: Packaging
    name: str
    before: str | None
    after: str | None
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDiff:
    """Everything in which image ``after`` differs from image ``before``: files sorted by path, settings by key, packages by name.

    ``unread`` says in plain words which package data were found and could not be read.
    """

    before: str
    after: str
    files: tuple[FileChange, ...]
    settings: tuple[SettingChange, ...]
    shared_layers: int
    packages: tuple[PackageChange, ...] = ()
    unread: tuple[str, ...] = ()

    def count(self, kind: ChangeKind) -> int:
        """How many files were added, modified or deleted."""
        return sum(1 for change in self.files if change.kind == kind)
