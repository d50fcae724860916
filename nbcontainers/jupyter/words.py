"""The words of a magic's line: docker's flags by the command line's own table, and Python's variables where they are asked for."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from ..cli import parser
from ..cli.flags import Flag, Operand, Verb, refused
from ..cli.verbs import VERBS
from ..errors import NBContainersError
from ..oci.image import Image

AS = Flag(names=("--as",), metavar="NAME", help="bind the result to this variable")

_NOT_HERE = {
    "--file": "the cell is the Dockerfile",
    "--quiet": "what the build tells stands below the cell, and can be closed there",
    "--check": "each build tells its warnings first",
    "--progress": "the steps stand below the cell",
    "--explain": "below each step that was made again stands why, without it",
}
_NOT_IN_SANDBOX = ("detach", "tty", "interactive", "profile", "rm", "replace")  # it has them, or can have none
MAGICS: dict[str, Verb] = {
    "dockerfile": dataclasses.replace(
        VERBS["build"],
        flags=(
            *(
                refused(flag.names, why, is_switch=not flag.metavar) if (why := _NOT_HERE.get(flag.names[-1])) else flag
                for flag in VERBS["build"].flags
            ),
            AS,
        ),
        operands=(),
    ),
    "run_container": dataclasses.replace(VERBS["run"], flags=(*VERBS["run"].flags, AS)),
    "sandbox": dataclasses.replace(
        VERBS["run"],
        summary="run a cell that is not trusted",
        flags=(
            *(flag for flag in VERBS["run"].flags if flag.key not in _NOT_IN_SANDBOX),
            Flag(names=("--image",), metavar="IMAGE", default="toolbox", help="what it runs in (toolbox)"),
            AS,
        ),
        operands=(Operand(name="COMMAND", help="what reads the cell (python3 -)", count="rest"),),
    ),
    "containers": dataclasses.replace(VERBS["ps"], flags=(*VERBS["ps"].flags, AS)),
    "images": dataclasses.replace(VERBS["images"], flags=(*VERBS["images"].flags, AS)),
    "layers": dataclasses.replace(VERBS["layers"], flags=(*VERBS["layers"].flags, AS)),
    "image_diff": dataclasses.replace(VERBS["image-diff"], flags=(*VERBS["image-diff"].flags, AS)),
    "cgroups": Verb(
        name="cgroups",
        summary="what containers use, live",
        operands=(Operand(name="CONTAINER", help="names or IDs (else all that run, and those that start)", count="*"),),
    ),
}
_HELPED = {
    "dockerfile": "%nbc build --help",
    "sandbox": "%nbc run --help",
}  # IPython calls no cell magic without a cell
_VARIABLE = re.compile(r"(?P<before>(?:[^={}\s]+=)*)\{(?P<name>[A-Za-z_]\w*)\}")


def read(magic: str, line: str, variables: Mapping[str, Any]) -> Namespace:
    """The values of a magic's line; ``{name}`` as a whole word, or behind the last ``=`` of one, is the variable of that name.

    Raises:
        UsageError, HelpAsked: as the command line's own.
        NBContainersError: a quote that is not closed, or a variable that is not there.
    """
    verb = MAGICS[magic]
    sign = "%%" if magic in ("dockerfile", "sandbox") else "%"
    words = filled(verb, split(line), variables)
    values = parser.parse_verb(verb, words, called=f"{sign}{magic}", helped=_HELPED.get(magic, ""))
    name = getattr(values, "as", None)
    if name is not None and not name.isidentifier():
        raise NBContainersError(
            f"not a name for a variable: {name!r}", hint="letters, digits and _, the first no digit"
        )
    return values


def split(line: str) -> list[str]:
    """A line as the shell would split it; nothing in it is expanded."""
    try:
        return shlex.split(line)
    except ValueError as error:
        raise NBContainersError(f"cannot split the line: {str(error).lower()}", hint="close the quote") from None


def filled(verb: Verb, words: Sequence[str], variables: Mapping[str, Any]) -> list[str]:
    """The words with ``{name}`` looked up, up to the first operand where a command of its own follows: that is not ours to change."""
    own_command = any(operand.count == "rest" for operand in verb.operands)
    valued = {name for flag in verb.flags if flag.metavar for name in flag.names}
    taken: list[str] = []
    words = list(words)
    while words:
        word = words.pop(0)
        taken.append(value(word, variables))
        if word in valued and words:
            taken.append(value(words.pop(0), variables))
        elif own_command and not word.startswith("-"):
            break  # the image: what follows is the container's
    return [*taken, *words]


def value(word: str, variables: Mapping[str, Any]) -> str:
    """A word with what the variable holds in place of ``{name}``, if it is or ends with that: ``A={name}``, ``--flag=A={name}``.

    An image or a container stands for its ID.
    """
    match = _VARIABLE.fullmatch(word)
    if not match:
        return word
    name = match["name"]
    if name not in variables:
        raise NBContainersError(f"no variable {name!r} for the word {word}", hint="set it in Python first")
    return match["before"] + _written(name, variables[name])


def _written(name: str, found: object) -> str:
    """What a variable holds, as a word."""
    if isinstance(found, Image):
        return str(found.id)
    if isinstance(made := getattr(found, "image", None), Image):
        return str(made.id)  # what a build gave
    if isinstance(found, str | int | float | os.PathLike):
        return str(found)
    if type(found).__module__.startswith("nbcontainers.") and isinstance(identity := getattr(found, "id", None), str):
        return identity
    raise NBContainersError(
        f"the variable {name!r} holds no word but {type(found).__name__}",
        hint="text, a number, a path, an image or a container is wanted",
    )
