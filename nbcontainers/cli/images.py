"""The verbs of images."""

from __future__ import annotations

import datetime
import functools
import sys
import time
from argparse import Namespace
from typing import Any

from ..engine import Engine
from ..errors import NBContainersError
from ..oci.image import Image
from . import difference, text
from . import format as form
from .console import Console, archive_target, each
from .flags import FORMAT, IMAGE, NO_TRUNC, OUTPUT, QUIET, Command, Flag, Operand

COLUMNS = (
    ("REPOSITORY", "Repository"),
    ("TAG", "Tag"),
    ("IMAGE ID", "ID"),
    ("CREATED", "CreatedSince"),
    ("SIZE", "Size"),
)
HISTORY_COLUMNS = (
    ("IMAGE", "ID"),
    ("CREATED", "CreatedSince"),
    ("CREATED BY", "CreatedBy"),
    ("SIZE", "Size"),
    ("COMMENT", "Comment"),
)


def images(engine: Engine, values: Namespace, console: Console) -> int:
    """List images."""
    found = engine.images()
    if values.quiet:
        for identifier in dict.fromkeys(image.id for image in found):
            console.print(str(identifier) if values.no_trunc else identifier.short)
        return 0
    content = form.rows([image_row(image, truncate=not values.no_trunc) for image in found], values.format, COLUMNS)
    if content:
        console.print(content)
    return 0


def image_row(image: Image, *, truncate: bool = True) -> dict[str, Any]:
    """One line of ``images``, by Docker's field names."""
    reference = image.reference
    return {
        "ID": image.id.short if truncate else str(image.id),
        "Repository": reference.familiar_name if reference else "<none>",
        "Tag": (reference.tag or "<none>") if reference else "<none>",
        "Digest": str(image.descriptor.digest),
        "CreatedAt": image.config.created,
        "CreatedSince": since(image.config.created),
        "Size": form.size(image.size),
    }


def since(created: str) -> str:
    """How long ago an RFC 3339 time was."""
    if not created:
        return "N/A"
    return form.age(datetime.datetime.fromisoformat(created).timestamp(), now=time.time())


def tag(engine: Engine, values: Namespace, console: Console) -> int:
    """Give an image another name."""
    engine.tag(values.image, values.name)
    return 0


def rmi(engine: Engine, values: Namespace, console: Console) -> int:
    """Remove images."""
    return each(values.image, console, lambda name: engine.remove_image(name, force=values.force))


def save(engine: Engine, values: Namespace, console: Console) -> int:
    """Write images to an archive."""
    found = [engine.image(name) for name in values.image]
    with archive_target(values.output, console) as stream:
        engine.save(found, stream)
    return 0


def load(engine: Engine, values: Namespace, console: Console) -> int:
    """Read images from an archive."""
    if values.input:
        with open(values.input, "rb") as stream:
            loaded = engine.load(stream)
    else:
        if sys.stdin.isatty():
            raise NBContainersError(
                "no archive on standard input", hint="name a file with -i, or send one through a pipe"
            )
        loaded = engine.load(sys.stdin.buffer)
    for image in loaded:
        console.print(f"Loaded image: {image.name}" if image.reference else f"Loaded image ID: {image.id}")
    return 0


def history(engine: Engine, values: Namespace, console: Console) -> int:
    """The instructions that made an image, the newest first."""
    image = engine.image(values.image)
    sizes = iter(image.layers)
    items = []
    for entry in image.config.history:
        layer = None if entry.empty_layer else next(sizes, None)
        made = entry.created_by if values.no_trunc or len(entry.created_by) <= 45 else entry.created_by[:44] + "…"
        items.append(
            {
                "ID": "<missing>",
                "CreatedSince": since(entry.created),
                "CreatedAt": entry.created,
                "CreatedBy": made,
                "Size": form.size(layer.size if layer else 0),
                "Comment": entry.comment,
            }
        )
    if items:
        items[-1]["ID"] = str(image.id) if values.no_trunc else image.id.short
    console.print(form.rows(reversed(items), values.format, HISTORY_COLUMNS))
    return 0


def layers(engine: Engine, values: Namespace, console: Console) -> int:
    """What each layer of an image holds."""
    stack = engine.layers(values.image)
    console.print(form.result(stack, values.format, functools.partial(text.layer_stack, width=console.width)))
    return 0


def image_diff(engine: Engine, values: Namespace, console: Console) -> int:
    """In what two images differ."""
    found = engine.image_diff(values.before, values.after)
    as_text = functools.partial(difference.text, everything=values.all, width=console.width)
    console.print(form.result(found, values.format, as_text, difference.json_of))
    return 0


VERBS = (
    Command(name="images", act=images, summary="list images", flags=(QUIET, NO_TRUNC, FORMAT)),
    Command(
        name="tag",
        act=tag,
        summary="give an image another name",
        operands=(IMAGE, Operand(name="NAME", help="the new name")),
    ),
    Command(
        name="rmi",
        act=rmi,
        summary="remove images",
        flags=(Flag(names=("-f", "--force"), help="also those that ended containers were made from"),),
        operands=(Operand(name="IMAGE", help="names or IDs of images", count="+"),),
    ),
    Command(
        name="save",
        act=save,
        summary="write images to an archive that Docker, Podman and skopeo read",
        flags=(OUTPUT,),
        operands=(Operand(name="IMAGE", help="names or IDs of images", count="+"),),
    ),
    Command(
        name="load",
        act=load,
        summary="read images from an archive",
        flags=(Flag(names=("-i", "--input"), metavar="FILE", help="where from (else standard input)"),),
    ),
    Command(
        name="history",
        act=history,
        summary="the instructions that made an image",
        flags=(NO_TRUNC, FORMAT),
        operands=(IMAGE,),
    ),
    Command(name="layers", act=layers, summary="what each layer of an image holds", flags=(FORMAT,), operands=(IMAGE,)),
    Command(
        name="image-diff",
        act=image_diff,
        summary="in what two images differ: files, packages, settings",
        flags=(Flag(names=("-a", "--all"), help="every file and package on a line of its own"), FORMAT),
        operands=(
            Operand(name="BEFORE", help="an image"),
            Operand(name="AFTER", help="the image to compare it with"),
        ),
    ),
)
