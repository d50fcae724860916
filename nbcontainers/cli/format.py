"""How lists are printed: Docker's tables, JSON lines, and ``{{.Field}}`` paths; sizes and ages as Docker words them."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..errors import NBContainersError

Row = Mapping[str, Any]

_KEY = re.compile(r'\s+(?:"([^"]*)"|`([^`]*)`|(\d+))')
_FIELD = re.compile(
    r"\{\{\s*(?:(?P<json>json\s+)?(?P<path>(?:\.\w+)+|\.)|"
    r'\.Label\s+(?:"(?P<label>[^"]*)"|`(?P<raw>[^`]*)`)|'
    rf"index\s+(?P<whole>(?:\.\w+)+|\.)(?P<keys>(?:{_KEY.pattern})+))\s*\}}\}}"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")  # between the words of a key
# What Docker prints of a value that is not there is that of its type: nothing of a pointer, an empty map, or an empty list.
_POINTERS = frozenset("PidsLimit OomKillDisable MemorySwappiness StopTimeout Health Healthcheck".split())
_SELDOM = frozenset((".State.Health", ".Config.Healthcheck"))  # fields that are there though the JSON lacks their key
_MAPS = frozenset(
    "ExposedPorts Volumes Labels PortBindings Sysctls Tmpfs Annotations Ports "
    "Networks Containers Options DriverOpts GraphDriver.Data LogConfig.Config".split()
)
# Maps whose keys are no plain text to Go: what they lack is a field that does not exist.
_OF_PORTS = frozenset("ExposedPorts PortBindings Ports".split())
_NO_VALUE = "<no value>"
# The fields of an object whose JSON leaves out the empty ones, which Go's own form has.
_ALL_FIELDS = {"Mounts": "Type Name Source Destination Driver Mode RW Propagation".split()}
_MARKS = str.maketrans("-_", "  ")
_HOURS = ((48, 1, "hours"), (24 * 14, 24, "days"), (24 * 60, 24 * 7, "weeks"), (24 * 730, 24 * 30, "months"))


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


def rows(items: Iterable[Row], form: str | None, columns: Sequence[tuple[str, str]]) -> str:
    """Print rows as ``form`` says: None or ``table`` with the columns (title, key), ``json`` a line each, or fields.

    ``table`` with fields behind it is a table of these, with a column for each that a tab divides from the next.

    Raises:
        NBContainersError: the form is none of these, or names a field that the rows do not have.
    """
    if form in (None, "", "table"):
        return table([title for title, _ in columns], [[str(row[key]) for _, key in columns] for row in items])
    if form == "json":
        return "\n".join(written(dict(row)) for row in items)
    assert form is not None
    _require_template(form)  # also where there are no rows
    if form.startswith("table "):
        cells = form.removeprefix("table ").replace(r"\t", "\t").split("\t")
        known = {key: title for title, key in columns}
        return table([_title(cell, known) for cell in cells], [[_filled(row, cell) for cell in cells] for row in items])
    return "\n".join(fields(row, form) for row in items)


def fields(row: Row, form: str) -> str:
    """One row by a template of ``{{.Field}}`` and ``{{.Field.Sub}}``, which are as Go prints them, ``{{json .Field}}``, and
    ``{{index .Field "key"}}`` for a key that is no word; of rows with labels also ``{{.Label "name"}}``, which may be empty.
    """
    _require_template(form)
    return _filled(row, form)


def _title(cell: str, known: Mapping[str, str]) -> str:
    """What stands above a column of fields: Docker's titles, or else the words of the key."""

    def title(match: re.Match[str]) -> str:
        if (name := _label(match)) is not None:
            return name.rpartition(".")[2].translate(_MARKS)
        key = (match["path"] or match["whole"]).rpartition(".")[2]
        return known.get(key) or _WORD.sub(" ", key).upper()

    return _FIELD.sub(title, cell)


def _filled(row: Row, template: str) -> str:
    """A template, or a part of one, with a row's values in the places of its fields."""

    def value(match: re.Match[str]) -> str:
        found: Any = row
        path = ""
        if (label := _label(match)) is not None:
            labels = row.get("Labels")
            return labels.known.get(label, "") if isinstance(labels, Labels) else _member(row, "Label", template)
        for name in filter(None, (match["path"] or match["whole"]).split(".")):
            if isinstance(found, Mapping | None) and name not in (found or ()):
                if match["path"] in _SELDOM:
                    return "null" if match["json"] else "<nil>"
                if _is_map(path) and path.rpartition(".")[2] not in _OF_PORTS:
                    return "null" if match["json"] else _NO_VALUE
            found = _member(found, name, template)
            path = f"{path}.{name}".strip(".")
        for key in _KEY.finditer(match["keys"] or ""):
            found, path = _indexed(found, path, key, template)
        return written(found) if match["json"] else _go(found, path)

    return _FIELD.sub(value, template.replace(r"\t", "\t").replace(r"\n", "\n"))


def _label(match: re.Match[str]) -> str | None:
    """The name of ``.Label "name"``; None for what is another field."""
    return match["raw"] if match["label"] is None else match["label"]


def _member(found: Any, name: str, template: str) -> Any:
    if isinstance(found, Mapping) and name in found:
        return found[name]
    known = ", ".join(f".{key}" for key in found) if isinstance(found, Mapping) else "none: it is a plain value"
    raise NBContainersError(f"no field .{name} for the format {template!r}", hint=f"the fields are: {known}")


def _indexed(found: Any, path: str, key: re.Match[str], template: str) -> tuple[Any, str]:
    """(an entry of a map or list, what stands for its path): of what a map lacks, what Go has for nothing of that type."""
    name, number = key[1] if key[1] is not None else key[2], key[3]
    if name is not None and isinstance(found, Mapping | None) and (found is None or _is_map(path) or name in found):
        is_object = path.rpartition(".")[2] in {"Networks", "Containers"}
        lacks = _NO_VALUE if path.rpartition(".")[2] in _OF_PORTS else "<nil>" if is_object else ""
        return (found or {}).get(name, lacks), f"{path}.{name}"
    if number is not None and isinstance(found, list | tuple) and int(number) < len(found):
        return found[int(number)], path
    raise NBContainersError(
        f"no entry {key[0].strip()} for the format {template!r}",
        hint='index takes "NAME" from a map, or the number of one of the entries of a list, counted from 0',
    )


def _is_map(path: str) -> bool:
    above, _, key = path.rpartition(".")
    return key in _MAPS or f"{above.rpartition('.')[2]}.{key}" in _MAPS


def _go(value: Any, path: str) -> str:
    """A value as Go's templates print it: [a b], map[key:value] with its keys in order, and of an object {its values}."""
    is_map = _is_map(path)
    match value:
        case None:
            return "<nil>" if path.rpartition(".")[2] in _POINTERS else "map[]" if is_map else "[]"
        case bool():
            return str(value).lower()
        case Mapping() if is_map:
            return "map[" + " ".join(f"{name}:{_go(value[name], '')}" for name in sorted(value)) + "]"
        case Mapping():
            names = _ALL_FIELDS.get(path, value)
            return "{" + " ".join(_go(value.get(name, ""), f"{path}.{name}") for name in names) + "}"
        case list() | tuple():
            return "[" + " ".join(_go(item, path) for item in value) + "]"
        case _:
            return str(value)


def _require_template(form: str) -> None:
    rest = _FIELD.sub("", form)
    if "{{" in rest or "}}" in rest or not _FIELD.search(form):
        raise NBContainersError(
            f"cannot print by the format {form!r}",
            hint="wanted: table, json, or fields such as '{{.ID}} {{.Names}}', '{{json .}}' or 'table {{.ID}}\\t{{.Names}}'",
        )


def table(titles: Sequence[str], body: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Columns padded to their widest cell, three spaces apart; those numbered in ``right`` are aligned to the right."""
    everything = [list(titles), *[list(line) for line in body]]
    widths = [max(len(line[column]) for line in everything) for column in range(len(titles))]
    return "\n".join(
        "   ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in everything
    )


def ports(published: Iterable[tuple[str, int, int, str]]) -> str:
    """Published ports as ``docker ps`` writes them: 0.0.0.0:8080->80/tcp."""
    return ", ".join(f"{address(host)}:{number}->{inside}/{protocol}" for host, number, inside, protocol in published)


def address(text: str) -> str:
    """An address as it stands before a port."""
    return f"[{text}]" if ":" in text else text


def size(count: float) -> str:
    """Bytes in powers of 1000 with three digits, as ``docker images`` writes them: 12.4MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g}{unit}" if unit != "B" else f"{count:.0f}B"
        count /= 1000
    return f"{count:.3g}TB"


def binary_size(count: float) -> str:
    """Bytes in powers of 1024, as ``docker stats`` writes them: 12.4MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.4g}{unit}"
        count /= 1024
    return f"{count:.4g}TiB"


def age(instant: float, *, now: float | None = None) -> str:
    """How long ago an instant was, as ``docker ps`` words it: 5 minutes ago."""
    return f"{duration((now if now is not None else time.time()) - instant)} ago" if instant else "N/A"


def instant(when: float) -> str:
    """A point in time as Docker's lists have it; 0 is one that has not come."""
    return moment(when) if when else "N/A"


def moment(when: float) -> str:
    """A point in time, whichever it is."""
    return time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(when))


def duration(seconds: float) -> str:
    """A length of time in one unit, in Docker's words: 5 minutes. Source: github.com/docker/go-units, HumanDuration."""
    whole = max(0, int(seconds))
    if whole < 60:
        return "Less than a second" if whole < 1 else f"{whole} second{'s' * (whole != 1)}"
    if whole < 3600:
        return "About a minute" if whole < 120 else f"{whole // 60} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    for limit, unit, name in _HOURS:
        if hours < limit:
            return f"{hours // unit} {name}"
    return f"{int(seconds / 3600) // 24 // 365} years"


def result(
    value: Any, chosen: str | None, as_text: Callable[[Any], str], as_json: Callable[[Any], Any] = dataclasses.asdict
) -> str:
    """A result as its text, or as JSON, or by a template of fields."""
    if chosen in (None, "", "table"):
        return str(as_text(value))
    data = as_json(value)
    return written(data) if chosen == "json" else fields(data, str(chosen))


def written(data: Any) -> str:
    """JSON on one line as Go writes it, which can be sent anywhere: what is no UTF-8 in a name (surrogateescape) is an escape."""
    text = json.dumps(data, ensure_ascii=False, default=str, separators=(",", ":"))
    return text if text.isprintable() else _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
