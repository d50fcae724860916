"""The Tab key behind a magic and in a Dockerfile: flags, and the names of images and containers where one is wanted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..errors import NBContainersError

if TYPE_CHECKING:
    from ..cli.flags import Verb

IDENTIFIER = "nbcontainers"

_IMAGES = ("IMAGE", "BEFORE", "AFTER")
_CONTAINERS = ("CONTAINER",)
_EITHER = ("NAME",)


def complete(text: str, line: str) -> tuple[str, list[str]]:
    """The beginning of a word that stands at the cursor, and what it may become.

    ``text`` is the cell up to the cursor, ``line`` the cursor's line up to there.
    """
    with contextlib.suppress(NBContainersError, OSError):
        if line.lstrip().startswith("%"):
            words = line.split()
            symbol = "" if line[-1:].isspace() else words.pop()
            return symbol, _magic(words[0].lstrip("%"), words[1:], symbol) if words else []
        first, newline, rest = text.lstrip("\n").partition("\n")
        if newline and first.split()[:1] == ["%%dockerfile"]:
            from . import dockerfile

            found = dockerfile.complete(rest, _images)
            return found.fragment, list(found.words)
    return "", []


def _magic(magic: str, before: list[str], symbol: str) -> list[str]:
    from ..cli.verbs import GROUPS, VERBS, find, members
    from . import words

    if magic == "nbc":
        if not before:
            return _beginning([*(name for name in VERBS if " " not in name), *GROUPS], symbol)
        if len(before) == 1 and before[0] in GROUPS:
            return _beginning(members(before[0]), symbol)
        verb, rest = find(before)
        return _words(verb, list(rest), symbol) if verb else []
    return _words(words.MAGICS[magic], before, symbol) if magic in words.MAGICS else []


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
    from IPython.core.completer import SimpleCompletion, context_matcher

    @context_matcher(identifier=IDENTIFIER)  # type: ignore[untyped-decorator]  # IPython types it in part
    def matcher(context: Any) -> dict[str, Any]:
        above = context.full_text.split("\n")[: context.cursor_line]
        fragment, words = complete("\n".join([*above, context.text_until_cursor]), context.text_until_cursor)
        found = [SimpleCompletion(text=word, type="magic") for word in words]
        # what Python's own completers know of such a line is of no use
        return {"completions": found, "matched_fragment": fragment, "suppress": bool(found), "ordered": True}

    unregister(shell)
    shell.Completer.custom_matchers.append(matcher)


def unregister(shell: Any) -> None:
    """Take ``register`` back."""
    matchers = shell.Completer.custom_matchers
    matchers[:] = [one for one in matchers if getattr(one, "matcher_identifier", "") != IDENTIFIER]
