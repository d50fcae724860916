"""Images as one stream: a tar of an OCI layout that is a docker-archive as well, and both kinds read back.

``index.json`` is for OCI tools, ``manifest.json`` for Docker's; both name the same blobs. The same images give the same bytes.

Source: OCI image spec, "Image Layout"; github.com/moby/docker-image-spec, "Combined Image JSON + Filesystem Changeset Format".
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, BinaryIO

from ..errors import IntegrityError, InvalidReference
from ..events import Observer, Progress, ignore
from ..oci.descriptor import CONFIG, INDEX, MANIFEST, Descriptor, Digest
from ..oci.image import Image, ImageConfig, Index, Manifest, parse, to_bytes
from ..oci.reference import Reference
from .compression import MEDIA_TYPES, ReadAhead, detect, reader
from .content import Content
from .incoming import Incoming
from .store import Store

REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_PIECE = 1 << 20


def save(store: Store, images: Iterable[Image], stream: IO[bytes], *, on_event: Observer = ignore) -> None:
    """Write images to a stream, which need not be seekable; an image given under several names is written once.

    Raises:
        NotFound: a blob is missing.
        IntegrityError: a blob is damaged; what is in the stream by then is no archive.

    """
    chosen = tuple(images)
    with store.lease() as lease:
        lease.add(*(image.descriptor.digest for image in chosen))
        blobs = _blobs(chosen)
        total, done = sum(blobs.values()), 0
        with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_PIECE) as archive:
            archive.copybufsize = _PIECE  # type: ignore[attr-defined]  # typeshed knows it not
            for name, data in (
                ("oci-layout", LAYOUT),
                ("index.json", _index(chosen)),
                ("manifest.json", _docker_manifest(chosen)),
            ):
                archive.addfile(_file(name, len(data)), io.BytesIO(data))
            for folder in ("blobs", *sorted({f"blobs/{digest.algorithm}" for digest in blobs})):
                archive.addfile(_folder(folder))
            for digest, size in sorted(blobs.items()):
                _add_blob(archive, store.content, digest, size)
                done += size
                on_event(Progress(what="save", done=done, total=total))


def load(
    store: Store, source: IO[bytes] | Path, *, limit: int = 1 << 38, on_event: Observer = ignore
) -> tuple[Image, ...]:
    """Take the images of an archive into the store, each by all its names; one without a name has no ``reference``.

    The archive is an OCI layout or a docker-archive in a tar, as it is or compressed, in a stream that need not be seekable; or
    it is an OCI layout in a folder. Nothing
    gets a name unless all images are whole, and a failed load leaves no blob. Layers are verified against their diff IDs here
    where only Docker's names vouch for them, else when they are unpacked.

    Raises:
        IntegrityError: the archive is no archive of images, cut short, damaged, or larger than ``limit`` bytes.
        NotFound: an image in it has nothing for this platform, or lacks a blob that the store has not either.

    """
    incoming = Incoming()
    loaded: tuple[Image, ...] = ()
    try:
        with store.lease():
            images: list[Image] = []
            if isinstance(source, Path):
                incoming.receive_folder(store.content, source, limit=limit, on_event=on_event)
            else:
                incoming.receive(store.content, source, limit=limit, on_event=on_event)
            for image, names in _read(store, incoming, limit):
                images.extend(replace(image, reference=name) for name in names or (None,))
            for image in images:
                if image.reference:
                    store.images.tag(image, image.reference)
            loaded = tuple(images)
    finally:
        with contextlib.suppress(IntegrityError):  # a damaged image elsewhere: what it shares cannot be told
            store.images.collect(only=incoming.new, keep={image.descriptor.digest for image in loaded})
    return loaded


def _read(store: Store, incoming: Incoming, limit: int) -> Iterator[tuple[Image, tuple[Reference, ...]]]:
    """The images of an archive, whole and entered in the store, each with its names."""
    entries = _docker_entries(incoming)
    if "index.json" in incoming.documents:
        docker_names = {incoming.find(str(entry["Config"])).digest: _names(entry.get("RepoTags")) for entry in entries}
        for descriptor in Index.from_json(parse(incoming.documents["index.json"], "index.json")).manifests:
            image = store.images.add(descriptor)
            annotations = descriptor.annotations
            oci_name = annotations.get(IMAGE_NAME) or annotations.get(REF_NAME, "")
            # Where it is a tag alone ("latest"), as umoci has it, it is the name of nothing.
            own = _names([oci_name] if set(oci_name) & set("/:") else ())
            yield image, own or docker_names.get(image.id, ())
    elif entries:
        for entry in entries:
            yield _read_docker(store, incoming, entry, limit), _names(entry.get("RepoTags"))
    else:
        raise IntegrityError(
            "no images in the archive: it has neither index.json nor manifest.json",
            hint="an archive of a file system, made by export, is read by import",
        )


def _names(texts: object) -> tuple[Reference, ...]:
    """The tags among some texts: what is no name is none."""
    found: list[Reference] = []
    for text in texts if isinstance(texts, list) else ():
        with contextlib.suppress(InvalidReference):
            reference = Reference.parse(str(text))
            if not reference.digest and reference not in found:
                found.append(reference)
    return tuple(found)


def _docker_entries(incoming: Incoming) -> list[dict[str, Any]]:
    try:
        entries = json.loads(incoming.documents.get("manifest.json", b"[]"))
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"manifest.json is not JSON: {error}") from error
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("Config"), str) and isinstance(entry.get("Layers"), list)
        for entry in entries
    ):
        raise IntegrityError("manifest.json is no list of images", hint="each has Config and Layers")
    return entries


def _read_docker(store: Store, incoming: Incoming, entry: Mapping[str, Any], limit: int) -> Image:
    """An image of a docker-archive: it names layers by path, so each is verified against the configuration's diff ID."""
    found = incoming.find(entry["Config"])
    config = ImageConfig.from_json(parse(store.content.read(found.digest), f"configuration {entry['Config']!r}"))
    if len(config.diff_ids) != len(entry["Layers"]):
        raise IntegrityError(
            f"the image {found.digest} has {len(entry['Layers'])} layers", expected=str(len(config.diff_ids))
        )
    layers = []
    for path, expected in zip(entry["Layers"], config.diff_ids, strict=True):
        layer = incoming.find(str(path))
        with store.content.open(layer.digest) as blob:
            kind, actual = _measure(blob, limit)
        if actual != expected:
            raise IntegrityError(
                f"the layer {path!r} has the diff ID {actual}",
                expected=expected,
                actual=actual,
                hint="the archive is damaged or not what it says: make it again",
            )
        layers.append(Descriptor(media_type=kind, digest=layer.digest, size=layer.size))
    manifest = Manifest(
        config=Descriptor(media_type=CONFIG, digest=found.digest, size=found.size), layers=tuple(layers)
    )
    written = store.content.write(to_bytes(manifest), MANIFEST)
    incoming.new.add(written.digest)
    return store.images.add(written)


def _measure(blob: BinaryIO, limit: int) -> tuple[str, Digest]:
    """The media type and the diff ID of a layer, which is at most ``limit`` bytes uncompressed."""
    kind = MEDIA_TYPES[detect(blob.read(6))]
    blob.seek(0)
    with ReadAhead(reader(blob), limit=limit) as archive:
        while archive.read():
            pass
    return kind, Digest(archive.digest)


def _blobs(images: Iterable[Image]) -> dict[Digest, int]:
    """Every blob of the images with its size."""
    return {
        descriptor.digest: descriptor.size
        for image in images
        for descriptor in (image.descriptor, image.manifest.config, *image.layers)
    }


def _index(images: Iterable[Image]) -> bytes:
    """index.json: an entry for each name. Docker and containerd read the one annotation, podman and skopeo the other."""
    entries = []
    for image in images:
        entry = image.descriptor.to_json() | {"platform": image.config.platform.to_json()}
        if image.reference and image.reference.tag:
            entry["annotations"] = {IMAGE_NAME: str(image.reference), REF_NAME: str(image.reference)}
        if entry not in entries:
            entries.append(entry)
    return _compact({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})


def _docker_manifest(images: Iterable[Image]) -> bytes:
    """manifest.json: an entry for each image, with all its names."""
    entries: dict[Digest, dict[str, list[str] | str]] = {}
    names: dict[Digest, list[str]] = {}
    for image in images:
        entries[image.id] = {
            "Config": _path(image.id),
            "RepoTags": names.setdefault(image.id, []),
            "Layers": [_path(layer.digest) for layer in image.layers],
        }
        if image.reference and image.reference.tag:
            names[image.id].append(image.reference.familiar)
    return _compact(list(entries.values()))


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _path(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _file(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    return entry


def _folder(name: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    return entry


class _Hashing:
    """A file that knows what has been read from it."""

    def __init__(self, file: BinaryIO, algorithm: str) -> None:
        self._file = file
        self.hash = hashlib.new(algorithm)

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.hash.update(data)
        return data


def _add_blob(archive: tarfile.TarFile, content: Content, digest: Digest, size: int) -> None:
    if (found := content.size(digest)) != size:
        raise IntegrityError(
            f"blob {digest} should have {size} bytes and has {found}", expected=str(size), actual=str(found)
        )
    with content.open(digest) as blob:
        source = _Hashing(blob, digest.algorithm)
        archive.addfile(_file(_path(digest), size), source)
    if (actual := source.hash.hexdigest()) != digest.hex:
        raise IntegrityError(
            f"blob {digest} is damaged: its bytes have the digest {actual}",
            expected=digest,
            actual=f"{digest.algorithm}:{actual}",
            hint="load or pull its image again",
        )
