"""The verbs of images and of the host."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import sys
import time
from argparse import Namespace
from importlib import metadata
from pathlib import Path
from typing import Any

from ..engine import Engine
from ..engine.options import pairs
from ..errors import NBContainersError
from ..events import ignore
from ..oci.descriptor import Platform
from ..oci.image import Image
from . import format as form
from . import text
from .console import BuildProgress, Console
from .containers import archive_target, each

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
        on_event=ignore if values.quiet else BuildProgress(console),
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
    console.print(shown(stack, values.format, text.layer_stack))
    return 0


def image_diff(engine: Engine, values: Namespace, console: Console) -> int:
    """In what two images differ."""
    console.print(shown(engine.image_diff(values.before, values.after), values.format, text.image_diff))
    return 0


def toolbox(engine: Engine, values: Namespace, console: Console) -> int:
    """Make the offline base image."""
    image = engine.toolbox(getattr(values, "with"), on_event=BuildProgress(console))
    console.note(f"{image.name}: {form.size(image.size)} in {len(image.layers)} layers", style="green")
    console.print(str(image.id))
    return 0


def doctor(engine: Engine, values: Namespace, console: Console) -> int:
    """What this host allows, and what it cannot enforce."""
    console.print(shown(engine.host(), values.format, text.host_report))
    return 0


def version(engine: Engine, values: Namespace, console: Console) -> int:
    """The version, and what it runs on."""
    item = {
        "Version": metadata.version("nbcontainers"),
        "Python": sys.version.split()[0],
        "Platform": str(Platform.host()),
    }
    if values.format:
        console.print(form.rows([item], values.format, [(key, key) for key in item]))
    else:
        console.print(f"nbcontainers {item['Version']} (Python {item['Python']}, {item['Platform']})")
    return 0


def shown(result: Any, chosen: str | None, as_text: Any) -> str:
    """A result as its text, or as JSON, or by a template of fields."""
    if chosen in (None, "", "table"):
        return str(as_text(result))
    data = dataclasses.asdict(result)
    return json.dumps(data, ensure_ascii=False, default=str) if chosen == "json" else form.fields(data, str(chosen))
