"""The verbs that change what runs."""

from __future__ import annotations

import contextlib
import os
import time
from argparse import Namespace
from collections.abc import Iterable

from ..engine import Container, Engine
from ..engine.kept import LIVE
from ..engine.updating import WORDS
from ..errors import Conflict, LaunchError, NBContainersError, NotFound
from ..events import Observer, ignore
from . import attached, lifecycle
from .console import Console, each, warn
from .creating import CREATE, LIMITS, REFUSED, complete, run_options
from .flags import CONTAINERS, IMAGE, Command, Flag, Operand, refused

_STARTS_S, _LOOK_AGAIN_S = 5.0, 0.02
DETACH = Flag(names=("-d", "--detach"), help="print the ID and leave the container running")
CIDFILE = Flag(names=("--cidfile",), metavar="FILE", help="write the ID into a file that is not there yet")
QUIET = Flag(names=("-q", "--quiet"), help="say nothing of an image that is pulled for it")
_NO_CHECKPOINT = "no checkpoints of processes can be made, with which it could go on"
COMMAND = Operand(name="COMMAND", help="what to run in place of the image's command", count="rest")


def pulling(values: Namespace, console: Console) -> Observer:
    """What tells of an image that is pulled before it runs."""
    if values.quiet:
        return ignore
    return console.transfers(errors=True, missing=values.pull != "always")


def run(engine: Engine, values: Namespace, console: Console) -> int:
    """Run a container: its exit code, 128 and the signal's number if one ended it, 125 to 127 if it could not start.

    One that could not start is kept, as in Docker, unless it was not to be: its state says why.
    """
    attached.require_terminal(values)
    shown = attached.streams(values.attach, interactive=values.interactive, detach=values.detach)
    container = made(engine, values, console, streams=() if values.detach else shown)
    try:
        container.start(detach=values.detach)
    except BaseException as error:
        if values.rm or not isinstance(error, NBContainersError):
            with contextlib.suppress(NotFound):
                container.remove(force=True)
        elif values.detach:
            console.print(container.id)
        raise
    warn(container.state.not_enforced, console)
    if values.detach:
        console.print(container.id)
        return 0
    return attached.follow(
        container,
        console,
        stdin="stdin" in shown,
        detach_keys=values.detach_keys or "",
        proxy=values.sig_proxy,
        streams=shown,
    )


def made(engine: Engine, values: Namespace, console: Console, *, streams: Iterable[str]) -> Container:
    """Make the container, with a first client that has these streams, and write its ID into the file that was named for it."""
    path = values.cidfile
    if path and os.path.lexists(path):
        hint = "remove it, if no container that still runs is meant"
        raise Conflict(f"the file for the container's ID is there already: {path}", hint=hint)
    container = engine.create(
        values.image,
        *values.command,
        attached=sorted(streams),
        on_event=pulling(values, console),
        **run_options(values),
    )
    if path:
        try:
            with open(path, "x") as file:
                file.write(container.id)
        except OSError as error:
            container.remove(force=True)
            raise NBContainersError(f"cannot write the container's ID to {path}: {error.strerror}") from error
    return container


def create(engine: Engine, values: Namespace, console: Console) -> int:
    """Make a container and print its ID."""
    streams = attached.streams(values.attach, interactive=values.interactive, detach=False)
    container = made(engine, values, console, streams=streams)
    warn(container.foreseen(), console)
    console.print(container.id)
    return 0


def start(engine: Engine, values: Namespace, console: Console) -> int:
    """Start containers that do not run."""
    if values.attach or values.interactive:
        if len(values.container) != 1:
            flag = "--attach" if values.attach else "--interactive"
            raise NBContainersError(f"more than one container with {flag}", hint="start one at a time")
        container = engine.container(values.container[0])
        _begin(container, console, detach=False)
        return attached.follow(
            container,
            console,
            stdin=values.interactive and container.state.interactive,
            detach_keys=values.detach_keys or "",
        )
    return each(values.container, console, lambda word: _begin(engine.container(word), console, detach=True))


def _begin(container: Container, console: Console, *, detach: bool) -> None:
    """Start it, if it does not run: as with Docker it may be said again, and by several at once."""
    try:
        container.start(detach=detach)
        with contextlib.suppress(NotFound):  # it has ended, and is removed
            warn(container.state.not_enforced, console)
    except Conflict:
        if container.state.status not in LIVE or container.state.status == "paused":
            raise
    except LaunchError as error:
        until = time.monotonic() + _STARTS_S
        while container.state.status not in LIVE:
            if error.stage != "another start" or time.monotonic() > until:
                raise
            time.sleep(_LOOK_AGAIN_S)


def stop(engine: Engine, values: Namespace, console: Console) -> int:
    """Ask containers to end."""
    return each(
        values.container,
        console,
        lambda word: engine.container(word).stop(values.timeout, signal=values.signal or ""),
        at_once=True,
    )


def kill(engine: Engine, values: Namespace, console: Console) -> int:
    """Send a signal to containers."""
    return each(values.container, console, lambda word: engine.container(word).kill(values.signal))


def rm(engine: Engine, values: Namespace, console: Console) -> int:
    """Remove containers."""
    return each(
        values.container,
        console,
        lambda word: engine.container(word).remove(force=values.force, volumes=values.volumes),
        missing_ok=values.force,
    )


def wait(engine: Engine, values: Namespace, console: Console) -> int:
    """Wait for containers and print their exit codes."""
    return each(values.container, console, lambda word: (str(_ended(engine.container(word))),))


def _ended(container: Container) -> int:
    """Its exit code, once it has ended; one that never ran has not failed."""
    return 0 if container.state.status == "created" else container.wait()


def update(engine: Engine, values: Namespace, console: Console) -> int:
    """Change the limits of containers."""
    options = run_options(values, (*UPDATE, lifecycle.RESTART))
    if not options:
        raise NBContainersError("nothing to change", hint="give a limit, such as --memory 256m, or --restart")
    return each(values.container, console, lambda word: engine.container(word).update(**options))


UPDATE = tuple(flag for flag in LIMITS if flag.key in WORDS)
VERBS = (
    Command(
        name="run",
        act=run,
        summary="make a container from an image and run it",
        flags=complete((*CREATE, DETACH, CIDFILE, QUIET, attached.STREAMS, attached.SIG_PROXY, attached.KEYS)),
        operands=(IMAGE, COMMAND),
    ),
    Command(
        name="update",
        act=update,
        summary="change the limits and restart policies of containers, running or not",
        flags=(*UPDATE, lifecycle.RESTART),
        operands=(CONTAINERS,),
    ),
    Command(
        name="create",
        act=create,
        summary="make a container and leave it to be started",
        flags=complete((*CREATE, CIDFILE, QUIET, attached.STREAMS)),
        operands=(IMAGE, COMMAND),
    ),
    Command(
        name="start",
        act=start,
        summary="start containers that were created or have ended",
        flags=(
            Flag(names=("-a", "--attach"), help="show the output and wait for the end"),
            Flag(names=("-i", "--interactive"), help="send it what is typed, and show the output as -a does"),
            attached.KEYS,
            *(refused((name,), _NO_CHECKPOINT) for name in ("--checkpoint", "--checkpoint-dir")),
        ),
        operands=(CONTAINERS,),
    ),
    Command(
        name="stop",
        act=stop,
        summary="ask containers to end, and kill those that do not",
        flags=lifecycle.ENDING,
        operands=(CONTAINERS,),
    ),
    Command(
        name="kill",
        act=kill,
        summary="send a signal to containers",
        flags=(Flag(names=("-s", "--signal"), metavar="SIGNAL", default="KILL", help="name or number (KILL)"),),
        operands=(CONTAINERS,),
    ),
    Command(
        name="rm",
        act=rm,
        summary="remove containers",
        flags=(
            Flag(names=("-f", "--force"), help="kill those that run"),
            Flag(names=("-v", "--volumes"), help="remove their anonymous volumes too"),
            Flag(names=("-l", "--link"), help=f"refused: {REFUSED['--link']}", refusal=REFUSED["--link"]),
        ),
        operands=(CONTAINERS,),
    ),
    Command(
        name="wait", act=wait, summary="wait for containers to end and print their exit codes", operands=(CONTAINERS,)
    ),
)
