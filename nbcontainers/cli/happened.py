"""The verb that tells what happens in the store."""

from __future__ import annotations

import datetime
from argparse import Namespace
from typing import Any

from ..engine import Engine
from ..engine.selection import moment
from ..results import Happening
from . import format as form
from .console import Console
from .flags import FORMAT, Command, Flag, filters
from .template.values import written
from .text import printable

SINCE = Flag(names=("--since",), metavar="TIME", help="from then on: an instant, or how long ago (10m)")
UNTIL = Flag(names=("--until",), metavar="TIME", help="until then: an instant, or how long ago (10m)")


def events(engine: Engine, values: Namespace, console: Console) -> int:
    """Tell what happens, as it comes."""
    since = moment(values.since) if values.since else None
    until = moment(values.until) if values.until else None
    for one in engine.events(*values.filter, since=since, until=until):
        if values.format in (None, "", "table"):
            console.print(line(one))
        elif values.format == "json":
            console.print(written(fields(one)))
        else:
            console.print(form.fields(fields(one), values.format))
        console.out.flush()
    return 0


def line(one: Happening) -> str:
    """One event as docker prints it."""
    at = datetime.datetime.fromtimestamp(one.time, datetime.UTC).isoformat().replace("+00:00", "Z")
    words = ", ".join(f"{key}={value}" for key, value in one.attributes)
    return printable(f"{at} {one.kind} {one.action} {one.id} ({words})")


def fields(one: Happening) -> dict[str, Any]:
    """One event by Docker's keys. Source: Docker Engine API 1.45, EventMessage."""
    return {
        "Type": one.kind,
        "Action": one.action,
        "Actor": {"ID": one.id, "Attributes": dict(one.attributes)},
        "ID": one.id,
        "id": one.id,
        "status": one.action,
        "from": dict(one.attributes).get("image", ""),
        "scope": "local",
        "time": int(one.time),
        "timeNano": int(one.time * 1e9),
    }


VERBS = (
    Command(
        name="events",
        act=events,
        summary="tell what happens to containers and images",
        flags=(
            SINCE,
            UNTIL,
            filters("only some: type, event, container, image, label"),
            FORMAT,
        ),
    ),
)
