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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal

from ..errors import IntegrityError, InvalidReference, NotFound
from ..events import Observer, Progress, Warned, ignore
from ..oci import platforms
from ..oci.descriptor import CONFIG, INDEX, INDEXES, MANIFEST, Descriptor, Digest, Platform
from ..oci.image import Image, ImageConfig, Index, Manifest, parse, to_bytes
from ..oci.reference import Reference
from . import plainarchive, variants
from .catalogue import Artifact
from .compression import MEDIA_TYPES, ReadAhead, detect, reader
from .content import Content
from .incoming import Incoming
from .layers import mistaken
from .store import Store

Form = Literal["both", "oci", "docker"]

REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_PIECE = 1 << 20


def save(
    store: Store,
    images: Iterable[Image],
    stream: IO[bytes],
    *,
    form: Form = "both",
    platform: Platform | None = None,
    on_event: Observer = ignore,
) -> None:
    """Write images to a stream, which need not be seekable; an image given under several names is written once.

    A name that stands for an index keeps it, with all its images, where the store holds every one of them.

    Args:
        store: holds a lease of its own meanwhile.
        images: with the names that they are to have.
        stream: what is in it after an error is no archive.
        form: ``oci`` for a layout alone; ``docker`` for what ``docker save`` wrote before it knew of layouts, with plain layers and one
            platform for each name; ``both`` for a layout with Docker's list of images beside it.
        platform: only the images for it; what is written of an index is then its image alone.
        on_event: told of the progress.

    Raises:
        NotFound: a blob is missing, or an image is not for the platform.
        IntegrityError: a blob is damaged.

    """
    with store.lease() as lease:
        chosen = tuple(_choose(store, image, platform) for image in images)
        lease.add(*(digest for one in chosen for digest in (one.top.digest, one.image.descriptor.digest)))
        if form == "docker":
            plainarchive.save(store.content, [one.image for one in chosen], stream, on_event=on_event)
            return
        blobs = {digest: size for one in chosen for digest, size in one.blobs.items()}
        documents = [("oci-layout", LAYOUT), ("index.json", _index(chosen))]
        if form == "both":
            documents.append(("manifest.json", _docker_manifest(one.image for one in chosen)))
        total, done = sum(blobs.values()), 0
        with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_PIECE) as archive:
            archive.copybufsize = _PIECE  # type: ignore[attr-defined]  # typeshed knows it not
            for name, data in documents:
                archive.addfile(_file(name, len(data)), io.BytesIO(data))
            for folder in ("blobs", *sorted({f"blobs/{digest.algorithm}" for digest in blobs})):
                archive.addfile(_folder(folder))
            for digest, size in sorted(blobs.items()):
                _add_blob(archive, store.content, digest, size)
                done += size
                on_event(Progress(what="save", done=done, total=total))


@dataclass(frozen=True, slots=True)
class _Chosen:
    """An image to be saved; ``top`` is what its name stands for in the archive, and all that it needs are the blobs, by size."""

    image: Image
    top: Descriptor
    blobs: dict[Digest, int]


def _choose(store: Store, image: Image, platform: Platform | None) -> _Chosen:
    top = image.descriptor
    if platform is not None:
        image = variants.choose(store, image, platform)
        top = image.descriptor
    elif (named := variants.top(store, image)) != image.descriptor:
        found = variants.of_index(store.content, named)
        if not found.missing:
            whole = (part for entry, manifest in found.held for part in (entry, manifest.config, *manifest.layers))
            return _Chosen(image, named, {part.digest: part.size for part in (named, *whole)})
    parts = (image.descriptor, image.manifest.config, *image.layers)
    return _Chosen(image, top, {part.digest: part.size for part in parts})


def load(
    store: Store,
    source: IO[bytes] | Path,
    *,
    platform: Platform | None = None,
    limit: int = 1 << 38,
    on_event: Observer = ignore,
) -> tuple[Image, ...]:
    """Take the images of an archive into the store, each by all its names; one without a name has no ``reference``.

    The archive is an OCI layout or a docker-archive in a tar, as it is or compressed, in a stream that need not be seekable; or
    it is an OCI layout in a folder. Nothing
    gets a name unless all images are whole, and a failed load leaves no blob. Layers are verified against their diff IDs here
    where only Docker's names vouch for them, else when they are unpacked. Of an image for several platforms its name stands
    for their index, with all of them that are there.

    Args:
        store: holds a lease of its own meanwhile.
        source: a stream, or the folder of a layout.
        platform: only the images for it; one that has none is told of and left out, as artifacts are.
        limit: bytes of all entries together.
        on_event: told of the progress.

    Raises:
        IntegrityError: the archive is no archive of images, cut short, damaged, or larger than ``limit`` bytes.
        NotFound: an image in it has nothing for this platform, or lacks a blob that the store has not either; or none of them is
            for the platform that was asked for.

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
            tops: list[Descriptor] = []
            refused: list[NotFound] = []
            if isinstance(source, Path) and not incoming.documents:
                raise IntegrityError(
                    f"no images in the folder {source}: it has no index.json",
                    hint="an OCI layout or an archive is read",
                )
            for found in _read(store, incoming, limit, platform):
                if isinstance(found, NotFound):
                    refused.append(found)
                    continue
                image, top, names = found
                images.extend(replace(image, reference=name) for name in names or (None,))
                tops.extend(top for _ in names or (None,))
            if refused and not images:
                raise refused[0]
            for one in refused:
                on_event(Warned(message=f"left out: {one.message}", hint=one.hint))
            for image, top in zip(images, tops, strict=True):
                if image.reference:
                    store.images.tag(image, image.reference, top=top)
            loaded = tuple(images)
    finally:
        with contextlib.suppress(IntegrityError):  # a damaged image elsewhere: what it shares cannot be told
            store.images.collect(only=incoming.new, keep={image.descriptor.digest for image in loaded})
    return loaded


_Read = tuple[Image, Descriptor, tuple[Reference, ...]]


def _read(store: Store, incoming: Incoming, limit: int, platform: Platform | None) -> Iterator[_Read | NotFound]:
    """The images of an archive, whole and entered in the store, each with what its names are to stand for, and its names.

    One that is not for a platform that was asked for, or an artifact, is the error that says so.
    """
    entries = _docker_entries(incoming)
    if "index.json" in incoming.documents:
        docker_names = {incoming.find(str(entry["Config"])).digest: _names(entry.get("RepoTags")) for entry in entries}
        for descriptor in Index.from_json(parse(incoming.documents["index.json"], "index.json")).manifests:
            try:
                wanted = variants.of_entry(store, descriptor, platform) if platform else descriptor
            except NotFound as error:
                yield error
                continue
            try:
                image = store.images.add(wanted)
            except Artifact as error:
                yield error
                continue
            annotations = descriptor.annotations
            oci_name = annotations.get(IMAGE_NAME) or annotations.get(REF_NAME, "")
            # Where it is a tag alone ("latest"), as umoci has it, it is the name of nothing.
            own = _names([oci_name] if set(oci_name) & set("/:") else ())
            top = image.descriptor
            if wanted.media_type in INDEXES:
                top = Descriptor(media_type=wanted.media_type, digest=wanted.digest, size=wanted.size)
            yield image, top, own or docker_names.get(image.id, ())
    elif entries:
        for entry in entries:
            image = _read_docker(store, incoming, entry, limit)
            if platform and platforms.normal(image.config.platform) != platforms.normal(platform):
                yield platforms.none_of((replace(image.descriptor, platform=image.config.platform),), platform)
                continue
            yield image, image.descriptor, _names(entry.get("RepoTags"))
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
        is_folder = isinstance(entries, dict) and "schemaVersion" in entries  # of skopeo's dir: and podman's docker-dir
        raise IntegrityError(
            "manifest.json is no list of images",
            hint="it is one image's own manifest: copy the folder with 'skopeo copy dir:FOLDER oci:LAYOUT:NAME' first"
            if is_folder
            else "each has Config and Layers",
        )
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
            raise mistaken(repr(path), expected, actual)
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


def _index(chosen: Iterable[_Chosen]) -> bytes:
    """index.json: an entry for each name. Docker and containerd read the one annotation, podman and skopeo the other."""
    entries = []
    for one in chosen:
        image, entry = one.image, one.top.to_json()
        if one.top.media_type not in INDEXES:
            entry |= {"platform": image.config.platform.to_json()}
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
