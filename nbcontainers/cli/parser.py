"""Words to a verb and its values, by the table in ``verbs``: argparse does the work."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import NoReturn

from ..errors import NBContainersError
from .flags import Command, Flag, Operand, Verb
from .verbs import VERBS

PROGRAM = "nbcontainers"


class UsageError(NBContainersError):
    """Words that the verb does not understand."""


class HelpAsked(NBContainersError):
    """The user asked for help, which is the message."""


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would print and exit."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"see '{self.prog} --help'")


class _Help(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        raise HelpAsked(parser.format_help())


def parse(words: Sequence[str]) -> tuple[Command, argparse.Namespace]:
    """The verb that the words begin with, and the values of its flags and operands.

    Raises:
        HelpAsked: ``--help`` or nothing was given; the message is the help.
        UsageError: an unknown verb (with "did you mean") or flag, a missing operand, a value that cannot be read.
    """
    if not words or words[0] in ("--help", "-h", "help"):
        raise HelpAsked(overview())
    if words[0] == "--version":
        words = ["version"]
    verb = VERBS.get(words[0])
    if verb is None:
        near = difflib.get_close_matches(words[0], VERBS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"see '{PROGRAM} --help'"
        raise UsageError(f"unknown command {words[0]!r}", hint=hint)
    return verb, parse_verb(verb, words[1:])


def parse_verb(verb: Verb, words: Sequence[str], *, extra: Sequence[Flag] = (), called: str = "") -> argparse.Namespace:
    """The values of one verb's words.

    ``extra`` are flags that only this caller knows (``--as`` of the magics), ``called`` is what its users call the verb.
    """
    return _build(verb, extra, called or f"{PROGRAM} {verb.name}").parse_args(list(words))


def overview() -> str:
    """The help of the whole program."""
    width = max(len(name) for name in VERBS)
    lines = [f"  {verb.name:<{width}}  {verb.summary}" for verb in VERBS.values()]
    return "\n".join(
        [
            f"usage: {PROGRAM} COMMAND [FLAGS] …",
            "",
            "Build, run and look inside containers: no daemon, and no privilege where the host gives none.",
            "",
            *lines,
            "",
            f"'{PROGRAM} COMMAND --help' tells a command's flags.",
        ]
    )


def _build(verb: Verb, extra: Sequence[Flag], called: str) -> _Parser:
    parser = _Parser(prog=called, description=verb.summary, add_help=False, allow_abbrev=False)
    for flag in (*verb.flags, *extra):
        if not flag.metavar:
            parser.add_argument(*flag.names, dest=flag.key, action="store_true", help=flag.help)
        elif flag.many:
            parser.add_argument(
                *flag.names,
                dest=flag.key,
                action="append",
                default=[],
                type=flag.convert,
                metavar=flag.metavar,
                help=flag.help,
            )
        else:
            parser.add_argument(
                *flag.names,
                dest=flag.key,
                default=flag.default,
                type=flag.convert,
                metavar=flag.metavar,
                help=flag.help,
            )
    parser.add_argument("--help", action=_Help, nargs=0, help="show this help")
    for operand in verb.operands:
        _add_operand(parser, operand)
    return parser


def _add_operand(parser: _Parser, operand: Operand) -> None:
    name = operand.name.lower()
    if operand.count == "rest":
        parser.add_argument(name, nargs=argparse.REMAINDER, metavar=operand.name, help=operand.help)
    elif operand.count == "1":
        parser.add_argument(name, metavar=operand.name, help=operand.help)
    else:
        parser.add_argument(name, nargs=operand.count, metavar=operand.name, help=operand.help)
