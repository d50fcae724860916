"""The verbs of containers."""

from __future__ import annotations

import datetime
import json
import os
import shlex
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable
from typing import Any

from ..engine import Container, Engine
from ..engine.options import RunOptions
from ..errors import Conflict, NBContainersError, NotFound
from ..results import ContainerState, Usage
from . import format as form
from .console import Console

PS_COLUMNS = (
    ("CONTAINER ID", "ID"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("CREATED", "RunningFor"),
    ("STATUS", "Status"),
    ("NAMES", "Names"),
)
STATS_COLUMNS = (
    ("CONTAINER ID", "ID"),
    ("NAME", "Name"),
    ("CPU %", "CPUPerc"),
    ("MEM USAGE / LIMIT", "MemUsage"),
    ("MEM %", "MemPerc"),
    ("PIDS", "PIDs"),
    ("SOURCE", "Source"),
)


def run_options(values: Namespace) -> RunOptions:
    """The words of ``run`` and ``create`` as the engine takes them."""
    return RunOptions(
        name=values.name or "",
        env=values.env,
        workdir=values.workdir or "",
        user=values.user or "",
        volumes=values.volume,
        tmpfs=values.tmpfs,
        read_only=values.read_only,
        rm=values.rm,
        interactive=values.interactive,
        memory=values.memory,
        cpus=values.cpus,
        pids_limit=values.pids_limit,
        cap_add=values.cap_add,
        cap_drop=values.cap_drop,
        security_opt=values.security_opt,
        hostname=values.hostname or "",
        network=values.network or "none",
        entrypoint=values.entrypoint,
        labels=values.label,
        replace=values.replace,
    )


def run(engine: Engine, values: Namespace, console: Console) -> int:
    """Run a container: its exit code, 128 and the signal's number if one ended it, 125 to 127 if it could not start."""
    if values.detach and values.interactive:
        raise NBContainersError("both -d and -i", hint="a detached container has no one to read standard input from")
    container = engine.run(values.image, *values.command, detach=values.detach, **run_options(values))
    warn(container.state, console)
    if values.detach:
        console.print(container.id)
        return 0
    return follow(container, console, stdin=sys.stdin.buffer if values.interactive else None)


def follow(container: Container, console: Console, *, stdin: Any = None) -> int:
    """Show a container's output until it ends, and say why if it did not end by itself."""
    code = container.attach(console.write, stdin=stdin)
    ended = container.last_state
    if ended is not None and ended.out_of_memory:
        limit = container.spec.resources.memory
        console.note(
            f"{ended.name} ran out of memory" + (f": its limit is {form.binary_size(limit)}" if limit else ""),
            style="red",
        )
    return code


def warn(state: ContainerState, console: Console) -> None:
    """Say what this host cannot enforce for a container."""
    for sentence in state.not_enforced:
        console.note(f"warning: {sentence}", style="yellow")


def create(engine: Engine, values: Namespace, console: Console) -> int:
    """Make a container and print its ID."""
    console.print(engine.create(values.image, *values.command, **run_options(values)).id)
    return 0


def start(engine: Engine, values: Namespace, console: Console) -> int:
    """Start containers that do not run."""
    if values.attach:
        if len(values.container) != 1:
            raise NBContainersError("more than one container with --attach", hint="start one at a time")
        container = engine.container(values.container[0])
        container.start()
        return follow(container, console)
    for word in values.container:
        engine.container(word).start(detach=True)
        console.print(word)
    return 0


def ps(engine: Engine, values: Namespace, console: Console) -> int:
    """List containers."""
    containers = engine.containers(all=values.all)
    if values.quiet:
        for container in containers:
            console.print(container.id if values.no_trunc else container.id[:12])
        return 0
    items = [ps_row(container.state, truncate=not values.no_trunc) for container in containers]
    text = form.rows(items, values.format, PS_COLUMNS)
    if text:
        console.print(text)
    return 0


def ps_row(state: ContainerState, *, truncate: bool = True) -> dict[str, Any]:
    """One line of ``ps``, by Docker's field names."""
    command = shlex.join(state.command)
    if truncate and len(command) > 20:
        command = command[:19] + "…"
    return {
        "ID": state.id[:12] if truncate else state.id,
        "Image": state.image,
        "Command": f'"{command}"',
        "CreatedAt": datetime.datetime.fromtimestamp(state.created, datetime.UTC).strftime(
            "%Y-%m-%d %H:%M:%S +0000 UTC"
        ),
        "RunningFor": form.age(state.created),
        "State": state.status,
        "Status": status(state),
        "Names": state.name,
        "Labels": ",".join(f"{key}={value}" for key, value in state.labels),
        "Tier": state.tier,
    }


def status(state: ContainerState) -> str:
    """A container's state as ``docker ps`` words it."""
    match state.status:
        case "running":
            return f"Up {form.duration(time.time() - state.started)}"
        case "paused":
            return f"Up {form.duration(time.time() - state.started)} (Paused)"
        case "exited":
            return f"Exited ({state.exit_code}) {form.age(state.finished)}" + (
                " (out of memory)" if state.out_of_memory else ""
            )
        case "created" | "creating":
            return "Created"
        case "dead":
            return "Dead"


def logs(engine: Engine, values: Namespace, console: Console) -> int:
    """Print what a container wrote."""
    for output in engine.container(values.container).logs(follow=values.follow, tail=values.tail):
        if values.timestamps:
            stamp = datetime.datetime.fromtimestamp(output.time or 0, datetime.UTC).isoformat().replace("+00:00", "Z")
            (console.out if output.stream == "stdout" else console.err).write(stamp + " ")
        console.write(output)
    return 0


def each(names: Iterable[str], console: Console, act: Callable[[str], object]) -> int:
    """Do something with each name and print what it says it did, or the name.

    The errors of some are told and do not keep the others from it; the code is then 1.
    """
    failed = 0
    for name in names:
        try:
            said = act(name)
            for line in said if isinstance(said, tuple) else (name,):
                console.print(line)
        except NBContainersError as error:
            console.note(f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""), style="red")
            failed = 1
    return failed


def stop(engine: Engine, values: Namespace, console: Console) -> int:
    """Ask containers to end."""
    return each(values.container, console, lambda word: engine.container(word).stop(values.time))


def kill(engine: Engine, values: Namespace, console: Console) -> int:
    """Send a signal to containers."""
    return each(values.container, console, lambda word: engine.container(word).kill(values.signal))


def rm(engine: Engine, values: Namespace, console: Console) -> int:
    """Remove containers."""
    return each(values.container, console, lambda word: engine.container(word).remove(force=values.force))


def wait(engine: Engine, values: Namespace, console: Console) -> int:
    """Wait for containers and print their exit codes."""
    for word in values.container:
        console.print(str(engine.container(word).wait()))
    return 0


def inspect(engine: Engine, values: Namespace, console: Console) -> int:
    """All that is known of containers and images, as one JSON list."""
    found = [inspected(engine, word) for word in values.name]
    if values.format and values.format != "json":
        for item in found:
            console.print(form.fields(item, values.format))
    else:
        console.print(json.dumps(found, indent=4, ensure_ascii=False))
    return 0


def inspected(engine: Engine, word: str) -> dict[str, Any]:
    """What is known of the container, or else the image, that a word stands for."""
    try:
        return engine.container(word).inspect()
    except NotFound:
        try:
            return engine.inspect_image(word)
        except NotFound:
            raise NotFound(
                f"no such container or image: {word!r}", hint="'nbcontainers ps -a' and 'nbcontainers images' list them"
            ) from None


def stats(engine: Engine, values: Namespace, console: Console) -> int:
    """What containers use: once, or again every second until interrupted."""
    containers = [engine.container(word) for word in values.container] or list(engine.containers())
    for container in containers:
        if container.state.status not in ("running", "paused"):
            raise Conflict(
                f"container {container.state.name} does not run", hint="'nbcontainers ps' lists those that do"
            )
    before = {container.id: container.usage() for container in containers}
    while True:
        time.sleep(0.5 if values.no_stream else 1)
        items = []
        for container in containers:
            try:
                now = container.usage()
            except (NotFound, Conflict):
                continue  # it ended meanwhile
            items.append(stats_row(container.state, before[container.id], now))
            before[container.id] = now
        text = form.rows(items, values.format, STATS_COLUMNS)
        if not values.no_stream and console.colours:
            text = "\033[H\033[J" + text
        console.print(text)
        if values.no_stream or not items:
            return 0


def stats_row(state: ContainerState, before: Usage, now: Usage) -> dict[str, Any]:
    """One line of ``stats``, by Docker's field names; processor use is that between two samples."""
    elapsed = max(now.time - before.time, 1e-6)
    limit = now.memory_limit or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "ID": state.id[:12],
        "Name": state.name,
        "CPUPerc": f"{(now.cpu_seconds - before.cpu_seconds) / elapsed * 100:.2f}%",
        "MemUsage": f"{form.binary_size(now.memory)} / {form.binary_size(limit)}",
        "MemPerc": f"{now.memory / limit * 100:.2f}%",
        "PIDs": now.processes,
        "Source": now.source,
    }


def diff(engine: Engine, values: Namespace, console: Console) -> int:
    """The files that a container changed, as docker marks them: A added, C changed, D deleted."""
    marks = {"added": "A", "modified": "C", "deleted": "D"}
    for change in engine.container(values.container).changes():
        console.print(f"{marks[change.kind]} {change.path}")
    return 0


def export(engine: Engine, values: Namespace, console: Console) -> int:
    """A container's file system as a tar archive."""
    container = engine.container(values.container)
    with archive_target(values.output, console) as stream:
        container.export(stream)
    return 0


def archive_target(path: str | None, console: Console) -> Any:
    """The file that an archive goes to: a terminal is refused."""
    if path:
        return open(path, "wb")
    if console.out.isatty():
        raise NBContainersError(
            "an archive is not for a terminal", hint="name a file with -o, or send the output to a pipe"
        )
    return os.fdopen(os.dup(console.binary()), "wb")
