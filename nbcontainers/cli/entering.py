"""The verbs that go into a container that runs."""

from __future__ import annotations

from argparse import Namespace

from ..engine import Engine
from ..engine.policies import merged
from ..errors import Conflict, Detached
from . import attached
from .console import Console
from .flags import CONTAINER, VARIABLE, Command, Flag, Operand


def execute(engine: Engine, values: Namespace, console: Console) -> int:
    """Run a command in a container: its exit code, 126 or 127 if it could not start, and as in Docker 1 once it was let go of."""
    attached.require_terminal(values)
    container = engine.container(values.container)
    execution = container.exec(
        *values.command,
        env=merged(values.env_file, values.env, "variable"),
        workdir=values.workdir or "",
        user=values.user or "",
        interactive=values.interactive,
        tty=values.tty,
        privileged=values.privileged,
        detach=values.detach,
    )
    if values.detach:
        return 0
    with execution:
        try:
            code = attached.converse(
                execution, console, stdin=values.interactive, terminal=values.tty, detach_keys=values.detach_keys or ""
            )
        except Detached as left:
            console.note(left.message, style="yellow")
            return 1
    if execution.out_of_memory:
        console.note(f"the command ran out of {container.name}'s memory", style="red")
    return code


def attach(engine: Engine, values: Namespace, console: Console) -> int:
    """Take part in what a container's program reads and writes, until it ends: its exit code."""
    container = engine.container(values.container)
    state = container.state
    if state.status == "paused":
        raise Conflict(f"container {state.name} is paused", hint=f"'nbcontainers unpause {state.name}' lets it go on")
    return attached.follow(
        container,
        console,
        stdin=state.interactive and not values.no_stdin,
        detach_keys=values.detach_keys or "",
        proxy=values.sig_proxy,
    )


VERBS = (
    Command(
        name="exec",
        act=execute,
        summary="run a command in a running container",
        flags=(
            Flag(names=("-d", "--detach"), help="do not wait for its end"),
            Flag(names=("-i", "--interactive"), help="keep standard input open"),
            Flag(names=("-t", "--tty"), help="give it a terminal"),
            Flag(
                names=("-e", "--env"),
                metavar="NAME=VALUE",
                many=True,
                convert=VARIABLE,
                help="set a variable (NAME alone takes this shell's value)",
            ),
            Flag(names=("--env-file",), metavar="FILE", many=True, help="variables, a line each"),
            Flag(names=("-u", "--user"), metavar="USER[:GROUP]", help="who runs it: names or numbers of the image"),
            Flag(names=("-w", "--workdir"), metavar="FOLDER", help="where it starts (else where the container did)"),
            Flag(names=("--privileged",), help="give it every capability that this host can give"),
            attached.KEYS,
        ),
        operands=(CONTAINER, Operand(name="COMMAND", help="what to run", count="rest")),
    ),
    Command(
        name="attach",
        act=attach,
        summary="read and write with a running container's program",
        flags=(Flag(names=("--no-stdin",), help="do not send it what is typed"), attached.SIG_PROXY, attached.KEYS),
        operands=(CONTAINER,),
    ),
)
