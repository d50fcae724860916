"""The verb that copies between containers and this host."""

from __future__ import annotations

import sys
from argparse import Namespace

from ..engine import Engine
from ..errors import NBContainersError
from .console import Console, archive_target
from .flags import Command, Flag, Operand


def cp(engine: Engine, values: Namespace, console: Console) -> int:
    """Copy files between a container and this host, or a stream."""
    source, target = _split(values.source), _split(values.target)
    if bool(source[0]) == bool(target[0]):
        raise NBContainersError(
            "copying between two containers is not offered" if source[0] else "neither side is a container",
            hint="write CONTAINER:PATH for one of them (./a:b is a file of this host)",
        )
    words = {"follow": values.follow_link, "owners": values.archive}
    if source[0]:
        container = engine.container(source[0])
        if target[1] == "-":
            with archive_target(None, console) as stream:
                container.fetch(source[1], stream, **words)
        else:
            container.fetch(source[1], target[1], **words)
    elif source[1] == "-":
        engine.container(target[0]).bring(sys.stdin.buffer, target[1], **words)
    else:
        engine.container(target[0]).bring(source[1], target[1], **words)
    return 0


def _split(word: str) -> tuple[str, str]:
    """(container, path): none for a path of this host, which begins with a slash or a dot or has no colon."""
    if word.startswith(("/", ".")) or ":" not in word:
        return "", word
    name, _, path = word.partition(":")
    return name, path


VERBS = (
    Command(
        name="cp",
        act=cp,
        summary="copy files between a container and this host",
        flags=(
            Flag(names=("-a", "--archive"), help="keep the numbers of users and groups"),
            Flag(names=("-L", "--follow-link"), help="copy what a link leads to"),
            Flag(names=("-q", "--quiet"), help="say nothing (nor does it without)"),
        ),
        operands=(
            Operand(name="SOURCE", help="CONTAINER:PATH, a path of this host, or - for an archive on standard input"),
            Operand(name="TARGET", help="CONTAINER:PATH, a path of this host, or - for an archive on standard output"),
        ),
    ),
)
