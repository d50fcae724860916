"""How lists are printed: Docker's tables, JSON lines, and Go's templates; sizes and ages as Docker words them."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ..errors import NBContainersError
from .template import functions, syntax
from .template.execute import execute
from .template.syntax import Template, TemplateError
from .template.values import Titles, Value, written

Row = Mapping[str, Any]

_WANTED = "wanted: table, json, or fields such as '{{.ID}} {{.Names}}', '{{json .}}' or 'table {{.ID}}\\t{{.Names}}'"
_COLUMN = "\0"  # between the columns of a table, whose cells may have tabs
_HOURS = ((48, 1, "hours"), (24 * 14, 24, "days"), (24 * 60, 24 * 7, "weeks"), (24 * 730, 24 * 30, "months"))


def rows(items: Iterable[Row], form: str | None, columns: Sequence[tuple[str, str]]) -> str:
    """Print rows as ``form`` says: None or ``table`` with the columns (title, key), ``json`` a line each, or fields.

    ``table`` with fields behind it is a table of these, with a column for each that a tab divides from the next. Fields are a
    template of Go's, with Docker's functions.

    Raises:
        NBContainersError: the form is none of these, or names a field that the rows do not have.
    """
    if form in (None, "", "table"):
        return table([title for title, _ in columns], [[str(row[key]) for _, key in columns] for row in items])
    if form == "json":
        return "\n".join(written(dict(row)) for row in items)
    assert form is not None
    is_table = form.startswith("table ")
    template = _parsed(form, tab=_COLUMN if is_table else "\t")  # also where there are no rows
    if is_table:
        named = _filled(Titles({key: title for title, key in columns}), template, form)
        return table(*_cells([named, *(_filled(row, template, form) for row in items)]))
    return "\n".join(_filled(row, template, form) for row in items)


def natural(word: str) -> tuple[tuple[int, int, int], ...]:
    """What sorts words as docker does names: digits by the number that they are, and of one number the shortest first."""
    return tuple(
        (ord("0"), int(part), len(part)) if part.isdigit() else (ord(part), 0, 0)
        for part in re.findall(r"[0-9]+|[^0-9]", word, re.DOTALL)
    )


def fields(row: Row, form: str) -> str:
    """One row by a template of Go's, with Docker's functions: ``{{.Field.Sub}}``, ``{{json .Field}}``, ``{{range .List}}``.

    Raises:
        NBContainersError: it is not well formed, or asks for what the row does not have.
    """
    return _filled(row, _parsed(form), form)


def _parsed(form: str, *, tab: str | None = None) -> Template:
    try:
        template = syntax.parse(form.removeprefix("table "), functions.NAMES, tab=tab)
    except TemplateError as error:
        raise NBContainersError(f"cannot print by the format {form!r}: {error}", hint=error.hint or _WANTED) from None
    if all(isinstance(node, syntax.Text) for node in template.nodes):
        raise NBContainersError(f"cannot print by the format {form!r}: there is no field in it", hint=_WANTED)
    return template


def _filled(row: Row | Titles, template: Template, form: str) -> str:
    """What a template prints of a row, or, as with Docker, of its JSON where it asks for what a row's types do not have."""
    try:
        return execute(template, Value(row))
    except TemplateError as error:
        with suppress(TemplateError):
            return execute(template, Value(row, None))
        raise NBContainersError(f"{error} for the format {form!r}", hint=error.hint) from None


def _cells(lines: Iterable[str]) -> tuple[list[str], list[list[str]]]:
    """(the titles, the cells of each row), as many in each."""
    split = [line.split(_COLUMN) for line in lines]
    most = max(map(len, split))
    titles, *body = [line + [""] * (most - len(line)) for line in split]
    return titles, body


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


def ports(published: Iterable[tuple[str, int, int, str]], exposed: Iterable[str] = ()) -> str:
    """Published ports as ``docker ps`` writes them: 0.0.0.0:8080->80/tcp; before them, in ranges, those that have the same number on
    this host, and the ``exposed`` ones (443/tcp) that are not published.
    """
    rows = [(inside, host, number, protocol) for host, number, inside, protocol in published]
    known = {f"{inside}/{protocol}" for inside, _, _, protocol in rows}
    alone = (port.partition("/") for port in exposed if port not in known)
    rows += [(int(number), "", int(number), protocol) for number, _, protocol in alone]
    spans, ranges, others = dict[tuple[str, str], tuple[int, int]](), list[str](), list[str]()
    for inside, host, number, protocol in sorted(rows):
        if number != inside:
            others.append(f"{address(host)}:{number}->{inside}/{protocol}")
            continue
        first, last = spans.get((host, protocol), (inside, inside - 1))
        if last != inside - 1:
            ranges.append(_range(host, protocol, first, last))
            first = inside
        spans[host, protocol] = first, inside
    ranges += [_range(*key, *span) for key, span in spans.items()]
    return ", ".join(ranges + others)


def _range(host: str, protocol: str, first: int, last: int) -> str:
    numbers = f"{first}-{last}" if first != last else f"{first}"
    return f"{address(host)}:{numbers}->{numbers}/{protocol}" if host else f"{numbers}/{protocol}"


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
