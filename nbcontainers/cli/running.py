"""The verbs that change what runs."""

from __future__ import annotations

from argparse import Namespace

from ..engine import Engine
from ..engine.updating import WORDS
from ..errors import NBContainersError
from ..events import Observer
from ..results import ContainerState
from . import attached
from .console import Console, each
from .creating import CREATE, LATER, LIMITS, complete, refuse, run_options
from .entering import truth
from .flags import CONTAINERS, IMAGE, Command, Flag, Operand, number

DETACH = Flag(names=("-d", "--detach"), help="print the ID and leave the container running")
COMMAND = Operand(name="COMMAND", help="what to run in place of the image's command", count="rest")


def pulling(values: Namespace, console: Console) -> Observer:
    """What tells of an image that is pulled before it runs."""
    return console.transfers(errors=True, missing=values.pull != "always")


def run(engine: Engine, values: Namespace, console: Console) -> int:
    """Run a container: its exit code, 128 and the signal's number if one ended it, 125 to 127 if it could not start."""
    attached.require_terminal(values)
    container = engine.run(
        values.image, *values.command, detach=values.detach, on_event=pulling(values, console), **run_options(values)
    )
    warn(container.state, console)
    if values.detach:
        console.print(container.id)
        return 0
    return attached.follow(
        container,
        console,
        stdin=values.interactive,
        detach_keys=values.detach_keys or "",
        proxy=truth(values.sig_proxy),
    )


def warn(state: ContainerState, console: Console) -> None:
    """Say what was asked for a container and is not enforced here."""
    for sentence in state.not_enforced:
        console.note(f"warning: {sentence}", style="yellow")


def create(engine: Engine, values: Namespace, console: Console) -> int:
    """Make a container and print its ID."""
    made = engine.create(values.image, *values.command, on_event=pulling(values, console), **run_options(values))
    console.print(made.id)
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
    return each(values.container, console, lambda word: engine.container(word).stop(values.time))


def kill(engine: Engine, values: Namespace, console: Console) -> int:
    """Send a signal to containers."""
    return each(values.container, console, lambda word: engine.container(word).kill(values.signal))


def rm(engine: Engine, values: Namespace, console: Console) -> int:
    """Remove containers."""
    return each(
        values.container,
        console,
        lambda word: engine.container(word).remove(force=values.force, volumes=values.volumes),
    )


def wait(engine: Engine, values: Namespace, console: Console) -> int:
    """Wait for containers and print their exit codes."""
    for word in values.container:
        console.print(str(engine.container(word).wait()))
    return 0


def update(engine: Engine, values: Namespace, console: Console) -> int:
    """Change the limits of containers."""
    options = run_options(values, UPDATE)
    if not options:
        raise NBContainersError("nothing to change", hint="give a limit, such as --memory 256m")
    return each(values.container, console, lambda word: engine.container(word).update(**options))


UPDATE = tuple(flag for flag in LIMITS if flag.key in WORDS)
VERBS = (
    Command(
        name="run",
        act=run,
        summary="make a container from an image and run it",
        flags=complete((*CREATE, DETACH, attached.SIG_PROXY, attached.KEYS)),
        operands=(IMAGE, COMMAND),
    ),
    Command(
        name="update",
        act=update,
        summary="change the limits of containers, running or not",
        flags=(
            *UPDATE,
            Flag(
                names=("--restart",),
                metavar="…",
                convert=refuse("--restart", LATER["--restart"]),
                help="refused: it is not there yet",
            ),
        ),
        operands=(CONTAINERS,),
    ),
    Command(
        name="create",
        act=create,
        summary="make a container and leave it to be started",
        flags=complete(CREATE),
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
                default=10.0,
                help="how long to wait (10)",
            ),
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
        flags=(
            Flag(names=("-f", "--force"), help="kill those that run"),
            Flag(names=("-v", "--volumes"), help="remove their anonymous volumes too"),
        ),
        operands=(CONTAINERS,),
    ),
    Command(
        name="wait", act=wait, summary="wait for containers to end and print their exit codes", operands=(CONTAINERS,)
    ),
)
