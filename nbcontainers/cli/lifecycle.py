"""The flags that say how a container lives and ends, and the verbs for it while it does."""

from __future__ import annotations

from argparse import Namespace

from ..engine import Container, Engine
from ..engine.policies import seconds
from . import format as form
from .console import Console, each
from .flags import CONTAINER, CONTAINERS, Command, Flag, Operand, patience, read_by, whole
from .text import printable

_TIME_WORD = read_by(seconds)
RESTART = Flag(
    names=("--restart",), metavar="POLICY", help="start it again: no, on-failure[:N], always or unless-stopped"
)
FLAGS = (
    RESTART,
    Flag(names=("--stop-signal",), metavar="SIGNAL", help="what asks it to end (TERM, or the image's)"),
    Flag(
        names=("--stop-timeout",),
        metavar="SECONDS",
        convert=patience,
        help="how long stop waits before it kills (10; -1 for ever)",
    ),
    Flag(
        names=("--init",),
        help="run a small init as process 1, which passes signals on and reaps orphans (not with --pid)",
    ),
    Flag(names=("--health-cmd",), metavar="COMMAND", help="how to find out whether it is well"),
    Flag(names=("--health-interval",), metavar="TIME", convert=_TIME_WORD, help="between two checks (30s)"),
    Flag(names=("--health-timeout",), metavar="TIME", convert=_TIME_WORD, help="how long a check may take (30s)"),
    Flag(names=("--health-retries",), metavar="N", convert=whole, help="failures in a row that make it unhealthy (3)"),
    Flag(
        names=("--health-start-period",),
        metavar="TIME",
        convert=_TIME_WORD,
        help="how long failures do not count after the start (0s)",
    ),
    Flag(
        names=("--health-start-interval",),
        metavar="TIME",
        convert=_TIME_WORD,
        help="between two checks in that period (5s)",
    ),
    Flag(names=("--no-healthcheck",), help="do without the image's check"),
    Flag(names=("--env-file",), metavar="FILE", many=True, help="variables, a line each"),
    Flag(names=("--label-file",), metavar="FILE", many=True, help="labels, a line each"),
    Flag(
        names=("--log-opt",),
        metavar="NAME=VALUE",
        many=True,
        help="max-size=64m (of a file of the log), max-file=2 (how many there are), or what 'logs --details' shows: labels=NAME,NAME, "
        "env=NAME,NAME, labels-regex=PATTERN, env-regex=PATTERN",
    ),
)


def restart(engine: Engine, values: Namespace, console: Console) -> int:
    """Stop containers and start them again."""
    return each(
        values.container,
        console,
        lambda word: engine.container(word).restart(values.timeout, signal=values.signal or ""),
    )


def pause(engine: Engine, values: Namespace, console: Console) -> int:
    """Stop containers where they stand."""

    def act(container: Container) -> None:
        how = container.pause()
        if how:
            console.note(f"warning: {container.name}: {how}", style="yellow")

    return each(values.container, console, lambda word: act(engine.container(word)))


def unpause(engine: Engine, values: Namespace, console: Console) -> int:
    """Let paused containers go on."""
    return each(values.container, console, lambda word: engine.container(word).unpause())


def rename(engine: Engine, values: Namespace, console: Console) -> int:
    """Call a container otherwise."""
    engine.container(values.container).rename(values.name)
    return 0


def top(engine: Engine, values: Namespace, console: Console) -> int:
    """List the processes of a container."""
    found = engine.container(values.container).top(*values.options)
    console.print(form.table(found.titles, [[*map(printable, row)] for row in found.rows]))
    return 0


ENDING = (
    Flag(
        names=("-t", "--timeout", "--time"),
        metavar="SECONDS",
        convert=patience,
        help="how long to wait before it is killed (10, or the container's own; -1 for ever)",
    ),
    Flag(names=("-s", "--signal"), metavar="SIGNAL", help="what to ask it with (TERM, or the container's own)"),
)

VERBS = (
    Command(
        name="restart",
        act=restart,
        summary="stop containers and start them again",
        flags=ENDING,
        operands=(CONTAINERS,),
    ),
    Command(name="pause", act=pause, summary="stop containers where they stand", operands=(CONTAINERS,)),
    Command(name="unpause", act=unpause, summary="let paused containers go on", operands=(CONTAINERS,)),
    Command(
        name="rename",
        act=rename,
        summary="call a container otherwise",
        operands=(CONTAINER, Operand(name="NAME", help="its new name")),
    ),
    Command(
        name="top",
        act=top,
        summary="list the processes of a container",
        operands=(CONTAINER, Operand(name="OPTIONS", help="ps's: -ef, aux, or -o and names of columns", count="rest")),
    ),
)
