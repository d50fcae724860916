"""The verbs of images."""

from __future__ import annotations

import functools
import time
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from ..engine import Engine, inspect
from ..oci.image import Image
from . import difference, text
from . import format as form
from .console import Console, each
from .flags import FORMAT, IMAGE, NO_TRUNC, PLATFORM, QUIET, Command, Flag, Operand, filters, refuse

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
    listed(engine, chosen(engine, values), values, console)
    return 0


def chosen(engine: Engine, values: Namespace) -> tuple[Image, ...]:
    """The images that the words of ``images`` ask for."""
    return engine.images(values.repository or "", filters=values.filter)


def listed(engine: Engine, found: Sequence[Image], values: Namespace, console: Console) -> None:
    """Print images as the flags of ``images`` say."""
    if values.quiet:
        for identifier in dict.fromkeys(image.id for image in found):
            console.print(str(identifier) if values.no_trunc else identifier.short)
        return
    content = form.rows(image_rows(engine, found, values), values.format, image_columns(values))
    if content:
        console.print(content)


def image_columns(values: Namespace) -> tuple[tuple[str, str], ...]:
    """The columns of the table that the flags of ``images`` ask for, as (title, key)."""
    return (*COLUMNS[:2], ("DIGEST", "Digest"), *COLUMNS[2:]) if values.digests else COLUMNS


def image_rows(engine: Engine, found: Sequence[Image], values: Namespace) -> list[dict[str, Any]]:
    """A line of ``images`` for each image."""
    rows = [image_row(image, size_of(engine, image), truncate=not values.no_trunc) for image in found]
    if values.digests or values.format:
        for row, image in zip(rows, found, strict=True):
            row["Digest"] = str(engine.named_digest(image))
    return rows


def size_of(engine: Engine, image: Image) -> int:
    """An image's size as Docker counts: the bytes of the files of all its layers."""
    return sum(engine.layer_sizes(image))


def image_row(image: Image, size: int, *, truncate: bool = True) -> dict[str, Any]:
    """One line of ``images``, by Docker's field names."""
    reference = image.reference
    return {
        "ID": image.id.short if truncate else str(image.id),
        "Repository": reference.familiar_name if reference else "<none>",
        "Tag": (reference.tag or "<none>") if reference else "<none>",
        "Digest": str(image.descriptor.digest),
        "CreatedAt": at(image.config.created),
        "CreatedSince": since(image.config.created),
        "Size": form.size(size),
        "VirtualSize": form.size(size),
        **dict.fromkeys(
            ("Containers", "SharedSize", "UniqueSize"), "N/A"
        ),  # as Docker has it: 'system df -v' counts them
    }


def since(created: str) -> str:
    """How long ago an RFC 3339 time was."""
    instant = inspect.when(created)  # an image that is made the same each time is of 1970, and that is an age
    return "N/A" if instant is None else f"{form.duration(time.time() - instant)} ago"


def at(created: str) -> str:
    """An RFC 3339 time as Docker's lists have it."""
    instant = inspect.when(created)
    return "N/A" if instant is None else form.moment(instant)


def tag(engine: Engine, values: Namespace, console: Console) -> int:
    """Give an image another name."""
    engine.tag(values.image, values.name)
    return 0


def rmi(engine: Engine, values: Namespace, console: Console) -> int:
    """Remove images."""
    return each(
        values.image,
        console,
        lambda name: engine.remove_image(name, force=values.force, prune=not values.no_prune),
        missing_ok=values.force,
    )


def history(engine: Engine, values: Namespace, console: Console) -> int:
    """The instructions that made an image, the newest first."""
    image = engine.variant(values.image, values.platform) if values.platform else engine.image(values.image)
    items = []
    sizes = iter(engine.layer_sizes(image))
    for entry, layer in engine.history(image):
        made = entry.created_by if values.no_trunc or len(entry.created_by) <= 45 else entry.created_by[:44] + "…"
        size = next(sizes) if layer else 0
        items.append(
            {
                "ID": "<missing>",
                "CreatedSince": since(entry.created),
                "CreatedAt": entry.created,
                "CreatedBy": text.printable(made),
                "Size": form.size(size) if values.human else str(size),
                "Comment": text.printable(entry.comment),
            }
        )
    if items:
        items[-1]["ID"] = str(image.id) if values.no_trunc else image.id.short
    if values.quiet:
        for item in reversed(items):
            console.print(item["ID"])
        return 0
    created = HISTORY_COLUMNS[1] if values.human else ("CREATED AT", "CreatedAt")
    columns = (HISTORY_COLUMNS[0], created, *HISTORY_COLUMNS[2:])
    content = form.rows(list(reversed(items)), values.format, columns)
    if content:
        console.print(content)
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


_NO_TREE = "images are listed by their names; 'layers IMAGE' shows what one is made of"
_WHOLE = "the images for several platforms that one name stands for go together, with the name"


VERBS = (
    Command(
        name="images",
        act=images,
        summary="list images",
        flags=(
            Flag(names=("-a", "--all"), help="also what is between two images: builds here leave nothing there"),
            Flag(names=("--digests",), help="show the manifests' digests"),
            filters("dangling=true, label[!]=KEY[=VALUE], before=IMAGE, since=IMAGE, until=TIME, reference=PATTERN"),
            QUIET,
            NO_TRUNC,
            FORMAT,
            Flag(names=("--tree",), help=f"refused: {_NO_TREE}", refusal=_NO_TREE),
        ),
        operands=(Operand(name="REPOSITORY", help="a name, or a pattern of one, such as 'app*'", count="?"),),
    ),
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
        flags=(
            Flag(names=("-f", "--force"), help="also those that ended containers were made from"),
            Flag(names=("--no-prune",), help="leave its layers in the store until the next prune"),
            Flag(
                names=("--platform",),
                metavar="PLATFORM",
                convert=refuse("--platform", _WHOLE),
                help=f"refused: {_WHOLE}",
            ),
        ),
        operands=(Operand(name="IMAGE", help="names or IDs of images", count="+"),),
    ),
    Command(
        name="history",
        act=history,
        summary="the instructions that made an image",
        flags=(
            Flag(names=("-H", "--human"), default=True, help="sizes and times for people (true)"),
            NO_TRUNC,
            PLATFORM,
            QUIET,
            FORMAT,
        ),
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
