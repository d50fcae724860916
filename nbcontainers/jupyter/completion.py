"""The Tab key behind a magic: its flags, and the names of images and containers where one is wanted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..errors import NBContainersError

if TYPE_CHECKING:
    from ..cli.flags import Verb

MAGICS = ("dockerfile", "run_container", "containers", "images", "layers", "image_diff", "cgroups", "nbc")

_IMAGES = ("IMAGE", "BEFORE", "AFTER")
_CONTAINERS = ("CONTAINER",)
_EITHER = ("NAME",)


def complete(shell: Any, event: Any) -> list[str]:
    """The words that may stand where the cursor is, for IPython's hook ``complete_command``."""
    from ..cli.verbs import GROUPS, VERBS, find, members
    from . import words

    magic = event.command.lstrip("%")
    before = event.line.split()[1:]
    if not event.line.endswith((" ", "\t")) and before:
        before.pop()
    with contextlib.suppress(NBContainersError, OSError):
        if magic == "nbc":
            if not before:
                return _beginning([*(name for name in VERBS if " " not in name), *GROUPS], event.symbol)
            if len(before) == 1 and before[0] in GROUPS:
                return _beginning(members(before[0]), event.symbol)
            verb, rest = find(before)
            return _words(verb, list(rest), event.symbol) if verb else []
        return _words(words.MAGICS[magic], before, event.symbol)
    return []


def _words(verb: Verb, before: list[str], symbol: str) -> list[str]:
    valued = {name for flag in verb.flags if flag.metavar for name in flag.names}
    if before and before[-1] in valued:
        return []  # the value of a flag, which nobody but the user knows
    operands = [
        word
        for place, word in enumerate(before)
        if not word.startswith("-") and (place == 0 or before[place - 1] not in valued)
    ]
    if any(operand.count == "rest" for operand in verb.operands) and operands:
        return []  # the container's own command
    if symbol.startswith("-"):
        return _beginning((name for flag in verb.flags for name in flag.names if name.startswith("--")), symbol)
    if not verb.operands:
        return []
    operand = verb.operands[min(len(operands), len(verb.operands) - 1)]
    names: list[str] = []
    if operand.name in (*_IMAGES, *_EITHER):
        names += _images()
    if operand.name in (*_CONTAINERS, *_EITHER):
        names += _containers()
    return _beginning(names, symbol)


def _beginning(names: Iterable[str], symbol: str) -> list[str]:
    return [name for name in names if name.startswith(symbol)]


def _images() -> list[str]:
    from .session import engine

    return [image.name for image in engine().images() if image.reference]


def _containers() -> list[str]:
    from .session import engine

    return [container.name for container in engine().containers(all=True)]


def register(shell: Any) -> None:
    """Complete behind our magics."""
    for magic in MAGICS:
        for sign in ("%", "%%"):
            shell.set_hook("complete_command", complete, str_key=sign + magic)


def unregister(shell: Any) -> None:
    """Take ``register`` back."""
    for magic in MAGICS:
        for sign in ("%", "%%"):
            shell.strdispatchers["complete_command"].strs.pop(sign + magic, None)
