"""What names a blob: media types, digests, platforms and descriptors, as the OCI image specification 1.1 writes them."""

from __future__ import annotations

import hashlib
import platform as _platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import IntegrityError

Json = Mapping[str, Any]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"

MANIFESTS = frozenset({MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({INDEX, DOCKER_INDEX})

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_MACHINES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
}


class Digest(str):
    """A digest, ``algorithm:hex``, validated when it is made.

    Source: OCI image spec, "Digests".
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Digest:
        """Check the text: IntegrityError if it is no digest of a registered algorithm."""
        if not _DIGEST.fullmatch(text):
            raise IntegrityError(f"not a digest: {text!r}", hint="a digest reads sha256: and 64 hexadecimal digits")
        return super().__new__(cls, text)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """The sha256 digest of some bytes."""
        return cls("sha256:" + hashlib.sha256(data).hexdigest())

    @property
    def algorithm(self) -> str:
        """``sha256`` or ``sha512``."""
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        """The hexadecimal digits, 64 or 128 of them."""
        return self.partition(":")[2]

    @property
    def short(self) -> str:
        """The twelve digits that people read."""
        return self.hex[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A platform: operating system and processor in Go's words: linux, amd64, arm64 and so on."""

    os: str = "linux"
    architecture: str
    variant: str = ""

    @classmethod
    def host(cls) -> Platform:
        """The platform of this machine."""
        machine = _platform.machine()
        return cls(architecture=_MACHINES.get(machine, machine))

    @classmethod
    def from_json(cls, data: Json) -> Platform:
        """Read ``os``, ``architecture`` and ``variant``; other keys are let be."""
        return cls(
            os=string(data.get("os")),
            architecture=string(data.get("architecture")),
            variant=string(data.get("variant")),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, without empty keys."""
        return sparse({"architecture": self.architecture, "os": self.os, "variant": self.variant})

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What a blob is, by type, digest and size in bytes. Source: OCI image spec, "OCI Content Descriptors"."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    platform: Platform | None = None
    artifact_type: str = ""

    @classmethod
    def from_json(cls, data: Json) -> Descriptor:
        """Read a descriptor: IntegrityError if a key is missing or of a wrong type."""
        try:
            size = data["size"]
            if not isinstance(size, int) or isinstance(size, bool) or size < 0:
                raise IntegrityError(f"descriptor with size {size!r}", hint="a size is a whole number of bytes")
            return cls(
                media_type=string(data["mediaType"]),
                digest=Digest(data["digest"]),
                size=size,
                annotations=string_map(data.get("annotations")),
                platform=Platform.from_json(data["platform"]) if data.get("platform") else None,
                artifact_type=string(data.get("artifactType")),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(
                f"not a descriptor: {error}", hint="a descriptor has mediaType, digest and size"
            ) from error

    def to_json(self) -> dict[str, Any]:
        """The JSON object, without empty keys."""
        known: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.annotations:
            known["annotations"] = dict(self.annotations)
        if self.platform:
            known["platform"] = self.platform.to_json()
        if self.artifact_type:
            known["artifactType"] = self.artifact_type
        return known


def sparse(values: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that have a value: the specifications leave empty ones out."""
    return {key: value for key, value in values.items() if value}


def string(value: object) -> str:
    """A string of a document, empty for null: TypeError for anything else."""
    if value is None or isinstance(value, str):
        return value or ""
    raise TypeError(f"{value!r:.40} is not a string")


def strings(value: object) -> tuple[str, ...]:
    """A list of strings of a document, or the keys of an object, empty for null: TypeError for anything else."""
    if value is None or (isinstance(value, list | dict) and all(isinstance(item, str) for item in value)):
        return tuple(value or ())
    raise TypeError(f"{value!r:.40} is not a list of strings")


def string_map(value: object) -> dict[str, str]:
    """An object of a document whose values are strings, empty for null: TypeError for anything else."""
    if value is None or (isinstance(value, dict) and all(isinstance(item, str) for item in value.values())):
        return dict(value or {})
    raise TypeError(f"{value!r:.40} is not an object of strings")


def number(value: object) -> int:
    """A whole number of a document, 0 for null: TypeError for anything else."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value or 0
    raise TypeError(f"{value!r:.40} is not a whole number")
