"""Words in, an exit code out; no error leaves here as a traceback."""

from __future__ import annotations

import os
import signal
import sys
from argparse import Namespace
from collections.abc import Sequence

from ..engine import Engine
from ..errors import BuildError, DockerfileError, LaunchError, NBContainersError, exhausted
from . import parser
from .console import Console, written
from .flags import UsageError
from .text import printable


def run(words: Sequence[str], *, engine: Engine | None = None, console: Console | None = None) -> int:
    """Do what the words say and return the exit code, docker's: see ``_code`` for that of an error.

    Args:
        words: a verb, its flags and its operands.
        engine: the engine to use; without one the default store's is opened, and closed again.
        console: where to write; without one standard output and error.
    """
    console = console or Console()
    using = engine or Engine()
    verb, values = words[0] if words else "", None
    try:
        try:
            chosen, values = parser.parse(words)
        except parser.HelpAsked as asked:
            values = Namespace()
            console.print(asked.message)
            return 0
        return chosen.act(using, values, console)
    except NBContainersError as error:
        tell(error, console)
        return _code(error, verb, values)
    except OSError as error:
        if (told := exhausted(error)) is None:
            raise
        tell(told, console)
        return _code(told, verb, values)
    finally:
        if engine is None:
            using.close()


def _code(error: NBContainersError, verb: str, values: Namespace | None) -> int:
    """The exit code of an error; ``values`` are those of the verb's flags, None where one of them could not be read.

    125 for such a flag, and of ``run`` wherever its container's own code could be meant; 126 and 127 for a program that ``run``, or an
    ``exec`` that waits for it, could not start; 1 for all else.
    """
    if isinstance(error, UsageError):
        return error.exit_code
    if isinstance(error, LaunchError) and (verb == "run" or (verb == "exec" and values and not values.detach)):
        return error.exit_code
    return 125 if verb == "run" or values is None else 1


def tell(error: NBContainersError, console: Console) -> None:
    """Show an error and its hint; where in a Dockerfile it is, too. A failed step's output stands on the screen already."""
    place = ""
    if isinstance(error, DockerfileError | BuildError) and not error.message.startswith(("line ", "lines ")):
        first, last = error.lines
        place = f" (line {first})" if first == last else f" (lines {first} to {last})"
    console.note(f"error: {printable(error.message)}{place}", style="red")
    if error.hint:
        console.note(f"hint: {printable(error.hint)}", style="dim")


def _end(code: int) -> int:
    """The exit code once all output is where it was to go; that it cannot be is told, unless there is an error already."""
    try:
        with written():
            sys.stdout.flush()
    except NBContainersError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tries once more, with a traceback
        if not code:
            tell(error, Console())
        return code or 1
    return code


def main() -> None:
    """The program: 130 after an interrupt, quiet when a pipe is closed."""
    try:
        code = _end(run(sys.argv[1:]))
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except BrokenPipeError:
        # what read our output has enough: end as a program that SIGPIPE kills would
        sys.stderr.close()
        code = 128 + signal.SIGPIPE
    sys.exit(code)
