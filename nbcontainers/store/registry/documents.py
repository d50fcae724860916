"""Manifests and indexes as a registry gives them: nothing that can be read in two ways is taken.

Source: OCI image spec, "Image Manifest" and "Image Index"; CVE-2021-41190.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import IntegrityError
from ...oci.descriptor import DOCKER_INDEX, DOCKER_MANIFEST, INDEX, INDEXES, MANIFEST, MANIFESTS, Descriptor, Digest
from ...oci.image import Index, Manifest

LIMIT = 4 << 20  # bytes; what the distribution spec makes registries take
ACCEPTED = (MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX)
_OLD = frozenset({"fsLayers", "signatures"})


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or an index: what it is called, its bytes, and what they say."""

    descriptor: Descriptor
    data: bytes
    value: Manifest | Index


def read(data: bytes, media_type: str, expected: Digest | None = None) -> Document:
    """Understand a document that was announced as ``media_type``.

    Raises:
        IntegrityError: it is not of the expected digest, is no document, is two at once, or of Docker's first schema.

    """
    digest = Digest.of(data)
    if expected is not None and expected.algorithm == "sha512":
        import hashlib

        digest = Digest("sha512:" + hashlib.sha512(data).hexdigest())
    if expected is not None and digest != expected:
        raise IntegrityError(
            f"the manifest has the digest {digest}, and {expected} was announced",
            expected=expected,
            actual=digest,
            hint="the registry, or something before it, lies: nothing of it was kept",
        )
    fields = _fields(data)
    announced = media_type.partition(";")[0].strip().lower()
    if fields.get("schemaVersion") == 1 or announced.startswith("application/vnd.docker.distribution.manifest.v1"):
        raise IntegrityError(
            "a manifest of Docker's schema 1", hint="it is not used since 2017: let its owner push it again with Docker"
        )
    if fields.get("schemaVersion") != 2 or _OLD & set(fields):
        raise IntegrityError("a manifest that is of two schemas, or of none", hint="schemaVersion must be 2")
    kind = _kind(fields, announced)
    value: Manifest | Index = Index.from_json(fields) if kind in INDEXES else Manifest.from_json(fields)
    return Document(Descriptor(media_type=kind, digest=digest, size=len(data)), data, value)


def _kind(fields: dict[str, Any], announced: str) -> str:
    """The one media type on which the header, the document's own word and its keys agree."""
    own = fields.get("mediaType") or ""
    kinds = {kind for kind in (own, announced) if kind in MANIFESTS | INDEXES}
    if own and own not in MANIFESTS | INDEXES:
        raise IntegrityError(f"a manifest of the type {own!r:.100}", hint="images of OCI and of Docker are known")
    if len(kinds) > 1:
        raise IntegrityError(
            f"a manifest that says it is {own} and was announced as {announced}",
            hint="such a document can mean two images: it is refused",
        )
    return kinds.pop() if kinds else (INDEX if "manifests" in fields else MANIFEST)


def _fields(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"a manifest that is not JSON: {error}", hint="see that this is a registry") from error
    if not isinstance(value, dict):
        raise IntegrityError("a manifest that is no JSON object", hint="see that this is a registry")
    if len({key.casefold() for key in value}) != len(value):
        raise IntegrityError("a manifest with keys that differ in case only", hint="it can mean two images: refused")
    return value


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise IntegrityError("a manifest that has a key twice", hint="it can mean two images: it is refused")
    return found
