"""``RUN --mount=…`` read: what is shown to a command while it runs, and is no part of the layer."""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

from . import instructions as ins
from .source import did_you_mean, wrong

MountType = Literal["bind", "cache", "tmpfs", "secret", "ssh"]
Sharing = Literal["shared", "private", "locked"]
_NAMES = {
    **{
        name: name
        for name in ("type", "from", "source", "target", "id", "sharing", "mode", "uid", "gid", "size", "env")
    },
    **{name: name for name in ("readonly", "readwrite", "required")},
    "src": "source",
    "dst": "target",
    "destination": "target",
    "ro": "readonly",
    "rw": "readwrite",
}
_SWITCHES = {"readonly", "readwrite", "required"}
_TRUE, _FALSE = ("1", "t", "true"), ("0", "f", "false")
_ONLY: dict[str, tuple[str, ...]] = {
    "sharing": ("cache",),
    "mode": ("cache", "secret", "ssh"),
    "uid": ("cache", "secret", "ssh"),
    "gid": ("cache", "secret", "ssh"),
    "from": ("bind", "cache", "tmpfs", "ssh"),
}
# BuildKit holds these against the type that was given before them, "bind" where none was.
_BEHIND_TYPE: dict[str, tuple[str, ...]] = {"required": ("secret", "ssh"), "size": ("tmpfs",)}
# What BuildKit takes and nobody reads: the kinds for which it means something.
_READ_FOR: dict[str, tuple[str, ...]] = {
    "env": ("secret",),
    "id": ("cache", "secret", "ssh"),
    "from": ("bind", "cache"),
}
_NUMBER = r"\+?(?:[0-9](?:_?[0-9])*\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"  # as Go reads one
_SIZE = re.compile(rf"({_NUMBER}) ?(?:[bB]|([kKmMgGtTpP])(?:[iI]?[bB])?)?")
_POWERS = "kmgtp"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMount:
    """One mount of a RUN.

    ``target`` is absolute (empty for a secret that is only a variable). ``source`` is a path in what it shows: the tree of
    the node ``origin``, or the context of that name ("" is the build's own). ``id`` names a cache, a secret or an agent;
    ``mode``, ``uid`` and ``gid`` are None where not given; ``size`` is in bytes, 0 for no limit.
    """

    type: MountType
    target: str
    source: str = "/"
    origin: int | None = None
    context: str | None = None
    read_only: bool = False
    id: str = ""
    sharing: Sharing = "shared"
    required: bool = False
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int = 0
    env: str = ""

    @property
    def identity(self) -> tuple[object, ...]:
        """What the cache key knows of it; where its content comes from is told by a digest beside it."""
        plain = replace(self, origin=None)
        return tuple(getattr(plain, name) for name in self.__slots__)


def origin_of(flag: ins.Flag) -> str:
    """The ``from=`` of a mount, as it is written; empty where it has none. A variable in it is an error."""
    found = next((value for key, value in _fields(flag) if key.lower() == "from"), "")
    if re.search(r"\$.", found):
        raise wrong(
            f"RUN --mount has a variable in from={found}",
            flag.range,
            hint="it cannot be replaced there: name a stage with FROM and the variable, and mount from that stage",
        )
    return found


def read(
    flag: ins.Flag, expand: Callable[[str], str], workdir: str, tell: Callable[[str], None] = lambda _: None
) -> RunMount:
    """The mount that a flag describes. DockerfileError where it cannot be one.

    Args:
        flag: the flag ``--mount``.
        expand: replaces the variables of a value.
        workdir: what a relative target counts from.
        tell: is told of options that do nothing for such a mount.

    """
    values, kind = dict[str, str](), "bind"
    for key, written in _fields(flag):
        name = _NAMES.get(key.lower())
        if name is None:
            raise wrong(f"RUN --mount has no option {key!r}", flag.range, hint=did_you_mean(key, _NAMES))
        if not written and name not in _SWITCHES and "=" not in flag.value.partition(key)[2][:1]:
            raise wrong(f"RUN --mount has {key!r} without a value", flag.range, hint=f"it reads {key}=VALUE")
        values[name] = expand(written) if written else ""
        kind = values.pop("type", kind).lower()
        if kind not in get_args(MountType):
            raise wrong(f"RUN --mount has the type {kind!r}", flag.range, hint=did_you_mean(kind, get_args(MountType)))
        _check_kind(flag, name, _BEHIND_TYPE.get(name), kind)
    for name in values:
        _check_kind(flag, name, _ONLY.get(name), kind)
    source = posixpath.normpath("/" + values.get("source", "").lstrip("/"))
    if kind == "tmpfs" and source != "/":
        raise wrong(
            f"RUN --mount has source={source}, and its type is tmpfs", flag.range, hint="nothing is in it at first"
        )
    if kind == "ssh" and values.get("source"):
        raise wrong("RUN --mount has source, and its type is ssh", flag.range, hint="an agent is named with id=NAME")
    unread = [name for name, kinds in _READ_FOR.items() if values.get(name) and kind not in kinds]
    if unread:
        tell(
            f"RUN --mount has {' and '.join(unread)}, which {'does' if len(unread) == 1 else 'do'} nothing for a {kind}"
        )
    read_only = kind in ("bind", "secret", "ssh")
    for name, value in values.items():
        if name in ("readonly", "readwrite"):
            read_only = _switch(flag, name, value) == (name == "readonly")
    sharing = values.get("sharing", "shared").lower()
    if sharing not in get_args(Sharing):
        raise wrong(f"RUN --mount has sharing={sharing}", flag.range, hint=did_you_mean(sharing, get_args(Sharing)))
    target = values.get("target", "")
    mount = RunMount(
        type=cast("MountType", kind),
        target=target,
        source=source,
        read_only=read_only,
        id=values.get("id", ""),
        sharing=cast("Sharing", sharing),
        required="required" in values and _switch(flag, "required", values["required"]),
        mode=_number(flag, values, "mode", 8),
        uid=_number(flag, values, "uid", 10),
        gid=_number(flag, values, "gid", 10),
        size=_size(flag, values["size"]) if "size" in values else 0,
        env=values.get("env", "") if kind == "secret" else "",
    )
    if kind == "secret":
        return _secret(flag, mount, values, workdir)
    absolute = _absolute(workdir, target)
    if kind == "ssh" and not target:
        return replace(mount, id=mount.id or "default")
    if absolute == "/":
        raise wrong("RUN --mount has / for a target", flag.range, hint="it is a folder below, as in target=/src")
    name = "default" if kind == "ssh" else posixpath.normpath(target or absolute)
    return replace(mount, target=absolute, id=mount.id or name)


def _check_kind(flag: ins.Flag, name: str, kinds: tuple[str, ...] | None, kind: str) -> None:
    if kinds is not None and kind not in kinds:
        hint = f"it is for {' and '.join(kinds)}"
        if name in _BEHIND_TYPE:
            hint += ", and stands behind type="
        raise wrong(f"RUN --mount has {name!r}, and its type is {kind}", flag.range, hint=hint)


def _absolute(workdir: str, target: str) -> str:
    return "/" + posixpath.normpath(posixpath.join("/", workdir, target)).lstrip("/")


def _secret(flag: ins.Flag, mount: RunMount, values: dict[str, str], workdir: str) -> RunMount:
    source = values.get("source", "")
    if source and mount.id:
        raise wrong("RUN --mount has both source and id", flag.range, hint="a secret has one name: leave one out")
    identifier = source or mount.id or posixpath.basename(mount.target)
    if not identifier:
        raise wrong("RUN --mount has a secret without a name", flag.range, hint="it reads type=secret,id=NAME")
    if "env" in values and not mount.env:
        raise wrong("RUN --mount has env= without a name", flag.range, hint="it reads type=secret,id=NAME,env=VARIABLE")
    target = mount.target
    if not target and not mount.env:
        target = f"/run/secrets/{posixpath.basename(identifier)}"
    if target:
        target = _absolute(workdir, target)
    return replace(mount, id=identifier, target=target, source="/")


def _fields(flag: ins.Flag) -> list[tuple[str, str]]:
    try:
        (row,) = csv.reader([flag.value], strict=True)
    except (csv.Error, ValueError) as error:
        raise wrong(f"RUN --mount={flag.value} cannot be read: {error}", flag.range, hint="close the quotes") from error
    return [(key, value) for key, _, value in (field.partition("=") for field in row)]


def _switch(flag: ins.Flag, name: str, value: str) -> bool:
    if value.lower() not in ("", *_TRUE, *_FALSE):
        raise wrong(f"RUN --mount has {name}={value}", flag.range, hint="it is true or false")
    return value.lower() not in _FALSE


def _number(flag: ins.Flag, values: dict[str, str], name: str, radix: int) -> int | None:
    if name not in values:
        return None
    digits = "0-7" if radix == 8 else "0-9"
    found = int(values[name], radix) if re.fullmatch(f"[{digits}]+", values[name]) else -1
    if not 0 <= found < 1 << 32:
        kind = "octal, as in 0755" if radix == 8 else "a whole number"
        raise wrong(f"RUN --mount has {name}={values[name]}", flag.range, hint=f"it is {kind}")
    return found


def _size(flag: ins.Flag, text: str) -> int:
    found = _SIZE.fullmatch(text)
    if not found:
        raise wrong(f"RUN --mount has size={text}", flag.range, hint="a size is a number and a unit: 512k, 64m, 1g")
    power = _POWERS.index(found[2].lower()) + 1 if found[2] else 0
    return int(float(found[1]) * 1024**power)
