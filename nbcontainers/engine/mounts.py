"""What a user mounts, read from docker's words: ``-v``, ``--tmpfs`` and ``--mount``."""

from __future__ import annotations

import csv
import os
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from ..errors import NBContainersError
from .options import RunOptions, size

Kind = Literal["bind", "volume", "tmpfs", "image"]
_KINDS = ("bind", "volume", "tmpfs", "image")
PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_CONSISTENCY = ("consistent", "cached", "delegated", "default")  # of Docker Desktop; Linux knows one only
_TRUE, _FALSE = ("1", "t", "true"), ("0", "f", "false")
_TMPFS = re.compile(
    r"(size|mode|uid|gid|nr_inodes|nr_blocks)=[0-9]+[kmgKMG%]?|mpol=\S+|ro|rw|(no)?(exec|suid|dev|atime)|(rel|strict)atime"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MountPoint:
    """One mount that was asked for. ``source`` is a path of the host, a volume's name (empty for one without), or an image's.

    ``recursion``: whether what is mounted below a bind's source comes along (``enabled``, ``disabled``), and then is read-only with
    it (``enabled`` where the kernel can, ``readonly``) or not (``writable``). ``create`` makes a missing folder of the host.
    ``idmap``: the ids of the container's own range stand for those on the disk, as they do in its volumes. ``image`` is the ID that an
    image's name stood for when the container was made, ``layers`` its chain IDs from the base up: whatever its name is since.
    """

    kind: Kind
    destination: str
    source: str = ""
    readonly: bool = False
    propagation: str = "rprivate"
    recursion: str = "enabled"
    create: bool = False
    nocopy: bool = False
    subpath: str = ""
    options: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    anonymous: bool = False
    idmap: bool = False
    image: str = ""
    layers: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Only what differs from the defaults."""
        return {item.name: value for item in fields(self) if (value := getattr(self, item.name)) != item.default}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> MountPoint:
        """Read what ``to_json`` wrote."""
        words = dict(data)
        for name in ("options", "labels", "layers"):
            words[name] = tuple(tuple(item) if isinstance(item, list) else item for item in data.get(name, ()))
        return cls(**words)


def asked(options: RunOptions, image_volumes: Iterable[str] = ()) -> tuple[MountPoint, ...]:
    """Every mount that the options ask for, with an anonymous volume for each of the image's that nothing else covers.

    NBContainersError where two are for one place.
    """
    found = (
        *(bind(word) for word in options.get("volumes", ())),
        *(memory_folder(word) for word in options.get("tmpfs", ())),
        *(mount(word) for word in options.get("mount", ())),
    )
    places: set[str] = set()
    for entry in found:
        if entry.destination in places:
            raise NBContainersError(f"duplicate mount point: {entry.destination}", hint="mount one thing there")
        places.add(entry.destination)
    own = (inside(path, f"VOLUME {path}") for path in image_volumes)
    return (*found, *(MountPoint(kind="volume", destination=path) for path in own if path not in places))


def bind(word: str) -> MountPoint:
    """The mount for ``HOST:INSIDE[:OPTIONS]``, ``NAME:INSIDE[:OPTIONS]`` or, with a new volume, ``INSIDE``.

    As in Docker a folder of the host that is not there is made. OPTIONS are joined by commas: ro, rw, z, Z, nocopy, a propagation.
    """
    parts = word.split(":")
    if len(parts) == 1:
        return MountPoint(kind="volume", destination=inside(parts[0], word))
    if len(parts) > 3 or not all(parts):
        raise NBContainersError(f"not a volume: {word!r}", hint="write HOST:INSIDE, NAME:INSIDE or either with :ro")
    source, destination = parts[0], inside(parts[1], word)
    if source.startswith((".", "/", "~")):
        path = Path(source).expanduser().absolute()
        made = MountPoint(kind="bind", source=os.path.normpath(path), destination=destination, create=True)
    else:
        made = MountPoint(kind="volume", source=source, destination=destination)
    options = parts[2].split(",") if len(parts) == 3 else []
    for kind in (("ro", "rw"), PROPAGATIONS, ("z", "Z"), _CONSISTENCY):
        if len(named := [option for option in options if option in kind]) > 1:
            raise NBContainersError(f"invalid mode {','.join(named)!r} of the volume {word!r}", hint="only one of them")
    for option in options:
        made = _option(made, option, word)
    return made


def _option(made: MountPoint, option: str, word: str) -> MountPoint:
    if option in ("ro", "rw"):
        return replace(made, readonly=option == "ro")
    if option in ("z", "Z"):
        if os.path.exists("/sys/fs/selinux/enforce"):
            raise NBContainersError(
                f"{option!r} in {word!r}: files are not relabelled here",
                hint="relabel them with chcon(1), and leave it out",
            )
        return made  # without SELinux it asks for nothing
    if option in _CONSISTENCY:
        return made
    if made.kind == "bind" and option in PROPAGATIONS:
        return replace(made, propagation=option)
    if made.kind == "bind" and option == "rbind":
        return made
    if option == "idmap":
        return replace(made, idmap=True)
    if made.kind == "volume" and option == "nocopy":
        return replace(made, nocopy=True)
    raise NBContainersError(
        f"invalid mode {option!r} of the volume {word!r}",
        hint="ro, rw, z, Z; idmap; for a folder of the host also a propagation such as rslave, for a volume also nocopy",
    )


def memory_folder(word: str) -> MountPoint:
    """The mount for ``FOLDER[:OPTIONS]``, an empty folder in memory."""
    destination, _, options = word.partition(":")
    chosen = tuple(filter(None, options.split(",")))
    for option in chosen:
        if not _TMPFS.fullmatch(option):
            raise NBContainersError(
                f"unknown option {option!r} of the tmpfs {word!r}", hint="such as size=64m, mode=1777, exec, ro"
            )
    return MountPoint(
        kind="tmpfs", destination=inside(destination, word), options=("noexec", "nosuid", "nodev", *chosen)
    )


def mount(word: str) -> MountPoint:
    """The mount for ``--mount type=…,source=…,target=…``. Source: docker's opts/mount.go and moby's volume/mounts/linux_parser.go."""
    found = _Fields()
    for item in next(csv.reader([word]), []):
        name, equals, value = item.partition("=")
        key = name.strip().lower()
        if not equals and key not in _SWITCHES:
            raise _invalid(
                word, f"invalid field {item!r} must be a key=value pair", "such as type=bind,source=/a,target=/b"
            )
        reader = _KEYS.get(key)
        if reader is None:
            raise _invalid(word, f"unexpected key {name!r} in {item!r}", f"the keys are: {', '.join(_KEYS)}")
        reader(found, key, value if equals else "true", word)
    return found.read(word)


@dataclass(slots=True)
class _Fields:
    """What the keys of one ``--mount`` said, before it is known whether they go together."""

    kind: str = "volume"
    words: dict[str, Any] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def read(self, word: str) -> MountPoint:
        if self.kind not in _KINDS:
            hint = "bind, volume, tmpfs or image"
            if self.kind in ("npipe", "cluster"):
                hint = "bind, volume, tmpfs or image: the others are not there on this engine"
            raise _invalid(word, f"unknown mount type {self.kind!r}", hint)
        for other in _KINDS:
            if other != self.kind and other in self.used:
                raise _invalid(
                    word, f"cannot mix '{other}-*' options with mount type '{self.kind}'", f"write type={other}"
                )
        if "destination" not in self.words:
            raise _invalid(word, "target is required", "where it is to be seen inside: target=/data")
        source = self.words.get("source", "")
        if self.kind == "bind":
            if not source:
                raise _invalid(word, "source is required for a bind", "a path of this host: source=/data")
            if not source.startswith((".", "/", "~")):
                raise _invalid(word, f"the source {source!r} is no path", "an absolute path, or ./NAME")
            self.words["source"] = os.path.normpath(Path(source).expanduser().absolute())
            if self.words.get("recursion") == "readonly" and not self.words.get("readonly"):
                raise _invalid(word, "bind-recursive=readonly needs readonly", "add readonly, or leave it out")
            if self.words.get("recursion") == "readonly" and self.words.get("propagation", "rprivate") != "rprivate":
                raise _invalid(word, "bind-recursive=readonly needs bind-propagation=rprivate", "leave the other away")
        if self.kind == "image" and not source:
            raise _invalid(
                word, "source is required for an image", "the name or ID of one that is here: source=toolbox"
            )
        if self.kind == "tmpfs":
            if source:
                raise _invalid(word, "a tmpfs has no source", "leave the source out")
            given = tuple(f"{key}={self.words.pop(key)}" for key in ("size", "mode") if key in self.words)
            # Docker's --mount type=tmpfs leaves exec away as --tmpfs does.
            self.words["options"] = (
                "noexec",
                "nosuid",
                "nodev",
                *given,
                *(["ro"] if self.words.get("readonly") else []),
            )
        return MountPoint(kind=self.kind, **self.words)  # type: ignore[arg-type] # it is one of _KINDS by now


def _invalid(word: str, why: str, hint: str) -> NBContainersError:
    return NBContainersError(f"invalid argument {word!r} for --mount: {why}", hint=hint)


def _boolean(key: str, value: str, word: str) -> bool:
    if value.lower() not in (*_TRUE, *_FALSE):
        raise _invalid(word, f"invalid value for {key}: {value}", "true or false")
    return value.lower() in _TRUE


def _set_kind(found: _Fields, _key: str, value: str, _word: str) -> None:
    found.kind = value.lower()


def _set_source(found: _Fields, _key: str, value: str, _word: str) -> None:
    found.words["source"] = value


def _set_target(found: _Fields, _key: str, value: str, word: str) -> None:
    found.words["destination"] = inside(value, word)


def _set_readonly(found: _Fields, key: str, value: str, word: str) -> None:
    found.words["readonly"] = _boolean(key, value, word)


def _ignore(found: _Fields, key: str, value: str, word: str) -> None:
    if value.lower() not in _CONSISTENCY:
        raise _invalid(word, f"invalid value for {key}: {value}", ", ".join(_CONSISTENCY))


def _set_propagation(found: _Fields, key: str, value: str, word: str) -> None:
    found.used.add("bind")
    if value.lower() not in PROPAGATIONS:
        raise _invalid(word, f"invalid value for {key}: {value}", ", ".join(PROPAGATIONS))
    found.words["propagation"] = value.lower()


def _set_nonrecursive(found: _Fields, key: str, value: str, word: str) -> None:
    found.used.add("bind")
    found.words["recursion"] = "disabled" if _boolean(key, value, word) else "enabled"


def _set_recursive(found: _Fields, key: str, value: str, word: str) -> None:
    found.used.add("bind")
    word_of = value.lower()
    if word_of in (*_TRUE, *_FALSE):
        word_of = "enabled" if word_of in _TRUE else "disabled"
    if word_of not in ("enabled", "disabled", "writable", "readonly"):
        raise _invalid(word, f"invalid value for {key}: {value}", "enabled, disabled, writable or readonly")
    found.words["recursion"] = word_of


def _set_idmap(found: _Fields, key: str, value: str, word: str) -> None:
    found.words["idmap"] = _boolean(key, value, word)


def _set_nocopy(found: _Fields, key: str, value: str, word: str) -> None:
    found.used.add("volume")
    found.words["nocopy"] = _boolean(key, value, word)


def _set_subpath(found: _Fields, key: str, value: str, word: str) -> None:
    whole = key.partition("-")[0]
    found.used.add(whole)
    if value.startswith("/") or ".." in value.split("/"):
        raise _invalid(
            word, f"the subpath {value!r} leads out of the {whole}", f"a path relative to the {whole}'s root"
        )
    found.words["subpath"] = posixpath.normpath(value) if value else ""


def _set_label(found: _Fields, _key: str, value: str, _word: str) -> None:
    found.used.add("volume")
    name, _, text = value.partition("=")
    found.words["labels"] = (*found.words.get("labels", ()), (name, text))


def _set_driver(found: _Fields, key: str, value: str, word: str) -> None:
    found.used.add("volume")
    if value not in ("", "local"):
        raise _invalid(word, f"there is no volume driver {value!r}", "local is the only one")


def _refuse_driver_option(found: _Fields, _key: str, value: str, word: str) -> None:
    raise _invalid(word, f"the driver local takes no option here, got {value!r}", "mount a bind or a tmpfs instead")


def _set_size(found: _Fields, _key: str, value: str, _word: str) -> None:
    found.used.add("tmpfs")
    found.words["size"] = size(value)


def _set_mode(found: _Fields, key: str, value: str, word: str) -> None:
    found.used.add("tmpfs")
    if not re.fullmatch("[0-7]{1,5}", value):
        raise _invalid(word, f"invalid value for {key}: {value}", "octal digits, such as 1777")
    found.words["mode"] = value


_SWITCHES = ("readonly", "ro", "idmap", "volume-nocopy", "bind-nonrecursive")
_KEYS = {
    "type": _set_kind,
    "source": _set_source,
    "src": _set_source,
    "target": _set_target,
    "destination": _set_target,
    "dst": _set_target,
    "readonly": _set_readonly,
    "ro": _set_readonly,
    "consistency": _ignore,
    "idmap": _set_idmap,
    "bind-propagation": _set_propagation,
    "bind-nonrecursive": _set_nonrecursive,
    "bind-recursive": _set_recursive,
    "volume-nocopy": _set_nocopy,
    "volume-subpath": _set_subpath,
    "volume-label": _set_label,
    "volume-driver": _set_driver,
    "volume-opt": _refuse_driver_option,
    "image-subpath": _set_subpath,
    "tmpfs-size": _set_size,
    "tmpfs-mode": _set_mode,
}


def inside(path: str, word: str) -> str:
    """A place in the container: absolute, and not its root."""
    if not path.startswith("/") or posixpath.normpath(path) in ("/", "//"):
        raise NBContainersError(
            f"not a place inside: {path!r} in {word!r}", hint="an absolute path other than / is wanted"
        )
    return posixpath.normpath(path)
