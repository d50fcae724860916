"""The verb that makes images."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..engine import Engine, outputs
from ..engine.building import BuildOptions, is_address
from ..engine.options import pairs
from ..errors import BuildError, DockerfileError, NBContainersError
from ..oci.reference import Reference
from . import format as form
from . import progress, text
from .console import Console, archive_target
from .flags import FORMAT, Command, Flag, Operand


def build(engine: Engine, values: Namespace, console: Console) -> int:
    """Make an image from a Dockerfile and print its ID."""
    if values.check:
        return lint(engine, values, console)
    dockerfile, context = sources(values)
    quiet = values.quiet or values.progress == "quiet"
    on_event = progress.observer("quiet" if quiet else values.progress, console, explain=values.explain)
    with streamed(values, console) as stream:
        try:
            result = engine.build(
                dockerfile,
                context=context,
                tag=values.tag,
                args=arguments(values.build_arg),
                target=values.target or "",
                no_cache=values.no_cache,
                pull=values.pull,
                on_event=on_event,
                **(options(values) | ({"stream": stream} if stream else {})),
            )
        except (DockerfileError, BuildError) as error:
            if quiet and isinstance(error, BuildError):  # nothing of it stands on the screen
                console.note(error.output.decode(errors="replace").rstrip())
            if written := _written(dockerfile):
                console.note(text.marked(written, error.lines))
            raise
    if not quiet and values.progress != "json":
        for name in result.names:
            console.note(f"{Reference.parse(name).familiar} in {result.seconds:.2f} s", style="green")
    if result.stored:
        console.print(str(result.image.id))
    return 0


@contextlib.contextmanager
def streamed(values: Namespace, console: Console) -> Iterator[IO[bytes] | None]:
    """Standard output as bytes, where the result goes there."""
    if not any(outputs.read(word).dest == "-" for word in values.output):
        yield None
        return
    with archive_target(None, console) as stream:
        yield stream


def lint(engine: Engine, values: Namespace, console: Console) -> int:
    """Tell what is dubious in a Dockerfile; 1 if anything is."""
    dockerfile, context = sources(values)
    found = engine.lint(dockerfile, context=context, args=arguments(values.build_arg), target=values.target or "")
    if getattr(values, "format", None) not in (None, "", "table"):
        rows = [dataclasses.asdict(one) for one in found]
        console.print(form.rows(rows, values.format, (("RULE", "rule"), ("LINE", "line"), ("MESSAGE", "message"))))
        return 1 if found else 0
    written = _written(dockerfile)
    for one in found:
        place = f"line {one.line}" if one.line == one.end_line else f"lines {one.line} to {one.end_line}"
        console.print(f"{console.styled(one.rule, 'bold')}: {place}: {one.message} ({one.hint})")
        if written:
            console.print(text.marked(written, (one.line, one.end_line)) + "\n")
    if not found:
        console.note("nothing is dubious", style="green")
    return 1 if found else 0


def _written(dockerfile: str | Path) -> str:
    """A Dockerfile's text, where it is no farther than this host's disk."""
    if isinstance(dockerfile, str):
        return dockerfile
    return dockerfile.read_text(errors="replace") if dockerfile.is_file() else ""


def sources(values: Namespace) -> tuple[str | Path, str | Path | IO[bytes] | None]:
    """The Dockerfile and the context that the words name; ``-`` is standard input for one of them."""
    if values.context == "-":
        if values.file == "-":
            raise NBContainersError(
                "both Dockerfile and context are standard input", hint="name a file for one of them"
            )
        return Path(values.file or "Dockerfile"), sys.stdin.buffer
    context: str | Path | None = values.context or None
    if isinstance(context, str) and "://" not in context and not is_address(context):
        context = Path(context)
        if not context.exists():
            raise NBContainersError(f"no context at {context}", hint="name a folder, a tar archive or an address")
    if values.file == "-":
        return sys.stdin.buffer.read().decode("utf-8", "surrogateescape"), context
    if context is not None and not (isinstance(context, Path) and context.is_dir()):
        return Path(values.file or "Dockerfile"), context
    folder = context if isinstance(context, Path) else Path()
    dockerfile = Path(values.file) if values.file else folder / "Dockerfile"
    if not dockerfile.is_file():
        raise NBContainersError(f"no Dockerfile at {dockerfile}", hint="name it with -f, or the folder that holds it")
    return dockerfile, context


def options(values: Namespace) -> BuildOptions:
    """What else the words say of a build, as ``Engine.build`` takes it."""
    return {
        "contexts": pairs(values.build_context, "context"),
        "secrets": values.secret,
        "ssh": values.ssh,
        "labels": values.label,
        "add_host": values.add_host,
        "network": values.network or "",
        "platform": values.platform or "",
        "shm_size": values.shm_size or 0,
        "ulimits": values.ulimit,
        "outputs": values.output,
        "iidfile": values.iidfile or "",
        "metadata_file": values.metadata_file or "",
        "allow": values.allow,
        "cache_from": values.cache_from,
        "cache_to": values.cache_to,
        "no_cache_filter": [name for word in values.no_cache_filter for name in word.split(",") if name],
    }


def arguments(words: list[str]) -> dict[str, str]:
    """``--build-arg NAME=VALUE``, where ``NAME`` alone takes this process's value if it has one."""
    return {
        name: value
        for word in words
        for name, value in (pairs([word], "build argument") if "=" in word else {word: os.environ.get(word)}).items()
        if value is not None
    }


CONTEXT = Operand(
    name="CONTEXT", help="the folder, archive or address that COPY and ADD read; - is standard input", count="?"
)
FLAGS = (
    Flag(
        names=("--build-context",),
        metavar="NAME=WHERE",
        many=True,
        help="another context: a folder, an address, docker-image://…, oci-layout://FOLDER:TAG",
    ),
    Flag(
        names=("--secret",),
        metavar="id=NAME,src=FILE",
        many=True,
        help="lend a secret to RUN --mount=type=secret (or env=VARIABLE)",
    ),
    Flag(
        names=("--ssh",),
        metavar="default[=SOCKET|KEY]",
        many=True,
        help="lend an ssh agent or key to RUN --mount=type=ssh",
    ),
    Flag(names=("--label",), metavar="NAME=VALUE", many=True, help="a label of the image"),
    Flag(names=("--add-host",), metavar="NAME:ADDRESS", many=True, help="a line for /etc/hosts of commands"),
    Flag(names=("--network",), metavar="MODE", help="what commands have: default, host or none"),
    Flag(names=("--platform",), metavar="OS/ARCH", help="what is built for (else this host's)"),
    Flag(names=("--shm-size",), metavar="SIZE", help="the size of /dev/shm of commands"),
    Flag(names=("--ulimit",), metavar="NAME=SOFT:HARD", many=True, help="a limit of resources of commands"),
    Flag(
        names=("-o", "--output"),
        metavar="type=TYPE,dest=WHERE",
        many=True,
        help="where the result goes: image, registry, local, tar, oci, docker or cacheonly; a folder; - is a tar",
    ),
    Flag(
        names=("--allow",),
        metavar="WHAT",
        many=True,
        help="security.insecure: let RUN --security=insecure have every capability and device",
    ),
    Flag(names=("--iidfile",), metavar="FILE", help="write the image's ID to this file"),
    Flag(names=("--metadata-file",), metavar="FILE", help="write digests and names to this file, as JSON"),
    Flag(
        names=("--cache-from",),
        metavar="type=TYPE,…|IMAGE",
        many=True,
        help="also take cached steps from type=registry,ref=NAME or type=local,src=FOLDER",
    ),
    Flag(
        names=("--cache-to",),
        metavar="type=TYPE,…",
        many=True,
        help="give cached steps to type=registry,ref=NAME, type=local,dest=FOLDER or type=inline; mode=max: all steps",
    ),
    Flag(names=("--no-cache-filter",), metavar="STAGE", many=True, help="execute every step of these stages again"),
)
VERBS = (
    Command(
        name="build",
        act=build,
        summary="make an image from a Dockerfile",
        flags=(
            Flag(names=("-t", "--tag"), metavar="NAME", many=True, help="what to call the image"),
            Flag(
                names=("-f", "--file"),
                metavar="DOCKERFILE",
                help="the Dockerfile (else CONTEXT/Dockerfile; - is standard input)",
            ),
            Flag(names=("--build-arg",), metavar="NAME=VALUE", many=True, help="a value for an ARG"),
            Flag(names=("--target",), metavar="STAGE", help="build up to this stage"),
            Flag(names=("--no-cache",), help="execute every step again"),
            *FLAGS,
            Flag(names=("--check",), help="tell what is dubious in the Dockerfile, and build nothing"),
            Flag(names=("--pull",), help="ask registries for newer images of FROM, also where one is here"),
            Flag(names=("--explain",), help="tell why each step was executed again"),
            Flag(
                names=("--progress",),
                metavar="|".join(progress.KINDS),
                convert=progress.kind,
                default="auto",
                help="how it is told (auto: a terminal shows counts that move)",
            ),
            Flag(names=("-q", "--quiet"), help="print only the image's ID"),
        ),
        operands=(CONTEXT,),
    ),
    Command(
        name="lint",
        act=lint,
        summary="tell what is dubious in a Dockerfile, by the rules of Docker's build checks",
        flags=(
            Flag(
                names=("-f", "--file"),
                metavar="DOCKERFILE",
                help="the Dockerfile (else CONTEXT/Dockerfile; - is standard input)",
            ),
            Flag(names=("--build-arg",), metavar="NAME=VALUE", many=True, help="a value for an ARG"),
            Flag(names=("--target",), metavar="STAGE", help="only what this stage needs (else every stage)"),
            FORMAT,
        ),
        operands=(CONTEXT,),
    ),
)
