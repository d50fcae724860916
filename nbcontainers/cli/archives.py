"""The verbs that bring images and file systems in and out: save, load, import, export and commit."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import IO

from ..engine import Engine
from ..errors import NBContainersError
from ..events import Event, Observer, Progress
from .console import Console, archive_target
from .flags import CONTAINER, OUTPUT, Command, Flag, Operand
from .steps import BuildProgress

_FORMS = ("oci", "docker")
_COMPRESSIONS = ("gzip", "zstd", "none")


def save(engine: Engine, values: Namespace, console: Console) -> int:
    """Write images to an archive."""
    found = [engine.image(name) for name in values.image]
    with archive_target(values.output, console) as stream:
        engine.save(found, stream, form=values.format or "both", platform=values.platform)
    return 0


def load(engine: Engine, values: Namespace, console: Console) -> int:
    """Read images from an archive, or from an OCI layout in a folder."""
    shown, platform = _progress(console), values.platform

    def on_event(event: Event) -> None:
        if not (values.quiet and isinstance(event, Progress)):
            shown(event)

    loaded = engine.load(values.input or _standard_input(), platform=platform, on_event=on_event)
    for image in loaded:
        console.print(f"Loaded image: {image.name}" if image.reference else f"Loaded image ID: {image.id}")
    return 0


def _standard_input() -> IO[bytes]:
    if sys.stdin.isatty():
        raise NBContainersError("no archive on standard input", hint="name a file, or send one through a pipe")
    return sys.stdin.buffer


def _progress(console: Console) -> Observer:
    """Progress where a terminal shows it, and warnings everywhere."""
    shown = BuildProgress(console)

    def tell(event: Event) -> None:
        if console.told.isatty() or not isinstance(event, Progress):
            shown(event)

    return tell


def import_(engine: Engine, values: Namespace, console: Console) -> int:
    """Make an image of a root file system."""
    source = _standard_input() if values.source == "-" else values.source
    image = engine.import_(
        source,
        values.repository or "",
        changes=values.change,
        message=values.message,
        platform=values.platform or "",
        compression=values.compression,
        on_event=_progress(console),
    )
    console.print(str(image.id))
    return 0


def export(engine: Engine, values: Namespace, console: Console) -> int:
    """A container's file system as a tar archive."""
    container = engine.container(values.container)
    with archive_target(values.output, console) as stream:
        container.export(stream)
    return 0


def commit(engine: Engine, values: Namespace, console: Console) -> int:
    """Make an image of what a container changed."""
    image = engine.commit(
        values.container,
        values.repository or "",
        author=values.author,
        message=values.message,
        changes=values.change,
        pause=values.pause,
        compression=values.compression,
        on_event=_progress(console),
    )
    console.print(str(image.id))
    return 0


def form(text: str) -> str:
    """The name of a format of archives."""
    if text not in _FORMS:
        raise NBContainersError(
            f"not a format of archives: {text!r}", hint="oci or docker; without it an archive is both"
        )
    return text


def compression(text: str) -> str:
    """The name of a compression."""
    if text not in _COMPRESSIONS:
        raise NBContainersError(f"not a compression: {text!r}", hint="gzip, zstd or none")
    return text


CHANGE = Flag(
    names=("-c", "--change"),
    metavar="INSTRUCTION",
    many=True,
    help="change the configuration: 'CMD [\"sh\"]', 'ENV A=1'",
)
MESSAGE = Flag(names=("-m", "--message"), metavar="TEXT", default="", help="a line for the image's history")
COMPRESSION = Flag(
    names=("--compression",), metavar="gzip|zstd|none", convert=compression, default="gzip", help="of the layer (gzip)"
)
NAME = Operand(name="REPOSITORY", help="what to call the image: NAME[:TAG]", count="?")

VERBS = (
    Command(
        name="save",
        act=save,
        summary="write images to an archive that Docker, Podman and skopeo read",
        flags=(
            OUTPUT,
            Flag(
                names=("--format",),
                metavar="oci|docker",
                convert=form,
                help="an OCI layout alone, or Docker's older format with plain layers (else both in one)",
            ),
            Flag(
                names=("--platform",),
                metavar="OS/ARCH[/VARIANT]",
                help="only the images for it (else all that a name stands for, where all are here)",
            ),
        ),
        operands=(Operand(name="IMAGE", help="names or IDs of images", count="+"),),
    ),
    Command(
        name="load",
        act=load,
        summary="read images from an archive, compressed or not, or from an OCI layout",
        flags=(
            Flag(
                names=("-i", "--input"),
                metavar="FILE",
                help="an archive or the folder of a layout (else standard input)",
            ),
            Flag(
                names=("--platform",),
                metavar="OS/ARCH[/VARIANT]",
                help="only the images for it (else all that are in the archive)",
            ),
            Flag(names=("-q", "--quiet"), help="no progress"),
        ),
    ),
    Command(
        name="import",
        act=import_,
        summary="make an image of a root file system in a tar archive",
        flags=(
            CHANGE,
            MESSAGE,
            Flag(names=("--platform",), metavar="PLATFORM", help="what it is for: linux/arm64 (else this host's)"),
            COMPRESSION,
        ),
        operands=(Operand(name="SOURCE", help="a file, an http or https address, or - for standard input"), NAME),
    ),
    Command(
        name="export",
        act=export,
        summary="a container's file system as a tar archive",
        flags=(OUTPUT,),
        operands=(CONTAINER,),
    ),
    Command(
        name="commit",
        act=commit,
        summary="make an image of what a container changed",
        flags=(
            Flag(names=("-a", "--author"), metavar="NAME", default="", help="who made it"),
            CHANGE,
            MESSAGE,
            Flag(names=("-p", "--pause"), default=True, help="keep its processes from writing meanwhile (true)"),
            COMPRESSION,
        ),
        operands=(CONTAINER, NAME),
    ),
)
