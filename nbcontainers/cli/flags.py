"""What a verb of the command line is made of, and the flags that several verbs share.

The names and meanings are ``docker``'s; what is not here is refused by name, never ignored.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from ..engine import Engine
from ..engine.options import pairs, size, variables
from ..engine.selection import pair
from ..errors import NBContainersError
from .console import Console

Act = Callable[[Engine, Namespace, Console], int]


class UsageError(NBContainersError):
    """Words that the verb does not understand; ``exit_code`` is Docker's: 125 for flags, 1 for operands, verbs and what does not fit."""

    def __init__(self, message: str, *, hint: str = "", exit_code: int = 1) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag: ``--memory BYTES``; without a ``metavar`` a switch. The value is stored under the long name's words.

    A switch whose ``default`` is True is turned off with ``=false``, as Docker's are. One with a ``refusal`` is known only to say why
    it cannot be had.
    """

    names: tuple[str, ...]
    help: str
    metavar: str = ""
    many: bool = False
    convert: Callable[[str], Any] = str
    default: Any = None
    refusal: str = ""

    @property
    def key(self) -> str:
        """The name of the value: the long flag without dashes, as Python writes it."""
        return self.long.removeprefix("--").replace("-", "_")

    @property
    def long(self) -> str:
        """Its long name, with the dashes."""
        return next(name for name in self.names if name.startswith("--"))

    @property
    def is_refused(self) -> bool:
        """Whether it is known only to say why it cannot be had."""
        return self.help.startswith("refused: ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """One word that is not a flag: IMAGE; ``count`` is 1, ``?``, ``*`` or ``+``, or ``rest`` for a command with flags of its own."""

    name: str
    help: str
    count: str = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One command: its flags come before its operands where the last operand is a command of its own."""

    name: str
    summary: str
    flags: tuple[Flag, ...] = ()
    operands: tuple[Operand, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Verb):
    """A verb of the command line with what does it: ``act`` returns the exit code."""

    act: Act


def whole(text: str) -> int:
    """A whole number of a command line."""
    try:
        return int(text)
    except ValueError:
        raise NBContainersError(f"not a whole number: {text!r}", hint="write digits only") from None


def number(text: str) -> float:
    """A positive number of a command line."""
    try:
        value = float(text)
    except ValueError:
        raise NBContainersError(f"not a number: {text!r}", hint="write 2 or 0.5") from None
    if not 0 <= value < float("inf"):
        raise NBContainersError(f"not a positive number: {text!r}", hint="write 2 or 0.5")
    return value


def patience(text: str) -> float:
    """How many seconds somebody waits: a positive number of a command line, or -1 for ever."""
    return -1.0 if text == "-1" else number(text)


def read_by(check: Callable[[str], object]) -> Callable[[str], str]:
    """What has a word refused where the flags are read, as docker's client does, and leaves it to the engine to read it again."""

    def convert(word: str) -> str:
        check(word)
        return word

    return convert


def _refuse(flag: str, why: str, value: str = "") -> NoReturn:
    raise NBContainersError(f"{flag} cannot be had: {why}", hint=f"leave out {flag} {value}".rstrip())


def _only(flag: str, known: tuple[str, ...], why: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in known:
            _refuse(flag, why, value)
        return value

    return check


def refuse(flag: str, why: str) -> Callable[[str], Any]:
    """What reads a flag's value, only to say why it cannot be had."""
    return lambda value: _refuse(flag, why, value)


def refused(names: tuple[str, ...], why: str, *, is_switch: bool = False) -> Flag:
    """A flag of docker's that says why it cannot be had."""
    if is_switch:
        return Flag(names=names, help=f"refused: {why}", refusal=why)
    return Flag(names=names, metavar="…", convert=refuse(names[-1], why), help=f"refused: {why}")


def only(name: str, metavar: str, values: tuple[str, ...], why: str) -> Flag:
    """A flag of docker's of which only some values mean anything here."""
    return Flag(names=(name,), metavar=metavar, convert=_only(name, values, why), help=why)


VARIABLE = read_by(lambda word: variables([word]))
LABEL = read_by(lambda word: pairs([word], "label"))
SIZE = read_by(size)


def filters(help: str, *, names: tuple[str, ...] = ("-f", "--filter")) -> Flag:
    """``--filter``, whose words say ``KEY=VALUE``; what the keys are, ``help`` says."""
    return Flag(names=names, metavar="KEY=VALUE", many=True, convert=read_by(pair), help=help)


QUIET = Flag(names=("-q", "--quiet"), help="print only the IDs")
FORMAT = Flag(names=("--format",), metavar="FORMAT", help="table, json, or fields such as '{{.ID}} {{.Names}}'")
NO_TRUNC = Flag(names=("--no-trunc",), help="print whole IDs and commands")
PLATFORM = Flag(names=("--platform",), metavar="OS/ARCH[/VARIANT]", help="which image, where there are several")
IMAGE = Operand(name="IMAGE", help="name, ID or digest of an image")
CONTAINERS = Operand(name="CONTAINER", help="names or IDs of containers", count="+")
CONTAINER = Operand(name="CONTAINER", help="name or ID of a container")
OUTPUT = Flag(names=("-o", "--output"), metavar="FILE", help="where to (else standard output)")
