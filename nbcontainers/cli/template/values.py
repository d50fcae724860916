"""Values of a template: what Go knows of each by its type, which JSON does not say, is known here by where it stands.

Docker runs a template on its own objects and, where that fails, once more on the JSON of them. So a value here has a path, which
tells a map from an object and nothing of a map from nothing of a list; the JSON's values have none, and all their objects are maps.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .syntax import TemplateError

_SURROGATE = re.compile("[\ud800-\udfff]")
_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")  # between the words of a key
_MARKS = str.maketrans("-_", "  ")
# What Go prints of a value that is not there is that of its type: nothing of a pointer, an empty map, or an empty list.
_POINTERS = frozenset(
    "PidsLimit OomKillDisable MemorySwappiness StopTimeout Health Healthcheck Init Networks.* SizeRw SizeRootFs".split()
)
_MAPS = frozenset(
    "ExposedPorts Volumes Labels PortBindings Sysctls Tmpfs Annotations Ports StorageOpt "
    "Networks Containers Attributes Options DriverOpts GraphDriver.Data LogConfig.Config".split()
)
# Maps whose keys are no plain text to Go: they cannot be asked for one, and a key knows its parts.
_OF_PORTS = frozenset("ExposedPorts PortBindings Ports".split())
_PORT: Final = "*port"
# What fields are called in Go that have another name in JSON: an object of Docker's knows the first, and its JSON the second.
_GO_NAMES = dict(
    pair.split(":")
    for pair in (
        "ID:Id HostIP:HostIp DNS:Dns DNSOptions:DnsOptions DNSSearch:DnsSearch NanoCPUs:NanoCpus CPUShares:CpuShares "
        "CPUPeriod:CpuPeriod CPUQuota:CpuQuota CPURealtimePeriod:CpuRealtimePeriod "
        "CPURealtimeRuntime:CpuRealtimeRuntime CPUCount:CpuCount CPUPercent:CpuPercent "
        "Status:status From:from Scope:scope Time:time TimeNano:timeNano"
    ).split()
)
_JSON_NAMES = frozenset(_GO_NAMES.values())
# The fields of an object whose JSON leaves out the empty ones, which Go's own form has.
_ALL_FIELDS = {"Mounts": "Type Name Source Destination Driver Mode RW Propagation".split()}
_CONTAINER = "container"
_OMITTED: Mapping[str, Mapping[str, Any]] = {
    _CONTAINER: dict.fromkeys(("SizeRw", "SizeRootFs")),
    "Mounts": dict.fromkeys(_ALL_FIELDS["Mounts"], ""),
    "State": {"Health": None},
    "Config": {
        **dict.fromkeys(("Healthcheck", "ExposedPorts", "StopTimeout", "Shell")),
        **dict.fromkeys(("ArgsEscaped", "NetworkDisabled"), False),
        **dict.fromkeys(("MacAddress", "StopSignal"), ""),
    },
    "HostConfig": dict.fromkeys(("Annotations", "Sysctls", "StorageOpt", "Tmpfs", "Mounts", "Init")),
}


class Labels(str):
    """Labels as a list shows them, ``a=b,c=d``, that still knows them apart, for ``{{.Label "a"}}``."""

    __slots__ = ("known",)
    known: Mapping[str, str]

    def __new__(cls, pairs: Iterable[tuple[str, str]]) -> Labels:
        """From names and values."""
        known = dict(pairs)
        made = super().__new__(cls, ",".join(f"{name}={value}" for name, value in known.items()))
        made.known = known
        return made


class Title(str):
    """What stands above a column, which a template may walk further."""


@dataclass(frozen=True)
class Titles:
    """What a template for a row finds in place of one: of each field what stands above its column."""

    known: Mapping[str, str]

    def of(self, name: str) -> str:
        """Docker's title, or else the words of the key."""
        return self.known.get(name) or _WORD.sub(" ", name).upper()


@dataclass(frozen=True, slots=True)
class Value:
    """Something that a template walks, compares or shows: data as JSON has it; ``path`` is None where its type is not known."""

    data: Any
    path: str | None = ""


class _Nothing:
    """What a map has for a key that it lacks, where it is asked for by its name."""


NOTHING: Final = Value(_Nothing())


def member(value: Value, name: str) -> Value:
    """A field of an object, or what a map has for a key; where it lacks it, NOTHING, or in JSON an error."""
    data = value.data
    if value is NOTHING:
        return NOTHING
    if isinstance(data, Titles):
        return Value(Title(data.of(name)))
    if isinstance(data, Title):
        return Value(Title(Titles({}).of(name)))
    if value.path == _PORT and name in ("Port", "Int", "Proto"):
        number, _, protocol = data.partition("/")
        return Value({"Port": number, "Int": int(number), "Proto": protocol}[name])
    if isinstance(data, Mapping):
        is_object = value.path is not None and not is_map(value)
        key = _GO_NAMES.get(name, name) if is_object and name not in data else name
        if key in data and not (is_object and name in _JSON_NAMES):
            return entry(value, key)
    if value.path is not None and is_map(value) and _last(value.path) not in _OF_PORTS:
        return NOTHING
    is_container = value.path == "" and isinstance(data, Mapping) and "HostConfig" in data
    omitted = _OMITTED.get(_CONTAINER if is_container else value.path or "", {})
    if isinstance(data, Mapping) and name in omitted:
        return Value(omitted[name], f"{value.path}.{name}")
    if data is None:
        raise TemplateError(f"no field .{name}: there is nothing to have it")
    known = ", ".join(f".{key}" for key in data) if isinstance(data, Mapping) else "none: it is a plain value"
    raise TemplateError(f"no field .{name}", f"the fields are: {known}")


def entry(value: Value, key: Any) -> Value:
    """What a map, an object or a list has for a key that it has."""
    if value.path is None:
        return Value(value.data[key], None)
    if isinstance(value.data, Mapping):
        name = "*" if is_map(value) else key
        return Value(value.data[key], f"{value.path}.{name}" if value.path else str(key))
    return Value(value.data[key], value.path)


def index(value: Value, key: Value) -> Value:
    """What a map has for a key, or else what its type has for nothing; what a list has at a number.

    Raises:
        TemplateError: a list has no such entry, or this is neither, or the key is not of its kind.
    """
    data, wanted = value.data, key.data
    if isinstance(wanted, str) and (is_map(value) or isinstance(data, Mapping)):
        if value.path is not None and _last(value.path) in _OF_PORTS:
            raise TemplateError("a port is no text to be asked for")  # as to Go: the JSON's is
        if data is not None and wanted in data:
            return entry(value, wanted)
        if not is_map(value):
            raise TemplateError(
                f"no entry {written(wanted)}", f"the entries are: {', '.join(map(written, data or ()))}"
            )
        nothing = f"{value.path}.*"
        return Value(None, None) if value.path is None else Value(None if is_pointer(nothing) else "", nothing)
    if type(wanted) is int and isinstance(data, list | tuple) and 0 <= wanted < len(data):
        return entry(value, wanted)
    raise TemplateError(
        f"no entry {written(wanted)}",
        'index takes "NAME" from a map, or the number of one of the entries of a list, counted from 0',
    )


def pairs(value: Value) -> Iterator[tuple[Value, Value]]:
    """What a range goes through: numbers and entries of a list, keys in order and entries of a map; of a number those below it."""
    data = value.data
    if value is NOTHING or (data is None and not is_pointer(value.path)):
        return
    if isinstance(data, list | tuple):
        yield from ((Value(number), entry(value, number)) for number in range(len(data)))
    elif is_map(value):
        of_keys = _PORT if value.path is not None and _last(value.path) in _OF_PORTS else ""
        yield from ((Value(key, of_keys), entry(value, key)) for key in sorted(data))
    elif type(data) is int:
        yield from ((Value(number), Value(number)) for number in range(data))
    else:
        raise TemplateError(f"range cannot go through {kind(value)}", "it goes through a list, a map or up to a number")


def is_true(value: Value) -> bool:
    """Whether there is something: not nothing, false, 0, or an empty text, list or map; an object always is."""
    if value is NOTHING:
        return False
    return bool(value.data) or (isinstance(value.data, Mapping) and not is_map(value))


def is_map(value: Value) -> bool:
    """Whether it is a map, be it nothing, and no object."""
    if value.path is None:
        return isinstance(value.data, Mapping)
    return isinstance(value.data, Mapping | None) and _is_one_of(_MAPS, value.path)


def is_pointer(path: str | None) -> bool:
    """Whether nothing stands here for a pointer that is nil, which Go does not take for an empty list or map."""
    return path is not None and _is_one_of(_POINTERS, path)


def show(value: Value) -> str:
    """What an action prints of a value."""
    return "<no value>" if value is NOTHING or (value.path is None and value.data is None) else text(value)


def text(value: Value) -> str:
    """A value as Go prints it: [a b], map[key:value] with its keys in order, and of an object {its values}."""
    data = value.data
    match data:
        case _Nothing():
            return "<nil>"
        case None:
            if value.path is None or is_pointer(value.path):
                return "<nil>"
            return "map[]" if is_map(value) else "[]"
        case bool():
            return str(data).lower()
        case float():
            return str(data).removesuffix(".0")
        case Mapping() if is_map(value):
            return "map[" + " ".join(f"{name}:{text(entry(value, name))}" for name in sorted(data)) + "]"
        case Mapping():
            names = _ALL_FIELDS.get(value.path or "", data)
            return "{" + " ".join(text(entry(value, name)) if name in data else "" for name in names) + "}"
        case list() | tuple():
            return "[" + " ".join(text(entry(value, number)) for number in range(len(data))) + "]"
        case Titles():
            raise TemplateError("a table has columns of fields, and the whole row is none")
        case _:
            return str(data)


def kind(value: Value) -> str:
    """The name of its type in Go."""
    if value is NOTHING or value.data is None:
        return "nil"
    names = {bool: "bool", int: "int", float: "float64", list: "list", tuple: "list"}
    return names.get(
        type(value.data), "string" if isinstance(value.data, str) else "map" if is_map(value) else "object"
    )


def written(data: Any) -> str:
    """JSON on one line as Go writes it, which can be sent anywhere: what is no UTF-8 in a name (surrogateescape) is an escape."""
    text = json.dumps(data, ensure_ascii=False, default=str, separators=(",", ":"))
    return text if text.isprintable() else _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def label(value: Value, name: str) -> Value:
    """``.Label "name"`` of a row of a list: empty where it has no such label; the end of the name above a column."""
    if isinstance(value.data, Titles):
        return Value(Title(name.rpartition(".")[2].translate(_MARKS)))
    labels = value.data.get("Labels") if isinstance(value.data, Mapping) else None
    if isinstance(labels, Labels):
        return Value(labels.known.get(name, ""))
    return member(value, "Label")


def _is_one_of(names: frozenset[str], path: str) -> bool:
    above, _, key = path.rpartition(".")
    return key in names or f"{above.rpartition('.')[2]}.{key}" in names


def _last(path: str) -> str:
    return path.rpartition(".")[2]
