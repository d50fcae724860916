"""The verbs that change what runs."""

from __future__ import annotations

import contextlib
import os
from argparse import Namespace

from ..engine import Container, Engine
from ..engine.options import RunOptions
from ..errors import Conflict, NBContainersError, NotFound
from ..results import ContainerState
from . import attached, lifecycle
from .console import Console, each
from .entering import truth
from .flags import CONTAINERS, IMAGE, Command, Flag, Operand, number, whole

CREATE = (
    Flag(
        names=("-e", "--env"),
        metavar="NAME=VALUE",
        many=True,
        help="set a variable (NAME alone takes this shell's value)",
    ),
    Flag(names=("-w", "--workdir"), metavar="FOLDER", help="where the command starts"),
    Flag(names=("-u", "--user"), metavar="USER[:GROUP]", help="who runs the command: names or numbers of the image"),
    Flag(
        names=("-v", "--volume"),
        metavar="HOST:INSIDE[:ro]",
        many=True,
        help="show a folder or file of this host inside",
    ),
    Flag(names=("--tmpfs",), metavar="FOLDER[:OPTIONS]", many=True, help="an empty folder in memory"),
    Flag(names=("--read-only",), help="the root file system cannot be written to"),
    Flag(names=("--name",), metavar="NAME", help="a name to call the container by"),
    Flag(names=("--rm",), help="remove the container when it ends"),
    Flag(names=("-i", "--interactive"), help="keep standard input open"),
    Flag(names=("-t", "--tty"), help="give the program a terminal"),
    Flag(names=("-m", "--memory"), metavar="BYTES", help="memory limit: 64m, 1.5g"),
    Flag(names=("--cpus",), metavar="N", convert=number, help="processor limit: 0.5, 2"),
    Flag(names=("--pids-limit",), metavar="N", convert=whole, help="process limit; -1 for none"),
    Flag(names=("--cap-add",), metavar="CAP", many=True, help="give a capability (or ALL)"),
    Flag(names=("--cap-drop",), metavar="CAP", many=True, help="take a capability away (or ALL)"),
    Flag(names=("--security-opt",), metavar="OPTION", many=True, help="no-new-privileges or seccomp=unconfined"),
    Flag(names=("-h", "--hostname"), metavar="NAME", help="the host name inside (else the container's ID)"),
    Flag(
        names=("--network", "--net"), metavar="none|host", help="none (a network of its own with loopback only) or host"
    ),
    Flag(names=("--entrypoint",), metavar="COMMAND", help="in place of the image's entry point"),
    Flag(names=("-l", "--label"), metavar="KEY=VALUE", many=True, help="a label on the container"),
    Flag(names=("--replace",), help="take the name over from a container that has it"),
    Flag(names=("--cidfile",), metavar="FILE", help="write the ID into a file that is not there yet"),
    *lifecycle.FLAGS,
)
DETACH = Flag(names=("-d", "--detach"), help="print the ID and leave the container running")
COMMAND = Operand(name="COMMAND", help="what to run in place of the image's command", count="rest")


def run_options(values: Namespace) -> RunOptions:
    """The words of ``run`` and ``create`` as the engine takes them."""
    given = RunOptions(
        name=values.name or "",
        env=values.env,
        workdir=values.workdir or "",
        user=values.user or "",
        volumes=values.volume,
        tmpfs=values.tmpfs,
        read_only=values.read_only,
        rm=values.rm,
        interactive=values.interactive,
        tty=values.tty,
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
    return {**given, **lifecycle.options(values)}


def run(engine: Engine, values: Namespace, console: Console) -> int:
    """Run a container: its exit code, 128 and the signal's number if one ended it, 125 to 127 if it could not start."""
    attached.require_terminal(values)
    shown = attached.streams(values.attach, interactive=values.interactive, detach=values.detach)
    container = made(engine, values)
    try:
        container.start(detach=values.detach)
    except BaseException:
        with contextlib.suppress(NotFound):
            container.remove(force=True)
        raise
    warn(container.state, console)
    if values.detach:
        console.print(container.id)
        return 0
    return attached.follow(
        container,
        console,
        stdin="stdin" in shown,
        detach_keys=values.detach_keys or "",
        proxy=truth(values.sig_proxy),
        streams=shown,
    )


def made(engine: Engine, values: Namespace) -> Container:
    """Make the container, and write its ID into the file that was named for it."""
    path = values.cidfile
    if path and os.path.lexists(path):
        hint = "remove it, if no container that still runs is meant"
        raise Conflict(f"the file for the container's ID is there already: {path}", hint=hint)
    container = engine.create(values.image, *values.command, **run_options(values))
    if path:
        try:
            with open(path, "x") as file:
                file.write(container.id)
        except OSError as error:
            container.remove(force=True)
            raise NBContainersError(f"cannot write the container's ID to {path}: {error.strerror}") from error
    return container


def warn(state: ContainerState, console: Console) -> None:
    """Say what was asked for a container and is not enforced here."""
    for sentence in state.not_enforced:
        console.note(f"warning: {sentence}", style="yellow")


def create(engine: Engine, values: Namespace, console: Console) -> int:
    """Make a container and print its ID."""
    console.print(made(engine, values).id)
    return 0


def start(engine: Engine, values: Namespace, console: Console) -> int:
    """Start containers that do not run."""
    if values.attach:
        if len(values.container) != 1:
            raise NBContainersError("more than one container with --attach", hint="start one at a time")
        container = engine.container(values.container[0])
        container.start()
        return attached.follow(
            container,
            console,
            stdin=values.interactive and container.state.interactive,
            detach_keys=values.detach_keys or "",
        )
    for word in values.container:
        engine.container(word).start(detach=True)
        console.print(word)
    return 0


def stop(engine: Engine, values: Namespace, console: Console) -> int:
    """Ask containers to end."""
    return each(
        values.container, console, lambda word: engine.container(word).stop(values.time, signal=values.signal or "")
    )


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


VERBS = (
    Command(
        name="run",
        act=run,
        summary="make a container from an image and run it",
        flags=(*CREATE, DETACH, attached.STREAMS, attached.SIG_PROXY, attached.KEYS),
        operands=(IMAGE, COMMAND),
    ),
    Command(
        name="create",
        act=create,
        summary="make a container and leave it to be started",
        flags=CREATE,
        operands=(IMAGE, COMMAND),
    ),
    Command(
        name="start",
        act=start,
        summary="start containers that were created or have ended",
        flags=(
            Flag(names=("-a", "--attach"), help="show the output and wait for the end"),
            Flag(names=("-i", "--interactive"), help="send it what is typed (with -a)"),
            attached.KEYS,
        ),
        operands=(CONTAINERS,),
    ),
    Command(
        name="stop",
        act=stop,
        summary="ask containers to end, and kill those that do not",
        flags=(
            Flag(
                names=("-t", "--time"),
                metavar="SECONDS",
                convert=number,
                help="how long to wait (10, or the container's own)",
            ),
            Flag(names=("-s", "--signal"), metavar="SIGNAL", help="what to ask it with (TERM, or the container's own)"),
        ),
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
        flags=(Flag(names=("-f", "--force"), help="kill those that run"),),
        operands=(CONTAINERS,),
    ),
    Command(
        name="wait", act=wait, summary="wait for containers to end and print their exit codes", operands=(CONTAINERS,)
    ),
)
