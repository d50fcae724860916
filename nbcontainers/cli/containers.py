"""The verbs that show containers."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import os
import re
import shlex
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote_plus

from ..engine import Container, Engine, volumes
from ..engine.selection import moment
from ..errors import Conflict, IntegrityError, InvalidReference, NBContainersError, NotFound
from ..results import ContainerState, Usage
from . import format as form
from .console import Console, inspect_each
from .flags import CONTAINER, FORMAT, NO_TRUNC, QUIET, Command, Flag, Operand, filters, whole
from .happened import SINCE, UNTIL
from .template.values import Labels
from .text import is_watched, printable

PS_COLUMNS = (
    ("CONTAINER ID", "ID"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("CREATED", "RunningFor"),
    ("STATUS", "Status"),
    ("PORTS", "Ports"),
    ("NAMES", "Names"),
)
STATS_COLUMNS = (
    ("CONTAINER ID", "ID"),
    ("NAME", "Name"),
    ("CPU %", "CPUPerc"),
    ("MEM USAGE / LIMIT", "MemUsage"),
    ("MEM %", "MemPerc"),
    ("NET I/O", "NetIO"),
    ("BLOCK I/O", "BlockIO"),
    ("PIDS", "PIDs"),
)


_UNKNOWN = {"Mounts": "", "LocalVolumes": "0", "Networks": ""}  # of one whose files cannot be read
_INSPECTED = ("container", "image", "network", "volume")  # in the order in which Docker looks
_WHOLE_ROW = re.compile(r"\bjson\s+\.[\s}|)]")  # all of it, and so the size


def ps(engine: Engine, values: Namespace, console: Console) -> int:
    """List containers."""
    return listed(chosen(engine, values), values, console)


def chosen(engine: Engine, values: Namespace) -> tuple[Container, ...]:
    """The containers that the flags of ``ps`` ask for."""
    count = 1 if values.latest else values.last if values.last and values.last > 0 else None
    return engine.containers(*values.filter, all=values.all or count is not None)[:count]


def listed(containers: Sequence[Container], values: Namespace, console: Console) -> int:
    """Print containers as the flags of ``ps`` say; 1 if the files of one cannot be read, which is told."""
    if values.quiet:
        for container in containers:
            console.print(container.id if values.no_trunc else container.id[:12])
        return 0
    items, damaged = ps_rows(containers, values)
    text = form.rows(items, values.format, ps_columns(values))
    if text:
        console.print(text)
    for one in damaged:
        console.tell(one)
    return int(bool(damaged))


def ps_columns(values: Namespace) -> tuple[tuple[str, str], ...]:
    """The columns of the table that the flags of ``ps`` ask for, as (title, key)."""
    return (*PS_COLUMNS, ("SIZE", "Size")) if values.size else PS_COLUMNS


def ps_rows(containers: Sequence[Container], values: Namespace) -> tuple[list[dict[str, Any]], list[IntegrityError]]:
    """A line of ``ps`` for each container, and what is wrong with those whose files cannot be read."""
    items, damaged = list[dict[str, Any]](), list[IntegrityError]()
    is_sized = values.size or ".Size" in (values.format or "") or _WHOLE_ROW.search(values.format or "") is not None
    unknown = {**_UNKNOWN, "Size": "" if is_sized else "0B"}  # which is what Docker has where it did not look
    for container in containers:
        state = container.state
        row = ps_row(state, truncate=not values.no_trunc) | unknown
        try:
            if state.pid:
                row["Ports"] = form.ports(state.ports, container.exposed())
            if values.format not in (None, "", "table"):
                row |= _attached(container, truncate=not values.no_trunc)
            if is_sized:
                row["Size"] = _size(container)
        except IntegrityError as error:
            damaged.append(error)
        items.append(row)
    return items, damaged


def _attached(container: Container, *, truncate: bool) -> dict[str, Any]:
    """What is mounted in it and the networks that it is on, as Docker's fields have it."""
    mounts = [entry for entry in container.asked.mounts if entry.kind != "tmpfs"]
    names = [entry.source for entry in mounts]
    return {
        "Mounts": printable(",".join(f"{name[:14]}…" if truncate and len(name) > 15 else name for name in names)),
        "LocalVolumes": str(sum(entry.kind == "volume" for entry in mounts)),
        "Networks": ",".join(container.networks),
    }


def _size(container: Container) -> str:
    """What it wrote, and with the image below it."""
    known = container.inspect(size=True)
    return f"{form.size(known['SizeRw'])} (virtual {form.size(known['SizeRootFs'])})"


def ps_row(state: ContainerState, *, truncate: bool = True) -> dict[str, Any]:
    """One line of ``ps``, by Docker's field names."""
    command = printable(shlex.join((*state.entrypoint, *state.command)))
    if truncate and len(command) > 20:
        command = command[:19] + "…"
    return {
        "ID": state.id[:12] if truncate else state.id,
        "Image": state.image,
        "Command": f'"{command}"',
        "CreatedAt": form.instant(state.created),
        "RunningFor": form.age(state.created),
        "State": state.status,
        "Status": status(state),
        "Ports": form.ports(state.ports) if state.pid else "",
        "Names": state.name,
        "Labels": Labels((printable(name), printable(value)) for name, value in state.labels),
        "Tier": state.tier,
    }


def status(state: ContainerState) -> str:
    """A container's state as ``docker ps`` words it."""
    match state.status:
        case "running":
            how = f" (health: {state.health.status})" if state.health and state.health.status == "starting" else ""
            how = how or (f" ({state.health.status})" if state.health else "")
            return f"Up {form.duration(time.time() - state.started)}{how}"
        case "paused":
            return f"Up {form.duration(time.time() - state.started)} (Paused)"
        case "exited":
            return f"Exited ({state.exit_code}) {form.age(state.finished)}" + (
                " (out of memory)" if state.out_of_memory else ""
            )
        case "restarting":
            return f"Restarting ({state.exit_code}) {form.age(state.finished)}"
        case "created" | "creating":
            return "Created"
        case "dead":
            return "Dead"


def logs(engine: Engine, values: Namespace, console: Console) -> int:
    """Print what a container wrote."""
    tail = None if values.tail in (None, "all") else whole(values.tail)
    tail = tail if tail is None or tail >= 0 else None
    since = moment(values.since) if values.since else None
    until = moment(values.until) if values.until else None
    container = engine.container(values.container)
    is_headed = values.timestamps or values.details
    details = f"{_queried(container.log_details())} " if values.details else ""
    unfinished: set[str] = set()  # streams whose line goes on
    for output in container.logs(follow=values.follow, tail=tail, since=since, until=until):
        if is_headed and output.stream not in unfinished:
            stamp = f"{_stamp(output.time or 0)} " if values.timestamps else ""
            (console.out if output.stream == "stdout" else console.err).write(stamp + details)
        console.write(output)
        (unfinished.discard if output.data.endswith(b"\n") else unfinished.add)(output.stream)
    return 0


def _stamp(instant: float) -> str:
    return datetime.datetime.fromtimestamp(instant, datetime.UTC).isoformat().replace("+00:00", "Z")


def _queried(pairs: Sequence[tuple[str, str]]) -> str:
    """Pairs in one word, as docker writes them: escaped like an address's query, but with commas between them."""
    return ",".join("=".join(map(quote_plus, pair)) for pair in pairs)


def inspect(engine: Engine, values: Namespace, console: Console) -> int:
    """All that is known of containers, images, networks and volumes, as one JSON list; what is not there is told after it."""
    if (values.type or _INSPECTED[0]) not in _INSPECTED:
        raise NBContainersError(f"no type {values.type!r} to inspect", hint=", ".join(_INSPECTED))
    look = functools.partial(inspected, engine, kind=values.type, size=values.size)
    return inspect_each(values.name, look, values.format, console)


def inspected(engine: Engine, word: str, kind: str | None, *, size: bool) -> dict[str, Any]:
    """What is known of the first that a word stands for, in Docker's order of kinds; of one ``kind`` only where it is given."""
    looks: tuple[Callable[[], dict[str, Any]], ...] = (
        lambda: engine.container(word).inspect(size=size),
        lambda: engine.inspect_image(word),
        lambda: engine.inspect_network(word),
        lambda: volumes.inspected(engine.volume(word)),
    )
    if kind:
        return looks[_INSPECTED.index(kind)]()
    for look in looks[:1] if word.startswith("/") else looks:  # as a container's name may, and no other does
        with contextlib.suppress(NotFound, InvalidReference):
            return look()
    raise NotFound(
        f"no such {', '.join(_INSPECTED[:-1])} or {_INSPECTED[-1]}: {word!r}",
        hint="'nbcontainers ps -a' and 'nbcontainers images' list them, 'network ls' and 'volume ls' the others",
    )


def stats(engine: Engine, values: Namespace, console: Console) -> int:
    """What containers use: once, or again every second until interrupted."""
    named = {word: engine.container(word) for word in values.container}
    containers = named or {container.id[:12]: container for container in engine.containers(all=values.all)}
    before = {container.id: used for container in containers.values() if (used := _usage(container)) is not None}
    while True:
        time.sleep(0.5 if values.no_stream else 1)
        items = []
        for called, container in containers.items():
            now = _usage(container)
            if now is not None:
                row = stats_row(container.state, before.get(container.id, now), now, whole=values.no_trunc)
                items.append(row | {"Container": called})
                before[container.id] = now
            elif named or values.all:  # as Docker shows one that does not run, where it is asked for
                with contextlib.suppress(NotFound):
                    row = stats_row(container.state, None, None, whole=values.no_trunc)
                    items.append(row | {"Container": called})
        text = form.rows(items, values.format, stats_columns(items, values.format))
        if not values.no_stream and console.colours:
            text = "\033[H\033[J" + text
        console.print(text)
        if values.no_stream or not items:
            return 0


def stats_columns(rows: Sequence[dict[str, Any]], asked: str | None) -> tuple[tuple[str, str], ...]:
    """Docker's, and who counted where that was no cgroup; all that a format may name where there is one."""
    is_whole = asked not in (None, "", "table") or any(is_watched(row["Source"]) for row in rows if row["Source"])
    return (*STATS_COLUMNS, ("SOURCE", "Source")) if is_whole else STATS_COLUMNS


def _usage(container: Container) -> Usage | None:
    """What it uses; None where it does not run (any more)."""
    try:
        return container.usage()
    except (NotFound, Conflict):
        return None


def stats_row(state: ContainerState, before: Usage | None, now: Usage | None, *, whole: bool = False) -> dict[str, Any]:
    """One line of ``stats``, by Docker's field names; processor use is that between two samples.

    What nobody counts is ``--``, and ``Source`` says who counted; a container that does not run uses nothing.
    """
    row = {
        "ID": state.id if whole else state.id[:12],
        "Name": state.name,
    }
    if now is None or before is None:
        pairs = dict.fromkeys(("MemUsage", "NetIO", "BlockIO"), "0B / 0B")
        return row | {"CPUPerc": "0.00%", **pairs, "MemPerc": "0.00%", "PIDs": "0", "Source": ""}
    elapsed = max(now.time - before.time, 1e-6)
    limit = now.memory_limit or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return row | {
        "CPUPerc": f"{(now.cpu_seconds - before.cpu_seconds) / elapsed * 100:.2f}%",
        "MemUsage": f"{form.binary_size(now.memory)} / {form.binary_size(limit)}",
        "MemPerc": f"{now.memory / limit * 100:.2f}%",
        "NetIO": _both(now.network, "received", "sent"),
        "BlockIO": _both(now.block, "read", "written"),
        "PIDs": str(now.processes),
        "Source": now.source,
    }


def _both(counts: Sequence[object] | None, first: str, second: str) -> str:
    """Two sums over devices, as ``1.2kB / 0B``."""
    if counts is None:
        return "--"
    return " / ".join(form.size(sum(getattr(entry, name) for entry in counts)) for name in (first, second))


def diff(engine: Engine, values: Namespace, console: Console) -> int:
    """The files that a container changed, as docker marks them: A added, C changed, D deleted."""
    marks = {"added": "A", "modified": "C", "deleted": "D"}
    for change in engine.container(values.container).changes():
        console.print(f"{marks[change.kind]} {printable(change.path)}")
    return 0


VERBS = (
    Command(
        name="ps",
        act=ps,
        summary="list containers",
        flags=(
            Flag(names=("-a", "--all"), help="also those that have ended"),
            filters(
                "only some: name, id, status, exited, label, ancestor, before, since, volume, network, health, publish, expose"
            ),
            Flag(names=("-l", "--latest"), help="the one that was made last"),
            Flag(names=("-n", "--last"), metavar="N", convert=whole, help="the last N that were made"),
            Flag(names=("-s", "--size"), help="also the bytes that they wrote, and those of their files"),
            QUIET,
            NO_TRUNC,
            FORMAT,
        ),
    ),
    Command(
        name="logs",
        act=logs,
        summary="print what a container wrote",
        flags=(
            Flag(names=("-f", "--follow"), help="go on until the container ends"),
            Flag(names=("-t", "--timestamps"), help="put the time before each line"),
            Flag(names=("-n", "--tail"), metavar="N", help="only the last N lines"),
            Flag(names=("--details",), help="put the labels and variables that --log-opt chose before each line"),
            SINCE,
            UNTIL,
        ),
        operands=(CONTAINER,),
    ),
    Command(
        name="inspect",
        act=inspect,
        summary="all that is known of containers, images, networks or volumes, as JSON",
        flags=(
            dataclasses.replace(FORMAT, names=("-f", "--format")),
            Flag(
                names=("-s", "--size"), help="of containers, also the bytes that they wrote and that their files have"
            ),
            Flag(names=("--type",), metavar="|".join(_INSPECTED), help="only what is of that kind"),
        ),
        operands=(Operand(name="NAME", help="names or IDs", count="+"),),
    ),
    Command(
        name="stats",
        act=stats,
        summary="what running containers use",
        flags=(
            Flag(names=("--no-stream",), help="print one sample"),
            Flag(names=("-a", "--all"), help="also those that do not run"),
            NO_TRUNC,
            FORMAT,
        ),
        operands=(Operand(name="CONTAINER", help="names or IDs (else all that run)", count="*"),),
    ),
    Command(name="diff", act=diff, summary="the files that a container changed", operands=(CONTAINER,)),
)
