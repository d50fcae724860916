"""Every verb of the command line and its flags, as one table that the command line and the magics read.

The names and meanings are ``docker``'s; what is not here is refused by name, never ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import NBContainersError


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag: ``--memory BYTES``; without a ``metavar`` a switch. The value is stored under the long name's words."""

    names: tuple[str, ...]
    help: str
    metavar: str = ""
    many: bool = False
    convert: Callable[[str], Any] = str
    default: Any = None

    @property
    def key(self) -> str:
        """The name of the value: the long flag without dashes, as Python writes it."""
        return next(name for name in self.names if name.startswith("--")).removeprefix("--").replace("-", "_")


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


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise NBContainersError(f"not a whole number: {text!r}", hint="write digits only") from None


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise NBContainersError(f"not a number: {text!r}", hint="write 2 or 0.5") from None
    if not 0 <= value < float("inf"):
        raise NBContainersError(f"not a positive number: {text!r}", hint="write 2 or 0.5")
    return value


QUIET = Flag(names=("-q", "--quiet"), help="print only the IDs")
FORMAT = Flag(names=("--format",), metavar="FORMAT", help="table, json, or fields such as '{{.ID}} {{.Names}}'")
NO_TRUNC = Flag(names=("--no-trunc",), help="print whole IDs and commands")
IMAGE = Operand(name="IMAGE", help="name, ID or digest of an image")
CONTAINERS = Operand(name="CONTAINER", help="names or IDs of containers", count="+")
CONTAINER = Operand(name="CONTAINER", help="name or ID of a container")

CREATE = (
    Flag(
        names=("-e", "--env"),
        metavar="NAME=VALUE",
        many=True,
        help="set a variable (NAME alone takes this shell's value)",
    ),
    Flag(names=("-w", "--workdir"), metavar="FOLDER", help="where the command starts"),
    Flag(names=("-u", "--user"), metavar="USER[:GROUP]", help="who runs the command: names or numbers of the image"),
    Flag(
        names=("-v", "--volume"),
        metavar="HOST:INSIDE[:ro]",
        many=True,
        help="show a folder or file of this host inside",
    ),
    Flag(names=("--tmpfs",), metavar="FOLDER[:OPTIONS]", many=True, help="an empty folder in memory"),
    Flag(names=("--read-only",), help="the root file system cannot be written to"),
    Flag(names=("--name",), metavar="NAME", help="a name to call the container by"),
    Flag(names=("--rm",), help="remove the container when it ends"),
    Flag(names=("-i", "--interactive"), help="keep standard input open"),
    Flag(names=("-m", "--memory"), metavar="BYTES", help="memory limit: 64m, 1.5g"),
    Flag(names=("--cpus",), metavar="N", convert=_number, help="processor limit: 0.5, 2"),
    Flag(names=("--pids-limit",), metavar="N", convert=_whole, help="process limit; -1 for none"),
    Flag(names=("--cap-add",), metavar="CAP", many=True, help="give a capability (or ALL)"),
    Flag(names=("--cap-drop",), metavar="CAP", many=True, help="take a capability away (or ALL)"),
    Flag(names=("--security-opt",), metavar="OPTION", many=True, help="no-new-privileges or seccomp=unconfined"),
    Flag(names=("-h", "--hostname"), metavar="NAME", help="the host name inside (else the container's ID)"),
    Flag(
        names=("--network", "--net"), metavar="none|host", help="none (a network of its own with loopback only) or host"
    ),
    Flag(names=("--entrypoint",), metavar="COMMAND", help="in place of the image's entry point"),
    Flag(names=("-l", "--label"), metavar="KEY=VALUE", many=True, help="a label on the container"),
    Flag(names=("--replace",), help="take the name over from a container that has it"),
)
DETACH = Flag(names=("-d", "--detach"), help="print the ID and leave the container running")
COMMAND = Operand(name="COMMAND", help="what to run in place of the image's command", count="rest")

VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            name="build",
            summary="make an image from a Dockerfile",
            flags=(
                Flag(names=("-t", "--tag"), metavar="NAME", help="what to call the image"),
                Flag(
                    names=("-f", "--file"),
                    metavar="DOCKERFILE",
                    help="the Dockerfile (else CONTEXT/Dockerfile; - is standard input)",
                ),
                Flag(names=("--build-arg",), metavar="NAME=VALUE", many=True, help="a value for an ARG"),
                Flag(names=("--target",), metavar="STAGE", help="build up to this stage"),
                Flag(names=("--no-cache",), help="execute every step again"),
                Flag(names=("-q", "--quiet"), help="print only the image's ID"),
            ),
            operands=(Operand(name="CONTEXT", help="the folder that COPY and ADD read", count="?"),),
        ),
        Verb(
            name="run",
            summary="make a container from an image and run it",
            flags=(*CREATE, DETACH),
            operands=(IMAGE, COMMAND),
        ),
        Verb(
            name="create",
            summary="make a container and leave it to be started",
            flags=CREATE,
            operands=(IMAGE, COMMAND),
        ),
        Verb(
            name="start",
            summary="start containers that were created or have ended",
            flags=(Flag(names=("-a", "--attach"), help="show the output and wait for the end"),),
            operands=(CONTAINERS,),
        ),
        Verb(
            name="ps",
            summary="list containers",
            flags=(Flag(names=("-a", "--all"), help="also those that have ended"), QUIET, NO_TRUNC, FORMAT),
        ),
        Verb(
            name="logs",
            summary="print what a container wrote",
            flags=(
                Flag(names=("-f", "--follow"), help="go on until the container ends"),
                Flag(names=("-t", "--timestamps"), help="put the time before each line"),
                Flag(names=("-n", "--tail"), metavar="N", convert=_whole, help="only the last N lines"),
            ),
            operands=(CONTAINER,),
        ),
        Verb(
            name="stop",
            summary="ask containers to end, and kill those that do not",
            flags=(
                Flag(
                    names=("-t", "--time"),
                    metavar="SECONDS",
                    convert=_number,
                    default=10.0,
                    help="how long to wait (10)",
                ),
            ),
            operands=(CONTAINERS,),
        ),
        Verb(
            name="kill",
            summary="send a signal to containers",
            flags=(Flag(names=("-s", "--signal"), metavar="SIGNAL", default="KILL", help="name or number (KILL)"),),
            operands=(CONTAINERS,),
        ),
        Verb(
            name="rm",
            summary="remove containers",
            flags=(Flag(names=("-f", "--force"), help="kill those that run"),),
            operands=(CONTAINERS,),
        ),
        Verb(name="wait", summary="wait for containers to end and print their exit codes", operands=(CONTAINERS,)),
        Verb(
            name="inspect",
            summary="all that is known of containers or images, as JSON",
            flags=(FORMAT,),
            operands=(Operand(name="NAME", help="names or IDs of containers or images", count="+"),),
        ),
        Verb(
            name="stats",
            summary="what running containers use",
            flags=(Flag(names=("--no-stream",), help="print one sample"), FORMAT),
            operands=(Operand(name="CONTAINER", help="names or IDs (else all that run)", count="*"),),
        ),
        Verb(name="diff", summary="the files that a container changed", operands=(CONTAINER,)),
        Verb(
            name="export",
            summary="a container's file system as a tar archive",
            flags=(Flag(names=("-o", "--output"), metavar="FILE", help="where to (else standard output)"),),
            operands=(CONTAINER,),
        ),
        Verb(name="images", summary="list images", flags=(QUIET, NO_TRUNC, FORMAT)),
        Verb(
            name="tag",
            summary="give an image another name",
            operands=(IMAGE, Operand(name="NAME", help="the new name")),
        ),
        Verb(
            name="rmi",
            summary="remove images",
            flags=(Flag(names=("-f", "--force"), help="also those that ended containers were made from"),),
            operands=(Operand(name="IMAGE", help="names or IDs of images", count="+"),),
        ),
        Verb(
            name="save",
            summary="write images to an archive that Docker, Podman and skopeo read",
            flags=(Flag(names=("-o", "--output"), metavar="FILE", help="where to (else standard output)"),),
            operands=(Operand(name="IMAGE", help="names or IDs of images", count="+"),),
        ),
        Verb(
            name="load",
            summary="read images from an archive",
            flags=(Flag(names=("-i", "--input"), metavar="FILE", help="where from (else standard input)"),),
        ),
        Verb(
            name="history", summary="the instructions that made an image", flags=(NO_TRUNC, FORMAT), operands=(IMAGE,)
        ),
        Verb(name="layers", summary="what each layer of an image holds", flags=(FORMAT,), operands=(IMAGE,)),
        Verb(
            name="image-diff",
            summary="in what two images differ",
            flags=(FORMAT,),
            operands=(
                Operand(name="BEFORE", help="an image"),
                Operand(name="AFTER", help="the image to compare it with"),
            ),
        ),
        Verb(
            name="toolbox",
            summary="make the offline base image from this host's own programs",
            flags=(Flag(names=("--with",), metavar="PROGRAM", many=True, help="a further program: its name or path"),),
        ),
        Verb(name="doctor", summary="what this host allows, and what it cannot enforce", flags=(FORMAT,)),
        Verb(name="demo", summary="build an image, run a container, and show what both are made of"),
        Verb(name="version", summary="print the version", flags=(FORMAT,)),
    )
}
