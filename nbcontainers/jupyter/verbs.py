"""A verb of the command line, done below a cell."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from ..cli import parser
from ..cli.verbs import find
from ..errors import NBContainersError
from . import show, words
from .calm import Interrupted
from .running import CellConsole, exit_note
from .session import engine

_FOUND = {  # their code says that they found something, which they told
    "lint": ("something in the Dockerfile is dubious", "what to write instead is told above"),
    "build": ("something in the Dockerfile is dubious", "what to write instead is told above"),  # with --check
    "check": ("not all of the store is as it should be", "what is wrong is told above"),
}
_FAILED = ("{verb} could not do all of it", "what failed is told above")


def act(line: str, variables: Mapping[str, Any]) -> None:
    """Do what a line of ``%nbc`` says; the code of a program that ended is told, and is no error.

    Raises:
        UsageError, HelpAsked: as the command line's own.
        NBContainersError: the verb failed, or found something that is not as it should be.
        Interrupted: the interrupt button was pressed.
    """
    given = words.split(line)
    named, rest = find(given)
    if named is not None:
        given = [*named.name.split(), *words.filled(named, rest, variables)]
    verb, values = parser.parse(given)
    if verb.name == "doctor" and not values.format:
        show.display(show.host_forms(engine().host()))
        return
    try:
        code = verb.act(engine(), values, CellConsole())
    except KeyboardInterrupt:
        raise Interrupted(f"{verb.name} was stopped") from None
    if code and not _is_of_a_program(verb.name, values):
        message, hint = _FOUND.get(verb.name, _FAILED)
        raise NBContainersError(message.format(verb=verb.name), hint=hint)
    if code:
        exit_note(code)


def _is_of_a_program(verb: str, values: Namespace) -> bool:
    """Whether the code is that of a program in a container, which was waited for."""
    return verb in ("run", "exec", "attach") or (verb == "start" and (values.attach or values.interactive))
