"""Images as the OCI image specification 1.1 writes them: frozen values, no I/O.

Every value is read with ``from_json`` (from a parsed JSON object) and written with ``to_json``; Docker's schema 2 media
types are understood as their OCI equals.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import IntegrityError
from .descriptor import (
    CONFIG,
    DOCKER_CONFIG,
    INDEX,
    MANIFEST,
    Descriptor,
    Digest,
    Json,
    Platform,
    number,
    sparse,
    string,
    string_map,
    strings,
)
from .reference import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck:
    """How to ask a container whether it is well; times in nanoseconds, as Docker writes them."""

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0

    @classmethod
    def from_json(cls, data: Json) -> Healthcheck:
        """Read Docker's ``Healthcheck`` object."""
        return cls(
            test=strings(data.get("Test")),
            interval=number(data.get("Interval")),
            timeout=number(data.get("Timeout")),
            start_period=number(data.get("StartPeriod")),
            start_interval=number(data.get("StartInterval")),
            retries=number(data.get("Retries")),
        )

    def to_json(self) -> dict[str, Any]:
        """Docker's ``Healthcheck`` object, without empty keys."""
        return sparse(
            {
                "Test": list(self.test),
                "Interval": self.interval,
                "Timeout": self.timeout,
                "StartPeriod": self.start_period,
                "StartInterval": self.start_interval,
                "Retries": self.retries,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerConfig:
    """The ``config`` object of an image: how a container made from it runs unless told otherwise.

    ``entrypoint``, ``cmd`` and ``shell`` are None where the image does not set them (an empty tuple is a value).
    ``args_escaped`` means something on Windows only, but BuildKit sets it with every CMD.
    """

    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    stop_signal: str = ""
    shell: tuple[str, ...] | None = None
    healthcheck: Healthcheck | None = None
    on_build: tuple[str, ...] = ()
    args_escaped: bool = False

    @classmethod
    def from_json(cls, data: Json) -> ContainerConfig:
        """Read the ``config`` object of an image configuration."""
        return cls(
            user=string(data.get("User")),
            exposed_ports=tuple(sorted(strings(data.get("ExposedPorts")))),
            env=strings(data.get("Env")),
            entrypoint=_words(data.get("Entrypoint")),
            cmd=_words(data.get("Cmd")),
            volumes=tuple(sorted(strings(data.get("Volumes")))),
            working_dir=string(data.get("WorkingDir")),
            labels=string_map(data.get("Labels")),
            stop_signal=string(data.get("StopSignal")),
            shell=_words(data.get("Shell")),
            healthcheck=Healthcheck.from_json(data["Healthcheck"]) if data.get("Healthcheck") else None,
            on_build=strings(data.get("OnBuild")),
            args_escaped=bool(data.get("ArgsEscaped", False)),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, without empty keys."""
        written = sparse(
            {
                "User": self.user,
                "ExposedPorts": {port: {} for port in sorted(self.exposed_ports)},
                "Env": list(self.env),
                "Volumes": {path: {} for path in sorted(self.volumes)},
                "WorkingDir": self.working_dir,
                "Labels": dict(sorted(self.labels.items())),
                "StopSignal": self.stop_signal,
                "Healthcheck": self.healthcheck.to_json() if self.healthcheck else None,
                "OnBuild": list(self.on_build),
                "ArgsEscaped": self.args_escaped,
            }
        )
        for key, words in (("Entrypoint", self.entrypoint), ("Cmd", self.cmd), ("Shell", self.shell)):
            if words is not None:
                written[key] = list(words)
        return written


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One line of an image's history: the instruction that made a layer, or (``empty_layer``) only changed the config."""

    created: str = ""
    created_by: str = ""
    comment: str = ""
    empty_layer: bool = False

    @classmethod
    def from_json(cls, data: Json) -> History:
        """Read one entry of ``history``."""
        return cls(
            created=string(data.get("created")),
            created_by=string(data.get("created_by")),
            comment=string(data.get("comment")),
            empty_layer=bool(data.get("empty_layer", False)),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, without empty keys."""
        return sparse(
            {
                "created": self.created,
                "created_by": self.created_by,
                "comment": self.comment,
                "empty_layer": self.empty_layer,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """The image configuration: platform, defaults of a container, diff IDs of the layers from the base up, history.

    ``created`` is RFC 3339 in UTC, or empty. Source: OCI image spec, "OCI Image Configuration".
    """

    platform: Platform
    created: str = ""
    author: str = ""
    config: ContainerConfig = ContainerConfig()
    diff_ids: tuple[Digest, ...] = ()
    history: tuple[History, ...] = ()

    @classmethod
    def from_json(cls, data: Json) -> ImageConfig:
        """Read an image configuration: IntegrityError if it has no layers list or no platform."""
        try:
            return cls(
                platform=Platform.from_json(
                    {"os": data["os"], "architecture": data["architecture"], "variant": data.get("variant", "")}
                ),
                created=string(data.get("created")),
                author=string(data.get("author")),
                config=ContainerConfig.from_json(data.get("config") or {}),
                diff_ids=tuple(Digest(text) for text in strings(data["rootfs"].get("diff_ids"))),
                history=tuple(History.from_json(entry) for entry in data.get("history") or ()),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(
                f"not an image configuration: {error}", hint="it needs os, architecture and rootfs"
            ) from error

    def to_json(self) -> dict[str, Any]:
        """The JSON object; the same value always gives the same bytes."""
        return {
            **sparse({"created": self.created, "author": self.author}),
            **self.platform.to_json(),
            "config": self.config.to_json(),
            "rootfs": {"type": "layers", "diff_ids": [str(digest) for digest in self.diff_ids]},
            "history": [entry.to_json() for entry in self.history],
        }


_LAYERS = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One image for one platform: its configuration and its layers from the base up. Or an artifact, which looks like one."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = MANIFEST
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def from_json(cls, data: Json) -> Manifest:
        """Read a manifest: IntegrityError if it is an index too (CVE-2021-41190) or lacks a part."""
        if "manifests" in data:
            raise IntegrityError(
                "a manifest that is an index as well", hint="such a document can mean two images: it is refused"
            )
        try:
            return cls(
                config=Descriptor.from_json(data["config"]),
                layers=tuple(Descriptor.from_json(layer) for layer in data["layers"]),
                media_type=string(data.get("mediaType")) or MANIFEST,
                artifact_type=string(data.get("artifactType")),
                annotations=string_map(data.get("annotations")),
            )
        except (KeyError, TypeError) as error:
            raise IntegrityError(f"not an image manifest: {error}", hint="it needs config and layers") from error

    def to_json(self) -> dict[str, Any]:
        """The JSON object."""
        written: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": self.config.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
        }
        if self.artifact_type:
            written["artifactType"] = self.artifact_type
        if self.annotations:
            written["annotations"] = dict(self.annotations)
        return written

    @property
    def artifact(self) -> str:
        """The type of what it holds where that is no image: a chart, a signature, an attestation; else nothing.

        Source: OCI image spec 1.1, "Guidelines for Artifact Usage"; BuildKit, docs/attestations/attestation-storage.md, whose
        attestations have an image's configuration, and layers that are none.
        """
        if self.config.media_type not in (CONFIG, DOCKER_CONFIG):
            return self.artifact_type or self.config.media_type
        return next((layer.media_type for layer in self.layers if not layer.media_type.startswith(_LAYERS)), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Several manifests: one per platform, or the contents of an OCI layout."""

    manifests: tuple[Descriptor, ...]
    media_type: str = INDEX
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def from_json(cls, data: Json) -> Index:
        """Read an index: IntegrityError if it is a manifest too, or lists nothing readable."""
        if "layers" in data or "config" in data:
            raise IntegrityError(
                "an index that is a manifest as well", hint="such a document can mean two images: it is refused"
            )
        try:
            return cls(
                manifests=tuple(Descriptor.from_json(entry) for entry in data["manifests"]),
                media_type=string(data.get("mediaType")) or INDEX,
                annotations=string_map(data.get("annotations")),
            )
        except (KeyError, TypeError) as error:
            raise IntegrityError(f"not an image index: {error}", hint="it needs a list of manifests") from error

    def to_json(self) -> dict[str, Any]:
        """The JSON object."""
        written: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "manifests": [entry.to_json() for entry in self.manifests],
        }
        if self.annotations:
            written["annotations"] = dict(self.annotations)
        return written


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image of the store: read only, as every image is; changing one makes another.

    ``descriptor`` is the manifest's; ``reference`` is the tag it was asked for by, None where it was asked for by id.
    """

    reference: Reference | None
    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig

    def __repr__(self) -> str:
        named = f"{self.reference.familiar} ({self.id.short})" if self.reference else self.id.short
        return f"<Image {named}>"

    @property
    def id(self) -> Digest:
        """The digest of the configuration: what Docker calls the image ID."""
        return self.manifest.config.digest

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """The layers as they are stored and moved, from the base up."""
        return self.manifest.layers

    @property
    def chain_ids(self) -> tuple[Digest, ...]:
        """The chain ID of each layer, from the base up: ``chain_ids[-1]`` names the whole file tree."""
        return chain_ids(self.config.diff_ids)

    @property
    def name(self) -> str:
        """The familiar name, or the short ID where it has none."""
        return self.reference.familiar if self.reference else self.id.short

    @property
    def size(self) -> int:
        """Bytes of all layers as they are stored (compressed)."""
        return sum(layer.size for layer in self.layers)


def chain_ids(diff_ids: Sequence[Digest]) -> tuple[Digest, ...]:
    """The chain ID of every prefix of a list of diff IDs. Source: OCI image spec, "Layer ChainID"."""
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(Digest.of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return tuple(chain)


def to_bytes(value: ImageConfig | Manifest | Index) -> bytes:
    """The bytes that stand for a value in a store: compact JSON in UTF-8."""
    return json.dumps(value.to_json(), separators=(",", ":"), ensure_ascii=False).encode()


_HALF = re.compile("[\ud800-\udfff]")  # json joins the pairs that are whole


def parse(data: bytes, what: str) -> dict[str, Any]:
    """Read bytes as one JSON object: IntegrityError names ``what`` it should have been.

    Half of a surrogate pair, which JSON can name and no text can hold, is U+FFFD, as Go reads it.
    """
    try:
        value = json.loads(data)
        if b"\\ud" in data.lower() or b"\xed" in data:
            value = json.loads(_HALF.sub("\ufffd", json.dumps(value, ensure_ascii=False)))
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{what} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise IntegrityError(f"{what} is not a JSON object but {type(value).__name__}")
    return value


def _words(value: object) -> tuple[str, ...] | None:
    return None if value is None else strings(value)
