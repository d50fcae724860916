"""Where what was built goes: an image in the store or at a registry, an archive, or the bare files; and what is written of it."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import secrets
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal, cast, get_args

from ..errors import Conflict, HostError, NBContainersError
from ..events import Observer, Progress, Warned
from ..oci.descriptor import Digest
from ..oci.image import Image
from ..oci.reference import Reference
from ..oci.runtime import Mount
from ..results import BuildResult
from ..store import archive, recompress
from ..store.compression import Compression
from ..store.store import Store
from . import wholefile

Kind = Literal["image", "registry", "local", "tar", "oci", "docker", "cacheonly"]
_PACKED = ("name", "compression", "force-compression")
_OPTIONS: dict[Kind, tuple[str, ...]] = {
    "image": (*_PACKED, "push", "registry.insecure"),
    "registry": (*_PACKED, "registry.insecure"),
    "local": ("dest",),
    "tar": ("dest",),
    "oci": ("dest", *_PACKED),
    "docker": ("dest", *_PACKED),
    "cacheonly": (),
}
_SWITCHES = ("push", "registry.insecure", "force-compression")
# BuildKit's words; that for none at all is the one of our other commands too.
_COMPRESSIONS: dict[str, Compression] = {"gzip": "gzip", "zstd": "zstd", "uncompressed": "none", "none": "none"}
_STREAM = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One place that a build's result goes to: ``dest`` is a file or folder, ``-`` the caller's stream, empty the store.

    ``compression`` is that of the layers which the build made, or found in its cache, and with ``force`` of its base's layers too.
    """

    type: Kind
    dest: str = ""
    names: tuple[str, ...] = ()
    push: bool = False
    insecure: bool = False
    compression: Compression | None = None
    force: bool = False

    @property
    def is_stored(self) -> bool:
        """Whether the image stays in the store."""
        return self.type == "image" or (self.type == "docker" and not self.dest)


def read(word: str) -> Output:
    """The output that ``type=TYPE,dest=WHERE``, a folder alone, or ``-`` means.

    Raises:
        NBContainersError: there is no such type or option, or one that the type needs is missing.

    """
    if "=" not in word and word:
        return Output(type="tar", dest=_STREAM) if word == _STREAM else Output(type="local", dest=word)
    (row,) = csv.reader([word]) if word else ([],)
    given = {key.strip().lower(): value for key, _, value in (part.partition("=") for part in row)}
    kind = given.pop("type", "")
    if kind not in get_args(Kind):
        raise NBContainersError(
            f"not a type of output: {kind!r} in {word!r}", hint=f"known are {', '.join(get_args(Kind))}"
        )
    known = cast("Kind", kind)
    for name, value in given.items():
        if name not in _OPTIONS[known]:
            hint = f"it takes {' and '.join(_OPTIONS[known]) or 'no options'}"
            raise NBContainersError(f"the output {kind} has no option {name!r}", hint=hint)
        if name in _SWITCHES and value not in ("true", "false"):
            raise NBContainersError(f"the output {kind} has {name}={value}", hint="it is true or false")
    if given.get("compression", "gzip") not in _COMPRESSIONS:
        raise NBContainersError(
            f"the output {kind} has compression={given['compression']}", hint="it is gzip, zstd or uncompressed"
        )
    if given.get("force-compression") == "true" and "compression" not in given:
        raise NBContainersError(
            f"the output {kind} has force-compression and no compression", hint="add compression=gzip or zstd"
        )
    if known == "local" and given.get("dest", _STREAM) in ("", _STREAM):
        raise NBContainersError("the output local names no folder", hint="it reads type=local,dest=FOLDER")
    names = tuple(name for name in given.get("name", "").split(",") if name)
    for name in names:
        Reference.parse(name)
    return Output(
        type="image" if known == "registry" else known,
        dest=given.get("dest", "") or (_STREAM if known in ("tar", "oci") else ""),
        names=names,
        push=known == "registry" or given.get("push") == "true",
        insecure=given.get("registry.insecure") == "true",
        compression=_COMPRESSIONS[given["compression"]] if "compression" in given else None,
        force=given.get("force-compression") == "true",
    )


def read_all(words: Sequence[str], *, is_named: bool, stream: IO[bytes] | None) -> tuple[Output, ...]:
    """Every output of a build; an image in the store where none is said. Refused is what could not be done after the build."""
    found = tuple(map(read, words)) or (Output(type="image"),)
    if sum(one.dest == _STREAM for one in found) > (1 if stream is not None else 0):
        raise NBContainersError(
            "more goes to standard output than can", hint="one output at most has no file: add dest=FILE"
        )
    if any(one.push and not (one.names or is_named) for one in found):
        raise NBContainersError("an image without a name cannot be pushed", hint="name it: -t REGISTRY/NAME")
    for one in found:
        above = Path(one.dest).absolute().parent
        if one.dest not in ("", _STREAM) and one.type != "local" and (Path(one.dest).is_dir() or not above.is_dir()):
            raise NBContainersError(
                f"{one.dest} cannot be written: {'it is' if above.is_dir() else above} no file's place"
            )
    return found


def export(
    store: Store,
    result: BuildResult,
    outputs: Sequence[Output],
    *,
    push: Callable[[str, bool], object],
    own: int,
    stream: IO[bytes] | None,
    on_event: Observer,
) -> tuple[BuildResult, frozenset[Digest]]:
    """Bring what was built to all its places; a file that is half written is not there.

    With the result come the blobs that served only for this: they may go, where nothing else needs them, once no lease keeps them.

    Args:
        store: holds the image, which a lease keeps.
        result: the build's; ``names`` are what else the image is to be called.
        outputs: where to.
        push: brings a name to its registry; with True by plain HTTP too.
        own: how many of the image's layers, from the top down, are of its own Dockerfile.
        stream: what ``dest=-`` means.
        on_event: told of progress, and of files that this host cannot keep.

    """
    references = [Reference.parse(name) for name in result.names]
    built, shown, names, spare = result.image, result.image, list[str](), set[Digest]()
    stored: Image | None = None
    for output in outputs:
        wanted = [*references, *map(Reference.parse, output.names)]
        image = built
        if output.compression is not None:
            above = 0 if output.force else len(built.layers) - own
            shown = image = recompress.image(store, built, output.compression, above=above)
            spare |= recompress.parts(image)
        if output.is_stored:
            if image is not built:
                store.images.add(image.descriptor)
            for reference in reversed(wanted):
                image = store.images.tag(image, reference)
            names += [str(reference) for reference in wanted]
            shown = stored = image
        elif output.type in ("oci", "docker"):
            named = [replace(image, reference=reference) for reference in wanted] or [replace(image, reference=None)]
            with _written(output, stream) as file:
                archive.save(store, named, file, on_event=on_event)
        elif output.type in ("tar", "local"):
            with _exported(store, image, on_event) as files:
                if output.type == "local":
                    _unpack(files, Path(output.dest), on_event)
                else:
                    with _written(output, stream) as file:
                        shutil.copyfileobj(files, file, 1 << 20)
        if output.push:
            for reference in wanted:
                push(str(reference), output.insecure)
    if stored is not None:
        shown = stored
        spare = (spare | recompress.parts(built)) - recompress.parts(stored)
    done = replace(result, image=shown, names=tuple(dict.fromkeys(names)), stored=stored is not None)
    return done, frozenset(spare)


def metadata(result: BuildResult, outputs: Sequence[Output]) -> dict[str, Any]:
    """What BuildKit tells of an image, under its keys; nothing where only files were asked for."""
    if all(output.type in ("local", "tar", "cacheonly") for output in outputs):
        return {}
    image = result.image
    told: dict[str, Any] = {
        "containerimage.config.digest": image.id,
        "containerimage.descriptor": {
            "mediaType": image.descriptor.media_type,
            "digest": image.descriptor.digest,
            "size": image.descriptor.size,
        },
        "containerimage.digest": image.descriptor.digest,
    }
    if result.names:
        told["image.name"] = ",".join(result.names)
    return told


def tell(path: str | Path | None, text: str) -> None:
    """Write ``--iidfile`` or ``--metadata-file``: the whole of it or nothing."""
    if path:
        with wholefile.written(path) as file:
            file.write(text.encode())


def metadata_text(told: dict[str, Any]) -> str:
    """The text of a metadata file."""
    return json.dumps(told, indent=2, sort_keys=True) + "\n"


@contextlib.contextmanager
def _written(output: Output, stream: IO[bytes] | None) -> Iterator[IO[bytes]]:
    """The file of an output, or the caller's stream."""
    if output.dest == _STREAM:
        assert stream is not None
        yield stream
        stream.flush()
        return
    with wholefile.written(output.dest) as file:
        yield file


@contextlib.contextmanager
def _exported(store: Store, image: Image, on_event: Observer) -> Iterator[IO[bytes]]:
    """All files of an image as a tar archive that has no name."""
    with _mounted(store, image, on_event) as mounts, tempfile.TemporaryFile(dir=store.root / "ingest") as file:
        store.worker.export(mounts, file.fileno())
        file.seek(0)
        yield file


@contextlib.contextmanager
def _mounted(store: Store, image: Image, on_event: Observer) -> Iterator[tuple[Mount, ...]]:
    key = f"build-{secrets.token_hex(8)}"
    with store.lease() as lease:
        lease.add(key, image.descriptor.digest, *image.chain_ids)
        store.snapshots.unpack(image, on_event)
        try:
            yield store.snapshots.prepare(key, image.chain_ids)
        finally:
            store.snapshots.remove(key)


def _unpack(files: IO[bytes], folder: Path, on_event: Observer) -> None:
    """Put the files of an archive into a folder of this host, as this user's own; what stands there is replaced.

    Nothing is written through a link: one that stands where a folder has to be is taken away first. Devices are left out, and so
    are the bits that make a program run as its owner, for that is another one now.
    """
    folders: list[tuple[Path, int, float]] = []
    root, left_out = folder.absolute(), 0
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=files, mode="r:") as entries:
            total = os.fstat(files.fileno()).st_size
            for entry in entries:
                parts = [part for part in entry.name.split("/") if part not in ("", ".")]
                if not parts or ".." in parts:
                    continue
                if entry.ischr() or entry.isblk() or entry.isfifo():
                    left_out += 1
                    continue
                target, mode = root.joinpath(*parts), entry.mode & 0o1777
                _make_way(target, keep_folder=entry.isdir())
                if entry.isdir():
                    target.mkdir(mode=0o700, exist_ok=True)
                    target.chmod(0o700)
                    folders.append((target, mode, entry.mtime))
                elif entry.islnk():
                    os.link(root / entry.linkname.strip("/").removeprefix("./"), target, follow_symlinks=False)
                elif entry.issym():
                    target.symlink_to(entry.linkname)
                    os.utime(target, (entry.mtime, entry.mtime), follow_symlinks=False)
                elif (content := entries.extractfile(entry)) is not None:
                    with content, target.open("xb") as file:
                        shutil.copyfileobj(content, file, 1 << 20)
                    target.chmod(mode)
                    os.utime(target, (entry.mtime, entry.mtime))
                on_event(Progress(what="export", done=files.tell(), total=total))
        for target, mode, time in reversed(folders):
            target.chmod(mode)
            os.utime(target, (time, time))
    except OSError as error:
        raise HostError(
            f"cannot write {error.filename or root}: {error.strerror}", hint="is there room, and may you write there?"
        ) from error
    if left_out:
        on_event(
            Warned(message=f"{left_out} devices and pipes are not in {folder}", hint="an archive (type=tar) has them")
        )


def _make_way(target: Path, *, keep_folder: bool) -> None:
    """Take away what stands where a file is to be; a folder is not taken away for a file."""
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        if not keep_folder:
            raise Conflict(f"{target} is a folder, and the image has a file there", hint="name an empty folder")
    else:
        target.unlink()
