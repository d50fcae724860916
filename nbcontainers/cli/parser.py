"""Words to a verb and its values, by the table in ``verbs``: argparse does the work."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable, Sequence
from typing import NoReturn

from ..errors import NBContainersError
from .flags import Command, Flag, Operand, UsageError, Verb
from .verbs import GROUPS, VERBS, find, instead, members

PROGRAM = "nbcontainers"
_TRUTHS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}  # Go's strconv.ParseBool


class HelpAsked(NBContainersError):
    """The user asked for help, which is the message."""


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would print and exit; ``helped`` are the words that show the help."""

    helped = ""

    def error(self, message: str) -> NoReturn:
        message = message.replace("ignored explicit argument", "not true or false:")  # of a switch with a value
        unknown = re.match(r"unrecognized arguments: (--[^\s=]+)", message)
        near = _nearest(unknown[1], self._option_string_actions) if unknown else None
        is_operand = message.startswith("the following arguments are required") or (
            message.startswith("unrecognized arguments: ") and not message.startswith("unrecognized arguments: -")
        )
        hint = f"see '{self.helped}'"
        if near:
            hint = f"did you mean '{near}'? Else {hint}"
        raise UsageError(message, hint=hint, exit_code=1 if is_operand else 125)


class _Help(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        raise HelpAsked(parser.format_help())


class _Refusal(argparse.Action):
    """Says why a switch cannot be had."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        name = self.option_strings[-1]
        raise NBContainersError(f"{name} cannot be had: {self.const}", hint=f"leave out {name}")


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
    verb, rest = find(words)
    if verb is not None:
        return verb, parse_verb(verb, rest)
    if words[0] in GROUPS:
        known, wanted, called = list(members(words[0])), " ".join(words[:2]), f"{PROGRAM} {words[0]}"
        if len(words) == 1 or words[1] in ("--help", "-h", "help"):
            raise HelpAsked(_group_overview(words[0]))
        if short := instead(words):
            raise UsageError(f"unknown command {wanted!r}", hint=f"it is '{PROGRAM} {short}' here")
    else:
        known, wanted, called = [*GROUPS, *(name for name in VERBS if " " not in name)], words[0], PROGRAM
    near = _nearest(wanted.rpartition(" ")[2], known)
    hint = f"did you mean '{near}'?" if near else f"see '{called} --help'"
    raise UsageError(f"unknown command {wanted!r}", hint=hint)


def _nearest(word: str, known: Iterable[str]) -> str | None:
    """What was meant by a mistyped word, if anything is near; before all else the same letters in another order."""
    near = difflib.get_close_matches(word, list(known), n=5)
    return min(near, key=lambda one: sorted(one) != sorted(word), default=None)


def parse_verb(
    verb: Verb, words: Sequence[str], *, extra: Sequence[Flag] = (), called: str = "", helped: str = ""
) -> argparse.Namespace:
    """The values of one verb's words.

    ``extra`` are flags that only this caller knows (``--as`` of the magics), ``called`` is what its users call the verb, and
    ``helped`` what shows its flags, where that is not ``called`` with ``--help``.
    """
    parser = _build(verb, extra, called or f"{PROGRAM} {verb.name}")
    parser.helped = helped or f"{parser.prog} --help"
    words = _joined(verb, (*verb.flags, *extra), words)
    _spell_out(parser, (*verb.flags, *extra), words)
    values = parser.parse_args(words)
    if verb.operands and verb.operands[-1].count == "rest":
        key = verb.operands[-1].name.lower()
        setattr(values, key, _own_words(getattr(values, key), words, is_alone=len(verb.operands) == 1))
    return values


def _joined(verb: Verb, flags: Sequence[Flag], words: Sequence[str]) -> list[str]:
    """The words, each flag in one with a value that looks like a flag: as in Docker that is its value all the same."""
    valued = {name for flag in flags if flag.metavar and not flag.refusal for name in flag.names}
    ends_flags = bool(verb.operands) and verb.operands[-1].count == "rest"
    found: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--" or (ends_flags and (word == "-" or not word.startswith("-"))):
            return [*found, word, *rest]
        value = next(rest, None) if word in valued else None
        if value is None:
            found.append(word)
        elif value.startswith("-"):
            found.append(f"{word}={value}" if word.startswith("--") else word + value)
        else:
            found += [word, value]
    return found


def _own_words(rest: list[str], words: Sequence[str], *, is_alone: bool) -> list[str]:
    """A command's own words: a ``--`` between the operand before them and them is one of them, and no end of the flags.

    argparse drops the first ``--`` of a line wherever it stands among operands, though not from a REMAINDER.
    """
    if is_alone:
        return rest[1:] if rest[:1] == ["--"] else rest  # nothing is before them: it ends the flags
    before = len(words) - len(rest) - 1
    return ["--", *rest] if words[before] == "--" else rest


def overview() -> str:
    """The help of the whole program."""
    single = {name: verb.summary for name, verb in VERBS.items() if " " not in name}
    return "\n".join(
        [
            f"usage: {PROGRAM} COMMAND [FLAGS] …",
            "",
            "Build, run and look inside containers: no daemon, and no privilege where the host gives none.",
            "",
            *_listed({**single, **GROUPS}),
            "",
            f"'{PROGRAM} COMMAND --help' tells a command's flags.",
        ]
    )


def _group_overview(group: str) -> str:
    """The help of the verbs that share a first word."""
    return "\n".join(
        [
            f"usage: {PROGRAM} {group} COMMAND [FLAGS] …",
            "",
            *_listed({name: verb.summary for name, verb in members(group).items()}),
            "",
            f"'{PROGRAM} {group} COMMAND --help' tells a command's flags.",
        ]
    )


def _listed(summaries: dict[str, str]) -> list[str]:
    width = max(map(len, summaries))
    return [f"  {name:<{width}}  {summary}" for name, summary in summaries.items()]


def _build(verb: Verb, extra: Sequence[Flag], called: str) -> _Parser:
    usage = " ".join([called.replace("%", "%%"), "[FLAGS]", *map(_usage, verb.operands)])
    parser = _Parser(prog=called, usage=usage, description=verb.summary, add_help=False, allow_abbrev=False)
    for flag in (*verb.flags, *extra):
        if flag.refusal:
            parser.add_argument(*flag.names, action=_Refusal, nargs=0, const=flag.refusal, help=flag.help)
        elif not flag.metavar:
            parser.add_argument(
                *flag.names, dest=flag.key, action="store_true", default=bool(flag.default), help=flag.help
            )
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


def _spell_out(parser: _Parser, flags: Sequence[Flag], words: Sequence[str]) -> None:
    """Let switches have a value where one is written, as Docker's have: ``--rm=false``."""
    switches = {name: flag for flag in flags if flag.refusal or not flag.metavar for name in flag.names}
    for word in dict.fromkeys(words):
        name, equals, value = word.partition("=")
        if not equals or name not in switches or value.lower() not in _TRUTHS:
            continue
        flag, is_on = switches[name], _TRUTHS[value.lower()]
        if flag.refusal and is_on:
            parser.add_argument(word, action=_Refusal, nargs=0, const=flag.refusal, help=argparse.SUPPRESS)
        else:
            parser.add_argument(word, dest=flag.key, action="store_const", const=is_on, help=argparse.SUPPRESS)


def _usage(operand: Operand) -> str:
    """An operand as the first line of a help has it."""
    name = operand.name
    return {"1": name, "?": f"[{name}]", "+": f"{name} …", "*": f"[{name} …]", "rest": f"[{name} …]"}[operand.count]


def _add_operand(parser: _Parser, operand: Operand) -> None:
    name = operand.name.lower()
    if operand.count == "rest":
        rest = parser.add_argument(name, nargs=argparse.REMAINDER, metavar=operand.name, help=operand.help)
        rest.required = False  # argparse would name it among what is missing
    elif operand.count == "1":
        parser.add_argument(name, metavar=operand.name, help=operand.help)
    else:
        parser.add_argument(name, nargs=operand.count, metavar=operand.name, help=operand.help)
