"""The verb that makes images."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path

from ..engine import Engine
from ..engine.options import pairs
from ..errors import NBContainersError
from ..events import ignore
from .console import Console
from .flags import Command, Flag, Operand


def build(engine: Engine, values: Namespace, console: Console) -> int:
    """Make an image from a Dockerfile and print its ID."""
    context = Path(values.context) if values.context else None
    if values.file == "-":
        dockerfile: str | Path = sys.stdin.read()
    else:
        dockerfile = Path(values.file) if values.file else (context or Path()) / "Dockerfile"
        if not dockerfile.is_file():
            raise NBContainersError(
                f"no Dockerfile at {dockerfile}", hint="name it with -f, or the folder that holds it"
            )
    if context is not None and not context.is_dir():
        raise NBContainersError(f"the context {values.context} is not a folder", hint="name the folder that COPY reads")
    result = engine.build(
        dockerfile,
        context=context,
        tag=values.tag or "",
        args=arguments(values.build_arg),
        target=values.target or "",
        no_cache=values.no_cache,
        pull=values.pull,
        on_event=ignore if values.quiet else console.transfers(errors=True),
    )
    if not values.quiet and values.tag:
        console.note(f"{result.image.name} in {result.seconds:.2f} s", style="green")
    console.print(str(result.image.id))
    return 0


def arguments(words: list[str]) -> dict[str, str]:
    """``--build-arg NAME=VALUE``, where ``NAME`` alone takes this process's value if it has one."""
    return {
        name: value
        for word in words
        for name, value in (pairs([word], "build argument") if "=" in word else {word: os.environ.get(word)}).items()
        if value is not None
    }


VERBS = (
    Command(
        name="build",
        act=build,
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
            Flag(names=("--pull",), help="ask registries for newer images of FROM, also where one is here"),
            Flag(names=("-q", "--quiet"), help="print only the image's ID"),
        ),
        operands=(Operand(name="CONTEXT", help="the folder that COPY and ADD read", count="?"),),
    ),
)
